#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Links over a transport that a module offers, the example transport_abstract: two nodes that have
nothing else between them, also encrypted; its module is replaced under load and taken out; names
that are wrong are refused, by obhost -t as well; a node that another one tells of is dialled by it."""

import contextlib
import json
import os

from obtest import sources
from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import Node, all_ended, run_obhost, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client, Stream
from obtest.tap import case, cases, check, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
WORD = "transport_abstract"
TABLE = {"range": {"game": [[6000, 6999]]}}
FREE = {"no_state": {"range": [[6000, 6999]]}}
PROBE = {"name": "probe", "conf": {"ids": [6001]}}

house = {}


def modules():
    if "plugins" not in house:
        house["plugins"] = PluginDir()
        house["plugins"].build("probe", sources.PROBE)
        house["plugins"].copy(WORD, f"{EXAMPLES}/{WORD}.so")
    return [str(house["plugins"]), MODULES, EXAMPLES]


def name_of(node):
    """An abstract name of this run's own."""
    return f"obhost-test-{os.getpid()}/{node}"


def pair(kind, **more):
    """A node that takes messages and one that has clients; no port or file between them."""
    if kind not in house:
        rpc = {"port": None, "unix": False, "reconnect_time": 0.2, **more}
        game = Node(f"game_{kind}", "game", module_dirs=modules(),
                    modules=["service", ADMIN, WORD, PROBE],
                    rpc={**rpc, "listen": [{"transport": "abstract", "address": name_of(kind)}]})
        proxy = Node(f"proxy_{kind}", "proxy", module_dirs=modules(), websocket=FREE,
                     modules=["proxy", ADMIN, WORD], rpc={**rpc, "route": TABLE},
                     remote_ports=[{"transport": "abstract", "address": name_of(kind),
                                    "type": "game"}])
        start_all(game, proxy)
        wait_linked((proxy, game))
        house[kind] = (proxy, game)
    return house[kind]


def entry(node):
    (shown,) = node.get("/peers")["remote_ports"]
    return shown


@cases([("plain", {}), ("encoded", {"encode": 1})],
       "two nodes with nothing between them but abstract sockets, {0}")
def works(kind, more):
    proxy, game = pair(kind, **more)
    with Client(proxy.ws_port) as client:
        for number in range(100):
            equal(client.ask(6001, {"n": number})["n"], number)
    (peer,) = proxy.get("/peers")["peers"]
    equal((peer["address"], peer["direction"]), (f"abstract:{name_of(kind)}", "dialled"))
    check(peer["tls"].startswith("TLSv1.3 ") if more else peer["tls"] == "", peer["tls"])
    (peer,) = game.get("/peers")["peers"]
    equal((peer["address"], peer["direction"]), (f"abstract:{name_of(kind)}", "accepted"))
    equal(game.get("/peers")["transports"]["abstract"],
          {"built_in": False, "module": WORD, "listening": [name_of(kind)]})
    game.says(f"listening on abstract:{name_of(kind)}")


@cases([("plain", {}), ("encoded", {"encode": 1})],
       "its module is replaced at both ends under load, {0}: the link stays, nothing is lost",
       timeout=90)
