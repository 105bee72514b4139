#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Links between nodes: who may have one, one per pair, and that they heal by themselves."""

import os
import re
import signal
import socket
import struct
import time

from obtest.nodes import Node, Trio, all_ended, link, start_all, wait_linked
from obtest.peer import (CALL, DIALER, HELLO, PROOF, REPLY, REQUEST, Frame, Hello, Peer)
from obtest.seed import Client, Stream
from obtest.tap import case, cases, check, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
LIMIT = 65536
REFUSALS = {502, 503, 504}

target = None


def the_node():
    """A route node that strangers call."""
    global target  # pylint: disable=global-statement
    if target is None:
        target = Node("target", "route", modules=["route", ADMIN, "login", "echo"],
                      limits={"message": LIMIT}).start()
    return target


def requests():
    return sum(the_node().module(name)["active"]["handled"] for name in ("login", "echo"))


def request(payload=b"{}", **fields):
    return Frame(REQUEST, payload, **{"id": 30000, "call": 1, "flags": CALL, **fields})


# ---------------------------------------------------------------- who may have a link

@case("who knows the token has a link, and is answered over it")
def right_token():
    with Peer(the_node().rpc_port, "friend", "service") as peer:
        check(peer.meet(), peer.refused)
        equal((peer.theirs.name, peer.theirs.role), ("target", "route"))
        eventually(lambda: "friend" in the_node().peers(), "the peer")
        peer.send_bytes(request(b"over the link", call=77, src=peer.hello.id).pack())
        reply = peer.wanted(REPLY)
        equal((reply.call, reply.status, reply.payload), (77, 0, b"over the link"))
    eventually(lambda: "friend" not in the_node().peers(), "the peer gone")


@case("who does not know it has none, and is told so")
def wrong_token():
    before = requests()
    with Peer(the_node().rpc_port, "stranger", "service", token="not-the-right-token") as peer:
        check(not peer.meet(), "the link came up")
        contains(peer.refused, "token")
        peer.closed()
    check("stranger" not in the_node().peers())
    equal(requests(), before)
    eventually(lambda: "wrong token" in the_node().log(), "a line that says so")


@case("two nodes with different tokens: both say so, and no link comes up")
def different_tokens():
    one = Node("one", "route", modules=["route", ADMIN])
    two = Node("two", modules=["service", ADMIN])
    link((two, one))
    two.conf["remote_ports"][0]["token"] = "another-token-altogether"
    start_all(one, two)
    eventually(lambda: "wrong token" in one.log() and "token" in two.log(), "the lines")
    equal((one.peers(), two.peers()), (set(), set()))
    (entry,) = two.get("/peers")["remote_ports"]
    check(entry["state"] != "up" and entry["error"], entry)
    one.stop()
    two.stop()


@case("a token of 15 bytes is refused at start, one of 16 is taken")
def short_token():
    for length, status in ((15, 2), (16, 0)):
        node = Node("short", rpc={"token": "x" * length})
        node.write_conf()
        run = node.run("-t")
        equal(run.returncode, status, run.stderr)
        if status:
            contains(run.stderr, "rpc.token: ")


@case("an rpc port without a token is refused at start")
def no_token():
    node = Node("tokenless", rpc={"token": None})
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 2)
    contains(run.stderr, "rpc.token: ")


@case("a role that differs from the one that was expected: no link, and the words say which")
def role_mismatch():
    one = Node("one", "route", modules=["route", ADMIN])
    two = Node("two", modules=["service", ADMIN])
    link((two, one))
    two.conf["remote_ports"][0]["type"] = "proxy"
    start_all(one, two)
    eventually(lambda: "route" in two.log() and "a proxy was expected" in two.log(), "the line")
    equal((one.peers(), two.peers()), (set(), set()))
    one.stop()
    two.stop()


@case("a node that dials itself has no link with itself")
def itself():
    node = Node("narcissus", modules=["service", ADMIN])
    link((node, node))
    node.start()
    eventually(lambda: "narcissus" in node.log() and "both ends" in node.log(), "the line")
    equal(node.peers(), set())
    node.stop()


