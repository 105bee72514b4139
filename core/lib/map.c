/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/map.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PLACES_MIN 8u

/* The places for one more entry: unchanged, doubled, or 0 when that can't be addressed. */
static size_t places_for(size_t places, size_t count, size_t entry_size)
{
	if (places == 0) {
		return PLACES_MIN;
	}
	if (count + 1 <= places / 4 * 3) {
		return places;
	}
	return places > SIZE_MAX / 2 / entry_size ? 0 : places * 2;
}

void ob__map_init(struct ob__map *m, uint64_t seed)
{
	*m = (struct ob__map){.seed = seed};
}

void ob__map_free(struct ob__map *m)
{
	if (m == NULL) {
		return;
	}
	free(m->entries);
	*m = (struct ob__map){.seed = m->seed};
}

/* The place of (a, b), or the free one where it belongs.  There is always a free one. */
static struct ob__map_entry *map_place(const struct ob__map *m, uint64_t a, uint64_t b)
{
	size_t i = ob__map_hash(m, a, b) & m->mask;
	while (m->entries[i].value != NULL && (m->entries[i].a != a || m->entries[i].b != b)) {
		i = (i + 1) & m->mask;
	}
	return &m->entries[i];
}

static int map_grow(struct ob__map *m)
{
	size_t old_places = m->entries == NULL ? 0 : m->mask + 1;
	size_t places = places_for(old_places, m->count, sizeof(*m->entries));
	if (places == old_places) {
		return 0;
	}
	struct ob__map_entry *entries = places == 0 ? NULL : calloc(places, sizeof(*entries));
	if (entries == NULL) {
		return -ENOMEM;
	}
	struct ob__map_entry *old = m->entries;
	m->entries = entries;
	m->mask = places - 1;
	for (size_t i = 0; i < old_places; i++) {
		if (old[i].value != NULL) {
			*map_place(m, old[i].a, old[i].b) = old[i];
		}
	}
	free(old);
	return 0;
}

int ob__map_put(struct ob__map *m, uint64_t a, uint64_t b, void *value)
{
	if (value == NULL) {
		return -EINVAL;
	}
	if (m->entries != NULL) {
		struct ob__map_entry *e = map_place(m, a, b);
		if (e->value != NULL) {
			e->value = value;
			return 0;
		}
	}
	int rc = map_grow(m);
	if (rc < 0) {
		return rc;
	}
	*map_place(m, a, b) = (struct ob__map_entry){.a = a, .b = b, .value = value};
	m->count++;
	return 0;
}

/*
 * Backward shift: an entry behind the hole moves into it unless that would put it before its own
 * first choice; the hole moves with it until a free place ends the run.
 */
static bool may_fill(size_t home, size_t hole, size_t at, size_t mask)
{
	return ((at - home) & mask) >= ((at - hole) & mask);
}

void *ob__map_del(struct ob__map *m, uint64_t a, uint64_t b)
{
	if (m->count == 0) {
		return NULL;
	}
	struct ob__map_entry *e = map_place(m, a, b);
	void *value = e->value;
	if (value == NULL) {
		return NULL;
	}
	size_t hole = (size_t)(e - m->entries);
	for (size_t i = (hole + 1) & m->mask; m->entries[i].value != NULL; i = (i + 1) & m->mask) {
		size_t home = ob__map_hash(m, m->entries[i].a, m->entries[i].b) & m->mask;
		if (may_fill(home, hole, i, m->mask)) {
			m->entries[hole] = m->entries[i];
			hole = i;
		}
	}
	m->entries[hole] = (struct ob__map_entry){0};
	m->count--;
	return value;
}

struct ob__map_entry *ob__map_next(const struct ob__map *m, size_t *pos)
{
	size_t places = m->entries == NULL ? 0 : m->mask + 1;
	while (*pos < places) {
		struct ob__map_entry *e = &m->entries[(*pos)++];
		if (e->value != NULL) {
			return e;
		}
	}
	return NULL;
}

static inline uint64_t rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

