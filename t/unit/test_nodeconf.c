/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/conf/nodeconf.h"
#include "lib/buf.h"
#include "tap.h"
#include "unit/files.h"
#include "unit/node_rig.h"

#define SEED_TOKEN "helloworldiloveyou~1234567890123"

static struct ob__buf said;

static void on_report(void *arg, enum ob__conf_severity severity, const char *line)
{
	static const char *const words[] = {"error", "warning", "info"};
	const char *name = strstr(line, "/n.conf:");

	(void)arg;
	ob__buf_printf(&said, "%s %s\n", words[severity], name != NULL ? name + 1 : line);
}

static const char *said_text(void)
{
	ob__buf_append(&said, "", 1);
	said.len--;
	return (const char *)said.data;
}

/* Loads a configuration with ' for ". */
static struct ob__nodeconf *load_with(const char *text, const char *const *extra, size_t extra_len)
{
	char path[256];
	char *copy = strdup(text);

	for (char *p = copy; *p != '\0'; p++) {
		*p = *p == '\'' ? '"' : *p;
	}
	snprintf(path, sizeof(path), "%s/n.conf", rig_dir);
	files_write_text(path, copy);
	free(copy);
	said.len = 0;
	return ob__nodeconf_load(path, extra, extra_len, on_report, NULL);
}

static struct ob__nodeconf *load(const char *text)
{
	return load_with(text, NULL, 0);
}

static int begin(void)
{
	rig_begin();
	return 0;
}

static int end(void)
{
	rig_end();
	ob__buf_free(&said);
	return 0;
}

/* ---------------------------------------------------------------- what is refused */

#define RPC  "'rpc': {'token': '0123456789abcdef'},\n"
#define NODE "{'name': 'n', 'type': 'service',\n"

