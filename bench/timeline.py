#!/usr/bin/env python3
"""Draws when a step's buckets were ready and when they went between ranks, as SVG.

Run: mpirun -np 2 bench_ranks ho2020_cifar10 8 10 25 30 | bench/timeline.py timeline.svg
"""
import json
import sys

times = json.loads([line for line in sys.stdin if line.startswith("{")][-1])
buckets, end = times["buckets"], max(times["end"], times["step"])
width, row, left = 900, 12, 90
height = 60 + row * len(buckets)
x = lambda seconds: left + (width - left - 20) * seconds / end
lines = [f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' font-family='sans-serif' font-size='10'>",
         f"<rect width='{width}' height='{height}' fill='white'/>",
         f"<text x='{left}' y='14' font-size='12'>from ready (light) to sent and summed (dark), "
         f"{100 * times['hidden']:.0f} % of the communication before the last gradient was done</text>"]
for i, (size, ready, begin, done) in enumerate(buckets):
    y = 30 + row * i
    lines += [f"<text x='{left - 6}' y='{y + 9}' text-anchor='end'>{size / 1e6:.2f} MB</text>",
              f"<rect x='{x(ready):.1f}' y='{y}' width='{max(0.3, x(begin) - x(ready)):.1f}' height='{row - 2}' fill='#bcd'/>",
              f"<rect x='{x(begin):.1f}' y='{y}' width='{max(0.5, x(done) - x(begin)):.1f}' height='{row - 2}' fill='#246'/>"]
line = x(times["gradients_done"])
lines += [f"<line x1='{line:.1f}' x2='{line:.1f}' y1='22' y2='{height - 24}' stroke='#c33'/>",
          f"<text x='{line:.1f}' y='{height - 12}' text-anchor='middle'>gradients done, {times['gradients_done']:.3f} s</text>",
          f"<text x='{x(end):.1f}' y='{height - 2}' text-anchor='end'>step {times['step']:.3f} s</text>", "</svg>"]
open(sys.argv[1], "w").write("\n".join(lines) + "\n")
