#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The numbered cases of docs/hot-swap.md that are about a swap itself: what is in flight, what
comes twice, what fails behind the switch, who may ask, and a node that is short of everything."""

import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

from obtest import sources
from obtest.env import LONG, MODULES, SANITIZE, SLOW
from obtest.nodes import all_ended, free_port
from obtest.plugin import VERSIONED, compile_plugin
from obtest.seed import Client, Closed, frame, packet
from obtest.swapping import ID, House, Later, Verbs
from obtest.tap import case, cases, check, comment, contains, equal, eventually, main, skip
from obtest.temp import temp_dir

house = {}


def the():
    """The node of most cases."""
    if "node" not in house:
        house["node"] = House("life").start()
    return house["node"]


def careful():
    """One with a probation."""
    if "careful" not in house:
        house["careful"] = House("careful", crowd=5, reload={"probation": 300}).start()
        commit(house["careful"])
    return house["careful"]


def commit(h):
    """Ends what is in probation, the start too; version 1 is a good build then."""
    h.exchange("versioned", force=True)
    equal(h.node.http("POST", "/modules/versioned/commit").status, 200)
    h.settle()


# ---------------------------------------------------------------- what has been said already

ECHO = 30000
QUEUE = 256 * 1024
KEPT = 65536  # by the kernel, for a client that does not read


def numbered(number):
    """A body that is like no other, of a length of its own."""
    return b"%d " % number * (100 + number % 150)


@case("case 36: a client that reads nothing, with all the queue the node allows it, across swaps of "
      "everything its answers go through: it gets them whole, once, in order", timeout=60)
def slow_client():
    h = House("slow", crowd=5, limits={"client_queue": QUEUE}).start()
    total = 6000

    def queued(session):
        return next(entry["queued"] for entry in h.node.get("/sessions")["sessions"]
                    if entry["id"] == session)
    others = {entry["id"] for entry in h.node.get("/sessions")["sessions"]}
    with Client(h.node.ws_port, timeout=30, receive=KEPT) as client:
        client.ask(ECHO, 1)
        mine = next(entry["id"] for entry in h.node.get("/sessions")["sessions"]
                    if entry["id"] not in others)
        sender = Later(client.send_bytes, b"".join(
            frame(packet(ECHO, numbered(number))) for number in range(total)))

        def full_queue():
            """What it comes to: between the half, at which no more is read, and half of that."""
            before = queued(mine)
            time.sleep(0.5 * SLOW)
            return before >= QUEUE // 4 and queued(mine) == before and before
        full = eventually(full_queue, "a full queue", 30)
        with h.flat(), h.serving():
            for round_ in range(100 if LONG else 10):
                h.version(1 + round_ % 2)
                for names in (["echo"], ["proxy"], ["codec_obespoir"],
                              ["proxy", "codec_obespoir", "http_admin", "echo", "versioned"]):
                    h.exchange(*names, force=True)
                    check(queued(mine) >= QUEUE // 4, "the queue is full no more")
        for number in range(total):
            got, body = client.packet()
            equal(got, ECHO)
            check(body == numbered(number), f"answer {number} is {body[:40]!r}")
        sender.result()
        equal(client.ask(ECHO, "end"), "end")
    comment(f"{full} bytes were queued, {total} answers")
    h.node.stop()


# ---------------------------------------------------------------- work in flight

COUNTING = """
#include <stdlib.h>

#include <obhost/obhost.h>

static uint64_t *total;

static void late(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_req *req = arg;

	++*total;
	ob_reply_json(ctx, *req, "{s:i, s:i}", "code", 200, "v", V);
	free(req);
}

static void add(ob_ctx *ctx, ob_req req)
{
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	ob_timer_start(ctx, (uint64_t)ob_req_int(ctx, req, "ms", 10), 0, late, kept);
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:I}", "code", 200, "total", (json_int_t)*total);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 6101, add);

	total = ob_state(ctx, "total", sizeof(*total), 1);
	return total == NULL ? OB_E_NOMEM : rc != 0 ? rc : ob_on_id(ctx, 6102, show);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("case 15: what the old generation finishes after the switch counts in the shared state",
      timeout=60)
def late_changes():
    h = the()
    h.plugins.build("counting", COUNTING, V=1)
    h.load("counting")
    asked = 0
    with h.flat("counting"), h.serving():
        for version in range(2, 22 if LONG else 8):
            for client in h.crowd:
                for ms in (10, 50, 250):
                    client.tell(6101, {"ms": ms})
                    asked += 1
            eventually(lambda: h.module("counting")["active"]["in_flight"] > 0, "requests held")
            h.plugins.build("counting", COUNTING, V=version)
            h.exchange("counting")
            for client in h.crowd:
                equal([client.reply(6101)["code"] for _ in range(3)], [200] * 3)
        equal(h.crowd[0].ask(6102)["total"], asked)
    h.unload("counting")


