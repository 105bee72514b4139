/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/resumewire.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#define TEXT  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HERE  "fedcba98765432100123456789abcdef0123456789abcdef0123456789abcdef"
#define STATE "{\"by\":\"game\"}"

static void test_ask(void)
{
	uint8_t out[OB__RESUME_ASK + 1] = {0};
	struct ob__resume_ask ask = {.seen = UINT64_C(0x1122334455667788), .age_us = 0x99};
	struct ob__resume_ask got;

	CU_ASSERT_EQUAL_FATAL(ob__resume_token_get(&ask.token, TEXT, OB__RESUME_TOKEN), 0);
	CU_ASSERT_EQUAL_FATAL(ob__resume_token_get(&ask.here, HERE, OB__RESUME_TOKEN), 0);
	ob__resume_ask_put(out, &ask);
	CU_ASSERT_EQUAL(memcmp(out, TEXT, OB__RESUME_TOKEN), 0);
	CU_ASSERT_EQUAL(out[OB__RESUME_TOKEN], 0x88);
	CU_ASSERT_EQUAL(memcmp(out + OB__RESUME_TOKEN + 8, HERE, OB__RESUME_TOKEN), 0);
	CU_ASSERT_EQUAL_FATAL(ob__resume_ask_get(&got, out, OB__RESUME_ASK), 0);
	CU_ASSERT_EQUAL(got.seen, UINT64_C(0x1122334455667788));
	CU_ASSERT_EQUAL(out[OB__RESUME_ASK - 8], 0x99);
	CU_ASSERT_EQUAL(got.age_us, 0x99);
	CU_ASSERT_EQUAL(got.token.node, UINT64_C(0x0123456789abcdef));
	CU_ASSERT_EQUAL(got.here.node, UINT64_C(0xfedcba9876543210));
	for (size_t len = 0; len <= sizeof(out); len++) {
		int rc = ob__resume_ask_get(&got, out, len);
		CU_ASSERT_EQUAL(rc == 0, len == OB__RESUME_ASK);
	}
	out[OB__RESUME_TOKEN + 8] = 'x';
	CU_ASSERT_NOT_EQUAL(ob__resume_ask_get(&got, out, OB__RESUME_ASK), 0);
	out[OB__RESUME_TOKEN + 8] = HERE[0];
	out[0] = 'x';
	CU_ASSERT_NOT_EQUAL(ob__resume_ask_get(&got, out, OB__RESUME_ASK), 0);
}

/* ---- a GIVE with some of all ---- */

static const struct ob__home home = {.role = 5, .node = UINT64_C(0x0807060504030201)};
static const struct ob__replay_msg messages[] = {
	{.kind = 2,
         .id = 6700,
         .name = "chat.said",
         .name_len = 9,
         .data = (const uint8_t *)"{}",
         .len = 2},
	{.kind = 1, .id = 5, .cookie = UINT64_MAX, .status = -10},
};

static void put_front(struct ob__buf *b, const char *user, const char *state, const char *data)
{
	CU_ASSERT_EQUAL(ob__give_head(b, 9, 4, user), 0);
	CU_ASSERT_EQUAL(ob__give_state(b, state, data, (uint16_t)strlen(data)), 0);
}

static void put_rest(struct ob__buf *b, const char *key, const char *group)
{
	CU_ASSERT_EQUAL(ob__give_attrs(b, 2), 0);
	CU_ASSERT_EQUAL(ob__give_attr(b, key, "7", 1), 0);
	CU_ASSERT_EQUAL(ob__give_attr(b, "x", "\0y", 2), 0);
	CU_ASSERT_EQUAL(ob__give_homes(b, 1), 0);
	CU_ASSERT_EQUAL(ob__give_home(b, &home), 0);
	CU_ASSERT_EQUAL(ob__give_groups(b, 2), 0);
	CU_ASSERT_EQUAL(ob__give_group(b, group), 0);
	CU_ASSERT_EQUAL(ob__give_group(b, "hall"), 0);
	CU_ASSERT_EQUAL(ob__give_messages(b, 2), 0);
	CU_ASSERT_EQUAL(ob__give_message(b, &messages[0]), 0);
	CU_ASSERT_EQUAL(ob__give_message(b, &messages[1]), 0);
}

