#include "ddpm/io/image.hpp"

#include "../support.hpp"

using namespace test;

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
  CHECK(contains(error_of<IoError>([&] { io::decode_image(bytes, 3, "f"); }), "damaged"));
}
