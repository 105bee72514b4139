/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The module against a host made of a table of functions. */

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "modules/proxy/proxy.c"
#include "tap.h"

#define OWN     7u
#define SERVICE 9u

static ob_filter_fn filter;
static ob_decide_fn decider;
static ob_event_fn events[8];
static uint64_t counts[8];
static int counters;

static void mock_vlog(ob_ctx *ctx, int level, const char *fmt, va_list ap)
{
}

static int mock_node(ob_ctx *ctx, ob_node_info *info)
{
	info->role_id = OWN;
	return 0;
}

static int mock_counter(ob_ctx *ctx, const char *name, const char *help)
{
	return counters++;
}

static void mock_count(ob_ctx *ctx, int counter, uint64_t n)
{
	counts[counter] += n;
}

static int mock_event(ob_ctx *ctx, int event, ob_event_fn fn)
{
	events[event] = fn;
	return 0;
}

static int mock_filter(ob_ctx *ctx, int priority, ob_filter_fn fn)
{
	filter = fn;
	return 0;
}

static int mock_decider(ob_ctx *ctx, ob_decide_fn fn)
{
	decider = fn;
	return 0;
}

/* Ids below 100 have no role, below 200 our own, the rest the service's. */
static uint32_t mock_route(ob_ctx *ctx, uint32_t id)
{
	return id < 100 ? 0 : id < 200 ? OWN : SERVICE;
}

/* Odd sessions are of this node's clients. */
static int mock_session(ob_ctx *ctx, ob_session session, ob_session_info *info)
{
	info->local = session % 2;
	return 0;
}

static const ob_api api = {
	.size = sizeof(api),
	.vlog = mock_vlog,
	.node_info = mock_node,
	.counter = mock_counter,
	.count = mock_count,
	.on_event = mock_event,
	.on_filter = mock_filter,
	.on_client_message = mock_decider,
	.route_role = mock_route,
	.session_info = mock_session,
};
static ob_ctx ctx = {.api = &api};

static const struct {
	const char *why;
	const char *conf;
	const char *says; /* NULL: it is good */
} conf_rows[] = {
	{"nothing", "{}", NULL},
	{"all there is", "{\"refuse\":[[1,999],[5,5]],\"max_body\":100}", NULL},
	{"an empty list", "{\"refuse\":[]}", NULL},
	{"an unknown key", "{\"refused\":[]}", "refused"},
	{"not a list", "{\"refuse\":5}", "refuse"},
	{"not a pair", "{\"refuse\":[[1,2],[3]]}", "refuse[1]"},
	{"three ends", "{\"refuse\":[[1,2,3]]}", "refuse[0]"},
	{"backwards", "{\"refuse\":[[2,1]]}", "refuse[0]"},
	{"below 0", "{\"refuse\":[[-1,1]]}", "refuse[0]"},
	{"beyond an id", "{\"refuse\":[[1,2147483648]]}", "refuse[0]"},
	{"words", "{\"refuse\":[[\"1\",\"2\"]]}", "refuse[0]"},
	{"no body at all", "{\"max_body\":0}", "max_body"},
	{"a size in words", "{\"max_body\":\"1m\"}", "max_body"},
};

static void test_conf(void)
{
	for (size_t i = 0; i < sizeof(conf_rows) / sizeof(conf_rows[0]); i++) {
		json_t *conf = json_loads(conf_rows[i].conf, 0, NULL);
		ob_err err = {.text = ""};
		int rc = check(conf, &err);
		bool good = conf_rows[i].says
		                    ? rc == OB_E_INVAL && strstr(err.text, conf_rows[i].says)
		                    : rc == 0;

		if (!good) {
			CU_FAIL("a row failed");
			printf("# row: %s: %d %s\n", conf_rows[i].why, rc, err.text);
		}
		json_decref(conf);
	}
	CU_PASS("rows");
}

static void test_many_spans(void)
{
	json_t *list = json_array();
	json_t *conf = json_pack("{s:o}", "refuse", list);
	ob_err err = {.text = ""};

	for (int i = 0; i < SPANS_MAX; i++) {
		json_array_append_new(list, json_pack("[i, i]", i, i));
	}
	CU_ASSERT_EQUAL(check(conf, &err), 0);
	json_array_append_new(list, json_pack("[i, i]", 1, 1));
	CU_ASSERT_EQUAL(check(conf, &err), OB_E_INVAL);
	json_decref(conf);
}

