#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The C and C++ in the documentation are whole plugins: each compiles without a warning, links, and
has its one symbol; what has a main() is a test of one and compiles; the JSON is JSON. The commands of
docs/writing-a-module.md are run by t/system/s15_project.py."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

TOP = os.environ.get("OB_SRCDIR") or os.path.dirname(os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))))
DOCS = ("README.md", "README.zh.md", "docs/architecture.md", "docs/clients.md",
        "docs/configuration.md", "docs/writing-a-module.md")
WARN = ("-Wall -Wextra -Werror -Wshadow -Wno-unused-parameter -Wno-missing-field-initializers "
        "-fvisibility=hidden").split()
FENCE = re.compile(r"^```(c|cpp|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def words(name, default=""):
    return shlex.split(os.environ.get(name) or default)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr or "it failed silently"


def compilers():
    """What there is to compile with, by the fence's word; the configured ones first."""
    found = {"c": [], "cpp": []}
    for kind, variable, names in (("c", "OB_CC", ("gcc", "clang")),
                                  ("cpp", "OB_CXX", ("g++", "clang++"))):
        candidates = [words(variable)] + [[name] for name in names]
        for command in candidates:
            if command and shutil.which(command[0]) and command not in found[kind]:
                found[kind].append(command)
    return found


def build(compiler, kind, source, output):
    flags = words("OB_SDK_CPPFLAGS", "-I" + os.path.join(TOP, "include"))
    language = ["-std=gnu11"] if kind == "c" else ["-std=c++20"]
    if kind == "cpp" and "clang" not in compiler[0]:
        language.append("-fno-gnu-unique")
    return run(compiler + language + WARN + flags +
               ["-O2", "-shared", "-fPIC", source, "-o", output, "-ljansson", "-Wl,-z,defs"])


def check_program(compiler, source):
    """A program is linked with what its plugin is; here it only has to be right by itself."""
    flags = words("OB_SDK_CPPFLAGS", "-I" + os.path.join(TOP, "include"))
    return run(compiler + ["-std=gnu11", "-fsyntax-only"] + WARN + flags + [source])


def exported(path):
    out = subprocess.run(words("OB_NM", "nm") + ["-D", "--defined-only", path],
                         capture_output=True, text=True, check=False).stdout
    # C++ brings weak symbols of its templates along.
    return [line.split()[2] for line in out.splitlines() if line.split()[1] not in "WVu"]


def check_code(kind, body, folder, commands):
    source = os.path.join(folder, "snippet." + {"c": "c", "cpp": "cc"}[kind])
    output = os.path.join(folder, "snippet.so")
    with open(source, "w", encoding="utf-8") as file:
        file.write(body)
    for compiler in commands[kind]:
        if "int main(" in body:
            found = check_program(compiler, source)
            if found:
                return "%s: %s" % (compiler[0], found)
            continue
        found = build(compiler, kind, source, output)
        if not found and exported(output) != ["ob_module"]:
            found = "it exports %s" % exported(output)
        if found:
            return "%s: %s" % (compiler[0], found)
    return ""


def check_json(body):
    """Whole values, or members of an object."""
    for text in (body, "{" + body + "}"):
        try:
            json.loads(text)
            return ""
        except ValueError as error:
            found = str(error)
    return found


def snippets():
    for doc in DOCS:
        with open(os.path.join(TOP, doc), encoding="utf-8") as file:
            text = file.read()
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield "%s:%d" % (doc, line), match.group(1), match.group(2)


def main():
    commands = compilers()
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        for where, kind, body in snippets():
            number += 1
            if kind != "json" and not commands[kind]:
                print("ok %d - %s # SKIP no compiler" % (number, where))
                continue
            found = check_json(body) if kind == "json" else check_code(kind, body, folder,
                                                                       commands)
            print("%s %d - %s (%s)" % ("not ok" if found else "ok", number, where, kind))
            for line in found.splitlines():
                print("# " + line)
    print("1..%d" % number)
    return 0 if number else 1


if __name__ == "__main__":
    sys.exit(main())
