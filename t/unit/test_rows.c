/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Several messages in one frame (lib/many.h), in whole nodes: a proxy, a route node and nodes of
 * two roles.  Some rows a client's burst makes, others are written by hand. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/call/methods.h"
#include "host/client/conn.h"
#include "lib/many.h"
#include "mesh/link_priv.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node proxy;
static struct rig_node route;
static struct rig_node service;
static struct rig_node other;
static struct rig_client c;
static struct puppet at_proxy;
static struct puppet at_route;
static struct puppet at_service;
static struct puppet at_other;

static int route_port;
static int ports[2]; /* of service and other */

#define HOOKS(p) (long)(intptr_t)(p)
#define RPC      "'rpc': {'port': %d, 'token': '" RIG_TOKEN "', 'reconnect_time': 0.05%s},"

static const char table[] = ", 'route': {'range': {'service': [[1000, 9999]]}}";

static const char *more_rpc = ""; /* of all of them */
static const char *proxy_table = table;
static const char *more_route = "";
static const char *more_service = "";
static const char *service_rpc = "";
static const char *route_allow = "";
static const char *route_modules = "'route', ";

static void start_proxy(void)
{
	char rpc[256];

	snprintf(rpc, sizeof(rpc), "%s%s", proxy_table, more_rpc);
	rig_start(&proxy, "p", "proxy",
	          "'listen': [{'port': 0}], 'rpc': {'token': '" RIG_TOKEN
	          "', 'reconnect_time': 0.05%s}, 'remote_ports': [{'port': %d, 'type': 'route'}], "
	          "'modules': ['proxy', {'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          rpc, route_port, HOOKS(&at_proxy));
}

static void start_route(void)
{
	char rpc[256];

	snprintf(rpc, sizeof(rpc), "%s%s%s", table, more_rpc, route_allow);
	rig_start(&route, "r", "route",
	          "%s" RPC "'remote_ports': [{'port': %d}, {'port': %d}], 'modules': [%s"
	          "{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          more_route, route_port, rpc, ports[0], ports[1], route_modules, HOOKS(&at_route));
}

static void start_one(struct rig_node *n, const char *name, const char *type, int port,
                      struct puppet *at)
{
	char rpc[256];

	snprintf(rpc, sizeof(rpc), "%s%s", more_rpc, service_rpc);
	rig_start(n, name, type, "%s" RPC "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          more_service, port, rpc, HOOKS(at));
}

static void start_service(void)
{
	start_one(&service, "s", "service", ports[0], &at_service);
}

/* ---------------------------------------------------------------- handlers */

static struct {
	int count;
	char bodies[1024]; /* the first byte of each, in their order */
	ob_session session;
	uint32_t flags;
	ob_req held[16];
} got;

static void see(ob_ctx *ctx, ob_req req, ob_view *view)
{
	*view = (ob_view){.size = sizeof(*view)};
	CU_ASSERT_EQUAL_FATAL(ob_req_view(ctx, req, view), 0);
	CU_ASSERT_TRUE_FATAL(got.count < (int)sizeof(got.bodies) - 1);
	got.bodies[got.count++] = view->len > 0 ? *(const char *)view->data : '-';
	got.bodies[got.count] = '\0';
	got.session = view->session;
	got.flags = view->flags;
}

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view view;

	see(ctx, req, &view);
	ob_reply(ctx, req, view.data, view.len);
}

static void fail(ob_ctx *ctx, ob_req req)
{
	ob_view view;

	see(ctx, req, &view);
	ob_fail(ctx, req, OB_E_DENIED, "not you");
}

static void keep(ob_ctx *ctx, ob_req req)
{
	ob_view view;

	see(ctx, req, &view);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	got.held[got.count - 1] = req;
}

/* "x" ends the link it came on, "k" its session. */
static void breaks(ob_ctx *ctx, ob_req req)
{
	ob_view view;

	see(ctx, req, &view);
	char body = got.bodies[got.count - 1];
	if (body == 'k' && view.session != 0) {
		CU_ASSERT_EQUAL(ob_session_close(ctx, view.session, 4001, "enough"), 0);
	} else if (body == 'x' && rig_peer(&service, &route) != NULL) {
		ob__link_shut(rig_peer(&service, &route)->link, "the test says so");
	}
	ob_reply(ctx, req, view.data, view.len);
}

/* A session that a message is said to belong to is there. */
static void at_home(ob_ctx *ctx, ob_req req)
{
	ob_session_info info = {.size = sizeof(info)};
	ob_view view;

	see(ctx, req, &view);
	if (view.session != 0) {
		CU_ASSERT_EQUAL(ob_session_get(ctx, view.session, &info), 0);
		(void)ob_session_close(ctx, view.session, 4001, "enough");
	}
	ob_reply(ctx, req, "1", 1);
}

/* From "b" on its node is late. */
static void tires(ob_ctx *ctx, ob_req req)
{
	ob_view view;

	see(ctx, req, &view);
	if (got.bodies[got.count - 1] == 'b') {
		service.node->callfilter.lag_ms = 1000;
	}
	ob_reply(ctx, req, view.data, view.len);
}

static struct {
	int count;
	int left; /* to come */
	ob_trace_info of[32];
	int refuse; /* every so many */
} traces;

static void traced(ob_ctx *ctx, ob_req req)
{
	ob_view view;

	see(ctx, req, &view);
	CU_ASSERT_TRUE_FATAL(traces.count < 32);
	traces.of[traces.count].size = sizeof(traces.of[0]);
	CU_ASSERT_EQUAL(ob_trace(ctx, 0, &traces.of[traces.count]), 0);
	traces.count++;
	ob_reply(ctx, req, view.data, view.len);
}

static void fans_out(ob_ctx *ctx, ob_req req);

static int start_handlers(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id_flags(ctx, 1000, echo, OB_FROM_LINK);

	(void)conf;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1001, fail, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1002, keep, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1003, breaks, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1004, tires, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1005, traced, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1006, fans_out, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_method(ctx, "t.s.m.echo", echo, 0) : rc;
	return rc == 0 ? ob_on_id_flags(ctx, 20000, echo, OB_FROM_LINK) : rc;
}

static int start_home(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_id_flags(ctx, 30, at_home, OB_FROM_LINK);
}

/* ---------------------------------------------------------------- begin and end */

static void begin(void)
{
	rig_begin();
	memset(&at_proxy, 0, sizeof(at_proxy));
	memset(&at_route, 0, sizeof(at_route));
	memset(&at_service, 0, sizeof(at_service));
	memset(&at_other, 0, sizeof(at_other));
	memset(&got, 0, sizeof(got));
	memset(&traces, 0, sizeof(traces));
	at_service.start = start_handlers;
	at_other.start = start_handlers;
	route_port = rig_port();
	ports[0] = rig_port();
	ports[1] = rig_port();
	c.fd = -1;
}

static void all_up(void)
{
	start_service();
	start_route();
	start_proxy();
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE_FATAL(rig_linked(&route, &service));
	rig_connect(&c, proxy.port, true);
}

static void end(void)
{
	struct rig_node *nodes[] = {&proxy, &route, &service, &other};

	if (c.fd >= 0) {
		rig_disconnect(&c);
	}
	for (size_t i = 0; i < 4; i++) {
		struct ob__node *node = nodes[i]->node;
		if (node != NULL) {
			CU_ASSERT_TRUE(RIG_UNTIL(node->pendings.slab.live == 0));
			CU_ASSERT_TRUE(RIG_UNTIL(node->dispatch.reqs.live == 0));
			CU_ASSERT_TRUE(RIG_UNTIL(node->sessions.slab.live == 0));
			CU_ASSERT_TRUE(RIG_UNTIL(node->dispatch.held_bytes == 0));
		}
	}
	for (size_t i = 0; i < 4; i++) {
		if (nodes[i]->node != NULL) {
			rig_stop(nodes[i]);
		}
	}
	rig_end();
	more_rpc = more_route = more_service = service_rpc = route_allow = "";
	proxy_table = table;
	route_modules = "'route', ";
}

/* ---------------------------------------------------------------- rows by hand */

/* Sends `f` with a message for each character of `bodies`, and the numbers from `number` on, if
 * that is not 0, over the link of `from` to `to`. */
static void row(struct rig_node *from, const struct rig_node *to, struct ob__frame f,
                const char *bodies, uint32_t number)
{
	static uint8_t raw[16384];
	uint8_t *at = raw + OB__FRAME_HEADER;
	struct ob__peer *peer = rig_peer(from, to);

	CU_ASSERT_PTR_NOT_NULL_FATAL(peer);
	f.flags |= OB__FRAME_MANY;
	f.src = f.src != 0 ? f.src : from->node->self.id;
	f.hops = f.hops != 0 ? f.hops : OB__FRAME_HOPS;
	if (number != 0) {
		ob__put32(at + OB__FRAME_EXT_HEADER, number);
		f.ext_len = (uint16_t)ob__frame_ext_head(at, OB__FRAME_EXT_ORDER, sizeof(number));
		at += f.ext_len;
	}
	if (f.ext != NULL) {
		CU_ASSERT_EQUAL_FATAL(number, 0);
		memcpy(at, f.ext, f.ext_len);
		at += f.ext_len;
	}
	const uint8_t *payload = at;
	for (size_t i = 0; bodies[i] != '\0'; i++) {
		ob__put64(at, 100 + i);
		ob__put32(at + 8, 1);
		at[OB__MANY_HEAD] = (uint8_t)bodies[i];
		at += OB__MANY_HEAD + 1;
	}
	CU_ASSERT_FATAL((size_t)(at - raw) <= sizeof(raw));
	f.payload_len = (uint32_t)(at - payload);
	ob__frame_put_header(raw, &f);
	CU_ASSERT_EQUAL(ob__peer_forward(from->node->links, peer, raw, (size_t)(at - raw)), 0);
}

static struct ob__frame request(uint32_t id, uint64_t dst)
{
	return (struct ob__frame){.kind = OB__FRAME_REQUEST, .id = id, .dst = dst, .budget = 5000};
}

static double refused(struct rig_node *n, const char *result)
{
	char series[96];

	snprintf(series, sizeof(series), "obhost_requests_refused_total{result=\"%s\"}", result);
	return rig_metric(n, series);
}

#define STALE() rig_metric(&proxy, "obhost_replies_stale")

/* ---------------------------------------------------------------- a client's burst */

static const struct ob__session *only_session(struct rig_node *n)
{
	uint32_t at = 0;

	CU_ASSERT_EQUAL(n->node->sessions.slab.live, 1);
	return ob__slab_next(&n->node->sessions.slab, &at);
}

static void say(uint32_t id, int from, int to)
{
	for (int i = from; i < to; i++) {
		char body[16];
		snprintf(body, sizeof(body), "%d", i);
		rig_send(&c, id, body);
	}
}

static bool hears(uint32_t id, int from, int to)
{
	for (int i = from; i < to; i++) {
		char body[16];
		snprintf(body, sizeof(body), "%d", i);
		if (!rig_expect(&c, id, body)) {
			return false;
		}
	}
	return true;
}

static void test_burst(void)
{
	begin();
	all_up();
	say(1000, 0, 1);
	CU_ASSERT_TRUE(hears(1000, 0, 1));
	double in = rig_metric(&service, "obhost_link_frames_total");
	double back = rig_metric(&proxy, "obhost_link_frames_total");
	say(1000, 1, 200);
	CU_ASSERT_TRUE(hears(1000, 1, 200));
	CU_ASSERT_EQUAL(got.count, 200);
	CU_ASSERT_TRUE(rig_metric(&service, "obhost_link_frames_total") - in < 60);
	CU_ASSERT_TRUE(rig_metric(&proxy, "obhost_link_frames_total") - back < 60);
	CU_ASSERT_EQUAL(only_session(&service)->messages, 200);
	const struct ob__order *given = &only_session(&proxy)->order;
	const struct ob__order *taken = &only_session(&service)->order;
	CU_ASSERT_TRUE(memcmp(given, taken, sizeof(*given)) == 0);
	CU_ASSERT_EQUAL(given->last[0] + given->last[1], 200);
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_messages_late_total"), 0);
	/* other ids between, failures, and two that answer late */
	say(1000, 0, 3);
	say(1001, 3, 6);
	say(1000, 6, 9);
	CU_ASSERT_TRUE(hears(1000, 0, 3));
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(rig_expect_error(&c, 1001, 403, "not you"));
	}
	CU_ASSERT_TRUE(hears(1000, 6, 9));
	CU_ASSERT_EQUAL(STALE(), 0);
	CU_ASSERT_EQUAL(only_session(&service)->messages, 209);
	end();
}

/* A message that its link refuses has no frame: what follows it is not added to that of another
 * message before it, which has another id. */
static void test_burst_refused(void)
{
	char big[3000];

	begin();
	proxy_table = ""; /* the route node knows where, so all of a session go the same way */
	all_up();
	memset(big, 'b', sizeof(big));
	say(1000, 0, 1);
	CU_ASSERT_TRUE(hears(1000, 0, 1));
	proxy.node->links->options.max_frame = 2048;
	say(1000, 1, 2);
	rig_send_bytes(&c, 1001, big, sizeof(big));
	say(1001, 2, 4);
	CU_ASSERT_TRUE(rig_expect_error(&c, 1001, 413, NULL));
	CU_ASSERT_TRUE(hears(1000, 1, 2));
	CU_ASSERT_TRUE(rig_expect_error(&c, 1001, 403, "not you"));
	CU_ASSERT_TRUE(rig_expect_error(&c, 1001, 403, "not you"));
	CU_ASSERT_STRING_EQUAL(got.bodies, "0123");
	end();
}

/* The numbers of a session go round in the middle of a burst. */
static void test_burst_round(void)
{
	begin();
	all_up();
	say(1000, 0, 1);
	CU_ASSERT_TRUE(hears(1000, 0, 1));
	struct ob__order *given = &((struct ob__session *)(uintptr_t)only_session(&proxy))->order;
	struct ob__order *taken = &((struct ob__session *)(uintptr_t)only_session(&service))->order;
	for (unsigned i = 0; i < OB__ORDER_ROWS; i++) {
		given->last[i] = taken->last[i] = OB__ORDER_MAX - 5;
	}
	say(1000, 0, 40);
	CU_ASSERT_TRUE(hears(1000, 0, 40));
	CU_ASSERT_TRUE(given->last[0] == 35 || given->last[1] == 35);
	CU_ASSERT_TRUE(memcmp(given, taken, sizeof(*given)) == 0);
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_messages_late_total"), 0);
	end();
}

/* A node where a message may not be large takes many small ones in one frame, as any other. */
static void test_burst_small(void)
{
	begin();
	more_service = "'limits': {'message': 64},";
	all_up();
	double in = rig_metric(&service, "obhost_link_frames_total");
	say(1000, 0, 900);
	CU_ASSERT_TRUE(hears(1000, 0, 900));
	CU_ASSERT_TRUE(rig_metric(&service, "obhost_link_frames_total") - in < 200);
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_link_closed_total{reason=\"ended\"}"), 0);
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_link_closed_total{reason=\"too_big\"}"), 0);
	end();
}

