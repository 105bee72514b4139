/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Several messages in one frame (lib/many.h), in whole nodes: a proxy, a route node and nodes of
 * two roles.  Some rows a client's burst makes, others are written by hand. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/conn.h"
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

static const char *more_route = "";
static const char *more_service = "";
static const char *route_allow = "";
static const char *route_modules = "'route', ";

static void start_proxy(void)
{
	rig_start(&proxy, "p", "proxy",
	          "'listen': [{'port': 0}], 'rpc': {'token': '" RIG_TOKEN
	          "', 'reconnect_time': 0.05%s}, 'remote_ports': [{'port': %d, 'type': 'route'}], "
	          "'modules': ['proxy', {'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          table, route_port, HOOKS(&at_proxy));
}

static void start_route(void)
{
	char rpc[256];

	snprintf(rpc, sizeof(rpc), "%s%s", table, route_allow);
	rig_start(&route, "r", "route",
	          "%s" RPC "'remote_ports': [{'port': %d}, {'port': %d}], 'modules': [%s"
	          "{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          more_route, route_port, rpc, ports[0], ports[1], route_modules, HOOKS(&at_route));
}

static void start_one(struct rig_node *n, const char *name, const char *type, int port,
                      struct puppet *at)
{
	rig_start(n, name, type, "%s" RPC "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          more_service, port, "", HOOKS(at));
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

static int start_handlers(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id_flags(ctx, 1000, echo, OB_FROM_LINK);

	(void)conf;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1001, fail, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1002, keep, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1003, breaks, OB_FROM_LINK) : rc;
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
	more_route = more_service = route_allow = "";
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
	CU_add_test(s, "numbers go round in a burst", test_burst_round);
	CU_add_test(s, "a burst to a node with small messages", test_burst_small);
	CU_add_test(s, "calls", test_calls);
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
