#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Sessions: who hears of a client's end, who can reach it, and that nobody takes its place."""

import signal
import time

from obtest import sources
from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client, Closed
from obtest.tap import case, cases, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}

# 6000-6999 to the services, each client to one of them; 7000-7999 to the one game node.
TABLE = {"range": {"service": [[6000, 6999]], "game": [[7000, 7999]]}}

house = {}


def modules():
    if "plugins" not in house:
        plugins = PluginDir()
        plugins.build("watch", sources.WATCH)
        plugins.build("probe", sources.PROBE)
        plugins.build("far", sources.WATCH.replace("6201", "7201").replace("6203", "7203"))
        house["plugins"] = plugins
    return [str(house["plugins"]), MODULES, EXAMPLES]


def probe(*ids):
    return {"name": "probe", "conf": {"ids": list(ids)}}


def nodes():
    if "proxy" not in house:
        common = {"module_dirs": modules()}
        house["proxy"] = Node("proxy", "proxy", modules=["proxy", ADMIN], **common)
        house["route"] = Node("route", "route", modules=["route", ADMIN], rpc={"route": TABLE},
                              **common)
        for name in ("service_a", "service_b"):
            house[name] = Node(name, "service", modules=["service", ADMIN, "watch", probe(6001)],
                               **common)
        house["game"] = Node("game", "game", modules=["service", ADMIN, "far", probe(7001)],
                             **common)
        for name in ("proxy", "service_a", "service_b", "game"):
            # Nobody but the route node can be dialled: all that is said goes through it.
            del house[name].conf["rpc"]["port"]
            link((house[name], house["route"]))
        start_all(*(node for node in house.values() if isinstance(node, Node)))
        wait_linked((house["route"], house["proxy"], house["service_a"], house["service_b"],
                     house["game"]))
    return house


def connect():
    return Client(nodes()["proxy"].ws_port)


def ends(name, how="handler"):
    return nodes()[name].get("/ends")[how]


def quiet():
    """Waits until nobody is waiting to hear of anything."""
    proxy = nodes()["proxy"]
    eventually(lambda: proxy.get("/sessions")["total"] == 0, "no session on the proxy")


# ---------------------------------------------------------------- the end of a session

GOINGS = [
    (lambda client: client.close(1000), "says goodbye"),
    (lambda client: client.drop(), "just goes"),
    (lambda client: (client.send_bytes(b"\xff\xff"), client.close_code()), "breaks the rules"),
]


@cases(GOINGS, "a client that {1}: exactly those nodes hear of it that have served it, each once")
def heard(goes, _how):
    with connect() as client:
        session = client.ask(6001)["session"]
        (server,) = {client.ask(6001)["node"] for _ in range(5)}
        goes(client)
    other = "service_b" if server == "service_a" else "service_a"
    eventually(lambda: session in ends(server), "the handler's call")
    eventually(lambda: session in ends(server, "event"), "the event")
    time.sleep(0.2)
    equal((ends(server)[session], ends(server, "event")[session]), (1, 1))
    for name in (other, "game"):
        check(session not in ends(name) and session not in ends(name, "event"),
              f"{name} was told, too")


@case("a client that was served by several nodes: all of them hear")
def heard_by_all():
    with connect() as client:
        session = client.ask(6001)["session"]
        server = client.ask(6001)["node"]
        equal(client.ask(7001)["session"], session)
    for name in (server, "game"):
        eventually(lambda n=name: ends(n).get(session) == 1, f"{name} hearing of it")


@case("a client that nobody has served: nobody hears")
def heard_by_nobody():
    quiet()
    before = {name: ends(name) for name in ("service_a", "service_b", "game")}
    with connect() as client:
        equal(client.code(999), 403)
    quiet()
    time.sleep(0.2)
    equal({name: ends(name) for name in before}, before)


@case("fifty clients that go at once: each is heard of once")
def many():
    clients = [connect() for _ in range(50)]
    sessions = {client.ask(7001)["session"] for client in clients}
    equal(len(sessions), 50)
    for client in clients:
        client.drop()
    eventually(lambda: sessions <= set(ends("game")), "all of them")
    equal({ends("game")[session] for session in sessions}, {1})


