/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/kv.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "tap.h"

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void test_basic(void)
{
	struct ob__kv *kv = ob__kv_new();
	size_t len = 9;

	CU_ASSERT_PTR_NOT_NULL_FATAL(kv);
	CU_ASSERT_PTR_NULL(ob__kv_get(kv, "a", &len));
	CU_ASSERT_EQUAL(len, 0);
	CU_ASSERT_PTR_NULL(ob__kv_next(kv, NULL));
	CU_ASSERT_PTR_NULL(ob__kv_next(kv, "a"));
	CU_ASSERT_EQUAL(ob__kv_del(kv, "a"), OB_E_NOT_FOUND);

	CU_ASSERT_EQUAL(ob__kv_set(kv, "b", "two", 3), 0);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "a", "one", 4), 0);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "c", NULL, 0), 0);
	CU_ASSERT_EQUAL(ob__kv_count(kv), 3);
	CU_ASSERT_EQUAL(ob__kv_bytes(kv), 3 + 3 + 4);
	CU_ASSERT_STRING_EQUAL((const char *)ob__kv_get(kv, "a", &len), "one");
	CU_ASSERT_EQUAL(len, 4);
	CU_ASSERT_PTR_NOT_NULL(ob__kv_get(kv, "c", &len)); /* empty is not absent */
	CU_ASSERT_EQUAL(len, 0);
	CU_ASSERT_PTR_NOT_NULL(ob__kv_get(kv, "c", NULL));

	CU_ASSERT_STRING_EQUAL(ob__kv_next(kv, NULL), "a");
	CU_ASSERT_STRING_EQUAL(ob__kv_next(kv, "a"), "b");
	CU_ASSERT_STRING_EQUAL(ob__kv_next(kv, "aaaa"), "b"); /* not there */
	CU_ASSERT_STRING_EQUAL(ob__kv_next(kv, ""), "a");
	CU_ASSERT_PTR_NULL(ob__kv_next(kv, "c"));
	CU_ASSERT_PTR_NULL(ob__kv_next(kv, "\xff"));

	/* what is borrowed stays while others come and go */
	const char *key = ob__kv_next(kv, "a");
	const void *value = ob__kv_get(kv, "b", &len);
	CU_ASSERT_EQUAL(ob__kv_del(kv, "a"), 0);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "bb", "x", 1), 0);
	CU_ASSERT_STRING_EQUAL(key, "b");
	CU_ASSERT_PTR_EQUAL(ob__kv_get(kv, "b", &len), value);
	CU_ASSERT_PTR_EQUAL(ob__kv_next(kv, NULL), key);

	/* a value from itself, longer and shorter */
	CU_ASSERT_EQUAL(ob__kv_set(kv, "b", (const char *)value + 1, 2), 0);
	value = ob__kv_get(kv, "b", &len);
	CU_ASSERT(len == 2 && memcmp(value, "wo", 2) == 0);
	CU_ASSERT_EQUAL(ob__kv_bytes(kv), 1 + 2 + 1 + 2 + 1);
	CU_ASSERT_PTR_EQUAL(ob__kv_next(kv, NULL), key); /* the key has not moved */
	ob__kv_free(kv);
	ob__kv_free(NULL);
}

static void test_keys(void)
{
	char long_key[258];
	struct ob__kv *kv = ob__kv_new();
	const struct {
		const char *key;
		int rc;
	} rows[] = {
		{NULL, OB_E_INVAL},
		{"", OB_E_INVAL},
		{long_key, OB_E_INVAL},     /* 257 bytes */
		{long_key + 1, OB_E_INVAL}, /* 256 */
		{long_key + 2, 0},          /* 255 */
		{"\xff", OB_E_INVAL},
		{"a\xc3", OB_E_INVAL},           /* cut short */
		{"\xc0\xaf", OB_E_INVAL},        /* overlong */
		{"\xed\xa0\x80", OB_E_INVAL},    /* half of a pair */
		{"\xe4\xb8\xad\xe6\x96\x87", 0}, /* text */
		{" ", 0},
		{"a/b.c:d", 0},
	};

	memset(long_key, 'k', sizeof(long_key) - 1);
	long_key[257] = '\0';
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int rc = ob__kv_set(kv, rows[i].key, "v", 1);
		CU_ASSERT_EQUAL(rc, rows[i].rc);
		if (rc != rows[i].rc) {
			printf("# row %zu: %d\n", i, rc);
		}
		CU_ASSERT_EQUAL(ob__kv_get(kv, rows[i].key, NULL) != NULL, rc == 0);
		CU_ASSERT_EQUAL(ob__kv_del(kv, rows[i].key), rc == 0 ? 0 : OB_E_NOT_FOUND);
	}
	CU_ASSERT_EQUAL(ob__kv_count(kv), 0);
	CU_ASSERT_EQUAL(ob__kv_bytes(kv), 0);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "k", NULL, 1), OB_E_INVAL);
	ob__kv_free(kv);
}

