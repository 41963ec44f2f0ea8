#!/usr/bin/env python3
"""Programs on several ranks: the files of one process, whatever the number of ranks, and whatever dies.

Run: ranks.py BUILD_EXAMPLES IMAGES LABELS [KILLS]     needs mpirun (Open MPI)
"""
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

examples, images, labels = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
kills = int(sys.argv[4]) if len(sys.argv) > 4 else 50
work = pathlib.Path(tempfile.mkdtemp())
environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_btl_vader_single_copy_mechanism="none",  # for containers
                   OMPI_MCA_plm_rsh_agent="sh", OMPI_MCA_hwloc_base_binding_policy="none", DDPM_NUM_THREADS="1")


def command(ranks, program, *arguments):
    launcher = ["mpirun", "-np", str(ranks)] if ranks > 1 else []
    return [*launcher, str(examples / program), *map(str, arguments)]


def run(ranks, program, *arguments, fails=False):
    done = subprocess.run(command(ranks, program, *arguments), env=environment, capture_output=True, text=True, timeout=300)
    if (done.returncode != 0) != fails:
        sys.exit(f"{ranks} ranks: {program} {arguments}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def training(out, steps, *more):
    """Labels, flips, accumulation, timesteps by their losses."""
    return ["train_mnist", images, "--labels", labels, "--network", "tiny", "--limit", 128, "--flip", "--batch", 2,
            "--accumulation", 8, "--timestep-sampling", "loss_second_moment", "--timesteps", 8, "--steps", steps, "--samples", 10,
            "--sample-steps", 2, "--save-minutes", 0, "--save-steps", 10, "--out", out, *more]


def state(folder, steps):
    return (folder / f"state-{steps:08d}.safetensors").read_bytes()


def children(parent):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()  # state, parent, ...
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def check(name, good):
    print(f"{name}: {'ok' if good else 'NOT OK'}", flush=True)
    if not good:
        sys.exit(1)


STEPS = 50
for ranks in (1, 2, 4, 8):
    run(ranks, *training(work / f"{ranks}", STEPS))
whole = work / "1"
for ranks in (2, 4, 8):
    for name in (f"state-{STEPS:08d}.safetensors", "model.safetensors", "samples.png"):
        check(f"{name} of {ranks} ranks is that of one",
              (work / f"{ranks}" / name).read_bytes() == (whole / name).read_bytes())
run(3, *training(work / "3", 10))
run(1, *training(work / "one", 10))
check("3 ranks too", state(work / "3", 10) == state(work / "one", 10))

run(4, *training(work / "on", 20))
for ranks in (2, 8):
    shutil.copytree(work / "on", work / f"on{ranks}")
    run(ranks, *training(work / f"on{ranks}", STEPS))
    check(f"begun by 4 ranks, ended by {ranks}", state(work / f"on{ranks}", STEPS) == state(whole, STEPS))

run(1, "sample", whole / "model.safetensors", "--count", 11, "--sample-steps", 3, "--grid", work / "g1.png", "--strip", "")
run(4, "sample", whole / "model.safetensors", "--count", 11, "--sample-steps", 3, "--grid", work / "g4.png", "--strip", "")
check("pictures in a grid", (work / "g1.png").read_bytes() == (work / "g4.png").read_bytes())
for ranks in (1, 3):
    run(ranks, "sample", whole / "model.safetensors", "--count", 11, "--sample-steps", 3, "--folder", work / f"p{ranks}")
check("pictures in a folder", all((work / "p1" / f"{i:06d}.png").read_bytes() == (work / "p3" / f"{i:06d}.png").read_bytes()
                                  for i in range(11)))
for ranks in (1, 2, 3):
    run(ranks, "evaluate", whole / "model.safetensors", images, "--labels", labels, "--limit", 200, "--terms", 3,
        "--csv", work / f"{ranks}.csv", "--picture", work / "curve.svg")
check("bits per dimension", (work / "1.csv").read_bytes() == (work / "2.csv").read_bytes() == (work / "3.csv").read_bytes())

said = run(4, *training(work / "few", 5, "--accumulation", 2), fails=True)
check("more ranks than batches", "4 ranks share accumulation = 2 batches of 2 images" in said)
said = run(2, *training("/proc/nowhere", 5), fails=True)
check("a folder that cannot be made", "/proc/nowhere" in said)

# What one rank is given and another is not. Rank 1 gets the second text where the others get the first.
other = work / "other.sh"
other.write_text("""#!/bin/bash
from=$1 to=$2
shift 2
[ "$OMPI_COMM_WORLD_RANK" = 1 ] && set -- "${@//$from/$to}"
exec "$@"
""")
other.chmod(0o755)


def run_other(first, second, program, *arguments):
    words = ["mpirun", "-np", "3", other, first, second, examples / program, *arguments]
    done = subprocess.run([*map(str, words)], env=environment, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr if done.returncode != 0 else "it went on"


model, older = whole / "model.safetensors", "state-00000010.safetensors"
(work / "1" / older).exists() or shutil.copy(work / "one" / older, whole)
said = run_other("model.safetensors", older, "sample", model, "--count", 7, "--sample-steps", 2, "--grid", work / "no.png")
check("sample: another checkpoint on a rank", "rank 1 has other weights than rank 0" in said)
said = run_other("model.safetensors", older, "evaluate", model, images, "--labels", labels, "--limit", 200, "--terms", 3)
check("evaluate: another checkpoint on a rank", "rank 1 has other weights than rank 0" in said)
said = run_other("200", "100", "evaluate", model, images, "--labels", labels, "--limit", 200, "--terms", 3)
check("evaluate: other images on a rank", "rank 1 has other images than rank 0" in said)
for what, wrong, told in (("128", "64", "other data"), ("--flip", "--loss=kl", "other settings")):
    said = run_other(what, wrong, *training(work / "no", 5))
    check(f"training: {told} on a rank", f"rank 1 has {told}" in said)

# A signal to any rank stops all after the update, and rank 0 saves.
process = subprocess.Popen(command(3, *training(work / "signalled", 5000)), env=environment, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, start_new_session=True)
while process.poll() is None and not any((work / "signalled").glob("state-*")):
    time.sleep(0.1)
os.kill(max(children(process.pid)), signal.SIGTERM)
said, _ = process.communicate(timeout=60)
check("a signal to one rank stops all", process.returncode == 143 and "all saved in" in said)

# A rank that dies ends the run within seconds; the run goes on from its last state.
random.seed(1)
out, killed, begun_again = work / "killed", 0, 0
while killed < kills:
    process = subprocess.Popen(command(4, *training(out, STEPS)), env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True)
    time.sleep(random.uniform(0.3, 3))
    ranks = children(process.pid)
    with contextlib.suppress(ProcessLookupError):  # it may have ended just now
        if ranks:
            os.kill(random.choice(ranks), signal.SIGKILL)
    begun = time.monotonic()
    said, _ = process.communicate(timeout=60)
    seconds = time.monotonic() - begun
    if process.returncode != 0:
        if seconds > 10 or "signal 9" not in said:
            sys.exit(f"after a kill: {seconds:.1f} s, {said}")
        killed += 1
        begun_again += 1
    if (out / f"state-{STEPS:08d}.safetensors").exists():
        check(f"a run that was killed {begun_again} times", state(out, STEPS) == state(whole, STEPS))
        shutil.rmtree(out)
        begun_again = 0
if out.exists():
    run(2, *training(out, STEPS))
    check(f"a run that was killed {begun_again} times, ended by 2 ranks", state(out, STEPS) == state(whole, STEPS))
print(f"{killed} ranks were killed")
shutil.rmtree(work)
