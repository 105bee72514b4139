/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/map.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static char values[4096]; /* the addresses are the values */

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void test_basic(void)
{
	struct ob__map m = {0}; /* valid without init */
	size_t pos = 0;
	CU_ASSERT_PTR_NULL(ob__map_get(&m, 1, 2));
	CU_ASSERT_PTR_NULL(ob__map_del(&m, 1, 2));
	CU_ASSERT_PTR_NULL(ob__map_next(&m, &pos));
	CU_ASSERT_EQUAL(ob__map_put(&m, 1, 2, NULL), -EINVAL);
	CU_ASSERT_EQUAL(m.count, 0);

	CU_ASSERT_EQUAL(ob__map_put(&m, 1, 2, &values[0]), 0);
	CU_ASSERT_EQUAL(ob__map_put(&m, 2, 1, &values[1]), 0); /* order matters */
	CU_ASSERT_EQUAL(ob__map_put(&m, 0, 0, &values[2]), 0); /* zeros are a key */
	CU_ASSERT_EQUAL(ob__map_put(&m, UINT64_MAX, UINT64_MAX, &values[3]), 0);
	CU_ASSERT_EQUAL(m.count, 4);
	CU_ASSERT_PTR_EQUAL(ob__map_get(&m, 1, 2), &values[0]);
	CU_ASSERT_PTR_EQUAL(ob__map_get(&m, 2, 1), &values[1]);
	CU_ASSERT_PTR_EQUAL(ob__map_get(&m, 0, 0), &values[2]);
	CU_ASSERT_PTR_EQUAL(ob__map_get(&m, UINT64_MAX, UINT64_MAX), &values[3]);
	CU_ASSERT_PTR_NULL(ob__map_get(&m, 1, 1));

	CU_ASSERT_EQUAL(ob__map_put(&m, 1, 2, &values[9]), 0); /* replaces */
	CU_ASSERT_EQUAL(ob__map_put(&m, 1, 2, NULL), -EINVAL); /* and does not remove */
	CU_ASSERT_EQUAL(m.count, 4);
	CU_ASSERT_PTR_EQUAL(ob__map_del(&m, 1, 2), &values[9]);
	CU_ASSERT_PTR_NULL(ob__map_del(&m, 1, 2));
	CU_ASSERT_PTR_NULL(ob__map_get(&m, 1, 2));
	CU_ASSERT_EQUAL(m.count, 3);
	ob__map_free(&m);
	CU_ASSERT_PTR_NULL(ob__map_get(&m, 2, 1));
	ob__map_free(&m);
	ob__map_free(NULL);
}

/* The n-th key whose first choice of place is `home`, in a map of eight places. */
static uint64_t key_at(const struct ob__map *m, size_t home, int n)
{
	for (uint64_t key = 0;; key++) {
		if ((ob__map_hash(m, key, 0) & 7) == home && n-- == 0) {
			return key;
		}
	}
}

/* Five keys in one run of places: each row deletes one of them and all others must be found, also
 * where the run goes round the end of the array. */
static void test_backward_shift(void)
{
	static const size_t rows[][5] = {
		{3, 3, 3, 3, 3},                  /* all want the same place */
		{7, 7, 7, 7, 7},                  /* round the end */
		{6, 7, 0, 1, 2},                  /* nobody is displaced */
		{6, 6, 7, 7, 0},                  /* each a little */
		{5, 7, 5, 7, 5},                  /* some may not move into the hole */
		{7, 0, 7, 0, 7}, {1, 1, 2, 4, 4}, /* two runs that touch */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t gone = 0; gone < 5; gone++) {
			struct ob__map m;
			ob__map_init(&m, i * 7919 + 1);
			uint64_t keys[5];
			for (size_t k = 0; k < 5; k++) {
				int twins = 0;
				for (size_t j = 0; j < k; j++) {
					twins += rows[i][j] == rows[i][k];
				}
				keys[k] = key_at(&m, rows[i][k], twins);
				CU_ASSERT_EQUAL(ob__map_put(&m, keys[k], 0, &values[k]), 0);
			}
			CU_ASSERT_EQUAL(m.mask, 7); /* or the row tests nothing */
			CU_ASSERT_PTR_EQUAL(ob__map_del(&m, keys[gone], 0), &values[gone]);
			for (size_t k = 0; k < 5; k++) {
				CU_ASSERT_PTR_EQUAL(ob__map_get(&m, keys[k], 0),
				                    k == gone ? NULL : &values[k]);
			}
			ob__map_free(&m);
		}
	}
}

