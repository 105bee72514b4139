#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Modules are replaced while clients stay connected: no message is lost, doubled or out of order,
the old code goes when nothing needs it, and what can't be loaded changes nothing."""

import hashlib
import os
import re
import struct
import threading
import time

from obtest import sources
from obtest.env import EXAMPLES, LONG, MODULES, SLOW
from obtest.nodes import Node, Trio, all_ended
from obtest.plugin import VERSIONED, PluginDir, compile_plugin
from obtest.seed import Client, Stream, frame, packet
from obtest.tap import case, cases, check, contains, equal, eventually, main, steady

ADMIN = {"name": "http_admin", "admin": True}
ID = 6001
MESSAGES = (1000000 if LONG else 100000) // SLOW

plugins = None
house = {}


def plugin_dir():
    global plugins  # pylint: disable=global-statement
    if plugins is None:
        plugins = PluginDir()
    return plugins


def version(number, name="versioned", **more):
    return plugin_dir().build(name, VERSIONED, V=number, **more)


def dirs():
    return [str(plugin_dir()), MODULES, EXAMPLES]


def the_node():
    """A proxy that handles everything itself."""
    if "node" not in house:
        version(1)
        house["node"] = Node("reload", "proxy", rpc=None, module_dirs=dirs(), modules=[
            "proxy", ADMIN, "echo", "versioned"], reload={"drain": 5},
                             log={"ring": 64}).start()
    return house["node"]


def the_trio():
    """Three nodes; the handler is on the service."""
    if "trio" not in house:
        version(1)
        house["trio"] = Trio(
            proxy={"module_dirs": dirs()}, route={"module_dirs": dirs()},
            service={"module_dirs": dirs(),
                     "modules": ["service", ADMIN, "offline", "versioned", "rank_room"]}).start()
    return house["trio"]


def reset(node, number=1):
    """Version `number` serves and nothing is draining."""
    version(number)
    node.reload("versioned")
    settle(node)


def settle(node, *names):
    """Waits until no old generation is left, and says what of them is mapped: nothing."""
    def clean():
        return not any(entry["old"] for entry in node.get("/modules")["modules"])
    eventually(clean, "the old generations gone")
    for name in names or ("versioned",):
        equal(len(mapped(node, name)), 1, f"files of {name} that are mapped")


def mapped(node, name):
    return set(re.findall(rf"\S+/stage/{name}\.\d+\.so", node.maps()))


def reload_until_taken(node, *names, **more):
    """A reload, again while another one is running or too much is draining still."""
    def attempt():
        answer = node.http("POST", "/modules/reload", {"names": list(names), **more})
        if answer.status == 409:
            return None
        equal(answer.status, 200, repr(answer))
        return answer.json
    return eventually(attempt, "a reload", pause=0.005)


# ---------------------------------------------------------------- one replacement

@case("a connected client meets the new handler, and the reply says what was exchanged")
def replaces():
    node = the_node()
    with Client(node.ws_port) as client:
        equal(client.ask(ID, {"n": 1})["v"], 1)
        old = node.module("versioned")["active"]
        file = version(2)
        shown = node.reload("versioned")
        equal(client.ask(ID, {"n": 2})["v"], 2)
    equal(shown["result"], "switched")
    (entry,) = shown["modules"]
    equal((entry["name"], entry["state"]), ("versioned", "active"))
    equal((entry["from"]["sha256"], entry["from"]["generation"]),
          (old["sha256"], old["generation"]))
    equal(entry["to"]["sha256"], hashlib.sha256(file.read_bytes()).hexdigest())
    check(entry["to"]["generation"] > entry["from"]["generation"], entry)
    settle(node)


@case("nothing changed: nothing is exchanged")
def unchanged():
    node = the_node()
    before = node.module("versioned")["active"]["generation"]
    for shown in (node.reload("versioned"), node.reload()):
        equal(shown["result"], "unchanged")
        check(all(entry["state"] == "unchanged" for entry in shown["modules"]), shown)
    equal(node.module("versioned")["active"]["generation"], before)


