// A user's program that trains, stops, goes on from its run folder, and draws from what it wrote.
#include <ddpm/ddpm.hpp>

#include <cstdio>

int main() {
  using namespace ddpm;
  const std::filesystem::path folder = "trains_out";
  std::filesystem::remove_all(folder);
  const UNet<float> net(UNetConfig::tiny(), Rng(1));
  const Scheduler<float> scheduler({.timesteps = 20});
  const Tensor<float> images({8, 28, 28, 1}, 0.25F);
  TrainerOptions options{.batch_size = 2, .steps = 2};
  options.progress = Progress::silent;
  options.save.folder = folder.string();
  Trainer<float>(net, scheduler, options).fit(images);

  options.steps = 4;
  Trainer<float> trainer(net, scheduler, options);
  trainer.resume(latest_run_state(folder).value());
  trainer.fit(images);
  save_checkpoint(folder / "model.safetensors", trainer.ema_model(), scheduler);
  const auto model = load_checkpoint<float, UNet<float>>(folder / "model.safetensors");
  const Tensor<float> drawn =
      sample(model.network, model.scheduler, {.count = 2, .sampler = Sampler::ddim, .steps = 3});
  io::write_image_grid(folder / "drawn.png", drawn);
  const bool right = trainer.steps() == 4 && drawn.size() == 2 * 28 * 28 &&
                     io::decode_image(io::read_file(folder / "drawn.png"), 1, "drawn").width > 28;
  std::puts(right ? "trained, went on, and drew" : "something is wrong");
  return right ? 0 : 1;
}
