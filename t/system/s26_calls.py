#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Calls between real processes: what `obhost stubs` makes compiles and works; numbered calls while
nodes that answer are killed, frozen and started again, and while modules at both ends are exchanged:
each ends once, by its deadline, and with a key no process does one twice."""

import collections
import json
import os
import signal
import subprocess
import time

from obtest.env import BUILD, CC, CXX, OBHOST, SLOW, node_environment, sdk_cflags
from obtest.nodes import Node, all_ended, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.tap import case, cases, check, comment, contains, equal, eventually, main
from obtest.temp import temp_dir

ADMIN = {"name": "http_admin", "admin": True}
CODES = ["ok", "app", "not_found", "no_route", "busy", "deadline", "not_sent", "maybe_sent", "gone",
         "denied", "too_big", "bad"]
MODES = {"fast": 0, "over": 1, "back": 2, "safe": 3}

LEDGER = {"namespace": "user", "role": "bank", "module": "ledger", "methods": {
    "add": {"args": {"n": "int", "note": "string?"}, "result": {"node": "string", "n": "int"}},
    "ping": {}}}

EVERYTHING = {"namespace": "user", "role": "a-role", "module": "all", "methods": {
    "types": {"args": {"s": "string", "so": "string?", "i": "int", "d": "number", "b": "bool",
                       "j": "json", "jo": "json?"},
              "result": {"s": "string", "so": "string?", "i": "int", "d": "number", "b": "bool",
                         "j": "json", "jo": "json?"}},
    "nothing": {}, "only_args": {"args": {"x": "int"}}, "only_result": {"result": {"x": "int"}}}}

house = {}


# ---------------------------------------------------------------- stubs

def stubs(declaration, *args):
    file = temp_dir("stubs") / "decl.json"
    text = declaration if isinstance(declaration, str) else json.dumps(declaration)
    file.write_text(text, encoding="utf-8")
    return subprocess.run([OBHOST, "stubs", *args, str(file)], env=node_environment(),
                          capture_output=True, text=True, timeout=30 * SLOW, check=False)


USES = """
#include "stubs.h"

static void ended(ob_ctx *ctx, const all_types_result *res, void *arg)
{
	if (res->code == OB_OK && res->b && res->so == NULL && res->d > 0.5 && arg == NULL) {
		ob_log(ctx, OB_LOG_INFO, "%s %d", res->s, (int)res->i);
	}
}

static void types(ob_ctx *ctx, ob_req req)
{
	all_types_args a;

	if (all_types_args_get(ctx, req, &a)) {
		all_types_reply(ctx, req, a.s, a.so, a.i, a.d, a.b, a.j, a.jo);
	}
}