@case("a reload without names takes what has changed, and only that")
def all_changed():
    node = the_node()
    version(3)
    shown = node.reload()
    equal({entry["name"]: entry["state"] for entry in shown["modules"]
           if entry["state"] != "unchanged"}, {"versioned": "active"})
    with Client(node.ws_port) as client:
        equal(client.ask(ID)["v"], 3)


@case("force exchanges what has not changed")
def force():
    node = the_node()
    before = node.module("versioned")["active"]["generation"]
    equal(node.reload("versioned", force=True)["result"], "switched")
    check(node.module("versioned")["active"]["generation"] > before)


@case("sha256: the file must be the one that was meant")
def sha256():
    node = the_node()
    file = version(4)
    shown = node.reload("versioned", sha256="0" * 64, status=422)
    equal((shown["error"]["code"], shown["error"]["step"]), ("sha256", "stage"))
    right = hashlib.sha256(file.read_bytes()).hexdigest()
    equal(node.reload("versioned", sha256=right)["result"], "switched")


@case("the file that was loaded may be deleted, truncated and rewritten under the node")
def file_mistreated():
    node = the_node()
    file = plugin_dir().file("versioned")
    with Client(node.ws_port) as client:
        before = client.ask(ID)["v"]
        with open(file, "r+b") as opened:
            opened.write(b"\0" * 4096)
            opened.truncate(10)
        equal(client.ask(ID)["v"], before)
        file.unlink()
        equal(client.ask(ID)["v"], before)
    version(5)
    node.reload("versioned")


@case("the stage holds what is loaded, and nothing after the node has gone")
def stage():
    node = Node("stage", modules=["service", ADMIN, "login"], rpc=None).start()
    for _ in range(5):
        reload_until_taken(node, "login", force=True)
    eventually(lambda: len(list((node.state / "stage").iterdir())) == 3, "three staged files")
    node.stop()
    equal(list((node.state / "stage").iterdir()), [])


# ---------------------------------------------------------------- under load

def storm(node, port, total, names=("versioned",), window=256, **more):
    """Reloads for as long as `total` numbered messages take. Returns stream and reloads done."""
    reloads = 0
    for number in range(8):
        version(100 + number)
    with Stream(port, ID, window=window, total=total) as stream:
        while stream.busy():
            version(100 + reloads % 8)
            reload_until_taken(node, *names, **more)
            reloads += 1
            time.sleep(0.01)
        stream.join()
    return stream, reloads


@case(f"{MESSAGES} messages through three nodes while their handler is replaced again and again: "
      "none lost, doubled, or out of order", timeout=300 if LONG else 100)
def messages_through_trio():
    trio = the_trio()
    pids = [node.pid for node in trio.nodes]
    stream, reloads = storm(trio.service, trio.proxy.ws_port, MESSAGES)
    equal((stream.answered, dict(stream.codes)), (MESSAGES, {200: MESSAGES}))
    check(reloads >= 10 // SLOW, f"only {reloads} reloads")
    check(len(stream.versions) >= min(reloads, 10), f"{reloads} reloads: {stream.versions}")
    equal([node.pid for node in trio.nodes], pids)
    settle(trio.service)
    trio.service.reload("versioned")


@case("each version's answers stand together: the switch is one moment", timeout=60)
def one_moment():
    node = the_node()
    reset(node, 1)
    with Stream(node.ws_port, ID, window=200) as stream:
        for number in range(2, 12):
            eventually(lambda: stream.versions[-1:] == [number - 1] or not stream.busy(),
                       f"version {number - 1}")
            version(number)
            reload_until_taken(node, "versioned")
        eventually(lambda: stream.versions[-1:] == [11] or not stream.busy(), "version 11")
        stream.finish()
    equal(stream.versions, list(range(1, 12)))
    settle(node)


@cases([("proxy", "proxy", ID), ("proxy", "codec_obespoir", ID), ("route", "route", ID),
        ("service", "service", ID), ("service", "http_admin", ID), ("proxy", "http_admin", ID)],
       "the {0} node's {1} is replaced under load, and nobody notices", timeout=60)
def own_modules(role, name, number):
    trio = the_trio()
    node = getattr(trio, role)
    reset(trio.service, 1)
    with Stream(trio.proxy.ws_port, number, window=64) as stream:
        for _ in range(20):
            seen = stream.answered
            reload_until_taken(node, name, force=True)
            eventually(lambda s=seen: stream.answered > s or not stream.busy(), "an answer")
        stream.finish()
    equal(set(stream.codes), {200})
    settle(node, name)
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(ID, {"n": 1}), 200)
        equal(client.code(77, b"{}"), 404)


