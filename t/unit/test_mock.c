/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <CUnit/CUnit.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/mock.h>

#include "base/err.h"
#include "host/admin/admin.h"
#include "tap.h"

/* ---- modules made in the test ---- */

static int (*on_start)(ob_ctx *ctx);
static ob_req last_req;
static int seen;
static char trace[256];

static void note(const char *word)
{
	size_t at = strlen(trace);

	snprintf(trace + at, sizeof(trace) - at, "%s%s", at > 0 ? " " : "", word);
}

static int check_hook(const json_t *conf, ob_err *err)
{
	note("check");
	return json_object_get(conf, "bad") != NULL ? ob_err_set(err, "bad: is there") : 0;
}

static int start_hook(ob_ctx *ctx, const json_t *conf)
{
	note("start");
	if (json_object_get(conf, "refuse") != NULL) {
		return ob_refuse(ctx, OB_E_STATE, "no database");
	}
	return on_start != NULL ? on_start(ctx) : 0;
}

static int selftest_hook(ob_ctx *ctx)
{
	note("selftest");
	return 0;
}

static void live_hook(ob_ctx *ctx)
{
	note("live");
}

static void drain_hook(ob_ctx *ctx)
{
	note("drain");
}

static void resume_hook(ob_ctx *ctx)
{
	note("resume");
}

static int reconf_hook(ob_ctx *ctx, const json_t *conf, int phase, ob_err *err)
{
	note(phase == OB_RECONF_CHECK ? "try" : "apply");
	return json_object_get(conf, "bad") != NULL ? ob_err_set(err, "bad: is there") : 0;
}

static void stop_hook(ob_ctx *ctx)
{
	note("stop");
}

static const ob_module_desc plain = {
	.magic = OB_MODULE_MAGIC,
	.size = sizeof(ob_module_desc),
	.abi_major = OB_ABI_MAJOR,
	.abi_minor = OB_ABI_MINOR,
	.name = "plain",
	.version = "1.2",
	.check = check_hook,
	.start = start_hook,
	.selftest = selftest_hook,
	.live = live_hook,
	.drain = drain_hook,
	.resume = resume_hook,
	.reconf = reconf_hook,
	.stop = stop_hook,
};

static ob_mock *begin_with(int (*start)(ob_ctx *ctx))
{
	trace[0] = '\0';
	seen = 0;
	on_start = start;
	ob_mock *m = ob_mock_new(&plain, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_EQUAL_FATAL(ob_mock_begin(m), 0);
	return m;
}

/* A text as a callback's arg. */
static void *word(const char *text)
{
	return (void *)(uintptr_t)text;
}

static bool same(const void *data, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(data, text, len) == 0;
}

/* ---- the table ---- */

/* Every function is there: behind the head of the table are only pointers to functions. */
static void test_table_is_whole(void)
{
	ob_mock *m = ob_mock_new(&plain, NULL);
	const ob_api *api = ob_mock_ctx(m)->api;
	const size_t first = offsetof(ob_api, strerror);
	void (*fn)(void);

	CU_ASSERT_EQUAL(api->size, sizeof(ob_api));
	CU_ASSERT_EQUAL(api->abi_major, OB_ABI_MAJOR);
	for (size_t at = first; at < sizeof(ob_api); at += sizeof(fn)) {
		memcpy(&fn, (const char *)api + at, sizeof(fn));
		if (fn == NULL) {
			fprintf(stderr, "# no function at %zu\n", (at - first) / sizeof(fn));
			CU_FAIL("a function is missing");
		}
	}
	ob_mock_free(m);
}

/* Sentences and numbers are the host's. */
static void test_codes_are_the_hosts(void)
{
	ob_mock *m = ob_mock_new(&plain, NULL);
	ob_ctx *ctx = ob_mock_ctx(m);

	for (int code = 0; code >= OB_RESULT_LAST; code = code == 0 ? OB_E_APP : code - 1) {
		CU_ASSERT_STRING_EQUAL(ob_strerror(ctx, code), ob__strerror(code));
		CU_ASSERT_EQUAL(ob_status(ctx, code), ob__result_http(code));
	}
	for (int code = OB_E_STALE; code >= OB_E_LIMIT; code--) {
		CU_ASSERT_STRING_EQUAL(ob_strerror(ctx, code), ob__strerror(code));
		CU_ASSERT_EQUAL(ob_status(ctx, code), ob__result_http(code));
	}
	CU_ASSERT_EQUAL(ob_status(ctx, -12345), 500);
	CU_ASSERT_STRING_EQUAL(ob_strerror(ctx, -12345), "unknown error");
	CU_ASSERT_EQUAL(strlen(ob_strerror(ctx, -ENOENT)) > 0, 1);
	ob_mock_free(m);
}

/* ---- life ---- */

struct life_row {
	const char *conf;
	int rc;
	const char *error;
	const char *trace;
};

static const struct life_row lives[] = {
	{"{}", 0, "", "check start selftest live drain stop"},
	{"{\"bad\": 1}", OB_E_INVAL, "check: bad: is there", "check"},
	/* a start that fails is not stopped: nothing of it is there */
	{"{\"refuse\": 1}", OB_E_STATE, "start: no database: not possible in this state",
         "check start"},
};

static void test_life(void)
{
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		json_t *conf = json_loads(lives[i].conf, 0, NULL);
		trace[0] = '\0';
		on_start = NULL;
		ob_mock *m = ob_mock_new(&plain, conf);
		json_decref(conf);
		CU_ASSERT_PTR_NOT_NULL_FATAL(m);
		CU_ASSERT_EQUAL(ob_mock_begin(m), lives[i].rc);
		CU_ASSERT_STRING_EQUAL(ob_mock_error(m), lives[i].error);
		ob_mock_free(m);
		CU_ASSERT_STRING_EQUAL(trace, lives[i].trace);
	}
}

static void test_order_of_life(void)
{
	on_start = NULL;
	ob_mock *m = ob_mock_new(&plain, NULL);

	CU_ASSERT_EQUAL(ob_mock_live(m), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_selftest(m), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_drain(m), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_stop(m), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_resume(m), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_start(m), 0);
	CU_ASSERT_EQUAL(ob_mock_start(m), OB_E_STATE);
	CU_ASSERT_STRING_EQUAL(ob_mock_error(m), "start: not at this point of its life");
	CU_ASSERT_EQUAL(ob_mock_node(m, "late", "x"), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_live(m), 0);
	CU_ASSERT_EQUAL(ob_mock_stop(m), 0);
	CU_ASSERT_EQUAL(ob_mock_stop(m), OB_E_DEAD);
	ob_mock_free(m);
	ob_mock_free(NULL);
}

static void test_foreign_descriptors(void)
{
	ob_module_desc d = plain;

	d.magic = 1;
	CU_ASSERT_PTR_NULL(ob_mock_new(&d, NULL));
	d = plain;
	d.abi_major = OB_ABI_MAJOR + 1;
	CU_ASSERT_PTR_NULL(ob_mock_new(&d, NULL));
	d = plain;
	d.abi_minor = OB_ABI_MINOR + 1;
	CU_ASSERT_PTR_NULL(ob_mock_new(&d, NULL));
	CU_ASSERT_PTR_NULL(ob_mock_new(NULL, NULL));
	/* a shorter one has no later hooks */
	d = plain;
	d.size = offsetof(ob_module_desc, selftest);
	trace[0] = '\0';
	on_start = NULL;
	ob_mock *m = ob_mock_new(&d, NULL);
	CU_ASSERT_EQUAL(ob_mock_begin(m), 0);
	ob_mock_free(m);
	CU_ASSERT_STRING_EQUAL(trace, "check start");
}

static void test_reconf(void)
{
	ob_mock *m = begin_with(NULL);
	json_t *good = json_pack("{s:i}", "limit", 3);
	json_t *bad = json_pack("{s:i}", "bad", 3);

	trace[0] = '\0';
	CU_ASSERT_EQUAL(ob_mock_reconf(m, bad), OB_E_INVAL);
	CU_ASSERT_STRING_EQUAL(ob_mock_error(m), "reconf: bad: is there");
	CU_ASSERT_EQUAL(ob_mock_reconf(m, good), 0);
	CU_ASSERT_STRING_EQUAL(trace, "try try apply");
	json_decref(good);
	json_decref(bad);
	ob_mock_free(m);
}

/* ---- inert before live, dead after stop ---- */

static void never(ob_ctx *ctx, ob_req req)
{
	CU_FAIL("called");
}

static void never_post(ob_ctx *ctx, void *arg)
{
	CU_FAIL("called");
}

static void never_work(void *arg)
{
	CU_FAIL("called");
}

static void never_timer(ob_ctx *ctx, ob_timer timer, void *arg)
{
	CU_FAIL("called");
}

static void never_call(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	CU_FAIL("called");
}

static void never_http(ob_ctx *ctx, const ob_http_response *res, void *arg)
{
	CU_FAIL("called");
}

static void never_admin(ob_ctx *ctx, const ob_admin_reply *reply, void *arg)
{
	CU_FAIL("called");
}

/* What goes out answers `code`, resp. 0, and does nothing. */
static void assert_inert(ob_ctx *ctx, ob_session session, int code)
{
	ob_target target = {.role = ob_role(ctx, "other")};
	ob_http_request request = {.size = sizeof(request), .url = "http://127.0.0.1/"};

	CU_ASSERT_EQUAL(ob_push(ctx, session, 1, "x", 1), code);
	CU_ASSERT_EQUAL(ob_push_json(ctx, session, 1, "{}"), code);
	CU_ASSERT_EQUAL(ob_session_close(ctx, session, 0, NULL), code);
	CU_ASSERT_EQUAL(ob_call(ctx, &target, 1, 0, NULL, 0, 0, never_call, NULL), 0);
	CU_ASSERT_EQUAL(ob_timer_start(ctx, 1, 0, never_timer, NULL), 0);
	CU_ASSERT_EQUAL(ob_timer_start(ctx, 1, 1, never_timer, NULL), 0);
	CU_ASSERT_EQUAL(ob_job(ctx, never_work, never_post, NULL), code);
	CU_ASSERT_EQUAL(ob_http_call(ctx, &request, never_http, NULL), code);
}

static void test_inert_before_live(void)
{
	on_start = NULL;
	ob_mock *m = ob_mock_new(&plain, NULL);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session session = ob_mock_session(m, NULL);

	CU_ASSERT_EQUAL(ob_on_id(ctx, 1, never), OB_E_STATE);
	CU_ASSERT_PTR_NULL(ob_state(ctx, "k", 8, 1));
	CU_ASSERT_EQUAL_FATAL(ob_mock_start(m), 0);
	CU_ASSERT_EQUAL(ob_on_id(ctx, 1000, never), 0);
	assert_inert(ctx, session, OB_E_STATE);
	ob_mock_reply r = ob_mock_send(m, 1000, 0, "x", 1);
	CU_ASSERT(r.ended && r.code == OB_E_STATE && r.req == 0);
	r = ob_mock_send_method(m, "a", 0, NULL, 0);
	CU_ASSERT(r.ended && r.code == OB_E_STATE);
	r = ob_mock_http(m, "GET", "/", NULL, 0);
	CU_ASSERT(r.ended && r.code == OB_E_STATE);
	CU_ASSERT_EQUAL(ob_post(ctx, never_post, NULL), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "k", "v", 1), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_kv_del(ctx, "k"), OB_E_STATE);
	ob_mock_advance(m, 10000);
	ob_mock_free(m);
}

