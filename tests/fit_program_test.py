#!/usr/bin/env python3
"""`fntk fit` and `fntk predict`: means, variances, leave-one-out errors and evidence against NumPy, the budget, interrupts."""

import gzip
import json
import os
import re
import signal
import subprocess
import time
import unittest
from pathlib import Path

import numpy as np

import fntk_files as files
from fntk_files import fntk, run
from program_test import DIM, SMALL, WORKSPACES, ProgramCase, clusters, report, setUpModule  # noqa: F401


class Fits(ProgramCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(11)
        self.x, self.test = files.sphere(60, DIM, 5, np.float64), files.sphere(25, DIM, 6, np.float64)
        self.y = self.x[:, 0] + self.x[:, 1] * self.x[:, 2] + 0.1 * rng.standard_normal(60)
        self.data, self.other = self.npy("x.npy", self.x), self.npy("t.npy", self.test)
        self.labels = self.npy("y.npy", self.y)
        self.model, self.mean, self.variance = (self.out / name for name in ("m.safetensors", "p.npy", "v.npy"))

    def fit(self, *arguments):
        return report("fit", self.data, "--labels", self.labels, "--precision", "float64", "--out", self.model, *arguments)

    def predict(self, *arguments):
        return report("predict", self.model, self.other, "--out", self.mean, *arguments)

    def kernels(self, *arguments):
        """K(X, X), K(X', X) and K(X', X') as fntk gram writes them."""
        out = self.out / "k.npy"
        result = []
        for rows, cols in ((self.data, None), (self.other, self.data), (self.other, None)):
            fntk("gram", rows, "--precision", "float64", "--out", out, *(("--against", cols) if cols else ()), *arguments)
            result.append(np.load(out))
        return result

    def test_means_and_variances_are_those_of_the_gaussian_process(self):
        for arguments in ((*SMALL, "--train", "up"), (*SMALL, "--train", "down"), ("--limit", "--train", "up")):
            with self.subTest(arguments=arguments):
                kernel, cross, prior = self.kernels(*arguments)
                noise = 0.05 * np.trace(kernel) / 60
                solve = np.linalg.solve(kernel + noise * np.eye(60), np.column_stack([self.y, cross.T]))
                self.fit("--ridge", 0.05, "--variance", *arguments)
                _, written = self.predict("--variance", self.variance)
                self.assertLess(files.largest_difference(np.load(self.mean)[:, 0], cross @ solve[:, 0]), 1e-9)
                explained = np.einsum("ij,ji->i", cross, solve[:, 1:])
                self.assertLess(files.largest_difference(np.load(self.variance)[:, 0], np.diag(prior) - explained), 1e-9)
                self.assertEqual((written["rows"], written["targets"]), (25, 1))

    def test_variances_stand_beside_the_means_unless_they_are_given_a_file(self):
        self.fit("--limit", "--variance")
        self.predict("--variance", self.variance)
        predict = ("predict", self.model, self.other)
        for words in (("--out", self.mean, "--variance"), ("--variance", "--out", self.mean)):
            fntk(*predict, *words)
            beside = self.out / "p_variance.npy"
            self.assert_same_file(beside, self.variance)
            beside.unlink()
        self.assertEqual(sorted(path.name for path in self.out.iterdir()), ["m.safetensors", "p.npy", "v.npy"])

    def test_the_root_mean_square_error_of_a_test_split(self):
        fit = ("fit", "fashion-mnist", "--samples", 300, "--limit", "--targets", "values", "--out", self.model)
        printed, fitted = report(*fit)
        self.assertIn("fitted 300 samples of values", printed)
        printed, predicted = report("predict", self.model, "fashion-mnist", "--out", self.mean)
        labels = self.fashion_labels("t10k")
        expected = np.sqrt(np.mean((np.load(self.mean)[:, 0] - labels) ** 2))
        self.assertLess(expected, np.std(labels))
        for written in (fitted, predicted):
            self.assertAlmostEqual(written["test_rmse"] / expected, 1, places=10)
        self.assertIn(f"test rmse {expected:.4f}", printed)

    def test_rows_are_taken_as_those_of_the_fit(self):
        for way, refused in (((), True), (("--no-normalize",), False)):
            self.fit("--limit", *way)
            process = run("predict", self.model, self.other, "--no-normalize", "--out", self.mean)
            self.assertEqual(process.returncode, 3 if refused else 0, process.stderr)
            self.assertEqual("fitted to rows of unit length" in process.stderr, refused)
            self.assertEqual(self.predict()[1]["data"]["normalized"], refused)

    def test_a_kernel_beyond_float32_is_named(self):
        process = run("fit", self.npy("large.npy", self.x * 1e20), "--labels", self.labels, "--no-normalize")
        self.assertEqual(process.returncode, 3)
        self.assertIn("leaves the range of float32", process.stderr)

    def test_a_test_split_of_ones_own(self):
        y = self.test[:, 0] + self.test[:, 1] * self.test[:, 2]
        split = ("--test", self.other, "--test-labels", self.npy("yt.npy", y))
        printed, fitted = self.fit("--limit", *split)
        self.predict()
        error = np.load(self.mean)[:, 0] - y
        self.assertAlmostEqual(fitted["test_rmse"] / np.sqrt(np.mean(error**2)), 1, places=10)
        self.assertIn(f"test rmse {fitted['test_rmse']:.4f}", printed)
        _, fitted = self.fit("--limit", *split, "--test-samples", 7)
        self.assertAlmostEqual(fitted["test_rmse"] / np.sqrt(np.mean(error[:7] ** 2)), 1, places=10)
        _, trained = report("train", self.data, "--labels", self.labels, *split, *SMALL, "--steps", 2)
        self.assertGreater(trained["test_rmse"], 0)

    def test_labels_of_several_columns_are_fitted_together(self):
        y = np.column_stack([self.y, 3 - 2 * self.x[:, 2], self.x[:, 1] > 0])
        y_test = np.column_stack([self.test[:, :2], np.ones(25)])
        for kernel in (("--limit",), ("--train", "down", "--kernel", "full", "--width", 64, "--rank", 4)):
            with self.subTest(kernel=kernel):
                both = ("--labels", self.npy("three.npy", y), "--precision", "float64", "--out", self.model, *kernel)
                _, fitted = report("fit", self.data, *both, "--test", self.other, "--test-labels", self.npy("yt.npy", y_test))
                printed, written = self.predict("--labels", self.folder / "yt.npy")
                mean = np.load(self.mean)
                self.assertEqual(mean.shape, (25, 3))
                for scored in (fitted, written):
                    self.assertAlmostEqual(scored["test_rmse"] / np.sqrt(np.mean((mean - y_test) ** 2)), 1, places=10)
                if kernel == ("--limit",):  # of the full kernel outputs depend on each other
                    for column in range(3):
                        report("fit", self.data, "--labels", self.npy("one.npy", y[:, column]), "--targets", "values",
                               "--precision", "float64", "--out", self.model, *kernel)
                        self.predict()
                        self.assertLess(files.largest_difference(np.load(self.mean)[:, 0], mean[:, column]), 1e-9)
                        process = run("predict", self.model, self.other, "--labels", self.folder / "yt.npy", "--out", self.mean)
                        self.assertEqual(process.returncode, 3)
                        self.assertIn("labels have 3 columns, the model was fitted to 1", process.stderr)
        _, trained = report("train", self.data, "--labels", self.folder / "three.npy", *SMALL, "--steps", 3)
        self.assertEqual(trained["network"]["outputs"], 3)

    @staticmethod
    def fashion_labels(split):
        folders = [Path("/usr/share/datasets"), Path("/usr/local/share/datasets")]
        if os.environ.get("FNTK_DATA_DIR"):
            folders.insert(0, Path(os.environ["FNTK_DATA_DIR"]))
        name = f"fashion-mnist/{split}-labels-idx1-ubyte.gz"
        path = next(folder / name for folder in folders if (folder / name).exists())
        return np.frombuffer(gzip.decompress(path.read_bytes())[8:], np.uint8).astype(np.float64)

    def test_every_solver_gives_the_same_predictions(self):
        expected = None
        for solver in ("cholesky", "primal", "cg"):
            printed, written = self.fit(*SMALL, "--ridge", 0.05, "--solver", solver, "--tolerance", 1e-12)
            self.assertEqual(written["plan"]["solver"], solver)
            self.assertIn(solver, printed)
            self.predict()
            expected = np.load(self.mean) if expected is None else expected
            self.assertLess(files.largest_difference(np.load(self.mean), expected), 1e-8)
            if solver == "cholesky":
                evidence = written["path"][0]["log_evidence"]
            elif solver == "primal":
                self.assertAlmostEqual(written["log_evidence"] / evidence, 1, places=8)
                self.assertIn("log evidence ", printed)
            else:
                self.assertNotIn("log_evidence", written)

    def test_iterations_that_do_not_converge_are_warned_of(self):
        command = ("fit", self.data, "--labels", self.labels, "--precision", "float64", "--limit", "--solver", "cg", "--ridge", 1e-6,
                   "--preconditioner-rank", 0, "--out", self.model, "--json", self.folder / "fit.json")
        for iterations, warning in ((2, r"\Afntk: warning: cg ended at a relative residual of [^\n]*--max-iterations[^\n]*\n\Z"), (500, r"\A\Z")):
            process = run(*command, "--max-iterations", iterations)
            self.assertEqual(process.returncode, 0, process.stderr)
            self.assertRegex(process.stderr, warning)
            written = json.loads((self.folder / "fit.json").read_text(encoding="utf-8"))
            self.assertEqual(written["converged"], iterations > 2)
            self.assertTrue(self.model.exists())

    def test_the_ridge_of_a_path_has_the_least_leave_one_out_error(self):
        kernel = self.kernels("--limit", "--train", "up")[0]
        for selection, field, sign in (("leave-one-out", "leave_one_out_rmse", 1), ("evidence", "log_evidence", -1)):
            _, written = self.fit("--limit", "--train", "up", "--ridge", "1e-5,0.01,0.1,50", "--selection", selection)
            for row in written["path"]:
                a = np.linalg.inv(kernel + row["ridge"] * np.trace(kernel) / 60 * np.eye(60))
                density = -0.5 * self.y @ a @ self.y + 0.5 * np.linalg.slogdet(a)[1] - 30 * np.log(2 * np.pi)
                self.assertAlmostEqual(row["log_evidence"] / density, 1, places=8)
                self.assertAlmostEqual(row["leave_one_out_rmse"] / np.sqrt(np.mean((a @ self.y / np.diag(a)) ** 2)), 1, places=8)
            best = min(written["path"], key=lambda row: sign * row[field])
            self.assertEqual(written["ridge"], best["ridge"])

    def test_labels_of_the_predicted_rows_are_scored(self):
        x, labels = clusters(90, 3, DIM, 5)
        self.data, self.labels = self.npy("c.npy", x.astype(np.float64)), self.npy("l.npy", labels)
        t, known = clusters(40, 3, DIM, 6)
        self.other = self.npy("u.npy", t.astype(np.float64))
        for arguments in (("--kernel", "full"), ("--kernel", "trace"), ("--limit",)):
            self.fit(*SMALL, "--train", "up", *arguments)
            _, written = self.predict("--labels", self.npy("k.npy", known))
            accuracy = np.mean(np.argmax(np.load(self.mean), axis=1) == known)
            self.assertAlmostEqual(written["test_accuracy"], accuracy)
            self.assertGreater(accuracy, 0.9)
        process = run("predict", self.model, self.other, "--out", self.mean, "--labels", self.npy("k.npy", known + 1))
        self.assertEqual(process.returncode, 3)
        self.assertIn("3", process.stderr)

    def test_whole_numbers_are_classes_or_values_as_the_user_says(self):
        numbers = np.round(100 + 60 * self.y)
        labels = self.npy("n.npy", numbers)
        command = ("fit", self.data, "--labels", labels, "--limit", "--precision", "float64", "--ridge", 0.05)
        classes = int(numbers.max()) + 1
        self.assertGreater(classes, 60)
        for other in (command, ("train", self.data, "--labels", labels, "--steps", 1, *SMALL)):
            process = run(*other)
            self.assertEqual(process.returncode, 3, process.stderr)
            for part in ("60 labels", f"{classes} classes", "--targets values", "--targets classes"):
                self.assertIn(part, process.stderr)
        fntk(*command, "--targets", "values", "--out", self.model)
        _, written = report("predict", self.model, self.data, "--labels", labels, "--out", self.mean)
        predicted = np.load(self.mean)
        self.assertEqual(predicted.shape, (60, 1))
        self.assertAlmostEqual(written["test_rmse"], np.sqrt(np.mean((predicted[:, 0] - numbers) ** 2)))
        printed = fntk(*command, "--targets", "classes", "--out", self.model)
        self.assertIn(f"fitted 60 samples of {classes} classes", printed)
        fntk("predict", self.model, self.data, "--out", self.mean)
        self.assertEqual(np.load(self.mean).shape, (60, classes))
        for kind, part in (("classes", "row 0"), ("numbers", "auto, classes or values")):
            process = run("fit", self.data, "--labels", self.labels, "--targets", kind)
            self.assertEqual(process.returncode, 3, process.stderr)
            self.assertIn(part, process.stderr)

    def test_a_network_of_too_few_outputs_for_its_classes(self):
        x, labels = clusters(90, 3, DIM, 5)
        data, labels = self.npy("c.npy", x), self.npy("l.npy", labels)
        for command in (("fit", data, "--kernel", "full"), ("train", data, "--steps", 1)):
            process = run(*command, "--labels", labels, *SMALL, "--outputs", 2)
            self.assertEqual(process.returncode, 3, process.stderr)
            self.assertRegex(process.stderr, r"outputs is 2; 3 classes need 3: set --outputs 3")

    def test_the_test_split_of_fashion_mnist(self):
        _, written = report("fit", "fashion-mnist", "--samples", 600, "--test-samples", 500, "--limit", "--out", self.model)
        self.assertGreater(written["test_accuracy"], 0.7)
        printed, again = report("predict", self.model, "fashion-mnist", "--out", self.mean)
        self.assertIn("test split", printed)
        self.assertEqual(np.load(self.mean).shape, (10000, 10))
        self.assertGreater(again["test_accuracy"], 0.7)
        _, few = report("predict", self.model, "fashion-mnist", "--samples", 40, "--out", self.mean)
        self.assertEqual((np.load(self.mean).shape, few["data"]["samples"]), ((40, 10), 1))

    def test_a_target_that_cannot_be_written_is_known_before_the_work(self):
        self.fit("--limit")
        room = (self.x.size + len(self.y)) * 8  # of X and alpha
        fit = ("fit", self.data, "--labels", self.labels, "--limit", "--precision", "float64", "--out")
        predict = ("predict", self.model, self.other, "--out")
        missing, json_path = self.out / "missing" / "file", self.out / "report.json"
        for command in ((*fit, missing), (*fit, self.out), (*predict, missing), (*predict, self.mean, "--variance", missing)):
            process = run(*command)
            self.assertEqual((process.returncode, process.stdout), (4, ""), process.stderr)
            self.assertRegex(process.stderr, r"\Afntk: error: [^\n]*cannot be written[^\n]*\n\Z")
        for command, bytes_needed in (((*fit, self.model), room), ((*predict, self.mean), 25 * 8)):
            process = run(*command, largest_file=bytes_needed - 1)  # as on a full disk
            self.assertEqual((process.returncode, process.stdout), (4, ""), process.stderr)
            self.assertRegex(process.stderr, rf"File too large; it needs {bytes_needed} bytes")
        self.assertEqual(list(self.out.glob("*")), [self.model])
        self.model.unlink()
        process = run(*fit, self.model, "--json", json_path, largest_file=room)  # the header comes on top
        self.assertEqual(process.returncode, 4, process.stderr)
        self.assertRegex(process.stderr, r"\Afntk: error: [^\n]*m.safetensors: cannot be written: File too large[^\n]*\n\Z")
        self.assertIn("fitted 60 samples", process.stdout)
        written = json.loads(json_path.read_text(encoding="utf-8"))
        self.assertIs(written["saved"], False)
        self.assertEqual(len(written["path"]), 1)
        self.assertEqual(list(self.out.glob("*")), [json_path])

    def test_an_interrupt_ends_it_without_a_model(self):
        data = self.npy("long.npy", files.sphere(4000, DIM, 5))
        labels = self.npy("long_y.npy", np.arange(4000) + 0.5)
        process = subprocess.Popen(list(map(str, [files.program(), "fit", data, "--labels", labels, "--limit", "--solver", "cg", "--ridge",
                                                  1e-12, "--tolerance", 1e-30, "--max-iterations", 10**6, "--precision", "float64",
                                                  "--preconditioner-rank", 0, "--out", self.model])), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)
        self.assertRegex(errors, r"\Afntk: error: interrupted; [^\n]+\n\Z")
        self.assertEqual(list(self.out.glob("*")), [])

    def test_a_dry_run_is_a_plan_and_nothing_else(self):
        data = self.npy("dry.npy", files.sphere(300, DIM, 5))
        labels = self.npy("dry_y.npy", np.arange(300) + 0.5)
        fit = ("fit", data, "--labels", labels, "--limit", "--out", self.model, "--dry-run")
        for solver in ("cholesky", "cg"):
            printed, written = report(*fit, "--solver", solver)
            self.assertTrue(printed.startswith(f"plan: {solver}, "), printed)
            plan = written["plan"]
            self.assertEqual(plan["solver"], solver)
            self.assertGreater(plan["estimated_seconds"]["setup"], 0)
            self.assertEqual(plan["estimated_seconds"]["iteration"] > 0, solver == "cg")
            self.assertNotIn("ridge", written)
        self.assertFalse(self.model.exists())

    def test_the_process_stays_inside_its_budget(self):
        self.needs_exact_budgets()
        data = self.npy("big.npy", files.sphere(3000, DIM, 5))
        labels = self.npy("big_y.npy", np.arange(3000) + 0.5)
        kernels = (("--limit",), ("--train", "down", "--width", 4096, "--rank", 8), ("--train", "up", "--width", 4096, "--rank", 8))
        taken = set()
        for kernel in kernels:
            fit = ("fit", data, "--labels", labels, *kernel, "--max-iterations", 8, "--out", self.model, "--memory")
            process = run(*fit, "1MiB")
            self.assertEqual((process.returncode, process.stdout), (6, ""), process.stderr)
            found = re.search(r"memory = 1 MiB: the program and the data take (\d+) MiB, the work \d+ MiB at least; "
                              r"give --memory (\d+)MiB, or", process.stderr)
            self.assertTrue(found, process.stderr)
            resident, named = map(int, found.groups())
            for budget in (resident + 8, named - 5):
                process = run(*fit, f"{budget}MiB")
                self.assertEqual(process.returncode, 6, process.stderr)
                again = int(re.search(r"give --memory (\d+)MiB", process.stderr).group(1))
                self.assertAlmostEqual(again, named, delta=2)
            for budget in (named, named + 60, *((named + 450,) if kernel == kernels[0] else ())):
                written, peak = self.peak_of_process(*fit, f"{budget}MiB")
                taken.add(written["plan"]["solver"])
                self.assertGreater(peak, resident << 20)
                self.assertLessEqual(peak, budget << 20)
        self.assertEqual(taken, {"cg", "cholesky", "primal"})

    def test_a_dry_run_of_predictions_is_a_plan_and_nothing_else(self):
        self.fit("--limit", "--variance")
        for variance in ((), ("--variance",)):
            printed, written = self.predict(*variance, "--dry-run")
            self.assertRegex(printed, r"\Aplan: 25 rows, [^\n]+; about [^\n]+ s\n\Z")
            plan = written["plan"]
            self.assertEqual(set(plan), {"block", "tile", "peak_bytes", "flops", "reason", "estimated_seconds"})
            self.assertGreater(plan["estimated_seconds"], 0)
            self.assertEqual("inverse" in plan["reason"], bool(variance))
            self.assertNotIn("rows", written)
        self.assertEqual(list(self.out.glob("*")), [self.model])

    def test_predictions_stay_inside_their_budget(self):
        self.needs_exact_budgets()
        self.data = self.npy("many.npy", files.sphere(1500, DIM, 5))
        self.labels = self.npy("many_y.npy", np.arange(1500) + 0.5)
        self.other = self.npy("more.npy", files.sphere(9000, DIM, 6))
        for kernel in (("--limit",), ("--train", "down", *SMALL), ("--train", "up", "--width", 4096, "--rank", 8)):
            fntk("fit", self.data, "--labels", self.labels, *kernel, "--variance", "--out", self.model)
            for variance in ((), ("--variance", self.variance)):
                with self.subTest(kernel=kernel, variance=variance):
                    predict = ("predict", self.model, self.other, "--out", self.mean, *variance)
                    fntk(*predict)
                    free = [np.load(path) for path in (self.mean, *variance[1:])]
                    process = run(*predict, "--memory", "1MiB")
                    self.assertEqual((process.returncode, process.stdout), (6, ""), process.stderr)
                    found = re.search(r"take (\d+) MiB, the work \d+ MiB at least; give --memory (\d+)MiB, or", process.stderr)
                    self.assertTrue(found, process.stderr)
                    resident, named = map(int, found.groups())
                    self.assertEqual(run(*predict, "--memory", f"{named - 5}MiB").returncode, 6)
                    for budget in (named, named + 30):
                        written, peak = self.peak_of_process(*predict, "--memory", f"{budget}MiB")
                        self.assertLessEqual(peak, budget << 20)
                        self.assertGreater(2 * peak, written["plan"]["peak_bytes"] + (resident << 20) - WORKSPACES)
                        for path, expected in zip((self.mean, *variance[1:]), free):
                            self.assertLess(files.largest_difference(np.load(path), expected), 1e-3)  # of float32 at ridge 1e-3

    def test_scoring_is_planned_with_the_fit(self):
        self.needs_exact_budgets()
        fit = ("fit", "fashion-mnist", "--samples", 300, "--limit", "--solver", "cg", "--memory")
        named = int(re.search(r"give --memory (\d+)MiB", run(*fit, "1MiB").stderr).group(1))
        written, peak = self.peak_of_process(*fit, f"{named}MiB")
        self.assertLessEqual(peak, named << 20)
        self.assertIn("test_accuracy", written)


if __name__ == "__main__":
    unittest.main()
