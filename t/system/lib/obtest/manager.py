# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A service manager's ear: the socket of $NOTIFY_SOCKET, as in sd_notify(3)."""

import queue
import socket
import threading
import time

from .env import SLOW
from .tap import Failed, at_end, eventually
from .temp import temp_dir


class Manager:
    """Hears what one service says, at any time: a queue that nobody reads would soon be full. Signs
    of life are counted apart from the rest."""

    def __init__(self, watchdog=0, abstract=True):
        self.address = str(temp_dir("notify") / "socket")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.address if abstract else self.address)
        self.environment = {"NOTIFY_SOCKET": ("@" if abstract else "") + self.address}
        if watchdog:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        self.pings = 0
        self.said = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        at_end(self._close)

    def _listen(self):
        while True:
            try:
                data = self.socket.recv(65536).decode()
            except OSError:
                return
            if not data:
                return
            said = dict(line.split("=", 1) for line in data.splitlines())
            if said == {"WATCHDOG": "1"}:
                self.pings += 1
            else:
                self.said.put(said)

    def _close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def hear(self, timeout=20):
        """The next thing that is no sign of life, as a dict of its lines."""
        try:
            return self.said.get(timeout=timeout * SLOW)
        except queue.Empty:
            raise Failed(f"the service has said nothing within {timeout * SLOW} s") from None

    def wait_for(self, key, timeout=20):
        """Hears on until something has this key."""
        while True:
            said = self.hear(timeout)
            if key in said:
                return said

    def wait_ping(self, timeout=20):
        """Waits for a sign of life that has not come yet."""
        before = self.pings
        eventually(lambda: self.pings > before, "a sign of life", timeout)

    def silent(self, seconds):
        """Whether nothing is said from now on for that long."""
        before = self.pings, self.said.qsize()
        time.sleep(seconds)
        return before == (self.pings, self.said.qsize())
