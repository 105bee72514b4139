#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A storm of reconnects: all clients of a node are cut off at once and come back at once, as fast as
they can. Nobody is refused."""

import json
import os
import resource
import subprocess

from obtest.env import LONG, OBBENCH, SLOW
from obtest.nodes import Node, all_ended
from obtest.tap import case, check, comment, equal, eventually, main

ECHO = 30000
CUTS = 3
SPARE = 100  # descriptors of a node beside those of clients
CLIENTS = 15000 if LONG else 1500


def clients():
    """As many as there may be descriptors for, theirs and the node's while it has the old ones."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CLIENTS if hard == resource.RLIM_INFINITY else min(CLIENTS, hard - 1000)


def start(name):
    return Node(name, "proxy", rpc=None, limits={"connections": 2 * CLIENTS},
                modules=["proxy", {"name": "http_admin", "admin": True}, "echo"]).start()


def storm(node, count):
    """Each client that came back sends on, and is answered; the report of obbench."""
    busy = min(count, 500)
    done = subprocess.run(
        [OBBENCH, "--json", "--verify", "--check-code", "-i", str(ECHO), "-c", str(busy), "--idle",
         str(count - busy), "--cuts", str(CUTS), "-n", str(4 * busy), f"127.0.0.1:{node.ws_port}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100 * SLOW, check=False)
    check(done.stdout.startswith("{"), f"obbench: {done.stderr}")
    report = json.loads(done.stdout)
    equal((done.returncode, report["errors"], report["answered"]), (0, 0, 4 * busy), report["why"])
    comment(f"{count} clients, cut {CUTS} times: all were back in {report['back_s']:.2f} s, one of "
            f"them in {report['back_ms']['p50']:.0f} ms (median)")
    return report


def refused(node):
    return (node.metric("obhost_client_closed_total", reason="limit") +
            node.metric("obhost_client_refused_total"))


@case("all clients are cut off at once and come back at once: each is served", timeout=150 * SLOW)
def all_come_back():
    count = clients()
    node = start("storm")
    storm(node, count)
    equal(node.metric("obhost_client_opened_total"), count * (CUTS + 1), "clients that came")
    equal(refused(node), 0, "refused")
    eventually(lambda: node.metric("obhost_sessions") == 0, "the end of all sessions", timeout=20)
    node.stop()


@case("the same with no descriptors for the old ones beside the new ones: they wait, and are served",
      timeout=150 * SLOW)
def few_descriptors():
    count = min(clients(), 1500)
    node = start("tight")
    have = len(os.listdir(f"/proc/{node.pid}/fd"))
    _, hard = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (have + count + SPARE, hard))
    storm(node, count)
    equal(refused(node), 0, "refused")
    node.stop()


if __name__ == "__main__":
    main(all_ended, timeout=600 if LONG else 300)
