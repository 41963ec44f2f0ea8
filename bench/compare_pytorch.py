#!/usr/bin/env python3
"""This library against PyTorch: a training step and a denoising step of the three presets, sides alternating.

    python3 bench/compare_pytorch.py BUILD_FOLDER [--threads 2] [--rounds 5] [--presets ...] [--json FILE]

BUILD_FOLDER holds a Release build with -DDDPM_BUILD_BENCH=ON. Needs an interpreter with PyTorch. A training step is
forward, mean squared error, backward and Adam; a denoising step is forward without gradients; both in float32. PyTorch
runs in three modes (eager, channels_last, compile); the ratio is that of the fastest mode's median to ours.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "parity"))
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from export import CASES  # noqa: E402
from networks import TutorialUNet, UNet  # noqa: E402

BATCH = {"ho2020_cifar10": 8, "mnist_small": 32, "tutorial": 32}
DROPOUT = {"ho2020_cifar10": 0.1}


class Peer:
    """One preset in one mode of PyTorch."""

    def __init__(self, preset, mode):
        kind, config, _, size = CASES[preset]
        torch.manual_seed(0)
        network = {"UNet": UNet, "TutorialUNet": TutorialUNet}[kind](**config)
        for module in network.modules():
            if hasattr(module, "dropout"):
                module.dropout.p = DROPOUT.get(preset, 0.0)
        self.x = torch.randn(BATCH[preset], config["image_channels"], size, size)
        self.t = torch.randint(0, 1000, (BATCH[preset],))
        if mode != "eager":
            network = network.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.network, self.adam = network, torch.optim.Adam(network.parameters(), 2e-4)
        self.run = torch.compile(network) if mode == "compile" else network

    def train(self):
        self.network.train()
        self.adam.zero_grad()
        F.mse_loss(self.run(self.x, self.t), torch.randn_like(self.x)).backward()
        self.adam.step()

    def denoise(self):
        self.network.eval()
        with torch.no_grad():
            self.run(self.x, self.t)


def seconds(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def ours(build, preset, what, threads):
    """Mean seconds of one step, from a process that warms up first."""
    name = f"{what}_step/{preset}/batch:{BATCH[preset]}/threads:{threads}"
    out = subprocess.run([f"{build}/bench/bench_unet", f"--benchmark_filter=^{name}/", "--benchmark_format=json"],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)["benchmarks"][0]["real_time"] / 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--presets", default=",".join(BATCH))
    parser.add_argument("--modes", default="eager,channels_last,compile")
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    print(f"PyTorch {torch.__version__}, {args.threads} threads, median of {args.rounds} alternating rounds")
    print(f"{'preset':16}{'batch':>6}  {'step':8}{'PyTorch s':>10}  {'mode':14}{'ddpm s':>8}{'ratio':>7}{'(rounds)':>16}")
    for preset in args.presets.split(","):
        peers = {mode: Peer(preset, mode) for mode in args.modes.split(",")}
        for what in ("train", "denoise"):
            for peer in peers.values():  # compile, fill caches
                for _ in range(3):
                    getattr(peer, what)()
            times, mine = {mode: [] for mode in peers}, []
            for _ in range(args.rounds):
                for mode, peer in peers.items():
                    times[mode].append(statistics.mean(seconds(getattr(peer, what)) for _ in range(3)))
                mine.append(ours(args.build, preset, what, args.threads))
            medians = {mode: statistics.median(values) for mode, values in times.items()}
            best = min(medians, key=medians.get)
            ratio = medians[best] / statistics.median(mine)
            each = [a / b for a, b in zip(times[best], mine)]
            rows.append(dict(preset=preset, batch=BATCH[preset], step=what, threads=args.threads, torch=torch.__version__,
                             torch_seconds=times, ddpm_seconds=mine, fastest_mode=best, ratio=ratio))
            print(f"{preset:16}{BATCH[preset]:6}  {what:8}{medians[best]:10.3f}  {best:14}{statistics.median(mine):8.3f}"
                  f"{ratio:7.2f}{min(each):8.2f} - {max(each):.2f}", flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
