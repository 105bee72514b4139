/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/group.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#define SESSIONS 40u
#define GROUPS   12u

static struct ob__groups gs;
static int begun;

static void changed(void *arg, uint64_t hash, bool there)
{
	(void)arg;
	CU_ASSERT_EQUAL(hash >> 63, 0);
	begun += there ? 1 : -1;
}

static void setup(uint32_t max, uint32_t max_of_one)
{
	begun = 0;
	ob__groups_init(&gs, 0x1234567, max, max_of_one, changed, NULL);
}

static void end(void)
{
	ob__groups_free(&gs);
}

static uint32_t count(const char *name)
{
	const struct ob__group *g = ob__group_find(&gs, name);

	return g != NULL ? g->count : 0;
}

static void test_join_and_leave(void)
{
	setup(10, 10);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 1, "a"), 0);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 1, "a"), -EEXIST);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 2, "a"), 0);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 1, "b"), 0);
	CU_ASSERT_EQUAL(count("a"), 2);
	CU_ASSERT_EQUAL(ob__group_count_of(&gs, 1), 2);
	CU_ASSERT_EQUAL(begun, 2);
	CU_ASSERT_EQUAL(ob__group_leave(&gs, 3, "a"), -ENOENT);
	CU_ASSERT_EQUAL(ob__group_leave(&gs, 1, "nobody's"), -ENOENT);
	CU_ASSERT_EQUAL(ob__group_leave(&gs, 1, "a"), 0);
	CU_ASSERT_EQUAL(ob__group_leave(&gs, 1, "a"), -ENOENT);
	CU_ASSERT_EQUAL(begun, 2);
	CU_ASSERT_EQUAL(ob__group_leave(&gs, 2, "a"), 0);
	CU_ASSERT_EQUAL(begun, 1);
	CU_ASSERT_PTR_NULL(ob__group_find(&gs, "a"));
	CU_ASSERT_PTR_NULL(ob__group_of(&gs, 2));
	CU_ASSERT_STRING_EQUAL(ob__group_of(&gs, 1)->name, "b");
	end();
}

static void test_bounds(void)
{
	setup(2, 3);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 1, "a"), 0);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 1, "b"), 0);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 2, "c"), -ENOSPC);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 2, "a"), 0); /* one that is there */
	CU_ASSERT_EQUAL(ob__groups_count(&gs), 2);
	CU_ASSERT_EQUAL(ob__groups_members(&gs), 3);
	end();
	setup(10, 1);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 1, "a"), 0);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 1, "a"), -EEXIST);
	CU_ASSERT_EQUAL(ob__group_join(&gs, 1, "b"), -EDQUOT);
	CU_ASSERT_PTR_NULL(ob__group_find(&gs, "b"));
	end();
}

/* Who leaves during a walk is not met, who joins isn't either; nor does the group's end harm. */
static void test_walk(void)
{
	struct ob__group_walk w;
	struct ob__group_walk all;

	setup(10, 10);
	for (uint64_t s = 1; s <= 4; s++) {
		ob__group_join(&gs, s, "a");
	}
	ob__group_walk(&gs, &w, ob__group_find(&gs, "a"));
	CU_ASSERT_EQUAL(ob__group_walk_member(&w), 1);
	ob__group_leave(&gs, 2, "a");
	ob__group_leave(&gs, 1, "a");
	ob__group_join(&gs, 5, "a");
	CU_ASSERT_EQUAL(ob__group_walk_member(&w), 3);
	CU_ASSERT_EQUAL(ob__group_walk_member(&w), 4);
	CU_ASSERT_EQUAL(ob__group_walk_member(&w), 0);
	ob__group_walk_end(&w);
	ob__group_walk(&gs, &w, ob__group_find(&gs, "a"));
	CU_ASSERT_EQUAL(ob__group_walk_member(&w), 3);
	for (uint64_t s = 3; s <= 5; s++) {
		ob__group_leave(&gs, s, "a");
	}
	CU_ASSERT_EQUAL(ob__group_walk_member(&w), 0);
	ob__group_walk_end(&w);

	ob__group_join(&gs, 1, "a");
	ob__group_join(&gs, 1, "b");
	ob__group_join(&gs, 1, "c");
	ob__groups_walk(&gs, &all, 0);
	CU_ASSERT_STRING_EQUAL(ob__group_walk_group(&all)->name, "a");
	ob__group_leave(&gs, 1, "b");
	ob__group_join(&gs, 1, "d");
	CU_ASSERT_STRING_EQUAL(ob__group_walk_group(&all)->name, "c");
	CU_ASSERT_PTR_NULL(ob__group_walk_group(&all));
	ob__group_walk_end(&all);
	uint64_t seen = ob__group_find(&gs, "c")->number;
	ob__groups_walk(&gs, &all, seen);
	CU_ASSERT_STRING_EQUAL(ob__group_walk_group(&all)->name, "d");
	ob__group_walk_end(&all);
	ob__group_leave(&gs, 1, "c");
	ob__groups_walk(&gs, &all, seen); /* it is gone, not its place */
	CU_ASSERT_STRING_EQUAL(ob__group_walk_group(&all)->name, "d");
	CU_ASSERT_PTR_NULL(ob__group_walk_group(&all));
	ob__group_walk_end(&all);
	ob__group_join(&gs, 1, "c"); /* another one */
	ob__groups_walk(&gs, &all, ob__group_find(&gs, "d")->number);
	CU_ASSERT_STRING_EQUAL(ob__group_walk_group(&all)->name, "c");
	ob__group_walk_end(&all);
	ob__groups_walk(&gs, &all, UINT64_MAX);
	CU_ASSERT_PTR_NULL(ob__group_walk_group(&all));
	ob__group_walk_end(&all);
	ob__group_walk_end(&(struct ob__group_walk){0});
	end();
}

