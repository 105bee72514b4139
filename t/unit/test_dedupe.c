/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Requests that come twice: which one is new, who waits, what is kept, for how long and how much.
 */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/dedupe.h"
#include "tap.h"

#define WINDOW 60000u

static struct ob__dedupe d;
static uint64_t handle;
static const struct ob__dedupe_end *done;

static void begin(uint32_t count, size_t bytes)
{
	ob__dedupe_init(&d, count, bytes, WINDOW, 42);
}

static void end(void)
{
	ob__dedupe_free(&d);
	ob__dedupe_free(&d);
}

static struct ob__dedupe_query query(uint64_t src, const char *method, uint32_t id, const char *key,
                                     uint64_t call)
{
	return (struct ob__dedupe_query){
		.method = method,
		.method_len = method != NULL ? strlen(method) : 0,
		.key = (const uint8_t *)key,
		.key_len = strlen(key),
		.until = 5000,
		.who = {.src = src, .call = call, .id = id},
	};
}

static enum ob__dedupe_state ask(uint64_t src, const char *key, uint64_t call, uint64_t now)
{
	struct ob__dedupe_query q = query(src, NULL, 7, key, call);

	q.until = now + 5000;
	return ob__dedupe_begin(&d, &q, now, &handle, &done);
}

static size_t finish(uint64_t h, int code, const char *data, bool keep, uint64_t now)
{
	struct ob__dedupe_end e = {
		.code = code,
		.text = code != 0 ? "why" : NULL,
		.data = (const uint8_t *)data,
		.len = strlen(data),
	};
	size_t len;

	free(ob__dedupe_end(&d, h, &e, keep, now, &len));
	return len;
}

/* The first runs, others wait, later ones get its end. */
static void test_once(void)
{
	begin(100, 1 << 20);
	CU_ASSERT_EQUAL(ask(1, "k", 10, 0), OB__DEDUPE_NEW);
	uint64_t first = handle;
	CU_ASSERT_EQUAL(ask(1, "k", 11, 10), OB__DEDUPE_WAIT);
	CU_ASSERT_EQUAL(ask(1, "k", 12, 10), OB__DEDUPE_WAIT);
	CU_ASSERT_EQUAL(ask(1, "k", 0, 10), OB__DEDUPE_WAIT); /* one-way: nobody to be told */
	struct ob__dedupe_end e = {
		.code = -5001, .text = "no", .data = (const uint8_t *)"xyz", .len = 3};
	size_t len;
	struct ob__dedupe_waiter *w = ob__dedupe_end(&d, first, &e, true, 20, &len);
	CU_ASSERT_EQUAL_FATAL(len, 2);
	CU_ASSERT_EQUAL(w[0].call, 11);
	CU_ASSERT_EQUAL(w[1].call, 12);
	free(w);
	CU_ASSERT_EQUAL(ask(1, "k", 13, 30), OB__DEDUPE_DONE);
	CU_ASSERT_EQUAL(handle, 0);
	CU_ASSERT_EQUAL(done->code, -5001);
	CU_ASSERT_STRING_EQUAL(done->text, "no");
	CU_ASSERT(done->len == 3 && memcmp(done->data, "xyz", 3) == 0);
	CU_ASSERT_FALSE(done->lost);
	CU_ASSERT_EQUAL(d.repeated, 4);
	/* a second end, and a handle that makes no sense, change nothing */
	CU_ASSERT_EQUAL(finish(first, 0, "other", true, 40), 0);
	CU_ASSERT_EQUAL(finish(12345, 0, "other", true, 40), 0);
	CU_ASSERT_EQUAL(ask(1, "k", 14, 40), OB__DEDUPE_DONE);
	CU_ASSERT_EQUAL(done->code, -5001);
	end();
}

/* What makes two requests the same one. */
static void test_identity(void)
{
	static const struct {
		uint64_t src;
		const char *method;
		uint32_t id;
		const char *key;
	} rows[] = {
		{1, NULL, 7, "k"},  {2, NULL, 7, "k"},  /* another source */
		{1, NULL, 8, "k"},                      /* another message */
		{1, "a.b", 0, "k"}, {1, "a.c", 0, "k"}, /* another method */
		{1, NULL, 7, "kk"},                     /* another key */
		{1, "a", 0, "bk"},  {1, "ab", 0, "k"},  /* the same bytes, cut elsewhere */
	};
	size_t n = sizeof(rows) / sizeof(rows[0]);

	begin(100, 1 << 20);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < n; i++) {
			struct ob__dedupe_query q =
				query(rows[i].src, rows[i].method, rows[i].id, rows[i].key, 1);
			CU_ASSERT_EQUAL(ob__dedupe_begin(&d, &q, 0, &handle, &done),
			                round == 0 ? OB__DEDUPE_NEW : OB__DEDUPE_WAIT);
		}
	}
	CU_ASSERT_EQUAL(d.slab.live, n);
	end();
}

