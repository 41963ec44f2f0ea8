// Trains on MNIST or another set in IDX files (Fashion-MNIST, EMNIST, KMNIST), and draws samples.
//
// SPDX-License-Identifier: MIT
#include "train.hpp"

int main(int count, char** arguments) {
  CLI::App app{"Trains a diffusion model on images in an IDX file (MNIST and its like)."};
  examples::TrainSettings settings;
  std::string images = "train-images-idx3-ubyte.gz", labels;
  ddpm::Index classes = 10;
  app.add_option("images", images, "IDX file of images, plain or .gz")->capture_default_str();
  app.add_option("--labels", labels, "IDX file of labels: tell the network each picture's class");
  app.add_option("--classes", classes, "how many classes the labels tell apart")
      ->capture_default_str();
  bool transposed = false;
  app.add_flag("--transposed", transposed, "swap rows and columns, which EMNIST's files need");
  const auto sampler = examples::add_options(app, settings);
  if (const auto status = examples::parse(app, settings, count, arguments)) return *status;
  settings.classes = labels.empty() ? 0 : classes;
  return examples::train_program(settings, sampler, [&] {
    const auto set = labels.empty() ? ddpm::data::read_idx_images<float>(images)
                                    : ddpm::data::read_idx<float>(images, labels, classes);
    return transposed ? set.transposed() : set;
  });
}
