// gzip, through zlib: checked to its CRC, and never larger than a limit.
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

namespace detail {

/// Unpacks a gzip file piece by piece: one member or several, one after the other, and zeros that
/// pad its end, as gzip itself reads it.
class GzipReader {
 public:
  GzipReader(const io::Bytes& packed, const std::string& name) : packed_(packed), name_(name) {
    constexpr int gzip_wrapper = 15 + 16;
    if (inflateInit2(&stream_, gzip_wrapper) != Z_OK) throw std::bad_alloc();
  }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;
  ~GzipReader() { inflateEnd(&stream_); }

  /// The next `size` bytes, fewer only at the end. Throws IoError if the file is damaged.
  std::size_t read(std::uint8_t* to, std::size_t size) {
    std::size_t done = 0;
    while (done < size && (status_ != Z_STREAM_END || next_member())) {
      constexpr std::size_t piece = std::size_t{1} << 30;  // zlib counts in 32 bits
      const std::size_t given = std::min(packed_.size() - read_, piece);
      const std::size_t room = std::min(size - done, piece);
      stream_.next_in = const_cast<Bytef*>(packed_.data() + read_);
      stream_.avail_in = static_cast<uInt>(given);
      stream_.next_out = to + done;
      stream_.avail_out = static_cast<uInt>(room);
      status_ = inflate(&stream_, Z_NO_FLUSH);
      read_ += given - stream_.avail_in;
      done += room - stream_.avail_out;
      if (status_ == Z_BUF_ERROR && read_ == packed_.size())
        throw IoError(message(name_, ": gzip cut short after ", packed_.size(), " bytes"));
      if (status_ == Z_MEM_ERROR) throw std::bad_alloc();
      if (status_ != Z_OK && status_ != Z_STREAM_END && status_ != Z_BUF_ERROR)
        throw IoError(message(name_, ": damaged gzip at byte ", read_, " (",
                              stream_.msg ? stream_.msg : "checksum", ")"));
    }
    return done;
  }

 private:
  /// Begins the next member. At the end of the file: false. Throws IoError if something else stands
  /// there.
  bool next_member() {
    if (packed_.size() - read_ >= 2 && packed_[read_] == 0x1f && packed_[read_ + 1] == 0x8b) {
      inflateReset(&stream_);
      return true;
    }
    const auto rest = packed_.begin() + static_cast<std::ptrdiff_t>(read_);
    if (std::any_of(rest, packed_.end(), [](std::uint8_t byte) { return byte != 0; }))
      throw IoError(
          message(name_, ": ", packed_.size() - read_, " bytes after the end of the gzip"));
    return false;
  }

  const io::Bytes& packed_;
  const std::string& name_;
  z_stream stream_{};
  std::size_t read_ = 0;
  int status_ = Z_OK;
};

}  // namespace detail

/// The first `size` unpacked bytes of a gzip file, fewer if it has no more. Throws IoError if it is
/// damaged there.
inline io::Bytes gunzip_start(const io::Bytes& packed, const std::string& name, std::size_t size) {
  io::Bytes bytes(size);
  bytes.resize(detail::GzipReader(packed, name).read(bytes.data(), size));
  return bytes;
}

/// The unpacked bytes of a gzip file. `name` stands in errors. Throws IoError if it is damaged, cut
/// short, followed by other bytes, or unpacks to more than `most` bytes. It is unpacked twice: the
/// first time only counts, so that no more memory is taken than the bytes need.
inline io::Bytes gunzip(const io::Bytes& packed, const std::string& name,
                        std::size_t most = std::size_t{1} << 29) {
  std::size_t size = 0;
  io::Bytes piece(std::size_t{1} << 16);
  detail::GzipReader counted(packed, name);
  while (const std::size_t got = counted.read(piece.data(), piece.size()))
    if ((size += got) > most)
      throw IoError(message(name, ": gzip unpacks to more than ", most, " bytes"));
  io::Bytes bytes(size);
  detail::GzipReader(packed, name).read(bytes.data(), size);
  return bytes;
}

/// The file's bytes, unpacked if they are gzip, then at most 512 MiB. Throws IoError.
inline io::Bytes read_maybe_gzip(const std::filesystem::path& path) {
  io::Bytes bytes = io::read_file(path);
  return is_gzip(bytes) ? gunzip(bytes, path.string()) : bytes;
}

}  // namespace ddpm::DDPM_ABI::data
