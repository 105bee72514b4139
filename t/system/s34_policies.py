#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Who chooses the node of a message, by what, on nodes of a real cluster."""

import collections

from obtest import sources
from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import case, cases, check, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
FREE, STICKY, OTHER, ROOM = 6001, 5001, 7001, 5900
TABLE = {"range": {"service": [[5000, 6999]], "game": [[7000, 7999]]}}
NO_STATE = {"no_state": {"range": [[6000, 6999]]}}

house = {}

# Policy "watch": the first candidate, or {"to": NAME}. GET /seen: the candidates of the last time,
# and the session's attribute "room".
WATCH = """
#include <string.h>

#include <obhost/obhost.h>

static json_t *seen;

static int choose(ob_ctx *ctx, const ob_choice *choice)
{
	json_t *all = json_object();
	size_t len = 0;
	const char *room = ob_choice_attr(ctx, choice, "room", &len);

	for (size_t i = 0; i < choice->len; i++) {
		const ob_candidate *c = &choice->candidates[i];

		json_object_set_new(all, c->name, json_pack("{s:i, s:i, s:i, s:b}", "state", c->state,
							    "load", c->load, "weight", c->weight,
							    "local", c->local));
	}
	json_decref(seen);
	seen = json_pack("{s:o, s:s%, s:b, s:b}", "candidates", all, "room", room ? room : "", len,
			 "key", choice->key != 0, "session", choice->view->session != 0);
	return 0;
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_value(ctx, req, json_deep_copy(seen));
}

static void stop(ob_ctx *ctx)
{
	json_decref(seen);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	seen = json_object();
	int rc = ob_on_policy(ctx, "watch", choose);

	return rc < 0 ? rc : ob_on_http(ctx, "GET", "/seen", show, 0);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""

# 5900 {"room": TEXT}: the session's attribute, set from here, where its proxy is not.
ENTER = """
#include <string.h>

#include <obhost/obhost.h>

static void enter(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	const char *room = ob_req_str(ctx, req, "room");

	if (ob_req_view(ctx, req, &view) == 0 && room) {
		ob_session_set(ctx, view.session, "room", room, strlen(room));
		ob_session_set(ctx, view.session, "secret", "x", 1);
	}
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 5900, enter);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def modules():
    if "plugins" not in house:
        plugins = PluginDir()
        plugins.build("probe", sources.PROBE)
        plugins.build("holder", sources.HOLDER)
        plugins.build("watch", WATCH)
        plugins.build("enter", ENTER)
        house["plugins"] = plugins
    return [str(house["plugins"]), MODULES, EXAMPLES]


def nodes():
    """A proxy that knows a route node only, one that decides itself, and two services, whose
    weights differ."""
    if "route" not in house:
        common = {"module_dirs": modules()}
        deciders = ["by_room", "watch", ADMIN]
        house["route"] = Node("route", "route", modules=["route", *deciders],
                              rpc={"route": TABLE}, **common)
        house["near"] = Node("near", "proxy", modules=["proxy", *deciders], websocket=NO_STATE,
                             rpc={"route": TABLE}, **common)
        house["far"] = Node("far", "proxy", modules=["proxy", ADMIN], websocket=NO_STATE,
                            call_timeout=60, **common)
        for name, weight in (("one", 300), ("two", 100)):
            probe = {"name": "probe", "conf": {"ids": [FREE, STICKY]}}
            house[name] = Node(name, modules=["service", ADMIN, probe, "holder", "enter"],
                               rpc={"weight": weight}, **common)
        for name in ("near", "far", "one", "two"):
            link((house[name], house["route"]))
        for name in ("one", "two"):
            link((house["near"], house[name]))
        start_all(*(house[name] for name in ("route", "near", "far", "one", "two")))
        wait_linked((house["route"], house["near"], house["far"], house["one"], house["two"]),
                    (house["near"], house["one"], house["two"]))
        for name in ("route", "near"):
            eventually(lambda n=name: known(n, "one", "weight") == 300, f"{name} knows the weight")
    return house


def known(at, name, what):
    """What one node says of another."""
    return {peer["name"]: peer.get(what) for peer in house[at].get("/peers")["peers"]}.get(name)


