"""The least time that a problem takes: what it needs of each unit, over that unit's rate.

fntk's own arithmetic counts: ±1 products as an int8 product for each digit of ĥ (three; two of fntk-fast) and one for the
gates, float32 products as three of bf16, a transform as 2·log2 p instructions an entry. Parts that need different units
stand one after the other; memory is traffic that hides behind them.
"""

import json
import math
from pathlib import Path
from typing import Any

from problems import Problem

# Operations or bytes a second. int8, fp32: datasheet; bf16, tf32, copy: measured on random data; issue: lanes × clock.
HOPPER = {"int8": 1979e12, "bf16": 790e12, "tf32": 395e12, "fp32": 67e12, "issue": 132 * 128 * 1.755e9}
RATES = {"H200": {**HOPPER, "copy": 4.3e12}, "H100": {**HOPPER, "copy": 3.0e12}}

MOST_FUSED, MOST_PRODUCT = 256, 128  # ranks: one mma kernel for both products; srht as a product, on wgmma

Parts = dict[str, float]


def rates_of(device: str) -> Parts:
    """Of a device by its name; empty: unknown, or a variant of other rates."""
    if "PCIe" in device or "NVL" in device:
        return {}
    return next((rates for name, rates in RATES.items() if name in device), {})


def pass_parts(problem: Problem, digits: int, as_product: bool) -> Parts:
    n, m, p = (problem.shape[key] for key in "nmp")
    if problem.up == "srht" and not as_product:
        return {"issue": 2.0 * math.ceil(math.log2(p)) * n * m}
    return {"int8": 2.0 * (digits + 1) * n * m * p}


def parts(problem: Problem, digits: int = 3, as_product: bool = False) -> Parts:
    """What each unit does; "copy" in bytes. as_product: an srht V multiplied as any ±1."""
    shape = problem.shape
    n, d, p, m, r = (float(shape.get(key, 1)) for key in "ndpmr")
    if problem.op == "wide":
        return {**pass_parts(problem, digits, as_product), "copy": 8 * n * p}
    if problem.op == "growth":
        return {**pass_parts(problem, digits, as_product), "bf16": 3 * 2 * n * p * d, "copy": 4 * n * (d + 2 * p)}
    if problem.op == "step":
        return {**pass_parts(problem, digits, as_product), "bf16": 3 * 2 * n * p * d, "copy": 8 * n * d}
    if problem.op == "gram":
        return {"bf16": 3 * n * n * (d + p), "copy": 4 * n * n}
    if problem.op == "ntk":
        return {**pass_parts(problem, digits, as_product), "bf16": 3 * (n * n * (d + p) + 2 * n * p * d), "copy": 4 * n * n}
    if problem.op == "dense":
        return {"bf16": 2 * n * m * d, "int8": n * n * m, "copy": 4 * n * n}
    return {"bf16": 3 * 4 * n * p * d * r, "copy": 8 * n * (p + d)}


def work(problem: Problem, digits: int = 3) -> dict[str, float]:
    """flop: of the formula, whoever computes it; int8_op and bytes: of the floor."""
    shape = problem.shape
    n, d, p, m, r = (float(shape.get(key, 1)) for key in "ndpmr")
    flop = {"wide": 4 * n * m * p, "growth": 4 * n * m * p + 2 * n * p * d, "step": 4 * n * m * p + 4 * n * p * d,
            "gram": 2 * n * n * (d + p), "dense": 2 * n * m * d + 2 * n * n * (m + d),
            "ntk": 4 * n * m * p + 2 * n * p * d + 2 * n * n * (d + p), "operator": 4 * n * p * d * r}[problem.op]
    needs = parts(problem, digits)
    return {"flop": flop, "int8_op": needs.get("int8", 0.0), "bytes": needs["copy"]}


def beside(problem: Problem, ceilings: Parts, digits: int = 3, portable: bool = False) -> Parts:
    """The parts by the names of the ceilings that they stand beside: int8 products those of wgmma where the device has
    them (portable: does without), else of mma up to the rank of the fused kernel and of cuBLAS above; the dense Gram,
    which counts bits, wgmma or mma of bits. The Gram of tangents, and on wgmma the kernel times vectors and the gradient of U, are six
    int8 products for three of bf16; the gates of the dense network there are one int8 product a digit."""
    wgmma = "wgmma_s8" in ceilings and not portable
    if problem.op == "gram":
        n, d, p = (problem.shape[key] for key in "ndp")
        return {"wgmma_s8" if wgmma else "mma_s8": 6.0 * n * n * (d + p), "copy": 4.0 * n * n}
    if wgmma and problem.op in ("operator", "step", "dense"):
        needs = parts(problem, digits)
        if problem.op == "operator":
            return {"wgmma_s8": 2 * needs["bf16"], "copy": needs["copy"]}
        if problem.op == "step":
            passed = {"wgmma_s8": needs["int8"]} if "int8" in needs else {"issue": needs["issue"]}
            return {**passed, "wgmma_s8": passed.get("wgmma_s8", 0) + 2 * needs["bf16"], "copy": needs["copy"]}
        counts = "wgmma_b1" if "wgmma_b1" in ceilings else "mma_b1"
        return {"wgmma_s8": digits * needs["bf16"], counts: needs["int8"], "copy": needs["copy"]}
    needs = parts(problem, digits, as_product=wgmma and problem.shape.get("p", MOST_PRODUCT + 1) <= MOST_PRODUCT)
    int8 = "mma_b1" if problem.op == "dense" else "wgmma_s8" if wgmma else \
        "mma_s8" if problem.shape.get("p", 0) <= MOST_FUSED else "int8"
    return {int8 if unit == "int8" else unit: amount for unit, amount in needs.items()}


def least_ms(needs: Parts, rates: Parts) -> float | None:
    if not all(rates.get(unit) for unit in needs):
        return None
    busy = sum(amount / rates[unit] for unit, amount in needs.items() if unit != "copy")
    return 1e3 * max(busy, needs["copy"] / rates["copy"])


def limit(needs: Parts, rates: Parts) -> dict[str, Any] | None:
    ms = least_ms(needs, rates)
    return {"ms": ms, "unit": "+".join(unit for unit in needs if unit != "copy")} if ms else None


def measured_rates(path: Path, device: str) -> Parts:
    """The ceilings that bench/cuda/ceilings.cu measured on this device, if it did."""
    rates = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row.get("op") == "ceiling" and row["device"]["name"] == device:
            rates[row["case"]] = row["rate"]
    return rates


def fractions(problem: Problem, ms: float, device: str, ceilings: Parts, digits: int = 3,
              portable: bool = False) -> dict[str, Any]:
    """Of the floor by the table above, and of the floor by measured ceilings, which have no rate of issue."""
    floor = limit(parts(problem, digits), rates_of(device))
    measured = limit(beside(problem, ceilings, digits, portable), ceilings)
    return {"floor": floor, "fraction_of_floor": floor["ms"] / ms if floor else None,
            "measured_ceiling": measured, "fraction_of_measured_ceiling": measured["ms"] / ms if measured else None}
