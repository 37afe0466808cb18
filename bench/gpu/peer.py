"""The peers' side of one job: for each accuracy class one JSON line, as soon as it is measured and checked.

A peer script hands over make(work, implementation, mode), which gives a Case; a class that fails loses itself alone.
"""

import contextlib
import json
import math
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, ContextManager

import numpy as np

sys.path += [str(Path(__file__).resolve().parent)]

import check  # noqa: E402
import inputs as files  # noqa: E402
from harness import TIMED_STEP  # noqa: E402, F401

# GROUP: seconds of work between two waits for the device, beside which the wait is nothing; as in gpu_case.cpp
WARM_UP, REPEATS, SECONDS, GROUP, MOST_CALLS = 3, 20, 0.5, 20e-3, 1000


@dataclass
class Work:
    op: str
    device: str
    shape: dict[str, int]
    generated: bool
    inputs: check.Inputs

    def size(self, name: str) -> int:
        return self.shape[name]


@dataclass
class Case:
    run: Callable[[], Any]  # one call, queued on the device or done
    sample: Callable[[], dict[str, np.ndarray]] = dict  # of the last call, by the names of check.py; "gates" as bools
    note: str = ""


@dataclass
class Clock:
    """group(run, calls): seconds of that many calls, one after the other, waiting once; memory() → (base, peak) bytes
    since the last memory_from_here()."""

    group: Callable[[Callable[[], Any], int], float]
    memory_from_here: Callable[[], None] = lambda: None
    memory: Callable[[], tuple[int | None, int | None]] = lambda: (None, None)
    mode: Callable[[str], ContextManager[Any]] = field(default=lambda mode: contextlib.nullcontext())


def wall_clock(wait: Callable[[Any], Any]) -> Callable[[Callable[[], Any], int], float]:
    def group(run: Callable[[], Any], calls: int) -> float:
        begin = time.perf_counter()
        last = None
        for _ in range(calls):
            last = run()
        wait(last)
        return time.perf_counter() - begin

    return group


def times(run: Callable[[], Any], clock: Clock, most: float) -> dict[str, float]:
    """Milliseconds a call: 20 groups of calls and half a second at least, or three and `most` seconds."""
    once = clock.group(run, 1)
    for _ in range(WARM_UP - 1):
        if once < most:
            once = clock.group(run, 1)
    calls = min(MOST_CALLS, max(1, math.ceil(GROUP / max(once, 1e-7))))
    taken: list[float] = []
    while not (len(taken) >= REPEATS and sum(taken) >= SECONDS or len(taken) >= 3 and sum(taken) >= most):
        taken.append(clock.group(run, calls))
    ms = sorted(1e3 * seconds / calls for seconds in taken)
    median, p10, p90 = (ms[int(share * (len(ms) - 1))] for share in (0.5, 0.1, 0.9))
    return {"median": median, "p10": p10, "p90": p90, "reps": len(ms)}


def fastest(candidates: list[int], run: Callable[[int], Any], clock: Clock) -> int:
    """Of several block sizes: the second call of each counts; one that fails, for want of memory, does not."""
    if len(candidates) == 1:
        return candidates[0]
    seconds = {}
    for candidate in candidates:
        with contextlib.suppress(RuntimeError):
            clock.group(lambda: run(candidate), 1)
            seconds[candidate] = clock.group(lambda: run(candidate), 1)
    if not seconds:
        raise RuntimeError(f"no block size of {candidates} runs")
    return min(seconds, key=seconds.__getitem__)


def save(prefix: Path, found: dict[str, np.ndarray]) -> None:
    for name, array in found.items():
        if name == "gates":
            check.write_gates(check.part(prefix, "gates.bin"), array)
        else:
            np.save(check.part(prefix, f"{name}.npy"), array)


def main(make: Callable[[Work, str, str, Clock], Case], clock: Callable[[str], Clock],
         versions: dict[str, str]) -> None:
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    work = Work(job["op"], job["device"], job["shape"], job["generated"], files.load(job["op"], folder))
    truth = files.load_truth(folder)
    timer = clock(job["device"])
    for mode in job["modes"]:
        report: dict[str, Any] = {"mode": mode, "versions": versions}
        try:
            with timer.mode(mode):
                report.update(measure(make, work, job, mode, timer, truth))
        except Exception as error:  # the next class may well run
            traceback.print_exc()
            report["reason"] = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"[:400]
        print(json.dumps(report), flush=True)


def measure(make: Callable[[Work, str, str, Clock], Case], work: Work, job: dict[str, Any], mode: str, timer: Clock,
            truth: dict[str, np.ndarray] | None) -> dict[str, Any]:
    case = make(work, job["implementation"], mode, timer)
    timer.memory_from_here()
    found: dict[str, Any] = {"ms": times(case.run, timer, job["most"]), "note": case.note, "error": None}
    found["base_bytes"], found["peak_bytes"] = timer.memory()
    if job["checked"]:
        prefix = folder_prefix(job, mode)
        save(prefix, case.sample())
        found["error"] = check.errors(work.inputs, truth, prefix)
        check.forget(prefix)
    return found


def folder_prefix(job: dict[str, Any], mode: str) -> Path:
    return Path(job["folder"]) / f"{job['implementation']}-{mode}"
