"""The results as Markdown: the ratios that matter first, then every measurement."""

from typing import Any

from cases import BUSY, CASES, GOALS, IMPLEMENTATIONS, OPERATIONS

Row = dict[str, Any]


def milliseconds(row: Row) -> str:
    return f"{1e3 * row['median_s']:.4g}"


def find(rows: list[Row], **wanted: str) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def ratios(rows: list[Row]) -> list[Row]:
    """fntk against the fastest peer that ran and agreed, goal by goal."""
    found = []
    for goal in GOALS:
        measured = [row for row in rows if row["status"] == "ok" and row["operation"] == goal.operation]
        fntk = find(measured, case=goal.fntk_case, implementation="fntk")
        peers = [row for row in find(measured, case=goal.peer_case) if row["implementation"] != "fntk"]
        if fntk and peers:
            best = min(peers, key=lambda row: row["median_s"])
            found.append({"goal": f"{goal.operation}: {goal.title}", "fntk_s": fntk[0]["median_s"],
                          "best_peer": best["implementation"], "best_peer_s": best["median_s"],
                          "ratio": best["median_s"] / fntk[0]["median_s"]})
    return found


def table(header: list[str], lines: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(header) + " |", "|---" * len(header) + "|",
            *("| " + " | ".join(line) + " |" for line in lines), ""]


def detail(row: Row, fntk: list[Row]) -> list[str]:
    if row["status"] in ("skipped", "failed"):
        return [row["implementation"], f"{row['status']}: {row['reason']}", *[""] * 6]
    ratio = f"{row['median_s'] / fntk[0]['median_s']:.2f}" if fntk else ""
    agreement = row["agreement"]
    mark = "" if row["status"] == "ok" else " DISAGREES"
    return [row["implementation"], milliseconds(row), f"{1e3 * row['p10_s']:.4g} to {1e3 * row['p90_s']:.4g}",
            ratio, f"{row['peak_mb']:.0f}", f"{row['peak_mb'] - row['before_mb']:.0f}",
            f"{agreement['error']:.1e} (bound {agreement['bound']:.1e}){mark}",
            f"{agreement['against_fntk']:.1e}"]


def markdown(results: Row) -> str:
    rows, sizes = results["rows"], results["sizes"]
    lines = ["# fntk beside its peers", "",
             f"n = {sizes['samples']}, d = {sizes['dim']}, m = {sizes['width']}, p = {sizes['rank']} (factorised); "
             f"float32, {results['threads']} threads, {results['repeats']} repeats × {results['rounds']} rounds.  ",
             f"{results['machine']}; fntk at {results['commit']}; "
             + ", ".join(f"{name} {version}" for name, version in results["versions"].items()) + ".", ""]
    if results["busiest"] > BUSY:
        lines += [f"**Other work kept up to {results['busiest']:.1f} processors busy meanwhile** (`others` in the JSON "
                  "says when): these times are not to be quoted.", ""]
    if results["smoke"]:
        lines += ["Smoke sizes: the errors count; the times are those of the calls, not of the work.", ""]
    lines += table(["what", "fntk ms", "best peer", "its ms", "peer / fntk"],
                   [[ratio["goal"], f"{1e3 * ratio['fntk_s']:.4g}", ratio["best_peer"],
                     f"{1e3 * ratio['best_peer_s']:.4g}", f"**{ratio['ratio']:.2f}**"] for ratio in results["ratios"]])
    for case in CASES:
        for operation in OPERATIONS:
            chosen = find(rows, case=case.name, operation=operation)
            if not chosen:
                continue
            width = sizes["narrow_width"] if case.narrow else sizes["width"]
            what = "tangent + Gram" if operation == "gram" else "one full-batch gradient step"
            lines += [f"## {case.name}: {what}", "", f"{case.title}; m = {width}", ""]
            fntk = [row for row in chosen if row["implementation"] == "fntk" and row["status"] == "ok"]
            lines += table(["implementation", "median ms", "p10 to p90", "× fntk", "peak MB", "of it work",
                            "error", "against fntk"], [detail(row, fntk) for row in chosen])
    used = {row["implementation"] for row in rows}
    lines += [f"- {one.name}: {one.what}" for one in IMPLEMENTATIONS if one.name in used]
    return "\n".join(lines) + "\n"
