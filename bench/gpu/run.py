#!/usr/bin/env python3
"""fntk and its peers on one GPU: a row a measurement, in a file that a later call goes on with.

    python3 bench/gpu/run.py OUT [--suite growth] [--budget SECONDS]     # rows to OUT/rows.jsonl
    python3 bench/gpu/run.py OUT --smoke --device cpu                    # does everything run, and agree?
    python3 bench/gpu/table.py OUT                                       # what they say

Rows that are there of this commit and device are not measured again. Each implementation of a problem is a process of
its own with a time limit; what fails loses its own rows, which say why. Exit code 0: all rows are there and fntk's agree
with float64; 1: one of fntk's failed or does not; 2: a program is missing; 3: no time was left for some rows.
"""

import argparse
import dataclasses
import datetime
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path += [str(HERE), str(HERE.parent), str(HERE.parent / "peers")]

import floors  # noqa: E402
import provenance  # noqa: E402
import store  # noqa: E402
from problems import CLASS_OF, IMPLEMENTATIONS, Measurement, plan  # noqa: E402
from processes import Line, device_info, environment, lines_of  # noqa: E402

MARGIN = 5.0  # seconds of a budget that are kept for what surrounds a process


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="fntk and its peers on one GPU; appends to OUT/rows.jsonl")
    parser.add_argument("out", type=Path)
    parser.add_argument("--suite", choices=["peers", "growth"], default="peers")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does everything run, and agree?")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds; nothing begins that would not fit")
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    parser.add_argument("--retry", action="store_true", help="measure again what failed")
    parser.add_argument("--keep-peers", action="store_true", help="take peers' rows of other commits for this one's")
    parser.add_argument("--only", nargs="+", choices=list(IMPLEMENTATIONS), help="these implementations")
    parser.add_argument("--modes", nargs="+", choices=list(CLASS_OF), help="these accuracy classes")
    parser.add_argument("--problems", nargs="+", help="those whose name contains one of these words")
    parser.add_argument("--list", action="store_true", help="say what there is, in its order, and stop")
    parser.add_argument("--bin", type=Path, default=ROOT / "build/gpu/bin", help="fntk_gpu_case and fntk_peer_case")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "fntk_gpu_rows",
                        help="inputs of the problems, several GB; kept for the next call")
    parser.add_argument("--commit", help="where this is no clone, or FNTK_COMMIT")
    options = parser.parse_args(words)
    options.commit = options.commit or os.environ.get("FNTK_COMMIT") or provenance.commit()
    return options


