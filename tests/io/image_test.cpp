#include "ddpm/io/image.hpp"

#include <zlib.h>

// JPEGs are written only here.
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb_image_write.h>
#pragma GCC diagnostic pop

#include "../support.hpp"

using namespace test;

TEST_CASE("image: PNGs of any size and contents come back, by two decoders") {
  Rng rng(3);
  for (int round = 0; round < 200; ++round) {
    const Index height = 1 + rng.below(40), width = 1 + rng.below(40),
                channels = 1 + 2 * rng.below(2);
    io::Bytes pixels(static_cast<std::size_t>(height * width * channels));
    const Index kind = rng.below(4);  // noise, rows, columns, slopes: each has its best filter
    for (Index i = 0; i < std::ssize(pixels); ++i) {
      const Index row = i / (width * channels), column = i / channels % width;
      const Index value = kind == 0   ? rng.below(256)
                          : kind == 1 ? 9 * row
                          : kind == 2 ? 7 * column
                                      : row * column;
      pixels[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(value);
    }
    const auto file = io::picture::encode_png(pixels, height, width, channels);
    CHECK(io::decode_image(file, channels, "f").pixels == pixels);  // both look at it
  }
}

TEST_CASE("image: a PNG comes back as it was written") {
  const TemporaryFolder folder;
  for (const Index channels : {1, 3}) {
    const Tensor<float> image({5, 7, channels});
    for (Index i = 0; i < image.size(); ++i) image[i] = float(i % 256) / 127.5F - 1;
    const auto path = folder.path / "x.png";
    io::write_image<float>(path, image);
    const auto read = io::decode_image(io::read_file(path), channels, "x");
    CHECK((read.height == 5 && read.width == 7));
    for (Index i = 0; i < image.size(); ++i) CHECK(read.pixels[std::size_t(i)] == i % 256);
  }
  CHECK(io::to_byte(-3.0F) == 0);
  CHECK(io::to_byte(3.0F) == 255);
  CHECK(io::to_byte(std::nanf("")) == 0);
}

TEST_CASE("image: a grid has each picture in its place") {
  const TemporaryFolder folder;
  const Tensor<float> images({5, 3, 4, 1});
  for (Index i = 0; i < images.size(); ++i) images[i] = float(i / 12 * 50) / 127.5F - 1;
  io::write_image_grid(folder.path / "grid.png", images, 3);
  const auto grid = io::decode_image(io::read_file(folder.path / "grid.png"), 1, "grid");
  CHECK(grid.height == 2 * (3 + 2) + 2);
  CHECK(grid.width == 3 * (4 + 2) + 2);
  CHECK(grid.pixels[0] == 255);
  CHECK(grid.pixels[std::size_t(2 * grid.width + 2 + 6)] == 50);
  CHECK(grid.pixels[std::size_t(7 * grid.width + 2)] == 150);

  for (Index i = 0; i < images.size(); ++i) images[i] = float(i) / 127.5F - 1;
  io::write_image_grid(folder.path / "large.png", images, 3, 5);
  const auto large = io::decode_image(io::read_file(folder.path / "large.png"), 1, "large");
  CHECK(large.height == 2 * (15 + 2) + 2);
  CHECK(large.width == 3 * (20 + 2) + 2);
  for (Index h = 0; h < 15; ++h)  // the last picture, second in the second row
    for (Index w = 0; w < 20; ++w)
      CHECK(large.pixels[std::size_t((19 + h) * large.width + 24 + w)] ==
            4 * 12 + h / 5 * 4 + w / 5);
  CHECK_THROWS_AS(io::write_image_grid(folder.path / "x.png", images, 3, 0), PreconditionError);
}

TEST_CASE("image: bad shapes, places and bytes are named") {
  const TemporaryFolder folder;
  const Tensor<float> two({4, 4, 2}, 0.0F), good({4, 4, 3}, 0.0F);
  CHECK_THROWS_AS(io::write_image<float>(folder.path / "x.png", two), PreconditionError);
  CHECK_THROWS_AS(io::write_image_grid(folder.path / "x.png", good), PreconditionError);
  CHECK(contains(error_of<IoError>([&] { io::write_image<float>(folder.path / "no/x.png", good); }),
                 "cannot create"));
  CHECK(contains(error_of<IoError>([] { io::decode_image({1, 2, 3}, 3, "f"); }), "f: no PNG"));
  CHECK(contains(error_of<IoError>([] { io::decode_image({}, 3, "f"); }), "0 bytes"));
  io::write_image<float>(folder.path / "x.png", good);
  auto bytes = io::read_file(folder.path / "x.png");
  bytes.resize(bytes.size() / 2);
  CHECK(contains(error_of<IoError>([&] { io::decode_image(bytes, 3, "f"); }), "cut short"));
}

namespace {

void append_big_endian(io::Bytes& bytes, std::uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<std::uint8_t>(value >> shift));
}

/// A PNG of width x height pixels whose raw rows are `rows`, a filter byte before each.
io::Bytes png(std::uint32_t width, std::uint32_t height, std::uint8_t depth, std::uint8_t colour,
              const io::Bytes& rows) {
  io::Bytes bytes{0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  const auto chunk = [&](const char* type, const io::Bytes& data) {
    append_big_endian(bytes, static_cast<std::uint32_t>(data.size()));
    io::Bytes body(type, type + 4);
    body.insert(body.end(), data.begin(), data.end());
    bytes.insert(bytes.end(), body.begin(), body.end());
    append_big_endian(
        bytes, static_cast<std::uint32_t>(crc32(0, body.data(), static_cast<uInt>(body.size()))));
  };
  io::Bytes header;
  append_big_endian(header, width);
  append_big_endian(header, height);
  header.insert(header.end(), {depth, colour, 0, 0, 0});
  chunk("IHDR", header);
  uLongf size = compressBound(rows.size());
  io::Bytes packed(size);
  REQUIRE(compress(packed.data(), &size, rows.data(), rows.size()) == Z_OK);
  packed.resize(size);
  chunk("IDAT", packed);
  chunk("IEND", {});
  return bytes;
}

/// A JPEG with an Exif block that tells an orientation, big- or little-endian.
io::Bytes jpeg(int width, int height, const io::Bytes& rgb, int orientation, bool little) {
  io::Bytes bytes;
  const auto append = [](void* context, void* data, int size) {
    const auto* from = static_cast<const std::uint8_t*>(data);
    auto& to = *static_cast<io::Bytes*>(context);
    to.insert(to.end(), from, from + size);
  };
  REQUIRE(stbi_write_jpg_to_func(append, &bytes, width, height, 3, rgb.data(), 100) == 1);
  const auto o = static_cast<std::uint8_t>(orientation);
  const io::Bytes tiff =
      little ? io::Bytes{'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, o, 0, 0, 0}
             : io::Bytes{'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, o, 0, 0};
  io::Bytes exif{0xFF, 0xE1, 0, static_cast<std::uint8_t>(8 + tiff.size()), 'E', 'x', 'i',
                 'f',  0,    0};
  exif.insert(exif.end(), tiff.begin(), tiff.end());
  bytes.insert(bytes.begin() + 2, exif.begin(), exif.end());
  return bytes;
}

}  // namespace

TEST_CASE("image: 16 bits a channel become 8") {
  const io::Bytes rows{0, 0x12, 0x34, 0xFF, 0xFF, 0, 0x80, 0x00, 0x00, 0x01};
  const auto grey = io::decode_image(png(2, 2, 16, 0, rows), 1, "x");
  CHECK(grey.pixels == io::Bytes{0x12, 0xFF, 0x80, 0x00});
}

TEST_CASE("image: what is transparent shows white, whatever colour hides there") {
  // Red, opaque; red, hidden; blue, half.
  const io::Bytes rows{0, 255, 0, 0, 255, 255, 0, 0, 0, 0, 0, 255, 128};
  const auto rgb = io::decode_image(png(3, 1, 8, 6, rows), 3, "x");
  CHECK(rgb.pixels == io::Bytes{255, 0, 0, 255, 255, 255, 127, 127, 255});
  const io::Bytes grey_alpha{0, 10, 255, 10, 0};
  CHECK(io::decode_image(png(2, 1, 8, 4, grey_alpha), 1, "x").pixels == io::Bytes{10, 255});
}

TEST_CASE("image: photos are turned as their Exif orientation says") {
  // Upright, this picture is dark but for its upper left quarter.
  constexpr int H = 16, W = 32;
  // Which side of the upright picture the stored row 0 and column 0 are (Exif 2.3, tag 274).
  const std::array<std::string, 8> sides{"top left", "top right", "bottom right", "bottom left",
                                         "left top", "right top", "right bottom", "left bottom"};
  const auto stored = [&](int orientation) {
    const std::string& side = sides[std::size_t(orientation) - 1];
    const std::string row_0 = side.substr(0, side.find(' ')),
                      column_0 = side.substr(side.find(' ') + 1);
    const int h = orientation >= 5 ? W : H, w = orientation >= 5 ? H : W;
    io::Bytes rgb;
    for (int row = 0; row < h; ++row)
      for (int column = 0; column < w; ++column) {
        int y = 0, x = 0;
        for (const auto& [place, at] : {std::pair(row_0, row), std::pair(column_0, column)}) {
          if (place == "top") y = at;
          if (place == "bottom") y = H - 1 - at;
          if (place == "left") x = at;
          if (place == "right") x = W - 1 - at;
        }
        rgb.insert(rgb.end(), 3, y < H / 2 && x < W / 2 ? 230 : 20);
      }
    return rgb;
  };
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (const bool little : {false, true}) {
      CAPTURE(orientation);
      const bool turned = orientation >= 5;
      const auto photo =
          jpeg(turned ? H : W, turned ? W : H, stored(orientation), orientation, little);
      CHECK(io::exif_orientation(photo) == orientation);
      const auto picture = io::decode_image(photo, 1, "x");
      REQUIRE((picture.height == H && picture.width == W));
      for (Index p = 0; p < H * W; ++p) {
        const bool bright = p / W < H / 2 && p % W < W / 2;
        CHECK(std::abs(int(picture.pixels[std::size_t(p)]) - (bright ? 230 : 20)) < 12);
      }
    }
}

TEST_CASE("image: any byte of an Exif block may be wrong") {
  const auto photo = jpeg(8, 8, io::Bytes(192, 100), 6, true);
  for (std::size_t at = 0; at < 40; ++at)
    for (const int value : {0, 1, 127, 128, 255}) {
      auto changed = photo;
      changed[at] = static_cast<std::uint8_t>(value);
      const int orientation = io::exif_orientation(changed);
      CHECK((orientation >= 1 && orientation <= 8));
      for (std::size_t size = 0; size < 40; size += 3)
        io::exif_orientation({changed.begin(), changed.begin() + std::ptrdiff_t(size)});
    }
}

TEST_CASE("image: pictures without pixels, and of more than are read, are named") {
  const auto error = [](const std::string& text) {
    return error_of<IoError>([&] { io::decode_image({text.begin(), text.end()}, 3, "x"); });
  };
  CHECK(contains(error(std::string("P6k")), "x: "));
  CHECK(contains(error("P6\n0 0\n255\n"), "x: "));
  CHECK(contains(error("P6\n16000 16000\n255\n"), "16000 x 16000 pixels"));
  CHECK_THROWS_AS(io::fit_image({0, 0, 3, {}}, 8, 8), PreconditionError);
  const io::Bytes photo(std::size_t{4000} * (1 + 3 * 6000), 0);  // of 24 million pixels
  CHECK(io::image_info(png(6000, 4000, 8, 2, photo), "x").width == 6000);
}

namespace {

/// One small picture of each kind, in a file that nothing stands behind.
struct Picture {
  std::string kind;
  io::Bytes bytes;
};
std::vector<Picture> one_of_each() {
  io::Bytes rows, rgb;
  for (int h = 0; h < 5; ++h) {
    rows.push_back(0);
    for (int i = 0; i < 21; ++i) rows.push_back(static_cast<std::uint8_t>(h * 40 + i));
  }
  for (int i = 0; i < 8 * 8 * 3; ++i) rgb.push_back(static_cast<std::uint8_t>(i));
  const std::string ppm = "P6 # a comment\n3 2\n255\nabcdefghijklmnopqr";
  io::Bytes bmp{'B', 'M', 70, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0,  40,
                0,   0,   0,  2, 0, 0, 0, 2, 0, 0, 0,  1, 0, 24, 0};
  bmp.resize(54);
  for (int i = 0; i < 16; ++i) bmp.push_back(static_cast<std::uint8_t>(10 * i));
  const io::Bytes gif{'G', 'I', 'F', '8', '9', 'a', 2,   0,    2,    0,    0x80, 0,
                      0,   0,   0,   0,   255, 255, 255, ',',  0,    0,    0,    0,
                      2,   0,   2,   0,   0,   2,   3,   0x44, 0x02, 0x05, 0,    ';'};
  return {{"png", png(7, 5, 8, 2, rows)},
          {"jpeg", jpeg(8, 8, rgb, 1, true)},
          {"bmp", bmp},
          {"gif", gif},
          {"ppm", {ppm.begin(), ppm.end()}}};
}

}  // namespace

TEST_CASE("image: a picture that is cut anywhere is an error, whatever its kind") {
  for (const Picture& picture : one_of_each()) {
    const io::Bytes& bytes = picture.bytes;
    CAPTURE(picture.kind);
    CHECK(io::decode_image(bytes, 3, "x").pixels.size() > 0);
    const std::size_t end =
        picture.kind == "gif" ? bytes.size() - 1 : bytes.size();  // its last byte is ';'
    for (std::size_t size = 0; size < end; ++size)
      CHECK_THROWS_AS(
          io::decode_image({bytes.begin(), bytes.begin() + std::ptrdiff_t(size)}, 3, "x"), IoError);
  }
}

TEST_CASE("image: small files that claim large pictures are refused") {
  const auto error = [](io::Bytes bytes,
                        std::initializer_list<std::pair<std::size_t, int>> changes) {
    for (const auto& [place, value] : changes) bytes[place] = static_cast<std::uint8_t>(value);
    return error_of<IoError>([&] { io::decode_image(bytes, 3, "x"); });
  };
  const auto pictures = one_of_each();
  const io::Bytes& gif = pictures[3].bytes;  // 2 x 2: at 6 the canvas, at 24 the picture
  CHECK(contains(error(gif, {{6, 3}, {24, 3}}), "4 pixels, its size needs 6"));
  CHECK(contains(error(gif, {{7, 1}}), "less than a sixteenth of 258 x 2"));
  io::Bytes jpeg = pictures[1].bytes;
  const auto frame = std::find(jpeg.begin() + 2, jpeg.end(), 0xC0) - jpeg.begin();  // its marker
  CHECK(contains(error(jpeg, {{std::size_t(frame) + 4, 0x20}, {std::size_t(frame) + 6, 0x20}}),
                 "bytes are too few for 8200 x 8200 pixels"));
}

TEST_CASE("image: any flipped bit gives a picture of that size, or an error") {
  for (const Picture& picture : one_of_each())
    for (std::size_t bit = 0; bit < 8 * picture.bytes.size(); ++bit) {
      auto damaged = picture.bytes;
      damaged[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
      bool refused = false;
      try {
        const auto info = io::image_info(damaged, "x");
        const auto image = io::decode_image(damaged, 1, "x");
        CHECK(std::ssize(image.pixels) == info.height * info.width);
      } catch (const IoError&) {
        refused = true;
      }
      if (picture.kind == "png") CHECK(refused);  // it has checksums
    }
}

TEST_CASE("image: PNM of any largest value") {
  const auto decode = [](const std::string& text, Index channels) {
    return io::decode_image({text.begin(), text.end()}, channels, "x").pixels;
  };
  const auto error = [&](const std::string& text) {
    return error_of<IoError>([&] { decode(text, 1); });
  };
  using namespace std::string_literals;
  CHECK(decode("P5 4 1 15\n\0\1\7\xf"s, 1) == io::Bytes{0, 17, 119, 255});
  CHECK(decode("P5 3 1 1 \0\1\2"s, 1) == io::Bytes{0, 255, 255});  // beyond the largest
  CHECK(decode("P5 2 1 65535\n\0\x80\xff\xff"s, 1) == io::Bytes{0, 255});
  CHECK(decode("P5 2 1 1000\n\x01\xf4\x03\xe8"s, 1) == io::Bytes{128, 255});
  CHECK(decode("P5\t#one\n# two\r2\v\f1 #three\n255\nab"s, 3) ==
        io::Bytes{'a', 'a', 'a', 'b', 'b', 'b'});
  CHECK(decode("P6 1 1 255\n\xff\0\0"s, 1) == io::Bytes{76});  // as PNG of that colour
  CHECK(contains(error("P5 4 1 0\nabcd"), "largest value of 0"));
  CHECK(contains(error("P5 4 1 65536\nabcd"), "expected 1 to 65535"));
  CHECK(contains(error("P5 0 1 255\n"), "width of 0"));
  CHECK(contains(error("P6" + std::string(1, '\n') + "72222222222222"), "width"));
  CHECK(contains(error("P5 4 1 255\nabc"), "cut short"));
  CHECK(contains(error("P5 -4 1 255\nabc"), "width"));
  CHECK(contains(error("P64 1 255\nabc"), "no space"));
  CHECK_THROWS_AS(decode("P6k"s, 1), IoError);
}

TEST_CASE("image: files that stb 2.27 could not bear") {
  io::Bytes jpeg_counts{0xff, 0xd8, 0xff, 0xc4, 0x00, 0x13, 0x00, 0xff, 0xff};
  jpeg_counts.resize(jpeg_counts.size() + 14, 0);
  CHECK(contains(error_of<IoError>([&] { io::image_info(jpeg_counts, "x"); }), "Huffman"));
  // One pixel, and megabytes behind it.
  const auto bomb = png(1, 1, 8, 0, io::Bytes(100'000'000, 0));
  CHECK(bomb.size() < 200'000);
  CHECK(
      contains(error_of<IoError>([&] { io::image_info(bomb, "x"); }), "more than its size needs"));
}

TEST_CASE("image: a picture far longer than wide is fitted in little memory") {
  for (const Shape& size : {Shape{16384, 1}, Shape{1, 16384}, Shape{16000, 3}}) {
    const Index height = size[0], width = size[1];
    io::DecodedImage image{height, width, 1, io::Bytes(std::size_t(height * width), 100)};
    image.pixels[std::size_t(height / 2 * width + width / 2)] = 200;  // in the middle
    const auto fitted = io::fit_image(image, 512, 512);
    CHECK(fitted.pixels.size() == 512 * 512);
    CHECK(*std::max_element(fitted.pixels.begin(), fitted.pixels.end()) > 150);
    CHECK(io::fit_image(image, 7, 300).pixels.size() == 7 * 300);
  }
}

namespace {

/// One pixel and channel of a picture resized to height x width: what it covers, by the triangle's
/// weights, in one sum.
double resized_pixel(const io::DecodedImage& image, Index height, Index width, Index h, Index w,
                     Index c) {
  const auto weight = [](Index place, Index from, Index to, Index i) {
    const double step = double(from) / double(to);
    return std::max(
        0.0, 1 - std::abs((double(i) + 0.5) - (double(place) + 0.5) * step) / std::max(step, 1.0));
  };
  double sum = 0, weights = 0;
  for (Index y = 0; y < image.height; ++y)
    for (Index x = 0; x < image.width; ++x) {
      const double both = weight(h, image.height, height, y) * weight(w, image.width, width, x);
      sum += both * image.pixels[std::size_t((y * image.width + x) * image.channels + c)];
      weights += both;
    }
  return sum / weights;
}

}  // namespace

TEST_CASE("images: resized as by the triangle filter, smaller and larger") {
  const Index sizes[][4] = {{4, 4, 2, 2}, {7, 5, 3, 4},   {3, 2, 9, 11}, {1, 1, 4, 3},
                            {5, 9, 5, 9}, {31, 17, 1, 1}, {2, 13, 8, 5}, {40, 3, 7, 3}};
  std::uint32_t state = 1;
  for (const auto& [H, W, height, width] : sizes)
    for (const Index C : {1, 3}) {
      io::DecodedImage image{H, W, C, {}};
      for (Index i = 0; i < H * W * C; ++i)
        image.pixels.push_back(
            static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24));
      const io::Bytes pixels = io::picture::resize(image.pixels, H, W, C, height, width);
      REQUIRE(std::ssize(pixels) == height * width * C);
      for (Index i = 0; i < height * width * C; ++i) {
        const double expected =
            resized_pixel(image, height, width, i / C / width, i / C % width, i % C);
        CHECK(std::abs(pixels[std::size_t(i)] - expected) < 0.501);
      }
    }
}
