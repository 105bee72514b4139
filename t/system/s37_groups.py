#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Groups over two proxies, a route node and two services: joined, pushed to, counted, heard of."""

import contextlib

from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.peer import role_id
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import case, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
JOIN, LEAVE, PUSH, COUNT, SERIES, JOIN_PUSH = range(6500, 6506)
LOCAL_JOIN, LOCAL_PUSH, HEARD = range(7000, 7003)
OTHER_PUSH, OTHER_COUNT = 6602, 6603
PUSHED = 6700
SECRET = "a secret of the pushes"

house = {}

# On a service: what a client asks for is done for its session.  The second service has its own ids.
ROOMS = """
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

static ob_session session_of(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	return view.session;
}

static void join(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc",
		      ob_group_join(ctx, session_of(ctx, req), ob_req_str(ctx, req, "group")));
}

static void leave(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc",
		      ob_group_leave(ctx, session_of(ctx, req), ob_req_str(ctx, req, "group")));
}

static int push_n(ob_ctx *ctx, ob_req req, int n)
{
	char text[32];
	int len = sprintf(text, "{\\"n\\":%d}", n);

	return ob_push_group(ctx, ob_req_str(ctx, req, "group"), 6700, text, (size_t)len);
}

static void push(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc",
		      push_n(ctx, req, (int)ob_req_int(ctx, req, "n", 0)));
}

/* It is in the group for whatever this node sends to that next. */
static void join_push(ob_ctx *ctx, ob_req req)
{
	int rc = ob_group_join(ctx, session_of(ctx, req), ob_req_str(ctx, req, "group"));

	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc",
		      rc != 0 ? rc : push_n(ctx, req, 1));
}

static void series(ob_ctx *ctx, ob_req req)
{
	int from = (int)ob_req_int(ctx, req, "from", 0);
	int to = (int)ob_req_int(ctx, req, "to", 0);
	int rc = 0;

	for (int n = from; n < to && rc >= 0; n++) {
		rc = push_n(ctx, req, n);
	}
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc", rc);
}

static void counted(ob_ctx *ctx, const ob_group_result *res, void *arg)
{
	ob_req *req = arg;

	ob_reply_json(ctx, *req, "{s:i, s:i, s:I, s:i, s:i, s:s}", "code", 200, "result",
		      res->code, "members", (json_int_t)res->members, "nodes", (int)res->nodes,
		      "missing", (int)res->missing_len, "group", res->group);
	free(req);
}

static void count(ob_ctx *ctx, ob_req req)
{
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	if (ob_group_count(ctx, ob_req_str(ctx, req, "group"), counted, kept) != 0) {
		ob_fail(ctx, req, OB_E_APP, "not counted");
		free(kept);
	}
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_handler_fn fns[] = {join, leave, push, count, series, join_push};
	uint32_t first = (uint32_t)json_integer_value(json_object_get(conf, "first"));
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < sizeof(fns) / sizeof(fns[0]); i++) {
		rc = ob_on_id(ctx, first + i, fns[i]);
	}
	return rc == 0 ? ob_on_name(ctx, "rooms.count", count, OB_FROM_LINK) : rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# On a proxy: groups of its own clients, and what it hears of those that begin with "room".
PORCH = """
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

static char heard[4000];
static size_t heard_len;

static void on_group(ob_ctx *ctx, const ob_group_info *info)
{
	ob_session_info session = {.size = sizeof(session)};
	bool valid = ob_session_get(ctx, info->session, &session) == 0;

	if (heard_len + 100 < sizeof(heard)) {
		heard_len += (size_t)snprintf(heard + heard_len, sizeof(heard) - heard_len,
					      "%c%s:%u%s%s ",
					      info->event == OB_EVENT_GROUP_JOINED ? '+' : '-',
					      info->group, info->members,
					      info->ended ? "!" : "", valid ? "" : "?");
	}
	/* Who ends joins nothing any more. */
	if (info->ended && ob_group_join(ctx, info->session, "room of the dead") == 0) {
		heard[0] = 'X';
	}
}

