// Draws pictures from a checkpoint: a grid, and a strip that shows one coming out of the noise; or
// as many pictures as wanted into a folder, where a run that was stopped goes on.
//
// SPDX-License-Identifier: MIT
#include <fstream>

#include "common.hpp"

namespace {

using namespace examples;

/// All that the pictures of a folder follow from.
template <class Model>
io::Metadata description(const Model& model, const SampleOptions& options) {
  std::string labels;
  for (const Index label : options.labels) labels += message(label, " ");
  io::Metadata text{{"weights", message(weights_sum(model.network))},
                    {"seed", message(options.seed)},
                    {"size", message(options.height, " x ", options.width)},
                    {"sampler", message(name_of(options.sampler))},
                    {"steps", message(options.steps)},
                    {"spacing", message(name_of(options.spacing))},
                    {"eta", message(options.eta)},
                    {"noise", message(name_of(options.noise))},
                    {"classes", labels},
                    {"guidance", message(options.guidance)},
                    {"precision", message(name_of(options.precision))}};
  write_config(model.scheduler.config(), "scheduler", text);
  return text;
}

/// Throws IoError if the folder holds pictures that were drawn otherwise; notes how they are drawn.
void check_folder(const std::filesystem::path& folder, const io::Metadata& wanted) {
  const auto path = folder / "settings.txt";
  if (!std::filesystem::exists(path)) {
    std::string text;
    for (const auto& [key, value] : wanted) text += message(key, " = ", value, "\n");
    return io::write_file(path, text.data(), text.size());
  }
  std::ifstream file(path);
  io::Metadata there;
  for (std::string line; std::getline(file, line);)
    if (const auto equals = line.find(" = "); equals != line.npos)
      there[line.substr(0, equals)] = line.substr(equals + 3);
  there.emplace("precision", "float32");  // of folders from before there was a choice
  there.emplace("noise", "philox");
  const std::string differences = ddpm::detail::differences(there, wanted, {""});
  if (!differences.empty())
    throw IoError(message(folder.string(), " holds pictures drawn with other settings:",
                          differences, "\ntake another --folder"));
}

std::filesystem::path picture_path(const std::filesystem::path& folder, Index number) {
  return folder / (ddpm::detail::zero_padded(number, 6) + ".png");
}

/// Draws the pictures that the folder does not hold yet, a file each, in batches; a rank its part.
template <class Model>
void draw_into_folder(const Model& model, const SampleOptions& all, const std::string& folder,
                      const Ranks& ranks) {
  SampleOptions options = share_of(all, ranks);
  require(options.noise != NoiseKind::pytorch_batch,
          "--folder with --noise pytorch_batch: a picture's noise then depends on which others are "
          "drawn with it; take --noise pytorch, or --grid");
  check_sampling(model.network, model.scheduler, all);
  check_writable(folder);
  check_folder(folder, description(model, all));
  note_stop_signals();
  const Index end = options.first + options.count;
  std::vector<Index> missing;
  for (Index number = options.first; number < end; ++number)
    if (!std::filesystem::exists(picture_path(folder, number))) missing.push_back(number);
  std::cout << folder << ": " << options.count - std::ssize(missing) << " of " << options.count
            << (ranks.size() > 1 ? " pictures of rank 0 are there\n" : " pictures are there\n")
            << std::flush;
  ProgressDisplay display("sampling", std::max<Index>(1, std::ssize(missing)),
                          ranks.rank() == 0 ? Progress::automatic : Progress::silent);
  for (std::size_t done = 0; done < missing.size();) {
    options.first = missing[done];
    options.count = 1;  // as many as follow each other
    while (options.count < options.batch_size &&
           done + static_cast<std::size_t>(options.count) < missing.size() &&
           missing[done + static_cast<std::size_t>(options.count)] == options.first + options.count)
      ++options.count;
    const Tensor<float> pictures =
        sample(model.network, model.scheduler, options,
               [](const SampleProgress<float>&) { throw_if_interrupted(); });
    for (Index i = 0; i < options.count; ++i) {
      const View<float> picture = pictures.slice(i, 1);
      io::write_image<float>(
          picture_path(folder, options.first + i),
          View<const float>(picture.data, {pictures.dim(1), pictures.dim(2), pictures.dim(3)}));
      display.update(static_cast<Index>(++done), 1);
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  CLI::App app{"Draws pictures from a checkpoint that one of the training programs wrote."};
  std::string checkpoint, grid = "samples.png", strip = "strip.png", folder;
  SampleOptions options;
  options.count = 64;
  int threads = 0;
  app.option_defaults()->always_capture_default();
  app.add_option("checkpoint,--model", checkpoint, checkpoint_help)->required();
  app.add_option("--count", options.count, "number of pictures");
  app.add_option("--seed", options.seed,
                 "seed of the pictures; picture i follows from the seed and first + i only");
  app.add_option("--first", options.first, "the number that the first picture has");
  app.add_option("--batch", options.batch_size,
                 "number of pictures drawn at once, which changes none of them");
  app.add_option("--height", options.height, "height of the pictures in pixels; 0: as trained");
  app.add_option("--width", options.width, "width of the pictures in pixels; 0: as trained");
  SamplerChoice choice(app, options);
  add_enum_option(app, "--noise", options.noise,
                  "whose random numbers: philox, this library's; pytorch, those of a generator for "
                  "each picture, seeded with the seed plus its number; pytorch_batch, those of one "
                  "generator for all, as a pipeline of diffusers has them. One of");
  add_class_options(app, options);
  app.add_option("--grid", grid, "PNG file to write, with all pictures");
  app.add_option("--strip", strip,
                 "PNG file to write, with one picture coming out of the noise; empty: none");
  app.add_option("--folder", folder,
                 "folder to write instead, each picture under its number; those that are there are "
                 "left out, so that a run that was stopped goes on");
  add_enum_option(app, "--precision", options.precision,
                  "what the factors of products are rounded to");
  app.add_option("--threads", threads, "threads that work; 0: as many as processors");
  CLI11_PARSE(app, count, arguments);
  const auto run = [&](const Ranks& ranks) {
    if (threads != 0) set_num_threads(threads);
    for (const std::string& file : {grid, strip})
      if (!file.empty() && folder.empty() && ranks.rank() == 0)
        check_writable(std::filesystem::absolute(file).parent_path());
    const auto draw = [&](const auto& model) {
      const auto& scheduler = model.scheduler;
      if constexpr (requires { model.sampling; }) choice.take(model.sampling);
      choice.complete(scheduler);
      const Shape own = model.network.sample_shape(1);
      std::cout << "settings\n";
      echo("checkpoint", checkpoint);
      echo("parameters", nn::parameter_count<float>(model.network));
      echo("pictures", options.count, " of ", options.height > 0 ? options.height : own[1], " x ",
           options.width > 0 ? options.width : own[2]);
      echo_sampling(options, scheduler.timesteps());
      echo("seed", options.seed, ", random numbers of ", name_of(options.noise));
      echo("precision", name_of(options.precision));
      echo("threads", num_threads());
      if (ranks.size() > 1) echo("ranks", ranks.size());
      io::Metadata all = description(model, options);
      all["number of pictures"] = message(options.first, " ", options.count);
      require_same(ranks, all);
      if (folder.empty())
        write_samples(model.network, scheduler, options, grid, strip, ranks);
      else
        draw_into_folder(model, options, folder, ranks);
    };
    with_checkpoint(checkpoint, draw);
  };
  return on_ranks([&](const Ranks& ranks) { return report_errors([&] { run(ranks); }); });
}
