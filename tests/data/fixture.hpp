// Files that the tests of the readers are given.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "../support.hpp"
#include "ddpm/data/gzip.hpp"

namespace test {

inline io::Bytes idx(std::initializer_list<Index> extents, Index elements) {
  io::Bytes bytes{0, 0, 8, static_cast<std::uint8_t>(extents.size())};
  for (const Index extent : extents)
    for (const int shift : {24, 16, 8, 0})
      bytes.push_back(static_cast<std::uint8_t>(extent >> shift));
  for (Index i = 0; i < elements; ++i) bytes.push_back(static_cast<std::uint8_t>(i % 256));
  return bytes;
}

inline io::Bytes gzip(const io::Bytes& bytes) {
  io::Bytes packed(bytes.size() + 1000);
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

inline void write(const std::filesystem::path& path, const io::Bytes& bytes) {
  io::write_file(path, bytes.data(), bytes.size());
}

}  // namespace test
