/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The module against a host made of a table of functions: no socket, no node. */

#include <string.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "modules/http_admin/http_admin.c"
#include "tap.h"

#define REQ 77

/* What is asked, and how this host behaves. */
struct request {
	const char *why;
	const char *method;
	const char *path;
	const char *query;
	const char *headers; /* "Name: value\n" ... */
	const char *body;
	const char *token; /* the node's http.token; NULL: none is set */
	bool remote;       /* the peer is not this machine */
	int status;        /* expected */
	const char *says;  /* expected somewhere in the answer, or the verb's arguments */
};

static const struct request *now;

/* What came of it. */
static struct {
	int status;
	char type[64];
	char body[1024];
	char headers[256];
	char args[512]; /* the verb's, "" if none was asked */
	int paths;
	int ends;
	bool deny;  /* ob_admin() answers OB_E_DENIED */
	bool later; /* ob_admin() answers after it returned */
	ob_admin_fn fn;
	void *arg;
} host;

static const char verb_list[] =
	"[{'verb':'node','method':'GET','path':'/node','write':false,'tail':null,'open':false},"
	"{'verb':'health','method':'GET','path':'/healthz','write':false,'open':true},"
	"{'verb':'modules.list','method':'GET','path':'/modules','write':false},"
	"{'verb':'modules.load','method':'POST','path':'/modules','write':true},"
	"{'verb':'modules.reload','method':'POST','path':'/modules/reload','write':true},"
	"{'verb':'modules.unload','method':'DELETE','path':'/modules/*','write':true,"
	"'tail':'name'},"
	"{'verb':'metrics','method':'GET','path':'/metrics','write':false},"
	"{'verb':'config.reload','method':'POST','path':'/update_remote_rpc_config',"
	"'write':true}]";

static json_t *mock_verbs(void)
{
	char text[sizeof(verb_list)];

	memcpy(text, verb_list, sizeof(text));
	for (char *c = text; *c; c++) {
		*c = *c == '\'' ? '"' : *c;
	}
	return json_pack("{s:o}", "verbs", json_loads(text, 0, NULL));
}

static int mock_refuse(ob_ctx *ctx, int code, const char *text)
{
	(void)ctx;
	(void)text;
	return code;
}

static const char *mock_strerror(ob_ctx *ctx, int code)
{
	return code == OB_E_DENIED ? "denied" : "failed";
}

static void mock_vlog(ob_ctx *ctx, int level, const char *fmt, va_list ap)
{
}

static int mock_counter(ob_ctx *ctx, const char *name, const char *help)
{
	return 1;
}

static void mock_count(ob_ctx *ctx, int counter, uint64_t n)
{
}

static int mock_on_http(ob_ctx *ctx, const char *method, const char *path, ob_handler_fn fn,
                        uint32_t flags)
{
	CU_ASSERT_STRING_EQUAL(method, "*");
	CU_ASSERT_EQUAL(flags, OB_HTTP_ADMIN);
	host.paths++;
	return 0;
}

static int mock_http_info(ob_ctx *ctx, ob_req req, ob_http_info *info)
{
	info->method = now->method;
	info->path = now->path;
	info->query = now->query;
	info->tail = "";
	info->loopback = !now->remote;
	return 0;
}

static const char *mock_http_header(ob_ctx *ctx, ob_req req, const char *name)
{
	static char value[4][128];
	static unsigned turn;
	const char *at = now->headers;
	size_t len = strlen(name);

	while (at && *at) {
		const char *end = strchr(at, '\n');

		if (strncasecmp(at, name, len) == 0 && at[len] == ':') {
			char *out = value[turn++ % 4];

			snprintf(out, 128, "%.*s", (int)(end - at - (long)len - 2), at + len + 2);
			return out;
		}
		at = end + 1;
	}
	return NULL;
}

static int mock_set_header(ob_ctx *ctx, ob_req req, const char *name, const char *value)
{
	size_t used = strlen(host.headers);

	snprintf(host.headers + used, sizeof(host.headers) - used, "%s: %s\n", name, value);
	return 0;
}

static int mock_req_view(ob_ctx *ctx, ob_req req, ob_view *view)
{
	view->data = (const uint8_t *)now->body;
	view->len = now->body ? strlen(now->body) : 0;
	return 0;
}

static int mock_hold(ob_ctx *ctx, ob_req req)
{
	return 0;
}