@case("everything of a node is replaced at once under load, again and again", timeout=60)
def everything():
    trio = the_trio()
    reset(trio.service, 1)
    with Stream(trio.proxy.ws_port, ID, window=64) as stream:
        for _ in range(5):
            for node in trio.nodes:
                seen = stream.answered
                shown = eventually(
                    lambda n=node: (a := n.http("POST", "/modules/reload", {"force": True}))
                    .status == 200 and a.json, "a reload")
                check(all(e["state"] == "active" for e in shown["modules"]), shown)
                eventually(lambda s=seen: stream.answered > s or not stream.busy(), "an answer")
        stream.finish()
    equal(set(stream.codes), {200})


@case("a client that is in the middle of a packet, and of a frame, goes on with the new codec")
def half_packet():
    node = the_node()
    reset(node, 1)
    data = frame(packet(ID, {"n": 9}))
    with Client(node.ws_port) as in_frame, Client(node.ws_port) as in_packet:
        in_frame.send_bytes(data[:10])
        in_packet.send(packet(ID, {"n": 8})[:15])
        equal(in_frame.silent(0.1) and in_packet.silent(0.1), True)
        reload_until_taken(node, "codec_obespoir", "proxy", force=True)
        in_frame.send_bytes(data[10:])
        in_packet.send(packet(ID, {"n": 8})[15:])
        equal(in_frame.reply(ID)["n"], 9)
        equal(in_packet.reply(ID)["n"], 8)


# ---------------------------------------------------------------- what is in flight

@case("a request that the old code holds is answered by the old code, which goes then")
def held():
    node = the_node()
    plugin_dir().build("holder", sources.HOLDER, V=1)
    equal(node.http("POST", "/modules", {"name": "holder"}).status, 200)
    with Client(node.ws_port) as client:
        client.tell(6301, {"ms": 1000})
        eventually(lambda: node.module("holder")["active"]["in_flight"] > 0, "the request")
        plugin_dir().build("holder", sources.HOLDER, V=2)
        node.reload("holder")
        equal(client.ask(6303)["v"], 2)
        (old,) = node.module("holder")["old"]
        equal(old["state"], "draining")
        equal(len(mapped(node, "holder")), 2)
        equal(client.reply(6301)["v"], 1)
        settle(node, "holder")
        equal(client.ask(6301, {"ms": 10})["v"], 2)


@case("a request that never ends holds the old code no longer than reload.drain: 503")
def drain_expires():
    node = Node("drain", "proxy", rpc=None, module_dirs=dirs(), modules=["proxy", ADMIN, "holder"],
                reload={"drain": 1}, call_timeout=60)
    plugin_dir().build("holder", sources.HOLDER, V=1)
    node.start()
    with Client(node.ws_port) as client:
        client.tell(6302)
        client.tell(6301, {"ms": 50000})
        eventually(lambda: node.module("holder")["active"]["in_flight"] >= 2, "the requests")
        plugin_dir().build("holder", sources.HOLDER, V=2)
        node.reload("holder")
        codes = sorted((client.reply(number)["code"] for number in (6302, 6301)))
        equal(codes, [503, 503])
        settle(node, "holder")
        equal(client.ask(6303)["v"], 2)
    node.stop()


