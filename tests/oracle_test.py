#!/usr/bin/env python3
"""The independent oracle: numpy in double and Python's integers against the files that the program writes.

From the materialised U, V, A alone:
    h = U x/√p    z = V h    f = Aᵀσ(z)/√m    J = ∂f/∂(U, V, A), row i·k + c for sample i, output c
    K = J J'ᵀ over the trained factors; trace (1/k)·Σ_c K^cc; sum-of-logits (1/k)·Σ_cc' K^cc'
Exact networks (V, A = ±1 and relu, leaky_relu or abs): ĥ from X and U by the fixed-point contract, and from it z, gates,
Ĝ, f̂ and S as integers, which must be equal. Shares no code with the library; see fntk_files.py.
"""

import itertools
import math
import tempfile
import unittest
from pathlib import Path

import numpy as np

import fntk_files as files
from fntk_files import fntk, options

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # of K, G, f: Frobenius norm, and maximum over max|K|
DTYPE = {"float32": np.float32, "float64": np.float64}
DOWNS = ("identity", "gaussian", "orthonormal", "pca", "srht")
UPS = ("gaussian", "rademacher", "srht")
ACTIVATIONS = ("relu", "leaky_relu", "abs", "erf", "gelu", "tanh", "softplus")
TRAINS = ("down", "up", "readout", "down+up", "down+readout", "up+readout", "down+up+readout")
LEFT_SLOPE = {"relu": 0.0, "leaky_relu": 0.01, "abs": -1.0}  # σ'(z) for z ≤ 0
N, N2, DIM, RANK, WIDTH = 37, 19, 41, 13, 203

erf = np.vectorize(math.erf, otypes=[float])


def sigma(name, z):
    """σ(z) and σ'(z)."""
    if name in LEFT_SLOPE:
        slope = np.where(z > 0, 1.0, LEFT_SLOPE[name])
        return slope * z, slope
    if name == "erf":
        return erf(z), 2 / math.sqrt(math.pi) * np.exp(-z * z)
    if name == "gelu":
        below = (1 + erf(z / math.sqrt(2))) / 2
        return z * below, below + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    if name == "tanh":
        return np.tanh(z), 1 / np.cosh(z) ** 2
    return np.logaddexp(0, z), 1 / (1 + np.exp(-z))  # softplus


class Oracle:
    """The network of a materialised file, in double."""

    def __init__(self, path):
        self.metadata, tensors = files.read_safetensors(path)
        self.dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        self.u, self.v, self.a = (tensors[name].astype(np.float64) for name in "UVA")
        self.rank, self.dim = self.u.shape
        self.width, self.outputs = self.a.shape

    def forward(self, x, activation):
        """h, z, f at the rows of x."""
        h = x.astype(np.float64) @ self.u.T / math.sqrt(self.rank)
        z = h @ self.v.T
        return h, z, sigma(activation, z)[0] @ self.a / math.sqrt(self.width)

    def gradient_factor(self, x, activation):
        """G with ∂f_c/∂U = G^c xᵀ: n × k × p."""
        slope = sigma(activation, self.forward(x, activation)[1])[1]
        return np.einsum("ir,rc,rq->icq", slope, self.a, self.v) / math.sqrt(self.rank * self.width)

    def jacobian(self, x, activation, train):
        """∂f/∂(trained factors): n × k × parameters."""
        h, z, _ = self.forward(x, activation)
        value, slope = sigma(activation, z)
        n, k, parts = len(x), self.outputs, []
        if "down" in train:
            g = self.gradient_factor(x, activation)
            parts.append(np.einsum("icq,ij->icqj", g, x.astype(np.float64)).reshape(n, k, -1))
        if "up" in train:
            parts.append(np.einsum("ir,rc,iq->icrq", slope, self.a, h).reshape(n, k, -1) / math.sqrt(self.width))
        if "readout" in train:
            parts.append(np.einsum("ir,ce->icre", value, np.eye(k)).reshape(n, k, -1) / math.sqrt(self.width))
        return np.concatenate(parts, axis=2)

    def kernel(self, x, x2, activation, train, output):
        rows, cols = (self.jacobian(data, activation, train) for data in (x, x2))
        if output == "sum-of-logits":
            return rows.sum(axis=1) @ cols.sum(axis=1).T / self.outputs
        if output == "trace":
            return sum(rows[:, c] @ cols[:, c].T for c in range(self.outputs)) / self.outputs
        flat = rows.shape[2]
        return rows.reshape(-1, flat) @ cols.reshape(-1, flat).T


