/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/http_parse.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#define MAX_BODY 1000u
#define H        "Host: h\r\n"
#define G        "GET / HTTP/1.1\r\n" H

/* Feeds all in pieces of `step` bytes; 200 when the request is whole, 0 when it wants more. */
static int feed(struct ob__http_parse *p, const char *data, size_t len, size_t step, size_t *taken)
{
	*taken = 0;
	for (;;) {
		size_t n = len - *taken < step ? len - *taken : step;
		size_t used;
		/* A copy of its own, so that reading beyond it is seen. */
		uint8_t *piece = malloc(n > 0 ? n : 1);
		memcpy(piece, data + *taken, n);
		enum ob__http_parsed what = ob__http_parse(p, piece, n, &used);
		free(piece);
		*taken += used;
		CU_ASSERT(used <= n);
		if (what == OB__HTTP_DONE) {
			return 200;
		}
		if (what == OB__HTTP_BAD) {
			CU_ASSERT_PTR_NOT_NULL(p->reason);
			return p->status;
		}
		if (what == OB__HTTP_MORE) {
			CU_ASSERT_EQUAL(used, n);
			if (*taken == len) {
				return 0;
			}
		}
	}
}

static const size_t steps[] = {1, 2, 3, 7, 64, 1000000};

/* Every way to cut it gives the same outcome. */
static void check(const char *request, size_t len, int status, const char *rest)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct ob__http_parse p;
		size_t taken;
		ob__http_parse_init(&p, MAX_BODY);
		int got = feed(&p, request, len, steps[i], &taken);
		if (got != status) {
			printf("# %d instead of %d (%s), step %zu: %.200s\n", got, status,
			       p.reason ? p.reason : "-", steps[i], request);
			CU_FAIL("another status");
		}
		if (rest) {
			CU_ASSERT_EQUAL(taken, len - strlen(rest));
		}
		ob__http_parse_free(&p);
	}
}

