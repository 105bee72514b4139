/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/way.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include "tap.h"

#define RULE 1u
#define ROLE 7u

static struct ob__registry r;
static struct ob__sessions ss;
static struct ob__session *s;
static struct ob__way way;

static struct ob__peer *peer(uint64_t id, const char *name)
{
	const struct ob__identity who = {.id = id, .incarnation = 1, .name = name, .role = "game"};
	int err;
	struct ob__peer *p = ob__registry_put(&r, &who, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

static void begin(void)
{
	const struct ob__identity self = {.id = 1, .incarnation = 1, .name = "me", .role = "proxy"};
	memset(&way, 0, sizeof(way));
	CU_ASSERT_EQUAL_FATAL(ob__registry_init(&r, &self), 0);
	ob__sessions_init(&ss, 1, 1000000, 8);
	s = ob__session_open(&ss, 5, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
}

static void end(void)
{
	ob__sessions_free(&ss);
	ob__registry_free(&r);
}

static bool holds(void)
{
	return ob__way_holds(&way, &r, s, RULE, ROLE);
}

/* True when the way held until now, and does not any more; it is kept again then. */
static bool breaks(bool held)
{
	bool broken = held && !holds();
	way.key = ob__way_key(&r, s, RULE, ROLE);
	return broken && holds();
}

static void test_key(void)
{
	begin();
	CU_ASSERT_FALSE(holds()); /* nothing is kept */
	way.key = ob__way_key(&r, s, RULE, ROLE);
	CU_ASSERT_TRUE(holds());
	CU_ASSERT_FALSE(ob__way_holds(&way, &r, s, RULE + 1, ROLE));
	CU_ASSERT_FALSE(ob__way_holds(&way, &r, s, RULE, 0));
	end();
}

static void test_session(void)
{
	begin();
	CU_ASSERT_EQUAL(ob__session_stick(s, ROLE, 20), 0);
	way.key = ob__way_key(&r, s, RULE, ROLE);
	bool held = holds();
	ob__session_stick(s, ROLE, 20); /* nothing new */
	ob__session_begin(s, ROLE);
	ob__session_ended(s, ROLE);
	ob__session_begin(s, 0);
	ob__session_ended(s, 0);
	CU_ASSERT_TRUE(held && holds());
	ob__session_stick(s, ROLE, 30);
	CU_ASSERT_TRUE(breaks(held));
	ob__session_move(s, ROLE);
	CU_ASSERT_TRUE(breaks(held));
	ob__session_stick(s, ROLE, 30); /* back again, and heard of */
	CU_ASSERT_TRUE(breaks(held));
	ob__session_stays(s, ROLE);
	CU_ASSERT_TRUE(breaks(held));
	ob__session_unstick(s, 30);
	CU_ASSERT_TRUE(breaks(held));
	CU_ASSERT_EQUAL(ob__session_served(s, 30), 0);
	CU_ASSERT_TRUE(breaks(held));
	ob__session_unserved(s, 30);
	CU_ASSERT_TRUE(breaks(held));
	end();
}

static void test_user(void)
{
	begin();
	way.key = ob__way_key(&r, s, RULE, ROLE);
	bool held = holds();
	struct ob__session_more *more = ob__session_more(s);
	CU_ASSERT_PTR_NOT_NULL_FATAL(more);
	CU_ASSERT_TRUE(holds()); /* an attribute is nobody's business */
	more->bound = true;
	more->epoch = 3;
	more->change = 1;
	CU_ASSERT_TRUE(breaks(held));
	more->epoch = 4;
	CU_ASSERT_TRUE(breaks(held));
	more->change = 2;
	CU_ASSERT_TRUE(breaks(held));
	more->bound = false;
	CU_ASSERT_TRUE(breaks(held));
	end();
}

static void test_registry(void)
{
	begin();
	way.key = ob__way_key(&r, s, RULE, ROLE);
	bool held = holds();
	struct ob__peer *p = peer(20, "a");
	CU_ASSERT_TRUE(breaks(held));
	ob__registry_set_link(&r, p, (struct ob__link *)(uintptr_t)8, 0);
	CU_ASSERT_TRUE(breaks(held));
	ob__registry_set_draining(&r, p, true);
	CU_ASSERT_TRUE(breaks(held));
	ob__registry_set_draining(&r, p, true); /* nothing new */
	CU_ASSERT_TRUE(holds());
	ob__registry_set_state(&r, p, OB__MEMBER_SUSPECT);
	CU_ASSERT_TRUE(breaks(held));
	ob__registry_set_weight(&r, p, 5);
	CU_ASSERT_TRUE(breaks(held));
	ob__registry_set_link(&r, p, NULL, 0);
	CU_ASSERT_TRUE(breaks(held));
	ob__registry_changed(&r);
	CU_ASSERT_TRUE(breaks(held));
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite suite = CU_add_suite("way", NULL, NULL);
	CU_add_test(suite, "what it is kept for", test_key);
	CU_add_test(suite, "the session's choices change", test_session);
	CU_add_test(suite, "it is another user's", test_user);
	CU_add_test(suite, "what can be reached changes", test_registry);
	return ob__tap_run();
}
