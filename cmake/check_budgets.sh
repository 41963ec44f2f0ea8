#!/bin/sh
# Measures what an include, a training program and an executable cost, and fails above the budget.
# Usage: check_budgets.sh BUILD_FOLDER
set -eu
cd "$(dirname "$0")/.."
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '#include <ddpm/ddpm.hpp>\n' > "$work/include.cpp"
cat > "$work/step.cpp" <<'END' # one update of a U-Net, by hand
#include <ddpm/ddpm.hpp>
int main() {
  using namespace ddpm;
  const UNet<float> unet(UNetConfig::tiny(), Rng(1));
  const Scheduler<float> scheduler;
  optim::Adam<float> adam(nn::parameters<float>(unet));
  const Tensor<float> images({1, 28, 28, 1}, 0.0F), noise(images.shape());
  Rng rng(2);
  fill_normal<float>(noise, rng);
  const std::vector<Index> t{500};
  const std::vector<double> times{500};
  const Tensor<float> noisy = scheduler.add_noise(images, noise, t);
  mse_loss(unet(Variable<float>(noisy), times), Variable<float>(noise)).backward();
  adam.step(2e-4);
}
END
cat > "$work/training.cpp" <<'END' # many, by a trainer, which also reads ahead and saves the run
#include <ddpm/ddpm.hpp>
int main() {
  using namespace ddpm;
  const UNet<float> unet(UNetConfig::tiny(), Rng(1));
  Trainer<float> trainer(unet, Scheduler<float>(), {.batch_size = 1, .steps = 1});
  trainer.fit(Tensor<float>({1, 28, 28, 1}, 0.0F));
}
END
{ echo '#define DDPM_COMPILED'; cat "$work/training.cpp"; } > "$work/training_compiled.cpp" # with ddpm::compiled

# The budgets are those of a machine on which a yardstick takes so long: for an include, which is parsed, <Eigen/Core>;
# for a training step, which is mostly optimised, a decomposition of Eigen's. On a slower machine they grow with it.
printf '#include <Eigen/Core>\n' > "$work/parse.cpp"
cat > "$work/optimise.cpp" <<'END'
#include <Eigen/Dense>
double solve(const Eigen::MatrixXd& a, const Eigen::VectorXd& b) {
  return Eigen::JacobiSVD<Eigen::MatrixXd>(a, Eigen::ComputeThinU).singularValues().sum() + a.fullPivLu().solve(b).sum();
}
END

status=0
python3 - "$work" <<'END' || status=1
import os, subprocess, sys
work = sys.argv[1]
# Yardstick, its usual seconds; programs with their seconds and megabytes.
TABLE = (("parse", 1.2, (("include", 3, 400),)),
         ("optimise", 6.3, (("training_compiled", 4.5, 500), ("step", 10, 700), ("training", 12, 700))))

def compile(name):
    """Processor seconds and megabytes."""
    command = ["g++", "-std=c++20", "-O2", "-Iinclude", "-isystem", "/usr/include/eigen3", "-c", f"{work}/{name}.cpp",
               "-o", f"{work}/{name}.o"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{name}.cpp does not compile:\n{said}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3

failed = False
for yardstick, usual, programs in TABLE:
    names = [yardstick] + [name for name, *_ in programs]
    rounds = [{name: compile(name) for name in names} for _ in range(2)]  # in turn: machines change their pace
    best = {name: min(each[name][0] for each in rounds) for name in names}
    for name, seconds, megabytes in programs:
        budget, peak = seconds * max(1, best[yardstick] / usual), rounds[0][name][1]
        print(f"{name}.cpp: {best[name]:.1f} s (budget {budget:.1f}), {peak:.0f} MB (budget {megabytes})")
        failed |= best[name] > budget or peak > megabytes
sys.exit(failed)
END
size=$(stat -c %s "$build/examples/train_mnist")
echo "train_mnist: $size bytes (budget 5 MB)"
[ "$size" -le 5000000 ] || status=1
exit $status
