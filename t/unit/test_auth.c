/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The module auth in a mock host. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <obhost/mock.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "modules/auth/settings.h"
#include "tap.h"

OB_EXTERN const ob_module_desc ob_module; /* of modules/auth/auth.c */

#define KEY   "0123456789abcdef0123456789abcdef"
#define KEY2  "another-key-of-32-bytes-or-more!"
#define LOGIN 101
#define HMAC1 "\"hmac\":{\"keys\":[{\"secret\":\"" KEY "\"}]}"
#define PLAIN "{\"login\":101," HMAC1 ",\"open\":[5,[10,12],\"chat.hello\"]}"

static void base64url(const unsigned char *data, size_t len, char *out)
{
	EVP_EncodeBlock((unsigned char *)out, data, (int)len);
	for (; *out && *out != '='; out++) {
		*out = *out == '+' ? '-' : *out == '/' ? '_' : *out;
	}
	*out = '\0';
}

/* A token that ends `in` seconds from now. */
static const char *token(const char *user, long in, const char *key)
{
	static char text[256];
	unsigned char mac[32];
	unsigned len;
	int n = snprintf(text, sizeof(text), "%s|%ld", user, (long)time(NULL) + in);

	HMAC(EVP_sha256(), key, (int)strlen(key), (unsigned char *)text, (size_t)n, mac, &len);
	text[n] = '|';
	base64url(mac, 32, text + n + 1);
	return text;
}

static ob_mock *begin(const char *text)
{
	json_t *conf = json_loads(text, 0, NULL);
	ob_mock *m = ob_mock_new(&ob_module, conf);

	json_decref(conf);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	int rc = ob_mock_begin(m);
	if (rc < 0) {
		printf("# %s\n", ob_mock_error(m));
	}
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	return m;
}

static ob_mock_reply say(ob_mock *m, ob_session session, uint32_t id)
{
	ob_mock_as(m, session);
	return ob_mock_send(m, id, OB_VIEW_CLIENT, "{}", 2);
}

static ob_mock_reply login(ob_mock *m, ob_session session, const char *text)
{
	ob_mock_as(m, session);
	ob_mock_reply r = ob_mock_send_json(m, LOGIN, OB_VIEW_CLIENT, "{s:s}", "token", text);
	ob_mock_run(m);
	return r.held ? ob_mock_reply_of(m, r.req) : r;
}

static const struct {
	const char *why;
	const char *conf;
	const char *says; /* NULL: it is good */
} rows[] = {
	{"the least", "{\"login\":1," HMAC1 "}", NULL},
	{"all but JWT",
         "{\"login\":\"auth.login\",\"field\":\"t\",\"bind\":false,\"open\":[],"
         "\"deadline\":0.5,\"attempts\":0,\"skew\":0,\"max_token\":64," HMAC1 "}",
         NULL},
	{"nothing", "{}", "login"},
	{"no login", "{" HMAC1 "}", "login"},
	{"login 0", "{\"login\":0," HMAC1 "}", "login"},
	{"no keys", "{\"login\":1}", "nobody could log in"},
	{"an unknown key", "{\"login\":1,\"hmca\":{}}", "hmca"},
	{"an unknown key of hmac", "{\"login\":1,\"hmac\":{\"key\":1}}", "hmac.key"},
	{"hmac that is none", "{\"login\":1,\"hmac\":5}", "hmac: must be an object"},
	{"an empty list of keys", "{\"login\":1,\"hmac\":{\"keys\":[]}}", "hmac.keys"},
	{"no list of keys", "{\"login\":1,\"hmac\":{}}", "hmac.keys"},
	{"three keys", "{\"login\":1,\"hmac\":{\"keys\":[{},{},{}]}}", "hmac.keys"},
	{"a short key", "{\"login\":1,\"hmac\":{\"keys\":[{\"secret\":\"short\"}]}}", "32 bytes"},
	{"a key that is a number", "{\"login\":1,\"hmac\":{\"keys\":[{\"secret\":5}]}}",
         "hmac.keys[0].secret"},
	{"a file that is not there",
         "{\"login\":1,\"hmac\":{\"keys\":[{\"secret\":{\"file\":\"/nowhere/at/all\"}}]}}",
         "/nowhere/at/all"},
	{"open backwards", "{\"login\":1,\"open\":[[5,4]]," HMAC1 "}", "open[0]"},
	{"open with 0", "{\"login\":1,\"open\":[1,0]," HMAC1 "}", "open[1]"},
	{"a deadline in words", "{\"login\":1,\"deadline\":\"5s\"," HMAC1 "}", "deadline"},
	{"too many attempts", "{\"login\":1,\"attempts\":1001," HMAC1 "}", "attempts"},
	{"bind that is no bool", "{\"login\":1,\"bind\":1," HMAC1 "}", "bind"},
	{"skew below 0", "{\"login\":1,\"skew\":-1," HMAC1 "}", "skew"},
};

