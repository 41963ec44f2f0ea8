#include "parity.hpp"

#include "../support.hpp"

TEST_CASE_TEMPLATE("parity: outputs and gradients of both networks are PyTorch's", T, float,
                   double) {
  for (const char* name : {"unet_small", "tutorial_small"}) {
    const auto result =
        parity::compare<T>(std::string(DDPM_TEST_PARITY "/") + name + ".safetensors");
    CAPTURE(name);
    CAPTURE(result.parameter);
    CHECK(result.parameters > 40);
    // The file itself is rounded to float.
    CHECK(result.output < (sizeof(T) == 4 ? 1e-5 : 1e-6));
    CHECK(result.gradient < (sizeof(T) == 4 ? 1e-4 : 1e-6));
  }
}
