#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""What comes between two things: a request that waits for its turn, a configuration that changes
while two generations are there, and words of a module or a client that nobody expects."""

import http.client
import json
import signal
import socket

from obtest.env import SLOW
from obtest.nodes import all_ended, free_port
from obtest.swapping import House, Later
from obtest.tap import case, cases, check, contains, equal, eventually, main
from obtest.temp import temp_dir

# Its rehearsal goes on until the file GATE is there; BODY is the rest of its start.
GATED = """
#include <unistd.h>

#include <obhost/obhost.h>

static int start(ob_ctx *ctx, const json_t *conf)
{
	while (ob_rehearsing(ctx) && access(GATE, F_OK) != 0) {
		usleep(1000);
	}
#ifdef PORT
	ob_listen_options door = {
		.size = sizeof(door), .transport = "tcp", .codec = "line", .port = PORT};
	return ob_listen(ctx, &door);
#else
	return 0;
#endif
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def gated(h, name="gated", **defines):
    """The module is being loaded until the file is made that is returned."""
    gate = temp_dir("gate") / "open"
    h.plugins.build(name, GATED, GATE=f'"{gate}"', **defines)
    loading = Later(h.node.http, "POST", "/modules", {"name": name})
    eventually(lambda: any(file.startswith(name) for file in h.staged()), "it begun")
    return gate, loading


@case("a codec is not taken out while a listener that needs it is on its way in")
def codec_that_is_waited_for():
    h = House("codec", crowd=1).start()
    h.load("codec_line")
    gate, loading = gated(h, PORT=free_port())
    unloading = Later(h.node.http, "DELETE", "/modules/codec_line")
    eventually(lambda: h.node.http("GET", "/modules/tx/4").status == 200, "the second waiting")
    gate.touch()
    equal(loading.result().status, 200)
    answer = unloading.result()
    equal((answer.status, answer.json["error"]["code"]), (409, "in_use"), repr(answer))
    h.unload("gated")
    h.unload("codec_line")
    h.node.stop()


@case("who does not wait for a reload does not wait for those before it either")
def no_wait():
    h = House("patient", crowd=1).start()
    gate, loading = gated(h)
    answer = h.node.http("POST", "/modules/reload",
                         {"name": "versioned", "force": True, "wait": "none"})
    equal((answer.status, answer.json["result"]), (202, "running"), repr(answer))
    check(loading.is_alive(), "the first one is over already")
    gate.touch()
    equal(loading.result().status, 200)
    eventually(lambda: h.tx(answer.json["tx"])["result"] == "committed", "its end")
    h.node.stop()


@case("a request for a module that is not there ends no probation")
def nobody():
    h = House("nobody", crowd=1, reload={"probation": 300}).start()
    h.version(2)
    number = h.exchange("versioned")["tx"]
    for method, path, body in (("POST", "/modules/reload", {"names": ["versioned", "verzioned"]}),
                               ("POST", "/modules/verzioned/rollback", None),
                               ("DELETE", "/modules/verzioned", None)):
        answer = h.node.http(method, path, body)
        equal((answer.status, answer.json["error"]["code"]), (404, "unknown_module"), repr(answer))
        equal(h.tx(number)["result"], "switched")
    equal(h.node.http("POST", "/modules/versioned/rollback").json["result"], "returned")
    equal(h.now(), 1)
    h.node.stop()


CONFED = """
#include <obhost/obhost.h>

static json_int_t n;

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i, s:I}", "code", 200, "v", V, "n", n);
}

static void take(const json_t *conf)
{
	n = json_integer_value(json_object_get(conf, "n"));
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	take(conf);
	return ob_on_id(ctx, 6108, answer);
}

static int reconf(ob_ctx *ctx, const json_t *conf, int phase, ob_err *err)
{
	if (phase == OB_RECONF_APPLY) {
		take(conf);
	}
	return 0;
}

OB_MODULE(@NAME@, .version = "1.0.0", .flags = OB_MODULE_PARALLEL, .start = start,
          .reconf = RECONF);
"""


def confed(name, version=1, reconf="reconf", **keys):
    h = House(name, crowd=1, **keys)
    flags = ["-Wno-unused-function"]
    h.plugins.build("confed", CONFED, flags, V=version, RECONF=reconf)
    entry = {"name": "confed", "conf": {"n": 1}}
    h.node.conf["modules"].append(entry)
    h.start()

    def configure(number):
        entry["conf"] = {"n": number}
        h.node.write_conf()

    def build(number, hook):
        h.plugins.build("confed", CONFED, flags, V=number, RECONF=hook)

    def now():
        answer = h.crowd[0].ask(6108)
        return answer["v"], answer["n"]
    return h, configure, build, now


@case("HUP while a configuration waits for a module: the file is read again after that")
def hup_twice():
    h, configure, _, now = confed("hup", reconf="0")
    gate, loading = gated(h)
    for number in (2, 3):
        seen = len(h.node.log())
        configure(number)
        h.node.send_signal(signal.SIGHUP)
        if number == 3:
            eventually(lambda s=seen: "read again" in h.node.log()[s:], "the second HUP heard")
        else:
            eventually(lambda: h.node.http("GET", "/modules/tx/3").status == 200, "the first")
    gate.touch()
    equal(loading.result().status, 200)
    eventually(lambda: now() == (1, 3), "the last configuration")
    h.node.stop()


@case("a configuration that comes in a probation stays when the old generation comes back")
def conf_and_return():
    for hook in ("reconf", "0"):
        h, configure, build, now = confed("return" + hook, reconf=hook, reload={"probation": 300})
        build(2, "reconf")
        h.exchange("confed")
        configure(2)
        equal(h.node.http("POST", "/config/reload").status, 200)
        equal(now(), (2, 2))
        equal(h.node.http("POST", "/modules/confed/rollback").json["result"], "returned")
        if hook == "0":  # it can't take it, and says so; the next reload brings it
            eventually(lambda n=h.node: "; reload the configuration" in n.log(), "it says so")
            equal(now(), (1, 1))
            equal(h.node.http("POST", "/config/reload").status, 200)
        equal(now(), (1, 2))
        h.node.stop()


@case("a configuration that comes while a canary is there is the canary's when it takes over")
def conf_and_canary():
    h, configure, build, now = confed("canary", reload={"probation": 300})
    build(2, "reconf")
    h.exchange("confed", canary=1)
    configure(2)
    equal(h.node.http("POST", "/config/reload").status, 200)
    equal(h.node.http("POST", "/modules/confed/commit").status, 200)
    equal(now(), (2, 2))
    h.node.stop()


STALLS = """
#include <unistd.h>

#include <obhost/obhost.h>

static void nothing(void *arg)
{
}

static void long_one(ob_ctx *ctx, void *arg)
{
	usleep(V * 1000);
}

static void ask(ob_ctx *ctx, ob_req req)
{
	if (ob_req_int(ctx, req, "job", 0) != 0) {
		ob_job(ctx, nothing, long_one, NULL);
	} else {
		ob_post(ctx, long_one, NULL);
	}
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6109, ask);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("a stall in what a job or a post calls back counts against the new generation")
def stalls():
    h = House("stalls", crowd=1, reload={"probation": 300, "stall": 0.3 * SLOW})
    h.plugins.build("stalling", STALLS, V=1)
    h.node.conf["modules"].append("stalling")
    h.start()
    for job in (0, 1):
        h.plugins.build("stalling", STALLS, V=int(600 * SLOW) + job)
        number = h.exchange("stalling")["tx"]
        h.crowd[0].ask(6109, {"job": job})
        eventually(lambda n=number: h.tx(n)["result"] == "returned", "the return")
        contains(h.tx(number)["why"], "held the loop")
    h.node.stop()


WORDS = """
#include <obhost/obhost.h>

static int check(const json_t *conf, ob_err *err)
{
	return json_object_get(conf, "bad") ? ob_err_set(err, "no \\xff") : 0;
}

OB_MODULE(@NAME@, .version = "1.\\xff", .check = check);
"""


@case("a version or an error that is not UTF-8 hides nothing")
def odd_words():
    h = House("words", crowd=1)
    h.plugins.build("words", WORDS)
    entry = {"name": "words", "conf": {}}
    h.node.conf["modules"].append(entry)
    h.start()
    equal(h.module("words")["active"]["version"], "1.?")
    answer = h.exchange("words", force=True)
    equal([entry["name"] for entry in answer["modules"]], ["words"])
    entry["conf"] = {"bad": 1}
    h.node.write_conf()
    answer = h.node.http("POST", "/config/reload")
    equal(answer.status, 422)
    contains(answer.json["error"]["errors"][0], "no ?")
    h.node.stop()


@case("a descriptor whose strings lead nowhere crashes its rehearsal, not the node")
def odd_descriptor():
    h = House("descriptor", crowd=1).start()
    h.plugins.build("odd", """
#include <obhost/obhost.h>

OB_MODULE(@NAME@, .version = (const char *)8);
""")
    answer = h.node.http("POST", "/modules", {"name": "odd"})
    equal((answer.status, answer.json["error"]["step"]), (422, "probe"), repr(answer))
    h.everybody()
    h.node.stop()


@case("who ends his side of the admin socket gets the answers he is owed")
def half_closed():
    h = House("half", crowd=1).start()
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20 * SLOW)
        link.connect(str(h.node.admin_path))
        verb = {"verb": "modules.reload", "args": {"name": "versioned", "force": True}}
        link.sendall(2 * (json.dumps(verb) + "\n").encode())
        link.shutdown(socket.SHUT_WR)
        lines = link.makefile().read().splitlines()
    equal([json.loads(line)["status"] for line in lines], [200, 200])
    h.node.stop()


# Behaves in its rehearsal, and only there.  Says V, as the module it replaces.
TWO_FACED = """
#include <stdlib.h>
#include <unistd.h>

#include <obhost/obhost.h>

#define MADE   1
#define CHECK  2
#define START  3
#define TEST   4
#define UNMADE 5

#ifndef GATE
#define GATE "/nonexistent/gate"
#endif

static void misbehave(int place)
{
	while (PLACE == place && getenv("OBHOST_PROBE") == NULL && access(GATE, F_OK) != 0) {
		WHAT;
	}
}

__attribute__((destructor)) static void unmade(void)
{
	misbehave(UNMADE);
}

__attribute__((constructor)) static void made(void)
{
	misbehave(MADE);
}

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "v", V);
}