int use(ob_ctx *ctx, const json_t *any);
int use(ob_ctx *ctx, const json_t *any)
{
	return ob_on_method(ctx, all_types_METHOD, types, 0) == 0 &&
	       all_types(ctx, NULL, NULL, "s", NULL, 1, 0.5, true, any, NULL, ended, NULL) != 0;
}
"""


@cases([("C", CC, ["-std=gnu11", "-xc"]), ("C99", CC, ["-std=c99", "-xc"]),
        ("C++", CXX, ["-std=c++11", "-xc++"]), ("C++20", CXX, ["-std=c++20", "-xc++"])],
       "stubs of every type compile as {0} without a warning")
def compile_as(_, compiler, flags):
    made = stubs(EVERYTHING)
    equal((made.returncode, made.stderr), (0, ""))
    folder = temp_dir("compile")
    (folder / "stubs.h").write_text(made.stdout, encoding="utf-8")
    (folder / "use.c").write_text(USES, encoding="utf-8")
    done = subprocess.run(
        [*compiler.split(), *flags, "-Wall", "-Wextra", "-Wshadow", "-Werror", "-fPIC",
         *sdk_cflags(), "-c", str(folder / "use.c"), "-o", str(folder / "use.o")],
        capture_output=True, text=True, check=False, cwd=BUILD)
    equal((done.returncode, done.stdout + done.stderr), (0, ""))


def changed(**keys):
    return {**LEDGER, **keys}


def method(name="add", **keys):
    return changed(methods={name: keys})


WRONG = [
    ("no JSON", "{", "decl.json:1: "),
    ("no object", "[]", "it: must be an object"),
    ("a member twice", '{"role": "a", "role": "b"}', "duplicate"),
    ("an unknown member", changed(methdos={}), '"methdos" is unknown'),
    ("no namespace", changed(namespace=None), "namespace: must be a word"),
    ("the host's own namespace", changed(namespace="sys"), "\"sys\" is the host's"),
    ("a role of two words", changed(role="a b"), "role: must be a word"),
    ("a module that is no name", changed(module="a-b"), "module: must be a word"),
    ("no methods", changed(methods={}), "methods: must be an object with 1 to"),
    ("a keyword of C++", method("delete"), '"delete" can\'t be a name'),
    ("an argument with a blank", method(args={"a b": "int"}), '"a b" can\'t be a name'),
    ("an argument of the frame's own", method(args={"ctx": "int"}), '"ctx" can\'t be a name'),
    ("an unknown type", method(args={"a": "long"}), "a: the types are string, int"),
    ("an unknown part of a method", method(argz={}), 'methods.add: "argz" is unknown'),
    ("arguments that are a list", method(args=["int"]), "methods.add.args: must be an object"),
    ("two methods with a name in common", changed(methods={"add": {}, "add_reply": {}}),
     "add and add_reply would have a name in common"),
]


@cases(WRONG, "stubs refuse: {0}")
def wrong(_, declaration, said):
    made = stubs(declaration)
    equal((made.returncode, made.stdout), (1, ""))
    contains(made.stderr, said)


@case("stubs: into a file; usage")
def usage():
    out = temp_dir("out") / "ledger.h"
    made = stubs(LEDGER, "-o", str(out))
    equal((made.returncode, made.stdout, made.stderr), (0, "", ""))
    contains(out.read_text(encoding="utf-8"), "static inline ob_call_id ledger_add(")
    before = out.read_text(encoding="utf-8")
    equal(stubs(method("for"), "-o", str(out)).returncode, 1)
    equal(out.read_text(encoding="utf-8"), before)
    equal(stubs(LEDGER, "-o", "/no/such/folder/x.h").returncode, 1)
    done = subprocess.run([OBHOST, "stubs"], capture_output=True, text=True, check=False)
    equal(done.returncode, 2)
    contains(done.stderr, "usage: obhost stubs")


# ---------------------------------------------------------------- the two modules

# Notes each run in a file, and answers a little later.
ANSWERS = """
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "ledger.h"

static int fd = -1;

static void later(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_node_info node = {.size = sizeof(node)};

	ob_node(ctx, &node);
	ledger_add_reply(ctx, (ob_req)(uintptr_t)arg, node.name, V);
}

static void add(ob_ctx *ctx, ob_req req)
{
	ledger_add_args args;
	char line[64];

	if (!ledger_add_args_get(ctx, req, &args)) {
		return;
	}
	int len = snprintf(line, sizeof(line), "%ld %lld\\n", (long)getpid(), (long long)args.n);
	if (write(fd, line, (size_t)len) != len || ob_request_hold(ctx, req) != 0 ||
	    !ob_timer_start(ctx, 20, 0, later, (void *)(uintptr_t)req)) {
		ob_fail(ctx, req, OB_E_APP, "can't");
	}
}

static void ping(ob_ctx *ctx, ob_req req)
{
	ledger_ping_reply(ctx, req);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	fd = open(json_string_value(json_object_get(conf, "file")), O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0 && !ob_rehearsing(ctx)) {
		return ob_refuse(ctx, OB_E_INVAL, "no file");
	}
	int rc = ob_on_method(ctx, ledger_add_METHOD, add, 0);
	return rc == 0 ? ob_on_method(ctx, ledger_ping_METHOD, ping, 0) : rc;
}

