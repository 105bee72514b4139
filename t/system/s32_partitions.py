#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A cluster under numbered messages whose network loses packets without a word, in one direction or
both: no reset, no end, and TCP that goes on with old bytes when the way is open again. For shorter
than any timer of the nodes, for long enough to be suspect, to close links, and to be dead."""

import os
import random
import time

from obtest.env import LONG
from obtest.faults import NAMES, Fault, others, warm_up
from obtest.mesh import Cluster
from obtest.netns import Network, Unavailable, both_ways, one_way
from obtest.nodes import all_ended
from obtest.tap import case, cases, check, comment, equal, main, skip_all

try:
    NETWORK = Network()
except Unavailable as reason:
    skip_all(f"no network namespace with nft here: {reason}")

# Seconds: a link is pinged when it is silent for 2 s and closed after 6; a route node takes a node
# for suspect after 3, and for dead 3 s after its link was closed.
SHORT = 1       # no link ends
SUSPECT = 4
LINKLESS = 7    # links end, but nobody is dead
DEAD = 10
SEED = int(os.environ.get("OB_SEED") or random.SystemRandom().randrange(1, 2**31))
PROXIES, ROUTES = NAMES[2:4], NAMES[:2]

house = {}


def the_cluster():
    """One for all cases; another one after a case that has failed."""
    NETWORK.heal()
    if "cluster" in house and house["cluster"].spoilt:
        house.pop("cluster").abandon()
    if "cluster" not in house:
        house["cluster"] = Cluster(network=NETWORK).start()
        warm_up(house["cluster"])
    return house["cluster"]


class Parted(Fault):
    """With the ways of these pairs stopped at some time, and all open again at the end."""

    def __enter__(self):
        self.packets = NETWORK.lost()
        return super().__enter__()

    def __exit__(self, kind, value, traceback):
        NETWORK.heal()
        packets = NETWORK.lost() - self.packets
        super().__exit__(kind, value, traceback)
        if kind is None:
            comment(f"{packets} packets lost")
            check(packets > 0, "no packet was lost")

    def stop(self, pairs, seconds):
        NETWORK.ways(pairs)
        self.load.window(seconds)
        NETWORK.heal()


def closed(cluster, *reasons):
    """Links that have ended for one of these reasons, of all nodes."""
    return sum(node.metric("obhost_link_closed_total", reason=reason)
               for node in cluster.nodes for reason in reasons)


# ---------------------------------------------------------------- one cut

# What, its pairs, and for how long.
SHORT_FORM = [
    ("a service that nobody hears, and one that does not hear a proxy",
     one_way(["service_2"], others("service_2")) + one_way(["proxy_1"], ["service_1"]), LINKLESS),
    ("a service that is cut off", both_ways(["service_3"], others("service_3")), DEAD),
]
LONG_FORM = [
    ("a proxy that a service does not hear", one_way(["proxy_1"], ["service_1"]), SUSPECT),
    ("a service that a proxy does not hear", one_way(["service_1"], ["proxy_1"]), LINKLESS),
    ("a service that hears nobody", one_way(others("service_1"), ["service_1"]), DEAD),
    ("a proxy that nobody hears", one_way(["proxy_1"], others("proxy_1")), LINKLESS),
    ("a proxy that hears nobody", one_way(others("proxy_2"), ["proxy_2"]), SUSPECT),
    ("a route node that nobody hears", one_way(["route_1"], others("route_1")), LINKLESS),
    ("a route node that hears nobody", one_way(others("route_2"), ["route_2"]), DEAD),
    ("route nodes, one of which does not hear the other", one_way(ROUTES[:1], ROUTES[1:]), LINKLESS),
    ("proxies and services that don't meet", both_ways(PROXIES, NAMES[4:]), LINKLESS),
    ("route nodes that nobody meets", both_ways(ROUTES, others(*ROUTES)), LINKLESS),
    ("two halves", both_ways(["route_1", "proxy_1", "service_1"],
                             ["route_2", "proxy_2", "service_2", "service_3"]), DEAD),
]


@case("packets between all nodes are lost for a second: no link ends", timeout=60)
def brief():
    cluster = the_cluster()
    with Parted(cluster) as fault:
        before = closed(cluster, "silent", "unanswered", "ended", "unreachable")
        fault.stop(both_ways(NAMES, NAMES), SHORT)
    equal(closed(cluster, "silent", "unanswered", "ended", "unreachable"), before, "links ended")


@cases(SHORT_FORM + LONG_FORM if LONG else SHORT_FORM, "{0}, for {2} s", timeout=90)
def parted(_what, pairs, seconds):
    cluster = the_cluster()
    with Parted(cluster) as fault:
        before = closed(cluster, "silent")
        fault.stop(pairs, seconds)
    ended = closed(cluster, "silent") - before
    comment(f"{ended:.0f} links ended for silence")
    check(seconds < LINKLESS or ended > 0, "no link ended")


# ---------------------------------------------------------------- cuts, and what else happens

@cases([("service_1",), ("route_2",), ("proxy_2",)] if LONG else [("service_1",)],
       "{0} starts again while nobody can hear that it died", timeout=90)
def unheard_end(name):
    """Others keep links with a life that is over, until they hear of the next one."""
    cluster = the_cluster()
    with Parted(cluster, {name}) as fault:
        node = fault.node(name)
        NETWORK.ways(both_ways([name], others(name)))
        node.kill()
        node.launch()
        fault.load.window(1.5)
        NETWORK.heal()
        node.wait_ready()


def random_cut(rng):
    here = rng.sample(NAMES, rng.randrange(1, 4))
    there = rng.sample(others(*here), rng.randrange(1, 5))
    return rng.choice([one_way, both_ways])(here, there)


@cases([(SEED,)] if LONG else [], "ways that come and go at random, OB_SEED={0}", timeout=120)
def flapping(seed):
    """Each change opens some ways and stops others, so that cuts meet what earlier ones have left."""
    rng = random.Random(seed)
    with Parted(the_cluster()) as fault:
        until = time.monotonic() + 45
        while time.monotonic() < until:
            cut = random_cut(rng) if rng.random() < 0.8 else []
            fault.stop(cut, rng.choice([0.1, 0.3, 0.7, 1.5, 3.2, 6.5]))


if __name__ == "__main__":
    main(all_ended, timeout=600 if LONG else 240)