/* ---------------------------------------------------------------- calls */

static struct {
	int count;
	int codes[64];
	char texts[64][32];
} ended;

static void call_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	size_t i = (size_t)(intptr_t)arg;

	(void)ctx;
	(void)call;
	ended.count++;
	CU_ASSERT_EQUAL(ended.texts[i][0], '\0');
	ended.codes[i] = res->code;
	snprintf(ended.texts[i], sizeof(ended.texts[i]), "%.*s",
	         res->code == 0 ? (int)res->len : (int)strlen(res->text),
	         res->code == 0 ? (const char *)res->data : res->text);
}

static void call(ob_ctx *ctx, uint64_t node, uint32_t id, ob_session session, int i)
{
	ob_target to = {.node = node};
	char body[8];
	int len = snprintf(body, sizeof(body), "%d", i);

	CU_ASSERT_NOT_EQUAL(ob_call(ctx, &to, id, session, body, (size_t)len, 0, call_ended,
	                            (void *)(intptr_t)i),
	                    0);
}

/* Calls to a node share frames as well, and each has its own end. */
static void test_calls(void)
{
	begin();
	all_up();
	memset(&ended, 0, sizeof(ended));
	uint64_t out = rig_peer(&route, &service)->link->frames_out;
	for (int i = 0; i < 40; i++) {
		call(at_route.ctx, ob__node_id("s"), i >= 20 && i < 30 ? 1001 : 1000, 0, i);
	}
	CU_ASSERT_EQUAL(rig_peer(&route, &service)->link->frames_out, out + 3);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 40));
	for (int i = 0; i < 40; i++) {
		char want[8];
		snprintf(want, sizeof(want), "%d", i);
		bool fails = i >= 20 && i < 30;
		CU_ASSERT_EQUAL(ended.codes[i], fails ? OB_E_DENIED : 0);
		CU_ASSERT_STRING_EQUAL(ended.texts[i], fails ? "not you" : want);
	}
	end();
}

