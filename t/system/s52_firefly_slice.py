#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The example firefly_slice: its three nodes with their own configurations, but for ports, and a
client that speaks 17-byte headers. What players have is there again, whatever happens meanwhile."""

import contextlib
import importlib.util
import json
import os
import re
import socket
import struct
import threading

from obtest.env import SLOW, TOP
from obtest.nodes import Node, all_ended, free_port, start_all, wait_linked
from obtest.plugin import PluginDir
from obtest.tap import Failed, case, check, contains, equal, eventually, main
from obtest.temp import temp_dir

FOLDER = f"{TOP}/examples/firefly_slice"

# The seed's own packet, and its answer as it was captured.
LOGIN = bytes.fromhex("4e25263009000000000000002e000000657b2270617373776f7264223a226368656e656522"
                      "2c22757365726e616d65223a226368656e6565227d0a")
ANSWER_HEAD = bytes.fromhex("4e25263009000000000000005700000065")
ANSWER = (b'{"data": {"userId": 1915, "characterId": 1000001, "hasRole": true}, "result": true}')

# Gives the session another user, as no gate should.
REBIND = """
#include <obhost/obhost.h>

static void bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	ob_reply_json(ctx, (ob_req)(uintptr_t)arg, "{s:b}", "result", res->code == OB_OK);
}

static void rebind(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_request_hold(ctx, req);
	ob_session_bind(ctx, view.session, ob_req_str(ctx, req, "user"), bound,
			(void *)(uintptr_t)req);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 199, rebind);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

_spec = importlib.util.spec_from_file_location("play", f"{FOLDER}/play.py")
play = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(play)


def configuration(name):
    """The example's own file, as JSON."""
    with open(f"{FOLDER}/{name}.conf", encoding="utf-8") as file:
        return json.loads(re.sub(r"(?m)^\s*//.*$", "", file.read()))


def node_of(name, data, **more):
    conf = configuration(name)
    for module in conf["modules"]:
        if isinstance(module, dict) and "data" in module.get("conf", {}):
            module["conf"].update(data=data, **more)
    node = Node(conf["name"], conf["type"], modules=conf["modules"], websocket=None,
                sessions=conf.get("sessions", {}), listen=conf.get("listen"),
                rpc={"route": conf["rpc"].get("route")}, call_timeout=10)
    for entry in node.conf.get("listen") or []:
        entry["port"] = free_port()
        entry["limits"] = {}
    return node


class Slice:
    def __init__(self, **game):
        self.data = str(temp_dir("data"))
        self.gate = node_of("gate", self.data)
        self.game = node_of("game", self.data, **{"save_every": 0.1, **game})
        self.net = node_of("net", self.data)
        self.gate.conf["sessions"] = {"bind_timeout": 2}
        for node in (self.game, self.net):
            node.conf["remote_ports"] = [
                {"host": "127.0.0.1", "port": self.gate.rpc_port, "type": "route"}]
        self.players = []

    def __enter__(self):
        start_all(self.gate, self.game, self.net)
        self.linked()
        return self

    def linked(self):
        wait_linked((self.gate, self.game, self.net))

    def __exit__(self, *_):
        for player in self.players:
            player.socket.close()
        for node in (self.net, self.game, self.gate):
            node.stop()

    @property
    def port(self):
        return self.net.conf["listen"][0]["port"]

    def player(self):
        player = play.Player("127.0.0.1", self.port, 15 * SLOW)
        self.players.append(player)
        return player

    def login(self, user="chenee", password="chenee"):
        player = self.player()
        return player, player.ask(101, username=user, password=password)

    def enter(self, user="chenee"):
        """A player in the game, with a role made if there is none; what 103 has answered."""
        player, answer = self.login(user, user)
        check(answer["result"], answer)
        if not answer["data"]["hasRole"]:
            equal(player.ask(102, rolename=user, profession=1)["result"], True)
        return player, good(player.ask(103))

    def kept(self, character=1000001):
        """The character's file, or {}."""
        try:
            with open(f"{self.data}/characters/{character}.json", encoding="utf-8") as file:
                return json.load(file)
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def break_store(self):
        """No character can be saved any more, not even by root."""
        os.rename(f"{self.data}/characters", f"{self.data}/away")
        with open(f"{self.data}/characters", "w", encoding="ascii"):
            pass

    def mend_store(self):
        os.unlink(f"{self.data}/characters")
        os.rename(f"{self.data}/away", f"{self.data}/characters")


