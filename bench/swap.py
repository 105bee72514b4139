#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What a hot swap costs, and what connected clients notice of it.

Four tables, all of them or those that are asked for:
  cost     the CPU time of a reload, of the node and of the children that rehearse
  switch   the CPU time of the loop turn that switches, with 10, 1,000 and 10,000 clients connected
  reload   throughput and latency with a reload every 5 s against none, in interleaved runs
  nginx    `nginx -s reload` and obhost's reload under the same WebSocket clients: connections
           closed, messages lost, what is left of the old code
Ends every process it started, and removes its files.
"""

import argparse
import collections
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import common
from common import P99, P999, RATE

NODE = "bench_proxy"
MODULES = ("proxy", "codec_obespoir")  # and the plugin that answers
SETTLE_SECONDS = 10
NGINX_RELOADS = 5
NGINX_EVERY = 2.0

Row = collections.namedtuple("Row", "label report reloads left rss")


# ---- a node that can be asked ----


class Node:
    """obhost, which answers itself, and its admin socket."""

    def __init__(self, procs, args, pinned=True, **reload):
        (self.port,) = common.free_ports(1)
        self.procs = procs
        conf = common.node_conf(procs, args, "proxy", ["proxy", common.echo_module(args)],
                                websocket={"port": self.port, "timeout": 3600},
                                reload={"probation": 0, "rate": "0/s", **reload})
        self.modules = [*MODULES, args.echo_module]
        server = common.start_node(procs, args, conf, args.server_cpu if pinned else None)
        common.wait_for_answer(procs, args, self.port)
        self.side = common.Side("obhost", self.port, [server.popen.pid])

    def ask(self, verb, **args):
        return common.ask(self.procs, NODE, verb, **args)

    def reload(self, names):
        return self.ask("modules.reload", names=list(names), force=True)

    def cpu_ms(self):
        """Of the node and of its children that have ended; fine enough for many reloads."""
        (pid,) = self.side.pids
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        ticks = [int(fields[n]) for n in (11, 12, 13, 14)]
        tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
        return sum(ticks[:2]) * tick_ms, sum(ticks[2:]) * tick_ms

    def old_generations(self):
        return sum(len(entry["old"]) for entry in self.ask("modules")["modules"])

    def settle(self):
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.old_generations() and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.old_generations()


class Repeated:
    """Calls function() `first` seconds from now and every `every` seconds, until stopped."""

    def __init__(self, function, first, every, most=None):
        self.function = function
        self.times = 0
        self.error = None
        self.plan = (first, every, most)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        first, every, most = self.plan
        due = time.monotonic() + first
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            if most is not None and self.times >= most:
                return
            try:
                self.function()
            except (common.Failure, OSError, ValueError, subprocess.SubprocessError) as error:
                self.error = error
                return
            self.times += 1
            due += every

    def stop(self):
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise common.Failure(f"a reload failed: {self.error}")
        return self.times


class Clients:
    """obbench beside whatever else is done."""

    def __init__(self, args, port, words, pinned=True):
        command = [common.tool(args, "tools", "obbench"), "--json", "--announce", "-i", str(args.id),
                   *words, f"127.0.0.1:{port}"]
        if pinned and args.client_cpu is not None:
            command = ["taskset", "-c", str(args.client_cpu), *command]
        self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
        if self.popen.stderr.readline() != "connected\n":
            raise common.Failure(f"obbench: {self.popen.stderr.read()}")

    def finish(self):
        self.popen.send_signal(signal.SIGTERM)
        out, err = self.popen.communicate(timeout=60)
        if not out.startswith("{"):
            raise common.Failure(f"obbench: {err}")
        return json.loads(out)


# ---- what a reload costs ----


def cost_table(procs, args):
    """Both nodes are up all the time and reload in turn: what disturbs one disturbs the other."""
    sides = {"with rehearsal": {}, "without (reload.probe 0)": {"probe": 0}}
    others = []
    rows = {}
    try:
        for label, reload in sides.items():
            others.append(common.Processes(tempfile.mkdtemp(dir=procs.folder)))
            node = Node(others[-1], args, **reload)
            node.reload(node.modules)
            node.settle()
            rows[label] = [node, node.cpu_ms(), 0]
        for _ in range(args.switches):
            for row in rows.values():
                began = time.monotonic()
                row[0].reload(row[0].modules)
                row[2] += time.monotonic() - began
                row[0].settle()
        print("| reload of proxy, codec and handler | node, CPU ms | children, CPU ms | wall ms |")
        print("|---|---:|---:|---:|")
        for label, (node, before, wall) in rows.items():
            own, children = ((now - then) / args.switches
                             for then, now in zip(before, node.cpu_ms()))
            print(f"| {label} | {own:.1f} | {children:.1f} | {wall * 1000 / args.switches:.1f} |")
        print(f"\n{args.switches} reloads each, in turn, without clients; wall clock until the answer.")
    finally:
        for other in others:
            other.stop()


# ---- the switch turn ----


def switch_table(procs, args):
    node = Node(procs, args)
    sets = {"the handler": [args.echo_module], "proxy, codec and handler": node.modules}
    rows = []
    for count in (10, 1000, 10000):
        busy = min(count, 1000)
        clients = Clients(args, node.port, ["-c", str(busy), "--idle", str(count - busy), "-R",
                                            str(busy), "-t", "86400", "-w", "0"])
        for label, names in sets.items():
            turns = []
            for _ in range(args.switches):
                shown = node.reload(names)
                turns.append(node.ask("modules.tx", id=str(shown["tx"]))["switch"])
                node.settle()
            rows.append((count, label, turns))
        report = clients.finish()
        if report["errors"]:
            raise common.Failure(f"the clients of {count} connections had errors: {report}")
    print("| connections | reload of | objects | CPU us, median | CPU us, largest |")
    print("|---:|---|---:|---:|---:|")
    for count, label, turns in rows:
        cpu = sorted(turn["cpu_us"] for turn in turns)
        objects = "/".join(str(n) for n in sorted({turn["objects"] for turn in turns}))
        print(f"| {count:,} | {label} | {objects} | {statistics.median(cpu):.1f} | "
              f"{cpu[-1]:.1f} |")
    print(f"\n{args.switches} reloads each.")


# ---- with and without reloads ----


def run_side(procs, args, node, shape, every):
    """One run of a shape, with reloads of everything that serves clients or without."""
    if every is None:
        return common.run_once(procs, args, node.side, shape)
    reloads = Repeated(lambda: node.reload(node.modules), args.warmup + every / 2, every)
    report = common.run_once(procs, args, node.side, shape)
    report["reloads"] = reloads.stop()
    node.settle()
    return report


def reload_table(procs, args):
    node = Node(procs, args)
    results = {shape.name: {"none": [], "reload": []} for shape in args.shapes}
    for repeat in range(args.repeats):
        for shape in args.shapes:
            for name, every in common.in_turn(repeat, [("none", None), ("reload", args.every)]):
                report = common.quietest(
                    procs, args, lambda: run_side(procs, args, node, shape, every))
                results[shape.name][name].append(report)
                common.progress(args, repeat, shape.name, name, report)
    common.print_table((RATE, P99, P999), ["none", "reload"],
                       [(shape.label, results[shape.name]) for shape in args.shapes])
    reports = common.all_reports(results)
    print(f"\n{len(reports)} runs of {args.seconds:g} s, {args.repeats} repeats, interleaved; "
          f"{sum(r.get('reloads', 0) for r in reports)} reloads of proxy, codec and handler, one "
          f"every {args.every:g} s; {common.noise(args, reports)}")
    return common.count_errors(reports)


# ---- beside nginx ----


class Nginx:
    """nginx with a prefix of its own, as a reverse proxy for WebSockets before raw_ws_echo."""

    def __init__(self, procs, args, shutdown=None, workers=None, pins=(None, None)):
        """pins: the processors of nginx and of what is behind it."""
        self.echo, echo = common.start_raw(procs, "raw-echo", [
            common.tool(args, "bench", "raw_ws_echo"), "0"], pins[1])
        (self.port,) = common.free_ports(1)
        self.prefix = tempfile.mkdtemp(prefix="nginx-", dir=procs.folder)
        user = "user root;\n" if os.geteuid() == 0 else ""
        limit = f"worker_shutdown_timeout {shutdown}s;\n" if shutdown else ""
        temp = "".join(f"  {kind}_temp_path {self.prefix};\n"
                       for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        text = (f"{user}{limit}worker_processes {workers or os.cpu_count()};\n"
                "daemon off;\npid nginx.pid;\nerror_log error.log;\n"
                "worker_rlimit_nofile 16384;\n"
                "events { worker_connections 8192; }\n"
                f"http {{\n  access_log off;\n{temp}"
                f"  server {{\n    listen 127.0.0.1:{self.port} backlog=4096;\n"
                "    location / {\n"
                f"      proxy_pass http://127.0.0.1:{echo};\n      proxy_http_version 1.1;\n"
                "      proxy_set_header Upgrade $http_upgrade;\n"
                '      proxy_set_header Connection "upgrade";\n'
                "      proxy_read_timeout 1h;\n    }\n  }\n}\n")
        with open(os.path.join(self.prefix, "nginx.conf"), "w", encoding="ascii") as out:
            out.write(text)
        self.command = [args.nginx, "-p", self.prefix, "-c", "nginx.conf", "-e", "error.log"]
        self.server = procs.start("nginx", self.command, pins[0])
        common.wait_for_answer(procs, args, self.port)

    def reload(self):
        subprocess.run([*self.command, "-s", "reload"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def workers(self):
        """Pids of the workers: those that serve, and those that are shutting down."""
        pid = self.server.popen.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            pids = file.read().split()
        old = []
        for one in pids:
            with open(f"/proc/{one}/cmdline", "rb") as file:
                if b"shutting down" in file.read():
                    old.append(one)
        return pids, old

    def rss(self):
        return sum(map(rss_kib, [self.server.popen.pid, *self.workers()[0]]))


def rss_kib(pid):
    """The memory that is only this process's."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private"))


