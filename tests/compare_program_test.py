#!/usr/bin/env python3
"""`fntk compare`: its rows and plot, the laws its errors follow, and the accuracy it reports."""

import re
import unittest

import numpy as np

import fntk_files as files
from program_test import DIM, ProgramCase, clusters, report, setUpModule  # noqa: F401


ROW_FIELDS = """name width rank down up train parameters_trained bytes_stored flops_per_step seconds peak_bytes lambda_min lambda_max
    condition relative_error dense_width_of_equal_error train_loss drift certificate_held test_accuracy""".split()


class Compares(ProgramCase):
    def test_rows_on_the_sphere_have_their_fields_and_the_plot_is_self_contained(self):
        data, plot = self.npy("sphere.npy", files.sphere(128, 16, 8)), self.out / "plot.html"
        _, written = report("compare", data, "--widths", 256, 4096, "--ranks", 8, 16, "--steps", 5, "--seeds", 3, "--plot", plot)
        self.assertEqual((written["data"]["samples"], written["data"]["dim"], written["options"]["steps"]), (128, 16, 5))
        self.assertIn("name", written["device"])
        limit = written["limit"]
        self.assertAlmostEqual(limit["lambda_max"] / limit["lambda_min"] / limit["condition"], 1, delta=1e-9)
        self.assertEqual({row["width"] for row in written["rows"]}, {256, 4096})
        for row in written["rows"]:
            self.assertEqual([field for field in ROW_FIELDS if field not in row], [], row["name"])
            self.assertEqual(set(row["seconds"]), {"tangent", "gram", "step"})
            self.assertEqual(set(row["test_accuracy"]), {"trained", "ridge"})
            m, p = row["width"], row["rank"]
            self.assertEqual(row["parameters_trained"], p * 16 if row["train"] == "down" else m * p, row["name"])
            self.assertIs(row["certificate_held"], True, row["name"])
            self.assertGreaterEqual(written["peak_bytes"], row["peak_bytes"], row["name"])
            self.assertGreater(min(row["seconds"].values()), 0, row["name"])
            self.assertTrue(0 < row["lambda_min"] < row["lambda_max"] < row["condition"] * row["lambda_max"], row["name"])
        page = plot.read_text(encoding="utf-8")
        self.assertTrue(page.rstrip().endswith("</html>") and "<svg" in page)
        self.assertEqual(re.findall(r"<link|<script[^>]*src|@import|url\(\s*['\"]?(?!#|data:)", page), [])
        self.assertEqual(re.findall(r"(?:src|href)\s*=\s*[\"']?(?!#|data:)[^\"'\s>]+", page), [])

    def test_errors_follow_the_laws_of_the_factorisation(self):
        data = self.npy("sphere.npy", files.sphere(128, 16, 8))
        _, written = report("compare", data, "--widths", 256, 4096, "--ranks", 8, 16, "--steps", 0, "--seeds", 12,
                            "--bases", "pca", "orthonormal")
        error = {(row["train"], row["down"], row["rank"], row["width"]): row["relative_error"] for row in written["rows"]}
        law = written["limit"]["error_law"]
        for width in (256, 4096):
            dense = error["up", "identity", 16, width]
            self.assertAlmostEqual(dense / (law["width_term"] / width) ** 0.5, 1, delta=0.1)
            self.assertAlmostEqual(error["up", "orthonormal", 16, width] / dense, 1, delta=0.3)  # p = d: lossless
            self.assertAlmostEqual(error["up", "pca", 16, width] / dense, 1, delta=0.3)
            self.assertGreater(error["up", "orthonormal", 8, width], 5 * dense)  # p < rank(X): not
            for rank in (8, 16):
                expected = (law["rank_term"] / rank + law["width_term"] / width) ** 0.5
                self.assertAlmostEqual(error["down", "srht", rank, width] / expected, 1, delta=0.25)
        for family in ("identity", "orthonormal", "pca"):  # 1/√m
            self.assertAlmostEqual(error["up", family, 16, 256] / error["up", family, 16, 4096] / 4, 1, delta=0.15)
        for rank in (8, 16):  # no gain from width beyond m = 4p
            self.assertAlmostEqual(error["down", "srht", rank, 256] / error["down", "srht", rank, 4096], 1, delta=0.25)

    def test_accuracy_on_a_labelled_set_with_a_test_split(self):
        folder = self.folder / "fashion-mnist"
        folder.mkdir()
        for part, rows, seed in (("train", 120, 6), ("t10k", 60, 7)):
            x, labels = clusters(rows, 10, 16, seed)
            files.write_idx(folder / f"{part}-images-idx3-ubyte.gz", np.clip(200 * x + 30, 0, 255).astype(np.uint8).reshape(-1, 4, 4))
            files.write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
        _, written = report("compare", "fashion-mnist", "--widths", 512, "--ranks", 16, "--steps", 60,
                            environment={"FNTK_DATA_DIR": str(self.folder)})
        self.assertEqual((written["data"]["classes"], written["data"]["test_samples"]), (10, 60))
        for row in written["rows"]:
            self.assertTrue(all(0.8 <= accuracy <= 1 for accuracy in row["test_accuracy"].values()), row)
        self.assertGreater(written["limit"]["test_accuracy"]["ridge"], 0.9)

    def test_errors_on_a_test_split_of_ones_own(self):
        test = files.sphere(30, DIM, 9)
        y, y_test = (3 * x[:, 0] + np.sin(4 * x[:, 1]) for x in (self.x, test))
        split = ("--labels", self.npy("y.npy", y), "--test", self.npy("t.npy", test), "--test-labels", self.npy("yt.npy", y_test))
        printed, written = report("compare", self.data, *split, "--widths", 256, "--ranks", 8, "--steps", 40, "--plot", self.out / "p.html")
        self.assertEqual((written["data"]["targets"], written["data"]["test_samples"]), ("real", 30))
        self.assertRegex(printed, r"cert +rms[.]gd rms[.]krr\n")
        files.fntk("limit", self.data, "--out", self.out / "k.npy")
        files.fntk("limit", self.npy("t.npy", test), "--against", self.data, "--out", self.out / "c.npy")
        kernel, cross = (np.load(self.out / name).astype(np.float64) for name in ("k.npy", "c.npy"))
        ridge = written["limit"]["ridge"] * np.mean(np.diag(kernel))
        error = cross @ np.linalg.solve(kernel + ridge * np.eye(len(y)), y) - y_test
        found = written["limit"]["test_rmse"]["ridge"]
        self.assertAlmostEqual(found / np.sqrt(np.mean(error**2)), 1, places=3)
        self.assertRegex(printed, rf"infinite width .* {found:.4g}\n")
        for row in written["rows"]:
            self.assertRegex(printed, rf"{row['name']} .* {row['test_rmse']['trained']:.4g} +{row['test_rmse']['ridge']:.4g}\n")
        self.assertIn("test RMSE", (self.out / "p.html").read_text(encoding="utf-8"))

    def test_beyond_whole_up_to_what_is_known_agrees(self):
        x, labels = clusters(160, 10, 16, 6)
        data, classes = self.npy("x.npy", x), self.npy("labels.npy", labels)
        common = ("--labels", classes, "--widths", 512, "--ranks", 8, "--steps", 5)
        _, whole = report("compare", data, *common)
        _, every = report("compare", data, *common, "--whole-up-to", 100, "--plot", self.out / "large.html")
        out, some = report("compare", data, *common, "--whole-up-to", 100, "--compared-samples", 60)
        self.assertEqual([r["limit"]["compared_samples"] for r in (whole, every, some)], [160, 160, 60])
        self.assertIn("of the kernel of 60 samples", out)
        _, singular = report("compare", self.npy("twice.npy", np.concatenate([x, x])), "--labels",
                             self.npy("both.npy", np.concatenate([labels, labels])), "--widths", 64, "--ranks", 4, "--steps", 1,
                             "--ridge", 0, "--whole-up-to", 100)
        self.assertEqual(len(singular["rows"]), 3)
        self.assertGreater((self.out / "large.html").stat().st_size, 1000)
        for row, same, near in zip(whole["rows"], every["rows"], some["rows"]):
            self.assertEqual(row["relative_error"], same["relative_error"], row["name"])
            self.assertAlmostEqual(near["relative_error"] / row["relative_error"], 1, delta=0.3)
            self.assertEqual(near["train_loss"], row["train_loss"])
            for large in (same, near):
                self.assertAlmostEqual(large["lambda_max"] / row["lambda_max"], 1, delta=1e-3)
                for field in ("lambda_min", "condition", "drift", "flips", "certificate_held"):
                    self.assertIsNone(large[field], field)
        for field in ("lambda_min", "lambda_max", "condition"):
            self.assertIsNone(some["limit"][field])
        refused = files.run("compare", data, *common, "--whole-up-to", 0)
        self.assertEqual(refused.returncode, 3)
        self.assertIn("whole-up-to is 0", refused.stderr)

    def test_a_singular_kernel_has_no_certificate(self):
        x = files.sphere(40, 16, 8)
        data = self.npy("twice.npy", np.concatenate([x, x]))
        printed, written = report("compare", data, "--widths", 256, "--ranks", 8, "--steps", 5, "--seeds", 2)
        for row in written["rows"]:
            self.assertIsNone(row["certificate_held"], row["name"])
            self.assertIn("lambda_min is not positive", row["no_certificate"])
            line = next(line for line in printed.splitlines() if line.startswith(row["name"] + " "))
            self.assertIn(" none ", line)
        self.assertNotIn("held", printed)
        self.assertIn("there is no certificate, since lambda_min is not positive", printed)

    def test_random_targets_are_named(self):
        few = ("--widths", 64, "--ranks", 8, "--steps", 1)
        printed, written = report("compare", self.data, *few, "--plot", self.out / "a.html")
        self.assertIn("no labels: the networks are trained on random targets of +1/2 and -1/2", printed)
        self.assertEqual(written["data"]["targets"], "random signs")
        self.assertIn("random targets", (self.out / "a.html").read_text(encoding="utf-8"))
        printed, _ = report("compare", self.data, *few, "--labels", self.npy("y.npy", np.arange(len(self.x)) % 2))
        self.assertNotIn("random", printed)
        self.assertRegex(re.sub(r"\s+", " ", files.fntk("compare", "--help")), r"--labels[^-]*without labels[^-]*random targets")

    def test_a_network_of_a_file_sets_precision_and_activation(self):
        path = self.out / "n.safetensors"
        few = ("--widths", 64, "--ranks", 8, "--steps", 1, "--network", path)
        files.fntk("network", self.data, "--width", 96, "--rank", 8, "--activation", "abs", "--precision", "float64", "--out", path)
        _, written = report("compare", self.data, *few)
        self.assertEqual((written["options"]["activation"], written["options"]["precision"]), ("abs", "float64"))
        self.assertEqual(written["rows"][-1]["width"], 96)
        for option, value in (("--activation", "relu"), ("--precision", "float32")):
            process = files.run("compare", self.data, *few, option, value)
            self.assertEqual((process.returncode, process.stdout), (3, ""), process.stderr)
            self.assertIn(f"{option} is {value}, --network {path} has ", process.stderr)
        files.fntk("network", self.data, "--width", 96, "--rank", 8, "--train", "down+up", "--out", path)
        process = files.run("compare", self.data, *few)
        self.assertEqual((process.returncode, process.stdout), (3, ""), process.stderr)
        self.assertIn("train = down+up", process.stderr)

    def test_lists_with_commas_or_spaces(self):
        rows = [[row["name"] for row in report("compare", self.data, "--steps", 0, *lists)[1]["rows"]]
                for lists in (("--widths", "64,128", "--ranks", "4,8", "--bases", "pca,srht"),
                              ("--widths", 64, 128, "--ranks", 4, 8, "--bases", "pca", "srht"))]
        self.assertEqual(rows[0], rows[1])
        self.assertEqual(len(rows[0]), 14)

    def test_kinds_that_are_wanted(self):
        few = ("--steps", 0, "--widths", 64, 128, "--ranks", 4, "--plot", self.out / "c.html")
        _, written = report("compare", self.data, "--kinds", "down,up", *few)
        self.assertEqual([row["name"] for row in written["rows"]],
                         ["up pca m=64 p=4", "down srht m=64 p=4", "up pca m=128 p=4", "down srht m=128 p=4"])
        process = files.run("compare", self.data, "--kinds", "down", "wide", *few)
        self.assertEqual((process.returncode, process.stdout), (3, ""), process.stderr)
        self.assertIn("kinds holds wide; choose among dense, up, down", process.stderr)

    def test_memory_is_refused_before_the_work(self):
        x, labels = clusters(3000, 10, 16, 6)
        folder = self.folder / "fashion-mnist"
        folder.mkdir()
        for part in ("train", "t10k"):
            files.write_idx(folder / f"{part}-images-idx3-ubyte.gz", np.clip(200 * x + 30, 0, 255).astype(np.uint8).reshape(-1, 4, 4))
            files.write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
        process = files.run("compare", "fashion-mnist", "--samples", 0, "--whole-up-to", 100, "--ranks", 8, "--widths", 200_000_000,
                            "--memory", "1MiB", "--json", self.out / "c.json", environment={"FNTK_DATA_DIR": str(self.folder)})
        self.assertEqual((process.returncode, process.stdout, list(self.out.iterdir())), (6, "", []), process.stderr)
        self.assertIn("memory = 1", process.stderr)


if __name__ == "__main__":
    unittest.main()
