/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Listeners that modules open: when they accept, who may have which address, what a new generation
 * takes over and what becomes of one that nobody asks for. */

#include <arpa/inet.h>
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/client/conn.h"
#include "host/client/listen.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct rig_client c;
static struct puppet one;
static struct puppet two;

/* What the first puppet asks for at its next start, and what it was told. */
static ob_listen_options asks[4];
static size_t asks_len;
static int told[4];
static int rc_of_start;

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	ob_reply(ctx, req, v.data, v.len);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 1000, echo);

	for (size_t i = 0; i < asks_len; i++) {
		told[i] = ob_listen(ctx, &asks[i]);
		rc = rc == 0 ? told[i] : rc;
	}
	return rc == 0 ? rc_of_start : rc;
}

static ob_listen_options tcp(int port)
{
	return (ob_listen_options){.size = sizeof(ob_listen_options),
	                           .transport = "tcp",
	                           .codec = "obespoir",
	                           .host = "127.0.0.1",
	                           .port = (uint16_t)port};
}

static ob_listen_options ws(int port)
{
	ob_listen_options o = tcp(port);

	o.transport = "ws";
	return o;
}

static void ask(ob_listen_options o)
{
	asks[0] = o;
	asks_len = 1;
}

#define MODULES                                                                               \
	"'modules': ['codec_obespoir', {'name': 'puppet', 'conf': {'hooks': %ld}}, {'name': " \
	"'second', 'conf': {'hooks': %ld}}]"
#define HOOKS (long)(intptr_t)&one, (long)(intptr_t)&two

static void begin(void)
{
	rig_begin();
	memset(&one, 0, sizeof(one));
	memset(&two, 0, sizeof(two));
	memset(told, 0, sizeof(told));
	rc_of_start = 0;
	one.start = start;
	c.fd = -1;
}

static void end(void)
{
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	rig_stop(&n);
	rig_end();
}

static size_t opened(void)
{
	size_t len = 0;

	OB__LIST_EACH (it, &n.node->clients.opened_listeners) {
		len++;
	}
	return len;
}

static struct ob__client_listener *first(void)
{
	CU_ASSERT_FATAL(opened() > 0);
	return OB__CONTAINER(n.node->clients.opened_listeners.next, struct ob__client_listener,
	                     link);
}

static int port_of(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(first()->listener);
	return ob__listener_port(first()->listener);
}

static bool reload(int status, const char *expected)
{
	return rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}", status,
	                        expected);
}

/* ---------------------------------------------------------------- accepting */

static struct rig_client early;

/* In the shadow it is bound, and whoever calls waits. */
static int selftest(ob_ctx *ctx)
{
	const struct ob__client_listener *cl = first();

	CU_ASSERT_FALSE(cl->accepting);
	rig_connect(&early, ob__listener_port(cl->listener), false);
	rig_send(&early, 1000, "'early'");
	return 0;
}

static void test_accepts(void)
{
	begin();
	asks_len = 0;
	rig_start(&n, "n", "x", MODULES, HOOKS);
	ask(tcp(0));
	one.selftest = selftest;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	one.selftest = NULL;
	CU_ASSERT_TRUE(first()->accepting);
	CU_ASSERT_TRUE(rig_expect(&early, 1000, "'early'"));
	rig_disconnect(&early);
	rig_connect(&c, port_of(), false);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{'a': 1}", "{'a': 1}"));
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "node", NULL, 200,
		"{'listeners': [{'transport': 'tcp', 'codec': 'obespoir', 'module': 'puppet', "
		"'accepting': true, 'connections': 1}]}"));
	CU_ASSERT_TRUE(rig_logged("n", "(tcp, obespoir, module puppet)"));
	end();
}

