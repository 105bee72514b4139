#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A node that is told to end does so in time and with status 0, whatever is under way: reloads at
any of their steps, rehearsals that never return, probations, generations that drain or can't go,
clients who come and clients who send more than it can take."""

import http.client
import os
import random
import signal
import threading
import time

from obtest.broken import WAYS, Place
from obtest.env import EXAMPLES, LONG, MODULES, SLOW
from obtest.load import NUMBERED, Load
from obtest.nodes import Node, all_ended
from obtest.plugin import PluginDir, compile_plugin
from obtest.seed import Client
from obtest.tap import case, check, comment, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
ID = 6001
ROUNDS = 100 if LONG else 6
# Files that nobody can use. Which bit is another one only a sha256 tells, and none is given here.
BROKEN = [make for what, make, _ in WAYS if "sha256" not in what]
SEED = int(os.environ.get("OB_SEED") or random.randrange(1 << 30))

# Clients have 2 s to leave; then each thing that is waited for has its bound, see ob__node_free().
IN_TIME = 5
LOADER = 5  # more, when a job of the loader does not end

house = {}


def place():
    if "place" not in house:
        house["place"] = Place(PluginDir(), "numbered", ID)
    return house["place"]


def build(version, flags):
    """A version of the handler; one that two generations may share, or that can't be unmapped."""
    source = NUMBERED.replace(".start = start", f".start = start, .flags = {flags}")
    return compile_plugin("numbered", source, V=version, ID=ID).read_bytes()


def a_node(name, **reload):
    place().put(build(1, "OB_MODULE_PARALLEL"))
    return Node(name, "proxy", rpc=None, module_dirs=[str(place().dir), MODULES, EXAMPLES],
                modules=["proxy", ADMIN, "echo", "numbered"], log_level="warn", call_timeout=120,
                reload={"probe": 20 * SLOW, "drain": 60, **reload}).start()


def end(node, more=0):
    """Sends a TERM; how long the end takes."""
    began = time.monotonic()
    node.send_signal(signal.SIGTERM)
    equal(node.wait(IN_TIME + more), 0, "exit status")
    return time.monotonic() - began


def quietly(function, *args, **more):
    """Whatever a node says that may end at any moment."""
    try:
        return function(*args, **more)
    except (OSError, http.client.HTTPException, ValueError):
        return None


class Trouble:
    """Changes of every kind, one after the other and in three threads, until told to stop."""

    def __init__(self, node, rng):
        self.node = node
        self.process = node.process
        self.done = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._rngs = [random.Random(rng.random()) for _ in range(3)]
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True)
                         for one in self._rngs]
        for thread in self._threads:
            thread.start()

    def _put(self, rng):
        with self._lock:
            if rng.random() < 0.3:
                rng.choice(BROKEN)(place())
            else:
                place().put(build(rng.randrange(1, 4), rng.choice(
                    ["OB_MODULE_PARALLEL", "OB_MODULE_PARALLEL", "0", "OB_MODULE_RESIDENT"])))

    def _run(self, rng):
        def ask(path, body=None):
            quietly(self.node.http, "POST", path, body, timeout=60)
        while not self._stop.is_set() and self.process.poll() is None:
            self._put(rng)
            kind = rng.randrange(8)
            wait = rng.choice(["switch", "commit", "none"])
            if kind < 3:
                ask("/modules/reload", {"name": "numbered", "force": True, "wait": wait})
            elif kind == 3:
                ask("/modules/numbered/reload?canary=30", {"force": True, "wait": wait})
            elif kind == 4:
                ask("/modules/reload", {"names": ["proxy", "codec_obespoir", "http_admin",
                                                  "echo"], "force": True, "wait": wait})
            elif kind == 5:
                ask(f"/modules/numbered/{rng.choice(['rollback', 'commit'])}")
            elif kind == 6:
                ask("/config/reload")
            else:
                self._kill_child()
            self.done += 1

    def _kill_child(self):
        """Ends a rehearsal, which the loader's thread has made. A child of the main thread is a
        leak sanitizer's: without it the check at the node's exit has no end."""
        tasks = f"/proc/{self.process.pid}/task"
        for task in quietly(os.listdir, tasks) or []:
            if task == str(self.process.pid):
                continue
            path = f"{tasks}/{task}/children"
            try:
                with open(path, encoding="ascii") as file:
                    for child in file.read().split():
                        os.kill(int(child), signal.SIGKILL)
            except OSError:
                pass

    def finish(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60 * SLOW)
            check(not thread.is_alive(), "a request has no end")
        return self.done


