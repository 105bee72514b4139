#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Sessions that stick to a node, and what becomes of their messages when it is gone."""

import collections
import json
import signal
import threading
import time

from obtest import sources
from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client, Closed, frame, packet
from obtest.tap import case, cases, check, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
LOST = 4004
MIB = 1 << 20
MOVE, FAIL, WAIT, OFF, NAMED, OTHER = 6001, 6101, 6201, 6301, 6401, 7001
USER, LOGIN = 6501, 6502

TABLE = {"range": {"service": [[6000, 6999]], "game": [[7000, 7999]]}}
STICKY = [{"range": [6100, 6199], "lost": "fail"}, {"range": [6200, 6299], "lost": "wait"},
          {"range": [6300, 6399], "lost": "off"}, {"range": [6500, 6599], "lost": "fail",
                                                   "by": "user"}]

house = {}

# GET /moves: the sessions that have come, and where from.
MOVES = """
#include <obhost/obhost.h>

static json_t *moves;

static void moved(ob_ctx *ctx, const ob_event_info *info)
{
	char text[OB_SESSION_TEXT] = "";

	ob_session_text(ctx, info->session, text, sizeof(text));
	json_object_set_new(moves, text, json_string(info->name));
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_value(ctx, req, json_deep_copy(moves));
}

static void stop(ob_ctx *ctx)
{
	json_decref(moves);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	moves = json_object();
	int rc = ob_on_event(ctx, OB_EVENT_SESSION_MOVED, moved);

	return rc < 0 ? rc : ob_on_http(ctx, "GET", "/moves", show, 0);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""

# 6502 {"user": NAME}: logs in.
LOGINS = """
#include <stdlib.h>

#include <obhost/obhost.h>

static void ended(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	ob_req *req = arg;

	ob_reply_json(ctx, *req, "{s:i}", "code", ob_status(ctx, res->code));
	free(req);
}

