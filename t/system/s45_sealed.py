#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Encrypted clients of the obespoir protocol: listeners with `encode` 1 and 2 over tcp and
WebSocket, spoken to by another implementation; what somebody in between can't do; the codec is
replaced under conversations."""

import json
import struct
import threading

from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import Node, all_ended, free_port
from obtest.plugin import PluginDir
from obtest.seed import Closed, packet
from obtest.tap import case, cases, check, contains, equal, eventually, main, skip_all

try:
    from obtest.sealed import (HELLO, Blocks, Client, InvalidTag, NoProof, Plain, Seal, Tcp, Ws,
                               hello)
except ImportError as error:
    skip_all(str(error))

ECHO, PUSHED = 30000, 6600
TOKEN = "a token of 16 or more bytes"
KEY = "helloworldiloveyou~1234567890123"
TRANSPORTS = ("tcp", "ws")
LOW_ORDER = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")

# "n" numbers with "size" bytes behind each: to who asks, or to all clients.
ROOM = r"""
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

static void say(ob_ctx *ctx, ob_req req, bool all)
{
	static char text[100000];
	ob_view v = {.size = sizeof(v)};
	int n = (int)ob_req_int(ctx, req, "n", 0);
	size_t size = (size_t)ob_req_int(ctx, req, "size", 0);

	ob_req_view(ctx, req, &v);
	for (int i = 0; i < n; i++) {
		size_t len = (size_t)snprintf(text, 16, "%d ", i);
		memset(text + len, 'x', size);
		if (all) {
			ob_push_all(ctx, ob_role(ctx, "proxy"), 6600, text, len + size);
		} else {
			ob_push(ctx, v.session, 6600, text, len + size);
		}
	}
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static void mine(ob_ctx *ctx, ob_req req)
{
	say(ctx, req, false);
}

static void everybody(ob_ctx *ctx, ob_req req)
{
	say(ctx, req, true);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 2000, mine);

	return rc != 0 ? rc : ob_on_id(ctx, 2001, everybody);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

SECRETS = {0: None, 1: KEY, 2: TOKEN}
house = {}


def node():
    """A node with a listener for each transport and encode, and some that are impatient."""
    if "node" in house:
        return house["node"]
    plugins = house["plugins"] = PluginDir()
    plugins.build("room", ROOM)
    house["ports"] = {}
    listen = []

    def add(word, transport, encode, token, **limits):
        house["ports"][word] = free_port()
        entry = {"transport": transport, "codec": "obespoir", "port": house["ports"][word],
                 "encode": encode, "limits": limits}
        listen.append({**entry, "token": token} if token else entry)

    for transport in TRANSPORTS:
        for encode, token in SECRETS.items():
            add((transport, encode), transport, encode, token)
        add((transport, "open"), transport, 2, None)
        add((transport, "slow"), transport, 2, TOKEN, packet_timeout=1)
        add((transport, "silent"), transport, 2, TOKEN, first_message=1)
    house["node"] = Node("sealed", "proxy", websocket=None, rpc=None, listen=listen,
                         module_dirs=[str(plugins), MODULES, EXAMPLES],
                         modules=["proxy", {"name": "http_admin", "admin": True}, "room",
                                  {"name": "echo", "conf": {"id": [ECHO]}}]).start()
    return house["node"]


def port(transport, word):
    node()
    return house["ports"][transport, word]


def how(encode):
    if encode == 0:
        return Plain()
    return Blocks(KEY) if encode == 1 else Seal(TOKEN)


def client(transport, encode):
    return Client(transport, port(transport, encode), how(encode))


def line(transport, word):
    return (Tcp if transport == "tcp" else Ws)(port(transport, word))


def closed(reason):
    return node().metric("obhost_client_closed_total", reason=reason) or 0


class Counted:
    """Inside, exactly `more` clients are closed for that reason."""

    def __init__(self, reason, more=1):
        self.reason, self.more, self.before = reason, more, closed(reason)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            eventually(lambda: closed(self.reason) == self.before + self.more,
                       f"{self.more} closed for {self.reason}")


def ends(connection, transport, code):
    """The node ends it, with that code where there are codes."""
    try:
        while True:
            connection.read()
    except Closed as said:
        equal(said.code, code if transport == "ws" else None)
    finally:
        connection.drop()


GRID = [(transport, encode) for transport in TRANSPORTS for encode in SECRETS]


@cases(GRID, "{0}, encode {1}: bodies of all lengths come back, one by one and many at once")
def echo(transport, encode):
    with client(transport, encode) as one:
        for size in [*range(34), 1000, 16384, 70000, 900000]:
            body = bytes(i * 7 & 0xff for i in range(size))
            equal(one.ask(ECHO, body) == body, True, f"{size} bytes")
        for n in range(200):
            one.tell(ECHO, b"%d" % n)
        for n in range(200):
            equal(one.packet(), (ECHO, b"%d" % n))


@cases(GRID, "{0}, encode {1}: packets in pieces, and several in one")
def pieces(transport, encode):
    with client(transport, encode) as one:
        wire = b"".join(one.how.seal(ECHO, b"%d" % n) for n in range(20))
        for at in range(0, len(wire), 7):
            one.line.send(wire[at:at + 7])
        for n in range(20):
            equal(one.packet(), (ECHO, b"%d" % n))
        one.line.send(b"".join(one.how.seal(ECHO, b"%d" % n) for n in range(20)))
        for n in range(20):
            equal(one.packet(), (ECHO, b"%d" % n))


@cases(GRID, "{0}, encode {1}: pushes to one client, in order between answers")
def pushes(transport, encode):
    with client(transport, encode) as one:
        for size in (0, 20000):
            one.tell(2000, {"n": 50, "size": size})
            for n in range(50):
                equal(one.packet(), (PUSHED, b"%d " % n + b"x" * size))
            equal(json.loads(one.packet()[1]), {"code": 200})


@case("a broadcast reaches plain clients, those with blocks and those with seals, each once")
def broadcasts():
    crowd = [client(*place) for place in GRID for _ in range(4)]
    for size in (0, 30000):
        crowd[0].tell(2001, {"n": 20, "size": size})
        for one in crowd:
            got = [one.packet() for _ in range(20 + (one is crowd[0]))]
            equal([found for found in got if found[0] == PUSHED],
                  [(PUSHED, b"%d " % n + b"x" * size) for n in range(20)])
    for one in crowd:
        equal(one.ask(ECHO, b"still there"), b"still there")
        one.line.drop()


# ---------------------------------------------------------------- who is there

@cases([(transport,) for transport in TRANSPORTS], "{0}: without a token there is a handshake, too")
def no_token(transport):
    with Client(transport, port(transport, "open"), Seal()) as one:
        equal(one.ask(ECHO, b"open"), b"open")


@cases([("tcp", 2, "another token, of 16 bytes"), ("ws", 2, "another token, of 16 bytes"),
        ("tcp", 2, None), ("tcp", "open", TOKEN)],
       "{0}, {1}: a client with the token {2!r} sees that the node has another, and is not let in")
def wrong_token(transport, word, token):
    node()
    try:
        Client(transport, port(transport, word), Seal(token))
        check(False, "the node has shown that it knows this token")
    except NoProof:
        pass
    with Counted("bad_seal"):
        with Client(transport, port(transport, word), Seal(token), check=False) as one:
            one.tell(ECHO, b"hello?")
            ends(one.line, transport, 1002)


@case("somebody in between without the token can't be the node")
def in_between():
    """He answers with a key of his own, and with the node's proof."""
    victim, attacker = Seal(TOKEN), Seal(TOKEN)
    tcp = line("tcp", 2)
    tcp.send(attacker.hello)
    answer = tcp.read()
    equal(len(answer), 69)
    for forged in (answer, answer[:5] + attacker.hello[5:] + answer[37:], answer[:37] + bytes(32)):
        try:
            victim.answer(forged)
            check(False, "it was taken")
        except NoProof:
            pass
    tcp.drop()


@cases([(transport, words) for transport in TRANSPORTS for words in (
    ("bad_version", hello(Seal().hello[5:], version=2)), ("weak_key", hello(bytes(32))),
    ("weak_key", hello(LOW_ORDER)), ("bad_hello", hello(bytes(33), length=38)),
    ("bad_hello", packet(ECHO, b"plain")))], "{0}: a first packet that is none: {1[0]}")
def bad_hello(transport, words):
    node()
    with Counted(words[0]):
        one = line(transport, 2)
        one.send(words[1])
        ends(one, transport, 1002)


@case("a client with encode 2 at a listener without, and the other way round")
def crossed():
    with Counted("eof"):
        tcp = line("tcp", 0)
        tcp.send(Seal().hello)  # a packet with a strange id
        check(len(tcp.read()) > 12)
        tcp.drop()
    with Counted("bad_blocks"):
        tcp = line("tcp", 1)
        tcp.send(packet(ECHO, b"plain"))
        ends(tcp, "tcp", None)


# ---------------------------------------------------------------- on the way

def tampered(one):
    wire = bytearray(one.how.seal(ECHO, b"pay 100"))
    wire[15] ^= 4
    return bytes(wire)


def shorter(one):
    wire = one.how.seal(ECHO, b"pay 100")
    return struct.pack("<I", len(wire) - 1) + wire[4:]


def replayed(one):
    wire = one.how.seal(ECHO, b"pay 100")
    one.line.send(wire)
    equal(one.packet(), (ECHO, b"pay 100"))
    return wire


def reordered(one):
    first, second = one.how.seal(ECHO, b"1"), one.how.seal(ECHO, b"2")
    return second + first


def left_out(one):
    one.how.seal(ECHO, b"1")
    return one.how.seal(ECHO, b"2")


def from_other(one):
    with client("tcp", 2) as other:
        return other.how.seal(ECHO, b"mine")


def reflected(one):
    one.tell(ECHO, b"and back")
    return one.cut()


@cases([(transport, what) for transport in TRANSPORTS for what in (
    tampered, shorter, replayed, reordered, left_out, from_other, reflected)],
       "{0}: a sealed packet that is {1.__name__} closes the client, and is not heard")
def on_the_way(transport, what):
    before = node().metric("obhost_requests_total") or 0
    with Counted("bad_seal"), client(transport, 2) as one:
        one.line.send(what(one))
        ends(one.line, transport, 1002)
    heard = (node().metric("obhost_requests_total") or 0) - before
    check(heard <= (what in (replayed, reflected)), f"{heard} messages were heard")


@cases([("tcp", b"\x07" * 16, "bad_padding"), ("ws", b"\x07" * 32, "bad_padding"),
        ("tcp", b"12345678", "bad_blocks"), ("ws", b"", "bad_blocks")],
       "{0}: blocks of encode 1 that nobody has padded: {1!r}")
def bad_blocks(transport, body, reason):
    node()
    with Counted(reason):
        one = line(transport, 1)
        one.send(packet(ECHO, body))
        ends(one, transport, 1002)


@case("what the node sends does not pass for another packet either")
def sealed_answers():
    with client("tcp", 2) as one:
        one.tell(ECHO, b"a")
        one.tell(ECHO, b"b")
        first, second = one.cut(), one.cut()
        for wrong in (second, first[:20] + b"?" + first[21:]):
            try:
                one.how.open(wrong)
                check(False, "it was taken")
            except InvalidTag:
                pass
        equal(one.how.open(first), (ECHO, b"a"))
        equal(one.how.open(second), (ECHO, b"b"))
        check(b"pay" not in first)


@cases([(transport,) for transport in TRANSPORTS], "{0}: half a packet, and the client is gone")
def half(transport):
    with client(transport, 2) as one, client(transport, 2) as other:
        one.line.send(one.how.seal(ECHO, b"x" * 1000)[:500])
        one.line.drop()
        equal(other.ask(ECHO, b"unharmed"), b"unharmed")


@cases([(transport,) for transport in TRANSPORTS],
       "{0}: a handshake that takes too long; a client that says nothing; one that says no more")
def slow(transport):
    node()
    with Counted("slow_packet"):
        one = line(transport, "slow")
        one.send(Seal().hello[:HELLO - 1])
        ends(one, transport, 1008)
    with Counted("first_message"):
        ends(line(transport, "silent"), transport, 1008)
    with Counted("first_message"):
        one = Client(transport, port(transport, "silent"), Seal(TOKEN))
        ends(one.line, transport, 1008)


# ---------------------------------------------------------------- the codec is replaced

class Talk(threading.Thread):
    """Requests, `window` at a time, each answered in its turn, until told to stop."""

    def __init__(self, transport, encode, window=16):
        super().__init__(daemon=True)
        self.client = client(transport, encode)
        self.window, self.sent, self.got = window, 0, 0
        self.told, self.error = threading.Event(), None
        self.start()

    def run(self):
        try:
            while not self.told.is_set() or self.got < self.sent:
                while not self.told.is_set() and self.sent - self.got < self.window:
                    self.client.tell(ECHO, b"%d" % self.sent)
                    self.sent += 1
                equal(self.client.packet(), (ECHO, b"%d" % self.got))
                self.got += 1
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error

    def finish(self):
        self.told.set()
        self.join(20 * SLOW)
        if self.error:
            raise self.error
        check(not self.is_alive() and self.got == self.sent, f"{self.got} of {self.sent}")
        self.client.line.drop()


def reload_codec():
    equal(node().reload("codec_obespoir", force=True)["result"], "switched")


@case("five swaps of the codec under encrypted conversations: nothing is lost", timeout=90)
def swaps():
    talks = [Talk(transport, encode) for transport, encode in GRID]
    for _ in range(5):
        before = [talk.got for talk in talks]
        reload_codec()
        eventually(lambda before=before: all(talk.error or talk.got > old + 20
                                             for talk, old in zip(talks, before)), "more answers")
    for talk in talks:
        talk.finish()
    check(sum(talk.got for talk in talks) > 600)


@cases([(transport,) for transport in TRANSPORTS],
       "{0}: a swap in the middle of a handshake, of a packet, and between the two")
def swap_between(transport):
    how_it_is = Seal(TOKEN)
    one = line(transport, 2)
    one.send(how_it_is.hello[:20])
    reload_codec()
    one.send(how_it_is.hello[20:])
    how_it_is.answer(one.read())
    reload_codec()
    wire = how_it_is.seal(ECHO, b"half and half")
    one.send(wire[:9])
    reload_codec()
    one.send(wire[9:])
    equal(how_it_is.open(one.read()), (ECHO, b"half and half"))
    one.drop()


# ---------------------------------------------------------------- configuration

@cases([(1, None, "32 bytes"), (1, "too short", "32 bytes"), (2, "too short", "at least 16 bytes")],
       "encode {0} with the token {1!r} is refused at the start")
def refused(encode, token, words):
    listen = {"transport": "tcp", "codec": "obespoir", "port": free_port(), "encode": encode}
    one = Node("refused", "proxy", websocket=None, rpc=None, http=None, module_dirs=[MODULES],
               modules=["proxy"], listen=[{**listen, "token": token} if token else listen])
    one.launch()
    equal(one.wait(), 2)
    contains(one.log(), words)


@case("what is weak is said in the log, and secrets are not")
def warned():
    log = node().log()
    contains(log, "encode 1 is for old clients only")
    contains(log, "encode 2 without a token")
    check(TOKEN not in log and KEY not in log)


@case("the node takes websocket.encode as listen[].encode")
def websocket():
    port_of_it = free_port()
    one = Node("old", "proxy", rpc=None, module_dirs=[MODULES, EXAMPLES],
               modules=["proxy", {"name": "http_admin", "admin": True}, "echo"],
               websocket={"port": port_of_it, "token": KEY, "encode": 1}).start()
    with Client("ws", port_of_it, Blocks(KEY)) as old:
        equal(old.ask(ECHO, {"user_id": 10}), b'{"user_id": 10}')
    one.stop()


if __name__ == "__main__":
    main(all_ended)
