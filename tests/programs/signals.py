#!/usr/bin/env python3
"""Stops the programs by signals [CK-7]: signals.py TRAIN SAMPLE DATA

The first signal ends a program where nothing is lost, with the status that shells give; the second at once.
What goes on later ends in the same bytes as what was never stopped."""
import pathlib, re, signal, subprocess, sys, tempfile, time

train, sample, data = sys.argv[1:]
OPTIONS = "--network tiny --limit 13 --batch 3 --samples 1 --sample-steps 2 --save-minutes 0 --save-steps 3".split()


def command(folder, steps):
    return [train, data, *OPTIONS, "--steps", str(steps), "--out", str(folder)]


def start(arguments):
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def newest(folder):
    return max((int(m[1]) for f in folder.glob("state-*") if (m := re.search(r"-(\d+)\.", f.name))), default=0)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


with tempfile.TemporaryDirectory() as place:
    place = pathlib.Path(place)
    stopped, whole = place / "stopped", place / "whole"
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        before = newest(stopped)
        child = start(command(stopped, 10**6))
        wait_for(lambda: newest(stopped) > before)
        child.send_signal(number)
        output, errors = child.communicate(timeout=60)
        assert child.returncode == status, (child.returncode, errors)
        assert f"stopped after {newest(stopped)} updates, all saved" in errors, errors
        assert not (stopped / "model.safetensors").exists()
    steps = newest(stopped) + 2
    for folder in (stopped, whole):
        subprocess.run(command(folder, steps), check=True, capture_output=True)
    for name in (f"state-{steps:08}.safetensors", "model.safetensors", "samples.png"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name

    # Stopped while a large grid is drawn between updates: saved all the same.
    child = start([*command(place / "grids", 10**6), "--sample-every", "1", "--samples", "400"])
    time.sleep(3)
    child.send_signal(signal.SIGINT)
    errors = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and f"stopped after {newest(place / 'grids')} updates" in errors, errors

    # Pictures by the number: those that are there stay, the others come out as ever.
    def pictures(folder, stop_after=None):
        arguments = [sample, str(whole), "--folder", str(folder), "--count", "60", "--batch", "4",
                     "--sampler", "ddim", "--sample-steps", "20"]
        child = start(arguments)
        if stop_after is not None:
            wait_for(lambda: len(list(folder.glob("*.png"))) >= stop_after or child.poll() is not None)
            child.send_signal(signal.SIGTERM)
        errors = child.communicate(timeout=300)[1]
        return child.returncode, errors

    assert pictures(place / "parts", 3)[0] == 143
    some = len(list((place / "parts").glob("*.png")))
    assert pictures(place / "parts")[0] == 0 and pictures(place / "all")[0] == 0
    names = sorted(f.name for f in (place / "all").glob("*.png"))
    assert len(names) == 60 and 0 < some < 60, (len(names), some)
    for name in names:
        assert (place / "parts" / name).read_bytes() == (place / "all" / name).read_bytes(), name

    # Two signals: the second ends the program at once.
    child = start([*command(place / "twice", 10**6), "--network", "ho2020_cifar10", "--batch", "13", "--samples", "1"])
    time.sleep(3)
    child.send_signal(signal.SIGINT)
    time.sleep(0.05)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    seconds = time.monotonic() - began
    assert child.returncode == 130 and seconds < 1, (child.returncode, seconds)
    print(f"SIGINT and SIGTERM lose nothing: {steps} updates, {some} of 60 pictures before the stop; "
          f"the second signal ends in {seconds:.2f} s")
