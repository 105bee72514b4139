/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Requests of clients, of HTTP and of the node's own code: each ends exactly once, on every way a
 * handler can go; and what handlers set going besides: timers, jobs, posts, kept messages, calls.
 */

#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct rig_client c;
static struct puppet one;
static struct puppet two;

static void begin(int (*start)(ob_ctx *, const json_t *), const char *conf)
{
	rig_begin();
	memset(&one, 0, sizeof(one));
	memset(&two, 0, sizeof(two));
	one.start = start;
	rig_start(&n, "n", "x",
	          "'listen': [{'port': 0}], 'http': {'port': %d}, %s "
	          "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}},"
	          "{'name': 'second', 'conf': {'hooks': %ld}}]",
	          rig_port(), conf, (long)(intptr_t)&one, (long)(intptr_t)&two);
	rig_connect(&c, n.port, true);
}

static void end(void)
{
	CU_ASSERT_EQUAL(n.node->dispatch.reqs.live, 0);
	CU_ASSERT_EQUAL(n.node->pendings.slab.live, 0);
	rig_disconnect(&c);
	rig_stop(&n);
	rig_end();
}

static bool told(const char *result, double count)
{
	char series[96];

	snprintf(series, sizeof(series), "obhost_requests_ended_total{result=\"%s\"}", result);
	return rig_metric(&n, series) == count;
}

/* ---------------------------------------------------------------- how a handler ends */

static void on_reply(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "{\"a\":1}", 7), 0);
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "{}", 2), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_fail(ctx, req, OB_E_APP, NULL), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_done(ctx, req), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_reply_value(ctx, req, json_object()), OB_E_STALE);
	CU_ASSERT_PTR_NULL(ob_req_json(ctx, req));
}

static void on_value(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_reply_json(ctx, req, "[i,s]", 1, "x"), 0);
}

static void on_scalar(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_reply_value(ctx, req, json_integer(7)), 0);
}

static void on_no_value(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_reply_value(ctx, req, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "", 0), OB_E_STALE);
}

static void on_fail(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_fail(ctx, req, OB_E_DENIED, "not you"), 0);
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "{}", 2), OB_E_STALE);
}

static void on_fail_plain(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_fail(ctx, req, OB_E_BUSY, NULL), 0);
}

static void on_fail_ok(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_fail(ctx, req, OB_OK, "no failure"), 0);
}

static void on_fail_odd(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_fail(ctx, req, OB_E_STALE, "not a result"), 0);
}

static void on_fail_errno(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_fail(ctx, req, -2, "an errno"), 0);
}

static void on_nothing(ob_ctx *ctx, ob_req req)
{
}

static void on_bad_json(ob_ctx *ctx, ob_req req)
{
	if (ob_req_str(ctx, req, "name") == NULL) {
		return;
	}
	ob_reply(ctx, req, "{}", 2);
}

static void on_done(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_done(ctx, req), 0);
	CU_ASSERT_EQUAL(ob_done(ctx, req), OB_E_STALE);
}

static void on_big(ob_ctx *ctx, ob_req req)
{
	static char big[5000];

	CU_ASSERT_EQUAL(ob_reply(ctx, req, big, sizeof(big)), OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "{}", 2), OB_E_STALE);
}

static void on_unpackable(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_reply_json(ctx, req, "{s:s}", "a", "\xff"), OB_E_INVAL);
}

static void on_hold_reply(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "{\"h\":1}", 7), 0);
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "{\"h\":2}", 7), OB_E_STALE);
}

static void on_hold_done(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	CU_ASSERT_EQUAL(ob_done(ctx, req), 0);
}

static void on_kick(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	CU_ASSERT_EQUAL(ob_session_close(ctx, v.session, 4001, "out"), 0);
	CU_ASSERT_EQUAL(ob_session_close(ctx, v.session, 4001, "out"), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_reply(ctx, req, "{}", 2), 0);
}

struct way {
	ob_handler_fn fn;
	const char *body;
	const char *json; /* the answer; NULL: a failure or nothing */
	int code;         /* of the failure; 0: nothing comes */
	const char *text;
	const char *metric;
};