static const struct {
	const char *text;
	const char *line; /* without the leading "error n.conf:" */
} errors[] = {
	/* who it is */
	{"{'type': 'x'}", "1: name: "},
	{"{'name': 'n'}", "1: type: "},
	{"{'name': '', 'type': 'x'}", "1: name: must be 1 to 63 letters, digits, '.', '_' or '-'"},
	{"{'name': 'a b', 'type': 'x'}", "1: name: must be 1 to 63 letters"},
	{"{'name': 'a/b', 'type': 'x'}", "1: name: must be 1 to 63 letters"},
	{"{'name': '0123456789012345678901234567890123456789012345678901234567890123', "
         "'type': 'x'}",
         "1: name: must be 1 to 63 letters"},
	{"{'name': 'n', 'type': 'a:b'}", "1: type: must be 1 to 63 letters"},
	{"{'name': 'n', 'type': ''}", "1: type: must be 1 to 63 letters"},
	{NODE "'call_timeout': 0}",
         "2: call_timeout: must be above 0: every request needs a deadline"},
	{NODE "'call_timeout': -1}", "2: call_timeout: "},
	{NODE "'available_way': 'mongo'}",
         "2: available_way: only \"local\" is built; put the nodes in remote_ports"},
	/* a typo near a known key */
	{NODE "'modles': []}", "2: modles: "},
	{NODE "'log_level': 'loud'}", "2: log_level: "},
	/* for the codec, which looks further */
	{NODE "'websocket': {'port': 1, 'encode': 3}}",
         "2: websocket.encode: expected an integer from 0 to 2, found 3"},
	{NODE "'listen': [{'encode': 3}]}",
         "2: listen[0].encode: expected an integer from 0 to 2, found 3"},
	{NODE "'listen': [{'codec_conf': 3}]}", "2: listen: codec_conf must be an object"},
	/* the protection of links */
	{NODE "'rpc': {'port': 1, 'encode': 1,\n'tls': {'cert': '/nonexistent/x', 'ca': '/y'}}}",
         "3: rpc.tls: and encode are two ways to encrypt; choose one"},
	{NODE "'rpc': {'port': 1, 'tls': {'cert': '/nonexistent/x', 'ca': '/nonexistent/y'}}}",
         "2: rpc.tls: /nonexistent/x: No such file or directory (a PEM certificate is wanted)"},
	{NODE "'rpc': {'port': 1, 'tls': {'cert': '/nonexistent/x'}}}", "2: rpc.tls.ca: missing"},
	{NODE "'rpc': {'token': '0123456789abcdef'},\n"
              "'remote_ports': [{'port': 1}, {'port': 2,\n 'tls': {'cert': '/dev/null',"
              " 'ca': '/dev/null'}}]}",
         "4: remote_ports[1].tls: /dev/null: no start line (a PEM certificate is wanted)"},
	{NODE "'rpc': {'port': 1, 'tokens': {'x': []}}}",
         "2: rpc.tokens.x: must be one token, or two while it is being changed"},
	{NODE "'rpc': {'port': 1, 'tokens': {'x': ['0123456789abcdef', '0123456789abcdef',"
              " '0123456789abcdef']}}}",
         "2: rpc.tokens.x: must be one token, or two while it is being changed"},
	{NODE "'rpc': {'port': 1, 'tokens': {'x': ['0123456789abcdef', '0123456789abcde']}}}",
         "2: rpc.tokens.x: must have at least 16 bytes"},
	{NODE "'rpc': {'port': 1, 'tokens': {'x y': '0123456789abcdef'}}}",
         "2: rpc.tokens: has a role that is no word"},
	{NODE "'rpc': {'port': 1, 'tokens': {'x': '0123456789abcdef'}},\n"
              "'remote_ports': [{'port': 1}]}",
         "3: remote_ports[0].token: is missing, and there is no rpc.token"},
	/* tokens */
	{NODE "'rpc': {'port': 1}}",
         "2: rpc.token: is missing: links without a token are not accepted"},
	{NODE "'rpc': {'port': 1, 'token': '0123456789abcde'}}",
         "2: rpc.token: must have at least 16 bytes"},
	{NODE "'rpc': {'port': 1, 'token': ''}}", "2: rpc.token: must have at least 16 bytes"},
	{NODE "'rpc': {'policy': {'a b': 'x'}}}", "2: rpc.policy: has a role that is no word"},
	{NODE "'rpc': {'policy': {'a': 'x.y'}}}",
         "2: rpc.policy: a policy's name is letters, digits, '_' or '-'"},
	{NODE "'rpc': {'policy': {'a': 7}}}", "2: rpc.policy.a: "},
	{NODE "'remote_ports': [{'port': 1}]}",
         "2: remote_ports[0].token: is missing, and there is no rpc.token"},
	{NODE "'remote_ports': [{'port': 1, 'token': 'short'}]}",
         "2: remote_ports[0].token: must have at least 16 bytes"},
	{NODE "'remote_ports': [{'host': 'h', 'token': '0123456789abcdef'}]}",
         "2: remote_ports[0].port: "},
	{NODE "'remote_ports': [{'port': 0, 'token': '0123456789abcdef'}]}",
         "2: remote_ports[0].port: "},
	/* what links are made over */
	{NODE RPC "'remote_ports': [{'transport': 'a', 'port': 1, 'address': 'x'}]}",
         "3: remote_ports[0].address: stands alone"},
	{NODE RPC "'remote_ports': [{'path': '/x', 'port': 1}]}",
         "3: remote_ports[0].address: stands alone"},
	{NODE RPC "'remote_ports': [{'path': '/x', 'address': '/y'}]}",
         "3: remote_ports[0].address: stands alone"},
	{NODE RPC "'remote_ports': [{'path': 'x'}]}",
         "3: remote_ports[0].address: of unix is the path of a socket, from / on"},
	{NODE RPC "'remote_ports': [{'address': 'x'}]}",
         "3: remote_ports[0].address: of tcp is HOST:PORT or [HOST]:PORT"},
	{NODE RPC "'remote_ports': [{'transport': 'a'}]}",
         "3: remote_ports[0].address: must be 1 to 107 printable ASCII characters"},
	{NODE RPC "'remote_ports': [{'transport': 'a b', 'address': 'x'}]}",
         "3: remote_ports[0].transport: a transport's name is letters, digits, '_' or '-'"},
	{NODE "'rpc': {'listen': [{'transport': 'a', 'address': 'x'}]}}",
         "2: rpc.token: is missing: links without a token are not accepted"},
	{NODE "'rpc': {'token': '0123456789abcdef',\n'listen': [{'transport': 'unix', 'address': "
              "'x'}]}}",
         "3: rpc.listen[0].transport: is built in: that is rpc.port, or rpc.unix"},
	{NODE "'rpc': {'token': '0123456789abcdef',\n'listen': [{'transport': 'a'}]}}",
         "3: rpc.listen[0].address: missing"},
	{NODE "'rpc': {'token': '0123456789abcdef',\n'listen': [{'transport': 'a', 'address': 'x', "
              "'told': ''}]}}",
         "3: rpc.listen[0].told: must be 1 to 107 printable ASCII characters"},
	{NODE "'rpc': {'token': '0123456789abcdef', 'port': 1,\n'listen': [{'transport': 'a', "
              "'address': '1'}, {'transport': 'a', 'address': '2'}, {'transport': 'a', "
              "'address': '3'}]}}",
         "3: rpc.listen: makes more than 4 addresses, with rpc.port and rpc.unix"},
	/* the seed's well-known token is no secret: not where others can reach it */
	{NODE "'host': '0.0.0.0',\n 'http': {'port': 1, 'token': '" SEED_TOKEN "'}}",
         "3: http.token: is the well-known demo token and host is not a loopback address; "
         "choose a token of your own"},
	{NODE "'host': '::',\n 'http': {'port': 1, 'token': '" SEED_TOKEN "'}}",
         "3: http.token: is the well-known demo token"},
	{NODE "'host': '192.0.2.7',\n 'admin': {'port': 2}, 'http': {'token': '" SEED_TOKEN "'}}",
         "3: http.token: is the well-known demo token"},
	/* administration */
	{NODE "'admin': {'port': 1, 'unix': 'a.sock'}}",
         "2: admin: has both port and unix; choose one"},
	{NODE "'admin': {'port': 0}}", "2: admin.port: "},
	/* listeners */
	{NODE "'listen': [{'transport': 'unix'}]}",
         "2: listen: path goes with transport \"unix\", and only with it"},
	{NODE "'listen': [{'transport': 'tcp', 'path': 'x'}]}",
         "2: listen: path goes with transport \"unix\", and only with it"},
	{NODE "'listen': [{'transport': 'udp'}]}",
         "2: listen[0].transport: \"udp\" is not built in; did you mean \"tcp\"?"},
	{NODE "'listen': [{'transport': 'a b'}]}", "2: listen[0].transport: must be letters"},
	{NODE "'listen': [{'codec': 'a/b'}]}",
         "2: listen: codec must be letters, digits, '.', '_' or '-'"},
	{NODE "'listen': [{'port': 70000}]}", "2: listen[0].port: "},
	{NODE "'websocket': {'port': 1, 'no_state': {'range': [[5, 4]]}}}",
         "2: websocket.no_state.range[0]: "},
	{NODE "'websocket': {'port': 1, 'no_state': {'special': [0]}}}",
         "2: websocket.no_state.special[0]: "},
	/* modules */
	{NODE "'modules': ['a',\n 'a']}", "2: modules: names a module twice"},
	{NODE "'modules': ['a', 'x/a.so']}", "2: modules: names a module twice"},
	{NODE "'modules': ['a b']}", "2: modules: a module's name is letters"},
	{NODE "'modules': [{'name': 'a', 'conf': 1}]}", "2: modules: conf must be an object"},
	{NODE "'modules': [{'conf': {}}]}", "2: modules[0].name: "},
	{NODE "'modules': [7]}", "2: modules[0]: "},
	/* bounds */
	{NODE "'limits': {'message': 1}}", "2: limits.message: "},
	{NODE "'limits': {'link_queue': '1k'}}", "2: limits.link_queue: "},
	{NODE "'limits': {'slow': 'wait'}}", "2: limits.slow: "},
	{NODE "'session_closed_id': 0}", "2: session_closed_id: "},
	/* syntax: one line, and no crash */
	{"{'name': 'n',", "1: "},
};

