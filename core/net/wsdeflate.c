/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/wsdeflate.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <zlib.h>

#define BITS_MIN  9u /* zlib has no smaller window without a header */
#define MEM_LEVEL 8
#define FEED_MAX  (1u << 30) /* bytes at once: zlib counts in unsigned int */
#define ROOM_MIN  1024u

/* The end of each flush, which is left out on the wire (section 7.2.1). */
static const uint8_t tail[4] = {0x00, 0x00, 0xff, 0xff};

struct ob__wsdeflate {
	int level;
	size_t memory; /* 0: any */
	size_t used;
	z_stream in;
	z_stream *out[OB__WSDEFLATE_BITS + 1]; /* by bits, made when one is needed */
};

/* ---- memory ---- */

/* In front of each block, so that it can be counted off again. */
union block {
	size_t size;
	max_align_t align;
};

static void *counted_alloc(void *arg, unsigned n, unsigned size)
{
	struct ob__wsdeflate *d = arg;
	size_t len = (size_t)n * size;

	if (d->memory != 0 && (d->used > d->memory || len > d->memory - d->used)) {
		return Z_NULL;
	}
	union block *b = calloc(1, sizeof(*b) + len);
	if (b == NULL) {
		return Z_NULL;
	}
	b->size = len;
	d->used += len;
	return b + 1;
}

static void counted_free(void *arg, void *at)
{
	struct ob__wsdeflate *d = arg;
	union block *b = (union block *)at - 1;

	d->used -= b->size;
	free(b);
}

struct ob__wsdeflate *ob__wsdeflate_new(int level, size_t memory)
{
	struct ob__wsdeflate *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		return NULL;
	}
	d->level = level;
	d->memory = memory;
	if (inflateInit2(&d->in, -(int)OB__WSDEFLATE_BITS) != Z_OK) {
		free(d);
		return NULL;
	}
	return d;
}

void ob__wsdeflate_free(struct ob__wsdeflate *d)
{
	if (d == NULL) {
		return;
	}
	inflateEnd(&d->in);
	for (unsigned bits = 0; bits <= OB__WSDEFLATE_BITS; bits++) {
		if (d->out[bits] != NULL) {
			deflateEnd(d->out[bits]);
			free(d->out[bits]);
		}
	}
	free(d);
}

/* ---- what is offered ---- */

struct param {
	const char *name;
	size_t name_len;
	char value[4]; /* "" without one; what does not fit is no number of bits */
	bool has_value;
};

static const char *skip_space(const char *s)
{
	return s + strspn(s, " \t");
}

static size_t token_len(const char *s)
{
	return strcspn(s, " \t;,=\"");
}

static bool is_word(const char *s, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp(s, word, len) == 0;
}

/* The value behind a =, with or without quotes; a long one is cut, and so no number any more. */
static const char *read_value(const char *s, struct param *p)
{
	bool quoted = *s == '"';
	size_t len = 0;

	p->has_value = true;
	for (s += quoted; *s != '\0' && (quoted ? *s != '"' : token_len(s) > 0); s++) {
		if (quoted && *s == '\\' && s[1] != '\0') {
			s++;
		}
		if (len < sizeof(p->value) - 1) {
			p->value[len++] = *s;
		}
	}
	p->value[len] = '\0';
	return quoted && *s == '"' ? s + 1 : s;
}

/* The next parameter of an extension, from its ; on.  NULL: there is none. */
static const char *next_param(const char *s, struct param *p)
{
	s = skip_space(s);
	if (*s != ';') {
		return NULL;
	}
	s = skip_space(s + 1);
	*p = (struct param){.name = s, .name_len = token_len(s)};
	s = skip_space(s + p->name_len);
	return *s == '=' ? read_value(skip_space(s + 1), p) : s;
}

/* 8..15 in decimal digits without a leading zero (section 7.1.2.1); else 0. */
static unsigned bits_of(const struct param *p)
{
	const char *v = p->value;

	if (v[0] == '1' && v[1] >= '0' && v[1] <= '5' && v[2] == '\0') {
		return 10u + (unsigned)(v[1] - '0');
	}
	return (v[0] == '8' || v[0] == '9') && v[1] == '\0' ? (unsigned)(v[0] - '0') : 0;
}

enum {
	SERVER_ALONE = 1u << 0, /* server_no_context_takeover */
	CLIENT_ALONE = 1u << 1,
	SERVER_BITS = 1u << 2,
	CLIENT_BITS = 1u << 3,
};

/* Which of them it is; 0: of none that may stand there with that value. */
static unsigned param_kind(const struct param *p)
{
	if (is_word(p->name, p->name_len, "server_no_context_takeover")) {
		return p->has_value ? 0 : SERVER_ALONE;
	}
	if (is_word(p->name, p->name_len, "client_no_context_takeover")) {
		return p->has_value ? 0 : CLIENT_ALONE;
	}
	if (is_word(p->name, p->name_len, "server_max_window_bits")) {
		return bits_of(p) >= BITS_MIN ? SERVER_BITS : 0;
	}
	if (is_word(p->name, p->name_len, "client_max_window_bits")) {
		return !p->has_value || bits_of(p) > 0 ? CLIENT_BITS : 0;
	}
	return 0;
}

