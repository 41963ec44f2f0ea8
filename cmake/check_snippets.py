#!/usr/bin/env python3
"""Fails when C++ in README.md or docs/ is not cut from a file that the build compiles.

A block is announced by <!-- from FILE --> on the line before it; its lines must stand in FILE one after the other.
Run: check_snippets.py PROJECT_FOLDER
"""
import pathlib
import re
import sys

root, errors, count = pathlib.Path(sys.argv[1]), [], 0
for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
    text = page.read_text()
    for match in re.finditer(r"(?:<!-- from (\S+) -->\n)?```cpp\n(.*?)```", text, re.S):
        count += 1
        where = f"{page.relative_to(root)}:{text[:match.start()].count(chr(10)) + 1}"
        if not match[1]:
            errors.append(f"{where}: C++ that names no file it is cut from")
            continue
        squeeze = lambda code: [line.strip() for line in code.splitlines() if line.strip()]
        source, wanted = squeeze((root / match[1]).read_text()), squeeze(match[2])
        if not any(source[i:i + len(wanted)] == wanted for i in range(len(source))):
            errors.append(f"{where}: not cut from {match[1]}")
if count == 0:
    errors.append("no C++ found in README.md and docs/")
print("\n".join(errors) or f"{count} snippets ok")
sys.exit(bool(errors))
