/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/session.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"

#define SELF        UINT64_C(42)
#define INCARNATION UINT64_C(1732226400123)
#define FIRST_SEQ   (UINT64_C(1732226400) << 32)

static struct ob__sessions ss;

static void begin(uint32_t limit)
{
	ob__sessions_init(&ss, SELF, INCARNATION, limit);
}

static void test_names(void)
{
	begin(10);
	struct ob__session *a = ob__session_open(&ss, 1, 1000);
	struct ob__session *b = ob__session_open(&ss, 2, 1000);
	CU_ASSERT_EQUAL(a->node, SELF);
	CU_ASSERT_EQUAL(a->seq, FIRST_SEQ);
	CU_ASSERT_EQUAL(b->seq, FIRST_SEQ + 1);
	CU_ASSERT_EQUAL(ss.local, 2);
	CU_ASSERT_PTR_EQUAL(ob__session_find(&ss, SELF, FIRST_SEQ), a);
	uint64_t handle = a->handle;
	CU_ASSERT_PTR_EQUAL(ob__session_get(&ss, handle), a);
	ob__session_end(&ss, a);
	CU_ASSERT_PTR_NULL(ob__session_get(&ss, handle));
	CU_ASSERT_PTR_NULL(ob__session_find(&ss, SELF, FIRST_SEQ));
	/* the memory is used again, the name is not */
	struct ob__session *c = ob__session_open(&ss, 3, 1000);
	CU_ASSERT_EQUAL(c->seq, FIRST_SEQ + 2);
	CU_ASSERT_NOT_EQUAL(c->handle, handle);
	CU_ASSERT_PTR_NULL(ob__session_get(&ss, handle));
	CU_ASSERT_EQUAL(ss.local, 2);
	ob__sessions_free(&ss);
}

static void test_met(void)
{
	bool fresh;
	begin(10);
	struct ob__session *s = ob__session_meet(&ss, 7, 1, &fresh);
	CU_ASSERT_TRUE(s != NULL && fresh);
	CU_ASSERT_EQUAL(s->conn, 0);
	CU_ASSERT_EQUAL(ss.local, 0);
	CU_ASSERT_PTR_EQUAL(ob__session_meet(&ss, 7, 1, &fresh), s);
	CU_ASSERT_FALSE(fresh);
	/* an own session is found, but never made by meeting it */
	struct ob__session *own = ob__session_open(&ss, 1, 5);
	CU_ASSERT_PTR_EQUAL(ob__session_meet(&ss, SELF, FIRST_SEQ, &fresh), own);
	CU_ASSERT_FALSE(fresh);
	CU_ASSERT_PTR_NULL(ob__session_meet(&ss, SELF, FIRST_SEQ + 1, &fresh));
	CU_ASSERT_FALSE(fresh);
	ob__session_end(&ss, s);
	CU_ASSERT_EQUAL(ss.local, 1);
	ob__sessions_free(&ss);
}

static void test_limit(void)
{
	bool fresh;
	begin(2);
	struct ob__session *a = ob__session_open(&ss, 1, 0);
	CU_ASSERT_PTR_NOT_NULL(ob__session_meet(&ss, 7, 1, &fresh));
	CU_ASSERT_PTR_NULL(ob__session_open(&ss, 2, 0));
	CU_ASSERT_PTR_NULL(ob__session_meet(&ss, 7, 2, &fresh));
	CU_ASSERT_PTR_NULL(ob__session_find(&ss, 7, 2));
	ob__session_end(&ss, a);
	struct ob__session *b = ob__session_open(&ss, 2, 0);
	CU_ASSERT_EQUAL(b->seq, FIRST_SEQ + 1); /* a failed open uses no number up */
	ob__sessions_free(&ss);
}

