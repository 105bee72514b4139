/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/dedupe.h"

#include <stdlib.h>
#include <string.h>

#include "mesh/handles.h"

#define MAKE_ROOM_LOOK 64u /* ends looked at to find one that may go */

void ob__dedupe_init(struct ob__dedupe *d, uint32_t count, size_t bytes, uint64_t window_ms,
                     uint64_t seed)
{
	*d = (struct ob__dedupe){.window_ms = window_ms, .bytes_max = bytes};
	ob__slab_init(&d->slab, sizeof(struct ob__dedupe_entry), OB__KIND_KEY, count);
	ob__map_init(&d->places, seed);
	ob__list_init(&d->ended);
}

static void entry_clear(struct ob__dedupe_entry *e)
{
	free(e->name);
	free(e->waiters);
	free((void *)(uintptr_t)e->end.text);
	free((void *)(uintptr_t)e->end.data);
}

void ob__dedupe_free(struct ob__dedupe *d)
{
	struct ob__dedupe_entry *e;

	if (d == NULL || d->slab.stride == 0) {
		return;
	}
	for (uint32_t i = 0; (e = ob__slab_next(&d->slab, &i)) != NULL;) {
		entry_clear(e);
	}
	ob__slab_destroy(&d->slab);
	ob__map_free(&d->places);
	*d = (struct ob__dedupe){0};
}

static void drop(struct ob__dedupe *d, struct ob__dedupe_entry *e)
{
	struct ob__dedupe_entry *head = ob__map_get(&d->places, e->a, e->b);

	if (head == e && e->next == NULL) {
		ob__map_del(&d->places, e->a, e->b);
	} else if (head == e) {
		(void)ob__map_put(&d->places, e->a, e->b, e->next); /* replaces: can't fail */
	} else {
		while (head->next != e) {
			head = head->next;
		}
		head->next = e->next;
	}
	if (e->ended) {
		ob__list_del(&e->ended_link);
	}
	d->bytes -= e->bytes;
	entry_clear(e);
	ob__slab_free(&d->slab, e);
}

/* Makes room for one entry more (or none) of so many bytes, at the cost of ends that nobody can
 * ask for. */
static bool make_room(struct ob__dedupe *d, size_t bytes, bool entry, uint64_t now_ms)
{
	if (bytes > d->bytes_max) {
		return false;
	}
	unsigned looked = 0;
	OB__LIST_EACH_SAFE (it, &d->ended) {
		bool fits = d->bytes + bytes <= d->bytes_max &&
		            (!entry || d->slab.live < d->slab.limit);
		if (fits || looked++ == MAKE_ROOM_LOOK) {
			break;
		}
		struct ob__dedupe_entry *e = OB__CONTAINER(it, struct ob__dedupe_entry, ended_link);
		if (e->until <= now_ms) {
			d->early++;
			drop(d, e);
		}
	}
	return d->bytes + bytes <= d->bytes_max && (!entry || d->slab.live < d->slab.limit);
}

static uint64_t hash_of(const struct ob__dedupe *d, const struct ob__dedupe_query *q)
{
	uint64_t h = ob__hash(d->places.seed, &q->who.id, sizeof(q->who.id));

	if (q->method_len > 0) {
		h = ob__hash(h, q->method, q->method_len);
	}
	return ob__hash(h, q->key, q->key_len);
}

static bool same(const struct ob__dedupe_entry *e, const struct ob__dedupe_query *q)
{
	return e->src == q->who.src && e->id == q->who.id && e->method_len == q->method_len &&
	       e->key_len == q->key_len &&
	       (q->method_len == 0 || memcmp(e->name, q->method, q->method_len) == 0) &&
	       memcmp(e->name + e->method_len, q->key, q->key_len) == 0;
}

static bool add_waiter(struct ob__dedupe_entry *e, const struct ob__dedupe_waiter *who)
{
	if (who->call == 0) {
		return true;
	}
	if (e->waiters_len >= OB__DEDUPE_WAITERS_MAX) {
		return false;
	}
	struct ob__dedupe_waiter *grown =
		realloc(e->waiters, (e->waiters_len + 1) * sizeof(*grown));
	if (grown == NULL) {
		return false;
	}
	e->waiters = grown;
	grown[e->waiters_len++] = *who;
	return true;
}

