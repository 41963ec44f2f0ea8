// Our layers as operators of ONNX. Maps there are (N, C, H, W), of a size that is known; N is not.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/interop/onnx/graph.hpp"
#include "ddpm/interop/tensor_layout.hpp"
#include "ddpm/nn/stage.hpp"

namespace ddpm::DDPM_ABI::interop::onnx {

/// A value of the graph that is a map.
struct Map {
  std::string value;
  Index C, H, W;
};

/// Writes layers, one after the other; `name` is the dotted name of a layer's parameters.
class LayerWriter {
 public:
  Graph graph;

  template <class T>
  Map conv(const std::string& name, const nn::Conv2d<T>& conv, const Map& x) {
    const Index kernel = conv.weight.dim(0), stride = conv.geometry.stride;
    const Padding& pad = conv.geometry.padding;
    const auto out = [&](Index size, Index padding) {
      return (size + padding - kernel) / stride + 1;
    };
    return {graph.add("Conv",
                      {x.value, tensor(conv_weight(name + ".weight", conv.weight)),
                       tensor(vector_of(name + ".bias", conv.bias))},
                      {{"strides", std::vector<Index>{stride, stride}},
                       {"pads", std::vector<Index>{pad.top, pad.left, pad.bottom, pad.right}}}),
            conv.weight.dim(3), out(x.H, pad.top + pad.bottom), out(x.W, pad.left + pad.right)};
  }

  template <class T>
  Map conv_transpose(const std::string& name, const nn::ConvTranspose2d<T>& conv, const Map& x,
                     Index H, Index W) {
    return {graph.add("ConvTranspose",
                      {x.value, tensor(conv_transpose_weight(name + ".weight", conv.weight)),
                       tensor(vector_of(name + ".bias", conv.bias))},
                      {{"strides", std::vector<Index>{2, 2}},
                       {"pads", std::vector<Index>{1, 1, 1, 1}},
                       {"output_padding", std::vector<Index>{H - 2 * x.H, W - 2 * x.W}}}),
            conv.weight.dim(3), H, W};
  }

  /// (N, in) to (N, out).
  template <class T>
  std::string linear(const std::string& name, const nn::Linear<T>& layer, const std::string& x) {
    return graph.add("Gemm",
                     {x, tensor(rows_of(name + ".weight", layer.weight, layer.weight.dim(0))),
                      tensor(vector_of(name + ".bias", layer.bias))});
  }

  /// ONNX normalises groups by themselves only from opset 21 on: here as instances of one channel.
  template <class T>
  Map norm(const std::string& name, const nn::GroupNorm<T>& norm, const Map& x) {
    const auto flat = [&](float value) {
      const std::vector<float> values(static_cast<std::size_t>(norm.groups), value);
      return graph.constant(name + (value == 1 ? ".ones" : ".zeros"), {norm.groups}, values);
    };
    std::string y = reshape(x.value, {0, norm.groups, -1});
    y = graph.add("InstanceNormalization", {y, flat(1), flat(0)},
                  {{"epsilon", static_cast<double>(norm.eps)}});
    y = reshape(y, {0, x.C, x.H, x.W});
    y = graph.add("Mul", {y, column(name + ".gamma", norm.gamma)});
    return {graph.add("Add", {y, column(name + ".beta", norm.beta)}), x.C, x.H, x.W};
  }

  std::string silu(const std::string& x) {
    return graph.add("Mul", {x, graph.add("Sigmoid", {x})});
  }
  Map silu(const Map& x) { return {silu(x.value), x.C, x.H, x.W}; }

  /// The exact form, by the error function.
  std::string gelu(const std::string& x) {
    const std::string part =
        graph.add("Erf", {graph.add("Mul", {x, graph.scalar(1 / std::numbers::sqrt2_v<float>)})});
    const std::string half = graph.add("Mul", {x, graph.scalar(0.5F)});
    return graph.add("Mul", {half, graph.add("Add", {part, graph.scalar(1)})});
  }

  Map add(const Map& a, const Map& b) {
    return {graph.add("Add", {a.value, b.value}), a.C, a.H, a.W};
  }

  Map concat(const Map& a, const Map& b) {
    return {graph.add("Concat", {a.value, b.value}, {{"axis", Index{1}}}), a.C + b.C, a.H, a.W};
  }

  Map max_pool(const Map& x) {
    return {graph.add("MaxPool", {x.value},
                      {{"kernel_shape", std::vector<Index>{2, 2}},
                       {"strides", std::vector<Index>{2, 2}}}),
            x.C, x.H / 2, x.W / 2};
  }

  /// Nearest neighbour.
  Map enlarge(const Map& x, Index H, Index W) {
    if (H == x.H && W == x.W) return x;
    if (H == 2 * x.H && W == 2 * x.W) {
      const std::vector<float> scales{1, 1, 2, 2};
      if (scales_.empty()) scales_ = graph.constant("twice", {4}, scales);
      return {graph.add("Resize", {x.value, "", scales_},
                        {{"mode", std::string("nearest")},
                         {"nearest_mode", std::string("floor")},
                         {"coordinate_transformation_mode", std::string("asymmetric")}}),
              x.C, H, W};
    }
    const auto pick = [&](const std::string& value, Index axis, Index from, Index to) {
      std::vector<Index> places;
      for (Index i = 0; i < to; ++i) places.push_back(i * from / to);
      return graph.add("Gather", {value, graph.constant(places)}, {{"axis", axis}});
    };
    return {pick(pick(x.value, 2, x.H, H), 3, x.W, W), x.C, H, W};
  }