static void test_transports(void)
{
	char path[256];

	begin();
	rig_start(&n, "n", "x", MODULES, HOOKS);
	snprintf(path, sizeof(path), "%s/l.sock", rig_dir);
	asks[0] = ws(0);
	asks[0].host = "::1";
	asks[1] = (ob_listen_options){
		.size = sizeof(asks[1]), .transport = "unix", .codec = "obespoir", .path = path};
	asks[2] = ws(0);
	asks_len = 3;
	bool six = reload(200, "{'result': 'switched'}");
	if (!six) { /* a machine without IPv6 */
		asks[0] = tcp(0);
		CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	}
	CU_ASSERT_EQUAL(opened(), 3);
	rig_connect_unix(&c, path);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	rig_disconnect(&c);
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	struct ob__client_listener *cl = OB__CONTAINER(n.node->clients.opened_listeners.prev,
	                                               struct ob__client_listener, link);
	rig_connect(&c, ob__listener_port(cl->listener), true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	asks_len = 0;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
	CU_ASSERT_EQUAL(opened(), 1); /* that of the client */
	end();
}

/* Listed before the module that offers the codec, in the configuration's order. */
static void test_codec_later(void)
{
	begin();
	ask(tcp(0));
	rig_start(
		&n, "n", "x",
		"'listen': [{'port': 0}], 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
		(long)(intptr_t)&one);
	rig_connect(&c, port_of(), false);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	char *log = rig_log("n");
	CU_ASSERT_PTR_NULL(strstr(log, "which nobody offers"));
	free(log);
	end();
}

static void test_idle(void)
{
	begin();
	ask(tcp(0));
	asks[0].idle_ms = 50;
	rig_start(&n, "n", "x", MODULES, HOOKS);
	rig_connect(&c, port_of(), false);
	CU_ASSERT_EQUAL(rig_closed(&c), 0);
	rig_disconnect(&c);
	asks[0].idle_ms = 0; /* of newcomers, from the switch on */
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	rig_connect(&c, port_of(), false);
	rig_turn_ms(120);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	end();
}

/* ---------------------------------------------------------------- over a reload */

static void test_taken_over(void)
{
	begin();
	ask(ws(0));
	rig_start(&n, "n", "x", MODULES, HOOKS);
	const struct ob__client_listener *cl = first();
	const struct ob__listener *socket = cl->listener;
	rig_connect(&c, port_of(), true);
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
		CU_ASSERT_EQUAL(opened(), 1);
		CU_ASSERT_PTR_EQUAL(first(), cl);
		CU_ASSERT_PTR_EQUAL(cl->listener, socket);
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	}
	/* One that is refused leaves it alone, too. */
	rc_of_start = OB_E_APP;
	CU_ASSERT_TRUE(reload(422, "{'error': {'step': 'start'}}"));
	CU_ASSERT_PTR_EQUAL(cl->listener, socket);
	CU_ASSERT_TRUE(cl->accepting);
	rig_disconnect(&c);
	rig_connect(&c, port_of(), true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	end();
}

static void test_dropped(void)
{
	begin();
	ask(ws(0));
	rig_start(&n, "n", "x", MODULES, HOOKS);
	int port = port_of();
	rig_connect(&c, port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	asks_len = 0;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_FALSE(rig_can_connect(port));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "2", "2"));
	CU_ASSERT_EQUAL(opened(), 1);
	CU_ASSERT_PTR_NULL(first()->listener);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "node", NULL, 200,
	                                "{'listeners': [{'address': null, 'accepting': false, "
	                                "'connections': 1}]}"));

	/* The address is free for another one, while the connection lives. */
	ask(ws(port));
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(opened(), 2);
	struct rig_client more;
	rig_connect(&more, port, true);
	CU_ASSERT_TRUE(rig_ask(&more, 1000, "3", "3"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "4", "4"));
	rig_disconnect(&more);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(opened() == 1));
	CU_ASSERT_PTR_NOT_NULL(first()->listener);

	/* And with the module. */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'puppet'}", 200, "{}"));
	CU_ASSERT_FALSE(rig_can_connect(port));
	CU_ASSERT_EQUAL(opened(), 0);
	CU_ASSERT_TRUE(rig_logged("n", "no longer listening on 127.0.0.1:"));
	end();
}

/* Whoever has begun the handshake may end it. */
static void test_dropped_in_handshake(void)
{
	static const char ask_ws[] = "GET / HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\n"
				     "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

	begin();
	ask(ws(0));
	rig_start(&n, "n", "x", MODULES, HOOKS);
	rig_connect(&c, port_of(), false);
	rig_send_raw(&c, ask_ws, 40);
	CU_ASSERT_TRUE(RIG_UNTIL(ob__http_conns(first()->http) == 1));
	asks_len = 0;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(opened(), 1);
	rig_send_raw(&c, ask_ws + 40, sizeof(ask_ws) - 41);
	CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(&c), c.packets_len > 0)));
	CU_ASSERT_EQUAL(strncmp((char *)c.packets, "HTTP/1.1 101", 12), 0);
	CU_ASSERT_EQUAL(first()->conns, 1);
	end();
}