static const struct way ways[] = {
	{on_reply, "{}", "{'a': 1}", 0, NULL, "OK"},
	{on_value, "", "[1, 'x']", 0, NULL, "OK"},
	{on_scalar, "", "7", 0, NULL, "OK"},
	{on_no_value, "", NULL, 500, "the handler's answer is not JSON", "APP"},
	{on_fail, "", NULL, 403, "not you", "DENIED"},
	{on_fail_plain, "", NULL, 503, "too busy", "BUSY"},
	/* a code that is none is the application's failure */
	{on_fail_ok, "", NULL, 500, "no failure", "APP"},
	{on_fail_odd, "", NULL, 500, "not a result", "APP"},
	{on_fail_errno, "", NULL, 500, "an errno", "APP"},
	{on_nothing, "", NULL, 500, "the handler gave no answer", "APP"},
	{on_bad_json, "not json", NULL, 400, "the body is not JSON", "BAD"},
	{on_bad_json, "", NULL, 400, "the body is not JSON", "BAD"},
	{on_bad_json, "{'name': 'a', 'name': 'b'}", NULL, 400, "the body is not JSON", "BAD"},
	/* JSON, but not what it looks for: that is the handler's business */
	{on_bad_json, "{'other': 1}", NULL, 500, "the handler gave no answer", "APP"},
	{on_bad_json, "{'name': 'a'}", "{}", 0, NULL, "OK"},
	{on_done, "", NULL, 0, NULL, "OK"},
	{on_big, "", NULL, 413, "the answer is too big", "TOO_BIG"},
	{on_unpackable, "", NULL, 500, "the handler's answer is not JSON", "APP"},
	{on_hold_reply, "", "{'h': 1}", 0, NULL, "OK"},
	{on_hold_done, "", NULL, 0, NULL, "OK"},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

static int start_ways(ob_ctx *ctx, const json_t *conf)
{
	for (size_t i = 0; i < WAYS; i++) {
		char text[32];
		CU_ASSERT_EQUAL(ob_on_id(ctx, 1000 + (uint32_t)i, ways[i].fn), 0);
		snprintf(text, sizeof(text), "/way/%zu", i);
		CU_ASSERT_EQUAL(ob_on_http(ctx, "*", text, ways[i].fn, 0), 0);
		snprintf(text, sizeof(text), "way.%zu", i);
		CU_ASSERT_EQUAL(ob_on_method(ctx, text, ways[i].fn, 0), 0);
	}
	return ob_on_id(ctx, 2000, on_kick);
}

static void test_client(void)
{
	begin(start_ways, "'limits': {'message': 4096},");
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		uint32_t id = 1000 + (uint32_t)i;
		double before = 0;
		char series[96];
		snprintf(series, sizeof(series), "obhost_requests_ended_total{result=\"%s\"}",
		         w->metric);
		before = rig_metric(&n, series);
		rig_send(&c, id, w->body);
		if (w->json != NULL) {
			CU_ASSERT_TRUE(rig_expect(&c, id, w->json));
		} else if (w->code != 0) {
			CU_ASSERT_TRUE(rig_expect_error(&c, id, w->code, w->text));
		}
		CU_ASSERT_TRUE(rig_silent(&c));
		CU_ASSERT_TRUE(told(w->metric, before + 1));
		CU_ASSERT_EQUAL(n.node->dispatch.reqs.live, 0);
	}
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_handlers_unended_total"), 5);

	/* A handler that closes its client: a close frame, no answer behind it. */
	rig_send(&c, 2000, "");
	CU_ASSERT_EQUAL(rig_closed(&c), 4001);
	CU_ASSERT_STRING_EQUAL(c.close_reason, "out");
	CU_ASSERT_EQUAL(c.packets_len, 0);
	end();
}

static void test_http(void)
{
	begin(start_ways, "'limits': {'message': 4096},");
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		char path[32];
		char *answer;
		snprintf(path, sizeof(path), "/way/%zu", i);
		int status = rig_http(n.http_port, "POST", path, NULL, w->body, &answer);
		if (w->json != NULL) {
			json_t *got = json_loads(answer, JSON_DECODE_ANY, NULL);
			json_t *want = rig_json(w->json);
			CU_ASSERT_EQUAL(status, 200);
			CU_ASSERT_TRUE(json_equal(got, want));
			json_decref(got);
			json_decref(want);
		} else if (w->code != 0) {
			CU_ASSERT_EQUAL(status, w->code);
			CU_ASSERT_PTR_NOT_NULL(strstr(answer, w->text));
		} else {
			CU_ASSERT_EQUAL(status, 204);
			CU_ASSERT_STRING_EQUAL(answer, "");
		}
		free(answer);
	}
	end();
}

static struct {
	int count;
	int code;
	char text[256];
	char data[256];
	uint64_t source;
	void *arg;
} ended;

static void call_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	ended.count++;
	ended.code = res->code;
	ended.source = res->source;
	ended.arg = arg;
	snprintf(ended.text, sizeof(ended.text), "%s", res->text);
	snprintf(ended.data, sizeof(ended.data), "%.*s", (int)res->len,
	         res->len > 0 ? (const char *)res->data : "");
	CU_ASSERT_EQUAL(ob_call_cancel(ctx, call), OB_E_STALE); /* it is over */
}

static int result_of(int code)
{
	return code == 200   ? OB_OK
	       : code == 400 ? OB_E_BAD
	       : code == 403 ? OB_E_DENIED
	       : code == 413 ? OB_E_TOO_BIG
	       : code == 503 ? OB_E_BUSY
	                     : OB_E_APP;
}

/* A call of the node's own code to itself, by id and by method: one result, never inside ob_call().
 */