/* Beyond a bound nothing changes, and what makes room is taken. */
static void test_bytes(void)
{
	struct ob__kv *kv = ob__kv_new();
	char *value = calloc(1, OB__KV_VALUE_MAX + 1);
	char key[16];
	size_t len;

	CU_ASSERT_PTR_NOT_NULL_FATAL(value);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "k", value, OB__KV_VALUE_MAX + 1), OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(ob__kv_count(kv), 0);
	for (int i = 0; i < 63; i++) {
		snprintf(key, sizeof(key), "%03d", i);
		CU_ASSERT_EQUAL(ob__kv_set(kv, key, value, OB__KV_VALUE_MAX), 0);
	}
	/* 64 keys of 3 bytes: so much less fits into the last one */
	CU_ASSERT_EQUAL(ob__kv_set(kv, "063", value, OB__KV_VALUE_MAX), OB_E_LIMIT);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "063", value, OB__KV_VALUE_MAX - 191), OB_E_LIMIT);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "063", value, OB__KV_VALUE_MAX - 192), 0);
	CU_ASSERT_EQUAL(ob__kv_bytes(kv), OB__KV_BYTES_MAX);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "x", NULL, 0), OB_E_LIMIT);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "063", value, OB__KV_VALUE_MAX - 191), OB_E_LIMIT);
	CU_ASSERT_PTR_NOT_NULL(ob__kv_get(kv, "063", &len));
	CU_ASSERT_EQUAL(len, OB__KV_VALUE_MAX - 192); /* the old value stayed */
	CU_ASSERT_EQUAL(ob__kv_set(kv, "063", value, OB__KV_VALUE_MAX - 193), 0);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "x", NULL, 0), 0);
	CU_ASSERT_EQUAL(ob__kv_del(kv, "000"), 0);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "999", value, OB__KV_VALUE_MAX), 0);
	CU_ASSERT_EQUAL(ob__kv_bytes(kv), OB__KV_BYTES_MAX);
	free(value);
	ob__kv_free(kv);
}

static void test_keys_max(void)
{
	struct ob__kv *kv = ob__kv_new();
	char key[16];
	int rc = 0;

	for (unsigned i = 0; i < OB__KV_KEYS_MAX; i++) {
		snprintf(key, sizeof(key), "%05u", (i * 40503u) % OB__KV_KEYS_MAX);
		rc |= ob__kv_set(kv, key, &i, sizeof(i));
	}
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(ob__kv_count(kv), OB__KV_KEYS_MAX);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "one more", NULL, 0), OB_E_LIMIT);
	CU_ASSERT_EQUAL(ob__kv_set(kv, "00000", "replaced", 8), 0);

	/* a walk sees each once, in order */
	unsigned seen = 0;
	unsigned wrong = 0;
	for (const char *k = NULL; (k = ob__kv_next(kv, k)) != NULL; seen++) {
		snprintf(key, sizeof(key), "%05u", seen);
		wrong += strcmp(k, key) != 0;
	}
	CU_ASSERT_EQUAL(seen, OB__KV_KEYS_MAX);
	CU_ASSERT_EQUAL(wrong, 0);

	/* a walk that deletes what it stands on */
	seen = 0;
	for (const char *k = NULL; (k = ob__kv_next(kv, k)) != NULL; seen++) {
		snprintf(key, sizeof(key), "%s", k);
		CU_ASSERT_EQUAL(ob__kv_del(kv, k), 0);
		k = key;
	}
	CU_ASSERT_EQUAL(seen, OB__KV_KEYS_MAX);
	CU_ASSERT_EQUAL(ob__kv_count(kv), 0);
	CU_ASSERT_EQUAL(ob__kv_bytes(kv), 0);
	ob__kv_free(kv);
}

/* ---------------------------------------------------------------- against a model */

#define MODEL 300

