/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/slab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SERIAL_FIRST 1u

void ob__slab_init(struct ob__slab *s, size_t size, uint8_t kind, uint32_t limit)
{
	assert(kind >= 1 && kind <= 15);
	assert(limit <= OB__SLAB_SLOTS_MAX);
	size_t align = sizeof(struct ob__slab_head);
	*s = (struct ob__slab){
		.stride = sizeof(struct ob__slab_head) + (size + align - 1) / align * align,
		.limit = limit,
		.kind = kind,
		.first_serial = SERIAL_FIRST,
	};
}

void ob__slab_begin(struct ob__slab *s, uint64_t serial)
{
	assert(s->fresh == 0);
	s->first_serial = serial & OB__SLAB_SERIAL_MASK;
}

void ob__slab_destroy(struct ob__slab *s)
{
	if (s == NULL) {
		return;
	}
	for (size_t i = 0; i < s->pages_len; i++) {
		ob__slab_unpoison(s->pages[i], OB__SLAB_PAGE * s->stride);
		free(s->pages[i]);
	}
	free(s->pages);
	*s = (struct ob__slab){0};
}

static int add_page(struct ob__slab *s)
{
	uint8_t **pages = realloc(s->pages, (s->pages_len + 1) * sizeof(*pages));
	if (pages == NULL) {
		return -1;
	}
	s->pages = pages;
	uint8_t *page = calloc(OB__SLAB_PAGE, s->stride);
	if (page == NULL) {
		return -1;
	}
	s->pages[s->pages_len++] = page;
	return 0;
}

void *ob__slab_take_fresh(struct ob__slab *s)
{
	if (s->live >= s->limit || (s->fresh == s->pages_len * OB__SLAB_PAGE && add_page(s) < 0)) {
		return NULL;
	}
	uint32_t slot = s->fresh++;
	struct ob__slab_head *head = ob__slab_at(s, slot);
	head->handle = (uint64_t)s->kind << OB__SLAB_KIND_SHIFT |
	               s->first_serial << OB__SLAB_SLOT_BITS | slot;
	s->live++;
	return head + 1;
}

void *ob__slab_alloc(struct ob__slab *s, uint64_t *handle)
{
	void *object = ob__slab_take(s);
	if (object != NULL) {
		*handle = ob__slab_handle(s, object);
		memset(object, 0, s->stride - sizeof(struct ob__slab_head));
	}
	return object;
}

void *ob__slab_next(const struct ob__slab *s, uint32_t *pos)
{
	while (*pos < s->fresh) {
		struct ob__slab_head *head = ob__slab_at(s, (*pos)++);
		if (ob__handle_kind(head->handle) != 0) {
			return head + 1;
		}
	}
	return NULL;
}