static void test_dead_after_stop(void)
{
	ob_mock *m = begin_with(NULL);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session session = ob_mock_session(m, NULL);
	ob_node_info node = {.size = sizeof(node)};
	ob_module_info module = {.size = sizeof(module)};
	ob_view view = {.size = sizeof(view)};
	ob_session_info info = {.size = sizeof(info)};
	ob_codec codec = {.size = sizeof(codec)};
	ob_listen_options listen = {.size = sizeof(listen)};
	char text[OB_SESSION_TEXT];
	size_t len;

	CU_ASSERT_EQUAL(ob_mock_stop(m), 0);
	assert_inert(ctx, session, OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_post(ctx, never_post, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_admin(ctx, "verbs", NULL, never_admin, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_id(ctx, 5, never), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_id(ctx, 5, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "m", never, 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/", never, 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_event(ctx, OB_EVENT_NODE_UP, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 1, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_unknown(ctx, never), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_codec(ctx, &codec), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_policy(ctx, "p", NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_listen(ctx, &listen), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_refuse(ctx, -1, "x"), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_node(ctx, &node), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_module_get(ctx, &module), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_session_get(ctx, session, &info), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_session_text(ctx, session, text, sizeof(text)), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_session_find(ctx, "mock-0000000100000000"), 0);
	CU_ASSERT_EQUAL(ob_req_view(ctx, 1, &view), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_reply(ctx, 1, "", 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_reply_json(ctx, 1, "{}"), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_done(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_fail(ctx, 1, -1, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_msg_hold(ctx, &view), 0);
	CU_ASSERT_EQUAL(ob_msg_view(ctx, 1, &view), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_msg_release(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_timer_stop(ctx, 1), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_call_cancel(ctx, 1), OB_E_DEAD);
	ob_target to = {.role = 1};
	ob_call_options how = {.size = sizeof(how), .id = 1};
	ob_trace_info where = {.size = sizeof(where)};
	CU_ASSERT_EQUAL(ob_call_with(ctx, &to, &how, never_call, NULL), 0);
	CU_ASSERT_EQUAL(ob_trace(ctx, 0, &where), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_on_call_filter(ctx, 1, 0, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_counter(ctx, "c", ""), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "k", "", 0), OB_E_DEAD);
	CU_ASSERT_PTR_NULL(ob_kv_get(ctx, "k", &len));
	CU_ASSERT_EQUAL(ob_kv_del(ctx, "k"), OB_E_DEAD);
	CU_ASSERT_PTR_NULL(ob_kv_next(ctx, NULL));
	CU_ASSERT_EQUAL(ob_section_write(ctx, NULL, 1, 0, "", 0), OB_E_DEAD);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", "x"), OB_E_DEAD);
	CU_ASSERT_PTR_NULL(ob_state(ctx, "k", 8, 1));
	CU_ASSERT_PTR_NULL(ob_config(ctx, "name"));
	CU_ASSERT_EQUAL(ob_now_ms(ctx), 0);
	ob_mock_free(m);
}

/* ---- registering ---- */

static ob_verdict decide_client(ob_ctx *ctx, const ob_view *view)
{
	ob_verdict v = {.action = OB_LOCAL};

	seen++;
	switch (view->id) {
	case 1:
		v.action = OB_FORWARD;
		v.target.role = ob_role(ctx, "route");
		v.target.flags = OB_TARGET_STICKY;
		break;
	case 2:
		v.action = OB_DONE;
		break;
	case 3:
		v.action = OB_REFUSE;
		v.code = OB_E_BUSY;
		v.text = "later";
		break;
	case 4:
		v.action = OB_REFUSE;
		break;
	case 5:
		v.action = 0;
		break;
	default:
		break;
	}
	return v;
}

static int bad_codec_start(ob_ctx *ctx)
{
	ob_codec codec = {.size = sizeof(codec), .name = "x"};

	CU_ASSERT_EQUAL(ob_on_codec(ctx, &codec), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_codec(ctx, NULL), OB_E_INVAL);
	return 0;
}

static void test_registering(void)
{
	struct {
		uint32_t id;
		uint32_t flags;
		int rc;
	} rows[] = {
		{1000, OB_FROM_CLIENT, 0},
		/* the half that is taken takes the other half back */
		{1000, OB_FROM_CLIENT | OB_FROM_LINK, OB_E_EXISTS},
		{1000, OB_FROM_LINK, 0},
		{1001, OB_FROM_LINK, 0},
		{1001, OB_FROM_CLIENT | OB_FROM_LINK, OB_E_EXISTS},
		{1001, OB_FROM_CLIENT, 0},
		{1002, 0, OB_E_INVAL},
		{0x80000000u, OB_FROM_LINK, OB_E_INVAL},
		{0, OB_FROM_CLIENT, 0},
	};
	ob_mock *m = begin_with(bad_codec_start);
	ob_ctx *ctx = ob_mock_ctx(m);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(ob_on_id_flags(ctx, rows[i].id, never, rows[i].flags), rows[i].rc);
	}
	CU_ASSERT_EQUAL(ob_mock_registered(m), 5);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "a.b", never, 0), 0);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "a.b", never, 0), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "", never, 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "\xff", never, 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/a/*", never, 0), 0);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/a/*", never, 0), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/a*", never, 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "a", never, 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/admin", never, OB_HTTP_ADMIN), OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_on_client_message(ctx, decide_client), 0);
	CU_ASSERT_EQUAL(ob_on_client_message(ctx, decide_client), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_client_message(ctx, NULL), OB_E_INVAL);
	/* only in start */
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 0, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_event(ctx, 99, NULL), OB_E_INVAL);
	ob_listen_options o = {.size = sizeof(o), .transport = "ws", .codec = "c"};
	CU_ASSERT_EQUAL(ob_listen(ctx, &o), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_registered(m), 8);
	ob_mock_free(m);
}

static int listen_start(ob_ctx *ctx)
{
	ob_listen_options ws = {.size = sizeof(ws), .transport = "ws", .codec = "c", .port = 80};
	ob_listen_options un = {.size = sizeof(un), .transport = "unix", .codec = "c"};

	CU_ASSERT_EQUAL(ob_listen(ctx, &ws), 0);
	CU_ASSERT_EQUAL(ob_listen(ctx, &ws), OB_E_EXISTS);
	ws.transport = "carrier pigeon";
	CU_ASSERT_EQUAL(ob_listen(ctx, &ws), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_listen(ctx, &un), OB_E_INVAL);
	un.path = "/tmp/s";
	CU_ASSERT_EQUAL(ob_listen(ctx, &un), 0);
	ws = (ob_listen_options){.size = sizeof(ws), .transport = "tcp", .codec = "c"};
	CU_ASSERT_EQUAL(ob_listen(ctx, &ws), 0);
	CU_ASSERT_EQUAL(ob_listen(ctx, &ws), 0); /* any port: another one */
	return 0;
}

static void test_listeners(void)
{
	ob_mock *m = begin_with(listen_start);

	CU_ASSERT_EQUAL(ob_mock_listen_at(m, 0)->port, 80);
	CU_ASSERT_STRING_EQUAL(ob_mock_listen_at(m, 0)->transport, "ws");
	CU_ASSERT_STRING_EQUAL(ob_mock_listen_at(m, 1)->path, "/tmp/s");
	CU_ASSERT_PTR_NOT_NULL(ob_mock_listen_at(m, 3));
	CU_ASSERT_PTR_NULL(ob_mock_listen_at(m, 4));
	ob_mock_free(m);
}

/* ---- requests ---- */

static ob_view last_view;
static int second_end;
static int late_hold;

static void handle(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	seen++;
	last_req = req;
	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &view), 0);
	last_view = view;
	const char *how = ob_req_str(ctx, req, "how");
	if (how == NULL || strcmp(how, "return") == 0) {
		return;
	}
	if (strcmp(how, "reply") == 0) {
		ob_reply(ctx, req, "raw", 3);
	} else if (strcmp(how, "json") == 0) {
		ob_reply_json(ctx, req, "{s:i}", "code", 200);
	} else if (strcmp(how, "nojson") == 0) {
		CU_ASSERT_EQUAL(ob_reply_value(ctx, req, NULL), OB_E_INVAL);
	} else if (strcmp(how, "fail") == 0) {
		ob_fail(ctx, req, OB_E_DENIED, "no");
	} else if (strcmp(how, "odd") == 0) {
		ob_fail(ctx, req, -1, NULL);
	} else if (strcmp(how, "done") == 0) {
		ob_done(ctx, req);
	} else if (strcmp(how, "hold") == 0) {
		CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
		CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
		return;
	} else if (strcmp(how, "big") == 0) {
		CU_ASSERT_EQUAL(ob_reply(ctx, req, "0123456789abcdef", 16), OB_E_TOO_BIG);
	}
	second_end = ob_reply(ctx, req, "again", 5);
	late_hold = ob_request_hold(ctx, req);
}

static int handle_start(ob_ctx *ctx)
{
	CU_ASSERT_EQUAL(ob_on_method(ctx, "a.b.c.d", handle, 0), 0);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "a.b.c.one", handle, OB_ONE_WAY), 0);
	return ob_on_id(ctx, 1000, handle);
}

struct end_row {
	const char *body;
	int code;
	int status;
	bool silent;
	const char *data; /* to a client */
	const char *text;
};

static const struct end_row ends[] = {
	{"{\"how\":\"reply\"}", OB_OK, 200, false, "raw", ""},
	{"{\"how\":\"json\"}", OB_OK, 200, false, "{\"code\":200}", ""},
	{"{\"how\":\"nojson\"}", OB_E_APP, 500, false,
         "{\"code\":500,\"error\":\"the handler's answer is not JSON\"}",
         "the handler's answer is not JSON"},
	{"{\"how\":\"fail\"}", OB_E_DENIED, 403, false, "{\"code\":403,\"error\":\"no\"}", "no"},
	/* a code that may not travel is the application's failure */
	{"{\"how\":\"odd\"}", OB_E_APP, 500, false,
         "{\"code\":500,\"error\":\"the handler failed\"}", "the handler failed"},
	{"{\"how\":\"done\"}", OB_OK, 200, true, "", ""},
	{"{\"how\":\"return\"}", OB_E_APP, 500, false,
         "{\"code\":500,\"error\":\"the handler gave no answer\"}", "the handler gave no answer"},
	{"{no json", OB_E_BAD, 400, false, "{\"code\":400,\"error\":\"the body is not JSON\"}",
         "the body is not JSON"},
};

static void test_ends(void)
{
	ob_mock *m = begin_with(handle_start);

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		const struct end_row *row = &ends[i];
		second_end = late_hold = OB_E_STALE;
		ob_mock_reply r = ob_mock_send(m, 1000, 0, row->body, strlen(row->body));
		CU_ASSERT(r.ended);
		CU_ASSERT_FALSE(r.held);
		CU_ASSERT_EQUAL(r.code, row->code);
		CU_ASSERT_EQUAL(r.status, row->status);
		CU_ASSERT_EQUAL(r.silent, row->silent);
		CU_ASSERT_STRING_EQUAL(r.text, row->text);
		CU_ASSERT(same(r.data, r.len, row->data));
		/* exactly one end, and the handle is stale after it */
		CU_ASSERT_EQUAL(second_end, OB_E_STALE);
		CU_ASSERT_EQUAL(late_hold, OB_E_STALE);
		CU_ASSERT_EQUAL(ob_reply(ob_mock_ctx(m), last_req, "", 0), OB_E_STALE);
		CU_ASSERT_PTR_NULL(ob_req_json(ob_mock_ctx(m), last_req));
		/* a call by method is told by code and text alone */
		r = ob_mock_send_method(m, "a.b.c.d", 0, row->body, strlen(row->body));
		CU_ASSERT_EQUAL(r.code, row->code);
		CU_ASSERT_STRING_EQUAL(r.text, row->text);
		CU_ASSERT(row->code == OB_OK || r.len == 0);
	}
	CU_ASSERT_EQUAL(ob_mock_unended(m), 4);
	ob_mock_config(m, "limits.message", json_integer(9));
	ob_mock_reply r = ob_mock_send(m, 1000, 0, "0123456789", 10);
	CU_ASSERT_EQUAL(r.code, OB_E_TOO_BIG);
	ob_mock_config(m, "limits.message", json_integer(13));
	r = ob_mock_send(m, 1000, 0, "{\"how\":\"big\"}", 13);
	CU_ASSERT_EQUAL(r.code, OB_E_TOO_BIG);
	ob_mock_free(m);
}

static void test_view(void)
{
	ob_mock *m = begin_with(handle_start);
	const char *body = "{\"how\":\"hold\"}";
	ob_view view = {.size = sizeof(view)};

	ob_mock_reply r = ob_mock_send(m, 1000, OB_VIEW_NO_STATE, body, strlen(body));
	CU_ASSERT_EQUAL(last_view.id, 1000);
	CU_ASSERT_EQUAL(last_view.flags, OB_VIEW_CLIENT | OB_VIEW_NO_STATE);
	CU_ASSERT_EQUAL(last_view.budget_ms, 5000);
	CU_ASSERT_EQUAL(last_view.source, ob_mock_node_id("mock"));
	CU_ASSERT_NOT_EQUAL(last_view.session, 0);
	CU_ASSERT_EQUAL(last_view.len, strlen(body));
	/* held: the payload is gone with the callback, the JSON stays */
	CU_ASSERT(r.held && !r.ended);
	CU_ASSERT_EQUAL(ob_req_view(ob_mock_ctx(m), r.req, &view), 0);
	CU_ASSERT_PTR_NULL(view.data);
	CU_ASSERT_EQUAL(view.len, 0);
	CU_ASSERT_PTR_NOT_NULL(ob_req_json(ob_mock_ctx(m), r.req));
	CU_ASSERT_EQUAL(ob_reply(ob_mock_ctx(m), r.req, "now", 3), 0);
	r = ob_mock_reply_of(m, r.req);
	CU_ASSERT(r.ended && !r.held && same(r.data, r.len, "now"));

	/* a method's name stays with a held request, though the caller's string is gone */
	char name[] = "a.b.c.d";
	r = ob_mock_send_method(m, name, 0, body, strlen(body));
	memset(name, 'x', sizeof(name) - 1);
	CU_ASSERT_EQUAL(ob_req_view(ob_mock_ctx(m), r.req, &view), 0);
	CU_ASSERT_STRING_EQUAL(view.method, "a.b.c.d");
	CU_ASSERT_EQUAL(view.flags, OB_VIEW_LINK | OB_VIEW_CALL);
	view.size = 3;
	CU_ASSERT_EQUAL(ob_req_view(ob_mock_ctx(m), r.req, &view), OB_E_INVAL);

	/* one-way: nobody is answered, however it ends */
	r = ob_mock_send_json(m, 1000, OB_VIEW_ONE_WAY, "{s:s}", "how", "reply");
	CU_ASSERT(r.ended && r.silent && r.len == 0);
	r = ob_mock_send(m, 1000, OB_VIEW_ONE_WAY, "", 0);
	CU_ASSERT(r.ended && r.silent && r.code == OB_OK);
	r = ob_mock_send_method(m, "a.b.c.one", 0, body, strlen(body));
	CU_ASSERT(!r.ended && r.held);
	CU_ASSERT_EQUAL(last_view.flags, OB_VIEW_LINK | OB_VIEW_CALL | OB_VIEW_ONE_WAY);
	CU_ASSERT_EQUAL(ob_mock_send_json(m, 1, 0, "{s").code, OB_E_INVAL);
	ob_mock_free(m);
}

static void test_deadline(void)
{
	ob_mock *m = begin_with(handle_start);

	ob_mock_config(m, "call_timeout", json_integer(200));
	ob_mock_reply a = ob_mock_send_json(m, 1000, 0, "{s:s}", "how", "hold");
	ob_mock_advance(m, 199);
	CU_ASSERT(ob_mock_reply_of(m, a.req).held);
	ob_mock_advance(m, 1);
	ob_mock_reply r = ob_mock_reply_of(m, a.req);
	CU_ASSERT(r.ended && r.code == OB_E_DEADLINE && r.status == 504);
	CU_ASSERT_EQUAL(ob_reply(ob_mock_ctx(m), a.req, "late", 4), OB_E_STALE);

	/* the end of the module ends what it holds */
	a = ob_mock_send_json(m, 1000, 0, "{s:s}", "how", "hold");
	CU_ASSERT_EQUAL(ob_mock_stop(m), 0);
	r = ob_mock_reply_of(m, a.req);
	CU_ASSERT(r.ended && r.code == OB_E_GONE);
	CU_ASSERT_EQUAL(ob_mock_reply_of(m, 12345).size, 0);
	ob_mock_free(m);
}

/* Ended requests are forgotten, the oldest first; held ones are not. */
static void test_records_are_bounded(void)
{
	ob_mock *m = begin_with(handle_start);
	ob_mock_reply held = ob_mock_send_json(m, 1000, 0, "{s:s}", "how", "hold");
	ob_mock_reply first = ob_mock_send_json(m, 1000, 0, "{s:s}", "how", "reply");

	for (int i = 0; i < 1023; i++) {
		ob_mock_send_json(m, 1000, 0, "{s:s}", "how", "reply");
	}
	CU_ASSERT(ob_mock_reply_of(m, first.req).ended);
	ob_mock_send_json(m, 1000, 0, "{s:s}", "how", "reply");
	CU_ASSERT_EQUAL(ob_mock_reply_of(m, first.req).size, 0);
	CU_ASSERT(ob_mock_reply_of(m, held.req).held);
	ob_mock_free(m);
}

/* ---- where messages go ---- */

