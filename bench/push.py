#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What a push to all clients of a node costs the others: how long its loop is away, and how many
messages go out meanwhile, with 1,000 and 9,900 sessions.

The module pushbench sends a few messages at a time with ob_push_all() and takes the time of each
turn of the loop, and the CPU time, which others on the machine make no longer. obbench holds the sessions and reads; one session more, the last to come, is this
program's: when it has all, the next few are sent. Ends every process it started, and removes its
files."""

import argparse
import base64
import http.client
import json
import os
import secrets
import socket
import sys
import time

import common
from common import Column

SESSIONS = "1000,9900"
AT_A_TIME = 8
HEADER = 12  # of a seed packet
CONNECT_SECONDS = 60

LONGEST = Column("longest turn ms", lambda r: r["longest_us"] / 1000, "{:.2f}")
LONGEST_CPU = Column("longest CPU ms", lambda r: r["longest_cpu_us"] / 1000, "{:.2f}")
TURN = Column("turn us, mean", lambda r: r["turn_us"], "{:.0f}")
RATE = Column("msgs/s", lambda r: r["msgs_per_s"], "{:,.0f}")


class Witness:
    """A client that counts the bytes it is sent."""

    def __init__(self, port):
        self.link = socket.create_connection(("127.0.0.1", port), common.START_SECONDS)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self.link.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                          f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                          f"Sec-WebSocket-Version: 13\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.some(1)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise common.Failure(f"no WebSocket: {head.decode(errors='replace')}")

    def some(self, most):
        data = self.link.recv(most)
        if not data:
            raise common.Failure("the node has closed a client")
        return data

    def take(self, count):
        while count > 0:
            count -= len(self.some(min(count, 65536)))

    def close(self):
        self.link.close()


class Crowd:
    """Sessions that only read; obbench has them."""

    def __init__(self, procs, args, port, count):
        command = [common.tool(args, "tools", "obbench"), "--announce", "-c", "1", "-d", "0",
                   "--idle", str(count - 1), "-t", "86400", f"127.0.0.1:{port}"]
        self.server = procs.start("crowd", command, args.client_cpu)
        deadline = time.monotonic() + CONNECT_SECONDS
        while "connected" not in self.words():
            if self.server.popen.poll() is not None or time.monotonic() > deadline:
                raise common.Failure(f"{count} connections: {self.words() or 'it takes too long'}")
            time.sleep(0.05)

    def words(self):
        with open(self.server.errors, encoding="utf-8", errors="replace") as text:
            return text.read().strip()


class Node:
    def __init__(self, procs, args):
        path = os.path.join(args.build, "bench", ".libs", "pushbench.so")
        if not os.path.exists(path):
            raise common.Failure(f"{path} is not there: build it first (make bench), or say --build")
        self.args = args
        self.port, self.http_port = common.free_ports(2)
        conf = common.node_conf(procs, args, "proxy", [
            "proxy", {"name": "pushbench", "path": os.path.abspath(path)}],
            websocket={"port": self.port, "timeout": 86400}, http={"port": self.http_port},
            limits={"connections": max(args.sessions) + 100})
        common.start_node(procs, args, conf, args.server_cpu)
        deadline = time.monotonic() + common.START_SECONDS
        while not self.answers():
            procs.check()
            if time.monotonic() > deadline:
                raise common.Failure(f"the node is not there after {common.START_SECONDS} s")
            time.sleep(0.1)

    def answers(self):
        try:
            return self.post("/begin") == {} and self.post("/end")["whole"]
        except OSError:
            return False

    def post(self, path="", **body):
        link = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        try:
            link.request("POST", "/pushbench" + path, json.dumps(body),
                         {"Content-Type": "application/json"})
            answer = link.getresponse()
            text = answer.read()
        finally:
            link.close()
        if answer.status != 200:
            raise common.Failure(f"pushbench: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text)

    def push(self, witness):
        """A few messages, until the last session has them all."""
        done = self.post(id=self.args.id, size=self.args.payload, count=AT_A_TIME)
        if done["nodes"] != 1:
            raise common.Failure(f"ob_push_all() said {done['nodes']}")
        witness.take(AT_A_TIME * frame_size(HEADER + self.args.payload))

    def push_for(self, witness, seconds):
        """How often, in how many seconds."""
        begin = time.monotonic()
        times = 0
        while time.monotonic() < begin + seconds:
            self.push(witness)
            times += 1
        return times, time.monotonic() - begin

    def run(self, witness, count):
        self.push_for(witness, self.args.warmup)
        self.post("/begin")
        times, took = self.push_for(witness, self.args.seconds)
        report = self.post("/end")
        if not report["whole"]:
            raise common.Failure("turns were missed")
        report["turn_us"] = took * 1e6 / max(1, report["turns"])
        report["msgs_per_s"] = times * AT_A_TIME * (count + 1) / took
        report["errors"] = 0
        return report


def frame_size(payload):
    """Of a WebSocket message from a server."""
    return payload + (2 if payload < 126 else 4 if payload < 65536 else 10)


def measure(procs, args):
    """{number of sessions: reports}"""
    node = Node(procs, args)
    results = {count: [] for count in args.sessions}
    for repeat in range(args.repeats):
        for count in common.in_turn(repeat, args.sessions):
            crowd = Crowd(procs, args, node.port, count)
            witness = Witness(node.port)
            try:
                report = common.quietest(procs, args, lambda: common.watched(
                    procs, lambda: node.run(witness, count)))
            finally:
                witness.close()
                procs.end([crowd.server])
            results[count].append(report)
            if not args.quiet:
                print(f"{repeat + 1}/{args.repeats} {count:6} sessions {report['msgs_per_s']:12.0f}/s"
                      f"  longest turn {report['longest_us'] / 1000:8.2f} ms,"
                      f" CPU {report['longest_cpu_us'] / 1000:.2f}"
                      f"  others {report['others'] * 100:.0f} %", file=sys.stderr, flush=True)
    return results


def compare(procs, args):
    results = measure(procs, args)
    columns = [LONGEST, LONGEST_CPU, TURN, RATE]
    print(f"| sessions | {' | '.join(c.name for c in columns)} | the longest of all, ms |")
    print("|---:|" + "---:|" * (len(columns) + 1))
    for count, runs in results.items():
        cells = [common.median([c.get(r) for r in runs], c.form) for c in columns]
        worst = max(LONGEST.get(r) for r in runs)
        print(f"| {count:,} | {' | '.join(cells)} | {worst:.2f} |")
    reports = [r for runs in results.values() for r in runs]
    print(f"\n{args.payload} B; {len(reports)} runs of {args.seconds:g} s after {args.warmup:g} s of "
          f"warm-up, {args.repeats} repeats; {common.noise(args, reports)}", flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
    return common.count_errors(reports)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    common.add_arguments(parser, repeats=3, seconds=3, warmup=0.5)
    parser.add_argument("--obhost", required=True, help="the obhost program")
    parser.add_argument("--sessions", default=SESSIONS, help=f"how many ({SESSIONS})")
    parser.add_argument("--json", metavar="FILE", help="also write every report to FILE")
    args = parser.parse_args()
    try:
        args.sessions = [int(word) for word in args.sessions.split(",")]
    except ValueError:
        parser.error("--sessions: numbers with commas between them")
    if min(args.sessions) < 2 or args.payload > 65536:
        parser.error("--sessions: at least 2; --payload: at most 65536")
    common.finish_arguments(parser, args, True)
    return args


if __name__ == "__main__":
    sys.exit(common.with_processes(compare, arguments()))