static ob_target role_of(const char *word)
{
	return (ob_target){.role = ob__fnv1a32(word)};
}

static uint64_t sent(struct rig_node *from, const struct rig_node *to)
{
	const struct ob__peer *peer = rig_peer(from, to);

	return peer != NULL ? peer->link->frames_out : 0;
}

static void call_to(const ob_target *to, uint32_t id, const char *method, uint32_t ms, int i)
{
	char body[8];
	int len = snprintf(body, sizeof(body), "%c", 'a' + i);

	void *arg = (void *)(intptr_t)i;
	size_t n = (size_t)len;
	ob_call_id made =
		method != NULL
			? ob_call_method(at_route.ctx, to, method, 0, body, n, ms, call_ended, arg)
			: ob_call(at_route.ctx, to, id, 0, body, n, ms, call_ended, arg);
	CU_ASSERT_NOT_EQUAL(made, 0);
}

/* There is a link, and it holds nothing back. */
static bool is_path(struct rig_node *from, const struct rig_node *to)
{
	const struct ob__peer *peer = rig_peer(from, to);

	return peer != NULL && peer->link->hold == 0 && peer->link->old == NULL;
}

/* As if nothing had been sent to the node for a while. */
static void quiet(void)
{
	memset(&ended, 0, sizeof(ended));
	memset(&got, 0, sizeof(got));
	rig_turn_ms(5);
}

static bool all_echoed(int n)
{
	bool same = RIG_UNTIL(ended.count == n);

	for (int i = 0; i < n; i++) {
		char want[2] = {(char)('a' + i), '\0'};
		same = same && ended.codes[i] == 0 && strcmp(ended.texts[i], want) == 0;
	}
	return same;
}

/* Calls to a role with one node: one frame there, one back, in their order. */
static void test_calls_role(void)
{
	ob_target service_role = role_of("service");

	begin();
	all_up();
	quiet();
	uint64_t out = sent(&route, &service);
	uint64_t back = sent(&service, &route);
	for (int i = 0; i < 20; i++) {
		call_to(&service_role, 1000, NULL, 0, i);
	}
	CU_ASSERT_EQUAL(sent(&route, &service), out + 1);
	CU_ASSERT_EQUAL(route.node->pendings.slab.live, 20);
	CU_ASSERT_EQUAL(rig_peer(&route, &service)->balance.pending, 20);
	CU_ASSERT_TRUE(all_echoed(20));
	CU_ASSERT_STRING_EQUAL(got.bodies, "abcdefghijklmnopqrst");
	CU_ASSERT_EQUAL(got.flags & OB_VIEW_CALL, OB_VIEW_CALL);
	CU_ASSERT_TRUE(sent(&service, &route) < back + 10); /* and what hosts say */
	CU_ASSERT_EQUAL(rig_peer(&route, &service)->balance.pending, 0);
	/* it drains from now on: what comes then does not go along */
	quiet();
	struct ob__peer *peer = rig_peer(&route, &service);
	for (int i = 0; i < 3; i++) {
		call_to(&service_role, 1000, NULL, 300, i);
	}
	ob__registry_set_draining(&route.node->registry, peer, true);
	call_to(&service_role, 1000, NULL, 300, 3);
	CU_ASSERT_EQUAL(peer->balance.pending, 3);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 4));
	CU_ASSERT_EQUAL(ended.codes[2], 0);
	CU_ASSERT_EQUAL(ended.codes[3], OB_E_NO_ROUTE);
	CU_ASSERT_EQUAL(got.count, 3);
	ob__registry_set_draining(&route.node->registry, peer, false);
	/* by method */
	quiet();
	CU_ASSERT_TRUE(RIG_UNTIL(ob__methods_may(route.node, ob__node_id("s"), "t.s.m.echo")));
	out = sent(&route, &service);
	for (int i = 0; i < 20; i++) {
		call_to(&service_role, 0, "t.s.m.echo", 0, i);
	}
	CU_ASSERT_EQUAL(sent(&route, &service), out + 1);
	CU_ASSERT_TRUE(all_echoed(20));
	CU_ASSERT_STRING_EQUAL(got.bodies, "abcdefghijklmnopqrst");
	/* a node that does not take rows */
	rig_peer(&route, &service)->link->theirs.features &= (uint32_t)~OB__HELLO_MANY;
	quiet();
	out = sent(&route, &service);
	for (int i = 0; i < 20; i++) {
		call_to(&service_role, 1000, NULL, 0, i);
	}
	CU_ASSERT_EQUAL(sent(&route, &service), out + 20);
	CU_ASSERT_TRUE(all_echoed(20));
	CU_ASSERT_STRING_EQUAL(got.bodies, "abcdefghijklmnopqrst");
	end();
}

