#!/usr/bin/env python3
"""fntk beside its peers: the same inputs, weights and threads, one process a measurement, one table.

    python3 bench/peers/run.py [--smoke]

Exit code 0: everything that ran agreed; 1: a result disagreed or a peer failed; 2: the C++ side or NumPy is not there.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

import environment  # noqa: E402
from cases import BUSY, CASES, FULL, IMPLEMENTATIONS, OPERATIONS, SMOKE, Case, Implementation, Sizes  # noqa: E402
from provenance import commit, machine  # noqa: E402

if TYPE_CHECKING:
    from harness import Problem
    from oracle import Truth

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STEP = 1.0  # the step whose result is compared: large, so that the change stands clear of storage rounding


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="fntk beside its peers; writes peers.json and peers.md")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does everything run and agree?")
    parser.add_argument("--out", type=Path, default=ROOT / "build/peers/results", help="folder of the two reports")
    parser.add_argument("--venv", type=Path, default=ROOT / "build/peers/venv", help="made when missing")
    parser.add_argument("--no-install", action="store_true",
                        help="use the Python that runs this; peers it lacks are skipped")
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/bin/fntk_peer_case")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=5, help="timed repeats a process")
    parser.add_argument("--rounds", type=int, default=1, help="times that the processes of each case run")
    parser.add_argument("--data", type=Path, help="X, n × d, .npy (rows are scaled to unit length); else random")
    for field in dataclasses.fields(Sizes):
        parser.add_argument("--" + field.name.replace("_", "-"), type=int)
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES])
    parser.add_argument("--peers", nargs="+", choices=[one.name for one in IMPLEMENTATIONS[1:]])
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=OPERATIONS)
    options = parser.parse_args()
    if not 1 <= options.threads <= len(os.sched_getaffinity(0)):
        parser.error(f"--threads is {options.threads}; this process may use {len(os.sched_getaffinity(0))} processors")
    if options.repeats < 1 or options.rounds < 1:
        parser.error("--repeats and --rounds are at least 1")
    return options


def child_environment(threads: int) -> dict[str, str]:
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FNTK_THREADS")
    return {**os.environ, **{name: str(threads) for name in pools}, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "2", "TORCHINDUCTOR_CACHE_DIR": str(Path(sys.prefix) / "inductor")}


def busy_seconds() -> tuple[float, float]:
    """Processor time since boot of everything on this machine, and of the finished children of this process."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    children = os.times()
    return ((user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"),
            children.children_user + children.children_system)


def call_alone(command: list[str | Path], threads: int) -> dict[str, Any]:
    """call, with "others": the processors that other work kept busy meanwhile, on average; 0 for a process too
    short for the kernel's clock to tell."""
    begin, (all_before, own_before) = time.monotonic(), busy_seconds()
    row = call(command, threads)
    all_after, own_after = busy_seconds()
    elapsed = time.monotonic() - begin
    others = (all_after - all_before - (own_after - own_before)) / elapsed
    return {**row, "others": max(0.0, others) if elapsed > 1 else 0.0}


def call(command: list[str | Path], threads: int) -> dict[str, Any]:
    """Runs one process on the first `threads` processors; its last line of output, or why there is none."""
    processors = sorted(os.sched_getaffinity(0))[:threads]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          env=child_environment(threads), preexec_fn=lambda: os.sched_setaffinity(0, processors))
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    complaint = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])
    missing = [line for line in complaint if line.startswith("ModuleNotFoundError")]
    if missing:
        return {"status": "skipped", "reason": missing[0]}
    return {"status": "failed", "reason": f"exit code {done.returncode}: {complaint[-1]}"}


def write_inputs(options: argparse.Namespace, sizes: Sizes, work: Path) -> Sizes:
    import numpy as np

    random = np.random.default_rng(1)
    X = np.load(options.data)[:sizes.samples] if options.data else random.standard_normal((sizes.samples, sizes.dim))
    X = X.astype(np.float64) / np.linalg.norm(X, axis=1, keepdims=True)
    np.save(work / "X.npy", X.astype(np.float32))
    np.save(work / "y.npy", random.standard_normal((len(X), 1)).astype(np.float32))
    return dataclasses.replace(sizes, samples=X.shape[0], dim=X.shape[1])


