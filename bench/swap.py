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
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import run  # the other program of this folder

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
        (self.port,) = run.free_ports(1)
        conf = run.node_conf(procs, args, "proxy", ["proxy", run.echo_module(args)],
                             websocket={"port": self.port, "timeout": 3600},
                             reload={"probation": 0, "rate": "0/s", **reload})
        self.socket = os.path.join(procs.folder, "state-proxy", NODE, "admin.sock")
        self.modules = [*MODULES, args.echo_module]
        server = procs.start("obhost", [args.obhost, "-c", conf], args.server_cpu if pinned
                             else None)
        run.wait_for_answer(procs, args, self.port)
        self.side = run.Side("obhost", self.port, [server.popen.pid])

    def ask(self, verb, **args):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(60)
            link.connect(self.socket)
            link.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
            with link.makefile("rb") as file:
                answer = json.loads(file.readline())
        if answer["status"] != 200:
            raise run.Failure(f"{verb} {args}: {answer}")
        return answer["body"]

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
            except (run.Failure, OSError, ValueError, subprocess.SubprocessError) as error:
                self.error = error
                return
            self.times += 1
            due += every

    def stop(self):
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise run.Failure(f"a reload failed: {self.error}")
        return self.times


class Clients:
    """obbench beside whatever else is done."""

    def __init__(self, args, port, words, pinned=True):
        command = [run.tool(args, "tools", "obbench"), "--json", "--announce", "-i", str(args.id),
                   *words, f"127.0.0.1:{port}"]
        if pinned and args.client_cpu is not None:
            command = ["taskset", "-c", str(args.client_cpu), *command]
        self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
        if self.popen.stderr.readline() != "connected\n":
            raise run.Failure(f"obbench: {self.popen.stderr.read()}")

    def finish(self):
        self.popen.send_signal(signal.SIGTERM)
        out, err = self.popen.communicate(timeout=60)
        if not out.startswith("{"):
            raise run.Failure(f"obbench: {err}")
        return json.loads(out)


# ---- what a reload costs ----


def cost_table(procs, args):
    """Both nodes are up all the time and reload in turn: what disturbs one disturbs the other."""
    sides = {"with rehearsal": {}, "without (reload.probe 0)": {"probe": 0}}
    others = []
    rows = {}
    try:
        for label, reload in sides.items():
            others.append(run.Processes(tempfile.mkdtemp(dir=procs.folder)))
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
            raise run.Failure(f"the clients of {count} connections had errors: {report}")
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
        return run.run_once(procs, args, node.side, shape)
    reloads = Repeated(lambda: node.reload(node.modules), args.warmup + every / 2, every)
    report = run.run_once(procs, args, node.side, shape)
    report["reloads"] = reloads.stop()
    node.settle()
    return report


def run_quiet(procs, args, node, shape, every):
    """Repeats a run that others disturbed, a few times, and keeps the quietest."""
    best = None
    for _ in range(args.retries + 1):
        run.wait_for_quiet(procs, args)
        report = run_side(procs, args, node, shape, every)
        if best is None or report["others"] < best["others"]:
            best = report
        if best["others"] <= args.noise:
            break
    return best


def reload_table(procs, args):
    node = Node(procs, args)
    results = {shape.name: {"none": [], "reload": []} for shape in args.shapes}
    for repeat in range(args.repeats):
        for shape in args.shapes:
            order = [("none", None), ("reload", args.every)]
            for name, every in order if repeat % 2 == 0 else reversed(order):
                report = run_quiet(procs, args, node, shape, every)
                results[shape.name][name].append(report)
                print(f"{repeat + 1}/{args.repeats} {shape.name} {name}: "
                      f"{report['msgs_per_s']:.0f}/s p99 {report['latency_us']['p99']:.0f} "
                      f"p99.9 {report['latency_us']['p999']:.0f} errors {report['errors']} "
                      f"others {report['others'] * 100:.0f} %", file=sys.stderr, flush=True)
    print_reloads(args, results)
    return sum(r["errors"] for sides in results.values() for runs in sides.values() for r in runs)


def print_reloads(args, results):
    columns = (("msgs/s", lambda r: r["msgs_per_s"], "{:,.0f}"),
               ("p99 us", lambda r: r["latency_us"]["p99"], "{:.0f}"),
               ("p99.9 us", lambda r: r["latency_us"]["p999"], "{:.0f}"))
    heads = [f"{name} {side}" for name, _, _ in columns for side in ("none", "reload", "ratio")]
    print(f"| load | {' | '.join(heads)} |")
    print("|---|" + "---:|" * len(heads))
    for shape in args.shapes:
        row = []
        for _, get, form in columns:
            row += run.cells(results[shape.name], get, form)
        print(f"| {shape.label} | {' | '.join(row)} |")
    reports = [r for sides in results.values() for runs in sides.values() for r in runs]
    print(f"\n{len(reports)} runs of {args.seconds:g} s, {args.repeats} repeats, interleaved; "
          f"{sum(r.get('reloads', 0) for r in reports)} reloads of proxy, codec and handler, one "
          f"every {args.every:g} s; {sum(r['others'] > args.noise for r in reports)} runs while "
          f"other processes took more than {args.noise * 100:.0f} % of a core; "
          f"{sum(r['errors'] for r in reports)} errors.")


# ---- beside nginx ----


class Nginx:
    """nginx with a prefix of its own, as a reverse proxy for WebSockets before raw_ws_echo."""

    def __init__(self, procs, args, shutdown=None):
        _, echo = run.start_raw(procs, "raw-echo", [run.tool(args, "bench", "raw_ws_echo"), "0"])
        (self.port,) = run.free_ports(1)
        self.prefix = tempfile.mkdtemp(prefix="nginx-", dir=procs.folder)
        user = "user root;\n" if os.geteuid() == 0 else ""
        limit = f"worker_shutdown_timeout {shutdown}s;\n" if shutdown else ""
        temp = "".join(f"  {kind}_temp_path {self.prefix};\n"
                       for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        text = (f"{user}{limit}worker_processes {os.cpu_count()};\n"
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
        self.server = procs.start("nginx", self.command)
        run.wait_for_answer(procs, args, self.port)

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
    run.add_arguments(parser, repeats=5, seconds=10)
    parser.add_argument("--obhost", required=True, help="the obhost program")
    parser.add_argument("--nginx", default="nginx", help="the nginx program")
    parser.add_argument("--switches", type=int, default=50, help="reloads per line (50)")
    parser.add_argument("--shapes", default="c50d16,c1000r20000",
                        help="loads of the table 'reload', as run.py has them")
    parser.add_argument("--every", type=float, default=5, help="seconds between reloads (5)")
    args = parser.parse_args()
    args.tables = args.tables or list(TABLES)
    if not set(args.tables) <= set(TABLES):
        parser.error(f"a table is one of {', '.join(TABLES)}")
    run.finish_arguments(parser, args, True)
    return args


def main():
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, run.interrupted)
    errors = 0
    for name in args.tables:
        folder = tempfile.mkdtemp(prefix="obhost-bench-")
        procs = run.Processes(folder)
        try:
            print(f"\n### {name}\n", flush=True)
            errors += TABLES[name](procs, args) or 0
        except (run.Failure, OSError, ValueError, subprocess.SubprocessError) as error:
            print(f"swap.py: {error}", file=sys.stderr)
            return 2
        finally:
            procs.stop()
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