static uint64_t hash_with(uint64_t seed, uint32_t id, const char *method, const char *key)
{
	struct ob__dedupe_query q = query(1, method, id, key, 1);

	ob__dedupe_init(&d, 10, 1 << 20, WINDOW, seed);
	CU_ASSERT_EQUAL(ob__dedupe_begin(&d, &q, 0, &handle, &done), OB__DEDUPE_NEW);
	const struct ob__dedupe_entry *e = ob__slab_get(&d.slab, handle);
	uint64_t hash = e->b;
	ob__dedupe_free(&d);
	return hash;
}

/* Whatever is known of one hash says nothing about another one, as long as the seed is not known.
 */
static void test_hash(void)
{
	static const struct {
		uint32_t ids[2];
		const char *methods[2];
		const char *keys[2];
	} rows[] = {
		{{1, 2}, {NULL, NULL}, {"key", "key"}},
		{{7, 7}, {NULL, NULL}, {"key", "kez"}},
		{{0, 0}, {"a", "ab"}, {"bk", "k"}},
	};
	uint64_t seen[3][16];

	for (size_t r = 0; r < 3; r++) {
		for (uint64_t seed = 0; seed < 16; seed++) {
			uint64_t x = hash_with(seed, rows[r].ids[0], rows[r].methods[0],
			                       rows[r].keys[0]) ^
			             hash_with(seed, rows[r].ids[1], rows[r].methods[1],
			                       rows[r].keys[1]);
			CU_ASSERT_NOT_EQUAL(x, 0);
			for (uint64_t i = 0; i < seed; i++) {
				CU_ASSERT_NOT_EQUAL(x, seen[r][i]);
			}
			seen[r][seed] = x;
		}
	}
}

/* An end that says that nothing was done is not kept. */
static void test_not_kept(void)
{
	begin(100, 1 << 20);
	CU_ASSERT_EQUAL(ask(1, "k", 10, 0), OB__DEDUPE_NEW);
	uint64_t first = handle;
	CU_ASSERT_EQUAL(ask(1, "k", 11, 0), OB__DEDUPE_WAIT);
	CU_ASSERT_EQUAL(finish(first, -5004, "", false, 1), 1);
	CU_ASSERT_EQUAL(d.slab.live, 0);
	CU_ASSERT_EQUAL(d.bytes, 0);
	CU_ASSERT_EQUAL(d.places.count, 0);
	CU_ASSERT_EQUAL(ask(1, "k", 12, 2), OB__DEDUPE_NEW);
	end();
}

/* An end is kept for the window, from when it came; what is under way as long as it is. */
static void test_window(void)
{
	begin(100, 1 << 20);
	CU_ASSERT_EQUAL(ob__dedupe_expire(&d, 0), OB__DEDUPE_NEVER);
	CU_ASSERT_EQUAL(ask(1, "slow", 1, 0), OB__DEDUPE_NEW);
	CU_ASSERT_EQUAL(ask(1, "a", 1, 0), OB__DEDUPE_NEW);
	finish(handle, 0, "a", true, 100);
	CU_ASSERT_EQUAL(ask(1, "b", 1, 0), OB__DEDUPE_NEW);
	finish(handle, 0, "b", true, 200);
	CU_ASSERT_EQUAL(ob__dedupe_expire(&d, 300), 100 + WINDOW);
	CU_ASSERT_EQUAL(ask(1, "a", 1, 99 + WINDOW), OB__DEDUPE_DONE);
	CU_ASSERT_EQUAL(ask(1, "a", 1, 100 + WINDOW), OB__DEDUPE_NEW);
	CU_ASSERT_EQUAL(ask(1, "b", 1, 100 + WINDOW), OB__DEDUPE_DONE);
	CU_ASSERT_EQUAL(ask(1, "slow", 1, 10 * WINDOW), OB__DEDUPE_WAIT);
	CU_ASSERT_EQUAL(ob__dedupe_expire(&d, 10 * WINDOW), OB__DEDUPE_NEVER);
	CU_ASSERT_EQUAL(d.slab.live, 2); /* slow, and a that is new again */
	end();
}

