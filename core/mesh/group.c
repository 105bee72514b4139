/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fnv.h"

struct membership {
	struct ob__list in_group;
	struct ob__list in_session;
	struct ob__group *group;
	uint64_t session;
	uint64_t number;
};

/* What one session is in. */
struct holder {
	struct ob__list memberships;
	uint32_t count;
};

uint64_t ob__group_hash(const char *name, size_t len)
{
	return ob__fnv1a64_of(name, len) & (UINT64_MAX >> 1);
}

void ob__groups_init(struct ob__groups *gs, uint64_t seed, uint32_t max, uint32_t max_of_one,
                     ob__groups_fn changed, void *arg)
{
	*gs = (struct ob__groups){
		.max = max,
		.max_of_one = max_of_one,
		.changed = changed,
		.arg = arg,
	};
	ob__strmap_init(&gs->by_name, seed);
	ob__map_init(&gs->hashes, seed);
	ob__map_init(&gs->pairs, seed);
	ob__map_init(&gs->sessions, seed);
	ob__list_init(&gs->list);
	ob__list_init(&gs->walks);
}

void ob__groups_free(struct ob__groups *gs)
{
	struct ob__map_entry *e;
	struct ob__strmap_entry *g;

	for (size_t i = 0; (e = ob__map_next(&gs->pairs, &i)) != NULL;) {
		free(e->value);
	}
	for (size_t i = 0; (e = ob__map_next(&gs->sessions, &i)) != NULL;) {
		free(e->value);
	}
	for (size_t i = 0; (g = ob__strmap_next(&gs->by_name, &i)) != NULL;) {
		free(g->value);
	}
	ob__strmap_free(&gs->by_name);
	ob__map_free(&gs->hashes);
	ob__map_free(&gs->pairs);
	ob__map_free(&gs->sessions);
}

/* ---- walks ---- */

/* Takes something off a list that may be walked over. */
static void unlink_walked(struct ob__groups *gs, struct ob__list *link)
{
	OB__LIST_EACH (it, &gs->walks) {
		struct ob__group_walk *w = OB__CONTAINER(it, struct ob__group_walk, link);
		if (w->next == link) {
			w->next = link->next;
		}
	}
	ob__list_del(link);
}

static void head_goes(struct ob__groups *gs, const struct ob__list *head)
{
	OB__LIST_EACH (it, &gs->walks) {
		struct ob__group_walk *w = OB__CONTAINER(it, struct ob__group_walk, link);
		if (w->head == head) {
			w->next = NULL;
		}
	}
}

static void walk_begin(struct ob__groups *gs, struct ob__group_walk *w, struct ob__list *head,
                       struct ob__list *next)
{
	ob__list_init(&w->link);
	ob__list_append(&gs->walks, &w->link);
	w->head = head;
	w->next = next;
	w->last = gs->last;
}

void ob__group_walk(struct ob__groups *gs, struct ob__group_walk *w, const struct ob__group *g)
{
	struct ob__list *head = &((struct ob__group *)(uintptr_t)g)->members;

	walk_begin(gs, w, head, head->next);
}

void ob__groups_walk(struct ob__groups *gs, struct ob__group_walk *w, uint64_t after)
{
	struct ob__list *it = gs->list.next;

	while (it != &gs->list && OB__CONTAINER(it, struct ob__group, link)->number <= after) {
		it = it->next;
	}
	walk_begin(gs, w, &gs->list, it);
}

static struct ob__list *walk_next(struct ob__group_walk *w)
{
	struct ob__list *it = w->next;

	if (it == NULL || it == w->head) {
		w->next = NULL;
		return NULL;
	}
	w->next = it->next;
	return it;
}

uint64_t ob__group_walk_member(struct ob__group_walk *w)
{
	struct ob__list *it = walk_next(w);
	const struct membership *m =
		it != NULL ? OB__CONTAINER(it, struct membership, in_group) : NULL;

	if (m == NULL || m->number > w->last) {
		w->next = NULL; /* what follows is newer still */
		return 0;
	}
	return m->session;
}

const struct ob__group *ob__group_walk_group(struct ob__group_walk *w)
{
	struct ob__list *it = walk_next(w);
	const struct ob__group *g = it != NULL ? OB__CONTAINER(it, struct ob__group, link) : NULL;

	if (g == NULL || g->number > w->last) {
		w->next = NULL;
		return NULL;
	}
	return g;
}

void ob__group_walk_end(struct ob__group_walk *w)
{
	if (w->link.next != NULL) {
		ob__list_del(&w->link);
	}
	*w = (struct ob__group_walk){0};
}

/* ---- groups ---- */

/* By `delta` groups more have that hash. 0 or -ENOMEM. */
static int count_hash(struct ob__groups *gs, uint64_t hash, int delta)
{
	uintptr_t n = (uintptr_t)ob__map_get(&gs->hashes, hash, 0);
	uintptr_t now = delta > 0 ? n + 1 : n - 1;

	if (now == 0) {
		(void)ob__map_del(&gs->hashes, hash, 0);
	} else if (ob__map_put(&gs->hashes, hash, 0, (void *)now) != 0) {
		return -ENOMEM;
	}
	if (gs->changed != NULL && (n == 0 || now == 0)) {
		gs->changed(gs->arg, hash, now != 0);
	}
	return 0;
}

