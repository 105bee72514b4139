/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/pushwire.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "tap.h"

#define LONG_USER "0123456789012345678901234567890123456789012345678901234567890123"

static void test_sessions(void)
{
	uint8_t out[64];
	struct ob__push_list l;
	size_t at = ob__push_head_put(out, 2, 0);

	at += ob__push_session_put(out + at, 0x1122334455667788);
	at += ob__push_session_put(out + at, 7);
	CU_ASSERT_EQUAL(at, 24);
	CU_ASSERT_EQUAL(out[8], 0x88); /* little-endian */
	memcpy(out + at, "hi", 2);
	CU_ASSERT_EQUAL(ob__push_list_get(&l, OB__PUSH_SESSIONS, out, at + 2), 0);
	CU_ASSERT_EQUAL(l.count, 2);
	CU_ASSERT_EQUAL(l.len, 2);
	CU_ASSERT_PTR_EQUAL(l.data, out + at);
	const uint8_t *member = l.members;
	CU_ASSERT_EQUAL(ob__push_session_next(&member), 0x1122334455667788);
	CU_ASSERT_EQUAL(ob__push_session_next(&member), 7);
	CU_ASSERT_PTR_EQUAL(member, l.data);
	for (size_t i = 0; i < at; i++) {
		CU_ASSERT_EQUAL(ob__push_list_get(&l, OB__PUSH_SESSIONS, out, i), -EPROTO);
	}
	CU_ASSERT_EQUAL(ob__push_list_get(&l, OB__PUSH_SESSIONS, out, at), 0);
	CU_ASSERT_EQUAL(l.len, 0);
}

static void test_users(void)
{
	static const struct ob__push_user in[] = {
		{.seq = 1, .tag = 2, .user = "ada"},
		{.seq = 3, .tag = UINT64_MAX, .user = LONG_USER},
	};
	uint8_t out[OB__PUSH_LIST_HEAD + 2 * OB__PUSH_USER_MAX];
	struct ob__push_list l;
	struct ob__push_user u;
	size_t at = ob__push_head_put(out, 2, 77);

	for (int i = 0; i < 2; i++) {
		size_t n = ob__push_user_put(out + at, &in[i]);
		CU_ASSERT_EQUAL(n, ob__push_user_size(in[i].user));
		at += n;
	}
	CU_ASSERT_EQUAL(ob__push_user_size(LONG_USER), OB__PUSH_USER_MAX);
	CU_ASSERT_EQUAL(ob__push_list_get(&l, OB__PUSH_USERS, out, at), 0);
	CU_ASSERT_EQUAL(l.at, 77);
	CU_ASSERT_EQUAL(l.len, 0);
	const uint8_t *member = l.members;
	for (int i = 0; i < 2; i++) {
		ob__push_user_next(&u, &member);
		CU_ASSERT_EQUAL(u.seq, in[i].seq);
		CU_ASSERT_EQUAL(u.tag, in[i].tag);
		CU_ASSERT_STRING_EQUAL(u.user, in[i].user);
	}
	for (size_t i = 0; i < at; i++) {
		CU_ASSERT_EQUAL(ob__push_list_get(&l, OB__PUSH_USERS, out, i), -EPROTO);
	}
}

/* A list that is taken has not one bad member. */
static void test_malformed(void)
{
	static const struct {
		enum ob__push_to to;
		uint32_t count;
		uint32_t at;
		const char *members;
		size_t len;
	} rows[] = {
		{OB__PUSH_SESSIONS, 0, 0, "12345678", 8},
		{OB__PUSH_SESSIONS, 1, 1, "12345678", 8}, /* not zero */
		{OB__PUSH_SESSIONS, OB__PUSH_LIST_MAX + 1, 0, "12345678", 8},
		{OB__PUSH_SESSIONS, UINT32_MAX, 0, "12345678", 8},
		{OB__PUSH_USERS, 0, 0, "1234567812345678\1a", 18},
		{OB__PUSH_USERS, 1, 0, "1234567812345678\0a", 18},  /* nobody */
		{OB__PUSH_USERS, 1, 0, "1234567812345678\2a", 18},  /* longer than there is */
		{OB__PUSH_USERS, 1, 0, "1234567812345678\1\n", 18}, /* no user id */
		{OB__PUSH_USERS, 1, 0, "1234567812345678\2a\0", 19},
		{OB__PUSH_USERS, 1, 0, "1234567812345678\101" LONG_USER "4", 82},
		{OB__PUSH_USERS, 2, 0, "1234567812345678\1a1234567812345678", 34},
	};
	uint8_t out[128];
	struct ob__push_list l;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t at = ob__push_head_put(out, rows[i].count, rows[i].at);
		memcpy(out + at, rows[i].members, rows[i].len);
		CU_ASSERT_EQUAL(ob__push_list_get(&l, rows[i].to, out, at + rows[i].len), -EPROTO);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("pushwire", NULL, NULL);
	CU_add_test(s, "sessions", test_sessions);
	CU_add_test(s, "users", test_users);
	CU_add_test(s, "malformed", test_malformed);
	return ob__tap_run();
}
