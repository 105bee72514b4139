/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The module against a host made of a table of functions. */

#include <stdlib.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "base/err.h"
#include "modules/service/service.c"
#include "tap.h"

#define GOOD "proxy_1-0000000000000001"
#define GONE "proxy_1-0000000000000002"

static struct {
	char methods[2][METHOD_MAX];
	ob_handler_fn fns[2];
	int offered;
	ob_handler_fn unknown;
	ob_error_body_fn error_body;
} registered;

static json_t *body;       /* of the request */
static const char *method; /* of the request, or NULL */
static const char *role = "service";

static struct {
	int ends;
	int code; /* OB_OK after a reply */
	char text[256];
	uint32_t pushed; /* message id */
	char payload[64];
	uint16_t closed;
} got;

static int mock_status(ob_ctx *ctx, int code)
{
	(void)ctx;
	return ob__result_http(code);
}

static const char *mock_strerror(ob_ctx *ctx, int code)
{
	return "an error";
}

static void mock_vlog(ob_ctx *ctx, int level, const char *fmt, va_list ap)
{
}

static int mock_node(ob_ctx *ctx, ob_node_info *info)
{
	info->role = role;
	return 0;
}

static int mock_method(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
{
	snprintf(registered.methods[registered.offered], METHOD_MAX, "%s", name);
	registered.fns[registered.offered++] = fn;
	return 0;
}

static int mock_unknown(ob_ctx *ctx, ob_handler_fn fn)
{
	registered.unknown = fn;
	return 0;
}

static int mock_error_body(ob_ctx *ctx, ob_error_body_fn fn)
{
	registered.error_body = fn;
	return 0;
}

static int mock_view(ob_ctx *ctx, ob_req req, ob_view *view)
{
	view->id = 4711;
	view->method = method;
	return 0;
}

static const json_t *mock_json(ob_ctx *ctx, ob_req req)
{
	return body;
}

static int mock_reply(ob_ctx *ctx, ob_req req, json_t *value)
{
	json_decref(value);
	got.ends++;
	return 0;
}

static int mock_fail(ob_ctx *ctx, ob_req req, int code, const char *text)
{
	got.ends++;
	got.code = code;
	snprintf(got.text, sizeof(got.text), "%s", text ? text : "");
	return 0;
}

static ob_session mock_find(ob_ctx *ctx, const char *text)
{
	return strcmp(text, GOOD) == 0 ? 1 : strcmp(text, GONE) == 0 ? 2 : 0;
}

static int mock_push(ob_ctx *ctx, ob_session session, uint32_t id, json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

	got.pushed = id;
	snprintf(got.payload, sizeof(got.payload), "%s", text ? text : "");
	free(text);
	json_decref(value);
	return session == 1 ? 0 : OB_E_STALE;
}

static int mock_close(ob_ctx *ctx, ob_session session, uint16_t code, const char *reason)
{
	got.closed = code;
	return session == 1 ? 0 : OB_E_BUSY;
}

static const ob_api api = {
	.size = sizeof(api),
	.strerror = mock_strerror,
	.status = mock_status,
	.vlog = mock_vlog,
	.node_info = mock_node,
	.on_method = mock_method,
	.on_unknown = mock_unknown,
	.on_error_body = mock_error_body,
	.req_view = mock_view,
	.req_json = mock_json,
	.reply_json = mock_reply,
	.fail = mock_fail,
	.session_find = mock_find,
	.push_json = mock_push,
	.session_close = mock_close,
};
static ob_ctx ctx = {.api = &api};

static void test_start(void)
{
	memset(&registered, 0, sizeof(registered));
	CU_ASSERT_EQUAL_FATAL(start(&ctx, NULL), 0);
	CU_ASSERT_STRING_EQUAL(registered.methods[0], "sys.service.session.push");
	CU_ASSERT_STRING_EQUAL(registered.methods[1], "sys.service.session.close");
	CU_ASSERT_PTR_NOT_NULL(registered.unknown);
	CU_ASSERT_PTR_NOT_NULL(registered.error_body);
}

static void test_long_role(void)
{
	static char text[METHOD_MAX];

	memset(text, 'r', sizeof(text) - 1);
	role = text;
	registered.offered = 0;
	CU_ASSERT_EQUAL(start(&ctx, NULL), OB_E_INVAL);
	role = "service";
}

static const struct {
	const char *why;
	int which; /* 0: push, 1: close */
	const char *body;
	int code;
	const char *payload;
	uint32_t number; /* message id or close code */
} rows[] = {
	{"an object", 0, "{\"session\":\"" GOOD "\",\"id\":5,\"body\":{\"a\":1}}", 0, "{\"a\":1}",
         5},
	{"any value", 0, "{\"session\":\"" GOOD "\",\"id\":5,\"body\":null}", 0, "null", 5},
	{"the highest id", 0, "{\"session\":\"" GOOD "\",\"id\":2147483647,\"body\":1}", 0, "1",
         2147483647},
	{"id 0", 0, "{\"session\":\"" GOOD "\",\"id\":0,\"body\":1}", OB_E_BAD, "", 0},
	{"an id too high", 0, "{\"session\":\"" GOOD "\",\"id\":2147483648,\"body\":1}", OB_E_BAD,
         "", 0},
	{"no body", 0, "{\"session\":\"" GOOD "\",\"id\":5}", OB_E_BAD, "", 0},
	{"no session", 0, "{\"id\":5,\"body\":1}", OB_E_BAD, "", 0},
	{"another's session", 0, "{\"session\":\"x\",\"id\":5,\"body\":1}", OB_E_NOT_FOUND, "", 0},
	{"a session gone", 0, "{\"session\":\"" GONE "\",\"id\":5,\"body\":1}", OB_E_GONE, "1", 5},
	{"not an object", 0, "[]", OB_E_BAD, "", 0},
	{"closed", 1, "{\"session\":\"" GOOD "\"}", 0, "", 1000},
	{"with a code", 1, "{\"session\":\"" GOOD "\",\"code\":4001,\"reason\":\"x\"}", 0, "",
         4001},
	{"a code nobody may send", 1, "{\"session\":\"" GOOD "\",\"code\":1006}", OB_E_BAD, "", 0},
	{"a code that is none", 1, "{\"session\":\"" GOOD "\",\"code\":70000}", OB_E_BAD, "", 0},
	{"a failure goes through", 1, "{\"session\":\"" GONE "\"}", OB_E_BUSY, "", 1000},
};

static void test_methods(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&got, 0, sizeof(got));
		body = json_loads(rows[i].body, 0, NULL);
		registered.fns[rows[i].which](&ctx, 1);
		json_decref(body);
		if (got.ends != 1 || got.code != rows[i].code ||
		    strcmp(got.payload, rows[i].payload) != 0 ||
		    (rows[i].which ? got.closed : got.pushed) != rows[i].number) {
			CU_FAIL("a row failed");
			printf("# row: %s: %d %s\n", rows[i].why, got.code, got.text);
		}
	}
	CU_PASS("rows");
}

