#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Command line, signals, exit codes: how a node starts, what it says when it can't, how it ends."""

import json
import os
import re
import resource
import signal
import socket
import time

from obtest import sources
from obtest.env import EXAMPLES, MODULES
from obtest.nodes import TOKEN, Node, all_ended, can_bind, free_port, run_obhost, wait_gone
from obtest.plugin import PluginDir
from obtest.seed import Client, Closed
from obtest.tap import case, cases, check, contains, equal, eventually, main
from obtest.temp import temp_dir

SEED_TOKEN = "helloworldiloveyou~1234567890123"


def quiet_node(name, **keys):
    """A node that runs everything a node can listen on."""
    return Node(name, "proxy", **{"modules": [
        "proxy", {"name": "http_admin", "admin": True}, "echo", "delayed"], **keys})


def holding_node(name):
    """As above, with a plugin that keeps requests: 6302 for ever."""
    plugins = PluginDir()
    plugins.build("holder", sources.HOLDER)
    return quiet_node(name, module_dirs=[str(plugins), MODULES, EXAMPLES], call_timeout=30,
                      modules=["proxy", {"name": "http_admin", "admin": True}, "holder"])


# ---------------------------------------------------------------- the command line

@cases([("-V",), ("--version",)], "{0} shows the version")
def version(word):
    run = run_obhost(word)
    equal((run.returncode, run.stderr), (0, ""))
    check(re.match(r"obhost \d+\.\d+\.\d+ .*ABI \d+\.\d+", run.stdout), run.stdout)


@cases([("-h",), ("--help",)], "{0} shows the options")
def usage(word):
    run = run_obhost(word)
    equal(run.returncode, 0)
    for option in ("-c", "-m", "-p", "-s", "-t", "-T", "-V"):
        contains(run.stdout, option)


@cases([("-x",), ("--x",), ("-c",), ("stray",)], "{0}: usage, exit status 2")
def bad_usage(word):
    run = run_obhost(word)
    equal(run.returncode, 2)
    contains(run.stderr, "usage: obhost")


@case("-t accepts a good configuration, and leaves nothing behind")
def test_good():
    node = quiet_node("good")
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 0, run.stderr)
    contains(run.stderr, "ok")
    check(not node.state.exists(), "-t has made a state directory")


@case("-t takes the comments and commas that people write")
def test_comments():
    node = Node("comments")
    node.write_conf("// a node\n{ /* its name */ \"name\": \"comments\", \"type\": \"service\",\n"
                    "  \"modules\": [\"service\",],\n}\n")
    run = node.run("-t")
    equal(run.returncode, 0, run.stderr)


BAD = [
    ('{"name": "x", "type": "service",\n "http": {"port": 70000}}', 2, "http.port"),
    ('{"name": "x", "type": "service",\n\n "http": {"prot": 80}}', 3, "http.prot"),
    ('{"name": "x",\n "type": "service", "rpc": {"port": "21002"}}', 2, "rpc.port"),
    ('{\n"type": "service"}', 1, "name"),
    ('{"name": "a b",\n "type": "service"}', 1, "name"),
    ('{"name": "x", "type": "service",\n "available_way": "mongo"}', 2, "available_way"),
    ('{"name": "x", "type": "service",\n "rpc": {"port": 1,\n "token": "short"}}', 3, "rpc.token"),
    ('{"name": "x", "type": "service", "rpc": {\n"port": 1}}', 1, "rpc.token"),
    ('{"name": "x", "type": "service", "rpc": {"port": 1, "token": "0123456789abcdef",\n'
     '"encode": 2}}', 2, "rpc.encode"),
    ('{"name": "x", "type": "service", "websocket": {"port": 1,\n"encode": 3}}', 2,
     "websocket.encode"),
    ('{"name": "x", "type": "service", "host": "0.0.0.0",\n"http": {"port": 1,\n"token": "%s"}}' %
     SEED_TOKEN, 3, "http.token"),
    ('{"name": "x", "type": "service", "rpc": {"route": {"range": {\n"service": [[9, 3]]}}}}', 2,
     "rpc.route.range.service[0]"),
    ('{"name": "x", "type": "service", "rpc": {"route": {"special": {\n"service": ["7"]}}}}', 2,
     "rpc.route.special.service[0]"),
    ('{"name": "x", "type": "service",\n"modules": ["service",\n"service"]}', 2, "modules"),
]


