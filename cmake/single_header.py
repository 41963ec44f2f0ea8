#!/usr/bin/env python3
"""Prints the library as one header.

    cmake/single_header.py > ddpm.hpp                  what <ddpm/ddpm.hpp> has
    cmake/single_header.py interop/onnx > ddpm.hpp     and that header too; any number of them

The headers of Eigen, xsimd and, with DDPM_WITH_IO, of stb, zlib and nlohmann/json are still included.
"""
import pathlib
import re
import sys

include = pathlib.Path(__file__).resolve().parent.parent / "include"
whole = set()  # headers that stand there whatever is defined


def expanded(name, conditional):
    """The lines of a header with its includes in their places; `conditional` if they may not be compiled."""
    if name in whole:
        return
    text = (include / name).read_text()
    once = "#pragma once" in text
    if once and not conditional:
        whole.add(name)
    macro = "DDPM_HAS_" + re.sub(r"\W", "_", name).upper()
    yield f"// {name}"
    if once:
        yield from (f"#ifndef {macro}", f"#define {macro}")
    depth = 0
    for line in text.splitlines():
        if re.match(r"#\s*if", line):
            depth += 1
        elif re.match(r"#\s*endif", line):
            depth -= 1
        if line.startswith("// SPDX") or line == "#pragma once":
            continue
        if own := re.match(r'#include "(ddpm/.*)"', line):
            yield from expanded(own[1], conditional or depth > 0)
        else:
            yield line
    if once:
        yield f"#endif  // {macro}"


try:
    names = ["ddpm/ddpm.hpp"] + [f"ddpm/{name.removesuffix('.hpp')}.hpp" for name in sys.argv[1:]]
    missing = [name for name in names if not (include / name).is_file()]
    if missing:
        sys.exit(f"single_header.py: there is no {missing[0]} in {include}")
    lines = [line for name in names for line in expanded(name, False)]
    print((include.parent / "LICENSE").read_text().join(("/*\n", "*/\n#pragma once\n")))
    print("\n".join(lines))
except BrokenPipeError:
    pass
