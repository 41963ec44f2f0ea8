# Headers, and the package files for find_package(ddpm) and pkg-config.

include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/ddpm)
install(FILES cmake/compiled.cpp DESTINATION ${CMAKE_INSTALL_DATADIR}/ddpm)
install(TARGETS ddpm ddpm_compiled EXPORT ddpm-targets FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT ddpm-targets NAMESPACE ddpm:: DESTINATION ${package_folder})
export(EXPORT ddpm-targets NAMESPACE ddpm::) # for projects that export their build tree
configure_file(cmake/ddpm-config.cmake.in ddpm-config.cmake COPYONLY)
configure_file(cmake/ddpm-dependencies.cmake ddpm-dependencies.cmake COPYONLY) # for the build tree
write_basic_package_version_file(ddpm-config-version.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/ddpm-config.cmake ${PROJECT_BINARY_DIR}/ddpm-config-version.cmake
              cmake/ddpm-dependencies.cmake
        DESTINATION ${package_folder})

# pkg-config: the prefix is found from where the .pc files lie, unless folders are absolute.
set(pkgconfig_folder ${CMAKE_INSTALL_DATADIR}/pkgconfig)
set(DDPM_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
if(NOT IS_ABSOLUTE "${pkgconfig_folder}")
  file(RELATIVE_PATH to_prefix "/${pkgconfig_folder}" "/")
  set(DDPM_PC_PREFIX "\${pcfiledir}/${to_prefix}")
endif()
set(DDPM_PC_INCLUDE ${CMAKE_INSTALL_INCLUDEDIR})
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(DDPM_PC_INCLUDE "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
set(packages ddpm)
if(DDPM_IO_LIBRARIES AND NOT DDPM_IO_FETCHED) # what was fetched goes with the build
  list(APPEND packages ddpm-io)
endif()
foreach(package IN LISTS packages)
  configure_file(cmake/${package}.pc.in ${package}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${package}.pc DESTINATION ${pkgconfig_folder})
endforeach()
