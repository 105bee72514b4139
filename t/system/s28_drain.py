#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A planned leave: a node that drains is given nothing new, is rid of what it has at its pace, and
nobody loses anything by it."""

import signal
import threading
import time

from obtest import sources
from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client, Closed, frame, packet
from obtest.tap import case, cases, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
MOVING = 4002

# 6000-6999 to the services, each client to one of them; 7000-7999 to any of them.
TABLE = {"range": {"service": [[6000, 7999]]}}
FREE = {"no_state": {"range": [[7000, 7999]]}}

house = {}

# Each answer says who gave it and how many it has given to this session: 6001 sticks, 7001 need
# not. 6002 is answered after {"ms": N}. GET /moves has what it heard of sessions on the move.
COUNTER = """
#include <stdlib.h>

#include <obhost/obhost.h>

static json_t *seen;
static json_t *moves;

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	ob_node_info node = {.size = sizeof(node)};
	char text[OB_SESSION_TEXT] = "";

	if (ob_req_view(ctx, req, &view) != 0 || ob_node(ctx, &node) != 0) {
		return;
	}
	ob_session_text(ctx, view.session, text, sizeof(text));
	json_int_t count = json_integer_value(json_object_get(seen, text)) + 1;
	json_object_set_new(seen, text, json_integer(count));
	ob_reply_json(ctx, req, "{s:i, s:s, s:I, s:s, s:I}", "code", 200, "node", node.name, "n",
		      ob_req_int(ctx, req, "n", -1), "session", text, "count", count);
}

static void fired(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_req *req = arg;

	answer(ctx, *req);
	free(req);
}

static void later(ob_ctx *ctx, ob_req req)
{
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	ob_timer_start(ctx, (uint64_t)ob_req_int(ctx, req, "ms", 10), 0, fired, kept);
}

static void moved(ob_ctx *ctx, const ob_event_info *info)
{
	char text[OB_SESSION_TEXT] = "";

	ob_session_text(ctx, info->session, text, sizeof(text));
	json_array_append_new(moves, json_pack("{s:s, s:s, s:s}", "session", text, "event",
					       info->event == OB_EVENT_SESSION_MOVED ? "moved"
										     : "left",
					       "node", info->name));
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_value(ctx, req, json_deep_copy(moves));
}

static void stop(ob_ctx *ctx)
{
	json_decref(seen);
	json_decref(moves);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	seen = json_object();
	moves = json_array();
	int rc = ob_on_id(ctx, 6001, answer);

	rc = rc < 0 ? rc : ob_on_id(ctx, 7001, answer);
	rc = rc < 0 ? rc : ob_on_id(ctx, 6002, later);
	rc = rc < 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_MOVED, moved);
	rc = rc < 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_LEFT, moved);
	return rc < 0 ? rc : ob_on_http(ctx, "GET", "/moves", show, 0);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""


def modules():
    if "plugins" not in house:
        plugins = PluginDir()
        plugins.build("counter", COUNTER)
        plugins.build("holder", sources.HOLDER)
        house["plugins"] = plugins
    return [str(house["plugins"]), MODULES, EXAMPLES]


def a_node(name, role, *more, **keys):
    kind = {"proxy": "proxy", "route": "route"}.get(role, "service")
    if role == "proxy":
        keys.setdefault("websocket", FREE)
    return Node(name, role, module_dirs=modules(), modules=[kind, ADMIN, *more], **keys)


