#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A cluster under numbered messages, while its nodes and what lies between them fail: two proxies,
two route nodes, three services. Whatever fails, every message ends once and in time, in order, with
its own session; what is planned loses nothing; when it is over all nodes see each other again, none
that survived was restarted, and nothing is left of it."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time

from obtest.env import LONG
from obtest.faults import NAMES, Fault, others, warm_up
from obtest.mesh import Cluster
from obtest.nodes import Node, all_ended
from obtest.seed import Raw
from obtest.tap import Failed, at_end, case, cases, check, comment, equal, eventually, main

FROZEN = 5
SEED = int(os.environ.get("OB_SEED") or 0)
SEEDS = [SEED] if SEED else [random.SystemRandom().randrange(1, 2**31) for _ in range(5)]

house = {}


def the_cluster(directory=True):
    """One for all cases; another one after a case that has failed."""
    if directory in house and house[directory].spoilt:
        house.pop(directory).abandon()
    if directory not in house:
        house[directory] = Cluster(directory).start()
        warm_up(house[directory])
    return house[directory]


# ---------------------------------------------------------------- processes

@case("without a fault nothing is refused, and nothing is left")
def no_fault():
    with Fault(the_cluster(), codes={"200"}) as fault:
        fault.load.window(1)


@cases([(name,) for name in NAMES], "kill -9 of {0}, and its restart", timeout=90)
def killed(name):
    with Fault(the_cluster(), {name}) as fault:
        node = fault.node(name)
        node.kill()
        time.sleep(0.5)
        node.start()


@cases([(name,) for name in NAMES], "a planned restart of {0} by QUIT loses nothing", timeout=90)
def planned(name):
    with Fault(the_cluster(), {name}, codes={"200"}) as fault:
        node = fault.node(name)
        node.stop(signal.SIGQUIT)
        node.start()
    # Clients of a proxy that goes are closed when all that it has read from them is answered. What
    # they send while its close frame is on the way has ended with the connection.
    for port, closed in fault.report["closed"].items():
        check(closed <= fault.report["lost"][port], f"{closed} messages ended with a connection")


@cases([("route_2",), ("proxy_1",), ("service_1",)],
       "{0} by TERM, and its restart: what is under way ends at once, typed", timeout=90)
def terminated(name):
    with Fault(the_cluster(), {name}) as fault:
        node = fault.node(name)
        node.stop(signal.SIGTERM)
        node.start()


def frozen_for(fault, node, seconds):
    if node.role == "proxy":
        fault.load.patience(node, seconds + 1)
    node.send_signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        node.send_signal(signal.SIGCONT)


@cases([(name,) for name in (NAMES if LONG else ["route_1", "proxy_2", "service_2"])],
       "{0} is frozen for 5 s", timeout=90)
def frozen(name):
    with Fault(the_cluster()) as fault:
        frozen_for(fault, fault.node(name), FROZEN)


# ---------------------------------------------------------------- what lies between

PARTS = [
    ("a service that nobody hears", ["service_1"], None, "out"),
    ("a service that hears nobody", ["service_2"], None, "in"),
    ("a service that is cut off", ["service_3"], None, "both"),
    ("a route node that is cut off", ["route_1"], None, "both"),
    ("a proxy and a route node that don't meet", ["proxy_1"], ["route_2"], "both"),
    ("a proxy that a service does not hear", ["proxy_2"], ["service_1"], "out"),
    ("two halves", ["route_1", "proxy_1", "service_1"], None, "both"),
]


@cases(PARTS, "{0}, for 5 s", timeout=90)
def parted(_what, here, there, way):
    cluster = the_cluster()
    with Fault(cluster) as fault:
        there = there or others(*here)
        for one in here:
            for other in there:
                if way in ("out", "both"):
                    cluster.relay.stop(one, other)
                if way in ("in", "both"):
                    cluster.relay.stop(other, one)
        try:
            fault.load.window(FROZEN)
        finally:
            cluster.relay.heal()


