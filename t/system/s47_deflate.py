#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Compressed WebSocket messages (permessage-deflate, RFC 7692): what is agreed upon, what goes over
the wire, what is refused; and two clients of others' that do it by themselves."""

import asyncio
import json
import os
import re
import ssl
import subprocess
import zlib

from obtest.env import EXAMPLES, MODULES, NODE_JS, SLOW
from obtest.nodes import Node, all_ended, free_port
from obtest.seed import BINARY, CONTINUATION, PING, PONG, Raw, packet, unpack
from obtest.tap import case, cases, check, equal, main, skip
from obtest.temp import temp_dir

ECHO = 30000
MIN = 200
LIMIT = 100000
TEXT = 1
TAIL = b"\0\0\xff\xff"
ALONE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
LONG = json.dumps([{"name": f"player {n % 7}", "x": n % 5} for n in range(400)]).encode()

house = {}


def the_port(name="on", entry=None, **deflate):
    """Of a node whose listener is configured so; one for all cases that ask for it."""
    if name not in house:
        port = free_port()
        entry = {**(entry or {"transport": "ws"}), "port": port}
        if name != "off":
            entry["deflate"] = {"enabled": True, "min": MIN, **deflate}
        node = Node(name, "proxy", rpc=None, websocket=None, listen=[entry],
                    limits={"message": LIMIT}, module_dirs=[MODULES, EXAMPLES],
                    modules=["proxy", {"name": "http_admin", "admin": True},
                             {"name": "echo", "conf": {"id": [ECHO]}}]).start()
        house[name] = (node, port)
    return house[name][1]


def closed(reason):
    return house["on"][0].metric("obhost_client_closed_total", reason=reason) or 0


def pack(data, bits=15):
    tool = zlib.compressobj(6, zlib.DEFLATED, -bits)
    return (tool.compress(data) + tool.flush(zlib.Z_SYNC_FLUSH))[:-len(TAIL)]


class Packed(Raw):
    """Takes compressed messages; `seen` has for each frame whether it was, and its bytes."""

    def __init__(self, port, offer="permessage-deflate", bits=15):
        self.seen, self.rsv1, self.bits = [], None, bits
        super().__init__(port, headers=[f"Sec-WebSocket-Extensions: {offer}"] if offer else [])

    def answer(self):
        found = re.search(r"(?im)^sec-websocket-extensions: *(.*?)\r?$", self.response)
        return found[1] if found else None

    def _cut(self):
        if self.rsv1 is None and self.buffer:
            self.rsv1 = bool(self.buffer[0] & 0x40)
            self.buffer[0] &= 0xbf
        found = super()._cut()
        if found is None:
            return None
        rsv1, self.rsv1 = self.rsv1, None
        opcode, data = found
        self.seen.append((rsv1, len(data)))
        if rsv1:
            check(opcode in (TEXT, BINARY), f"opcode {opcode} is compressed")
            data = zlib.decompressobj(-self.bits).decompress(data + TAIL)
        return opcode, data

    def echo(self, body, message=None):
        if message is None:
            self.send(packet(ECHO, body))
        else:
            message()
        equal(unpack(self.message()), [(ECHO, body)])
        return self.seen[-1]


@cases([
    ("permessage-deflate", ALONE),
    ("permessage-deflate; client_max_window_bits", ALONE),
    ("permessage-deflate; server_max_window_bits=10; server_no_context_takeover",
     ALONE + "; server_max_window_bits=10"),
    ("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=9", ALONE),
    ("permessage-deflate; server_max_window_bits=8, permessage-deflate", ALONE),
    ("permessage-deflate; server_max_window_bits=16", None),
    ("permessage-deflate; server_max_window_bits", None),
    ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
    ("permessage-deflate; mode=fast", None),
    ("permessage-bzip2", None),
    (None, None)], "offered {0}: answered {1}")
def negotiated(offer, answer):
    bits = 10 if offer and "bits=10" in offer else 15
    with Packed(the_port(), offer, bits) as client:
        equal(client.answer(), answer)
        packed, size = client.echo(LONG)
        equal(packed, answer is not None)
        check(size < len(LONG) / 5 if packed else size > len(LONG))


@case("a malformed offer ends the handshake, compression or not")
def malformed():
    for name in ("on", "off"):
        try:
            Packed(the_port(name), "permessage-deflate; server_max_window_bits=").drop()
        except Exception as error:  # pylint: disable=broad-exception-caught
            check("400" in str(error), str(error))
        else:
            check(False, "it was accepted")


@case("not configured: no offer is accepted, and a compressed message is a violation")
def off():
    with Packed(the_port("off")) as client:
        equal(client.answer(), None)
        equal(client.echo(LONG)[0], False)
        client.send(pack(packet(ECHO, LONG)), rsv=4)
        equal(client.close_code(), 1002)