def unsaved(s, points):
    """A player with points that are not on the disk, though his character is."""
    player, _ = s.enter()
    eventually(s.kept, "a new character on the disk")
    equal(good(player.ask(603, points=points))["score"], points)
    equal(s.kept()["score"], 0)
    return player


def good(answer):
    check(answer["result"] is True, answer)
    return answer["data"]


def leave(player):
    player.file.close()
    player.socket.close()


@case("the seed's login packet gets the seed's answer, byte for byte", timeout=60)
def seed():
    with Slice() as s:
        leave(s.enter()[0])
        with contextlib.closing(socket.create_connection(("127.0.0.1", s.port), 10)) as link:
            link.settimeout(10 * SLOW)
            for part in (LOGIN[:5], LOGIN[5:20], LOGIN[20:]):
                link.sendall(part)
            got = b""
            while len(got) < 100:
                data = link.recv(1000)
                check(data, got)
                got += data
        equal(got, ANSWER_HEAD + ANSWER)


@case("login, role, enter, play, go, and come back: it is all there", timeout=60)
def comes_back():
    with Slice() as s:
        player, answer = s.login()
        equal(answer, {"data": {"userId": 1915, "characterId": 1000001, "hasRole": False},
                       "result": True})
        contains(player.ask(103)["message"], "no role")
        contains(player.ask(602, x=1, y=1)["message"], "enter first")
        equal(player.ask(102, rolename="Chenee", profession=1),
              {"data": {"userId": 1915, "newCharacterId": 1000001}, "result": True})
        contains(player.ask(102, rolename="Other", profession=1)["message"], "already")
        equal(good(player.ask(103)), {"characterId": 1000001, "name": "Chenee", "x": 0, "y": 0,
                                      "score": 0})
        equal(good(player.ask(602, x=3, y=-4))["y"], -4)
        equal(good(player.ask(603, points=10))["score"], 10)
        leave(player)
        player, answer = s.login()
        equal(answer["data"]["hasRole"], True)
        equal(good(player.ask(103)), {"characterId": 1000001, "name": "Chenee", "x": 3, "y": -4,
                                      "score": 10})
        _, other = s.login("bob", "bob")
        equal(other["data"], {"userId": 1916, "characterId": 1000002, "hasRole": False})


@case("a wrong password, no login, and what makes no sense are refused", timeout=60)
def refused():
    with Slice() as s:
        s.enter()
        for user, password in (("chenee", "wrong"), ("../chenee", "x"), ("", "x"), ("x", ""), ("dan", "dan")):
            player, answer = s.login(user, password)
            equal(answer["result"], False)
            check(answer["message"], answer)
            contains(player.ask(102, rolename="x", profession=1)["message"], "log in first")
            contains(player.ask(103)["message"], "log in first")
        player, _ = s.enter("ann")
        for body in ({}, {"x": 1}, {"x": 1, "y": 1 << 40}, {"x": "1", "y": "1"}):
            equal(player.ask(602, **body)["result"], False)
        for points in (0, -1, 1001, "5"):
            equal(player.ask(603, points=points)["result"], False)
        equal(good(player.ask(604))["score"], 0)


@case("a second login of one client is refused; whoever goes then can come back", timeout=60)
def second_login():
    with Slice(save_every=3600) as s:
        player = unsaved(s, 5)
        for user in ("bob", "chenee"):
            answer = player.ask(101, username=user, password=user)
            equal((answer["result"], answer["message"]), (False, "logged in already"))
        equal(good(player.ask(603, points=1))["score"], 6)
        leave(player)
        equal(s.enter()[1]["score"], 6)


