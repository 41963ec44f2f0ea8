// A user's program that writes a picture.
#include <ddpm/ddpm.hpp>

int main() {
  ddpm::io::write_image_grid("grid.png", ddpm::Tensor<float>({4, 8, 8, 3}, 0.0F));
  return ddpm::io::decode_image(ddpm::io::read_file("grid.png"), 3, "grid.png").width == 22 ? 0 : 1;
}