@case("compressed and plain, long and short, each message by itself")
def mixed():
    with Packed(the_port()) as client:
        for body in (LONG, b"[1]", os.urandom(3000), b"x" * (MIN - 1), b"x" * MIN, LONG, b""):
            data = packet(ECHO, body)
            one, _ = client.echo(body)
            two, size = client.echo(body, lambda: client.send(pack(data), rsv=4))
            equal(one, two)
            equal(one, len(body) >= MIN and len(pack(data)) < len(data))
            # the same again takes as much: there is no context
            equal(client.echo(body, lambda: client.send(pack(data), rsv=4)), (two, size))


@case("in fragments, cut anywhere, with pings between them")
def fragments():
    data = pack(packet(ECHO, LONG))
    with Packed(the_port()) as client:
        for step in (1, 7, 100, len(data) - 1):
            parts = [data[at:at + step] for at in range(0, len(data), step)]
            for n, part in enumerate([*parts, b""]):
                client.send(part, CONTINUATION if n else BINARY, fin=n == len(parts),
                            rsv=0 if n else 4)
                if n % 50 == 3 and n < len(parts):
                    client.send(b"there?", PING)
                    equal(client.frame(), (PONG, b"there?"))
            equal(unpack(client.message()), [(ECHO, LONG)])
        # several packets in one message, and one packet in two messages
        client.send(pack(packet(ECHO, b"[1]") + packet(ECHO, b"[2]") + packet(ECHO, LONG)[:99]),
                    rsv=4)
        client.send(pack(packet(ECHO, LONG)[99:]), rsv=4)
        for body in (b"[1]", b"[2]", LONG):
            equal(unpack(client.message()), [(ECHO, body)])


def with_last_block(data):
    tool = zlib.compressobj(6, zlib.DEFLATED, -15)
    return tool.compress(data) + tool.flush(zlib.Z_FINISH) + b"\0"


@case("what other compressors write: stored blocks, a last block, several flushes")
def other_ways():
    data = packet(ECHO, LONG)
    tool = zlib.compressobj(6, zlib.DEFLATED, -15)
    flushed = b"".join(tool.compress(data[at:at + 500]) + tool.flush(zlib.Z_SYNC_FLUSH)
                       for at in range(0, len(data), 500))[:-4]
    stored = zlib.compressobj(0, zlib.DEFLATED, -15)
    with Packed(the_port()) as client:
        for packed in (flushed, with_last_block(data), pack(data, 9),
                       (stored.compress(data) + stored.flush(zlib.Z_SYNC_FLUSH))[:-4]):
            client.send(packed, rsv=4)
            equal(unpack(client.message()), [(ECHO, LONG)])


VIOLATIONS = [
    ("a reserved bit on a continuation", 1002, "bad_frame",
     lambda c: (c.send(pack(b"x" * 99), fin=False, rsv=4), c.send(b"", CONTINUATION, rsv=4))),
    ("a reserved bit on a ping", 1002, "bad_frame", lambda c: c.send(b"", PING, rsv=4)),
    ("the second reserved bit", 1002, "bad_frame", lambda c: c.send(b"", rsv=2)),
    ("all reserved bits", 1002, "bad_frame", lambda c: c.send(b"", rsv=7)),
    ("data that is none", 1007, "bad_deflate", lambda c: c.send(b"\xff\xff\xff\xff", rsv=4)),
    ("nothing at all", 1007, "bad_deflate", lambda c: c.send(b"", rsv=4)),
    ("a message that is cut off", 1007, "bad_deflate",
     lambda c: c.send(pack(packet(ECHO, LONG))[:-20], rsv=4)),
    ("a text that is not UTF-8", 1007, "bad_frame",
     lambda c: c.send(pack(b"\xff\xfe"), TEXT, rsv=4)),
    ("a few bytes that would be a lot", 1009, "too_big",
     lambda c: c.send(pack(b"\0" * (64 << 20)), rsv=4)),
    ("more than the limit by a little", 1009, "too_big",
     lambda c: c.send(pack(b"\0" * (LIMIT + 100)), rsv=4)),
    ("more than the limit, compressed", 1009, "too_big",
     lambda c: c.send(os.urandom(LIMIT + 100), rsv=4)),
]


@cases(VIOLATIONS, "{0}: closed with {1}, counted as {2}")
def violation(_title, code, word, send):
    port = the_port()
    before = closed(word)
    with Packed(port) as client, Packed(port) as other:
        send(client)
        equal(client.close_code(), code)
        equal(closed(word), before + 1)
        other.echo(LONG)  # nobody else notices


