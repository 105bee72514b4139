/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* A proxy, a route and a service node in one process: messages from clients and links, calls,
 * pushes, frames that wait, sessions and their end, and what a peer says that makes no sense. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/client/conn.h"
#include "host/cluster/cluster_priv.h"
#include "host/cluster/names.h"
#include "host/session/end.h"
#include "mesh/link_priv.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node proxy;
static struct rig_node route;
static struct rig_node service;
static struct rig_client c;
static struct puppet at_proxy;
static struct puppet at_route;
static struct puppet at_service;

static int route_port;
static int service_port;

#define HOOKS(p) (long)(intptr_t)(p)
#define LINKS    "'rpc': {'port': %d, 'token': '" RIG_TOKEN "', 'reconnect_time': 0.05%s},"

/* 1..999 route, from 1000 service; 77 by special. */
static const char table[] =
	", 'route': {'range': {'route': [[1, 999]], 'service': [[1000, 9999]]}, "
	"'special': {'service': [77], 'nobody': [88]}}";

static const char *more_proxy = "";
static const char *more_route = "";
static const char *more_service = "";

static void start_proxy(void)
{
	rig_start(&proxy, "p", "proxy",
	          "'listen': [{'port': 0, 'no_state': {'range': [[5000, 5999]]}}], %s "
	          "'rpc': {'token': '" RIG_TOKEN "', 'reconnect_time': 0.05%s},"
	          "'remote_ports': [{'port': %d, 'type': 'route'}], 'modules': ['proxy', {'name': "
	          "'puppet', 'conf': {'hooks': %ld}}]",
	          more_proxy, table, route_port, HOOKS(&at_proxy));
}

static void start_route(void)
{
	rig_start(&route, "r", "route",
	          "%s" LINKS
	          "'remote_ports': [{'port': %d, 'type': 'service'}], 'modules': ['route', "
	          "{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          more_route, route_port, table, service_port, HOOKS(&at_route));
}

static void start_service(void)
{
	rig_start(&service, "s", "service",
	          "%s" LINKS "'modules': ['service', {'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          more_service, service_port, table, HOOKS(&at_service));
}

static void begin(void)
{
	rig_begin();
	memset(&at_proxy, 0, sizeof(at_proxy));
	memset(&at_route, 0, sizeof(at_route));
	memset(&at_service, 0, sizeof(at_service));
	route_port = rig_port();
	do {
		service_port = rig_port();
	} while (service_port == route_port);
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

/* Nothing is left in flight anywhere, and every node that has met a session has forgotten it. */
static void end(void)
{
	struct rig_node *nodes[] = {&proxy, &route, &service};

	rig_disconnect(&c);
	for (size_t i = 0; i < 3; i++) {
		struct ob__node *node = nodes[i]->node;
		if (node == NULL) {
			continue;
		}
		CU_ASSERT_TRUE(RIG_UNTIL(node->pendings.slab.live == 0));
		CU_ASSERT_TRUE(RIG_UNTIL(node->dispatch.reqs.live == 0));
		CU_ASSERT_TRUE(RIG_UNTIL(node->sessions.slab.live == 0));
		CU_ASSERT_TRUE(RIG_UNTIL(ob__list_empty(&node->sessions.notice_list)));
		CU_ASSERT_TRUE(RIG_UNTIL(node->dispatch.held_bytes == 0));
	}
	for (size_t i = 0; i < 3; i++) {
		if (nodes[i]->node != NULL) {
			rig_stop(nodes[i]);
		}
	}
	rig_end();
	more_proxy = more_route = more_service = "";
}

/* ---------------------------------------------------------------- handlers */

static struct {
	int count;
	ob_view view;
	char body[256];
	char method[64];
	ob_req req;
} got;

static void see(ob_ctx *ctx, ob_req req)
{
	got.count++;
	got.req = req;
	got.view.size = sizeof(got.view);
	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &got.view), 0);
	snprintf(got.body, sizeof(got.body), "%.*s", (int)got.view.len,
	         got.view.len > 0 ? (const char *)got.view.data : "");
	snprintf(got.method, sizeof(got.method), "%s",
	         got.view.method != NULL ? got.view.method : "-");
}

static void echo(ob_ctx *ctx, ob_req req)
{
	see(ctx, req);
	ob_reply(ctx, req, got.view.data, got.view.len);
}

static void fail(ob_ctx *ctx, ob_req req)
{
	see(ctx, req);
	ob_fail(ctx, req, OB_E_DENIED, "not you");
}

static void silent(ob_ctx *ctx, ob_req req)
{
	see(ctx, req);
	ob_done(ctx, req);
}

static void nothing(ob_ctx *ctx, ob_req req)
{
	see(ctx, req);
}

static void keep(ob_ctx *ctx, ob_req req)
{
	see(ctx, req);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
}

static void big(ob_ctx *ctx, ob_req req)
{
	static char bytes[60000];

	memset(bytes, 'b', sizeof(bytes));
	see(ctx, req);
	ob_reply(ctx, req, bytes, sizeof(bytes));
}

static void one_way(ob_ctx *ctx, ob_req req)
{
	see(ctx, req);
	CU_ASSERT_TRUE((got.view.flags & OB_VIEW_ONE_WAY) != 0);
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "1", 1), 0); /* said to nobody */
}

static char events[512];

static void on_event(ob_ctx *ctx, const ob_event_info *info)
{
	static const char *const words[] = {"",     "opened",   "closed", "up",
	                                    "down", "replaced", "fenced", "lost"};
	size_t len = strlen(events);

	if (info->session != 0) {
		snprintf(events + len, sizeof(events) - len, "%s ", words[info->event]);
	} else {
		snprintf(events + len, sizeof(events) - len, "%s-%s-%s ", words[info->event],
		         info->name, info->role);
	}
}

static int closed_count;

static void on_closed_id(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	closed_count++;
	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	CU_ASSERT_EQUAL(v.id, 100130);
	CU_ASSERT_EQUAL(v.flags, OB_VIEW_ONE_WAY);
	CU_ASSERT_EQUAL(v.source, ob__node_id("p"));
	CU_ASSERT_NOT_EQUAL(v.session, 0);
	ob_session_info s = {.size = sizeof(s)};
	CU_ASSERT_EQUAL(ob_session_get(ctx, v.session, &s), 0); /* still there */
	CU_ASSERT_FALSE(s.local);
}

static int start_service_handlers(ob_ctx *ctx, const json_t *conf)
{
	static const struct {
		uint32_t id;
		ob_handler_fn fn;
		uint32_t flags;
	} rows[] = {
		{1000, echo, OB_FROM_LINK},
		{1001, fail, OB_FROM_LINK},
		{1002, silent, OB_FROM_LINK},
		{1003, nothing, OB_FROM_LINK},
		{1004, keep, OB_FROM_LINK},
		{1005, big, OB_FROM_LINK},
		{1006, one_way, OB_FROM_LINK | OB_ONE_WAY},
		{5000, echo, OB_FROM_LINK},
		{77, echo, OB_FROM_LINK},
		{100130, on_closed_id, OB_FROM_LINK | OB_ONE_WAY},
		{1007, echo, OB_FROM_CLIENT}, /* not for links */
	};
	int rc = ob_on_method(ctx, "t.echo", echo, 0);

	for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
		rc = ob_on_id_flags(ctx, rows[i].id, rows[i].fn, rows[i].flags);
	}
	rc = rc == 0 ? ob_on_method(ctx, "t.one_way", one_way, OB_ONE_WAY) : rc;
	rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, on_event) : rc;
	rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_LOST, on_event) : rc;
	return rc;
}

static int start_events(ob_ctx *ctx, const json_t *conf)
{
	int rc = 0;

	for (int e = OB_EVENT_SESSION_OPENED; rc == 0 && e <= OB_EVENT_NODE_REPLACED; e++) {
		rc = ob_on_event(ctx, e, on_event);
	}
	return rc;
}

