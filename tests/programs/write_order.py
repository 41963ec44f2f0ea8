#!/usr/bin/env python3
"""Watches the system calls of a training that saves [CK-1]: write_order.py PROGRAM DATA

Each file must be made anew under a temporary name in its own folder, written, flushed, closed without an
error, renamed, and its folder flushed; in that order, and with nothing between that touches it."""
import pathlib, re, subprocess, sys, tempfile

program, data = sys.argv[1:]
CALLS = "open,openat,write,fsync,close,rename,renameat,renameat2,fcntl,lseek"

with tempfile.TemporaryDirectory() as place:
    folder, log = pathlib.Path(place, "run"), pathlib.Path(place, "log")
    command = [program, data, *"--network tiny --limit 4 --batch 2 --samples 1 --sample-steps 2 --steps 3".split(),
               "--save-steps", "1", "--keep", "1000", "--out", str(folder)]
    subprocess.run(["strace", "-f", "-y", "-o", log, "-e", f"trace={CALLS}", *command], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # "12 fsync(5</place/run/.ddpm-0.tmp>) = 0" of each thread, with calls that were interrupted put together
    begun, calls = {}, []
    for line in log.read_text(errors="replace").splitlines():
        thread, text = line.split(maxsplit=1)
        if text.endswith("<unfinished ...>"):
            begun[thread] = text[: -len("<unfinished ...>")]
        elif (resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text)):
            calls.append((thread, begun.pop(thread) + resumed[1]))
        else:
            calls.append((thread, text))
    files = 0
    for number, (thread, text) in enumerate(calls):
        made = re.match(r'open(?:at)?\(.*"(\S+/\.ddpm-\d+\.tmp)", O_RDWR\|O_CREAT\|O_EXCL\|O_CLOEXEC, 0666\) = (\d+)<', text)
        if not made:
            continue
        name, descriptor = made[1], made[2]
        assert pathlib.Path(name).parent == folder, name
        order = []
        for other, later in calls[number + 1:]:
            if other != thread:
                continue
            if re.match(rf"(write|lseek)\({descriptor}<{re.escape(name)}>", later):
                order.append("write")
            elif later.startswith(f"fsync({descriptor}<{name}>"):
                order.append("fsync" if later.endswith("= 0") else "fsync failed")
            elif later.startswith(f"close({descriptor}<{name}"):
                order.append("close" if later.endswith("= 0") else "close failed")
            elif later.startswith("rename(") and f'"{name}"' in later:
                target = re.search(r', "(\S+)"\)', later)[1]
                assert pathlib.Path(target).parent == folder, target
                order.append("rename" if later.endswith("= 0") else "rename failed")
            elif later.startswith("fsync(") and f"<{folder}>" in later:
                order.append("fsync of the folder")
                break
            elif re.match(r"openat?\(.*O_CREAT", later):
                break
        seen = [step for i, step in enumerate(order) if i == 0 or order[i - 1] != step]
        if seen == ["close"]:
            continue  # the probe before a training, which writes nothing
        assert seen == ["write", "fsync", "close", "rename", "fsync of the folder"], (name, seen)
        files += 1
    assert files >= 4, files  # three states and the weights, pictures too
    print(f"{files} files, each written, flushed, closed, renamed, and its folder flushed")
