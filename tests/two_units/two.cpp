#include <ddpm/ddpm.hpp>
#include <ddpm/interop/diffusers.hpp>
#include <ddpm/interop/onnx.hpp>
#include <ddpm/train/metrics.hpp>

ddpm::Tensor<float> make_in_other_unit();
const void* pool_of_other_unit();

ddpm::Tensor<float> make_in_other_unit() { return ddpm::Tensor<float>({2}, {1.0F, 2.0F}); }
const void* pool_of_other_unit() { return &ddpm::memory::detail::Pool::instance(); }
