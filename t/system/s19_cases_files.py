#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The numbered cases of docs/hot-swap.md that are about a module's file and what is in it: damaged,
foreign, hostile, or only badly written. The node goes on, and says what is wrong."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess

from obtest.env import (BUILD, CC, CXX, LONG, OBHOST, SANITIZE, SLOW, sanitizer_cflags,
                         sdk_cflags)
from obtest.nodes import Node, all_ended, free_port
from obtest.plugin import VERSIONED, compile_plugin
from obtest.seed import Client
from obtest.swapping import House, Verbs
from obtest.tap import case, cases, check, contains, equal, eventually, main, skip
from obtest.temp import temp_dir

house = {}


def the():
    """The node of most cases."""
    if "node" not in house:
        house["node"] = House("files").start()
    return house["node"]


def hurried():
    """One whose rehearsals end soon."""
    if "hurried" not in house:
        house["hurried"] = House("hurried", crowd=2, reload={"probe": 0.7 * SLOW}).start()
    return house["hurried"]


def good(number=1):
    return compile_plugin("versioned", VERSIONED, V=number).read_bytes()


def note_at(data):
    """Where in a module's file the identity note's numbers begin."""
    return data.index(b"obhost\0\0" + struct.pack("<I", 0x6f62686f)) + 8


def patched(fmt, at, value, data=None):
    data = bytearray(data or good(7))
    struct.pack_into(fmt, data, at, value)
    return bytes(data)


# ---------------------------------------------------------------- damaged files

