# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A client of the json codec over TCP, by hand, that can break its connection and come back."""

import json
import socket
import struct

from .env import SLOW
from .tap import check, equal

PUSHED = 6700  # the id of the pushes that it counts


class Player:
    """A client that counts what it gets, and knows its token."""

    listener = 0

    def __init__(self, node):
        self.node = node
        self.token = None
        self.session = None
        self.seen = 0
        self.got = []
        self.seq = 0
        self.connect(node)

    def open(self, address):
        return socket.create_connection(address)

    def connect(self, node):
        self.node = node
        self.socket = self.open(("127.0.0.1", node.conf["listen"][self.listener]["port"]))
        self.socket.settimeout(20 * SLOW)
        self.file = self.socket.makefile("rb")

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def read(self):
        """The next message, or None at the end."""
        try:
            line = self.file.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line else None

    def next(self):
        message = self.read()
        while message is None or "close" in message:
            self.closed(message)
            message = self.read()
        self.seen += 1
        self.got.append(message)
        return message

    def closed(self, message):
        """The end in the place of a message; it goes on if this returns."""
        raise AssertionError(f"closed: {message}")

    def hello(self):
        self.send({"hello": {}})
        return self.welcomed(fresh=True)

    def resume(self, node=None, seen=None, token=None):
        self.connect(node or self.node)
        self.send({"resume": {"token": token or self.token,
                              "seen": self.seen if seen is None else seen}})
        return self.welcomed()

    def welcomed(self, fresh=False):
        answer = self.read()
        check(answer and "hello" in answer, answer)
        answer = answer["hello"]
        equal(len(answer["token"]), 64)
        if not answer["recovered"]:
            self.seen = 0
            check(fresh != ("reason" in answer and bool(answer["reason"])), answer)
        self.token = answer["token"]
        self.session = answer["session"]
        return answer

    def tell(self, number, **data):
        self.seq += 1
        self.send({"id": number, "seq": self.seq, "data": data})
        return self.seq

    def answer(self, seq):
        """The answer to a request, which may have come already."""
        while True:
            for message in self.got:
                if message.get("seq") == seq:
                    return message
            self.next()

    def ask(self, number, **data):
        return self.answer(self.tell(number, **data))["data"]

    def pushed(self, count):
        """The numbers of that many pushes, in the order in which they came."""
        while sum(m["id"] == PUSHED for m in self.got) < count:
            self.next()
        return [m["data"]["n"] for m in self.got if m["id"] == PUSHED]

    def abort(self):
        """As a network that breaks: a reset, and what is on its way is lost."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.file.close()
        self.socket.close()

    def close(self):
        self.file.close()
        self.socket.close()
