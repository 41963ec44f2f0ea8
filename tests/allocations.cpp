// In steady state a training step takes nothing from the system: counts every call of malloc and
// its relations, and of operator new, in this process.
#include <ddpm/ddpm.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>

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
long steady_state_calls(const Network& network, ddpm::Index channels) {
  using namespace ddpm;
  Tensor<float> images({10, 12, 12, channels}, 0.5F);
  long before = 0, after = 0;
  TrainerOptions options;
  options.batch_size = 4;
  options.steps = 12;
  options.horizontal_flip = true;
  options.progress = Progress::silent;
  options.on_step = [&](const TrainingStep& step) {
    if (step.step == 6) before = calls;
    if (step.step == 12) after = calls;
  };
  Trainer<float, Network> trainer(network, Scheduler<float>(), options);
  trainer.fit(images);
  return after - before;
}

}  // namespace

int main() {
  using namespace ddpm;
  set_num_threads(3);
  const long start = calls;
  const UNet<float> unet(
      {.image_channels = 1, .channels = 8, .multipliers = {1, 2}, .blocks = 1, .groups = 4},
      Rng(1));
  const TutorialUNet<float> tutorial({.levels = {8, 16}, .heads = 2, .groups = 4}, Rng(1));
  if (calls == start) {
    std::puts("the count does not work: building two networks allocated nothing");
    return 1;
  }
  const long in_unet = steady_state_calls(unet, 1), in_tutorial = steady_state_calls(tutorial, 3);
  std::printf("calls of the allocator in six steps: U-Net %ld, tutorial's network %ld\n", in_unet,
              in_tutorial);
  return in_unet == 0 && in_tutorial == 0 ? 0 : 1;
}