static ob_session session_of(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	return view.session;
}

static void join(ob_ctx *ctx, ob_req req)
{
	const char *group = ob_req_str(ctx, req, "group");
	ob_session list[2];
	int rc = ob_group_join(ctx, session_of(ctx, req), group);

	ob_reply_json(ctx, req, "{s:i, s:i, s:i}", "code", 200, "rc", rc, "members",
		      ob_group_members(ctx, group, list, 2));
}

static void push(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc",
		      ob_push_group(ctx, ob_req_str(ctx, req, "group"), 6700, "{\\"n\\":-1}", 8));
}

static void tell(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:s}", "code", 200, "heard", heard);
	heard_len = 0;
	heard[0] = 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_handler_fn fns[] = {join, push, tell};
	int rc = ob_on_group(ctx, "room", on_group);

	(void)conf;
	for (uint32_t i = 0; rc == 0 && i < sizeof(fns) / sizeof(fns[0]); i++) {
		rc = ob_on_id(ctx, 7000 + i, fns[i]);
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def proxy(name, common):
    return Node(name, "proxy",
                modules=["proxy", ADMIN, "porch",
                         {"name": "http_push", "conf": {"token": SECRET}}], **common)


def nodes():
    if "service" not in house:
        plugins = PluginDir()
        plugins.build("rooms", ROOMS)
        plugins.build("porch", PORCH)
        house["plugins"] = plugins
        common = {"module_dirs": [str(plugins), MODULES, EXAMPLES], "call_timeout": 2,
                  "limits": {"groups": 3000, "group_members": 2000}}
        for name in ("proxy_a", "proxy_b"):
            house[name] = proxy(name, common)
        house["route"] = Node("route", "route", modules=["route", ADMIN],
                              rpc={"route": {"range": {"service": [[6500, 6599]],
                                                       "other": [[6600, 6699]]}}}, **common)
        for name, role, first in (("service", "service", 6500), ("other", "other", 6600)):
            house[name] = Node(name, role, modules=["service", ADMIN,
                                                    {"name": "rooms", "conf": {"first": first}}],
                               **common)
        others = [house[name] for name in ("proxy_a", "proxy_b", "service", "other")]
        link(*((node, house["route"]) for node in others))
        start_all(*others, house["route"])
        wait_linked((house["route"], *others))
        for name in ("service", "other"):
            eventually(lambda name=name: {"proxy_a", "proxy_b"} <=
                       {p["name"] for p in house[name].get("/peers")["peers"]},
                       "the proxies are known to the services")
    return house


@contextlib.contextmanager
def clients(count=4):
    """Clients of both proxies, by turns."""
    nodes()
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Client(house[("proxy_a", "proxy_b")[i % 2]].ws_port))
               for i in range(count)]
    eventually(lambda: groups("proxy_a")["total"] == groups("proxy_b")["total"] == 0,
               "who is gone is in no group")


def groups(name, path="/groups"):
    return nodes()[name].get(path)


def metric(node, name, **labels):
    return nodes()[node].metric(name, **labels) or 0


def join(client, group):
    equal(client.ask(JOIN, {"group": group})["rc"], 0)


def settled(count, group):
    eventually(lambda: sum(g["members"] for name in ("proxy_a", "proxy_b")
                           for g in groups(name)["groups"] if g["name"] == group) == count,
               f"{count} are in {group}")


def known():
    """Both services know which groups the proxies have."""
    for name in ("service", "other"):
        eventually(lambda name=name: {(n["node"], n["known"]) for n in groups(name)["nodes"]} >=
                   {("proxy_a", True), ("proxy_b", True)}, f"{name} has been told")


