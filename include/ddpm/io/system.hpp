// The door to the operating system: files, the terminal, memory. Everything else in the library is
// standard C++, but for core/fork.hpp (threads that fork), core/memory.hpp (large pages),
// core/processors.hpp and AMX's permission on Linux.
//
// SPDX-License-Identifier: MIT
#pragma once

#ifdef _WIN32
#include "ddpm/io/system/windows.hpp"
#else
#include "ddpm/io/system/posix.hpp"
#endif