static int no_start(ob_ctx *ctx)
{
	return 0;
}

static ob_verdict decide_link(ob_ctx *ctx, const ob_view *view)
{
	ob_verdict v = {.action = OB_FORWARD};

	seen++;
	CU_ASSERT_EQUAL(view->session, 0);
	v.target.role = ob_role(ctx, view->id == 1000 ? "service" : "other");
	return v;
}

static json_t *error_body(ob_ctx *ctx, int code, const char *text)
{
	return json_pack("{s:i, s:s}", "error", ob_status(ctx, code), "why", text);
}

static int decide_start(ob_ctx *ctx)
{
	CU_ASSERT_EQUAL(ob_on_client_message(ctx, decide_client), 0);
	CU_ASSERT_EQUAL(ob_on_link_message(ctx, decide_link), 0);
	CU_ASSERT_EQUAL(ob_on_error_body(ctx, error_body), 0);
	return ob_on_unknown(ctx, handle);
}

struct way_row {
	uint32_t id;
	uint32_t flags;
	int action;
	bool ended;
	int code;
	const char *data; /* part of it */
};

static const struct way_row ways[] = {
	{0, 0, 0, true, OB_E_BAD, "2147483647"},
	{0x80000000u, 0, 0, true, OB_E_BAD, ""},
	{999, 0, 0, true, OB_E_DENIED, "reserved"},
	{100130, 0, 0, true, OB_E_DENIED, "reserved"},
	{1, 0, OB_FORWARD, false, OB_OK, ""},
	{2, 0, OB_DONE, true, OB_OK, ""},
	{3, 0, OB_REFUSE, true, OB_E_BUSY, "{\"error\":503,\"why\":\"later\"}"},
	{4, 0, OB_REFUSE, true, OB_E_DENIED, "not allowed"},
	{5, 0, 0, true, OB_E_APP, "no verdict"},
	/* OB_LOCAL with no handler of the id: the one for unknown ids */
	{6, 0, OB_LOCAL, true, OB_E_BAD, "not JSON"},
	/* for the role of this node: its own handlers */
	{1000, OB_VIEW_LINK, OB_LOCAL, true, OB_E_BAD, "not JSON"},
	{1001, OB_VIEW_LINK, OB_FORWARD, false, OB_OK, ""},
	/* a call is for this node: no decision */
	{1001, OB_VIEW_LINK | OB_VIEW_CALL, 0, true, OB_E_BAD, ""},
	{999, OB_VIEW_LINK | OB_VIEW_CALL, 0, true, OB_E_BAD, ""},
};

static void test_ways(void)
{
	ob_mock *m = begin_with(decide_start);

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		const struct way_row *row = &ways[i];
		ob_mock_reply r = ob_mock_send(m, row->id, row->flags, "?", 1);
		CU_ASSERT_EQUAL(r.action, row->action);
		CU_ASSERT_EQUAL(r.ended, row->ended);
		CU_ASSERT_EQUAL(r.code, row->code);
		CU_ASSERT_PTR_NOT_NULL(strstr((const char *)r.data, row->data));
	}
	ob_mock_reply r = ob_mock_send(m, 1, 0, "?", 1);
	CU_ASSERT_EQUAL(r.target.role, ob_role(ob_mock_ctx(m), "route"));
	CU_ASSERT_EQUAL(r.target.flags, OB_TARGET_STICKY);
	CU_ASSERT_EQUAL(r.req, 0);
	ob_mock_config(m, "session_closed_id", json_integer(7));
	CU_ASSERT_EQUAL(ob_mock_send(m, 7, 0, "?", 1).code, OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_mock_send(m, 100130, 0, "?", 1).code, OB_E_BAD);
	ob_mock_free(m);

	m = begin_with(no_start);
	CU_ASSERT_EQUAL(ob_mock_send(m, 6, 0, "?", 1).code, OB_E_NO_ROUTE);
	CU_ASSERT_EQUAL(ob_mock_send(m, 6, OB_VIEW_LINK, "?", 1).code, OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_mock_send_method(m, "x", 0, "?", 1).code, OB_E_NOT_FOUND);
	ob_mock_free(m);
}

static char order[16];

static int filter_a(ob_ctx *ctx, const ob_view *view)
{
	strcat(order, "a");
	return view->id == 7 ? OB_E_BUSY : 0;
}

static int filter_b(ob_ctx *ctx, const ob_view *view)
{
	strcat(order, "b");
	return view->id == 8 ? -3 : 0;
}

static int filter_c(ob_ctx *ctx, const ob_view *view)
{
	strcat(order, "c");
	return view->id == 9 ? ob_session_close(ctx, view->session, 0, "out") : 0;
}

static int filter_start(ob_ctx *ctx)
{
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 20, filter_c), 0);
	CU_ASSERT_EQUAL(ob_on_filter(ctx, -5, filter_a), 0);
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 20, filter_b), 0);
	return ob_on_id(ctx, 0, handle);
}

static void test_filters(void)
{
	ob_mock *m = begin_with(filter_start);
	struct {
		uint32_t id;
		uint32_t flags;
		const char *order;
		int code;
		int handled;
	} rows[] = {
		{1000, 0, "acb", OB_E_BAD, 1},
		{7, 0, "a", OB_E_BUSY, 0},
		{8, 0, "acb", OB_E_APP, 0},
		{9, 0, "acb", OB_OK, 0},
		{1000, OB_VIEW_LINK, "", OB_E_BAD, 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		order[0] = '\0';
		seen = 0;
		ob_mock_reply r = ob_mock_send(m, rows[i].id, rows[i].flags, "?", 1);
		CU_ASSERT_STRING_EQUAL(order, rows[i].order);
		CU_ASSERT_EQUAL(r.code, rows[i].code);
		CU_ASSERT_EQUAL(seen, rows[i].handled);
	}
	ob_mock_free(m);
}

/* ---- sessions and events ---- */

static void on_event(ob_ctx *ctx, const ob_event_info *info)
{
	char text[OB_SESSION_TEXT] = "";
	char line[200];

	if (info->session != 0) {
		/* still valid during the callback */
		CU_ASSERT_EQUAL(ob_session_text(ctx, info->session, text, sizeof(text)), 0);
	}
	snprintf(line, sizeof(line), "%d:%s%s", info->event, info->session != 0 ? text : info->name,
	         info->event >= OB_EVENT_NODE_UP ? info->role : "");
	note(line);
}

static void on_closed(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &view), 0);
	CU_ASSERT_EQUAL(view.flags, OB_VIEW_ONE_WAY);
	CU_ASSERT(same(view.data, view.len, "{}"));
	note("closed");
}

static int event_start(ob_ctx *ctx)
{
	for (int event = OB_EVENT_SESSION_OPENED; event <= OB_EVENT_NODE_DOWN; event++) {
		CU_ASSERT_EQUAL(ob_on_event(ctx, event, on_event), 0);
	}
	CU_ASSERT_EQUAL(ob_on_id_flags(ctx, 100130, on_closed, OB_FROM_LINK), 0);
	return ob_on_id(ctx, 1000, handle);
}

static void test_sessions(void)
{
	ob_mock *m = begin_with(event_start);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session_info info = {.size = sizeof(info)};
	char text[OB_SESSION_TEXT];

	trace[0] = '\0';
	ob_session near = ob_mock_session(m, NULL);
	ob_session far = ob_mock_session(m, "gate");
	CU_ASSERT_STRING_EQUAL(trace, "1:mock-0000000100000000");
	CU_ASSERT_EQUAL(ob_session_get(ctx, near, &info), 0);
	CU_ASSERT(info.local && strchr(info.peer, ':') != NULL);
	CU_ASSERT_EQUAL(ob_session_get(ctx, far, &info), 0);
	CU_ASSERT(!info.local && info.peer[0] == '\0' && info.node == ob_mock_node_id("gate"));
	CU_ASSERT_EQUAL(ob_session_text(ctx, far, text, sizeof(text)), 0);
	CU_ASSERT_STRING_EQUAL(text, "gate-0000000100000001");
	CU_ASSERT_EQUAL(ob_session_find(ctx, text), far);
	CU_ASSERT_EQUAL(ob_session_find(ctx, "gate-1"), 0);
	CU_ASSERT_EQUAL(ob_session_text(ctx, far, text, 5), OB_E_INVAL);

	/* who sends */
	CU_ASSERT_EQUAL(ob_mock_as(m, far), 0);
	ob_mock_send(m, 1000, OB_VIEW_LINK, "", 0);
	CU_ASSERT_EQUAL(last_view.session, far);
	CU_ASSERT_EQUAL(ob_mock_as(m, 0), 0);
	ob_mock_send(m, 1000, OB_VIEW_LINK, "", 0);
	CU_ASSERT_EQUAL(last_view.session, 0);
	ob_mock_send(m, 1000, 0, "", 0);
	ob_session own = last_view.session;
	CU_ASSERT(own != 0 && own != near);
	ob_mock_send(m, 1000, 0, "", 0);
	CU_ASSERT_EQUAL(last_view.session, own);

	/* a client that is closed is gone at once, another proxy's when that one says so */
	trace[0] = '\0';
	CU_ASSERT_EQUAL(ob_session_close(ctx, near, 1005, "x"), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_close(ctx, near, 4000, "bye"), 0);
	CU_ASSERT_STRING_EQUAL(trace, "2:mock-0000000100000000 closed");
	CU_ASSERT_EQUAL(ob_session_close(ctx, near, 4000, "bye"), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_push(ctx, near, 1, "", 0), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_mock_as(m, near), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_session_close(ctx, far, 0, NULL), 0);
	CU_ASSERT_EQUAL(ob_session_get(ctx, far, &info), 0);
	CU_ASSERT_EQUAL(ob_mock_close_at(m, 0)->code, 4000);
	CU_ASSERT_STRING_EQUAL(ob_mock_close_at(m, 0)->reason, "bye");
	CU_ASSERT_EQUAL(ob_mock_close_at(m, 1)->session, far);
	CU_ASSERT_EQUAL(ob_mock_close_at(m, 1)->code, 1000);
	CU_ASSERT_EQUAL(ob_mock_session_end(m, far), 0);
	CU_ASSERT_EQUAL(ob_mock_session_end(m, far), OB_E_STALE);
	trace[0] = '\0';
	CU_ASSERT_EQUAL(ob_mock_node_event(m, OB_EVENT_NODE_UP, "r1", "route"), 0);
	CU_ASSERT_STRING_EQUAL(trace, "3:r1route");
	CU_ASSERT_EQUAL(ob_mock_node_event(m, OB_EVENT_SESSION_OPENED, "r1", ""), OB_E_INVAL);
	ob_mock_free(m);
}

static char answers[512]; /* of questions about users */

static void user_answer(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	size_t at = strlen(answers);

	snprintf(answers + at, sizeof(answers) - at, "%s %d %d; ", (const char *)arg,
	         ob_status(ctx, res->code), (int)res->epoch);
}

static char ended[64]; /* events of ends */

static void on_end(ob_ctx *ctx, const ob_event_info *info)
{
	size_t at = strlen(ended);

	(void)ctx;
	snprintf(ended + at, sizeof(ended) - at, "%d ", info->event);
}

static int user_start(ob_ctx *ctx)
{
	int rc = ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, on_end);

	rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_REPLACED, on_end) : rc;
	rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_LOST, on_end) : rc;
	return rc;
}

