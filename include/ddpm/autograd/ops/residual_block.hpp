// The residual block as one op, where that saves memory traffic: see nn/residual_block.hpp.
//
//   h = conv1(silu(norm1([x | skip]))) + bias1
//   y = conv2(dropout(silu(norm2(h)))) + bias2 + shortcut([x | skip]), without a shortcut + x
//
// In bfloat16 on AMX: h, and what the convolutions read, are maps in bfloat16 (kernels/conv/amx/);
// the shortcut's products are summed along with conv2's; and dy is rounded once for all of them.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>

#include "ddpm/autograd/ops/norm_conv.hpp"
#include "ddpm/kernels/conv/amx/map_norm.hpp"
#include "ddpm/kernels/dropout.hpp"

namespace ddpm::DDPM_ABI {

/// A 1x1 convolution; undefined: none.
template <class T>
struct Shortcut {
  Variable<T> w, bias;
};

/// The rate in [0, 1), and the random numbers.
struct DropoutChoice {
  double rate;
  Rng rng;
};

#ifdef DDPM_AMX
namespace detail {

/// The parts of a residual block, and the op. Kept by its backward pass.
class RoundedResidualBlock {
 public:
  RoundedResidualBlock(const Variable<float>& x, const Variable<float>& skip,
                       const NormalisedConv<float>& first, const NormalisedConv<float>& second,
                       const Shortcut<float>& shortcut)
      : x_(x),
        skip_(skip),
        gamma1_(first.norm.gamma),
        beta1_(first.norm.beta),
        w1_(first.w),
        bias1_(first.bias),
        gamma2_(second.norm.gamma),
        beta2_(second.norm.beta),
        w2_(second.w),
        bias2_(second.bias),
        shortcut_(shortcut),
        groups1_(first.norm.groups),
        groups2_(second.norm.groups),
        eps1_(first.norm.eps),
        eps2_(second.norm.eps),
        geometry1_(first.geometry),
        geometry2_(second.geometry),
        silu_(first.norm.activation == Activation::silu &&
              second.norm.activation == Activation::silu),
        conv1_(x, skip, first.w, first.geometry),
        window2_(kernels::conv_window(conv1_.y, second.w.shape(), second.geometry)) {}

  /// True if both convolutions keep the map's size and every map is of whole blocks.
  bool possible() const {
    const Index A = x_.dim(3), C = conv1_.seen[3], C_out = conv1_.y[3];
    const kernels::amx::PaddedLayout one(conv1_.window), two(window2_);
    const bool same_size = !geometry1_.enlarges() && !geometry2_.enlarges() &&
                           kernels::conv2d_shape(conv1_.y, w2_.shape(), geometry2_) == conv1_.y &&
                           one.OH == one.H && one.OW == one.W;
    const bool same_positions = one.same_positions(two) && one.before == two.before &&
                                one.behind == two.behind && 2 * one.before == one.behind;
    return silu_ && same_size && same_positions && conv1_.rounds(A, groups1_, C_out) &&
           kernels::can_turn(window2_) && kernels::amx::can_normalise_map(C_out, groups2_) &&
           bias1_.defined() && bias2_.defined() &&
           (shortcut_.w.defined()
                ? shortcut_.bias.defined() && A % kernels::amx::block_channels == 0
                : !skip_.defined() && C == C_out);
  }

  /// Throws PreconditionError unless shapes agree.
  void check() const {
    using kernels::detail::check_conv_operands;
    const View<float> y(nullptr, conv1_.y);
    const Index C_out = conv1_.y[3];
    check_conv_operands<float>(conv1_.seen, w1_.value(), bias1_.value(), {}, y, geometry1_);
    check_conv_operands<float>(conv1_.y, w2_.value(), bias2_.value(), {}, y, geometry2_);
    require_shape("residual_block: second bias", bias2_.shape(), {C_out});
    require_shape("residual_block: second gamma", gamma2_.shape(), {C_out});
    require_shape("residual_block: second beta", beta2_.shape(), {C_out});
    if (!shortcut_.w.defined()) return;
    require_shape("residual_block: shortcut", shortcut_.w.shape(), {1, 1, conv1_.seen[3], C_out});
    require_shape("residual_block: bias of the shortcut", shortcut_.bias.shape(), {C_out});
  }

