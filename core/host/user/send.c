/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/user/users_priv.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "host/client/conn.h"
#include "host/node.h"

#define CACHE_MAX 10000u
#define ASKS_MAX  10000u
#define TRIES_MAX 2u /* a place may be out of date once */

/* Where a user was. */
struct cached {
	struct ob__list link; /* the one used longest ago first */
	struct ob__place place;
	char user[OB__USER_MAX + 1];
};

/* Something for a user whose place the keeper is being asked for. */
struct item {
	struct ob__list link;
	struct ob__send_msg msg;
	uint8_t data[];
};

struct ask {
	struct ob__list items; /* in their order */
	bool again;            /* the keeper went while it was being asked: another one is */
	char user[OB__USER_MAX + 1];
};

void ob__user_sends_init(struct ob__users *us)
{
	struct ob__stats *s = us->node->stats;
	uint64_t seed = us->table.seed;

	ob__strmap_init(&us->cache, seed);
	ob__strmap_init(&us->asks, ~seed);
	ob__list_init(&us->cache_list);
	us->sends_lost = ob__stat_counter(s, "obhost_user_sends_lost_total", NULL,
	                                  "Pushes and kicks by user that reached nobody.");
	us->stale = ob__stat_counter(s, "obhost_user_sends_stale_total", NULL,
	                             "Pushes and kicks by user that went to a former session.");
}

static void cache_del(struct ob__users *us, struct cached *c)
{
	(void)ob__strmap_del(&us->cache, c->user);
	ob__list_del(&c->link);
	free(c);
}

static void items_free(struct ob__users *us, struct ask *a)
{
	while (!ob__list_empty(&a->items)) {
		struct item *it = OB__CONTAINER(a->items.next, struct item, link);
		us->asks_bytes -= sizeof(*it) + it->msg.len;
		ob__list_del(&it->link);
		free(it);
	}
}

void ob__user_sends_free(struct ob__users *us)
{
	struct ob__strmap_entry *e;

	while (!ob__list_empty(&us->cache_list)) {
		cache_del(us, OB__CONTAINER(us->cache_list.next, struct cached, link));
	}
	for (size_t i = 0; (e = ob__strmap_next(&us->asks, &i)) != NULL;) {
		items_free(us, e->value);
		free(e->value);
	}
	ob__strmap_free(&us->asks);
	ob__strmap_free(&us->cache);
}

/* ---- the cache ---- */

void ob__user_forget(struct ob__users *us, const char *user, uint64_t seq)
{
	struct cached *c = ob__strmap_get(&us->cache, user);

	if (c != NULL && (seq == 0 || c->place.seq == seq)) {
		cache_del(us, c);
	}
}

static void remember(struct ob__users *us, const char *user, const struct ob__place *place)
{
	struct cached *c = ob__strmap_get(&us->cache, user);

	if (c == NULL) {
		if (us->cache.count >= CACHE_MAX) {
			cache_del(us, OB__CONTAINER(us->cache_list.next, struct cached, link));
		}
		c = calloc(1, sizeof(*c));
		if (c == NULL || ob__strmap_put(&us->cache, user, c) != 0) {
			free(c);
			return;
		}
		memcpy(c->user, user, strlen(user) + 1);
		ob__list_init(&c->link);
	}
	c->place = *place;
	ob__list_del(&c->link);
	ob__list_append(&us->cache_list, &c->link);
}

const struct ob__place *ob__user_cached(struct ob__users *us, const char *user)
{
	struct cached *c = ob__strmap_get(&us->cache, user);

	if (c == NULL) {
		return NULL;
	}
	ob__list_del(&c->link);
	ob__list_append(&us->cache_list, &c->link);
	return &c->place;
}

/* ---- at the session's proxy ---- */

void ob__user_close(struct ob__node *node, uint64_t conn, uint16_t code, const char *reason,
                    const char *counted)
{
	uint32_t id = node->conf->kick_id;
	struct ob__conn *c = ob__conn_get(node, conn);

	if (id != 0 && c != NULL) {
		ob__resume_never(c); /* the push may be too much for it */
		json_t *body = json_pack("{s:s}", "reason", reason);
		char *dump = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
		if (dump != NULL) {
			(void)ob__conn_push(node, conn, id, dump, strlen(dump));
		}
		json_decref(body);
		free(dump);
	}
	c = ob__conn_get(node, conn);
	if (c != NULL) {
		ob__conn_dismiss(c, code, reason, counted);
	} else {
		ob__resume_end(node, conn);
	}
}