static int mock_reply(ob_ctx *ctx, ob_req req, int status, const char *type, const void *data,
                      size_t len)
{
	CU_ASSERT_EQUAL(req, REQ);
	host.ends++;
	host.status = status;
	snprintf(host.type, sizeof(host.type), "%s", type);
	snprintf(host.body, sizeof(host.body), "%.*s", (int)len, (const char *)data);
	return 0;
}

static int mock_fail(ob_ctx *ctx, ob_req req, int code, const char *text)
{
	host.ends++;
	host.status = 599;
	return 0;
}

static void run_verb(ob_ctx *ctx, const char *verb, ob_admin_fn fn, void *arg)
{
	json_t *body = NULL;
	ob_admin_reply reply = {.size = sizeof(reply), .status = 200};

	if (strcmp(verb, "verbs") == 0) {
		body = mock_verbs();
	} else if (strcmp(verb, "metrics") == 0) {
		reply.text = "obhost_up 1\n";
	} else {
		body = json_pack("{s:s}", "verb", verb);
	}
	reply.body = body;
	fn(ctx, &reply, arg);
	json_decref(body);
}

static int mock_admin(ob_ctx *ctx, const char *verb, json_t *args, ob_admin_fn fn, void *arg)
{
	if (args) {
		char *text = json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS);

		snprintf(host.args, sizeof(host.args), "%s", text);
		free(text);
		json_decref(args);
	}
	if (host.deny) {
		return OB_E_DENIED;
	}
	if (host.later) {
		host.fn = fn;
		host.arg = arg;
		return 0;
	}
	run_verb(ctx, verb, fn, arg);
	return 0;
}

static int mock_secret(ob_ctx *ctx, const char *path, const char *given)
{
	CU_ASSERT_STRING_EQUAL(path, "http.token");
	return now->token ? strcmp(given, now->token) == 0 : OB_E_NOT_FOUND;
}

static const ob_api api = {
	.size = sizeof(api),
	.strerror = mock_strerror,
	.refuse = mock_refuse,
	.vlog = mock_vlog,
	.counter = mock_counter,
	.count = mock_count,
	.on_http = mock_on_http,
	.req_view = mock_req_view,
	.fail = mock_fail,
	.request_hold = mock_hold,
	.http_info = mock_http_info,
	.http_header = mock_http_header,
	.http_set_header = mock_set_header,
	.http_reply = mock_reply,
	.admin = mock_admin,
	.secret_check = mock_secret,
};
static ob_ctx ctx = {.api = &api};

#define HERE  "Host: localhost:21001\n"
#define TOKEN "correct horse battery"