  Variable<float> result(const std::optional<DropoutChoice>& dropout) const {
    const bool keep = grad_enabled();
    const PooledVector<BlockedMap> ends = end_maps();
    const NormalisedOp seen(conv1_, x_, skip_, {gamma1_, beta1_, groups1_, eps1_, Activation::silu},
                            ends);
    const BlockedMap hidden = conv_map(conv1_, seen.map, w1_, bias1_);
    const Statistics statistics{Tensor<float>({x_.dim(0), conv1_.y[3]}),
                                Tensor<float>({x_.dim(0), conv1_.y[3]})};
    const BlockedMap normalised = keep ? BlockedMap(window2_, conv1_.y[3]) : hidden;
    kernels::amx::normalise_map(hidden, norm2(statistics), normalised);
    if (dropout) kernels::amx::drop_from_map(normalised, dropout->rate, dropout->rng);
    const Tensor<float> y = output(normalised, ends);
    const auto backward = [=, block = *this](const Tensor<float>& dy,
                                             GradientsSoFar<float>& so_far) {
      return block.gradients(dy, so_far, seen, hidden, statistics, normalised, ends, dropout);
    };
    return Variable<float>::output(y,
                                   {x_, gamma1_, beta1_, skip_, w1_, bias1_, gamma2_, beta2_, w2_,
                                    bias2_, shortcut_.w, shortcut_.bias},
                                   backward);
  }

 private:
  using BlockedMap = kernels::amx::BlockedMap;
  using Term = kernels::amx::Term;
  using TileWeights = kernels::amx::TileWeights;
  struct Statistics {
    Tensor<float> mean, rstd;
  };

  kernels::amx::MapNorm norm2(const Statistics& s) const {
    return {gamma2_.value(), beta2_.value(), eps2_, groups2_, s.mean, s.rstd};
  }

  /// For what the shortcut reads: x, and maybe skip, rounded; without a shortcut nothing.
  PooledVector<BlockedMap> end_maps() const {
    PooledVector<BlockedMap> maps;
    if (!shortcut_.w.defined()) return maps;
    maps.push_back(BlockedMap(window2_, x_.dim(3)));
    if (skip_.defined()) maps.push_back(BlockedMap(window2_, skip_.dim(3)));
    return maps;
  }

  /// The shortcut's weights, or their gradient, that belong to x (0) or skip (1).
  View<float> shortcut_rows(const Tensor<float>& w, std::size_t part) const {
    const Index A = x_.dim(3), C_out = conv1_.y[3];
    if (part == 0) return {w.data(), {1, 1, A, C_out}};
    return {w.data() + A * C_out, {1, 1, skip_.dim(3), C_out}};
  }

  Tensor<float> output(const BlockedMap& normalised, const PooledVector<BlockedMap>& ends) const {
    using kernels::amx::fixed_or_fresh;
    const Tensor<float> y(conv1_.y), bias = bias2_.value().clone();
    reads_weights(w2_);
    PooledVector<Term> terms{{window2_, normalised, fixed_or_fresh(w2_.value())}};
    if (!ends.empty()) {
      reads_weights(shortcut_.w);
      kernels::add<float>(bias, shortcut_.bias.value(), bias);
    }
    for (std::size_t part = 0; part < ends.size(); ++part)
      terms.push_back(Term(ends[part], fixed_or_fresh(shortcut_rows(shortcut_.w.value(), part))));
    const kernels::Epilogue<float> epilogue{bias, ends.empty() ? x_.value().data() : nullptr,
                                            y.data()};
    kernels::amx::convolve(terms, kernels::amx::ToFloats(epilogue, y.dim(3)));
    return y;
  }

  Gradients<float, 12> gradients(const Tensor<float>& dy, GradientsSoFar<float>& so_far,
                                 const NormalisedOp& seen, const BlockedMap& hidden,
                                 const Statistics& statistics, const BlockedMap& normalised,
                                 const PooledVector<BlockedMap>& ends,
                                 const std::optional<DropoutChoice>& dropout) const {
    const Index C = conv1_.seen[3], C_out = conv1_.y[3];
    const Tensor<float> dw2 = w2_.new_grad(), dy_sums({C_out});
    const BlockedMap rounded_dy(kernels::turned(window2_), dy, dy_sums);
    if (!dw2.empty()) weight_gradient(window2_, normalised, C_out, rounded_dy, dw2);

    // First the gradient of what was normalised, then that of what came before.
    const BlockedMap dhidden(kernels::turned(conv1_.window), C_out);
    data_gradient(window2_, rounded_dy, w2_, dhidden);
    if (dropout) kernels::amx::drop_from_map(dhidden, dropout->rate, dropout->rng);
    const Tensor<float> dgamma2 = gamma2_.new_grad(), dbeta2 = beta2_.new_grad(),
                        dhidden_sums({x_.dim(0), C_out});
    kernels::amx::normalise_map_backward(hidden, norm2(statistics), dhidden, dhidden, dgamma2,
                                         dbeta2, dhidden_sums);

    const Tensor<float> dw1 = w1_.new_grad(), dbias1 = bias1_.new_grad();
    if (!dw1.empty()) weight_gradient(conv1_.window, seen.map, C, dhidden, dw1);
    if (!dbias1.empty()) sum_images(dhidden_sums, dbias1);
    const BlockedMap dseen(kernels::turned(conv1_.window), C);
    data_gradient(conv1_.window, dhidden, w1_, dseen);

    const Tensor<float> dx_so_far =
                            shortcut_.w.defined() ? so_far.take(0) : sum(so_far.take(0), dy),
                        dskip_so_far = so_far.take(3);
    const Tensor<float> dx = x_.new_grad(), dskip = skip_.new_grad(), dgamma1 = gamma1_.new_grad(),
                        dbeta1 = beta1_.new_grad();
    kernels::detail::group_norm_gradients<float>(
        kernels::amx::MapGradient{dseen, past_gradients(rounded_dy)}, {x_.value(), skip_.value()},
        gamma1_.value(), beta1_.value(), Activation::silu, {seen.mean, seen.rstd}, {dx, dskip},
        dgamma1, dbeta1, {dx_so_far, dskip_so_far});
    const Tensor<float> dshortcut = shortcut_.w.new_grad();
    for (std::size_t part = 0; part < ends.size() && !dshortcut.empty(); ++part) {
      const View<float> rows = shortcut_rows(dshortcut, part);
      kernels::amx::weight_gradient(kernels::amx::Taps(ends[part]), ends[part], rows.dim(2),
                                    rounded_dy, C_out, rows.data);
    }
    const auto bias_gradient = [&](const Variable<float>& bias) {
      return bias.requires_grad() ? dy_sums.clone() : Tensor<float>();
    };
    return {dx,        dgamma1,
            dbeta1,    dskip,
            dw1,       dbias1,
            dgamma2,   dbeta2,
            dw2,       bias_gradient(bias2_),
            dshortcut, bias_gradient(shortcut_.bias)};
  }