static struct ob__dedupe_entry *entry_new(struct ob__dedupe *d, const struct ob__dedupe_query *q,
                                          uint64_t hash, uint64_t now_ms, uint64_t *handle)
{
	size_t name_len = q->method_len + q->key_len;
	size_t bytes = sizeof(struct ob__dedupe_entry) + name_len;
	struct ob__dedupe_entry *e =
		make_room(d, bytes, true, now_ms) ? ob__slab_alloc(&d->slab, handle) : NULL;

	if (e == NULL) {
		return NULL;
	}
	e->a = q->who.src;
	e->b = hash;
	e->src = q->who.src;
	e->id = q->who.id;
	e->until = q->until;
	e->method_len = (uint16_t)q->method_len;
	e->key_len = (uint16_t)q->key_len;
	e->next = ob__map_get(&d->places, e->a, e->b);
	e->name = malloc(name_len);
	if (e->name == NULL || ob__map_put(&d->places, e->a, e->b, e) != 0) {
		free(e->name);
		ob__slab_free(&d->slab, e);
		return NULL;
	}
	if (q->method_len > 0) {
		memcpy(e->name, q->method, q->method_len);
	}
	memcpy(e->name + q->method_len, q->key, q->key_len);
	ob__list_init(&e->ended_link);
	e->bytes = bytes;
	d->bytes += bytes;
	return e;
}

enum ob__dedupe_state ob__dedupe_begin(struct ob__dedupe *d, const struct ob__dedupe_query *q,
                                       uint64_t now_ms, uint64_t *handle,
                                       const struct ob__dedupe_end **done)
{
	uint64_t hash = hash_of(d, q);

	*handle = 0;
	*done = NULL;
	(void)ob__dedupe_expire(d, now_ms);
	struct ob__dedupe_entry *e = ob__map_get(&d->places, q->who.src, hash);
	while (e != NULL && !same(e, q)) {
		e = e->next;
	}
	if (e == NULL) {
		e = entry_new(d, q, hash, now_ms, handle);
		d->full += e == NULL;
		return e != NULL ? OB__DEDUPE_NEW : OB__DEDUPE_FULL;
	}
	e->until = q->until > e->until ? q->until : e->until;
	if (e->ended) {
		d->repeated++;
		*done = &e->end;
		return OB__DEDUPE_DONE;
	}
	if (!add_waiter(e, &q->who)) {
		d->full++;
		return OB__DEDUPE_FULL;
	}
	d->repeated++;
	return OB__DEDUPE_WAIT;
}

/* Takes a copy of the end, its bytes if there is room for them. */
static void keep_end(struct ob__dedupe *d, struct ob__dedupe_entry *e,
                     const struct ob__dedupe_end *end, uint64_t now_ms)
{
	size_t text_len = end->text != NULL ? strlen(end->text) + 1 : 0;
	size_t bytes = end->len + text_len;

	e->end = (struct ob__dedupe_end){.code = end->code, .silent = end->silent};
	if (bytes > 0 && make_room(d, bytes, false, now_ms)) {
		uint8_t *data = end->len > 0 ? malloc(end->len) : NULL;
		char *text = text_len > 0 ? malloc(text_len) : NULL;
		if (data != NULL) {
			memcpy(data, end->data, end->len);
		}
		if (text != NULL) {
			memcpy(text, end->text, text_len);
		}
		e->end.data = data;
		e->end.len = data != NULL ? end->len : 0;
		e->end.text = text;
		e->bytes += bytes;
		d->bytes += bytes;
	}
	e->end.lost = e->end.len != end->len;
	e->ended = true;
	e->ended_at = now_ms;
	ob__list_append(&d->ended, &e->ended_link);
}

bool ob__dedupe_awaited(const struct ob__dedupe *d, uint64_t handle)
{
	const struct ob__dedupe_entry *e = ob__slab_get(&d->slab, handle);

	return e != NULL && e->waiters_len > 0;
}

struct ob__dedupe_waiter *ob__dedupe_end(struct ob__dedupe *d, uint64_t handle,
                                         const struct ob__dedupe_end *end, bool keep,
                                         uint64_t now_ms, size_t *len)
{
	struct ob__dedupe_entry *e = ob__slab_get(&d->slab, handle);

	*len = 0;
	if (e == NULL || e->ended) {
		return NULL;
	}
	struct ob__dedupe_waiter *waiters = e->waiters;
	*len = e->waiters_len;
	e->waiters = NULL;
	e->waiters_len = 0;
	if (keep) {
		keep_end(d, e, end, now_ms);
	} else {
		drop(d, e);
	}
	return waiters;
}

uint64_t ob__dedupe_expire(struct ob__dedupe *d, uint64_t now_ms)
{
	while (!ob__list_empty(&d->ended)) {
		struct ob__dedupe_entry *e =
			OB__CONTAINER(d->ended.next, struct ob__dedupe_entry, ended_link);
		if (e->ended_at + d->window_ms > now_ms) {
			return e->ended_at + d->window_ms;
		}
		drop(d, e);
	}
	return OB__DEDUPE_NEVER;
}
