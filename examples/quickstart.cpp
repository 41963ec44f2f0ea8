// The 20-line program: trains on MNIST, or its like, and draws 64 samples.
//
// SPDX-License-Identifier: MIT
#include <ddpm/ddpm.hpp>
#include <iostream>

int main() try {
  using namespace ddpm;
  const auto images =
      data::read_idx_images<float>("train-images-idx3-ubyte.gz");  // (N, 28, 28, 1) in [-1, 1]

  UNet<float> unet(UNetConfig::mnist_small(), Rng(1));
  const Scheduler<float> scheduler;  // Ho et al. 2020: 1000 steps, linear beta 1e-4 .. 0.02
  Trainer<float> trainer(unet, scheduler, {.batch_size = 64, .steps = 2000, .learning_rate = 2e-4});
  trainer.fit(images);  // progress bar, loss, images/s, time left

  const Tensor<float> samples = sample(trainer.ema_model(), scheduler, {.count = 64, .seed = 7});
  io::write_image_grid("samples.png", samples);
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