static const struct request rows[] = {
	/* which verb */
	{"a verb", "GET", "/node", "", HERE, NULL, NULL, false, 200, "\"verb\": \"node\""},
	{"HEAD is a GET", "HEAD", "/node", "", HERE, NULL, NULL, false, 200, "node"},
	{"two methods, one path", "POST", "/modules", "", HERE, "{\"name\":\"x\"}", NULL, false,
         200, "{\"name\":\"x\"}"},
	{"the rest of the path", "DELETE", "/modules/login", "", HERE, NULL, NULL, false, 200,
         "{\"name\":\"login\"}"},
	{"an exact path wins", "POST", "/modules/reload", "", HERE, NULL, NULL, false, 200,
         "modules.reload"},
	{"a path behind the name", "DELETE", "/modules/a/b", "", HERE, NULL, NULL, false, 404, ""},
	{"an empty name", "DELETE", "/modules/", "", HERE, NULL, NULL, false, 404, ""},
	{"an unknown path", "GET", "/nodes", "", HERE, NULL, NULL, false, 404, "not_found"},
	{"a wrong method", "GET", "/update_remote_rpc_config", "", HERE, NULL, NULL, false, 405,
         "Allow: POST\n"},
	{"all methods there are", "PUT", "/modules", "", HERE, NULL, NULL, false, 405,
         "Allow: GET, POST\n"},
	{"a page of text", "GET", "/metrics", "", HERE, NULL, NULL, false, 200, "obhost_up 1\n"},

	/* who asks, no token set */
	{"127.0.0.1", "GET", "/node", "", "Host: 127.0.0.1\n", NULL, NULL, false, 200, ""},
	{"[::1] and a port", "GET", "/node", "", "Host: [::1]:80\n", NULL, NULL, false, 200, ""},
	{"in capitals", "GET", "/node", "", "Host: LOCALHOST:1\n", NULL, NULL, false, 200, ""},
	{"from elsewhere", "GET", "/node", "", HERE, NULL, NULL, true, 403, "http.token"},
	{"a name that now means us", "GET", "/node", "", "Host: evil.example\n", NULL, NULL, false,
         403, "Host"},
	{"a longer name", "GET", "/node", "", "Host: localhost.evil.example\n", NULL, NULL, false,
         403, "Host"},
	{"a port that is none", "GET", "/node", "", "Host: 127.0.0.1:1@evil\n", NULL, NULL, false,
         403, "Host"},
	{"no Host", "GET", "/node", "", "", NULL, NULL, false, 403, "Host"},
	{"a stranger learns no path", "GET", "/nodes", "", HERE, NULL, NULL, true, 403, ""},
	{"nor a method", "PUT", "/modules", "", HERE, NULL, NULL, true, 403, ""},
	{"health is for all", "GET", "/healthz", "", "Host: x\nOrigin: http://y\n", NULL, TOKEN,
         true, 200, "health"},
	{"its other methods aren't", "POST", "/healthz", "", "Host: x\n", NULL, TOKEN, true, 401,
         ""},

	/* who asks, a token set */
	{"the token", "GET", "/node", "", "Authorization: Bearer " TOKEN "\n", NULL, TOKEN, true,
         200, ""},
	{"the scheme in any case", "GET", "/node", "", "Authorization: bEARER  " TOKEN "\n", NULL,
         TOKEN, true, 200, ""},
	{"no token", "GET", "/node", "", HERE, NULL, TOKEN, false, 401,
         "WWW-Authenticate: Bearer\n"},
	{"a wrong one", "GET", "/node", "", "Authorization: Bearer no\n", NULL, TOKEN, false, 401,
         "unauthorized"},
	{"another scheme", "GET", "/node", "", "Authorization: Basic " TOKEN "\n", NULL, TOKEN,
         false, 401, ""},

	/* browsers */
	{"our own page", "GET", "/node", "", HERE "Origin: http://localhost:21001\n", NULL, NULL,
         false, 200, ""},
	{"another page", "POST", "/modules/reload", "", HERE "Origin: http://evil.example\n", NULL,
         NULL, false, 403, "origin"},
	{"another port", "GET", "/node", "", HERE "Origin: http://localhost:8080\n", NULL, NULL,
         false, 403, "origin"},
	{"a page of no origin", "GET", "/node", "", HERE "Origin: null\n", NULL, NULL, false, 403,
         "origin"},
	{"another page, with the token", "GET", "/node", "",
         "Authorization: Bearer " TOKEN "\nHost: a\nOrigin: http://b\n", NULL, TOKEN, true, 403,
         ""},
	{"an address typed in", "GET", "/node", "", HERE "Sec-Fetch-Site: none\n", NULL, NULL,
         false, 200, ""},
	{"a link on another page", "GET", "/node", "", HERE "Sec-Fetch-Site: cross-site\n", NULL,
         NULL, false, 403, "site"},

	/* arguments */
	{"a query", "GET", "/modules", "limit=5&after=a%20b+c", HERE, NULL, NULL, false, 200,
         "{\"after\":\"a b c\",\"limit\":\"5\"}"},
	{"no value", "GET", "/modules", "all&&x=", HERE, NULL, NULL, false, 200,
         "{\"all\":\"\",\"x\":\"\"}"},
	{"a bad escape", "GET", "/modules", "a=%2", HERE, NULL, NULL, false, 400, "escape"},
	{"another", "GET", "/modules", "a=%g0", HERE, NULL, NULL, false, 400, "escape"},
	{"a zero byte", "GET", "/modules", "a=%00", HERE, NULL, NULL, false, 400, "escape"},
	{"not UTF-8", "GET", "/modules", "a=%ff", HERE, NULL, NULL, false, 400, "UTF-8"},
	{"twice", "GET", "/modules", "a=1&a=2", HERE, NULL, NULL, false, 400, "twice"},
	{"a GET with a body", "GET", "/modules", "", HERE, "{}", NULL, false, 400, "body"},
	{"a POST with a query", "POST", "/modules/reload", "name=x", HERE, NULL, NULL, false, 400,
         "query"},
	{"JSON by type", "POST", "/modules/reload", "",
         HERE "Content-Type: application/json; charset=utf-8\n", "{\"force\":true}", NULL, false,
         200, "{\"force\":true}"},
	{"curl -d says form", "POST", "/modules/reload", "",
         HERE "Content-Type: application/x-www-form-urlencoded\n", "{\"force\":true}", NULL, false,
         200, "{\"force\":true}"},
	{"a form", "POST", "/modules/reload", "",
         HERE "Content-Type: application/x-www-form-urlencoded\n", "force=true", NULL, false, 400,
         "not JSON"},
	{"text, as a page's form sends it", "POST", "/modules/reload", "",
         HERE "Content-Type: text/plain\n", "{\"force\":true}", NULL, false, 415,
         "unsupported_media_type"},
	{"half an object", "POST", "/modules/reload", "", HERE, "{\"force\":", NULL, false, 400,
         "not JSON: line 1, column 9"},
	{"two objects", "POST", "/modules/reload", "", HERE, "{}{}", NULL, false, 400, "not JSON"},
	{"a list", "POST", "/modules/reload", "", HERE, "[]", NULL, false, 400, "object"},
	{"a key twice", "POST", "/modules/reload", "", HERE, "{\"a\":1,\"a\":2}", NULL, false, 400,
         "not JSON"},
	{"a path in the body", "POST", "/modules", "", HERE, "{\"path\":\"/tmp/x.so\"}", NULL,
         false, 400, "module_dirs"},
	{"a path in the query", "GET", "/modules", "path=/tmp", HERE, NULL, NULL, false, 400,
         "module_dirs"},
	{"a name in path and body", "DELETE", "/modules/login", "", HERE, "{\"name\":\"other\"}",
         NULL, false, 400, "already"},
};

