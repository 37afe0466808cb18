#!/usr/bin/env python3
"""bench/gpu without a GPU, a peer or the built program: the rows' schema, going on where a call stopped, the budget, what a
failing process loses, how many calls are timed together, the floors of the plan and the ceilings beside them, float64 against
the formulas."""

import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

from gpu_rows import CEILINGS, DEVICE, ROOT, row

import check  # noqa: E402
import floors  # noqa: E402
import peer  # noqa: E402
import processes  # noqa: E402
import run  # noqa: E402
import store  # noqa: E402
from problems import CLASS_OF, IMPLEMENTATIONS, growth, of_row, plan, problems  # noqa: E402


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class Rows(InFolder):
    def test_a_row_is_complete(self):
        self.assertEqual(store.complaint(row()), "")
        self.assertEqual(store.complaint({**row(), "status": "failed", "reason": "no memory"}), "")
        errors = {"flips": 0, "rel_g": 0.0, "rel_k": None, "bit_exact": True}
        self.assertEqual(store.complaint(row(error=errors)), "")
        for wrong in ({"schema": 0}, {"status": "failed"}, {"status": "perhaps"}, {"ms": {}}, {"error": {"flips": 0}},
                      {"ms": {"median": 1, "p10": 2, "p90": 3, "reps": 1}}):
            self.assertNotEqual(store.complaint({**row(), **wrong}), "", wrong)
            with self.assertRaises(ValueError):
                store.Store(self.folder / "rows.jsonl").add({**row(), **wrong})
        for name in store.FIELDS:
            self.assertIn(name, store.complaint({key: value for key, value in row().items() if key != name}))

    def test_rows_are_appended_and_found_again(self):
        path = self.folder / "new/rows.jsonl"
        rows = store.Store(path)
        rows.add(row(ms=1.0))
        with path.open("a") as file:
            file.write('{"schema": 1, "op": "cut o')  # by the end of a machine
        rows = store.Store(path)
        rows.add(row(ms=2.0))
        rows.add(row(mode="other", status="failed", reason="why"))
        self.assertEqual(len(path.read_text().splitlines()), 4)
        rows = store.Store(path)
        self.assertEqual([one["ms"]["median"] for one in rows.rows.values()], [2.0, 1.0])
        self.assertTrue(rows.has(row()) and rows.has(row(mode="other")))
        self.assertFalse(rows.has(row(mode="other"), failed_too=False))
        self.assertFalse(rows.has(row(commit="def")) or rows.has(row(device={"name": "NVIDIA H100"})))
        self.assertTrue(rows.has(row(commit="def"), any_commit=True))
        self.assertFalse(rows.has(row(commit="def", mode="other"), any_commit=True))


class Fake(run.Bench):
    """A row for every class, of the wanted status, and a clock of its own."""

    def __init__(self, folder, *words):
        options = run.arguments([str(folder), "--commit", "abc", "--work", str(folder / "work"), *words])
        super().__init__(options, store.Store(folder / "rows.jsonl"), DEVICE)
        self.measured, self.broken, self.clock, self.ends_in = [], {}, 0.0, None

    def left(self):
        return self.options.budget - self.clock

    def measure(self, measurement):
        if measurement.name == self.ends_in:
            raise TimeoutError
        self.clock += measurement.expected
        self.measured.append(measurement.name)
        for mode in measurement.modes:
            trouble = self.broken.get((measurement.name, mode))
            if isinstance(trouble, Exception):
                raise trouble
            more = {"status": "failed", "reason": trouble} if trouble else row()
            yield {**more, **self.row(measurement, mode), "status": "failed" if trouble else "ok"}


def quiet(one):
    pass


