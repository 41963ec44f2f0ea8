#include "ddpm/kernels/group_norm_gradient.hpp"

#include "ddpm/kernels/concat.hpp"

#include "../reference/reference.hpp"
#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("group_norm: forward against the plain loops", T, float, double) {
  for (const Index pixels : {1, 3, 7})
    for (const auto& size : std::vector<std::pair<Index, Index>>{
             {1, 1}, {6, 2}, {32, 32}, {96, 32}, {129, 43}, {130, 1}}) {
      const Index C = size.first, G = size.second;
      CAPTURE(pixels);
      CAPTURE(C);
      CAPTURE(G);
      const auto x = random_tensor<T>({2, pixels, pixels, C}, 1);
      const auto gamma = random_tensor<T>({C}, 2), beta = random_tensor<T>({C}, 3);
      const Tensor<T> y(x.shape()), mean({2, G}), rstd({2, G});
      kernels::group_norm_forward<T>(x, gamma, beta, T(1e-5), kernels::Activation::none, y,
                                     {mean, rstd});
      CHECK(relative_difference<T>(y, reference::group_norm(x, gamma, beta, G, 1e-5)) <
            100 * tolerance<T>(pixels * pixels * C / G));
    }
}

TEST_CASE_TEMPLATE("group_norm: with SiLU equals the two after each other", T, float, double) {
  const auto x = random_tensor<T>({2, 5, 5, 40}, 1), dy = random_tensor<T>(x.shape(), 4);
  const auto gamma = random_tensor<T>({40}, 2), beta = random_tensor<T>({40}, 3);
  const Tensor<T> u(x.shape()), y(x.shape()), fused(x.shape()), mean({2, 8}), rstd({2, 8});
  const auto none = kernels::Activation::none, silu = kernels::Activation::silu;
  kernels::group_norm_forward<T>(x, gamma, beta, T(1e-6), none, u, {mean, rstd});
  kernels::silu_forward<T>(u, y);
  kernels::group_norm_forward<T>(x, gamma, beta, T(1e-6), silu, fused, {mean, rstd});
  CHECK(same_bits(y, fused));

  const Tensor<T> du(x.shape()), dx(x.shape()), dgamma({40}), dbeta({40});
  const Tensor<T> dx2(x.shape()), dgamma2({40}), dbeta2({40});
  kernels::silu_backward<T>(dy, u, du);
  kernels::group_norm_backward<T>(du, x, gamma, beta, none, {mean, rstd}, dx, dgamma, dbeta);
  kernels::group_norm_backward<T>(dy, x, gamma, beta, silu, {mean, rstd}, dx2, dgamma2, dbeta2);
  CHECK(relative_difference<T>(dx2, dx) < tolerance<T>(100));
  CHECK(relative_difference<T>(dgamma2, dgamma) < tolerance<T>(100));
  CHECK(relative_difference<T>(dbeta2, dbeta) < tolerance<T>(100));
}

