#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Clients whose connection breaks come back to their session and get what they missed, or hear why
not: at the same proxy and at another one."""

import base64
import concurrent.futures
import contextlib
import hmac
import json
import random
import socket
import struct
import time

from obtest.env import EXAMPLES, LONG, MODULES, SLOW
from obtest.nodes import Node, all_ended, free_port, link, start_all, wait_linked
from obtest.player import PUSHED, Player
from obtest.plugin import PluginDir
from obtest.tap import case, cases, check, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
STREAM, LATE, BIND, JOIN, USER_STREAM, GROUP_STREAM, SET, LOCK, ENTER = range(6500, 6509)
HEARD, LOGIN = 7000, 7100
KEPT = 4096  # messages
KEY = "a key of thirty-two bytes, or so"

house = {}

# On the service.
DESK = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

struct stream {
	ob_session session;
	char user[64];
	char group[64];
	int n;
	int to;
	int size;
};

static ob_session session_of(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	return view.session;
}

static void step(ob_ctx *ctx, ob_timer timer, void *arg)
{
	struct stream *s = arg;
	char text[8300];

	for (int i = 0; i < 5 && s->n < s->to; i++) {
		int len = sprintf(text, "{\"n\":%d,\"pad\":\"%*s\"}", s->n++, s->size, "");
		if (s->user[0]) {
			ob_push_user(ctx, s->user, 6700, text, (size_t)len);
		} else if (s->group[0]) {
			ob_push_group(ctx, s->group, 6700, text, (size_t)len);
		} else {
			ob_push(ctx, s->session, 6700, text, (size_t)len);
		}
	}
	if (s->n == s->to) {
		ob_timer_stop(ctx, timer);
		free(s);
	}
}

static void stream(ob_ctx *ctx, ob_req req)
{
	struct stream *s = calloc(1, sizeof(*s));
	const char *user = ob_req_str(ctx, req, "user");
	const char *group = ob_req_str(ctx, req, "group");

	s->session = session_of(ctx, req);
	snprintf(s->user, sizeof(s->user), "%s", user ? user : "");
	snprintf(s->group, sizeof(s->group), "%s", group ? group : "");
	s->n = (int)ob_req_int(ctx, req, "from", 0);
	s->to = (int)ob_req_int(ctx, req, "to", 0);
	s->size = (int)ob_req_int(ctx, req, "size", 0);
	ob_reply_json(ctx, req, "{s:i}", "ok", 1);
	ob_timer_start(ctx, 2, 2, step, s);
}

static void answer(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_req *req = arg;

	(void)timer;
	ob_reply_json(ctx, *req, "{s:I}", "n", ob_req_int(ctx, *req, "n", -1));
	free(req);
}

static void late(ob_ctx *ctx, ob_req req)
{
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	ob_timer_start(ctx, (uint64_t)ob_req_int(ctx, req, "ms", 1), 0, answer, kept);
}

static void bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	ob_req *req = arg;

	ob_reply_json(ctx, *req, "{s:i}", "rc", res->code);
	free(req);
}

static void bind(ob_ctx *ctx, ob_req req)
{
	ob_req *kept = malloc(sizeof(*kept));

	*kept = req;
	ob_request_hold(ctx, req);
	if (ob_session_bind(ctx, session_of(ctx, req), ob_req_str(ctx, req, "user"), bound, kept)) {
		ob_fail(ctx, req, OB_E_APP, "not bound");
		free(kept);
	}
}

static void join(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i}", "rc",
		      ob_group_join(ctx, session_of(ctx, req), ob_req_str(ctx, req, "group")));
}

static void set(ob_ctx *ctx, ob_req req)
{
	const char *value = ob_req_str(ctx, req, "value");

	ob_reply_json(ctx, req, "{s:i}", "rc",
		      ob_session_set(ctx, session_of(ctx, req), "level", value, strlen(value)));
}

static void lock(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i}", "rc",
		      ob_session_lock(ctx, session_of(ctx, req), "save",
				      (uint32_t)ob_req_int(ctx, req, "ms", 0)));
}

static void enter(ob_ctx *ctx, ob_req req)
{
	const char *state = ob_req_str(ctx, req, "state");

	ob_reply_json(ctx, req, "{s:i}", "rc",
		      ob_session_enter(ctx, session_of(ctx, req), state,
				       json_pack("{s:s}", "room", "7")));
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_handler_fn fns[] = {stream, late, bind, join, stream,
					    stream, set, lock, enter};
	int rc = 0;

	(void)conf;
	for (uint32_t i = 0; rc == 0 && i < sizeof(fns) / sizeof(fns[0]); i++) {
		rc = ob_on_id(ctx, 6500 + i, fns[i]);
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# On a proxy: how many sessions it was told of, and ends of requests for 6501.
EARS = r"""
#include <obhost/obhost.h>

static int opened;
static int closed;
static int ended;

static int after(ob_ctx *ctx, const ob_message_event *e)
{
	(void)ctx;
	ended += e->view->id == 6501 && e->code == OB_OK;
	return 0;
}

static void on_event(ob_ctx *ctx, const ob_event_info *info)
{
	(void)ctx;
	opened += info->event == OB_EVENT_SESSION_OPENED;
	closed += info->event == OB_EVENT_SESSION_CLOSED;
}

static void tell(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i, s:i}", "opened", opened, "closed", closed, "ended",
		      ended);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_event(ctx, OB_EVENT_SESSION_OPENED, on_event);

	(void)conf;
	rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, on_event) : rc;
	rc = rc == 0 ? ob_on_message_filter(ctx, OB_MESSAGE_AFTER_CLIENT, 0, after) : rc;
	return rc == 0 ? ob_on_id(ctx, 7000, tell) : rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


