/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Calls with ob_call_with() from one node to three others: each mode after each failure, keys, all
 * nodes of a role, a session's node, budgets, traces, and that nothing of a call stays behind. */

#include <CUnit/CUnit.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/message/reply.h"
#include "tap.h"
#include "unit/node_rig.h"

#define SERVICES 3

static struct rig_node caller;
static struct rig_node s[SERVICES];
static struct puppet at_caller;
static struct puppet at_s[SERVICES];
static int ports[SERVICES];

static int runs[SERVICES]; /* handlers run, by node */
static int fail_first;     /* so many of all runs fail */
static int fail_code;
static ob_req kept[16]; /* requests held, oldest first */
static int kept_at[16];
static int kept_len;
static uint32_t budget_seen;
static ob_trace_info trace_seen;

static int which(ob_ctx *ctx)
{
	ob_node_info info = {.size = sizeof(info)};

	CU_ASSERT_EQUAL(ob_node(ctx, &info), 0);
	return info.name[0] == 's' ? info.name[1] - '1' : -1;
}

static int all_runs(void)
{
	return runs[0] + runs[1] + runs[2];
}

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};
	int at = which(ctx);

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	budget_seen = v.budget_ms;
	trace_seen.size = sizeof(trace_seen);
	CU_ASSERT_EQUAL(ob_trace(ctx, 0, &trace_seen), 0);
	if (at >= 0) {
		runs[at]++;
	}
	if (fail_first > 0) {
		fail_first--;
		ob_fail(ctx, req, fail_code, "as told");
		return;
	}
	ob_reply(ctx, req, v.data, v.len);
}

static void keep(ob_ctx *ctx, ob_req req)
{
	int at = which(ctx);

	runs[at >= 0 ? at : 0]++;
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	kept_at[kept_len] = at;
	kept[kept_len++] = req;
}

static int start_service(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id_flags(ctx, 1000, answer, OB_FROM_LINK);

	rc = rc == 0 ? ob_on_id_flags(ctx, 4000, keep, OB_FROM_LINK) : rc;
	rc = rc == 0 ? ob_on_method(ctx, "t.s.m.answer", answer, 0) : rc;
	return rc == 0 ? ob_on_method(ctx, "t.s.m.keep", keep, 0) : rc;
}

static int refuse_first; /* so many of all requests are refused before a handler sees them */

static int refuse_some(ob_ctx *ctx, const ob_call_event *e)
{
	if (refuse_first == 0) {
		return 0;
	}
	refuse_first--;
	runs[which(ctx)]++;
	return OB_E_BUSY;
}

/* Its host refuses some. */
static int start_refusing(ob_ctx *ctx, const json_t *conf)
{
	int rc = start_service(ctx, conf);

	return rc == 0 ? ob_on_call_filter(ctx, OB_CALL_BEFORE_IN, 0, refuse_some) : rc;
}

static const char *more_rpc = "";
static int (*start_more)(ob_ctx *ctx, const json_t *conf);

static void start_s(int i)
{
	char name[16];

	snprintf(name, sizeof(name), "s%d", i + 1);
	at_s[i].start = start_more != NULL ? start_more : start_service;
	rig_start(&s[i], name, "service",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "'%s}, 'modules': [{'name': 'puppet', "
	          "'conf': {'hooks': %ld}}]",
	          ports[i], more_rpc, (long)(intptr_t)&at_s[i]);
}

static const char *more_caller = "";
static const char *role_caller = "caller";

static void begin(int services)
{
	rig_begin();
	memset(&at_caller, 0, sizeof(at_caller));
	memset(at_s, 0, sizeof(at_s));
	memset(runs, 0, sizeof(runs));
	fail_first = refuse_first = kept_len = 0;
	at_caller.start = start_more != NULL ? start_more : start_service;
	for (int i = 0; i < SERVICES; i++) {
		ports[i] = rig_port();
	}
	for (int i = 0; i < services; i++) {
		start_s(i);
	}
	rig_start(
		&caller, "a", role_caller,
		"%s 'rpc': {'token': '" RIG_TOKEN "', 'reconnect_time': 0.05%s},"
		"'remote_ports': [{'port': %d}, {'port': %d}, {'port': %d}], 'modules': [{'name': "
		"'puppet', 'conf': {'hooks': %ld}}]",
		more_caller, more_rpc, ports[0], ports[1], ports[2], (long)(intptr_t)&at_caller);
	for (int i = 0; i < services; i++) {
		CU_ASSERT_TRUE_FATAL(rig_linked(&caller, &s[i]));
	}
}

/* Nothing of any call is left, at either end. */
static void end(void)
{
	CU_ASSERT_TRUE(RIG_UNTIL(caller.node->pendings.slab.live == 0));
	CU_ASSERT_EQUAL(caller.node->calls.slab.live, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(caller.node->dispatch.reqs.live == 0));
	CU_ASSERT_EQUAL(caller.node->dispatch.held_bytes, 0);
	CU_ASSERT_EQUAL(caller.node->dispatch.current, 0);
	for (int i = 0; i < SERVICES; i++) {
		if (s[i].node != NULL) {
			CU_ASSERT_TRUE(RIG_UNTIL(s[i].node->dispatch.reqs.live == 0));
			rig_stop(&s[i]);
		}
	}
	rig_stop(&caller);
	rig_end();
	more_caller = more_rpc = "";
	role_caller = "caller";
	start_more = NULL;
}

static struct {
	int count;
	ob_call_result res; /* the last; its pointers are gone */
	int codes[16];
	uint32_t left[16];
	uint64_t sources[16];
	char text[200];
	char data[64];
	void *arg;
	char kept[16]; /* what it points to, when that is kept by the host */
	uint64_t at;
} ended;

static void on_end(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	if (ended.count < 16) {
		ended.codes[ended.count] = res->code;
		ended.left[ended.count] = res->left;
		ended.sources[ended.count] = res->source;
	}
	ended.count++;
	ended.res = *res;
	ended.arg = arg;
	if (arg != NULL && arg != &ended) {
		snprintf(ended.kept, sizeof(ended.kept), "%s", (const char *)arg);
	}
	ended.at = ob_now_ms(ctx);
	snprintf(ended.text, sizeof(ended.text), "%s", res->text);
	snprintf(ended.data, sizeof(ended.data), "%.*s", (int)res->len,
	         res->len > 0 ? (const char *)res->data : "");
	if (res->left == 0) {
		CU_ASSERT_EQUAL(ob_call_cancel(ctx, call), OB_E_STALE);
	}
}

static const char *const words[] = {"fast", "over", "back", "safe"};

static ob_call_options options(int mode, const char *key)
{
	return (ob_call_options){
		.size = sizeof(ob_call_options),
		.mode = mode,
		.method = "t.s.m.answer",
		.data = "hi",
		.len = 2,
		.key = key,
		.key_len = key != NULL ? (uint32_t)strlen(key) : 0,
		.deadline_ms = 3000,
	};
}

static ob_target service(void)
{
	return (ob_target){.role = ob__fnv1a32("service")};
}

static ob_call_id call(const ob_target *target, const ob_call_options *o)
{
	memset(&ended, 0, sizeof(ended));
	return ob_call_with(at_caller.ctx, target, o, on_end, &ended);
}

/* Makes it and waits for its end. */
static bool run(const ob_target *target, const ob_call_options *o)
{
	ob_call_id id = call(target, o);

	return id != 0 && RIG_UNTIL(ended.count > 0);
}

/* ---------------------------------------------------------------- modes */

/* What a handler said first: without a key it is never tried again, whatever the code; with one it
 * is, and then elsewhere. */
static void test_modes_codes(void)
{
	static const struct {
		int code;
		bool again_with_key;
	} rows[] = {
		{OB_E_APP, false},       {OB_E_NOT_FOUND, false}, {OB_E_NO_ROUTE, true},
		{OB_E_BUSY, true},       {OB_E_DEADLINE, true},   {OB_E_NOT_SENT, true},
		{OB_E_MAYBE_SENT, true}, {OB_E_GONE, true},       {OB_E_DENIED, false},
		{OB_E_TOO_BIG, false},   {OB_E_BAD, false},
	};

	begin(3);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int mode = OB_CALL_FAIL_FAST; mode <= OB_CALL_FAIL_SAFE; mode++) {
			for (int keyed = 0; keyed < 2; keyed++) {
				char key[32];
				snprintf(key, sizeof(key), "%zu-%d", i, mode);
				ob_call_options o = options(mode, keyed ? key : NULL);
				ob_target t = service();
				bool again =
					(mode == OB_CALL_FAIL_OVER || mode == OB_CALL_FAIL_BACK) &&
					keyed && rows[i].again_with_key;
				bool good = again || mode == OB_CALL_FAIL_SAFE;
				memset(runs, 0, sizeof(runs));
				fail_first = 1;
				fail_code = rows[i].code;
				CU_ASSERT_TRUE(run(&t, &o));
				bool ok = ended.res.code == (good ? OB_OK : rows[i].code) &&
				          all_runs() == 1 + again &&
				          ended.res.tries == 1u + again && ended.count == 1 &&
				          ended.res.failed ==
				                  (mode == OB_CALL_FAIL_SAFE ? rows[i].code : 0) &&
				          strcmp(ended.data, again ? "hi" : "") == 0;
				/* the second try is another node's */
				ok = ok && runs[0] < 2 && runs[1] < 2 && runs[2] < 2;
				if (!ok) {
					printf("# %s, %d, key %d: %d after %d runs\n", words[mode],
					       rows[i].code, keyed, ended.res.code, all_runs());
				}
				CU_ASSERT_TRUE(ok);
				fail_first = 0;
			}
		}
	}
	CU_ASSERT_EQUAL(rig_metric(&caller, "obhost_calls_fail_safe_total"), 22);
	CU_ASSERT_TRUE(rig_logged("a", "its caller goes on without"));
	end();
}

