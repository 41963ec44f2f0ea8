// Trains on CIFAR-10 (binary version), and draws samples.
//
// SPDX-License-Identifier: MIT
#include "train.hpp"

int main(int count, char** arguments) {
  CLI::App app{"Trains a diffusion model on CIFAR-10."};
  examples::TrainSettings settings;
  settings.usual_network = "tutorial";
  settings.trainer.horizontal_flip = true;
  std::string path = "cifar-10-batches-bin";
  app.add_option("data", path, "folder of data_batch_1.bin to 5, or one batch file; plain or .gz")
      ->capture_default_str();
  bool conditional = false;
  app.add_flag("--conditional", conditional, "tell the network each picture's class");
  const auto sampler = examples::add_options(app, settings);
  if (const auto status = examples::parse(app, settings, count, arguments)) return *status;
  settings.classes = conditional ? 10 : 0;
  return examples::train_program(settings, sampler, [&] {
    const auto images = ddpm::data::read_cifar10<float>(path);
    return conditional ? images : images.with_labels({});
  });
}
