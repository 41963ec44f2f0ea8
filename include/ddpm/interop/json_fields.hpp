// A JSON object of settings, read field by field. What is wrong is gathered, so that one error
// names all of it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ddpm/core/shape.hpp"
#include "ddpm/io/file.hpp"

namespace ddpm::DDPM_ABI::interop::detail {

using Json = nlohmann::ordered_json;

/// A value as it stands in the file, not longer than a line.
inline std::string json_text(const Json& value) {
  return clipped(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

class JsonFields {
 public:
  /// Throws IoError unless there is a file that holds one JSON object, of at most 64 MiB.
  explicit JsonFields(const std::filesystem::path& path) : source_(path.string()) {
    const io::Bytes bytes = io::read_file(path, std::size_t{64} << 20);
    const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
      if (depth > most_depth) fail("a structure deeper than ", most_depth);
      if (event == Json::parse_event_t::key && depth == 1 && !keys_.insert(value).second)
        fail("the key ", json_text(value), " stands there twice");
      return true;
    };
    try {
      const char* begin = reinterpret_cast<const char*>(bytes.data());
      object_ = Json::parse(begin, begin + bytes.size(), check);
    } catch (const Json::parse_error& error) {
      fail("damaged JSON at byte ", error.byte);
    } catch (const Json::exception&) {  // a number out of range
      fail("damaged JSON, a number is out of range");
    }
    if (!object_.is_object()) fail("holds ", json_text(object_), ", expected a JSON object");
  }

  bool has(const std::string& key) const { return object_.contains(key); }
  bool is_null(const std::string& key) const { return has(key) && object_[key].is_null(); }
  bool is_list(const std::string& key) const { return has(key) && object_[key].is_array(); }

  /// Notes a problem of a field: "NAME is VALUE, what...". Of very many the first are told.
  template <class... What>
  void problem(const std::string& key, const What&... what) {
    if (++problem_count_ > most_problems) return;
    problems_ +=
        message("\n  ", clipped(key), has(key) ? " is " + json_text(object_[key]) : " is missing",
                ", ", what...);
  }

  /// A field, or `fallback` if it is not there; without one it must be.
  Index whole(const std::string& key, std::optional<Index> fallback = std::nullopt) {
    return read<Index>(key, fallback, "expected a whole number", whole_of);
  }
  double number(const std::string& key, std::optional<double> fallback = std::nullopt) {
    return read<double>(key, fallback, "expected a number", number_of);
  }
  bool flag(const std::string& key, std::optional<bool> fallback = std::nullopt) {
    return read<bool>(key, fallback, "expected true or false", [](const Json& value) {
      return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt;
    });
  }
  std::string text(const std::string& key,
                   const std::optional<std::string>& fallback = std::nullopt) {
    return read<std::string>(key, fallback, "expected a text", text_of);
  }
  std::vector<Index> wholes(const std::string& key) {
    return list<Index>(key, "expected a list of whole numbers", whole_of);
  }
  std::vector<double> numbers(const std::string& key) {
    return list<double>(key, "expected a list of numbers", number_of);
  }
  std::vector<std::string> texts(const std::string& key) {
    return list<std::string>(key, "expected a list of texts", text_of);
  }

  /// Notes a problem unless the field is not there or has one of these values.
  void only(const std::string& key, std::initializer_list<Json> supported) {
    seen_.insert(key);
    if (!has(key)) return;
    std::string list;
    for (const Json& value : supported) {
      if (value == object_[key] && value.is_boolean() == object_[key].is_boolean()) return;
      list += (list.empty() ? "" : " or ") + json_text(value);
    }
    problem(key, "supported is ", list);
  }

  /// Passes over a field.
  void ignore(const std::string& key) { seen_.insert(key); }

  /// Throws IoError that lists all problems, and every field that was not asked for and says
  /// something; fields that begin with '_' tell where the file comes from.
  void finish() {
    for (const auto& [key, value] : object_.items())
      if (!seen_.contains(key) && !key.starts_with('_') && !value.is_null() && value != Json(false))
        problem(key, "which is not known to this version");
    if (problem_count_ > most_problems)
      problems_ += message("\n  and ", problem_count_ - most_problems, " more");
    if (problem_count_ > 0) throw IoError(message(source_, " cannot be taken over:", problems_));
  }

 private:
  static constexpr int most_depth = 16;
  static constexpr Index most_problems = 40;

  template <class... What>
  [[noreturn]] void fail(const What&... what) const {
    throw IoError(message(source_, ": ", what...));
  }

  static std::optional<Index> whole_of(const Json& value) {
    if (value.is_number_unsigned() && value.get<std::uint64_t>() >> 63 != 0) return std::nullopt;
    return value.is_number_integer() ? std::optional(value.get<Index>()) : std::nullopt;
  }
  static std::optional<double> number_of(const Json& value) {
    return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
  }
  static std::optional<std::string> text_of(const Json& value) {
    return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
  }

  template <class V, class Of>
  V read(const std::string& key, const std::optional<V>& fallback, const char* expected,
         const Of& of) {
    seen_.insert(key);
    if (!has(key) && fallback) return *fallback;
    const std::optional<V> value = has(key) ? of(object_[key]) : std::nullopt;
    if (!value) problem(key, expected);
    return value.value_or(fallback.value_or(V{}));
  }

  template <class V, class Of>
  std::vector<V> list(const std::string& key, const char* expected, const Of& of) {
    const auto values_of = [&](const Json& list) -> std::optional<std::vector<V>> {
      if (!list.is_array()) return std::nullopt;
      std::vector<V> values;
      for (const Json& item : list) {
        const std::optional<V> value = of(item);
        if (!value) return std::nullopt;
        values.push_back(*value);
      }
      return values;
    };
    return read<std::vector<V>>(key, std::nullopt, expected, values_of);
  }

  std::string source_, problems_;
  Index problem_count_ = 0;
  Json object_;
  std::set<Json> keys_;
  std::set<std::string> seen_;
};

}  // namespace ddpm::DDPM_ABI::interop::detail
