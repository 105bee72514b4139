/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session/moved.h"

#include <CUnit/CUnit.h>

#include "tap.h"

static struct ob__resume_token token(uint64_t seq)
{
	return (struct ob__resume_token){.node = 7, .seq = seq};
}

static void put(struct ob__moves *m, uint64_t seq, uint64_t now, uint64_t until)
{
	struct ob__resume_token t = token(seq + 100);

	ob__moves_put(m, seq, &t, now, until);
}

/* The sequence that the session has elsewhere, or 0. */
static uint64_t get(const struct ob__moves *m, uint64_t seq, uint64_t now)
{
	const struct ob__resume_token *t = ob__moves_get(m, seq, now);

	return t != NULL ? t->seq : 0;
}

static void test_time(void)
{
	struct ob__moves m;

	ob__moves_init(&m, 10);
	CU_ASSERT_EQUAL(get(&m, 1, 0), 0);
	put(&m, 1, 1000, 2000);
	put(&m, 2, 1500, 2500);
	CU_ASSERT_EQUAL(get(&m, 1, 1999), 101);
	CU_ASSERT_EQUAL(get(&m, 1, 2000), 0);
	CU_ASSERT_EQUAL(get(&m, 2, 2000), 102);
	CU_ASSERT_EQUAL(m.by_seq.count, 2);
	put(&m, 3, 2000, 3000); /* what is over goes then */
	CU_ASSERT_EQUAL(m.by_seq.count, 2);
	CU_ASSERT_EQUAL(get(&m, 2, 2499), 102);
	CU_ASSERT_EQUAL(get(&m, 3, 2499), 103);
	ob__moves_free(&m);
}

static void test_bound(void)
{
	struct ob__moves m;

	ob__moves_init(&m, 3);
	for (uint64_t seq = 1; seq <= 10; seq++) {
		put(&m, seq, 0, 1000);
	}
	CU_ASSERT_EQUAL(m.by_seq.count, 3);
	CU_ASSERT_EQUAL(get(&m, 7, 0), 0);
	CU_ASSERT_EQUAL(get(&m, 8, 0), 108);
	CU_ASSERT_EQUAL(get(&m, 10, 0), 110);
	ob__moves_free(&m);
}

static void test_again(void)
{
	struct ob__resume_token other = token(5);
	struct ob__moves m;

	ob__moves_init(&m, 2);
	put(&m, 1, 0, 1000);
	put(&m, 2, 0, 1000);
	ob__moves_put(&m, 1, &other, 0, 1000); /* no place more, and the latest now */
	CU_ASSERT_EQUAL(get(&m, 1, 0), 5);
	CU_ASSERT_EQUAL(get(&m, 2, 0), 102);
	put(&m, 3, 0, 1000);
	CU_ASSERT_EQUAL(get(&m, 2, 0), 0);
	CU_ASSERT_EQUAL(get(&m, 1, 0), 5);
	ob__moves_free(&m);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("moved", NULL, NULL);
	CU_add_test(s, "a move is remembered for its time", test_time);
	CU_add_test(s, "there is a bound, and the oldest goes", test_bound);
	CU_add_test(s, "one that moves again", test_again);
	return ob__tap_run();
}
