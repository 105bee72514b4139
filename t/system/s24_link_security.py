#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Links that are encrypted, with a key from the token or with certificates: a trio works over them
as over plain ones, also while modules are exchanged under numbered load; who does not fit is refused,
counted, and told what to do."""

import os
import re
import socket
import struct
import subprocess
import time

from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.load import Load
from obtest.broken import Place
from obtest.nodes import Node, Trio, all_ended, link, start_all
from obtest.peer import (CALL, METHOD, PUSH, REPLY, REQUEST, SYSTEM, Frame, Peer, node_id, role_id)
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import case, cases, check, comment, contains, equal, eventually, main
from obtest.temp import temp_dir

ADMIN = {"name": "http_admin", "admin": True}
ID = 6001
BUSY_STATUS, DENIED_STATUS = 4, 9  # on the wire
TOKENS = {name: f"the token of {name} nodes" for name in ("proxy", "route", "service")}

house = {}


# ---------------------------------------------------------------- certificates

def openssl(*args):
    run = subprocess.run(["openssl", *map(str, args)], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, check=False)
    check(run.returncode == 0, run.stderr)


def authority(name="ca"):
    """A folder with an authority's certificate and key."""
    if name not in house:
        place = temp_dir(name)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "30", "-subj", f"/CN={name}", "-keyout", place / "ca.key",
                "-out", place / "ca.crt")
        house[name] = place
    return house[name]


def certificate(role, name, ca="ca", days=30, trust="ca"):
    """The `tls` of a node's configuration."""
    place = authority(ca)
    base = place / f"{role}-{name}-{days}"
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            f"/CN={name}", "-keyout", f"{base}.key", "-out", f"{base}.csr")
    with open(f"{base}.ext", "w", encoding="utf-8") as file:
        file.write(f"subjectAltName=URI:obhost:{role}/{name}\n")
    openssl("x509", "-req", "-in", f"{base}.csr", "-CA", place / "ca.crt", "-CAkey",
            place / "ca.key", "-CAcreateserial", "-days", days, "-extfile", f"{base}.ext",
            "-out", f"{base}.crt")
    return {"cert": f"{base}.crt", "key": f"{base}.key", "ca": str(authority(trust) / "ca.crt")}


# ---------------------------------------------------------------- nodes

def protection(kind, role, name):
    if kind == "tls":
        return {"tls": certificate(role, name)}
    return {"encode": 1} if kind == "encode" else {}


def the_trio(kind):
    """Three nodes whose links are protected so; the numbered handler is on the service."""
    if kind not in house:
        house.setdefault("place", Place(PluginDir(), "numbered", ID)).put_good(1)
        more = {"module_dirs": [str(house["place"].dir), MODULES, EXAMPLES],
                "log_level": "warn", "reload": {"probe": 5 * SLOW}}
        house[kind] = Trio(
            proxy={**more, "rpc": protection(kind, "proxy", "proxy_1")},
            route={**more, "rpc": protection(kind, "route", "route_1")},
            service={**more, "rpc": protection(kind, "service", "service_1"),
                     "modules": ["service", ADMIN, "offline", "numbered"]}).start()
    return house[kind]