@case(f"TERM at {ROUNDS} random moments of a storm of changes: it ends in {IN_TIME} s, status 0",
      timeout=30 * ROUNDS)
def any_moment():
    comment(f"OB_SEED={SEED}")
    rng = random.Random(SEED)
    slowest = changes = 0
    for number in range(ROUNDS):
        node = a_node(f"any{number}", probation=rng.choice([0, 0, 30]))
        with Load(node.ws_port, ID, 100, 2000), Client(node.ws_port) as holder:
            for _ in range(rng.choice([0, 3])):
                holder.tell(ID, {"ms": 100000})
            trouble = Trouble(node, rng)
            time.sleep(rng.random() * 2)
            try:
                slowest = max(slowest, end(node))
            finally:
                changes += trouble.finish()
    check(changes > ROUNDS)
    comment(f"{changes} changes under way or done; the slowest end took {slowest:.1f} s")


ENDLESS = next(make for what, make, _ in WAYS if what == "a start that never returns")


def endless(node, make):
    """A reload that is stuck."""
    make(place())
    thread = threading.Thread(target=quietly, daemon=True, args=(
        node.http, "POST", "/modules/reload", {"name": "numbered"}), kwargs={"timeout": 60})
    thread.start()
    return thread


@case("TERM while a rehearsal never returns: it is given up, and its process is gone")
def endless_rehearsal():
    node = a_node("rehearsal")
    thread = endless(node, ENDLESS)

    def child():
        with open(f"/proc/{node.pid}/task/{node.pid}/children", encoding="ascii") as file:
            found = file.read().split()
        for task in os.listdir(f"/proc/{node.pid}/task"):
            with open(f"/proc/{node.pid}/task/{task}/children", encoding="ascii") as file:
                found += file.read().split()
        return found and int(found[0])
    pid = eventually(child, "the child")
    end(node)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the child's end")
    thread.join(60 * SLOW)


@case("TERM while a constructor never returns in the node itself, which rehearses nothing: it "
      "leaves without that thread", timeout=60)
def endless_constructor():
    node = a_node("constructor", probe=0)
    make = next(make for what, make, _ in WAYS if what == "a constructor that never returns")
    thread = endless(node, make)
    # It is busy now, so it is in the constructor or about to be.
    eventually(lambda: any(entry.get("step") == "load" for entry in [
        node.http("GET", f"/modules/tx/{n}").json for n in range(1, 4)]), "the constructor")
    end(node, LOADER)
    contains(node.log(), "ld.so has not come back")
    thread.join(60 * SLOW)


@case("TERM while 1,000 clients send all they can: its turns stay short, and it ends in time",
      timeout=90)
def flooded():
    node = a_node("flooded")
    with Load(node.ws_port, ID, 1000, 400000 * SLOW, args=["-s", "400"]) as load:
        before = node.metric("obhost_bytes_in")
        eventually(lambda: node.metric("obhost_bytes_in") - before > (64 << 20) // SLOW,
                   "a flood", timeout=60)
        slowest = 0
        for _ in range(5):
            began = time.monotonic()
            equal(node.http("GET", "/readyz", timeout=20).status, 200)
            slowest = max(slowest, time.monotonic() - began)
        load.busy()
        took = end(node)
    comment(f"the slowest answer of five took {slowest:.2f} s, the end {took:.1f} s")


if __name__ == "__main__":
    main(all_ended, timeout=4000 if LONG else 300)
