# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A fault of a cluster under numbered messages, and what must hold when it is over: every message
has ended once and in time, in order, with its own session; all nodes see each other again, none that
survived was restarted, and nothing is left of it."""

import time

from .env import LONG, SLOW
from .mesh import CONVERGED, Before
from .numbered import Numbered
from .tap import check, comment, eventually

NAMES = ["route_1", "route_2", "proxy_1", "proxy_2", "service_1", "service_2", "service_3"]
COUNT, RATE = (200, 1000) if LONG else (40, 240)
TYPED = {"200", "502", "503", "504"}  # what a message may end with while nodes fail
CLEAN = 1.0     # seconds without any error that prove that it is over


def others(*names):
    return [name for name in NAMES if name not in names]


def clean(cluster, load):
    """Waits until no message ends badly for a while, and each proxy's clients and each service
    have their part. How long that took."""
    began = time.monotonic()

    def well():
        got = load.window(CLEAN * SLOW)
        return (set(got["codes"]) <= {"200"} and not got["lost"] and not got["closed"] and
                not got["refused"] and load.last["connected"] == load.count and
                all(got["by_node"][node.name] for node in cluster.services))
    eventually(well, "a second without an error", CONVERGED, 0)
    return time.monotonic() - began


def warm_up(cluster):
    """What a node takes for good at its first messages, it has taken."""
    with Numbered(cluster.proxies, COUNT, RATE) as load:
        clean(cluster, load)
        load.finish()


class Fault:
    """One fault under load: `with Fault(cluster) as fault: ...` does it and undoes it; then all
    is checked. `restarted` are names of nodes that end meanwhile, `codes` what messages may end
    with, `losing` the proxies whose clients may lose their connections."""

    def __init__(self, cluster, restarted=(), codes=frozenset(TYPED), losing=None):
        self.cluster = cluster
        self.restarted = set(restarted)
        self.codes = set(codes)
        self.losing = self.restarted if losing is None else set(losing)
        cluster.spoilt = True  # until all is checked
        self.before = Before(cluster)
        self.load = None
        self.report = None

    def __enter__(self):
        self.load = Numbered(self.cluster.proxies, COUNT, RATE)
        clean(self.cluster, self.load)
        return self

    def __exit__(self, kind, value, traceback):
        with self.load:
            if kind is None:
                self._check()
                self.cluster.spoilt = False

    def _check(self):
        took = self.cluster.converged()
        well = clean(self.cluster, self.load)
        self.report = report = self.load.finish()
        comment(f"{self.load.shown(report)}; all seen after {took:.2f} s, no error from "
                f"{max(0, well - CLEAN * SLOW):.2f} s on")
        if report["texts"]:
            comment(f"errors: {report['texts']}")
        extra = set(report["codes"]) - self.codes
        check(not extra, f"messages ended with {extra}: {report['texts']}")
        ports = {str(node.ws_port) for node in self.cluster.proxies
                 if node.name not in self.losing}
        for what in ("lost", "closed", "refused"):
            check(not ports & set(report[what]), f"clients of a proxy that lived: {what} {report}")
        self.before.in_order(report)
        for line in self.before.after(self.restarted):
            comment(line)

    def node(self, name):
        return self.cluster.node(name)
