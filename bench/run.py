#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Compares obhost with the limit of the machine: interleaved runs, ratios of neighbours.

Starts a raw chain (or a raw WebSocket echo, with --echo) and the same path through obhost, then
lets obbench run against one and the other in turn, for each load shape and repeat. Prints a table
of medians and the median of the ratios within a repeat. Without --obhost only the raw side runs.
Ends every process it started, and removes its files.
"""

import argparse
import collections
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CHAIN_SHAPES = "c50d1,c50d16,c50d64,c1d1,c50r50000"
ECHO_SHAPES = "c50d1,c50d16,c50d16s1024,c1d1"
START_SECONDS = 15
STOP_SECONDS = 10
QUIET_SECONDS = 0.3
PR_SET_PDEATHSIG = 1

Side = collections.namedtuple("Side", "name port pids")
Shape = collections.namedtuple("Shape", "name label args")
Server = collections.namedtuple("Server", "name popen errors")


class Failure(Exception):
    """Something that ends the comparison, with its reason."""


class Processes:
    """Starts servers, knows them by their own handles, and ends those and no others."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []
        self.libc = ctypes.CDLL(None, use_errno=True)

    def start(self, name, command, pin=None, stdout=subprocess.DEVNULL):
        def in_child():
            # Even if this script is killed, its servers do not stay behind.
            self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if pin is not None:
                os.sched_setaffinity(0, {pin})

        path = os.path.join(self.folder, name + ".stderr")
        with open(path, "wb") as errors:
            popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout,
                                     stderr=errors, preexec_fn=in_child)
        server = Server(name, popen, path)
        self.running.append(server)
        return server

    def check(self):
        for server in self.running:
            if server.popen.poll() is not None:
                raise Failure(f"{server.name} ended with status {server.popen.returncode}: "
                              f"{last_words(server)}")

    def stop(self):
        for server in reversed(self.running):
            if server.popen.poll() is None:
                server.popen.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for server in self.running:
            try:
                server.popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                print(f"{server.name} did not stop in {STOP_SECONDS} s, killed",
                      file=sys.stderr)
                server.popen.kill()
                server.popen.wait()
            if server.popen.stdout:
                server.popen.stdout.close()
        self.running = []


def last_words(server):
    with open(server.errors, encoding="utf-8", errors="replace") as text:
        lines = text.read().strip().splitlines()
    return " | ".join(lines[-5:]) or "(it said nothing)"


# ---- the raw side ----


def start_raw(procs, name, command, pin=None):
    """Starts one raw server and waits for the port it prints."""
    server = procs.start(name, command, pin, stdout=subprocess.PIPE)
    words = server.popen.stdout.readline().split()
    if len(words) != 2 or words[0] != b"listening":
        server.popen.wait(STOP_SECONDS)
        raise Failure(f"{name} did not start: {last_words(server)}")
    return server, int(words[1])


def start_raw_chain(procs, args):
    binary = tool(args, "bench", "raw_chain")
    servers = []
    address = []
    for role in ("service", "route", "proxy"):
        server, port = start_raw(procs, "raw-" + role,
                                 [binary, role, "--listen", "0", *address])
        servers.append(server)
        address = ["--next", f"127.0.0.1:{port}"]
    return Side("raw", port, [s.popen.pid for s in reversed(servers)])


def start_raw_echo(procs, args):
    server, port = start_raw(procs, "raw-echo", [tool(args, "bench", "raw_ws_echo"), "0"],
                             args.server_cpu)
    return Side("raw", port, [server.popen.pid])


# ---- the obhost side ----


def free_ports(count):
    """Ports nobody listens on now. All are held until all are found, so they differ."""
    held = []
    try:
        for _ in range(count):
            sock = socket.socket()
            held.append(sock)
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()


def echo_module(args):
    conf = json.loads(args.echo_conf) if args.echo_conf else {"id": args.id}
    module = {"name": args.echo_module, "conf": conf}
    if args.echo_path:
        module["path"] = os.path.abspath(args.echo_path)
    return module