static void test_self_call(void)
{
	int marker;

	begin(start_ways, "'limits': {'message': 4096},");
	ob_target by_role = {.role = ob_role(one.ctx, "x")};
	ob_target by_node = {.node = n.node->self.id};
	for (size_t i = 0; i < 2 * WAYS; i++) {
		const struct way *w = &ways[i % WAYS];
		const ob_target *to = i % 3 == 0 ? &by_node : &by_role;
		char method[32];
		char *body = strdup(w->body);
		for (char *p = body; *p != '\0'; p++) {
			*p = *p == '\'' ? '"' : *p;
		}
		snprintf(method, sizeof(method), "way.%zu", i % WAYS);
		memset(&ended, 0, sizeof(ended));
		ob_call_id id = i < WAYS ? ob_call(one.ctx, to, 1000 + (uint32_t)i, 0, body,
		                                   strlen(body), 0, call_ended, &marker)
		                         : ob_call_method(one.ctx, to, method, 0, body,
		                                          strlen(body), 0, call_ended, &marker);
		free(body);
		CU_ASSERT_NOT_EQUAL(id, 0);
		CU_ASSERT_EQUAL(ended.count, 0);
		CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
		CU_ASSERT_PTR_EQUAL(ended.arg, &marker);
		CU_ASSERT_EQUAL(ended.source, n.node->self.id);
		if (w->code == 0) {
			CU_ASSERT_EQUAL(ended.code, OB_OK);
			CU_ASSERT_STRING_EQUAL(ended.text, "ok");
		} else {
			CU_ASSERT_EQUAL(ended.code, result_of(w->code));
			CU_ASSERT_STRING_EQUAL(ended.text, w->text);
		}
	}
	/* nobody there */
	CU_ASSERT_NOT_EQUAL(ob_call(one.ctx, &by_role, 4711, 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	CU_ASSERT_EQUAL(ended.code, OB_E_NOT_FOUND);
	CU_ASSERT_NOT_EQUAL(
		ob_call_method(one.ctx, &by_role, "no.such", 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 3));
	CU_ASSERT_EQUAL(ended.code, OB_E_NOT_FOUND);
	end();
}

/* What can't be called at all answers 0 and calls nothing back. */
static void test_call_refused(void)
{
	static char long_method[300];
	static char large[4097];

	begin(NULL, "'limits': {'message': 4096},");
	ob_target self = {.role = ob_role(one.ctx, "x")};
	memset(long_method, 'm', sizeof(long_method) - 1);
	ended.count = 0;
	CU_ASSERT_EQUAL(ob_call(one.ctx, &self, 0, 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(ob_call(one.ctx, &self, 1, 0, NULL, 0, 0, NULL, NULL), 0);
	CU_ASSERT_EQUAL(
		ob_call_method(one.ctx, &self, long_method, 0, NULL, 0, 0, call_ended, NULL), 0);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(ended.count, 0);
	/* what could be called, but not with that much */
	CU_ASSERT_NOT_EQUAL(
		ob_call(one.ctx, &self, 1, 0, large, sizeof(large), 0, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(ended.count, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.code, OB_E_TOO_BIG);
	end();
}

/* ---------------------------------------------------------------- kept beyond the callback */

static struct {
	int count;
	ob_req req;
	ob_view view;
	const json_t *json;
	ob_ctx *ctx;
} kept;

static void keep(ob_ctx *ctx, ob_req req)
{
	kept.count++;
	kept.ctx = ctx;
	kept.req = req;
	kept.view.size = sizeof(kept.view);
	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &kept.view), 0);
	kept.json = ob_req_json(ctx, req);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
}

static int start_keep(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 1000, keep);

	rc = rc == 0 ? ob_on_method(ctx, "keep.it", keep, 0) : rc;
	rc = rc == 0 ? ob_on_id_flags(ctx, 1001, keep, OB_FROM_CLIENT | OB_ONE_WAY) : rc;
	return rc == 0 ? ob_on_http(ctx, "GET", "/keep", keep, 0) : rc;
}

static void test_keep(void)
{
	ob_view v = {.size = sizeof(v)};

	begin(start_keep, "");
	memset(&kept, 0, sizeof(kept));
	rig_send(&c, 1000, "{'who': 'me'}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept.count == 1));
	CU_ASSERT_EQUAL(kept.view.id, 1000);
	CU_ASSERT_EQUAL(kept.view.flags, OB_VIEW_CLIENT);
	CU_ASSERT_EQUAL(kept.view.source, n.node->self.id);
	CU_ASSERT_EQUAL(kept.view.budget_ms, 5000);
	CU_ASSERT_NOT_EQUAL(kept.view.session, 0);

	/* The view's bytes are gone, the JSON is still there. */
	CU_ASSERT_EQUAL(ob_req_view(kept.ctx, kept.req, &v), 0);
	CU_ASSERT_PTR_NULL(v.data);
	CU_ASSERT_EQUAL(v.len, 0);
	CU_ASSERT_EQUAL(v.session, kept.view.session);
	CU_ASSERT_PTR_EQUAL(ob_req_json(kept.ctx, kept.req), kept.json);
	CU_ASSERT_STRING_EQUAL(ob_req_str(kept.ctx, kept.req, "who"), "me");
	v.size = 4;
	CU_ASSERT_EQUAL(ob_req_view(kept.ctx, kept.req, &v), OB_E_INVAL);
	CU_ASSERT_EQUAL(one.ctx, kept.ctx);
	CU_ASSERT_EQUAL(ob_request_hold(kept.ctx, kept.req), 0); /* already */

	/* Another module can't touch it. */
	CU_ASSERT_EQUAL(ob_reply(two.ctx, kept.req, "{}", 2), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_fail(two.ctx, kept.req, OB_E_APP, NULL), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_done(two.ctx, kept.req), OB_E_STALE);

	CU_ASSERT_EQUAL(ob_reply_json(kept.ctx, kept.req, "{s:i}", "late", 1), 0);
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "{'late': 1}"));
	CU_ASSERT_EQUAL(ob_reply(kept.ctx, kept.req, "{}", 2), OB_E_STALE);

	/* The slot's next tenant has another handle: the old one stays stale. */
	ob_req old = kept.req;
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept.count == 2));
	CU_ASSERT_NOT_EQUAL(kept.req, old);
	CU_ASSERT_EQUAL(ob_reply(kept.ctx, old, "{}", 2), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_reply(kept.ctx, 0, "{}", 2), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_reply(kept.ctx, UINT64_MAX, "{}", 2), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_done(kept.ctx, kept.req), 0);
	CU_ASSERT_TRUE(rig_silent(&c));
	end();
}