static int start_route_handlers(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 5, echo);

	return rc == 0 ? ob_on_method(ctx, "t.echo", echo, 0) : rc;
}

static struct {
	int count;
	int code;
	char text[256];
	char data[256];
	uint64_t source;
} ended;

static void call_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	ended.count++;
	ended.code = res->code;
	ended.source = res->source;
	snprintf(ended.text, sizeof(ended.text), "%s", res->text);
	snprintf(ended.data, sizeof(ended.data), "%.*s", (int)res->len,
	         res->len > 0 ? (const char *)res->data : "");
}

/* ---------------------------------------------------------------- messages of a client */

static void test_answers(void)
{
	static const struct {
		uint32_t id;
		const char *body;
		const char *json; /* or a failure */
		int code;
		const char *text;
		bool seen;
	} rows[] = {
		{1000, "{'a': 1}", "{'a': 1}", 0, NULL, true},
		{1000, "[]", "[]", 0, NULL, true},
		{5000, "{'n': 1}", "{'n': 1}", 0, NULL, true},
		{77, "1", "1", 0, NULL, true},    /* a special beats its range */
		{5, "'r'", "'r'", 0, NULL, true}, /* the route node's own */
		{1001, "{}", NULL, 403, "not you", true},
		{1003, "{}", NULL, 500, "the handler gave no answer", true},
		{1002, "{}", NULL, 0, NULL, true}, /* ended without an answer */
		{1006, "{}", NULL, 0, NULL, true},
		{2000, "{}", NULL, 404, "no handler for message 2000", false},
		{1007, "{}", NULL, 404, "no handler for message 1007", false},
		{6, "{}", NULL, 404, "no handler for this id or method", false},
		{10000, "{}", NULL, 404, "no handler for this id or method",
	         false}, /* in no table */
	};

	begin();
	at_service.start = start_service_handlers;
	at_route.start = start_route_handlers;
	all_up();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int before = got.count;
		rig_send(&c, rows[i].id, rows[i].body);
		if (rows[i].json != NULL) {
			CU_ASSERT_TRUE(rig_expect(&c, rows[i].id, rows[i].json));
		} else if (rows[i].code != 0) {
			CU_ASSERT_TRUE(
				rig_expect_error(&c, rows[i].id, rows[i].code, rows[i].text));
		}
		CU_ASSERT_TRUE(rig_silent(&c));
		CU_ASSERT_EQUAL(got.count, before + rows[i].seen);
		if (rows[i].seen) {
			CU_ASSERT_EQUAL(got.view.id, rows[i].id);
			CU_ASSERT_EQUAL(got.view.source, ob__node_id("p"));
			CU_ASSERT_NOT_EQUAL(got.view.session, 0);
			CU_ASSERT_TRUE(got.view.budget_ms > 0 && got.view.budget_ms <= 5000);
			/* sticky unless the listener says it need not be */
			CU_ASSERT_EQUAL(got.view.flags &
			                        (OB_VIEW_LINK | OB_VIEW_STICKY | OB_VIEW_CLIENT),
			                OB_VIEW_LINK | (rows[i].id == 5000 ? 0 : OB_VIEW_STICKY));
		}
		/* whatever the end was: it is over at the proxy as well */
		CU_ASSERT_EQUAL(proxy.node->pendings.slab.live, 0);
	}
	/* large both ways */
	rig_send(&c, 1005, "{}");
	CU_ASSERT_TRUE(rig_recv(&c));
	CU_ASSERT_EQUAL(c.body_len, 60000);
	char *bytes = malloc(200000);
	memset(bytes, 'x', 200000);
	rig_send_bytes(&c, 1000, bytes, 200000);
	CU_ASSERT_TRUE(rig_recv(&c));
	CU_ASSERT_EQUAL(c.body_len, 200000);
	free(bytes);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_replies_stale"), 0);
	end();
}

/* Many at once keep their order. */
static void test_order(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	for (int i = 0; i < 500; i++) {
		char body[16];
		snprintf(body, sizeof(body), "%d", i);
		rig_send(&c, 1000, body);
	}
	for (int i = 0; i < 500; i++) {
		char body[16];
		snprintf(body, sizeof(body), "%d", i);
		CU_ASSERT_TRUE_FATAL(rig_expect(&c, 1000, body));
	}
	end();
}

/* The deadline: at the proxy and at the handler's node; whichever answer is late is stale. */
static void test_deadline(void)
{
	begin();
	more_proxy = "'call_timeout': 0.1,";
	at_service.start = start_service_handlers;
	all_up();
	rig_send(&c, 1004, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1004, 504, NULL));
	CU_ASSERT_TRUE(got.view.budget_ms <= 100);
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->dispatch.reqs.live == 0));
	CU_ASSERT_EQUAL(ob_reply(at_service.ctx, got.req, "{}", 2), OB_E_STALE);
	CU_ASSERT_TRUE(rig_silent(&c));
	end();
}

/* An answer that comes after the proxy has given up is dropped and counted. */
static void test_stale_reply(void)
{
	begin();
	more_proxy = "'call_timeout': 0.1,";
	at_service.start = start_service_handlers;
	all_up();
	rig_send(&c, 1000, "1");
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "1"));
	rig_freeze(&service, true);
	rig_send(&c, 1000, "2");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 504, "no answer in time"));
	rig_freeze(&service, false);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&proxy, "obhost_replies_stale") == 1));
	CU_ASSERT_TRUE(rig_silent(&c));
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_deadlines"), 1);
	end();
}

/* ---------------------------------------------------------------- nobody there */

/* Messages for a role that is down wait in order, and go when it comes up. */
static void test_held_then_up(void)
{
	begin();
	at_service.start = start_service_handlers;
	start_route();
	start_proxy();
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	rig_connect(&c, proxy.port, true);
	for (int i = 0; i < 20; i++) {
		char body[16];
		snprintf(body, sizeof(body), "%d", i);
		rig_send(&c, 1000, body);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&route, "obhost_held_total") == 20));
	CU_ASSERT_TRUE(rig_silent(&c));
	start_service();
	for (int i = 0; i < 20; i++) {
		char body[16];
		snprintf(body, sizeof(body), "%d", i);
		CU_ASSERT_TRUE_FATAL(rig_expect(&c, 1000, body));
	}
	CU_ASSERT_EQUAL(route.node->dispatch.held_bytes, 0);
	end();
}

/* The same at the proxy, for whom the route node itself is away. */
static void test_held_at_proxy(void)
{
	begin();
	at_route.start = start_route_handlers;
	start_proxy();
	rig_connect(&c, proxy.port, true);
	for (int i = 0; i < 5; i++) {
		char body[16];
		snprintf(body, sizeof(body), "%d", i);
		rig_send(&c, 5, body);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&proxy, "obhost_held_total") == 5));
	start_route();
	for (int i = 0; i < 5; i++) {
		char body[16];
		snprintf(body, sizeof(body), "%d", i);
		CU_ASSERT_TRUE_FATAL(rig_expect(&c, 5, body));
	}
	end();
}

/* Nobody comes: NO_ROUTE, a little before the one who waits would give up. */
static void test_held_in_vain(void)
{
	begin();
	more_proxy = "'call_timeout': 0.2,";
	start_route();
	start_proxy();
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	rig_connect(&c, proxy.port, true);
	uint64_t before = ob__loop_hrtime_us();
	rig_send(&c, 1000, "1");
	rig_send(&c, 1000, "2");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 503, "no live node can take it"));
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 503, "no live node can take it"));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - before >= 120000);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_deadlines"), 0);
	CU_ASSERT_EQUAL(route.node->dispatch.held_bytes, 0);
	end();
}