def counted(client, group, number=COUNT):
    answer = client.ask(number, {"group": group})
    equal((answer["result"], answer["missing"]), (0, 0))
    return answer["members"]


def name_id(name):
    """The id of a message with that name (the same FNV-1a as a role's)."""
    return 1 << 30 | (role_id(name) & (1 << 30) - 1)


def hear(client, *numbers, number=PUSHED):
    for n in numbers:
        equal(client.reply(number)["n"], n)


@case("members of two proxies get what either service sends, others don't; counted all the time")
def joined():
    with clients() as (a, b, c, d):
        for client in (a, b, c):
            join(client, "room 1")
            join(client, "room 1")  # once more is once
        join(d, "room 2")
        settled(3, "room 1")
        equal(counted(a, "room 1"), 3)
        equal(counted(a, "room 1", OTHER_COUNT), 3)
        equal(counted(a, "room 2"), 1)
        equal(counted(a, "nobody's"), 0)
        known()
        equal(d.ask(PUSH, {"group": "room 1", "n": 1})["rc"], 2)
        d.tell(OTHER_PUSH, {"group": "room 2", "n": 2})
        hear(d, 2)
        equal(d.reply(OTHER_PUSH)["rc"], 1)
        for client in (a, b, c):
            hear(client, 1)
            check(client.silent(0.02))
        equal(b.ask(LEAVE, {"group": "room 1"})["rc"], 0)
        equal(b.ask(LEAVE, {"group": "room 1"})["rc"], 0)
        settled(2, "room 1")
        eventually(lambda: a.ask(OTHER_COUNT, {"group": "room 1"})["nodes"] == 2,
                   "proxy_b is not asked any more")
        a.tell(PUSH, {"group": "room 1", "n": 3})
        hear(a, 3)
        equal(a.reply(PUSH)["rc"], 1)
        hear(c, 3)
        check(b.silent(0.05) and d.silent(0.01))


@case("a node without members gets nothing; one more proxy does from the first member on")
def only_where_members_are():
    with clients() as (a, b, c, d):
        join(a, "room 1")
        settled(1, "room 1")
        known()
        before = metric("proxy_b", "obhost_group_pushes_empty_total")
        for n in range(20):
            a.tell(PUSH, {"group": "room 1", "n": n})
            hear(a, n)
            equal(a.reply(PUSH)["rc"], 1)
            equal(c.ask(OTHER_PUSH, {"group": "room x", "n": n})["rc"], 0)
        equal(metric("proxy_b", "obhost_group_pushes_empty_total"), before)
        for n in range(200):  # what one node does is in its order, the first time too
            b.tell(JOIN_PUSH, {"group": f"room {n} of b"})
            hear(b, 1)
            equal(b.reply(JOIN_PUSH)["rc"], 1)
        check(d.silent(0.02))


@case("what one node pushes comes in its order at each member")
def order():
    with clients(20) as crowd:
        for client in crowd:
            join(client, "room 1")
        settled(20, "room 1")
        crowd[0].tell(SERIES, {"group": "room 1", "from": 0, "to": 500})
        for client in crowd:
            hear(client, *range(500))
        equal(crowd[0].reply(SERIES)["rc"], 2)


@case("modules hear who joins and leaves, also at a session's end, and nothing of other groups")
def presence():
    with clients() as (a, b, c, _):
        a.ask(HEARD)
        equal(a.ask(LOCAL_JOIN, {"group": "room 1"}), {"code": 200, "rc": 0, "members": 1})
        equal(c.ask(LOCAL_JOIN, {"group": "room 1"}), {"code": 200, "rc": 0, "members": 2})
        equal(c.ask(LOCAL_JOIN, {"group": "hall"})["rc"], 0)
        equal(a.ask(HEARD)["heard"], "+room 1:1 +room 1:2 ")
        join(c, "room 2")
        settled(1, "room 2")
        c.drop()
        settled(1, "room 1")
        equal(a.ask(HEARD)["heard"], "+room 2:1 -room 1:1! -room 2:0! ")
        a.tell(LOCAL_PUSH, {"group": "room 1"})
        hear(a, -1)
        check(a.reply(LOCAL_PUSH)["rc"] >= 1)
        check(b.silent(0.02))


