"""Files, processes, random numbers and exact integers for the tests of the program, written from the descriptions alone:
nothing here is shared with the library, so that agreement means something. Standard library and numpy only.

    run, fntk      start $FNTK_PROGRAM                 read_safetensors    8-byte header length, JSON, raw data
    write_idx      the MNIST family's format           philox, words       Philox4x32-10 as kernels/philox.hpp lays it out
    exact_sums     gates and sums over the width       hidden_integers     the fixed point of X, U and H
"""

import gzip
import itertools
import json
import math
import os
import resource
import signal
import struct
import subprocess
from pathlib import Path

import numpy as np

SAFETENSORS_TYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "u1"}


def program():
    path = os.environ.get("FNTK_PROGRAM")
    if not path:
        raise RuntimeError("FNTK_PROGRAM is not set: name the built program, e.g. build/release/bin/fntk")
    return path


def run(*arguments, environment=None, largest_file=None):
    """The finished process; stdout and stderr are text and no terminal. A write beyond `largest_file` bytes fails."""

    def limit_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run([program(), *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})},
                          preexec_fn=None if largest_file is None else limit_files)


def fntk(*arguments, environment=None):
    """Runs the program and demands success: exit code 0 and a quiet stderr. Returns what it wrote to stdout."""
    process = run(*arguments, environment=environment)
    command = "fntk " + " ".join(map(str, arguments))
    assert process.returncode == 0, f"{command}\nexit code {process.returncode}: {process.stderr}"
    assert process.stderr == "", f"{command}\nwrote to stderr: {process.stderr}"
    return process.stdout


def options(**named):
    """width=203, no_normalize=True -> --width 203 --no-normalize; None and False are left out."""
    arguments = []
    for name, value in named.items():
        if value is not None and value is not False:
            arguments += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    return arguments


# --- files ----------------------------------------------------------------------------------------------------------


def read_safetensors(path):
    """(metadata, {name: array}); every byte of the file must belong to the header or to one tensor."""
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length].decode("utf-8")), raw[8 + length :]
    metadata = header.pop("__metadata__", {})
    tensors, covered = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert begin == covered, f"{path}: tensor {name} begins at {begin}, not at {covered}"
        tensors[name] = np.frombuffer(data[begin:end], SAFETENSORS_TYPES[entry["dtype"]]).reshape(entry["shape"])
        covered = end
    assert covered == len(data), f"{path}: {len(data) - covered} bytes belong to no tensor"
    return metadata, tensors


def write_npy(path, array):
    np.save(path, array)
    return path


def write_csv(path, array):
    """Shortest decimals that read back as the same double."""
    rows = [",".join(repr(float(value)) for value in row) for row in np.atleast_2d(array)]
    Path(path).write_text("\n".join(rows) + "\n", encoding="ascii")
    return path


def write_idx(path, array):
    """Unsigned bytes: two zeros, type 8, number of dimensions, big-endian extents, data; compressed for .gz."""
    raw = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    raw += array.astype(np.uint8).tobytes()
    Path(path).write_bytes(gzip.compress(raw, mtime=0) if str(path).endswith(".gz") else raw)
    return path