/* What differs goes in a frame of its own; the order is that of the calls. */
static void test_calls_differ(void)
{
	static char big[OB__MANY_ITEM + 1];
	ob_target t = role_of("service");
	ob_target node = {.node = ob__node_id("s")};
	int n = 0;

	begin();
	all_up();
	quiet();
	call_to(&t, 1000, NULL, 0, n++);
	uint64_t out = sent(&route, &service);
	call_to(&t, 1000, NULL, 0, n++); /* its frame is the same */
	CU_ASSERT_EQUAL(sent(&route, &service), out);
	call_to(&t, 1000, NULL, 300, n++); /* less time */
	call_to(&t, 1000, NULL, 300, n++);
	CU_ASSERT_EQUAL(sent(&route, &service), out + 1);
	call_to(&t, 1005, NULL, 300, n++); /* another id */
	CU_ASSERT_EQUAL(sent(&route, &service), out + 2);
	call_to(&t, 0, "t.s.m.echo", 300, n++); /* a method */
	CU_ASSERT_EQUAL(sent(&route, &service), out + 3);
	call_to(&t, 1000, NULL, 300, n++);
	CU_ASSERT_EQUAL(sent(&route, &service), out + 4);
	call_to(&node, 1000, NULL, 300, n++); /* the same node, by its name */
	CU_ASSERT_EQUAL(sent(&route, &service), out + 5);
	/* what the host says comes between */
	out = sent(&route, &service);
	ob__link_probe(rig_peer(&route, &service)->link);
	call_to(&node, 1000, NULL, 300, n++);
	CU_ASSERT_EQUAL(sent(&route, &service), out + 2);
	CU_ASSERT_TRUE(all_echoed(n));
	CU_ASSERT_STRING_EQUAL(got.bodies, "abcdefghi");

	/* what is long, and what no longer fits */
	quiet();
	out = sent(&route, &service);
	memset(big, 'x', sizeof(big));
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_NOT_EQUAL(ob_call(at_route.ctx, &t, 1000, 0, big, sizeof(big), 0,
		                            call_ended, (void *)(intptr_t)i),
		                    0);
	}
	CU_ASSERT_EQUAL(sent(&route, &service), out + 3);
	for (int i = 3; i < 23; i++) {
		CU_ASSERT_NOT_EQUAL(ob_call(at_route.ctx, &t, 1000, 0, big, OB__MANY_ITEM, 0,
		                            call_ended, (void *)(intptr_t)i),
		                    0);
	}
	uint64_t frames = sent(&route, &service) - out - 3;
	CU_ASSERT_TRUE(frames >= 20 * OB__MANY_ITEM / OB__MANY_BYTES && frames <= 4);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 23));
	for (int i = 0; i < 23; i++) {
		CU_ASSERT_EQUAL(ended.codes[i], 0);
	}
	CU_ASSERT_EQUAL(got.count, 23);
	end();
}

/* Two nodes take turns: one frame for each; one goes: all to the other. */
static void test_calls_turns(void)
{
	ob_target t = role_of("service");

	begin();
	start_one(&other, "o", "service", ports[1], &at_other);
	all_up();
	CU_ASSERT_TRUE_FATAL(rig_linked(&route, &other));
	quiet();
	uint64_t out[] = {sent(&route, &service), sent(&route, &other)};
	for (int i = 0; i < 20; i++) {
		call_to(&t, 1000, NULL, 0, i);
		CU_ASSERT_EQUAL(rig_peer(&route, &service)->balance.pending +
		                        rig_peer(&route, &other)->balance.pending,
		                (uint32_t)i + 1);
	}
	CU_ASSERT_EQUAL(rig_peer(&route, &service)->balance.pending, 10);
	CU_ASSERT_EQUAL(sent(&route, &service), out[0] + 1);
	CU_ASSERT_EQUAL(sent(&route, &other), out[1] + 1);
	CU_ASSERT_TRUE(all_echoed(20));
	/* by name, first one, then the other */
	ob_target named[] = {{.node = ob__node_id("s")}, {.node = ob__node_id("o")}};
	quiet();
	for (int i = 0; i < 12; i++) {
		call_to(&named[i >= 4 && i < 7], 1000, NULL, 0, i);
	}
	CU_ASSERT_EQUAL(rig_peer(&route, &service)->balance.pending, 9);
	CU_ASSERT_EQUAL(rig_peer(&route, &other)->balance.pending, 3);
	CU_ASSERT_TRUE(all_echoed(12));
	/* the link breaks below a row that is not sent, and its calls end; the next ones find the
	 * other node */
	quiet();
	for (int i = 0; i < 4; i++) {
		call_to(&t, 1000, NULL, 0, i);
	}
	ob__link_shut(rig_peer(&route, &other)->link, "the test says so");
	for (int i = 4; i < 8; i++) {
		call_to(&t, 1000, NULL, 0, i);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 8));
	int lost = 0;
	for (int i = 0; i < 8; i++) {
		lost += ended.codes[i] == OB_E_NOT_SENT;
		CU_ASSERT_TRUE(ended.codes[i] == 0 || (i < 4 && ended.codes[i] == OB_E_NOT_SENT));
	}
	CU_ASSERT_EQUAL(lost, 2);
	CU_ASSERT_EQUAL(got.count, 6);
	end();
}

/* One of a row is cancelled, one has its deadline, one is held. */
static void test_calls_end(void)
{
	ob_target t = role_of("service");
	ob_call_id ids[6];

	begin();
	all_up();
	quiet();
	uint64_t out = sent(&route, &service);
	for (int i = 0; i < 6; i++) {
		char body = (char)('a' + i);
		ids[i] = ob_call(at_route.ctx, &t, 1002, 0, &body, 1, 500, call_ended,
		                 (void *)(intptr_t)i);
		CU_ASSERT_NOT_EQUAL(ids[i], 0);
	}
	CU_ASSERT_EQUAL(sent(&route, &service), out + 1);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 6));
	CU_ASSERT_EQUAL(ob_call_cancel(at_route.ctx, ids[1]), 0);
	CU_ASSERT_EQUAL(ob_reply(at_service.ctx, got.held[4], "e", 1), 0);
	CU_ASSERT_EQUAL(ob_reply(at_service.ctx, got.held[0], "a", 1), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&service, "obhost_requests_cancelled_total") == 1));
	CU_ASSERT_EQUAL(ob_reply(at_service.ctx, got.held[1], "b", 1), OB_E_STALE);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 5));
	for (int i = 0; i < 6; i++) {
		CU_ASSERT_EQUAL(ended.codes[i], i % 4 == 0 || i == 1 ? 0 : OB_E_DEADLINE);
	}
	CU_ASSERT_STRING_EQUAL(ended.texts[0], "a");
	CU_ASSERT_STRING_EQUAL(ended.texts[4], "e");
	CU_ASSERT_STRING_EQUAL(ended.texts[1], "");
	end();
}

static void fanned(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	(void)ctx;
	(void)call;
	(void)arg;
	CU_ASSERT_EQUAL(res->code, 0);
	traces.left--;
}

/* Four calls for the request, and two when it has ended. */
static void fans_out(ob_ctx *ctx, ob_req req)
{
	ob_target t = role_of("other");

	see(ctx, req, &(ob_view){0});
	traces.of[traces.count].size = sizeof(traces.of[0]);
	CU_ASSERT_EQUAL(ob_trace(ctx, 0, &traces.of[traces.count++]), 0);
	traces.left = 6;
	uint64_t out = sent(&service, &route) + sent(&service, &other);
	for (int i = 0; i < 6; i++) {
		if (i == 4) {
			CU_ASSERT_EQUAL(sent(&service, &route) + sent(&service, &other), out + 1);
			ob_reply(ctx, req, "1", 1);
		}
		CU_ASSERT_NOT_EQUAL(ob_call(ctx, &t, 1005, 0, "t", 1, 0, fanned, NULL), 0);
	}
	/* one row for the request, its answer, another row */
	CU_ASSERT_EQUAL(sent(&service, &route) + sent(&service, &other), out + 3);
}

