/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/balance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Below so many pending requests a node is never passed over for its load. */
#define LOAD_FLOOR 8u

static const char *const names[] = {
	[OB__BALANCE_STICKY] = "sticky",
	[OB__BALANCE_ROUND_ROBIN] = "round_robin",
	[OB__BALANCE_RANDOM] = "random",
	[OB__BALANCE_WEIGHTED] = "weighted",
	[OB__BALANCE_LEAST_PENDING] = "least_pending",
	[OB__BALANCE_HASH] = "hash",
};

#define NAMES (sizeof(names) / sizeof(names[0]))

enum ob__balance_way ob__balance_way(const char *name)
{
	for (size_t i = 1; i < NAMES; i++) {
		if (strcmp(names[i], name) == 0) {
			return (enum ob__balance_way)i;
		}
	}
	return 0;
}

const char *ob__balance_name(enum ob__balance_way way)
{
	return (size_t)way < NAMES ? names[way] : NULL;
}

/* ---------------------------------------------------------------- the set */

void ob__balance_init(struct ob__balance *b, uint64_t seed)
{
	*b = (struct ob__balance){.random = seed | 1};
}

void ob__balance_free(struct ob__balance *b)
{
	if (b != NULL) {
		free(b->nodes);
		free(b->slots);
		*b = (struct ob__balance){0};
	}
}

static void changed(struct ob__balance *b)
{
	b->uneven = false;
	for (uint32_t i = 1; i < b->len; i++) {
		b->uneven |= b->nodes[i]->weight != b->nodes[0]->weight;
	}
	if (b->slots != NULL) {
		memset(b->slots, 0, OB__BALANCE_SLOTS * sizeof(b->slots[0]));
	}
}

/* Where the id is, or would be. */
static uint32_t place(const struct ob__balance *b, uint64_t id)
{
	uint32_t lo = 0;
	for (uint32_t hi = b->len; lo < hi;) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (b->nodes[mid]->id < id) {
			lo = mid + 1;
		} else {
			hi = mid;
		}
	}
	return lo;
}

int ob__balance_reserve(struct ob__balance *b, uint32_t len)
{
	if (len > OB__BALANCE_MAX) {
		return -ENOSPC;
	}
	if (len <= b->cap) {
		return 0;
	}
	uint32_t cap = len > b->cap * 2 ? len : b->cap * 2;
	struct ob__balance_node **nodes = realloc(b->nodes, cap * sizeof(b->nodes[0]));
	if (nodes == NULL) {
		return -ENOMEM;
	}
	b->nodes = nodes;
	b->cap = cap;
	return 0;
}

int ob__balance_add(struct ob__balance *b, struct ob__balance_node *node)
{
	uint32_t at = place(b, node->id);
	if (at < b->len && b->nodes[at]->id == node->id) {
		return -EEXIST;
	}
	int rc = ob__balance_reserve(b, b->len + 1);
	if (rc < 0) {
		return rc;
	}
	memmove(b->nodes + at + 1, b->nodes + at, (b->len - at) * sizeof(b->nodes[0]));
	b->nodes[at] = node;
	b->len++;
	node->credit = 0;
	changed(b);
	return 0;
}

void ob__balance_remove(struct ob__balance *b, struct ob__balance_node *node)
{
	uint32_t at = place(b, node->id);
	if (at == b->len || b->nodes[at] != node) {
		return;
	}
	b->len--;
	memmove(b->nodes + at, b->nodes + at + 1, (b->len - at) * sizeof(b->nodes[0]));
	changed(b);
}

void ob__balance_weigh(struct ob__balance *b, struct ob__balance_node *node, uint32_t weight)
{
	weight = weight < OB__BALANCE_WEIGHT_MAX ? weight : OB__BALANCE_WEIGHT_MAX;
	if (node->weight != weight) {
		node->weight = weight;
		changed(b);
	}
}

/* ---------------------------------------------------------------- by key */