static void test_errors(void)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		char want[512];
		struct ob__nodeconf *c = load(errors[i].text);
		CU_ASSERT_PTR_NULL(c);
		ob__nodeconf_free(c);
		snprintf(want, sizeof(want), "error n.conf:%s", errors[i].line);
		if (strstr(said_text(), want) == NULL) {
			printf("# %s\n# said: %s# want: %s\n", errors[i].text, said_text(), want);
			CU_FAIL("another error");
		}
	}
}

/* All of them at once, each with its line. */
static void test_all_errors_at_once(void)
{
	CU_ASSERT_PTR_NULL(load("{'name': 'a b',\n'type': 'x y',\n'call_timeout': 0,\n"
	                        "'rpc': {'port': 1,\n'tokens': {'z': []}}}"));
	CU_ASSERT_STRING_EQUAL(
		said_text(),
		"error n.conf:1: name: must be 1 to 63 letters, digits, '.', '_' or '-'\n"
		"error n.conf:2: type: must be 1 to 63 letters, digits, '.', '_' or '-'\n"
		"error n.conf:3: call_timeout: must be above 0: every request needs a deadline\n"
		"error n.conf:5: rpc.tokens.z: must be one token, or two while it is being "
		"changed\n");
}

static void test_missing_file(void)
{
	said.len = 0;
	CU_ASSERT_PTR_NULL(ob__nodeconf_load("/nonexistent/n.conf", NULL, 0, on_report, NULL));
	CU_ASSERT_PTR_NOT_NULL(strstr(said_text(), "no such file"));
}

/* ---------------------------------------------------------------- what is taken */