SLEEPER = """
#include <unistd.h>

#include <obhost/obhost.h>

__attribute__((constructor)) static void waits(void)
{
	while (access(GATE, F_OK) != 0) {
		usleep(1000);
	}
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return 0;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def gated(h):
    """The module `sleeper` is being loaded until the file is made that is returned."""
    gate = temp_dir("gate") / "open"
    h.plugins.build("sleeper", SLEEPER, GATE=f'"{gate}"')
    loading = Later(h.node.http, "POST", "/modules", {"name": "sleeper"})
    eventually(lambda: any(name.startswith("sleeper") for name in h.staged()), "it begun")
    return gate, loading


@case("case 16: reloads at the same time: one after the other; of the same module the last one "
      "wins, and the one before it is told so")
def at_once():
    h = the()
    h.version(1, "second", ID=6002)
    last_tx = h.load("second")["tx"]
    with h.flat("versioned", "second"), h.serving():
        gate, loading = gated(h)
        h.version(2)
        h.version(2, "second", ID=6002)
        first, other, last = [Verbs(h.node) for _ in range(3)]
        asked = []
        for verbs, name in ((first, "versioned"), (other, "second"), (last, "versioned")):
            asked.append(Later(verbs, "modules.reload", name=name))
            number = last_tx + 1 + len(asked)
            eventually(lambda n=number: h.node.http("GET", f"/modules/tx/{n}").status == 200,
                       f"transaction {number} waiting")
        gate.touch()
        status, body = asked[0].result()
        equal((status, body["error"]["code"]), (409, "superseded"))
        equal([asked[n].result()[0] for n in (1, 2)], [200, 200])
        equal(loading.result().status, 200)
        check(loading.result().json["tx"] < asked[1].result()[1]["tx"]
              < asked[2].result()[1]["tx"], "the order")
        equal((h.now(), h.crowd[0].ask(6002)["v"]), (2, 2))
        for verbs in (first, other, last):
            verbs.close()
        h.unload("sleeper")
        eventually(lambda: not h.mapped("sleeper"), "it unmapped")
    h.unload("second")


TALLY = """
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <obhost/obhost.h>

/* How often the connection has spoken: at another place of the state in each version. */
struct state {
	uint64_t count[4];
};

static unsigned leaps; /* states that came from the version before the last */

static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	struct state *s = state;
	uint8_t *end = memchr(data, '\\n', len);

	if (end == NULL) {
		out->kind = OB_PACKET_NEED;
		out->need = len + 1;
		return 0;
	}
	s->count[V]++;
	out->kind = OB_PACKET_MESSAGE;
	out->id = 30000;
	out->data = data;
	out->len = (size_t)(end - data);
	return out->len + 1;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *p, uint8_t *out, size_t cap)
{
	const struct state *s = state;

	return (size_t)snprintf((char *)out, cap, "%d %u %.*s\\n", V, (unsigned)s->count[V],
	                        (int)p->len, (const char *)p->data);
}

static int migrate(ob_ctx *ctx, uint32_t from, const void *old_state, void *state)
{
	const struct state *old = old_state;
	struct state *s = state;

	usleep(5000);
	leaps += from + 2 == V;
	s->count[V] = old->count[from];
	return 0;
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "leaps", (int)leaps);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_codec tally = {
		.size = sizeof(tally), .state_size = sizeof(struct state), .state_ver = V,
		.flags = OB_CODEC_STREAM | OB_CODEC_TEXT, .overhead = 40, .name = "tally",
		.decode = decode, .encode = encode, .migrate = migrate,
	};
	int rc = ob_on_codec(ctx, &tally);

	return rc != 0 ? rc : ob_on_id(ctx, 6121, show);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


class Lines:
    """A connection of the codec above."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10 * SLOW)
        self.file = self.socket.makefile("rb")
        self.asked = 0

    def ask(self, word):
        """Says it; the version that answers. The count must be right."""
        self.socket.sendall(b"%s\n" % word)
        self.asked += 1
        version, count, said = self.file.readline().split()
        equal((int(count), said), (self.asked, word))
        return int(version)


@case("case 20: a codec is replaced while the states of its 500 connections still move to the version "
      "before: each arrives, with what it held, none is closed", timeout=60)
def sweeping():
    port = free_port()
    h = House("sweep", crowd=5,
              listen=[{"transport": "tcp", "codec": "tally", "port": port}])
    builds = {version: compile_plugin("codec_tally", TALLY, V=version).read_bytes()
              for version in (1, 2, 3)}
    h.plugins.put("codec_tally", builds[1])
    h.start()
    lines = [Lines(port) for _ in range(500)]
    for number, line in enumerate(lines):
        equal(line.ask(b"w%d" % number), 1)
    with h.flat("codec_tally"), h.serving():
        for version in (2, 3):
            h.plugins.put("codec_tally", builds[version])
            h.exchange("codec_tally")
        leaps = eventually(lambda: h.crowd[0].ask(6121)["leaps"], "states of version 1")
        for number, line in enumerate(lines[::-1]):
            equal(line.ask(b"x%d" % number), 3)
    for number, line in enumerate(lines):
        equal(line.ask(b"y%d" % number), 3)
    comment(f"at least {leaps} states went from version 1 to 3")
    h.node.stop()


@case("case 19: a reload while the generation before still drains is taken; with four of them: "
      "409, until one has gone")
def draining():
    h = House("draining", crowd=3, reload={"drain": 600}, call_timeout=600).start()
    h.plugins.build("holder", sources.HOLDER, V=1)
    h.load("holder")
    waiting = []
    with h.serving():
        for version in range(2, 6):
            client = h.client()
            client.tell(6302)
            waiting.append(client)
            eventually(lambda: h.module("holder")["active"]["in_flight"] > 0, "a request held")
            h.plugins.build("holder", sources.HOLDER, V=version)
            equal(h.node.reload("holder")["result"], "switched")
            equal(h.crowd[0].ask(6303)["v"], version)
        equal([old["state"] for old in h.module("holder")["old"]], ["draining"] * 4)
        equal(len(h.mapped("holder")), 5)
        h.plugins.build("holder", sources.HOLDER, V=6)
        error = h.node.reload("holder", status=409)["error"]
        equal(error["code"], "draining")
        contains(error["message"], "4 old generations")
        equal(h.node.reload("versioned", force=True)["result"], "switched")
        waiting[0].drop()
        equal(h.crowd[0].ask(6303)["v"], 5)
    h.node.stop()


@case("case 20: a reload during a probation ends it: committed, and the next one begins")
def in_probation():
    h = careful()
    with h.serving():
        h.version(2)
        first = h.node.reload("versioned")["tx"]
        equal((h.tx(first)["result"], h.tx(first)["step"]), ("switched", "probation"))
        equal(h.module()["old"][0]["state"], "standby")
        h.version(3)
        second = h.node.reload("versioned")["tx"]
        equal((h.tx(first)["result"], h.tx(second)["step"]), ("committed", "probation"))
        equal(h.now(), 3)
        equal(h.node.http("POST", "/modules/versioned/commit").status, 200)
        h.settle()
    h.version(1)
    commit(h)


FAILING = """
#include <unistd.h>

