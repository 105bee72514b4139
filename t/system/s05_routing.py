#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Which node a message goes to, and what its sender gets when it goes nowhere."""

import json

from obtest import sources
from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, Trio, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client, packet
from obtest.tap import case, cases, check, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}

# On the route node: special beats range, and of overlapping ranges the last one wins.
TABLE = {
    "range": {
        "route": [[1, 5000]],
        "service": [[5001, 100000]],
        "game": [[9000, 9100]],
        "map": [[8000, 8999]],
    },
    "special": {"game": [7000], "service": [9050], "route": [6500]},
}
ROUTED = [1, 4999, 5000, 6500, 100001]
SERVED = [5001, 7000, 8000, 8999, 9000, 9001, 9050, 9099, 9100, 9101, 30000, 30001, 50000, 99999,
          100000]

plugins = None
house = {}


def modules():
    global plugins  # pylint: disable=global-statement
    if plugins is None:
        plugins = PluginDir()
        plugins.build("probe", sources.PROBE)
        plugins.build("faulty", sources.FAULTY)
    return [str(plugins), MODULES, EXAMPLES]


def probe(ids=SERVED, **conf):
    return {"name": "probe", "conf": {"ids": ids, **conf}}


def nodes():
    """proxy - route - service_a, service_b, game, and two proxies."""
    if not house:
        common = {"module_dirs": modules()}
        sticky = {"no_state": {"range": [[30000, 30999]], "special": [50000]}}
        house["proxy"] = Node("proxy", "proxy", websocket=sticky, modules=["proxy", ADMIN],
                              **common)
        house["proxy_2"] = Node("proxy_2", "proxy", modules=["proxy", ADMIN, probe([12])],
                                **common)
        house["route"] = Node("route", "route", rpc={"route": TABLE},
                              modules=["route", ADMIN, "login", probe(ROUTED)], **common)
        for name in ("service_a", "service_b"):
            house[name] = Node(name, "service", modules=[
                "service", ADMIN, probe(one_way=[6600]), "faulty"], **common)
        house["game"] = Node("game", "game", modules=["service", ADMIN, probe()], **common)
        for name in ("proxy", "proxy_2", "service_a", "service_b", "game"):
            link((house[name], house["route"]))
        start_all(*house.values())
        wait_linked((house["route"], *(house[n] for n in house if n != "route")))
    return house


def connect(proxy="proxy"):
    return Client(nodes()[proxy].ws_port)


# ---------------------------------------------------------------- where to

@cases([
    (1, "route", "the lower end of a range"),
    (5000, "route", "the upper end of a range"),
    (5001, "service", "the lower end of the next one"),
    (100000, "service", "its upper end"),
    (7000, "game", "a special id, in somebody else's range"),
    (6500, "route", "a special id of the node's own role"),
    (9050, "service", "a special id in the middle of an overlap"),
    (9000, "game", "the lower end of an overlap: the last range wins"),
    (9100, "game", "its upper end"),
    (9101, "service", "behind the overlap"),
    (100001, "route", "an id of no range: the route node's own handler"),
    (99999, "service", "the last but one"),
], "{0} goes to {1}: {2}")
def where(number, role, _what):
    with connect() as client:
        answer = client.ask(number, {"n": 4})
    equal((answer["role"], answer["id"], answer["n"]), (role, number, 4))


@case("a role that no node has: 503 when the message's time is over")
def nobody():
    with connect() as client:
        equal(client.code(8999), 503)


@case("the order of the file decides between overlapping ranges, and -t says so")
def order():
    for names, winner in ((("service", "game"), "game"), (("game", "service"), "service")):
        ranges = {names[0]: [[100, 200]], names[1]: [[150, 160]]}
        node = Node("order", "route", rpc={"route": {"range": ranges}}, module_dirs=modules())
        node.write_conf()
        run = node.run("-t")
        equal(run.returncode, 0)
        contains(run.stderr, f"{winner} wins")


@case("a handler on the client's own node comes before any table")
def own_handler():
    with connect("proxy_2") as client:
        equal(client.ask(12)["node"], "proxy_2")
        equal(client.ask(5000)["node"], "route")


@case("two proxies: each answer finds its own client")
def two_proxies():
    with connect() as one, connect("proxy_2") as two:
        for n in range(100):
            one.tell(7000, {"n": n})
            two.tell(7000, {"n": 1000 + n})
        for n in range(100):
            equal(one.reply(7000)["n"], n)
            equal(two.reply(7000)["n"], 1000 + n)