/* Two rounds of the splitmix64 finaliser; no seed, so that it is the same on every host. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t ob__balance_key(uint64_t a, uint64_t b)
{
	return mix(a + mix(b));
}

/* -log2(x / 2^64) with 32 bits behind the point, in integers: every host must come to the same. */
static uint64_t minus_log2(uint64_t x)
{
	x |= 1;
	int whole = __builtin_clzll(x);
	uint64_t m = x << whole; /* 1 <= m / 2^63 < 2 */
	uint64_t fraction = 0;
	for (int bit = 31; bit >= 0; bit--) {
		unsigned __int128 square = (unsigned __int128)m * m >> 63;
		if (square >> 64 != 0) {
			fraction |= UINT64_C(1) << bit;
			square >>= 1;
		}
		m = (uint64_t)square;
	}
	return ((uint64_t)(whole + 1) << 32) - fraction;
}

/*
 * Rendezvous: every node draws a number from slot and id, and the best draw wins.  Weighted, the
 * draw u is -log2(u) / weight and the smallest wins, which is in proportion to the weights.  Those
 * for which `fits` says no are passed over.
 */
struct draw {
	const struct ob__balance *b;
	const struct ob__balance_node *except;
	uint64_t pending; /* of all together; 0: it does not matter who has how many */
	uint64_t weights; /* of all together */
};

static bool fits(const struct draw *d, const struct ob__balance_node *n)
{
	if (n == d->except || n->weight == 0) {
		return false;
	}
	return d->pending == 0 ||
	       n->pending * d->weights * 100 <= d->pending * n->weight * OB__BALANCE_LOAD_PERCENT;
}

static uint32_t draw_winner(const struct draw *d, uint32_t slot)
{
	const struct ob__balance *b = d->b;
	uint64_t base = mix(slot + UINT64_C(0x9e3779b97f4a7c15));
	uint64_t best = 0;
	uint32_t winner = b->len;
	for (uint32_t i = 0; i < b->len; i++) {
		const struct ob__balance_node *n = b->nodes[i];
		uint64_t drawn = mix(base ^ n->id);
		if (!fits(d, n)) {
			continue;
		}
		if (!b->uneven) {
			if (winner == b->len || drawn > best) {
				best = drawn;
				winner = i;
			}
			continue;
		}
		uint64_t score = minus_log2(drawn);
		if (winner == b->len || (unsigned __int128)score * b->nodes[winner]->weight <
		                                (unsigned __int128)best * n->weight) {
			best = score;
			winner = i;
		}
	}
	return winner;
}

static uint32_t slot_of(uint64_t key)
{
	return (uint32_t)(mix(key) & (OB__BALANCE_SLOTS - 1));
}

static struct ob__balance_node *at(const struct ob__balance *b, uint32_t i)
{
	return i < b->len ? b->nodes[i] : NULL;
}

static struct ob__balance_node *pick_sticky(struct ob__balance *b, uint64_t key,
                                            const struct ob__balance_node *except)
{
	uint32_t slot = slot_of(key);
	struct draw d = {.b = b};
	if (b->slots == NULL) {
		b->slots = calloc(OB__BALANCE_SLOTS, sizeof(b->slots[0]));
	}
	uint32_t known = b->slots != NULL ? b->slots[slot] : 0;
	uint32_t winner = known != 0 ? known - 1 : draw_winner(&d, slot);
	if (b->slots != NULL) {
		b->slots[slot] = (uint16_t)(winner < b->len ? winner + 1 : 0);
	}
	if (winner < b->len && b->nodes[winner] == except) {
		d.except = except;
		winner = draw_winner(&d, slot);
	}
	return at(b, winner);
}

static struct ob__balance_node *pick_hash(struct ob__balance *b, uint64_t key,
                                          const struct ob__balance_node *except)
{
	struct ob__balance_node *first = pick_sticky(b, key, except);
	struct draw d = {.b = b, .except = except};
	if (first == NULL || first->pending < LOAD_FLOOR) {
		return first;
	}
	for (uint32_t i = 0; i < b->len; i++) {
		d.pending += b->nodes[i]->weight > 0 ? b->nodes[i]->pending : 0;
		d.weights += b->nodes[i]->weight;
	}
	if (fits(&d, first)) {
		return first;
	}
	struct ob__balance_node *other = at(b, draw_winner(&d, slot_of(key)));
	return other != NULL ? other : first;
}