# On a proxy with states: who came to which one, and with what.
PORCH = r"""
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

static char heard[4000];

static void enter(ob_ctx *ctx, const ob_session_change *c)
{
	size_t len = strlen(heard);
	const char *room = json_string_value(json_object_get(c->data, "room"));

	(void)ctx;
	snprintf(heard + len, sizeof(heard) - len, "%s>%s:%s ", c->from, c->to, room ? room : "");
}

static void tell(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	ob_session_info info = {.size = sizeof(info)};
	const json_t *data = NULL;

	ob_req_view(ctx, req, &view);
	ob_session_get(ctx, view.session, &info);
	const char *state = ob_session_state(ctx, view.session, &data);
	ob_reply_json(ctx, req, "{s:s, s:s, s:O?, s:s}", "heard", heard, "state", state, "data",
		      data, "user", info.user);
	heard[0] = 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_session_state(ctx, NULL, enter, NULL);

	(void)conf;
	return rc == 0 ? ob_on_id(ctx, 7000, tell) : rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


class PomeloPlayer(Player):
    """The same, with pomelo's packages; what it has to say about that is in the handshake."""

    listener = 1

    def package(self, kind, body=b""):
        self.socket.sendall(struct.pack(">I", len(body) | kind << 24) + body)

    def send(self, message):
        if "id" not in message and "seen" not in message:
            user = {"resume": message.get("resume", {})}
            self.package(1, json.dumps({"sys": {}, "user": user}).encode())
            return
        route = str(message["id"]) if "id" in message else "obhost.resume.seen"
        head, body = b"\2", message
        if "id" in message:
            number = message["seq"]
            head, body = bytes([0, number & 127 | 128, number >> 7]), message["data"]
        self.package(4, head + bytes([len(route)]) + route.encode() + json.dumps(body).encode())

    def packet(self):
        """The type of the next package, and its body; (None, b"") at the end."""
        try:
            head = self.file.read(4)
        except ConnectionError:
            head = b""
        return (head[0], self.file.read(int.from_bytes(head[1:]))) if head else (None, b"")

    def read(self):
        kind, body = self.packet()
        if kind == 1:
            self.package(2)
            return {"hello": json.loads(body)["user"]["resume"]}
        if kind == 5:
            return {"close": json.loads(body)["reason"]}
        if kind is None:
            return None
        equal(kind, 4)
        if body[0] == 6:
            return {"id": int(body[2:2 + body[1]]), "data": json.loads(body[2 + body[1]:])}
        equal(body[0], 4)
        long = body[1] >= 128
        return {"id": 0, "seq": body[1] & 127 | (body[2] << 7 if long else 0),
                "data": json.loads(body[3 if long else 2:])}


FRAMED = {"head": [{"length": 2}, {"code": 4}, {"seq": 4}]}


CODECS = [
    {"codec": "json"}, {"codec": "pomelo"},
    {"codec": "framed", "codec_conf": {**FRAMED, "resume": {"hello": 1, "seen": 2, "welcome": 3}}},
    {"codec": "framed", "codec_conf": FRAMED},
]


class FramedPlayer(Player):
    """The same, with the codes that its listener keeps for that."""

    listener = 2

    def packet(self, code, seq=0, body=b""):
        self.socket.sendall(struct.pack(">HII", len(body), code, seq) + body)

    def send(self, message):
        if "hello" in message:
            self.packet(1)
        elif "resume" in message:
            resume = message["resume"]
            self.packet(1, 0, struct.pack(">Q", resume["seen"]) + resume["token"].encode())
        elif "seen" in message:
            self.packet(2, 0, struct.pack(">Q", message["seen"]))
        else:
            self.packet(message["id"], message["seq"], json.dumps(message["data"]).encode())

    def read(self):
        try:
            head = self.file.read(10)
        except ConnectionError:
            head = b""
        if not head:
            return None
        size, code, seq = struct.unpack(">HII", head)
        body = self.file.read(size)
        if code == 3:
            words, at = [], 9
            while at < size:
                words.append(body[at + 1:at + 1 + body[at]].decode())
                at += 1 + body[at]
            return {"hello": {"recovered": body[0] == 1,
                              "heard": int.from_bytes(body[1:9]),
                              **dict(zip(("token", "session", "reason"), words, strict=True))}}
        message = {"id": code, "data": json.loads(body)}
        return {**message, "seq": seq} if seq else message


def proxy(name, common, more=("ears",), states=None, **resume):
    settings = {"window": 30, "messages": KEPT, "bytes": "1m", **resume}
    return Node(name, "proxy", modules=["proxy", ADMIN, *more],
                listen=[{"transport": "tcp", "port": free_port(), "timeout": 0, **codec}
                        for codec in CODECS],
                sessions={"resume": settings, "bind_timeout": 2}, states=states or {}, **common)


def gate(name, common):
    """A proxy that wants a login, and says what may be sent when."""
    auth = {"name": "auth", "conf": {"login": LOGIN, "deadline": 1,
                                     "hmac": {"keys": [{"secret": KEY}]}}}
    ids = [ENTER, HEARD]
    return proxy(name, common, ["porch", auth],
                 {"guest": {"ids": [LOGIN, *ids]}, "game": {"ids": [[STREAM, LOCK], *ids]}})