/* Calls for one request are of its trace, each with its own span; those made behind its end begin
 * their own. */
static void test_calls_traced(void)
{
	begin();
	start_one(&other, "o", "other", ports[1], &at_other);
	all_up();
	CU_ASSERT_TRUE_FATAL(rig_linked(&route, &other));
	const struct ob__registry *known = &service.node->registry;
	uint64_t o = ob__node_id("o");
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(ob__registry_get(known, o) != NULL &&
	                               ob__peer_is_reachable(known, ob__registry_get(known, o))));
	for (int round = 0; round < 2; round++) {
		memset(&traces, 0, sizeof(traces));
		quiet();
		/* the second time what is called is one step away, and the answer goes elsewhere */
		CU_ASSERT_TRUE_FATAL(round == 0 || RIG_UNTIL(is_path(&service, &other)));
		call(at_route.ctx, ob__node_id("s"), 1006, 0, 0);
		CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1 && traces.count == 7));
		CU_ASSERT_TRUE(RIG_UNTIL(traces.left == 0));
		const ob_trace_info *t = traces.of;
		for (int i = 1; i < 7; i++) {
			bool its = i < 5;
			CU_ASSERT_EQUAL(t[i].begins, !its);
			CU_ASSERT_EQUAL(t[i].parent, its ? t[0].span : 0);
			CU_ASSERT_EQUAL(t[i].id[0], its ? t[0].id[0] : ob__node_id("s"));
			CU_ASSERT_EQUAL(t[i].id[1], its ? t[0].id[1] : t[i].span);
			for (int k = 0; k < i; k++) {
				CU_ASSERT_NOT_EQUAL(t[i].span, t[k].span);
			}
		}
	}
	end();
}

/* ---------------------------------------------------------------- keys, filters, a late node */

static struct ob__frame with_key(struct ob__frame f, const char *key)
{
	static uint8_t ext[80];

	f.ext = ext;
	f.ext_len = (uint16_t)ob__frame_ext_put(ext, 0, sizeof(ext), OB__FRAME_EXT_IDEMPOTENCY, key,
	                                        (uint16_t)strlen(key));
	return f;
}

/* The messages of a row with a key are one: the first is handled, and all get its end. */
static void test_keys(void)
{
	static char too_long[66];
	struct ob__frame f = request(1000, ob__node_id("s"));

	f.flags = OB__FRAME_CALL;
	begin();
	all_up();
	double stale = STALE();
	row(&proxy, &route, with_key(f, "k1"), "123", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 3));
	CU_ASSERT_STRING_EQUAL(got.bodies, "1");
	row(&proxy, &route, with_key(f, "k1"), "45", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 5));
	CU_ASSERT_STRING_EQUAL(got.bodies, "1");
	row(&proxy, &route, with_key(f, "k2"), "67", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 7));
	CU_ASSERT_STRING_EQUAL(got.bodies, "16");
	/* held: the others wait for it */
	memset(&got, 0, sizeof(got));
	f.id = 1002;
	row(&proxy, &route, with_key(f, "k1"), "123", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 1));
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(got.count, 1);
	CU_ASSERT_EQUAL(STALE(), stale + 7);
	CU_ASSERT_EQUAL(ob_reply(at_service.ctx, got.held[0], "1", 1), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 10));
	/* one that is no key */
	memset(too_long, 'k', sizeof(too_long) - 1);
	row(&proxy, &route, with_key(f, too_long), "123", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 13));
	CU_ASSERT_EQUAL(refused(&service, "BAD"), 3);
	CU_ASSERT_EQUAL(got.count, 1);
	end();
}

static void keyed(const char *key, int i)
{
	ob_target t = role_of("service");
	char body = (char)('a' + i);
	ob_call_options o = {
		.size = sizeof(o),
		.mode = OB_CALL_FAIL_FAST,
		.id = 1000,
		.data = &body,
		.len = 1,
		.key = key,
		.key_len = (uint32_t)strlen(key),
	};

	CU_ASSERT_NOT_EQUAL(ob_call_with(at_route.ctx, &t, &o, call_ended, (void *)(intptr_t)i), 0);
}

/* Calls with keys between others: each has the end of its own key. */
static void test_keys_between(void)
{
	ob_target t = role_of("service");

	begin();
	all_up();
	quiet();
	call_to(&t, 1000, NULL, 0, 0);
	call_to(&t, 1000, NULL, 0, 1);
	keyed("k1", 2);
	keyed("k1", 3);
	keyed("k2", 4);
	call_to(&t, 1000, NULL, 0, 5);
	call_to(&t, 1000, NULL, 0, 6);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 7));
	for (int i = 0; i < 7; i++) {
		char want[2] = {"abccefg"[i], '\0'};
		CU_ASSERT_EQUAL(ended.codes[i], 0);
		CU_ASSERT_STRING_EQUAL(ended.texts[i], want);
	}
	CU_ASSERT_STRING_EQUAL(got.bodies, "abcefg");
	end();
}

/* The node is late from the second message of a row on: the others of it are refused, each by
 * itself, and whoever may tries again. */
static void test_too_busy(void)
{
	ob_target t = role_of("service");

	begin();
	service_rpc = ", 'too_busy': 0.5";
	all_up();
	quiet();
	uint64_t out = sent(&route, &service);
	for (int i = 0; i < 6; i++) {
		call_to(&t, 1004, NULL, 0, i);
	}
	CU_ASSERT_EQUAL(sent(&route, &service), out + 1);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 6));
	CU_ASSERT_STRING_EQUAL(got.bodies, "ab");
	for (int i = 0; i < 6; i++) {
		CU_ASSERT_EQUAL(ended.codes[i], i < 2 ? 0 : OB_E_BUSY);
	}
	CU_ASSERT_STRING_EQUAL(ended.texts[1], "b");
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_too_busy_total"), 4);
	CU_ASSERT_EQUAL(refused(&service, "BUSY"), 4);
	/* it was no handler that said so: another try may follow, once the node is not late */
	ob_call_options o = {
		.size = sizeof(o),
		.mode = OB_CALL_FAIL_BACK,
		.id = 1000,
		.data = "x",
		.len = 1,
	};
	memset(&ended, 0, sizeof(ended));
	memset(&got, 0, sizeof(got));
	service.node->callfilter.lag_ms = 60000;
	CU_ASSERT_NOT_EQUAL(ob_call_with(at_route.ctx, &t, &o, call_ended, (void *)0), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.codes[0], 0);
	CU_ASSERT_EQUAL(got.count, 1);
	CU_ASSERT_TRUE(rig_metric(&service, "obhost_too_busy_total") > 4);
	/* a client's */
	memset(&got, 0, sizeof(got));
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->callfilter.lag_ms == 0));
	rig_send(&c, 1000, "1");
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "1"));
	service.node->callfilter.lag_ms = 60000;
	say(1000, 2, 5);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 503, NULL));
	}
	CU_ASSERT_EQUAL(got.count, 1);
	end();
}

static int every_third(ob_ctx *ctx, const ob_call_event *e)
{
	(void)ctx;
	CU_ASSERT_EQUAL(e->view->len, 1);
	traces.of[traces.count++] = e->trace;
	return ++traces.refuse % 3 == 0 ? OB_E_DENIED : 0;
}