@cases(BAD, "-t names {2} on its line")
def test_bad(text, line, path):
    node = Node("bad")
    node.write_conf(text)
    run = node.run("-t")
    equal(run.returncode, 2, run.stderr)
    pattern = re.escape(f"{node.conf_file}:{line}: {path}: ") + r"\S"
    check(re.search(pattern, run.stderr), f"{pattern} is not in {run.stderr!r}")


@cases([('{"name": "x",\n "type": \n}', 3), ('{"name": "x"', 1), ("", 1), ("[]", 1),
        ('{"name": "x", "name": "y"}', 1)], "-t names the line of the syntax error in {0!r}")
def test_syntax(text, line):
    node = Node("syntax")
    node.write_conf(text)
    run = node.run("-t")
    equal(run.returncode, 2, run.stderr)
    contains(run.stderr, f"{node.conf_file}:{line}: ")


@case("-t shows all mistakes at once")
def test_all():
    node = Node("many")
    node.write_conf('{"name": "x", "type": "service",\n"http": {"port": -1},\n'
                    '"rpc": {"port": 1e9},\n"log_level": "loud",\n"limits": {"message": "2q"}}')
    run = node.run("-t")
    equal(run.returncode, 2)
    for place in ("2: http.port", "3: rpc.port", "4: log_level", "5: limits.message"):
        contains(run.stderr, f"{node.conf_file}:{place}: ")


@case("-t warns of a key it does not know, and of ranges that overlap")
def test_warnings():
    node = Node("warn", greeting="hello", rpc={"route": {"range": {
        "service": [[1, 100]], "game": [[50, 60]]}}})
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 0, run.stderr)
    contains(run.stderr, "greeting")
    check(re.search(r"warning: .*rpc\.route\.range.*\[50, 60\] of game.*game wins", run.stderr),
          run.stderr)


@case("-t names a module that is not there, and a module's own complaint")
def test_modules():
    node = Node("modules", modules=["service", "no_such_thing"])
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 2)
    contains(run.stderr, "no_such_thing")
    node = Node("modules", modules=["service", {"name": "login", "conf": {"desc": 5}}])
    node.write_conf()
    run = node.run("-t")
    equal(run.returncode, 2)
    contains(run.stderr, "desc: must be a text")


@case("-T shows the configuration without its secrets")
def show():
    secret = temp_dir("secret") / "token"
    secret.write_text("from-a-file-9f8e7d6c5b4a\n", encoding="utf-8")
    node = quiet_node("secrets", http={"token": {"file": str(secret)}},
                      remote_ports=[{"port": 1, "token": "another-secret-1234"}])
    node.write_conf()
    run = node.run("-T")
    equal(run.returncode, 0, run.stderr)
    shown = json.loads(run.stdout)
    equal(shown["name"], "secrets")
    equal(shown["rpc"]["token"], "***")
    equal(shown["http"]["token"], "***")
    for word in (TOKEN, "from-a-file", "another-secret"):
        check(word not in run.stdout + run.stderr, f"{word} is shown")


@cases([("missing.conf",), (".",)], "-c {0}: a clear line, exit status 2")
def unreadable(file):
    run = run_obhost("-c", file, cwd=temp_dir("nothing"))
    equal(run.returncode, 2)
    contains(run.stderr, file)


@case("-p PREFIX: relative paths start there")
def prefix():
    node = quiet_node("prefix", state_dir="state", log_dir="logs")
    node.write_conf()
    run = run_obhost("-p", str(node.folder), "-c", "node.conf", "-t", cwd="/")
    equal(run.returncode, 0, run.stderr)
    node.args = ["-p", str(node.folder)]
    node.start()
    eventually(lambda: (node.folder / "logs/prefix.log").exists(), "the log file")
    check((node.folder / "state/prefix/stage").is_dir(), "no state in the prefix")
    node.stop()


@case("-m MODULE loads one more, by name or by path")
def more_modules():
    node = quiet_node("more")
    node.args = ["-m", "heartbeat", "-m", f"{EXAMPLES}/login.so"]
    node.start()
    with Client(node.ws_port) as client:
        equal(client.code(10000), 200)
        equal(client.code(1000, {"name": "x"}), 200)
    node.stop()