def first_bytes(node):
    """What a stranger hears who says something that is not TLS."""
    with socket.create_connection(("127.0.0.1", node.rpc_port), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return sock.recv(4096)


# ---------------------------------------------------------------- it works

@cases([("encode",), ("tls",)], "a trio over {0}: calls pass, and the ports speak nothing but TLS")
def works(kind):
    trio = the_trio(kind)
    with Client(trio.proxy.ws_port) as client:
        for number in range(50):
            equal(client.code(ID, {"seq": number}), 200)
    for peer in trio.route.get("/peers")["peers"]:
        contains(peer["tls"], "TLSv1.3 TLS_")
    contains(first_bytes(trio.route).decode("latin-1"), "this node's links are encrypted")
    eventually(lambda: trio.route.metric("obhost_link_closed_total", reason="not_encrypted") >= 1,
               "the stranger counted")


@cases([("encode",), ("tls",)], "modules are exchanged while links with {0} carry numbered load")
def swap_under_load(kind):
    trio = the_trio(kind)
    place = house["place"]
    with Load(trio.proxy.ws_port, ID, connections=50, rate=2000) as load:
        versions = {1}
        for number in range(2, 8):
            place.put_good(number)
            answer = eventually(lambda: reloaded(trio.service, "numbered"), "a reload", pause=0.02)
            equal(answer.status, 200, repr(answer))
            reloaded_all = eventually(lambda: reloaded(trio.route, "route"), "a reload", pause=0.02)
            equal(reloaded_all.status, 200, repr(reloaded_all))
            versions.add(number)
            before = trio.service.module("numbered")["active"]["handled"]
            eventually(lambda n=before: load.busy() and
                       trio.service.module("numbered")["active"]["handled"] >= n + 100,
                       "messages for the new one", 60)
        load.finish(versions)
        comment(f"{kind}: {load}")
    place.put_good(1)
    equal(eventually(lambda: reloaded(trio.service, "numbered"), "a reload", pause=0.02).status, 200)


def reloaded(node, name):
    """The answer to a reload; None while too much drains."""
    answer = node.http("POST", "/modules/reload", {"names": [name], "force": True}, timeout=60)
    if answer.status == 409 and answer.json["error"]["code"] in ("draining", "busy"):
        return None
    return answer


@cases([("encode",), ("tls",)], "the route node is killed and comes back: links with {0} heal")
def heals(kind):
    trio = the_trio(kind)
    trio.route.kill()
    trio.route.start()
    trio.wait_linked()
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(ID, {"seq": 1}), 200)


@case("a reload reads renewed certificates; links that are there stay")
def renewed():
    trio = the_trio("tls")
    ups = trio.route.metric("obhost_link_closed_total", reason="ended")
    old = trio.route.conf["rpc"]["tls"]
    new = certificate("route", "route_1", days=31)
    for part in ("cert", "key"):
        os.replace(new[part], old[part])
    equal(trio.route.http("POST", "/config/reload").status, 200)
    with Client(trio.proxy.ws_port) as client:
        equal(client.code(ID, {"seq": 1}), 200)
    equal(trio.route.metric("obhost_link_closed_total", reason="ended"), ups)
    trio.proxy.restart()
    trio.wait_linked()


# ---------------------------------------------------------------- who does not fit

def pair(name, of_route, of_proxy, entry=None):
    """A route node, and a proxy that dials it and is not to get a link."""
    route = Node(f"{name}_r", "route", rpc=of_route, modules=["route", ADMIN])
    proxy = Node(f"{name}_p", "proxy", rpc=of_proxy, modules=["proxy", ADMIN])
    link((proxy, route))
    proxy.conf["remote_ports"][0].update(entry or {})
    start_all(route, proxy)
    return route, proxy


# Who has what, who counts which reason, and the cure in his log.
MISFITS = [
    ("encode", "plain", "route", "not_encrypted", "encode or tls"),
    ("tls", "plain", "route", "not_encrypted", "encode or tls"),
    ("plain", "encode", "route", "encrypted", "set encode or tls in this node's rpc"),
    ("plain", "tls", "route", "encrypted", "set encode or tls in this node's rpc"),
    ("encode", "tls", "route", "tls", "the same at both ends"),
    ("tls", "encode", "proxy", "tls", "the same at both ends"),
    ("encode", "another token", "route", "wrong_token", "make the token"),
    ("tls", "another CA", "route", "tls", "certificates right and in date"),
    ("tls", "another name", "route", "certificate", "URI:obhost:ROLE/NAME"),
    ("tls", "another role", "route", "certificate", "URI:obhost:ROLE/NAME"),
    ("roles", "a member's token", "route", "wrong_token", "make the token"),
    ("roles", "another role's token", "route", "wrong_token", "make the token"),
]


def rpc_of(kind, role, name):
    makers = {
        "another token": lambda: {"encode": 1, "token": "another token of length"},
        "another CA": lambda: {"tls": certificate(role, name, ca="ca2")},
        "another name": lambda: {"tls": certificate(role, "else")},
        "another role": lambda: {"tls": certificate("route", name)},
        "roles": lambda: {"tokens": TOKENS},
        "a member's token": lambda: {},
        "another role's token": lambda: {"token": TOKENS["service"]},
    }
    return makers.get(kind, lambda: protection(kind, role, name))()


