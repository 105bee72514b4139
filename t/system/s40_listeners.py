#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Listeners for clients, as others' programs see them: TLS with certificates that are exchanged while
clients stay, WebSocket and packets on one port."""

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess

from obtest.env import EXAMPLES, MODULES, SLOW
from obtest.nodes import Node, all_ended, free_port
from obtest.plugin import PluginDir
from obtest.seed import Client, Stream, ended, packet, there_and_back
from obtest.tap import case, cases, check, contains, equal, eventually, main, skip
from obtest.temp import temp_dir

ADMIN = {"name": "http_admin", "admin": True}
ECHO = 30000
BODY = b'{"n": 1}'

house = {}


# ---------------------------------------------------------------- certificates

def openssl(*args):
    run = subprocess.run(["openssl", *map(str, args)], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, check=False)
    check(run.returncode == 0, run.stderr)
    return run.stdout


def place():
    """The folder of the certificates, with an authority's."""
    if "place" not in house:
        house["place"] = temp_dir("certificates")
        for name in ("ca", "stranger"):
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-days", "30", "-subj", f"/CN={name}",
                    "-keyout", house["place"] / f"{name}.key",
                    "-out", house["place"] / f"{name}.crt")
    return house["place"]


def certificate(name, serial=1, ca="ca", files=None):
    """Certificate and key for 127.0.0.1 and localhost, in NAME.crt and NAME.key."""
    base, signer = place() / (files or name), place() / ca
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={name}", "-keyout", f"{base}.key", "-out", f"{base}.csr")
    with open(f"{base}.ext", "w", encoding="utf-8") as file:
        file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("x509", "-req", "-in", f"{base}.csr", "-CA", f"{signer}.crt", "-CAkey",
            f"{signer}.key", "-set_serial", serial, "-days", 30, "-extfile", f"{base}.ext",
            "-out", f"{base}.crt")
    return {"cert": f"{base}.crt", "key": f"{base}.key"}


def trusting(cert=None):
    """How a client speaks TLS: it trusts the authority, and may show a certificate."""
    context = ssl.create_default_context(cafile=str(place() / "ca.crt"))
    if cert:
        context.load_cert_chain(cert["cert"], cert["key"])
    return context


# ---------------------------------------------------------------- nodes and clients

def ports(node):
    return {one["transport"]: one["port"] for one in node.conf["listen"]}


def the_node():
    """One listener of each kind."""
    if "node" not in house:
        tls = certificate("node")
        listen = [{"transport": kind, "port": free_port()} for kind in ("ws", "tcp", "tcp+ws")]
        listen += [{"transport": kind, "port": free_port(), "tls": tls}
                   for kind in ("wss", "tls", "tls+wss")]
        for one in listen:
            one["limits"] = {"handshake_timeout": 3 * SLOW}
        house["node"] = Node("door", "proxy", rpc=None, websocket=None, listen=listen,
                             module_dirs=[MODULES, EXAMPLES],
                             modules=["proxy", ADMIN, "echo"]).start()
    return house["node"]


class Secure(Client):
    """A client over TLS."""

    def __init__(self, port, context=None, **more):
        self.context = context or trusting()
        super().__init__(port, **more)

    def _shake_hands(self, port, path, headers):
        self.socket = self.context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        return super()._shake_hands(port, path, headers)


def connect(port, context=None, timeout=20):
    """A socket, with TLS if there is a context."""
    sock = socket.create_connection(("127.0.0.1", port), timeout * SLOW)
    return context.wrap_socket(sock, server_hostname="127.0.0.1") if context else sock


def echo(sock, body=BODY):
    there_and_back(sock, ECHO, body)


def refused(node, reason):
    return node.metric("obhost_client_refused_total", reason=reason)


def s_client(port, *args):
    """What openssl says of the server, and its exit status."""
    run = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile",
                          str(place() / "ca.crt"), "-verify_return_error", *map(str, args)],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                         timeout=20 * SLOW)
    return run.returncode, run.stdout + run.stderr


# ---------------------------------------------------------------- TLS

@case("a WebSocket over TLS, by websockets")
def wss_python():
    try:
        import websockets  # pylint: disable=import-outside-toplevel
    except ImportError:
        skip("websockets is not there")

    async def talk():
        uri = f"wss://localhost:{ports(the_node())['wss']}/"
        async with websockets.connect(uri, ssl=trusting()) as link:
            await link.send(packet(ECHO, BODY))
            return await link.recv()
    equal(asyncio.run(talk()), packet(ECHO, BODY))


