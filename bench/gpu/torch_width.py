"""What runs over the width in PyTorch: Σ_r gate_r a_r V_r, by products of every class and by transforms.

Products of bf16 accumulate in float32; sums over blocks of the width are float32, or int32 where products are int8.
V lies on the device in the type of the products, for int8 in the layout that its matrix units want.
"""

import math
from typing import Any, Callable

import numpy as np
import torch

import check
from peer import Work

MOST_BYTES = 16 << 30  # of an n × block intermediate


class Arrays:
    """The inputs on the device, in the type of a class."""

    def __init__(self, work: Work, mode: str) -> None:
        self.device = torch.device(work.device)
        self.dtype = torch.bfloat16 if mode.endswith("bf16") else torch.float32
        self.int8 = mode.startswith("int8")
        self.inputs = work.inputs
        self.X = self.put(work.inputs.X)

    def put(self, array: np.ndarray, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, dtype or self.dtype, copy=True)

    def floats(self, array: np.ndarray) -> torch.Tensor:
        return self.put(array, torch.float32)


def part(H: torch.Tensor, rows: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """Σ_r gate_r a_r V_r over a block of the width, compiled."""
    return (torch.where(H @ rows.T > 0, signs, 0) @ rows).float()


def part_in_place(H: torch.Tensor, rows: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    return ((H @ rows.T).gt_(0).mul_(signs) @ rows).float()


def part_int8(H: torch.Tensor, rows: torch.Tensor, signs: torch.Tensor, rows8: torch.Tensor,
              signs8: torch.Tensor) -> torch.Tensor:
    return torch._int_mm((H @ rows.T > 0).to(torch.int8).mul_(signs8), rows8)


def part_generated(H: torch.Tensor, block: int) -> torch.Tensor:
    def signs(*extents: int) -> torch.Tensor:
        return torch.randint(0, 2, extents, dtype=torch.int8, device=H.device).to(H.dtype) * 2 - 1

    return part(H, signs(block, H.shape[1]), signs(block))


def finish(H: torch.Tensor, G: torch.Tensor, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    p = H.shape[1]
    G = G / math.sqrt(p * m)
    return G, (H * G).sum(1) * math.sqrt(p)


def blocks(work: Work, n: int, compiled: bool) -> list[int]:
    m = work.size("m")
    sizes = (16384,) if compiled else (4096, 16384, 65536)
    return [size for size in (*sizes, m) if size <= m and 4 * n * size <= MOST_BYTES or size == min(sizes)]


def wide_pass(work: Work, arrays: Arrays, compiled: bool) -> Callable[[torch.Tensor, int], Any]:
    """(H, block) → G and f."""
    m = work.size("m")
    wrap = (lambda function: torch.compile(function, dynamic=False)) if compiled else (lambda function: function)
    ending = wrap(finish)
    if work.generated:
        generate = wrap(part_generated)

        def generated(H: torch.Tensor, block: int) -> Any:
            G = torch.zeros(H.shape, device=H.device)
            for first in range(0, m, block):
                G += generate(H, min(block, m - first))
            return ending(H, G, m)

        return generated
    V, a = arrays.put(work.inputs.V), arrays.put(work.inputs.a)
    tensors = [V, a]
    if arrays.int8:
        across = arrays.put(work.inputs.V.T, torch.int8)  # p × m: a block of its columns, transposed, is K-major
        tensors += [across.T, arrays.put(work.inputs.a, torch.int8)]
    body = part_int8 if arrays.int8 else wrap(part) if compiled else part_in_place

    def run(H: torch.Tensor, block: int) -> Any:
        G = torch.zeros(H.shape, device=H.device, dtype=torch.int32 if arrays.int8 else torch.float32)
        for pieces in zip(*(tensor.split(block) for tensor in tensors)):
            G += body(H, *pieces)
        return ending(H, G, m)

    return run


def host(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


def sampled_gates(X: torch.Tensor, V: np.ndarray, arrays: Arrays) -> np.ndarray:
    rows = torch.from_numpy(check.sampled_rows(len(X))).to(X.device)
    return np.concatenate([(X[rows] @ arrays.put(V[first:first + 65536]).T > 0).cpu().numpy()
                           for first in range(0, len(V), 65536)], axis=1)


def memoised(compiled: bool) -> Callable[..., Any]:
    """torch.compile once a name."""
    made: dict[str, Any] = {}

    def wrap(function: Callable[..., Any]) -> Any:
        if not compiled:
            return function
        return made.setdefault(function.__name__, torch.compile(function, dynamic=False))

    return wrap


def fht(x: torch.Tensor) -> torch.Tensor:
    """H_P along the last axis, in natural order."""
    shape, half = x.shape, 1
    while half < shape[-1]:
        pairs = x.view(*shape[:-1], shape[-1] // (2 * half), 2, half)
        upper, lower = pairs.unbind(-2)
        x = torch.stack((upper + lower, upper - lower), -2).view(shape)
        half *= 2
    return x
