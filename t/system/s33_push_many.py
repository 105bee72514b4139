#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Pushes to many: sessions and users of two proxies, all clients of a role, each in its order."""

import contextlib
import json

from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import case, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
JOIN, MANY, MIXED, BIND, USERS, FORGET = range(6500, 6506)
PUSHED = 6600
CLIENTS = 50
MESSAGE = 65536

house = {}

# The sessions that have joined are its crowd; what it pushes is {"n": N}, filled up to `size`.
CROWD = """
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

static ob_session crowd[1000];
static size_t crowd_len;

static ob_session session_of(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	return view.session;
}

static void join(ob_ctx *ctx, ob_req req)
{
	crowd[crowd_len++] = session_of(ctx, req);
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static void forget(ob_ctx *ctx, ob_req req)
{
	crowd_len = 0;
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static size_t body(char *out, int n, size_t size)
{
	size_t len = (size_t)sprintf(out, "{\\"n\\":%d}", n);

	if (len < size) {
		memset(out + len, ' ', size - len);
		len = size;
	}
	return len;
}

/* To each twice in one list, and to some who never were. */
static void many(ob_ctx *ctx, ob_req req)
{
	static char text[100000];
	ob_session list[2003];
	size_t len = 0;

	for (size_t i = 0; i < 2 * crowd_len; i++) {
		list[len++] = crowd[i % crowd_len];
	}
	list[len++] = 0;
	list[len++] = 4711;
	list[len++] = crowd[0] ^ 1u << 30;
	size_t n = body(text, (int)ob_req_int(ctx, req, "n", 0),
			(size_t)ob_req_int(ctx, req, "size", 0));
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "sent",
		      ob_push_many(ctx, list, len, 6600, text, n));
}

/* Numbers from 0 to n, by turns to all one by one, in a list, and to the role. */
static void mixed(ob_ctx *ctx, ob_req req)
{
	int n = (int)ob_req_int(ctx, req, "n", 0);
	int rc = 0;
	char text[32];

	for (int i = 0; i < n && rc >= 0; i++) {
		size_t len = body(text, i, 0);
		if (i % 3 == 0) {
			for (size_t at = 0; at < crowd_len && rc >= 0; at++) {
				rc = ob_push(ctx, crowd[at], 6600, text, len);
			}
		} else if (i % 3 == 1) {
			rc = ob_push_many(ctx, crowd, crowd_len, 6600, text, len);
		} else {
			rc = ob_push_all(ctx, ob_role(ctx, "proxy"), 6600, text, len);
		}
	}
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc", rc);
}

static void bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	ob_req *req = arg;

	ob_reply_json(ctx, *req, "{s:i}", "code", ob_status(ctx, res->code));
	free(req);
}

static void bind(ob_ctx *ctx, ob_req req)
{
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	ob_session_bind(ctx, session_of(ctx, req), ob_req_str(ctx, req, "user"), bound, kept);
}

static void users(ob_ctx *ctx, ob_req req)
{
	static char text[100000];
	const char *list[1000];
	const json_t *names = json_object_get(ob_req_json(ctx, req), "users");
	size_t count = json_array_size(names);

	for (size_t i = 0; i < count; i++) {
		list[i] = json_string_value(json_array_get(names, i));
	}
	size_t n = body(text, (int)ob_req_int(ctx, req, "n", 0),
			(size_t)ob_req_int(ctx, req, "size", 0));
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "sent",
		      ob_push_users(ctx, list, count, 6600, text, n));
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_handler_fn fns[] = {join, many, mixed, bind, users, forget};
	int rc = 0;

	(void)conf;
	for (uint32_t i = 0; rc == 0 && i < sizeof(fns) / sizeof(fns[0]); i++) {
		rc = ob_on_id(ctx, 6500 + i, fns[i]);
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def nodes():
    if "service" not in house:
        plugins = PluginDir()
        plugins.build("crowd", CROWD)
        house["plugins"] = plugins
        common = {"module_dirs": [str(plugins), MODULES, EXAMPLES],
                  "limits": {"message": MESSAGE}}
        for name in ("proxy_a", "proxy_b"):
            house[name] = Node(name, "proxy", modules=["proxy", ADMIN], **common)
        house["route"] = Node("route", "route", modules=["route", ADMIN],
                              rpc={"route": {"range": {"service": [[6500, 6599]]}}}, **common)
        house["service"] = Node("service", "service", modules=["service", ADMIN, "crowd"],
                                **common)
        others = [house[name] for name in ("proxy_a", "proxy_b", "service")]
        link(*((node, house["route"]) for node in others))
        start_all(*others, house["route"])
        wait_linked((house["route"], *others))
        # A broadcast goes to whom the directory lists.
        eventually(lambda: {"proxy_a", "proxy_b"} <=
                   {p["name"] for p in house["service"].get("/peers")["peers"]},
                   "the proxies are known to the service")
    return house


@contextlib.contextmanager
def crowd(count=CLIENTS):
    """Clients of both proxies, by turns, that have joined, and one that has not."""
    nodes()
    with contextlib.ExitStack() as stack:
        talker = stack.enter_context(Client(house["proxy_a"].ws_port))
        clients = [stack.enter_context(Client(house[("proxy_a", "proxy_b")[i % 2]].ws_port))
                   for i in range(count)]
        talker.ask(FORGET)
        for client in clients:
            equal(client.ask(JOIN)["code"], 200)
        yield clients, talker


def metric(node, name, **labels):
    return nodes()[node].metric(name, **labels) or 0


def have_pushed(talker, number, body):
    """The answer to one who perhaps hears broadcasts, too."""
    talker.tell(number, body)
    while True:
        got, answer = talker.packet()
        if got == number:
            return json.loads(answer)
        equal(got, PUSHED)


def all_hear(clients, numbers):
    for i, client in enumerate(clients):
        for n in numbers:
            equal((i, client.reply(PUSHED)["n"]), (i, n))


@case("a list of sessions of two proxies, with members twice and members who never were")
def lists():
    with crowd() as (clients, talker):
        lost = metric("service", "obhost_pushes_lost_total")
        before = [metric(p, "obhost_push_lists_total") for p in ("proxy_a", "proxy_b")]
        equal(talker.ask(MANY, {"n": 7})["sent"], CLIENTS)
        all_hear(clients, [7])
        check(all(client.silent(0.01) for client in clients))
        equal(metric("service", "obhost_pushes_lost_total") - lost, 3)
        equal([metric(p, "obhost_push_lists_total") for p in ("proxy_a", "proxy_b")],
              [n + 1 for n in before])


@case("clients that close in between are skipped, all others have it")
def some_leave():
    with crowd() as (clients, talker):
        for client in clients[10:20]:
            client.drop()
        for n in range(5):
            check(CLIENTS - 10 <= talker.ask(MANY, {"n": n})["sent"] <= CLIENTS)
        all_hear(clients[:10] + clients[20:], range(5))
        eventually(lambda: talker.ask(MANY, {"n": 9})["sent"] == CLIENTS - 10, "who is left")


@case("single pushes, lists and broadcasts come in their order")
def order():
    with crowd() as (clients, talker):
        broadcasts = metric("proxy_b", "obhost_broadcasts_total")
        clients[3].tell(MIXED, {"n": 300})
        all_hear(clients, range(300))
        equal(clients[3].reply(MIXED)["rc"], 2)
        equal(metric("proxy_b", "obhost_broadcasts_total") - broadcasts, 100)


@case("a client that no service has met gets what goes to all of the role, and nothing else")
def all_of_a_role():
    with crowd(4) as (clients, talker), Client(house["proxy_a"].ws_port) as stranger:
        eventually(lambda: len(house["proxy_a"].get("/sessions")["sessions"]) == 4, "it is there")
        equal(have_pushed(talker, MIXED, {"n": 6})["rc"], 2)
        all_hear(clients, range(6))
        all_hear([stranger], [2, 5])


@case("a list for which one frame has no room goes in several; users as large as may be")
def beyond_a_frame():
    with crowd(60) as (clients, talker):
        names = [f"user-{i:02}-".ljust(64, "x") for i in range(60)]
        for client, name in zip(clients, names):
            equal(client.ask(BIND, {"user": name})["code"], 200)
        equal(talker.ask(USERS, {"n": 0, "users": names})["sent"], 60)
        all_hear(clients, [0])
        before = metric("proxy_a", "obhost_push_lists_total")
        equal(talker.ask(USERS, {"n": 1, "users": names + names[:5]})["sent"], 60)
        all_hear(clients, [1])
        equal(metric("proxy_a", "obhost_push_lists_total") - before, 1)
        # 30 users of each proxy, 81 bytes each: with the longest message there is room for 49.
        equal(talker.ask(USERS, {"n": 2, "size": MESSAGE, "users": names})["sent"], 60)
        all_hear(clients, [2])
        equal(metric("proxy_a", "obhost_push_lists_total") - before, 2)
        movers = list(zip(clients[0::2], names[0::2]))[5:] + list(zip(clients[1::2], names[1::2]))
        with contextlib.ExitStack() as stack:
            # All users are at one proxy now: where the service thinks they are is wrong for half.
            at_a = [stack.enter_context(Client(house["proxy_a"].ws_port)) for _ in movers]
            for client, (_, name) in zip(at_a, movers):
                equal(client.ask(BIND, {"user": name})["code"], 200)
            stay = clients[0:10:2]
            everybody = stay + at_a
            equal(talker.ask(USERS, {"n": 3, "users": names})["sent"], 60)
            all_hear(everybody, [3])
            before = metric("proxy_a", "obhost_push_lists_total")
            equal(talker.ask(USERS, {"n": 4, "size": MESSAGE, "users": names})["sent"], 60)
            all_hear(everybody, [4])
            equal(metric("proxy_a", "obhost_push_lists_total") - before, 2)
            check("nobody" not in names)
            lost = metric("service", "obhost_user_sends_lost_total")
            equal(talker.ask(USERS, {"n": 5, "users": names + ["nobody"]})["sent"], 61)
            all_hear(everybody, [5])
            eventually(lambda: metric("service", "obhost_user_sends_lost_total") == lost + 1,
                       "nobody")


@case("a proxy that is gone: the others have it")
def proxy_gone():
    with crowd() as (clients, talker):
        here = clients[0::2]
        house["proxy_b"].kill()
        eventually(lambda: talker.ask(MANY, {"n": -1})["sent"] == len(here), "its sessions are lost")
        talker.ask(MANY, {"n": 1})
        for client in here:
            n = -1
            while n == -1:
                n = client.reply(PUSHED)["n"]
            equal(n, 1)
        talker.ask(FORGET)
        for client in here:
            client.ask(JOIN)
        eventually(lambda: have_pushed(talker, MIXED, {"n": 3})["rc"] == 1, "one proxy is left")
        talker.ask(MANY, {"n": 99})
        for client in here:
            seen = [0]
            while seen[-1] != 99:
                seen.append(client.reply(PUSHED)["n"])
            equal(seen, [0] + [0, 1, 2] * (len(seen) // 3) + [99])


if __name__ == "__main__":
    main(all_ended)
