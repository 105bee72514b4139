/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/groupview.h"

#include <errno.h>
#include <stdlib.h>

/* One that is not done yet. */
struct join {
	struct ob__list link;
	uint64_t hash;
	uint64_t number;
	uint64_t at; /* ms */
};

void ob__groupview_init(struct ob__groupview *v, uint64_t seed, ob__groupview_ask_fn ask, void *arg)
{
	*v = (struct ob__groupview){.ask = ask, .arg = arg};
	ob__map_init(&v->nodes, seed);
	ob__list_init(&v->list);
}

static void join_free(struct ob__groupview_node *n, struct join *j)
{
	(void)ob__map_del(&n->joins, j->hash, 0);
	ob__list_del(&j->link);
	free(j);
}

static struct join *oldest(const struct ob__groupview_node *n)
{
	return ob__list_empty(&n->joined) ? NULL : OB__CONTAINER(n->joined.next, struct join, link);
}

static void node_free(struct ob__groupview *v, struct ob__groupview_node *n)
{
	struct join *j;

	while ((j = oldest(n)) != NULL) {
		join_free(n, j);
	}
	ob__map_free(&n->there);
	ob__map_free(&n->joins);
	(void)ob__map_del(&v->nodes, n->id, 0);
	ob__list_del(&n->link);
	free(n);
}

void ob__groupview_clear(struct ob__groupview *v)
{
	while (v->list.next != NULL && !ob__list_empty(&v->list)) {
		node_free(v, OB__CONTAINER(v->list.next, struct ob__groupview_node, link));
	}
}

void ob__groupview_free(struct ob__groupview *v)
{
	ob__groupview_clear(v);
	ob__map_free(&v->nodes);
}

static struct ob__groupview_node *find(const struct ob__groupview *v, uint64_t node)
{
	return ob__map_get(&v->nodes, node, 0);
}

static struct ob__groupview_node *get(struct ob__groupview *v, uint64_t node)
{
	struct ob__groupview_node *n = find(v, node);

	if (n != NULL) {
		return n;
	}
	n = calloc(1, sizeof(*n));
	if (n == NULL || ob__map_put(&v->nodes, node, 0, n) != 0) {
		free(n);
		return NULL;
	}
	n->id = node;
	ob__map_init(&n->there, v->nodes.seed);
	ob__map_init(&n->joins, v->nodes.seed);
	ob__list_init(&n->joined);
	ob__list_append(&v->list, &n->link);
	return n;
}

/* ---- asking ---- */

bool ob__groupview_may_have(const struct ob__groupview *v, uint64_t node, uint64_t life,
                            uint64_t hash, uint64_t now_ms)
{
	const struct ob__groupview_node *n = find(v, node);

	return n == NULL || !n->whole || (life != 0 && n->life != life) ||
	       n->crowd_until > now_ms || ob__map_get(&n->there, hash, 0) != NULL ||
	       ob__map_get(&n->joins, hash, 0) != NULL;
}

int64_t ob__groupview_count(const struct ob__groupview *v, uint64_t node)
{
	const struct ob__groupview_node *n = find(v, node);

	return n != NULL && n->whole ? (int64_t)n->there.count : -1;
}

static void doubt(struct ob__groupview_node *n)
{
	n->due = n->asked_at + OB__GROUPVIEW_AT_ONCE;
}

/* What has been told is worth nothing: all is asked for. */
static void reject(struct ob__groupview_node *n)
{
	n->whole = false;
	n->parts = false;
	n->life = 0;
	n->version = 0;
	doubt(n);
}

static void ask(struct ob__groupview *v, struct ob__groupview_node *n, uint64_t now_ms)
{
	uint8_t out[OB__GROUP_ASK_SIZE];
	size_t len = ob__group_ask_put(out, n->whole ? n->life : 0, n->whole ? n->version : 0);

	n->asked_at = now_ms;
	n->due = now_ms + (n->whole ? OB__GROUPVIEW_RENEW : OB__GROUPVIEW_RETRY);
	(void)v->ask(v->arg, n->id, out, len);
}

static void joins_expire(struct ob__groupview_node *n, uint64_t now_ms)
{
	struct join *j;

	while ((j = oldest(n)) != NULL && now_ms - j->at >= OB__GROUPVIEW_JOIN) {
		join_free(n, j);
	}
}

void ob__groupview_want(struct ob__groupview *v, uint64_t node, uint64_t now_ms)
{
	struct ob__groupview_node *n = get(v, node);

	if (n == NULL) {
		return;
	}
	n->wanted = true;
	if (n->whole && now_ms - n->heard_at >= OB__GROUPVIEW_SILENT) {
		reject(n);
	}
	if (n->due <= now_ms) {
		ask(v, n, now_ms);
	}
}

