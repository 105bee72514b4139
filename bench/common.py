# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What the programs of this folder share: servers that are started and ended, nodes and what they
are asked, runs that are undisturbed and interleaved, tables, and the arguments of all of them."""

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

START_SECONDS = 15
STOP_SECONDS = 10
QUIET_SECONDS = 0.3
PR_SET_PDEATHSIG = 1

Side = collections.namedtuple("Side", "name port pids scheme", defaults=("",))
Shape = collections.namedtuple("Shape", "name label args")
Server = collections.namedtuple("Server", "name popen errors")
Column = collections.namedtuple("Column", "name get form")


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
        self.end(self.running)

    def end(self, servers):
        for server in reversed(servers):
            if server.popen.poll() is None:
                server.popen.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for server in servers:
            try:
                server.popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                print(f"{server.name} did not stop in {STOP_SECONDS} s, killed",
                      file=sys.stderr)
                server.popen.kill()
                server.popen.wait()
            if server.popen.stdout:
                server.popen.stdout.close()
        self.running = [server for server in self.running if server not in servers]


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


def start_raw_chain(procs, args, roles=("service", "route", "proxy")):
    binary = tool(args, "bench", "raw_chain")
    servers = []
    address = []
    for role in roles:
        server, port = start_raw(procs, "raw-" + role,
                                 [binary, role, "--listen", "0", *address])
        servers.append(server)
        address = ["--next", f"127.0.0.1:{port}"]
    return Side("raw", port, [s.popen.pid for s in reversed(servers)])

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


def node_conf(procs, args, role, modules, name=None, **more):
    """Writes the configuration of one node, called bench_ROLE unless said otherwise; the path of
    the file. Its state is in state-NAME beside it."""
    name = name or f"bench_{role}"
    conf = {
        "name": name,
        "type": role,
        "host": "127.0.0.1",
        "modules": modules,
        "module_dirs": [os.path.abspath(d) for d in args.module_dir],
        "state_dir": os.path.join(procs.folder, "state-" + name),
        "log_level": "warn",
        **more,
    }
    os.mkdir(conf["state_dir"], 0o700)
    path = os.path.join(procs.folder, name + ".conf")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(conf, out, indent=1)
    return path


def start_node(procs, args, conf, pin=None):
    return procs.start(os.path.basename(conf).removesuffix(".conf"), [args.obhost, "-c", conf], pin)


def ask(procs, name, verb, **args):
    """What the node of that name answers to an administrative verb."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(60)
        link.connect(os.path.join(procs.folder, "state-" + name, name, "admin.sock"))
        link.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
        with link.makefile("rb") as file:
            answer = json.loads(file.readline())
    if answer["status"] != 200:
        raise Failure(f"{name}: {verb} {args}: {answer}")
    return answer["body"]


class Mesh:
    """Nodes around one hub. They dial it and have no port of their own for links, so that whatever
    one of them sends to another goes through a hub that is a route node, now and later."""

    def __init__(self, procs, args, prefix="bench", *, hub="route", protect=None):
        """protect(role, name): what "rpc" has besides, for links that are encrypted."""
        (self.port,) = free_ports(1)
        self.procs = procs
        self.args = args
        self.prefix = prefix
        self.hub_role = hub
        self.protect = protect or (lambda role, name: {})
        self.token = secrets.token_hex(16)
        if hub == "route":
            table = {"range": {"service": [[args.id, args.id]]}}
            self.hub = self.start(hub, ["route"], rpc={"port": self.port, "route": table})
        else:
            self.hub = self.start(hub, [hub, echo_module(args)], rpc={"port": self.port})

    def name(self, role, number=None):
        return f"{self.prefix}_{role}" + ("" if number is None else f"_{number}")

    def start(self, role, modules, number=None, rpc=None, **more):
        name = self.name(role, number)
        rpc = {"token": self.token, **self.protect(role, name), **(rpc or {})}
        if role != self.hub_role:
            more["remote_ports"] = [{"host": "127.0.0.1", "port": self.port,
                                     "type": self.hub_role}]
        conf = node_conf(self.procs, self.args, role, modules, name, rpc=rpc, **more)
        return start_node(self.procs, self.args, conf)

    def service(self):
        return self.start("service", ["service", echo_module(self.args)])

    def ask_hub(self, verb, **args):
        return ask(self.procs, self.name(self.hub_role), verb, **args)

    def forwarded(self):
        """Frames the route node has passed on."""
        found = re.search(r"^obhost_forwarded_total (\d+)", self.ask_hub("metrics"), re.MULTILINE)
        if not found:
            raise Failure("the route node does not count what it passes on")
        return int(found.group(1))

    def through(self, run, count):
        """The report of run(), whose requests, count(report) of them, must have gone through the
        route node, and so must their answers."""
        before = self.forwarded()
        report = run()
        passed = self.forwarded() - before
        if passed < 2 * count(report):
            raise Failure(f"{count(report)} requests, but the route node passed on {passed} frames")
        return report


