/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

static int copy_identity(struct ob__identity *to, const struct ob__identity *from)
{
	char *name = strdup(from->name);
	char *role = strdup(from->role);
	if (name == NULL || role == NULL) {
		free(name);
		free(role);
		return -ENOMEM;
	}
	*to = *from;
	to->name = name;
	to->role = role;
	to->role_id = ob__fnv1a32(role);
	return 0;
}

static void free_identity(struct ob__identity *who)
{
	free((char *)who->name);
	free((char *)who->role);
	*who = (struct ob__identity){0};
}

int ob__registry_init(struct ob__registry *r, const struct ob__identity *self)
{
	uint64_t seed = 0;
	RAND_bytes((unsigned char *)&seed, sizeof(seed));
	memset(r, 0, sizeof(*r));
	r->seed = seed;
	r->changes = 1;
	r->route_role = ob__fnv1a32(OB__ROLE_ROUTE);
	ob__map_init(&r->by_id, seed);
	ob__map_init(&r->by_role, ~seed);
	ob__list_init(&r->peers);
	uint32_t role;
	if (copy_identity(&r->self, self) < 0 || ob__registry_role(r, self->role, &role) < 0) {
		ob__registry_free(r);
		return -ENOMEM;
	}
	return 0;
}

static void free_peer(struct ob__peer *p)
{
	ob__list_del(&p->all_link);
	ob__list_del(&p->role_link);
	free_identity(&p->who);
	free(p);
}

void ob__registry_free(struct ob__registry *r)
{
	if (r == NULL || r->peers.next == NULL) {
		return;
	}
	while (!ob__list_empty(&r->peers)) {
		free_peer(OB__CONTAINER(r->peers.next, struct ob__peer, all_link));
	}
	struct ob__map_entry *e;
	for (size_t i = 0; (e = ob__map_next(&r->by_role, &i)) != NULL;) {
		struct ob__registry_role *role = e->value;
		ob__balance_free(&role->ready);
		free(role->word);
		free(role);
	}
	ob__map_free(&r->by_id);
	ob__map_free(&r->by_role);
	free_identity(&r->self);
	memset(r, 0, sizeof(*r));
}

static int new_role(struct ob__registry *r, const char *word, uint32_t id)
{
	if (r->by_role.count >= OB__ROLES_MAX) {
		return -ENOSPC;
	}
	struct ob__registry_role *role = calloc(1, sizeof(*role));
	if (role == NULL) {
		return -ENOMEM;
	}
	role->id = id;
	role->word = strdup(word);
	ob__list_init(&role->peers);
	ob__balance_init(&role->ready, r->seed ^ id);
	if (role->word == NULL || ob__map_put(&r->by_role, id, 0, role) < 0) {
		free(role->word);
		free(role);
		return -ENOMEM;
	}
	return 0;
}

int ob__registry_role(struct ob__registry *r, const char *word, uint32_t *id)
{
	*id = ob__fnv1a32(word);
	if (*id == 0) {
		return -EEXIST; /* 0 means "no role" on the wire */
	}
	const struct ob__registry_role *role = ob__registry_role_get(r, *id);
	if (role != NULL) {
		return strcmp(role->word, word) == 0 ? 0 : -EEXIST;
	}
	return new_role(r, word, *id);
}

struct ob__registry_role *ob__registry_role_get(const struct ob__registry *r, uint32_t id)
{
	return ob__map_get(&r->by_role, id, 0);
}

const char *ob__registry_word(const struct ob__registry *r, uint32_t id)
{
	const struct ob__registry_role *role = ob__registry_role_get(r, id);
	return role == NULL ? NULL : role->word;
}

struct ob__peer *ob__registry_find(const struct ob__registry *r, uint64_t id)
{
	struct ob__peer *p = ob__map_get(&r->by_id, id, 0);
	if (p != NULL) {
		((struct ob__registry *)(uintptr_t)r)->last = p; /* nobody sees the difference */
	}
	return p;
}