/* More fail than there are nodes, or than tries are wanted. */
static void test_modes_exhausted(void)
{
	ob_target t = service();
	ob_call_options o = options(OB_CALL_FAIL_OVER, NULL);

	start_more = start_refusing;
	begin(3);
	refuse_first = 100;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_BUSY);
	CU_ASSERT_EQUAL(ended.res.tries, 3);
	CU_ASSERT(runs[0] == 1 && runs[1] == 1 && runs[2] == 1);
	o.retries = 1;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.tries, 2);
	/* there is no other node than this one */
	t = (ob_target){.node = ob__node_id("s2")};
	o.retries = 0;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_BUSY);
	CU_ASSERT_EQUAL(ended.res.tries, 1);
	/* again and again, the same node: up to so many, or up to the deadline, and no further */
	o.mode = OB_CALL_FAIL_BACK;
	o.retries = 3;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.tries, 4);
	o.retries = 0;
	o.deadline_ms = 200;
	uint64_t before = ob__loop_now(caller.node->loop);
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_BUSY);
	CU_ASSERT(ended.res.tries >= 4 && ended.res.tries <= 6);
	CU_ASSERT(ended.at - before <= 220);
	refuse_first = 2;
	o.deadline_ms = 2000;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	CU_ASSERT_EQUAL(ended.res.tries, 3);
	/* refused by a host, then by the handler itself: that is the end */
	refuse_first = fail_first = 1;
	fail_code = OB_E_BUSY;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_BUSY);
	CU_ASSERT_STRING_EQUAL(ended.text, "as told");
	CU_ASSERT_EQUAL(ended.res.tries, 2);
	/* the same at this node */
	t = (ob_target){.node = ob__node_id("a")};
	refuse_first = 0;
	fail_first = 1;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_BUSY);
	CU_ASSERT_EQUAL(ended.res.tries, 1);
	end();
}

/* Of nodes that have the same to do the heaviest is next, and one without weight comes last. */
static void test_over_by_weight(void)
{
	ob_target t = service();
	char key[16];

	begin(3);
	fail_code = OB_E_BUSY;
	for (int heavy = 0; heavy < 3; heavy++) {
		for (int k = 0; k < 3; k++) {
			struct ob__peer *p = rig_peer(&caller, &s[k]);
			uint32_t weight = k == heavy ? 300 : k == (heavy + 1) % 3 ? 100 : 0;
			CU_ASSERT_PTR_NOT_NULL_FATAL(p);
			ob__registry_set_weight(&caller.node->registry, p, weight);
		}
		for (int k = 0; k < 4; k++) {
			snprintf(key, sizeof(key), "%d-%d", heavy, k);
			ob_call_options o = options(OB_CALL_FAIL_OVER, key);
			memset(runs, 0, sizeof(runs));
			fail_first = 1;
			CU_ASSERT_TRUE(run(&t, &o));
			CU_ASSERT_EQUAL(ended.res.tries, 2);
			CU_ASSERT_EQUAL(runs[heavy], 1);
			CU_ASSERT_EQUAL(runs[(heavy + 1) % 3], 1);
		}
	}
	end();
}

/* A node that hangs: only with a key there is a second try, and there is time for it. */
static void test_hanging(void)
{
	static const struct {
		int mode;
		bool keyed;
		int code;
		int failed;
	} rows[] = {
		{OB_CALL_FAIL_FAST, true, OB_E_DEADLINE, 0},
		{OB_CALL_FAIL_OVER, false, OB_E_DEADLINE, 0},
		{OB_CALL_FAIL_OVER, true, OB_OK, 0},
		{OB_CALL_FAIL_BACK, false, OB_E_DEADLINE, 0},
		{OB_CALL_FAIL_BACK, true, OB_OK, 0},
		{OB_CALL_FAIL_SAFE, true, OB_OK, OB_E_DEADLINE},
	};

	begin(2);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ob_call_options o = options(rows[i].mode, rows[i].keyed ? "hang" : NULL);
		ob_target t = service();
		char key[32];
		snprintf(key, sizeof(key), "h%zu", i);
		o.key = rows[i].keyed ? key : NULL;
		o.key_len = rows[i].keyed ? (uint32_t)strlen(key) : 0;
		o.deadline_ms = 400;
		rig_freeze(&s[0], true);
		/* which of the two is next is not known: until it is the one that hangs */
		uint64_t took = 0;
		for (int k = 0; k < 4 && took < 100; k++) {
			uint64_t before = ob__loop_now(caller.node->loop);
			key[0]++;
			CU_ASSERT_TRUE(run(&t, &o));
			took = ended.at - before;
		}
		CU_ASSERT(took >= 100 && took <= 450);
		CU_ASSERT_EQUAL(ended.res.code, rows[i].code);
		CU_ASSERT_EQUAL(ended.res.failed, rows[i].failed);
		CU_ASSERT_EQUAL(ended.count, 1);
		rig_freeze(&s[0], false);
		rig_turn_ms(20);
	}
	end();
}

/* A node that dies with the request in hand, and a link that breaks before it went out. */
static void test_dying(void)
{
	static const struct {
		int mode;
		bool keyed;
		bool sent;
		int code;
	} rows[] = {
		{OB_CALL_FAIL_FAST, true, true, OB_E_MAYBE_SENT},
		{OB_CALL_FAIL_OVER, false, true, OB_E_MAYBE_SENT},
		{OB_CALL_FAIL_OVER, true, true, OB_OK},
		{OB_CALL_FAIL_BACK, true, true, OB_OK},
		{OB_CALL_FAIL_FAST, false, false, OB_E_NOT_SENT},
		{OB_CALL_FAIL_OVER, false, false, OB_OK},
		{OB_CALL_FAIL_BACK, false, false, OB_OK},
	};

	begin(2);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char key[32];
		snprintf(key, sizeof(key), "d%zu", i);
		ob_call_options o = options(rows[i].mode, rows[i].keyed ? key : NULL);
		ob_target t = service();
		kept_len = 0;
		o.method = rows[i].sent ? "t.s.m.keep" : "t.s.m.answer";
		CU_ASSERT_NOT_EQUAL(call(&t, &o), 0);
		int at = 0;
		if (rows[i].sent) {
			CU_ASSERT_TRUE_FATAL(RIG_UNTIL(kept_len == 1));
			at = kept_at[0];
			rig_kill(&s[at]);
		} else {
			const struct ob__peer *p = rig_peer(&caller, &s[0]);
			at = p->balance.pending == 1 ? 0 : 1;
			ob__peer_close(caller.node->links, rig_peer(&caller, &s[at]), "test");
		}
		if (rows[i].sent && rows[i].code == OB_OK) {
			CU_ASSERT_TRUE_FATAL(RIG_UNTIL(kept_len == 2));
			CU_ASSERT_NOT_EQUAL(kept_at[1], at);
			CU_ASSERT_EQUAL(ob_reply(at_s[kept_at[1]].ctx, kept[1], "hi", 2), 0);
		}
		CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
		CU_ASSERT_EQUAL(ended.res.code, rows[i].code);
		if (rows[i].sent) {
			start_s(at);
		}
		CU_ASSERT_TRUE_FATAL(rig_linked(&caller, &s[at]));
	}
	end();
}

/* Nobody there: waits for one, or does not. */
static void test_nobody(void)
{
	ob_target t = service();
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	begin(0);
	for (int mode = OB_CALL_FAIL_FAST; mode <= OB_CALL_FAIL_SAFE; mode++) {
		o = options(mode, NULL);
		o.deadline_ms = 200;
		uint64_t before = ob__loop_now(caller.node->loop);
		CU_ASSERT_TRUE(run(&t, &o));
		int code = mode == OB_CALL_FAIL_SAFE ? ended.res.failed : ended.res.code;
		/* one that tries to the end may be in the middle of a try then */
		CU_ASSERT(code == OB_E_NO_ROUTE ||
		          (code == OB_E_DEADLINE &&
		           (mode == OB_CALL_FAIL_OVER || mode == OB_CALL_FAIL_BACK)));
		CU_ASSERT(ended.at - before >= 140 && ended.at - before <= 1000);
		o.flags = OB_CALL_NO_WAIT;
		before = ob__loop_now(caller.node->loop);
		CU_ASSERT_TRUE(run(&t, &o));
		code = mode == OB_CALL_FAIL_SAFE ? ended.res.failed : ended.res.code;
		CU_ASSERT_EQUAL(code, OB_E_NO_ROUTE);
		CU_ASSERT_TRUE(ended.at - before < 1000);
	}
	/* one comes up meanwhile */
	o = options(OB_CALL_FAIL_BACK, NULL);
	CU_ASSERT_NOT_EQUAL(call(&t, &o), 0);
	rig_turn_ms(30);
	start_s(1);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	CU_ASSERT_EQUAL(runs[1], 1);
	end();
}

