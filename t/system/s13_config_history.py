#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Kept configurations: which there are, and the way back to one while clients stay connected."""

import hashlib
import signal

from obtest.nodes import Node, all_ended
from obtest.seed import Client
from obtest.tap import case, check, contains, equal, eventually, main

ADMIN = {"name": "http_admin", "admin": True}
PROXY = 0  # its place in the list of modules


def proxy(name, **keys):
    return Node(name, "proxy", modules=[{"name": "proxy", "conf": {}}, ADMIN, "echo"], rpc=None,
                **keys)


def refuse(node, *ranges):
    """What the proxy refuses from now on, taken over; the answer's version."""
    node.conf["modules"][PROXY]["conf"] = {"refuse": [list(pair) for pair in ranges]}
    node.write_conf()
    answer = node.http("POST", "/config/reload")
    equal(answer.status, 200, repr(answer))
    return answer.json["version"]


def versions(node):
    return [entry["version"] for entry in node.get("/config/history")["versions"]]


def rollback(node, **args):
    return node.http("POST", "/config/rollback", args or None)


@case("GET /config/history: number, time, size and hash of each, newest first")
def history():
    node = proxy("history").start()
    refuse(node, (1, 2))
    shown = node.get("/config/history")["versions"]
    equal([entry["version"] for entry in shown], [2, 1])
    data = node.conf_file.read_bytes()
    equal((shown[0]["size"], shown[0]["sha256"]), (len(data), hashlib.sha256(data).hexdigest()))
    check(shown[0]["taken"].endswith("Z"), shown)
    equal((node.state / "conf" / "2.conf").read_bytes(), data)
    equal((node.state / "conf" / "2.conf").stat().st_mode & 0o777, 0o600)
    node.stop()


@case("a mistake is taken back under connected clients, and the file is not touched")
def way_back():
    node = proxy("back").start()
    with Client(node.ws_port) as client:
        equal(client.ask(30000, 5), 5)
        refuse(node, (30000, 30000))  # the mistake
        equal(client.code(30000, b"5"), 403)
        data = node.conf_file.read_bytes()

        answer = rollback(node)
        equal(answer.status, 200, repr(answer))
        equal((answer.json["version"], answer.json["kept_as"], answer.json["changed"]),
              (1, 3, ["modules"]))
        equal(answer.json["file"], str(node.state / "conf" / "1.conf"))
        contains(answer.json["note"], "is as it was")
        equal(client.ask(30000, 6), 6)
        equal(node.conf_file.read_bytes(), data)

        # the file is read again by HUP; a second way back is the way there
        node.send_signal(signal.SIGHUP)
        eventually(lambda: versions(node)[0] == 4, "the file taken over")
        equal(client.code(30000, b"5"), 403)
        equal(rollback(node).status, 200)
        equal(client.ask(30000, 7), 7)
        equal(rollback(node, version=2).status, 200)
        equal(client.code(30000, b"5"), 403)
    node.stop()


@case("ten are kept, over restarts")
def ten():
    node = proxy("ten").start()
    for i in range(8):
        refuse(node, (100 + i, 200))
    node.restart()
    equal(versions(node), list(range(9, 0, -1)))
    for i in range(4):
        refuse(node, (300 + i, 400))
    equal(versions(node), list(range(13, 3, -1)))
    equal(rollback(node, version=3).status, 404)
    equal(rollback(node, version=4).status, 200)
    node.stop()


@case("what can't be returned to is refused, and nothing has changed")
def refused():
    node = proxy("refused").start()
    equal(rollback(node).status, 404)  # there is but one
    refuse(node, (30000, 30000))
    for version, status in ((3, 404), (0, 400), ("x", 400), ("../../etc/passwd", 400)):
        answer = rollback(node, version=version)
        equal(answer.status, status, repr(answer))
        check("error" in answer.json, answer)
    equal(rollback(node, path="/etc/passwd").status, 400)
    equal(node.http("GET", "/config/rollback").status, 405)
    (node.state / "conf" / "1.conf").write_text("{", encoding="utf-8")
    answer = rollback(node)
    equal(answer.status, 422, repr(answer))
    contains(answer.json["error"]["errors"][0], str(node.state / "conf" / "1.conf"))
    with Client(node.ws_port) as client:
        equal(client.code(30000, b"5"), 403)
    equal(versions(node), [2, 1])
    node.stop()


@case("the core's socket speaks the same verbs")
def core_socket():
    node = proxy("socket").start()
    refuse(node, (1, 2))
    status, body = node.admin("config.history")
    equal((status, [entry["version"] for entry in body["versions"]]), (200, [2, 1]))
    status, body = node.admin("config.rollback", version=1)
    equal((status, body["version"]), (200, 1))
    node.stop()


if __name__ == "__main__":
    main(all_ended)
