// Variable<T>: a handle to a node {value, gradient, inputs, backward closure, serial number}.
//
// A node is born after its inputs, so backward() takes the reachable nodes from the newest to the
// oldest: no recursion, no tape. It frees each node's closure as it goes; destroying a graph is a
// loop too. Nodes come from the recycled memory of core/memory.hpp.
//
// Gradient contract: with L the scalar that backward() started from, a closure gets dy = dL/dy and
// returns one tensor for each input, dL/dinput through this op, shaped as the input; an empty
// tensor where the input needs none. The engine adds them up: the first to come is taken over
// without a copy. A closure may have a second parameter, GradientsSoFar<T>&: what it takes from
// there, it returns as part of its sum.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <span>
#include <type_traits>
#include <utility>

#include "ddpm/autograd/no_grad.hpp"
#include "ddpm/core/pooled_vector.hpp"
#include "ddpm/core/tensor.hpp"
#include "ddpm/kernels/elementwise.hpp"

namespace ddpm::DDPM_ABI {

/// What the backward closure of an op with N inputs returns: a gradient for each, in their order.
template <class T, std::size_t N>
using Gradients = std::array<Tensor<T>, N>;

template <class T>
class GradientsSoFar;

namespace detail {

template <class T>
struct Node;

/// A counted reference. The last one hands the node to a loop that destroys it, so that the length
/// of a chain of nodes does not become the depth of a recursion.
template <class T>
class NodePointer {
 public:
  NodePointer() = default;
  explicit NodePointer(Node<T>* fresh) : node_(fresh) {}
  NodePointer(const NodePointer& other) noexcept : node_(other.node_) {
    if (node_) node_->references.fetch_add(1, std::memory_order_relaxed);
  }
  NodePointer(NodePointer&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  NodePointer& operator=(NodePointer other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~NodePointer() {
    if (node_ && node_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) dispose(node_);
  }

  Node<T>* operator->() const { return node_; }
  Node<T>* get() const { return node_; }

 private:
  [[gnu::noinline]] static void dispose(Node<T>* node) noexcept {
    static thread_local Node<T>* waiting = nullptr;
    static thread_local bool running = false;
    node->next_disposed = std::exchange(waiting, node);
    if (std::exchange(running, true)) return;
    while (waiting != nullptr) {
      Node<T>* next = std::exchange(waiting, waiting->next_disposed);
      if (!next->freed) next->free_closure();
      next->destroy();
      memory::release(next);
    }
    running = false;
  }

  Node<T>* node_ = nullptr;
};

template <class T>
struct Node {
  std::atomic<int> references{1};
  bool requires_grad = false;
  bool queued = false;   ///< backward() has met it
  bool counted = false;  ///< count_uses() has met it
  bool freed = false;    ///< it has no closure any more
  Index uses = 0;        ///< of a leaf: by nodes that backward() has still to come to
  std::uint64_t serial = 0;
  Node* next_disposed = nullptr;
  Tensor<T> value, grad;

  /// Ends the node, but for its closure.
  virtual void destroy() { this->Node::~Node(); }
  virtual bool is_leaf() const { return true; }
  virtual std::span<NodePointer<T>> inputs() { return {}; }
  /// The closure's gradients, one for each input; they live in the node.
  virtual std::span<Tensor<T>> backward(const Tensor<T>&) { return {}; }
  /// Destroys the closure, once.
  virtual void free_closure() {}

  /// grad += g. A gradient that another handle shares is never written to.
  void add_grad(Tensor<T> g) {
    if (grad.empty()) {
      // A leaf's gradient outlives the pass and may be changed in place: it must be its own.
      grad = is_leaf() && !g.unique() ? g.clone() : std::move(g);
      return;
    }
    const Tensor<T> sum = grad.unique() ? grad : g.unique() ? g : Tensor<T>(grad.shape());
    kernels::add<T>(grad, g, sum);
    grad = sum;
  }
};

/// A node with N inputs: what does not depend on the op is compiled once for each N.
template <class T, std::size_t N>
struct InnerNode : Node<T> {
  std::array<NodePointer<T>, N> from;
  Gradients<T, N> gradients;

  void destroy() final { this->InnerNode::~InnerNode(); }
  bool is_leaf() const override { return false; }
  std::span<NodePointer<T>> inputs() override { return from; }
};

/// The same with an op's closure, which may end before the node: free_closure(), not a destructor,
/// ends it, which would be compiled twice for each op.
template <class T, class F, std::size_t N>
struct OpNode final : InnerNode<T, N> {
  union {
    F closure;
  };

  explicit OpNode(const F& f) : closure(f) {}
  OpNode(const OpNode&) = delete;
  OpNode& operator=(const OpNode&) = delete;
  ~OpNode() {}
  std::span<Tensor<T>> backward(const Tensor<T>& dy) override {
    if constexpr (std::is_invocable_v<F&, const Tensor<T>&, GradientsSoFar<T>&>) {
      GradientsSoFar<T> so_far(this->from);
      this->gradients = closure(dy, so_far);
      so_far.check(this->gradients);
    } else {
      this->gradients = closure(dy);
    }
    return this->gradients;
  }
  void free_closure() override { closure.~F(); }
};

inline std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> serial{0};
  return serial.fetch_add(1, std::memory_order_relaxed);
}

template <class N, class... Args>
N* new_node(Args&&... args) {
  memory::Shared block(sizeof(N));  // goes back if the closure cannot be copied
  N* node = new (block.data()) N(std::forward<Args>(args)...);
  block.give_up();
  return node;
}

}  // namespace detail

/// What other ops have given so far of the gradients of an op's inputs. Only the engine makes one,
/// for the closure of that op.
template <class T>
class GradientsSoFar {
 public:
  /// Takes that of input number `input`, empty if nothing has come; the closure must return the sum
  /// of it and its own, and so spares a pass over both.
  [[nodiscard]] Tensor<T> take(std::size_t input) {
    require(input < inputs_.size(), "GradientsSoFar::take: input ", input, " of ", inputs_.size());
    detail::Node<T>* node = inputs_[input].get();
    if (node == nullptr || !node->requires_grad) return {};
    taken_ |= std::uint64_t{1} << input;
    return std::exchange(node->grad, {});
  }