@case("a lot in a few bytes costs no more than the limit")
def bomb():
    port = the_port()
    node = house["on"][0]
    data = pack(b"\0" * (64 << 20))
    with Packed(port) as client:
        client.echo(LONG)
        before = node.cpu_seconds()
        client.send(data, rsv=4)
        equal(client.close_code(), 1009)
    check(node.cpu_seconds() - before < 0.5 * SLOW)


@case("without memory to compress, messages go as they are")
def no_memory():
    with Packed(the_port("little", memory=1000)) as client:
        equal(client.answer(), ALONE)
        equal(client.echo(LONG)[0], False)
        equal(client.echo(LONG, lambda: client.send(pack(packet(ECHO, LONG)), rsv=4))[0], False)


async def talk(uri, **more):
    """With python-websockets, which compresses by itself."""
    try:
        import websockets  # pylint: disable=import-outside-toplevel
    except ImportError:
        skip("no python3-websockets")
    async with websockets.connect(uri, **more) as ws:
        equal([e.name for e in ws.extensions], ["permessage-deflate"])
        for body in (LONG, b"[1]", os.urandom(5000), LONG, LONG + LONG):
            await ws.send(packet(ECHO, body))
            equal(unpack(await asyncio.wait_for(ws.recv(), 10 * SLOW)), [(ECHO, body)])
        data = packet(ECHO, LONG)
        await ws.send([data[:4], data[4:900], data[900:]])
        equal(unpack(await asyncio.wait_for(ws.recv(), 10 * SLOW)), [(ECHO, LONG)])
    equal(ws.close_code, 1000)


@case("python-websockets, as it is, compresses with us")
async def python_client():
    await talk(f"ws://127.0.0.1:{the_port()}/")


# ---------------------------------------------------------------- over TLS

def certificate():
    """Of the authority that has signed it: itself."""
    if "tls" not in house:
        place = temp_dir("certificate")
        tls = {"cert": str(place / "node.crt"), "key": str(place / "node.key")}
        run = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days",
             "30", "-keyout", tls["key"], "-out", tls["cert"]], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        equal(run.returncode, 0, run.stdout)
        house["tls"] = tls
    return house["tls"]


def trusting():
    return ssl.create_default_context(cafile=certificate()["cert"])


def the_secure_port(transport):
    return the_port(transport.replace("+", "_"),
                    entry={"transport": transport, "tls": certificate()})


class PackedSecure(Packed):
    def _shake_hands(self, port, path, headers):
        self.socket = trusting().wrap_socket(self.socket, server_hostname="127.0.0.1")
        return super()._shake_hands(port, path, headers)


SECURE = [("wss",), ("tls+wss",)]


@cases(SECURE, "over {0}: python-websockets, as it is, compresses with us")
async def python_client_secure(transport):
    await talk(f"wss://127.0.0.1:{the_secure_port(transport)}/", ssl=trusting())


@cases(SECURE, "over {0}: agreed upon, compressed and plain, in fragments, refused")
def secure(transport):
    port = the_secure_port(transport)
    with PackedSecure(port) as client:
        equal(client.answer(), ALONE)
        for body in (LONG, b"[1]", os.urandom(3000), b"x" * MIN):
            data = packet(ECHO, body)
            one = client.echo(body)
            equal(client.echo(body, lambda: client.send(pack(data), rsv=4)), one)
            equal(one[0], len(body) >= MIN and len(pack(data)) < len(data))
        data = pack(packet(ECHO, LONG))
        client.send(data[:50], fin=False, rsv=4)
        client.send(data[50:], CONTINUATION)
        equal(unpack(client.message()), [(ECHO, LONG)])
        client.send(pack(b"\0" * (64 << 20)), rsv=4)
        equal(client.close_code(), 1009)
    with PackedSecure(port, None) as client:
        equal(client.answer(), None)
        equal(client.echo(LONG)[0], False)
        client.send(pack(packet(ECHO, LONG)), rsv=4)
        equal(client.close_code(), 1002)


@case("the npm package ws, as it is, compresses with us")
def npm_client():
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ws_client.js")
    try:
        done = subprocess.run(
            [NODE_JS, script, str(the_port()), str(ECHO), LONG.decode(), str(ECHO), "[1]",
             str(ECHO), LONG.decode()], capture_output=True, text=True, timeout=60 * SLOW,
            check=False, env={**os.environ, "OB_WS_EXTENSIONS": "permessage-deflate"})
    except (FileNotFoundError, PermissionError):
        skip("no node")
    if done.returncode == 3:
        skip("no npm package ws")
    equal(done.returncode, 0, done.stderr)
    equal([json.loads(line.partition(" ")[2]) for line in done.stdout.splitlines()],
          [json.loads(LONG), [1], json.loads(LONG)])


if __name__ == "__main__":
    main(all_ended)
