#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Users: at most one session each, found wherever they are, whatever happens to the nodes."""

import json
import threading
import time

from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client, Closed
from obtest.tap import case, cases, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
TABLE = {"range": {"service": [[6500, 6599]], "game": [[6600, 6699]]}}

# Where the module of the test is asked: at a service, at the game node, at the proxy itself.
SERVICE, GAME, PROXY = 6500, 6600, 6700
BIND, UNBIND, PUSH, KICK, FIND, WHO, SET, ATTR, LOCK, UNLOCK, PUSHED, KEEP, SAVES = range(13)
KICKED = 6999

house = {}

# Message ids from conf.base on, in the order above. What it heard of sessions is at GET /heard.
PEOPLE = """
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

static json_t *heard;
static uint32_t save_ms;
static ob_session locked;

static void ended(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	ob_req *req = arg;

	ob_reply_json(ctx, *req, "{s:i, s:s, s:s, s:I, s:b}", "code", ob_status(ctx, res->code),
		      "text", res->text, "name", res->name, "epoch", (json_int_t)res->epoch,
		      "known", res->session != 0);
	free(req);
}

static ob_session session_of(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	return view.session;
}

static void ask(ob_ctx *ctx, ob_req req, bool bind)
{
	ob_req *kept = malloc(sizeof(*kept));
	const char *user = ob_req_str(ctx, req, "user");

	*kept = req;
	int rc = bind ? ob_session_bind(ctx, session_of(ctx, req), user, ended, kept)
		      : ob_user_find(ctx, user, ended, kept);
	if (rc != 0) {
		free(kept);
		ob_reply_json(ctx, req, "{s:i, s:i}", "code", 400, "rc", rc);
		return;
	}
	ob_request_hold(ctx, req);
}

static void bind(ob_ctx *ctx, ob_req req)
{
	ask(ctx, req, true);
}

static void find(ob_ctx *ctx, ob_req req)
{
	ask(ctx, req, false);
}

static void answer(ob_ctx *ctx, ob_req req, int rc)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc", rc);
}

static void unbind(ob_ctx *ctx, ob_req req)
{
	const char *text = ob_req_str(ctx, req, "session");
	ob_session s = text ? ob_session_find(ctx, text) : session_of(ctx, req);

	answer(ctx, req, ob_session_unbind(ctx, s, ob_req_str(ctx, req, "user")));
}

static uint32_t base;

static void push(ob_ctx *ctx, ob_req req)
{
	char body[64];
	int len = snprintf(body, sizeof(body), "{\\"n\\":%d}", (int)ob_req_int(ctx, req, "n", 0));

	answer(ctx, req, ob_push_user(ctx, ob_req_str(ctx, req, "user"), base + 10, body,
				      (size_t)len));
}

static void kick(ob_ctx *ctx, ob_req req)
{
	answer(ctx, req, ob_kick_user(ctx, ob_req_str(ctx, req, "user"), "be \\"gone\\""));
}

static void who(ob_ctx *ctx, ob_req req)
{
	ob_session_info info = {.size = sizeof(info)};
	char text[OB_SESSION_TEXT] = "";

	ob_session_get(ctx, session_of(ctx, req), &info);
	ob_session_text(ctx, session_of(ctx, req), text, sizeof(text));
	ob_reply_json(ctx, req, "{s:i, s:s, s:I, s:s}", "code", 200, "user", info.user, "epoch",
		      (json_int_t)info.epoch, "session", text);
}

static void set(ob_ctx *ctx, ob_req req)
{
	const char *value = ob_req_str(ctx, req, "value");

	answer(ctx, req, ob_session_set(ctx, session_of(ctx, req), ob_req_str(ctx, req, "key"),
					value, strlen(value)));
}

static void attr(ob_ctx *ctx, ob_req req)
{
	size_t len;
	const char *value = ob_session_attr(ctx, session_of(ctx, req),
					    ob_req_str(ctx, req, "key"), &len);

	ob_reply_json(ctx, req, "{s:i, s:s%}", "code", 200, "value", value ? value : "", len);
}

static void lock(ob_ctx *ctx, ob_req req)
{
	locked = session_of(ctx, req);
	answer(ctx, req, ob_session_lock(ctx, locked, "save",
					 (uint32_t)ob_req_int(ctx, req, "ms", 10000)));
}

static void unlock(ob_ctx *ctx, ob_req req)
{
	answer(ctx, req, ob_session_unlock(ctx, locked, "save", 0));
}

static void keep(ob_ctx *ctx, ob_req req)
{
	answer(ctx, req, ob_session_unlock(ctx, locked, "save", OB_UNLOCK_KEEP));
}

static void saves(ob_ctx *ctx, ob_req req)
{
	save_ms = (uint32_t)ob_req_int(ctx, req, "ms", 0);
	answer(ctx, req, 0);
}

struct saving {
	ob_session session;
};

static void saved(ob_ctx *ctx, ob_timer timer, void *arg)
{
	struct saving *s = arg;

	ob_session_unlock(ctx, s->session, "saving", 0);
	free(s);
}

static void ends(ob_ctx *ctx, const ob_event_info *info)
{
	static const char *const words[] = {
		[OB_EVENT_SESSION_CLOSED] = "closed",
		[OB_EVENT_SESSION_REPLACED] = "replaced",
		[OB_EVENT_SESSION_LOST] = "lost",
	};
	ob_session_info about = {.size = sizeof(about)};
	char text[OB_SESSION_TEXT] = "unknown";
	json_t *list = json_object_get(heard, words[info->event]);

	ob_session_text(ctx, info->session, text, sizeof(text));
	ob_session_get(ctx, info->session, &about);
	json_object_set_new(list, text,
			    json_integer(json_integer_value(json_object_get(list, text)) + 1));
	json_object_set_new(json_object_get(heard, "users"), text, json_string(about.user));
	if (save_ms != 0 && info->event != OB_EVENT_SESSION_REPLACED &&
	    ob_session_lock(ctx, info->session, "saving", 20000) == 0) {
		struct saving *s = malloc(sizeof(*s));
		s->session = info->session;
		ob_timer_start(ctx, save_ms, 0, saved, s);
	}
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_value(ctx, req, json_deep_copy(heard));
}

static void stop(ob_ctx *ctx)
{
	json_decref(heard);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_handler_fn fns[] = {bind, unbind, push, kick, find, who, set,
					    attr, lock, unlock, NULL, keep, saves};
	int rc = 0;

	base = (uint32_t)json_integer_value(json_object_get(conf, "base"));
	heard = json_pack("{s:{}, s:{}, s:{}, s:{}}", "closed", "replaced", "lost", "users");
	for (uint32_t i = 0; rc == 0 && i < sizeof(fns) / sizeof(fns[0]); i++) {
		rc = fns[i] ? ob_on_id(ctx, base + i, fns[i]) : 0;
	}
	rc = rc != 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, ends);
	rc = rc != 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_REPLACED, ends);
	rc = rc != 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_LOST, ends);
	return rc != 0 ? rc : ob_on_http(ctx, "GET", "/heard", show, 0);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""


def modules():
    if "plugins" not in house:
        plugins = PluginDir()
        plugins.build("people", PEOPLE)
        house["plugins"] = plugins
    return [str(house["plugins"]), MODULES, EXAMPLES]


def people(base):
    return {"name": "people", "conf": {"base": base}}


def everybody():
    return [node for node in house.values() if isinstance(node, Node)]


def wait_house():
    others = [house[name] for name in ("proxy_a", "proxy_b", "service", "game")]
    wait_linked((house["route_a"], *others), (house["route_b"], *others))


def nodes():
    if "proxy_a" not in house:
        common = {"module_dirs": modules()}
        for name in ("proxy_a", "proxy_b"):
            house[name] = Node(name, "proxy", modules=["proxy", ADMIN, people(PROXY)],
                               sessions={"kick_id": KICKED}, **common)
        for name in ("route_a", "route_b"):
            house[name] = Node(name, "route", modules=["route", ADMIN], rpc={"route": TABLE},
                               **common)
        house["service"] = Node("service", "service",
                                modules=["service", ADMIN, people(SERVICE)], **common)
        house["game"] = Node("game", "game", modules=["service", ADMIN, people(GAME)], **common)
        for name in ("proxy_a", "proxy_b", "service", "game"):
            link((house[name], house["route_a"]), (house[name], house["route_b"]))
        start_all(*everybody())
        wait_house()
    return house


def connect(proxy="proxy_a"):
    return Client(nodes()[proxy].ws_port)


def login(client, user, where=SERVICE):
    return client.ask(where + BIND, {"user": user})


def find(user, client, where=SERVICE):
    """The name of the session that has the user, or None."""
    answer = client.ask(where + FIND, {"user": user})
    check(answer["code"] in (200, 404), answer)
    return answer["name"] or None


def name_of(client, where=PROXY):
    return client.ask(where + WHO)["session"]


def heard(name, what):
    return nodes()[name].get("/heard")[what]


def farewell(client):
    """Code, reason and the message before it, of a client that is closed."""
    message = None
    try:
        while True:
            number, body = client.packet()
            if number == KICKED:
                message = json.loads(body)
    except Closed as closed:
        return closed.code, closed.reason, message


def ask_anyway(client, number, body=b""):
    """The answer, whatever else comes before; or the code with which the client is closed."""
    try:
        client.tell(number, body)
        while True:
            got, answer = client.packet()
            if got == number:
                return json.loads(answer)
    except Closed as closed:
        equal((closed.code, closed.reason), (4001, "replaced"))
        return closed.code


# ---------------------------------------------------------------- one session per user

@cases([(SERVICE, "a service"), (GAME, "another service"), (PROXY, "the proxy")],
       "a login by {1}: every node that meets the session knows the user, and it is found")
def logs_in(where, _):
    user = f"one-{where}"
    with connect() as client, connect("proxy_b") as other:
        answer = login(client, user, where)
        equal((answer["code"], answer["known"]), (200, True))
        name = name_of(client)
        equal(answer["name"], name)
        for at in (SERVICE, GAME, PROXY):
            got = client.ask(at + WHO)
            equal((got["user"], got["epoch"]), (user, answer["epoch"]))
            equal(find(user, client, at), name)
            equal(find(user, other, at), name)
        again = login(client, user, GAME)
        equal((again["code"], again["epoch"]), (200, answer["epoch"]))
        shown = [s for s in nodes()["proxy_a"].get("/sessions")["sessions"] if s["id"] == name]
        equal([(s["user"], s["epoch"]) for s in shown], [(user, answer["epoch"])])
    with connect() as client:
        eventually(lambda: find(user, client) is None, "nobody")


@cases([("proxy_a",), ("proxy_b",)], "a second login at {0} replaces the first one")
def second_login(proxy):
    with connect() as first, connect(proxy) as second:
        before = login(first, "twice")
        name = name_of(first)
        first.ask(GAME + WHO)
        after = login(second, "twice")
        equal(after["code"], 200)
        check(after["epoch"] > before["epoch"], (before, after))
        equal(farewell(first)[:2], (4001, "replaced"))
        equal(find("twice", second), name_of(second))
        check(second.silent(0.1))
        for node in ("service", "game", "proxy_a"):
            for what in ("replaced", "closed"):
                eventually(lambda n=node, w=what: heard(n, w).get(name) == 1,
                           f"{what} heard at {node}")
            equal(heard(node, "users")[name], "twice")
            check(name not in heard(node, "lost"))


@case("the client that is replaced is told why before it is closed")
def told_why():
    with connect() as first, connect("proxy_b") as second:
        login(first, "told")
        login(second, "told")
        code, _reason, message = farewell(first)
        equal((code, message), (4001, {"reason": "replaced"}))


@case("many logins of one user on two proxies at once: exactly one stays")
def storm():
    clients = [connect(("proxy_a", "proxy_b")[i % 2]) for i in range(12)]
    answers = [None] * len(clients)

    def run(i):
        answers[i] = ask_anyway(clients[i], (SERVICE, PROXY, GAME)[i % 3] + BIND,
                                {"user": "storm"})

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connect() as looker:
        name = find("storm", looker)
        check(name is not None, answers)
        left = [ask_anyway(client, PROXY + WHO)
                for client, answer in zip(clients, answers) if answer != 4001]
        equal([answer["session"] for answer in left if answer != 4001], [name])
    for client in clients:
        client.drop()


@case("a session that logs in as somebody else is the first one no longer")
def another_user():
    with connect() as client, connect("proxy_b") as other:
        equal(login(client, "first")["code"], 200)
        equal(login(client, "second", GAME)["code"], 200)
        eventually(lambda: find("first", other) is None, "the first one is nobody's")
        equal(find("second", other), name_of(client))
        for at in (SERVICE, GAME, PROXY):
            eventually(lambda a=at: client.ask(a + WHO)["user"] == "second", "who it is")


@case("a logout ends the binding; a late one of a former session changes nothing")
def logout():
    with connect() as first, connect("proxy_b") as second:
        login(first, "outer")
        equal(first.ask(SERVICE + UNBIND, {"user": "somebody"})["rc"], 0)
        equal(find("outer", second), name_of(first))
        equal(first.ask(SERVICE + UNBIND, {"user": "outer"})["rc"], 0)
        eventually(lambda: find("outer", second) is None, "nobody")
        eventually(lambda: first.ask(GAME + WHO)["user"] == "", "nobody's session")
        equal(login(second, "outer")["code"], 200)
        equal(first.ask(SERVICE + UNBIND, {"user": "outer"})["rc"], 0)
        check(first.silent(0.2))
        equal(find("outer", first), name_of(second))


@cases([("",), ("x" * 65,), ("a\nb",)], "no user id: {0!r}")
def bad_ids(user):
    with connect() as client:
        for at in (SERVICE, PROXY):
            equal(login(client, user, at)["code"], 400)


# ---------------------------------------------------------------- reaching a user

@case("a push to a user arrives wherever its proxy is, in order, also after it has moved")
def pushes():
    with connect("proxy_b") as talker:
        for proxy in ("proxy_a", "proxy_b", "proxy_a"):
            with connect(proxy) as client:
                equal(login(client, "pushed")["code"], 200)
                for at in (SERVICE, GAME, PROXY):
                    # The first one may go to where the user was; once it has come, order holds.
                    equal(talker.ask(at + PUSH, {"user": "pushed", "n": -1})["rc"], 0)
                    equal(client.reply(at + PUSHED), {"n": -1})
                    for n in range(20):
                        equal(talker.ask(at + PUSH, {"user": "pushed", "n": n})["rc"], 0)
                    for n in range(20):
                        equal(client.reply(at + PUSHED), {"n": n})
        lost = nodes()["game"].metric("obhost_user_sends_lost_total")
        equal(talker.ask(GAME + PUSH, {"user": "nobody"})["rc"], 0)
        eventually(lambda: nodes()["game"].metric("obhost_user_sends_lost_total") > lost,
                   "the push counted as lost")


@cases([(SERVICE,), (PROXY,)], "a user is kicked from {0}")
def kick(where):
    with connect() as client, connect("proxy_b") as other:
        login(client, "kicked")
        equal(other.ask(where + KICK, {"user": "kicked"})["rc"], 0)
        equal(farewell(client), (4003, 'be "gone"', {"reason": 'be "gone"'}))
        eventually(lambda: find("kicked", other) is None, "nobody")


@case("attributes of a session are set from any node and read at its proxy")
def attributes():
    with connect() as client:
        for at, value in ((SERVICE, "red"), (PROXY, "green"), (GAME, "blue")):
            equal(client.ask(at + SET, {"key": "colour", "value": value})["rc"], 0)
            eventually(lambda v=value: client.ask(PROXY + ATTR, {"key": "colour"})["value"] == v,
                       "the attribute")
        name = name_of(client)
        (shown,) = [s for s in nodes()["proxy_a"].get("/sessions")["sessions"]
                    if s["id"] == name]
        equal(shown["attrs"], {"colour": "blue"})
        client.ask(SERVICE + SET, {"key": "colour", "value": ""})
        eventually(lambda: client.ask(PROXY + ATTR, {"key": "colour"})["value"] == "", "none")
        for n in range(16):
            equal(client.ask(PROXY + SET, {"key": f"k{n}", "value": "v"})["rc"], 0)
        equal(client.ask(PROXY + SET, {"key": "k16", "value": "v"})["rc"], -5107)
        equal(client.ask(PROXY + SET, {"key": "x" * 33, "value": "v"})["rc"], -5105)


# ---------------------------------------------------------------- saving

@case("the next login waits until what was locked is unlocked")
def lock():
    with connect() as first, connect("proxy_b") as second, connect() as third:
        login(first, "saver")
        equal(first.ask(SERVICE + LOCK, {"ms": 20000})["rc"], 0)
        first.close()
        second.tell(SERVICE + BIND, {"user": "saver"})
        check(second.silent(1.0))
        equal(find("saver", third), None)
        equal(third.ask(SERVICE + UNLOCK)["rc"], 0)
        equal(second.reply(SERVICE + BIND)["code"], 200)
        equal(third.ask(SERVICE + UNLOCK)["rc"], -5002)


@case("a lock ends by its deadline, which is counted; one that is kept as well")
def lock_deadline():
    def expired():
        return sum(nodes()[name].metric("obhost_user_locks_expired_total")
                   for name in ("route_a", "route_b"))
    before = expired()
    for keeps in (False, True):
        with connect() as first, connect("proxy_b") as second:
            login(first, "slow")
            equal(first.ask(SERVICE + LOCK, {"ms": 1500})["rc"], 0)
            if keeps:
                equal(first.ask(SERVICE + KEEP)["rc"], 0)
            begun = time.monotonic()
            equal(login(second, "slow")["code"], 200)
            check(0.8 < time.monotonic() - begun < 4, "the wait")
    eventually(lambda: expired() == before + 2, "both counted")


@case("a lock of a node that is killed goes with it", timeout=60)
def locker_killed():
    with connect() as first, connect("proxy_b") as second:
        login(first, "orphan")
        equal(first.ask(GAME + LOCK, {"ms": 60000})["rc"], 0)
        nodes()["game"].kill()
        begun = time.monotonic()
        equal(login(second, "orphan", PROXY)["code"], 200)
        check(time.monotonic() - begun < 5, "the wait")
        nodes()["game"].start()
        wait_house()


@case("a node that begins to save when it hears of the end holds the next login up")
def saves_at_the_end():
    with connect() as first, connect("proxy_b") as second, connect() as other:
        equal(other.ask(GAME + SAVES, {"ms": 1200})["rc"], 0)
        login(first, "ender")
        first.ask(GAME + WHO)
        begun = time.monotonic()
        equal(login(second, "ender")["code"], 200)
        check(1.0 < time.monotonic() - begun < 4, "the wait when it was replaced")
        second.ask(GAME + WHO)
        second.close()
        begun = time.monotonic()
        equal(login(other, "ender")["code"], 200)
        check(1.0 < time.monotonic() - begun < 4, "the wait when it was closed")
        equal(other.ask(GAME + SAVES, {"ms": 0})["rc"], 0)


@case("a login that can't wait any longer ends with 504 and is none", timeout=40)
def bind_deadline():
    with connect() as first, connect("proxy_b") as second:
        login(first, "never")
        first.ask(SERVICE + LOCK, {"ms": 9000})
        second.tell(PROXY + BIND, {"user": "never"})
        answer = second.reply(PROXY + BIND)
        equal(answer["code"], 504)
        equal(second.ask(PROXY + WHO)["user"], "")
        second.ask(SERVICE + UNLOCK)
        equal(find("never", second), None)
        equal(login(second, "never")["code"], 200)


# ---------------------------------------------------------------- nodes that go

@case("a session that ends in order is closed, once, and not lost")
def closed_once():
    with connect() as client:
        login(client, "orderly")
        name = name_of(client)
        client.ask(GAME + WHO)
    for node in ("service", "game", "proxy_a"):
        eventually(lambda n=node: heard(n, "closed").get(name) == 1, f"closed at {node}")
        equal((heard(node, "lost").get(name), heard(node, "replaced").get(name)), (None, None))


@case("the proxy is killed: its sessions are lost, each once, and its users log in elsewhere",
      timeout=90)
def proxy_killed():
    clients = [connect() for _ in range(20)]
    names = []
    for i, client in enumerate(clients):
        equal(login(client, f"lost-{i}")["code"], 200)
        names.append(client.ask(GAME + WHO)["session"])
    nodes()["proxy_a"].kill()
    with connect("proxy_b") as second:
        equal(login(second, "lost-0")["code"], 200)
        equal(find("lost-0", second), name_of(second))
    for node in ("service", "game"):
        eventually(lambda n=node: set(names) <= set(heard(n, "lost")), f"lost at {node}", 15)
    with connect("proxy_b") as other:
        eventually(lambda: find("lost-1", other) is None, "its users are nobody's")
    nodes()["proxy_a"].start()
    wait_house()
    with connect() as client:
        equal(login(client, "lost-2")["code"], 200)
        client.ask(GAME + WHO)
        time.sleep(1)
        for node in ("service", "game"):
            lost, closed = heard(node, "lost"), heard(node, "closed")
            equal({lost[name] for name in names}, {1})
            check(not set(names) & set(closed), closed)


@case("the proxy is killed and back before anybody calls it gone: lost, once", timeout=60)
def proxy_restarts():
    with connect() as client:
        login(client, "quick")
        name = client.ask(GAME + WHO)["session"]
        nodes()["proxy_a"].kill()
    nodes()["proxy_a"].start()
    wait_house()
    for node in ("service", "game"):
        eventually(lambda n=node: heard(n, "lost").get(name) == 1, f"lost at {node}")
    with connect() as client:
        equal(login(client, "quick")["code"], 200)
        client.ask(GAME + WHO)
    time.sleep(3.5)
    equal((heard("game", "lost")[name], heard("game", "closed").get(name)), (1, None))


@cases([("route_a",), ("route_b",)], "{0} is killed: who is where is known again soon", timeout=90)
def keeper_killed(route):
    users = [f"kept-{i}" for i in range(40)]
    clients = [connect(("proxy_a", "proxy_b")[i % 2]) for i in range(len(users))]
    for user, client in zip(users, clients):
        equal(login(client, user, PROXY)["code"], 200)
    names = [name_of(client) for client in clients]
    with connect() as looker:
        nodes()[route].kill()
        for user, name in zip(users, names):
            eventually(lambda u=user, n=name: find(u, looker, PROXY) == n, f"{user} found")
        nodes()[route].start()
        wait_house()
        for user, name in zip(users, names):
            eventually(lambda u=user, n=name: find(u, looker, PROXY) == n, f"{user} found again")
        with connect("proxy_b") as second:
            equal(login(second, users[0])["code"], 200)
            equal(farewell(clients[0])[0], 4001)
    for client in clients[1:]:
        check(client.silent(0.01))
        client.drop()


@case("no keeper is left but the proxies: when the route nodes are back, one session stays",
      timeout=90)
def keepers_gone():
    with connect() as first, connect("proxy_b") as second:
        equal(login(first, "split", PROXY)["code"], 200)
        for name in ("route_a", "route_b"):
            nodes()[name].kill()
        eventually(lambda: not {"route_a", "route_b"} & nodes()["proxy_b"].peers(), "no route node")
        equal(login(second, "split", PROXY)["code"], 200)
        check(first.silent(0.1))
        for name in ("route_a", "route_b"):
            nodes()[name].start()
        wait_house()
        equal(farewell(first)[:2], (4001, "replaced"))
        eventually(lambda: find("split", second, PROXY) == name_of(second), "the one that stays")


@case("a single node: everything works without any other")
def alone():
    node = Node("alone", "proxy", module_dirs=modules(), modules=["proxy", ADMIN, people(PROXY)])
    node.start()
    with Client(node.ws_port) as first, Client(node.ws_port) as second:
        equal(login(first, "me", PROXY)["code"], 200)
        name = name_of(first)
        equal(find("me", second, PROXY), name)
        equal(second.ask(PROXY + PUSH, {"user": "me", "n": 3})["rc"], 0)
        equal(first.reply(PROXY + PUSHED), {"n": 3})
        equal(login(second, "me", PROXY)["code"], 200)
        equal(farewell(first), (4001, "replaced", None))
        equal(second.ask(PROXY + KICK, {"user": "me"})["rc"], 0)
        equal(farewell(second)[0], 4003)
    equal(node.get("/heard")["replaced"], {name: 1})
    with Client(node.ws_port) as third:
        equal(login(third, "me", PROXY)["code"], 200)
        equal(third.ask(PROXY + UNBIND, {"user": "me"})["rc"], 0)
        eventually(lambda: find("me", third, PROXY) is None, "nobody")
    node.stop()


if __name__ == "__main__":
    main(all_ended)
