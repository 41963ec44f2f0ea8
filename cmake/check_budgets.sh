#!/bin/sh
# Measures what an include, a training program and an executable cost, and fails above the budget.
# Usage: check_budgets.sh BUILD_FOLDER
set -eu
cd "$(dirname "$0")/.."
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '#include <ddpm/ddpm.hpp>\n' > "$work/include.cpp"
cat > "$work/step.cpp" <<'END'
#include <ddpm/ddpm.hpp>
int main() {
  using namespace ddpm;
  const UNet<float> unet(UNetConfig::tiny(), Rng(1));
  Trainer<float> trainer(unet, Scheduler<float>(), {.batch_size = 1, .steps = 1});
  trainer.fit(Tensor<float>({1, 28, 28, 1}, 0.0F));
}
END

{ echo '#define DDPM_COMPILED'; cat "$work/step.cpp"; } > "$work/step_compiled.cpp" # with ddpm::compiled

# Processor seconds, the better of two, since the machine may be busy. The budgets are those of a machine on which a
# yardstick takes so long: for an include, which is parsed, <Eigen/Core>; for a training step, which is mostly optimised,
# a decomposition of Eigen's. On a slower machine they grow with it.
printf '#include <Eigen/Core>\n' > "$work/parse.cpp"
cat > "$work/optimise.cpp" <<'END'
#include <Eigen/Dense>
double solve(const Eigen::MatrixXd& a, const Eigen::VectorXd& b) {
  return Eigen::JacobiSVD<Eigen::MatrixXd>(a, Eigen::ComputeThinU).singularValues().sum() + a.fullPivLu().solve(b).sum();
}
END

# check NAME SECONDS MEGABYTES YARDSTICK SECONDS_OF_THE_YARDSTICK
check() {
  python3 - "$work" "$@" <<'END'
import os, subprocess, sys
work, name, seconds, megabytes, yardstick, usual = sys.argv[1:]
def compile(name):
    """Processor seconds and megabytes."""
    process = subprocess.Popen(["g++", "-std=c++20", "-O2", "-Iinclude", "-isystem", "/usr/include/eigen3",
                                "-c", f"{work}/{name}.cpp", "-o", f"{work}/{name}.o"])
    _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{name}.cpp does not compile")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3
rounds = [(compile(name), compile(yardstick)) for _ in range(2)]  # in turn: machines change their pace
best, peak = min(own for own, _ in rounds)
best_yardstick = min(other[0] for _, other in rounds)
budget = float(seconds) * max(1, best_yardstick / float(usual))
print(f"{name}.cpp: {best:.1f} s (budget {budget:.1f}), {peak:.0f} MB (budget {megabytes})")
sys.exit(best > 1.25 * budget or peak > float(megabytes))  # a shared machine's seconds vary by a quarter
END
}
status=0
check include 3 400 parse 1.2 || status=1
check step 10 700 optimise 6.3 || status=1
check step_compiled 4 500 optimise 6.3 || status=1
size=$(stat -c %s "$build/examples/train_mnist")
echo "train_mnist: $size bytes (budget 5 MB)"
[ "$size" -le 5000000 ] || status=1
exit $status
