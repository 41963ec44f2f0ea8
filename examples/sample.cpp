// Draws pictures from a checkpoint: a grid, and a strip that shows one coming out of the noise.
//
// SPDX-License-Identifier: MIT
#include "common.hpp"

int main(int count, char** arguments) {
  using namespace examples;
  CLI::App app{"Draws pictures from a checkpoint that one of the training programs wrote."};
  std::string checkpoint, grid = "samples.png", strip = "strip.png";
  SampleOptions options;
  options.count = 64;
  int threads = 0;
  app.option_defaults()->always_capture_default();
  app.add_option("checkpoint", checkpoint, checkpoint_help)->required();
  app.add_option("--count", options.count, "number of pictures");
  app.add_option("--seed", options.seed,
                 "seed of the pictures; picture i follows from the seed and first + i only");
  app.add_option("--first", options.first, "the number that the first picture has");
  app.add_option("--batch", options.batch_size,
                 "number of pictures drawn at once, which changes none of them");
  app.add_option("--height", options.height, "height of the pictures in pixels; 0: as trained");
  app.add_option("--width", options.width, "width of the pictures in pixels; 0: as trained");
  const SamplerChoice choice(app, options);
  add_class_options(app, options);
  app.add_option("--grid", grid, "PNG file to write, with all pictures");
  app.add_option("--strip", strip,
                 "PNG file to write, with one picture coming out of the noise; empty: none");
  app.add_option("--threads", threads, "threads that work; 0: as many as processors");
  CLI11_PARSE(app, count, arguments);
  return report_errors([&] {
    if (threads != 0) set_num_threads(threads);
    for (const std::string& file : {grid, strip})
      if (!file.empty()) check_writable(std::filesystem::absolute(file).parent_path());
    const auto draw = [&](const auto& model) {
      const auto& scheduler = model.scheduler;
      choice.complete(scheduler);
      const Shape own = model.network.sample_shape(1);
      std::cout << "settings\n";
      echo("checkpoint", checkpoint);
      echo("parameters", nn::parameter_count<float>(model.network));
      echo("pictures", options.count, " of ", options.height > 0 ? options.height : own[1], " x ",
           options.width > 0 ? options.width : own[2]);
      echo_sampling(options, scheduler.timesteps());
      echo("seed", options.seed);
      echo("threads", num_threads());
      write_samples(model.network, scheduler, options, grid, strip);
    };
    with_checkpoint(checkpoint, draw);
  });
}
