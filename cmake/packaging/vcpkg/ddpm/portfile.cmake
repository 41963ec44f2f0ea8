# An overlay port of the folder that it stands in. vcpkg does not see when that changes, so its store of built packages is
# left aside:
#   vcpkg install ddpm --overlay-ports=cmake/packaging/vcpkg --binarysource=clear
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)

set(VCPKG_BUILD_TYPE release) # headers are the same in both
vcpkg_check_features(OUT_FEATURE_OPTIONS features FEATURES io DDPM_IO)
vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS -DDDPM_BUILD_TESTS=OFF -DDDPM_BUILD_EXAMPLES=OFF -DDDPM_BUILD_BENCH=OFF -DDDPM_INSTALL=ON
          -DDDPM_FETCH=OFF -DDDPM_MPI=OFF ${features})
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/ddpm)
vcpkg_fixup_pkgconfig()
set(VCPKG_POLICY_SKIP_PKGCONFIG_CHECK enabled) # ddpm.pc has -pthread, which is the same in every build
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
