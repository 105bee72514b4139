/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/userwire.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "tap.h"

#define LONG_USER "0123456789012345678901234567890123456789012345678901234567890123"

static void test_words(void)
{
	static const struct {
		const char *word;
		bool user;
		bool key;
	} rows[] = {
		{"a", true, true},
		{"\xc3\xa9", true, true},
		{"01234567890123456789012345678901", true, true},
		{"012345678901234567890123456789012", true, false},
		{LONG_USER, true, false},
		{LONG_USER "4", false, false},
		{"", false, false},
		{NULL, false, false},
		{"a\nb", false, false},
		{"\x7f", false, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(ob__user_ok(rows[i].word), rows[i].user);
		CU_ASSERT_EQUAL(ob__key_ok(rows[i].word), rows[i].key);
	}
}

/* What is written is read; no shorter or longer one is, if that can be told. */
static void test_user(void)
{
	uint8_t out[OB__USER_WIRE_MAX + 1] = {0};
	struct ob__user_msg m;
	size_t len = ob__user_put(out, LONG_USER, 0x1122334455667788, 7);
	CU_ASSERT_EQUAL(len, OB__USER_WIRE_MAX);
	CU_ASSERT_EQUAL(ob__user_get(&m, out, len, false), 0);
	CU_ASSERT_STRING_EQUAL(m.user, LONG_USER);
	CU_ASSERT_EQUAL(m.epoch, 0x1122334455667788);
	CU_ASSERT_EQUAL(m.change, 7);
	CU_ASSERT_EQUAL(out[0], 0x88); /* little-endian */
	for (size_t i = 0; i < len; i++) {
		CU_ASSERT_EQUAL(ob__user_get(&m, out, i, false), -EPROTO);
	}
	CU_ASSERT_EQUAL(ob__user_get(&m, out, len + 1, false), -EPROTO);
	len = ob__user_put(out, "", 1, 1);
	CU_ASSERT_EQUAL(ob__user_get(&m, out, len, false), -EPROTO);
	CU_ASSERT_EQUAL(ob__user_get(&m, out, len, true), 0);
	CU_ASSERT_STRING_EQUAL(m.user, "");
	len = ob__user_put(out, "a\tb", 1, 1);
	CU_ASSERT_EQUAL(ob__user_get(&m, out, len, false), -EPROTO);
}

static void test_lock(void)
{
	uint8_t out[OB__LOCK_WIRE_MAX + 1] = {0};
	struct ob__lock_msg in = {.locker = 9, .ms = 60000, .flags = OB__LOCK_RELAY};
	struct ob__lock_msg m;
	strcpy(in.user, LONG_USER);
	strcpy(in.key, "01234567890123456789012345678901");
	size_t len = ob__lock_put(out, &in);
	CU_ASSERT_EQUAL(len, OB__LOCK_WIRE_MAX);
	CU_ASSERT_EQUAL(ob__lock_get(&m, out, len), 0);
	CU_ASSERT_EQUAL(m.locker, 9);
	CU_ASSERT_EQUAL(m.ms, 60000);
	CU_ASSERT_EQUAL(m.flags, OB__LOCK_RELAY);
	CU_ASSERT_STRING_EQUAL(m.user, in.user);
	CU_ASSERT_STRING_EQUAL(m.key, in.key);
	for (size_t i = 0; i < len; i++) {
		CU_ASSERT_EQUAL(ob__lock_get(&m, out, i), -EPROTO);
	}
	CU_ASSERT_EQUAL(ob__lock_get(&m, out, len + 1), -EPROTO);
}

static void test_send(void)
{
	uint8_t out[OB__SEND_HEAD_MAX + 4];
	struct ob__send_msg in = {.kind = OB__SEND_PUSH, .tries = 1, .id = 5000};
	in.at = 0x01020304;
	in.tag = 0x1122334455667788;
	struct ob__send_msg m;
	strcpy(in.user, "ada");
	size_t len = ob__send_put_head(out, &in);
	memcpy(out + len, "data", 4);
	CU_ASSERT_EQUAL(ob__send_get(&m, out, len + 4), 0);
	CU_ASSERT_EQUAL(m.kind, OB__SEND_PUSH);
	CU_ASSERT_EQUAL(m.tries, 1);
	CU_ASSERT_EQUAL(m.id, 5000);
	CU_ASSERT_EQUAL(m.at, 0x01020304);
	CU_ASSERT_EQUAL(m.tag, 0x1122334455667788);
	CU_ASSERT_STRING_EQUAL(m.user, "ada");
	CU_ASSERT_EQUAL(m.len, 4);
	CU_ASSERT_EQUAL(memcmp(m.data, "data", 4), 0);
	for (size_t i = 0; i < len; i++) {
		CU_ASSERT_EQUAL(ob__send_get(&m, out, i), -EPROTO);
	}
	out[2] = 1;
	CU_ASSERT_EQUAL(ob__send_get(&m, out, len), -EPROTO);
	in.id = 0; /* no message id */
	CU_ASSERT_EQUAL(ob__send_get(&m, out, ob__send_put_head(out, &in)), -EPROTO);
	in.kind = OB__SEND_KICK;
	CU_ASSERT_EQUAL(ob__send_get(&m, out, ob__send_put_head(out, &in)), 0);
	in.kind = OB__SEND_KICK + 1;
	CU_ASSERT_EQUAL(ob__send_get(&m, out, ob__send_put_head(out, &in)), -EPROTO);
}

static void test_attr_and_place(void)
{
	uint8_t out[OB__ATTR_WIRE_MAX + 1];
	uint8_t value[OB__VALUE_MAX];
	struct ob__attr_msg m;
	memset(value, 'v', sizeof(value));
	size_t len = ob__attr_put(out, "key", value, sizeof(value));
	CU_ASSERT_EQUAL(ob__attr_get(&m, out, len), 0);
	CU_ASSERT_STRING_EQUAL(m.key, "key");
	CU_ASSERT_EQUAL(m.len, sizeof(value));
	CU_ASSERT_EQUAL(ob__attr_get(&m, out, len + 1), -EPROTO);
	CU_ASSERT_EQUAL(ob__attr_get(&m, out, 4), 0); /* removes it */
	CU_ASSERT_EQUAL(m.len, 0);
	CU_ASSERT_EQUAL(ob__attr_get(&m, out, 3), -EPROTO);
	CU_ASSERT_EQUAL(ob__attr_get(&m, out, 0), -EPROTO);

	struct ob__place p = {1, 2, 3};
	struct ob__place q;
	ob__place_put(out, &p);
	CU_ASSERT_EQUAL(ob__place_get(&q, out, OB__PLACE_SIZE), 0);
	CU_ASSERT_EQUAL(memcmp(&p, &q, sizeof(p)), 0);
	CU_ASSERT_EQUAL(ob__place_get(&q, out, OB__PLACE_SIZE - 1), -EPROTO);
}

/* Attributes that go along with messages, and where users are served. */
static void test_carry_and_home(void)
{
	uint8_t wire[OB__CARRY_WIRE_MAX];
	uint8_t home[OB__HOME_WIRE_MAX];
	size_t len = 0;
	size_t at = ob__carry_put(wire, "room", "abc", 3);
	at += ob__carry_put(wire + at, "map", "x", 1);
	const uint8_t *found = ob__carry_find(wire, at, "map", &len);
	CU_ASSERT_PTR_NOT_NULL_FATAL(found);
	CU_ASSERT_TRUE(len == 1 && *found == 'x');
	found = ob__carry_find(wire, at, "room", &len);
	CU_ASSERT_PTR_NOT_NULL_FATAL(found);
	CU_ASSERT_TRUE(len == 3 && memcmp(found, "abc", 3) == 0);
	CU_ASSERT_PTR_NULL(ob__carry_find(wire, at, "roo", &len));
	CU_ASSERT_EQUAL(len, 0);
	for (size_t cut = 0; cut < at; cut++) { /* never beyond the end */
		CU_ASSERT_PTR_NULL(ob__carry_find(wire, cut, "map", &len));
	}

	struct ob__home_msg m = {.user = {.epoch = 5, .user = "ada"}, .len = OB__HOMES_MAX};
	struct ob__home_msg back;
	for (uint8_t i = 0; i < OB__HOMES_MAX; i++) {
		m.homes[i] = (struct ob__home){.role = i + 1u, .node = i * 1000u};
	}
	len = ob__home_put(home, &m);
	CU_ASSERT_EQUAL(ob__home_get(&back, home, len), 0);
	CU_ASSERT_EQUAL(back.len, OB__HOMES_MAX);
	CU_ASSERT_STRING_EQUAL(back.user.user, "ada");
	CU_ASSERT_TRUE(back.homes[3].role == 4 && back.homes[3].node == 3000);
	for (size_t cut = 0; cut < len; cut++) {
		bool whole = cut >= 16 && (cut - 16) % 12 == 0;
		CU_ASSERT_EQUAL(ob__home_get(&back, home, cut) == 0, whole);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("userwire", NULL, NULL);
	CU_add_test(s, "user ids and keys", test_words);
	CU_add_test(s, "users", test_user);
	CU_add_test(s, "locks", test_lock);
	CU_add_test(s, "what is sent to a user", test_send);
	CU_add_test(s, "attributes and places", test_attr_and_place);
	CU_add_test(s, "attributes that go along, homes", test_carry_and_home);
	return ob__tap_run();
}
