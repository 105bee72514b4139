/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* HTTP for applications and for administration, in a whole node. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet p;

static struct {
	int count;
	ob_req req;
	char method[16];
	char path[64];
	char query[64];
	char tail[64];
	char header[64];
	char body[64];
	bool loopback;
	bool unix_socket;
	uint32_t flags;
} got;

static void look(ob_ctx *ctx, ob_req req)
{
	ob_http_info info = {.size = sizeof(info)};
	ob_view v = {.size = sizeof(v)};
	const char *header = ob_http_header(ctx, req, "x-test");

	CU_ASSERT_EQUAL(ob_http_get(ctx, req, &info), 0);
	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	got.count++;
	got.req = req;
	snprintf(got.method, sizeof(got.method), "%s", info.method);
	snprintf(got.path, sizeof(got.path), "%s", info.path);
	snprintf(got.query, sizeof(got.query), "%s", info.query);
	snprintf(got.tail, sizeof(got.tail), "%s", info.tail);
	snprintf(got.header, sizeof(got.header), "%s", header != NULL ? header : "-");
	snprintf(got.body, sizeof(got.body), "%.*s", (int)v.len, (const char *)v.data);
	got.loopback = info.loopback;
	got.unix_socket = info.unix_socket;
	got.flags = v.flags;
}

static void on_look(ob_ctx *ctx, ob_req req)
{
	look(ctx, req);
	CU_ASSERT_EQUAL(ob_http_set_header(ctx, req, "X-Answer", "yes"), 0);
	CU_ASSERT_EQUAL(ob_http_set_header(ctx, req, "X-Bad", "a\r\nb: c"), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_http_set_header(ctx, req, "", "x"), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_http_reply(ctx, req, 199, NULL, "", 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_http_reply(ctx, req, 600, NULL, "", 0), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_http_reply(ctx, req, 202, "text/html", "<p>", 3), 0);
	CU_ASSERT_EQUAL(ob_http_reply(ctx, req, 202, "text/html", "<p>", 3), OB_E_STALE);
}

static void on_json(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i}", "a", ob_req_int(ctx, req, "n", 7));
}

static void on_keep(ob_ctx *ctx, ob_req req)
{
	look(ctx, req);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
}

static void on_one_way(ob_ctx *ctx, ob_req req)
{
	ob_reply(ctx, req, "said", 4);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const struct {
		const char *method;
		const char *path;
		ob_handler_fn fn;
		uint32_t flags;
	} rows[] = {
		{"GET", "/look", on_look, 0},       {"GET", "/files/*", on_look, 0},
		{"*", "/any", on_look, 0},          {"POST", "/json", on_json, 0},
		{"GET", "/keep", on_keep, 0},       {"GET", "/one", on_one_way, OB_ONE_WAY},
		{"DELETE", "/files/x", on_look, 0},
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
		rc = ob_on_http(ctx, rows[i].method, rows[i].path, rows[i].fn, rows[i].flags);
	}
	return rc;
}

static void begin(const char *conf)
{
	rig_begin();
	memset(&p, 0, sizeof(p));
	memset(&got, 0, sizeof(got));
	p.start = start;
	rig_start(
		&n, "n", "x",
		"'http': {'port': %d}, %s 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}, "
		"{'name': 'http_admin', 'admin': true}]",
		rig_port(), conf, (long)(intptr_t)&p);
}

static void end(void)
{
	CU_ASSERT_EQUAL(n.node->dispatch.reqs.live, 0);
	rig_stop(&n);
	rig_end();
}

