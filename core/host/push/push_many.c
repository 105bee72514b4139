/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/push/push_many.h"

#include <stdlib.h>
#include <string.h>

#include "host/message/reply.h"
#include "host/node.h"
#include "host/push/broadcast.h"
#include "host/push/fanout.h"
#include "host/push/groups.h"
#include "host/user/users.h"

/* ---- lists ---- */

static int compare(const void *one, const void *other)
{
	const struct ob__push_member *a = one;
	const struct ob__push_member *b = other;

	if (a->node != b->node) {
		return a->node < b->node ? -1 : 1;
	}
	if (a->seq != b->seq) {
		return a->seq < b->seq ? -1 : 1;
	}
	return a->user != NULL ? strcmp(a->user, b->user) : 0;
}

size_t ob__push_members_sort(struct ob__push_member *list, size_t len)
{
	size_t kept = 0;

	qsort(list, len, sizeof(*list), compare);
	for (size_t i = 0; i < len; i++) {
		if (kept == 0 || compare(&list[kept - 1], &list[i]) != 0) {
			list[kept++] = list[i];
		}
	}
	return kept;
}

size_t ob__push_members_group(const struct ob__push_member *list, size_t len, size_t from)
{
	size_t to = from;

	while (to < len && list[to].node == list[from].node) {
		to++;
	}
	return to;
}

size_t ob__push_list_room(const struct ob__node *node, size_t len)
{
	size_t all = ob__links_max_frame(node->links);
	size_t used = OB__FRAME_HEADER + OB__MSGNAME_EXT_MAX + OB__PUSH_LIST_HEAD + len;

	return used < all ? all - used : 0;
}

int ob__push_many_check(const struct ob__node *node, const void *list, size_t count, uint32_t id,
                        size_t len)
{
	if (id == 0 || id > INT32_MAX || (list == NULL && count > 0)) {
		return OB_E_INVAL;
	}
	if (count > OB_PUSH_MANY_MAX) {
		return OB_E_LIMIT;
	}
	return len > node->conf->limits.message ? OB_E_TOO_BIG : 0;
}

/* ---- at the sender ---- */

int ob__push_send(struct ob__node *node, uint64_t dst, enum ob__push_to to, uint32_t id,
                  const void *payload, size_t len)
{
	uint8_t ext[OB__MSGNAME_EXT_MAX];
	struct ob__frame f = {
		.kind = OB__FRAME_PUSH,
		.ext = ext,
		.ext_len = ob__msgname_ext_put(&node->msgnames, id, ext),
		.flags = OB__FRAME_ONE_WAY,
		.id = id,
		.status = (uint8_t)to,
		.payload = payload,
		.payload_len = (uint32_t)len,
	};

	return ob__send_to_node(node, dst, &f);
}

struct message {
	uint32_t id;
	const void *data;
	size_t len;
};

/* To sessions of one proxy, as many as a frame takes; how many it went to. */
static size_t send_some(struct ob__node *node, const struct ob__push_member *list, size_t count,
                        const struct message *m)
{
	size_t size = OB__PUSH_LIST_HEAD + count * OB__PUSH_SESSION_SIZE;
	uint8_t *payload = malloc(size + m->len);

	if (payload == NULL) {
		return 0;
	}
	size_t at = ob__push_head_put(payload, (uint32_t)count, 0);
	for (size_t i = 0; i < count; i++) {
		at += ob__push_session_put(payload + at, list[i].seq);
	}
	if (m->len > 0) {
		memcpy(payload + at, m->data, m->len);
	}
	int rc = ob__push_send(node, list->node, OB__PUSH_SESSIONS, m->id, payload, at + m->len);
	free(payload);
	return rc == 0 ? count : 0;
}

static size_t send_group(struct ob__node *node, const struct ob__push_member *list, size_t count,
                         const struct message *m)
{
	size_t most = ob__push_list_room(node, m->len) / OB__PUSH_SESSION_SIZE;
	size_t sent = 0;

	most = most < OB__PUSH_LIST_MAX ? most : OB__PUSH_LIST_MAX;
	for (size_t i = 0; most > 0 && i < count; i += most) {
		size_t n = count - i < most ? count - i : most;
		sent += send_some(node, list + i, n, m);
	}
	*node->dispatch.pushes_lost += count - sent;
	return sent;
}

