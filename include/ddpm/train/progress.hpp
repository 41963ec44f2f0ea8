// The default progress display: a bar on a terminal, plain lines into a pipe.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "ddpm/core/shape.hpp"
#include "ddpm/io/system.hpp"

namespace ddpm::DDPM_ABI {

/// Whether and how fit() reports on standard error.
enum class Progress {
  automatic,  ///< a bar on a terminal, else a line now and then
  silent,
};

/// Shows "what step/steps, loss, images/s, time left".
class ProgressDisplay {
 public:
  using Clock = std::chrono::steady_clock;

  ProgressDisplay(const char* what, Index steps, Progress mode, std::FILE* out = stderr)
      : what_(what),
        steps_(steps),
        silent_(mode == Progress::silent),
        terminal_(!silent_ && is_terminal(out)),
        out_(out) {}
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;
  /// Ends the line of a bar that did not come to its end.
  ~ProgressDisplay() { end_line(); }

  /// The number of steps is another from now on.
  void set_steps(Index steps) { steps_ = steps; }

  /// Goes to a new line, so that something else can be printed.
  void end_line() {
    if (open_line_) std::fputc('\n', out_);
    open_line_ = false;
  }

  /// After `done` of the steps, each of `images` images; the loss is left out if it is negative.
  void update(Index done, Index images, double loss = -1) {
    if (silent_) return;
    const Clock::time_point now = Clock::now();
    const double since = std::chrono::duration<double>(now - shown_).count();
    const double pause = terminal_ ? 0.1 : 5.0;
    if (done < steps_ && done > 1 && since < pause) return;
    shown_ = now;
    // The first step warms up; the rate counts from its end.
    if (done == 1) first_ = now;
    const double seconds =
        std::chrono::duration<double>(now - (done > 1 ? first_ : start_)).count();
    const double timed = static_cast<double>(done > 1 ? done - 1 : 1);
    print(done, loss, timed * static_cast<double>(images) / seconds,
          seconds / timed * static_cast<double>(steps_ - done));
  }

 private:
  /// True if a line can be written over there.
  static bool is_terminal(std::FILE* out) {
    const char* kind = std::getenv("TERM");
    return io::system::is_terminal(out) && (kind == nullptr || std::string_view(kind) != "dumb");
  }

  /// Characters of a line; a terminal may have been resized.
  std::size_t width() const {
    const std::size_t columns = io::system::terminal_width(out_);
    return columns > 0 ? columns : 80;
  }

  void print(Index done, double loss, double rate, double left) {
    char loss_text[32] = "";
    if (loss >= 0) std::snprintf(loss_text, sizeof loss_text, "  loss %.4f", loss);
    char numbers[120];
    const long seconds = std::max(0L, std::lround(left));
    std::snprintf(numbers, sizeof numbers, "%lld/%lld%s  %.1f images/s  %ld:%02ld left",
                  static_cast<long long>(done), static_cast<long long>(steps_), loss_text, rate,
                  seconds / 60, seconds % 60);
    std::string line = std::string(what_) + " ";
    if (!terminal_) {
      std::fprintf(out_, "%s%s\n", line.c_str(), numbers);
    } else {
      // As long a bar as fits, at most 24 and at least 5; the last column stays free.
      const std::size_t room = width() - 1, used = line.size() + std::string_view(numbers).size();
      const std::size_t bar = room > used + 3 ? std::min<std::size_t>(24, room - used - 3) : 0;
      if (bar >= 5) {
        const auto filled = static_cast<std::size_t>(
            static_cast<Index>(bar) * std::min(done, steps_) / std::max<Index>(1, steps_));
        line.append("[").append(filled, '#').append(bar - filled, ' ').append("] ");
      }
      line = (line + numbers).substr(0, room);
      std::fprintf(out_, "\r%s\033[K%s", line.c_str(), done < steps_ ? "" : "\n");
    }
    std::fflush(out_);
    open_line_ = terminal_ && done < steps_;
  }

  const char* what_;
  Index steps_;
  bool silent_, terminal_, open_line_ = false;
  std::FILE* out_;
  Clock::time_point start_ = Clock::now(), first_ = start_, shown_ = start_;
};

}  // namespace ddpm::DDPM_ABI