static int start_filtered(ob_ctx *ctx, const json_t *conf)
{
	int rc = start_handlers(ctx, conf);

	return rc == 0 ? ob_on_call_filter(ctx, OB_CALL_BEFORE_IN, 0, every_third) : rc;
}

/* A filter sees each call of a row, and refuses some. */
static void test_filter(void)
{
	ob_target t = role_of("service");

	begin();
	at_service.start = start_filtered;
	all_up();
	quiet();
	uint64_t out = sent(&route, &service);
	for (int i = 0; i < 10; i++) {
		call_to(&t, 1000, NULL, 0, i);
	}
	CU_ASSERT_EQUAL(sent(&route, &service), out + 1);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 10));
	CU_ASSERT_EQUAL(traces.count, 10);
	for (int i = 0; i < 10; i++) {
		char want[2] = {(char)('a' + i), '\0'};
		CU_ASSERT_EQUAL(ended.codes[i], i % 3 == 2 ? OB_E_DENIED : 0);
		CU_ASSERT_TRUE(i % 3 == 2 || strcmp(ended.texts[i], want) == 0);
		CU_ASSERT_EQUAL(traces.of[i].begins, 1);
		CU_ASSERT_EQUAL(traces.of[i].id[1], traces.of[i].span);
		CU_ASSERT_TRUE(i == 0 || traces.of[i].span != traces.of[i - 1].span);
	}
	CU_ASSERT_STRING_EQUAL(got.bodies, "abdeghj");
	end();
}

/* ---------------------------------------------------------------- encrypted links */

static void test_tls(void)
{
	ob_target t = role_of("service");

	begin();
	more_rpc = ", 'encode': 1";
	all_up();
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig_peer(&route, &service)->link->stream.tls);
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig_peer(&proxy, &route)->link->stream.tls);
	say(1000, 0, 1);
	CU_ASSERT_TRUE(hears(1000, 0, 1));
	double in = rig_metric(&service, "obhost_link_frames_total");
	say(1000, 1, 200);
	CU_ASSERT_TRUE(hears(1000, 1, 200));
	CU_ASSERT_EQUAL(got.count, 200);
	CU_ASSERT_TRUE(rig_metric(&service, "obhost_link_frames_total") - in < 60);
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_messages_late_total"), 0);
	for (int round = 0; round < 3; round++) {
		quiet();
		uint64_t out = sent(&route, &service);
		uint64_t back = sent(&service, &route);
		for (int i = 0; i < 20; i++) {
			call_to(&t, 1000, NULL, 0, i);
		}
		CU_ASSERT_EQUAL(sent(&route, &service), out + 1);
		CU_ASSERT_TRUE(all_echoed(20));
		CU_ASSERT_STRING_EQUAL(got.bodies, "abcdefghijklmnopqrst");
		CU_ASSERT_TRUE(sent(&service, &route) < back + 10); /* and what hosts say */
	}
	/* by hand, passed on, and parted for one that does not take rows */
	quiet();
	double stale = STALE();
	row(&proxy, &route, request(1000, ob__node_id("s")), "12345", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 5));
	CU_ASSERT_STRING_EQUAL(got.bodies, "12345");
	rig_peer(&route, &service)->link->theirs.features &= (uint32_t)~OB__HELLO_MANY;
	row(&proxy, &route, request(1000, ob__node_id("s")), "678", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 8));
	CU_ASSERT_STRING_EQUAL(got.bodies, "12345678");
	end();
}

/* A handler ends the session its row belongs to, on the session's own node. */
static void test_closed_at_home(void)
{
	begin();
	at_proxy.start = start_home;
	all_up();
	say(1000, 0, 1);
	CU_ASSERT_TRUE(hears(1000, 0, 1));
	memset(&ended, 0, sizeof(ended));
	for (int i = 0; i < 5; i++) {
		call(at_service.ctx, ob__node_id("p"), 30, got.session, i);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 5));
	CU_ASSERT_EQUAL(got.count, 6);
	CU_ASSERT_EQUAL(rig_closed(&c), 4001);
	end();
}

/* ---------------------------------------------------------------- at the node that handles them */

static void test_local(void)
{
	uint64_t s = ob__node_id("s");

	begin();
	all_up();
	say(1000, 0, 1); /* the session is met */
	CU_ASSERT_TRUE(hears(1000, 0, 1));
	const struct ob__session *session = only_session(&service);
	struct ob__frame f = request(1000, s);
	f.flags = OB__FRAME_STICKY;
	f.src = f.session_node = ob__node_id("p");
	f.session_seq = session->seq;
	double stale = STALE();

	/* in their order, one by one, each with a reply (that nobody waits for) */
	memset(&got, 0, sizeof(got));
	row(&route, &service, f, "12345", 50);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 5));
	CU_ASSERT_STRING_EQUAL(got.bodies, "12345");
	CU_ASSERT_EQUAL(got.session, session->handle);
	CU_ASSERT_EQUAL(session->messages, 6);
	CU_ASSERT_EQUAL(session->order.last[0], 54);

	/* too late, as a whole: no handler, and each is refused */
	double busy = refused(&service, "BUSY");
	row(&route, &service, f, "678", 54);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 8));
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_messages_late_total"), 3);
	CU_ASSERT_EQUAL(refused(&service, "BUSY"), busy + 3);
	CU_ASSERT_EQUAL(got.count, 5);
	CU_ASSERT_EQUAL(session->messages, 6);
	CU_ASSERT_EQUAL(session->order.last[0], 54);

	/* without time, without a handler */
	f.budget = 0;
	double late = refused(&service, "DEADLINE");
	row(&route, &service, f, "123", 60);
	CU_ASSERT_TRUE(RIG_UNTIL(refused(&service, "DEADLINE") == late + 3));
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 11));
	f.budget = 5000;
	f.id = 4711;
	row(&route, &service, f, "123", 60);
	CU_ASSERT_TRUE(RIG_UNTIL(refused(&service, "NOT_FOUND") == 3));
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 14));
	CU_ASSERT_EQUAL(got.count, 5);

	/* one-way, also without time: nobody is answered */
	f.id = 1000;
	f.flags |= OB__FRAME_ONE_WAY;
	f.budget = 0;
	row(&route, &service, f, "abc", 60);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 8));
	CU_ASSERT_STRING_EQUAL(got.bodies, "12345abc");
	CU_ASSERT_TRUE((got.flags & OB_VIEW_ONE_WAY) != 0);
	f.id = 4711;
	row(&route, &service, f, "abc", 70);
	CU_ASSERT_TRUE(RIG_UNTIL(refused(&service, "NOT_FOUND") == 6));
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(STALE(), stale + 14);
	CU_ASSERT_EQUAL(session->messages, 9);
	end();
}

/* The link, or the client, goes in the middle of a row. */
static void test_breaks(void)
{
	begin();
	all_up();
	for (int i = 0; i < 2; i++) {
		memset(&got, 0, sizeof(got));
		row(&route, &service, request(1003, ob__node_id("s")), "12x45", 0);
		CU_ASSERT_TRUE(RIG_UNTIL(got.count >= 3));
		CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&route, &service) == NULL));
		CU_ASSERT_TRUE_FATAL(rig_linked(&route, &service));
		CU_ASSERT_TRUE(strncmp(got.bodies, "12x45", strlen(got.bodies)) == 0);
	}
	say(1000, 0, 5);
	CU_ASSERT_TRUE(hears(1000, 0, 5));
	memset(&got, 0, sizeof(got));
	rig_send(&c, 1003, "1");
	rig_send(&c, 1003, "kick");
	rig_send(&c, 1003, "3");
	CU_ASSERT_EQUAL(rig_closed(&c), 4001);
	CU_ASSERT_STRING_EQUAL(got.bodies, "1k3");
	end();
}