static void test_unknown(void)
{
	memset(&got, 0, sizeof(got));
	method = NULL;
	registered.unknown(&ctx, 1);
	CU_ASSERT_EQUAL(got.code, OB_E_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(got.text, "no handler for message 4711");
	method = "a.b.c.d";
	registered.unknown(&ctx, 1);
	CU_ASSERT_STRING_EQUAL(got.text, "no handler for method a.b.c.d");
}

static void test_error_body(void)
{
	static const int codes[][2] = {
		{OB_E_APP, 500},        {OB_E_NOT_FOUND, 404}, {OB_E_NO_ROUTE, 503},
		{OB_E_BUSY, 503},       {OB_E_DEADLINE, 504},  {OB_E_NOT_SENT, 503},
		{OB_E_MAYBE_SENT, 502}, {OB_E_GONE, 503},      {OB_E_DENIED, 403},
		{OB_E_TOO_BIG, 413},    {OB_E_BAD, 400},       {-1, 500},
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		json_t *answer = registered.error_body(&ctx, codes[i][0], NULL);
		const json_t *code = json_object_get(answer, "code");

		CU_ASSERT_EQUAL(json_integer_value(code), codes[i][1]);
		json_decref(answer);
	}

	json_t *answer = registered.error_body(&ctx, OB_E_APP, "text");

	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer, "error")), "text");
	json_decref(answer);
}

int main(void)
{
	CU_initialize_registry();

	CU_pSuite s = CU_add_suite("service", NULL, NULL);

	CU_add_test(s, "what it registers", test_start);
	CU_add_test(s, "push and close", test_methods);
	CU_add_test(s, "messages without a handler", test_unknown);
	CU_add_test(s, "error bodies", test_error_body);
	CU_add_test(s, "a role too long", test_long_role);
	return ob__tap_run();
}
