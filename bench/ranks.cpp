// How long the steps of a training take on several ranks, and how much of the communication is
// hidden behind the backward pass: mpirun -np 2 bench_ranks PRESET BATCH STEPS [GBIT/S [MICROS]]
//
// The link may be slowed to so many Gbit/s and microseconds of latency: a transfer then takes at
// least as long as its bytes would there, while the processor is free. The last line of the output
// is JSON with the times of each bucket, for bench/timeline.py.
#include <ddpm/ddpm.hpp>
#include <ddpm/distributed/mpi.hpp>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

namespace {

using namespace ddpm;
using distributed::MpiRanks;
using Clock = std::chrono::steady_clock;

/// Ranks whose transfers take at least as long as on such a link, both ways at once.
class SlowRanks {
 public:
  SlowRanks(MpiRanks& ranks, double gigabits, double latency)
      : ranks_(ranks), bytes_per_second_(gigabits / 8 * 1e9), latency_(latency) {}

  Index rank() const { return ranks_.rank(); }
  Index size() const { return ranks_.size(); }
  void all_to_all(std::span<const std::byte> from, std::span<std::byte> to, std::size_t block) {
    const auto end = end_of(from.size());
    ranks_.all_to_all(from, to, block);
    std::this_thread::sleep_until(end);
  }
  void all_gather(std::span<const std::byte> from, std::span<std::byte> to, std::size_t block) {
    const auto end = end_of(to.size());
    ranks_.all_gather(from, to, block);
    std::this_thread::sleep_until(end);
  }
  void abort(const std::string& message) { ranks_.abort(message); }

 private:
  /// Each rank sends and gets the parts of all ranks but its own.
  Clock::time_point end_of(std::size_t bytes) const {
    const auto others = static_cast<double>(size() - 1);
    const double sent = static_cast<double>(bytes) * others / static_cast<double>(size());
    const double seconds = bytes_per_second_ > 0 ? sent / bytes_per_second_ + others * latency_ : 0;
    return Clock::now() +
           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

  MpiRanks& ranks_;
  double bytes_per_second_, latency_;
};

void print(const distributed::CommunicationTimes& times, double step) {
  std::cout << "{\"step\": " << step << ", \"gradients_done\": " << times.gradients_done
            << ", \"end\": " << times.end << ", \"hidden\": " << times.hidden_share()
            << ", \"buckets\": [";
  const char* comma = "";
  for (const auto& bucket : times.buckets) {
    std::cout << comma << "[" << bucket.bytes << ", " << bucket.ready << ", " << bucket.begin
              << ", " << bucket.end << "]";
    comma = ", ";
  }
  std::cout << "]}\n";
}

template <class Network>
void measure(const Network& network, Index batch, Index steps, SlowRanks ranks) {
  TrainerOptions options;
  options.batch_size = batch;
  options.accumulation = ranks.size();
  options.steps = steps;
  options.progress = Progress::silent;
  Trainer<float, Network> trainer(network, Scheduler<float>(), options);
  if (ranks.size() > 1) trainer.distribute(ranks);
  const Tensor<float> images({batch * ranks.size(), 32, 32, network.sample_shape(1)[3]}, 0.5F);
  std::vector<double> seconds, hidden;
  auto last = Clock::now();
  trainer.fit(images, [&](auto& running, const TrainingStep&) {
    const auto now = Clock::now();
    seconds.push_back(std::chrono::duration<double>(now - last).count());
    hidden.push_back(running.communication().hidden_share());
    last = now;
  });
  if (ranks.rank() != 0) return;
  std::sort(seconds.begin(), seconds.end());
  std::sort(hidden.begin(), hidden.end());
  std::cout << ranks.size() << " ranks, batch " << batch << " each: median step "
            << seconds[seconds.size() / 2] << " s, best " << seconds[0] << " s, hidden (median) "
            << hidden[hidden.size() / 2] << '\n';
  print(trainer.communication(), seconds[seconds.size() / 2]);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::cerr << "usage: bench_ranks PRESET BATCH STEPS [GBIT/S [MICROSECONDS]]\n";
    return 2;
  }
  const std::string preset = arguments[1];
  const Index batch = std::atoll(arguments[2]), steps = std::atoll(arguments[3]);
  const double gigabits = count > 4 ? std::atof(arguments[4]) : 0,
               latency = count > 5 ? 1e-6 * std::atof(arguments[5]) : 0;
  return distributed::run_with_mpi([&](MpiRanks& mpi) {
    const SlowRanks ranks(mpi, gigabits, latency);
    if (preset == "tutorial") {
      auto config = TutorialUNetConfig::tutorial();
      config.image.height = config.image.width = 32;
      return measure(TutorialUNet<float>(config, Rng(1)), batch, steps, ranks);
    }
    auto config =
        preset == "mnist_small" ? UNetConfig::mnist_small() : UNetConfig::ho2020_cifar10();
    config.image.height = config.image.width = 32;
    measure(UNet<float>(config, Rng(1)), batch, steps, ranks);
  });
}