static size_t give_group(struct ob__node *node, const struct ob__push_member *list, size_t count,
                         const struct message *m)
{
	struct ob__fanout fo;
	size_t given = 0;

	ob__fanout_begin(&fo, node, m->id, m->data, m->len);
	for (size_t i = 0; i < count; i++) {
		const struct ob__session *s =
			ob__session_find(&node->sessions, list[i].node, list[i].seq);
		given += ob__fanout_to(&fo, s != NULL ? s->conn : 0) == 0;
	}
	ob__fanout_end(&fo);
	return given;
}

int ob__push_many(struct ob__node *node, const uint64_t *sessions, size_t count, uint32_t id,
                  const void *data, size_t len)
{
	const struct message m = {id, data, len};
	int rc = ob__push_many_check(node, sessions, count, id, len);
	struct ob__push_member *list = rc == 0 && count > 0 ? malloc(count * sizeof(*list)) : NULL;
	size_t known = 0;
	size_t own = 0;
	size_t own_len = 0;
	size_t sent = 0;

	if (list == NULL) {
		return rc != 0 || count == 0 ? rc : OB_E_NOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		const struct ob__session *s = ob__session_get(&node->sessions, sessions[i]);
		if (s != NULL) {
			list[known++] = (struct ob__push_member){.node = s->node, .seq = s->seq};
		}
	}
	*node->dispatch.pushes_lost += count - known;
	known = ob__push_members_sort(list, known);
	for (size_t i = 0, next; i < known; i = next) {
		next = ob__push_members_group(list, known, i);
		if (list[i].node == node->self.id) {
			own = i;
			own_len = next - i;
		} else {
			sent += send_group(node, list + i, next - i, &m);
		}
	}
	sent += give_group(node, list + own, own_len, &m);
	free(list);
	return (int)sent;
}

int ob__push_all(struct ob__node *node, uint32_t role, uint32_t id, const void *data, size_t len)
{
	const struct ob__registry_role *r = ob__registry_role_get(&node->registry, role);
	int rc = ob__push_many_check(node, NULL, 0, id, len);
	int nodes = 0;

	if (rc != 0 || role == 0) {
		return rc != 0 ? rc : OB_E_INVAL;
	}
	if (r != NULL) {
		OB__LIST_EACH (it, &r->peers) {
			const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, role_link);
			if (!ob__peer_is_reachable(&node->registry, p)) {
				continue;
			}
			rc = ob__push_send(node, p->who.id, OB__PUSH_ALL, id, data, len);
			nodes += rc == 0;
			*node->dispatch.pushes_lost += rc != 0;
		}
	}
	if (role == node->self.role_id) {
		nodes += ob__broadcast(node, id, data, len) == 0;
	}
	return nodes;
}

/* ---- at the proxy ---- */

static void give_sessions(struct ob__node *node, uint32_t id, const struct ob__push_list *l)
{
	const uint8_t *at = l->members;
	struct ob__fanout fo;

	ob__fanout_begin(&fo, node, id, l->data, l->len);
	for (uint32_t i = 0; i < l->count; i++) {
		uint64_t seq = ob__push_session_next(&at);
		const struct ob__session *s = ob__session_find(&node->sessions, node->self.id, seq);
		(void)ob__fanout_to(&fo, s != NULL ? s->conn : 0);
	}
	ob__fanout_end(&fo);
}

void ob__push_many_frame(struct ob__node *node, const struct ob__frame *f)
{
	bool has_list = f->status == OB__PUSH_SESSIONS || f->status == OB__PUSH_USERS;
	struct ob__push_list l;

	if (f->id == 0 || f->id > INT32_MAX || f->status > OB__PUSH_GROUP ||
	    (has_list && ob__push_list_get(&l, f->status, f->payload, f->payload_len) != 0)) {
		ob__ignore_frame(node, f, OB__IGNORED_PUSH);
		return;
	}
	*node->dispatch.push_lists += has_list;
	if (f->status == OB__PUSH_SESSIONS) {
		give_sessions(node, f->id, &l);
	} else if (f->status == OB__PUSH_USERS) {
		ob__users_push_frame(node, f, &l);
	} else if (f->status == OB__PUSH_GROUP) {
		ob__groups_push_frame(node, f);
	} else if (ob__broadcast(node, f->id, f->payload, f->payload_len) != 0) {
		++*node->dispatch.pushes_lost;
	}
}
