// The system's files, terminal and memory, see io/system.hpp. What fails sets errno.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>

#include "ddpm/io/system/file_status.hpp"

namespace ddpm::DDPM_ABI::io::system {

namespace detail {
inline void take(const struct stat& from, FileStatus& to) {
  to = {S_ISREG(from.st_mode),
        static_cast<std::uint64_t>(from.st_size),
        static_cast<std::uint64_t>(from.st_nlink),
        static_cast<std::uint64_t>(from.st_ino),
        static_cast<std::uint64_t>(from.st_dev),
        static_cast<unsigned>(from.st_mode & 07777)};
}
}  // namespace detail

/// An open file, or -1. Pipes do not hang.
inline int open_to_read(const Path& path) {
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}
/// The same, but not through a symbolic link.
inline int open_itself(const Path& path) {
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}
/// A new file to read and write; fails with EEXIST if there is one.
inline int create(const Path& path) {
  return ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}
inline int duplicate(int file) { return ::fcntl(file, F_DUPFD_CLOEXEC, 0); }
inline bool close(int file) { return ::close(file) == 0; }

/// Bytes read, 0 at the end, -1 on failure.
inline std::int64_t read(int file, void* data, std::size_t size) {
  return ::read(file, data, size);
}

/// Bytes written, or -1. Fails with EFBIG where a file grows past its limit, and not with the
/// signal SIGXFSZ, which would end the process.
inline std::int64_t write(int file, const void* data, std::size_t size) {
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

/// The place of the next write, from the start.
inline bool seek(int file, std::uint64_t place) {
  return ::lseek(file, static_cast<off_t>(place), SEEK_SET) >= 0;
}
inline bool flush(int file) { return ::fsync(file) == 0; }

/// Locks it until it and its duplicates are closed. Fails with EWOULDBLOCK if another has it open
/// and locked.
inline bool lock(int file) { return ::flock(file, LOCK_EX | LOCK_NB) == 0; }

inline bool status(int file, FileStatus& result) {
  struct stat found {};
  if (::fstat(file, &found) != 0) return false;
  detail::take(found, result);
  return true;
}
inline bool status(const Path& path, FileStatus& result) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return false;
  detail::take(found, result);
  return true;
}
inline bool set_mode(int file, unsigned mode) {
  return ::fchmod(file, static_cast<mode_t>(mode)) == 0;
}

inline bool remove(const Path& path) { return ::unlink(path.c_str()) == 0; }
/// Replaces what has that name.
inline bool rename(const Path& from, const Path& to) {
  return ::rename(from.c_str(), to.c_str()) == 0;
}
/// Makes the names in a folder durable. A folder that nobody may list cannot be flushed, nor can
/// those of some file systems: true.
inline bool flush_folder(const Path& path) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (folder < 0) return true;
  const bool done = ::fsync(folder) == 0 || errno == EINVAL || errno == ENOTSUP;
  const int error = errno;
  ::close(folder);
  errno = error;
  return done;
}

inline bool is_terminal(std::FILE* out) { return ::isatty(::fileno(out)) == 1; }
/// Columns of a terminal, 0 if they are not known.
inline std::size_t terminal_width(std::FILE* out) {
  winsize size{};
  return ::ioctl(::fileno(out), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/// Bytes of memory that this process holds, 0 if the system does not tell.
inline std::size_t resident_bytes() {
  std::size_t pages = 0, resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  const bool told = std::fscanf(file, "%zu %zu", &pages, &resident) == 2;
  std::fclose(file);
  return told ? resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace ddpm::DDPM_ABI::io::system