#include <obhost/obhost.h>

static void answer(ob_ctx *ctx, ob_req req)
{
	if (STALLS) {
		usleep(STALLS * 1000);
	}
	if (FAILS && ob_req_int(ctx, req, "n", 0) % FAILS == 0) {
		ob_fail(ctx, req, CODE, "on purpose");
		return;
	}
	ob_reply_json(ctx, req, "{s:i, s:i, s:I}", "code", 200, "v", V, "n",
		      ob_req_int(ctx, req, "n", -1));
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6001, answer);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@cases([("requests that fail", 2, 0, "requests failed"), ("a callback that stalls", 0, 1300,
                                                          "held the loop")],
       "case 21: {0} in probation: the old generation serves again, nobody is disconnected",
       timeout=60)
def trips(_what, fails, stalls, why):
    h = careful()
    h.plugins.build("versioned", FAILING, V=2, FAILS=fails, STALLS=stalls * SLOW, CODE="OB_E_APP")
    h.node.conf["reload"]["stall"] = 1 * SLOW
    h.node.write_conf()
    equal(h.node.http("POST", "/config/reload").status, 200)
    with h.serving(codes=(200, 500)):
        tx = h.node.reload("versioned")["tx"]
        eventually(lambda: h.tx(tx)["result"] == "returned", "the return", 20)
        contains(h.tx(tx)["why"], why)
    equal(h.now(), 1)
    h.settle()
    equal(h.node.metric("obhost_module_returned_total") > 0, True)
    h.version(1)


@case("case 21: refusals that may well be right are no reason to go back")
def denies():
    h = careful()
    h.plugins.build("versioned", FAILING, V=2, FAILS=2, STALLS=0, CODE="OB_E_DENIED")
    with h.serving(codes=(200, 403)):
        tx = h.node.reload("versioned")["tx"]
        counts = lambda: h.tx(tx)["probation"]["modules"][0]["to"]  # noqa: E731
        eventually(lambda: counts()["handled"] > 200, "the requests")
        equal(counts()["failed"], 0)
        h.node.reload("versioned", force=True)  # ends the probation
        equal(h.tx(tx)["result"], "committed")
        h.version(1)
        commit(h)
    equal(h.now(), 1)


CRASHING = VERSIONED.replace("static int start(", """
static int *volatile nowhere;

static void crash(ob_ctx *ctx, ob_req req)
{
	if (SANITIZED) {
		__builtin_abort();
	}
	*nowhere = 1;
}

static int start(""").replace("return ob_on_id", "return ob_on_id(ctx, 6009, crash) != 0 ? OB_E_EXISTS :"
                              " ob_on_id")


@case("case 22: a build that crashes the node in its probation: the restart takes the last good "
      "one, the build is in quarantine until it is forced", timeout=60)
def crashes():
    h = House("crashes", crowd=3, reload={"probation": 300}).start()
    commit(h)
    file = h.plugins.build("versioned", CRASHING, V=2, SANITIZED=int(bool(SANITIZE)))
    equal(h.node.reload("versioned")["result"], "switched")
    equal(h.now(), 2)
    sha256 = h.module()["active"]["sha256"]
    with h.client() as victim:
        victim.tell(6009)
        try:
            victim.packet()
        except Closed:
            pass
    ended = h.node.wait()
    check(ended in (-signal.SIGSEGV, -signal.SIGABRT, 99), f"status {ended}")
    h.node.complaints.clear()
    h.restart()
    equal(h.now(), 1)
    h.node.says("quarantine")
    check(h.module()["active"]["sha256"] != sha256)
    error = h.refused("stage", "quarantine")
    contains(error["remedy"], "force")
    equal(h.node.reload("versioned", force=True)["result"], "switched")
    equal((h.now(), h.module()["active"]["sha256"]), (2, sha256))
    h.leave()
    h.node.kill()  # from outside: no reason to suspect the build
    h.start()
    equal((h.now(), h.module()["active"]["sha256"]), (2, sha256))
    check(file.exists())
    h.node.stop()


@case("case 23: what a handler keeps beyond the swap is answered by its own code; what it never "
      "ends, when reload.drain is over: 503, and the code goes")
def held():
    h = House("held", crowd=3, reload={"drain": 1}, call_timeout=600).start()
    h.plugins.build("holder", sources.HOLDER, V=1)
    h.load("holder")
    client = h.crowd[0]
    with h.serving():
        client.tell(6301, {"ms": 200})
        eventually(lambda: h.module("holder")["active"]["in_flight"] > 0, "it")
        h.plugins.build("holder", sources.HOLDER, V=2)
        h.node.reload("holder")
        equal((client.reply(6301)["v"], client.ask(6303)["v"]), (1, 2))
        h.settle("holder")
        client.tell(6302)
        eventually(lambda: h.module("holder")["active"]["in_flight"] > 0, "it")
        h.plugins.build("holder", sources.HOLDER, V=3)
        h.node.reload("holder")
        equal(client.reply(6302)["code"], 503)
        h.settle("holder")
    h.node.stop()


