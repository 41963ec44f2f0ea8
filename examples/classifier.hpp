// A small classifier, trained with the library's own layers: it judges what a conditional network
// draws, and its features measure how far drawn images are from real ones.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Dense>

#include "common.hpp"

namespace examples {

/// Three convolutions, two of them halving the map, and two dense layers.
struct Classifier {
  static constexpr Index features = 64;
  nn::Conv2d<float> conv1, conv2, conv3;
  nn::GroupNorm<float> norm1, norm2, norm3;
  nn::Conv2d<float> dense, out;  ///< of the whole map, and of the 1x1 map that it leaves

  /// For square images, their side a multiple of 4.
  Classifier(Index side, Index channels, Index classes, Rng rng)
      : conv1(nn::Conv2d<float>::same3x3(channels, 32, rng)),
        conv2(32, 64, 3, {2, Padding::same(1)}, rng),
        conv3(64, 64, 3, {2, Padding::same(1)}, rng),
        norm1(32, 8),
        norm2(64, 8),
        norm3(64, 8),
        dense(64, features, side / 4, {}, rng),
        out(nn::Conv2d<float>::pointwise(features, classes, rng)) {}

  static void members(auto& self, auto&& visit) {
    visit("conv1", self.conv1);
    visit("conv2", self.conv2);
    visit("conv3", self.conv3);
    visit("norm1", self.norm1);
    visit("norm2", self.norm2);
    visit("norm3", self.norm3);
    visit("dense", self.dense);
    visit("out", self.out);
  }

  /// (N, side, side, channels) to (N, 1, 1, features).
  Variable<float> embed(const Variable<float>& x) const {
    Variable<float> h = norm1(conv1(x), Activation::silu);
    h = norm2(conv2(h), Activation::silu);
    return silu(dense(norm3(conv3(h), Activation::silu)));
  }
};

/// Trains for some passes over the images, batches of 128, Adam with a cosine.
inline void fit(const Classifier& classifier, const data::ImageSet<float>& set, Index epochs) {
  constexpr Index batch = 128;
  const Index steps = epochs * set.size() / batch;
  data::Loader<float> loader(set, {.batch_size = batch, .seed = 1});
  optim::Adam<float> adam(nn::parameters<float>(classifier));
  const optim::LearningRate rate{2e-3, 50, optim::Decay::cosine, steps};
  ProgressDisplay progress("classifier", steps, Progress::automatic);
  const Tensor<float> ones({batch}, 1.0F);
  for (Index step = 0; step < steps; ++step) {
    const auto [images, labels] = loader.next();
    adam.zero_grad();
    const auto logits = classifier.out(classifier.embed(Variable<float>(images)));
    const auto loss = weighted_mean(cross_entropy(logits, labels), ones);
    loss.backward();
    adam.step(rate.at(step));
    progress.update(step + 1, batch, static_cast<double>(loss.value()[0]));
  }
}

/// What the classifier makes of images.
struct Judgement {
  Eigen::MatrixXd features;   ///< one row an image
  std::vector<Index> labels;  ///< the likeliest class of each

  /// Share of images recognised as `asked`, which begin again where they end.
  double recognised(const std::vector<Index>& asked) const {
    Index right = 0;
    for (std::size_t n = 0; n < labels.size(); ++n) right += labels[n] == asked[n % asked.size()];
    return static_cast<double>(right) / static_cast<double>(labels.size());
  }
};

inline Judgement judge(const Classifier& classifier, const Tensor<float>& images) {
  const NoGrad no_grad;
  Judgement result{Eigen::MatrixXd(images.dim(0), Classifier::features), {}};
  for (Index first = 0; first < images.dim(0); first += 250) {
    const Index count = std::min<Index>(250, images.dim(0) - first);
    const auto h = classifier.embed(Variable<float>(copy_of(images.slice(first, count))));
    const Tensor<float> logits = classifier.out(h).value();
    for (Index n = 0; n < count; ++n) {
      for (Index i = 0; i < Classifier::features; ++i)
        result.features(first + n, i) =
            static_cast<double>(h.value()[n * Classifier::features + i]);
      const float* row = logits.data() + n * logits.dim(3);
      result.labels.push_back(std::max_element(row, row + logits.dim(3)) - row);
    }
  }
  return result;
}

/// Fréchet distance of two sets of features, taken as Gaussians (Heusel et al. 2017):
/// |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)). Of this classifier's features: comparable with other
/// numbers of the same classifier and of equally many images.
inline double frechet_distance(const Eigen::MatrixXd& a, const Eigen::MatrixXd& b) {
  const auto covariance = [](const Eigen::MatrixXd& x) -> Eigen::MatrixXd {
    const Eigen::MatrixXd centred = x.rowwise() - x.colwise().mean();
    return centred.transpose() * centred / static_cast<double>(x.rows() - 1);
  };
  const Eigen::MatrixXd S = covariance(a), R = covariance(b);
  using Solver = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>;
  const Eigen::MatrixXd root = Solver(S).operatorSqrt();
  const Eigen::VectorXd eigenvalues = Solver(root * R * root).eigenvalues();
  return (a.colwise().mean() - b.colwise().mean()).squaredNorm() + S.trace() + R.trace() -
         2 * eigenvalues.cwiseMax(0).cwiseSqrt().sum();
}

}  // namespace examples
