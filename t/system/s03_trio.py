#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The three nodes of conf/, as they stand there but for their ports, and clients that other people
wrote: a real message goes through all of them and comes back."""

import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys

from obtest.env import NODE_JS, OBBENCH, SLOW, TOP
from obtest.nodes import Node, all_ended, free_port, start_all, wait_linked
from obtest.seed import T1, T6, Client, packet, unpack
from obtest.tap import case, cases, check, contains, equal, eventually, main, skip
from obtest.temp import temp_dir

HERE = pathlib.Path(__file__).resolve().parent
DEMO_PORTS = (20000, 20001, 20002, 21001, 21002, 22001, 22002)

trio = []


class ConfNode(Node):
    """A node of conf/, with other ports and a state directory of the test's."""

    def __init__(self, role, ports):
        text = (TOP / f"conf/{role}.conf").read_text(encoding="utf-8")
        for port in DEMO_PORTS:
            text = text.replace(f'"port": {port}', f'"port": {ports[port]}')
        super().__init__(f"{role}_1", role, env={"STATE_DIRECTORY": str(temp_dir("state"))})
        self.write_conf(text)
        base = {"proxy": 20000, "route": 21000, "service": 22000}[role]
        self.http_port, self.rpc_port = ports[base + 1], ports[base + 2]
        self.ws_port = ports[20000] if role == "proxy" else 0


def nodes():
    if not trio:
        ports = {port: free_port() for port in DEMO_PORTS}
        trio.extend(ConfNode(role, ports) for role in ("proxy", "route", "service"))
        start_all(*trio)
        wait_linked((trio[1], trio[0], trio[2]))
    return trio


def connect():
    return Client(nodes()[0].ws_port)


def handled_by(number, module):
    return nodes()[number].module(module)["active"]["handled"]


def login_answer():
    ((_, body),) = unpack(T6)
    return json.loads(body)


# ---------------------------------------------------------------- the files

@cases([("proxy",), ("route",), ("service",), ("reference",)], "conf/{0}.conf passes -t")
def passes(name):
    node = Node(name)
    node.write_conf((TOP / f"conf/{name}.conf").read_text(encoding="utf-8"))
    run = node.run("-t")
    equal(run.returncode, 0, run.stderr)
    check("warning" not in run.stderr, run.stderr)


@case("the trio's files bind nothing but 127.0.0.1, and have the demo's ports and no http token")
def files():
    seen = []
    for name in ("proxy", "route", "service"):
        text = (TOP / f"conf/{name}.conf").read_text(encoding="utf-8")
        text = re.sub(r"//.*", "", text)
        conf = json.loads(re.sub(r",(\s*[}\]])", r"\1", text))
        equal(conf["host"], "127.0.0.1")
        check("token" not in conf["http"], "an http token")
        seen += [conf[key]["port"] for key in ("websocket", "http", "rpc") if key in conf]
    equal(sorted(seen), sorted(DEMO_PORTS))


# ---------------------------------------------------------------- messages

@case("T1, the captured login, is answered by T6")
def vectors():
    with connect() as client:
        client.send(T1)
        ((got, body),) = unpack(client.message())
        equal(got, 1000)
        equal(json.loads(body), login_answer())


@case("1000 is answered on the route node, 20000 and 10000 on the service node")
def where():
    handled = [handled_by(1, "login"), handled_by(2, "rank_room"), handled_by(2, "heartbeat")]
    with connect() as client:
        equal(client.code(1000, {"name": "jamon", "passwd": "test"}), 200)
        equal(client.code(20000, {"user_id": 10}), 200)
        equal(client.code(10000), 200)
    equal([handled_by(1, "login"), handled_by(2, "rank_room"), handled_by(2, "heartbeat")],
          [number + 1 for number in handled])


@case("any JSON comes back as it went: 64-bit numbers, other scripts, deep trees")
def json_through():
    body = {"n": [2**53 + 1, -2**63, 1.5, True, None], "text": "恭喜 \u0000 \" \\ / ~",
            "deep": json.loads("[" * 100 + "]" * 100)}
    with connect() as client:
        equal(client.ask(30000, body), body)


