/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

#include "mesh/handles.h"

void ob__sessions_init(struct ob__sessions *ss, uint64_t self, uint64_t incarnation, uint32_t limit)
{
	uint64_t seed = 0;
	RAND_bytes((unsigned char *)&seed, sizeof(seed));
	*ss = (struct ob__sessions){.self = self, .next_seq = incarnation / 1000 << 32};
	ob__slab_init(&ss->slab, sizeof(struct ob__session), OB__KIND_SESSION, limit);
	ob__slab_init(&ss->notices, sizeof(struct ob__notice), OB__KIND_NOTICE, limit);
	ob__slab_begin(&ss->notices, ~seed); /* an ACK may be for a former process's */
	ob__map_init(&ss->by_name, seed);
	ob__list_init(&ss->notice_list);
}

static void more_free(struct ob__session *s)
{
	struct ob__session_more *m = s->more;
	if (m == NULL) {
		return;
	}
	ob__list_del(&m->link);
	for (size_t i = 0; i < m->attrs_len; i++) {
		free(m->attrs[i]);
	}
	free(m->attrs);
	free(m->carried);
	json_decref(m->state_data);
	free(m);
	s->more = NULL;
}

void ob__sessions_free(struct ob__sessions *ss)
{
	if (ss == NULL) {
		return;
	}
	struct ob__session *s;
	for (uint32_t i = 0; (s = ob__slab_next(&ss->slab, &i)) != NULL;) {
		free(s->served);
		free(s->sticky);
		free(s->pushers);
		more_free(s);
	}
	ob__slab_destroy(&ss->slab);
	ob__slab_destroy(&ss->notices);
	ob__map_free(&ss->by_name);
	ob__list_init(&ss->notice_list);
	ss->local = 0;
}

static struct ob__session *add(struct ob__sessions *ss, uint64_t node, uint64_t seq)
{
	uint64_t handle;
	struct ob__session *s = ob__slab_alloc(&ss->slab, &handle);
	if (s == NULL) {
		return NULL;
	}
	if (ob__map_put(&ss->by_name, node, seq, s) < 0) {
		ob__slab_free(&ss->slab, s);
		return NULL;
	}
	s->handle = handle;
	s->node = node;
	s->seq = seq;
	return s;
}

struct ob__session *ob__session_open(struct ob__sessions *ss, uint64_t conn, uint64_t now_ms)
{
	struct ob__session *s = add(ss, ss->self, ss->next_seq);
	if (s == NULL) {
		return NULL;
	}
	ss->next_seq++;
	ss->local++;
	s->conn = conn;
	s->opened_ms = now_ms;
	return s;
}

struct ob__session *ob__session_meet(struct ob__sessions *ss, uint64_t node, uint64_t seq,
                                     bool *fresh)
{
	struct ob__session *s = ob__session_find(ss, node, seq);
	*fresh = s == NULL && node != ss->self;
	return *fresh ? add(ss, node, seq) : s;
}

struct ob__session *ob__session_get(const struct ob__sessions *ss, uint64_t handle)
{
	return ob__slab_get(&ss->slab, handle);
}

struct ob__session *ob__session_find(const struct ob__sessions *ss, uint64_t node, uint64_t seq)
{
	return ob__map_get(&ss->by_name, node, seq);
}

void ob__session_end(struct ob__sessions *ss, struct ob__session *s)
{
	if (s->node == ss->self) {
		ss->local--;
	}
	ob__map_del(&ss->by_name, s->node, s->seq);
	free(s->served);
	free(s->sticky);
	free(s->pushers);
	more_free(s);
	ob__slab_free(&ss->slab, s);
}

/* Room for one more in an array that grows by doubling: at 1, 2, 4 ... its capacity is its length.
 */
static int grow(void **array, size_t len, size_t size)
{
	if ((len & (len - 1)) != 0) {
		return 0;
	}
	void *more = realloc(*array, (len == 0 ? 1 : len * 2) * size);
	if (more == NULL) {
		return -ENOMEM;
	}
	*array = more;
	return 0;
}

int ob__session_served(struct ob__session *s, uint64_t node)
{
	for (size_t i = 0; i < s->served_len; i++) {
		if (s->served[i] == node) {
			return -EEXIST;
		}
	}
	if (s->served_len == OB__SESSION_NODES_MAX) {
		return -ENOSPC;
	}
	void *served = s->served;
	if (grow(&served, s->served_len, sizeof(*s->served)) < 0) {
		return -ENOMEM;
	}
	s->served = served;
	s->served[s->served_len++] = node;
	s->version++;
	return 0;
}

void ob__session_unserved(struct ob__session *s, uint64_t node)
{
	uint8_t kept = 0;
	for (uint8_t i = 0; i < s->served_len; i++) {
		if (s->served[i] != node) {
			s->served[kept++] = s->served[i];
		}
	}
	s->served_len = kept;
	s->version++;
}

