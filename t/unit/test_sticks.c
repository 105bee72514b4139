/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/sticks.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static struct ob__session s;

static void end(void)
{
	free(s.sticky);
	free(s.served);
	memset(&s, 0, sizeof(s));
}

static void test_carried(void)
{
	uint8_t ext[OB__STICKS_EXT];
	struct ob__sticks got;
	struct ob__frame f = {.ext = ext};

	CU_ASSERT_EQUAL(ob__sticks_put(ext, &s, 0, 0, false), 0);
	ob__session_stick(&s, 1, UINT64_C(0x1122334455667788));
	ob__session_stick(&s, 2, 20);
	ob__session_stick(&s, 3, 30);
	ob__session_begin(&s, 0); /* says nothing about where it sticks */
	ob__session_move(&s, 2);
	f.ext_len = (uint16_t)ob__sticks_put(ext, &s, 0, 0, false);
	CU_ASSERT_EQUAL(f.ext_len, 4 + 3 * 20);
	got = ob__sticks_get(&f, 1);
	CU_ASSERT_TRUE(got.has && got.node == UINT64_C(0x1122334455667788) && got.from == 0);
	got = ob__sticks_get(&f, 2);
	CU_ASSERT_TRUE(got.has && got.node == 0 && got.from == 20 && got.key == 0);
	got = ob__sticks_get(&f, 4);
	CU_ASSERT_TRUE(!got.has && got.node == 0);
	CU_ASSERT_FALSE(ob__sticks_get(&f, 0).has);
	f.ext_len = (uint16_t)ob__sticks_put(ext, &s, 0, 99, false);
	got = ob__sticks_get(&f, 1);
	CU_ASSERT_TRUE(got.has && got.key == 99);
	CU_ASSERT_TRUE(!ob__sticks_get(&f, 0).has && ob__sticks_get(&f, 0).key == 99);
	/* A role that is settled here is told by the destination; only its past is worth a word. */
	CU_ASSERT_EQUAL(ob__sticks_put(ext, &s, 1, 0, false), 0);
	CU_ASSERT_EQUAL(ob__sticks_put(ext, &s, 1, 0, true), 4 + 20);
	CU_ASSERT_EQUAL(ob__sticks_put(ext, &s, 2, 0, false), 4 + 20);
	end();
}

static void test_bound(void)
{
	uint8_t ext[OB__STICKS_EXT];

	for (uint32_t role = 1; role <= OB__SESSION_NODES_MAX; role++) {
		CU_ASSERT_EQUAL(ob__session_stick(&s, role, role), 0);
	}
	CU_ASSERT_EQUAL(ob__sticks_put(ext, &s, 0, 0, false), OB__STICKS_EXT);
	end();
}

/* What another node says may be anything. */
static void test_malformed(void)
{
	static const uint16_t lens[] = {0, 1, 19, 21, 39};
	uint8_t ext[64] = {0};
	uint8_t list[64] = {1, 0, 0, 0};

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct ob__frame f = {.ext = ext};
		f.ext_len = (uint16_t)ob__frame_ext_put(ext, 0, sizeof(ext), OB__FRAME_EXT_STICKS,
		                                        list, lens[i]);
		struct ob__sticks got = ob__sticks_get(&f, 1);
		CU_ASSERT_TRUE(!got.has && got.node == 0 && got.from == 0 && got.key == 0);
	}
}

/* ---------------------------------------------------------------- what the session keeps */

static void test_busy(void)
{
	ob__session_begin(&s, 5);
	ob__session_begin(&s, 0);
	CU_ASSERT_EQUAL(ob__session_busy(&s, 5), 2);
	CU_ASSERT_EQUAL(ob__session_busy(&s, 6), 1); /* the one whose role is not settled here */
	ob__session_stick(&s, 5, 50);
	ob__session_ended(&s, 0);
	CU_ASSERT_EQUAL(ob__session_busy(&s, 5), 1);
	ob__session_stick(&s, 5, 0); /* forgotten, but not what is under way */
	CU_ASSERT_EQUAL(ob__session_sticky(&s, 5), 0);
	CU_ASSERT_EQUAL(ob__session_busy(&s, 5), 1);
	ob__session_ended(&s, 5);
	ob__session_ended(&s, 5);
	CU_ASSERT_EQUAL(ob__session_busy(&s, 5), 0);
	CU_ASSERT_TRUE(s.sticky_len == 1 && s.sticky[0].role == 0); /* kept: it comes again */
	end();
}

static void test_move(void)
{
	ob__session_move(&s, 5);
	CU_ASSERT_EQUAL(s.sticky_len, 0);
	ob__session_stick(&s, 5, 50);
	ob__session_choice(&s, 5)->moving = 1;
	ob__session_stick(&s, 5, 50); /* each message says it again */
	CU_ASSERT_EQUAL(ob__session_choice(&s, 5)->moving, 1);
	ob__session_move(&s, 5);
	CU_ASSERT_EQUAL(ob__session_sticky(&s, 5), 0);
	CU_ASSERT_EQUAL(ob__session_choice(&s, 5)->from, 50);
	CU_ASSERT_EQUAL(ob__session_choice(&s, 5)->moving, 0);
	ob__session_move(&s, 5); /* where it was is not forgotten by asking twice */
	CU_ASSERT_EQUAL(ob__session_choice(&s, 5)->from, 50);
	ob__session_stick(&s, 5, 60);
	CU_ASSERT_EQUAL(ob__session_choice(&s, 5)->from, 0);
	CU_ASSERT_EQUAL(ob__session_sticky(&s, 5), 60);
	end();
}

static void test_unserved(void)
{
	for (uint64_t node = 1; node <= 5; node++) {
		CU_ASSERT_EQUAL(ob__session_served(&s, node), 0);
	}
	ob__session_unserved(&s, 2);
	ob__session_unserved(&s, 2);
	ob__session_unserved(&s, 9);
	CU_ASSERT_EQUAL(s.served_len, 4);
	CU_ASSERT_EQUAL(ob__session_served(&s, 5), -EEXIST);
	for (uint64_t node = 10; node < 30; node++) {
		CU_ASSERT_EQUAL(ob__session_served(&s, node), 0);
	}
	CU_ASSERT_EQUAL(s.served_len, 24);
	CU_ASSERT_EQUAL(ob__session_served(&s, 2), 0);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite suite = CU_add_suite("sticks", NULL, NULL);
	CU_add_test(suite, "choices travel with a message", test_carried);
	CU_add_test(suite, "a bounded number of them", test_bound);
	CU_add_test(suite, "malformed ones are none", test_malformed);
	CU_add_test(suite, "requests under way are counted per role", test_busy);
	CU_add_test(suite, "a choice that is moved", test_move);
	CU_add_test(suite, "a node leaves the served-by set", test_unserved);
	return ob__tap_run();
}
