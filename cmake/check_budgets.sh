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

# The best of three, since the machine may be busy: name, seconds allowed, MB allowed.
check() {
  python3 - "$1" "$2" "$3" "$work" <<'END'
import resource, subprocess, sys, time
name, seconds, megabytes, work = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
command = ["g++", "-std=c++20", "-O2", "-Iinclude", "-isystem", "/usr/include/eigen3",
           "-c", f"{work}/{name}.cpp", "-o", f"{work}/{name}.o"]
best = 1e9
for _ in range(3):
    start = time.perf_counter()
    subprocess.run(command, check=True)
    best = min(best, time.perf_counter() - start)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
print(f"{name}.cpp: {best:.1f} s (budget {seconds:.0f}), {peak:.0f} MB (budget {megabytes:.0f})")
sys.exit(best > seconds or peak > megabytes)
END
}
status=0
check include 3 400 || status=1
check step 10 700 || status=1
size=$(stat -c %s "$build/examples/train_mnist")
echo "train_mnist: $size bytes (budget 5 MB)"
[ "$size" -le 5000000 ] || status=1
exit $status
