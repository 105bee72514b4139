/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/firsts.h"

#include <stdlib.h>

#include "mesh/balance.h"

struct first {
	struct ob__list link;
	uint64_t node;
	uint64_t seq;
	uint64_t choice;
	uint64_t asked_ms;
	uint32_t role;
};

void ob__firsts_init(struct ob__firsts *t, uint64_t seed, uint32_t limit)
{
	*t = (struct ob__firsts){.limit = limit};
	ob__map_init(&t->map, seed);
	ob__list_init(&t->entries);
}

static void forget(struct ob__firsts *t, struct first *e)
{
	(void)ob__map_del(&t->map, ob__balance_key(e->node, e->role), e->seq);
	ob__list_del(&e->link);
	free(e);
}

void ob__firsts_free(struct ob__firsts *t)
{
	while (t != NULL && t->limit > 0 && !ob__list_empty(&t->entries)) {
		forget(t, OB__CONTAINER(t->entries.next, struct first, link));
	}
	if (t != NULL) {
		ob__map_free(&t->map);
	}
}

/* What is in the place of that one: it, another one that hashes to the same, or NULL. */
static struct first *at(const struct ob__firsts *t, uint64_t node, uint64_t seq, uint32_t role)
{
	return ob__map_get(&t->map, ob__balance_key(node, role), seq);
}

static bool is_of(const struct first *e, uint64_t node, uint32_t role)
{
	return e != NULL && e->node == node && e->role == role;
}

static void expire(struct ob__firsts *t, uint64_t now_ms)
{
	while (!ob__list_empty(&t->entries)) {
		struct first *e = OB__CONTAINER(t->entries.next, struct first, link);
		if (now_ms - e->asked_ms < OB__FIRSTS_MS) {
			return;
		}
		forget(t, e);
	}
}

static void touch(struct ob__firsts *t, struct first *e, uint64_t now_ms)
{
	e->asked_ms = now_ms;
	ob__list_del(&e->link);
	ob__list_append(&t->entries, &e->link);
}

bool ob__firsts_begin(struct ob__firsts *t, uint64_t node, uint64_t seq, uint32_t role,
                      uint64_t now_ms)
{
	expire(t, now_ms);
	struct first *e = at(t, node, seq, role);
	if (e != NULL) {
		if (!is_of(e, node, role)) {
			return false;
		}
		e->choice = 0;
		touch(t, e, now_ms);
		return true;
	}
	e = t->map.count < t->limit ? calloc(1, sizeof(*e)) : NULL;
	if (e == NULL || ob__map_put(&t->map, ob__balance_key(node, role), seq, e) != 0) {
		free(e);
		return false;
	}
	e->node = node;
	e->seq = seq;
	e->role = role;
	e->asked_ms = now_ms;
	ob__list_init(&e->link);
	ob__list_append(&t->entries, &e->link);
	return true;
}

void ob__firsts_set(struct ob__firsts *t, uint64_t node, uint64_t seq, uint32_t role,
                    uint64_t choice)
{
	struct first *e = at(t, node, seq, role);
	if (is_of(e, node, role)) {
		e->choice = choice;
		if (choice == 0) {
			forget(t, e);
		}
	}
}

uint64_t ob__firsts_get(struct ob__firsts *t, uint64_t node, uint64_t seq, uint32_t role,
                        uint64_t now_ms)
{
	if (t->map.count == 0) {
		return 0;
	}
	struct first *e = at(t, node, seq, role);
	if (!is_of(e, node, role)) {
		return 0;
	}
	if (now_ms - e->asked_ms >= OB__FIRSTS_MS) {
		return 0;
	}
	touch(t, e, now_ms);
	return e->choice;
}
