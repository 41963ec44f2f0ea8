// Run states that are written while training goes on.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <exception>
#include <iostream>
#include <memory>
#include <thread>

#include "ddpm/core/background.hpp"
#include "ddpm/train/memory_need.hpp"
#include "ddpm/train/run_state.hpp"
#include "ddpm/train/trainer_options.hpp"

namespace ddpm::DDPM_ABI {

/// Writes run states into a folder, each by a thread of its own, and removes the old ones.
class RunSaver {
 public:
  using Clock = std::chrono::steady_clock;

  explicit RunSaver(const SaveOptions& options) : options_(options) {}
  RunSaver(const RunSaver&) = delete;
  RunSaver& operator=(const RunSaver&) = delete;
  ~RunSaver() {
    if (writer_.joinable()) writer_.join();
  }

  /// A run begins, or goes on, after `steps` updates; a state takes `bytes`. Throws
  /// PreconditionError if the folder holds states that are not of this run; IoError if it cannot be
  /// made, or there is no room for a state.
  void begin(Index steps, bool resumed, std::size_t bytes) {
    if (options_.folder.empty()) return;
    std::error_code error;
    std::filesystem::create_directories(options_.folder, error);
    if (error)
      throw IoError(message(options_.folder, ": cannot make this folder: ", error.message()));
    const auto space = std::filesystem::space(options_.folder, error);
    if (!error && space.available < bytes)
      throw IoError(message(options_.folder, ": a run state takes ", bytes_text(bytes), ", only ",
                            bytes_text(space.available), " are free"));
    const auto states = run_states(options_.folder);
    require(resumed || !written_.empty() || states.empty(), "Trainer::fit: the folder ",
            options_.folder, " holds run states already; resume the run, or take another folder");
    if (written_.empty())
      for (const auto& path : states)
        if (detail::step_of(path) <= steps) written_.push_back(path);
    saved_at_ = Clock::now();
  }

  /// Whether a state is to be written after this update.
  bool due(Index steps) const {
    if (options_.folder.empty()) return false;
    if (options_.steps > 0 && steps % options_.steps == 0) return true;
    const std::chrono::duration<double> since = Clock::now() - saved_at_;
    return options_.minutes > 0 && since.count() >= 60 * options_.minutes;
  }

  /// Begins to write a state. Throws NonFiniteError if the one before had such a value; if that
  /// could not be written, a line on standard error tells.
  void start(std::shared_ptr<const RunSnapshot> snapshot, Index steps) {
    finish(false);
    saved_at_ = Clock::now();
    writer_ = detail::in_background([this, path = run_state_path(options_.folder, steps),
                                     snapshot = std::move(snapshot)]() noexcept {
      try {
        snapshot->write(path);
        remove_old(path);
      } catch (...) {
        error_ = std::current_exception();
      }
    });
  }

  /// Waits for the last state. Throws IoError if it could not be written; not `strict`: tells it
  /// on standard error.
  void finish(bool strict = true) {
    if (writer_.joinable()) writer_.join();
    const auto error = std::exchange(error_, nullptr);
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const NonFiniteError&) {
      throw;
    } catch (const std::exception& failed) {
      if (strict) throw;
      std::cerr << "\nwarning: the run was not saved: " << failed.what() << '\n';
    }
  }

  /// Writes nothing from now on.
  void turn_off() { options_.folder.clear(); }

  /// Whether a folder was given.
  bool active() const { return !options_.folder.empty(); }

 private:
  /// Once `newest` stands on the disk.
  void remove_old(const std::filesystem::path& newest) {
    std::erase(written_, newest);
    written_.push_back(newest);
    while (std::ssize(written_) > options_.keep) {
      std::error_code ignored;
      std::filesystem::remove(written_.front(), ignored);
      written_.erase(written_.begin());
    }
  }

  SaveOptions options_;
  std::vector<std::filesystem::path> written_;  ///< states of this run, the newest last
  Clock::time_point saved_at_ = Clock::now();
  std::thread writer_;  ///< until it is joined, only it touches written_ and error_
  std::exception_ptr error_;
};

}  // namespace ddpm::DDPM_ABI