static void test_pushes_to_many(void)
{
	ob_mock *m = begin_with(user_start);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session a = ob_mock_session(m, NULL);
	ob_session b = ob_mock_session(m, "far");
	ob_session list[] = {b, 77, a, b};
	const char *users[] = {"ada", "bob", "ada"};
	const char *wrong[] = {"ada", ""};

	CU_ASSERT_TRUE(OB_HAS(ctx, push_many) && OB_HAS(ctx, push_all));
	CU_ASSERT_EQUAL(ob_push_many(ctx, list, 4, 5, "x", 1), 2);
	CU_ASSERT_EQUAL(ob_mock_push_at(m, 0)->session, b);
	CU_ASSERT_EQUAL(ob_mock_push_at(m, 1)->session, a);
	CU_ASSERT_PTR_NULL(ob_mock_push_at(m, 2));
	CU_ASSERT_EQUAL(ob_push_many(ctx, list, 4, 0, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_many(ctx, NULL, 1, 5, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_many(ctx, list, OB_PUSH_MANY_MAX + 1, 5, "x", 1), OB_E_LIMIT);
	ob_mock_forget(m);

	CU_ASSERT_EQUAL(ob_session_bind(ctx, a, "ada", user_answer, word("a")), 0);
	ob_mock_run(m);
	CU_ASSERT_EQUAL(ob_push_users(ctx, users, 3, 6, "y", 1), 2);
	CU_ASSERT_EQUAL(ob_mock_push_at(m, 0)->session, a);
	CU_ASSERT_EQUAL(ob_mock_push_at(m, 0)->id, 6);
	CU_ASSERT_PTR_NULL(ob_mock_push_at(m, 1)); /* nobody hears for bob */
	CU_ASSERT_EQUAL(ob_push_users(ctx, wrong, 2, 6, "y", 1), OB_E_INVAL);

	CU_ASSERT_EQUAL(ob_push_all(ctx, ob_role(ctx, "proxy"), 7, "z", 1), 1);
	CU_ASSERT_EQUAL(ob_push_all(ctx, 0, 7, "z", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_mock_broadcast_at(m, 0)->role, ob_role(ctx, "proxy"));
	CU_ASSERT_EQUAL(ob_mock_broadcast_at(m, 0)->id, 7);
	CU_ASSERT_STRING_EQUAL((const char *)ob_mock_broadcast_at(m, 0)->data, "z");
	CU_ASSERT_PTR_NULL(ob_mock_broadcast_at(m, 1));
	CU_ASSERT_PTR_NULL(ob_mock_push_at(m, 1));
	ob_mock_free(m);
}

static char group_said[256];

static void on_group(ob_ctx *ctx, const ob_group_info *info)
{
	size_t len = strlen(group_said);

	(void)ctx;
	snprintf(group_said + len, sizeof(group_said) - len, "%c%s%u%s ",
	         info->event == OB_EVENT_GROUP_JOINED ? '+' : '-', info->group, info->members,
	         info->ended ? "!" : "");
}

static void on_count(ob_ctx *ctx, const ob_group_result *res, void *arg)
{
	(void)ctx;
	CU_ASSERT_EQUAL(res->code, OB_OK);
	CU_ASSERT_EQUAL(res->missing_len, 0);
	*(uint64_t *)arg = res->members * 100 + res->nodes;
}

static int group_start(ob_ctx *ctx)
{
	CU_ASSERT_EQUAL(ob_on_group(ctx, "r", NULL), OB_E_INVAL);
	return ob_on_group(ctx, "r", on_group);
}

static void test_groups(void)
{
	ob_mock *m = begin_with(group_start);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session a = ob_mock_session(m, NULL);
	ob_session far = ob_mock_session(m, "far");
	ob_session list[4];
	uint64_t counted = 0;

	group_said[0] = '\0';
	CU_ASSERT_TRUE(OB_HAS(ctx, group_join) && OB_HAS(ctx, secret_equal));
	CU_ASSERT_EQUAL(ob_on_group(ctx, "r", on_group), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_group_join(ctx, a, "r"), 0);
	CU_ASSERT_EQUAL(ob_group_join(ctx, a, "r"), 0);
	CU_ASSERT_EQUAL(ob_group_join(ctx, far, "r"), 0);
	CU_ASSERT_EQUAL(ob_group_join(ctx, a, "other"), 0);
	CU_ASSERT_EQUAL(ob_group_join(ctx, a, ""), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_group_join(ctx, 77, "r"), OB_E_STALE);
	CU_ASSERT_TRUE(ob_mock_in_group(m, far, "r") && !ob_mock_in_group(m, far, "other"));
	CU_ASSERT_EQUAL(ob_group_members(ctx, "r", list, 4), 1);
	CU_ASSERT_EQUAL(list[0], a);
	CU_ASSERT_EQUAL(ob_push_group(ctx, "r", 5, "x", 1), 2);
	CU_ASSERT_EQUAL(ob_mock_push_at(m, 0)->session, a);
	CU_ASSERT_EQUAL(ob_mock_push_at(m, 1)->session, far);
	CU_ASSERT_PTR_NULL(ob_mock_push_at(m, 2));
	CU_ASSERT_EQUAL(ob_push_group(ctx, "nobody", 5, "x", 1), 0);
	CU_ASSERT_EQUAL(ob_push_group(ctx, "r", 0, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_group_count(ctx, "r", on_count, &counted), 0);
	CU_ASSERT_EQUAL(counted, 0);
	ob_mock_run(m);
	CU_ASSERT_EQUAL(counted, 202);
	CU_ASSERT_EQUAL(ob_group_leave(ctx, far, "r"), 0);
	CU_ASSERT_EQUAL(ob_group_leave(ctx, far, "r"), 0);
	(void)ob_mock_session_end(m, a);
	CU_ASSERT_STRING_EQUAL(group_said, "+r1 -r0! ");
	CU_ASSERT_EQUAL(ob_push_group(ctx, "r", 5, "x", 1), 0);
	CU_ASSERT_EQUAL(ob_secret_equal(ctx, "a", "a"), 1);
	CU_ASSERT_EQUAL(ob_secret_equal(ctx, "a", "b"), 0);
	CU_ASSERT_EQUAL(ob_secret_equal(ctx, "", ""), 0);
	CU_ASSERT_EQUAL(ob_secret_equal(ctx, NULL, NULL), 0);
	ob_mock_free(m);
}

static unsigned gates_heard;
static ob_gate gates_gate;
static bool gates_hold;

static void gates_enter(ob_ctx *ctx, const ob_session_change *change)
{
	gates_heard += strcmp(change->to, "lobby") == 0 && json_is_object(change->data);
}

static int gates_before(ob_ctx *ctx, const ob_message_event *e)
{
	gates_gate = gates_hold ? ob_message_hold(ctx) : 0;
	return 0;
}

static int gates_raised(ob_ctx *ctx, const ob_raised *e)
{
	gates_heard += 100;
	return OB_RAISED_STOP;
}

static void gates_tick(ob_ctx *ctx, ob_timer timer, void *arg)
{
	gates_heard += 10000;
}

static void gates_ok(ob_ctx *ctx, ob_req req)
{
	ob_reply(ctx, req, "ok", 2);
}

static int gates_start(ob_ctx *ctx)
{
	const ob_listener l = {.size = sizeof(l), .prefix = "a."};

	CU_ASSERT_EQUAL(ob_session_allow(ctx, "guest", 5, 5), 0);
	CU_ASSERT_EQUAL(ob_session_allow(ctx, "lobby", 6, 7), 0);
	CU_ASSERT_EQUAL(ob_on_session_state(ctx, "lobby", gates_enter, NULL), 0);
	CU_ASSERT_EQUAL(ob_on_message_filter(ctx, OB_MESSAGE_BEFORE_CLIENT, 0, gates_before), 0);
	CU_ASSERT_EQUAL(ob_on_raised(ctx, &l, gates_raised), 0);
	CU_ASSERT_EQUAL(ob_on_raised(ctx, &l, gates_raised), 0);
	CU_ASSERT_EQUAL(ob_on_id(ctx, 5, gates_ok), 0);
	return ob_on_id(ctx, 6, gates_ok);
}

static void test_gates(void)
{
	ob_mock *m = begin_with(gates_start);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session a = ob_mock_session(m, NULL);

	gates_heard = 0;
	(void)ob_mock_as(m, a);
	CU_ASSERT_EQUAL(ob_mock_send(m, 5, 0, "", 0).code, OB_OK);
	CU_ASSERT_EQUAL(ob_mock_send(m, 6, 0, "", 0).code, OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_session_enter(ctx, a, "nowhere", NULL), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_session_enter(ctx, a, "lobby", json_pack("{}")), 0);
	CU_ASSERT_STRING_EQUAL(ob_mock_state(m, a), "lobby");
	CU_ASSERT_EQUAL(gates_heard, 1);
	gates_hold = true;
	ob_mock_reply reply = ob_mock_send(m, 6, 0, "", 0);
	CU_ASSERT_TRUE(reply.held);
	CU_ASSERT_EQUAL(ob_message_pass(ctx, gates_gate), 0);
	CU_ASSERT_STRING_EQUAL((const char *)ob_mock_reply_of(m, reply.req).data, "ok");
	reply = ob_mock_send(m, 6, 0, "", 0);
	CU_ASSERT_EQUAL(ob_message_end(ctx, gates_gate, OB_E_BUSY, NULL, NULL, 0), 0);
	CU_ASSERT_EQUAL(ob_mock_reply_of(m, reply.req).code, OB_E_BUSY);
	CU_ASSERT_EQUAL(ob_message_pass(ctx, gates_gate), OB_E_STALE);
	gates_hold = false;
	gates_heard = 0;
	CU_ASSERT_EQUAL(ob_event_raise(ctx, "a.b", NULL), 0);
	CU_ASSERT_EQUAL(gates_heard, 0);
	ob_mock_run(m);
	CU_ASSERT_EQUAL(gates_heard, 100);
	CU_ASSERT_EQUAL(ob_event_send(ctx, ob_role(ctx, "far"), "x", NULL), 1);
	CU_ASSERT_STRING_EQUAL(ob_mock_raised_at(m, 0)->name, "x");
	CU_ASSERT_NOT_EQUAL(ob_cron(ctx, "*/5 * * * *", 0, gates_tick, NULL), 0);
	CU_ASSERT_EQUAL(ob_cron(ctx, "x", 0, gates_tick, NULL), 0);
	gates_heard = 0;
	ob_mock_advance(m, 15 * 60 * 1000 + 1);
	CU_ASSERT_EQUAL(gates_heard, 30000);
	ob_mock_free(m);
}

static void test_users(void)
{
	ob_mock *m = begin_with(user_start);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session a = ob_mock_session(m, NULL);
	ob_session b = ob_mock_session(m, "far");
	ob_session_info info = {.size = sizeof(info)};

	answers[0] = '\0';
	CU_ASSERT_EQUAL(ob_session_bind(ctx, a, "", user_answer, word("a")), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_bind(ctx, a, "a\nb", user_answer, word("a")), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_bind(ctx, a, "ada", NULL, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_bind(ctx, 77, "ada", user_answer, word("a")), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_user_find(ctx, "ada", user_answer, word("nobody")), 0);
	CU_ASSERT_EQUAL(ob_session_bind(ctx, a, "ada", user_answer, word("a")), 0);
	CU_ASSERT_STRING_EQUAL(answers, "");
	ob_mock_run(m);
	CU_ASSERT_STRING_EQUAL(answers, "nobody 404 0; a 200 1; ");
	CU_ASSERT_EQUAL(ob_session_get(ctx, a, &info), 0);
	CU_ASSERT_STRING_EQUAL(info.user, "ada");
	CU_ASSERT_EQUAL(info.epoch, 1);
	info.size = offsetof(ob_session_info, user); /* a module built for 1.0 */
	info.user = NULL;
	CU_ASSERT_EQUAL(ob_session_get(ctx, b, &info), 0);
	CU_ASSERT_PTR_NULL(info.user);
	CU_ASSERT_EQUAL(info.size, offsetof(ob_session_info, user));

	CU_ASSERT_EQUAL(ob_push_user(ctx, "ada", 5, "x", 1), 0);
	CU_ASSERT_EQUAL(ob_push_user(ctx, "bob", 5, "x", 1), 0); /* nobody hears it */
	CU_ASSERT_EQUAL(ob_push_user(ctx, "ada", 0, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_mock_push_at(m, 0)->session, a);
	CU_ASSERT_PTR_NULL(ob_mock_push_at(m, 1));

	ended[0] = '\0';
	answers[0] = '\0';
	CU_ASSERT_EQUAL(ob_session_bind(ctx, b, "ada", user_answer, word("b")), 0);
	ob_mock_run(m);
	CU_ASSERT_STRING_EQUAL(answers, "b 200 2; ");
	CU_ASSERT_STRING_EQUAL(ended, "6 2 ");
	CU_ASSERT_EQUAL(ob_mock_close_at(m, 0)->code, 4001);
	CU_ASSERT_EQUAL(ob_session_get(ctx, a, &info), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_session_unbind(ctx, b, "bob"), 0);
	CU_ASSERT_EQUAL(ob_user_find(ctx, "ada", user_answer, word("found")), 0);
	ob_mock_run(m);
	CU_ASSERT_EQUAL(ob_session_unbind(ctx, b, "ada"), 0);
	CU_ASSERT_EQUAL(ob_user_find(ctx, "ada", user_answer, word("out")), 0);
	ob_mock_run(m);
	CU_ASSERT_STRING_EQUAL(answers, "b 200 2; found 200 2; out 404 0; ");
	CU_ASSERT_EQUAL(ob_mock_bind(m, b, "cid"), 0);
	CU_ASSERT_EQUAL(ob_kick_user(ctx, "cid", "bye"), 0);
	CU_ASSERT_EQUAL(ob_mock_close_at(m, 1)->code, 4003);
	CU_ASSERT_STRING_EQUAL(ob_mock_close_at(m, 1)->reason, "bye");
	ended[0] = '\0';
	CU_ASSERT_EQUAL(ob_mock_session_lost(m, b), 0);
	CU_ASSERT_STRING_EQUAL(ended, "7 ");
	CU_ASSERT_EQUAL(ob_mock_session_lost(m, b), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_mock_session_lost(m, ob_mock_session(m, NULL)), OB_E_INVAL);
	ob_mock_free(m);
}

static void test_locks_and_attributes(void)
{
	ob_mock *m = begin_with(NULL);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session s = ob_mock_session(m, NULL);
	uint8_t big[OB_ATTR_MAX + 1] = {0};
	size_t len;

	CU_ASSERT_EQUAL(ob_session_lock(ctx, s, "save", 1000), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_bind(m, s, "ada"), 0);
	CU_ASSERT_EQUAL(ob_session_lock(ctx, s, "save", OB_LOCK_MS_MAX + 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_lock(ctx, s, "", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_lock(ctx, s, "save", 1000), 0);
	CU_ASSERT_EQUAL(ob_session_lock(ctx, s, "kept", 1000), 0);
	CU_ASSERT_EQUAL(ob_mock_session_end(m, s), 0);
	ob_mock_advance(m, 500);
	CU_ASSERT_EQUAL(ob_session_lock(ctx, s, "save", 1000), 0); /* renewed, long after */
	CU_ASSERT_EQUAL(ob_session_lock(ctx, s, "new", 1000), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_session_unlock(ctx, s, "kept", OB_UNLOCK_KEEP), 0);
	CU_ASSERT_EQUAL(ob_session_unlock(ctx, s, "kept", 0), OB_E_NOT_FOUND);
	CU_ASSERT_TRUE(ob_mock_locked(m, s, "kept"));
	ob_mock_advance(m, 600);
	CU_ASSERT_FALSE(ob_mock_locked(m, s, "kept"));
	CU_ASSERT_TRUE(ob_mock_locked(m, s, "save"));
	CU_ASSERT_EQUAL(ob_session_unlock(ctx, s, "save", 0), 0);
	CU_ASSERT_FALSE(ob_mock_locked(m, s, "save"));

	s = ob_mock_session(m, NULL);
	CU_ASSERT_EQUAL(ob_session_set(ctx, s, "k", "v", 1), 0);
	CU_ASSERT_EQUAL(ob_session_set(ctx, s, "k", big, sizeof(big)), OB_E_TOO_BIG);
	CU_ASSERT_TRUE(same(ob_session_attr(ctx, s, "k", &len), 1, "v") && len == 1);
	CU_ASSERT_EQUAL(ob_session_set(ctx, s, "k", NULL, 0), 0);
	CU_ASSERT_PTR_NULL(ob_session_attr(ctx, s, "k", &len));
	for (int i = 0; i < (int)OB_ATTRS_MAX; i++) {
		char key[8];
		snprintf(key, sizeof(key), "k%d", i);
		CU_ASSERT_EQUAL(ob_session_set(ctx, s, key, "v", 1), 0);
	}
	CU_ASSERT_EQUAL(ob_session_set(ctx, s, "more", "v", 1), OB_E_LIMIT);
	ob_session far = ob_mock_session(m, "far");
	CU_ASSERT_EQUAL(ob_session_set(ctx, far, "k", "v", 1), 0);
	CU_ASSERT_PTR_NULL(ob_session_attr(ctx, far, "k", NULL)); /* its proxy has it */
	ob_mock_free(m);
}

static void test_pushes(void)
{
	ob_mock *m = begin_with(NULL);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session s = ob_mock_session(m, NULL);

	CU_ASSERT_EQUAL(ob_push(ctx, s, 0, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push(ctx, s, 0x80000000u, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_value(ctx, s, 1, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push(ctx, s, 5, "x", 1), 0);
	CU_ASSERT_EQUAL(ob_push_json(ctx, s, 6, "[i]", 1), 0);
	CU_ASSERT_EQUAL(ob_mock_push_at(m, 0)->id, 5);
	CU_ASSERT_STRING_EQUAL((const char *)ob_mock_push_at(m, 1)->data, "[1]");
	CU_ASSERT_PTR_NULL(ob_mock_push_at(m, 2));
	ob_mock_forget(m);
	CU_ASSERT_PTR_NULL(ob_mock_push_at(m, 0));
	int rc = 0;
	size_t sent = 0;
	while (rc == 0 && sent < 70000) {
		rc = ob_push(ctx, s, 1, "", 0);
		sent += rc == 0;
	}
	CU_ASSERT_EQUAL(rc, OB_E_BUSY);
	CU_ASSERT_EQUAL(sent, 65536);
	ob_mock_free(m);
}

/* ---- calls, timers, jobs, posts ---- */

static char result[256];

static void call_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	size_t at = strlen(result);

	snprintf(result + at, sizeof(result) - at, "%s%d:%.*s:%s;", (const char *)arg, res->code,
	         (int)res->len, (const char *)res->data, res->code != 0 ? res->text : "");
}

static void test_calls(void)
{
	ob_mock *m = begin_with(handle_start);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_target other = {.role = ob_role(ctx, "other")};
	ob_target self = {.role = ob_role(ctx, "service")};
	const char *reply = "{\"how\":\"reply\"}";

	result[0] = '\0';
	CU_ASSERT_EQUAL(ob_call(ctx, &other, 0, 0, NULL, 0, 0, call_ended, word("")), 0);
	CU_ASSERT_EQUAL(ob_call(ctx, &other, 1, 0, NULL, 0, 0, NULL, NULL), 0);
	ob_call_id a = ob_call(ctx, &other, 7, 0, "hi", 2, 0, call_ended, word("a"));
	ob_call_id b = ob_call_method(ctx, &other, "x.y", 0, NULL, 0, 300, call_ended, word("b"));
	ob_call_id c = ob_call(ctx, &other, 8, 0, NULL, 0, 0, call_ended, word("c"));
	CU_ASSERT(a != 0 && b != 0 && c != 0);
	CU_ASSERT(same(ob_mock_call_at(m, 0)->data, ob_mock_call_at(m, 0)->len, "hi"));
	CU_ASSERT_EQUAL(ob_mock_call_at(m, 0)->deadline_ms, 5000);
	CU_ASSERT_STRING_EQUAL(ob_mock_call_at(m, 1)->method, "x.y");
	CU_ASSERT_EQUAL(ob_mock_answer(m, a, 7, NULL, 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_mock_answer(m, a, OB_OK, "yes", 3), 0);
	CU_ASSERT_EQUAL(ob_mock_answer(m, a, OB_OK, "yes", 3), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_call_cancel(ctx, a), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_call_cancel(ctx, c), 0);
	CU_ASSERT_EQUAL(ob_mock_answer(m, c, OB_OK, NULL, 0), OB_E_STALE);
	CU_ASSERT(ob_mock_call_at(m, 2)->cancelled);
	ob_mock_advance(m, 300);
	CU_ASSERT_STRING_EQUAL(result, "a0:yes:;b-5005::no answer in time;");
	ob_mock_forget(m);
	CU_ASSERT_PTR_NULL(ob_mock_call_at(m, 0));

	/* to itself: the own handlers, in a later turn */
	result[0] = '\0';
	CU_ASSERT_NOT_EQUAL(
		ob_call(ctx, &self, 1000, 0, reply, strlen(reply), 0, call_ended, word("d")), 0);
	CU_ASSERT_NOT_EQUAL(ob_call_method(ctx, &self, "a.b.c.d", 0, "{\"how\":\"fail\"}", 14, 0,
	                                   call_ended, word("e")),
	                    0);
	CU_ASSERT_NOT_EQUAL(ob_call(ctx, &self, 4711, 0, NULL, 0, 0, call_ended, word("f")), 0);
	CU_ASSERT_NOT_EQUAL(
		ob_call(ctx, &self, 1000, 0, "{\"how\":\"hold\"}", 14, 50, call_ended, word("g")),
		0);
	CU_ASSERT_STRING_EQUAL(result, "");
	CU_ASSERT_EQUAL(ob_mock_run(m), 4);
	CU_ASSERT_STRING_EQUAL(result, "d0:raw:;e-5009::no;f-5002::no handler for it;");
	ob_mock_advance(m, 50);
	CU_ASSERT_PTR_NOT_NULL(strstr(result, "g-5005:"));

	/* what is open at the end of the module ends */
	result[0] = '\0';
	CU_ASSERT_NOT_EQUAL(ob_call(ctx, &other, 7, 0, NULL, 0, 0, call_ended, word("z")), 0);
	CU_ASSERT_EQUAL(ob_mock_stop(m), 0);
	CU_ASSERT_STRING_EQUAL(result, "z-5008::the module was taken out;");
	ob_mock_free(m);
}

static char filtered[256];
static int filter_says;

static int on_filter_event(ob_ctx *ctx, const ob_call_event *e)
{
	size_t at = strlen(filtered);

	snprintf(filtered + at, sizeof(filtered) - at, "%d:%d:%zu ", e->when, e->code,
	         e->view->len);
	return e->when == filter_says ? OB_E_DENIED : 0;
}

static void with_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	size_t at = strlen(result);

	snprintf(result + at, sizeof(result) - at, "%s%d,%d,%u:%.*s;", (const char *)arg, res->code,
	         res->failed, res->left, (int)res->len, (const char *)res->data);
}

static void call_on(ob_ctx *ctx, ob_req req)
{
	ob_target other = {.role = ob_role(ctx, "other")};
	ob_call_options how = {.size = sizeof(how), .id = 9};
	ob_trace_info where = {.size = sizeof(where)};

	CU_ASSERT_EQUAL(ob_trace(ctx, 0, &where), 0);
	CU_ASSERT_EQUAL(where.begins, 1);
	CU_ASSERT_NOT_EQUAL(ob_call_with(ctx, &other, &how, with_ended, word("in ")), 0);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
}

static int start_with(ob_ctx *ctx)
{
	int rc = handle_start(ctx);

	rc = rc == 0 ? ob_on_method(ctx, "w.on", call_on, 0) : rc;
	for (int when = 1; rc == 0 && when <= 4; when++) {
		rc = ob_on_call_filter(ctx, when, 0, on_filter_event);
	}
	CU_ASSERT_EQUAL(ob_on_call_filter(ctx, 5, 0, on_filter_event), OB_E_INVAL);
	return rc;
}

static void test_calls_with(void)
{
	ob_mock *m = begin_with(start_with);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_target other = {.role = ob_role(ctx, "other")};
	ob_target all = {.role = other.role, .flags = OB_TARGET_ALL};
	ob_call_options how = {.size = sizeof(how),
	                       .mode = OB_CALL_FAIL_SAFE,
	                       .method = "x.y",
	                       .data = "hi",
	                       .len = 2,
	                       .key = "k1",
	                       .key_len = 2,
	                       .retries = 3,
	                       .keep = "kept ",
	                       .keep_len = 6};

	result[0] = filtered[0] = '\0';
	ob_call_id a = ob_call_with(ctx, &other, &how, with_ended, NULL);
	const ob_mock_call *c = ob_mock_call_at(m, 0);
	CU_ASSERT(a != 0 && c->mode == OB_CALL_FAIL_SAFE && c->retries == 3 && c->key_len == 2 &&
	          memcmp(c->key, "k1", 2) == 0);
	CU_ASSERT_EQUAL(ob_mock_answer(m, a, OB_E_BUSY, "no", 2), 0);
	CU_ASSERT_STRING_EQUAL(result, "kept 0,-5004,0:;");
	CU_ASSERT_STRING_EQUAL(filtered, "1:0:2 2:-5004:0 ");
	/* all of a role: as many as the test says */
	result[0] = '\0';
	how.mode = OB_CALL_FAIL_FAST;
	CU_ASSERT_EQUAL(ob_mock_role_size(m, "other", 3), 0);
	a = ob_call_with(ctx, &all, &how, with_ended, NULL);
	CU_ASSERT_EQUAL(ob_mock_answer(m, a, OB_OK, "x", 1), 0);
	CU_ASSERT_EQUAL(ob_mock_call_at(m, 1)->left, 2);
	ob_mock_advance(m, 5000);
	CU_ASSERT_STRING_EQUAL(result, "kept 0,0,2:x;kept -5005,0,1:;kept -5005,0,0:;");
	CU_ASSERT_EQUAL(ob_mock_answer(m, a, OB_OK, "x", 1), OB_E_STALE);
	/* nobody, too big, refused by a filter: later, as any end */
	result[0] = '\0';
	CU_ASSERT_EQUAL(ob_mock_role_size(m, "other", 0), 0);
	CU_ASSERT_NOT_EQUAL(ob_call_with(ctx, &all, &how, with_ended, NULL), 0);
	ob_mock_config(m, "limits.message", json_integer(64));
	char big[65] = "";
	how.data = big;
	how.len = sizeof(big);
	CU_ASSERT_NOT_EQUAL(ob_call_with(ctx, &other, &how, with_ended, NULL), 0);
	CU_ASSERT_NOT_EQUAL(
		ob_call(ctx, &other, 7, 0, big, sizeof(big), 0, with_ended, word("big ")), 0);
	how.len = 1;
	filter_says = OB_CALL_BEFORE_OUT;
	CU_ASSERT_NOT_EQUAL(ob_call_with(ctx, &other, &how, with_ended, NULL), 0);
	CU_ASSERT_NOT_EQUAL(ob_call(ctx, &other, 7, 0, "", 0, 0, with_ended, word("p ")), 0);
	CU_ASSERT_STRING_EQUAL(result, "");
	ob_mock_run(m);
	CU_ASSERT_STRING_EQUAL(result,
	                       "kept -5003,0,0:;kept -5010,0,0:;big -5010,0,0:;kept -5009,0,0:;"
	                       "p -5009,0,0:;");
	/* options that make no sense */
	filter_says = 0;
	how.size = 1;
	CU_ASSERT_EQUAL(ob_call_with(ctx, &other, &how, with_ended, NULL), 0);
	how.size = sizeof(how);
	how.id = 5;
	CU_ASSERT_EQUAL(ob_call_with(ctx, &other, &how, with_ended, NULL), 0);
	/* made for a request: its time is the call's */
	ob_mock_forget(m);
	result[0] = filtered[0] = '\0';
	ob_mock_config(m, "call_timeout", json_integer(700));
	ob_mock_reply r = ob_mock_send_method(m, "w.on", 0, "{}", 2);
	CU_ASSERT_TRUE(r.held);
	CU_ASSERT_EQUAL(ob_mock_call_at(m, 0)->deadline_ms, 700);
	CU_ASSERT_EQUAL(ob_mock_call_at(m, 0)->request, r.req);
	ob_mock_advance(m, 700);
	CU_ASSERT_STRING_EQUAL(result, "in -5005,0,0:;");
	CU_ASSERT_TRUE(strncmp(filtered, "3:0:2 1:0:0 ", 12) == 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(filtered, "4:-5005:0"));
	filter_says = OB_CALL_BEFORE_IN;
	r = ob_mock_send_method(m, "w.on", 0, "{}", 2);
	CU_ASSERT_EQUAL(r.code, OB_E_DENIED);
	filter_says = 0;
	ob_mock_free(m);
}

static void tick(ob_ctx *ctx, ob_timer timer, void *arg)
{
	char line[64];

	snprintf(line, sizeof(line), "%s@%llu", (const char *)arg,
	         (unsigned long long)ob_now_ms(ctx) - 1000);
	note(line);
}

static void test_timers(void)
{
	ob_mock *m = begin_with(NULL);
	ob_ctx *ctx = ob_mock_ctx(m);

	trace[0] = '\0';
	CU_ASSERT_EQUAL(ob_timer_start(ctx, 1, 0, NULL, NULL), 0);
	ob_timer one = ob_timer_start(ctx, 25, 0, tick, word("one"));
	ob_timer many = ob_timer_start(ctx, 10, 20, tick, word("many"));
	ob_timer off = ob_timer_start(ctx, 5, 0, tick, word("off"));
	CU_ASSERT_EQUAL(ob_mock_timers(m), 3);
	CU_ASSERT_EQUAL(ob_timer_stop(ctx, off), 0);
	CU_ASSERT_EQUAL(ob_timer_stop(ctx, off), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_timer_stop(ctx, 0), OB_E_STALE);
	ob_mock_advance(m, 50);
	CU_ASSERT_STRING_EQUAL(trace, "many@10 one@25 many@30 many@50");
	CU_ASSERT_EQUAL(ob_timer_stop(ctx, one), OB_E_STALE);
	CU_ASSERT_NOT_EQUAL(many, 0);

	/* the end: repeating ones stop, a single one is not lost */
	trace[0] = '\0';
	CU_ASSERT_NOT_EQUAL(ob_timer_start(ctx, 100000, 0, tick, word("last")), 0);
	CU_ASSERT_EQUAL(ob_mock_drain(m), 0);
	CU_ASSERT_EQUAL(ob_mock_timers(m), 1);
	CU_ASSERT_EQUAL(ob_timer_start(ctx, 1, 1, tick, word("no")), 0);
	CU_ASSERT_EQUAL(ob_mock_stop(m), 0);
	CU_ASSERT_STRING_EQUAL(trace, "drain last@50 stop");
	ob_mock_free(m);
}

static void work(void *arg)
{
	*(int *)arg += 1;
}

static void done(ob_ctx *ctx, void *arg)
{
	*(int *)arg += 10;
}

static void *post_from_thread(void *ctx)
{
	static int count;

	for (int i = 0; i < 100; i++) {
		if (ob_post(ctx, done, &count) != 0) {
			return NULL;
		}
	}
	return &count;
}

static void test_jobs_and_posts(void)
{
	ob_mock *m = begin_with(NULL);
	ob_ctx *ctx = ob_mock_ctx(m);
	int n = 0;
	pthread_t thread;
	void *count;

	CU_ASSERT_EQUAL(ob_job(ctx, NULL, done, &n), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_post(ctx, NULL, &n), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_job(ctx, work, done, &n), 0);
	CU_ASSERT_EQUAL(ob_job(ctx, work, NULL, &n), 0);
	CU_ASSERT_EQUAL(ob_post(ctx, done, &n), 0);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(ob_mock_run(m), 3);
	CU_ASSERT_EQUAL(n, 22);
	CU_ASSERT_EQUAL(pthread_create(&thread, NULL, post_from_thread, ctx), 0);
	pthread_join(thread, &count);
	CU_ASSERT_PTR_NOT_NULL_FATAL(count);
	ob_mock_advance(m, 0);
	CU_ASSERT_EQUAL(*(int *)count, 1000);
	CU_ASSERT_EQUAL(ob_job(ctx, work, done, &n), 0);
	CU_ASSERT_EQUAL(ob_mock_stop(m), 0);
	CU_ASSERT_EQUAL(n, 33); /* a job that was begun comes back */
	ob_mock_free(m);
}

/* ---- kept messages ---- */

static ob_msg kept;

static int keep(ob_ctx *ctx, const ob_view *view)
{
	kept = ob_msg_hold(ctx, view);
	return OB_E_BUSY;
}

static int keep_start(ob_ctx *ctx)
{
	return ob_on_filter(ctx, 0, keep);
}

static void test_kept_messages(void)
{
	ob_mock *m = begin_with(keep_start);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_view view = {.size = sizeof(view)};

	CU_ASSERT_EQUAL(ob_mock_send(m, 77, 0, "bytes", 5).code, OB_E_BUSY);
	CU_ASSERT_NOT_EQUAL_FATAL(kept, 0);
	CU_ASSERT_EQUAL(ob_msg_view(ctx, kept, &view), 0);
	CU_ASSERT(view.id == 77 && same(view.data, view.len, "bytes"));
	CU_ASSERT_EQUAL(ob_msg_release(ctx, kept), 0);
	CU_ASSERT_EQUAL(ob_msg_release(ctx, kept), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_msg_view(ctx, kept, &view), OB_E_STALE);
	/* one that is not released goes with the module */
	ob_mock_send(m, 77, 0, "bytes", 5);
	ob_mock_free(m);
}

/* ---- HTTP ---- */

static void on_http(ob_ctx *ctx, ob_req req)
{
	ob_http_info info = {.size = sizeof(info)};
	const char *token = ob_http_header(ctx, req, "x-token");

	last_req = req;
	CU_ASSERT_EQUAL(ob_http_get(ctx, req, &info), 0);
	if (strcmp(info.path, "/hold") == 0) {
		ob_request_hold(ctx, req);
		return;
	}
	if (strcmp(info.path, "/fail") == 0) {
		ob_fail(ctx, req, OB_E_DENIED, "no");
		return;
	}
	if (strcmp(info.path, "/done") == 0) {
		ob_done(ctx, req);
		return;
	}
	CU_ASSERT_EQUAL(ob_http_set_header(ctx, req, "X-Seen", "yes"), 0);
	CU_ASSERT_EQUAL(ob_http_set_header(ctx, req, "Content-Type", "no"), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_http_set_header(ctx, req, "X", "a\r\nb: c"), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_http_reply(ctx, req, 99, NULL, NULL, 0), OB_E_INVAL);
	ob_reply_json(ctx, req, "[s, s, s, s, b, b, s?]", info.method, info.path, info.query,
	              info.tail, info.loopback, info.unix_socket, token);
}

static void on_page(ob_ctx *ctx, ob_req req)
{
	ob_http_reply(ctx, req, 201, "text/plain", "made", 4);
}

static int http_start(ob_ctx *ctx)
{
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/a/*", on_http, 0), 0);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "*", "/a/b/*", on_http, 0), 0);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/hold", on_http, 0), 0);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/fail", on_http, 0), 0);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/done", on_http, 0), 0);
	return ob_on_http(ctx, "POST", "/page", on_page, 0);
}

struct http_row {
	const char *method;
	const char *target;
	int status;
	const char *type;
	const char *data;
};

static const struct http_row https[] = {
	{"GET", "/a/x?q=1", 200, "application/json",
         "[\"GET\",\"/a/x\",\"q=1\",\"x\",true,false,null]"},
	/* the longest path wins, then the method; HEAD goes to GET */
	{"PUT", "/a/b/c", 200, "application/json",
         "[\"PUT\",\"/a/b/c\",\"\",\"c\",true,false,null]"},
	{"HEAD", "/a/", 200, "application/json", "[\"HEAD\",\"/a/\",\"\",\"\",true,false,null]"},
	{"POST", "/page", 201, "text/plain", "made"},
	{"GET", "/page", 405, "application/json",
         "{\"error\":{\"code\":\"method_not_allowed\",\"message\":\"the path has other "
         "methods\"}}\n"},
	{"GET", "/none", 404, "application/json",
         "{\"error\":{\"code\":\"not_found\",\"message\":\"no handler for this path\"}}\n"},
	{"GET", "/fail", 403, "application/json", "{\"code\":403,\"error\":\"no\"}"},
	{"GET", "/done", 204, "", ""},
};

static void test_http(void)
{
	ob_mock *m = begin_with(http_start);

	for (size_t i = 0; i < sizeof(https) / sizeof(https[0]); i++) {
		ob_mock_reply r = ob_mock_http(m, https[i].method, https[i].target, NULL, 0);
		CU_ASSERT(r.ended);
		CU_ASSERT_EQUAL(r.status, https[i].status);
		CU_ASSERT_STRING_EQUAL(r.content_type, https[i].type);
		CU_ASSERT(same(r.data, r.len, https[i].data));
	}
	ob_mock_reply r = ob_mock_http(m, "GET", "/page", NULL, 0);
	CU_ASSERT_STRING_EQUAL(ob_mock_reply_header(m, r.req, "allow"), "POST");

	/* headers and peer are those of one request */
	CU_ASSERT_EQUAL(ob_mock_http_header(m, "X-Token", "abc"), 0);
	CU_ASSERT_EQUAL(ob_mock_http_header(m, "X Token", "abc"), OB_E_INVAL);
	ob_mock_http_from(m, false, false);
	r = ob_mock_http(m, "GET", "/a/1", NULL, 0);
	CU_ASSERT(same(r.data, r.len, "[\"GET\",\"/a/1\",\"\",\"1\",false,false,\"abc\"]"));
	CU_ASSERT_STRING_EQUAL(ob_mock_reply_header(m, r.req, "x-seen"), "yes");
	CU_ASSERT_PTR_NULL(ob_mock_reply_header(m, r.req, "x-other"));
	r = ob_mock_http(m, "GET", "/a/1", NULL, 0);
	CU_ASSERT(same(r.data, r.len, "[\"GET\",\"/a/1\",\"\",\"1\",true,false,null]"));
	CU_ASSERT_EQUAL(ob_mock_http(m, "GET", "a", NULL, 0).code, OB_E_BAD);

	/* held: its facts are gone, a header and an answer still reach it */
	ob_http_info info = {.size = sizeof(info)};
	r = ob_mock_http(m, "GET", "/hold", NULL, 0);
	CU_ASSERT(r.held);
	CU_ASSERT_EQUAL(ob_http_get(ob_mock_ctx(m), r.req, &info), OB_E_STATE);
	CU_ASSERT_PTR_NULL(ob_http_header(ob_mock_ctx(m), r.req, "x-token"));
	CU_ASSERT_EQUAL(ob_http_set_header(ob_mock_ctx(m), r.req, "X-Late", "1"), 0);
	CU_ASSERT_EQUAL(ob_http_reply(ob_mock_ctx(m), r.req, 202, NULL, "ok", 2), 0);
	CU_ASSERT_EQUAL(ob_http_reply(ob_mock_ctx(m), r.req, 202, NULL, "ok", 2), OB_E_STALE);
	r = ob_mock_reply_of(m, r.req);
	CU_ASSERT(r.status == 202 && same(r.data, r.len, "ok") && r.content_type[0] == '\0');
	CU_ASSERT_STRING_EQUAL(ob_mock_reply_header(m, r.req, "X-Late"), "1");
	/* a message is no HTTP request */
	CU_ASSERT_EQUAL(ob_http_get(ob_mock_ctx(m), 17, &info), OB_E_STALE);
	ob_mock_free(m);
}

static void http_ended(ob_ctx *ctx, const ob_http_response *res, void *arg)
{
	size_t at = strlen(result);

	snprintf(result + at, sizeof(result) - at, "%s%d,%d,%s,%.*s;", (const char *)arg, res->code,
	         res->status, res->content_type, (int)res->len, (const char *)res->data);
}

static void test_http_calls(void)
{
	ob_mock *m = begin_with(NULL);
	ob_ctx *ctx = ob_mock_ctx(m);
	const char *headers[] = {"A: b", NULL};
	ob_http_request q = {
		.size = sizeof(q),
		.url = "http://127.0.0.1/x",
		.headers = headers,
		.body = "body",
		.body_len = 4,
		.max_body = 3,
	};

	result[0] = '\0';
	q.url = "ftp://x";
	CU_ASSERT_EQUAL(ob_http_call(ctx, &q, http_ended, NULL), OB_E_INVAL);
	q.url = "http://127.0.0.1/x";
	for (int i = 0; i < 5; i++) {
		static const char *const names[] = {"a", "b", "c", "d", "e"};
		q.timeout_ms = i == 3 ? 70 : 0;
		CU_ASSERT_EQUAL(ob_http_call(ctx, &q, http_ended, word(names[i])), 0);
	}
	const ob_mock_http_call *call = ob_mock_http_call_at(m, 0);
	CU_ASSERT_STRING_EQUAL(call->method, "GET");
	CU_ASSERT_STRING_EQUAL(call->headers[0], "A: b");
	CU_ASSERT_PTR_NULL(call->headers[1]);
	CU_ASSERT(same(call->body, call->body_len, "body"));
	CU_ASSERT_EQUAL(call->timeout_ms, 5000);
	CU_ASSERT_EQUAL(ob_mock_http_answer(m, call->call, 200, "text/x", "abc", 3), 0);
	CU_ASSERT_EQUAL(ob_mock_http_answer(m, call->call, 200, "text/x", "abc", 3), OB_E_STALE);
	call = ob_mock_http_call_at(m, 1);
	CU_ASSERT_EQUAL(ob_mock_http_answer(m, call->call, 200, NULL, "abcd", 4), 0);
	call = ob_mock_http_call_at(m, 2);
	CU_ASSERT_EQUAL(ob_mock_http_fail(m, call->call, OB_E_MAYBE_SENT, "cut"), 0);
	ob_mock_advance(m, 70);
	CU_ASSERT_EQUAL(ob_mock_stop(m), 0);
	CU_ASSERT_STRING_EQUAL(result, "a0,200,text/x,abc;b-5010,0,,;c-5007,0,,;d-5005,0,,;"
	                               "e-5008,0,,;");
	ob_mock_free(m);
}

/* ---- administration ---- */

static void on_admin(ob_ctx *ctx, const ob_admin_reply *reply, void *arg)
{
	size_t at = strlen(result);

	snprintf(result + at, sizeof(result) - at, "%d%s;", reply->status,
	         json_is_object(reply->body) ? "{}" : "");
}

static void take_verbs(void *arg, const ob_admin_reply *reply)
{
	*(json_t **)arg = json_deep_copy(reply->body);
}

static int admin_start(ob_ctx *ctx)
{
	CU_ASSERT_EQUAL(ob_admin(ctx, "verbs", NULL, on_admin, NULL), 0);
	CU_ASSERT_EQUAL(ob_admin(ctx, "stop", json_object(), on_admin, NULL), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/modules", never, OB_HTTP_ADMIN), 0);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/modules/tx/*", never, OB_HTTP_ADMIN), 0);
	/* an administrative path is one only with the flag, and the flag only for such a path */
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/sessions", never, 0), OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_on_http(ctx, "GET", "/mine", never, OB_HTTP_ADMIN), OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", "sesame"), 1);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", NULL), 0);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "rpc.token", "x"), OB_E_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(json_string_value(ob_config(ctx, "http.token")), "***");
	return 0;
}

static void test_admin(void)
{
	json_t *verbs = NULL;

	on_start = admin_start;
	ob_mock *m = ob_mock_new(&plain, NULL);
	/* the host's own list of verbs: what the rehearsal uses */
	ob__admin_run(NULL, "verbs", NULL, take_verbs, &verbs);
	CU_ASSERT_EQUAL(ob_mock_verbs(m, verbs), 0);
	CU_ASSERT_EQUAL(ob_mock_verbs(m, json_object()), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_mock_secret(m, "http.token", "sesame"), 0);
	ob_mock_admin(m, true);
	result[0] = '\0';
	CU_ASSERT_EQUAL(ob_mock_begin(m), 0);
	CU_ASSERT_STRING_EQUAL(result, "200{};");
	ob_ctx *ctx = ob_mock_ctx(m);
	CU_ASSERT_EQUAL(ob_admin(ctx, "sessions", json_pack("{s:i}", "limit", 1), on_admin, NULL),
	                0);
	CU_ASSERT_EQUAL(ob_admin(ctx, "drain", NULL, on_admin, NULL), 0);
	CU_ASSERT_STRING_EQUAL(ob_mock_verb_at(m, 0)->verb, "sessions");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(ob_mock_verb_at(m, 0)->args, "limit")),
	                1);
	CU_ASSERT_EQUAL(ob_mock_verb_answer(m, ob_mock_verb_at(m, 0)->call, 404, json_object()), 0);
	CU_ASSERT_EQUAL(ob_mock_verb_answer(m, ob_mock_verb_at(m, 0)->call, 404, json_object()),
	                OB_E_STALE);
	ob_mock_admin(m, false);
	CU_ASSERT_EQUAL(ob_admin(ctx, "node", json_object(), on_admin, NULL), OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_secret_check(ctx, "http.token", "sesame"), OB_E_DENIED);
	ob_mock_free(m);
	CU_ASSERT_STRING_EQUAL(result, "200{};404{};503;");
}

/* ---- codecs and policies ---- */

static int codec_breaks;

static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	*(uint32_t *)state += 1;
	if (len < 2 || codec_breaks == 1) {
		out->kind = OB_PACKET_NEED;
		out->need = codec_breaks == 1 ? 1 : 2;
		return 0;
	}
	out->kind = codec_breaks == 2 ? 77 : OB_PACKET_MESSAGE;
	out->id = data[0];
	out->data = codec_breaks == 3 ? data + 2 : data + 1;
	out->len = 1;
	return codec_breaks == 4 ? 0 : (codec_breaks == 5 ? len + 1 : 2);
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	out[0] = (uint8_t)packet->id;
	memcpy(out + 1, packet->data, packet->len);
	return packet->len + 1 + (codec_breaks == 6);
}

static int migrate(ob_ctx *ctx, uint32_t from, const void *old_state, void *state)
{
	return 0;
}

static int codec_open(ob_ctx *ctx, void *state, const ob_codec_open *info)
{
	*(uint32_t *)state = (uint32_t)info->arg + info->encode;
	return strcmp(info->transport, "tcp") == 0 ? 1 : OB_E_DENIED;
}

static size_t codec_close(ob_ctx *ctx, void *state, uint16_t code, const char *reason, uint8_t *out,
                          size_t cap)
{
	return codec_breaks == 1 ? cap + 1
	                         : (size_t)snprintf((char *)out, cap, "%u %s", code, reason);
}

static size_t codec_wake(ob_ctx *ctx, void *state, ob_packet *out)
{
	out->kind = codec_breaks == 1 ? OB_PACKET_NEED : OB_PACKET_ANSWER;
	out->data = codec_breaks == 2 ? NULL : (uint8_t *)state;
	out->len = 4;
	out->kind_word = codec_breaks == 3 ? "Big" : codec_breaks == 4 ? "" : "small";
	return codec_breaks == 5;
}

static int codec_check(ob_ctx *ctx, const ob_codec_open *info, ob_err *err)
{
	return info->encode < 2 ? 0 : codec_breaks == 1 ? -1 : ob_err_set(err, "too much");
}

static ob_codec codec = {
	.size = sizeof(ob_codec),
	.state_size = 4,
	.state_ver = 1,
	.overhead = 1,
	.name = "tiny",
	.decode = decode,
	.encode = encode,
};

static int pick(ob_ctx *ctx, const ob_choice *choice)
{
	return (int)choice->role - 1;
}

static int codec_start(ob_ctx *ctx)
{
	CU_ASSERT_EQUAL(ob_on_policy(ctx, "pick", pick), 0);
	return ob_on_codec(ctx, &codec);
}

static void test_codecs(void)
{
	ob_mock *m = begin_with(codec_start);
	uint32_t state = 0;
	uint8_t wire[8] = {9, 'x', 7};
	ob_packet p;

	CU_ASSERT_EQUAL(ob_mock_codec(m, "tiny")->state_size, 4);
	CU_ASSERT_PTR_NULL(ob_mock_codec(m, "other"));
	CU_ASSERT_EQUAL(ob_mock_decode(m, "other", NULL, wire, 1, true, 8, &p), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_mock_decode(m, "tiny", &state, wire, 3, true, 8, &p), 2);
	CU_ASSERT(p.kind == OB_PACKET_MESSAGE && p.id == 9 && p.len == 1 && p.data[0] == 'x');
	CU_ASSERT_EQUAL(ob_mock_decode(m, "tiny", &state, wire + 2, 1, true, 8, &p), 0);
	CU_ASSERT(p.kind == OB_PACKET_NEED && p.need == 2);
	CU_ASSERT_EQUAL(state, 2);
	CU_ASSERT_EQUAL(ob_mock_decode(m, "tiny", &state, wire, 0, true, 8, &p), OB_E_INVAL);
	for (codec_breaks = 1; codec_breaks <= 5; codec_breaks++) {
		CU_ASSERT_EQUAL(ob_mock_decode(m, "tiny", &state, wire, 2, true, 8, &p), OB_E_BAD);
		CU_ASSERT_NOT_EQUAL(ob_mock_error(m)[0], '\0');
	}
	p = (ob_packet){.kind = OB_PACKET_REPLY, .id = 3, .data = wire, .len = 1};
	CU_ASSERT_EQUAL(ob_mock_encode(m, "tiny", &state, &p, wire + 2, 2), 3); /* more room */
	codec_breaks = 0;
	CU_ASSERT_EQUAL(ob_mock_encode(m, "tiny", &state, &p, wire + 2, 2), 2);
	CU_ASSERT_EQUAL(ob_mock_encode(m, "tiny", &state, &p, wire + 2, 1), OB_E_INVAL);

	ob_candidate nodes[2] = {{.size = sizeof(ob_candidate)}, {.size = sizeof(ob_candidate)}};
	ob_choice choice = {.size = sizeof(choice), .role = 2, .candidates = nodes, .len = 2};
	CU_ASSERT_EQUAL(ob_mock_choose(m, "pick", &choice), 1);
	CU_ASSERT_EQUAL(ob_mock_choose(m, "none", &choice), OB_E_NOT_FOUND);
	choice.role = 3;
	CU_ASSERT_EQUAL(ob_mock_choose(m, "pick", &choice), OB_E_APP);

	/* without the hooks there is nothing to be asked */
	ob_err err;
	ob_codec_open info = {.transport = "tcp"};
	CU_ASSERT_EQUAL(ob_mock_codec_open(m, "tiny", &state, NULL), 0);
	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "tiny", &state, &p), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_mock_codec_check(m, "tiny", &info, &err), 0);
	info.encode = 1;
	CU_ASSERT_EQUAL(ob_mock_codec_check(m, "tiny", &info, &err), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_mock_codec_check(m, "none", &info, &err), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_mock_codec_open(m, "none", &state, NULL), OB_E_NOT_FOUND);

	/* the next generation's codec: connections hold state of this one */
	ob_mock *next = ob_mock_next(m, &plain, NULL);
	codec.state_size = 8;
	CU_ASSERT_EQUAL(ob_mock_start(next), OB_E_STATE);
	codec.state_ver = 2;
	CU_ASSERT_EQUAL(ob_mock_start(next), OB_E_STATE);
	codec.migrate = migrate;
	CU_ASSERT_EQUAL(ob_mock_start(next), 0);
	codec.state_size = 4;
	codec.state_ver = 1;
	codec.migrate = NULL;
	ob_mock_free(next);
	ob_mock_free(m);
}

static void test_codec_hooks(void)
{
	ob_codec before = codec;
	ob_codec_open info = {.encode = 1, .transport = "tcp"};
	uint8_t out[OB_CODEC_LAST_WORDS];
	uint32_t state = 0;
	ob_err err;
	ob_packet p;

	codec.arg = 40;
	codec.open = codec_open;
	codec.close = codec_close;
	codec.wake = codec_wake;
	codec.conf_check = codec_check;
	ob_mock *m = begin_with(codec_start);
	CU_ASSERT_EQUAL(ob_mock_codec_open(m, "tiny", &state, &info), 0);
	CU_ASSERT_EQUAL(state, 41);
	CU_ASSERT_EQUAL(ob_mock_codec_open(m, "tiny", &state, NULL), OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_mock_codec_check(m, "tiny", &info, &err), 0);
	info.encode = 2;
	CU_ASSERT_EQUAL(ob_mock_codec_check(m, "tiny", &info, &err), OB_E_INVAL);
	CU_ASSERT_STRING_EQUAL(err.text, "too much");
	CU_ASSERT_EQUAL(ob_mock_codec_close(m, "tiny", &state, 7, "x", out, sizeof(out)), 3);
	CU_ASSERT_EQUAL(memcmp(out, "7 x", 3), 0);
	CU_ASSERT_EQUAL(ob_mock_codec_close(m, "tiny", &state, 7, "x", out, 9), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_mock_codec_close(m, "none", &state, 7, "x", out, sizeof(out)),
	                OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "tiny", &state, &p), 0);
	CU_ASSERT(p.kind == OB_PACKET_ANSWER && p.data == (uint8_t *)&state);
	codec_breaks = 1;
	CU_ASSERT_EQUAL(ob_mock_codec_close(m, "tiny", &state, 7, "x", out, sizeof(out)), OB_E_BAD);
	CU_ASSERT_EQUAL(ob_mock_codec_check(m, "tiny", &info, &err), -1);
	CU_ASSERT_STRING_EQUAL(ob_mock_error(m), "conf_check gave no reason");
	for (codec_breaks = 1; codec_breaks <= 5; codec_breaks++) {
		CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "tiny", &state, &p), OB_E_BAD);
	}
	codec_breaks = 0;

	/* states that nobody has opened are another version's */
	ob_mock *next = ob_mock_next(m, &plain, NULL);
	CU_ASSERT_EQUAL(ob_mock_start(next), 0);
	ob_mock_free(next);
	ob_mock_free(m);
	codec.open = NULL;
	codec.size = offsetof(ob_codec, arg); /* of a header of before */
	m = begin_with(codec_start);
	CU_ASSERT_PTR_NULL(ob_mock_codec(m, "tiny")->close);
	codec.open = codec_open;
	codec.size = sizeof(codec);
	next = ob_mock_next(m, &plain, NULL);
	CU_ASSERT_EQUAL(ob_mock_start(next), OB_E_STATE);
	codec = before;
	ob_mock_free(next);
	ob_mock_free(m);
}

