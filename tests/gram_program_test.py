#!/usr/bin/env python3
"""`fntk gram` and `fntk limit` with matrices larger than their memory: the budget is kept, a run that is killed or
interrupted goes on to the same bytes, and under the final name stands a whole file or none."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
import unittest

import numpy as np

import fntk_files as files
from fntk_files import fntk, run
from program_test import DIM, SMALL, ProgramCase, report, setUpModule  # noqa: F401

MIB = 1 << 20
SLOW = ("--train", "readout", "--width", 4096, "--rank", 8, "--threads", 1)  # some seconds of work


class GramFiles(ProgramCase):
    def setUp(self):
        super().setUp()
        self.many = self.npy("many.npy", files.sphere(3000, DIM, 3))
        self.kernel = self.out / "K.npy"

    def named_memory(self, *command):
        """The MiB that the refusal of 1 MiB names as the least; nothing is left behind."""
        before = self.names()
        process = run(*command, "--memory", "1MiB")
        self.assertEqual((process.returncode, process.stdout, self.names()), (6, "", before), process.stderr)
        self.assertRegex(process.stderr, r"\Afntk: error: memory = 1 MiB: [^\n]*; give --memory \d+MiB, or use fewer --samples\n\Z")
        return int(re.search(r"--memory (\d+)MiB", process.stderr)[1])

    def least_memory(self, *command):
        """named_memory, with which the command runs, and with a little less does not."""
        memory = self.named_memory(*command)
        process = run(*command, "--memory", f"{memory - 5}MiB")
        self.assertEqual(process.returncode, 6, process.stderr)
        self.assertIn(f"memory = {memory - 5} MiB: the program and the data take", process.stderr)
        fntk(*command, "--memory", f"{memory}MiB")
        return memory

    def start(self, *arguments):
        return subprocess.Popen([files.program(), *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def names(self):
        return sorted(path.name for path in self.out.iterdir())

    def test_a_matrix_larger_than_the_memory(self):
        self.needs_exact_budgets()
        other = self.npy("other.npy", files.sphere(1500, DIM, 4))
        for command in (("gram", self.many), ("limit", self.many), ("gram", self.many, "--against", other)):
            with self.subTest(command=command):
                whole, tiled = self.out / "whole.npy", self.kernel
                memory = self.least_memory(*command, "--out", tiled)
                fntk(*command, "--out", whole, "--memory", 0)
                written, peak = self.peak_of_process(*command, "--out", tiled, "--memory", f"{memory}MiB")
                plan = written["plan"]
                self.assertLess(plan["tile"], 1000)
                self.assertEqual((written["tiles_done"], written["tiles_reused"]), (plan["tiles"], 0))
                self.assertEqual(plan["file_bytes"], tiled.stat().st_size)
                self.assertLessEqual(written["peak_bytes"], peak)
                self.assertLessEqual(peak, memory * MIB)
                one, two = np.load(whole), np.load(tiled)
                self.assertEqual((one.shape, one.dtype), (two.shape, two.dtype))
                self.assertLess(files.largest_difference(two, one.astype(np.float64)), 1e-6)
                if "--against" not in command:
                    np.testing.assert_array_equal(two, two.T)
                whole.unlink()
                tiled.unlink()

    def test_element_types(self):
        for precision, dtype in (("float32", "float64"), ("float64", "float32")):
            for command in ("gram", "limit"):
                for extra in ((), ("--kernel", "full", "--outputs", 2)):  # the full limit is made in one piece
                    arguments = (command, self.data, *SMALL, *extra, "--precision", precision, "--out", self.kernel)
                    fntk(*arguments)
                    own = np.load(self.kernel)
                    fntk(*arguments, "--dtype", dtype)
                    np.testing.assert_array_equal(np.load(self.kernel), own.astype(dtype))
                    self.assertEqual((own.dtype, np.load(self.kernel).dtype), (np.dtype(precision), np.dtype(dtype)))
        process = run("gram", self.data, "--dtype", "int8", "--out", self.out / "none.npy")
        self.assertEqual((process.returncode, self.names()), (3, ["K.npy"]))
        self.assertIn("dtype is 'int8'", process.stderr)

    def test_killed_runs_go_on_to_the_same_bytes(self):
        self.needs_exact_budgets()
        other = self.npy("other.npy", files.sphere(1500, DIM, 4))
        for extra, kills in (((), 12), (("--against", other), 6), (("--dtype", "float64"), 6)):
            with self.subTest(extra=extra):
                self.kill("gram", self.many, *SLOW, *extra, "--out", self.kernel, kills=kills)

    def kill(self, *command, kills):
        """Kills as many runs, each third of which is followed by one that ends."""
        command = (*command, "--memory", f"{self.named_memory(*command) + 1}MiB", "--resume")
        start = time.monotonic()
        _, written = report(*command)
        seconds, tiles = time.monotonic() - start, written["plan"]["tiles"]
        self.assertGreater(tiles, 12)
        expected = self.kernel.read_bytes()
        self.kernel.unlink()
        moments = random.Random(1)
        killed = reused = 0
        while killed < kills:
            process = self.start(*command)
            time.sleep(moments.uniform(0, 0.7 * seconds))
            process.kill()
            _, errors = process.communicate(timeout=60)
            self.assertIn(process.returncode, (0, -signal.SIGKILL), errors)
            killed += process.returncode != 0
            if self.kernel.exists():  # whole, or not at all
                self.assertEqual(self.kernel.read_bytes(), expected)
                self.kernel.unlink()
            elif killed % 3 == 0:  # else the next run is killed too
                _, written = report(*command)
                reused += written["tiles_reused"]
                self.assertEqual(self.kernel.read_bytes(), expected)
                self.kernel.unlink()
        self.assertGreater(reused, tiles / 8)  # not everything was made anew

    def test_an_interrupted_run_says_how_to_go_on(self):
        self.needs_exact_budgets()
        command = ("gram", self.many, *SLOW, "--out", self.kernel)
        memory = f"{self.least_memory(*command) + 1}MiB"  # for tiles of one size, whatever the run begins with
        command = (*command, "--memory", memory)
        self.kernel.rename(self.out / "old.npy")
        process = self.start(*command)
        while not (self.out / "K.npy.progress").exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)
        self.assertRegex(errors, r"\Afntk: error: interrupted at tile \d+ of \d+; go on with --resume --out [^\n]*K.npy\n\Z")
        done = int(re.search(r"at tile (\d+)", errors)[1])
        self.assertEqual(self.names(), ["K.npy.partial", "K.npy.progress", "old.npy"])
        process = run(*command, "--resume", "--seed", 1)
        self.assertEqual(process.returncode, 3, process.stderr)
        self.assertRegex(process.stderr, r"K.npy.progress: [^\n]*seed = 0, this run has 1;[^\n]*start anew")
        _, written = report(*command, "--resume")
        self.assertEqual(written["tiles_reused"], done)
        fntk(*command[:-4], "--out", self.out / "again.npy", "--memory", memory)
        self.assert_same_file(self.kernel, self.out / "again.npy")
        self.assertEqual(self.names(), ["K.npy", "again.npy", "old.npy"])

    def test_a_dry_run_is_a_plan_and_nothing_else(self):
        data, out = self.npy("dry.npy", files.sphere(300, 8, 5)), self.out / "dry_k.npy"
        for command in ("gram", "limit"):
            printed, written = report(command, data, "--out", out, "--dry-run")
            self.assertRegex(printed, r"\Aplan: 300 × 300 float32 [^\n]*; about [0-9.e-]+ s beside the writing\n\Z")
            self.assertEqual(written["plan"]["tiles"], 1)
            self.assertGreater(written["plan"]["estimated_seconds"], 0)
        self.assertEqual(list(self.out.glob("dry_k*")), [])

    def test_a_kernel_made_in_one_piece_keeps_to_the_memory_too(self):
        self.needs_exact_budgets()
        for extra in (("--fixed-down",), ("--fixed-down", "--dtype", "float64"), ("--kernel", "full", "--outputs", 2),
                      ("--kernel", "full", "--outputs", 2, "--precision", "float64", "--dtype", "float32")):
            with self.subTest(extra=extra):
                command = ("limit", self.many, "--samples", 2000, *extra, "--out", self.kernel)
                memory = self.least_memory(*command)
                size = self.kernel.stat().st_size
                _, peak = self.peak_of_process(*command, "--memory", f"{memory}MiB")
                self.assertLessEqual(peak, memory * MIB)
                self.assertGreater(peak, size)
                self.kernel.unlink()

    def test_a_kernel_that_leaves_its_range_is_not_written(self):
        large = self.npy("large.npy", files.sphere(5, DIM, 8, np.float64) * 1e25)
        limit = ("limit", large, "--no-normalize", "--out", self.kernel, *SMALL)
        for way in (("--fixed-down",), ("--kernel", "full", "--outputs", 2), (), ("--dtype", "float64"),
                    ("--precision", "float64", "--dtype", "float32", "--fixed-down")):
            process = run(*limit, *way)
            self.assertEqual((process.returncode, process.stdout, list(self.out.iterdir())), (3, "", []), process.stderr)
            self.assertRegex(process.stderr, r"K is -?inf at row 0, column 0: it leaves the range of float32; [^\n]*--?precision float64|take precision float64")
        fntk(*limit, "--precision", "float64", "--fixed-down")
        self.assertTrue(np.isfinite(np.load(self.kernel)).all())

    def test_gates_that_do_not_fit_are_not_made(self):
        command = ("gram", self.many, "--train", "up", "--width", 2**30, "--rank", 8, "--out", self.kernel)
        gates = 3000 * 2**30 / 8 / MIB
        self.assertGreater(self.named_memory(*command), gates)
        self.assertGreater(self.named_memory(*command, "--dry-run"), gates)

    def test_a_kernel_made_in_one_piece_cannot_be_resumed(self):
        process = run("limit", self.data, "--fixed-down", "--resume", "--out", self.kernel)
        self.assertEqual((process.returncode, self.names()), (3, []), process.stderr)
        self.assertIn("in one piece", process.stderr)

    def test_a_full_disk_is_known_before_the_work(self):
        process = run("gram", self.many, *SLOW, "--out", self.kernel, largest_file=100000)
        self.assertEqual((process.returncode, self.names()), (4, []), process.stderr)
        self.assertRegex(process.stderr, r"K.npy: [^\n]*File too large; it needs 36000128 bytes, \d+ are free")
        namespace = ("unshare", "--map-root-user", "--mount")  # to mount a disk of 1 MiB without being root
        if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("no user namespaces here")
        script = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && "$@"; code=$?; ls -A "$OUT"; exit $code'
        process = subprocess.run([*namespace, "sh", "-c", script, "sh", self.out, files.program(), "gram", self.many, "--out",
                                  self.kernel], capture_output=True, text=True, check=False, timeout=60,
                                 env={**os.environ, "OUT": str(self.out)})
        self.assertEqual((process.returncode, process.stdout), (4, ""), process.stderr)
        self.assertRegex(process.stderr, r"K.npy: [^\n]*No space left on device; it needs 36000128 bytes, 1048576 are free")


if __name__ == "__main__":
    unittest.main()
