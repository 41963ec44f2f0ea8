// Pictures in and out: PNG written, PNG / JPEG / BMP / GIF / PNM read, through stb. Pixels are 8
// bits in the file and [-1, 1] in tensors, x / 127.5 - 1 (Ho et al. 2020, section 3.3).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "ddpm/core/tensor.hpp"
#include "ddpm/io/exif.hpp"
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

/// What a picture's header tells.
struct ImageInfo {
  Index height, width;
  Index channels;  ///< in the file, 2 and 4 with alpha
};

/// Reads the header of a picture of up to 128 million pixels. `name` stands in errors.
/// Throws IoError if the bytes are no such picture.
inline ImageInfo image_info(const Bytes& bytes, const std::string& name) {
  const auto fail = [&](const std::string& what) { throw IoError(name + ": " + what); };
  if (bytes.empty() || bytes.size() > (std::size_t{1} << 30))
    fail(message("a picture of ", bytes.size(), " bytes"));
  int width = 0, height = 0, channels = 0;
  const int size = static_cast<int>(bytes.size());
  if (stbi_info_from_memory(bytes.data(), size, &width, &height, &channels) == 0)
    fail(message("no PNG, JPEG, BMP, GIF or PNM picture (", stbi_failure_reason(), ")"));
  constexpr Index most = 128'000'000;
  if (width < 1 || height < 1 || Index{width} * height > most)
    fail(message(width, " x ", height, " pixels, expected 1 to ", most));
  return {height, width, channels};
}

namespace detail {

/// Pixels (r, g, b, alpha) over white, as `channels` channels; grey by the weights that stb takes.
inline Bytes over_white(const stbi_uc* rgba, Index pixels, Index channels) {
  Bytes result;
  result.reserve(static_cast<std::size_t>(pixels * channels));
  for (Index p = 0; p < pixels; ++p, rgba += 4) {
    int over[3];
    for (int c = 0; c < 3; ++c) over[c] = (rgba[c] * rgba[3] + 255 * (255 - rgba[3]) + 127) / 255;
    if (channels == 1) over[0] = (over[0] * 77 + over[1] * 150 + over[2] * 29) >> 8;
    for (Index c = 0; c < channels; ++c) result.push_back(static_cast<std::uint8_t>(over[c]));
  }
  return result;
}

/// The picture upright, from how the camera was held (Exif orientation 1 to 8).
inline DecodedImage upright(const DecodedImage& image, int orientation) {
  if (orientation <= 1) return image;
  const bool turned = orientation >= 5, mirrored_x = orientation == 2 || orientation == 3 ||
                                                     orientation == 7 || orientation == 8;
  const bool mirrored_y =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  DecodedImage result{turned ? image.width : image.height, turned ? image.height : image.width,
                      image.channels, Bytes(image.pixels.size())};
  auto to = result.pixels.begin();
  for (Index h = 0; h < result.height; ++h)
    for (Index w = 0; w < result.width; ++w) {
      const Index y = turned ? w : h, x = turned ? h : w;  // in the stored picture
      const Index row = mirrored_y ? image.height - 1 - y : y;
      const Index column = mirrored_x ? image.width - 1 - x : x;
      to = std::copy_n(image.pixels.begin() + (row * image.width + column) * image.channels,
                       image.channels, to);
    }
  return result;
}

}  // namespace detail

/// Decodes PNG, JPEG, BMP, GIF (its first picture) or PNM to `channels` channels (1: grey, 3: RGB).
/// 16 bits a channel become 8; what is transparent shows white; JPEGs are turned as their Exif
/// orientation says. `name` stands in errors. Throws IoError as image_info() does, and if the
/// picture is damaged.
inline DecodedImage decode_image(const Bytes& bytes, Index channels, const std::string& name) {
  require(channels == 1 || channels == 3, "decode_image: ", channels, " channels, expected 1 or 3");
  const ImageInfo info = image_info(bytes, name);
  const bool alpha = info.channels == 2 || info.channels == 4;
  int width = 0, height = 0, in_file = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &in_file,
                            alpha ? 4 : static_cast<int>(channels)),
      stbi_image_free);
  if (pixels == nullptr)
    throw IoError(message(name, ": damaged picture (", stbi_failure_reason(), ")"));
  const Index count = Index{width} * height;
  const DecodedImage decoded{height, width, channels,
                             alpha ? detail::over_white(pixels.get(), count, channels)
                                   : Bytes(pixels.get(), pixels.get() + count * channels)};
  return detail::upright(decoded, exif_orientation(bytes));
}

/// The picture resized so that it covers height x width, then cropped to its middle.
/// Throws PreconditionError unless both are 1 to 16384 and the picture has pixels.
inline DecodedImage fit_image(const DecodedImage& image, Index height, Index width) {
  require(height >= 1 && width >= 1 && height <= 16384 && width <= 16384, "fit_image: to ", height,
          " x ", width, ", expected 1 to 16384 each");
  require(image.height >= 1 && image.width >= 1, "fit_image: a picture of ", image.height, " x ",
          image.width, " pixels");
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
