/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  A hashed timing wheel: very many timeouts, nearly none of which
 * ever fire.
 *
 * Time is a number of milliseconds that the caller passes in; the wheel has no clock.  A timeout
 * is an entry embedded in the object that waits, so setting and clearing one is a list insert and
 * a list delete.  Entries hash into ticks of 10 ms; one that is further away than the wheel is
 * round stays in its slot and is passed over until its turn.  An entry fires at or up to one tick
 * after its time, never before; those that come due in one advance fire in the order of their
 * ticks, unless the clock jumped by more than a turn.
 *
 * A clock that goes backwards is followed: what waits, waits until its time comes again.
 */

#ifndef OB__WHEEL_H
#define OB__WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"

#define OB__WHEEL_TICK_MS 10u
#define OB__WHEEL_SLOTS   4096u

struct ob__wheel_entry {
	struct ob__list link;
	uint64_t expiry; /* ms; meaningful while armed */
};

struct ob__wheel {
	uint64_t now;                        /* ms, of the last advance */
	uint64_t tick;                       /* last tick whose slot was swept */
	uint64_t count;                      /* armed entries */
	uint64_t used[OB__WHEEL_SLOTS / 64]; /* a bit for each slot that may hold entries */
	struct ob__list overdue;             /* set for a time that had passed */
	struct ob__list slots[OB__WHEEL_SLOTS];
};

typedef void (*ob__wheel_cb)(struct ob__wheel_entry *entry, void *arg);

void ob__wheel_init(struct ob__wheel *w, uint64_t now_ms);

/* Must be called once before an entry is first used.  An armed entry may not be freed. */
void ob__wheel_entry_init(struct ob__wheel_entry *e);

static inline bool ob__wheel_armed(const struct ob__wheel_entry *e)
{
	return ob__list_on(&e->link);
}

/* Disarms; harmless if not armed. */
static inline void ob__wheel_clear(struct ob__wheel *w, struct ob__wheel_entry *e)
{
	if (ob__wheel_armed(e)) {
		ob__list_del(&e->link);
		w->count--;
	}
}

/* Arms, or re-arms, for `expiry_ms`; a time that has passed fires at the next advance. */
static inline void ob__wheel_set(struct ob__wheel *w, struct ob__wheel_entry *e, uint64_t expiry_ms)
{
	ob__wheel_clear(w, e);
	e->expiry = expiry_ms;
	w->count++;
	if (expiry_ms <= w->now) {
		ob__list_append(&w->overdue, &e->link);
		return;
	}
	uint64_t tick = expiry_ms / OB__WHEEL_TICK_MS + (expiry_ms % OB__WHEEL_TICK_MS != 0);
	size_t slot = tick % OB__WHEEL_SLOTS;
	w->used[slot / 64] |= UINT64_C(1) << slot % 64;
	ob__list_append(&w->slots[slot], &e->link);
}

/* Sweeps up to `now_ms` and calls `cb` for each due entry, already disarmed.  The callback may set
 * and clear any entry, this one included; one set for the past during the sweep fires at the next
 * advance.  It may not advance the wheel.  A clock that jumps far costs at most one turn of the
 * wheel. */
void ob__wheel_advance(struct ob__wheel *w, uint64_t now_ms, ob__wheel_cb cb, void *arg);

/* Milliseconds from the last advance until the wheel should be advanced again: a lower bound of
 * the nearest expiry rounded up to its tick; UINT64_MAX when nothing is armed. */
uint64_t ob__wheel_next(const struct ob__wheel *w);

#endif