class Resume(InFolder):
    def setUp(self):
        super().setUp()
        self.plan = plan("peers", True)

    def names(self, fake):
        fake.all(self.plan, quiet)
        return fake.measured

    def test_what_is_there_is_not_measured_again(self):
        everything = [one.name for one in self.plan]
        self.assertEqual(self.names(Fake(self.folder)), everything)
        self.assertEqual(self.names(Fake(self.folder)), [])
        self.assertEqual(self.names(Fake(self.folder, "--again")), everything)
        self.assertEqual(self.names(Fake(self.folder, "--commit", "def", "--keep-peers")),
                         [one.name for one in self.plan if not one.implementation.script])
        self.assertEqual(self.names(Fake(self.folder, "--commit", "ghi")), everything)

    def test_one_that_fails_loses_its_own_rows(self):
        victim, other = next(one for one in self.plan if len(one.modes) > 1), self.plan[3]
        first = Fake(self.folder)
        first.broken = {(victim.name, victim.modes[1]): "no memory", (other.name, other.modes[0]): OSError("torn file")}
        self.assertEqual(first.all(self.plan, quiet), [])
        failed = {(one["impl"], one["mode"]): one["reason"] for one in first.rows.rows.values() if one["status"] == "failed"}
        self.assertEqual(failed, {(victim.implementation.name, victim.modes[1]): "no memory",
                                  (other.implementation.name, other.modes[0]): "OSError: torn file"})
        self.assertEqual(len(first.rows.rows), sum(len(one.modes) for one in self.plan))
        self.assertEqual(self.names(Fake(self.folder)), [])
        again = Fake(self.folder, "--retry")
        self.assertEqual(self.names(again), [other.name, victim.name])
        self.assertTrue(all(one["status"] == "ok" for one in again.rows.rows.values()))

    def test_nothing_begins_that_would_not_fit(self):
        budget = sum(one.expected for one in self.plan[:5]) + 1
        first = Fake(self.folder, "--budget", str(budget))
        self.assertEqual([one.name for one in first.all(self.plan, quiet)], [one.name for one in self.plan[5:]])
        self.assertEqual(first.measured, [one.name for one in self.plan[:5]])
        second = Fake(self.folder)
        second.ends_in = self.plan[8].name
        self.assertEqual([one.name for one in second.all(self.plan, quiet)], [one.name for one in self.plan[8:]])
        self.assertEqual(self.names(Fake(self.folder)), [one.name for one in self.plan[8:]])

    def test_the_plan(self):
        self.assertEqual([one.implementation.name for one in self.plan[:17]], ["fntk"] * 17)
        portable = [one for one in plan("peers", False) if one.implementation.name == "fntk-portable"]
        self.assertEqual({one.problem.shape["p"] for one in portable}, {64, 128, 256, 512, 1024})
        self.assertTrue(all(one.implementation.env == {"FNTK_WGMMA": "0"} for one in portable))
        self.assertEqual([one.op for one in problems(True)], [one.op for one in problems(False)])
        for smoke in (True, False):
            for suite in ("peers", "growth"):
                measurements = plan(suite, smoke)
                self.assertEqual(len({one.name for one in measurements}), len(measurements))
                self.assertTrue(all(one.modes and set(one.modes) <= CLASS_OF.keys() for one in measurements))
        points = growth(False)
        for extent in "nmpd":
            self.assertGreaterEqual(len({one.shape[extent] for one in points if one.case.startswith(extent)}), 4)
        self.assertTrue(all((ROOT / "bench/gpu" / one.script).exists() for one in IMPLEMENTATIONS.values()))

    def test_classes_are_chosen_one_by_one(self):
        def named(*words):
            return run.chosen(run.arguments([str(self.folder), "--commit", "abc", *words]))

        self.assertEqual(named(), plan("peers", False))
        fp32 = named("--modes", "fp32", "int8-fp32")
        self.assertEqual({mode for one in fp32 for mode in one.modes}, {"fp32", "int8-fp32"})
        self.assertEqual({one.implementation.name for one in fp32}, {name for name, one in IMPLEMENTATIONS.items() if one.script})
        both = named("--modes", "fast", "bf16", "--only", "fntk-fast", "torch", "--problems", "wide-rademacher-n16384-p256-")
        self.assertEqual([(one.implementation.name, one.modes) for one in both], [("fntk-fast", ("fast",)), ("torch", ("bf16",))])
        self.assertEqual(named("--modes", "exact", "--only", "jax"), [])
        with self.assertRaises(SystemExit), mock.patch("sys.stderr"):
            named("--modes", "fp8")

    def test_the_other_classes_are_measured_later(self):
        one = next(one for one in self.plan if len(one.modes) > 1)
        self.plan = [one.of(one.modes[:1])]
        self.assertEqual(self.names(Fake(self.folder)), [one.name])
        self.plan = [one]
        rest = Fake(self.folder)
        self.assertEqual(self.names(rest), [one.name])
        self.assertEqual([row["mode"] for row in store.read(self.folder / "rows.jsonl")], list(one.modes))