/* The n-th key of the model, n in the order of strcmp(); of lengths that differ. */
static const char *model_key(unsigned n)
{
	static char key[32];

	snprintf(key, sizeof(key), "%c%.*s%c", 'a' + (char)(n / 20), (int)(n % 20 / 2),
	         "..........", n % 2 == 0 ? '+' : '-');
	return key;
}

struct model {
	bool there[MODEL];
	size_t len[MODEL];
	uint8_t first[MODEL]; /* byte of the value; the next ones count on */
	unsigned order[MODEL];
};

static int by_key(const void *a, const void *b)
{
	char left[32];

	snprintf(left, sizeof(left), "%s", model_key(*(const unsigned *)a));
	return strcmp(left, model_key(*(const unsigned *)b));
}

static void model_set(struct ob__kv *kv, struct model *m, unsigned n, uint64_t x)
{
	uint8_t value[64];
	size_t len = x % 64;

	for (size_t i = 0; i < len; i++) {
		value[i] = (uint8_t)(x + i);
	}
	CU_ASSERT_EQUAL(ob__kv_set(kv, model_key(n), value, len), 0);
	m->there[n] = true;
	m->len[n] = len;
	m->first[n] = (uint8_t)x;
}

static bool model_same(const struct ob__kv *kv, const struct model *m, unsigned n)
{
	size_t len;
	const uint8_t *value = ob__kv_get(kv, model_key(n), &len);

	if (value == NULL || !m->there[n]) {
		return value == NULL && !m->there[n];
	}
	for (size_t i = 0; i < len; i++) {
		if (value[i] != (uint8_t)(m->first[n] + i)) {
			return false;
		}
	}
	return len == m->len[n];
}

/* The key behind place `at` of the order (-1: the first) is the next one that is there. */
static bool model_next(const struct ob__kv *kv, const struct model *m, int at)
{
	const char *next = ob__kv_next(kv, at < 0 ? NULL : model_key(m->order[at]));

	for (at++; at < MODEL; at++) {
		if (m->there[m->order[at]]) {
			return next != NULL && strcmp(next, model_key(m->order[at])) == 0;
		}
	}
	return next == NULL;
}

static bool model_totals(const struct ob__kv *kv, const struct model *m)
{
	size_t count = 0;
	size_t bytes = 0;

	for (unsigned n = 0; n < MODEL; n++) {
		count += m->there[n];
		bytes += m->there[n] ? strlen(model_key(n)) + m->len[n] : 0;
	}
	return ob__kv_count(kv) == count && ob__kv_bytes(kv) == bytes;
}

static void test_model(void)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		static struct model m;
		struct ob__kv *kv = ob__kv_new();
		uint64_t random = seed * UINT64_C(0x2545f4914f6cdd1d);
		int wrong = 0;
		memset(&m, 0, sizeof(m));
		for (unsigned n = 0; n < MODEL; n++) {
			m.order[n] = n;
		}
		qsort(m.order, MODEL, sizeof(m.order[0]), by_key);
		for (int i = 0; i < 4000 && wrong == 0; i++) {
			uint64_t x = random_next(&random);
			unsigned n = (unsigned)(x >> 40) % MODEL;
			/* growing, then shrinking, then growing again */
			if ((x >> 20) % 8 < (i / 1000 % 2 == 0 ? 5u : 2u)) {
				model_set(kv, &m, n, x >> 8);
			} else {
				int rc = ob__kv_del(kv, model_key(n));
				wrong += rc != (m.there[n] ? 0 : OB_E_NOT_FOUND);
				m.there[n] = false;
			}
			wrong += !model_same(kv, &m, n);
			wrong += !model_same(kv, &m, (unsigned)(x >> 4) % MODEL);
			wrong += !model_next(kv, &m, (int)((x >> 12) % (MODEL + 1)) - 1);
			wrong += i % 50 == 0 && !model_totals(kv, &m);
		}
		CU_ASSERT_EQUAL(wrong, 0);
		if (wrong != 0) {
			printf("# seed %d\n", (int)seed);
		}
		ob__kv_free(kv);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("kv", NULL, NULL);
	CU_add_test(s, "set, get, del, next", test_basic);
	CU_add_test(s, "keys", test_keys);
	CU_add_test(s, "bytes in all", test_bytes);
	CU_add_test(s, "keys in all", test_keys_max);
	CU_add_test(s, "against a model", test_model);
	return ob__tap_run();
}
