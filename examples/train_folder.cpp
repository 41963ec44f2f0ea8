// Trains on a folder of pictures, and draws samples.
//
// SPDX-License-Identifier: MIT
#include "train.hpp"

int main(int count, char** arguments) {
  CLI::App app{"Trains a diffusion model on a folder of PNG, JPEG, BMP or PNM pictures."};
  examples::TrainSettings settings;
  settings.network = "tutorial";
  std::string folder = ".";
  ddpm::Index size = 32;
  ddpm::data::ImageFolderOptions options;
  app.add_option("folder", folder, "folder of pictures; sub-folders count")->capture_default_str();
  app.add_option("--size", size, "side of the square that pictures are resized and cropped to")
      ->capture_default_str();
  app.add_option("--channels", options.channels, "3: colour, 1: grey")->capture_default_str();
  app.add_flag("--skip-damaged", options.skip_damaged, "pass over pictures that do not decode");
  examples::add_options(app, settings);
  CLI11_PARSE(app, count, arguments);
  options.height = options.width = size;
  return examples::train_program(settings,
                                 [&] { return ddpm::data::ImageFolder<float>(folder, options); });
}
