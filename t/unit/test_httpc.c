/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/httpc.h"

#include <CUnit/CUnit.h>
#include <obhost/obhost.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/http.h"
#include "net_util.h"
#include "tap.h"

/* Our own server as the other side, and a plain socket where it is too polite. */
struct site {
	struct net n;
	struct ob__http_server *srv;
	struct ob__httpc *c;
	unsigned requests;
	uint64_t handle;
	char seen[1024];
	size_t big;
	bool hold;
	char url[128];
};

/* What a callback got. */
struct result {
	unsigned calls;
	int code;
	int status;
	char type[64];
	char text[256];
	char data[1024];
	size_t len;
	struct site *site; /* set: free the client in the callback */
	uint64_t cancel;   /* set: cancel that request in the callback */
	struct ob__httpc *c;
};

static const char *header(struct ob__http_server *srv, uint64_t handle, const char *name)
{
	const char *value = ob__http_header(srv, handle, name);
	return value ? value : "-";
}

static void on_request(struct ob__http_server *srv, const struct ob__http_request *req, void *arg)
{
	struct site *s = arg;
	s->requests++;
	s->handle = req->handle;
	snprintf(s->seen, sizeof(s->seen), "%s %s?%s [%.*s] a=%s e=%s ct=%s expect=%s ua=%s",
	         req->method, req->path, req->query, (int)req->body_len, req->body,
	         header(srv, req->handle, "x-a"), header(srv, req->handle, "x-empty"),
	         header(srv, req->handle, "content-type"), header(srv, req->handle, "expect"),
	         header(srv, req->handle, "user-agent"));
	if (s->hold) {
		return;
	}
	if (s->big > 0) {
		char *body = calloc(1, s->big);
		ob__http_reply(srv, req->handle, 200, "x/big", body, s->big);
		free(body);
		return;
	}
	ob__http_set_header(srv, req->handle, "Location", "/elsewhere");
	ob__http_reply(srv, req->handle, 302, "x/y; z", "moved", 5);
}

static void on_caller(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	(void)l;
	struct site *s = arg;
	ob__http_accept(s->srv, server);
}

static void site_up(struct site *s, uint32_t max)
{
	memset(s, 0, sizeof(*s));
	net_up(&s->n);
	struct ob__http_options o = {.on_request = on_request, .arg = s};
	s->srv = ob__http_server_new(&s->n.m, &o);
	net_listen(&s->n, NULL, on_caller, s);
	s->c = ob__httpc_new(s->n.loop, max);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s->c);
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d/p%%20q?r=s",
	         ob__listener_port(s->n.listener));
}

static void site_down(struct site *s)
{
	ob__httpc_free(s->c);
	ob__http_server_free(s->srv);
	net_down(&s->n);
}

static void on_result(const struct ob__httpc_response *res, void *arg)
{
	struct result *r = arg;
	r->calls++;
	r->code = res->code;
	r->status = res->status;
	r->len = res->len;
	snprintf(r->type, sizeof(r->type), "%s", res->content_type);
	snprintf(r->text, sizeof(r->text), "%s", res->text);
	snprintf(r->data, sizeof(r->data), "%.*s", (int)res->len, (const char *)res->data);
	if (r->cancel) {
		ob__httpc_cancel(r->c, r->cancel);
	}
	if (r->site) {
		ob__httpc_free(r->site->c);
		r->site->c = NULL;
	}
}

static void test_get(void)
{
	struct site s;
	struct result r = {0};
	site_up(&s, 0);
	struct ob__httpc_request req = {.url = s.url};
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
	CU_ASSERT_EQUAL(r.calls, 0);
	CU_ASSERT(net_until(&s.n, &r.calls, 1));
	CU_ASSERT_EQUAL(r.code, 0);
	CU_ASSERT_EQUAL(r.status, 302); /* and not followed */
	CU_ASSERT_STRING_EQUAL(r.type, "x/y; z");
	CU_ASSERT_STRING_EQUAL(r.data, "moved");
	CU_ASSERT_STRING_EQUAL(r.text, "");
	CU_ASSERT_STRING_EQUAL(s.seen, "GET /p q?r=s [] a=- e=- ct=- expect=- ua=obhost");
	net_turns(&s.n, 20);
	CU_ASSERT_EQUAL(r.calls, 1);
	CU_ASSERT_EQUAL(s.requests, 1);
	/* The second one takes the same connection. */
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
	CU_ASSERT(net_until(&s.n, &r.calls, 2));
	CU_ASSERT_EQUAL(ob__listener_accepted(s.n.listener), 1);
	site_down(&s);
}

