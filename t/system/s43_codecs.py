#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Codecs of modules, as clients see them: what a codec does by itself besides messages, over every
transport and over reloads of its module."""

import asyncio
import json
import socket

from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import TOKEN, Node, free_port, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import TEXT, Closed, Raw
from obtest.tap import case, cases, check, contains, equal, eventually, main, skip

ADMIN = {"name": "http_admin", "admin": True}

# Lines. Who connects must say the listener's token first and is welcomed; "ping" is answered, and the
# node ticks. A wrong token is a violation of its own kind.
PULSE = r"""
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

struct state {
	char token[32];
	unsigned ticks;
	int known;
};

static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary,
		     size_t max, ob_packet *out)
{
	struct state *s = state;
	uint8_t *nl = memchr(data, '\n', len);
	size_t line = nl ? (size_t)(nl - data) : 0;

	if (!nl) {
		out->kind = len < max ? OB_PACKET_NEED : OB_PACKET_CLOSE;
		out->need = len + 1;
		return 0;
	}
	if (!s->known && (line != strlen(s->token) || memcmp(data, s->token, line) != 0)) {
		out->kind = OB_PACKET_CLOSE;
		out->code = 4401;
		out->reason = "wrong token";
		out->kind_word = "wrong_token";
		return 0;
	}
	out->kind = OB_PACKET_ANSWER;
	if (!s->known) {
		s->known = 1;
		out->data = (const uint8_t *)"welcome\n";
		out->len = 8;
		out->idle_ms = 20000;
		out->wake_ms = 100;
	} else if (line == 4 && memcmp(data, "ping", 4) == 0) {
		out->data = (const uint8_t *)"pong\n";
		out->len = 5;
	} else {
		out->kind = OB_PACKET_MESSAGE;
		out->id = 30000;
		out->data = data;
		out->len = line;
	}
	return line + 1;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *p, uint8_t *out, size_t cap)
{
	return (size_t)snprintf((char *)out, cap, "%.*s\n", (int)p->len, (const char *)p->data);
}

static int opens(ob_ctx *ctx, void *state, const ob_codec_open *info)
{
	struct state *s = state;

	snprintf(s->token, sizeof(s->token), "%s", info->token);
	return 0;
}

static size_t closes(ob_ctx *ctx, void *state, uint16_t code, const char *reason, uint8_t *out,
		     size_t cap)
{
	return (size_t)snprintf((char *)out, cap, "bye %u %s\n", code, reason);
}

static size_t wakes(ob_ctx *ctx, void *state, ob_packet *out)
{
	static char text[32];
	struct state *s = state;

	out->kind = OB_PACKET_ANSWER;
	out->data = (const uint8_t *)text;
	out->len = (size_t)snprintf(text, sizeof(text), "tick %u v%d\n", ++s->ticks, V);
	out->wake_ms = 100;
	return 0;
}

