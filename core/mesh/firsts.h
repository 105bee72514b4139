/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  First choices that have just been made here.
 *
 * Where a session sticks is told to its proxy by the node that serves it, and from then on stands
 * in each message (mesh/sticks.h).  Until then, messages of the session that are right behind the
 * first one don't have it with them.  As long as a first choice is by rendezvous that does no harm:
 * they come to the same node by themselves.  A route node that chooses otherwise (by weight, by
 * turns, whoever has the least to do) notes the choice here, and takes it for what follows.
 *
 * The table is bounded.  Without room in it a first choice is by rendezvous, so nothing in it is
 * ever forgotten but by time: OB__FIRSTS_MS after it was asked for last.  A proxy is told again
 * every few seconds until it has heard, so it has known for long then.
 */

#ifndef OB__FIRSTS_H
#define OB__FIRSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/map.h"

#define OB__FIRSTS_MAX 65536u
#define OB__FIRSTS_MS  30000u

struct ob__firsts {
	struct ob__map map;      /* session and role -> entry */
	struct ob__list entries; /* the one asked for longest ago first */
	uint32_t limit;
};

/* Allocates nothing. */
void ob__firsts_init(struct ob__firsts *t, uint64_t seed, uint32_t limit);

/* NULL and a zeroed struct are accepted. */
void ob__firsts_free(struct ob__firsts *t);

/* Makes room for the choice of a session and a role, and forgets the one before.  False: there is
 * none. */
bool ob__firsts_begin(struct ob__firsts *t, uint64_t node, uint64_t seq, uint32_t role,
                      uint64_t now_ms);

/* Fills it in; 0 takes it back. */
void ob__firsts_set(struct ob__firsts *t, uint64_t node, uint64_t seq, uint32_t role,
                    uint64_t choice);

/* The choice, or 0. */
uint64_t ob__firsts_get(struct ob__firsts *t, uint64_t node, uint64_t seq, uint32_t role,
                        uint64_t now_ms);

#endif
