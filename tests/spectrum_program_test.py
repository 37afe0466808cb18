#!/usr/bin/env python3
"""`fntk spectrum`: all eigenvalues, a few as intervals, sums by probes, each beside NumPy's of the kernel in a file."""

import re
import unittest

import numpy as np

import fntk_files as files
from fntk_files import fntk, run
from program_test import DIM, SMALL, WORKSPACES, ProgramCase, report, setUpModule  # noqa: F401


class Spectrum(ProgramCase):
    def test_the_full_kernel_at_infinite_width_is_referred_to_the_trace_kernel(self):
        limit = (self.data, *SMALL, "--outputs", 3, "--limit")
        process = run("spectrum", *limit, "--kernel", "full")
        self.assertEqual((process.returncode, process.stdout), (3, ""), process.stderr)
        self.assertIn("3 times each; take --kernel trace", process.stderr)
        self.assertIn("eigenvalues of the infinite-width kernel of down", fntk("spectrum", *limit))

    def test_spectrum_is_that_of_the_gram_matrix(self):
        eigenvalues, kernel = self.out / "w.npy", self.out / "k.npy"
        _, written = report("spectrum", self.data, *SMALL, "--eigenvalues", eigenvalues)
        fntk("gram", self.data, *SMALL, "--out", kernel)
        expected = np.linalg.eigvalsh(np.load(kernel).astype(np.float64))
        np.testing.assert_allclose(np.load(eigenvalues).ravel(), expected, rtol=0, atol=1e-6 * expected[-1])
        np.testing.assert_allclose([written["lambda_min"], written["lambda_max"]], expected[[0, -1]], rtol=0, atol=1e-6 * expected[-1])
        self.assertAlmostEqual(written["trace"] / expected.sum(), 1, delta=1e-6)
        self.assertLess(max(written["residual"], written["orthogonality"]), 1e-10)

    def test_a_few_eigenvalues_lie_in_their_intervals(self):
        kernel = self.out / "k.npy"
        fntk("gram", self.data, *SMALL, "--out", kernel)
        expected = np.linalg.eigvalsh(np.load(kernel).astype(np.float64))
        printed, written = report("spectrum", self.data, *SMALL, "--largest", 3, "--smallest", 2)
        self.assertEqual(set(written["seconds"]), {"load", "network", "tangent", "gram", "extremal"})
        self.assertNotIn("eigenvalues", written)
        for end, truth in (("largest", expected[::-1][:3]), ("smallest", expected[:2])):
            self.assertEqual(len(written[end]), len(truth))
            for interval, value in zip(written[end], truth):
                self.assertIs(interval["certified"], True)
                self.assertEqual(interval["reason"], "")
                self.assertTrue(interval["lower"] <= value <= interval["upper"], interval)
                self.assertLess(interval["upper"] - interval["lower"], 1e-8 * expected[-1])
                self.assertIn(f"[{interval['lower']!r}, {interval['upper']!r}]".lower(), printed)
        printed, written = report("spectrum", self.data, *SMALL, "--largest", 2, "--matrix-free")
        self.assertEqual(set(written["seconds"]), {"load", "network", "tangent", "extremal"})
        for interval, value in zip(written["largest"], expected[::-1]):
            self.assertIs(interval["certified"], False)
            self.assertIn("dense matrix", interval["reason"])
            self.assertAlmostEqual(interval["value"] / value, 1, delta=1e-5)
        self.assertIn("not certified", printed)
        _, written = report("spectrum", self.data, *SMALL, "--limit", "--smallest", 1)
        self.assertIs(written["smallest"][0]["certified"], True)

    def test_counts_are_whole_numbers_of_at_least_one(self):
        for option in ("--largest", "--smallest", "--trace-probes"):
            for value in ("-1", "1.5", "many"):
                process = run("spectrum", self.data, *SMALL, option, value)
                self.assertEqual((process.returncode, process.stdout), (2, ""), process.stderr)
                self.assertIn(f"{option}: '{value}' is no whole number of at least {2 if option == '--trace-probes' else 1}", process.stderr)
                self.assertLess(len(process.stderr), 150)

    def test_products_with_the_limit_kernel_stand_for_it(self):
        for train in ("up", "down+readout"):
            limit = ("spectrum", self.data, *SMALL, "--limit", "--train", train, "--precision", "float64")
            eigenvalues = report(*limit)[1]["eigenvalues"]
            _, written = report(*limit, "--largest", 3, "--smallest", 2, "--matrix-free", "--trace-probes", 64)
            self.assertEqual(set(written["seconds"]), {"load", "network", "batch", "extremal", "probes"})
            for end, truth in (("largest", eigenvalues[::-1][:3]), ("smallest", eigenvalues[:2])):
                np.testing.assert_allclose([one["value"] for one in written[end]], truth, rtol=0, atol=1e-8 * eigenvalues[-1])
                self.assertFalse(any(one["certified"] for one in written[end]))
            for name, value in (("trace", sum(eigenvalues)), ("squared_norm", sum(x * x for x in eigenvalues))):
                estimate = written["estimates"][name]
                self.assertLess(abs(estimate["value"] - value), 4 * estimate["standard_error"] + 1e-12 * value, name)

    def test_estimates_by_probes_lie_near_the_sums(self):
        kernel = self.out / "k.npy"
        fntk("gram", self.data, *SMALL, "--out", kernel)
        k = np.load(kernel).astype(np.float64)
        truth = {"trace": np.trace(k), "squared_norm": (k**2).sum(), "effective_rank": np.trace(k)**2 / (k**2).sum()}
        probes = ("spectrum", self.data, *SMALL, "--trace-probes", 64)
        printed, written = report(*probes)
        self.assertEqual(set(written["seconds"]), {"load", "network", "tangent", "probes"})
        self.assertEqual(written["estimates"]["probes"], 64)
        for name, value in truth.items():
            estimate = written["estimates"][name]
            self.assertLess(abs(estimate["value"] - value), 4 * estimate["standard_error"], name)
            self.assertLess(estimate["standard_error"], 0.3 * value, name)
            self.assertIn(name, printed)
        self.assertEqual(report(*probes)[1]["estimates"], written["estimates"])
        self.assertNotEqual(report(*probes, "--probe-seed", 1)[1]["estimates"], written["estimates"])

    def test_the_process_stays_inside_its_budget(self):
        self.needs_exact_budgets()
        data = self.npy("large.npy", files.sphere(1500, DIM, 5))
        network = ("--width", 2048, "--rank", 8, "--train", "up")
        ways = {(): "--matrix-free", ("--largest", 2): "--matrix-free (not certified)", ("--limit",): "--trace-probes",
                ("--smallest", 1, "--limit"): "--trace-probes", ("--largest", 2, "--matrix-free"): "fewer --samples",
                ("--largest", 1, "--matrix-free", "--limit"): "fewer --samples", ("--trace-probes", 16): "fewer --samples"}
        for way, remedy in ways.items():
            with self.subTest(way=way):
                spectrum = ("spectrum", data, *network, *way, "--memory")
                process = run(*spectrum, "1MiB")
                self.assertEqual((process.returncode, process.stdout), (6, ""), process.stderr)
                self.assertIn(remedy, process.stderr)
                found = re.search(r"take (\d+) MiB, the work \d+ MiB at least; give --memory (\d+)MiB, or", process.stderr)
                self.assertTrue(found, process.stderr)
                resident, named = map(int, found.groups())
                self.assertEqual(run(*spectrum, f"{named - 5}MiB").returncode, 6)
                written, peak = self.peak_of_process(*spectrum, f"{named}MiB")
                self.assertLessEqual(peak, named << 20)
                if way[:1] not in (("--largest",), ("--smallest",)) or "--matrix-free" in way:
                    self.assertGreater(2 * peak, written["plan"]["peak_bytes"] + (resident << 20) - WORKSPACES)  # nothing held in reserve

    def test_a_dry_run_is_a_plan_and_nothing_else(self):
        for way, words in (((), "all 48 eigenvalues"), (("--largest", 2), "certified"),
                           (("--largest", 2, "--matrix-free"), "never formed"), (("--trace-probes", 8), "8 probes")):
            printed, written = report("spectrum", self.data, *SMALL, *way, "--dry-run")
            self.assertRegex(printed, r"\Aplan: [^\n]+\n\Z")
            self.assertIn(words, printed)
            self.assertEqual(set(written["plan"]), {"peak_bytes", "flops", "reason", "estimated_seconds"})
            self.assertEqual(set(written["seconds"]), {"load", "network", "estimate"})
            seconds = written["plan"]["estimated_seconds"]
            self.assertGreater(seconds["setup"], 0)
            self.assertEqual(seconds["product"] > 0, "--largest" in way)


if __name__ == "__main__":
    unittest.main()
