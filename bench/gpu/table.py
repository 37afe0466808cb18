#!/usr/bin/env python3
"""rows.jsonl as Markdown: fntk against its floor and against the best peer of each accuracy class, the goals, how time
grows, and every measurement.

    python3 bench/gpu/table.py OUT [--device NAME] > TABLE.md
"""

import argparse
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "peers")]

import floors  # noqa: E402
import store  # noqa: E402
from goals import GOALS, fastest, matching  # noqa: E402
from problems import CHAIN, CLASS_OF, CLASSES, IMPLEMENTATIONS  # noqa: E402
from report import table  # noqa: E402
from store import Row  # noqa: E402

TITLES = {"wide": "wide pass", "dense": "dense Gram", "gram": "Gram of tangents", "operator": "kernel × vectors",
          "step": "training step", "ntk": "X to Gram", "growth": "tangent"}
OWN = {"fntk": "", "fntk-portable": ", portable", "fntk-fast": ", fast"}
UNLIKE = ("torch-explicit",)  # does less in its time; for its own goal alone


def shape_of(row: Row) -> str:
    return " ".join(f"{name} {value}" for name, value in row["shape"].items())


def number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def peers_of(own: Row, rows: list[Row], accuracy: str) -> list[Row]:
    """At the same shape. The chains of products take any ±1, so those of another family stand for this one's."""
    modes = tuple(mode for mode, name in CLASS_OF.items() if name == accuracy)
    return [row for row in matching(rows, own["op"], shape=own["shape"], modes=modes)
            if row["impl"] not in (*OWN, *UNLIKE) and (row["case"] == own["case"] or row["impl"] in CHAIN)]


def against(own: Row, peer: Row | None) -> str:
    if peer is None:
        return ""
    return f"**{peer['ms']['median'] / own['ms']['median']:.3g}** ({peer['impl']} {peer['mode']}, " \
           f"{number(peer['ms']['median'])})"


def overview(rows: list[Row]) -> list[str]:
    lines = []
    for own in rows:
        if own["impl"] not in OWN or own["status"] != "ok" or not store.agrees(own) or own["op"] == "growth":
            continue
        fast = own["impl"] == "fntk-fast"  # less accurate than the first classes
        lines.append([f"{TITLES[own['op']]}, {own['case']}{OWN[own['impl']]}", shape_of(own), number(own["ms"]["median"]),
                      number(own.get("fraction_of_floor"), 2), number(own.get("fraction_of_measured_ceiling"), 2),
                      *("" if fast and accuracy in ("fp32", "tf32")
                        else against(own, fastest(peers_of(own, rows, accuracy))) for accuracy in CLASSES)])
    return table(["operation", "shape", "fntk ms", "of the floor", "of measured ceilings",
                  *(f"against {accuracy}" for accuracy in CLASSES)], lines)


def goals(rows: list[Row]) -> list[str]:
    lines = []
    for goal in GOALS:
        judged = goal.judged(rows)
        shape = " ".join(f"{name} {value}" for name, value in goal.shape.items())
        what = [f"{TITLES[goal.op]}, {goal.case} {shape}".strip(), goal.title, goal.asked]
        if judged is None or judged[1] is None:
            lines.append([*what, "", "open"])
        else:
            lines.append([*what, number(judged[1][0]), "met" if judged[1][1] else "**missed**"])
    return table(["operation", "against", "goal", "reached", ""], lines)


def growth(rows: list[Row]) -> list[str]:
    lines = [[row["case"].split("/")[1], row["case"].split("/")[0], shape_of(row), number(row["ms"]["median"], 4),
              number(1e-9 * row["work"]["flop"] / row["ms"]["median"], 4), gigabytes(row["peak_bytes"])]
             for row in rows if row["op"] == "growth" and row["status"] == "ok"]
    return table(["V", "grows", "shape", "ms", "TFLOP/s of the formula", "peak GB"], lines)


def gigabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.3g}"


