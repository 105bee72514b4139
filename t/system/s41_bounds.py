#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What a listener asks of its clients: who they are behind a load balancer, which page opened them,
how many they are, how fast they are, and how slow."""

import os
import select
import socket
import struct

from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import Node, all_ended, free_port
from obtest.seed import (BINARY, CONTINUATION, PING, Client, Closed, ended, frame, packet, receive,
                         there_and_back)
from obtest.tap import Failed, case, cases, check, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
ECHO, OTHER = 30000, 30001
BODY = b'{"n": 1}'
V2_MARK = b"\r\n\r\n\0\r\nQUIT\n"

house = {}


# ---------------------------------------------------------------- nodes and clients

def a_node(name, **entry):
    """A node with one listener; its port."""
    entry = {"transport": "ws", "port": free_port(), **entry}
    entry = {key: value for key, value in entry.items() if value is not None}
    node = Node(name, "proxy", rpc=None, websocket=None, listen=[entry],
                module_dirs=[MODULES, EXAMPLES],
                modules=["proxy", ADMIN,
                         {"name": "echo", "conf": {"id": [ECHO, OTHER]}}]).start()
    return node, entry.get("port")


def once(name, **entry):
    """The same, one for all cases that ask for it."""
    if name not in house:
        house[name] = a_node(name, **entry)
    return house[name]


def refused(node, reason):
    return node.metric("obhost_client_refused_total", reason=reason)


def closed(node, reason):
    return node.metric("obhost_client_closed_total", reason=reason)


def connect(port):
    return socket.create_connection(("127.0.0.1", port), 20 * SLOW)


def echo(sock, body=BODY):
    there_and_back(sock, ECHO, body)


def peers(node):
    return {entry["peer"] for entry in node.get("/sessions")["sessions"]}


def gone(node):
    eventually(lambda: not node.get("/sessions")["sessions"], "no session left")


# ---------------------------------------------------------------- load balancers

def v1(address, port=5000):
    family = "TCP6" if ":" in address else "TCP4"
    other = "::1" if ":" in address else "127.0.0.1"
    return f"PROXY {family} {address} {other} {port} 443\r\n".encode()


def v2(address, port=5000, more=b""):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    other = "::1" if ":" in address else "127.0.0.1"
    body = (socket.inet_pton(family, address) + socket.inet_pton(family, other) +
            struct.pack(">HH", port, 443) + more)
    kind = 0x21 if ":" in address else 0x11
    return V2_MARK + bytes([0x21, kind]) + struct.pack(">H", len(body)) + body


LOCAL = V2_MARK + b"\x20\0\0\0"


class Behind(Client):
    """A client behind a load balancer, which says this first."""

    def __init__(self, port, header, **more):
        self.header = header
        super().__init__(port, **more)

    def _shake_hands(self, port, path, headers):
        self.socket.sendall(self.header)
        return super()._shake_hands(port, path, headers)


def balanced():
    return once("behind", transport="tcp+ws", proxy_protocol=["10.0.0.0/8", "127.0.0.1"],
                limits={"per_address": 2, "handshake_timeout": 2 * SLOW})


@cases([("version 1, IPv4", v1("192.0.2.1"), "192.0.2.1:5000"),
        ("version 1, IPv6", v1("2001:db8::1"), "[2001:db8::1]:5000"),
        ("version 2, IPv4", v2("192.0.2.2"), "192.0.2.2:5000"),
        ("version 2, IPv6, extensions", v2("2001:db8::2", more=b"\4\0\1x"), "[2001:db8::2]:5000"),
        ("a connection of its own", LOCAL, "127.0.0.1:"),
        ("one that it does not know", b"PROXY UNKNOWN\r\n", "127.0.0.1:")],
       "the PROXY protocol, {0}: the session's peer is the client")
def told(_name, header, peer):
    node, port = balanced()
    with Behind(port, header) as client:
        client.tell(ECHO, BODY)
        equal(client.packet(), (ECHO, BODY))
        contains(next(iter(peers(node))), peer)
    gone(node)
    with connect(port) as sock:
        for byte in header:
            sock.sendall(bytes([byte]))
        echo(sock)
        contains(next(iter(peers(node))), peer)
    gone(node)


@cases([("no header", packet(ECHO, BODY)), ("a wrong one", b"PROXY TCP4 a b c d\r\n"),
        ("version 3", V2_MARK + b"\x31\x11\0\0"),
        ("one that never ends", b"PROXY UNKNOWN " + b"x" * 200)],
       "{0} from a load balancer: closed")
def told_wrong(_name, data):
    node, port = balanced()
    before = refused(node, "proxy_header")
    with connect(port) as sock:
        sock.sendall(data)
        equal(ended(sock), b"")
    equal(refused(node, "proxy_header"), before + 1)


@case("half a header and then silence: closed in time")
def told_late():
    node, port = balanced()
    before = refused(node, "handshake_timeout")
    with connect(port) as sock:
        sock.sendall(v2("192.0.2.1")[:20])
        equal(ended(sock), b"")
    equal(refused(node, "handshake_timeout"), before + 1)


@case("connections are counted by the address that was told, IPv6 by its network")
def per_told_address():
    node, port = balanced()
    for address, same, another in (("192.0.2.7", "192.0.2.7", "192.0.2.8"),
                                   ("2001:db8::1", "2001:db8::ff:1", "2001:db8:0:1::1")):
        before = refused(node, "per_address")
        with Behind(port, v1(address)), Behind(port, v2(same)) as second:
            with connect(port) as third:
                third.sendall(v2(same))
                equal(ended(third), b"")
            equal(refused(node, "per_address"), before + 1)
            Behind(port, v2(another)).drop()
            second.drop()
            eventually(lambda: len(peers(node)) == 1, "the second gone")
            Behind(port, v1(same)).drop()
        gone(node)


@case("a stranger may not say who it is")
def untrusted():
    node, port = a_node("stranger", transport="tcp", proxy_protocol=["192.0.2.0/24"])
    with connect(port) as sock:
        sock.sendall(v1("192.0.2.1"))
        ended(sock)  # for the codec it is a bad packet
    with connect(port) as sock:
        echo(sock)
        contains(next(iter(peers(node))), "127.0.0.1:")
    node.stop()


# ---------------------------------------------------------------- pages

@cases([("https://game.example.org", True), ("https://a.b.example.net:8443", True), (None, True),
        ("http://game.example.org", False), ("https://example.net", False), ("null", False),
        ("https://game.example.org.evil.org", False)],
       "a page of {0}: welcome {1}")
def origins(origin, welcome):
    node, port = once("pages", origins=["https://game.example.org", "*.example.net"])
    before = refused(node, "origin")
    try:
        Client(port, headers=[f"Origin: {origin}"] if origin else []).drop()
        check(welcome, "it was let in")
    except Failed as error:
        contains(str(error), "403 Forbidden")
        check(not welcome, "it was refused")
    equal(refused(node, "origin"), before + (0 if welcome else 1))


# ---------------------------------------------------------------- how many

@case("a listener has so many connections and no more, those that shake hands included")
def connections():
    node, port = a_node("few", limits={"connections": 3})
    with Client(port), Client(port) as second, connect(port) as silent:
        eventually(lambda: _is_full(port), "full")
        check(refused(node, "connections") >= 1)
        second.drop()
        silent.close()
        eventually(lambda: not _is_full(port), "room again")
    node.stop()


def _is_full(port):
    try:
        with Client(port) as client:
            client.tell(ECHO, BODY)
            return client.packet() != (ECHO, BODY)
    except (Closed, ConnectionError):
        return True


# ---------------------------------------------------------------- how fast

@case("messages beyond the rate end with 503, and are counted; a range of ids has its own")
def rates():
    node, port = a_node("rates", limits={
        "messages_per_second": 1, "burst": 20,
        "per_id": [{"range": [OTHER, OTHER], "per_second": 1, "burst": 5}]})
    with Client(port) as client:
        codes = [_code(client, OTHER) for _ in range(8)]
        equal(codes[:5], [200] * 5)
        check(codes.count(503) >= 2, codes)
        codes = [_code(client, ECHO) for _ in range(20)]
        equal(codes[:12], [200] * 12)
        check(codes.count(503) >= 5, codes)
    with Client(port) as client:
        equal(_code(client, ECHO), 200, "another client has its own rate")
    check(node.metric("obhost_client_excess_total", reason="id_rate") >= 2)
    check(node.metric("obhost_client_excess_total", reason="rate") >= 5)
    node.stop()


def _code(client, message_id):
    return client.ask(message_id, b'{"code": 200}')["code"]


@case("or the client is closed")
def rates_close():
    node, port = a_node("strict", limits={"messages_per_second": 1, "burst": 3,
                                          "excess": "close"})
    with Client(port) as client:
        client.send_bytes(frame(packet(ECHO, BODY)) * 9)
        equal(client.close_code(), 1008)
    equal(closed(node, "rate"), 1)
    node.stop()


@case("a message is as long as the listener allows, of several frames too")
def sizes():
    node, port = a_node("short", limits={"message": 1000})
    with Client(port) as client:
        client.tell(ECHO, b"x" * 900)
        equal(client.packet(), (ECHO, b"x" * 900))
        client.tell(ECHO, b"x" * 2000)
        equal(client.close_code(), 1009)
    with Client(port) as client:
        client.send(packet(ECHO, b"x" * 2000)[:800], BINARY, fin=False)
        client.send(packet(ECHO, b"x" * 2000)[800:], CONTINUATION)
        equal(client.close_code(), 1009)
    equal(closed(node, "too_big"), 2)
    node.stop()


# ---------------------------------------------------------------- how slow

def slow_node():
    return once("slow", transport="tcp+ws", limits={"packet_timeout": 1 * SLOW})


@cases([("a frame", lambda client: client.send_bytes(frame(packet(ECHO, BODY))[:9])),
        ("a message", lambda client: client.send(packet(ECHO, BODY)[:9], BINARY, fin=False))],
       "{0} that has begun must come to its end in time, pings or not")
def slow_frames(_name, begin):
    node, port = slow_node()
    before = closed(node, "slow_packet")
    with Client(port) as client:
        client.tell(ECHO, BODY)
        equal(client.packet(), (ECHO, BODY))
        begin(client)
        if _name == "a message":
            client.send(b"", PING)
        equal(client.close_code(), 1008)
    equal(closed(node, "slow_packet"), before + 1)


@case("so must a packet; who sends whole ones, or nothing, stays")
def slow_packets():
    node, port = slow_node()
    before = closed(node, "slow_packet")
    with connect(port) as idle, connect(port) as busy, connect(port) as slow:
        echo(idle)
        echo(slow)
        slow.sendall(packet(ECHO, BODY)[:15])
        data = packet(ECHO, BODY)
        rest = b""
        sent = 0
        while not select.select([slow], [], [], 0.02)[0]:
            busy.sendall(rest + data[:13])  # never whole at the end, always a new one
            rest = data[13:]
            sent += 1
        equal(ended(slow), b"")
        echo(idle)
        busy.sendall(rest)
        equal(receive(busy, sent * len(data)), data * sent)
    equal(closed(node, "slow_packet"), before + 1)


@case("a client that says nothing is closed where a first message is asked for")
def first_message():
    node, port = a_node("quiet", limits={"first_message": 1 * SLOW})
    with Client(port) as silent, Client(port) as other:
        other.tell(ECHO, BODY)
        equal(other.packet(), (ECHO, BODY))
        equal(silent.close_code(), 1008)
        other.tell(ECHO, BODY)
        equal(other.packet(), (ECHO, BODY))
    equal(closed(node, "first_message"), 1)
    node.stop()


# ---------------------------------------------------------------- what is refused at the start

@cases([({"proxy_protocol": ["10.0.0.1/8"]}, "listen[0].proxy_protocol: must have"),
        ({"proxy_protocol": ["balancer"]}, "listen[0].proxy_protocol: must have"),
        ({"origins": ["https://*"]}, "listen[0].origins: must have"),
        ({"origins": ["a.org"], "transport": "tcp"}, "listen[0].origins: are of WebSocket"),
        ({"limits": {"burst": 3}}, "listen[0].limits.burst: goes with"),
        ({"limits": {"message": 3}}, "listen[0].limits.message: must be 64"),
        ({"limits": {"handshake_timeout": 0}}, "handshake_timeout: must be above 0"),
        ({"limits": {"per_id": [{"range": [1, 2], "per_second": 1}] * 65}}, "more than 64")],
       "refused: {1}")
def refusals(entry, text):
    node = Node("bad", "proxy", rpc=None, websocket=None,
                listen=[{"transport": "ws", "port": free_port(), **entry}])
    node.write_conf()
    run = node.run("-t")
    check(run.returncode != 0, run.stderr)
    contains(run.stderr, text)


@case("a unix socket may be a load balancer's")
def unix_balancer():
    path = str(Node("place", rpc=None).folder / "s")
    node, _ = a_node("unix", transport="unix", port=None, path=path, proxy_protocol=["unix"])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20 * SLOW)
        sock.connect(path)
        sock.sendall(v1("192.0.2.9"))
        echo(sock)
        equal(peers(node), {"192.0.2.9:5000"})
    check(os.path.exists(path))
    node.stop()


if __name__ == "__main__":
    main(all_ended)
