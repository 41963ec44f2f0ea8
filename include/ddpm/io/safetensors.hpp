// Reads safetensors; safetensors_writer.hpp says what is in them.
//
// Only files are taken whose tensors fill the buffer exactly, without gaps or overlaps; every size
// is checked before anything of that size is allocated. Limits: a header of 100,000,000 bytes (the
// format's own), 100,000 tensors, 16 MiB of metadata. Where the metadata have a checksum it is
// checked, over the whole file.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "ddpm/io/safetensors_writer.hpp"

namespace ddpm::DDPM_ABI::io {

namespace detail {

/// One entry of the header, as it stands there.
struct TensorEntry {
  std::string dtype;
  std::optional<std::vector<std::uint64_t>> shape;
  std::vector<std::uint64_t> offsets;
};

/// Bytes of a value, 0 if the type is not read.
inline std::size_t dtype_size(const std::string& dtype) {
  if (dtype == "F16" || dtype == "BF16") return 2;
  return dtype == "F32" ? 4 : dtype == "F64" ? 8 : 0;
}

/// The value of a half-precision number (IEEE 754 binary16).
inline float from_half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float value = 0;
  if (exponent == 31)
    value = fraction == 0 ? std::numeric_limits<float>::infinity()
                          : std::numeric_limits<float>::quiet_NaN();
  else if (exponent == 0)
    value = std::ldexp(static_cast<float>(fraction), -24);
  else
    value = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return (bits & 0x8000) != 0 ? -value : value;
}

/// The value of a bfloat16 number: the upper half of a float.
inline float from_bfloat16(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

/// Takes the header's JSON event by event, so that duplicate keys, negative numbers and fractions
/// are seen as they stand and not after a conversion. Fields of an entry that the format does not
/// know are passed over, as the reference reader does.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::map<std::string, TensorEntry> tensors;
  Metadata metadata;
  std::string error;

  bool null() override {
    const bool no_metadata = depth_ == 1 && outer_ == "__metadata__";
    return no_metadata || passed_over() || fail("null");
  }
  bool boolean(bool) override { return passed_over() || fail("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return passed_over() || fail(message("the negative number ", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return passed_over() || fail("the number " + clipped(text));
  }
  bool binary(binary_t&) override { return fail("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (passed_over()) return true;
    if (list_ == nullptr) return fail(message("the number ", value));
    if (list_->size() == 8) return fail("more than 8 extents");
    list_->push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (passed_over()) return true;
    if (depth_ == 2 && list_ == nullptr && outer_ == "__metadata__") {
      metadata_bytes_ += inner_.size() + value.size();
      if (metadata_bytes_ > most_metadata) return fail("more than 16 MiB of metadata");
      metadata[inner_] = value;
      return true;
    }
    if (depth_ != 2 || list_ != nullptr || inner_ != "dtype")
      return fail("the text " + clipped(value));
    tensors[outer_].dtype = value;
    return true;
  }

  bool start_object(std::size_t) override {
    if (skip_ != Skip::nothing) return enter_skipped();
    return ++depth_ <= 2 && list_ == nullptr ? true : fail("an object");
  }
  bool end_object() override {
    if (skip_ != Skip::nothing) return leave_skipped();
    --depth_;
    return true;
  }

  bool key(string_t& name) override {
    if (skip_ != Skip::nothing) return true;
    if (depth_ == 1) {
      outer_ = name;
      inner_keys_.clear();
      if (tensors.contains(name) || (name == "__metadata__" && seen_metadata_))
        return fail("a second time the key");
      if (name == "__metadata__")
        seen_metadata_ = true;
      else
        tensors[name];
      return tensors.size() <= most_tensors ? true : fail("more than 100000 tensors");
    }
    inner_ = name;
    if (!inner_keys_.emplace(name, 0).second) return fail("a second time the key");
    const bool known = name == "dtype" || name == "shape" || name == "data_offsets";
    if (outer_ != "__metadata__" && !known) skip_ = Skip::value;
    return true;
  }

  bool start_array(std::size_t) override {
    if (skip_ != Skip::nothing) return enter_skipped();
    if (depth_ != 2 || list_ != nullptr || outer_ == "__metadata__") return fail("a list");
    if (inner_ == "shape") list_ = &tensors[outer_].shape.emplace();
    if (inner_ == "data_offsets") list_ = &tensors[outer_].offsets;
    return list_ != nullptr ? true : fail("a list");
  }
  bool end_array() override {
    if (skip_ != Skip::nothing) return leave_skipped();
    list_ = nullptr;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    error = message("damaged JSON at byte ", 8 + position);
    return false;
  }

 private:
  /// What is passed over: a value that is to come, or what is inside of one.
  enum class Skip { nothing, value, inside };

  /// True if the value that has come belongs to an unknown field.
  bool passed_over() {
    if (skip_ == Skip::nothing) return false;
    if (skip_ == Skip::value) skip_ = Skip::nothing;
    return true;
  }
  bool enter_skipped() {
    skip_ = Skip::inside;
    return ++skipped_depth_ <= 64 ? true : fail("a deep structure");
  }
  bool leave_skipped() {
    if (--skipped_depth_ == 0) skip_ = Skip::nothing;
    return true;
  }

  bool fail(const std::string& what) {
    error = message("unexpected ", what, " at '", clipped(outer_), depth_ > 1 ? "." : "",
                    depth_ > 1 ? clipped(inner_) : "", "'");
    return false;
  }

  static constexpr std::size_t most_tensors = 100'000, most_metadata = std::size_t{16} << 20;

  std::size_t metadata_bytes_ = 0;
  int depth_ = 0, skipped_depth_ = 0;
  Skip skip_ = Skip::nothing;
  bool seen_metadata_ = false;
  std::string outer_, inner_;
  std::map<std::string, int> inner_keys_;
  std::vector<std::uint64_t>* list_ = nullptr;
};

}  // namespace detail

/// A safetensors file in memory, checked when it is opened.
class Safetensors {
 public:
  /// Throws IoError that names the file and what is wrong with it.
  static Safetensors read(const std::filesystem::path& path) {
    return Safetensors(read_file(path), path.string());
  }

  /// The same from bytes; `name` stands in errors.
  Safetensors(Bytes bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {
    constexpr std::uint64_t most = 100'000'000;
    std::uint64_t length = 0;
    if (bytes_.size() < 8) fail("a safetensors file of ", bytes_.size(), " bytes");
    std::memcpy(&length, bytes_.data(), 8);
    if (length > most || length > bytes_.size() - 8)
      fail("a safetensors header of ", length, " bytes in a file of ", bytes_.size());
    if (length == 0 || bytes_[8] != '{') fail("the safetensors header is no JSON object");
    buffer_ = 8 + static_cast<std::size_t>(length);
    detail::HeaderReader reader;
    // As characters: streams of unsigned bytes are no part of the standard.
    const char* begin = reinterpret_cast<const char*>(bytes_.data()) + 8;
    if (!nlohmann::json::sax_parse(begin, begin + length, &reader))
      fail("safetensors header: ", reader.error);
    entries_ = std::move(reader.tensors);
    metadata_ = std::move(reader.metadata);
    check_entries();
    check_sum();
  }

  const Metadata& metadata() const { return metadata_; }

  /// Names of all tensors, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& [name, entry] : entries_) result.push_back(name);
    return result;
  }

  /// Values of all tensors.
  std::uint64_t value_count() const {
    std::uint64_t count = 0;
    for (const auto& [name, entry] : entries_)
      count += (entry.offsets[1] - entry.offsets[0]) / detail::dtype_size(entry.dtype);
    return count;
  }

  bool contains(const std::string& name) const { return entries_.contains(name); }

  /// The shape of a tensor. Throws IoError if there is none of that name or its rank is above 4.
  Shape shape(const std::string& name) const {
    const auto& s = *entry(name).shape;
    const auto at = [&](std::size_t i) { return static_cast<Index>(s[i]); };
    switch (s.size()) {
      case 0: return {1};
      case 1: return {at(0)};
      case 2: return {at(0), at(1)};
      case 3: return {at(0), at(1), at(2)};
      case 4: return {at(0), at(1), at(2), at(3)};
      default: fail("tensor '", name, "' has rank ", s.size(), ", expected at most 4");
    }
  }

  /// A tensor, converted to T. Throws IoError as shape() does.
  template <class T>
  Tensor<T> tensor(const std::string& name) const {
    Tensor<T> result(shape(name));
    read(name, result);
    return result;
  }

  /// Copies a tensor, converted to T, to one of its shape. Throws IoError if there is no such
  /// tensor, PreconditionError if the shape is another.
  template <class T>
  void read(const std::string& name, const Tensor<T>& result) const {
    const auto& stored = entry(name);
    require_shape(name.c_str(), result.shape(), shape(name));
    const std::uint8_t* from = bytes_.data() + buffer_ + stored.offsets[0];
    const auto as_is = [](auto value) { return value; };
    if (stored.dtype == "F32")
      convert<float>(from, result, as_is);
    else if (stored.dtype == "F64")
      convert<double>(from, result, as_is);
    else if (stored.dtype == "F16")
      convert<std::uint16_t>(from, result, detail::from_half);
    else
      convert<std::uint16_t>(from, result, detail::from_bfloat16);
  }

 private:
  template <class... What>
  [[noreturn]] void fail(const What&... what) const {
    throw IoError(message(name_, ": ", what...));
  }

  const detail::TensorEntry& entry(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) fail("no tensor '", name, "'");
    return found->second;
  }

  template <class Stored, class T, class Value>
  static void convert(const std::uint8_t* from, const Tensor<T>& to, const Value& value_of) {
    for (Index i = 0; i < to.size(); ++i) {
      Stored value;
      std::memcpy(&value, from + static_cast<std::size_t>(i) * sizeof(Stored), sizeof(Stored));
      to[i] = static_cast<T>(value_of(value));
    }
  }

  void check_entries() const {
    const std::uint64_t size = bytes_.size() - buffer_;
    std::map<std::uint64_t, std::uint64_t> ranges;  // begin to end, of tensors that are not empty
    for (const auto& [name, entry] : entries_) {
      const auto wrong = [&, tensor = clipped(name)](const auto&... what) {
        fail("tensor '", tensor, "' ", what...);
      };
      const std::uint64_t width = detail::dtype_size(entry.dtype);
      if (width == 0)
        wrong("has dtype '", clipped(entry.dtype), "', expected F16, BF16, F32 or F64");
      if (!entry.shape) wrong("has no shape");
      if (entry.offsets.size() != 2) wrong("has no pair of data_offsets");
      const auto begin = entry.offsets[0], end = entry.offsets[1];
      if (begin > end || end > size) wrong("is at ", begin, " to ", end, " of ", size, " bytes");
      std::uint64_t bytes = width, extents = width;  // `extents`: as if none of them were 0
      for (const std::uint64_t extent : *entry.shape) {
        const std::uint64_t largest = std::uint64_t{1} << 62;
        if (extent != 0 && (extents > largest / extent || bytes > size / extent))
          wrong("has a shape that is larger than the file");
        bytes *= extent;
        extents *= std::max<std::uint64_t>(extent, 1);
      }
      if (bytes != end - begin) wrong("has ", end - begin, " bytes, its shape wants ", bytes);
      if (bytes > 0 && !ranges.emplace(begin, end).second) wrong("overlaps another");
    }
    std::uint64_t reached = 0;
    for (const auto& [begin, end] : ranges) {
      if (begin != reached)
        fail("the tensors ", begin < reached ? "overlap" : "leave a gap", " at byte ", begin,
             " of the buffer");
      reached = end;
    }
    if (reached != size) fail(size - reached, " bytes behind the last tensor");
  }

  /// The checksum, where there is one.
  void check_sum() const {
    const auto told = metadata_.find("crc32");
    if (told == metadata_.end()) {
      if (metadata_.contains("checksum")) fail("damaged: its metadata have lost their checksum");
      return;
    }
    if (!metadata_.contains("checksum")) fail("damaged: its metadata have lost the key 'checksum'");
    // As it stands in the header; no other text of JSON can hold these quotes.
    const std::string text = "\"crc32\":\"" + told->second + "\"";
    const auto header = bytes_.begin() + 8;
    const auto header_end = bytes_.begin() + static_cast<std::ptrdiff_t>(buffer_);
    const auto place = std::search(header, header_end, text.begin(), text.end());
    char expected[9] = "";
    if (place != header_end && told->second.size() == 8) {
      const auto digits = static_cast<std::size_t>(place - bytes_.begin()) + text.size() - 9;
      std::snprintf(expected, sizeof expected, "%08x",
                    Crc32()
                        .add(bytes_.data(), digits)
                        .add("00000000", 8)
                        .add(bytes_.data() + digits + 8, bytes_.size() - digits - 8)
                        .value());
    }
    if (told->second != expected)
      fail("damaged: the checksum of the file is ", expected, ", its metadata say '",
           clipped(told->second), "'");
  }

  Bytes bytes_;
  std::string name_;
  std::size_t buffer_ = 0;
  std::map<std::string, detail::TensorEntry> entries_;
  Metadata metadata_;
};

}  // namespace ddpm::DDPM_ABI::io
