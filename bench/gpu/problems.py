"""What is timed on a GPU: problems by priority, who runs them in which accuracy classes, and how long that takes."""

from dataclasses import dataclass, field, replace
from typing import Any

Shape = dict[str, int]

FLOATS = ("fp32", "bf16", "tf32")  # what tells most comes first
INT8 = ("int8-fp32", "int8-bf16")  # gates from a float32 or bf16 product, then exact products of 0 and ±1
# Ratios stand inside a class: an exact product behind float32 gates is as good as float32.
CLASS_OF = {"exact": "exact", "fast": "fast", "fp32": "fp32", "int8-fp32": "fp32", "tf32": "tf32", "bf16": "bf16", "int8-bf16": "int8"}
CLASSES = ("fp32", "tf32", "bf16", "int8")


@dataclass(frozen=True)
class Problem:
    """One operation on one network. Its shape: n samples, d columns, p rank, m width, r vectors."""

    op: str
    case: str
    shape: Shape
    up: str = "rademacher"
    down: str = "srht"
    train: str = "down"
    peers: tuple[str, ...] = ()
    later: tuple[str, ...] = ()  # peers that tell less: after those of all problems
    generated: bool = False  # peers draw ±1 for V chunk by chunk, in the time: nothing to compare with

    @property
    def name(self) -> str:
        return "-".join([self.op, self.case, *(f"{key}{value}" for key, value in self.shape.items())])

    @property
    def checked(self) -> bool:
        return not self.generated and self.op != "growth"

    @property
    def has_fast(self) -> bool:
        """Whether fewer digits of ĥ save products."""
        return self.op in ("wide", "step") and self.up == "rademacher" and not self.generated

    @property
    def has_portable(self) -> bool:
        """Whether compute capability 9.0 has kernels of its own for it, to be timed beside those of all."""
        most = 1024 if self.up == "rademacher" else 128
        return self.op == "wide" and not self.generated and self.shape["p"] <= most


@dataclass(frozen=True)
class Implementation:
    name: str
    script: str  # empty: fntk's own program
    what: str
    modes: tuple[str, ...]
    seconds: float  # of a process on a GPU: start, load, compile, times
    digits: int = 3  # of ĥ, fntk's: as many int8 products, and one for G
    env: dict[str, str] = field(default_factory=dict)  # of the process

    @property
    def portable(self) -> bool:
        return self.env.get("FNTK_WGMMA") == "0"

    def modes_for(self, problem: Problem) -> tuple[str, ...]:
        if problem.generated and self.script:
            return tuple(mode for mode in self.modes if mode in ("fp32", "bf16"))
        products = problem.op in ("wide", "dense", "step")
        return tuple(mode for mode in self.modes if products or mode not in INT8)


FNTK = Implementation("fntk", "", "this library", ("exact",), 4)
FAST = Implementation("fntk-fast", "", "this library with rounding = fast: ĥ of 14 bits", ("fast",), 4, digits=2)
PORTABLE = Implementation("fntk-portable", "", "this library without its kernels for compute capability 9.0", ("exact",), 4,
                          env={"FNTK_WGMMA": "0"})
IMPLEMENTATIONS = {one.name: one for one in [
    FNTK,
    FAST,
    PORTABLE,
    Implementation("torch", "torch_peer.py", "closed form, eager, the best of several blocks of the width",
                   (*FLOATS, *INT8), 20),
    Implementation("torch-compile", "torch_peer.py", "closed form under torch.compile, the best of two blocks", FLOATS,
                   45),
    Implementation("jax", "jax_peer.py", "closed form under jit, the width whole or in a scan", FLOATS, 30),
    Implementation("torch-fht", "torch_peer.py", "fast Hadamard transforms, eager, each stage through memory",
                   ("fp32",), 15),
    Implementation("torch-fht-compile", "torch_peer.py", "the same under torch.compile", ("fp32",), 25),
    Implementation("torch-explicit", "torch_peer.py", "K formed before, then K·v", ("fp32",), 20),
    Implementation("torch-jacrev", "torch_peer.py", "torch.func vmap(jacrev), then J·Jᵀ", ("fp32", "tf32"), 20),
]}

CHAIN = ("torch-compile", "torch", "jax")
FIRST, LATER = CHAIN[:2], CHAIN[2:]
FHT = ("torch-fht", "torch-fht-compile")


def wide(case: str, n: int, m: int, p: int, peers: tuple[str, ...] = (), **more: Any) -> Problem:
    """The pass alone: down = identity, so that X is H and d = p."""
    up = "srht" if case.startswith("srht") else "rademacher"
    return Problem("wide", case, {"n": n, "p": p, "m": m}, up=up, down="identity", train="up", peers=peers, **more)


