/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ob__buf_init(struct ob__buf *b)
{
	*b = (struct ob__buf){0};
}

void ob__buf_free(struct ob__buf *b)
{
	if (b == NULL) {
		return;
	}
	free(b->data);
	*b = (struct ob__buf){0};
}

int ob__buf_reserve(struct ob__buf *b, size_t more)
{
	if (more <= b->cap - b->len) {
		return 0;
	}
	if (more > SIZE_MAX - b->len) {
		return -ENOMEM;
	}
	size_t cap = b->len + more;
	if (b->len > 0 && b->cap <= SIZE_MAX / 2 && cap < b->cap * 2) {
		cap = b->cap * 2;
	}
	uint8_t *data = realloc(b->data, cap);
	if (data == NULL) {
		return -ENOMEM;
	}
	b->data = data;
	b->cap = cap;
	return 0;
}

int ob__buf_append(struct ob__buf *b, const void *data, size_t len)
{
	if (len == 0) {
		return 0;
	}
	int rc = ob__buf_reserve(b, len);
	if (rc < 0) {
		return rc;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

int ob__buf_printf(struct ob__buf *b, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len < 0) {
		return -EINVAL;
	}
	int rc = ob__buf_reserve(b, (size_t)len + 1); /* vsnprintf insists on its terminator */
	if (rc < 0) {
		return rc;
	}
	va_start(args, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)len + 1, fmt, args);
	va_end(args);
	b->len += (size_t)len;
	return 0;
}

void ob__buf_consume(struct ob__buf *b, size_t n)
{
	assert(n <= b->len);
	b->len -= n;
	if (b->len > 0 && n > 0) {
		memmove(b->data, b->data + n, b->len);
	}
}

struct ob__rbuf *ob__rbuf_new(size_t len)
{
	if (len > SIZE_MAX - sizeof(struct ob__rbuf)) {
		return NULL;
	}
	struct ob__rbuf *r = malloc(sizeof(*r) + len);
	if (r == NULL) {
		return NULL;
	}
	r->refs = 1;
	r->len = len;
	return r;
}

struct ob__rbuf *ob__rbuf_copy(const void *data, size_t len)
{
	struct ob__rbuf *r = ob__rbuf_new(len);
	if (r != NULL && len > 0) {
		memcpy(r->data, data, len);
	}
	return r;
}

struct ob__rbuf *ob__rbuf_ref(struct ob__rbuf *r)
{
	assert(r->refs > 0 && r->refs < UINT32_MAX);
	r->refs++;
	return r;
}

void ob__rbuf_unref(struct ob__rbuf *r)
{
	if (r == NULL) {
		return;
	}
	assert(r->refs > 0);
	if (--r->refs == 0) {
		free(r);
	}
}
