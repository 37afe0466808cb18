#!/usr/bin/env python3
"""`fntk plan`: the network it prints has the error it reports, its choices follow its pilots, and what it refuses."""

import json
import re
import unittest
from pathlib import Path

import numpy as np

import fntk_files as files
from fntk_files import fntk, run
from program_test import ProgramCase, report, setUpModule  # noqa: F401


class Plans(ProgramCase):
    FIELDS = """criterion target_error samples pilot_samples rank_x limit error_law hard_condition rank_pilots width_pilots rank_constant
        width_constant practical theory evidence doublings loss dense_width_of_equal_error cost estimated_seconds""".split()

    def limit_kernel(self, x):
        rho = x @ x.T
        theta = np.arccos(np.clip(rho, -1, 1))
        np.fill_diagonal(theta, 0)
        return rho * (np.pi - theta) / (2 * np.pi)

    def test_goes_on_with_a_gaussian_u_where_the_default_has_no_rank_left(self):
        data = self.npy("s.npy", files.sphere(30, 12, 3))
        options = ("--criterion", "frobenius", "--target-error", 0.1, "--seeds", 2)
        process = run("plan", data, *options, "--json", self.out / "plan.json")
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertIn("srht admit no larger rank at dim 12", process.stderr.replace("down = srht, up = srht", "srht"))
        self.assertIn("going on with down = gaussian", process.stderr)
        network = json.loads((self.out / "plan.json").read_text())["network"]
        self.assertEqual(network["down"], "gaussian")
        self.assertGreater(network["rank"], 12)

    def errors(self, kernel, limit):
        have, want = np.linalg.eigvalsh(kernel), np.linalg.eigvalsh(limit)
        return {"lambda-min": 1 - have[0] / want[0], "condition": have[-1] / have[0] / (want[-1] / want[0]) - 1,
                "frobenius": np.linalg.norm(kernel - limit) / np.linalg.norm(limit)}

    def test_the_network_it_prints_has_the_error_that_it_reports(self):
        data = self.npy("s.npy", files.sphere(30, 12, 3).astype(np.float64))
        x = np.load(data)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        limit = self.limit_kernel(x)
        for criterion, options in (("lambda-min", ("--train", "up")), ("frobenius", ("--train", "up", "--down", "gaussian")),
                                   ("lambda-min", ("--down", "gaussian")), ("frobenius", ("--down", "gaussian", "--outputs", 2)),
                                   ("condition", ("--down", "gaussian", "--up", "rademacher"))):
            with self.subTest(criterion=criterion, options=options):
                printed, written = report("plan", data, "--criterion", criterion, "--target-error", 0.4, "--precision", "float64",
                                          "--seeds", 2, *options)
                plan, network = written["plan"], written["network"]
                self.assertEqual(list(plan), self.FIELDS)
                self.assertEqual(plan["criterion"], criterion)
                gram, fit = written["operations"]["gram"], written["operations"]["fit"]
                self.assertEqual((gram["tiles"], gram["file_bytes"]), (1, 128 + 30 * 30 * 8))
                self.assertGreater(gram["estimated_seconds"], 0)
                self.assertEqual((fit["solver"], fit["estimated_seconds"]["iteration"]), ("cholesky", 0))
                self.assertEqual(written["operations"]["spectrum"]["estimated_seconds"]["product"], 0)
                self.assertGreater(written["operations"]["train"]["estimated_seconds"]["step"], 0)
                last = plan["evidence"][-1]
                self.assertLessEqual(last["error"], 0.4)
                self.assertEqual((last["rank"], last["width"], last["seed"]), (network["rank"], network["width"], int(network["seed"])))
                command = [line for line in printed.splitlines() if line.startswith("fntk network ")][0].split()[1:]
                command[-1] = str(self.out / "net.safetensors")
                fntk(*command)
                fntk("gram", data, "--network", command[-1], "--out", self.out / "k.npy")
                measured = self.errors(np.load(self.out / "k.npy"), limit)
                np.testing.assert_allclose(last["error"], measured[criterion], rtol=0, atol=1e-6)
                np.testing.assert_allclose(last["frobenius"], measured["frobenius"], rtol=0, atol=1e-6)
                self.assertAlmostEqual(last["lambda_min"] / np.linalg.eigvalsh(np.load(self.out / "k.npy"))[0], 1, delta=1e-6)
                self.assertIn(f"{last['lambda_min']:.3e}", printed)
                self.assertAlmostEqual(plan["limit"]["lambda_min"] / np.linalg.eigvalsh(limit)[0], 1, delta=1e-9)
                for words in ("practical choice", "theory bound", "not the choice", "hard condition", "dense width", "evidence"):
                    self.assertIn(words, printed)

    def test_fashion_mnist_with_few_samples(self):
        if not Path("/usr/share/datasets/fashion-mnist").is_dir():
            self.skipTest("dataset-fashion-mnist is not installed")
        printed, written = report("plan", "fashion-mnist", "--samples", 300, "--pilot-samples", 100, "--seeds", 2,
                                  "--criterion", "frobenius", "--target-error", 0.2)
        plan = written["plan"]
        self.assertEqual((plan["samples"], plan["pilot_samples"]), (300, 100))
        self.assertLessEqual(plan["evidence"][-1]["error"], 0.2)
        self.assertIn("measured on 100 evenly spaced rows", printed)
        self.assertEqual(written["network"]["rank"] & (written["network"]["rank"] - 1), 0)
        self.assertGreaterEqual(written["network"]["width"], 4 * written["network"]["rank"])
        self.assertGreater(plan["theory"]["rank"], plan["practical"]["rank"])

    def test_a_plan_is_printed_though_the_next_step_does_not_fit(self):
        data = self.npy("wide.npy", files.sphere(2000, 12, 3))
        plan = ("plan", data, "--criterion", "frobenius", "--target-error", 0.9, "--pilot-samples", 2, "--seeds", 1, "--train", "up")
        resident = int(re.search(r"take ([0-9]+) MiB", run(*plan, "--memory", "1MiB").stderr).group(1))
        printed, written = report(*plan, "--memory", f"{resident + 12}MiB")  # less than the workspaces of a fit
        self.assertIn("practical choice", printed)
        self.assertRegex(printed, r"(?m)^fntk network ")
        for step in ("gram", "fit", "spectrum", "train"):
            self.assertRegex(printed, rf"(?m)^fntk {step} +does not fit: memory = ")
            self.assertRegex(written["operations"][step]["does_not_fit"], r"takes? [0-9]+ MiB at least")

    def test_what_it_refuses(self):
        def refused(words, *arguments):
            process = run("plan", *arguments)
            self.assertEqual((process.returncode, process.stdout), (3, ""), process.stderr)
            self.assertRegex(process.stderr, r"\Afntk: error: [^\n]+\n\Z")
            for word in words:
                self.assertIn(word, process.stderr)

        refused(["target_error = 1", "(0, 1)"], self.data, "--target-error", 1)
        refused(["criterion is 'fog'", "lambda-min"], self.data, "--criterion", "fog")
        refused(["train = readout", "down alone"], self.data, "--train", "readout")
        x = self.x.copy()
        x[31] = x[4]
        refused(["rows 4 and 31 are equal"], self.npy("twice.npy", x))
        refused(["target_error = 0.01", "admit no larger rank"], self.data, "--target-error", 0.01, "--criterion", "frobenius",
                "--down", "srht")


if __name__ == "__main__":
    unittest.main()
