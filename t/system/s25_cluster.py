#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Nodes that find each other: joining, leaving, dying, and the way messages take meanwhile."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

from obtest import sources
from obtest.env import BUILD, EXAMPLES, MODULES, SLOW, TOP, node_environment
from obtest.nodes import Node, all_ended, free_port, start_all
from obtest.peer import SYSTEM, Peer
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import (at_end, case, cases, check, comment, contains, equal, eventually, main, skip,
                        steady)
from obtest.temp import temp_dir

ADMIN = {"name": "http_admin", "admin": True}
FREE, STICKY = 6001, 5001  # ids: any node of the role, and the session's own
HEARS = """
#include <obhost/obhost.h>

static json_t *heard;

static void note(ob_ctx *ctx, const ob_event_info *info)
{
	static const char *const words[] = {"up", "down", "replaced"};

	(void)ctx;
	json_array_append_new(heard, json_pack("[s, s, s]", info->name, info->role,
					       words[info->event - OB_EVENT_NODE_UP]));
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_value(ctx, req, json_pack("{s:O}", "heard", heard));
}

static void stop(ob_ctx *ctx)
{
	json_decref(heard);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_http(ctx, "GET", "/heard", show, 0);

	heard = json_array();
	for (int e = OB_EVENT_NODE_UP; rc >= 0 && e <= OB_EVENT_NODE_REPLACED; e++) {
		rc = ob_on_event(ctx, e, note);
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""
TABLE = {"range": {"service": [[5001, 6999]]}}

plugins = None


def modules():
    global plugins  # pylint: disable=global-statement
    if plugins is None:
        plugins = PluginDir()
        plugins.build("probe", sources.PROBE)
        plugins.build("hears", HEARS)
    return [str(plugins), MODULES, EXAMPLES]


def probe(*ids):
    return {"name": "probe", "conf": {"ids": list(ids or (FREE, STICKY))}}


def at(node):
    """One entry of remote_ports: nothing but an address."""
    return {"host": "127.0.0.1", "port": node.rpc_port}


class Cluster:
    """Route nodes, proxies and services. Everybody is given the address of the first route node
    and nothing else; the second route node too."""

    def __init__(self, routes=1, services=1, **more):
        self.routes = [Node(f"route_{n}", "route", modules=["route", ADMIN], module_dirs=modules())
                       for n in range(1, routes + 1)]
        self.first = self.routes[0]
        for node in self.routes[1:]:
            node.conf["remote_ports"] = [at(self.first)]
        self.proxy = self.node("proxy_1", "proxy", modules=["proxy", ADMIN],
                               rpc={"route": TABLE, **more},
                               websocket={"no_state": {"range": [[6000, 9000]]}})
        self.services = [self.service(f"service_{n}", rpc=more) for n in range(1, services + 1)]

    def node(self, name, role, **keys):
        return Node(name, role, module_dirs=modules(), remote_ports=[at(self.first)], **keys)

    def service(self, name, role="service", ids=(), **keys):
        return self.node(name, role, modules=["service", ADMIN, probe(*ids)], **keys)

    @property
    def nodes(self):
        return [*self.routes, self.proxy, *self.services]

    def start(self):
        start_all(*self.nodes)
        self.wait()
        return self

    def wait(self, timeout=20):
        """Until everybody knows everybody."""
        names = {node.name for node in self.nodes}
        for node in self.nodes:
            eventually(lambda n=node: names - {n.name} <= known(n), f"{node.name} knows all",
                       timeout)
            eventually(lambda n=node: {r.name for r in self.routes} - {n.name} <= n.peers(),
                       f"{node.name} has a link with each route node", timeout)
            eventually(lambda n=node: {r.name for r in self.routes} <= told_by(n),
                       f"each route node has told {node.name} who is there", timeout)

    def stop(self):
        for node in reversed(self.nodes):
            node.stop()


def shown(node, name):
    """What `node` shows of the node of that name, or {}."""
    for peer in node.get("/peers")["peers"]:
        if peer["name"] == name:
            return peer
    return {}


def state(node, name):
    return shown(node, name).get("state", "")


def known(node):
    return {p["name"] for p in node.get("/peers")["peers"] if p["state"] == "up" and p["listed"]}


def told_by(node):
    return {r["name"] for r in node.get("/peers")["directory"]["route_nodes"] if r["synced"]}


def served_by(client, number=FREE, times=20):
    return {client.ask(number)["node"] for _ in range(times)}


# ---------------------------------------------------------------- coming

@case("a fourth node, given one route node's address and a token, joins and takes traffic")
def newcomer():
    cluster = Cluster(routes=2).start()
    with Client(cluster.proxy.ws_port) as client:
        equal(served_by(client), {"service_1"})
        fourth = cluster.service("service_2").start()
        began = time.monotonic()
        eventually(lambda: served_by(client, times=4) == {"service_1", "service_2"}, "its traffic")
        check(time.monotonic() - began < 3 * SLOW, "it took long")
    eventually(lambda: fourth.peers() >= {"route_1", "route_2"}, "a link with each route node")
    # What had traffic has a link of its own, by the socket that is near.
    eventually(lambda: shown(cluster.proxy, "service_2")["link"] == "up", "a link of their own")
    for one, other in ((cluster.proxy, "service_2"), (fourth, "proxy_1")):
        check(shown(one, other)["address"].rpartition("/")[2] in ("link.sock", "unix"))
    entry = shown(cluster.proxy, "service_2")
    equal((entry["role"], entry["state"], entry["stale"], entry["weight"]),
          ("service", "up", False, 100))
    check({m["name"] for m in entry["modules"]} >= {"service", "probe"}, entry)
    check(any(a.startswith("tcp 127.0.0.1:") for a in entry["addresses"]), entry)
    fourth.stop()
    cluster.stop()


@case("a node of a role that nobody configured takes the ids that it says it serves")
def unheard_role():
    cluster = Cluster().start()
    arena = cluster.service("arena_1", "arena", ids=(8000, 8001, FREE),
                            rpc={"serve": [[8000, 8001], [6000, 6100]]})
    with Client(cluster.proxy.ws_port) as client:
        equal(client.code(8000), 404)
        arena.start()
        eventually(lambda: client.code(8000) == 200, "its traffic")
        equal(client.ask(8001)["role"], "arena")
        equal(client.code(8002), 404)
        equal(client.ask(FREE)["role"], "service")  # the proxy's own table comes first
        # Until the proxy knows itself, the route node decides.
        eventually(lambda: [(r["low"], r["high"], r["role"])
                            for r in cluster.proxy.get("/routes")["served"]] ==
                   [(6000, 6100, "arena"), (8000, 8001, "arena")], "the proxy's table")
        equal(client.ask(8000)["role"], "arena")
        equal(shown(cluster.proxy, "arena_1")["ranges"], [[8000, 8001], [6000, 6100]])
        arena.stop()
        eventually(lambda: client.code(8000) == 404, "its ids gone with it")
    cluster.stop()


@case("links only by tcp, and encrypted with the token, are made the same way")
def encrypted():
    cluster = Cluster(encode=1, unix=False)
    cluster.first.conf["rpc"]["encode"] = 1
    cluster.start()
    with Client(cluster.proxy.ws_port) as client:
        equal(served_by(client), {"service_1"})
        eventually(lambda: shown(cluster.proxy, "service_1")["link"] == "up", "their own link")
        equal(served_by(client), {"service_1"})
    contains(shown(cluster.proxy, "service_1")["address"], "127.0.0.1:")
    contains(shown(cluster.proxy, "service_1")["tls"], "TLS_")
    cluster.stop()


@case("POST /peers lets a node join that was started with no address; DELETE takes it out")
def by_http():
    cluster = Cluster().start()
    node = Node("service_9", modules=["service", ADMIN, probe()], module_dirs=modules()).start()
    equal(node.peers(), set())
    equal(node.get("/peers")["directory"]["stale"], True)
    body = {"address": f"127.0.0.1:{cluster.first.rpc_port}"}
    equal(node.http("POST", "/peers", body).status, 202)
    equal(node.http("POST", "/peers", body).status, 409)
    for wrong in ({}, {"address": ""}, {"address": "127.0.0.1"}, {"address": "127.0.0.1:0"},
                  {"address": "127.0.0.1:70000"}, {"address": 7}, {"adress": "127.0.0.1:5"},
                  {"address": "127.0.0.1:5", "token": "short"}):
        equal(node.http("POST", "/peers", wrong).status, 400, wrong)
    with Client(cluster.proxy.ws_port) as client:
        eventually(lambda: "service_9" in served_by(client, times=4), "its traffic")
    equal(node.http("POST", "/config/reload").status, 200)
    check("route_1" in node.peers(), "a reload took it out")
    equal(node.http("DELETE", "/peers/nobody").status, 404)
    equal(node.http("DELETE", "/peers/route_1").status, 200)
    equal(node.get("/peers")["remote_ports"], [])
    eventually(lambda: node.peers() == set() or node.peers() == {"proxy_1"}, "no route node")
    node.stop()
    cluster.stop()


# ---------------------------------------------------------------- going

@case("a service that is killed is known to all within a second; its work goes on elsewhere",
      timeout=60)
def killed():
    cluster = Cluster(services=2).start()
    with Client(cluster.proxy.ws_port) as client:
        eventually(lambda: len(served_by(client)) == 2, "both")
        cluster.services[0].kill()
        began = time.monotonic()
        for node in (cluster.first, cluster.proxy, cluster.services[1]):
            eventually(lambda n=node: state(n, "service_1") in ("suspect", "dead"),
                       f"{node.name} knows", 1 * SLOW)
        check(time.monotonic() - began < 1 * SLOW, "it took long")
        equal(served_by(client), {"service_2"})
        eventually(lambda: state(cluster.proxy, "service_1") == "dead", "dead", 15)
        began = shown(cluster.proxy, "service_1")["incarnation"]
        cluster.services[0].start()
        eventually(lambda: len(served_by(client)) == 2, "it is back")
        check(shown(cluster.proxy, "service_1")["incarnation"] > began, "another life")
    cluster.stop()


@case("a planned end is known at once, as such, and nothing is lost")
def planned():
    cluster = Cluster(services=2).start()
    with Client(cluster.proxy.ws_port) as client:
        eventually(lambda: len(served_by(client)) == 2, "both")
        equal(cluster.services[0].http("POST", "/drain").status, 202)
        eventually(lambda: state(cluster.proxy, "service_1") == "draining", "it drains")
        equal(served_by(client), {"service_2"})
        cluster.services[0].stop()
        eventually(lambda: state(cluster.proxy, "service_1") == "left", "it left", 1 * SLOW)
        equal(served_by(client), {"service_2"})
    cluster.services.pop(0)
    cluster.stop()


@case("a node that is frozen for five seconds is suspect meanwhile, and up again after",
      timeout=60)
def frozen():
    cluster = Cluster(services=2).start()
    first = cluster.services[0]
    with Client(cluster.proxy.ws_port) as client:
        eventually(lambda: len(served_by(client)) == 2, "both")
        first.send_signal(signal.SIGSTOP)
        try:
            eventually(lambda: state(cluster.proxy, "service_1") == "suspect", "suspect", 5)
            equal(served_by(client), {"service_2"})
            time.sleep(2)  # five in all: this is the fault itself
        finally:
            first.send_signal(signal.SIGCONT)
        eventually(lambda: state(cluster.proxy, "service_1") == "up", "up again", 5)
        eventually(lambda: len(served_by(client)) == 2, "its traffic")
        equal(shown(cluster.proxy, "service_1")["incarnation"],
              first.get("/node")["incarnation"])
    cluster.stop()


@case("either of two route nodes may be killed: messages go on, and it is taken back", timeout=90)
def routes_killed():
    cluster = Cluster(routes=2, services=2).start()
    with Client(cluster.proxy.ws_port) as client:
        eventually(lambda: len(served_by(client)) == 2, "both")
        for node in cluster.routes:
            node.kill()
            eventually(lambda n=node: n.name not in cluster.proxy.peers(), "the loss")
            codes = [client.code(FREE) for _ in range(50)]
            equal(set(codes), {200})
            check(not cluster.proxy.get("/peers")["directory"]["stale"], "the other one tells")
            node.start()
            cluster.wait()
    cluster.stop()


@case("without any route node the last known state stays, and links that are there work",
      timeout=60)
def stale():
    cluster = Cluster(services=2).start()
    with Client(cluster.proxy.ws_port) as client:
        def linked():
            served_by(client)
            return {"service_1", "service_2"} <= cluster.proxy.peers()
        eventually(linked, "links of their own")
        cluster.first.kill()
        eventually(lambda: cluster.proxy.get("/peers")["directory"]["stale"], "stale")
        equal(served_by(client), {"service_1", "service_2"})
        entry = shown(cluster.proxy, "service_1")
        equal((entry["state"], entry["stale"]), ("up", True))
        cluster.first.start()
        eventually(lambda: not cluster.proxy.get("/peers")["directory"]["stale"], "news")
        equal(served_by(client), {"service_1", "service_2"})
        cluster.wait()
    cluster.stop()


@cases([(True, "over a link with it"), (False, "through a route node only")],
       "modules hear once of each node that comes, goes, is replaced: {1}", timeout=60)
def modules_hear(direct, _way):
    cluster = Cluster()
    watcher = cluster.node("watcher", "watch", modules=["service", ADMIN, "hears"])
    one = cluster.services[0]
    if not direct:
        for node in (one, cluster.proxy, watcher):
            del node.conf["rpc"]["port"]
    cluster.services.append(watcher)
    cluster.start()

    def of(name):
        return [what for who, _role, what in watcher.get("/heard")["heard"] if who == name]

    eventually(lambda: of("service_1"), "word of it")
    equal(of("service_1"), ["up"])
    if direct:
        at_it = {"address": f"127.0.0.1:{one.rpc_port}"}
        equal(watcher.http("POST", "/peers", at_it).status, 202)
        eventually(lambda: "service_1" in watcher.peers(), "the link")
    one.kill()
    one.start()
    eventually(lambda: of("service_1") == ["up", "replaced"], "its new life")
    eventually(lambda: state(watcher, "service_1") == "up", "up again")
    one.stop()
    eventually(lambda: of("service_1") == ["up", "replaced", "down"], "its end", 1)
    equal(state(watcher, "service_1"), "left")
    one.start()
    eventually(lambda: of("service_1")[3:] == ["up"], "its return")
    equal((of("proxy_1"), of("route_1"), of("watcher")), (["up"], ["up"], []))
    cluster.stop()


# ---------------------------------------------------------------- paths

@case("order holds while messages move from a route node to a link of their own", timeout=60)
def order():
    cluster = Cluster(idle=1).start()
    total = 0
    fences = 0
    for _ in range(4):
        # The link ends when it is idle, and the next burst begins through the route node.
        eventually(lambda: shown(cluster.proxy, "service_1")["link"] == "down" and
                   shown(cluster.services[0], "proxy_1")["link"] == "down", "no link", 15)
        with Client(cluster.proxy.ws_port) as client:
            for n in range(3000):
                client.tell(STICKY, {"n": n})
            equal([client.reply(STICKY)["n"] for _ in range(3000)], list(range(3000)))
            total += 3000
            eventually(lambda: shown(cluster.proxy, "service_1")["link"] == "up", "their own link")
        fences = sum(n.metric("obhost_fences_total") for n in (cluster.proxy, cluster.services[0]))
        equal(cluster.proxy.metric("obhost_replies_stale"), 0)
    check(fences >= 4, f"{fences} changes of a path waited for the old one")
    equal(sum(n.metric("obhost_fences_late_total") for n in cluster.nodes), 0)
    equal(cluster.proxy.metric("obhost_pending"), 0)
    check(total == 12000)
    cluster.stop()


# ---------------------------------------------------------------- who is who

@case("a second live node of a name is refused, naming both addresses; the first one stays")
def same_name():
    cluster = Cluster().start()
    twin = cluster.service("service_1").start()
    eventually(lambda: "is at" in twin.log(), "the refusal")
    contains(twin.log(), "and you are at")
    equal(twin.peers(), set())
    with Client(cluster.proxy.ws_port) as client:
        equal(served_by(client), {"service_1"})
    equal(shown(cluster.proxy, "service_1")["incarnation"],
          cluster.services[0].get("/node")["incarnation"])
    twin.stop()
    cluster.stop()


@case("a node that lost its state and its clock takes a higher incarnation than its last one",
      timeout=60)
def lost_memory():
    cluster = Cluster()
    node = cluster.services[0]
    node.state.mkdir(parents=True)
    ahead = (int(time.time()) + 86400) * 1000
    (node.state / "incarnation").write_text(f"{ahead}\n", encoding="ascii")
    cluster.start()
    equal(node.get("/node")["incarnation"], ahead + 1000)
    node.kill()
    shutil.rmtree(node.state)
    node.start()
    eventually(lambda: node.get("/node")["incarnation"] > ahead + 1000, "a higher one", 15)
    eventually(lambda: state(cluster.proxy, "service_1") == "up", "known again", 15)
    equal(steady(lambda: shown(cluster.proxy, "service_1")["incarnation"]),
          node.get("/node")["incarnation"])
    with Client(cluster.proxy.ws_port) as client:
        equal(served_by(client), {"service_1"})
    last = node.get("/node")["incarnation"]
    node.restart()
    check(node.get("/node")["incarnation"] > last, "it was forgotten again")
    cluster.stop()


@case("a frame of the directory from a node that is no route node, or passed on, ends the link")
def rules():
    cluster = Cluster().start()
    with Peer(cluster.services[0].rpc_port, "liar", "service") as peer:
        peer.meet()
        peer.send(SYSTEM, b"", id=10)
        check(peer.closed(), "an announcement to a service")
    with Peer(cluster.first.rpc_port, "liar", "service") as peer:
        peer.meet()
        peer.send(SYSTEM, b"\1" * 16, id=11, dst=77)
        check(peer.closed(), "a beat for somebody else")
    cluster.stop()


# ---------------------------------------------------------------- the document

DOC = TOP / "docs/cluster.md"
PORTS = ("8001", "8002", "8003", "8004", "7001", "7002", "7003", "7004", "9001")
# What a node refuses fails here, and not only on the screen; and where the document waits for some
# time, this waits until the nodes that have been started so far are there.
PRELUDE = """
set -e
curl() { command curl --fail-with-body -sS "$@"; echo; }
sees() { command curl -s localhost:8002/peers | grep -q "$1"; }
asked=0
sleep() {
	asked=$((asked + 1))
	until sees "chat_$asked"; do command sleep 0.1; done
}
"""


def said(out):
    """The JSON values in what commands have said."""
    found = []
    for line in out.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            pass
    return found


@case("the commands of docs/cluster.md: a fourth node, told of a route node, joins and answers",
      timeout=120)
def document():
    if not shutil.which("curl"):
        skip("no curl")
    text = DOC.read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    text = PRELUDE + "".join(blocks) + "wait\n"
    for port in PORTS:
        contains(text, port, "the document")
    ports = {port: str(free_port()) for port in PORTS}
    text = re.sub(rf"\b({'|'.join(PORTS)})\b", lambda match: ports[match[0]], text)
    folder = temp_dir("document")
    env = node_environment()
    env["PATH"] = f"{BUILD}:{BUILD}/tools:{env['PATH']}"
    with open(folder / "said", "w+", encoding="utf-8") as log:
        with subprocess.Popen(["sh", "-c", text], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                              stdout=log, stderr=log, start_new_session=True) as process:
            at_end(lambda: end_group(process.pid))
            try:
                status = process.wait(100 * SLOW)
            except subprocess.TimeoutExpired:
                end_group(process.pid)
                status = "none in time"
        log.seek(0)
        out = log.read()
    equal(status, 0, out[-6000:])
    shown_peers = [{p["name"]: p for p in v["peers"]} for v in said(out) if "peers" in v]
    equal([{"chat_1", "chat_2"} & set(peers) for peers in shown_peers],
          [{"chat_1"}, {"chat_1", "chat_2"}])
    equal(shown_peers[0]["chat_1"]["ranges"], [[20000, 20999]])
    (modules,) = [v["modules"] for v in said(out) if "modules" in v]
    (handled,) = [m["active"]["handled"] for m in modules if m["name"] == "echo"]
    comment(f"chat_2 has answered {handled} of 200 messages")
    check(0 < handled < 200, f"{handled} of 200 messages at chat_2")


def end_group(pid):
    """What the commands have started and left, or what hangs."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    main(all_ended)
