// Batches of images, shuffled anew each epoch, flipped if asked for.
//
// The order is a function of (seed, epoch), the flips of (seed, number of the image drawn); the
// state is one integer, the number of images drawn. From a data set that reads slowly the next
// batch is read while the last one is used; the batches are the same.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <exception>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "ddpm/core/background.hpp"
#include "ddpm/core/parallel.hpp"
#include "ddpm/core/pooled_vector.hpp"
#include "ddpm/core/random.hpp"
#include "ddpm/data/dataset.hpp"

namespace ddpm::DDPM_ABI::data {

struct LoaderOptions {
  Index batch_size = 64;  ///< at least 1
  std::uint64_t seed = 0;
  bool horizontal_flip = false;  ///< mirror each image with probability one half
  Index drawn = 0;               ///< images to pass over at the start, at least 0
  /// Of each `batches` batches only `own_batches` are read, from number `first_batch` on: the share
  /// of one of several processes.
  Index batches = 1, first_batch = 0, own_batches = 1;
};

template <class T>
struct Batch {
  Tensor<T> images;            ///< (batch_size, H, W, C)
  PooledVector<Index> labels;  ///< of each image; empty if the data have none
};

template <class T>
class Loader {
 public:
  /// A temporary data set is taken over; any other must outlive the loader.
  /// Throws PreconditionError if there is no image, or an option is out of range.
  template <class D>
  requires Dataset<std::remove_cvref_t<D>, T> Loader(D&& data, const LoaderOptions& options)
      : source_(std::make_unique<SourceOf<D>>(std::forward<D>(data))),
        options_(options),
        drawn_(options.drawn + options.first_batch * options.batch_size) {
    const Shape& s = source_->image_shape;
    require(source_->size > 0 && s.rank() == 3 && s.size() > 0, "Loader: ", source_->size,
            " images of ", s, ", expected (H, W, C), at least one");
    require(options.batch_size >= 1, "Loader: batch_size is ", options.batch_size,
            ", expected at least 1");
    require(options.drawn >= 0, "Loader: drawn is ", options.drawn, ", must not be negative");
    require(options.own_batches >= 1 && options.first_batch >= 0 &&
                options.first_batch <= options.batches - options.own_batches,
            "Loader: ", options.own_batches, " batches of ", options.batches, " from number ",
            options.first_batch);
    order_.resize(static_cast<std::size_t>(source_->size));
  }
  /// The same from images (N, H, W, C) in memory, not copied.
  Loader(const Tensor<T>& images, const LoaderOptions& options)
      : Loader(LabelledImages<T>{images, {}}, options) {}

  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader() {
    if (reader_.joinable()) reader_.join();
  }

  /// The next batch_size images. Throws what the data set's read() throws. A batch may end one
  /// epoch and begin the next.
  Batch<T> next() {
    if (!source_->reads_slowly) {
      Batch<T> batch = make_batch(drawn_);
      advance();
      return batch;
    }
    if (!has_ahead_) read_ahead();
    if (reader_.joinable()) reader_.join();
    has_ahead_ = false;
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    Batch<T> batch = std::move(ahead_);
    advance();
    read_ahead();
    return batch;
  }

  /// The number of the next image; with all batches read, how many were drawn so far.
  Index drawn() const { return drawn_; }

 private:
  /// A data set, whatever its type.
  struct Source {
    Index size = 0;
    Shape image_shape;
    bool has_labels = false, reads_slowly = false;

    virtual ~Source() = default;
    virtual void read(Index i, View<T> image) const = 0;
    virtual Index label(Index i) const = 0;
  };

  /// One of type D; a reference if the loader does not own it.
  template <class D>
  struct SourceOf final : Source {
    using Set = const std::remove_reference_t<D>;
    std::conditional_t<std::is_reference_v<D>, Set&, Set> data;

    explicit SourceOf(D&& own) : data(std::forward<D>(own)) {
      this->size = data.size();
      if (this->size > 0) this->image_shape = data.image_shape();
      this->has_labels = data::has_labels(data);
      this->reads_slowly = ReadsSlowly<std::remove_cvref_t<D>>;
    }
    void read(Index i, View<T> image) const override { data.read(i, image); }
    Index label(Index i) const override { return label_of(data, i); }
  };

  void advance() {
    Index passed = 1;
    if (++made_ % options_.own_batches == 0) passed += options_.batches - options_.own_batches;
    drawn_ += passed * options_.batch_size;
  }

  void read_ahead() {
    has_ahead_ = true;
    reader_ = ddpm::detail::in_background([this, first = drawn_]() noexcept {
      try {
        ahead_ = make_batch(first);
      } catch (...) {
        error_ = std::current_exception();
      }
    });
  }

  /// The batch that begins with image number `first` of the run.
  Batch<T> make_batch(Index first) {
    const Shape& s = source_->image_shape;
    Batch<T> batch{Tensor<T>({options_.batch_size, s[0], s[1], s[2]}), {}};
    PooledVector<Index> chosen(static_cast<std::size_t>(options_.batch_size));
    for (Index i = 0; i < options_.batch_size; ++i)
      chosen[static_cast<std::size_t>(i)] = image_at(first + i);
    parallel_for(options_.batch_size, [&](Index i) {
      const View<T> image(batch.images.slice(i, 1).data, s);
      source_->read(chosen[static_cast<std::size_t>(i)], image);
      if (flipped(first + i)) mirror(image);
    });
    if (source_->has_labels)
      for (const Index i : chosen) batch.labels.push_back(source_->label(i));
    return batch;
  }

  /// Which image is number `drawn` of the run.
  Index image_at(Index drawn) {
    if (drawn / source_->size != epoch_) shuffle(epoch_ = drawn / source_->size);
    return order_[static_cast<std::size_t>(drawn % source_->size)];
  }

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

  static void mirror(View<T> image) {
    const Index width = image.dim(1), C = image.dim(2);
    for (Index h = 0; h < image.dim(0); ++h)
      for (Index w = 0; w < width / 2; ++w) {
        T* left = image.row(h * width + w);
        std::swap_ranges(left, left + C, image.row(h * width + width - 1 - w));
      }
  }

  std::unique_ptr<const Source> source_;
  LoaderOptions options_;
  std::vector<Index> order_;
  Index drawn_, epoch_ = -1;  ///< epoch_: which one order_ is for
  Index made_ = 0;            ///< batches
  bool has_ahead_ = false;    ///< reader_ was started, and not waited for
  std::thread reader_;        ///< makes ahead_, or error_
  Batch<T> ahead_;
  std::exception_ptr error_;
};

}  // namespace ddpm::DDPM_ABI::data