/* The deadline ends what is held, once; it also ends it towards HTTP and a caller of our own. */
static void test_deadline(void)
{
	begin(start_keep, "'call_timeout': 0.1,");
	memset(&kept, 0, sizeof(kept));
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 504, "the handler did not answer in time"));
	CU_ASSERT_EQUAL(ob_reply(kept.ctx, kept.req, "{}", 2), OB_E_STALE);
	CU_ASSERT_TRUE(told("DEADLINE", 1));
	CU_ASSERT_TRUE(rig_silent(&c));

	ob_target self = {.role = ob_role(one.ctx, "x")};
	memset(&ended, 0, sizeof(ended));
	CU_ASSERT_NOT_EQUAL(
		ob_call_method(one.ctx, &self, "keep.it", 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.code, OB_E_DEADLINE);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->dispatch.reqs.live == 0));
	CU_ASSERT_EQUAL(ended.count, 1);

	n.node->http_timeout_ms = 100;
	char *answer;
	CU_ASSERT_EQUAL(rig_http(n.http_port, "GET", "/keep", NULL, NULL, &answer), 504);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer, "did not answer in time"));
	free(answer);
	end();
}

/* Whoever asked has gone: the end goes nowhere and is still an end. */
static void test_asker_gone(void)
{
	begin(start_keep, "");
	memset(&kept, 0, sizeof(kept));
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept.count == 1));
	rig_reset(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	CU_ASSERT_EQUAL(ob_reply(kept.ctx, kept.req, "{}", 2), 0);
	CU_ASSERT_EQUAL(ob_push(kept.ctx, kept.view.session, 5, "", 0), OB_E_STALE);
	CU_ASSERT_EQUAL(n.node->dispatch.reqs.live, 0);

	int fd = rig_http_begin(n.http_port, "GET", "/keep", NULL, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(kept.count == 2));
	struct rig_client http = {.fd = fd};
	rig_reset(&http);
	rig_turn_ms(30);
	CU_ASSERT_EQUAL(ob_reply(kept.ctx, kept.req, "{}", 2), 0);
	rig_connect(&c, n.port, true);
	end();
}

/* One-way: nothing is ever sent, and a hold is over without an answer. */
static void test_one_way(void)
{
	begin(start_keep, "");
	memset(&kept, 0, sizeof(kept));
	rig_send(&c, 1001, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept.count == 1));
	CU_ASSERT_EQUAL(kept.view.flags, OB_VIEW_CLIENT | OB_VIEW_ONE_WAY);
	CU_ASSERT_EQUAL(ob_reply(kept.ctx, kept.req, "{}", 2), 0);
	CU_ASSERT_TRUE(rig_silent(&c));
	end();
}

static void say_one_way(ob_ctx *ctx, ob_req req)
{
	ob_reply(ctx, req, "{}", 2);
}

static void quiet_one_way(ob_ctx *ctx, ob_req req)
{
}

static int start_one_way(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_method(ctx, "say", say_one_way, OB_ONE_WAY);

	rc = rc == 0 ? ob_on_method(ctx, "quiet", quiet_one_way, OB_ONE_WAY) : rc;
	return rc == 0 ? ob_on_method(ctx, "fail", on_fail, OB_ONE_WAY) : rc;
}

/* A caller of the node's own one-way method has its result at once, whatever the handler says. */
static void test_one_way_call(void)
{
	static const char *const methods[] = {"say", "quiet", "fail"};

	begin(start_one_way, "'call_timeout': 5,");
	ob_target self = {.role = ob_role(one.ctx, "x")};
	for (size_t i = 0; i < 3; i++) {
		uint64_t start = ob__loop_hrtime_us();
		memset(&ended, 0, sizeof(ended));
		CU_ASSERT_NOT_EQUAL(
			ob_call_method(one.ctx, &self, methods[i], 0, NULL, 0, 0, call_ended, NULL),
			0);
		CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
		CU_ASSERT_EQUAL(ended.code, OB_OK);
		CU_ASSERT_TRUE(ob__loop_hrtime_us() - start < 2000000);
	}
	end();
}

/* ---------------------------------------------------------------- calls and their deadline */