static const char *const jwt_rows[][2] = {
	{"{\"login\":1,\"jwt\":{}}", "jwt.keys"},
	{"{\"login\":1,\"jwt\":{\"keys\":[{\"alg\":\"none\",\"secret\":\"x\"}]}}", "alg"},
	{"{\"login\":1,\"jwt\":{\"keys\":[{\"alg\":\"HS256\"}]}}", "needs"},
	{"{\"login\":1,\"jwt\":{\"keys\":[{\"alg\":\"HS256\",\"secret\":\"short\"}]}}", "shorter"},
	{"{\"login\":1,\"jwt\":{\"keys\":[{\"alg\":\"HS256\",\"secret\":\"" KEY "\"}],"
         "\"algorithms\":[\"RS256\"]}}",
         "jwt.algorithms"},
	{"{\"login\":1,\"jwt\":{\"keys\":[{\"alg\":\"HS256\",\"secret\":\"" KEY "\"}],"
         "\"algorithms\":[\"none\"]}}",
         "jwt.algorithms[0]"},
	{"{\"login\":1,\"jwt\":{\"keys\":[{\"alg\":\"HS256\",\"secret\":\"" KEY "\"}],"
         "\"claims\":{\"role\":\"auth\"}}}",
         "own"},
	{"{\"login\":1,\"jwt\":{\"keys\":[{\"alg\":\"HS256\",\"secret\":\"" KEY "\",\"k\":1}]}}",
         "jwt.keys[0].k"},
};

static void check_row(const char *why, const char *text, const char *says)
{
	json_t *conf = json_loads(text, 0, NULL);
	ob_err err = {.text = ""};

	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	int rc = ob_module.check(conf, &err);
	if (says ? rc != OB_E_INVAL || !strstr(err.text, says) : rc != 0) {
		CU_FAIL("a row failed");
		printf("# row: %s: %d %s\n", why, rc, err.text);
	}
	json_decref(conf);
}

static void test_conf(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check_row(rows[i].why, rows[i].conf, rows[i].says);
	}
	for (size_t i = 0; i < sizeof(jwt_rows) / sizeof(jwt_rows[0]); i++) {
		check_row("jwt", jwt_rows[i][0], webtoken_built() ? jwt_rows[i][1] : "no JWT");
	}
}

static void test_login(void)
{
	ob_mock *m = begin(PLAIN);
	ob_session s = ob_mock_session(m, NULL);

	CU_ASSERT_EQUAL(say(m, s, 7).code, OB_E_DENIED);
	CU_ASSERT_EQUAL(ob_mock_counter(m, "auth_early"), 1);
	CU_ASSERT_NOT_EQUAL(say(m, s, 5).code, OB_E_DENIED);
	CU_ASSERT_NOT_EQUAL(say(m, s, 12).code, OB_E_DENIED);
	CU_ASSERT_EQUAL(say(m, s, 13).code, OB_E_DENIED);
	CU_ASSERT_NOT_EQUAL(say(m, s, ob_name_id(ob_mock_ctx(m), "chat.hello")).code, OB_E_DENIED);
	CU_ASSERT_EQUAL(say(m, s, ob_name_id(ob_mock_ctx(m), "chat.other")).code, OB_E_DENIED);

	ob_mock_reply r = login(m, s, token("ann", 60, KEY));
	CU_ASSERT_EQUAL(r.code, OB_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr((const char *)r.data, "\"ann\""));
	CU_ASSERT_NOT_EQUAL(say(m, s, 7).code, OB_E_DENIED);
	ob_session_info info = {.size = sizeof(info)};
	CU_ASSERT_EQUAL(ob_session_get(ob_mock_ctx(m), s, &info), 0);
	CU_ASSERT_STRING_EQUAL(info.user, "ann");
	CU_ASSERT_EQUAL(ob_mock_counter(m, "auth_logins"), 1);

	ob_session other = ob_mock_session(m, NULL);
	CU_ASSERT_EQUAL(say(m, other, 7).code, OB_E_DENIED);
	ob_mock_free(m);
}

