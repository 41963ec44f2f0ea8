// What docs/how-to.md says of one's own pictures.
#include "ddpm/data/image_folder.hpp"

#include "../train/fixture.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "ddpm/train/checkpoint.hpp"

using namespace test;

namespace {

/// A folder of pictures whose sub-folders are the classes.
struct Classes {
  data::ImageFolder<float> folder;
  std::vector<std::string> names;  // of the sub-folders
  static constexpr bool reads_slowly = true;

  Index size() const { return folder.size(); }
  Shape image_shape() const { return folder.image_shape(); }
  void read(Index i, View<float> image) const { folder.read(i, image); }
  bool has_labels() const { return true; }
  Index label(Index i) const {
    const auto name = folder.path(i).parent_path().filename().string();
    return std::find(names.begin(), names.end(), name) - names.begin();
  }
};

void write_pictures(const std::filesystem::path& folder, float brightness) {
  std::filesystem::create_directories(folder);
  for (const char* name : {"a.png", "b.png", "c.png"})
    io::write_image<float>(folder / name, Tensor<float>({20, 20, 3}, brightness));
}

}  // namespace

TEST_CASE("own pictures: trained on from a folder, saved, gone on with, drawn") {
  const TemporaryFolder temporary;
  const std::filesystem::path my_pictures = temporary.path / "pictures",
                              my_run = temporary.path / "run";
  write_pictures(my_pictures, 0.5F);
  const Index steps = 2;
  {
    const data::ImageFolder<float> pictures(my_pictures, {.height = 16, .width = 16});
    UNetConfig config = UNetConfig::tiny();  // which is made for grey pictures
    config.image.channels = 3;
    const UNet<float> unet(config, Rng(1));
    const Scheduler<float> scheduler;
    Trainer<float> trainer(unet, scheduler,
                           {.batch_size = 32,
                            .steps = steps,
                            .learning_rate = 1e-3,
                            .save = {.folder = my_run.string()}});
    if (const auto state = latest_run_state(my_run)) trainer.resume(*state);
    trainer.fit(pictures);
    save_checkpoint(my_run / "model.safetensors", trainer.ema_model(), scheduler);
    CHECK(trainer.steps() == 2);
  }
  CHECK(latest_run_state(my_run).has_value());
  const auto model = load_checkpoint<float, UNet<float>>(my_run / "model.safetensors");
  const Tensor<float> drawn = sample(model.network, model.scheduler,
                                     {.count = 4, .sampler = Sampler::dpm_solver_2m, .steps = 20});
  CHECK(drawn.shape() == Shape{4, 16, 16, 3});
}

TEST_CASE("own pictures: a sub-folder for each class") {
  const TemporaryFolder temporary;
  const std::filesystem::path my_pictures = temporary.path / "pictures";
  write_pictures(my_pictures / "cats", -0.5F);
  write_pictures(my_pictures / "dogs", 0.5F);
  const Classes pictures{data::ImageFolder<float>(my_pictures), {"cats", "dogs"}};
  UNetConfig config = UNetConfig::tiny();
  config.image.channels = 3;
  config.image.classes = 2;
  const UNet<float> unet(config, Rng(1));
  CHECK(pictures.size() == 6);
  for (Index i = 0; i < pictures.size(); ++i) {
    const Tensor<float> image(pictures.image_shape());
    pictures.read(i, image);
    CHECK((image[0] > 0) == (pictures.label(i) == 1));
  }
  Trainer<float> trainer(unet, Scheduler<float>(), quiet(1));
  trainer.fit(pictures);
  CHECK(trainer.steps() == 1);
}