static int check(const json_t *conf, ob_err *err)
{
	misbehave(CHECK);
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	misbehave(START);
	return ob_on_id(ctx, 6001, answer);
}

static int selftest(ob_ctx *ctx)
{
	misbehave(TEST);
	return 0;
}

OB_MODULE(@NAME@, .version = "1.0.0", .check = check, .start = start, .selftest = selftest);
"""


@cases((("constructor", 300), ("check", 300), ("start", 0), ("selftest", 0)),
       "a build that crashes the node in its {0} is in quarantine at the next start, and the last "
       "good one is there, with a probation of {1} s")
def crashes_early(place, probation):
    h = House("early", crowd=1, reload={"probation": probation}).start()
    h.exchange("versioned", force=True)
    if probation:
        equal(h.node.http("POST", "/modules/versioned/commit").status, 200)
    h.settle()
    number = ("constructor", "check", "start", "selftest").index(place) + 1
    what = "__builtin_trap()" if place == "constructor" else "abort()"
    h.plugins.build("versioned", TWO_FACED, V=2, PLACE=number, WHAT=what)
    try:
        h.node.http("POST", "/modules/reload", {"name": "versioned"})
    except (OSError, http.client.HTTPException):
        pass
    ended = h.node.wait()
    check(ended in (-signal.SIGILL, -signal.SIGABRT, 99), f"status {ended}")
    h.node.complaints.clear()
    h.restart()
    equal(h.now(), 1)
    h.node.says("is in quarantine")
    active = h.module()["active"]
    equal((active["file"], active["disk"]), (str(h.plugins.file("versioned")), "differs"))
    h.refused("stage", "quarantine")
    h.node.stop()


def hangs(h, place, number=2, **more):
    h.plugins.build("versioned", TWO_FACED, V=number, PLACE=place, WHAT="usleep(10000)", **more)


def told_of_hang(h, answer, step, shown):
    """A 503 that names the module and what to do."""
    equal(answer.status, 503, repr(answer))
    error = answer.json["error"]
    equal((error["code"], error["step"], error["module"]), ("loader", step, "versioned"))
    contains(error["remedy"], "restart the node")
    loader = h.node.get("/modules")["loader"]
    equal((loader["module"], loader["step"]), ("versioned", shown))


@case("a constructor that does not return: whoever waits is told, clients are served, and the node "
      "ends when it is told to; the next start takes the last good build", timeout=60)
def hangs_at_load():
    h = House("hanging", crowd=3).start()
    h.exchange("versioned", force=True)
    h.settle()
    hangs(h, 1)
    with h.serving():
        first = Later(h.node.http, "POST", "/modules/reload", {"name": "versioned"})
        eventually(lambda: h.node.http("GET", "/modules/tx/3").json.get("step") == "load",
                   "the constructor")
        second = Later(h.node.http, "POST", "/modules/reload", {"name": "echo", "force": True})
        told_of_hang(h, first.result(), "load", "load")
        told_of_hang(h, second.result(), "admit", "load")
        told_of_hang(h, h.node.http("POST", "/modules", {"name": "codec_line"}), "admit", "load")
        equal(h.tx(3)["error"]["code"], "loader")
    equal(h.now(), 1)
    h.node.stop()
    contains(h.node.log(), "ld.so has not come back from it")
    h.restart()
    equal(h.now(), 1)
    h.refused("stage", "quarantine")
    h.node.stop()


@case("a destructor that does not return keeps nobody out once it has returned after all",
      timeout=60)
def hangs_at_close():
    h = House("late", crowd=1).start()
    gate = temp_dir("gate") / "open"
    hangs(h, 5, GATE=f'"{gate}"')
    h.exchange("versioned")
    h.version(3)
    number = h.exchange("versioned")["tx"]
    eventually(lambda: "loader" in h.node.get("/modules"), "the node notices", 20)
    told_of_hang(h, h.node.http("POST", "/modules/reload", {"name": "echo"}), "admit", "close")
    equal((h.now(), h.tx(number)["step"]), (3, "close"))
    gate.touch()
    eventually(lambda: "loader" not in h.node.get("/modules"), "the node notices")
    h.settle()
    h.version(4)
    h.exchange("versioned")
    equal(h.now(), 4)
    h.node.stop()


@case("TERM in a long rehearsal: whoever waits is told, and the node ends at once")
def term_in_rehearsal():
    h = House("hurried", crowd=1, reload={"probe": 600}).start()
    _, loading = gated(h)
    waiting = Later(h.node.http, "POST", "/modules/reload", {"name": "versioned", "force": True})
    eventually(lambda: h.node.http("GET", "/modules/tx/3").status == 200, "the second waiting")
    h.node.stop()
    for answer in (loading.result(), waiting.result()):
        equal((answer.status, answer.json["error"]["code"]), (503, "stopping"), repr(answer))


HOLDS = """
#include <obhost/obhost.h>