@case("GET /routes shows the table as it works")
def routes():
    shown = nodes()["route"].get("/routes")

    def role_of(number):
        return [r["role"] for r in shown["ranges"] if r["low"] <= number <= r["high"]]
    for number, role in ((1, "route"), (5000, "route"), (5001, "service"), (8000, "map"),
                         (8999, "map"), (9000, "game"), (9100, "game"), (9101, "service"),
                         (100000, "service")):
        equal(role_of(number), [role], str(number))
    equal(role_of(100001), [])
    equal({(r["low"], r["role"]) for r in shown["special"]},
          {(7000, "game"), (9050, "service"), (6500, "route")})


# ---------------------------------------------------------------- nowhere

@cases([
    (1000, b"not json", 400, "a body that is not JSON, where the handler wants it"),
    (1000, b"", 400, "an empty body, where the handler wants JSON"),
    (1000, b"[]", 400, "JSON of another form than the handler wants"),
    (1000, b'{"name": "\xff"}', 400, "JSON that is not UTF-8"),
    (1000, b'{"name": "a", "name": "b"}', 400, "JSON with a key twice"),
    (1234, b"{}", 404, "an id without handler on the route node"),
    (61234, b"{}", 404, "an id without handler on the service node"),
    (200000, b"{}", 404, "an id of no range and without handler"),
    (2**31 - 1, b"{}", 404, "the highest id there is"),
    (0, b"{}", 400, "id 0"),
    (-1, b"{}", 400, "id -1"),
    (-2**31, b"{}", 400, "the lowest number there is"),
    (999, b"{}", 403, "the seed's id for a client that left"),
    (100130, b"{}", 403, "the id of the offline handler"),
    (6401, b"{}", 500, "a handler that gives no answer"),
    (6402, b"{}", 500, "a handler that fails without words"),
    (6403, b"{}", 403, "a handler that refuses"),
], "{3}: code {2}, with the same id")
def refused(number, body, code, _what):
    with connect() as client:
        client.tell(number, body)
        got, answer = client.packet()
        equal(got, number)
        answer = json.loads(answer)
        equal(answer["code"], code, str(answer))
        check(answer["error"] and isinstance(answer["error"], str), answer)
        equal(set(answer), {"code", "error"})
        equal(client.ask(5001)["code"], 200)


@case("a handler's own words reach the client")
def words():
    with connect() as client:
        equal(client.ask(6403), {"code": 403, "error": "not you"})


@case("a session_closed_id of one's own is reserved in its place")
def own_closed_id():
    node = Node("closed-id", "proxy", session_closed_id=777,
                modules=["proxy", ADMIN, probe([100130, 778])], module_dirs=modules()).start()
    with Client(node.ws_port) as client:
        equal(client.code(777), 403)
        equal(client.code(999), 403)
        equal(client.ask(100130)["code"], 200)
        equal(client.ask(778)["code"], 200)
    node.stop()


@case("a one-way handler is told and nobody is answered")
def one_way():
    services = [nodes()["service_a"], nodes()["service_b"]]

    def told():
        return sum(node.metric("obhost_module_probe_told_total") for node in services)
    before = told()
    with connect() as client:
        for _ in range(10):
            client.tell(6600, {"no": "answer"})
        eventually(lambda: told() == before + 10, "all ten")
        check(client.silent())
        equal(client.ask(5001)["code"], 200)
    eventually(lambda: nodes()["proxy"].metric("obhost_pending") == 0, "nothing waits")


@case("a handler that ends silently answers nobody, and the client's place is free again")
def ends_silently():
    with connect() as client:
        client.tell(6404)
        check(client.silent())
        equal(client.ask(5001)["code"], 200)
        eventually(lambda: nodes()["proxy"].metric("obhost_pending") == 0, "nothing waits")


@case("a node without modules for it answers 503 or 404, and lives")
def bare():
    node = Node("bare", "proxy", modules=[ADMIN], module_dirs=modules()).start()
    with Client(node.ws_port) as client:
        check(client.code(5) in (404, 503), "the code")
        equal(client.code(0), 400)
    node.stop()


@case("a proxy alone, without a route node, says at once that nobody handles it")
def alone():
    node = Node("alone", "proxy", modules=["proxy", ADMIN], module_dirs=modules()).start()
    with Client(node.ws_port, timeout=3) as client:
        equal(client.code(5), 404)
    node.stop()


