/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* A proxy, a route node and two services in one process, one of which leaves. */

#include "host/cluster/drain.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "host/client/conn.h"
#include "host/session/end.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node proxy;
static struct rig_node route;
static struct rig_node one;
static struct rig_node two;
static struct rig_client c;
static struct puppet at_one;
static struct puppet at_two;
static int route_port;

#define HOOKS(p) (long)(intptr_t)(p)
#define RPC      "'rpc': {'token': '" RIG_TOKEN "', 'reconnect_time': 0.05%s},"
#define REMOTE   "'remote_ports': [{'port': %d, 'type': 'route'}],"

static const char table[] = ", 'route': {'range': {'service': [[1000, 9999]]}}";

static struct {
	int one;
	int two;
	char events[256];
	ob_req req;
} seen;

static void keep(ob_ctx *ctx, ob_req req)
{
	seen.req = req;
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
}

static void by_one(ob_ctx *ctx, ob_req req)
{
	seen.one++;
	ob_reply(ctx, req, "1", 1);
}

static void by_two(ob_ctx *ctx, ob_req req)
{
	seen.two++;
	ob_reply(ctx, req, "2", 1);
}

static void heard(ob_ctx *ctx, const ob_event_info *info)
{
	size_t len = strlen(seen.events);
	ob_node_info node = {.size = sizeof(node)};
	const char *word = info->event == OB_EVENT_SESSION_MOVED  ? "moved"
	                   : info->event == OB_EVENT_SESSION_LEFT ? "left"
	                                                          : "closed";

	CU_ASSERT_EQUAL(ob_node(ctx, &node), 0);
	snprintf(seen.events + len, sizeof(seen.events) - len, "%s:%s(%s) ", node.name, word,
	         info->name);
}

static int start_handlers(ob_ctx *ctx, ob_handler_fn fn)
{
	int rc = ob_on_id_flags(ctx, 1000, fn, OB_FROM_LINK);

	rc = rc == 0 ? ob_on_id_flags(ctx, 1001, keep, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_MOVED, heard) : rc;
	rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_LEFT, heard) : rc;
	return rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, heard) : rc;
}

static int start_one(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return start_handlers(ctx, by_one);
}

static int start_two(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return start_handlers(ctx, by_two);
}

static void start_service(struct rig_node *n, const char *name, struct puppet *p)
{
	rig_start(n, name, "service",
	          RPC REMOTE "'modules': ['service', {'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          "", route_port, HOOKS(p));
	CU_ASSERT_TRUE_FATAL(rig_linked(n, &route));
}

/* `more`: of the proxy's rpc. */
static void begin(const char *more)
{
	rig_begin();
	memset(&seen, 0, sizeof(seen));
	memset(&at_one, 0, sizeof(at_one));
	memset(&at_two, 0, sizeof(at_two));
	memset(&c, 0, sizeof(c));
	c.fd = -1;
	at_one.start = start_one;
	at_two.start = start_two;
	route_port = rig_port();
	rig_start(&route, "r", "route",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "', 'reconnect_time': 0.05%s},"
	          "'modules': ['route']",
	          route_port, table);
	rig_start(&proxy, "p", "proxy",
	          "'listen': [{'port': 0}]," RPC REMOTE "'modules': ['proxy']", more, route_port);
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	start_service(&one, "a", &at_one);
	rig_connect(&c, proxy.port, true);
}

static void end(void)
{
	struct rig_node *nodes[] = {&proxy, &one, &two, &route};

	rig_disconnect(&c);
	for (size_t i = 0; i < 4; i++) {
		struct ob__node *node = nodes[i]->node;
		if (node != NULL) {
			CU_ASSERT_TRUE(RIG_UNTIL(node->pendings.slab.live == 0));
			CU_ASSERT_TRUE(RIG_UNTIL(node->dispatch.reqs.live == 0));
			CU_ASSERT_TRUE(RIG_UNTIL(node->sessions.slab.live == 0));
		}
	}
	for (size_t i = 0; i < 4; i++) {
		if (nodes[i]->node != NULL) {
			rig_stop(nodes[i]);
		}
	}
	rig_end();
}

static void drain(struct rig_node *n, uint32_t pace, uint64_t deadline_ms)
{
	struct ob__drain_options options = {.pace = pace, .deadline_ms = deadline_ms};

	CU_ASSERT_EQUAL_FATAL(ob__drain_begin(n->node, &options), 0);
}

static bool drained(struct rig_node *n)
{
	return RIG_UNTIL(n->node->drain.state == OB__DRAIN_DONE);
}

static void answer(struct puppet *p)
{
	CU_ASSERT_EQUAL(ob_reply(p->ctx, seen.req, "\"kept\"", 6), 0);
}

/* ---------------------------------------------------------------- */

/* The role is settled on the proxy, or only by the route node's table. */
static void moves(const char *more)
{
	begin(more);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	start_service(&two, "b", &at_two);
	drain(&one, 100, 0);
	CU_ASSERT_TRUE(drained(&one));
	CU_ASSERT_FALSE(one.node->drain.late);
	CU_ASSERT_EQUAL(one.node->drain.moved, 1);
	CU_ASSERT_EQUAL(one.node->sessions.slab.live, 0);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "2"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "2"));
	CU_ASSERT_STRING_EQUAL(seen.events, "a:left(p) b:moved(a) ");
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(two.node->sessions.slab.live == 0));
	CU_ASSERT_STRING_EQUAL(seen.events, "a:left(p) b:moved(a) b:closed() ");
	end();
}

