#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Filters around clients' messages on a proxy and on a service: asked elsewhere, held, measured."""

import time

from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import case, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
ECHO, ASKED, NEVER, SLOW, SHORT, HEARD = 6000, 6001, 6002, 6003, 6004, 7000

house = {}

# On the service: handlers, a filter before them, and the rules that the proxy's filter asks for.
GAME = """
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_reply(ctx, req, view.data, view.len);
}

static void answer(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_reply(ctx, *(ob_req *)arg, "{\\"late\\":1}", 10);
	free(arg);
}

static void slow(ob_ctx *ctx, ob_req req)
{
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	ob_timer_start(ctx, 300, 0, answer, kept);
}

static void may(ob_ctx *ctx, ob_req req)
{
	if (ob_req_int(ctx, req, "good", 0)) {
		ob_reply_json(ctx, req, "{}");
	} else {
		ob_fail(ctx, req, OB_E_DENIED, "no");
	}
}

static int before(ob_ctx *ctx, const ob_message_event *e)
{
	return e->view->len > 500 ? OB_E_TOO_BIG : 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 6000, echo);

	rc = rc == 0 ? ob_on_id(ctx, 6001, echo) : rc;
	rc = rc == 0 ? ob_on_id(ctx, 6002, echo) : rc;
	rc = rc == 0 ? ob_on_id(ctx, 6003, slow) : rc;
	rc = rc == 0 ? ob_on_id(ctx, 6004, slow) : rc;
	rc = rc == 0 ? ob_on_method(ctx, "user.rules.may", may, 0) : rc;
	return rc == 0 ? ob_on_message_filter(ctx, OB_MESSAGE_BEFORE_HANDLER, 0, before) : rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# On the proxy: asks the service about one id, holds another for ever, sees all ends.
GUARD = """
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

static char heard[4000];

static void decided(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	ob_gate gate = (ob_gate)(uintptr_t)arg;

	if (res->code == OB_OK) {
		ob_message_pass(ctx, gate);
	} else {
		ob_message_end(ctx, gate, res->code, res->text, NULL, 0);
	}
}

static int before(ob_ctx *ctx, const ob_message_event *e)
{
	const ob_target target = {.role = ob_role(ctx, "service")};

	if (e->view->id == 6002) {
		return ob_message_hold(ctx) != 0 ? 0 : OB_E_APP;
	}
	if (e->view->id != 6001) {
		return 0;
	}
	ob_gate gate = ob_message_hold(ctx);
	return ob_call_method(ctx, &target, "user.rules.may", e->view->session, e->view->data,
			      e->view->len, 1000, decided, (void *)(uintptr_t)gate) != 0
		       ? 0
		       : OB_E_APP;
}

static int after(ob_ctx *ctx, const ob_message_event *e)
{
	size_t len = strlen(heard);

	snprintf(heard + len, sizeof(heard) - len, "%u:%d%s ", e->view->id, ob_status(ctx, e->code),
		 e->took_ms >= 250 ? "!" : "");
	return 0;
}

static void tell(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:s}", "heard", heard);
	heard[0] = 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_message_filter(ctx, OB_MESSAGE_BEFORE_CLIENT, 0, before);

	rc = rc == 0 ? ob_on_message_filter(ctx, OB_MESSAGE_AFTER_CLIENT, 0, after) : rc;
	return rc == 0 ? ob_on_id(ctx, 7000, tell) : rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def nodes():
    if "proxy" not in house:
        plugins = PluginDir()
        plugins.build("game", GAME)
        plugins.build("guard", GUARD)
        house["plugins"] = plugins
        common = {"module_dirs": [str(plugins), MODULES, EXAMPLES], "call_timeout": 1}
        house["proxy"] = Node(
            "proxy", "proxy", modules=["proxy", ADMIN, "guard"],
            filters={"time": {"slow": 0.25}, "timeout": [{"range": [SHORT, SHORT],
                                                          "seconds": 0.1}]},
            rpc={"route": {"range": {"service": [[6000, 6599]]}}}, **common)
        house["service"] = Node("service", "service", modules=["service", ADMIN, "game"],
                                filters={"time": {}}, **common)
        link((house["proxy"], house["service"]))
        start_all(house["proxy"], house["service"])
        wait_linked((house["proxy"], house["service"]))
    return house


def client():
    return Client(nodes()["proxy"].ws_port)


def code(who, number, body):
    who.tell(number, body)
    return who.reply(number).get("code")


@case("a filter asks another node and lets pass, refuses, or never decides; ends are seen in order")
def asked():
    with client() as a:
        a.ask(HEARD, {})
        equal(a.ask(ECHO, {"n": 1}), {"n": 1})
        equal(a.ask(ASKED, {"good": 1}), {"good": 1})
        equal(code(a, ASKED, {"good": 0}), 403)
        equal(code(a, ECHO, {"n": "x" * 600}), 413)  # at its handler
        begun = time.monotonic()
        equal(code(a, NEVER, {}), 504)
        check(0.8 < time.monotonic() - begun < 5)
        equal(a.ask(HEARD, {})["heard"],
              "6000:200 6001:200 6001:403 6000:413 6002:504 ")
        equal(house["proxy"].metric("obhost_messages_held_total"), 3)


@case("what is held is overtaken, passes when its time comes, and goes with its client")
def overtaken():
    with client() as a:
        a.tell(NEVER, {})
        equal(a.ask(ECHO, {"n": 2}), {"n": 2})
    with client() as b:
        equal(b.ask(ECHO, {"n": 3}), {"n": 3})


@case("slow messages are logged and counted at both ends; some ids have less time")
def measured():
    with client() as a:
        slow = house["proxy"].metric("obhost_messages_slow_total")
        equal(a.ask(SLOW, {}), {"late": 1})
        check("6003:200!" in a.ask(HEARD, {})["heard"])
        equal(house["proxy"].metric("obhost_messages_slow_total"), slow + 1)
        house["proxy"].says("at the client")
        equal(code(a, SHORT, {}), 504)
        check(house["proxy"].metric("obhost_message_seconds_count", at="client") > 0)
        check(house["service"].metric("obhost_message_seconds_count", at="handler") > 0)


@case("serial, by a reload of the configuration: in order, bounded, and off again")
def serial():
    conf = house["proxy"].conf["filters"]
    conf["serial"] = {"queue": 4, "wait": 2}
    house["proxy"].write_conf()
    equal(house["proxy"].http("POST", "/config/reload").status, 200)
    with client() as a:
        a.tell(SLOW, {})
        for n in range(4):
            a.tell(ECHO, {"n": n})
        a.tell(ECHO, {"n": 4})
        equal(a.reply(ECHO)["code"], 503)  # more than may wait
        equal(a.reply(SLOW), {"late": 1})
        for n in range(4):
            equal(a.reply(ECHO), {"n": n})
    del conf["serial"]
    house["proxy"].write_conf()
    equal(house["proxy"].http("POST", "/config/reload").status, 200)
    with client() as a:
        a.tell(SLOW, {})
        equal(a.ask(ECHO, {"n": 9}), {"n": 9})
        equal(a.reply(SLOW), {"late": 1})


@case("the filter's module is replaced while it holds something")
def replaced():
    with client() as a:
        a.tell(NEVER, {})
        eventually(lambda: house["proxy"].metric("obhost_messages_held_total") >= 5, "it is held")
        house["proxy"].reload("guard", force=True)
        equal(a.ask(ECHO, {"n": 5}), {"n": 5})
        equal(a.reply(NEVER)["code"], 504)


if __name__ == "__main__":
    main(all_ended)
