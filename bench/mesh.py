#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What calls and messages between nodes cost, against the limit of the machine.

Five tables, all of them or those that are asked for:
  call    ob_call() between two nodes against a raw ping-pong over TCP, directly and through a route
          node, and beside request and reply through nats-server
  trio    client - proxy - route - service against raw_chain: throughput, latency, CPU time and
          system calls per message, and 10,000 connections
  links   the same path with links plain, with encode 1 and with tls
  idle    CPU time per message with 0, 5 and 29 idle members in the mesh
  crowd   CPU time per message with 100 and 10,000 sessions
Ends every process it started, and removes its files.
"""

import argparse
import collections
import http.client
import json
import os
import shutil
import subprocess
import sys
import time

import common
from common import CPU, P50, P99, P999, RATE, Column, Shape, keep, print_foot, print_long

CALLS = [Shape("w1", "1 in flight", 1), Shape("w64", "64 in flight", 64)]
TRIO_SHAPES = "c50d1,c50d16,c50d64,c50r50000,c10000r10000"
LINK_SHAPES = "c50d1,c50d16,c50d64"
IDLE_SHAPES = "c50d16"
MEMBERS = (0, 5, 29)
SESSIONS = (100, 10000)
SYSCALL = "raw_syscalls:sys_enter"
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
SYSCALLS = Column("syscalls/msg", lambda r: r.get("syscalls"), "{:.3f}")

Caller = collections.namedtuple("Caller", "name run")


# ---- calls ----


def measured_calls(pids, run):
    """The report of run(), with the CPU time of these processes and of the caller itself."""
    before = sum(map(common.process_ticks, pids))
    report = run()
    ticks = sum(map(common.process_ticks, pids)) - before
    used = ticks * TICK_US + report.get("self_us", 0)
    report["server_cpu_us"] = used / max(1, report["total"])
    return report


def run_caller(args, command, in_flight):
    words = ["-W", str(in_flight), "-s", str(args.payload), "-w", str(args.warmup), "-t",
             str(args.seconds)]
    done = subprocess.run([command[0], *words, *command[1:]], capture_output=True, text=True,
                          timeout=args.seconds + args.warmup + 60, check=False)
    if done.returncode != 0:
        raise common.Failure(f"{os.path.basename(command[0])}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def raw_caller(procs, args, name, roles):
    side = common.start_raw_chain(procs, args, roles)
    command = [common.tool(args, "bench", "raw_pingpong"), f"127.0.0.1:{side.port}"]
    return Caller(name, lambda in_flight: measured_calls(
        side.pids, lambda: run_caller(args, command, in_flight)))


class CallingNode:
    """A node with the module callbench, and the node that answers it."""

    def __init__(self, procs, args, prefix, hub):
        self.args = args
        self.mesh = common.Mesh(procs, args, prefix, hub=hub)
        servers = [self.mesh.hub] + ([self.mesh.service()] if hub == "route" else [])
        (self.port,) = common.free_ports(1)
        module = {"name": "callbench", "path": callbench(args)}
        servers.append(self.mesh.start("caller", ["service", module], http={"port": self.port},
                                       call_timeout=600))
        self.pids = [server.popen.pid for server in servers]
        deadline = time.monotonic() + common.START_SECONDS
        while not self.answers():
            procs.check()
            if time.monotonic() > deadline:
                raise common.Failure(f"no answer to a call in {common.START_SECONDS} s")
            time.sleep(0.1)

    def answers(self):
        try:
            return self.post(1, 0, 0.01)["errors"] == 0
        except OSError:
            return False

    def post(self, in_flight, warmup, seconds):
        body = {"role": "service", "id": self.args.id, "in_flight": in_flight,
                "size": self.args.payload, "warmup": warmup, "seconds": seconds}
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=warmup + seconds + 60)
        try:
            link.request("POST", "/callbench", json.dumps(body),
                         {"Content-Type": "application/json"})
            answer = link.getresponse()
            text = answer.read()
        finally:
            link.close()
        if answer.status != 200:
            raise common.Failure(f"callbench: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text)

    def run(self, in_flight):
        def post():
            return self.post(in_flight, self.args.warmup, self.args.seconds)

        if self.mesh.hub_role == "route":
            return measured_calls(self.pids, lambda: self.mesh.through(post, lambda r: r["total"]))
        return measured_calls(self.pids, post)


def callbench(args):
    path = os.path.join(args.build, "bench", ".libs", "callbench.so")
    if not os.path.exists(path):
        raise common.Failure(f"{path} is not there: build it first (make bench), or say --build")
    return os.path.abspath(path)


def nats_caller(procs, args):
    """Through nats-server, or None with a line that says what is missing."""
    server = shutil.which(args.nats)
    try:
        program = common.tool(args, "bench", "nats_rr")
    except common.Failure:
        program = None
    if server is None or program is None:
        what = "nats-server is not installed" if server is None else \
            "bench/nats_rr is not built, libnats was not found by configure"
        print(f"Without NATS: {what} (Debian: nats-server, libnats-dev).\n")
        return None
    (port,) = common.free_ports(1)
    url = f"nats://127.0.0.1:{port}"
    servers = [procs.start("nats-server", [server, "-a", "127.0.0.1", "-p", str(port)])]
    wait_for_port(procs, port)
    servers.append(common.start_raw(procs, "nats_rr", [program, "serve", url])[0])
    pids = [one.popen.pid for one in servers]
    return Caller("nats", lambda in_flight: measured_calls(
        pids, lambda: run_caller(args, [program, "call", url], in_flight)))


def wait_for_port(procs, port):
    deadline = time.monotonic() + common.START_SECONDS
    while True:
        procs.check()
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            link.connect()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        finally:
            link.close()


def call_table(procs, args):
    nats = nats_caller(procs, args)
    sides = [raw_caller(procs, args, "raw direct", ["service"]),
             Caller("obhost direct", CallingNode(procs, args, "direct", "service").run),
             raw_caller(procs, args, "raw routed", ["service", "route"]),
             Caller("obhost routed", CallingNode(procs, args, "routed", "route").run),
             *([nats] if nats else [])]
    results = common.measure(procs, args, sides, CALLS, lambda procs, args, side, shape:
                             common.watched(procs, lambda: side.run(shape.args)))
    keep(args, "call", results)

    def rows(label, raw, other, goals):
        return [(f"{label}, {shape.label}", {side: results[shape.name][side]
                                             for side in (raw, other)},
                 [(RATE._replace(name="calls/s"), goals[shape.name]), (P50, ""), (P99, ""),
                  (CPU._replace(name="CPU us/call"), "")]) for shape in CALLS]

    goal = {"w1": "≥ 0.8", "w64": "≥ 0.8"}
    print_long(["raw", "obhost"], rows("direct", "raw direct", "obhost direct", goal) +
               rows("through a route node", "raw routed", "obhost routed", goal))
    if nats:
        print_long(["NATS", "obhost"], rows("through a node between", "nats", "obhost routed",
                                            {"w1": "≥ 2", "w64": "≥ 10"}))
    return print_foot(args, results)


# ---- the trio ----


def trio_goals(shape):
    if "-R" not in shape.args:
        return [(RATE, "≥ 0.8"), (P50, ""), (P99, ""), (CPU, "≤ 1.5"), (SYSCALLS, "≤ 1.25")]
    crowd = connections(shape) > 1000
    return [(RATE, ""), (P50, ""), (P99, "" if crowd else "≤ 1.5"), (P999, "" if crowd else "≤ 2"),
            (CPU, ""), *([] if crowd else [(SYSCALLS, "")])]


def connections(shape):
    return int(shape.args[shape.args.index("-c") + 1])


def chain_once(mesh):
    """One run, of which is known that what went over obhost's links went through its route node."""
    def once(procs, args, side, shape):
        def run():
            return common.run_once(procs, args, side, shape)

        return mesh.through(run, lambda r: r["answered"]) if side.name == "obhost" else run()
    return once