/* ---------------------------------------------------------------- whose it is */

static void test_arguments(void)
{
	char path[200];
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	const struct {
		ob_listen_options o;
		int rc;
		const char *text;
	} rows[] = {
		{{.size = 8, .transport = "tcp", .codec = "obespoir"}, OB_E_INVAL, "needed"},
		{{.transport = NULL, .codec = "obespoir"}, OB_E_INVAL, "needed"},
		{{.transport = "tcp", .codec = NULL}, OB_E_INVAL, "needed"},
		{{.transport = "tcp", .codec = ""}, OB_E_INVAL, "needed"},
		{{.transport = "udp", .codec = "obespoir"},
	         OB_E_INVAL,
	         "ws, wss, tcp, tls, tcp+ws, tls+wss or unix"},
		{{.transport = "wss", .codec = "obespoir"}, OB_E_INVAL, "tls_cert goes with"},
		{{.transport = "ws", .codec = "obespoir", .tls_cert = "/x"},
	         OB_E_INVAL,
	         "tls_cert goes"},
		{{.transport = "tls", .codec = "obespoir", .tls_cert = "/nowhere/x"},
	         OB_E_INVAL,
	         "/nowhere/x: No such file"},
		{{.transport = "unix", .codec = "obespoir"}, OB_E_INVAL, "path goes"},
		{{.transport = "tcp", .codec = "obespoir", .path = "/x"}, OB_E_INVAL, "path goes"},
		{{.transport = "unix", .codec = "obespoir", .path = ""}, OB_E_INVAL, "no path"},
		{{.transport = "unix", .codec = "obespoir", .path = path}, OB_E_INVAL, "no path"},
		{{.transport = "tcp", .codec = "obespoir", .host = "example.org"},
	         OB_E_INVAL,
	         "in numbers"},
		{{.transport = "tcp", .codec = "morse"},
	         OB_E_NOT_FOUND,
	         "no module before this one offers the codec morse"},
		{{.transport = "tcp", .codec = "obespoir", .host = "192.0.2.1"},
	         -EADDRNOTAVAIL,
	         "192.0.2.1:0: this machine has no such address"},
		{{.transport = "unix", .codec = "obespoir", .path = "/nowhere/x"},
	         -ENOENT,
	         "/nowhere/x: "},
	};

	begin();
	asks_len = 0;
	rig_start(&n, "n", "x", MODULES, HOOKS);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *body = NULL;
		ask(rows[i].o);
		asks[0].size = asks[0].size != 0 ? asks[0].size : (uint32_t)sizeof(asks[0]);
		CU_ASSERT_EQUAL(
			rig_admin(&n, "modules.reload", "{'name': 'puppet', 'force': true}", &body),
			422);
		const char *message = json_string_value(
			json_object_get(json_object_get(body, "error"), "message"));
		CU_ASSERT_EQUAL(told[0], rows[i].rc);
		CU_ASSERT_PTR_NOT_NULL_FATAL(message);
		if (told[0] != rows[i].rc || strstr(message, rows[i].text) == NULL) {
			printf("# row %zu: %d %s\n", i, told[0], message);
			CU_FAIL("another refusal");
		}
		json_decref(body);
	}
	CU_ASSERT_EQUAL(opened(), 0);
	ob_listen_options o = tcp(0);
	CU_ASSERT_EQUAL(ob_listen(one.ctx, &o), OB_E_STATE); /* no longer in start */
	CU_ASSERT_EQUAL(opened(), 0);
	end();
}

static ob_listen_options two_asks;

static int start_two(ob_ctx *ctx, const json_t *conf)
{
	return ob_listen(ctx, &two_asks);
}

