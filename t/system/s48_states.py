#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""States of sessions: what a client may send, changed from another node, kept over a swap."""

from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client
from obtest.tap import case, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
LOGIN, PLAY, BACK, HEARD, BROKEN = 6000, 6500, 6501, 7000, 6002

house = {}

# On a service: takes the sessions of clients to states.
GAME = """
#include <obhost/obhost.h>

static void go(ob_ctx *ctx, ob_req req, const char *state)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	int rc = ob_session_enter(ctx, view.session, state, json_pack("{s:s}", "by", "game"));
	ob_reply_json(ctx, req, "{s:i, s:i, s:b}", "code", 200, "rc", rc, "known",
		      ob_session_state(ctx, view.session, NULL) != NULL);
}

static void login(ob_ctx *ctx, ob_req req)
{
	go(ctx, req, "game");
}

static void broken(ob_ctx *ctx, ob_req req)
{
	go(ctx, req, "nowhere");
}

static void play(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:s}", "code", 200, "played", "yes");
}

static void back(ob_ctx *ctx, ob_req req)
{
	go(ctx, req, "guest");
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 6000, login);

	rc = rc == 0 ? ob_on_id(ctx, 6002, broken) : rc;
	rc = rc == 0 ? ob_on_id(ctx, 6500, play) : rc;
	return rc == 0 ? ob_on_id(ctx, 6501, back) : rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# On the proxy: hears of changes, and allows one more id.
PORCH = """
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

static char heard[4000];

static void note(ob_ctx *ctx, const ob_session_change *c, char what)
{
	size_t len = strlen(heard);
	const char *by = json_string_value(json_object_get(c->data, "by"));

	snprintf(heard + len, sizeof(heard) - len, "%c%s>%s%s%s ", what, c->from, c->to,
		 by != NULL ? ":" : "", by != NULL ? by : "");
}

static void enter(ob_ctx *ctx, const ob_session_change *c)
{
	note(ctx, c, '+');
}

static void leave(ob_ctx *ctx, const ob_session_change *c)
{
	note(ctx, c, '-');
}

static void tell(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:s}", "code", 200, "heard", heard);
	heard[0] = 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_session_state(ctx, NULL, enter, leave);

	rc = rc == 0 ? ob_session_allow(ctx, "guest", 7000, 7000) : rc;
	rc = rc == 0 ? ob_session_allow(ctx, "game", 7000, 7000) : rc;
	return rc == 0 ? ob_on_id(ctx, 7000, tell) : rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def nodes():
    if "proxy" not in house:
        plugins = PluginDir()
        plugins.build("game", GAME)
        plugins.build("porch", PORCH)
        house["plugins"] = plugins
        common = {"module_dirs": [str(plugins), MODULES, EXAMPLES], "call_timeout": 2}
        house["proxy"] = Node(
            "proxy", "proxy", modules=["proxy", ADMIN, "porch"],
            states={"guest": {"ids": [LOGIN, BROKEN]},
                    "game": {"ids": [[6500, 6599], "chat.send"], "refuse": "close"}},
            rpc={"route": {"range": {"service": [[6000, 6599]]}}}, **common)
        house["service"] = Node("service", "service", modules=["service", ADMIN, "game"], **common)
        link((house["proxy"], house["service"]))
        start_all(house["proxy"], house["service"])
        wait_linked((house["proxy"], house["service"]))
    return house


def client():
    return Client(nodes()["proxy"].ws_port)


def state():
    return [s["state"] for s in house["proxy"].get("/sessions")["sessions"]]


def refused(who, number):
    who.tell(number, {})
    answer = who.reply(number)
    equal((answer["code"], answer["error"]), (403, "not allowed in this state"))


@case("a client may send what its state allows; another node takes it to the next state")
def over_nodes():
    with client() as a:
        frames = house["service"].metric("obhost_link_frames_total") or 0
        for _ in range(20):
            refused(a, PLAY)
        check((house["service"].metric("obhost_link_frames_total") or 0) - frames < 20,
              "nothing of it reached the service")
        equal(state(), ["guest"])
        answer = a.ask(LOGIN, {})
        equal((answer["rc"], answer["known"]), (0, False))
        eventually(lambda: state() == ["game"], "it is in the game")
        equal(a.ask(PLAY, {})["played"], "yes")
        equal(a.ask(HEARD, {})["heard"], "+>guest -guest>game:game +guest>game:game ")
        equal(a.ask(BACK, {})["rc"], 0)
        eventually(lambda: state() == ["guest"], "it is a guest again")
        refused(a, PLAY)
    eventually(lambda: state() == [], "it is gone")
    with client() as a:
        check("-guest> " in a.ask(HEARD, {})["heard"], "its end was heard")


@case("a state that closes, one that is unknown")
def closes():
    with client() as a:
        lost = house["proxy"].metric("obhost_session_states_lost_total") or 0
        equal(a.ask(BROKEN, {})["rc"], 0)  # it is the proxy that knows
        eventually(lambda: house["proxy"].metric("obhost_session_states_lost_total") == lost + 1,
                   "it was counted")
        equal(a.ask(LOGIN, {})["rc"], 0)
        eventually(lambda: state() == ["game"], "it is in the game")
        closed = house["proxy"].metric("obhost_client_closed_total", reason="state") or 0
        a.tell(LOGIN, {})
        eventually(lambda: house["proxy"].metric("obhost_client_closed_total", reason="state")
                   == closed + 1, "it was closed")
        check(house["proxy"].metric("obhost_client_state_refused_total", state="game") >= 1)
    eventually(lambda: state() == [], "it is gone")


@case("a swap of the module, and a reload of the configuration, keep the sessions' states")
def swapped():
    with client() as a:
        a.ask(LOGIN, {})
        eventually(lambda: state() == ["game"], "it is in the game")
        equal(house["proxy"].reload("porch", force=True)["result"], "switched")
        equal(state(), ["game"])
        equal(a.ask(PLAY, {})["played"], "yes")
        equal(a.ask(HEARD, {})["heard"], "")
        house["proxy"].conf["states"]["game"]["ids"] = [[6501, 6501]]
        house["proxy"].conf["states"]["game"]["refuse"] = "answer"
        house["proxy"].write_conf()
        equal(house["proxy"].http("POST", "/config/reload").status, 200)
        refused(a, PLAY)
        equal(a.ask(BACK, {})["rc"], 0)
        eventually(lambda: state() == ["guest"], "it is a guest again")


if __name__ == "__main__":
    main(all_ended)
