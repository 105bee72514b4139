#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Bounds: no client, however slow, greedy or silent, makes a node grow or another client wait."""

import resource
import socket
import threading
import time

from obtest import sources
from obtest.env import EXAMPLES, LONG, MODULES, SLOW
from obtest.nodes import Node, Trio, all_ended
from obtest.plugin import PluginDir
from obtest.seed import Client, Closed, Raw, frame, packet
from obtest.tap import Failed, case, cases, check, equal, eventually, main, steady

ADMIN = {"name": "http_admin", "admin": True}
ECHO = 30000
MIB = 1024  # KiB
KEPT = 65536  # by the kernel, for a client that does not read

house = {}

# 6901 pushes {"count": N} messages 6902 of {"size": BYTES} to the asking client; 6903 as many to
# {"session": TEXT}. It answers how many were taken.
PUSHER = """
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

static void push(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	json_int_t count = ob_req_int(ctx, req, "count", 1);
	size_t size = (size_t)ob_req_int(ctx, req, "size", 100);
	const char *text = ob_req_str(ctx, req, "session");
	char *data = malloc(size);
	json_int_t taken = 0;

	memset(data, 'x', size);
	ob_req_view(ctx, req, &view);
	ob_session to = text ? ob_session_find(ctx, text) : view.session;

	for (json_int_t i = 0; i < count; i++) {
		taken += ob_push(ctx, to, 6902, data, size) == 0;
	}
	free(data);
	ob_reply_json(ctx, req, "{s:i, s:I}", "code", 200, "taken", taken);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6901, push);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def modules():
    if "plugins" not in house:
        plugins = PluginDir()
        plugins.build("pusher", PUSHER)
        plugins.build("probe", sources.PROBE)
        plugins.build("holder", sources.HOLDER)
        house["plugins"] = plugins
    return [str(house["plugins"]), MODULES, EXAMPLES]


def a_node(name, **keys):
    return Node(name, "proxy", rpc=None, module_dirs=modules(), modules=[
        "proxy", ADMIN, "echo", "pusher", "holder", {"name": "probe", "conf": {"ids": [6000]}}],
        **keys).start()


def sessions(node):
    return {entry["id"]: entry for entry in node.get("/sessions")["sessions"]}


# ---------------------------------------------------------------- slow clients

@case("a client that does not read what is pushed to it is closed; others do not notice")
def slow_closed():
    node = a_node("slow", limits={"client_queue": "256k", "message": "64k"})
    before = node.rss_kib()
    with Client(node.ws_port, receive=KEPT) as slow, Client(node.ws_port) as other:
        name = slow.ask(6000)["session"]
        for _ in range(300):
            answer = other.ask(6901, {"session": name, "count": 10, "size": 4000})
            if answer["taken"] < 10:
                break
        check(answer["taken"] < 10, "twelve megabytes were taken")
        eventually(lambda: node.metric("obhost_client_closed_total", reason="slow") == 1,
                   "the count")
        check(name not in sessions(node), "its session is still there")
        equal(other.ask(ECHO, 1), 1)
        node.check_growth(before, 8 * MIB)
        try:
            while True:
                slow.message()
        except Closed as closed:
            check(closed.code in (None, 1008), closed.code)
    node.stop()


@case('limits.slow "drop": its pushes are dropped and counted, it stays, and its answers come')
def slow_dropped():
    node = a_node("drop", limits={"client_queue": "256k", "message": "64k", "slow": "drop"})
    with Client(node.ws_port, receive=KEPT) as slow, Client(node.ws_port) as other:
        name = slow.ask(6000)["session"]
        taken = sum(other.ask(6901, {"session": name, "count": 10, "size": 4000})["taken"]
                    for _ in range(300))
        check(taken < 3000, "all were taken")
        equal(node.metric("obhost_pushes_dropped_total"), 3000 - taken)
        check(name in sessions(node), "it was closed")
        got = 0
        while got < taken:
            number, body = slow.packet()
            equal((number, len(body)), (6902, 4000))
            got += 1
        equal(slow.ask(ECHO, "still here"), "still here")
        equal(other.ask(6901, {"session": name, "count": 5})["taken"], 5)
    node.stop()


@case("a client that asks without reading is read no further, and gets all answers when it does")
def asks_without_reading():
    node = a_node("greedy", limits={"client_queue": "256k"})
    before = node.rss_kib()
    body = b"y" * 1000
    total = 20000
    with Client(node.ws_port, timeout=30, receive=KEPT) as client, Client(node.ws_port) as other:
        one = frame(packet(ECHO, body))
        sent = []

        def send():
            for _ in range(total // 100):
                client.send_bytes(one * 100)
                sent.append(100)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        seen = -1
        while seen != sum(sent):
            seen = sum(sent)
            time.sleep(0.5)
        check(seen < total, "everything was taken in")
        node.check_growth(before, 8 * MIB)
        equal(other.ask(ECHO, 1), 1)
        for _ in range(total):
            number, got = client.packet()
            equal((number, len(got)), (ECHO, 1000))
        sender.join(20)
        equal(client.ask(ECHO, "end"), "end")
    node.stop()


@case("the same through three nodes: 200,000 messages and no memory for them", timeout=90)
def asks_through_trio():
    total = 200000 // SLOW
    trio = Trio(proxy={"limits": {"in_flight": 256}}).start()
    with Client(trio.proxy.ws_port, timeout=60) as warm:
        for _ in range(2000):
            warm.tell(ECHO, b"warm")
        for _ in range(2000):
            warm.packet()
    before = {node.name: node.rss_kib() for node in trio.nodes}
    one = frame(packet(ECHO, b"z" * 200 * SLOW))  # as many bytes, however slow it is
    with Client(trio.proxy.ws_port, timeout=60, receive=KEPT) as client:
        sent = []

        def send():
            for _ in range(total // 500):
                client.send_bytes(one * 500)
                sent.append(500)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        time.sleep(2)
        check(sum(sent) < total, "everything was taken in")
        for node in trio.nodes:
            node.check_growth(before[node.name], 24 * MIB)
        got = 0
        while got < total:
            client.packet()
            got += 1 + len(client.packets)
            client.packets.clear()
        sender.join(20)
        equal(client.code(10000), 200)
        for node in trio.nodes:
            node.check_growth(before[node.name], 24 * MIB)
    trio.stop()


@case("a greedy client takes nothing from a modest one")
def fair():
    node = a_node("fair")
    stop = threading.Event()
    with Client(node.ws_port, timeout=30) as greedy, Client(node.ws_port) as modest:
        block = frame(packet(ECHO, b"g" * 100)) * 200

        def ask():
            while not stop.is_set():
                greedy.send_bytes(block)
                for _ in range(200):
                    greedy.packet()
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        slowest = 0
        for n in range(200):
            began = time.monotonic()
            equal(modest.ask(ECHO, n), n)
            slowest = max(slowest, time.monotonic() - began)
        stop.set()
        thread.join(20)
        check(slowest < 0.5 * SLOW, f"the slowest answer took {slowest} s")
    node.stop()


READ_BUFFER = 256 << 10  # of a node, for one read


@case("limits.in_flight: beyond it the client is read no further until half have ended")
def in_flight():
    node = a_node("flight", limits={"in_flight": 8})
    with Client(node.ws_port) as client:
        for _ in range(40):
            client.tell(6301, {"ms": 100, "long": "x" * 30000})
        most = 0
        for _ in range(40):
            most = max(most, *(entry["in_flight"] for entry in sessions(node).values()))
            equal(client.reply(6301)["code"], 200)
        # Reading stops at 8; what the read before that has brought, 256 KiB at most, is taken in.
        bound = 7 + READ_BUFFER // 30000 + 1
        check(1 <= most <= bound, f"{most} were under way, at most {bound} may be")
        equal(client.ask(ECHO, 1), 1)
    node.stop()


@case("limits.requests: beyond it 503 at once, and room again afterwards")
def requests():
    trio = Trio(proxy={"limits": {"requests": 10}},
                service={"module_dirs": modules(), "modules": ["service", ADMIN, "holder"]}).start()
    with Client(trio.proxy.ws_port) as client:
        for _ in range(25):
            client.tell(6301, {"ms": 400})
        codes = [client.reply(6301)["code"] for _ in range(25)]
        equal((codes.count(200), codes.count(503)), (10, 15))
        equal(client.ask(6301, {"ms": 1})["code"], 200)
    trio.stop()


@case("what waits for a node that is away is bounded: 503 at once beyond limits.held", timeout=40)
def held():
    trio = Trio(proxy={"limits": {"held": "100k"}, "call_timeout": 3}).start()
    trio.route.stop()
    eventually(lambda: trio.proxy.peers() == set(), "the loss")
    before = trio.proxy.rss_kib()
    with Client(trio.proxy.ws_port) as client:
        began = time.monotonic()
        for _ in range(50):
            client.tell(ECHO, b"w" * 10000)
        at_once = 0
        for _ in range(50):
            equal(client.reply(ECHO)["code"], 503)
            at_once += time.monotonic() - began < 1
        check(38 <= at_once <= 45, f"{at_once} of 50 at once")
        trio.proxy.check_growth(before, 4 * MIB)
    trio.route.start()
    trio.wait_linked()
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(10000), 200)
    trio.stop()


# ---------------------------------------------------------------- connections

@case("limits.connections: one more is turned away, and has its place when another goes")
def connections():
    node = a_node("full", limits={"connections": 5})
    clients = [Client(node.ws_port) for _ in range(5)]
    for _ in range(3):
        try:
            Client(node.ws_port, timeout=3).drop()
        except (Failed, Closed, OSError):
            continue
        check(False, "a sixth client was taken")
    equal([client.ask(ECHO, n) for n, client in enumerate(clients)], list(range(5)))
    check(node.metric("obhost_client_closed_total", reason="limit") >= 1, "the count")
    clients.pop().close()

    def one_more():
        try:
            clients.append(Client(node.ws_port, timeout=3))
        except (Failed, Closed, OSError):
            return False
        return True
    eventually(one_more, "the place")
    equal(clients[-1].ask(ECHO, 9), 9)
    for client in clients:
        client.drop()
    node.stop()


@cases([(65536 - 12, None), (65536 - 11, 1009), (100000, 1009)],
       "limits.message of 64k: a body of {0} bytes, close code {1}")
def message(length, code):
    if "message" not in house:
        house["message"] = a_node("message", limits={"message": "64k"})
    with Client(house["message"].ws_port) as client:
        client.tell(ECHO, b"m" * length)
        if code:
            equal(client.close_code(), code)
        else:
            equal(client.packet(), (ECHO, b"m" * length))


@case("a promise of a long packet costs nothing until it is kept")
def promises():
    node = a_node("promise", limits={"message": "8m"})
    before = node.rss_kib()
    clients = []
    for _ in range(100):
        client = Client(node.ws_port)
        client.send(packet(ECHO, b"p", length=8 << 20))
        clients.append(client)
    equal(clients[0].silent(0.2), True)
    node.check_growth(before, 32 * MIB)
    for client in clients:
        client.drop()
    node.stop()


@case("websocket.timeout: a client without a byte is closed with 1001, one that pings is not")
def idle():
    node = a_node("idle", websocket={"timeout": 1})
    with Client(node.ws_port) as silent, Client(node.ws_port) as pings, \
            Client(node.ws_port) as talks:
        began = time.monotonic()
        closed = []
        reader = threading.Thread(target=lambda: closed.append(
            (silent.close_code(), time.monotonic() - began)))
        reader.start()
        for n in range(8):
            pings.send(b"", 9)
            equal(talks.ask(ECHO, n), n)
            time.sleep(0.3)
        reader.join()
        ((code, after),) = closed
        equal(code, 1001)
        check(0.9 <= after < 2 + SLOW, f"after {after} s")
        equal(pings.frame()[0], 10)
        equal(talks.ask(ECHO, 1), 1)
    equal(node.metric("obhost_client_closed_total", reason="idle"), 1)
    node.stop()


@case("a client that waits for a late answer is not idle")
def waits():
    node = a_node("waits", websocket={"timeout": 1}, call_timeout=10)
    with Client(node.ws_port) as client:
        equal(client.ask(6301, {"ms": 400})["code"], 200)
        equal(client.ask(6301, {"ms": 400})["code"], 200)
        equal(client.ask(6301, {"ms": 400})["code"], 200)
    node.stop()


@case("a handshake that never ends is given up", timeout=40)
def slow_handshake():
    node = a_node("shake")
    links = []
    for text in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
        link = socket.create_connection(("127.0.0.1", node.ws_port), 30)
        link.sendall(text)
        links.append(link)
    began = time.monotonic()
    for link in links[1:]:
        link.settimeout(20 * SLOW)
        data = link.recv(4096)
        check(not data or b" 408 " in data, data)
    check(time.monotonic() - began < 20 * SLOW, "it took too long")
    for link in links:
        link.close()
    node.stop()


# ---------------------------------------------------------------- nothing leaks

def churn(node, count):
    """Clients that come and go in all ways."""
    for n in range(count):
        client = Client(node.ws_port)
        if n % 5 == 0:
            client.close()
        elif n % 5 == 1:
            client.ask(ECHO, {"n": n})
            client.drop()
        elif n % 5 == 2:
            client.tell(6301, {"ms": 5})
            client.drop()
        elif n % 5 == 3:
            client.send_bytes(b"\x82\xfe\x01")
            client.drop()
        else:
            client.send(packet(ECHO, length=3))
            client.drop()
        if n % 50 == 0:
            link = socket.create_connection(("127.0.0.1", node.ws_port))
            link.sendall(b"GET / HTTP/1.1\r\n")
            link.close()
    eventually(lambda: node.get("/node")["connections"] == 0, "no connection left")


@case("2000 clients come and go in every way: memory and descriptors are as before", timeout=90)
def connects():
    node = a_node("churn", log={"ring": 64})
    churn(node, 1000)
    rss, fds = node.rss_kib(), node.fds()
    churn(node, 20000 if LONG else 2000)
    eventually(lambda: node.fds() <= fds, "no more descriptors")
    node.check_growth(rss, 512)
    equal(node.get("/node")["sessions"], 0)
    node.stop()


@case("2000 messages that fail in every way: memory is as before")
def failures():
    node = a_node("fail", log={"ring": 64}, call_timeout=1)

    def fail(count):
        with Client(node.ws_port) as client:
            for n in range(count):
                client.tell((0, -7, 999, 77, 100130)[n % 5], b"\xff" * (n % 300))
            for _ in range(count):
                client.packet()
    fail(2000)
    before = node.rss_kib()
    for _ in range(5):
        fail(2000)
    node.check_growth(before, 512)
    node.stop()


@case("two hundred clients at once, each with its own answers")
def crowd():
    node = a_node("crowd")
    clients = [Client(node.ws_port) for _ in range(200)]
    for round_ in range(5):
        for n, client in enumerate(clients):
            client.tell(ECHO, {"client": n, "round": round_})
        for n, client in enumerate(clients):
            equal(client.reply(ECHO), {"client": n, "round": round_})
    equal(node.get("/node")["connections"], 200)
    for client in clients:
        client.drop()
    eventually(lambda: node.get("/node")["connections"] == 0, "no connection left")
    node.stop()


@case("out of file descriptors: those who are there go on, new ones have their turn later")
def no_descriptors():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    node = Node("fds", "proxy", rpc=None, module_dirs=modules(), modules=["proxy", ADMIN, "echo"])
    node.start()
    free = steady(node.fds, "count of descriptors") + 60
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    clients = []
    try:
        for _ in range(100):
            clients.append(Client(node.ws_port, timeout=1))
    except (Failed, Closed, OSError):
        pass
    check(20 <= len(clients) < 70, f"{len(clients)} clients")
    equal([client.ask(ECHO, n) for n, client in enumerate(clients)], list(range(len(clients))))
    used = node.cpu_seconds()
    time.sleep(1)
    check(node.cpu_seconds() - used < 0.5, "it spins")
    while len(clients) > 2:
        clients.pop().drop()

    def another():
        try:
            with Raw(node.ws_port, timeout=2):
                return True
        except (Failed, Closed, OSError):
            return False
    eventually(another, "a new client", 20, 0.2)
    equal(clients[0].ask(ECHO, 1), 1)
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    for client in clients:
        client.drop()
    node.stop()


if __name__ == "__main__":
    main(all_ended)