static void start_with(const char *text)
{
	json_t *conf = json_loads(text, 0, NULL);

	counters = 0;
	CU_ASSERT_EQUAL_FATAL(start(&ctx, conf), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(filter);
	CU_ASSERT_PTR_NOT_NULL_FATAL(decider);
	json_decref(conf);
}

static int filtered(uint32_t id, size_t len)
{
	ob_view view = {.size = sizeof(view), .id = id, .len = len};

	return filter(&ctx, &view);
}

static void test_filter(void)
{
	start_with("{}");
	CU_ASSERT_EQUAL(filtered(5, 1 << 20), 0);
	start_with("{\"refuse\":[[10,20],[30,30]],\"max_body\":100}");
	CU_ASSERT_EQUAL(filtered(9, 0), 0);
	CU_ASSERT_EQUAL(filtered(10, 0), OB_E_DENIED);
	CU_ASSERT_EQUAL(filtered(20, 0), OB_E_DENIED);
	CU_ASSERT_EQUAL(filtered(21, 0), 0);
	CU_ASSERT_EQUAL(filtered(30, 0), OB_E_DENIED);
	CU_ASSERT_EQUAL(filtered(31, 100), 0);
	CU_ASSERT_EQUAL(filtered(31, 101), OB_E_TOO_BIG);
}

static const struct {
	const char *why;
	uint32_t id;
	uint32_t flags;
	int action;
	uint32_t role;
	uint32_t target;
} decide_rows[] = {
	{"no role: a route node, by its table", 50, OB_VIEW_CLIENT, OB_FORWARD, 0,
         OB_TARGET_STICKY},
	{"no role, stateless", 50, OB_VIEW_NO_STATE, OB_FORWARD, 0, 0},
	{"our own role", 150, OB_VIEW_CLIENT, OB_LOCAL, 0, 0},
	{"another role", 250, OB_VIEW_CLIENT, OB_FORWARD, SERVICE, OB_TARGET_STICKY},
	{"another role, stateless", 250, OB_VIEW_NO_STATE, OB_FORWARD, SERVICE, 0},
};

static void test_decide(void)
{
	start_with("{}");
	for (size_t i = 0; i < sizeof(decide_rows) / sizeof(decide_rows[0]); i++) {
		ob_view view = {.size = sizeof(view), .id = decide_rows[i].id};

		view.flags = decide_rows[i].flags;

		ob_verdict v = decider(&ctx, &view);

		if (v.action != decide_rows[i].action || v.target.role != decide_rows[i].role ||
		    v.target.node != 0 || v.target.flags != decide_rows[i].target) {
			CU_FAIL("a row failed");
			printf("# row: %s\n", decide_rows[i].why);
		}
	}
	CU_PASS("rows");
}

static void test_sessions(void)
{
	ob_event_info info = {.size = sizeof(info), .session = 1};

	start_with("{}");
	memset(counts, 0, sizeof(counts));
	info.event = OB_EVENT_SESSION_OPENED;
	events[info.event](&ctx, &info);
	events[info.event](&ctx, &info);
	info.event = OB_EVENT_SESSION_CLOSED;
	events[info.event](&ctx, &info);
	info.session = 2; /* another node's client */
	events[info.event](&ctx, &info);
	CU_ASSERT_EQUAL(counts[opened], 2);
	CU_ASSERT_EQUAL(counts[closed], 1);
}

static void test_reconf(void)
{
	json_t *good = json_pack("{s:i}", "max_body", 5);
	json_t *bad = json_pack("{s:i}", "max_body", -5);
	ob_err err = {.text = ""};

	start_with("{}");
	CU_ASSERT_EQUAL(reconf(&ctx, good, OB_RECONF_CHECK, &err), 0);
	CU_ASSERT_EQUAL(filtered(5, 6), 0);
	CU_ASSERT_EQUAL(reconf(&ctx, good, OB_RECONF_APPLY, &err), 0);
	CU_ASSERT_EQUAL(filtered(5, 6), OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(reconf(&ctx, bad, OB_RECONF_CHECK, &err), OB_E_INVAL);
	CU_ASSERT_EQUAL(filtered(5, 5), 0);
	json_decref(good);
	json_decref(bad);
}

int main(void)
{
	CU_initialize_registry();

	CU_pSuite s = CU_add_suite("proxy", NULL, NULL);

	CU_add_test(s, "its configuration", test_conf);
	CU_add_test(s, "a bounded list", test_many_spans);
	CU_add_test(s, "what it refuses", test_filter);
	CU_add_test(s, "where messages go", test_decide);
	CU_add_test(s, "only its own clients count", test_sessions);
	CU_add_test(s, "changed while it runs", test_reconf);
	return ob__tap_run();
}