@case("ways that are slow, and links that are reset again and again", timeout=90)
def slow_and_reset():
    cluster = the_cluster()
    with Fault(cluster) as fault:
        cluster.relay.delay("proxy_1", "service_1", 0.05)
        cluster.relay.delay("route_1", "service_2", 0.05)
        hit = 0
        try:
            for number in range(20 if LONG else 6):
                hit += cluster.relay.reset(NAMES[number % len(NAMES)])
                fault.load.window(0.5)
        finally:
            cluster.relay.heal()
        comment(f"{hit} links reset")
        check(hit > 0)


# ---------------------------------------------------------------- paths

@case("messages move between a link and a route node, under load: none is lost or overtaken",
      timeout=120)
def paths():
    cluster = the_cluster()
    pairs = [(proxy, service) for proxy in cluster.proxies for service in cluster.services]

    def fences():
        return sum(node.metric("obhost_fences_total") for node in cluster.nodes)

    def links(up):
        return sum(("up" == peer["link"]) == up for proxy, service in pairs
                   for peer in proxy.get("/peers")["peers"] if peer["name"] == service.name)
    late = sum(node.metric("obhost_fences_late_total") for node in cluster.nodes)
    for _ in range(10 if LONG else 3):
        eventually(lambda: links(False) == len(pairs), "no link that is idle", 20)
        before = fences()
        with Fault(cluster, codes={"200"}) as fault:
            eventually(lambda: links(True) == len(pairs), "a link for each", 20)
        check(fences() >= before + len(pairs), f"{fences() - before} fences")
        equal(fault.report["codes"], {"200": fault.report["sent"]})
    equal(sum(node.metric("obhost_fences_late_total") for node in cluster.nodes), late,
          "fences that did not come back")


@case("links between proxies and services are reset: messages go on through a route node", timeout=90)
def paths_lost():
    cluster = the_cluster()
    with Fault(cluster) as fault:
        for _ in range(10 if LONG else 3):
            for proxy in cluster.proxies:
                for service in cluster.services:
                    cluster.relay.reset(proxy.name, service.name)
            fault.load.window(1)


# ---------------------------------------------------------------- strangers

@case("a node with a wrong token asks again and again: nobody lists it, and nothing else happens",
      timeout=60)
def wrong_token():
    cluster = the_cluster()
    stranger = Node("stranger", "service", rpc={"token": "another-token-altogether"},
                    remote_ports=[{"host": "127.0.0.1", "port": node.rpc_port}
                                  for node in cluster.nodes])

    def refusals():
        return sum(node.metric("obhost_link_closed_total", reason="wrong_token")
                   for node in cluster.nodes)
    before = refusals()
    with Fault(cluster, codes={"200"}) as fault:
        stranger.start()
        fault.load.window(2)
        eventually(lambda: refusals() >= before + 2 * len(cluster.nodes), "refusals")
        for node in cluster.nodes:
            check("stranger" not in {p["name"] for p in node.get("/peers")["peers"]}, node.name)
        stranger.stop()
    comment(f"{refusals() - before:.0f} attempts refused")


def garbage(rng):
    """A piece of nonsense, or the beginning of something that makes sense."""
    begin = rng.choice([b"", b"GET / HTTP/1.1\r\n", b"GET /", b"\x82\x7f", b"\x16\x03\x01",
                        b"\x40\0\0\0\x01\x01", b"\xff\xff\xff\xff", b"POST / HTTP/1.1\r\n"
                        b"Content-Length: 99999999999\r\n\r\n"])
    return begin + rng.randbytes(rng.choice([0, 1, 64, 4096, 65536]))


def reach(place):
    """A connection to a port, or to the unix socket of that path."""
    if isinstance(place, int):
        return socket.create_connection(("127.0.0.1", place), 5)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(5)
        sock.connect(place)
    except OSError:
        sock.close()
        raise
    return sock


