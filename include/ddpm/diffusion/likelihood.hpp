// The variational bound on the negative log-likelihood, in bits per dimension (Ho et al. 2020,
// equations 3 and 5, sections 3.3 and 4.3).
//
//   bound = L_T + sum_{t > 0} KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) - log p(x_0 | x_1)
//           prior, and the terms of t: together the rate;                     distortion
//
// All T terms for each image, or an unbiased estimate from some: [1, T) is cut into parts of
// about equal length in the log signal-to-noise ratio, and each image draws one timestep from each.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>

#include "ddpm/autograd/fixed_parameters.hpp"
#include "ddpm/autograd/no_grad.hpp"
#include "ddpm/core/precision.hpp"
#include "ddpm/diffusion/guidance.hpp"
#include "ddpm/diffusion/losses.hpp"

namespace ddpm::DDPM_ABI {

struct LikelihoodOptions {
  Index terms = 0;              ///< of t > 0, evaluated for each image, 1 to T - 1; 0: all
  Index batch_size = 64;        ///< images at once, at least 1; changes no result
  Index first = 0;              ///< number of the first image, at least 0, for its random numbers
  std::uint64_t seed = 0;       ///< of the noise, and of the timesteps
  std::vector<Index> labels{};  ///< the class of each image, for a bound given the class; or none
  Precision precision = matmul_precision();  ///< of products
};

/// Timesteps [first, first + count) of the bound.
struct LikelihoodTerm {
  Index first, count;
  double bits;     ///< per dimension, the sum over the timesteps
  double x_0_mse;  ///< mean squared error of the predicted x_0, for values in [-1, 1]
};

/// Bits per dimension, means over the images.
struct Likelihood {
  double prior;                       ///< KL(q(x_T | x_0) || N(0, I))
  std::vector<LikelihoodTerm> terms;  ///< rising; the first is only t = 0, the decoder
  std::vector<double> of_image;       ///< the bound of each image

  /// The decoder's bits: what the lossy picture lacks.
  double distortion() const { return terms[0].bits; }
  /// All other bits.
  double rate() const {
    double sum = prior;
    for (std::size_t i = 1; i < terms.size(); ++i) sum += terms[i].bits;
    return sum;
  }
  double bits_per_dim() const { return rate() + distortion(); }

