/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/router.h"

#include <stdlib.h>
#include <string.h>

void ob__router_init(struct ob__router *r, struct ob__registry *registry)
{
	*r = (struct ob__router){.registry = registry, .route_role = ob__fnv1a32(OB__ROLE_ROUTE)};
}

void ob__router_free(struct ob__router *r)
{
	if (r != NULL) {
		ob__router_set_table(r, NULL);
	}
}

void ob__router_set_table(struct ob__router *r, struct ob__idrange *table)
{
	if (r->table != NULL) {
		ob__idrange_free(r->table);
		free(r->table);
	}
	r->table = table;
}

uint32_t ob__router_role(const struct ob__router *r, uint32_t id)
{
	uint32_t role;
	return r->table != NULL && ob__idrange_find(r->table, id, &role) ? role : 0;
}

static struct ob__peer *peer_of(struct ob__balance_node *n)
{
	return n != NULL ? OB__CONTAINER(n, struct ob__peer, balance) : NULL;
}

static struct ob__route towards(struct ob__peer *p)
{
	return (struct ob__route){.kind = p != NULL ? OB__ROUTE_PEER : OB__ROUTE_NONE, .peer = p};
}

/* The peers that may take it, those with the smallest ids, in their order. */
static size_t list_candidates(const struct ob__registry_role *role, const struct ob__route_query *q,
                              struct ob__peer **out)
{
	size_t len = 0;
	for (uint32_t i = 0; i < role->ready.len && len < OB__ROUTE_CANDIDATES; i++) {
		struct ob__peer *p = peer_of(role->ready.nodes[i]);
		if (p != q->from) {
			out[len++] = p;
		}
	}
	return len;
}

/* True when the role's policy has settled it. */
static bool ask_policy(struct ob__router *r, const struct ob__registry_role *role,
                       const struct ob__route_query *q, struct ob__route *route)
{
	struct ob__peer *peers[OB__ROUTE_CANDIDATES];
	size_t len = list_candidates(role, q, peers);
	if (len == 0) {
		return false;
	}
	int choice = r->choose(r->choose_arg, q, role, peers, len);
	if (choice < 0) {
		*route = (struct ob__route){.kind = OB__ROUTE_REFUSED, .code = choice};
		return true;
	}
	if ((size_t)choice >= len) {
		return false;
	}
	*route = towards(peers[choice]);
	return true;
}

/* Route nodes pass on what is under way while they drain: one that does is better than none. */
static struct ob__peer *relay(const struct ob__registry_role *role, const struct ob__peer *from)
{
	OB__LIST_EACH (it, &role->peers) {
		struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, role_link);
		if (p->link != NULL && p->draining && p != from) {
			return p;
		}
	}
	return NULL;
}

static struct ob__route pick(struct ob__router *r, uint32_t id, const struct ob__route_query *q)
{
	struct ob__registry_role *role = id == r->route_role ? r->route : NULL;
	struct ob__route route;
	if (role == NULL) {
		role = ob__registry_role_get(r->registry, id);
		if (id == r->route_role) {
			r->route = role; /* roles are never forgotten */
		}
	}
	if (role == NULL) {
		return towards(NULL);
	}
	if (role->ready.len == 0) {
		return towards(id == r->route_role ? relay(role, q->from) : NULL);
	}
	if (role->policy != NULL && q->node == 0 && r->choose != NULL &&
	    ask_policy(r, role, q, &route)) {
		return route;
	}
	const struct ob__balance_node *from = q->from != NULL ? &q->from->balance : NULL;
	enum ob__balance_way way = role->way != 0 ? role->way : OB__BALANCE_ROUND_ROBIN;
	uint64_t key = q->key != 0 ? q->key : ob__balance_key(q->session_node, q->session_seq);
	return towards(peer_of(
		ob__balance_pick(&role->ready, q->sticky ? OB__BALANCE_STICKY : way, key, from)));
}

struct ob__route ob__router_find(struct ob__router *r, const struct ob__route_query *q)
{
	const struct ob__identity *self = &r->registry->self;
	if (q->node != 0 ? q->node == self->id : q->role != 0 && q->role == self->role_id) {
		return (struct ob__route){.kind = OB__ROUTE_SELF};
	}
	if (q->node != 0) {
		struct ob__peer *p = ob__registry_get(r->registry, q->node);
		if (p != NULL && p->link != NULL) {
			return towards(p != q->from ? p : NULL);
		}
	} else if (q->role != 0) {
		struct ob__route route = pick(r, q->role, q);
		if (route.kind != OB__ROUTE_NONE) {
			return route;
		}
	}
	return pick(r, r->route_role, q);
}
