"""What the tests of bench/gpu share: its modules in the path, and a row as it makes them."""

import os
import sys
from pathlib import Path

ROOT = Path(os.environ.get("FNTK_SOURCE_DIR") or Path(__file__).resolve().parent.parent)
sys.path[:0] = [str(ROOT / "bench/gpu"), str(ROOT / "bench"), str(ROOT / "bench/peers")]
sys.dont_write_bytecode = True

import store  # noqa: E402

DEVICE = {"name": "NVIDIA H200", "sm": "9.0", "sms": 132, "driver": "580", "cuda": 13000}
CEILINGS = {"copy": 4e12, "bf16": 7e14, "int8": 1.3e15, "mma_s8": 1.2e15, "mma_b1": 1e16, "wgmma_s8": 1.9e15,
            "wgmma_b1": 1.5e16}


def row(op="wide", case="rademacher", impl="fntk", mode="exact", ms=1.0, shape=None, **more):
    made = {"schema": store.SCHEMA, "commit": "abc", "date": "2026-01-01T00:00:00+00:00", "device": DEVICE, "op": op, "case": case,
            "shape": shape or {"n": 16384, "p": 256, "m": 131072}, "impl": impl, "mode": mode, "status": "ok",
            "ms": {"median": ms, "p10": ms, "p90": ms, "reps": 20}, "work": {"flop": 1e12, "int8_op": 0, "bytes": 1},
            "peak_bytes": 2000, "base_bytes": 1000, "error": None, "versions": {}}
    return {**made, **more}
