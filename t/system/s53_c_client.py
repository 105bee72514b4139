#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The C client's example program against real nodes: requests, pushes, a node that goes and comes
back, kicks and logins elsewhere."""

import os
import queue
import subprocess
import threading

from obtest.env import BUILD, EXAMPLES, MODULES, SLOW, node_environment
from obtest.nodes import Node, all_ended, free_port
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import Failed, case, cases, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
PROGRAM = os.path.join(BUILD, "clients", "c", "example")
ECHO = 30000

# 7001 logs the session in as {"user": TEXT}; 7002 pushes its body as 7003 before it answers; 7004
# never answers.
TALK = """
#include <string.h>

#include <obhost/obhost.h>

static void bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	ob_reply_json(ctx, (ob_req)(uintptr_t)arg, "{s:i}", "code", ob_status(ctx, res->code));
}

static void login(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	ob_req_view(ctx, req, &v);
	ob_request_hold(ctx, req);
	ob_session_bind(ctx, v.session, ob_req_str(ctx, req, "user"), bound,
			(void *)(uintptr_t)req);
}

static void push(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	ob_req_view(ctx, req, &v);
	ob_push(ctx, v.session, 7003, v.data, v.len);
	ob_reply(ctx, req, v.data, v.len);
}

static void never(ob_ctx *ctx, ob_req req)
{
	ob_request_hold(ctx, req);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 7001, login);

	rc = rc < 0 ? rc : ob_on_id(ctx, 7002, push);
	return rc < 0 ? rc : ob_on_id(ctx, 7004, never);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

house = {}


def node():
    if not house:
        plugins = PluginDir()
        plugins.build("talk", TALK)
        house["tcp"], house["ws"] = free_port(), free_port()
        house["node"] = Node(
            "home", "proxy", websocket=None, rpc=None, call_timeout=1,
            listen=[{"transport": word, "port": house[word]} for word in ("tcp", "ws")],
            module_dirs=[str(plugins), MODULES, EXAMPLES],
            modules=["proxy", ADMIN, "echo", "talk"]).start()
    return house["node"]


class Program:
    """The example, running; its lines."""

    def __init__(self, transport, *args):
        node()
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [PROGRAM, f"{transport}://127.0.0.1:{house[transport]}", *map(str, args)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=node_environment())
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode().rstrip("\n"))
        self.lines.put(None)

    def line(self):
        try:
            return self.lines.get(timeout=15 * SLOW)
        except queue.Empty:
            raise Failed("the client says nothing") from None

    def expect(self, *lines):
        for line in lines:
            equal(self.line(), line)

    def ends(self, status=0):
        equal(self.line(), None)
        equal(self.process.wait(10 * SLOW), status)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(5)
        self.process.stdout.close()


BOTH = [("tcp",), ("ws",)]


@cases(BOTH, "{0}: requests and their answers, in a row")
def answers(transport):
    with Program(transport, ECHO, '{"n": 1}', 200) as program:
        program.expect("connected", *[f'{ECHO}: {{"n": 1}}'] * 200, "closed: 1000 done")
        program.ends()
    with Program(transport, 4711) as program:
        program.expect("connected")
        check(program.line().startswith('4711: {"code":404'))
        program.expect("closed: 1000 done")
        program.ends()


@cases(BOTH, "{0}: a large message, there and back")
def large(transport):
    body = '"' + "x" * 100000 + '"'
    with Program(transport, ECHO, body, 3) as program:
        program.expect("connected", *[f"{ECHO}: {body}"] * 3, "closed: 1000 done")
        program.ends()


@cases(BOTH, "{0}: a push before the answer")
def pushes(transport):
    with Program(transport, 7002, '"hello"', 2) as program:
        program.expect("connected", 'push 7003: "hello"', '7002: "hello"', 'push 7003: "hello"',
                       '7002: "hello"', "closed: 1000 done")
        program.ends()


@cases(BOTH, "{0}: what the handler does not answer, the node does")
def unanswered(transport):
    with Program(transport, 7004) as program:
        program.expect("connected")
        check(program.line().startswith('7004: {"code":504'))
        program.expect("closed: 1000 done")
        program.ends()


@cases([("tcp", signal, "{}") for signal in (15, 9)] + [("ws", signal, "{}") for signal in (15, 9)],
       "{0}: the node goes (signal {1}) and comes back, and so does the client", timeout=60)
def comes_back(transport, signal, body):
    with Program(transport, ECHO, body, 0) as program:
        program.expect("connected")
        for _ in range(2):
            eventually(lambda: node().get("/sessions")["sessions"], "a session")
            node().restart(signal)
            line = program.line()
            check(line.startswith("lost: "), line)
            while line != "connected again":
                line = program.line()
                check(line.startswith("lost: ") or line == "connected again", line)


@case("ws: a login elsewhere ends the client for good")
def replaced():
    with Program("ws", 7001, '{"user": "ann"}', 1000000) as program:
        program.expect("connected", '7001: {"code":200}')
        with Client(house["ws"]) as other:
            equal(other.ask(7001, {"user": "ann"})["code"], 200)
            line = program.line()
            while line.startswith("7001: {"):
                line = program.line()
            while line.startswith("7001: "):
                line = program.line()
            check(line.startswith("closed: 4001"), line)


if __name__ == "__main__":
    main(all_ended)
