#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Requests that are answered later: from a timer, a job, a call, an HTTP answer; and those that
never are, which end by their deadline."""

import hashlib
import http.server
import json
import threading
import time

from obtest import sources
from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import Node, Trio, all_ended, free_port, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import at_end, case, cases, check, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}

house = {}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):  # pylint: disable=arguments-differ
        """A client that went away is no news."""


class Pages(http.server.BaseHTTPRequestHandler):
    """The world outside: a page, an error, one that takes its time, one that is too long."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # pylint: disable=invalid-name
        status, body = {"/page": (200, b"x" * 1234), "/error": (500, b"no"),
                        "/long": (200, b"x" * (3 << 20))}.get(self.path, (200, b"late"))
        if self.path == "/slow":
            time.sleep(4 * SLOW)
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


def web_port():
    if "web" not in house:
        server = Server(("127.0.0.1", free_port()), Pages)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at_end(server.shutdown)
        house["web"] = server
    return house["web"].server_address[1]


def modules():
    if "plugins" not in house:
        plugins = PluginDir()
        plugins.build("holder", sources.HOLDER)
        plugins.build("whoami", WHOAMI)
        plugins.build("web_later", WEB_LATER)
        plugins.build("patient", PATIENT)
        plugins.build("threads", THREADS)
        house["plugins"] = plugins
    return [str(house["plugins"]), MODULES, EXAMPLES]


def the_trio():
    if "trio" not in house:
        url = f"http://127.0.0.1:{web_port()}/page"
        delayed = {"name": "delayed", "conf": {"url": url, "role": "route"}}
        house["trio"] = Trio(
            table={"range": {"service": [[5001, 100000]]}},
            proxy={"module_dirs": modules(), "call_timeout": 2},
            route={"module_dirs": modules(), "modules": ["route", ADMIN, "whoami"]},
            service={"module_dirs": modules(), "call_timeout": 60,
                     "modules": ["service", ADMIN, delayed, "holder", "threads", "patient"]}
        ).start()
    return house["trio"]


# What the example "delayed" calls on another node; its own ids would be in the way there.
WHOAMI = """
#include <obhost/obhost.h>

static void whoami(ob_ctx *ctx, ob_req req)
{
	ob_node_info node = {.size = sizeof(node)};

	ob_node(ctx, &node);
	ob_reply_json(ctx, req, "{s:s, s:s}", "name", node.name, "role", node.role);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_method(ctx, "demo.route.delayed.whoami", whoami, 0);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# HTTP handlers that answer later or not at all.
WEB_LATER = """
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

static void fired(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_req *req = arg;

	ob_http_reply(ctx, *req, 201, "text/plain", "later", 5);
	free(req);
}

static void later(ob_ctx *ctx, ob_req req)
{
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	ob_timer_start(ctx, 200, 0, fired, kept);
}

