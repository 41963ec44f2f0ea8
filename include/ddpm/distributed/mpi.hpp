// The ranks of an MPI program (Open MPI, MPICH or another with MPI 3). Optional: in no other
// header; the target ddpm::mpi brings MPI.
//
//   int main() {
//     return ddpm::distributed::run_with_mpi([](ddpm::distributed::MpiRanks& ranks) {
//       ...
//       trainer.distribute(ranks);
//       trainer.fit(images);
//     });
//   }
//
// SPDX-License-Identifier: MIT
#pragma once

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <limits>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "ddpm/core/error.hpp"
#include "ddpm/distributed/communicator.hpp"

namespace ddpm::DDPM_ABI::distributed {

/// All processes that mpirun started. While a rank waits for others it sleeps, in between looking
/// whether bytes have come: MPI itself would spin, and take a processor from the threads that
/// compute.
class MpiRanks {
 public:
  /// Starts MPI, once in a process. Throws std::runtime_error if this MPI cannot be called from
  /// several threads in turn, or the process was started by that of another MPI.
  MpiRanks() {
    int provided = 0, initialised = 0;
    MPI_Initialized(&initialised);
    if (initialised != 0)
      throw std::runtime_error(
          "MPI: this process has started MPI already; MpiRanks starts it by itself");
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
    if (provided < MPI_THREAD_SERIALIZED)
      throw std::runtime_error("MPI: no support for threads (MPI_THREAD_SERIALIZED)");
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
      if (const char* started = std::getenv(name); size_ == 1 && started && std::atoi(started) > 1)
        throw std::runtime_error(message("MPI: ", name, " says ", started,
                                         " processes, but this one is on its own: the mpirun that "
                                         "started it is of another MPI than it was built with"));
  }
  MpiRanks(const MpiRanks&) = delete;
  MpiRanks& operator=(const MpiRanks&) = delete;
  /// Ends MPI; where an exception is on its way through, all ranks, as others may wait for this
  /// one.
  ~MpiRanks() {
    if (size_ > 1 && std::uncaught_exceptions() > exceptions_)
      abort("an exception has ended this rank");
    MPI_Finalize();
  }

  Index rank() const { return rank_; }
  Index size() const { return size_; }

  void all_to_all(std::span<const std::byte> from, std::span<std::byte> to, std::size_t block) {
    Blocks sent = blocks(from.size(), block);
    Blocks received = sent;
    const auto self = static_cast<std::size_t>(rank_);
    const int own = sent.counts[self];
    for (std::size_t r = 0; r < received.counts.size(); ++r) {
      received.counts[r] = own;
      received.starts[r] = own * static_cast<int>(r);
    }
    sent.counts[self] = received.counts[self] = 0;
    MPI_Request request;
    auto locked = lock();
    MPI_Ialltoallv(from.data(), sent.counts.data(), sent.starts.data(), MPI_BYTE, to.data(),
                   received.counts.data(), received.starts.data(), MPI_BYTE, MPI_COMM_WORLD,
                   &request);
    wait(request, locked);
  }

  void all_gather(std::span<const std::byte> from, std::span<std::byte> to, std::size_t block) {
    const Blocks received = blocks(to.size(), block);
    const auto own = static_cast<std::size_t>(received.starts[static_cast<std::size_t>(rank_)]);
    const bool in_place = from.data() == to.data() + own;
    MPI_Request request;
    auto locked = lock();
    MPI_Iallgatherv(in_place ? MPI_IN_PLACE : from.data(), static_cast<int>(from.size()), MPI_BYTE,
                    to.data(), received.counts.data(), received.starts.data(), MPI_BYTE,
                    MPI_COMM_WORLD, &request);
    wait(request, locked);
  }

  /// Writes the message to standard error and ends every rank with status 1.
  void abort(const std::string& message) {
    std::cerr << "\nerror on rank " + std::to_string(rank_) + ": " + message + "\n" << std::flush;
    end(1);
  }

  /// Ends every rank.
  void end(int status) {
    using namespace std::chrono_literals;
    const auto locked = lock();
    // Or MPICH's launcher may end before it has passed on what was said.
    std::this_thread::sleep_for(200ms);
    MPI_Abort(MPI_COMM_WORLD, status);
  }

 private:
  struct Blocks {
    std::vector<int> counts, starts;
  };

  /// Throws PreconditionError if there are more bytes than MPI 3 can count.
  Blocks blocks(std::size_t bytes, std::size_t block) const {
    require(bytes <= std::numeric_limits<int>::max(), "MPI: an array of ", bytes,
            " bytes, expected less than 2 GiB");
    Blocks result;
    for (Index r = 0; r < size_; ++r) {
      const Share share = block_of(static_cast<Index>(bytes), static_cast<Index>(block), r);
      result.counts.push_back(static_cast<int>(share.count));
      result.starts.push_back(static_cast<int>(share.first));
    }
    return result;
  }

  /// One thread at a time calls MPI; abort() may come while another one waits.
  std::unique_lock<std::mutex> lock() { return std::unique_lock(calls_); }

  /// Looks less often the longer it takes: each look stops a thread that computes.
  static void wait(MPI_Request& request, std::unique_lock<std::mutex>& locked) {
    using namespace std::chrono_literals;
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    for (int looked = 0;; ++looked) {
      int done = 0;
      MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      if (done != 0) return;
      if (looked <= 16) continue;
      locked.unlock();
      std::this_thread::sleep_for(
          std::clamp<Clock::duration>((Clock::now() - begin) / 16, 20us, 1ms));
      locked.lock();
    }
  }

  int rank_ = 0, size_ = 1;
  int exceptions_ = std::uncaught_exceptions();
  std::mutex calls_;
};

/// Calls body(MpiRanks&), which returns the exit status of this rank, or nothing. What it throws is
/// told and ends every rank, as does a status other than 0.
template <class Body>
int run_with_mpi(Body&& body) {
  std::optional<MpiRanks> started;
  try {
    MpiRanks& ranks = started.emplace();
    if constexpr (std::is_void_v<std::invoke_result_t<Body&, MpiRanks&>>) {
      body(ranks);
      return 0;
    } else {
      const int status = body(ranks);
      if (status != 0) ranks.end(status);
      return status;
    }
  } catch (const std::exception& error) {
    if (started) started->abort(error.what());
    std::cerr << "error: " << error.what() << '\n';
  } catch (...) {
    if (started) started->abort("something that is no std::exception was thrown");
  }
  return 1;
}

}  // namespace ddpm::DDPM_ABI::distributed
