#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A stranger's way: obhost is installed somewhere, `obhost new` makes projects outside of its tree,
they build against the installed SDK, pass their own tests, and are replaced under load. The commands
are those of docs/writing-a-module.md, taken from there."""

import os
import pathlib
import re
import shutil
import socket
import subprocess

from obtest.env import BUILD, CC, LONG, SANITIZE, SLOW, TOP
from obtest.nodes import Node, all_ended, free_port
from obtest.tap import at_end, case, cases, check, comment, contains, equal, main, skip, skip_all
from obtest.temp import temp_dir

DOC = TOP / "docs/writing-a-module.md"
CHAPTER = "## From nothing to a replaced plugin\n"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOLS = ("autoconf", "automake", "libtoolize", "pkg-config", "curl", "make")
KINDS = ("handler", "http", "codec", "listener", "policy", "transport")
FULL = KINDS if LONG else ("codec",)  # the document's is a handler
SANITIZER_FLAGS = {"address": "-fsanitize=address,undefined", "thread": "-fsanitize=thread"}

house = {}


def module_name(kind):
    return "codec_my" if kind == "codec" else f"my_{kind}"


# ---------------------------------------------------------------- an installation

class Prefix:
    """obhost as `make install` leaves it, at another place than it was configured for: a staging
    directory. So the .pc files are told where they are, as a packager's tools would, and what the
    programs look for lies beside them, as in a build tree."""

    def __init__(self):
        stage = temp_dir("stage")
        env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        env.pop("MFLAGS", None)
        done = subprocess.run(["make", "-s", "install", f"DESTDIR={stage}"], cwd=BUILD, env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        equal(done.returncode, 0, f"make install: {done.stdout[-2000:]}")
        self.pc = next(stage.rglob("obhost.pc")).parent
        self.bin = next(stage.rglob("bin/obhost")).parent
        self.share = next(stage.rglob("share/obhost/project")).parents[1]
        self.modules = next(stage.rglob("obhost/modules"))
        prefix = os.path.commonpath([self.pc, self.bin])
        for file in self.pc.glob("*.pc"):
            text = re.sub(r"^prefix=.*", f"prefix={prefix}", file.read_text("utf-8"),
                          flags=re.MULTILINE)
            file.write_text(text, "utf-8")
        self._companions("modules", self.modules)
        self._companions("examples", self.modules.parent / "examples")
        (self.bin / "tools").mkdir()
        (self.bin / "tools/obhost-swap-test").symlink_to(next(stage.rglob("obhost-swap-test")))

    def _companions(self, name, where):
        (self.bin / name).mkdir()
        (self.bin / name / ".libs").symlink_to(where)

    def environment(self):
        """Of somebody who has this installation and nothing of obhost's tree."""
        env = {key: value for key, value in os.environ.items()
               if not key.startswith(("OB_", "MAKE", "PYTHON", "NODE_")) and key != "MFLAGS"}
        env.update({
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PKG_CONFIG_PATH": f"{self.pc}:{os.environ.get('PKG_CONFIG_PATH', '')}",
            "OBHOST_PROJECT_DIR": str(self.share / "obhost/project"),
            "STATE_DIRECTORY": str(temp_dir("state")),
            "CC": CC,
            "CFLAGS": f"-O1 -g {SANITIZER_FLAGS.get(SANITIZE, '')}",
            "LC_ALL": "C",
        })
        return env


def prefix():
    if "prefix" not in house:
        for tool in TOOLS:
            if not shutil.which(tool):
                skip_all(f"no {tool}")
        house["prefix"] = Prefix()
    return house["prefix"]


def run(command, folder, timeout=60, **env):
    """Runs a command of the stranger's; its exit status and what it said."""
    with subprocess.Popen(command, cwd=folder, env={**prefix().environment(), **env},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          start_new_session=True) as process:
        at_end(lambda: end_group(process))
        try:
            out = process.communicate(timeout=timeout * SLOW)[0]
        except subprocess.TimeoutExpired:
            end_group(process)
            out = process.communicate()[0]
            out += "\nit took too long"
    return process.returncode, out


def end_group(process):
    """What the command has started and left, or what hangs."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass


def must(command, folder, timeout=60, **env):
    status, out = run(command, folder, timeout, **env)
    check(status == 0, f"{command}: exit status {status}\n{out[-6000:]}{logs(folder)}")
    return out


def logs(folder):
    """The tests' own words, where there were some that failed."""
    text = ""
    for file in pathlib.Path(folder).glob("*/test/*.log"):
        text += f"\n---- {file}\n{file.read_text('utf-8', 'replace')[-3000:]}"
    for file in pathlib.Path(folder).glob("test/*.log"):
        text += f"\n---- {file}\n{file.read_text('utf-8', 'replace')[-3000:]}"
    return text


# ---------------------------------------------------------------- the document

def blocks():
    text = DOC.read_text("utf-8")
    begin = text.index(CHAPTER)
    return FENCE.findall(text[begin:text.index("\n## ", begin + 1)])


