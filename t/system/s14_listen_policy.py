#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Plugins that listen, and plugins that choose: a port of a module's own is never shut while its
code is replaced, and who chooses the node of a role can be replaced while messages flow."""

import contextlib
import json
import socket
import threading
import time

from obtest import sources
from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import Node, all_ended, free_port, link, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.seed import Client, Stream
from obtest.tap import case, check, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}

house = {}


def plugins():
    if "plugins" not in house:
        house["plugins"] = PluginDir()
    return house["plugins"]


def dirs():
    return [str(plugins()), MODULES, EXAMPLES]


def reload_until_taken(node, name, **more):
    """Old generations may still be draining: then a little later."""
    def taken():
        answer = node.http("POST", "/modules/reload", {"name": name, **more})
        check(answer.status in (200, 409), repr(answer))
        return answer.status == 200
    eventually(taken, f"the reload of {name}", pause=0.005)


def settle(node):
    eventually(lambda: not any(entry["old"] for entry in node.get("/modules")["modules"]),
               "the old generations gone")


# ---------------------------------------------------------------- listening

LISTENER = """
#include <obhost/obhost.h>

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i, s:I}", "code", 200, "v", V, "n",
		      ob_req_int(ctx, req, "n", -1));
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const char *const keys[] = {"port", "second"};
	int rc = ob_on_id(ctx, 6801, answer);

	for (int i = 0; rc == 0 && i < PORTS; i++) {
		ob_listen_options o = {
			.size = sizeof(o),
			.transport = "ws",
			.codec = "obespoir",
			.port = (uint16_t)json_integer_value(json_object_get(conf, keys[i])),
		};
		rc = ob_listen(ctx, &o);
	}
	return rc;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def listener(version, ports=1):
    plugins().build("gate", LISTENER, V=version, PORTS=ports)


def the_node():
    """Its only client port is the plugin's."""
    if "node" not in house:
        listener(1)
        port, second = free_port(), free_port()
        house["port"], house["second"] = port, second
        house["node"] = Node("gate", rpc=None, module_dirs=dirs(), reload={
            "drain": 5, "probation": 0}, modules=[
                "service", ADMIN, "codec_obespoir",
                {"name": "gate", "conf": {"port": port, "second": second}}]).start()
    return house["node"]


def listeners(node):
    return {(one["module"], one["address"]) for one in node.get("/node")["listeners"]}


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5 * SLOW).close()
    except ConnectionRefusedError:
        return True
    return False


@case("a plugin listens on a port of its own")
def listens():
    node = the_node()
    equal(listeners(node), {("gate", f"127.0.0.1:{house['port']}")})
    with Client(house["port"]) as client:
        equal(client.ask(6801, {"n": 5}), {"code": 200, "v": 1, "n": 5})
        equal(client.close(), 1000)


class Callers:
    """Threads that connect, ask, and go, again and again."""

    def __init__(self, port, threads):
        self.port = port
        self.calls = 0
        self.errors = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for one in self._threads:
            one.start()

    def _run(self):
        while not self._stop.is_set() and not self.errors:
            try:
                with Client(self.port) as client:
                    equal(client.ask(6801, {"n": 1})["n"], 1)
                self.calls += 1
            except Exception as error:  # pylint: disable=broad-except
                self.errors.append(error)

    def finish(self):
        self._stop.set()
        for one in self._threads:
            one.join(30 * SLOW)
        if self.errors:
            raise self.errors[0]
        return self.calls


@case("a storm of newcomers while the plugin is replaced a hundred times: nobody is turned away, "
      "and who stays hears each version", timeout=90)
