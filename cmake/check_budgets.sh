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

# Processor seconds, the best of five, since the machine may be busy: name, seconds allowed, MB allowed. The seconds are
# those of a machine on which <Eigen/Core> takes 1.2; on a slower one they grow.
printf '#include <Eigen/Core>\n' > "$work/eigen.cpp"
check() {
  python3 - "$1" "$2" "$3" "$work" <<'END'
import resource, subprocess, sys
name, seconds, megabytes, work = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
def compile_seconds(name):
    best = 1e9
    for _ in range(5):
        start = used()
        subprocess.run(["g++", "-std=c++20", "-O2", "-Iinclude", "-isystem", "/usr/include/eigen3",
                        "-c", f"{work}/{name}.cpp", "-o", f"{work}/{name}.o"], check=True)
        best = min(best, used() - start)
    return best
seconds *= max(1, compile_seconds("eigen") / 1.2)
best = compile_seconds(name)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
print(f"{name}.cpp: {best:.1f} s (budget {seconds:.1f}), {peak:.0f} MB (budget {megabytes:.0f})")
sys.exit(best > 1.25 * seconds or peak > megabytes)  # a shared machine's seconds vary by a quarter
END
}
status=0
check include 3 400 || status=1
check step 10 700 || status=1
size=$(stat -c %s "$build/examples/train_mnist")
echo "train_mnist: $size bytes (budget 5 MB)"
[ "$size" -le 5000000 ] || status=1
exit $status