/* Bounded in bytes: what is beyond is BUSY at once. */
static void test_held_bound(void)
{
	begin();
	more_route = "'limits': {'held': 200},";
	more_proxy = "'call_timeout': 0.3,";
	start_route();
	start_proxy();
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	rig_connect(&c, proxy.port, true);
	size_t most = 0;
	int busy = 0;
	for (int i = 0; i < 10; i++) {
		rig_send(&c, 1000, "{}");
	}
	for (int i = 0; i < 10; i++) {
		CU_ASSERT_TRUE_FATAL(rig_recv(&c));
		busy += strstr(c.body, "too much waits for a live node") != NULL;
		most = route.node->dispatch.held_bytes > most ? route.node->dispatch.held_bytes
		                                              : most;
	}
	CU_ASSERT_TRUE(most > 64 && most <= 200);
	CU_ASSERT_TRUE(busy >= 7 && busy < 10);
	end();
}

/* The node that has a request dies: MAYBE_SENT, and the client stays and is served again. */
static void test_link_lost(void)
{
	begin();
	at_service.start = start_service_handlers;
	at_route.start = start_route_handlers;
	all_up();
	rig_send(&c, 1004, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->dispatch.reqs.live == 1));
	rig_kill(&route);
	CU_ASSERT_TRUE(rig_expect_error(&c, 1004, 502, NULL));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&proxy, &route) == NULL));
	start_route();
	CU_ASSERT_TRUE(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE(rig_linked(&route, &service));
	CU_ASSERT_TRUE(rig_ask(&c, 5, "1", "1"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "2", "2"));
	(void)ob_done(at_service.ctx, got.req);
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->dispatch.reqs.live <= 1));
	struct ob__req *left = NULL;
	uint32_t i = 0;
	while ((left = ob__slab_next(&service.node->dispatch.reqs, &i)) != NULL) {
		uint64_t handle = ob__slab_handle(&service.node->dispatch.reqs, left);
		CU_ASSERT_EQUAL(ob_done(at_service.ctx, handle), 0);
	}
	end();
}

/* ---------------------------------------------------------------- sessions */

/* Each node that met a session hears of its end once, as an event and by the handler's id. */
static void test_sessions(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	events[0] = '\0';
	closed_count = 0;
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	}
	CU_ASSERT_EQUAL(service.node->sessions.slab.live, 1);
	CU_ASSERT_EQUAL(route.node->sessions.slab.live, 0); /* it only passed them on */
	uint32_t i = 0;
	const struct ob__session *s = ob__slab_next(&proxy.node->sessions.slab, &i);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_TRUE(RIG_UNTIL(s->served_len == 1));
	CU_ASSERT_EQUAL(s->served[0], ob__node_id("s"));
	/* the text form is the same everywhere */
	char here[OB_SESSION_TEXT];
	char there[OB_SESSION_TEXT];
	CU_ASSERT_EQUAL(ob__node_session_text(proxy.node, s, here, sizeof(here)), 0);
	CU_ASSERT_EQUAL(ob_session_text(at_service.ctx, got.view.session, there, sizeof(there)), 0);
	CU_ASSERT_STRING_EQUAL(there, here);
	CU_ASSERT_EQUAL(ob_session_find(at_service.ctx, here), got.view.session);

	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->sessions.slab.live == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__list_empty(&proxy.node->sessions.notice_list)));
	CU_ASSERT_STRING_EQUAL(events, "closed ");
	CU_ASSERT_EQUAL(closed_count, 1);
	ob_session_info gone = {.size = sizeof(gone)};
	CU_ASSERT_EQUAL(ob_session_get(at_service.ctx, got.view.session, &gone), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_push(at_service.ctx, got.view.session, 5, "", 0), OB_E_STALE);
	rig_turn_ms(30);
	CU_ASSERT_EQUAL(closed_count, 1);
	end();
}

/* The service is away when the client goes: it is told when it is back in reach, once. */
static void test_closed_while_away(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	closed_count = 0;
	events[0] = '\0';
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->sessions.slab.live == 1));
	rig_turn_ms(20);
	rig_kill(&route);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&proxy, &route) == NULL));
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->sessions.slab.live == 0));
	rig_turn_ms(30);
	CU_ASSERT_EQUAL(closed_count, 0);
	CU_ASSERT_FALSE(ob__list_empty(&proxy.node->sessions.notice_list));
	start_route();
	CU_ASSERT_TRUE(RIG_UNTIL(closed_count == 1));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__list_empty(&proxy.node->sessions.notice_list)));
	CU_ASSERT_EQUAL(service.node->sessions.slab.live, 0);
	CU_ASSERT_EQUAL(closed_count, 1);
	CU_ASSERT_STRING_EQUAL(events, "closed ");
	end();
}

/* The service dies and forgets; what it is told then, again after a while, it acknowledges. */
static void test_closed_to_a_newborn(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	closed_count = 0;
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	uint32_t i = 0;
	const struct ob__session *s = ob__slab_next(&proxy.node->sessions.slab, &i);
	CU_ASSERT_TRUE(RIG_UNTIL(s->served_len == 1));
	rig_kill(&service);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&route, &service) == NULL));
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->sessions.slab.live == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->dispatch.held_bytes >= 64)); /* the notice */
	rig_turn_ms(2100);
	CU_ASSERT_EQUAL(route.node->dispatch.held_bytes, 64); /* again, in the place of the first */
	start_service();
	CU_ASSERT_TRUE(RIG_UNTIL(ob__list_empty(&proxy.node->sessions.notice_list)));
	CU_ASSERT_EQUAL(closed_count, 0);
	CU_ASSERT_EQUAL(service.node->sessions.slab.live, 0);
	end();
}

/* A session comes back to its own proxy in a call: there it is a local one. */
static void test_session_comes_home(void)
{
	begin();
	at_service.start = start_service_handlers;
	at_proxy.start = start_route_handlers;
	all_up();
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	ob_session far = got.view.session;
	ob_target home = {.node = ob__node_id("p")};
	memset(&ended, 0, sizeof(ended));
	CU_ASSERT_NOT_EQUAL(
		ob_call_method(at_service.ctx, &home, "t.echo", far, "3", 1, 0, call_ended, NULL),
		0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.code, OB_OK);
	ob_session_info info = {.size = sizeof(info)};
	CU_ASSERT_EQUAL(ob_session_get(at_proxy.ctx, got.view.session, &info), 0);
	CU_ASSERT_TRUE(info.local);
	CU_ASSERT_EQUAL(strncmp(info.peer, "127.0.0.1:", 10), 0);
	/* too late: the call still comes, without a session */
	rig_freeze(&proxy, true);
	CU_ASSERT_NOT_EQUAL(
		ob_call_method(at_service.ctx, &home, "t.echo", far, "4", 1, 0, call_ended, NULL),
		0);
	rig_disconnect(&c);
	rig_turn_ms(10);
	rig_freeze(&proxy, false);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	CU_ASSERT_EQUAL(ended.code, OB_OK);
	end();
}

/* Only what the newcomer can take goes; the rest waits on. */
static void test_held_for_others(void)
{
	begin();
	more_proxy = "'call_timeout': 0.5,";
	at_service.start = start_service_handlers;
	start_route();
	start_proxy();
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	rig_connect(&c, proxy.port, true);
	rig_send(&c, 88, "{}");
	rig_send(&c, 1000, "1");
	rig_send(&c, 88, "{}");
	rig_send(&c, 1000, "2");
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&route, "obhost_held_total") == 4));
	start_service();
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "1"));
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "2"));
	CU_ASSERT_TRUE(rig_expect_error(&c, 88, 503, "no live node can take it"));
	CU_ASSERT_TRUE(rig_expect_error(&c, 88, 503, "no live node can take it"));
	end();
}

