#!/usr/bin/env python3
"""Whether two reports of `fntk compare` say the same of the same networks, as two devices should.

    python3 bench/gpu/same_rows.py ONE.json OTHER.json

Integers and names are equal, kernels within rounding. Exit code 1, and what differs, otherwise.
"""

import json
import sys
from pathlib import Path
from typing import Any, Iterator

EQUAL = ("name", "width", "rank", "down", "up", "train", "parameters_trained", "bytes_stored", "flops_per_step",
         "certificate_held")
# Relative: float32 kernels whose sums were taken in another order, and what follows from them.
NEAR = {"relative_error": 1e-4, "lambda_max": 1e-5, "lambda_min": 1e-2, "train_loss": 1e-3, "drift": 1e-2}
SCORES = 0.002  # absolute: a few images whose scores nearly tie


def differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    for field in EQUAL:
        if one[field] != other[field]:
            yield f"{field}: {one[field]} and {other[field]}"
    for field, tolerance in NEAR.items():
        a, b = one[field], other[field]
        if (a is None) != (b is None) or (a is not None and abs(a - b) > tolerance * max(abs(a), abs(b))):
            yield f"{field}: {a} and {b}"
    for kind in ("test_accuracy", "test_rmse"):
        for field, a in one.get(kind, {}).items():
            b = other[kind][field]
            if (a is None) != (b is None) or (a is not None and abs(a - b) > SCORES):
                yield f"{kind}.{field}: {a} and {b}"


def main() -> int:
    one, other = (json.loads(Path(path).read_text())["rows"] for path in sys.argv[1:3])
    found = [f"{a['name']}: {what}" for a, b in zip(one, other) for what in differences(a, b)]
    if not one or len(one) != len(other):
        found.append(f"{len(one)} and {len(other)} rows")
    print("\n".join(found) or f"{len(one)} rows agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
