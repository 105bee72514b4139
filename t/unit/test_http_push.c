/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The module http_push in a mock host. */

#include <stdio.h>
#include <string.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <obhost/mock.h>

#include "tap.h"

OB_EXTERN const ob_module_desc ob_module; /* of modules/http_push/http_push.c */

#define TOKEN    "0123456789abcdef"
#define MAX_BODY 512

static ob_mock *begin(void)
{
	json_t *conf = json_pack("{s:s, s:i}", "token", TOKEN, "max_body", MAX_BODY);
	ob_mock *m = ob_mock_new(&ob_module, conf);

	json_decref(conf);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_EQUAL_FATAL(ob_mock_begin(m), 0);
	return m;
}

static ob_mock_reply post(ob_mock *m, const char *path, const char *body)
{
	ob_mock_http_header(m, "Authorization", "Bearer " TOKEN);
	return ob_mock_http(m, "POST", path, body, strlen(body));
}

/* What was answered is exactly this. */
static void check_answer(const ob_mock_reply *r, int status, const char *text)
{
	json_t *is = ob_mock_reply_json(r);
	json_t *expected = json_loads(text, 0, NULL);

	if (!r->ended || r->status != status || !json_equal(is, expected)) {
		CU_FAIL("another answer");
		printf("# expected %d %s, is %d %s", status, text, r->status,
		       (const char *)r->data);
	}
	CU_ASSERT_STRING_EQUAL(r->content_type, "application/json");
	json_decref(is);
	json_decref(expected);
}

/* It is refused, with these words in the message. */
static void check_refused(const char *why, const ob_mock_reply *r, int status, const char *words)
{
	json_t *is = ob_mock_reply_json(r);
	const char *code = "";
	const char *message = "";

	int rc = json_unpack(is, "{s:{s:s, s:s}}", "error", "code", &code, "message", &message);
	if (rc != 0 || !r->ended || r->status != status || !*code || !strstr(message, words)) {
		CU_FAIL("not refused as it should be");
		printf("# %s: %d %s\n", why, r->status, (const char *)r->data);
	}
	json_decref(is);
}

/* ---- configuration ---- */