/* A proxy that crashed tells nobody; when it is back, those of its former life are lost. */
static void test_proxy_crashed(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	closed_count = 0;
	events[0] = '\0';
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	uint64_t old = got.view.session;
	rig_kill(&proxy);
	rig_disconnect(&c);
	rig_turn_ms(30);
	CU_ASSERT_EQUAL(service.node->sessions.slab.live, 1);
	CU_ASSERT_EQUAL(closed_count, 0);
	start_proxy();
	CU_ASSERT_TRUE(rig_linked(&proxy, &route));
	rig_connect(&c, proxy.port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "2", "2"));
	CU_ASSERT_TRUE(RIG_UNTIL(closed_count == 1));
	CU_ASSERT_STRING_EQUAL(events, "lost ");
	CU_ASSERT_EQUAL(service.node->sessions.slab.live, 1);
	CU_ASSERT_NOT_EQUAL(got.view.session, old);
	CU_ASSERT_EQUAL(ob_push(at_service.ctx, old, 5, "", 0), OB_E_STALE);
	end();
}

static struct ob__session *only_session(struct ob__node *node)
{
	uint32_t at = 0;

	return ob__slab_next(&node->sessions.slab, &at);
}

/* That a node has met a session is said until its proxy has heard it, and then no more. */
static void test_served_lost(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	struct ob__session *here = only_session(service.node);
	struct ob__session *there = only_session(proxy.node);
	CU_ASSERT_PTR_NOT_NULL_FATAL(here);
	CU_ASSERT_PTR_NOT_NULL_FATAL(there);
	CU_ASSERT_TRUE(RIG_UNTIL((here->flags & OB__SESSION_SERVED_HEARD) != 0));

	there->served_len = 0; /* as if neither it nor the answer had arrived */
	here->flags &= (uint8_t)~OB__SESSION_SERVED_HEARD;
	ob__served_timeout(service.node);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(there->served_len, 0);
	ob__served_timeout(service.node);
	CU_ASSERT_TRUE(RIG_UNTIL((here->flags & OB__SESSION_SERVED_HEARD) != 0));
	CU_ASSERT_EQUAL(there->served_len, 1);

	there->served_len = 0;
	ob__served_timeout(service.node);
	ob__served_timeout(service.node);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(there->served_len, 0);
	there->served_len = 1;
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->sessions.slab.live == 0));
	end();
}

/* Unasked messages and kicks reach the client, wherever they come from. */
static void test_push_and_kick(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	ob_session s = got.view.session;
	CU_ASSERT_EQUAL(ob_push_json(at_service.ctx, s, 31, "{s:i}", "x", 1), 0);
	CU_ASSERT_TRUE(rig_expect(&c, 31, "{'x': 1}"));
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_pushes_total"), 1);
	char *bytes = calloc(1, 2 << 20);
	CU_ASSERT_EQUAL(ob_push(at_service.ctx, s, 31, bytes, 2 << 20), OB_E_TOO_BIG);
	free(bytes);

	CU_ASSERT_EQUAL(ob_session_close(at_service.ctx, s, 1005, "x"), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_close(at_service.ctx, s, 4005, "go away"), 0);
	CU_ASSERT_EQUAL(rig_closed(&c), 4005);
	CU_ASSERT_STRING_EQUAL(c.close_reason, "go away");
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->sessions.slab.live == 0));

	/* a push that crosses the end is lost and counted */
	rig_disconnect(&c);
	rig_connect(&c, proxy.port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	rig_freeze(&proxy, true);
	CU_ASSERT_EQUAL(ob_push(at_service.ctx, got.view.session, 31, "1", 1), 0);
	rig_disconnect(&c);
	rig_turn_ms(20);
	rig_freeze(&proxy, false);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&proxy, "obhost_pushes_lost_total") +
	                                 rig_metric(&proxy, "obhost_pushes_total") ==
	                         2));
	end();
}

static size_t members(const struct rig_node *n)
{
	return n->node->cluster.dir.count;
}

/* What the directory of a node lists, or NULL. */
static const struct ob__dir_node *listed(const struct rig_node *n, const char *name)
{
	return ob__directory_get(&n->node->cluster.dir, ob__node_id(name));
}

static int service_state(const struct rig_node *n)
{
	const struct ob__peer *p = ob__registry_get(&n->node->registry, ob__node_id("s"));

	return p != NULL ? p->state : -1;
}

static void test_events(void)
{
	begin();
	at_route.start = start_events;
	events[0] = '\0';
	start_route();
	start_service();
	CU_ASSERT_TRUE(rig_linked(&route, &service));
	CU_ASSERT_TRUE(RIG_UNTIL(members(&route) == 1));
	/* Back before it is taken for dead: another life, and no going and coming. */
	rig_kill(&service);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&route, &service) == NULL));
	start_service();
	CU_ASSERT_TRUE(rig_linked(&route, &service));
	CU_ASSERT_TRUE(RIG_UNTIL(strstr(events, "replaced") != NULL));
	CU_ASSERT_TRUE(RIG_UNTIL(service_state(&route) == OB__MEMBER_UP));
	CU_ASSERT_STRING_EQUAL(events, "up-s-service replaced-s-service ");
	CU_ASSERT_TRUE(rig_admin_expect(
		&route, "peers", NULL, 200,
		"{'peers': [{'name': 's', 'role': 'service', 'state': 'up', 'direction': 'dialled'}], "
		"'remote_ports': [{'role': 'service', 'name': 's', 'state': 'up'}]}"));
	CU_ASSERT_TRUE(rig_admin_expect(&service, "peers", NULL, 200,
	                                "{'peers': [{'name': 'r', 'direction': 'accepted'}]}"));
	end();
}

/* ---------------------------------------------------------------- calls */

static bool call_is(const ob_target *to, uint32_t id, const char *method, int code,
                    const char *text, const char *data)
{
	int before = ended.count;
	ob_call_id call =
		method != NULL ? ob_call_method(at_proxy.ctx, to, method, 0, "\"b\"", 3, 0,
	                                        call_ended, NULL)
			       : ob_call(at_proxy.ctx, to, id, 0, "\"b\"", 3, 0, call_ended, NULL);
	if (call == 0 || ended.count != before || !RIG_UNTIL(ended.count == before + 1)) {
		printf("# no end\n");
		return false;
	}
	bool same = ended.code == code && strcmp(ended.data, data) == 0 &&
	            (text == NULL || strcmp(ended.text, text) == 0);
	if (!same) {
		printf("# %d \"%s\" %s\n", ended.code, ended.text, ended.data);
	}
	return same;
}

