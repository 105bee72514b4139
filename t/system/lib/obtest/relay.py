# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What lies between nodes: a relay that every link goes through, so that the way from one node to
another can be stopped, in one direction or both, delayed, or reset.

A node is known to others by the address of its gate, which passes everything on to the node's own
port. Who dials is read from the hello, so what lies between two nodes has two names, whichever of
them dialled. Bytes are never lost or doubled, as in TCP: what is stopped stays where it is and goes
on when the way is open again, the end of a connection too."""

import contextlib
import socket
import struct
import threading
import time

from .nodes import free_port
from .peer import HEADER, HELLO, Hello
from .tap import at_end

CHUNK = 65536


def reset(sock):
    """Closes so that the other side hears of it at once, by a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


class Ways:
    """What is done to bytes from one node to another; anybody is None."""

    def __init__(self):
        self._changed = threading.Condition()
        self._stopped = set()
        self._delays = {}
        self.closing = False

    @staticmethod
    def _keys(source, target):
        return (source, target), (source, None), (None, target), (None, None)

    def set(self, stopped, pairs):
        with self._changed:
            for pair in pairs:
                (self._stopped.add if stopped else self._stopped.discard)(pair)
            self._changed.notify_all()

    def delay(self, source, target, seconds):
        """Each piece of what is sent from now on waits so long, before those behind it."""
        with self._changed:
            if seconds:
                self._delays[source, target] = seconds
            else:
                self._delays.pop((source, target), None)

    def clear(self):
        with self._changed:
            self._stopped.clear()
            self._delays.clear()
            self._changed.notify_all()

    def close(self):
        with self._changed:
            self.closing = True
            self._changed.notify_all()

    def pass_on(self, source, target):
        """Waits as long as the way asks for."""
        keys = self._keys(source, target)
        with self._changed:
            seconds = max(self._delays.get(key, 0) for key in keys)
        if seconds:
            time.sleep(seconds)
        with self._changed:
            while not self.closing and any(key in self._stopped for key in keys):
                self._changed.wait()


class _Through:
    """One connection through a gate."""

    def __init__(self, relay, accepted, acceptor, port):
        self.relay = relay
        self.dialer = None  # its name, once it has said hello
        self.acceptor = acceptor
        self.near = accepted
        self.far = socket.create_connection(("127.0.0.1", port), 10)
        for sock in (self.near, self.far):
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = bytearray()
        self._ends = 0
        self._lock = threading.Lock()
        for inward in (True, False):
            threading.Thread(target=self._run, args=(inward,), daemon=True).start()

    def _run(self, inward):
        source, target = (self.near, self.far) if inward else (self.far, self.near)
        try:
            self._pump(source, target, inward)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)
        except OSError:
            reset(self.near)
            reset(self.far)
        with self._lock:
            self._ends += 1
            done = self._ends == 2
        if done:
            self.near.close()
            self.far.close()
            self.relay.forget(self)

    def _pump(self, source, target, inward):
        while True:
            data = source.recv(CHUNK)
            if inward and self._head is not None:
                self._listen(data)
            pair = (self.dialer or "?", self.acceptor)
            self.relay.ways.pass_on(*(pair if inward else reversed(pair)))
            if not data:
                return
            target.sendall(data)

    def _listen(self, data):
        self._head += data
        if len(self._head) < HEADER.size:
            return
        size, _, kind = HEADER.unpack_from(self._head)[:3]
        if kind == HELLO and len(self._head) < size <= 512 + HEADER.size:
            return
        if kind == HELLO:
            with contextlib.suppress(Exception):
                self.dialer = Hello.unpack(bytes(self._head[HEADER.size:size])).name
        self._head = None

    def between(self, one, other):
        ends = {self.dialer, self.acceptor}
        return (one is None or one in ends) and (other is None or other in ends)


class Relay:
    """All gates, and what is done to those who go through."""

    def __init__(self):
        self.ways = Ways()
        self._through = set()
        self._lock = threading.Lock()
        self._gates = []
        at_end(self.close)

    def gate(self, node):
        """The port by which others are to reach the node."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = free_port()
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        self._gates.append(listener)
        threading.Thread(target=self._accept, args=(listener, node.name, node.rpc_port),
                         daemon=True).start()
        return port

    def _accept(self, listener, name, port):
        while not self.ways.closing:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            try:
                through = _Through(self, accepted, name, port)
            except OSError:
                reset(accepted)  # nobody listens there
                continue
            with self._lock:
                self._through.add(through)

    def forget(self, through):
        with self._lock:
            self._through.discard(through)

    # ---- faults

    def stop(self, source, target):
        """Nothing passes from source to target; what comes back does."""
        self.ways.set(True, [(source, target)])

    def part(self, here, there):
        """Nothing passes between these and those, either way."""
        self.ways.set(True, [pair for one in here for other in there
                             for pair in ((one, other), (other, one))])

    def heal(self):
        self.ways.clear()

    def delay(self, one, other, seconds):
        self.ways.delay(one, other, seconds)
        self.ways.delay(other, one, seconds)

    def reset(self, one=None, other=None):
        """Resets all connections between the two; how many there were."""
        with self._lock:
            hit = [through for through in self._through if through.between(one, other)]
        for through in hit:
            reset(through.near)
            reset(through.far)
        return len(hit)

    def close(self):
        self.ways.close()
        for listener in self._gates:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.reset()