@case("a second node of the same name is refused, and both addresses are named")
def same_name():
    route = Node("route", "route", modules=["route", ADMIN])
    first = Node("double", modules=["service", ADMIN])
    second = Node("double", modules=["service", ADMIN])
    link((first, route), (second, route))
    start_all(route, first)
    wait_linked((route, first))
    second.start()
    eventually(lambda: "double is at 127.0.0.1:" in second.log(), "the second one's line")
    line = next(line for line in second.log().splitlines() if "double is at" in line)
    address = r"127\.0\.0\.1:\d+"
    check(re.search(f"double is at {address} already, and you are at {address}", line), line)
    check("double" in first.get("/node")["name"])
    equal(first.peers(), {"route"})
    equal(second.peers(), set())
    first.stop()
    eventually(lambda: second.peers() == {"route"}, "the second one's turn")
    for node in (second, route):
        node.stop()


# ---------------------------------------------------------------- what strangers say

STRANGE = [
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "an HTTP request"),
    (b"\x85\0\0\0\xe8\x03\0\0\0\0\0\0" + b'{"src":null,"to":null,"data":{},"prev":1}' * 3,
     "a packet of the seed's own rpc protocol"),
    (os.urandom(4096), "random bytes"),
    (b"\0" * 64, "zeros"),
    (b"\xff" * 64, "ones"),
    (request().pack(), "a request before the hello"),
    (Frame(HELLO, b"x" * 500, status=DIALER).pack(), "a hello that is too long"),
    (Frame(HELLO, b"", status=DIALER).pack(), "an empty hello"),
    (Frame(HELLO, Hello("a b", "service", 1).pack(), status=DIALER).pack(),
     "a hello with a blank in its name"),
    (Frame(HELLO, b"\0" * 32, status=PROOF).pack(), "a proof before the hello"),
    (Frame(HELLO, Hello("x", "y", 1).pack(), status=DIALER, version=9).pack(),
     "a frame of another version"),
]


@cases(STRANGE, "{1} on the rpc port: closed, and nothing else happens")
def strange(data, _what):
    before = requests()
    with Peer(the_node().rpc_port) as peer:
        peer.send_bytes(data)
        peer.closed()
    equal(requests(), before)
    equal(the_node().get("/node")["state"], "running")


@case("who says nothing is closed within seconds")
def says_nothing():
    began = time.monotonic()
    with Peer(the_node().rpc_port) as peer:
        peer.closed()
    check(2 < time.monotonic() - began < 8, f"{time.monotonic() - began} s")


@case("many who say nothing do not keep out a friend for long")
def many_silent():
    silent = [Peer(the_node().rpc_port) for _ in range(200)]

    def friend():
        try:
            with Peer(the_node().rpc_port, "friend", "service") as peer:
                return peer.meet()
        except OSError:
            return False
    eventually(friend, "the friend", 15, 0.2)
    for peer in silent:
        peer.socket.close()


def met(name="friend"):
    peer = Peer(the_node().rpc_port, name, "service")
    check(peer.meet(), peer.refused)
    return peer


@case("a second hello closes the link")
def second_hello():
    with met() as peer:
        peer.send(HELLO, peer.hello.pack(), status=DIALER)
        peer.closed()
    eventually(lambda: "friend" not in the_node().peers(), "the peer gone")


BROKEN = [
    (lambda: struct.pack("<I", LIMIT + 10**6) + b"\x01\x02" + b"\0" * 58, "a frame over the limit"),
    (lambda: struct.pack("<I", 2**32 - 1) + b"\x01\x02" + b"\0" * 58, "a frame of 4 GiB"),
    (lambda: struct.pack("<I", 63) + b"\x01\x02" + b"\0" * 57, "a frame shorter than its header"),
    (lambda: request(len=64, ext_len=9).pack()[:64], "extensions beyond the frame"),
    (lambda: Frame(99).pack(), "a frame of a kind nobody knows"),
    (lambda: request(version=7).pack(), "a frame of another version"),
]


@cases(BROKEN, "{1} closes the link, counted, and nothing else happens")
def broken(data, _what):
    node = the_node()
    before = node.metric("obhost_link_closed_total")
    with met() as peer:
        peer.send_bytes(data())
        peer.closed()
    eventually(lambda: node.metric("obhost_link_closed_total") > before, "the count")
    eventually(lambda: "friend" not in node.peers(), "the peer gone")
    equal(node.get("/node")["state"], "running")


@case("a frame goes on from node to node at most four times")
def hops():
    with met() as peer:
        peer.send_bytes(request(hops=0, dst=peer.hello.id ^ 1, src=peer.hello.id, call=5).pack())
        reply = peer.wanted(REPLY)
        equal(reply.call, 5)
        check(reply.status != 0, reply)