@case("a thousand messages of three kinds under way at once: each id's answers are in order")
def pipelined():
    with connect() as client:
        kinds = ((1000, {"name": "x"}), (20000, {"user_id": 3}), (10000, {}))
        for n in range(1000):
            client.tell(*kinds[n % 3])
        entered = []
        for _ in range(1000):
            got, body = client.packet()
            answer = json.loads(body)
            equal(answer["code"], 200)
            if got == 20000:
                entered.append(answer["data"]["entered"])
        equal(entered, list(range(entered[0], entered[0] + 333)))


@cases([(0, "GET"), (0, "POST"), (1, "GET"), (1, "POST"), (2, "GET"), (2, "POST")],
       "{1} / is answered with 200 by node {0}")
def http(number, method):
    answer = nodes()[number].http(method, "/", b"{}" if method == "POST" else None)
    equal(answer.status, 200)
    contains(answer.text, nodes()[number].name)


@case("another method on / is 405, another path 404")
def http_other():
    equal(nodes()[0].http("DELETE", "/").status, 405)
    equal(nodes()[0].http("GET", "/nothing/here").status, 404)


@case("the offline handler on the service hears of a client it has served, once")
def offline():
    service = nodes()[2]

    def heard():
        return service.metric("obhost_module_offline_sessions_total")
    settled = []
    eventually(lambda: settled[-3:] == [heard()] * 3 or settled.append(heard()), "quiet",
               pause=0.1)
    before = heard()
    with connect() as client:
        client.ask(20000, {"user_id": 1})
        client.close()
    eventually(lambda: heard() == before + 1, "the offline handler")


# ---------------------------------------------------------------- clients of others

@case("a client made of python-websockets and nothing else")
async def with_websockets():
    try:
        import websockets  # pylint: disable=import-outside-toplevel
    except ImportError:
        skip("no python3-websockets")
    async with websockets.connect(f"ws://127.0.0.1:{nodes()[0].ws_port}/") as ws:
        await ws.send(T1)
        ((got, body),) = unpack(await asyncio.wait_for(ws.recv(), 10))
        equal((got, json.loads(body)), (1000, login_answer()))
        await ws.send(packet(20000, {"user_id": 10}))
        ((got, body),) = unpack(await asyncio.wait_for(ws.recv(), 10))
        equal((got, json.loads(body)["code"]), (20000, 200))


@case("a client made of the npm package ws")
def with_npm():
    command = [NODE_JS, str(HERE / "ws_client.js"), str(nodes()[0].ws_port),
               "1000", '{"name":"jamon","passwd":"test"}', "20000", '{"user_id":10}']
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             timeout=20 * SLOW, check=False)
    except (FileNotFoundError, PermissionError):
        skip("no node")
    if run.returncode == 3:
        skip("no npm package ws")
    equal((run.returncode, run.stderr), (0, ""))
    answers = [line.split(" ", 1) for line in run.stdout.splitlines()]
    equal([int(number) for number, _ in answers], [1000, 20000])
    equal(json.loads(answers[0][1]), login_answer())
    equal(json.loads(answers[1][1])["code"], 200)


@case("examples/client.py")
def with_example():
    run = subprocess.run([sys.executable, str(TOP / "examples/client.py"), "--count", "2",
                          "--interval", "0", "--port", str(nodes()[0].ws_port)],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         timeout=20 * SLOW, check=False)
    if "No module named" in run.stderr or "needs" in run.stderr:
        skip("no python3-websockets")
    equal((run.returncode, run.stderr), (0, ""))
    equal(len(run.stdout.splitlines()), 6)


@case("obbench drives the trio without a wrong answer")
def with_obbench():
    if not os.access(OBBENCH, os.X_OK):
        skip("obbench is not built")
    run = subprocess.run([OBBENCH, "-c", "10", "-d", "16", "-i", "30000", "-w", "0", "-n", "20000",
                          "--verify", f"127.0.0.1:{nodes()[0].ws_port}"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=25 * SLOW, check=False)
    equal(run.returncode, 0, run.stdout)


@case("a client that goes from one proxy connection to the next gets another session each time")
def sessions():
    proxy = nodes()[0]
    names = set()
    for _ in range(3):
        with connect() as client:
            client.ask(10000)
            names |= {entry["id"] for entry in proxy.get("/sessions")["sessions"]}
    check(len(names) >= 3, names)
    check(all(name.startswith("proxy_1-") for name in names), names)


@case("the trio stops with nothing left")
def stops():
    for node in nodes():
        node.stop()


if __name__ == "__main__":
    main(all_ended)
