# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A client of the obespoir protocol, written from its description: packets with a 12-byte header
over WebSocket. It also says whatever a well-behaved client would not."""

import base64
import collections
import contextlib
import hashlib
import json
import os
import re
import socket
import struct
import threading
import time

from .env import SLOW
from .tap import Failed, check, equal

HEADER = struct.Struct("<iii")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0

# The test vectors of the protocol: a login and its answer as captured.
T1 = bytes.fromhex("2c000000e8030000000000007b226e616d65223a226a616d6f6e222c22706173737764223a22"
                   "74657374227d")
T6 = bytes.fromhex("7b000000e8030000000000007b22636f6465223a3230302c2264617461223a7b22757365725f"
                   "6964223a31302c2264657363223a225c75363036645c75353539635c75666630635c75373637"
                   "625c75356635355c75363361355c75353365335c75366434625c75386264355c75393031615c"
                   "75386663377e227d7d")


def packet(message_id, body=b"", length=None):
    """One packet; a body that is not bytes goes as JSON. `length` lies about the length."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return HEADER.pack(HEADER.size + len(body) if length is None else length, message_id, 0) + body


def unpack(data):
    """Cuts a string of whole packets into (id, body) pairs."""
    found = []
    while data:
        if len(data) < HEADER.size:
            raise Failed(f"{len(data)} bytes are no packet")
        length, message_id, version = HEADER.unpack_from(data)
        if length < HEADER.size or length > len(data) or version != 0:
            raise Failed(f"a packet of length {length}, version {version} in {len(data)} bytes")
        found.append((message_id, bytes(data[HEADER.size:length])))
        data = data[length:]
    return found