static void test_conf(void)
{
	static const struct {
		const char *conf;
		const char *says; /* NULL: it is good */
	} rows[] = {
		{"{\"token\":\"0123456789abcdef\"}", NULL},
		{"{\"token\":\"0123456789abcdef\",\"max_body\":64}", NULL},
		{"{}", "token"},
		{"{\"token\":\"0123456789abcde\"}", "16 bytes"},
		{"{\"token\":1234567890123456}", "token"},
		{"{\"token\":\"0123456789abcdef\",\"max_body\":63}", "max_body"},
		{"{\"token\":\"0123456789abcdef\",\"max_body\":\"64\"}", "max_body"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *conf = json_loads(rows[i].conf, 0, NULL);
		ob_err err = {.text = ""};
		int rc = ob_module.check(conf, &err);

		if (rows[i].says ? rc != OB_E_INVAL || !strstr(err.text, rows[i].says) : rc != 0) {
			CU_FAIL("a row failed");
			printf("# %s: %d %s\n", rows[i].conf, rc, err.text);
		}
		json_decref(conf);
	}
}

/* ---- who may ---- */

static void test_token(void)
{
	static const char *const wrong[] = {
		NULL,           "",
		"Bearer",       "Bearer ",
		"Basic " TOKEN, "Bearer 0123456789abcdeF",
		TOKEN,          "Bearer 0123456789abcde",
		"Bearer x",     "Bearer " TOKEN "0",
	};
	static const size_t count = sizeof(wrong) / sizeof(wrong[0]);
	static const char body[] = "{\"role\":\"proxy\",\"id\":7}";
	ob_mock *m = begin();

	for (size_t i = 0; i < count; i++) {
		if (wrong[i]) {
			ob_mock_http_header(m, "Authorization", wrong[i]);
		}
		ob_mock_reply r = ob_mock_http(m, "POST", "/push", body, strlen(body));
		check_refused(wrong[i] ? wrong[i] : "none", &r, 401, "Bearer TOKEN");
		const char *asks = ob_mock_reply_header(m, r.req, "WWW-Authenticate");
		CU_ASSERT(asks && strcmp(asks, "Bearer") == 0);
	}
	CU_ASSERT_PTR_NULL(ob_mock_broadcast_at(m, 0));
	CU_ASSERT_EQUAL(ob_mock_counter(m, "push_refused"), count);
	ob_mock_http_header(m, "Authorization", "bearer  " TOKEN);
	ob_mock_reply r = ob_mock_http(m, "POST", "/push", body, strlen(body));
	CU_ASSERT_EQUAL(r.status, 200);
	CU_ASSERT_PTR_NOT_NULL(ob_mock_broadcast_at(m, 0));
	CU_ASSERT_EQUAL(ob_mock_counter(m, "push_refused"), count);
	CU_ASSERT_EQUAL(ob_mock_counter(m, "push_requests"), count + 1);
	ob_mock_free(m);
}

static void test_method(void)
{
	ob_mock *m = begin();

	ob_mock_http_header(m, "Authorization", "Bearer " TOKEN);
	ob_mock_reply r = ob_mock_http(m, "GET", "/push", NULL, 0);
	check_refused("GET", &r, 405, "only POST");
	const char *allow = ob_mock_reply_header(m, r.req, "Allow");
	CU_ASSERT(allow && strcmp(allow, "POST") == 0);
	const char *cache = ob_mock_reply_header(m, r.req, "Cache-Control");
	CU_ASSERT(cache && strcmp(cache, "no-store") == 0);
	ob_mock_free(m);
}

/* ---- bodies ---- */

static void test_type(void)
{
	static const struct {
		const char *type;
		int status;
	} rows[] = {
		{"application/json", 200},
		{"Application/JSON; charset=utf-8", 200},
		{"application/x-www-form-urlencoded", 200}, /* what curl says */
		{"application/jsonp", 415},
		{"text/plain", 415},
		{"", 415},
	};
	static const char body[] = "{\"role\":\"proxy\",\"id\":7}";
	ob_mock *m = begin();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ob_mock_http_header(m, "Content-Type", rows[i].type);
		ob_mock_reply r = post(m, "/push", body);
		CU_ASSERT_EQUAL(r.status, rows[i].status);
	}
	ob_mock_free(m);
}

static void test_size(void)
{
	char body[MAX_BODY + 2];
	ob_mock *m = begin();

	int n = snprintf(body, sizeof(body), "{\"role\":\"proxy\",\"id\":7}");
	memset(body + n, ' ', sizeof(body) - (size_t)n);
	body[MAX_BODY] = '\0';
	ob_mock_reply r = post(m, "/push", body);
	CU_ASSERT_EQUAL(r.status, 200);
	body[MAX_BODY] = ' ';
	body[MAX_BODY + 1] = '\0';
	r = post(m, "/push", body);
	check_refused("a byte more", &r, 413, "512");
	ob_mock_free(m);
}

