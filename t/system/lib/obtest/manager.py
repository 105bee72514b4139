# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A service manager's ear: the socket of $NOTIFY_SOCKET, as in sd_notify(3)."""

import socket

from .env import SLOW
from .tap import Failed, at_end
from .temp import temp_dir


class Manager:
    """Hears what one service says. Signs of life are counted apart from the rest."""

    def __init__(self, watchdog=0, abstract=True):
        self.address = str(temp_dir("notify") / "socket")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.address if abstract else self.address)
        self.environment = {"NOTIFY_SOCKET": ("@" if abstract else "") + self.address}
        if watchdog:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        self.pings = 0
        at_end(self.socket.close)

    def _receive(self, timeout):
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(65536).decode()
        except (socket.timeout, BlockingIOError):
            return None
        return dict(line.split("=", 1) for line in data.splitlines())

    def hear(self, timeout=20):
        """The next thing that is no sign of life, as a dict of its lines."""
        while True:
            said = self._receive(timeout * SLOW)
            if said is None:
                raise Failed(f"the service has said nothing within {timeout * SLOW} s")
            if "WATCHDOG" not in said:
                return said
            self.pings += 1

    def wait_for(self, key, timeout=20):
        """Hears on until something has this key."""
        while True:
            said = self.hear(timeout)
            if key in said:
                return said

    def wait_ping(self, timeout=20):
        """Waits for a sign of life that has not come yet."""
        while self._receive(0) is not None:
            pass
        said = self._receive(timeout * SLOW)
        if said is None:
            raise Failed(f"no sign of life within {timeout * SLOW} s")
        return said

    def silent(self, seconds):
        """Whether nothing is said from now on for that long; what waits already is let go."""
        while self._receive(0) is not None:
            pass
        return self._receive(seconds) is None