/* ---------------------------------------------------------------- by turns */

static struct ob__balance_node *pick_turn(struct ob__balance *b,
                                          const struct ob__balance_node *except)
{
	for (uint32_t i = 0; i < b->len; i++) {
		b->turn = b->turn + 1 < b->len ? b->turn + 1 : 0;
		struct ob__balance_node *n = b->nodes[b->turn];
		if (n != except && n->weight > 0) {
			return n;
		}
	}
	return NULL;
}

static struct ob__balance_node *pick_random(struct ob__balance *b,
                                            const struct ob__balance_node *except)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < b->len; i++) {
		n += b->nodes[i] != except && b->nodes[i]->weight > 0;
	}
	if (n == 0) {
		return NULL;
	}
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	uint32_t left = (uint32_t)((mix(b->random) >> 32) * n >> 32);
	for (uint32_t i = 0;; i++) {
		if (b->nodes[i] != except && b->nodes[i]->weight > 0 && left-- == 0) {
			return b->nodes[i];
		}
	}
}

/* Smooth weighted round robin: everyone earns its weight, the richest is taken and pays for all. */
static struct ob__balance_node *pick_weighted(struct ob__balance *b,
                                              const struct ob__balance_node *except)
{
	struct ob__balance_node *best = NULL;
	int64_t total = 0;
	for (uint32_t i = 0; i < b->len; i++) {
		struct ob__balance_node *n = b->nodes[i];
		if (n == except || n->weight == 0) {
			continue;
		}
		n->credit += n->weight;
		total += n->weight;
		if (best == NULL || n->credit > best->credit) {
			best = n;
		}
	}
	if (best != NULL) {
		best->credit -= total;
	}
	return best;
}

/* Less to do: fewer pending requests for its weight, or as many and less load for it. */
static bool less_busy(const struct ob__balance_node *a, const struct ob__balance_node *b)
{
	uint64_t x = ((uint64_t)a->pending + 1) * b->weight;
	uint64_t y = ((uint64_t)b->pending + 1) * a->weight;
	return x != y ? x < y : (uint64_t)a->load * b->weight < (uint64_t)b->load * a->weight;
}

static struct ob__balance_node *pick_least(struct ob__balance *b,
                                           const struct ob__balance_node *except)
{
	struct ob__balance_node *best = NULL;
	b->turn = b->turn + 1 < b->len ? b->turn + 1 : 0;
	for (uint32_t i = 0; i < b->len; i++) {
		uint32_t k = b->turn + i;
		struct ob__balance_node *n = b->nodes[k < b->len ? k : k - b->len];
		if (n != except && n->weight > 0 && (best == NULL || less_busy(n, best))) {
			best = n;
		}
	}
	return best;
}

/* All have weight 0: better one of those than nobody. */
static struct ob__balance_node *pick_any(struct ob__balance *b,
                                         const struct ob__balance_node *except)
{
	for (uint32_t i = 0; i < b->len; i++) {
		if (b->nodes[i] != except) {
			return b->nodes[i];
		}
	}
	return NULL;
}

static struct ob__balance_node *pick(struct ob__balance *b, enum ob__balance_way way, uint64_t key,
                                     const struct ob__balance_node *except)
{
	switch (way) {
	case OB__BALANCE_STICKY:
		return pick_sticky(b, key, except);
	case OB__BALANCE_HASH:
		return pick_hash(b, key, except);
	case OB__BALANCE_RANDOM:
		return pick_random(b, except);
	case OB__BALANCE_WEIGHTED:
		return pick_weighted(b, except);
	case OB__BALANCE_LEAST_PENDING:
		return pick_least(b, except);
	default:
		return pick_turn(b, except);
	}
}

struct ob__balance_node *ob__balance_pick(struct ob__balance *b, enum ob__balance_way way,
                                          uint64_t key, const struct ob__balance_node *except)
{
	struct ob__balance_node *n = pick(b, way, key, except);
	return n != NULL ? n : pick_any(b, except);
}