def covering_design():
    """35 cases in which every down meets every activation, and every up both of them; see the test of it."""
    for (i, down), (j, activation) in itertools.product(enumerate(DOWNS), enumerate(ACTIVATIONS)):
        up = UPS[(i + j) % 3]
        rank = 0 if down == "identity" else 16 if up == "srht" else RANK
        yield dict(down=down, up=up, activation=activation, rank=rank, width=WIDTH, outputs=(1, 3)[(j + i // 2) % 2],
                   precision=("float32", "float64")[(i + j // 2) % 2], train=TRAINS[(2 * i + j // 3) % 7], seed=1000 * i + j + 3)


def setUpModule():
    files.program()


class ProgramCase(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def network(self, data, **spec):
        """Writes the data and the materialised network; returns the options that draw it again, and the oracle."""
        self.data = files.write_npy(self.folder / "x.npy", data)
        self.spec = options(no_normalize=True, **spec)
        path = self.folder / "net.safetensors"
        fntk("network", self.data, *self.spec, "--out", path, "--materialize")
        oracle = Oracle(path)
        self.assertEqual(set(oracle.dtypes.values()), {np.dtype(DTYPE[spec["precision"]])})
        return oracle

    def tangent(self, *more):
        path = self.folder / "tangent.safetensors"
        fntk("tangent", self.data, *self.spec, *more, "--out", path)
        return files.read_safetensors(path)[1]

    def gram(self, *more, command="gram"):
        path = self.folder / "k.npy"
        fntk(command, self.data, *self.spec, *more, "--out", path)
        return np.load(path)

    def assert_close(self, got, expected, precision, what):
        self.assertEqual(got.shape, expected.shape, what)
        self.assertEqual(got.dtype, DTYPE[precision], what)
        self.assertLessEqual(files.largest_difference(got, expected), TOLERANCE[precision], what)

    def assert_equal(self, got, expected, dtype, what):
        self.assertEqual((got.shape, got.dtype), (expected.shape, np.dtype(dtype)), what)
        self.assertEqual(np.count_nonzero(got.astype(object) != expected), 0, f"{what}: entries that differ")

    def check_integers(self, data, oracle, tangent, spec):
        """Every integer of the tangent, from the data on, and the real tensors beside them."""
        wide = spec["precision"] == "float64"
        h, e = files.hidden_integers(data, None if spec["down"] == "identity" else oracle.u, spec["precision"])
        self.assert_equal(tangent["H_int"], h, np.int64 if wide else np.int32, "H_int")
        self.assert_equal(tangent["H_exp"], e, np.int32, "H_exp")
        np.testing.assert_array_equal(tangent["H"], np.ldexp(h.astype(np.float64), e[:, np.newaxis]))
        gates, g, f, s = files.exact_sums(h, oracle.v, oracle.a)
        np.testing.assert_array_equal(files.unpack_bits(tangent["gates"], oracle.width), gates)
        self.assert_equal(tangent["G_int"], g.reshape(len(h), -1), np.int32, "G_int")
        self.assert_equal(tangent["S_int"], s, np.int32, "S_int")
        if max(abs(value) for value in f.ravel()) < 2**63:
            self.assert_equal(tangent["f_int"], f, np.int64, "f_int")
        else:
            self.assertNotIn("f_int", tangent)
        closed = LEFT_SLOPE[spec["activation"]]
        real_g = (closed * s + (1 - closed) * g) / math.sqrt(oracle.rank * oracle.width)
        self.assert_close(tangent["G"], real_g.reshape(len(h), -1), spec["precision"], "G from integers")
        return gates


class TheOracleItself(unittest.TestCase):
    def test_philox_gives_the_published_known_answers(self):
        answers = [([0] * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
                   ([2**32 - 1] * 4, (2**32 - 1,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
                   ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], (0xA4093822, 0x299F31D0),
                    "d16cfe09 94fdcceb 5001e420 24126ea1")]
        for counter, key, answer in answers:
            lanes = files.philox([[word] for word in counter], key)[:, 0]
            self.assertEqual(" ".join(f"{int(word):08x}" for word in lanes), answer)

    def test_its_jacobian_is_the_central_difference_of_its_outputs(self):
        rng = np.random.default_rng(3)
        oracle = object.__new__(Oracle)
        oracle.u, oracle.v, oracle.a = rng.standard_normal((3, 5)), rng.standard_normal((11, 3)), rng.standard_normal((11, 2))
        oracle.rank, oracle.dim, oracle.width, oracle.outputs = 3, 5, 11, 2
        x, step = rng.standard_normal((4, 5)), 1e-6
        for activation in ACTIVATIONS:
            numeric = []
            for factor in (oracle.u, oracle.v, oracle.a):
                for place in np.ndindex(factor.shape):
                    kept = factor[place]
                    ends = []
                    for factor[place] in (kept + step, kept - step):
                        ends.append(oracle.forward(x, activation)[2])
                    factor[place] = kept
                    numeric.append((ends[0] - ends[1]) / (2 * step))
            exact = oracle.jacobian(x, activation, "down+up+readout")
            np.testing.assert_allclose(np.stack(numeric, axis=2), exact, rtol=0, atol=1e-8, err_msg=activation)

    def test_the_covering_design_has_every_pair(self):
        cases = list(covering_design())
        values = {"down": DOWNS, "up": UPS, "activation": ACTIVATIONS, "precision": DTYPE, "outputs": (1, 3), "train": TRAINS}
        for one, other in itertools.combinations(values, 2):
            if {one, other} & {"train"} and {one, other} & {"down", "activation"}:
                continue  # 35 cases cannot hold them; three kernels a case make up for it
            missing = set(itertools.product(values[one], values[other])) - {(case[one], case[other]) for case in cases}
            self.assertFalse(missing, f"{one} × {other}")


class EveryFamilyAgreesWithTheOracle(ProgramCase):
    def check(self, spec):
        precision, activation, train = spec["precision"], spec["activation"], spec["train"]
        data, other = (files.sphere(n, DIM, spec["seed"] + n, DTYPE[precision]) for n in (N, N2))
        against = files.write_npy(self.folder / "x2.npy", other)
        oracle = self.network(data, **spec)
        homogeneous = activation in LEFT_SLOPE
        for batch in (other, data):
            h, z, f = oracle.forward(batch, activation)
            if homogeneous:  # a gate is a decision: no case may hinge on rounding
                doubt = 64 * np.finfo(DTYPE[precision]).eps * np.linalg.norm(h, axis=1, keepdims=True)
                self.assertTrue((np.abs(z) > doubt).all(), "choose another seed")
        tangent = self.tangent(*(["--gates"] if homogeneous else []))
        self.assert_close(tangent["H"], h, precision, "H")
        self.assert_close(tangent["f"], f, precision, "f")
        self.assert_close(tangent["G"], oracle.gradient_factor(data, activation).reshape(N, -1), precision, "G")
        if homogeneous:
            np.testing.assert_array_equal(files.unpack_bits(tangent["gates"], WIDTH), z > 0)
        exact = homogeneous and spec["up"] != "gaussian"
        self.assertEqual({"H_int", "H_exp", "G_int", "f_int", "S_int"} <= set(tangent), exact)
        if exact:
            self.check_integers(data, oracle, tangent, spec)

        following = TRAINS[(TRAINS.index(train) + 2) % 7]
        full = self.gram("--kernel", "full")
        np.testing.assert_array_equal(full, full.T)
        self.assert_close(full, oracle.kernel(data, data, activation, train, "full"), precision, f"full kernel of {train}")
        place = self.spec.index(train)
        for self.spec[place], output in ((following, "trace"), (train, "sum-of-logits")):
            expected = oracle.kernel(data, other, activation, self.spec[place], output)
            got = self.gram("--kernel", output, "--against", against)
            self.assert_close(got, expected, precision, f"{output} kernel of {self.spec[place]}")

    def test_in_a_covering_design(self):
        for spec in covering_design():
            with self.subTest(**spec):
                self.check(spec)

    def test_with_a_rank_above_the_dimension(self):
        for down, rank in (("gaussian", 53), ("srht", 64)):
            with self.subTest(down=down):
                self.check(dict(down=down, up="rademacher", activation="relu", rank=rank, width=WIDTH, outputs=3,
                                precision="float32", train="down+up", seed=7))

    def test_with_one_sample_one_unit_and_rank_one(self):
        data = files.sphere(1, 1, 1, np.float64)
        spec = dict(down="gaussian", up="srht", activation="abs", rank=1, width=1, precision="float64", train="down+up")
        oracle = self.network(data, **spec)
        self.check_integers(data, oracle, self.tangent("--gates"), spec)
        self.assert_close(self.gram(), oracle.kernel(data, data, "abs", "down+up", "full"), "float64", "1 × 1 kernel")


class IntegersFromUnusualData(ProgramCase):
    def check(self, data, **spec):
        spec = dict(dict(activation="relu", width=WIDTH, outputs=3, precision="float32", train="down", seed=5), **spec)
        oracle = self.network(data.astype(DTYPE[spec["precision"]]), **spec)
        tangent = self.tangent("--gates")
        gates = self.check_integers(data, oracle, tangent, spec)
        return oracle, tangent, gates

    def families(self, check):
        for down, up, precision in itertools.product(("identity", "srht", "gaussian"), ("rademacher", "srht"), DTYPE):
            spec = dict(down=down, up=up, precision=precision, rank=0 if down == "identity" else 16)
            with self.subTest(**spec):
                check(spec)

    def test_f_int_is_left_out_where_it_exceeds_int64(self):
        data = np.where(np.random.default_rng(15).random((4, 1024)) < 0.5, -1.0, 1.0) * (1 - 2.0**-20)
        self.data = files.write_npy(self.folder / "x.npy", data)
        self.spec = options(no_normalize=True, down="identity", up="rademacher", width=32768, precision="float64", seed=3)
        tangent = self.tangent()
        f = (tangent["H_int"].astype(object) * tangent["G_int"]).sum(axis=1, keepdims=True)
        self.assertGreater(max(abs(value) for value in f.ravel()), 2**63, "choose another seed")
        self.assertNotIn("f_int", tangent)
        scale = np.ldexp(1 / math.sqrt(32768), tangent["H_exp"])[:, np.newaxis]
        self.assert_close(tangent["f"], f.astype(np.float64) * scale, "float64", "f")

    def test_small_integers_tie_at_zero_and_close_the_gate(self):
        data = np.random.default_rng(11).integers(-2, 3, (N, 24)).astype(np.float64)

        def check(spec):
            oracle, tangent, gates = self.check(data, activation="abs", **spec)
            ties = tangent["H_int"].astype(np.int64) @ oracle.v.astype(np.int64).T == 0
            if spec["down"] != "gaussian":
                self.assertGreater(ties.sum(), 100, "the data has no ties to test")
            self.assertFalse(gates[ties].any())

        self.families(check)

    def test_a_zero_row_is_zero_and_leaves_the_others_alone(self):
        data = files.sphere(9, DIM, 12)
        data[4] = 0

        def check(spec):
            oracle, tangent, gates = self.check(data, activation="leaky_relu", train="down+up", **spec)
            for name in ("H", "H_int", "H_exp", "G_int", "f", "f_int"):
                self.assertFalse(tangent[name][4].any(), name)
            self.assertFalse(gates[4].any())
            closed = 0.01 * tangent["S_int"].ravel() / math.sqrt(oracle.rank * WIDTH)
            self.assert_close(tangent["G"][4], closed, spec["precision"], "G at x = 0: every gate closed")
            kernel, expected = self.gram("--kernel", "full"), oracle.kernel(data, data, "leaky_relu", "down+up", "full")
            self.assert_close(kernel, expected, spec["precision"], "kernel with a zero row")
            self.assertFalse(kernel[12:15].any())

        self.families(check)

    def test_duplicated_rows_have_equal_integers_and_equal_kernel_rows(self):
        data = files.sphere(8, DIM, 13)[[0, 1, 2, 3, 0, 4, 5, 0, 6, 7]]

        def check(spec):
            _, tangent, _ = self.check(data, **spec)
            del tangent["S_int"]
            for name, tensor in tangent.items():
                np.testing.assert_array_equal(tensor[[4, 7]], tensor[[0, 0]], name)

        self.families(check)

    def test_a_power_of_two_in_front_of_a_row_moves_only_its_exponent(self):
        base = files.sphere(6, DIM, 14)
        powers = np.array([0, 1, -1, 30, -40, 60])

        def check(spec):
            _, tangent, _ = self.check(base, **spec)
            _, scaled, _ = self.check(np.ldexp(base, powers[:, np.newaxis]), **spec)
            for name in ("H_int", "G_int", "S_int", "f_int", "gates"):
                np.testing.assert_array_equal(scaled[name], tangent[name], name)
            np.testing.assert_array_equal(scaled["H_exp"] - tangent["H_exp"], powers)

        self.families(check)


class SeedsGiveTheDocumentedSigns(ProgramCase):
    def test_v_and_a_are_philox_bits_at_their_documented_places(self):
        for up, rank, outputs, seed in (("rademacher", 13, 3, 1), ("rademacher", 70, 1, 2**40 + 9), ("srht", 16, 3, 2**64 - 1),
                                        ("srht", 64, 2, 4), ("srht", 1, 1, 0)):
            with self.subTest(up=up, rank=rank, seed=seed):
                oracle = self.network(files.sphere(2, 7, 1), up=up, rank=rank, down="gaussian", width=WIDTH, outputs=outputs,
                                      seed=seed, precision="float32")
                draw = files.rademacher_up if up == "rademacher" else files.srht_up
                np.testing.assert_array_equal(oracle.v, draw(seed, WIDTH, rank))
                np.testing.assert_array_equal(oracle.a, files.readout(seed, WIDTH, outputs))
                self.assertEqual(oracle.metadata["scheme"], "1")

    def test_srht_pads_the_rank_of_the_identity(self):
        oracle = self.network(files.sphere(2, DIM, 1), up="srht", down="identity", width=WIDTH, seed=6, precision="float64")
        np.testing.assert_array_equal(oracle.v, files.srht_up(6, WIDTH, DIM))

    def test_a_wider_network_of_the_same_seed_begins_with_the_narrower_one(self):
        for up in UPS:
            narrow, wide = (self.network(files.sphere(2, 7, 1), up=up, rank=4, width=width, outputs=2, seed=3, precision="float32")
                            for width in (100, 333))
            np.testing.assert_array_equal(wide.v[:100], narrow.v)
            np.testing.assert_array_equal(wide.a[:100], narrow.a)


def limit_expectations(name, x, x2):
    """E σ'σ' and E σσ at infinite width, angles by atan2 (Cho & Saul 2009, Williams 1997)."""
    rho, length, length2 = x @ x2.T, np.linalg.norm(x, axis=1), np.linalg.norm(x2, axis=1)
    if name == "erf":
        scale = np.outer(1 + 2 * length**2, 1 + 2 * length2**2)
        return 4 / math.pi / np.sqrt(scale - 4 * rho**2), 2 / math.pi * np.arcsin(2 * rho / np.sqrt(scale))
    u, w = x / length[:, np.newaxis], x2 / length2[:, np.newaxis]
    theta = 2 * np.arctan2(*(np.linalg.norm(u[:, np.newaxis] + sign * w, axis=2) for sign in (-1, 1)))
    k0 = (math.pi - theta) / (2 * math.pi)
    k1 = np.outer(length, length2) * (np.sin(theta) + (math.pi - theta) * np.cos(theta)) / (2 * math.pi)
    closed = LEFT_SLOPE[name]
    return closed + (1 - closed) ** 2 * k0, closed * rho + (1 - closed) ** 2 * k1


class LimitsAreTheClosedFormulas(ProgramCase):
    def test_gram_with_limit(self):
        rng = np.random.default_rng(21)
        x, x2 = rng.standard_normal((N, 9)), rng.standard_normal((N2, 9))  # rows of any length
        x[1], x[2], x2[0] = x[0], -x[0], x[0]                             # equal and opposite
        against = files.write_npy(self.folder / "x2.npy", x2)
        for name, train in itertools.product(("relu", "leaky_relu", "abs", "erf"), ("up", "readout", "down+readout")):
            with self.subTest(activation=name, train=train):
                self.network(x, rank=4, activation=name, train=train, outputs=2, precision="float64")
                for other, more in ((x, []), (x2, ["--against", against])):
                    slopes, values = limit_expectations(name, x, other)
                    expected = {"up": x @ other.T * slopes, "readout": values}.get(train, x @ other.T * slopes + values)
                    self.assert_close(self.gram("--limit", *more), expected, "float64", "trace")
                    full = self.gram("--limit", "--kernel", "full", *more)
                    self.assert_close(full, np.kron(expected, np.eye(2)), "float64", "full")
                    np.testing.assert_array_equal(self.gram(*more, command="limit"), self.gram("--limit", *more))

    def test_limit_at_a_fixed_down_factor(self):
        x = files.sphere(N, DIM, 22, np.float64)
        for name, train in itertools.product(("relu", "erf"), TRAINS[:3]):
            with self.subTest(activation=name, train=train):
                oracle = self.network(x, rank=8, down="gaussian", activation=name, train=train, precision="float64", seed=2)
                h = x @ oracle.u.T / math.sqrt(8)
                slopes, values = limit_expectations(name, h, h)
                expected = {"down": x @ x.T * slopes, "up": h @ h.T * slopes, "readout": values}[train]
                self.assert_close(self.gram("--fixed-down", command="limit"), expected, "float64", "fixed-down limit")


if __name__ == "__main__":
    unittest.main()
