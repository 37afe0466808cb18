"""The files that all implementations of a problem read: made once, in a folder of the problem's own.

    X.npy, y.npy, v.npy     random: unit rows, targets, vectors
    G.npy                   random: the G that peers start gram and operator from (fntk starts from its own)
    network.safetensors     what fntk draws from its seed; weights.safetensors: U, V and a as values
    truth.npz               check.truth, of the problems that have one
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path += [str(Path(__file__).resolve().parent.parent / "peers")]

import check  # noqa: E402
from harness import read_safetensors  # noqa: E402
from problems import Problem  # noqa: E402

FROM_GRADIENTS = ("gram", "operator")


def needs_weights(problem: Problem) -> bool:
    return problem.checked and problem.op not in FROM_GRADIENTS


def random_arrays(problem: Problem) -> dict[str, np.ndarray]:
    shape = problem.shape
    random = np.random.default_rng(1)
    n, p = shape["n"], shape.get("p", 0)
    X = random.standard_normal((n, shape.get("d", p)), dtype=np.float32)
    X /= np.sqrt(np.einsum("ij,ij->i", X, X))[:, None]
    arrays = {"X": X}
    if problem.op == "step":
        arrays["y"] = random.standard_normal((n, 1), dtype=np.float32)
    if problem.op == "operator":
        arrays["v"] = random.standard_normal((n, shape["r"]), dtype=np.float32)
    if problem.op in FROM_GRADIENTS:
        arrays["G"] = random.standard_normal((n, p), dtype=np.float32) / np.float32(np.sqrt(p))
    return arrays


def prepare(problem: Problem, folder: Path, program: Path, stamp: str) -> None:
    """Does nothing where the files are there and of this stamp."""
    done = folder / "done"
    if done.exists() and done.read_text() == stamp:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    shape = problem.shape
    words = {"network": folder / "network.safetensors", "dim": shape.get("d", shape.get("p")), "width": shape["m"],
             "rank": shape.get("p", shape.get("d")), "down": problem.down, "up": problem.up, "train": problem.train}
    if needs_weights(problem):
        words["weights"] = folder / "weights.safetensors"
    subprocess.run([program, "export", *(str(word) for name, value in words.items() for word in ("--" + name, value))],
                   check=True, stdout=subprocess.DEVNULL)
    for name, array in random_arrays(problem).items():
        np.save(folder / f"{name}.npy", array)
    if needs_weights(problem):
        np.savez(folder / "truth.npz", **check.truth(load(problem.op, folder)))
    done.write_text(stamp)


def load(op: str, folder: Path) -> check.Inputs:
    arrays = {name: np.load(folder / f"{name}.npy") for name in ("X", "y", "v", "G")
              if (folder / f"{name}.npy").exists()}
    if "y" in arrays:
        arrays["y"] = arrays["y"].ravel()
    weights = folder / "weights.safetensors"
    if weights.exists():
        values = read_safetensors(weights)
        arrays.update(V=values["V"], a=values["A"].ravel(), U=values.get("U"))
    return check.Inputs(op=op, **arrays)


def load_truth(folder: Path) -> dict[str, np.ndarray] | None:
    path = folder / "truth.npz"
    return dict(np.load(path)) if path.exists() else None


if __name__ == "__main__":  # in a process of its own, so that what it takes is given back
    job = json.loads(sys.argv[1])
    prepare(Problem(**job["problem"]), Path(job["folder"]), Path(job["program"]), job["stamp"])