static void test_defaults(void)
{
	struct ob__nodeconf *c = load("{'name': 'n', 'type': 'service'}");

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(said.len, 0);
	CU_ASSERT_STRING_EQUAL(c->name, "n");
	CU_ASSERT_STRING_EQUAL(c->role, "service");
	CU_ASSERT_STRING_EQUAL(c->host, "127.0.0.1");
	CU_ASSERT_EQUAL(c->call_timeout_ms, 5000);
	CU_ASSERT_EQUAL(c->reload.drain_ms, 60000);
	CU_ASSERT_EQUAL(c->session_closed_id, 100130);
	CU_ASSERT_EQUAL(c->reconnect_ms, 5000);
	CU_ASSERT_EQUAL(c->listens_len, 0);
	CU_ASSERT_EQUAL(c->http_port, 0);
	CU_ASSERT_EQUAL(c->rpc_port, 0);
	CU_ASSERT_EQUAL(c->admin_port, 0);
	CU_ASSERT_PTR_NULL(c->http_token);
	CU_ASSERT_PTR_NULL(c->rpc_token);
	CU_ASSERT_PTR_NULL(c->admin_unix);
	CU_ASSERT_PTR_NULL(c->state_dir);
	CU_ASSERT_PTR_NULL(c->pid);
	CU_ASSERT_PTR_NULL(c->user);
	CU_ASSERT_PTR_NULL(c->log_dir);
	CU_ASSERT_EQUAL(c->log_level, OB_LOG_INFO);
	CU_ASSERT_EQUAL(c->limits.connections, 100000);
	CU_ASSERT_EQUAL(c->limits.sessions, 1000000);
	CU_ASSERT_EQUAL(c->limits.requests, 1000000);
	CU_ASSERT_EQUAL(c->limits.in_flight, 1024);
	CU_ASSERT_EQUAL(c->limits.message, 1u << 20);
	CU_ASSERT_EQUAL(c->limits.client_queue, 4u << 20);
	CU_ASSERT_EQUAL(c->limits.link_queue, 16u << 20);
	CU_ASSERT_EQUAL(c->limits.held, 8u << 20);
	CU_ASSERT_EQUAL(c->limits.slow, OB__SLOW_CLOSE);
	ob__nodeconf_free(c);
}