static void test_moves(void)
{
	moves(table);
}

static void test_moves_unsettled(void)
{
	moves("");
}

/* A session that need not go stays for as long as it lives, whoever else there is. */
static void test_sticks(void)
{
	begin("");
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	start_service(&two, "b", &at_two);
	drain(&one, 0, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&route, &one)->draining));
	for (int i = 0; i < 20; i++) {
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	}
	struct rig_client other;
	rig_connect(&other, proxy.port, true);
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_TRUE(rig_ask(&other, 1000, "0", "2"));
	}
	rig_disconnect(&other);
	CU_ASSERT_EQUAL(one.node->drain.state, OB__DRAIN_ACTIVE);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(drained(&one));
	end();
}

/* What the node that drains says again meets the answer of the proxy, which has moved the session:
 * it does not stick there once more. */
static void test_crossed(void)
{
	begin(table);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	start_service(&two, "b", &at_two);
	uint32_t at = 0;
	const struct ob__session *s = ob__slab_next(&proxy.node->sessions.slab, &at);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	struct ob__frame f = {.kind = OB__FRAME_SYSTEM,
	                      .flags = OB__FRAME_STICKY,
	                      .id = OB__SYS_SERVED,
	                      .status = 1,
	                      .src = one.node->self.id,
	                      .role = one.node->self.role_id,
	                      .session_node = s->node,
	                      .session_seq = s->seq};
	const struct ob__peer *peer;
	CU_ASSERT_TRUE_FATAL(
		RIG_UNTIL((peer = ob__registry_get(&proxy.node->registry, f.src)) != NULL));
	drain(&one, 100, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ob__session_sticky(s, f.role) == 0 && ob__peer_drains(peer)));
	ob__frame_system(proxy.node, &f);
	CU_ASSERT_EQUAL(ob__session_sticky(s, f.role), 0);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "2"));
	CU_ASSERT_TRUE(drained(&one));
	CU_ASSERT_EQUAL(one.node->sessions.slab.live, 0);
	end();
}

/* Its requests end first, and it is not read meanwhile. */
static void test_waits(void)
{
	begin("");
	rig_send(&c, 1001, "0");
	CU_ASSERT_TRUE(RIG_UNTIL(seen.req != 0));
	start_service(&two, "b", &at_two);
	drain(&one, 100, 0);
	const struct ob__conn *conn = NULL;
	uint32_t at = 0;
	conn = ob__slab_next(&proxy.node->clients.conns, &at);
	CU_ASSERT_TRUE(RIG_UNTIL((conn->paused & OB__PAUSE_MOVE) != 0));
	rig_send(&c, 1000, "0");
	CU_ASSERT_TRUE(rig_silent(&c));
	CU_ASSERT_EQUAL(one.node->drain.state, OB__DRAIN_ACTIVE);
	answer(&at_one);
	CU_ASSERT_TRUE(rig_expect(&c, 1001, "'kept'"));
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "2"));
	CU_ASSERT_EQUAL(conn->paused, 0);
	CU_ASSERT_EQUAL(seen.one, 0);
	CU_ASSERT_TRUE(drained(&one));
	end();
}

