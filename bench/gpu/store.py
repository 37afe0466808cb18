"""rows.jsonl: one row a measurement, appended when it is made; what is there need not be measured again.

    schema, commit, date, device {name, sm, sms, driver, cuda}, op, case, shape {n, d, p, m, r}, impl, mode (accuracy
            class), status
    ok      ms {median, p10, p90, reps}, work {flop, int8_op, bytes}, peak_bytes, base_bytes (inputs and weights),
            error {flips, rel_g, rel_k, bit_exact} against float64, or null; versions, note
            fntk's: floor {ms, unit}, fraction_of_floor, measured_ceiling {ms, unit}, fraction_of_measured_ceiling; the
            table finds them again, by the floors and ceilings that it has
    failed  reason
"""

import json
import os
from pathlib import Path
from typing import Any, Iterable

from problems import CLASS_OF

Row = dict[str, Any]
Key = tuple[Any, ...]

SCHEMA = 1
FIELDS = ("schema", "commit", "date", "device", "op", "case", "shape", "impl", "mode", "status")
ERRORS = ("flips", "rel_g", "rel_k", "bit_exact")
# Relative errors beyond which a result of this class is not inaccurate but wrong, and counts in no ratio.
WRONG = {"exact": 1e-2, "fast": 0.05, "fp32": 1e-2, "tf32": 0.1, "bf16": 0.3, "int8": 0.3}


def key(row: Row) -> Key:
    return (row["commit"], row["device"]["name"], row["op"], row["case"], tuple(sorted(row["shape"].items())),
            row["impl"], row["mode"])


def complaint(row: Row) -> str:
    """What is wrong with a row, or nothing."""
    missing = [name for name in FIELDS if name not in row]
    if missing:
        return f"no {', '.join(missing)}"
    if row["schema"] != SCHEMA:
        return f"schema {row['schema']}"
    if row["status"] == "failed":
        return "" if row.get("reason") else "failed without a reason"
    if row["status"] != "ok":
        return f"status {row['status']}"
    ms = row.get("ms", {})
    if not {"median", "p10", "p90", "reps"} <= ms.keys() or not 0 <= ms["p10"] <= ms["median"] <= ms["p90"]:
        return "no times"
    if row.get("error") is not None and set(row["error"]) != set(ERRORS):
        return f"errors {sorted(row['error'])}"
    return ""


def agrees(row: Row) -> bool:
    """With float64, as far as its class goes; True where nothing was compared. A NaN does not."""
    error = row.get("error") or {}
    found = [error[name] for name in ("rel_g", "rel_k") if error.get(name) is not None]
    return error.get("bit_exact") is not False and all(one < WRONG[CLASS_OF[row["mode"]]] for one in found)


class Store:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = {key(row): row for row in read(path)}

    def has(self, wanted: Row, failed_too: bool = True, any_commit: bool = False) -> bool:
        found = self.rows.get(key(wanted))
        if found is None and any_commit:
            found = next((row for row in self.rows.values() if key({**row, "commit": wanted["commit"]}) == key(wanted)
                          and row["status"] == "ok"), None)
        return found is not None and (failed_too or found["status"] == "ok")

    def add(self, row: Row) -> None:
        """At once and whole: a line is one write, and one that was cut off before it ends here."""
        wrong = complaint(row)
        if wrong:
            raise ValueError(f"{row.get('op')} {row.get('impl')}: {wrong}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cut = self.path.exists() and self.path.stat().st_size > 0 and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if cut else "") + json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows[key(row)] = row


def read(path: Path) -> Iterable[Row]:
    """The rows that are whole, in their order; a later one of the same key stands for the earlier."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and not complaint(row):
            yield row
