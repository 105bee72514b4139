#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A node under a service manager: what it says when it starts, reloads, hangs and stops."""

import signal
import time

from obtest.env import EXAMPLES, MODULES
from obtest.manager import Manager
from obtest.nodes import Node, all_ended
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import case, cases, check, contains, equal, eventually, main

# Answers with what a child of the node finds in its environment, and can hang the loop.
PLUGIN = """
#include <obhost/obhost.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void child(ob_ctx *ctx, ob_req req)
{
	FILE *f = popen("echo \\"[$NOTIFY_SOCKET$WATCHDOG_USEC$WATCHDOG_PID]\\"", "r");
	char line[200] = "";

	if (f == NULL || fgets(line, sizeof(line), f) == NULL) {
		line[0] = '\\0';
	}
	if (f != NULL) {
		pclose(f);
	}
	ob_reply_json(ctx, req, "{s:i, s:s}", "code", 200, "line", line);
}

static void hang(ob_ctx *ctx, ob_req req)
{
	struct timespec left = {.tv_sec = 1, .tv_nsec = 500000000};

	while (nanosleep(&left, &left) != 0) {
	}
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_id(ctx, 6001, child) || ob_on_id(ctx, 6002, hang);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def managed(name, manager, **keys):
    return Node(name, "proxy", env=manager.environment, **{"modules": [
        "proxy", {"name": "http_admin", "admin": True}, "echo"], **keys})


@cases([("an abstract name", True), ("a path", False)],
       "READY when clients are taken, STOPPING when it stops; the socket is {0}")
def life(_, abstract):
    manager = Manager(abstract=abstract)
    node = managed("life", manager).launch()
    said = manager.hear()
    equal(said, {"READY": "1", "STATUS": "life (proxy): running"})
    equal(node.get("/node")["state"], "running")
    with Client(node.ws_port) as client:
        equal(client.ask(30000, 1), 1)
    node.stop()
    equal(manager.hear(), {"STOPPING": "1", "STATUS": "life (proxy): stopping"})
    equal(manager.pings, 0)


@case("a start that fails is never READY and says why")
def fails():
    manager = Manager()
    node = managed("fails", manager, modules=["no_such_module"]).launch()
    equal(node.wait(), 1)
    equal(list(manager.hear()), ["STATUS"])
    check(manager.silent(0.05))


@case("RELOADING and READY again around HUP, with the clock's time")
def hup():
    manager = Manager()
    node = managed("hup", manager).launch()
    manager.wait_for("READY")
    before = time.monotonic_ns() // 1000
    node.send_signal(signal.SIGHUP)
    said = manager.hear()
    equal(said["RELOADING"], "1")
    check(before <= int(said["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000, said)
    equal(manager.hear(), {"READY": "1", "STATUS": "hup (proxy): running"})
    node.conf["call_timeout"] = -1
    node.write_conf()
    node.send_signal(signal.SIGHUP)
    equal(manager.hear()["RELOADING"], "1")
    said = manager.hear()
    equal(said["READY"], "1")
    contains(said["STATUS"], "refused")
    node.stop()


@case("POST /config/reload says so too")
def config_reload():
    manager = Manager()
    node = managed("post", manager).launch()
    manager.wait_for("READY")
    equal(node.http("POST", "/config/reload").status, 200)
    equal(manager.hear()["RELOADING"], "1")
    equal(manager.hear()["READY"], "1")
    node.stop()


@case("draining is a status, and not STOPPING before it stops")
def drains():
    manager = Manager()
    node = managed("drains", manager, modules=[
        "proxy", {"name": "http_admin", "admin": True}, "delayed"]).launch()
    manager.wait_for("READY")
    with Client(node.ws_port) as client:
        client.tell(40001, {"ms": 500})
        equal(node.http("POST", "/drain").status, 202)
        equal(manager.hear(), {"STATUS": "drains (proxy): draining"})
        node.send_signal(signal.SIGQUIT)
        equal(client.reply(40001)["code"], 200)
    equal(node.wait(), 0)
    said = manager.hear()
    check("STOPPING" not in said and "then stopping" in said["STATUS"], said)
    equal(manager.hear()["STOPPING"], "1")


@case("signs of life come by the loop: not while it hangs, and again afterwards")
def watchdog():
    plugins = PluginDir()
    plugins.build("probe", PLUGIN)
    manager = Manager(watchdog=0.2)
    node = managed("watched", manager, module_dirs=[str(plugins), MODULES, EXAMPLES],
                   modules=["proxy", {"name": "http_admin", "admin": True}, "probe"]).launch()
    manager.wait_for("READY")
    manager.wait_ping()
    with Client(node.ws_port) as client:
        equal(client.ask(6001, {})["line"], "[]\n", "the environment of a child")
        client.tell(6002)
        time.sleep(0.2)
        check(manager.silent(0.5), "a sign of life from a loop that hangs")
        equal(client.reply(6002)["code"], 200)
    manager.wait_ping()
    node.stop()


@case("a watchdog that is meant for another process gets nothing")
def other_process():
    manager = Manager(watchdog=0.1)
    manager.environment["WATCHDOG_PID"] = "1"
    node = managed("other", manager).launch()
    manager.wait_for("READY")
    check(manager.silent(0.5))
    equal(manager.pings, 0)
    node.stop()


@cases([("@" + "x" * 200,), ("vsock:2:9",), ("/no/such/socket",)],
       "a NOTIFY_SOCKET that is no use costs a warning: {0:.12}")
def useless(address):
    node = Node("useless", env={"NOTIFY_SOCKET": address}).start()
    eventually(lambda: " warning [node]" in node.log(), "the warning")
    node.stop()


if __name__ == "__main__":
    main(all_ended)