static char viewed[64];

static void by_name(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	snprintf(viewed, sizeof(viewed), "%.*s", (int)v.name_len, v.name != NULL ? v.name : "");
	ob_done(ctx, req);
}

static int names_start(ob_ctx *ctx)
{
	CU_ASSERT_EQUAL(ob_on_name(ctx, "", by_name, OB_FROM_LINK), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_name(ctx, "a\xff", by_name, OB_FROM_LINK), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_name(ctx, "foobar", by_name, OB_FROM_CLIENT), 0);
	return ob_on_name(ctx, "chat.send", by_name, OB_FROM_CLIENT | OB_FROM_LINK);
}

static void test_names(void)
{
	ob_mock *m = begin_with(names_start);
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session s = ob_mock_session(m, NULL);

	CU_ASSERT_EQUAL(ob_name_id(ctx, "foobar"), 0x7f9cf968u);
	CU_ASSERT_EQUAL(ob_name_id(ctx, "a\nb"), 0);
	CU_ASSERT_STRING_EQUAL(ob_name_of(ctx, 0x7f9cf968u), "foobar");
	CU_ASSERT_PTR_NULL(ob_name_of(ctx, ob_name_id(ctx, "other")));
	CU_ASSERT_EQUAL(ob_mock_send(m, 0x7f9cf968u, OB_VIEW_CLIENT, "1", 1).code, OB_OK);
	CU_ASSERT_STRING_EQUAL(viewed, "foobar");
	CU_ASSERT_EQUAL(ob_mock_config(m, "names", json_pack("{s:i}", "login", 1000)), 0);
	CU_ASSERT_EQUAL(ob_name_id(ctx, "login"), 1000);
	CU_ASSERT_STRING_EQUAL(ob_name_of(ctx, 1000), "login");
	CU_ASSERT_EQUAL(ob_push_name(ctx, s, "other", "1", 1), 0);
	CU_ASSERT_EQUAL(ob_push_name(ctx, s, "", "1", 1), OB_E_INVAL);
	CU_ASSERT_STRING_EQUAL(ob_name_of(ctx, ob_name_id(ctx, "other")), "other");

	/* the table, else the first word, but not for a node of that very role */
	CU_ASSERT_EQUAL(ob_mock_route(m, 1000, 1000, "hall"), 0);
	CU_ASSERT_EQUAL(ob_route_name(ctx, "login", 5), ob_role(ctx, "hall"));
	CU_ASSERT_EQUAL(ob_route_name(ctx, "chat.send", 9), ob_role(ctx, "chat"));
	CU_ASSERT_EQUAL(ob_route_name(ctx, "service.x", 9), 0);
	CU_ASSERT_EQUAL(ob_route_name(ctx, "plain", 5), 0);
	CU_ASSERT_EQUAL(ob_route_name(ctx, ".x", 2), 0);

	/* taken back */
	CU_ASSERT_EQUAL(ob_off_name(ctx, "chat.send"), 0);
	CU_ASSERT_EQUAL(ob_off_name(ctx, "chat.send"), OB_E_NOT_FOUND);
	CU_ASSERT_NOT_EQUAL(
		ob_mock_send(m, ob_name_id(ctx, "chat.send"), OB_VIEW_CLIENT, "1", 1).code, OB_OK);
	CU_ASSERT_EQUAL(ob_mock_send(m, 0x7f9cf968u, OB_VIEW_CLIENT, "1", 1).code, OB_OK);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "user.a.b.c", by_name, 0), 0);
	CU_ASSERT_EQUAL(ob_off_method(ctx, "user.a.b.c"), 0);
	CU_ASSERT_EQUAL(ob_off_method(ctx, "user.a.b.c"), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_on_method(ctx, "user.a.b.c", by_name, 0), 0);
	ob_mock_free(m);
}