 private:
  template <class, class, std::size_t>
  friend struct detail::OpNode;

  explicit GradientsSoFar(std::span<detail::NodePointer<T>> inputs) : inputs_(inputs) {}

  void check(std::span<const Tensor<T>> gradients) const {
    for (std::size_t input = 0; input < gradients.size(); ++input)
      require((taken_ >> input & 1) == 0 || !gradients[input].empty(),
              "backward: an op took the gradient of its input ", input, " and gave none back");
  }

  std::span<detail::NodePointer<T>> inputs_;
  std::uint64_t taken_ = 0;  ///< a bit for each input
};

/// A tensor that remembers how it was computed. Copies alias, as those of Tensor.
template <class T>
class Variable {
 public:
  using OnGrad = std::function<void(const Variable&)>;

  Variable() = default;
  /// A constant: no gradient flows into it.
  Variable(Tensor<T> value)
      : Variable(detail::NodePointer<T>(detail::new_node<detail::Node<T>>()), std::move(value)) {}

  /// A leaf whose gradient backward() computes.
  static Variable parameter(Tensor<T> value) {
    Variable result(std::move(value));
    result.node_->requires_grad = true;
    return result;
  }

  /// The result of an op: its value, its N inputs, and its derivative, a closure from dy (and
  /// GradientsSoFar<T>&, if it wants that) to Gradients<T, N>. The closure may keep inputs and
  /// tensors, never the result. Under NoGrad, or if no input needs a gradient, this is a constant.
  template <class F, std::size_t N>
  static Variable output(Tensor<T> value, const Variable (&inputs)[N], const F& backward) {
    static_assert(N <= 64);
    if (!grad_wanted(inputs)) return Variable(std::move(value));
    auto* node = detail::new_node<detail::OpNode<T, F, N>>(backward);
    return Variable(detail::NodePointer<T>(node), std::move(value), inputs);
  }

  /// False for a default-constructed handle, which stands for "not given".
  bool defined() const { return node_.get() != nullptr; }
  bool requires_grad() const { return defined() && node_->requires_grad; }
  Tensor<T> value() const { return defined() ? node_->value : Tensor<T>(); }
  /// The same as kernels take it; this keeps it alive.
  View<const T> view() const { return defined() ? node_->value.view() : View<const T>(); }
  /// Throws PreconditionError if this is undefined, as do dim(), grad() and zero_grad().
  const Shape& shape() const { return node("shape")->value.shape(); }
  Index dim(int axis) const { return shape()[axis]; }

  /// dL/dthis after backward(); empty before. Only leaves keep it.
  Tensor<T> grad() const { return node("grad")->grad; }
  /// Replaces it. Throws PreconditionError if this is no leaf that needs a gradient, or the shape
  /// is another.
  void set_grad(Tensor<T> grad) const {
    require(requires_grad() && node_->is_leaf(), "set_grad: no leaf that needs a gradient");
    if (!grad.empty()) require_shape("set_grad", grad.shape(), shape());
    node_->grad = std::move(grad);
  }
  /// The same for copies of this and for no other.
  const void* identity() const { return node_.get(); }
  void zero_grad() const { node("zero_grad")->grad = {}; }

  /// Uninitialised memory for this input's gradient, empty if none is needed; for closures.
  Tensor<T> new_grad() const { return requires_grad() ? Tensor<T>(shape()) : Tensor<T>(); }
  /// The same for an op that may write over dy, shaped as this: dy itself if nobody else has it.
  Tensor<T> new_grad(const Tensor<T>& dy) const {
    return requires_grad() && dy.unique() ? dy : new_grad();
  }