def detail(row: Row) -> list[str]:
    head = [TITLES[row["op"]], row["case"], shape_of(row), row["impl"], row["mode"]]
    if row["status"] != "ok":
        return [*head, f"failed: {row['reason']}".replace("|", "¦"), *[""] * 6]
    ms, error = row["ms"], row.get("error") or {}
    exact = {True: "equal bits", False: "**OTHER BITS**"}.get(error.get("bit_exact"), "")
    if not store.agrees(row):
        exact = f"**DISAGREES** {exact}"
    return [*head, number(ms["median"], 4), f"{number(ms['p10'])} to {number(ms['p90'])}", gigabytes(row["peak_bytes"]),
            *(number(error.get(name), 2) for name in ("flips", "rel_g", "rel_k")),
            " ".join(filter(None, (exact, row.get("note", ""))))]


def everything(rows: list[Row]) -> list[str]:
    return table(["operation", "case", "shape", "implementation", "class", "median ms", "p10 to p90", "peak GB",
                  "flips", "error of G", "error of K", ""], [detail(row) for row in rows if row["op"] != "growth"])


def decisions(ceilings: floors.Parts) -> list[str]:
    """What the instructions' rates say about the way of a kernel."""
    def compared(what: str, over: str, asked: float, yes: str, no: str) -> list[str]:
        if not (ceilings.get(what) and ceilings.get(over)):
            return []
        ratio = ceilings[what] / ceilings[over]
        return [f"{what} is {ratio:.3g} × {over}: {yes if ratio >= asked else no}."]

    return [*compared("wgmma_s8", "mma_s8", 1.2, "the kernels for compute capability 9.0 are worth it",
                      "the portable kernels do as well"),
            *compared("wgmma_s8_registers", "wgmma_s8", 0.95, "operands in registers cost nothing",
                      "operands in registers cost time"),
            *compared("wgmma_b1", "mma_b1" if ceilings.get("mma_b1", 0) > ceilings.get("int8", 0) else "int8", 1.2,
                      "a gate Gram on wgmma of bits is worth it", "the gate Gram gains little by wgmma of bits"),
            *compared("mma_b1", "int8", 1, "the gate Gram is right on mma of bits", "the gate Gram loses to int8 products")]


def newest(rows: list[Row]) -> list[Row]:
    """One row a measurement, of whatever commit came last, in the order of first appearance."""
    return list({store.key({**row, "commit": ""}): row for row in rows}.values())


def named(rows: list[Row], pick: Any) -> str:
    return ", ".join(dict.fromkeys(pick(row) for row in rows))


def markdown(rows: list[Row], device: str, ceilings: floors.Parts) -> str:
    rows = newest([row for row in rows if row["device"]["name"] == device])
    own = [row for row in rows if row["impl"] in OWN]
    versions = {name: version for row in rows for name, version in row.get("versions", {}).items()}
    info = rows[-1]["device"]
    lines = [f"# fntk beside its peers on {device}", "",
             f"fntk at {named(own, lambda row: row['commit']) or 'no row'}; "
             + ", ".join(f"{name} {version}" for name, version in versions.items())
             + (f"; driver {info['driver']}" if info["driver"] else "")
             + f"; {min(row['date'] for row in rows)[:10]} to {max(row['date'] for row in rows)[:10]}.  ",
             "Against a class: the best peer's median over fntk's, its name and milliseconds. A class holds what is as "
             "accurate; fntk's own results are those of exact integers.", "", *overview(rows)]
    if ceilings:
        lines += ["Measured ceilings: " + ", ".join(f"{name} {rate / 1e12:.4g}" for name, rate in ceilings.items())
                  + " (10¹² a second).", *decisions(ceilings), ""]
    for title, part in (("Goals", goals), ("Growth", growth), ("Every measurement", everything)):
        lines += [f"## {title}", "", *part(rows)]
    used = {row["impl"] for row in rows}
    lines += [f"- {one.name}: {one.what}" for one in IMPLEMENTATIONS.values() if one.name in used]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="OUT/rows.jsonl as Markdown on standard output")
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", help="of several; else the one of the last row")
    options = parser.parse_args()
    rows = list(store.read(options.out / "rows.jsonl"))
    if not rows:
        print(f"table.py: no rows in {options.out / 'rows.jsonl'}", file=sys.stderr)
        return 1
    device = options.device or rows[-1]["device"]["name"]
    print(markdown(rows, device, floors.measured_rates(options.out / "ceilings.jsonl", device)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