JOBS = """
#include <unistd.h>

#include <obhost/obhost.h>

static void work(void *arg)
{
	usleep((useconds_t)(uintptr_t)arg * 1000);
}

static void done(ob_ctx *ctx, void *arg)
{
	ob_count(ctx, ob_counter(ctx, "jobs_done", "Jobs"), 1);
}

static void begin(ob_ctx *ctx, ob_req req)
{
	int rc = 0;

	for (json_int_t i = ob_req_int(ctx, req, "jobs", 1); rc == 0 && i > 0; i--) {
		rc = ob_job(ctx, work, done, (void *)(uintptr_t)ob_req_int(ctx, req, "ms", 1));
	}
	ob_reply_json(ctx, req, "{s:i, s:i, s:i}", "code", 200, "rc", rc, "v", V);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6103, begin);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("case 24: jobs that run and that wait for a thread are counted and finish in the old code; "
      "one beyond reload.drain makes a zombie, which goes when it has ended", timeout=60)
def jobs():
    h = House("jobs", crowd=3, reload={"drain": 0.5}).start()
    h.plugins.build("jobs", JOBS, V=1)
    h.load("jobs")
    client = h.crowd[0]
    with h.serving():
        equal(client.ask(6103, {"jobs": 12, "ms": 100})["rc"], 0)
        equal(h.module("jobs")["active"]["in_flight"], 12)
        h.plugins.build("jobs", JOBS, V=2)
        h.node.reload("jobs")
        h.settle("jobs")
        equal(h.node.metric("obhost_module_jobs_done_total"), 12)
        equal(client.ask(6103, {"jobs": 1, "ms": 2500})["v"], 2)
        h.plugins.build("jobs", JOBS, V=3)
        h.node.reload("jobs")

        def zombie():
            return [old for old in h.module("jobs")["old"] if old["state"] == "zombie"]
        (old,) = eventually(zombie, "a zombie")
        contains(old["why"], "in flight")
        equal(client.ask(6103)["v"], 3)
        h.settle("jobs")
    h.node.stop()


# ---------------------------------------------------------------- state of another version

STATEFUL = """
#include <string.h>
#include <unistd.h>

#include <obhost/obhost.h>

static uint64_t count;
static char ballast[1 << 20];

static void add(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i, s:I}", "code", 200, "v", WRITES, "count",
		      (json_int_t)++count);
}

static int save(ob_ctx *ctx, ob_writer *w, uint32_t version)
{
	uint8_t bytes[8];
	int rc = 0;

	if (WHAT == 1) {
		return OB_E_APP;
	}
	if (WHAT == 2) {
		usleep(400000);
	}
	for (uint32_t tag = 100; WHAT == 3 && rc == 0 && tag < 170; tag++) {
		rc = ob_section_write(ctx, w, tag, 0, ballast, sizeof(ballast));
	}
	for (int i = 0; i < 8; i++) {
		bytes[i] = (uint8_t)(count >> 8 * i);
	}
	for (uint32_t tag = 1; rc == 0 && tag <= 3; tag++) {
		rc = ob_section_write(ctx, w, tag, OB_SECTION_CRITICAL, bytes, sizeof(bytes));
	}
	if (rc == 0 && version > 1) {
		rc = ob_section_write(ctx, w, 50, 0, "new", 3);
	}
	return rc == 0 && WHAT == 4 ? ob_section_write(ctx, w, 60, OB_SECTION_CRITICAL, "", 0) : rc;
}

static int load(ob_ctx *ctx, ob_reader *r, uint32_t version)
{
	uint64_t value = 0;

	for (uint32_t tag = 1; tag <= 3; tag++) {
		size_t len;
		const uint8_t *bytes = ob_section_read(ctx, r, tag, &len);

		if (bytes == NULL || len != 8 || (WHAT == 10 + (int)tag && !ob_rehearsing(ctx)) ||
		    WHAT == 20 + (int)tag) {
			return OB_E_BAD;
		}
		value = 0;
		for (int i = 7; i >= 0; i--) {
			value = value << 8 | bytes[i];
		}
	}
	count = value;
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6111, add);
}

OB_MODULE(@NAME@, .version = "1.0.0", .state_write = WRITES, .state_read_min = READS,
	  .start = start, .save = save, .load = load);
"""


def stateful(h, writes, reads=1, what=0):
    h.plugins.build("stateful", STATEFUL, WRITES=writes, READS=reads, WHAT=what)


def counted(h, version, count):
    answer = h.crowd[0].ask(6111)
    equal((answer["v"], answer["count"]), (version, count))


@cases([("fails", 1, "save"), ("takes longer than reload.budget", 2, "budget"),
        ("is larger than 64 MiB", 3, "save")],
       "case 12: a save that {0}: refused after three attempts, the old generation goes on")
def saves(_what, what, code):
    h = the()
    stateful(h, 1, what=what)
    h.load("stateful")
    with h.flat("stateful"), h.serving():
        counted(h, 1, 1)
        stateful(h, 2)
        error = h.refused("state", code, "stateful")
        check(error["remedy"], error)
        counted(h, 1, 2)
    h.unload("stateful")
    eventually(lambda: not h.mapped("stateful"), "it unmapped")


@case("case 13: a load that fails at the first, the middle, the last section, in the rehearsal or "
      "only in the node; a critical section it does not know: the old state goes on; one that is "
      "not critical is skipped")
def loads():
    h = the()
    stateful(h, 1)
    h.load("stateful")
    count = 0
    with h.flat("stateful"), h.serving():
        for what in (11, 12, 13, 21, 22, 23):
            count += 1
            counted(h, 1, count)
            stateful(h, 2, what=what)
            h.refused("state" if what < 20 else "probe", ("load", "load_state"), "stateful")
        stateful(h, 2)
        h.exchange("stateful")
        counted(h, 2, count + 1)
        stateful(h, 1, what=0)
        h.exchange("stateful")  # section 50 is not written for version 1
        counted(h, 1, count + 2)
        stateful(h, 2, what=4)
        h.exchange("stateful")
        counted(h, 2, count + 3)
        stateful(h, 3)
        h.refused(("probe", "state"), ("critical", "load_state"), "stateful")
        counted(h, 2, count + 4)
    h.unload("stateful")


@case("case 14: state goes from version 1 to 3 and back to 1 with its values; a reader that starts "
      "at a later version is refused")
def up_and_down():
    h = the()
    stateful(h, 1)
    h.load("stateful")
    count = 0
    with h.flat("stateful"), h.serving():
        for version in (1, 3, 1, 2, 3, 2, 1):
            stateful(h, version)
            h.exchange("stateful", force=True)
            count += 1
            counted(h, version, count)
        stateful(h, 3, reads=2)
        error = h.refused(("probe", "state"), "state_version", "stateful")
        contains(error["expected"], "2")
        counted(h, 1, count + 1)
    h.unload("stateful")


# ---------------------------------------------------------------- modules that need each other

LINKED = """
#include <obhost/obhost.h>

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "v", V);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, OWN, answer);
}

