#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""WebSocket as RFC 6455 has it, section by section: the rows of obtest/wsconf_*.py against a node,
each a case of its own. Then what no row can say: bounds of memory and time."""

import select
import time

from obtest import wsconf, wsconf_close, wsconf_frames, wsconf_opening, wsconf_text
from obtest.env import MODULES, SLOW
from obtest.nodes import Node, all_ended, free_port
from obtest.plugin import PluginDir
from obtest.tap import case, cases, check, equal, main
from obtest.wsconf import BINARY, PONG, Server, Wire, frame, ping, request

# A WebSocket message is a message here, and comes back as it went in; "!kick CODE REASON" closes.
WHOLE = r"""
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#define ECHO 30000
#define KICK 30001

static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	if (len > max) {
		out->kind = OB_PACKET_CLOSE;
		out->code = 1009;
		out->reason = "too long";
		return 0;
	}
	if (!boundary) {
		out->kind = OB_PACKET_NEED;
		out->need = len + 1;
		return 0;
	}
	out->kind = OB_PACKET_MESSAGE;
	out->id = len > 6 && memcmp(data, "!kick ", 6) == 0 ? KICK : ECHO;
	out->data = data;
	out->len = len;
	return len;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	if (packet->len > 0) {
		memcpy(out, packet->data, packet->len);
	}
	return packet->len;
}

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	if (ob_req_view(ctx, req, &view) == 0) {
		ob_reply(ctx, req, view.data, view.len);
	}
}

static void kick(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	char text[512] = "";

	if (ob_req_view(ctx, req, &view) != 0 || view.len >= sizeof(text)) {
		return;
	}
	memcpy(text, view.data, view.len);

	char *reason;
	unsigned long code = strtoul(text + 6, &reason, 10);
	if (ob_session_close(ctx, view.session, (uint16_t)code, reason + 1) == 0) {
		ob_done(ctx, req);
	} else {
		ob_reply(ctx, req, "refused", 7);
	}
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_codec codec = {
		.size = sizeof(codec),
		.state_ver = 1,
		.flags = IS_TEXT ? OB_CODEC_TEXT : 0,
		.name = IS_TEXT ? "text" : "binary",
		.decode = decode,
		.encode = encode,
	};
	int rc = ob_on_codec(ctx, &codec);

	if (!IS_TEXT) {
		rc = rc == 0 ? ob_on_id(ctx, ECHO, echo) : rc;
		rc = rc == 0 ? ob_on_id(ctx, KICK, kick) : rc;
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

TABLES = (wsconf_opening, wsconf_frames, wsconf_text, wsconf_close)
ROWS = [row for table in TABLES for row in table.CASES]
MIB = 1 << 20
LARGE = 16 * MIB

house = {}


def start(name, message):
    """A node whose listeners take messages of so many bytes; it and its Server."""
    plugins = PluginDir()
    plugins.build("codec_binary", WHOLE, IS_TEXT=0)
    plugins.build("codec_text", WHOLE, IS_TEXT=1)
    ports = {"binary": free_port(), "text": free_port()}
    node = Node(name, "proxy", rpc=None, websocket=None, module_dirs=[str(plugins), MODULES],
                limits={"message": message},
                modules=["proxy", {"name": "http_admin", "admin": True}],
                listen=[{"transport": "ws", "codec": codec, "port": port}
                        for codec, port in ports.items()]).start()
    return node, Server(ports)


def server():
    if not house:
        house["server"] = None  # until it runs
        _, house["server"] = start("conformance", wsconf.LIMIT)
    check(house["server"], "the node did not start")
    return house["server"]


def send_until_blocked(sock, data, most):
    """Sends `data` over and over until for a while nothing is taken; how many bytes were."""
    sock.setblocking(False)
    sent = 0
    while sent < most and select.select([], [sock], [], 1.0 * SLOW)[1]:
        sent += sock.send(data[sent % 131:])
    return sent


@case(f"the tables have {len(ROWS)} cases, no two of one name")
def count():
    names = [str(row) for row in ROWS]
    equal(sorted({name for name in names if names.count(name) > 1}), [])
    check(len(ROWS) >= 250)


@cases([(row,) for row in ROWS], "{0}")
def conforms(row):
    wsconf.run(row, server())


@case("pings whose pongs are not read are read no further than the queue goes")
def pings_unread():
    flood = ping(b"x" * 125) * 2000
    with Wire(server().ports["binary"]) as wire:
        wire.send(request())
        wire.head()
        sent = send_until_blocked(wire.socket, flood, 256 * MIB)
        check(sent < 64 * MIB, f"{sent} bytes of pings were taken")
        wire.until = time.monotonic() + 60 * SLOW
        wire.socket.setblocking(True)
        wire.send(flood[sent % 131:131] + frame(b"and on"))
        for _ in range(sent // 131 + 1):
            equal(wire.frame(), (PONG, b"x" * 125))
        equal(wire.frame(), (BINARY, b"and on"))


@case("a message that comes in five thousand segments costs no more than its bytes")
def many_segments():
    node, large = start("large", LARGE)
    data = b"x" * LARGE
    sent = frame(data)
    before = node.cpu_seconds()
    with Wire(large.ports["binary"]) as wire:
        wire.send(request())
        wire.head()
        for at in range(0, len(sent), LARGE // 5000):
            wire.send(sent[at:at + LARGE // 5000])
            large.read_it("binary")
        wire.until = time.monotonic() + 20 * SLOW
        check(wire.frame() == (BINARY, data), "it came back as something else")
    took = node.cpu_seconds() - before
    check(took < 2 * SLOW, f"{took} s of CPU")
    large.shut()
    node.stop()


if __name__ == "__main__":
    main(all_ended)