def start_obhost_chain(procs, args, prefix="bench", protect=None):
    """Client - proxy - route - service: the side to measure, and its nodes."""
    mesh = Mesh(procs, args, prefix, protect=protect)
    (port,) = free_ports(1)
    service = mesh.service()
    proxy = mesh.start("proxy", ["proxy"], websocket={"port": port, "timeout": 300})
    wait_for_answer(procs, args, port)
    return Side("obhost", port, [s.popen.pid for s in (proxy, mesh.hub, service)]), mesh


def wait_for_answer(procs, args, port, scheme=""):
    """Waits until one message goes all the way and comes back as it should."""
    command = [tool(args, "tools", "obbench"), "-c", "1", "-n", "1", "-t", "2", "-i",
               str(args.id), "--verify", "--check-code", f"{scheme}127.0.0.1:{port}"]
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


def process_stat(pid):
    """The fields of /proc/PID/stat that follow the name of the program: state, parent, ..."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as text:
        return text.read().rpartition(")")[2].split()


def process_ticks(pid):
    """User and system time of a process and of the children it has waited for."""
    return sum(map(int, process_stat(pid)[11:15]))


def stolen_ticks():
    """What the host of a virtual machine gave to others."""
    with open("/proc/stat", encoding="utf-8") as text:
        return int(text.readline().split()[8])


def ticks_of_others(procs):
    """What all processes but ours, and their children, have used; only differences of it mean
    something.

    With the children counted, a process that ends is not lost: its time moves to its parent. The
    totals of /proc/stat would not do: whether interrupts are in a process's time depends on how the
    kernel was configured.
    """
    ours = {os.getpid(), *(s.popen.pid for s in procs.running)}
    total = stolen_ticks()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in ours:
            try:
                fields = process_stat(name)
            except OSError:
                continue  # it has just ended
            if int(fields[1]) not in ours:
                total += sum(map(int, fields[11:15]))
    return total


def watched(procs, work):
    """The report that work() returns, with the share of a core that others took meanwhile."""
    procs.check()
    before = ticks_of_others(procs)
    begin = time.monotonic()
    report = work()
    spent = time.monotonic() - begin
    procs.check()
    ticks = ticks_of_others(procs) - before
    report["others"] = max(0.0, ticks / os.sysconf("SC_CLK_TCK") / spent)
    return report


def obbench(args, side, words, before=()):
    """Runs obbench to its end, with the program `before` it; its report."""
    command = [*before, tool(args, "tools", "obbench"), "--json", "--check-code", "-i",
               str(args.id), *words, f"{side.scheme}127.0.0.1:{side.port}"]
    if args.client_cpu is not None:
        command = ["taskset", "-c", str(args.client_cpu), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          timeout=args.seconds + args.warmup + 60)
    if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
        raise Failure(f"obbench {' '.join(words)} against {side.name}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run_once(procs, args, side, shape):
    """One run of a shape; obbench's report."""
    return watched(procs, lambda: obbench(args, side, [
        "-t", str(args.seconds), "-w", str(args.warmup), *shape.args,
        "-p", ",".join(map(str, side.pids))]))


def wait_for_quiet(procs, args):
    """Returns when others have used little for a moment, or after --wait seconds anyway."""
    deadline = time.monotonic() + args.wait
    while time.monotonic() < deadline:
        before = ticks_of_others(procs)
        time.sleep(QUIET_SECONDS)
        ticks = ticks_of_others(procs) - before
        if ticks / os.sysconf("SC_CLK_TCK") <= args.noise * QUIET_SECONDS:
            return


def quietest(procs, args, once):
    """Repeats a run that was disturbed, a few times, and keeps the quietest."""
    best = None
    for _ in range(args.retries + 1):
        wait_for_quiet(procs, args)
        report = once()
        if best is None or report["others"] < best["others"]:
            best = report
        if best["others"] <= args.noise:
            break
    return best


def in_turn(repeat, sides):
    """Who goes first changes, so that a drift of the machine favours nobody."""
    return list(sides) if repeat % 2 == 0 else list(reversed(sides))


def measure(procs, args, sides, shapes, once=run_once):
    """All runs: {shape name: {side name: [report per repeat]}}."""
    results = {shape.name: {side.name: [] for side in sides} for shape in shapes}
    for repeat in range(args.repeats):
        for shape in shapes:
            for side in in_turn(repeat, sides):
                report = quietest(procs, args, lambda: once(procs, args, side, shape))
                results[shape.name][side.name].append(report)
                progress(args, repeat, shape.name, side.name, report)
    return results


def progress(args, repeat, shape, side, report):
    if not args.quiet:
        print(f"{repeat + 1}/{args.repeats} {shape:12} {side:12}"
              f" {report['msgs_per_s']:12.0f}/s {report['server_cpu_us']:8.3f} us"
              f"  p99 {report['latency_us']['p99']:8.1f} us  errors {report['errors']}"
              f"  others {report['others'] * 100:.0f} %", file=sys.stderr, flush=True)


# ---- the table ----