static void refused(ob_mock *m, ob_session s, const char *text, int code, const char *word)
{
	char counter[64];

	snprintf(counter, sizeof(counter), "auth_refused_%s", word);
	uint64_t before = ob_mock_counter(m, counter);
	ob_mock_reply r = login(m, s, text);
	CU_ASSERT_EQUAL(r.code, code);
	CU_ASSERT_STRING_EQUAL(r.text, word);
	CU_ASSERT_EQUAL(ob_mock_counter(m, counter), before + 1);
}

static void test_refused(void)
{
	ob_mock *m = begin("{\"login\":101,\"attempts\":0,\"max_token\":300," HMAC1 "}");
	ob_session s = ob_mock_session(m, NULL);
	char big[302];

	memset(big, 'x', 301);
	big[301] = '\0';
	refused(m, s, token("ann", 60, KEY2), OB_E_DENIED, "bad_signature");
	refused(m, s, token("ann", -31, KEY), OB_E_DENIED, "expired");
	refused(m, s, "ann", OB_E_DENIED, "malformed");
	refused(m, s, "", OB_E_DENIED, "malformed");
	refused(m, s, big, OB_E_TOO_BIG, "too_big");
	ob_mock_as(m, s);
	ob_mock_reply r = ob_mock_send_json(m, LOGIN, OB_VIEW_CLIENT, "{s:i}", "token", 5);
	CU_ASSERT_STRING_EQUAL(r.text, "malformed");
	r = ob_mock_send(m, LOGIN, OB_VIEW_CLIENT, "no json", 7);
	CU_ASSERT_STRING_EQUAL(r.text, "malformed");
	CU_ASSERT_EQUAL(say(m, s, 7).code, OB_E_DENIED);
	CU_ASSERT_EQUAL(login(m, s, token("ann", -29, KEY)).code, OB_OK); /* the clocks differ */
	CU_ASSERT_PTR_NULL(ob_mock_close_at(m, 0));
	ob_mock_free(m);
}

static void test_attempts(void)
{
	ob_mock *m = begin(PLAIN);
	ob_session s = ob_mock_session(m, NULL);

	login(m, s, "a");
	login(m, s, "b");
	CU_ASSERT_PTR_NULL(ob_mock_close_at(m, 0));
	login(m, s, "c");
	CU_ASSERT_PTR_NOT_NULL_FATAL(ob_mock_close_at(m, 0));
	CU_ASSERT_EQUAL(ob_mock_close_at(m, 0)->code, 4403);
	CU_ASSERT_EQUAL(ob_mock_counter(m, "auth_attempts"), 1);
	ob_mock_free(m);
}

static void test_deadline(void)
{
	ob_mock *m = begin("{\"login\":101,\"deadline\":5," HMAC1 "}");
	ob_session in = ob_mock_session(m, NULL);
	ob_session out = ob_mock_session(m, NULL);
	ob_session gone = ob_mock_session(m, NULL);

	CU_ASSERT_EQUAL(login(m, in, token("ann", 60, KEY)).code, OB_OK);
	ob_mock_session_end(m, gone);
	ob_mock_advance(m, 4800);
	CU_ASSERT_PTR_NULL(ob_mock_close_at(m, 0));
	ob_mock_advance(m, 400);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ob_mock_close_at(m, 0));
	CU_ASSERT_EQUAL(ob_mock_close_at(m, 0)->session, out);
	CU_ASSERT_EQUAL(ob_mock_close_at(m, 0)->code, 4401);
	CU_ASSERT_PTR_NULL(ob_mock_close_at(m, 1));
	CU_ASSERT_EQUAL(ob_mock_counter(m, "auth_late"), 1);
	ob_mock_free(m);
}