  static void weight_gradient(const kernels::Window& g, const BlockedMap& x, Index C_in,
                              const BlockedMap& dy, const Tensor<float>& dw) {
    kernels::amx::weight_gradient(kernels::amx::Taps(g), x, C_in, dy, dw.dim(3), dw.data());
  }

  static void data_gradient(const kernels::Window& g, const BlockedMap& dy,
                            const Variable<float>& w, const BlockedMap& to) {
    kernels::amx::convolve(Term(kernels::turned(g), dy, TileWeights::turned(w.value())),
                           kernels::amx::ToMap(to, {}));
  }

  /// (N, C) to itself or to (C).
  static void sum_images(const Tensor<float>& of_images, const Tensor<float>& sums) {
    if (sums.shape() == of_images.shape())
      std::copy(of_images.begin(), of_images.end(), sums.begin());
    else
      kernels::column_sums<float>(of_images, sums);
  }

  /// The gradients of x, and maybe skip, that come through the shortcut; without one nothing.
  PooledVector<BlockedMap> past_gradients(const BlockedMap& rounded_dy) const {
    const PooledVector<BlockedMap> maps = end_maps();
    for (std::size_t part = 0; part < maps.size(); ++part) {
      const View<float> rows = shortcut_rows(shortcut_.w.value(), part);
      kernels::amx::convolve(Term(rounded_dy, TileWeights::turned(rows)),
                             kernels::amx::ToMap(maps[part], {}));
    }
    return maps;
  }

  /// Of a gradient so far, which may be empty, and one more.
  static Tensor<float> sum(const Tensor<float>& so_far, const Tensor<float>& dy) {
    if (so_far.empty()) return dy;
    const Tensor<float> result(dy.shape());
    kernels::add<float>(so_far, dy, result);
    return result;
  }

  Variable<float> x_, skip_, gamma1_, beta1_, w1_, bias1_, gamma2_, beta2_, w2_, bias2_;
  Shortcut<float> shortcut_;
  Index groups1_, groups2_;
  float eps1_, eps2_;
  ConvGeometry geometry1_, geometry2_;
  bool silu_;
  NormConv conv1_;
  kernels::Window window2_;
};

}  // namespace detail
#endif

/// The block as one op, in bfloat16 on AMX.
///   x (N, H, W, A); skip (N, H, W, B), or undefined; `first` from A + B channels to C, its bias
///   (C) or (N, C), `second` from C to C; the result is (N, H, W, C)
/// Undefined where that cannot be; the ops one by one then
/// give it. Keeps x, skip and maps in bfloat16 alive until backward.
/// Throws PreconditionError if shapes disagree, as those ops do.
template <class T>
Variable<T> rounded_residual_block([[maybe_unused]] const Variable<T>& x,
                                   [[maybe_unused]] const Variable<T>& skip,
                                   [[maybe_unused]] const NormalisedConv<T>& first,
                                   [[maybe_unused]] const NormalisedConv<T>& second,
                                   [[maybe_unused]] const Shortcut<T>& shortcut,
                                   [[maybe_unused]] const std::optional<DropoutChoice>& dropout) {
#ifdef DDPM_AMX
  if constexpr (std::is_same_v<T, float>)
    if (detail::takes_maps(x, skip)) {
      const detail::RoundedResidualBlock block(x, skip, first, second, shortcut);
      if (block.possible()) return block.check(), block.result(dropout);
    }
#endif
  return {};
}

}  // namespace ddpm::DDPM_ABI