static void test_served(void)
{
	begin(10);
	struct ob__session *s = ob__session_open(&ss, 1, 0);
	for (uint64_t node = 1; node <= OB__SESSION_NODES_MAX; node++) {
		CU_ASSERT_EQUAL(ob__session_served(s, node), 0);
		CU_ASSERT_EQUAL(ob__session_served(s, node), -EEXIST);
	}
	CU_ASSERT_EQUAL(ob__session_served(s, 1000), -ENOSPC);
	CU_ASSERT_EQUAL(s->served_len, OB__SESSION_NODES_MAX);
	for (uint64_t node = 1; node <= OB__SESSION_NODES_MAX; node++) {
		CU_ASSERT_EQUAL(s->served[node - 1], node);
	}
	ob__session_end(&ss, s);
	ob__sessions_free(&ss);
}

static void test_sticky(void)
{
	begin(10);
	struct ob__session *s = ob__session_open(&ss, 1, 0);
	CU_ASSERT_EQUAL(ob__session_sticky(s, 5), 0);
	CU_ASSERT_EQUAL(ob__session_stick(s, 5, 0), 0); /* nothing to forget */
	for (uint32_t role = 1; role <= OB__SESSION_NODES_MAX; role++) {
		CU_ASSERT_EQUAL(ob__session_stick(s, role, 100 + role % 3), 0);
	}
	CU_ASSERT_EQUAL(ob__session_stick(s, 999, 100), -ENOSPC);
	CU_ASSERT_EQUAL(ob__session_stick(s, 5, 7), 0); /* another choice needs no room */
	CU_ASSERT_EQUAL(ob__session_sticky(s, 5), 7);
	CU_ASSERT_EQUAL(ob__session_stick(s, 5, 0), 0);
	CU_ASSERT_EQUAL(ob__session_sticky(s, 5), 0);
	ob__session_unstick(s, 101);
	for (uint32_t role = 1; role <= OB__SESSION_NODES_MAX; role++) {
		uint64_t want = role == 5 || role % 3 == 1 ? 0 : 100 + role % 3;
		CU_ASSERT_EQUAL(ob__session_sticky(s, role), want);
	}
	for (uint32_t role = 1; role <= OB__SESSION_NODES_MAX; role++) { /* and full again */
		CU_ASSERT_EQUAL(ob__session_stick(s, role, 5), 0);
	}
	CU_ASSERT_EQUAL(s->sticky_len, OB__SESSION_NODES_MAX);
	ob__sessions_free(&ss);
}

static void test_notices(void)
{
	begin(2);
	struct ob__session *s = ob__session_open(&ss, 1, 0);
	struct ob__notice *a = ob__notice_new(&ss, 7, s, 100);
	struct ob__notice *b = ob__notice_new(&ss, 8, s, 200);
	CU_ASSERT_PTR_NULL(ob__notice_new(&ss, 9, s, 300));
	ob__session_end(&ss, s); /* a notice outlives the session it is about */
	CU_ASSERT_EQUAL(a->session_seq, FIRST_SEQ);
	CU_ASSERT_PTR_EQUAL(OB__CONTAINER(ss.notice_list.next, struct ob__notice, link), a);
	uint64_t handle = a->handle;
	CU_ASSERT_PTR_EQUAL(ob__notice_get(&ss, handle), a);
	ob__notice_free(&ss, a);
	CU_ASSERT_PTR_NULL(ob__notice_get(&ss, handle));
	CU_ASSERT_PTR_NULL(ob__session_get(&ss, b->handle)); /* another kind of handle */
	CU_ASSERT_PTR_EQUAL(OB__CONTAINER(ss.notice_list.next, struct ob__notice, link), b);
	ob__sessions_free(&ss);
}

/* Nor does an ACK for a former process's notice end one of this process. */
static void test_notices_of_a_former_process(void)
{
	begin(1);
	uint64_t former = ob__notice_new(&ss, 7, ob__session_open(&ss, 1, 0), 100)->handle;
	ob__sessions_free(&ss);
	begin(1);
	CU_ASSERT_PTR_NOT_NULL(ob__notice_new(&ss, 7, ob__session_open(&ss, 1, 0), 100));
	CU_ASSERT_PTR_NULL(ob__notice_get(&ss, former));
	ob__sessions_free(&ss);
}

