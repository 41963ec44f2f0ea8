// Writes a trained network for other programs: a folder of diffusers, or an ONNX file.
//
// SPDX-License-Identifier: MIT
#include "common.hpp"

int main(int count, char** arguments) {
  using namespace examples;
  CLI::App app{
      "Writes a trained network as a folder that DDPMPipeline of diffusers reads, or as an ONNX "
      "file."};
  std::string checkpoint, out;
  Index height = 0, width = 0;
  app.option_defaults()->always_capture_default();
  app.add_option("checkpoint,--model", checkpoint, checkpoint_help)->required();
  app.add_option("out", out, "file to write, if its name ends in .onnx; else a folder of diffusers")
      ->required();
  app.add_option("--height", height, "height of the pictures in pixels; 0: as trained");
  app.add_option("--width", width, "width of the pictures in pixels; 0: as trained");
  CLI11_PARSE(app, count, arguments);
  return report_errors([&] {
    require(height >= 0 && width >= 0, "pictures of ", height, " x ", width, " pixels");
    with_checkpoint(checkpoint, [&](auto model) {
      const Shape own = model.network.sample_shape(1);
      model.network.set_image_size(height > 0 ? height : own[1], width > 0 ? width : own[2]);
      export_model(out, model);
    });
    std::cout << "wrote " << out << '\n';
  });
}