@cases([(a, b, c, d, e) for a, b, c, d, e in MISFITS],
       "{0} at the acceptor, {1} at the dialer: refused by the {2} node as {3}, with the cure")
def misfit(of_route, of_proxy, who, reason, cure):
    name = f"m{len(house)}_{int(time.monotonic() * 1000) % 100000}"
    route, proxy = pair(name, rpc_of(of_route, "route", f"{name}_r"),
                        rpc_of(of_proxy, "proxy", f"{name}_p"))
    node = route if who == "route" else proxy
    eventually(lambda: node.metric("obhost_link_closed_total", reason=reason) >= 1, reason)
    eventually(lambda: cure in node.log(), "the cure in the log")
    equal(route.peers(), set())
    equal(proxy.peers(), set())
    route.stop()
    proxy.stop()


@case("a node's own type in rpc.tokens is what it dials with; either of two tokens is accepted")
def roles():
    route = Node("roles_r", "route", modules=["route", ADMIN], rpc={
        "tokens": {"proxy": ["an older token of them", TOKENS["proxy"]],
                   "service": TOKENS["service"]}})
    one = Node("roles_p", "proxy", modules=["proxy", ADMIN],
               rpc={"tokens": {"proxy": TOKENS["proxy"]}})
    two = Node("roles_p2", "proxy", modules=["proxy", ADMIN],
               rpc={"tokens": {"proxy": "an older token of them"}})
    link((one, route), (two, route))
    start_all(route, one, two)
    eventually(lambda: {"roles_p", "roles_p2"} <= route.peers(), "both linked")
    with Peer(route.rpc_port, "liar", "proxy", token=TOKENS["service"]) as peer:
        check(not peer.meet(), "a service that says it is a proxy")
    with Peer(route.rpc_port, "honest", "service", token=TOKENS["service"]) as peer:
        check(peer.meet(), peer.refused)
    # The older token goes, by a reload: who has a link keeps it, who comes with it is refused.
    route.conf["rpc"]["tokens"]["proxy"] = TOKENS["proxy"]
    route.write_conf()
    equal(route.http("POST", "/config/reload").status, 200)
    check({"roles_p", "roles_p2"} <= route.peers(), "a link was lost")
    two.restart()
    eventually(lambda: route.metric("obhost_link_closed_total", reason="wrong_token") >= 2,
               "the older token refused")
    for node in (one, two, route):
        node.stop()


@case("two nodes without each other's token talk through the route node, and each says so once",
      timeout=60)
def strangers_in_one_house():
    route = Node("apart_r", "route", modules=["route", ADMIN],
                 rpc={"tokens": {role: TOKENS[role] for role in ("proxy", "service")}})
    proxy = Node("apart_p", "proxy", modules=["proxy", ADMIN],
                 rpc={"tokens": {"proxy": TOKENS["proxy"]}})
    service = Node("apart_s", "service", modules=["service", ADMIN, "echo"],
                   rpc={"tokens": {"service": TOKENS["service"]}, "serve": [[30000, 30000]]})
    link((proxy, route), (service, route))
    start_all(route, proxy, service)

    def state(of, name):
        return [peer["dialling"] for peer in of.get("/peers")["peers"] if peer["name"] == name]

    def refused():
        return [node.metric("obhost_link_closed_total", reason="wrong_token")
                for node in (proxy, service)]
    with Client(proxy.ws_port) as client:
        def talk():
            equal(client.ask(30000, {"n": 1}).get("n"), 1)
            return state(proxy, "apart_s") + state(service, "apart_p")
        eventually(lambda: client.ask(30000, {"n": 1}).get("n") == 1, "an answer")
        eventually(lambda: talk() == ["refused", "refused"], "both refused")
        before = refused()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            talk()
        equal(refused(), before)
    check(max(before) <= 2, before)
    for node in (proxy, service):
        node.says("refused by the other side")
        lines = [line for line in node.log().splitlines() if "wrong token" in line]
        equal(sum("refused by the other side" in line for line in lines), 1, lines)
        check(len(lines) <= 2, lines)
    for node in (proxy, service, route):
        node.stop()


# ---------------------------------------------------------------- what a role may send