def nodes():
    """Two proxies, a route node, two services; one proxy has links with the services, too."""
    if "route" not in house:
        house["near"] = a_node("near", "proxy", rpc={"route": TABLE})
        house["far"] = a_node("far", "proxy")
        house["route"] = a_node("route", "route", rpc={"route": TABLE})
        for name in ("one", "two"):
            house[name] = a_node(name, "service", "counter")
        for name in ("near", "far", "one", "two"):
            link((house[name], house["route"]))
        link((house["near"], house["one"]), (house["near"], house["two"]))
        everybody = [house[name] for name in ("route", "near", "far", "one", "two")]
        start_all(*everybody)
        wait_linked(everybody, (house["near"], house["one"]), (house["near"], house["two"]))
    for name in ("route", "near", "far", "one", "two"):
        node = house[name]
        if not node.alive():
            node.start()
        if node.get("/drain")["status"] != "none":
            equal(node.http("DELETE", "/drain").status, 200)
    wait_linked([house[name] for name in ("route", "near", "far", "one", "two")],
                (house["near"], house["one"]), (house["near"], house["two"]))
    for name in ("near", "far", "route"):
        eventually(lambda n=name: not any(peer["draining"] for peer in
                                          house[n].get("/peers")["peers"]), "nobody draining")
    return house