@case("limits: groups of a node, groups of a client; names that are none; GET /groups in pages")
def limits():
    with clients(2) as (a, _):
        b = Client(house["proxy_a"].ws_port)
        for n in range(2000):
            equal(a.ask(LOCAL_JOIN, {"group": f"g{n}"})["rc"], 0)
        equal(a.ask(LOCAL_JOIN, {"group": "one more"})["rc"], -5107)
        for n in range(1000):
            equal(b.ask(LOCAL_JOIN, {"group": f"h{n}"})["rc"], 0)
        equal(b.ask(LOCAL_JOIN, {"group": "one more"})["rc"], -5107)
        equal(b.ask(LOCAL_JOIN, {"group": "g7"})["rc"], 0)
        join(b, "one more from afar")
        eventually(lambda: metric("proxy_a", "obhost_group_joins_refused_total") == 3, "refused")
        for name in ("", "x" * 65, "line\nbreak"):
            equal(a.ask(LOCAL_JOIN, {"group": name})["rc"], -5105)
        page = groups("proxy_a", "/groups?limit=2")
        equal((page["total"], page["members"], page["more"]), (3000, 3001, True))
        equal([g["name"] for g in page["groups"]], ["g0", "g1"])
        b.drop()


@case("GET /groups in pages while groups begin and end: what stays is seen once")
def pages():
    with clients(1) as (a,):
        for n in range(12):
            equal(a.ask(LOCAL_JOIN, {"group": f"p{n}"})["rc"], 0)
        page = groups("proxy_a", "/groups?limit=3")
        equal(([g["name"] for g in page["groups"]], page["more"]), (["p0", "p1", "p2"], True))
        last = page["groups"][-1]["number"]
        for n in (2, 3, 0):
            equal(a.ask(LEAVE, {"group": f"p{n}"})["rc"], 0)
        eventually(lambda: groups("proxy_a")["total"] == 9, "they are gone")
        equal(a.ask(LOCAL_JOIN, {"group": "p0"})["rc"], 0)
        page = groups("proxy_a", f"/groups?limit=3&after={last}")
        equal(([g["name"] for g in page["groups"]], page["more"]), (["p4", "p5", "p6"], True))
        last = page["groups"][-1]["number"]
        page = groups("proxy_a", f"/groups?limit=100&after={last}")
        equal(([g["name"] for g in page["groups"]], page["more"]), (["p7", "p8", "p9", "p10", "p11", "p0"], False))
        last = page["groups"][-1]["number"]
        equal(groups("proxy_a", f"/groups?after={last}")["groups"], [])
        equal(len(groups("proxy_a", "/groups?after=0")["groups"]), 10)
        equal(nodes()["proxy_a"].http("GET", "/groups?after=p7").status, 400)


@case("3000 groups are told in parts and counted; changes meanwhile are not lost")
def many_groups():
    with clients(2) as (a, b):
        for n in range(1500):
            a.tell(LOCAL_JOIN, {"group": f"g{n}"})
            b.tell(LOCAL_JOIN, {"group": f"g{n}"})
        for _ in range(1500):
            equal(a.reply(LOCAL_JOIN)["rc"], 0)
            equal(b.reply(LOCAL_JOIN)["rc"], 0)
        known()
        eventually(lambda: {n["groups"] for n in groups("service")["nodes"]
                            if n["node"].startswith("proxy")} == {1500}, "all have been told")
        equal(counted(a, "g1499"), 2)


def http(path, body, token=SECRET, method="POST", node="proxy_a"):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = nodes()[node].http(method, path, body, headers)
    return answer.status, answer.json


