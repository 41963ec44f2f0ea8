// Pictures of a class that one asks for: trains a small network on labelled images, hiding some of
// the labels, and draws a row of each class with classifier-free guidance (Ho & Salimans 2022).
// Usage: class_conditional IMAGES LABELS [STEPS], two IDX files; writes classes.png
//
// SPDX-License-Identifier: MIT
#include <ddpm/ddpm.hpp>

#include <cstdlib>
#include <iostream>

int main(int count, char** arguments) try {
  using namespace ddpm;
  if (count < 3 || count > 4) {
    std::cerr << "usage: class_conditional IMAGES LABELS [STEPS]\n";
    return 2;
  }
  const Index steps = count > 3 ? std::atoll(arguments[3]) : 1500;
  const auto images = data::read_idx<float>(arguments[1], arguments[2]);  // labels 0 .. 9

  UNetConfig config = UNetConfig::tiny();
  config.image.classes = 10;
  const UNet<float> unet(config, Rng(1));
  const Scheduler<float> scheduler;
  Trainer<float> trainer(unet, scheduler,
                         {.batch_size = 32,
                          .steps = steps,
                          .learning_rate = 1e-3,
                          .ema_decay = 0.999,
                          .label_dropout = 0.1});  // so that it learns to do without a label too
  trainer.fit(images);

  constexpr Index classes = 10, each = 8;
  std::vector<Index> labels;
  for (Index i = 0; i < classes * each; ++i) labels.push_back(i / each);
  const auto rows = sample(trainer.ema_model(), scheduler,
                           {.count = classes * each,
                            .sampler = Sampler::dpm_solver_2m,
                            .steps = 20,
                            .labels = labels,
                            .guidance = 2});
  io::write_image_grid("classes.png", rows, each, 2);
  std::cout << "wrote classes.png: a row for each class\n";
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
