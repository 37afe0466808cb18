"""What the GPU path is to reach, and whether its rows do. A goal without its rows is open."""

from dataclasses import dataclass
from typing import Any, Callable, Iterable

from problems import CHAIN, FHT, INT8, Full
from store import Row, agrees

Verdict = tuple[float, bool]  # what was reached, and whether that is enough


def matching(rows: Iterable[Row], op: str, case: str | None = None, impls: tuple[str, ...] = (),
             modes: tuple[str, ...] = (), shape: dict[str, int] | None = None) -> list[Row]:
    """Rows that have times and agree with float64."""
    return [row for row in rows if row["status"] == "ok" and agrees(row) and row["op"] == op
            and case in (None, row["case"]) and (not impls or row["impl"] in impls) and (not modes or row["mode"] in modes)
            and all(row["shape"].get(name) == value for name, value in (shape or {}).items())]


def fastest(rows: list[Row]) -> Row | None:
    return min(rows, key=lambda row: row["ms"]["median"], default=None)


@dataclass(frozen=True)
class Goal:
    op: str
    case: str
    shape: dict[str, int]  # the extents that tell it apart
    title: str
    asked: str
    judge: Callable[[Row, list[Row]], Verdict | None]  # fntk's row, all rows
    own: str = "fntk"

    def judged(self, rows: list[Row]) -> tuple[Row, Verdict | None] | None:
        own = fastest(matching(rows, self.op, self.case, (self.own,), shape=self.shape))
        return (own, self.judge(own, rows)) if own else None


def beside(impls: tuple[str, ...], modes: tuple[str, ...], least: float, case: str | None = None,
           own_too: bool = False) -> dict[str, Any]:
    """So many times faster than the fastest of these at the same shape."""
    def judge(own: Row, rows: list[Row]) -> Verdict | None:
        peer = fastest(matching(rows, own["op"], case, ("fntk",) if own_too else impls, modes, own["shape"]))
        return (ratio := peer["ms"]["median"] / own["ms"]["median"], ratio >= least) if peer else None

    return {"asked": f"≥ {least:g} ×", "judge": judge}


def of_floor(least: float) -> dict[str, Any]:
    def judge(own: Row, rows: list[Row]) -> Verdict | None:
        reached = own.get("fraction_of_floor")
        return (reached, reached >= least) if reached is not None else None

    return {"asked": f"≥ {least:g}", "judge": judge}


def of_ceiling(unit: str, least: float) -> dict[str, Any]:
    """Of this measured ceiling and no other: a lower one would flatter."""
    def judge(own: Row, rows: list[Row]) -> Verdict | None:
        if (own.get("measured_ceiling") or {}).get("unit") != unit:
            return None
        return (reached := own["fraction_of_measured_ceiling"], reached >= least)

    return {"title": f"measured ceiling {unit}", "asked": f"≥ {least:g}", "judge": judge}


def memory(most: Callable[[dict[str, int]], float]) -> dict[str, Any]:
    """Bytes beside inputs and weights, as a multiple of what is allowed; one part in a hundred is for small things."""
    def judge(own: Row, rows: list[Row]) -> Verdict | None:
        if own.get("peak_bytes") is None:
            return None
        share = (own["peak_bytes"] - own["base_bytes"]) / most(own["shape"])
        return share, share <= 1.01

    return {"asked": "≤ 1 ×", "judge": judge}


def as_narrow(width: int) -> dict[str, Any]:
    def judge(own: Row, rows: list[Row]) -> Verdict | None:
        narrow = fastest(matching(rows, own["op"], own["case"], ("fntk",), shape={**own["shape"], "m": width}))
        if narrow is None or not own.get("peak_bytes") or not narrow.get("peak_bytes"):
            return None
        share = own["peak_bytes"] / narrow["peak_bytes"]
        return share, share <= 1.01

    return {"asked": "≤ 1 ×", "judge": judge}


TORCH = ("torch", "torch-compile")
WIDE = {"n": Full.n, "m": Full.m}
HUGE = {"n": Full.huge_n, "m": 10 * Full.huge_m}
GOALS = [
    *(Goal("wide", "rademacher", {**WIDE, "p": p}, "torch.compile fp32", **beside(("torch-compile",), ("fp32",), 8))
      for p in (64, 128, 256)),
    *(Goal("wide", "rademacher", {**WIDE, "p": p}, "torch.compile bf16", **beside(("torch-compile",), ("bf16",), least))
      for p, least in ((64, 4), (128, 2.2), (256, 1.5))),
    *(Goal("wide", "rademacher", {**WIDE, "p": p}, own=own, **of_ceiling(unit, least)) for p in (64, 128, 256)
      for unit, least, own in (("mma_s8", 0.35, "fntk-portable"), ("wgmma_s8", 0.55, "fntk"))),
    Goal("wide", "rademacher", HUGE, "PyTorch fp32, in chunks", **beside(TORCH, ("fp32",), 8)),
    Goal("wide", "rademacher", HUGE, "memory of m = 10⁴", **as_narrow(Full.narrow_m)),
    *(Goal("wide", "srht", {**WIDE, "p": p}, "transforms in PyTorch", **beside(FHT, ("fp32",), 4))
      for p in (256, 1024)),
    *(Goal("wide", "srht", {**WIDE, "p": p}, "fntk's own products", **beside((), (), least, "rademacher", True))
      for p, least in ((256, 1.7), (1024, 4))),
    Goal("gram", "tangents", {"n": Full.gram_n}, "tf32 chain", **beside(CHAIN, ("tf32",), 2)),
    Goal("gram", "tangents", {"n": Full.gram_n}, "fp32 chain", **beside(CHAIN, ("fp32",), 6)),
    Goal("gram", "tangents", {"n": Full.gram_n}, "memory n²·4 B", **memory(lambda shape: 4 * shape["n"] ** 2)),
    Goal("gram", "tangents", {"n": Full.gram_n}, "floor", **of_floor(0.65)),
    Goal("ntk", "factorised", {"n": Full.naive_n}, "vmap(jacrev), J·Jᵀ", **beside(("torch-jacrev",), ("fp32",), 50)),
    Goal("dense", "rademacher", {"n": Full.dense_n}, "bf16 chain", **beside(CHAIN, ("bf16",), 2.5)),
    Goal("dense", "rademacher", {"n": Full.dense_n}, "torch._int_mm", **beside(("torch",), INT8, 1.5)),
    Goal("dense", "rademacher", {"n": Full.dense_n}, "fp32 chain", **beside(CHAIN, ("fp32",), 30)),
    Goal("operator", "tangents", {"n": Full.operator_n, "r": 1}, "explicit K",
         **beside(("torch-explicit",), ("fp32",), 20)),
    *(Goal("operator", "tangents", {"n": Full.operator_n, "r": r}, "PyTorch matrix-free fp32",
           **beside(TORCH, ("fp32",), 3)) for r in (1, 16)),
    *(Goal("step", case, {"n": Full.step_n}, f"torch.compile {mode}", **beside(("torch-compile",), (mode,), least))
      for case in ("rademacher", "srht") for mode, least in (("fp32", 8), ("bf16", 2))),
    *(Goal("step", case, {"n": Full.step_n}, "memory n(2p + d)·4 B",
           **memory(lambda shape: 4 * shape["n"] * (2 * shape["p"] + shape["d"]))) for case in ("rademacher", "srht")),
]
