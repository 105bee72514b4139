#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The JavaScript client: its rules at sockets and a clock that are under control (js_client.mjs),
and a node that it talks to (js_client_live.mjs, js_client_obespoir.mjs)."""

import os
import shutil
import subprocess

from obtest.env import EXAMPLES, MODULES, NODE_JS, TOP
from obtest.nodes import Node, all_ended, free_port
from obtest.plugin import PluginDir
from obtest.tap import case, check, equal, main, skip

CLIENT = f"{TOP}/clients/js/obhost.js"

PUSHER = r"""
#include <obhost/obhost.h>

static ob_session session_of(ob_ctx *ctx, ob_req req, ob_view *view)
{
	*view = (ob_view){.size = sizeof(*view)};
	return ob_req_view(ctx, req, view) == 0 ? view->session : 0;
}

static void push(ob_ctx *ctx, ob_req req)
{
	ob_view view;
	ob_session session = session_of(ctx, req, &view);

	ob_push_name(ctx, session, "test.pushed", view.data, view.len);
	ob_reply_json(ctx, req, "{s:i}", "sent", 1);
}

static void drop(ob_ctx *ctx, ob_req req)
{
	ob_view view;

	ob_session_close(ctx, session_of(ctx, req, &view), 1012, "test");
	ob_done(ctx, req);
}

static void kick(ob_ctx *ctx, ob_req req)
{
	ob_view view;

	ob_session_close(ctx, session_of(ctx, req, &view), 4003, "test");
	ob_done(ctx, req);
}

static void push_id(ob_ctx *ctx, ob_req req)
{
	ob_view view;
	ob_session session = session_of(ctx, req, &view);

	ob_push(ctx, session, 6600, view.data, view.len);
	ob_reply_json(ctx, req, "{s:i}", "sent", 1);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_name(ctx, "test.push", push, OB_FROM_CLIENT);

	rc = rc == 0 ? ob_on_id(ctx, 2000, push_id) : rc;

	(void)conf;
	rc = rc == 0 ? ob_on_name(ctx, "test.drop", drop, OB_FROM_CLIENT) : rc;
	return rc == 0 ? ob_on_name(ctx, "test.kick", kick, OB_FROM_CLIENT) : rc;
}

OB_MODULE(pusher, .version = "1.0.0", .start = start);
"""


def run(script, *words):
    if shutil.which(NODE_JS) is None:
        skip("no node")
    done = subprocess.run([NODE_JS, f"{TOP}/t/system/{script}", *words], timeout=60, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    if done.returncode == 3:
        skip(done.stderr.strip().splitlines()[0])
    return done.returncode, done.stdout.splitlines(), done.stderr


@case("its rules: requests, pushes, pauses, ends")
def rules():
    status, lines, errors = run("js_client.mjs", CLIENT)
    equal((status, errors), (0, ""))
    bad = [line for line in lines[:-1] if not line.startswith("ok ")]
    equal(bad, [])
    equal(lines[-1], f"done {len(lines) - 1}")
    check(len(lines) > 20, lines)


@case("at a node: answers, pushes by name, refusals, a connection that breaks, a kick")
def live():
    plugins = PluginDir()
    plugins.build("pusher", PUSHER)
    port = free_port()
    node = Node("js", "proxy", rpc=None, module_dirs=[str(plugins), MODULES, EXAMPLES],
                modules=["proxy", {"name": "http_admin", "admin": True}, "echo", "pusher"],
                sessions={"resume": {"window": 30}},
                listen=[{"transport": "ws", "codec": "json", "port": port}])
    node.start()
    equal(run("js_client_live.mjs", CLIENT, f"ws://127.0.0.1:{port}/"), (0, ["done"], ""))


@case("with the obespoir protocol, plain and with encode 2; another token, no WebCrypto")
def obespoir():
    plugins = PluginDir()
    plugins.build("pusher", PUSHER)
    token = "a token of 16 or more bytes"
    ports = {0: free_port(), 2: free_port()}
    listen = [{"transport": "ws", "codec": "obespoir", "port": port, "encode": encode,
               "token": token} for encode, port in ports.items()]
    node = Node("packets", "proxy", rpc=None, module_dirs=[str(plugins), MODULES, EXAMPLES],
                modules=["proxy", {"name": "http_admin", "admin": True}, "echo", "pusher"],
                listen=listen)
    node.start()
    equal(run("js_client_obespoir.mjs", CLIENT,
              *(f"ws://127.0.0.1:{port}/" for port in ports.values()), token), (0, ["done"], ""))


@case("what an installation of it needs is there")
def complete():
    names = sorted(os.listdir(os.path.dirname(CLIENT)))
    equal(names, ["README.md", "obhost.d.ts", "obhost.js", "obhost.mjs", "package.json"])


if __name__ == "__main__":
    main(all_ended)
