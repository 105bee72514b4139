# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A node whose modules are exchanged while clients are served, and what must be true afterwards."""

import contextlib
import json
import os
import re
import socket
import threading
import time

from .env import EXAMPLES, LONG, MODULES, SLOW
from .nodes import Node
from .plugin import VERSIONED, PluginDir
from .seed import Client, Stream
from .tap import check, equal, eventually

ADMIN = {"name": "http_admin", "admin": True}
ID = 6001  # of the module `versioned`
CROWD = 1000 if LONG else 30  # clients that are connected all the time


def _unhurried(number):
    """The body of a request, a little later: load, but not all of the processor."""
    time.sleep(0.001)
    return b'{"n":%d}' % number


class House:
    """A proxy that answers everything itself, `versioned` among it, a directory of its own for the
    modules the test makes, and a crowd of clients."""

    def __init__(self, name, modules=(), crowd=CROWD, kind=Node, **keys):
        self.plugins = PluginDir()
        self.version(1)
        keys.setdefault("reload", {}).setdefault("drain", 10 * SLOW)
        self.node = kind(name, "proxy", rpc=None, module_dirs=[str(self.plugins), MODULES, EXAMPLES],
                         modules=["proxy", ADMIN, "echo", "versioned", *modules], **keys)
        self.wanted = crowd
        self.crowd = []
        self.keys = {}

    def start(self):
        self.node.start()
        self.crowd = [self.client() for _ in range(self.wanted)]
        return self

    def restart(self):
        """After its process has ended."""
        self.leave()
        return self.start()

    def leave(self):
        for client in self.crowd:
            client.drop()
        self.crowd = []

    def client(self):
        return Client(self.node.ws_port)

    def version(self, number, name="versioned", **more):
        """The file of a module that says this number."""
        return self.plugins.build(name, VERSIONED, V=number, **more)

    def module(self, name="versioned"):
        return self.node.module(name)

    def load(self, name, **more):
        answer = self.node.http("POST", "/modules", {"name": name, **more})
        equal(answer.status, 200, repr(answer))
        return answer.json

    def unload(self, name):
        equal(self.node.http("DELETE", f"/modules/{name}").status, 200)

    def now(self):
        """Which version answers."""
        return self.crowd[0].ask(ID)["v"]

    # ---- what must hold

    @contextlib.contextmanager
    def serving(self, codes=(200,)):
        """Whatever is done inside, numbered requests are answered in order meanwhile, and nobody
        of the crowd is disconnected."""
        with Stream(self.node.ws_port, ID, window=8, body=_unhurried) as stream:
            yield stream
            seen = stream.answered
            eventually(lambda: stream.answered > seen + 16 or not stream.busy(), "answers")
            stream.finish()
        equal(set(stream.codes) - set(codes), set(), "results of requests")
        self.everybody()

    def everybody(self):
        for number, client in enumerate(self.crowd):
            equal(client.ask(ID, {"n": number})["n"], number)

    def settle(self, *names):
        """No old generation is left, and one copy of each module is mapped."""
        def clean():
            return not any(entry["old"] for entry in self.node.get("/modules")["modules"])
        eventually(clean, "the old generations gone", 20)
        for name in names or ("versioned",):
            equal(len(self.mapped(name)), 1, f"copies of {name} that are mapped")

    def mapped(self, name="versioned"):
        return set(re.findall(rf"\S+/stage/{name}\.\d+\.so", self.node.maps()))

    def staged(self):
        return sorted(path.name for path in (self.node.state / "stage").iterdir())

    def threads(self):
        return len(os.listdir(f"/proc/{self.node.pid}/task"))

    @contextlib.contextmanager
    def flat(self, *names):
        """Afterwards there are as many descriptors, threads, copies and mappings as before."""
        self.settle(*names)
        fds, threads, staged = self.node.fds(), self.threads(), len(self.staged())
        yield
        self.settle(*names)
        eventually(lambda: self.node.fds() <= fds, "as many descriptors")
        eventually(lambda: self.threads() <= threads, "as many threads")
        eventually(lambda: len(self.staged()) == staged, "as many copies")

    def refused(self, steps, codes, name="versioned", **more):
        """A reload that is refused there and for that; everything is as it was. Its error."""
        before = self.module(name)["active"]
        error = self.node.reload(name, status=422, **more)["error"]
        steps = (steps,) if isinstance(steps, str) else steps
        codes = (codes,) if isinstance(codes, str) else codes
        check(error["step"] in steps and error["code"] in codes, str(error))
        check(error["module"] == name and len(error["message"]) > 10, str(error))
        after = self.module(name)["active"]
        equal((after["generation"], after["sha256"]), (before["generation"], before["sha256"]))
        return error

    def exchange(self, *names, **more):
        """A reload that is taken, perhaps not at the first attempt."""
        def attempt():
            answer = self.node.http("POST", "/modules/reload", {"names": list(names), **more})
            if answer.status == 409:
                return None
            equal(answer.status, 200, repr(answer))
            return answer.json
        return eventually(attempt, f"a reload of {names}", pause=0.01)

    def tx(self, number):
        return self.node.get(f"/modules/tx/{number}")


class Verbs:
    """The node's unix socket, one connection for several verbs."""

    def __init__(self, node):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30 * SLOW)
        self.socket.connect(str(node.admin_path))
        self.file = self.socket.makefile("rb")

    def __call__(self, verb, **args):
        self.socket.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
        answer = json.loads(self.file.readline())
        return answer["status"], answer["body"]

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Later(threading.Thread):
    """Runs a function meanwhile; `result()` is what it gave."""

    def __init__(self, function, *args, **more):
        super().__init__(daemon=True)
        self.call = lambda: function(*args, **more)
        self.value = self.error = None
        self.start()

    def run(self):
        try:
            self.value = self.call()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def result(self, timeout=30):
        self.join(timeout * SLOW)
        check(not self.is_alive(), "it takes too long")
        if self.error:
            raise self.error
        return self.value
