#!/usr/bin/env python3
"""Turns a PyTorch checkpoint of the paper's U-Net into one of ours.

    python3 examples/from_pytorch.py model.ckpt model.safetensors [--size 32] [--set scheduler.variance=fixed_large ...]

Takes the layout in which the paper's network is known in PyTorch (the code of DDIM, of pytorch_diffusion and their
followers): temb.dense.0, down.0.block.0.norm1, down.1.attn.0.q, down.0.downsample.conv, mid.block_1, up.0.upsample.conv,
norm_out, conv_out. A file may hold the state dict itself, or a list or dict with it inside; averaged weights, where
there are some, are preferred. The shape of the network follows from the weights; --size is that of the images. The
process is the paper's, linear with 1000 steps; --set changes a field of the metadata (docs/files.md lists them).

Networks of diffusers need no script: sample and train_* read their folders. Those of denoising-diffusion-pytorch
(init_conv, downs, ups) are other networks, with RMS norms, linear attention and a first kernel of 7x7: they have no
counterpart here. Needs PyTorch.
"""
import argparse
import json
import re
import struct
import sys

import torch

PROCESS = {"timesteps": "1000", "schedule": "linear", "beta_start": "1e-04", "beta_end": "0.02", "scale_range": "false",
           "betas": "", "zero_terminal_snr": "false", "prediction": "epsilon", "variance": "fixed_small",
           "clip_sample": "true", "thresholding": "false", "threshold_quantile": "0.995"}
SHARED = {"norm1": "norm1", "norm2": "norm2", "conv1": "conv1", "conv2": "conv2", "temb_proj": "time",
          "nin_shortcut": "shortcut", "norm": "norm", "proj_out": "out"}


def state_dict_in(content):
    """The network's tensors, without what training put around them."""
    if isinstance(content, (list, tuple)):
        parts = [part for part in content if isinstance(part, dict)]
    elif not any(torch.is_tensor(value) for value in content.values()):
        names = sorted(content, key=lambda name: "ema" not in str(name))
        parts = [content[name] for name in reversed(names) if isinstance(content[name], dict)]
    else:
        parts = [content]
    candidates = []
    for part in parts:
        for prefix in sorted({key.partition("conv_in.weight")[0] for key in part if key.endswith("conv_in.weight")},
                             key=lambda name: "ema" in name):
            tensors = {key[len(prefix):]: value for key, value in part.items()
                       if key.startswith(prefix) and torch.is_tensor(value)}
            if "temb.dense.0.weight" in tensors:
                candidates.append(tensors)
        if any(key.endswith("init_conv.weight") for key in part):
            sys.exit("this is a network of denoising-diffusion-pytorch, with RMS norms, linear attention and a first kernel "
                     "of 7x7, which has no counterpart here")
    if not candidates:
        sys.exit("found no state dict with conv_in.weight and temb.dense.0.weight")
    return candidates[-1]  # the averaged weights stand behind the others


def our_layout(tensor, kind):
    if kind == "norm" or tensor.dim() == 1:
        return tensor
    return tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor.t()