def problems(smoke: bool) -> list[Problem]:
    """In the order of their worth. The same list in both sizes; a smoke's shapes run anywhere in no time."""
    s = Smoke() if smoke else Full()
    step = {"n": s.step_n, "d": s.step_d, "p": s.p, "m": s.step_m}
    return [
        wide("rademacher", s.n, s.m, s.p, FIRST, later=LATER),
        Problem("step", "rademacher", step, peers=FIRST, later=LATER),
        Problem("dense", "rademacher", {"n": s.dense_n, "d": s.d, "m": s.dense_m}, down="identity", train="up",
                peers=FIRST, later=LATER),
        Problem("gram", "tangents", {"n": s.gram_n, "d": s.d, "p": s.p, "m": s.small_m}, peers=FIRST, later=LATER),
        wide("rademacher", s.n, s.m, s.p // 4, ("torch-compile",), later=("torch", "jax")),
        wide("srht", s.n, s.m, s.p, ("torch-fht-compile",), later=("torch-fht",)),  # products: those of rademacher
        operator(s, 1, ("torch", "torch-explicit"), ("torch-compile", "jax")),
        operator(s, 16, ("torch",), ("torch-compile", "jax")),
        wide("rademacher", s.huge_n, s.huge_m, s.p, ("torch-compile",), later=("torch",), generated=True),
        wide("rademacher", s.n, s.m, s.p // 2, ("torch-compile",), later=("torch", "jax")),
        wide("srht", s.n, s.m, 4 * s.p, ("torch-fht-compile",), later=("torch-fht", "torch")),
        Problem("ntk", "factorised", {"n": s.naive_n, "d": s.d, "p": s.p, "m": s.small_m}, peers=("torch-jacrev",)),
        wide("rademacher", s.huge_n, 10 * s.huge_m, s.p, ("torch-compile",), later=("torch",), generated=True),
        Problem("step", "srht", step, up="srht"),
        *(wide("srht", s.n, s.m, p, later=("torch-fht-compile",)) for p in (s.p // 2, s.p // 4)),  # transforms: portable
        wide("rademacher", s.n, s.m, 2 * s.p),
        wide("rademacher", s.n, s.m, 4 * s.p),
        wide("rademacher", s.huge_n, s.narrow_m, s.p, generated=True),  # what memory is compared with
    ]


def of_row(op: str, case: str, shape: Shape) -> Problem:
    """What a row is a measurement of, as far as its work goes."""
    return Problem(op, case, shape, up="srht" if case.endswith("srht") else "rademacher")


def operator(s: "Full", vectors: int, peers: tuple[str, ...], later: tuple[str, ...]) -> Problem:
    shape = {"n": s.operator_n, "d": s.d, "p": s.p, "m": s.small_m, "r": vectors}
    return Problem("operator", "tangents", shape, peers=peers, later=later)


@dataclass(frozen=True)
class Full:
    n: int = 16384
    m: int = 131072
    p: int = 256
    d: int = 784
    gram_n: int = 32768
    small_m: int = 4096
    dense_n: int = 8192
    dense_m: int = 65536
    operator_n: int = 131072
    step_n: int = 50000
    step_d: int = 3072
    step_m: int = 65536
    naive_n: int = 2048
    huge_n: int = 1024
    huge_m: int = 10**7
    narrow_m: int = 10**4


@dataclass(frozen=True)
class Smoke(Full):
    n: int = 96
    m: int = 1024
    p: int = 32
    d: int = 48
    gram_n: int = 128
    small_m: int = 256
    dense_n: int = 96
    dense_m: int = 512
    operator_n: int = 256
    step_n: int = 160
    step_d: int = 64
    step_m: int = 512
    naive_n: int = 48
    huge_n: int = 64
    huge_m: int = 4096
    narrow_m: int = 1024


def growth(smoke: bool) -> list[Problem]:
    """From X to H, G and f, fntk alone: one extent at a time away from a common point."""
    base = {"n": 96, "d": 48, "p": 32, "m": 1024} if smoke else {"n": 8192, "d": 784, "p": 128, "m": 65536}
    factors = {"n": (1 / 8, 1 / 2, 1, 2, 8), "m": (1 / 16, 1 / 4, 1, 4, 16), "p": (1 / 4, 1 / 2, 1, 2, 4),
               "d": (1 / 4, 1 / 2, 1, 2, 4)}
    points = []
    for up in ("rademacher", "srht"):
        for extent, steps in factors.items():
            for step in steps:
                shape = {**base, extent: int(base[extent] * step)}
                if shape["p"] <= shape["d"]:
                    points.append(Problem("growth", f"{extent}/{up}", shape, up=up))
    return points


@dataclass(frozen=True)
class Measurement:
    problem: Problem
    implementation: Implementation
    modes: tuple[str, ...] = field(default=())

    def of(self, modes: tuple[str, ...]) -> "Measurement":
        return replace(self, modes=modes)

    @property
    def name(self) -> str:
        return f"{self.problem.name} {self.implementation.name}"

    @property
    def expected(self) -> float:
        """Seconds on a GPU, inputs and check included."""
        large = {"step": 15, "operator": 8, "gram": 4, "growth": 1}.get(self.problem.op, 3)
        chunks = 0.0
        if self.problem.generated and self.implementation.script:
            chunks = 12e-8 * self.problem.shape["m"] * len(self.modes)
        return self.implementation.seconds + chunks + large

    @property
    def timeout(self) -> float:
        return 60 + 2.5 * self.expected


def plan(suite: str, smoke: bool) -> list[Measurement]:
    """fntk's rows first, then the peers of one problem after the other, then those that tell less."""
    if suite == "growth":
        return [Measurement(problem, FNTK, FNTK.modes) for problem in growth(smoke)]
    chosen = problems(smoke)
    of = [(problem, (FNTK.name,)) for problem in chosen]
    of += [(problem, (PORTABLE.name,)) for problem in chosen if problem.has_portable]
    of += [(problem, (FAST.name,)) for problem in chosen if problem.has_fast]
    of += [(problem, problem.peers) for problem in chosen]
    of += [(problem, problem.later) for problem in chosen]
    return [Measurement(problem, IMPLEMENTATIONS[name], IMPLEMENTATIONS[name].modes_for(problem))
            for problem, names in of for name in names]