static void test_routes(void)
{
	static const struct {
		const char *method;
		const char *target;
		int status;
		const char *path;
		const char *query;
		const char *tail;
	} rows[] = {
		{"GET", "/look", 202, "/look", "", ""},
		{"GET", "/look?a=%20b&c", 202, "/look", "a=%20b&c", ""},
		{"HEAD", "/look", 202, "/look", "", ""},
		{"GET", "/l%6fok", 202, "/look", "", ""},
		{"GET", "/files/a/b.txt", 202, "/files/a/b.txt", "", "a/b.txt"},
		{"GET", "/files/", 202, "/files/", "", ""},
		{"GET", "/files/x", 202, "/files/x", "", "x"},
		{"DELETE", "/files/x", 202, "/files/x", "", ""},
		{"PATCH", "/any", 202, "/any", "", ""},
		{"HEAD", "/any", 202, "/any", "", ""},
		{"POST", "/look", 405, NULL, NULL, NULL},
		{"PUT", "/files/x", 405, NULL, NULL, NULL},
		{"HEAD", "/json", 405, NULL, NULL, NULL},
		{"GET", "/", 404, NULL, NULL, NULL},
		{"GET", "/look/", 404, NULL, NULL, NULL},
		{"GET", "/LOOK", 404, NULL, NULL, NULL},
	};

	begin("");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *answer;
		int before = got.count;
		int status = rig_http(n.http_port, rows[i].method, rows[i].target, "X-Test: h\r\n",
		                      NULL, &answer);
		CU_ASSERT_EQUAL(status, rows[i].status);
		if (status != rows[i].status) {
			printf("# %s %s: %d %s\n", rows[i].method, rows[i].target, status, answer);
		}
		if (rows[i].path != NULL) {
			CU_ASSERT_EQUAL(got.count, before + 1);
			CU_ASSERT_STRING_EQUAL(got.method, rows[i].method);
			CU_ASSERT_STRING_EQUAL(got.path, rows[i].path);
			CU_ASSERT_STRING_EQUAL(got.query, rows[i].query);
			CU_ASSERT_STRING_EQUAL(got.tail, rows[i].tail);
			CU_ASSERT_STRING_EQUAL(got.header, "h");
			CU_ASSERT_STRING_EQUAL(got.body, "");
			CU_ASSERT_TRUE(got.loopback);
			CU_ASSERT_FALSE(got.unix_socket);
			CU_ASSERT_EQUAL(got.flags, OB_VIEW_HTTP);
			CU_ASSERT_STRING_EQUAL(answer,
			                       strcmp(rows[i].method, "HEAD") == 0 ? "" : "<p>");
		} else if (strcmp(rows[i].method, "HEAD") != 0) {
			json_t *body = json_loads(answer, 0, NULL);
			const char *code = json_string_value(
				json_object_get(json_object_get(body, "error"), "code"));
			CU_ASSERT_STRING_EQUAL(code,
			                       status == 405 ? "method_not_allowed" : "not_found");
			json_decref(body);
		}
		free(answer);
	}
	end();
}

static void test_bodies(void)
{
	char *answer;
	char *big = malloc(5001);

	begin("'limits': {'message': 4096},");
	CU_ASSERT_EQUAL(rig_http(n.http_port, "POST", "/json", NULL, "{'n': 42}", &answer), 200);
	CU_ASSERT_STRING_EQUAL(answer, "{\"a\":42}");
	free(answer);
	memset(big, 'x', 5000);
	big[5000] = '\0';
	CU_ASSERT_EQUAL(rig_http(n.http_port, "POST", "/json", NULL, big, NULL), 413);
	free(big);
	/* registered as one-way: HTTP is answered all the same */
	CU_ASSERT_EQUAL(rig_http(n.http_port, "GET", "/one", NULL, NULL, &answer), 200);
	CU_ASSERT_STRING_EQUAL(answer, "said");
	free(answer);
	end();
}

/* Kept over the callback: what was borrowed is gone, headers can still be added. */
static void test_kept(void)
{
	ob_http_info info = {.size = sizeof(info)};
	char *answer;

	begin("");
	int fd = rig_http_begin(n.http_port, "GET", "/keep", "X-Test: h\r\n", NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 1));
	CU_ASSERT_EQUAL(ob_http_get(p.ctx, got.req, &info), OB_E_STATE);
	CU_ASSERT_PTR_NULL(ob_http_header(p.ctx, got.req, "X-Test"));
	CU_ASSERT_EQUAL(ob_http_set_header(p.ctx, got.req, "X-Late", "1"), 0);
	CU_ASSERT_EQUAL(ob_fail(p.ctx, got.req, OB_E_DENIED, "no"), 0);
	CU_ASSERT_EQUAL(rig_http_end(fd, &answer), 403);
	CU_ASSERT_STRING_EQUAL(answer, "{\"code\":403,\"error\":\"no\"}");
	free(answer);

	/* while a handler's module is replaced: the old generation answers */
	fd = rig_http_begin(n.http_port, "GET", "/keep", NULL, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(got.count == 2));
	ob_ctx *old = p.ctx;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(ob_http_reply(old, got.req, 200, NULL, "old", 3), 0);
	CU_ASSERT_EQUAL(rig_http_end(fd, &answer), 200);
	CU_ASSERT_STRING_EQUAL(answer, "old");
	free(answer);
	end();
}

