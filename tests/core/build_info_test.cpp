#include "ddpm/core/build_info.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE("build info: version, instructions, packs, compiler") {
  const std::string info = build_info();
  CAPTURE(info);
  CHECK(contains(info, message("ddpm ", DDPM_VERSION_MAJOR, ".", DDPM_VERSION_MINOR, ".")));
  CHECK(contains(info, message("packs of ", simd::width<float>, " floats")));
  CHECK((contains(info, "clang 1") || contains(info, "g++ 1")));
#ifdef __AVX2__
  CHECK(contains(info, "avx"));
#endif
#if defined(__x86_64__) && defined(__GNUC__)
  CHECK(ddpm::detail::processor_fits);
#endif
}