  /// Takes more images into the means, those of `other`, which has the same terms. Throws
  /// PreconditionError if it has not.
  void add(const Likelihood& other) {
    require(terms.size() == other.terms.size(), "Likelihood::add: ", other.terms.size(),
            " terms to ", terms.size());
    const auto here = static_cast<double>(of_image.size()),
               there = static_cast<double>(other.of_image.size());
    const auto mean = [&](double& a, double b) { a = (a * here + b * there) / (here + there); };
    mean(prior, other.prior);
    for (std::size_t i = 0; i < terms.size(); ++i) {
      mean(terms[i].bits, other.terms[i].bits);
      mean(terms[i].x_0_mse, other.terms[i].x_0_mse);
    }
    of_image.insert(of_image.end(), other.of_image.begin(), other.of_image.end());
  }
};

/// A point of progressive lossy compression (section 4.3): the bits a dimension that tell x_t, and
/// the root mean square error of the picture they give, in pixel values 0 to 255. Of a run of
/// timesteps that was estimated as one, t is the middle.
struct RateDistortion {
  Index t;
  double rate, rmse;
};

/// The curve from the first bit to the last (Ho et al. 2020, figure 5).
inline std::vector<RateDistortion> rate_distortion(const Likelihood& likelihood) {
  std::vector<RateDistortion> curve;
  double rate = likelihood.prior;
  for (std::size_t i = likelihood.terms.size(); i-- > 0;) {
    const LikelihoodTerm& term = likelihood.terms[i];
    const Index before_middle = (term.count - 1) / 2;
    const double share =
        static_cast<double>(term.count - 1 - before_middle) / static_cast<double>(term.count);
    curve.push_back(
        {term.first + before_middle, rate + share * term.bits, 127.5 * std::sqrt(term.x_0_mse)});
    rate += term.bits;
  }
  return curve;
}

/// KL(q(x_T | x_0) || N(0, I)) in bits per dimension of each image of x_0 (N, ...).
template <class T>
std::vector<double> prior_bits(const Scheduler<T>& scheduler, const Tensor<T>& x_0) {
  const double abar = scheduler.alphas_cumprod().back(), variance = 1 - abar;
  const Index N = x_0.dim(0), size = x_0.size() / N;
  std::vector<double> bits;
  for (Index n = 0; n < N; ++n) {
    double squares = 0;
    for (const T x : x_0.slice(n, 1)) squares += double(x) * double(x);
    const double mean_square = abar * squares / static_cast<double>(size);
    bits.push_back(0.5 * (variance - 1 - std::log(variance) + mean_square) / std::numbers::ln2);
  }
  return bits;
}

namespace detail {

/// The decoder's timestep, then `parts` runs that cover [1, T), about equally long in lambda.
template <class T>
std::vector<LikelihoodTerm> likelihood_parts(const Scheduler<T>& scheduler, Index parts) {
  const Index T_steps = scheduler.timesteps();
  const auto lambda = [&](Index t) {
    return NoiseLevel{0, std::max(scheduler.alpha_cumprod(t), 1e-8)}.lambda();
  };
  std::vector<LikelihoodTerm> terms{{0, 1, 0, 0}};
  Index first = 1;
  for (Index i = 1; i <= parts; ++i) {
    const double end = lambda(1) + (lambda(T_steps - 1) - lambda(1)) * static_cast<double>(i) /
                                       static_cast<double>(parts);
    // At least one timestep for this part and for each to come.
    Index next = first + 1;
    while (next < T_steps - (parts - i) && (i == parts || lambda(next) > end)) ++next;
    terms.push_back({first, next - first, 0, 0});
    first = next;
  }
  return terms;
}

/// Adds one evaluation for each image of a batch to the term and to the images' sums. The first of
/// them is image `first` of the data set.
template <class T, class D>
void add_likelihood_term(const D& denoiser, const Scheduler<T>& scheduler, const Tensor<T>& x_0,
                         Index first, std::uint64_t seed, LikelihoodTerm& term, double* of_image) {
  const Index N = x_0.dim(0);
  const Tensor<T> noise(x_0.shape()), errors({N});
  std::vector<Index> t(static_cast<std::size_t>(N));
  parallel_for(N, [&](Index n) {
    Rng rng(seed, Purpose::likelihood, (first + n) * scheduler.timesteps() + term.first);
    t[static_cast<std::size_t>(n)] = term.first + rng.below(term.count);
    fill_normal<T>(noise.slice(n, 1), rng);
  });
  const Tensor<T> x_t = scheduler.add_noise(x_0, noise, t);
  const std::vector<double> times(t.begin(), t.end());
  const Variable<T> output = denoiser(Variable<T>(x_t), times);
  const Tensor<T> bits = bound_terms(scheduler, output, x_0, x_t, t,
                                     {.clip = scheduler.config().clip_sample}, errors.view())
                             .value();
  for (Index n = 0; n < N; ++n) {
    const double all = static_cast<double>(term.count) * static_cast<double>(bits[n]);
    term.bits += all;
    term.x_0_mse += static_cast<double>(errors[n]);
    of_image[n] += all;
  }
}

}  // namespace detail

/// The bound for images (N, H, W, C), pixels x / 127.5 - 1. The predicted x_0 is clipped to [-1, 1]
/// if the scheduler's clip_sample says so; dynamic thresholding is not part of the bound.
/// on_progress(done, all) counts network evaluations of a batch.
/// Throws PreconditionError if an option is out of range, there is no image, or labels are given to
/// a denoiser that takes none.
template <class T, Denoiser<T> D>
Likelihood likelihood(const D& denoiser, const Scheduler<T>& scheduler, const Tensor<T>& images,
                      const LikelihoodOptions& options = {},
                      const std::function<void(Index done, Index all)>& on_progress = {}) {
  require(images.shape().rank() == 4 && images.size() > 0, "likelihood: images are ",
          images.shape(), ", expected (N, H, W, C), at least one");
  require(options.batch_size >= 1, "likelihood: batch_size is ", options.batch_size,
          ", expected at least 1");
  require(options.first >= 0, "likelihood: first is ", options.first, ", must not be negative");
  const Index N = images.dim(0), most = scheduler.timesteps() - 1;
  require(options.terms >= 0 && options.terms <= most, "likelihood: terms is ", options.terms,
          ", expected 1 to ", most, ", or 0 for all");
  require(options.labels.empty() || std::ssize(options.labels) == N,
          "likelihood: ", options.labels.size(), " labels for ", N, " images");
  detail::check_guidance<T>("likelihood", denoiser, options.labels, 1);
  const NoGrad no_grad;
  const PrecisionScope scope(options.precision);
  const FixedParameters fixed;
  Likelihood result{0,
                    detail::likelihood_parts(scheduler, options.terms > 0 ? options.terms : most),
                    prior_bits(scheduler, images)};
  for (const double bits : result.of_image) result.prior += bits / static_cast<double>(N);
  const Index batches = (N + options.batch_size - 1) / options.batch_size;
  Index done = 0;
  for (Index first = 0; first < N; first += options.batch_size) {
    const Tensor<T> x_0 = copy_of(images.slice(first, std::min(options.batch_size, N - first)));
    const auto run = [&](const auto& model) {
      for (auto term = result.terms.rbegin(); term != result.terms.rend(); ++term) {
        detail::add_likelihood_term(model, scheduler, x_0, options.first + first, options.seed,
                                    *term, result.of_image.data() + first);
        if (on_progress) on_progress(++done, batches * std::ssize(result.terms));
      }
    };
    detail::with_labels<T>(denoiser, options.labels, first, x_0.dim(0), 1.0, run);
  }
  for (LikelihoodTerm& term : result.terms) {
    term.bits /= static_cast<double>(N);
    term.x_0_mse /= static_cast<double>(N);
  }
  return result;
}

}  // namespace ddpm::DDPM_ABI
