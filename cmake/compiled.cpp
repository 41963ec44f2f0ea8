// What the target ddpm::compiled adds to a program, see ddpm/compiled.hpp.
#include <ddpm/ddpm.hpp>
DDPM_COMPILED_ALL()