static struct ob__group *group_new(struct ob__groups *gs, const char *name)
{
	size_t len = strlen(name);
	struct ob__group *g = malloc(sizeof(*g) + len + 1);

	if (g == NULL) {
		return NULL;
	}
	*g = (struct ob__group){.hash = ob__group_hash(name, len)};
	memcpy(g->name, name, len + 1);
	if (ob__strmap_put(&gs->by_name, name, g) != 0) {
		free(g);
		return NULL;
	}
	if (count_hash(gs, g->hash, 1) != 0) {
		(void)ob__strmap_del(&gs->by_name, name);
		free(g);
		return NULL;
	}
	g->number = ++gs->last;
	ob__list_init(&g->members);
	ob__list_append(&gs->list, &g->link);
	return g;
}

static void group_end(struct ob__groups *gs, struct ob__group *g)
{
	if (g->count > 0) {
		return;
	}
	head_goes(gs, &g->members);
	unlink_walked(gs, &g->link);
	(void)ob__strmap_del(&gs->by_name, g->name);
	(void)count_hash(gs, g->hash, -1);
	free(g);
}

const struct ob__group *ob__group_find(const struct ob__groups *gs, const char *name)
{
	return ob__strmap_get(&gs->by_name, name);
}

bool ob__group_has(const struct ob__groups *gs, const struct ob__group *g, uint64_t session)
{
	return ob__map_get(&gs->pairs, g->number, session) != NULL;
}

/* ---- memberships ---- */

static struct holder *holder_get(struct ob__groups *gs, uint64_t session)
{
	struct holder *h = ob__map_get(&gs->sessions, session, 0);

	if (h != NULL) {
		return h;
	}
	h = calloc(1, sizeof(*h));
	if (h == NULL || ob__map_put(&gs->sessions, session, 0, h) != 0) {
		free(h);
		return NULL;
	}
	ob__list_init(&h->memberships);
	return h;
}

static void holder_end(struct ob__groups *gs, struct holder *h, uint64_t session)
{
	if (h != NULL && h->count == 0) {
		free(ob__map_del(&gs->sessions, session, 0));
	}
}

static int join(struct ob__groups *gs, struct holder *h, struct ob__group *g, uint64_t session)
{
	struct membership *m = calloc(1, sizeof(*m));

	if (m == NULL || ob__map_put(&gs->pairs, g->number, session, m) != 0) {
		free(m);
		return -ENOMEM;
	}
	m->group = g;
	m->session = session;
	m->number = ++gs->last;
	ob__list_append(&g->members, &m->in_group);
	ob__list_append(&h->memberships, &m->in_session);
	g->count++;
	h->count++;
	return 0;
}

int ob__group_join(struct ob__groups *gs, uint64_t session, const char *name)
{
	struct ob__group *g = ob__strmap_get(&gs->by_name, name);

	if (g != NULL && ob__group_has(gs, g, session)) {
		return -EEXIST;
	}
	if (g == NULL && gs->by_name.count >= gs->max) {
		return -ENOSPC;
	}
	if (ob__group_count_of(gs, session) >= gs->max_of_one) {
		return -EDQUOT;
	}
	struct holder *h = holder_get(gs, session);
	if (h != NULL && g == NULL) {
		g = group_new(gs, name);
	}
	int rc = h != NULL && g != NULL ? join(gs, h, g, session) : -ENOMEM;
	if (rc != 0) {
		holder_end(gs, h, session);
		if (g != NULL) {
			group_end(gs, g);
		}
	}
	return rc;
}

int ob__group_leave(struct ob__groups *gs, uint64_t session, const char *name)
{
	struct ob__group *g = ob__strmap_get(&gs->by_name, name);
	struct membership *m = g != NULL ? ob__map_del(&gs->pairs, g->number, session) : NULL;
	struct holder *h = ob__map_get(&gs->sessions, session, 0);

	if (m == NULL) {
		return -ENOENT;
	}
	unlink_walked(gs, &m->in_group);
	ob__list_del(&m->in_session);
	free(m);
	g->count--;
	h->count--;
	holder_end(gs, h, session);
	group_end(gs, g);
	return 0;
}

const struct ob__group *ob__group_of(const struct ob__groups *gs, uint64_t session)
{
	const struct holder *h = ob__map_get(&gs->sessions, session, 0);

	return h != NULL ? OB__CONTAINER(h->memberships.next, struct membership, in_session)->group
	                 : NULL;
}

int ob__group_each_of(const struct ob__groups *gs, uint64_t session,
                      int (*fn)(void *arg, const struct ob__group *g), void *arg)
{
	const struct holder *h = ob__map_get(&gs->sessions, session, 0);
	int rc = 0;

	if (h == NULL) {
		return 0;
	}
	for (struct ob__list *it = h->memberships.next; rc == 0 && it != &h->memberships;
	     it = it->next) {
		rc = fn(arg, OB__CONTAINER(it, struct membership, in_session)->group);
	}
	return rc;
}

uint32_t ob__group_count_of(const struct ob__groups *gs, uint64_t session)
{
	const struct holder *h = ob__map_get(&gs->sessions, session, 0);

	return h != NULL ? h->count : 0;
}