static void test_methods(void)
{
	static const char *const headers[] = {"X-A: b", "X-Empty:", NULL};
	static const char *const typed[] = {"Content-Type: application/json", NULL};
	static const struct {
		const char *method;
		const char *const *headers;
		const char *body;
		const char *seen;
	} rows[] = {
		{"GET", headers, NULL, "GET /p q?r=s [] a=b e= ct=- expect=- ua=obhost"},
		{"POST", headers, "data", "POST /p q?r=s [data] a=b e= ct=- expect=- ua=obhost"},
		{"POST", NULL, NULL, "POST /p q?r=s [] a=- e=- ct=- expect=- ua=obhost"},
		{"PUT", typed, "{}",
	         "PUT /p q?r=s [{}] a=- e=- ct=application/json expect=- ua=obhost"},
		{"DELETE", NULL, NULL, "DELETE /p q?r=s [] a=- e=- ct=- expect=- ua=obhost"},
		{"PATCH", NULL, "x", "PATCH /p q?r=s [x] a=- e=- ct=- expect=- ua=obhost"},
		{"HEAD", NULL, NULL, "HEAD /p q?r=s [] a=- e=- ct=- expect=- ua=obhost"},
		{"OPTIONS", NULL, NULL, "OPTIONS /p q?r=s [] a=- e=- ct=- expect=- ua=obhost"},
	};
	struct site s;
	site_up(&s, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct result r = {0};
		char body[16] = "";
		if (rows[i].body) {
			strcpy(body, rows[i].body);
		}
		struct ob__httpc_request req = {.url = s.url,
		                                .method = rows[i].method,
		                                .headers = rows[i].headers,
		                                .body = rows[i].body ? body : NULL,
		                                .body_len = strlen(body)};
		CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
		memset(body, '!', sizeof(body)); /* it was copied */
		CU_ASSERT(net_until(&s.n, &r.calls, 1));
		CU_ASSERT_EQUAL(r.status, 302);
		CU_ASSERT_STRING_EQUAL(s.seen, rows[i].seen);
	}
	site_down(&s);
}

static void test_refused(void)
{
	static const char *const split[] = {"X-A: b\r\nEvil: 1", NULL};
	static const char *const newline[] = {"X-A: b\nEvil", NULL};
	static const char *const nameless[] = {": b", NULL};
	static const char *const colonless[] = {"X-A", NULL};
	static const char *const spaced[] = {"X A: b", NULL};
	static const char *const length[] = {"content-length: 5", NULL};
	static const char *const coding[] = {"Transfer-Encoding: chunked", NULL};
	static const struct ob__httpc_request rows[] = {
		{.url = NULL},
		{.url = ""},
		{.url = "127.0.0.1"},
		{.url = "ftp://127.0.0.1/"},
		{.url = "file:///etc/passwd"},
		{.url = "gopher://127.0.0.1/"},
		{.url = "http://"},
		{.url = "http://a b/"},
		{.url = "http://a/\r\nEvil: 1"},
		{.url = "http://a:99999/"},
		{.url = "http://a/", .method = "GE T"},
		{.url = "http://a/", .method = ""},
		{.url = "http://a/", .method = "GET / HTTP/1.1\r\nEvil: 1\r\n"},
		{.url = "http://a/", .method = "CONNECT"},
		{.url = "http://a/", .headers = split},
		{.url = "http://a/", .headers = newline},
		{.url = "http://a/", .headers = nameless},
		{.url = "http://a/", .headers = colonless},
		{.url = "http://a/", .headers = spaced},
		{.url = "http://a/", .headers = length},
		{.url = "http://a/", .headers = coding},
		{.url = "http://a/", .body = NULL, .body_len = 3},
	};
	struct site s;
	struct result r = {0};
	site_up(&s, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int rc = ob__httpc_start(s.c, &rows[i], on_result, &r, NULL);
		if (rc != OB_E_INVAL) {
			printf("# row %zu: %d\n", i, rc);
			CU_FAIL("not refused");
		}
	}
	net_turns(&s.n, 10);
	CU_ASSERT_EQUAL(r.calls, 0);
	site_down(&s);
}