def can_count(args):
    """Whether perf may count system calls here."""
    try:
        done = subprocess.run([args.perf, "stat", "-x,", "-e", SYSCALL, "true"], timeout=30,
                              capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and any(line.split(",")[0].isdigit()
                                        for line in done.stderr.splitlines() if SYSCALL in line)


def count_syscalls(procs, args, side, shape, rate):
    """System calls of the servers per message, over a number of messages known before; those of
    connecting and closing are among them."""
    total = max(1000, int(rate * args.count_seconds))
    path = os.path.join(procs.folder, "perf.csv")
    common.obbench(args, side, [*shape.args, "-n", str(total)], before=[
        args.perf, "stat", "-x,", "-o", path, "-e", SYSCALL, "-p",
        ",".join(map(str, side.pids)), "--"])
    with open(path, encoding="utf-8") as text:
        for line in text:
            if SYSCALL in line:
                return int(line.split(",")[0]) / total
    raise common.Failure(f"perf counted nothing for {side.name}")


def count_all(procs, args, sides, shapes, results):
    """In runs of their own, as counting makes each system call slower."""
    for repeat in range(args.repeats):
        for shape in shapes:
            for side in common.in_turn(repeat, sides):
                report = results[shape.name][side.name][repeat]
                report["syscalls"] = count_syscalls(procs, args, side, shape,
                                                    report["msgs_per_s"])


def trio_table(procs, args):
    obhost, mesh = common.start_obhost_chain(procs, args)
    sides = [common.start_raw_chain(procs, args), obhost]
    shapes = args.trio_shapes
    results = common.measure(procs, args, sides, shapes, chain_once(mesh))
    counted = can_count(args)
    if counted:
        count_all(procs, args, sides, [s for s in shapes if connections(s) <= 1000], results)
    keep(args, "trio", results)
    print_long([side.name for side in sides],
               [(shape.label, results[shape.name], trio_goals(shape)) for shape in shapes])
    print("System calls are those that perf counted in all three servers, in runs of their own of "
          f"{args.count_seconds:g} s." if counted else
          "System calls are not counted: perf is not here or may not count them.")
    return print_foot(args, results)


# ---- links ----


class Authority:
    """Certificates for the nodes of one run."""

    def __init__(self, folder):
        self.base = os.path.join(folder, "ca")
        self.openssl("req", "-x509", *self.key(self.base), "-days", "2", "-subj", "/CN=bench",
                     "-out", f"{self.base}.crt")

    @staticmethod
    def openssl(*words):
        done = subprocess.run(["openssl", *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise common.Failure(f"openssl {words[0]}: {done.stderr.strip()}")

    @staticmethod
    def key(base):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                f"{base}.key"]

    def protect(self, role, name):
        base = f"{self.base}-{name}"
        self.openssl("req", *self.key(base), "-subj", f"/CN={name}", "-out", f"{base}.csr")
        with open(f"{base}.ext", "w", encoding="ascii") as out:
            out.write(f"subjectAltName=URI:obhost:{role}/{name}\n")
        self.openssl("x509", "-req", "-in", f"{base}.csr", "-CA", f"{self.base}.crt", "-CAkey",
                     f"{self.base}.key", "-CAcreateserial", "-days", "2", "-extfile",
                     f"{base}.ext", "-out", f"{base}.crt")
        return {"tls": {"cert": f"{base}.crt", "key": f"{base}.key", "ca": f"{self.base}.crt"}}


def links_table(procs, args):
    kinds = {"plain": None, "encode 1": lambda role, name: {"encode": 1},
             "tls": Authority(procs.folder).protect}
    sides = []
    for number, (kind, protect) in enumerate(kinds.items()):
        side, _ = common.start_obhost_chain(procs, args, f"links{number}", protect)
        sides.append(side._replace(name=kind))
    results = common.measure(procs, args, sides, args.link_shapes)
    keep(args, "links", results)
    print_long(list(kinds), [(shape.label, results[shape.name],
                              [(RATE, ""), (P50, ""), (P99, ""), (CPU, "")])
                             for shape in args.link_shapes])
    return print_foot(args, results)


# ---- what is there and does nothing ----


class Members:
    """Nodes that have a link with the route node and do nothing."""

    def __init__(self, procs, mesh):
        self.procs = procs
        self.mesh = mesh
        self.others = len(self.linked())
        self.servers = []
        self.started = 0

    def linked(self):
        return [peer for peer in self.mesh.ask_hub("peers")["peers"] if peer["state"] == "up"]

    def become(self, count):
        """Starts or ends nodes until there are that many, and waits until that is known."""
        while len(self.servers) < count:
            self.started += 1
            self.servers.append(self.mesh.start("spare", ["service"], self.started))
        self.procs.end(self.servers[count:])
        del self.servers[count:]
        deadline = time.monotonic() + common.START_SECONDS
        while len(self.linked()) != self.others + count:
            self.procs.check()
            if time.monotonic() > deadline:
                raise common.Failure(f"{len(self.linked())} nodes are linked with the route node, "
                                     f"not {self.others} and {count} idle ones")
            time.sleep(0.1)


def idle_results(procs, args, states, enter, words):
    """The runs of one chain in several states, one after the other and back again, so that the same
    processes are compared with themselves."""
    side, mesh = common.start_obhost_chain(procs, args)
    enter = enter(mesh)
    results = {shape.name: {state: [] for state in states} for shape in args.idle_shapes}
    for repeat in range(args.repeats):
        for state in common.in_turn(repeat, states):
            enter(state)
            for shape in args.idle_shapes:
                more = shape._replace(args=[*shape.args, *words(shape, state)])
                report = common.quietest(procs, args, lambda: common.run_once(
                    procs, args, side, more))
                results[shape.name][state].append(report)
                common.progress(args, repeat, shape.name, str(state), report)
    return results


def print_idle(args, name, results, heads):
    keep(args, name, results)
    print_long(heads, [(shape.label, results[shape.name],
                        [(CPU, "≤ 1.05"), (RATE, ""), (P99, "")]) for shape in args.idle_shapes])
    return print_foot(args, results)


def idle_table(procs, args):
    results = idle_results(procs, args, MEMBERS, lambda mesh: Members(procs, mesh).become,
                           lambda shape, count: [])
    return print_idle(args, "idle", results, [f"{count} idle" for count in MEMBERS])


def crowd_table(procs, args):
    results = idle_results(procs, args, SESSIONS, lambda mesh: lambda count: None,
                           lambda shape, count: ["--idle", str(count - connections(shape))])
    return print_idle(args, "crowd", results, [f"{count:,} sessions" for count in SESSIONS])


# ---- the command ----

TABLES = {"call": call_table, "trio": trio_table, "links": links_table, "idle": idle_table,
          "crowd": crowd_table}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    common.add_arguments(parser, repeats=5, seconds=2, warmup=0.5)
    parser.add_argument("--obhost", required=True, help="the obhost program")
    parser.add_argument("--nats", default="nats-server", help="the nats-server program")
    parser.add_argument("--perf", default="perf", help="the perf program, for system calls")
    parser.add_argument("--count-seconds", type=float, default=0.5,
                        help="length of a run that system calls are counted in (0.5)")
    for table, shapes in (("trio", TRIO_SHAPES), ("link", LINK_SHAPES), ("idle", IDLE_SHAPES)):
        parser.add_argument(f"--{table}-shapes", default=shapes,
                            help=f"loads as run.py has them ({shapes})")
    parser.add_argument("--json", metavar="FILE", help="also write every report to FILE.TABLE")
    args = parser.parse_args()
    common.finish_tables(parser, args, TABLES)
    for name in ("trio_shapes", "link_shapes", "idle_shapes"):
        setattr(args, name, common.parse_shapes(parser, args, getattr(args, name)))
    if max(map(connections, args.idle_shapes)) > min(SESSIONS):
        parser.error(f"--idle-shapes: at most {min(SESSIONS)} connections")
    common.finish_arguments(parser, args, False)
    return args


if __name__ == "__main__":
    sys.exit(common.print_tables(TABLES, arguments()))