static void test_call_deadline(void)
{
	begin(start_keep, "'call_timeout': 3,");
	ob_target self = {.role = ob_role(one.ctx, "x")};
	memset(&kept, 0, sizeof(kept));
	memset(&ended, 0, sizeof(ended));
	/* its own deadline, not call_timeout; the handler sees it */
	ob_call_id id = ob_call(one.ctx, &self, 1000, 0, "{}", 2, 50, call_ended, NULL);
	CU_ASSERT_NOT_EQUAL(id, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(kept.count == 1));
	CU_ASSERT_TRUE(kept.view.budget_ms <= 50);
	CU_ASSERT_EQUAL(kept.view.flags, OB_VIEW_CALL);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.code, OB_E_DEADLINE);
	(void)ob_done(kept.ctx, kept.req);
	CU_ASSERT_EQUAL(ended.count, 1);

	/* Cancelled: nothing comes, also when the handler answers later. */
	id = ob_call(one.ctx, &self, 1000, 0, "{}", 2, 0, call_ended, NULL);
	CU_ASSERT_EQUAL(ob_call_cancel(two.ctx, id), OB_E_STALE); /* not another's */
	CU_ASSERT_TRUE(RIG_UNTIL(kept.count == 2));
	CU_ASSERT_EQUAL(ob_call_cancel(one.ctx, id), 0);
	CU_ASSERT_EQUAL(ob_call_cancel(one.ctx, id), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_reply(kept.ctx, kept.req, "{}", 2), 0);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(ended.count, 1);

	/* Cancelled before it was made. */
	id = ob_call(one.ctx, &self, 1000, 0, "{}", 2, 0, call_ended, NULL);
	CU_ASSERT_EQUAL(ob_call_cancel(one.ctx, id), 0);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(kept.count, 2);

	/* Nobody of the role: kept until shortly before its time, then NO_ROUTE. */
	ob_target nobody = {.role = ob_role(one.ctx, "nobody")};
	memset(&ended, 0, sizeof(ended));
	CU_ASSERT_NOT_EQUAL(ob_call(one.ctx, &nobody, 1, 0, NULL, 0, 120, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(n.node->dispatch.held_bytes, 64);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.code, OB_E_NO_ROUTE);
	CU_ASSERT_EQUAL(n.node->dispatch.held_bytes, 0);
	end();
}

/* ---------------------------------------------------------------- bounds */

static void test_too_many(void)
{
	begin(start_keep, "'limits': {'requests': 2},");
	ob_target nobody = {.role = ob_role(one.ctx, "nobody")};
	memset(&ended, 0, sizeof(ended));
	ob_call_id a = ob_call(one.ctx, &nobody, 1, 0, NULL, 0, 0, call_ended, NULL);
	ob_call_id b = ob_call(one.ctx, &nobody, 1, 0, NULL, 0, 0, call_ended, NULL);
	CU_ASSERT_NOT_EQUAL(a, 0);
	CU_ASSERT_NOT_EQUAL(b, 0);
	CU_ASSERT_NOT_EQUAL(ob_call(one.ctx, &nobody, 1, 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(ended.count, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.code, OB_E_BUSY);
	CU_ASSERT_EQUAL(ob_call_cancel(one.ctx, a), 0);
	CU_ASSERT_EQUAL(ob_call_cancel(one.ctx, b), 0);
	CU_ASSERT_EQUAL(ended.count, 1);
	end();
}

/* ---------------------------------------------------------------- deciders, filters, the rest */

static int filter_says;
static ob_verdict verdict;
static int decided;
static uint32_t last_flags;

static int filter(ob_ctx *ctx, const ob_view *view)
{
	if (filter_says == 1) {
		(void)ob_session_close(ctx, view->session, 4002, "filtered");
		return 0;
	}
	return filter_says;
}

static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	decided++;
	last_flags = view->flags;
	return verdict;
}

static ob_verdict decide_and_close(ob_ctx *ctx, const ob_view *view)
{
	(void)ob_session_close(ctx, view->session, 4003, "decided");
	return (ob_verdict){.action = OB_FORWARD, .target = {.role = 4711}};
}

static int start_decide(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_filter(ctx, 1, filter);

	rc = rc == 0 ? ob_on_id(ctx, 1000, on_reply) : rc;
	return rc == 0 ? ob_on_client_message(ctx, decide) : rc;
}

static int start_decide_and_close(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_client_message(ctx, decide_and_close);
}

static void test_decider(void)
{
	static const struct {
		ob_verdict verdict;
		int code; /* 0: silence */
		const char *text;
	} rows[] = {
		{{.action = OB_DONE}, 0, NULL},
		{{.action = OB_REFUSE}, 403, "not allowed"},
		{{.action = OB_REFUSE, .code = OB_E_BUSY, .text = "later"}, 503, "later"},
		{{.action = OB_REFUSE, .code = 17, .text = "odd"}, 500, "odd"},
		{{.action = OB_LOCAL}, 404, "no handler for this id"},
		{{.action = 0}, 500, "the decider gave no verdict"},
		{{.action = 99}, 500, "the decider gave no verdict"},
		/* towards nobody: no route node is known */
		{{.action = OB_FORWARD}, 404, "no node handles this id"},
	};

	begin(start_decide, "'call_timeout': 0.12,");
	filter_says = 0;
	decided = 0;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		verdict = rows[i].verdict;
		rig_send(&c, 5000, "{}");
		if (rows[i].code != 0) {
			CU_ASSERT_TRUE(rig_expect_error(&c, 5000, rows[i].code, rows[i].text));
		}
		CU_ASSERT_TRUE(rig_silent(&c));
		CU_ASSERT_EQUAL(decided, (int)i + 1);
		CU_ASSERT_EQUAL(last_flags, OB_VIEW_CLIENT);
	}
	/* to this node itself, by id and by role: there is no handler */
	verdict = (ob_verdict){.action = OB_FORWARD, .target = {.node = n.node->self.id}};
	rig_send(&c, 5000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 5000, 404, NULL));
	verdict = (ob_verdict){.action = OB_FORWARD, .target = {.role = n.node->self.role_id}};
	rig_send(&c, 5000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 5000, 404, NULL));
	/* to a role that nobody has: kept, then NO_ROUTE before the deadline */
	verdict = (ob_verdict){.action = OB_FORWARD, .target = {.role = 4711}};
	rig_send(&c, 5000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 5000, 503, "no live node can take it"));

	/* a local handler comes first */
	decided = 0;
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'a': 1}"));
	CU_ASSERT_EQUAL(decided, 0);

	/* a filter's code ends it before anyone */
	filter_says = OB_E_DENIED;
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 403, "not allowed"));
	filter_says = -1;
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 500, NULL));
	end();
}