/* SipHash-1-3: a weaker hash can be flooded. */
uint64_t ob__hash(uint64_t seed, const void *bytes, size_t len)
{
	const uint8_t *key = bytes;
	uint64_t k1 = rotl(seed, 32) ^ 0x9e3779b97f4a7c15u;
	uint64_t v[4] = {seed ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du,
	                 seed ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u};
	uint64_t word;
	size_t at = 0;
	for (; len - at >= sizeof(word); at += sizeof(word)) {
		memcpy(&word, key + at, sizeof(word));
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	word = 0;
	memcpy(&word, key + at, len - at);
	word ^= (uint64_t)len << 56;
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++) {
		sip_round(v);
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void ob__strmap_init(struct ob__strmap *m, uint64_t seed)
{
	*m = (struct ob__strmap){.seed = seed};
}

void ob__strmap_free(struct ob__strmap *m)
{
	if (m == NULL) {
		return;
	}
	struct ob__strmap_entry *e;
	for (size_t i = 0; (e = ob__strmap_next(m, &i)) != NULL;) {
		free(e->key);
	}
	free(m->entries);
	*m = (struct ob__strmap){.seed = m->seed};
}

static bool key_is(const struct ob__strmap_entry *e, uint64_t hash, const char *key, size_t len)
{
	return e->hash == hash && strlen(e->key) == len && memcmp(e->key, key, len) == 0;
}

static struct ob__strmap_entry *strmap_place(const struct ob__strmap *m, uint64_t hash,
                                             const char *key, size_t len)
{
	size_t i = hash & m->mask;
	while (m->entries[i].key != NULL && !key_is(&m->entries[i], hash, key, len)) {
		i = (i + 1) & m->mask;
	}
	return &m->entries[i];
}

static int strmap_grow(struct ob__strmap *m)
{
	size_t old_places = m->entries == NULL ? 0 : m->mask + 1;
	size_t places = places_for(old_places, m->count, sizeof(*m->entries));
	if (places == old_places) {
		return 0;
	}
	struct ob__strmap_entry *entries = places == 0 ? NULL : calloc(places, sizeof(*entries));
	if (entries == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < old_places; i++) {
		if (m->entries[i].key == NULL) {
			continue;
		}
		size_t at = m->entries[i].hash & (places - 1);
		while (entries[at].key != NULL) {
			at = (at + 1) & (places - 1);
		}
		entries[at] = m->entries[i];
	}
	free(m->entries);
	m->entries = entries;
	m->mask = places - 1;
	return 0;
}

void *ob__strmap_getn(const struct ob__strmap *m, const char *key, size_t len)
{
	if (m->count == 0) {
		return NULL;
	}
	return strmap_place(m, ob__hash(m->seed, key, len), key, len)->value;
}

void *ob__strmap_get(const struct ob__strmap *m, const char *key)
{
	return ob__strmap_getn(m, key, strlen(key));
}

int ob__strmap_put(struct ob__strmap *m, const char *key, void *value)
{
	if (value == NULL) {
		return -EINVAL;
	}
	size_t len = strlen(key);
	uint64_t hash = ob__hash(m->seed, key, len);
	if (m->entries != NULL) {
		struct ob__strmap_entry *e = strmap_place(m, hash, key, len);
		if (e->key != NULL) {
			e->value = value;
			return 0;
		}
	}
	char *copy = strdup(key);
	if (copy == NULL || strmap_grow(m) < 0) {
		free(copy);
		return -ENOMEM;
	}
	*strmap_place(m, hash, key, len) =
		(struct ob__strmap_entry){.key = copy, .value = value, .hash = hash};
	m->count++;
	return 0;
}

void *ob__strmap_del(struct ob__strmap *m, const char *key)
{
	if (m->count == 0) {
		return NULL;
	}
	size_t len = strlen(key);
	struct ob__strmap_entry *e = strmap_place(m, ob__hash(m->seed, key, len), key, len);
	void *value = e->value;
	if (value == NULL) {
		return NULL;
	}
	free(e->key);
	size_t hole = (size_t)(e - m->entries);
	for (size_t i = (hole + 1) & m->mask; m->entries[i].key != NULL; i = (i + 1) & m->mask) {
		if (may_fill(m->entries[i].hash & m->mask, hole, i, m->mask)) {
			m->entries[hole] = m->entries[i];
			hole = i;
		}
	}
	m->entries[hole] = (struct ob__strmap_entry){0};
	m->count--;
	return value;
}

struct ob__strmap_entry *ob__strmap_next(const struct ob__strmap *m, size_t *pos)
{
	size_t places = m->entries == NULL ? 0 : m->mask + 1;
	while (*pos < places) {
		struct ob__strmap_entry *e = &m->entries[(*pos)++];
		if (e->key != NULL) {
			return e;
		}
	}
	return NULL;
}
