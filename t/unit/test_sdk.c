/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The tables behind the SDK: what each function says to arguments that make no sense, at a time
 * when it can't, and when the generation has been taken out. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/sdk/sdk.h"
#include "lib/blob.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet one;
static struct puppet two;

static void begin(const char *conf, bool admin)
{
	rig_begin();
	rig_start(
		&n, "n", "x",
		"%s 'modules': [{'name': 'puppet', 'admin': %s, 'conf': {'hooks': %ld}}, {'name': "
		"'second', 'conf': {'hooks': %ld}}]",
		conf, admin ? "true" : "false", (long)(intptr_t)&one, (long)(intptr_t)&two);
}

static void end(void)
{
	rig_stop(&n);
	rig_end();
	memset(&one, 0, sizeof(one));
	memset(&two, 0, sizeof(two));
}

static void handler(ob_ctx *ctx, ob_req req)
{
	ob_reply(ctx, req, "{}", 2);
}

static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	return (ob_verdict){.action = OB_DONE};
}

static int filter(ob_ctx *ctx, const ob_view *view)
{
	return 0;
}

static int policy(ob_ctx *ctx, const ob_choice *choice)
{
	return 0;
}

static json_t *error_body(ob_ctx *ctx, int code, const char *text)
{
	return NULL;
}

static void on_event(ob_ctx *ctx, const ob_event_info *info)
{
}

static void timer(ob_ctx *ctx, ob_timer t, void *arg)
{
	CU_FAIL("a timer that was never started");
}

static void work(void *arg)
{
	CU_FAIL("a job that was never started");
}

static void post(ob_ctx *ctx, void *arg)
{
}

static void call_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	CU_FAIL("a call that was never made");
}

static void fetched(ob_ctx *ctx, const ob_http_response *res, void *arg)
{
	CU_FAIL("an HTTP request that was never made");
}

static void user_found(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	CU_FAIL("a result that nobody waits for");
}

static int answers;
static int last_status;

#define ASKED 100000

static void asks_again(ob_ctx *ctx, const ob_admin_reply *reply, void *arg)
{
	if (++answers < ASKED) {
		CU_ASSERT_EQUAL(ob_admin(ctx, "health", NULL, asks_again, arg), 0);
	}
}

static void answered(ob_ctx *ctx, const ob_admin_reply *reply, void *arg)
{
	answers++;
	last_status = reply->status;
}

/* ---------------------------------------------------------------- registering */

static char long_path[600];
static char long_method[300];