/* ---------------------------------------------------------------- keys */

/* Who knows the incarnation, as every member does, knows nothing about the table of keys. */
static void test_keys_seed(void)
{
	uint64_t seeds[8];

	begin(0);
	for (size_t i = 0; i < 8; i++) {
		ob__keys_free(caller.node);
		ob__keys_init(caller.node);
		seeds[i] = caller.node->keys.table.places.seed;
		CU_ASSERT_TRUE(seeds[i] != 0 && seeds[i] != caller.node->self.incarnation);
		CU_ASSERT_TRUE(i == 0 || seeds[i] != seeds[i - 1]);
	}
	end();
}

static void test_keys(void)
{
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, "pay 17");

	begin(1);
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	CU_ASSERT_STRING_EQUAL(ended.data, "hi");
	CU_ASSERT_EQUAL(ended.res.source, ob__node_id("s1"));
	CU_ASSERT_EQUAL(runs[0], 1);
	/* another method with the same key is another thing, and so is another key, and none */
	o.method = NULL;
	o.id = 1000;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(runs[0], 2);
	o.key = "pay 18";
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(runs[0], 3);
	o.key_len = 0;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(runs[0], 5);
	/* a failure of the handler is kept as well, with its words; that it was busy is not */
	o = options(OB_CALL_FAIL_FAST, "bad");
	fail_first = 1;
	fail_code = OB_E_DENIED;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_DENIED);
	CU_ASSERT_STRING_EQUAL(ended.text, "as told");
	CU_ASSERT_EQUAL(runs[0], 6);
	o.key = "bus";
	fail_first = 1;
	fail_code = OB_E_BUSY;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_BUSY);
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	CU_ASSERT_EQUAL(runs[0], 8);
	CU_ASSERT_EQUAL(s[0].node->keys.table.repeated, 2);
	end();
}

/* While the first is under way, others wait for it; also in the own node. */
static void test_keys_under_way(void)
{
	begin(1);
	for (int self = 0; self < 2; self++) {
		ob_target t = {.node = ob__node_id(self ? "a" : "s1")};
		ob_call_options o = options(OB_CALL_FAIL_FAST, "once");
		o.method = "t.s.m.keep";
		runs[0] = kept_len = 0;
		memset(&ended, 0, sizeof(ended));
		for (int i = 0; i < 3; i++) {
			CU_ASSERT_NOT_EQUAL(ob_call_with(at_caller.ctx, &t, &o, on_end, NULL), 0);
		}
		CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 1));
		rig_turn_ms(30);
		CU_ASSERT_EQUAL(kept_len, 1);
		CU_ASSERT_EQUAL(ended.count, 0);
		struct puppet *p = self ? &at_caller : &at_s[0];
		CU_ASSERT_EQUAL(ob_reply(p->ctx, kept[0], "done", 4), 0);
		CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 3));
		CU_ASSERT(ended.codes[0] == 0 && ended.codes[1] == 0 && ended.codes[2] == 0);
		CU_ASSERT_STRING_EQUAL(ended.data, "done");
		CU_ASSERT_TRUE(run(&t, &o));
		CU_ASSERT_STRING_EQUAL(ended.data, "done");
		CU_ASSERT_EQUAL(runs[0], 1);
	}
	end();
}

/* A try that took too long is asked for again, and the first run's answer is what comes. */
static void test_keys_slow(void)
{
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_BACK, "slow");

	begin(1);
	o.method = "t.s.m.keep";
	o.deadline_ms = 600;
	CU_ASSERT_NOT_EQUAL(call(&t, &o), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&caller, "obhost_calls_retried_total") == 1));
	rig_turn_ms(40);
	CU_ASSERT_EQUAL(ob_reply(at_s[0].ctx, kept[0], "late", 4), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	CU_ASSERT_STRING_EQUAL(ended.data, "late");
	CU_ASSERT_EQUAL(runs[0], 1);
	end();
}

/* ---------------------------------------------------------------- all of a role */

static void test_all(void)
{
	ob_target t = {.role = ob__fnv1a32("service"), .flags = OB_TARGET_ALL};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	begin(0);
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.count, 1);
	CU_ASSERT_EQUAL(ended.res.code, OB_E_NO_ROUTE);
	CU_ASSERT_EQUAL(ended.res.left, 0);
	for (int up = 1; up <= SERVICES; up++) {
		start_s(up - 1);
		CU_ASSERT_TRUE_FATAL(rig_linked(&caller, &s[up - 1]));
		memset(runs, 0, sizeof(runs));
		fail_first = up == 3;
		fail_code = OB_E_DENIED;
		CU_ASSERT_TRUE(run(&t, &o));
		CU_ASSERT_TRUE(RIG_UNTIL(ended.count == up));
		rig_turn_ms(10);
		CU_ASSERT_EQUAL(ended.count, up);
		CU_ASSERT_EQUAL(all_runs(), up);
		int denied = 0;
		for (int i = 0; i < up; i++) {
			CU_ASSERT_EQUAL(ended.left[i], (uint32_t)(up - 1 - i));
			denied += ended.codes[i] == OB_E_DENIED;
			CU_ASSERT_NOT_EQUAL(ended.sources[i], ended.sources[(i + 1) % (up + 1)]);
		}
		CU_ASSERT_EQUAL(denied, up == 3);
	}
	/* by the plain function as well */
	memset(&ended, 0, sizeof(ended));
	CU_ASSERT_NOT_EQUAL(ob_call(at_caller.ctx, &t, 1000, 0, "x", 1, 0, on_end, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 3));
	/* whose failures nobody wants to hear of */
	o.mode = OB_CALL_FAIL_SAFE;
	fail_first = 3;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 3));
	CU_ASSERT(ended.codes[0] == 0 && ended.codes[1] == 0 && ended.codes[2] == 0);
	CU_ASSERT_EQUAL(ended.res.failed, OB_E_DENIED);
	end();
}

/* One dies and one hangs meanwhile: a result each, by the deadline. */
static void test_all_dying(void)
{
	ob_target t = {.role = ob__fnv1a32("service"), .flags = OB_TARGET_ALL};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	begin(3);
	o.method = "t.s.m.keep";
	o.deadline_ms = 300;
	CU_ASSERT_NOT_EQUAL(call(&t, &o), 0);
	uint64_t before = ob__loop_now(caller.node->loop);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(kept_len == 3));
	for (int i = 0; i < 3; i++) {
		if (kept_at[i] == 1) {
			CU_ASSERT_EQUAL(ob_reply(at_s[1].ctx, kept[i], "y", 1), 0);
		}
	}
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	rig_kill(&s[0]);
	rig_freeze(&s[2], true);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 3));
	CU_ASSERT(ended.at - before <= 330);
	CU_ASSERT_EQUAL(ended.codes[0], OB_OK);
	CU_ASSERT_EQUAL(ended.codes[1], OB_E_MAYBE_SENT);
	CU_ASSERT_EQUAL(ended.sources[1], ob__node_id("s1"));
	CU_ASSERT_EQUAL(ended.codes[2], OB_E_DEADLINE);
	CU_ASSERT_EQUAL(ended.sources[2], ob__node_id("s3"));
	CU_ASSERT_EQUAL(ended.left[2], 0);
	rig_freeze(&s[2], false);
	end();
}

/* A node of the role is one of all. */
static void test_all_self(void)
{
	ob_target t = {.role = ob__fnv1a32("service"), .flags = OB_TARGET_ALL};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	role_caller = "service";
	begin(1);
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	CU_ASSERT_EQUAL(runs[0], 1);
	CU_ASSERT(ended.sources[0] == ob__node_id("a") || ended.sources[1] == ob__node_id("a"));
	end();
}

static int stop_after;
static ob_call_id stop_call;

static void stop_when(ob_ctx *ctx, ob_call_id id, const ob_call_result *res, void *arg)
{
	if (++ended.count == stop_after) {
		CU_ASSERT_EQUAL(ob_call_cancel(ctx, stop_call), 0);
		CU_ASSERT_EQUAL(ob_call_cancel(ctx, stop_call), OB_E_STALE);
	}
}

/* The rest of all is forgotten from within a result; and the answer to a request that this very
 * call waits for may be given there. */
static ob_req nested_req;

static void nested(ob_ctx *ctx, ob_call_id id, const ob_call_result *res, void *arg)
{
	ended.count++;
	if (nested_req != 0) {
		ob_req req = nested_req;
		nested_req = 0;
		CU_ASSERT_EQUAL(ob_reply(ctx, req, "n", 1), 0);
		CU_ASSERT_EQUAL(ended.count, 2); /* handed over meanwhile */
	}
}