static void test_calls(void)
{
	begin();
	at_service.start = start_service_handlers;
	at_route.start = start_route_handlers;
	all_up();
	ob_target role = {.role = ob_role(at_proxy.ctx, "service")};
	ob_target node = {.node = ob__node_id("s")};
	ob_target nobody = {.node = ob__node_id("nobody")};
	memset(&ended, 0, sizeof(ended));
	CU_ASSERT_TRUE(call_is(&role, 1000, NULL, OB_OK, "ok", "\"b\""));
	CU_ASSERT_EQUAL(ended.source, ob__node_id("s"));
	CU_ASSERT_EQUAL(got.view.flags, OB_VIEW_LINK | OB_VIEW_CALL);
	CU_ASSERT_EQUAL(got.view.session, 0);
	CU_ASSERT_TRUE(call_is(&node, 1000, NULL, OB_OK, "ok", "\"b\""));
	CU_ASSERT_TRUE(call_is(&node, 0, "t.echo", OB_OK, "ok", "\"b\""));
	CU_ASSERT_STRING_EQUAL(got.method, "t.echo");
	CU_ASSERT_EQUAL(got.view.id, 0);
	CU_ASSERT_TRUE(call_is(&role, 1001, NULL, OB_E_DENIED, "not you", ""));
	CU_ASSERT_TRUE(call_is(&role, 1002, NULL, OB_OK, "ok", ""));
	CU_ASSERT_TRUE(call_is(&role, 1003, NULL, OB_E_APP, "the handler gave no answer", ""));
	CU_ASSERT_TRUE(call_is(&role, 1006, NULL, OB_OK, "ok", ""));
	CU_ASSERT_TRUE(call_is(&role, 0, "t.one_way", OB_OK, "ok", ""));
	CU_ASSERT_TRUE(call_is(&role, 2000, NULL, OB_E_NOT_FOUND, NULL, ""));
	CU_ASSERT_TRUE(call_is(&role, 0, "t.none", OB_E_NOT_FOUND, NULL, ""));
	/* to a node nobody knows: the route node keeps it, in vain */
	at_proxy.ctx->api->call_cancel(at_proxy.ctx, 0);
	ended.count = 0;
	CU_ASSERT_NOT_EQUAL(ob_call(at_proxy.ctx, &nobody, 1000, 0, NULL, 0, 150, call_ended, NULL),
	                    0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.code, OB_E_NO_ROUTE);
	/* with a session along */
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	uint32_t i = 0;
	const struct ob__session *s = ob__slab_next(&proxy.node->sessions.slab, &i);
	CU_ASSERT_NOT_EQUAL(
		ob_call(at_proxy.ctx, &role, 1000, s->handle, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	CU_ASSERT_NOT_EQUAL(got.view.session, 0);
	end();
}

/* The caller's link breaks: MAYBE_SENT once; a call that waits at home for a node goes when it
 * comes. */
static void test_call_over_breaks(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	memset(&ended, 0, sizeof(ended));
	ob_target role = {.role = ob_role(at_proxy.ctx, "service")};
	CU_ASSERT_NOT_EQUAL(ob_call(at_proxy.ctx, &role, 1004, 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->dispatch.reqs.live == 1));
	rig_kill(&route);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.code, OB_E_MAYBE_SENT);
	CU_ASSERT_NOT_EQUAL(ob_call(at_proxy.ctx, &role, 1000, 0, "7", 1, 0, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(ob_reply(at_service.ctx, got.req, "{}", 2), 0); /* to nobody */
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&service, "obhost_replies_lost_total") == 1));
	start_route();
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	CU_ASSERT_EQUAL(ended.code, OB_OK);
	CU_ASSERT_STRING_EQUAL(ended.data, "7");
	/* and one that waits when its generation is gone */
	end();
}

/* ---------------------------------------------------------------- a decider of links */

static ob_verdict verdict;
static int decided;
static uint32_t decided_flags;

static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	decided++;
	decided_flags = view->flags;
	return verdict;
}

static int start_decider(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_link_message(ctx, decide);

	return rc == 0 ? ob_on_id(ctx, 5, echo) : rc;
}

/* The route node's decisions, for ids that nobody's table has. */
static void test_link_decider(void)
{
	begin();
	rig_start(&service, "s", "service",
	          LINKS "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]", service_port, "",
	          HOOKS(&at_service));
	at_route.start = start_decider;
	rig_start(&route, "r", "route",
	          LINKS "'remote_ports': [{'port': %d}], 'modules': [{'name': 'puppet', 'conf': "
	                "{'hooks': %ld}}]",
	          route_port, "", service_port, HOOKS(&at_route));
	start_proxy();
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE_FATAL(rig_linked(&route, &service));
	rig_connect(&c, proxy.port, true);

	const struct {
		ob_verdict verdict;
		int code; /* 0: nothing comes, and nobody waits any more */
		const char *text;
	} rows[] = {
		{{.action = OB_REFUSE}, 403, "not allowed"},
		{{.action = OB_REFUSE, .code = OB_E_BUSY, .text = "later"}, 503, "later"},
		{{.action = OB_REFUSE, .code = -2, .text = "odd"}, 500, "odd"},
		{{.action = OB_LOCAL}, 404, "no handler for this id or method"},
		{{.action = 0}, 404, NULL},
		{{.action = OB_FORWARD, .target = {.role = service.node->self.role_id}}, 404, NULL},
		{{.action = OB_FORWARD, .target = {.node = service.node->self.id}}, 404, NULL},
		/* to itself: it has no handler */
		{{.action = OB_FORWARD, .target = {.node = route.node->self.id}}, 404, NULL},
		{{.action = OB_FORWARD, .target = {.role = route.node->self.role_id}}, 404, NULL},
		{{.action = OB_DONE}, 0, NULL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int before = decided;
		verdict = rows[i].verdict;
		rig_send(&c, 20000, "{}");
		if (rows[i].code != 0) {
			CU_ASSERT_TRUE(rig_expect_error(&c, 20000, rows[i].code, rows[i].text));
		}
		CU_ASSERT_TRUE(rig_silent(&c));
		CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->pendings.slab.live == 0));
		CU_ASSERT_EQUAL(decided, before + 1);
		CU_ASSERT_EQUAL(decided_flags, OB_VIEW_LINK | OB_VIEW_STICKY);
		if (proxy.node->pendings.slab.live != 0) {
			printf("# row %zu: somebody waits\n", i);
		}
	}
	end();
}

/* ---------------------------------------------------------------- sticky and congested */

static struct rig_node service2;
static struct puppet at_service2;
static int by_node[2];

static void count_1(ob_ctx *ctx, ob_req req)
{
	by_node[0]++;
	ob_reply(ctx, req, "1", 1);
}

static void count_2(ob_ctx *ctx, ob_req req)
{
	by_node[1]++;
	ob_reply(ctx, req, "2", 1);
}

static int start_count_1(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 1000, count_1);

	return rc == 0 ? ob_on_id(ctx, 5000, count_1) : rc;
}

static int start_count_2(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 1000, count_2);

	return rc == 0 ? ob_on_id(ctx, 5000, count_2) : rc;
}

/* A session stays with the node that has served it; what need not is spread. */
static void test_sticky(void)
{
	int port2;

	begin();
	memset(&at_service2, 0, sizeof(at_service2));
	at_service.start = start_count_1;
	at_service2.start = start_count_2;
	memset(by_node, 0, sizeof(by_node));
	do {
		port2 = rig_port();
	} while (port2 == route_port || port2 == service_port);
	start_service();
	rig_start(&service2, "s2", "service",
	          LINKS "'modules': ['service', {'name': 'puppet', 'conf': {'hooks': %ld}}]", port2,
	          table, HOOKS(&at_service2));
	rig_start(&route, "r", "route",
	          LINKS "'remote_ports': [{'port': %d}, {'port': %d}], 'modules': ['route']",
	          route_port, table, service_port, port2);
	start_proxy();
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE_FATAL(rig_linked(&route, &service));
	CU_ASSERT_TRUE_FATAL(rig_linked(&route, &service2));
	rig_connect(&c, proxy.port, true);
	for (int i = 0; i < 20; i++) {
		rig_send(&c, 1000, "{}");
		CU_ASSERT_TRUE(rig_recv(&c));
	}
	CU_ASSERT_TRUE(by_node[0] == 20 || by_node[1] == 20);
	memset(by_node, 0, sizeof(by_node));
	for (int i = 0; i < 20; i++) {
		rig_send(&c, 5000, "{}");
		CU_ASSERT_TRUE(rig_recv(&c));
	}
	/* By turns, but for what the directory says meanwhile: the turns begin anew then. */
	CU_ASSERT_EQUAL(by_node[0] + by_node[1], 20);
	CU_ASSERT(by_node[0] >= 9 && by_node[0] <= 11);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(service2.node->sessions.slab.live == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->sessions.slab.live == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__list_empty(&proxy.node->sessions.notice_list)));
	rig_stop(&service2);
	end();
}

/* A link that takes nothing: the client is read no further, then requests are BUSY; when it drains
 * all goes on. */