/* Random puts and dels of 0..4095 by 2 keys against an array, with growth and walks. */
static void test_load(void)
{
	static const struct {
		uint64_t seed;
		unsigned shift; /* spreads the keys: also those with equal low or high bits */
	} rows[] = {{0, 0}, {1, 0}, {0x9e3779b97f4a7c15u, 20}, {UINT64_MAX, 52}, {42, 32}};
	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		static void *model[4096];
		memset(model, 0, sizeof(model));
		size_t count = 0;
		struct ob__map m;
		ob__map_init(&m, rows[r].seed);
		uint64_t random = 2463534242u + r;
		for (int i = 0; i < 60000; i++) {
			uint64_t x = random_next(&random);
			size_t k = x % 4096;
			uint64_t a = (uint64_t)k << rows[r].shift;
			uint64_t b = k % 3;
			if ((x >> 32) % 16 < (i / 15000 % 2 == 0 ? 11u : 5u)) {
				void *value = &values[(x >> 40) % 4096];
				CU_ASSERT_EQUAL(ob__map_put(&m, a, b, value), 0);
				count += model[k] == NULL;
				model[k] = value;
			} else {
				CU_ASSERT_PTR_EQUAL(ob__map_del(&m, a, b), model[k]);
				count -= model[k] != NULL;
				model[k] = NULL;
			}
			CU_ASSERT_EQUAL(m.count, count);
		}
		CU_ASSERT_TRUE(count > 0 && m.count * 4 <= (m.mask + 1) * 3);
		for (size_t k = 0; k < 4096; k++) {
			CU_ASSERT_PTR_EQUAL(ob__map_get(&m, (uint64_t)k << rows[r].shift, k % 3),
			                    model[k]);
		}
		struct ob__map_entry *e;
		for (size_t i = 0; (e = ob__map_next(&m, &i)) != NULL; count--) {
			CU_ASSERT_PTR_EQUAL(e->value, model[e->a >> rows[r].shift]);
			model[e->a >> rows[r].shift] = NULL; /* not seen twice */
		}
		CU_ASSERT_EQUAL(count, 0);
		ob__map_free(&m);
	}
}

/* Keys as they come: consecutive, multiples, pairs.  The mean search must stay short. */
static void test_spread(void)
{
	static const struct {
		uint64_t step_a;
		uint64_t step_b;
	} rows[] = {{1, 0}, {1u << 16, 0},  {UINT64_C(1) << 48, 0}, {0, 1}, {0, UINT64_C(1) << 32},
	            {1, 1}, {1, UINT64_MAX}};
	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		for (uint64_t seed = 0; seed < 20; seed++) {
			struct ob__map m;
			ob__map_init(&m, seed * 0x2545f4914f6cdd1du);
			for (uint64_t i = 0; i < 6000; i++) { /* of 8192: nearly full */
				CU_ASSERT_EQUAL(ob__map_put(&m, i * rows[r].step_a,
				                            i * rows[r].step_b, values),
				                0);
			}
			uint64_t probes = 0;
			struct ob__map_entry *e;
			for (size_t i = 0; (e = ob__map_next(&m, &i)) != NULL;) {
				size_t home = ob__map_hash(&m, e->a, e->b);
				probes += 1 + (((size_t)(e - m.entries) - home) & m.mask);
			}
			CU_ASSERT_TRUE(probes < 6000 * 4);
			ob__map_free(&m);
		}
	}
}