class Times(unittest.TestCase):
    def calls_of(self, seconds):
        """The calls between two waits, of a call that takes so long."""
        counts = []

        def group(run, calls):
            counts.append(calls)
            return calls * seconds

        found = peer.times(lambda: None, peer.Clock(group), 4.0)
        self.assertAlmostEqual(found["median"], 1e3 * seconds)
        self.assertEqual(found["reps"], len(counts) - 3)
        return set(counts[3:])

    def test_groups_are_twenty_milliseconds_or_one_call(self):
        self.assertEqual(self.calls_of(3e-3), {7})
        self.assertEqual(self.calls_of(25e-3), {1})
        self.assertEqual(self.calls_of(1e-6), {1000})


class Processes(InFolder):
    def lines(self, source, limit=20.0):
        return list(processes.lines_of([sys.executable, "-c", source], limit, self.folder / "log", dict(os.environ)))

    def test_lines_of_a_process_that_dies_are_kept(self):
        source = "import sys; print('noise'); print('{\"mode\": \"fp32\"}', flush=True); sys.exit('no more memory')"
        self.assertEqual(self.lines(source), [{"mode": "fp32"}, {"reason": "exit code 1: no more memory"}])
        self.assertEqual(self.lines("print('{}')"), [{}])

    def test_one_that_hangs_is_ended_with_its_children(self):
        source = ("import subprocess, sys, time; print('{\"mode\": 1}', flush=True);"
                  "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])")
        lines = self.lines(source, 0.5)
        self.assertEqual(lines[0], {"mode": 1})
        self.assertTrue(lines[1]["expired"])

    def test_a_library_that_is_absent_is_skipped_visibly(self):
        measurement = next(one for one in plan("peers", True) if one.implementation.name == "torch")
        options = run.arguments([str(self.folder), "--commit", "abc", "--work", str(self.folder)])
        bench = run.Bench(options, store.Store(self.folder / "rows.jsonl"), DEVICE)
        absent = [sys.executable, "-c", "import no_such_library"]
        with mock.patch.object(bench, "prepare", lambda one: ""), mock.patch.object(bench, "command", lambda one: absent), \
                mock.patch("builtins.print") as said:
            self.assertEqual(list(bench.measure(measurement)), [])
        self.assertIn("SKIPPED", said.call_args.args[0])
        self.assertEqual(bench.absent, {measurement.implementation.script})


