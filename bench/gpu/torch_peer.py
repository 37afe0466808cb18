"""PyTorch on a GPU: closed forms as an expert would write them, eager and compiled, in float32, TF32, bf16 and int8.

torch_width.py has what runs over the width.
"""

import contextlib
import math
from typing import Any, Callable

import numpy as np
import torch

import check
import peer
from peer import Case, Clock, Work
from torch_width import Arrays, blocks, fht, finish, host, memoised, sampled_gates, wide_pass

GENERATED_BLOCK = 262144


def clock(device: str) -> Clock:
    if device == "cpu":
        return Clock(peer.wall_clock(lambda last: None), mode=precision)

    def group(run: Callable[[], Any], calls: int) -> float:
        torch.cuda.synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    base = [0]

    def memory_from_here() -> None:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        base[0] = torch.cuda.memory_allocated()

    return Clock(group, memory_from_here, lambda: (base[0], torch.cuda.max_memory_allocated()), precision)


@contextlib.contextmanager
def precision(mode: str) -> Any:
    torch.set_float32_matmul_precision("high" if mode == "tf32" else "highest")
    torch.compiler.reset()
    with torch.no_grad():
        yield


def wide(work: Work, arrays: Arrays, compiled: bool, timer: Clock) -> Case:
    H = arrays.X
    forward = wide_pass(work, arrays, compiled)
    block = (min(GENERATED_BLOCK, work.size("m")) if work.generated else
             peer.fastest(blocks(work, len(H), compiled), lambda size: forward(H, size), timer))
    rows = check.sampled_rows(len(H))

    def sample() -> dict[str, np.ndarray]:
        G, f = forward(H, block)
        return {"G": host(G)[rows], "f": host(f)[rows, None], "gates": sampled_gates(H, work.inputs.V, arrays)}

    note = f"blocks of {block}" + (", V drawn on the GPU in the time; not compared" if work.generated else "")
    return Case(lambda: forward(H, block), sample, note)


def step(work: Work, arrays: Arrays, compiled: bool, timer: Clock) -> Case:
    X, y, U = arrays.X, arrays.floats(work.inputs.y), arrays.floats(work.inputs.U)
    p = work.size("p")
    forward = wide_pass(work, arrays, compiled)

    def hidden(U: torch.Tensor) -> torch.Tensor:
        return X @ U.to(X.dtype).T / math.sqrt(p)

    def descend(U: torch.Tensor, G: torch.Tensor, f: torch.Tensor, eta: torch.Tensor) -> torch.Tensor:
        error = f - y
        gradient = (G * error[:, None]).to(X.dtype).T @ X
        U.sub_(gradient.float() * eta)
        return error @ error / 2

    if compiled:
        hidden, descend = (torch.compile(function, dynamic=False) for function in (hidden, descend))
    small, whole = (torch.tensor(eta, device=X.device) for eta in (peer.TIMED_STEP, check.STEP))

    def run(block: int, eta: torch.Tensor = small) -> torch.Tensor:
        return descend(U, *forward(hidden(U), block), eta)

    block = peer.fastest(blocks(work, len(X), compiled), run, timer)

    def sample() -> dict[str, np.ndarray]:
        U.copy_(arrays.floats(work.inputs.U))
        run(block, whole)
        return {"U": host(U)}

    return Case(lambda: run(block), sample, f"blocks of {block}")


