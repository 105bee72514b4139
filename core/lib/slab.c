/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/slab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SERIAL_MASK  ((UINT64_C(1) << 36) - 1)
#define SERIAL_FIRST 1u

/* A freed object stays mapped, so only AddressSanitizer can tell its use from its successor's. */
#if defined(__SANITIZE_ADDRESS__)
#define OB__POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OB__POISON 1
#endif
#endif
#ifdef OB__POISON
void __asan_poison_memory_region(const volatile void *addr, size_t size);
void __asan_unpoison_memory_region(const volatile void *addr, size_t size);
#endif

static void poison(void *object, size_t size)
{
#ifdef OB__POISON
	__asan_poison_memory_region(object, size);
#else
	(void)object;
	(void)size;
#endif
}

static void unpoison(void *object, size_t size)
{
#ifdef OB__POISON
	__asan_unpoison_memory_region(object, size);
#else
	(void)object;
	(void)size;
#endif
}

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
	s->first_serial = serial & SERIAL_MASK;
}

void ob__slab_destroy(struct ob__slab *s)
{
	if (s == NULL) {
		return;
	}
	for (size_t i = 0; i < s->pages_len; i++) {
		unpoison(s->pages[i], OB__SLAB_PAGE * s->stride);
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

/* A slot that was never used, or NULL when there is no memory for its page. */
static struct ob__slab_head *take_fresh(struct ob__slab *s)
{
	if (s->fresh == s->pages_len * OB__SLAB_PAGE && add_page(s) < 0) {
		return NULL;
	}
	uint32_t slot = s->fresh++;
	struct ob__slab_head *head = ob__slab_at(s, slot);
	head->handle = s->first_serial << OB__SLAB_SLOT_BITS | slot;
	return head;
}

void *ob__slab_take(struct ob__slab *s, uint64_t *handle)
{
	if (s->live >= s->limit) {
		return NULL;
	}
	struct ob__slab_head *head;
	if (s->free_head != 0) {
		head = ob__slab_at(s, s->free_head - 1);
		s->free_head = head->next_free;
		unpoison(head + 1, s->stride - sizeof(*head));
	} else {
		head = take_fresh(s);
		if (head == NULL) {
			return NULL;
		}
	}
	head->handle |= (uint64_t)s->kind << OB__SLAB_KIND_SHIFT;
	s->live++;
	*handle = head->handle;
	return head + 1;
}

void *ob__slab_alloc(struct ob__slab *s, uint64_t *handle)
{
	void *object = ob__slab_take(s, handle);
	if (object != NULL) {
		memset(object, 0, s->stride - sizeof(struct ob__slab_head));
	}
	return object;
}

void ob__slab_free(struct ob__slab *s, void *object)
{
	struct ob__slab_head *head = (struct ob__slab_head *)object - 1;
	assert(ob__handle_kind(head->handle) == s->kind);
	uint32_t slot = (uint32_t)(head->handle & OB__SLAB_SLOT_MASK);
	uint64_t serial = ((head->handle >> OB__SLAB_SLOT_BITS) + 1) & SERIAL_MASK;
	head->handle = serial << OB__SLAB_SLOT_BITS | slot; /* kind 0: matches no handle */
	head->next_free = s->free_head;
	s->free_head = slot + 1;
	s->live--;
	poison(object, s->stride - sizeof(*head));
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
