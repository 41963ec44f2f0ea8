#define DDPM_COMPILE
#include "compiled.hpp"
