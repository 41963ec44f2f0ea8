// A folder of pictures as a data set.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/data/pixels.hpp"
#include "ddpm/io/image.hpp"

namespace ddpm::DDPM_ABI::data {

struct ImageFolderOptions {
  Index height = 32, width = 32;  ///< pixels; pictures are resized to cover that, then cropped
  Index channels = 3;             ///< 3: RGB, 1: grey
  bool skip_damaged = false;      ///< pass over pictures that do not decode, instead of throwing
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

/// All pictures of a folder, (N, height, width, channels) in [-1, 1], in the order of
/// list_images(). Throws IoError if there is none, or one cannot be read (unless skipped);
/// PreconditionError if an option is out of range.
template <class T>
Tensor<T> read_image_folder(const std::filesystem::path& folder,
                            const ImageFolderOptions& options = {}) {
  require(options.height >= 1 && options.width >= 1, "read_image_folder: pictures of ",
          options.height, " x ", options.width, ", expected at least 1 x 1");
  const auto files = list_images(folder);
  const Shape one{options.height, options.width, options.channels};
  Tensor<T> images({std::ssize(files), options.height, options.width, options.channels});
  Index count = 0;
  for (const auto& file : files) {
    try {
      const auto decoded = io::decode_image(io::read_file(file), options.channels, file.string());
      const auto fitted = io::fit_image(decoded, options.height, options.width);
      std::transform(fitted.pixels.begin(), fitted.pixels.end(), images.data() + count * one.size(),
                     from_byte<T>);
      ++count;
    } catch (const IoError&) {
      if (!options.skip_damaged) throw;
    }
  }
  if (count == 0)
    throw IoError(message(folder.string(), ": no PNG, JPEG, BMP or PNM picture that can be read"));
  if (count == images.dim(0)) return images;
  Tensor<T> good({count, options.height, options.width, options.channels});
  std::copy_n(images.data(), good.size(), good.data());
  return good;
}

}  // namespace ddpm::DDPM_ABI::data