@case("nothing is left of clients that went, on any node")
def nothing_left():
    for _ in range(30):
        with connect() as client:
            client.ask(6001)
            client.ask(7001)
    for name in ("proxy", "route", "service_a", "service_b", "game"):
        eventually(lambda n=name: nodes()[n].get("/sessions")["total"] == 0,
                   f"no session left on {name}")


@cases([("SIGKILL",), ("SIGTERM",)],
       "the route node is down when a client goes ({0}): they hear when it is back", timeout=40)
def route_down(how):
    with connect() as client:
        session = client.ask(7001)["session"]
        nodes()["route"].stop(getattr(signal, how))
    eventually(lambda: nodes()["proxy"].get("/node")["connections"] == 0, "the client's end")
    check(session not in ends("game"), "it was told, through nobody")
    nodes()["route"].start()
    eventually(lambda: session in ends("game"), "the handler's call", 15)
    time.sleep(2.5)
    equal(ends("game")[session], 1)


@case("the node that served is restarted: its sessions do not stay on it, nor elsewhere",
      timeout=40)
def server_restarts():
    with connect() as client:
        client.ask(7001)
        nodes()["game"].kill()
        nodes()["game"].start()
        wait_linked((nodes()["route"], nodes()["game"]))
        answer = eventually(lambda: (a := client.ask(7001))["code"] == 200 and a, "an answer")
        session = answer["session"]
    eventually(lambda: ends("game").get(session) == 1, "the handler's call")
    for name in ("proxy", "route", "game"):
        eventually(lambda n=name: nodes()[n].get("/sessions")["total"] == 0,
                   f"no session left on {name}", 15)


@case("the proxy is killed: those who have served its clients hear when it is back", timeout=40)
def proxy_killed():
    with connect() as client:
        session = client.ask(7001)["session"]
        nodes()["proxy"].kill()
        nodes()["proxy"].start()
        wait_linked((nodes()["route"], nodes()["proxy"]))
    with connect() as client:
        equal(client.ask(7001)["code"], 200)
        eventually(lambda: ends("game").get(session) == 1, "the handler's call")


@case("the proxy stops in order: its clients' servers hear before it ends")
def proxy_stops():
    client = connect()
    session = client.ask(7001)["session"]
    nodes()["proxy"].stop()
    client.drop()
    eventually(lambda: ends("game").get(session) == 1, "the handler's call")
    nodes()["proxy"].start()
    wait_linked((nodes()["route"], nodes()["proxy"]))


# ---------------------------------------------------------------- reaching a client

@case("a handler pushes to the client that asks: the push comes before the answer")
def push():
    with connect() as client:
        client.tell(6201, {"n": 5})
        equal(client.reply(6202), {"n": 5})
        equal(client.reply(6201), {"code": 200, "pushed": 0})


@case("a thousand pushes and answers keep their order")
def pushes():
    with connect() as client:
        for n in range(1000):
            client.tell(6201, {"n": n})
        for n in range(1000):
            equal(client.reply(6202), {"n": n})
            equal(client.reply(6201)["code"], 200)


@case("one client's handler pushes to another client by its session's name")
def push_other():
    with connect() as one, connect() as two:
        session = one.ask(7001)["session"]
        equal(two.ask(7201, {"session": session, "n": 8}), {"code": 200, "pushed": 0})
        equal(one.reply(6202), {"n": 8})
        check(two.silent(0.1))


@case("a push to a client that has gone reaches nobody and harms nobody")
def push_gone():
    with connect() as one, connect() as two:
        session = one.ask(7001)["session"]
        one.close()
        answer = two.ask(7201, {"session": session})
        check(answer["code"] in (200, 404), answer)
        eventually(lambda: two.ask(7201, {"session": session})["code"] == 404, "its name unknown")
        with connect() as three:
            check(three.silent())
        check(two.silent(0.1))


@case("a handler closes the client that asks, with its code and reason, after the answer")
def kick():
    with connect() as client:
        equal(client.ask(6203), {"code": 200})
        try:
            client.message()
        except Closed as closed:
            equal((closed.code, closed.reason), (4001, "go away"))
    quiet()