# Who asks for what, and the wire's result: 0 is well, else -1 for DENIED.
ASKED = [
    ("proxy", {"id": 30000}, True, None),
    ("proxy", {"id": 1000}, False, "id"),
    ("proxy", {"id": 30000, "flags": CALL}, False, "call"),
    ("proxy", {"id": 0, "flags": METHOD, "ext": "user.find"}, False, "method"),
    ("service", {"id": 1000, "flags": CALL}, True, None),
    ("service", {"id": 0, "flags": CALL | METHOD, "ext": "echo"}, False, "method"),
    ("else", {"id": 30000}, False, "id"),
]

ALLOW = {"proxy": {"ranges": [[20000, 40000]], "methods": [], "calls": False, "pushes": False},
         "service": {"methods": ["user.*"]},
         "*": {"ranges": []}}


def guard():
    if "guard" not in house:
        house["guard"] = Node("guard", "route", modules=["route", ADMIN, "login", "echo"],
                              rpc={"allow": ALLOW}).start()
    return house["guard"]


def denied(node, reason):
    return node.metric("obhost_link_denied_total", reason=reason)


def ask(peer, **fields):
    method = fields.pop("ext", "").encode()
    ext = struct.pack("<HH", 1, len(method)) + method if method else b""
    peer.send_bytes(Frame(REQUEST, b"{}", ext=ext, call=7, src=peer.hello.id, **fields).pack())
    return peer.wanted(REPLY)


@cases(ASKED, "a {0} asks for {1}: allowed {2}")
def allowed(role, fields, well, reason):
    node = guard()
    before = denied(node, reason) if reason else 0
    with Peer(node.rpc_port, f"a_{role}", role) as peer:
        check(peer.meet(), peer.refused)
        reply = ask(peer, **fields)
        if well:
            check(reply.status != DENIED_STATUS, repr(reply))
            return
        equal(reply.status, DENIED_STATUS)
        contains(reply.ext.decode("latin-1"), "rpc.allow")
    equal(denied(node, reason), before + 1)
    # One peer's lines don't hide that of another one.
    line = rf"a_{role} \({role}\): denied, id \d+ \(.*{reason}"
    eventually(lambda: re.search(line, node.log()), "a line in the log")


@case("what a denied peer says of its source and its target makes no difference")
def denied_anyway():
    node = guard()
    before = denied(node, "id")
    with Peer(node.rpc_port, "a_forger", "proxy") as peer:
        check(peer.meet(), peer.refused)
        for fields in ({"dst": node_id("elsewhere")}, {"role": role_id("service")}):
            fields = {"id": 1000, "call": 9, "src": peer.hello.id, **fields}
            peer.send_bytes(Frame(REQUEST, b"{}", **fields).pack())
        peer.send_bytes(Frame(PUSH, b"{}", id=5, src=peer.hello.id, dst=node_id("guard")).pack())
        eventually(lambda: denied(node, "push") >= 1, "the push denied")
    equal(denied(node, "id"), before + 2)


FORGED = [("a request", REQUEST, {"id": 30000, "call": 9}),
          ("an answer", REPLY, {"call": 9, "dst": node_id("service_1")}),
          ("a push", PUSH, {"id": 5, "dst": node_id("service_1")}),
          ("that it drains", SYSTEM, {"id": 48, "dst": node_id("guard"), "status": 1}),
          ("a sign of life", SYSTEM, {"id": 11})]


@cases(FORGED, "{0} in the name of another node: the link is closed, counted and logged")
def forged(_what, kind, fields):
    node = guard()
    before = node.metric("obhost_link_closed_total", reason="source")
    with Peer(node.rpc_port, "a_forger", "service") as peer:
        check(peer.meet(), peer.refused)
        peer.send(kind, b"{}", src=node_id("service_1"), **fields)
        check(peer.closed(), "it goes on")
    equal(node.metric("obhost_link_closed_total", reason="source"), before + 1)
    eventually(lambda: f"in the name of node {node_id('service_1'):016x}" in node.log(), "the line")
    equal(node.get("/node")["state"], "running")


@case("a route node brings what other nodes send, with their names in it")
def brought():
    node = guard()
    before = node.metric("obhost_link_closed_total", reason="source")
    with Peer(node.rpc_port, "b_route", "route") as peer:
        check(peer.meet(), peer.refused)
        behind = peer.hello.id ^ 1
        peer.send(REQUEST, b"{}", id=30000, call=3, dst=node_id("guard"), src=behind)
        reply = peer.wanted(REPLY)
        equal((reply.call, reply.dst), (3, behind))
    equal(node.metric("obhost_link_closed_total", reason="source"), before)