static void check_ids(ob_ctx *ctx)
{
	static const struct {
		uint32_t id;
		bool fn;
		uint32_t flags;
		int rc;
	} rows[] = {
		{1, false, OB_FROM_CLIENT, OB_E_INVAL},
		{0x80000000u, true, OB_FROM_CLIENT, OB_E_INVAL},
		{UINT32_MAX, true, OB_FROM_LINK, OB_E_INVAL},
		{1, true, 0, OB_E_INVAL},
		{1, true, OB_ONE_WAY, OB_E_INVAL},
		{1, true, OB_FROM_CLIENT, 0},
		{1, true, OB_FROM_CLIENT, OB_E_EXISTS},
		/* half of it is taken: then the other half is not taken either */
		{1, true, OB_FROM_CLIENT | OB_FROM_LINK, OB_E_EXISTS},
		{1, true, OB_FROM_LINK, 0},
		{2, true, OB_FROM_LINK, 0},
		{2, true, OB_FROM_CLIENT | OB_FROM_LINK, OB_E_EXISTS},
		{2, true, OB_FROM_CLIENT, 0},
		{0, true, OB_FROM_CLIENT | OB_FROM_LINK, 0},
		{0x7fffffff, true, OB_FROM_CLIENT | OB_FROM_LINK | OB_ONE_WAY, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int rc =
			ob_on_id_flags(ctx, rows[i].id, rows[i].fn ? handler : NULL, rows[i].flags);
		CU_ASSERT_EQUAL(rc, rows[i].rc);
		if (rc != rows[i].rc) {
			printf("# row %zu: %d\n", i, rc);
		}
	}
}

static void check_methods(ob_ctx *ctx)
{
	memset(long_method, 'm', sizeof(long_method) - 1);
	CU_ASSERT_EQUAL(ob_on_method(ctx, NULL, handler, 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "", handler, 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "a", NULL, 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_method(ctx, long_method, handler, 0), OB_E_INVAL);
	long_method[255] = '\0';
	CU_ASSERT_EQUAL(ob_on_method(ctx, long_method, handler, 0), 0);
	CU_ASSERT_EQUAL(ob_on_method(ctx, long_method, handler, 0), OB_E_EXISTS);
}

static void check_http(ob_ctx *ctx, bool admin)
{
	const struct {
		const char *method;
		const char *path;
		uint32_t flags;
		int rc;
	} rows[] = {
		{NULL, "/a", 0, OB_E_INVAL},
		{"", "/a", 0, OB_E_INVAL},
		{"GET POST", "/a", 0, OB_E_INVAL},
		{"GET", NULL, 0, OB_E_INVAL},
		{"GET", "", 0, OB_E_INVAL},
		{"GET", "a", 0, OB_E_INVAL},
		{"GET", "/a*", 0, OB_E_INVAL},
		{"GET", "/*/b", 0, OB_E_INVAL},
		{"GET", "/**", 0, OB_E_INVAL},
		{"GET", long_path, 0, OB_E_INVAL},
		{"GET", "/a", 0, 0},
		{"GET", "/a", 0, OB_E_EXISTS},
		{"*", "/a", 0, 0},
		{"GET", "/a/*", 0, 0},
		{"GET", "/*", 0, 0},
		/* administrative paths need the flag, and the flag needs admin */
		{"GET", "/node", 0, OB_E_DENIED},
		{"POST", "/modules/reload", 0, OB_E_DENIED},
		{"GET", "/modules/tx/7", 0, OB_E_DENIED},
		{"GET", "/update_remote_rpc_config", 0, OB_E_DENIED},
		{"GET", "/node", OB_HTTP_ADMIN, admin ? 0 : OB_E_DENIED},
		{"GET", "/mine", OB_HTTP_ADMIN, OB_E_DENIED},
	};

	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[0] = '/';
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int rc = ob_on_http(ctx, rows[i].method, rows[i].path, handler, rows[i].flags);
		CU_ASSERT_EQUAL(rc, rows[i].rc);
		if (rc != rows[i].rc) {
			printf("# row %zu: %d\n", i, rc);
		}
	}
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/b", NULL, 0), OB_E_INVAL);
}

static void check_others(ob_ctx *ctx)
{
	CU_ASSERT_EQUAL(ob_on_event(ctx, 0, on_event), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_event(ctx, OB_EVENT_SESSION_LEFT + 1, on_event), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_event(ctx, OB_EVENT_NODE_UP, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_event(ctx, OB_EVENT_NODE_UP, on_event), 0);
	CU_ASSERT_EQUAL(ob_on_event(ctx, OB_EVENT_NODE_UP, on_event), 0); /* any number */
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 1, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 1, filter), 0);
	CU_ASSERT_EQUAL(ob_on_client_message(ctx, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_client_message(ctx, decide), 0);
	CU_ASSERT_EQUAL(ob_on_client_message(ctx, decide), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_link_message(ctx, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_link_message(ctx, decide), 0);
	CU_ASSERT_EQUAL(ob_on_unknown(ctx, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_unknown(ctx, handler), 0);
	CU_ASSERT_EQUAL(ob_on_error_body(ctx, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_error_body(ctx, error_body), 0);
	CU_ASSERT_EQUAL(ob_on_codec(ctx, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_policy(ctx, "p", NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_policy(ctx, NULL, policy), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_policy(ctx, "", policy), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_policy(ctx, "two words", policy), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_policy(ctx, "p", policy), 0);
	CU_ASSERT_EQUAL(ob_on_policy(ctx, "p", policy), OB_E_EXISTS);
}

static void check_counters(ob_ctx *ctx)
{
	static const char *const bad[] = {
		"",
		"A",
		"a-b",
		"a b",
		"a\"",
		"\xc3\xa9",
		"a123456789b123456789c123456789d123456789e123456789f123456"
		"789g1234"};
	int a = ob_counter(ctx, "hits", "How often.");

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_EQUAL(ob_counter(ctx, bad[i], "x"), OB_E_INVAL);
	}
	CU_ASSERT(a >= 0);
	CU_ASSERT_EQUAL(ob_counter(ctx, "hits", "How often."), a);
	CU_ASSERT_NOT_EQUAL(ob_counter(ctx, "misses", "x"), a);
	ob_count(ctx, a, 3);
	ob_count(ctx, -1, 3);
	ob_count(ctx, 4711, 3);
	for (int i = 2; i < 64; i++) {
		char name[16];
		snprintf(name, sizeof(name), "c%d", i);
		CU_ASSERT(ob_counter(ctx, name, "x") >= 0);
	}
	CU_ASSERT_EQUAL(ob_counter(ctx, "one_more", "x"), OB_E_LIMIT);
}

/* Facts are there from the start on. */
static void check_facts(ob_ctx *ctx)
{
	ob_node_info info = {.size = sizeof(info)};

	CU_ASSERT_EQUAL(ob_node(ctx, &info), 0);
	CU_ASSERT_STRING_EQUAL(info.name, "n");
	CU_ASSERT_STRING_EQUAL(info.role, "x");
	CU_ASSERT_EQUAL(info.id, ob__node_id("n"));
	CU_ASSERT_EQUAL(info.role_id, ob_role(ctx, "x"));
	CU_ASSERT_EQUAL(info.incarnation % 1000 < 1000, 1);
	info.size--;
	CU_ASSERT_EQUAL(ob_node(ctx, &info), OB_E_INVAL);
	CU_ASSERT_STRING_EQUAL(json_string_value(ob_config(ctx, "name")), "n");
	CU_ASSERT_STRING_EQUAL(json_string_value(ob_config(ctx, "http.token")), "***");
	CU_ASSERT_PTR_NULL(ob_config(ctx, "http.nothing"));
	CU_ASSERT(ob_now_ms(ctx) > 0);
	CU_ASSERT_STRING_EQUAL(ob_strerror(ctx, OB_E_BUSY), "too busy");
	CU_ASSERT_EQUAL(ob_status(ctx, OB_E_DEADLINE), 504);
	CU_ASSERT_EQUAL(ob_status(ctx, OB_OK), 200);
	CU_ASSERT_EQUAL(ob_status(ctx, OB_E_STALE), 500);
	CU_ASSERT_EQUAL(ob_route_role(ctx, 5), ob_role(ctx, "y"));
	CU_ASSERT_EQUAL(ob_route_role(ctx, 7), 0);
	CU_ASSERT_PTR_NOT_NULL(ob_state(ctx, "s", 8, 1));
	CU_ASSERT_PTR_NULL(ob_state(ctx, "s", 0, 1));
	ob_log(ctx, OB_LOG_NOTICE, "said by %s", "the puppet");
}

/* Before live nothing goes out. */
static void check_shadow(ob_ctx *ctx, bool admin)
{
	ob_target self = {.role = ob_role(ctx, "x")};
	ob_http_request q = {.size = sizeof(q), .url = "http://127.0.0.1:1/"};

	CU_ASSERT_EQUAL(ob_push(ctx, 1, 5, "", 0), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_push_json(ctx, 1, 5, "{}"), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_call(ctx, &self, 1, 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(ob_timer_start(ctx, 1, 0, timer, NULL), 0);
	CU_ASSERT_EQUAL(ob_timer_start(ctx, 1, 1, timer, NULL), 0);
	CU_ASSERT_EQUAL(ob_job(ctx, work, post, NULL), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_http_call(ctx, &q, fetched, NULL), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_session_close(ctx, 1, 1000, ""), OB_E_STATE);
	answers = 0;
	CU_ASSERT_EQUAL(ob_admin(ctx, "drain", NULL, answered, NULL),
	                admin ? OB_E_STATE : OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_admin(ctx, "no.such", json_object(), answered, NULL),
	                admin ? OB_E_STATE : OB_E_DENIED);
	CU_ASSERT_EQUAL(answers, 0);
	CU_ASSERT_EQUAL(ob_admin(ctx, "node", json_object(), answered, NULL),
	                admin ? 0 : OB_E_DENIED);
	CU_ASSERT_EQUAL(answers, admin);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", "the secret of this test"),
	                admin ? 1 : OB_E_DENIED);
}

static int start_all(ob_ctx *ctx, const json_t *conf)
{
	const struct ob__gen *g = (const struct ob__gen *)ctx;

	check_ids(ctx);
	check_methods(ctx);
	check_http(ctx, g->module->admin);
	check_others(ctx);
	check_counters(ctx);
	check_facts(ctx);
	check_shadow(ctx, g->module->admin);
	return 0;
}

static const char conf_text[] =
	"'http': {'port': %d, 'token': 'the secret of this test'}, 'rpc': {'route': {'range': {'y': "
	"[[1, 5]]}}},";

static void begin_all(bool admin)
{
	char conf[256];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(conf, sizeof(conf), conf_text, rig_port());
#pragma GCC diagnostic pop
	one.start = start_all;
	begin(conf, admin);
}

static void test_start(void)
{
	for (int admin = 0; admin < 2; admin++) {
		begin_all(admin != 0);
		CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_hits_total{module=\"puppet\"}"), 3);
		CU_ASSERT_TRUE(rig_logged("n", "notice [puppet] said by the puppet"));

		/* a counter goes on over a reload */
		CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload",
		                                "{'name': 'puppet', 'force': true}", 200,
		                                "{'result': 'switched'}"));
		CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_hits_total{module=\"puppet\"}"), 6);
		end();
	}
}

/* What another module has is refused, with what it was in the report. */
static int start_taken(ob_ctx *ctx, const json_t *conf)
{
	CU_ASSERT_EQUAL(ob_on_id(ctx, 1, handler), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_method(ctx, long_method, handler, 0), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_client_message(ctx, decide), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_error_body(ctx, error_body), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_policy(ctx, "p", policy), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_event(ctx, OB_EVENT_NODE_UP, on_event), 0);
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 1, filter), 0);
	return ob_on_http(ctx, "GET", "/a", handler, 0);
}