static struct ob__peer *new_peer(struct ob__registry *r, const struct ob__identity *who, int *err)
{
	if (r->count >= OB__PEERS_MAX) {
		*err = -ENOSPC;
		return NULL;
	}
	struct ob__peer *p = calloc(1, sizeof(*p));
	if (p == NULL) {
		*err = -ENOMEM;
		return NULL;
	}
	ob__list_init(&p->all_link);
	ob__list_init(&p->role_link);
	if (copy_identity(&p->who, who) < 0 || ob__map_put(&r->by_id, who->id, 0, p) < 0) {
		free_peer(p);
		*err = -ENOMEM;
		return NULL;
	}
	p->balance = (struct ob__balance_node){.id = who->id, .weight = OB__BALANCE_WEIGHT};
	ob__list_append(&r->peers, &p->all_link);
	r->count++;
	return p;
}

/* ---- what a role has ready ---- */

enum tier {
	NOT_NOW,
	SUSPECT,
	RELAYS, /* a route node that drains */
	GOOD,
};

bool ob__peer_is_listed(const struct ob__peer *p)
{
	return p->state >= OB__MEMBER_UP && p->state <= OB__MEMBER_SUSPECT;
}

bool ob__peer_is_reachable(const struct ob__registry *r, const struct ob__peer *p)
{
	return p->link != NULL || (r->routes > 0 && ob__peer_is_listed(p));
}

bool ob__peer_drains(const struct ob__peer *p)
{
	return p->draining || p->state == OB__MEMBER_DRAINING;
}

void ob__registry_changed(struct ob__registry *r)
{
	r->changes++;
}

static enum tier tier_of(const struct ob__registry *r, const struct ob__peer *p)
{
	bool is_route = p->who.role_id == r->route_role;
	if (is_route ? p->link == NULL : !ob__peer_is_reachable(r, p)) {
		return NOT_NOW;
	}
	if (ob__peer_drains(p) && !is_route) {
		return NOT_NOW;
	}
	if (p->state == OB__MEMBER_SUSPECT) {
		return SUSPECT;
	}
	return ob__peer_drains(p) ? RELAYS : GOOD;
}

static void put_ready(struct ob__registry_role *role, struct ob__peer *p, bool ready)
{
	if (p->ready == ready) {
		return;
	}
	p->ready = ready;
	if (ready) {
		ob__balance_add(&role->ready, &p->balance); /* there is room: join_role() */
	} else {
		ob__balance_remove(&role->ready, &p->balance);
	}
}

static struct ob__peer *peer_of_role(struct ob__list *it)
{
	return OB__CONTAINER(it, struct ob__peer, role_link);
}

/* All of a role: when the best there are have changed. */
static void refresh_role(struct ob__registry *r, struct ob__registry_role *role)
{
	uint8_t best = NOT_NOW;
	OB__LIST_EACH (it, &role->peers) {
		uint8_t tier = (uint8_t)tier_of(r, peer_of_role(it));
		best = tier > best ? tier : best;
	}
	role->best = best;
	OB__LIST_EACH (again, &role->peers) {
		struct ob__peer *p = peer_of_role(again);
		put_ready(role, p, best != NOT_NOW && tier_of(r, p) == best);
	}
}

/* One of them: a walk over the others only when the first good one comes or the last one goes. */
static void refresh(struct ob__registry *r, struct ob__peer *p)
{
	struct ob__registry_role *role = ob__registry_role_get(r, p->who.role_id);
	uint8_t tier = (uint8_t)tier_of(r, p);
	if (!ob__list_on(&p->role_link)) {
		return;
	}
	if (tier > role->best) {
		refresh_role(r, role);
		return;
	}
	put_ready(role, p, tier != NOT_NOW && tier == role->best);
	if (role->ready.len == 0 && role->best != NOT_NOW) {
		refresh_role(r, role);
	}
}

static void refresh_all(struct ob__registry *r)
{
	struct ob__map_entry *e;
	for (size_t i = 0; (e = ob__map_next(&r->by_role, &i)) != NULL;) {
		refresh_role(r, e->value);
	}
}