STATE = """
#include <obhost/obhost.h>

static uint64_t *kept;
static uint64_t own;

static void count(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i, s:I, s:I}", "code", 200, "v", V, "kept",
		      (json_int_t)++*kept, "own", (json_int_t)++own);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	kept = ob_state(ctx, "count", sizeof(*kept) * SIZE, STATE_VERSION);
	return kept ? ob_on_id(ctx, 6701, count) : OB_E_NOMEM;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("ob_state() outlives the code, statics do not; another version or size begins anew")
def state():
    node = the_node()
    plugin_dir().build("state", STATE, V=1, SIZE=1, STATE_VERSION=1)
    equal(node.http("POST", "/modules", {"name": "state"}).status, 200)
    with Client(node.ws_port) as client:
        for n in range(1, 4):
            answer = client.ask(6701)
            equal((answer["kept"], answer["own"]), (n, n))
        plugin_dir().build("state", STATE, V=2, SIZE=1, STATE_VERSION=1)
        node.reload("state")
        answer = client.ask(6701)
        equal((answer["v"], answer["kept"], answer["own"]), (2, 4, 1))
        plugin_dir().build("state", STATE, V=3, SIZE=1, STATE_VERSION=2)
        node.reload("state")
        equal(client.ask(6701)["kept"], 1)
        plugin_dir().build("state", STATE, V=4, SIZE=9, STATE_VERSION=2)
        node.reload("state")
        equal(client.ask(6701)["kept"], 1)
        refuses = STATE.replace("return kept ?", "return OB_E_INVAL; return kept ?")
        plugin_dir().build("state", refuses, V=5, SIZE=7, STATE_VERSION=7)
        node.reload("state", status=422)
        equal(client.ask(6701)["kept"], 2)
    settle(node, "state")


@case("state counts on over a hundred reloads under load", timeout=60)
def state_under_load():
    trio = the_trio()
    with Stream(trio.proxy.ws_port, 20000, window=16,
                body=lambda n: b'{"user_id":%d}' % n) as stream:
        for _ in range(100):
            reload_until_taken(trio.service, "rank_room", force=True)
        stream.finish()
    with Client(trio.proxy.ws_port) as client:
        equal(client.ask(20000, {"user_id": 1})["data"]["entered"], stream.answered + 1)
    settle(trio.service, "rank_room")


@case("nothing piles up: memory and descriptors after 200 reloads are those after 50", timeout=90)
def no_growth():
    node = the_node()

    def some(count):
        for _ in range(count):
            reload_until_taken(node, "versioned", "echo", force=True)
        settle(node)
    some(50)
    some(10)
    fds = steady(node.fds)
    rss = node.rss_kib()
    some(200)
    eventually(lambda: node.fds() <= fds, "as many descriptors")
    node.check_growth(rss, 1024)


# ---------------------------------------------------------------- what is refused

PLAIN = """
#include <obhost/obhost.h>

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "v", 666);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	%s
	return ob_on_id(ctx, 6001, answer);
}

