# What the library needs, for its own build and for find_package(ddpm) alike:
#   ddpm::xsimd          xsimd, whatever its version calls itself
#   DDPM_IO_LIBRARIES    stb, zlib and nlohmann/json for ddpm::io, or empty if one of them is missing
#   DDPM_MISSING         what the library itself cannot do without and is not there, in words
#   DDPM_IO_MISSING      the same of ddpm::io

set(DDPM_MISSING "")
set(DDPM_IO_MISSING "")

find_package(Threads QUIET)
if(NOT TARGET Threads::Threads)
  list(APPEND DDPM_MISSING "threads")
endif()
find_package(Eigen3 3.4 QUIET NO_MODULE)
if(NOT TARGET Eigen3::Eigen)
  list(APPEND DDPM_MISSING "Eigen 3.4 or newer (Debian: libeigen3-dev)")
endif()

if(NOT TARGET ddpm::xsimd)
  # Only the headers: Debian's target of 8.1 links a library xtl, which nothing here needs and which
  # the package does not bring.
  find_package(xsimd QUIET)
  foreach(target xsimd::xsimd xsimd)
    if(TARGET ${target})
      add_library(ddpm::xsimd INTERFACE IMPORTED GLOBAL)
      target_include_directories(ddpm::xsimd INTERFACE
        $<TARGET_PROPERTY:${target},INTERFACE_INCLUDE_DIRECTORIES>)
      break()
    endif()
  endforeach()
endif()
if(NOT TARGET ddpm::xsimd)
  list(APPEND DDPM_MISSING "xsimd 8.1 or newer (Debian: libxsimd-dev)")
endif()

# stb comes without a CMake configuration.
find_package(ZLIB QUIET)
find_package(nlohmann_json QUIET)
find_path(DDPM_STB_INCLUDE_DIR stb_image.h PATH_SUFFIXES stb)
mark_as_advanced(DDPM_STB_INCLUDE_DIR)
if(NOT ZLIB_FOUND)
  list(APPEND DDPM_IO_MISSING "zlib (Debian: zlib1g-dev)")
endif()
if(NOT nlohmann_json_FOUND)
  list(APPEND DDPM_IO_MISSING "nlohmann/json (Debian: nlohmann-json3-dev)")
endif()
if(NOT DDPM_STB_INCLUDE_DIR)
  list(APPEND DDPM_IO_MISSING "stb (Debian: libstb-dev)")
endif()
list(JOIN DDPM_MISSING ", " DDPM_MISSING)
list(JOIN DDPM_IO_MISSING ", " DDPM_IO_MISSING)
set(DDPM_IO_LIBRARIES "")
if(DDPM_IO_MISSING STREQUAL "")
  if(NOT TARGET ddpm::stb)
    add_library(ddpm::stb INTERFACE IMPORTED GLOBAL)
    target_include_directories(ddpm::stb INTERFACE ${DDPM_STB_INCLUDE_DIR})
  endif()
  set(DDPM_IO_LIBRARIES ddpm::stb ZLIB::ZLIB nlohmann_json::nlohmann_json)
endif()

# Makes ddpm::io: the library, and the readers and writers of files in <ddpm/ddpm.hpp>.
macro(ddpm_add_io)
  if(DDPM_IO_LIBRARIES AND NOT TARGET ddpm::io)
    add_library(ddpm::io INTERFACE IMPORTED GLOBAL)
    target_compile_definitions(ddpm::io INTERFACE DDPM_WITH_IO=1)
    target_link_libraries(ddpm::io INTERFACE ddpm::ddpm ${DDPM_IO_LIBRARIES})
  endif()
endmacro()