class Floors(unittest.TestCase):
    def test_they_are_those_of_the_plan(self):
        wanted = {"wide-rademacher-n16384-p64": 0.56, "wide-rademacher-n16384-p128": 1.11, "wide-rademacher-n16384-p256": 2.22,
                  "wide-rademacher-n1024-p256-m100000000": 106, "wide-srht-n16384-p256": 1.16, "gram": 4.24, "dense": 1.07 + 2.22,
                  "r1": 0.40, "r16": 6.4, "step-rademacher": 3.7}
        rates = floors.rates_of("NVIDIA H200")
        for name, ms in wanted.items():
            problem = next(one for one in problems(False) if one.name.startswith(name) or one.name.endswith("-" + name))
            self.assertAlmostEqual(floors.least_ms(floors.parts(problem), rates) / ms, 1, delta=0.01, msg=name)
            found = floors.fractions(problem, 2 * ms, "NVIDIA H200", {})
            self.assertAlmostEqual(found["fraction_of_floor"], 0.5, delta=0.01)
            self.assertIsNone(found["fraction_of_measured_ceiling"] or found["measured_ceiling"])
            self.assertIsNone(floors.fractions(problem, ms, "some CPU", {})["floor"])

    def test_measured_ceilings(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ceilings.jsonl"
            self.assertEqual(floors.measured_rates(path, "NVIDIA H200"), {})
            lines = [{"op": "ceiling", "case": case, "rate": rate, "device": {"name": name}} for case, rate, name in
                     (("int8", 1e15, "NVIDIA H200"), ("copy", 4e12, "NVIDIA H200"), ("bf16", 7e14, "NVIDIA A100"))]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "cut o")
            rates = floors.measured_rates(path, "NVIDIA H200")
            self.assertEqual(rates, {"int8": 1e15, "copy": 4e12})


    def beside(self, op, case, shape, portable=False, without=()):
        ceilings = {name: rate for name, rate in CEILINGS.items() if name not in without}
        return floors.fractions(of_row(op, case, shape), 10.0, "NVIDIA H200", ceilings, portable=portable)["measured_ceiling"]

    def test_every_kernel_stands_beside_the_ceiling_of_its_instruction(self):
        shape = {"n": 16384, "p": 256, "m": 131072}
        product = 8 * 16384 * 131072 * 256
        for p, portable, unit in ((256, False, "wgmma_s8"), (1024, False, "wgmma_s8"), (256, True, "mma_s8"), (512, True, "int8")):
            found = self.beside("wide", "rademacher", {**shape, "p": p}, portable)
            self.assertEqual(found, {"ms": 1e3 * product * p / 256 / CEILINGS[unit], "unit": unit})
        self.assertEqual(self.beside("wide", "rademacher", shape, without=("wgmma_s8",))["unit"], "mma_s8")
        self.assertEqual(self.beside("wide", "srht", {**shape, "p": 128})["unit"], "wgmma_s8")
        self.assertIsNone(self.beside("wide", "srht", {**shape, "p": 128}, portable=True))
        self.assertIsNone(self.beside("wide", "srht", shape))
        self.assertEqual(self.beside("growth", "n/rademacher", {**shape, "d": 784})["unit"], "wgmma_s8+bf16")
        gram = {"n": 32768, "d": 784, "p": 256, "m": 4096}
        for portable, unit in ((False, "wgmma_s8"), (True, "mma_s8")):
            found = self.beside("gram", "tangents", gram, portable)
            self.assertEqual(found["unit"], unit)
            self.assertAlmostEqual(found["ms"], 1e3 * 6 * 32768**2 * 1040 / CEILINGS[unit])
        many = {"n": 8192, "d": 784, "m": 65536}
        gates, counts = 2 * 8192 * 65536 * 784, 8192 * 8192 * 65536
        for portable, unit, ms in ((False, "wgmma_s8+wgmma_b1", 3e3 * gates / CEILINGS["wgmma_s8"]),
                                   (True, "bf16+mma_b1", 1e3 * gates / CEILINGS["bf16"])):
            found = self.beside("dense", "rademacher", many, portable)
            self.assertEqual(found["unit"], unit)
            self.assertAlmostEqual(found["ms"], ms + 1e3 * counts / CEILINGS[unit.split("+")[1]])
        self.assertEqual(self.beside("dense", "rademacher", many, without=("wgmma_b1",))["unit"], "wgmma_s8+mma_b1")
        product = 4 * 131072 * 784 * 256
        for portable, unit, ms in ((False, "wgmma_s8", 6e3 * product / CEILINGS["wgmma_s8"]),
                                   (True, "bf16", 3e3 * product / CEILINGS["bf16"])):
            found = self.beside("operator", "tangents", {"n": 131072, "d": 784, "p": 256, "m": 4096, "r": 1}, portable)
            self.assertEqual(found["unit"], unit)
            self.assertAlmostEqual(found["ms"], ms)