static void test_everything(void)
{
	struct ob__nodeconf *c = load(
		"{'name': 'n', 'type': 'game', 'host': 'localhost', 'call_timeout': 0.25,\n"
		"'session_closed_id': 7, 'state_dir': 'st', 'pid': 'p', 'user': 'u',\n"
		"'log_level': 'warn', 'log_dir': 'l', 'log': {'stderr': 1, 'ring': 16},\n"
		"'reload': {'drain': 1.5}, 'limits': {'connections': 2, 'sessions': 3,\n"
		"'requests': 4, 'in_flight': 5, 'message': '2k', 'client_queue': '8k',\n"
		"'slow': 'drop', 'link_queue': '64k', 'held': 0},\n"
		"'websocket': {'port': 4, 'timeout': 0, 'no_state': {'range': [[1, 5], [9, 9]],\n"
		"'special': [7]}},\n"
		"'listen': [{'transport': 'tcp', 'codec': 'mine', 'host': '::1', 'port': 6,\n"
		"'reuseport': true, 'timeout': 2, 'token': 't', 'encode': 2, 'codec_conf': "
		"{'a': [1]}}, {'transport': 'unix', 'path': 'u.sock'}],\n"
		"'http': {'port': 8, 'token': 'secret'}, 'admin': {'unix': 'a.sock'},\n"
		"'rpc': {'port': 10, 'token': '0123456789abcdef', 'reconnect_time': 1},\n"
		"'remote_ports': [{'host': 'there', 'port': 11, 'type': 'route',\n"
		"'token': 'another token, long'}, {'port': 12}],\n"
		"'modules': ['one', 'dir/two.so', {'name': 'three', 'path': 'x.so',\n"
		"'conf': {'k': 1}, 'admin': true}], 'module_dirs': ['d1', 'd2']}");

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(c->call_timeout_ms, 250);
	CU_ASSERT_EQUAL(c->reload.drain_ms, 1500);
	CU_ASSERT_EQUAL(c->session_closed_id, 7);
	CU_ASSERT_STRING_EQUAL(c->state_dir, "st");
	CU_ASSERT_STRING_EQUAL(c->pid, "p");
	CU_ASSERT_STRING_EQUAL(c->user, "u");
	CU_ASSERT_EQUAL(c->log_level, OB_LOG_WARNING);
	CU_ASSERT_STRING_EQUAL(c->log_dir, "l");
	CU_ASSERT_TRUE(c->log_stderr);
	CU_ASSERT_EQUAL(c->log_ring, 16);
	CU_ASSERT_EQUAL(c->limits.connections, 2);
	CU_ASSERT_EQUAL(c->limits.sessions, 3);
	CU_ASSERT_EQUAL(c->limits.requests, 4);
	CU_ASSERT_EQUAL(c->limits.in_flight, 5);
	CU_ASSERT_EQUAL(c->limits.message, 2048);
	CU_ASSERT_EQUAL(c->limits.client_queue, 8192);
	CU_ASSERT_EQUAL(c->limits.slow, OB__SLOW_DROP);
	CU_ASSERT_EQUAL(c->limits.link_queue, 65536);
	CU_ASSERT_EQUAL(c->limits.held, 0);

	CU_ASSERT_EQUAL_FATAL(c->listens_len, 3);
	const struct ob__listen_conf *l = c->listens;
	CU_ASSERT_STRING_EQUAL(l[0].transport, "ws");
	CU_ASSERT_STRING_EQUAL(l[0].codec, "obespoir");
	CU_ASSERT_STRING_EQUAL(l[0].host, "localhost");
	CU_ASSERT_STRING_EQUAL(l[0].where, "websocket");
	CU_ASSERT_EQUAL(l[0].port, 4);
	CU_ASSERT_EQUAL(l[0].timeout_ms, 0);
	static const struct {
		uint32_t id;
		bool in;
	} ids[] = {{1, true}, {5, true}, {6, false}, {7, true}, {8, false}, {9, true}};
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		uint32_t v;
		CU_ASSERT_EQUAL(ob__idrange_find(&l[0].no_state, ids[i].id, &v), ids[i].in);
	}
	CU_ASSERT_STRING_EQUAL(l[1].transport, "tcp");
	CU_ASSERT_STRING_EQUAL(l[1].codec, "mine");
	CU_ASSERT_STRING_EQUAL(l[1].host, "::1");
	CU_ASSERT_TRUE(l[1].reuseport);
	CU_ASSERT_EQUAL(l[1].timeout_ms, 2000);
	CU_ASSERT_STRING_EQUAL(l[1].token, "t");
	CU_ASSERT_EQUAL(l[1].encode, 2);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(l[1].codec_conf, "a")), 1);
	CU_ASSERT(l[0].token == NULL && l[0].encode == 0 && l[0].codec_conf == NULL);
	CU_ASSERT_STRING_EQUAL(l[2].path, "u.sock");

	CU_ASSERT_EQUAL(c->http_port, 8);
	CU_ASSERT_STRING_EQUAL(c->http_token, "secret");
	CU_ASSERT_STRING_EQUAL(c->admin_unix, "a.sock");
	CU_ASSERT_EQUAL(c->rpc_port, 10);
	CU_ASSERT_EQUAL(c->reconnect_ms, 1000);
	CU_ASSERT_EQUAL_FATAL(c->remotes_len, 2);
	CU_ASSERT_STRING_EQUAL(c->remotes[0].host, "there");
	CU_ASSERT_STRING_EQUAL(c->remotes[0].role, "route");
	CU_ASSERT_STRING_EQUAL(c->remotes[0].token, "another token, long");
	CU_ASSERT_STRING_EQUAL(c->remotes[1].host, "127.0.0.1");
	CU_ASSERT_PTR_NULL(c->remotes[1].role);
	CU_ASSERT_PTR_NULL(c->remotes[1].token); /* the node's */
	CU_ASSERT_EQUAL(c->remotes[1].port, 12);
	CU_ASSERT_EQUAL(c->module_dirs_len, 2);
	CU_ASSERT_STRING_EQUAL(c->module_dirs[1], "d2");
	const struct ob__module_conf *m = c->modules;
	CU_ASSERT_EQUAL_FATAL(c->modules_len, 5);
	CU_ASSERT_STRING_EQUAL(m[1].name, "two");
	CU_ASSERT_STRING_EQUAL(m[1].path, "dir/two.so");
	CU_ASSERT_STRING_EQUAL(m[2].name, "three");
	CU_ASSERT_STRING_EQUAL(m[2].path, "x.so");
	CU_ASSERT_TRUE(m[2].admin);
	CU_ASSERT_FALSE(m[1].admin);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(m[2].conf, "k")), 1);
	CU_ASSERT_STRING_EQUAL(m[3].name, "codec_obespoir");
	CU_ASSERT_STRING_EQUAL(m[4].name, "codec_mine");
	ob__nodeconf_free(c);
}