/* ---- memory ---- */

static void test_kv(void)
{
	ob_mock *m = begin_with(NULL);
	ob_ctx *ctx = ob_mock_ctx(m);
	char *big = calloc(1, (1 << 20) + 1);
	char key[300];
	size_t len;

	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "", "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, key, "x", 1), OB_E_INVAL);
	key[255] = '\0';
	CU_ASSERT_EQUAL(ob_kv_set(ctx, key, "x", 1), 0);
	CU_ASSERT_EQUAL(ob_kv_del(ctx, key), 0);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "b", big, (1 << 20) + 1), OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "b", "two", 3), 0);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "a", NULL, 0), 0);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "c", "three", 5), 0);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "b", "TWO", 3), 0);
	const void *two = ob_kv_get(ctx, "b", &len);
	CU_ASSERT(same(two, len, "TWO"));
	CU_ASSERT_PTR_NOT_NULL(ob_kv_get(ctx, "a", &len));
	CU_ASSERT_EQUAL(len, 0);
	CU_ASSERT_PTR_NULL(ob_kv_get(ctx, "d", &len));
	CU_ASSERT_STRING_EQUAL(ob_kv_next(ctx, NULL), "a");
	CU_ASSERT_STRING_EQUAL(ob_kv_next(ctx, "a"), "b");
	CU_ASSERT_EQUAL(ob_kv_del(ctx, "b"), 0);
	CU_ASSERT_EQUAL(ob_kv_del(ctx, "b"), OB_E_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(ob_kv_next(ctx, "b"), "c");
	CU_ASSERT_PTR_NULL(ob_kv_next(ctx, "c"));
	int rc = 0;
	for (int i = 0; i < 70 && rc == 0; i++) {
		snprintf(key, sizeof(key), "big %d", i);
		rc = ob_kv_set(ctx, key, big, 1 << 20);
	}
	CU_ASSERT_EQUAL(rc, OB_E_LIMIT);
	CU_ASSERT_STRING_EQUAL(key, "big 63");
	free(big);
	ob_mock_free(m);
}

