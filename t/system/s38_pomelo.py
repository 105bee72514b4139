#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""pomelo's clients, as they are: those of npm, and what one of them and a pomelo server once said to
each other, byte for byte, on WebSocket and plain TCP. And clients that pomelo would have crashed on."""

import base64
import contextlib
import hashlib
import json
import pathlib
import socket
import subprocess
import time

from obtest.env import EXAMPLES, MODULES, NODE_JS, SLOW
from obtest.nodes import Node, all_ended, free_port, link, start_all, wait_linked
from obtest.plugin import compile_plugin
from obtest.seed import Closed, Raw
from obtest.tap import Failed, case, cases, check, contains, equal, eventually, main, skip

HERE = pathlib.Path(__file__).resolve().parent
HANDSHAKE, ACK, HEARTBEAT, DATA, KICK = 1, 2, 3, 4, 5

# Names with ids of their own: that of a handler, by which it can be asked as well, and of a push.
NAMES = {"connector.entryHandler.echo": 2001, "onChat": 3001}

# Code 4 is echo and 11 is onAdd, as they were when the transcript was taken.
HANDLERS = ["area.h.a", "chat.chatHandler.send", "connector.entryHandler.bye",
            "connector.entryHandler.echo", "x.h.1", "x.h.2", "x.h.3", "x.h.4", "x.h.5", "x.h.6"]

PROTOS = {
    "server": {
        "onAdd": {"required string a": 1, "required string b": 2},
        "chat.chatHandler.sum": {"required int32 code": 1, "optional double mean": 2,
                                 "repeated Step steps": 3,
                                 "message Step": {"required sInt32 at": 1,
                                                  "optional string why": 2}}},
    "client": {"chat.chatHandler.sum": {"repeated sInt32 n": 1, "optional Top top": 2},
               "message Top": {"required string name": 1}}}

PLUGIN = """
#include <stdio.h>
#include <string.h>
#include <obhost/obhost.h>

static int notes;

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	if (ob_req_view(ctx, req, &view) == 0) {
		ob_reply(ctx, req, view.data, view.len);
	}
}

