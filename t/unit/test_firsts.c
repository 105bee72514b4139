/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/firsts.h"

#include <CUnit/CUnit.h>

#include "mesh/session.h"
#include "tap.h"

static void test_table(void)
{
	struct ob__firsts t;
	ob__firsts_init(&t, 7, 2);
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 1, 5, 0), 0);
	CU_ASSERT_TRUE(ob__firsts_begin(&t, 1, 1, 5, 0));
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 1, 5, 0), 0); /* not chosen yet */
	ob__firsts_set(&t, 1, 1, 5, 77);
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 1, 5, 1), 77);
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 1, 6, 1), 0); /* another role, session, proxy */
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 2, 5, 1), 0);
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 2, 1, 5, 1), 0);
	CU_ASSERT_TRUE(ob__firsts_begin(&t, 1, 1, 6, 10));
	ob__firsts_set(&t, 1, 1, 6, 88);
	/* full: nothing that is there is forgotten */
	CU_ASSERT_FALSE(ob__firsts_begin(&t, 1, 2, 5, 10));
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 1, 5, 20), 77);
	/* chosen anew; and taken back */
	CU_ASSERT_TRUE(ob__firsts_begin(&t, 1, 1, 5, 20));
	ob__firsts_set(&t, 1, 1, 5, 99);
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 1, 5, 20), 99);
	ob__firsts_set(&t, 1, 1, 5, 0);
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 1, 5, 20), 0);
	CU_ASSERT_TRUE(ob__firsts_begin(&t, 1, 2, 5, 30));
	ob__firsts_set(&t, 1, 2, 5, 66);
	/* time, which begins anew each time it is asked for */
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 2, 5, 20000), 66);
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 1, 6, 10 + OB__FIRSTS_MS), 0);
	CU_ASSERT_TRUE(ob__firsts_begin(&t, 1, 3, 5, 10 + OB__FIRSTS_MS));
	CU_ASSERT_EQUAL(ob__firsts_get(&t, 1, 2, 5, 20000 + OB__FIRSTS_MS - 1), 66);
	ob__firsts_free(&t);
	ob__firsts_free(NULL);
}

/* When a session's next message may be placed in any way. */
static void test_first(void)
{
	struct ob__sessions ss;
	ob__sessions_init(&ss, 9, 1000, 4);
	struct ob__session *s = ob__session_open(&ss, 1, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_TRUE(ob__session_first(s, 5));
	CU_ASSERT_TRUE(ob__session_first(s, 0));
	ob__session_begin(s, 5); /* left to others, as nobody is noted: the next one is not */
	CU_ASSERT_FALSE(ob__session_first(s, 5));
	CU_ASSERT_FALSE(ob__session_first(s, 0));
	CU_ASSERT_TRUE(ob__session_first(s, 6));
	ob__session_stick(s, 5, 77); /* known: what is settled further on has it with it */
	CU_ASSERT_TRUE(ob__session_first(s, 0));
	ob__session_ended(s, 5);
	ob__session_begin(s, 0);
	CU_ASSERT_FALSE(ob__session_first(s, 6));
	ob__session_ended(s, 0);
	CU_ASSERT_TRUE(ob__session_first(s, 6));
	/* one-way: nobody says when it is over, but that the choice is known */
	ob__session_leave(s, 6);
	CU_ASSERT_FALSE(ob__session_first(s, 6));
	ob__session_stick(s, 6, 78);
	ob__session_move(s, 6);
	CU_ASSERT_TRUE(ob__session_first(s, 6));
	ob__session_leave(s, 0);
	CU_ASSERT_FALSE(ob__session_first(s, 6));
	ob__session_end(&ss, s);
	ob__sessions_free(&ss);
}

/* It goes on to another node when nothing is under way. */
static void test_settle(void)
{
	struct ob__home homes[OB__HOMES_MAX];
	struct ob__sessions ss;
	ob__sessions_init(&ss, 9, 1000, 4);
	struct ob__session *s = ob__session_open(&ss, 1, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	ob__session_stick(s, 5, 77);
	ob__session_begin(s, 5);
	ob__session_begin(s, 5);
	ob__session_settle(s, 5, 78);
	CU_ASSERT_EQUAL(ob__session_sticky(s, 5), 77);
	CU_ASSERT_EQUAL(ob__session_homes(s, 3, homes), 0); /* nothing goes by the user */
	ob__session_by_user(s, 5);
	CU_ASSERT_EQUAL(ob__session_homes(s, 3, homes), 1);
	CU_ASSERT_EQUAL(homes[0].node, 78);
	ob__session_ended(s, 5);
	CU_ASSERT_EQUAL(ob__session_sticky(s, 5), 77);
	uint32_t version = s->version;
	ob__session_ended(s, 5);
	CU_ASSERT_EQUAL(ob__session_sticky(s, 5), 78);
	CU_ASSERT_NOT_EQUAL(s->version, version);
	CU_ASSERT_EQUAL(ob__session_choice(s, 5)->from, 77);
	ob__session_settle(s, 6, 79); /* at once */
	CU_ASSERT_EQUAL(ob__session_sticky(s, 6), 79);
	ob__session_stick(s, 3, 80);
	ob__session_by_user(s, 0); /* what is settled further on: all but the route node */
	CU_ASSERT_EQUAL(ob__session_homes(s, 3, homes), 2);
	ob__session_end(&ss, s);
	ob__sessions_free(&ss);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("firsts", NULL, NULL);
	CU_add_test(s, "the table", test_table);
	CU_add_test(s, "when a choice is the first", test_first);
	CU_add_test(s, "where users come home to", test_settle);
	return ob__tap_run();
}
