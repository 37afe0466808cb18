#!/usr/bin/env python3
"""rows.jsonl as Markdown: fntk against its floor and against the best peer of each accuracy class, the goals, how time
grows, and every measurement.

    python3 bench/gpu/table.py OUT [--device NAME] > TABLE.md
    python3 bench/gpu/table.py bench/results/gpu-h200 --publish      # to bench/results/gpu-h200.md and docs/cuda.md
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path += [str(HERE), str(HERE.parent / "peers")]

import floors  # noqa: E402
import growth_figure  # noqa: E402
import store  # noqa: E402
from goals import GOALS, fastest, matching  # noqa: E402
from problems import CHAIN, CLASS_OF, CLASSES, IMPLEMENTATIONS, of_row  # noqa: E402
from report import table  # noqa: E402
from store import Row  # noqa: E402

TITLES = {"wide": "wide pass", "dense": "dense Gram", "gram": "Gram of tangents", "operator": "kernel × vectors",
          "step": "training step", "ntk": "X to Gram", "growth": "tangent"}
OWN = {"fntk": "", "fntk-portable": ", portable", "fntk-fast": ", fast"}
UNLIKE = ("torch-explicit",)  # does less in its time; for its own goal alone
BYTES = ("copy", "write")
CEILINGS = {"copy": "device memory, read and written", "write": "device memory, written", "fp64": "cuBLAS, products of float64",
            "fp32": "cuBLAS, products of float32", "tf32": "cuBLAS, products of tf32", "bf16": "cuBLAS, products of bf16",
            "int8": "cuBLAS, products of int8 into int32", "mma_s8": "`mma.sync`, int8, from registers",
            "mma_b1": "`mma.sync`, bits, AND and count, from registers", "popcount": "AND and popcount of 64 bits, from registers",
            "wgmma_s8": "`wgmma`, int8, from shared memory",
            "wgmma_s8_registers": "`wgmma`, int8, the left operand from registers",
            "wgmma_b1": "`wgmma`, bits, AND and count, from shared memory"}
LEGEND = [
    "- *against* a class: the median of the fastest peer that is as accurate, over fntk's; above 1 fntk is faster; in brackets its "
    "name, class and milliseconds. Empty: no peer of that class has been measured at this shape. fp32: float32 products, TF32 "
    "off; int8: exact products of 0 and ±1 behind gates from bf16. fntk's own results are those of exact integers; *fast* has 14 "
    "bits of ĥ, and stands beside bf16 and int8 alone.",
    "- *of the floor*: the least time that the arithmetic of `bench/gpu/floors.py` takes at the rates written there (int8 and "
    "float32: the datasheet's), over the median.",
    "- *of the measured ceiling*: the same at the rates measured below, of the ceilings that are named: int8 products at wgmma's "
    "rate, the highest (portable ones at mma's; above p = 256, where they are cuBLAS's, at its), counts of common gates at that "
    "of wgmma of bits (portable ones of mma's), float32 products as three of bf16, in the Gram of tangents, kernel × vectors and "
    "the gradient of a step as six of int8. Transforms need issue slots, for which no rate is measured.",
    "- *portable*: without the kernels for compute capability 9.0."]
DOCUMENT = ROOT / "docs/cuda.md"
BEGIN, END = "<!-- {}: bench/gpu/table.py --publish writes this -->\n", "<!-- end -->"


def operation(op: str, case: str) -> str:
    return f"{TITLES[op]}, {case}" if case in ("rademacher", "srht") else TITLES[op]


def shape_text(shape: dict[str, int]) -> str:
    return " ".join(f"{name} {value}" for name, value in shape.items())


def shape_of(row: Row) -> str:
    return shape_text(row["shape"])


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


def compared(row: Row) -> bool:
    """Whether it is fntk's, and its time counts."""
    return row["impl"] in OWN and row["status"] == "ok" and store.agrees(row) and row["op"] != "growth"


def beside(own: Row, rows: list[Row]) -> list[str]:
    """A cell a class. Two digits are less accurate than the first two."""
    inferior = ("fp32", "tf32") if own["impl"] == "fntk-fast" else ()
    return ["" if accuracy in inferior else against(own, fastest(peers_of(own, rows, accuracy))) for accuracy in CLASSES]


def of_measured(row: Row) -> str:
    return f"{number(row['fraction_of_measured_ceiling'], 2)} {row['measured_ceiling']['unit']}" \
        if row.get("measured_ceiling") else ""


def overview(rows: list[Row]) -> list[str]:
    lines = [[operation(own["op"], own["case"]) + OWN[own["impl"]], shape_of(own), number(own["ms"]["median"]),
              number(own.get("fraction_of_floor"), 2), of_measured(own), *beside(own, rows)]
             for own in rows if compared(own)]
    return table(["operation", "shape", "fntk ms", "of the floor", "of the measured ceiling",
                  *(f"against {accuracy}" for accuracy in CLASSES)], lines)