/* The default modules: "name" written, "(name)" implied, "+" may administer. */
static const struct {
	const char *text;
	const char *extra[3];
	const char *modules;
} module_rows[] = {
	{"{'name': 'n', 'type': 'service'}", {NULL}, "(service)"},
	{"{'name': 'n', 'type': 'game'}", {NULL}, "(service)"},
	{"{'name': 'n', 'type': 'route'}", {NULL}, "(route)"},
	{"{'name': 'n', 'type': 'proxy'}", {NULL}, "(service)"}, /* no listener, no proxy */
	{"{'name': 'n', 'type': 'x', 'websocket': {'port': 1}}",
         {NULL},
         "(proxy) (codec_obespoir)"},
	{"{'name': 'n', 'type': 'x', 'websocket': {'port': 0}}", {NULL}, "(service)"},
	{"{'name': 'n', 'type': 'route', 'listen': [{}]}", {NULL}, "(proxy) (codec_obespoir)"},
	{"{'name': 'n', 'type': 'x', 'listen': [{'codec': 'a'}, {'codec': 'b'}, {'codec': 'a'}]}",
         {NULL},
         "(proxy) (codec_a) (codec_b)"},
	{"{'name': 'n', 'type': 'route', 'http': {'port': 1}}", {NULL}, "(route) (http_admin+)"},
	{"{'name': 'n', 'type': 'route', 'http': {'port': 0}}", {NULL}, "(route)"},
	{"{'name': 'n', 'type': 'route', 'admin': {'port': 1}}", {NULL}, "(route) (http_admin+)"},
	{"{'name': 'n', 'type': 'route', 'admin': {'unix': 'a'}}", {NULL}, "(route) (http_admin+)"},
	/* a list replaces what is implied, but for the codec of a listener */
	{"{'name': 'n', 'type': 'route', 'http': {'port': 1}, 'modules': []}", {NULL}, ""},
	{"{'name': 'n', 'type': 'x', 'listen': [{}], 'modules': ['codec_obespoir', 'a']}",
         {NULL},
         "codec_obespoir a"},
	{"{'name': 'n', 'type': 'x', 'listen': [{}], 'modules': ['a']}",
         {NULL},
         "a (codec_obespoir)"},
	/* -m adds: names, paths, plain files */
	{"{'name': 'n', 'type': 'x', 'modules': ['a']}",
         {"b", "c/d.so", "e.so"},
         "a b d=c/d.so e=e.so"},
	{"{'name': 'n', 'type': 'x'}", {"login"}, "(service) login"},
	{"{'name': 'n', 'type': 'x', 'modules': ['./a.b.so']}", {NULL}, "a.b=./a.b.so"},
};

static void test_ways(void)
{
	struct ob__nodeconf *c =
		load(NODE "'rpc': {'token': '0123456789abcdef', 'listen': [{'transport': 'a', "
	                  "'address': 'x'}, {'transport': 'b', 'address': 'y', 'told': 'z'}]},\n"
	                  "'remote_ports': [{'transport': 'a', 'address': 'x'}, {'path': '/s'}, "
	                  "{'transport': 'unix', 'address': '/t'}, {'address': '[::1]:5'}, "
	                  "{'transport': 'tcp', 'port': 6}]}");

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL_FATAL(c->rpc_listens_len, 2);
	CU_ASSERT_STRING_EQUAL(c->rpc_listens[0].told, "x");
	CU_ASSERT_STRING_EQUAL(c->rpc_listens[1].way.address, "y");
	CU_ASSERT_STRING_EQUAL(c->rpc_listens[1].told, "z");
	CU_ASSERT_EQUAL_FATAL(c->remotes_len, 5);
	CU_ASSERT_STRING_EQUAL(c->remotes[0].way.transport, "a");
	CU_ASSERT_PTR_NULL(c->remotes[0].host);
	CU_ASSERT_STRING_EQUAL(c->remotes[1].path, "/s");
	CU_ASSERT_PTR_NULL(c->remotes[1].host);
	CU_ASSERT_STRING_EQUAL(c->remotes[2].path, "/t");
	CU_ASSERT_STRING_EQUAL(c->remotes[3].host, "::1");
	CU_ASSERT_EQUAL(c->remotes[3].port, 5);
	CU_ASSERT_STRING_EQUAL(c->remotes[4].host, "127.0.0.1");
	CU_ASSERT_PTR_NULL(c->remotes[4].way.transport);
	ob__nodeconf_free(c);
}

static void test_modules(void)
{
	for (size_t i = 0; i < sizeof(module_rows) / sizeof(module_rows[0]); i++) {
		size_t extra = 0;
		struct ob__buf got = {0};
		while (extra < 3 && module_rows[i].extra[extra] != NULL) {
			extra++;
		}
		struct ob__nodeconf *c =
			load_with(module_rows[i].text, module_rows[i].extra, extra);
		CU_ASSERT_PTR_NOT_NULL_FATAL(c);
		for (size_t k = 0; k < c->modules_len; k++) {
			const struct ob__module_conf *m = &c->modules[k];
			ob__buf_printf(&got, "%s%s%s%s%s%s%s", k > 0 ? " " : "",
			               m->implied ? "(" : "", m->name, m->path != NULL ? "=" : "",
			               m->path != NULL ? m->path : "", m->admin ? "+" : "",
			               m->implied ? ")" : "");
		}
		ob__buf_append(&got, "", 1);
		CU_ASSERT_STRING_EQUAL((char *)got.data, module_rows[i].modules);
		ob__buf_free(&got);
		ob__nodeconf_free(c);
	}
}

