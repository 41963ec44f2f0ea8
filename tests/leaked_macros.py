#!/usr/bin/env python3
"""Fails when a header of ours, or of stb, leaves a macro behind whose name does not begin with DDPM_.

    leaked_macros.py COMPILER FLAG...
"""
import re
import subprocess
import sys

source = "".join(f"#include <ddpm/{header}.hpp>\n" for header in (
    "ddpm", "interop/diffusers", "interop/onnx", "train/metrics"))
text = subprocess.run([*sys.argv[1:], "-std=c++20", "-DDDPM_WITH_IO", "-E", "-dD", "-x", "c++", "-"], input=source,
                      capture_output=True, text=True, check=True).stdout
file, owner = "", {}
for line in text.splitlines():
    if place := re.match(r'# \d+ "(.*?)"', line):
        file = place[1]
    elif undefined := re.match(r"#undef (\w+)", line):
        owner.pop(undefined[1], None)
    elif defined := re.match(r"#define (\w+)", line):
        owner[defined[1]] = file
ours = sorted(name for name, file in owner.items() if re.search(r"(^|/)ddpm/|/stb", file))
if not any(name.startswith("DDPM_") for name in ours):
    sys.exit("no macro of ours was found")
leaked = [f"{name} ({owner[name]})" for name in ours if not name.startswith("DDPM_")]
print("\n".join(leaked) or f"{len(ours)} macros, all of ours")
sys.exit(bool(leaked))