/* The client goes while it is waited for. */
static void test_gone_meanwhile(void)
{
	begin(table);
	rig_send(&c, 1001, "0");
	CU_ASSERT_TRUE(RIG_UNTIL(seen.req != 0));
	drain(&one, 100, 0);
	rig_turn_ms(50);
	/* It is read no further, so the node hears of it when its request has ended. */
	rig_reset(&c);
	answer(&at_one);
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->clients.conns.live == 0));
	CU_ASSERT_TRUE(drained(&one));
	end();
}

static void test_clients(void)
{
	begin(table);
	rig_send(&c, 1001, "0");
	CU_ASSERT_TRUE(RIG_UNTIL(seen.req != 0));
	drain(&proxy, 100, 0);
	CU_ASSERT_FALSE(rig_can_connect(proxy.port));
	CU_ASSERT_TRUE(rig_silent(&c));
	answer(&at_one);
	CU_ASSERT_TRUE(rig_expect(&c, 1001, "'kept'"));
	CU_ASSERT_EQUAL(rig_closed(&c), OB__DRAIN_CLOSE);
	CU_ASSERT_STRING_EQUAL(c.close_reason, "moving");
	rig_disconnect(&c);
	CU_ASSERT_TRUE(drained(&proxy));
	CU_ASSERT_EQUAL(proxy.node->drain.closed, 1);
	end();
}

static void test_deadline(void)
{
	begin(table);
	rig_send(&c, 1001, "0");
	CU_ASSERT_TRUE(RIG_UNTIL(seen.req != 0));
	drain(&one, 100, 100);
	CU_ASSERT_TRUE(drained(&one));
	CU_ASSERT_TRUE(one.node->drain.late);
	CU_ASSERT_EQUAL(one.node->phase, OB__NODE_DRAINING);
	CU_ASSERT_TRUE(rig_admin_expect(&one, "drain.show", NULL, 200,
	                                "{'status': 'drained', 'late': true, 'then': 'stay', "
	                                "'left': {'sessions': 1, 'requests': 1}}"));
	answer(&at_one);
	CU_ASSERT_TRUE(rig_expect(&c, 1001, "'kept'"));
	end();
}

/* A peer that does not say it has heard holds nobody up for ever. */
static void test_deaf(void)
{
	begin(table);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->clients.conns.live == 0));
	rig_freeze(&route, true);
	drain(&one, 100, 0);
	rig_turn_ms(100);
	CU_ASSERT_EQUAL(one.node->drain.state, OB__DRAIN_ACTIVE);
	CU_ASSERT_TRUE(
		rig_admin_expect(&one, "drain.show", NULL, 200, "{'left': {'peers_not_told': 1}}"));
	CU_ASSERT_TRUE(drained(&one));
	rig_freeze(&route, false);
	end();
}