const struct ob__session *ob__user_session(const struct ob__node *node, uint64_t seq,
                                           const char *user)
{
	const struct ob__session *s = ob__session_find(&node->sessions, node->self.id, seq);
	bool has =
		s != NULL && s->more != NULL && s->more->bound && strcmp(s->more->user, user) == 0;

	return has ? s : NULL;
}

/* True if the session has that user. */
static bool deliver(struct ob__node *node, uint64_t seq, const struct ob__send_msg *m)
{
	const struct ob__session *s = ob__user_session(node, seq, m->user);

	if (s == NULL) {
		return false;
	}
	if (m->kind == OB__SEND_PUSH) {
		int rc = ob__conn_push(node, s->conn, m->id, m->data, m->len);
		++*(rc == 0 ? node->dispatch.pushes : node->dispatch.pushes_lost);
		return true;
	}
	char reason[124];
	size_t len = m->len < sizeof(reason) ? m->len : sizeof(reason) - 1;
	memcpy(reason, m->data, len);
	reason[len] = '\0';
	ob__user_close(node, s->conn, OB__CLOSE_KICKED, reason, "kicked");
	return true;
}

void ob__user_send_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__send_msg m;

	if (ob__send_get(&m, f->payload, f->payload_len) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_SEND);
		return;
	}
	ob__msgname_heard(&node->msgnames, f, m.id);
	if (deliver(node, f->session_seq, &m)) {
		return;
	}
	struct ob__frame back = {
		.id = OB__SYS_USER_STALE,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
		.payload = f->payload,
		.payload_len = f->payload_len,
	};
	(void)ob__users_send(node, f->src, &back);
}

/* ---- at the sender ---- */

/* 0, or OB_E_* when it can't go. */
static int send_to(struct ob__node *node, const struct ob__place *place,
                   const struct ob__send_msg *m)
{
	struct ob__who to = {place->node, place->seq};
	struct ob__send_msg tagged = *m;

	if (place->node == node->self.id) {
		return deliver(node, place->seq, m) ? 0 : OB_E_STALE;
	}
	uint8_t *payload = malloc(OB__SEND_HEAD_MAX + m->len);
	if (payload == NULL || ob__user_tag(node->users, &to, &tagged) != 0) {
		free(payload);
		return OB_E_NOMEM;
	}
	size_t head = ob__send_put_head(payload, &tagged);
	if (m->len > 0) {
		memcpy(payload + head, m->data, m->len);
	}
	uint8_t ext[OB__MSGNAME_EXT_MAX];
	struct ob__frame f = {
		.id = OB__SYS_USER_SEND,
		.ext = ext,
		.ext_len = m->kind == OB__SEND_PUSH
	                           ? ob__msgname_ext_put(&node->msgnames, m->id, ext)
	                           : 0,
		.budget = (uint32_t)node->conf->call_timeout_ms,
		.session_node = place->node,
		.session_seq = place->seq,
		.payload = payload,
		.payload_len = (uint32_t)(head + m->len),
	};
	int rc = ob__users_send(node, place->node, &f);
	free(payload);
	return rc;
}

/* 0, or OB_E_*. */
static int ask_keeper(struct ob__node *node, struct ask *a)
{
	struct ob__pending *p =
		ob__pending_new(&node->pendings, OB__PENDING_ASK, node->conf->call_timeout_ms);

	if (p == NULL) {
		return OB_E_BUSY;
	}
	p->u.call.arg = a;
	int rc = ob__users_ask(node, p, a->user);
	if (rc != 0) {
		ob__pending_drop(p);
	}
	return rc;
}

static struct ask *ask_begin(struct ob__node *node, const char *user)
{
	struct ob__users *us = node->users;
	struct ask *a = us->asks.count < ASKS_MAX ? calloc(1, sizeof(*a)) : NULL;

	if (a == NULL || ob__strmap_put(&us->asks, user, a) != 0) {
		free(a);
		return NULL;
	}
	memcpy(a->user, user, strlen(user) + 1);
	ob__list_init(&a->items);
	if (ask_keeper(node, a) != 0) {
		(void)ob__strmap_del(&us->asks, user);
		free(a);
		return NULL;
	}
	return a;
}