def rename(weights, blocks, levels):
    """The tensors under our names and in our layouts."""
    result, used = {}, set()

    def take(theirs, ours, kind="layer"):
        endings = (("weight", "gamma"), ("bias", "beta")) if kind == "norm" else (("weight", "weight"), ("bias", "bias"))
        for their_ending, our_ending in endings:
            name = f"{theirs}.{their_ending}"
            if name not in weights:
                sys.exit(f"{name} is missing")
            used.add(name)
            result[f"{ours}.{our_ending}"] = our_layout(weights[name], kind)

    def take_all(theirs, ours):
        for their_name, our_name in SHARED.items():
            if f"{theirs}.{their_name}.weight" in weights:
                take(f"{theirs}.{their_name}", f"{ours}.{our_name}", "norm" if "norm" in our_name else "layer")

    def attention(theirs, ours):
        take_all(theirs, ours)
        for ending in ("weight", "bias"):
            parts = [weights[f"{theirs}.{part}.{ending}"] for part in "qkv"]
            used.update(f"{theirs}.{part}.{ending}" for part in "qkv")
            parts = [part[:, :, None, None] if part.dim() == 2 else part for part in parts]
            result[f"{ours}.qkv.{ending}"] = our_layout(torch.cat(parts), "layer")

    def stage(theirs, number, ours):
        take_all(f"{theirs}.block.{number}", f"{ours}.block")
        if f"{theirs}.attn.{number}.q.weight" in weights:
            attention(f"{theirs}.attn.{number}", f"{ours}.attention")

    take("temb.dense.0", "time.linear1")
    take("temb.dense.1", "time.linear2")
    take("conv_in", "conv_in")
    for level in range(levels):
        for number in range(blocks):
            stage(f"down.{level}", number, f"down.{level}.stages.{number}")
        if level + 1 < levels:
            take(f"down.{level}.downsample.conv", f"down.{level}.resample")
    take_all("mid.block_1", "middle.0.block")
    attention("mid.attn_1", "middle.0.attention")
    take_all("mid.block_2", "middle.1.block")
    for level in range(levels):
        theirs, ours = f"up.{level}", f"up.{levels - 1 - level}"
        for number in range(blocks + 1):
            stage(theirs, number, f"{ours}.stages.{number}")
        if level > 0:
            take(f"{theirs}.upsample.conv", f"{ours}.resample")
    take("norm_out", "norm_out", "norm")
    take("conv_out", "conv_out")
    left = sorted(set(weights) - used)
    if left:
        sys.exit("no counterpart here for " + ", ".join(left[:10]))
    return result


def configuration(weights, size, groups):
    """The network's fields, and its numbers of blocks and levels."""
    count = lambda pattern: len({match for key in weights for match in re.findall(pattern, key)})
    levels, blocks = count(r"^down\.(\d+)\."), count(r"^down\.0\.block\.(\d+)\.")
    channels, image_channels = weights["conv_in.weight"].shape[:2]
    widths = [weights[f"down.{level}.block.0.conv1.weight"].shape[0] for level in range(levels)]
    learned = weights["conv_out.weight"].shape[0] == 2 * image_channels
    attends = [str(level) for level in range(levels) if f"down.{level}.attn.0.q.weight" in weights]
    number = lambda value: str(int(value)) if value == int(value) else repr(value)
    return {"image_channels": str(image_channels), "image_height": str(size), "image_width": str(size), "classes": "0",
            "learn_variance": "true" if learned else "false", "channels": str(channels),
            "multipliers": ",".join(number(width / channels) for width in widths), "blocks": str(blocks),
            "attention_levels": ",".join(attends), "heads": "1", "groups": str(groups), "dropout": "0"}, blocks, levels


def write_safetensors(path, tensors, metadata):
    header, offset, blobs = {"__metadata__": metadata}, 0, []
    for name, tensor in tensors.items():
        blob = tensor.detach().to(torch.float32).contiguous().cpu().numpy().tobytes()
        header[name] = dict(dtype="F32", shape=list(tensor.shape), data_offsets=[offset, offset + len(blob)])
        offset += len(blob)
        blobs.append(blob)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        file.writelines(blobs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    parser.add_argument("--size", type=int, default=32, help="pixels of the images' sides")
    parser.add_argument("--groups", type=int, default=32, help="of every group norm, which the weights do not tell")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    arguments = parser.parse_args()
    weights = state_dict_in(torch.load(arguments.checkpoint, map_location="cpu", weights_only=True))
    fields, blocks, levels = configuration(weights, arguments.size, arguments.groups)
    metadata = {"format": "ddpm", "network": "UNet"} | {f"network.{key}": value for key, value in fields.items()}
    metadata |= {f"scheduler.{key}": value for key, value in PROCESS.items()}
    for pair in arguments.set:
        name, _, value = pair.partition("=")
        if name not in metadata:
            sys.exit(f"--set {pair}: the fields are {', '.join(metadata)}")
        metadata[name] = value
    write_safetensors(arguments.out, rename(weights, blocks, levels), metadata)
    print("wrote", arguments.out)


if __name__ == "__main__":
    main()