OB_MODULE(@NAME@, .version = "1.0.0", .provides = PROVIDES, .needs = NEEDS, .start = start);
"""


def linked(h, name, number, own, provides, needs):
    def word(text):
        return f'"{text}"' if text else "NULL"
    h.plugins.build(name, LINKED, V=number, OWN=own, PROVIDES=word(provides), NEEDS=word(needs))


@case("cases 39 and 40: a provider is replaced under its consumers; a new major only with them; a "
      "circle, and taking out what is needed, are refused; what is optional may be missing")
def interfaces():
    h = the()
    with h.flat(), h.serving():
        linked(h, "giver", 1, 6112, "rank/1.0", None)
        linked(h, "taker", 1, 6113, None, "rank/1 ?metrics/1")
        answer = h.node.http("POST", "/modules", {"name": "taker"})
        equal((answer.status, answer.json["error"]["step"]), (422, "depend"))
        eventually(lambda: h.node.module("taker") is None, "nothing of it")
        h.load("giver")
        h.load("taker")
        linked(h, "giver", 2, 6112, "rank/1.1", None)
        h.exchange("giver")
        equal(h.crowd[0].ask(6112)["v"], 2)
        linked(h, "giver", 3, 6112, "rank/2.0", None)
        error = h.node.reload("giver", status=422)["error"]
        equal((error["step"], error["code"]), ("depend", "major"))
        linked(h, "taker", 3, 6113, None, "rank/2")
        equal(h.node.reload("taker", status=422)["error"]["step"], "depend")
        h.exchange("giver", "taker")
        equal([h.crowd[0].ask(n)["v"] for n in (6112, 6113)], [3, 3])
        answer = h.node.http("DELETE", "/modules/giver")
        equal((answer.status, answer.json["error"]["code"]), (422, "missing"))
        linked(h, "giver", 4, 6112, "rank/2.0", "list/1")
        linked(h, "taker", 4, 6113, "list/1", "rank/2")
        equal(h.node.reload("giver", "taker", status=422)["error"]["code"], "cycle")
        equal([h.crowd[0].ask(n)["v"] for n in (6112, 6113)], [3, 3])
        h.settle("giver", "taker")
        h.unload("taker")
        h.unload("giver")


# ---------------------------------------------------------------- http_admin itself

def pipelined(port, requests):
    """Sends them all on one connection; the statuses of the answers, in order."""
    with socket.create_connection(("127.0.0.1", port), timeout=30 * SLOW) as link:
        text = b""
        for method, path, body in requests:
            data = json.dumps(body).encode() if body is not None else b""
            text += (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
                     f"Content-Length: {len(data)}\r\n\r\n").encode() + data
        link.sendall(text)
        got = b""
        while len(re.findall(rb"HTTP/1\.1 \d+", got)) < len(requests) or not got.endswith(b"\n"):
            more = link.recv(65536)
            check(more, f"closed after {got!r}")
            got += more
    return [int(word) for word in re.findall(rb"HTTP/1\.1 (\d+)", got)]


@case("case 33: http_admin reloads itself: on a connection kept alive, pipelined, with the client "
      "gone, and to the commit", timeout=60)
def admin_itself():
    h = the()
    again = {"name": "http_admin", "force": True}
    with h.flat("http_admin"), h.serving():
        link = http.client.HTTPConnection("127.0.0.1", h.node.http_port, timeout=20 * SLOW)
        for _ in range(5):
            link.request("POST", "/modules/reload", json.dumps(again))
            answer = link.getresponse()
            equal((answer.status, json.loads(answer.read())["result"]), (200, "switched"))
            link.request("GET", "/healthz")
            equal(link.getresponse().read(), b'{"status": "ok"}\n')
        link.close()
        statuses = pipelined(h.node.http_port, [("GET", "/node", None),
                                                ("POST", "/modules/reload", again),
                                                ("POST", "/modules/reload", {"name": "nobody"}),
                                                ("POST", "/modules/reload", again),
                                                ("GET", "/readyz", None)])
        equal(statuses, [200, 200, 404, 200, 200])
        before = h.module("http_admin")["active"]["generation"]
        with socket.create_connection(("127.0.0.1", h.node.http_port)) as gone:
            body = json.dumps(again).encode()
            gone.sendall(b"POST /modules/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                         b"%d\r\n\r\n%s" % (len(body), body))
        eventually(lambda: h.module("http_admin")["active"]["generation"] > before, "the switch")
    h = careful()
    with h.serving():
        waiting = Later(h.node.reload, "http_admin", force=True, wait="commit")
        eventually(lambda: any(old["state"] == "standby" for old in h.module("http_admin")["old"]),
                   "the probation")
        equal(h.node.http("POST", "/modules/http_admin/commit").status, 200)
        equal(waiting.result()["result"], "committed")
        h.settle("http_admin")


MUTE = """
#include <obhost/obhost.h>

static int start(ob_ctx *ctx, const json_t *conf)
{
	return 0;
}

