# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What a test finds around it: the build, the compiler, how patient to be."""

import os
import pathlib
import subprocess

TOP = pathlib.Path(os.environ.get("OB_SRCDIR") or pathlib.Path(__file__).resolve().parents[4])
BUILD = pathlib.Path(os.environ.get("OB_BUILDDIR") or TOP)
OBHOST = os.environ.get("OB_OBHOST") or str(BUILD / "obhost")
OBBENCH = os.environ.get("OB_OBBENCH") or str(BUILD / "tools/obbench")
MODULES = os.environ.get("OB_MODULE_PATH") or str(BUILD / "modules/.libs")
EXAMPLES = os.environ.get("OB_EXAMPLE_PATH") or str(BUILD / "examples/.libs")
SANITIZE = os.environ.get("OB_SANITIZE", "")
CC = os.environ.get("OB_CC") or "cc"
CXX = os.environ.get("OB_CXX") or "c++"
NODE_JS = os.environ.get("OB_NODE", "node")
LONG = os.environ.get("OB_LONG", "") not in ("", "0")

# Sanitizers make everything slower; waiting longer costs nothing when all is well.
SLOW = 4 if SANITIZE else 1


def sdk_cflags():
    """The flags a plugin is compiled with, good for the top of the build tree."""
    flags = os.environ.get("OB_SDK_CPPFLAGS")
    if flags:
        return flags.split()
    jansson = subprocess.run(["pkg-config", "--cflags", "jansson"], stdout=subprocess.PIPE,
                             text=True, check=False).stdout.split()
    return [f"-I{TOP}/include", f"-I{BUILD}/include", *jansson]


def sanitizer_cflags():
    """A plugin is built with the host's sanitizer or is refused; of the build's other switches it
    needs none."""
    return [word for word in os.environ.get("OB_SAN_CFLAGS", "").split()
            if word.startswith(("-fsanitize", "-fno-sanitize", "-fno-omit-frame"))]


def node_environment():
    """The environment of a node: sanitizers say what they have to say on stderr and exit 99."""
    env = dict(os.environ)
    env.pop("PYTHONPATH", None)
    env.setdefault("ASAN_OPTIONS", "exitcode=99:abort_on_error=0:detect_leaks=1:"
                                   "detect_stack_use_after_return=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:exitcode=99")
    env.setdefault("TSAN_OPTIONS", "exitcode=99:second_deadlock_stack=1")
    return env
