#!/usr/bin/env python3
"""Kernel ridge regression on two tables of scikit-learn, by bench/real/run.py: as good as what is known of them, inside
the budget. Skipped where scikit-learn is missing (Debian: python3-sklearn)."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import fntk_files as files

ROOT = Path(os.environ.get("FNTK_SOURCE_DIR") or Path(__file__).resolve().parent.parent)
SANITIZED = bool(os.environ.get("FNTK_SANITIZE"))  # whose own memory no plan knows
MEMORY = (1024 if SANITIZED else 128) << 20


class RealTables(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-B", ROOT / "bench/real/run.py", "--only", "tables", "--program", files.program(), "--out",
                            folder, "--memory", f"{MEMORY >> 20}MiB"], check=True, stdout=subprocess.DEVNULL, timeout=300)
            written = json.loads((Path(folder) / "real.json").read_text(encoding="utf-8"))
        cls.rows = {row["name"].split(",")[0]: row for row in written["rows"]}

    def test_diabetes(self):
        row = self.rows["diabetes"]  # of targets brought to variance 1
        self.assertEqual((row["samples"], row["test_accuracy"]), (332, None))
        self.assertLess(row["test_rmse"], 0.75)
        self.assertLess(row["test_rmse"], row["linear"] + 0.05)

    def test_breast_cancer(self):
        row = self.rows["breast cancer"]
        self.assertEqual((row["samples"], row["test_rmse"]), (427, None))
        self.assertGreater(row["test_accuracy"], 0.94)

    def test_the_budget_and_the_plan_are_kept(self):
        self.assertEqual(set(self.rows), {"diabetes", "breast cancer"})
        for name, columns in (("diabetes", 11), ("breast cancer", 31)):
            row = self.rows[name]
            data = 8 * row["samples"] * (columns + 2)  # the plan counts what is beside it
            self.assertLess(row["plan_bytes"], MEMORY)
            self.assertLess(40 * row["samples"] ** 2, row["plan_bytes"])
            self.assertLess(row["peak_bytes"], row["plan_bytes"] + data)
            self.assertGreater(row["peak_rss_bytes"], row["peak_bytes"])
            if not SANITIZED:
                self.assertLess(row["peak_rss_bytes"], MEMORY)


if __name__ == "__main__":
    if importlib.util.find_spec("sklearn") is None:
        print("skipped: scikit-learn is missing; install python3-sklearn")  # what tests/CMakeLists.txt looks for
    else:
        unittest.main()
