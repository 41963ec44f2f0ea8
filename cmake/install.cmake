# Headers, and the package files for find_package(ddpm) and pkg-config.

include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/ddpm)
install(FILES cmake/compiled.cpp DESTINATION ${CMAKE_INSTALL_DATADIR}/ddpm)
install(TARGETS ddpm ddpm_compiled EXPORT ddpm-targets FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT ddpm-targets NAMESPACE ddpm:: DESTINATION ${package_folder})
export(EXPORT ddpm-targets NAMESPACE ddpm::) # for projects that export their build tree
configure_file(cmake/ddpm-config.cmake.in ddpm-config.cmake COPYONLY)
write_basic_package_version_file(ddpm-config-version.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/ddpm-config.cmake ${PROJECT_BINARY_DIR}/ddpm-config-version.cmake
              cmake/ddpm-dependencies.cmake
        DESTINATION ${package_folder})

# pkg-config: the prefix from where the .pc files lie; install folders may be absolute.
set(pkgconfig_folder ${CMAKE_INSTALL_DATADIR}/pkgconfig)
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_INCLUDEDIR BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX} OUTPUT_VARIABLE include_folder)
cmake_path(ABSOLUTE_PATH pkgconfig_folder BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX} OUTPUT_VARIABLE from_folder)
cmake_path(RELATIVE_PATH include_folder BASE_DIRECTORY ${from_folder} OUTPUT_VARIABLE DDPM_INCLUDE_FROM_PC)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${from_folder} OUTPUT_VARIABLE DDPM_PREFIX_FROM_PC)
set(packages ddpm)
if(DDPM_IO_LIBRARIES AND NOT DDPM_IO_FETCHED) # what was fetched goes with the build
  list(APPEND packages ddpm-io)
endif()
foreach(package IN LISTS packages)
  configure_file(cmake/${package}.pc.in ${package}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${package}.pc DESTINATION ${pkgconfig_folder})
endforeach()
