#include "ddpm/data/gzip.hpp"

#include "fixture.hpp"

using namespace test;

TEST_CASE("gzip: damaged, cut short, too large, followed by more") {
  const auto packed = gzip(idx({10, 10, 10}, 1000));
  const auto error = [](io::Bytes bytes, std::size_t most = 1 << 20) {
    return error_of<IoError>([&] { data::gunzip(bytes, "f", most); });
  };
  CHECK(data::gunzip(packed, "f").size() == 16 + 1000);
  for (const std::size_t size : {std::size_t{3}, packed.size() / 2, packed.size() - 1})
    CHECK(contains(error({packed.begin(), packed.begin() + std::ptrdiff_t(size)}), "cut short"));
  auto flipped = packed;
  flipped[flipped.size() - 6] ^= 1;  // inside the CRC
  CHECK(contains(error(flipped), "damaged gzip"));
  auto longer = packed;
  longer.push_back(7);
  CHECK(contains(error(longer), "1 bytes after the end"));
  CHECK(contains(error(packed, 500), "more than 500 bytes"));
}

TEST_CASE("gzip: several members, and zeros after the end, as gzip reads them") {
  const io::Bytes first(70000, 3), second{1, 2, 3};
  io::Bytes both = gzip(first);
  const auto more = gzip(second);
  both.insert(both.end(), more.begin(), more.end());
  io::Bytes expected = first;
  expected.insert(expected.end(), second.begin(), second.end());
  CHECK(data::gunzip(both, "f") == expected);
  both.insert(both.end(), 512, 0);
  CHECK(data::gunzip(both, "f") == expected);
  auto empty_between = gzip({});
  empty_between.insert(empty_between.end(), both.begin(), both.end());
  CHECK(data::gunzip(empty_between, "f") == expected);
  for (std::size_t cut = 1; cut < more.size(); ++cut) {  // inside the second member
    const auto part = gzip(first).size() + cut;
    CAPTURE(cut);
    CHECK_THROWS_AS(data::gunzip({both.begin(), both.begin() + std::ptrdiff_t(part)}, "f"),
                    IoError);
  }
  CHECK_THROWS_AS(data::gunzip(both, "f", 70001), IoError);
}
