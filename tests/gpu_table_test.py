#!/usr/bin/env python3
"""The tables of bench/gpu with their goals, the published ones, and when two devices' comparisons agree."""

import json
import unittest
from xml.etree import ElementTree

from gpu_rows import CEILINGS, DEVICE, ROOT, row

import floors  # noqa: E402
import goals  # noqa: E402
import growth_figure  # noqa: E402
import same_rows  # noqa: E402
import store  # noqa: E402
import table  # noqa: E402
from problems import CHAIN, plan, problems  # noqa: E402


class Table(unittest.TestCase):
    def test_classes_are_never_mixed(self):
        rows = [row(ms=2.0), row(impl="torch", mode="fp32", ms=50.0), row(impl="torch-compile", mode="fp32", ms=40.0),
                row(impl="torch", mode="int8-fp32", ms=30.0), row(impl="jax", mode="bf16", ms=6.0), row(impl="jax", mode="tf32", ms=12.0),
                row(impl="torch", mode="int8-bf16", ms=5.0), row(impl="torch", mode="bf16", status="failed", reason="no | memory"),
                row(impl="torch", mode="bf16", ms=0.1, shape={"n": 1, "p": 256, "m": 131072})]
        line = next(line for line in table.overview(rows) if line.startswith("| wide pass, rademacher | n 16384"))
        cells = [cell.strip() for cell in line.split("|")[6:10]]
        self.assertEqual(cells, ["**15** (torch int8-fp32, 30)", "**6** (jax tf32, 12)", "**3** (jax bf16, 6)",
                                 "**2.5** (torch int8-bf16, 5)"])
        text = table.markdown(rows, "NVIDIA H200", {"int8": 1.5e15, "copy": 4.2e12})
        self.assertIn("failed: no ¦ memory", text)
        self.assertIn("| int8 | cuBLAS, products of int8 into int32 | 1500 Top/s |", text)
        self.assertIn("| 4.2 TB/s |", text)
        self.assertNotIn("## Growth", text)

    def test_wrong_results_count_in_no_ratio(self):
        right = {"flips": None, "rel_g": 1e-3, "rel_k": None, "bit_exact": None}
        rows = [row(error={**right, "bit_exact": True}), row(impl="torch", mode="fp32", ms=9.0, error=right)]
        self.assertEqual(table.peers_of(rows[0], rows, "fp32"), [rows[1]])
        self.assertEqual(len(table.overview(rows)), 4)
        for wrong in (0.5, float("nan")):
            rows[1]["error"] = {**right, "rel_g": wrong}
            self.assertEqual(table.peers_of(rows[0], rows, "fp32"), [])
            self.assertIn("DISAGREES", "".join(table.everything(rows)))
        rows[0]["error"]["bit_exact"] = False
        self.assertEqual(len(table.overview(rows)), 3)
        self.assertIn("OTHER BITS", "".join(table.everything(rows)))

    def test_peers_of_another_family_stand_for_this_one_but_not_its_transforms(self):
        fast, product = row(case="srht", impl="torch-fht", mode="fp32", ms=1.0), row(impl="torch", mode="fp32", ms=9.0)
        explicit = row(impl="torch-explicit", mode="fp32", ms=0.5)
        of = lambda case: goals.fastest(table.peers_of(row(case=case), [fast, product, explicit], "fp32"))  # noqa: E731
        self.assertEqual(of("rademacher"), product)
        self.assertEqual(of("srht"), fast)

    def test_other_devices_are_left_out_and_newer_rows_win(self):
        other = row(ms=7.0, device={**DEVICE, "name": "NVIDIA H100"})
        text = table.markdown([row(ms=3.0), other, row(ms=5.0, commit="def")], "NVIDIA H200", {})
        self.assertIn("| 5 |", text)
        self.assertNotIn("| 3 |", text)
        self.assertNotIn("| 7 |", text)

    def test_two_digits_have_their_own_floor_and_stand_in_no_ratio_of_float32(self):
        problem = next(one for one in problems(False) if one.op == "wide")
        rates = floors.rates_of("NVIDIA H200")
        three, two = (floors.least_ms(floors.parts(problem, digits), rates) for digits in (3, 2))
        self.assertAlmostEqual(two / three, 0.75)
        own, fast = row(ms=4.0), row(impl="fntk-fast", mode="fast", ms=3.0)
        peers = [row(impl="torch", mode=mode, ms=12.0) for mode in ("fp32", "bf16")]
        lines = [line for line in table.overview([own, fast, *peers]) if line.startswith("| wide")]
        self.assertEqual([("**3**" in line, "**4**" in line) for line in lines], [(True, False), (False, True)])
        self.assertEqual(lines[1].count("torch"), 1)
        self.assertTrue(all("fast" not in peer["impl"] for peer in table.peers_of(own, [own, fast, *peers], "fp32")))

    def test_ceilings_decide(self):
        ceilings = {"int8": 1.0, "mma_s8": 0.6, "wgmma_s8": 0.9, "wgmma_s8_registers": 0.8, "wgmma_b1": 2.0, "mma_b1": 1.5}
        text = " ".join(table.decisions(ceilings))
        for part in ("1.5 × mma_s8: the kernels for compute capability 9.0 are worth it", "cost time",
                     "wgmma_b1 is 1.33 × mma_b1: the gate Gram is right on wgmma of bits", "is right on mma of bits"):
            self.assertIn(part, text)
        text = " ".join(table.decisions({**ceilings, "wgmma_b1": 1.1, "mma_b1": 0.5}))
        for part in ("wgmma_b1 is 1.1 × int8: the gate Gram would gain little", "loses to int8 products"):
            self.assertIn(part, text)
        self.assertEqual(table.decisions({"int8": 1.0}), [])

    def verdicts(self, rows):
        found = {}
        for goal in goals.GOALS:
            judged = goal.judged(rows)
            if judged and judged[1]:
                found[(goal.op, goal.case, goal.title)] = (round(judged[1][0], 3), judged[1][1])
        return found

    def test_goals(self):
        on = lambda unit, share: {"measured_ceiling": {"ms": 1.0, "unit": unit}, "fraction_of_measured_ceiling": share}  # noqa: E731
        own = row(ms=2.0, **on("wgmma_s8", 0.4))
        rows = [own, row(impl="torch-compile", mode="fp32", ms=16.0), row(impl="torch-compile", mode="bf16", ms=2.9),
                row(impl="fntk-portable", ms=3.0, **on("mma_s8", 0.36))]
        self.assertEqual(self.verdicts(rows), {
            ("wide", "rademacher", "torch.compile fp32"): (8.0, True), ("wide", "rademacher", "torch.compile bf16"): (1.45, False),
            ("wide", "rademacher", "measured ceiling mma_s8"): (0.36, True), ("wide", "rademacher", "measured ceiling wgmma_s8"): (0.4, False)})
        self.assertEqual(self.verdicts([row(**on("int8", 0.9)), row(impl="fntk-portable", **on("int8", 0.9))]), {})
        srht = self.verdicts([row(case="srht", ms=1.0), row(ms=1.8)])
        self.assertEqual(srht[("wide", "srht", "fntk's own products")], (1.8, True))

    def test_goals_of_memory(self):
        shape = {"n": 32768, "d": 784, "p": 256, "m": 4096}
        bytes_ = {"base_bytes": 10**9, "peak_bytes": 10**9 + 4 * 32768**2}
        key = ("gram", "tangents", "memory n²·4 B")
        self.assertEqual(self.verdicts([row("gram", "tangents", shape=shape, **bytes_)])[key], (1.0, True))
        bytes_["peak_bytes"] *= 2
        self.assertFalse(self.verdicts([row("gram", "tangents", shape=shape, **bytes_)])[key][1])
        huge, narrow = ({"n": 1024, "p": 256, "m": m} for m in (10**8, 10**4))
        found = self.verdicts([row(shape=huge, peak_bytes=1010), row(shape=narrow, peak_bytes=1005)])
        self.assertTrue(found[("wide", "rademacher", "memory of m = 10⁴")][1])

    def test_a_table_of_every_problem_can_be_made(self):
        rows = [row(one.problem.op, one.problem.case, one.implementation.name, mode, shape=one.problem.shape)
                for suite in ("peers", "growth") for one in plan(suite, False) for mode in one.modes]
        text = table.markdown(rows, "NVIDIA H200", CEILINGS)
        self.assertNotIn("| open |", text)
        self.assertIn("## Growth", text)
        self.assertTrue(all(f"- {name}: " in text for name in (*CHAIN, "fntk")))


