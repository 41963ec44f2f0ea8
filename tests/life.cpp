// How processes begin and end, each a run of this program of its own: ddpm_life MODE.
#include <ddpm/ddpm.hpp>

#include <sys/resource.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstring>

namespace {

using namespace ddpm;

/// The loss of the last update of a short training.
double train(Index steps = 2) {
  const UNet<float> network(
      {.image = {.channels = 1}, .channels = 8, .multipliers = {1, 2}, .blocks = 1, .groups = 4},
      Rng(1));
  TrainerOptions options;
  options.batch_size = 4;
  options.steps = steps;
  options.progress = Progress::silent;
  Trainer<float> trainer(network, Scheduler<float>(), options);
  double loss = 0;
  trainer.fit(Tensor<float>({8, 16, 16, 1}, 0.25F),
              [&](auto&, const TrainingStep& step) { loss = step.loss; });
  return loss;
}

int failed(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  return 1;
}

/// Trains before main() and after it.
struct StaticObject {
  double loss = train();
  bool watched = false;
  ~StaticObject() {
    if (watched && train() == loss) std::puts("trained after the end of main()");
    std::fflush(stdout);
  }
};
StaticObject object;

int with_static_objects() {
  object.watched = train() == object.loss;
  return object.watched ? 0 : failed("another loss in main() than before it");
}

/// A child of fork() trains as its parent does, also while another thread of the parent trains.
int with_fork() {
  set_num_threads(3);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) train(1);
  });
  int wrong = 0;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = ::fork();
    if (child == 0) std::exit(train() == object.loss ? 0 : 2);  // with destructors
    int status = 0;
    wrong += ::waitpid(child, &status, 0) != child || status != 0;
    wrong += train() != object.loss;
  }
  stop = true;
  other.join();
  return wrong == 0 ? 0 : failed("a child of fork() failed");
}

/// The process ends while another thread trains.
int with_running_thread() {
  set_num_threads(3);
  std::thread([] { train(1'000'000); }).detach();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  return 0;
}

/// More threads than the system gives: an error that tells how many, then one thread works.
int with_few_threads() {
  struct rlimit limit {};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = std::size_t{700'000} << 10;
  if (::setrlimit(RLIMIT_AS, &limit) != 0) return failed("setrlimit");
  for (int i = 0; i < 3; ++i) {
    try {
      set_num_threads(4000);
      return failed("4000 threads within 700 MB of addresses");
    } catch (const std::system_error& error) {
      const std::string text = error.what();
      if (text.find(" of 4000 threads can be started") == std::string::npos)
        return failed(text.c_str());
    }
    if (num_threads() != 1 || train() != object.loss) return failed("one thread does not work");
  }
  set_num_threads(3);
  return num_threads() == 3 && train() == object.loss ? 0 : failed("three threads do not work");
}

/// The most memory that this process has held.
double peak_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

/// What is said before a training is what the process holds at its peak, within 15 % [MB-1].
template <class Network>
int memory_of(const Network& network, Index batch, Variance variance, Loss loss) {
  const Index C = network.sample_shape(1)[3];
  const Tensor<float> images({2 * batch, 28, 28, C}, 0.5F);
  TrainerOptions options;
  options.batch_size = batch;
  options.steps = 3;
  options.loss.loss = loss;
  options.progress = Progress::silent;
  Trainer<float, Network> trainer(network, Scheduler<float>({.variance = variance}), options);
  const MemoryNeed need = trainer.memory_need({28, 28, C});
  const double said = static_cast<double>(process_bytes() + need.total() - need.model);
  trainer.fit(images);
  const double ratio = said / peak_bytes();
  std::printf("batch %d: said %.1f MB, held %.1f MB\n", static_cast<int>(batch), said / 1e6,
              peak_bytes() / 1e6);
  return ratio > 0.85 && ratio < 1.15 ? 0 : failed("not within 15 %");
}

/// Each in a process of its own, since a peak stays.
template <class F>
int in_child(const F& f) {
  const pid_t child = ::fork();
  if (child == 0) std::exit(f());
  int status = 0;
  return ::waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}

int memory_needs() {
  int wrong = 0;
  for (const int threads : {1, 2, 5})
    for (const Index batch : {1, 5, 32}) {
      wrong += in_child([&] {
        set_num_threads(threads);
        UNetConfig config = UNetConfig::tiny();
        config.image = {.channels = 1, .learn_variance = true};
        return memory_of(UNet<float>(config, Rng(1)), batch, Variance::learned_range, Loss::hybrid);
      });
      wrong += in_child([&] {
        set_num_threads(threads);
        TutorialUNetConfig config = TutorialUNetConfig::tutorial();
        config.image.channels = 3;
        return memory_of(TutorialUNet<float>(config, Rng(1)), batch, Variance::fixed_small,
                         LossOptions().loss);
      });
    }
  return wrong;
}

}  // namespace

int main(int count, char** arguments) {
  const std::string mode = count == 2 ? arguments[1] : "";
  if (mode == "static_objects") return with_static_objects();
  if (mode == "fork") return with_fork();
  if (mode == "running_thread") return with_running_thread();
  if (mode == "few_threads") return with_few_threads();
  if (mode == "memory") return memory_needs();
  return failed("ddpm_life memory | static_objects | fork | running_thread | few_threads");
}