def configure(name, part="rpc", **keys):
    """Changes a node's configuration while it runs; None takes a key out."""
    node = nodes()[name]
    conf = node.conf.setdefault(part, {})
    for key, value in keys.items():
        conf[key] = value
        if value is None:
            del conf[key]
    node.write_conf()
    shown = node.http("POST", "/config/reload")
    equal((shown.status, shown.json["needs_restart"]), (200, []), repr(shown))


def policy(name):
    """The same for both who decide."""
    for decider in ("route", "near"):
        configure(decider, policy={"service": name} if name else None)


def spread(answers):
    return dict(collections.Counter(answer["node"] for answer in answers))


PROXIES = [("near",), ("far",)]


@cases(PROXIES, "weights from the configuration reach the choice of each message ({0})")
def weights(proxy):
    nodes()
    policy("weighted")
    with Client(house[proxy].ws_port) as client:
        equal(spread(client.ask(FREE) for _ in range(40)), {"one": 30, "two": 10})
    configure("two", weight=300)
    for decider in ("route", "near"):
        eventually(lambda d=decider: known(d, "two", "weight") == 300, "the new weight is known")
    with Client(house[proxy].ws_port) as client:
        equal(spread(client.ask(FREE) for _ in range(40)), {"one": 20, "two": 20})
    configure("two", weight=100)
    for decider in ("route", "near"):
        eventually(lambda d=decider: known(d, "two", "weight") == 100, "and the old one")


@cases(PROXIES, "a session's first message goes by the configured policy, what follows with it "
                "({0})")
def first_choice(proxy):
    nodes()
    policy("weighted")
    clients = [Client(house[proxy].ws_port) for _ in range(40)]
    homes = [client.ask(STICKY)["node"] for client in clients]
    equal(dict(collections.Counter(homes)), {"one": 30, "two": 10})
    for client, home in zip(clients, homes):
        equal({client.ask(STICKY)["node"] for _ in range(3)}, {home})
        client.close()


@cases(PROXIES, "messages that are sent at once come to one node, whatever the policy ({0})")
def at_once(proxy):
    nodes()
    policy("round_robin")
    clients = [Client(house[proxy].ws_port) for _ in range(20)]
    for number in range(8):
        for client in clients:
            client.tell(STICKY, {"n": number})
    homes = []
    for client in clients:
        answers = [client.reply(STICKY) for _ in range(8)]
        equal([answer["n"] for answer in answers], list(range(8)))
        equal(len(spread(answers)), 1, answers)
        homes.append(answers[0]["node"])
        equal(client.ask(STICKY)["node"], homes[-1])
        client.close()
    equal(dict(collections.Counter(homes)), {"one": 10, "two": 10})


@cases(PROXIES, "by user: the first message goes by the user, whatever the policy ({0})")
def by_user(proxy):
    nodes()
    policy(None)
    configure(proxy, sticky=[{"range": [STICKY, STICKY], "by": "user"}])
    clients = [Client(house[proxy].ws_port) for _ in range(12)]
    for client in clients:
        for number in range(4):
            client.tell(STICKY, {"n": number})
    policy("round_robin")
    for client in clients:
        equal(len(spread(client.reply(STICKY) for _ in range(4))), 1)
        client.close()
    configure(proxy, sticky=None)


@case("by range of ids: a module's on the route node, another one for the rest, changed while it "
      "runs")
def by_range():
    nodes()
    policy("round_robin")
    configure("route", policy_range=[{"range": [6000, 6999], "policy": "watch"}])
    with Client(house["far"].ws_port) as client:
        equal(len(spread(client.ask(FREE) for _ in range(8))), 1)
    contains(str(house["route"].get("/routes")["policy_ranges"]), "watch")
    configure("route", policy_range=[{"range": [6000, 6999], "policy": "weighted"}])
    with Client(house["far"].ws_port) as client:
        equal(spread(client.ask(FREE) for _ in range(8)), {"one": 6, "two": 2})
    configure("route", policy_range=None)
    with Client(house["far"].ws_port) as client:
        equal(spread(client.ask(FREE) for _ in range(8)), {"one": 4, "two": 4})


