// Whole files: read with their size known, written so that the name never shows half a file.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "ddpm/core/error.hpp"
#include "ddpm/io/system.hpp"

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
    if (descriptor_ >= 0) system::close(descriptor_);
  }

  int get() const { return descriptor_; }
  /// Closes now; false if that fails.
  bool close() { return system::close(std::exchange(descriptor_, -1)); }

 private:
  int descriptor_;
};

}  // namespace detail

/// The bytes of a regular file. Pipes and devices are refused, so that none can hang or never end.
/// Throws IoError with path and reason, also if the file is larger than `most` bytes.
inline Bytes read_file(const std::filesystem::path& path,
                       std::size_t most = std::numeric_limits<std::size_t>::max()) {
  const detail::Descriptor file(system::open_to_read(path));
  if (file.get() < 0) detail::throw_errno("cannot open", path);
  system::FileStatus status;
  if (!system::status(file.get(), status)) detail::throw_errno("cannot read its size", path);
  if (!status.regular) throw IoError(message(path.string(), ": not a regular file"));
  if (status.size > most)
    throw IoError(
        message(path.string(), ": a file of ", status.size, " bytes, expected at most ", most));
  Bytes bytes(static_cast<std::size_t>(status.size));
  for (std::size_t done = 0; done < bytes.size();) {
    const std::int64_t got = system::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) detail::throw_errno("cannot read", path);
    if (got == 0)
      throw IoError(message(path.string(), ": ended after ", done, " of ", bytes.size(), " bytes"));
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

namespace detail {

/// A temporary file in a folder, locked while its writer lives. What a writer that was killed left
/// behind carries no lock: the next one takes its name.
class TemporaryFile {
 public:
  /// Throws IoError that names `target`.
  TemporaryFile(const std::filesystem::path& folder, const std::filesystem::path& target)
      : file_(create(folder, target)), lock_(system::duplicate(file_.get())) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) system::remove(path_);
  }

  int get() const { return file_.get(); }
  /// Closes now, still locked; false if that fails.
  bool close() { return file_.close(); }
  /// Gives it its name for good; false if that fails.
  bool rename(const std::filesystem::path& name) {
    if (!system::rename(path_, name)) return false;
    path_.clear();
    return true;
  }

 private:
  int create(const std::filesystem::path& folder, const std::filesystem::path& target) {
    for (int i = 0; i < 1000; ++i) {
      path_ = folder / (".ddpm-" + std::to_string(i) + ".tmp");
      remove_if_left(path_);
      const int file = system::create(path_);
      if (file < 0 && errno == EEXIST) continue;  // another writer is at work
      if (file < 0) break;
      system::FileStatus status;
      const bool locked = system::lock(file) || errno != EWOULDBLOCK;
      // Another writer may have taken it for left over before it was locked.
      if (locked && system::status(file, status) && status.links == 1) return file;
      system::close(file);
    }
    const int error = errno;
    path_.clear();
    errno = error;
    throw_errno("cannot create", target);
  }

  /// Removes a file whose writer is gone: nobody holds its lock.
  static void remove_if_left(const std::filesystem::path& path) {
    const Descriptor file(system::open_itself(path));
    if (file.get() < 0 || !system::lock(file.get())) return;
    system::FileStatus opened, named;
    if (system::status(file.get(), opened) && system::status(path, named) &&
        opened.same_file(named))
      system::remove(path);
  }

  std::filesystem::path path_;
  Descriptor file_, lock_;
};

}  // namespace detail

/// Writes a file in pieces under a temporary name in its folder; commit() makes it durable and
/// gives it its name. Without commit() nothing is left. Symbolic links stay and the file that they
/// lead to is replaced; the new file has the old one's permissions.
class AtomicFile {
 public:
  /// Throws IoError if no file can be made there, or something stands there that is no regular
  /// file.
  explicit AtomicFile(const std::filesystem::path& path)
      : path_(path),
        target_(followed(path)),
        folder_(target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".")),
        file_(folder_, path) {
    system::FileStatus old;
    if (!system::status(target_, old)) return;
    if (!old.regular)
      throw IoError(message(path_.string(), ": stands there and is not a regular file"));
    if (!system::set_mode(file_.get(), old.mode))
      detail::throw_errno("cannot set the permissions of", path_);
  }

  /// Appends `size` bytes. Throws IoError.
  void write(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    while (size > 0) {
      const std::int64_t put = system::write(file_.get(), bytes, size);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) detail::throw_errno("cannot write", path_);
      bytes += put;
      size -= static_cast<std::size_t>(put);
    }
  }

  /// Writes over bytes that are already there, from `offset` on. Throws IoError.
  void overwrite(std::size_t offset, const void* data, std::size_t size) {
    if (!system::seek(file_.get(), offset)) detail::throw_errno("cannot write", path_);
    write(data, size);
  }

  /// Throws IoError; an older file of that name is then untouched, unless the text says that the
  /// new one stands there.
  void commit() {
    if (!system::flush(file_.get())) detail::throw_errno("cannot flush", path_);
    if (!file_.close()) detail::throw_errno("cannot close", path_);
    if (!file_.rename(target_)) detail::throw_errno("cannot name", path_);
    if (!system::flush_folder(folder_))
      detail::throw_errno(
          "the new file stands, but may be gone after a power failure; cannot flush its folder",
          path_);
  }

 private:
  /// Where a symbolic link leads in the end; the path itself if it is none.
  static std::filesystem::path followed(const std::filesystem::path& path) {
    std::filesystem::path target = path;
    std::error_code error;
    for (int links = 0; std::filesystem::is_symlink(target, error); ++links) {
      if (links == 40)
        throw IoError(message(path.string(), ": the symbolic link leads in a circle"));
      target = target.parent_path() / std::filesystem::read_symlink(target, error);
      if (error) throw IoError(message(path.string(), ": cannot follow: ", error.message()));
    }
    return target;
  }

  std::filesystem::path path_, target_, folder_;
  detail::TemporaryFile file_;
};

/// Replaces the file at `path` by `size` bytes. Throws IoError.
inline void write_file(const std::filesystem::path& path, const void* data, std::size_t size) {
  AtomicFile file(path);
  file.write(data, size);
  file.commit();
}

}  // namespace ddpm::DDPM_ABI::io
