#!/usr/bin/env python3
"""What bfloat16 changes in the output of a trained network, in PyTorch and OpenVINO beside this library.

    build/bench/bench_rounding CHECKPOINT FILE
    python3 bench/rounding.py CHECKPOINT FILE

CHECKPOINT is one of ours, of a network without labels; FILE has the inputs and our outputs. The difference is the root
mean square of that to the engine's own float32, over the standard deviation. OpenVINO runs at the precision that it
chooses by itself. Needs PyTorch, OpenVINO and ONNX (compare_pytorch.py installs them).
"""
import json
import pathlib
import struct
import sys
import tempfile
import warnings

import numpy
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "parity"))
from networks import TutorialUNet, UNet, in_our_layout  # noqa: E402


def read_safetensors(path):
    """The tensors, and the metadata."""
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        values = numpy.frombuffer(data[8 + length + first:8 + length + last], {"F32": "<f4", "F64": "<f8"}[entry["dtype"]])
        tensors[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return tensors, metadata


def network_of(path):
    """A checkpoint's network in PyTorch."""
    weights, metadata = read_safetensors(path)
    if metadata.get("network.classes", "0") != "0":
        sys.exit(f"{path}: trained with labels, which the network in PyTorch does not take")
    number = lambda key: int(metadata["network." + key])
    numbers = lambda key: tuple(int(v) for v in metadata["network." + key].split(",") if v)
    shared = dict(image_channels=number("image_channels"), attention_levels=numbers("attention_levels"),
                  heads=number("heads"), groups=number("groups"))
    if metadata["network"] == "UNet":
        network = UNet(channels=number("channels"), multipliers=numbers("multipliers"), blocks=number("blocks"), **shared)
    else:
        network = TutorialUNet(levels=numbers("levels"), **shared)
    for name, place in in_our_layout(network, lambda parameter: parameter.data).items():
        place.copy_(weights[name].reshape(place.shape))
    return network.eval()


def difference(rounded, exact):
    return 100 * float((rounded - exact).pow(2).mean().sqrt() / exact.std())


def openvino_output(network, x, t):
    import openvino
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/network.onnx"
        torch.onnx.export(network, (x, t), file, input_names=["x", "t"], dynamo=False)
        compiled = openvino.Core().compile_model(file, "CPU")
        return torch.from_numpy(compiled({"x": x.numpy(), "t": t.numpy()})[0]), \
            compiled.get_property("INFERENCE_PRECISION_HINT").to_string()


def main(checkpoint, file):
    warnings.filterwarnings("ignore")  # of the export to ONNX
    network, (ours, _) = network_of(checkpoint), read_safetensors(file)
    x, t = ours["x"].permute(0, 3, 1, 2).contiguous(), ours["t"].long()
    y = ours["y"].permute(0, 3, 1, 2)
    with torch.no_grad():
        exact = network(x, t)
        print(f"our float32 to PyTorch's: {difference(y, exact):.5f} %")
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x, t).float()
        print(f"ours:     {difference(ours['rounded'].permute(0, 3, 1, 2), y):.3f} %")
        print(f"PyTorch:  {difference(half, exact):.3f} % (autocast)")
        engine, precision = openvino_output(network, x, t)
        print(f"OpenVINO: {difference(engine, exact):.3f} % ({precision})")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
