#!/usr/bin/env python3
"""Writes a parity case: weights, inputs, PyTorch's output and PyTorch's gradients of every parameter.

    python3 export.py CASE FILE        CASE: one of the names at the end

The small cases in this folder are committed; the full-size presets are made on demand (see full_size.sh).
L = <dy, y>. Computed in double from float32 values, so that the file holds what is true and not one engine's rounding.
Needs PyTorch.
"""
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples"))
from from_pytorch import write_safetensors  # noqa: E402
from networks import TutorialUNet, UNet, in_our_layout, to_nhwc


def text(value):
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def export(path, kind, config, batch, size):
    torch.manual_seed(1)
    network = {"UNet": UNet, "TutorialUNet": TutorialUNet}[kind](**config)
    with torch.no_grad():  # PyTorch's own start leaves norms at 1 and 0: move everything
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    network.double()
    x = torch.randn(batch, config["image_channels"], size, size).double().requires_grad_()
    t = torch.tensor([(37 + 412 * n) % 1000 for n in range(batch)])
    dy = torch.randn(x.shape).double()
    y = network(x, t)
    (dy * y).sum().backward()

    tensors = {"x": to_nhwc(x), "t": t.double(), "dy": to_nhwc(dy), "y": to_nhwc(y), "dx": to_nhwc(x.grad)}
    tensors |= {"weight/" + k: v for k, v in in_our_layout(network, lambda p: p).items()}
    tensors |= {"grad/" + k: v for k, v in in_our_layout(network, lambda p: p.grad).items()}
    metadata = {"network." + k: text(v) for k, v in config.items()}
    metadata |= {"network": kind, "network.dropout": "0", "network.image_height": str(size),
                 "network.image_width": str(size)}
    write_safetensors(path, tensors, metadata)


CASES = {
    "unet_small": ("UNet", dict(image_channels=2, channels=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), heads=1,
                                groups=4), 2, 8),
    "tutorial_small": ("TutorialUNet", dict(image_channels=1, levels=(8, 16), attention_levels=(1,), heads=2, groups=4), 2, 12),
    "ho2020_cifar10": ("UNet", dict(image_channels=3, channels=128, multipliers=(1, 2, 2, 2), blocks=2, attention_levels=(1,),
                                    heads=1, groups=32), 2, 32),
    "mnist_small": ("UNet", dict(image_channels=1, channels=32, multipliers=(1, 2, 4, 4), blocks=1, attention_levels=(1,),
                                 heads=1, groups=32), 4, 32),
    "tutorial": ("TutorialUNet", dict(image_channels=3, levels=(32, 64, 128, 256), attention_levels=(1,), heads=4, groups=32),
                 4, 32),
}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in CASES:
        sys.exit(f"usage: export.py CASE FILE; CASE is one of {', '.join(CASES)}")
    export(sys.argv[2], *CASES[sys.argv[1]])
