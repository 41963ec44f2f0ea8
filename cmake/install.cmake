# Headers, and the package files for find_package(ddpm) and pkg-config.

include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/ddpm)
install(FILES cmake/compiled.cpp DESTINATION ${CMAKE_INSTALL_DATADIR}/ddpm)
install(TARGETS ddpm ddpm_compiled EXPORT ddpm-targets FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT ddpm-targets NAMESPACE ddpm:: DESTINATION ${package_folder})
configure_file(cmake/ddpm-config.cmake.in ddpm-config.cmake COPYONLY)
write_basic_package_version_file(ddpm-config-version.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/ddpm-config.cmake ${PROJECT_BINARY_DIR}/ddpm-config-version.cmake
              cmake/ddpm-dependencies.cmake
        DESTINATION ${package_folder})

set(packages ddpm)
if(DDPM_IO_LIBRARIES)
  list(APPEND packages ddpm-io)
endif()
foreach(package IN LISTS packages)
  configure_file(cmake/${package}.pc.in ${package}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${package}.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
endforeach()
