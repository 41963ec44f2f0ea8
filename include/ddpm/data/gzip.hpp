// gzip, through zlib: checked to its CRC, and never larger than a cap.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <zlib.h>

#include <algorithm>
#include <string>

#include "ddpm/io/file.hpp"

namespace ddpm::DDPM_ABI::data {

/// True if the bytes begin as a gzip member does.
inline bool is_gzip(const io::Bytes& bytes) {
  return bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

/// The unpacked bytes of a gzip file: one member or several, one after the other, and zeros that
/// pad its end, as gzip itself reads it. `name` stands in errors. Throws IoError if the stream is
/// damaged, cut short, followed by other bytes, or unpacks to more than `most` bytes.
inline io::Bytes gunzip(const io::Bytes& packed, const std::string& name,
                        std::size_t most = std::size_t{2} << 30) {
  constexpr int gzip_wrapper = 15 + 16;
  z_stream stream{};
  if (inflateInit2(&stream, gzip_wrapper) != Z_OK) throw std::bad_alloc();
  struct End {
    z_stream& stream;
    ~End() { inflateEnd(&stream); }
  } const end{stream};

  io::Bytes bytes;
  std::size_t read = 0;
  int status = Z_OK;
  const auto member_follows = [&] {
    return packed.size() - read >= 2 && packed[read] == 0x1f && packed[read + 1] == 0x8b;
  };
  while (status != Z_STREAM_END || member_follows()) {
    if (status == Z_STREAM_END) inflateReset(&stream);
    constexpr std::size_t piece = std::size_t{1} << 20;
    const std::size_t before = bytes.size();
    bytes.resize(before + piece);
    const std::size_t given = std::min(packed.size() - read, piece);
    stream.next_in = const_cast<Bytef*>(packed.data() + read);
    stream.avail_in = static_cast<uInt>(given);
    stream.next_out = bytes.data() + before;
    stream.avail_out = static_cast<uInt>(piece);
    status = inflate(&stream, Z_NO_FLUSH);
    read += given - stream.avail_in;
    bytes.resize(before + piece - stream.avail_out);
    if (bytes.size() > most)
      throw IoError(message(name, ": gzip unpacks to more than ", most, " bytes"));
    if (status == Z_BUF_ERROR && read == packed.size())
      throw IoError(message(name, ": gzip cut short after ", packed.size(), " bytes"));
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      throw IoError(message(name, ": damaged gzip at byte ", read, " (",
                            stream.msg ? stream.msg : "checksum", ")"));
  }
  const auto rest = packed.begin() + static_cast<std::ptrdiff_t>(read);
  if (std::any_of(rest, packed.end(), [](std::uint8_t byte) { return byte != 0; }))
    throw IoError(message(name, ": ", packed.size() - read, " bytes after the end of the gzip"));
  return bytes;
}

/// The file's bytes, unpacked if they are gzip. Throws IoError.
inline io::Bytes read_maybe_gzip(const std::filesystem::path& path) {
  io::Bytes bytes = io::read_file(path);
  return is_gzip(bytes) ? gunzip(bytes, path.string()) : bytes;
}

}  // namespace ddpm::DDPM_ABI::data
