#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What an idle WebSocket session costs a node of memory: connections that have shaken hands and say
nothing, on a node with the proxy module, without TLS.

Memory is what the node's process has to itself (Private_Dirty of /proc/PID/smaps_rollup): what is
mapped from files is not in it, nor is what the kernel keeps for a socket. The first sessions fill
what stays the same for any number (free lists, buffers of the handshakes), so that two figures count:
all that came since the start over all sessions, and the difference between the first number of
sessions and the last. Ends every process it started, and removes its files."""

import argparse
import json
import sys
import time

import common
import push

SESSIONS = "1000,10000"
SETTLE_SECONDS = 2


def private(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as text:
        for line in text:
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) * 1024
    raise common.Failure("the kernel does not say what a process has to itself")


def settled(procs, pid):
    """As much as it has when it no longer changes."""
    before = -1
    deadline = time.monotonic() + 10 * SETTLE_SECONDS
    while (now := private(pid)) != before and time.monotonic() < deadline:
        before = now
        time.sleep(SETTLE_SECONDS)
        procs.check()
    return now


def run(procs, args, repeat):
    """[(sessions, bytes)], the first without any."""
    (port,) = common.free_ports(1)
    conf = common.node_conf(procs, args, "proxy", ["proxy"], f"bench_idle_{repeat}",
                            websocket={"port": port, "timeout": 86400},
                            limits={"connections": max(args.sessions) + 100})
    node = common.start_node(procs, args, conf, args.server_cpu)
    deadline = time.monotonic() + common.START_SECONDS
    while True:
        try:
            push.Witness(port).close()
            break
        except OSError as error:
            procs.check()
            if time.monotonic() > deadline:
                raise common.Failure(f"the node is not there: {error}") from error
            time.sleep(0.1)
    found = [(0, settled(procs, node.popen.pid))]
    crowds = []
    for count in args.sessions:
        crowds.append(push.Crowd(procs, args, port, count - found[-1][0]).server)
        found.append((count, settled(procs, node.popen.pid)))
    procs.end([*crowds, node])
    return found


def per_session(found, since, until):
    return (found[until][1] - found[since][1]) / (found[until][0] - found[since][0])


def compare(procs, args):
    runs = [run(procs, args, repeat) for repeat in range(args.repeats)]
    print("| sessions | MiB since the start | B a session |\n|---:|---:|---:|")
    for i, count in enumerate(args.sessions, 1):
        more = common.median([(r[i][1] - r[0][1]) / 2**20 for r in runs], "{:.2f}")
        each = common.median([per_session(r, 0, i) for r in runs], "{:.0f}")
        print(f"| {count:,} | {more} | {each} |")
    if len(args.sessions) > 1:
        each = common.median([per_session(r, 1, -1) for r in runs], "{:.0f}")
        print(f"| each beyond {args.sessions[0]:,} | | {each} |")
    print(f"\nMedians of {args.repeats} nodes.", flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump(runs, out, indent=1)
    return 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    common.add_arguments(parser, repeats=3, seconds=3, warmup=0.5)
    parser.add_argument("--obhost", required=True, help="the obhost program")
    parser.add_argument("--sessions", default=SESSIONS, help=f"how many, growing ({SESSIONS})")
    parser.add_argument("--json", metavar="FILE", help="also write every figure to FILE")
    args = parser.parse_args()
    try:
        args.sessions = [int(word) for word in args.sessions.split(",")]
    except ValueError:
        parser.error("--sessions: numbers with commas between them")
    if any(b - a < 2 for a, b in zip([0, *args.sessions], args.sessions)):
        parser.error("--sessions: each two more than the one before at least")
    common.finish_arguments(parser, args, True)
    return args


if __name__ == "__main__":
    sys.exit(common.with_processes(compare, arguments()))