@case("names that no session has: 404")
def no_such_session():
    with connect() as client:
        for text in ("", "nobody", "proxy-", "proxy-zzzzzzzzzzzzzzzz", "proxy-0000000000000001",
                     "x" * 200, "-0000000000000001", "game-0000000000000001"):
            answer = client.ask(7201, {"session": text})
            check(answer["code"] == 404 and "pushed" not in answer, (text, answer))
        check(client.silent(0.1))


@case("the methods of the service module push and close by name")
def methods():
    caller = Node("caller", "proxy", module_dirs=modules(), modules=["proxy", ADMIN, "asks"])
    house["plugins"].build("asks", ASKS)
    caller.start()
    at = f"127.0.0.1:{caller.rpc_port}"
    equal(nodes()["game"].http("POST", "/peers", {"address": at}).status, 202)
    wait_linked((nodes()["game"], caller))
    with connect() as client, Client(caller.ws_port) as asks:
        session = client.ask(7001)["session"]
        answer = asks.ask(6801, {"method": "sys.game.session.push", "args": {
            "session": session, "id": 5555, "body": {"hello": "you"}}})
        equal(answer, {"code": 200})
        equal(client.reply(5555), {"hello": "you"})
        answer = asks.ask(6801, {"method": "sys.game.session.push", "args": {
            "session": "proxy-0000000000000000", "id": 5555, "body": {}}})
        equal(answer["code"], 404)
        answer = asks.ask(6801, {"method": "sys.game.session.close", "args": {
            "session": session, "code": 4002, "reason": "enough"}})
        equal(answer, {"code": 200})
        equal(client.close_code(), 4002)
    equal(nodes()["game"].http("DELETE", f"/peers/{at}").status, 200)
    caller.stop()


ASKS = """
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

static void ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	ob_req *req = arg;

	if (res->code == OB_OK) {
		ob_reply(ctx, *req, res->data, res->len);
	} else {
		ob_fail(ctx, *req, res->code, res->text);
	}
	free(req);
}

static void ask(ob_ctx *ctx, ob_req req)
{
	ob_target game = {.role = ob_role(ctx, "game")};
	char *args = json_dumps(json_object_get(ob_req_json(ctx, req), "args"), 0);
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	if (!ob_call_method(ctx, &game, ob_req_str(ctx, req, "method"), 0, args, strlen(args), 0,
			    ended, kept)) {
		free(kept);
	}
	free(args);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6801, ask);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


# ---------------------------------------------------------------- names are never used twice

@case("session names are those of the proxy, and grow")
def names_grow():
    seen = []
    for _ in range(20):
        with connect() as client:
            seen.append(client.ask(7001)["session"])
    check(all(name.startswith("proxy-") and len(name) == len("proxy-") + 16 for name in seen),
          seen)
    equal(seen, sorted(set(seen)))


@cases([("stop",), ("kill",)],
       "after the proxy's restart ({0}) no name comes again, and old ones reach nobody", timeout=40)
def names_after_restart(how):
    old = []
    for _ in range(5):
        client = connect()
        old.append(client.ask(7001)["session"])
    getattr(nodes()["proxy"], how)()
    nodes()["proxy"].start()
    wait_linked((nodes()["route"], nodes()["proxy"]))
    clients = [connect() for _ in range(10)]
    new = [client.ask(7001)["session"] for client in clients]
    check(not set(old) & set(new), (old, new))
    check(min(new) > max(old), (old, new))
    for session in old:
        answer = clients[0].ask(7201, {"session": session})
        check(answer["code"] in (200, 404), answer)
    for client in clients:
        check(client.silent(0.05))
        client.drop()


@case("a clock that goes back does not bring names back")
def clock_back():
    proxy = nodes()["proxy"]
    with connect() as client:
        before = client.ask(7001)["session"]
    proxy.stop()
    file = proxy.state / "incarnation"
    ahead = int(file.read_text(encoding="ascii")) + 10**9
    file.write_text(f"{ahead}\n", encoding="ascii")
    proxy.start()
    wait_linked((nodes()["route"], proxy))
    check(proxy.get("/node")["incarnation"] > ahead, "the incarnation")
    with connect() as client:
        check(client.ask(7001)["session"] > before, "the name")


if __name__ == "__main__":
    main(all_ended)
