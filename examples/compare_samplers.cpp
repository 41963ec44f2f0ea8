// Draws the same seeds by every sampler at several numbers of steps; a classifier that it trains on
// the way judges them.
//
// SPDX-License-Identifier: MIT
#include <chrono>

#include "classifier.hpp"

namespace {

using namespace examples;

struct Settings {
  std::string checkpoint, images, labels, test_images, test_labels, picture = "samplers.png";
  std::vector<std::string> samplers{enum_names<Sampler>.begin(), enum_names<Sampler>.end()};
  std::vector<Index> steps{10, 20, 50};
  Index full = 1000, epochs = 3;
  int threads = 0;
  SampleOptions sampling;
};

/// A row of the table: draws, judges, prints; returns the pictures.
Tensor<float> run(const UNet<float>& network, const Scheduler<float>& scheduler,
                  const Classifier& classifier, const Eigen::MatrixXd& real,
                  const SampleOptions& options, const std::string& name) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const Index batches = (options.count + options.batch_size - 1) / options.batch_size;
  ProgressDisplay display(name.c_str(), batches * options.steps, Progress::automatic);
  Index done = 0;
  const auto samples =
      sample(network, scheduler, options, [&](const SampleProgress<float>& progress) {
        display.update(++done, progress.prev_sample.dim(0));
      });
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const Judgement judged = judge(classifier, samples);
  std::printf("| %s | %lld | %.1f | %.1f %% | %.2f |\n", name.c_str(),
              static_cast<long long>(options.steps),
              1000 * seconds / static_cast<double>(options.count),
              100 * judged.recognised(options.labels), frechet_distance(real, judged.features));
  std::fflush(stdout);
  return samples;
}

void compare(const Settings& s) {
  const auto model = load_checkpoint<float, UNet<float>>(s.checkpoint);
  const Index classes = model.network.classes();
  require(classes > 0, s.checkpoint, ": trained without labels, the classifier cannot judge it");
  const Index T = model.scheduler.timesteps();
  for (const Index steps : s.steps)
    require(steps >= 1 && steps <= T, "--steps: ", steps, ", expected 1 to ", T);
  require(s.full >= 0 && s.full <= T, "--full: ", s.full, ", expected 1 to ", T, ", or 0");
  const auto train = data::read_idx<float>(s.images, s.labels, classes);
  const auto test = data::read_idx<float>(s.test_images, s.test_labels, classes);
  const Shape& shape = train.shape();
  require(shape[1] == shape[2] && shape[1] % 4 == 0, s.images, ": images of ", shape[1], " x ",
          shape[2], ", expected squares, their side a multiple of 4");
  require(s.sampling.count >= 2 && s.sampling.count <= shape[0], "--count is ", s.sampling.count,
          ", expected 2 to ", shape[0]);
  const Classifier classifier(shape[1], shape[3], classes, Rng(1));
  fit(classifier, train, s.epochs);
  const Judgement real = judge(classifier, test.tensor());
  std::printf("the classifier recognises %.2f %% of the test images\n\n",
              100 * real.recognised(test.labels()));
  SampleOptions options = s.sampling;
  if (options.labels.empty())
    for (Index label = 0; label < classes; ++label) options.labels.push_back(label);
  // Real images in the number of the samples: what the distance is between two sets of the truth.
  const auto some = judge(classifier, data::read_images<float>(train, 0, options.count).images);
  std::printf("| sampler | steps | ms an image | recognised | distance |\n|---|---|---|---|---|\n");
  std::printf("| real images | | | | %.2f |\n", frechet_distance(real.features, some.features));
  const Index columns = std::min<Index>(10, options.count);
  std::vector<Tensor<float>> rows;
  const auto add = [&](const std::string& name, Index steps) {
    options.sampler = value_of<Sampler>(name).value();
    options.steps = steps;
    rows.push_back(run(model.network, model.scheduler, classifier, real.features, options, name));
  };
  for (const std::string& name : s.samplers)
    for (const Index steps : s.steps) add(name, steps);
  if (s.full > 0) add("ancestral", s.full);
  const Shape one = rows[0].shape();
  const Tensor<float> picture({std::ssize(rows) * columns, one[1], one[2], one[3]});
  for (Index row = 0; row < std::ssize(rows); ++row) {
    const auto first = rows[static_cast<std::size_t>(row)].slice(0, columns);
    std::copy(first.begin(), first.end(), picture.slice(row * columns, columns).begin());
  }
  io::write_image_grid(s.picture, picture, columns);
  std::printf("\nwrote %s, a row of seeds for each row of the table\n", s.picture.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  CLI::App app{
      "Draws the same seeds by every sampler at several numbers of steps, from a network trained "
      "with labels, and lets a classifier judge them."};
  Settings s;
  s.sampling.count = 500;
  app.option_defaults()->always_capture_default();
  app.add_option("checkpoint", s.checkpoint, "model.safetensors of a UNet")->required();
  app.add_option("images", s.images, "IDX file of training images")->required();
  app.add_option("labels", s.labels, "IDX file of their labels")->required();
  app.add_option("test-images", s.test_images, "IDX file of test images")->required();
  app.add_option("test-labels", s.test_labels, "IDX file of their labels")->required();
  app.add_option("--samplers", s.samplers, "the samplers to compare")
      ->check(CLI::IsMember(s.samplers));
  app.add_option("--steps", s.steps, "numbers of steps to compare");
  app.add_option("--full", s.full,
                 "number of steps of ancestral sampling, for comparison; 0: without it");
  app.add_option("--count", s.sampling.count, "number of pictures for each row");
  app.add_option("--seed", s.sampling.seed, "seed of the pictures");
  app.add_option("--epochs", s.epochs, "number of passes over the data that train the classifier");
  app.add_option("--picture", s.picture, "PNG file to write");
  add_enum_option(app, "--precision", s.sampling.precision,
                  "what the factors of products are rounded to");
  app.add_option("--threads", s.threads, "threads that work; 0: as many as processors");
  add_spacing_options(app, s.sampling);
  add_class_options(app, s.sampling);
  CLI11_PARSE(app, count, arguments);
  return report_errors([&] {
    if (s.threads != 0) set_num_threads(s.threads);
    compare(s);
  });
}
