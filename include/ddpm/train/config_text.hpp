// Configurations as text, field by field, for the metadata of weight files.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <map>
#ifndef __cpp_lib_to_chars
#include <locale>
#include <sstream>
#endif
#include <string>
#include <string_view>
#include <vector>

#include "ddpm/core/enum_names.hpp"
#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI {

namespace detail {

/// Whole numbers; neither bool nor a character.
template <class N>
concept WholeNumber = std::is_same_v<N, Index> || std::is_same_v<N, std::uint64_t>;

template <WholeNumber N>
void to_text(N value, std::string& text) {
  text += std::to_string(value);
}
template <std::same_as<bool> B>
void to_text(B value, std::string& text) {
  text += value ? "true" : "false";
}

template <NamedEnum E>
void to_text(E value, std::string& text) {
  text += name_of(value);
}
inline void to_text(double value, std::string& text) {
  char buffer[32];
  text.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}
template <class V>
void to_text(const std::vector<V>& values, std::string& text) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += ',';
    to_text(values[i], text);
  }
}

template <WholeNumber N>
bool from_text(const std::string& text, N& value) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  return result.ec == std::errc() && result.ptr == end;
}
inline bool from_text(const std::string& text, double& value) {
#ifdef __cpp_lib_to_chars
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  return result.ec == std::errc() && result.ptr == end;
#else  // libc++ before 20 reads no floating-point numbers that way
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  stream >> std::noskipws >> value;
  return !stream.fail() && stream.peek() == std::istringstream::traits_type::eof();
#endif
}
inline bool from_text(const std::string& text, bool& value) {
  value = text == "true";
  return value || text == "false";
}
template <NamedEnum E>
bool from_text(const std::string& text, E& value) {
  const auto found = value_of<E>(text);
  if (found) value = *found;
  return found.has_value();
}
template <class V>
bool from_text(const std::string& text, std::vector<V>& values) {
  values.clear();
  for (std::size_t first = 0; first < text.size();) {
    const std::size_t comma = std::min(text.find(',', first), text.size());
    if (!from_text(text.substr(first, comma - first), values.emplace_back())) return false;
    first = comma + 1;
  }
  return true;
}

/// The text of prefix.name.
[[gnu::noinline]] inline std::string& entry_of(std::map<std::string, std::string>& text,
                                               const std::string& prefix, const char* name) {
  return text[prefix + "." + name];
}

}  // namespace detail

/// Adds every field of `config` to `text` as prefix.name.
template <class Config>
void write_config(const Config& config, const std::string& prefix,
                  std::map<std::string, std::string>& text) {
  Config::fields(config, [&](const char* name, const auto& value) {
    detail::to_text(value, detail::entry_of(text, prefix, name));
  });
}

/// True if files of older versions do not have the field.
template <class Config>
bool is_later_field(std::string_view name) {
  if constexpr (requires { Config::later_fields; })
    return std::find(Config::later_fields.begin(), Config::later_fields.end(), name) !=
           Config::later_fields.end();
  return false;
}

/// Adds such fields, with their defaults, where they are not there.
template <class Config>
void add_later_fields(const std::string& prefix, std::map<std::string, std::string>& text) {
  std::map<std::string, std::string> defaults;
  write_config(Config{}, prefix, defaults);
  for (const auto& [key, value] : defaults)
    if (is_later_field<Config>(std::string_view(key).substr(prefix.size() + 1)))
      text.emplace(key, value);
}

/// The configuration that write_config() wrote; members that are no fields are those of `config`.
/// The fields of Config::later_fields keep their values if they are not there, so that files from
/// before there were such fields can be read. `source` stands in errors. Throws IoError that names
/// the first field which is missing, cannot be read or is not known.
template <class Config>
Config read_config(const std::map<std::string, std::string>& text, const std::string& prefix,
                   const std::string& source, Config config = {}) {
  std::map<std::string, std::string> left;
  for (const auto& [key, value] : text)
    if (key.starts_with(prefix + ".")) left.emplace(key, value);
  Config::fields(config, [&](const char* name, auto& value) {
    const auto found = left.find(prefix + "." + name);
    if (found == left.end()) {
      if (is_later_field<Config>(name)) return;
      throw IoError(message(source, ": the metadata has no '", prefix, ".", name, "'"));
    }
    if (!detail::from_text(found->second, value))
      throw IoError(
          message(source, ": the metadata's '", found->first, "' is '", found->second, "'"));
    left.erase(found);
  });
  if (!left.empty())
    throw IoError(message(source, ": the metadata's '", left.begin()->first,
                          "' is not known to this version"));
  return config;
}

}  // namespace ddpm::DDPM_ABI