/* Beyond the bound the oldest ends go, but none whose sender may still ask. */
static void test_count_bound(void)
{
	char key[16];

	begin(16, 1 << 20);
	for (int i = 0; i < 16; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		CU_ASSERT_EQUAL(ask(1, key, 1, 0), OB__DEDUPE_NEW);
		finish(handle, 0, "x", true, 10);
	}
	/* the senders wait until 5000 */
	CU_ASSERT_EQUAL(ask(1, "more", 1, 4999), OB__DEDUPE_FULL);
	CU_ASSERT_EQUAL(d.full, 1);
	CU_ASSERT_EQUAL(ask(1, "more", 1, 5000), OB__DEDUPE_NEW);
	CU_ASSERT_EQUAL(d.early, 1);
	CU_ASSERT_EQUAL(d.slab.live, 16);
	CU_ASSERT_EQUAL(ask(1, "k1", 1, 5000), OB__DEDUPE_DONE); /* k0 went */
	end();

	/* what is under way never goes */
	begin(2, 1 << 20);
	CU_ASSERT_EQUAL(ask(1, "a", 1, 0), OB__DEDUPE_NEW);
	CU_ASSERT_EQUAL(ask(1, "b", 1, 0), OB__DEDUPE_NEW);
	CU_ASSERT_EQUAL(ask(1, "c", 1, 100000), OB__DEDUPE_FULL);
	CU_ASSERT_EQUAL(ask(1, "a", 2, 100000), OB__DEDUPE_WAIT);
	end();
}

static void test_bytes_bound(void)
{
	char *big = calloc(1, 60001);
	memset(big, 'x', 60000);

	begin(1000, 100000);
	CU_ASSERT_EQUAL(ask(1, "a", 1, 0), OB__DEDUPE_NEW);
	finish(handle, 0, big, true, 0);
	CU_ASSERT_EQUAL(ask(1, "a", 1, 0), OB__DEDUPE_DONE);
	CU_ASSERT_FALSE(done->lost);
	CU_ASSERT_EQUAL(done->len, 60000);
	/* no room beside a, whose sender may ask: that it was done is kept, not the answer */
	CU_ASSERT_EQUAL(ask(1, "b", 1, 0), OB__DEDUPE_NEW);
	finish(handle, 0, big, true, 0);
	CU_ASSERT_EQUAL(ask(1, "b", 1, 0), OB__DEDUPE_DONE);
	CU_ASSERT_TRUE(done->lost);
	CU_ASSERT_EQUAL(done->len, 0);
	/* later a makes room */
	CU_ASSERT_EQUAL(ask(1, "c", 1, 6000), OB__DEDUPE_NEW);
	finish(handle, 0, big, true, 6000);
	CU_ASSERT_EQUAL(ask(1, "c", 1, 6000), OB__DEDUPE_DONE);
	CU_ASSERT_FALSE(done->lost);
	CU_ASSERT(d.bytes <= 100000);
	/* all is given back */
	(void)ob__dedupe_expire(&d, 10 * WINDOW);
	CU_ASSERT_EQUAL(d.bytes, 0);
	CU_ASSERT_EQUAL(d.slab.live, 0);
	end();
	free(big);
}

static void test_waiters_bound(void)
{
	begin(10, 1 << 20);
	CU_ASSERT_EQUAL(ask(1, "k", 1, 0), OB__DEDUPE_NEW);
	uint64_t first = handle;
	for (unsigned i = 0; i < OB__DEDUPE_WAITERS_MAX; i++) {
		CU_ASSERT_EQUAL(ask(1, "k", 2 + i, 0), OB__DEDUPE_WAIT);
	}
	CU_ASSERT_EQUAL(ask(1, "k", 100, 0), OB__DEDUPE_FULL);
	CU_ASSERT_EQUAL(finish(first, 0, "x", true, 0), OB__DEDUPE_WAITERS_MAX);
	end();
}

/* Many at random against a plain list. */
static void test_many(void)
{
	bool known[500] = {false};
	uint64_t handles[500] = {0};
	uint32_t dice = 1;

	begin(1000, 1 << 20);
	for (int i = 0; i < 20000; i++) {
		dice = dice * 1664525u + 1013904223u;
		unsigned k = (dice >> 8) % 500;
		char key[16];
		snprintf(key, sizeof(key), "%u", k);
		if (known[k] && (dice >> 28) == 0) {
			finish(handles[k], -5004, "", false, 0);
			known[k] = false;
			continue;
		}
		enum ob__dedupe_state s = ask(k % 3, key, 0, 0);
		CU_ASSERT_EQUAL(s, known[k] ? OB__DEDUPE_WAIT : OB__DEDUPE_NEW);
		if (!known[k]) {
			handles[k] = handle;
			known[k] = true;
		}
	}
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("dedupe", NULL, NULL);
	CU_add_test(s, "once", test_once);
	CU_add_test(s, "what is the same", test_identity);
	CU_add_test(s, "hashes", test_hash);
	CU_add_test(s, "nothing was done", test_not_kept);
	CU_add_test(s, "the window", test_window);
	CU_add_test(s, "bounded in number", test_count_bound);
	CU_add_test(s, "bounded in bytes", test_bytes_bound);
	CU_add_test(s, "bounded in those who wait", test_waiters_bound);
	CU_add_test(s, "many", test_many);
	return ob__tap_run();
}
