#!/usr/bin/env python3
"""libfntk.so exports namespace fntk and nothing else: no symbol of fmt, nlohmann or an instantiation of the standard
library that could meet another copy in the program that loads it.

The library is named by the environment variable FNTK_LIBRARY.
"""

import os
import re
import subprocess
import unittest

OURS = re.compile(r"^((typeinfo|typeinfo name|vtable) for )?fntk::")


def exported(library):
    """Demangled names of the symbols the dynamic table defines."""
    listing = subprocess.run(["nm", "-D", "--defined-only", "-C", library], check=True, capture_output=True, text=True)
    # address, type letter, name
    return [line.split(maxsplit=2)[2] for line in listing.stdout.splitlines()]


class ExportedSymbols(unittest.TestCase):
    def setUp(self):
        self.names = exported(os.environ["FNTK_LIBRARY"])

    def test_nothing_but_fntk(self):
        self.assertEqual([name for name in self.names if not OURS.match(name)], [])

    def test_no_internals(self):
        self.assertEqual([name for name in self.names if name.startswith(("fntk::backend::", "fntk::kernels::"))], [])

    def test_what_users_call_and_catch(self):
        for wanted in ("fntk::Network::create(", "fntk::Device::open(", "fntk::gram(", "typeinfo for fntk::Error",
                       "typeinfo for fntk::ShapeError", "vtable for fntk::KernelOperator"):
            with self.subTest(wanted):
                self.assertTrue(any(name.startswith(wanted) for name in self.names))


if __name__ == "__main__":
    unittest.main()
