// A program of several ranks: mpirun -np 2 ranks. With an argument a rank ends by an exception
// while the other one waits for it.
#include <ddpm/ddpm.hpp>
#include <ddpm/distributed/mpi.hpp>
#include <iostream>

int main(int arguments, char**) {
  using namespace ddpm;
  if (arguments > 1) try {
      distributed::MpiRanks ranks;
      if (ranks.rank() == 1) throw std::runtime_error("no more");
      const Index mine = 1;
      distributed::Ranks(ranks).gather(std::span(&mine, 1));
    } catch (const std::exception&) {
      return 1;
    }
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
