# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The other end of a link, written from the description of frame and hello: it speaks with nodes
as one of them, and says what no node would."""

import hashlib
import hmac
import os
import socket
import struct
import time

from .env import SLOW
from .nodes import TOKEN
from .seed import Closed
from .tap import Failed

HEADER = struct.Struct("<IBBHIIQQQQQIBBH")
HELLO, REQUEST, REPLY, PUSH, SYSTEM = 1, 2, 3, 4, 5
ONE_WAY, STICKY, METHOD, CALL = 1, 2, 4, 8
DIALER, ACCEPTOR, PROOF, WELCOME, REFUSED = 1, 2, 3, 4, 5
PING, SYS_PONG = 1, 2
EXT_TEXT = 4


def node_id(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def role_id(word):
    number = 2166136261
    for byte in word.encode():
        number = (number ^ byte) * 16777619 & 0xffffffff
    return number


class Frame:
    """A frame; what is not given is 0."""

    FIELDS = ("len", "version", "kind", "flags", "id", "budget", "call", "src", "dst",
              "session_node", "session_seq", "role", "hops", "status", "ext_len")

    def __init__(self, kind, payload=b"", ext=b"", **fields):
        self.__dict__.update(dict.fromkeys(self.FIELDS, 0))
        self.__dict__.update(kind=kind, version=1, hops=4, budget=5000)
        self.__dict__.update(fields)
        self.payload = payload
        self.ext = ext

    def pack(self):
        values = {name: getattr(self, name) for name in self.FIELDS}
        values["ext_len"] = values["ext_len"] or len(self.ext)
        values["len"] = values["len"] or HEADER.size + len(self.ext) + len(self.payload)
        return HEADER.pack(*(values[name] for name in self.FIELDS)) + self.ext + self.payload

    @classmethod
    def unpack(cls, data):
        values = dict(zip(cls.FIELDS, HEADER.unpack_from(data)))
        ext_end = HEADER.size + values["ext_len"]
        got = cls(values.pop("kind"), data[ext_end:], data[HEADER.size:ext_end], **values)
        return got

    def __repr__(self):
        return f"<frame kind {self.kind} id {self.id} status {self.status} {self.payload[:80]!r}>"


def key_of(token):
    """HKDF-SHA256 without salt, 32 bytes."""
    pseudo = hmac.new(b"\0" * 32, token.encode(), hashlib.sha256).digest()
    return hmac.new(pseudo, b"obhost-link-1\x01", hashlib.sha256).digest()


def _field(data):
    return struct.pack("<H", len(data)) + data


class Hello:
    def __init__(self, name, role, incarnation):
        self.name, self.role, self.incarnation = name, role, incarnation
        self.id = node_id(name)
        self.nonce = os.urandom(32)
        self.versions = (1, 1)
        self.features = 0

    def pack(self):
        name, role = self.name.encode(), self.role.encode()
        return (struct.pack("<QQBBI", self.id, self.incarnation, *self.versions, self.features) +
                self.nonce + bytes([len(name)]) + name + bytes([len(role)]) + role)

    @classmethod
    def unpack(cls, data):
        number, incarnation, low, high, features = struct.unpack_from("<QQBBI", data)
        name_end = 55 + data[54]
        got = cls(data[55:name_end].decode(), data[name_end + 1:].decode(), incarnation)
        got.id, got.versions, got.features = number, (low, high), features
        got.nonce = data[22:54]
        return got

    def facts(self):
        return (_field(struct.pack("<Q", self.id)) + _field(struct.pack("<Q", self.incarnation)) +
                _field(self.role.encode()))


def proof(token, side, dialer, acceptor):
    said = (side + _field(b"obhost-link-1") + dialer.facts() + acceptor.facts() +
            _field(dialer.nonce) + _field(acceptor.nonce) + _field(bytes(dialer.versions)) +
            _field(bytes(acceptor.versions)) + _field(struct.pack("<I", dialer.features)) +
            _field(struct.pack("<I", acceptor.features)) + _field(b""))
    return hmac.new(key_of(token), said, hashlib.sha256).digest()


class Peer:
    """A link dialled to a node's rpc port. `meet()` is the handshake; `refused` has the words of
    a node that did not want it."""

    def __init__(self, port, name="peer", role="route", token=TOKEN, incarnation=None):
        self.hello = Hello(name, role, incarnation or int(time.time() * 1000))
        self.token = token
        self.theirs = None
        self.refused = None
        self.buffer = b""
        self.socket = socket.create_connection(("127.0.0.1", port), 10 * SLOW)
        self.socket.settimeout(10 * SLOW)

    def send(self, kind, payload=b"", **fields):
        self.socket.sendall(Frame(kind, payload, src=fields.pop("src", self.hello.id),
                                  **fields).pack())

    def send_bytes(self, data):
        self.socket.sendall(data)

    def frame(self):
        """The next frame, or Closed."""
        while len(self.buffer) < 4 or len(self.buffer) < struct.unpack_from("<I", self.buffer)[0]:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            except socket.timeout:
                raise Failed("nothing came over the link in time") from None
            if not data:
                raise Closed(None, "the link")
            self.buffer += data
        size = struct.unpack_from("<I", self.buffer)[0]
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return Frame.unpack(data)

    def meet(self):
        """The handshake. True when the link is up."""
        self.send(HELLO, self.hello.pack(), status=DIALER, hops=0, budget=0)
        answer = self._step(ACCEPTOR)
        if answer is None:
            return False
        self.theirs = Hello.unpack(answer.payload)
        self.send(HELLO, proof(self.token, b"D", self.hello, self.theirs), status=PROOF, hops=0,
                  budget=0)
        answer = self._step(WELCOME)
        if answer is None:
            return False
        if answer.payload != proof(self.token, b"A", self.hello, self.theirs):
            raise Failed("the node's proof is wrong")
        return True

    def _step(self, expected):
        try:
            got = self.frame()
        except Closed:
            return None
        if got.kind == HELLO and got.status == REFUSED:
            self.refused = got.payload.decode()
            return None
        if got.kind != HELLO or got.status != expected:
            raise Failed(f"{got!r} instead of step {expected} of the hello")
        return got

    def wanted(self, kind):
        """The next frame of a kind; pings are answered, other system frames passed over."""
        while True:
            got = self.frame()
            if got.kind == SYSTEM and got.id == PING:
                self.send(SYSTEM, id=SYS_PONG, call=got.call)
            elif got.kind == kind:
                return got
            elif got.kind != SYSTEM:
                raise Failed(f"{got!r} instead of kind {kind}")

    def closed(self):
        """Reads until the node closes the link."""
        try:
            while True:
                self.frame()
        except Closed:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
