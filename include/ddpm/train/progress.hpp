// The default progress display: a bar on a terminal, plain lines into a pipe.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>

#include "ddpm/core/shape.hpp"

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
        terminal_(!silent_ && ::isatty(::fileno(out)) == 1),
        out_(out) {}
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;
  /// Ends the line of a bar that did not come to its end.
  ~ProgressDisplay() {
    if (open_line_) std::fputc('\n', out_);
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
  void print(Index done, double loss, double rate, double left) {
    char bar[28] = "";
    if (terminal_) {
      const int filled = static_cast<int>(24 * done / steps_);
      std::snprintf(bar, sizeof bar, "[%-24.*s] ", filled, "########################");
    }
    char loss_text[32] = "";
    if (loss >= 0) std::snprintf(loss_text, sizeof loss_text, "  loss %.4f", loss);
    const long seconds = std::lround(left);
    std::fprintf(out_, "%s%s %s%lld/%lld%s  %.1f images/s  %ld:%02ld left%s", terminal_ ? "\r" : "",
                 what_, bar, static_cast<long long>(done), static_cast<long long>(steps_),
                 loss_text, rate, seconds / 60, seconds % 60,
                 terminal_ && done < steps_ ? "\033[K"
                 : terminal_                ? "\033[K\n"
                                            : "\n");
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
