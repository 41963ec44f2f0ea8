// Fills a hole in pictures with a trained network (RePaint, Lugmayr et al. 2022).
// Usage: inpaint MODEL IMAGES [STEPS], a network that train_mnist or its like wrote
// (model.safetensors) and an IDX file of images as it knows them; writes inpainted.png, whose rows
// are the images, with their hole, and two ways to fill it.
//
// SPDX-License-Identifier: MIT
#include <ddpm/ddpm.hpp>

#include <cstdlib>
#include <iostream>

namespace {

using namespace ddpm;

/// 1 where a pixel is known, 0 in the middle half of each side, as images (N, H, W, C).
Tensor<float> with_hole(const Shape& shape) {
  const Index H = shape[1], W = shape[2], C = shape[3];
  Tensor<float> mask(shape, 1.0F);
  for (Index n = 0; n < shape[0]; ++n)
    for (Index h = H / 4; h < H - H / 4; ++h)
      for (Index w = W / 4; w < W - W / 4; ++w)
        for (Index c = 0; c < C; ++c) mask[((n * H + h) * W + w) * C + c] = 0;
  return mask;
}

}  // namespace

int main(int count, char** arguments) try {
  if (count < 3 || count > 4) {
    std::cerr << "usage: inpaint MODEL IMAGES [STEPS]\n";
    return 2;
  }
  const Index steps = count > 3 ? std::atoll(arguments[3]) : 100;
  const auto [network, scheduler] = load_checkpoint<float, UNet<float>>(arguments[1]);
  const auto all = data::read_idx_images<float>(arguments[2]);
  const Index shown = std::min(Index{8}, all.size());
  const Shape image = all.image_shape();
  const Tensor<float> images({shown, image[0], image[1], image[2]});
  for (Index i = 0; i < shown; ++i) all.read(i, {images.slice(i, 1).data, image});
  const auto mask = with_hole(images.shape());

  const Tensor<float> rows({4 * shown, image[0], image[1], image[2]});
  const auto put = [&](Index row, const Tensor<float>& pictures) {
    std::copy(pictures.begin(), pictures.end(), rows.slice(row * shown, shown).begin());
  };
  const auto holed = images.clone();
  for (Index i = 0; i < holed.size(); ++i)
    if (mask[i] == 0) holed[i] = 0;  // grey
  put(0, images);
  put(1, holed);
  for (const Index first : {Index{0}, shown})  // other random numbers for each row
    put(2 + first / shown,
        inpaint(network, scheduler, images, mask,
                {.seed = 1, .first = first, .steps = steps, .jump_length = 5, .resamplings = 5}));
  io::write_image_grid("inpainted.png", rows, shown, 2);
  std::cout << "wrote inpainted.png\n";
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
