// Writes safetensors: named tensors in one file. A 64-bit little-endian header length, a JSON
// header {name: {dtype, shape, data_offsets}, "__metadata__": {text: text}}, then the values,
// row-major.
//
// The metadata's "crc32" is the CRC-32 of the whole file as it would be with 00000000 there, in
// eight hexadecimal digits; "checksum" says that there is one, so that a damaged key is found too.
// Readers that do not know them see two more texts.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstdio>
#include <map>

#include "ddpm/core/tensor.hpp"
#include "ddpm/io/crc32.hpp"
#include "ddpm/io/file.hpp"

namespace ddpm::DDPM_ABI::io {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

using Metadata = std::map<std::string, std::string>;

template <class T>
struct NamedTensor {
  std::string name;
  Tensor<T> tensor;
};

/// A tensor to be written, float or double.
struct StoredTensor {
  std::string name;
  Shape shape;
  const void* data;
  std::size_t value_bytes;  ///< 4 or 8
  memory::Shared storage;   ///< keeps `data` alive

  template <class T>
  StoredTensor(std::string own_name, const Tensor<T>& tensor)
      : name(std::move(own_name)),
        shape(tensor.shape()),
        data(tensor.data()),
        value_bytes(sizeof(T)),
        storage(tensor.storage()) {}

  std::size_t bytes() const { return static_cast<std::size_t>(shape.size()) * value_bytes; }
};

namespace detail {

/// Length of the UTF-8 character at the start of `text`, 0 if there is none (RFC 3629).
inline std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  for (std::size_t i = 1; i < length; ++i)
    if (byte(i) >> 6 != 2) return 0;
  const bool overlong =
      first < 0xC2 || (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool beyond = first > 0xF4 || (first == 0xF4 && second >= 0x90) ||
                      (first == 0xED && second >= 0xA0);  // surrogates
  return overlong || beyond ? 0 : length;
}

/// Appends `value` as a JSON string (RFC 8259). Throws PreconditionError if it is no UTF-8.
inline void append_json(const std::string& value, std::string& json) {
  json += '"';
  for (std::size_t i = 0; i < value.size();) {
    const std::size_t length = utf8_length(std::string_view(value).substr(i));
    require(length > 0, "write_safetensors: a name or a text of the metadata is no UTF-8, at byte ",
            i, " of ", value.size());
    const char c = value[i];
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      json += escaped;
    } else {
      json.append(value, i, length);
    }
    i += length;
  }
  json += '"';
}

/// Where every header of ours begins, and the eight digits of its checksum follow.
inline constexpr std::string_view header_start = R"({"__metadata__":{"crc32":")";

/// The JSON header of a file of these tensors, the checksum zero, padded to a multiple of eight.
/// Throws PreconditionError as write_safetensors() does.
inline std::string safetensors_header(const std::vector<StoredTensor>& tensors,
                                      const Metadata& metadata) {
  std::string json(header_start);
  json += R"(00000000","checksum":"crc32")";
  for (const auto& [key, value] : metadata) {
    if (key == "crc32" || key == "checksum") continue;  // of the file that they came from
    json += ',';
    append_json(key, json);
    json += ':';
    append_json(value, json);
  }
  json += '}';
  Metadata names;
  std::size_t offset = 0;
  for (const StoredTensor& tensor : tensors) {
    require(tensor.name != "__metadata__", "write_safetensors: a tensor has the name ",
            "'__metadata__', which is that of the metadata");
    require(names.emplace(tensor.name, "").second, "write_safetensors: two tensors have the name '",
            tensor.name, "'");
    require(tensor.shape.rank() >= 1, "write_safetensors: tensor '", tensor.name, "' is ",
            tensor.shape, ", expected rank 1 to 4");
    json += ',';
    append_json(tensor.name, json);
    json +=
        tensor.value_bytes == 4 ? R"(:{"dtype":"F32","shape":[)" : R"(:{"dtype":"F64","shape":[)";
    for (int axis = 0; axis < tensor.shape.rank(); ++axis)
      json.append(axis > 0 ? "," : "").append(std::to_string(tensor.shape[axis]));
    json.append("],\"data_offsets\":[").append(std::to_string(offset));
    json.append(",").append(std::to_string(offset += tensor.bytes())).append("]}");
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  return json;
}

}  // namespace detail

/// Writes tensors and metadata; the tensors go out one by one, without a copy. An older file at
/// `path` stays whole until the new one is. Throws IoError if it cannot be written;
/// PreconditionError if two tensors have one name, one has that of the metadata or no extent, or a
/// text is no UTF-8.
inline void write_safetensors(const std::filesystem::path& path,
                              const std::vector<StoredTensor>& tensors,
                              const Metadata& metadata = {}) {
  const std::string header = detail::safetensors_header(tensors, metadata);
  const std::uint64_t length = header.size();
  AtomicFile file(path);
  Crc32 crc;
  const auto put = [&](const void* data, std::size_t size) {
    crc.add(data, size);
    file.write(data, size);
  };
  put(&length, sizeof length);
  put(header.data(), header.size());
  for (const StoredTensor& tensor : tensors) put(tensor.data, tensor.bytes());
  char digits[9];
  std::snprintf(digits, sizeof digits, "%08x", crc.value());
  file.overwrite(sizeof length + detail::header_start.size(), digits, 8);
  file.commit();
}

template <class T>
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<NamedTensor<T>>& tensors, const Metadata& metadata = {}) {
  std::vector<StoredTensor> stored;
  for (const auto& [name, tensor] : tensors) stored.emplace_back(name, tensor);
  write_safetensors(path, stored, metadata);
}

}  // namespace ddpm::DDPM_ABI::io
