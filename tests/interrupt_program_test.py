#!/usr/bin/env python3
"""Ctrl-C: what has nothing to save ends at once, what has stops after the step at hand and says so, and a second Ctrl-C does
not wait for that step. A report that holds a part says that it does; one that would hold nothing is not written."""

import json
import re
import signal
import subprocess
import time
import unittest

import numpy as np

import fntk_files as files
from program_test import DIM, ROWS, ProgramCase, setUpModule  # noqa: F401

NOTHING = r"\Afntk: error: interrupted; nothing was written\n\Z"
HOUR = ("--width", 400_000_000, "--rank", 8, "--threads", 1)  # a wide pass as one operation


class Interrupted(ProgramCase):
    def interrupted(self, *command, after=1.0, times=1):
        """Exit code 130 after SIGINT, while minutes of work are left; stderr."""
        with subprocess.Popen([files.program(), *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                time.sleep(after)
                self.assertIsNone(process.poll(), "it has ended before Ctrl-C")
                for again in range(times):
                    time.sleep(0.2 * (again > 0))
                    process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=30)
            finally:
                process.kill()
        self.assertEqual(process.returncode, 130, errors)
        return errors

    def test_a_wide_pass_ends_at_once(self):
        labels = self.npy("y.npy", np.arange(ROWS) % 2)
        for command in (("gram", self.data, *HOUR, "--out", self.out / "k.npy"), ("spectrum", self.data, *HOUR),
                        ("tangent", self.data, *HOUR, "--out", self.out / "t"),
                        ("compare", self.data, "--widths", 100_000_000, "--ranks", 8, "--threads", 1, "--json", self.out / "c.json")):
            with self.subTest(command=command[0]):
                self.assertRegex(self.interrupted(*command), NOTHING)
                self.assertEqual(list(self.out.iterdir()), [])
        train = ("train", self.data, "--labels", labels, *HOUR, "--no-kernel", "--checkpoint", self.out / "c.safetensors")
        self.assertRegex(self.interrupted(*train, times=2), r"\Afntk: error: interrupted twice; ended at once\n\Z")
        self.assertEqual(list(self.out.iterdir()), [])

    def test_a_dense_eigendecomposition_ends_at_once(self):
        data = self.npy("many.npy", files.sphere(9000, DIM, 3))
        command = ("spectrum", data, "--width", 64, "--rank", 8, "--threads", 1, "--eigenvalues", self.out / "w.npy", "--json", self.out / "s.json")
        self.assertRegex(self.interrupted(*command, after=3), NOTHING)
        self.assertEqual(list(self.out.iterdir()), [])

    def test_a_comparison_keeps_its_whole_rows_and_says_so(self):
        written, plot = self.out / "c.json", self.out / "c.html"
        written.write_text("a whole report", encoding="ascii")
        command = ("compare", self.data, "--ranks", 8, "--threads", 1, "--json", written, "--plot", plot)
        self.assertRegex(self.interrupted(*command, "--widths", 100_000_000), NOTHING)
        self.assertEqual([path.read_text(encoding="ascii") for path in self.out.iterdir()], ["a whole report"])
        slow = ("--widths", 64, 500_000, "--steps", 2000)  # three networks take less than a second, the others minutes
        errors = self.interrupted(*command, *slow, after=5)
        found = re.fullmatch(r"fntk: error: interrupted after (\d) of 6 networks; what is written holds those alone\n", errors)
        self.assertTrue(found, errors)
        report = json.loads(written.read_text(encoding="utf-8"))
        self.assertIs(report["interrupted"], True)
        self.assertEqual((len(report["rows"]), report["rows"][0]["width"]), (int(found[1]), 64))
        self.assertIn("was interrupted", plot.read_text(encoding="utf-8"))
        files.fntk("compare", self.data, "--widths", 64, "--ranks", 8, "--steps", 5, "--json", written, "--plot", plot)
        self.assertIs(json.loads(written.read_text(encoding="utf-8"))["interrupted"], False)
        self.assertNotIn("was interrupted", plot.read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
