# What the library needs, for its own build and for find_package(ddpm) alike:
#   ddpm::xsimd          xsimd, whatever its version calls itself
#   DDPM_IO_LIBRARIES    stb, zlib and nlohmann/json for ddpm::io, or empty if one of them is missing
#   DDPM_MISSING         what the library itself cannot do without and is not there, in words
#   DDPM_IO_MISSING      the same of ddpm::io
#   DDPM_IO_FETCHED      whether headers of ddpm::io were fetched into the build
# Targets that the project has already are taken as they are. MPI is looked for only by ddpm_add_mpi(). Where DDPM_FETCH is
# on, headers that are not installed are fetched, each at a commit whose hash stands here; those of ddpm::io only if
# DDPM_IO is on and zlib is there, which is never fetched.

# ddpm_fetch(NAME REPOSITORY COMMIT): its sources are then in ddpm_NAME_SOURCE_DIR, and none of its targets are made.
macro(ddpm_fetch name repository commit)
  message(STATUS "ddpm: ${name} is not installed and is taken from ${repository}. Without a network: install it, "
                 "or say DDPM_FETCH=OFF, or DDPM_IO=OFF if it is stb or json")
  include(FetchContent)
  FetchContent_Declare(ddpm_${name} GIT_REPOSITORY ${repository} GIT_TAG ${commit} SOURCE_SUBDIR none)
  FetchContent_MakeAvailable(ddpm_${name})
endmacro()

set(DDPM_MISSING "")
set(DDPM_IO_MISSING "")
set(DDPM_IO_FETCHED OFF)
if(NOT DEFINED DDPM_IO) # find_package(ddpm) has no options
  set(DDPM_IO ON)
endif()

find_package(Threads QUIET)
if(NOT TARGET Threads::Threads)
  list(APPEND DDPM_MISSING "threads")
endif()
if(NOT TARGET Eigen3::Eigen)
  find_package(Eigen3 3.4 QUIET NO_MODULE)
  if(NOT Eigen3_FOUND)
    find_package(Eigen3 5 QUIET NO_MODULE) # which does not say that it will do for 3.4
  endif()
endif()
if(NOT TARGET Eigen3::Eigen AND DDPM_FETCH)
  ddpm_fetch(eigen https://gitlab.com/libeigen/eigen.git 3147391d946bb4b6c68edd901f2add6ac1f31f8c) # 3.4.0
  add_library(Eigen3::Eigen INTERFACE IMPORTED GLOBAL)
  target_include_directories(Eigen3::Eigen INTERFACE ${ddpm_eigen_SOURCE_DIR})
endif()
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
      # Read now: the target may be known in this folder only, and ddpm::xsimd is known in all.
      get_target_property(ddpm_xsimd_include ${target} INTERFACE_INCLUDE_DIRECTORIES)
      if(ddpm_xsimd_include)
        target_include_directories(ddpm::xsimd INTERFACE ${ddpm_xsimd_include})
      else() # it has them from another target
        target_link_libraries(ddpm::xsimd INTERFACE ${target})
      endif()
      break()
    endif()
  endforeach()
endif()
if(NOT TARGET ddpm::xsimd AND DDPM_FETCH)
  ddpm_fetch(xsimd https://github.com/xtensor-stack/xsimd.git 1f8dd9c8e162968d9b4ff0251c56d431b8777f36) # 13.2.0
  add_library(ddpm::xsimd INTERFACE IMPORTED GLOBAL)
  target_include_directories(ddpm::xsimd INTERFACE ${ddpm_xsimd_SOURCE_DIR}/include)
endif()
if(NOT TARGET ddpm::xsimd)
  list(APPEND DDPM_MISSING "xsimd 8.1 or newer (Debian: libxsimd-dev)")
endif()

# stb comes without a CMake configuration.
if(NOT TARGET ZLIB::ZLIB)
  find_package(ZLIB QUIET)
endif()
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json QUIET)
endif()
set(ddpm_fetch_io OFF)
if(DDPM_FETCH AND DDPM_IO AND TARGET ZLIB::ZLIB)
  set(ddpm_fetch_io ON)
endif()
find_path(DDPM_STB_INCLUDE_DIR stb_image.h PATH_SUFFIXES stb)
mark_as_advanced(DDPM_STB_INCLUDE_DIR)
if(NOT TARGET nlohmann_json::nlohmann_json AND ddpm_fetch_io)
  ddpm_fetch(json https://github.com/nlohmann/json.git 9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03) # 3.11.3
  add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED GLOBAL)
  target_include_directories(nlohmann_json::nlohmann_json INTERFACE ${ddpm_json_SOURCE_DIR}/include)
  set(DDPM_IO_FETCHED ON)
endif()
if(NOT DDPM_STB_INCLUDE_DIR AND ddpm_fetch_io)
  ddpm_fetch(stb https://github.com/nothings/stb.git 31c1ad37456438565541f4919958214b6e762fb4) # April 2026
  set(DDPM_STB_INCLUDE_DIR ${ddpm_stb_SOURCE_DIR})
  set(DDPM_IO_FETCHED ON)
endif()
if(NOT DDPM_IO)
  list(APPEND DDPM_IO_MISSING "the option DDPM_IO=ON")
endif()
if(NOT TARGET ZLIB::ZLIB)
  list(APPEND DDPM_IO_MISSING "zlib (Debian: zlib1g-dev)")
endif()
if(NOT TARGET nlohmann_json::nlohmann_json)
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

# Makes ddpm::mpi, for ddpm/distributed/mpi.hpp, where MPI is found.
macro(ddpm_add_mpi)
  if(NOT TARGET ddpm::mpi)
    find_package(MPI QUIET COMPONENTS CXX)
    if(TARGET MPI::MPI_CXX)
      add_library(ddpm::mpi INTERFACE IMPORTED GLOBAL)
      # Without MPI's old C++ interface, which nothing here needs.
      target_compile_definitions(ddpm::mpi INTERFACE DDPM_WITH_MPI=1 OMPI_SKIP_MPICXX=1 MPICH_SKIP_MPICXX=1)
      target_link_libraries(ddpm::mpi INTERFACE ddpm::ddpm MPI::MPI_CXX)
    endif()
  endif()
endmacro()