class Figure(unittest.TestCase):
    def rows(self, slope):
        shape = {"n": 8192, "d": 784, "p": 128, "m": 65536}
        return [row("growth", f"{extent}/{family}", ms=0.1 * factor**slope, shape={**shape, extent: int(shape[extent] * factor)})
                for extent in "nmpd" for family in ("rademacher", "srht") for factor in (0.25, 1, 4)]

    def test_every_extent_has_a_panel_and_every_family_a_line(self):
        text = growth_figure.figure(self.rows(1), "NVIDIA H200 <1>")
        tree = ElementTree.fromstring(text)
        count = lambda name: len(tree.findall(f".//{{http://www.w3.org/2000/svg}}{name}"))  # noqa: E731
        self.assertEqual((count("polyline"), count("title")), (8, 24))
        self.assertIn("NVIDIA H200 &lt;1&gt;", text)
        self.assertEqual(growth_figure.figure(self.rows(1)[:3], "x").count("<polyline"), 1)

    def test_points_on_a_straight_line_stay_on_it(self):
        for slope in (1, 2):
            panel = growth_figure.Panel(0, 0, {"srht": growth_figure.points(self.rows(slope), "n", "srht")})
            (a, b), (c, d), (e, f) = (panel.place(*point) for point in panel.series["srht"])
            self.assertAlmostEqual((d - b) / (c - a), (f - d) / (e - c))
            self.assertTrue(0 < a < c < e < growth_figure.WIDTH and growth_figure.HEIGHT > b > d > f > 0)

    def test_ticks_are_round_and_within(self):
        self.assertEqual(growth_figure.ticks(0.05, 20), [0.1, 1, 10])
        self.assertEqual(growth_figure.ticks(0.3, 4), [0.5, 1, 2])

    def test_it_stands_beside_its_table(self):
        with_growth = [*self.rows(1), row(ms=2.0)]
        files = table.published(ROOT / "out", with_growth, "NVIDIA H200", CEILINGS)
        self.assertEqual([path.name for path in files], ["out.md", "out-growth.svg"])
        self.assertIn("(out-growth.svg)", files[ROOT / "out.md"])
        self.assertEqual([path.name for path in table.published(ROOT / "out", [row(ms=2.0)], "NVIDIA H200", {})], ["out.md"])


