// Whole files: read with their size known, written so that the name never shows half a file.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "ddpm/core/error.hpp"

namespace ddpm::DDPM_ABI::io {

using Bytes = std::vector<std::uint8_t>;

namespace detail {

[[noreturn]] inline void throw_errno(const char* what, const std::filesystem::path& path) {
  throw IoError(message(path.string(), ": ", what, ": ", std::generic_category().message(errno)));
}

/// An open file, closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  int get() const { return descriptor_; }
  /// Closes now; false if that fails.
  bool close() { return ::close(std::exchange(descriptor_, -1)) == 0; }

 private:
  int descriptor_;
};

}  // namespace detail

/// The bytes of a regular file. Pipes and devices are refused, so that none can hang or never end.
/// Throws IoError with path and reason.
inline Bytes read_file(const std::filesystem::path& path) {
  const detail::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) detail::throw_errno("cannot open", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) detail::throw_errno("cannot read its size", path);
  if (!S_ISREG(status.st_mode)) throw IoError(message(path.string(), ": not a regular file"));
  Bytes bytes(static_cast<std::size_t>(status.st_size));
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) detail::throw_errno("cannot read", path);
    if (got == 0)
      throw IoError(message(path.string(), ": ended after ", done, " of ", bytes.size(), " bytes"));
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

/// Writes a file in pieces under a temporary name beside `path`; commit() makes it durable and
/// gives it its name. Without commit() nothing is left.
class AtomicFile {
 public:
  /// Throws IoError if no file can be made there.
  explicit AtomicFile(std::filesystem::path path) : path_(std::move(path)), file_(create()) {}
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  /// Appends `size` bytes. Throws IoError.
  void write(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    while (size > 0) {
      const ssize_t put = ::write(file_.get(), bytes, size);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) detail::throw_errno("cannot write", path_);
      bytes += put;
      size -= static_cast<std::size_t>(put);
    }
  }

  /// Throws IoError; an older file of that name is then untouched.
  void commit() {
    if (::fsync(file_.get()) != 0) detail::throw_errno("cannot flush", path_);
    if (!file_.close()) detail::throw_errno("cannot close", path_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) detail::throw_errno("cannot name", path_);
    committed_ = true;
    const detail::Descriptor folder(::open(folder_of(path_).c_str(), O_RDONLY | O_CLOEXEC));
    if (folder.get() < 0 || ::fsync(folder.get()) != 0)
      detail::throw_errno("cannot flush the folder of", path_);
  }

 private:
  static std::filesystem::path folder_of(const std::filesystem::path& path) {
    return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  }

  /// A name left over by a crash is passed over.
  int create() {
    for (int i = 0; i < 1000; ++i) {
      temporary_ = path_;
      temporary_ += ".tmp" + std::to_string(::getpid()) + "-" + std::to_string(i);
      const int file = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (file >= 0) return file;
      if (errno != EEXIST) break;
    }
    detail::throw_errno("cannot create", path_);
  }

  std::filesystem::path path_, temporary_;
  detail::Descriptor file_;
  bool committed_ = false;
};

/// Replaces the file at `path` by `size` bytes. Throws IoError.
inline void write_file(const std::filesystem::path& path, const void* data, std::size_t size) {
  AtomicFile file(path);
  file.write(data, size);
  file.commit();
}

}  // namespace ddpm::DDPM_ABI::io