  /// x, or [x | skip]; e (N, time channels).
  template <class T>
  Map residual_block(const std::string& name, const nn::ResidualBlock<T>& block, const Map& x,
                     const std::string& e) {
    Map h = conv(name + ".conv1", block.conv1, silu(norm(name + ".norm1", block.norm1, x)));
    const std::string time = linear(name + ".time", block.time, e);
    h.value = graph.add("Add", {h.value, graph.add("Unsqueeze", {time, graph.constant({2, 3})})});
    h = conv(name + ".conv2", block.conv2, silu(norm(name + ".norm2", block.norm2, h)));
    return add(block.shortcut ? conv(name + ".shortcut", *block.shortcut, x) : x, h);
  }

  template <class T>
  Map attention_block(const std::string& name, const nn::AttentionBlock<T>& block, const Map& x) {
    const Index heads = block.heads, d = x.C / heads, tokens = x.H * x.W;
    const Map qkv = conv(name + ".qkv", block.qkv, norm(name + ".norm", block.norm, x));
    const auto parts = graph.add_many(
        "Split",
        {reshape(qkv.value, {0, 3 * heads, d, tokens}), graph.constant({heads, heads, heads})},
        {name + ".q", name + ".k", name + ".v"}, {{"axis", Index{1}}});
    const auto turned = [&](const std::string& value) {
      return graph.add("Transpose", {value}, {{"perm", std::vector<Index>{0, 1, 3, 2}}});
    };
    const std::string q =
        graph.add("Mul", {turned(parts[0]), graph.scalar(1 / std::sqrt(static_cast<float>(d)))});
    const std::string weights =
        graph.add("Softmax", {graph.add("MatMul", {q, parts[1]})}, {{"axis", Index{-1}}});
    const std::string y = graph.add("MatMul", {parts[2], turned(weights)});
    const Map attended{reshape(y, {0, x.C, x.H, x.W}), x.C, x.H, x.W};
    return add(x, conv(name + ".out", block.out, attended));
  }

  template <class T>
  Map stage(const std::string& name, const nn::Stage<T>& stage, const Map& x,
            const std::string& e) {
    const Map h = residual_block(name + ".block", stage.block, x, e);
    return stage.attention ? attention_block(name + ".attention", *stage.attention, h) : h;
  }

  /// (N) timesteps, and (N) labels where there are classes, to (N, 4 channels).
  template <class T>
  std::string time_mlp(const nn::TimeMlp<T>& mlp, const std::string& t, const std::string& labels) {
    std::string h = linear("time.linear1", mlp.linear1, embedding(mlp, t));
    h = mlp.activation == nn::TimeActivation::silu ? silu(h) : gelu(h);
    h = linear("time.linear2", mlp.linear2, h);
    if (mlp.classes) {
      const auto& table = mlp.classes->table;
      h = graph.add(
          "Add",
          {h, graph.add("Gather", {tensor(rows_of("time.classes.table", table, table.dim(0))),
                                   labels})});  // -1 is the last row, "no class"
    }
    return silu(h);
  }

 private:
  template <class T>
  std::string embedding(const nn::TimeMlp<T>& mlp, const std::string& t) {
    const Index dim = mlp.linear1.weight.dim(0), half = dim / 2;
    std::vector<float> frequencies;
    for (Index i = 0; i < half; ++i)
      frequencies.push_back(static_cast<float>(mlp.embedding.frequency(i, half)));
    const std::string angle =
        graph.add("Mul", {graph.add("Unsqueeze", {t, graph.constant({1})}),
                          graph.constant("time.frequencies", {1, half}, frequencies)});
    std::string sine = graph.add("Sin", {angle}), cosine = graph.add("Cos", {angle});
    if (mlp.embedding.cosine_first) std::swap(sine, cosine);
    const std::string e = graph.add("Concat", {sine, cosine}, {{"axis", Index{1}}});
    return dim % 2 == 0 ? e : graph.add("Pad", {e, graph.constant({0, 0, 0, 1})});
  }

  std::string reshape(const std::string& x, const std::vector<Index>& shape) {
    return graph.add("Reshape", {x, graph.constant(shape)});
  }

  /// A parameter in its foreign layout.
  template <class T>
  std::string tensor(const ForeignTensor<T>& parameter) {
    const Tensor<T> values = parameter.values();
    std::vector<Index> shape;
    for (int axis = 0; axis < values.shape().rank(); ++axis) shape.push_back(values.dim(axis));
    return constant_of(parameter.name, shape, values);
  }

  /// (C) as (C, 1, 1), which goes with maps.
  template <class T>
  std::string column(const std::string& name, const Variable<T>& v) {
    return constant_of(name, {v.dim(0), 1, 1}, v.value());
  }

  template <class T>
  std::string constant_of(const std::string& name, const std::vector<Index>& shape,
                          const Tensor<T>& values) {
    std::vector<float> floats;
    for (const T value : values) floats.push_back(static_cast<float>(value));
    return graph.constant(name, shape, floats);
  }

  std::string scales_;
};

}  // namespace ddpm::DDPM_ABI::interop::onnx
