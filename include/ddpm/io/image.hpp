// Pictures in and out: PNG written through zlib, PNG / JPEG / BMP / GIF read through stb, PNM by
// ourselves. Pixels are 8 bits in the file and [-1, 1] in tensors, x / 127.5 - 1 (Ho et al. 2020,
// section 3.3).
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
#include "ddpm/io/picture/bmp.hpp"
#include "ddpm/io/picture/gif.hpp"
#include "ddpm/io/picture/jpeg.hpp"
#include "ddpm/io/picture/png.hpp"
#include "ddpm/io/picture/png_writer.hpp"
#include "ddpm/io/picture/pnm.hpp"
#include "ddpm/io/picture/resize.hpp"
#include "ddpm/io/stb.hpp"

namespace ddpm::DDPM_ABI::io {

/// The 8-bit value of a pixel in [-1, 1]; values outside are clipped, NaN is black.
template <class T>
std::uint8_t to_byte(T pixel) {
  const T scaled = (pixel + 1) * T(127.5);
  return static_cast<std::uint8_t>(scaled > 0 ? std::min(T(255), std::round(scaled)) : T(0));
}

/// Writes an image (H, W, C), C = 1 (grey) or 3 (RGB), pixels in [-1, 1], as PNG.
/// Throws PreconditionError if the shape is another, or a side has more than 32768 pixels; IoError
/// if the file cannot be written, std::bad_alloc.
template <class T>
void write_image(const std::filesystem::path& path, const View<const T>& image) {
  require(image.shape.rank() == 3 && image.size() > 0 && (image.dim(2) == 1 || image.dim(2) == 3),
          "write_image: image is ", image.shape, ", expected (H, W, 1) or (H, W, 3)");
  require(image.dim(0) <= 32768 && image.dim(1) <= 32768, "write_image: image is ", image.shape,
          ", expected at most 32768 x 32768 pixels");
  Bytes bytes(static_cast<std::size_t>(image.size()));
  std::transform(image.begin(), image.end(), bytes.begin(), to_byte<T>);
  const Bytes file = picture::encode_png(bytes, image.dim(0), image.dim(1), image.dim(2));
  write_file(path, file.data(), file.size());
}

/// Writes images (N, H, W, C) side by side as one PNG, `columns` a row (0: about as many as rows),
/// two pixels of white between them. Each pixel becomes a square of `enlarge` x `enlarge`.
/// Throws PreconditionError if shape, columns or enlarge are out of range, IoError as write_image
/// does.
template <class T>
void write_image_grid(const std::filesystem::path& path, const Tensor<T>& images, Index columns = 0,
                      Index enlarge = 1) {
  const Shape& s = images.shape();
  require(s.rank() == 4 && s.size() > 0, "write_image_grid: images are ", s,
          ", expected (N, H, W, C), at least one");
  require(columns >= 0, "write_image_grid: ", columns, " columns");
  require(enlarge >= 1 && enlarge <= 64, "write_image_grid: enlarge is ", enlarge,
          ", expected 1 to 64");
  if (columns == 0) columns = static_cast<Index>(std::ceil(std::sqrt(double(s[0]))));
  columns = std::min(columns, s[0]);
  constexpr Index gap = 2;
  const Index rows = (s[0] + columns - 1) / columns;
  const Index height = s[1] * enlarge, width = s[2] * enlarge;
  const Tensor<T> grid({rows * (height + gap) + gap, columns * (width + gap) + gap, s[3]}, T(1));
  for (Index n = 0; n < s[0]; ++n)
    for (Index h = 0; h < height; ++h) {
      const Index row = n / columns * (height + gap) + gap + h;
      T* to = grid.data() + (row * grid.dim(1) + n % columns * (width + gap) + gap) * s[3];
      const T* from = images.data() + (n * s[1] + h / enlarge) * s[2] * s[3];
      for (Index w = 0; w < width; ++w, to += s[3])
        std::copy_n(from + w / enlarge * s[3], s[3], to);
    }
  write_image<T>(path, grid);
}

/// 8-bit pixels as decoded: (height, width, channels).
struct DecodedImage {
  Index height = 0, width = 0, channels = 0;
  Bytes pixels;
};

using ImageInfo = picture::Info;

/// A file of a picture is at most so large.
inline constexpr std::size_t most_picture_bytes = std::size_t{256} << 20;

/// Looks through the file of a picture, before a decoder sees it: PNG, JPEG, BMP, GIF or PNM of up
/// to 16384 pixels a side and 128 million in all. `name` stands in errors.
/// Throws IoError if the bytes are no such picture, or not a whole one.
inline ImageInfo image_info(const Bytes& bytes, const std::string& name) {
  const picture::Reader file(bytes, name);
  if (bytes.empty() || bytes.size() > most_picture_bytes)
    file.fail("a picture of ", bytes.size(), " bytes, expected 1 to ", most_picture_bytes);
  if (file.starts_with(picture::png_signature)) return picture::check_png(file);
  if (file.starts_with("\xff\xd8")) return picture::check_jpeg(file);
  if (file.starts_with("BM")) return picture::check_bmp(file);
  if (file.starts_with("GIF87a") || file.starts_with("GIF89a")) return picture::check_gif(file);
  if (file.starts_with("P5") || file.starts_with("P6")) return picture::check_pnm(file);
  file.fail("no PNG, JPEG, BMP, GIF or PNM picture");
}

namespace detail {

/// The grey of a colour, by the weights that stb takes.
inline int grey(int red, int green, int blue) { return (red * 77 + green * 150 + blue * 29) >> 8; }

/// A picture of grey or RGB pixels as one of `channels` channels.
inline DecodedImage as_channels(const ImageInfo& info, Bytes pixels, Index channels) {
  DecodedImage result{info.height, info.width, channels, std::move(pixels)};
  if (info.channels == channels) return result;
  const Bytes from = std::exchange(result.pixels, {});
  for (std::size_t p = 0; p < from.size(); p += static_cast<std::size_t>(info.channels))
    if (channels == 1)
      result.pixels.push_back(static_cast<std::uint8_t>(grey(from[p], from[p + 1], from[p + 2])));
    else
      result.pixels.insert(result.pixels.end(), 3, from[p]);
  return result;
}

/// Pixels (r, g, b, alpha) over white, as `channels` channels.
inline Bytes over_white(const std::uint8_t* rgba, Index pixels, Index channels) {
  Bytes result;
  result.reserve(static_cast<std::size_t>(pixels * channels));
  for (Index p = 0; p < pixels; ++p, rgba += 4) {
    int over[3];
    for (int c = 0; c < 3; ++c) over[c] = (rgba[c] * rgba[3] + 255 * (255 - rgba[3]) + 127) / 255;
    if (channels == 1) over[0] = grey(over[0], over[1], over[2]);
    for (Index c = 0; c < channels; ++c) result.push_back(static_cast<std::uint8_t>(over[c]));
  }
  return result;
}

/// The picture upright, from how the camera was held (Exif orientation 1 to 8).
inline DecodedImage upright(DecodedImage image, int orientation) {
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
/// orientation says. `name` stands in errors. Throws PreconditionError for other numbers of
/// channels, IoError as image_info() does, and if the picture is damaged.
inline DecodedImage decode_image(const Bytes& bytes, Index channels, const std::string& name) {
  require(channels == 1 || channels == 3, "decode_image: ", channels, " channels, expected 1 or 3");
  const ImageInfo info = image_info(bytes, name);
  if (bytes[0] == 'P')
    return detail::as_channels(info, picture::decode_pnm({bytes, name}), channels);
  const bool alpha = info.channels == 2 || info.channels == 4;
  int width = 0, height = 0, in_file = 0;
  const std::unique_ptr<std::uint8_t, void (*)(void*)> pixels(
      stb::load(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &in_file,
                alpha ? 4 : static_cast<int>(channels)),
      stb::free);
  if (pixels == nullptr) {
    const std::string reason = stb::failure_reason();
    if (reason == "outofmem") throw std::bad_alloc();
    throw IoError(message(name, ": damaged picture (", reason, ")"));
  }
  if (height != info.height || width != info.width)
    throw IoError(message(name, ": damaged picture (it tells two sizes)"));
  const Index count = Index{width} * height;
  DecodedImage decoded{height, width, channels,
                       alpha ? detail::over_white(pixels.get(), count, channels)
                             : Bytes(pixels.get(), pixels.get() + count * channels)};
  return detail::upright(std::move(decoded), exif_orientation(bytes));
}

namespace detail {

/// The middle of a picture.
inline DecodedImage middle_of(const DecodedImage& image, Index height, Index width) {
  DecodedImage result{height, width, image.channels, {}};
  for (Index h = 0; h < height; ++h) {
    const auto row = image.pixels.begin() +
                     (((image.height - height) / 2 + h) * image.width + (image.width - width) / 2) *
                         image.channels;
    result.pixels.insert(result.pixels.end(), row, row + width * image.channels);
  }
  return result;
}

}  // namespace detail

/// The picture resized so that it covers height x width (bilinear, over all pixels that a new one
/// covers, as Pillow and torchvision do when they shrink), then cropped to its middle.
/// Throws PreconditionError unless both are 1 to 16384 and the picture has pixels.
inline DecodedImage fit_image(const DecodedImage& image, Index height, Index width) {
  require(height >= 1 && width >= 1 && height <= 16384 && width <= 16384, "fit_image: to ", height,
          " x ", width, ", expected 1 to 16384 each");
  require(image.height >= 1 && image.width >= 1, "fit_image: a picture of ", image.height, " x ",
          image.width, " pixels");
  // Of a picture that is far longer than wide most would be resized only to be cropped away.
  constexpr Index longest = 8;
  const auto most = [](Index other, Index own_fit, Index other_fit) {
    return std::max<Index>(1, longest * ((other * own_fit + other_fit - 1) / other_fit));
  };
  const Index tall_enough = std::min(image.height, most(image.width, height, width));
  const Index wide_enough = std::min(image.width, most(image.height, width, height));
  if (tall_enough < image.height || wide_enough < image.width)
    return fit_image(detail::middle_of(image, tall_enough, wide_enough), height, width);
  const double factor =
      std::max(double(height) / double(image.height), double(width) / double(image.width));
  const Index tall = std::max(height, Index(std::llround(double(image.height) * factor)));
  const Index wide = std::max(width, Index(std::llround(double(image.width) * factor)));
  const DecodedImage resized{
      tall, wide, image.channels,
      picture::resize(image.pixels, image.height, image.width, image.channels, tall, wide)};
  return detail::middle_of(resized, height, width);
}

}  // namespace ddpm::DDPM_ABI::io
