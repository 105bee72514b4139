/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "bytes.h"

#include <stdlib.h>
#include <string.h>

#define KEPT (256u * 1024) /* of memory, from one message to the next */

void pomelo_bytes_begin(struct pomelo_bytes *b, size_t max)
{
	if (b->cap > KEPT) {
		pomelo_bytes_free(b);
	}
	b->len = 0;
	b->max = max;
	b->failed = false;
}

uint8_t *pomelo_bytes_room(struct pomelo_bytes *b, size_t more)
{
	if (b->failed || more > b->max || b->len > b->max - more) {
		b->failed = true;
		return NULL;
	}
	if (b->cap - b->len < more || b->data == NULL) {
		size_t cap = (b->len + more) * 2 < 256 ? 256 : (b->len + more) * 2;
		uint8_t *grown = realloc(b->data, cap);

		if (grown == NULL) {
			b->failed = true;
			return NULL;
		}
		b->data = grown;
		b->cap = cap;
	}
	return b->data + b->len;
}

void pomelo_bytes_add(struct pomelo_bytes *b, const void *data, size_t len)
{
	uint8_t *to = pomelo_bytes_room(b, len);

	if (to != NULL && len > 0) {
		memcpy(to, data, len);
		b->len += len;
	}
}

void pomelo_bytes_free(struct pomelo_bytes *b)
{
	free(b->data);
	*b = (struct pomelo_bytes){0};
}