def excerpt(rows: list[Row]) -> list[str]:
    """Of fntk as it is used, where there is a peer, and where a peer is faster."""
    lines, slower = [], []
    for own in rows:
        if compared(own) and own["impl"] == "fntk":
            ratios = [peer["ms"]["median"] / own["ms"]["median"] if (peer := fastest(peers_of(own, rows, accuracy))) else None
                      for accuracy in CLASSES]
            if any(ratios):
                what = operation(own["op"], own["case"])
                lines.append([what, shape_of(own), number(own["ms"]["median"]), of_measured(own), *map(number, ratios)])
                slower += [f"{what} {accuracy}" for accuracy, ratio in zip(CLASSES, ratios) if ratio and ratio < 1]
    return [*table(["operation", "shape", "fntk ms", "of the measured ceiling", *CLASSES], lines),
            *([f"A peer is faster: {'; '.join(dict.fromkeys(slower))}."] if slower else [])]


def goals(rows: list[Row]) -> list[str]:
    lines = []
    for goal in GOALS:
        judged = goal.judged(rows)
        portable = OWN[goal.own] if judged is None else OWN[judged[0]["impl"]]
        what = [operation(goal.op, goal.case) + portable, shape_text(goal.shape), goal.title, goal.asked]
        if judged is None or judged[1] is None:
            lines.append([*what, "", "open"])
        else:
            lines.append([*what, number(judged[1][0]), "met" if judged[1][1] else "**missed**"])
    return table(["operation", "shape", "beside", "goal", "reached", ""], lines)


def growth(rows: list[Row]) -> list[str]:
    lines = [[row["case"].split("/")[1], row["case"].split("/")[0], shape_of(row), number(row["ms"]["median"], 4),
              number(1e-9 * row["work"]["flop"] / row["ms"]["median"], 4), gigabytes(row["peak_bytes"])]
             for row in rows if row["op"] == "growth" and row["status"] == "ok"]
    return table(["V", "grows", "shape", "ms", "TFLOP/s of the formula", "peak GB"], lines)


def factorised_widths(report: dict[str, Any]) -> list[str]:
    """Of a report of `fntk compare`: dense against factorised widths."""
    data, limit = report["data"], report["limit"]
    lines = [[row["name"], f"{row['parameters_trained']:,}".replace(",", " "), number(1e3 * row["seconds"]["tangent"]),
              number(1e3 * row["seconds"]["step"]), number(row["relative_error"]), f"{row['dense_width_of_equal_error']:.0f}",
              number(row["test_accuracy"]["trained"]), number(row["test_accuracy"]["ridge"])] for row in report["rows"]]
    head = (f"{data['name']}: {data['samples']} training and {data['test_samples']} test samples, d = {data['dim']}, "
            f"{data['outputs']} outputs, {report['options']['steps']} steps of the whole batch. Error: |K − K∞| of "
            f"{limit['compared_samples']} samples, relative.")
    return [head, "", *table(["network", "trained", "tangent ms", "step ms", "error", "equal dense m", "accuracy, trained",
                              "accuracy, ridge regression on K"], lines)]


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


def measured_ceilings(ceilings: floors.Parts) -> list[str]:
    lines = [[name, CEILINGS.get(name, ""), f"{rate / 1e12:.4g} T{'B' if name in BYTES else 'op'}/s"]
             for name, rate in ceilings.items()]
    return table(["ceiling", "of", "measured"], lines)


def decisions(ceilings: floors.Parts) -> list[str]:
    """What the instructions' rates say about the way of a kernel."""
    def compared(what: str, over: str, asked: float, yes: str, no: str) -> list[str]:
        if not (ceilings.get(what) and ceilings.get(over)):
            return []
        ratio = ceilings[what] / ceilings[over]
        return [f"- {what} is {ratio:.3g} × {over}: {yes if ratio >= asked else no}."]

    return [*compared("wgmma_s8", "mma_s8", 1.2, "the kernels for compute capability 9.0 are worth it",
                      "the portable kernels do as well"),
            *compared("wgmma_s8_registers", "wgmma_s8", 0.95, "operands in registers cost nothing",
                      "operands in registers cost time"),
            *compared("mma_b1", "int8", 1, "a gate Gram is right on mma of bits", "a gate Gram on mma of bits loses to int8 products"),
            *compared("wgmma_b1", "mma_b1" if ceilings.get("mma_b1", 0) > ceilings.get("int8", 0) else "int8", 1.2,
                      "the gate Gram is right on wgmma of bits",
                      "the gate Gram would gain little by wgmma of bits")]


def newest(rows: list[Row]) -> list[Row]:
    """One row a measurement, of whatever commit came last, in the order of first appearance."""
    return list({store.key({**row, "commit": ""}): row for row in rows}.values())


def named(rows: list[Row], pick: Any) -> str:
    return ", ".join(dict.fromkeys(pick(row) for row in rows))