class FactorisedWidths(unittest.TestCase):
    def test_a_report_is_a_line_a_network(self):
        report = json.loads((ROOT / "bench/results/gpu-h200/compare.json").read_text(encoding="utf-8"))
        lines = table.factorised_widths(report)
        self.assertTrue(lines[0].startswith("fashion-mnist: 60000 training and 10000 test samples, d = 784, 10 outputs, 20 steps"))
        for network in report["rows"]:
            line = next(line for line in lines if line.startswith(f"| {network['name']} |"))
            self.assertIn(f"| {1e3 * network['seconds']['step']:.3g} |", line)


class Published(unittest.TestCase):
    def test_every_table_is_that_of_its_rows(self):
        folders = [path.parent for path in (ROOT / "bench/results").glob("*/rows.jsonl")]
        self.assertTrue(folders)
        for folder in folders:
            rows = list(store.read(folder / "rows.jsonl"))
            device = rows[-1]["device"]["name"]
            ceilings = floors.measured_rates(folder / "ceilings.jsonl", device)
            again = f"run bench/gpu/table.py {folder.relative_to(ROOT)} --publish"
            for path, text in table.published(folder, rows, device, ceilings).items():
                self.assertEqual(text, path.read_text(encoding="utf-8"), again)
            text = (ROOT / "docs/cuda.md").read_text(encoding="utf-8")
            self.assertEqual(table.in_document(text, folder.name, rows, device, ceilings), text, again)

    def test_an_excerpt_stands_between_its_marks(self):
        rows = [row(ms=2.0), row(impl="torch", mode="bf16", ms=3.0), row(impl="fntk-portable", ms=4.0)]
        before = "# Title\n\n" + table.BEGIN.format("gpu") + "old\n" + table.END + "\n\nText\n"
        text = table.in_document(before, "gpu", rows, "NVIDIA H200", {})
        self.assertTrue(text.startswith("# Title") and text.endswith("Text\n"))
        self.assertNotIn("old", text)
        self.assertEqual([line for line in text.splitlines() if line.startswith("| wide")],
                         ["| wide pass, rademacher | n 16384 p 256 m 131072 | 2 |  |  |  | 1.5 |  |"])
        self.assertEqual(table.in_document(text, "gpu", rows, "NVIDIA H200", {}), text)
        self.assertEqual(table.in_document(before, "other", rows, "NVIDIA H200", {}), before)


class SameRows(unittest.TestCase):
    ROW = {"name": "a", "width": 8, "rank": 4, "down": "srht", "up": "srht", "train": "down", "parameters_trained": 9,
           "bytes_stored": 9, "flops_per_step": 9, "certificate_held": True, "relative_error": 0.1, "lambda_max": 5.0,
           "lambda_min": 0.01, "train_loss": 3.0, "drift": 0.1, "test_accuracy": {"trained": 0.8, "ridge": None}}

    def test_rounding_agrees_and_anything_else_is_named(self):
        near = {**self.ROW, "relative_error": 0.100001, "lambda_min": 0.01001, "test_accuracy": {"trained": 0.801, "ridge": None}}
        self.assertEqual(list(same_rows.differences(self.ROW, near)), [])
        for change in ({"width": 9}, {"relative_error": 0.101}, {"lambda_max": 5.001}, {"lambda_min": None},
                       {"certificate_held": False}, {"test_accuracy": {"trained": 0.81, "ridge": None}}):
            found = list(same_rows.differences(self.ROW, {**self.ROW, **change}))
            self.assertEqual(len(found), 1, change)
            self.assertTrue(found[0].startswith(next(iter(change))), found)


if __name__ == "__main__":
    unittest.main()