class Float64(InFolder):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(3)
        n, d, p, m = 150, 20, 8, 96
        signs = lambda *shape: random.choice(np.float32([-1, 1]), shape)  # noqa: E731
        self.all = {"X": random.standard_normal((n, d), dtype=np.float32), "y": random.standard_normal(n, dtype=np.float32),
                    "U": random.standard_normal((p, d), dtype=np.float32), "V": signs(m, p), "a": signs(m)}
        X, U, V, a = (self.all[name].astype(float) for name in ("X", "U", "V", "a"))
        self.Z = X @ U.T @ V.T / np.sqrt(p)
        self.G = ((self.Z > 0) * a) @ V / np.sqrt(p * m)
        self.f = np.maximum(self.Z, 0) @ a / np.sqrt(m)
        self.rows = check.sampled_rows(n)

    def test_truth_is_the_formulas(self):
        X = self.all["X"].astype(float)
        kernel = check.truth(check.Inputs("ntk", **self.all))["K"]
        np.testing.assert_allclose(kernel, ((X @ X.T) * (self.G @ self.G.T))[np.ix_(self.rows, self.rows)], rtol=1e-10)
        change = check.truth(check.Inputs("step", **self.all))["change"]
        np.testing.assert_allclose(change, -((self.G * (self.f - self.all["y"])[:, None]).T @ X), rtol=1e-9)
        wide = check.truth(check.Inputs("wide", **{**self.all, "X": self.all["X"][:, :8], "U": None}))
        gates = X[self.rows, :8] @ self.all["V"].T > 0
        np.testing.assert_array_equal(wide["gates"], gates)
        np.testing.assert_allclose(wide["f"][:, 0], np.maximum(X[self.rows, :8] @ self.all["V"].T, 0) @ self.all["a"] / 96**0.5)
        dense = check.truth(check.Inputs("dense", **{**self.all, "X": self.all["X"][:, :8], "U": None}))
        H = X[self.rows, :8]
        np.testing.assert_allclose(dense["K"], (H @ H.T) * (gates.astype(float) @ gates.T) / 96)

    def test_kernels_of_gradients(self):
        inputs = check.Inputs("operator", X=self.all["X"], v=np.float32(np.eye(150)[:, :3]), G=np.float32(self.G))
        kernel = (inputs.X.astype(float) @ inputs.X.T) * (inputs.G.astype(float) @ inputs.G.T)
        product = check.from_gradients(inputs, inputs.G)["Kv"]
        np.testing.assert_allclose(product, kernel[self.rows, :3], rtol=1e-4, atol=1e-6)
        inputs.op = "gram"
        np.save(self.folder / "one.K.npy", 1.01 * kernel[np.ix_(self.rows, self.rows)])
        self.assertAlmostEqual(check.errors(inputs, None, self.folder / "one")["rel_k"], 0.01, places=5)
        np.save(self.folder / "one.gradients.npy", 10 * inputs.G)  # the G that it started from
        self.assertGreater(check.errors(inputs, None, self.folder / "one")["rel_k"], 0.9)
        check.forget(self.folder / "one")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_flips_are_counted(self):
        gates = self.Z[self.rows] > 0
        wanted = {"G": self.G[self.rows], "gates": gates}
        turned = gates.copy()
        turned[3, 5] ^= True
        check.write_gates(self.folder / "one.gates.bin", turned)
        self.assertEqual((self.folder / "one.gates.bin").stat().st_size, check.SAMPLE * 16)  # whole words
        np.save(self.folder / "one.G.npy", self.G[self.rows])
        found = check.errors(check.Inputs("wide", self.all["X"]), wanted, self.folder / "one", True)
        self.assertEqual(found, {"flips": 1 / gates.size, "rel_g": 0.0, "rel_k": None, "bit_exact": True})


if __name__ == "__main__":
    unittest.main()
