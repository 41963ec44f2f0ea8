// With two.cpp: everything included twice in one program links, and is one library.
#include <ddpm/ddpm.hpp>
#include <ddpm/interop/diffusers.hpp>
#include <ddpm/interop/onnx.hpp>
#include <ddpm/train/metrics.hpp>

ddpm::Tensor<float> make_in_other_unit();
const void* pool_of_other_unit();

int main() {
  const ddpm::Tensor<float> x = make_in_other_unit();
  const bool one_pool = pool_of_other_unit() == &ddpm::memory::detail::Pool::instance();
  return x.unique() && x[1] == 2.0F && one_pool ? 0 : 1;
}
