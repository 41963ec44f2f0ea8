#include "ddpm/kernels/conv/winograd/convolve.hpp"

#include "../../reference/winograd.hpp"
#include "../../support.hpp"

using namespace test;

namespace {

const ConvGeometry same_size{1, Padding::same(1)};

/// Sets the algorithm for a scope.
struct UseConvAlgorithm {
  explicit UseConvAlgorithm(ConvAlgorithm algorithm) { set_conv_algorithm(algorithm); }
  ~UseConvAlgorithm() { set_conv_algorithm(ConvAlgorithm::automatic); }
};

template <class T>
struct Results {
  Tensor<T> y, dx, dw;

  Results(View<const T> x, View<const T> w, View<const T> dy, const ConvGeometry& geometry)
      : y(dy.shape), dx(x.shape), dw(w.shape) {
    kernels::conv2d_forward<T>(x, w, {}, {}, geometry, y);
    kernels::conv2d_backward<T>(dy, x, w, geometry, dx, dw, {});
  }
};

Tensor<double> widened(const Tensor<float>& x) {
  Tensor<double> result(x.shape());
  std::copy(x.begin(), x.end(), result.begin());
  return result;
}

/// Root mean square and largest absolute difference, over the root mean square of `truth`.
struct Error {
  double rms = 0, worst = 0;

  Error(const Tensor<float>& result, const Tensor<double>& truth) {
    double squares = 0;
    for (Index i = 0; i < truth.size(); ++i) {
      const double difference = double(result[i]) - truth[i];
      rms += difference * difference;
      worst = std::max(worst, std::abs(difference));
      squares += truth[i] * truth[i];
    }
    rms = std::sqrt(rms / squares);
    worst /= std::sqrt(squares / double(truth.size()));
  }
};

bool pays(const Shape& x, const Shape& w, const ConvGeometry& geometry) {
  return kernels::winograd_pays(kernels::conv_window(x, w, geometry), w[2], w[3]);
}

}  // namespace

TEST_CASE("winograd: every size against the plain loops, in double") {
  struct Case {
    Index N, H, W, in, out;
    ConvGeometry geometry;
  };
  // Maps that are no whole tiles, channels that are no whole packs or panels, every padding.
  const Case cases[] = {{1, 4, 4, 32, 32, same_size},
                        {1, 4, 7, 37, 50, same_size},
                        {1, 7, 5, 47, 33, same_size},
                        {2, 6, 5, 33, 48, same_size},
                        {3, 7, 7, 53, 67, same_size},
                        {2, 9, 13, 61, 48, same_size},
                        {5, 8, 6, 64, 97, same_size},
                        {1, 28, 17, 48, 50, same_size},
                        {23, 9, 13, 67, 35, same_size},
                        {33, 15, 13, 33, 48, same_size},
                        {2, 8, 9, 50, 49, {1, {0, 0, 0, 0}}},
                        {2, 8, 7, 49, 51, {1, {0, 1, 2, 0}}},
                        {1, 6, 6, 130, 49, {1, Padding::same(2)}}};
  for (const Case& c : cases) {
    CAPTURE(c.H);
    CAPTURE(c.W);
    CAPTURE(c.in);
    CAPTURE(c.out);
    const auto x = random_tensor<double>({c.N, c.H, c.W, c.in}, 1);
    const auto w = random_tensor<double>({3, 3, c.in, c.out}, 2);
    const Shape shape = kernels::conv2d_shape(x.shape(), w.shape(), c.geometry);
    const auto dy = random_tensor<double>(shape, 3);
    REQUIRE(pays(x.shape(), w.shape(), c.geometry));
    const Results<double> results(x, w, dy, c.geometry);
    const auto y =
        reference::conv2d(x, w, Tensor<double>({c.out}, 0.0), c.geometry, shape[1], shape[2]);
    CHECK(relative_difference<double>(results.y, y) < 1e-13);
    CHECK(relative_difference<double>(results.dx,
                                      reference::conv2d_dx(dy, w, x.shape(), c.geometry)) < 1e-13);
    CHECK(relative_difference<double>(results.dw,
                                      reference::conv2d_dw(dy, x, w.shape(), c.geometry)) < 1e-13);
  }
}

