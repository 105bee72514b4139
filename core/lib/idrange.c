/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/idrange.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRIES_MAX 65536u

/* Work on reports is bounded too: n entries can disagree in n * n / 2 pairs. */
#define PAIRS_EXAMINED_MAX (1u << 22)

struct item {
	struct ob__idrange_span span;
	uint32_t rank; /* the greatest of those that cover an id has it */
};

void ob__idrange_init(struct ob__idrange *t)
{
	*t = (struct ob__idrange){0};
}

void ob__idrange_free(struct ob__idrange *t)
{
	if (t == NULL) {
		return;
	}
	free(t->added);
	free(t->special);
	free(t->flat);
	*t = (struct ob__idrange){0};
}

/* Appends to an array that is reallocated whenever its length reaches a power of two. */
static int span_append(struct ob__idrange_span **spans, size_t *len, struct ob__idrange_span span)
{
	if ((*len & (*len - 1)) == 0) {
		size_t cap = *len == 0 ? 1 : *len * 2;
		struct ob__idrange_span *more = realloc(*spans, cap * sizeof(*more));
		if (more == NULL) {
			return -ENOMEM;
		}
		*spans = more;
	}
	(*spans)[(*len)++] = span;
	return 0;
}

int ob__idrange_add(struct ob__idrange *t, uint32_t lo, uint32_t hi, uint32_t value)
{
	if (lo > hi) {
		return -EINVAL;
	}
	if (t->added_len + t->special_len >= ENTRIES_MAX) {
		return -E2BIG;
	}
	struct ob__idrange_span span = {.lo = lo, .hi = hi, .value = value};
	return span_append(&t->added, &t->added_len, span);
}

int ob__idrange_add_special(struct ob__idrange *t, uint32_t id, uint32_t value)
{
	if (t->added_len + t->special_len >= ENTRIES_MAX) {
		return -E2BIG;
	}
	struct ob__idrange_span span = {.lo = id, .hi = id, .value = value};
	return span_append(&t->special, &t->special_len, span);
}

static int by_lo(const void *a, const void *b)
{
	const struct item *x = a;
	const struct item *y = b;
	if (x->span.lo != y->span.lo) {
		return x->span.lo < y->span.lo ? -1 : 1;
	}
	return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* `items` are sorted by lo, so what an item overlaps stands right behind it. */
static void report(const struct item *items, size_t len, bool special, ob__idrange_overlap_cb cb,
                   void *arg)
{
	size_t examined = 0;
	size_t reported = 0;
	for (size_t i = 0; i < len; i++) {
		for (size_t j = i + 1; j < len && items[j].span.lo <= items[i].span.hi; j++) {
			if (++examined > PAIRS_EXAMINED_MAX) {
				return;
			}
			if (items[i].span.value == items[j].span.value) {
				continue;
			}
			bool later = items[j].rank > items[i].rank;
			cb(&items[later ? j : i].span, &items[later ? i : j].span, special, arg);
			if (++reported == OB__IDRANGE_REPORTS_MAX) {
				return;
			}
		}
	}
}

/* A binary heap of pointers to items, the highest rank on top. */
struct heap {
	const struct item **at;
	size_t len;
};

static void heap_push(struct heap *h, const struct item *item)
{
	size_t i = h->len++;
	for (; i > 0 && h->at[(i - 1) / 2]->rank < item->rank; i = (i - 1) / 2) {
		h->at[i] = h->at[(i - 1) / 2];
	}
	h->at[i] = item;
}

static void heap_pop(struct heap *h)
{
	const struct item *last = h->at[--h->len];
	size_t i = 0;
	for (size_t child = 1; child < h->len; child = 2 * i + 1) {
		if (child + 1 < h->len && h->at[child + 1]->rank > h->at[child]->rank) {
			child++;
		}
		if (h->at[child]->rank <= last->rank) {
			break;
		}
		h->at[i] = h->at[child];
		i = child;
	}
	h->at[i] = last;
}

static void emit(struct ob__idrange_span *flat, size_t *len, struct ob__idrange_span span)
{
	struct ob__idrange_span *before = *len > 0 ? &flat[*len - 1] : NULL;
	if (before != NULL && before->value == span.value && before->hi + 1 == span.lo) {
		before->hi = span.hi;
		return;
	}
	flat[(*len)++] = span;
}

/*
 * Walks the ids upwards from edge to edge.  The heap holds the items that began at or before `at`;
 * one that has ended is dropped when it comes to the top.  Each step uses up a beginning or an end
 * of an item, so at most two spans per item come out.
 */
static size_t flatten(const struct item *items, size_t len, struct heap *active,
                      struct ob__idrange_span *flat)
{
	size_t flat_len = 0;
	uint64_t at = 0; /* wider than an id: it ends one behind the last */
	for (size_t i = 0; i < len || active->len > 0;) {
		if (active->len == 0) {
			at = items[i].span.lo;
		}
		while (i < len && items[i].span.lo <= at) {
			heap_push(active, &items[i++]);
		}
		while (active->len > 0 && active->at[0]->span.hi < at) {
			heap_pop(active);
		}
		if (active->len == 0) {
			continue;
		}
		const struct item *top = active->at[0];
		uint32_t hi = top->span.hi;
		if (i < len && items[i].span.lo <= hi) {
			hi = items[i].span.lo - 1;
		}
		emit(flat, &flat_len,
		     (struct ob__idrange_span){
			     .lo = (uint32_t)at, .hi = hi, .value = top->span.value});
		at = (uint64_t)hi + 1;
	}
	return flat_len;
}

int ob__idrange_seal(struct ob__idrange *t, ob__idrange_overlap_cb cb, void *arg)
{
	size_t len = t->added_len + t->special_len;
	struct item *items = calloc(len + 1, sizeof(*items));
	struct heap active = {.at = calloc(len + 1, sizeof(*active.at))};
	struct ob__idrange_span *flat = calloc(2 * len + 1, sizeof(*flat));
	int rc = -ENOMEM;
	if (items == NULL || active.at == NULL || flat == NULL) {
		goto out;
	}
	for (size_t i = 0; i < t->added_len; i++) {
		items[i] = (struct item){.span = t->added[i], .rank = (uint32_t)i};
	}
	for (size_t i = 0; i < t->special_len; i++) { /* above all ranges, the first highest */
		items[t->added_len + i] =
			(struct item){.span = t->special[i], .rank = (uint32_t)(2 * len - i)};
	}
	if (cb != NULL) {
		qsort(items, t->added_len, sizeof(*items), by_lo);
		report(items, t->added_len, false, cb, arg);
		qsort(items + t->added_len, t->special_len, sizeof(*items), by_lo);
		report(items + t->added_len, t->special_len, true, cb, arg);
	}
	qsort(items, len, sizeof(*items), by_lo);
	free(t->flat);
	t->flat = flat;
	t->flat_len = flatten(items, len, &active, flat);
	flat = NULL;
	rc = 0;
out:
	free(flat);
	free(active.at);
	free(items);
	return rc;
}

bool ob__idrange_search(const struct ob__idrange *t, uint32_t id, uint32_t *value)
{
	const struct ob__idrange_span *base = t->flat;
	size_t len = t->flat_len;
	while (len > 1) { /* the last span that begins at or before `id` is in [base, base + len) */
		size_t half = len / 2;
		base = base[half].lo <= id ? base + half : base;
		len -= half;
	}
	if (id < base->lo || id > base->hi) {
		return false;
	}
	*value = base->value;
	return true;
}