static void test_taken(void)
{
	begin_all(false);
	two.start = start_taken;
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules.reload", "{'name': 'second', 'force': true}", 422,
		"{'error': {'message': 'start failed: \\'GET /a\\': another module has it already'}}"));
	end();
}

/* ---------------------------------------------------------------- live */

static void test_live(void)
{
	ob_session_info s = {.size = sizeof(s)};
	char text[4];

	begin_all(true);
	ob_ctx *ctx = one.ctx;

	/* Registering goes on while live, but for filters and events, whose chains may be under
	 * way. */
	CU_ASSERT_EQUAL(ob_on_id(ctx, 5000, handler), 0);
	CU_ASSERT_PTR_NOT_NULL(ob__slots_by_id(&n.node->slots, true, 5000, 0, 0));
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 1, filter), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_on_event(ctx, OB_EVENT_SESSION_OPENED, on_event), OB_E_STATE);
	CU_ASSERT_EQUAL(n.node->slots.events.len, 2);

	/* Sessions and requests that are not there. */
	CU_ASSERT_EQUAL(ob_session_get(ctx, 1, &s), OB_E_STALE);
	s.size = 1;
	CU_ASSERT_EQUAL(ob_session_get(ctx, 1, &s), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_text(ctx, 1, text, sizeof(text)), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_session_close(ctx, 1, 0, NULL), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_push(ctx, 1, 5, "", 0), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_push(ctx, 1, 0, "", 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push(ctx, 1, 0x80000000u, "", 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_value(ctx, 1, 5, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_value(ctx, 1, 0, json_object()), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_call_cancel(ctx, 7), OB_E_STALE);
	ob_http_info info = {.size = sizeof(info)};
	CU_ASSERT_EQUAL(ob_http_get(ctx, 1, &info), OB_E_STALE);
	info.size = 3;
	CU_ASSERT_EQUAL(ob_http_get(ctx, 1, &info), OB_E_INVAL);
	CU_ASSERT_PTR_NULL(ob_http_header(ctx, 1, "Host"));
	CU_ASSERT_EQUAL(ob_http_set_header(ctx, 1, "A", "b"), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_http_reply(ctx, 1, 200, NULL, NULL, 0), OB_E_STALE);

	/* Secrets. */
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", "the secret of this test"), 1);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", "the secret of this tes"), 0);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", ""), 0);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", NULL), 0);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "rpc.token", ""), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_secret_check(two.ctx, "http.token", ""), OB_E_DENIED);

	/* Administration. */
	answers = 0;
	CU_ASSERT_EQUAL(ob_admin(ctx, "health", NULL, answered, NULL), 0);
	CU_ASSERT_EQUAL(answers, 1);
	CU_ASSERT_EQUAL(last_status, 200);
	CU_ASSERT_EQUAL(ob_admin(ctx, "no.such", json_object(), answered, NULL), 0);
	CU_ASSERT_EQUAL(last_status, 404);
	CU_ASSERT_EQUAL(ob_admin(ctx, "health", json_array(), answered, NULL), 0);
	CU_ASSERT_EQUAL(last_status, 400);
	CU_ASSERT_EQUAL(ob_admin(ctx, NULL, json_object(), answered, NULL), OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_admin(ctx, "health", json_object(), NULL, NULL), OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_admin(two.ctx, "health", json_object(), answered, NULL), OB_E_DENIED);
	CU_ASSERT_EQUAL(answers, 3);

	/* One that asks for the next in the answer to the last does not go deeper for ever. */
	answers = 0;
	CU_ASSERT_EQUAL(ob_admin(ctx, "health", NULL, asks_again, NULL), 0);
	CU_ASSERT(answers < 100);
	CU_ASSERT_TRUE(RIG_UNTIL(answers == ASKED));
	answers = 3;

	/* A module that asks for its own reload is answered though its generation goes. */
	one.start = NULL;
	CU_ASSERT_EQUAL(
		ob_admin(ctx, "modules.reload", json_pack("{s:b}", "force", 1), answered, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(answers == 4));
	CU_ASSERT_EQUAL(last_status, 200);
	CU_ASSERT_TRUE(RIG_UNTIL(one.stops == 1));
	end();
}