def node_conf(procs, args, role, modules, **more):
    """Writes the configuration of one node; the path of the file."""
    conf = {
        "name": f"bench_{role}",
        "type": role,
        "host": "127.0.0.1",
        "modules": modules,
        "module_dirs": [os.path.abspath(d) for d in args.module_dir],
        "state_dir": os.path.join(procs.folder, "state-" + role),
        "log_level": "warn",
        **more,
    }
    os.mkdir(conf["state_dir"], 0o700)
    path = os.path.join(procs.folder, role + ".conf")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(conf, out, indent=1)
    return path


def obhost_chain_confs(procs, args):
    ws_port, proxy, route, service = free_ports(4)
    token = secrets.token_hex(16)

    def rpc(port, **more):
        return {"port": port, "token": token, "encode": 0, **more}

    def remote(port, role):
        return {"host": "127.0.0.1", "port": port, "type": role, "token": token, "encode": 0}

    table = {"range": {"service": [[args.id, args.id]]}}
    confs = [
        node_conf(procs, args, "service", ["service", echo_module(args)], rpc=rpc(service)),
        node_conf(procs, args, "route", ["route"], rpc=rpc(route, route=table),
                  remote_ports=[remote(service, "service")]),
        node_conf(procs, args, "proxy", ["proxy"], rpc=rpc(proxy),
                  websocket={"port": ws_port, "timeout": 300},
                  remote_ports=[remote(route, "route")]),
    ]
    return ws_port, confs


def obhost_echo_confs(procs, args):
    (ws_port,) = free_ports(1)
    return ws_port, [node_conf(procs, args, "proxy", ["proxy", echo_module(args)],
                               websocket={"port": ws_port, "timeout": 300})]


def start_obhost(procs, args):
    port, confs = (obhost_echo_confs if args.echo else obhost_chain_confs)(procs, args)
    servers = []
    for conf in confs:
        name = "obhost-" + os.path.basename(conf).removesuffix(".conf")
        servers.append(procs.start(name, [args.obhost, "-c", conf], args.server_cpu))
    wait_for_answer(procs, args, port)
    return Side("obhost", port, [s.popen.pid for s in reversed(servers)])


def wait_for_answer(procs, args, port):
    """Waits until one message goes all the way and comes back as it should."""
    command = [tool(args, "tools", "obbench"), "-c", "1", "-n", "1", "-t", "2", "-i",
               str(args.id), "--verify", "--check-code", f"127.0.0.1:{port}"]
    deadline = time.monotonic() + START_SECONDS
    while True:
        procs.check()
        probe = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if probe.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise Failure(f"no right answer through obhost in {START_SECONDS} s:\n"
                          f"{probe.stdout}{probe.stderr}")
        time.sleep(0.1)


# ---- measuring ----


def tool(args, folder, name):
    """A program of ours: in the build tree's folder, or all in one place."""
    for path in (os.path.join(args.build, folder, name), os.path.join(args.build, name)):
        if os.access(path, os.X_OK):
            return path
    raise Failure(f"{name} is not in {args.build}: build it first (make bench), or say --build")


def parse_shape(word, payload):
    match = re.fullmatch(r"c(\d+)([dr])(\d+)(?:s(\d+))?", word)
    if not match:
        raise argparse.ArgumentTypeError(
            f"'{word}' is not a shape like c50d16 (depth), c50r50000 (rate) or c50d1s1024")
    conns, kind, number, size = match.groups()
    size = size or str(payload)
    loop = f"depth {number}" if kind == "d" else f"open loop {int(number):,}/s"
    label = f"{conns} conn, {loop}, {size} B"
    flags = ["-c", conns, "-d" if kind == "d" else "-R", number, "-s", size]
    return Shape(word, label, flags)