@case("what a policy sees of the candidates: state, weight, load, and whether they are near")
def candidates():
    nodes()
    policy("watch")
    with Client(house["far"].ws_port) as client, Client(house["near"].ws_port) as other:
        one = {"state": 1, "load": 0, "weight": 300, "local": True}
        both = {"one": one, "two": {**one, "weight": 100}}

        def seen(who, decider):
            who.ask(FREE)
            return house[decider].get("/seen")["candidates"]
        eventually(lambda: seen(client, "route") == both, "the route node knows all of it")
        eventually(lambda: seen(other, "near") == both, "the proxy does")
        check(house["route"].get("/seen")["key"], "a key")
        check(not house["route"].get("/seen")["session"], "a session")


@case("the load that a node tells of is used: the one with less takes what comes", timeout=60)
def load():
    nodes()
    policy("watch")
    with Client(house["far"].ws_port) as holds, Client(house["far"].ws_port) as client:
        home = holds.ask(FREE)["node"]
        for _ in range(8):
            holds.tell(6301, {"ms": 30000})
        eventually(lambda: (known("route", home, "load") or 0) >= 8, "the load is known", 30)
        client.ask(FREE)
        check(house["route"].get("/seen")["candidates"][home]["load"] >= 8, "it is seen")
        policy("least_pending")
        other = {"one": "two", "two": "one"}[home]
        equal(spread(client.ask(FREE) for _ in range(10)), {other: 10})
        holds.drop()


@case("a session's attributes, set by a service, go along to the policy on a route node: by room")
def rooms():
    nodes()
    for decider in ("route", "near"):
        configure(decider, policy={"service": "by_room"})
    clients = [Client(house["far"].ws_port) for _ in range(24)]
    for number, client in enumerate(clients):
        client.ask(ROOM, {"room": f"room {number % 6}"})

    def where():
        homes = [set() for _ in range(6)]
        for number, client in enumerate(clients):
            homes[number % 6] |= {client.ask(message)["node"] for message in (FREE, STICKY)}
        return homes
    check(max(len(homes) for homes in where()) > 1, "they are together without")
    configure("far", "sessions", carry=["room"])
    homes = where()
    equal([len(names) for names in homes], [1] * 6)
    equal(set().union(*homes), {"one", "two"})
    clients[0].ask(ROOM, {"room": "room 1"})
    eventually(lambda: {clients[0].ask(FREE)["node"]} == homes[1], "it has moved to the room")
    # another route node of the same mind: the proxy that decides itself
    with Client(house["near"].ws_port) as client:
        client.ask(ROOM, {"room": "room 1"})
        eventually(lambda: {client.ask(FREE)["node"]} == homes[1], "from the other proxy, too")
    policy("watch")
    clients[0].ask(FREE)
    equal(house["route"].get("/seen")["room"], "room 1")
    configure("far", "sessions", carry=None)
    clients[0].ask(FREE)
    equal(house["route"].get("/seen")["room"], "")
    for client in clients:
        client.close()
    policy(None)


@case("generations are told when nodes meet, and when they change")
def generations():
    nodes()

    def generation(at):
        listed = known(at, "one", "modules") or []
        return {module["name"]: module["generation"] for module in listed}.get("holder")
    for other in ("route", "near", "far", "two"):
        eventually(lambda o=other: generation(o) == 1, f"{other} knows")
    house["one"].reload("holder", force=True)
    for other in ("route", "near", "far", "two"):
        eventually(lambda o=other: generation(o) == 2, f"{other} knows of the next one")


BAD = [
    ({"policy_range": [{"range": [5, 3], "policy": "hash"}]}, "policy_range[0].range"),
    ({"policy_range": [{"policy": "hash"}]}, "range"),
    ({"policy_range": [{"range": [1, 3]}]}, "policy"),
    ({"policy_range": [{"range": [1, 3], "policy": "a.b"}]}, "a policy's name"),
    ({"policy_range": {}}, "policy_range"),
]


@cases(BAD, "rpc {0}: -t says what is wrong")
def bad(rpc, word):
    node = Node("bad", rpc=rpc)
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 2, run.stderr)
    contains(run.stderr, word)


@cases([(["a", "b", "c", "d", "e"],), (["x" * 33],), ([""],)], "sessions.carry {0}: -t says what is "
       "wrong")
def bad_carry(carry):
    node = Node("bad", sessions={"carry": carry})
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 2, run.stderr)
    contains(run.stderr, "sessions.carry")


if __name__ == "__main__":
    main(all_ended)