@cases([("1.2", "-tls1_2"), ("1.3", "-tls1_3")], "TLS {0} is spoken, http/1.1 within it")
def versions(name, flag):
    status, text = s_client(ports(the_node())["wss"], flag, "-alpn", "h2,http/1.1")
    equal(status, 0, text)
    contains(text, f"TLSv{name}")
    contains(text, "ALPN protocol: http/1.1")


@cases([("TLS 1.1", ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]),
        ("a cipher without forward secrecy", ["-tls1_2", "-cipher", "AES128-SHA"]),
        ("HTTP/2 and nothing else", ["-alpn", "h2"])], "{0} is refused")
def too_old(_name, args):
    node = the_node()
    before = refused(node, "tls")
    status, text = s_client(ports(node)["wss"], *args)
    check(status != 0, text)
    eventually(lambda: refused(node, "tls") == before + 1, "it is counted")


@case("curl: a page gets 426, a handshake 101")
def curl():
    url = f"https://127.0.0.1:{ports(the_node())['wss']}/"
    base = ["curl", "-s", "-i", "--http1.1", "--cacert", str(place() / "ca.crt")]
    run = subprocess.run([*base, url], capture_output=True, text=True, check=False,
                         timeout=20 * SLOW)
    equal(run.returncode, 0, run.stderr)
    contains(run.stdout, "426 Upgrade Required")
    head = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA=="]
    run = subprocess.run([*base, "-N", "--max-time", str(2 * SLOW),
                          *(word for line in head for word in ("-H", line)), url],
                         capture_output=True, text=True, check=False, timeout=20 * SLOW)
    contains(run.stdout, "101 Switching Protocols")


@case("packets over TLS, large ones too")
def raw_tls():
    with connect(ports(the_node())["tls"], trusting()) as sock:
        echo(sock)
        echo(sock, b"x" * 300000)


@case("who only listens has a session as soon as the handshake is done")
def silent_tls():
    node = the_node()
    before = len(node.get("/sessions")["sessions"])
    with connect(ports(node)["tls"], trusting()):
        eventually(lambda: len(node.get("/sessions")["sessions"]) == before + 1, "a session")


@case("plain HTTP where TLS is spoken gets a page that says so")
def not_tls():
    node = the_node()
    before = refused(node, "not_tls")
    with connect(ports(node)["wss"]) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        contains(ended(sock).decode(), "TLS is spoken here")
    with connect(ports(node)["tls"]) as sock:
        sock.sendall(packet(ECHO))
        equal(ended(sock), b"")
    equal(refused(node, "not_tls"), before + 2)


@case("clients must show a certificate where an authority for them is given")
def client_certificates():
    port = free_port()
    ca = {"ca": str(place() / "ca.crt")}
    node = Node("strict", "proxy", rpc=None, websocket=None, modules=["proxy", ADMIN, "echo"],
                listen=[{"transport": "wss", "port": port,
                         "tls": {**certificate("strict"), **ca}}]).start()
    with Secure(port, trusting(certificate("someone"))) as client:
        client.tell(ECHO, BODY)
        equal(client.packet(), (ECHO, BODY))
    for context in (trusting(), trusting(certificate("other", ca="stranger"))):
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            with connect(port, context) as sock:  # TLS 1.3 tells the client with its first read
                equal(ended(sock), b"")
    eventually(lambda: refused(node, "tls") == 2, "both are counted")
    node.stop()


@case("certificates are read again with the configuration; who is there stays", timeout=60)
def reload_certificates():
    port = free_port()
    tls = certificate("fresh", serial=11)
    node = Node("fresh", "proxy", rpc=None, websocket=None, modules=["proxy", ADMIN, "echo"],
                listen=[{"transport": "wss", "port": port, "tls": tls}]).start()

    def serial():
        with connect(port, trusting()) as sock:
            return int(sock.getpeercert()["serialNumber"], 16)

    def reload():
        return node.http("POST", "/config/reload")
    with Secure(port) as client:
        equal(serial(), 11)
        certificate("fresh", serial=12)
        equal(serial(), 11, "before it is asked for")
        equal(reload().status, 200)
        equal(serial(), 12)
        client.tell(ECHO, BODY)
        equal(client.packet(), (ECHO, BODY))
        with open(tls["cert"], "w", encoding="utf-8") as file:
            file.write("nonsense\n")
        answer = reload()
        equal(answer.status, 422, repr(answer))
        contains(" ".join(answer.json["error"]["errors"]), "listen[0].tls: " + tls["cert"])
        equal(serial(), 12, "the old ones stay")
        certificate("fresh", serial=13)
        certificate("another", files="other")
        subprocess.run(["cp", place() / "other.key", tls["key"]], check=True)
        contains(" ".join(reload().json["error"]["errors"]), tls["key"])
        equal(serial(), 12, "the old ones stay")
        client.tell(ECHO, BODY)
        equal(client.packet(), (ECHO, BODY))
    node.stop()


