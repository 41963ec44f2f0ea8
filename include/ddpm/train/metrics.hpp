// What a run measures, as lines of JSON: metrics.jsonl in the run's folder, a line an update.
//
//   {"step":12,"loss":0.41,"loss_by_time":[0.9,0.5,0.2,null],"gradient_norm":1.3,
//    "learning_rate":0.0001,"images_per_second":310}
//
// loss_by_time are the mean losses of the images whose t lies in each quarter of the timesteps, the
// least noisy first; null where there was none. A run that goes on from an older state takes the
// lines after that state away, so that each update has one.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "ddpm/io/file.hpp"
#include "ddpm/train/config_text.hpp"
#include "ddpm/train/training_step.hpp"

namespace ddpm::DDPM_ABI {

inline constexpr const char* metrics_name = "metrics.jsonl";

/// The update of a line of metrics; 0 if it is none, such as one that was cut short.
inline Index step_of_metrics(std::string_view line) {
  constexpr std::string_view start = "{\"step\":";
  if (!line.starts_with(start) || !line.ends_with('}')) return 0;
  Index step = 0;
  std::from_chars(line.data() + start.size(), line.data() + line.size(), step);
  return step;
}

class MetricsLog {
 public:
  /// Goes on with the folder's lines up to update `steps`. Throws IoError if the file cannot be
  /// read or written.
  MetricsLog(const std::filesystem::path& folder, Index steps) : path_(folder / metrics_name) {
    std::string kept;
    bool all = true;
    if (std::ifstream old(path_); old)
      for (std::string line; std::getline(old, line);) {
        const Index step = step_of_metrics(line);
        if (step >= 1 && step <= steps && !old.eof())
          kept += line + '\n';
        else
          all = false;
      }
    if (!all) io::write_file(path_, kept.data(), kept.size());
    file_.open(path_, std::ios::app);
    if (!file_) io::detail::throw_errno("cannot write", path_);
  }

  /// Adds a line, of an update of so many images. What cannot be written is told once and left out:
  /// a training is worth more than its metrics.
  void write(const TrainingStep& step, Index images) {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    std::string line = message("{\"step\":", step.step, ",\"loss\":");
    add(step.loss, line);
    line += ",\"loss_by_time\":[";
    for (std::size_t quarter = 0; quarter < step.loss_by_time.size(); ++quarter) {
      if (quarter > 0) line += ',';
      add(step.loss_by_time[quarter], line);
    }
    line += "],\"gradient_norm\":";
    add(step.gradient_norm, line);
    line += ",\"learning_rate\":";
    add(step.learning_rate, line);
    line += ",\"images_per_second\":";
    add(std::round(10 * static_cast<double>(images) / seconds) / 10, line);
    line += "}\n";
    if (!file_) return;
    file_ << line << std::flush;
    if (!file_)
      std::cerr << "\nwarning: " << path_.string() << ": cannot write, metrics end here\n";
  }

 private:
  static void add(double value, std::string& line) {
    if (std::isfinite(value))
      detail::to_text(value, line);
    else
      line += "null";
  }

  std::filesystem::path path_;
  std::ofstream file_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace ddpm::DDPM_ABI