OB_MODULE(@NAME@, .version = "6.6.6", .start = start);
"""


@case("case 34: an http_admin that answers nothing is replaced over the unix socket")
def admin_broken():
    h = House("broken", crowd=3).start()
    h.plugins.build("http_admin", MUTE)
    with h.serving():
        h.node.http("POST", "/modules/reload", {"name": "http_admin"})
        equal(h.node.http("GET", "/node").status, 404)
        h.plugins.copy("http_admin", f"{MODULES}/http_admin.so")
        status, body = h.node.admin("modules.reload", name="http_admin")
        equal((status, body["result"]), (200, "switched"))
        equal(h.node.http("GET", "/node").status, 200)
    h.settle("http_admin")
    h.node.stop()


# ---------------------------------------------------------------- listeners

PORTS = """
#include <obhost/obhost.h>

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const uint16_t ports[] = {LIST};
	ob_listen_options o = {.size = sizeof(o), .transport = "ws", .codec = "obespoir",
			       .host = "127.0.0.1"};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(ports) / sizeof(ports[0]); i++) {
		o.port = ports[i];
		rc = ob_listen(ctx, &o);
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("case 37: a module's listeners: the same ones stay open, new ones open, others close with "
      "their clients kept; a port in use is refused before the switch")
def listeners():
    h = the()
    one, two, busy = (free_port() for _ in range(3))

    def build(*ports):
        h.plugins.build("ports", PORTS, LIST=",".join(map(str, ports)))

    def closed(port):
        try:
            Client(port).drop()
        except ConnectionRefusedError:
            return True
        return False
    with h.flat(), h.serving():
        build(one)
        h.load("ports")
        client = Client(one)
        equal(client.ask(ID, {"n": 1})["n"], 1)
        build(one, two)
        h.exchange("ports")
        with Client(two) as other:
            equal((client.ask(ID, {"n": 2})["n"], other.ask(ID, {"n": 3})["n"]), (2, 3))
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", busy))
            taken.listen()
            build(one, two, busy)
            error = h.refused(("start", "probe"), "start", "ports")
            contains(error["message"], "address already in use")
        check(not closed(one) and not closed(two), "the listeners are still there")
        build(two)
        h.exchange("ports")
        eventually(lambda: closed(one), "the first port closed")
        equal(client.ask(ID, {"n": 4})["n"], 4)
        client.drop()
        h.unload("ports")
        eventually(lambda: closed(two), "the second port closed")


# ---------------------------------------------------------------- calls

CALLER = """
#include <stdlib.h>

#include <obhost/obhost.h>

struct counts {
	uint64_t made;
	uint64_t cancelled;
	uint64_t ended;
	uint64_t twice;
	uint8_t seen[65536];
};

static struct counts *c;

static void ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	size_t n = (size_t)(uintptr_t)arg % sizeof(c->seen);

	c->twice += c->seen[n]++ > 0;
	c->ended++;
}

static void begin(ob_ctx *ctx, ob_req req)
{
	ob_node_info node = {.size = sizeof(node)};
	json_int_t calls = ob_req_int(ctx, req, "calls", 1);
	char body[32];

	ob_node(ctx, &node);
	ob_target here = {.node = node.id};
	for (json_int_t i = 0; i < calls; i++) {
		int len = snprintf(body, sizeof(body), "{\\"ms\\":%d}", (int)(i * 7 % 200));
		ob_call_id call = ob_call(ctx, &here, i % 10 == 9 ? 6302 : 6301, 0, body, (size_t)len,
					  120, ended, (void *)(uintptr_t)(c->made & 0xffff));
		if (call == 0) {
			continue;
		}
		c->made++;
		if (i % 5 == 0 && ob_call_cancel(ctx, call) == 0) {
			c->cancelled++;
		}
	}
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:I, s:I, s:I, s:I}", "code", 200, "made",
		      (json_int_t)c->made, "cancelled", (json_int_t)c->cancelled, "ended",
		      (json_int_t)c->ended, "twice", (json_int_t)c->twice);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 6104, begin);

	c = ob_state(ctx, "counts", sizeof(*c), 1);
	return c == NULL ? OB_E_NOMEM : rc != 0 ? rc : ob_on_id(ctx, 6105, show);
}

OB_MODULE(@NAME@, .version = V, .start = start);
"""


@case("case 41: replies, deadlines and cancels before, in and after swaps of both sides: each call "
      "ends once", timeout=60)
def calls():
    h = House("calls", crowd=3, reload={"drain": 20}).start()
    h.plugins.build("holder", sources.HOLDER, V=1)
    h.plugins.build("caller", CALLER, V='"1.0.0"')
    h.load("holder")
    h.load("caller")
    client = h.crowd[0]
    with h.serving():
        for number in range(30 if LONG else 6):
            equal(client.ask(6104, {"calls": 100})["code"], 200)
            h.plugins.build("caller", CALLER, V=f'"1.0.{number + 1}"')
            h.exchange("caller")
            if number % 2:
                h.exchange("holder", force=True)

        def over():
            counts = client.ask(6105)
            return counts["ended"] + counts["cancelled"] == counts["made"] and counts
        counts = eventually(over, "the end of all calls")
        check(counts["made"] >= 600 and counts["cancelled"] >= 60, counts)
        equal(counts["twice"], 0)
        h.settle("caller", "holder")
        equal(client.ask(6105)["ended"], counts["ended"])
    h.node.stop()


OUTER = """
#include <stdlib.h>

#include <obhost/obhost.h>

static void replied(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	ob_req *req = arg;

	if (res->code == OB_OK) {
		ob_reply(ctx, *req, res->data, res->len);
	} else {
		ob_fail(ctx, *req, res->code, res->text);
	}
	free(req);
}

static void through(ob_ctx *ctx, ob_req req)
{
	ob_node_info node = {.size = sizeof(node)};
	ob_view view = {.size = sizeof(view)};
	ob_req *kept = malloc(sizeof(*kept));

	ob_node(ctx, &node);
	ob_req_view(ctx, req, &view);
	ob_target here = {.node = node.id};
	*kept = req;
	ob_request_hold(ctx, req);
	ob_call(ctx, &here, NEXT, view.session, view.data, view.len, 0, replied, kept);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, OWN, through);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("case 42: a handler that calls a handler that calls a third, each replaced meanwhile: the "
      "answers come, in order", timeout=60)
def nested():
    h = the()
    h.plugins.build("outer", OUTER, OWN=6106, NEXT=6107)
    h.plugins.build("middle", OUTER, OWN=6107, NEXT=ID)
    h.load("outer")
    h.load("middle")
    with h.flat("outer", "middle"), h.serving():
        for round_ in range(60 if LONG else 12):
            for number, client in enumerate(h.crowd):
                client.tell(6106, {"n": number})
            h.exchange(("outer", "middle", "versioned")[round_ % 3], force=True)
            for number, client in enumerate(h.crowd):
                equal(client.reply(6106)["n"], number)
    h.unload("outer")
    h.unload("middle")


# ---------------------------------------------------------------- configuration meanwhile

CONFED = """
#include <obhost/obhost.h>

static json_int_t n;

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:I}", "code", 200, "n", n);
}