@case("-m of a module that can't be loaded: exit status 1, naming it")
def bad_module():
    node = quiet_node("bad-module")
    node.write_conf()
    run = node.run("-m", "no_such_module")
    equal(run.returncode, 1)
    contains(run.stderr, "no_such_module")


# ---------------------------------------------------------------- start

@cases([("websocket",), ("http",), ("rpc",)], "a {0} port in use: exit status 1, naming the port")
def port_busy(key):
    port = free_port()
    node = quiet_node("busy", **{key: {"port": port}})
    node.write_conf()
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        run = node.run()
    equal(run.returncode, 1)
    contains(run.stderr, str(port))
    contains(run.stderr, "in use")


@case("the same node twice: exit status 1, and the first one goes on")
def twice():
    node = quiet_node("twice").start()
    run = node.run()
    equal(run.returncode, 1)
    check("running already" in run.stderr or "in use" in run.stderr, run.stderr)
    equal(node.get("/node")["name"], "twice")
    node.stop()


@case("the soft limit of open files is raised to the hard one")
def fd_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    node = quiet_node("limits")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        node.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with open(f"/proc/{node.pid}/limits", encoding="ascii") as file:
        (line,) = [line for line in file if line.startswith("Max open files")]
    equal(line.split()[3:5][0], line.split()[3:5][1], line)
    check(int(line.split()[3]) >= min(256, hard), line)
    node.stop()


@case("a node without work uses no CPU")
def idle():
    node = quiet_node("idle").start()
    with Client(node.ws_port) as client:
        client.ask(30000, 1)
        time.sleep(0.5)
        before = node.cpu_seconds()
        time.sleep(2)
        used = node.cpu_seconds() - before
    check(used <= 0.02, f"{used} s of CPU in 2 s")
    node.stop()


@case("it says who it is")
def who():
    node = quiet_node("who").start()
    shown = node.get("/node")
    equal((shown["name"], shown["role"], shown["pid"]), ("who", "proxy", node.pid))
    equal(shown["state"], "running")
    check(re.fullmatch("[0-9a-f]{16}", shown["id"]), shown)
    node.stop()


# ---------------------------------------------------------------- signals

@cases([("SIGTERM",), ("SIGINT",), ("SIGQUIT",)], "{0} ends it with status 0 and frees the ports")
def ends(name):
    node = quiet_node("ends", pid="pid-file").start()
    pid = node.pid
    pid_file = node.folder / "pid-file"
    equal(pid_file.read_text(encoding="ascii").strip(), str(pid), "the pid file")
    with Client(node.ws_port) as client:
        client.ask(30000, 1)
        began = time.monotonic()
        node.stop(getattr(signal, name))
        check(time.monotonic() - began < 5, "it took too long")
        equal(client.close_code(), 1001)
    wait_gone(pid)
    check(not pid_file.exists(), "the pid file is still there")
    for port in (node.ws_port, node.http_port, node.rpc_port):
        check(can_bind(port), f"port {port} is still bound")


@case("it can be started again at once, on the same ports, with clients hanging on the old one")
def again():
    node = quiet_node("again").start()
    old = [Client(node.ws_port) for _ in range(5)]
    node.restart()
    with Client(node.ws_port) as client:
        equal(client.ask(30000, 7), 7)
    for client in old:
        client.drop()
    node.stop()


@case("after kill -9 it starts again as if nothing had been")
def after_kill():
    node = quiet_node("killed").start()
    first = node.get("/node")["incarnation"]
    node.kill()
    node.start()
    check(node.get("/node")["incarnation"] > first, "the incarnation has not grown")
    node.stop()


@case("QUIT lets what is under way end first")
def quits():
    node = quiet_node("quits").start()
    with Client(node.ws_port) as client:
        client.tell(40001, {"ms": 700})
        eventually(lambda: node.get("/node")["requests"] > 0, "the request")
        node.send_signal(signal.SIGQUIT)
        equal(client.reply(40001)["code"], 200)
        equal(client.close_code(), 1001)
    equal(node.wait(), 0)