def sphere(rows, dim, seed, dtype=np.float32):
    """Rows of unit length in double, rounded to dtype."""
    x = np.random.default_rng(seed).standard_normal((rows, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


def largest_difference(got, expected):
    """Frobenius norm of the difference over that of expected, or the largest difference over the largest entry."""
    if not expected.size or not expected.any():
        return float(np.abs(got).max(initial=0.0))
    difference = got.astype(np.float64) - expected
    return max(np.linalg.norm(difference) / np.linalg.norm(expected), np.abs(difference).max() / np.abs(expected).max())


def unpack_bits(gates, width):
    """Rows of little-endian bits as a boolean matrix; bits behind the width must be 0."""
    bits = np.unpackbits(gates, axis=1, bitorder="little").astype(bool)
    assert not bits[:, width:].any(), "a gate behind the width is set"
    return bits[:, :width]


# --- random numbers: kernels/philox.hpp and the layout in kernels/signs.hpp ---------------------------------------------

UP, UP_SIGNS, READOUT = 1, 2, 3
SCHEME = 1
LOW = np.uint64(0xFFFFFFFF)


def philox(counter, key):
    """Ten rounds on an array of counters (4 × N); key is two 32-bit words. Returns 4 × N."""
    c = [np.asarray(word, np.uint64) & LOW for word in counter]
    key0, key1 = key
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(key0), b & LOW, (a >> np.uint64(32)) ^ c[3] ^ np.uint64(key1), a & LOW]
        key0, key1 = (key0 + 0x9E3779B9) % 2**32, (key1 + 0xBB67AE85) % 2**32
    return np.stack(c)


def words(seed, stream, indices):
    """Word w of a stream is lane w % 4 of the block with counter (w/4 low, w/4 high, stream, scheme)."""
    index = np.asarray(indices, np.uint64)
    block, lane = index // np.uint64(4), (index % np.uint64(4)).astype(np.intp)
    constant = [np.full_like(block, value) for value in (stream, SCHEME)]
    lanes = philox([block & LOW, block >> np.uint64(32), *constant], (seed % 2**32, seed >> 32))
    return np.take_along_axis(lanes, lane[np.newaxis], axis=0)[0]


def signs(seed, stream, first_words, count):
    """One row for each first word: bits 0 to count − 1, from the lowest, as ±1 (a set bit is +1)."""
    bit = np.arange(count, dtype=np.uint64)
    index = np.asarray(first_words, np.uint64)[:, np.newaxis] + bit // np.uint64(32)
    bits = (words(seed, stream, index.ravel()).reshape(index.shape) >> (bit % np.uint64(32))) & np.uint64(1)
    return np.where(bits == 1, 1, -1)


def power_of_two(n):
    return 1 << (n - 1).bit_length()


def rademacher_up(seed, width, rank):
    return signs(seed, UP, np.arange(width) * ((rank + 31) // 32), rank)


def srht_up(seed, width, rank):
    """Row r: row r mod P of the Hadamard matrix of order P ≥ rank, by the signs of block r/P; its first columns."""
    order = power_of_two(rank)
    r, q = np.arange(width), np.arange(rank)
    common = (r[:, np.newaxis] % order) & q
    parity = sum((common >> bit) & 1 for bit in range(order.bit_length())) % 2
    diagonal = signs(seed, UP_SIGNS, np.arange((width + order - 1) // order) * ((order + 31) // 32), rank)
    return np.where(parity == 1, -1, 1) * diagonal[r // order]


def readout(seed, width, outputs):
    return signs(seed, READOUT, [c << 34 for c in range(outputs)], width).T


# --- the exact-integer contract -----------------------------------------------------------------------------------------


def exponent(values):
    """E with max|x| < 2^E, 2^(E−1) ≤ max|x|; 0 for zeros."""
    return np.frexp(np.abs(values).max(axis=-1))[1].astype(np.int64)


def digits(scaled, bits, count):
    """Digits of |scaled| ≤ 1, each the remainder rounded half to even at 2^-bits, 2^-2bits, ..."""
    result = []
    for _ in range(count):
        scaled = np.ldexp(scaled, bits)
        digit = np.rint(scaled)
        scaled = scaled - digit
        result.append(digit.astype(np.int64))
    return result


def hidden_integers(x, u, precision):
    """ĥ and its exponents from X and U (None: the identity): digits of 22 and 21 bits, one each in float32 and three in
    float64, exact integer products summed from the last pair to the first, times 1/√p, rounded to b bits a row."""
    count = 1 if precision == "float32" else 3
    x = x.astype(np.float64)
    rows = exponent(x)
    scaled = np.ldexp(x, -rows[:, np.newaxis])
    rank, shift = x.shape[1], 0
    if u is not None:
        rank, shift = len(u), int(exponent(u.ravel()))
        of_x, of_u = digits(scaled, 22, count), digits(np.ldexp(u, -shift), 21, count)
        total = np.zeros((len(x), rank))
        for i, j in itertools.product(reversed(range(count)), repeat=2):
            product = of_x[i] @ of_u[j].T  # below 2^(22 + 21 + 6): exact in int64
            total = total + np.ldexp(product.astype(np.float64), -22 * (i + 1) - 21 * (j + 1))
        scaled = total * (1 / math.sqrt(rank))
    room, most = (30, 22) if precision == "float32" else (62, 52)
    bits = min(most, room - (rank - 1).bit_length())
    largest = exponent(scaled)
    h = np.rint(np.ldexp(scaled, (bits - largest)[:, np.newaxis])).astype(np.int64)
    return h, np.where(h.any(axis=1), rows + shift + largest - bits, 0)


def exact_sums(h, v, a):
    """gates, Ĝ (n × k × p), f̂ (Python integers) and S from integers alone."""
    v, a = v.astype(np.int64), a.astype(np.int64)
    gates = h @ v.T > 0  # |z| ≤ p·2^b ≤ 2^62
    g = np.einsum("ir,rc,rq->icq", gates.astype(np.int64), a, v)
    f = (h.astype(object)[:, np.newaxis] * g).sum(axis=2)
    return gates, g, f, a.T @ v
