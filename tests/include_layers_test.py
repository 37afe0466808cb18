#!/usr/bin/env python3
"""Reads the #include lines of the tree and enforces its layers; a layer includes only itself and what it stands on.

    cli -> planner, estimate -> training, spectrum_plan -> eigenvalues, kernel_model, gram_file -> solver, spectrum -> kernel_function -> kernel -> tangent -> network -> ops.hpp -> factors -> matrix, error
    src/backend/*   factors and below, other backend files, kernels/; never the domain
    src/*.cpp       of src/backend/ only ops.hpp
    src/cli/*       the public headers, its own files and other people's libraries
    kernels/*       kernels/ and the standard library
    include/fntk/*  <fntk/...> and the standard library

Run it alone with python3 tests/include_layers_test.py; the planted violations at the end show that it can fail.
"""

import re
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Each layer and the layers directly below it; what those stand on is allowed too.
STANDS_ON = {
    "export": [],
    "error": ["export"],
    "version": ["export"],
    "matrix": ["error"],
    "factors": ["matrix"],
    "ops": ["factors"],
    "device": ["ops"],
    "network": ["device"],
    "tangent": ["network"],
    "kernel": ["tangent"],
    "kernel_function": ["kernel", "limit"],
    "kernel_json": ["kernel_function", "io"],
    "gram_file": ["kernel_json"],
    "solver": ["kernel_function"],
    "kernel_model": ["solver", "regression", "kernel_json"],
    "estimate": ["kernel_model", "gram_file", "spectrum_plan", "training"],
    "spectrum": ["kernel"],
    "eigenvalues": ["spectrum"],
    "spectrum_plan": ["eigenvalues", "kernel_function"],
    "kernel_descent": ["spectrum"],
    "regression": ["spectrum"],
    "training": ["spectrum", "io", "plan", "kernel_function"],
    "plan": ["kernel"],
    "planner": ["spectrum", "limit", "plan"],
    "limit": ["network"],
    "io": ["network", "version"],
}
# Files of src/ whose layer is not the public header they are named after (alone, or with an underscore behind it).
PARTS = {
    "error": ["byte_counts"],
    "kernel": ["moments", "output_reduction", "tiles", "names.cpp"],  # names.cpp: the names of every choice, kernel outputs too
    "network": ["down_factor"],
    "kernel_function": ["kernel_bytes"],
    "kernel_model": ["model_parts"],
    "training": ["checkpoint"],
    "io": ["atomic_file", "binary", "dataset", "mapped_file", "network_file", "npy", "npy_header", "partial_file", "safetensors",
           "table", "table_csv", "table_idx"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def allowed(layer):
    """The layer and everything it stands on."""
    below = {layer}
    for name in STANDS_ON[layer]:
        below |= allowed(name)
    return below


def layer_of(path):
    """The layer of a file of include/fntk or src, None when it has none."""
    for layer, names in PARTS.items():
        if path.stem in names or path.name in names:
            return layer
    prefixes = [layer for layer in STANDS_ON if path.stem == layer or path.stem.startswith(layer + "_")]
    return max(prefixes, key=len, default=None)


def place_of(root, path):
    """One of public, cli, backend, domain, kernels, and None for other folders."""
    parts = path.relative_to(root).parts
    if parts[0] == "include":
        return "public"
    if parts[0] == "kernels":
        return "kernels"
    if parts[0] == "src":
        return {"cli": "cli", "backend": "backend"}.get(parts[1], "domain")
    return None


def resolve(root, path, name):
    """The file of the tree that an include line means, None for a header from outside."""
    for folder in (path.parent, root / "include", root / "src", root / "kernels"):
        if (folder / name).is_file():
            return (folder / name).resolve()
    return None


def violation(root, path, quote, name):
    """What is wrong with one include line, None when nothing is."""
    place, target = place_of(root, path), resolve(root, path, name)
    if target is None:
        if name.startswith("fntk/"):
            return "there is no such header"
        if place in ("public", "kernels") and not re.fullmatch(r"[a-z_0-9]+", name):
            return "only the standard library is allowed here besides the tree's own headers"
        if place == "domain" and name.startswith("CLI/"):
            return "the command line belongs to src/cli"
        return None

    target_place = place_of(root, target)
    if place == "public" and (target_place != "public" or quote == '"'):
        return "a public header includes only <fntk/...>"
    if place == "kernels":
        return None if target_place == "kernels" else "kernels/ includes nothing of src/ or include/"
    if place == "cli":
        return None if target_place in ("public", "cli") else "the program uses the public headers only"
    if target_place == "cli":
        return "only the program includes src/cli"
    if target_place == "kernels":
        return None
    if place == "backend":
        if target_place == "backend" or (target_place == "public" and target.stem in allowed("factors")):
            return None
        return "a backend never includes the domain"
    if target_place == "backend" and target.name != "ops.hpp":
        return "the domain includes of src/backend only ops.hpp"
    if path.stem == "fntk":
        return None

    layer, target_layer = layer_of(path), layer_of(target)
    for file, its_layer in ((path, layer), (target, target_layer)):
        if its_layer is None:
            return f"{file.name} has no layer: name it after a public header or enter it in PARTS of {Path(__file__).name}"
    if target_layer not in allowed(layer):
        return f"{layer} does not stand on {target_layer}"
    return None


def sources(root):
    for folder in ("include", "src", "kernels"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".hpp", ".cpp", ".cu", ".cuh", ".h"):
                yield path.resolve()


def violations(root):
    found = []
    for path in sources(root):
        for quote, name in INCLUDE.findall(path.read_text(encoding="utf-8")):
            message = violation(root, path, quote, name)
            if message:
                found.append(f"{path.relative_to(root)} includes {name}: {message}")
    return found


class Layers(unittest.TestCase):
    def test_the_tree_keeps_its_layers(self):
        self.assertGreater(len(list(sources(ROOT))), 30)
        self.assertEqual(violations(ROOT), [])

    def test_every_public_header_has_a_layer_and_is_in_the_umbrella(self):
        headers = {path.stem for path in (ROOT / "include/fntk").glob("*.hpp")} - {"fntk"}
        self.assertEqual(headers - set(STANDS_ON), set())
        umbrella = set(re.findall(r"<fntk/(\w+)\.hpp>", (ROOT / "include/fntk/fntk.hpp").read_text()))
        self.assertEqual(headers - umbrella, {"export"})


class PlantedViolations(unittest.TestCase):
    TREE = ["include/fntk/error.hpp", "include/fntk/matrix.hpp", "include/fntk/factors.hpp", "include/fntk/kernel.hpp",
            "include/fntk/network.hpp", "include/fntk/tangent.hpp", "include/fntk/spectrum.hpp", "src/backend/ops.hpp",
            "src/backend/cpu.hpp", "src/cli/plot.hpp", "src/npy.hpp", "kernels/signs.hpp"]

    def found(self, file, line):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            for name in self.TREE:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).touch()
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(f"// one line above\n{line}\n")
            return violations(root)

    def test_bad_lines_are_found(self):
        for file, line in [
            ("include/fntk/matrix.hpp", "#include <fmt/format.h>"),
            ("include/fntk/matrix.hpp", "#include <nlohmann/json.hpp>"),
            ("include/fntk/matrix.hpp", "#include <cblas.h>"),
            ("include/fntk/matrix.hpp", "#include <fntk/network.hpp>"),
            ("include/fntk/tangent.hpp", "#include <fntk/kernel.hpp>"),
            ("include/fntk/tangent.hpp", "#include <fntk/absent.hpp>"),
            ("include/fntk/tangent.hpp", '#include "network.hpp"'),
            ("include/fntk/tangent.hpp", "#include <backend/ops.hpp>"),
            ("include/fntk/tangent.hpp", "#include <signs.hpp>"),
            ("src/backend/cpu.cpp", "#include <fntk/network.hpp>"),
            ("src/backend/cpu.cpp", '#include "../npy.hpp"'),
            ("src/tangent.cpp", "#include <backend/cpu.hpp>"),
            ("src/tangent_exact.cpp", "  #  include <fntk/spectrum.hpp>"),
            ("src/device.cpp", "#include <backend/cpu.hpp>"),
            ("src/network.cpp", "#include <fntk/tangent.hpp>"),
            ("src/network.cpp", "#include <CLI/CLI.hpp>"),
            ("src/network.cpp", '#include "cli/plot.hpp"'),
            ("src/npy.cpp", "#include <fntk/kernel.hpp>"),
            ("src/unheard_of.cpp", "#include <fntk/error.hpp>"),
            ("src/cli/main.cpp", "#include <backend/ops.hpp>"),
            ("src/cli/main.cpp", '#include "../npy.hpp"'),
            ("src/cli/main.cpp", "#include <signs.hpp>"),
            ("kernels/wide.cu", "#include <fntk/matrix.hpp>"),
            ("kernels/wide.cu", '#include "../src/backend/ops.hpp"'),
        ]:
            with self.subTest(file=file, line=line):
                self.assertEqual(len(self.found(file, line)), 1)

    def test_good_lines_pass(self):
        for file, line in [
            ("include/fntk/tangent.hpp", "#include <fntk/network.hpp>"),
            ("include/fntk/tangent.hpp", "#include <functional>"),
            ("src/backend/cpu.cpp", "#include <fntk/factors.hpp>"),
            ("src/backend/cpu.cpp", "#include <signs.hpp>"),
            ("src/backend/cpu.cpp", "#include <cblas.h>"),
            ("src/tangent.cpp", "#include <backend/ops.hpp>"),
            ("src/kernel.cpp", "#include <fntk/tangent.hpp>"),
            ("src/npy.cpp", '#include "npy.hpp"'),
            ("src/npy.cpp", "#include <sys/mman.h>"),
            ("src/cli/main.cpp", "#include <CLI/CLI.hpp>"),
            ("src/cli/main.cpp", '#include "plot.hpp"'),
            ("kernels/wide.cu", '#include "signs.hpp"'),
        ]:
            with self.subTest(file=file, line=line):
                self.assertEqual(self.found(file, line), [])


if __name__ == "__main__":
    unittest.main()
