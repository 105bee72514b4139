#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Events by name between modules and nodes, bounded; timers by the calendar over a swap."""

from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import case, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
RAISE, SEND, HEARD, TICKS = 6000, 6001, 6002, 6003
FIRST = {"one": 6000, "two": 6100}

house = {}

# Raises what it is asked to and tells what it has heard; one that begins with "ping" it sends on to
# all nodes of its role, which send it on ...
BUS = """
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

static char heard[8000];
static int ticks;
static unsigned pings;

static void note(const ob_raised *e, const char *who)
{
	size_t len = strlen(heard);
	const char *by = json_string_value(json_object_get(e->data, "by"));

	snprintf(heard + len, sizeof(heard) - len, "%s%s:%s ", who, e->name, by != NULL ? by : "");
}

static int on_stop(ob_ctx *ctx, const ob_raised *e)
{
	note(e, "!");
	return OB_RAISED_STOP;
}

static int on_any(ob_ctx *ctx, const ob_raised *e)
{
	note(e, "");
	return 0;
}

static int on_ping(ob_ctx *ctx, const ob_raised *e)
{
	pings++;
	ob_event_send(ctx, ob_role(ctx, "bus"), e->name, NULL);
	return 0;
}

static void raise_it(ob_ctx *ctx, ob_req req)
{
	int rc = ob_event_raise(ctx, ob_req_str(ctx, req, "name"), json_pack("{s:s}", "by", "me"));

	ob_reply_json(ctx, req, "{s:i, s:s}", "rc", rc, "heard", heard);
}

static void send_it(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i}", "rc",
		      ob_event_send(ctx, ob_role(ctx, "bus"), ob_req_str(ctx, req, "name"),
				    json_pack("{s:s}", "by", "other")));
}

static void tell(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:s, s:i}", "heard", heard, "pings", (int)pings);
}

static void tick(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ticks++;
}

static void tell_ticks(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i}", "ticks", ticks);
}

static void live(ob_ctx *ctx)
{
	ob_cron(ctx, "* * * * * *", OB_TIMER_LOCAL, tick, NULL);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_handler_fn fns[] = {raise_it, send_it, tell, tell_ticks};
	uint32_t first = (uint32_t)json_integer_value(json_object_get(conf, "first"));
	ob_listener l = {.size = sizeof(l), .prefix = "stop", .priority = -1};
	int rc = ob_on_raised(ctx, &l, on_stop);

	l = (ob_listener){.size = sizeof(l), .key = "by", .value = "me"};
	rc = rc == 0 ? ob_on_raised(ctx, &l, on_any) : rc;
	l = (ob_listener){.size = sizeof(l), .prefix = "far"};
	rc = rc == 0 ? ob_on_raised(ctx, &l, on_any) : rc;
	l = (ob_listener){.size = sizeof(l), .prefix = "ping"};
	rc = rc == 0 ? ob_on_raised(ctx, &l, on_ping) : rc;
	for (uint32_t i = 0; rc == 0 && i < sizeof(fns) / sizeof(fns[0]); i++) {
		rc = ob_on_id(ctx, first + i, fns[i]);
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .live = live);
"""


def nodes():
    if "one" not in house:
        plugins = PluginDir()
        plugins.build("bus", BUS)
        house["plugins"] = plugins
        common = {"module_dirs": [str(plugins), MODULES, EXAMPLES], "call_timeout": 2}
        for name in ("one", "two"):
            house[name] = Node(name, "bus", websocket={},
                               modules=["proxy", ADMIN,
                                        {"name": "bus", "conf": {"first": FIRST[name]}}], **common)
        link((house["one"], house["two"]))
        start_all(house["one"], house["two"])
        wait_linked((house["one"], house["two"]))
    return house


def client(name):
    return Client(nodes()[name].ws_port)


def at(name, number):
    return FIRST[name] + number - RAISE


@case("raised here: heard after the handler, in order, until one stops it")
def here():
    with client("one") as a:
        equal(a.ask(at("one", RAISE), {"name": "a"}), {"rc": 0, "heard": ""})
        equal(a.ask(at("one", RAISE), {"name": "stop it"})["rc"], 0)
        equal(a.ask(at("one", RAISE), {"name": "b"})["rc"], 0)
        eventually(lambda: a.ask(at("one", HEARD), {})["heard"] == "a:me !stop it:me b:me ",
                   "all are heard in order")


@case("sent to a role: heard on each of its nodes; what is sent round and round ends")
def there():
    with client("one") as a, client("two") as b:
        equal(a.ask(at("one", SEND), {"name": "far away"})["rc"], 2)
        eventually(lambda: "far away:other" in b.ask(at("two", HEARD), {})["heard"], "there")
        eventually(lambda: "far away:other" in a.ask(at("one", HEARD), {})["heard"], "here, too")
        refused = house["two"].metric("obhost_events_refused_total") or 0
        equal(a.ask(at("one", SEND), {"name": "ping"})["rc"], 2)
        eventually(lambda: (house["two"].metric("obhost_events_refused_total") or 0) > refused,
                   "somewhere it is the end", 40)
        check(a.ask(at("one", HEARD), {})["pings"] > 10)


@case("by the calendar, each second; the next generation goes on by itself")
def calendar():
    with client("one") as a:
        eventually(lambda: a.ask(at("one", TICKS), {})["ticks"] >= 2, "it ticks")
        house["one"].reload("bus", force=True)
        before = a.ask(at("one", TICKS), {})["ticks"]
        check(before < 2, "a new count")
        eventually(lambda: a.ask(at("one", TICKS), {})["ticks"] >= before + 2, "it ticks on")


if __name__ == "__main__":
    main(all_ended)