@case("a session that another user takes over while he plays: his character is saved, too", timeout=60)
def other_user():
    plugins = PluginDir()
    plugins.build("rebind", REBIND)
    a_slice = Slice(save_every=3600)
    a_slice.gate.conf["modules"].append("rebind")
    a_slice.gate.conf["module_dirs"].append(str(plugins))
    with a_slice as s:
        player = unsaved(s, 5)
        equal(player.ask(199, user="bob"), {"result": True})
        leave(player)
        eventually(lambda: s.kept()["score"] == 5, "5 points on the disk")
        equal(s.enter()[1]["score"], 5)


@case("a login elsewhere replaces the player, who is told by 905, and has what he had", timeout=60)
def replaced():
    with Slice(save_every=3600) as s:
        first = unsaved(s, 100)
        for _ in range(4):
            good(first.ask(603, points=100))
        second, data = s.enter()
        equal(data["score"], 500)
        command, body = first.receive()
        equal((command, body), (905, {"reason": "replaced"}))
        try:
            first.receive()
            raise Failed("the first player is still there")
        except EOFError:
            pass
        equal(good(second.ask(604))["score"], 500)


@case("the game node is killed: what was saved is there, and the player enters again", timeout=90)
def killed():
    with Slice() as s:
        player, _ = s.enter()
        good(player.ask(603, points=7))
        eventually(lambda: s.kept().get("score") == 7, "7 points on the disk")
        s.game.kill()
        s.game.start()
        s.linked()
        eventually(lambda: player.ask(604).get("message") == "enter first", "an answer")
        equal(good(player.ask(103))["score"], 7)
        equal(good(player.ask(603, points=1))["score"], 8)
        leave(player)
        equal(s.enter()[1]["score"], 8)


@case("the game node stops, and starts: nothing is lost", timeout=90)
def restarted():
    with Slice(save_every=3600) as s:
        player = unsaved(s, 7)
        s.game.restart()
        s.linked()
        equal(s.kept()["score"], 7)
        eventually(lambda: player.ask(604).get("message") == "enter first", "an answer")
        equal(good(player.ask(103))["score"], 7)


@case("the net node is killed: its players are saved", timeout=90)
def net_killed():
    with Slice(save_every=3600) as s:
        player = unsaved(s, 9)
        s.net.kill()
        leave(player)
        eventually(lambda: s.kept().get("score") == 9, "9 points on the disk", 30)
        s.net.start()
        s.linked()
        equal(s.enter()[1]["score"], 9)


@case("saving fails: the character is kept and locked, and saved when it works again", timeout=90)
def no_saving():
    with Slice(save_every=3600) as s:
        player = unsaved(s, 5)
        s.break_store()
        leave(player)
        eventually(lambda: s.game.metric("obhost_module_characters_not_saved_total") >= 2,
                   "saves that fail")
        contains(s.game.log(), "can't be saved")
        _, answer = s.login()
        equal(answer["result"], False)
        s.game.reload("ff_game", force=True)
        failed = s.game.metric("obhost_module_characters_not_saved_total")
        eventually(lambda: s.game.metric("obhost_module_characters_not_saved_total") > failed,
                   "the next generation tries as well", 30)
        s.mend_store()
        eventually(lambda: s.kept().get("score") == 5, "5 points on the disk", 30)
        equal(s.enter()[1]["score"], 5)


@case("the game's code is replaced while somebody plays: no move is lost", timeout=120)
def reloaded():
    with Slice() as s:
        player, _ = s.enter()
        state = {"sent": 0, "bad": []}
        over = threading.Event()

        def run():
            try:
                while not over.is_set():
                    answer = player.ask(603, points=1)
                    state["sent"] += 1
                    if not answer["result"] or answer["data"]["score"] != state["sent"]:
                        state["bad"].append(answer)
            except Exception as error:  # pylint: disable=broad-except
                state["bad"].append(error)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        for _ in range(5):
            before = state["sent"]
            equal(s.game.reload("ff_game", force=True)["result"], "switched")
            eventually(lambda b=before: state["sent"] > b + 20 or state["bad"], "moves")
        over.set()
        thread.join(10 * SLOW)
        equal(state["bad"], [])
        leave(player)
        equal(s.enter()[1]["score"], state["sent"])


if __name__ == "__main__":
    main(all_ended)