def overlaps(W: torch.Tensor, X: torch.Tensor, block: int, wrap: Callable[..., Any], int8: bool) -> torch.Tensor:
    """Σ over blocks of D Dᵀ."""
    def product(X: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        gates = (X @ rows.T > 0).to(torch.int8 if int8 else X.dtype)
        return torch._int_mm(gates, gates.T) if int8 else (gates @ gates.T).float()

    body = wrap(product)
    total = torch.zeros(len(X), len(X), device=X.device, dtype=torch.int32 if int8 else torch.float32)
    for rows in W.split(block):
        total += body(X, rows)
    return total


def dense(work: Work, arrays: Arrays, compiled: bool, timer: Clock) -> Case:
    X, W = arrays.X, arrays.put(work.inputs.V)
    wrap = memoised(compiled)

    def ending(X: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        return (X @ X.T) * counts / len(W)

    def run(block: int) -> torch.Tensor:
        return wrap(ending)(X, overlaps(W, X, block, wrap, arrays.int8))

    block = peer.fastest(blocks(work, len(X), compiled), run, timer)
    rows = check.sampled_rows(len(X))
    return Case(lambda: run(block), lambda: {"K": host(run(block)[rows][:, rows]),
                                             "gates": sampled_gates(X, work.inputs.V, arrays)}, f"blocks of {block}")


def gram(work: Work, arrays: Arrays, compiled: bool, timer: Clock) -> Case:
    X, G = arrays.X, arrays.put(work.inputs.G)
    kernel = (torch.compile(lambda X, G: (X @ X.T) * (G @ G.T), dynamic=False) if compiled else
              lambda X, G: (X @ X.T).mul_(G @ G.T))
    rows = check.sampled_rows(len(X))
    return Case(lambda: kernel(X, G), lambda: {"K": host(kernel(X, G)[rows][:, rows])})


def operator(work: Work, arrays: Arrays, compiled: bool, timer: Clock) -> Case:
    """(K v)_i = <G_i M, x_i>, M = Gᵀ diag(v) X: column by column of v."""
    X, G, v = arrays.X, arrays.put(work.inputs.G), arrays.put(work.inputs.v)

    def column(X: torch.Tensor, G: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        M = (G * v[:, None]).T @ X
        return (X @ M.T * G).sum(1)

    if compiled:
        column = torch.compile(column, dynamic=False)
    columns = [one.contiguous() for one in v.T]

    def product() -> torch.Tensor:
        return torch.stack([column(X, G, one) for one in columns], 1)

    return Case(product, lambda: {"Kv": host(product())[check.sampled_rows(len(X))]})


def explicit(work: Work, arrays: Arrays, compiled: bool, timer: Clock) -> Case:
    X, G, v = arrays.X, arrays.put(work.inputs.G), arrays.put(work.inputs.v)
    K = torch.empty(len(X), len(X), device=X.device, dtype=X.dtype)
    for first in range(0, len(X), 2048):
        rows = slice(first, first + 2048)
        torch.mm(X[rows], X.T, out=K[rows])
        K[rows] *= G[rows] @ G.T
    return Case(lambda: K @ v, lambda: {"Kv": host(K @ v)[check.sampled_rows(len(X))]}, "without forming K")


def jacrev(work: Work, arrays: Arrays, compiled: bool, timer: Clock) -> Case:
    X, U, V, a = arrays.X, *(arrays.put(array) for array in (work.inputs.U, work.inputs.V, work.inputs.a))
    m, p = V.shape

    def network(U: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(V @ (U @ x) / math.sqrt(p)) @ a / math.sqrt(m)

    def kernel() -> torch.Tensor:
        with torch.enable_grad():
            jacobian = torch.func.vmap(torch.func.jacrev(network), (None, 0))(U, X).flatten(1)
        return jacobian @ jacobian.T

    rows = check.sampled_rows(len(X))
    return Case(kernel, lambda: {"K": host(kernel().detach()[rows][:, rows])})


def transforms(work: Work, arrays: Arrays, compiled: bool, timer: Clock) -> Case:
    """V is blocks H_P diag(s): their first rows are the signs s."""
    H, p, m = arrays.X, work.size("p"), work.size("m")
    signs, a = arrays.put(work.inputs.V[::p]), arrays.put(work.inputs.a).view(-1, p)

    def body(H: torch.Tensor, signs: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        z = fht(H[:, None, :] * signs)
        return (fht((z > 0) * a) * signs).sum(1)

    wrap = memoised(compiled)
    count = max(1, min(len(signs), (1 << 30) // (4 * len(H) * p)))

    def run() -> Any:
        G = torch.zeros_like(H)
        for pieces in zip(signs.split(count), a.split(count)):
            G += wrap(body)(H, *pieces)
        return finish(H, G, m)

    rows = check.sampled_rows(len(H))

    def sample() -> dict[str, np.ndarray]:
        G, f = run()
        z = fht(H[torch.from_numpy(rows).to(H.device)][:, None, :] * signs)
        return {"G": host(G)[rows], "f": host(f)[rows, None], "gates": (z > 0).flatten(1).cpu().numpy()}

    return Case(run, sample, f"{count} blocks of V at a time")


def make(work: Work, implementation: str, mode: str, timer: Clock) -> Case:
    special = {"torch-fht": transforms, "torch-fht-compile": transforms, "torch-explicit": explicit,
               "torch-jacrev": jacrev}
    closed = {"wide": wide, "step": step, "dense": dense, "gram": gram, "operator": operator}
    build = special.get(implementation) or closed[work.op]
    return build(work, Arrays(work, mode), implementation.endswith("compile"), timer)


if __name__ == "__main__":
    peer.main(make, clock, {"torch": torch.__version__})
