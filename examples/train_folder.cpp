// Trains on a folder of pictures, and draws samples.
//
// SPDX-License-Identifier: MIT
#include "train.hpp"

int main(int count, char** arguments) {
  CLI::App app{"Trains a diffusion model on a folder of PNG, JPEG, BMP, GIF or PNM pictures."};
  examples::TrainSettings settings;
  settings.usual_network = "tutorial";
  std::string folder = ".";
  ddpm::Index size = 32;
  ddpm::data::ImageFolderOptions options;
  app.add_option("folder", folder, "folder of pictures, which may have sub-folders")
      ->capture_default_str();
  app.add_option("--size", size, "side of the square that pictures are resized and cropped to")
      ->capture_default_str();
  app.add_option("--channels", options.channels, "3 for colour, 1 for grey")->capture_default_str();
  app.add_flag("--skip-damaged", options.skip_damaged,
               "leave out pictures that are damaged, instead of stopping");
  const auto sampler = examples::add_options(app, settings);
  if (const auto status = examples::parse(app, settings, count, arguments)) return *status;
  options.height = options.width = size;
  return examples::train_program(settings, sampler, [&] {
    ddpm::data::ImageFolder<float> images(folder, options);
    std::cout << folder << ": " << images.contents().summary() << '\n';
    return images;
  });
}