/* ---------------------------------------------------------------- mapped and unmapped */

static int result;
static int results;
static bool filter_unmaps;

static void note_result(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	result = res->code;
	results++;
}

/* It is its own last one. */
static void only_once(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &view), 0);
	CU_ASSERT_EQUAL(
		view.method != NULL ? ob_off_method(ctx, view.method) : ob_off_id(ctx, view.id), 0);
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "1", 1), 0);
}

static int unmap_filter(ob_ctx *ctx, const ob_call_event *event)
{
	if (filter_unmaps) {
		(void)(event->view->method != NULL ? ob_off_method(one.ctx, event->view->method)
		                                   : ob_off_id(one.ctx, event->view->id));
	}
	return 0;
}

static int start_unmap(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_call_filter(ctx, OB_CALL_BEFORE_IN, 1, unmap_filter);
}

static int call_own(uint32_t id, const char *method)
{
	ob_node_info node = {.size = sizeof(node)};
	int before = results;

	CU_ASSERT_EQUAL(ob_node(one.ctx, &node), 0);
	ob_target target = {.node = node.id};
	ob_call_options o = {.size = sizeof(o), .id = id, .method = method, .deadline_ms = 5000};
	CU_ASSERT_NOT_EQUAL(ob_call_with(one.ctx, &target, &o, note_result, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(results == before + 1));
	return result;
}

static void test_unmapped(void)
{
	static const char method[] = "user.x.m.once";

	two.start = start_unmap;
	begin("", false);
	ob_ctx *ctx = one.ctx;
	CU_ASSERT_EQUAL(ob_off_id(ctx, 7), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_off_name(ctx, "a.b"), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_off_method(ctx, method), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_off_method(ctx, NULL), OB_E_INVAL);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(ob_on_id(ctx, 7, only_once), 0);
		CU_ASSERT_EQUAL(ob_off_id(two.ctx, 7), OB_E_NOT_FOUND); /* it is the other's */
		CU_ASSERT_EQUAL(call_own(7, NULL), OB_OK);
		CU_ASSERT_EQUAL(call_own(7, NULL), OB_E_NOT_FOUND);
		CU_ASSERT_EQUAL(ob_on_method(ctx, method, only_once, 0), 0);
		CU_ASSERT_EQUAL(call_own(0, method), OB_OK);
		CU_ASSERT_EQUAL(call_own(0, method), OB_E_NOT_FOUND);
	}
	CU_ASSERT_EQUAL(ob_on_name(ctx, "a.b", handler, OB_FROM_LINK), 0);
	CU_ASSERT_EQUAL(call_own(ob_name_id(ctx, "a.b"), NULL), OB_OK);
	CU_ASSERT_EQUAL(ob_off_name(ctx, "a.b"), 0);
	CU_ASSERT_EQUAL(call_own(ob_name_id(ctx, "a.b"), NULL), OB_E_NOT_FOUND);
	/* a filter of the very call takes the handler back */
	filter_unmaps = true;
	CU_ASSERT_EQUAL(ob_on_id(ctx, 7, handler), 0);
	CU_ASSERT_EQUAL(call_own(7, NULL), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_on_method(ctx, method, handler, 0), 0);
	CU_ASSERT_EQUAL(call_own(0, method), OB_E_NOT_FOUND);
	filter_unmaps = false;
	CU_ASSERT_EQUAL(n.node->dispatch.reqs.live, 0);
	end();
}