PRELUDE = """
set -e
# What the node refuses fails here, and not only on the screen.
curl() { command curl --fail-with-body -sS "$@"; echo; }
cleanup() { [ -z "${node-}" ] || kill "$node" 2>/dev/null || :; }
trap cleanup EXIT
"""


@case("the commands of docs/writing-a-module.md, one after the other", timeout=300)
def _():
    found = blocks()
    check(len(found) >= 8, f"only {len(found)} blocks of commands")
    text = PRELUDE + "".join(f"echo '== {i}'\n{block}" for i, block in enumerate(found))
    for port in ("20000", "21001"):
        contains(text, f":{port}", "the document")
        text = text.replace(port, str(free_port()))
    # How long the load goes on is the document's; a slow build takes longer.
    text = text.replace("obbench -t 5 ", f"obbench -t {5 * SLOW} ")
    folder = temp_dir("stranger")
    (folder / "commands").write_text(text, "utf-8")
    house["said"] = must(["sh", "commands"], folder, 280)
    house["folder"] = folder / "hello"


def said():
    if "said" not in house:
        skip("the commands did not get to their end")
    return house["said"].split("== ")[1:]


def block_with(words):
    """What the block with these words has said."""
    for number, block in enumerate(blocks()):
        if words in block:
            return said()[number]
    return skip(f"no block with {words}")


@case("its project passes its own tests")
def _():
    out = block_with("make check")
    contains(out, "PASS: test/test_node.sh")
    contains(out, "PASS: test/test_unit")


@case("its module is loaded and answers")
def _():
    check(re.search(r'"to": *\{"generation": *[0-9]+, "version": "1\.0\.0"',
                    block_with("play.conf")), "the load says so")
    contains(block_with("obbench -n 100"), "none in 100 messages")


@case("its new version takes over under load")
def _():
    out = block_with("sed -i")
    contains(out, '"result": "switched"')
    check(re.search(r'"version": "1\.0\.0".*"version": "1\.1\.0"', out), out)


@case("it is rolled back")
def _():
    out = block_with("rollback")
    check(re.search(r'"name": "hello"[^}]*"active": \{[^}]*"version": "1\.0\.0"', out), out)


@case("no message was lost, doubled or out of order meanwhile, and no connection closed")
def _():
    out = block_with("cat load.txt")
    contains(out, "100 connections")
    contains(out, "errors        none in")
    comment(out)


@case("obhost swap-test says so of twenty exchanges")
def _():
    out = block_with("make swap-test")
    contains(out, "exchanges     20;")
    contains(out, "none lost, none doubled, all in order")


@case("the installed files are the SDK's")
def _():
    at = prefix()
    for file in (at.pc / "obhost.pc", at.pc / "obhost-mock.pc",
                 at.share / "aclocal/obhost.m4", at.share / "obhost/project/common/configure.ac"):
        check(file.exists(), f"{file} is not installed")
    for kind in KINDS:
        check((at.share / "obhost/project" / kind / "module.c").exists(), f"no template for {kind}")
    said_modules = must(["pkg-config", "--variable=moduledir", "obhost"], at.bin).strip()
    equal(pathlib.Path(said_modules), at.modules, "moduledir")


# ---------------------------------------------------------------- the other kinds

def new(kind, *args):
    folder = temp_dir("project")
    must(["obhost", "new", module_name(kind), "--kind", kind, "--author", "A Stranger", *args],
         folder)
    return folder / module_name(kind)


@cases([(kind,) for kind in FULL], "a {0} passes its own tests, built as a stranger would",
       timeout=300)
def _(kind):
    folder = new(kind)
    must(["./autogen.sh"], folder)
    must(["./configure", "--enable-werror"], folder)
    out = must(["make", "check"], folder, 200)
    contains(out, "PASS: test/test_node.sh")
    contains(out, "PASS: test/test_unit")
    must(["make", "lint"], folder)
    contains(must(["make", "swap-test"], folder), "all that were replaced are gone")
    if LONG:
        must(["make", "distcheck"], folder, 200)


@cases([(kind,) for kind in KINDS if kind not in FULL and kind != "handler"],
       "a {0} compiles, and would be loaded")
def _(kind):
    folder = new(kind)
    name = module_name(kind)
    flags = must(["pkg-config", "--cflags", "obhost"], folder).split()
    must([*CC.split(), "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror",
          "-Wno-unused-parameter", *SANITIZER_FLAGS.get(SANITIZE, "").split(), *flags,
          f"src/{name}.c", "-o", f"{name}.so"], folder)
    flags = re.search(r"^LINT_FLAGS = (.*)$", (folder / "Makefile.am").read_text("utf-8"), re.M)
    must(["obhost", "lint", *flags[1].replace("$(srcdir)", ".").split(), f"{name}.so"], folder)


@case("a project compiled as C++ passes its own tests", timeout=300)
def _():
    if not LONG:
        skip("OB_LONG=1 does it")
    cxx = os.environ.get("OB_CXX")
    if not cxx:
        skip("no C++ compiler")
    folder = new("handler")
    must(["./autogen.sh"], folder)
    must(["./configure", "--enable-werror"], folder, CC=cxx)
    contains(must(["make", "check"], folder, 200, CC=cxx), "PASS: test/test_node.sh")


