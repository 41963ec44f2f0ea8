#!/usr/bin/env python3
"""Draws the layers of bench_conv2d under the machine's roofs, as an SVG.

    bench_conv2d --benchmark_filter='^conv2d/' --benchmark_out=conv2d.json
    python3 bench/roofline.py conv2d.json roofline.svg

Across: operations of direct convolution for each byte of input, weights and output. Up: GFLOP/s. Round: direct;
square: Winograd, which does a quarter of the multiplications and so may pass the roof. Both axes logarithmic.
"""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 520, 70, 60, 30, 230
X_RANGE, Y_RANGE = (4, 2000), (20, 4000)


def x_of(value):
    share = math.log(value / X_RANGE[0]) / math.log(X_RANGE[1] / X_RANGE[0])
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_of(value):
    share = math.log(value / Y_RANGE[0]) / math.log(Y_RANGE[1] / Y_RANGE[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def line(x1, y1, x2, y2, style):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def text(x, y, words, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def axes():
    grid = 'stroke="#ddd"'
    for decade in (10, 100, 1000):
        for step in (1, 2, 5):
            if X_RANGE[0] <= decade * step <= X_RANGE[1]:
                x = x_of(decade * step)
                yield line(x, TOP, x, HEIGHT - BOTTOM, grid)
                yield text(x, HEIGHT - BOTTOM + 16, decade * step, "middle")
            if Y_RANGE[0] <= decade * step <= Y_RANGE[1]:
                y = y_of(decade * step)
                yield line(LEFT, y, WIDTH - RIGHT, y, grid)
                yield text(LEFT - 6, y + 4, decade * step, "end")
    yield text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "operations a byte", "middle")
    yield text(LEFT, TOP - 12, "GFLOP/s")


def roofs(peak, bandwidth):
    style = 'stroke="#333" stroke-width="2"'
    ridge = peak / bandwidth
    start = max(X_RANGE[0], Y_RANGE[0] / bandwidth)
    yield line(x_of(start), y_of(start * bandwidth), x_of(ridge), y_of(peak), style)
    yield line(x_of(ridge), y_of(peak), x_of(X_RANGE[1]), y_of(peak), style)
    yield text(x_of(ridge) + 4, y_of(peak) - 6, f"peak {peak:.0f} GFLOP/s, memory {bandwidth:.0f} GB/s")


def points(benchmarks):
    layers = {}
    for run in benchmarks:
        fields = dict(part.split(":") for part in run["name"].split("/") if ":" in part)
        layer = "{N}x{HW}x{HW}, {in} to {out}, {kernel}x{kernel}/{stride}".format(**fields)
        layers.setdefault(layer, []).append((fields["direct"] == "1", run["intensity"], run["GFLOP/s"]))
    for number, (layer, runs) in enumerate(layers.items()):
        colour = f"hsl({number * 137 % 360}, 70%, 40%)"
        for direct, intensity, speed in runs:
            x, y = x_of(intensity), y_of(speed)
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>' if direct else \
                f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{colour}"/>'
        y = TOP + 6 + number * 22
        yield f'<circle cx="{WIDTH - RIGHT + 16}" cy="{y}" r="5" fill="{colour}"/>'
        yield text(WIDTH - RIGHT + 28, y + 4, layer)


def main():
    with open(sys.argv[1]) as file:
        measured = json.load(file)
    peak, bandwidth = (float(measured["context"][name]) for name in ("peak", "bandwidth"))
    parts = [*axes(), *roofs(peak, bandwidth), *points(measured["benchmarks"])]
    with open(sys.argv[2], "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
                   'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
                   + "\n".join(parts) + "\n</svg>\n")


if __name__ == "__main__":
    main()