def flood(places, until, seed, counts):
    """Connects, says something wrong, and goes or waits to be closed."""
    rng = random.Random(seed)
    while not until.is_set():
        place = rng.choice(places)
        try:
            if rng.random() < 0.1 and place in counts["ws"]:
                with Raw(place, timeout=2) as ws:
                    ws.send_bytes(rng.randbytes(300))
                continue
            with reach(place) as sock:
                sock.settimeout(0.05)
                data = garbage(rng)
                sock.sendall(data)
                counts["bytes"] += len(data)
                counts["unix"] += not isinstance(place, int)
                sock.recv(4096)
        except (OSError, Failed):
            pass
        except Exception:  # pylint: disable=broad-except
            counts["other"] += 1
        counts["connections"] += 1


@cases([(True, "each port and admin.sock"), (False, "each port, admin.sock and link.sock")],
       "a flood of garbage on {1}", timeout=90)
def flooded(directory, _where):
    cluster = the_cluster(directory)
    places = [port for node in cluster.nodes
              for port in (node.rpc_port, node.http_port, node.ws_port) if port]
    places += [cluster.gates[node.name] for node in cluster.nodes]
    for node in cluster.nodes:
        paths = [node.admin_path] if directory else [node.admin_path, node.state / "link.sock"]
        for path in paths:
            check(path.is_socket(), f"there is no {path}")
            places.append(str(path))
    counts = {"connections": 0, "bytes": 0, "other": 0, "unix": 0,
              "ws": {node.ws_port for node in cluster.proxies}}
    with Fault(cluster, codes={"200"}) as fault:
        until = threading.Event()
        seed = SEED or random.SystemRandom().randrange(1, 2**31)
        threads = [threading.Thread(target=flood, args=(places, until, seed + n, counts))
                   for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            fault.load.window(20 if LONG else 4)
        finally:
            until.set()
            for thread in threads:
                thread.join()
    comment(f"seed {seed}: {counts['connections']} connections, {counts['bytes']} bytes; "
            f"{counts['unix']} by unix sockets")
    check(counts["connections"] > 50 and counts["unix"] > 10)


# ---------------------------------------------------------------- disks

class FullDisk:
    """A folder for a node's logs where nothing has room."""

    def __init__(self, node):
        self.folder = node.folder / "log"
        self.folder.mkdir(exist_ok=True)
        self.mounted = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(self.folder)],
            stderr=subprocess.DEVNULL, check=False).returncode == 0
        self.files = [self.folder / f"{node.name}{end}" for end in (".log", ".error.log")]
        if self.mounted:
            at_end(self.remove)
            with contextlib.suppress(OSError), open(self.folder / "filler", "wb") as filler:
                while True:
                    filler.write(bytes(4096))
                    filler.flush()
        else:
            for file in self.files:
                file.symlink_to("/dev/full")

    def __str__(self):
        return "a tmpfs without room" if self.mounted else "/dev/full"

    def make_room(self):
        """True when lines can be written from now on."""
        if self.mounted:
            (self.folder / "filler").unlink()
        return self.mounted

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)
            self.mounted = False


@cases([("route_2",), ("proxy_1",), ("service_3",)],
       "the disk for the logs of {0} is full: nobody notices but who looks at its metrics",
       timeout=90)
def disk_full(name):
    cluster = the_cluster()
    node = cluster.node(name)
    disk = FullDisk(node)
    relogged(node, {"log_dir": str(disk.folder), "log_level": "debug"})
    cluster.converged()
    with Fault(cluster, codes={"200", "502"}) as fault:
        fault.load.window(1)
        cluster.relay.reset(name, "route_1" if name != "route_1" else "route_2")
    errors = node.metric("obhost_log_write_errors")
    comment(f"{disk}: {errors:.0f} times it took no line")
    check(errors > 0, "the disk was not full")
    if disk.make_room():
        cluster.relay.reset(name)
        eventually(lambda: disk.files[0].stat().st_size > 0, "a line, now that there is room")
        cluster.converged()
    relogged(node, {"log_dir": None, "log_level": "info"})
    disk.remove()
    cluster.converged()