class Bench:
    def __init__(self, options: argparse.Namespace, sizes: Sizes, work: Path) -> None:
        self.options, self.sizes, self.work = options, sizes, work

    def export(self, case: Case) -> None:
        report = call([self.options.program, "export", "--network", self.work / "network.safetensors",
                       "--weights", self.work / "weights.safetensors", "--dim", str(self.sizes.dim),
                       "--width", str(case.width(self.sizes)), "--rank", str(case.rank(self.sizes)),
                       "--down", case.down, "--up", case.up, "--train", case.train], self.options.threads)
        if "status" in report:
            sys.exit(f"run.py: {self.options.program}: {report['reason']}")

    def job(self, case: Case, operation: str, implementation: str) -> dict[str, Any]:
        return {"implementation": implementation, "operation": operation, "factorised": case.factorised,
                "data": str(self.work / "X.npy"), "targets": str(self.work / "y.npy"),
                "weights": str(self.work / "weights.safetensors"),
                "result": str(self.work / f"{implementation}.npy"),
                "threads": self.options.threads, "repeats": self.options.repeats, "step": STEP}

    def measure(self, job: dict[str, Any], implementation: Implementation) -> dict[str, Any]:
        if implementation.script:
            path = self.work / "job.json"
            path.write_text(json.dumps(job))
            return call_alone([sys.executable, HERE / implementation.script, path], self.options.threads)
        words = ["data", "targets", "result", "threads", "repeats", "step"]
        return call_alone([self.options.program, job["operation"], "--network", self.work / "network.safetensors",
                           *(text for word in words for text in ("--" + word, str(job[word])))], self.options.threads)

    def compare(self, case: Case, operation: str, problem: "Problem", truth: "Truth") -> list[dict[str, Any]]:
        """All implementations of one case and operation, fntk first; results are checked in every round."""
        rows = []
        for implementation in IMPLEMENTATIONS:
            chosen = not self.options.peers or implementation.name in ("fntk", *self.options.peers)
            if chosen and implementation.runs(case, operation):
                job = self.job(case, operation, implementation.name)
                row = self.measure(job, implementation)
                row = {"case": case.name, "operation": operation, "implementation": implementation.name, **row}
                if "status" not in row:
                    self.check(row, job, problem, truth)
                rows.append(row)
                print(f"{case.name:15} {operation:5} {implementation.name:16} {row['status']:9} "
                      + (row["reason"] if "reason" in row else f"{1e3 * statistics.median(row['seconds']):10.2f} ms"
                         f"{', others busy' if row['others'] > BUSY else ''}"),
                      flush=True)
        for result in self.work.glob("*.npy"):
            if result.stem not in ("X", "y"):
                result.unlink()
        return rows

    def check(self, row: dict[str, Any], job: dict[str, Any], problem: "Problem", truth: "Truth") -> None:
        import numpy as np
        import verify

        if not (self.work / "fntk.npy").exists():
            row.update(status="failed", reason="fntk gave nothing to compare with")
            return
        value, fntk = np.load(job["result"]), np.load(self.work / "fntk.npy")
        agreement = (verify.check_gram(problem, value, fntk, truth) if job["operation"] == "gram" else
                     verify.check_step(problem, value, fntk, truth, STEP, row["loss"]))
        row["agreement"] = dataclasses.asdict(agreement)
        row["status"] = "ok" if agreement.holds else "disagrees"


def merge(rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row a measurement: the seconds of all rounds, the worst status, the rest from the round that had it."""
    order = ["ok", "skipped", "disagrees", "failed"]
    merged = []
    for rows in zip(*rounds):
        row = dict(max(rows, key=lambda one: order.index(one["status"])))
        seconds = sorted(second for one in rows for second in one.get("seconds", []))
        if "agreement" in row:
            deciles = statistics.quantiles(seconds, n=10, method="inclusive") if len(seconds) > 1 else seconds * 9
            row.update(seconds=seconds, median_s=statistics.median(seconds), p10_s=deciles[0], p90_s=deciles[-1],
                       peak_mb=max(one["peak_mb"] for one in rows if "peak_mb" in one),
                       others=max(one["others"] for one in rows))
        merged.append(row)
    return merged


def main() -> int:
    options = arguments()
    if not options.program.exists():
        print(f"run.py: {options.program} is not there; build it with\n"
              "    cmake --preset release -DFNTK_BUILD_BENCH=ON\n"
              "    cmake --build build/release --target fntk_peer_case", file=sys.stderr)
        return 2
    if not options.no_install:
        environment.enter(options.venv)
    elif importlib.util.find_spec("numpy") is None:
        print("run.py: --no-install needs NumPy in this Python; leave the flag out to make one that has it",
              file=sys.stderr)
        return 2
    import harness
    import oracle
    import report

    work = options.out / "work"
    work.mkdir(parents=True, exist_ok=True)
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(Sizes)}
    base = SMOKE if options.smoke else FULL
    sizes = dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})
    bench = Bench(options, write_inputs(options, sizes, work), work)

    rounds: list[list[dict[str, Any]]] = [[] for _ in range(options.rounds)]
    for case in CASES:
        if options.cases and case.name not in options.cases:
            continue
        bench.export(case)
        problem = harness.load_problem(bench.job(case, "gram", ""))
        truth = oracle.compute(problem)
        for rows in rounds:
            for operation in options.operations:
                rows += bench.compare(case, operation, problem, truth)
    rows = merge(rounds)
    versions = {name: version for row in rows for name, version in row.get("versions", {}).items()}
    results = {"machine": machine(), "commit": commit(), "versions": versions, "threads": options.threads,
               "smoke": options.smoke, "busiest": max((row["others"] for row in rows), default=0.0),
                "repeats": options.repeats, "rounds": options.rounds, "sizes": dataclasses.asdict(bench.sizes),
               "ratios": report.ratios(rows), "rows": rows}
    (options.out / "peers.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "peers.md").write_text(report.markdown(results))
    for leftover in work.iterdir():
        leftover.unlink()
    work.rmdir()
    print(f"\n{(options.out / 'peers.md').read_text()}\nwritten: {options.out}/peers.json and peers.md")
    return 1 if any(row["status"] in ("disagrees", "failed") for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
