#!/usr/bin/env python3
"""Predicts how well a training scales to many machines, from the times that bench_ranks printed of one step.

    step = compute + what of the communication is left once the last gradient is done
    a bucket of n bytes on R machines takes  2 (R - 1) (n / R / bandwidth + latency)

Buckets go one after the other, each when it is ready. The tree of sums has log2 R levels, but a machine adds all parts of its
block itself, so its depth costs no messages.

Run: scaling.py LATENCY_MICROSECONDS FILE...    each FILE holds what bench_ranks printed; its batch is taken from there
     scaling.py --check FILE GBIT/S MICROSECONDS SECONDS     compares with a measured step of two ranks on such a link
     --speed X: a machine that computes X times as fast as what was measured
"""
import argparse
import json
import re
import sys


def read(path):
    text = open(path).read()
    times = json.loads([line for line in text.splitlines() if line.startswith("{")][-1])
    return times, int(re.search(r"batch (\d+)", text)[1])


def step(times, machines, gigabits, latency, speed=1.0):
    """Seconds of a step, and of its computation only."""
    bandwidth, clock = gigabits / 8 * 1e9, 0.0
    compute = (times["step"] - (times["end"] - times["gradients_done"])) / speed
    for size, ready, *_ in times["buckets"]:
        clock = max(clock, ready / speed) + 2 * (machines - 1) * (size / machines / bandwidth + latency)
    return compute + max(0.0, clock - times["gradients_done"] / speed), compute


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("arguments", nargs="+")
    args = parser.parse_intermixed_args()
    if args.check:
        path, gigabits, latency, seconds = args.arguments
        predicted, _ = step(read(path)[0], 2, float(gigabits), 1e-6 * float(latency))
        print(f"{gigabits} Gbit/s: predicted {predicted:.3f} s, measured {float(seconds):.3f} s")
        return
    latency, files = 1e-6 * float(args.arguments[0]), args.arguments[1:]
    print("| network, images per machine | link | 8 | 16 | 32 | 64 machines | smallest batch for 90 % at 64 |\n|---|---|---|---|---|---|---|")
    for path in files:
        times, batch = read(path)
        for gigabits in (10, 25, 100):
            cells = []
            for machines in (8, 16, 32, 64):
                total, compute = step(times, machines, gigabits, latency, args.speed)
                cells.append(f"{100 * compute / total:.0f} %")
            factor = 1.0  # a larger batch computes so much longer, and sends the same bytes
            while True:
                total, compute = step(times, 64, gigabits, latency, args.speed / factor)
                if compute / total >= 0.9 or factor > 1000:
                    break
                factor *= 1.01
            needed = batch if factor == 1 else int(-(-batch * factor // 1))
            print(f"| {path.split('/')[-1].split('.')[0]}, {batch} | {gigabits} Gbit/s | {' | '.join(cells)} | {needed} |")


if __name__ == "__main__":
    sys.exit(main())