/* To the sender, or to everybody. */
static void sends(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	const char *to = ob_req_str(ctx, req, "to");

	ob_req_view(ctx, req, &view);
	if (to != NULL && strcmp(to, "all") == 0) {
		ob_push_all_name(ctx, ob_role(ctx, "proxy"), "onChat", view.data,
				 view.len);
	} else {
		ob_push(ctx, view.session, 3001, view.data, view.len);
		ob_push_json(ctx, view.session, ob_name(ctx, "onAdd"), "{s:s, s:s}", "a", "u9", "b",
			     "yo");
		ob_push_json(ctx, view.session, 3999, "{s:i}", "unnamed", 1);
	}
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static void bye(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_session_close(ctx, view.session, 4003, "bye-bye");
	ob_done(ctx, req);
}

static void sum(ob_ctx *ctx, ob_req req)
{
	const json_t *list = json_object_get(ob_req_json(ctx, req), "n");
	json_t *steps = json_array();
	json_int_t all = 0;
	size_t i;
	json_t *n;

	json_array_foreach (list, i, n) {
		all += json_integer_value(n);
		json_array_append_new(steps, json_pack("{s:I, s:s}", "at", all, "why", "\\xe4\\xbd\\xa0"));
	}
	ob_reply_json(ctx, req, "{s:i, s:f, s:o}", "code", 200, "mean",
		      i > 0 ? (double)all / (double)i : 0.0, "steps", steps);
}

static void enter(ob_ctx *ctx, ob_req req)
{
	const json_t *user = json_object_get(ob_req_json(ctx, req), "user");
	const char *name = json_string_value(json_object_get(user, "name"));

	if (name != NULL && strcmp(name, "mallory") == 0) {
		ob_fail(ctx, req, OB_E_DENIED, "not you");
		return;
	}
	ob_reply_json(ctx, req, "{s:s}", "welcome", name != NULL ? name : "nobody");
}

static void note(ob_ctx *ctx, ob_req req)
{
	notes++;
	ob_done(ctx, req);
}

static void noted(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "notes", notes);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const struct {
		const char *name;
		ob_handler_fn fn;
	} handlers[] = {
		{"connector.entryHandler.echo", echo}, {"chat.chatHandler.send", sends},
		{"connector.entryHandler.bye", bye}, {"chat.chatHandler.sum", sum},
		{"gate.enter", enter}, {"chat.chatHandler.note", note},
		{"chat.chatHandler.notes", noted},
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		rc = ob_on_name(ctx, handlers[i].name, handlers[i].fn,
				OB_FROM_CLIENT | OB_FROM_LINK);
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

ADMIN = {"name": "http_admin", "admin": True}

house = {}


def gate(name="full", **conf):
    """A node with the codec on WebSocket and TCP; those of one name are one."""
    if name not in house:
        node = Node(name, "proxy", rpc=None, websocket=None, limits={"message": "1m"}, names=NAMES,
                    sessions={"resume": {"window": 30}},
                    module_dirs=[str(compile_plugin("game", PLUGIN).parent), MODULES, EXAMPLES],
                    listen=[{"transport": transport, "codec": "pomelo", "port": free_port(),
                             "timeout": 60} for transport in ("ws", "tcp", "tcp+ws")],
                    modules=["proxy", ADMIN,
                             {"name": "codec_pomelo", "conf": conf},
                             "game"])
        house[name] = node.start()
    return house[name]


def full():
    return gate("full", heartbeat=3, handlers=HANDLERS, dictionary=["onAdd", "onChat"],
                protos=PROTOS)


def plain():
    return gate("plain", heartbeat=0.4, handshake="gate.enter")


def port(node, transport):
    return next(one["port"] for one in node.conf["listen"] if one["transport"] == transport)


def closed_for(node, reason):
    return node.metric("obhost_client_closed_total", reason=reason)


# ---------------------------------------------------------------- the clients of npm

def run_client(which, node, steps):
    """What it printed, a list a line."""
    command = [NODE_JS, "--no-deprecation", str(HERE / "pomelo_client.js"), which,
               str(port(node, "ws")), json.dumps(steps)]
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             timeout=20 * SLOW, check=False)
    except (FileNotFoundError, PermissionError):
        skip("no node")
    except subprocess.TimeoutExpired as late:
        raise Failed(f"the client waits: {late.stdout!r} {late.stderr!r}") from None
    if run.returncode == 3:
        skip(f"no pomelo clients of npm: {run.stderr.strip()}")
    equal((run.returncode, run.stderr), (0, ""))
    return [json.loads(line) for line in run.stdout.splitlines()]


SUM = {"code": 200, "mean": 1.5, "steps": [{"at": -1, "why": "你"}, {"at": 3, "why": "你"}]}


@cases([("js",), ("node",)], "{0}: requests, notifies, pushes, dictionary, protobuf, a kick")
def whole_life(which):
    node = full()
    before = closed_for(node, "kicked")
    got = run_client(which, node, [
        ["request", "connector.entryHandler.echo", {"msg": "hi"}],
        ["request", "chat.chatHandler.send", {"msg": "hello"}],
        ["await", "onChat"],
        ["await", "onAdd"],
        ["request", "chat.chatHandler.sum", {"n": [-1, 4], "top": {"name": "x"}}],
        ["request", "connector.entryHandler.nothing", {}],
        ["request", "2001", {"by": "number"}],
        ["notify", "connector.entryHandler.bye", {}],
        ["await", "onKick"],
        ["await", "close"]])
    nothing = got.pop(6)
    equal(nothing[1]["code"], 500)
    equal(nothing[1]["status"], 404)
    reason = {"reason": "bye-bye"} if which == "js" else None
    equal(got, [["open", None], ["answer", {"msg": "hi"}], ["answer", {"code": 200}],
                ["event", "onChat", {"msg": "hello"}], ["event", "onAdd", {"a": "u9", "b": "yo"}],
                ["answer", SUM], ["answer", {"by": "number"}], ["event", "onKick", reason],
                ["event", "close", 4003]])
    equal(closed_for(node, "kicked"), before + 1)


@case("js: what it writes beyond U+FFFF is read, and what it gets it can read")
def surrogates():
    got = run_client("js", full(), [
        ["request", "connector.entryHandler.echo", {"t": "a😀你\U0010ffff"}],
        ["request", "chat.chatHandler.send", {"t": "😀"}],
        ["await", "onChat"]])
    equal(got[1:], [["answer", {"t": "a😀你\U0010ffff"}], ["answer", {"code": 200}],
                    ["event", "onChat", {"t": "😀"}]])


@case("js: protos that it has kept are not sent again, and go on")
def kept_protos():
    got = run_client("js", full(), [
        ["request", "chat.chatHandler.sum", {"n": [-1, 4]}], ["again"],
        ["request", "chat.chatHandler.sum", {"n": [-1, 4]}]])
    equal(got, [["open", None], ["answer", SUM], ["open", None], ["answer", SUM]])


@cases([("js",), ("node",)], "{0}: heartbeats keep it, and the handler of the handshake knows it")
def heartbeats(which):
    node = plain()
    before = closed_for(node, "heartbeat")
    got = run_client(which, node, [
        ["sleep", 1600], ["request", "connector.entryHandler.echo", {"still": "here"}]])
    user = {"welcome": "ada"} if which == "js" else None
    equal(got, [["open", user], ["answer", {"still": "here"}]])
    equal(closed_for(node, "heartbeat"), before)


@case("js: a client that asks for it comes back to its session and gets what it missed")
def comes_back():
    said = {"to": "all", "msg": "hello"}
    got = run_client("js", full(), [
        ["resume"],
        ["request", "connector.entryHandler.echo", {"n": 1}],
        ["notify", "chat.chatHandler.send", said],
        ["await", "onChat"],
        ["resume"],
        ["await", "onChat"],
        ["request", "chat.chatHandler.sum", {"n": [-1, 4]}]])
    opened = [user["resume"] for what, user, *_ in got if what == "open"]
    equal([(o["recovered"], o["heard"]) for o in opened], [(False, 0), (True, 2)])
    equal((opened[0]["session"], len(opened[0]["token"])), (opened[1]["session"], 64))
    chat = ["event", "onChat", said]
    equal([g for g in got if g[0] != "open"],
          [["answer", {"n": 1}], chat, chat, ["answer", SUM]])


# ---------------------------------------------------------------- raw clients

def package(kind, body=b""):
    if not isinstance(body, bytes):
        body = json.dumps(body, separators=(",", ":")).encode()
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def request(number, route, body=b"{}"):
    route = route.encode()
    return package(DATA, bytes([0, number, len(route)]) + route + body)


HELLO = package(HANDSHAKE, {"sys": {"type": "test", "version": "1"}, "user": {"name": "bob"}})


class Tcp:
    """A client on plain TCP."""

    def __init__(self, node, transport="tcp"):
        self.socket = socket.create_connection(("127.0.0.1", port(node, transport)), 10 * SLOW)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.socket.sendall(data)

    def _read(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise Closed(None)
            data += more
        return data

    def package(self):
        head = self._read(4)
        return head[0], self._read(int.from_bytes(head[1:], "big"))

    def end(self):
        """The code that it was closed with, which TCP has none for."""
        with contextlib.suppress(Closed, ConnectionResetError):
            while True:
                self.package()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Ws:
    """A client on WebSocket: each package is a message, but for those that share one."""

    def __init__(self, node, transport="ws"):
        self.raw = Raw(port(node, transport))
        self.left = b""

    def send(self, data):
        self.raw.send(data)

    def package(self):
        if not self.left:
            opcode, data = self.raw.frame()
            if opcode == 8:
                raise Closed(int.from_bytes(data[:2], "big"), data[2:].decode())
            equal(opcode, 2)
            self.left = bytes(data)
        size = 4 + int.from_bytes(self.left[1:4], "big")
        one, self.left = self.left[:size], self.left[size:]
        return one[0], one[4:]

    def end(self):
        try:
            while True:
                self.package()
        except Closed as closed:
            return closed.code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.raw.socket.close()


def shake_hands(client):
    client.send(HELLO)
    kind, answer = client.package()
    equal(kind, HANDSHAKE)
    equal(json.loads(answer)["code"], 200)
    client.send(package(ACK))
    equal(client.package(), (HEARTBEAT, b""))
    return json.loads(answer)


BOTH = [(Tcp, "tcp"), (Ws, "ws")]


@case("what pomelo and a client said: the same bytes")
def transcript():
    with Tcp(full()) as client:
        client.send(HELLO)
        kind, answer = client.package()
        sys = json.loads(answer)["sys"]
        equal((kind, sys["heartbeat"], sys["useDict"], sys["useProto"]), (1, 3, True, True))
        equal((sys["dict"]["connector.entryHandler.echo"], sys["codeToRoute"]["11"]), (4, "onAdd"))
        client.send(bytes.fromhex("02000000"))
        equal(client.package(), (3, b""))
        client.send(bytes.fromhex("04000010" "01010004" "7b226d7367223a226869227d"))
        equal(client.package(), (4, bytes.fromhex("0401" "7b226d7367223a226869227d")))
        client.send(request(2, "chat.chatHandler.send", b'{"t":"hi"}'))
        equal(client.package(), (4, bytes.fromhex("07000c") + b'{"t":"hi"}'))
        equal(client.package(), (4, bytes.fromhex("07000b" "0a027539" "1202796f")))
        equal(client.package(), (4, b"\x06\x043999" + b'{"unnamed":1}'))
        equal(client.package(), (4, b'\x04\x02{"code":200}'))
        client.send(package(DATA, bytes.fromhex("030003") + b"{}"))
        equal(client.package(), (5, b'{"reason":"bye-bye"}'))
        try:
            client.package()
            raise Failed("it is still open")
        except Closed:
            pass


def version(*values):
    text = "".join(json.dumps(one, separators=(",", ":"), ensure_ascii=False) for one in values)
    return base64.b64encode(hashlib.md5(text.encode()).digest()).decode()


@case("a client that says the versions is not sent dictionary and protos again")
def versions():
    with Tcp(full()) as client:
        sys = shake_hands(client)["sys"]
    protos = sys["protos"]
    equal(sys["dictVersion"], version(sys["dict"]))
    equal(protos["version"], version(protos["client"], protos["server"]))
    equal(protos["version"], "t4y+lyAZPWdivNnugBztIg==")  # what pomelo-protobuf makes of PROTOS
    known = {"sys": {"dictVersion": sys["dictVersion"], "protoVersion": protos["version"]}}
    with Tcp(full()) as client:
        client.send(package(HANDSHAKE, known))
        equal(json.loads(client.package()[1]),
              {"code": 200, "sys": {"heartbeat": 3, "useDict": True, "useProto": True}})


@cases(BOTH, "{1}: handshake, acknowledgement and a request in one go")
def at_once(client_of, _name):
    with client_of(full()) as client:
        client.send(HELLO + package(ACK) + package(HEARTBEAT)
                    + request(1, "connector.entryHandler.echo", b"[1]"))
        equal([client.package()[0] for _ in range(3)], [HANDSHAKE, HEARTBEAT, HEARTBEAT])
        equal(client.package(), (DATA, b"\x04\x01[1]"))


@case("TCP and WebSocket on one port, as pomelo has them")
def one_port():
    with Tcp(full(), "tcp+ws") as tcp, Ws(full(), "tcp+ws") as web:
        for client in (tcp, web):
            shake_hands(client)
            client.send(request(1, "connector.entryHandler.echo", b"[1]"))
            equal(client.package(), (DATA, b"\x04\x01[1]"))


@case("an acknowledgement that does not wait for the handshake's handler")
def early_ack():
    with Tcp(plain()) as client:
        client.send(HELLO + package(ACK))
        kind, answer = client.package()
        equal((kind, json.loads(answer)["user"]), (HANDSHAKE, {"welcome": "bob"}))
        equal(client.package(), (HEARTBEAT, b""))
        client.send(request(1, "connector.entryHandler.echo", b"[1]"))
        equal(client.package(), (DATA, b"\x04\x01[1]"))


@case("a client whose bytes come one at a time")
def bytewise():
    with Tcp(full()) as client:
        for byte in HELLO + package(ACK) + request(1, "connector.entryHandler.echo", b"[1]"):
            client.send(bytes([byte]))
        equal([client.package()[0] for _ in range(2)], [HANDSHAKE, HEARTBEAT])
        equal(client.package(), (DATA, b"\x04\x01[1]"))


@case("a package that is spread over WebSocket messages is none")
def cut_off():
    with Ws(full()) as client:
        shake_hands(client)
        client.send(package(HEARTBEAT)[:3])
        equal(client.package(), (KICK, b'{"reason":"packet cut off"}'))
        equal(client.end(), 1002)


BAD = [
    (package(DATA), 1002, "empty_data", "an empty message"),
    (bytes.fromhex("0400000500012d0561"), 1002, "bad_route", "a route cut off"),
    (bytes.fromhex("040000020080"), 1002, "bad_id", "an id cut off"),
    (bytes.fromhex("0400000700ffffffff0f00"), 1002, "bad_id", "an id above 2^31-1"),
    (package(KICK, {}), 1002, "bad_package", "a kick from a client"),
    (b"\x06\0\0\0", 1002, "bad_package", "a type that is none"),
    (b"\x04\xff\xff\xff", 1009, "too_big", "16 MiB, when only the length has come"),
    (package(DATA, b"\x00\x01\x14chat.chatHandler.sum\x08\x05\x01"), 1002, "bad_protobuf",
     "protobuf that is none"),
]


@cases([(client, *row, name) for row in BAD for client, name in BOTH],
       "{5}: {4} closes the client, who is told why")
def bad(client_of, data, code, word, _title, name):
    node = full()
    before = closed_for(node, word)
    with client_of(node) as client:
        shake_hands(client)
        client.send(data)
        kind, reason = client.package()
        equal(kind, KICK)
        check(json.loads(reason)["reason"], repr(reason))
        equal(client.end(), code if name == "ws" else None)
    eventually(lambda: closed_for(node, word) == before + 1, "the count")


@cases([(b"no JSON", 500, "bad_handshake"), (b'{"user":{}}', 500, "bad_handshake"),
        (b'{"sys":{"type":"old","version":"1.9"}}', 501, "old_client"),
        (b'{"sys":{"type":"new","version":"9"}}', 501, "old_client")],
       "the handshake {0} is answered with {1}")
def refused(hello, code, word):
    node = gate("choosy", clients={"old": "2.0"})
    before = closed_for(node, word)
    with Ws(node) as client:
        client.send(package(HANDSHAKE, hello))
        equal(client.package(), (HANDSHAKE, b'{"code":%d}' % code))
        equal(client.end(), 1002 if code == 500 else 1008)
    eventually(lambda: closed_for(node, word) == before + 1, "the count")
    with Ws(node) as client:
        client.send(package(HANDSHAKE, {"sys": {"type": "old", "version": "2.0.1"}}))
        equal(client.package(), (HANDSHAKE, b'{"code":200,"sys":{}}'))


@case("a client that the handshake's handler refuses gets 500 and goes")
def handler_refuses():
    node = plain()
    before = closed_for(node, "handshake_refused")
    with Tcp(node) as client:
        client.send(package(HANDSHAKE, {"sys": {}, "user": {"name": "mallory"}}))
        equal(client.package(), (HANDSHAKE, b'{"code":500}'))
        client.end()
    eventually(lambda: closed_for(node, "handshake_refused") == before + 1, "the count")


# ---------------------------------------------------------------- time

@cases([(True,), (False,)], "a client without heartbeats is closed, also when it talks: {0}")
def no_heartbeat(talks):
    node = plain()
    before = closed_for(node, "heartbeat")
    with Tcp(node) as client:
        shake_hands(client)
        begun = time.monotonic()
        kinds = set()
        with contextlib.suppress(Closed, ConnectionError):
            while time.monotonic() < begun + 10 * SLOW:
                if talks:
                    client.send(request(1, "connector.entryHandler.echo"))
                    time.sleep(0.05)
                kinds.add(client.package()[0])
        took = time.monotonic() - begun
    check(0.75 < took < 5 * SLOW, f"it took {took} s")
    equal(kinds, {DATA, KICK} if talks else {KICK})
    equal(closed_for(node, "heartbeat"), before + 1)


@case("messages are heartbeats where the configuration says so")
def lenient():
    node = gate("lenient", heartbeat=0.2, timeout=0.5, strict_heartbeat=False)
    with Tcp(node) as client:
        shake_hands(client)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            client.send(request(1, "connector.entryHandler.echo", b"[]"))
            equal(client.package(), (DATA, b"\x04\x01[]"))
            time.sleep(0.05)
        client.end()
    equal(closed_for(node, "heartbeat"), 1)


@case("a handshake that is not acknowledged in time")
def no_ack():
    node = gate("impatient", handshake_timeout=0.3)
    before = closed_for(node, "handshake_timeout")
    with Ws(node) as client:
        client.send(HELLO)
        equal(client.package()[0], HANDSHAKE)
        equal(client.package()[0], KICK)
        equal(client.end(), 1008)
    equal(closed_for(node, "handshake_timeout"), before + 1)


@case("half a handshake, and heartbeats in its place: its time is over, too")
def no_hello():
    node = gate("impatient", handshake_timeout=0.3)
    before = closed_for(node, "handshake_timeout")
    with Tcp(node) as half, Tcp(node) as beats:
        half.send(HELLO[:9])
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                beats.send(package(HEARTBEAT))
                time.sleep(0.01)
        half.end()
        beats.end()
    equal(closed_for(node, "handshake_timeout"), before + 2)


# ---------------------------------------------------------------- pushes, reloads, the end

@case("a push to all reaches those whose handshake is over, and nobody else")
def to_all():
    node = full()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(of(node)) for of in (Tcp, Ws, Ws, Tcp)]
        for client in clients:
            shake_hands(client)
        late = stack.enter_context(Tcp(node))
        late.send(HELLO)
        equal(late.package()[0], HANDSHAKE)
        clients[0].send(request(1, "chat.chatHandler.send", b'{"to":"all"}'))
        for client in clients:
            got = client.package()
            if got == (DATA, b'\x04\x01{"code":200}'):
                got = client.package()
            equal(got, (DATA, b'\x07\x00\x0c{"to":"all"}'))
        late.send(package(ACK))
        equal(late.package(), (HEARTBEAT, b""))
        late.send(request(1, "connector.entryHandler.echo", b"[]"))
        equal(late.package(), (DATA, b"\x04\x01[]"))


@case("notifies: all arrive, none is answered")
def notifies():
    with Tcp(full()) as client:
        shake_hands(client)
        client.send(request(1, "chat.chatHandler.notes"))
        begun = json.loads(client.package()[1][2:])["notes"]
        route = b"chat.chatHandler.note"
        client.send(100 * package(DATA, bytes([2, len(route)]) + route + b"{}"))
        client.send(request(2, "chat.chatHandler.notes"))
        equal(json.loads(client.package()[1][2:])["notes"], begun + 100)


@case("a route goes to the node of its role, whose pushes come with their names")
def routed():
    dirs = [str(compile_plugin("game", PLUGIN).parent), MODULES, EXAMPLES]
    chat = Node("chat", "chat", names=NAMES, module_dirs=dirs, modules=["service", ADMIN, "game"])
    front = Node("front", "proxy", websocket=None, names=NAMES,
                 listen=[{"transport": "tcp", "codec": "pomelo", "port": free_port()}],
                 modules=["proxy", ADMIN, {"name": "codec_pomelo", "conf": {"heartbeat": 3}}])
    link((front, chat))
    start_all(front, chat)
    wait_linked((front, chat))
    with Tcp(front) as client:
        shake_hands(client)
        client.send(request(1, "chat.chatHandler.send", b'{"t":1}'))
        equal(sorted(client.package()[1] for _ in range(4)),
              [b'\x04\x01{"code":200}', b"\x06\x043999" + b'{"unnamed":1}',
               b'\x06\x05onAdd{"a":"u9","b":"yo"}', b'\x06\x06onChat{"t":1}'])
        client.send(request(2, "nobody.handler.here"))
        equal(json.loads(client.package()[1][2:])["code"], 500)


@case("the codec is replaced under its clients, who notice nothing")
def replaced():
    node = full()
    with Ws(node) as client, Tcp(node) as half:
        shake_hands(client)
        shake_hands(half)
        data = package(DATA, bytes.fromhex("01010004") + b"[1]")
        half.send(data[:7])
        for _ in range(3):
            answer = node.http("POST", "/modules/reload", {"name": "codec_pomelo", "force": True})
            equal(answer.status, 200, answer.text)
            client.send(data)
            equal(client.package(), (DATA, b"\x04\x01[1]"))
        half.send(data[7:])
        equal(half.package(), (DATA, b"\x04\x01[1]"))
        eventually(lambda: not any(entry["old"] for entry in node.get("/modules")["modules"]),
                   "the old generations gone")


@case("a dictionary that is none is refused at the start")
def bad_conf():
    node = Node("bad", "proxy", rpc=None, websocket=None,
                listen=[{"transport": "ws", "codec": "pomelo", "port": free_port()}],
                modules=["proxy", {"name": "codec_pomelo", "conf": {"dictionary": ["a", "a"]}}])
    node.write_conf()
    run = node.run()
    check(run.returncode != 0, "it started")
    contains(run.stdout + run.stderr, "twice")


@case("a node that stops does not kick: its clients see the connection end, and come back")
def going_away():
    node = plain()
    with Ws(node) as client:
        shake_hands(client)
        node.send_signal(15)
        kinds = []
        code = None
        try:
            while True:
                kinds.append(client.package()[0])
        except Closed as closed:
            code = closed.code
        equal((kinds, code), ([], 1001))
    equal(node.wait(), 0)


if __name__ == "__main__":
    main(all_ended)