def refused(status, path, body, **more):
    got, answer = http(path, body, **more)
    equal((got, set(answer["error"])), (status, {"code", "message"}))
    return answer["error"]["message"]


@case("over HTTP: pushes to a group, a session, a role, users; calls; what is refused, and why")
def over_http():
    with clients() as (a, b, c, d):
        join(a, "room 1")
        join(b, "room 1")
        settled(2, "room 1")
        eventually(lambda: http("/push", {"group": "nobody's", "id": PUSHED}) ==
                   (200, {"nodes": 0}), "the proxy knows which nodes have members")
        equal(http("/push", {"group": "room 1", "id": PUSHED, "data": {"n": 1}}),
              (200, {"nodes": 2}))
        hear(a, 1)
        hear(b, 1)
        name = next(s["id"] for s in nodes()["proxy_a"].get("/sessions")["sessions"]
                    if s["served_by"])
        equal(http("/push", {"session": name, "id": PUSHED, "data": {"n": 2}}),
              (200, {"sessions": 1}))
        hear(a, 2)
        equal(http("/push", {"role": "proxy", "id": PUSHED, "data": {"n": 3}}),
              (200, {"nodes": 2}))
        for client in (a, b, c, d):
            hear(client, 3)
        equal(http("/push", {"users": ["ada", "bob"], "id": PUSHED}), (200, {"users": 2}))
        equal(http("/push", {"user": "ada", "id": PUSHED, "data": "text"}), (200, {"users": 1}))
        status, answer = http("/call", {"id": PUSH, "data": {"group": "room 1", "n": 4}})
        equal((status, answer["data"]["code"]), (200, 200))
        hear(a, 4)
        hear(b, 4)
        status, answer = http("/call", {"id": OTHER_COUNT, "role": "other",
                                        "data": {"group": "room 1"}})
        equal((status, answer["data"]["members"]), (200, 2))
        status, answer = http("/call", {"name": "rooms.count", "role": "other",
                                        "data": {"group": "room 1"}})
        equal((status, answer["data"]["members"]), (200, 2))
        for to, clients_of in (({"group": "room 1"}, (a, b)), ({"session": name}, (a,)),
                               ({"role": "proxy"}, (a, b, c, d))):
            equal(http("/push", {**to, "name": "rooms.news", "data": {"n": 5}})[0], 200)
            for client in clients_of:
                hear(client, 5, number=name_id("rooms.news"))
        equal(http("/push", {"user": "ada", "name": "rooms.news"}), (200, {"users": 1}))
        equal(http("/push", {"users": ["ada"], "name": "rooms.news"}), (200, {"users": 1}))
        message = {"group": "room 1", "id": PUSHED, "data": {"n": 9}}
        for token in (None, "", SECRET[:-1], SECRET + "x"):
            refused(401, "/push", message, token=token)
            refused(401, "/call", {"id": PUSH}, token=token)
        refused(405, "/push", None, method="GET")
        for body in ({"group": "room 1"}, {"id": PUSHED}, {**message, "user": "ada"},
                     {**message, "grop": 1}, {**message, "id": 0}, {**message, "group": ""},
                     {**message, "group": "x" * 65}, [], {"users": [], "id": PUSHED},
                     {"users": [1], "id": PUSHED}, {**message, "name": "both"},
                     {"group": "room 1", "name": ""}, {"group": "room 1", "name": "x" * 256},
                     {"group": "room 1", "name": 7}, {"group": "room 1", "name": "a\n"}):
            refused(400, "/push", body)
        refused(404, "/push", {"session": "nobody-0000000000000001", "id": PUSHED})
        refused(413, "/push", {**message, "data": "x" * 65536})
        refused(400, "/call", {"data": {}})
        refused(400, "/call", {"id": PUSH, "deadline_ms": 0})
        for body in ({"id": PUSH, "role": 12}, {"id": PUSH, "role": None},
                     {"id": PUSH, "method": 7}, {"method": ["x"], "role": "service"}):
            check("words" in refused(400, "/call", body))
        # a text is cut at a character's edge; whatever it is, the status stays
        equal(refused(400, "/push", {**message, "x" + "\u00e9" * 40: 1}),
              'unknown key "x' + "\u00e9" * 31 + '"')
        for at in range(4):
            check(refused(400, "/push", b'{"' + b"a" * at + b"\xe2\x82\xac" * 300))
        check(refused(400, "/push", b'{"a": "' + b"\xe2\x82" * 200))
        refused(404, "/call", {"id": PUSH + 60})
        refused(404, "/call", {"method": "user.service.no.such", "role": "service"})
        refused(503, "/call", {"method": "user.nobody.no.such", "role": "nobody",
                               "deadline_ms": 200})
        check(a.silent(0.02) and d.silent(0.01))
        check(metric("proxy_a", "obhost_module_push_refused_total", module="http_push") == 8)


