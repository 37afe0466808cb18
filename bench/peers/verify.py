"""Do the numbers agree? Relative Frobenius errors, and the bounds that float32 arithmetic explains.

A gate whose z is nearly 0 comes out on either side of it. With a relative error δ in z about δ of the gates
flip; float32 sums have δ < FLIP_SHARE, of which one or two gates of the batch are allowed to make more. When
a share φ of the gates differs,
    G, and the gradients e ∘ G and Dᵀ(e ∘ X), differ by √(2φ), as ‖D − D'‖²/‖D‖² = 2φ;
    K_down is a product of two G and differs by at most 2√(2φ);
    K_up counts gates, about m/4 a pair: φm flips a sample in random directions move a count by √(φm), in
    one direction by φm, so that it differs by 4(√(φ/m) + φ).
To this come float32 rounding, and for the step the resolution in which the new parameters are stored, against
the size of the change.
"""

from dataclasses import dataclass

import numpy as np

from harness import Problem
from oracle import Truth

FLIP_SHARE = 1e-6
ROUNDING = 1e-5  # of float32 sums and products
RESOLUTION = 2.0**-21  # of a stored parameter, relative to the largest: fntk's fixed-point U; float32 has 2^-24


@dataclass
class Agreement:
    error: float  # against float64
    largest: float  # largest entry of the difference from float64, relative to the largest entry
    against_fntk: float
    bound: float  # on error; twice it on against_fntk
    loss_error: float = 0.0

    @property
    def holds(self) -> bool:
        """False for NaN too."""
        return self.error <= self.bound and self.against_fntk <= 2 * self.bound and self.loss_error <= ROUNDING


def flip_share(problem: Problem) -> float:
    return max(FLIP_SHARE, 2 / (len(problem.X) * len(problem.a)))


def compare(value: np.ndarray, fntk: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    difference = value - truth
    norm = np.linalg.norm(truth)
    return (float(np.linalg.norm(difference) / norm), float(np.abs(difference).max() / np.abs(truth).max()),
            float(np.linalg.norm(value - fntk) / norm))


def check_gram(problem: Problem, kernel: np.ndarray, fntk: np.ndarray, truth: Truth) -> Agreement:
    share = flip_share(problem)
    moved = 2 * np.sqrt(2 * share) if problem.factorised else 4 * (np.sqrt(share / len(problem.a)) + share)
    bound = ROUNDING + moved
    return Agreement(*compare(kernel, fntk, truth.kernel), bound=float(bound))


def check_step(problem: Problem, parameters: np.ndarray, fntk: np.ndarray, truth: Truth, eta: float,
               loss: float) -> Agreement:
    """Compares the changes of the trained factor in one step of size eta."""
    start = (problem.U if problem.factorised else problem.V).astype(np.float64)
    change = -eta * truth.gradient
    stored = RESOLUTION * np.abs(start).max() * np.sqrt(start.size) / np.linalg.norm(change)
    bound = ROUNDING + np.sqrt(2 * flip_share(problem)) + stored
    return Agreement(*compare(parameters - start, fntk - start, change), bound=float(bound),
                     loss_error=abs(loss / truth.loss - 1))