static int check(const json_t *conf, ob_err *err)
{
	return json_is_integer(json_object_get(conf, "n")) ? 0 : ob_err_set(err, "n: give a number");
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	n = json_integer_value(json_object_get(conf, "n"));
	return ob_on_id(ctx, 6108, answer);
}

OB_MODULE(@NAME@, .version = "1.0.0", .check = check, .start = start);
"""


@case("case 43: HUP while a module is being loaded: one after the other; a configuration with a "
      "mistake, or without a key that a module needs, changes nothing")
def configuration():
    h = House("configuration", crowd=3)
    h.plugins.build("confed", CONFED)
    entry = {"name": "confed", "conf": {"n": 1}}
    h.node.conf["modules"].append(entry)
    h.start()
    client = h.crowd[0]

    def hup(conf, text=None):
        seen = len(h.node.log())
        entry["conf"] = conf
        h.node.write_conf(text)
        h.node.send_signal(signal.SIGHUP)
        return seen
    with h.serving():
        equal(client.ask(6108)["n"], 1)
        gate, loading = gated(h)
        hup({"n": 2})
        gate.touch()
        equal(loading.result().status, 200)
        eventually(lambda: client.ask(6108)["n"] == 2, "the new configuration")
        for conf, text in (({"n": "three"}, None), ({}, None), ({"n": 4}, '{"name": ')):
            seen = hup(conf, text)
            eventually(lambda s=seen: " error [" in h.node.log()[s:], "the reason in the log")
            equal(client.ask(6108)["n"], 2)
        hup({"n": 5})
        eventually(lambda: client.ask(6108)["n"] == 5, "the mended configuration")
    h.settle("confed")
    h.node.stop()


# ---------------------------------------------------------------- who may ask, how often

@case("case 45: no token, a wrong one, a form of another site, too many requests, a body of 10 MB: "
      "401, 401, 403, 429, 413")
def who_may():
    token = "the-token-of-case-45-is-long"
    h = House("guarded", crowd=2, http={"token": token}, reload={"rate": "3/s"}).start()
    right = {"Authorization": f"Bearer {token}"}

    def post(body, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return h.node.http("POST", "/modules/reload", body, headers)
    with h.serving():
        generation = lambda: json.loads(  # noqa: E731
            h.node.http("GET", "/modules", headers=right).data)["modules"][0]["active"]["generation"]
        before = generation()
        equal(post({"force": True}).status, 401)
        equal(post({"force": True}, Authorization="Bearer wrong").status, 401)
        equal(post("force=1", Content_Type="application/x-www-form-urlencoded",
                   Origin="http://evil.example", **right).status, 403)
        equal(post("force=1", Sec_Fetch_Site="cross-site", **right).status, 403)
        equal(post('{"force": true}', Content_Type="text/plain", **right).status, 415)
        equal(generation(), before)
        equal({post({"name": "nobody"}, **right).status for _ in range(20)}, {404})
        wrong = {"name": "versioned", "sha256": "0" * 64}
        statuses = [post(wrong, **right).status for _ in range(20)]
        equal((statuses[:3], set(statuses)), ([422] * 3, {422, 429}))
        def too_many():
            error = post(wrong, **right).json["error"]
            return error if error["code"] == "rate" else None
        error = eventually(too_many, "too many")
        contains(error["remedy"], "reload.rate")
        try:
            equal(post(b"x" * (10 << 20), **right).status, 413)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it did not want to hear the rest
        equal(generation(), before)
        eventually(lambda: post({"name": "versioned", "force": True}, **right).status == 200,
                   "a reload within the rate")
    h.node.stop()


# ---------------------------------------------------------------- short of everything

def version_of(client, h):
    answer = client.ask(ID, {"n": 5})
    equal(answer["n"], 5)
    check(answer["v"] in (1, 2), answer)
    equal(h.node.alive(), True)
    return answer["v"]


@case("case 47: no file descriptors: refused at the step that wants one, and taken when there are",
      timeout=60)
def no_descriptors():
    h = House("emfile", crowd=3).start()
    soft, hard = resource.prlimit(h.node.pid, resource.RLIMIT_NOFILE)
    client = h.crowd[0]
    outcome = []
    with Verbs(h.node) as verbs:
        verbs("health")
        highest = max(int(fd) for fd in os.listdir(f"/proc/{h.node.pid}/fd"))
        for room in range(0, 14):
            h.version(2 - room % 2)
            resource.prlimit(h.node.pid, resource.RLIMIT_NOFILE, (highest + 1 + room, hard))
            status, body = verbs("modules.reload", name="versioned", force=True)
            resource.prlimit(h.node.pid, resource.RLIMIT_NOFILE, (soft, hard))
            if status == 200:
                equal(version_of(client, h), 2 - room % 2)
            else:
                equal(status, 422, body)
                check(len(body["error"]["message"]) > 10, body)
            outcome.append(status)
    check(outcome[0] == 422 and outcome[-1] == 200, outcome)
    h.settle()
    h.everybody()
    h.node.stop()


@case("case 47: no memory: refused or done, whatever is missing, and the old generation serves",
      timeout=90)
def no_memory():
    if SANITIZE:
        skip("a sanitizer needs the address space for itself")
    h = House("enomem", crowd=3).start()
    _, hard = resource.prlimit(h.node.pid, resource.RLIMIT_AS)
    client = h.crowd[0]
    outcome = []
    with Verbs(h.node) as verbs:
        verbs("health")
        for step in range(16):
            room = step * 4096 if step < 14 else 1 << 30
            h.version(2 - step % 2)
            with open(f"/proc/{h.node.pid}/statm", encoding="ascii") as file:
                size = int(file.read().split()[0]) * resource.getpagesize()
            resource.prlimit(h.node.pid, resource.RLIMIT_AS, (size + room, hard))
            status, body = verbs("modules.reload", name="versioned", force=True)
            resource.prlimit(h.node.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, hard))
            check(status in (200, 422, 503), body)
            if status == 200:
                equal(version_of(client, h), 2 - step % 2)
            outcome.append(status)
    check(outcome[0] != 200 and outcome[-1] == 200, outcome)
    h.settle()
    h.everybody()
    h.node.stop()


STALE = """
#include <obhost/obhost.h>