@case("TERM does not wait for a handler that never answers")
def terminates():
    node = holding_node("never").start()
    with Client(node.ws_port) as client:
        client.tell(6302)
        eventually(lambda: node.get("/node")["requests"] > 0, "the request")
        began = time.monotonic()
        node.stop()
        check(time.monotonic() - began < 5, "it took too long")


@case("HUP reads the configuration again, and keeps the old one when the new one is bad")
def hup():
    node = quiet_node("hup").start()
    node.conf["call_timeout"] = 7
    node.write_conf()
    node.send_signal(signal.SIGHUP)
    eventually(lambda: node.get("/config").get("call_timeout") == 7, "the new configuration")
    node.conf["call_timeout"] = -1
    node.write_conf()
    node.send_signal(signal.SIGHUP)
    eventually(lambda: "nothing has changed" in node.log(), "the refusal")
    equal(node.get("/config").get("call_timeout"), 7)
    node.says("call_timeout: ")
    node.stop()


def rotate(node, tell):
    logs = node.folder / "logs"
    current = logs / f"{node.name}.log"
    eventually(current.exists, "the log file")
    current.rename(logs / "old.log")
    tell()
    eventually(current.exists, "a new log file")
    node.http("PUT", "/log/level", {"level": "debug"})
    eventually(lambda: "level is debug" in current.read_text(encoding="utf-8"), "a line in it")
    check("level is debug" not in (logs / "old.log").read_text(encoding="utf-8"),
          "the old file got the line")


@case("USR1 opens the log files anew")
def usr1():
    node = quiet_node("rotate", log_dir="logs").start()
    rotate(node, lambda: node.send_signal(signal.SIGUSR1))
    check("level is debug" not in node.log(), "it went to stderr besides")
    node.stop()


@case("warnings and errors are in a log file of their own, too")
def error_log():
    node = quiet_node("errors", log_dir="logs").start()
    node.http("POST", "/modules", {"name": "no_such_module"})
    file = node.folder / "logs/errors.error.log"
    eventually(lambda: "no_such_module" in file.read_text(encoding="utf-8"), "the error")
    check(" notice " not in file.read_text(encoding="utf-8"), "notices among the errors")
    node.stop()


# ---------------------------------------------------------------- -s

@case("-s reopen")
def s_reopen():
    node = quiet_node("reopen", log_dir="logs").start()
    rotate(node, lambda: equal(node.run("-s", "reopen").returncode, 0))
    node.stop()


@case("-s reload")
def s_reload():
    node = quiet_node("reload").start()
    node.conf["call_timeout"] = 9
    node.write_conf()
    equal(node.run("-s", "reload").returncode, 0)
    eventually(lambda: node.get("/config").get("call_timeout") == 9, "the new configuration")
    node.stop()


@cases([("stop",), ("quit",)], "-s {0}")
def s_stop(word):
    node = quiet_node(word).start()
    equal(node.run("-s", word).returncode, 0)
    equal(node.wait(), 0)


@case("-s without a node: exit status 1, naming it; -s with a wrong word: 2")
def s_nobody():
    node = quiet_node("nobody")
    node.write_conf()
    run = node.run("-s", "stop")
    equal(run.returncode, 1)
    contains(run.stderr, "nobody")
    run = node.run("-s", "dance")
    equal(run.returncode, 2)
    contains(run.stderr, "dance")


@case("-s after kill -9 does not signal a stranger with the same pid")
def s_stale():
    node = quiet_node("stale", pid="pid-file").start()
    pid_file = node.folder / "pid-file"
    node.kill()
    for file in (pid_file, *node.state.glob("lock")):
        check(file.exists(), f"{file} went with kill -9")
        file.write_text(f"{os.getpid()}\n", encoding="ascii")
    equal(node.run("-s", "stop").returncode, 1)
    node.start()
    equal(pid_file.read_text(encoding="ascii").strip(), str(node.pid))
    node.stop()


@case("a node that stops does not leave its clients waiting")
def clients_hear():
    node = holding_node("hear").start()
    clients = [Client(node.ws_port) for _ in range(20)]
    clients[0].tell(6302)
    node.send_signal(signal.SIGTERM)
    for client in clients:
        try:
            client.message()
        except Closed as closed:
            equal(closed.code, 1001)
    equal(node.wait(), 0)


if __name__ == "__main__":
    main(all_ended)
