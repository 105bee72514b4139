# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Plugins made while the test runs, as a third party would: the SDK's header and a compiler."""

import hashlib
import os
import pathlib
import shutil
import subprocess

from .env import BUILD, CC, sanitizer_cflags, sdk_cflags
from .tap import Failed
from .temp import temp_dir

_cache = {}

# A handler that says which version of the code answered, and with what number it was asked.
VERSIONED = """
#include <obhost/obhost.h>

#ifndef V
#define V 1
#endif
#ifndef ID
#define ID 6001
#endif

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i, s:I}", "code", 200, "v", V, "n",
		      ob_req_int(ctx, req, "n", -1));
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_id(ctx, ID, answer);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def compile_plugin(name, source, flags=(), **defines):
    """Compiles C text, in which @NAME@ is the module's name, into a shared object in a folder of
    its own; the same again costs nothing."""
    source = source.replace("@NAME@", name)
    words = [f"-D{key}={value}" for key, value in sorted(defines.items())]
    command = [*CC.split(), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror",
               "-Wno-unused-parameter", *words, *sdk_cflags(), *sanitizer_cflags(),
               *flags]
    key = hashlib.sha256(repr((command, source)).encode()).hexdigest()
    if key not in _cache:
        folder = temp_dir("plugin")
        file = folder / f"{name}.c"
        file.write_text(source, encoding="utf-8")
        made = subprocess.run([*command, str(file), "-o", str(folder / f"{name}.so")],
                              cwd=BUILD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        if made.returncode != 0:
            raise Failed(f"{name}.c does not compile:\n{made.stdout}")
        _cache[key] = folder / f"{name}.so"
    return _cache[key]


class PluginDir:
    """A module directory. Files in it are exchanged whole, as an installer does."""

    def __init__(self):
        self.path = temp_dir("modules")

    def __str__(self):
        return str(self.path)

    def file(self, name):
        return self.path / f"{name}.so"

    def put(self, name, data):
        """Makes the module's file these bytes."""
        new = self.path / f".{name}.new"
        new.write_bytes(data)
        new.chmod(0o755)
        os.replace(new, self.file(name))

    def copy(self, name, source):
        self.put(name, pathlib.Path(source).read_bytes())

    def build(self, name, source, flags=(), **defines):
        """Compiles C text into the module's file."""
        made = compile_plugin(name, source, flags, **defines)
        self.copy(name, made)
        return self.file(name)

    def remove(self, name):
        self.file(name).unlink()

    def clear(self):
        shutil.rmtree(self.path)
        self.path.mkdir()
