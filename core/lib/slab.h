/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Objects with handles.
 *
 * A slab gives out objects of one size at addresses that never move, each with a 64-bit handle:
 *
 *     bits 63..60 kind | bits 59..24 serial | bits 23..0 slot
 *
 * The serial of a slot grows each time its object is freed, so a handle that outlives its object
 * is noticed instead of reaching the next tenant.  Kinds keep a timer's handle from being taken
 * for a request's.  A handle is never 0.
 *
 * A freed object's memory goes to the next alloc of the same slab (last in, first out, for the
 * cache's sake); pages are given back only by ob__slab_destroy().
 */

#ifndef OB__SLAB_H
#define OB__SLAB_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define OB__SLAB_PAGE        256u /* objects in one page */
#define OB__SLAB_SLOT_BITS   24u
#define OB__SLAB_SLOTS_MAX   (1u << OB__SLAB_SLOT_BITS)
#define OB__SLAB_SLOT_MASK   (OB__SLAB_SLOTS_MAX - 1)
#define OB__SLAB_KIND_SHIFT  60u
#define OB__SLAB_SERIAL_MASK ((UINT64_C(1) << (OB__SLAB_KIND_SHIFT - OB__SLAB_SLOT_BITS)) - 1)

/* Stands before each object, and keeps it aligned to 16 bytes. */
struct ob__slab_head {
	uint64_t handle;    /* of the live object; while free, of the next tenant but with kind 0 */
	uint32_t next_free; /* while free: the next free slot + 1, or 0 */
	uint32_t unused;
};

struct ob__slab {
	uint8_t **pages;
	size_t pages_len;
	size_t stride;      /* bytes of one object with its head */
	uint32_t limit;     /* most live objects */
	uint32_t live;      /* live objects */
	uint32_t free_head; /* first free slot + 1, or 0 */
	uint32_t fresh;     /* slots ever used */
	uint8_t kind;
	uint64_t first_serial; /* of slots that are new */
};

/* `size`: bytes of one object; `kind`: 1..15; `limit`: most live objects, at most
 * OB__SLAB_SLOTS_MAX.  Allocates nothing yet. */
void ob__slab_init(struct ob__slab *s, size_t size, uint8_t kind, uint32_t limit);

/* Before the first alloc: slots get their first serial from here (its low 36 bits) instead of 1.
 * For handles that another process may bring back: with a random one it never hits an object of
 * this process by a handle that an earlier process gave out. */
void ob__slab_begin(struct ob__slab *s, uint64_t serial);

/* Frees all pages, those of live objects too, and zeroes the struct.  NULL is accepted. */
void ob__slab_destroy(struct ob__slab *s);

static inline uint8_t ob__handle_kind(uint64_t handle)
{
	return (uint8_t)(handle >> OB__SLAB_KIND_SHIFT);
}

/* For the functions below: the head of a slot that was used at least once. */
static inline struct ob__slab_head *ob__slab_at(const struct ob__slab *s, uint32_t slot)
{
	uint8_t *page = s->pages[slot / OB__SLAB_PAGE];
	return (struct ob__slab_head *)(void *)(page + slot % OB__SLAB_PAGE * s->stride);
}

/* A freed object stays mapped, so only AddressSanitizer can tell its use from its successor's. */
#if defined(__SANITIZE_ADDRESS__)
#define OB__SLAB_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OB__SLAB_POISON 1
#endif
#endif
#ifdef OB__SLAB_POISON
void __asan_poison_memory_region(const volatile void *addr, size_t size);
void __asan_unpoison_memory_region(const volatile void *addr, size_t size);
#define ob__slab_poison   __asan_poison_memory_region
#define ob__slab_unpoison __asan_unpoison_memory_region
#else
#define ob__slab_poison(object, size)   ((void)(object))
#define ob__slab_unpoison(object, size) ((void)(object))
#endif

/* A zeroed object, its handle in *handle.  NULL at the limit or when out of memory. */
void *ob__slab_alloc(struct ob__slab *s, uint64_t *handle);

/* The rare half of the function below: a slot that was never used. */
void *ob__slab_take_fresh(struct ob__slab *s);

/* As alloc, but for whoever sets every byte that counts: the object is not zeroed. */
static inline void *ob__slab_take(struct ob__slab *s)
{
	if (s->free_head == 0 || s->live >= s->limit) {
		return ob__slab_take_fresh(s);
	}
	struct ob__slab_head *head = ob__slab_at(s, s->free_head - 1);
	s->free_head = head->next_free;
	s->live++;
	head->handle |= (uint64_t)s->kind << OB__SLAB_KIND_SHIFT;
	ob__slab_unpoison(head + 1, s->stride - sizeof(*head));
	return head + 1;
}

/* The object, or NULL when the handle is stale, of another kind or nonsense. */
static inline void *ob__slab_get(const struct ob__slab *s, uint64_t handle)
{
	uint32_t slot = (uint32_t)(handle & OB__SLAB_SLOT_MASK);
	if (ob__handle_kind(handle) != s->kind || slot >= s->fresh) {
		return NULL;
	}
	struct ob__slab_head *head = ob__slab_at(s, slot);
	return head->handle == handle ? head + 1 : NULL;
}

/* The handle of a live object of this slab. */
static inline uint64_t ob__slab_handle(const struct ob__slab *s, const void *object)
{
	(void)s;
	return ((const struct ob__slab_head *)object - 1)->handle;
}

/* Ends a live object of this slab; its handle is stale from now on. */
static inline void ob__slab_free(struct ob__slab *s, void *object)
{
	struct ob__slab_head *head = (struct ob__slab_head *)object - 1;
	assert(ob__handle_kind(head->handle) == s->kind);
	uint32_t slot = (uint32_t)(head->handle & OB__SLAB_SLOT_MASK);
	uint64_t serial = ((head->handle >> OB__SLAB_SLOT_BITS) + 1) & OB__SLAB_SERIAL_MASK;
	head->handle = serial << OB__SLAB_SLOT_BITS | slot; /* kind 0: matches no handle */
	head->next_free = s->free_head;
	s->free_head = slot + 1;
	s->live--;
	ob__slab_poison(object, s->stride - sizeof(*head));
}

/* The next live object at or after slot *pos, moving *pos past it; NULL at the end.  The one
 * returned may be freed during the walk. */
void *ob__slab_next(const struct ob__slab *s, uint32_t *pos);

#endif