@case("a reload changes who may send what")
def allow_reload():
    node = guard()
    node.conf["rpc"]["allow"]["else"] = {"ranges": [[30000, 30000]]}
    node.write_conf()
    equal(node.http("POST", "/config/reload").json["changed"], ["rpc"])
    with Peer(node.rpc_port, "now_allowed", "else") as peer:
        check(peer.meet(), peer.refused)
        equal(ask(peer, id=30000).status, 0)


@case("more than limits.link_frames ends with 503, far more closes the link")
def rates():
    node = Node("rates", "route", modules=["route", ADMIN, "echo"],
                limits={"link_frames": 50}).start()
    with Peer(node.rpc_port, "eager", "proxy") as peer:
        check(peer.meet(), peer.refused)
        for number in range(200):
            peer.send_bytes(Frame(REQUEST, b"{}", id=30000, call=number + 1,
                                  src=peer.hello.id).pack())
        answers = [peer.wanted(REPLY).status for _ in range(200)]
        check(answers[:50] == [0] * 50, answers)
        check(BUSY_STATUS in answers, answers)
        check(set(answers) == {0, BUSY_STATUS}, answers)
        check(denied(node, "rate") >= 100, "not counted")
        flood = Frame(REQUEST, b"{}", id=30000, call=1, src=peer.hello.id).pack() * 1000
        try:
            for _ in range(30):
                peer.send_bytes(flood)
        except OSError:
            pass
        eventually(lambda: denied(node, "flood") == 1, "the flood")
    eventually(lambda: "eager" not in node.peers(), "closed")
    node.stop()


def numbered(peer, number, size):
    """A request whose frame is of that size."""
    head = len(Frame(REQUEST, b"", src=peer.hello.id).pack())
    return Frame(REQUEST, b"x" * (size - head), id=30000, call=number, src=peer.hello.id).pack()


@case("the same of limits.link_bytes, where one frame may be larger than that")
def byte_rates():
    node = Node("byte_rates", "route", modules=["route", ADMIN, "echo"],
                limits={"link_bytes": 20000}).start()
    with Peer(node.rpc_port, "greedy", "proxy") as peer:
        check(peer.meet(), peer.refused)
        for number in range(100):
            peer.send_bytes(numbered(peer, number + 1, 1000))
        answers = [peer.wanted(REPLY).status for _ in range(100)]
        check(answers[:20] == [0] * 20, answers)
        check(answers.count(BUSY_STATUS) >= 50, answers)
        check(set(answers) == {0, BUSY_STATUS}, answers)
        equal(denied(node, "rate"), answers.count(BUSY_STATUS))
        try:
            for _ in range(30):
                peer.send_bytes(numbered(peer, 1, 1000) * 100)
        except OSError:
            pass
        eventually(lambda: denied(node, "flood") == 1, "the flood")
    eventually(lambda: "greedy" not in node.peers(), "closed")
    before = denied(node, "rate")
    with Peer(node.rpc_port, "large", "proxy") as peer:
        check(peer.meet(), peer.refused)
        peer.send_bytes(numbered(peer, 1, 30000) + numbered(peer, 2, 1000))
        answers = {reply.call: reply.status for reply in (peer.wanted(REPLY), peer.wanted(REPLY))}
        equal(answers, {1: 0, 2: BUSY_STATUS})
    equal(denied(node, "rate"), before + 1)
    node.stop()


@case("-T masks every token, and -t names what can't be used")
def masked():
    node = Node("masked", "route", rpc={"tokens": {
        "proxy": ["secret secret one one", "secret secret two two"],
        "service": "secret secret three"}, "encode": 1})
    node.write_conf()
    run = node.run("-T")
    equal(run.returncode, 0, run.stderr)
    check("secret" not in run.stdout, run.stdout)
    node.conf["rpc"]["encode"] = 0
    node.conf["rpc"]["tls"] = {"cert": "/nonexistent/x.crt", "ca": "/nonexistent/ca.crt"}
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 2)
    contains(run.stderr, "rpc.tls: /nonexistent/x.crt: No such file or directory")


if __name__ == "__main__":
    main(all_ended)