static void test_congested(void)
{
	static char body[4000];

	begin();
	more_proxy = "'limits': {'link_queue': '256k', 'in_flight': 100000},";
	at_route.start = start_route_handlers;
	start_route();
	start_proxy();
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	rig_connect(&c, proxy.port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 5, "1", "1"));
	uint32_t i = 0;
	const struct ob__conn *conn = ob__slab_next(&proxy.node->clients.conns, &i);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conn);
	memset(body, '1', sizeof(body));
	rig_freeze(&route, true);
	int sent = 0;
	while ((conn->paused & OB__PAUSE_LINK) == 0 && sent < 20000) {
		rig_send_bytes(&c, 5, body, sizeof(body));
		rig_turn();
		sent++;
	}
	CU_ASSERT_TRUE((conn->paused & OB__PAUSE_LINK) != 0);
	CU_ASSERT_TRUE(ob__peer_congested(rig_peer(&proxy, &route)));
	CU_ASSERT_TRUE(ob__peer_queued(rig_peer(&proxy, &route)) <= (256u << 10) + (64u << 10));
	/* Code that calls meets the hard bound: then the call ends with that. */
	ob_target to_route = {.role = ob_role(at_proxy.ctx, "route")};
	int calls = 0;
	memset(&ended, 0, sizeof(ended));
	for (; calls < 1000; calls++) {
		CU_ASSERT_NOT_EQUAL(ob_call(at_proxy.ctx, &to_route, 5, 0, body, sizeof(body), 0,
		                            call_ended, NULL),
		                    0);
	}
	CU_ASSERT_EQUAL(ended.count, 0); /* never from within */
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count > 0));
	CU_ASSERT_TRUE(ended.count < calls - 10);
	CU_ASSERT_EQUAL(ended.code, OB_E_BUSY);
	rig_freeze(&route, false);
	int answered = 0;
	while (answered < sent && rig_recv(&c)) {
		answered += c.body_len == sizeof(body);
	}
	CU_ASSERT_EQUAL(answered, sent);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == calls));
	CU_ASSERT_EQUAL(ended.code, OB_OK);
	CU_ASSERT_EQUAL(conn->paused, 0);
	CU_ASSERT_TRUE(rig_ask(&c, 5, "2", "2"));
	end();
}

/* Asks until the traffic has made a link from the proxy to the service. */
static struct ob__peer *linked_for_traffic(void)
{
	for (int i = 0; i < 1000 && rig_peer(&proxy, &service) == NULL; i++) {
		CU_ASSERT_TRUE(rig_ask(&c, 5000, "1", "1"));
		rig_turn_ms(10);
	}
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &service));
	struct ob__peer *peer = rig_peer(&proxy, &service);
	CU_ASSERT_TRUE(RIG_UNTIL(peer->fence == 0));
	CU_ASSERT_PTR_EQUAL_FATAL(peer->via, rig_peer(&proxy, &route));
	return peer;
}

/* A path has changed, and the old one has no room for the fence: it is tried again, and what is to
 * come after it waits, but not for ever. */
static void test_fence_busy(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	struct ob__peer *peer = linked_for_traffic();
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_fences_busy_total"), 0);
	struct ob__links *links = proxy.node->links;
	size_t hard = links->options.hard;
	double sent = rig_metric(&proxy, "obhost_fences_total");

	peer->via_used = true;
	links->options.hard = 0;
	ob__cluster_path_up(proxy.node, peer);
	links->options.hard = hard;
	CU_ASSERT_TRUE(peer->fence != 0 && peer->fence_due && peer->link->hold);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_fences_busy_total"), 1);
	CU_ASSERT_TRUE(rig_ask(&c, 5000, "2", "2"));
	CU_ASSERT_TRUE(peer->fence == 0 && !peer->fence_due && !peer->link->hold);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_fences_total"), sent + 1);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_fences_late_total"), 0);

	peer->via_used = true;
	links->options.hard = 0;
	ob__cluster_path_up(proxy.node, peer);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&proxy, "obhost_fences_late_total") == 1));
	links->options.hard = hard;
	CU_ASSERT_TRUE(peer->fence == 0 && !peer->fence_due && !peer->link->hold);
	CU_ASSERT_TRUE(rig_metric(&proxy, "obhost_fences_busy_total") > 5);
	CU_ASSERT_TRUE(rig_ask(&c, 5000, "3", "3"));
	CU_ASSERT_FALSE(ob__timeout_armed(&proxy.node->cluster.fence_timeout));
	end();
}

/* What waits for a fence, and what does not: a node that passes frames on has never sent there what
 * came from where the fence went. */
static void test_fence_passed(void)
{
	const struct ob__frame f = {
		.kind = OB__FRAME_REQUEST,
		.flags = OB__FRAME_ONE_WAY,
		.id = 1006,
		.src = ob__node_id("p"),
		.dst = ob__node_id("s"),
		.budget = 5000,
	};
	uint8_t raw[OB__FRAME_HEADER];

	begin();
	at_service.start = start_service_handlers;
	all_up();
	struct ob__peer *peer = linked_for_traffic();
	struct ob__peer *via = rig_peer(&proxy, &route);
	struct ob__links *links = proxy.node->links;
	size_t hard = links->options.hard;
	got.count = 0;
	ob__frame_put_header(raw, &f);
	peer->via_used = true;
	links->options.hard = 0; /* so the fence stays out */
	ob__cluster_path_up(proxy.node, peer);
	links->options.hard = hard;
	CU_ASSERT_TRUE_FATAL(peer->fence != 0 && peer->fence_due && peer->link->hold == 1);
	CU_ASSERT_EQUAL(ob__cluster_forward(proxy.node, NULL, peer, raw, sizeof(raw)), 0);
	CU_ASSERT_EQUAL(ob__cluster_forward(proxy.node, peer, peer, raw, sizeof(raw)), 0);
	CU_ASSERT_EQUAL(peer->link->held.len, 2 * sizeof(raw));
	CU_ASSERT_EQUAL(ob__cluster_forward(proxy.node, via, peer, raw, sizeof(raw)), 0);
	CU_ASSERT_EQUAL(peer->link->held.len, 2 * sizeof(raw));
	CU_ASSERT_EQUAL(peer->link->hold, 1);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 3));
	CU_ASSERT_TRUE(RIG_UNTIL(peer->fence == 0));
	/* Without a fence of the peer's own, what its link keeps is kept from all. */
	ob__peer_hold(peer);
	CU_ASSERT_EQUAL(ob__cluster_forward(proxy.node, via, peer, raw, sizeof(raw)), 0);
	CU_ASSERT_EQUAL(peer->link->held.len, sizeof(raw));
	ob__peer_release(peer);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 4));
	end();
}

/* A node that was dialled for traffic leaves: nobody dials it any more. */
static void test_dialled_and_gone(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	struct ob__peer *peer = linked_for_traffic();
	CU_ASSERT_PTR_NOT_NULL(peer->dialing);
	CU_ASSERT_EQUAL(proxy.node->cluster.dialer.count, 2); /* and the route node */
	rig_stop(&service);
	CU_ASSERT_TRUE(RIG_UNTIL(listed(&proxy, "s") == NULL));
	CU_ASSERT_EQUAL(peer->state, OB__MEMBER_LEFT);
	CU_ASSERT_PTR_NULL(peer->dialing);
	CU_ASSERT_EQUAL(proxy.node->cluster.dialer.count, 1);
	CU_ASSERT_STRING_EQUAL(ob__dialer_state(peer), "");
	start_service(); /* to hear of the session's end */
	end();
}

/* A node has started again, and the link with its former life is not seen to be over.  When it is,
 * the node is what the directory says, before there is any link with the new life. */
static void test_former_life(void)
{
	begin();
	at_service.start = start_service_handlers;
	at_proxy.start = start_events;
	all_up();
	struct ob__peer *peer = linked_for_traffic();
	uint64_t life = peer->who.incarnation;
	proxy.node->links->options.ping_ms = proxy.node->links->options.dead_ms = 60000;
	ob__stream_read(&peer->link->stream, false);
	rig_kill(&service);
	start_service();
	uint64_t next = service.node->self.incarnation;
	CU_ASSERT_TRUE_FATAL(next > life);
	CU_ASSERT_TRUE(RIG_UNTIL(listed(&proxy, "s")->m.incarnation == next));
	CU_ASSERT_EQUAL(peer->who.incarnation, life);
	CU_ASSERT_PTR_NOT_NULL_FATAL(peer->link);
	events[0] = '\0';
	ob__peer_close(proxy.node->links, peer, "for the test");
	CU_ASSERT_PTR_NULL(peer->link);
	CU_ASSERT_EQUAL(peer->who.incarnation, next);
	CU_ASSERT_TRUE(RIG_UNTIL(peer->link != NULL)); /* of the new life */
	rig_turn_ms(50);
	CU_ASSERT_EQUAL(peer->who.incarnation, next);
	CU_ASSERT_STRING_EQUAL(events, "replaced-s-service ");
	end();
}