def under_clients(args, port, label, reload, left, rss):
    """The same clients, the same number of reloads."""
    clients = Clients(args, port, ["-c", "1000", "-R", "5000", "-t", "86400", "-w", "0",
                                   "--verify"], pinned=False)
    reloads = Repeated(reload, 1, NGINX_EVERY, NGINX_RELOADS)
    time.sleep(1 + NGINX_EVERY * (NGINX_RELOADS + 1))
    times = reloads.stop()
    remains, memory = left(), rss()
    return Row(label, clients.finish(), times, remains, memory)


def nginx_table(procs, args):
    rows = []
    for shutdown in (None, 3):
        nginx = Nginx(procs, args, shutdown)
        label = "nginx -s reload" + (f", worker_shutdown_timeout {shutdown}s" if shutdown else "")
        rows.append(under_clients(args, nginx.port, label, nginx.reload,
                                  lambda n=nginx: f"{len(n.workers()[1])} workers", nginx.rss))
    node = Node(procs, args, pinned=False)
    for label, names in (("obhost, reload of the handler", [args.echo_module]),
                         ("obhost, reload of proxy, codec and handler", node.modules)):
        rows.append(under_clients(args, node.port, label, lambda n=names: node.reload(n),
                                  lambda: f"{node.settle()} generations",
                                  lambda: rss_kib(node.side.pids[0])))
    print("| | reloads | connections closed | messages sent | lost | of the old code is left | "
          "p99 us | largest us | memory MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        r = row.report
        lost = r["lost"] + r["overrun"]
        print(f"| {row.label} | {row.reloads} | {r['broken']} of 1,000 | {r['sent']:,} | {lost:,} "
              f"| {row.left} | {r['latency_us']['p99']:.0f} | {r['latency_us']['max']:.0f} | "
              f"{row.rss / 1024:.1f} |")
    print("\n1,000 WebSockets, 5,000 numbered messages a second in all; a message that was due on a "
          "connection that had been closed counts as lost, and the run ends with the last "
          "connection. What is left of the old code is "
          f"counted {NGINX_EVERY:g} s after the last reload, with the clients still connected.")


# ---- the command ----

TABLES = {"cost": cost_table, "switch": switch_table, "reload": reload_table, "nginx": nginx_table}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    common.add_arguments(parser, repeats=5, seconds=10)
    parser.add_argument("--obhost", required=True, help="the obhost program")
    parser.add_argument("--nginx", default="nginx", help="the nginx program")
    parser.add_argument("--switches", type=int, default=50, help="reloads per line (50)")
    parser.add_argument("--shapes", default="c50d16,c1000r20000",
                        help="loads of the table 'reload', as common.py has them")
    parser.add_argument("--every", type=float, default=5, help="seconds between reloads (5)")
    args = parser.parse_args()
    common.finish_tables(parser, args, TABLES)
    args.shapes = common.parse_shapes(parser, args, args.shapes)
    common.finish_arguments(parser, args, True)
    return args


if __name__ == "__main__":
    sys.exit(common.print_tables(TABLES, arguments()))