class Crowd:
    """Clients that each keep numbered requests under way; every one must be answered with 200 and
    its number, whatever happens meanwhile. One that is told to move connects to `ports` in turn
    and asks again what it had no answer to."""

    def __init__(self, ports, count, window=4, message_id=6001, *, ms=0):
        self.ports, self.window, self.id = list(ports), window, message_id
        self.ms = ms    # that each request takes; they are sent one after the other in that time
        self.served = [{} for _ in range(count)]    # per client: session -> names in order
        self.closed = []                            # when, by the clock, each was told to move
        self.asked_again = 0
        self.answered = 0
        self.error = None
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True)
                         for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, number):
        try:
            self._live(number)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def _connect(self, turn):
        for attempt in range(len(self.ports)):
            port = self.ports[(turn + attempt) % len(self.ports)]
            try:
                return Client(port, timeout=20)
            except (ConnectionRefusedError, Closed):
                continue
        raise AssertionError("nobody takes a client")

    def _live(self, number):
        turn, due, sent = number, 0, 0
        client = self._connect(turn)
        while True:
            while not self._stop.is_set() and sent - due < self.window:
                client.send_bytes(frame(packet(self.id, b'{"n":%d,"ms":%d}' % (sent, self.ms))))
                sent += 1
                time.sleep(self.ms / 1000 / self.window)
            if due == sent:
                client.drop()
                return
            try:
                answer = client.reply(self.id)
            except Closed as closed:
                equal(closed.code, MOVING)
                self.closed.append(time.monotonic())
                self.asked_again += sent - due
                client.drop()
                turn, sent = turn + 1, due
                client = self._connect(turn)
                continue
            equal((answer.get("code"), answer.get("n")), (200, due), str(answer))
            names = self.served[number].setdefault(answer["session"], [])
            if not names or names[-1] != answer["node"]:
                names.append(answer["node"])
            due += 1
            self.answered += 1

    def check(self):
        if self.error:
            raise self.error

    def progress(self, more=200):
        """Waits until so many more have been answered."""
        before = self.answered
        eventually(lambda: self.check() or self.answered >= before + more, "answers", 20)

    def finish(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(30 * SLOW)
            check(not thread.is_alive(), "a client waits for an answer")
        self.check()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()


def drain(node, **body):
    answer = node.http("POST", "/drain", body or None)
    equal(answer.status, 202, repr(answer))
    return answer.json


def drained(node, timeout=20):
    return eventually(lambda: (lambda shown: shown["status"] == "drained" and shown)(
        node.get("/drain")), f"{node.name} drained", timeout)


def nothing_stays(*names):
    for name in names:
        node = house[name]
        eventually(lambda n=node: n.get("/sessions")["total"] == 0, f"no session on {name}")
        eventually(lambda n=node: n.get("/node")["pending"] == 0, f"nothing pending on {name}")


# ---------------------------------------------------------------- services

@case("a service drains under load: every request is answered, each session moves once, in order",
      timeout=60)
def service():
    at = nodes()
    with Crowd([at["near"].ws_port, at["far"].ws_port], 24) as crowd:
        crowd.progress()
        began = time.monotonic()
        drain(at["one"], pace=20)
        shown = drained(at["one"])
        took = time.monotonic() - began
        crowd.progress()
        check(not shown["late"] and shown["moved"] > 2, shown)
        check(took >= (shown["moved"] - 2) / 20, f"{shown['moved']} sessions in {took} s")
        ways = [names for served in crowd.served for names in served.values()]
        equal({names[-1] for names in ways}, {"two"})
        check(all(names in (["two"], ["one", "two"]) for names in ways), ways)
        equal(sum(len(names) == 2 for names in ways), shown["moved"])
        crowd.finish()
    left = {m["session"] for m in at["one"].get("/moves") if m["event"] == "left"}
    came = [(m["session"], m["node"]) for m in at["two"].get("/moves") if m["event"] == "moved"]
    equal(len(left), shown["moved"])
    equal(sorted(came), sorted((session, "one") for session in left))
    nothing_stays("near", "far", "one", "two")


@case("one that drains is given no new session and no free message, and both again after an abort")
def nothing_new():
    at = nodes()
    drain(at["two"])
    for name in ("near", "route"):
        eventually(lambda n=name: [peer["name"] for peer in at[n].get("/peers")["peers"]
                                   if peer["draining"]] == ["two"], f"{name} has heard")
    equal(at["two"].get("/node")["state"], "draining")
    for name in ("near", "far"):
        for _ in range(10):
            with Client(at[name].ws_port) as client:
                equal({client.ask(6001)["node"], client.ask(7001)["node"]}, {"one"})
    answer = at["two"].http("DELETE", "/drain")
    equal((answer.status, answer.json), (200, {"status": "none"}))
    equal(at["two"].get("/node")["state"], "running")
    for name in ("near", "far"):
        def both(n=name):
            with Client(at[n].ws_port) as client:
                return {client.ask(7001)["node"] for _ in range(4)} == {"one", "two"}
        eventually(both, "both serve again")


@case("without a pace nobody is asked to go: a session that sticks is served on, the end waits")
def no_pace():
    at = nodes()
    with Client(at["far"].ws_port) as client:
        name = client.ask(6001)["node"]
        equal(client.ask(6001)["node"], name)
        drain(at[name])
        for count in range(3, 30):
            answer = client.ask(6001)
            equal((answer["node"], answer["count"]), (name, count))
        eventually(lambda: at[name].get("/drain")["left"]["sessions"] == 1, "the session seen")
        shown = at[name].get("/drain")
        equal((shown["status"], shown["moved"]), ("draining", 0))
        client.close()
    drained(at[name])


@case("aborted half-way: those that have moved stay where they are, the others too", timeout=40)
def aborted():
    at = nodes()
    with Crowd([at["far"].ws_port], 30, window=2) as crowd:
        crowd.progress()
        drain(at["one"], pace=4)
        eventually(lambda: at["one"].get("/drain")["moved"] >= 2, "two moved")
        moved = at["one"].get("/drain")["moved"]
        equal(at["one"].http("DELETE", "/drain").status, 200)
        crowd.progress(500)
        crowd.finish()
        ways = [names for served in crowd.served for names in served.values()]
        gone = sum(names == ["one", "two"] for names in ways)
        check(moved <= gone <= moved + 1, f"{gone}, not {moved}")
        check(all(names in (["one"], ["two"], ["one", "two"]) for names in ways), ways)
        check(["one"] in ways, "nobody has stayed")


@case("a request that takes its time is waited for; its client is read on when it has moved")
def slow_request():
    at = nodes()
    with Client(at["near"].ws_port) as client:
        name = client.ask(6001)["node"]
        other = {"one": "two", "two": "one"}[name]
        client.tell(6002, {"ms": 1500, "n": 1})
        eventually(lambda: at[name].get("/node")["requests"] > 1, "the request")
        began = time.monotonic()
        drain(at[name], pace=1000)
        time.sleep(0.3)
        client.tell(6001, {"n": 2})
        got = client.reply(6002)
        equal((got["n"], got["node"]), (1, name))
        check(time.monotonic() - began > 0.9, "it was not waited for")
        got = client.reply(6001)
        equal((got["n"], got["node"]), (2, other))
    drained(at[name])


@cases([(1,), (2,)], "{{\"then\": \"stop\"}}: the node ends with status 0 and nobody notices, {0}",
       timeout=60)
def then_stop(_turn):
    at = nodes()
    with Crowd([at["near"].ws_port, at["far"].ws_port], 16) as crowd:
        crowd.progress()
        drain(at["two"], pace=1000, then="stop", deadline=30)
        equal(at["two"].wait(), 0)
        crowd.progress()
        crowd.finish()
    check("nothing is left after" in at["two"].log(), at["two"].tail())


@case("SIGQUIT of a service loses nothing either", timeout=60)
def quits():
    at = nodes()
    with Crowd([at["near"].ws_port, at["far"].ws_port], 16) as crowd:
        crowd.progress()
        at["one"].send_signal(signal.SIGQUIT)
        equal(at["one"].wait(), 0)
        crowd.progress()
        crowd.finish()


# ---------------------------------------------------------------- proxies

@case("a proxy drains under load: clients are closed with 4002 at its pace, each when its requests "
      "have ended", timeout=60)
def proxy():
    at = nodes()
    with Crowd([at["far"].ws_port, at["near"].ws_port], 1) as one, \
            Crowd([at["far"].ws_port], 20) as crowd:
        crowd.ports = [at["far"].ws_port, at["near"].ws_port]
        crowd.progress()
        one.progress(20)
        drain(at["far"], pace=10)
        equal(at["far"].http("GET", "/readyz").status, 503)
        shown = drained(at["far"])
        equal((shown["closed"], shown["left"]["clients"], shown["late"]), (21, 0, False))
        crowd.progress()
        one.progress(20)
        times = sorted(crowd.closed + one.closed)
        equal(len(times), 21)
        check(times[-1] - times[0] > 1.5, f"21 clients in {times[-1] - times[0]} s")
        for later, earlier in zip(times[12:], times):
            check(later - earlier > 0.5, "too many in a second")
        crowd.finish()
        one.finish()
    nothing_stays("far", "one", "two")


@case("what a client that is closed had no answer to was never read: no handler has seen it")
def unread():
    at = nodes()
    with Client(at["far"].ws_port) as client:
        name = client.ask(6001)["node"]
        client.tell(6002, {"ms": 1200, "n": 7})
        eventually(lambda: at[name].get("/node")["requests"] > 1, "the request")
        handled = at[name].module("counter")["active"]["handled"]
        drain(at["far"], pace=1000)
        time.sleep(0.3)
        for number in range(50):
            client.tell(6001, {"n": number})
        equal(client.reply(6002)["n"], 7)
        try:
            client.packet()
            check(False, "an answer")
        except Closed as closed:
            equal(closed.code, MOVING)
    drained(at["far"])
    equal(at[name].module("counter")["active"]["handled"], handled)


@case("aborted: the proxy takes clients on its port again, and those there are go on")
def proxy_aborted():
    at = nodes()
    port = at["near"].ws_port
    with Client(port) as client:
        client.tell(6002, {"ms": 1000})
        time.sleep(0.2)
        drain(at["near"], pace=1000)
        eventually(lambda: at["near"].get("/node")["state"] == "draining", "draining")
        time.sleep(0.1)
        equal(at["near"].http("DELETE", "/drain").status, 200)
        equal(client.reply(6002)["code"], 200)
        equal(client.ask(6001)["code"], 200)
        with Client(port) as other:
            equal(other.ask(6001)["code"], 200)
    equal(at["near"].http("GET", "/readyz").status, 200)


@case("somebody else has taken the port: the abort is refused with 409 and the drain goes on")
def port_taken():
    at = nodes()
    drain(at["near"])
    port = at["near"].ws_port
    squatter = Node("squatter", "proxy", modules=["proxy", ADMIN], rpc=None,
                    websocket={"port": port})
    squatter.start()
    answer = at["near"].http("DELETE", "/drain")
    equal((answer.status, answer.json["error"]["code"]), (409, "listen"), repr(answer))
    check(str(port) in answer.json["error"]["message"], repr(answer))
    equal(at["near"].get("/drain")["status"] in ("draining", "drained"), True)
    squatter.stop()
    equal(at["near"].http("DELETE", "/drain").status, 200)
    with Client(port) as client:
        equal(client.ask(6001)["code"], 200)


# ---------------------------------------------------------------- route nodes

def two_ways(table_at):
    """A proxy and two services that reach each other through two route nodes and no other way."""
    routes = [a_node(f"{table_at}_r{n}", "route", rpc={"route": TABLE}) for n in (1, 2)]
    keys = {"rpc": {"unix": False}}
    if table_at == "proxy":
        keys["rpc"]["route"] = TABLE
    ends = [a_node(f"{table_at}_p", "proxy", **keys)]
    ends += [a_node(f"{table_at}_s{n}", "service", "counter", rpc={"unix": False}) for n in (1, 2)]
    link((routes[0], routes[1]))
    for node in ends:
        del node.conf["rpc"]["port"]     # nobody can dial it
        link((node, routes[0]), (node, routes[1]))
    start_all(*routes, *ends)
    wait_linked((routes[0], routes[1], *ends), (routes[1], *ends))
    return routes, ends


def relayed(node):
    return node.metric("obhost_forwarded_total")


@cases([("proxy",), ("route",)], "one of two route nodes drains under load, then stops: the other "
       "one relays, nothing is lost, nobody moves (the {0} knows the role)", timeout=90)
def route_node(table_at):
    routes, ends = two_ways(table_at)
    port = ends[0].ws_port
    with Crowd([port], 16) as sticky, Crowd([port], 8, 1, 7001) as free:
        sticky.progress()
        free.progress()
        busy, other = sorted(routes, key=relayed, reverse=True)
        check(relayed(busy) > 0, "nothing went through it")
        drain(busy)
        drained(busy)
        check(not busy.get("/drain")["late"], busy.get("/drain"))
        for crowd in (sticky, free):
            crowd.progress(500)
        before = relayed(busy), relayed(other)
        for crowd in (sticky, free):
            crowd.progress(500)
        equal(relayed(busy), before[0])
        check(relayed(other) >= before[1] + 1000, "who relays?")
        drain(busy, then="stop")
        equal(busy.wait(), 0)
        for crowd in (sticky, free):
            crowd.progress(500)
            crowd.finish()
    ways = [names for served in sticky.served for names in served.values()]
    check(all(len(names) == 1 for names in ways), ways)
    check(not sticky.closed and not free.closed, "a client was closed")
    for node in ends:
        eventually(lambda n=node: n.get("/node")["pending"] == 0, f"nothing pending on {node.name}")
    for node in (*ends, other):
        node.stop()


@cases([("proxy", "POST"), ("route", "POST"), ("proxy", "QUIT"), ("route", "QUIT")],
       "one of two route nodes is told to go while requests take their time: it waits for their "
       "answers and nothing is lost (the {0} knows the role, {1})", timeout=90)
def route_node_stops(table_at, how):
    routes, ends = two_ways(table_at)
    with Crowd([ends[0].ws_port], 16, message_id=6002, ms=400) as crowd:
        crowd.progress()
        busy = max(routes, key=relayed)
        if how == "POST":
            drain(busy, then="stop")
            eventually(lambda: busy.get("/drain")["left"]["peers_waiting"] > 0, "it waits")
        else:
            busy.send_signal(signal.SIGQUIT)
        equal(busy.wait(), 0)
        crowd.progress()
        crowd.finish()
    ways = [names for served in crowd.served for names in served.values()]
    check(all(len(names) == 1 for names in ways), ways)
    check("nothing is left after" in busy.log(), busy.tail())
    for node in (*ends, *routes):
        if node is not busy:
            node.stop()


# ---------------------------------------------------------------- the deadline, bad input

@case("the deadline ends it whatever is left, and says so")
def deadline():
    at = nodes()
    with Client(at["far"].ws_port) as client:
        equal(client.ask(6001)["code"], 200)
        client.tell(6002, {"ms": 4000})
        time.sleep(0.2)
        began = time.monotonic()
        drain(at["far"], pace=1000, deadline=1)
        shown = drained(at["far"])
        check(0.9 < time.monotonic() - began < 3 * SLOW, "not at the deadline")
        check(shown["late"], shown)
        equal(client.close_code(), MOVING)
    eventually(lambda: "the deadline has passed" in at["far"].log(), "the line in the log")


@case("with a deadline and then: stop the node ends with status 0")
def deadline_stop():
    node = a_node("lonely", "proxy", "holder", call_timeout=60)
    node.start()
    with Client(node.ws_port) as client:
        client.tell(6302)
        eventually(lambda: node.get("/node")["requests"] > 1, "the request")
        drain(node, deadline=1, then="stop")
        check(client.close_code() in (1001, MOVING))
    equal(node.wait(), 0)


@case("a node with nothing to do has drained at once; asked again, it goes on with what it is told")
def idle():
    node = a_node("idle", "service").start()
    drain(node, pace=5)
    drained(node)
    equal(drain(node, pace=7, deadline=9)["pace"], 7)
    shown = drained(node)
    equal((shown["deadline_s"], shown["then"], shown["left"]["sessions"]), (9, "stay", 0))
    drain(node, then="stop")
    equal(node.wait(), 0)


BAD = [
    ({"pace": -1}, "pace"), ({"pace": 1000001}, "pace"), ({"pace": "fast"}, "pace"),
    ({"pace": 1.5}, "pace"), ({"pace": None}, "pace"), ({"pace": []}, "pace"),
    ({"deadline": 0}, "deadline"), ({"deadline": -3}, "deadline"), ({"deadline": 86401}, "deadline"),
    ({"deadline": "soon"}, "deadline"), ({"then": "explode"}, "then"), ({"then": 1}, "then"),
    ({"paces": 3}, "unknown_argument"), ({"path": "/x"}, None), ("[]", None), ("{", None),
]


@cases(BAD, "POST /drain {0}: 400, and nothing has happened")
def bad(body, code):
    if "bad" not in house:
        house["bad"] = a_node("bad", "service").start()
    node = house["bad"]
    headers = {"Content-Type": "application/json"} if isinstance(body, str) else None
    answer = node.http("POST", "/drain", body, headers)
    equal(answer.status, 400, repr(answer))
    if code:
        equal(answer.json["error"]["code"], code)
    check(answer.json["error"]["message"])
    equal(node.get("/drain"), {"status": "none"})


@case("DELETE /drain without a drain: 200; GET shows none; the verbs are on the core's socket, too")
def verbs():
    node = house["bad"]
    equal(node.http("DELETE", "/drain").status, 200)
    equal(node.admin("drain", pace=3)[0], 202)
    equal(node.admin("drain.show")[1]["pace"], 3)
    equal(node.admin("drain.abort"), (200, {"status": "none"}))
    node.stop()


@case("frames about sessions that do not exist, from a node that means no good, change nothing")
def nonsense():
    from obtest.peer import SYSTEM, Peer, node_id, role_id  # pylint: disable=import-outside-toplevel
    at = nodes()
    with Client(at["near"].ws_port) as client, \
            Peer(at["near"].rpc_port, "stranger", "service") as peer:
        name = client.ask(6001)["node"]
        check(peer.meet(), peer.refused)
        sequence = int(client.ask(6001)["session"].rpartition("-")[2], 16)
        me = node_id("near")
        for number in (50, 51):
            for session in (0, sequence, sequence + 1, 2**64 - 1):
                for role in (0, role_id("service"), role_id("nobody")):
                    peer.send(SYSTEM, id=number, dst=me, session_node=me, session_seq=session,
                              role=role)
        for number in (48, 49, 52, 47):
            peer.send(SYSTEM, b"\xff" * 40, id=number, dst=me, status=255)
        for _ in range(10):
            equal(client.ask(6001)["node"], name)
    eventually(lambda: "stranger" not in at["near"].peers(), "the stranger gone")


if __name__ == "__main__":
    main(all_ended)