%s
"""
USUAL = 'OB_MODULE(@NAME@, .version = "1.0.0", .start = start);'
DESCRIPTOR = 'OB_MODULE(@NAME@, .version = "1.0.0", .start = start, %s);'


def broken(begin="", end=USUAL, flags=()):
    return lambda: compile_plugin("versioned", PLAIN % (begin, end),
                                  ["-Wno-override-init", *flags]).read_bytes()


def defined(name, value):
    """OB_MODULE() with another number of the header in the note and in the descriptor."""
    return f"#undef {name}\n#define {name} {value}\n{USUAL}"


def good():
    return compile_plugin("versioned", VERSIONED, V=667).read_bytes()


def foreign():
    data = bytearray(good())
    machine = struct.unpack_from("<H", data, 18)[0]
    struct.pack_into("<H", data, 18, 62 if machine != 62 else 183)
    return bytes(data)


def other_class():
    data = bytearray(good())
    data[4] = 1  # 32 bits
    return bytes(data)


REFUSED = [
    ("a file that is not there", lambda: None, "stage", "not_found"),
    ("an empty file", lambda: b"", "stage", "empty"),
    ("a text file", lambda: b"#!/bin/sh\necho I am no module\n" * 100, "preflight", "not_elf"),
    ("a file of zeros", lambda: b"\0" * 100000, "preflight", "not_elf"),
    ("a module of another machine", foreign, "preflight", "machine"),
    ("a module of 32 bits", other_class, "preflight", "class"),
    ("a shared object that is no module",
     broken(end='OB_EXPORT int other; int other = 1; void *use(void); '
                'void *use(void) { return (void *)start; }'), "preflight", "not_a_module"),
    ("a module without an identity note",
     broken(end='OB_EXPORT const ob_module_desc ob_module; const ob_module_desc ob_module = '
                '{.magic = OB_MODULE_MAGIC, .start = start};'), "preflight", "no_note"),
    ("a module that needs a symbol nobody has",
     broken("extern int nobody_has_this(void); return nobody_has_this();"), "probe", "dlopen"),
    ("a module of a newer ABI", broken(end=defined("OB_ABI_MINOR", 99)), "preflight", "abi"),
    ("a module of another major ABI", broken(end=defined("OB_ABI_MAJOR", 7)), "preflight", "abi"),
    ("a module with a foreign magic number", broken(end=defined("OB_MODULE_MAGIC", "1u")),
     "preflight", "not_a_module"),
    ("a module built with another sanitizer", broken(end=defined("OB_SANITIZER", "7u")),
     "preflight", "layout"),
    ("a module of another name", broken(end=USUAL.replace("@NAME@", "somebody_else")),
     "preflight", "name"),
    ("a module with a descriptor of another size than its note says",
     broken(end=DESCRIPTOR % ".size = sizeof(ob_module_desc) - 8"), "probe", "identity"),
    ("a module with another ABI than its note says",
     broken(end=DESCRIPTOR % ".abi_minor = OB_ABI_MINOR + 1"), "probe", "identity"),
    ("a module without a name", broken(end=DESCRIPTOR % ".name = NULL"), "probe", "identity"),
    ("a module with static thread-local storage",
     broken("extern __thread int t; t++;", flags=["-ftls-model=initial-exec"],
            end="__thread int t;" + USUAL), "preflight", "static_tls"),
    ("a module that can't be unmapped", broken(flags=["-Wl,-z,nodelete"]), "preflight",
     "nodelete"),
    ("a module with an executable stack", broken(flags=["-Wl,-z,execstack"]), "preflight",
     "exec_stack"),
    ("a module whose check says no", broken(end="""
static int check(const json_t *conf, ob_err *err)
{
	__builtin_strcpy(err->text, "colour: must be blue");
	return OB_E_INVAL;
}
""" + USUAL.replace(".start", ".check = check, .start")), "probe", "check"),
    ("a module whose start fails", broken("return OB_E_LIMIT;"), "probe", "start"),
    ("a module that wants an id another one has",
     broken("if (ob_on_id(ctx, 30000, answer) < 0) { return OB_E_EXISTS; }"), "start", "start"),
    ("a module that wants an id beyond the last",
     broken("return ob_on_id(ctx, 1u << 31, answer);"), "probe", "start"),
    ("a module that wants a decision another one has",
     broken("return ob_on_client_message(ctx, (ob_decide_fn)0);"), "probe", "start"),
    ("a module whose selftest fails", broken(end="""