static void test_abort(void)
{
	char err[64] = "";

	begin(table);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	drain(&one, 0, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&route, &one)->draining));
	/* Nobody else is there: a newcomer's message waits, and goes when the drain is over. */
	struct rig_client other;
	rig_connect(&other, proxy.port, true);
	rig_send(&other, 1000, "0");
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->dispatch.held_bytes > 0));
	CU_ASSERT_EQUAL(ob__drain_abort(one.node, err, sizeof(err)), 0);
	CU_ASSERT_TRUE(rig_expect(&other, 1000, "1"));
	CU_ASSERT_EQUAL(route.node->dispatch.held_bytes, 0);
	CU_ASSERT_FALSE(rig_peer(&route, &one)->draining);
	rig_disconnect(&other);
	/* Its proxy has moved it before it heard: it has left, and comes back with its next
	 * message. */
	uint32_t at = 0;
	struct ob__session *s = ob__slab_next(&one.node->sessions.slab, &at);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	struct ob__frame f = {.kind = OB__FRAME_SYSTEM,
	                      .id = OB__SYS_SESSION_MOVED,
	                      .status = OB_RESULT_WIRE(OB_E_DENIED),
	                      .src = s->node,
	                      .session_node = s->node,
	                      .session_seq = s->seq};
	ob__drain_frame(one.node, &f); /* that it stays means nothing any more */
	CU_ASSERT_EQUAL(s->flags & OB__SESSION_STAYS, 0);
	f.status = 0;
	ob__drain_frame(one.node, &f);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen.events, "a:left(p)"));
	CU_ASSERT_PTR_NULL(ob__session_find(&one.node->sessions, f.session_node, f.session_seq));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	CU_ASSERT_PTR_NOT_NULL(
		ob__session_find(&one.node->sessions, f.session_node, f.session_seq));
	/* A peer that comes up later is told as well. */
	drain(&one, 0, 0);
	start_service(&two, "b", &at_two);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&route, &one)->draining));
	CU_ASSERT_EQUAL(ob__drain_abort(one.node, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(ob__drain_abort(one.node, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(one.node->phase, OB__NODE_RUNNING);
	end();
}

/* A signal asks for a quick end: sessions move, clients are told by the stop itself. */
static void test_quit(void)
{
	begin(table);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	start_service(&two, "b", &at_two);
	ob__node_quit(one.node);
	CU_ASSERT_EQUAL(one.node->phase, OB__NODE_LEAVING);
	CU_ASSERT_TRUE(RIG_UNTIL(one.node->phase == OB__NODE_STOPPING));
	CU_ASSERT_EQUAL(one.node->drain.moved, 1);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "2"));
	ob__node_quit(proxy.node);
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->phase == OB__NODE_STOPPING));
	CU_ASSERT_EQUAL(proxy.node->drain.closed, 0);
	char err[64];
	CU_ASSERT_EQUAL(ob__drain_abort(proxy.node, err, sizeof(err)), OB_E_STATE);
	CU_ASSERT_TRUE(
		rig_admin_expect(&proxy, "drain", NULL, 409, "{'error': {'code': 'state'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&proxy, "drain.abort", NULL, 409, "{}"));
	end();
}

static void test_verbs(void)
{
	static const struct {
		const char *args;
		int status;
		const char *body;
	} rows[] = {
		{"{'pace': 0}", 202, "{'status': 'draining', 'pace': 0}"},
		{"{'pace': '17'}", 202, "{'pace': 17}"}, /* as a query has it */
		{"{'pace': 1000000, 'deadline': 86400, 'then': 'stay'}", 202,
	         "{'pace': 1000000, 'deadline_s': 86400, 'then': 'stay'}"},
		{"{'pace': 1000001}", 400, "{'error': {'code': 'pace'}}"},
		{"{'pace': -1}", 400, "{'error': {'code': 'pace'}}"},
		{"{'deadline': 0}", 400, "{'error': {'code': 'deadline'}}"},
		{"{'deadline': 86401}", 400, "{'error': {'code': 'deadline'}}"},
		{"{'then': 'go'}", 400, "{'error': {'code': 'then'}}"},
		{"{'then': 'stop'}", 202, "{'then': 'stop', 'pace': 0}"},
	};

	begin("");
	CU_ASSERT_TRUE(rig_admin_expect(&proxy, "drain.show", NULL, 200, "{'status': 'none'}"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_TRUE(rig_admin_expect(&proxy, "drain", rows[i].args, rows[i].status,
		                                rows[i].body));
	}
	CU_ASSERT_TRUE(rig_admin_expect(&proxy, "node", NULL, 200,
	                                "{'state': 'draining', 'drain': {'then': 'stop'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&proxy, "drain.abort", NULL, 200, "{'status': 'none'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&proxy, "node", NULL, 200, "{'state': 'running'}"));
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("drain", NULL, NULL);
	CU_add_test(s, "a session moves", test_moves);
	CU_add_test(s, "a session moves whose role the route node settles", test_moves_unsettled);
	CU_add_test(s, "a session that is not asked to go sticks", test_sticks);
	CU_add_test(s, "what is said again by who drains", test_crossed);
	CU_add_test(s, "requests end before a session moves", test_waits);
	CU_add_test(s, "a client that goes meanwhile", test_gone_meanwhile);
	CU_add_test(s, "clients are closed when their requests have ended", test_clients);
	CU_add_test(s, "deadline", test_deadline);
	CU_add_test(s, "a peer that does not answer", test_deaf);
	CU_add_test(s, "abort", test_abort);
	CU_add_test(s, "quit", test_quit);
	CU_add_test(s, "verbs", test_verbs);
	return ob__tap_run();
}