@case("make install puts the module, and nothing else, where obhost looks")
def _():
    if "folder" not in house:
        skip("the commands did not get to their end")
    stage = temp_dir("install")
    must(["make", "install", f"DESTDIR={stage}"], house["folder"])
    files = [file for file in stage.rglob("*") if file.is_file()]
    equal([file.name for file in files], ["hello.so"], "files")
    contains(str(files[0]), str(prefix().modules))


# ---------------------------------------------------------------- the examples

class Lines:
    """A client of the example codec_line."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 20 * SLOW)
        self.file = self.socket.makefile("rwb", newline=b"\n")
        at_end(self.socket.close)

    def ask(self, line):
        self.file.write(line.encode() + b"\n")
        self.file.flush()
        return self.file.readline().decode()


@case("examples codec_line and line_port: clients stay while both are replaced")
def _():
    port = free_port()
    node = Node("lines", "game", rpc=None, modules=[
        "proxy", {"name": "http_admin", "admin": True}, "codec_line", "echo",
        {"name": "line_port", "conf": {"port": port}}], reload={"probation": 0}).start()
    old = Lines(port)
    equal(old.ask("30000 hello"), "30000 hello\n")
    equal(old.ask("30000 hello\r"), "30000 hello\r\n", "CR LF is given back")
    contains(old.ask("40100"), "you are 127.0.0.1:")
    first = old.ask("40100")
    for names in (["codec_line"], ["line_port"], ["codec_line", "line_port"]):
        old.file.write(b"30000 ha")  # half a line is there when they are replaced
        old.file.flush()
        node.reload(*names, force=True)
        equal(old.ask("lf"), "30000 half\n")
        equal(Lines(port).ask("30000 new"), "30000 new\n", "a newcomer")
    check(old.ask("40100") != first, "another generation answers")
    status = node.http("POST", "/modules", {"name": "line_port", "conf": {}}).status
    equal(status, 409, "a second line_port")
    equal(old.ask("x"), "", "what is no line closes the connection")
    node.stop()


# ---------------------------------------------------------------- swap-test finds what is wrong

def swap_test(*args, source=None):
    folder = temp_dir("swap")
    flags = must(["pkg-config", "--cflags", "obhost"], folder).split()
    for number in (1, 2):
        (folder / f"{number}.c").write_text(source, "utf-8")
        must([*CC.split(), "-shared", "-fPIC", f"-DV={number}", "-O1",
              *SANITIZER_FLAGS.get(SANITIZE, "").split(), *flags, f"{number}.c", "-o",
              f"{number}.so"], folder)
    return run(["obhost", "swap-test", *args, "1.so", "2.so"], folder)


LOSES = """
#include <obhost/obhost.h>
static void answer(ob_ctx *ctx, ob_req req)
{
	if (V == 2 && ob_req_int(ctx, req, "seq", 0) % 100 == 7) {
		ob_done(ctx, req);
		return;
	}
	ob_reply_json(ctx, req, "{s:I}", "seq", ob_req_int(ctx, req, "seq", 0));
}
static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6001, answer);
}
OB_MODULE(loses, .version = "1.0.0", .start = start);
"""

LEAKS = """
#include <stdlib.h>
#include <obhost/obhost.h>
static int start(ob_ctx *ctx, const json_t *conf)
{
	volatile char *kept = ob_rehearsing(ctx) ? NULL : malloc(1 << 20);

	for (size_t i = 0; kept && i < 1 << 20; i += 1024) {
		kept[i] = V;
	}
	return 0;
}
OB_MODULE(leaks, .version = "1.0.0", .start = start);
"""


@case("swap-test: messages that are not answered")
def _():
    status, out = swap_test("-n", "5", "--id", "6001", "--verify", source=LOSES)
    equal(status, 1, out)
    check(re.search(r"of [0-9]+ messages [1-9][0-9]* were lost", out), out)


@case("swap-test: memory that is not given back")
def _():
    if SANITIZE:
        skip("a sanitizer keeps what is freed")
    status, out = swap_test("-n", "20", source=LEAKS)
    equal(status, 1, out)
    contains(out, "memory has grown")


@case("swap-test: a module that is refused, and none")
def _():
    status, out = swap_test("-n", "2", source=LEAKS.replace("return 0", "return V - 2 ? 0 : -5001"))
    equal(status, 1, out)
    contains(out, "exchange 1 was refused with 422")
    folder = temp_dir("swap")
    (folder / "x.so").write_text("no module", "utf-8")
    status, out = run(["obhost", "swap-test", "x.so", "x.so"], folder)
    equal(status, 1, out)
    contains(out, "no identity note")
    status, out = run(["obhost", "swap-test", "nothing.so", "x.so"], folder)
    equal(status, 1, out)
    contains(out, "nothing.so: No such file")
    status, out = run(["obhost", "swap-test", "x.so"], folder)
    equal(status, 2, out)


main(last=all_ended, timeout=2400 if LONG else 800)