static int selftest(ob_ctx *ctx)
{
	return OB_E_APP;
}
""" + USUAL.replace(".start", ".selftest = selftest, .start")), "probe", "selftest"),
]


@cases(REFUSED, "{0}: 422 at {2}, code {3}; the old one serves, nothing is left behind")
def refused(_what, make, step, code):
    node = the_node()
    reset(node, 1)
    staged = len(list((node.state / "stage").iterdir()))
    data = make()
    if data is None:
        plugin_dir().remove("versioned")
    else:
        plugin_dir().put("versioned", data)
    with Client(node.ws_port) as client:
        equal(client.ask(ID)["v"], 1)
        shown = node.reload("versioned", status=422)
        error = shown["error"]
        equal((error["step"], error["code"], error["module"]), (step, code, "versioned"),
              str(error))
        check(len(error["message"]) > 10, error)
        contains(error["file"], "versioned.so")
        equal(set(error), {"code", "step", "module", "file", "found", "expected", "remedy",
                           "message"})
        equal(client.ask(ID)["v"], 1)
        equal(client.ask(30000, 5), 5)
    eventually(lambda: len(list((node.state / "stage").iterdir())) == staged, "the stage")
    eventually(lambda: len(mapped(node, "versioned")) == 1, "the mapping gone")


@cases([(percent,) for percent in range(10, 100, 10)], "a module cut off at {0} % is refused")
def truncated(percent):
    node = the_node()
    reset(node, 1)
    data = good()
    plugin_dir().put("versioned", data[:len(data) * percent // 100])
    shown = node.reload("versioned", status=422)
    equal((shown["error"]["step"], shown["error"]["code"]), ("preflight", "truncated"), str(shown))
    with Client(node.ws_port) as client:
        equal(client.ask(ID)["v"], 1)


@case("a module directory, a device and a pipe in a module's place are refused")
def not_files():
    node = the_node()
    reset(node, 1)
    file = plugin_dir().file("versioned")
    for make in (file.mkdir, lambda: os.mkfifo(file), lambda: file.symlink_to("/dev/zero")):
        file.unlink()
        make()
        shown = node.reload("versioned", status=422)
        check(shown["error"]["step"] in ("stage", "stage"), shown)
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
            file.touch()
    file.unlink()
    with Client(node.ws_port) as client:
        equal(client.ask(ID)["v"], 1)


@case("a refused module can be put right, and is taken then")
def put_right():
    node = the_node()
    version(42)
    equal(node.reload("versioned")["result"], "switched")
    with Client(node.ws_port) as client:
        equal(client.ask(ID)["v"], 42)


@case("a module that is refused when the node starts: exit status 1, with the reason")
def refused_at_start():
    other = PluginDir()
    other.build("versioned", PLAIN % ("return OB_E_LIMIT;", USUAL))
    node = Node("bad-start", "proxy", rpc=None, module_dirs=[str(other), MODULES],
                modules=["proxy", ADMIN, "versioned"])
    node.write_conf()
    run = node.run()
    equal(run.returncode, 1, run.stderr)
    contains(run.stderr, "versioned")
    contains(run.stderr, "start: a limit is reached")


# ---------------------------------------------------------------- several, and none

@case("several modules: all or none")
def all_or_none():
    node = the_node()
    reset(node, 1)
    version(1, "second", ID=6002)
    equal(node.http("POST", "/modules", {"name": "second"}).status, 200)
    with Client(node.ws_port) as client:
        version(2)
        plugin_dir().put("second", b"rubbish")
        for names in (("versioned", "second"), ("second", "versioned")):
            shown = node.reload(*names, status=422)
            equal(shown["error"]["module"], "second")
            equal((client.ask(6001)["v"], client.ask(6002)["v"]), (1, 1))
        plugin_dir().build("second", PLAIN.replace("6001", "6002") % ("return OB_E_INVAL;", USUAL))
        node.reload("versioned", "second", status=422)
        equal((client.ask(6001)["v"], client.ask(6002)["v"]), (1, 1))
        version(3, "second", ID=6002)
        shown = node.reload("versioned", "second")
        equal(len(shown["modules"]), 2)
        equal((client.ask(6001)["v"], client.ask(6002)["v"]), (2, 3))
    settle(node, "versioned", "second")
    equal(node.http("DELETE", "/modules/second").status, 200)


@case("a module taken out: 404 from the next message on, and unmapped")
def taken_out():
    node = the_node()
    reset(node, 1)
    with Stream(node.ws_port, ID, window=64) as stream:
        eventually(lambda: stream.answered > 500 or not stream.busy(), "the stream")
        equal(node.http("DELETE", "/modules/versioned").status, 200)
        eventually(lambda: stream.codes[404] > 100 or not stream.busy(), "404")
        equal(node.http("POST", "/modules", {"name": "versioned"}).status, 200)
        served = stream.codes[200]
        eventually(lambda: stream.codes[200] > served + 100 or not stream.busy(), "200")
        stream.finish()
    equal(set(stream.codes), {200, 404})
    settle(node)


SLEEPER = """
#include <unistd.h>

