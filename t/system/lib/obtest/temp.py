# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""One scratch folder per test file, removed at its end."""

import itertools
import pathlib
import shutil
import tempfile

from .tap import at_end

_numbers = itertools.count(1)
_root = None


def temp_dir(what):
    """A new empty folder. Its path is short: sockets live there."""
    global _root  # pylint: disable=global-statement
    if _root is None:
        _root = pathlib.Path(tempfile.mkdtemp(prefix="obt-"))
        at_end(lambda: shutil.rmtree(_root, ignore_errors=True))
    folder = _root / f"{what}-{next(_numbers)}"
    folder.mkdir()
    return folder