def process_ticks(pid):
    """User and system time of a process and of the children it has waited for."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as text:
        fields = text.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def stolen_ticks():
    """What the host of a virtual machine gave to others."""
    with open("/proc/stat", encoding="utf-8") as text:
        return int(text.readline().split()[8])


def ticks_of_others(procs):
    """What all processes but ours have used; only differences of it mean something.

    With the children counted, a process that ends is not lost: its time moves to its parent. The
    totals of /proc/stat would not do: whether interrupts are in a process's time depends on how the
    kernel was configured.
    """
    ours = {os.getpid(), *(s.popen.pid for s in procs.running)}
    total = stolen_ticks()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in ours:
            try:
                total += process_ticks(int(name))
            except (OSError, ValueError):
                pass  # it ended between the two calls
    return total


def run_once(procs, args, side, shape):
    """One run of obbench; its report, with the share of a core that others took meanwhile."""
    command = [tool(args, "tools", "obbench"), "--json", "--check-code", "-i", str(args.id),
               "-t", str(args.seconds), "-w", str(args.warmup), *shape.args,
               "-p", ",".join(map(str, side.pids)), f"127.0.0.1:{side.port}"]
    if args.client_cpu is not None:
        command = ["taskset", "-c", str(args.client_cpu), *command]
    procs.check()
    before = ticks_of_others(procs)
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          timeout=args.seconds + args.warmup + 60)
    spent = time.monotonic() - begin
    procs.check()
    if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
        raise Failure(f"obbench {shape.name} against {side.name}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    ticks = ticks_of_others(procs) - before
    report["others"] = max(0.0, ticks / os.sysconf("SC_CLK_TCK") / spent)
    return report


def wait_for_quiet(procs, args):
    """Returns when others have used little for a moment, or after --wait seconds anyway."""
    deadline = time.monotonic() + args.wait
    while time.monotonic() < deadline:
        before = ticks_of_others(procs)
        time.sleep(QUIET_SECONDS)
        ticks = ticks_of_others(procs) - before
        if ticks / os.sysconf("SC_CLK_TCK") <= args.noise * QUIET_SECONDS:
            return


def run_quiet(procs, args, side, shape):
    """Repeats a run that was disturbed, a few times, and keeps the quietest."""
    best = None
    for _ in range(args.retries + 1):
        wait_for_quiet(procs, args)
        report = run_once(procs, args, side, shape)
        if best is None or report["others"] < best["others"]:
            best = report
        if best["others"] <= args.noise:
            break
    return best


def measure(procs, args, sides, shapes):
    """All runs: {shape name: {side name: [report per repeat]}}."""
    results = {shape.name: {side.name: [] for side in sides} for shape in shapes}
    for repeat in range(args.repeats):
        for shape in shapes:
            # Who goes first changes, so that a drift of the machine favours nobody.
            for side in sides if repeat % 2 == 0 else reversed(sides):
                report = run_quiet(procs, args, side, shape)
                results[shape.name][side.name].append(report)
                progress(args, repeat, shape, side, report)
    return results


def progress(args, repeat, shape, side, report):
    if not args.quiet:
        print(f"{repeat + 1}/{args.repeats} {shape.name:12} {side.name:7}"
              f" {report['msgs_per_s']:12.0f}/s {report['server_cpu_us']:8.3f} us"
              f"  p99 {report['latency_us']['p99']:8.1f} us  errors {report['errors']}"
              f"  others {report['others'] * 100:.0f} %", file=sys.stderr, flush=True)


# ---- the table ----

COLUMNS = (
    ("msgs/s", lambda r: r["msgs_per_s"], "{:,.0f}"),
    ("CPU us/msg", lambda r: r["server_cpu_us"], "{:.3f}"),
    ("p50 us", lambda r: r["latency_us"]["p50"], "{:.0f}"),
    ("p99 us", lambda r: r["latency_us"]["p99"], "{:.0f}"),
)


def cells(runs, get, form):
    """The medians of each side and, with two sides, the median ratio of neighbours."""
    values = {name: [get(r) for r in reports] for name, reports in runs.items()}
    out = [form.format(statistics.median(v)) for v in values.values()]
    if len(values) == 2:
        ratios = [b / a for a, b in zip(*values.values()) if a > 0]
        out.append(f"{statistics.median(ratios):.2f}" if ratios else "-")
    return out


def print_table(args, sides, shapes, results):
    names = [side.name for side in sides] + (["ratio"] if len(sides) == 2 else [])
    heads = [f"{column} {name}" for column, _, _ in COLUMNS for name in names]
    print(f"| load | {' | '.join(heads)} |")
    print("|---|" + "---:|" * len(heads))
    for shape in shapes:
        row = []
        for _, get, form in COLUMNS:
            row += cells(results[shape.name], get, form)
        print(f"| {shape.label} | {' | '.join(row)} |")
    reports = [r for by_side in results.values() for runs in by_side.values() for r in runs]
    noisy = sum(r["others"] > args.noise for r in reports)
    errors = sum(r["errors"] for r in reports)
    print()
    print(f"{len(reports)} runs of {args.seconds:g} s after {args.warmup:g} s of warm-up, "
          f"{args.repeats} repeats, interleaved; {noisy} of them while other processes took "
          f"more than {args.noise * 100:.0f} % of a core; {errors} errors.")
    return errors


# ---- the command ----


def add_arguments(parser, *, repeats, seconds):
    """What the programs of this folder have in common; these two differ in how long they take."""
    parser.add_argument("--build", default=".", help="build tree, or a folder with the programs")
    parser.add_argument("--module-dir", action="append", default=[],
                        help="where its modules are, may be given again")
    parser.add_argument("--echo-module", default="echo", help="the plugin that answers")
    parser.add_argument("--echo-path", help="its file, if it is in no module directory")
    parser.add_argument("--echo-conf", help='its configuration, JSON ({"id": ID})')
    parser.add_argument("--id", type=int, default=30000, help="message id (30000)")
    parser.add_argument("--no-pin", action="store_true",
                        help="where one node is measured: do not pin it to processor 0 and the "
                        "client to 1")
    parser.add_argument("--payload", type=int, default=64, help="body of shapes without s (64)")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"({repeats})")
    parser.add_argument("--seconds", type=float, default=seconds,
                        help=f"measured in each run ({seconds})")
    parser.add_argument("--warmup", type=float, default=1, help="before that (1)")
    parser.add_argument("--noise", type=float, default=0.08,
                        help="share of a core others may use during a run (0.08)")
    parser.add_argument("--wait", type=float, default=5,
                        help="longest wait, in seconds, for the others to calm down (5)")
    parser.add_argument("--retries", type=int, default=2, help="of a disturbed run (2)")


def finish_arguments(parser, args, pinned):
    """Reads what add_arguments() and a --shapes of the program's own have left as words."""
    try:
        args.shapes = [parse_shape(word, args.payload) for word in args.shapes.split(",")]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    if args.repeats < 1 or args.retries < 0 or args.seconds <= 0:
        parser.error("--repeats must be at least 1, --retries at least 0, --seconds above 0")
    pin = pinned and not args.no_pin and {0, 1} <= os.sched_getaffinity(0)
    args.server_cpu, args.client_cpu = (0, 1) if pin else (None, None)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, repeats=3, seconds=3)
    parser.add_argument("--obhost", help="the obhost program; without it the raw side runs alone")
    parser.add_argument("--echo", action="store_true",
                        help="compare one node that answers itself with raw_ws_echo, pinned: "
                        "server on processor 0, client on 1")
    parser.add_argument("--shapes", help=f"({CHAIN_SHAPES}; with --echo {ECHO_SHAPES})")
    parser.add_argument("--json", metavar="FILE", help="also write every report there")
    parser.add_argument("--quiet", action="store_true", help="no line per run")
    args = parser.parse_args()
    args.shapes = args.shapes or (ECHO_SHAPES if args.echo else CHAIN_SHAPES)
    finish_arguments(parser, args, args.echo)
    return args


def compare(procs, args):
    sides = [start_raw_echo(procs, args) if args.echo else start_raw_chain(procs, args)]
    if args.obhost:
        sides.append(start_obhost(procs, args))
    results = measure(procs, args, sides, args.shapes)
    errors = print_table(args, sides, args.shapes, results)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
    return 1 if errors else 0


def interrupted(signum, _frame):
    raise Failure(f"interrupted by {signal.Signals(signum).name}")


def main():
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)
    folder = tempfile.mkdtemp(prefix="obhost-bench-")
    procs = Processes(folder)
    try:
        return compare(procs, args)
    except (Failure, OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    finally:
        procs.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
