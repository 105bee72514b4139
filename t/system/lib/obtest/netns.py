# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What lies between nodes: a real network, of which packets are lost without a word.

The test's process moves into a network namespace of its own, and each node has another one with one
address. Packets between nodes are forwarded by the kernel in the test's namespace, where nftables
drops those of the ways that are stopped: nobody gets a reset or an end, TCP keeps what it has sent
and sends it again, and connections whose ends have both given up may still have something on them.

Nothing of it has a name outside: namespaces end with the processes and descriptors that hold them,
and with them what is in them, however the test ends."""

import ctypes
import os
import pathlib
import re
import subprocess
import threading

from .tap import at_end

NEW_NET = 0x40000000   # CLONE_NEWNET
NEW_USER = 0x10000000  # CLONE_NEWUSER
HUB = "10.77.0.1"      # of the test, seen by all
PLACE = "10.77.1."     # a node's address begins with
MOST = 200             # places
TABLE = """
table ip between {
	counter lost { }
	set stopped { type ipv4_addr . ipv4_addr; }
	chain forward {
		type filter hook forward priority 0; policy accept;
		ip saddr . ip daddr @stopped counter name lost drop
	}
}
"""

_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """Why there is no such network on this machine."""


def _checked(result, what):
    if result != 0:
        raise Unavailable(f"{what}: {os.strerror(ctypes.get_errno())}")


def _unshare(flags):
    _checked(_libc.unshare(flags), "unshare")


def _be_root():
    """Of a user namespace of its own, whose only user is who runs this."""
    user, group = os.geteuid(), os.getegid()
    _unshare(NEW_USER)
    own = pathlib.Path("/proc/self")
    (own / "setgroups").write_text("deny", encoding="ascii")
    (own / "uid_map").write_text(f"0 {user} 1", encoding="ascii")
    (own / "gid_map").write_text(f"0 {group} 1", encoding="ascii")


def _run(*command, text="", enter=None):
    try:
        done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, timeout=20, preexec_fn=enter)
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


class Place:
    """Where one node runs: a namespace with one address and a way to the test's."""

    def __init__(self, name, number):
        self.name = name
        self.address = f"{PLACE}{number}"
        self._namespace = None
        maker = threading.Thread(target=self._make)
        maker.start()
        maker.join()
        if self._namespace is None:
            raise Unavailable("no namespace for a node")
        near = f"place{number}"
        _run("ip", "-batch", "-", enter=self.enter, text=f"""
link set lo up
link add way type veth peer name {near} netns {os.getpid()}
addr add {self.address}/32 dev way
link set way up
route add {HUB}/32 dev way
route add default via {HUB} dev way
""")
        _run("ip", "-batch", "-", text=f"""
link set {near} up
route add {self.address}/32 dev {near} src {HUB}
""")

    def _make(self):
        """In a thread that ends at once, and whose namespace the descriptor keeps."""
        if _libc.unshare(NEW_NET) == 0:
            self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def enter(self):
        """Moves there; for a process that is about to become another program."""
        if _libc.setns(self._namespace, NEW_NET) != 0:
            os._exit(126)

    def close(self):
        os.close(self._namespace)


class Network:
    """All places, and what is done to packets from one to another. To be made before the process
    has threads, sockets or children: it moves into another network."""

    def __init__(self):
        try:
            if os.geteuid() != 0:
                _be_root()
            _unshare(NEW_NET)
            _run("ip", "link", "set", "lo", "up")
            _run("ip", "addr", "add", f"{HUB}/32", "dev", "lo")
            _run("nft", "-f", "-", text=TABLE)
            pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
            self._places = {}
            self.place("probe")
        except OSError as error:
            raise Unavailable(f"{error.filename}: {error.strerror}") from None
        at_end(self._close)

    def place(self, name):
        """The one of that name, made when it is first asked for."""
        if name not in self._places:
            number = len(self._places) + 1
            if number > MOST:
                raise Unavailable("too many places")
            self._places[name] = Place(name, number)
        return self._places[name]

    def lost(self):
        """How many packets were dropped since the beginning."""
        shown = _run("nft", "list", "counter", "ip", "between", "lost")
        return int(re.search(r"packets (\d+)", shown)[1])

    # ---- faults, by the names of places

    def ways(self, pairs):
        """From now on exactly these are stopped: packets of the first of a pair to the second are
        lost, those of the second to the first are not. All at the same moment."""
        rules = ["flush set ip between stopped"]
        stopped = sorted({f"{self._places[source].address} . {self._places[target].address}"
                          for source, target in pairs})
        if stopped:
            rules.append(f"add element ip between stopped {{ {', '.join(stopped)} }}")
        _run("nft", "-f", "-", text="\n".join(rules) + "\n")

    def heal(self):
        self.ways([])

    def _close(self):
        for place in self._places.values():
            place.close()
        self._places.clear()


def one_way(here, there):
    """Pairs: nothing of these is heard by those."""
    return [(source, target) for source in here for target in there if source != target]


def both_ways(here, there):
    return one_way(here, there) + one_way(there, here)