void ob__session_pusher(struct ob__session *s, uint64_t node, uint64_t number)
{
	void *pushers = s->pushers;
	if (s->pushers_len == OB__SESSION_NODES_MAX ||
	    grow(&pushers, s->pushers_len, sizeof(*s->pushers)) < 0) {
		return;
	}
	s->pushers = pushers;
	s->pushers[s->pushers_len++] = (struct ob__push_row){node, number};
}

struct ob__session_choice *ob__session_choose(struct ob__session *s, uint32_t role)
{
	struct ob__session_choice *c;
	void *sticky = s->sticky;
	if (s->sticky_len == OB__SESSION_NODES_MAX) {
		return NULL;
	}
	if (grow(&sticky, s->sticky_len, sizeof(*s->sticky)) < 0) {
		return NULL;
	}
	s->sticky = sticky;
	c = &s->sticky[s->sticky_len++];
	*c = (struct ob__session_choice){.role = role};
	return c;
}

static inline struct ob__session_choice *choice_put(struct ob__session *s, uint32_t role)
{
	struct ob__session_choice *c = ob__session_choice(s, role);
	return c != NULL ? c : ob__session_choose(s, role);
}

/* Keeps a choice only as long as it says something, but for that which most messages count in. */
static void choice_tidy(struct ob__session *s, struct ob__session_choice *c)
{
	if (c->role != 0 && c->node == 0 && c->from == 0 && c->busy == 0 && c->stays == 0 &&
	    c->open == 0) {
		*c = s->sticky[--s->sticky_len];
	}
}

uint64_t ob__session_sticky(const struct ob__session *s, uint32_t role)
{
	const struct ob__session_choice *c = ob__session_choice(s, role);
	return c != NULL ? c->node : 0;
}

int ob__session_stick(struct ob__session *s, uint32_t role, uint64_t node)
{
	struct ob__session_choice *c = ob__session_choice(s, role);
	if (c == NULL && node == 0) {
		return 0;
	}
	c = c != NULL ? c : choice_put(s, role);
	if (c == NULL) {
		return s->sticky_len == OB__SESSION_NODES_MAX ? -ENOSPC : -ENOMEM;
	}
	if (c->node != node || c->from != 0) {
		s->version++;
		c->moving = c->node == node ? c->moving : 0;
	}
	c->node = node;
	c->from = 0;
	c->open = node != 0 ? 0 : c->open;
	choice_tidy(s, c);
	return 0;
}

void ob__session_unstick(struct ob__session *s, uint64_t node)
{
	for (size_t i = s->sticky_len; i-- > 0;) {
		if (s->sticky[i].node == node) {
			ob__session_stick(s, s->sticky[i].role, 0);
		}
	}
}

struct ob__session_more *ob__session_more(struct ob__session *s)
{
	if (s->more == NULL && (s->more = calloc(1, sizeof(*s->more))) != NULL) {
		s->more->of = s;
		ob__list_init(&s->more->link);
	}
	return s->more;
}

const char *ob__session_user(const struct ob__session *s)
{
	return s->more != NULL ? s->more->user : "";
}

static size_t attr_index(const struct ob__session_more *m, const char *key)
{
	size_t i = 0;
	while (i < m->attrs_len && strcmp(m->attrs[i]->key, key) != 0) {
		i++;
	}
	return i;
}

const struct ob__session_attr *ob__session_attr(const struct ob__session *s, const char *key)
{
	size_t i = s->more != NULL ? attr_index(s->more, key) : 0;
	return s->more != NULL && i < s->more->attrs_len ? s->more->attrs[i] : NULL;
}

int ob__session_set(struct ob__session *s, const char *key, const void *value, size_t len)
{
	if (len > OB__VALUE_MAX) {
		return -E2BIG;
	}
	struct ob__session_more *m = len > 0 ? ob__session_more(s) : s->more;
	if (m == NULL) {
		return len > 0 ? -ENOMEM : 0;
	}
	size_t i = attr_index(m, key);
	if (len == 0) {
		if (i < m->attrs_len) {
			free(m->attrs[i]);
			m->attrs[i] = m->attrs[--m->attrs_len];
		}
		return 0;
	}
	if (i == OB__SESSION_ATTRS_MAX) {
		return -ENOSPC;
	}
	struct ob__session_attr *a = calloc(1, sizeof(*a) + len);
	void *attrs = m->attrs;
	if (a == NULL || (i == m->attrs_len && grow(&attrs, i, sizeof(*m->attrs)) < 0)) {
		free(a);
		return -ENOMEM;
	}
	m->attrs = attrs;
	memcpy(a->key, key, strlen(key));
	memcpy(a->value, value, len);
	a->len = (uint16_t)len;
	if (i < m->attrs_len) {
		free(m->attrs[i]);
	} else {
		m->attrs_len++;
	}
	m->attrs[i] = a;
	return 0;
}