static struct ob__buf whole(void)
{
	struct ob__buf b = {0};

	put_front(&b, "ann", "game", STATE);
	put_rest(&b, "level", "room 7");
	return b;
}

static void check_parts(struct ob__give *g)
{
	struct ob__give_attr attr;
	struct ob__home at;
	char group[OB__USER_MAX + 1];

	CU_ASSERT_EQUAL_FATAL(g->attrs.count, 2);
	ob__give_next_attr(&g->attrs, &attr);
	CU_ASSERT(strcmp(attr.key, "level") == 0 && attr.len == 1 && attr.value[0] == '7');
	ob__give_next_attr(&g->attrs, &attr);
	CU_ASSERT(strcmp(attr.key, "x") == 0 && attr.len == 2);
	CU_ASSERT_EQUAL(memcmp(attr.value, "\0y", 2), 0);
	CU_ASSERT_EQUAL_FATAL(g->homes.count, 1);
	ob__give_next_home(&g->homes, &at);
	CU_ASSERT(at.role == home.role && at.node == home.node);
	CU_ASSERT_EQUAL_FATAL(g->groups.count, 2);
	ob__give_next_group(&g->groups, group);
	CU_ASSERT_STRING_EQUAL(group, "room 7");
	ob__give_next_group(&g->groups, group);
	CU_ASSERT_STRING_EQUAL(group, "hall");
}

static void check_messages(struct ob__give *g)
{
	struct ob__replay_msg msg;

	CU_ASSERT_EQUAL_FATAL(g->messages.count, 2);
	ob__give_next_message(&g->messages, &msg);
	CU_ASSERT(msg.kind == 2 && msg.id == 6700 && msg.cookie == 0 && msg.status == 0);
	CU_ASSERT(msg.name_len == 9 && memcmp(msg.name, "chat.said", 9) == 0);
	CU_ASSERT(msg.len == 2 && memcmp(msg.data, "{}", 2) == 0);
	ob__give_next_message(&g->messages, &msg);
	CU_ASSERT(msg.kind == 1 && msg.id == 5 && msg.cookie == UINT64_MAX && msg.status == -10);
	CU_ASSERT(msg.name == NULL && msg.name_len == 0 && msg.len == 0);
}

static void test_give(void)
{
	struct ob__buf b = whole();
	struct ob__give g;

	CU_ASSERT_EQUAL_FATAL(ob__give_get(&g, b.data, b.len), 0);
	CU_ASSERT(g.sent == 9 && g.heard == 4);
	CU_ASSERT_STRING_EQUAL(g.user, "ann");
	CU_ASSERT_STRING_EQUAL(g.state, "game");
	CU_ASSERT(g.state_len == strlen(STATE) && memcmp(g.state_data, STATE, g.state_len) == 0);
	check_parts(&g);
	check_messages(&g);
	ob__buf_free(&b);
}

static void test_empty(void)
{
	struct ob__buf b = {0};
	struct ob__give g;

	put_front(&b, "", "", "");
	CU_ASSERT_EQUAL(ob__give_attrs(&b, 0), 0);
	CU_ASSERT_EQUAL(ob__give_homes(&b, 0), 0);
	CU_ASSERT_EQUAL(ob__give_groups(&b, 0), 0);
	CU_ASSERT_EQUAL(ob__give_messages(&b, 0), 0);
	CU_ASSERT_EQUAL_FATAL(ob__give_get(&g, b.data, b.len), 0);
	CU_ASSERT(g.user[0] == '\0' && g.state[0] == '\0' && g.state_len == 0);
	CU_ASSERT_EQUAL(g.attrs.count + g.homes.count + g.groups.count + g.messages.count, 0);
	ob__buf_free(&b);
}