/* ---- peers ---- */

/* Puts the peer into its role; what the role has ready has room for it from now on. */
static int join_role(struct ob__registry *r, struct ob__peer *p, uint32_t id)
{
	struct ob__registry_role *role = ob__registry_role_get(r, id);
	int rc = ob__balance_reserve(&role->ready, role->len + 1);
	if (rc < 0) {
		return rc;
	}
	ob__registry_changed(r);
	ob__list_append(&role->peers, &p->role_link);
	role->len++;
	refresh(r, p);
	return 0;
}

static void leave_role(struct ob__registry *r, struct ob__peer *p)
{
	struct ob__registry_role *role = ob__registry_role_get(r, p->who.role_id);
	ob__registry_changed(r);
	put_ready(role, p, false);
	ob__list_del(&p->role_link);
	role->len--;
	refresh_role(r, role);
}

/* A node that starts again may have another role. */
static int update_peer(struct ob__registry *r, struct ob__peer *p, const struct ob__identity *who)
{
	if (p->who.incarnation != who->incarnation && p->link == NULL) {
		ob__registry_set_draining(r, p, false);
	}
	if (strcmp(p->who.role, who->role) == 0) {
		p->who.incarnation = who->incarnation;
		return 0;
	}
	struct ob__identity next;
	int rc = copy_identity(&next, who);
	if (rc < 0) {
		return rc;
	}
	if (ob__list_on(&p->role_link)) {
		leave_role(r, p);
	}
	free_identity(&p->who);
	p->who = next;
	return 0;
}

struct ob__peer *ob__registry_put(struct ob__registry *r, const struct ob__identity *who, int *err)
{
	uint32_t role;
	*err = ob__registry_role(r, who->role, &role);
	if (*err < 0) {
		return NULL;
	}
	struct ob__peer *p = ob__registry_get(r, who->id);
	if (p == NULL) {
		p = new_peer(r, who, err);
	} else {
		*err = update_peer(r, p, who);
	}
	if (p == NULL || *err < 0) {
		return NULL;
	}
	if (!ob__list_on(&p->role_link)) {
		*err = join_role(r, p, role);
	}
	return *err == 0 ? p : NULL;
}

void ob__registry_set_link(struct ob__registry *r, struct ob__peer *p, struct ob__link *link,
                           uint64_t now_ms)
{
	bool was = p->link != NULL;
	p->link = link;
	ob__registry_changed(r);
	if (was == (link != NULL)) {
		return;
	}
	bool is_route = p->who.role_id == r->route_role;
	p->since = now_ms;
	p->draining =
		p->draining && was; /* who comes up says so; of one that is down it stays true */
	p->drain_heard = false;
	p->ups += was ? 0 : 1;
	refresh(r, p);
	if (is_route) {
		r->routes += was ? -1u : 1;
	}
	if (is_route && r->routes == (was ? 0 : 1)) {
		refresh_all(r);
	}
}

void ob__registry_set_draining(struct ob__registry *r, struct ob__peer *p, bool draining)
{
	if (p->draining != draining) {
		p->draining = draining;
		ob__registry_changed(r);
		refresh(r, p);
	}
}

void ob__registry_set_state(struct ob__registry *r, struct ob__peer *p, uint8_t state)
{
	if (p->state != state) {
		bool back = p->state == OB__MEMBER_DRAINING && state == OB__MEMBER_UP;
		if (p->link == NULL && (back || state >= OB__MEMBER_DEAD)) {
			p->draining = false; /* that it takes new work again may have been lost */
		}
		p->state = state;
		ob__registry_changed(r);
		refresh(r, p);
	}
}

void ob__registry_set_weight(struct ob__registry *r, struct ob__peer *p, uint32_t weight)
{
	struct ob__registry_role *role = ob__registry_role_get(r, p->who.role_id);
	ob__balance_weigh(&role->ready, &p->balance, weight);
	ob__registry_changed(r);
}
