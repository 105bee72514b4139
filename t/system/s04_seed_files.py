#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""obespoir's own three demo files, unchanged, with -m for the plugins its demo script registers.
OB_SEED_DIR names the folder that has them; without it all of this is skipped.

The files have fixed ports, so the test runs in a network of its own where the kernel allows that,
and otherwise only when the ports are free."""

import asyncio
import fcntl
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys

from obtest.nodes import Node, all_ended, can_bind, start_all, wait_linked
from obtest.seed import T1, T6, Client, packet, unpack
from obtest.tap import case, check, contains, equal, eventually, main, skip, skip_all
from obtest.temp import temp_dir

PORTS = {"proxy": (20000, 20001, 20002), "route": (0, 21001, 21002), "service": (0, 22001, 22002)}
PLUGINS = {"proxy": ["hello_http"], "route": ["login", "hello_http"],
           "service": ["heartbeat", "rank_room", "offline", "hello_http"]}
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

trio = {}


# ---------------------------------------------------------------- a network of its own

def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def own_network():
    """Goes on in a new network namespace, if there may be one."""
    unshare = shutil.which("unshare")
    if "OB_OWN_NETWORK" in os.environ:
        loopback_up()
    elif unshare and subprocess.run([unshare, "-rn", "true"], stderr=subprocess.DEVNULL,
                                    check=False).returncode == 0:
        os.environ["OB_OWN_NETWORK"] = "1"
        os.execv(unshare, [unshare, "-rn", sys.executable, *sys.argv])


def ports_free():
    for ports in PORTS.values():
        for port in filter(None, ports):
            if not can_bind(port):
                return False
    return True


# ---------------------------------------------------------------- the nodes

class SeedNode(Node):
    def __init__(self, role, folder):
        args = [word for name in PLUGINS[role] for word in ("-m", name)]
        super().__init__(f"{role}_1", role, args=args,
                         env={"STATE_DIRECTORY": str(temp_dir("state"))})
        self.file = folder / f"{role}_config.json"
        self.ws_port, self.http_port, self.rpc_port = PORTS[role]

    @property
    def conf_file(self):
        return self.file


def nodes():
    if not trio:
        folder = pathlib.Path(os.environ["OB_SEED_DIR"])
        trio.update((role, SeedNode(role, folder)) for role in PORTS)
        start_all(*trio.values())
        wait_linked((trio["route"], trio["proxy"], trio["service"]))
    return trio


@case("each file passes -t, and what it says that means nothing here is said to be ignored")
def passes():
    for role in PORTS:
        node = SeedNode(role, pathlib.Path(os.environ["OB_SEED_DIR"]))
        run = node.run("-t")
        equal(run.returncode, 0, run.stderr)
        contains(run.stderr, "api_path")


@case("T1, the captured login, is answered by T6")
def vectors():
    with Client(nodes()["proxy"].ws_port) as client:
        client.send(T1)
        ((got, body),) = unpack(client.message())
        ((_, expected),) = unpack(T6)
        equal((got, json.loads(body)), (1000, json.loads(expected)))


@case("what the seed's own client script does: POST /, then 1000 and 20000 over one WebSocket")
async def like_the_script():
    try:
        import websockets  # pylint: disable=import-outside-toplevel
    except ImportError:
        skip("no python3-websockets")
    equal(nodes()["proxy"].http("POST", "/", b"{}").status, 200)
    async with websockets.connect("ws://127.0.0.1:20000") as ws:
        for number, body in ((1000, {"name": "jamon", "passwd": "test"}),
                             (20000, {"user_id": 10})):
            await ws.send(packet(number, body))
            ((got, answer),) = unpack(await asyncio.wait_for(ws.recv(), 10))
            equal((got, json.loads(answer)["code"]), (number, 200))


@case("10000 is answered, and the offline handler hears of the client")
def the_others():
    before = nodes()["service"].metric("obhost_module_offline_sessions_total")
    with Client(nodes()["proxy"].ws_port) as client:
        equal(client.code(10000), 200)
    eventually(lambda: nodes()["service"].metric("obhost_module_offline_sessions_total") > before,
               "the offline handler")


@case("GET and POST / on all three; the well-known token counts as none")
def http():
    for node in nodes().values():
        for method in ("GET", "POST"):
            equal(node.http(method, "/").status, 200)
        equal(node.http("POST", "/modules/reload").status, 200)


@case("the logs are where the files want them, and there are no payloads in them")
def logs():
    for node in nodes().values():
        file = node.folder / "logs/obEspoir" / f"{node.name}.log"
        eventually(file.exists, str(file))
        check("jamon" not in file.read_text(encoding="utf-8"), "a payload")


@case("the trio stops")
def stops():
    for node in nodes().values():
        node.stop()


if __name__ == "__main__":
    if not os.path.isdir(os.environ.get("OB_SEED_DIR", "")):
        skip_all("OB_SEED_DIR does not name a folder with obespoir's demo files")
    own_network()
    if not ports_free():
        skip_all("the demo's ports are in use, and there can be no network apart")
    main(all_ended)