void ob__groupview_doubt(struct ob__groupview *v)
{
	OB__LIST_EACH (it, &v->list) {
		doubt(OB__CONTAINER(it, struct ob__groupview_node, link));
	}
}

size_t ob__groupview_sweep(struct ob__groupview *v, uint64_t now_ms)
{
	size_t joins = 0;

	OB__LIST_EACH_SAFE (it, &v->list) {
		struct ob__groupview_node *n = OB__CONTAINER(it, struct ob__groupview_node, link);
		joins_expire(n, now_ms);
		joins += n->joins.count;
		if (!n->wanted && n->joins.count == 0 && n->crowd_until <= now_ms) {
			node_free(v, n);
		} else {
			n->wanted = false;
		}
	}
	return joins;
}

/* ---- joins ---- */

uint64_t ob__groupview_join(struct ob__groupview *v, uint64_t node, uint64_t hash, uint64_t now_ms)
{
	struct ob__groupview_node *n = get(v, node);

	if (n == NULL) {
		return 0; /* nothing is known of it, so it may have any */
	}
	struct join *j = ob__map_get(&n->joins, hash, 0);
	if (j == NULL && n->joins.count < OB__GROUPVIEW_JOINS) {
		j = calloc(1, sizeof(*j));
		if (j != NULL && ob__map_put(&n->joins, hash, 0, j) != 0) {
			free(j);
			j = NULL;
		}
		if (j != NULL) {
			ob__list_init(&j->link);
		}
	}
	n->last_join++;
	if (j == NULL) {
		n->crowd_until = now_ms + OB__GROUPVIEW_JOIN;
		return n->last_join;
	}
	ob__list_del(&j->link);
	ob__list_append(&n->joined, &j->link);
	j->hash = hash;
	j->number = n->last_join;
	j->at = now_ms;
	return j->number;
}

void ob__groupview_joined(struct ob__groupview *v, uint64_t node, uint64_t number)
{
	struct ob__groupview_node *n = find(v, node);
	struct join *j;

	while (n != NULL && (j = oldest(n)) != NULL && j->number <= number) {
		join_free(n, j);
	}
}

/* ---- hearing ---- */

/* False when there is no room for it. */
static bool take(struct ob__groupview_node *n, uint64_t entry)
{
	uint64_t hash = entry & ~OB__GROUP_THERE;

	if ((entry & OB__GROUP_THERE) == 0) {
		(void)ob__map_del(&n->there, hash, 0);
		return true;
	}
	return n->there.count < OB__GROUPVIEW_MAX && ob__map_put(&n->there, hash, 0, n) == 0;
}

/* A part that is not the next one is of something that was begun again. */
static bool part_fits(struct ob__groupview_node *n, uint8_t status,
                      const struct ob__group_tell_msg *m)
{
	if ((status & OB__GROUP_FIRST) != 0) {
		ob__map_free(&n->there);
		n->whole = false;
		n->parts = true;
		n->life = m->life;
		n->version = m->to;
		n->next_part = 0;
	}
	return n->parts && m->life == n->life && m->from == n->version && m->part == n->next_part;
}

static bool fits(const struct ob__groupview_node *n, const struct ob__group_tell_msg *m)
{
	return (n->parts || n->whole) && m->life == n->life && m->from == n->version;
}

int ob__groupview_told(struct ob__groupview *v, uint64_t node, uint8_t status, const uint8_t *data,
                       size_t len, uint64_t now_ms)
{
	struct ob__groupview_node *n = find(v, node);
	bool is_part = (status & OB__GROUP_PART) != 0;
	struct ob__group_tell_msg m;

	if (ob__group_tell_get(&m, status, data, len) != 0) {
		return -EPROTO;
	}
	if (n == NULL || n->asked_at == 0) {
		return 0;
	}
	bool ok = is_part ? part_fits(n, status, &m) : fits(n, &m);
	for (size_t i = 0; ok && i < m.count; i++) {
		ok = take(n, ob__group_entry(&m, i));
	}
	if (!ok && !n->whole && !n->parts) {
		return 0; /* it has been rejected already */
	}
	if (!ok) {
		reject(n);
		return 1;
	}
	n->version = m.to;
	n->heard_at = now_ms;
	if (is_part) {
		n->next_part++;
		n->due = now_ms + OB__GROUPVIEW_RETRY;
	}
	if ((status & OB__GROUP_LAST) != 0) {
		n->parts = false;
		n->whole = true;
		n->due = now_ms + OB__GROUPVIEW_RENEW;
	}
	return 0;
}