static void test_rotation(void)
{
	ob_mock *m = begin("{\"login\":101,\"hmac\":{\"keys\":[{\"secret\":\"" KEY
	                   "\"},{\"secret\":\"" KEY2 "\"}]}}");

	CU_ASSERT_EQUAL(login(m, ob_mock_session(m, NULL), token("ann", 60, KEY)).code, OB_OK);
	CU_ASSERT_EQUAL(login(m, ob_mock_session(m, NULL), token("bob", 60, KEY2)).code, OB_OK);
	CU_ASSERT_EQUAL(login(m, ob_mock_session(m, NULL), token("bob", 60, KEY KEY)).code,
	                OB_E_DENIED);
	ob_mock_free(m);
}

/* Who has logged in stays in, and who has not is still waited for. */
static void test_reload(void)
{
	json_t *conf = json_loads("{\"login\":101,\"deadline\":5," HMAC1 "}", 0, NULL);
	ob_mock *m = begin("{\"login\":101,\"deadline\":5," HMAC1 "}");
	ob_session in = ob_mock_session(m, NULL);
	ob_session out = ob_mock_session(m, NULL);

	CU_ASSERT_EQUAL(login(m, in, token("ann", 60, KEY)).code, OB_OK);
	ob_mock_advance(m, 3000);
	ob_mock *next = ob_mock_next(m, &ob_module, conf);
	CU_ASSERT_EQUAL_FATAL(ob_mock_check(next), 0);
	CU_ASSERT_EQUAL_FATAL(ob_mock_start(next), 0);
	CU_ASSERT_EQUAL_FATAL(ob_mock_switch(m, next), 0);
	CU_ASSERT_NOT_EQUAL(say(next, in, 7).code, OB_E_DENIED);
	CU_ASSERT_EQUAL(say(next, out, 7).code, OB_E_DENIED);
	ob_mock_advance(next, 2200);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ob_mock_close_at(next, 0));
	CU_ASSERT_EQUAL(ob_mock_close_at(next, 0)->session, out);
	CU_ASSERT_EQUAL(ob_mock_close_at(next, 0)->code, 4401);
	ob_mock_free(next);
	ob_mock_free(m);
	json_decref(conf);
}

static void test_again(void)
{
	ob_mock *m = begin(PLAIN);
	ob_session s = ob_mock_session(m, NULL);

	CU_ASSERT_EQUAL(login(m, s, token("ann", 60, KEY)).code, OB_OK);
	CU_ASSERT_EQUAL(login(m, s, "nonsense").code, OB_E_DENIED);
	CU_ASSERT_NOT_EQUAL(say(m, s, 7).code, OB_E_DENIED); /* it is in all the same */
	ob_mock_as(m, s);
	char body[300];
	int n = snprintf(body, sizeof(body), "{\"token\":\"%s\"}", token("bob", 60, KEY));
	ob_mock_reply r = ob_mock_send(m, LOGIN, OB_VIEW_CLIENT, body, (size_t)n);
	CU_ASSERT(r.held);
	CU_ASSERT_EQUAL(ob_mock_send(m, LOGIN, OB_VIEW_CLIENT, body, (size_t)n).code, OB_E_BUSY);
	CU_ASSERT_EQUAL(say(m, s, 7).code, OB_E_DENIED); /* who is it? */
	ob_mock_run(m);
	CU_ASSERT_EQUAL(ob_mock_reply_of(m, r.req).code, OB_OK);
	CU_ASSERT_NOT_EQUAL(say(m, s, 7).code, OB_E_DENIED);
	ob_mock_free(m);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("auth", NULL, NULL);
	CU_add_test(s, "what it can be configured with", test_conf);
	CU_add_test(s, "nothing goes before the login", test_login);
	CU_add_test(s, "tokens are refused for their reasons", test_refused);
	CU_add_test(s, "who fails too often is closed", test_attempts);
	CU_add_test(s, "who does not log in is closed", test_deadline);
	CU_add_test(s, "two keys", test_rotation);
	CU_add_test(s, "the module is replaced", test_reload);
	CU_add_test(s, "a second login", test_again);
	return ob__tap_run();
}