static void test_all_reentry(void)
{
	ob_target t = {.role = ob__fnv1a32("service"), .flags = OB_TARGET_ALL};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	role_caller = "service";
	begin(3);
	memset(&ended, 0, sizeof(ended));
	stop_after = 2;
	stop_call = ob_call_with(at_caller.ctx, &t, &o, stop_when, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(ended.count, 2);
	rig_stop(&s[1]);
	rig_stop(&s[2]);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&caller, &s[0]) != NULL &&
	                         ob__call_nodes(caller.node, t.role, (uint64_t[8]){0}, 8) == 2));
	memset(&ended, 0, sizeof(ended));
	o.method = "t.s.m.keep";
	CU_ASSERT_NOT_EQUAL(ob_call_with(at_caller.ctx, &t, &o, nested, NULL), 0);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(kept_len == 2));
	int own = kept_at[0] < 0 ? 0 : 1;
	nested_req = kept[own];
	CU_ASSERT_EQUAL(ob_reply(at_s[0].ctx, kept[1 - own], "x", 1), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	end();
}

/* ---------------------------------------------------------------- cancelling, the end of a module
 */

static void never(ob_ctx *ctx, ob_call_id id, const ob_call_result *res, void *arg)
{
	CU_FAIL("called");
}

static void test_cancel(void)
{
	ob_target t = service();

	begin(2);
	for (int mode = OB_CALL_FAIL_FAST; mode <= OB_CALL_FAIL_SAFE; mode++) {
		char key[4];
		snprintf(key, sizeof(key), "c%d", mode);
		ob_call_options o = options(mode, key);
		o.method = "t.s.m.keep";
		/* in a handler's hands, just made, between two tries, waiting for a node */
		ob_call_id a = ob_call_with(at_caller.ctx, &t, &o, never, NULL);
		rig_turn_ms(10);
		key[0] = 'd';
		ob_call_id b = ob_call_with(at_caller.ctx, &t, &o, never, NULL);
		ob_target away = {.node = ob__node_id("away")};
		ob_call_id c = ob_call_with(at_caller.ctx, &away, &o, never, NULL);
		CU_ASSERT(a != 0 && b != 0 && c != 0);
		CU_ASSERT(caller.node->dispatch.held_bytes > 0);
		CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, a), 0);
		CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, b), 0);
		CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, c), 0);
		CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, c), OB_E_STALE);
		CU_ASSERT_EQUAL(caller.node->dispatch.held_bytes, 0);
		CU_ASSERT_EQUAL(caller.node->calls.slab.live, 0);
		CU_ASSERT_EQUAL(caller.node->pendings.slab.live, 0);
	}
	fail_first = 1000;
	fail_code = OB_E_BUSY;
	ob_call_options o = options(OB_CALL_FAIL_BACK, "again");
	ob_call_id d = ob_call_with(at_caller.ctx, &t, &o, never, NULL);
	rig_turn_ms(60);
	CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, d), 0);
	rig_turn_ms(60);
	/* a plain call that waits for a node leaves nothing either */
	ob_target away = {.node = ob__node_id("away")};
	d = ob_call(at_caller.ctx, &away, 1000, 0, "x", 1, 0, never, NULL);
	CU_ASSERT(caller.node->dispatch.held_bytes > 0);
	CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, d), 0);
	CU_ASSERT_EQUAL(caller.node->dispatch.held_bytes, 0);
	/* nor does what handlers held, which is nothing against them */
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_TRUE(RIG_UNTIL(s[i].node->dispatch.reqs.live == 0));
		CU_ASSERT_EQUAL(s[i].node->cancels.held.count, 0);
	}
	for (int i = 0; i < kept_len; i++) {
		CU_ASSERT_EQUAL(ob_done(at_s[kept_at[i]].ctx, kept[i]), OB_E_STALE);
	}
	CU_ASSERT(kept_len >= 4);
	end();
}

/* A node that calls, one that answers, and a route node between them, over which all goes. */
static struct rig_node route;

static void start_behind(struct rig_node *n, const char *name, const char *role, struct puppet *at,
                         int route_port)
{
	at->start = start_more != NULL ? start_more : start_service;
	rig_start(n, name, role,
	          "'rpc': {'token': '" RIG_TOKEN "', 'reconnect_time': 0.05},"
	          "'remote_ports': [{'port': %d, 'type': 'route'}], 'modules': [{'name': 'puppet', "
	          "'conf': {'hooks': %ld}}]",
	          route_port, (long)(intptr_t)at);
	CU_ASSERT_TRUE_FATAL(rig_linked(n, &route));
}

static bool knows(const struct rig_node *n, const char *name)
{
	return ob__directory_get(&n->node->cluster.dir, ob__node_id(name)) != NULL;
}

static int begin_behind(void)
{
	rig_begin();
	memset(&at_caller, 0, sizeof(at_caller));
	memset(at_s, 0, sizeof(at_s));
	memset(runs, 0, sizeof(runs));
	fail_first = refuse_first = kept_len = 0;
	int port = rig_port();
	rig_start(&route, "r", "route",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "', 'route': {'range': {"
	          "'service': [[4000, 4099]], 'nobody': [[4100, 4199]]}}}, 'modules': ['route']",
	          port);
	start_behind(&s[0], "s1", "service", &at_s[0], port);
	start_behind(&s[1], "s2", "service", &at_s[1], port);
	start_behind(&caller, "a", "caller", &at_caller, port);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(knows(&caller, "s1") && knows(&caller, "s2") &&
	                               knows(&s[0], "s2") && knows(&s[1], "s1")));
	CU_ASSERT_PTR_NULL(rig_peer(&caller, &s[0]));
	return port;
}

static void end_behind(void)
{
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->dispatch.held_bytes == 0));
	rig_stop(&route);
	end();
}

static void send_cancel(struct rig_node *from, uint64_t call, uint32_t len)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_CANCEL,
		.call = call,
		.payload = (const uint8_t *)"junk",
		.payload_len = len,
	};

	CU_ASSERT_EQUAL(ob__send_to_node(from->node, ob__node_id("s1"), &f), 0);
}

static void test_cancel_behind(void)
{
	static const char ignored[] = "obhost_frames_ignored_total{reason=\"cancel\"}";
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	begin_behind();
	for (int plain = 0; plain < 2; plain++) {
		kept_len = 0;
		o.method = "t.s.m.keep";
		ob_call_id id = plain ? ob_call_method(at_caller.ctx, &t, o.method, 0, "", 0, 0,
		                                       never, NULL)
		                      : ob_call_with(at_caller.ctx, &t, &o, never, NULL);
		CU_ASSERT_TRUE_FATAL(RIG_UNTIL(kept_len == 1));
		/* another node can't, and what makes no sense is counted */
		uint32_t i = 0;
		const struct ob__pending *p = ob__slab_next(&caller.node->pendings.slab, &i);
		double before = rig_metric(&route, ignored);
		send_cancel(&s[1], p->handle, 0);
		send_cancel(&caller, p->handle, 4);
		send_cancel(&caller, 0, 0);
		CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&route, ignored) == before + 2));
		rig_turn_ms(30);
		CU_ASSERT_EQUAL(s[0].node->dispatch.reqs.live, 1);
		CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, id), 0);
		CU_ASSERT_EQUAL(caller.node->pendings.slab.live, 0);
		CU_ASSERT_TRUE(RIG_UNTIL(s[0].node->dispatch.reqs.live == 0));
		CU_ASSERT_EQUAL(ob_reply(at_s[0].ctx, kept[0], "x", 1), OB_E_STALE);
		CU_ASSERT_EQUAL(rig_metric(&s[0], "obhost_requests_cancelled_total"), 1 + plain);
		CU_ASSERT_EQUAL(((struct ob__gen *)at_s[0].ctx)->failed, 0);
	}

	/* one that waits at the route node, for a node that is not there */
	ob_target away = {.node = ob__node_id("away")};
	ob_call_id id = ob_call_with(at_caller.ctx, &away, &o, never, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->dispatch.held_bytes > 0));
	CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, id), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->dispatch.held_bytes == 0));

	/* two with one key: the second goes on */
	kept_len = 0;
	o.key = "both";
	o.key_len = 4;
	id = ob_call_with(at_caller.ctx, &t, &o, never, NULL);
	CU_ASSERT_NOT_EQUAL(call(&t, &o), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(s[0].node->keys.table.repeated == 1));
	CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, id), 0);
	rig_turn_ms(30);
	CU_ASSERT_EQUAL(ob_reply(at_s[0].ctx, kept[0], "hi", 2), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_STRING_EQUAL(ended.data, "hi");

	/* its own; and one with a try at each of two nodes, the first of which got no answer in
	 * time */
	kept_len = 0;
	ob_target self = {.node = ob__node_id("a")};
	o.key_len = 0;
	id = ob_call_with(at_caller.ctx, &self, &o, never, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 1));
	CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, id), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(caller.node->dispatch.reqs.live == 0));
	kept_len = 0;
	o = options(OB_CALL_FAIL_OVER, "slow");
	o.method = "t.s.m.keep";
	t = service();
	id = ob_call_with(at_caller.ctx, &t, &o, never, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 2));
	CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, id), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&s[0], "obhost_requests_cancelled_total") == 3));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&s[1], "obhost_requests_cancelled_total") == 1));
	end_behind();
}