@case("a reset, not an end, is noticed at once")
def reset():
    peer = met("reset")
    eventually(lambda: "reset" in the_node().peers(), "the peer")
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()
    eventually(lambda: "reset" not in the_node().peers(), "the peer gone", 2)


def shown(node, name):
    """What GET /peers of a node says of the one of that name."""
    return next(peer for peer in node.get("/peers")["peers"] if peer["name"] == name)


@case("GET /peers says why a link broke, until another one is up and after", timeout=40)
def last_error():
    node = the_node()
    with met("breaks") as peer:
        equal(shown(node, "breaks")["last_error"], "")
        peer.send_bytes(Frame(99).pack())
        peer.closed()
    eventually(lambda: shown(node, "breaks")["link"] == "down", "the link gone")
    broke = shown(node, "breaks")["last_error"]
    check(broke, "no reason")
    eventually(lambda: f"breaks (service) is down: {broke}" in node.log(), "the same in the log")
    with met("breaks") as peer:
        eventually(lambda: shown(node, "breaks")["link"] == "up", "another link")
        equal(shown(node, "breaks")["last_error"], broke)
    # A planned end is one as well.
    eventually(lambda: shown(node, "breaks")["last_error"] != broke, "the other reason")


@case("GET /peers says how much is queued for a node that does not read", timeout=40)
def queued():
    node = the_node()
    with met("lazy") as peer:
        equal(shown(node, "lazy")["queued"], 0)
        sent = 0
        while shown(node, "lazy")["queued"] <= 100000:
            check(sent < 600, "36 MB, and no queue")
            for _ in range(20):
                sent += 1
                peer.send_bytes(request(b"x" * 60000, call=sent, src=peer.hello.id).pack())
        for _ in range(sent):
            equal(peer.wanted(REPLY).status, 0)
        eventually(lambda: shown(node, "lazy")["queued"] == 0, "no queue")


@case("a link that is silent is asked, and closed when it does not answer", timeout=40)
def silent_link():
    with met("mute") as peer:
        eventually(lambda: "mute" in the_node().peers(), "the peer")
        began = time.monotonic()
        eventually(lambda: "mute" not in the_node().peers(), "the peer gone", 15, 0.1)
        check(time.monotonic() - began > 2, "too early")
        peer.closed()


# ---------------------------------------------------------------- one per pair

def tcp_links(*ports):
    """How many connections to these ports the kernel knows as established."""
    found = 0
    with open("/proc/net/tcp", encoding="ascii") as file:
        for line in list(file)[1:]:
            fields = line.split()
            if fields[3] == "01" and int(fields[1].split(":")[1], 16) in ports:
                found += 1
    return found


@case("GET /peers of nodes says how long a link's round trip is, and why one broke", timeout=60)
def round_trip():
    trio = Trio().start()
    eventually(lambda: 0 < shown(trio.proxy, "route_1")["rtt_us"] < 5000000, "a round trip", 15)
    equal(shown(trio.proxy, "route_1")["last_error"], "")
    trio.route.kill()
    eventually(lambda: shown(trio.proxy, "route_1")["link"] == "down", "the link gone")
    entry = shown(trio.proxy, "route_1")
    check(entry["last_error"] and entry["rtt_us"] == 0 and entry["queued"] == 0, entry)
    eventually(lambda: f"is down: {entry['last_error']}" in trio.proxy.log(), "the same in the log")
    trio.route.start()
    trio.wait_linked()
    trio.stop()


@case("nodes that dial each other have one link", timeout=60)
def one_link():
    for _ in range(3):
        trio = Trio().start()
        ports = [node.rpc_port for node in trio.nodes]
        eventually(lambda p=ports: tcp_links(*p) == 2, "two links, of three nodes, four dialling")
        time.sleep(0.5)
        equal(tcp_links(*ports), 2)
        for node, others in ((trio.proxy, ["route_1"]), (trio.service, ["route_1"]),
                             (trio.route, ["proxy_1", "service_1"])):
            shown = [p["name"] for p in node.get("/peers")["peers"] if p["link"] == "up"]
            equal(sorted(shown), others, node.name)
        trio.stop()


@case("messages that are under way while links settle are answered, in order")
def settling():
    trio = Trio().start()
    for _ in range(3):
        trio.route.kill()
        trio.route.start()
        with Stream(trio.proxy.ws_port, 30000, window=32, total=500) as stream:
            stream.join()
            check(set(stream.codes) <= {None, 200}, stream.codes)
    trio.stop()