RATE = Column("msgs/s", lambda r: r["msgs_per_s"], "{:,.0f}")
CPU = Column("CPU us/msg", lambda r: r["server_cpu_us"], "{:.3f}")
P50 = Column("p50 us", lambda r: r["latency_us"]["p50"], "{:.0f}")
P99 = Column("p99 us", lambda r: r["latency_us"]["p99"], "{:.0f}")
P999 = Column("p99.9 us", lambda r: r["latency_us"]["p999"], "{:.0f}")


def median(values, form):
    return form.format(statistics.median(values)) if values else "-"


def cells(runs, column):
    """The median of each side, and of each but the first the median ratio to the first one."""
    values = [[column.get(r) for r in reports] for reports in runs.values()]
    out = [median([v for v in one if v is not None], column.form) for one in values]
    for other in values[1:]:
        pairs = [(a, b) for a, b in zip(values[0], other) if a and b is not None]
        out.append(median([b / a for a, b in pairs], "{:.2f}"))
    return out


def ratio_heads(names):
    return ["ratio"] if len(names) == 2 else [f"{name} ratio" for name in names[1:]]


def print_table(columns, names, rows):
    """One line per row (label, {side: reports}), the columns beside each other."""
    heads = [f"{column.name} {head}" for column in columns
             for head in [*names, *(ratio_heads(names) if len(names) > 1 else [])]]
    print(f"| load | {' | '.join(heads)} |")
    print("|---|" + "---:|" * len(heads))
    for label, runs in rows:
        print(f"| {label} | {' | '.join(c for column in columns for c in cells(runs, column))} |")


def all_reports(results):
    return [r for by_side in results.values() for runs in by_side.values() for r in runs]


def noise(args, reports):
    """What has to be said under a table of these reports."""
    disturbed = sum(r["others"] > args.noise for r in reports)
    return (f"{disturbed} of them while other processes took more than {args.noise * 100:.0f} % of "
            f"a core; {count_errors(reports)} errors.")


def count_errors(reports):
    return sum(r["errors"] for r in reports)


# ---- tables with a goal in each line ----


def print_long(names, rows):
    """One line per row (label, {side: reports}, [(column, goal)]) and column."""
    heads = [*names, *ratio_heads(names), "goal"]
    print(f"| load | | {' | '.join(heads)} |")
    print("|---|---|" + "---:|" * len(heads))
    for label, runs, columns in rows:
        for column, goal in columns:
            print(f"| {label} | {column.name} | {' | '.join(cells(runs, column))} | {goal} |")
            label = ""
    print(flush=True)


def print_foot(args, results, seconds=None):
    reports = all_reports(results)
    print(f"{len(reports)} runs of {seconds or args.seconds:g} s after {args.warmup:g} s of warm-up, "
          f"{args.repeats} repeats, interleaved; {noise(args, reports)}", flush=True)
    return count_errors(reports)


def keep(args, name, results):
    if args.json:
        with open(f"{args.json}.{name}", "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)


# ---- the command ----


def add_arguments(parser, *, repeats, seconds, warmup=1):
    """What the programs of this folder have in common; they differ in how long they take."""
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
    parser.add_argument("--warmup", type=float, default=warmup, help=f"before that ({warmup})")
    parser.add_argument("--noise", type=float, default=0.08,
                        help="share of a core others may use during a run (0.08)")
    parser.add_argument("--wait", type=float, default=5,
                        help="longest wait, in seconds, for the others to calm down (5)")
    parser.add_argument("--retries", type=int, default=2, help="of a disturbed run (2)")
    parser.add_argument("--quiet", action="store_true", help="no line per run")


def parse_shapes(parser, args, words):
    try:
        return [parse_shape(word, args.payload) for word in words.split(",")]
    except argparse.ArgumentTypeError as error:
        return parser.error(str(error))


def finish_arguments(parser, args, pinned):
    if args.repeats < 1 or args.retries < 0 or args.seconds <= 0:
        parser.error("--repeats must be at least 1, --retries at least 0, --seconds above 0")
    pin = pinned and not args.no_pin and {0, 1} <= os.sched_getaffinity(0)
    args.server_cpu, args.client_cpu = (0, 1) if pin else (None, None)


def finish_tables(parser, args, tables):
    args.tables = args.tables or list(tables)
    if not set(args.tables) <= set(tables):
        parser.error(f"a table is one of {', '.join(tables)}")


def interrupted(signum, _frame):
    raise Failure(f"interrupted by {signal.Signals(signum).name}")


def with_processes(work, args):
    """Calls work(procs, args), which returns a number of errors; the exit status. Whatever happens,
    what was started is ended and its folder is gone afterwards."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)
    folder = tempfile.mkdtemp(prefix="obhost-bench-")
    procs = Processes(folder)
    try:
        return 1 if work(procs, args) else 0
    except (Failure, OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return 2
    finally:
        procs.stop()
        shutil.rmtree(folder, ignore_errors=True)


def print_tables(tables, args):
    """The tables that were asked for, each with servers of its own; the exit status."""
    worst = 0
    for name in args.tables:
        print(f"\n### {name}\n", flush=True)
        status = with_processes(tables[name], args)
        if status == 2:
            return status
        worst = max(worst, status)
    return worst
