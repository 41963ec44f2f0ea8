// Compares the case in a file with PyTorch: ddpm_parity FILE. Exit status 1 if it is too far away.
#include <cstdio>

#include "parity.hpp"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: ddpm_parity FILE\n");
    return 2;
  }
  try {
    const auto result = parity::compare<float>(arguments[1]);
    const bool good = result.output < 1e-4 && result.gradient < 1e-3;
    std::printf("%s: output %.2e (limit 1e-4), gradients %.2e (limit 1e-3, worst %s of %lld): %s\n",
                arguments[1], result.output, result.gradient, result.parameter.c_str(),
                static_cast<long long>(result.parameters), good ? "ok" : "TOO FAR");
    return good ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ddpm_parity: %s\n", error.what());
    return 2;
  }
}
