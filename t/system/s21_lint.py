#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""obhost lint: what it says of good files, bad ones and odd ones, and its exit status."""

import json
import os
import pathlib
import shutil
import subprocess

from obtest.env import BUILD, EXAMPLES, MODULES, OBHOST, SANITIZE, SLOW, node_environment
from obtest.plugin import compile_plugin
from obtest.tap import case, cases, check, contains, equal, main, skip
from obtest.temp import temp_dir

TESTMODS = pathlib.Path(os.environ.get("OB_TESTMOD_PATH") or BUILD / "t/modules/.libs")


def lint(*args):
    """Exit status and lines."""
    done = subprocess.run([OBHOST, "lint", *map(str, args)], env=node_environment(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          timeout=60 * SLOW)
    return done.returncode, done.stdout.splitlines(), done.stderr


def conf(**keys):
    path = temp_dir("conf") / "conf.json"
    path.write_text(json.dumps(keys), "utf-8")
    return path


def a_file(name, data, mode=0o644):
    path = temp_dir("file") / name
    path.write_bytes(data)
    path.chmod(mode)
    return path


@case("the modules of the tree have one line each: they load and unload")
def own():
    files = [f"{MODULES}/{name}.so" for name in
             ("codec_obespoir", "http_admin", "proxy", "route", "service")]
    files += [f"{EXAMPLES}/{name}.so" for name in ("echo", "login", "delayed")]
    status, lines, _ = lint(*files)
    equal(status, 0, "\n".join(lines))
    if SANITIZE:  # gives each object file a constructor, and lint knows of one
        lines = [line for line in lines if "while it is loaded" not in line]
    equal(len(lines), len(files), "\n".join(lines))
    for file, line in zip(files, lines):
        name = pathlib.Path(file).stem
        check(line.startswith(f"{file}: loads: yes, unloads: yes; module {name}, ABI "), line)


@case("the verdict names interfaces and state versions")
def facts():
    status, lines, _ = lint(TESTMODS / "misbehave.so")
    equal(status, 0)
    contains(lines[0], "info: 1 constructor runs while it is loaded")
    contains(lines[-1], "provides mischief/1.2; needs ?order/1; state: writes 3, reads from 2")


BAD = [
    ("unresolved", "error: can't be loaded: ", "obhost_test_no_such_function"),
    ("bad_major", "error: was built for ABI 7.1", "rebuild the module"),
    ("library", "error: ", "OB_MODULE("),
]


@cases(BAD, "refused: {0}")
def bad(name, said, also):
    status, lines, _ = lint(TESTMODS / f"{name}.so")
    equal(status, 1)
    contains("\n".join(lines), said)
    contains("\n".join(lines), also)
    contains(lines[-1], ": loads: no")


HOOKS = [
    ("check", "crash", "error: its rehearsal died of SIGSEGV in check"),
    ("start", "exit", "error: its rehearsal ended with exit 7 in start"),
    ("start", "refuse", "error: in its rehearsal: start: no database"),
    ("selftest", "refuse", "error: in its rehearsal: selftest: the handler failed"),
    ("destructor", "abort", "error: its rehearsal died of SIGABRT in close"),
]


@cases(HOOKS, "rehearsed: {1} in {0}")
def hooks(where, how, said):
    status, lines, _ = lint("-c", conf(where=where, how=how), TESTMODS / "misbehave.so")
    equal(status, 1)
    check(any(said in line for line in lines), "\n".join(lines))


@case("what can't be unmapped is a warning, and the verdict says why")
def resident():
    status, lines, _ = lint("-c", conf(where="start", how="thread"), TESTMODS / "misbehave.so")
    equal(status, 0)
    contains("\n".join(lines), "warning: each reload leaves a generation mapped: 1 thread")
    contains(lines[-1], "unloads: no (1 thread of it still runs)")


@case("a module that needs a conf says so")
def needs_conf():
    status, lines, _ = lint(f"{EXAMPLES}/line_port.so")
    equal(status, 1)
    contains(lines[0], "check: port: must be given")
    contains(lines[0], "give its conf with -c")
    status, lines, _ = lint("-c", conf(port=4000), f"{EXAMPLES}/line_port.so")
    equal(status, 0)
    contains(lines[-1], "; needs codec_line/1; listens tcp *:4000 with line; ")


@case("a module that brings clients over a transport of its own is named with it")
def brings():
    file = pathlib.Path(f"{MODULES}/transport_enet.so")
    if not file.exists():
        skip("built without enet")
    status, lines, _ = lint(file)
    equal(status, 0, "\n".join(lines))
    contains(lines[-1], "loads: yes, unloads: yes; module transport_enet, ")
    contains(lines[-1], "; transports for clients enet; ")
    status, lines, _ = lint("-c", conf(packet=1), file)
    equal(status, 1)
    contains("\n".join(lines), "check: packet: must be 1024 to ")


# Brings clients over a transport called NAME, and listens with the transport LISTENS.
WAYS_IN = """
#include <obhost/obhost.h>

static int open_door(ob_ctx *ctx, const ob_door_info *info, char *address, size_t cap, ob_err *err)
{
	return 0;
}

static int let_in(ob_ctx *ctx, ob_door door, ob_err *err)
{
	return 0;
}

static void shut(ob_ctx *ctx, ob_door door)
{
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_client_transport mine = {
		.size = sizeof(mine), .name = NAME,
		.open = open_door, .accept = let_in, .close = shut, .keep = let_in};
	ob_listen_options options = {
		.size = sizeof(options), .transport = LISTENS, .codec = "line", .port = 4000};
	int rc = ob_on_client_transport(ctx, &mine);

	rc = rc == 0 ? ob_listen(ctx, &options) : rc;
	return rc == 0 ? 0 : ob_refuse(ctx, rc, rc == OB_E_INVAL ? "senseless" : ob_strerror(ctx, rc));
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@cases([
    ("my-udp_1", "tcp+ws", None),
    ("my udp", "tcp", "start: senseless"),
    ("u" * 64, "tcp", "start: senseless"),
    ("wss", "tcp", "start: another module has it"),
    ("tcp+ws", "tcp", "start: "),
    # clients come over it when the configuration says so, not by ob_listen()
    ("udp", "udp", "start: senseless"),
], "a transport for clients called {0:.12}, a listener with {1}")
def ways_in(name, listens, said):
    file = compile_plugin("ways_in", WAYS_IN, NAME=json.dumps(name), LISTENS=json.dumps(listens))
    status, lines, _ = lint(file)
    equal(status, 1 if said else 0, "\n".join(lines))
    if said:
        contains(lines[0], said)
    else:
        contains(lines[-1], f"; transports for clients {name}; listens {listens} *:4000 with line; ")


@case("files that are no shared objects")
def odd():
    folder = temp_dir("folder")
    whole = pathlib.Path(f"{EXAMPLES}/echo.so").read_bytes()
    rows = [(a_file("text.so", b"#!/bin/sh\n"), "not ELF"), (a_file("empty.so", b""), "empty"),
            (folder, "not a regular file"), (folder / "gone.so", "No such file"),
            (a_file("cut.so", whole[:len(whole) // 2]), "error: ")]
    for path, said in rows:
        status, lines, _ = lint(path)
        equal(status, 1, str(path))
        contains(lines[0], said)
        equal(lines[-1], f"{path}: loads: no")
    # one bad file among good ones: all are looked at
    status, lines, _ = lint(folder, f"{EXAMPLES}/echo.so")
    equal(status, 1)
    contains(lines[-1], "echo.so: loads: yes")


@case("a file that others may write to is a warning")
def mode():
    path = temp_dir("mode") / "echo.so"
    shutil.copy(f"{EXAMPLES}/echo.so", path)
    path.chmod(0o666)
    status, lines, _ = lint(path)
    equal(status, 0)
    contains(lines[0], "warning: others may write to it")


@case("the command line")
def usage():
    for args in ((), ("-x",), ("-c", "/nonexistent.json", f"{EXAMPLES}/echo.so"),
                 ("-c", a_file("list.json", b"[1]"), f"{EXAMPLES}/echo.so")):
        status, _, err = lint(*args)
        equal(status, 2, repr(args))
        check(err, "it says why")
        contains(err, "obhost lint: ")
    for word in ("-h", "--help"):
        status, lines, _ = lint(word)
        equal(status, 0)
        contains(lines[0], "usage: obhost lint")
    done = subprocess.run([OBHOST, "probe"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=30)
    equal(done.returncode, 2)
    contains(done.stderr, "rehearse a module")


if __name__ == "__main__":
    main()