def relogged(node, keys):
    """Restarts a node with other logging."""
    node.stop()
    for key, value in keys.items():
        if value is None:
            node.conf.pop(key, None)
        else:
            node.conf[key] = value
    node.write_conf()
    node.start()


# ---------------------------------------------------------------- the other form of a cluster

@cases([("route_1",), ("service_1",)],
       "told of each route node, and with links by unix sockets: kill -9 of {0}",
       timeout=90)
def fixed(name):
    cluster = the_cluster(directory=False)
    with Fault(cluster, {name}) as fault:
        node = fault.node(name)
        node.kill()
        time.sleep(0.5)
        node.start()


# ---------------------------------------------------------------- anything, at any time

class Chaos:
    """Faults at random for a while, by one seed. What is down or frozen comes back."""

    def __init__(self, fault, seed):
        self.fault = fault
        self.cluster = fault.cluster
        self.rng = random.Random(seed)
        self.done = []

    def run(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            action = self.rng.choice([self.kill, self.quit, self.term, self.freeze, self.part,
                                      self.one_way, self.reset, self.delay, self.two])
            names = action()
            self.done.append(f"{action.__name__} {' '.join(names)}")
            time.sleep(self.rng.uniform(0, 2))

    def _node(self):
        return self.cluster.node(self.rng.choice(NAMES))

    def _again(self, number):
        node = self._node()
        node.stop(number)
        time.sleep(self.rng.choice([0, 0.2, 1, 4]))
        node.start()
        return [node.name]

    def kill(self):
        return self._again(signal.SIGKILL)

    def quit(self):
        return self._again(signal.SIGQUIT)

    def term(self):
        return self._again(signal.SIGTERM)

    def two(self):
        """Two at once."""
        first, second = (self.cluster.node(name) for name in self.rng.sample(NAMES, 2))
        first.kill()
        second.kill()
        time.sleep(self.rng.uniform(0, 2))
        first.start()
        second.start()
        return [first.name, second.name]

    def freeze(self):
        node = self._node()
        frozen_for(self.fault, node, self.rng.uniform(0.5, FROZEN))
        return [node.name]

    def part(self):
        here = self.rng.sample(NAMES, self.rng.randrange(1, 4))
        self.cluster.relay.part(here, others(*here))
        time.sleep(self.rng.uniform(0.5, FROZEN))
        self.cluster.relay.heal()
        return here

    def one_way(self):
        here = self.rng.sample(NAMES, 2)
        self.cluster.relay.stop(*here)
        time.sleep(self.rng.uniform(0.5, FROZEN))
        self.cluster.relay.heal()
        return here

    def reset(self):
        here = self.rng.sample(NAMES, 2)
        self.cluster.relay.reset(*here)
        return here

    def delay(self):
        here = self.rng.sample(NAMES, 2)
        self.cluster.relay.delay(*here, self.rng.uniform(0.01, 0.2))
        time.sleep(self.rng.uniform(0.5, 3))
        self.cluster.relay.heal()
        return here


@cases([(seed, 60) for seed in SEEDS] if LONG or SEED else [(SEEDS[0], 20)],
       "{1} s of faults at random, OB_SEED={0}", timeout=240)
def chaos(seed, seconds):
    with Fault(the_cluster(), NAMES) as fault:
        for node in fault.cluster.proxies:
            fault.load.patience(node, FROZEN + 1)
        random_faults = Chaos(fault, seed)
        try:
            random_faults.run(seconds)
        finally:
            comment(f"seed {seed}: " + ", ".join(random_faults.done))


if __name__ == "__main__":
    main(all_ended, timeout=1800 if LONG else 600)