/* ---- against a table of booleans ---- */

static bool in[SESSIONS + 1][GROUPS];

static unsigned row(unsigned s)
{
	unsigned n = 0;

	for (unsigned g = 0; g < GROUPS; g++) {
		n += in[s][g];
	}
	return n;
}

static unsigned column(unsigned g)
{
	unsigned n = 0;

	for (unsigned s = 1; s <= SESSIONS; s++) {
		n += in[s][g];
	}
	return n;
}

static unsigned groups_there(void)
{
	unsigned n = 0;

	for (unsigned g = 0; g < GROUPS; g++) {
		n += column(g) > 0;
	}
	return n;
}

static void name_of(char out[16], unsigned g)
{
	snprintf(out, 16, "group %u", g);
}

static int expected(unsigned s, unsigned g)
{
	return in[s][g]                                ? -EEXIST
	       : column(g) == 0 && groups_there() >= 8 ? -ENOSPC
	       : row(s) >= 5                           ? -EDQUOT
	                                               : 0;
}

static void compare(void)
{
	size_t members = 0;

	for (unsigned g = 0; g < GROUPS; g++) {
		char name[16];
		struct ob__group_walk w;
		unsigned met = 0;
		uint64_t s;
		name_of(name, g);
		CU_ASSERT_EQUAL_FATAL(count(name), column(g));
		members += column(g);
		if (column(g) == 0) {
			continue;
		}
		ob__group_walk(&gs, &w, ob__group_find(&gs, name));
		while ((s = ob__group_walk_member(&w)) != 0) {
			CU_ASSERT_TRUE_FATAL(in[s][g]);
			met++;
		}
		ob__group_walk_end(&w);
		CU_ASSERT_EQUAL_FATAL(met, column(g));
	}
	for (unsigned s = 1; s <= SESSIONS; s++) {
		CU_ASSERT_EQUAL_FATAL(ob__group_count_of(&gs, s), row(s));
	}
	CU_ASSERT_EQUAL(ob__groups_members(&gs), members);
	CU_ASSERT_EQUAL(begun, (int)groups_there());
}

static void session_ends(unsigned s)
{
	const struct ob__group *g;
	unsigned left = 0;

	while ((g = ob__group_of(&gs, s)) != NULL) {
		char name[OB__GROUP_MAX + 1];
		snprintf(name, sizeof(name), "%s", g->name);
		CU_ASSERT_EQUAL_FATAL(ob__group_leave(&gs, s, name), 0);
		left++;
	}
	CU_ASSERT_EQUAL(left, row(s));
	memset(in[s], 0, sizeof(in[s]));
}

static void test_random(void)
{
	unsigned seed = 20251;

	setup(8, 5);
	memset(in, 0, sizeof(in));
	for (unsigned i = 0; i < 60000; i++) {
		char name[16];
		unsigned s = 1 + (unsigned)rand_r(&seed) % SESSIONS;
		unsigned g = (unsigned)rand_r(&seed) % GROUPS;
		unsigned what = (unsigned)rand_r(&seed) % 16;
		name_of(name, g);
		if (what < 9) {
			int rc = expected(s, g);
			CU_ASSERT_EQUAL_FATAL(ob__group_join(&gs, s, name), rc);
			in[s][g] = in[s][g] || rc == 0;
		} else if (what < 15) {
			CU_ASSERT_EQUAL_FATAL(ob__group_leave(&gs, s, name),
			                      in[s][g] ? 0 : -ENOENT);
			in[s][g] = false;
		} else {
			session_ends(s);
		}
		if (i % 100 == 0) {
			compare();
		}
	}
	for (unsigned s = 1; s <= SESSIONS; s++) {
		session_ends(s);
	}
	compare();
	CU_ASSERT_EQUAL(gs.sessions.count, 0);
	CU_ASSERT_EQUAL(gs.hashes.count, 0);
	end();
}

static void test_hash(void)
{
	CU_ASSERT_EQUAL(ob__group_hash("a", 1), UINT64_C(0xaf63dc4c8601ec8c) & (UINT64_MAX >> 1));
	CU_ASSERT_NOT_EQUAL(ob__group_hash("ab", 2), ob__group_hash("ba", 2));
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("group", NULL, NULL);
	CU_add_test(s, "joining and leaving", test_join_and_leave);
	CU_add_test(s, "bounds", test_bounds);
	CU_add_test(s, "walks", test_walk);
	CU_add_test(s, "random operations against a simple table", test_random);
	CU_add_test(s, "a name's number is the same everywhere", test_hash);
	return ob__tap_run();
}
