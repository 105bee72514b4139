/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Which of several nodes: the choosers that are built in.
 *
 * A set holds the nodes that can take something now, in the order of their ids.  Whoever chooses
 * names a way and, for the ways that need one, a key:
 *
 * - ROUND_ROBIN gives everyone a turn; RANDOM rolls a die (seeded: a simulation repeats itself);
 * - WEIGHTED gives turns by weight, evenly mixed: 5, 1, 1 is a a b a c a a, not a a a a a b c;
 * - LEAST_PENDING takes the one with the fewest requests of ours that have not ended, by weight,
 *   then the one that says it has the least to do, then whoever's turn it is;
 * - STICKY takes the same node for the same key, by rendezvous hashing: every host that knows the
 *   same nodes and weights takes the same one, and when a node comes or goes only the keys move
 *   that it gets or had.  Keys fall into OB__BALANCE_SLOTS slots, and what a slot hashes to is
 *   remembered until the set changes, so a choice costs the same with 3 nodes and with 300;
 * - HASH is STICKY, but passes over a node that has more than OB__BALANCE_LOAD_PERCENT of the mean
 *   of pending requests (consistent hashing with bounded loads, Mirrokni and others, 2016).
 *
 * A weight of 0 takes its node out of every choice while others are there.
 */

#ifndef OB__BALANCE_H
#define OB__BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__BALANCE_WEIGHT       100u /* of a node that was not given one */
#define OB__BALANCE_WEIGHT_MAX   65535u
#define OB__BALANCE_SLOTS        16384u /* a power of two */
#define OB__BALANCE_LOAD_PERCENT 125u
#define OB__BALANCE_MAX          4096u /* nodes in a set */

enum ob__balance_way {
	OB__BALANCE_STICKY = 1,
	OB__BALANCE_ROUND_ROBIN,
	OB__BALANCE_RANDOM,
	OB__BALANCE_WEIGHTED,
	OB__BALANCE_LEAST_PENDING,
	OB__BALANCE_HASH,
};

/* Embedded in whoever can be chosen.  The owner sets id once, and pending and load at any time;
 * weight by ob__balance_weigh(). */
struct ob__balance_node {
	uint64_t id;
	uint32_t weight;
	uint32_t pending; /* ours, on it */
	uint32_t load;    /* as it says itself */
	int64_t credit;   /* private, of WEIGHTED */
};

struct ob__balance {
	struct ob__balance_node **nodes; /* by id */
	uint16_t *slots;                 /* index + 1 per slot, 0: not computed; or NULL */
	uint32_t len;
	uint32_t cap;
	uint32_t turn;
	uint64_t random;
	bool uneven; /* not all weights are the same */
};

/* `seed` is for RANDOM.  Allocates nothing. */
void ob__balance_init(struct ob__balance *b, uint64_t seed);

/* The nodes are their owners'.  NULL and a zeroed struct are accepted. */
void ob__balance_free(struct ob__balance *b);

/* Makes room for `len` nodes in all, so that adding up to then can't fail for want of memory.
 * 0, -ENOSPC beyond OB__BALANCE_MAX, -ENOMEM. */
int ob__balance_reserve(struct ob__balance *b, uint32_t len);

/* Puts a node in. 0, -EEXIST if one of that id is there, or as ob__balance_reserve(). */
int ob__balance_add(struct ob__balance *b, struct ob__balance_node *node);

/* Takes it out; harmless when it is not in. */
void ob__balance_remove(struct ob__balance *b, struct ob__balance_node *node);

/* Changes a node's weight, whether it is in the set or not. */
void ob__balance_weigh(struct ob__balance *b, struct ob__balance_node *node, uint32_t weight);

/* The choice, never `except` (which may be NULL, or not in the set); NULL when nobody is left. */
struct ob__balance_node *ob__balance_pick(struct ob__balance *b, enum ob__balance_way way,
                                          uint64_t key, const struct ob__balance_node *except);

/* The way of that name ("sticky", "round_robin", "random", "weighted", "least_pending", "hash"), or
 * 0; and the name of a way. */
enum ob__balance_way ob__balance_way(const char *name);
const char *ob__balance_name(enum ob__balance_way way);

/* A key from two numbers, e.g. a session's proxy and number: the same on every host. */
uint64_t ob__balance_key(uint64_t a, uint64_t b);

#endif