/* One extension with its parameters.  *seen: what it has, 0 if it is not to be accepted. */
static const char *read_offer(const char *s, bool *good, unsigned *seen, unsigned *bits)
{
	size_t len = token_len(s);
	struct param p;

	*good = is_word(s, len, "permessage-deflate");
	*seen = 0;
	*bits = OB__WSDEFLATE_BITS;
	s += len;
	for (const char *next; (next = next_param(s, &p)) != NULL; s = next) {
		unsigned kind = param_kind(&p);
		*good = *good && kind != 0 && (*seen & kind) == 0;
		*seen |= kind;
		if (kind == SERVER_BITS) {
			*bits = bits_of(&p);
		}
	}
	return skip_space(s);
}

uint8_t ob__wsdeflate_accept(const char *offers, char out[OB__WSDEFLATE_ANSWER])
{
	const char *s = offers;

	while (*(s += strspn(s, ", \t")) != '\0') {
		unsigned seen;
		unsigned bits;
		bool good;
		const char *end = read_offer(s, &good, &seen, &bits);
		if (end == s || (*end != ',' && *end != '\0')) {
			return 0; /* not what was checked */
		}
		if (good) {
			int n = snprintf(out, OB__WSDEFLATE_ANSWER,
			                 "permessage-deflate; server_no_context_takeover; "
			                 "client_no_context_takeover");
			if ((seen & SERVER_BITS) != 0) {
				snprintf(out + n, OB__WSDEFLATE_ANSWER - (size_t)n,
				         "; server_max_window_bits=%u", bits);
			}
			return (uint8_t)bits;
		}
		s = end;
	}
	return 0;
}

/* ---- messages ---- */

static z_stream *packer(struct ob__wsdeflate *d, uint8_t bits)
{
	z_stream *z = d->out[bits];

	if (z != NULL) {
		return deflateReset(z) == Z_OK ? z : NULL;
	}
	z = calloc(1, sizeof(*z));
	if (z == NULL) {
		return NULL;
	}
	z->zalloc = counted_alloc;
	z->zfree = counted_free;
	z->opaque = d;
	if (deflateInit2(z, d->level, Z_DEFLATED, -(int)bits, MEM_LEVEL, Z_DEFAULT_STRATEGY) !=
	    Z_OK) {
		free(z);
		return NULL;
	}
	d->out[bits] = z;
	return z;
}

size_t ob__wsdeflate_pack(struct ob__wsdeflate *d, uint8_t bits, const void *data, size_t len,
                          uint8_t *out, size_t cap)
{
	if (bits < BITS_MIN || bits > OB__WSDEFLATE_BITS || len > FEED_MAX || cap > FEED_MAX) {
		return 0;
	}
	z_stream *z = packer(d, bits);
	if (z == NULL) {
		return 0;
	}
	z->next_in = (Bytef *)(uintptr_t)data; /* zlib does not write there */
	z->avail_in = (uInt)len;
	z->next_out = out;
	z->avail_out = (uInt)cap;
	if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in > 0 || z->avail_out == 0) {
		return 0;
	}
	size_t n = cap - z->avail_out;
	if (n <= sizeof(tail)) {
		return 0;
	}
	return n - sizeof(tail);
}

/* More room in front of zlib; false: there is none. */
static bool make_room(struct ob__buf *out, size_t hint, size_t max)
{
	size_t most = max + 1 - out->len; /* one more tells that it is too much */
	size_t want = out->cap > 0 ? out->cap : hint;

	want = want < ROOM_MIN ? ROOM_MIN : want;
	return ob__buf_reserve(out, want < most ? want : most) == 0;
}

/* Inflates `len` bytes behind what was inflated before. */
static int feed(z_stream *z, const uint8_t *data, size_t len, size_t max, struct ob__buf *out)
{
	z->next_in = (Bytef *)(uintptr_t)data;
	z->avail_in = (uInt)len;
	for (;;) {
		if (out->len > max) {
			return -EMSGSIZE;
		}
		if (out->len == out->cap && !make_room(out, 2 * len, max)) {
			return -ENOMEM;
		}
		size_t room = out->cap - out->len;
		room = room < max + 1 - out->len ? room : max + 1 - out->len;
		room = room < FEED_MAX ? room : FEED_MAX;
		z->next_out = out->data + out->len;
		z->avail_out = (uInt)room;
		int rc = inflate(z, Z_NO_FLUSH);
		out->len += room - z->avail_out;
		if (rc == Z_STREAM_END) { /* a last block, behind which others may come */
			rc = inflateReset(z);
		} else if (rc == Z_OK && z->avail_out > 0) {
			return out->len > max ? -EMSGSIZE : 0; /* all the input has been used */
		}
		if (rc == Z_BUF_ERROR && z->avail_in == 0) {
			return out->len > max ? -EMSGSIZE : 0;
		}
		if (rc != Z_OK) {
			return rc == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
		}
	}
}

int ob__wsdeflate_unpack(struct ob__wsdeflate *d, const void *data, size_t len, size_t max,
                         struct ob__buf *out)
{
	z_stream *z = &d->in;

	if (inflateReset(z) != Z_OK || len > FEED_MAX || max > FEED_MAX) {
		return -EBADMSG;
	}
	int rc = feed(z, data, len, max, out);
	if (rc == 0) {
		rc = feed(z, tail, sizeof(tail), max, out);
	}
	/* It ended where a block does, and not within one that takes the tail for its own bytes. */
	bool whole = (z->data_type & 128) != 0 && (z->data_type & 31) == 0;
	z->next_in = NULL;
	z->next_out = NULL;
	return rc == 0 && !whole ? -EBADMSG : rc;
}
