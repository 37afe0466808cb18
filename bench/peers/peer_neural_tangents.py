"""neural-tangents on plain apply functions f(params, x), with its fast implementation.

Weights are stored input-major (x @ W, as in its own Dense layer): its structure rules see through that
product, but not through a transposition. vmap_axes=0 says that samples do not mix.
"""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.interpreters import ad

import harness
from harness import Problem

# The package imports its TensorFlow bridge, which nothing here uses.
sys.modules["neural_tangents.experimental"] = types.ModuleType("neural_tangents.experimental")
import neural_tangents  # noqa: E402

# It reads jax.interpreters.ad.source_info_util and .config, which JAX 0.4.30 keeps under other names.
neural_tangents._src.empirical.ad = types.SimpleNamespace(**{**vars(ad), "config": jax.config})


def dense(W, a):
    return lambda parameters, x: jax.nn.relu(x @ parameters) @ a / np.sqrt(a.shape[0])


def factorised(V, a):
    scale = 1 / np.sqrt(V.shape[0] * V.shape[1])
    return lambda parameters, x: jax.nn.relu((x @ parameters) @ V) @ a * scale


def gram(problem: Problem):
    X, a = jnp.asarray(problem.X), jnp.asarray(problem.a[:, None])
    V = jnp.asarray(np.ascontiguousarray(problem.V.T))
    parameters = jnp.asarray(np.ascontiguousarray(problem.U.T)) if problem.factorised else V
    network = factorised if problem.factorised else dense

    @jax.jit
    def kernel(X, parameters, V, a):
        ntk = neural_tangents.empirical_ntk_fn(
            network(V, a), trace_axes=(), vmap_axes=0,
            implementation=neural_tangents.NtkImplementation.STRUCTURED_DERIVATIVES)
        return ntk(X, None, parameters)

    last = {}

    def run():
        last["K"] = kernel(X, parameters, V, a).block_until_ready()

    return run, lambda: np.asarray(last["K"])[:, :, 0, 0]


if __name__ == "__main__":
    harness.main({"neural-tangents": gram},
                 {"neural-tangents": neural_tangents.__version__, "jax": jax.__version__})
