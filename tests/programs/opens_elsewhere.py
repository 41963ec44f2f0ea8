#!/usr/bin/env python3
"""What we export has our output in other programs.

    opens_elsewhere.py EXAMPLES ENGINES CHECKPOINT...

EXAMPLES is the folder of our programs, ENGINES some of onnx,openvino,diffusers. Each checkpoint is exported; onnx.checker
reads the ONNX file, ONNX Runtime or OpenVINO run it, diffusers loads the folder, with no key missing and none too many.
Their outputs are compared with ours, which come through the C interface, one image and several, each with its label.
"""
import ctypes
import pathlib
import subprocess
import sys
import tempfile

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples" / "c_api"))
import draw  # noqa: E402

LIMIT = 1e-4  # of the output's largest value


def pointer(array, kind):
    return array.ctypes.data_as(ctypes.POINTER(kind))


def inputs(model, count):
    generator = numpy.random.default_rng(count)
    x = generator.standard_normal((count, model.height, model.width, model.channels)).astype(numpy.float32)
    t = generator.integers(0, model.timesteps, count).astype(numpy.float64)
    labels = (numpy.arange(count) % (model.classes + 1) - 1).astype(numpy.int64)  # -1: no class
    return x, t, labels if model.classes else None


def ours(library, model, x, t, labels, out_channels):
    y = numpy.zeros((*x.shape[:3], out_channels), numpy.float32)
    library("predict", model.handle, *(ctypes.c_int64(extent) for extent in x.shape[:3]), pointer(x, ctypes.c_float),
            pointer(t, ctypes.c_double), None if labels is None else pointer(labels, ctypes.c_int64),
            pointer(y, ctypes.c_float), ctypes.c_size_t(y.size))
    return y.transpose(0, 3, 1, 2)


def onnx_engine(file):
    import onnx
    import onnxruntime
    onnx.checker.check_model(file, full_check=True)
    session = onnxruntime.InferenceSession(file)
    return lambda feed: session.run(None, feed)[0]


def openvino_engine(file):
    import openvino
    model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda feed: model(feed)[0]


def diffusers_engine(folder):
    import diffusers
    import torch
    network, info = diffusers.UNet2DModel.from_pretrained(f"{folder}/unet", output_loading_info=True)
    if any(info.values()):
        sys.exit(f"{folder}: {info}")
    diffusers.DDPMPipeline.from_pretrained(folder)

    @torch.no_grad()
    def run(feed):
        labels = {}
        if "labels" in feed:  # no class is the last one there
            last = network.config.num_class_embeds - 1
            labels["class_labels"] = torch.tensor([last if label < 0 else label for label in feed["labels"]])
        return network(torch.from_numpy(feed["x"]), torch.from_numpy(feed["t"]), **labels).sample.numpy()
    return run


def main(programs, engines, checkpoints):
    library = draw.Library(f"{programs}/libddpm_c.so")
    compared = 0
    for checkpoint in checkpoints:
        model = draw.Model(library, checkpoint)
        for name in engines:
            with tempfile.TemporaryDirectory() as folder:
                out = f"{folder}/out" + ("" if name == "diffusers" else ".onnx")
                subprocess.run([f"{programs}/export", checkpoint, out], check=True, stdout=subprocess.DEVNULL)
                run = {"onnx": onnx_engine, "openvino": openvino_engine, "diffusers": diffusers_engine}[name](out)
                for count in (1, 3):
                    x, t, labels = inputs(model, count)
                    feed = {"x": numpy.ascontiguousarray(x.transpose(0, 3, 1, 2)), "t": t.astype(numpy.float32)}
                    if labels is not None:
                        feed["labels"] = labels
                    y = run(feed)
                    mine = ours(library, model, x, t, labels, y.shape[1])
                    difference = abs(y - mine).max() / abs(mine).max()
                    print(f"{checkpoint}: {name}, {count} images: {difference:.1e}")
                    if not difference < LIMIT:
                        sys.exit(f"that is more than {LIMIT}")
                    compared += 1
    if compared == 0:
        sys.exit("nothing was compared")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2].split(","), sys.argv[3:])