static int check(ob_ctx *ctx, const ob_codec_open *info, ob_err *err)
{
	return info->token ? 0 : ob_err_set(err, "the codec pulse needs a token");
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_codec pulse = {
		.size = sizeof(pulse), .state_size = sizeof(struct state), .state_ver = 1,
		.flags = OB_CODEC_STREAM | OB_CODEC_TEXT, .overhead = 1, .name = "pulse",
		.decode = decode, .encode = encode, .open = opens, .close = closes, .wake = wakes,
		.conf_check = check,
	};

	return ob_on_codec(ctx, &pulse);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

house = {}


def pulse():
    """A node that speaks it over tcp and WebSocket; its ports, and the module's folder."""
    if not house:
        plugins = house["plugins"] = PluginDir()
        plugins.build("codec_pulse", PULSE, V=1)
        house["tcp"], house["ws"] = free_port(), free_port()
        listen = [{"transport": word, "codec": "pulse", "port": house[word], "token": "sesame"}
                  for word in ("tcp", "ws")]
        house["node"] = Node("pulse", "proxy", websocket=None, rpc=None, listen=listen,
                             module_dirs=[str(plugins), MODULES, EXAMPLES],
                             modules=["proxy", ADMIN, "echo"]).start()
    return house["node"]


class Lines:
    """A connection that speaks in lines, or in text messages of WebSocket."""

    def __init__(self, port, ws):
        self.raw = Raw(port) if ws else None
        self.socket = self.raw.socket if ws else socket.create_connection(("127.0.0.1", port),
                                                                         10 * SLOW)
        self.file = None if ws else self.socket.makefile("rb")

    def say(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        if self.raw:
            self.raw.send(data + b"\n", TEXT)
        else:
            self.socket.sendall(data + b"\n")

    def line(self):
        """The next one; "" at the end. A close frame raises Closed."""
        if not self.raw:
            return self.file.readline().decode().rstrip("\n")
        opcode, data = self.raw.frame()
        if opcode == TEXT:
            return data.decode().rstrip("\n")
        self.raw._closed(data)  # pylint: disable=protected-access
        return ""

    def ends(self):
        """The code of the close frame; None without WebSocket."""
        try:
            equal(self.line(), "")
        except Closed as closed:
            self.socket.close()
            return closed.code
        self.socket.close()
        return None


TRANSPORTS = [("tcp",), ("ws",)]


@cases(TRANSPORTS, "{0}: a codec greets, answers, and ticks by itself, on over a reload")
def ticking(transport):
    node = pulse()
    house["plugins"].build("codec_pulse", PULSE, V=1)
    node.http("POST", "/modules/reload", {"name": "codec_pulse"})
    line = Lines(house[transport], transport == "ws")
    line.say("sesame")
    equal(line.line(), "welcome")
    equal(line.line(), "tick 1 v1")
    house["plugins"].build("codec_pulse", PULSE, V=2)
    equal(node.http("POST", "/modules/reload", {"name": "codec_pulse"}).status, 200)
    line.say("ping")
    line.say('{"a": 1}')
    seen = []
    while not (seen and seen[-1].endswith("v2") and "pong" in seen and '{"a": 1}' in seen):
        check(len(seen) < 100, seen)
        seen.append(line.line())
    ticks = [text for text in seen if text.startswith("tick")]
    equal([int(text.split()[1]) for text in ticks], list(range(2, 2 + len(ticks))))
    line.socket.close()


@cases(TRANSPORTS, "{0}: what a codec finds wrong is counted by its word, and told before the end")
def wrong_token(transport):
    node = pulse()
    before = node.metric("obhost_client_closed_total", reason="wrong_token") or 0
    line = Lines(house[transport], transport == "ws")
    line.say("open")
    equal(line.line(), "bye 4401 wrong token")
    equal(line.ends(), 4401 if transport == "ws" else None)
    equal(node.metric("obhost_client_closed_total", reason="wrong_token"), before + 1)


@case("a listener that its codec does not take is refused at the start, with the codec's reason")
def refused():
    pulse()
    listen = [{"transport": "tcp", "codec": "pulse", "port": free_port()}]
    node = Node("mute", "proxy", websocket=None, rpc=None, http=None, listen=listen,
                module_dirs=[str(house["plugins"]), MODULES], modules=["proxy"])
    node.launch()
    equal(node.wait(), 2)
    contains(node.log(), "the codec pulse needs a token")


# ---------------------------------------------------------------- json

# On the role chat: what it gets by name and by id it says again; a word of the client's makes it
# push, close, or answer what is no JSON.
CHAT = r"""
#include <string.h>

#include <obhost/obhost.h>

static void say(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	ob_req_view(ctx, req, &v);
	if (v.len == 6 && memcmp(v.data, "\"push\"", 6) == 0) {
		ob_push_name(ctx, v.session, "chat.heard", "{\"n\": [1,\n2]}", 13);
	} else if (v.len == 6 && memcmp(v.data, "\"kick\"", 6) == 0) {
		ob_session_close(ctx, v.session, 4003, "out \"now\"");
	} else if (v.len == 8 && memcmp(v.data, "\"binary\"", 8) == 0) {
		ob_reply(ctx, req, "\x01\x02", 2);
		return;
	}
	ob_reply(ctx, req, v.data, v.len);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_name(ctx, "chat.say", say, OB_FROM_LINK);

	return rc != 0 ? rc : ob_on_id(ctx, 2000, say);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

rooms = {}


def chat():
    """A proxy whose clients speak json over tcp and WebSocket, and a node of the role chat."""
    if not rooms:
        plugins = PluginDir()
        plugins.build("chat", CHAT)
        service = rooms["service"] = Node(
            "chat", "chat", modules=["service", "chat", ADMIN],
            module_dirs=[str(plugins), MODULES])
        rooms["tcp"], rooms["ws"] = free_port(), free_port()
        listen = [{"transport": word, "codec": "json", "port": rooms[word]}
                  for word in ("tcp", "ws")]
        proxy = rooms["proxy"] = Node(
            "gate", "gate", listen=listen, modules=["proxy", ADMIN],
            limits={"message": 65536}, names={"chat.by_id": 2000},
            rpc={"route": {"special": {"chat": [2000]}}},
            remote_ports=[{"host": "127.0.0.1", "port": service.rpc_port, "token": TOKEN,
                           "type": "chat"}])
        service.start()
        proxy.start()
        wait_linked((proxy, service))
    return rooms["proxy"]


def json_line(transport):
    chat()
    return Lines(rooms[transport], transport == "ws")


def ask(line, **message):
    line.say(json.dumps(message))
    return json.loads(line.line())


@cases(TRANSPORTS, "{0}: requests by id and by name, their answers, pushes, pings")
def json_messages(transport):
    line = json_line(transport)
    equal(ask(line, id=2000, seq=7, data={"a": [1, "\u00e9"]}),
          {"id": 2000, "name": "chat.by_id", "seq": 7, "code": 200, "data": {"a": [1, "\u00e9"]}})
    answer = ask(line, name="chat.say", seq=8, data="x")
    equal((answer["seq"], answer["code"], answer["data"]), (8, 200, "x"))
    check(answer["id"] >= 1 << 30, answer)
    answer = ask(line, id=4711, seq=9)
    equal((answer["code"], answer["data"]["code"], answer["seq"]), (404, 404, 9))
    equal(ask(line, id=2000, data="binary")["code"], 500)
    pushed = ask(line, name="chat.say", data="push")
    equal((pushed["name"], pushed["data"]), ("chat.heard", {"n": [1, 2]}))
    equal(json.loads(line.line())["data"], "push")
    equal(ask(line, ping=12), {"pong": 12})
    line.say('{"id":2000,"data":  1.50 ,"seq":1}')
    contains(line.line(), '"data":1.50}')
    line.socket.close()


@cases(TRANSPORTS, "{0}: a client that is kicked hears why first")
def json_kick(transport):
    line = json_line(transport)
    equal(ask(line, id=2000, seq=1, data="kick"), {"close": 4003, "reason": 'out "now"'})
    equal(line.ends(), 4003 if transport == "ws" else None)


BAD = [
    ("bad_json", "hello", 1007),
    ("bad_json", '{"id":1', 1007),
    ("bad_json", '["id"]', 1007),
    ("bad_text", b'{"id":1,"data":"\xff"}', 1007),
    ("too_deep", '{"id":1,"data":' + "[" * 40 + "]" * 40 + "}", 1008),
    ("bad_message", '{"data":1}', 1002),
    ("bad_message", '{"id":1,"id":2}', 1002),
    ("bad_id", '{"id":2147483648}', 1002),
    ("bad_id", '{"id":"1"}', 1002),
    ("bad_name", '{"name":""}', 1002),
    ("bad_seq", '{"id":1,"seq":-1}', 1002),
    ("too_big", '{"id":1,"data":"' + "x" * 70000 + '"}', 1009),
]


@cases([(transport, *row) for (transport,) in TRANSPORTS for row in BAD],
       "{0}: {1} closes the client, with the code and counted under that word")
def json_refused(transport, word, text, code):
    node = chat()
    line = json_line(transport)
    by_frame = transport == "ws" and word in ("bad_text", "too_big")  # WebSocket itself finds it
    counted = {"bad_text": "bad_frame"}.get(word, word) if by_frame else word
    before = node.metric("obhost_client_closed_total", reason=counted) or 0
    try:
        line.say(text)
        said = json.loads(line.line())
        equal(said["close"], code)
        check(said["reason"], said)
        equal(line.ends(), code if transport == "ws" else None)
    except (ConnectionResetError, BrokenPipeError):
        equal((transport, word), ("tcp", "too_big"))  # it was still talking
    eventually(lambda: node.metric("obhost_client_closed_total", reason=counted) == before + 1,
               "counted")


@case("python3-websockets: requests, a push, a ping of its own, a close")
def json_websockets():
    try:
        import websockets  # pylint: disable=import-outside-toplevel
    except ImportError:
        skip("no python3-websockets")
    chat()

    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{rooms['ws']}/", compression=None) as ws:
            await (await ws.ping())
            for n in range(100):
                await ws.send(json.dumps({"id": 2000, "seq": n, "data": n}))
            for n in range(100):
                answer = json.loads(await ws.recv())
                equal((answer["seq"], answer["code"], answer["data"]), (n, 200, n))
            await ws.send('{"name":"chat.say","data":"push"}')
            equal(json.loads(await ws.recv())["name"], "chat.heard")
            await ws.recv()
            await ws.send('{"id":2000,"data":"kick"}')
            equal(json.loads(await ws.recv())["close"], 4003)
            try:
                await ws.recv()
            except websockets.ConnectionClosed as closed:
                equal((closed.rcvd.code, closed.rcvd.reason), (4003, 'out "now"'))
                return
            check(False, "it is still open")

    asyncio.run(asyncio.wait_for(talk(), 20 * SLOW))


main()
