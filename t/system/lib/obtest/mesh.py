# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A cluster as users have one: two proxies, two route nodes, three services, every link through a
relay or, each node in a place of its own, through a network; and what must be as it was when a fault
is over."""

import collections
import os
import re
import signal
import time

from .env import EXAMPLES, MODULES, SANITIZE, SLOW
from .nodes import Node, start_all
from .numbered import FREE, IDS, SOURCE, STICKY, TIMEOUT
from .plugin import PluginDir
from .relay import Relay
from .tap import Failed, check, equal, eventually

ADMIN = {"name": "http_admin", "admin": True}
TABLE = {"range": {"service": [[FREE, FREE + IDS - 1], [STICKY, STICKY + IDS - 1]]}}
NO_STATE = {"range": [[FREE, FREE + IDS - 1]]}
PROMISE = 3          # seconds: a hello, or silence until a node is suspect; all others are shorter
CONVERGED = 10 * PROMISE
RESTED = 15          # seconds until nothing is left of what was under way
HEAP = 512           # KiB in use on the heap that a node may have more than before
FDS = 2              # descriptors: who asks for them has one, and one may be about to close
ERROR_LINE = re.compile(r"^\S+ error \[", re.M)
WARNING_LINE = re.compile(r"^\S+ warning (\[\w+\])", re.M)


class Cluster:
    """`directory`: each node is given the address of the first route node, nothing else, and each
    is known by that of its gate. Without it all are given all route nodes' addresses, and what
    else there is in links goes by unix sockets, past the relay. With a `network` there is no
    relay, and a node's gate is its own port."""

    def __init__(self, directory=True, network=None, **more):
        self.directory = directory
        self.network = network
        self.spoilt = False  # something is not as it should be; for the test
        self.relay = Relay() if network is None else None
        self.plugins = PluginDir()
        self.plugins.build("numbered", SOURCE, IDS=IDS, FREE=FREE, STICKY=STICKY)
        self._more = more
        self.gates = {}
        self.routes = [self._node(f"route_{n}", "route", ["route", ADMIN]) for n in (1, 2)]
        self.proxies = [self._node(f"proxy_{n}", "proxy", ["proxy", ADMIN],
                                   websocket={"no_state": NO_STATE, "timeout": 3600})
                        for n in (1, 2)]
        self.services = [self._node(f"service_{n}", "service", ["service", ADMIN, "numbered"])
                         for n in (1, 2, 3)]
        self.nodes = [*self.routes, *self.proxies, *self.services]
        for node in self.nodes:
            self.gates[node.name] = self.relay.gate(node) if self.relay else node.rpc_port
        for node in self.nodes:
            self._configure(node)

    def _node(self, name, role, modules, **keys):
        place = self.network.place(name) if self.network else None
        return Node(name, role, modules=modules, call_timeout=TIMEOUT, place=place,
                    module_dirs=[str(self.plugins), MODULES, EXAMPLES], **keys, **self._more)

    def _configure(self, node):
        """What a node is told of others: the one place that knows."""
        told = self.routes[:1] if self.directory else self.routes
        node.conf["remote_ports"] = [{"host": route.address, "port": self.gates[route.name],
                                      "type": "route"} for route in told if route is not node]
        if node.role == "proxy":
            node.conf["rpc"]["route"] = TABLE
        if node.role == "route":
            node.conf["rpc"]["route"] = TABLE
        if self.directory:
            node.conf["rpc"].update(unix=False, idle=2,
                                    address=f"{node.address}:{self.gates[node.name]}")

    def node(self, name):
        return next(node for node in self.nodes if node.name == name)

    def start(self):
        start_all(*self.nodes)
        self.converged()
        return self

    def seen_by(self, node):
        """Names of the nodes that `node` takes for up and, of route nodes, has a link with."""
        return {peer["name"] for peer in node.get("/peers")["peers"]
                if peer["listed"] and peer["state"] == "up" and
                (peer["role"] != "route" or peer["link"] == "up")}

    def wanted_by(self, node):
        return {other.name for other in self.nodes} - {node.name}

    def missing(self):
        return {node.name: sorted(self.wanted_by(node) - self.seen_by(node))
                for node in self.nodes if self.wanted_by(node) - self.seen_by(node)}

    def converged(self):
        """Waits until each node sees all others; how many seconds that took."""
        began = time.monotonic()
        last = [None]

        def all_seen():
            last[0] = self.missing()
            return not last[0]
        try:
            eventually(all_seen, "a cluster that has converged", CONVERGED, 0.05)
        except Failed:
            raise Failed(f"not converged after {CONVERGED * SLOW} s; who does not see whom: "
                         f"{last[0]}\n{self._views(last[0])}") from None
        return time.monotonic() - began

    def _views(self, missing):
        """What nodes show of those that they do not see."""
        lines = []
        for name, unseen in missing.items():
            shown = self.node(name).get("/peers")
            lines += [f"{name}: {peer}" for peer in shown["peers"] if peer["name"] in unseen]
            lines += [f"{name}: {shown['remote_ports']} {shown.get('directory')}"]
        return "\n".join(lines)

    def abandon(self):
        """Ends all nodes at once, whatever they do."""
        for node in self.nodes:
            if node.process is not None:
                node.send_signal(signal.SIGCONT)
                if node.alive():
                    node.kill()
        if self.relay:
            self.relay.close()

    def stop(self):
        for node in reversed(self.nodes):
            node.stop()


