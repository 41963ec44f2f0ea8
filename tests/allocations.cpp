// In steady state a training step takes nothing from the system: counts every call of malloc and
// its relations, and of operator new, in this process.
#include <ddpm/ddpm.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "wake_threads.hpp"

namespace {
std::atomic<long> calls{0};
}

// glibc keeps its own names for the allocator, so that these may stand in front of them.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) {
  ++calls;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  ++calls;
  return __libc_calloc(count, size);
}
void* realloc(void* data, std::size_t size) {
  ++calls;
  return __libc_realloc(data, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  ++calls;
  return __libc_memalign(alignment, size);
}
}

namespace {

template <class Network>
long steady_state_calls(const Network& network, ddpm::Index channels,
                        const ddpm::SchedulerConfig& config = {},
                        ddpm::TrainerOptions options = {}) {
  using namespace ddpm;
  data::LabelledImages<float> set{Tensor<float>({10, 12, 12, channels}, 0.5F), {}};
  if (network.classes() > 0) set.labels.assign(10, 1);
  long before = 0, after = 0;
  options.batch_size = 4;
  options.steps = 12;
  options.horizontal_flip = true;
  options.progress = Progress::silent;
  Trainer<float, Network> trainer(network, Scheduler<float>(config), options);
  trainer.fit(set, [&](auto&, const TrainingStep& step) {
    if (step.step == 6) before = calls;
    if (step.step == 12) after = calls;
  });
  return after - before;
}

}  // namespace

int main() {
  using namespace ddpm;
  set_num_threads(3);
  wake_threads();
  const long start = calls;
  const UNet<float> unet(
      {.image = {.channels = 1}, .channels = 8, .multipliers = {1, 2}, .blocks = 1, .groups = 4},
      Rng(1));
  const TutorialUNet<float> tutorial({.levels = {8, 16}, .heads = 2, .groups = 4}, Rng(1));
  if (calls == start) {
    std::puts("the count does not work: building two networks allocated nothing");
    return 1;
  }
  UNetConfig config = unet.config;
  config.image.classes = 2;
  const UNet<float> labelled(config, Rng(1));
  config.image.learn_variance = true;
  const UNet<float> learned(config, Rng(1));
  const UNet<float> wide(
      {.image = {.channels = 1}, .channels = 32, .multipliers = {1, 2}, .blocks = 1, .groups = 8},
      Rng(1));
  const struct {
    const char* what;
    long calls;
  } runs[] = {
      {"U-Net", steady_state_calls(unet, 1)},
      {"tutorial's network", steady_state_calls(tutorial, 3)},
      {"bfloat16", steady_state_calls(wide, 1, {}, {.precision = Precision::bfloat16})},
      {"labels, timesteps by losses",
       steady_state_calls(
           labelled, 1, {.timesteps = 2},
           {.loss = {Loss::min_snr}, .timestep_sampling = TimestepSampling::loss_second_moment})},
      {"learned variance", steady_state_calls(learned, 1, {.variance = Variance::learned_range},
                                              {.loss = {Loss::hybrid}})},
  };
  long all = 0;
  for (const auto& [what, made] : runs) {
    std::printf("calls of the allocator in six steps: %s %ld\n", what, made);
    all += made;
  }
  return all == 0 ? 0 : 1;
}
