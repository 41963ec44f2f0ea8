#!/usr/bin/env python3
"""Kills a training at random moments while it saves after every update, and lets it go on
[CK-2, RS-1]: kills.py PROGRAM DATA ROUNDS [SEED]

Fails if a run goes on from an older state than one that stood on the disk, or ends in other bytes
than a run that was never stopped."""
import pathlib, random, re, signal, subprocess, sys, tempfile, time

program, data, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
random.seed(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
OPTIONS = "--network tiny --limit 13 --batch 3 --accumulation 2 --samples 1 --sample-steps 2".split()


def train(folder, steps):
    return [program, data, *OPTIONS, "--save-steps", "1", "--steps", str(steps), "--out", str(folder)]


def newest(folder):
    steps = [int(m[1]) for f in folder.glob("state-*") if (m := re.fullmatch(r"state-(\d+)\.safetensors", f.name))]
    return max(steps, default=0)


with tempfile.TemporaryDirectory() as place:
    folder, whole = pathlib.Path(place, "killed"), pathlib.Path(place, "whole")
    reached, lost, while_saving = 0, 0, 0
    for _ in range(rounds):
        child = subprocess.Popen(train(folder, 10**6), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        time.sleep(random.uniform(0, 1.0))
        seen = newest(folder)
        child.send_signal(signal.SIGKILL)
        output = child.communicate()[0]
        going_on = re.search(r"going on with .*: (\d+) updates", output)
        if going_on and int(going_on[1]) < reached:
            lost += 1
        reached = max(reached, seen)
        lost += newest(folder) < reached
        while_saving += any(folder.glob(".ddpm-*.tmp"))
    steps = newest(folder) + 2
    for where in (folder, whole):
        subprocess.run(train(where, steps), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    name = f"state-{steps:08}.safetensors"
    same = (folder / name).read_bytes() == (whole / name).read_bytes()
    left = [f.name for f in folder.iterdir() if f.name.endswith(".tmp")]
    print(f"{rounds} kills, {while_saving} of them while a state was written; {steps} updates; "
          f"{lost} states lost; the end {'has the same bytes' if same else 'DIFFERS'}; left over: {left}")
    sys.exit(lost > 0 or not same or reached == 0 or left != [])
