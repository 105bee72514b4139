#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What passes through a route node costs it no memory and no parser: its allocations and the JSON it
parses are counted while messages and their answers go through it. And what one client sends in a burst
shares frames on its way."""

import collections
import json
import mmap
import os
import pathlib
import struct
import subprocess
import time

from obtest.env import OBBENCH, SANITIZE
from obtest.nodes import Trio, all_ended
from obtest.seed import Client, frame, packet
from obtest.tap import case, cases, check, comment, equal, main, skip_all
from obtest.temp import temp_dir

COUNTER = pathlib.Path(os.environ.get("OB_TESTMOD_PATH", "t/modules/.libs")) / "count_calls.so"
ID = 30000
MESSAGES = 200000
BURST = 64
DEPTH = 256  # more than one read takes, so that reads end in the middle of a frame

Counts = collections.namedtuple("Counts", "allocations bytes releases parsed")

house = {}


class CountedTrio(Trio):
    """A trio whose route node is counted. The others take no links, so all goes through it."""

    def __init__(self, sticky):
        keys = {"websocket": {"no_state": None}} if sticky else {}
        super().__init__(proxy={"rpc": {"port": 0}, **keys}, route={"log_level": "warn"},
                         service={"rpc": {"port": 0}})
        del self.route.conf["remote_ports"]
        self.file = temp_dir("counts") / "counts"
        self.file.write_bytes(bytes(struct.calcsize("4Q")))
        self.route.env.update({"LD_PRELOAD": str(COUNTER), "COUNT_CALLS_FILE": str(self.file)})
        self.start()
        with open(self.file, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def counts(self):
        return Counts(*struct.unpack("4Q", self.map[:]))

    def during(self, work):
        """What the route node has done while work() ran."""
        before = self.counts()
        work()
        return Counts(*(now - then for now, then in zip(self.counts(), before)))

    def send(self, count):
        run = subprocess.run([OBBENCH, "--json", "--check-code", "-c", "50", "-d", str(DEPTH), "-i",
                              str(ID), "-n", str(count), f"127.0.0.1:{self.proxy.ws_port}"],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=120, check=False)
        report = json.loads(run.stdout)
        equal((report["errors"], report["answered"]), (0, count), run.stdout)


def trio(sticky=False):
    if sticky not in house:
        house[sticky] = CountedTrio(sticky)
    return house[sticky]


@case("the counter counts: a request over HTTP allocates, one with a body is parsed", timeout=60)
def counted():
    route = trio().route
    check(trio().during(lambda: route.get("/peers")).allocations > 0, "no allocation was counted")
    check(trio().during(lambda: route.http("PUT", "/log/level", {"level": "warn"})).parsed > 0,
          "nothing was parsed")


@cases([(False, "any node"), (True, "the node of the session")],
       "messages for {1}: the route node passes them and their answers on without allocating or parsing",
       timeout=120)
def passes_on(sticky, _):
    nodes = trio(sticky)
    nodes.send(MESSAGES // 2)  # buffers get the size that they keep
    before = nodes.route.metric("obhost_forwarded_total")
    began = time.monotonic()
    spent = nodes.during(lambda: nodes.send(MESSAGES))
    seconds = time.monotonic() - began
    passed = nodes.route.metric("obhost_forwarded_total") - before
    comment(f"{passed:.0f} frames passed on in {seconds:.1f} s: {spent.allocations} allocations of "
            f"{spent.bytes} bytes, {spent.releases} releases, {spent.parsed} texts parsed")
    check(passed >= 2 * MESSAGES, f"only {passed} frames went through the route node")
    equal(spent.parsed, 0, "texts parsed")
    # What a node does by the clock, heartbeats and their like, is no matter of messages.
    check(spent.allocations <= 5 + 20 * seconds, f"{spent.allocations} allocations")


def frames_out(node, peer):
    (found,) = [entry for entry in node.get("/peers")["peers"] if entry["name"] == peer.name]
    return found["frames_out"]


@case("what a client sends in one write is answered in order, and takes far fewer frames", timeout=60)
def burst():
    nodes = trio(sticky=True)
    client = Client(nodes.proxy.ws_port)
    equal(client.ask(ID, b"-1"), -1)  # the session has its node
    spent = []
    for first in range(0, 10 * BURST, BURST):
        before = frames_out(nodes.proxy, nodes.route), frames_out(nodes.service, nodes.route)
        client.send_bytes(b"".join(frame(packet(ID, b"%d" % number))
                                     for number in range(first, first + BURST)))
        for number in range(first, first + BURST):
            equal(client.reply(ID), number)
        after = frames_out(nodes.proxy, nodes.route), frames_out(nodes.service, nodes.route)
        spent.append((after[0] - before[0], after[1] - before[1]))
    client.close()
    comment(f"frames of the proxy and of the service node, each time: {spent}")
    # What nodes tell each other by the clock is among them.
    for name, frames in zip(("proxy", "service"), zip(*spent)):
        check(min(frames) >= 1, f"the {name} node sent nothing: {frames}")
        check(sorted(frames)[5] <= BURST // 4, f"the {name} node sent {frames} frames")


if __name__ == "__main__":
    if SANITIZE:
        skip_all("a sanitizer has an allocator of its own")
    if not COUNTER.exists():
        skip_all(f"{COUNTER} is not built")
    main(all_ended)
