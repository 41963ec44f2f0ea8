#include "compiled.hpp"

DDPM_COMPILED_ALL()
DDPM_TESTS_COMPILED()