static void stop(ob_ctx *ctx)
{
	close(fd);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""

# Makes numbered calls at a pace, and counts their ends.
CALLS = """
#include <stdio.h>
#include <string.h>

#include "ledger.h"

#define MOST 60000

struct tally {
	uint32_t count, made, ended, refused, twice, each, version;
	uint32_t deadline, latest;
	int mode, key, all;
	uint32_t codes[16];
	uint8_t ends[MOST];
	uint64_t began[MOST];
};

static struct tally *t;

static void note(ob_ctx *ctx, uint32_t n, int code, int failed)
{
	uint64_t took = ob_now_ms(ctx) - t->began[n];

	t->ended++;
	t->twice += t->ends[n]++ > 0;
	t->codes[code == 0 && failed == 0 ? 0 : -(code != 0 ? code : failed) - 5000]++;
	t->latest = took > t->latest ? (uint32_t)took : t->latest;
}

static void added(ob_ctx *ctx, const ledger_add_result *res, void *arg)
{
	note(ctx, (uint32_t)(uintptr_t)arg, res->code, res->call->failed);
	t->version = (uint32_t)res->n;
}

static void make(ob_ctx *ctx, uint32_t n)
{
	char key[32];
	ob_call_options how;

	memset(&how, 0, sizeof(how));
	how.mode = t->mode;
	how.deadline_ms = t->deadline;
	if (t->key) {
		how.key = key;
		how.key_len = (uint32_t)snprintf(key, sizeof(key), "n%u", n);
	}
	t->began[n] = ob_now_ms(ctx);
	t->refused += ledger_add(ctx, NULL, &how, n, NULL, added, (void *)(uintptr_t)n) == 0;
}

static void tick(ob_ctx *ctx, ob_timer timer, void *arg)
{
	for (uint32_t i = 0; i < t->each && t->made < t->count; i++) {
		make(ctx, t->made++);
	}
}

static void run(ob_ctx *ctx, ob_req req)
{
	memset(t, 0, sizeof(*t));
	t->mode = (int)ob_req_int(ctx, req, "mode", 0);
	t->key = (int)ob_req_int(ctx, req, "key", 0);
	t->deadline = (uint32_t)ob_req_int(ctx, req, "deadline", 1000);
	t->each = (uint32_t)ob_req_int(ctx, req, "each", 1);
	t->count = (uint32_t)ob_req_int(ctx, req, "count", 1);
	ob_reply_json(ctx, req, "{}");
}

static void enough(ob_ctx *ctx, ob_req req)
{
	t->count = t->made;
	ob_reply_json(ctx, req, "{}");
}

static void show(ob_ctx *ctx, ob_req req)
{
	json_t *codes = json_array();

	for (int i = 0; i < 12; i++) {
		json_array_append_new(codes, json_integer(t->codes[i]));
	}
	ob_reply_json(ctx, req, "{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o}", "made", t->made,
		      "ended", t->ended, "refused", t->refused, "twice", t->twice, "latest",
		      t->latest, "version", t->version, "caller", V, "count", t->count, "codes",
		      codes);
}

static void one_more(ob_ctx *ctx, ob_call_id id, const ob_call_result *res, void *arg)
{
	json_t *list = (json_t *)arg;

	json_array_append_new(list, json_pack("[i, i]", res->code, (int)res->left));
}

static json_t *all_results;

static void all(ob_ctx *ctx, ob_req req)
{
	ob_target bank = {.role = ob_role(ctx, "bank"), .flags = OB_TARGET_ALL};
	ob_call_options how = {.size = sizeof(how), .method = ledger_ping_METHOD, .deadline_ms = 1000};

	json_decref(all_results);
	all_results = json_array();
	ob_call_with(ctx, &bank, &how, one_more, all_results);
	ob_reply_json(ctx, req, "{}");
}

static void all_shown(ob_ctx *ctx, ob_req req)
{
	ob_reply_value(ctx, req, json_deep_copy(all_results));
}

static void live(ob_ctx *ctx)
{
	ob_timer_start(ctx, 10, 10, tick, NULL);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	t = (struct tally *)ob_state(ctx, "tally", sizeof(*t), 1);
	int rc = t == NULL ? OB_E_NOMEM : ob_on_http(ctx, "POST", "/run", run, 0);
	rc = rc == 0 ? ob_on_http(ctx, "POST", "/enough", enough, 0) : rc;
	rc = rc == 0 ? ob_on_http(ctx, "POST", "/all", all, 0) : rc;
	rc = rc == 0 ? ob_on_http(ctx, "GET", "/all", all_shown, 0) : rc;
	return rc == 0 ? ob_on_http(ctx, "GET", "/run", show, 0) : rc;
}

static void stop(ob_ctx *ctx)
{
	json_decref(all_results);
	all_results = NULL;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .live = live, .stop = stop);
"""


def build(name, source, version):
    if "header" not in house:
        house["header"] = temp_dir("header")
        made = stubs(LEDGER, "-o", str(house["header"] / "ledger.h"))
        equal(made.returncode, 0, made.stderr)
        house["plugins"] = PluginDir()
    house["plugins"].build(name, source, [f"-I{house['header']}"], V=version)


def the_house():
    """A caller and three banks; each run of a handler is a line in the file."""
    if "caller" not in house:
        build("answers", ANSWERS, 1)
        build("calls", CALLS, 1)
        house["file"] = temp_dir("runs") / "runs"
        house["file"].touch()
        dirs = {"module_dirs": [str(house["plugins"]), *Node("unused").conf["module_dirs"]]}
        house["banks"] = [
            Node(f"bank_{i}", "bank", **dirs, modules=[
                ADMIN, {"name": "answers", "conf": {"file": str(house["file"])}}])
            for i in range(3)]
        house["caller"] = Node("caller", "shop", **dirs, modules=[ADMIN, "calls"])
        for bank in house["banks"]:
            link((house["caller"], bank))
        start_all(house["caller"], *house["banks"])
        wait_linked((house["caller"], *house["banks"]))
    return house["caller"], house["banks"]


def linked_again():
    caller, banks = the_house()
    wait_linked((caller, *banks))


# ---------------------------------------------------------------- numbered calls

def begin(mode, key, each=4, deadline=1500, count=50000):
    house["file"].write_text("", encoding="utf-8")
    house["caller"].http("POST", "/run", {"mode": MODES[mode], "key": int(key), "each": each,
                                          "deadline": deadline, "count": count})
    house["deadline"] = deadline
    eventually(lambda: tally()["ended"] > 20, "calls that end")


def tally():
    return house["caller"].get("/run")


def runs():
    """(process, number) -> how often a handler ran."""
    return collections.Counter(house["file"].read_text(encoding="utf-8").splitlines())


def finish(what, keyed, allowed):
    """No more calls; what came of those that were made."""
    house["caller"].http("POST", "/enough", {})
    made = tally()["made"]
    eventually(lambda: tally()["ended"] == made, "an end for each call")
    time.sleep(0.05)
    end = tally()
    codes = {CODES[i]: n for i, n in enumerate(end["codes"]) if n}
    done = runs()
    again = sum(1 for n in done.values() if n > 1)
    comment(f"{what}: {made} calls, {codes}, the latest after {end['latest']} ms; "
            f"{sum(done.values())} runs, {again} twice in one process")
    equal((end["ended"], end["twice"], end["refused"]), (made, 0, 0))
    check(end["latest"] <= house["deadline"] + 150 * SLOW, f"{end['latest']} ms")
    check(set(codes) <= {"ok", *allowed}, f"{codes}")
    if keyed or "maybe_sent" not in allowed:
        equal(again, 0, "runs of one number in one process")
    return codes


@case("a call to a node of a role, and to all of them, reads like a local one")
def works():
    caller, _ = the_house()
    begin("fast", False)
    finish("undisturbed", False, ())
    caller.http("POST", "/all", {})
    eventually(lambda: len(caller.get("/all")) == 3, "three answers")
    equal(caller.get("/all"), [[0, 2], [0, 1], [0, 0]])
    entry = next(p for p in caller.get("/peers")["peers"] if p["name"] == "bank_0")
    equal(entry["methods"], ["user.bank.ledger.add", "user.bank.ledger.ping"])


KILLED = [
    ("fast", False, ("maybe_sent", "not_sent", "no_route")),
    ("over", False, ("maybe_sent",)),
    ("over", True, ()),
    ("back", True, ()),
    ("safe", False, ("maybe_sent", "not_sent", "no_route")),
]


@cases(KILLED, "kill -9 of each node in turn under numbered calls: mode {0}, key {1}", timeout=90)
def killed(mode, keyed, allowed):
    _, banks = the_house()
    begin(mode, keyed)
    for bank in banks:
        time.sleep(0.15)
        bank.kill()
        time.sleep(0.15)
        bank.start()
        linked_again()
    codes = finish(f"kill, {mode}, key {keyed}", keyed, allowed)
    if allowed:
        check(len(codes) > 1, "nothing was hit")


FROZEN = [
    ("fast", False, ("deadline", "maybe_sent")),
    ("over", True, ("deadline", "maybe_sent")),
    ("back", True, ("deadline", "maybe_sent")),
]


@cases(FROZEN, "SIGSTOP of a node under numbered calls: mode {0}, key {1}", timeout=60)
def frozen(mode, keyed, allowed):
    caller, banks = the_house()
    begin(mode, keyed)
    for bank in banks[:2]:
        os.kill(bank.pid, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(bank.pid, signal.SIGCONT)
        time.sleep(0.2)
    codes = finish(f"stop, {mode}, key {keyed}", keyed, allowed)
    if mode == "over":
        # a try leaves time for one elsewhere
        check("deadline" not in codes, f"{codes}")
    linked_again()
    check(caller.alive(), "the caller ended")


@case("modules at both ends are exchanged with calls in flight: each ends, none is lost", timeout=60)
def swapped():
    caller, banks = the_house()
    begin("fast", False)
    for version in range(2, 6):
        build("answers", ANSWERS, version)
        build("calls", CALLS, version)
        for bank in banks:
            bank.reload("answers")
        caller.reload("calls")
        eventually(lambda v=version: tally()["version"] == v, "answers of the new version")
        equal(tally()["caller"], version)
    finish("both ends exchanged four times", False, ())
    for node in (caller, *banks):
        eventually(lambda n=node: not any(e["old"] for e in n.get("/modules")["modules"]),
                   "the old generations gone")


@case("nothing stays behind at the caller")
def nothing_left():
    caller, _ = the_house()
    eventually(lambda: caller.get("/node")["pending"] == 0, "no call that waits")
    equal(caller.metric("obhost_held_bytes") if "obhost_held_bytes" in caller.metrics() else 0, 0)
    equal(caller.metric("obhost_calls_fail_safe_total") > 0, True)


# ---------------------------------------------------------------- cancelled

# Holds what it gets.
VAULT = """
#include <obhost/obhost.h>

static void keep(ob_ctx *ctx, ob_req req)
{
	if (ob_request_hold(ctx, req) != 0) {
		ob_fail(ctx, req, OB_E_APP, "can't");
	}
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 4000, keep);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# Calls nobody in particular, and thinks better of it.
HASTY = """
#include <obhost/obhost.h>

#define MOST 100

static ob_call_id calls[MOST];
static int len, ends;

static void ended(ob_ctx *ctx, ob_call_id id, const ob_call_result *res, void *arg)
{
	ends++;
}

static void call(ob_ctx *ctx, ob_req req)
{
	const ob_target anybody = {0};

	for (len = 0; len < MOST; len++) {
		calls[len] = ob_call(ctx, &anybody, 4000, 0, "x", 1, 30000, ended, NULL);
	}
	ob_reply_json(ctx, req, "{}");
}

static void forget(ob_ctx *ctx, ob_req req)
{
	int stale = 0;

	while (len > 0) {
		stale += ob_call_cancel(ctx, calls[--len]) != 0;
	}
	ob_reply_json(ctx, req, "{s:i, s:i}", "stale", stale, "ends", ends);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_http(ctx, "POST", "/call", call, 0);

	return rc == 0 ? ob_on_http(ctx, "POST", "/forget", forget, 0) : rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("calls whose nodes a route node has chosen are cancelled there", timeout=60)
def cancelled():
    plugins = PluginDir()
    plugins.build("vault", VAULT)
    plugins.build("hasty", HASTY)
    dirs = {"module_dirs": [str(plugins), *Node("unused").conf["module_dirs"]]}
    route = Node("crossing", "route", modules=["route", ADMIN],
                 rpc={"route": {"range": {"vault": [[4000, 4000]]}}})
    vaults = [Node(f"vault_{i}", "vault", **dirs, modules=[ADMIN, "vault"]) for i in range(2)]
    hasty = Node("hasty", "buyer", **dirs, modules=[ADMIN, "hasty"])
    link((hasty, route), *((vault, route) for vault in vaults))
    start_all(route, hasty, *vaults)
    wait_linked((route, hasty, *vaults))

    def held():
        # the one that asks is none of them
        return [vault.get("/node")["requests"] - 1 for vault in vaults]

    def total(name):
        return sum(int(vault.metric(name)) for vault in vaults)

    hasty.http("POST", "/call", {})
    eventually(lambda: sum(held()) == 100, "handlers that hold all")
    comment(f"held by the two: {held()}")
    check(min(held()) > 0, "one has got none")
    equal(hasty.http("POST", "/forget", {}).json, {"stale": 0, "ends": 0})
    eventually(lambda: total("obhost_requests_cancelled_total") == 100, "an end for each")
    equal(held(), [0, 0])
    equal(route.metric("obhost_cancels_passed_total"), 100)
    for node in (hasty, route, *vaults):
        node.stop()


if __name__ == "__main__":
    main(all_ended)