static const struct {
	const char *path;
	const char *body;
	const char *words;
} bad[] = {
	{"/push", "", "JSON object"},
	{"/push", "[]", "JSON object"},
	{"/push", "{\"id\":1,\"id\":1,\"role\":\"p\"}", "JSON object"},
	{"/push", "{\"id\":1,\"role\":\"p\",\"datas\":1}", "\"datas\""},
	{"/push", "{\"id\":1}", "\"users\""},
	{"/push", "{\"id\":1,\"role\":\"p\",\"user\":\"u\"}", "one of"},
	{"/push", "{\"role\":\"p\"}", "\"id\" and \"name\""},
	{"/push", "{\"id\":1,\"name\":\"n\",\"role\":\"p\"}", "\"id\" and \"name\""},
	{"/push", "{\"id\":0,\"role\":\"p\"}", "1 to 2147483647"},
	{"/push", "{\"id\":2147483648,\"role\":\"p\"}", "1 to 2147483647"},
	{"/push", "{\"id\":\"1\",\"role\":\"p\"}", "1 to 2147483647"},
	{"/push", "{\"name\":\"\",\"role\":\"p\"}", "\"name\""},
	{"/push", "{\"name\":5,\"role\":\"p\"}", "\"name\""},
	{"/push", "{\"id\":1,\"role\":\"\"}", "\"role\" is a name"},
	{"/push", "{\"id\":1,\"group\":7}", "\"group\" is a name"},
	{"/push", "{\"id\":1,\"users\":[]}", "\"users\""},
	{"/push", "{\"id\":1,\"users\":\"u\"}", "\"users\""},
	{"/push", "{\"id\":1,\"users\":[\"u\",7]}", "list of names"},
	{"/call", "{}", "\"method\""},
	{"/call", "{\"id\":1,\"method\":\"m\",\"role\":\"r\"}", "one of"},
	{"/call", "{\"id\":1,\"name\":\"n\"}", "one of"},
	{"/call", "{\"method\":\"m\"}", "\"role\" is needed"},
	{"/call", "{\"method\":5,\"role\":\"r\"}", "words"},
	{"/call", "{\"id\":1,\"role\":5}", "words"},
	{"/call", "{\"id\":1,\"role\":\"\"}", "\"role\" is needed"},
	{"/call", "{\"id\":1,\"deadline_ms\":0}", "60000"},
	{"/call", "{\"id\":1,\"deadline_ms\":60001}", "60000"},
	{"/call", "{\"id\":1,\"deadline_ms\":1.5}", "60000"},
	{"/call", "{\"id\":1,\"user\":\"u\"}", "\"user\""},
};

static void test_bad(void)
{
	ob_mock *m = begin();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ob_mock_reply r = post(m, bad[i].path, bad[i].body);
		check_refused(bad[i].body, &r, 400, bad[i].words);
	}
	CU_ASSERT_PTR_NULL(ob_mock_push_at(m, 0));
	CU_ASSERT_PTR_NULL(ob_mock_broadcast_at(m, 0));
	CU_ASSERT_PTR_NULL(ob_mock_call_at(m, 0));
	CU_ASSERT_EQUAL(ob_mock_unended(m), 0);
	ob_mock_free(m);
}

/* A key is told as far as it fits, and never half a character of it. */
static void test_long_key(void)
{
	char body[MAX_BODY];
	ob_mock *m = begin();

	for (size_t len = 60; len < 70; len++) {
		size_t n = (size_t)snprintf(body, sizeof(body), "{\"%.*s", (int)(len % 2), "x");
		for (size_t i = 0; i < len; i++) {
			n += (size_t)snprintf(body + n, sizeof(body) - n, "\u00e9");
		}
		snprintf(body + n, sizeof(body) - n, "\":1}");
		ob_mock_reply r = post(m, "/push", body);
		check_refused(body, &r, 400, "\u00e9\"");
	}
	ob_mock_free(m);
}

/* ---- pushes ---- */