@case("what the table gives to another role, a route node's own handler does not take")
def table_first():
    route = Node("route", "route", rpc={"route": {"range": {"service": [[5001, 6000]]}}},
                 modules=["route", ADMIN, probe([5001, 7])], module_dirs=modules())
    proxy = Node("proxy", "proxy", modules=["proxy", ADMIN], module_dirs=modules())
    service = Node("service", "service", modules=["service", ADMIN, probe([5001])],
                   module_dirs=modules())
    link((proxy, route), (service, route))
    start_all(proxy, route, service)
    wait_linked((route, proxy, service))
    with Client(proxy.ws_port) as client:
        equal(client.ask(5001)["node"], "service")
        equal(client.ask(7)["node"], "route")
    for node in (proxy, route, service):
        node.stop()


@case("a catch-all handler, id 0, takes what no table and no other handler takes")
def catch_all():
    route = Node("route", "route", rpc={"route": {"range": {"service": [[5001, 6000]]}}},
                 modules=["route", ADMIN, probe([0, 7])], module_dirs=modules())
    proxy = Node("proxy", "proxy", modules=["proxy", ADMIN], module_dirs=modules())
    service = Node("service", "service", modules=["service", ADMIN, probe([5001])],
                   module_dirs=modules())
    link((proxy, route), (service, route))
    start_all(proxy, route, service)
    wait_linked((route, proxy, service))
    with Client(proxy.ws_port) as client:
        equal(client.ask(7)["node"], "route")
        equal(client.ask(8)["node"], "route")
        equal(client.ask(5001)["node"], "service")
        equal(client.code(5002), 404)
    for node in (proxy, route, service):
        node.stop()


# ---------------------------------------------------------------- one of several

def served_by(client, number, times=1):
    return [client.ask(number)["node"] for _ in range(times)]


@case("two nodes of one role: a client's sticky messages all go to one of them")
def sticky():
    chosen = set()
    for _ in range(30):
        with connect() as client:
            names = set(served_by(client, 5001, 10) + served_by(client, 9101, 5) +
                        served_by(client, 100000, 5))
            equal(len(names), 1, f"one client was served by {names}")
            chosen |= names
    equal(chosen, {"service_a", "service_b"})


@cases([(30000,), (30001,), (50000,)], "no_state: {0} of one client is spread over both")
def no_state(number):
    with connect() as client:
        equal(set(served_by(client, number, 20)), {"service_a", "service_b"})


@case("a client that is sticky for one role is not for another")
def per_role():
    with connect() as client:
        equal({*served_by(client, 7000, 3)}, {"game"})
        equal(len({*served_by(client, 5001, 10)}), 1)


@case("stickiness outlives the reload of every decider")
def sticky_reload():
    house_ = nodes()
    with connect() as client:
        (before,) = set(served_by(client, 5001, 5))
        house_["proxy"].reload("proxy", force=True)
        house_["route"].reload("route", force=True)
        equal(set(served_by(client, 5001, 10)), {before})


@case("a client whose sticky node dies is served by the other one, and stays there")
def sticky_dies():
    with connect() as client, connect() as steady:
        (first,) = set(served_by(client, 5001, 3))
        other = "service_b" if first == "service_a" else "service_a"
        equal(steady.code(7000), 200)
        nodes()[first].kill()
        codes = []
        eventually(lambda: codes.append(client.ask(5001)) or codes[-1]["code"] == 200,
                   "an answer")
        check(all(answer["code"] in (200, 502, 503, 504) for answer in codes), codes)
        equal(set(served_by(client, 5001, 5)), {other})
        equal(steady.code(7000), 200)
        nodes()[first].start()
        wait_linked((nodes()["route"], nodes()[first]))
        equal(len(set(served_by(client, 5001, 5))), 1)


@case("without a table anywhere: the route node's handlers, else 404")
def no_table():
    trio = Trio(route={"rpc": {"route": None}}, service={"rpc": {"route": None}})
    trio.route.conf["rpc"].pop("route", None)
    trio.start()
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(1000, {"name": "x"}), 200)
        equal(client.code(20000, {"user_id": 1}), 404)
        client.send(packet(1000, {"name": "y"}))
        equal(client.reply(1000)["code"], 200)
    trio.stop()


if __name__ == "__main__":
    main(all_ended)