  /// The value as a constant.
  Variable detach() const { return Variable(value()); }

  /// Adds dL/dleaf to the gradient of every leaf this was computed from, for L this scalar.
  /// Throws PreconditionError if this has more than one value, needs no gradient, its graph was
  /// freed by an earlier call, or an op breaks the gradient contract (see the head of this file).
  /// on_grad(leaf) is called as soon as that leaf's gradient is complete, once for each leaf that
  /// every path to it was gone for; it may take the gradient away.
  void backward(const OnGrad& on_grad = {}) const {
    require(defined() && node_->value.size() == 1, "backward: starts from ",
            defined() ? shape() : Shape(), ", expected one value; or give its gradient");
    backward(Tensor<T>(shape(), T(1)), on_grad);
  }

  /// The same for L = <seed, this>. Throws also if shapes differ.
  void backward(const Tensor<T>& seed, const OnGrad& on_grad = {}) const {
    require(requires_grad(), "backward: nothing here needs a gradient");
    require_shape("backward: seed", seed.shape(), shape());
    const auto older = [](const auto& a, const auto& b) { return a->serial < b->serial; };
    PooledVector<detail::NodePointer<T>> heap;
    const auto push = [&](const detail::NodePointer<T>& node, Tensor<T> grad) {
      require(!node->freed, "backward: this graph was used, and freed, by an earlier backward()");
      node->add_grad(std::move(grad));
      if (node->is_leaf() || std::exchange(node->queued, true)) return;
      heap.push_back(node);
      std::push_heap(heap.begin(), heap.end(), older);
    };
    if (on_grad) count_uses();
    push(node_, seed);
    if (on_grad && node_->is_leaf()) on_grad(*this);
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), older);
      const detail::NodePointer<T> node = std::move(heap.back());
      heap.pop_back();
      const auto gradients = node->backward(std::exchange(node->grad, {}));
      const auto inputs = node->inputs();
      for (std::size_t i = 0; i < inputs.size(); ++i)
        if (!gradients[i].empty() && check_gradient(inputs[i], gradients[i], i))
          push(inputs[i], std::exchange(gradients[i], {}));
      if (on_grad) {
        for (const auto& input : inputs)
          if (is_parameter(input) && --input->uses == 0) on_grad(Variable(input));
      }
      node->freed = true;
      node->free_closure();
      for (auto& input : inputs) input = {};
      for (auto& gradient : gradients) gradient = {};
    }
  }

 private:
  explicit Variable(const detail::NodePointer<T>& node) : node_(node) {}

  // Of any op: compiled once, where output() is compiled for each.
  [[gnu::noinline]] Variable(detail::NodePointer<T> node, Tensor<T> value,
                             std::span<const Variable> inputs = {})
      : node_(std::move(node)) {
    node_->value = std::move(value);
    node_->serial = detail::next_serial();
    node_->requires_grad = !inputs.empty();
    std::transform(inputs.begin(), inputs.end(), node_->inputs().begin(),
                   [](const Variable& input) { return input.node_; });
  }

  [[gnu::noinline]] static bool grad_wanted(std::span<const Variable> inputs) {
    const auto wanted = [](const Variable& input) { return input.requires_grad(); };
    return grad_enabled() && std::any_of(inputs.begin(), inputs.end(), wanted);
  }

  static bool is_parameter(const detail::NodePointer<T>& node) {
    return node.get() != nullptr && node->is_leaf() && node->requires_grad;
  }

  /// Counts for each leaf how often the nodes that this was computed from use it.
  void count_uses() const {
    PooledVector<detail::NodePointer<T>> nodes;
    const auto meet = [&](const detail::NodePointer<T>& node) {
      if (node.get() == nullptr || node->is_leaf() || std::exchange(node->counted, true)) return;
      nodes.push_back(node);
    };
    meet(node_);
    for (std::size_t i = 0; i < nodes.size(); ++i)
      for (const auto& input : nodes[i]->inputs()) {
        meet(input);
        if (is_parameter(input)) input->uses = 0;
      }
    for (const auto& node : nodes) {
      node->counted = false;
      for (const auto& input : node->inputs())
        if (is_parameter(input)) ++input->uses;
    }
  }

  const detail::NodePointer<T>& node(const char* what) const {
    require(defined(), "Variable: ", what, " of an undefined variable");
    return node_;
  }

  /// True if the input wants the gradient that an op's closure gave.
  static bool check_gradient(const detail::NodePointer<T>& input, const Tensor<T>& gradient,
                             std::size_t number) {
    require(input.get() != nullptr, "backward: an op gave a gradient for its input ", number,
            ", which is undefined");
    require(gradient.shape() == input->value.shape(), "backward: an op's gradient of its input ",
            number, " is ", gradient.shape(), ", expected ", input->value.shape());
    return input->requires_grad;
  }

  detail::NodePointer<T> node_;
};

}  // namespace ddpm::DDPM_ABI
