// What training draws its images from: anything that knows how many there are, their shape, and
// number i of them. Data larger than memory, files that are decoded when asked for, and a user's
// own source all go through the same Loader.
//
//   struct Stripes {  // a data set of its own kind
//     Index size() const { return 8; }
//     Shape image_shape() const { return {8, 8, 1}; }
//     void read(Index i, View<float> image) const {
//       for (Index p = 0; p < 64; ++p) image[p] = p % 8 == i ? 1 : -1;
//     }
//   };
//
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <vector>

#include "ddpm/core/labels.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::data {

/// size() images of image_shape() (H, W, C); read(i, image) writes image i, 0 <= i < size(), with
/// pixels in [-1, 1], and may be called from several threads at once.
template <class D, class T>
concept Dataset = requires(const D& data, Index i, View<T> image) {
  { data.size() } -> std::convertible_to<Index>;
  { data.image_shape() } -> std::convertible_to<Shape>;
  data.read(i, image);
};

/// One that also knows classes: label(i) is that of image i, at least 0, or no_label.
template <class D>
concept Labelled = requires(const D& data, Index i) {
  { data.has_labels() } -> std::convertible_to<bool>;
  { data.label(i) } -> std::convertible_to<Index>;
};

/// One whose read() takes long, because it decodes files, say: the Loader then reads ahead.
template <class D>
concept ReadsSlowly = requires {
  requires bool(D::reads_slowly);
};

/// Whether a data set tells the classes of its images.
template <class D>
bool has_labels(const D& data) {
  if constexpr (Labelled<D>)
    return data.has_labels();
  else
    return false;
}

template <class D>
Index label_of(const D& data, Index i) {
  if constexpr (Labelled<D>)
    return data.label(i);
  else
    return no_label;
}

/// Images in memory as numbers, and the class of each. Copies share the images.
template <class T>
struct LabelledImages {
  Tensor<T> images;           ///< (N, H, W, C) in [-1, 1]
  std::vector<Index> labels;  ///< N, or none

  /// Throws PreconditionError if the images are not (N, H, W, C), or there are labels, but not N.
  Index size() const {
    require(images.shape().rank() == 4, "LabelledImages: images are ", images.shape(),
            ", expected (N, H, W, C)");
    require(labels.empty() || std::ssize(labels) == images.dim(0),
            "LabelledImages: ", labels.size(), " labels for ", images.dim(0), " images");
    return images.dim(0);
  }
  Shape image_shape() const { return {images.dim(1), images.dim(2), images.dim(3)}; }
  void read(Index i, View<T> image) const {
    const View<T> from = images.slice(i, 1);
    std::copy(from.begin(), from.end(), image.begin());
  }
  bool has_labels() const { return !labels.empty(); }
  Index label(Index i) const { return labels[static_cast<std::size_t>(i)]; }
};

/// Images [first, first + count) of a data set, to which it refers.
template <class D>
class Subset {
 public:
  static constexpr bool reads_slowly = ReadsSlowly<D>;

  /// Throws PreconditionError if they are not all there.
  Subset(const D& data, Index first, Index count) : data_(data), first_(first), count_(count) {
    require(first >= 0 && count >= 0 && first <= data.size() - count, "Subset: images ", first,
            " to ", first + count - 1, " of ", data.size());
  }

  Index size() const { return count_; }
  Shape image_shape() const { return data_.image_shape(); }
  template <class T>
  void read(Index i, View<T> image) const {
    data_.read(first_ + i, image);
  }
  bool has_labels() const { return data::has_labels(data_); }
  Index label(Index i) const { return label_of(data_, first_ + i); }

 private:
  const D& data_;
  Index first_, count_;
};

/// Images [first, first + count) as numbers, with their labels. Throws PreconditionError if they
/// are not all there.
template <class T, Dataset<T> D>
LabelledImages<T> read_images(const D& data, Index first, Index count) {
  const Subset<D> part(data, first, count);
  const Shape one = part.image_shape();
  LabelledImages<T> result{Tensor<T>({count, one[0], one[1], one[2]}), {}};
  for (Index i = 0; i < count; ++i) {
    part.template read<T>(i, {result.images.slice(i, 1).data, one});
    if (part.has_labels()) result.labels.push_back(part.label(i));
  }
  return result;
}

}  // namespace ddpm::DDPM_ABI::data