/* A filter or decider that closes the client and lets the message pass. */
static void test_closed_by_decider(void)
{
	begin(start_decide, "");
	filter_says = 1;
	verdict = (ob_verdict){.action = OB_FORWARD, .target = {.role = 4711}};
	rig_send(&c, 5000, "{}");
	CU_ASSERT_EQUAL(rig_closed(&c), 4002);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	filter_says = 1;
	rig_connect(&c, n.port, true);
	rig_send(&c, 1000, "{}"); /* to a local handler */
	CU_ASSERT_EQUAL(rig_closed(&c), 4002);
	end();
	begin(start_decide_and_close, "");
	rig_send(&c, 5000, "{}");
	CU_ASSERT_EQUAL(rig_closed(&c), 4003);
	end();
}

static void test_reserved_ids(void)
{
	static const struct {
		uint32_t id;
		int code;
		const char *text;
	} rows[] = {
		{0, 400, "a message id is 1 to 2147483647"},
		{0x80000000u, 400, "a message id is 1 to 2147483647"},
		{0xffffffffu, 400, "a message id is 1 to 2147483647"},
		{999, 403, "this id is reserved"},
		{100130, 403, "this id is reserved"},
		{5000, 503, "no module decides about client messages here"},
		{0x7fffffffu, 503, "no module decides about client messages here"},
	};

	begin(NULL, "");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rig_send(&c, rows[i].id, "{}");
		CU_ASSERT_TRUE(rig_expect_error(&c, rows[i].id, rows[i].code, rows[i].text));
	}
	end();
}

static json_t *bodies[3];
static int bodies_at;

static json_t *body_of(ob_ctx *ctx, int code, const char *text)
{
	CU_ASSERT_EQUAL(code, OB_E_DENIED);
	CU_ASSERT_STRING_EQUAL(text, "not you");
	return json_incref(bodies[bodies_at++]);
}

static void on_any(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:s}", "by", "fallback");
}

static int start_bodies(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 1000, on_fail);

	rc = rc == 0 ? ob_on_id(ctx, 0, on_any) : rc;
	return rc == 0 ? ob_on_error_body(ctx, body_of) : rc;
}

static void test_error_body(void)
{
	begin(start_bodies, "");
	bodies_at = 0;
	bodies[0] = json_pack("{s:s}", "oops", "mine");
	bodies[1] = NULL; /* the host's own */
	bodies[2] = json_string("text");
	rig_send(&c, 1000, "");
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "{'oops': 'mine'}"));
	rig_send(&c, 1000, "");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 403, "not you"));
	rig_send(&c, 1000, "");
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "'text'"));
	CU_ASSERT_TRUE(rig_ask(&c, 77, "", "{'by': 'fallback'}"));
	json_decref(bodies[0]);
	json_decref(bodies[2]);
	end();
}

/* ---------------------------------------------------------------- work */

static char trail[256];

static void leave(const char *word)
{
	size_t len = strlen(trail);

	snprintf(trail + len, sizeof(trail) - len, "%s%s", len > 0 ? " " : "", word);
}

static ob_timer stop_me;

static void on_timer(ob_ctx *ctx, ob_timer timer, void *arg)
{
	leave(arg);
	if (timer == stop_me) {
		CU_ASSERT_EQUAL(ob_timer_stop(ctx, timer), 0); /* from its own callback */
		CU_ASSERT_EQUAL(ob_timer_stop(ctx, timer), OB_E_STALE);
	}
}

