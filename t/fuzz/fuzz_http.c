/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The HTTP request parser.  The first byte chooses how the rest is cut; it is parsed in one piece
 * too, and both must come to the same. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/http_parse.h"
#include "t/fuzz/fuzz.h"

#define MAX_BODY 4096u
#define REQUESTS 8u

/* One request from `data` in pieces of at most `step`; returns what was consumed. */
static size_t parse(struct ob__http_parse *p, const uint8_t *data, size_t len, size_t step,
                    enum ob__http_parsed *what)
{
	size_t at = 0;
	for (;;) {
		size_t n = len - at < step ? len - at : step;
		size_t used;
		uint8_t *piece = malloc(n > 0 ? n : 1);
		if (n > 0) {
			memcpy(piece, data + at, n);
		}
		*what = ob__http_parse(p, piece, n, &used);
		free(piece);
		CHECK(used <= n);
		at += used;
		if (*what == OB__HTTP_DONE || *what == OB__HTTP_BAD) {
			return at;
		}
		if (*what == OB__HTTP_MORE) {
			CHECK(used == n);
			if (at == len) {
				return at;
			}
		}
	}
}

static void check_request(struct ob__http_parse *p)
{
	char accept[OB__HTTP_ACCEPT_LEN + 1];
	CHECK(p->method && p->path && p->query && p->path[0] == '/');
	CHECK(p->fields_len <= OB__HTTP_FIELDS_MAX);
	CHECK(p->body.len <= MAX_BODY);
	CHECK(!p->http11 || ob__http_parse_field(p, "host"));
	for (size_t i = 0; i < p->fields_len; i++) {
		CHECK(ob__http_is_token(p->fields[i].name, strlen(p->fields[i].name)));
		CHECK(!strpbrk(p->fields[i].value, "\r\n"));
		CHECK(ob__http_parse_field(p, p->fields[i].name));
	}
	int status = ob__http_handshake(p, accept);
	CHECK(status == 400 || status == 426 ||
	      (status == 0 && strlen(accept) == OB__HTTP_ACCEPT_LEN));
}

static void check_same(const struct ob__http_parse *a, const struct ob__http_parse *b)
{
	CHECK(strcmp(a->method, b->method) == 0);
	CHECK(strcmp(a->path, b->path) == 0);
	CHECK(strcmp(a->query, b->query) == 0);
	CHECK(a->keep_alive == b->keep_alive);
	CHECK(a->fields_len == b->fields_len);
	for (size_t i = 0; i < a->fields_len; i++) {
		CHECK(strcmp(a->fields[i].name, b->fields[i].name) == 0);
		CHECK(strcmp(a->fields[i].value, b->fields[i].value) == 0);
	}
	CHECK(a->body.len == b->body.len);
	CHECK(a->body.len == 0 || memcmp(a->body.data, b->body.data, a->body.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0) {
		return 0;
	}
	size_t step = 1u + data[0] % 64u;
	data++;
	len--;
	struct ob__http_parse a;
	struct ob__http_parse b;
	ob__http_parse_init(&a, MAX_BODY);
	ob__http_parse_init(&b, MAX_BODY);
	for (unsigned i = 0; i < REQUESTS; i++) {
		enum ob__http_parsed one;
		enum ob__http_parsed two;
		size_t used = parse(&a, data, len, len + 1, &one);
		size_t pieces = parse(&b, data, len, step, &two);
		CHECK(one == two && used == pieces);
		CHECK(ob__http_parse_begun(&a) == ob__http_parse_begun(&b));
		if (one != OB__HTTP_DONE) {
			CHECK(one != OB__HTTP_BAD || (a.status == b.status && a.status >= 400));
			break;
		}
		check_request(&a);
		check_request(&b);
		check_same(&a, &b);
		ob__http_parse_reset(&a);
		ob__http_parse_reset(&b);
		data += used;
		len -= used;
	}
	ob__http_parse_free(&a);
	ob__http_parse_free(&b);
	return 0;
}