def login_token(user):
    text = f"{user}|{int(time.time()) + 60}"
    mac = hmac.digest(KEY.encode(), text.encode(), "sha256")
    return f"{text}|{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def nodes():
    if "service" not in house:
        plugins = PluginDir()
        plugins.build("desk", DESK)
        plugins.build("ears", EARS)
        plugins.build("porch", PORCH)
        house["plugins"] = plugins
        common = {"module_dirs": [str(plugins), MODULES, EXAMPLES], "call_timeout": 5}
        house["pa"] = proxy("pa", common)
        house["pb"] = proxy("pb", common)
        house["pc"] = proxy("pc", common)
        house["brief"] = proxy("brief", common, window=0.2, messages=8, detached=2)
        house["off"] = proxy("off", common, window=0)
        house["ga"] = gate("ga", common)
        house["gb"] = gate("gb", common)
        house["route"] = Node("route", "route", modules=["route", ADMIN],
                              rpc={"route": {"range": {"service": [[6500, 6599]]}}}, **common)
        house["service"] = Node("service", "service", modules=["service", ADMIN, "desk"], **common)
        others = [house[n] for n in ("pa", "pb", "pc", "brief", "off", "ga", "gb", "service")]
        link(*((node, house["route"]) for node in others))
        start_all(*others, house["route"])
        wait_linked((house["route"], *others))
        for name in ("pa", "pb", "pc", "brief", "off", "ga", "gb"):
            eventually(lambda n=name: "service" in
                       {p["name"] for p in house[n].get("/peers")["peers"]},
                       "the service is known")
    return house


@contextlib.contextmanager
def player(name="pa", kind=Player):
    someone = kind(nodes()[name])
    try:
        yield someone
    finally:
        someone.close()
        if someone.session:  # it would be kept
            someone.node.http("DELETE", f"/sessions/{someone.session}")


def sessions(node):
    return {s["id"]: s for s in node.get("/sessions?limit=10000")["sessions"] if s["local"]}


def resumes(node, result):
    return node.metric("obhost_resumes_total", result=result)


def detached(node, session):
    eventually(lambda: sessions(node)[session]["detached"], f"{session} is detached")


@case("pushes and answers go on where they were when the connection was reset, again and again")
def same_proxy():
    with player() as p:
        equal(p.hello()["heard"], 0)
        first = p.session
        before = resumes(p.node, "recovered")
        opened = p.ask(HEARD)["opened"]
        p.ask(STREAM, to=1000)
        asked = []
        for turn in range(8):
            p.pushed(100 * (turn + 1))
            asked.append((turn, p.tell(LATE, n=turn, ms=20)))
            # it is read before the connection is gone: its number is heard of
            eventually(lambda t=turn: sessions(p.node)[p.session]["messages"] >= 4 + 2 * t,
                       "the request is there")
            p.abort()
            detached(p.node, first)
            answer = p.resume()
            equal((answer["recovered"], p.session, answer["heard"]), (True, first, 3 + turn))
        equal(p.pushed(1000), list(range(1000)))
        for n, seq in asked:
            equal(p.answer(seq)["data"]["n"], n)
        equal(len([m for m in p.got if "seq" in m]), 10)
        equal(resumes(p.node, "recovered"), before + 8)
        again = p.ask(HEARD)
        equal(again["opened"], opened)  # nobody heard of the connections in between


@case("user, attributes and groups are as they were; what goes to them meanwhile is kept")
def belongings():
    with player() as p, player() as q:
        p.hello()
        q.hello()
        equal(p.ask(BIND, user="ann")["rc"], 0)
        equal(p.ask(JOIN, group="room")["rc"], 0)
        equal(p.ask(SET, value="7")["rc"], 0)
        p.abort()
        detached(p.node, p.session)
        q.ask(USER_STREAM, user="ann", to=50)
        eventually(lambda: p.node.metric("obhost_pushes_total") >= 50, "they are there")
        session = p.session
        equal(p.resume()["recovered"], True)
        equal(p.pushed(50), list(range(50)))
        q.ask(GROUP_STREAM, group="room", **{"from": 50, "to": 80})
        equal(p.pushed(80), list(range(80)))
        seen = sessions(p.node)[session]
        equal((seen["user"], seen["attrs"], seen["detached"]), ("ann", {"level": "7"}, False))


@case("filters see how a request has ended whose client is away")
def seen_by_filters():
    with player() as p, player() as other:
        p.hello()
        other.hello()
        before = other.ask(HEARD)["ended"]
        p.tell(LATE, ms=int(700 * SLOW), n=1)
        p.abort()
        detached(p.node, p.session)
        equal(other.ask(HEARD)["ended"], before)
        eventually(lambda: other.ask(HEARD)["ended"] == before + 1, "the filter has seen it")
        check(p.resume()["recovered"])


@case("who says good-bye, or never said hello, or is kicked meanwhile, has no session any more")
def ends():
    with player() as p:
        p.hello()
        p.abort()
        detached(p.node, p.session)
        equal(p.node.http("DELETE", f"/sessions/{p.session}").status, 200)
        check(p.session not in sessions(p.node))
        answer = p.resume()
        equal((answer["recovered"], answer["reason"]), (False, "expired"))
        equal(p.ask(HEARD)["opened"] > 0, True)
    node = nodes()["pa"]
    silent = Player(node)
    silent.ask(HEARD)
    before = len(sessions(node))
    silent.abort()
    eventually(lambda: len(sessions(node)) < before, "it is gone at once")


