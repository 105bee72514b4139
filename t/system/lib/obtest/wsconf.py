# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A WebSocket client for one purpose: to say, byte for byte, what RFC 6455 allows and what it does
not, and to hold the server to what the RFC says must come back.

A `Case` is a row: a section, a name, what goes in, what must come out, how it must end. Nothing
here knows what is behind the server but that a message comes back as it went in: as binary from
the listener "binary", as text from "text".
"""

import base64
import contextlib
import hashlib
import re
import socket
import struct
import time

from .env import SLOW
from .tap import Failed

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
OPEN, GONE = "open", "gone"  # ends of a case, beside the code of a close frame
ALL_AT_ONCE, PER_FRAME, PER_BYTE = "at once", "frame by frame", "byte by byte"
MASK = b"\x37\xfa\x21\x3d"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
DEADLINE = 5 * SLOW
LIMIT = 70000  # bytes in a message, of the server


# ---------------------------------------------------------------- what goes in

def masked(data, mask):
    if not data or mask == b"\0\0\0\0":
        return data
    key = (mask * (len(data) // 4 + 1))[:len(data)]
    number = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
    return number.to_bytes(len(data), "big")


def frame(data=b"", op=BINARY, *, fin=True, rsv=0, mask=MASK, form=None, length=None):
    """One frame. `mask` None: unmasked. `form` 7, 16 or 64: bits of the length, whatever it is;
    `length` is told instead of the true one."""
    length = len(data) if length is None else length
    form = form or (7 if length < 126 else 16 if length < 65536 else 64)
    bit = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | op])
    if form == 7:
        head += bytes([bit | length])
    elif form == 16:
        head += bytes([bit | 126]) + struct.pack(">H", length)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", length)
    return head + data if mask is None else head + mask + masked(data, mask)


def text(data, **more):
    return frame(data if isinstance(data, bytes) else data.encode(), TEXT, **more)


def ping(data=b"", **more):
    return frame(data, PING, **more)


def pong(data=b"", **more):
    return frame(data, PONG, **more)


def close(code=None, reason=b"", **more):
    data = b"" if code is None else struct.pack(">H", code) + reason
    return frame(data, CLOSE, **more)


def pieces(parts, op, between=b""):
    """The frames of a message in these fragments, with `between` in each gap."""
    frames = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        frames.append(frame(part, CONT if number else op, fin=last))
        if between and not last:
            frames.append(between)
    return frames


def cut(data, count):
    """`data` in so many parts, as equal as can be."""
    size, more = divmod(len(data), count)
    ends = [0]
    for number in range(count):
        ends.append(ends[-1] + size + (number < more))
    return [data[a:b] for a, b in zip(ends, ends[1:])]


HEAD = [("Host", "server.example.com"), ("Upgrade", "websocket"), ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Version", "13")]


def request(line="GET /chat HTTP/1.1", change=None, more=(), order=None):
    """A handshake; `change` replaces headers' values or, with None, leaves them out, `more` are
    lines behind them."""
    change = change or {}
    lines = [f"{name}: {change.get(name, value)}" for name, value in HEAD
             if change.get(name, value) is not None]
    lines = order(lines) if order else lines
    return "\r\n".join([line, *lines, *more, "", ""]).encode("latin-1")


# ---------------------------------------------------------------- a row

class Case:
    """`send` are frames, in a list, that follow the handshake `request`; with `behind` the first
    byte of them is in one segment with it. They go as `how` says, or cut at the offsets `cuts`.
    Back come the answer's `status`; if it is 101, `expect`, a list of (opcode, payload); then the
    `end`: OPEN (a ping is answered, and nothing was before its pong), GONE (the TCP end, without a
    word), or the code of a close frame and the TCP end. `reason` None: any."""

    def __init__(self, section, name, send=(), expect=(), end=OPEN, *, to="binary",
                 request_=None, status=101, how=ALL_AT_ONCE, cuts=(), behind=False, reason=None,
                 headers=(), leave=False):
        self.section, self.name = section, name
        self.send = [send] if isinstance(send, bytes) else list(send)
        self.expect, self.end, self.to = list(expect), end, to
        self.request, self.status, self.headers = request_ or request(), status, headers
        self.how, self.cuts, self.behind, self.reason = how, cuts, behind, reason
        self.leave = leave  # this side ends its half of the connection behind what it sends

    def __str__(self):
        return f"{self.section} {self.name}"

    def segments(self):
        data = b"".join(self.send)
        if self.cuts:
            ends = [0, *self.cuts, len(data)]
            return [data[a:b] for a, b in zip(ends, ends[1:])]
        if self.how == PER_BYTE:
            return [data[at:at + 1] for at in range(len(data))]
        if self.how == PER_FRAME:
            return self.send
        return [data] if data else []


# ---------------------------------------------------------------- the wire

class Ended(Exception):
    """The other side has ended the connection."""


class Wire:
    """A socket, and the strictest reader of what comes out of it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.until = time.monotonic() + DEADLINE
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """What the server does not want to read any more is not this side's fault."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            self.socket.sendall(data)

    def half_close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def fill(self):
        left = self.until - time.monotonic()
        if left <= 0:
            raise Failed(f"nothing more came within {DEADLINE} s; last: {self.buffer[:80]!r}")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(262144)
        except socket.timeout:
            raise Failed(f"nothing more came within {DEADLINE} s; "
                         f"last: {self.buffer[:80]!r}") from None
        except ConnectionResetError:
            raise Failed("the connection was reset, which may destroy what was said") from None
        if not data:
            raise Ended
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def head(self):
        """Status and headers, names in lower case, of an answer."""
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]+", first)
        if not found:
            raise Failed(f"{first!r} is no status line")
        headers = []
        for line in lines:
            if not re.fullmatch(r"[A-Za-z-]+: [ -~]+", line):
                raise Failed(f"{line!r} is no header")
            name, _, value = line.partition(": ")
            headers.append((name.lower(), value))
        return int(found[1]), headers

    def frame(self):
        """The next frame, (opcode, payload), which must be as a server has to write it."""
        b0, b1 = self.take(2)
        op, length, wide = b0 & 0x0f, b1 & 0x7f, 0
        if b0 & 0x70 or b1 & 0x80 or op not in (TEXT, BINARY, CLOSE, PING, PONG) or b0 < 0x80:
            raise Failed(f"a frame that begins {b0:02x} {b1:02x} from a server")
        if length > 125:
            wide = 2 if length == 126 else 8
            length = int.from_bytes(self.take(wide), "big")
            if op >= CLOSE or length < 126 or (wide == 8 and length < 65536):
                raise Failed(f"opcode {op} with {length} bytes, told in {wide}")
        data = self.take(length)
        if op == TEXT:
            data.decode()  # raises what it is
        if op == CLOSE and data:
            if len(data) < 2:
                raise Failed("a close frame with one byte")
            data[2:].decode()
        return op, data

    def ended(self):
        """The TCP end, and not a byte before it."""
        try:
            self.fill()
        except Ended:
            if not self.buffer:
                return
        raise Failed(f"bytes where the connection should end: {self.buffer[:80]!r}")


class Server:
    """What is tested: the port of each listener. One connection per listener stands beside the
    cases: a ping answered on it says that a server with one thread has read, and acted upon, all
    that was sent before."""

    def __init__(self, ports, steady=True):
        self.ports = ports
        self.steady = steady  # its answers to what it refuses are known to the letter
        self.beside = {}

    def read_it(self, to):
        if to not in self.beside:
            self.beside[to] = Wire(self.ports[to])
            self.beside[to].send(request())
            self.beside[to].head()
        wire = self.beside[to]
        wire.until = time.monotonic() + DEADLINE
        wire.send(ping(b"read?"))
        if wire.frame() != (PONG, b"read?"):
            raise Failed("the connection beside does not answer")

    def shut(self):
        for wire in self.beside.values():
            wire.socket.close()


# ---------------------------------------------------------------- how it is judged

def _words(headers, name):
    return [word.strip().lower() for key, value in headers if key == name
            for word in value.split(",")]


def _accepted(case, headers):
    """An answer of 101: RFC 6455 section 4.2.2, and what must not be in it."""
    key = re.search(rb"(?i)\r\nsec-websocket-key:[ \t]*(\S*)", case.request)[1]
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    found = {name: [value for key, value in headers if key == name]
             for name in ("upgrade", "sec-websocket-accept", "sec-websocket-protocol",
                          "sec-websocket-extensions", "content-length", "transfer-encoding")}
    wanted = {"upgrade": ["websocket"], "sec-websocket-accept": [accept]}
    for name, values in found.items():
        if values != wanted.get(name, []):
            raise Failed(f"{name}: {values!r} in an answer of 101")
    if "upgrade" not in _words(headers, "connection"):
        raise Failed("Connection does not say Upgrade")


def _refused(case, server, wire, status, headers):
    """Any other answer: why, in a body as long as it says, and the end of the connection."""
    if server.steady and status != case.status or status < 400:
        raise Failed(f"status {status}, expected {case.status}")
    if any(name == "sec-websocket-accept" for name, _ in headers):
        raise Failed("Sec-WebSocket-Accept in a refusal")
    if not server.steady:
        return
    for line in case.headers:
        if line not in [f"{name}: {value}" for name, value in headers]:
            raise Failed(f"{line!r} is not among {headers!r}")
    if "close" not in _words(headers, "connection"):
        raise Failed("a refusal that does not say it closes")
    length = int(dict(headers)["content-length"])
    body = b"" if case.request.startswith(b"HEAD ") else wire.take(length)
    if not all(byte in b"\n" or 0x20 <= byte < 0x7f for byte in body):
        raise Failed(f"the body {body!r}")
    wire.ended()


def _closed(case, wire, data):
    """A close frame has come."""
    code = struct.unpack(">H", data[:2])[0] if data else 1005
    if code != case.end:
        raise Failed(f"closed with {code} {data[2:]!r}, expected {case.end}")
    if case.reason is not None and data[2:] != case.reason:
        raise Failed(f"the reason {data[2:]!r}, expected {case.reason!r}")
    wire.send(frame(data[:2], CLOSE))
    wire.half_close()
    wire.ended()


def _judge_end(case, wire):
    if case.end == GONE:
        wire.ended()
        return
    if case.end == OPEN:
        wire.send(ping(b"still there?"))
    op, data = wire.frame()
    if case.end != OPEN and op == CLOSE:
        _closed(case, wire, data)
    elif (case.end, op, data) != (OPEN, PONG, b"still there?"):
        raise Failed(f"opcode {op} {data[:60]!r}, expected {case.end}")


def run(case, server):
    """Raises when anything is not as it must be."""
    with Wire(server.ports[case.to]) as wire:
        segments = case.segments()
        first = segments.pop(0) if case.behind and segments else b""
        wire.send(case.request + first)
        if case.status == GONE:
            wire.half_close()
            wire.ended()
            return
        status, headers = wire.head()
        if case.status != 101:
            _refused(case, server, wire, status, headers)
            return
        if status != 101:
            raise Failed(f"status {status}, {wire.buffer!r}")
        _accepted(case, headers)
        for number, segment in enumerate(segments):
            if number or first:
                server.read_it(case.to)
            wire.send(segment)
        if case.leave:
            wire.half_close()
        try:
            for number, expected in enumerate(case.expect):
                got = wire.frame()
                if got != expected:
                    raise Failed(f"frame {number}: opcode {got[0]} {got[1][:60]!r}, expected "
                                 f"opcode {expected[0]} {expected[1][:60]!r}")
            _judge_end(case, wire)
        except Ended:
            raise Failed(f"the connection ended, expected {case.end}") from None
