#include "ddpm/io/file.hpp"

#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "../support.hpp"
#include "ddpm/io/safetensors.hpp"

using namespace test;

TEST_CASE("file [CK-3]: a write past the limit of file sizes leaves the old file and no other") {
  const TemporaryFolder folder;
  const auto path = folder.path / "x";
  io::write_file(path, "old", 3);
  struct rlimit before {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  struct rlimit limit = before;
  limit.rlim_cur = 1000;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  const std::string text(5000, 'x');
  const std::string error =
      error_of<IoError>([&] { io::write_file(path, text.data(), text.size()); });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  CHECK(contains(error, "cannot write"));
  CHECK(io::read_file(path) == io::Bytes{'o', 'l', 'd'});
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
}

TEST_CASE("file: a symbolic link stays, and the file it leads to is replaced") {
  const TemporaryFolder folder;
  const auto file = folder.path / "sub" / "file", link = folder.path / "link",
             second = folder.path / "second";
  std::filesystem::create_directory(file.parent_path());
  std::filesystem::create_symlink("sub/file", link);
  std::filesystem::create_symlink(link, second);
  for (const char* text : {"one", "two"}) {  // the first makes the file
    io::write_file(second, text, 3);
    CHECK(std::filesystem::is_symlink(link));
    CHECK(std::filesystem::is_symlink(second));
    CHECK(io::read_file(file) == io::Bytes(text, text + 3));
  }
  std::filesystem::create_symlink("b", folder.path / "a");
  std::filesystem::create_symlink("a", folder.path / "b");
  CHECK(contains(error_of<IoError>([&] { io::write_file(folder.path / "a", "x", 1); }),
                 "leads in a circle"));
}

TEST_CASE("file: permissions stay, long names pass, and only files are replaced") {
  const TemporaryFolder folder;
  const auto path = folder.path / std::string(255, 'n');
  io::write_file(path, "old", 3);
  using std::filesystem::perms;
  for (const perms mode : {perms(0600), perms(0640), perms(0444), perms(0755)}) {
    std::filesystem::permissions(path, mode);
    io::write_file(path, "new", 3);
    CHECK(std::filesystem::status(path).permissions() == mode);
  }
  const auto pipe = folder.path / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0666) == 0);
  for (const std::filesystem::path& other : {pipe, folder.path, std::filesystem::path("/dev/null")})
    CHECK(contains(error_of<IoError>([&] { io::write_file(other, "x", 1); }), other.string()));
  CHECK(std::filesystem::is_fifo(pipe));
  CHECK(std::filesystem::is_character_file("/dev/null"));
  CHECK_THROWS_AS(io::read_file(pipe), IoError);
  CHECK(
      contains(error_of<IoError>([&] { io::read_file(path, 2); }), "3 bytes, expected at most 2"));
}

TEST_CASE("file [CK-5]: what killed writers left is taken over, what living ones write is not") {
  const TemporaryFolder folder;
  const auto path = folder.path / "x";
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(folder.path), {});
  };
  for (int i = 0; i < 3; ++i)
    std::ofstream(folder.path / (".ddpm-" + std::to_string(i) + ".tmp")) << "half";
  io::write_file(path, "one", 3);
  CHECK(files() == 3);  // the file, and two that later writers will take
  {
    io::AtomicFile living(folder.path / "y");
    living.write("half", 4);
    for (int i = 0; i < 5; ++i) io::write_file(path, "two", 3);
    living.commit();
  }
  CHECK(io::read_file(folder.path / "y") == io::Bytes{'h', 'a', 'l', 'f'});
  CHECK(files() == 3);  // one left-over less
}

TEST_CASE("file: many writers of one name at once, and one whole file at the end") {
  const TemporaryFolder folder;
  const auto path = folder.path / "x";
  const auto write = [&](char c) {
    const std::string text(100'000, c);
    for (int i = 0; i < 50; ++i) io::write_file(path, text.data(), text.size());
  };
  {
    std::vector<std::jthread> writers;
    for (const char c : {'a', 'b', 'c', 'd'}) writers.emplace_back([&write, c] { write(c); });
  }
  const auto bytes = io::read_file(path);
  CHECK(bytes.size() == 100'000);
  CHECK(std::count(bytes.begin(), bytes.end(), bytes[0]) == 100'000);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
}
