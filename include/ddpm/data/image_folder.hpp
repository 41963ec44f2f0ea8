// A folder of pictures as a data set. A picture is decoded when it is asked for, and its pixels, at
// the size asked for, are kept, so that later epochs need no decoding.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <mutex>

#include "ddpm/core/parallel.hpp"
#include "ddpm/data/image_set.hpp"
#include "ddpm/io/image.hpp"

namespace ddpm::DDPM_ABI::data {

struct ImageFolderOptions {
  Index height = 32, width = 32;  ///< pixels; pictures are resized to cover that, then cropped
  Index channels = 3;             ///< 3: RGB, 1: grey
  bool skip_damaged = false;      ///< pass over pictures that do not decode, instead of throwing
  std::size_t cache_bytes = std::size_t{1} << 30;  ///< of decoded pictures that are kept
};

/// PNG, JPEG, BMP and PNM files of a folder and its sub-folders by their ending, sorted by path;
/// hidden ones are ignored. Throws IoError if the folder cannot be read.
inline std::vector<std::filesystem::path> list_images(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  const auto is_image = [](const fs::path& file) {
    std::string ending = file.extension().string();
    std::transform(ending.begin(), ending.end(), ending.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (const char* known : {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm"})
      if (ending == known) return true;
    return false;
  };
  std::vector<fs::path> files;
  try {
    // Links to folders are not followed, so none can lead round in a circle.
    for (auto it = fs::recursive_directory_iterator(folder); it != fs::end(it); ++it) {
      if (it->path().filename().string().starts_with('.')) {
        if (it->is_directory()) it.disable_recursion_pending();
        continue;
      }
      if (it->is_regular_file() && is_image(it->path())) files.push_back(it->path());
    }
  } catch (const fs::filesystem_error& error) {
    throw IoError(message(folder.string(), ": ", error.code().message()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The pictures of a folder in the order of list_images().
template <class T>
class ImageFolder {
 public:
  static constexpr bool reads_slowly = true;

  /// Throws IoError if there is no picture, PreconditionError if an option is out of range. With
  /// skip_damaged every picture is decoded now.
  explicit ImageFolder(const std::filesystem::path& folder, const ImageFolderOptions& options = {})
      : options_(options), files_(list_images(folder)), kept_(files_.size()) {
    require(options.height >= 1 && options.width >= 1, "ImageFolder: pictures of ", options.height,
            " x ", options.width, ", expected at least 1 x 1");
    require(options.channels == 1 || options.channels == 3, "ImageFolder: ", options.channels,
            " channels, expected 1 or 3");
    if (options.skip_damaged) drop_damaged();
    if (files_.empty())
      throw IoError(
          message(folder.string(), ": no PNG, JPEG, BMP or PNM picture that can be read"));
  }

  Index size() const { return std::ssize(files_); }
  Shape image_shape() const { return {options_.height, options_.width, options_.channels}; }
  const std::filesystem::path& path(Index i) const { return files_[static_cast<std::size_t>(i)]; }

  /// Writes picture i in [-1, 1]. Throws IoError if it cannot be read.
  void read(Index i, View<T> image) const {
    const std::shared_ptr<const io::Bytes> pixels = decoded(static_cast<std::size_t>(i));
    from_bytes(pixels->data(), image.size(), image.data);
  }

 private:
  using Pixels = std::shared_ptr<const io::Bytes>;

  Pixels decoded(std::size_t i) const {
    {
      const std::lock_guard lock(*mutex_);
      if (kept_[i]) return kept_[i];
    }
    auto pixels = std::make_shared<const io::Bytes>(decode(files_[i]));
    const std::lock_guard lock(*mutex_);
    if (kept_bytes_ + pixels->size() <= options_.cache_bytes) {
      kept_[i] = pixels;
      kept_bytes_ += pixels->size();
    }
    return pixels;
  }

  io::Bytes decode(const std::filesystem::path& file) const {
    const auto picture = io::decode_image(io::read_file(file), options_.channels, file.string());
    return io::fit_image(picture, options_.height, options_.width).pixels;
  }

  void drop_damaged() {
    std::vector<char> good(files_.size());
    parallel_for(std::ssize(files_), [&](Index i) {
      const auto at = static_cast<std::size_t>(i);
      try {
        decoded(at);
        good[at] = 1;
      } catch (const IoError&) {
      }
    });
    std::size_t count = 0;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (!good[i]) continue;
      std::swap(files_[count], files_[i]);
      std::swap(kept_[count++], kept_[i]);
    }
    files_.resize(count);
    kept_.resize(count);
  }

  ImageFolderOptions options_;
  std::vector<std::filesystem::path> files_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();  ///< of the two below
  mutable std::vector<Pixels> kept_;
  mutable std::size_t kept_bytes_ = 0;
};

}  // namespace ddpm::DDPM_ABI::data
