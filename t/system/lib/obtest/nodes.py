# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Real nodes: obhost processes with a configuration, a scratch folder and ports of their own."""

import contextlib
import ctypes
import errno
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import time

from .env import EXAMPLES, MODULES, OBHOST, SANITIZE, SLOW, node_environment
from .tap import Failed, at_end, eventually, on_failure
from .temp import temp_dir

TOKEN = "a-token-of-the-system-tests"
SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:")
LOG_SHOWN = 40  # lines of a node's log in the report of a failed case

_libc = ctypes.CDLL(None)
_nodes = []
_reserved = []  # sockets; the name of each keeps one port from other tests


# ---------------------------------------------------------------- ports

def _ephemeral_from():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError):
        return 32768


def _reserve(port):
    """A name in the abstract namespace holds the port for this process among all tests."""
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"\0obhost-test-port-{port}")
    except OSError:
        holder.close()
        return False
    _reserved.append(holder)
    return True


def can_bind(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """A port of loopback that nobody has, below those that the kernel gives to outgoing
    connections, so that none of the test's own takes it."""
    low, high = 10240, max(_ephemeral_from(), 12288)
    for _ in range(2000):
        port = random.randrange(low, high)
        if can_bind(port) and _reserve(port):
            return port
    raise Failed("no free port")


# ---------------------------------------------------------------- HTTP

class Answer:
    """What an HTTP request got."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.data = response.read()

    @property
    def text(self):
        return self.data.decode()

    @property
    def json(self):
        return json.loads(self.data)

    def __repr__(self):
        return f"<{self.status} {self.data[:300]!r}>"


def http_request(port, method, path, body=None, headers=None, timeout=20, host="127.0.0.1"):
    """One request on a connection of its own. A body that is not text or bytes goes as JSON; a
    header that is None is left out, Host too."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, (str, bytes)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    link = http.client.HTTPConnection(host, port, timeout=timeout * SLOW)
    with contextlib.closing(link):
        link.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        if body is not None:
            headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            if value is not None:
                link.putheader(name, value)
        link.endheaders(body)
        return Answer(link.getresponse())


# ---------------------------------------------------------------- a node

def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Node:
    """One node. `keys` are those of the configuration and are laid over what is given anyway:
    name, type, host, state_dir, no probation and no limit of reloads, and a port of its own for
    http, rpc and, with a proxy, websocket. None for one of these three leaves it out. It runs on
    loopback, or in a `place` (see netns.py), whose address it has; there it is not on this machine
    for what administers it, which needs a token."""

    def __init__(self, name, role="service", *, args=(), env=None, place=None, **keys):
        self.name = name
        self.role = role
        self.place = place
        self.address = place.address if place else "127.0.0.1"
        self.folder = temp_dir(name)
        self.args = list(args)
        self.env = dict(env or {})
        self.process = None
        self.ended = None       # exit status of the last run
        self.killed = False     # ended by a signal of ours that no process survives
        self.complaints = []
        self.conf = self._configuration(keys)
        self.http_port, self.rpc_port, self.ws_port = (
            self.conf.get(key, {}).get("port", 0) for key in ("http", "rpc", "websocket"))
        _nodes.append(self)
        at_end(self._destroy)

    def _configuration(self, keys):
        conf = {"name": self.name, "type": self.role, "host": self.address,
                "state_dir": str(self.folder / "state"), "log_level": "info",
                "module_dirs": [MODULES, EXAMPLES],
                "reload": {"probation": 0, "rate": "0/s"}}
        if self.role == "proxy" or "websocket" in keys:
            conf["websocket"] = {"port": free_port()}
        conf["http"] = {"port": free_port()}
        if self.place:
            conf["http"]["token"] = TOKEN
        conf["rpc"] = {"port": free_port(), "token": TOKEN, "reconnect_time": 0.3}
        return merge(conf, keys)

    # ---- its files

    @property
    def conf_file(self):
        return self.folder / "node.conf"

    @property
    def log_file(self):
        return self.folder / "stderr"

    @property
    def state(self):
        return self.folder / "state" / self.name

    @property
    def admin_path(self):
        return self.state / "admin.sock"

    def write_conf(self, text=None):
        self.conf_file.write_text(text if text is not None else json.dumps(self.conf, indent=1),
                                  encoding="utf-8")

    def log(self):
        try:
            return self.log_file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def says(self, text, times=1):
        """Waits until the log has `text` so often: a thread writes it, a little later than it is."""
        eventually(lambda: self.log().count(text) >= times, f"{text!r} in the log")

    # ---- its life

    def command(self, *args):
        return [OBHOST, "-c", str(self.conf_file), *self.args, *args]

    def run(self, *args, timeout=20):
        """Runs obhost with the node's configuration to its end: -t and its like."""
        return run_obhost("-c", str(self.conf_file), *self.args, *args, cwd=self.folder,
                          env=self.env, timeout=timeout)

    def launch(self):
        """Starts the process and returns at once."""
        if self.alive():
            raise Failed(f"{self.name} runs already")
        if not self.conf_file.exists():
            self.write_conf()
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env={**node_environment(), **self.env},
                preexec_fn=self._before_it_runs)
        self.killed = False
        self.ended = None
        return self

    def _before_it_runs(self):
        _die_with_parent()
        if self.place:
            self.place.enter()

    def start(self, timeout=20):
        """Starts the process and waits until it is ready. Should somebody from outside have
        taken a port meanwhile, it is tried again for a while."""
        for attempt in range(5):
            self.launch()
            try:
                self.wait_ready(timeout)
                return self
            except Failed:
                busy = self.process.poll() == 1 and ": address in use" in self.log()
                if not busy or attempt == 4:
                    raise
                self.process = None
                time.sleep(0.5)
        return self

    def wait_ready(self, timeout=20):
        def ready():
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            return self._answers()
        eventually(ready, f"{self.name} ready", timeout)

    def _answers(self):
        try:
            if self.http_port:
                return self.http("GET", "/readyz", timeout=2).status == 200
            return self.admin("ready")[0] == 200
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def alive(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=15):
        """Waits for the process to end by itself; its exit status."""
        try:
            self.ended = self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not end within {timeout * SLOW} s") from None
        self._look_for_reports()
        self.process = None
        return self.ended

    def stop(self, number=signal.SIGTERM):
        """Ends the process by a signal and expects the exit status that belongs to it."""
        if self.process is None:
            return
        self.send_signal(number)
        self.killed = number == signal.SIGKILL
        expected = -signal.SIGKILL if self.killed else 0
        status = self.wait()
        if status != expected:
            raise Failed(f"{self.name}: exit status {status} after signal {number}, "
                         f"expected {expected}:\n{self.tail()}")

    def kill(self):
        self.stop(signal.SIGKILL)

    def restart(self, number=signal.SIGTERM):
        self.stop(number)
        return self.start()

    def _look_for_reports(self):
        if SANITIZER.search(self.log()):
            self.complaints.append(f"{self.name}: a sanitizer has reported")

    def _destroy(self):
        if self.alive():
            self.process.kill()
            self.process.wait()

    def tail(self):
        lines = self.log().splitlines()
        return "\n".join(lines[-LOG_SHOWN:])

    # ---- talking to it

    def http(self, method, path, body=None, headers=None, **more):
        # What a node calls localhost is ::1 on most systems; whoever calls it so tries both.
        if self.conf["host"] == "localhost":
            more.setdefault("host", "localhost")
        elif self.place:
            more.setdefault("host", self.address)
            headers = {"Authorization": f"Bearer {TOKEN}", **(headers or {})}
        return http_request(self.http_port, method, path, body, headers, **more)

    def get(self, path, status=200):
        answer = self.http("GET", path)
        if answer.status != status:
            raise Failed(f"{self.name}: GET {path}: {answer!r}")
        return answer.json

    def admin(self, verb, **args):
        """One verb over the unix socket: status and body."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(20 * SLOW)
            link.connect(str(self.admin_path))
            link.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
            with link.makefile("rb") as file:
                answer = json.loads(file.readline())
        return answer["status"], answer["body"]

    def reload(self, *names, status=200, **more):
        """POST /modules/reload; the answer's body."""
        body = dict(more)
        if len(names) == 1:
            body["name"] = names[0]
        elif names:
            body["names"] = list(names)
        answer = self.http("POST", "/modules/reload", body or None)
        if answer.status != status:
            raise Failed(f"{self.name}: reload of {names}: {answer!r}, expected {status}")
        return answer.json

    def metrics(self):
        """All series of the metrics page, {'name{labels}': value}."""
        answer = self.http("GET", "/metrics")
        if answer.status != 200:
            raise Failed(f"{self.name}: GET /metrics: {answer!r}")
        series = {}
        for line in answer.text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                series[name] = float(value)
        return series

    def metric(self, name, **labels):
        """The sum of a family's series that have these labels."""
        total = 0
        for series, value in self.metrics().items():
            family, _, rest = series.partition("{")
            if family == name and all(f'{k}="{v}"' in rest for k, v in labels.items()):
                total += value
        return total

    def peers(self):
        """Names of the nodes it has a working link with."""
        return {peer["name"] for peer in self.get("/peers")["peers"] if peer["link"] == "up"}

    def module(self, name):
        """The module's entry in GET /modules, or None."""
        for entry in self.get("/modules")["modules"]:
            if entry["name"] == name:
                return entry
        return None

    # ---- what the system says about it

    def rss_kib(self):
        return int(self._status("VmRSS").split()[0])

    def check_growth(self, before, kib, what="memory"):
        """Since it was `before` the resident set has grown by less than this. Says nothing of a
        node with a sanitizer, which keeps what is freed for a while."""
        now = self.rss_kib()
        if now - before > kib and not SANITIZE:
            raise Failed(f"{self.name}: {what}: RSS went from {before} to {now} KiB")

    def _status(self, key):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return line.partition(":")[2].strip()
        return "0"

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def maps(self):
        with open(f"/proc/{self.pid}/maps", encoding="utf-8") as file:
            return file.read()

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def merge(base, more):
    """`more` laid over `base`, objects within each other; None takes a key out."""
    merged = dict(base)
    for key, value in more.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def run_obhost(*args, cwd=None, env=None, timeout=20):
    """Runs obhost to its end; a CompletedProcess with stdout and stderr as text."""
    return subprocess.run([OBHOST, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace", cwd=cwd,
                          env={**node_environment(), **(env or {})}, timeout=timeout * SLOW,
                          check=False)


# ---------------------------------------------------------------- several

def link(*pairs):
    """Lets the first node of each pair dial the second one."""
    for dialer, acceptor in pairs:
        entry = {"host": "127.0.0.1", "port": acceptor.rpc_port, "type": acceptor.role}
        dialer.conf.setdefault("remote_ports", []).append(entry)


def start_all(*nodes):
    for node in nodes:
        node.launch()
    for node in nodes:
        node.wait_ready()


def wait_linked(*groups, timeout=20):
    """Waits until each node of a group has a link with the group's first one, or, in a group of
    two, with the other."""
    for first, *others in groups:
        names = {node.name for node in others}
        eventually(lambda f=first, n=names: n <= f.peers(), f"{first.name} linked with {names}",
                   timeout)
        for node in others:
            eventually(lambda f=first, o=node: f.name in o.peers(),
                       f"{node.name} linked with {first.name}", timeout)


class Trio:
    """Proxy, route and service as in conf/: the route node knows both, either end dials."""

    def __init__(self, proxy=None, route=None, service=None, table=None):
        table = table or {"range": {"route": [[0, 5000]], "service": [[5001, 100000]]},
                          "special": {"route": [1000]}}
        self.proxy = Node("proxy_1", "proxy", **merge(
            {"modules": ["proxy", {"name": "http_admin", "admin": True}],
             "websocket": {"no_state": {"range": [[0, 100000]]}}}, proxy or {}))
        self.route = Node("route_1", "route", **merge(
            {"modules": ["route", {"name": "http_admin", "admin": True}, "login"],
             "rpc": {"route": table}}, route or {}))
        self.service = Node("service_1", "service", **merge(
            {"modules": ["service", {"name": "http_admin", "admin": True}, "heartbeat",
                         "rank_room", "offline", "echo"],
             "rpc": {"route": {"range": {"service": [[5001, 100000]]},
                               "special": {"service": [100130]}}}}, service or {}))
        link((self.proxy, self.route), (self.route, self.proxy),
             (self.route, self.service), (self.service, self.route))
        self.nodes = [self.proxy, self.route, self.service]

    def start(self):
        start_all(*self.nodes)
        self.wait_linked()
        return self

    def wait_linked(self):
        wait_linked((self.route, self.proxy, self.service))

    def stop(self):
        for node in self.nodes:
            node.stop()


def all_ended():
    """Ends every node that still runs: each must go with status 0, and none may have had a
    sanitizer's report. For main()."""
    complaints = []
    for node in _nodes:
        try:
            if node.alive():
                node.stop()
            elif node.process is not None:
                complaints.append(f"{node.name} ended by itself: {node.process.poll()}")
                node.wait()
        except Failed as error:
            complaints.append(str(error))
        complaints += node.complaints
    if complaints:
        raise Failed("\n".join(complaints))


def _logs(since):
    """What the nodes that had something to say since then have said."""
    return "\n".join(f"---- {node.name}, exit status {node.ended}\n{node.tail()}"
                     for node in _nodes
                     if node.log() and node.log_file.stat().st_mtime > since - 5)


on_failure(_logs)


def wait_gone(pid, timeout=10):
    def gone():
        try:
            os.kill(pid, 0)
        except OSError as error:
            return error.errno == errno.ESRCH
        return False
    eventually(gone, f"process {pid} gone", timeout)
