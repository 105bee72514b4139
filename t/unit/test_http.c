/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/http.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>

#include "net_util.h"
#include "tap.h"

#define H   "Host: h\r\n"
#define G   "GET / HTTP/1.1\r\n" H
#define WS  "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define BIG (3u << 20)

/* A server and what its callbacks saw. */
struct site {
	struct net n;
	struct ob__http_server *srv;
	unsigned requests;
	uint64_t handle;
	bool hold;         /* do not answer in the callback */
	bool free_in_call; /* end the server in the callback */
	size_t big;        /* bytes of the answer; 0: a word about the request */
	int upgrade_rc;
	bool refuse_upgrade;
	struct ob__stream into;
	unsigned into_reads;
	unsigned into_ends;
	unsigned into_closes;
	char into_data[256];
	size_t into_len;
	char seen[512];
	/* the client */
	int fd;
	char got[65536];
	size_t got_len;
	bool ended;
};

static void into_read(struct ob__stream *s, uint8_t *data, size_t len)
{
	struct site *site = s->owner;
	memcpy(site->into_data + site->into_len, data, len);
	site->into_len += len;
	site->into_reads++;
}

static void into_end(struct ob__stream *s, int status)
{
	struct site *site = s->owner;
	site->into_ends++;
	ob__stream_close(s);
}

static void into_close(struct ob__stream *s)
{
	((struct site *)s->owner)->into_closes++;
}

static const struct ob__stream_ops into_ops = {
	.on_read = into_read, .on_end = into_end, .on_close = into_close};

static void answer(struct site *s)
{
	if (s->big > 0) {
		char *body = malloc(s->big);
		memset(body, 'b', s->big);
		CU_ASSERT_EQUAL(ob__http_reply(s->srv, s->handle, 200, NULL, body, s->big), 0);
		free(body);
		return;
	}
	CU_ASSERT_EQUAL(ob__http_reply(s->srv, s->handle, 200, "text/x", s->seen, strlen(s->seen)),
	                0);
}

static void on_request(struct ob__http_server *srv, const struct ob__http_request *req, void *arg)
{
	struct site *s = arg;
	s->requests++;
	s->handle = req->handle;
	CU_ASSERT(ob__http_waiting(srv, req->handle));
	const char *x = ob__http_header(srv, req->handle, "x-test");
	snprintf(s->seen, sizeof(s->seen), "%s|%s|%s|%.*s|%s", req->method, req->path, req->query,
	         (int)req->body_len, req->body, x ? x : "-");
	CU_ASSERT(req->loopback);
	CU_ASSERT_FALSE(req->unix_socket);
	CU_ASSERT_NSTRING_EQUAL(req->peer, "127.0.0.1:", 10);
	if (s->free_in_call) {
		ob__http_server_free(srv);
		s->srv = NULL;
		return;
	}
	if (!s->hold) {
		answer(s);
		/* Still there until this returns. */
		CU_ASSERT_STRING_EQUAL(req->method[0] == 'H' ? "HEAD" : req->method, req->method);
		CU_ASSERT_EQUAL(req->path[0], '/');
		CU_ASSERT_FALSE(ob__http_waiting(srv, req->handle));
		CU_ASSERT_EQUAL(ob__http_reply(srv, req->handle, 200, NULL, "x", 1), -ESTALE);
	}
}

static void on_upgrade(struct ob__http_server *srv, const struct ob__http_request *req, void *arg)
{
	struct site *s = arg;
	s->handle = req->handle;
	if (s->refuse_upgrade) {
		ob__http_reply(srv, req->handle, 403, NULL, "no", 2);
		return;
	}
	ob__stream_init(&s->into, &s->n.m, &into_ops, s);
	s->upgrade_rc = ob__http_upgrade(srv, req->handle, &s->into);
	CU_ASSERT_EQUAL(s->upgrade_rc, 0);
	CU_ASSERT_EQUAL(ob__http_upgrade(srv, req->handle, &s->into), -ESTALE);
	ob__stream_read(&s->into, true);
	ob__stream_append(&s->into, "welcome", 7);
}

