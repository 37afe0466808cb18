"""The same kernel and step in float64 with NumPy, a block of the width at a time, written from the formulas.

    f = (1/√m) σ(Z) a    Z = H Vᵀ    H = X Uᵀ/√p (dense: H = X, V = W trained)
    K_up = (XXᵀ) ∘ (DDᵀ)/m    K_down = (XXᵀ) ∘ (GGᵀ), G = (1/√(pm)) (D ∘ a) V    D = Z > 0
    dW = (1/√m) diag(a) Dᵀ (e ∘ X)    dU = (e ∘ G)ᵀ X    e = f − y
"""

from dataclasses import dataclass

import numpy as np

from harness import Problem

BLOCK = 4096


@dataclass
class Truth:
    kernel: np.ndarray  # n × n
    gradient: np.ndarray  # of ½‖f − y‖² for the trained factor
    loss: float


def compute(problem: Problem) -> Truth:
    X, a = problem.X.astype(np.float64), problem.a.astype(np.float64)
    V = problem.V
    m, p = V.shape
    H = X @ problem.U.T.astype(np.float64) / np.sqrt(p) if problem.factorised else X
    f = np.zeros(len(X))
    G = np.zeros((len(X), p))
    overlaps = np.zeros((len(X), len(X)))
    gates = np.empty((len(X), m), bool)
    for first in range(0, m, BLOCK):
        block = slice(first, first + BLOCK)
        Z = H @ V[block].T.astype(np.float64)
        gates[:, block] = Z > 0
        f += np.maximum(Z, 0) @ a[block] / np.sqrt(m)
        if problem.factorised:
            G += (gates[:, block] * a[block]) @ V[block] / np.sqrt(p * m)
        else:
            open_gates = gates[:, block].astype(np.float32)
            overlaps += open_gates @ open_gates.T  # sums of at most BLOCK ones: exact
    error = f - problem.y
    inner = G @ G.T if problem.factorised else overlaps / m
    return Truth(kernel=(X @ X.T) * inner,
                 gradient=((G * error[:, None]).T @ X if problem.factorised
                           else dense_gradient(X * error[:, None] / np.sqrt(m), gates, a)),
                 loss=float(error @ error / 2))


def dense_gradient(scaled: np.ndarray, gates: np.ndarray, a: np.ndarray) -> np.ndarray:
    gradient = np.empty((len(a), scaled.shape[1]))
    for first in range(0, len(a), BLOCK):
        block = slice(first, first + BLOCK)
        gradient[block] = (gates[:, block] * a[block]).T @ scaled
    return gradient