TEST_CASE("winograd: the presets' layers in float stay within 2e-5 of double, at worst 1e-4") {
  // Images a batch, map, channels in and out.
  const Index layers[][4] = {{12, 32, 128, 128}, {1, 32, 384, 128}, {4, 16, 256, 256},
                             {2, 16, 512, 256},  {8, 8, 256, 256},  {8, 8, 512, 256},
                             {8, 28, 64, 64},    {8, 14, 128, 128}, {8, 16, 64, 64},
                             {8, 32, 32, 32},    {1, 8, 256, 256},  {1, 4, 512, 256}};
  for (const auto& layer : layers) {
    const Index N = layer[0], size = layer[1], in = layer[2], out = layer[3];
    CAPTURE(size);
    CAPTURE(in);
    const auto x = random_tensor<float>({N, size, size, in}, 1);
    const auto w = random_tensor<float>({3, 3, in, out}, 2);
    const auto dy = random_tensor<float>({N, size, size, out}, 3);
    REQUIRE(pays(x.shape(), w.shape(), same_size));
    const Results<float> results(x, w, dy, same_size);
    const UseConvAlgorithm chosen(ConvAlgorithm::direct);
    const Results<double> truth(widened(x), widened(w), widened(dy), same_size);
    for (const Error& error :
         {Error(results.y, truth.y), Error(results.dx, truth.dx), Error(results.dw, truth.dw)}) {
      CHECK(error.rms < 2e-5);
      CHECK(error.worst < 1e-4);
    }
  }
}

TEST_CASE("winograd: bias and residual enter as sums") {
  const auto x = random_tensor<float>({3, 7, 7, 48}, 1),
             w = random_tensor<float>({3, 3, 48, 50}, 2);
  const auto bias = random_tensor<float>({3, 50}, 3),
             residual = random_tensor<float>({3, 7, 7, 50}, 4);
  REQUIRE(pays(x.shape(), w.shape(), same_size));
  const Tensor<float> plain(residual.shape()), fused(residual.shape());
  kernels::conv2d_forward<float>(x, w, {}, {}, same_size, plain);
  kernels::conv2d_forward<float>(x, w, bias, residual, same_size, fused);
  for (Index i = 0; i < plain.size(); ++i)
    plain[i] = plain[i] + bias[i / (49 * 50) * 50 + i % 50] + residual[i];
  CHECK(same_bits(plain, fused));
}

TEST_CASE("winograd: an image's bits do not depend on its batch, nor results on the threads") {
  // Every cut of the forward pass (one image, a few, many), and of the weight gradient (wide,
  // narrow). Images a batch, map, channels in and out.
  const Index layers[][4] = {{70, 8, 64, 80}, {130, 8, 33, 48}, {20, 4, 70, 48}, {9, 11, 40, 64}};
  const int threads = num_threads();
  for (const auto& [N, size, in, out] : layers) {
    const auto x = random_tensor<float>({N, size, size, in}, 1),
               w = random_tensor<float>({3, 3, in, out}, 2);
    const auto dy = random_tensor<float>({N, size, size, out}, 3);
    const Results<float> all(x, w, dy, same_size);
    const Tensor<float> one({1, size, size, out});
    kernels::conv2d_forward<float>(x.slice(N - 4, 1), w, {}, {}, same_size, one);
    CHECK(std::memcmp(one.data(), all.y.slice(N - 4, 1).data, std::size_t(one.size()) * 4) == 0);
    for (const int other : {1, 2, 4}) {
      set_num_threads(other);
      const Results<float> again(x, w, dy, same_size);
      CHECK(same_bits(again.y, all.y));
      CHECK(same_bits(again.dx, all.dx));
      CHECK(same_bits(again.dw, all.dw));
    }
    set_num_threads(threads);
  }
}

namespace {

/// The three passes in pairs of bfloat16, past the door, which may have a better path for them.
struct PairResults {
  Tensor<float> y, dx, dw;

  PairResults(View<const float> x, View<const float> w, View<const float> dy,
              const ConvGeometry& geometry)
      : y(dy.shape), dx(x.shape), dw(w.shape) {
    using kernels::winograd::forward, kernels::winograd::data_gradient,
        kernels::winograd::weight_gradient;
    const auto g = kernels::conv_window(x.shape, w.shape, geometry);
    forward<Bfloat16Pair>(g, x, w, {{}, nullptr, y.data()});
    data_gradient<Bfloat16Pair>(g, dy, w, dx.data());
    weight_gradient<Bfloat16Pair>(g, x, dy, dw.data());
  }
};

/// w (3, 3, C, O) as the data gradient reads it: turned, (3, 3, O, C).
Tensor<float> turned(const Tensor<float>& w) {
  const Index C = w.dim(2), O = w.dim(3);
  const Tensor<float> result({3, 3, O, C});
  for (Index tap = 0; tap < 9; ++tap)
    for (Index c = 0; c < C; ++c)
      for (Index o = 0; o < O; ++o) result[((8 - tap) * O + o) * C + c] = w[(tap * C + c) * O + o];
  return result;
}

}  // namespace

