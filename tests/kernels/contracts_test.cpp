// Every backward kernel names a shape that does not fit, instead of reading or writing past it.
#include <functional>

#include "../support.hpp"
#include "ddpm/kernels/attention.hpp"
#include "ddpm/kernels/concat.hpp"
#include "ddpm/kernels/conv/conv_transpose2d.hpp"
#include "ddpm/kernels/cross_entropy.hpp"
#include "ddpm/kernels/elementwise.hpp"
#include "ddpm/kernels/embedding.hpp"
#include "ddpm/kernels/group_norm_gradient.hpp"
#include "ddpm/kernels/linear.hpp"
#include "ddpm/kernels/mse.hpp"
#include "ddpm/kernels/pooling.hpp"
#include "ddpm/kernels/softmax.hpp"
#include "ddpm/kernels/variational.hpp"

using namespace test;

namespace {

using Views = std::vector<View<float>>;

/// Calls the kernel with arrays of the given shapes, which must pass, and with each of them one
/// larger or smaller on each axis, which must throw. Only the axes that `free` names, as (array,
/// axis), may vary by themselves.
void check_contract(const std::string& name, const std::vector<Shape>& shapes,
                    const std::function<void(const Views&)>& kernel,
                    const std::vector<std::pair<std::size_t, int>>& free = {}) {
  CAPTURE(name);
  const auto call = [&](const std::vector<Shape>& all) {
    std::vector<Tensor<float>> arrays;
    Views views;
    for (const Shape& shape : all) {
      arrays.emplace_back(shape, 0.5F);
      views.push_back(arrays.back());
    }
    kernel(views);
  };
  CHECK_NOTHROW(call(shapes));
  for (std::size_t i = 0; i < shapes.size(); ++i)
    for (int axis = 0; axis < shapes[i].rank(); ++axis)
      for (const Index change : {-1, 1}) {
        if (std::count(free.begin(), free.end(), std::pair(i, axis)) > 0) continue;
        std::array<Index, 4> e{};
        for (int k = 0; k < shapes[i].rank(); ++k)
          e[std::size_t(k)] = shapes[i][k] + (k == axis ? change : 0);
        std::vector<Shape> changed = shapes;
        changed[i] = shapes[i].rank() == 1   ? Shape{e[0]}
                     : shapes[i].rank() == 2 ? Shape{e[0], e[1]}
                     : shapes[i].rank() == 3 ? Shape{e[0], e[1], e[2]}
                                             : Shape{e[0], e[1], e[2], e[3]};
        CAPTURE(i);
        CAPTURE(changed[i]);
        CHECK_THROWS_AS(call(changed), PreconditionError);
      }
}

}  // namespace

