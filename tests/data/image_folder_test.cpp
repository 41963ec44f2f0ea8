#include "ddpm/data/image_folder.hpp"

#include <fstream>

#include "../support.hpp"

using namespace test;

namespace {

/// All pictures of a folder.
Tensor<float> pictures(const std::filesystem::path& folder,
                       const data::ImageFolderOptions& options = {}) {
  const data::ImageFolder<float> set(folder, options);
  return data::read_images<float>(set, 0, set.size()).images;
}

}  // namespace

TEST_CASE("image folder: sorted, resized, cropped; damaged files") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path / "sub");
  std::filesystem::create_directories(folder.path / ".hidden");
  io::write_image<float>(folder.path / "b.png", Tensor<float>({20, 10, 3}, 0.5F));
  io::write_image<float>(folder.path / "a.PNG", Tensor<float>({7, 30, 1}, -0.5F));
  io::write_image<float>(folder.path / "sub" / "c.png", Tensor<float>({8, 8, 3}, 1.0F));
  io::write_image<float>(folder.path / ".hidden" / "d.png", Tensor<float>({8, 8, 3}, 1.0F));
  std::ofstream(folder.path / "notes.txt") << "no picture";
  std::filesystem::create_directory_symlink(folder.path, folder.path / "loop");
  const auto images = pictures(folder.path, {.height = 8, .width = 6});
  CHECK(images.shape() == Shape{3, 8, 6, 3});
  CHECK(images[0] == doctest::Approx(-0.5).epsilon(0.01));
  CHECK(images[8 * 6 * 3] == doctest::Approx(0.5).epsilon(0.01));
  const auto grey = pictures(folder.path, {.height = 4, .width = 4, .channels = 1});
  CHECK(grey.shape() == Shape{3, 4, 4, 1});

  std::ofstream(folder.path / "broken.jpg") << "not a jpeg";
  CHECK(contains(error_of<IoError>([&] { pictures(folder.path); }), "broken.jpg: no PNG"));
  CHECK(pictures(folder.path, {.skip_damaged = true}).dim(0) == 3);
  CHECK(contains(error_of<IoError>([&] { pictures(folder.path / "none"); }), "none"));
  std::filesystem::create_directory(folder.path / "empty");
  CHECK(contains(error_of<IoError>([&] { pictures(folder.path / "empty"); }), "no PNG"));
  CHECK_THROWS_AS(pictures(folder.path, {.height = 0}), PreconditionError);
  CHECK_THROWS_AS(pictures(folder.path, {.channels = 2}), PreconditionError);
}
