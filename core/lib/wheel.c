/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/wheel.h"

#include <string.h>

void ob__wheel_init(struct ob__wheel *w, uint64_t now_ms)
{
	w->now = now_ms;
	w->tick = now_ms / OB__WHEEL_TICK_MS;
	w->count = 0;
	memset(w->used, 0, sizeof(w->used));
	ob__list_init(&w->overdue);
	for (size_t i = 0; i < OB__WHEEL_SLOTS; i++) {
		ob__list_init(&w->slots[i]);
	}
}

void ob__wheel_entry_init(struct ob__wheel_entry *e)
{
	ob__list_init(&e->link);
	e->expiry = 0;
}

/* Moves what is due in one slot to `due` and forgets the slot if nothing is left in it. */
static void collect_slot(struct ob__wheel *w, size_t slot, uint64_t now_ms, struct ob__list *due)
{
	struct ob__list *head = &w->slots[slot];
	OB__LIST_EACH_SAFE (it, head) {
		struct ob__wheel_entry *e = OB__CONTAINER(it, struct ob__wheel_entry, link);
		if (e->expiry <= now_ms) {
			ob__list_del(it);
			ob__list_append(due, it);
		}
	}
	if (ob__list_empty(head)) {
		w->used[slot / 64] &= ~(UINT64_C(1) << slot % 64);
	}
}

/* The distance (0..limit) from `tick` to the first tick whose slot is marked; `limit` if none. */
static uint64_t distance_to_used(const struct ob__wheel *w, uint64_t tick, uint64_t limit)
{
	uint64_t off = 0;
	while (off < limit) {
		size_t slot = (tick + off) % OB__WHEEL_SLOTS;
		uint64_t bits = w->used[slot / 64] >> slot % 64;
		if (bits != 0) {
			off += (uint64_t)__builtin_ctzll(bits);
			return off < limit ? off : limit;
		}
		off += 64 - slot % 64;
	}
	return limit;
}

static void collect(struct ob__wheel *w, uint64_t now_ms, struct ob__list *due)
{
	uint64_t now_tick = now_ms / OB__WHEEL_TICK_MS;
	uint64_t steps = now_tick > w->tick ? now_tick - w->tick : 0;
	if (steps > OB__WHEEL_SLOTS) {
		steps = OB__WHEEL_SLOTS;
	}
	ob__list_splice(due, &w->overdue);
	uint64_t off = distance_to_used(w, w->tick + 1, steps);
	while (off < steps) {
		uint64_t tick = w->tick + 1 + off;
		collect_slot(w, tick % OB__WHEEL_SLOTS, now_ms, due);
		off += 1 + distance_to_used(w, tick + 1, steps - off - 1);
	}
	w->now = now_ms;
	w->tick = now_tick;
}

void ob__wheel_advance(struct ob__wheel *w, uint64_t now_ms, ob__wheel_cb cb, void *arg)
{
	/* All that is due is collected before the first callback: what callbacks set is for the
	 * next advance, and what they clear simply leaves this list. */
	struct ob__list due;
	ob__list_init(&due);
	collect(w, now_ms, &due);
	while (!ob__list_empty(&due)) {
		struct ob__wheel_entry *e = OB__CONTAINER(due.next, struct ob__wheel_entry, link);
		ob__wheel_clear(w, e);
		cb(e, arg);
	}
}

uint64_t ob__wheel_next(const struct ob__wheel *w)
{
	if (w->count == 0) {
		return UINT64_MAX;
	}
	if (!ob__list_empty(&w->overdue)) {
		return 0;
	}
	uint64_t tick = w->tick + 1 + distance_to_used(w, w->tick + 1, OB__WHEEL_SLOTS);
	return tick * OB__WHEEL_TICK_MS - w->now;
}
