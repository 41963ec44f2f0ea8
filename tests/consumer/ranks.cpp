// A program of several ranks: mpirun -np 2 ranks.
#include <ddpm/ddpm.hpp>
#include <ddpm/distributed/mpi.hpp>
#include <iostream>

int main() {
  using namespace ddpm;
  // clang-format off
  return distributed::run_with_mpi([](distributed::MpiRanks& ranks) {
    const UNet<float> unet(UNetConfig::tiny(), Rng(1));
    Trainer<float> trainer(unet, Scheduler<float>(), {.batch_size = 2, .steps = 3, .accumulation = 4});
    trainer.distribute(ranks);
    trainer.fit(Tensor<float>({8, 28, 28, 1}, 0.5F));  // callbacks run on every rank
    if (ranks.rank() == 0) std::cout << "loss " << trainer.mean_loss() << '\n';
  });
  // clang-format on
}
