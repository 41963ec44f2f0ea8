// Ctrl-C and SIGTERM: the first asks a program to stop where nothing is lost, the second ends it at
// once.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <csignal>

namespace examples {

namespace detail {

inline volatile std::sig_atomic_t noted_signal = 0;

inline void on_stop_signal(int signal) {
  if (noted_signal != 0) ::_exit(128 + signal);
  noted_signal = signal;
}

}  // namespace detail

/// Thrown where work is given up because of a signal.
struct Interrupted {
  int signal;
};

/// From now on the two signals are only noted.
inline void note_stop_signals() {
  std::signal(SIGINT, detail::on_stop_signal);
  std::signal(SIGTERM, detail::on_stop_signal);
}

/// The signal that was noted, 0 if there was none.
inline int stop_signal() { return detail::noted_signal; }

inline void throw_if_interrupted() {
  if (stop_signal() != 0) throw Interrupted{stop_signal()};
}

}  // namespace examples