static void check_push(ob_mock *m, ob_session session, uint32_t id, const char *data)
{
	const ob_mock_push *p = ob_mock_push_at(m, 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT_EQUAL(p->session, session);
	CU_ASSERT_EQUAL(p->id, id);
	CU_ASSERT_STRING_EQUAL((const char *)p->data, data);
	CU_ASSERT_PTR_NULL(ob_mock_push_at(m, 1));
	ob_mock_forget(m);
}

static void test_push(void)
{
	ob_mock *m = begin();
	ob_ctx *ctx = ob_mock_ctx(m);
	ob_session ann = ob_mock_session(m, NULL);
	char name[OB_SESSION_TEXT];
	char body[256];

	CU_ASSERT_EQUAL(ob_mock_bind(m, ann, "ann"), 0);
	CU_ASSERT_EQUAL(ob_group_join(ctx, ann, "room 7"), 0);
	CU_ASSERT(ob_session_text(ctx, ann, name, sizeof(name)) >= 0);

	ob_mock_reply r = post(m, "/push", "{\"user\":\"ann\",\"id\":7,\"data\":{\"a\": [1]}}");
	check_answer(&r, 200, "{\"users\":1}");
	check_push(m, ann, 7, "{\"a\":[1]}");

	r = post(m, "/push", "{\"users\":[\"ann\",\"ann\"],\"id\":8,\"data\":null}");
	CU_ASSERT_EQUAL(r.status, 200);
	check_push(m, ann, 8, "null");

	r = post(m, "/push", "{\"group\":\"room 7\",\"id\":9}");
	CU_ASSERT_EQUAL(r.status, 200);
	check_push(m, ann, 9, "{}");

	snprintf(body, sizeof(body), "{\"session\":\"%s\",\"name\":\"chat.said\",\"data\":\"x\"}",
	         name);
	r = post(m, "/push", body);
	check_answer(&r, 200, "{\"sessions\":1}");
	check_push(m, ann, ob_name_id(ctx, "chat.said"), "\"x\"");

	r = post(m, "/push", "{\"session\":\"mock-12345\",\"id\":9}");
	check_refused("another session", &r, 404, "no such session");
	r = post(m, "/push", "{\"group\":\"room\\n7\",\"id\":9}");
	check_refused("a group's name", &r, 400, "");
	ob_mock_free(m);
}

static void test_push_role(void)
{
	ob_mock *m = begin();
	ob_mock_reply r = post(m, "/push", "{\"role\":\"proxy\",\"id\":7,\"data\":1.5}");
	const ob_mock_broadcast *b = ob_mock_broadcast_at(m, 0);

	CU_ASSERT_EQUAL(r.status, 200);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	CU_ASSERT_EQUAL(b->role, ob_role(ob_mock_ctx(m), "proxy"));
	CU_ASSERT_EQUAL(b->id, 7);
	CU_ASSERT_STRING_EQUAL((const char *)b->data, "1.5");
	r = post(m, "/push", "{\"role\":\"proxy\",\"name\":\"chat.said\"}");
	CU_ASSERT_EQUAL(r.status, 200);
	b = ob_mock_broadcast_at(m, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	CU_ASSERT_EQUAL(b->id, ob_name_id(ob_mock_ctx(m), "chat.said"));
	ob_mock_free(m);
}

/* More names than a list may have, in a body that may be so long. */
static void test_too_many(void)
{
	static char body[4 * 4097 + 64];
	json_t *conf = json_pack("{s:s}", "token", TOKEN);
	ob_mock *m = ob_mock_new(&ob_module, conf);
	size_t n = (size_t)snprintf(body, sizeof(body), "{\"id\":1,\"users\":[\"u\"");

	json_decref(conf);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_EQUAL_FATAL(ob_mock_begin(m), 0);
	for (size_t i = 1; i < 4096; i++) {
		n += (size_t)snprintf(body + n, sizeof(body) - n, ",\"u\"");
	}
	snprintf(body + n, sizeof(body) - n, "]}");
	ob_mock_reply r = post(m, "/push", body);
	CU_ASSERT_EQUAL(r.status, 200);
	snprintf(body + n, sizeof(body) - n, ",\"u\"]}");
	r = post(m, "/push", body);
	check_refused("4097 users", &r, 413, "4096");
	ob_mock_free(m);
}

/* ---- calls ---- */

static const ob_mock_call *ask(ob_mock *m, const char *body, ob_mock_reply *r)
{
	size_t n = 0;

	*r = post(m, "/call", body);
	while (ob_mock_call_at(m, n)) {
		n++;
	}
	CU_ASSERT_FATAL(r->held && n > 0);
	return ob_mock_call_at(m, n - 1);
}

static void test_call(void)
{
	static const struct {
		int code;
		const char *data;
		int status;
		const char *answer; /* NULL: an error */
	} rows[] = {
		{OB_OK, "{\"b\":2}", 200, "{\"data\":{\"b\":2}}"},
		{OB_OK, "5", 200, "{\"data\":5}"},
		{OB_OK, "plain text", 200, "{\"data\":\"plain text\"}"},
		{OB_OK, "\xff\xfe", 502, NULL},
		{OB_E_NOT_FOUND, "", 404, NULL},
		{OB_E_DENIED, "", 403, NULL},
		{OB_E_DEADLINE, "", 504, NULL},
		{OB_E_APP, "", 500, NULL},
		{OB_E_MAYBE_SENT, "", 502, NULL},
		{OB_E_BUSY, "", 503, NULL},
	};
	ob_mock *m = begin();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ob_mock_reply r;
		const ob_mock_call *c =
			ask(m, "{\"role\":\"game\",\"method\":\"game.m\",\"data\":{\"a\": 1}}", &r);

		CU_ASSERT_STRING_EQUAL((const char *)c->data, "{\"a\":1}");
		CU_ASSERT_STRING_EQUAL(c->method, "game.m");
		CU_ASSERT_EQUAL(c->target.role, ob_role(ob_mock_ctx(m), "game"));
		ob_mock_answer(m, c->call, rows[i].code, rows[i].data, strlen(rows[i].data));
		r = ob_mock_reply_of(m, r.req);
		if (rows[i].answer) {
			check_answer(&r, rows[i].status, rows[i].answer);
		} else {
			check_refused(rows[i].data, &r, rows[i].status, "");
		}
	}
	CU_ASSERT_EQUAL(ob_mock_unended(m), 0);
	ob_mock_free(m);
}

/* Where it goes, as what, and how long it is waited for. */
static void test_call_where(void)
{
	json_t *conf = json_pack("{s:s}", "token", TOKEN);
	ob_mock *m = ob_mock_new(&ob_module, conf);
	ob_mock_reply r;

	json_decref(conf);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_EQUAL(ob_mock_route(m, 100, 199, "arena"), 0);
	CU_ASSERT_EQUAL_FATAL(ob_mock_begin(m), 0);
	ob_ctx *ctx = ob_mock_ctx(m);

	const ob_mock_call *c = ask(m, "{\"id\":150,\"deadline_ms\":250}", &r);
	CU_ASSERT_EQUAL(c->id, 150);
	CU_ASSERT_EQUAL(c->target.role, ob_role(ctx, "arena"));
	CU_ASSERT_EQUAL(c->deadline_ms, 250);
	CU_ASSERT_STRING_EQUAL((const char *)c->data, "{}");
	ob_mock_advance(m, 249);
	CU_ASSERT_FALSE(ob_mock_reply_of(m, r.req).ended);
	ob_mock_advance(m, 1);
	r = ob_mock_reply_of(m, r.req);
	check_refused("too late", &r, 504, "");

	c = ask(m, "{\"id\":150,\"role\":\"game\"}", &r);
	CU_ASSERT_EQUAL(c->target.role, ob_role(ctx, "game"));
	c = ask(m, "{\"name\":\"hall.enter\"}", &r);
	CU_ASSERT_EQUAL(c->id, ob_name_id(ctx, "hall.enter"));
	CU_ASSERT_EQUAL(c->target.role, ob_role(ctx, "hall"));
	ob_mock_free(m);
}

/* Who waits when the module goes is told so. */
static void test_stop(void)
{
	ob_mock *m = begin();
	ob_mock_reply r;

	(void)ask(m, "{\"role\":\"game\",\"id\":5}", &r);
	CU_ASSERT_EQUAL(ob_mock_stop(m), 0);
	r = ob_mock_reply_of(m, r.req);
	CU_ASSERT(r.ended && r.status == 503);
	ob_mock_free(m);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("http_push", NULL, NULL);
	CU_add_test(s, "what it can be configured with", test_conf);
	CU_add_test(s, "nothing without the token", test_token);
	CU_add_test(s, "only POST", test_method);
	CU_add_test(s, "bodies are JSON", test_type);
	CU_add_test(s, "bodies have a bound", test_size);
	CU_add_test(s, "what makes no sense is refused with a reason", test_bad);
	CU_add_test(s, "a long key is told in part", test_long_key);
	CU_add_test(s, "pushes to users, groups and sessions", test_push);
	CU_add_test(s, "pushes to a role", test_push_role);
	CU_add_test(s, "too many receivers", test_too_many);
	CU_add_test(s, "calls and what comes of them", test_call);
	CU_add_test(s, "where a call goes", test_call_where);
	CU_add_test(s, "the module stops while a call is out", test_stop);
	return ob__tap_run();
}
