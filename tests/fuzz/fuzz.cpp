// The libFuzzer program: DDPM_FUZZ=idx ddpm_fuzz corpus/ fuzzes the loader of that name in
// targets.hpp.
#include "targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Target target = [] {
    const char* name = std::getenv("DDPM_FUZZ");
    for (const fuzz::Target& known : fuzz::targets)
      if (name != nullptr && std::string(name) == known.name) return known;
    std::fprintf(stderr, "DDPM_FUZZ names no loader; known are:");
    for (const fuzz::Target& known : fuzz::targets) std::fprintf(stderr, " %s", known.name);
    std::fprintf(stderr, "\n");
    std::exit(1);
  }();
  target.run({data, data + size});
  return 0;
}
