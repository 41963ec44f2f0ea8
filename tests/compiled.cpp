#include "compiled.hpp"

DDPM_TESTS_COMPILED()