static double cancelled(void)
{
	return rig_metric(&s[0], "obhost_requests_cancelled_total") +
	       rig_metric(&s[1], "obhost_requests_cancelled_total");
}

/* A call to nobody in particular: the route node has chosen who gets it, and knows the way. */
static void test_cancel_open(void)
{
	static const char passed[] = "obhost_cancels_passed_total";
	const ob_target open = {0};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	begin_behind();
	o.method = NULL;
	o.id = 4000;
	for (int plain = 0; plain < 2; plain++) {
		kept_len = 0;
		ob_call_id id =
			plain ? ob_call(at_caller.ctx, &open, 4000, 0, "", 0, 0, never, NULL)
			      : ob_call_with(at_caller.ctx, &open, &o, never, NULL);
		CU_ASSERT_TRUE_FATAL(RIG_UNTIL(kept_len == 1));
		uint32_t i = 0;
		const struct ob__pending *p = ob__slab_next(&caller.node->pendings.slab, &i);
		CU_ASSERT_PTR_EQUAL(p->to, rig_peer(&caller, &route)); /* no more is known */
		/* another node can't */
		struct ob__frame f = {
			.kind = OB__FRAME_SYSTEM, .id = OB__SYS_CANCEL, .call = p->handle};
		CU_ASSERT_EQUAL(ob__send_to_node(s[1].node, route.node->self.id, &f), 0);
		rig_turn_ms(30);
		CU_ASSERT_EQUAL(rig_metric(&route, passed), plain);
		CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, id), 0);
		CU_ASSERT_TRUE(RIG_UNTIL(cancelled() == 1 + plain));
		CU_ASSERT_EQUAL(ob_reply(at_s[kept_at[0]].ctx, kept[0], "x", 1), OB_E_STALE);
		CU_ASSERT_EQUAL(rig_metric(&route, passed), 1 + plain);
		/* said again it is nobody's */
		f.call = id;
		CU_ASSERT_EQUAL(ob__send_to_node(caller.node, route.node->self.id, &f), 0);
	}

	/* one that waits at the route node */
	o.id = 4100;
	ob_call_id id = ob_call_with(at_caller.ctx, &open, &o, never, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->dispatch.held_bytes > 0));
	CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, id), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->dispatch.held_bytes == 0));
	CU_ASSERT_EQUAL(rig_metric(&route, passed), 2);

	/* tries at two nodes, the first of which got no answer in time */
	kept_len = 0;
	o = options(OB_CALL_FAIL_BACK, "slow");
	o.method = NULL;
	o.id = 4000;
	id = ob_call_with(at_caller.ctx, &open, &o, never, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 2));
	CU_ASSERT_NOT_EQUAL(kept_at[0], kept_at[1]);
	CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, id), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(cancelled() == 4));
	CU_ASSERT_EQUAL(rig_metric(&route, passed), 4);
	end_behind();
}

/* What waited at the route node when nobody was there, and went on later, is found as well. */
static void test_cancel_held(void)
{
	const ob_target open = {0};

	int port = begin_behind();
	rig_stop(&s[0]);
	rig_stop(&s[1]);
	CU_ASSERT_TRUE(RIG_UNTIL(!knows(&route, "s1") && !knows(&route, "s2")));
	kept_len = 0;
	ob_call_id id = ob_call(at_caller.ctx, &open, 4000, 0, "", 0, 0, never, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->dispatch.held_bytes > 0));
	start_behind(&s[0], "s1", "service", &at_s[0], port);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(kept_len == 1));
	CU_ASSERT_EQUAL(ob_call_cancel(at_caller.ctx, id), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(s[0].node->dispatch.reqs.live == 0));
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_cancels_passed_total"), 1);
	end_behind();
}

/* What is under way when the caller's module is taken out for good ends with GONE, one each. */
static void test_abandon(void)
{
	ob_target all = {.role = ob__fnv1a32("service"), .flags = OB_TARGET_ALL};
	ob_target t = service();
	ob_call_options o = options(OB_CALL_FAIL_BACK, NULL);

	begin(2);
	struct ob__gen *g = (struct ob__gen *)at_caller.ctx;
	memset(&ended, 0, sizeof(ended));
	o.method = "t.s.m.keep";
	CU_ASSERT_NOT_EQUAL(ob_call_with(at_caller.ctx, &t, &o, on_end, NULL), 0);
	o.mode = OB_CALL_FAIL_FAST;
	CU_ASSERT_NOT_EQUAL(ob_call_with(at_caller.ctx, &all, &o, on_end, NULL), 0);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(kept_len == 3));
	uint32_t refs = g->refs;
	ob__dispatch_abandon(g);
	CU_ASSERT_EQUAL(ended.count, 3);
	CU_ASSERT(ended.codes[0] == OB_E_GONE && ended.codes[1] == OB_E_GONE &&
	          ended.codes[2] == OB_E_GONE);
	CU_ASSERT_EQUAL(g->refs, refs - 2);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(ob_done(at_s[kept_at[i]].ctx, kept[i]), 0);
	}
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(ended.count, 3);
	end();
}

/* ---------------------------------------------------------------- options */

static void test_options(void)
{
	ob_target t = service();
	ob_target all = {.role = t.role, .flags = OB_TARGET_ALL};
	ob_target at_session = {.flags = OB_TARGET_SESSION};
	char bytes[100] = "0123456789";
	ob_call_options good = options(OB_CALL_FAIL_FAST, NULL);

	begin(1);
	ob_call_options o = good;
#define REFUSED(target, change) \
	o = good;               \
	change;                 \
	CU_ASSERT_EQUAL(ob_call_with(at_caller.ctx, &(target), &o, never, NULL), 0)
	REFUSED(t, o.size = 8);
	REFUSED(t, o.mode = 4);
	REFUSED(t, o.mode = -1);
	REFUSED(t, o.method = NULL);
	REFUSED(t, o.id = 5);
	REFUSED(t, o.method = "");
	REFUSED(t, o.key = bytes; o.key_len = 65);
	REFUSED(t, o.key_len = 3);
	REFUSED(t, o.keep = bytes; o.keep_len = 65);
	REFUSED(t, o.flags = 2);
	REFUSED(all, o.mode = OB_CALL_FAIL_OVER);
	REFUSED(all, o.mode = OB_CALL_FAIL_BACK);
	REFUSED(at_session, o.session = 0);
	CU_ASSERT_EQUAL(ob_call_with(at_caller.ctx, &t, &good, NULL, NULL), 0);

	/* the host keeps a copy of what fn gets as its arg */
	o = good;
	o.keep = bytes;
	o.keep_len = 11;
	memset(&ended, 0, sizeof(ended));
	CU_ASSERT_NOT_EQUAL(ob_call_with(at_caller.ctx, &t, &o, on_end, NULL), 0);
	bytes[0] = 'x';
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_PTR_NOT_EQUAL(ended.arg, bytes);
	CU_ASSERT_STRING_EQUAL(ended.kept, "0123456789");
	CU_ASSERT_EQUAL((uintptr_t)ended.arg % 16, 0);

	/* too big: told at once, as any end */
	char *big = calloc(1, (1 << 20) + 1);
	o = good;
	o.data = big;
	o.len = (1 << 20) + 1;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(runs[0], 1);
	/* the same by the plain one, which is 0 for what makes no sense */
	memset(&ended, 0, sizeof(ended));
	CU_ASSERT_NOT_EQUAL(ob_call(at_caller.ctx, &t, 1000, 0, big, o.len, 0, on_end, NULL), 0);
	CU_ASSERT_NOT_EQUAL(
		ob_call_method(at_caller.ctx, &t, "t.s.m.answer", 0, big, o.len, 0, on_end, NULL),
		0);
	CU_ASSERT_EQUAL(ended.count, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	CU_ASSERT(ended.codes[0] == OB_E_TOO_BIG && ended.codes[1] == OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(ob_call(at_caller.ctx, &t, 0, 0, "", 0, 0, never, NULL), 0);
	CU_ASSERT_EQUAL(ob_call(at_caller.ctx, &t, 1000, 0, "", 0, 0, NULL, NULL), 0);
	CU_ASSERT_EQUAL(ob_call_method(at_caller.ctx, &t, "", 0, "", 0, 0, never, NULL), 0);
	memset(big, 'm', 256);
	big[256] = '\0';
	CU_ASSERT_EQUAL(ob_call_method(at_caller.ctx, &t, big, 0, "", 0, 0, never, NULL), 0);
	free(big);
	CU_ASSERT_EQUAL(runs[0], 1);
	end();
}

/* Too many at once: BUSY for those beyond. */
static void test_too_many(void)
{
	ob_target t = service();
	ob_target all = {.role = t.role, .flags = OB_TARGET_ALL};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	more_caller = "'limits': {'requests': 2},";
	begin(3);
	o.method = "t.s.m.keep";
	memset(&ended, 0, sizeof(ended));
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_NOT_EQUAL(ob_call_with(at_caller.ctx, &t, &o, on_end, NULL), 0);
	}
	CU_ASSERT_NOT_EQUAL(ob_call_with(at_caller.ctx, &t, &o, on_end, NULL), 0);
	CU_ASSERT_NOT_EQUAL(ob_call_with(at_caller.ctx, &all, &o, on_end, NULL), 0);
	CU_ASSERT_NOT_EQUAL(ob_call(at_caller.ctx, &t, 1000, 0, "x", 1, 0, on_end, NULL), 0);
	CU_ASSERT_EQUAL(ended.count, 0); /* never from within */
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 3));
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(ended.codes[i], OB_E_BUSY);
		CU_ASSERT_EQUAL(ended.left[i], 0);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 2));
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(ob_done(at_s[kept_at[i]].ctx, kept[i]), 0);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 5));
	end();
}