static void test_extra_twice(void)
{
	static const char *const extra[] = {"a", "x/a.so"};

	CU_ASSERT_PTR_NULL(load_with("{'name': 'n', 'type': 'x', 'modules': []}", extra, 2));
	CU_ASSERT_PTR_NOT_NULL(strstr(said_text(), "modules: names a module twice"));
}

/* The token that every reader of the seed knows counts as none, where only this machine asks. */
static void test_demo_token(void)
{
	static const struct {
		const char *host;
		bool loopback;
	} rows[] = {
		{"127.0.0.1", true},  {"127.8.9.10", true}, {"localhost", true},
		{"::1", true},        {"0.0.0.0", false},   {"10.0.0.1", false},
		{"::", false},        {"fe80::1", false},   {"example.org", false},
		{"128.0.0.1", false}, {"", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[512];
		CU_ASSERT_EQUAL(ob__host_is_loopback(rows[i].host), rows[i].loopback);
		snprintf(
			text, sizeof(text),
			"{'name': 'n', 'type': 'x', 'host': '%s', 'http': {'port': 1, 'token': '%s'}}",
			rows[i].host, SEED_TOKEN);
		struct ob__nodeconf *c = load(text);
		CU_ASSERT_EQUAL(c != NULL, rows[i].loopback);
		if (c != NULL) {
			CU_ASSERT_PTR_NULL(c->http_token);
		}
		ob__nodeconf_free(c);
	}
	/* For links it is a warning off the machine: the demo must run. */
	struct ob__nodeconf *c = load("{'name': 'n', 'type': 'x', 'host': '0.0.0.0',\n"
	                              "'rpc': {'port': 1, 'token': '" SEED_TOKEN "'}}");
	CU_ASSERT_PTR_NOT_NULL(c);
	CU_ASSERT_STRING_EQUAL(said_text(), "warning n.conf:2: rpc.token: is the well-known demo "
	                                    "token; choose one of your own\n");
	ob__nodeconf_free(c);
}

/* Shaped as the seed's demo files: comments, its unused keys, tokens all over. */
static void test_seed_shape(void)
{
	static const char text[] =
		"{\n"
		"\t'log_level': 'debug', // what the file gets\n"
		"\t'log_dir': '../logs/',\n"
		"\t'name': 'proxy_1', /* prefix */\n"
		"\t'host': '127.0.0.1',\n"
		"\t'type': 'proxy',\n"
		"\t'api_path': 'app.demo.service',\n"
		"\t'available_way': 'local',\n"
		"\t'remote_ports': [\n"
		"\t\t{'host': '127.0.0.1', 'port': 21002, 'type': 'route',\n"
		"\t\t 'token': '" SEED_TOKEN "', 'encode': 0},\n"
		"\t],\n"
		"\t'websocket': {'port': 20000, 'token': '" SEED_TOKEN "', 'encode': 0,\n"
		"\t\t'timeout': 10, 'no_state': {'range': [[0, 100000]], 'special': []}},\n"
		"\t'http': {'port': 20001, 'token': '" SEED_TOKEN "', 'encode': 0},\n"
		"\t'rpc': {'port': 20002, 'token': '" SEED_TOKEN "', 'encode': 0, 'type': 'game',\n"
		"\t\t'reconnect_time': 5, 'route': {'range': {'route': [[0, 5000]],\n"
		"\t\t'service': [[5001, 10000]]}, 'special': {}}},\n"
		"}\n";
	struct ob__nodeconf *c = load(text);

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_PTR_NULL(strstr(said_text(), "error"));
	CU_ASSERT_PTR_NULL(strstr(said_text(), "warning"));
	/* what it ignores it names */
	CU_ASSERT_PTR_NOT_NULL(strstr(said_text(), "info n.conf:7: api_path: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(said_text(), "http.encode: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(said_text(), "rpc.type: "));
	CU_ASSERT_EQUAL(c->listens_len, 1);
	CU_ASSERT_EQUAL(c->listens[0].timeout_ms, 10000);
	CU_ASSERT_EQUAL(c->remotes_len, 1);
	CU_ASSERT_PTR_NULL(c->http_token);
	CU_ASSERT_EQUAL(c->modules_len, 3);
	uint32_t v;
	CU_ASSERT_TRUE(ob__idrange_find(&c->listens[0].no_state, 0, &v));
	CU_ASSERT_TRUE(ob__idrange_find(&c->listens[0].no_state, 100000, &v));
	CU_ASSERT_FALSE(ob__idrange_find(&c->listens[0].no_state, 100001, &v));
	ob__nodeconf_free(c);
}

/* ---------------------------------------------------------------- routes */

static const char *const role_words[] = {NULL, "route", "service", "game"};

static uint32_t role_id(void *arg, const char *word)
{
	CU_ASSERT_PTR_EQUAL(arg, role_words);
	for (uint32_t i = 1; i < 4; i++) {
		if (strcmp(role_words[i], word) == 0) {
			return i;
		}
	}
	return 0;
}

static const char *role_word(void *arg, uint32_t id)
{
	CU_ASSERT_PTR_EQUAL(arg, role_words);
	return role_words[id];
}

static struct ob__idrange *routes_of(const char *route)
{
	char text[1024];

	snprintf(text, sizeof(text),
	         "{'name': 'n', 'type': 'x',\n'rpc': {'token': '0123456789abcdef',\n'route': %s}}",
	         route);
	struct ob__nodeconf *c = load(text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	said.len = 0;
	struct ob__idrange *t = ob__nodeconf_routes(c, role_id, role_word,
	                                            (void *)(uintptr_t)role_words, on_report, NULL);
	ob__nodeconf_free(c);
	return t;
}

static void routes_free(struct ob__idrange *t)
{
	ob__idrange_free(t);
	free(t);
}

static void test_routes(void)
{
	static const struct {
		uint32_t id;
		uint32_t role;
	} rows[] = {
		{0, 1},     {5000, 1}, {5001, 2},           /* inclusive at both ends */
		{7000, 3},                                  /* the last of two ranges */
		{7001, 2},  {9000, 2}, {9001, 0}, {100, 2}, /* special before range */
		{12345, 3},
	};
	struct ob__idrange *t =
		routes_of("{'range': {'route': [[0, 5000]], 'service': [[5001, 9000]],\n"
	                  "'game': [[6000, 7000]]}, 'special': {'service': [100],\n"
	                  "'game': [100, 12345]}}");

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t role = 0;
		bool found = ob__idrange_find(t, rows[i].id, &role);
		CU_ASSERT_EQUAL(found ? role : 0, rows[i].role);
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(
		said_text(), "warning n.conf:3: rpc.route.range: [5001, 9000] of service and "
			     "[6000, 7000] of game overlap; game wins\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said_text(),
	                              "rpc.route.special: [100, 100] of game and [100, "
	                              "100] of service overlap; service wins\n"));
	routes_free(t);
}

static void test_routes_refused(void)
{
	static const struct {
		const char *route;
		const char *line;
	} rows[] = {
		{"{'range': {'nobody': [[1, 2]]}}",
	         "rpc.route.range: can't take the role \"nobody\""},
		{"{'special': {'no body': [1]}}",
	         "rpc.route.special: can't take the role \"no body\""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_PTR_NULL(routes_of(rows[i].route));
		CU_ASSERT_PTR_NOT_NULL(strstr(said_text(), rows[i].line));
	}
	/* none at all is an empty table */
	struct ob__idrange *t = routes_of("{}");
	uint32_t role;
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_FALSE(ob__idrange_find(t, 1, &role));
	CU_ASSERT_EQUAL(said.len, 0);
	routes_free(t);
}

/* Each row of the schema has a sentence, and its parent is a row as well. */
static void test_schema(void)
{
	for (const struct ob__conf_row *r = ob__nodeconf_rows; r->path != NULL; r++) {
		size_t len = strlen(r->doc);
		bool found = true;
		char parent[128];
		snprintf(parent, sizeof(parent), "%s", r->path);
		char *cut = strrchr(parent, '.');
		char *item = strstr(parent, "[]");
		if (len == 0 || r->doc[len - 1] != '.') {
			printf("# %s: \"%s\"\n", r->path, r->doc);
			CU_FAIL("no sentence");
		}
		if (item != NULL && item[2] == '\0') {
			*item = '\0';
		} else if (cut != NULL) {
			*cut = '\0';
		} else {
			continue;
		}
		found = false;
		for (const struct ob__conf_row *p = ob__nodeconf_rows; p->path != NULL; p++) {
			found |= strcmp(p->path, parent) == 0;
		}
		if (!found) {
			printf("# %s\n", r->path);
			CU_FAIL("a row without a parent");
		}
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("nodeconf", begin, end);
	CU_add_test(s, "each error", test_errors);
	CU_add_test(s, "all errors at once, with lines", test_all_errors_at_once);
	CU_add_test(s, "a missing file", test_missing_file);
	CU_add_test(s, "defaults", test_defaults);
	CU_add_test(s, "everything set", test_everything);
	CU_add_test(s, "what links are made over", test_ways);
	CU_add_test(s, "implied modules and -m", test_modules);
	CU_add_test(s, "-m of one that is there", test_extra_twice);
	CU_add_test(s, "the demo token and loopback", test_demo_token);
	CU_add_test(s, "a file of the seed's shape", test_seed_shape);
	CU_add_test(s, "routes, specials, overlaps", test_routes);
	CU_add_test(s, "routes that can't be", test_routes_refused);
	CU_add_test(s, "the schema", test_schema);
	return ob__tap_run();
}
