#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What went wrong in obespoir, one check each: it can't happen here. The numbers are those of the
list in which its mistakes were written down."""

import json
import signal
import socket
import struct
import time

from obtest import sources
from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import Node, Trio, all_ended, link, start_all, wait_linked
from obtest.peer import CALL, PUSH, REPLY, REQUEST, Frame, Peer, node_id
from obtest.plugin import PluginDir
from obtest.seed import Client, Closed, packet
from obtest.tap import case, check, contains, equal, eventually, main, skip

ADMIN = {"name": "http_admin", "admin": True}
PASSWORD = "correct-horse-battery-staple"

# What the seed's proxy says to its route node for a login, and a push as the seed's route would.
SEED_LOGIN = bytes.fromhex(
    "85000000e8030000000000007b22737263223a2233613836653936633164323864616331303736633931303866"
    "6266656334385f31222c22746f223a6e756c6c2c2264617461223a7b226e616d65223a226a616d6f6e222c2270"
    "6173737764223a2274657374222c226d6573736167655f6964223a313030307d2c2270726576223a317d")

house = {}


def modules():
    if "plugins" not in house:
        plugins = PluginDir()
        for name, text in (("probe", sources.PROBE), ("watch", sources.WATCH),
                           ("faulty", sources.FAULTY), ("holder", sources.HOLDER)):
            plugins.build(name, text)
        house["plugins"] = plugins
    return [str(house["plugins"]), MODULES, EXAMPLES]


def probe(*ids):
    return {"name": "probe", "conf": {"ids": list(ids)}}


def the_trio():
    """Every id of clients is sticky here."""
    if "trio" not in house:
        house["trio"] = Trio(
            proxy={"module_dirs": modules(), "call_timeout": 2, "websocket": {"no_state": None}},
            route={"module_dirs": modules()},
            service={"module_dirs": modules(), "modules": [
                "service", ADMIN, "rank_room", "faulty", "watch", "holder", probe(6001)]}).start()
    return house["trio"]


def connect():
    return Client(the_trio().proxy.ws_port)


def handled(node, module):
    return node.module(module)["active"]["handled"]


# ---------------------------------------------------------------- 1 to 19

@case("1: nobody without the token gets a request handled or a push through")
def no_stranger():
    trio = the_trio()
    with connect() as client:
        session = client.ask(6001)["session"]
        sequence = int(session.rpartition("-")[2], 16)
        before = (handled(trio.route, "login"), handled(trio.service, "rank_room"))
        for node, text in (
                (trio.route, SEED_LOGIN),
                (trio.route, Frame(REQUEST, b'{"name":"x"}', id=1000, call=1, flags=CALL).pack()),
                (trio.service, Frame(REQUEST, b'{"user_id":1}', id=20000, call=1).pack()),
                (trio.proxy, Frame(PUSH, b'{"gift":1}', id=7, dst=node_id("proxy_1"),
                                   session_node=node_id("proxy_1"),
                                   session_seq=sequence).pack())):
            with Peer(node.rpc_port) as peer:
                peer.send_bytes(text)
                peer.closed()
        check(client.silent(0.2))
        equal((handled(trio.route, "login"), handled(trio.service, "rank_room")), before)


@case("2: two nodes of one type are configured, start, and both work")
def two_of_a_type():
    services = [Node(f"service_{n}", modules=["service", ADMIN, probe(6001)],
                     module_dirs=modules()) for n in (1, 2)]
    route = Node("route", "route", modules=["route", ADMIN],
                 rpc={"route": {"range": {"service": [[5001, 9999]]}}})
    proxy = Node("proxy", "proxy", modules=["proxy", ADMIN],
                 websocket={"no_state": {"range": [[0, 9999]]}})
    link((route, services[0]), (route, services[1]), (route, proxy))
    nodes = [*services, route, proxy]
    start_all(*nodes)
    wait_linked((route, proxy, *services))
    with Client(proxy.ws_port) as client:
        equal({client.ask(6001)["node"] for _ in range(10)}, {"service_1", "service_2"})
    for node in nodes:
        node.stop()


@case("3: no GET changes anything, and no request takes a node out for good")
def one_get():
    trio = the_trio()
    for node in trio.nodes:
        equal(node.http("GET", "/update_remote_rpc_config").status, 405)
        for _ in range(3):
            equal(node.http("POST", "/update_remote_rpc_config").status, 200)
    trio.wait_linked()
    trio.route.kill()
    trio.route.start()
    trio.wait_linked()
    with connect() as client:
        equal(client.ask(6001)["code"], 200)


@case("4: the service's offline handler hears of a client's end, by nobody's route table")
def offline():
    trio = the_trio()
    equal([r for r in trio.route.get("/routes")["ranges"] if r["low"] <= 999 <= r["high"]][0]
          ["role"], "route")
    with connect() as client:
        session = client.ask(6001)["session"]
    eventually(lambda: trio.service.get("/ends")["handler"].get(session) == 1, "the call")


@case("5: nothing is left of a session on any node")
def no_leak():
    trio = the_trio()
    for _ in range(50):
        with connect() as client:
            client.code(1000, {"name": "x"})
            client.ask(6001)
    for node in trio.nodes:
        eventually(lambda n=node: n.get("/sessions")["total"] == 0, f"no session on {node.name}")


@case("6: one frame never goes round: four hops, then it ends")
def no_storm():
    routes = [Node(f"route_{n}", "route", modules=["route", ADMIN],
                   rpc={"route": {"range": {"ghost": [[5001, 9999]]}}}) for n in range(3)]
    link((routes[0], routes[1]), (routes[1], routes[2]), (routes[2], routes[0]))
    start_all(*routes)
    wait_linked((routes[0], *routes[1:]), (routes[1], routes[2]))

    def forwarded():
        return sum(node.metric("obhost_forwarded_total") for node in routes)
    with Peer(routes[0].rpc_port, "stray", "service") as peer:
        check(peer.meet(), peer.refused)
        for fields in ({"dst": node_id("nobody")}, {"role": 12345}, {"id": 6000},
                       {"dst": node_id("nobody"), "hops": 255}):
            before = forwarded()
            peer.send_bytes(Frame(REQUEST, b"{}", **{
                "id": 6000, "call": 9, "flags": CALL, "budget": 1500, "src": peer.hello.id,
                **fields}).pack())
            reply = peer.wanted(REPLY)
            check(reply.call == 9 and reply.status != 0, reply)
            check(forwarded() - before <= 8, f"{fields}: {forwarded() - before} times passed on")
    for node in routes:
        node.stop()


@case("7: a push that outlives its client's proxy reaches no stranger")
def no_stranger_pushed():
    trio = the_trio()
    with connect() as client:
        session = client.ask(6001)["session"]
    trio.proxy.kill()
    trio.proxy.start()
    trio.wait_linked()
    clients = [connect() for _ in range(5)]
    names = {client.ask(6001)["session"] for client in clients}
    check(session not in names, "the name was given again")
    answer = clients[0].ask(6201, {"session": session})
    check(answer["code"] in (200, 404), answer)
    for client in clients:
        check(client.silent(0.05))
        client.drop()


@case("8: a dead sticky node holds up nothing else, and each message gets its answer")
def no_stall():
    trio = the_trio()
    with connect() as client:
        equal(client.ask(6001)["code"], 200)
        trio.service.kill()
        began = time.monotonic()
        client.tell(6001)
        equal(client.ask(1000, {"name": "x"})["code"], 200)
        check(time.monotonic() - began < 1.5 * SLOW, "it was held up")
        got, body = client.packet()
        equal(got, 6001)
        check(json.loads(body)["code"] in (502, 503, 504), body)
        check(time.monotonic() - began < 4 * SLOW, "the answer took too long")
    trio.service.start()
    trio.wait_linked()


@case("9: without a route node the client gets an error and stays connected")
def no_route():
    trio = the_trio()
    trio.route.stop()
    with connect() as client:
        equal(client.code(6001), 503)
        trio.route.start()
        trio.wait_linked()
        equal(client.ask(6001)["code"], 200)


@case("10: encryption without a key is refused at start, not pretended")
def no_encode():
    node = Node("encode", "proxy", websocket={"encode": 1, "token": "no key"})
    node.write_conf()
    run = node.run()
    equal(run.returncode, 2, run.stderr)
    contains(run.stderr, "encode 1 needs a token of 32 bytes")


@case("11: a handler on the client's own node answers the client")
def own_handler():
    node = Node("own", "proxy", rpc=None, modules=["proxy", ADMIN, "echo", "login"]).start()
    with Client(node.ws_port) as client:
        equal(client.ask(30000, {"a": [1]}), {"a": [1]})
        equal(client.ask(1000, {"name": "x"})["code"], 200)
    node.stop()


@case("12: a node is who it is, whatever address it binds or is called by")
def identity():
    trio = Trio(proxy={"host": "0.0.0.0"}, route={"host": "localhost"},
                service={"host": "127.0.0.1"})
    for node in trio.nodes:
        for remote in node.conf.get("remote_ports", []):
            remote["host"] = "localhost"
    trio.start()
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(1000, {"name": "x"}), 200)
        equal(client.code(20000, {"user_id": 1}), 200)
    before = [node.fds() for node in trio.nodes]
    time.sleep(2)
    after = [node.fds() for node in trio.nodes]
    check(all(b <= a + 1 for a, b in zip(before, after)), f"descriptors: {before}, then {after}")
    trio.stop()


@case("13: a link that is reset is noticed at once")
def reset():
    route = the_trio().route
    peer = Peer(route.rpc_port, "brief", "service")
    check(peer.meet(), peer.refused)
    eventually(lambda: "brief" in route.peers(), "the peer")
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()
    eventually(lambda: "brief" not in route.peers(), "the peer gone", 2)


@case("13: the nodes speak IPv6 as well")
def ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe_:
            probe_.bind(("::1", 0))
    except OSError:
        skip("no IPv6 loopback")
    route = Node("route", "route", host="::1", http=None, modules=["route", "login"])
    node = Node("node", host="127.0.0.1", modules=["service", ADMIN],
                remote_ports=[{"host": "::1", "port": route.rpc_port, "type": "route"}])
    start_all(route, node)
    eventually(lambda: node.peers() == {"route"}, "the link")
    contains(json.dumps(node.get("/peers")), "[::1]")
    node.stop()
    route.stop()


@case("14: a packet's length is checked before anything is kept")
def lengths():
    proxy = the_trio().proxy
    before = proxy.rss_kib()
    for length, code in ((-1, 1002), (0, 1002), (11, 1002), (2**31 - 1, 1009)):
        for _ in range(20):
            with connect() as client:
                client.send(packet(6001, b"x" * 1000, length=length))
                equal(client.close_code(), code)
    proxy.check_growth(before, 2048)


@case("15: overlaps are warned of, specials are checked like ranges")
def table_checked():
    node = Node("table", "route", rpc={"route": {
        "range": {"service": [[1, 100]], "game": [[50, 150]]},
        "special": {"service": [60], "game": [60]}}})
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 0, run.stderr)
    contains(run.stderr, "game wins")
    equal(run.stderr.count("overlap"), 2, run.stderr)
    for special in ("60", {"service": 60}, {"service": ["60"]}, {"service": [[1, 2]]},
                    {"service": [0]}, {"service": [2**31]}):
        node.conf["rpc"]["route"]["special"] = special
        node.write_conf()
        run = node.run("-t")
        equal(run.returncode, 2, f"{special}: {run.stderr}")
        contains(run.stderr, "rpc.route.special")


@case("16: once a table has settled where a message goes, no other table sends it elsewhere")
def settled():
    trio = Trio(table={"range": {"route": [[0, 5000]]}, "special": {"service": [1000, 4000]}},
                route={"modules": ["route", ADMIN]},
                service={"modules": ["service", ADMIN, "login"],
                         "rpc": {"route": {"range": {"route": [[0, 5000]]}}}}).start()
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(1000, {"name": "x"}), 200)
        equal(client.code(4000), 404)
    trio.stop()


@case("17: no message of a client stays without an answer")
def always_answered():
    with connect() as client:
        for number, body, code in ((1000, b"{", 400), (1000, b"", 400), (77777, b"{}", 404),
                                   (4321, b"{}", 404), (6401, b"{}", 500), (6402, b"{}", 500),
                                   (20000, b"[]", 400), (999, b"{}", 403)):
            client.tell(number, body)
            got, answer = client.packet()
            equal((got, json.loads(answer)["code"]), (number, code))


@case("17: a push to a client that has gone is counted, and that is all")
def push_to_nobody():
    trio = the_trio()
    with connect() as one, connect() as two:
        session = one.ask(6001)["session"]
        one.drop()
        answer = two.ask(6201, {"session": session})
        check(answer["code"] in (200, 404), answer)
    check("Traceback" not in trio.service.log() + trio.proxy.log())


@case("18: no body, name or password is in any log, at any level; errors are in the error log")
def no_secrets_logged():
    node = Node("logs", "proxy", rpc=None, log_level="debug", log_dir="logs",
                modules=["proxy", ADMIN, "echo", "login", "faulty"], module_dirs=modules()).start()
    with Client(node.ws_port) as client:
        equal(client.code(1000, {"name": "jamon", "passwd": PASSWORD}), 200)
        equal(client.code(1000, {"passwd": PASSWORD}), 400)
        client.ask(30000, PASSWORD)
        equal(client.code(6402, {"passwd": PASSWORD}), 500)
        client.tell(1000, PASSWORD.encode())
        client.packet()
        client.send(packet(1, PASSWORD.encode(), length=3))
        client.close_code()
    node.http("POST", "/modules", {"name": "absent", "conf": {"password": PASSWORD}})
    node.stop()
    logs = node.folder / "logs"
    text = "".join(file.read_text(encoding="utf-8") for file in logs.iterdir()) + node.log()
    check(len(text) > 500, "nothing was logged")
    check(PASSWORD not in text, "the password is in the log")
    contains((logs / "logs.error.log").read_text(encoding="utf-8"), "absent")


@case("18: what is logged costs a fraction of the work")
def logging_is_cheap():
    def cost(level):
        node = Node(level, "proxy", rpc=None, log_level=level, log_dir="logs",
                    modules=["proxy", ADMIN, "echo"]).start()
        with Client(node.ws_port) as client:
            before = node.cpu_seconds()
            for _ in range(40):
                for n in range(500):
                    client.tell(30000, {"n": n})
                for _ in range(500):
                    client.packet()
            used = node.cpu_seconds() - before
        node.stop()
        return used
    quiet, loud = cost("error"), cost("debug")
    check(loud < 3 * quiet + 0.2, f"{quiet} s of CPU at level error, {loud} s at debug")


@case("19: a node ends when it is told to: status 0, at once, no port or child left")
def ends():
    trio = Trio().start()
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(20000, {"user_id": 1}), 200)
        for node in trio.nodes:
            began = time.monotonic()
            node.send_signal(signal.SIGINT)
            if node is trio.proxy:
                try:
                    client.message()
                except Closed as closed:
                    equal(closed.code, 1001)
            equal(node.wait(), 0)
            check(time.monotonic() - began < 4 * SLOW, f"{node.name} took its time")
            for port in (node.ws_port, node.http_port, node.rpc_port):
                with socket.socket() as probe_:
                    check(not port or probe_.connect_ex(("127.0.0.1", port)) != 0,
                          f"{node.name}: port {port} is still open")


if __name__ == "__main__":
    main(all_ended)
