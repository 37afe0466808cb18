#!/usr/bin/env python3
"""The files of every command are looked at before its work: an output that cannot be written, one that is another output's
file, and one that is an input's file, by whatever path. What a command reads stays as it is."""

import os
import unittest

import numpy as np

import fntk_files as files
from fntk_files import fntk, run
from program_test import ROWS, SMALL, ProgramCase, report, setUpModule  # noqa: F401

# Much work: whoever looks at files afterwards meets the time limit of run().
LONG = ("--width", 400_000_000, "--rank", 8, "--threads", 1)


class Files(ProgramCase):
    def setUp(self):
        super().setUp()
        self.labels = self.npy("y.npy", np.arange(ROWS) % 2)
        self.network = self.folder / "net.safetensors"
        fntk("network", self.data, *SMALL, "--out", self.network)
        self.model = self.folder / "model.safetensors"
        fntk("fit", self.data, "--labels", self.labels, *SMALL, "--out", self.model)
        self.k = self.out / "k.npy"
        out, labelled = ("--out", self.k), ("--labels", self.labels)
        # what a command reads, what it must write, what it may write
        self.commands = {
            "info": ((), (), ("--json",)),
            "network": ((self.data, *LONG), out, ("--json",)),
            "tangent": ((self.data, *LONG), out, ("--json",)),
            "gram": ((self.data, *LONG), out, ("--json",)),
            "limit": ((self.data,), out, ("--json",)),
            "spectrum": ((self.data, *LONG), (), ("--json", "--eigenvalues")),
            "train": ((self.data, *labelled, *LONG), (), ("--json", "--out", "--checkpoint")),
            "fit": ((self.data, *labelled, *LONG), (), ("--json", "--out")),
            "predict": ((self.model, self.data), out, ("--json", "--variance")),
            "compare": ((self.data, "--widths", 100_000_000, "--threads", 1), (), ("--json", "--plot")),
            "plan": ((self.data,), (), ("--json",)),
        }

    def refused(self, code, words, *arguments, cwd=None):
        before = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        with self.subTest(command=" ".join(map(str, arguments))):
            here = os.getcwd()
            os.chdir(cwd or here)
            try:
                process = run(*arguments)
            finally:
                os.chdir(here)
            self.assertEqual(process.returncode, code, process.stderr)
            self.assertRegex(process.stderr, r"\Afntk: error: [^\n]+\n\Z")
            for word in words:
                self.assertIn(str(word), process.stderr)
            self.assertEqual(process.stdout, "")
            self.assertEqual({path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}, before)

    def test_info_says_what_a_file_holds(self):
        tangent, checkpoint = self.out / "t", self.out / "c"
        fntk("tangent", self.data, *SMALL, "--out", tangent)
        fntk("train", self.data, "--labels", self.labels, *SMALL, "--steps", 2, "--checkpoint", checkpoint)
        for path, name, wanted in ((self.network, "fntk-network", "spec"), (self.model, "fntk-model", "kernel"),
                                   (checkpoint, "fntk-checkpoint", "run"), (tangent, "fntk-tangent", "spec")):
            with self.subTest(file=name):
                printed, written = report("info", path)
                metadata, tensors = files.read_safetensors(path)
                self.assertEqual(written["file"]["metadata"]["format"], name)
                self.assertEqual(set(written["file"]["metadata"]), set(metadata))
                self.assertIsInstance(written["file"]["metadata"][wanted], dict)
                shapes = {tensor["name"]: tuple(tensor["shape"]) for tensor in written["file"]["tensors"]}
                self.assertEqual(shapes, {key: tensor.shape for key, tensor in tensors.items()})
                for word in (name, *tensors):
                    self.assertIn(word, printed)
        self.assertEqual(report("info", self.network)[1]["network"]["rank"], 8)
        self.refused(4, ["x.npy", "this is a .npy file", "safetensors"], "info", self.data)

    def test_every_output_of_every_command_can_be_written(self):
        missing = self.out / "missing" / "file"
        for command, (inputs, out, optional) in self.commands.items():
            for option in optional:
                self.refused(4, [missing, "cannot be written", "folder"], command, *inputs, *out, option, missing)
            if out:
                self.refused(4, [missing, "cannot be written"], command, *inputs, "--out", missing)
        self.refused(3, ["--out", "standard output"], "gram", self.data, *SMALL, "--out", "-")
        self.refused(3, ["--json", "standard output"], "info", self.network, "--json", "-")

    def test_no_output_is_another_ones_file(self):
        for command, (inputs, out, optional) in self.commands.items():
            options = ("--out", *optional) if out else optional
            for first, second in zip(options, options[1:]):
                others = () if "--out" in (first, second) or not out else ("--out", self.out / "other.npy")
                self.refused(3, [first, second, self.k, "name a file for each"], command, *inputs, *others, first, self.k, second, self.k)

    def test_no_output_is_an_input(self):
        for command, (inputs, out, optional) in self.commands.items():
            for option in ("--out", *optional) if out else optional:
                others = () if option == "--out" else out
                for read in (path for path in inputs if str(path).startswith(str(self.folder))):
                    self.refused(3, [option, read, "an input"], command, *inputs, *others, option, read)
        for command in ("tangent", "gram", "spectrum", "train", "fit", "compare"):
            out = self.commands[command][1]
            read = (self.data, *(("--labels", self.labels) if command in ("train", "fit") else ()), "--network", self.network)
            self.refused(3, ["--json", "--network", self.network], command, *read, *out, "--json", self.network)
        self.refused(3, ["--json", "FILE"], "info", self.network, "--json", self.network)
        other = self.npy("other.npy", self.x)
        self.refused(3, ["--out", "--against", other], "gram", self.data, "--against", other, "--out", other)
        self.refused(3, ["--json", "unfinished"], "gram", self.data, "--out", self.k, "--json", f"{self.k}.partial")

    def test_a_file_is_known_behind_links_and_other_paths(self):
        link, hard, folder = self.folder / "link.npy", self.folder / "hard.npy", self.folder / "folder"
        link.symlink_to(self.data)
        os.link(self.data, hard)
        folder.symlink_to(self.out)
        for same in (link, hard, "./x.npy", "out/../x.npy", self.folder / "." / "out" / ".." / "x.npy"):
            self.refused(3, ["--out", same, "DATA"], "gram", self.data, *LONG, "--out", same, cwd=self.folder)
        for same in (folder / "k.npy", "out/k.npy", "out/../folder/./k.npy"):
            self.refused(3, ["--json", same, "--out"], "gram", self.data, *LONG, "--out", self.k, "--json", same, cwd=self.folder)
        dangling = self.folder / "dangling"
        dangling.symlink_to(self.out / "nothing")
        fntk("gram", self.data, *SMALL, "--out", dangling, "--json", self.out / "nothing")

    def test_the_files_of_fashion_mnist_are_inputs(self):
        folder = self.folder / "fashion-mnist"
        folder.mkdir()
        for part in ("train", "t10k"):
            files.write_idx(folder / f"{part}-images-idx3-ubyte.gz", np.ones((4, 2, 2)))
            files.write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(4))
        os.environ["FNTK_DATA_DIR"] = str(self.folder)
        self.addCleanup(os.environ.pop, "FNTK_DATA_DIR")
        images = folder / "train-images-idx3-ubyte.gz"
        self.refused(3, ["--json", images, "an input"], "compare", "fashion-mnist", "--json", images)
        os.environ["FNTK_DATA_DIR"] = str(self.out)
        self.refused(4, ["FNTK_DATA_DIR", self.out, "unset"], "compare", "fashion-mnist")
        os.environ["FNTK_DATA_DIR"] = str(self.folder / "nowhere")
        self.refused(4, ["FNTK_DATA_DIR", "nowhere", "unset"], "compare", "fashion-mnist")

    def test_a_checkpoint_is_gone_on_from_and_written_again(self):
        checkpoint = self.out / "c.safetensors"
        train = ("train", self.data, "--labels", self.labels, *SMALL, "--checkpoint", checkpoint)
        fntk(*train, "--steps", 2)
        before = checkpoint.read_bytes()
        fntk(*train, "--steps", 4, "--resume")
        self.assertNotEqual(checkpoint.read_bytes(), before)
        self.refused(3, ["--checkpoint", "--out"], *train, "--steps", 4, "--resume", "--out", checkpoint)


if __name__ == "__main__":
    unittest.main()