/* ---------------------------------------------------------------- what outlives a generation */

static int kv_starts;

static int start_kv(ob_ctx *ctx, const json_t *conf)
{
	size_t len = 7;
	const char *value = ob_kv_get(ctx, "k", &len);

	/* Read from start on; written by the one that serves. */
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "k", "new", 3), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_kv_del(ctx, "k"), OB_E_STATE);
	if (kv_starts++ == 0) {
		CU_ASSERT_PTR_NULL(value);
		CU_ASSERT_EQUAL(len, 0);
		CU_ASSERT_PTR_NULL(ob_kv_next(ctx, NULL));
		return 0;
	}
	CU_ASSERT(len == 3 && value != NULL && memcmp(value, "old", 3) == 0);
	CU_ASSERT_STRING_EQUAL(ob_kv_next(ctx, NULL), "empty");
	CU_ASSERT_STRING_EQUAL(ob_kv_next(ctx, "empty"), "k");

	return 0;
}

/* In load() the store is only read: what it says can still be refused. */
static void kv_in_load(ob_ctx *ctx)
{
	struct ob__gen *g = (struct ob__gen *)ctx;
	struct ob__blob_reader reader;

	g->reader = &reader;
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "loaded", "x", 1), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_kv_del(ctx, "empty"), OB_E_STATE);
	CU_ASSERT_PTR_NOT_NULL(ob_kv_get(ctx, "empty", NULL));
	g->reader = NULL;
}