def storm():
    node = the_node()
    for number in range(1, 5):
        listener(number)
    with Stream(house["port"], 6801, window=16) as stream:
        callers = Callers(house["port"], 4)
        for number in range(100 // SLOW):
            listener(number % 4 + 1)
            reload_until_taken(node, "gate")
            stream.busy()
            time.sleep(0.005)
        calls = callers.finish()
        stream.finish()
    check(calls > 100 // SLOW, f"only {calls} calls")
    check(len(stream.versions) > 20 // SLOW, f"versions {stream.versions}")
    equal(set(stream.codes), {200})
    equal(listeners(node), {("gate", f"127.0.0.1:{house['port']}")})
    settle(node)


@case("a port that another program has: 422 that names it, and nothing else is harmed")
def in_use():
    node = the_node()
    listener(1)
    node.reload("gate", force=True)
    with socket.socket() as other, Client(house["port"]) as client:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", house["second"]))
        other.listen()
        listener(2, ports=2)
        shown = node.reload("gate", status=422)
        equal((shown["error"]["step"], shown["error"]["module"]), ("start", "gate"))
        contains(shown["error"]["message"], f"127.0.0.1:{house['second']}")
        contains(shown["error"]["message"], "in use")
        equal(client.ask(6801)["v"], 1)
        with Client(house["port"]) as newcomer:
            equal(newcomer.ask(6801)["v"], 1)
        other.close()
        node.reload("gate")
        equal(client.ask(6801)["v"], 2)
        with Client(house["second"]) as newcomer:
            equal(newcomer.ask(6801)["v"], 2)
    settle(node)


@case("a listener that the next version does not ask for is closed; its clients stay")
def closed():
    node = the_node()
    listener(3, ports=2)
    reload_until_taken(node, "gate")
    with Client(house["second"]) as client:
        equal(client.ask(6801)["v"], 3)
        listener(4)
        node.reload("gate")
        check(refused(house["second"]), "the port is still open")
        for _ in range(3):
            equal(client.ask(6801)["v"], 4)
        equal(listeners(node), {("gate", f"127.0.0.1:{house['port']}"), ("gate", None)})
        client.close()
    eventually(lambda: len(listeners(node)) == 1, "the listener gone")
    settle(node)


@case("another module may not have the port; with its module it goes, and is free")
def owner():
    node = the_node()
    port = house["port"]
    plugins().build("rival", LISTENER.replace("6801", "6802"), V=9, PORTS=1)
    rival = {"name": "rival", "conf": {"port": port}}
    answer = node.http("POST", "/modules", rival)
    equal(answer.status, 422, repr(answer))
    contains(answer.json["error"]["message"], f"the module gate listens on 127.0.0.1:{port}")
    with Client(port) as client:
        equal(client.ask(6801)["code"], 200)
        equal(node.http("DELETE", "/modules/gate").status, 200)
        check(refused(port), "the port is still open")
        equal(client.ask(6801)["code"], 503)
        equal(node.http("POST", "/modules", rival).status, 200)
        with Client(port) as newcomer:
            equal(newcomer.ask(6802)["v"], 9)
        equal(client.ask(6802)["v"], 9)
    equal(node.http("DELETE", "/modules/rival").status, 200)


@case("a node that drains closes it, and clients go on; stopping says 1001")
def drains():
    listener(1)
    port = free_port()
    node = Node("drain", rpc=None, module_dirs=dirs(), modules=[
        "service", ADMIN, "codec_obespoir", {"name": "gate", "conf": {"port": port}}]).start()
    with Client(port) as client:
        equal(client.ask(6801)["v"], 1)
        equal(node.http("POST", "/drain").status, 202)
        eventually(lambda: refused(port), "the port closed")
        equal(client.ask(6801)["v"], 1)
        node.send_signal(15)
        equal(client.close_code(), 1001)
    equal(node.wait(), 0)


# ---------------------------------------------------------------- choosing

POLICY = """
#include <string.h>

#include <obhost/obhost.h>

/* {"to": NAME} names the node; {"to": "nobody"} none; else the first (V odd) or last. */
static int choose(ob_ctx *ctx, const ob_choice *choice)
{
	json_t *body = choice->view->len > 0 ? json_loadb((const char *)choice->view->data,
							  choice->view->len, 0, NULL) : NULL;
	const char *to = json_string_value(json_object_get(body, "to"));
	int found = V % 2 == 1 ? 0 : (int)choice->len - 1;

	for (size_t i = 0; to && i < choice->len; i++) {
		if (strcmp(choice->candidates[i].name, to) == 0) {
			found = (int)i;
		}
	}
	if (to && strcmp(to, "nobody") == 0) {
		found = OB_E_DENIED;
	}
	if (to && strcmp(to, "beyond") == 0) {
		found = (int)choice->len;
	}
	if (to && strcmp(to, "session") == 0) {
		ob_session_info info = {.size = sizeof(info)};

		found = ob_session_get(ctx, choice->view->session, &info) == 0
				? (int)(info.seq % choice->len) : OB_E_APP;
	}
	json_decref(body);
	return found;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_policy(ctx, "named", choose);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


def policy(version):
    plugins().build("chooser", POLICY, V=version)


def the_cluster():
    """A proxy, and two nodes of one role with a link each."""
    if "cluster" not in house:
        policy(1)
        plugins().build("probe", sources.PROBE)
        plugins().build("holder", sources.HOLDER)
        probe = {"name": "probe", "conf": {"ids": [6001, 6501]}}
        games = [Node(name, "game", module_dirs=dirs(), modules=["service", ADMIN, probe, "holder"])
                 for name in ("game_a", "game_b")]
        proxy = Node("proxy", "proxy", module_dirs=dirs(), modules=["proxy", ADMIN, "chooser"],
                     reload={"drain": 5, "probation": 0},
                     websocket={"no_state": {"range": [[6000, 6499]]}},
                     rpc={"policy": {"game": "named"}, "route": {"range": {"game": [[6000, 6999]]}}})
        link((proxy, games[0]), (proxy, games[1]))
        start_all(*games, proxy)
        wait_linked((proxy, *games))
        house["cluster"] = (proxy, *games)
    return house["cluster"]


@case("a policy routes by the message's content")
def by_content():
    proxy = the_cluster()[0]
    equal(proxy.get("/routes")["policies"],
          {"game": {"policy": "named", "built_in": False, "module": "chooser"}})
    with Client(proxy.ws_port) as client:
        for name in ("game_a", "game_b", "game_b", "game_a") * 5:
            equal(client.ask(6001, {"to": name})["node"], name)


@case("and by the session; one that should stay keeps its node")
def by_session():
    proxy = the_cluster()[0]
    met = set()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(proxy.ws_port)) for _ in range(4)]
        for client in clients:
            first = client.ask(6001, {"to": "session"})
            check(first["session"], first)
            for _ in range(3):
                equal(client.ask(6001, {"to": "session"})["node"], first["node"])
            met.add(first["node"])
        equal(met, {"game_a", "game_b"})
        client = clients[0]
        equal(client.ask(6501, {"to": "game_b"})["node"], "game_b")
        equal(client.ask(6501, {"to": "game_a"})["node"], "game_b")


@case("it may refuse; a choice that makes no sense is counted, and the node chooses")
def refuses():
    proxy = the_cluster()[0]
    with Client(proxy.ws_port) as client:
        equal(client.code(6001, {"to": "nobody"}), 403)
        before = proxy.metric("obhost_policy_failed_total", policy="named")
        for _ in range(6):
            equal(client.code(6001, {"to": "beyond"}), 200)
        equal(proxy.metric("obhost_policy_failed_total", policy="named"), before + 6)
        line = "chooser, generation 1, chose number 2 of 2"
        proxy.says(line)
        equal(proxy.log().count(line), 1)


@case("it is replaced while messages flow: none is lost, each version chooses as it does",
      timeout=90)
def replaced():
    proxy = the_cluster()[0]
    nodes = []
    for number in (1, 2):
        policy(number)
        reload_until_taken(proxy, "chooser", force=True)
        with Client(proxy.ws_port) as client:
            nodes.append(client.ask(6001)["node"])
    equal(sorted(nodes), ["game_a", "game_b"])
    with contextlib.ExitStack() as stack:
        # One at a time: the order of what two nodes answer is nobody's.
        streams = [stack.enter_context(Stream(proxy.ws_port, 6001, window=1)) for _ in range(8)]
        client = stack.enter_context(Client(proxy.ws_port))
        for number in range(40 // SLOW):
            policy(number % 2 + 1)
            reload_until_taken(proxy, "chooser")
            equal(client.ask(6001)["node"], nodes[number % 2])
            for stream in streams:
                stream.busy()
        for stream in streams:
            stream.finish()
            equal(set(stream.codes), {200})
    settle(proxy)


@case("without its module the node chooses itself; taken out of the configuration as well")
def without():
    proxy = the_cluster()[0]
    with Client(proxy.ws_port) as client:
        equal(proxy.http("DELETE", "/modules/chooser").status, 200)
        equal({client.ask(6001, {"to": "game_a"})["node"] for _ in range(6)}, {"game_a", "game_b"})
        equal(proxy.get("/routes")["policies"]["game"]["module"], None)
        equal(proxy.http("POST", "/modules", {"name": "chooser"}).status, 200)
        equal({client.ask(6001, {"to": "game_a"})["node"] for _ in range(6)}, {"game_a"})
        del proxy.conf["rpc"]["policy"]
        proxy.write_conf()
        shown = proxy.http("POST", "/config/reload")
        equal((shown.status, shown.json["needs_restart"]), (200, []), repr(shown))
        equal({client.ask(6001, {"to": "game_a"})["node"] for _ in range(6)}, {"game_a", "game_b"})
        proxy.conf["rpc"]["policy"] = {"game": "a.b"}
        proxy.write_conf()
        shown = proxy.http("POST", "/config/reload")
        equal(shown.status, 422, repr(shown))
        contains(json.dumps(shown.json), "rpc.policy")


@case("a policy that is built in, changed while the node runs: the least busy takes the message")
def built_in():
    proxy = the_cluster()[0]
    with Client(proxy.ws_port) as client:
        for name in ("least_pending", "round_robin", "hash"):
            proxy.conf["rpc"]["policy"] = {"game": name}
            proxy.write_conf()
            shown = proxy.http("POST", "/config/reload")
            equal((shown.status, shown.json["needs_restart"]), (200, []), repr(shown))
            equal(proxy.get("/routes")["policies"],
                  {"game": {"policy": name, "built_in": True, "module": None}})
            if name == "least_pending":
                client.tell(6302, {})  # is never answered
            nodes = {client.ask(6001)["node"] for _ in range(6)}
            equal(len(nodes), 2 if name == "round_robin" else 1, name)


if __name__ == "__main__":
    main(all_ended)