/* Each front of it, in memory of just that size, and one byte more. */
static void test_cut(void)
{
	struct ob__buf b = whole();
	struct ob__give g;

	for (size_t len = 0; len < b.len; len++) {
		uint8_t *front = malloc(len + 1);
		CU_ASSERT_PTR_NOT_NULL_FATAL(front);
		memcpy(front, b.data, len);
		CU_ASSERT_EQUAL(ob__give_get(&g, front, len), -EINVAL);
		free(front);
	}
	CU_ASSERT_EQUAL_FATAL(ob__buf_append(&b, "", 1), 0);
	CU_ASSERT_EQUAL(ob__give_get(&g, b.data, b.len), -EINVAL);
	ob__buf_free(&b);
}

static int got(const char *user, const char *state, const char *data, const char *key,
               const char *group)
{
	struct ob__buf b = {0};
	struct ob__give g;

	put_front(&b, user, state, data);
	put_rest(&b, key, group);
	int rc = ob__give_get(&g, b.data, b.len);
	ob__buf_free(&b);
	return rc;
}

static void test_refused(void)
{
	char long_word[OB__USER_MAX + 2];
	char long_data[OB_STATE_DATA_MAX + 2];

	memset(long_word, 'x', sizeof(long_word));
	long_word[sizeof(long_word) - 1] = '\0';
	memset(long_data, '1', sizeof(long_data));
	long_data[sizeof(long_data) - 1] = '\0';
	CU_ASSERT_EQUAL(got("ann", "game", STATE, "level", "room"), 0);
	CU_ASSERT_EQUAL(got("", "game", "", "level", "room"), 0);
	CU_ASSERT_EQUAL(got(long_word, "game", STATE, "level", "room"), -EINVAL);
	CU_ASSERT_EQUAL(got("a\nn", "game", STATE, "level", "room"), -EINVAL);
	CU_ASSERT_EQUAL(got("ann", long_word, STATE, "level", "room"), -EINVAL);
	CU_ASSERT_EQUAL(got("ann", "", STATE, "level", "room"), -EINVAL);
	CU_ASSERT_EQUAL(got("ann", "game", long_data, "level", "room"), -EINVAL);
	CU_ASSERT_EQUAL(got("ann", "game", long_data + 1, "level", "room"), 0);
	CU_ASSERT_EQUAL(got("ann", "game", STATE, "", "room"), -EINVAL);
	CU_ASSERT_EQUAL(got("ann", "game", STATE, "level", ""), -EINVAL);
	CU_ASSERT_EQUAL(got("ann", "game", STATE, "level", long_word), -EINVAL);
}

/* What is no answer and no push, and more messages than were ever sent. */
static void test_bad_messages(void)
{
	struct ob__buf b = whole();
	struct ob__give g;

	b.data[0] = 1;
	CU_ASSERT_EQUAL(ob__give_get(&g, b.data, b.len), -EINVAL);
	b.data[0] = 2;
	CU_ASSERT_EQUAL(ob__give_get(&g, b.data, b.len), 0);
	for (unsigned kind = 0; kind < 256; kind++) {
		b.data[b.len - 22] = (uint8_t)kind; /* of the last one: 18 and a length of 4 */
		int rc = ob__give_get(&g, b.data, b.len);
		CU_ASSERT_EQUAL(rc == 0, kind == 1 || kind == 2);
	}
	ob__buf_free(&b);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("resumewire", NULL, NULL);
	CU_add_test(s, "what is asked is a token and a number, and nothing else", test_ask);
	CU_add_test(s, "all of a session is read as it was written", test_give);
	CU_add_test(s, "a session that has nothing", test_empty);
	CU_add_test(s, "what is cut off or goes on is refused", test_cut);
	CU_add_test(s, "names and data beyond their bounds are refused", test_refused);
	CU_add_test(s, "messages of another kind, or too many, are refused", test_bad_messages);
	return ob__tap_run();
}