static void test_state_and_counters(void)
{
	ob_mock *m = begin_with(NULL);
	ob_ctx *ctx = ob_mock_ctx(m);
	uint64_t *block = ob_state(ctx, "b", 8, 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(block);
	*block = 42;
	CU_ASSERT_PTR_EQUAL(ob_state(ctx, "b", 8, 1), block);
	CU_ASSERT_PTR_NULL(ob_state(ctx, "b", 16, 1));
	CU_ASSERT_PTR_NULL(ob_state(ctx, "z", 0, 1));
	CU_ASSERT_PTR_NULL(ob_state(ctx, "z", (16u << 20) + 1, 1));
	int c = ob_counter(ctx, "hits", "");
	CU_ASSERT_EQUAL(ob_counter(ctx, "hits", ""), c);
	CU_ASSERT_EQUAL(ob_counter(ctx, "Hits", ""), OB_E_INVAL);
	ob_count(ctx, c, 3);
	ob_count(ctx, 99, 3);
	CU_ASSERT_EQUAL(ob_kv_set(ctx, "k", "v", 1), 0);

	/* the next generation has it all, unless it asks for another version */
	ob_mock *next = ob_mock_next(m, &plain, NULL);
	ob_ctx *to = ob_mock_ctx(next);
	size_t len;
	ob_module_info info = {.size = sizeof(info)};
	CU_ASSERT_EQUAL(ob_mock_start(next), 0);
	CU_ASSERT_PTR_EQUAL(ob_state(to, "b", 8, 1), block);
	CU_ASSERT_PTR_NOT_NULL(ob_kv_get(to, "k", &len));
	ob_count(to, ob_counter(to, "hits", ""), 4);
	CU_ASSERT_EQUAL(ob_mock_counter(m, "hits"), 7);
	CU_ASSERT_EQUAL(ob_mock_counter(m, "none"), 0);
	CU_ASSERT_EQUAL(ob_module_get(to, &info), 0);
	CU_ASSERT(info.generation == 2 && strcmp(info.name, "plain") == 0 &&
	          strcmp(info.version, "1.2") == 0);
	trace[0] = '\0';
	CU_ASSERT_EQUAL(ob_mock_switch(m, next), 0);
	CU_ASSERT_EQUAL(ob_mock_switch(m, next), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_send(m, 1, 0, "", 0).code, OB_E_STATE);
	/* and back: it stood by */
	CU_ASSERT_EQUAL(ob_mock_switch(next, m), 0);
	CU_ASSERT_EQUAL(ob_mock_stop(next), 0);
	CU_ASSERT_STRING_EQUAL(trace, "live resume drain stop");
	ob_mock_free(next);
	CU_ASSERT_EQUAL(*block, 42);
	ob_mock *third = ob_mock_next(m, &plain, NULL);
	CU_ASSERT_EQUAL(ob_mock_start(third), 0);
	uint64_t *other = ob_state(ob_mock_ctx(third), "b", 8, 2);
	CU_ASSERT(other != NULL && other != block && *other == 0);
	ob_mock_free(m);
	ob_mock_free(third);
}

/* ---- save and load ---- */

static int save_rc;
static int load_rc;
static bool skip_critical;
static uint32_t value;

static int save(ob_ctx *ctx, ob_writer *writer, uint32_t version)
{
	uint32_t numbers[2] = {value, version};

	CU_ASSERT_EQUAL(ob_section_write(ctx, writer, 1, OB_SECTION_CRITICAL, numbers,
	                                 version == 1 ? 4 : 8),
	                0);
	if (save_rc == 7) {
		CU_ASSERT_EQUAL(ob_section_write(ctx, writer, 1, 0, numbers, 4), OB_E_EXISTS);
	}
	CU_ASSERT_EQUAL(ob_section_write(ctx, writer, 2, 0, "hint", 4), 0);
	return save_rc == 7 ? 0 : save_rc;
}

static int load(ob_ctx *ctx, ob_reader *reader, uint32_t version)
{
	uint32_t tag;
	size_t len;

	if (!skip_critical) {
		const uint32_t *n = ob_section_read(ctx, reader, 1, &len);
		CU_ASSERT_PTR_NOT_NULL_FATAL(n);
		CU_ASSERT_EQUAL(len, version == 1 ? 4 : 8);
		value = n[0] + 1;
	}
	CU_ASSERT_PTR_NULL(ob_section_read(ctx, reader, 99, &len));
	if (load_rc == 1) {
		CU_ASSERT_PTR_NOT_NULL(ob_section_next(ctx, reader, &tag, &len));
		CU_ASSERT_EQUAL(tag, 1);
		CU_ASSERT_PTR_NOT_NULL(ob_section_next(ctx, reader, &tag, &len));
		CU_ASSERT(tag == 2 && len == 4);
		CU_ASSERT_PTR_NULL(ob_section_next(ctx, reader, &tag, &len));
	}
	return load_rc == 1 ? 0 : load_rc;
}

static ob_module_desc versioned(uint32_t write, uint32_t read_min)
{
	ob_module_desc d = plain;

	d.state_write = write;
	d.state_read_min = read_min;
	d.save = save;
	d.load = load;
	return d;
}

struct switch_row {
	uint32_t from_write;
	uint32_t to_write;
	uint32_t to_min;
	int save_rc;
	int load_rc;
	bool skip_critical;
	int rc;
	uint32_t value; /* 10 before, one more when it was loaded */
	const char *error;
};

static const struct switch_row switches[] = {
	/* same version: nothing is saved */
	{2, 2, 1, OB_E_APP, 0, false, 0, 10, ""},
	/* up and down */
	{1, 2, 1, 0, 1, false, 0, 11, ""},
	{2, 1, 1, 0, 0, false, 0, 11, ""},
	/* the reader is too new */
	{1, 3, 2, 0, 0, false, OB_E_INVAL, 10, "load: the module reads versions 2 to 3, not 1"},
	{1, 2, 1, OB_E_NOMEM, 0, false, OB_E_APP, 10, "save: out of memory"},
	/* a section that could not be written is a failure, also when save does not say so */
	{1, 2, 1, 7, 0, false, OB_E_APP, 10, "save: another module has it already"},
	{1, 2, 1, 0, OB_E_BAD, false, OB_E_BAD, 11, "load: not what the handler reads"},
	{1, 2, 1, 0, 0, true, OB_E_INVAL, 10, "load: critical section 1 was not read"},
	/* no state at all on one side */
	{0, 2, 1, OB_E_APP, 0, false, 0, 10, ""},
};

static void test_switch(void)
{
	for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
		const struct switch_row *row = &switches[i];
		ob_module_desc a = versioned(row->from_write, 1);
		ob_module_desc b = versioned(row->to_write, row->to_min);
		on_start = NULL;
		value = 10;
		save_rc = row->save_rc;
		load_rc = row->load_rc;
		skip_critical = row->skip_critical;
		ob_mock *from = ob_mock_new(&a, NULL);
		CU_ASSERT_EQUAL_FATAL(ob_mock_begin(from), 0);
		ob_mock *to = ob_mock_next(from, &b, NULL);
		CU_ASSERT_EQUAL_FATAL(ob_mock_start(to), 0);
		CU_ASSERT_EQUAL(ob_mock_switch(from, to), row->rc);
		CU_ASSERT_EQUAL(value, row->value);
		CU_ASSERT_STRING_EQUAL(ob_mock_error(to), row->error);
		/* the one that serves takes messages: no decider, so NO_ROUTE */
		CU_ASSERT_EQUAL(ob_mock_send(row->rc == 0 ? to : from, 1, 0, "", 0).code,
		                OB_E_NO_ROUTE);
		ob_mock_free(to);
		ob_mock_free(from);
	}
}