@case("a wrong token, a stranger's, one of a session that is over: typed, and a new session")
def refused():
    node = nodes()["pa"]
    with player() as p:
        p.hello()
        good = p.token
        wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
        before = resumes(node, "unknown")
        for token in (wrong, "x", "z" * 64, good[:63]):
            q = Player(node)
            q.token = token
            equal(q.resume()["reason"], "unknown token")
            check(q.session != p.session)
            q.close()
        equal(resumes(node, "unknown"), before + 4)
        equal(p.ask(HEARD)["opened"] > 0, True)  # it has not lost its own by that
        p.send({"hello": {}})
        equal(p.read()["close"], 1002)
    with player() as p:
        p.ask(HEARD)
        p.send({"hello": {}})
        equal(p.read()["close"], 1002)
    with player() as p:
        p.hello()
        p.send({"seen": 1})
        equal(p.read()["close"], 1002)


@case("a second connection with the token takes the session; two at once: the last one has it")
def taken_over():
    with player() as p, player() as q, player() as r:
        p.hello()
        p.ask(STREAM, to=500)
        p.pushed(50)
        for other in (q, r):
            other.close()
            other.token, other.seen = p.token, p.seen
        other = [q, r]
        for o in other:
            o.connect(p.node)
            o.send({"resume": {"token": o.token, "seen": o.seen}})
        for o in other:
            equal(o.welcomed()["recovered"], True)
            equal(o.session, p.session)
        ends_of = []
        for o in [p, *other]:
            last = None
            while (message := o.read()) is not None:
                last = message
                if message.get("id") == PUSHED and message["data"]["n"] == 499:
                    break
            ends_of.append(last)
        equal(sorted("close" in m for m in ends_of), [False, True, True])
        equal([m["close"] for m in ends_of if "close" in m], [4001, 4001])


@case("after the window the session is over, and says so; too many messages are lost, and so do they")
def bounds():
    node = nodes()["brief"]
    with player("brief") as p:
        p.hello()
        p.abort()
        eventually(lambda: p.session not in sessions(node), "the window is over")
        equal(p.resume()["reason"], "expired")
        p.send({"seen": 0})
        p.ask(STREAM, to=100)
        p.pushed(100)
        p.abort()
        answer = p.resume(seen=p.seen - 20)
        equal((answer["recovered"], answer["reason"]), (False, "messages lost"))
        p.got.clear()
        p.ask(STREAM, to=10)
        p.pushed(10)
        p.abort()
        equal(p.resume(seen=p.seen - 5)["recovered"], True)
        p.abort()
        equal(p.resume(seen=100000)["reason"], "messages lost")
    eventually(lambda: node.metric("obhost_sessions_detached") == 0, "nobody is awaited")
    crowd = [Player(node) for _ in range(8)]
    for c in crowd:
        c.hello()
    for c in crowd:
        c.abort()
    eventually(lambda: not sessions(node), "all are over")
    check(node.metric("obhost_sessions_not_detached_total") > 0)
    eventually(lambda: node.metric("obhost_resume_bytes") == 0, "nothing is kept")
    equal(node.metric("obhost_sessions_detached"), 0)


@case("where sessions are not kept a hello is answered all the same")
def off():
    node = nodes()["off"]
    p = Player(node)
    p.send({"hello": {}})
    answer = p.read()["hello"]
    equal((answer["recovered"], answer["reason"]), (False, "sessions are not kept here"))
    check("token" not in answer)
    p.send({"seen": 0})
    equal(p.ask(HEARD)["opened"] > 0, True)
    p.close()
    eventually(lambda: not sessions(node), "it is over")


@case("the codec and the deciding module are replaced while the client is away")
def swapped():
    with player() as p:
        p.hello()
        p.ask(STREAM, to=300)
        p.pushed(20)
        p.abort()
        detached(p.node, p.session)
        p.node.reload("codec_json", force=True)
        p.node.reload("proxy", force=True)
        equal(p.resume()["recovered"], True)
        equal(p.pushed(300), list(range(300)))
        equal(p.ask(LATE, n=5)["n"], 5)


@case("what is kept is given back: ten rounds of messages leave nothing behind")
def memory():
    node = nodes()["pa"]
    eventually(lambda: node.metric("obhost_resume_bytes") == 0, "nothing is kept of those before")
    for _ in range(10):
        with player() as p:
            p.hello()
            p.ask(STREAM, to=200, size=1000)
            p.abort()
            detached(node, p.session)
            p.resume()
            p.pushed(200)
            p.send({"seen": p.seen})
            eventually(lambda: node.metric("obhost_resume_bytes") == 0, "it has all been seen")
            p.abort()
            detached(node, p.session)
            equal(node.http("DELETE", f"/sessions/{p.session}").status, 200)
    equal(node.metric("obhost_resume_bytes"), 0)