@case("a proxy that is killed takes its members with it; it starts again, and all is right again")
def proxy_gone():
    with clients(2) as (a, b):
        join(a, "room 1")
        join(b, "room 1")
        settled(2, "room 1")
        known()
        house["proxy_b"].kill()
        eventually(lambda: counted_now(a) == (0, 1, 0), "its members are gone")
        a.tell(PUSH, {"group": "room 1", "n": 1})
        hear(a, 1)
        equal(a.reply(PUSH)["rc"], 1)
        b.drop()
        house["proxy_b"].start()
        wait_linked((house["route"], house["proxy_b"]))
        with Client(house["proxy_b"].ws_port) as again:
            eventually(lambda: again.ask(JOIN, {"group": "room 1"})["code"] == 200, "it works")
            settled(2, "room 1")
            eventually(lambda: counted_now(a) == (0, 2, 0), "both are counted")
            a.tell(OTHER_PUSH, {"group": "room 1", "n": 2})
            hear(a, 2)
            hear(again, 2)


def counted_now(client):
    answer = client.ask(COUNT, {"group": "room 1"})
    return answer["result"], answer["members"], answer["missing"]


@case("modules are reloaded while pushes run: all come, in order")
def reloads():
    with clients(7) as (talker, *crowd):
        for client in crowd:
            join(client, "room 1")
        settled(6, "room 1")
        for i in range(30):
            talker.tell(SERIES, {"group": "room 1", "from": 100 * i, "to": 100 * i + 100})
            if i % 5 == 4:
                for name in ("rooms", "porch"):
                    house["plugins"].build(name, ROOMS if name == "rooms" else PORCH,
                                           ROUND=i)
                for name in ("service", "proxy_a", "proxy_b"):
                    house[name].reload("rooms" if name == "service" else "porch")
        for client in crowd:
            hear(client, *range(3000))
        for _ in range(30):
            equal(talker.reply(SERIES)["rc"], 2)
        equal(counted(talker, "room 1"), 6)


@case("memory: sessions join and leave over and over, and the heap is as it was")
def memory():
    def round_of(client):
        for n in range(300):
            client.tell(LOCAL_JOIN, {"group": f"room {n}"})
        for n in range(300):
            equal(client.reply(LOCAL_JOIN)["rc"], 0)

    def heap():
        return metric("proxy_a", "obhost_heap_bytes")

    with clients(2):
        for _ in range(3):
            with Client(house["proxy_a"].ws_port) as client:
                round_of(client)
        eventually(lambda: groups("proxy_a")["total"] == 0, "all have left")
        before = heap()
        for _ in range(20):
            with Client(house["proxy_a"].ws_port) as client:
                round_of(client)
        eventually(lambda: groups("proxy_a")["total"] == 0, "all have left")
        eventually(lambda: heap() < before + 65536, "no memory is kept")


if __name__ == "__main__":
    main(all_ended)