/* A message of the largest size goes and comes back in pieces, one byte more is refused at once. */
static void test_large(void)
{
	static uint8_t large[(1u << 20) + 1];
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);
	static const size_t sizes[] = {20000, 65536, 65537, 1u << 20};

	begin(1);
	o.data = large;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		o.len = sizes[i];
		CU_ASSERT_TRUE(run(&t, &o));
		CU_ASSERT(ended.res.code == OB_OK && ended.res.len == sizes[i]);
	}
	uint64_t sent = rig_peer(&caller, &s[0])->link->frames_out;
	o.len = sizeof(large);
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(rig_peer(&caller, &s[0])->link->frames_out, sent);
	end();
}

/* ---------------------------------------------------------------- budget and trace */

static ob_trace_info trace_first;
static uint32_t first_budget;

static void second_ended(ob_ctx *ctx, ob_call_id id, const ob_call_result *res, void *arg)
{
	ob_trace_info again = {.size = sizeof(again)};

	/* still within the request it was made for */
	CU_ASSERT_EQUAL(ob_trace(ctx, 0, &again), 0);
	CU_ASSERT_EQUAL(again.span, trace_first.span);
	CU_ASSERT_EQUAL(ob_reply(ctx, (ob_req)(uintptr_t)arg, res->data, res->len), 0);
}

static bool ask_plainly;
static uint32_t ask_ms;

/* At s1: asks s2 with what is left of its own time, however much it wants. */
static void ask_on(ob_ctx *ctx, ob_req req)
{
	ob_target t = {.node = ob__node_id("s2")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);
	ob_view v = {.size = sizeof(v)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	first_budget = v.budget_ms;
	trace_first.size = sizeof(trace_first);
	CU_ASSERT_EQUAL(ob_trace(ctx, req, &trace_first), 0);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	o.deadline_ms = ask_ms;
	ob_call_id id = ask_plainly
	                        ? ob_call_method(ctx, &t, o.method, 0, "hi", 2, ask_ms,
	                                         second_ended, (void *)(uintptr_t)req)
	                        : ob_call_with(ctx, &t, &o, second_ended, (void *)(uintptr_t)req);
	CU_ASSERT_NOT_EQUAL(id, 0);
}

static int start_ask_on(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_method(ctx, "t.s.m.on", ask_on, 0);
}

static void test_budget_and_trace(void)
{
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);
	ob_trace_info none = {.size = sizeof(none)};

	begin(0);
	at_s[0].start = start_ask_on;
	rig_start(&s[0], "s1", "service",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "'}, 'remote_ports': [{'port': %d}],"
	          "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          ports[0], ports[1], (long)(intptr_t)&at_s[0]);
	start_s(1);
	CU_ASSERT_TRUE_FATAL(rig_linked(&caller, &s[0]));
	CU_ASSERT_TRUE_FATAL(rig_linked(&s[0], &s[1]));
	o.method = "t.s.m.on";
	o.deadline_ms = 700;
	for (int i = 0; i < 4; i++) {
		ask_plainly = i % 2 == 1;
		ask_ms = i < 2 ? 60000 : 0;
		budget_seen = 0;
		CU_ASSERT_TRUE(run(&t, &o));
		CU_ASSERT_EQUAL(ended.res.code, OB_OK);
		CU_ASSERT_STRING_EQUAL(ended.data, "hi");
		CU_ASSERT(first_budget > 300 && first_budget <= 700);
		CU_ASSERT(budget_seen > 100 && budget_seen <= first_budget);
	}
	/* what it wants is less */
	ask_ms = 50;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT(budget_seen > 0 && budget_seen <= 50);
	CU_ASSERT_EQUAL(trace_first.begins, 1);
	CU_ASSERT_EQUAL(trace_first.id[0], ob__node_id("a"));
	CU_ASSERT_EQUAL(trace_first.parent, 0);
	CU_ASSERT_EQUAL(trace_seen.begins, 0);
	CU_ASSERT_EQUAL(trace_seen.id[0], trace_first.id[0]);
	CU_ASSERT_EQUAL(trace_seen.id[1], trace_first.id[1]);
	CU_ASSERT_EQUAL(trace_seen.parent, trace_first.span);
	CU_ASSERT_NOT_EQUAL(trace_seen.span, trace_first.span);
	CU_ASSERT_EQUAL(ob_trace(at_caller.ctx, 0, &none), OB_E_STALE);
	none.size = 3;
	CU_ASSERT_EQUAL(ob_trace(at_caller.ctx, 0, &none), OB_E_INVAL);
	end();
}

/* One number for all that is done for a call, at each node it comes through. */
static void test_trace_behind(void)
{
	static const struct {
		bool second; /* of the two calls */
		const char *what;
	} lines[] = {
		{false, "call to r: t.s.m.on"},          {false, "passed on to s1: t.s.m.on"},
		{false, "handled, from a: t.s.m.on"},    {true, "call to r: t.s.m.answer"},
		{true, "passed on to s2: t.s.m.answer"}, {true, "handled, from s1: t.s.m.answer"},
	};
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);
	char line[256];

	begin_behind();
	CU_ASSERT_EQUAL(ob_on_method(at_s[0].ctx, "t.s.m.on", ask_on, 0), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ob__methods_may(caller.node, t.node, "t.s.m.on")));
	o.method = "t.s.m.on";
	ask_ms = 0;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	CU_ASSERT(runs[0] == 0 && runs[1] == 1);
	CU_ASSERT_EQUAL(trace_first.id[0], ob__node_id("a"));
	size_t len = sizeof(lines) / sizeof(lines[0]);
	for (size_t i = 0; i < len; i++) {
		snprintf(line, sizeof(line), "%016" PRIx64 "%016" PRIx64 " %016" PRIx64 " %s",
		         trace_first.id[0], trace_first.id[1],
		         lines[i].second ? trace_seen.span : trace_first.span, lines[i].what);
		CU_ASSERT_TRUE(rig_logged("a", line));
	}
	/* and in this order */
	char *log = rig_log("a");
	const char *at = log;
	for (size_t i = 0; i < len && at != NULL; i++) {
		at = strstr(at, lines[i].what);
	}
	CU_ASSERT_PTR_NOT_NULL(at);
	free(log);
	end_behind();
}

/* ---------------------------------------------------------------- filters */

static char seen[512];
static int refuse_when;
static int refuse_code;
static ob_trace_info seen_trace[5];

static int filter(ob_ctx *ctx, const ob_call_event *e, const char *mark)
{
	size_t len = strlen(seen);
	bool before = e->when == OB_CALL_BEFORE_OUT || e->when == OB_CALL_BEFORE_IN;

	CU_ASSERT_EQUAL(e->size, sizeof(*e));
	CU_ASSERT_STRING_EQUAL(e->view->method, "t.s.m.answer");
	CU_ASSERT_TRUE((e->view->flags & OB_VIEW_CALL) != 0);
	CU_ASSERT_EQUAL(e->view->len, before ? 2 : 0);
	CU_ASSERT_EQUAL(e->view->data != NULL, before);
	seen_trace[e->when] = e->trace;
	if (before) {
		snprintf(seen + len, sizeof(seen) - len, "%d%s ", e->when, mark);
	} else {
		snprintf(seen + len, sizeof(seen) - len, "%d%s(%d:%.*s) ", e->when, mark, e->code,
		         (int)e->len, e->len > 0 ? (const char *)e->data : "");
	}
	return refuse_when == e->when ? refuse_code : 0;
}

static int filter_a(ob_ctx *ctx, const ob_call_event *e)
{
	return filter(ctx, e, "a");
}

static int filter_b(ob_ctx *ctx, const ob_call_event *e)
{
	return filter(ctx, e, "b");
}

static int start_filters(ob_ctx *ctx, const json_t *conf)
{
	int rc = start_service(ctx, conf);
	bool at_service_node = which(ctx) >= 0;

	CU_ASSERT_EQUAL(ob_on_call_filter(ctx, 0, 0, filter_a), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_call_filter(ctx, 5, 0, filter_a), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_call_filter(ctx, 1, 0, NULL), OB_E_INVAL);
	for (int when = 1; rc == 0 && when <= 4; when++) {
		if ((when >= OB_CALL_BEFORE_IN) == at_service_node) {
			rc = ob_on_call_filter(ctx, when, 20, filter_b);
			rc = rc == 0 ? ob_on_call_filter(ctx, when, 10, filter_a) : rc;
		}
	}
	return rc;
}