static void on_caller(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	(void)l;
	struct site *s = arg;
	ob__http_accept(s->srv, server);
}

static void site_up(struct site *s, const struct ob__http_options *options)
{
	memset(s, 0, sizeof(*s));
	struct ob__http_options o = options ? *options : (struct ob__http_options){0};
	o.on_request = o.upgrade_only ? NULL : on_request;
	o.on_upgrade = on_upgrade;
	o.arg = s;
	net_up(&s->n);
	s->srv = ob__http_server_new(&s->n.m, &o);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s->srv);
	net_listen(&s->n, NULL, on_caller, s);
	s->fd = net_dial(&s->n, 0);
	CU_ASSERT_FATAL(s->fd >= 0);
}

static void site_down(struct site *s)
{
	if (s->into.opened) {
		ob__stream_close(&s->into);
	}
	ob__http_server_free(s->srv);
	net_down(&s->n);
	if (s->fd >= 0) {
		close(s->fd);
	}
}

static void take(struct site *s)
{
	size_t room = sizeof(s->got) - 1 - s->got_len;
	ssize_t n = recv(s->fd, s->got + s->got_len, room, 0);
	s->ended = s->ended || n == 0 || (n < 0 && errno != EAGAIN);
	s->got_len += n > 0 ? (size_t)n : 0;
	s->got[s->got_len] = '\0';
}

/* Turns until the answer has what is wanted (NULL: until the end). */
static bool wait_for(struct site *s, const char *wanted)
{
	uint64_t stop = ob__loop_hrtime_us() + NET_MS_MAX * 1000u;
	while (ob__loop_hrtime_us() < stop) {
		ob__loop_turn(s->n.loop);
		take(s);
		if (wanted && strstr(s->got, wanted)) {
			return true;
		}
		if (s->ended) {
			return !wanted;
		}
	}
	return false;
}

