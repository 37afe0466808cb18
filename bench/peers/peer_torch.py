"""PyTorch: closed forms as an expert would write them (eager in place, compiled, int8), autograd, torch.func.

The eager ones go through the width in blocks, whose n × BLOCK intermediate results stay in the cache; the
compiled ones take it whole, where the fusing is left to the compiler.
"""

import torch

import harness
from harness import Problem

BLOCK = 4096  # rows of V

def dense_gram(X, W, a, block):
    """(XXᵀ) ∘ (DDᵀ)/m: a² = 1 drops out."""
    overlaps = X.new_zeros(len(X), len(X))
    for rows in W.split(block):
        gates = (X @ rows.T).gt_(0)
        overlaps.addmm_(gates, gates.T)
    return overlaps.mul_(X @ X.T).div_(len(W))


def dense_gram_int8(X, W, a, block):
    overlaps = torch.zeros(len(X), len(X), dtype=torch.int32)
    for rows in W.split(block):
        gates = (X @ rows.T > 0).to(torch.int8)
        overlaps += torch._int_mm(gates, gates.T)
    return (X @ X.T).mul_(overlaps).div_(len(W))


def hidden_and_gradients(X, U, V, a, block):
    """H = XUᵀ/√p, G = ((Z > 0) ∘ a) V/√(pm)."""
    m, p = V.shape
    H = (X @ U.T).div_(p**0.5)
    G = torch.zeros_like(H)
    for rows, signs in zip(V.split(block), a.split(block)):
        G.addmm_((H @ rows.T).gt_(0).mul_(signs), rows)
    return H, G.div_((p * m) ** 0.5)


def hidden_and_gradients_int8(X, U, V, V8, a8, block):
    m, p = V.shape
    H = (X @ U.T).div_(p**0.5)
    G = torch.zeros(H.shape, dtype=torch.int32)
    for rows, rows8, signs in zip(V.split(block), V8.split(block), a8.split(block)):
        G += torch._int_mm((H @ rows.T > 0).to(torch.int8).mul_(signs), rows8)
    return H, G.to(X.dtype).div_((p * m) ** 0.5)


def gram_of_gradients(X, G):
    return (X @ X.T).mul_(G @ G.T)


def factorised_gram(X, U, V, a, block):
    return gram_of_gradients(X, hidden_and_gradients(X, U, V, a, block)[1])


def factorised_gram_int8(X, U, V, V8, a8, block):
    return gram_of_gradients(X, hidden_and_gradients_int8(X, U, V, V8, a8, block)[1])


def dense_step(W, X, y, a, block, eta):
    """Not in blocks: all outputs come before the first gradient, and Z is 2nmd flops to make again."""
    scale = W.shape[0] ** -0.5
    Z = (X @ W.T).clamp_min_(0)
    error = Z @ a * scale - y
    W.addmm_(Z.gt_(0).mul_(a).T, X * (error * (-eta * scale))[:, None])
    return error @ error / 2


def descend(U, X, y, H, G):
    """f = √p <H, G>; the gradient of U is (e ∘ G)ᵀ X."""
    error = (H * G).sum(1) * U.shape[0] ** 0.5 - y
    return (G * error[:, None]).T @ X, error @ error / 2


def factorised_step(U, X, y, V, a, block, eta):
    gradient, loss = descend(U, X, y, *hidden_and_gradients(X, U, V, a, block))
    U.sub_(gradient * eta)
    return loss


def factorised_step_int8(U, X, y, V, V8, a8, block, eta):
    gradient, loss = descend(U, X, y, *hidden_and_gradients_int8(X, U, V, V8, a8, block))
    U.sub_(gradient * eta)
    return loss


def tensors(problem: Problem):
    torch.set_num_threads(problem.threads)
    arrays = (problem.X, problem.y, problem.U, problem.V, problem.a)
    return (None if array is None else torch.from_numpy(array) for array in arrays)


def closed_form(problem: Problem, compiled: bool = False, int8: bool = False):
    X, y, U, V, a = tensors(problem)
    wrap = torch.compile if compiled else (lambda function: function)
    block = len(V) if compiled else BLOCK
    fixed = (V, V.to(torch.int8), a.to(torch.int8), block) if int8 and problem.factorised else (V, a, block)
    if problem.operation == "gram":
        if problem.factorised:
            kernel, arguments = factorised_gram_int8 if int8 else factorised_gram, (X, U, *fixed)
        else:
            kernel, arguments = dense_gram_int8 if int8 else dense_gram, (X, *fixed)
        return repeat_gram(torch.no_grad()(wrap(kernel)), arguments)

    if problem.factorised:
        step, arguments = factorised_step_int8 if int8 else factorised_step, (U, X, y, *fixed)
    else:
        step, arguments = dense_step, (V, X, y, a, block)
    step = torch.no_grad()(wrap(step))
    # A tensor, because torch.compile would make every new number a constant of another program.
    return lambda eta: step(*arguments, torch.tensor(eta)), lambda: arguments[0].numpy()


def repeat_gram(kernel, arguments):
    last = {}

    def run():
        last["K"] = kernel(*arguments)

    return run, lambda: last["K"].detach().numpy()


def autograd_step(problem: Problem):
    X, y, U, V, a = tensors(problem)
    parameters = (U if problem.factorised else V).requires_grad_()
    m, p = V.shape

    def run(eta):
        hidden = X @ parameters.T
        if problem.factorised:
            hidden = hidden / p**0.5 @ V.T
        error = torch.relu(hidden) @ a / m**0.5 - y
        loss = error.square().sum() / 2
        loss.backward()
        with torch.no_grad():
            parameters.sub_(parameters.grad, alpha=eta)
        parameters.grad = None
        return loss.detach()

    return run, lambda: parameters.detach().numpy()


def jacrev_gram(problem: Problem):
    X, _, U, V, a = tensors(problem)
    m, p = V.shape

    def dense(W, x):
        return torch.relu(W @ x) @ a / m**0.5

    def factorised(U, x):
        return torch.relu(V @ (U @ x) / p**0.5) @ a / m**0.5

    network, parameters = (factorised, U) if problem.factorised else (dense, V)

    def kernel():
        jacobian = torch.func.vmap(torch.func.jacrev(network), (None, 0))(parameters, X).flatten(1)
        return torch.einsum("if,jf->ij", jacobian, jacobian)

    return repeat_gram(kernel, ())


if __name__ == "__main__":
    harness.main({"torch": closed_form,
                  "torch-compile": lambda problem: closed_form(problem, compiled=True),
                  "torch-int8": lambda problem: closed_form(problem, int8=True),
                  "torch-autograd": autograd_step,
                  "torch-jacrev": jacrev_gram},
                 {"torch": torch.__version__})
