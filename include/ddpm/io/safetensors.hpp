// safetensors: named tensors in one file. A 64-bit little-endian header length, a JSON header
// {name: {dtype, shape, data_offsets}, "__metadata__": {text: text}}, then the values, row-major.
//
// The reader takes only files whose tensors fill the buffer exactly, without gaps or overlaps, and
// checks every size before it allocates.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <map>
#include <nlohmann/json.hpp>

#include "ddpm/core/tensor.hpp"
#include "ddpm/io/file.hpp"

namespace ddpm::DDPM_ABI::io {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

using Metadata = std::map<std::string, std::string>;

template <class T>
struct NamedTensor {
  std::string name;
  Tensor<T> tensor;
};

namespace detail {

/// One entry of the header, as it stands there.
struct TensorEntry {
  std::string dtype;
  std::vector<std::uint64_t> shape, offsets;
};

inline std::size_t dtype_size(const std::string& dtype) {
  return dtype == "F32" ? 4 : dtype == "F64" ? 8 : 0;
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
    return passed_over() || fail("the number " + text);
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
      metadata[inner_] = value;
      return true;
    }
    if (depth_ != 2 || list_ != nullptr || inner_ != "dtype") return fail("the text " + value);
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
      return true;
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
    if (inner_ == "shape") list_ = &tensors[outer_].shape;
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
    error = message("unexpected ", what, " at '", outer_, depth_ > 1 ? "." : "",
                    depth_ > 1 ? inner_ : "", "'");
    return false;
  }

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
    const auto begin = bytes_.begin() + 8;
    if (!nlohmann::json::sax_parse(begin, begin + static_cast<std::ptrdiff_t>(length), &reader))
      fail("safetensors header: ", reader.error);
    entries_ = std::move(reader.tensors);
    metadata_ = std::move(reader.metadata);
    check_entries();
  }

  const Metadata& metadata() const { return metadata_; }

  /// Names of all tensors, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& [name, entry] : entries_) result.push_back(name);
    return result;
  }

  bool contains(const std::string& name) const { return entries_.contains(name); }

  /// The shape of a tensor. Throws IoError if there is none of that name or its rank is above 4.
  Shape shape(const std::string& name) const {
    const auto& s = entry(name).shape;
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
    const auto& stored = entry(name);
    const std::uint8_t* from = bytes_.data() + buffer_ + stored.offsets[0];
    if (stored.dtype == "F32")
      convert<float>(from, result);
    else
      convert<double>(from, result);
    return result;
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

  template <class Stored, class T>
  static void convert(const std::uint8_t* from, const Tensor<T>& to) {
    for (Index i = 0; i < to.size(); ++i) {
      Stored value;
      std::memcpy(&value, from + static_cast<std::size_t>(i) * sizeof(Stored), sizeof(Stored));
      to[i] = static_cast<T>(value);
    }
  }

  void check_entries() const {
    const std::uint64_t size = bytes_.size() - buffer_;
    std::map<std::uint64_t, std::uint64_t> ranges;  // begin to end, of tensors that are not empty
    for (const auto& [name, entry] : entries_) {
      const std::uint64_t width = detail::dtype_size(entry.dtype);
      if (width == 0)
        fail("tensor '", name, "' has dtype '", entry.dtype, "', expected F32 or F64");
      if (entry.offsets.size() != 2) fail("tensor '", name, "' has no pair of data_offsets");
      const auto begin = entry.offsets[0], end = entry.offsets[1];
      if (begin > end || end > size)
        fail("tensor '", name, "' is at ", begin, " to ", end, " of ", size, " bytes");
      std::uint64_t bytes = width;
      for (const std::uint64_t extent : entry.shape) {
        if (extent != 0 && bytes > size / extent)
          fail("the shape of tensor '", name, "' is larger than the file");
        bytes *= extent;
      }
      if (bytes != end - begin)
        fail("tensor '", name, "' has ", end - begin, " bytes, its shape wants ", bytes);
      if (bytes > 0 && !ranges.emplace(begin, end).second)
        fail("tensor '", name, "' overlaps another");
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

  Bytes bytes_;
  std::string name_;
  std::size_t buffer_ = 0;
  std::map<std::string, detail::TensorEntry> entries_;
  Metadata metadata_;
};

namespace detail {

/// The JSON header of a file of these tensors. Throws PreconditionError as write_safetensors()
/// does.
template <class T>
std::string safetensors_header(const std::vector<NamedTensor<T>>& tensors,
                               const Metadata& metadata) {
  nlohmann::json header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    require(name != "__metadata__", "write_safetensors: a tensor has the name '__metadata__', ",
            "which is that of the metadata");
    require(!header.contains(name), "write_safetensors: two tensors have the name '", name, "'");
    require(tensor.shape().rank() >= 1, "write_safetensors: tensor '", name, "' is ",
            tensor.shape(), ", expected rank 1 to 4");
    std::vector<Index> shape;
    for (int axis = 0; axis < tensor.shape().rank(); ++axis) shape.push_back(tensor.dim(axis));
    const std::size_t end = offset + static_cast<std::size_t>(tensor.size()) * sizeof(T);
    header[name] = {{"dtype", sizeof(T) == 4 ? "F32" : "F64"},
                    {"shape", shape},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  try {
    return header.dump();
  } catch (const nlohmann::json::exception& error) {
    throw PreconditionError(
        message("write_safetensors: a name or a text of the metadata is no UTF-8: ", error.what()));
  }
}

}  // namespace detail

/// Writes tensors (F32 or F64, as T is) and metadata; the tensors go out one by one, without a
/// copy. An older file at `path` stays whole until the new one is. Throws IoError if it cannot be
/// written; PreconditionError if two tensors have one name, one has that of the metadata or no
/// extent, or a text is no UTF-8.
template <class T>
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<NamedTensor<T>>& tensors, const Metadata& metadata = {}) {
  std::string text = detail::safetensors_header(tensors, metadata);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(text.data(), text.size());
  for (const auto& [name, tensor] : tensors)
    file.write(tensor.data(), static_cast<std::size_t>(tensor.size()) * sizeof(T));
  file.commit();
}

}  // namespace ddpm::DDPM_ABI::io