static void login(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_req_view(ctx, req, &view);
	if (ob_session_bind(ctx, view.session, ob_req_str(ctx, req, "user"), ended, kept) == 0) {
		ob_request_hold(ctx, req);
	} else {
		free(kept);
	}
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6502, login);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# Decides about clients' messages: the 64xx go to the node with the id in conf, and claim to stick
# all the same; others as usual.
NAMER = """
#include <stdlib.h>

#include <obhost/obhost.h>

static uint64_t node;

static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	ob_verdict v = {.action = OB_FORWARD,
			.target = {.role = ob_route_role(ctx, view->id), .flags = OB_TARGET_STICKY}};

	if (view->id >= 6400 && view->id <= 6499) {
		v.target.node = node;
		v.target.role = 0;
	}
	return v;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	node = strtoull(json_string_value(json_object_get(conf, "node")), NULL, 16);
	return ob_on_client_message(ctx, decide);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def modules():
    if "plugins" not in house:
        plugins = PluginDir()
        plugins.build("probe", sources.PROBE)
        plugins.build("moves", MOVES)
        plugins.build("logins", LOGINS)
        plugins.build("namer", NAMER)
        house["plugins"] = plugins
    return [str(house["plugins"]), MODULES, EXAMPLES]


def probe(*ids):
    return {"name": "probe", "conf": {"ids": list(ids)}}


def nodes():
    """A proxy that has links with all and one that knows a route node only; two services and a
    game node."""
    names = ("route", "near", "far", "one", "two", "game")
    if "route" not in house:
        common = {"module_dirs": modules()}
        rules = {"sticky": STICKY, "sticky_wait": 8 * SLOW}
        house["route"] = Node("route", "route", modules=["route", ADMIN],
                              rpc={"route": TABLE, **rules},
                              limits={"link_queue": "1m"}, **common)
        house["near"] = Node("near", "proxy", modules=["proxy", ADMIN],
                             rpc={"route": TABLE, **rules}, call_timeout=15 * SLOW,
                             limits={"link_queue": "1m"}, **common)
        house["far"] = Node("far", "proxy", modules=["proxy", ADMIN], rpc=rules,
                            call_timeout=15 * SLOW, limits={"in_flight": 10000}, **common)
        for name in ("one", "two"):
            house[name] = Node(name, modules=["service", ADMIN, "moves", "logins",
                                              probe(MOVE, FAIL, WAIT, OFF, NAMED, 6501)], **common)
        house["game"] = Node("game", "game", modules=["service", ADMIN, probe(OTHER)], **common)
        for name in ("near", "far", "one", "two", "game"):
            link((house[name], house["route"]))
        for name in ("one", "two", "game"):
            link((house["near"], house[name]))
        start_all(*(house[name] for name in names))
    everybody = [house[name] for name in names]
    for node in everybody:
        if not node.alive():
            node.start()
    wait_linked(everybody, [house["near"]] + everybody[3:])
    return house


def kill(name):
    """kill -9, and all have noticed."""
    house[name].kill()
    in_state(name, "suspect", "dead")
    for other in ("route", "near"):
        eventually(lambda o=other: name not in house[o].peers(), f"{other} has no link with {name}")


def in_state(name, *states):
    """Till that is what all take it for."""
    for other in ("route", "near", "far"):
        eventually(lambda o=other: all(peer["state"] in states for peer in
                                       house[o].get("/peers")["peers"] if peer["name"] == name),
                   f"{other} says {name} is {states}")


def elsewhere(name):
    return {"one": "two", "two": "one"}[name]


def quick(client, message_id):
    """Asks and gets an answer at once."""
    began = time.monotonic()
    answer = client.ask(message_id)
    check(time.monotonic() - began < 1.5 * SLOW, f"{message_id} took {time.monotonic() - began} s")
    return answer


def nothing_held():
    for name in ("route", "near", "far", "one", "two", "game"):
        node = house[name]
        if node.alive():
            eventually(lambda n=node: n.metric("obhost_held_bytes") == 0, f"nothing held by {name}")
            eventually(lambda n=node: n.get("/node")["pending"] == 0, f"nothing pending on {name}")
            eventually(lambda n=node: n.get("/sessions")["total"] == 0, f"no session on {name}")


PROXIES = [("near",), ("far",)]


@cases(PROXIES, "a session sticks to its node, whoever comes and goes ({0})", timeout=40)
def sticks(proxy):
    at = nodes()
    clients = [Client(at[proxy].ws_port) for _ in range(12)]
    homes = [client.ask(MOVE)["node"] for client in clients]
    equal(set(homes), {"one", "two"})
    for client, home in zip(clients, homes):
        for number in (MOVE, FAIL, WAIT):
            equal(quick(client, number)["node"], home)
    kill("one")
    at["one"].start()
    wait_linked((at["route"], at["one"]), (at["near"], at["one"]))
    for client, home in zip(clients, homes):
        equal(quick(client, FAIL)["node"], home)
        client.close()
    nothing_held()


@cases(PROXIES, "off: messages go to whoever has a turn ({0})")
def off(proxy):
    at = nodes()
    with Client(at[proxy].ws_port) as client:
        equal({client.ask(OFF)["node"] for _ in range(10)}, {"one", "two"})


@cases(PROXIES, "fail: 503 at once while the node is gone, others are served; back, it goes on ({0})",
       timeout=40)
def fail(proxy):
    at = nodes()
    with Client(at[proxy].ws_port) as client, Client(at[proxy].ws_port) as other:
        home = client.ask(FAIL)["node"]
        equal(quick(client, OTHER)["node"], "game")
        kill(home)
        client.tell(FAIL, {})  # it may come back: this one waits as long as the node is suspect
        equal(client.reply(FAIL)["code"], 503)
        in_state(home, "dead")
        for _ in range(5):
            answer = quick(client, FAIL)
            equal(answer["code"], 503, str(answer))
            contains(answer["error"], "stays with is gone")
            equal(quick(client, OTHER)["node"], "game")
            with Client(at[proxy].ws_port) as fresh:
                equal(quick(fresh, FAIL)["node"], elsewhere(home))
        equal(quick(other, OFF)["node"], elsewhere(home))
        check(at["route"].metric("obhost_sticky_lost_total", then="fail") +
              at["near"].metric("obhost_sticky_lost_total", then="fail") >= 6)
        at[home].start()
        wait_linked((at["route"], at[home]), (at["near"], at[home]))
        equal(quick(client, FAIL)["node"], home)
        client.close()
    nothing_held()


@cases(PROXIES, "wait: messages wait for their node, in order and in nobody's way, until it is back "
                "({0})", timeout=60)
def wait_and_back(proxy):
    at = nodes()
    with Client(at[proxy].ws_port) as client, Client(at[proxy].ws_port) as other:
        home = client.ask(WAIT)["node"]
        equal(other.ask(OTHER)["node"], "game")
        kill(home)
        for number in range(20):
            if number == 10:
                in_state(home, "dead")
            client.tell(WAIT, {"n": number})
        for _ in range(5):
            equal(quick(client, OTHER)["node"], "game")
            equal(quick(other, OTHER)["node"], "game")
            equal(quick(client, MOVE)["code"], 200)
        holder = at["near" if proxy == "near" else "route"]
        check(holder.metric("obhost_held_bytes") > 0, "nothing is held")
        at[home].start()
        for number in range(20):
            answer = client.reply(WAIT)
            equal((answer.get("node"), answer.get("n")), (home, number), str(answer))
        equal(quick(client, WAIT)["code"], 200)
        client.close()
        other.close()
    nothing_held()


@case("wait, and the node does not come back: 503, and the client is closed with 4004", timeout=60)
def wait_in_vain():
    at = nodes()
    for name in ("route", "near"):
        at[name].stop()
        at[name].conf["rpc"]["sticky_wait"] = 1
        at[name].write_conf()
    nodes()
    for proxy in ("near", "far"):
        at = nodes()
        with Client(at[proxy].ws_port) as client, Client(at[proxy].ws_port) as other:
            home = client.ask(WAIT)["node"]
            equal(other.ask(MOVE)["code"], 200)
            kill(home)
            in_state(home, "dead")
            began = time.monotonic()
            client.tell(WAIT, {"n": 1})
            equal(quick(other, MOVE)["node"], elsewhere(home))
            answer = client.reply(WAIT)
            took = time.monotonic() - began
            equal(answer["code"], 503, str(answer))
            check(0.9 < took < 3 * SLOW, f"{took} s")
            try:
                client.packet()
                check(False, "a packet")
            except Closed as closed:
                equal((closed.code, closed.reason), (LOST, "the node that the session stays with "
                                                           "is gone"))
            equal(at[proxy].metric("obhost_client_closed_total", reason="sticky"), 1)
            other.close()
        with Client(at[proxy].ws_port) as again:
            equal(quick(again, WAIT)["node"], elsewhere(home))
            again.close()
        nodes()  # what is to be told to the dead one waits for it, too
        nothing_held()


@cases(PROXIES, "move: on to another node at once, which hears of it once; back, it stays there ({0})",
       timeout=40)
def move(proxy):
    at = nodes()
    with Client(at[proxy].ws_port) as client:
        first = client.ask(MOVE)
        home, session = first["node"], first["session"]
        kill(home)
        for number in range(50):
            client.tell(MOVE, {"n": number})
        for number in range(50):
            answer = client.reply(MOVE)
            equal((answer.get("node"), answer.get("n")), (elsewhere(home), number), str(answer))
        equal(at[elsewhere(home)].get("/moves").get(session), home)
        at[home].start()
        wait_linked((at["route"], at[home]), (at["near"], at[home]))
        for _ in range(10):
            equal(quick(client, MOVE)["node"], elsewhere(home))
        check(session not in at[home].get("/moves"), "it has moved back")
        client.close()
    nothing_held()


@case("a node that is named wins over the one that the session sticks to, and changes nothing")
def named():
    at = nodes()
    peers = {peer["name"]: peer["id"] for peer in at["near"].get("/peers")["peers"]}
    for name in ("one", "two"):
        node = Node(f"naming_{name}", "proxy", module_dirs=modules(),
                    rpc={"route": TABLE, "sticky": STICKY},
                    modules=[{"name": "namer", "conf": {"node": peers[name]}}, ADMIN])
        link((node, at["route"]), (node, at["one"]), (node, at["two"]))
        node.start()
        wait_linked((node, at["route"], at["one"], at["two"]))
        for _ in range(6):
            with Client(node.ws_port) as client:
                home = client.ask(FAIL)["node"]
                equal(client.ask(NAMED)["node"], name)
                equal(client.ask(FAIL)["node"], home)
                client.close()
        node.stop()


@case("by user: as by session as long as nobody has logged in")
def by_user():
    at = nodes()
    for proxy in ("near", "far"):
        clients = [Client(at[proxy].ws_port) for _ in range(10)]
        homes = [client.ask(6501)["node"] for client in clients]
        equal(set(homes), {"one", "two"})
        for client, home in zip(clients, homes):
            equal({client.ask(6501)["node"] for _ in range(5)}, {home})
            client.close()


def log_in(proxy, users):
    """Their clients, and the nodes that have what goes by the user."""
    clients = [Client(house[proxy].ws_port) for _ in users]
    for client, user in zip(clients, users):
        equal(client.ask(LOGIN, {"user": user})["code"], 200)
    return clients, [client.ask(USER)["node"] for client in clients]


def log_out(clients):
    for client in clients:
        client.close()
    for name in ("near", "far", "one", "two"):
        eventually(lambda n=name: not house[n].alive() or
                   house[n].get("/sessions")["total"] == 0, f"no session on {name}")


@cases(PROXIES, "by user: who logs in again gets to the node that has served him, also when others "
                "have joined meanwhile ({0})", timeout=60)
def comes_home(proxy):
    at = nodes()
    users = [f"{proxy} {number}" for number in range(24)]
    clients, homes = log_in(proxy, users)
    equal(set(homes), {"one", "two"})
    log_out(clients)
    more = [Node(f"{name}_{proxy}", modules=["service", ADMIN, "logins", probe(MOVE, FAIL, USER)],
                 module_dirs=modules()) for name in ("three", "four")]
    for node in more:
        link((node, at["route"]))
    start_all(*more)
    for other in ("route", "near", "far"):
        eventually(lambda o=other: {node.name for node in more} <= {
            peer["name"] for peer in at[o].get("/peers")["peers"] if peer["state"] == "up"},
                   f"{other} knows them")
    others = {"near": "far", "far": "near"}[proxy]
    clients, strangers = log_in(others, [f"new {user}" for user in users])
    check({node.name for node in more} <= set(strangers), "new users get to the new nodes")
    log_out(clients)
    for door in (proxy, others):  # wherever they come in
        clients, again = log_in(door, users)
        equal(again, homes)
        for client, home in zip(clients, homes):
            equal({client.ask(USER)["node"] for _ in range(3)}, {home})
        log_out(clients)
    # a second login, with no logout before it
    clients, again = log_in(proxy, users)
    later, again = log_in(others, users)
    equal(again, homes)
    for client in clients:
        client.drop()
    log_out(later)
    # a node that is gone is not waited for
    kill("two")
    in_state("two", "dead")
    clients, again = log_in(proxy, users)
    equal([home for home in again if home == "two"], [])
    equal([now for now, home in zip(again, homes) if home == "one" and now != "one"], [])
    log_out(clients)
    nodes()
    # and with no time to remember, all goes by rendezvous
    at["route"].conf["sessions"] = {"home_time": 0}
    at["route"].write_conf()
    equal(at["route"].http("POST", "/config/reload").status, 200)
    clients, _ = log_in(proxy, users)
    kept = at["route"].metric("obhost_users_kept")
    log_out(clients)
    eventually(lambda: at["route"].metric("obhost_users_kept") == kept - len(users), "forgotten")
    clients, again = log_in(proxy, users)
    check({node.name for node in more} & set(again), "they go to the new nodes")
    log_out(clients)
    del at["route"].conf["sessions"]
    at["route"].write_conf()
    equal(at["route"].http("POST", "/config/reload").status, 200)
    for node in more:
        node.stop()
    for other in ("route", "near", "far"):
        eventually(lambda o=other: not any(
            peer["state"] == "up" for peer in at[o].get("/peers")["peers"]
            if peer["name"] in {node.name for node in more}), f"{other} has forgotten them")


@case("a node that drains can't move a session with messages that are to fail: it stays, and the "
      "end waits")
def stays():
    at = nodes()
    for proxy in ("near", "far"):
        with Client(at[proxy].ws_port) as client, Client(at[proxy].ws_port) as other:
            home = client.ask(FAIL)["node"]
            other.ask(MOVE)
            equal(at[home].http("POST", "/drain", {"pace": 1000}).status, 202)
            eventually(lambda: at[home].get("/drain")["left"]["staying"] == 1, "it stays")
            equal(quick(client, FAIL)["node"], home)
            equal(quick(other, MOVE)["node"], elsewhere(home))
            equal(at[home].get("/drain")["status"], "draining")
            client.close()
            eventually(lambda: at[home].get("/drain")["status"] == "drained", "drained")
            equal(at[home].http("DELETE", "/drain").status, 200)
            other.close()
    nothing_held()


@cases(PROXIES, "a node that hangs: the client that floods it is held back or told 503, nobody else "
                "notices ({0})", timeout=60)
def hangs(proxy):
    at = nodes()
    with Client(at[proxy].ws_port, timeout=20) as flood, Client(at[proxy].ws_port) as other:
        home = flood.ask(MOVE)["node"]
        while other.ask(MOVE)["node"] == home:
            other.drop()
            other.__init__(at[proxy].ws_port)
        holder = at["near" if proxy == "near" else "route"]
        busy = holder.metric("obhost_link_busy_total", kind="request")
        before = holder.rss_kib()
        at[home].send_signal(signal.SIGSTOP)
        body = json.dumps({"n": 1, "fill": "x" * 4000}).encode()
        sent = [0]

        def sends():
            for _ in range(4000):
                flood.send_bytes(frame(packet(MOVE, body)))
                sent[0] += 1
        sender = threading.Thread(target=sends, daemon=True)
        sender.start()
        try:
            if proxy == "near":
                time.sleep(1)
                check(sent[0] < 4000, "it was read on")
            else:
                eventually(lambda: holder.metric("obhost_link_busy_total", kind="request") > busy,
                           "503")
            for _ in range(20):
                equal(quick(other, MOVE)["node"], elsewhere(home))
                equal(quick(other, OTHER)["node"], "game")
            queued = {peer["name"]: peer["queued"] for peer in holder.get("/peers")["peers"]}
            check(queued[home] <= 2 * MIB, queued)
        finally:
            at[home].send_signal(signal.SIGCONT)
        codes = collections.Counter(flood.reply(MOVE)["code"] for _ in range(4000))
        sender.join(20 * SLOW)
        equal(sum(codes.values()), 4000)
        check(set(codes) == {200} if proxy == "near" else set(codes) <= {200, 503}, codes)
        holder.check_growth(before, 24 * 1024)
        flood.close()
        other.close()
    nothing_held()


BAD = [
    ([{"range": [5, 3]}], "range"), ([{"lost": "move"}], "range"),
    ([{"range": [1, 3], "lost": "keep"}], "lost"), ([{"range": [1, 3], "by": "name"}], "by"),
    ([{"range": [1, 3], "los": "move"}], "los"), ([7], "sticky"), ({}, "sticky"),
]


@cases(BAD, "rpc.sticky {0}: -t says what is wrong")
def bad(value, word):
    node = Node("bad", rpc={"sticky": value})
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 2, run.stderr)
    contains(run.stderr, "rpc.sticky")
    contains(run.stderr, word)


if __name__ == "__main__":
    main(all_ended)