def frame(data, opcode=BINARY, fin=True, mask=b"\0\0\0\0", rsv=0):
    """One WebSocket frame as a client sends it; mask None leaves it unmasked."""
    head = bytearray([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask is not None else 0
    if len(data) < 126:
        head.append(bit | len(data))
    elif len(data) < 65536:
        head += struct.pack(">BH", bit | 126, len(data))
    else:
        head += struct.pack(">BQ", bit | 127, len(data))
    if mask is None:
        return bytes(head) + data
    if mask != b"\0\0\0\0":
        data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    return bytes(head) + mask + data


def receive(sock, size):
    """So many bytes of a plain socket."""
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        check(more, f"it ended after {data!r}")
        data += more
    return data


def there_and_back(sock, message_id, body):
    """One packet, which is echoed, without WebSocket."""
    sock.sendall(packet(message_id, body))
    equal(receive(sock, HEADER.size + len(body)), packet(message_id, body))


def ended(sock):
    """All that comes until the other side closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while True:
            more = sock.recv(65536)
            if not more:
                break
            data += more
    return data


class Closed(Exception):
    """The other side has closed, with this code; None: without a close frame."""

    def __init__(self, code, reason=""):
        super().__init__(f"closed: {code} {reason}")
        self.code = code
        self.reason = reason


class Raw:
    """A WebSocket connection, frame by frame."""

    def __init__(self, port, path="/", headers=(), timeout=10, receive=None):
        """`receive` bounds, in bytes, what the kernel keeps of what this side does not read."""
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout * SLOW)
        self.buffer = bytearray()
        try:
            self.response = self._shake_hands(port, path, headers)
        except BaseException:
            self.socket.close()
            raise

    def _shake_hands(self, port, path, headers):
        key = base64.b64encode(os.urandom(16))
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
                 "Connection: Upgrade", f"Sec-WebSocket-Key: {key.decode()}",
                 "Sec-WebSocket-Version: 13", *headers]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        if not re.match(rb"HTTP/1\.1 101 ", head):
            raise Failed(f"no upgrade: {head!r}")
        if not re.search(rb"(?i)\r\nsec-websocket-accept: *" + re.escape(accept) + rb"\r?", head):
            raise Failed(f"a wrong Sec-WebSocket-Accept: {head!r}")
        return head.decode()

    def _fill(self):
        try:
            data = self.socket.recv(262144)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        except socket.timeout:
            raise Failed("nothing came from the node in time") from None
        if not data:
            raise Closed(None)
        self.buffer += data

    def send(self, data, opcode=BINARY, fin=True, mask=None, rsv=0):
        """A frame, masked with a random key."""
        self.socket.sendall(frame(data, opcode, fin, mask or os.urandom(4), rsv))

    def send_bytes(self, data):
        self.socket.sendall(data)

    def frame(self):
        """The next frame: opcode, payload. What a server must not send is an error."""
        while True:
            found = self._cut()
            if found is not None:
                return found
            self._fill()

    def _cut(self):
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        length, at = buffer[1], 2
        if buffer[0] & 0x70 or not buffer[0] & 0x80 or length & 0x80:
            raise Failed(f"a bad frame from the node: {bytes(buffer[:16])!r}")
        if length >= 126:
            wide = 2 if length == 126 else 8
            if len(buffer) < at + wide:
                return None
            length = int.from_bytes(buffer[at:at + wide], "big")
            at += wide
        if len(buffer) < at + length:
            return None
        opcode = buffer[0] & 0x0f
        data = bytes(buffer[at:at + length])
        del buffer[:at + length]
        return opcode, data

    def message(self):
        """The next binary message; pings are answered, a close frame raises Closed."""
        while True:
            opcode, data = self.frame()
            if opcode == BINARY:
                return data
            if opcode == PING:
                self.send(data, PONG)
            elif opcode == CLOSE:
                self._closed(data)
            elif opcode != PONG:
                raise Failed(f"a frame with opcode {opcode} from the node")

    def _closed(self, data):
        code = struct.unpack(">H", data[:2])[0] if data else 1005
        with contextlib.suppress(OSError):
            self.send(data, CLOSE)
        raise Closed(code, data[2:].decode())

    def close_code(self):
        """Reads until the node closes; the code of its close frame, or None without one. The
        connection must really end behind it."""
        try:
            while True:
                self.message()
        except Closed as closed:
            code = closed.code
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        if code is not None:
            try:
                while True:
                    self._fill()
            except Closed:
                pass
        self.socket.close()
        return code

    def close(self, code=1000):
        """Closes as RFC 6455 asks for; the code that comes back."""
        self.send(struct.pack(">H", code), CLOSE)
        return self.close_code()

    def drop(self):
        """Goes without a word."""
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Client(Raw):
    """A client of the protocol: packets instead of frames."""

    def __init__(self, port, **more):
        super().__init__(port, **more)
        self.packets = collections.deque()

    def tell(self, message_id, body=b""):
        self.send(packet(message_id, body))

    def packet(self):
        """The next packet: id and body as bytes."""
        while not self.packets:
            self.packets.extend(unpack(self.message()))
        return self.packets.popleft()

    def reply(self, message_id):
        """The next packet, which must have that id; its body as JSON."""
        got, body = self.packet()
        if got != message_id:
            raise Failed(f"packet {got} {body!r}, expected {message_id}")
        return json.loads(body)

    def ask(self, message_id, body=b""):
        """Sends a request; the JSON of its answer."""
        self.tell(message_id, body)
        return self.reply(message_id)

    def code(self, message_id, body=b""):
        """The `code` of the answer; what is not 200 must say why."""
        answer = self.ask(message_id, body)
        if answer["code"] != 200 and not (isinstance(answer.get("error"), str) and
                                          answer["error"]):
            raise Failed(f"an error without a text: {answer!r}")
        return answer["code"]

    def silent(self, seconds=0.3):
        """Nothing comes for a while."""
        self.socket.settimeout(seconds)
        try:
            got = self.packet()
        except Failed:
            return True
        finally:
            self.socket.settimeout(10 * SLOW)
        raise Failed(f"a packet that nobody waits for: {got!r}")


class Stream:
    """A client that keeps `window` numbered requests under way, from a thread of its own, until
    told to stop: for what happens meanwhile. Each answer must be the one that is due; `versions`
    has, in order, the "v" of the answers, each once per run of equal ones, `codes` counts them."""

    def __init__(self, port, message_id, window=64, total=None, body=None):
        self.client = Client(port, timeout=20)
        self.id = message_id
        self.window = window
        self.total = total
        self.body = body or (lambda n: b'{"n":%d}' % n)
        self.sent = 0
        self.answered = 0
        self.versions = []
        self.codes = collections.Counter()
        self.error = None
        self.slowest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._pump()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def _more(self):
        if self._stop.is_set() or (self.total is not None and self.sent >= self.total):
            return 0
        room = self.window - (self.sent - self.answered)
        return room if self.total is None else min(room, self.total - self.sent)

    def _pump(self):
        while True:
            more = self._more()
            if more:
                out = b"".join(frame(packet(self.id, self.body(n)))
                               for n in range(self.sent, self.sent + more))
                self.sent += more
                self.client.send_bytes(out)
            if self.answered == self.sent:
                return
            self._take()

    def _take(self):
        began = time.monotonic()
        got, body = self.client.packet()
        self.slowest = max(self.slowest, time.monotonic() - began)
        self._check(got, json.loads(body))
        while self.client.packets:
            got, body = self.client.packets.popleft()
            self._check(got, json.loads(body))

    def _check(self, got, answer):
        if got != self.id:
            raise Failed(f"packet {got} instead of answer {self.answered}")
        code = answer.get("code")
        self.codes[code] += 1
        if code == 200 and answer.get("n", self.answered) != self.answered:
            raise Failed(f"answer {answer!r} instead of number {self.answered}")
        if "v" in answer and (not self.versions or self.versions[-1] != answer["v"]):
            self.versions.append(answer["v"])
        self.answered += 1

    def busy(self):
        if self.error:
            raise self.error
        return self._thread.is_alive()

    def finish(self, timeout=60):
        """Stops sending, waits for what is under way, checks that nothing is missing."""
        self._stop.set()
        return self.join(timeout)

    def join(self, timeout=60):
        self._thread.join(timeout * SLOW)
        if self.error:
            raise self.error
        if self._thread.is_alive():
            raise Failed(f"{self.answered} of {self.sent} answered, and nothing more comes")
        if self.answered != self.sent:
            raise Failed(f"{self.answered} answers to {self.sent} messages")
        self.client.drop()
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        self.client.drop()