static void test_timers(void)
{
	static char a[] = "a";
	static char b[] = "b";
	static char r[] = "r";

	begin(NULL, "");
	*trail = '\0';
	stop_me = 0;
	ob_timer tb = ob_timer_start(one.ctx, 60, 0, on_timer, b);
	ob_timer ta = ob_timer_start(one.ctx, 0, 0, on_timer, a);
	ob_timer tx = ob_timer_start(one.ctx, 20, 0, on_timer, b);
	CU_ASSERT(ta != 0 && tb != 0 && tx != 0 && ta != tb);
	CU_ASSERT_STRING_EQUAL(trail, ""); /* never inside the start */
	CU_ASSERT_EQUAL(ob_timer_stop(two.ctx, tx), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_timer_stop(one.ctx, tx), 0);
	CU_ASSERT_EQUAL(ob_timer_stop(one.ctx, tx), OB_E_STALE);
	CU_ASSERT_TRUE(RIG_UNTIL(strcmp(trail, "a b") == 0));
	CU_ASSERT_EQUAL(ob_timer_stop(one.ctx, ta), OB_E_STALE); /* it has fired */

	*trail = '\0';
	stop_me = ob_timer_start(one.ctx, 10, 10, on_timer, r);
	CU_ASSERT_TRUE(RIG_UNTIL(strcmp(trail, "r") == 0));
	rig_turn_ms(40);
	CU_ASSERT_STRING_EQUAL(trail, "r");
	stop_me = 0;
	*trail = '\0';
	ob_timer rep = ob_timer_start(one.ctx, 10, 10, on_timer, r);
	CU_ASSERT_TRUE(RIG_UNTIL(strcmp(trail, "r r r") == 0));
	CU_ASSERT_EQUAL(ob_timer_stop(one.ctx, rep), 0);

	CU_ASSERT_EQUAL(ob_timer_start(one.ctx, 10, 0, NULL, NULL), 0);
	CU_ASSERT_EQUAL(ob_timer_start(one.ctx, UINT64_MAX, 0, on_timer, a), 0);
	CU_ASSERT_EQUAL(ob_timer_start(one.ctx, 1, UINT64_MAX, on_timer, a), 0);
	CU_ASSERT_EQUAL(ob_timer_stop(one.ctx, 0), OB_E_STALE);
	end();
}

static uint64_t worked;
static pthread_t worker;

static void work(void *arg)
{
	worked = *(uint64_t *)arg * 2;
	worker = pthread_self();
}

static void work_done(ob_ctx *ctx, void *arg)
{
	CU_ASSERT_PTR_EQUAL(ctx, one.ctx);
	CU_ASSERT_EQUAL(worked, *(uint64_t *)arg * 2);
	CU_ASSERT_FALSE(pthread_equal(worker, pthread_self()));
	leave("done");
}

struct poster {
	ob_ctx *ctx;
	int from;
};

static int seen[2000];
static int seen_len;

static void posted(ob_ctx *ctx, void *arg)
{
	seen[seen_len++] = (int)(intptr_t)arg;
}

static void *post_many(void *arg)
{
	struct poster *p = arg;

	for (int i = 0; i < 1000; i++) {
		if (ob_post(p->ctx, posted, (void *)(intptr_t)(p->from + i)) != 0) {
			break;
		}
	}
	return NULL;
}

static void test_jobs_and_posts(void)
{
	uint64_t in = 21;
	pthread_t threads[2];
	struct poster posters[2];

	begin(NULL, "");
	*trail = '\0';
	CU_ASSERT_EQUAL(ob_job(one.ctx, work, work_done, &in), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(strcmp(trail, "done") == 0));
	CU_ASSERT_EQUAL(ob_job(one.ctx, work, NULL, &in), 0);
	CU_ASSERT_EQUAL(ob_job(one.ctx, NULL, work_done, &in), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_post(one.ctx, NULL, NULL), OB_E_INVAL);

	/* Posts of two threads: each thread's in its order, none lost. */
	seen_len = 0;
	for (int i = 0; i < 2; i++) {
		posters[i] = (struct poster){one.ctx, i * 100000};
		CU_ASSERT_EQUAL(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(seen_len == 2000));
	int next[2] = {0, 100000};
	for (int i = 0; i < seen_len; i++) {
		int who = seen[i] >= 100000;
		CU_ASSERT_EQUAL_FATAL(seen[i], next[who]);
		next[who]++;
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
	}
	end();
}

static ob_msg stored;

static void store(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	stored = ob_msg_hold(ctx, &v);
	CU_ASSERT_NOT_EQUAL(stored, 0);
	ob_reply(ctx, req, "{}", 2);
}

static int start_store(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 1000, store);

	return rc == 0 ? ob_on_method(ctx, "store.it", store, 0) : rc;
}

