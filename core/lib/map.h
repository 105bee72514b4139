/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Two hash maps with open addressing.
 *
 * `struct ob__map` is keyed by one or two 64-bit numbers (a message id; a session's node and
 * sequence), `struct ob__strmap` by a string that it copies.  Values are the caller's pointers and
 * are never freed or followed here; NULL is no valid value.  Both grow at three quarters full and
 * use backward-shift deletion, so there are no tombstones and a lookup never degrades with age.
 * Hashes are seeded per map, because keys come from outside: give each map random bits, and those
 * that clients fill can't be flooded.  Memory is given back only by free.
 *
 * Walking: `for (size_t i = 0; (e = ob__map_next(&m, &i)) != NULL;)`.  A map may not be changed
 * during a walk.
 */

#ifndef OB__MAP_H
#define OB__MAP_H

#include <stddef.h>
#include <stdint.h>

#include "lib/fnv.h"

struct ob__map_entry {
	uint64_t a;
	uint64_t b;
	void *value; /* NULL marks a free place */
};

struct ob__map {
	struct ob__map_entry *entries;
	size_t count;
	size_t mask; /* places - 1, or 0 before the first put */
	uint64_t seed;
};

/* A zeroed struct is a valid empty map with seed 0; init sets the seed. */
void ob__map_init(struct ob__map *m, uint64_t seed);

/* Frees the places, not the values; the map is empty and keeps its seed.  NULL is accepted. */
void ob__map_free(struct ob__map *m);

/* Two secret odd multipliers, then the high bits, which they mix best, folded into the low ones. */
static inline size_t ob__map_hash(const struct ob__map *m, uint64_t a, uint64_t b)
{
	uint64_t crossed = (m->seed << 32 | m->seed >> 32) ^ UINT64_C(0x9e3779b97f4a7c15);
	uint64_t h = a * (m->seed | 1) + b * (crossed | 1);
	h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
	return (size_t)(h ^ h >> 32);
}

/* The value at (a, b), or NULL. */
static inline void *ob__map_get(const struct ob__map *m, uint64_t a, uint64_t b)
{
	if (m->count == 0) {
		return NULL;
	}
	for (size_t i = ob__map_hash(m, a, b);; i++) {
		const struct ob__map_entry *e = &m->entries[i & m->mask];
		if (e->value == NULL || (e->a == a && e->b == b)) {
			return e->value;
		}
	}
}

/* Puts or replaces.  0, -EINVAL for a NULL value, -ENOMEM with the map unchanged. */
int ob__map_put(struct ob__map *m, uint64_t a, uint64_t b, void *value);

/* Removes and returns the value, or NULL if there was none. */
void *ob__map_del(struct ob__map *m, uint64_t a, uint64_t b);

/* The next used entry at or after *pos, moving *pos past it; NULL at the end.  Its value may be
 * replaced by another that is not NULL. */
struct ob__map_entry *ob__map_next(const struct ob__map *m, size_t *pos);

struct ob__strmap_entry {
	char *key; /* owned by the map; NULL marks a free place */
	void *value;
	uint64_t hash;
};

struct ob__strmap {
	struct ob__strmap_entry *entries;
	size_t count;
	size_t mask;
	uint64_t seed;
};

void ob__strmap_init(struct ob__strmap *m, uint64_t seed);

/* Frees places and keys, not the values.  NULL is accepted. */
void ob__strmap_free(struct ob__strmap *m);

/* The value, or NULL. */
void *ob__strmap_get(const struct ob__strmap *m, const char *key);

/* As get, for a key of `len` bytes that need not be terminated. */
void *ob__strmap_getn(const struct ob__strmap *m, const char *key, size_t len);

/* As put, del and next above; the key is copied when it is new and freed when it is removed. */
int ob__strmap_put(struct ob__strmap *m, const char *key, void *value);
void *ob__strmap_del(struct ob__strmap *m, const char *key);
struct ob__strmap_entry *ob__strmap_next(const struct ob__strmap *m, size_t *pos);

/* Of bytes that come from outside: who does not know the seed, which is random and secret, can't
 * find two that have the same hash. */
uint64_t ob__hash(uint64_t seed, const void *bytes, size_t len);

#endif