static void test_strings(void)
{
	struct ob__strmap m = {0};
	CU_ASSERT_PTR_NULL(ob__strmap_get(&m, "x"));
	CU_ASSERT_PTR_NULL(ob__strmap_del(&m, "x"));
	CU_ASSERT_EQUAL(ob__strmap_put(&m, "x", NULL), -EINVAL);
	char key[] = "room.join";
	CU_ASSERT_EQUAL(ob__strmap_put(&m, key, &values[0]), 0);
	key[0] = 'b'; /* the map has a copy */
	CU_ASSERT_PTR_NULL(ob__strmap_get(&m, key));
	CU_ASSERT_PTR_EQUAL(ob__strmap_get(&m, "room.join"), &values[0]);
	CU_ASSERT_EQUAL(ob__strmap_put(&m, "", &values[1]), 0);
	CU_ASSERT_EQUAL(ob__strmap_put(&m, "room", &values[2]), 0);
	CU_ASSERT_EQUAL(ob__strmap_put(&m, "room", &values[3]), 0);
	CU_ASSERT_EQUAL(m.count, 3);
	static const struct {
		const char *key;
		size_t len;
		void *value;
	} rows[] = {
		{"room.join", 9, &values[0]},
		{"room.joined", 9, &values[0]}, /* need not be terminated */
		{"room.join", 4, &values[3]},
		{"room.join", 5, NULL},
		{"room.join", 0, &values[1]},
		{"room\0x", 6, NULL}, /* not the same as "room" */
		{"Room", 4, NULL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_PTR_EQUAL(ob__strmap_getn(&m, rows[i].key, rows[i].len), rows[i].value);
	}
	CU_ASSERT_PTR_EQUAL(ob__strmap_del(&m, "room"), &values[3]);
	CU_ASSERT_PTR_NULL(ob__strmap_del(&m, "room"));
	CU_ASSERT_EQUAL(m.count, 2);
	ob__strmap_free(&m);
	CU_ASSERT_PTR_NULL(ob__strmap_get(&m, ""));
	ob__strmap_free(&m);
	ob__strmap_free(NULL);
}

/* As test_load: keys of 1..40 bytes, so that each length of the last word is hashed. */
static void test_string_load(void)
{
	enum { KEYS = 1000 };
	static void *model[KEYS];
	memset(model, 0, sizeof(model));
	struct ob__strmap m;
	ob__strmap_init(&m, 0xfeedface);
	size_t count = 0;
	uint64_t random = 7;
	char key[64];
	for (int i = 0; i < 40000; i++) {
		uint64_t x = random_next(&random);
		size_t k = x % KEYS;
		snprintf(key, sizeof(key), "%0*zu", (int)(k % 40), k);
		if ((x >> 32) % 16 < (i / 10000 % 2 == 0 ? 11u : 5u)) {
			void *value = &values[(x >> 40) % 4096];
			CU_ASSERT_EQUAL(ob__strmap_put(&m, key, value), 0);
			count += model[k] == NULL;
			model[k] = value;
		} else {
			CU_ASSERT_PTR_EQUAL(ob__strmap_del(&m, key), model[k]);
			count -= model[k] != NULL;
			model[k] = NULL;
		}
		CU_ASSERT_EQUAL(m.count, count);
	}
	for (size_t k = 0; k < KEYS; k++) {
		snprintf(key, sizeof(key), "%0*zu", (int)(k % 40), k);
		CU_ASSERT_PTR_EQUAL(ob__strmap_get(&m, key), model[k]);
	}
	struct ob__strmap_entry *e;
	for (size_t i = 0; (e = ob__strmap_next(&m, &i)) != NULL; count--) {
		size_t k = strtoul(e->key, NULL, 10);
		CU_ASSERT_PTR_EQUAL(e->value, model[k]);
		model[k] = NULL;
	}
	CU_ASSERT_EQUAL(count, 0);
	ob__strmap_free(&m);
}

static void test_fnv1a(void)
{
	static const struct {
		const char *text;
		uint32_t hash;
	} rows[] = {
		/* from the function's published test vectors */
		{"", 0x811c9dc5},
		{"a", 0xe40c292c},
		{"foobar", 0xbf9cf968},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(ob__fnv1a32(rows[i].text), rows[i].hash);
	}
	CU_ASSERT_EQUAL(ob__fnv1a32_of("foobars", 6), 0xbf9cf968);
	CU_ASSERT_EQUAL(ob__fnv1a64_of("", 0), UINT64_C(0xcbf29ce484222325));
	CU_ASSERT_EQUAL(ob__fnv1a64_of("foobars", 6), UINT64_C(0x85944171f73967e8));
	/* bytes are not signed */
	CU_ASSERT_EQUAL(ob__fnv1a32("\xff"), (0x811c9dc5u ^ 0xffu) * 16777619u);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("map", NULL, NULL);
	CU_add_test(s, "puts, replaces, gets, removes", test_basic);
	CU_add_test(s, "removal closes the gap", test_backward_shift);
	CU_add_test(s, "random load", test_load);
	CU_add_test(s, "regular keys spread", test_spread);
	CU_add_test(s, "strings", test_strings);
	CU_add_test(s, "random load of strings", test_string_load);
	CU_add_test(s, "FNV-1a", test_fnv1a);
	return ob__tap_run();
}
