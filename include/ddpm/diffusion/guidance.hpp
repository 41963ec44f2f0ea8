// Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, equation 6): a denoiser that
// knows classes becomes one for given classes, which any sampler takes.
//
//   output = output(no class) + scale (output(class) - output(no class))
//
// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "ddpm/autograd/no_grad.hpp"
#include "ddpm/core/labels.hpp"
#include "ddpm/diffusion/combine.hpp"
#include "ddpm/diffusion/denoiser.hpp"

namespace ddpm::DDPM_ABI {

/// For sampling: no gradient flows through it. Refers to the denoiser, which must outlive it.
template <class T, ConditionalDenoiser<T> D>
class Guided {
 public:
  /// labels  the class of each image, or no_label
  /// scale   1: only the class, one evaluation; more: more typical of it, less varied, and twice
  ///         the work; 0: as without classes. The paper's w is scale - 1.
  /// Throws PreconditionError if the denoiser knows no classes, a label is out of range, or the
  /// scale is not finite.
  Guided(const D& denoiser, std::vector<Index> labels, double scale)
      : denoiser_(denoiser), labels_(std::move(labels)), scale_(scale) {
    require(!labels_.empty(), "Guided: no labels");
    check_labels("Guided", labels_, std::ssize(labels_), denoiser.classes());
    require(std::isfinite(scale), "Guided: scale is ", scale, ", expected a finite number");
  }

  /// The guided output for x (N, H, W, C) at N timesteps. Throws PreconditionError unless there is
  /// one label an image, or as the denoiser does.
  Variable<T> operator()(const Variable<T>& x, std::span<const double> t) const {
    const NoGrad no_grad;
    check_labels("Guided", labels_, x.dim(0), denoiser_.classes());
    if (scale_ == 1) return denoiser_(x, t, std::span<const Index>(labels_));
    const std::vector<Index> none(labels_.size(), no_label);
    const Variable<T> free = denoiser_(x, t, std::span<const Index>(none));
    if (scale_ == 0) return free;
    const Variable<T> conditional = denoiser_(x, t, std::span<const Index>(labels_));
    using Term = detail::Term<T>;
    const Tensor<T> guided =
        detail::combine<T>(Term{1 - scale_, free.value()}, Term{scale_, conditional.value()});
    // A learned variance is not extrapolated: it is the class's.
    const Index C = x.shape().back(), channels = guided.shape().back();
    for (Index row = 0; channels > C && row < guided.size() / channels; ++row)
      std::copy_n(conditional.value().data() + row * channels + C, channels - C,
                  guided.data() + row * channels + C);
    return guided;
  }

 private:
  const D& denoiser_;
  std::vector<Index> labels_;
  double scale_;
};

namespace detail {

/// Throws PreconditionError unless the denoiser takes these labels, and the scale fits them.
template <class T, class D>
void check_guidance(const char* where, const D& denoiser, std::span<const Index> labels,
                    double scale) {
  require(std::isfinite(scale), where, ": guidance is ", scale, ", expected a finite number");
  require(scale == 1 || !labels.empty(), where, ": guidance is ", scale, " without labels");
  if constexpr (ConditionalDenoiser<D, T>)
    check_labels(where, labels, std::ssize(labels), denoiser.classes());
  else
    require(labels.empty(), where, ": labels for a denoiser that takes none");
}

/// Calls f with the denoiser for images [first, first + count): itself if there are no labels, or
/// guided to theirs, which begin again where they end; check_guidance() has seen them.
template <class T, class D, class F>
auto with_labels(const D& denoiser, const std::vector<Index>& labels, Index first, Index count,
                 double scale, const F& f) {
  if constexpr (ConditionalDenoiser<D, T>)
    if (!labels.empty()) {
      std::vector<Index> part;
      for (Index i = first; i < first + count; ++i)
        part.push_back(labels[static_cast<std::size_t>(i % std::ssize(labels))]);
      return f(Guided<T, D>(denoiser, std::move(part), scale));
    }
  return f(denoiser);
}

}  // namespace detail

}  // namespace ddpm::DDPM_ABI
