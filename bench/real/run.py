#!/usr/bin/env python3
"""Kernel ridge regression on real data, by the program, beside its plans: accuracy, seconds, peak memory.

    python3 bench/real/run.py [--out build/real] [--only tables|images] [--samples N] [--memory 4GiB]

Fashion-MNIST, all 60 000 training images and 10 000 test images, with the kernels of train = down, train = up and the
infinite width, and 10 000 images of it by both solvers; and two small tables, diabetes (442 × 10, regression) and
breast cancer (569 × 30, two classes), where scikit-learn is installed (Debian: python3-sklearn), beside linear ridge
regression on the same split. Writes real.json and real.md.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "bench"))

from provenance import commit, machine  # noqa: E402

RIDGES = "1e-6,1e-5,1e-4,1e-3,1e-2,1e-1,1,10"
TOLERANCE = 1e-2  # of cg: more changes no accuracy here, the table has the dense solve beside it
FASHION = [  # name, ridge, options
    ("down: srht, p = 128, m = 65 536", 1e-2, ["--train", "down", "--rank", "128", "--width", "65536"]),
    ("up: pca, p = 128, m = 2048", 1e-2, ["--train", "up", "--down", "pca", "--rank", "128", "--width", "2048"]),
    ("infinite width", 1e-3, ["--limit", "--train", "up"]),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build/real")
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/bin/fntk")
    parser.add_argument("--only", choices=("tables", "images"), help="half of it; without: both")
    parser.add_argument("--samples", type=int, default=0, help="training images; 0: all 60 000")
    parser.add_argument("--subset", type=int, default=10000, help="images on which both solvers run")
    parser.add_argument("--memory", default="4GiB")
    return parser.parse_args()


def fit(options, folder, *words):
    """The report of the fit, with the seconds that its plan said before."""
    path = folder / "report.json"
    command = [options.program, "fit", *words, "--memory", options.memory, "--json", path]
    print("+", *command[:-2], file=sys.stderr, flush=True)
    reports = []
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]  # a process begins with the peak of the one that forked it: not with this one's
    for more in (["--dry-run"], []):
        done = subprocess.run([*shell, *map(str, command + more)], text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        reports.append(json.loads(path.read_text(encoding="utf-8")))
    before, report = reports
    report["plan"]["estimated_seconds"] = before["plan"]["estimated_seconds"]
    return report


def planned_seconds(report):
    """Setup and, of cg, the iterations it took; one more product for the true residual."""
    estimate = report["plan"]["estimated_seconds"]
    return estimate["setup"] + estimate["iteration"] * ((report.get("iterations") or -1) + 1)


def row(name, report, **more):
    return {
        "name": name, "samples": report["data"]["samples"], "solver": report["plan"]["solver"], "stored": report["plan"]["stored"],
        "ridge": report["ridge"], "iterations": report.get("iterations"), "residual": report.get("residual"),
        "test_accuracy": report.get("test_accuracy"), "test_rmse": report.get("test_rmse"), "seconds": report["seconds"],
        "planned_seconds": planned_seconds(report),
        "plan_bytes": report["plan"]["peak_bytes"], "peak_bytes": report["peak_bytes"],
        "peak_rss_bytes": report["peak_rss_bytes"], **more,
    }


def fashion(options, folder):
    """Each kernel on the subset by both solvers, then on everything."""
    for name, ridge, words in FASHION:
        words = [*words, "--ridge", ridge, "--tolerance", TOLERANCE]
        for solver in ("cholesky", "cg"):
            report = fit(options, folder, "fashion-mnist", *words, "--samples", options.subset, "--solver", solver)
            yield row(name, report)
        yield row(name, fit(options, folder, "fashion-mnist", *words, "--samples", options.samples))


def tables(options, folder):
    """Random quarters as test sets; columns standardised by the training rows, a column of ones for the offset."""
    try:
        from sklearn.datasets import load_breast_cancer, load_diabetes
        from sklearn.linear_model import RidgeCV
    except ImportError:
        print("skipped: the tables need scikit-learn", file=sys.stderr)
        return
    for name, load in (("diabetes", load_diabetes), ("breast cancer", load_breast_cancer)):
        x, y = load(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(x))
        test, train = order[: len(x) // 4], order[len(x) // 4:]
        x = (x - x[train].mean(0)) / x[train].std(0)
        classes = name == "breast cancer"
        centre, scale = (0.0, 1.0) if classes else (y[train].mean(), y[train].std())
        y = y.astype(np.int64) if classes else (y - centre) / scale
        paths = {}
        for split, index in (("train", train), ("test", test)):
            paths[split] = folder / f"{split}.npy", folder / f"{split}_y.npy"
            np.save(paths[split][0], np.ascontiguousarray(np.column_stack([x[index], np.ones(len(index))])))
            np.save(paths[split][1], y[index])
        model, mean, path = folder / "model.safetensors", folder / "mean.npy", folder / "predict.json"
        report = fit(options, folder, paths["train"][0], "--labels", paths["train"][1], "--limit", "--train", "up", "--precision",
                     "float64", "--no-normalize", "--ridge", RIDGES, "--out", model)
        subprocess.run([options.program, "predict", model, paths["test"][0], "--labels", paths["test"][1], "--out", mean, "--json",
                        path], check=True, capture_output=True)
        scores = json.loads(path.read_text(encoding="utf-8"))
        linear = RidgeCV(np.logspace(-4, 4, 17)).fit(x[train], y[train] - 0.5 * classes).predict(x[test])
        beside = np.mean((linear > 0) == y[test]) if classes else np.sqrt(np.mean((linear - y[test]) ** 2))
        yield row(f"{name}, infinite width", {**report, **{k: scores[k] for k in scores if k.startswith("test_")}},
                  linear=float(beside))


def markdown(result):
    lines = ["# Kernel ridge regression on real data", "",
             f"{result['machine']}, {result['threads']} threads; fntk at {result['commit']}; --memory {result['memory']}.", "",
             "| data and kernel | samples | solver | ridge | test | planned s | fit s | predict s | planned MiB | peak MiB of the process |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for one in result["rows"]:
        score = f"{100 * one['test_accuracy']:.2f} %" if one["test_accuracy"] is not None else f"rmse {one['test_rmse']:.3f}"
        if "linear" in one:
            score += f" (linear: {one['linear']:.3f})" if one["test_accuracy"] is None else f" (linear: {100 * one['linear']:.2f} %)"
        solver = one["solver"] + (", K stored" if one["stored"] else "")
        if one["iterations"] is not None:
            solver += f", {one['iterations']} iterations to {one['residual']:.0e}"
        predict = one["seconds"].get("predict")
        lines.append(f"| {one['name']} | {one['samples']} | {solver} | {one['ridge']:g} | {score} | {one['planned_seconds']:.1f} | "
                     f"{one['seconds']['fit']:.1f} | {'' if predict is None else format(predict, '.1f')} | "
                     f"{one['plan_bytes'] >> 20} | {one['peak_rss_bytes'] >> 20} |")
    lines += ["", "Planned MiB: what the fit may take beside the data and the program; the process: everything. Planned s: the "
              "estimate before the fit, for as many iterations as it took.", ""]
    return "\n".join(lines)


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(), "threads": len(os.sched_getaffinity(0)), "commit": commit(), "memory": options.memory,
              "load_average_before": os.getloadavg()[0]}
    result["rows"] = []
    with tempfile.TemporaryDirectory() as folder:
        parts = [part(options, Path(folder)) for name, part in (("tables", tables), ("images", fashion)) if options.only in (None, name)]
        for one in itertools.chain(*parts):
            result["rows"].append(one)  # what is done is not lost to an interrupt
            (options.out / "real.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            (options.out / "real.md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
