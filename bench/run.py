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
import json
import sys

import common
from common import CPU, P50, P99, RATE, Side

CHAIN_SHAPES = "c50d1,c50d16,c50d64,c1d1,c50r50000"
ECHO_SHAPES = "c50d1,c50d16,c50d16s1024,c1d1"


def start_raw_echo(procs, args):
    server, port = common.start_raw(procs, "raw-echo",
                                    [common.tool(args, "bench", "raw_ws_echo"), "0"],
                                    args.server_cpu)
    return Side("raw", port, [server.popen.pid])


def start_obhost_echo(procs, args):
    (port,) = common.free_ports(1)
    conf = common.node_conf(procs, args, "proxy", ["proxy", common.echo_module(args)],
                            websocket={"port": port, "timeout": 300})
    server = common.start_node(procs, args, conf, args.server_cpu)
    common.wait_for_answer(procs, args, port)
    return Side("obhost", port, [server.popen.pid])


def start_obhost(procs, args):
    return start_obhost_echo(procs, args) if args.echo else common.start_obhost_chain(procs, args)[0]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    common.add_arguments(parser, repeats=3, seconds=3)
    parser.add_argument("--obhost", help="the obhost program; without it the raw side runs alone")
    parser.add_argument("--echo", action="store_true",
                        help="compare one node that answers itself with raw_ws_echo, pinned: "
                        "server on processor 0, client on 1")
    parser.add_argument("--shapes", help=f"({CHAIN_SHAPES}; with --echo {ECHO_SHAPES})")
    parser.add_argument("--json", metavar="FILE", help="also write every report there")
    args = parser.parse_args()
    args.shapes = common.parse_shapes(
        parser, args, args.shapes or (ECHO_SHAPES if args.echo else CHAIN_SHAPES))
    common.finish_arguments(parser, args, args.echo)
    return args


def compare(procs, args):
    sides = [(start_raw_echo if args.echo else common.start_raw_chain)(procs, args)]
    if args.obhost:
        sides.append(start_obhost(procs, args))
    results = common.measure(procs, args, sides, args.shapes)
    common.print_table((RATE, CPU, P50, P99), [side.name for side in sides],
                       [(shape.label, results[shape.name]) for shape in args.shapes])
    reports = common.all_reports(results)
    print(f"\n{len(reports)} runs of {args.seconds:g} s after {args.warmup:g} s of warm-up, "
          f"{args.repeats} repeats, interleaved; {common.noise(args, reports)}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
    return common.count_errors(reports)


if __name__ == "__main__":
    sys.exit(common.with_processes(compare, arguments()))