def prepared(rows: list[Row], device: str, ceilings: floors.Parts) -> list[Row]:
    """The newest ones of a device, fntk's beside the floors and ceilings of today."""
    chosen = newest([row for row in rows if row["device"]["name"] == device])
    for i, row in enumerate(chosen):
        if row["impl"] in OWN and row["status"] == "ok":
            own = IMPLEMENTATIONS[row["impl"]]
            chosen[i] = {**row, **floors.fractions(of_row(row["op"], row["case"], row["shape"]), row["ms"]["median"], device,
                                                   ceilings, own.digits, own.portable)}
    return chosen


def origin(rows: list[Row]) -> str:
    """Whose measurements, of when."""
    versions = {name: version for row in rows for name, version in row.get("versions", {}).items()}
    commits = named([row for row in rows if row["impl"] in OWN], lambda row: row["commit"][:12])
    info = rows[-1]["device"]
    days = list(dict.fromkeys(of(row["date"][:10] for row in rows) for of in (min, max)))
    cuda = f"CUDA {info['cuda'] // 1000}.{info['cuda'] % 1000 // 10}" if info["cuda"] else ""
    return "; ".join(filter(None, [
        f"fntk at {commits or 'no row'}", ", ".join(f"{name} {version}" for name, version in versions.items()),
        ", ".join(filter(None, [info["driver"] and f"driver {info['driver']}", cuda])), " to ".join(days)])) + "."


def markdown(rows: list[Row], device: str, ceilings: floors.Parts, figure: str = "") -> str:
    """figure: the file with that of growth, beside the document."""
    rows = prepared(rows, device, ceilings)
    lines = [f"# fntk beside its peers on {device}", "", origin(rows), "", *overview(rows), *LEGEND, ""]
    if ceilings:
        lines += ["## Measured ceilings", "", *measured_ceilings(ceilings), *decisions(ceilings), ""]
    lines += ["## Goals", "", "Set before anything was measured. Open: a row that it needs has not been measured.", "",
              *goals(rows)]
    if any(row["op"] == "growth" for row in rows):
        lines += ["## Growth", "", "From X to H, G and f, one extent at a time.", "",
                  *([f"![time against n, m, p and d]({figure})", ""] if figure else []), *growth(rows)]
    lines += ["## Every measurement", "", "Errors are relative, against float64, on 64 or 128 rows; flips: the share of gates that "
              "differ. Equal bits: the integers of the CPU.", "", *everything(rows)]
    used = {row["impl"] for row in rows}
    lines += [f"- {one.name}: {one.what}" for one in IMPLEMENTATIONS.values() if one.name in used]
    return "\n".join(lines) + "\n"


def in_document(text: str, name: str, rows: list[Row], device: str, ceilings: floors.Parts) -> str:
    """The document with the excerpt behind the mark of that name, if it has one."""
    rows = prepared(rows, device, ceilings)
    before, mark, rest = text.partition(BEGIN.format(name))
    return before + mark + "\n".join([f"{device}; {origin(rows)}", "", *excerpt(rows), END]) + rest.partition(END)[2] \
        if mark else text


def published(out: Path, rows: list[Row], device: str, ceilings: floors.Parts) -> dict[Path, str]:
    """The files beside OUT: OUT.md, with OUT/compare.json if there is one, and where growth was measured its figure."""
    grown = [row for row in prepared(rows, device, ceilings) if row["op"] == "growth"]
    picture, report = out.with_name(out.name + "-growth.svg"), out / "compare.json"
    text = markdown(rows, device, ceilings, picture.name if grown else "")
    if report.exists():
        lines = factorised_widths(json.loads(report.read_text(encoding="utf-8")))
        text += "\n".join(["", "## Dense against factorised widths", "", *lines, "",
                           f"`fntk compare`: [its report]({out.name}/compare.json), [its plot]({out.name}/compare.html).", ""])
    files = {out.with_suffix(".md"): text}
    return {**files, picture: growth_figure.figure(grown, device)} if grown else files


def main() -> int:
    parser = argparse.ArgumentParser(description="OUT/rows.jsonl as Markdown on standard output")
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", help="of several; else the one of the last row")
    parser.add_argument("--publish", action="store_true", help=f"to OUT.md, and an excerpt to {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args()
    rows = list(store.read(options.out / "rows.jsonl"))
    if not rows:
        print(f"table.py: no rows in {options.out / 'rows.jsonl'}", file=sys.stderr)
        return 1
    device = options.device or rows[-1]["device"]["name"]
    ceilings = floors.measured_rates(options.out / "ceilings.jsonl", device)
    if options.publish:
        for path, text in published(options.out.resolve(), rows, device, ceilings).items():
            path.write_text(text, encoding="utf-8")
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(in_document(text, options.out.resolve().name, rows, device, ceilings), encoding="utf-8")
    else:
        print(markdown(rows, device, ceilings), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
