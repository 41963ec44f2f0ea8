// What the target ddpm::compiled adds to a program, see ddpm/compiled.hpp.
#define DDPM_COMPILE
#include <ddpm/ddpm.hpp>
