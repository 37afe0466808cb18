#!/usr/bin/env python3
"""`fntk train` inside a memory budget: the plan, the refusal and its remedy, the peak of the process."""

import re
import unittest

import numpy as np

import fntk_files as files
from fntk_files import run
from program_test import DIM, SMALL, WORKSPACES, ProgramCase, report, setUpModule  # noqa: F401


class TrainsInsideABudget(ProgramCase):
    def test_a_dry_run_is_a_plan_and_nothing_else(self):
        train = ("train", self.data, "--labels", self.npy("y.npy", np.arange(len(self.x)) % 2), *SMALL, "--steps", 3,
                 "--out", self.out / "n.safetensors", "--dry-run")
        for way, kernel, batch in (((), True, 48), (("--no-kernel",), False, 48), (("--batch", 10, "--no-kernel"), False, 10)):
            printed, written = report(*train, *way)
            self.assertRegex(printed, rf"\Aplan: 3 steps of {batch} samples[^\n]+\n\Z")
            plan = written["plan"]
            self.assertEqual(set(plan), {"batch", "kernel", "peak_bytes", "flops", "reason", "estimated_seconds"})
            self.assertEqual(set(plan["estimated_seconds"]), {"setup", "step"})
            self.assertGreater(min(plan["estimated_seconds"].values()), 0)
            self.assertEqual((plan["kernel"], plan["batch"]), (kernel, batch))
            self.assertNotIn("history", written)
        self.assertEqual(list(self.out.glob("*")), [])

    def test_the_process_stays_inside_its_budget(self):
        self.needs_exact_budgets()
        data, labels = self.npy("large.npy", files.sphere(1200, DIM, 5)), self.npy("y.npy", np.arange(1200) % 3)
        network = ("--width", 4096, "--rank", 8)
        ways = {(): "--no-kernel", ("--spectrum-every", 1, "--train", "up"): "--no-kernel", ("--no-kernel",): "--step-size",
                ("--no-kernel", "--step-size", 0.01, "--train", "down+up+readout"): "--batch",
                ("--no-kernel", "--step-size", 0.01, "--batch", 100, "--momentum", 0.5, "--train", "up"): "--batch"}
        for way, remedy in ways.items():
            with self.subTest(way=way):
                train = ("train", data, "--labels", labels, *network, *way, "--steps", 2, "--out", self.out / "n.safetensors", "--memory")
                process = run(*train, "1MiB")
                self.assertEqual((process.returncode, process.stdout), (6, ""), process.stderr)
                found = re.search(r"take (\d+) MiB, the work \d+ MiB at least; give --memory (\d+)MiB, or", process.stderr)
                self.assertTrue(found, process.stderr)
                self.assertIn(remedy, process.stderr.split(", or")[1])
                resident, named = map(int, found.groups())
                self.assertEqual(run(*train, f"{named - 5}MiB").returncode, 6)
                written, peak = self.peak_of_process(*train, f"{named}MiB")
                self.assertLessEqual(peak, named << 20)
                self.assertGreater(2 * peak, written["plan"]["peak_bytes"] + (resident << 20) - WORKSPACES)

    def test_resuming_reserves_what_the_checkpoint_takes(self):
        self.needs_exact_budgets()
        data, labels = self.npy("some.npy", files.sphere(100, DIM, 5)), self.npy("y.npy", np.arange(100) % 3)
        checkpoint = self.out / "c.safetensors"
        train = ("train", data, "--labels", labels, "--width", 1 << 18, "--rank", 8, "--train", "down+up", "--no-kernel",
                 "--step-size", 0.01, "--momentum", 0.5, "--checkpoint", checkpoint)

        def least(*way):
            process = run(*train, *way, "--memory", "1MiB")
            self.assertEqual(process.returncode, 6, process.stderr)
            return int(re.search(r"give --memory (\d+)MiB, or", process.stderr).group(1))

        fresh = least("--steps", 1)
        run(*train, "--steps", 1)
        named = least("--steps", 2, "--resume")
        self.assertAlmostEqual(named - fresh, 2 * checkpoint.stat().st_size / 2**20, delta=4)
        _, peak = self.peak_of_process(*train, "--steps", 2, "--resume", "--memory", f"{named}MiB")
        self.assertLessEqual(peak, named << 20)


