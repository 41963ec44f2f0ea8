#include "ddpm/kernels/conv/choice.hpp"

#include "../../support.hpp"

using namespace test;
using kernels::ConvPass;
using kernels::ConvPath;

namespace {

/// The paths of the forward pass, the data gradient and the weight gradient.
std::array<ConvPath, 3> paths(const Shape& x, const Shape& w, const ConvGeometry& geometry,
                              Precision precision = Precision::float32) {
  const kernels::Window window = kernels::conv_window(x, w, geometry);
  std::array<ConvPath, 3> result{};
  for (const ConvPass pass :
       {ConvPass::forward, ConvPass::data_gradient, ConvPass::weight_gradient})
    result[static_cast<std::size_t>(pass)] =
        kernels::conv_path(pass, window, w[2], w[3], precision);
  return result;
}

constexpr auto direct = ConvPath::direct, winograd = ConvPath::winograd,
               few_inputs = ConvPath::few_inputs, few_outputs = ConvPath::few_outputs;

}  // namespace

TEST_CASE("conv path: a function of shapes, for each pass") {
  using P = std::array<ConvPath, 3>;
  const ConvGeometry same{1, Padding::same(1)}, halving{2, Padding::right_and_bottom()};
  CHECK(paths({8, 16, 16, 64}, {3, 3, 64, 64}, same) == P{winograd, winograd, winograd});
  CHECK(paths({8, 16, 16, 16}, {3, 3, 16, 64}, same) == P{direct, direct, direct});
  CHECK(paths({8, 16, 16, 64}, {1, 1, 64, 64}, {}) == P{direct, direct, direct});
  CHECK(paths({8, 3, 3, 64}, {3, 3, 64, 64}, same) == P{direct, direct, direct});
  CHECK(paths({8, 16, 16, 64}, {3, 3, 64, 64}, halving) == P{direct, direct, direct});
  CHECK(paths({8, 16, 16, 3}, {3, 3, 3, 64}, same) == P{few_inputs, few_inputs, few_inputs});
  CHECK(paths({8, 16, 16, 64}, {3, 3, 64, 3}, same) == P{few_outputs, few_outputs, few_outputs});
  CHECK(paths({8, 16, 16, 3}, {3, 3, 3, 3}, same) == P{few_outputs, few_inputs, few_inputs});
  // Of stride 2 no window can be turned: only the passes that need no turning are narrow.
  CHECK(paths({8, 16, 16, 3}, {3, 3, 3, 64}, halving) == P{few_inputs, direct, few_inputs});
  CHECK(paths({8, 16, 16, 64}, {3, 3, 64, 3}, halving) == P{few_outputs, direct, direct});
}

TEST_CASE("conv path: in bfloat16 AMX takes all windows of stride 1, and dots are of floats only") {
  using P = std::array<ConvPath, 3>;
  const ConvGeometry same{1, Padding::same(1)}, halving{2, Padding::right_and_bottom()};
  const auto bfloat16 = Precision::bfloat16;
  const bool amx = kernels::amx::granted();
  constexpr P tiles{ConvPath::tiles, ConvPath::tiles, ConvPath::tiles};
  const auto expected = [&](const P& otherwise) { return amx ? tiles : otherwise; };
  CHECK(paths({8, 16, 16, 64}, {3, 3, 64, 96}, same, bfloat16) ==
        expected({winograd, winograd, winograd}));
  CHECK(paths({8, 16, 16, 3}, {3, 3, 3, 64}, same, bfloat16) ==
        expected({few_inputs, direct, few_inputs}));
  CHECK(paths({8, 16, 16, 64}, {3, 3, 64, 3}, same, bfloat16) ==
        expected({direct, few_outputs, few_outputs}));
  CHECK(paths({8, 16, 16, 64}, {1, 1, 64, 32}, {}, bfloat16) == expected({direct, direct, direct}));
  CHECK(paths({8, 16, 16, 64}, {3, 3, 64, 64}, halving, bfloat16) == P{direct, direct, direct});
}

TEST_CASE("conv path: the batch has no say, and direct means direct") {
  const ConvGeometry same{1, Padding::same(1)};
  for (const Index N : {1, 2, 7, 64})
    CHECK(paths({N, 16, 16, 64}, {3, 3, 64, 64}, same)[0] == ConvPath::winograd);
  set_conv_algorithm(ConvAlgorithm::direct);
  const auto forced = paths({8, 16, 16, 64}, {3, 3, 64, 64}, same);
  set_conv_algorithm(ConvAlgorithm::automatic);
  for (const ConvPath path : forced) CHECK(path == ConvPath::direct);
}