/* Keeps it until the keeper has said where the user is. */
static int ask_for(struct ob__node *node, const struct ob__send_msg *m)
{
	struct ob__users *us = node->users;
	size_t size = sizeof(struct item) + m->len;
	struct item *it = us->asks_bytes + size <= node->conf->limits.held ? malloc(size) : NULL;
	struct ask *a = ob__strmap_get(&us->asks, m->user);

	if (it != NULL && a == NULL) {
		a = ask_begin(node, m->user);
	}
	if (it == NULL || a == NULL) {
		free(it);
		return OB_E_BUSY;
	}
	it->msg = *m;
	it->msg.data = it->data;
	if (m->len > 0) {
		memcpy(it->data, m->data, m->len);
	}
	us->asks_bytes += size;
	ob__list_init(&it->link);
	ob__list_append(&a->items, &it->link);
	return 0;
}

int ob__user_send(struct ob__node *node, const struct ob__send_msg *m)
{
	struct ob__users *us = node->users;
	const struct ob__place *cached = ob__user_cached(us, m->user);
	int rc = OB_E_STALE;

	if (cached != NULL) {
		struct ob__place place = *cached;
		rc = send_to(node, &place, m);
		if (rc == 0) {
			return 0;
		}
		ob__user_forget(us, m->user, place.seq);
		*us->stale += rc == OB_E_STALE;
	}
	rc = ask_for(node, m);
	*us->sends_lost += rc != 0;
	return rc;
}

/* The keeper has answered, or has not. */
void ob__user_asked(struct ob__node *node, struct ob__pending *p, const struct ob__end *end)
{
	struct ob__users *us = node->users;
	struct ask *a = p->u.call.arg;
	struct ob__place place;
	bool found = end->code == OB_OK && ob__place_get(&place, end->data, end->len) == 0;
	bool lost = end->code == OB_E_MAYBE_SENT || end->code == OB_E_NOT_SENT;

	if (lost && !a->again) {
		a->again = true;
		ob__users_peers_changed(node); /* the node hears of it next */
		if (ask_keeper(node, a) == 0) {
			return;
		}
	}
	(void)ob__strmap_del(&us->asks, a->user);
	if (found) {
		remember(us, a->user, &place);
	}
	OB__LIST_EACH (l, &a->items) {
		const struct item *it = OB__CONTAINER(l, struct item, link);
		if (!found || send_to(node, &place, &it->msg) != 0) {
			++*us->sends_lost;
		}
	}
	items_free(us, a);
	free(a);
}

void ob__user_stale_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__users *us = node->users;
	struct ob__who to = {f->session_node, f->session_seq};
	struct ob__send_msg m;

	if (ob__send_get(&m, f->payload, f->payload_len) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_SEND);
		return;
	}
	if (f->src != f->session_node || !ob__user_tag_ok(us, &to, &m)) {
		ob__ignore_frame(node, f, OB__IGNORED_NOT_SENT);
		return;
	}
	++*us->stale;
	ob__user_forget(us, m.user, f->session_seq);
	if (m.tries + 1u >= TRIES_MAX) {
		++*us->sends_lost;
		return;
	}
	m.tries++;
	(void)ob__user_send(node, &m);
}

int ob__users_push(struct ob__node *node, const char *user, uint32_t id, const void *data,
                   size_t len)
{
	struct ob__send_msg m = {.kind = OB__SEND_PUSH, .id = id, .data = data, .len = len};

	if (!ob__user_ok(user) || id == 0 || id > INT32_MAX) {
		return OB_E_INVAL;
	}
	if (len > node->conf->limits.message) {
		return OB_E_TOO_BIG;
	}
	memcpy(m.user, user, strlen(user) + 1);
	return ob__user_send(node, &m);
}

int ob__users_kick(struct ob__node *node, const char *user, const char *reason)
{
	struct ob__send_msg m = {.kind = OB__SEND_KICK};

	if (!ob__user_ok(user)) {
		return OB_E_INVAL;
	}
	reason = reason != NULL ? reason : "";
	memcpy(m.user, user, strlen(user) + 1);
	m.data = (const uint8_t *)reason;
	m.len = strnlen(reason, 123);
	return ob__user_send(node, &m);
}