def replaced(kind, more):
    proxy, game = pair(kind, **more)
    closed = proxy.metric("obhost_link_closed_total")
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(Stream(proxy.ws_port, 6001, window=4)) for _ in range(8)]
        for _ in range(12 // SLOW):
            for node in (proxy, game):
                eventually(lambda n=node: n.http("POST", "/modules/reload",
                                                 {"name": WORD, "force": True}).status == 200,
                           "a reload")
            for stream in streams:
                stream.busy()
        for stream in streams:
            stream.finish()
            equal(set(stream.codes), {200})
    equal(proxy.metric("obhost_link_closed_total"), closed)
    check(proxy.module(WORD)["active"]["generation"] > 3)


@case("taken out, what it made stays; what is to be dialled waits, and says so")
def taken_out():
    proxy, game = pair("plain")
    equal(proxy.http("DELETE", f"/modules/{WORD}").status, 200)
    with Client(proxy.ws_port) as client:
        equal(client.code(6001, {"n": 1}), 200)
    game.restart()
    eventually(lambda: entry(proxy)["state"] == "no transport", "the entry waiting")
    equal(entry(proxy)["error"], "no loaded module offers the transport abstract")
    proxy.says("waiting for a module that does")
    equal(proxy.get("/peers")["transports"]["abstract"]["module"], None)
    equal(proxy.http("POST", "/modules", {"name": WORD}).status, 200)
    wait_linked((proxy, game))
    with Client(proxy.ws_port) as client:
        equal(client.code(6001, {"n": 1}), 200)


@case("the other node is killed and started again")
def heals():
    proxy, game = pair("encoded", encode=1)
    game.kill()
    eventually(lambda: "connection refused" in entry(proxy)["error"].lower(), "the refusal")
    contains(entry(proxy)["error"], f"abstract: {name_of('encoded')}: nobody answers")
    game.start()
    wait_linked((proxy, game))
    with Client(proxy.ws_port) as client:
        equal(client.code(6001, {"n": 1}), 200)


@case("a node whose token is another one is refused over it as well")
def wrong_token():
    _, game = pair("plain")
    stranger = Node("stranger", module_dirs=modules(), modules=["service", ADMIN, WORD],
                    rpc={"token": "not the same token"},
                    remote_ports=[{"transport": "abstract", "address": name_of("plain")}]).start()
    eventually(lambda: game.metric("obhost_link_closed_total", reason="wrong_token") >= 1,
               "the refusal")
    equal(stranger.peers(), set())
    stranger.stop()


# ---------------------------------------------------------------- names that are wrong

# What is written, where obhost says that it is wrong, and why.
WRONG = [
    ({"remote_ports": [{"transport": "abstrakt", "address": "x"}]}, "remote_ports[0]",
     'no module of this node offers the transport "abstrakt"; did you mean "abstract"?'),
    ({"remote_ports": [{"transport": "tpc", "address": "x"}]}, "remote_ports[0]",
     'no module of this node offers the transport "tpc"; did you mean "tcp"?'),
    ({"rpc": {"listen": [{"transport": "pigeon", "address": "x"}]}}, "rpc.listen[0]",
     'no module of this node offers the transport "pigeon"'),
    ({"rpc": {"listen": [{"transport": "tcp", "address": "x"}]}}, "rpc.listen[0].transport",
     "is built in"),
    ({"rpc": {"listen": [{"transport": "abstract", "adress": "x"}]}}, "rpc.listen[0].adress",
     'did you mean "address"?'),
    ({"remote_ports": [{"transport": "unix", "port": 7}]}, "remote_ports[0].address",
     "stands alone"),
    ({"remote_ports": [{"transport": "tcp", "address": "nowhere"}]}, "remote_ports[0].address",
     "HOST:PORT"),
    ({"remote_ports": [{"transport": "abstract", "address": "é"}]}, "remote_ports[0].address",
     "printable ASCII"),
]


@cases([(number,) for number in range(len(WRONG))], "what is wrong is refused: {0}")
def wrong(number):
    keys, where, why = WRONG[number]
    node = Node(f"wrong_{number}", module_dirs=modules(), modules=["service", ADMIN, WORD], **keys)
    node.write_conf()
    tested = node.run("-t")
    equal(tested.returncode, 2, tested.stderr)
    contains(tested.stderr, where)
    contains(tested.stderr, why)
    started = node.run()
    check(started.returncode != 0, started.stderr)
    contains(started.stderr, where)
    contains(started.stderr, why)


@case("what is right passes obhost -t; an address that the transport does not take stops the start")
def right():
    keys = {"module_dirs": modules(), "modules": ["service", ADMIN, WORD]}
    node = Node("right", remote_ports=[{"transport": "abstract", "address": "x"},
                                       {"path": "/run/x.sock"}, {"transport": "tcp",
                                                                 "address": "[::1]:7000"}], **keys)
    node.write_conf()
    tested = node.run("-t")
    equal(tested.returncode, 0, tested.stderr)
    check("warning" not in tested.stderr, tested.stderr)
    node.start()
    shown = node.http("POST", "/peers", {"transport": "abstrakt", "address": "y"})
    equal(shown.status, 400)
    contains(json.dumps(shown.json), "did you mean")
    equal(node.http("POST", "/peers", {"transport": "abstract", "address": "a/b"}).status, 202)
    equal(len(node.get("/peers")["remote_ports"]), 4)
    equal(node.http("DELETE", "/peers", {"peer": "abstract:a/b"}).status, 200)
    equal(len(node.get("/peers")["remote_ports"]), 3)
    node.stop()
    long = Node("long", rpc={"listen": [{"transport": "abstract", "address": "x" * 107}]}, **keys)
    taken = Node("taken", rpc={"listen": [{"transport": "abstract",
                                           "address": name_of("plain")}]}, **keys)
    long.start()
    long.stop()
    pair("plain")
    taken.write_conf()
    refused = taken.run()
    equal(refused.returncode, 1)
    contains(refused.stderr, f"abstract: {name_of('plain')}: can't be bound")


@case("obhost lint names the transports of a module")
def lint():
    said = run_obhost("lint", f"{EXAMPLES}/{WORD}.so")
    equal(said.returncode, 0, said.stdout + said.stderr)
    contains(said.stdout, "transports abstract")


# ---------------------------------------------------------------- told by others

@case("a node that a route node tells of is dialled by the transport; one without it uses tcp")
def lazily():
    route = Node("route_1", "route", modules=["route", ADMIN])
    more = {"remote_ports": [{"port": route.rpc_port}], "module_dirs": modules()}
    game = Node("game_1", "game", modules=["service", ADMIN, WORD, PROBE],
                rpc={"unix": False, "serve": [[6000, 6999]],
                     "listen": [{"transport": "abstract", "address": name_of("told")}]}, **more)
    more["rpc"] = {"port": None, "unix": False}  # nobody can dial the proxies
    has = Node("proxy_1", "proxy", modules=["proxy", ADMIN, WORD], websocket=FREE, **more)
    has_not = Node("proxy_2", "proxy", modules=["proxy", ADMIN], websocket=FREE, **more)
    nodes = [route, game, has, has_not]
    start_all(*nodes)
    wait_linked((route, game, has, has_not))

    def address(node):
        with Client(node.ws_port) as client:
            equal(client.code(6001, {"n": 1}), 200)
        return next((peer["address"] for peer in node.get("/peers")["peers"]
                     if peer["name"] == "game_1" and peer["link"] == "up"), None)
    for proxy, expected in ((has, f"abstract:{name_of('told')}"),
                            (has_not, f"127.0.0.1:{game.rpc_port}")):
        eventually(lambda p=proxy: any(peer["name"] == "game_1" and peer["listed"]
                                       for peer in p.get("/peers")["peers"]), "the node listed")
        eventually(lambda p=proxy: address(p), f"{proxy.name} linked with it")
        equal(address(proxy), expected, proxy.name)
    peer = next(peer for peer in has.get("/peers")["peers"] if peer["name"] == "game_1")
    check(any(text.startswith("abstract@") and text.endswith(f" {name_of('told')}")
              for text in peer["addresses"]), peer["addresses"])
    for node in nodes:
        node.stop()


if __name__ == "__main__":
    main(all_ended)
