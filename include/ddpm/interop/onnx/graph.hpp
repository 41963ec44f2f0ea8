// An ONNX graph under construction: operators of opset 17 and constants (onnx.ai, "onnx.proto").
//
// SPDX-License-Identifier: MIT
#pragma once

#include <initializer_list>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "ddpm/core/tensor.hpp"
#include "ddpm/interop/onnx/protobuf.hpp"

namespace ddpm::DDPM_ABI::interop::onnx {

/// A named setting of an operator.
struct Attribute {
  std::string name;
  std::variant<Index, double, std::string, std::vector<Index>> value;

  Message encoded() const {
    enum Type { real = 1, whole = 2, text = 3, wholes = 7 };
    Message m;
    m.text(1, name);
    if (const auto* number = std::get_if<double>(&value)) {
      m.real(2, static_cast<float>(*number)).number(20, real);
    } else if (const auto* index = std::get_if<Index>(&value)) {
      m.number(3, *index).number(20, whole);
    } else if (const auto* word = std::get_if<std::string>(&value)) {
      m.text(4, *word).number(20, text);
    } else {
      for (const Index each : std::get<std::vector<Index>>(value)) m.number(8, each);
      m.number(20, wholes);
    }
    return m;
  }
};

/// The type of a graph's values.
enum class ElementType { float32 = 1, int64 = 7 };

class Graph {
 public:
  /// Adds an input or output; -1 is an extent called "N", which may be any.
  void input(const std::string& name, ElementType type, const std::vector<Index>& shape) {
    graph_.message(11, value_info(name, type, shape));
  }
  void output(const std::string& name, ElementType type, const std::vector<Index>& shape) {
    graph_.message(12, value_info(name, type, shape));
  }

  /// Adds an operator with one output and returns the output's name, `name` if one is given.
  std::string add(const std::string& op, const std::vector<std::string>& inputs,
                  const std::vector<Attribute>& attributes = {}, const std::string& name = "") {
    return add_many(op, inputs, {name.empty() ? fresh(op) : name}, attributes)[0];
  }

  /// The same with several outputs.
  std::vector<std::string> add_many(const std::string& op, const std::vector<std::string>& inputs,
                                    std::vector<std::string> outputs,
                                    const std::vector<Attribute>& attributes = {}) {
    Message node;
    for (const std::string& value : inputs) node.text(1, value);
    for (const std::string& value : outputs) node.text(2, value);
    node.text(3, outputs[0]).text(4, op);
    for (const Attribute& attribute : attributes) node.message(5, attribute.encoded());
    graph_.message(1, node);
    return outputs;
  }

  /// A constant; its name.
  std::string constant(const std::string& name, const std::vector<Index>& shape,
                       std::span<const float> values) {
    return initializer(name, shape, ElementType::float32, values.data(), values.size_bytes());
  }
  std::string constant(const std::vector<Index>& values) {
    return initializer(fresh("constant"), {std::ssize(values)}, ElementType::int64, values.data(),
                       values.size() * sizeof(Index));
  }
  std::string scalar(float value) {
    return initializer(fresh("constant"), {}, ElementType::float32, &value, sizeof value);
  }

  /// The whole file.
  std::string model(const std::string& name, const std::string& version) {
    graph_.text(2, name);
    return Message()
        .number(1, 8)  // version of the format
        .text(2, "ddpm")
        .text(3, version)
        .message(7, graph_)
        .message(8, Message().text(1, "").number(2, 17))
        .bytes();
  }

 private:
  static Message value_info(const std::string& name, ElementType type,
                            const std::vector<Index>& shape) {
    Message extents;
    for (const Index extent : shape)
      extents.message(1, extent < 0 ? Message().text(2, "N") : Message().number(1, extent));
    const Message tensor = Message().number(1, static_cast<Index>(type)).message(2, extents);
    return Message().text(1, name).message(2, Message().message(1, tensor));
  }

  std::string initializer(const std::string& name, const std::vector<Index>& shape,
                          ElementType type, const void* values, std::size_t bytes) {
    Message tensor;
    for (const Index extent : shape) tensor.number(1, extent);
    tensor.number(2, static_cast<Index>(type)).text(8, name);
    tensor.text(9, std::string_view(static_cast<const char*>(values), bytes));
    graph_.message(5, tensor);
    return name;
  }

  std::string fresh(const std::string& op) { return op + "_" + std::to_string(count_++); }

  Message graph_;
  Index count_ = 0;
};

}  // namespace ddpm::DDPM_ABI::interop::onnx