@case("case 1: a missing file, a directory, a FIFO, a device, an empty file, a text file")
def odd_files():
    h = the()
    file = h.plugins.file("versioned")

    def device():
        try:
            os.mknod(file, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
        except PermissionError:
            file.symlink_to("/dev/zero")
    rows = [(lambda: None, "stage", "not_found"),
            (file.mkdir, "stage", "not_a_file"),
            (lambda: os.mkfifo(file), "stage", "not_a_file"),
            (device, "stage", ("not_a_file", "symlink")),
            (file.touch, "stage", "empty"),
            (lambda: file.write_text("#!/bin/sh\nexit\n" * 99), "preflight", "not_elf")]
    with h.flat(), h.serving():
        for make, step, code in rows:
            file.unlink()
            make()
            error = h.refused(step, code)
            contains(error["file"], "versioned.so")
            if file.is_dir():
                file.rmdir()
            elif os.path.lexists(file):
                file.unlink()
            h.version(1)


@case("case 2: a file cut off at every 10 % of its length (1 % in the long form)", timeout=60)
def truncated():
    h = the()
    data = good(8)
    with h.flat(), h.serving():
        for percent in range(0, 100, 1 if LONG else 10):
            h.plugins.put("versioned", data[:len(data) * percent // 100])
            h.refused(("stage", "preflight"), ("empty", "not_elf", "truncated"))
    h.version(1)


@case("case 3: single bits of the file flipped, with the hash of the good one: all refused",
      timeout=300 if LONG else 60)
def flipped_with_sha():
    h = the()
    data = good(9)
    sha256 = hashlib.sha256(data).hexdigest()
    dice = random.Random(3)
    with h.flat(), h.serving():
        for _ in range(3000 if LONG else 60):
            bit = dice.randrange(len(data) * 8)
            h.plugins.put("versioned", patched("<B", bit // 8, data[bit // 8] ^ 1 << bit % 8, data))
            h.refused("stage", "sha256", sha256=sha256)
        h.plugins.put("versioned", data)
        equal(h.node.reload("versioned", sha256=sha256)["result"], "switched")
        equal(h.now(), 9)
    h.version(1)
    h.exchange("versioned")


@case("case 3: the same without a hash: refused, or loaded, and the node goes on",
      timeout=900 if LONG else 90)
def flipped():
    h = the()
    data = good(9)
    dice = random.Random(4)
    outcome = {200: 0, 422: 0}
    for _ in range(3000 if LONG else 60):
        bit = dice.randrange(len(data) * 8)
        h.plugins.put("versioned", patched("<B", bit // 8, data[bit // 8] ^ 1 << bit % 8, data))
        answer = h.node.http("POST", "/modules/reload", {"name": "versioned"})
        check(answer.status in outcome, repr(answer))
        outcome[answer.status] += 1
        if answer.status == 200:  # nobody asks it anything: its code may be broken
            h.version(1)
            h.exchange("versioned")
    h.version(1)
    h.exchange("versioned")
    check(outcome[200] and outcome[422], outcome)
    h.settle()
    h.everybody()


FOREIGN = [("the class", "<B", 4, 1, "class"), ("the byte order", "<B", 5, 2, "byte_order"),
           ("the machine", "<H", 18, 8, "machine"), ("the type", "<H", 16, 2, "type")]


@cases(FOREIGN, "case 4: {0} of the file is another one, and the refusal names it")
def foreign(_what, fmt, at, value, code):
    h = the()
    with h.flat(), h.serving():
        h.plugins.put("versioned", patched(fmt, at, value))
        error = h.refused("preflight", code)
        check(error["found"] and error["expected"] and error["found"] != error["expected"], error)
    h.version(1)


# ---------------------------------------------------------------- another ABI

SIZED = """
#include <obhost/obhost.h>

struct longer {
	ob_module_desc desc;
	void *newer[4];
};

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i, s:I}", "code", 200, "v", 55, "n",
		      ob_req_int(ctx, req, "n", -1));
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6001, answer);
}

static const ob_note note __attribute__((used, section(".note.obhost"), aligned(4))) = {
	8, sizeof(ob_note) - offsetof(ob_note, magic), 1, "obhost", OB_MODULE_MAGIC, OB_ABI_MAJOR,
	OB_ABI_MINOR, SIZE, sizeof(void *), sizeof(time_t), sizeof(off_t), sizeof(bool),
	OB_SANITIZER, JANSSON_VERSION_HEX >> 16, "@NAME@"};

OB_EXTERN OB_EXPORT const struct longer ob_module;
const struct longer ob_module = {.desc = {.magic = OB_MODULE_MAGIC, .size = SIZE,
	.abi_major = OB_ABI_MAJOR, .abi_minor = OB_ABI_MINOR, .name = "@NAME@",
	.version = "1.0.0", .start = start}, .newer = {(void *)1, (void *)2}};
"""


@cases([("a major number more", 4, 2), ("a major number less", 4, 0), ("a newer minor number", 6, 99)],
       "case 5: {0} than the host's ABI: refused, and both sides are named")
def other_abi(_what, at, value):
    h = the()
    with h.flat(), h.serving():
        h.plugins.put("versioned", patched("<H", note_at(good(7)) + at, value))
        error = h.refused("preflight", "abi")
        contains(error["found"], str(value))
        contains(error["expected"], "ABI 1.")
        contains(error["remedy"], "obhost.h")
    h.version(1)


@case("case 5: a longer descriptor, of a newer header, is taken; one shorter than ABI 1.0's is not")
def other_size():
    h = the()
    with h.flat(), h.serving():
        h.plugins.build("versioned", SIZED, SIZE="sizeof(struct longer)")
        h.exchange("versioned")
        equal(h.now(), 55)
        h.plugins.build("versioned", SIZED, SIZE="offsetof(ob_module_desc,reconf)")
        contains(h.refused("preflight", "abi")["found"], "descriptor")
        h.version(1)
        h.exchange("versioned")


LAYOUT = [("pointers", "<B", 12, 4), ("time_t", "<B", 13, 4), ("off_t", "<B", 14, 4),
          ("bool", "<B", 15, 4), ("sanitizer", "<I", 16, 1 if SANITIZE != "address" else 0)]


@cases(LAYOUT, "case 6: built with another layout: the refusal names {0}")
def layout(item, fmt, at, value):
    h = the()
    with h.flat(), h.serving():
        h.plugins.put("versioned", patched(fmt, note_at(good(7)) + at, value))
        error = h.refused("preflight", "layout")
        contains(error["found"], item)
        contains(error["expected"], item)
    h.version(1)


NEEDS = """
#include <obhost/obhost.h>

extern int nobody_has_this(void);

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i}", "code", nobody_has_this());
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6001, answer);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("case 7: an undefined symbol, a library that is missing: refused, never at the first call")
def unresolved():
    h = the()
    folder = temp_dir("lib")
    library = folder / "libgone.so"
    subprocess.run([*CC.split(), "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)],
                   input="int nobody_has_this(void);\nint nobody_has_this(void) { return 200; }\n",
                   text=True, cwd=BUILD, check=True)
    with h.flat(), h.serving():
        h.plugins.build("versioned", NEEDS)
        error = h.refused(("probe", "load"), ("load", "dlopen"))
        contains(error["message"], "nobody_has_this")
        h.plugins.build("versioned", NEEDS, ["-Wl,--no-as-needed", f"-L{folder}", "-lgone"])
        library.unlink()
        error = h.refused(("probe", "load"), ("load", "dlopen"))
        contains(error["message"], "libgone.so")
    h.version(1)


@case("case 8: the note says another thing than the descriptor")
def disagree():
    h = the()
    with h.flat(), h.serving():
        data = good(7)
        h.plugins.put("versioned", patched("<I", note_at(data) + 8, 4096, data))
        contains(h.refused(("probe", "load"), ("identity", "load"))["message"], "disagree")
    h.version(1)


# ---------------------------------------------------------------- hooks that fail

HALF = """
#include <obhost/obhost.h>

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "v", V);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_http(ctx, "GET", "/half", answer, 0);

	for (uint32_t id = 6500; rc == 0 && id < 6600; id++) {
		rc = ob_on_id(ctx, id, answer);
	}
	if (rc == 0 && ob_state(ctx, "half", 1 << 20, V) == NULL) {
		return OB_E_NOMEM;
	}
	return rc != 0 || ob_rehearsing(ctx) ? rc : ob_refuse(ctx, FAILS, "half is enough");
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("case 9: a start that fails half way: nothing of what it registered is left")
def half_started():
    h = the()
    with h.flat(), h.serving():
        h.plugins.build("half", HALF, V=1, FAILS="OB_E_APP")
        answer = h.node.http("POST", "/modules", {"name": "half"})
        equal((answer.status, answer.json["error"]["step"]), (422, "start"))
        contains(answer.json["error"]["message"], "half is enough")
        eventually(lambda: h.node.module("half") is None, "nothing of it")
        equal(h.node.http("GET", "/half").status, 404)
        equal(h.crowd[0].code(6500), 404)
        h.plugins.build("other", HALF, V=2, FAILS="0")
        h.load("other")
        equal((h.crowd[0].ask(6599)["v"], h.node.get("/half")["v"]), (2, 2))
        h.unload("other")
        eventually(lambda: not h.mapped("other"), "it unmapped")


FAULT = """
#include <stdlib.h>
#include <unistd.h>

#include <obhost/obhost.h>

static int *volatile nowhere;

static int fault(int where)
{
	if (where != WHERE) {
		return 0;
	}
	switch (WHAT) {
	case 1:
		*nowhere = 1;
		break;
	case 2:
		abort();
	case 3:
		exit(0);
	case 4:
		_exit(0);
	case 5:
		while (pause() != 0) {
		}
		break;
	default:
		return OB_E_APP;
	}
	return 0;
}

__attribute__((constructor)) static void early(void)
{
	fault(1);
}

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "v", 66);
}

static int check(const json_t *conf, ob_err *err)
{
	return fault(2);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return fault(3) != 0 ? OB_E_APP : ob_on_id(ctx, 6001, answer);
}

static int selftest(ob_ctx *ctx)
{
	return fault(4);
}

static void stop(ob_ctx *ctx)
{
	fault(5);
}

OB_MODULE(@NAME@, .version = "1.0.0", .check = check, .start = start, .selftest = selftest,
	  .stop = stop);
"""
WHERE = ["constructor", "check", "start", "selftest", "stop"]
WHAT = ["writes to address 0", "aborts", "exits with 0", "exits at once", "never returns"]
FAULTS = [(1, "crash"), (2, "crash"), (3, "exit"), (4, "exit"), (5, "timeout")]


@cases([(WHAT[what - 1], what, code) for what, code in FAULTS],
       "case 10: a constructor, check, start, selftest or stop {0} in the rehearsal", timeout=90)
def faults(_word, what, code):
    if what == 1 and SANITIZE:
        skip("the sanitizer makes an exit of it")
    h = hurried() if code == "timeout" else the()
    with h.flat(), h.serving():
        for where in range(1, 6) if LONG or code != "timeout" else (1, 4):
            h.plugins.build("versioned", FAULT, WHERE=where, WHAT=what)
            error = h.refused("probe", code)
            contains(error["found"], WHERE[where - 1] if where > 1 else "load")
            check(len(error["remedy"]) > 5, error)
    h.version(1)


@case("case 11: a selftest that says no")
def selftest():
    h = the()
    with h.flat(), h.serving():
        h.plugins.build("versioned", FAULT, WHERE=4, WHAT=6)
        h.refused(("probe", "selftest"), "selftest")
    h.version(1)


# ---------------------------------------------------------------- what code leaves behind

THREADED = """
#include <pthread.h>
#include <unistd.h>

#include <obhost/obhost.h>

static pthread_t thread;
static int pipe_fds[2];
static volatile int turns;

static void *run(void *arg)
{
	char byte;

	while (JOINS ? read(pipe_fds[0], &byte, 1) < 0 : usleep(1000) == 0) {
		turns++;
	}
	return NULL;
}

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "v", V);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	if (JOINS && pipe(pipe_fds) != 0) {
		return OB_E_APP;
	}
	return pthread_create(&thread, NULL, run, NULL) == 0 ? ob_on_id(ctx, 6601, answer)
							     : OB_E_APP;
}

static void stop(ob_ctx *ctx)
{
	if (JOINS) {
		close(pipe_fds[1]);
		pthread_join(thread, NULL);
		close(pipe_fds[0]);
	}
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""


def left(h, name, number):
    """How the generation before the newest one went: "unmapped" or "zombie"."""
    def done():
        (entry,) = [e for e in h.tx(number)["modules"] if e["name"] == name]
        return entry.get("old")
    return eventually(done, "the end of the old generation")


@case("case 25: a thread of its own that is joined in stop: unmapped; one that is not: the "
      "rehearsal finds it, and its code stays; beyond eight of these: 409")
def threads():
    h = House("threads", crowd=3).start()
    h.plugins.build("threaded", THREADED, ["-pthread"], V=1, JOINS=1)
    h.load("threaded")
    threads_before = h.threads()
    h.plugins.build("threaded", THREADED, ["-pthread"], V=2, JOINS=1)
    equal(left(h, "threaded", h.node.reload("threaded")["tx"]), "unmapped")
    eventually(lambda: h.threads() == threads_before, "the same threads")
    h.plugins.build("threaded", THREADED, ["-pthread"], V=3, JOINS=0)
    h.node.reload("threaded")
    contains(h.module("threaded")["active"]["resident"], "thread")
    h.plugins.build("threaded", THREADED, ["-pthread"], V=4, JOINS=0)
    equal(left(h, "threaded", h.node.reload("threaded")["tx"]), "zombie")
    (old,) = h.module("threaded")["old"]
    equal(old["state"], "zombie")
    contains(old["why"], "thread")
    equal(len(h.mapped("threaded")), 2)
    equal((h.crowd[0].ask(6601)["v"], h.node.metric("obhost_module_zombies_total")), (4, 1))
    with h.serving():
        for _ in range(7):
            h.node.reload("threaded", force=True)
        eventually(lambda: h.node.metric("obhost_module_zombies_total") == 8, "eight zombies")
        error = h.node.reload("versioned", status=409, force=True)["error"]
        equal(error["code"], "zombies")
        contains(error["remedy"], "restart")
        equal(h.crowd[0].ask(6601)["v"], 4)
    h.node.stop()


LEAKY = """
#include <stdio.h>

#include <obhost/obhost.h>

static void answer(ob_ctx *ctx, ob_req req)
{
	size_t len = 0;
	const void *kept = ob_kv_get(ctx, "kept", &len);

	ob_reply_json(ctx, req, "{s:i, s:i, s:b}", "code", 200, "v", V, "kept", kept != NULL);
}

static void keep(ob_ctx *ctx, ob_req req)
{
	ob_kv_set(ctx, "kept", "x", 1);
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static void tick(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_count(ctx, (int)(intptr_t)arg, 1);
}

static void event(ob_ctx *ctx, const ob_event_info *info)
{
}

static int filter(ob_ctx *ctx, const ob_view *view)
{
	return view->id == 6699 ? OB_E_DENIED : 0;
}

static void live(ob_ctx *ctx)
{
	int counter = ob_counter(ctx, "leaky_ticks", "Ticks");

	for (int i = 0; i < 100; i++) {
		ob_timer_start(ctx, 10, i % 2 ? 10 : 60000, tick, (void *)(intptr_t)counter);
	}
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_listen_options port = {.size = sizeof(port), .transport = "ws", .codec = "obespoir",
				  .host = "127.0.0.1",
				  .port = (uint16_t)json_integer_value(json_object_get(conf, "port"))};
	int rc = ob_on_id(ctx, 6700, keep);
	char name[32];

	for (int i = 0; rc == 0 && i < 50; i++) {
		snprintf(name, sizeof(name), "/leaky/%d", i);
		rc = ob_on_http(ctx, "GET", name, answer, 0);
		snprintf(name, sizeof(name), "a.b.leaky.m%d", i);
		rc = rc == 0 ? ob_on_method(ctx, name, answer, 0) : rc;
		rc = rc == 0 ? ob_on_id(ctx, 6701 + (uint32_t)i, answer) : rc;
		rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_OPENED, event) : rc;
	}
	rc = rc == 0 ? ob_on_filter(ctx, 5, filter) : rc;
	return rc == 0 ? ob_listen(ctx, &port) : rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .live = live);
"""


@case("case 26: timers, routes, methods, ids, filters, events, listeners and keys that a module "
      "leaves behind are gone with it")
def leaks():
    h = the()
    port = free_port()
    with h.flat(), h.serving():
        h.plugins.build("leaky", LEAKY, V=1)
        for _ in range(3):
            h.load("leaky", conf={"port": port})
            with Client(port) as other:
                equal(other.ask(6701), {"code": 200, "v": 1, "kept": False})
                equal(other.code(6700), 200)
                equal((other.code(6699), h.node.get("/leaky/49")["kept"]), (403, True))
                ticks = h.node.metric("obhost_module_leaky_ticks_total")
                eventually(lambda t=ticks: h.node.metric("obhost_module_leaky_ticks_total") > t,
                           "ticks")
            h.unload("leaky")
            eventually(lambda: not h.mapped("leaky"), "it unmapped")
            ticks = h.node.metric("obhost_module_leaky_ticks_total")
            equal((h.node.http("GET", "/leaky/0").status, h.crowd[0].code(6701)), (404, 404))
            equal(h.crowd[0].code(6699), 404)
            try:
                Client(port).drop()
                raise AssertionError("the listener is still there")
            except ConnectionRefusedError:
                pass
            equal(h.node.metric("obhost_module_leaky_ticks_total"), ticks)


CLINGING = """
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include <obhost/obhost.h>

static volatile int called;
static pthread_key_t key;

static inline void plain(void)
{
	called++;
}

static inline void with_pointer(void *arg)
{
	called++;
}

static inline void with_both(int status, void *arg)
{
	called++;
}

static inline void on_signal(int number)
{
	called++;
}

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "v", V);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	switch (HOW) {
	case 1:
		pthread_key_create(&key, with_pointer);
		pthread_setspecific(key, &key);
		break;
	case 2:
		atexit(plain);
		break;
	case 3:
		on_exit(with_both, NULL);
		break;
	case 4:
		signal(SIGUSR2, on_signal);
		break;
	default:
		pthread_atfork(plain, plain, plain);
		break;
	}
	return ob_on_id(ctx, 6610 + HOW, answer);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@cases([("a pthread key with a destructor", 1, "zombie"), ("an atexit handler", 2, "unmapped"),
        ("an on_exit handler", 3, "zombie"), ("a signal handler", 4, "zombie"),
        ("a pthread_atfork handler", 5, "unmapped")],
       "case 27: {0}: {2}, and no crash when it goes, nor at the exit")
def clinging(_what, how, end):
    if SANITIZE and how == 3:
        skip("a sanitizer's child ends before it")
    if "clinging" not in house:
        house["clinging"] = House("clinging", crowd=2).start()
    h = house["clinging"]
    name = f"clinging{how}"
    flags = ["-D_GNU_SOURCE", "-pthread"]
    h.plugins.build(name, CLINGING, flags, V=1, HOW=how)
    h.load(name)
    for version in (2, 3):
        h.plugins.build(name, CLINGING, flags, V=version, HOW=how)
        equal(left(h, name, h.node.reload(name)["tx"]), end)
        equal(h.crowd[0].ask(6610 + how)["v"], version)
    equal(len(h.mapped(name)), 3 if end == "zombie" else 1)
    if how == 4:
        os.kill(h.node.pid, signal.SIGUSR2)
    h.load("login")  # spawns a child
    h.unload("login")
    h.everybody()


CPP = """
#include <string>

#include <obhost/obhost.h>

struct Counter {
	int value = 0;
	~Counter() { value = -1; }
};

struct Single {
	static inline Counter counter;
};

#if LOCAL
static thread_local Counter local;
#else
static Counter local;
#endif

static void inner(ob_ctx *ctx, ob_timer, void *arg)
{
	ob_req *req = static_cast<ob_req *>(arg);

	try {
		throw "V" + std::to_string(V);
	} catch (const std::string &e) {
		ob_reply_json(ctx, *req, "{s:i, s:i, s:i, s:i, s:s}", "code", 200, "v", V, "single",
			      ++Single::counter.value, "local", ++local.value, "what", e.c_str());
	}
	delete req;
}

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_request_hold(ctx, req);
	ob_timer_start(ctx, 1, 0, inner, new ob_req(req));
}

static int start(ob_ctx *ctx, const json_t *)
{
	return ob_on_id(ctx, 6603, answer);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def compile_cpp(h, name, flags=(), **defines):
    """C++ into the module's file."""
    folder = temp_dir("cpp")
    (folder / "x.cc").write_text(CPP.replace("@NAME@", name), encoding="utf-8")
    words = [f"-D{key}={value}" for key, value in defines.items()]
    made = subprocess.run([*CXX.split(), "-std=c++20", "-shared", "-fPIC", "-O0", *words,
                           *sdk_cflags(), *sanitizer_cflags(), *flags, str(folder / "x.cc"),
                           "-o", str(folder / "x.so")], cwd=BUILD, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    equal(made.returncode, 0, made.stdout)
    h.plugins.copy(name, folder / "x.so")


@case("case 28: C++: unique symbols are refused; the next generation never sees the old one's "
      "objects; exceptions are caught in a callback", timeout=60)
def cpp():
    if not shutil.which(CXX.split()[0]):
        skip(f"no C++ compiler ({CXX})")
    h = House("cpp", crowd=2).start()
    # What a template leaves in the module must not be found by libstdc++, which is never unmapped.
    hidden = ["-fvisibility=hidden", "-fvisibility-inlines-hidden"]
    hidden += [] if "clang" in CXX else ["-fno-gnu-unique"]
    compile_cpp(h, "plus", hidden, V=1, LOCAL=0)
    h.load("plus")
    client = h.crowd[0]
    for n in (1, 2):
        equal(client.ask(6603), {"code": 200, "v": 1, "single": n, "local": n, "what": "V1"})
    if "clang" not in CXX:
        compile_cpp(h, "plus", V=2, LOCAL=0)
        contains(h.refused("preflight", "gnu_unique", "plus")["remedy"], "-fno-gnu-unique")
    compile_cpp(h, "plus", hidden, V=3, LOCAL=0)
    equal(left(h, "plus", h.node.reload("plus")["tx"]), "unmapped")
    equal(client.ask(6603), {"code": 200, "v": 3, "single": 1, "local": 1, "what": "V3"})
    compile_cpp(h, "plus", hidden, V=4, LOCAL=1)
    h.node.reload("plus")
    equal(client.ask(6603), {"code": 200, "v": 4, "single": 1, "local": 1, "what": "V4"})
    compile_cpp(h, "plus", hidden, V=5, LOCAL=1)
    left(h, "plus", h.node.reload("plus")["tx"])  # the loop's thread holds a destructor of it
    equal(client.ask(6603), {"code": 200, "v": 5, "single": 1, "local": 1, "what": "V5"})
    h.node.stop()


def built(flags=(), extra=""):
    return lambda: compile_plugin("versioned", VERSIONED + extra, flags, V=29).read_bytes()


TEXTREL = """
__asm__(".text\\n.quad ob_textrel_target\\n.previous\\n.data\\n.globl ob_textrel_target\\n"
	"ob_textrel_target: .quad 0\\n.previous");
"""
LINT = [("initial-exec TLS", built(["-ftls-model=initial-exec"],
                                   "\n__thread int t; int *use(void); int *use(void) { return &t; }"),
         "static_tls"),
        ("-z nodelete", built(["-Wl,-z,nodelete"]), "nodelete"),
        ("text relocations", built(["-Wl,-z,notext"], TEXTREL), "textrel"),
        ("an executable stack", built(["-Wl,-z,execstack"]), "exec_stack")]


@cases(LINT, "case 29: {0}: refused with the linker's or compiler's flag to blame")
def linted(what, make, code):
    if what == "text relocations" and os.uname().machine != "x86_64":
        skip("the assembly is x86_64's")
    h = the()
    with h.flat(), h.serving():
        h.plugins.put("versioned", make())
        check(len(h.refused("preflight", code)["remedy"]) > 10)
    h.version(1)


LINKED = """
#include <curl/curl.h>
#include <openssl/ssl.h>
#include <sqlite3.h>

#include <obhost/obhost.h>

static sqlite3 *db;

static void answer(ob_ctx *ctx, ob_req req)
{
	CURL *curl = curl_easy_init();
	SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
	int rc = sqlite3_exec(db, "insert into t values (1)", NULL, NULL, NULL);

	ob_reply_json(ctx, req, "{s:i, s:i, s:b}", "code", 200, "v", V, "ok",
		      curl != NULL && ssl != NULL && rc == SQLITE_OK);
	SSL_CTX_free(ssl);
	curl_easy_cleanup(curl);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	if (sqlite3_open(":memory:", &db) != SQLITE_OK ||
	    sqlite3_exec(db, "create table t (x)", NULL, NULL, NULL) != SQLITE_OK) {
		return OB_E_APP;
	}
	return ob_on_id(ctx, 6604, answer);
}

static void stop(ob_ctx *ctx)
{
	sqlite3_close(db);
	db = NULL;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""
LIBRARIES = ["libcurl", "libssl", "sqlite3"]


@case("case 30: a module that links libcurl, libssl and sqlite is exchanged again and again",
      timeout=240)
def libraries():
    found = subprocess.run(["pkg-config", "--cflags", "--libs", *LIBRARIES], check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if found.returncode != 0:
        skip(f"not all of {', '.join(LIBRARIES)} are installed")
    h = House("libraries", crowd=2).start()

    def build(number):
        folder = temp_dir("linked")
        file = folder / "linked.c"
        file.write_text(LINKED.replace("@NAME@", "linked"), encoding="utf-8")
        words = found.stdout.split()
        subprocess.run([*CC.split(), "-shared", "-fPIC", "-O1", f"-DV={number}", *sdk_cflags(),
                        *sanitizer_cflags(), str(file), "-o", str(folder / "linked.so"), *words],
                       cwd=BUILD, check=True)
        return folder / "linked.so"
    files = [build(number) for number in (1, 2)]
    h.plugins.copy("linked", files[0])
    h.load("linked")
    # Before it is flat the node fills what it keeps of past transactions, in some 100 of them.
    before, cycles, kib = (200, 300, 1024) if LONG else (4, 12, 4096)

    def some(count):
        for n in range(1, count + 1):
            h.plugins.copy("linked", files[n % 2])
            h.exchange("linked", force=True)
            equal(h.crowd[0].ask(6604), {"code": 200, "v": n % 2 + 1, "ok": True})
        h.settle("linked")
    some(before)
    with h.flat("linked"):
        rss = h.node.rss_kib()
        some(cycles)
        h.node.check_growth(rss, kib)
    h.node.stop()


# ---------------------------------------------------------------- the installed file

@case("case 31: the file of a loaded module is copied over, cut off, renamed over, deleted, and "
      "its directory's link turned")
def mistreated():
    h = the()
    file = h.plugins.file("versioned")
    with h.flat(), h.serving(), Verbs(h.node):
        h.version(1)
        h.exchange("versioned", force=True)
        other = good(3)
        for what in ("copied over", "cut off", "renamed over", "deleted"):
            h.version(1)
            if what == "copied over":
                with open(file, "r+b") as opened:
                    opened.write(b"\0" * len(other))
            elif what == "cut off":
                os.truncate(file, 100)
            elif what == "renamed over":
                h.plugins.put("versioned", b"rubbish")
            else:
                file.unlink()
            h.everybody()
            equal((h.now(), h.module()["active"]["disk"]), (1, "differs"), what)
    h.version(1)


@case("case 31: a directory of modules that is a link: turned to another one, the next reload "
      "finds what is there")
def turned():
    real = [temp_dir("real") for _ in range(2)]
    for number, folder in enumerate(real, 1):
        shutil.copy(compile_plugin("versioned", VERSIONED, V=number), folder / "versioned.so")
    link = temp_dir("links") / "modules"
    link.symlink_to(real[0])
    h = House("turned", crowd=2)
    h.plugins.remove("versioned")
    h.node.conf["module_dirs"].insert(0, str(link))
    h.start()
    equal(h.now(), 1)
    link.unlink()
    link.symlink_to(real[1])
    equal(h.now(), 1)
    equal(h.node.reload("versioned")["result"], "switched")
    equal(h.now(), 2)
    h.node.stop()


@case("case 32: the same bytes again: unchanged; the same inode with new bytes, and an older time: "
      "exchanged")
def identity():
    h = the()
    file = h.version(1)
    with h.flat(), h.serving():
        h.exchange("versioned", force=True)
        h.plugins.put("versioned", file.read_bytes())  # another inode, another time
        equal(h.node.reload("versioned")["result"], "unchanged")
        inode = file.stat().st_ino
        with open(file, "r+b") as opened:
            opened.write(good(2))
            opened.truncate()
        equal(file.stat().st_ino, inode)
        equal(h.node.reload("versioned")["result"], "switched")
        equal(h.now(), 2)
        h.version(3)
        os.utime(file, (1, 1))
        equal(h.node.reload("versioned")["result"], "switched")
        equal(h.now(), 3)
    h.version(1)
    h.exchange("versioned")


# ---------------------------------------------------------------- who may put it there

@case("case 44: a path for a name, a link, a file or directory that others may write, a foreign "
      "owner: refused, and written down")
def trust():
    h = the()
    file = h.plugins.file("versioned")
    h.version(2)
    with h.flat(), h.serving(), Verbs(h.node) as verbs:
        for name in ("../versioned", "/etc/passwd", "a/b", "..", "versioned.so/"):
            for verb in ("modules.reload", "modules.load"):
                check(verbs(verb, name=name)[0] in (400, 404), f"{verb} {name}")
        equal(verbs("modules.reload", name="versioned", path=str(file))[0], 400)
        equal(h.node.http("POST", "/modules", {"name": "x", "path": str(file)}).status, 400)
        real = h.plugins.path / "real"
        file.rename(real)
        file.symlink_to(real)
        h.refused("stage", "symlink")
        file.unlink()
        real.rename(file)
        file.chmod(0o777)
        error = h.refused("stage", "writable")
        equal((error["file"], error["remedy"]), (str(file), "chmod o-w it"))
        file.chmod(0o755)
        h.plugins.path.chmod(0o777)
        equal(h.refused("stage", "writable")["file"], str(h.plugins.path))
        h.plugins.path.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(file, 12345, 0)
            h.refused("stage", "owner")
            os.chown(file, 0, 0)
        h.refused("stage", "sha256", sha256="0" * 64)
    eventually(lambda: "refused at stage" in h.node.log(), "the line in the log")
    h.version(1)


@case("case 44: who can change the program need not be kept from its modules: directories that lead "
      "to both may be anybody's, one of the modules alone may not")
def beside_the_program():
    open_to_all = temp_dir("open")
    modules = open_to_all / "modules"
    modules.mkdir()
    open_to_all.chmod(0o777)
    program = open_to_all / "obhost"
    shutil.copy2(OBHOST, program)
    (modules / "versioned.so").write_bytes(good(1))
    conf = open_to_all / "node.conf"
    conf.write_text(json.dumps({"name": "beside", "type": "x", "modules": ["versioned"],
                                "module_dirs": [str(modules)],
                                "state_dir": str(open_to_all / "state")}), encoding="utf-8")
    def test():
        return subprocess.run([program, "-t", "-c", conf], check=False, capture_output=True,
                              text=True)
    run = test()
    equal(run.returncode, 0, run.stderr)
    modules.chmod(0o777)
    run = test()
    check(run.returncode != 0, run.stderr)
    contains(run.stderr, "mode 0777")


@case("case 44: a file that is exchanged while it is copied: what runs is what was hashed",
      timeout=60)
def exchanged_meanwhile():
    h = the()
    file = h.plugins.file("versioned")
    builds = {hashlib.sha256(good(n)).hexdigest(): n for n in (1, 2)}
    with h.flat(), h.serving():
        for number in range(60 if LONG else 12):
            h.version(number % 2 + 1)
            h.node.http("POST", "/modules/reload", {"name": "versioned", "wait": "none"})
            with open(file, "r+b") as opened:
                opened.write(good((number + 1) % 2 + 1))
            def ended():
                return h.node.http("POST", "/modules/reload", {"name": "echo"}).status == 200
            eventually(ended, "its end")
            (now,) = {builds.get(h.module()["active"]["sha256"])}
            if now is not None:
                equal(h.now(), now)
        h.version(1)
        h.exchange("versioned", force=True)


# ---------------------------------------------------------------- the staging directory

class Mounted(Node):
    """A node with a file system of its own for its state, in a mount namespace of its own."""

    options = ""

    def command(self, *args):
        return ["unshare", "-rm", "sh", "-c",
                'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"', "sh", self.options,
                str(self.folder / "state"), *super().command(*args)]


def mountable():
    """Files must belong to root inside the namespace, too."""
    done = subprocess.run(["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"], check=False,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if os.geteuid() != 0 or done.returncode != 0:
        skip("needs root and mount namespaces")


@case("case 46: a state_dir that is mounted noexec stops the start, and says so")
def noexec():
    mountable()
    node = Mounted("noexec", modules=["service"], rpc=None, http=None)
    node.options = "noexec"
    (node.folder / "state").mkdir()
    node.launch()
    equal(node.wait(), 1)
    contains(node.log(), "noexec")


@case("case 46: a state_dir without room: the reload is refused, and works when there is room")
def no_room():
    mountable()
    h = House("full", crowd=2, kind=Mounted)
    h.node.options = "size=8m"
    (h.node.folder / "state").mkdir()
    h.start()
    state = f"/proc/{h.node.pid}/root{h.node.folder}/state"
    h.version(2)
    ballast = os.open(f"{state}/ballast", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(ballast, b"x" * 4096)
    except OSError as error:
        equal(error.errno, errno.ENOSPC)
    finally:
        os.close(ballast)
    answer = h.node.http("POST", "/modules/reload", {"name": "versioned"})
    error = answer.json["error"]
    equal((answer.status, error["step"], error["code"]), (422, "stage", "no_stage"))
    contains(error["found"], "No space")
    contains(error["remedy"], "room")
    equal(h.now(), 1)
    os.unlink(f"{state}/ballast")
    equal(h.node.reload("versioned")["result"], "switched")
    equal(h.now(), 2)
    h.leave()
    h.node.kill()


@case("case 46: what a killed node left in its stage is gone after the next start")
def leftovers():
    h = House("leftovers", crowd=2).start()
    h.exchange("versioned", force=True)
    stage = h.node.state / "stage"
    h.leave()
    h.node.kill()
    check(len(list(stage.iterdir())) >= 5)
    (stage / "versioned.99.so").write_bytes(b"rubbish")
    h.start()
    check("versioned.99.so" not in h.staged(), h.staged())
    check(len(h.staged()) <= 6, h.staged())
    h.node.stop()
    equal(list(stage.iterdir()), [])


if __name__ == "__main__":
    main(all_ended, timeout=1800 if LONG else 400)