static void test_status(void)
{
	static const struct {
		const char *request;
		int status;
		const char *rest; /* what belongs to the next request; NULL: not looked at */
	} rows[] = {
		/* plain ones */
		{G "\r\n", 200, ""},
		{"GET / HTTP/1.0\r\n\r\n", 200, ""},
		{"\r\n\r\n" G "\r\n", 200, ""}, /* line ends before a request */
		{"\r\n\r\n\r\n\r\n\r\n" G "\r\n", 400, NULL},
		{G "\r\nGET /next", 200, "GET /next"},
		{G "A: b", 0, NULL},
		{"PATCH /x HTTP/1.1\r\n" H "\r\n", 200, ""},
		{G "Empty:\r\nBlank:   \r\nLatin: \xe9t\xe9\r\nTab: a\tb\r\n\r\n", 200, ""},
		/* the request line */
		{"GET /\r\n\r\n", 400, NULL},
		{"GET  / HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET / HTTP/1.1 \r\n" H "\r\n", 400, NULL},
		{"GET / x HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{" GET / HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"G@T / HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET / HTTP/1.1\n" H "\r\n", 400, NULL},
		{"GET / HTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET / HTTP/1\r\n" H "\r\n", 400, NULL},
		{"GET / HTTP/11.1\r\n" H "\r\n", 400, NULL},
		{"GET / HTTP/1.2\r\n" H "\r\n", 505, NULL},
		{"GET / HTTP/2.0\r\n" H "\r\n", 505, NULL},
		{"GET / HTTP/0.9\r\n" H "\r\n", 505, NULL},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, NULL},
		{"FROB / HTTP/1.1\r\n" H "\r\n", 501, NULL},
		{"get / HTTP/1.1\r\n" H "\r\n", 501, NULL},
		{"CONNECT h:1 HTTP/1.1\r\n" H "\r\n", 501, NULL},
		{"TRACE / HTTP/1.1\r\n" H "\r\n", 501, NULL},
		{"DESCRIBE / HTTP/1.1\r\n" H "\r\n", 501, NULL}, /* one that llhttp knows */
		{"\x16\x03\x01\x02", 400, NULL},                 /* TLS on a plain port */
		/* the target */
		{"GET x HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"OPTIONS * HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET /a#b HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET /%00 HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET /%0 HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET /%zz HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET /% HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET /a?b=%00 HTTP/1.1\r\n" H "\r\n", 200, ""}, /* the query is not decoded */
		{"GET http://h/x HTTP/1.1\r\n" H "\r\n", 200, ""},
		{"GET http://other/x HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET http:///x HTTP/1.1\r\n" H "\r\n", 400, NULL},
		{"GET ftp://h/x HTTP/1.1\r\n" H "\r\n", 400, NULL},
		/* Host */
		{"GET / HTTP/1.1\r\n\r\n", 400, NULL},
		{G "Host: h\r\n\r\n", 400, NULL},
		{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, NULL},
		{"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, NULL},
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200, ""},
		/* lines */
		{G "A: b\n\r\n", 400, NULL},
		{G "A: b\r\r\n\r\n", 400, NULL},
		{G "A: b\rC: d\r\n\r\n", 400, NULL},
		{G "A: b\r\n c\r\n\r\n", 400, NULL},
		{G "A: b\r\n\tc\r\n\r\n", 400, NULL},
		{"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400, NULL},
		{G "A : b\r\n\r\n", 400, NULL},
		{G ": b\r\n\r\n", 400, NULL},
		{G "A b\r\n\r\n", 400, NULL},
		{G "A(: b\r\n\r\n", 400, NULL},
		{G "A: \x01\r\n\r\n", 400, NULL},
		{G "A: \x7f\r\n\r\n", 400, NULL},
		/* lengths */
		{"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabcX", 200, "X"},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nab", 0, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\nX", 200, "X"},
		{"POST / HTTP/1.1\r\n" H "\r\nX", 200, "X"},
		{"GET / HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nX", 200, ""},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\n", 0, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 1001\r\n\r\n", 413, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 4294967299\r\n\r\n", 413, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc", 400, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\nabc", 400, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\nabc", 400, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\nabc", 400, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 3 3\r\n\r\nabc", 400, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\nabc", 400, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400,
	         NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400,
	         NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length : 3\r\n\r\nabc", 400, NULL},
		{"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
	         400, NULL},
		{"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
	         400, NULL},
		{"POST / HTTP/1.1\r\n" H
	         "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	         400, NULL},
		{"POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 400, NULL},
		{"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, NULL},
		{"POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", 200, ""},
		{"POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, NULL},
		/* Expect */
		{"POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n", 0,
	         NULL},
		{"POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417, NULL},
		{"POST / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n", 200, ""},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check(rows[i].request, strlen(rows[i].request), rows[i].status, rows[i].rest);
	}
	check(G "A: b\0c\r\n\r\n", sizeof(G "A: b\0c\r\n\r\n") - 1, 400, NULL);
}

#define CHUNKED "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"

static void test_chunks(void)
{
	static const struct {
		const char *chunks;
		int status;
		const char *body;
		const char *rest;
	} rows[] = {
		{"3\r\nabc\r\n0\r\n\r\nX", 200, "abc", "X"},
		{"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, "abcde", ""},
		{"0\r\n\r\n", 200, "", ""},
		{"00\r\n\r\n", 200, "", ""},
		{"A\r\n0123456789\r\n000\r\n\r\n", 200, "0123456789", ""},
		{"a;x=y;z\r\n0123456789\r\n0;last\r\n\r\n", 200, "0123456789", ""}, /* extensions */
		{"1\r\na\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\nX", 200, "a", "X"},
		{"1\r\na\r\n0\r\nContent-Length: 5\r\n\r\nX", 200, "a", "X"}, /* changes nothing */
		{"3\r\nab", 0, NULL, NULL},
		{"1\r\na\r\n0\r\n", 0, NULL, NULL},
		{"\r\n", 400, NULL, NULL},
		{";x\r\n", 400, NULL, NULL},
		{"g\r\n", 400, NULL, NULL},
		{"0x3\r\nabc\r\n", 400, NULL, NULL},
		{"-3\r\nabc\r\n", 400, NULL, NULL},
		{" 3\r\nabc\r\n", 400, NULL, NULL},
		{"3 \r\nabc\r\n", 400, NULL, NULL},
		{"3\nabc\r\n", 400, NULL, NULL},
		{"3\rXabc\r\n", 400, NULL, NULL}, /* http-parser as Debian builds it takes this */
		{"3\r\nabcd\r\n", 400, NULL, NULL},
		{"3\r\nabc\n", 400, NULL, NULL},
		{"3\r\nabc\rX", 400, NULL, NULL},
		{"3;a\nb\r\nabc\r\n0\r\n\r\n", 400, NULL, NULL},
		{"0\r\nA: b\n\r\n", 400, NULL, NULL},
		{"0\r\n A: b\r\n\r\n", 400, NULL, NULL},
		{"0\r\nA: b\r\n\rX", 400, NULL, NULL},
		{"3e8\r\n", 0, NULL, NULL},
		{"3e9\r\n", 413, NULL, NULL},
		{"1\r\na\r\n3e8\r\n", 413, NULL, NULL}, /* in all */
		{"ffffffffffffff\r\n", 413, NULL, NULL},
		{"ffffffffffffffff\r\n", 400, NULL, NULL},
		{"10000000000000003\r\nabc\r\n", 400, NULL, NULL}, /* 3, in 64 bits */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char request[512];
		snprintf(request, sizeof(request), CHUNKED "%s", rows[i].chunks);
		check(request, strlen(request), rows[i].status, rows[i].rest);
		if (rows[i].status != 200) {
			continue;
		}
		struct ob__http_parse p;
		size_t taken;
		ob__http_parse_init(&p, MAX_BODY);
		feed(&p, request, strlen(request), 2, &taken);
		CU_ASSERT_EQUAL(p.body.len, strlen(rows[i].body));
		CU_ASSERT(p.body.len == 0 || memcmp(p.body.data, rows[i].body, p.body.len) == 0);
		ob__http_parse_free(&p);
	}
}

/* One byte of body for thousands of bytes around it is no bargain. */
static void test_chunk_extra(void)
{
	struct ob__buf b = {0};
	ob__buf_printf(&b, CHUNKED);
	for (unsigned i = 0; i < 100; i++) {
		ob__buf_printf(&b, "1;%0100d\r\nx\r\n", 0);
	}
	check((char *)b.data, b.len, 431, NULL);
	b.len = 0;
	ob__buf_printf(&b, CHUNKED "0\r\nA: %09000d\r\n\r\n", 0);
	check((char *)b.data, b.len, 431, NULL);
	ob__buf_free(&b);
}

static void test_limits(void)
{
	struct ob__buf b = {0};
	static const struct {
		unsigned target; /* bytes of a target, a number of headers, and bytes of one more */
		unsigned headers;
		unsigned bytes;
		int status;
	} rows[] = {
		{10, 97, 10, 200},   {10, 98, 10, 200},   {10, 99, 10, 431},   {10, 5000, 10, 431},
		{8100, 0, 10, 200},  {8192, 0, 10, 200},  {8193, 0, 10, 414},  {20000, 0, 10, 414},
		{10, 1, 16000, 200}, {10, 1, 17000, 431}, {10, 1, 90000, 431}, {8000, 0, 9000, 431},
		{16380, 0, 10, 414},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		b.len = 0;
		ob__buf_printf(&b, "GET /%0*d HTTP/1.1\r\n" H, (int)rows[i].target - 1, 0);
		for (unsigned k = 0; k < rows[i].headers; k++) {
			ob__buf_printf(&b, "A: b\r\n");
		}
		ob__buf_printf(&b, "Last: %0*d\r\n\r\n", (int)rows[i].bytes, 0);
		check((char *)b.data, b.len, rows[i].status, NULL);
	}
	ob__buf_free(&b);
}

static void test_fields(void)
{
	static const char request[] = "GET /a%20b/../c%2Fd//?q=%20&r HTTP/1.1\r\n"
				      "hOST:h:80\r\n"
				      "A:  one \t \r\n"
				      "B:\r\n"
				      "a: two\r\n"
				      "Connection: x , Close\r\n\r\n";
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct ob__http_parse p;
		size_t taken;
		ob__http_parse_init(&p, MAX_BODY);
		CU_ASSERT_FALSE(ob__http_parse_begun(&p));
		CU_ASSERT_EQUAL_FATAL(feed(&p, request, sizeof(request) - 1, steps[i], &taken),
		                      200);
		CU_ASSERT(ob__http_parse_begun(&p));
		CU_ASSERT_STRING_EQUAL(p.method, "GET");
		CU_ASSERT_STRING_EQUAL(p.path, "/a b/../c/d//");
		CU_ASSERT_STRING_EQUAL(p.query, "q=%20&r");
		CU_ASSERT_EQUAL(p.fields_len, 5);
		CU_ASSERT_STRING_EQUAL(ob__http_parse_field(&p, "HOST"), "h:80");
		CU_ASSERT_STRING_EQUAL(ob__http_parse_field(&p, "a"), "one");
		CU_ASSERT_STRING_EQUAL(ob__http_parse_field(&p, "b"), "");
		CU_ASSERT_PTR_NULL(ob__http_parse_field(&p, "c"));
		CU_ASSERT(ob__http_parse_word(&p, "a", "two"));
		CU_ASSERT_FALSE(ob__http_parse_word(&p, "a", "tw"));
		CU_ASSERT_FALSE(p.keep_alive);
		ob__http_parse_reset(&p);
		CU_ASSERT_FALSE(ob__http_parse_begun(&p));
		CU_ASSERT_EQUAL(feed(&p, G "\r\n", sizeof(G), 5, &taken), 0);
		ob__http_parse_free(&p);
	}
}

static void test_targets(void)
{
	static const struct {
		const char *target;
		const char *path;
		const char *query;
	} rows[] = {
		{"/", "/", ""},
		{"/?", "/", ""},
		{"/?a?b", "/", "a?b"},
		{"//x/y", "//x/y", ""},
		{"/%41%6a%c3%A9", "/Aj\xc3\xa9", ""},
		{"/%2e%2e/%25", "/../%", ""},
		{"/a+b|c\"<>{}^`\\", "/a+b|c\"<>{}^`\\", ""},
		{"http://h", "/", ""},
		{"HTTP://H?x=1", "/", "x=1"},
		{"ws://h/a/b?c", "/a/b", "c"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__http_parse p;
		char request[256];
		size_t taken;
		snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" H "\r\n", rows[i].target);
		ob__http_parse_init(&p, MAX_BODY);
		CU_ASSERT_EQUAL_FATAL(feed(&p, request, strlen(request), 9, &taken), 200);
		CU_ASSERT_STRING_EQUAL(p.path, rows[i].path);
		CU_ASSERT_STRING_EQUAL(p.query, rows[i].query);
		ob__http_parse_free(&p);
	}
}

static void test_keep_alive(void)
{
	static const struct {
		const char *head;
		bool keep;
	} rows[] = {
		{G, true},
		{G "Connection: keep-alive\r\n", true},
		{G "Connection: close\r\n", false},
		{G "Connection: keep-alive, CLOSE\r\n", false},
		{G "Connection: upgrade\r\nConnection: close\r\n", false},
		{G "Connection: closed\r\n", true},
		{"GET / HTTP/1.0\r\n", false},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", true},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__http_parse p;
		char request[256];
		size_t taken;
		snprintf(request, sizeof(request), "%s\r\n", rows[i].head);
		ob__http_parse_init(&p, MAX_BODY);
		CU_ASSERT_EQUAL_FATAL(feed(&p, request, strlen(request), 4, &taken), 200);
		CU_ASSERT_EQUAL(p.keep_alive, rows[i].keep);
		ob__http_parse_free(&p);
	}
}

#define UP    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define VER   "Sec-WebSocket-Version: 13\r\n"
#define KEY   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define PROTO "Sec-WebSocket-Protocol: "
#define EXT   "Sec-WebSocket-Extensions: "

static void test_handshake(void)
{
	static const struct {
		const char *head;
		int status;
	} rows[] = {
		{G UP VER KEY, 0},
		{G "Upgrade: foo, WebSocket\r\nConnection: keep-alive, upgrade\r\n" VER KEY, 0},
		{G UP VER KEY "Sec-WebSocket-Extensions: permessage-deflate\r\nOrigin: x\r\n", 0},
		{"GET /chat?x=1 HTTP/1.1\r\n" H UP VER KEY, 0},
		{"GET / HTTP/1.0\r\n" H UP VER KEY, 400},
		{"POST / HTTP/1.1\r\n" H UP VER KEY, 400},
		{G UP VER KEY "Content-Length: 1\r\n", 400},
		{G "Connection: Upgrade\r\n" VER KEY, 400},
		{G "Upgrade: websocket\r\n" VER KEY, 400},
		{G "Upgrade: websockets\r\nConnection: Upgrade\r\n" VER KEY, 400},
		{G UP KEY, 426},
		{G UP KEY "Sec-WebSocket-Version: 8\r\n", 426},
		{G UP VER, 400},
		{G UP VER "Sec-WebSocket-Key: \r\n", 400},
		{G UP VER KEY KEY, 400},
		{G UP VER "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n", 400},
		{G UP VER "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWE=\r\n", 400}, /* 17 bytes */
		{G UP VER "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25=ZQ==\r\n", 400},
		{G UP VER "Sec-WebSocket-Key: dGhlIHNhb*BsZSBub25jZQ==\r\n", 400},
		{G UP VER "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==x\r\n", 400},
		{G UP VER KEY VER, 400},
		{G UP VER KEY "Sec-WebSocket-Version: 8\r\n", 400},
		/* offers, which are judged and not taken up */
		{G UP VER KEY PROTO "a\r\n" PROTO "b,c\r\n", 0},
		{G UP VER KEY PROTO " , a ,\tb ,\r\n", 0},
		{G UP VER KEY PROTO "\r\n", 400},
		{G UP VER KEY PROTO "a\r\n" PROTO " ,\r\n", 400},
		{G UP VER KEY PROTO "a b\r\n", 400},
		{G UP VER KEY PROTO "a;b\r\n", 400},
		{G UP VER KEY EXT "a; b; c=d; e=\"f\", g ;h = i\r\n" EXT "j\r\n", 0},
		{G UP VER KEY EXT "a; b=\"\\c\"\r\n", 0},
		{G UP VER KEY EXT ",\r\n", 400},
		{G UP VER KEY EXT "a;\r\n", 400},
		{G UP VER KEY EXT "a b\r\n", 400},
		{G UP VER KEY EXT "a=b\r\n", 400},
		{G UP VER KEY EXT "a; b=\r\n", 400},
		{G UP VER KEY EXT "a; =b\r\n", 400},
		{G UP VER KEY EXT "a; b=\"\"\r\n", 400},
		{G UP VER KEY EXT "a; b=\"c\r\n", 400},
		{G UP VER KEY EXT "a; b=\"c\\\r\n", 400},
		{G UP VER KEY EXT "a; b=\"c d\"\r\n", 400},
		{G UP VER KEY EXT "a; b=\"c\"d\r\n", 400},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__http_parse p;
		char request[512];
		char accept[OB__HTTP_ACCEPT_LEN + 1] = "";
		size_t taken;
		snprintf(request, sizeof(request), "%s\r\nX", rows[i].head);
		ob__http_parse_init(&p, MAX_BODY);
		CU_ASSERT_EQUAL_FATAL(feed(&p, request, strlen(request), 1000, &taken), 200);
		int status = ob__http_handshake(&p, accept);
		CU_ASSERT_EQUAL(status, rows[i].status);
		if (status == 0) { /* the example of RFC 6455 section 1.3 */
			CU_ASSERT_STRING_EQUAL(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
			CU_ASSERT_EQUAL(taken, strlen(request) - 1);
		} else {
			CU_ASSERT_PTR_NOT_NULL(p.reason);
		}
		ob__http_parse_free(&p);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("http_parse", NULL, NULL);
	CU_add_test(s, "what is taken and what is refused", test_status);
	CU_add_test(s, "chunked bodies", test_chunks);
	CU_add_test(s, "chunk extensions are bounded", test_chunk_extra);
	CU_add_test(s, "limits of the head", test_limits);
	CU_add_test(s, "fields", test_fields);
	CU_add_test(s, "targets", test_targets);
	CU_add_test(s, "keep-alive", test_keep_alive);
	CU_add_test(s, "WebSocket handshake", test_handshake);
	return ob__tap_run();
}