static void test_taken(void)
{
	int ports[4];
	char text[256];

	begin();
	for (int i = 0; i < 4; i++) {
		ports[i] = rig_port();
		for (int k = 0; k < i; k++) {
			if (ports[k] == ports[i]) {
				ports[i] = rig_port();
				k = -1;
			}
		}
	}
	ask(tcp(ports[0]));
	two.start = start_two;
	two_asks = tcp(0);
	rig_start(&n, "n", "x",
	          "'listen': [{'port': %d}], 'http': {'port': %d}, 'rpc': {'port': %d, 'token': "
	          "'" RIG_TOKEN "'}," MODULES,
	          ports[1], ports[2], ports[3], HOOKS);

	/* of the configuration, of another module, of its own under another name */
	for (int i = 1; i < 4; i++) {
		static const char *const words[] = {"", "listen", "http", "rpc"};
		ask(tcp(ports[i]));
		snprintf(text, sizeof(text),
		         "{'error': {'step': 'start', 'message': 'start failed: 127.0.0.1:%d is %s "
		         "of the configuration: %s'}}",
		         ports[i], words[i], ob_strerror(one.ctx, OB_E_EXISTS));
		CU_ASSERT_TRUE(reload(422, text));
		CU_ASSERT_EQUAL(told[0], OB_E_EXISTS);
	}
	for (int i = 0; i < 2; i++) {
		two_asks = i == 0 ? tcp(ports[0]) : ws(ports[0]);
		CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload",
		                                "{'name': 'second', 'force': true}", 422, "{}"));
	}
	CU_ASSERT_TRUE(rig_logged("n", "the module puppet listens on 127.0.0.1:"));
	ask(ws(ports[0]));
	CU_ASSERT_TRUE(reload(422, "{}"));
	CU_ASSERT_EQUAL(told[0], OB_E_EXISTS);

	/* Any port is nobody's in particular; twice the same is once too often. */
	ask(tcp(0));
	asks[1] = tcp(ports[0]);
	asks[2] = tcp(0);
	asks_len = 3;
	CU_ASSERT_TRUE(reload(422, "{}"));
	CU_ASSERT_EQUAL(told[0], 0);
	CU_ASSERT_EQUAL(told[1], 0);
	CU_ASSERT_EQUAL(told[2], OB_E_EXISTS);
	CU_ASSERT_EQUAL(opened(), 2); /* what was bound for it is closed again */
	rig_connect(&c, ports[0], false);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	end();
}

/* Another program has the port: refused by name and number, and nothing else is harmed. */
static void test_in_use(void)
{
	int port;
	char text[256];

	begin();
	ask(ws(0));
	rig_start(&n, "n", "x", MODULES, HOOKS);
	rig_connect(&c, port_of(), true);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 1), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	port = ntohs(a.sin_port);
	asks[1] = tcp(port);
	asks_len = 2;
	snprintf(text, sizeof(text),
	         "{'error': {'step': 'start', 'message': 'start failed: 127.0.0.1:%d: address in "
	         "use; is another node running on it?: %s'}}",
	         port, ob_strerror(one.ctx, -EADDRINUSE));
	CU_ASSERT_TRUE(reload(422, text));
	CU_ASSERT_EQUAL(told[1], -EADDRINUSE);
	CU_ASSERT_EQUAL(opened(), 1);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	close(fd);
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_can_connect(port));
	end();
}

/* ---------------------------------------------------------------- codecs */

static size_t x_decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary,
                       size_t max, ob_packet *out)
{
	out->kind = OB_PACKET_MESSAGE;
	out->id = 1000;
	out->data = data;
	out->len = len;
	return len;
}

static size_t x_encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	out[0] = 'x';
	memcpy(out + 1, packet->data, packet->len);
	return packet->len + 1;
}

static const char *codec_name = "x";

static int start_x(ob_ctx *ctx, const json_t *conf)
{
	ob_codec codec = {.size = sizeof(codec),
	                  .flags = OB_CODEC_STREAM,
	                  .overhead = 1,
	                  .name = codec_name,
	                  .decode = x_decode,
	                  .encode = x_encode};

	return ob_on_codec(ctx, &codec);
}

static bool says(struct rig_client *client, const char *text, const char *want)
{
	rig_send_raw(client, text, strlen(text));
	bool came = RIG_UNTIL((rig_pump(client), client->packets_len >= strlen(want)));
	bool same = came && strncmp((char *)client->packets, want, strlen(want)) == 0;

	client->packets_len = 0;
	return same;
}