@case("another proxy: what was missed comes in order, requests under way end, nothing comes twice")
def other_proxy():
    with player() as p, player("pb") as q:
        p.hello()
        q.hello()
        before = resumes(house["pb"], "recovered_far")
        equal(p.ask(BIND, user="bob")["rc"], 0)
        equal(p.ask(SET, value="8")["rc"], 0)
        equal(p.ask(JOIN, group="hall")["rc"], 0)
        asked = []
        for turn in range(4):
            asked.append((turn, p.tell(LATE, n=turn, ms=300)))
            eventually(lambda t=turn: sessions(p.node)[p.session]["messages"] >= 5 + t,
                       "the request is there")
            q.ask(USER_STREAM, user="bob", **{"from": 100 * turn, "to": 100 * turn + 50})
            p.abort()
            detached(p.node, p.session)
            eventually(lambda: p.node.metric("obhost_resume_bytes") > 50 * 90, "they are kept")
            answer = p.resume(house["pb" if p.node.name == "pa" else "pa"])
            equal((answer["recovered"], answer["heard"]), (True, 4 + turn))
            check(p.session.startswith(p.node.name), p.session)
            seen = eventually(lambda: sessions(p.node)[p.session]
                              if sessions(p.node)[p.session]["user"] == "bob" else None,
                              "the user is bound again")
            equal(seen["attrs"], {"level": "8"})
            equal(p.pushed(50 * (turn + 1)),
                  [100 * t + n for t in range(turn + 1) for n in range(50)])
            equal(p.answer(asked[-1][1])["data"]["n"], turn)
        equal(len([m for m in p.got if "seq" in m]), 3 + 4)
        equal(resumes(house["pb"], "recovered_far"), before + 2)
        groups = p.node.get("/groups")["groups"]
        equal([(g["name"], g["members"]) for g in groups], [("hall", 1)])
        p.got.clear()
        equal(p.ask(GROUP_STREAM, group="hall", to=20)["ok"], 1)
        equal(p.pushed(20), list(range(20)))


@case("another proxy: the session is logged in, and in its state with what it has there")
def other_state():
    with player("ga") as p:
        p.hello()
        equal(p.answer(p.tell(HEARD))["code"], 403)
        equal(p.ask(LOGIN, token=login_token("cat"))["data"]["user"], "cat")
        equal(p.ask(ENTER, state="game")["rc"], 0)
        equal(p.ask(HEARD)["state"], "game")
        for name in ("gb", "ga", "gb"):
            old = p.session
            logins = house[name].metric("obhost_module_auth_logins_total")
            pushes = p.node.metric("obhost_pushes_total")
            p.ask(STREAM, to=20)
            eventually(lambda n=pushes + 20: p.node.metric("obhost_pushes_total") >= n,
                       "all are there")
            p.abort()
            detached(p.node, old)
            answer = p.resume(house[name])
            equal((answer["recovered"], p.session.startswith(name)), (True, True))
            heard = p.ask(HEARD)
            equal((heard["state"], heard["data"], heard["user"]), ("game", {"room": "7"}, "cat"))
            check(">game:7" in heard["heard"].split(), heard)
            equal(p.pushed(20), list(range(20)))
            equal(p.answer(p.tell(LOGIN, token="x"))["code"], 403)  # not in this state
            equal(house[name].metric("obhost_module_auth_logins_total"), logins)
            p.got.clear()
        time.sleep(1.5)  # longer than auth waits for a login
        equal(p.ask(HEARD)["user"], "cat")
        equal(house["gb"].metric("obhost_module_auth_late_total") or 0, 0)


@case("another proxy: who has not logged in has to, in time; in a state unknown there: in the first")
def other_stranger():
    with player("ga") as p:
        p.hello()
        p.abort()
        detached(p.node, p.session)
        equal(p.resume(house["gb"])["recovered"], True)
        equal(p.answer(p.tell(HEARD))["code"], 403)
        equal(p.read()["close"], 4401)
        p.session = None
    with player("pa") as p:
        p.hello()
        equal(p.ask(BIND, user="dan")["rc"], 0)
        p.abort()
        detached(p.node, p.session)
        equal(p.resume(house["gb"])["recovered"], True)
        equal(p.answer(p.tell(HEARD))["code"], 403)
    with player("ga") as p:
        p.hello()
        equal(p.ask(LOGIN, token=login_token("eve"))["data"]["user"], "eve")
        equal(p.ask(ENTER, state="game")["rc"], 0)
        p.abort()
        detached(p.node, p.session)
        node = house["gb"]
        node.conf["states"]["arena"] = node.conf["states"].pop("game")
        node.write_conf()
        equal(node.http("POST", "/config/reload").status, 200)
        lost = node.metric("obhost_session_states_lost_total")
        equal(p.resume(node)["recovered"], True)
        equal(p.ask(HEARD)["state"], "guest")
        equal(node.metric("obhost_session_states_lost_total"), lost + 1)


@case("another proxy: who is welcomed has his user; what is for him until then is kept")
def other_locked():
    with player("ga") as p, player() as q:
        q.hello()
        p.hello()
        equal(p.ask(LOGIN, token=login_token("fay"))["data"]["user"], "fay")
        equal(p.ask(ENTER, state="game")["rc"], 0)
        equal(p.ask(JOIN, group="cell")["rc"], 0)
        equal(p.ask(LOCK, ms=700)["rc"], 0)
        p.abort()
        detached(p.node, p.session)
        p.connect(house["pb"])
        p.send({"resume": {"token": p.token, "seen": p.seen}})
        eventually(lambda: ["cell", 1] in [[g["name"], g["members"]] for g in
                                           house["pb"].get("/groups")["groups"]], "it is there")
        equal(q.ask(GROUP_STREAM, group="cell", to=50)["ok"], 1)
        equal(p.welcomed()["recovered"], True)
        equal(sessions(p.node)[p.session]["user"], "fay")
        equal(p.pushed(50), list(range(50)))
        equal(p.ask(LOCK, ms=5000)["rc"], 0)
        p.abort()
        detached(p.node, p.session)
        p.connect(house["pa"])
        p.send({"resume": {"token": p.token, "seen": p.seen}})
        equal(p.read()["close"], 1013)
        equal(house["pa"].metric("obhost_client_closed_total", reason="resume_user"), 1)
        p.session = None


