"""JAX under jit: the closed forms of torch_peer.py, the width whole or in a scan over blocks, whichever is faster."""

import math
from typing import Any, Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

import check
import peer
from peer import Case, Clock, Work

PRECISION = {"fp32": "float32", "tf32": "tensorfloat32", "bf16": "bfloat16"}  # of float32 products, by JAX's names
BLOCK = 16384
MOST_BYTES = 16 << 30


def clock(device: str) -> Clock:
    def peak() -> tuple[int | None, int | None]:
        """Of the process so far: JAX sets its peak back to nothing else, so only the first class can tell."""
        seen = jax.devices()[0].memory_stats() if first[0] else None
        first[0] = False
        return base[0], seen.get("peak_bytes_in_use") if seen else None

    def start() -> None:
        seen = jax.devices()[0].memory_stats()
        base[0] = seen.get("bytes_in_use") if seen else None

    first, base = [True], [None]
    return Clock(peer.wall_clock(jax.block_until_ready), start, peak,
                 lambda mode: jax.default_matmul_precision(PRECISION[mode]))


def partial(H, V, a):
    gates = jnp.where(H @ V.T > 0, a, 0).astype(H.dtype)
    return jnp.matmul(gates, V, preferred_element_type=jnp.float32)


def wide_pass(H, V, a, block):
    """G, f."""
    m, p = V.shape
    if block == m:
        G = partial(H, V, a)
    else:
        pieces = (V.reshape(-1, block, p), a.reshape(-1, block))
        zero = jnp.zeros(H.shape, jnp.float32)
        G, _ = jax.lax.scan(lambda total, piece: (total + partial(H, *piece), None), zero, pieces)
    G = G / math.sqrt(p * m)
    return G, (H.astype(jnp.float32) * G).sum(1) * math.sqrt(p)


def step(U, X, y, V, a, eta, block):
    H = (X @ U.astype(X.dtype).T / math.sqrt(V.shape[1])).astype(X.dtype)
    G, f = wide_pass(H, V, a, block)
    error = f - y
    gradient = jnp.matmul((G * error[:, None]).astype(X.dtype).T, X, preferred_element_type=jnp.float32)
    return U - eta * gradient, error @ error / 2


def dense(X, W, block):
    m = len(W)

    def overlap(W):
        gates = (X @ W.T > 0).astype(X.dtype)
        return jnp.matmul(gates, gates.T, preferred_element_type=jnp.float32)

    if block == m:
        counts = overlap(W)
    else:
        zero = jnp.zeros((len(X), len(X)), jnp.float32)
        counts, _ = jax.lax.scan(lambda total, W: (total + overlap(W), None), zero, W.reshape(-1, block, W.shape[1]))
    return (X @ X.T) * counts / m


def gram(X, G):
    return (X @ X.T) * (G @ G.T)


def operator(X, G, v):
    def column(v):
        M = (G * v[:, None]).T @ X
        return (X @ M.T * G).sum(1)

    return jax.lax.map(column, v.T).T if v.shape[1] > 1 else column(v[:, 0])[:, None]


def blocks(work: Work) -> Iterator[int]:
    n, m = work.size("n"), work.size("m")
    if m % BLOCK == 0 and m > BLOCK:
        yield BLOCK
    if 4 * n * m <= MOST_BYTES or m <= BLOCK:
        yield m


def best(work: Work, timer: Clock, compile_for: Callable[[int], Callable[[], Any]]) -> tuple[Callable[[], Any], str]:
    made = {block: compile_for(block) for block in blocks(work)}
    block = peer.fastest(list(made), lambda size: made[size](), timer)
    return made[block], f"blocks of {block}"


def make(work: Work, implementation: str, mode: str, timer: Clock) -> Case:
    dtype = jnp.bfloat16 if mode == "bf16" else jnp.float32
    inputs, rows = work.inputs, check.sampled_rows(work.size("n"))
    put = lambda array, dtype=dtype: jnp.asarray(array, dtype)  # noqa: E731
    host = lambda array: np.asarray(array, np.float32)  # noqa: E731
    X = put(inputs.X)
    if work.op in ("gram", "operator"):
        arguments = (X, put(inputs.G), *((put(inputs.v),) if work.op == "operator" else ()))
        compiled = jax.jit(gram if work.op == "gram" else operator)
        run = lambda: compiled(*arguments)  # noqa: E731
        return Case(run, lambda: ({"K": host(run()[rows][:, rows])} if work.op == "gram" else
                                  {"Kv": host(run()[rows])}))
    V, a = put(inputs.V), put(inputs.a)
    if work.op == "step":
        return step_case(work, timer, X, V, a)
    if work.op == "dense":
        run, note = best(work, timer, lambda block: jitted(dense, (X, V), block))
    else:
        run, note = best(work, timer, lambda block: jitted(wide_pass, (X, V, a), block))

    def sample() -> dict[str, np.ndarray]:
        found = {"gates": np.asarray(jax.jit(lambda X, V: X @ V.T > 0)(X[rows], V))}
        if work.op == "dense":
            return {**found, "K": host(run()[rows][:, rows])}
        G, f = run()
        return {**found, "G": host(G[rows]), "f": host(f[rows])[:, None]}

    return Case(run, sample, note)


def jitted(function: Callable[..., Any], arguments: tuple[Any, ...], block: int) -> Callable[[], Any]:
    compiled = jax.jit(function, static_argnums=len(arguments))
    return lambda: compiled(*arguments, block)


def step_case(work: Work, timer: Clock, X, V, a) -> Case:
    """The parameters are donated: each step writes into the memory of the last."""
    y = jnp.asarray(work.inputs.y, jnp.float32)
    compiled = jax.jit(step, static_argnums=6, donate_argnums=0)
    state = {"U": jnp.asarray(work.inputs.U, jnp.float32)}

    def run(block: int, eta: float = peer.TIMED_STEP):
        state["U"], loss = compiled(state["U"], X, y, V, a, eta, block)
        return state["U"], loss

    block = peer.fastest(list(blocks(work)), run, timer)

    def sample() -> dict[str, np.ndarray]:
        state["U"] = jnp.asarray(work.inputs.U, jnp.float32)
        run(block, check.STEP)
        return {"U": np.asarray(state["U"])}

    return Case(lambda: run(block), sample, f"blocks of {block}")


if __name__ == "__main__":
    peer.main(make, clock, {"jax": jax.__version__})