static void reset(const struct request *request)
{
	now = request;
	memset(&host, 0, sizeof(host));
}

static bool said(const char *words)
{
	return strstr(host.body, words) || strstr(host.args, words) || strstr(host.headers, words);
}

static void test_rows(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct request *row = &rows[i];

		reset(row);
		handle(&ctx, REQ);
		if (host.status != row->status || host.ends != 1 || !said(row->says) ||
		    (row->status != 200 && host.args[0]) ||
		    !strstr(host.headers, "Cache-Control: no-store\n") ||
		    host.body[strlen(host.body) - 1] != '\n') {
			CU_FAIL("a row failed");
			printf("# row: %s: %d %s%s\n", row->why, host.status, host.headers,
			       host.body);
		}
	}
	CU_PASS("rows");
}

static void test_start(void)
{
	reset(&rows[0]);
	CU_ASSERT_EQUAL_FATAL(start(&ctx, NULL), 0);
	CU_ASSERT_EQUAL(host.paths, 7);
}

static void test_types(void)
{
	reset(&rows[0]);
	handle(&ctx, REQ);
	CU_ASSERT_STRING_EQUAL(host.type, "application/json");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(rows[i].path, "/metrics") == 0) {
			reset(&rows[i]);
		}
	}
	handle(&ctx, REQ);
	CU_ASSERT_STRING_EQUAL(host.type, "text/plain; version=0.0.4");
}

static void test_later(void)
{
	reset(&rows[0]);
	host.later = true;
	handle(&ctx, REQ);
	CU_ASSERT_EQUAL(host.ends, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(host.fn);
	run_verb(&ctx, "node", host.fn, host.arg);
	CU_ASSERT_EQUAL(host.ends, 1);
	CU_ASSERT_EQUAL(host.status, 200);
}

static void test_denied(void)
{
	reset(&rows[0]);
	host.deny = true;
	handle(&ctx, REQ);
	CU_ASSERT_EQUAL(host.ends, 1);
	CU_ASSERT_EQUAL(host.status, 500);
	stop(&ctx);
	CU_ASSERT_EQUAL(start(&ctx, NULL), OB_E_DENIED);
	host.deny = false;
	CU_ASSERT_EQUAL(start(&ctx, NULL), 0);
	CU_ASSERT_EQUAL(host.paths, 7);
}

int main(void)
{
	CU_initialize_registry();

	CU_pSuite s = CU_add_suite("http_admin", NULL, NULL);

	CU_add_test(s, "starting registers each path once", test_start);
	CU_add_test(s, "requests and their answers", test_rows);
	CU_add_test(s, "content types", test_types);
	CU_add_test(s, "a verb that ends later", test_later);
	CU_add_test(s, "a module without admin", test_denied);

	int rc = ob__tap_run();

	stop(&ctx);
	return rc;
}