static void say(struct site *s, const char *text)
{
	CU_ASSERT_EQUAL(send(s->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void forget(struct site *s)
{
	s->got_len = 0;
	s->got[0] = '\0';
}

static unsigned occurrences(const char *text, const char *word)
{
	unsigned n = 0;
	while ((text = strstr(text, word)) != NULL) {
		text += strlen(word);
		n++;
	}
	return n;
}

/* ---------------------------------------------------------------- plain requests */

static void test_request(void)
{
	struct site s;
	site_up(&s, NULL);
	say(&s, "POST /a%20b?c=d HTTP/1.1\r\n" H "X-Test: yes\r\nContent-Length: 4\r\n\r\nbody");
	CU_ASSERT(wait_for(&s, "POST|/a b|c=d|body|yes"));
	CU_ASSERT_NSTRING_EQUAL(s.got, "HTTP/1.1 200 OK\r\n", 17);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nContent-Type: text/x\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nContent-Length: 22\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nDate: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, " GMT\r\n"));
	CU_ASSERT_PTR_NULL(strstr(s.got, "Connection"));
	forget(&s); /* on the same connection */
	say(&s, "POST / HTTP/1.1\r\n" H
	        "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
	CU_ASSERT(wait_for(&s, "POST|/||abc|-"));
	forget(&s);
	say(&s, "HEAD /x HTTP/1.1\r\n" H "\r\n");
	CU_ASSERT(wait_for(&s, "\r\n\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "Content-Length: 11\r\n"));
	CU_ASSERT_PTR_NULL(strstr(s.got, "HEAD|"));
	forget(&s);
	say(&s, G "Connection: close\r\n\r\n");
	CU_ASSERT(wait_for(&s, NULL));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nConnection: close\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "GET|/|||-"));
	CU_ASSERT_EQUAL(ob__http_counts(s.srv)->requests, 4);
	CU_ASSERT_EQUAL(ob__http_counts(s.srv)->bad, 0);
	site_down(&s);
}

static void test_http10(void)
{
	struct site s;
	site_up(&s, NULL);
	say(&s, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	CU_ASSERT(wait_for(&s, "GET|"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "Connection: keep-alive\r\n"));
	say(&s, "GET / HTTP/1.0\r\n\r\n");
	CU_ASSERT(wait_for(&s, NULL));
	site_down(&s);
}

/* Byte by byte is the same. */
static void test_pieces(void)
{
	static const char request[] = "PUT /p HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nxyz";
	struct site s;
	site_up(&s, NULL);
	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		CU_ASSERT_EQUAL(s.requests, 0);
		send(s.fd, request + i, 1, MSG_NOSIGNAL);
		net_turns(&s.n, 2);
	}
	CU_ASSERT(wait_for(&s, "PUT|/p||xyz|-"));
	site_down(&s);
}

static void test_pipelining(void)
{
	struct site s;
	site_up(&s, NULL);
	say(&s, "GET /1 HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n" H "\r\nPOST /3 HTTP/1.1\r\n" H
	        "Content-Length: 1\r\n\r\nxGET /4 HTTP/1.1\r\n" H "\r\n");
	CU_ASSERT(wait_for(&s, "GET|/4|"));
	const char *one = strstr(s.got, "GET|/1|");
	const char *two = strstr(s.got, "GET|/2|");
	const char *three = strstr(s.got, "POST|/3||x|");
	CU_ASSERT(one && two && three && one < two && two < three);
	CU_ASSERT_EQUAL(s.n.m.syscalls_out, 1); /* all answers in one write */

	/* Answered later, one after the other; meanwhile nothing more is read. */
	forget(&s);
	s.hold = true;
	s.requests = 0;
	say(&s, "GET /5 HTTP/1.1\r\n" H "\r\nGET /6 HTTP/1.1\r\n" H "\r\nGET /7 HTT");
	for (unsigned i = 1; i <= 2; i++) {
		CU_ASSERT(net_until(&s.n, &s.requests, i));
		net_turns(&s.n, 5);
		CU_ASSERT_EQUAL(s.requests, i);
		answer(&s);
		CU_ASSERT_EQUAL(s.requests, i); /* never from within the answer */
	}
	say(&s, "P/1.1\r\n" H "\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 3));
	answer(&s);
	CU_ASSERT(wait_for(&s, "GET|/7|"));
	CU_ASSERT_EQUAL(occurrences(s.got, "HTTP/1.1 200"), 3);
	site_down(&s);
}

/* A client that asks much and reads nothing gets no answer queued without end. */
static void test_pipelining_slow(void)
{
	struct site s;
	site_up(&s, NULL);
	s.big = 300000;
	for (unsigned i = 0; i < 100; i++) {
		say(&s, G "\r\n");
	}
	net_turns(&s.n, 50);
	CU_ASSERT(s.requests < 100);
	size_t bytes = 0;
	static char sink[262144];
	while (s.requests < 100 || bytes < 100 * s.big) {
		ssize_t n = recv(s.fd, sink, sizeof(sink), 0);
		if (n == 0) {
			break;
		}
		bytes += n > 0 ? (size_t)n : 0;
		net_turns(&s.n, 1);
	}
	CU_ASSERT_EQUAL(s.requests, 100);
	site_down(&s);
}

static void test_late_answer(void)
{
	struct site s;
	site_up(&s, NULL);
	s.hold = true;
	say(&s, G "X-Test: q\r\n\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 1));
	/* Half-closed: the client has said all, and waits. */
	shutdown(s.fd, SHUT_WR);
	net_turns(&s.n, 5);
	CU_ASSERT(ob__http_waiting(s.srv, s.handle));
	answer(&s);
	CU_ASSERT(wait_for(&s, NULL));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "GET|/|||q"));
	CU_ASSERT_EQUAL(ob__http_reply(s.srv, s.handle, 200, NULL, "", 0), -ESTALE);
	CU_ASSERT_EQUAL(ob__http_reply(s.srv, 12345, 200, NULL, "", 0), -ESTALE);
	site_down(&s);

	/* Half-closed right behind the request. */
	site_up(&s, NULL);
	say(&s, G "\r\n" G "\r\n");
	shutdown(s.fd, SHUT_WR);
	CU_ASSERT(wait_for(&s, NULL));
	CU_ASSERT_EQUAL(occurrences(s.got, "GET|"), 2);
	site_down(&s);
}

static void test_continue(void)
{
	struct site s;
	site_up(&s, NULL);
	say(&s, "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	CU_ASSERT(wait_for(&s, "HTTP/1.1 100 Continue\r\n\r\n"));
	CU_ASSERT_EQUAL(s.requests, 0);
	forget(&s);
	say(&s, "ok");
	CU_ASSERT(wait_for(&s, "POST|/||ok|"));
	CU_ASSERT_NSTRING_EQUAL(s.got, "HTTP/1.1 200", 12);
	forget(&s); /* one who did not wait needs none */
	say(&s, "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok");
	CU_ASSERT(wait_for(&s, "POST|/||ok|"));
	CU_ASSERT_NSTRING_EQUAL(s.got, "HTTP/1.1 200", 12);
	site_down(&s);
}

/* ---------------------------------------------------------------- answers */

static void test_reply_headers(void)
{
	static const struct {
		const char *name;
		const char *value;
		int rc;
	} rows[] = {
		{"X-A", "b", 0},
		{"Location", "/x\ty \xc3\xa9", 0},
		{"X-Empty", "", 0},
		{"", "b", -EINVAL},
		{"X A", "b", -EINVAL},
		{"X:A", "b", -EINVAL},
		{"X\r\nA", "b", -EINVAL},
		{"X-A", "b\r\nEvil: 1", -EINVAL},
		{"X-A", "b\nEvil: 1", -EINVAL},
		{"X-A", "b\rEvil: 1", -EINVAL},
		{"X-A", "b\x7f", -EINVAL},
		{"Content-Length", "5", -EINVAL}, /* written by the server */
		{"transfer-encoding", "chunked", -EINVAL},
		{"Connection", "close", -EINVAL},
	};
	struct site s;
	site_up(&s, NULL);
	s.hold = true;
	say(&s, G "\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 1));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(ob__http_set_header(s.srv, s.handle, rows[i].name, rows[i].value),
		                rows[i].rc);
	}
	CU_ASSERT_EQUAL(ob__http_set_header(s.srv, 77, "A", "b"), -ESTALE);
	char *huge = malloc(9000);
	memset(huge, 'x', 8999);
	huge[8999] = '\0';
	CU_ASSERT_EQUAL(ob__http_set_header(s.srv, s.handle, "A", huge), -E2BIG);
	free(huge);
	/* A type that would break the head is not written. */
	ob__http_reply(s.srv, s.handle, 201, "a\r\nEvil: 1", "done", 4);
	CU_ASSERT(wait_for(&s, "\r\n\r\ndone"));
	CU_ASSERT_NSTRING_EQUAL(s.got, "HTTP/1.1 201 Created\r\n", 22);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nX-A: b\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nX-Empty: \r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nContent-Type: application/octet-stream\r\n"));
	CU_ASSERT_PTR_NULL(strstr(s.got, "Evil"));
	forget(&s);
	say(&s, G "\r\n"); /* they were for that one answer */
	CU_ASSERT(net_until(&s.n, &s.requests, 2));
	ob__http_reply(s.srv, s.handle, 204, NULL, "none", 4);
	CU_ASSERT(wait_for(&s, "\r\n\r\n"));
	CU_ASSERT_PTR_NULL(strstr(s.got, "X-A"));
	CU_ASSERT_PTR_NULL(strstr(s.got, "Content-"));
	CU_ASSERT_PTR_NULL(strstr(s.got, "none"));
	forget(&s);
	say(&s, G "\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 3));
	ob__http_reply(s.srv, s.handle, 7, NULL, "x", 1);
	CU_ASSERT(wait_for(&s, "HTTP/1.1 500 Internal Server Error\r\n"));
	site_down(&s);
}

static void test_big_answer(void)
{
	struct site s;
	site_up(&s, NULL);
	s.big = BIG;
	say(&s, G "Connection: close\r\n\r\n");
	size_t bytes = 0;
	static char sink[65536];
	for (;;) {
		ssize_t n = recv(s.fd, sink, sizeof(sink), 0);
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			break;
		}
		bytes += n > 0 ? (size_t)n : 0;
		net_turns(&s.n, 1);
	}
	CU_ASSERT(bytes > BIG && bytes < BIG + 300);
	site_down(&s);
}

/* ---------------------------------------------------------------- refusals */

static void test_refusals(void)
{
	static const struct {
		const char *request;
		const char *answer;
	} rows[] = {
		{"nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
		{"\x16\x03\x01", "HTTP/1.1 400 "},
		{G "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 400 "},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 9999999\r\n\r\n", "HTTP/1.1 413 "},
		{"POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n",
	         "HTTP/1.1 413 "},
		{"POST / HTTP/1.1\r\n" H "Expect: x\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 417 "},
		{"FROB / HTTP/1.1\r\n" H "\r\n", "HTTP/1.1 501 "},
		{"GET / HTTP/3.0\r\n" H "\r\n", "HTTP/1.1 505 "},
		{G WS "\r\n", "HTTP/1.1 400 "}, /* a handshake without its key */
		{G "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n" KEY
	           "\r\n",
	         "HTTP/1.1 426 "},
		/* the first is answered, the second ends it, the third is not looked at */
		{G "\r\nbad\r\n\r\n" G "\r\n", "HTTP/1.1 400 "},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct site s;
		site_up(&s, NULL);
		say(&s, rows[i].request);
		CU_ASSERT(wait_for(&s, rows[i].answer));
		shutdown(s.fd, SHUT_WR);
		CU_ASSERT(wait_for(&s, NULL)); /* and then the end */
		CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "close\r\n"));
		CU_ASSERT_EQUAL(ob__http_counts(s.srv)->bad, 1);
		CU_ASSERT(s.requests <= 1);
		if (strstr(rows[i].answer, "426")) {
			CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nSec-WebSocket-Version: 13\r\n"));
			CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nUpgrade: websocket\r\n"));
		}
		site_down(&s);
	}
}

/* A refused client that goes on sending still reads why. */
static void test_refused_while_sending(void)
{
	struct site s;
	static char junk[65536];
	struct ob__http_options o = {.max_body = 1000};
	site_up(&s, &o);
	say(&s, "POST / HTTP/1.1\r\n" H "Content-Length: 9000000\r\n\r\n");
	for (unsigned i = 0; i < 100; i++) {
		(void)!send(s.fd, junk, sizeof(junk), MSG_NOSIGNAL);
		net_turns(&s.n, 1);
	}
	CU_ASSERT(wait_for(&s, "HTTP/1.1 413 "));
	site_down(&s);
}

static void test_timeouts(void)
{
	struct ob__http_options o = {.request_ms = 30, .idle_ms = 40};
	struct site s;
	site_up(&s, &o); /* says nothing at all */
	CU_ASSERT(wait_for(&s, NULL));
	CU_ASSERT_EQUAL(s.got_len, 0);
	CU_ASSERT_EQUAL(ob__http_counts(s.srv)->timeouts, 0);
	site_down(&s);

	site_up(&s, &o); /* dribbles */
	for (unsigned i = 0; i < 1000000 && ob__http_counts(s.srv)->timeouts == 0; i++) {
		if (i % 100 == 0) {
			(void)!send(s.fd, i == 0 ? "GET / HTTP/1.1\r\n" : "a", i == 0 ? 16 : 1,
			            MSG_NOSIGNAL);
		}
		net_turns(&s.n, 1);
	}
	CU_ASSERT(wait_for(&s, "HTTP/1.1 408 Request Timeout\r\n"));
	shutdown(s.fd, SHUT_WR);
	CU_ASSERT(wait_for(&s, NULL));
	CU_ASSERT_EQUAL(ob__http_counts(s.srv)->timeouts, 1);
	site_down(&s);

	site_up(&s, &o); /* idle behind an answer */
	say(&s, G "\r\n");
	CU_ASSERT(wait_for(&s, "GET|"));
	CU_ASSERT(wait_for(&s, NULL));
	CU_ASSERT_EQUAL(ob__http_counts(s.srv)->timeouts, 0);
	site_down(&s);

	site_up(&s, &o); /* our own slowness is no reason */
	s.hold = true;
	say(&s, G "\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 1));
	uint64_t until = ob__loop_hrtime_us() + 80000;
	while (ob__loop_hrtime_us() < until) {
		net_turns(&s.n, 1);
	}
	CU_ASSERT(ob__http_waiting(s.srv, s.handle));
	answer(&s);
	CU_ASSERT(wait_for(&s, "GET|"));
	site_down(&s);
}

static void test_max_conns(void)
{
	struct ob__http_options o = {.max_conns = 2};
	struct site s;
	char c;
	site_up(&s, &o);
	int b = net_dial(&s.n, 0);
	net_turns(&s.n, 5);
	CU_ASSERT_EQUAL(ob__http_conns(s.srv), 2);
	int third = net_dial(&s.n, 0);
	net_turns(&s.n, 5);
	CU_ASSERT_EQUAL(recv(third, &c, 1, 0), 0);
	CU_ASSERT_EQUAL(ob__http_counts(s.srv)->refused, 1);
	CU_ASSERT_EQUAL(ob__http_conns(s.srv), 2);
	close(b);
	close(third);
	net_turns(&s.n, 10);
	CU_ASSERT_EQUAL(ob__http_conns(s.srv), 1);
	int d = net_dial(&s.n, 0);
	net_turns(&s.n, 5);
	CU_ASSERT_EQUAL(ob__http_conns(s.srv), 2);
	close(d);
	site_down(&s);
}

/* ---------------------------------------------------------------- the end of things */

static void test_client_gone(void)
{
	struct site s;
	site_up(&s, NULL);
	s.hold = true;
	s.big = BIG;
	say(&s, G "\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 1));
	net_reset(s.fd);
	s.fd = -1;
	net_turns(&s.n, 5);
	ob__http_reply(s.srv, s.handle, 200, NULL, "x", 1); /* dropped */
	for (unsigned i = 0; i < 100 && ob__http_conns(s.srv) > 0; i++) {
		net_turns(&s.n, 1);
	}
	CU_ASSERT_EQUAL(ob__http_conns(s.srv), 0);
	CU_ASSERT_FALSE(ob__http_waiting(s.srv, s.handle));
	site_down(&s);
}

static void test_server_freed(void)
{
	struct site s;
	site_up(&s, NULL); /* with a request waiting */
	s.hold = true;
	say(&s, G "\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 1));
	site_down(&s);

	site_up(&s, NULL); /* with an answer given but not sent yet */
	s.hold = true;
	say(&s, G "\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 1));
	answer(&s);
	ob__http_server_free(s.srv);
	s.srv = NULL;
	CU_ASSERT(wait_for(&s, "GET|"));
	site_down(&s);

	site_up(&s, NULL); /* inside a callback */
	s.free_in_call = true;
	say(&s, G "\r\n" G "\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 1));
	CU_ASSERT(wait_for(&s, NULL));
	CU_ASSERT_EQUAL(s.requests, 1);
	site_down(&s);
	ob__http_server_free(NULL);
}

/* ---------------------------------------------------------------- WebSocket */

static void test_upgrade(void)
{
	struct site s;
	site_up(&s, NULL);
	/* Behind a plain request, with frames of the new protocol right behind it. */
	say(&s, G "\r\n" G WS KEY "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\nearly");
	CU_ASSERT(net_until(&s.n, &s.into_reads, 1));
	say(&s, "late");
	CU_ASSERT(net_until(&s.n, &s.into_reads, 2));
	CU_ASSERT_STRING_EQUAL(s.into_data, "earlylate");
	CU_ASSERT(wait_for(&s, "\r\n\r\nwelcome"));
	CU_ASSERT_NSTRING_EQUAL(s.got, "HTTP/1.1 200 OK\r\n", 17);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "GET|/|||-HTTP/1.1 101 Switching Protocols\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "Upgrade: websocket\r\nConnection: Upgrade\r\n"));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(s.got, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
	CU_ASSERT_PTR_NULL(strstr(s.got, "Extensions"));
	CU_ASSERT_EQUAL(ob__http_conns(s.srv), 0);
	CU_ASSERT_FALSE(ob__http_waiting(s.srv, s.handle));
	/* It outlives the server. */
	ob__http_server_free(s.srv);
	s.srv = NULL;
	net_turns(&s.n, 3);
	say(&s, "!");
	CU_ASSERT(net_until(&s.n, &s.into_reads, 3));
	close(s.fd);
	s.fd = -1;
	CU_ASSERT(net_until(&s.n, &s.into_closes, 1));
	CU_ASSERT_EQUAL(s.into_ends, 1);
	site_down(&s);
}

static void test_upgrade_refused(void)
{
	struct site s;
	site_up(&s, NULL);
	s.refuse_upgrade = true;
	say(&s, G WS KEY "\r\n" G "\r\n"); /* the connection goes on */
	CU_ASSERT(wait_for(&s, "GET|"));
	CU_ASSERT_NSTRING_EQUAL(s.got, "HTTP/1.1 403 Forbidden\r\n", 24);
	CU_ASSERT_EQUAL(s.requests, 1);
	/* A plain request is none to upgrade. */
	s.hold = true;
	say(&s, G "\r\n");
	CU_ASSERT(net_until(&s.n, &s.requests, 2));
	ob__stream_init(&s.into, &s.n.m, &into_ops, &s);
	CU_ASSERT_EQUAL(ob__http_upgrade(s.srv, s.handle, &s.into), -EINVAL);
	answer(&s);
	site_down(&s);
}

static void test_upgrade_only(void)
{
	struct ob__http_options o = {.upgrade_only = true};
	struct site s;
	site_up(&s, &o);
	say(&s, G "\r\n");
	CU_ASSERT(wait_for(&s, "HTTP/1.1 426 Upgrade Required\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nUpgrade: websocket\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.got, "\r\nConnection: Upgrade, close\r\n"));
	CU_ASSERT_EQUAL(s.requests, 0);
	site_down(&s);

	site_up(&s, &o);
	say(&s,
	    "GET /any/path?at=all HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\n" WS KEY "\r\n");
	CU_ASSERT(wait_for(&s, "welcome"));
	site_down(&s);
}

/* A server without on_upgrade. */
static void test_no_upgrade(void)
{
	struct site s;
	memset(&s, 0, sizeof(s));
	net_up(&s.n);
	struct ob__http_options o = {.on_request = on_request, .arg = &s};
	s.srv = ob__http_server_new(&s.n.m, &o);
	net_listen(&s.n, NULL, on_caller, &s);
	s.fd = net_dial(&s.n, 0);
	say(&s,
	    G "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: A\r\n\r\n");
	CU_ASSERT(wait_for(&s, "GET|")); /* another protocol is simply not taken up */
	say(&s, G WS KEY "\r\n");
	CU_ASSERT(wait_for(&s, "HTTP/1.1 400 "));
	site_down(&s);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("http", NULL, NULL);
	CU_add_test(s, "requests on one connection", test_request);
	CU_add_test(s, "HTTP/1.0", test_http10);
	CU_add_test(s, "byte by byte", test_pieces);
	CU_add_test(s, "pipelining", test_pipelining);
	CU_add_test(s, "pipelining without reading", test_pipelining_slow);
	CU_add_test(s, "an answer that comes later", test_late_answer);
	CU_add_test(s, "100-continue", test_continue);
	CU_add_test(s, "headers of answers", test_reply_headers);
	CU_add_test(s, "a big answer", test_big_answer);
	CU_add_test(s, "refusals", test_refusals);
	CU_add_test(s, "refused while it sends", test_refused_while_sending);
	CU_add_test(s, "timeouts", test_timeouts);
	CU_add_test(s, "too many connections", test_max_conns);
	CU_add_test(s, "the client is gone", test_client_gone);
	CU_add_test(s, "the server is freed", test_server_freed);
	CU_add_test(s, "WebSocket upgrade", test_upgrade);
	CU_add_test(s, "WebSocket upgrade refused", test_upgrade_refused);
	CU_add_test(s, "a WebSocket listener", test_upgrade_only);
	CU_add_test(s, "no WebSocket", test_no_upgrade);
	return ob__tap_run();
}
