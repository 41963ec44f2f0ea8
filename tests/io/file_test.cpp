#include "ddpm/io/file.hpp"

#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "../support.hpp"
#include "ddpm/io/safetensors.hpp"

using namespace test;

TEST_CASE("file: a failed write leaves the old file and no other") {
  const TemporaryFolder folder;
  const auto path = folder.path / "x";
  io::write_file(path, "old", 3);
  struct rlimit before {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit limit = before;
  limit.rlim_cur = 1000;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  const std::string text(5000, 'x');
  const std::string error =
      error_of<IoError>([&] { io::write_file(path, text.data(), text.size()); });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, old_handler);
  CHECK(contains(error, "cannot write"));
  CHECK(io::read_file(path) == io::Bytes{'o', 'l', 'd'});
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
}
