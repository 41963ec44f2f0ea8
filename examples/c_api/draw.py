#!/usr/bin/env python3
"""Draws pictures with a trained network, from Python through the C interface; needs nothing but Python.

    python3 examples/c_api/draw.py MODEL [--library build/examples/libddpm_c.so] [--count 16] [--show]
                                         [--set seed=3 --set sampler=ancestral ...]

MODEL is what a training wrote, or a folder of diffusers. The options of --set are those of ddpm_options_set() in
include/ddpm/c_api.h. Press Ctrl-C to stop.
"""
import argparse
import ctypes
import os
import pathlib
import signal
import sys
import webbrowser

PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
CANCELLED = 1
FACTS = ("height", "width", "channels", "classes", "timesteps", "parameters")  # of a model


class Error(Exception):
    pass


class Library:
    """The functions of ddpm/c_api.h; a code that is not 0 becomes an exception with the text."""

    def __init__(self, path):
        self.library = library = ctypes.CDLL(str(path))
        library.ddpm_version.restype = library.ddpm_error_text.restype = ctypes.c_char_p
        library.ddpm_options_new.restype = ctypes.c_void_p
        for name in FACTS:
            getattr(library, f"ddpm_{name}").restype = ctypes.c_int64

    def __call__(self, name, *arguments):
        code = getattr(self.library, f"ddpm_{name}")(*arguments)
        if code == CANCELLED:
            raise KeyboardInterrupt
        if code != 0:
            raise Error(self.library.ddpm_error_text().decode())


class Model:
    def __init__(self, library, path):
        self.call, self.library = library, library.library
        self.handle = ctypes.c_void_p()
        self.call("load", os.fsencode(path), ctypes.byref(self.handle))

    def __getattr__(self, name):
        if name not in FACTS:
            raise AttributeError(name)
        return getattr(self.library, f"ddpm_{name}")(self.handle)

    def __del__(self):
        self.library.ddpm_free(self.handle)

    def sample(self, count, options, on_step=lambda done, steps: False):
        """count images as a flat array of floats, (count, height, width, channels), in about [-1, 1]."""
        settings = ctypes.c_void_p(self.library.ddpm_options_new())
        try:
            for name, value in options.items():
                self.call("options_set", settings, name.encode(), str(value).encode())
            height, width = (int(options.get(side, 0)) or getattr(self, side) for side in ("height", "width"))
            size = count * height * width * self.channels
            if min(count, height, width) < 1:
                raise Error(f"{count} pictures of {height} x {width} pixels")
            images = (ctypes.c_float * size)()
            progress = PROGRESS(lambda done, steps, user: bool(on_step(done, steps)))
            self.call("sample", self.handle, settings, ctypes.c_int64(count), images, ctypes.c_size_t(size), progress,
                      None)
            return images, (count, height, width, self.channels)
        finally:
            self.library.ddpm_options_free(settings)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("model")
    parser.add_argument("--library", default=root / "build" / "examples" / "libddpm_c.so")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--grid", default="grid.png")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    for pair in arguments.set:
        if "=" not in pair:
            parser.error(f"--set {pair}: expected NAME=VALUE")
    library = Library(arguments.library)
    model = Model(library, arguments.model)
    print(f"{model.parameters} parameters, {model.height} x {model.width} x {model.channels}, {model.timesteps} timesteps, "
          f"{model.classes} classes")
    stopped = []
    signal.signal(signal.SIGINT, lambda number, frame: stopped.append(number))

    def on_step(done, steps):
        print(f"\r{done} of {steps} steps", end="", file=sys.stderr, flush=True)
        return bool(stopped)

    images, shape = model.sample(arguments.count, dict(pair.split("=", 1) for pair in arguments.set), on_step)
    print(file=sys.stderr)
    library("write_grid", os.fsencode(arguments.grid), images, *(ctypes.c_int64(extent) for extent in shape), ctypes.c_int64(0))
    print("wrote", arguments.grid)
    if arguments.show:
        webbrowser.open(pathlib.Path(arguments.grid).resolve().as_uri())


if __name__ == "__main__":
    try:
        main()
    except (Error, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped")
