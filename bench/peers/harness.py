"""The peers' side of one job: loads the problem, runs, prints one JSON line.

A peer script hands over a table {implementation: make}. make(problem) gives (run, result):
    gram   run() computes K;                  result() is the last K (n × n) as a NumPy array
    step   run(eta) takes one step in place and returns the loss before it;  result() is the trained factor
Both return from run() only when the work is done.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

Make = Callable[["Problem"], tuple[Callable[..., Any], Callable[[], np.ndarray]]]
TIMED_STEP = 1e-9  # too small to move the network; as in fntk_case.cpp


@dataclass
class Problem:
    """X (n × d), y (n), V (m × p), a (m); U (p × d), or None for a dense network, whose W is V."""

    operation: str
    threads: int
    X: np.ndarray
    y: np.ndarray
    U: np.ndarray | None
    V: np.ndarray
    a: np.ndarray

    @property
    def factorised(self) -> bool:
        return self.U is not None


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", f"{path}: {name} is {entry['dtype']}"
            count = int(np.prod(entry["shape"]))
            tensors[name] = np.fromfile(path, "<f4", count, offset=start + entry["data_offsets"][0])
            tensors[name] = tensors[name].reshape(entry["shape"])
    return tensors


def load_problem(job: dict[str, Any]) -> Problem:
    weights = read_safetensors(Path(job["weights"]))
    assert np.all(np.abs(weights["A"]) == 1), "the dense closed forms leave out a² = 1"
    return Problem(operation=job["operation"], threads=job["threads"],
                   X=np.load(job["data"]), y=np.load(job["targets"]).ravel(),
                   U=weights["U"] if job["factorised"] else None, V=weights["V"], a=weights["A"].ravel())


def status_mb(key: str) -> float:
    """VmRSS or VmHWM, its peak, of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(key)


def main(implementations: dict[str, Make], versions: dict[str, str]) -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    make = implementations[job["implementation"]]
    run, result = make(load_problem(job))
    before = status_mb("VmRSS")
    stepping = job["operation"] == "step"
    begin = time.perf_counter()
    loss = run(job["step"]) if stepping else run()
    report = {"versions": versions, "threads": len(os.sched_getaffinity(0)),
              "first_s": time.perf_counter() - begin, "before_mb": before, "peak_mb": status_mb("VmHWM")}
    if stepping:
        report["loss"] = float(loss)
    np.save(job["result"], result())

    seconds = []
    run(TIMED_STEP) if stepping else run()
    for _ in range(job["repeats"]):
        begin = time.perf_counter()
        run(TIMED_STEP) if stepping else run()
        seconds.append(time.perf_counter() - begin)
    report["seconds"] = seconds
    print(json.dumps(report))