struct kept {
	ob_req req;
	ob_timer timer;
	ob_call_id call;
	ob_msg msg;
};

static struct kept *k;

static void never(ob_ctx *ctx, ob_timer timer, void *arg)
{
}

static void ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
}

static void keep(ob_ctx *ctx, ob_req req)
{
	ob_node_info node = {.size = sizeof(node)};
	ob_view view = {.size = sizeof(view)};

	ob_node(ctx, &node);
	ob_req_view(ctx, req, &view);
	ob_target here = {.node = node.id};
	k->req = req;
	k->timer = ob_timer_start(ctx, 10, 1000000, never, NULL);
	k->call = ob_call(ctx, &here, 1, 0, "", 0, 50, ended, NULL);
	k->msg = ob_msg_hold(ctx, &view);
	ob_reply_json(ctx, req, "{s:i, s:b}", "code", 200, "all",
		      k->timer != 0 && k->call != 0 && k->msg != 0);
}

static void use(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_reply_json(ctx, req, "{s:i, s:[i, i, i, i, i, i]}", "code", 200, "rc",
		      ob_reply(ctx, k->req, "", 0), ob_request_hold(ctx, k->req),
		      ob_timer_stop(ctx, k->timer), ob_call_cancel(ctx, k->call),
		      ob_msg_view(ctx, k->msg, &view), ob_msg_release(ctx, k->msg));
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 6109, keep);

	k = ob_state(ctx, "kept", sizeof(*k), 1);
	return k == NULL ? OB_E_NOMEM : rc != 0 ? rc : ob_on_id(ctx, 6110, use);
}

OB_MODULE(@NAME@, .version = V, .start = start);
"""


@case("case 48: handles of a generation that is gone: OB_E_STALE for each")
def stale():
    h = the()
    h.plugins.build("stale", STALE, V='"1.0.0"')
    h.load("stale")
    with h.flat("stale"), h.serving():
        equal(h.crowd[0].ask(6109)["all"], True)
        h.plugins.build("stale", STALE, V='"1.0.1"')
        h.exchange("stale")
        h.settle("stale")
        equal(h.crowd[0].ask(6110)["rc"], [-5101] * 6)
    h.unload("stale")


# ---------------------------------------------------------------- debuggers

@case("case 49: gdb names the functions of two generations of one module, and their lines",
      timeout=90)
def debugger():
    if not shutil.which("gdb"):
        skip("there is no gdb")
    h = House("debugged", crowd=2, reload={"drain": 60}).start()
    built = [compile_plugin("holder", sources.HOLDER, ["-g"], V=n) for n in (1, 2)]
    h.plugins.copy("holder", built[0])
    h.load("holder")
    h.crowd[0].tell(6302)
    eventually(lambda: h.module("holder")["active"]["in_flight"] > 0, "a request held")
    h.plugins.copy("holder", built[1])
    h.node.reload("holder")
    names = subprocess.run(["nm", str(built[0])], stdout=subprocess.PIPE, text=True, check=True)
    (offset,) = [int(line.split()[0], 16) for line in names.stdout.splitlines()
                 if line.endswith(" t never")]
    commands = ["set debuginfod enabled off"]
    copies = sorted(h.mapped("holder"))
    equal(len(copies), 2)
    for copy in copies:
        base = min(int(line.split("-")[0], 16) for line in h.node.maps().splitlines()
                   if line.endswith(copy))
        commands.append(f"info line *{base + offset:#x}")
        commands.append(f"info symbol {base + offset:#x}")
    words = ["gdb", "-nx", "-batch", "-p", str(h.node.pid)]
    for command in commands:
        words += ["-ex", command]
    shown = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=60 * SLOW, check=False)
    if "ptrace" in shown.stdout and "not permitted" in shown.stdout:
        skip("gdb may not look at other processes here")
    for copy in copies:
        contains(shown.stdout, f"never in section .text of {copy}")
    equal(len(re.findall(r"Line \d+ of \".*holder\.c\"", shown.stdout)), 2, shown.stdout)
    h.everybody()
    h.node.stop()


if __name__ == "__main__":
    main(all_ended, timeout=1800 if LONG else 400)
