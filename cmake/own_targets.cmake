# Flags of our own tests, examples and benchmarks; users of the library get none of them.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

option(DDPM_WERROR "Take warnings for errors in tests, examples and benchmarks" OFF)
set(DDPM_SANITIZE "" CACHE STRING "Sanitizers for our own targets, as for -fsanitize=")

add_library(ddpm_own_flags INTERFACE)
target_compile_options(ddpm_own_flags INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
if(DDPM_WERROR) # the presets but `programs`: a newer compiler's new warning is no user's trouble
  target_compile_options(ddpm_own_flags INTERFACE -Werror)
endif()
if(DDPM_NATIVE)
  target_compile_options(ddpm_own_flags INTERFACE -march=native)
  # g++ 12 with 256- or 512-bit vectors takes constants that it copies whole for uninitialised, and
  # operands that its own intrinsics leave undefined, and copies of short strings for overflows; the
  # x86-64-v3 presets keep the warnings.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(ddpm_own_flags INTERFACE -Wno-maybe-uninitialized -Wno-uninitialized
                           -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  target_compile_options(ddpm_own_flags INTERFACE -march=x86-64-v3)
endif()
if(DDPM_SANITIZE)
  target_compile_options(ddpm_own_flags INTERFACE
    -fsanitize=${DDPM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(ddpm_own_flags INTERFACE -fsanitize=${DDPM_SANITIZE})
  if(DDPM_SANITIZE MATCHES "address") # kernels of pairs of bfloat16; without, operands are rounded
    target_compile_definitions(ddpm_own_flags INTERFACE DDPM_TEST_PAIRS)
  endif()
endif()

if(NOT DDPM_IO_LIBRARIES)
  message(FATAL_ERROR "tests, examples and benchmarks need stb, zlib and nlohmann/json "
                      "(Debian: libstb-dev zlib1g-dev nlohmann-json3-dev)")
endif()

# The large templates, compiled once for our own programs, see ddpm/compiled.hpp.
add_library(ddpm_templates STATIC EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/cmake/compiled.cpp)
target_compile_definitions(ddpm_templates PUBLIC DDPM_COMPILED)
target_link_libraries(ddpm_templates PUBLIC ddpm ddpm_own_flags)