static void test_failures(void)
{
	struct site s;
	struct result r = {0};
	site_up(&s, 0);
	s.big = 200000;
	struct ob__httpc_request req = {.url = s.url, .max_body = 199999};
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
	CU_ASSERT(net_until(&s.n, &r.calls, 1));
	CU_ASSERT_EQUAL(r.code, OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(r.status, 0);
	CU_ASSERT(strlen(r.text) > 0);
	req.max_body = 200000;
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
	CU_ASSERT(net_until(&s.n, &r.calls, 2));
	CU_ASSERT_EQUAL(r.code, 0);
	CU_ASSERT_EQUAL(r.len, 200000);

	s.hold = true;
	req.timeout_ms = 30;
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
	CU_ASSERT(net_until(&s.n, &r.calls, 3));
	CU_ASSERT_EQUAL(r.code, OB_E_DEADLINE);
	CU_ASSERT(strlen(r.text) > 0);

	ob__listener_close(s.n.listener); /* nobody there */
	s.n.listener = NULL;
	net_turns(&s.n, 10);
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
	CU_ASSERT(net_until(&s.n, &r.calls, 4));
	CU_ASSERT_EQUAL(r.code, OB_E_NOT_SENT);
	CU_ASSERT(strlen(r.text) > 0);
	site_down(&s);
}

/* An answer without a length that goes on and on; one that breaks off; none at all. */
static void test_rude_server(void)
{
	static const struct {
		const char *answer;
		int code;
	} rows[] = {
		{"HTTP/1.1 200 OK\r\n\r\n0123456789", OB_E_TOO_BIG},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n",
	         OB_E_TOO_BIG},
		{"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n123", OB_E_MAYBE_SENT},
		{"HTTP/1.1 200 OK\r\n\r\n01234567", 0},
		{"", OB_E_MAYBE_SENT},
	};
	struct net n;
	net_up(&n);
	struct ob__httpc *c = ob__httpc_new(n.loop, 0);
	struct sockaddr_in addr = net_addr(0);
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	listen(fd, 8);
	getsockname(fd, (struct sockaddr *)&addr, &len);
	char url[64];
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(addr.sin_port));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct result r = {0};
		struct ob__httpc_request req = {.url = url, .max_body = 8};
		CU_ASSERT_EQUAL(ob__httpc_start(c, &req, on_result, &r, NULL), 0);
		int peer = -1;
		char sink[4096];
		while (peer < 0) {
			net_turns(&n, 1);
			peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
		}
		while (recv(peer, sink, sizeof(sink), 0) <= 0) {
			net_turns(&n, 1);
		}
		send(peer, rows[i].answer, strlen(rows[i].answer), MSG_NOSIGNAL);
		net_turns(&n, 5);
		close(peer);
		CU_ASSERT(net_until(&n, &r.calls, 1));
		CU_ASSERT_EQUAL(r.code, rows[i].code);
	}
	close(fd);
	ob__httpc_free(c);
	net_down(&n);
}

static void test_limit(void)
{
	struct site s;
	struct result r = {0};
	site_up(&s, 2);
	struct ob__httpc_request req = {.url = s.url};
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), OB_E_LIMIT);
	CU_ASSERT(net_until(&s.n, &r.calls, 2));
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, NULL), 0);
	CU_ASSERT(net_until(&s.n, &r.calls, 3));
	site_down(&s);
}

static void test_cancel(void)
{
	struct site s;
	struct result r = {0};
	uint64_t id = 0;
	uint64_t other = 0;
	site_up(&s, 0);
	s.hold = true;
	struct ob__httpc_request req = {.url = s.url, .timeout_ms = 100};
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, &id), 0);
	ob__httpc_cancel(s.c, id); /* before anything has happened */
	ob__httpc_cancel(s.c, id);
	ob__httpc_cancel(s.c, 0);
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, &id), 0);
	CU_ASSERT(net_until(&s.n, &s.requests, 1));
	ob__httpc_cancel(s.c, id); /* under way */
	net_turns(&s.n, 10);
	CU_ASSERT_EQUAL(r.calls, 0);
	/* In a callback: another one, and itself. */
	struct result first = {.c = s.c};
	s.hold = false;
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &first, &id), 0);
	s.hold = true;
	req.timeout_ms = 10000;
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &r, &other), 0);
	first.cancel = other;
	s.hold = false;
	CU_ASSERT(net_until(&s.n, &first.calls, 1));
	struct result self = {.c = s.c};
	CU_ASSERT_EQUAL(ob__httpc_start(s.c, &req, on_result, &self, &self.cancel), 0);
	CU_ASSERT(net_until(&s.n, &self.calls, 1));
	net_turns(&s.n, 10);
	CU_ASSERT_EQUAL(first.calls, 1);
	CU_ASSERT_EQUAL(self.calls, 1);
	CU_ASSERT(r.calls <= 1); /* it may have ended in the same turn, before */
	site_down(&s);
}

static void test_free(void)
{
	struct site s;
	struct result r = {0};
	site_up(&s, 0); /* with requests under way */
	s.hold = true;
	struct ob__httpc_request req = {.url = s.url};
	ob__httpc_start(s.c, &req, on_result, &r, NULL);
	ob__httpc_start(s.c, &req, on_result, &r, NULL);
	CU_ASSERT(net_until(&s.n, &s.requests, 1));
	site_down(&s);
	CU_ASSERT_EQUAL(r.calls, 0);

	site_up(&s, 0); /* inside a callback */
	r.site = &s;
	ob__httpc_start(s.c, &req, on_result, &r, NULL);
	ob__httpc_start(s.c, &req, on_result, &r, NULL);
	req.url = s.url;
	CU_ASSERT(net_until(&s.n, &r.calls, 1));
	net_turns(&s.n, 10);
	CU_ASSERT_EQUAL(r.calls, 1);
	site_down(&s);
	ob__httpc_free(NULL);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("httpc", NULL, NULL);
	CU_add_test(s, "GET, and the connection is kept", test_get);
	CU_add_test(s, "methods, headers, bodies", test_methods);
	CU_add_test(s, "what is refused", test_refused);
	CU_add_test(s, "failures", test_failures);
	CU_add_test(s, "a rude server", test_rude_server);
	CU_add_test(s, "limit", test_limit);
	CU_add_test(s, "cancel", test_cancel);
	CU_add_test(s, "free", test_free);
	return ob__tap_run();
}