class Trains(ProgramCase):
    def setUp(self):
        super().setUp()
        self.labels = self.npy("y.npy", np.arange(len(self.x)) % 2)

    def test_a_singular_kernel_has_no_certificate(self):
        twice = self.npy("twice.npy", np.concatenate([self.x, self.x]))
        labels = self.npy("both.npy", np.arange(2 * len(self.x)) % 2)
        for precision in ("float32", "float64"):
            train = ("train", twice, "--labels", labels, "--width", 256, "--rank", 8, "--precision", precision)
            checkpoint = self.out / f"{precision}.safetensors"
            for way in (("--steps", 5, "--checkpoint", checkpoint), ("--steps", 7, "--checkpoint", checkpoint, "--resume")):
                printed, written = report(*train, *way)
                self.assertNotIn("held", printed)
                self.assertIn("no certificate: lambda_min of the kernel at the start is not positive beyond rounding: ", printed)
                self.assertIsNone(written["certificate_held"])
                self.assertIn("not positive", written["no_certificate"])
                self.assertEqual({row["bound"] for row in written["history"]}, {None})
        train = ("train", self.data, "--labels", self.labels, "--rank", 8, "--steps", 2)
        printed, written = report(*train, "--train", "up", "--width", 4096)
        self.assertIn("held at every step", printed)
        self.assertEqual((written["certificate_held"], written["no_certificate"]), (True, None))
        for way, words in ((("--no-kernel",), "--no-kernel"), (("--momentum", 0.5), "momentum"), (("--batch", 10), "full batches")):
            printed, written = report(*train, *way)
            self.assertNotIn("certificate", printed)
            self.assertIsNone(written["certificate_held"])
            self.assertIn(words, written["no_certificate"])

    def test_a_resumed_run_is_that_of_its_checkpoint(self):
        checkpoint = self.out / "c.safetensors"
        data = ("train", self.data, "--labels", self.labels, "--checkpoint", checkpoint)
        begun = ("--width", 128, "--rank", 8, "--seed", 5, "--momentum", 0.25, "--precision", "float64")
        report(*data, *begun, "--steps", 3)
        for again in (begun, ()):  # the same command, or nothing but the checkpoint
            _, written = report(*data, *again, "--steps", 4, "--resume")
            self.assertEqual((written["network"]["width"], written["network"]["seed"], written["network"]["precision"]), (128, 5, "float64"))
            self.assertEqual(written["history"][-1]["step"], 4)
        before = checkpoint.read_bytes()
        for option, value, was in (("--width", 256, 128), ("--seed", 6, 5), ("--momentum", 0.5, 0.25), ("--rank", 4, 8),
                                   ("--activation", "abs", "relu"), ("--batch", 7, 0), ("--train", "up", "down"),
                                   ("--step-size", 1e-9, r"[0-9.e-]+"), ("--no-kernel", None, "the kernel"), ("--loss", "cross-entropy", "squared")):
            process = run(*data, option, *([] if value is None else [value]), "--steps", 6, "--resume")
            self.assertEqual((process.returncode, process.stdout), (3, ""), process.stderr)
            self.assertRegex(process.stderr, rf"\Afntk: error: {option} is [^\n]*c.safetensors was begun with {was}; leave it out[^\n]*\n\Z")
        self.assertEqual(checkpoint.read_bytes(), before)
        bare = ("train", self.data, "--labels", self.labels, *SMALL, "--no-kernel", "--checkpoint", self.out / "bare.safetensors")
        for steps in (("--steps", 2), ("--steps", 3, "--resume")):
            self.assertEqual(report(*bare, *steps)[1]["plan"]["kernel"], False)

    def test_a_trained_network_predicts(self):
        network, mean, other = self.out / "n.safetensors", self.out / "p.npy", self.npy("other.npy", files.sphere(1300, DIM, 7))
        classes = np.arange(len(self.x)) % 3
        for labels, measure in ((classes, "accuracy"), (np.column_stack([self.x[:, 0], self.x[:, 1] ** 2]), "rmse")):
            labels = self.npy("labels.npy", labels)
            printed, trained = report("train", self.data, "--labels", labels, *SMALL, "--steps", 5, "--out", network)
            self.assertIn(f"train {measure} {trained['train_' + measure]:.4f}", printed)
            predict = ("predict", network, self.data, "--labels", labels, "--out", mean)
            printed, written = report(*predict)
            self.assertAlmostEqual(written["test_" + measure], trained["train_" + measure], places=6)
            f = np.load(mean)
            self.assertEqual(f.shape, (len(self.x), written["network"]["outputs"]))
            report("tangent", self.data, "--network", network, "--out", self.out / "t.safetensors")
            self.assertLess(files.largest_difference(f, files.read_safetensors(self.out / "t.safetensors")[1]["f"]), 1e-6)
            report("predict", network, other, "--out", mean)  # more rows than are taken at a time
            report("tangent", other, "--network", network, "--out", self.out / "t.safetensors")
            self.assertLess(files.largest_difference(np.load(mean), files.read_safetensors(self.out / "t.safetensors")[1]["f"]), 1e-6)
            printed, written = report(*predict, "--dry-run")
            self.assertEqual(written["plan"], {"block": len(self.x)})
            for code, words, way in ((3, "--variance", ("--variance",)), (6, "give --memory", ("--memory", "1MiB"))):
                process = run(*predict, *way)
                self.assertEqual((process.returncode, process.stdout), (code, ""), process.stderr)
                self.assertIn(words, process.stderr)
        process = run("predict", network, self.npy("wide.npy", files.sphere(4, DIM + 1, 7)), "--out", mean)
        self.assertEqual((process.returncode, process.stdout), (3, ""), process.stderr)
        self.assertIn(f"DATA has {DIM + 1} columns", process.stderr)

    def test_the_kernel_foretells_the_run(self):
        network, trained, kernel = (self.out / name for name in ("n.safetensors", "t.safetensors", "K.npy"))
        y = np.column_stack([self.x[:, 0], self.x[:, 1] ** 2])
        labels = self.npy("values.npy", y)
        for train in ("down", "up+readout", "readout"):
            report("network", self.data, "--outputs", 2, *SMALL, "--train", train, "--out", network)
            run_of = ("train", self.data, "--labels", labels, "--network", network, "--steps", 20, "--out", trained)
            printed, written = report(*run_of, "--foretell")
            report("gram", self.data, "--network", network, "--kernel", "full", "--out", kernel)
            k, f = np.load(kernel).astype(float), self.values(network)
            start = f.copy()
            for _ in range(20):  # rows of K: i·k + c
                f = f - written["step_size"] * (k @ (f - y).reshape(-1)).reshape(y.shape)
            found, distance = written["foretold"], np.linalg.norm(self.values(trained) - f) / np.linalg.norm(f - start)
            self.assertEqual(set(found), {"step_limit", "loss", "distance", "train_rmse"})
            self.assertAlmostEqual(found["step_limit"] * np.linalg.eigvalsh(k)[-1], 2, places=4)
            self.assertAlmostEqual(found["loss"] / (0.5 * ((f - y) ** 2).sum()), 1, places=5)
            self.assertAlmostEqual(found["train_rmse"], np.sqrt(((f - y) ** 2).mean()), places=6)
            self.assertAlmostEqual(found["distance"], distance, places=5)
            self.assertIn(f"foretold by the kernel of the start: loss {found['loss']:.6g}, train rmse", printed)
            if train == "readout":  # f is linear in A
                self.assertLess(found["distance"], 1e-5)
                self.assertAlmostEqual(found["loss"] / written["history"][-1]["loss"], 1, places=5)
        printed, written = report(*run_of, "--foretell", "--step-size", 2 * written["foretold"]["step_limit"])
        self.assertEqual(set(written["foretold"]), {"step_limit"})
        self.assertIn("foretells no end", printed)
        for way in (("--batch", 10), ("--momentum", 0.5)):
            process = run(*run_of, "--foretell", *way)
            self.assertEqual((process.returncode, process.stdout), (3, ""), process.stderr)
            self.assertIn("--foretell is for the squared loss, full batches and no momentum", process.stderr)

    def values(self, network):
        out = self.out / "f.npy"
        report("predict", network, self.data, "--out", out)
        return np.load(out).astype(float)

    def test_foretelling_stays_inside_the_budget(self):
        self.needs_exact_budgets()
        data, labels = self.npy("some.npy", files.sphere(700, DIM, 5)), self.npy("y.npy", np.arange(700) % 3)
        train = ("train", data, "--labels", labels, *SMALL, "--steps", 2, "--no-kernel", "--foretell", "--memory")
        process = run(*train, "1MiB")
        self.assertEqual((process.returncode, process.stdout), (6, ""), process.stderr)
        self.assertIn("or leave out --foretell", process.stderr)
        resident, named = map(int, re.search(r"take (\d+) MiB, the work \d+ MiB at least; give --memory (\d+)MiB", process.stderr).groups())
        self.assertEqual(run(*train, f"{named - 5}MiB").returncode, 6)
        written, peak = self.peak_of_process(*train, f"{named}MiB")
        self.assertLessEqual(peak, named << 20)
        self.assertGreater(2 * peak, written["plan"]["peak_bytes"] + (resident << 20) - WORKSPACES)

    def test_the_loss_of_a_batch_is_called_so(self):
        train = ("train", self.data, "--labels", self.labels, *SMALL, "--steps", 2, "--no-kernel")
        for batch, said in ((10, True), (len(self.x), False), (0, False)):
            self.assertEqual("of one batch, times n/B" in report(*train, "--batch", batch)[0], said)

    def test_options_that_mean_nothing_are_refused(self):
        train = ("train", self.data, "--labels", self.labels, *SMALL, "--steps", 2)
        checkpoint = ("--checkpoint", self.out / "c.safetensors")
        for words, way in ((("--checkpoint-every", "'-2'", "at least 0"), (*checkpoint, "--checkpoint-every", -2)),
                           (("--spectrum-every", "'-1'", "at least 0"), ("--spectrum-every", -1)),
                           (("--checkpoint-every", "requires --checkpoint"), ("--checkpoint-every", 2))):
            process = run(*train, *way)
            self.assertEqual((process.returncode, process.stdout), (2, ""), process.stderr)
            for word in words:
                self.assertIn(word, process.stderr)
        for way in (("--spectrum-every", 2), ("--step-size", "auto2")):
            process = run(*train, "--no-kernel", *way)
            self.assertEqual((process.returncode, process.stdout), (3, ""), process.stderr)
            self.assertIn("--no-kernel forms no kernel", process.stderr)
        self.assertEqual(list(self.out.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
