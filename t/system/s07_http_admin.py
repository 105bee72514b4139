#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Administration: who may, what each path answers, and the same verbs over the unix socket."""

import hashlib
import json
import re
import socket

from obtest import sources
from obtest.env import EXAMPLES, MODULES
from obtest.nodes import Node, all_ended, free_port, http_request, link, start_all, wait_linked
from obtest.plugin import VERSIONED, PluginDir
from obtest.seed import Client
from obtest.tap import case, cases, check, contains, equal, eventually, main, skip

ADMIN = {"name": "http_admin", "admin": True}
SECRET = "the-token-of-the-operator"
SEED_TOKEN = "helloworldiloveyou~1234567890123"
PAGES = ["/node", "/modules", "/peers", "/sessions", "/routes", "/metrics", "/config",
         "/config/history", "/verbs"]

house = {}


def guarded():
    """A node with a token."""
    if "guarded" not in house:
        house["guarded"] = Node("guarded", modules=["service", ADMIN], rpc=None,
                                http={"token": SECRET}).start()
    return house["guarded"]


def open_node():
    """A node without one: this machine only."""
    if "open" not in house:
        plugins = PluginDir()
        plugins.build("versioned", VERSIONED, V=1)
        plugins.build("probe", sources.PROBE)
        house["plugins"] = plugins
        house["open"] = Node("open", "proxy", modules=["proxy", ADMIN, "echo", "hello_http"],
                             module_dirs=[str(plugins), MODULES, EXAMPLES]).start()
    return house["open"]


def bearer(token=SECRET):
    return {"Authorization": f"Bearer {token}"}


# ---------------------------------------------------------------- who may

@cases([(page,) for page in PAGES], "with a token set, {0} needs it")
def needs_token(page):
    node = guarded()
    equal(node.http("GET", page).status, 401)
    equal(node.http("GET", page).headers["WWW-Authenticate"], "Bearer")
    equal(node.http("GET", page, headers=bearer("the-wrong-token-of-nobody")).status, 401)
    equal(node.http("GET", page, headers=bearer()).status, 200)


@cases([
    ({}, 401), ({"Authorization": SECRET}, 401), ({"Authorization": f"Basic {SECRET}"}, 401),
    ({"Authorization": "Bearer "}, 401), ({"Authorization": f"Bearer {SECRET}x"}, 401),
    ({"Authorization": f"Bearer {SECRET[:-1]}"}, 401),
    ({"Authorization": f"bearer {SECRET}"}, 200), ({"Authorization": f"Bearer   {SECRET}"}, 200),
    ({**bearer(), "Host": "game.example"}, 200),
    ({**bearer(), "Origin": "https://evil.example"}, 403),
    ({**bearer(), "Sec-Fetch-Site": "cross-site"}, 403),
    ({**bearer(), "Sec-Fetch-Site": "same-site"}, 403),
    ({**bearer(), "Sec-Fetch-Site": "none"}, 200),
], "with a token set, a read with {0} gets {1}")
def token_matrix(headers, status):
    equal(guarded().http("GET", "/node", headers=headers).status, status)


@cases([("POST", "/modules/reload"), ("POST", "/stop"), ("POST", "/drain"), ("PUT", "/log/level"),
        ("DELETE", "/modules/service"), ("POST", "/config/reload"), ("GET", "/no/such"),
        ("POST", "/config/rollback"),
        ("DELETE", "/sessions/x"), ("POST", "/update_remote_rpc_config"), ("PATCH", "/node")],
       "{0} {1} without the token does nothing")
def writes_need_token(method, path):
    answer = guarded().http(method, path, {} if method in ("POST", "PUT", "DELETE") else None)
    check(answer.status in (401, 404), answer)
    if path != "/no/such":
        equal(answer.status, 401)
        equal(answer.json["error"]["code"], "unauthorized")
    equal(guarded().http("GET", "/node", headers=bearer()).json["state"], "running")


@cases([("/healthz",), ("/readyz",)], "{0} is open to all")
def open_pages(page):
    equal(guarded().http("GET", page).status, 200)
    equal(guarded().http("HEAD", page).status, 200)