int ob__session_carry(struct ob__session *s, const char *const *keys, size_t len)
{
	uint8_t wire[OB__CARRY_WIRE_MAX];
	size_t at = 0;
	if (s->more == NULL) {
		return 0;
	}
	for (size_t i = 0; i < len && i < OB__CARRY_MAX; i++) {
		const struct ob__session_attr *a = ob__session_attr(s, keys[i]);
		at += a != NULL ? ob__carry_put(wire + at, keys[i], a->value, a->len) : 0;
	}
	uint8_t *carried = at > 0 ? malloc(at) : NULL;
	if (at > 0 && carried == NULL) {
		return -ENOMEM;
	}
	if (at > 0) {
		memcpy(carried, wire, at);
	}
	free(s->more->carried);
	s->more->carried = carried;
	s->more->carried_len = (uint16_t)at;
	s->version++;
	return 0;
}

void ob__session_stays(struct ob__session *s, uint32_t role)
{
	struct ob__session_choice *c = choice_put(s, role);
	if (c != NULL && c->stays == 0) {
		c->stays = 1;
		s->version++;
	}
}

bool ob__session_may_move(const struct ob__session *s, uint32_t role)
{
	const struct ob__session_choice *known = ob__session_choice(s, role);
	const struct ob__session_choice *any = ob__session_choice(s, 0);
	return (known == NULL || known->stays == 0) && (any == NULL || any->stays == 0);
}

static void go_next(struct ob__session *s, struct ob__session_choice *c)
{
	uint64_t before = c->node != 0 ? c->node : c->from;
	c->node = c->next;
	c->from = before != c->next ? before : 0;
	c->next = 0;
	c->moving = 0;
	c->open = 0;
	s->version++;
}

void ob__session_settle(struct ob__session *s, uint32_t role, uint64_t node)
{
	struct ob__session_choice *c = choice_put(s, role);
	if (c == NULL || c->node == node) {
		return;
	}
	c->next = node;
	if (c->busy == 0) {
		go_next(s, c);
	}
}

void ob__session_by_user(struct ob__session *s, uint32_t role)
{
	struct ob__session_choice *c = choice_put(s, role);
	if (c != NULL) {
		c->user = 1;
	}
}

uint8_t ob__session_homes(const struct ob__session *s, uint32_t except,
                          struct ob__home homes[OB__HOMES_MAX])
{
	const struct ob__session_choice *any = ob__session_choice(s, 0);
	bool all = any != NULL && any->user != 0;
	uint8_t len = 0;
	for (uint8_t i = 0; i < s->sticky_len && len < OB__HOMES_MAX; i++) {
		const struct ob__session_choice *c = &s->sticky[i];
		uint64_t node = c->next != 0 ? c->next : c->node;
		if (c->role != 0 && c->role != except && node != 0 && (all || c->user != 0)) {
			homes[len++] = (struct ob__home){.role = c->role, .node = node};
		}
	}
	return len;
}

void ob__session_quiet(struct ob__session *s, struct ob__session_choice *c)
{
	if (c->next != 0) {
		go_next(s, c);
	}
	choice_tidy(s, c);
}

bool ob__session_first(struct ob__session *s, uint32_t role)
{
	for (uint8_t i = 0; i < s->sticky_len; i++) {
		const struct ob__session_choice *c = &s->sticky[i];
		bool same = role == 0 || c->role == 0 || c->role == role;
		if (same && c->node == 0 && (c->busy > 0 || c->open != 0)) {
			return false;
		}
	}
	return choice_put(s, role) != NULL;
}

void ob__session_leave(struct ob__session *s, uint32_t role)
{
	struct ob__session_choice *c = choice_put(s, role);
	if (c != NULL && c->node == 0) {
		c->open = 1;
	}
}

uint32_t ob__session_busy(const struct ob__session *s, uint32_t role)
{
	const struct ob__session_choice *known = ob__session_choice(s, role);
	const struct ob__session_choice *any = ob__session_choice(s, 0);
	return (known != NULL ? known->busy : 0) + (any != NULL ? any->busy : 0);
}

void ob__session_move(struct ob__session *s, uint32_t role)
{
	struct ob__session_choice *c = ob__session_choice(s, role);
	if (c != NULL && c->node != 0) {
		c->from = c->node;
		c->node = 0;
		s->version++;
		c->moving = 0;
	}
}

struct ob__notice *ob__notice_new(struct ob__sessions *ss, uint64_t to, const struct ob__session *s,
                                  uint64_t until_ms)
{
	uint64_t handle;
	struct ob__notice *n = ob__slab_alloc(&ss->notices, &handle);
	if (n == NULL) {
		return NULL;
	}
	*n = (struct ob__notice){
		.handle = handle,
		.to = to,
		.session_node = s->node,
		.session_seq = s->seq,
		.until_ms = until_ms,
	};
	ob__list_init(&n->link);
	ob__list_append(&ss->notice_list, &n->link);
	return n;
}

struct ob__notice *ob__notice_get(const struct ob__sessions *ss, uint64_t handle)
{
	return ob__slab_get(&ss->notices, handle);
}

void ob__notice_free(struct ob__sessions *ss, struct ob__notice *n)
{
	ob__list_del(&n->link);
	ob__slab_free(&ss->notices, n);
}
