// Compares a network with what PyTorch made of the same weights and inputs (see export.py).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>

#include "ddpm/nn/tutorial_unet.hpp"
#include "ddpm/nn/unet.hpp"
#include "ddpm/train/checkpoint.hpp"

namespace parity {

using namespace ddpm;

/// Largest differences, over the largest value of the tensor compared. Some gradients are zero in
/// exact arithmetic (of a bias before a norm with one channel a group): those are compared with the
/// largest gradient of the network.
struct Differences {
  double output = 0;
  double gradient = 0;    ///< of the worst parameter, or of x
  std::string parameter;  ///< which that was
  Index parameters = 0;
};

template <class T>
double largest_value(const Tensor<T>& x) {
  double largest = 0;
  for (const T value : x) largest = std::max(largest, std::abs(double(value)));
  return largest;
}

template <class T>
double difference(const Tensor<T>& a, const Tensor<T>& b, double scale) {
  require_shape("parity", a.shape(), b.shape());
  double largest = 0;
  for (Index i = 0; i < a.size(); ++i) {
    const double d = std::abs(double(a[i]) - double(b[i]));
    if (!(d <= largest)) largest = d;  // a NaN is the largest
  }
  return largest / scale;
}

template <class T, class Network>
Differences compare_network(const io::Safetensors& file, const std::string& source) {
  const Network network(read_config<typename Network::Config>(file.metadata(), "network", source),
                        Rng(1));
  const auto parameters = nn::named_parameters<T>(network);
  for (const auto& [name, parameter] : parameters) {
    const auto stored = file.tensor<T>("weight/" + name);
    require_shape(name.c_str(), stored.shape(), parameter.shape());
    std::copy(stored.begin(), stored.end(), parameter.value().begin());
  }
  const auto x = Variable<T>::parameter(file.tensor<T>("x"));
  std::vector<double> t;
  for (const double step : file.tensor<double>("t")) t.push_back(step);

  const Variable<T> y = network(x, t);
  Differences result;
  const auto theirs_y = file.tensor<T>("y");
  result.output = difference(y.value(), theirs_y, largest_value(theirs_y));
  y.backward(file.tensor<T>("dy"));
  double largest = 0;
  for (const auto& [name, parameter] : parameters)
    largest = std::max(largest, largest_value(file.tensor<T>("grad/" + name)));
  const auto compare = [&](const std::string& name, const Tensor<T>& mine,
                           const Tensor<T>& theirs) {
    const double own = largest_value(theirs);
    const double d = difference(mine, theirs, own > 1e-9 * largest ? own : largest);
    if (!(d <= result.gradient)) result.gradient = d, result.parameter = name;
    ++result.parameters;
  };
  compare("x", x.grad(), file.tensor<T>("dx"));
  for (const auto& [name, parameter] : parameters)
    compare(name, parameter.grad(), file.tensor<T>("grad/" + name));
  return result;
}

template <class T>
Differences compare(const std::string& path) {
  const io::Safetensors file = io::Safetensors::read(path);
  return checkpoint_network(file, path) == "UNet" ? compare_network<T, UNet<T>>(file, path)
                                                  : compare_network<T, TutorialUNet<T>>(file, path);
}

}  // namespace parity
