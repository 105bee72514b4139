#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Code is exchanged under a thousand and more connected clients, often and in every way that may
go wrong: no message is lost, doubled or out of order on its connection, no connection ends, nobody
who comes is refused, and the node has what it had when all is over."""

import os
import signal
import threading
import time

from obtest.broken import WAYS, Place
from obtest.env import EXAMPLES, LONG, MODULES, SLOW
from obtest.load import ConnectStorm, Footprint, Load
from obtest.nodes import Node, Trio, all_ended
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import case, check, comment, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
ID = 6001
ROUNDS = 10000 if LONG else 300
IDLE, BUSY = (10000, 1000) if LONG else (2000, 200)
KILLS = 200 if LONG else 20
WARM = 128  # reloads until the reports of the last ones take all the memory they will
CONTROL = 60 if LONG else 3  # seconds of load without a reload
PROBE = 3 * SLOW  # seconds; a module that never returns costs so much, a busy machine takes one

# What a log line leaves in the ring is memory, too.
QUIET = {"log_level": "warn", "log": {"ring": 64}}

house = {}


def place():
    """Where the handler's builds are put."""
    if "place" not in house:
        house["place"] = Place(PluginDir(), "numbered", ID)
        house["place"].put_good(1)
    return house["place"]


def dirs():
    return [str(place().dir), MODULES, EXAMPLES]


def the_node():
    """A proxy that handles everything itself."""
    if "node" not in house:
        house["node"] = Node("storm", "proxy", rpc=None, module_dirs=dirs(), **QUIET,
                             modules=["proxy", ADMIN, "echo", "numbered"],
                             call_timeout=120, reload={"probe": PROBE}).start()
    return house["node"]


def the_trio(name="trio", **reload):
    """Three nodes; the handler is on the service."""
    if name not in house:
        place().put_good(1)
        more = {"module_dirs": dirs(), **QUIET, "reload": {"probe": 5 * SLOW, **reload}}
        house[name] = Trio(
            proxy=more, route=more,
            service={**more, "modules": ["service", ADMIN, "offline", "numbered"]}).start()
    return house[name]


# ---------------------------------------------------------------- helpers

def reload(node, *names, expect=200, **more):
    """A reload; again while too many old generations are there still. The answer's body."""
    body = {**({"names": list(names)} if names else {}), **more}

    def attempt():
        answer = node.http("POST", "/modules/reload", body or None, timeout=60)
        if answer.status == 409 and answer.json["error"]["code"] in ("draining", "busy"):
            return None
        equal(answer.status, expect, repr(answer))
        return answer.json
    return eventually(attempt, "a reload", pause=0.005)


def settle(node):
    """Waits until no old generation is left; none may have stayed mapped for good."""
    def clean():
        return not any(entry["old"] for entry in node.get("/modules")["modules"])
    eventually(clean, f"the old generations of {node.name} gone", timeout=20)
    equal(node.metric("obhost_module_zombies_total"), 0, "generations that stay mapped")


def begin(node):
    """Version 1 serves, and nothing else is there."""
    place().put_good(1)
    reload(node, "numbered", force=True)
    settle(node)


def served(node):
    """Waits for an answer of the generation that serves."""
    eventually(lambda: node.module("numbered")["active"]["handled"] > 0, "an answer")


def serving(node, name="numbered"):
    return node.module(name)["active"]["generation"]


def report(node, number):
    """What became of a transaction."""
    return node.get(f"/modules/tx/{number}")