@cases([
    ({}, 200), ({"Host": "localhost"}, 200), ({"Host": "LOCALHOST:99"}, 200),
    ({"Host": "[::1]:1"}, 200), ({"Host": "127.0.0.1"}, 200),
    ({"Host": "game.example"}, 403), ({"Host": "127.0.0.1.evil.example"}, 403),
    ({"Host": "localhost.evil.example"}, 403), ({"Host": "127.0.0.2"}, 403),
    ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
    ({"Host": "localhost:8", "Origin": "http://localhost:8"}, 200),
    ({"Host": "localhost:8", "Origin": "http://localhost:9"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-origin"}, 200),
], "without a token, a read with {0} gets {1}")
def local_matrix(headers, status):
    equal(open_node().http("GET", "/node", headers=headers).status, status)


@case("without a token nobody from elsewhere may, whatever the Host says")
def from_elsewhere():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
            outside = probe.getsockname()[0]
        except OSError:
            outside = None
    if outside is None or outside.startswith("127."):
        skip("this machine has no other address")
    node = Node("wide", host="0.0.0.0", modules=["service", ADMIN], rpc=None).start()
    with socket.create_connection((outside, node.http_port), 10) as link_:
        link_.sendall(b"GET /node HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        contains(link_.makefile("rb").readline().decode(), " 403 ")
    equal(node.get("/node")["name"], "wide")
    node.stop()


@case("the seed's well-known token counts as none on loopback")
def seed_token():
    node = Node("seed-token", modules=["service", ADMIN], rpc=None,
                http={"token": SEED_TOKEN}).start()
    equal(node.http("POST", "/modules/reload").status, 200)
    equal(node.http("GET", "/node", headers={"Host": "game.example"}).status, 403)
    node.stop()


@case("refusals are counted")
def counted():
    node = guarded()

    def refused():
        page = node.http("GET", "/metrics", headers=bearer()).text
        return int(re.search(r"^obhost_module_admin_refused_total\{.*\} (\d+)", page, re.M)[1])
    before = refused()
    node.http("GET", "/node")
    node.http("GET", "/node", headers={**bearer(), "Origin": "http://evil.example"})
    equal(refused(), before + 2)


# ---------------------------------------------------------------- reading

@cases([("/node", "name"), ("/modules", "modules"), ("/peers", "peers"),
        ("/sessions", "sessions"), ("/routes", "ranges"), ("/config", "name"),
        ("/config/history", "versions"), ("/verbs", "verbs"), ("/healthz", "status"), ("/readyz", "status")],
       "GET {0} is JSON with {1}")
def reads(page, key):
    answer = open_node().http("GET", page)
    equal(answer.status, 200)
    equal(answer.headers["Content-Type"].split(";")[0], "application/json")
    equal(answer.headers["Cache-Control"], "no-store")
    check(key in answer.json, answer)


@case("GET /node: the seed's id of the node stands beside its own")
def seed_id():
    node = Node("ids", "proxy", rpc={"port": free_port()}).start()
    expected = hashlib.md5(f"127.0.0.1_{node.rpc_port}".encode()).hexdigest()
    shown = node.get("/node")
    equal(shown["seed_id"], expected)
    equal(shown["id"], hashlib.sha256(b"ids").hexdigest()[:16])
    node.stop()


@case("GET /modules: name, generation, version, sha256, state of each")
def modules():
    entry = open_node().module("echo")
    active = entry["active"]
    with open(f"{EXAMPLES}/echo.so", "rb") as file:
        equal(active["sha256"], hashlib.sha256(file.read()).hexdigest())
    equal((active["state"], active["version"], entry["old"]), ("active", "1.0.0", []))
    check(active["generation"] >= 1, entry)


@case("GET /config shows no secret")
def config():
    answer = guarded().http("GET", "/config", headers=bearer())
    equal(answer.json["http"]["token"], "***")
    check(SECRET not in answer.text, answer)


@case("GET /metrics is Prometheus text: each family typed once, each line well-formed")
def metrics():
    answer = open_node().http("GET", "/metrics")
    contains(answer.headers["Content-Type"], "text/plain")
    typed = re.findall(r"^# TYPE (\S+) (counter|gauge|histogram)$", answer.text, re.M)
    equal(len(typed), len({name for name, _ in typed}), "families")
    line = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*(\{([a-z_]+=\"[^\"\n]*\",?)*\})? -?[0-9.eE+-]+(Inf)?")
    for text in answer.text.splitlines():
        check(text.startswith("# ") or line.fullmatch(text), text)
    check(answer.text.endswith("\n"), "its end")
    names = {name for name, _ in typed}
    for name in ("obhost_client_messages_total", "obhost_connections", "obhost_uptime_seconds"):
        check(name in names, name)


@case("GET /sessions in pages")
def sessions():
    node = open_node()
    clients = [Client(node.ws_port) for _ in range(7)]
    for client in clients:
        client.ask(30000, 1)
    seen, after, gone = [], "", 0
    for _ in range(4):
        page = node.get(f"/sessions?limit=3{after}")
        seen += [entry["id"] for entry in page["sessions"]]
        if not page["more"]:
            break
        after = f"&after={page['sessions'][-1]['number']}"
        equal(node.http("DELETE", f"/sessions/{seen[-1]}").status, 200)
        gone += 1
        eventually(lambda: node.get("/sessions")["total"] == 7 - gone, "the last one seen is gone")
    check(len(seen) == 7 and len(seen) == len(set(seen)), seen)
    equal((page["total"], gone), (5, 2))
    equal(node.get("/sessions?after=99999999999")["sessions"], [])
    for client in clients:
        client.drop()
    eventually(lambda: node.get("/sessions")["total"] == 0, "no session left")


@case("GET /peers names the links and what is dialled")
def peers():
    route = Node("route", "route", modules=["route", ADMIN])
    node = Node("node", modules=["service", ADMIN], remote_ports=[{"port": free_port()}])
    link((node, route))
    start_all(route, node)
    wait_linked((route, node))
    shown = node.get("/peers")
    (peer,) = shown["peers"]
    equal((peer["name"], peer["role"], peer["state"]), ("route", "route", "up"))
    equal(sorted(remote["state"] == "up" for remote in shown["remote_ports"]), [False, True])
    node.stop()
    route.stop()


@case("HEAD is GET without a body")
def head():
    answer = open_node().http("HEAD", "/node")
    equal((answer.status, answer.data), (200, b""))


# ---------------------------------------------------------------- wrong requests

WRONG = [
    ("GET", "/no/such/page", None, {}, 404),
    ("GET", "/modules/tx/999", None, {}, 404),
    ("POST", "/node", {}, {}, 405),
    ("GET", "/stop", None, {}, 405),
    ("GET", "/modules/reload", None, {}, 405),
    ("PATCH", "/log/level", None, {}, 405),
    ("POST", "/modules", b"{", {}, 400),
    ("POST", "/modules", b"[]", {}, 400),
    ("POST", "/modules", b'{"name":"a","name":"b"}', {}, 400),
    ("POST", "/modules", {}, {}, 400),
    ("POST", "/modules", {"name": "../../etc/passwd"}, {}, 400),
    ("POST", "/modules", {"name": "x", "path": "/tmp/x.so"}, {}, 400),
    ("POST", "/modules", {"name": "x", "conf": []}, {}, 400),
    ("POST", "/modules/reload", {"path": "/tmp/x.so"}, {}, 400),
    ("POST", "/modules/reload", {"name": 5}, {}, 400),
    ("POST", "/modules/reload", {"names": []}, {}, 400),
    ("POST", "/modules/reload", {"name": "echo", "wait": "for ever"}, {}, 400),
    ("POST", "/modules/reload", {"name": "echo", "sha256": "12"}, {}, 400),
    ("POST", "/modules/reload", {"name": "no_such_module"}, {}, 404),
    ("DELETE", "/modules/no_such_module", None, {}, 404),
    ("DELETE", "/sessions/nobody-0000000000000000", None, {}, 404),
    ("POST", "/modules", {"name": "echo"}, {}, 409),
    ("POST", "/modules", {"name": "no_such_module"}, {}, 422),
    ("POST", "/modules/reload", b"name=echo", {"Content-Type": "text/plain"}, 415),
    ("POST", "/modules/reload", b"<a/>", {"Content-Type": "application/xml"}, 415),
    ("POST", "/modules/reload?name=echo", None, {}, 400),
    ("PUT", "/log/level", {"level": "loud"}, {}, 400),
    ("GET", "/sessions?limit=%zz", None, {}, 400),
    ("POST", "/modules/reload", b"x" * (1 << 20) + b"x", {}, 413),
]


@cases(WRONG, "{0} {1} with {2!r:.40} {3}: {4}")
def wrong(method, path, body, headers, status):
    node = open_node()
    answer = node.http(method, path, body, headers)
    equal(answer.status, status, repr(answer))
    if status == 405:
        check(answer.headers["Allow"], "no Allow")
    if status != 413:
        check("error" in answer.json, answer)
    equal(node.get("/node")["state"], "running")


@case("a GET with a body is refused")
def get_with_body():
    equal(open_node().http("GET", "/node", b"{}").status, 400)


@case("broken HTTP is answered with 400 and closed, and nothing else happens")
def broken_http():
    for text in (b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\0 HTTP/1.1\r\n\r\n",
                 b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                 b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                 b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", open_node().http_port), 10) as link_:
            link_.sendall(text)
            answer = b""
            try:
                while True:
                    data = link_.recv(65536)
                    if not data:
                        break
                    answer += data
            except ConnectionResetError:
                pass
        check(re.match(rb"HTTP/1.1 (4\d\d|505) ", answer) or not answer, (text[:40], answer))
    equal(open_node().get("/node")["state"], "running")


@case("pipelined requests on one connection are answered in order")
def pipelined():
    node = open_node()
    with socket.create_connection(("127.0.0.1", node.http_port), 10) as link_:
        one = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
        link_.sendall(b"".join(one % page for page in (b"healthz", b"nowhere", b"readyz")) +
                      b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = link_.makefile("rb").read().decode()
    equal(re.findall(r"HTTP/1\.1 (\d+)", answer), ["200", "404", "200", "200"])


# ---------------------------------------------------------------- writing

@case("a module comes, answers, and goes, with its configuration")
def comes_and_goes():
    node = open_node()
    with Client(node.ws_port) as client:
        equal(client.code(7100), 404)
        answer = node.http("POST", "/modules", {"name": "probe", "conf": {"ids": [7100]}})
        equal(answer.status, 200, repr(answer))
        shown = answer.json
        equal(shown["result"], "switched")
        (entry,) = shown["modules"]
        equal((entry["name"], entry["from"], entry["state"]), ("probe", None, "active"))
        equal(client.ask(7100)["node"], "open")
        equal(node.http("DELETE", "/modules/probe").status, 200)
        equal(client.code(7100), 404)
    eventually(lambda: node.module("probe") is None, "the entry gone")


@case("POST /modules with curl's own Content-Type")
def curl_type():
    node = open_node()
    answer = node.http("POST", "/modules/reload", b'{"name":"echo"}',
                       {"Content-Type": "application/x-www-form-urlencoded"})
    equal((answer.status, answer.json["result"]), (200, "unchanged"))


@case("a transaction's report can be read afterwards")
def transactions():
    node = open_node()
    tx = node.reload("echo", force=True)["tx"]
    shown = node.get(f"/modules/tx/{tx}")
    equal((shown["tx"], shown["result"]), (tx, "committed"))
    answer = node.http("POST", "/modules/reload", {"name": "echo", "force": True, "wait": "none"})
    equal(answer.status, 202)
    tx = answer.json["tx"]
    eventually(lambda: node.get(f"/modules/tx/{tx}")["result"] == "committed", "its end")


@case("a codec that a listener uses can't be taken out")
def codec_in_use():
    equal(open_node().http("DELETE", "/modules/codec_obespoir").status, 409)


@case("http_admin can take itself out, and the unix socket puts it back")
def admin_gone():
    node = Node("self", modules=["service", ADMIN, "hello_http"], rpc=None).start()
    equal(node.http("DELETE", "/modules/http_admin").status, 200)
    equal(node.http("GET", "/node").status, 404)
    equal(node.http("GET", "/").status, 200)
    status, body = node.admin("modules.load", name="http_admin")
    check(status in (200, 422), body)
    equal(node.admin("node")[0], 200)
    node.stop()


@case("POST /config/reload, and the seed's name for it, take a changed file over")
def config_reload():
    node = Node("conf", "proxy", modules=[
        {"name": "proxy", "conf": {}}, ADMIN, "echo"], rpc=None).start()
    with Client(node.ws_port) as client:
        equal(client.ask(30000, 5), 5)
        node.conf["modules"][0]["conf"] = {"refuse": [[30000, 30000]]}
        node.write_conf()
        answer = node.http("POST", "/config/reload")
        equal((answer.status, answer.json["changed"]), (200, ["modules"]), repr(answer))
        equal(client.code(30000, b"5"), 403)
        node.conf["modules"][0]["conf"] = {}
        node.write_conf()
        equal(node.http("POST", "/update_remote_rpc_config").status, 200)
        equal(client.ask(30000, 5), 5)
        node.conf["modules"][0]["conf"] = {"refuse": "all"}
        node.write_conf()
        answer = node.http("POST", "/config/reload")
        equal(answer.status, 422)
        contains(json.dumps(answer.json), "refuse")
        equal(client.ask(30000, 5), 5)
        node.conf["modules"][0]["conf"] = {}
        node.conf["http"]["port"] = free_port()
        node.write_conf()
        answer = node.http("POST", "/config/reload")
        equal(answer.json["needs_restart"], ["http"], repr(answer))
    node.stop()


@case("a node is added to and taken out of remote_ports while it runs")
def remotes_reload():
    one = Node("one", "route", modules=["route", ADMIN])
    two = Node("two", modules=["service", ADMIN])
    start_all(one, two)
    link((two, one))
    two.write_conf()
    equal(two.http("POST", "/config/reload").status, 200)
    wait_linked((one, two))
    two.conf["remote_ports"] = []
    two.write_conf()
    equal(two.http("POST", "/config/reload").status, 200)
    eventually(lambda: not one.peers() and not two.peers(), "the link gone")
    one.stop()
    two.stop()


@case("the route table can be changed under way")
def routes_reload():
    node = Node("routes", "route", modules=["route", ADMIN]).start()
    equal(node.get("/routes")["ranges"], [])
    node.conf["rpc"]["route"] = {"range": {"service": [[5, 10]]}}
    node.write_conf()
    equal(node.http("POST", "/config/reload").status, 200)
    equal([(r["low"], r["high"], r["role"]) for r in node.get("/routes")["ranges"]],
          [(5, 10, "service")])
    node.stop()


@case("PUT /log/level")
def log_level():
    node = open_node()
    asked = node.log().count("[admin] log.level")
    equal(node.http("PUT", "/log/level", {"level": "error"}).json, {"level": "error"})
    # The last line of the old level; what was said before it is written before it.
    eventually(lambda: node.log().count("[admin] log.level") > asked, "the line in the log")
    size = len(node.log())
    node.reload("echo", force=True)
    equal(len(node.log()), size, "bytes logged at level error")
    equal(node.http("PUT", "/log/level", {"level": "info"}).status, 200)


@case("DELETE /sessions/ID closes that client and no other")
def close_session():
    node = open_node()
    with Client(node.ws_port) as one, Client(node.ws_port) as two:
        one.ask(30000, 1)
        before = {entry["id"]: entry["messages"] for entry in node.get("/sessions")["sessions"]}
        (mine,) = [name for name, messages in before.items() if messages == 1]
        equal(node.http("DELETE", f"/sessions/{mine}").status, 200)
        equal(one.close_code(), 1000)
        equal(two.ask(30000, 2), 2)
        equal(node.http("DELETE", f"/sessions/{mine}").status, 404)


@case("POST /drain: no new clients, not ready, and those that are there go on")
def drain():
    node = Node("drain", "proxy", modules=["proxy", ADMIN, "echo"], rpc=None).start()
    with Client(node.ws_port) as client:
        equal(node.http("POST", "/drain").status, 202)
        equal(node.http("GET", "/readyz").status, 503)
        equal(node.http("GET", "/healthz").status, 200)
        equal(client.ask(30000, 1), 1)
        try:
            Client(node.ws_port, timeout=1).drop()
        except Exception:  # pylint: disable=broad-except
            pass
        else:
            check(False, "a new client was taken")
        equal(client.ask(30000, 2), 2)
    node.stop()


@case("POST /stop answers, and the node ends with status 0")
def stop():
    node = Node("stop", modules=["service", ADMIN], rpc=None).start()
    equal(node.http("POST", "/stop").status, 202)
    equal(node.wait(), 0)


@case("a plugin can't take an administrative path, and none is left of it")
def foreign_path():
    node = open_node()
    plugins = house["plugins"]
    plugins.build("thief", """
#include <obhost/obhost.h>

static void take(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:b}", "stolen", 1);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_http(ctx, "*", "/node", take, OB_HTTP_ADMIN);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
""")
    equal(node.http("POST", "/modules", {"name": "thief"}).status, 422)
    equal(node.get("/node")["name"], "open")


# ---------------------------------------------------------------- elsewhere

@case("admin.port: administration is there, and no longer on the application's port")
def admin_port():
    port = free_port()
    node = Node("apart", modules=["service", ADMIN, "hello_http"], rpc=None,
                admin={"port": port})
    node.launch()
    eventually(lambda: "is running" in node.log(), "the node")
    equal(http_request(port, "GET", "/node").json["name"], "apart")
    equal(http_request(port, "GET", "/").status, 404)
    equal(node.http("GET", "/").status, 200)
    equal(node.http("GET", "/node").status, 404)
    node.stop()


@case("admin.unix: the same on a socket that only its owner may use")
def admin_unix():
    node = Node("unix", modules=["service", ADMIN, "hello_http"], rpc=None, admin={"unix": "adm"})
    node.launch()
    eventually(lambda: "is running" in node.log(), "the node")
    path = node.folder / "adm"
    equal(path.stat().st_mode & 0o777, 0o600)
    with socket.socket(socket.AF_UNIX) as link_:
        link_.settimeout(10)
        link_.connect(str(path))
        link_.sendall(b"GET /node HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        contains(link_.makefile("rb").read().decode(), '"unix"')
    equal(node.http("GET", "/node").status, 404)
    node.stop()


# ---------------------------------------------------------------- the unix socket

@case("the core's socket: a line in, a line out, for its owner only")
def core_socket():
    node = guarded()
    equal(node.admin_path.stat().st_mode & 0o777, 0o600)
    status, body = node.admin("node")
    equal((status, body["name"]), (200, "guarded"))
    equal(node.admin("ready")[0], 200)
    status, body = node.admin("metrics")
    check(status == 200 and "obhost_uptime_seconds" in body, body)


@cases([
    (b'{"verb":"dance"}\n', 404, "an unknown verb"),
    (b'{"verb":5}\n', 400, "a verb that is no word"),
    (b"[]\n", 400, "JSON of another form"),
    (b"nonsense\n", 400, "no JSON"),
    (b"\n", 400, "an empty line"),
    (b'{"verb":"node","args":[]}\n', 400, "arguments that are no object"),
    (b'{"verb":"modules.load","args":{"name":"x","path":"/x.so"}}\n', 400, "a path"),
], "the core's socket: {2} is answered with {1}, and the next line works")
def core_socket_wrong(line, status, _what):
    with socket.socket(socket.AF_UNIX) as link_:
        link_.settimeout(10)
        link_.connect(str(guarded().admin_path))
        link_.sendall(line + b'{"verb":"node"}\n')
        with link_.makefile("rb") as file:
            equal(json.loads(file.readline())["status"], status)
            equal(json.loads(file.readline())["status"], 200)


@case("the core's socket: a line without end is refused, not kept")
def core_socket_endless():
    with socket.socket(socket.AF_UNIX) as link_:
        link_.settimeout(10)
        link_.connect(str(guarded().admin_path))
        try:
            for _ in range(64):
                link_.sendall(b"x" * 65536)
            data = link_.recv(65536)
            check(b"400" in data or data == b"", data)
        except (BrokenPipeError, ConnectionResetError):
            pass
    equal(guarded().admin("node")[0], 200)


@case("the core's socket goes with the node, and one that was left behind is taken over")
def core_socket_gone():
    node = Node("sock", modules=["service", ADMIN], rpc=None).start()
    node.stop()
    check(not node.admin_path.exists(), "the socket is still there")
    node.start()
    node.kill()
    check(node.admin_path.exists(), "it went with kill -9")
    node.start()
    equal(node.admin("node")[0], 200)
    node.stop()


if __name__ == "__main__":
    main(all_ended)