static void test_filters(void)
{
	static const struct {
		int when; /* a filter that refuses, or 0 */
		int code;
		int ends; /* the call */
		const char *seen;
	} rows[] = {
		{0, 0, OB_OK, "1a 1b 3a 3b 4a(0:hi) 4b(0:hi) 2a(0:hi) 2b(0:hi) "},
		{OB_CALL_BEFORE_OUT, OB_E_DENIED, OB_E_DENIED, "1a 2a(-5009:) 2b(-5009:) "},
		{OB_CALL_BEFORE_IN, OB_E_BUSY, OB_E_BUSY, "1a 1b 3a 2a(-5004:) 2b(-5004:) "},
		/* what no result can be, and what those after say */
		{OB_CALL_BEFORE_IN, -77, OB_E_APP, "1a 1b 3a 2a(-5001:) 2b(-5001:) "},
		{OB_CALL_AFTER_IN, OB_E_BUSY, OB_OK,
	         "1a 1b 3a 3b 4a(0:hi) 4b(0:hi) 2a(0:hi) 2b(0:hi) "},
		{OB_CALL_AFTER_OUT, OB_E_BUSY, OB_OK,
	         "1a 1b 3a 3b 4a(0:hi) 4b(0:hi) 2a(0:hi) 2b(0:hi) "},
	};
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	start_more = start_filters;
	begin(1);
	CU_ASSERT_EQUAL(ob_on_call_filter(at_caller.ctx, 1, 0, filter_a), OB_E_STATE);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		refuse_when = rows[i].when;
		refuse_code = rows[i].code;
		for (int plain = 0; plain < 2; plain++) {
			seen[0] = '\0';
			memset(&ended, 0, sizeof(ended));
			ob_call_id id = plain ? ob_call_method(at_caller.ctx, &t, o.method, 0, "hi",
			                                       2, 0, on_end, NULL)
			                      : ob_call_with(at_caller.ctx, &t, &o, on_end, NULL);
			CU_ASSERT_NOT_EQUAL(id, 0);
			CU_ASSERT_EQUAL(ended.count, 0);
			CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
			CU_ASSERT_EQUAL(ended.res.code, rows[i].ends);
			CU_ASSERT_STRING_EQUAL(seen, rows[i].seen);
		}
	}
	refuse_when = 0;
	CU_ASSERT_EQUAL(runs[0], 6);
	CU_ASSERT_EQUAL(seen_trace[1].id[1], seen_trace[3].id[1]);
	CU_ASSERT_EQUAL(seen_trace[1].id[0], seen_trace[4].id[0]);
	/* calls of a node to itself meet both ends' filters */
	rig_stop(&s[0]);
	seen[0] = '\0';
	t.node = ob__node_id("a");
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_STRING_EQUAL(seen, "1a 1b 2a(0:hi) 2b(0:hi) ");
	end();
}

/* Slow and failed calls are logged at both ends. */
static void test_log(void)
{
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	more_rpc = ", 'log': {'slow': 0.5, 'failed': true}";
	begin(1);
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_FALSE(rig_logged("a", "[call] to s1: t.s.m.answer"));
	fail_first = 1;
	fail_code = OB_E_DENIED;
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_TRUE(rig_logged("a", "[call] to s1: t.s.m.answer"));
	CU_ASSERT_TRUE(rig_logged("a", "[call] from a: t.s.m.answer"));
	CU_ASSERT_TRUE(rig_logged("a", "as told"));
	o.method = "t.s.m.keep";
	CU_ASSERT_NOT_EQUAL(call(&t, &o), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 1));
	rig_turn_ms(550);
	CU_ASSERT_EQUAL(ob_reply(at_s[0].ctx, kept[0], "x", 1), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_TRUE(rig_logged("a", "[call] to s1: t.s.m.keep"));
	CU_ASSERT_TRUE(rig_logged("a", "[call] from a: t.s.m.keep"));
	CU_ASSERT_EQUAL(rig_metric(&caller, "obhost_calls_slow_total"), 1);
	end();
}

static int spin_ms;

static void spin(ob_ctx *ctx, ob_req req)
{
	uint64_t until = ob__loop_hrtime_us() + (uint64_t)spin_ms * 1000;

	while (ob__loop_hrtime_us() < until) {
	}
	runs[0]++;
	ob_reply(ctx, req, "s", 1);
}

static int start_spin(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_method(ctx, "t.s.m.spin", spin, 0);

	return rc == 0 ? start_service(ctx, conf) : rc;
}

/* A node that is late refuses at once, and takes requests again when it is not. */
static void test_too_busy(void)
{
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);
	int busy = 0;

	start_more = start_spin;
	more_rpc = ", 'too_busy': 0.1";
	begin(1);
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	spin_ms = 300;
	o.method = "t.s.m.spin";
	CU_ASSERT_TRUE(run(&t, &o)); /* taken, and the node is late from now on */
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	o.method = "t.s.m.answer";
	for (int i = 0; i < 1000 && busy == 0; i++) {
		CU_ASSERT_TRUE(run(&t, &o));
		busy += ended.res.code == OB_E_BUSY;
	}
	CU_ASSERT_EQUAL(busy, 1);
	CU_ASSERT_TRUE(rig_metric(&s[0], "obhost_too_busy_total") >= 1);
	CU_ASSERT_TRUE(rig_logged("a", "too busy"));
	rig_turn_ms(400);
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	/* it comes to rest */
	rig_turn_ms(1200);
	CU_ASSERT_FALSE(ob__timeout_armed(&s[0].node->callfilter.pulse));
	end();
}

/* ---------------------------------------------------------------- methods */

static bool peer_methods(const char *expected)
{
	return rig_admin_expect(&caller, "peers", NULL, 200, expected);
}

/* What a node does not have is refused before anything is sent; lists follow reloads. */
static void test_methods(void)
{
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	begin(1);
	CU_ASSERT_TRUE(RIG_UNTIL(!ob__methods_may(caller.node, t.node, "t.s.m.other")));
	CU_ASSERT_TRUE(ob__methods_may(caller.node, t.node, "t.s.m.answer"));
	CU_ASSERT_TRUE(ob__methods_may(caller.node, 12345, "t.s.m.other")); /* unknown */
	CU_ASSERT_TRUE(peer_methods(
		"{'peers': [{'name': 's1', 'methods': ['t.s.m.answer', 't.s.m.keep']}]}"));
	CU_ASSERT_TRUE(rig_admin_expect(&s[0], "node", NULL, 200,
	                                "{'methods': ['t.s.m.answer', 't.s.m.keep']}"));
	uint64_t sent = rig_peer(&caller, &s[0])->link->frames_out;
	o.method = "t.s.m.other";
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(rig_peer(&caller, &s[0])->link->frames_out, sent);
	t = service();
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_NOT_FOUND);
	memset(&ended, 0, sizeof(ended));
	CU_ASSERT_NOT_EQUAL(
		ob_call_method(at_caller.ctx, &t, "t.s.m.other", 0, "", 0, 0, on_end, NULL), 0);
	CU_ASSERT_EQUAL(ended.count, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(rig_peer(&caller, &s[0])->link->frames_out, sent);

	/* a method more while the module runs, another set after a reload */
	CU_ASSERT_EQUAL(ob_on_method(at_s[0].ctx, "t.s.m.other", answer, 0), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ob__methods_may(caller.node, ob__node_id("s1"), "t.s.m.other")));
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	at_s[0].start = start_spin;
	CU_ASSERT_TRUE(rig_admin_expect(&s[0], "modules.reload",
	                                "{'name': 'puppet', 'force': true}", 200, "{}"));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__methods_may(caller.node, ob__node_id("s1"), "t.s.m.spin")));
	CU_ASSERT_TRUE(RIG_UNTIL(!ob__methods_may(caller.node, ob__node_id("s1"), "t.s.m.other")));
	/* the node is gone: nothing is known of it */
	rig_stop(&s[0]);
	CU_ASSERT_TRUE(RIG_UNTIL(ob__methods_may(caller.node, ob__node_id("s1"), "t.s.m.zzz")));
	CU_ASSERT_TRUE(peer_methods("{'peers': [{'name': 's1', 'methods': null}]}"));
	end();
}

static void methods_frame(const char *bytes, size_t len)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_METHODS,
		.payload = (const uint8_t *)bytes,
		.payload_len = (uint32_t)len,
	};

	ob__methods_heard(caller.node, rig_peer(&caller, &s[0]), &f);
}

static uint64_t digest_of(const char *name)
{
	return ob__directory_get(&caller.node->cluster.dir, ob__node_id(name))->m.desc->methods;
}