def together(*functions):
    """Calls them at once, each in a thread; what they gave."""
    results = [None] * len(functions)

    def call(n):
        try:
            results[n] = functions[n]()
        except Exception as error:  # pylint: disable=broad-except
            results[n] = error
    threads = [threading.Thread(target=call, args=(n,)) for n in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


# ---------------------------------------------------------------- the storm

def refuse(node, what, make, steps):
    """One bad build: refused, with the reason, and the old generation serves on."""
    before = serving(node)
    more = {}
    if make(place()) == "sha":
        more["sha256"] = "0" * 64
    shown = reload(node, "numbered", expect=422, **more)
    error = shown["error"]
    check(error["step"] in steps, f"{what}: refused at {error['step']}: {error}")
    check(error["message"] and error["module"] == "numbered", str(error))
    equal(serving(node), before, f"{what}: the generation that serves")


def storm(node, rounds):
    """Good builds in turn, and a bad one in ten. How many of them there were."""
    bad = 0
    for number in range(rounds):
        if number % 10 == 9:
            refuse(node, *WAYS[bad % len(WAYS)])
            bad += 1
            continue
        place().put_good(1 + number % 2)
        shown = reload(node, "numbered", force=True)
        equal(shown["result"], "switched")
    return rounds - bad, bad


@case(f"cases 17, 18 and 38: a storm of {ROUNDS} reloads, one in ten of a bad build, under 1,000 clients and more who "
      "come and go", timeout=4500 if LONG else 150)
def reload_storm():
    node = the_node()
    begin(node)
    with Load(node.ws_port, ID, 1000, 4000) as load:
        with ConnectStorm(node.ws_port, ID):
            storm(node, WARM)
            settle(node)
            control = Footprint(node)
            time.sleep(CONTROL)
            touched = control.touched_since()
        before = Footprint(node)
        began = time.monotonic()
        with ConnectStorm(node.ws_port, ID) as comers:
            good, bad = storm(node, ROUNDS)
            came = comers.finish()
        took = time.monotonic() - began
        load.busy()
        served(node)
        settle(node)
        flat = before.check(heap_kib=512, control=touched)
        load.finish(versions={1, 2})
    comment(f"{touched} KiB of the heap became resident in {CONTROL} s without a reload")
    comment(f"{good} builds taken and {bad} refused in {took:.1f} s; {came} clients came and went")
    comment(load)
    comment(flat)
    check(came > 0)


# ---------------------------------------------------------------- the modules of a trio

def own_modules(trio):
    return [(trio.proxy, "proxy"), (trio.proxy, "codec_obespoir"), (trio.proxy, "http_admin"),
            (trio.route, "route"), (trio.service, "service"), (trio.service, "numbered")]


def all_at_once(trio):
    """The six modules, those of a node in one transaction."""
    def of(node, *names):
        return lambda: reload(node, *names, force=True)
    return together(of(trio.proxy, "proxy", "codec_obespoir", "http_admin"),
                    of(trio.route, "route"),
                    of(trio.service, "service", "numbered"))


def under_load(trio, work):
    """work() under 1,000 clients of the trio, with more who come and go; all is as it was then."""
    with Load(trio.proxy.ws_port, ID, 1000, 3000) as load:
        all_at_once(trio)
        commit_all(trio)
        for node in trio.nodes:
            settle(node)
        before = [Footprint(node) for node in trio.nodes]
        with ConnectStorm(trio.proxy.ws_port, ID) as comers:
            work()
            came = comers.finish()
        load.busy()
        commit_all(trio)
        for node in trio.nodes:
            settle(node)
        flat = [one.check() for one in before]
        load.finish()
    check(came > 0)
    comment(f"{load}; {came} clients came and went")
    comment("\n".join(flat))


def commit_all(trio):
    """Ends probations that are under way."""
    for node, name in own_modules(trio):
        node.http("POST", f"/modules/{name}/commit")


@case("each of six modules of a trio alone, and all at once, again and again under 1,000 clients",
      timeout=900 if LONG else 120)
def six_modules():
    trio = the_trio()

    def work():
        for number in range(100 if LONG else 10):
            place().put_good(1 + number % 2)
            for node, name in own_modules(trio):
                equal(reload(node, name, force=True)["result"], "switched")
            place().put_good(3 + number % 2)
            for shown in all_at_once(trio):
                check(all(entry["state"] == "active" for entry in shown["modules"]), shown)
    under_load(trio, work)


@case("the same with a probation of 30 s, which the next reload ends", timeout=200 if LONG else 60)
def default_probation():
    trio = the_trio("patient", probation=30)
    numbers = []

    def work():
        for _ in range(3):
            for node, name in own_modules(trio):
                place().put_good(1 + len(numbers) % 2)
                shown = reload(node, name, force=True)
                equal(report(node, shown["tx"])["step"], "probation")
                numbers.append((node, shown["tx"]))
            numbers.extend(zip(trio.nodes, (shown["tx"] for shown in all_at_once(trio))))
        if LONG:
            eventually(lambda: all(report(node, tx)["step"] != "probation"
                                   for node, tx in numbers), "the end of 30 s", timeout=60)
    under_load(trio, work)
    for node, number in numbers:
        equal(report(node, number)["result"], "committed")
    comment(f"{len(numbers)} probations, all committed")


@case("the six modules of a node in one transaction, under 1,000 clients", timeout=60)
def one_transaction():
    place().put_good(1)
    node = Node("six", "proxy", rpc=None, module_dirs=dirs(), **QUIET,
                modules=["proxy", ADMIN, "echo", "numbered", "login", "rank_room"]).start()
    names = ["proxy", "codec_obespoir", "http_admin", "numbered", "login", "rank_room"]
    with Load(node.ws_port, ID, 1000, 4000) as load:
        reload(node, *names, force=True)
        settle(node)
        before = Footprint(node)
        for number in range(40):
            place().put_good(1 + number % 2)
            shown = reload(node, *names, force=True)
            equal([entry["state"] for entry in shown["modules"]], ["active"] * 6)
        before_bad = [entry["active"]["generation"] for entry in node.get("/modules")["modules"]]
        place().put_plain(start="return OB_E_LIMIT;")
        reload(node, *names, force=True, expect=422)
        equal([entry["active"]["generation"] for entry in node.get("/modules")["modules"]],
              before_bad, "none of six is exchanged when one is refused")
        served(node)
        settle(node)
        flat = before.check()
        load.finish(versions={1, 2})
    comment(f"40 transactions of six modules; {load}")
    comment(flat)
    node.stop()


# ---------------------------------------------------------------- at the wrong moment

def asked(client, number):
    """The generation that serves holds a request of this client."""
    client.tell(ID, {"ms": 3000 * SLOW, "seq": number})
    equal(client.ask(30000, number), number)  # the echo is behind it, on the same connection


@case("a reload while old generations drain: taken up to the limit, then 409, and all of them "
      "answer what they hold", timeout=60)
def while_draining():
    node = the_node()
    taken = 0
    begin(node)
    with Load(node.ws_port, ID, 1000, 3000) as load, Client(node.ws_port, timeout=30) as client:
        before = Footprint(node)
        for number in range(2, 12):
            asked(client, number)
            place().put_good(number)
            answer = node.http("POST", "/modules/reload", {"name": "numbered"})
            if answer.status == 409:
                equal(answer.json["error"]["code"], "draining")
                break
            equal(answer.status, 200, repr(answer))
            taken += 1
        check(3 <= taken < 10, f"{taken} reloads while {taken - 1} drained")
        equal([client.reply(ID)["seq"] for _ in range(taken + 1)], list(range(2, taken + 3)))
        settle(node)
        flat = before.check()
        load.finish()
    comment(f"{taken} reloads, then 409; {load}")
    comment(flat)


SLOW_START = "__attribute__((constructor)) static void slow(void)\n{\n\tusleep(300000);\n}"


@case("reloads while one is under way: they wait their turn, a later one takes the place of an "
      "earlier, and other modules come and go beside it", timeout=60)
def while_reloading():
    node = the_node()
    counts = {200: 0, 409: 0}
    # Only a rehearsal or a load that takes a while makes sure that the others wait.
    Place(place().dir, "sleeper", 6050).put_plain(begin="#include <unistd.h>\n" + SLOW_START)

    def ask(method, path, body=None):
        return lambda: node.http(method, path, body, timeout=60)

    def later(seconds, function):
        def run():
            time.sleep(seconds)
            return function()
        return run
    numbered = {"name": "numbered", "force": True}
    begin(node)
    with Load(node.ws_port, ID, 1000, 3000) as load:
        before = Footprint(node)
        for number in range(3):
            place().put_good(1 + number % 2)
            answers = together(
                ask("POST", "/modules", {"name": "sleeper"}),
                *(later(0.05 + 0.02 * n, ask("POST", "/modules/reload", numbered))
                  for n in range(3)),
                later(0.1, ask("POST", "/modules/reload", {"name": "echo", "force": True})))
            equal((answers[0].status, answers[4].status), (200, 200), str(answers))
            for answer in answers[1:4]:
                counts[answer.status] += 1
                if answer.status == 409:
                    equal(answer.json["error"]["code"], "superseded")
            # the one that came last, as a rule the third
            check(200 in [answer.status for answer in answers[1:4]], str(answers))
            equal(node.http("DELETE", "/modules/sleeper").status, 200)
            together(ask("POST", "/modules/reload", numbered), ask("DELETE", "/modules/echo"))
            together(ask("POST", "/modules/reload", numbered),
                     ask("POST", "/modules", {"name": "echo", "conf": {}}))
            check(node.module("echo")["active"], "echo is back")
        settle(node)
        flat = before.check()
        load.finish()
    check(counts[200] >= 3 and counts[409] >= 1, str(counts))
    comment(f"{counts[200]} taken, {counts[409]} superseded; {load}")
    comment(flat)


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            pass
    return found


@case("kill -9 of the child that rehearses a module: refused, and nothing else happens",
      timeout=60)
def probe_killed():
    node = the_node()
    endless = next(make for what, make, _ in WAYS if what == "a start that never returns")
    begin(node)
    with Load(node.ws_port, ID, 1000, 3000) as load:
        before = Footprint(node)
        for _ in range(KILLS):
            generation = serving(node)
            endless(place())

            def kill():
                for child in eventually(lambda: children(node.pid), "the child", pause=0.005):
                    os.kill(child, signal.SIGKILL)
            shown, _ = together(lambda: reload(node, "numbered", expect=422), kill)
            equal(shown["error"]["step"], "probe", str(shown))
            equal((serving(node), children(node.pid)), (generation, []))
        place().put_good(2)
        reload(node, "numbered")
        served(node)
        settle(node)
        flat = before.check()
        load.finish(versions={1, 2})
    comment(f"{KILLS} children killed; {load}")
    comment(flat)


# ---------------------------------------------------------------- idle and busy

def switch_of(node, *names):
    """What the switch turn of a reload touched, and how long it took."""
    shown = reload(node, *names, force=True)
    turn = report(node, shown["tx"])["switch"]
    return turn["objects"], turn["cpu_us"]


def switches(node, sets, rounds):
    """The objects of each set's switch turns, which must always be the same number, and the
    median of its CPU time."""
    result = {}
    for names in sets:
        turns = [switch_of(node, *names) for _ in range(rounds)]
        objects = {turn[0] for turn in turns}
        equal(len(objects), 1, f"numbers of objects that {names} touched: {objects}")
        result[names] = (objects.pop(), sorted(turn[1] for turn in turns)[rounds // 2])
    return result


@case(f"case 35: {IDLE} idle and {BUSY} busy clients in the middle of fragmented frames: none is closed, "
      "and a switch touches no more than with 10", timeout=240 if LONG else 60)
def idle_and_busy():
    sets = [("numbered",), ("proxy",), ("codec_obespoir",),
            ("proxy", "codec_obespoir", "http_admin", "echo", "numbered")]
    rounds = 101 if LONG else 15
    pieces = ["--fragments", "5", "--pieces", "20", "-s", "400"]
    node = the_node()
    begin(node)
    with Load(node.ws_port, ID, 10, 100, args=pieces) as few:
        with_few = switches(node, sets, rounds)
        few.finish()
    with Load(node.ws_port, ID, BUSY, BUSY * 5, IDLE, pieces) as many:
        settle(node)
        before = Footprint(node)
        with ConnectStorm(node.ws_port, ID) as comers:
            with_many = switches(node, sets, rounds)
            comers.finish()
        settle(node)
        flat = before.check()
        many.finish()
    for names in sets:
        equal(with_many[names][0], with_few[names][0],
              f"objects that a switch of {names} touches with {IDLE + BUSY} clients and with 10")
        check(with_many[names][1] < 5000 * SLOW, f"a switch of {names} takes {with_many[names]} us")
        comment(f"{'+'.join(names)}: {with_many[names][0]} objects; CPU {with_few[names][1]:.1f} us "
                f"with 10 clients, {with_many[names][1]:.1f} us with {IDLE + BUSY}")
    comment(many)
    comment(flat)


if __name__ == "__main__":
    main(all_ended, timeout=7200 if LONG else 500)
