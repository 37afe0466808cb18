"""float64 with NumPy on a sample of rows, from the formulas of peers/oracle.py, and how far a result is from it.

A result is a set of files with one prefix: .G.npy, .f.npy, .gates.bin (bits, little end first) of the sampled rows;
.K.npy their block of the kernel; .Kv.npy their rows of K·v; .U.npy the trained factor after one step of STEP.
Where an operation starts from a tangent, .gradients.npy has the G that it started from, else G.npy of the inputs.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE = 128  # as many as a block of the wide pass has
STEP = 1.0  # large, so that the change of U stands clear of its rounding
BLOCK = 4096
Errors = dict[str, Any]


@dataclass
class Inputs:
    """X (n × d), y (n), v (n × r), G (n × p) of peers; U, V, a as values. What a problem has no use for is None."""

    op: str
    X: np.ndarray
    y: np.ndarray | None = None
    v: np.ndarray | None = None
    G: np.ndarray | None = None
    U: np.ndarray | None = None
    V: np.ndarray | None = None
    a: np.ndarray | None = None


def sampled_rows(n: int) -> np.ndarray:
    """One of each of SAMPLE ranges, at another place of each: as in gpu_case.cpp."""
    count = min(SAMPLE, n)
    i, step = np.arange(count), n // count
    return i * step + i * 37 % step


def width_pass(H: np.ndarray, V: np.ndarray, a: np.ndarray, keep_gates: bool) -> tuple[np.ndarray, np.ndarray]:
    """Σ_r gate_r a_r V_r, exact in float32 as no sum reaches 2²⁴, and the gates."""
    sums = np.zeros(H.shape, np.float32)
    gates = np.zeros((len(H), len(V) if keep_gates else 0), bool)
    for first in range(0, len(V), BLOCK):
        block = slice(first, first + BLOCK)
        open_gates = H @ V[block].T.astype(np.float64) > 0
        sums += (open_gates * a[block]) @ V[block]
        if keep_gates:
            gates[:, block] = open_gates
    return sums.astype(np.float64), gates


def of_rows(inputs: Inputs, rows: np.ndarray) -> dict[str, np.ndarray]:
    X, V, a = inputs.X[rows].astype(np.float64), inputs.V, inputs.a
    m, p = V.shape
    H = X @ inputs.U.T.astype(np.float64) / np.sqrt(p) if inputs.U is not None else X
    sums, gates = width_pass(H, V, a, inputs.op != "step")
    G = sums / np.sqrt(float(p) * m)
    f = (H * G).sum(1) * np.sqrt(p)
    if inputs.op == "step":
        return {"change": -STEP * ((G * (f - inputs.y[rows])[:, None]).T @ X)}
    if inputs.op == "dense":
        bits = gates.astype(np.float32)
        return {"K": (X @ X.T) * (bits @ bits.T) / m, "gates": gates}
    return {"K": (X @ X.T) * (G @ G.T)} if inputs.op == "ntk" else {"G": G, "f": f[:, None], "gates": gates}


def truth(inputs: Inputs) -> dict[str, np.ndarray]:
    """Of the operations that need no G from elsewhere; once a problem. A step takes all rows, some to each thread."""
    n = len(inputs.X)
    if inputs.op != "step":
        return of_rows(inputs, sampled_rows(n))
    pieces = np.array_split(np.arange(n), -(-n // 2048))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return {"change": sum(part["change"] for part in pool.map(lambda rows: of_rows(inputs, rows), pieces))}


def from_gradients(inputs: Inputs, G: np.ndarray) -> dict[str, np.ndarray]:
    rows = sampled_rows(len(inputs.X))
    X, own = inputs.X[rows].astype(np.float64), G[rows].astype(np.float64)
    if inputs.op == "gram":
        return {"K": (X @ X.T) * (own @ own.T)}
    product = np.zeros((len(rows), inputs.v.shape[1]))
    for first in range(0, len(G), BLOCK):
        block = slice(first, first + BLOCK)
        kernel = (X @ inputs.X[block].T.astype(np.float64)) * (own @ G[block].T.astype(np.float64))
        product += kernel @ inputs.v[block]
    return {"Kv": product}


def relative(value: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(value.astype(np.float64) - wanted) / np.linalg.norm(wanted))


def read_gates(path: Path, width: int) -> np.ndarray:
    """Rows of whole 64-bit words."""
    words = np.fromfile(path, np.uint8).reshape(-1, (width + 63) // 64 * 8)
    return np.unpackbits(words, axis=1, count=width, bitorder="little").astype(bool)


def write_gates(path: Path, gates: np.ndarray) -> None:
    padded = np.pad(gates, ((0, 0), (0, -gates.shape[1] % 64)))
    np.packbits(padded, axis=1, bitorder="little").tofile(path)


def part(prefix: Path, name: str) -> Path:
    return prefix.with_name(f"{prefix.name}.{name}")


def errors(inputs: Inputs, wanted: dict[str, np.ndarray] | None, prefix: Path,
           bit_exact: bool | None = None) -> Errors:
    """rel_g: of G, for a step of the change of U; rel_k: of K, K·v. wanted: truth(), or None: from the result's G."""
    if wanted is None:
        gradients = part(prefix, "gradients.npy")
        wanted = from_gradients(inputs, np.load(gradients) if gradients.exists() else inputs.G)
    found: Errors = {"flips": None, "rel_g": None, "rel_k": None, "bit_exact": bit_exact}
    for name, column in (("G", "rel_g"), ("K", "rel_k"), ("Kv", "rel_k")):
        if name in wanted:
            found[column] = relative(np.load(part(prefix, f"{name}.npy")), wanted[name])
    if "change" in wanted:
        found["rel_g"] = relative(np.load(part(prefix, "U.npy")).astype(np.float64) - inputs.U, wanted["change"])
    if "gates" in wanted:
        gates = read_gates(part(prefix, "gates.bin"), wanted["gates"].shape[1])
        found["flips"] = float((gates != wanted["gates"]).mean())
    return found


def forget(prefix: Path) -> None:
    for path in prefix.parent.glob(prefix.name + ".*"):
        path.unlink()