static void test_kv(void)
{
	size_t len;

	kv_starts = 0;
	one.start = start_kv;
	begin("", false);
	CU_ASSERT_EQUAL(ob_kv_del(one.ctx, "k"), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_kv_set(one.ctx, "k", "old", 3), 0);
	CU_ASSERT_EQUAL(ob_kv_set(one.ctx, "empty", NULL, 0), 0);
	CU_ASSERT_EQUAL(ob_kv_set(one.ctx, "", "", 0), OB_E_INVAL);
	CU_ASSERT_PTR_NOT_NULL(ob_kv_get(one.ctx, "empty", &len));
	CU_ASSERT_PTR_NULL(ob_kv_get(two.ctx, "k", &len)); /* each module has its own */
	ob_ctx *before = one.ctx;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(kv_starts, 2);
	CU_ASSERT_PTR_NOT_EQUAL(one.ctx, before);
	kv_in_load(one.ctx);
	CU_ASSERT_PTR_NULL(ob_kv_get(one.ctx, "loaded", &len));

	/* it goes with the module */
	kv_starts = 0;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'puppet'}", 200, "{}"));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__module_find(n.node, "puppet") == NULL));
	char args[128];
	snprintf(args, sizeof(args), "{'name': 'puppet', 'conf': {'hooks': %ld}}",
	         (long)(intptr_t)&one);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", args, 200, "{}"));
	CU_ASSERT_EQUAL(kv_starts, 1);
	end();
}

/* Only the hook that runs, with the handle it was given. */
static void test_sections(void)
{
	struct ob__blob_writer w;
	struct ob__blob_writer other = {.max = 4096};
	struct ob__blob_reader r;
	const char *why;
	size_t len;
	uint32_t tag;

	begin("", false);
	ob_ctx *ctx = one.ctx;
	struct ob__gen *g = (struct ob__gen *)ctx;
	ob_writer *writer = (ob_writer *)&w;
	ob_reader *reader = (ob_reader *)&r;
	CU_ASSERT_EQUAL(ob__blob_begin(&w, "puppet", 1, OB__BLOB_HEADER + 24), 0);
	CU_ASSERT_EQUAL(ob_section_write(ctx, NULL, 1, 0, "x", 1), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_section_write(ctx, writer, 1, 0, "x", 1), OB_E_STATE);
	g->writer = &w;
	CU_ASSERT_EQUAL(ob_section_write(ctx, NULL, 1, 0, "x", 1), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_section_write(ctx, (ob_writer *)&other, 1, 0, "x", 1), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_section_write(two.ctx, writer, 1, 0, "x", 1), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_section_write(ctx, writer, 1, OB_SECTION_CRITICAL, "x", 1), 0);
	CU_ASSERT_PTR_NULL(ob_section_read(ctx, (ob_reader *)writer, 1, &len));
	CU_ASSERT_EQUAL(ob__blob_finish(&w), 0);

	/* each refusal is the module's to see, and stays */
	static const struct {
		uint32_t tag;
		uint32_t flags;
		const char *data;
		size_t len;
		int rc;
	} rows[] = {
		{1, 0, "x", 1, OB_E_EXISTS},
		{2, 4, "x", 1, OB_E_INVAL},
		{2, 0, NULL, 1, OB_E_INVAL},
		{2, 0, "x", 1, OB_E_TOO_BIG},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(ob_section_write(ctx, writer, rows[i].tag, rows[i].flags,
		                                 rows[i].data, rows[i].len),
		                rows[i].rc);
		CU_ASSERT_EQUAL(ob_section_write(ctx, writer, 5, 0, "", 0), rows[i].rc);
		w.error = 0;
	}
	g->writer = NULL;

	CU_ASSERT_EQUAL_FATAL(ob__blob_open(&r, w.data, w.len, "puppet", &why), 0);
	CU_ASSERT_PTR_NULL(ob_section_read(ctx, NULL, 1, &len));
	CU_ASSERT_PTR_NULL(ob_section_next(ctx, NULL, &tag, &len));
	CU_ASSERT_PTR_NULL(ob_section_read(ctx, reader, 1, &len));
	CU_ASSERT_PTR_NULL(ob_section_next(ctx, reader, &tag, &len));
	g->reader = &r;
	CU_ASSERT_PTR_NULL(ob_section_read(ctx, NULL, 1, &len));
	CU_ASSERT_PTR_NULL(ob_section_read(two.ctx, reader, 1, &len));
	CU_ASSERT_PTR_NULL(ob_section_read(ctx, reader, 2, &len));
	CU_ASSERT_TRUE(ob__blob_unseen(&r, &tag));
	const char *data = ob_section_read(ctx, reader, 1, &len);
	CU_ASSERT(data != NULL && len == 1 && *data == 'x');
	CU_ASSERT_FALSE(ob__blob_unseen(&r, &tag));
	CU_ASSERT_PTR_EQUAL(ob_section_next(ctx, reader, &tag, &len), data);
	CU_ASSERT_EQUAL(tag, 1);
	CU_ASSERT_PTR_NULL(ob_section_next(ctx, reader, &tag, &len));
	CU_ASSERT_EQUAL(ob_section_write(ctx, (ob_writer *)reader, 1, 0, "x", 1), OB_E_STATE);
	g->reader = NULL;
	ob__blob_close(&r);
	ob__blob_end(&w);
	end();
}