/* Through the module: what an operator types. */
static void test_http_admin(void)
{
	char *answer;

	begin("");
	CU_ASSERT_EQUAL(rig_http(n.http_port, "GET", "/healthz", NULL, NULL, &answer), 200);
	free(answer);
	CU_ASSERT_EQUAL(
		rig_http(n.http_port, "POST", "/modules/reload", NULL, "{'force': true}", &answer),
		200);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer, "\"switched\""));
	free(answer);
	CU_ASSERT_EQUAL(rig_http(n.http_port, "GET", "/modules/tx/2", NULL, NULL, &answer), 200);
	free(answer);
	CU_ASSERT_EQUAL(rig_http(n.http_port, "DELETE", "/modules/no_such", NULL, NULL, NULL), 404);
	CU_ASSERT_EQUAL(rig_http(n.http_port, "DELETE", "/modules/puppet", NULL, NULL, NULL), 200);
	CU_ASSERT_EQUAL(rig_http(n.http_port, "GET", "/look", NULL, NULL, NULL), 404);
	CU_ASSERT_EQUAL(rig_http(n.http_port, "POST", "/stop", NULL, NULL, NULL), 202);
	end();
}

/* `admin` moves administration off the application's port, and only it. */
static void test_apart(void)
{
	char conf[100];
	int admin_port = rig_port();

	snprintf(conf, sizeof(conf), "'admin': {'port': %d},", admin_port);
	begin(conf);
	CU_ASSERT_EQUAL(rig_http(n.http_port, "GET", "/look", NULL, NULL, NULL), 202);
	CU_ASSERT_EQUAL(rig_http(n.http_port, "GET", "/node", NULL, NULL, NULL), 404);
	CU_ASSERT_EQUAL(rig_http(n.http_port, "GET", "/healthz", NULL, NULL, NULL), 404);
	CU_ASSERT_EQUAL(rig_http(admin_port, "GET", "/node", NULL, NULL, NULL), 200);
	CU_ASSERT_EQUAL(rig_http(admin_port, "GET", "/look", NULL, NULL, NULL), 404);
	end();
}

static void test_apart_unix(void)
{
	struct rig_client c;
	char conf[300];
	char path[256];
	static const char ask[] = "GET /node HTTP/1.0\r\nHost: localhost\r\n\r\n";

	rig_begin();
	memset(&p, 0, sizeof(p));
	snprintf(path, sizeof(path), "%s/a.sock", rig_dir);
	snprintf(conf, sizeof(conf), "'admin': {'unix': '%s'},", path);
	rig_start(&n, "n", "x", "%s 'modules': [{'name': 'http_admin', 'admin': true}]", conf);
	rig_connect_unix(&c, path);
	rig_send_raw(&c, ask, sizeof(ask) - 1);
	CU_ASSERT_EQUAL(rig_closed(&c), 0);
	CU_ASSERT_EQUAL(strncmp((char *)c.packets, "HTTP/1.", 7), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr((char *)c.packets, " 200 "));
	rig_disconnect(&c);
	rig_stop(&n);
	CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
	rig_end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("web", NULL, NULL);
	CU_add_test(s, "routes", test_routes);
	CU_add_test(s, "bodies", test_bodies);
	CU_add_test(s, "kept requests", test_kept);
	CU_add_test(s, "administration through its module", test_http_admin);
	CU_add_test(s, "administration on its own port", test_apart);
	CU_add_test(s, "administration on a unix socket", test_apart_unix);
	return ob__tap_run();
}
