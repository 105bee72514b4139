#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Clients by UDP with ENet: what they send and get, over lossy ways too; who is kept out; what ends
them; a module that is replaced under play."""

import contextlib
import json
import os
import random
import re
import select
import socket
import struct
import threading
import time

from obtest.env import EXAMPLES, MODULES, SANITIZE, SLOW
from obtest.nodes import Node, all_ended, run_obhost
from obtest.plugin import PluginDir
from obtest.seed import Client, packet
from obtest.tap import case, cases, check, contains, eventually, equal, main, skip

try:
    import enet
except ImportError:
    enet = None

ECHO, JOIN, SHOUT, FLOOD, HEARD = 7000, 7001, 7002, 7003, 7004
MODULE = "transport_enet"
BUILT = os.path.exists(f"{MODULES}/{MODULE}.so")

GAME = """
#include <obhost/obhost.h>
#include <stdlib.h>

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_reply(ctx, req, view.data, view.len);
}

static ob_session who(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	return view.session;
}

static void join(ob_ctx *ctx, ob_req req)
{
	ob_group_join(ctx, who(ctx, req), "room");
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static void shout(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_push_group(ctx, "room", 7004, view.data, view.len);
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

/* {"n": PUSHES, "size": BYTES}: numbered pushes to whoever asks. */
static void flood(ob_ctx *ctx, ob_req req)
{
	int64_t n = ob_req_int(ctx, req, "n", 1);
	size_t size = (size_t)ob_req_int(ctx, req, "size", 100);
	ob_session session = who(ctx, req);
	char *text = calloc(1, size + 32);

	for (int64_t i = 0; text != NULL && i < n; i++) {
		int at = snprintf(text, 32, "{\\"n\\":%lld,\\"x\\":\\"", (long long)i);
		memset(text + at, 'x', size);
		memcpy(text + at + size, "\\"}", 2);
		ob_push(ctx, session, 7004, text, (size_t)at + size + 2);
	}
	free(text);
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 7000, echo);

	rc = rc < 0 ? rc : ob_on_id(ctx, 7001, join);
	rc = rc < 0 ? rc : ob_on_id(ctx, 7002, shout);
	return rc < 0 ? rc : ob_on_id(ctx, 7003, flood);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

house = {}


def udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def needed():
    if enet is None or not BUILT:
        skip("no python3-enet" if enet is None else "built without ENet")


def make(name, conf=None, limits=None, keys=None, codec="obespoir", **more):
    """A started node with a UDP port; the port is node.udp."""
    needed()
    if "plugins" not in house:
        house["plugins"] = PluginDir()
        house["plugins"].build("game", GAME)
    plugins = more.pop("plugins", house["plugins"])
    port = udp_port()
    node = Node(name, "proxy", rpc=None, module_dirs=[str(plugins), MODULES, EXAMPLES],
                modules=["proxy", {"name": "http_admin", "admin": True}, "game",
                         {"name": MODULE, "conf": {"timeout": 20, **(conf or {})}}],
                listen=[{"transport": "enet", "port": port, "codec": codec,
                         **({"limits": limits} if limits else {}), **more}], **(keys or {}))
    node.udp = port
    node.start()
    return node


def common():
    if "node" not in house:
        house["node"] = make("enet")
    return house["node"]


class Peer:
    """A real ENet client that speaks obespoir's packets, or the JSON codec's lines of objects."""

    def __init__(self, port, channels=1, wait=True):
        self.host = enet.Host(None, 1, channels, 0, 0)
        self.peer = self.host.connect(enet.Address(b"127.0.0.1", port), channels, 0)
        self.connected = False
        self.gone = None  # the data of the disconnect
        self.data = b""
        if wait:
            self.until(lambda: self.connected or self.gone is not None, "a connection")
            equal(self.gone, None, "sent away")
            self.host.flush()  # only then the other side knows

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def pump(self, ms=5):
        event = self.host.service(ms)
        while event.type != enet.EVENT_TYPE_NONE:
            if event.type == enet.EVENT_TYPE_CONNECT:
                self.connected = True
            elif event.type == enet.EVENT_TYPE_DISCONNECT:
                self.gone = event.data
            else:
                self.data += event.packet.data
            event = self.host.check_events()
            if event is None:
                return

    def until(self, condition, what, timeout=10):
        end = time.monotonic() + timeout * SLOW
        while not condition():
            check(time.monotonic() < end, f"{what} did not come")
            self.pump()

    def send(self, data, channel=0, flags=None):
        self.peer.send(channel, enet.Packet(
            data, enet.PACKET_FLAG_RELIABLE if flags is None else flags))

    def tell(self, message_id, body=b""):
        self.send(packet(message_id, body))

    def message(self, timeout=10):
        """The next one: id and payload."""
        def whole():
            return len(self.data) >= 12 and \
                len(self.data) >= struct.unpack_from("<I", self.data)[0]
        self.until(lambda: whole() or self.gone is not None, "a message", timeout)
        check(whole(), f"it has been sent away ({self.gone})")
        total, number = struct.unpack_from("<II", self.data)
        body, self.data = self.data[12:total], self.data[total:]
        return number, body

    def ask(self, message_id, body):
        self.tell(message_id, body)
        number, answer = self.message()
        equal(number, message_id)
        return answer

    def ended(self, timeout=10):
        self.until(lambda: self.gone is not None, "the end", timeout)
        return self.gone

    def close(self):
        if self.gone is None and self.connected:
            self.peer.disconnect_now(0)
            self.host.flush()


class Way(threading.Thread):
    """Carries datagrams between one client and the port, and loses, doubles and swaps some."""

    def __init__(self, port, bad=0.1, seed=1):
        super().__init__(daemon=True)
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back.connect(("127.0.0.1", port))
        self.port = self.front.getsockname()[1]
        self.bad = bad
        self.random = random.Random(seed)
        self.client = None
        self.kept = {}
        self.lost = 0
        self.open = True
        self.start()

    def run(self):
        while self.open:
            for sock in select.select([self.front, self.back], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self._carry(sock)

    def _carry(self, sock):
        if sock is self.front:
            data, self.client = sock.recvfrom(65536)
        else:
            data = sock.recv(65536)
        if self.random.random() < self.bad:
            self.lost += 1
            return
        if self.random.random() < self.bad and sock not in self.kept:
            self.kept[sock] = data
            return
        for one in [data] * (2 if self.random.random() < self.bad else 1) + \
                [self.kept.pop(sock, None)]:
            if one is not None and sock is self.front:
                self.back.send(one)
            elif one is not None:
                self.front.sendto(one, self.client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.open = False
        self.join()
        self.front.close()
        self.back.close()


def clients(node):
    return node.get("/node")["listeners"][-1]["connections"]


def nobody(node):
    eventually(lambda: clients(node) == 0, "no client is left", 15)


def least_fds(node):
    """Descriptors while nobody asks the node for anything."""
    seen = []
    for _ in range(10):
        seen.append(node.fds())
        time.sleep(0.02)
    return min(seen)


def enet_count(node, what):
    return node.metric(f"obhost_module_enet_{what}_total")


# ---------------------------------------------------------------- what they say

@case("the listener is shown with its transport, address and codec")
def shown():
    node = common()
    (_, one) = node.get("/node")["listeners"]
    equal((one["address"], one["transport"], one["codec"], one["accepting"]),
          (f"127.0.0.1:{node.udp}", "enet", "obespoir", True))
    node.says(f"listening on 127.0.0.1:{node.udp} (enet, obespoir)")


@case("requests and answers of many sizes, with the peer's address on the session")
def echo():
    node = common()
    nobody(node)
    with Peer(node.udp) as peer:
        for size in (0, 1, 100, 1400, 5000, 60000):
            body = json.dumps({"n": "x" * size}).encode()
            check(peer.ask(ECHO, body) == body, f"{size} bytes")
        (session,) = node.get("/sessions")["sessions"]
        check(re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*", session["peer"]), session["peer"])
    nobody(node)


@case("small packets: a longer message goes in pieces, both ways")
def small_packets():
    node = make("small", conf={"packet": 4096})
    with Peer(node.udp) as peer:
        for size in (4000, 5000, 20000, 60000):
            body = json.dumps({"n": "x" * size}).encode()
            data = packet(ECHO, body)
            for at in range(0, len(data), 4096):
                peer.send(data[at:at + 4096])
            number, answer = peer.message()
            check((number, answer) == (ECHO, body), f"{size} bytes")
    node.stop()


@case("packets are a stream of bytes: in pieces, and several in one")
def pieces():
    with Peer(common().udp) as peer:
        data = packet(ECHO, b'{"a":1}') + packet(ECHO, b'{"b":2}')
        for at in range(len(data)):
            peer.send(data[at:at + 1])
        peer.send(data)
        equal([peer.message()[1] for _ in range(4)], [b'{"a":1}', b'{"b":2}'] * 2)


@case("the codec json works as well")
def as_json():
    node = make("json", codec="json")
    with Peer(node.udp) as peer:
        peer.send(json.dumps({"id": ECHO, "seq": 7, "data": {"x": 1}}).encode() + b"\n")
        peer.until(lambda: b"\n" in peer.data or peer.gone is not None, "an answer")
        answer = json.loads(peer.data)
        equal((answer["id"], answer["seq"], answer["data"]), (ECHO, 7, {"x": 1}))
    node.stop()


@case("what is not reliable is left out and counted")
def unreliable():
    node = common()
    before = enet_count(node, "ignored")
    with Peer(node.udp) as peer:
        for n in range(20):  # ENet itself leaves out some
            peer.send(packet(ECHO, b'{"a":1}'), flags=0)
            equal(peer.ask(ECHO, b'{"b":%d}' % n), b'{"b":%d}' % n)
    check(enet_count(node, "ignored") > before)


@case("a group with clients by WebSocket and by UDP")
def groups():
    node = common()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(node.udp)) for _ in range(5)]
        webs = [stack.enter_context(Client(node.ws_port)) for _ in range(5)]
        for one in peers + webs:
            one.ask(JOIN, b"{}")
        for n in range(50):
            webs[0].tell(SHOUT, json.dumps({"n": n}).encode())
        for peer in peers:
            equal([json.loads(peer.message()[1])["n"] for _ in range(50)], list(range(50)))
    nobody(node)


@case("10 % of all datagrams lost, 10 % doubled, 10 % late: nothing is lost or swapped", 60)
def lossy():
    node = make("lossy")
    with Way(node.udp) as way, Peer(way.port) as peer:
        for n in range(300):
            peer.tell(ECHO, json.dumps({"n": n, "x": "x" * (n * 7 % 3000)}).encode())
        got = [json.loads(peer.message(50)[1])["n"] for _ in range(300)]
        equal(got, list(range(300)))
        check(way.lost > 20, f"{way.lost} lost")
    node.stop()


@case("a client that reads slowly is held up; whoever reads nothing is closed as too slow", 60)
def slow():
    node = make("slow", keys={"limits": {"client_queue": "256K", "slow": "close"}})
    with Peer(node.udp) as peer:
        peer.tell(FLOOD, b'{"n": 60, "size": 1000}')
        got = [peer.message() for _ in range(61)]
        equal([json.loads(body)["n"] for number, body in got if number == HEARD], list(range(60)))
        peer.tell(FLOOD, b'{"n": 4000, "size": 1000}')
        peer.host.flush()
        eventually(lambda: node.metric("obhost_client_closed_total", reason="slow") == 1,
                   "closed", 10)
    nobody(node)
    node.stop()


def overfill(node, peers):
    """Fills all that is between the node and peers who do not read, then closes them for it."""
    for text in (b'{"n": 15, "size": 30000}', b'{"n": 300, "size": 30000}'):
        for peer in peers:
            peer.tell(FLOOD, text)
            peer.host.flush()
        for _ in range(10):  # turns of the node's
            clients(node)
    eventually(lambda: node.metric("obhost_client_closed_total", reason="slow") == len(peers),
               "closed", 10)


@case("a client that is closed as too slow and reads again gets the rest and the code", 60)
def slow_reads_again():
    node = make("again", conf={"timeout": 60})
    fds = least_fds(node)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(node.udp)) for _ in range(3)]
        for peer in peers:
            peer.ask(ECHO, b"{}")
        overfill(node, peers)
        time.sleep(2)  # so that all of a queue is acknowledged at once
        for peer in peers:
            equal(peer.ended(), 1008)
            check(len(peer.data) > 131072, f"{len(peer.data)} bytes")
        nobody(node)
        eventually(lambda: node.fds() <= fds, f"descriptors are back ({fds})")
    node.stop()


@case("a client that is closed as too slow and never reads again is gone soon", 60)
def slow_for_ever():
    node = make("never", conf={"timeout": 120})
    fds = least_fds(node)
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
        overfill(node, [peer])
        eventually(lambda: node.fds() <= fds, f"descriptors are back ({fds})", 20)
        peer.connected = False
    node.stop()


@case("a client that is not read is not read from for ever: what waits is bounded", 60)
def flooded():
    node = make("flooded", limits={"messages_per_second": 0},
                keys={"limits": {"in_flight": 1}})
    before = node.rss_kib()
    with Peer(node.udp) as peer:
        body = json.dumps({"n": 2000, "size": 4000}).encode()
        peer.tell(FLOOD, body)
        for _ in range(300):
            peer.tell(ECHO, b'{"x":"' + b"x" * 30000 + b'"}')
        end = time.monotonic() + 2
        while time.monotonic() < end:
            peer.host.flush()
            time.sleep(0.05)
        node.check_growth(before, 16384, "a client that sends and does not read")
    nobody(node)
    node.stop()


# ---------------------------------------------------------------- ends

@case("a kick reaches the peer, with its code")
def kick():
    node = common()
    nobody(node)
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
        (session,) = node.get("/sessions")["sessions"]
        equal(node.http("DELETE", f"/sessions/{session['id']}").status, 200)
        check(peer.ended() >= 1000, f"code {peer.gone}")
    nobody(node)


@case("a peer that leaves is gone at once; what it said before that has been heard")
def leaves():
    node = make("leaves")
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
        for _ in range(20):
            peer.tell(ECHO, b"{}")
        peer.peer.disconnect_later(0)
        peer.ended()
    nobody(node)
    node.stop()


@case("a peer that falls silent is gone when the timeout is over", 60)
def silent():
    node = make("silent", {"timeout": 3})
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
        equal(clients(node), 1)
        began = time.monotonic()
        eventually(lambda: clients(node) == 0, "it is gone", 15)
        check(1 < time.monotonic() - began < 10 * SLOW)
        peer.connected = False
    node.stop()


@case("what is no message closes the client, and is counted")
def bad():
    node = common()
    before = node.metric("obhost_client_closed_total", reason="bad_packet")
    with Peer(node.udp) as peer:
        peer.send(b"\x01\0\0\0" * 4)
        equal(peer.ended(), 1002)
    check(node.metric("obhost_client_closed_total", reason="bad_packet") == before + 1)
    nobody(node)


@case("a node that stops tells its clients")
def stops():
    node = make("stops")
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
        stopping = threading.Thread(target=node.stop)
        stopping.start()
        equal(peer.ended(), 1001)
        stopping.join()


@case("a drain lets nobody in, ends who is there, and an abort opens the door again", 60)
def drains():
    node = make("drains")
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
        equal(node.http("POST", "/drain", {"pace": 1000}).status, 202)
        eventually(lambda: not node.get("/node")["listeners"][-1]["accepting"], "closed")
        equal(peer.ended(20), 4002)
    late = Peer(node.udp, wait=False)
    for _ in range(50):
        late.pump(10)
    check(not late.connected, "a newcomer was let in")
    answer = node.http("DELETE", "/drain")
    check(answer.status in (200, 202), repr(answer))
    eventually(lambda: node.get("/node")["listeners"][-1]["accepting"], "open again")
    with Peer(node.udp) as peer:
        equal(peer.ask(ECHO, b'{"again":1}'), b'{"again":1}')
    node.stop()


# ---------------------------------------------------------------- who is kept out

@case("one client more than the listener takes is sent away with 1013")
def full():
    node = make("full", limits={"connections": 2})
    with Peer(node.udp), Peer(node.udp):
        third = Peer(node.udp, wait=False)
        equal(third.ended(), 1013)
        check(enet_count(node, "refused") == 1)
    nobody(node)
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
    node.stop()


@case("one client more than an address may have is not answered")
def per_address():
    node = make("address", limits={"per_address": 2})
    with Peer(node.udp), Peer(node.udp):
        third = Peer(node.udp, wait=False)
        for _ in range(60):
            third.pump(10)
        check(not third.connected and third.gone is None)
    node.stop()


@case("garbage by the ten thousand: nobody notices", 60)
def garbage():
    node = common()
    dice = random.Random(3)
    with Peer(node.udp) as peer, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        peer.ask(ECHO, b"{}")
        for n in range(20000):
            size = dice.choice((0, 1, 2, 4, 40, 500, 5000))
            other.sendto(dice.randbytes(size), ("127.0.0.1", node.udp))
            if n % 500 == 0:
                equal(peer.ask(ECHO, b'{"n":%d}' % n), b'{"n":%d}' % n)
        equal(clients(node), 1)
    nobody(node)


CONNECT = struct.pack(">HHBBHHBBIIIIIIIII", 0x8fff, 1, 0x82, 0xff, 1, 0, 0xff, 0xff, 1400, 32768, 1,
                      0, 0, 5000, 2, 2, 0)


@case("thousands of half-open handshakes from one address: others still get in", 90)
def half_open():
    node = common()
    before = enet_count(node, "dropped")
    memory = node.rss_kib()
    callers = []
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(Peer(node.udp))
        for n in range(3000):
            if n < 200:
                callers.append(stack.enter_context(
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
                callers[-1].bind(("127.0.0.9", 0))
            data = CONNECT + struct.pack(">I", n + 1) + b"\0\0\0\0"
            callers[n % len(callers)].sendto(data, ("127.0.0.1", node.udp))
            if n % 300 == 0:
                equal(peer.ask(ECHO, b"{}"), b"{}")
        eventually(lambda: enet_count(node, "dropped") > before + 1000, "most are kept out")
        with Peer(node.udp) as another:
            equal(another.ask(ECHO, b"{}"), b"{}")
        got = 0
        for caller in callers:
            caller.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    got += len(caller.recv(4096))
        check(0 < got <= 3 * 64 * 60, f"{got} bytes for an address that may be another's")
    node.check_growth(memory, 8192)
    nobody(node)


# ---------------------------------------------------------------- the module is replaced

def play(peer, seconds, each=None):
    """Sends and gets numbers without a break."""
    end = time.monotonic() + seconds
    n = 0
    while time.monotonic() < end:
        for k in range(10):
            peer.tell(ECHO, b'{"n":%d}' % (n + k))
        for k in range(10):
            equal(peer.message()[1], b'{"n":%d}' % (n + k))
        n += 10
        if each:
            each()
    return n


@case("the module is replaced under play, again and again: nothing is lost, old code is unmapped", 90)
def swap():
    node = make("swap")
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(node.udp)) for _ in range(20)]
        done = []
        threads = [threading.Thread(target=lambda p=p: done.append(play(p, 3 * SLOW)))
                   for p in peers]
        for thread in threads:
            thread.start()
        for _ in range(5):
            equal(node.reload(MODULE, force=True)["result"], "switched")
            time.sleep(0.3)
        for thread in threads:
            thread.join()
        equal(len(done), 20)
        check(min(done) >= 10, str(done))
        equal(clients(node), 20)
        eventually(lambda: node.metric("obhost_module_unmapped_total") >= 5, "unmapped")
        equal(node.metric("obhost_module_zombies_total"), 0)
        equal(node.module(MODULE)["active"]["generation"], 6)
        with Peer(node.udp) as late:
            equal(late.ask(ECHO, b'{"late":1}'), b'{"late":1}')
    nobody(node)
    node.stop()


@case("a return to the old generation keeps the clients, too", 60)
def comes_back():
    node = make("back", keys={"reload": {"probation": 30}})
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
        node.reload(MODULE, force=True)
        equal(peer.ask(ECHO, b'{"n":1}'), b'{"n":1}')
        equal(node.http("POST", f"/modules/{MODULE}/rollback").status, 200)
        equal(peer.ask(ECHO, b'{"n":2}'), b'{"n":2}')
        equal(node.module(MODULE)["active"]["generation"], 1)
        with Peer(node.udp) as late:
            equal(late.ask(ECHO, b'{"late":1}'), b'{"late":1}')
        node.reload(MODULE, force=True)
        equal(peer.ask(ECHO, b'{"n":3}'), b'{"n":3}')
    node.stop()


OTHER = """
#include <obhost/obhost.h>

static int on_open(ob_ctx *ctx, const ob_door_info *info, char *address, size_t cap, ob_err *err)
{
	return ob_err_set(err, "no");
}

static int on_accept(ob_ctx *ctx, ob_door door, ob_err *err)
{
	return ob_err_set(err, "no");
}

static void on_close(ob_ctx *ctx, ob_door door)
{
}

static int on_keep(ob_ctx *ctx, ob_door door, ob_err *err)
{
	return ob_err_set(err, "it keeps them in another form");
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_client_transport t = {.size = sizeof(t), .name = OFFERS, .open = on_open,
				 .accept = on_accept, .close = on_close, .keep = on_keep};

	return ob_on_client_transport(ctx, &t);
}

OB_MODULE(@NAME@, .version = "2.0.0", .start = start);
"""


@case("a build that can't take the clients over is refused with a reason; it can't be taken out", 60)
def refused():
    needed()
    plugins = PluginDir()
    plugins.build("game", GAME)
    plugins.copy(MODULE, f"{MODULES}/{MODULE}.so")
    node = make("refused", plugins=plugins)
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
        for offers, reason in (("enet", "it keeps them in another form"),
                               ("other", "no longer offers the transport enet")):
            plugins.build(MODULE, OTHER, OFFERS=f'"{offers}"')
            error = node.reload(MODULE, status=422)["error"]
            equal((error["step"], error["code"]), ("start", "transport"))
            contains(error["message"], reason)
            equal(peer.ask(ECHO, b'{"n":1}'), b'{"n":1}')
        answer = node.http("DELETE", f"/modules/{MODULE}")
        equal((answer.status, answer.json["error"]["code"]), (409, "in_use"))
        equal(peer.ask(ECHO, b'{"n":2}'), b'{"n":2}')
    node.stop()


# ---------------------------------------------------------------- the rest

@case("an idle node with clients sleeps; and memory and descriptors come back", 90)
def rest():
    node = make("rest")
    with Peer(node.udp) as peer:
        peer.ask(ECHO, b"{}")
    nobody(node)
    fds, memory = eventually(lambda: node.fds()), node.rss_kib()
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(Peer(node.udp)) for _ in range(100)]
            for peer in peers:
                peer.ask(ECHO, b'{"x":"' + b"x" * 2000 + b'"}')
        nobody(node)
    eventually(lambda: node.fds() <= fds, f"descriptors are back ({fds})")
    node.check_growth(memory, 6144)
    with Peer(node.udp) as peer:
        before = node.cpu_seconds()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            peer.pump(20)
        check(node.cpu_seconds() - before < 0.5 * SLOW or SANITIZE, "it is busy doing nothing")
    node.stop()


@cases([("udp", {"transport": "udp", "port": 1}, 'did you mean "tcp"'),
        ("nothing offers it", {"transport": "carrierpigeon", "port": 1}, "carrierpigeon"),
        ("a path", {"transport": "enet", "path": "/tmp/x"}, "path goes with"),
        ("tls", {"transport": "enet", "port": 1, "tls": {"cert": "x"}}, "goes with transport wss"),
        ("a load balancer", {"transport": "enet", "port": 1, "proxy_protocol": ["10.0.0.0/8"]},
         "proxy_protocol"),
        ("IPv6", {"transport": "enet", "port": 1, "host": "::1"}, "IPv4")],
       "a listener that makes no sense ends the start: {0}")
def wrong(name, listener, text):
    needed()
    node = Node(f"wrong_{name.replace(' ', '_')}", "proxy", rpc=None, websocket=None,
                listen=[{"codec": "obespoir", **listener}])
    node.write_conf()
    done = run_obhost("-c", str(node.conf_file), cwd=node.folder)
    check(done.returncode not in (0, -11), repr(done))
    contains(done.stdout + done.stderr, text)


@case("a port that is taken is an error that says so")
def taken():
    needed()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        node = Node("taken", "proxy", rpc=None, websocket=None, listen=[
            {"codec": "obespoir", "transport": "enet", "port": holder.getsockname()[1]}])
        node.write_conf()
        done = run_obhost("-c", str(node.conf_file), cwd=node.folder)
        contains(done.stdout + done.stderr, "ddress already in use")


@case("all nodes end as they should")
def end():
    all_ended()


main()