TEST_CASE("winograd: in pairs the planes are rounded to bfloat16, and nothing else is") {
  struct Case {
    Index N, H, W, in, out;
    Padding padding;
  };
  // Odd channels and odd numbers of tiles, for pairs with one value; panels and blocks in part.
  const Case cases[] = {{1, 4, 4, 32, 32, Padding::same(1)},  {1, 5, 7, 33, 35, Padding::same(1)},
                        {3, 4, 4, 47, 50, Padding::same(1)},  {2, 9, 13, 65, 34, Padding::same(1)},
                        {1, 6, 5, 131, 37, {0, 1, 2, 0}},     {1, 6, 6, 34, 33, Padding::same(2)},
                        {9, 21, 20, 33, 34, Padding::same(1)}};
  const reference::Winograd plain(2.0 / 3, 1.5);
  for (const Case& c : cases) {
    CAPTURE(c.H);
    CAPTURE(c.in);
    const auto x = random_tensor<float>({c.N, c.H, c.W, c.in}, 1),
               w = random_tensor<float>({3, 3, c.in, c.out}, 2);
    const ConvGeometry geometry{1, c.padding};
    const auto dy = random_tensor<float>(kernels::conv2d_shape(x.shape(), w.shape(), geometry), 3);
    const Padding back{2 - c.padding.top, 2 - c.padding.bottom, 2 - c.padding.left,
                       2 - c.padding.right};
    const PairResults results(x, w, dy, geometry);
    const Results<double> exact(widened(x), widened(w), widened(dy), geometry);
    const auto check = [](const Tensor<float>& result, const Tensor<float>& expected,
                          const Tensor<double>& truth) {
      // A value half way between two of bfloat16 may go either way, since the transforms round too.
      CHECK(Error(result, widened(expected)).rms < 5e-4);
      const double rounding = Error(result, truth).rms;
      CHECK(rounding > 2e-3);
      CHECK(rounding < 2e-2);
    };
    check(results.y, plain.conv2d(x, w, c.padding), exact.y);
    check(results.dx, plain.conv2d(dy, turned(w), back), exact.dx);
    check(results.dw, plain.conv2d_dw(dy, x, c.padding), exact.dw);
  }
}

TEST_CASE("winograd: in pairs too, bits depend neither on the batch nor on the threads") {
  const Index layers[][4] = {{70, 8, 64, 80}, {140, 8, 33, 48}, {20, 4, 70, 48}, {9, 11, 40, 64}};
  const int threads = num_threads();
  for (const auto& [N, size, in, out] : layers) {
    const auto x = random_tensor<float>({N, size, size, in}, 1),
               w = random_tensor<float>({3, 3, in, out}, 2);
    const auto dy = random_tensor<float>({N, size, size, out}, 3);
    const PairResults all(x, w, dy, same_size);
    const PairResults one(x.slice(N - 4, 1), w, dy.slice(N - 4, 1), same_size);
    CHECK(std::memcmp(one.y.data(), all.y.slice(N - 4, 1).data, std::size_t(one.y.size()) * 4) ==
          0);
    CHECK(std::memcmp(one.dx.data(), all.dx.slice(N - 4, 1).data, std::size_t(one.dx.size()) * 4) ==
          0);
    for (const int other : {1, 2, 4}) {
      set_num_threads(other);
      const PairResults again(x, w, dy, same_size);
      CHECK(same_bits(again.y, all.y));
      CHECK(same_bits(again.dx, all.dx));
      CHECK(same_bits(again.dw, all.dw));
    }
    set_num_threads(threads);
  }
}

TEST_CASE("winograd: in bfloat16 the door takes pairs where AMX takes nothing") {
  const PrecisionScope scope(Precision::bfloat16);
  const auto x = random_tensor<float>({3, 8, 8, 33}, 1),
             w = random_tensor<float>({3, 3, 33, 40}, 2),
             dy = random_tensor<float>({3, 8, 8, 40}, 3);
  const auto window = kernels::conv_window(x.shape(), w.shape(), same_size);
  const bool pairs = conv_path(kernels::ConvPass::forward, window, 33, 40, Precision::bfloat16) ==
                     kernels::ConvPath::winograd;
  CHECK(pairs == !kernels::amx::granted());
  const Results<float> door(x, w, dy, same_size);
  const PairResults expected(x, w, dy, same_size);
  CHECK(same_bits(door.y, expected.y) == pairs);
  CHECK(same_bits(door.dx, expected.dx) == pairs);
  CHECK(same_bits(door.dw, expected.dw) == pairs);
}

TEST_CASE("winograd: the switch, and what the rule leaves to the direct kernel") {
  const Shape x{1, 8, 8, 64}, w{3, 3, 64, 64};
  CHECK(pays(x, w, same_size));
  CHECK(!pays({1, 3, 8, 64}, w, same_size));
  CHECK(!pays({0, 8, 8, 64}, w, same_size));
  CHECK(!pays(x, {3, 3, 64, 31}, same_size));
  CHECK(!pays(x, {1, 1, 64, 64}, {}));
  CHECK(!pays(x, w, {2, Padding::same(1)}));
  CHECK(!pays(x, w, {1, Padding::same(3)}));
  const UseConvAlgorithm chosen(ConvAlgorithm::direct);
  CHECK(!pays(x, w, same_size));
}