class Bench:
    def __init__(self, options: argparse.Namespace, rows: store.Store, device: dict[str, Any]) -> None:
        self.options, self.rows, self.device = options, rows, device
        self.begin = time.monotonic()
        self.env = environment(options.device, options.work)
        self.ceilings = floors.measured_rates(options.out / "ceilings.jsonl", device["name"])
        self.absent: set[str] = set()  # scripts whose library this Python lacks

    def left(self) -> float:
        return self.options.budget - (time.monotonic() - self.begin) - MARGIN

    def row(self, measurement: Measurement, mode: str, **more: Any) -> store.Row:
        problem = measurement.problem
        date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        return {"schema": store.SCHEMA, "commit": self.options.commit, "date": date, "device": self.device,
                "op": problem.op, "case": problem.case, "shape": problem.shape, "impl": measurement.implementation.name,
                "mode": mode, **more}

    def missing(self, measurement: Measurement) -> Measurement:
        if self.options.again:
            return measurement
        any_commit = self.options.keep_peers and bool(measurement.implementation.script)
        return measurement.of(tuple(mode for mode in measurement.modes if not self.rows.has(
            self.row(measurement, mode), failed_too=not self.options.retry, any_commit=any_commit)))

    def folder(self, measurement: Measurement) -> Path:
        return self.options.work / measurement.problem.name.replace("/", "-")

    def limited(self, command: list[str], limit: float, folder: Path, more: dict[str, str]) -> Iterator[Line]:
        """lines_of within the budget; nothing where the budget, not the limit, ended it."""
        short = self.left() < limit
        log, env = folder.with_suffix(".log"), {**self.env, **more}
        for line in lines_of(command, max(1.0, min(limit, self.left())), log, env):
            if not (short and line.get("expired")):
                yield line
            else:
                raise TimeoutError

    def prepare(self, measurement: Measurement) -> str:
        """Why the inputs could not be made, or nothing."""
        job = {"problem": dataclasses.asdict(measurement.problem), "folder": str(self.folder(measurement)),
               "program": str(self.options.bin / "fntk_peer_case"), "stamp": self.options.commit}
        command = [sys.executable, "-B", str(HERE / "inputs.py"), json.dumps(job)]
        alone = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # check.truth has threads of its own
        ended = self.limited(command, 240, self.folder(measurement), alone)
        return next((f"inputs: {line['reason']}" for line in ended), "")

    def command(self, measurement: Measurement) -> list[str]:
        problem, folder = measurement.problem, self.folder(measurement)
        most = 0.2 if self.options.smoke else 4.0
        if measurement.implementation.script:
            job = {"op": problem.op, "device": self.options.device, "shape": problem.shape,
                   "generated": problem.generated, "checked": problem.checked, "folder": str(folder),
                   "implementation": measurement.implementation.name, "modes": measurement.modes, "most": most}
            return [sys.executable, "-B", str(HERE / measurement.implementation.script), json.dumps(job)]
        words: dict[str, Any] = {"device": self.options.device, "network": folder / "network.safetensors",
                                 "data": folder / "X.npy", "most": most}
        if problem.checked:
            words["result"] = folder / "fntk"
        words |= {"rounding": "fast"} if measurement.implementation.name == "fntk-fast" else {}
        words |= {"targets": folder / "y.npy"} if problem.op == "step" else {}
        words |= {"vectors": folder / "v.npy"} if problem.op == "operator" else {}
        operation = "tangent" if problem.op == "growth" else problem.op
        return [str(self.options.bin / "fntk_gpu_case"), operation,
                *(str(word) for name, value in words.items() for word in ("--" + name, value))]

    def measure(self, measurement: Measurement) -> Iterator[store.Row]:
        """A row for each class, as they come."""
        wrong = self.prepare(measurement)
        waiting = list(measurement.modes)
        reason = wrong or "it ended without a result"
        for line in [] if wrong else self.limited(self.command(measurement), measurement.timeout,
                                                  self.folder(measurement), measurement.implementation.env):
            if "ms" not in line and "mode" not in line:
                reason = line["reason"]
                continue
            mode = line.get("mode", waiting[0])
            waiting.remove(mode)
            yield self.finished(measurement, mode, line)
        if "No module named" in reason:
            self.absent.add(measurement.implementation.script)
            print(f"SKIPPED: {measurement.implementation.name}: {reason}", flush=True)
            return
        for mode in waiting:
            yield self.row(measurement, mode, status="failed", reason=reason)

    def finished(self, measurement: Measurement, mode: str, line: Line) -> store.Row:
        if "reason" in line:
            return self.row(measurement, mode, status="failed", reason=line["reason"], versions=line["versions"])
        problem, folder = measurement.problem, self.folder(measurement)
        row = self.row(measurement, mode, status="ok", ms=line["ms"], work=floors.work(problem, measurement.implementation.digits),
                       error=line.get("error"), peak_bytes=line.get("peak_bytes"), base_bytes=line.get("base_bytes"),
                       versions=line.get("versions", {}), note=line.get("note", ""))
        if measurement.implementation.script:
            return row
        row.update(floors.fractions(problem, line["ms"]["median"], self.device["name"], self.ceilings,
                                    measurement.implementation.digits, measurement.implementation.portable))
        if problem.checked:
            import check
            import inputs

            row["error"] = check.errors(inputs.load(problem.op, folder), inputs.load_truth(folder), folder / "fntk",
                                        line.get("bit_exact"))
            check.forget(folder / "fntk")
        return row

    def all(self, measurements: list[Measurement], say: Callable[[store.Row], None]) -> list[Measurement]:
        """What no time was left for."""
        for i, measurement in enumerate(measurements):
            measurement = self.missing(measurement)
            if not measurement.modes or measurement.implementation.script in self.absent:
                continue
            if self.left() < measurement.expected:
                return self.unfinished(measurements[i:])
            try:
                for row in self.measure(measurement):
                    self.rows.add(row)
                    say(row)
            except TimeoutError:
                return self.unfinished(measurements[i:])
            except Exception as error:  # of this row alone, such as a result that cannot be read
                for mode in self.missing(measurement).modes:
                    row = self.row(measurement, mode, status="failed", reason=f"{type(error).__name__}: {error}"[:300])
                    self.rows.add(row)
                    say(row)
        return []

    def unfinished(self, measurements: list[Measurement]) -> list[Measurement]:
        if self.options.again:
            return measurements
        return [one for one in map(self.missing, measurements)
                if one.modes and one.implementation.script not in self.absent]


def say(row: store.Row) -> None:
    shape = " ".join(f"{name}={value}" for name, value in row["shape"].items())
    what = f"{row['ms']['median']:10.3f} ms" if row["status"] == "ok" else f"FAILED {row['reason']}"
    errors = {name: value for name, value in (row.get("error") or {}).items() if value is not None}
    if not store.agrees(row):
        what += " DISAGREES"
    print(f"{row['op']:8} {row['case']:12} {shape:40} {row['impl']:17} {row['mode']:9} {what} "
          + " ".join(f"{name} {value:.1e}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in errors.items()), flush=True)


def chosen(options: argparse.Namespace) -> list[Measurement]:
    asked = [one.of(tuple(mode for mode in one.modes if not options.modes or mode in options.modes))
             for one in plan(options.suite, options.smoke)
             if (not options.only or one.implementation.name in options.only)
             and (not options.problems or any(word in one.problem.name for word in options.problems))]
    return [one for one in asked if one.modes]


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and the process that is measured ends too
    options = arguments()
    measurements = chosen(options)
    if options.list:
        for one in measurements:
            print(f"{one.expected:5.0f} s  {one.name}: {', '.join(one.modes)}")
        print(f"{sum(one.expected for one in measurements):5.0f} s in all")
        return 0
    for program in ("fntk_gpu_case", "fntk_peer_case"):
        if not (options.bin / program).exists():
            print(f"run.py: {options.bin / program} is not there; build it with -DFNTK_BUILD_BENCH=ON, or name its "
                  "folder with --bin", file=sys.stderr)
            return 2
    options.work.mkdir(parents=True, exist_ok=True)
    rows = store.Store(options.out / "rows.jsonl")
    bench = Bench(options, rows, device_info(options.device, options.out / "ceilings.jsonl"))
    left = bench.all(measurements, say)
    if left:
        print(f"no time was left for {len(left)} processes: {'; '.join(one.name for one in left)}; call again")
        return 3
    own = [rows.rows.get(store.key(bench.row(one, mode))) for one in measurements if not one.implementation.script
           for mode in one.modes]
    return 1 if any(row is None or row["status"] != "ok" or not store.agrees(row) for row in own) else 0


if __name__ == "__main__":
    sys.exit(main())