TEST_CASE_TEMPLATE("group_norm: channels in two tensors are those of their concatenation", T, float,
                   double) {
  // The border lies on a group's, inside a group, inside a pack, and at the first channel.
  for (const auto& sizes :
       {std::array<Index, 3>{32, 32, 8}, {40, 56, 8}, {256, 128, 32}, {33, 67, 4}, {1, 9, 2}}) {
    const Index A = sizes[0], B = sizes[1], G = sizes[2], C = A + B;
    CAPTURE(A);
    const auto a = random_tensor<T>({2, 3, 5, A}, 1), b = random_tensor<T>({2, 3, 5, B}, 2);
    const auto gamma = random_tensor<T>({C}, 3), beta = random_tensor<T>({C}, 4);
    const Tensor<T> x({2, 3, 5, C}), y(x.shape()), joined(x.shape()), mean({2, G}), rstd({2, G});
    kernels::concat_forward<T>(a, b, x);
    const auto silu = kernels::Activation::silu;
    kernels::group_norm_forward<T>(x, gamma, beta, T(1e-6), silu, y, {mean, rstd});
    kernels::group_norm_forward<T>({a, b}, gamma, beta, T(1e-6), silu, joined, {mean, rstd});
    CHECK(same_bits(y, joined));

    const auto dy = random_tensor<T>(x.shape(), 5);
    const Tensor<T> dx(x.shape()), da(a.shape()), db(b.shape()), dgamma({C}), dbeta({C});
    const Tensor<T> dgamma2({C}), dbeta2({C}), da2(a.shape()), db2(b.shape());
    kernels::group_norm_backward<T>(dy, x, gamma, beta, silu, {mean, rstd}, dx, dgamma, dbeta);
    kernels::group_norm_backward<T>(dy, {a, b}, gamma, beta, silu, {mean, rstd}, {da, db}, dgamma2,
                                    dbeta2);
    kernels::concat_backward<T>(dx, A, da2, db2);
    CHECK(same_bits(da, da2));
    CHECK(same_bits(db, db2));
    CHECK(same_bits(dgamma, dgamma2));
    CHECK(same_bits(dbeta, dbeta2));

    // What is there already is added, in both parts or in one; dx may take the place of dy.
    const auto more_a = random_tensor<T>(a.shape(), 6), more_b = random_tensor<T>(b.shape(), 7);
    const View<const T> nothing;
    kernels::group_norm_backward<T>(dy, {a, b}, gamma, beta, silu, {mean, rstd}, {da, db}, {}, {},
                                    {more_a, more_b});
    kernels::add<T>(da2, more_a, da2);
    CHECK(same_bits(da, da2));
    Tensor<T> sum_b(b.shape());
    kernels::add<T>(db2, more_b, sum_b);
    CHECK(same_bits(db, sum_b));
    kernels::group_norm_backward<T>(dy, {a, b}, gamma, beta, silu, {mean, rstd}, {da, db}, {}, {},
                                    {more_a, nothing});
    CHECK(same_bits(da, da2));
    CHECK(same_bits(db, db2));
    const Tensor<T> in_place = dy.clone();
    kernels::group_norm_backward<T>(in_place, x, gamma, beta, silu, {mean, rstd}, in_place, {}, {});
    CHECK(same_bits(in_place, dx));
    const auto more = random_tensor<T>(x.shape(), 8);
    const Tensor<T> with_more = dy.clone();
    kernels::group_norm_backward<T>(with_more, x, gamma, beta, silu, {mean, rstd}, with_more, {},
                                    {}, more);
    kernels::add<T>(dx, more, dx);
    CHECK(same_bits(with_more, dx));
  }
}

TEST_CASE("group_norm [NU-2]: large offsets and flat inputs stay finite and right") {
  Tensor<float> x = random_tensor<float>({1, 8, 8, 32}, 1);
  const auto plain = x.clone();
  for (float& v : x) v += 1e4F;
  const Tensor<float> gamma({32}, 1.0F), beta({32}, 0.0F), y(x.shape()), z(x.shape());
  const Tensor<float> mean({1, 4}), rstd({1, 4});
  const auto none = kernels::Activation::none;
  kernels::group_norm_forward<float>(x, gamma, beta, 1e-6F, none, y, {mean, rstd});
  kernels::group_norm_forward<float>(plain, gamma, beta, 1e-6F, none, z, {mean, rstd});
  CHECK(relative_difference<float>(y, z) < 2e-2);  // 1e4 leaves x three digits
  x.fill(1e4F);
  kernels::group_norm_forward<float>(x, gamma, beta, 1e-6F, none, y, {mean, rstd});
  for (const float v : y) CHECK(std::isfinite(v));
}

TEST_CASE("group_norm: groups that do not divide, and other bad input") {
  const Tensor<float> x({1, 2, 2, 6}, 0.0F), gamma({6}, 1.0F), y(x.shape()), s({1, 4}), t({1, 3});
  const auto none = kernels::Activation::none;
  CHECK(contains(error_of<PreconditionError>([&] {
                   kernels::group_norm_forward<float>(x, gamma, gamma, 1e-6F, none, y, {s, s});
                 }),
                 "6 channels do not split into 4 groups"));
  CHECK(contains(error_of<PreconditionError>([&] {
                   kernels::group_norm_forward<float>(x, gamma, gamma, 0.0F, none, y, {t, t});
                 }),
                 "eps is 0"));
}
