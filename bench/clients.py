#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What clients cost a node, against the limit of the machine.

Six tables, all of them or those that are asked for:
  echo       a proxy-only node that answers itself against raw_ws_echo
  nginx      the same node beside nginx that proxies the same clients to raw_ws_echo
  tls        wss against raw_tls_echo, which is OpenSSL on epoll
  broadcast  a message to all clients, with ob_push_all() and ob_push_group(), against raw_broadcast
  accept     connections and their handshakes against those of raw_ws_echo
  storm      all connections end at once and come back at once
Server on processor 0 and client on 1. Ends every process it started, and removes its files.
"""

import argparse
import os
import shutil
import subprocess
import sys

import common
from common import CPU, P50, P99, RATE, Column, Shape, Side, keep, print_foot, print_long
from swap import Nginx

ECHO_SHAPES = ",".join(f"c{c}d{d}s{s}" for d in (1, 16) for s in (64, 1024) for c in (50, 1000))
BROADCASTS = "1000,9900"
DEPTHS = (1, 8)
LARGE, LARGE_DEPTHS = 8192, (1, 8, 64)

ACCEPTS = Column("conns/s", lambda r: r["conns_per_s"], "{:,.0f}")
ACCEPT_CPU = Column("CPU us/conn", lambda r: r["accept_cpu_us"], "{:.1f}")
BACK = Column("all back s", lambda r: r["back_s"], "{:.2f}")
BACK_P50 = Column("back ms, p50", lambda r: r["back_ms"]["p50"], "{:.0f}")
BACK_MAX = Column("back ms, max", lambda r: r["back_ms"]["max"], "{:.0f}")
BROKEN = Column("refused", lambda r: r["broken"], "{:.0f}")


def start_raw(procs, args, program, *words):
    server, port = common.start_raw(procs, program, [common.tool(args, "bench", program), "0",
                                                     *words], args.server_cpu)
    return Side("raw", port, [server.popen.pid])


def start_node(procs, args, module, **listener):
    """A proxy-only node with a module, and where it listens."""
    (port,) = common.free_ports(1)
    entry = {"transport": "ws", "port": port, "timeout": 86400, **listener}
    conf = common.node_conf(procs, args, "proxy", ["proxy", module], listen=[entry])
    server = common.start_node(procs, args, conf, args.server_cpu)
    return Side("obhost", port, [server.popen.pid])


def start_echo(procs, args):
    side = start_node(procs, args, common.echo_module(args))
    common.wait_for_answer(procs, args, side.port)
    return side


def echo_goals(shape):
    goal = "≥ 0.95" if shape.args[shape.args.index("-d") + 1] == "1" else "≥ 0.9"
    return [(RATE, goal), (CPU, "≤ 1.2"), (P50, ""), (P99, "")]


def shapes_table(procs, args, name, sides, goals):
    results = common.measure(procs, args, sides, args.shapes)
    keep(args, name, results)
    print_long([side.name for side in sides],
               [(shape.label, results[shape.name], goals(shape)) for shape in args.shapes])
    return print_foot(args, results)


def echo_table(procs, args):
    sides = [start_raw(procs, args, "raw_ws_echo"), start_echo(procs, args)]
    return shapes_table(procs, args, "echo", sides, echo_goals)


def nginx_table(procs, args):
    """nginx has a processor of its own, as obhost has; what is behind it runs beside the client."""
    if shutil.which(args.nginx) is None:
        print("Without nginx: it is not installed.\n")
        return 0
    nginx = Nginx(procs, args, workers=1, pins=(args.server_cpu, args.client_cpu))
    pids = [*map(int, nginx.workers()[0]), nginx.echo.popen.pid]
    sides = [Side("nginx", nginx.port, pids), start_echo(procs, args)]
    return shapes_table(procs, args, "nginx", sides, lambda shape: [
        (RATE, "≥ 1.8"), (CPU, ""), (P50, ""), (P99, "")])


# ---- TLS ----


def certificate(folder):
    """Of a server, signed by itself."""
    cert, key = (os.path.join(folder, name) for name in ("server.crt", "server.key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=bench"], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


def tls_table(procs, args):
    cert, key = certificate(procs.folder)
    node = start_node(procs, args, common.echo_module(args), transport="wss",
                      tls={"cert": cert, "key": key})
    common.wait_for_answer(procs, args, node.port, "wss://")
    sides = [start_raw(procs, args, "raw_tls_echo", cert, key), node]
    return shapes_table(procs, args, "tls", [side._replace(scheme="wss://") for side in sides],
                        lambda shape: [(RATE, ""), (CPU, ""), (P50, ""), (P99, "")])


# ---- broadcast ----


def pushing_node(procs, args):
    path = os.path.join(args.build, "bench", ".libs", "pushbench.so")
    if not os.path.exists(path):
        raise common.Failure(f"{path} is not there: build it first (make bench), or say --build")
    side = start_node(procs, args, {"name": "pushbench", "path": os.path.abspath(path),
                                    "conf": {"id": args.id, "group": True}})
    common.wait_for_answer(procs, args, side.port)
    return side


def broadcast_table(procs, args):
    """The two ways of obhost are two ids of the same node."""
    node = pushing_node(procs, args)
    raw = start_raw(procs, args, "raw_broadcast")
    sides = [raw, node._replace(name="to all"), node._replace(name="to a group")]
    loads = [(n, d, args.payload) for n in args.broadcasts for d in DEPTHS]
    loads += [(args.broadcasts[0], d, LARGE) for d in LARGE_DEPTHS]
    shapes = [Shape(f"n{n}d{d}s{s}", f"{n:,} clients, {d} at a time, {s} B",
                    ["-c", "1", "--idle", str(n - 1), "--broadcast", "-d", str(d), "-s", str(s)])
              for n, d, s in loads]

    def once(procs, args, side, shape):
        more = ["-i", str(args.id + 1)] if side.name == "to a group" else []
        return common.run_once(procs, args, side, shape._replace(args=[*shape.args, *more]))

    results = common.measure(procs, args, sides, shapes, once)
    keep(args, "broadcast", results)
    columns = [(RATE, "≥ 0.95"), (CPU, ""), (P50, ""), (P99, "")]
    print_long([side.name for side in sides],
               [(shape.label, results[shape.name], columns) for shape in shapes])
    print("Messages are counted where they arrive. Latency is that of the last client that has it.")
    return print_foot(args, results)


# ---- connections that come ----


def accept_once(procs, args, side, _shape):
    """Connections in batches that are there, and have asked, before the server goes on."""
    report = common.watched(procs, lambda: common.obbench(args, side, [
        "-c", "1", "--idle", str(args.accepts - 1), "--batch", str(args.batch), "-t", "0.01", "-w",
        "0", "-p", ",".join(map(str, side.pids))]))
    report["conns_per_s"] = (args.accepts - 1) / report["connect_s"]
    return report


def accept_table(procs, args):
    sides = [start_raw(procs, args, "raw_ws_echo"), start_echo(procs, args)]
    shape = Shape("accept", f"{args.accepts:,} connections, {args.batch:,} at a time", [])
    results = common.measure(procs, args, sides, [shape], accept_once)
    keep(args, "accept", results)
    print_long([side.name for side in sides], [(shape.label, results[shape.name], [
        (ACCEPTS, "≥ 0.8"), (ACCEPT_CPU, "")])])
    return print_foot(args, results)


def storm_once(procs, args, side, _shape):
    busy = min(1000, args.storm)
    return common.watched(procs, lambda: common.obbench(args, side, [
        "-c", str(busy), "--idle", str(args.storm - busy), "--cuts", str(args.cuts), "--verify",
        "-n", str(5 * busy), "-p", ",".join(map(str, side.pids))]))


def storm_table(procs, args):
    """A connection that is refused ends obbench, and this with its reason."""
    sides = [start_raw(procs, args, "raw_ws_echo"), start_echo(procs, args)]
    shape = Shape("storm", f"{args.storm:,} connections, cut {args.cuts} times", [])
    results = common.measure(procs, args, sides, [shape], storm_once)
    keep(args, "storm", results)
    print_long([side.name for side in sides], [(shape.label, results[shape.name], [
        (BACK, ""), (BACK_P50, ""), (BACK_MAX, ""), (BROKEN, "0")])])
    return print_foot(args, results)


# ---- the command ----

TABLES = {"echo": echo_table, "nginx": nginx_table, "tls": tls_table, "broadcast": broadcast_table,
          "accept": accept_table, "storm": storm_table}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    common.add_arguments(parser, repeats=5, seconds=2, warmup=0.5)
    parser.add_argument("--obhost", required=True, help="the obhost program")
    parser.add_argument("--nginx", default="nginx", help="the nginx program")
    parser.add_argument("--shapes", default=ECHO_SHAPES,
                        help=f"loads of echo, nginx and tls as run.py has them ({ECHO_SHAPES})")
    parser.add_argument("--broadcasts", default=BROADCASTS,
                        help=f"how many clients a message goes to ({BROADCASTS})")
    parser.add_argument("--accepts", type=int, default=10000, help="connections (10000)")
    parser.add_argument("--batch", type=int, default=1000, help="of them at a time (1000)")
    parser.add_argument("--storm", type=int, default=15000, help="connections (15000)")
    parser.add_argument("--cuts", type=int, default=3, help="of all of them, in a run (3)")
    parser.add_argument("--json", metavar="FILE", help="also write every report to FILE.TABLE")
    args = parser.parse_args()
    common.finish_tables(parser, args, TABLES)
    args.shapes = common.parse_shapes(parser, args, args.shapes)
    try:
        args.broadcasts = [int(word) for word in args.broadcasts.split(",")]
    except ValueError:
        parser.error("--broadcasts: numbers with commas between them")
    if min([*args.broadcasts, args.accepts, args.storm]) < 2 or min(args.batch, args.cuts) < 1:
        parser.error("at least 2 connections, 1 at a time, cut once")
    common.finish_arguments(parser, args, True)
    return args


if __name__ == "__main__":
    sys.exit(common.print_tables(TABLES, arguments()))