#include <obhost/obhost.h>

__attribute__((constructor)) static void sleeps(void)
{
	usleep(1500000);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return 0;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("a module that is slow to load holds up nobody; another reload waits its turn")
def slow_to_load():
    node = the_node()
    reset(node, 1)
    plugin_dir().build("sleeper", SLEEPER)
    with Stream(node.ws_port, ID, window=1) as stream:
        equal(node.reload("versioned", force=True)["result"], "switched")
        answers = []
        loading = threading.Thread(target=lambda: answers.append(
            node.http("POST", "/modules", {"name": "sleeper"})))
        loading.start()
        time.sleep(0.3)
        answer = node.http("POST", "/modules/reload", {"name": "versioned", "force": True})
        equal(answer.status, 200, repr(answer))
        loading.join()
        equal(answers[0].status, 200, repr(answers[0]))
        check(answers[0].json["tx"] < answer.json["tx"], f"{answers[0]!r} {answer!r}")
        stream.finish()
        check(stream.slowest < 1.0 * SLOW, f"a message took {stream.slowest} s")
    equal(node.http("DELETE", "/modules/sleeper").status, 200)
    settle(node)


@case("the node ends while a module is being loaded")
def stop_while_loading():
    plugin_dir().build("sleeper", SLEEPER)
    node = Node("hasty", modules=["service", ADMIN], rpc=None, module_dirs=dirs()).start()
    equal(node.admin("modules.load", name="login")[0], 200)
    def load():
        try:
            node.http("POST", "/modules", {"name": "sleeper"})
        except OSError:
            pass
    loading = threading.Thread(target=load)
    loading.start()
    time.sleep(0.3)
    node.stop()
    loading.join()


SELF = """
#include <obhost/obhost.h>

static void done(ob_ctx *ctx, const ob_admin_reply *reply, void *arg)
{
	ob_log(ctx, OB_LOG_NOTICE, "reloaded myself: %d", reply->status);
}

static void mine(ob_ctx *ctx, ob_req req)
{
	json_t *args = json_pack("{s:s, s:b}", "name", "@NAME@", "force", 1);

	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc",
		      ob_admin(ctx, "modules.reload", args, done, NULL));
}

static void ticks(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_count(ctx, (int)(intptr_t)arg, 1);
}

static void live(ob_ctx *ctx)
{
	int counter = ob_counter(ctx, "ticks", "Ticks");

	ob_timer_start(ctx, 10, 10, ticks, (void *)(intptr_t)counter);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6702, mine);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .live = live);
"""


@case("a module with admin reloads itself from its own handler, timers running")
def reloads_itself():
    plugin_dir().build("ouroboros", SELF)
    node = Node("self", "proxy", rpc=None, module_dirs=dirs(), modules=[
        "proxy", ADMIN, {"name": "ouroboros", "admin": True}]).start()
    with Client(node.ws_port) as client:
        for n in range(1, 6):
            equal(client.ask(6702)["code"], 200)
            eventually(lambda count=n: node.log().count("reloaded myself: 200") == count, "it")
            settle(node, "ouroboros")
    before = node.metric("obhost_module_ticks_total")
    eventually(lambda: node.metric("obhost_module_ticks_total") > before, "a tick")
    node.stop()


if __name__ == "__main__":
    main(all_ended, timeout=600 if LONG else 400)
