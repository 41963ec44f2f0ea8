// What a file of weights must be like before it is taken: checks for files of ours and of others.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI::io {

/// A tensor that a file should have.
struct WantedTensor {
  std::string name;
  Shape shape;
};

/// Throws IoError that lists every missing, unknown and misshapen tensor of the file; `source` and
/// "does not fit WHOSE" stand in it. Tensors whose names begin with `passed_over` are left out.
template <class File>
void check_tensors(const File& file, const std::string& source, const char* whose,
                   const std::vector<WantedTensor>& wanted, std::string_view passed_over = {}) {
  std::string problems;
  std::set<std::string_view> known;
  for (const auto& [name, shape] : wanted) {
    known.insert(name);
    if (!file.contains(name))
      problems += message("\n  missing: ", name, " ", shape);
    else if (file.shape(name) != shape)
      problems += message("\n  shape: ", name, " is ", file.shape(name), ", expected ", shape);
  }
  for (const std::string& name : file.names())
    if (!known.contains(name) && (passed_over.empty() || !name.starts_with(passed_over)))
      problems += message("\n  unknown: ", name);
  if (!problems.empty()) throw IoError(message(source, " does not fit ", whose, ":", problems));
}

/// Throws IoError if a network of that configuration needs more values than the file holds: before
/// anything of that size is made.
template <class Config, class File>
void check_config_size(const Config& config, const File& file, const std::string& source) {
  if constexpr (requires { config.fewest_values(); }) {
    const auto values = static_cast<double>(file.value_count());
    if (config.fewest_values() > values)
      throw IoError(message(source, ": its configuration needs more than ", config.fewest_values(),
                            " values, the file has ", values));
  }
}

}  // namespace ddpm::DDPM_ABI::io
