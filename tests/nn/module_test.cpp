#include "ddpm/nn/module.hpp"

#include "fixture.hpp"

using namespace test;

TEST_CASE("module: a copy shares parameters, a clone does not") {
  const UNet<float> net(small_unet, Rng(1));
  const UNet<float> copy = net, clone = nn::clone<float>(net);
  net.conv_in.weight.value()[0] = 42;
  CHECK(copy.conv_in.weight.value()[0] == 42);
  CHECK(clone.conv_in.weight.value()[0] != 42);
  CHECK(nn::parameter_count<float>(clone) == nn::parameter_count<float>(net));
}
