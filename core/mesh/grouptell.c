/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/grouptell.h"

#include <errno.h>
#include <stdlib.h>

struct listener {
	struct ob__list link;
	uint64_t node;
	uint64_t until;    /* ms */
	uint64_t begun_at; /* ms, its last first part */
	uint64_t part;
	struct ob__group_walk walk; /* while there are parts for it */
	bool parts;
	bool lost; /* something could not be sent: nothing more, until it asks */
};

void ob__grouptell_init(struct ob__grouptell *t, struct ob__groups *groups, uint64_t seed,
                        uint64_t life, const struct ob__grouptell_ops *ops, void *arg)
{
	*t = (struct ob__grouptell){.groups = groups, .life = life, .ops = ops, .arg = arg};
	ob__map_init(&t->by_node, seed);
	ob__list_init(&t->list);
}

static void listener_free(struct ob__grouptell *t, struct listener *l)
{
	ob__group_walk_end(&l->walk);
	(void)ob__map_del(&t->by_node, l->node, 0);
	ob__list_del(&l->link);
	t->count--;
	free(l);
}

void ob__grouptell_free(struct ob__grouptell *t)
{
	while (t->list.next != NULL && !ob__list_empty(&t->list)) {
		listener_free(t, OB__CONTAINER(t->list.next, struct listener, link));
	}
	ob__map_free(&t->by_node);
}

/* ---- sending ---- */

static void tell(struct ob__grouptell *t, struct listener *l, uint8_t status,
                 const struct ob__group_tell_msg *m, const uint64_t *entries)
{
	uint8_t out[OB__GROUP_TELL_MAX];
	size_t len = ob__group_tell_put(out, m, entries);

	if (t->ops->tell(t->arg, l->node, status, out, len) < 0) {
		ob__group_walk_end(&l->walk);
		l->parts = false;
		l->lost = true;
	}
}

static void tell_version(struct ob__grouptell *t, struct listener *l)
{
	const struct ob__group_tell_msg m = {.life = t->life, .from = t->told, .to = t->told};

	tell(t, l, 0, &m, NULL);
}

static void tell_changes(struct ob__grouptell *t)
{
	const struct ob__group_tell_msg m = {
		.life = t->life,
		.from = t->told,
		.to = t->version,
		.count = t->version - t->told,
	};

	if (m.count == 0) {
		return;
	}
	t->told = t->version;
	OB__LIST_EACH (it, &t->list) {
		struct listener *l = OB__CONTAINER(it, struct listener, link);
		if (!l->lost) {
			tell(t, l, 0, &m, t->changes);
		}
	}
}

static void tell_part(struct ob__grouptell *t, struct listener *l)
{
	uint64_t entries[OB__GROUP_TELL_ENTRIES];
	struct ob__group_tell_msg m = {
		.life = t->life,
		.from = t->told,
		.to = t->told,
		.part = l->part++,
	};
	const struct ob__group *g = NULL;

	while (m.count < OB__GROUP_TELL_ENTRIES && (g = ob__group_walk_group(&l->walk)) != NULL) {
		entries[m.count++] = g->hash | OB__GROUP_THERE;
	}
	if (g == NULL) {
		ob__group_walk_end(&l->walk);
		l->parts = false;
	}
	tell(t, l,
	     OB__GROUP_PART | (m.part == 0 ? OB__GROUP_FIRST : 0) | (l->parts ? 0 : OB__GROUP_LAST),
	     &m, entries);
}

void ob__grouptell_flush(struct ob__grouptell *t)
{
	bool more = false;

	tell_changes(t);
	OB__LIST_EACH (it, &t->list) {
		struct listener *l = OB__CONTAINER(it, struct listener, link);
		for (unsigned i = 0; l->parts && i < OB__GROUPTELL_A_TURN; i++) {
			tell_part(t, l);
		}
		more = more || l->parts;
	}
	if (more) {
		t->ops->soon(t->arg);
	}
}

bool ob__grouptell_lost(const struct ob__grouptell *t, uint64_t node)
{
	const struct listener *l = ob__map_get(&t->by_node, node, 0);

	return l != NULL && l->lost;
}

void ob__grouptell_beat(struct ob__grouptell *t)
{
	tell_changes(t);
	OB__LIST_EACH (it, &t->list) {
		struct listener *l = OB__CONTAINER(it, struct listener, link);
		if (!l->parts) {
			tell_version(t, l);
		}
	}
}

/* ---- what happens ---- */

void ob__grouptell_changed(struct ob__grouptell *t, uint64_t hash, bool there)
{
	if (t->count == 0) {
		t->version++;
		t->told = t->version;
		return;
	}
	if (t->version - t->told == OB__GROUP_TELL_ENTRIES) {
		tell_changes(t);
	}
	if (t->version == t->told) {
		t->ops->soon(t->arg);
	}
	t->changes[t->version++ - t->told] = hash | (there ? OB__GROUP_THERE : 0);
}

static struct listener *listener_get(struct ob__grouptell *t, uint64_t node)
{
	struct listener *l = ob__map_get(&t->by_node, node, 0);

	if (l != NULL || t->count >= OB__GROUPTELL_MAX) {
		return l;
	}
	l = calloc(1, sizeof(*l));
	if (l == NULL || ob__map_put(&t->by_node, node, 0, l) != 0) {
		free(l);
		return NULL;
	}
	l->node = node;
	l->lost = true;
	ob__list_append(&t->list, &l->link);
	t->count++;
	return l;
}

/* All of it, from the beginning. */
static void begin(struct ob__grouptell *t, struct listener *l, uint64_t now_ms)
{
	if (l->begun_at != 0 && now_ms - l->begun_at < OB__GROUPTELL_RESTART) {
		return;
	}
	ob__group_walk_end(&l->walk);
	ob__groups_walk(t->groups, &l->walk, 0);
	l->parts = true;
	l->part = 0;
	l->lost = false;
	l->begun_at = now_ms;
	t->ops->soon(t->arg);
}

int ob__grouptell_asked(struct ob__grouptell *t, uint64_t node, const uint8_t *data, size_t len,
                        uint64_t now_ms)
{
	uint64_t life;
	uint64_t version;

	if (ob__group_ask_get(&life, &version, data, len) != 0) {
		return -EPROTO;
	}
	tell_changes(t);
	struct listener *l = listener_get(t, node);
	if (l == NULL) {
		return -ENOSPC;
	}
	l->until = now_ms + OB__GROUPTELL_LEASE;
	/* Who is told and says an older version has the changes since on the way to him. */
	if (life != t->life || version > t->told || (l->lost && version != t->told)) {
		begin(t, l, now_ms);
		return 0;
	}
	l->lost = false;
	if (!l->parts) {
		tell_version(t, l);
	}
	return 0;
}

uint32_t ob__grouptell_tick(struct ob__grouptell *t, uint64_t now_ms)
{
	OB__LIST_EACH_SAFE (it, &t->list) {
		struct listener *l = OB__CONTAINER(it, struct listener, link);
		if (l->until <= now_ms) {
			listener_free(t, l);
		}
	}
	return t->count;
}
