// The attention block as one op, where that saves memory traffic: see nn/attention_block.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/attention.hpp"
#include "ddpm/autograd/ops/norm_conv.hpp"
#include "ddpm/kernels/conv/amx/map_attention.hpp"

namespace ddpm::DDPM_ABI {

/// y = out(attention(qkv(norm(x)))) + x, for x (N, H, W, C) and weights qkv (1, 1, C, 3 C) and out
/// (1, 1, C, C), with biases (3 C) and (C): without gradients, in bfloat16 on
/// AMX, with maps in bfloat16 between them. Undefined where that cannot be; the ops one by one then
/// give it. Throws PreconditionError if shapes disagree.
template <class T>
Variable<T> rounded_attention_block([[maybe_unused]] const Variable<T>& x,
                                    [[maybe_unused]] const NormalisedConv<T>& qkv,
                                    [[maybe_unused]] Index heads,
                                    [[maybe_unused]] const Variable<T>& out,
                                    [[maybe_unused]] const Variable<T>& out_bias) {
#ifdef DDPM_AMX
  if constexpr (std::is_same_v<T, float>) {
    if (grad_enabled() || !detail::takes_maps(x, {})) return {};
    const detail::NormConv op(x, {}, qkv.w, qkv.geometry);
    const Index C = x.dim(3);
    if (!op.window.pointwise() || heads < 1 || op.y[3] != 3 * C || !qkv.bias.defined() ||
        !op.rounds(C, qkv.norm.groups, 3 * C) || !kernels::amx::MapHeads::possible(C, heads))
      return {};
    const Tensor<float> y(x.shape());
    using kernels::detail::check_conv_operands;
    check_conv_operands<float>(op.seen, qkv.w.value(), qkv.bias.value(), {}, {nullptr, op.y}, {});
    check_conv_operands<float>(op.seen, out.value(), out_bias.value(), {}, y, {});
    const auto map =
        detail::conv_map(op, detail::NormalisedOp(op, x, {}, qkv.norm).map, qkv.w, qkv.bias);
    const kernels::amx::BlockedMap attended(op.window, C);
    kernels::amx::attend(map, heads, attended);
    detail::reads_weights(out);
    kernels::amx::forward(op.window, attended, kernels::amx::fixed_or_fresh(out.value()),
                          {out_bias.value(), x.value().data(), y.data()});
    return y;
  }
#endif
  return {};
}

}  // namespace ddpm::DDPM_ABI
