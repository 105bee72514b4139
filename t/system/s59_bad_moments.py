#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Connections that end while something of theirs is held, queued or being sent: what is promised to
clients that come back holds, and who is sent away stays away."""

import contextlib
import socket
import time

from obtest.env import MODULES, SLOW
from obtest.nodes import Node, all_ended, free_port, link, start_all, wait_linked
from obtest.player import Player
from obtest.plugin import PluginDir
from obtest.tap import case, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
ECHO, KEEP, RELEASE, NAP, HELD, LET, PUSH, MARK = range(6000, 6008)
FAR_KEEP, FAR_RELEASE = 6101, 6102
GOODBYE = 7001  # to a kicked client

house = {}

# On a proxy and on a service: keeps requests and messages until it is told, holds the loop, pushes.
DESK = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <obhost/obhost.h>

#define MOST 64

static ob_req kept[MOST];
static int kept_len;
static ob_gate held[MOST];
static int held_len;
static ob_session marked;

static ob_session session_of(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	return view.session;
}

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_reply(ctx, req, view.data, view.len);
}

static void keep(ob_ctx *ctx, ob_req req)
{
	ob_request_hold(ctx, req);
	kept[kept_len++] = req;
}

static void end_kept(ob_ctx *ctx, int size)
{
	char *text = malloc((size_t)size + 16);
	int len = sprintf(text, "{\"kept\":\"%*s\"}", size, "");

	while (kept_len > 0) {
		ob_reply(ctx, kept[--kept_len], text, (size_t)len);
	}
	free(text);
}

static void release(ob_ctx *ctx, ob_req req)
{
	end_kept(ctx, (int)ob_req_int(ctx, req, "size", 0));
	ob_reply_json(ctx, req, "{}");
}

static void nap(ob_ctx *ctx, ob_req req)
{
	usleep((useconds_t)(1000 * ob_req_int(ctx, req, "ms", 0)));
	ob_reply_json(ctx, req, "{}");
}

static void let(ob_ctx *ctx, ob_req req)
{
	int bad = (int)ob_req_int(ctx, req, "refuse", 0);

	while (held_len > 0) {
		ob_gate gate = held[--held_len];
		if (bad) {
			ob_message_end(ctx, gate, OB_E_DENIED, "no", NULL, 0);
		} else {
			ob_message_pass(ctx, gate);
		}
	}
	ob_reply_json(ctx, req, "{}");
}

static void push_some(ob_ctx *ctx, ob_req req)
{
	int size = (int)ob_req_int(ctx, req, "size", 0);
	int all = (int)ob_req_int(ctx, req, "all", 0);
	int count = (int)ob_req_int(ctx, req, "count", 1);
	char *text = malloc((size_t)size + 64);

	usleep((useconds_t)(1000 * ob_req_int(ctx, req, "ms", 0)));
	for (int i = 0; i < count; i++) {
		int len = sprintf(text, "{\"n\":%d,\"pad\":\"%*s\"}", i, size, "");
		if (all) {
			ob_push_all(ctx, ob_role(ctx, "proxy"), 6700, text, (size_t)len);
		} else {
			ob_push(ctx, marked, 6700, text, (size_t)len);
		}
	}
	free(text);
	if (ob_req_int(ctx, req, "release", 0)) {
		end_kept(ctx, 0);
	}
	if (ob_req_int(ctx, req, "close", 0)) {
		ob_session_close(ctx, marked, 4003, "out");
	}
	if (ob_req_int(ctx, req, "kick", 0)) {
		ob_kick_user(ctx, "eve", "out");
	}
	ob_reply_json(ctx, req, "{}");
}

static void bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	ob_reply_json(ctx, (ob_req)(uintptr_t)arg, "{s:i}", "rc", res->code);
}

static void mark(ob_ctx *ctx, ob_req req)
{
	marked = session_of(ctx, req);
	if (!ob_req_int(ctx, req, "bind", 0)) {
		ob_reply_json(ctx, req, "{}");
		return;
	}
	ob_request_hold(ctx, req);
	ob_session_bind(ctx, marked, "eve", bound, (void *)(uintptr_t)req);
}

static int before(ob_ctx *ctx, const ob_message_event *e)
{
	if (e->view->id != 6004) {
		return 0;
	}
	held[held_len] = ob_message_hold(ctx);
	return held[held_len] != 0 && ++held_len < MOST ? 0 : OB_E_BUSY;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_handler_fn fns[] = {echo, keep, release, nap, echo, let, push_some, mark};
	uint32_t first = json_object_get(conf, "far") ? 6100 : 6000;
	int rc = first == 6000 ? ob_on_message_filter(ctx, OB_MESSAGE_BEFORE_CLIENT, 0, before) : 0;

	for (uint32_t i = 0; rc == 0 && i < sizeof(fns) / sizeof(fns[0]); i++) {
		rc = ob_on_id(ctx, first + i, fns[i]);
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

QUEUE = 262144  # bytes: limits.client_queue
BIG = 60000


def proxy(name, common, serial=None, **more):
    return Node(name, "proxy", modules=["proxy", ADMIN, "desk"],
                listen=[{"transport": "tcp", "codec": "json", "port": free_port(), "timeout": 0,
                         "limits": {"send_timeout": 1}}],
                limits={"client_queue": QUEUE, "message": 65536, "slow": "close"},
                sessions={"resume": {"window": 60, "bytes": QUEUE, "messages": 4096}, **more},
                filters={"serial": serial} if serial else {},
                rpc={"route": {"range": {"service": [[6100, 6199]]}}}, **common)


def nodes():
    if "service" not in house:
        plugins = PluginDir()
        plugins.build("desk", DESK)
        house["plugins"] = plugins
        common = {"module_dirs": [str(plugins), MODULES], "call_timeout": 20}
        house["plain"] = proxy("plain", common, kick_id=GOODBYE)
        house["serial"] = proxy("serial", common, {"queue": 16, "wait": 2})
        house["service"] = Node("service", "service",
                                modules=["service", ADMIN, {"name": "desk", "conf": {"far": True}}],
                                **common)
        link((house["plain"], house["service"]), (house["serial"], house["service"]))
        start_all(house["plain"], house["serial"], house["service"])
        wait_linked((house["plain"], house["service"]), (house["serial"], house["service"]))
    return house


class Sleepy(Player):
    """One whose kernel takes little, so that what it does not read stays with the node."""

    def open(self, address):
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(address)
        return made


@contextlib.contextmanager
def clients(name, kind=Player):
    """The one that things happen to, and one that makes them happen."""
    node = nodes()[name]
    victim, other = kind(node), Player(node)
    try:
        victim.hello()
        other.hello()
        yield victim, other
    finally:
        for one in (victim, other):
            one.close()
            node.http("DELETE", f"/sessions/{one.session}")


def session(player):
    return {s["id"]: s for s in player.node.get("/sessions")["sessions"]}.get(player.session)


def detached(player):
    eventually(lambda: (session(player) or {}).get("detached"), "its session is detached")


def idle(player):
    eventually(lambda: session(player)["in_flight"] == 0, "nothing of it is under way")


def fill(victim, other):
    """Pushes to it until the next big thing is too much; how many."""
    count = 0
    while session(victim)["queued"] < QUEUE + 65536 - BIG + 10000:
        other.ask(PUSH, size=4000)
        count += 1
    return count


def answers(victim):
    return [m for m in victim.got if "seq" in m]


@case("a message that a filter holds passes while its client is away, and behind that")
def held_passes():
    for away in (True, False):
        with clients("plain") as (a, b):
            seq = a.tell(HELD, n=1)
            eventually(lambda p=a: session(p)["in_flight"] == 1, "it is held")
            a.abort()
            detached(a)
            if away:
                b.ask(LET)
                check(a.resume()["recovered"])
            else:
                check(a.resume()["recovered"])
                b.ask(LET)
            equal(a.answer(seq)["data"], {"n": 1})
            idle(a)


@case("one that is refused meanwhile ends for its client, and is counted off")
def held_refused():
    with clients("serial") as (a, b):
        seq = a.tell(HELD, n=1)
        eventually(lambda: session(a)["in_flight"] == 1, "it is held")
        a.abort()
        detached(a)
        b.ask(LET, refuse=1)
        check(a.resume()["recovered"])
        equal(a.answer(seq)["code"], 403)
        equal(a.ask(ECHO, n=2), {"n": 2})  # with serial: only when nothing is under way
        idle(a)


@case("what waits for its turn has it behind a break, in order, or ends at its time")
def serial_waits():
    with clients("serial") as (a, b):
        first = a.tell(KEEP)
        second = a.tell(ECHO, n=2)
        third = a.tell(ECHO, n=3)
        eventually(lambda: session(a)["messages"] == 4, "all are there")
        a.abort()
        detached(a)
        check(a.resume()["recovered"])
        b.ask(RELEASE)
        equal(a.answer(third)["data"], {"n": 3})
        equal([m["seq"] for m in answers(a)], [first, second, third])
        kept = a.tell(KEEP)
        late = a.tell(ECHO, n=4)
        eventually(lambda: session(a)["messages"] == 7, "one is kept, one waits")
        a.abort()
        detached(a)
        time.sleep(2.5)
        check(a.resume()["recovered"])
        equal(a.answer(late)["code"], 504)
        b.ask(RELEASE)
        a.answer(kept)
        equal(a.ask(ECHO, n=5), {"n": 5})


@case("a client leaves in the very turn in which what waited could go on or has waited too long")
def serial_leaves():
    with clients("serial") as (a, b), clients("serial") as (c, d):
        a.tell(KEEP)
        a.tell(ECHO, n=1)
        eventually(lambda: session(a)["messages"] == 3, "it waits")
        time.sleep(1.6)
        d.tell(NAP, ms=800)
        time.sleep(0.1)
        b.tell(RELEASE)
        time.sleep(0.05)
        a.abort()
        equal(c.ask(ECHO, n=2), {"n": 2})  # the node lives
        detached(a)
        check(a.resume()["recovered"])
        equal(a.ask(ECHO, n=3), {"n": 3})


@case("an answer that is too much for a client that does not read is kept, from here and from afar")
def answer_too_much():
    for keep, release in ((KEEP, RELEASE), (FAR_KEEP, FAR_RELEASE)):
        with clients("plain", Sleepy) as (a, b):
            a.ask(MARK)
            seq = a.tell(keep)
            eventually(lambda p=a: session(p)["in_flight"] == 1, "it is kept")
            count = fill(a, b)
            b.ask(release, size=BIG)
            detached(a)
            check(a.resume(seen=a.seen + count)["recovered"])
            check(len(a.answer(seq)["data"]["kept"]) == BIG)
            idle(a)


@case("an answer behind a broadcast that is too much is kept as well")
def answer_behind():
    with clients("plain", Sleepy) as (a, b):
        a.ask(MARK)
        seq = a.tell(KEEP)
        eventually(lambda: session(a)["in_flight"] == 1, "it is kept")
        count = fill(a, b)
        b.ask(PUSH, all=1, size=BIG, release=1)
        detached(a)
        check(a.resume(seen=a.seen + count)["recovered"])
        equal(a.pushed(1), [0])
        a.answer(seq)
        idle(a)


@case("what is sent in the turn in which the connection turns out to be reset is kept")
def reset_meanwhile():
    for number, (size, count, everyone) in enumerate(((100, 1, 1), (20000, 12, 0), (60, 3, 0))):
        with clients("plain") as (a, b):
            a.ask(MARK)
            seq = a.tell(KEEP)
            eventually(lambda p=a: session(p)["in_flight"] == 1, "it is kept")
            b.tell(PUSH, ms=int(300 * SLOW), size=size, count=count, all=everyone, release=1)
            time.sleep(0.1 * SLOW)
            a.abort()
            detached(a)
            check(a.resume()["recovered"])
            a.answer(seq)
            equal(a.pushed(count), list(range(count)), f"round {number}")


@case("who is closed or kicked while he does not read stays away")
def kicked():
    for what in ("close", "kick"):
        with clients("plain", Sleepy) as (a, b):
            a.ask(MARK, bind=1)
            fill(a, b)
            b.ask(PUSH, all=1, size=BIG, **{what: 1})
            eventually(lambda p=a: session(p) is None, "its session is over")
            answer = a.resume()
            equal((answer["recovered"], answer["reason"]), (False, "expired"), what)


@case("who does not read for too long comes back when he reads again")
def not_reading():
    with clients("plain", Sleepy) as (a, b):
        a.ask(MARK)
        count = fill(a, b)
        before = a.node.metric("obhost_client_closed_total", reason="not_reading")
        detached(a)
        equal(a.node.metric("obhost_client_closed_total", reason="not_reading"), before + 1)
        check(a.resume(seen=a.seen + count - 10)["recovered"])
        equal(len(a.pushed(10)), 10)


@case("a hello that comes too late may be said again")
def late_hello():
    node = nodes()["plain"]
    a = Player(node)
    a.hello()
    a.abort()
    detached(a)
    a.connect(node)
    time.sleep(5.5)
    a.send({"resume": {"token": a.token, "seen": 0}})
    equal(a.read()["close"], 1013)
    check(a.resume()["recovered"])
    a.close()


if __name__ == "__main__":
    main(all_ended)