static void hold(ob_ctx *ctx, ob_req req)
{
	ob_request_hold(ctx, req);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_http(ctx, "GET", "/held", hold, 0);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("TERM: an HTTP request that is held gets its 503, not only the end of its connection")
def term_while_held():
    h = House("holding", crowd=1)
    h.plugins.build("holds", HOLDS)
    h.node.conf["modules"].append("holds")
    h.start()
    held = Later(h.node.http, "GET", "/held")
    eventually(lambda: h.module("holds")["active"]["in_flight"] == 1, "the request")
    h.node.stop()
    equal(held.result().status, 503)


KEEPS = """
#include <obhost/obhost.h>

static void answer(ob_ctx *ctx, ob_req req)
{
	size_t len;
	const char *kept = ob_kv_get(ctx, "k", &len);

	ob_reply_json(ctx, req, "{s:i, s:i, s:s}", "code", 200, "v", V, "kept", kept ? kept : "");
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 6111, answer);
}

static void live(ob_ctx *ctx)
{
	if (V == 1) {
		ob_kv_set(ctx, "k", "old", 4);
	}
}

static int save(ob_ctx *ctx, ob_writer *writer, uint32_t version)
{
	return ob_section_write(ctx, writer, 1, 0, "x", 1);
}

static int load(ob_ctx *ctx, ob_reader *reader, uint32_t version)
{
	int rc = ob_kv_set(ctx, "k", "new", 4);

	return rc == OB_E_STATE && ob_kv_del(ctx, "k") == OB_E_STATE && !ob_rehearsing(ctx)
	               ? OB_E_BAD
	               : rc == OB_E_STATE ? 0 : OB_E_LIMIT;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .live = live, .save = save, .load = load,
          .state_write = V, .state_read_min = 1);
"""


@case("a load that is refused has changed no key; it is not let, in its rehearsal either")
def keys_in_load():
    h = House("keys", crowd=1)
    h.plugins.build("keeps", KEEPS, V=1)
    h.node.conf["modules"].append("keeps")
    h.start()
    h.plugins.build("keeps", KEEPS, V=2)
    h.refused("state", "load", "keeps")
    answer = h.crowd[0].ask(6111)
    equal((answer["v"], answer["kept"]), (1, "old"))
    h.node.stop()


@case("what the configuration says of a module holds when it is taken out and put back")
def put_back():
    h, _, _, now = confed("back")
    h.unload("confed")
    h.load("confed")
    equal(now(), (1, 1))
    h.unload("confed")
    h.load("confed", conf={"n": 5})
    equal(now(), (1, 5))
    h.unload("http_admin")
    equal(h.node.http("GET", "/modules").status, 404)
    equal(h.node.admin("modules.load", name="http_admin")[0], 200)
    check(h.module("http_admin")["admin"], "it is no administrator")
    h.node.stop()


POSTS = """
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <obhost/obhost.h>

static pthread_t thread;
static atomic_int quit;
static atomic_int taken;
static int came;
static ob_ctx *own;

static void count(ob_ctx *ctx, void *arg)
{
	came++;
}

static void *run(void *arg)
{
	while (!quit) {
		taken += ob_post(own, count, NULL) == 0;
		usleep(20);
	}
	return NULL;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_post(ctx, count, NULL) == OB_E_STATE ? 0 : OB_E_LIMIT;
}

static void live(ob_ctx *ctx)
{
	own = ctx;
	quit = pthread_create(&thread, NULL, run, NULL) != 0;
}

static void stop(ob_ctx *ctx)
{
	if (own != NULL) {
		quit = 1;
		pthread_join(thread, NULL);
		fprintf(stderr, "posts taken %d, lost %d\\n", taken, taken - came);
	}
}

OB_MODULE(@NAME@, .version = V, .start = start, .live = live, .stop = stop);
"""


@case("a post that was taken is run before its generation is stopped, from a thread that posts "
      "without end too")
def posts():
    h = House("posting", crowd=1)
    flags = ["-pthread"]
    h.plugins.build("posts", POSTS, flags, V='"1"')
    h.node.conf["modules"].append("posts")
    h.start()
    for number in range(2, 8):
        h.plugins.build("posts", POSTS, flags, V=f'"{number}"')
        h.exchange("posts")
        h.settle("posts")
    h.node.says("posts taken", times=6)
    lines = [line for line in h.node.log().splitlines() if line.startswith("posts taken")]
    equal(len(lines), 6)
    for line in lines:
        check(line.endswith("lost 0"), line)
    h.node.stop()


ODD_CODE = """
#include <stdbool.h>

#include <obhost/obhost.h>

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_rehearsing(ctx) == REHEARSED ? 5 : 0;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("a hook that returns a number above 0 is told that this is no code")
def odd_code():
    h = House("odd", crowd=1).start()
    for rehearsed, step in (("true", "probe"), ("false", "start")):
        h.plugins.build("odd", ODD_CODE, REHEARSED=rehearsed)
        answer = h.node.http("POST", "/modules", {"name": "odd"})
        equal((answer.status, answer.json["error"]["step"]), (422, step), repr(answer))
        contains(answer.json["error"]["message"], "returned 5, which is no code")
    h.node.stop()


@cases((("flags", ".flags = 64"), ("state", ".state_write = 1, .state_read_min = 2")),
       "a descriptor that makes no sense is refused in so many words: {0}")
def descriptor(what, fields):
    h = House("fields", crowd=1).start()
    h.plugins.build("fields", f"""
#include <obhost/obhost.h>

OB_MODULE(@NAME@, .version = "1.0.0", {fields});
""")
    answer = h.node.http("POST", "/modules", {"name": "fields"})
    error = answer.json["error"]
    equal((answer.status, error["code"]), (422, "descriptor"), repr(answer))
    contains(error["message"], "flags" if what == "flags" else "reads none before 2")
    h.node.stop()


KEEPS_POINTER = """
#include <obhost/obhost.h>

static void live(ob_ctx *ctx)
{
	void (*pointer)(ob_ctx *ctx) = live;
	char spare[64] = "";

	ob_kv_set(ctx, "a", spare, sizeof(spare));
	ob_kv_set(ctx, "pointer", KEPT, sizeof(pointer));
}

OB_MODULE(@NAME@, .version = V, .live = live);
"""


@case("a key whose value points into a module keeps that mapped, as a block of ob_state does")
def pointer_in_key():
    h = House("pointer", crowd=1).start()
    h.plugins.build("points", KEEPS_POINTER, V='"1"', KEPT="&pointer")
    h.load("points")
    h.plugins.build("points", KEEPS_POINTER, ["-Wno-unused-variable"], V='"2"', KEPT="spare")
    h.exchange("points")
    h.settle("points")  # the new one has overwritten it
    h.plugins.build("points", KEEPS_POINTER, V='"3"', KEPT="&pointer")
    h.exchange("points")
    h.plugins.build("points", KEEPS_POINTER.replace("ob_kv_set", "(void)spare; //"),
                    ["-Wno-unused-but-set-variable", "-Wno-unused-variable"], V='"4"', KEPT="0")
    h.exchange("points")
    eventually(lambda: [old["state"] for old in h.module("points")["old"]] == ["zombie"], "it")
    contains(h.module("points")["old"][0]["why"], 'its key "pointer" holds a pointer')
    h.node.stop()


RESIDENT = """
#include <obhost/obhost.h>

OB_MODULE(@NAME@, .version = V, .flags = OB_MODULE_RESIDENT);
"""


@case("with as many zombies as may be, modules can be taken out, and others put in")
def full_of_zombies():
    h = House("zombies", crowd=1).start()
    for number in range(9):
        h.plugins.build("stays", RESIDENT, V=f'"{number}"')
        if number == 0:
            h.load("stays")
        else:
            h.exchange("stays")
    zombies = lambda: sum(old["state"] == "zombie"  # noqa: E731
                          for old in (h.module("stays") or {"old": []})["old"])
    eventually(lambda: zombies() == 8, "the zombies")
    answer = h.node.http("POST", "/modules/reload", {"name": "versioned", "force": True})
    equal((answer.status, answer.json["error"]["code"]), (409, "zombies"), repr(answer))
    h.unload("stays")
    eventually(lambda: zombies() == 9, "the last one")
    answer = h.node.http("POST", "/modules", {"name": "stays"})
    equal((answer.status, answer.json["error"]["code"]), (409, "zombies"), repr(answer))
    h.load("codec_line")
    h.node.stop()


if __name__ == "__main__":
    main(all_ended, timeout=300)