static void test_reload(void)
{
	begin();
	all_up();
	say(1002, 0, 8);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 8));
	ob_ctx *old = at_service.ctx;
	CU_ASSERT_TRUE(rig_admin_expect(&service, "modules.reload", "{'force': true}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_PTR_NOT_EQUAL(at_service.ctx, old);
	say(1000, 10, 15);
	CU_ASSERT_TRUE(hears(1000, 10, 15));
	for (int i = 0; i < 8; i++) {
		char body[8];
		int len = snprintf(body, sizeof(body), "%d", i);
		CU_ASSERT_EQUAL(ob_reply(old, got.held[i], body, (size_t)len), 0);
	}
	CU_ASSERT_TRUE(hears(1002, 0, 8));
	CU_ASSERT_TRUE(RIG_UNTIL(at_service.stops == 1));
	end();
}

/* ---------------------------------------------------------------- at the node on the way */

static void test_passed_on(void)
{
	uint64_t s = ob__node_id("s");

	begin();
	all_up();
	double forwarded = rig_metric(&route, "obhost_forwarded_total");
	double frames = rig_metric(&service, "obhost_link_frames_total");
	double stale = STALE();
	row(&proxy, &route, request(1000, s), "12345", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 5));
	CU_ASSERT_STRING_EQUAL(got.bodies, "12345");
	CU_ASSERT_TRUE(rig_metric(&service, "obhost_link_frames_total") - frames < 4);
	/* each way, and perhaps a word of others */
	CU_ASSERT_TRUE(rig_metric(&route, "obhost_forwarded_total") >= forwarded + 10);

	/* a peer that does not take rows */
	rig_peer(&route, &service)->link->theirs.features &= (uint32_t)~OB__HELLO_MANY;
	frames = rig_metric(&service, "obhost_link_frames_total");
	memset(&got, 0, sizeof(got));
	row(&proxy, &route, request(1000, s), "54321", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 10));
	CU_ASSERT_STRING_EQUAL(got.bodies, "54321");
	CU_ASSERT_TRUE(rig_metric(&service, "obhost_link_frames_total") - frames >= 5);
	/* with numbers: each has its own, and none is late */
	say(1000, 0, 1);
	CU_ASSERT_TRUE(hears(1000, 0, 1));
	struct ob__frame f = request(1000, s);
	f.session_node = ob__node_id("p");
	f.session_seq = only_session(&service)->seq;
	memset(&got, 0, sizeof(got));
	row(&proxy, &route, f, "123", OB__ORDER_MAX / 3);
	row(&proxy, &route, f, "456", OB__ORDER_MAX / 3 + 3);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 6));
	CU_ASSERT_STRING_EQUAL(got.bodies, "123456");
	CU_ASSERT_EQUAL(only_session(&service)->order.last[0], OB__ORDER_MAX / 3 + 5);
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_messages_late_total"), 0);

	/* no hop left; replies for nobody */
	double hops = rig_metric(&route, "obhost_hops_exceeded_total");
	f = request(1000, s);
	f.hops = 1;
	stale = STALE();
	row(&proxy, &route, f, "123", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&route, "obhost_hops_exceeded_total") == hops + 3));
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() >= stale + 3));
	double lost = rig_metric(&route, "obhost_replies_lost_total");
	row(&service, &route, (struct ob__frame){.kind = OB__FRAME_REPLY, .dst = 4711}, "1234", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&route, "obhost_replies_lost_total") == lost + 4));
	end();
}

/* A row for a node, or a role, that is away waits message by message. */
static void test_held(void)
{
	begin();
	start_route();
	start_proxy();
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	struct ob__frame f = request(1000, 0);
	f.flags = OB__FRAME_STICKY;
	f.role = ob__fnv1a32("service");
	double held = rig_metric(&route, "obhost_held_total");
	row(&proxy, &route, f, "123", 0);
	row(&proxy, &route, request(1000, ob__node_id("s")), "456", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&route, "obhost_held_total") == held + 6));
	rig_turn_ms(20);
	start_service();
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == 6));
	CU_ASSERT_STRING_EQUAL(got.bodies, "123456");
	end();
}

/* ---------------------------------------------------------------- the decider */

static char events[1024];

static void note(char what, char which)
{
	size_t len = strlen(events);

	CU_ASSERT_TRUE_FATAL(len + 3 < sizeof(events));
	events[len] = what;
	events[len + 1] = which;
	events[len + 2] = '\0';
}

static char mark_of(const void *data)
{
	return ((const char *)data)[1]; /* "x7": a JSON string */
}

static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	(void)ctx;
	char what = mark_of(view->data);
	note('?', what);
	switch (what) {
	case 's':
		return (ob_verdict){.action = OB_FORWARD,
		                    .target = {.role = ob__fnv1a32("service")}};
	case 'n':
		return (ob_verdict){.action = OB_FORWARD, .target = {.node = ob__node_id("s")}};
	case 'o':
		return (ob_verdict){.action = OB_FORWARD, .target = {.role = ob__fnv1a32("other")}};
	case 'h': /* to itself */
		return (ob_verdict){.action = OB_FORWARD, .target = {.node = ob__node_id("r")}};
	case 'd':
		return (ob_verdict){.action = OB_DONE};
	case 'r':
		return (ob_verdict){.action = OB_REFUSE, .code = OB_E_BUSY, .text = "later"};
	default:
		return (ob_verdict){.action = OB_LOCAL};
	}
}

static void route_local(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &view), 0);
	note('!', mark_of(view.data));
	ob_reply(ctx, req, view.data, view.len);
}

static int start_decider(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_link_message(ctx, decide);

	(void)conf;
	return rc == 0 ? ob_on_id_flags(ctx, 20000, route_local, OB_FROM_LINK) : rc;
}

/* Where the answer to a message comes from, '-' if there is none. */
static char answerer(char what)
{
	return what == 'n' ? 's' : what == 'h' || what == 'r' ? 'l' : what == 'd' ? '-' : what;
}

/* A burst of messages, each with its own verdict: those of one target are answered in their order.
 */
static bool decided(const char *pattern)
{
	int next[256] = {0};
	int answers = 0;
	char body[16];

	for (int i = 0; pattern[i] != '\0'; i++) {
		snprintf(body, sizeof(body), "'%c%d'", pattern[i], i);
		rig_send(&c, 20000, body);
		answers += pattern[i] != 'd';
	}
	for (; answers > 0; answers--) {
		if (!rig_recv(&c)) {
			return false;
		}
		char from;
		int i;
		if (strstr(c.body, "later") != NULL) {
			for (i = next['l']; pattern[i] != 'r'; i++) {
				if (pattern[i] == '\0' || answerer(pattern[i]) == 'l') {
					return false;
				}
			}
			from = 'l';
		} else {
			char what;
			if (sscanf(c.body, "\"%c%d\"", &what, &i) != 2 || pattern[i] != what) {
				return false;
			}
			from = answerer(what);
			for (int k = next[(int)from]; k < i; k++) {
				if (answerer(pattern[k]) == from) {
					return false; /* that one was to come first */
				}
			}
		}
		next[(int)from] = i + 1;
	}
	return true;
}

