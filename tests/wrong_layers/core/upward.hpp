// For the test of the layer check: core must not see nn.
#include "ddpm/nn/unet.hpp"
