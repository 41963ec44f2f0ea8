// Images in memory with 8 bits a value, as files have them: a quarter of what floats take.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "ddpm/data/dataset.hpp"

namespace ddpm::DDPM_ABI::data {

/// x / 127.5 - 1, in [-1, 1] (Ho et al. 2020, section 3.3).
template <class T>
T from_byte(std::uint8_t pixel) {
  return static_cast<T>(pixel) / T(127.5) - T(1);
}

/// Writes from_byte() of `count` pixels.
template <class T>
void from_bytes(const std::uint8_t* pixels, Index count, T* values) {
  static const auto table = [] {
    std::array<T, 256> of_byte{};
    for (std::size_t i = 0; i < 256; ++i) of_byte[i] = from_byte<T>(static_cast<std::uint8_t>(i));
    return of_byte;
  }();
  for (Index i = 0; i < count; ++i) values[i] = table[pixels[i]];
}

/// A data set of images (N, H, W, C) and, if they are known, their classes. Copies share the
/// pixels.
template <class T>
class ImageSet {
 public:
  /// pixels  N H W C bytes, row-major;  labels  N, or none
  /// Throws PreconditionError if the numbers disagree.
  ImageSet(const Shape& shape, std::vector<std::uint8_t> pixels, std::vector<Index> labels = {})
      : shape_(shape),
        pixels_(std::make_shared<const std::vector<std::uint8_t>>(std::move(pixels))),
        labels_(std::move(labels)) {
    require(shape.rank() == 4 && std::ssize(*pixels_) == shape.size(),
            "ImageSet: ", pixels_->size(), " bytes for images ", shape, ", expected (N, H, W, C)");
    require(labels_.empty() || std::ssize(labels_) == shape[0], "ImageSet: ", labels_.size(),
            " labels for ", shape[0], " images");
  }

  /// The same images with other labels, or without. Throws PreconditionError as the constructor.
  ImageSet with_labels(const std::vector<Index>& labels) const {
    require(labels.empty() || std::ssize(labels) == size(), "ImageSet: ", labels.size(),
            " labels for ", size(), " images");
    ImageSet result = *this;
    result.labels_ = labels;
    return result;
  }

  /// The same images with rows and columns swapped: those of EMNIST lie so in its files.
  ImageSet transposed() const {
    const Index H = shape_[1], W = shape_[2], C = shape_[3];
    std::vector<std::uint8_t> turned;
    turned.reserve(pixels_->size());
    for (Index n = 0; n < size(); ++n)
      for (Index w = 0; w < W; ++w)
        for (Index h = 0; h < H; ++h) {
          const auto pixel = pixels_->begin() + ((n * H + h) * W + w) * C;
          turned.insert(turned.end(), pixel, pixel + C);
        }
    return {{size(), W, H, C}, std::move(turned), labels_};
  }

  const Shape& shape() const { return shape_; }
  Index size() const { return shape_[0]; }
  Shape image_shape() const { return {shape_[1], shape_[2], shape_[3]}; }
  /// Writes image i in [-1, 1].
  void read(Index i, View<T> image) const {
    from_bytes(pixels_->data() + i * image.size(), image.size(), image.data);
  }
  bool has_labels() const { return !labels_.empty(); }
  Index label(Index i) const { return labels_[static_cast<std::size_t>(i)]; }
  const std::vector<Index>& labels() const { return labels_; }

  /// All images as numbers, (N, H, W, C) in [-1, 1].
  Tensor<T> tensor() const {
    Tensor<T> images(shape_);
    from_bytes(pixels_->data(), images.size(), images.data());
    return images;
  }

 private:
  Shape shape_;
  std::shared_ptr<const std::vector<std::uint8_t>> pixels_;
  std::vector<Index> labels_;
};

}  // namespace ddpm::DDPM_ABI::data