static void test_blobs(void)
{
	ob_module_desc d = versioned(2, 1);
	ob_mock *m = ob_mock_new(&d, NULL);
	ob_mock_blob *b = ob_mock_blob_new(1);
	uint32_t old = 5;
	size_t len;

	on_start = NULL;
	save_rc = load_rc = 0;
	skip_critical = false;
	CU_ASSERT_EQUAL(ob_mock_load(m, b), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_mock_start(m), 0);
	CU_ASSERT_EQUAL(ob_mock_blob_add(b, 1, 2, &old, 4), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_mock_blob_add(b, 1, OB_SECTION_CRITICAL, &old, 4), 0);
	CU_ASSERT_EQUAL(ob_mock_blob_add(b, 1, 0, &old, 4), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_mock_blob_add(b, 3, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(ob_mock_load(m, b), 0);
	CU_ASSERT_EQUAL(value, 6);
	CU_ASSERT(ob_mock_blob_seen(b, 1) && !ob_mock_blob_seen(b, 3) && !ob_mock_blob_seen(b, 4));
	/* outside the hooks there is nothing to write to or read from */
	CU_ASSERT_EQUAL(ob_section_write(ob_mock_ctx(m), (ob_writer *)b, 9, 0, "", 0), OB_E_STATE);
	CU_ASSERT_PTR_NULL(ob_section_read(ob_mock_ctx(m), (ob_reader *)b, 1, &len));
	CU_ASSERT_PTR_NULL(ob_mock_save(m, 2)); /* not live yet */
	CU_ASSERT_EQUAL(ob_mock_live(m), 0);
	CU_ASSERT_PTR_NULL(ob_mock_save(m, 3));
	CU_ASSERT_STRING_EQUAL(ob_mock_error(m), "save: the module writes versions up to 2, not 3");
	ob_mock_blob *saved = ob_mock_save(m, 2);
	CU_ASSERT_PTR_NOT_NULL_FATAL(saved);
	CU_ASSERT_EQUAL(ob_mock_blob_version(saved), 2);
	const uint32_t *n = ob_mock_blob_get(saved, 1, &len);
	CU_ASSERT(len == 8 && n[0] == 6 && n[1] == 2);
	CU_ASSERT_PTR_NULL(ob_mock_blob_get(saved, 7, &len));
	ob_mock_blob_free(saved);
	ob_mock_blob_free(b);
	ob_mock_blob_free(NULL);
	ob_mock_free(m);
}

/* ---- the node ---- */

static int look_start(ob_ctx *ctx)
{
	ob_node_info node = {.size = sizeof(node)};

	CU_ASSERT_EQUAL(ob_node(ctx, &node), 0);
	CU_ASSERT_STRING_EQUAL(node.name, "gate-1");
	CU_ASSERT_STRING_EQUAL(node.role, "gate");
	CU_ASSERT_EQUAL(node.role_id, ob_role(ctx, "gate"));
	CU_ASSERT_EQUAL(node.id, ob_mock_node_id("gate-1"));
	node.size = 1;
	CU_ASSERT_EQUAL(ob_node(ctx, &node), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_route_role(ctx, 10), ob_role(ctx, "route"));
	CU_ASSERT_EQUAL(ob_route_role(ctx, 21), 0);
	CU_ASSERT_EQUAL(json_integer_value(ob_config(ctx, "websocket.timeout")), 5);
	CU_ASSERT_PTR_NULL(ob_config(ctx, "websocket.port"));
	CU_ASSERT_TRUE(ob_rehearsing(ctx));
	ob_log(ctx, OB_LOG_WARNING, "seen %d", 1);
	return 0;
}

static void test_node(void)
{
	on_start = look_start;
	ob_mock *m = ob_mock_new(&plain, NULL);

	CU_ASSERT_EQUAL(ob_mock_node(m, "", "x"), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_mock_node(m, "gate-1", "gate"), 0);
	CU_ASSERT_EQUAL(ob_mock_route(m, 10, 20, "route"), 0);
	CU_ASSERT_EQUAL(ob_mock_route(m, 20, 10, "route"), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_mock_config(m, "websocket.timeout", json_integer(5)), 0);
	CU_ASSERT_EQUAL(ob_mock_config(m, "", json_integer(5)), OB_E_INVAL);
	ob_mock_rehearse(m, true);
	CU_ASSERT_EQUAL(ob_mock_begin(m), 0);
	CU_ASSERT(ob_mock_logged(m, "seen 1") && !ob_mock_logged(m, "seen 2"));
	CU_ASSERT_EQUAL(ob_mock_log_at(m, 0)->level, OB_LOG_WARNING);
	for (int i = 0; i < 256; i++) {
		ob_log(ob_mock_ctx(m), OB_LOG_INFO, "line %d", i);
	}
	CU_ASSERT_STRING_EQUAL(ob_mock_log_at(m, 0)->text, "line 0");
	CU_ASSERT_PTR_NULL(ob_mock_log_at(m, 256));
	ob_mock_free(m);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("mock", NULL, NULL);
	CU_add_test(s, "the table is whole", test_table_is_whole);
	CU_add_test(s, "codes are the host's", test_codes_are_the_hosts);
	CU_add_test(s, "life", test_life);
	CU_add_test(s, "the order of life", test_order_of_life);
	CU_add_test(s, "foreign descriptors", test_foreign_descriptors);
	CU_add_test(s, "reconf", test_reconf);
	CU_add_test(s, "inert before live", test_inert_before_live);
	CU_add_test(s, "dead after stop", test_dead_after_stop);
	CU_add_test(s, "registering", test_registering);
	CU_add_test(s, "listeners", test_listeners);
	CU_add_test(s, "a request has one end", test_ends);
	CU_add_test(s, "views", test_view);
	CU_add_test(s, "deadlines", test_deadline);
	CU_add_test(s, "records are bounded", test_records_are_bounded);
	CU_add_test(s, "where messages go", test_ways);
	CU_add_test(s, "filters", test_filters);
	CU_add_test(s, "sessions and events", test_sessions);
	CU_add_test(s, "pushes", test_pushes);
	CU_add_test(s, "calls", test_calls);
	CU_add_test(s, "calls with options", test_calls_with);
	CU_add_test(s, "timers", test_timers);
	CU_add_test(s, "jobs and posts", test_jobs_and_posts);
	CU_add_test(s, "kept messages", test_kept_messages);
	CU_add_test(s, "HTTP", test_http);
	CU_add_test(s, "HTTP requests going out", test_http_calls);
	CU_add_test(s, "administration", test_admin);
	CU_add_test(s, "codecs and policies", test_codecs);
	CU_add_test(s, "codecs that do more", test_codec_hooks);
	CU_add_test(s, "names", test_names);
	CU_add_test(s, "key-value store", test_kv);
	CU_add_test(s, "state blocks and counters", test_state_and_counters);
	CU_add_test(s, "switch with state", test_switch);
	CU_add_test(s, "blobs", test_blobs);
	CU_add_test(s, "the node", test_node);
	CU_add_test(s, "users", test_users);
	CU_add_test(s, "pushes to many", test_pushes_to_many);
	CU_add_test(s, "groups", test_groups);
	CU_add_test(s, "states, filters, events, schedules", test_gates);
	CU_add_test(s, "locks and attributes", test_locks_and_attributes);
	return ob__tap_run();
}
