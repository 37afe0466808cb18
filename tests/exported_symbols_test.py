#!/usr/bin/env python3
"""libfntk.so exports namespace fntk and nothing else: no symbol of fmt, nlohmann or an instantiation of the standard
library that could meet another copy in the program that loads it.

And all of what the public headers declare: code behind them that FNTK_API does not mark would be missing for a program
that links the shared library.

The library is named by the environment variable FNTK_LIBRARY, its object files by FNTK_OBJECTS, separated by colons.
"""

import os
import re
import subprocess
import unittest
from pathlib import Path

HEADERS = Path(__file__).resolve().parent.parent / "include" / "fntk"
OURS = re.compile(r"^((typeinfo|typeinfo name|vtable) for )?fntk::")


def symbols(*arguments):
    """(type letter, demangled name) of each symbol that nm lists."""
    listing = subprocess.run(["nm", "--defined-only", "-C", *arguments], check=True, capture_output=True, text=True)
    lines = [re.match(r"[0-9a-f]+ (\w) (.*)", line) for line in listing.stdout.splitlines()]
    return [line.groups() for line in lines if line]


def is_declared(name, headers):
    """Whether fntk::f(...) or fntk::Class::f(...) stands in a public header."""
    parts = re.match(r"fntk::(?:(\w+)::)?([^:(]+)\(", name)
    if not parts:
        return False
    scope, function = parts.groups()
    if scope:
        return re.search(rf"\b(struct|class) (FNTK_API )?{scope} (final )?[:{{]", headers) is not None
    return re.search(rf"\b{re.escape(function)}\(", headers) is not None


class ExportedSymbols(unittest.TestCase):
    def setUp(self):
        self.names = [name for _, name in symbols("-D", os.environ["FNTK_LIBRARY"])]

    def test_nothing_but_fntk(self):
        self.assertEqual([name for name in self.names if not OURS.match(name)], [])

    def test_no_internals(self):
        self.assertEqual([name for name in self.names if name.startswith(("fntk::backend::", "fntk::kernels::"))], [])

    def test_everything_declared(self):
        headers = "\n".join(path.read_text(encoding="utf-8") for path in HEADERS.glob("*.hpp"))
        # T: a function that is no inline one
        defined = {name for letter, name in symbols(*os.environ["FNTK_OBJECTS"].split(":")) if letter == "T"}
        missing = [name for name in defined - set(self.names) if is_declared(name, headers)]
        self.assertEqual(sorted(missing), [])

    def test_what_users_call_and_catch(self):
        for wanted in ("fntk::Network::create(", "fntk::Device::open(", "fntk::gram(", "typeinfo for fntk::Error",
                       "typeinfo for fntk::ShapeError", "vtable for fntk::KernelOperator"):
            with self.subTest(wanted):
                self.assertTrue(any(name.startswith(wanted) for name in self.names))


if __name__ == "__main__":
    unittest.main()