@cases([("a missing file", {"cert": "/nowhere/a.crt"}, "/nowhere/a.crt: No such file"),
        ("a key of another certificate", {"key": "stranger.key"}, "stranger.key: "),
        ("an authority that is none", {"ca": "node.ext"}, "node.ext: "),
        ("ciphers that are none", {"ciphers": "ROT13"}, "ROT13: "),
        ("none at all", None, "listen[0].tls: is missing")],
       "refused at the start, by name: {0}")
def bad_files(_name, change, text):
    tls = certificate("node") if change is not None else None
    for key, value in (change or {}).items():
        tls[key] = value if "/" in value or key == "ciphers" else str(place() / value)
    entry = {"transport": "wss", "port": free_port()}
    if tls:
        entry["tls"] = tls
    node = Node("bad", "proxy", rpc=None, websocket=None, listen=[entry])
    node.write_conf()
    run = node.run("-t")
    check(run.returncode != 0, run.stderr)
    contains(run.stderr, text)
    run = node.run()
    check(run.returncode != 0, run.stderr)
    contains(run.stderr, text)


# ---------------------------------------------------------------- both on one port

@cases([("tcp+ws", False), ("tls+wss", True)], "{0}: WebSocket and packets on one port")
def either(kind, secure):
    port = ports(the_node())[kind]
    for _ in range(3):
        with Secure(port) if secure else Client(port) as client:
            client.tell(ECHO, BODY)
            equal(client.packet(), (ECHO, BODY))
        with connect(port, trusting() if secure else None) as sock:
            echo(sock)


@cases([("G", b"G"), ("GE", b"GE"), ("nothing", b"")],
       "{0} and then silence: closed when the handshake takes too long")
def silent(_name, first):
    node = the_node()
    for kind, context in (("tcp+ws", None), ("tls+wss", trusting())):
        before = refused(node, "handshake_timeout")
        with connect(ports(node)[kind], context) as sock:
            sock.sendall(first)
            equal(ended(sock), b"")
        equal(refused(node, "handshake_timeout"), before + 1)


@case("the TLS handshake has the same time")
def silent_handshake():
    node = the_node()
    before = refused(node, "handshake_timeout")
    with connect(ports(node)["tls"]) as sock:
        equal(ended(sock), b"")
    equal(refused(node, "handshake_timeout"), before + 1)


@case("a WebSocket handshake that comes byte by byte is understood, or too late")
def slow_head():
    node = the_node()
    with connect(ports(node)["tcp+ws"]) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n":
            sock.sendall(bytes([byte]))
        contains(ended(sock).decode(), "426")
    before = refused(node, "http_408")
    with connect(ports(node)["tcp+ws"]) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        contains(ended(sock).decode(), "408")
    equal(refused(node, "http_408"), before + 1)


# ---------------------------------------------------------------- a module's

LISTENER = """
#include <obhost/obhost.h>

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_listen_options o = {
		.size = sizeof(o),
		.transport = "tls+wss",
		.codec = "obespoir",
		.port = (uint16_t)json_integer_value(json_object_get(conf, "port")),
		.tls_cert = json_string_value(json_object_get(conf, "cert")),
		.tls_key = json_string_value(json_object_get(conf, "key")),
	};
	return ob_listen(ctx, &o);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


@case("a module opens a port with TLS, keeps it while it is replaced, and is told what is wrong")
def of_module():
    plugins = PluginDir()
    plugins.build("gate", LISTENER)
    port, tls = free_port(), certificate("gate", serial=21)
    node = Node("gate", rpc=None, module_dirs=[str(plugins), MODULES, EXAMPLES],
                modules=["service", ADMIN, "codec_obespoir", "echo",
                         {"name": "gate", "conf": {"port": port, **tls}}]).start()
    with Secure(port) as client:
        client.tell(ECHO, BODY)
        equal(client.packet(), (ECHO, BODY))
        node.reload("gate", force=True)
        client.tell(ECHO, BODY)
        equal(client.packet(), (ECHO, BODY))
    with connect(port, trusting()) as sock:
        echo(sock)
    certificate("gate", serial=22)
    equal(node.http("POST", "/config/reload").status, 200)
    with connect(port, trusting()) as sock:
        equal(int(sock.getpeercert()["serialNumber"], 16), 22)
    status, answer = node.admin("modules.load", name="gate2", conf={})
    check(status >= 400, json.dumps(answer))
    node.stop()


if __name__ == "__main__":
    main(all_ended)