def breaks_off(p, name, kept=None):
    """Asks another proxy for its session, and is gone before it has heard that it has it."""
    p.connect(house[name])
    p.send({"resume": {"token": p.token, "seen": p.seen}})
    if kept:
        kept()
    p.close()


def there(name, user, away=True):
    """The session that the user has at that proxy."""
    return eventually(lambda: next((s for s in sessions(house[name]).values()
                                    if (s["user"], s["detached"]) == (user, away)), None),
                      f"{user} is at {name}")


def comes_back(p, node):
    """The answer to who comes again as long as he hears that it is too early."""
    def again():
        p.connect(node)
        p.send({"resume": {"token": p.token, "seen": p.seen}})
        answer = p.read()
        return None if answer.get("close") == 1013 else answer["hello"]
    answer = eventually(again, "it is whole")
    p.token, p.session = answer["token"], answer["session"]
    return answer


@cases([("pb",), ("pa",), ("pc",)], "another proxy: who breaks off before its answer goes on at {0}")
def other_broken(back):
    with player() as p, player("pc") as q:
        user, group = f"gus_{back}", f"den_{back}"
        p.hello()
        q.hello()
        opened = q.ask(HEARD)
        equal(p.ask(BIND, user=user)["rc"], 0)
        equal(p.ask(SET, value="9")["rc"], 0)
        equal(p.ask(JOIN, group=group)["rc"], 0)
        late = p.tell(LATE, n=1, ms=300)  # the old proxy waits for it
        eventually(lambda: sessions(house["pa"])[p.session]["messages"] >= 5, "it is there")
        pushes = house["pa"].metric("obhost_pushes_total")
        q.ask(USER_STREAM, user=user, to=30)
        eventually(lambda: house["pa"].metric("obhost_pushes_total") >= pushes + 30, "all are there")
        first = p.session
        p.abort()
        detached(house["pa"], first)
        breaks_off(p, "pb")
        equal(there("pb", user)["attrs"], {"level": "9"})
        check(first not in sessions(house["pa"]))
        pushes = house["pb"].metric("obhost_group_pushes_total")
        q.ask(GROUP_STREAM, group=group, **{"from": 30, "to": 60})
        eventually(lambda: house["pb"].metric("obhost_group_pushes_total") >= pushes + 30,
                   "all are kept")
        equal(p.resume(house[back])["recovered"], True)
        check(p.session.startswith(back), p.session)
        equal(p.pushed(60), list(range(60)))
        equal(p.answer(late)["data"]["n"], 1)
        there(back, user, away=False)
        p.got.clear()
        equal(p.ask(GROUP_STREAM, group=group, to=20)["ok"], 1)
        equal(p.pushed(20), list(range(20)))
        if back != "pc":
            equal(q.ask(HEARD), opened)
    eventually(lambda: not any(s["user"] == user for name in ("pa", "pb", "pc")
                               for s in sessions(house[name]).values()), "nothing of it is left")


@case("another proxy: one that never hears where its session is has it at any, by its first token")
def other_deaf():
    with player() as p:
        p.hello()
        equal(p.ask(BIND, user="hal")["rc"], 0)
        pushes = p.node.metric("obhost_pushes_total")
        p.ask(STREAM, to=50)
        eventually(lambda: p.node.metric("obhost_pushes_total") >= pushes + 50, "all are there")
        p.pushed(20)
        p.abort()
        for name in ("pb", "pc", "pa", "pb"):
            breaks_off(p, name, lambda n=name: there(n, "hal", away=False))
            there(name, "hal")
        equal(p.resume(house["pa"])["recovered"], True)
        check(p.session.startswith("pa"), p.session)
        equal(p.pushed(50), list(range(50)))
        p.send({"seen": p.seen})
        p.abort()
        detached(p.node, p.session)
        equal(p.resume(house["pb"])["recovered"], True)  # by its last one


@case("another proxy: who breaks off while its user is locked has it later, or no session any more")
def other_locked_broken():
    with player() as p, player() as q:
        q.hello()
        p.hello()
        equal(p.ask(BIND, user="ida")["rc"], 0)
        equal(p.ask(JOIN, group="cave")["rc"], 0)
        moving = resumes(house["pb"], "moving")
        equal(p.ask(LOCK, ms=1800)["rc"], 0)
        p.abort()
        detached(p.node, p.session)
        breaks_off(p, "pb", lambda: eventually(
            lambda: ["cave", 1] in [[g["name"], g["members"]]
                                    for g in house["pb"].get("/groups")["groups"]], "it is there"))
        equal(q.ask(GROUP_STREAM, group="cave", to=40)["ok"], 1)
        for name in ("pb", "pa"):
            p.connect(house[name])
            p.send({"resume": {"token": p.token, "seen": p.seen}})
            equal(p.read()["close"], 1013)
            p.close()
        equal(resumes(house["pb"], "moving"), moving + 1)
        there("pb", "ida")
        equal(comes_back(p, house["pb"])["recovered"], True)
        equal(p.pushed(40), list(range(40)))
        equal(p.ask(LOCK, ms=8000)["rc"], 0)
        p.abort()
        detached(p.node, p.session)
        busy = resumes(house["pa"], "busy")
        breaks_off(p, "pa")
        eventually(lambda: resumes(house["pa"], "busy") == busy + 1, "its time is over")
        token = p.token
        for name in ("pa", "pb"):
            equal(p.resume(house[name], token=token)["reason"], "expired")
            p.close()
            equal(house[name].http("DELETE", f"/sessions/{p.session}").status, 200)
        p.session = None


