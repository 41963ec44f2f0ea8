// Pictures in and out: PNG written, PNG / JPEG / BMP / PNM read, through stb. Pixels are 8 bits in
// the file and [-1, 1] in tensors, x / 127.5 - 1 (Ho et al. 2020, section 3.3).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "ddpm/core/tensor.hpp"
#include "ddpm/io/file.hpp"
#include "ddpm/io/stb.hpp"

namespace ddpm::DDPM_ABI::io {

/// The 8-bit value of a pixel in [-1, 1]; values outside are clipped, NaN is black.
template <class T>
std::uint8_t to_byte(T pixel) {
  const T scaled = (pixel + 1) * T(127.5);
  return static_cast<std::uint8_t>(scaled > 0 ? std::min(T(255), std::round(scaled)) : T(0));
}

/// Writes an image (H, W, C), C = 1 (grey) or 3 (RGB), pixels in [-1, 1], as PNG.
/// Throws PreconditionError if the shape is another, IoError if the file cannot be written.
template <class T>
void write_image(const std::filesystem::path& path, const View<const T>& image) {
  require(image.shape.rank() == 3 && image.size() > 0 && (image.dim(2) == 1 || image.dim(2) == 3),
          "write_image: image is ", image.shape, ", expected (H, W, 1) or (H, W, 3)");
  require(image.dim(0) <= 32768 && image.dim(1) <= 32768, "write_image: image is ", image.shape,
          ", expected at most 32768 x 32768 pixels");
  Bytes bytes(static_cast<std::size_t>(image.size()));
  std::transform(image.begin(), image.end(), bytes.begin(), to_byte<T>);
  const int height = static_cast<int>(image.dim(0)), width = static_cast<int>(image.dim(1));
  const int channels = static_cast<int>(image.dim(2));
  int size = 0;
  const std::unique_ptr<unsigned char, void (*)(void*)> png(
      stbi_write_png_to_mem(bytes.data(), width * channels, width, height, channels, &size),
      std::free);
  if (png == nullptr) throw IoError(message(path.string(), ": cannot encode as PNG"));
  write_file(path, png.get(), static_cast<std::size_t>(size));
}

/// Writes images (N, H, W, C) side by side as one PNG, `columns` a row (0: about as many as rows),
/// two pixels of white between them.
/// Throws PreconditionError if shape or columns are out of range, IoError as write_image does.
template <class T>
void write_image_grid(const std::filesystem::path& path, const Tensor<T>& images,
                      Index columns = 0) {
  const Shape& s = images.shape();
  require(s.rank() == 4 && s.size() > 0, "write_image_grid: images are ", s,
          ", expected (N, H, W, C), at least one");
  require(columns >= 0, "write_image_grid: ", columns, " columns");
  if (columns == 0) columns = static_cast<Index>(std::ceil(std::sqrt(double(s[0]))));
  columns = std::min(columns, s[0]);
  constexpr Index gap = 2;
  const Index rows = (s[0] + columns - 1) / columns;
  const Tensor<T> grid({rows * (s[1] + gap) + gap, columns * (s[2] + gap) + gap, s[3]}, T(1));
  for (Index n = 0; n < s[0]; ++n)
    for (Index h = 0; h < s[1]; ++h) {
      const Index row = n / columns * (s[1] + gap) + gap + h;
      const Index column = n % columns * (s[2] + gap) + gap;
      std::copy_n(images.data() + (n * s[1] + h) * s[2] * s[3], s[2] * s[3],
                  grid.data() + (row * grid.dim(1) + column) * s[3]);
    }
  write_image<T>(path, grid);
}

/// 8-bit pixels as decoded: (height, width, channels).
struct DecodedImage {
  Index height = 0, width = 0, channels = 0;
  Bytes pixels;
};

/// Decodes PNG, JPEG, BMP or PNM to `channels` channels (1: grey, 3: RGB; alpha is dropped).
/// `name` stands in errors. Throws IoError if the bytes are no such picture, 16 bits deep, or more
/// than 64 MiB decoded.
inline DecodedImage decode_image(const Bytes& bytes, Index channels, const std::string& name) {
  require(channels == 1 || channels == 3, "decode_image: ", channels, " channels, expected 1 or 3");
  const auto fail = [&](const std::string& what) { throw IoError(name + ": " + what); };
  if (bytes.empty() || bytes.size() > (std::size_t{1} << 30))
    fail(message("a picture of ", bytes.size(), " bytes"));
  const int size = static_cast<int>(bytes.size());
  int width = 0, height = 0, in_file = 0;
  if (stbi_info_from_memory(bytes.data(), size, &width, &height, &in_file) == 0)
    fail(message("no PNG, JPEG, BMP or PNM picture (", stbi_failure_reason(), ")"));
  constexpr Index most = Index{64} << 20;
  if (Index{width} * height * 4 > most)
    fail(message(width, " x ", height, " pixels, more than 64 MiB decoded"));
  if (stbi_is_16_bit_from_memory(bytes.data(), size) != 0) fail("16 bits a channel, expected 8");
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(bytes.data(), size, &width, &height, &in_file,
                            static_cast<int>(channels)),
      stbi_image_free);
  if (pixels == nullptr) fail(message("damaged picture (", stbi_failure_reason(), ")"));
  const Index count = Index{width} * height * channels;
  return {height, width, channels, Bytes(pixels.get(), pixels.get() + count)};
}

/// The picture resized so that it covers height x width, then cropped to its middle.
/// Throws PreconditionError unless both are 1 to 16384.
inline DecodedImage fit_image(const DecodedImage& image, Index height, Index width) {
  require(height >= 1 && width >= 1 && height <= 16384 && width <= 16384, "fit_image: to ", height,
          " x ", width, ", expected 1 to 16384 each");
  const double factor =
      std::max(double(height) / double(image.height), double(width) / double(image.width));
  const Index tall = std::max(height, Index(std::llround(double(image.height) * factor)));
  const Index wide = std::max(width, Index(std::llround(double(image.width) * factor)));
  DecodedImage resized{tall, wide, image.channels,
                       Bytes(static_cast<std::size_t>(tall * wide * image.channels))};
  const auto narrow = [](Index value) { return static_cast<int>(value); };
#ifdef STBIR_INCLUDE_STB_IMAGE_RESIZE2_H
  const auto layout = image.channels == 1 ? STBIR_1CHANNEL : STBIR_RGB;
  const bool done = stbir_resize_uint8_linear(image.pixels.data(), narrow(image.width),
                                              narrow(image.height), 0, resized.pixels.data(),
                                              narrow(wide), narrow(tall), 0, layout) != nullptr;
#else
  const bool done = stbir_resize_uint8(image.pixels.data(), narrow(image.width),
                                       narrow(image.height), 0, resized.pixels.data(), narrow(wide),
                                       narrow(tall), 0, narrow(image.channels)) == 1;
#endif
  if (!done) throw std::bad_alloc();
  DecodedImage cropped{height, width, image.channels, {}};
  for (Index h = 0; h < height; ++h) {
    const auto row = resized.pixels.begin() +
                     (((tall - height) / 2 + h) * wide + (wide - width) / 2) * image.channels;
    cropped.pixels.insert(cropped.pixels.end(), row, row + width * image.channels);
  }
  return cropped;
}

}  // namespace ddpm::DDPM_ABI::io