static void test_decider(void)
{
	static const char *const rows[] = {
		"s",
		"sss",
		"ooo",
		"so",
		"os",
		"sos",
		"ssoossoo",
		"l",
		"lll",
		"lsl",
		"sls",
		"sssl",
		"lsss",
		"r",
		"rrr",
		"srs",
		"rs",
		"sr",
		"d",
		"ddd",
		"sds",
		"ds",
		"sd",
		"h",
		"hhh",
		"shs",
		"nnn",
		"nsns",
		"snoldrh",
		"hrdlons",
		"sssssssssssssssooooooooooooooollllllllllldddddddddrrrrrrrrrrhhhhhhhhss",
	};
	uint32_t number = 0;

	begin();
	at_route.start = start_decider;
	route_modules = "";
	start_one(&other, "o", "other", ports[1], &at_other);
	all_up();
	CU_ASSERT_TRUE_FATAL(rig_linked(&route, &other));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		events[0] = '\0';
		if (!decided(rows[i])) {
			printf("# %s: %s\n", rows[i], c.body);
			CU_FAIL_FATAL("not answered so");
		}
		/* asked about each once, in order, and what ends here does so before the next */
		char want[sizeof(events)] = "";
		size_t n = strlen(rows[i]);
		for (size_t k = 0; k < n; k++) {
			char what = rows[i][k];
			size_t at = strlen(want);
			snprintf(want + at, sizeof(want) - at,
			         what == 'l' || what == 'h' ? "?%c!%c" : "?%c", what, what);
		}
		CU_ASSERT_TRUE(RIG_UNTIL(strlen(events) >= strlen(want)));
		CU_ASSERT_STRING_EQUAL(events, want);
		CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->pendings.slab.live == 0));
		/* the numbers are those of the messages, whatever was between them */
		const char *last = strrchr(rows[i], 'o');
		if (last != NULL) {
			CU_ASSERT_EQUAL(only_session(&other)->order.last[1],
			                number + (uint32_t)(last - rows[i]) + 1);
		}
		number += (uint32_t)n;
		CU_ASSERT_EQUAL(only_session(&proxy)->order.last[1], number);
	}
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_messages_late_total"), 0);
	CU_ASSERT_EQUAL(rig_metric(&other, "obhost_messages_late_total"), 0);
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_messages_late_total"), 0);
	/* the bursts came as rows */
	CU_ASSERT_TRUE(rig_metric(&route, "obhost_link_frames_total") < number);
	end();
}

/* ---------------------------------------------------------------- a policy */

static int asked;

static int choose(ob_ctx *ctx, const ob_choice *choice)
{
	(void)ctx;
	CU_ASSERT_EQUAL(choice->len, 1);
	CU_ASSERT_EQUAL(choice->view->len, 1);
	CU_ASSERT_EQUAL(*(const char *)choice->view->data, "123"[asked % 3]);
	return asked++ % 3 == 1 ? OB_E_DENIED : 0;
}

static int start_policy(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_policy(ctx, "p", choose);
}

/* It is asked about each message of a row. */
static void test_policy(void)
{
	begin();
	at_route.start = start_policy;
	route_allow = ", 'policy': {'service': 'p'}";
	all_up();
	asked = 0;
	struct ob__frame f = request(1000, 0);
	f.flags = OB__FRAME_STICKY;
	f.role = ob__fnv1a32("service");
	double stale = STALE();
	row(&proxy, &route, f, "123", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 3));
	CU_ASSERT_EQUAL(asked, 3);
	CU_ASSERT_EQUAL(refused(&route, "DENIED"), 1);
	CU_ASSERT_STRING_EQUAL(got.bodies, "13");
	/* one that is on its way to a node is not for it */
	memset(&got, 0, sizeof(got));
	row(&proxy, &route, request(1000, ob__node_id("s")), "456", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 6));
	CU_ASSERT_EQUAL(asked, 3);
	CU_ASSERT_STRING_EQUAL(got.bodies, "456");
	end();
}

/* ---------------------------------------------------------------- limits */

/* Of a row that is too much the first messages are taken, the others are refused; and a burst that
 * would not close the link message by message does not in one frame. */
static void test_limit(void)
{
	static char bodies[301];

	begin();
	more_route = "'limits': {'link_frames': 100},";
	all_up();
	rig_turn_ms(1100); /* all of the credit is there */
	memset(bodies, '7', sizeof(bodies) - 1);
	double stale = STALE();
	row(&proxy, &route, request(1000, ob__node_id("s")), bodies, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 300));
	CU_ASSERT_TRUE(got.count > 80 && got.count <= 100);
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_link_denied_total{reason=\"rate\"}"),
	                300 - got.count);
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_link_denied_total{reason=\"flood\"}"), 0);
	CU_ASSERT_EQUAL(refused(&route, "BUSY"), 300 - got.count);
	/* as are answers: they are always taken, and count */
	rig_turn_ms(1100);
	row(&service, &route, (struct ob__frame){.kind = OB__FRAME_REPLY, .dst = ob__node_id("p")},
	    bodies, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 600));
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_link_denied_total{reason=\"flood\"}"), 0);
	CU_ASSERT_PTR_NOT_NULL(rig_peer(&route, &service));
	CU_ASSERT_PTR_NOT_NULL(rig_peer(&route, &proxy));
	end();
}

/* What rpc.allow does not give is refused as a whole. */
static void test_allow(void)
{
	begin();
	route_allow = ", 'allow': {'proxy': {'ranges': [[1001, 1003]]}}";
	all_up();
	double stale = STALE();
	row(&proxy, &route, request(1000, ob__node_id("s")), "123", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(STALE() == stale + 3));
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_link_denied_total{reason=\"id\"}"), 3);
	CU_ASSERT_EQUAL(refused(&route, "DENIED"), 3);
	CU_ASSERT_EQUAL(got.count, 0);
	row(&proxy, &route, request(1001, ob__node_id("s")), "123", 0);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 3));
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("rows", NULL, NULL);
	CU_add_test(s, "a client's burst", test_burst);
	CU_add_test(s, "one of a burst is refused", test_burst_refused);
	CU_add_test(s, "numbers go round in a burst", test_burst_round);
	CU_add_test(s, "a burst to a node with small messages", test_burst_small);
	CU_add_test(s, "calls", test_calls);
	CU_add_test(s, "calls to a role", test_calls_role);
	CU_add_test(s, "calls that differ", test_calls_differ);
	CU_add_test(s, "calls by turns", test_calls_turns);
	CU_add_test(s, "calls of a row end", test_calls_end);
	CU_add_test(s, "traces of calls", test_calls_traced);
	CU_add_test(s, "keys", test_keys);
	CU_add_test(s, "keys between others", test_keys_between);
	CU_add_test(s, "a node that is late", test_too_busy);
	CU_add_test(s, "a filter", test_filter);
	CU_add_test(s, "encrypted links", test_tls);
	CU_add_test(s, "a session that ends at home", test_closed_at_home);
	CU_add_test(s, "one by one", test_local);
	CU_add_test(s, "the link or the client goes", test_breaks);
	CU_add_test(s, "a reload", test_reload);
	CU_add_test(s, "passed on", test_passed_on);
	CU_add_test(s, "kept until a node comes up", test_held);
	CU_add_test(s, "the decider parts them", test_decider);
	CU_add_test(s, "a policy is asked about each", test_policy);
	CU_add_test(s, "limits.link_frames", test_limit);
	CU_add_test(s, "rpc.allow", test_allow);
	return ob__tap_run();
}
