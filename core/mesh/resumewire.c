/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/resumewire.h"

#include <errno.h>
#include <string.h>

#include "lib/le.h"
#include "mesh/group.h"
#include "mesh/session.h"

#define ASK_SEEN     OB__RESUME_TOKEN
#define ASK_HERE     (ASK_SEEN + 8)
#define ASK_AGE      (ASK_HERE + OB__RESUME_TOKEN)
#define HOME_SIZE    12u
#define MESSAGE_HEAD 18u /* up to the name */

void ob__resume_ask_put(uint8_t out[OB__RESUME_ASK], const struct ob__resume_ask *ask)
{
	ob__resume_token_put(&ask->token, (char *)out);
	ob__put64(out + ASK_SEEN, ask->seen);
	ob__resume_token_put(&ask->here, (char *)out + ASK_HERE);
	ob__put64(out + ASK_AGE, ask->age_us);
}

int ob__resume_ask_get(struct ob__resume_ask *ask, const uint8_t *data, size_t len)
{
	if (len != OB__RESUME_ASK) {
		return -EINVAL;
	}
	ask->seen = ob__get64(data + ASK_SEEN);
	ask->age_us = ob__get64(data + ASK_AGE);
	int rc = ob__resume_token_get(&ask->token, (const char *)data, OB__RESUME_TOKEN);
	return rc == 0 ? ob__resume_token_get(&ask->here, (const char *)data + ASK_HERE,
	                                      OB__RESUME_TOKEN)
	               : rc;
}

/* ---- writing ---- */

static int put(struct ob__buf *b, const void *data, size_t len)
{
	return len == 0 || ob__buf_append(b, data, len) == 0 ? 0 : -ENOMEM;
}

static int put_word(struct ob__buf *b, const char *text, size_t len)
{
	uint8_t n = (uint8_t)len;
	int rc = put(b, &n, 1);

	return rc == 0 ? put(b, text, len) : rc;
}

int ob__give_head(struct ob__buf *b, uint64_t sent, uint64_t heard, const char *user)
{
	uint8_t head[16];

	ob__put64(head, sent);
	ob__put64(head + 8, heard);
	int rc = put(b, head, sizeof(head));
	return rc == 0 ? put_word(b, user, strlen(user)) : rc;
}

int ob__give_state(struct ob__buf *b, const char *state, const void *data, uint16_t len)
{
	uint8_t size[2];
	int rc = put_word(b, state, strlen(state));

	ob__put16(size, len);
	rc = rc == 0 ? put(b, size, sizeof(size)) : rc;
	return rc == 0 ? put(b, data, len) : rc;
}

int ob__give_attrs(struct ob__buf *b, uint8_t count)
{
	return put(b, &count, 1);
}

int ob__give_attr(struct ob__buf *b, const char *key, const void *value, uint16_t len)
{
	uint8_t size[2];
	int rc = put_word(b, key, strlen(key));

	ob__put16(size, len);
	rc = rc == 0 ? put(b, size, sizeof(size)) : rc;
	return rc == 0 ? put(b, value, len) : rc;
}

int ob__give_homes(struct ob__buf *b, uint16_t count)
{
	uint8_t n[2];

	ob__put16(n, count);
	return put(b, n, sizeof(n));
}

int ob__give_home(struct ob__buf *b, const struct ob__home *home)
{
	uint8_t bytes[HOME_SIZE];

	ob__put32(bytes, home->role);
	ob__put64(bytes + 4, home->node);
	return put(b, bytes, sizeof(bytes));
}

static int put_count(struct ob__buf *b, uint32_t count)
{
	uint8_t n[4];

	ob__put32(n, count);
	return put(b, n, sizeof(n));
}

int ob__give_groups(struct ob__buf *b, uint32_t count)
{
	return put_count(b, count);
}

int ob__give_group(struct ob__buf *b, const char *group)
{
	return put_word(b, group, strlen(group));
}

int ob__give_messages(struct ob__buf *b, uint32_t count)
{
	return put_count(b, count);
}

int ob__give_message(struct ob__buf *b, const struct ob__replay_msg *msg)
{
	uint8_t head[MESSAGE_HEAD];

	head[0] = (uint8_t)msg->kind;
	ob__put32(head + 1, msg->id);
	ob__put64(head + 5, msg->cookie);
	ob__put32(head + 13, (uint32_t)msg->status);
	head[17] = (uint8_t)msg->name_len;
	int rc = put(b, head, sizeof(head));
	rc = rc == 0 ? put(b, msg->name, msg->name_len) : rc;
	rc = rc == 0 ? put_count(b, (uint32_t)msg->len) : rc;
	return rc == 0 ? put(b, msg->data, msg->len) : rc;
}

/* ---- reading ---- */

struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

/* The next `len` bytes; NULL and bad when there are not so many. */
static const uint8_t *take(struct reader *r, size_t len)
{
	if (r->bad || len > r->left) {
		r->bad = true;
		return NULL;
	}
	const uint8_t *at = r->at;
	r->at += len;
	r->left -= len;
	return at;
}