static void test_messages(void)
{
	ob_view v = {.size = sizeof(v)};
	ob_target self;

	begin(start_store, "");
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{'k': 'v'}", "{}"));
	CU_ASSERT_EQUAL(ob_msg_view(one.ctx, stored, &v), 0);
	CU_ASSERT_EQUAL(v.id, 1000);
	CU_ASSERT_EQUAL(v.len, 10);
	CU_ASSERT_EQUAL(memcmp(v.data, "{\"k\": \"v\"}", 10), 0);
	CU_ASSERT_PTR_NULL(v.method);
	CU_ASSERT_EQUAL(ob_msg_view(two.ctx, stored, &v), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_msg_release(two.ctx, stored), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_msg_release(one.ctx, stored), 0);
	CU_ASSERT_EQUAL(ob_msg_release(one.ctx, stored), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_msg_view(one.ctx, stored, &v), OB_E_STALE);

	/* An empty payload and a method's name are kept as well; what is never released goes with
	 * the generation. */
	self = (ob_target){.role = ob_role(one.ctx, "x")};
	memset(&ended, 0, sizeof(ended));
	CU_ASSERT_NOT_EQUAL(
		ob_call_method(one.ctx, &self, "store.it", 0, NULL, 0, 0, call_ended, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	v.size = sizeof(v);
	CU_ASSERT_EQUAL(ob_msg_view(one.ctx, stored, &v), 0);
	CU_ASSERT_STRING_EQUAL(v.method, "store.it");
	CU_ASSERT_EQUAL(v.len, 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(one.stops == 1));
	CU_ASSERT_TRUE(RIG_UNTIL(ob_msg_view(one.ctx, stored, &v) == OB_E_STALE));
	CU_ASSERT_EQUAL(n.node->works.msgs.live, 0);
	end();
}

static struct {
	int count;
	int code;
	int status;
	char data[256];
	char type[64];
} fetched;

static void on_fetched(ob_ctx *ctx, const ob_http_response *res, void *arg)
{
	fetched.count++;
	fetched.code = res->code;
	fetched.status = res->status;
	snprintf(fetched.data, sizeof(fetched.data), "%.*s", (int)res->len,
	         res->len > 0 ? (const char *)res->data : "");
	snprintf(fetched.type, sizeof(fetched.type), "%s", res->content_type);
}

static void test_http_call(void)
{
	char url[64];

	begin(start_keep, "");
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/keep", n.http_port);
	ob_http_request q = {.size = sizeof(q), .url = url};
	memset(&kept, 0, sizeof(kept));
	memset(&fetched, 0, sizeof(fetched));
	CU_ASSERT_EQUAL(ob_http_call(one.ctx, &q, on_fetched, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(kept.count == 1));
	CU_ASSERT_EQUAL(ob_http_set_header(kept.ctx, kept.req, "X-A", "b"), 0);
	CU_ASSERT_EQUAL(ob_http_reply(kept.ctx, kept.req, 201, "text/x", "made", 4), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(fetched.count == 1));
	CU_ASSERT_EQUAL(fetched.code, OB_OK);
	CU_ASSERT_EQUAL(fetched.status, 201);
	CU_ASSERT_STRING_EQUAL(fetched.data, "made");
	CU_ASSERT_STRING_EQUAL(fetched.type, "text/x");

	q.timeout_ms = 50;
	CU_ASSERT_EQUAL(ob_http_call(one.ctx, &q, on_fetched, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(fetched.count == 2));
	CU_ASSERT_EQUAL(fetched.code, OB_E_DEADLINE);
	CU_ASSERT_EQUAL(ob_done(kept.ctx, kept.req), 0);

	q.url = NULL;
	CU_ASSERT_EQUAL(ob_http_call(one.ctx, &q, on_fetched, NULL), OB_E_INVAL);
	q.url = url;
	CU_ASSERT_EQUAL(ob_http_call(one.ctx, &q, NULL, NULL), OB_E_INVAL);
	q.size = 1;
	CU_ASSERT_EQUAL(ob_http_call(one.ctx, &q, on_fetched, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(fetched.count, 2);
	end();
}

/* Held over a reload whose drain is over: the HTTP request ends with GONE, once. */
static void test_http_call_abandoned(void)
{
	char url[64];

	begin(start_keep, "'reload': {'drain': 0.05, 'probation': 0, 'probe': 0, 'rate': '0/s'},");
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/keep", n.http_port);
	ob_http_request q = {.size = sizeof(q), .url = url};
	memset(&kept, 0, sizeof(kept));
	memset(&fetched, 0, sizeof(fetched));
	CU_ASSERT_EQUAL(ob_http_call(two.ctx, &q, on_fetched, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(kept.count == 1));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'second', 'force': true}",
	                                200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(two.stops == 1));
	CU_ASSERT_EQUAL(fetched.count, 1);
	CU_ASSERT_EQUAL(fetched.code, OB_E_GONE);
	CU_ASSERT_EQUAL(ob_done(kept.ctx, kept.req), 0);
	rig_turn_ms(30);
	CU_ASSERT_EQUAL(fetched.count, 1);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_zombies_total"), 0);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("request", NULL, NULL);
	CU_add_test(s, "each way of a handler, for a client", test_client);
	CU_add_test(s, "the same for HTTP", test_http);
	CU_add_test(s, "the same for a call to the own node", test_self_call);
	CU_add_test(s, "calls that can't be made", test_call_refused);
	CU_add_test(s, "kept beyond the callback; stale handles", test_keep);
	CU_add_test(s, "the deadline", test_deadline);
	CU_add_test(s, "whoever asked has gone", test_asker_gone);
	CU_add_test(s, "one-way", test_one_way);
	CU_add_test(s, "a call to an own one-way method", test_one_way_call);
	CU_add_test(s, "a call's deadline, cancelling, nobody there", test_call_deadline);
	CU_add_test(s, "too many", test_too_many);
	CU_add_test(s, "filters and deciders", test_decider);
	CU_add_test(s, "closed by a filter or decider", test_closed_by_decider);
	CU_add_test(s, "reserved and impossible ids", test_reserved_ids);
	CU_add_test(s, "error bodies and the fallback", test_error_body);
	s = CU_add_suite("work", NULL, NULL);
	CU_add_test(s, "timers", test_timers);
	CU_add_test(s, "jobs and posts", test_jobs_and_posts);
	CU_add_test(s, "kept messages", test_messages);
	CU_add_test(s, "HTTP requests out", test_http_call);
	CU_add_test(s, "HTTP requests of a generation that goes", test_http_call_abandoned);
	return ob__tap_run();
}
