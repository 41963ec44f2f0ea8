// What fuzzing has found, and what it began with, in each run of the tests.
#include <doctest/doctest.h>

#include "targets.hpp"

TEST_CASE("fuzz: every file of the corpora gives a value or an IoError") {
  for (const fuzz::Target& target : fuzz::targets) {
    int files = 0;
    const std::filesystem::path folder = std::filesystem::path(DDPM_FUZZ_CORPUS) / target.name;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      CAPTURE(entry.path());
      CHECK_NOTHROW(target.run(ddpm::io::read_file(entry.path())));
      ++files;
    }
    CAPTURE(target.name);
    CHECK(files >= 5);
  }
}
