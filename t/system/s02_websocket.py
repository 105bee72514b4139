#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""WebSocket, RFC 6455, as clients of this world and of others speak it: frames, fragments, control
frames, close codes, limits, and packets that do not care where messages end."""

import asyncio
import os
import struct

from obtest.nodes import Node, all_ended, http_request
from obtest.seed import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, Closed, Raw, frame,
                         packet, unpack)
from obtest.tap import case, cases, check, contains, equal, eventually, main, skip

LIMIT = 1 << 20
ECHO = 30000

node = None


def the_node():
    global node  # pylint: disable=global-statement
    if node is None:
        node = Node("ws", "proxy", rpc=None, modules=[
            "proxy", {"name": "http_admin", "admin": True}, "echo"],
            limits={"message": LIMIT}).start()
    return node


def connect(**more):
    return Client(the_node().ws_port, **more)


def closed_metric(reason):
    return the_node().metric("obhost_client_closed_total", reason=reason)


# ---------------------------------------------------------------- the handshake

@cases([("/",), ("/game",), ("/a/b/c?x=1&y=%20",), ("//",)], "the path {0} is taken")
def any_path(path):
    with connect(path=path) as client:
        equal(client.ask(ECHO, {"a": 1}), {"a": 1})


@case("any Origin is taken")
def any_origin():
    with connect(headers=["Origin: https://game.example"]) as client:
        equal(client.ask(ECHO, [1]), [1])


@case("an offer of permessage-deflate or of a subprotocol is not taken up")
def no_extension():
    with connect(headers=["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
                          "Sec-WebSocket-Protocol: chat, superchat"]) as client:
        head = client.response.lower()
        check("sec-websocket-extensions" not in head, head)
        check("sec-websocket-protocol" not in head, head)
        equal(client.ask(ECHO, "x"), "x")


@cases([
    ({"Connection": None, "Upgrade": None}, 426, "a plain GET is told to upgrade"),
    ({"Connection": None}, 400, "an upgrade without its Connection is refused"),
    ({"Sec-WebSocket-Version": "8"}, 426, "another version is told which one it is"),
    ({"Sec-WebSocket-Key": None}, 400, "a handshake without a key is refused"),
    ({"Sec-WebSocket-Key": "dG9vIHNob3J0"}, 400, "a key that is not 16 bytes is refused"),
], "{2}")
def bad_handshake(change, status, _title):
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **change}
    answer = http_request(the_node().ws_port, "GET", "/", headers=headers)
    equal(answer.status, status)
    if "Sec-WebSocket-Version" in change:
        equal(answer.headers["Sec-WebSocket-Version"], "13")


# ---------------------------------------------------------------- messages

@cases([(0,), (1,), (113,), (114,), (125,), (126,), (65523,), (65524,), (65535,), (65536,),
        (LIMIT - 12,)], "{0} bytes of payload come back")
def sizes(length):
    body = os.urandom(length)
    with connect() as client:
        client.tell(ECHO, body)
        equal(client.packet(), (ECHO, body))


@case("what a node sends is one packet in one binary message")
def one_packet_per_message():
    with connect() as client:
        client.send(packet(ECHO, b"one") + packet(ECHO, b"two"))
        for body in (b"one", b"two"):
            opcode, data = client.frame()
            equal((opcode, unpack(data)), (BINARY, [(ECHO, body)]))


@cases([(1,), (2,), (3,), (7,), (40,)], "a message in fragments of {0} bytes")
def fragments(size):
    data = packet(ECHO, b"fragmented into pieces, all of them")
    pieces = [data[at:at + size] for at in range(0, len(data), size)]
    with connect() as client:
        for number, piece in enumerate(pieces):
            client.send(piece, CONTINUATION if number else BINARY, number == len(pieces) - 1)
        equal(client.packet(), (ECHO, data[12:]))


@case("control frames may stand between fragments, empty fragments among them")
def control_between():
    data = packet(ECHO, b"in between")
    with connect() as client:
        client.send(data[:5], BINARY, False)
        client.send(b"here?", PING)
        client.send(b"", CONTINUATION, False)
        client.send(b"unasked", PONG)
        client.send(data[5:], CONTINUATION, False)
        client.send(b"", CONTINUATION, True)
        equal(client.frame(), (PONG, b"here?"))
        equal(client.packet(), (ECHO, b"in between"))


@cases([(1,), (5,), (11,), (12,), (13,), (30,)],
       "a packet spread over several messages of {0} bytes")
def packet_over_messages(size):
    data = packet(ECHO, b"spread over messages, each of them whole")
    with connect() as client:
        for at in range(0, len(data), size):
            client.send(data[at:at + size])
        equal(client.packet(), (ECHO, data[12:]))


@case("several packets in one message, the last one going on in the next")
def packets_in_message():
    all_of_it = b"".join(packet(ECHO, b"number %d" % n) for n in range(50))
    with connect() as client:
        client.send(all_of_it[:777])
        client.send(all_of_it[777:])
        for n in range(50):
            equal(client.packet(), (ECHO, b"number %d" % n))


@case("a connection whose bytes come one at a time")
def bytewise():
    data = frame(packet(ECHO, b"drop by drop"), mask=b"\x01\x02\x03\x04")
    with connect() as client:
        for at in range(len(data)):
            client.send_bytes(data[at:at + 1])
        equal(client.packet(), (ECHO, b"drop by drop"))


@case("a thousand frames in one write")
def many_frames():
    data = b"".join(frame(packet(ECHO, b"%d" % n), mask=os.urandom(4)) for n in range(1000))
    with connect() as client:
        client.send_bytes(data)
        for n in range(1000):
            equal(client.packet(), (ECHO, b"%d" % n))


@case("text messages are taken when they are UTF-8")
def text():
    body = "grüße, 你好".encode()
    with connect() as client:
        client.send(packet(ECHO, body), TEXT)
        equal(client.packet(), (ECHO, body))


@case("a text message may break inside a character from one fragment to the next")
def text_fragments():
    body = "你好".encode()
    data = packet(ECHO, body)
    with connect() as client:
        client.send(data[:13], TEXT, False)
        client.send(data[13:], CONTINUATION, True)
        equal(client.packet(), (ECHO, body))


# ---------------------------------------------------------------- control frames

@cases([(b"",), (b"x",), (b"\x00\xff" * 62,)], "a ping with {0!r:.20} comes back as a pong")
def ping(data):
    with connect() as client:
        client.send(data, PING)
        equal(client.frame(), (PONG, data))


@case("a pong nobody asked for changes nothing")
def pong():
    with connect() as client:
        client.send(b"well", PONG)
        equal(client.ask(ECHO, 1), 1)


CLOSES = [
    (b"", 1005, "a close without a code"),
    (struct.pack(">H", 1000), 1000, "a normal close"),
    (struct.pack(">H", 1001) + b"bye", 1001, "a close with a reason"),
    (struct.pack(">H", 3000), 3000, "a library's code"),
    (struct.pack(">H", 4999), 4999, "an application's code"),
    (b"\x03", 1002, "a close with half a code"),
    (struct.pack(">H", 999), 1002, "a code below 1000"),
    (struct.pack(">H", 1004), 1002, "code 1004"),
    (struct.pack(">H", 1005), 1002, "code 1005, which must not be sent"),
    (struct.pack(">H", 1006), 1002, "code 1006, which must not be sent"),
    (struct.pack(">H", 1015), 1002, "code 1015, which must not be sent"),
    (struct.pack(">H", 2999), 1002, "a code of nobody"),
    (struct.pack(">H", 5000), 1002, "a code above 4999"),
    (struct.pack(">H", 1000) + b"\xff", 1007, "a reason that is not UTF-8"),
]


@cases(CLOSES, "{2} is answered with {1}")
def closes(payload, code, _title):
    with connect() as client:
        client.send(payload, CLOSE)
        equal(client.close_code(), code)


@case("what was asked before a close is still answered")
def close_after_request():
    with connect() as client:
        client.send_bytes(frame(packet(ECHO, b"last words")) + frame(b"\x03\xe8", CLOSE))
        equal(client.packet(), (ECHO, b"last words"))
        equal(client.close_code(), 1000)


# ---------------------------------------------------------------- what is refused

BROKEN = [
    (frame(b"x", mask=None), 1002, "an unmasked frame"),
    (frame(packet(ECHO), rsv=4), 1002, "RSV1, as a compressed message has it"),
    (frame(packet(ECHO), rsv=2), 1002, "RSV2"),
    (frame(packet(ECHO), rsv=1), 1002, "RSV3"),
    (frame(b"", 3), 1002, "opcode 3"),
    (frame(b"", 7), 1002, "opcode 7"),
    (frame(b"", 11), 1002, "opcode 11"),
    (frame(b"", 15), 1002, "opcode 15"),
    (frame(b"x", CONTINUATION), 1002, "a continuation of nothing"),
    (frame(b"x", BINARY, False) + frame(b"y", BINARY), 1002, "a message inside a message"),
    (frame(b"", PING, False), 1002, "a fragmented ping"),
    (frame(b"", CLOSE, False), 1002, "a fragmented close"),
    (frame(b"x" * 126, PING), 1002, "a ping of 126 bytes"),
    (frame(b"\x03\xe8" + b"x" * 124, CLOSE), 1002, "a close of 126 bytes"),
    (b"\x82\xff" + b"\x80" + b"\0" * 7 + b"\0" * 4, 1002, "a length with its top bit set"),
    (b"\x82\xff" + struct.pack(">Q", 1 << 40) + b"\0" * 4, 1009, "a frame of a terabyte"),
    (b"\x82\xff" + struct.pack(">Q", LIMIT + 4096) + b"\0" * 4, 1009, "a frame over the limit"),
    (frame(b"\xff", TEXT), 1007, "text that is not UTF-8"),
    (frame(b"\xc3", TEXT), 1007, "text that ends inside a character"),
    (frame(b"\xc3", TEXT, False) + frame(b"\x28", CONTINUATION), 1007,
     "text that goes wrong in its second fragment"),
    (frame(b"\xed\xa0\x80", TEXT), 1007, "text with a surrogate"),
    (frame(b"\xf4\x90\x80\x80", TEXT), 1007, "text beyond the last character"),
    (frame(packet(0x80, b"x"), TEXT), 1007, "a header in text that is not UTF-8"),
    (frame(packet(ECHO, b"", length=11)), 1002, "a packet of length 11"),
    (frame(packet(ECHO, b"", length=0)), 1002, "a packet of length 0"),
    (frame(packet(ECHO, b"", length=-1)), 1002, "a packet of length -1"),
    (frame(packet(ECHO, b"", length=-2**31)), 1002, "a packet of length -2^31"),
    (frame(packet(ECHO, b"", length=LIMIT + 1)), 1009, "a packet over the limit"),
    (frame(packet(ECHO, b"", length=2**31 - 1)), 1009, "a packet of length 2^31-1"),
    (frame(struct.pack("<i", 5)), 1002, "a wrong length, when only the length has come"),
    (frame(struct.pack("<i", 2**31 - 1)), 1009, "a huge length, when only the length has come"),
]


@cases(BROKEN, "{2} closes the client with {1}")
def broken(data, code, _title):
    with connect() as client:
        client.send_bytes(data)
        equal(client.close_code(), code)


@case("what stood before something wrong is answered, what stands behind is not")
def before_and_behind():
    with connect() as client:
        client.send(packet(ECHO, b"good") + packet(ECHO, length=3) + packet(ECHO, b"behind"))
        equal(client.packet(), (ECHO, b"good"))
        equal(client.close_code(), 1002)


@cases([(packet(ECHO, length=3), "bad_packet"), (packet(ECHO, length=LIMIT + 1), "too_big")],
       "it is counted as {1}")
def counted(data, reason):
    before = closed_metric(reason)
    with connect() as client:
        client.send(data)
        client.close_code()
    eventually(lambda: closed_metric(reason) == before + 1, "the count")


@case("half a frame and half a handshake, and the client is gone")
def half_of_it():
    client = connect()
    client.send_bytes(frame(packet(ECHO, b"never"))[:7])
    client.drop()
    other = Raw(the_node().ws_port)
    other.socket.close()
    with connect() as client:
        equal(client.ask(ECHO, 5), 5)


# ---------------------------------------------------------------- somebody else's client

def library():
    try:
        import websockets  # pylint: disable=import-outside-toplevel
    except ImportError:
        skip("no python3-websockets")
    return websockets


@case("python-websockets: fragments, pings and a close, with the deflate it offers by itself")
async def somebody_else():
    websockets = library()
    async with websockets.connect(f"ws://127.0.0.1:{the_node().ws_port}/game") as ws:
        data = packet(ECHO, "from a library".encode())
        await ws.send([data[:4], data[4:9], data[9:]])
        equal(unpack(await asyncio.wait_for(ws.recv(), 10)), unpack(data))
        pong_waiter = await ws.ping(b"there?")
        await asyncio.wait_for(pong_waiter, 10)
        await ws.send(packet(ECHO, "text".encode()).decode("latin-1"))
        answer = await asyncio.wait_for(ws.recv(), 10)
        equal(unpack(answer), [(ECHO, b"text")])
    equal(ws.close_code, 1000)


@case("python-websockets: two hundred messages under way at once come back in order")
async def somebody_else_pipelined():
    websockets = library()
    async with websockets.connect(f"ws://127.0.0.1:{the_node().ws_port}/",
                                  compression=None) as ws:
        for n in range(200):
            await ws.send(packet(ECHO, {"n": n}))
        for n in range(200):
            (got,) = unpack(await asyncio.wait_for(ws.recv(), 10))
            equal(got, (ECHO, b'{"n": %d}' % n))


@case("a node that stops says 1001 to its clients")
def going_away():
    with connect() as client:
        equal(client.ask(ECHO, 1), 1)
        the_node().send_signal(15)
        try:
            client.message()
        except Closed as closed:
            equal(closed.code, 1001)
            contains(closed.reason, "stop")
    equal(the_node().wait(), 0)


if __name__ == "__main__":
    main(all_ended)
