#include "ddpm/data/image_folder.hpp"

#include <unistd.h>

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

TEST_CASE("image folder: what stands in the way is left out and told, links are followed") {
  namespace fs = std::filesystem;
  const TemporaryFolder folder, elsewhere;
  const Tensor<float> picture({8, 8, 3}, 0.5F);
  io::write_image<float>(folder.path / "a.png", picture);
  io::write_image<float>(elsewhere.path / "linked.png", picture);
  fs::create_directory_symlink(elsewhere.path, folder.path / "class");
  fs::create_directory_symlink(elsewhere.path, folder.path / "same again");
  fs::create_symlink(folder.path / "self", folder.path / "self");
  fs::create_symlink(folder.path / "gone", folder.path / "dangling");
  fs::create_directory_symlink(folder.path, folder.path / "round");
  std::ofstream(folder.path / "photo.webp") << "RIFF";
  std::ofstream(folder.path / "scan.TIFF") << "II*";
  std::ofstream(folder.path / "notes.txt") << "no picture";
  std::ofstream(folder.path / "broken.gif") << "GIF89a";
  fs::create_directory(folder.path / "lost+found");
  fs::permissions(folder.path / "lost+found", fs::perms::none);

  const data::ImageFolder<float> set(folder.path, {.skip_damaged = true});
  CHECK(set.size() == 2);
  const std::string summary = set.contents().summary();
  CAPTURE(summary);
  CHECK(summary.starts_with("2 pictures; left out: "));
  CHECK(contains(summary, "1 .webp (this format is not read)"));
  CHECK(contains(summary, "1 .tiff (this format is not read)"));
  CHECK(contains(summary, "1 of other kinds"));
  CHECK(contains(summary, "2 links that lead nowhere"));
  CHECK(contains(summary, "1 damaged (the first: "));
  CHECK(contains(summary, "broken.gif"));
  if (::geteuid() != 0) CHECK(contains(summary, "1 folders (Permission denied)"));
  fs::permissions(folder.path / "lost+found", fs::perms::owner_all);
}

TEST_CASE("image folder: pictures beyond the cache are decoded again, to the same values") {
  const TemporaryFolder folder;
  for (int i = 0; i < 5; ++i)
    io::write_image<float>(folder.path / (std::to_string(i) + ".png"),
                           random_tensor<float>({9, 9, 3}, std::uint64_t(i)));
  const auto cached = pictures(folder.path, {.height = 6, .width = 6});
  const data::ImageFolder<float> small(folder.path,
                                       {.height = 6, .width = 6, .cache_bytes = 2 * 108});
  for (int pass = 0; pass < 2; ++pass)
    CHECK(same_bits(cached, data::read_images<float>(small, 0, 5).images));
}