TEST_CASE("contracts: backward kernels name shapes that do not fit") {
  using namespace kernels;
  const Shape x{2, 6, 6, 8};
  check_contract(
      "conv2d", {{2, 6, 6, 5}, x, {3, 3, 8, 5}, x, {3, 3, 8, 5}, {5}}, [](const Views& v) {
        conv2d_backward<float>(v[0], v[1], v[2], {1, Padding::same(1)}, v[3], v[4], v[5]);
      });
  check_contract(
      "conv_transpose2d", {{2, 12, 12, 5}, x, {4, 4, 8, 5}, x, {4, 4, 8, 5}, {5}},
      [](const Views& v) {
        conv_transpose2d_backward<float>(v[0], v[1], v[2], {2, Padding::same(1)}, v[3], v[4], v[5]);
      },
      {{0, 1}, {0, 2}});  // its height and width are the caller's
  check_contract("matmul", {{3, 4}, {3, 5}, {5, 4}, {3, 5}, {5, 4}},
                 [](const Views& v) { matmul_backward<float>(v[0], v[1], v[2], v[3], v[4]); });
  check_contract("linear", {{3, 4}, {3, 5}, {5, 4}, {3, 5}, {5, 4}, {4}}, [](const Views& v) {
    linear_backward<float>(v[0], v[1], v[2], v[3], v[4], v[5]);
  });
  check_contract("group_norm", {x, x, {8}, {8}, {2, 4}, {2, 4}, x, {8}, {8}, x},
                 [](const Views& v) {
                   group_norm_backward<float>(v[0], {v[1], {}}, v[2], v[3], Activation::silu,
                                              {v[4], v[5]}, {v[6], {}}, v[7], v[8], {v[9], {}});
                 });
  check_contract("attention", {{1, 2, 3, 4}, {1, 2, 3, 12}, {2, 6, 2}, {1, 2, 3, 12}},
                 [](const Views& v) { attention_backward<float>(v[0], v[1], v[2], 2, v[3]); });
  check_contract("silu", {{2, 3}, {2, 3}, {2, 3}},
                 [](const Views& v) { silu_backward<float>(v[0], v[1], v[2]); });
  check_contract("gelu", {{2, 3}, {2, 3}, {2, 3}},
                 [](const Views& v) { gelu_backward<float>(v[0], v[1], v[2]); });
  check_contract("softmax", {{3, 4}, {3, 4}, {3, 4}},
                 [](const Views& v) { softmax_backward<float>(v[0], v[1], v[2]); });
  check_contract("mse", {{2}, {2, 6}, {2, 6}, {2, 6}, {2, 6}},
                 [](const Views& v) { mse_backward<float>(v[0], v[1], v[2], v[3], v[4]); },
                 {{0, 0}});  // any number of losses that divides the values
  check_contract("cross_entropy", {{2}, {2, 5}, {2, 5}}, [](const Views& v) {
    cross_entropy_backward<float>(v[0], v[1], std::array<Index, 2>{1, 4}, v[2]);
  });
  check_contract("embedding", {{2, 5}, {4, 5}},
                 [](const Views& v) {
                   embedding_backward<float>(v[0], std::array<Index, 2>{3, 0}, v[1]);
                 },
                 {{1, 0}});
  CHECK_THROWS_AS(embedding_backward<float>(Tensor<float>({1, 5}, 0.0F), std::array<Index, 1>{4},
                                            Tensor<float>({4, 5})),
                  PreconditionError);
  check_contract("concat", {{2, 3, 3, 7}, {2, 3, 3, 4}, {2, 3, 3, 3}},
                 [](const Views& v) { concat_backward<float>(v[0], 4, v[1], v[2]); });
  check_contract("max_pool2d", {{2, 3, 3, 8}, x, {2, 3, 3, 8}, x},
                 [](const Views& v) { max_pool2d_backward<float>(v[0], v[1], v[2], 2, v[3]); });
  check_contract("avg_pool2d", {{2, 3, 3, 8}, x},
                 [](const Views& v) { avg_pool2d_backward<float>(v[0], 2, v[1]); },
                 {{1, 1}, {1, 2}});  // 7 pixels make 3 windows too
  check_contract("upsample", {{2, 12, 12, 8}, x},
                 [](const Views& v) { upsample_nearest_backward<float>(v[0], v[1]); },
                 {{0, 1}, {0, 2}, {1, 1}, {1, 2}});
  CHECK_THROWS_AS(upsample_nearest_backward<float>(Tensor<float>({1, 2, 2, 1}, 0.0F),
                                                   Tensor<float>({1, 3, 2, 1})),
                  PreconditionError);
  const std::vector<VariationalStep> steps(2);
  check_contract("variational", {{2}, x, x, x, x}, [&](const Views& v) {
    variational_backward<float>(v[0], v[1], v[2], v[3], steps, {}, v[4]);
  });
  check_contract("column_sums", {{2, 3, 3, 8}, {8}},
                 [](const Views& v) { column_sums<float>(v[0], v[1]); }, {{0, 0}, {0, 1}, {0, 2}});
}

TEST_CASE("contracts: arrays without values are refused, or nothing happens") {
  using namespace kernels;
  const auto array = [](const Shape& shape) { return Tensor<float>(shape, 0.5F); };
  for (const Shape& map : {Shape{1, 0, 3, 6}, Shape{1, 3, 0, 6}, Shape{2, 0, 0, 6}}) {
    const Shape out{map[0], map[1], map[2], 2};
    CHECK_THROWS_AS(attention_forward<float>(array(map), 1, array(out), {}), PreconditionError);
    CHECK_THROWS_AS(
        attention_backward<float>(array(out), array(map), array({map[0], 0, 2}), 1, array(map)),
        PreconditionError);
  }
  CHECK_NOTHROW(concat_forward<float>(array({2, 0}), array({2, 0}), array({2, 0})));
  CHECK_NOTHROW(concat_forward<float>(array({0, 2}), array({0, 3}), array({0, 5})));
  CHECK_NOTHROW(concat_backward<float>(array({0, 5}), 2, array({0, 2}), array({0, 3})));
  CHECK_NOTHROW(add<float>(array({0}), array({0}), array({0})));
  CHECK_NOTHROW(matmul_forward<float>(array({0, 5}), array({5, 4}), array({0, 4})));
  CHECK_NOTHROW(softmax_forward<float>(array({0, 5}), array({0, 5})));
}

TEST_CASE("contracts: labels out of range are named, forward and backward") {
  const Tensor<float> x({2, 3}, 0.5F), losses({2}, 1.0F);
  for (const Index wrong : {-1, 3, 100}) {
    const std::vector<Index> labels{0, wrong};
    CHECK_THROWS_AS(kernels::cross_entropy_forward<float>(x, labels, losses), PreconditionError);
    CHECK_THROWS_AS(kernels::cross_entropy_backward<float>(losses, x, labels, x.clone()),
                    PreconditionError);
  }
}
