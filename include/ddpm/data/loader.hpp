// Batches of images, shuffled anew each epoch, flipped if asked for.
//
// The order is a function of (seed, epoch), the flips of (seed, number of the image drawn); the
// state is one integer, the number of images drawn.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <numeric>
#include <vector>

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/random.hpp"
#include "ddpm/data/pixels.hpp"

namespace ddpm::DDPM_ABI::data {

struct LoaderOptions {
  Index batch_size = 64;  ///< at least 1
  std::uint64_t seed = 0;
  bool horizontal_flip = false;  ///< mirror each image with probability one half
  Index drawn = 0;               ///< images to pass over at the start, at least 0
};

template <class T>
struct Batch {
  Tensor<T> images;
  PooledVector<Index> labels;  ///< of each image; empty if the data have none
};

template <class T>
class Loader {
 public:
  /// images (N, H, W, C), not copied. Throws PreconditionError if there is none, or batch_size < 1.
  Loader(Tensor<T> images, const LoaderOptions& options)
      : Loader(LabelledImages<T>{std::move(images), {}}, options) {}
  /// The same with labels, as many as images or none.
  Loader(LabelledImages<T> data, const LoaderOptions& options)
      : images_(std::move(data.images)),
        labels_(std::move(data.labels)),
        options_(options),
        drawn_(options.drawn) {
    require(images_.shape().rank() == 4 && images_.size() > 0, "Loader: images are ",
            images_.shape(), ", expected (N, H, W, C), at least one");
    require(options.batch_size >= 1, "Loader: batch_size is ", options.batch_size,
            ", expected at least 1");
    require(labels_.empty() || std::ssize(labels_) == images_.dim(0), "Loader: ", labels_.size(),
            " labels for ", images_.dim(0), " images");
    require(options.drawn >= 0, "Loader: drawn is ", options.drawn, ", must not be negative");
    order_.resize(static_cast<std::size_t>(images_.dim(0)));
  }

  /// The next batch_size images. A batch may end one epoch and begin the next.
  Batch<T> next() {
    const Shape& s = images_.shape();
    Batch<T> batch{Tensor<T>({options_.batch_size, s[1], s[2], s[3]}), {}};
    for (Index i = 0; i < options_.batch_size; ++i, ++drawn_) {
      if (drawn_ / s[0] != epoch_) shuffle(epoch_ = drawn_ / s[0]);
      const Index chosen = order_[static_cast<std::size_t>(drawn_ % s[0])];
      copy(images_.slice(chosen, 1), flipped(drawn_), batch.images.slice(i, 1));
      if (!labels_.empty()) batch.labels.push_back(labels_[static_cast<std::size_t>(chosen)]);
    }
    return batch;
  }

  /// Images drawn so far.
  Index drawn() const { return drawn_; }

 private:
  /// Fisher and Yates, from the identity.
  void shuffle(Index epoch) {
    std::iota(order_.begin(), order_.end(), Index{0});
    Rng rng(options_.seed, Purpose::order, epoch);
    for (std::size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[static_cast<std::size_t>(rng.below(static_cast<Index>(i)))]);
  }

  bool flipped(Index drawn) const {
    if (!options_.horizontal_flip) return false;
    return Rng(options_.seed, Purpose::flip, drawn).below(2) == 1;
  }

  static void copy(View<const T> from, bool mirror, View<T> to) {
    const Index rows = from.dim(1), width = from.dim(2);
    for (Index h = 0; h < rows; ++h)
      for (Index w = 0; w < width; ++w)
        std::copy_n(from.row(h * width + w), from.dim(3),
                    to.row(h * width + (mirror ? width - 1 - w : w)));
  }

  Tensor<T> images_;
  std::vector<Index> labels_;
  LoaderOptions options_;
  std::vector<Index> order_;
  Index drawn_, epoch_ = -1;  ///< epoch_: which one order_ is for
};

}  // namespace ddpm::DDPM_ABI::data
