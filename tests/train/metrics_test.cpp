#include "ddpm/train/metrics.hpp"

#include <nlohmann/json.hpp>

#include "../support.hpp"
#include "ddpm/train/trainer.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

std::vector<nlohmann::json> lines_of(const std::filesystem::path& folder) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(folder / metrics_name);
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TrainingStep step_of(Index number) { return {number, 0.5, 2, 1e-4, {0.25, std::nan(""), 0.5, 1}}; }

}  // namespace

TEST_CASE("metrics: a line an update, with the losses of the quarters") {
  const TemporaryFolder folder;
  std::vector<TrainingStep> steps;
  TrainerOptions options;
  options.batch_size = 6;
  options.accumulation = 2;
  options.steps = 5;
  options.progress = Progress::silent;
  Trainer<float> trainer(UNet<float>({.image = {.channels = 1},
                                      .channels = 4,
                                      .multipliers = {1},
                                      .blocks = 1,
                                      .attention_levels = {},
                                      .groups = 2},
                                     Rng(1)),
                         Scheduler<float>({.timesteps = 10}), options);
  MetricsLog log(folder.path, 0);
  trainer.fit(random_tensor<float>({20, 8, 8, 1}, 1), [&](auto&, const TrainingStep& step) {
    log.write(step, 12);
    steps.push_back(step);
  });
  const auto lines = lines_of(folder.path);
  REQUIRE(lines.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(lines[i]["step"] == i + 1);
    CHECK(lines[i]["loss"] == steps[i].loss);
    CHECK(lines[i]["gradient_norm"] == steps[i].gradient_norm);
    CHECK(lines[i]["learning_rate"] == steps[i].learning_rate);
    CHECK(lines[i]["images_per_second"] > 0);
    double least = 1e9, most = 0;
    for (std::size_t quarter = 0; quarter < 4; ++quarter) {
      const double loss = steps[i].loss_by_time[quarter];
      if (std::isnan(loss)) {
        CHECK(lines[i]["loss_by_time"][quarter].is_null());
        continue;
      }
      CHECK(lines[i]["loss_by_time"][quarter] == loss);
      least = std::min(least, loss);
      most = std::max(most, loss);
    }
    CHECK((least <= steps[i].loss && steps[i].loss <= most));
  }
}

TEST_CASE("metrics: means of quarters, whatever the number of timesteps") {
  LossByTime losses;
  for (const Index t : {0, 1, 2, 3, 4, 5, 6}) losses.add(t, 7, double(t));
  CHECK(losses.means()[0] == 0.5);  // t = 0, 1
  CHECK(losses.means()[1] == 2.5);  // 2, 3
  CHECK(losses.means()[2] == 4.5);
  CHECK(losses.means()[3] == 6);
  LossByTime one;
  one.add(0, 1, 3);
  CHECK(one.means()[0] == 3);
  CHECK(std::isnan(one.means()[3]));
}

TEST_CASE("metrics: a run that goes on has one line for each update, and none that is cut short") {
  const TemporaryFolder folder;
  {
    MetricsLog log(folder.path, 0);
    for (Index step = 1; step <= 5; ++step) log.write(step_of(step), 1);
  }
  {
    std::ofstream file(folder.path / metrics_name, std::ios::app);
    file << "{\"step\":6,\"loss\":0.";  // the program was killed
  }
  const auto steps = [&] {
    std::vector<Index> result;
    for (const auto& line : lines_of(folder.path)) result.push_back(line["step"].get<Index>());
    return result;
  };
  {
    MetricsLog log(folder.path, 3);  // the newest state is of update 3
    for (Index step = 4; step <= 7; ++step) log.write(step_of(step), 1);
  }
  CHECK(steps() == std::vector<Index>{1, 2, 3, 4, 5, 6, 7});
  const MetricsLog untouched(folder.path, 100);
  CHECK(steps().size() == 7);
  const MetricsLog anew(folder.path, 0);
  CHECK(steps().empty());
  CHECK_THROWS_AS(MetricsLog(folder.path / "no folder", 0), IoError);
}
