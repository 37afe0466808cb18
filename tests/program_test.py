#!/usr/bin/env python3
"""The program `fntk` as its users meet it: what it refuses and how it says so, what it writes, and that it writes the same
again. The numbers themselves are tested in oracle_test.py."""

import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np

import fntk_files as files
from fntk_files import fntk, run

ROWS, DIM = 48, 12
INTEGERS = ("H_int", "H_exp", "G_int", "f_int", "S_int", "gates")
SMALL = ("--width", 200, "--rank", 8)
WORKSPACES = 24 << 20  # of every plan, for buffers of which small work fills a part


def setUpModule():
    files.program()


def report(command, *arguments, environment=None):
    """(stdout, the JSON report) of a command."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        printed = fntk(command, *arguments, "--json", path, environment=environment)
        return printed, json.loads(path.read_text(encoding="utf-8"))


def clusters(rows, classes, dim, seed):
    """Points near `classes` orthogonal directions, and which one."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(rows) % classes)
    return (np.eye(classes, dim)[labels] + 0.1 * rng.standard_normal((rows, dim))).astype(np.float32), labels


class ProgramCase(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.out = self.folder / "out"
        self.out.mkdir()
        self.x = files.sphere(ROWS, DIM, 1)
        self.data = self.npy("x.npy", self.x)

    def npy(self, name, array):
        return files.write_npy(self.folder / name, array)

    def tangent(self, *arguments, name="tangent.safetensors", environment=None):
        path = self.out / name
        fntk("tangent", *arguments, "--out", path, environment=environment)
        return files.read_safetensors(path)[1]

    def peak_of_process(self, *command):
        """(report, bytes). Forked by a shell: a process begins with the peak of the one that started it."""
        path = self.folder / "report.json"
        subprocess.run(["sh", "-c", '"$@"; exit $?', "sh", files.program(), *map(str, command), "--json", path], check=True,
                       stdout=subprocess.DEVNULL, timeout=120)
        written = json.loads(path.read_text(encoding="utf-8"))
        return written, written["peak_rss_bytes"]

    def needs_exact_budgets(self):
        if os.environ.get("FNTK_SANITIZE"):
            self.skipTest("a sanitizer's own memory is in no plan, and differs from run to run")

    def assert_same_file(self, one, other):
        self.assertTrue(filecmp.cmp(one, other, shallow=False), f"{one} and {other} differ")


class RefusesBadInput(ProgramCase):
    def refused(self, code, words, *arguments, **conditions):
        """Exit code, one line on stderr with every word, nothing on stdout, and no file nor temporary left behind."""
        before = sorted(self.folder.rglob("*"))
        process = run(*arguments, **conditions)
        with self.subTest(command=" ".join(map(str, arguments))):
            self.assertEqual(process.returncode, code, process.stderr)
            self.assertRegex(process.stderr, r"\Afntk: error: [^\n]+\n\Z")
            for word in words:
                self.assertIn(word, process.stderr)
            self.assertEqual(process.stdout, "")
            self.assertEqual(sorted(self.folder.rglob("*")), before)

    def tangent_refused(self, code, words, *arguments, **conditions):
        self.refused(code, words, "tangent", *arguments, "--out", self.out / "t.safetensors", **conditions)

    def test_numbers_that_would_be_taken_for_others(self):
        network = ("network", self.data, "--out", self.out / "n.safetensors")
        for option, text, words in (("--seed", "010", "whole number"), ("--samples", "010", "begins with a zero"),
                                    ("--width", "0x10", "--width"), ("--width", "1e3", "'1e3' is no whole number"), ("--slope", "steep", "'steep' is no number"), ("--width", "", "is no number"), ("--slope", "", "is no number"),
                                    ("--samples", "99999999999999999999", "out of range")):
            self.refused(2, [option, words], *network, option, text)
        fntk(*network, "--seed", 2**64 - 1, "--slope", "00.5")

    def test_what_standard_output_does_not_take_is_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            process = subprocess.run([files.program(), "info"], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
        self.assertEqual(process.returncode, 4, process.stderr)
        self.assertIn("standard output", process.stderr)

    def test_names_that_are_not_text_in_reports(self):
        name = os.fsencode(self.folder) + b"/x\xff.npy"
        shutil.copy(self.data, name)
        subprocess.run([files.program(), "gram", name, "--out", self.out / "k.npy", "--json", self.out / "k.json"], check=True, timeout=60)
        self.assertIn("\ufffd", json.loads((self.out / "k.json").read_text(encoding="utf-8"))["data"]["name"])

    def test_files_that_cannot_be_read(self):
        self.tangent_refused(4, ["none.npy", "No such file", "check the path"], self.folder / "none.npy")
        truncated = self.folder / "truncated.npy"
        truncated.write_bytes(self.data.read_bytes()[:-7])
        total = len(self.data.read_bytes()) - self.x.nbytes
        self.tangent_refused(4, ["truncated.npy", "truncated", str(self.x.nbytes), str(len(truncated.read_bytes()) - total)],
                             truncated)
        ragged = self.folder / "ragged.csv"
        ragged.write_text("1,2\n3\n", encoding="ascii")
        self.tangent_refused(4, ["ragged.csv", "line 2"], ragged)
        self.tangent_refused(3, [".npy", ".csv", ".idx", "fashion-mnist"], self.folder / "data.txt")

    def test_arrays_of_another_layout_or_type(self):
        whole = np.round(8 * self.x)
        kernels = []
        for dtype, order in (("<f4", "C"), ("<f8", "F"), ("<f2", "C"), ("<i4", "F"), ("|i1", "C"), ("<i8", "C")):
            data = self.npy("x.npy", np.asarray(whole, dtype=dtype, order=order))
            fntk("gram", data, "--width", 64, "--rank", 4, "--out", self.out / "k.npy")
            kernels.append(np.load(self.out / "k.npy"))
            np.testing.assert_array_equal(kernels[-1], kernels[0])
        self.tangent_refused(3, ["b.npy", ">f8", "big-endian"], self.npy("b.npy", self.x.astype(">f8")))
        self.tangent_refused(3, ["cube.npy", "3 dimensions", "reshape"], self.npy("cube.npy", np.zeros((2, 3, 4))))

    def test_values_that_are_not_finite_by_row_and_column(self):
        for value, word in ((np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")):
            x = self.x.copy()
            x[17, 5] = value
            bad = self.npy("bad.npy", x)
            self.tangent_refused(3, ["bad.npy", "row 17", "column 5", word, "finite"], bad)
            self.tangent_refused(3, ["bad.npy", "row 17", "column 5", word, "finite"], bad, "--no-normalize")
            self.refused(3, ["bad.npy", "row 17", "column 5"], "gram", self.data, "--against", bad, "--out", self.out / "k.npy")

    def test_data_without_rows_and_rows_without_direction(self):
        self.tangent_refused(3, ["empty.npy", "0 rows", "at least one"], self.npy("empty.npy", self.x[:0]))
        x = self.x.copy()
        x[5] = 0
        self.tangent_refused(3, ["zero.npy", "row 5", "normalis"], self.npy("zero.npy", x))

    def test_labels_that_do_not_fit(self):
        train = ("train", self.data, "--steps", 1, "--out", self.out / "n.safetensors")
        labels = self.npy("y.npy", np.zeros(ROWS - 1, np.int64))
        self.refused(3, ["y.npy", str(ROWS - 1), str(ROWS)], *train, "--labels", labels)
        self.refused(3, ["no labels", "--labels"], *train)

    def test_networks_that_cannot_be(self):
        self.tangent_refused(3, ["rank is 13", "dim 12", "[1, 12]"], self.data, "--rank", 13, "--down", "orthonormal", "--up", "gaussian")
        self.tangent_refused(3, ["rank is 13", "[1, 12]"], self.data, "--rank", 13, "--down", "pca", "--up", "gaussian")
        self.tangent_refused(3, ["rank is 17", "[1, 16]"], self.data, "--rank", 17, "--down", "srht", "--up", "gaussian")
        self.tangent_refused(3, ["rank is 6", "power of two", "4 or 8"], self.data, "--rank", 6)
        self.tangent_refused(3, ["rank is 7", "12", "identity"], self.data, "--rank", 7, "--down", "identity")
        for width in (0, -5, 2**31):
            self.tangent_refused(3, [f"width is {width}", "[1, 2147483647]"], self.data, "--width", width)
        self.tangent_refused(3, ["outputs is -1", "[1, "], self.data, "--outputs", -1)
        self.tangent_refused(2, ["--seed", "-1"], self.data, "--seed", -1)
        self.tangent_refused(2, ["--seed", str(2**64)], self.data, "--seed", 2**64)
        self.tangent_refused(3, ["samples is -1", "0 for all"], self.data, "--samples", -1)
        for option, choices in (("--down", "pca"), ("--up", "rademacher"), ("--activation", "leaky_relu"), ("--precision", "float64"),
                                ("--train", "readout"), ("--rounding", "fine, fast")):
            self.tangent_refused(3, [option[2:], "'fog'", choices], self.data, option, "fog")

    def test_options_out_of_range(self):
        for value in ("-1", "nan", "inf"):
            self.refused(3, ["ridge", value, "at least 0"], "compare", self.data, "--ridge", value, "--json", self.out / "c.json")
        self.refused(3, ["kernel is 'fog'", "sum-of-logits"], "gram", self.data, "--kernel", "fog", "--out", self.out / "k.npy")
        self.refused(3, ["step", "-1", "at least 0"], "train", self.data, "--labels", self.npy("y.npy", np.arange(ROWS) % 2),
                     "--steps", -1, "--out", self.out / "n.safetensors")
        self.tangent_refused(3, ["threads is -1", "[0, "], self.data, "--threads", -1)
        self.tangent_refused(3, ["FNTK_THREADS", "'many'"], self.data, environment={"FNTK_THREADS": "many"})

    def test_sizes_of_memory(self):
        gram = ("gram", self.data, *SMALL, "--out", self.out / "k.npy", "--dry-run", "--memory")
        for size in ("-1", "-2GiB", "1e9", "GiB", "4XiB", "4GiBi", "nan", "inf", "9EiB"):
            self.refused(2, ["--memory", size, "512MiB or 1.5GiB"], *gram, size)
        for size in ("0", "1.5GiB", ".5g", "1 GiB", "700MB", "800m", str(1 << 30)):
            fntk(*gram, size)
        self.refused(6, ["memory = 1 MiB"], *gram, "1.75MiB")
        self.refused(2, ["--memory", "-1", "1.5GiB"], "compare", self.data, "--memory", "-1")

    def test_eigenvalues_that_cannot_be_had(self):
        self.refused(3, ["count = 49", "[1, 48]"], "spectrum", self.data, *SMALL, "--largest", ROWS + 1)
        self.refused(2, ["--trace-probes", "at least 2"], "spectrum", self.data, *SMALL, "--trace-probes", 1)
        self.refused(3, ["--matrix-free", "--largest"], "spectrum", self.data, *SMALL, "--matrix-free")
        for option in ("--largest", "--smallest", "--trace-probes"):
            self.refused(2, [option, "0"], "spectrum", self.data, *SMALL, option, 0)
            self.refused(2, [option, "--eigenvalues"], "spectrum", self.data, option, 2, "--eigenvalues", self.out / "w.npy")

    def test_outputs_that_cannot_be_written(self):
        for out in (self.out / "missing" / "file", self.data / "file", self.out):
            self.refused(4, [str(out), "cannot be written"], "network", self.data, "--out", out)
            self.refused(4, [str(out), "cannot be written"], "gram", self.data, *SMALL, "--out", out)
            self.refused(4, [str(out), "cannot be written"], "tangent", self.data, *SMALL, "--out", out)
        self.tangent_refused(4, ["t.safetensors", "File too large"], self.data, *SMALL, largest_file=2000)  # as on a full disk

    def test_network_files_that_do_not_fit(self):
        network = self.folder / "net.safetensors"
        fntk("network", self.data, *SMALL, "--out", network)
        other = self.npy("other.npy", files.sphere(4, DIM + 1, 2))
        self.tangent_refused(3, ["net.safetensors", "dim 12", "13 columns"], other, "--network", network)
        self.refused(3, ["other.npy", "13", "12"], "gram", self.data, "--against", other, "--out", self.out / "k.npy")
        self.tangent_refused(2, ["--network", "--width"], self.data, "--network", network, "--width", 3)
        self.tangent_refused(4, ["x.npy", "safetensors"], self.data, "--network", self.data)
        cut = self.folder / "cut.safetensors"
        cut.write_bytes(network.read_bytes()[:-9])
        self.tangent_refused(4, ["cut.safetensors", "truncated"], self.data, "--network", cut)

    def test_commands_and_options_that_do_not_exist(self):
        self.refused(2, ["--help"])
        self.refused(2, ["frobnicate", "--help"], "frobnicate")
        self.tangent_refused(2, ["--frobnicate", "--help"], self.data, "--frobnicate")
        self.tangent_refused(2, ["--width", "wide"], self.data, "--width", "wide")
        self.refused(2, ["--out", "required"], "gram", self.data)

    def test_devices_and_combinations_that_do_not_exist(self):
        self.tangent_refused(5, ["'abacus'", "cpu", "reference"], self.data, "--device", "abacus")
        self.tangent_refused(5, ["'abacus'"], self.data, environment={"FNTK_DEVICE": "abacus"})
        available = {device["name"]: device["available"] for device in report("info")[1]["devices"]}
        if not available["cuda"]:
            self.tangent_refused(5, ["'cuda'", "not available", "use cpu"], self.data, "--device", "cuda")
        self.tangent_refused(5, ["--gates", "erf", "relu"], self.data, "--activation", "erf", "--gates")
        self.refused(3, ["inputs: row", "tanh", "scale the rows down"], "gram", self.npy("long.npy", 9 * self.x), "--no-normalize",
                     "--activation", "tanh", "--limit", "--out", self.out / "k.npy")


class ReportsAndOutput(ProgramCase):
    def check(self, command, *arguments, phases, network=True):
        printed, written = report(command, *arguments, "--device", "cpu", "--threads", 2)
        self.assertEqual(written["command"], command)
        self.assertEqual(written["device"], {"name": "cpu", "threads": 2})
        self.assertEqual(set(written["seconds"]), phases)
        self.assertTrue(all(0 <= seconds < 60 for seconds in written["seconds"].values()), written["seconds"])
        if network:
            expected = {"dim": DIM, "width": 200, "rank": 8, "down": "srht", "up": "srht", "activation": "relu", "precision": "float32"}
            self.assertEqual({key: written["network"][key] for key in expected}, expected)
            self.assertGreaterEqual(written["peak_bytes"], ROWS * DIM * 4)
        self.assertRegex(printed, r"\A[^\r\x1b]+\n\Z")  # no progress and no colours in a pipe

    def test_every_command_reports_spec_device_seconds_and_memory(self):
        out, labels = self.out / "o", self.npy("y.npy", np.arange(ROWS) % 2)
        self.check("info", phases=set(), network=False)
        self.check("network", self.data, *SMALL, "--out", out, phases={"load", "network", "write"})
        self.check("tangent", self.data, *SMALL, "--out", out, phases={"load", "network", "tangent", "write"})
        self.check("gram", self.data, *SMALL, "--out", out, phases={"load", "network", "batch", "gram"})
        self.check("limit", self.data, *SMALL, "--out", out, phases={"load", "network", "batch", "gram"})
        self.check("spectrum", self.data, *SMALL, phases={"load", "network", "tangent", "gram", "spectrum"})
        self.check("train", self.data, *SMALL, "--labels", labels, "--steps", 2, phases={"load", "network", "training"})
        self.check("fit", self.data, *SMALL, "--labels", labels, "--out", out, phases={"load", "network", "fit", "write"})
        self.check("compare", self.data, "--widths", 200, "--ranks", 8, "--steps", 1, phases={"load", "limit", "rows"}, network=False)
        self.check("plan", self.data, "--criterion", "frobenius", "--target-error", 0.6, phases={"load", "plan", "operations"}, network=False)

    def test_help_and_version_go_to_stdout(self):
        for arguments in (["--help"], ["--version"], ["compare", "--help"]):
            self.assertTrue(fntk(*arguments).strip())


class SameInputSameBytes(ProgramCase):
    def assert_same_integers(self, one, other):
        for name in INTEGERS:
            self.assertEqual(one[name].dtype, other[name].dtype, name)
            np.testing.assert_array_equal(one[name], other[name], name)

    def test_two_runs_any_number_of_threads_and_every_backend(self):
        for spec in (("--activation", "relu", "--up", "srht"), ("--activation", "leaky_relu", "--up", "rademacher"),
                     ("--precision", "float64", "--down", "gaussian")):
            arguments = (self.data, "--width", 3001, "--rank", 8, "--outputs", 2, "--gates", *spec)
            with self.subTest(spec=spec):
                first = self.tangent(*arguments, "--threads", 2, name="first")
                self.tangent(*arguments, "--threads", 2, name="again")
                self.assert_same_file(self.out / "first", self.out / "again")
                for threads in (1, 7):
                    self.assert_same_integers(self.tangent(*arguments, "--threads", threads), first)
                reference = self.tangent(*arguments, environment={"FNTK_DEVICE": "reference"})
                self.assert_same_integers(reference, first)
                self.assert_same_integers(self.tangent(*arguments, "--device", "reference"), first)
        out = ("--out", self.out / "t")
        _, written = report("tangent", self.data, *SMALL, *out, environment={"FNTK_DEVICE": "reference"})
        self.assertEqual(written["device"]["name"], "reference")
        _, written = report("tangent", self.data, *SMALL, *out, "--device", "cpu", environment={"FNTK_DEVICE": "reference"})
        self.assertEqual(written["device"]["name"], "cpu")

    def test_another_seed_gives_another_network(self):
        first, other = (self.tangent(self.data, *SMALL, "--seed", seed) for seed in (0, 1))
        self.assertTrue((first["G_int"] != other["G_int"]).any())

    def test_csv_idx_and_npy_of_the_same_data(self):
        pixels = np.random.default_rng(4).integers(1, 256, (ROWS, 3, 4), dtype=np.uint8)
        flat = pixels.reshape(ROWS, 12) / 255.0
        paths = [files.write_idx(self.folder / "d.idx.gz", pixels), files.write_idx(self.folder / "d.idx", pixels),
                 files.write_csv(self.folder / "d.csv", flat), self.npy("d.npy", flat)]
        for precision in ("float32", "float64"):
            for path in paths:
                self.tangent(path, *SMALL, "--precision", precision, name=path.name)
                self.assert_same_file(self.out / path.name, self.out / "d.idx.gz")

    def test_rows_are_normalised_and_samples_are_the_first_rows(self):
        identity = ("--down", "identity", "--up", "rademacher", "--width", 100)
        scaled = self.npy("scaled.npy", self.x * np.float32(4))
        self.tangent(self.data, *identity, name="one")
        self.tangent(scaled, *identity, name="four")
        self.assert_same_file(self.out / "one", self.out / "four")
        hidden = self.tangent(scaled, *identity)["H"]
        np.testing.assert_allclose(np.linalg.norm(hidden.astype(np.float64), axis=1), 1, atol=1e-6)
        kept = self.tangent(scaled, *identity, "--no-normalize")["H"]
        np.testing.assert_allclose(np.linalg.norm(kept.astype(np.float64), axis=1), 4, atol=4e-6)
        self.tangent(self.data, *identity, "--samples", 7, name="samples")
        self.tangent(self.npy("seven.npy", self.x[:7]), *identity, name="seven")
        self.assert_same_file(self.out / "samples", self.out / "seven")

    def test_a_network_file_stands_for_the_options_that_drew_it(self):
        seeded, dense = self.folder / "seeded.safetensors", self.folder / "dense.safetensors"
        for down, up in (("srht", "srht"), ("pca", "rademacher"), ("orthonormal", "gaussian"), ("identity", "srht")):
            with self.subTest(down=down, up=up):
                spec = ("--width", 500, "--down", down, "--up", up, "--seed", 9, *(() if down == "identity" else ("--rank", 8)))
                fntk("network", self.data, *spec, "--out", seeded)
                fntk("network", self.data, *spec, "--out", dense, "--materialize")
                self.assertEqual(set(files.read_safetensors(seeded)[1]), {"U"} if down == "pca" else set())
                self.tangent(self.data, *spec, name="options")
                for network in (seeded, dense):
                    self.tangent(self.data, "--network", network, name="file")
                    self.assert_same_file(self.out / "options", self.out / "file")
                kernels = [("--network", seeded, "--train", "readout"), (*spec, "--train", "readout")]
                for name, arguments in zip("ab", kernels):
                    fntk("gram", self.data, *arguments, "--out", self.out / name)
                self.assert_same_file(self.out / "a", self.out / "b")


class Trains(ProgramCase):
    def setUp(self):
        super().setUp()
        x, labels = clusters(90, 3, DIM, 5)
        self.data, self.labels = self.npy("x.npy", x), self.npy("y.npy", labels)

    def train(self, *arguments):
        return report("train", self.data, "--labels", self.labels, "--width", 512, "--rank", 8, *arguments)[1]

    def test_accuracy_improves_on_an_easy_set(self):
        for train in ("down", "up", "down+readout"):
            with self.subTest(train=train):
                before, after = (self.train("--train", train, "--steps", steps) for steps in (0, 40))
                self.assertLess(before["train_accuracy"], 0.8)
                self.assertGreater(after["train_accuracy"], 0.95)
                losses = [row["loss"] for row in after["history"]]
                self.assertEqual([row["step"] for row in after["history"]], list(range(41)))
                self.assertLess(losses[-1], losses[0] / 4)
                self.assertEqual((after["certificate_held"], after["network"]["outputs"]), (True, 3))

    def test_an_interrupted_run_goes_on_to_the_same_bytes(self):
        checkpoint, steps = self.out / "c.safetensors", 2000
        for extra, sent in ((("--foretell",), signal.SIGINT), (("--train", "down+up", "--batch", 32, "--momentum", 0.5), signal.SIGTERM)):
            with self.subTest(extra=extra):
                command = ["train", self.data, "--labels", self.labels, "--width", 512, "--rank", 8, "--steps", steps, "--no-kernel",
                           "--step-size", 0.01, *extra]
                checkpoint.unlink(missing_ok=True)
                process = subprocess.Popen([files.program(), *map(str, command), "--out", str(self.out / "stopped"), "--checkpoint",
                                            str(checkpoint), "--checkpoint-every", "5"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                           text=True)
                while not checkpoint.exists() and process.poll() is None:
                    time.sleep(0.001)
                process.send_signal(sent)
                _, errors = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 130, errors)
                self.assertRegex(errors, r"\Afntk: error: interrupted at step \d+; [^\n]*--resume[^\n]*c.safetensors\n\Z")
                stopped = int(re.search(r"at step (\d+)", errors)[1])
                self.assertTrue(5 <= stopped < steps, stopped)
                self.assertEqual([path.name for path in self.out.glob("*")], ["c.safetensors"])
                fntk(*command, "--out", self.out / "resumed", "--checkpoint", checkpoint, "--resume")
                fntk(*command, "--out", self.out / "whole")
                self.assert_same_file(self.out / "resumed", self.out / "whole")
                (self.out / "resumed").unlink()
                (self.out / "whole").unlink()


if __name__ == "__main__":
    unittest.main()