/* Another codec is for newcomers; who is there goes on with the one it came with. */
static void test_other_codec(void)
{
	struct rig_client more;

	begin();
	int port = rig_port();
	ask(tcp(port));
	two.start = start_x;
	rig_start(&n, "n", "x", MODULES, HOOKS);
	rig_connect(&c, port, false);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	asks[0].codec = "x";
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "2", "2"));
	rig_connect(&more, port, false);
	CU_ASSERT_TRUE(says(&more, "hello", "xhello"));

	/* The codec's module may not leave it out, nor go, while a listener or a client needs it.
	 */
	codec_name = "y";
	static const char other[] = "{'name': 'second', 'force': true}";
	CU_ASSERT_TRUE(
		rig_admin_expect(&n, "modules.reload", other, 422, "{'error': {'code': 'codec'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'second'}", 409,
	                                "{'error': {'code': 'in_use'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'codec_obespoir'}", 409,
	                                "{'error': {'code': 'in_use'}}"));
	/* Also when both are exchanged at once, in either order. */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload",
	                                "{'names': ['second', 'puppet'], 'force': true}", 422,
	                                "{'error': {'step': 'start'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload",
	                                "{'names': ['puppet', 'second'], 'force': true}", 422,
	                                "{'error': {'step': 'start'}}"));
	asks_len = 0; /* no listener any more, but still a client */
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(
		rig_admin_expect(&n, "modules.reload", other, 422, "{'error': {'code': 'codec'}}"));
	CU_ASSERT_TRUE(says(&more, "hello", "xhello"));
	rig_disconnect(&more);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 1));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", other, 200, "{}"));
	codec_name = "x";
	end();
}

/* ---------------------------------------------------------------- the node's end */

static void test_drain(void)
{
	begin();
	ask(ws(0));
	rig_start(&n, "n", "x", MODULES, HOOKS);
	int port = port_of();
	rig_connect(&c, port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	CU_ASSERT_EQUAL(ob__drain_begin(n.node, &(struct ob__drain_options){0}), 0);
	CU_ASSERT_FALSE(rig_can_connect(port));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "2", "2"));
	asks[1] = tcp(port); /* a reload now opens nothing */
	asks[1].host = "127.0.0.2";
	asks_len = 2;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(opened(), 2);
	CU_ASSERT_FALSE(rig_can_connect(port));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "3", "3"));
	asks_len = 0;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(opened(), 1);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "4", "4"));
	ob__node_stop(n.node);
	CU_ASSERT_EQUAL(rig_closed(&c), 1001);
	end();
}

static void test_stop(void)
{
	begin();
	ask(ws(0));
	rig_start(&n, "n", "x", MODULES, HOOKS);
	rig_connect(&c, port_of(), true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	int port = port_of();
	ob__node_stop(n.node);
	CU_ASSERT_FALSE(rig_can_connect(port));
	CU_ASSERT_EQUAL(rig_closed(&c), 1001);
	CU_ASSERT_STRING_EQUAL(c.close_reason, "the node stops");
	end();
}

/* A node that can't start for one of them says which, and leaves nothing. */
static void test_no_start(void)
{
	int code = -1;

	begin();
	int port = rig_port();
	ask(tcp(port));
	asks[0].codec = "morse";
	rig_write_conf(&n, "n", "x", MODULES, HOOKS);
	CU_ASSERT_PTR_NULL(rig_start_conf(&n, &code));
	CU_ASSERT_EQUAL(code, 1);
	CU_ASSERT_TRUE(rig_logged("n", "offers the codec morse"));
	CU_ASSERT_FALSE(rig_can_connect(port));
	rig_end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("listen", NULL, NULL);
	CU_add_test(s, "accepts from live on", test_accepts);
	CU_add_test(s, "ws, tcp, unix", test_transports);
	CU_add_test(s, "before its codec", test_codec_later);
	CU_add_test(s, "idle", test_idle);
	CU_add_test(s, "taken over as it is", test_taken_over);
	CU_add_test(s, "nobody asks any more", test_dropped);
	CU_add_test(s, "nor during a handshake", test_dropped_in_handshake);
	CU_add_test(s, "arguments", test_arguments);
	CU_add_test(s, "taken", test_taken);
	CU_add_test(s, "in use by another program", test_in_use);
	CU_add_test(s, "another codec", test_other_codec);
	CU_add_test(s, "draining", test_drain);
	CU_add_test(s, "stopping", test_stop);
	CU_add_test(s, "no start", test_no_start);
	return ob__tap_run();
}