/* Those of nodes behind a route node. */
static void test_methods_behind(void)
{
	static const char asked[] = "obhost_methods_asked_total";
	static const char ignored[] = "obhost_frames_ignored_total{reason=\"methods\"}";
	uint64_t s1 = ob__node_id("s1");
	uint64_t s2 = ob__node_id("s2");
	ob_target t = {.node = s1};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	int port = begin_behind();
	CU_ASSERT_TRUE(RIG_UNTIL(!ob__methods_may(caller.node, s1, "t.s.m.other")));
	CU_ASSERT_TRUE(RIG_UNTIL(!ob__methods_may(caller.node, s2, "t.s.m.other")));
	CU_ASSERT_TRUE(peer_methods("{'peers': [{'name': 'r', 'methods': []}, "
	                            "{'name': 's1', 'methods': ['t.s.m.answer', 't.s.m.keep']}, "
	                            "{'name': 's2', 'methods': ['t.s.m.answer', 't.s.m.keep']}]}"));
	/* the two have the same ones, so one of them was asked; and perhaps the route node */
	CU_ASSERT(rig_metric(&caller, asked) >= 1 && rig_metric(&caller, asked) <= 2);

	/* what it has not is refused before the wire */
	memset(&ended, 0, sizeof(ended));
	double made = rig_metric(&route, "obhost_forwarded_total");
	o.method = "t.s.m.other";
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_NOT_FOUND);
	CU_ASSERT_NOT_EQUAL(
		ob_call_method(at_caller.ctx, &t, "t.s.m.other", 0, "", 0, 0, on_end, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(rig_metric(&route, "obhost_forwarded_total"), made);

	/* one more, which is told at once; s1 is slow to say which, and somebody lies about it */
	uint64_t before = digest_of("s1");
	CU_ASSERT_EQUAL(ob_on_method(at_s[0].ctx, "t.s.m.other", answer, 0), 0);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(digest_of("s1") != before));
	rig_freeze(&s[0], true);
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_METHODS_LIST,
		.src = s1,
		.call = digest_of("s1"),
		.payload = (const uint8_t *)"\3t.s.m.false",
		.payload_len = 13,
	};
	double odd = rig_metric(&caller, ignored);
	double asks = rig_metric(&caller, asked);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&caller, asked) == asks + 1));
	CU_ASSERT_TRUE(ob__far_frame(caller.node, &f));
	CU_ASSERT_EQUAL(rig_metric(&caller, ignored), odd + 1);
	f.payload_len = 12; /* a name that does not end */
	CU_ASSERT_TRUE(ob__far_frame(caller.node, &f));
	f.payload_len = 0;
	CU_ASSERT_TRUE(ob__far_frame(caller.node, &f));
	CU_ASSERT_EQUAL(rig_metric(&caller, ignored), odd + 3);
	CU_ASSERT_TRUE(ob__methods_may(caller.node, s1, "t.s.m.x"));
	rig_freeze(&s[0], false);
	CU_ASSERT_TRUE(RIG_UNTIL(!ob__methods_may(caller.node, s1, "t.s.m.x")));
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_OK);
	CU_ASSERT_FALSE(ob__methods_may(caller.node, s2, "t.s.m.other"));

	/* exchanged for a generation with others, then another life of the node */
	at_s[0].start = start_spin;
	CU_ASSERT_TRUE(rig_admin_expect(&s[0], "modules.reload",
	                                "{'name': 'puppet', 'force': true}", 200, "{}"));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__methods_may(caller.node, s1, "t.s.m.spin") &&
	                         !ob__methods_may(caller.node, s1, "t.s.m.other")));
	rig_stop(&s[0]);
	start_behind(&s[0], "s1", "service", &at_s[0], port);
	CU_ASSERT_TRUE(RIG_UNTIL(ob__methods_may(caller.node, s1, "t.s.m.keep") &&
	                         !ob__methods_may(caller.node, s1, "t.s.m.spin")));
	/* lists that nobody has any more are not kept */
	CU_ASSERT_TRUE(RIG_UNTIL(caller.node->methods.far.lists.count <= 2));
	CU_ASSERT_TRUE(caller.node->methods.far.names <= 2);
	end_behind();
}

static int start_sys(ob_ctx *ctx, const json_t *conf)
{
	CU_ASSERT_EQUAL(ob_on_method(ctx, "system.s.m.x", answer, 0), 0);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "sys", answer, 0), 0);
	return ob_on_method(ctx, "sys.service.m.mine", answer, 0);
}

/* What begins with "sys." is the host's. */
static void test_methods_sys(void)
{
	ob_target t = {.node = ob__node_id("s1")};
	ob_call_options o = options(OB_CALL_FAIL_FAST, NULL);

	begin(1);
	CU_ASSERT_EQUAL(ob_on_method(at_s[0].ctx, "sys.service.m.mine", answer, 0), OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_on_method(at_s[0].ctx, "sys.", answer, 0), OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_on_method(at_s[0].ctx, "user.service.m.mine", answer, 0), 0);
	at_s[0].start = start_sys;
	CU_ASSERT_TRUE(rig_admin_expect(&s[0], "modules.reload",
	                                "{'name': 'puppet', 'force': true}", 422,
	                                "{'result': 'refused'}"));
	CU_ASSERT_TRUE(rig_logged(
		"a", "\"sys.service.m.mine\": methods in \"sys\" are the host's; take \"user\""));
	o.method = "sys.service.m.mine";
	CU_ASSERT_TRUE(run(&t, &o));
	CU_ASSERT_EQUAL(ended.res.code, OB_E_NOT_FOUND);
	end();
}

/* Lists in parts, too long ones, and what makes no sense. */
static void test_methods_odd(void)
{
	uint64_t id = ob__node_id("s1");

	begin(1);
	CU_ASSERT_TRUE(RIG_UNTIL(!ob__methods_may(caller.node, id, "x")));
	methods_frame("\1a\0b\0", 5); /* begun, not ended: refuses nothing yet */
	CU_ASSERT_TRUE(ob__methods_may(caller.node, id, "x"));
	methods_frame("\2c\0", 3);
	CU_ASSERT_FALSE(ob__methods_may(caller.node, id, "x"));
	CU_ASSERT(ob__methods_may(caller.node, id, "a") && ob__methods_may(caller.node, id, "c"));
	methods_frame("\2x\0", 3); /* a part of nothing */
	CU_ASSERT_FALSE(ob__methods_may(caller.node, id, "x"));
	methods_frame("\3y", 2); /* a name that does not end */
	methods_frame("", 0);
	CU_ASSERT_TRUE(ob__methods_may(caller.node, id, "a"));
	methods_frame("\3", 1); /* none at all */
	CU_ASSERT_FALSE(ob__methods_may(caller.node, id, "a"));
	methods_frame("\1\0", 2); /* an empty name: the list is not to be relied on */
	methods_frame("\2a\0", 3);
	CU_ASSERT_TRUE(ob__methods_may(caller.node, id, "x"));
	char *many = malloc(10 * (OB__METHODS_MAX + 2));
	size_t len = 0;
	many[len++] = 3;
	for (unsigned i = 0; i <= OB__METHODS_MAX; i++) {
		len += (size_t)sprintf(many + len, "m%u", i) + 1;
	}
	methods_frame(many, len);
	CU_ASSERT_TRUE(ob__methods_may(caller.node, id, "x"));
	free(many);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite suite = CU_add_suite("calls", NULL, NULL);
	CU_add_test(suite, "each mode after each code", test_modes_codes);
	CU_add_test(suite, "each mode to its end", test_modes_exhausted);
	CU_add_test(suite, "over to others by weight", test_over_by_weight);
	CU_add_test(suite, "a node that hangs", test_hanging);
	CU_add_test(suite, "a node that dies, a link that breaks", test_dying);
	CU_add_test(suite, "nobody there", test_nobody);
	CU_add_test(suite, "keys", test_keys);
	CU_add_test(suite, "keys are hashed with a secret", test_keys_seed);
	CU_add_test(suite, "keys of what is under way", test_keys_under_way);
	CU_add_test(suite, "keys of what is slow", test_keys_slow);
	CU_add_test(suite, "all of a role", test_all);
	CU_add_test(suite, "all of a role, dying", test_all_dying);
	CU_add_test(suite, "all of a role, itself too", test_all_self);
	CU_add_test(suite, "all of a role, from within", test_all_reentry);
	CU_add_test(suite, "cancelled", test_cancel);
	CU_add_test(suite, "cancelled behind a route node", test_cancel_behind);
	CU_add_test(suite, "cancelled where a route node chose", test_cancel_open);
	CU_add_test(suite, "cancelled where it was kept before", test_cancel_held);
	CU_add_test(suite, "the module goes", test_abandon);
	CU_add_test(suite, "options", test_options);
	CU_add_test(suite, "too many", test_too_many);
	CU_add_test(suite, "large", test_large);
	CU_add_test(suite, "budget and trace", test_budget_and_trace);
	CU_add_test(suite, "the trace through a route node", test_trace_behind);
	CU_add_test(suite, "filters", test_filters);
	CU_add_test(suite, "the log", test_log);
	CU_add_test(suite, "too busy", test_too_busy);
	CU_add_test(suite, "methods", test_methods);
	CU_add_test(suite, "methods, odd lists", test_methods_odd);
	CU_add_test(suite, "methods behind a route node", test_methods_behind);
	CU_add_test(suite, "methods, those of the host", test_methods_sys);
	return ob__tap_run();
}
