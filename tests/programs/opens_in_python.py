#!/usr/bin/env python3
"""Opens a run state with the reference implementation of safetensors: opens_in_python.py TRAIN DATA

Needs the packages safetensors and numpy."""
import pathlib, subprocess, sys, tempfile

import numpy
from safetensors import safe_open
from safetensors.numpy import load_file

train, data = sys.argv[1:]
with tempfile.TemporaryDirectory() as place:
    subprocess.run([train, data, *"--network tiny --limit 8 --batch 4 --samples 1 --sample-steps 2 --steps 3".split(),
                    "--timestep-sampling", "loss_second_moment", "--out", place], check=True, capture_output=True)
    state, model = pathlib.Path(place, "state-00000003.safetensors"), pathlib.Path(place, "model.safetensors")
    tensors, weights = load_file(state), load_file(model)
    with safe_open(state, "np") as file:
        metadata = file.metadata()
    assert metadata["run.steps"] == "3" and metadata["data.images"] == "8" and metadata["type"] == "F32"
    for name, average in weights.items():
        assert (tensors[name] == average).all(), name
        for kind in ("weights", "adam.first", "adam.second"):
            other = tensors[f"training.{kind}.{name}"]
            assert other.shape == average.shape and other.dtype == numpy.float32 and numpy.isfinite(other).all(), name
    assert all((tensors[f"training.adam.second.{name}"] >= 0).all() for name in weights)
    assert any((tensors[f"training.adam.second.{name}"] > 0).any() for name in weights)
    assert tensors["training.timesteps"].shape == (1000, 11) and tensors["training.timesteps"].dtype == numpy.float64
    assert tensors["training.timesteps"][:, 10].sum() == 12  # a loss of each image drawn
    assert len(tensors) == 4 * len(weights) + 1
    print(f"{len(tensors)} tensors, {sum(t.size for t in tensors.values())} values")