def at_rest(node):
    """What a node still has to do, by name; nothing when no message is under way."""
    series = node.metrics()
    names = ["obhost_pending", "obhost_requests", "obhost_held_bytes", "obhost_connections",
             "obhost_sessions"]
    series["obhost_requests"] -= 1  # that for the metrics
    left = {name: series[name] for name in names if series[name]}
    queued = {peer["name"]: peer["queued"] for peer in node.get("/peers")["peers"]
              if peer.get("queued")}
    return {**left, **queued}


class Before:
    """How all nodes were before a fault, with no client."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.resting()
        self.pids = {node.name: node.pid for node in cluster.nodes}
        self.marks = {node.name: len(node.log()) for node in cluster.nodes}
        self.sizes = {node.name: self.size(node) for node in cluster.nodes}
        self.executed = {node.name: self.odd(node) for node in cluster.services}
        self.late = self.fences_late()
        self.closed = self.links_closed()

    @staticmethod
    def size(node):
        """KiB in use on the heap, without chunks for output; descriptors; threads."""
        series = node.metrics()
        heap = series.get("obhost_heap_bytes", 0) - series["obhost_output_chunk_bytes"]
        return int(heap) // 1024, node.fds(), len(os.listdir(f"/proc/{node.pid}/task"))

    @staticmethod
    def odd(node):
        """Messages that a service was given twice, or after a later one of their session; and of
        the latter those of no state."""
        return {what: node.metric(f"obhost_module_numbered_{what}_total")
                for what in ("doubled", "disorder", "overtaken")}

    def fences_late(self):
        return {node.name: node.metric("obhost_fences_late_total") for node in self.cluster.nodes}

    def links_closed(self):
        return {node.name: sum(value for key, value in node.metrics().items()
                               if key.startswith("obhost_link_closed_total"))
                for node in self.cluster.nodes}

    def resting(self):
        last = {}

        def idle():
            last.clear()
            last.update({node.name: left for node in self.cluster.nodes
                         if (left := at_rest(node))})
            return not last
        try:
            eventually(idle, "rest", RESTED, 0.1)
        except Failed:
            raise Failed(f"something is left though no client is there: {last}\n"
                         f"{self._sessions(last)}") from None

    def _sessions(self, left):
        lines = [f"{node.name} lives since {node.get('/node')['incarnation']}"
                 for node in self.cluster.proxies]
        for name in left:
            shown = self.cluster.node(name).get("/sessions")["sessions"]
            lines += [f"{name}: {entry}" for entry in shown[:5]]
        return "\n".join(lines)

    def after(self, restarted=()):
        """Checks that all is as it was; lines that say so. `restarted`: names of nodes."""
        self.resting()
        lines = []
        for node in self.cluster.nodes:
            if node.name not in restarted:
                check(node.alive() and node.pid == self.pids[node.name],
                      f"{node.name} did not survive: {node.tail()}")
                lines.append(self._unchanged(node))
            self._executed(node, node.name in restarted)
        return [", ".join(lines), self.logs()]

    def in_order(self, report):
        """Answers to messages of no state have no number: their order ends where a way is lost, or
        where an old one has not answered in time."""
        if self.fences_late() == self.late and self.links_closed() == self.closed:
            equal(report["overtaken"], [], "answers that came after later ones")

    def _executed(self, node, restarted):
        """A node that was restarted has counted from 0. Where an old way has not answered in time
        there is no promise for messages of no state."""
        if node.name in self.executed:
            odd = self.odd(node)
            was = dict.fromkeys(odd, 0) if restarted else dict(self.executed[node.name])
            if self.fences_late() != self.late:
                was["overtaken"] = odd["overtaken"]
            equal(odd, was, f"{node.name}: executed wrongly")

    def _unchanged(self, node):
        was = self.sizes[node.name]
        last = [None]

        def same():
            last[0] = now = self.size(node)
            return SANITIZE or (now[0] <= was[0] + HEAP and now[1] <= was[1] + FDS and
                                now[2] <= was[2])
        try:
            eventually(same, "what it was", RESTED, 0.2)
        except Failed:
            raise Failed(f"{node.name} had KiB in use, descriptors and threads {was}, and has "
                         f"{last[0]}") from None
        return f"{node.name} {was[0]} then {last[0][0]}"

    def logs(self):
        """Fails on a line of level error; the warnings, by subsystem."""
        warnings = collections.Counter()
        for node in self.cluster.nodes:
            text = node.log()[self.marks[node.name]:]
            if ERROR_LINE.search(text):
                raise Failed(f"{node.name} has logged an error:\n" +
                             "\n".join(line for line in text.splitlines()
                                       if ERROR_LINE.match(line)))
            warnings.update(WARNING_LINE.findall(text))
        return "warnings logged: " + (", ".join(f"{n} {what}" for what, n in
                                                sorted(warnings.items())) or "none")