static void (*take_frame)(void *arg, struct ob__link *link, struct ob__frame *f, uint8_t *raw);
static int dropped;

static void drop_deltas(void *arg, struct ob__link *link, struct ob__frame *f, uint8_t *raw)
{
	if (f->kind == OB__FRAME_SYSTEM && f->id == OB__SYS_MEMBER_DELTA) {
		dropped++;
		return;
	}
	take_frame(arg, link, f, raw);
}

static uint32_t listed_weight(const struct rig_node *at, const struct rig_node *of)
{
	const struct ob__dir_node *n = listed(at, of->name);
	return n != NULL ? n->m.weight : 0;
}

/* The service says another weight, and the proxy does not hear what the route node says of it. */
static void lose_news(uint32_t weight)
{
	struct ob__links *links = proxy.node->links;
	take_frame = links->ops.on_frame;
	links->ops.on_frame = drop_deltas;
	dropped = 0;
	service.node->conf->weight = weight;
	ob__cluster_describe(service.node);
	CU_ASSERT_TRUE(RIG_UNTIL(dropped > 0 && listed_weight(&route, &service) == weight));
	links->ops.on_frame = take_frame;
	rig_turn_ms(300); /* it is not told again by itself */
	CU_ASSERT_NOT_EQUAL(listed_weight(&proxy, &service), weight);
}

/* Of two links that came up at once one breaks before it is left, and what was sent last on it may
 * be lost.  Each end by itself sees to it that the directory has it all the same. */
static void test_link_gap(void)
{
	begin();
	all_up();
	CU_ASSERT_TRUE(RIG_UNTIL(listed_weight(&proxy, &service) == 100));
	lose_news(150);
	struct ob__links *links = route.node->links;
	links->ops.on_gap(links->arg, rig_peer(&route, &proxy)); /* it says everything again */
	CU_ASSERT_TRUE(RIG_UNTIL(listed_weight(&proxy, &service) == 150));
	lose_news(200);
	links = proxy.node->links;
	links->ops.on_gap(links->arg, rig_peer(&proxy, &route)); /* it asks for all since */
	CU_ASSERT_TRUE(RIG_UNTIL(listed_weight(&proxy, &service) == 200));
	end();
}

/* Many ends of sessions that nobody has acknowledged are told a part in each turn, and each once.
 */
static void test_many_notices(void)
{
	const uint32_t many = 2 * OB__NOTICES_A_TURN + 10;
	const uint32_t parts[] = {OB__NOTICES_A_TURN, OB__NOTICES_A_TURN, 10, OB__NOTICES_A_TURN};

	begin();
	more_proxy = "'limits': {'sessions': 10000},";
	at_service.start = start_service_handlers;
	all_up();
	struct ob__node *node = proxy.node;
	struct ob__session gone = {.node = node->self.id};
	for (uint32_t i = 0; i < many; i++) {
		gone.seq = node->sessions.next_seq + i;
		CU_ASSERT_PTR_NOT_NULL_FATAL(ob__notice_new(&node->sessions, service.node->self.id,
		                                            &gone,
		                                            ob__loop_now(node->loop) + 60000));
	}
	const struct ob__link *link = rig_peer(&proxy, &route)->link;
	uint64_t before = link->frames_out;
	ob__notices_retry(node);
	CU_ASSERT_EQUAL(link->frames_out, before); /* in the next turn */
	for (size_t i = 0; i < 4; i++) {
		if (i == 2) {
			ob__notices_retry(
				node); /* a link is up meanwhile: another round, at once */
		}
		before = link->frames_out;
		ob__notices_timeout(node);
		CU_ASSERT_EQUAL(link->frames_out - before, parts[i]);
		CU_ASSERT_EQUAL(node->notices_at == 0, i == 2);
		CU_ASSERT_TRUE(ob__timeout_armed(&node->notice_timeout));
	}
	CU_ASSERT_TRUE(RIG_UNTIL(ob__list_empty(&node->sessions.notice_list)));
	CU_ASSERT_TRUE(RIG_UNTIL(!ob__timeout_armed(&node->notice_timeout)));
	end();
}

/* ---------------------------------------------------------------- frames that make no sense */

static void inject(struct ob__frame f)
{
	struct ob__peer *to = rig_peer(&service, &route);

	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	CU_ASSERT_EQUAL(ob__peer_send(service.node->links, to, &f), 0);
	rig_turn_ms(10);
}

