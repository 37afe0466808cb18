#!/usr/bin/env python3
"""Registers and spills of every kernel, worst architecture first, from the log of a build with -Xptxas=-v.

    scripts/ptxas_table.py BUILD.log [--markdown TABLE.md]

Exit code 1: a kernel spills registers to memory, ptxas reports that it serialises wgmma or ignores setmaxnreg, or the log
holds no kernel.
"""

import argparse
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(sm_\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SLOWED = re.compile(r"ptxas.*(\(C75\d\d\)|[Pp]otential [Pp]erformance [Ll]oss|setmaxnreg.*ignored|wgmma.*serialized).*")


def short(names: list[str]) -> dict[str, str]:
    """entry<Kernel<...>> → Kernel<...>, without namespaces."""
    plain = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    result = {}
    for name, line in zip(names, plain.splitlines()):
        inner = re.search(r"entry<(.*)>\(", line)
        result[name] = re.sub(r"\([\w:]+\)|fntk::kernels::|std::", "", inner.group(1) if inner else line).strip()
    return result


def read(log: str) -> dict[str, dict[str, tuple[int, int]]]:
    """{kernel: {architecture: (registers, bytes spilled)}}."""
    found: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    kernel, architecture, spilled = "", "", 0
    for line in log.splitlines():
        if match := ENTRY.search(line):
            kernel, architecture = match.groups()
        elif match := SPILLS.search(line):
            spilled = int(match[2]) + int(match[3])
        elif (match := USED.search(line)) and kernel:
            found[kernel][architecture] = (int(match[1]), spilled)
            kernel = ""
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="registers and spills of every kernel")
    parser.add_argument("log", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    log = options.log.read_text()
    found = read(log)
    if not found:
        print(f"ptxas_table: {options.log} holds no kernel; build with -Xptxas=-v", file=sys.stderr)
        return 1
    names = short(list(found))
    architectures = sorted({one for row in found.values() for one in row}, key=lambda one: (int(re.sub(r"\D", "", one)), one))
    rows = sorted(found.items(), key=lambda item: (-max(item[1].values())[0], names[item[0]]))
    lines = ["| kernel | " + " | ".join(architectures) + " |", "|---" * (len(architectures) + 1) + "|"]
    for kernel, row in rows:
        cells = [f"{row[one][0]}" + (f" **spills {row[one][1]} B**" if row[one][1] else "") if one in row else ""
                 for one in architectures]
        lines.append(f"| `{names[kernel]}` | " + " | ".join(cells) + " |")
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")
    spilling = [(names[kernel], one) for kernel, row in found.items() for one, (_, bytes_) in row.items() if bytes_]
    print("\n".join(lines[:14]))
    print(f"{len(found)} kernels on {len(architectures)} architectures, {len(spilling)} spill")
    for name, one in spilling:
        print(f"    {name} on {one}", file=sys.stderr)
    slowed = [line for line in log.splitlines() if SLOWED.search(line)]
    for line in slowed:
        print(f"    {line}", file=sys.stderr)
    return 1 if spilling or slowed else 0


if __name__ == "__main__":
    sys.exit(main())
