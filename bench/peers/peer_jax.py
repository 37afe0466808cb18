"""JAX under jit: the closed forms as an expert would write them, and autodiff for the training step."""

import jax
import jax.numpy as jnp
import numpy as np

import harness
from harness import Problem


def dense_gram(X, W, a):
    """(XXᵀ) ∘ (DDᵀ)/m: a² = 1 drops out."""
    gates = jnp.where(X @ W.T > 0, 1.0, 0.0).astype(X.dtype)
    return (X @ X.T) * (gates @ gates.T) / W.shape[0]


def hidden_and_gradients(X, U, V, a):
    """H = XUᵀ/√p, G = ((Z > 0) ∘ a) V/√(pm)."""
    m, p = V.shape
    H = X @ U.T / np.sqrt(p)
    return H, jnp.where(H @ V.T > 0, a, 0) @ V / np.sqrt(p * m)


def factorised_gram(X, U, V, a):
    G = hidden_and_gradients(X, U, V, a)[1]
    return (X @ X.T) * (G @ G.T)


def dense_step(W, X, y, a, eta):
    Z = X @ W.T
    scale = 1 / np.sqrt(W.shape[0])
    error = jax.nn.relu(Z) @ a * scale - y
    gradient = jnp.where(Z > 0, a, 0).T @ (X * error[:, None]) * scale
    return W - eta * gradient, error @ error / 2


def factorised_step(U, X, y, V, a, eta):
    H, G = hidden_and_gradients(X, U, V, a)
    error = jnp.sum(H * G, axis=1) * np.sqrt(V.shape[1]) - y
    return U - eta * (G * error[:, None]).T @ X, error @ error / 2


def dense_loss(W, X, y, a):
    f = jax.nn.relu(X @ W.T) @ a / np.sqrt(W.shape[0])
    return jnp.sum((f - y) ** 2) / 2


def factorised_loss(U, X, y, V, a):
    m, p = V.shape
    f = jax.nn.relu(X @ U.T / np.sqrt(p) @ V.T) @ a / np.sqrt(m)
    return jnp.sum((f - y) ** 2) / 2


def autodiff(loss):
    def step(parameters, *rest):
        *arguments, eta = rest
        value, gradient = jax.value_and_grad(loss)(parameters, *arguments)
        return parameters - eta * gradient, value

    return step


def make_gram(problem: Problem):
    X, V, a = jnp.asarray(problem.X), jnp.asarray(problem.V), jnp.asarray(problem.a)
    factors = (jnp.asarray(problem.U), V) if problem.factorised else (V,)
    kernel = jax.jit(factorised_gram if problem.factorised else dense_gram)
    last = {}

    def run():
        last["K"] = kernel(X, *factors, a).block_until_ready()

    return run, lambda: np.asarray(last["K"])


def make_step(problem: Problem, step):
    """The parameters are donated: each step writes into the memory of the last."""
    X, y, V, a = (jnp.asarray(array) for array in (problem.X, problem.y, problem.V, problem.a))
    state = {"parameters": jnp.array(problem.U) if problem.factorised else V}
    fixed = (X, y, V, a) if problem.factorised else (X, y, a)
    compiled = jax.jit(step, donate_argnums=0)

    def run(eta):
        state["parameters"], loss = jax.block_until_ready(compiled(state["parameters"], *fixed, eta))
        return loss

    return run, lambda: np.array(state["parameters"])


def expert(problem: Problem):
    if problem.operation == "gram":
        return make_gram(problem)
    return make_step(problem, factorised_step if problem.factorised else dense_step)


def autodiff_step(problem: Problem):
    return make_step(problem, autodiff(factorised_loss if problem.factorised else dense_loss))


if __name__ == "__main__":
    harness.main({"jax": expert, "jax-autodiff": autodiff_step}, {"jax": jax.__version__})
