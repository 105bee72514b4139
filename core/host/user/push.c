/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * One message for many users (host/push/push_many.h).  Users whose place is known go in a list to
 * their proxy, in which each has a tag as if the message were for him alone: so the proxy gives
 * back what it has for one who is not there any more, and it is sent again as any other.  All
 * others are asked for one by one.
 */

#include "host/user/users_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/node.h"
#include "host/push/fanout.h"
#include "host/push/push_many.h"

/* ---- at the sender ---- */

struct message {
	struct ob__send_msg m; /* without its user */
	struct ob__user_digest digest;
};

/* The way of a message for one user alone; 1 if it is on its way. */
static size_t send_one(struct ob__node *node, const char *user, const struct message *of)
{
	struct ob__send_msg m = of->m;

	memcpy(m.user, user, strlen(user) + 1);
	return ob__user_send(node, &m) == 0;
}

/* Where he is said to be; on this node he is there for sure. */
static struct ob__push_member place_of(struct ob__node *node, const char *user)
{
	struct ob__users *us = node->users;
	const struct ob__place *place = ob__user_cached(us, user);

	if (place == NULL) {
		return (struct ob__push_member){.user = user};
	}
	if (place->node == node->self.id && ob__user_session(node, place->seq, user) == NULL) {
		++*us->stale;
		ob__user_forget(us, user, place->seq);
		return (struct ob__push_member){.user = user};
	}
	return (struct ob__push_member){place->node, place->seq, user};
}

static size_t put_users(struct ob__node *node, uint8_t *out, const struct ob__push_member *list,
                        size_t count, const struct message *of)
{
	size_t at = ob__push_head_put(out, (uint32_t)count, of->m.at);

	for (size_t i = 0; i < count; i++) {
		struct ob__who to = {list[i].node, list[i].seq};
		struct ob__send_msg m = of->m;
		struct ob__push_user u = {.seq = list[i].seq};
		size_t size = strlen(list[i].user) + 1;
		memcpy(m.user, list[i].user, size);
		memcpy(u.user, list[i].user, size);
		if (ob__user_tag_digest(node->users, &to, &m, &of->digest) != 0) {
			return 0;
		}
		u.tag = m.tag;
		at += ob__push_user_put(out + at, &u);
	}
	return at;
}

/* To users of one proxy; how many it is on its way to. */
static size_t send_some(struct ob__node *node, const struct ob__push_member *list, size_t count,
                        size_t size, const struct message *of)
{
	uint8_t *payload = malloc(OB__PUSH_LIST_HEAD + size + of->m.len);
	size_t at = payload != NULL ? put_users(node, payload, list, count, of) : 0;
	size_t sent = 0;

	if (at > 0 && of->m.len > 0) {
		memcpy(payload + at, of->m.data, of->m.len);
	}
	if (at > 0 && ob__push_send(node, list->node, OB__PUSH_USERS, of->m.id, payload,
	                            at + of->m.len) == 0) {
		sent = count;
	}
	free(payload);
	for (size_t i = sent; i < count; i++) {
		ob__user_forget(node->users, list[i].user, list[i].seq);
		sent += send_one(node, list[i].user, of);
	}
	return sent;
}

static size_t send_group(struct ob__node *node, const struct ob__push_member *list, size_t count,
                         const struct message *of)
{
	size_t room = ob__push_list_room(node, of->m.len);
	size_t sent = 0;

	for (size_t i = 0, n; i < count; i += n) {
		size_t size = 0;
		for (n = 0; n < OB__PUSH_LIST_MAX && i + n < count; n++) {
			size_t more = ob__push_user_size(list[i + n].user);
			if (n > 0 && size + more > room) {
				break;
			}
			size += more;
		}
		sent += send_some(node, list + i, n, size, of);
	}
	return sent;
}

static size_t give_group(struct ob__node *node, const struct ob__push_member *list, size_t count,
                         const struct message *of)
{
	struct ob__fanout fo;
	size_t given = 0;

	ob__fanout_begin(&fo, node, of->m.id, of->m.data, of->m.len);
	for (size_t i = 0; i < count; i++) {
		const struct ob__session *s = ob__user_session(node, list[i].seq, list[i].user);
		given += ob__fanout_to(&fo, s != NULL ? s->conn : 0) == 0;
	}
	ob__fanout_end(&fo);
	return given;
}

static size_t send_list(struct ob__node *node, const struct ob__push_member *list, size_t len,
                        const struct message *of)
{
	size_t sent = 0;
	size_t own = 0;
	size_t own_len = 0;

	for (size_t i = 0, next; i < len; i = next) {
		next = ob__push_members_group(list, len, i);
		if (list[i].node == node->self.id) {
			own = i;
			own_len = next - i;
			continue;
		}
		if (list[i].node != 0) {
			sent += send_group(node, list + i, next - i, of);
			continue;
		}
		for (size_t at = i; at < next; at++) {
			sent += send_one(node, list[at].user, of);
		}
	}
	return sent + give_group(node, list + own, own_len, of);
}

int ob__users_push_many(struct ob__node *node, const char *const *users, size_t count, uint32_t id,
                        const void *data, size_t len)
{
	struct message of = {
		.m = {.kind = OB__SEND_PUSH, .id = id, .data = data, .len = len},
	};
	int rc = ob__push_many_check(node, users, count, id, len);

	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = ob__user_ok(users[i]) ? 0 : OB_E_INVAL;
	}
	if (rc != 0 || count == 0) {
		return rc;
	}
	struct ob__push_member *list = malloc(count * sizeof(*list));
	if (list == NULL) {
		return OB_E_NOMEM;
	}
	ob__user_digest(&of.digest, data, len);
	of.m.at = (uint32_t)ob__loop_now(node->loop);
	for (size_t i = 0; i < count; i++) {
		list[i] = place_of(node, users[i]);
	}
	size_t sent = send_list(node, list, ob__push_members_sort(list, count), &of);
	free(list);
	return (int)sent;
}

/* ---- at the proxy ---- */

/* As a USER_SEND for him alone would come back. */
static void give_back(struct ob__node *node, const struct ob__frame *f,
                      const struct ob__push_list *l, const struct ob__push_user *u)
{
	struct ob__send_msg m = {.kind = OB__SEND_PUSH, .id = f->id, .at = l->at, .tag = u->tag};
	uint8_t *payload = malloc(OB__SEND_HEAD_MAX + l->len);

	if (payload == NULL) {
		++*node->dispatch.pushes_lost;
		return;
	}
	memcpy(m.user, u->user, sizeof(m.user));
	size_t head = ob__send_put_head(payload, &m);
	if (l->len > 0) {
		memcpy(payload + head, l->data, l->len);
	}
	struct ob__frame back = {
		.id = OB__SYS_USER_STALE,
		.session_node = node->self.id,
		.session_seq = u->seq,
		.payload = payload,
		.payload_len = (uint32_t)(head + l->len),
	};
	(void)ob__users_send(node, f->src, &back);
	free(payload);
}

void ob__users_push_frame(struct ob__node *node, const struct ob__frame *f,
                          const struct ob__push_list *l)
{
	const uint8_t *at = l->members;
	struct ob__push_user u;
	struct ob__fanout fo;

	ob__fanout_begin(&fo, node, f->id, l->data, l->len);
	for (uint32_t i = 0; i < l->count; i++) {
		ob__push_user_next(&u, &at);
		const struct ob__session *s = ob__user_session(node, u.seq, u.user);
		if (s != NULL) {
			(void)ob__fanout_to(&fo, s->conn);
		} else {
			give_back(node, f, l, &u);
		}
	}
	ob__fanout_end(&fo);
}
