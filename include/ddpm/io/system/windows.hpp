// The system's files, terminal and memory on Windows, see io/system.hpp and posix.hpp, which tells
// what each function does. Files are those of the C library, opened so that they can be renamed and
// removed while they are open.
//
// SPDX-License-Identifier: MIT
#pragma once

#ifndef NOMINMAX
#define DDPM_NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define DDPM_WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <fcntl.h>
#include <io.h>
#include <windows.h>
// psapi.h needs windows.h before it.
#include <psapi.h>
#ifdef DDPM_NOMINMAX
#undef NOMINMAX
#undef DDPM_NOMINMAX
#endif
#ifdef DDPM_WIN32_LEAN_AND_MEAN
#undef WIN32_LEAN_AND_MEAN
#undef DDPM_WIN32_LEAN_AND_MEAN
#endif

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>

#include "ddpm/io/system/file_status.hpp"

namespace ddpm::DDPM_ABI::io::system {

namespace detail {

inline HANDLE handle_of(int file) { return reinterpret_cast<HANDLE>(::_get_osfhandle(file)); }

/// Sets errno from the last error; false.
inline bool failed() {
  switch (::GetLastError()) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME: errno = ENOENT; break;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION: errno = EACCES; break;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS: errno = EEXIST; break;
    case ERROR_LOCK_VIOLATION:
    case ERROR_IO_PENDING: errno = EWOULDBLOCK; break;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL: errno = ENOSPC; break;
    default: errno = EIO;
  }
  return false;
}

inline int open(const Path& path, DWORD access, DWORD how, DWORD flags, int for_library) {
  const HANDLE handle =
      ::CreateFileW(path.c_str(), access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    nullptr, how, flags, nullptr);
  if (handle == INVALID_HANDLE_VALUE) return failed() ? 0 : -1;
  return ::_open_osfhandle(reinterpret_cast<std::intptr_t>(handle), for_library | _O_BINARY);
}

inline bool status(HANDLE handle, FileStatus& result) {
  BY_HANDLE_FILE_INFORMATION found{};
  if (handle == INVALID_HANDLE_VALUE || ::GetFileInformationByHandle(handle, &found) == 0)
    return failed();
  const auto both = [](DWORD high, DWORD low) { return std::uint64_t{high} << 32 | low; };
  result.regular = (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) == 0 &&
                   ::GetFileType(handle) == FILE_TYPE_DISK;
  result.size = both(found.nFileSizeHigh, found.nFileSizeLow);
  result.links = found.nNumberOfLinks;
  result.file = both(found.nFileIndexHigh, found.nFileIndexLow);
  result.device = found.dwVolumeSerialNumber;
  return true;
}

}  // namespace detail

inline int open_to_read(const Path& path) {
  return detail::open(path, GENERIC_READ, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, _O_RDONLY);
}
inline int open_itself(const Path& path) {
  return detail::open(path, GENERIC_READ, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, _O_RDONLY);
}
inline int create(const Path& path) {
  return detail::open(path, GENERIC_READ | GENERIC_WRITE | DELETE, CREATE_NEW,
                      FILE_ATTRIBUTE_NORMAL, _O_RDWR);
}
inline int duplicate(int file) { return ::_dup(file); }
inline bool close(int file) { return ::_close(file) == 0; }

inline std::int64_t read(int file, void* data, std::size_t size) {
  return ::_read(file, data, static_cast<unsigned>(std::min<std::size_t>(size, 1 << 30)));
}
inline std::int64_t write(int file, const void* data, std::size_t size) {
  return ::_write(file, data, static_cast<unsigned>(std::min<std::size_t>(size, 1 << 30)));
}
inline bool seek(int file, std::uint64_t place) {
  return ::_lseeki64(file, static_cast<std::int64_t>(place), SEEK_SET) >= 0;
}
inline bool flush(int file) { return ::_commit(file) == 0; }

/// A byte far behind the end, since what is locked cannot be read by others.
inline bool lock(int file) {
  OVERLAPPED place{};
  place.OffsetHigh = 0x7FFFFFFF;
  return ::LockFileEx(detail::handle_of(file), LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY,
                      0, 1, 0, &place) != 0 ||
         detail::failed();
}

inline bool status(int file, FileStatus& result) {
  return detail::status(detail::handle_of(file), result);
}
inline bool status(const Path& path, FileStatus& result) {
  const HANDLE handle =
      ::CreateFileW(path.c_str(), 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    nullptr, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr);
  const bool done = detail::status(handle, result);
  if (handle != INVALID_HANDLE_VALUE) ::CloseHandle(handle);
  return done;
}
/// A new file takes the permissions of its folder.
inline bool set_mode(int /*file*/, unsigned /*mode*/) { return true; }

inline bool remove(const Path& path) {
  return ::DeleteFileW(path.c_str()) != 0 || detail::failed();
}
inline bool rename(const Path& from, const Path& to) {
  return ::MoveFileExW(from.c_str(), to.c_str(),
                       MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) != 0 ||
         detail::failed();
}
/// Renaming has written through.
inline bool flush_folder(const Path& /*path*/) { return true; }

inline bool is_terminal(std::FILE* out) { return ::_isatty(::_fileno(out)) != 0; }
inline std::size_t terminal_width(std::FILE* out) {
  CONSOLE_SCREEN_BUFFER_INFO screen{};
  if (::GetConsoleScreenBufferInfo(detail::handle_of(::_fileno(out)), &screen) == 0) return 0;
  return static_cast<std::size_t>(screen.srWindow.Right - screen.srWindow.Left + 1);
}

inline std::size_t resident_bytes() {
  PROCESS_MEMORY_COUNTERS counters{};
  counters.cb = sizeof counters;
  return ::K32GetProcessMemoryInfo(::GetCurrentProcess(), &counters, sizeof counters) != 0
             ? counters.WorkingSetSize
             : 0;
}

}  // namespace ddpm::DDPM_ABI::io::system