@case("the session goes to the connection that was made last, whichever says so last")
def late_ghosts():
    with player() as p:
        ghosts = [Player(house[name]) for name in ("pa", "pb", "pc")]
        p.close()
        time.sleep(0.5)  # much longer than it takes a proxy to ask another one
        p.connect(house["pa"])
        p.hello()
        equal(p.ask(BIND, user="kim")["rc"], 0)
        for ghost in ghosts:
            ghost.send({"resume": {"token": p.token, "seen": p.seen}})
            equal(ghost.read(), {"close": 1013, "reason": "the session is moving"})
            ghost.close()
        there("pa", "kim", away=False)
        equal(p.ask(HEARD)["opened"] > 0, True)


@case("another proxy: of two that ask while requests end, the later one gets the session")
def two_ask():
    with player() as p:
        p.hello()
        equal(p.ask(BIND, user="leo")["rc"], 0)
        late = p.tell(LATE, n=1, ms=700)
        eventually(lambda: sessions(p.node)[p.session]["messages"] >= 3, "it is there")
        first, asks = p.session, []
        p.abort()
        detached(p.node, first)
        for name in ("pb", "pc"):
            asks.append(Player(house[name]))
            asks[-1].send({"resume": {"token": p.token, "seen": p.seen}})
            time.sleep(0.1)
        equal(asks[0].read(), {"close": 1013, "reason": "the session is moving"})
        answer = asks[1].read()["hello"]
        equal(answer["recovered"], True)
        equal(asks[1].answer(late)["data"]["n"], 1)
        there("pc", "leo", away=False)
        for each in asks:
            each.close()
        p.token = answer["token"]
        equal(p.resume(house["pa"])["recovered"], True)
        equal(p.answer(late)["data"]["n"], 1)  # nobody has said that it was seen


class Nomad(Player):
    """Sends again what was not heard, and keeps what it asked."""

    def __init__(self, node):
        super().__init__(node)
        self.sent = []

    def tell(self, number, **data):
        seq = super().tell(number, **data)
        self.sent.append({"id": number, "seq": seq, "data": data})
        return seq

    def closed(self, message):
        if not message or message["close"] != 4001:  # one that it has given up was as fast
            super().closed(message)
        self.again(comes_back(self, self.node)["heard"])

    def again(self, heard):
        check(heard <= len(self.sent), (heard, len(self.sent)))
        for message in self.sent[heard:]:
            self.send(message)


def roam(number, rounds):
    """Breaks off again and again, before or after it is welcome, at any proxy."""
    dice = random.Random(number)
    user, places = f"nomad_{number}", ("pa", "pb", "pc")
    with player(dice.choice(places), Nomad) as p:
        p.hello()
        equal(p.ask(BIND, user=user)["rc"], 0)
        for turn in range(rounds):
            late = [p.tell(LATE, n=turn, ms=dice.randrange(30)) for _ in range(dice.randrange(4))]
            if dice.random() < 0.5:
                equal([p.answer(seq)["data"]["n"] for seq in late], [turn] * len(late))
            time.sleep(dice.choice((0, 0.001, 0.01)))
            (p.abort if dice.random() < 0.5 else p.close)()
            for _ in range(dice.randrange(4)):
                breaks_off(p, dice.choice(places),
                           lambda: time.sleep(dice.choice((0, 0, 0.001, 0.003, 0.01, 0.05))))
            answer = comes_back(p, house[dice.choice(places)])
            check(answer["recovered"], f"{user}, turn {turn}: {answer}")
            p.again(answer["heard"])
        for message in p.sent:
            p.answer(message["seq"])
        equal(sorted(m["seq"] for m in p.got), [m["seq"] for m in p.sent])
        equal(sessions(p.node)[p.session]["user"], user)


@case("clients that break off at any moment, and come back to any proxy, keep their session",
      timeout=600 if LONG else 60)
def roaming():
    nodes()
    several, rounds = (24, 60) if LONG else (6, 6)
    with concurrent.futures.ThreadPoolExecutor(several) as pool:
        for done in [pool.submit(roam, number, rounds) for number in range(several)]:
            done.result()
    eventually(lambda: not any(s["user"].startswith("nomad") for name in ("pa", "pb", "pc")
                               for s in sessions(house[name]).values()), "nothing is left")


@case("another proxy: refusals of the old one, one whose connection still lives, a dead one")
def other_refuses():
    with player() as p:
        p.hello()
        wrong = p.token[:-1] + ("0" if p.token[-1] != "0" else "1")
        q = Player(p.node)
        equal(q.resume(house["pb"], seen=0, token=wrong)["reason"], "unknown token")
        q.close()
        equal(q.resume(house["pb"], seen=0, token="0" * 64)["reason"],
              "the node that had the session is away")
        q.close()
        q.resume(house["pb"], seen=3, token=p.token)
        equal(q.ask(HEARD)["opened"] > 0, True)
        q.close()
    with player() as p:  # the old proxy has not noticed that it broke
        p.hello()
        q = Player(p.node)
        equal(q.resume(house["pb"], seen=0, token=p.token)["recovered"], True)
        equal(p.read()["close"], 4001)
        q.close()
        p.session = None
    late = Node("late", "proxy", **{k: v for k, v in house["pb"].conf.items()
                                    if k in ("modules", "sessions", "module_dirs", "call_timeout")},
                listen=[{"transport": "tcp", "codec": "json", "port": free_port()}])
    link((late, house["route"]))
    late.start()
    wait_linked((house["route"], late))
    p = Player(late)
    p.hello()
    late.kill()
    equal(p.resume(house["pb"])["reason"], "the node that had the session is away")
    equal(p.ask(HEARD)["opened"] > 0, True)
    p.close()