# ---------------------------------------------------------------- healing

def heal(trio, name, how):
    """Restarts a node while a client asks without end: it must stay connected, get an answer to
    each message, errors meanwhile and right ones in the end; the other nodes must not notice."""
    victim = getattr(trio, name)
    others = {node.name: node.pid for node in trio.nodes if node is not victim}
    number = 1000 if name == "route" else 20000
    body = b'{"name":"x","user_id":1}'
    with Stream(trio.proxy.ws_port, number, window=1, body=lambda n: body) as stream:
        eventually(lambda: stream.answered > 20 or not stream.busy(), "the stream")
        victim.stop(how)
        time.sleep(1)
        victim.start()
        trio.wait_linked()
        seen = stream.answered
        eventually(lambda: stream.answered > seen + 20 or not stream.busy(), "the stream going on")
        stream.finish()
        check(stream.codes[200] > 40, stream.codes)
        check(set(stream.codes) <= {200} | REFUSALS, stream.codes)
        check(sum(stream.codes[code] for code in REFUSALS) < 200, stream.codes)
    equal({node.name: node.pid for node in trio.nodes if node is not victim}, others)


shared = None


def the_trio():
    global shared  # pylint: disable=global-statement
    if shared is None:
        shared = Trio(proxy={"call_timeout": 2}).start()
    return shared


@cases([("route", "SIGTERM"), ("route", "SIGKILL"), ("service", "SIGTERM"),
        ("service", "SIGKILL")], "{0} goes by {1} and comes back: a client stays and is answered")
def heals(name, how):
    heal(the_trio(), name, getattr(signal, how))


@cases([("SIGTERM",), ("SIGKILL",)], "the proxy goes by {0} and comes back: the others go on")
def proxy_heals(how):
    trio = the_trio()
    pids = (trio.route.pid, trio.service.pid)
    trio.proxy.restart(getattr(signal, how))
    trio.wait_linked()
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(20000, {"user_id": 1}), 200)
        equal(client.code(1000, {"name": "x"}), 200)
    equal((trio.route.pid, trio.service.pid), pids)


@case("with the route node down: typed errors by the deadline, for each message one")
def route_down():
    trio = the_trio()
    trio.route.stop()
    with Client(trio.proxy.ws_port) as client:
        for n in range(5):
            client.tell(20000, {"user_id": n})
        for _ in range(5):
            answer = client.reply(20000)
            check(answer["code"] in REFUSALS and answer["error"], answer)
        trio.route.start()
        trio.wait_linked()
        equal(client.code(20000, {"user_id": 1}), 200)


@case("a message that waits for a node is delivered when it comes up in time")
def held_until_up():
    trio = the_trio()
    trio.service.stop()
    with Client(trio.proxy.ws_port) as client:
        client.tell(20000, {"user_id": 5})
        time.sleep(0.3)
        trio.service.start()
        equal(client.reply(20000)["code"], 200)
    trio.wait_linked()


@case("all three killed at once come back in any order", timeout=60)
def all_killed():
    trio = the_trio()
    for node in trio.nodes:
        node.kill()
    for node in reversed(trio.nodes):
        node.start()
    trio.wait_linked()
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(20000, {"user_id": 1}), 200)


@case("a frozen node is noticed within seconds, and taken back when it thaws", timeout=60)
def frozen():
    trio = the_trio()
    trio.service.send_signal(signal.SIGSTOP)
    try:
        with Client(trio.proxy.ws_port) as client:
            check(client.code(20000, {"user_id": 1}) in REFUSALS, "the code")
            eventually(lambda: "service_1" not in trio.route.peers(), "the loss", 15)
    finally:
        trio.service.send_signal(signal.SIGCONT)
    trio.wait_linked()
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(20000, {"user_id": 1}), 200)


@case("a node of an unreachable address does not keep the others away")
def unreachable():
    route = Node("route", "route", modules=["route", ADMIN])
    node = Node("hopeful", modules=["service", ADMIN],
                remote_ports=[{"host": "192.0.2.1", "port": 1}, {"host": "no.such.host.invalid",
                                                                "port": 1}])
    link((node, route))
    start_all(route, node)
    wait_linked((route, node))
    check(node.cpu_seconds() < 1, "it is busy with it")
    node.stop()
    route.stop()


if __name__ == "__main__":
    main(all_ended)