static void test_odd_frames(void)
{
	uint64_t p = ob__node_id("p");
	uint64_t r = ob__node_id("r");
	uint64_t s = ob__node_id("s");

	begin();
	at_service.start = start_service_handlers;
	all_up();
	closed_count = 0;
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	uint32_t i = 0;
	const struct ob__session *own = ob__slab_next(&proxy.node->sessions.slab, &i);

	/* no hop left: refused towards its sender, not passed on */
	double before = rig_metric(&route, "obhost_hops_exceeded_total");
	inject((struct ob__frame){
		.kind = OB__FRAME_REQUEST, .dst = p, .hops = 1, .id = 5, .budget = 99});
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_hops_exceeded_total"), before + 1);
	inject((struct ob__frame){.kind = OB__FRAME_PUSH, .dst = p, .hops = 0, .id = 5});
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_hops_exceeded_total"), before + 2);

	/* replies to nobody: at the route node, through it, and for nobody at all */
	inject((struct ob__frame){.kind = OB__FRAME_REPLY, .dst = r, .hops = 4, .call = 4711});
	inject((struct ob__frame){.kind = OB__FRAME_REPLY, .dst = p, .hops = 4, .call = 4711});
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&proxy, "obhost_replies_stale") == 1));
	inject((struct ob__frame){.kind = OB__FRAME_REPLY, .dst = 4711, .hops = 4, .call = 4711});
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_replies_lost_total"), 1);
	inject((struct ob__frame){.kind = OB__FRAME_PUSH, .dst = 4711, .hops = 4, .id = 5});
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_pushes_lost_total"), 1);
	inject((struct ob__frame){.kind = OB__FRAME_PUSH,
	                          .dst = p,
	                          .hops = 4,
	                          .id = 5,
	                          .session_node = p,
	                          .session_seq = 1});
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&proxy, "obhost_pushes_lost_total") == 1));

	/* a one-way request nobody handles: only counted */
	inject((struct ob__frame){.kind = OB__FRAME_REQUEST,
	                          .flags = OB__FRAME_ONE_WAY,
	                          .dst = r,
	                          .hops = 4,
	                          .id = 999,
	                          .budget = 99});
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_requests_refused_total{result=\"NOT_FOUND\"}"),
	                1);

	/* a method frame without a method */
	inject((struct ob__frame){.kind = OB__FRAME_REQUEST,
	                          .flags = OB__FRAME_METHOD,
	                          .dst = r,
	                          .hops = 4,
	                          .call = 7,
	                          .budget = 99});
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_requests_refused_total{result=\"NOT_FOUND\"}"),
	                2);

	/* system frames: unknown ones, kicks of nobody and too short ones, acks of nothing */
	inject((struct ob__frame){.kind = OB__FRAME_SYSTEM, .dst = p, .hops = 4, .id = 4711});
	inject((struct ob__frame){.kind = OB__FRAME_SYSTEM,
	                          .dst = p,
	                          .hops = 4,
	                          .id = OB__SYS_KICK,
	                          .session_node = p,
	                          .session_seq = 1});
	inject((struct ob__frame){.kind = OB__FRAME_SYSTEM,
	                          .dst = p,
	                          .hops = 4,
	                          .id = OB__SYS_KICK,
	                          .session_node = p,
	                          .session_seq = own->seq,
	                          .payload = (const uint8_t *)"x",
	                          .payload_len = 1});
	inject((struct ob__frame){.kind = OB__FRAME_SYSTEM,
	                          .dst = p,
	                          .hops = 4,
	                          .id = OB__SYS_CLOSED_ACK,
	                          .call = 4711});

	/* names that are none, one that is known, and a new one */
	static const struct {
		const char *name;
		uint32_t len;
	} names[] = {{"", 0},
	             {"a\0b", 3},
	             {"p", 1},
	             {"far", 3},
	             {"0123456789012345678901234567890123456789012345678901234567890123", 64}};
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		inject((struct ob__frame){.kind = OB__FRAME_SYSTEM,
		                          .dst = r,
		                          .hops = 4,
		                          .id = OB__SYS_NAME,
		                          .payload = (const uint8_t *)names[k].name,
		                          .payload_len = names[k].len});
	}
	CU_ASSERT_EQUAL(route.node->names.count, 1);
	CU_ASSERT_STRING_EQUAL(ob__names_get(route.node, ob__node_id("far")), "far");
	CU_ASSERT_TRUE(RIG_UNTIL(ob__names_get(proxy.node, ob__node_id("far")) != NULL));

	/* a request without time */
	inject((struct ob__frame){
		.kind = OB__FRAME_REQUEST, .dst = r, .hops = 4, .id = 5, .call = 7});
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_requests_refused_total{result=\"DEADLINE\"}"),
	                1);

	/* only a session's own proxy says that it is closed */
	inject((struct ob__frame){.kind = OB__FRAME_SYSTEM,
	                          .dst = p,
	                          .hops = 4,
	                          .id = OB__SYS_CLOSED,
	                          .session_node = p,
	                          .session_seq = own->seq});
	struct ob__frame f = {.kind = OB__FRAME_SYSTEM,
	                      .dst = s,
	                      .hops = 4,
	                      .id = OB__SYS_CLOSED,
	                      .session_node = p,
	                      .session_seq = own->seq};
	CU_ASSERT_EQUAL(ob__peer_send(route.node->links, rig_peer(&route, &service), &f), 0);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(closed_count, 0);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "2", "2"));

	/* who says it served a session that is over is told so */
	f = (struct ob__frame){.kind = OB__FRAME_SYSTEM,
	                       .dst = p,
	                       .hops = 4,
	                       .id = OB__SYS_SERVED,
	                       .session_node = p,
	                       .session_seq = own->seq - 1};
	CU_ASSERT_EQUAL(ob__peer_send(service.node->links, rig_peer(&service, &route), &f), 0);
	rig_turn_ms(20);
	CU_ASSERT_TRUE(RIG_UNTIL(ob__list_empty(&proxy.node->sessions.notice_list)));
	CU_ASSERT_EQUAL(service.node->sessions.slab.live, 1);
	CU_ASSERT_EQUAL(proxy.node->sessions.slab.live, 1);

	/* and who says so again and again leaves nothing behind, though it never acknowledges */
	f.status = 1;
	f.src = ob__node_id("nobody");
	CU_ASSERT_EQUAL(ob__peer_send(route.node->links, rig_peer(&route, &proxy), &f), 0);
	rig_turn_ms(20);
	CU_ASSERT_TRUE(ob__list_empty(&proxy.node->sessions.notice_list));

	/* a message of a session of a life that has not begun does not end those of this one */
	f = (struct ob__frame){.kind = OB__FRAME_REQUEST,
	                       .flags = OB__FRAME_ONE_WAY,
	                       .dst = s,
	                       .hops = 4,
	                       .id = 1000,
	                       .budget = 1000,
	                       .session_node = p,
	                       .session_seq = UINT64_MAX - 1};
	CU_ASSERT_EQUAL(ob__peer_send(route.node->links, rig_peer(&route, &service), &f), 0);
	rig_turn_ms(50);
	CU_ASSERT_NOT_EQUAL(ob__session_find(&service.node->sessions, p, own->seq), NULL);
	end();
}

/* A table of sessions that is full: BUSY, and the node lives. */
static void test_sessions_full(void)
{
	struct rig_client other;

	begin();
	more_service = "'limits': {'sessions': 1},";
	at_service.start = start_service_handlers;
	all_up();
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	rig_connect(&other, proxy.port, true);
	rig_send(&other, 1000, "1");
	CU_ASSERT_TRUE(rig_expect_error(&other, 1000, 503, "too many requests or sessions"));
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->sessions.slab.live == 0));
	CU_ASSERT_TRUE(rig_ask(&other, 1000, "2", "2"));
	rig_disconnect(&other);
	end();
}

/* The link message's handler is replaced while requests are with it. */
static void test_reload(void)
{
	begin();
	at_service.start = start_service_handlers;
	all_up();
	rig_send(&c, 1004, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->dispatch.reqs.live == 1));
	ob_ctx *old = at_service.ctx;
	ob_req first = got.req;
	CU_ASSERT_TRUE(rig_admin_expect(&service, "modules.reload", "{'force': true}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&route, "modules.reload", "{'force': true}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&proxy, "modules.reload", "{'force': true}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_PTR_NOT_EQUAL(at_service.ctx, old);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	CU_ASSERT_EQUAL(ob_reply(old, first, "\"old\"", 5), 0);
	CU_ASSERT_TRUE(rig_expect(&c, 1004, "'old'"));
	CU_ASSERT_TRUE(RIG_UNTIL(at_service.stops == 1));
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_module_zombies_total"), 0);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("mesh", NULL, NULL);
	CU_add_test(s, "a client's messages, each way of a handler", test_answers);
	CU_add_test(s, "order", test_order);
	CU_add_test(s, "the deadline", test_deadline);
	CU_add_test(s, "a late reply", test_stale_reply);
	CU_add_test(s, "kept until a node comes up", test_held_then_up);
	CU_add_test(s, "kept for others", test_held_for_others);
	CU_add_test(s, "kept at the proxy", test_held_at_proxy);
	CU_add_test(s, "kept in vain", test_held_in_vain);
	CU_add_test(s, "kept within bounds", test_held_bound);
	CU_add_test(s, "a node dies", test_link_lost);
	CU_add_test(s, "a session's end is heard once", test_sessions);
	CU_add_test(s, "a session's end while a node is away", test_closed_while_away);
	CU_add_test(s, "a session's end told to a newborn", test_closed_to_a_newborn);
	CU_add_test(s, "a session comes home", test_session_comes_home);
	CU_add_test(s, "a proxy that crashed", test_proxy_crashed);
	CU_add_test(s, "a SERVED that was lost", test_served_lost);
	CU_add_test(s, "pushes and kicks", test_push_and_kick);
	CU_add_test(s, "events of nodes", test_events);
	CU_add_test(s, "calls", test_calls);
	CU_add_test(s, "calls over broken links", test_call_over_breaks);
	CU_add_test(s, "a decider of links", test_link_decider);
	CU_add_test(s, "sticky and free", test_sticky);
	CU_add_test(s, "a congested link", test_congested);
	CU_add_test(s, "a fence without room", test_fence_busy);
	CU_add_test(s, "what a fence holds up", test_fence_passed);
	CU_add_test(s, "a dialled node leaves", test_dialled_and_gone);
	CU_add_test(s, "the link of a former life", test_former_life);
	CU_add_test(s, "news that a link has lost", test_link_gap);
	CU_add_test(s, "many sessions' ends", test_many_notices);
	CU_add_test(s, "odd frames", test_odd_frames);
	CU_add_test(s, "too many sessions", test_sessions_full);
	CU_add_test(s, "a reload with requests in flight", test_reload);
	return ob__tap_run();
}