/* A choice whose messages fail or wait does not move; one for any role speaks for all. */
static void test_stays(void)
{
	begin(10);
	struct ob__session *s = ob__session_open(&ss, 1, 0);
	CU_ASSERT_TRUE(ob__session_may_move(s, 7));
	CU_ASSERT_EQUAL(ob__session_stick(s, 7, 100), 0);
	CU_ASSERT_EQUAL(ob__session_stick(s, 8, 200), 0);
	CU_ASSERT_TRUE(ob__session_may_move(s, 7));
	ob__session_stays(s, 7);
	CU_ASSERT_FALSE(ob__session_may_move(s, 7));
	CU_ASSERT_TRUE(ob__session_may_move(s, 8));
	/* neither another node nor none changes that */
	CU_ASSERT_EQUAL(ob__session_stick(s, 7, 101), 0);
	CU_ASSERT_FALSE(ob__session_may_move(s, 7));
	ob__session_move(s, 7);
	CU_ASSERT_FALSE(ob__session_may_move(s, 7));
	ob__session_stays(s, 9); /* before there is a choice */
	CU_ASSERT_EQUAL(ob__session_sticky(s, 9), 0);
	CU_ASSERT_FALSE(ob__session_may_move(s, 9));
	ob__session_stays(s, 0);
	CU_ASSERT_FALSE(ob__session_may_move(s, 8));
	ob__session_end(&ss, s);
	ob__sessions_free(&ss);
}

static void test_attributes(void)
{
	uint8_t value[OB__VALUE_MAX + 1];
	char key[16];
	begin(10);
	struct ob__session *s = ob__session_open(&ss, 1, 0);
	memset(value, 'v', sizeof(value));
	CU_ASSERT_STRING_EQUAL(ob__session_user(s), "");
	CU_ASSERT_PTR_NULL(ob__session_attr(s, "k0"));
	CU_ASSERT_EQUAL(ob__session_set(s, "k0", NULL, 0), 0); /* removing nothing makes nothing */
	CU_ASSERT_PTR_NULL(s->more);
	for (unsigned i = 0; i < OB__SESSION_ATTRS_MAX; i++) {
		snprintf(key, sizeof(key), "k%u", i);
		CU_ASSERT_EQUAL(ob__session_set(s, key, value, i + 1), 0);
	}
	CU_ASSERT_EQUAL(ob__session_set(s, "more", "x", 1), -ENOSPC);
	CU_ASSERT_EQUAL(ob__session_set(s, "k3", value, sizeof(value)), -E2BIG);
	CU_ASSERT_EQUAL(ob__session_set(s, "k3", value, OB__VALUE_MAX), 0); /* one that is there */
	CU_ASSERT_EQUAL(ob__session_attr(s, "k3")->len, OB__VALUE_MAX);
	CU_ASSERT_EQUAL(ob__session_attr(s, "k5")->len, 6);
	CU_ASSERT_EQUAL(ob__session_set(s, "k5", NULL, 0), 0);
	CU_ASSERT_PTR_NULL(ob__session_attr(s, "k5"));
	CU_ASSERT_EQUAL(ob__session_attr(s, "k15")->len, 16);
	CU_ASSERT_EQUAL(ob__session_set(s, "more", "x", 1), 0);
	CU_ASSERT_EQUAL(memcmp(ob__session_attr(s, "more")->value, "x", 1), 0);
	ob__session_end(&ss, s);
	s = ob__session_open(&ss, 2, 0); /* the next one in that place has none */
	CU_ASSERT_PTR_NULL(ob__session_attr(s, "more"));
	CU_ASSERT_PTR_NOT_NULL(ob__session_more(s));
	ob__sessions_free(&ss);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("session", NULL, NULL);
	CU_add_test(s, "names are never used again", test_names);
	CU_add_test(s, "sessions of others", test_met);
	CU_add_test(s, "limit", test_limit);
	CU_add_test(s, "served-by set", test_served);
	CU_add_test(s, "sticky choices", test_sticky);
	CU_add_test(s, "choices that stay", test_stays);
	CU_add_test(s, "attributes", test_attributes);
	CU_add_test(s, "notices", test_notices);
	CU_add_test(s, "notices of a former process", test_notices_of_a_former_process);
	return ob__tap_run();
}
