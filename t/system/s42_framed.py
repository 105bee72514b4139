#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Packets whose heads are declared, and firefly's: answers, what closes a client and how it is
counted, a codec that is replaced in the middle of a packet, declarations that make no sense."""

import json
import socket
import struct

from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, run_obhost
from obtest.tap import case, cases, contains, equal, eventually, main
from obtest.temp import temp_dir

ECHO = 30000
FIREFLY = {"HEAD_0": 78, "HEAD_1": 37, "HEAD_2": 38, "HEAD_3": 48, "protoVersion": 9,
           "serverVersion": 0}
MAGIC = bytes([78, 37, 38, 48, 9, 0, 0, 0, 0])
FRAMED = {"endian": "little",
          "head": [{"const": "0b57"}, {"length": 2, "of": "all"}, {"seq": 2}, {"code": 4}]}

house = {}


def node():
    if "node" not in house:
        folder = temp_dir("framed")
        house["paths"] = {word: str(folder / word) for word in ("firefly", "framed")}
        house["node"] = Node("framed", "proxy", rpc=None, modules=[
            "proxy", {"name": "http_admin", "admin": True},
            {"name": "echo", "conf": {"id": [ECHO, 101]}}],
            module_dirs=[MODULES, EXAMPLES],
            listen=[{"transport": "unix", "path": house["paths"]["firefly"], "codec": "firefly",
                     "codec_conf": FIREFLY},
                    {"transport": "unix", "path": house["paths"]["framed"], "codec": "framed",
                     "codec_conf": FRAMED}])
        house["node"].start()
    return house["node"]


class Raw:
    def __init__(self, word):
        node()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(house["paths"][word])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                break
            data += more
        return data

    def ended(self):
        return self.socket.recv(1) == b""


def firefly(command, body):
    return MAGIC + struct.pack(">II", len(body) + 4, command) + body


def framed(number, code, body):
    return b"\x0b\x57" + struct.pack("<HHI", len(body) + 10, number, code) + body


def closed(reason):
    return node().metric("obhost_client_closed_total", reason=reason)


@case("firefly's own login packet, and its answer in the same shape")
def login():
    packet = firefly(101, b'{"password":"chenee","username":"chenee"}\n')
    equal(len(packet), 59)
    with Raw("firefly") as client:
        client.send(packet)
        equal(client.read(59), packet)
        for byte in packet + packet:
            client.send(bytes([byte]))
        equal(client.read(118), packet + packet)


@case("declared heads: the number of a request comes back with its answer")
def numbers():
    with Raw("framed") as client:
        client.send(framed(7, ECHO, b"seven") + framed(8, ECHO, b"") + framed(9, 4711, b"?"))
        equal(client.read(15), framed(7, ECHO, b"seven"))
        equal(client.read(10), framed(8, ECHO, b""))
        head = client.read(10)
        length, number, code = struct.unpack("<HHI", head[2:])
        equal((number, code), (9, 4711))
        equal(json.loads(client.read(length - 10))["code"], 404)


@case("a request with number 0 has no answer")
def one_way():
    with Raw("framed") as client:
        client.send(framed(0, ECHO, b"silent") + framed(1, ECHO, b"loud"))
        equal(client.read(14), framed(1, ECHO, b"loud"))


@cases([("firefly", b"N%&1", "bad_magic"),
        ("firefly", MAGIC + b"\0\0\0\3", "bad_length"),
        ("firefly", MAGIC + b"\xff\xff\xff\xff", "too_big"),
        ("framed", b"\x0b\x58", "bad_magic"),
        ("framed", b"\x0b\x57\x09\x00", "bad_length")],
       "{0}: {1!r} closes the client, counted as {2}")
def wrong(word, data, reason):
    with Raw("framed") as other:
        before = closed(reason)
        with Raw(word) as client:
            client.send(data)
            equal(client.ended(), True)
        equal(closed(reason), before + 1)
        other.send(framed(1, ECHO, b"unharmed"))
        equal(other.read(18), framed(1, ECHO, b"unharmed"))


@case("half a packet, and the client is gone")
def half():
    before = closed("eof")
    with Raw("firefly") as client:
        client.send(firefly(101, b"x" * 100)[:50])
    eventually(lambda: closed("eof") == before + 1)


@case("both codecs are replaced in the middle of a packet")
def replaced():
    with Raw("firefly") as one, Raw("framed") as two:
        a, b = firefly(101, b"half and half"), framed(3, ECHO, b"half and half")
        one.send(a[:20])
        two.send(b[:5])
        for name in ("codec_firefly", "codec_framed"):
            answer = node().reload(name, force=True)
            equal(answer["result"], "switched")
        one.send(a[20:])
        two.send(b[5:])
        equal(one.read(len(a)), a)
        equal(two.read(len(b)), b)


@cases([("firefly", {"HEAD_0": 300}, "HEAD_0: a number from 0 to 255"),
        ("framed", None, "needs codec_conf"),
        ("framed", {"head": [{"length": 4}]}, "a length and a code are needed"),
        ("framed", {"head": [{"length": 9}, {"code": 2}]}, "a number of bytes, 1 to 4")],
       "a declaration that makes no sense stops the start: {0} {1}")
def refused(word, conf, text):
    folder = temp_dir("refused")
    listen = {"transport": "unix", "path": str(folder / "sock"), "codec": word}
    if conf is not None:
        listen["codec_conf"] = conf
    file = folder / "node.conf"
    file.write_text(json.dumps({"name": "refused", "type": "proxy", "host": "127.0.0.1",
                                "state_dir": str(folder), "module_dirs": [MODULES],
                                "listen": [listen]}))
    done = run_obhost("-c", str(file))
    equal(done.returncode != 0, True)
    contains(done.stderr + done.stdout, text)


if __name__ == "__main__":
    main(all_ended)
