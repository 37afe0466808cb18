"""What is compared: sizes, networks, implementations, and the ratios that the table ends in."""

from dataclasses import dataclass


BUSY = 0.1  # processors taken by other work, on average, beyond which a measurement is suspect


@dataclass(frozen=True)
class Sizes:
    samples: int  # n
    dim: int  # d
    width: int  # m
    rank: int  # p of the factorised network
    narrow_width: int  # m of the dense network for the newcomer's way, which holds n × m × d Jacobians


FULL = Sizes(samples=1024, dim=784, width=65536, rank=128, narrow_width=1024)
SMOKE = Sizes(samples=64, dim=48, width=1024, rank=16, narrow_width=256)


@dataclass(frozen=True)
class Case:
    """One network. Dense: down = identity, V = W is trained. Factorised: U is trained, V fixed."""

    name: str
    title: str
    down: str
    up: str
    train: str
    narrow: bool = False

    @property
    def factorised(self) -> bool:
        return self.train == "down"

    def width(self, sizes: Sizes) -> int:
        return sizes.narrow_width if self.narrow else sizes.width

    def rank(self, sizes: Sizes) -> int:
        return sizes.rank if self.factorised else sizes.dim


CASES = [
    Case("dense-srht", "dense, W of srht blocks", "identity", "srht", "up"),
    Case("dense-gaussian", "dense, W gaussian", "identity", "gaussian", "up"),
    Case("factorised", "factorised, U and V srht, U trained", "srht", "srht", "down"),
    Case("dense-narrow", "dense, W of srht blocks, narrow", "identity", "srht", "up", narrow=True),
]


@dataclass(frozen=True)
class Implementation:
    name: str
    script: str  # empty: fntk's own program
    what: str
    gram: tuple[str, ...] = ()  # the cases it runs
    step: tuple[str, ...] = ()

    def runs(self, case: Case, operation: str) -> bool:
        return case.name in (self.gram if operation == "gram" else self.step)


DENSE = ("dense-srht", "dense-gaussian")
WIDE = (*DENSE, "factorised")
ALL = (*WIDE, "dense-narrow")
OPERATIONS = ("gram", "step")

IMPLEMENTATIONS = [
    Implementation("fntk", "", "this library", ALL, WIDE),
    Implementation("neural-tangents", "peer_neural_tangents.py",
                   "empirical_ntk_fn, STRUCTURED_DERIVATIVES, vmap_axes=0, under jit", ALL),
    Implementation("jax", "peer_jax.py", "closed form under jit", ALL, WIDE),
    Implementation("jax-autodiff", "peer_jax.py", "value_and_grad under jit, parameters donated", (), WIDE),
    Implementation("torch", "peer_torch.py", "closed form, eager, in place, in blocks of the width", ALL, WIDE),
    Implementation("torch-compile", "peer_torch.py", "closed form under torch.compile, the width whole", WIDE, WIDE),
    Implementation("torch-int8", "peer_torch.py",
                   "as torch, products of 0 and ±1 as int8 (torch._int_mm, exact)",
                   WIDE, ("factorised",)),
    Implementation("torch-autograd", "peer_torch.py", "backward()", (), WIDE),
    Implementation("torch-jacrev", "peer_torch.py", "torch.func vmap(jacrev), then J·Jᵀ: the newcomer's way",
                   ("factorised", "dense-narrow")),
]


@dataclass(frozen=True)
class Goal:
    """fntk's median in one case against the fastest peer of another, or of the same."""

    operation: str
    fntk_case: str
    peer_case: str
    title: str


GOALS = [
    Goal("gram", "dense-srht", "dense-srht", "dense kernel (W of srht blocks), same network"),
    Goal("gram", "dense-gaussian", "dense-gaussian", "dense kernel (W gaussian), same network"),
    Goal("gram", "factorised", "dense-gaussian", "factorised kernel, peers on the dense network of that width"),
    Goal("gram", "factorised", "factorised", "factorised kernel, same network"),
    Goal("step", "dense-gaussian", "dense-gaussian", "dense step, same network"),
    Goal("step", "factorised", "dense-gaussian", "factorised step, peers on the dense network of that width"),
    Goal("step", "factorised", "factorised", "factorised step, same network"),
]
