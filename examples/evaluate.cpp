// Bits per dimension of a checkpoint on a data set, and the curve of progressive compression.
//
// SPDX-License-Identifier: MIT
#include "common.hpp"
#include "plot.hpp"

namespace {

using namespace examples;

struct Settings {
  std::string checkpoint, data, labels, format = "auto", csv = "rate_distortion.csv",
                                        picture = "rate_distortion.svg";
  Index skip = 0, limit = 0;
  int threads = 0;
  LikelihoodOptions options;
};

/// IDX files say so in their first bytes, folders of CIFAR-10 by their names.
std::string format_of(const std::string& path) {
  if (std::filesystem::is_directory(path)) {
    const auto batch = std::filesystem::path(path) / "data_batch_1.bin";
    return std::filesystem::exists(batch) || std::filesystem::exists(batch.string() + ".gz")
               ? "cifar10"
               : "folder";
  }
  const io::Bytes bytes = data::read_maybe_gzip(path);
  return bytes.size() > 3 && bytes[0] == 0 && bytes[1] == 0 && bytes[2] == 8 && bytes[3] == 3
             ? "idx"
             : "cifar10";
}

/// Images [skip, skip + limit) of the data, as numbers, and their labels if there are any.
data::LabelledImages<float> load(const Settings& s, const Shape& own, Index classes) {
  const std::string format = s.format == "auto" ? format_of(s.data) : s.format;
  require(s.labels.empty() || (classes > 0 && format == "idx"), "--labels: ",
          classes == 0 ? s.checkpoint + " was trained without labels" : "only for IDX files");
  const auto part = [&](const auto& all) {
    require(s.skip < all.size(), "--skip is ", s.skip, " of ", all.size(), " images");
    const Index left = all.size() - s.skip;
    return data::read_images<float>(all, s.skip, s.limit > 0 ? std::min(s.limit, left) : left);
  };
  if (format == "folder")
    return part(
        data::ImageFolder<float>(s.data, {.height = own[1], .width = own[2], .channels = own[3]}));
  const auto images = format == "cifar10" ? data::read_cifar10<float>(s.data)
                      : s.labels.empty()  ? data::read_idx_images<float>(s.data)
                                          : data::read_idx<float>(s.data, s.labels, classes);
  return part(classes > 0 ? images : images.with_labels({}));
}

void write_curve(const Settings& s, const Likelihood& result) {
  std::string csv = "t,rate_bits_per_dim,distortion_rmse_255\n";
  Plot plot{
      "Progressive compression", "rate, bits per dimension", "distortion, RMSE of 0 to 255", {}};
  for (const auto& [t, rate, rmse] : rate_distortion(result)) {
    csv += message(t, ",", rate, ",", rmse, "\n");
    plot.points.push_back({rate, rmse});
  }
  const std::string svg = plot.svg();
  io::write_file(s.csv, csv.data(), csv.size());
  io::write_file(s.picture, svg.data(), svg.size());
  std::cout << "wrote " << s.csv << " and " << s.picture << '\n';
}

/// The terms, about ten rows of them, and the sums.
void print(const Likelihood& result) {
  std::cout << "timesteps        bits/dim   rmse of x_0\n";
  const std::size_t count = result.terms.size(), step = std::max<std::size_t>(1, (count + 8) / 10);
  for (std::size_t first = 0, last; first < count; first = last) {
    last = first == 0 ? 1 : std::min(count, first + step);
    double bits = 0;
    for (std::size_t i = first; i < last; ++i) bits += result.terms[i].bits;
    const LikelihoodTerm& end = result.terms[last - 1];
    std::printf(
        "%5lld to %5lld   %9.5f   %8.3f\n", static_cast<long long>(result.terms[first].first),
        static_cast<long long>(end.first + end.count - 1), bits, 127.5 * std::sqrt(end.x_0_mse));
  }
  const double total = result.bits_per_dim(), N = static_cast<double>(result.of_image.size());
  double squares = 0;
  for (const double bits : result.of_image) squares += (bits - total) * (bits - total);
  std::printf("prior         %.3g\nrate          %.4f\ndistortion    %.4f\n", result.prior,
              result.rate(), result.distortion());
  std::printf("bits/dim      %.4f +- %.4f\n", total, std::sqrt(squares) / N);
  std::fflush(stdout);
}

/// The bound of the images in shards of 64; each rank evaluates some of them, and rank 0 gets all.
template <class Model>
Likelihood likelihood_on_ranks(const Model& model, const data::LabelledImages<float>& set,
                               LikelihoodOptions options, const Ranks& ranks) {
  constexpr Index shard = 64;
  const Index count = set.images.dim(0), shards = (count + shard - 1) / shard;
  const Index most = (shards + ranks.size() - 1) / ranks.size();
  const auto own = distributed::block_of(shards, most, ranks.rank());
  const Index terms = options.terms > 0 ? options.terms : model.scheduler.timesteps() - 1;
  const auto images_in = [&](Index i) { return std::min(shard, count - i * shard); };
  Index steps = 0, done = 0;
  for (Index i = own.first; i < own.first + own.count; ++i)
    steps += (images_in(i) + options.batch_size - 1) / options.batch_size * (terms + 1);
  ProgressDisplay display("evaluating", std::max<Index>(1, steps),
                          ranks.rank() == 0 ? Progress::automatic : Progress::silent);
  Likelihood result;
  std::vector<double> records;  // of each shard: prior, terms, images
  for (Index i = own.first; i < own.first + own.count; ++i) {
    const Index first = i * shard, images = images_in(i);
    options.first = first;
    if (!set.labels.empty())
      options.labels.assign(set.labels.begin() + first, set.labels.begin() + first + images);
    result =
        likelihood(model.network, model.scheduler, copy_of(set.images.slice(first, images)),
                   options, [&](Index, Index) {
                     display.update(++done, std::min(options.batch_size, images) * ranks.size());
                   });
    records.push_back(result.prior);
    for (const LikelihoodTerm& term : result.terms) {
      records.push_back(term.bits);
      records.push_back(term.x_0_mse);
    }
    result.of_image.resize(static_cast<std::size_t>(shard));
    records.insert(records.end(), result.of_image.begin(), result.of_image.end());
  }
  const Index record = 1 + 2 * (terms + 1) + shard;
  std::vector<double> all(static_cast<std::size_t>(shards * record));
  if (ranks.size() > 1)
    ranks.all_gather(std::span<const double>(records), std::span(all), most * record);
  else
    all = records;
  if (ranks.rank() != 0) return result;
  Likelihood sum;
  const double* from = all.data();
  for (Index i = 0; i < shards; ++i) {
    result.prior = *from++;
    for (LikelihoodTerm& term : result.terms) {
      term.bits = *from++;
      term.x_0_mse = *from++;
    }
    result.of_image.assign(from, from + images_in(i));
    from += shard;
    if (i == 0)
      sum = result;
    else
      sum.add(result);
  }
  return sum;
}

template <class Model>
void evaluate(const Settings& s, const Model& model, const Ranks& ranks) {
  const auto set = load(s, model.network.sample_shape(1), model.network.classes());
  LikelihoodOptions options = s.options;
  options.labels = set.labels;
  const Index terms = options.terms > 0 ? options.terms : model.scheduler.timesteps() - 1;
  io::Crc32 images;
  images.add(set.images.data(), static_cast<std::size_t>(set.images.size()) * sizeof(float));
  images.add(set.labels.data(), set.labels.size() * sizeof(Index));
  require_same(ranks,
               {{"weights", message(weights_sum(model.network))},
                {"images", message(set.images.dim(0), " ", images.value())},
                {"settings", message(terms, " ", options.seed, " ", name_of(options.precision))}});
  std::cout << "settings\n";
  echo("checkpoint", s.checkpoint);
  echo("parameters", nn::parameter_count<float>(model.network));
  echo("images", set.images.shape(), options.labels.empty() ? "" : ", with their classes");
  echo("terms", terms, " and the decoder's");
  echo("seed", options.seed);
  echo("precision", name_of(s.options.precision));
  echo("threads", num_threads());
  std::cout << std::flush;
  const auto result = likelihood_on_ranks(model, set, options, ranks);
  if (ranks.rank() != 0) return;
  print(result);
  write_curve(s, result);
}

}  // namespace

