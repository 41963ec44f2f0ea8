// The strict look at JPEGs: every table that a scan needs is there, and every code of its data.
//
// SPDX-License-Identifier: MIT
#include "ddpm/io/picture/jpeg.hpp"

#include <set>

#include "../support.hpp"
#include "ddpm/io/image.hpp"

using namespace test;

namespace {

// Pictures of Pillow's: baseline and progressive, grey, of three and four components, with
// restarts.
constexpr const char* names[] = {"jpeg",      "jpeg_cmyk",        "jpeg_exif",
                                 "jpeg_grey", "jpeg_progressive", "jpeg_restart"};

io::Bytes picture(const std::string& name) {
  return io::read_file(std::filesystem::path(DDPM_FUZZ_CORPUS) / "image" / name);
}

/// A segment, from its marker to what follows; of a scan also its coded data.
struct Segment {
  std::uint8_t marker;
  std::size_t begin, data, end;  ///< data: where the coded data begin
};

std::vector<Segment> segments(const io::Bytes& bytes) {
  std::vector<Segment> result;
  for (std::size_t at = 2; bytes[at + 1] != 0xD9;) {
    const std::size_t length = std::size_t{bytes[at + 2]} * 256 + bytes[at + 3];
    Segment segment{bytes[at + 1], at, at + 2 + length, at + 2 + length};
    const auto coded = [&](std::uint8_t next) {
      return next == 0 || (next >= 0xD0 && next <= 0xD7);
    };
    if (segment.marker == 0xDA)
      while (bytes[segment.end] != 0xFF || coded(bytes[segment.end + 1])) ++segment.end;
    at = segment.end;
    result.push_back(segment);
  }
  return result;
}

io::Bytes without(const io::Bytes& bytes, std::size_t begin, std::size_t end) {
  io::Bytes result(bytes.begin(), bytes.begin() + std::ptrdiff_t(begin));
  result.insert(result.end(), bytes.begin() + std::ptrdiff_t(end), bytes.end());
  return result;
}

bool refused(const io::Bytes& bytes) {
  return contains(error_of<IoError>([&] { io::decode_image(bytes, 3, "x"); }), "damaged JPEG");
}

}  // namespace

TEST_CASE("jpeg: coded data that end before the last code are an error, wherever they are cut") {
  for (const char* name : names) {
    CAPTURE(name);
    const io::Bytes bytes = picture(name);
    CHECK(io::decode_image(bytes, 3, "x").pixels.size() > 0);
    int scans = 0;
    for (const Segment& scan : segments(bytes)) {
      if (scan.marker != 0xDA) continue;
      ++scans;
      // The last byte may hold nothing but filling bits.
      for (std::size_t from = scan.data; from + 1 < scan.end; ++from) {
        if (bytes[from - 1] == 0xFF || bytes[from] == 0xFF) continue;
        CAPTURE(from);
        CHECK(refused(without(bytes, from, scan.end)));
      }
    }
    CHECK(scans > 0);
  }
}

TEST_CASE("jpeg: a table or a scan that is missing is an error") {
  for (const char* name : names) {
    CAPTURE(name);
    const io::Bytes bytes = picture(name);
    const auto parts = segments(bytes);
    const auto scans = std::count_if(parts.begin(), parts.end(),
                                     [](const Segment& s) { return s.marker == 0xDA; });
    std::set<int> tables;  // kinds and numbers; a progressive picture writes one anew for each scan
    for (const Segment& segment : parts) {
      const bool table = segment.marker == 0xC4 || segment.marker == 0xDB;
      const bool first =
          table && tables.insert(segment.marker << 8 | bytes[segment.begin + 4]).second;
      // Of a progressive picture a later scan may be missing: the picture is then less fine.
      if (first || (segment.marker == 0xDA && scans == 1)) {
        CAPTURE(segment.begin);
        CHECK_THROWS_AS(io::decode_image(without(bytes, segment.begin, segment.end), 3, "x"),
                        IoError);
      }
    }
  }
}

TEST_CASE(
    "jpeg: a scan that names a component twice, and tables that stb cannot bear, are errors") {
  io::Bytes bytes = picture("jpeg");  // of three components
  const auto parts = segments(bytes);
  const auto find = [&](std::uint8_t marker) {
    return *std::find_if(parts.begin(), parts.end(),
                         [&](const Segment& s) { return s.marker == marker; });
  };
  const std::size_t scan = find(0xDA).begin;
  bytes[scan + 7] = bytes[scan + 5];
  CHECK(contains(error_of<IoError>([&] { io::decode_image(bytes, 3, "x"); }), "twice in a scan"));

  io::Bytes codes{0xFF, 0xD8, 0xFF, 0xC4, 0x01, 0x13, 0x10};  // 255 codes of 8 bits, 1 of 9
  codes.resize(codes.size() + 16 + 256);
  codes[7 + 7] = 255;
  codes[7 + 8] = 1;
  CHECK(contains(error_of<IoError>([&] { io::image_info(codes, "x"); }), "of 256 codes"));
}

TEST_CASE("jpeg: any changed byte gives a picture of that size, or an error") {
  Rng rng(1);
  for (const char* name : names) {
    CAPTURE(name);
    const io::Bytes bytes = picture(name);
    for (std::size_t at = 2; at < bytes.size(); ++at) {
      auto damaged = bytes;
      damaged[at] = static_cast<std::uint8_t>(rng.uniform() * 256);
      try {
        const auto info = io::image_info(damaged, "x");
        const auto image = io::decode_image(damaged, 1, "x");
        CHECK(std::ssize(image.pixels) == info.height * info.width);
      } catch (const IoError&) {
      }
    }
  }
}
