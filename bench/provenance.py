"""Where a measurement was made, and of what."""

import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def machine() -> str:
    """The processor's name, with the numbers and the widest vectors that tell apart those of one name."""
    rows = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    first = {key.strip(): value.strip() for key, value in reversed(rows)}
    if "model name" not in first:
        return platform.machine()
    flags = first.get("flags", "").split()
    vectors = next((name for flag, name in (("avx512_vpopcntdq", "AVX-512 with popcounts"), ("avx512f", "AVX-512"),
                                            ("avx2", "AVX2")) if flag in flags), "no AVX2")
    return f"{first['model name']} (family {first.get('cpu family')}, model {first.get('model')}, {vectors})"


def commit() -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    except FileNotFoundError:
        return "an unknown commit"
    return done.stdout.strip() or "an unknown commit"