@case("another proxy: as much as may be kept goes along, and what is too much for that says so")
def much():
    with player() as p:
        p.hello()
        for size, to, recovered in ((8000, 120, True), (8000, 300, False)):
            pushes = p.node.metric("obhost_pushes_total")
            p.got.clear()
            p.ask(STREAM, size=size, to=to)
            p.abort()
            eventually(lambda n=pushes + to: p.node.metric("obhost_pushes_total") >= n,
                       "all are there")
            answer = p.resume(house["pb" if p.node.name == "pa" else "pa"])
            equal(answer["recovered"], recovered)
            if recovered:
                equal(p.pushed(to), list(range(to)))
        equal(answer["reason"], "messages lost")
        equal(p.ask(HEARD)["opened"] > 0, True)


OTHERS = [("pomelo", PomeloPlayer), ("framed", FramedPlayer)]


@cases(OTHERS, "{0}: a client goes on where it was, at its proxy and at the other one")
def codec_resumes(_, kind):
    with player(kind=kind) as p:
        answer = p.hello()
        equal((answer["recovered"], answer["heard"]), (False, 0))
        equal(p.ask(JOIN, group="hall")["rc"], 0)
        for turn, name in enumerate(("pa", "pa", "pb", "pa")):
            old, pushes = p.session, p.node.metric("obhost_pushes_total")
            p.ask(STREAM, **{"from": 100 * turn, "to": 100 * turn + 100})
            late = p.tell(LATE, n=turn, ms=200)
            eventually(lambda n=pushes + 100: p.node.metric("obhost_pushes_total") >= n,
                       "all are there")
            p.pushed(100 * turn + 30)
            p.abort()
            detached(p.node, old)
            answer = p.resume(house[name])
            equal((answer["recovered"], answer["heard"]), (True, 1 + 2 * (turn + 1)))
            check(p.session.startswith(name))
            equal(p.pushed(100 * turn + 100), list(range(100 * turn + 100)))
            equal(p.answer(late)["data"]["n"], turn)
        p.send({"seen": p.seen})
        eventually(lambda: p.node.metric("obhost_resume_bytes") == 0, "it has all been seen")
        p.got.clear()
        equal(p.ask(GROUP_STREAM, group="hall", to=20)["ok"], 1)
        equal(p.pushed(20), list(range(20)))
        p.send({"seen": p.seen + 1})
        check(p.read() in (None, {"close": "so many messages were never sent"}))
        p.session = None


@cases(OTHERS, "{0}: who can't have the session back hears why, and goes on with a new one")
def codec_refused(_, kind):
    with player(kind=kind) as p:
        p.hello()
        good, first = p.token, p.session
        p.abort()
        detached(p.node, first)
        for token, reason in (("x" * 64, "unknown token"), (good, None),
                              ("y" * 200, "unknown token")):
            answer = p.resume(seen=0, token=token)
            equal((answer["recovered"], answer.get("reason") or None), (not reason, reason))
            p.abort()
        p.node.http("DELETE", f"/sessions/{first}")
        equal(p.resume(seen=0, token=good)["reason"], "expired")
        check(p.session != first and p.ask(HEARD)["opened"] > 0)
    p = kind(house["off"])
    p.send({"hello": {}})
    answer = p.read()["hello"]
    equal((answer["recovered"], answer["reason"]), (False, "sessions are not kept here"))
    check(not answer.get("token") and p.ask(HEARD)["opened"] > 0)
    p.close()


@case("pomelo, framed: who does not ask sees nothing of it, and is announced at once")
def codec_silent():
    node = nodes()["pa"]
    plain = type("Plain", (FramedPlayer,), {"listener": 3})
    with player() as p:
        p.hello()
        for kind in (PomeloPlayer, plain):
            opened, there = p.ask(HEARD)["opened"], len(sessions(node))
            q = kind(node)
            if kind is plain:
                eventually(lambda n=opened + 1: p.ask(HEARD)["opened"] == n, "it is announced")
                q.packet(1, 1)  # a code as any
                equal(q.read()["data"]["code"], 404)
            else:
                q.package(1, b'{"sys":{},"user":{"resume":true}}')
                equal(q.packet(), (1, b'{"code":200,"sys":{}}'))
                equal(p.ask(HEARD)["opened"], opened + 1)
                q.package(2)
            check(q.ask(HEARD)["opened"] == opened + 1)
            q.abort()
            eventually(lambda n=there: len(sessions(node)) == n, "it is gone at once")


@case("a drained proxy sends its clients to the other one, where they go on")
def drained():
    with player("pb") as p:
        p.hello()
        old = p.node
        pushes = old.metric("obhost_pushes_total")
        p.ask(STREAM, to=20)
        p.pushed(10)
        eventually(lambda: old.metric("obhost_pushes_total") >= pushes + 20, "all are there")
        answer = old.http("POST", "/drain", {"pace": 1000})
        check(answer.status in (200, 202), answer)
        detached(old, p.session)
        p.abort()  # it has read ten of them
        equal(p.resume(house["pa"])["recovered"], True)
        equal(p.pushed(20), list(range(20)))
        for session in sessions(old):  # of other cases; it would wait for them
            old.http("DELETE", f"/sessions/{session}")
        eventually(lambda: old.get("/drain")["status"] == "drained", "nothing is left")


if __name__ == "__main__":
    main(all_ended)
