# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What can be wrong with a module that somebody wants to load, from a file that is not there to a
selftest that never returns. Each entry of WAYS makes it in a module's place, and says at which
steps a node may find it."""

import os
import random
import shutil
import struct
import subprocess

from .env import CC
from .load import NUMBERED
from .plugin import compile_plugin
from .tap import Failed
from .temp import temp_dir

BAD_VERSION = 666  # no answer may ever carry it

PLAIN = """
#include <stdlib.h>

#include <obhost/obhost.h>

%(begin)s

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "v", 666);
}

static int check(const json_t *conf, ob_err *err)
{
	%(check)s
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, ID, answer);

	if (rc < 0) {
		return rc;
	}
	%(start)s
	return 0;
}

static int selftest(ob_ctx *ctx)
{
	%(selftest)s
	return 0;
}

%(end)s
"""
MODULE = ('OB_MODULE(@NAME@, .version = "6.6.6", .check = check, .start = start, '
          '.selftest = selftest%s);')
DEATHS = {"crashes": "__builtin_trap();", "aborts": "abort();", "exits": "exit(0);",
          "never returns": "for (volatile int i = 1; i;) { }"}


class Place:
    """A module's place in a module directory, and what a good build of it is."""

    def __init__(self, plugin_dir, name, message_id, seed=1):
        self.dir = plugin_dir
        self.name = name
        self.id = message_id
        self.random = random.Random(seed)
        self.file = plugin_dir.file(name)

    def clear(self):
        """Removes whatever is there."""
        if self.file.is_dir() and not self.file.is_symlink():
            shutil.rmtree(self.file)
        elif self.file.is_symlink() or self.file.exists():
            self.file.unlink()

    def good(self, version):
        """The bytes of a good build."""
        return compile_plugin(self.name, NUMBERED, V=version, ID=self.id).read_bytes()

    def put(self, data):
        self.clear()
        self.dir.put(self.name, data)

    def put_good(self, version):
        self.put(self.good(version))

    def put_plain(self, flags=(), **parts):
        fields = {"begin": "", "check": "", "start": "", "selftest": "", "end": MODULE % "",
                  **parts}
        made = compile_plugin(self.name, PLAIN % fields,
                              ["-Wno-override-init", "-Wno-unused-function", *flags], ID=self.id)
        self.put(made.read_bytes())


def _missing(place):
    place.clear()


def _directory(place):
    place.clear()
    place.file.mkdir()


def _fifo(place):
    place.clear()
    os.mkfifo(place.file)


def _device(place):
    place.clear()
    place.file.symlink_to("/dev/zero")


def _patched(offset, form, value):
    """A good build with one field of its ELF header changed."""
    def make(place):
        data = bytearray(place.good(BAD_VERSION))
        struct.pack_into(form, data, offset, value)
        place.put(bytes(data))
    return make


def _machine(place):
    data = bytearray(place.good(BAD_VERSION))
    machine = struct.unpack_from("<H", data, 18)[0]
    struct.pack_into("<H", data, 18, 62 if machine != 62 else 183)
    place.put(bytes(data))


def _truncated(place):
    data = place.good(BAD_VERSION)
    place.put(data[:len(data) * place.random.randrange(1, 99) // 100])


def _flipped(place):
    """One bit is another one; the sha256 that was promised is that of the good file."""
    data = bytearray(place.good(BAD_VERSION))
    bit = place.random.randrange(len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    place.put(bytes(data))
    return "sha"


def _flipped_header(place):
    """One bit of what says that it is a shared object of this machine, and no sha256 at all."""
    data = bytearray(place.good(BAD_VERSION))
    bit = place.random.choice([*range(0, 48), *range(128, 160), *range(256, 320)])
    data[bit // 8] ^= 1 << bit % 8
    place.put(bytes(data))


def _plain(flags=(), **parts):
    return lambda place: place.put_plain(flags, **parts)


def _defined(name, value):
    """Another number of the header in the note and in the descriptor."""
    return _plain(end=f"#undef {name}\n#define {name} {value}\n{MODULE % ''}")


def _library_gone(place):
    """Linked against a library that is not there any more."""
    folder = temp_dir("gone")
    library = folder / "libobhostgone.so"
    made = subprocess.run([*CC.split(), "-shared", "-fPIC", "-xc", "-", "-o", str(library)],
                          input="int obhost_gone(void); int obhost_gone(void) { return 1; }",
                          text=True, stderr=subprocess.PIPE, check=False)
    if made.returncode != 0:
        raise Failed(made.stderr)
    place.put_plain([f"-L{folder}", "-Wl,--no-as-needed", "-lobhostgone", "-Wl,--as-needed"])
    shutil.rmtree(folder)


def _dies(hook, how):
    if hook == "constructor":
        return _plain(begin="__attribute__((constructor)) static void early(void)\n"
                            f"{{\n\t{DEATHS[how]}\n}}")
    return _plain(**{hook: DEATHS[how]})


# (what, how it is made, the steps that may find it)
WAYS = [
    ("a file that is not there", _missing, {"stage"}),
    ("a directory", _directory, {"stage"}),
    ("a FIFO", _fifo, {"stage"}),
    ("a device", _device, {"stage"}),
    ("an empty file", lambda place: place.put(b""), {"stage"}),
    ("a text file", lambda place: place.put(b"#!/bin/sh\necho no module\n" * 99), {"preflight"}),
    ("a truncated file", _truncated, {"preflight"}),
    ("a flipped bit under a sha256", _flipped, {"stage"}),
    ("a flipped bit in the ELF header", _flipped_header, {"preflight", "probe"}),
    ("the class of another machine", _patched(4, "<B", 1), {"preflight"}),
    ("the byte order of another machine", _patched(5, "<B", 2), {"preflight"}),
    ("another machine", _machine, {"preflight"}),
    ("an executable", _patched(16, "<H", 2), {"preflight"}),
    ("another major ABI", _defined("OB_ABI_MAJOR", 7), {"preflight"}),
    ("a newer ABI", _defined("OB_ABI_MINOR", 99), {"preflight"}),
    ("another layout", _defined("OB_SANITIZER", "7u"), {"preflight"}),
    ("a symbol that nobody has", _plain(begin="extern int obhost_nobody(void);",
                                        start="return obhost_nobody();"), {"probe", "load"}),
    ("a library that nobody has", _library_gone, {"probe", "load"}),
    ("a descriptor that is not as its note", _plain(
        end=MODULE % ", .abi_minor = OB_ABI_MINOR + 1"), {"probe", "load"}),
    ("a check that says no", _plain(check="return OB_E_INVAL;"), {"probe", "check"}),
    ("a start that fails halfway", _plain(start="return OB_E_LIMIT;"), {"probe", "start"}),
    ("a selftest that fails", _plain(selftest="return OB_E_APP;"), {"probe", "selftest"}),
    *((f"a {hook} that {how}", _dies(hook, how), {"probe"})
      for hook in ("constructor", "start", "selftest") for how in DEATHS),
]