static void nothing(ob_ctx *ctx, ob_req req)
{
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_http(ctx, "GET", "/later", later, 0);

	return rc < 0 ? rc : ob_on_http(ctx, "GET", "/nothing", nothing, 0);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# Ends a request late, and twice: 6501 ends it from a timer after its deadline, 6502 twice at once.
# GET /rc has what the ends returned.
PATIENT = """
#include <stdlib.h>

#include <obhost/obhost.h>

static json_t *codes;

static void note(int rc)
{
	json_array_append_new(codes, json_integer(rc));
}

static void fired(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_req *req = arg;

	note(ob_reply(ctx, *req, "{}", 2));
	free(req);
}

static void late(ob_ctx *ctx, ob_req req)
{
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	ob_timer_start(ctx, (uint64_t)ob_req_int(ctx, req, "ms", 10), 0, fired, kept);
}

static void twice(ob_ctx *ctx, ob_req req)
{
	note(ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "n", 1));
	note(ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "n", 2));
	note(ob_fail(ctx, req, OB_E_APP, "again"));
	note(ob_done(ctx, req));
	note(ob_request_hold(ctx, req));
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_value(ctx, req, json_deep_copy(codes));
}

static void stop(ob_ctx *ctx)
{
	json_decref(codes);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	codes = json_array();
	int rc = ob_on_id(ctx, 6501, late);

	rc = rc < 0 ? rc : ob_on_id(ctx, 6502, twice);
	return rc < 0 ? rc : ob_on_http(ctx, "GET", "/rc", show, 0);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""

# 6601: a thread of the plugin's own posts numbers 1..1000, the answer says whether in order.
THREADS = """
#include <pthread.h>
#include <stdlib.h>

#include <obhost/obhost.h>

struct run {
	ob_ctx *ctx;
	ob_req req;
	pthread_t thread;
	int seen;
	int in_order;
};

struct number {
	struct run *run;
	int n;
};

static void arrives(ob_ctx *ctx, void *arg)
{
	struct number *number = arg;
	struct run *run = number->run;

	run->in_order += number->n == run->seen++;
	free(number);
	if (run->seen == 1000) {
		pthread_join(run->thread, NULL);
		ob_reply_json(ctx, run->req, "{s:i, s:i}", "code", 200, "in_order", run->in_order);
		free(run);
	}
}

static void *posts(void *arg)
{
	struct run *run = arg;

	for (int i = 0; i < 1000; i++) {
		struct number *number = malloc(sizeof(*number));

		*number = (struct number){run, i};
		ob_post(run->ctx, arrives, number);
	}
	return NULL;
}

static void begin(ob_ctx *ctx, ob_req req)
{
	struct run *run = calloc(1, sizeof(*run));

	run->ctx = ctx;
	run->req = req;
	ob_request_hold(ctx, req);
	pthread_create(&run->thread, NULL, posts, run);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6601, begin);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def connect():
    return Client(the_trio().proxy.ws_port)


def nothing_left():
    for node in the_trio().nodes:
        def empty(n=node):
            shown = n.get("/node")
            # The request that asks is one itself.
            return shown["pending"] == 0 and shown["requests"] <= 1
        eventually(empty, f"nothing under way on {node.name}")


# ---------------------------------------------------------------- answered later

@case("from a timer")
def timer():
    with connect() as client:
        began = time.monotonic()
        equal(client.ask(40001, {"ms": 300}), {"code": 200, "from": "timer"})
        took = time.monotonic() - began
        check(0.29 <= took < 1.0 * SLOW, f"{took} s")


@case("timers come in the order of their times, not of their requests")
def timers():
    with connect() as client:
        for ms in (600, 100, 350):
            client.tell(6301, {"ms": ms})
            client.tell(40001, {"ms": ms + 100})
        got = [client.packet()[0] for _ in range(6)]
        equal(got, [6301, 40001] * 3)


@case("from a job on another thread, which may be longer than the loop can wait")
def job():
    text = "some text " * 1000
    number = 14695981039346656037
    for byte in text.encode():
        number = (number ^ byte) * 1099511628211 & (1 << 64) - 1
    with connect() as client:
        equal(client.ask(40002, {"text": text}),
              {"code": 200, "from": "job", "fnv1a": f"{number:016x}"})


@case("a hundred jobs under way at once")
def jobs():
    with connect() as client:
        for n in range(100):
            client.tell(40002, {"text": f"text {n}"})
        seen = {json.loads(client.packet()[1])["fnv1a"] for _ in range(100)}
        equal(len(seen), 100)


@case("from a call to another node")
def call():
    with connect() as client:
        answer = client.ask(40003)
        equal(answer["code"], 200, str(answer))
        equal(answer["node"], {"name": "route_1", "role": "route"})


@case("from a call to the node itself")
def call_self():
    node = Node("self", "proxy", modules=["proxy", ADMIN, "delayed"], rpc=None).start()
    with Client(node.ws_port) as client:
        equal(client.ask(40003)["node"], {"name": "self", "role": "proxy"})
    node.stop()


@case("from an HTTP answer")
def web():
    with connect() as client:
        equal(client.ask(40004), {"code": 200, "from": "http", "status": 200, "bytes": 1234})


@case("fifty HTTP requests under way at once, while other messages are answered")
def webs():
    with connect() as client:
        for _ in range(50):
            client.tell(40004)
        client.tell(6303)
        codes = [json.loads(client.packet()[1])["code"] for _ in range(51)]
        equal(codes, [200] * 51)


@cases([("/error", 200, {"status": 500}), ("/slow", 504, {}), ("/long", 413, {})],
       "an HTTP answer {0}: code {1}")
def web_other(path, code, more):
    node = Node("web", "proxy", rpc=None, call_timeout=30, modules=[
        "proxy", ADMIN, {"name": "delayed",
                         "conf": {"url": f"http://127.0.0.1:{web_port()}{path}"}}]).start()
    with Client(node.ws_port) as client:
        answer = client.ask(40004)
        equal(answer["code"], code, str(answer))
        equal({key: answer[key] for key in more}, more)
    node.stop()


@cases([("http://127.0.0.1:{}/",), ("http://no.such.host.invalid/",), ("ftp://127.0.0.1/",),
        ("file:///etc/passwd",)], "an HTTP request to {0} fails with words")
def web_nobody(url):
    node = Node("web", "proxy", rpc=None, call_timeout=30, modules=[
        "proxy", ADMIN, {"name": "delayed", "conf": {"url": url.format(free_port())}}]).start()
    with Client(node.ws_port, timeout=15) as client:
        answer = client.ask(40004)
        check(answer["code"] in (500, 503, 504) and answer["error"], answer)
    node.stop()


@case("an HTTP handler that answers later")
def http_later():
    node = Node("later", modules=["service", ADMIN, "web_later"], rpc=None,
                module_dirs=modules()).start()
    answer = node.http("GET", "/later")
    equal((answer.status, answer.text), (201, "later"))
    equal(node.http("GET", "/nothing").status, 500)
    node.stop()


@case("posts from a thread of the plugin's own arrive in order")
def posts():
    with connect() as client:
        for _ in range(5):
            equal(client.ask(6601), {"code": 200, "in_order": 1000})


# ---------------------------------------------------------------- never answered

@case("a handler that never answers: 504 by the deadline, one answer and no more")
def never():
    with connect() as client:
        began = time.monotonic()
        answer = client.ask(6302)
        took = time.monotonic() - began
        equal(answer["code"], 504, str(answer))
        check(1.5 <= took < 3.0 + SLOW, f"{took} s")
        equal(client.ask(6303)["code"], 200)
        check(client.silent())
    nothing_left()


@case("a handler that answers behind the deadline: the end says OB_E_STALE, nobody hears it")
def behind():
    with connect() as client:
        equal(client.code(6501, {"ms": 2600}), 504)
        eventually(lambda: the_trio().service.get("/rc"), "the late end")
        equal(the_trio().service.get("/rc"), [-5101])
        check(client.silent(0.5))
    nothing_left()


@case("the deadline is the client's node's: less than the handler's own node would give")
def budget():
    with connect() as client:
        began = time.monotonic()
        equal(client.code(6301, {"ms": 20000}), 504)
        check(time.monotonic() - began < 3.0 + SLOW, "it took longer than call_timeout")


@case("on the client's own node, too")
def never_here():
    node = Node("here", "proxy", modules=["proxy", ADMIN, "holder"], rpc=None, call_timeout=0.5,
                module_dirs=modules()).start()
    with Client(node.ws_port) as client:
        equal(client.code(6302), 504)
        equal(client.ask(6301, {"ms": 20})["code"], 200)
    node.stop()


@case("of several ends of one request only the first counts")
def twice():
    service = the_trio().service
    before = len(service.get("/rc"))
    with connect() as client:
        equal(client.ask(6502), {"code": 200, "n": 1})
        check(client.silent())
    codes = service.get("/rc")[before:]
    equal(codes[0], 0)
    check(all(code < 0 for code in codes[1:]) and len(codes) == 5, codes)


@case("a call to a role that nobody has ends by its deadline")
def call_nobody():
    node = Node("caller", "proxy", call_timeout=1, modules=[
        "proxy", ADMIN, {"name": "delayed", "conf": {"role": "nobody"}}]).start()
    with Client(node.ws_port) as client:
        answer = client.ask(40003)
        check(answer["code"] in (503, 504), answer)
    node.stop()


@case("a call to a method that nobody has: 404")
def call_unknown():
    route = Node("route", "route", modules=["route", ADMIN])
    node = Node("caller", "proxy", modules=[
        "proxy", ADMIN, {"name": "delayed", "conf": {"role": "route"}}])
    link((node, route))
    start_all(route, node)
    wait_linked((route, node))
    with Client(node.ws_port) as client:
        answer = client.ask(40003)
        equal(answer["code"], 404, str(answer))
    node.stop()
    route.stop()


@case("the node that holds a request dies: an error by the deadline, at once over a direct link")
def holder_dies():
    trio = the_trio()
    near = Node("near", "proxy", modules=["proxy", ADMIN], call_timeout=30,
                rpc={"route": {"range": {"service": [[5001, 100000]]}}})
    link((near, trio.service))
    near.start()
    wait_linked((trio.service, near))
    with connect() as far_client, Client(near.ws_port) as client:
        far_client.tell(6302)
        client.tell(6302)
        eventually(lambda: trio.service.get("/node")["requests"] > 2, "the requests")
        trio.service.kill()
        try:
            began = time.monotonic()
            answer = client.reply(6302)
            check(answer["code"] in (502, 503), answer)
            check(time.monotonic() - began < 1.5 * SLOW, "it waited for the deadline")
            answer = far_client.reply(6302)
            check(answer["code"] in (502, 503, 504), answer)
        finally:
            trio.service.start()
            trio.wait_linked()
    near.stop()


@case("a client that leaves before its answers: nothing is left of it, and nobody else hears them")
def client_leaves():
    with connect() as other:
        for _ in range(20):
            client = connect()
            client.tell(40001, {"ms": 300})
            client.tell(6302)
            client.drop()
        equal(other.ask(6303)["code"], 200)
        check(other.silent(0.8))
    nothing_left()


@case("md5 sums of a thousand mixed requests: each client gets its own", timeout=60)
def mixed():
    clients = [connect() for _ in range(10)]
    for n in range(30):
        for client in clients:
            client.tell(40001, {"ms": n * 7 % 50})
            client.tell(40002, {"text": hashlib.md5(b"%d" % n).hexdigest()})
            client.tell(6303)
    for client in clients:
        got = sorted(client.packet()[0] for _ in range(90))
        equal(got, [6303] * 30 + [40001] * 30 + [40002] * 30)
        check(client.silent(0.05))
        client.drop()
    nothing_left()


@case("a module that holds requests is taken out: they end with 503 when its time is over")
def unload():
    node = Node("unload", "proxy", rpc=None, module_dirs=modules(), call_timeout=60,
                modules=["proxy", ADMIN, "holder"], reload={"drain": 0.5}).start()
    with Client(node.ws_port) as client:
        client.tell(6302)
        client.tell(6301, {"ms": 200})
        eventually(lambda: node.module("holder")["active"]["in_flight"] >= 2, "the requests")
        equal(node.http("DELETE", "/modules/holder").status, 200)
        equal(client.reply(6301)["v"], 1)
        answer = client.reply(6302)
        equal(answer["code"], 503, str(answer))
        contains(answer["error"], "taken out")
    eventually(lambda: node.module("holder") is None, "the module gone")
    equal(node.http("POST", "/modules", {"name": "holder"}).status, 200)
    node.stop()


if __name__ == "__main__":
    main(all_ended)