static uint32_t take_number(struct reader *r, size_t size)
{
	const uint8_t *at = take(r, size);

	if (at == NULL) {
		return 0;
	}
	return size == 1 ? at[0] : size == 2 ? ob__get16(at) : ob__get32(at);
}

static void take_word(struct reader *r, char *out, size_t max)
{
	size_t len = take_number(r, 1);
	const uint8_t *at = len <= max ? take(r, len) : NULL;

	r->bad = r->bad || at == NULL;
	if (at != NULL) {
		memcpy(out, at, len);
		out[len] = '\0';
		r->bad = r->bad || strlen(out) != len;
	}
}

static void take_state(struct reader *r, struct ob__give *g)
{
	take_word(r, g->state, OB_STATE_MAX);
	g->state_len = (uint16_t)take_number(r, 2);
	g->state_data = take(r, g->state_len);
	r->bad = r->bad || g->state_len > OB_STATE_DATA_MAX ||
	         (g->state[0] == '\0' && g->state_len > 0);
}

static void take_attr(struct reader *r, struct ob__give_attr *attr)
{
	take_word(r, attr->key, OB__KEY_MAX);
	attr->len = (uint16_t)take_number(r, 2);
	attr->value = take(r, attr->len);
	r->bad = r->bad || attr->len == 0 || attr->len > OB__VALUE_MAX || !ob__key_ok(attr->key);
}

static void take_home(struct reader *r, struct ob__home *home)
{
	const uint8_t *at = take(r, HOME_SIZE);

	if (at != NULL) {
		home->role = ob__get32(at);
		home->node = ob__get64(at + 4);
	}
}

static void take_group(struct reader *r, char *group)
{
	take_word(r, group, OB__USER_MAX);
	r->bad = r->bad || !ob__group_ok(group);
}

static void take_message(struct reader *r, struct ob__replay_msg *msg)
{
	const uint8_t *head = take(r, MESSAGE_HEAD);

	if (head == NULL) {
		return;
	}
	*msg = (struct ob__replay_msg){
		.kind = head[0],
		.id = ob__get32(head + 1),
		.cookie = ob__get64(head + 5),
		.status = (int32_t)ob__get32(head + 13),
		.name_len = head[17],
	};
	const uint8_t *name = take(r, msg->name_len);
	msg->name = msg->name_len > 0 ? (const char *)name : NULL;
	msg->len = take_number(r, 4);
	msg->data = take(r, msg->len);
	r->bad = r->bad || (msg->kind != 1 && msg->kind != 2);
}

int ob__give_get(struct ob__give *g, const uint8_t *data, size_t len)
{
	struct reader r = {data, len, false};
	const uint8_t *head = take(&r, 16);
	struct ob__give_attr attr;
	struct ob__home home;
	char group[OB__USER_MAX + 1];
	struct ob__replay_msg msg;

	if (head == NULL) {
		return -EINVAL;
	}
	*g = (struct ob__give){.sent = ob__get64(head), .heard = ob__get64(head + 8)};
	take_word(&r, g->user, OB__USER_MAX);
	r.bad = r.bad || (g->user[0] != '\0' && !ob__user_ok(g->user));
	take_state(&r, g);
	uint32_t count = take_number(&r, 1);
	g->attrs = (struct ob__give_part){r.at, count};
	for (uint32_t i = 0; i < count && !r.bad; i++) {
		take_attr(&r, &attr);
	}
	count = take_number(&r, 2);
	g->homes = (struct ob__give_part){r.at, count};
	for (uint32_t i = 0; i < count && !r.bad; i++) {
		take_home(&r, &home);
	}
	count = take_number(&r, 4);
	g->groups = (struct ob__give_part){r.at, count};
	for (uint32_t i = 0; i < count && !r.bad; i++) {
		take_group(&r, group);
	}
	count = take_number(&r, 4);
	g->messages = (struct ob__give_part){r.at, count};
	for (uint32_t i = 0; i < count && !r.bad; i++) {
		take_message(&r, &msg);
	}
	return r.bad || r.left != 0 || count > g->sent ? -EINVAL : 0;
}

/* Of what was checked, so there is no end to look for. */
static struct reader again(const struct ob__give_part *p)
{
	return (struct reader){p->at, SIZE_MAX, false};
}

void ob__give_next_attr(struct ob__give_part *p, struct ob__give_attr *attr)
{
	struct reader r = again(p);

	take_attr(&r, attr);
	p->at = r.at;
}

void ob__give_next_home(struct ob__give_part *p, struct ob__home *home)
{
	struct reader r = again(p);

	take_home(&r, home);
	p->at = r.at;
}

void ob__give_next_group(struct ob__give_part *p, char group[OB__USER_MAX + 1])
{
	struct reader r = again(p);

	take_group(&r, group);
	p->at = r.at;
}

void ob__give_next_message(struct ob__give_part *p, struct ob__replay_msg *msg)
{
	struct reader r = again(p);

	take_message(&r, msg);
	p->at = r.at;
}
