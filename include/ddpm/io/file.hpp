// Whole files: read with their size known, written so that the name never shows half a file.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
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
/// Throws IoError with path and reason, also if the file is larger than `most` bytes.
inline Bytes read_file(const std::filesystem::path& path,
                       std::size_t most = std::numeric_limits<std::size_t>::max()) {
  const detail::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) detail::throw_errno("cannot open", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) detail::throw_errno("cannot read its size", path);
  if (!S_ISREG(status.st_mode)) throw IoError(message(path.string(), ": not a regular file"));
  if (static_cast<std::size_t>(status.st_size) > most)
    throw IoError(
        message(path.string(), ": a file of ", status.st_size, " bytes, expected at most ", most));
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

namespace detail {

/// write() that fails with EFBIG where a file grows past its limit, and not with the signal
/// SIGXFSZ, which would end the process.
inline ssize_t write_without_signal(int file, const void* data, std::size_t size) {
  sigset_t file_size, before, pending;
  sigemptyset(&file_size);
  sigaddset(&file_size, SIGXFSZ);
  sigpending(&pending);
  const bool waited = sigismember(&pending, SIGXFSZ) == 1;  // somebody else's
  pthread_sigmask(SIG_BLOCK, &file_size, &before);
  const ssize_t put = ::write(file, data, size);
  const int error = errno;
  if (put < 0 && error == EFBIG && !waited) {
    sigpending(&pending);
    int signal = 0;
    if (sigismember(&pending, SIGXFSZ) == 1) sigwait(&file_size, &signal);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return put;
}

/// A temporary file in a folder, locked while its writer lives. What a writer that was killed left
/// behind carries no lock: the next one takes its name.
class TemporaryFile {
 public:
  /// Throws IoError that names `target`.
  TemporaryFile(const std::filesystem::path& folder, const std::filesystem::path& target)
      : file_(create(folder, target)), lock_(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  int get() const { return file_.get(); }
  /// Closes now, still locked; false if that fails.
  bool close() { return file_.close(); }
  /// Gives it its name for good; false if that fails.
  bool rename(const std::filesystem::path& name) {
    if (::rename(path_.c_str(), name.c_str()) != 0) return false;
    path_.clear();
    return true;
  }

 private:
  int create(const std::filesystem::path& folder, const std::filesystem::path& target) {
    for (int i = 0; i < 1000; ++i) {
      path_ = folder / (".ddpm-" + std::to_string(i) + ".tmp");
      remove_if_left(path_);
      const int file = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (file < 0 && errno == EEXIST) continue;  // another writer is at work
      if (file < 0) break;
      struct stat status {};
      const bool locked = ::flock(file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
      // Another writer may have taken it for left over before it was locked.
      if (locked && ::fstat(file, &status) == 0 && status.st_nlink == 1) return file;
      ::close(file);
    }
    const int error = errno;
    path_.clear();
    errno = error;
    throw_errno("cannot create", target);
  }

  /// Removes a file whose writer is gone: nobody holds its lock.
  static void remove_if_left(const std::filesystem::path& path) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (file.get() < 0 || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return;
    struct stat opened {
    }, named{};
    if (::fstat(file.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
        opened.st_ino == named.st_ino && opened.st_dev == named.st_dev)
      ::unlink(path.c_str());
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
    struct stat old {};
    if (::stat(target_.c_str(), &old) != 0) return;
    if (!S_ISREG(old.st_mode))
      throw IoError(message(path_.string(), ": stands there and is not a regular file"));
    if (::fchmod(file_.get(), old.st_mode & 07777) != 0)
      detail::throw_errno("cannot set the permissions of", path_);
  }

  /// Appends `size` bytes. Throws IoError.
  void write(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    while (size > 0) {
      const ssize_t put = detail::write_without_signal(file_.get(), bytes, size);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) detail::throw_errno("cannot write", path_);
      bytes += put;
      size -= static_cast<std::size_t>(put);
    }
  }

  /// Writes over bytes that are already there, from `offset` on. Throws IoError.
  void overwrite(std::size_t offset, const void* data, std::size_t size) {
    if (::lseek(file_.get(), static_cast<off_t>(offset), SEEK_SET) < 0)
      detail::throw_errno("cannot write", path_);
    write(data, size);
  }

  /// Throws IoError; an older file of that name is then untouched, unless the text says that the
  /// new one stands there.
  void commit() {
    if (::fsync(file_.get()) != 0) detail::throw_errno("cannot flush", path_);
    if (!file_.close()) detail::throw_errno("cannot close", path_);
    if (!file_.rename(target_)) detail::throw_errno("cannot name", path_);
    // A folder that nobody may list cannot be flushed, nor can those of some file systems.
    const detail::Descriptor folder(::open(folder_.c_str(), O_RDONLY | O_CLOEXEC));
    if (folder.get() >= 0 && ::fsync(folder.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
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