/* ---------------------------------------------------------------- dead */

/* Every entry of both tables is there. */
static void test_tables_full(void)
{
	const ob_api *tables[] = {&ob__sdk_api, &ob__sdk_dead_api};

	for (int t = 0; t < 2; t++) {
		void *const *fns = (void *const *)(const void *)((const char *)tables[t] +
		                                                 offsetof(ob_api, strerror));
		size_t len = (sizeof(ob_api) - offsetof(ob_api, strerror)) / sizeof(void *);
		CU_ASSERT_EQUAL(tables[t]->size, sizeof(ob_api));
		CU_ASSERT_EQUAL(tables[t]->abi_major, OB_ABI_MAJOR);
		CU_ASSERT_EQUAL(tables[t]->abi_minor, OB_ABI_MINOR);
		for (size_t i = 0; i < len; i++) {
			CU_ASSERT_PTR_NOT_NULL(fns[i]);
		}
	}
}

static void test_dead(void)
{
	ob_ctx dead = {.api = &ob__sdk_dead_api};
	ob_ctx *ctx = &dead;
	ob_node_info node = {.size = sizeof(node)};
	ob_view view = {.size = sizeof(view)};
	ob_session_info session = {.size = sizeof(session)};
	ob_http_info http = {.size = sizeof(http)};
	ob_http_request q = {.size = sizeof(q), .url = "http://127.0.0.1:1/"};
	ob_target target = {.role = 1};
	ob_codec codec = {.size = sizeof(codec)};
	ob_listen_options listen = {.size = sizeof(listen)};
	char text[100] = "x";

	CU_ASSERT_STRING_EQUAL(ob_strerror(ctx, OB_E_DEAD), "this generation has been taken out");
	CU_ASSERT_EQUAL(ob_status(ctx, OB_E_BUSY), 503);
	ob_log(ctx, OB_LOG_ERROR, "%s", "nobody hears this");
	CU_ASSERT_PTR_NULL(ob_config(ctx, "name"));
	CU_ASSERT_EQUAL(ob_node(ctx, &node), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_now_ms(ctx), 0);
	CU_ASSERT_EQUAL(ob_role(ctx, "x"), 0);
	CU_ASSERT_PTR_NULL(ob_state(ctx, "k", 8, 1));
	CU_ASSERT_EQUAL(ob_counter(ctx, "c", "x"), OB_E_DEAD);
	ob_count(ctx, 0, 1);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "k", "v", 1), OB_E_DEAD);
	CU_ASSERT_PTR_NULL(ob_kv_get(ctx, "k", NULL));
	CU_ASSERT_EQUAL(ob_kv_del(ctx, "k"), OB_E_DEAD);
	CU_ASSERT_PTR_NULL(ob_kv_next(ctx, NULL));
	CU_ASSERT_EQUAL(ob_section_write(ctx, NULL, 1, 0, "x", 1), OB_E_DEAD);
	CU_ASSERT_PTR_NULL(ob_section_read(ctx, NULL, 1, NULL));
	CU_ASSERT_PTR_NULL(ob_section_next(ctx, NULL, NULL, NULL));
	CU_ASSERT_EQUAL(ob_refuse(ctx, OB_E_INVAL, "x"), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_id(ctx, 1, handler), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_id_flags(ctx, 1, handler, OB_FROM_LINK), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "m", handler, 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_off_id(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_off_method(ctx, "m"), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/", handler, 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_event(ctx, OB_EVENT_NODE_UP, on_event), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 1, filter), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_client_message(ctx, decide), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_link_message(ctx, decide), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_unknown(ctx, handler), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_error_body(ctx, error_body), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_codec(ctx, &codec), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_policy(ctx, "p", policy), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_listen(ctx, &listen), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_req_view(ctx, 1, &view), OB_E_DEAD);
	CU_ASSERT_PTR_NULL(ob_req_json(ctx, 1));
	CU_ASSERT_PTR_NULL(ob_req_str(ctx, 1, "k"));
	CU_ASSERT_EQUAL(ob_req_int(ctx, 1, "k", 7), 7);
	CU_ASSERT_EQUAL(ob_reply(ctx, 1, "", 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_reply_value(ctx, 1, json_object()), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_reply_json(ctx, 1, "{s:i}", "a", 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_fail(ctx, 1, OB_E_APP, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_done(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_msg_hold(ctx, &view), 0);
	CU_ASSERT_EQUAL(ob_msg_view(ctx, 1, &view), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_msg_release(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_route_role(ctx, 1), 0);
	CU_ASSERT_EQUAL(ob_session_get(ctx, 1, &session), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_session_text(ctx, 1, text, sizeof(text)), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_session_find(ctx, "n-1"), 0);
	CU_ASSERT_EQUAL(ob_session_close(ctx, 1, 0, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_push(ctx, 1, 1, "", 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_push_value(ctx, 1, 1, json_object()), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_push_json(ctx, 1, 1, "{}"), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_call(ctx, &target, 1, 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(ob_call_method(ctx, &target, "m", 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(ob_call_cancel(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_timer_start(ctx, 1, 0, timer, NULL), 0);
	CU_ASSERT_EQUAL(ob_timer_stop(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_job(ctx, work, post, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_post(ctx, post, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_http_get(ctx, 1, &http), OB_E_DEAD);
	CU_ASSERT_PTR_NULL(ob_http_header(ctx, 1, "Host"));
	CU_ASSERT_EQUAL(ob_http_set_header(ctx, 1, "A", "b"), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_http_reply(ctx, 1, 200, NULL, NULL, 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_http_call(ctx, &q, fetched, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_admin(ctx, "node", json_object(), answered, NULL), OB_E_DEAD);
	ob_call_options how = {.size = sizeof(how), .id = 1};
	ob_trace_info trace = {.size = sizeof(trace)};
	CU_ASSERT_EQUAL(ob_call_with(ctx, &target, &how, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(ob_trace(ctx, 0, &trace), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_call_filter(ctx, 1, 0, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", "x"), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_session_bind(ctx, 1, "u", user_found, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_session_unbind(ctx, 1, "u"), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_user_find(ctx, "u", user_found, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_push_user(ctx, "u", 1, "", 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_kick_user(ctx, "u", NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_session_set(ctx, 1, "k", "v", 1), OB_E_DEAD);
	CU_ASSERT_PTR_NULL(ob_session_attr(ctx, 1, "k", NULL));
	CU_ASSERT_EQUAL(ob_session_lock(ctx, 1, "k", 1000), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_session_unlock(ctx, 1, "k", 0), OB_E_DEAD);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("sdk", NULL, NULL);
	CU_add_test(s, "in start: arguments, bounds, the shadow", test_start);
	CU_add_test(s, "what another module has", test_taken);
	CU_add_test(s, "live", test_live);
	CU_add_test(s, "mapped and unmapped at run time", test_unmapped);
	CU_add_test(s, "the key-value store", test_kv);
	CU_add_test(s, "sections of the state", test_sections);
	CU_add_test(s, "both tables are full", test_tables_full);
	CU_add_test(s, "dead", test_dead);
	return ob__tap_run();
}