int main(int count, char** arguments) {
  CLI::App app{
      "Bits per dimension of images under a checkpoint: the variational bound and its terms (Ho et "
      "al. 2020, equation 5), and the curve of progressive compression (figure 5)."};
  Settings s;
  app.option_defaults()->always_capture_default();
  app.add_option("checkpoint", s.checkpoint, checkpoint_help)->required();
  app.add_option("data", s.data, "IDX file, CIFAR-10 file or folder, or folder of pictures")
      ->required();
  app.add_option("--labels", s.labels, "IDX file of labels, for a network trained with labels");
  app.add_option("--format", s.format, "format of the data")
      ->check(CLI::IsMember({"auto", "idx", "cifar10", "folder"}));
  app.add_option("--skip", s.skip, "leave out the first so many images, which training has seen");
  app.add_option("--limit", s.limit, "use only so many images; 0: all of them");
  app.add_option(
      "--terms", s.options.terms,
      "number of timesteps drawn for each image, for an unbiased estimate; 0: all of them");
  app.add_option("--batch", s.options.batch_size,
                 "number of images at once, at most 64, which changes no result");
  app.add_option("--seed", s.options.seed, "seed of the noise");
  app.add_option("--csv", s.csv, "CSV file to write, with the curve");
  app.add_option("--picture", s.picture, "SVG file to write, with the curve as a picture");
  add_enum_option(app, "--precision", s.options.precision,
                  "what the factors of products are rounded to");
  app.add_option("--threads", s.threads, "threads that work; 0: as many as processors");
  CLI11_PARSE(app, count, arguments);
  const auto run = [&](const Ranks& ranks) {
    if (s.threads != 0) set_num_threads(s.threads);
    require(s.skip >= 0, "--skip is ", s.skip, ", must not be negative");
    require(s.limit >= 0, "--limit is ", s.limit, ", must not be negative");
    require(s.options.batch_size >= 1, "--batch is ", s.options.batch_size,
            ", expected at least 1");
    with_checkpoint(s.checkpoint, [&](const auto& model) { evaluate(s, model, ranks); });
  };
  return on_ranks([&](const Ranks& ranks) { return report_errors([&] { run(ranks); }); });
}
