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
		ob__router_set_served(r, NULL);
	}
}

static void replace(struct ob__idrange **at, struct ob__idrange *table)
{
	if (*at != NULL) {
		ob__idrange_free(*at);
		free(*at);
	}
	*at = table;
}

void ob__router_set_table(struct ob__router *r, struct ob__idrange *table)
{
	replace(&r->table, table);
	r->last_role.known = false;
}

void ob__router_set_served(struct ob__router *r, struct ob__idrange *table)
{
	replace(&r->served, table);
	r->last_role.known = false;
}

uint32_t ob__router_find_role(struct ob__router *r, uint32_t id)
{
	uint32_t role;
	bool found = (r->table != NULL && ob__idrange_find(r->table, id, &role)) ||
	             (r->served != NULL && ob__idrange_find(r->served, id, &role));
	r->last_role = (struct ob__router_role){id, found ? role : 0, true};
	return r->last_role.role;
}

static struct ob__peer *peer_of(struct ob__balance_node *n)
{
	return n != NULL ? OB__CONTAINER(n, struct ob__peer, balance) : NULL;
}

static struct ob__registry_role *route_nodes(struct ob__router *r)
{
	if (r->route == NULL) {
		/* Roles are never forgotten. */
		r->route = ob__registry_role_get(r->registry, r->route_role);
	}
	return r->route;
}

static struct ob__route_stranger *stranger(struct ob__router *r, uint64_t node)
{
	return &r->strangers[node % OB__ROUTE_STRANGERS];
}

void ob__router_met(struct ob__router *r, struct ob__peer *p)
{
	struct ob__route_stranger *s = stranger(r, p->who.id);
	if (s->via != NULL && s->node == p->who.id) {
		if (p->via == NULL && s->via != p) {
			p->via = s->via;
			p->via_used = true;
		}
		*s = (struct ob__route_stranger){0};
	}
}

/* What went through this route node before goes on doing so. */
static bool is_kept(const struct ob__peer *route, const struct ob__peer *from)
{
	return route != NULL && route->link != NULL && route != from && !ob__peer_drains(route);
}

/* The route node for what goes to `p`: the one of before, else one by rendezvous. */
static struct ob__peer *via(struct ob__router *r, struct ob__peer *p, const struct ob__peer *from)
{
	struct ob__peer *now = p->via;
	if (is_kept(now, from) && now != p) {
		return now;
	}
	ob__router_met(r, p);
	now = p->via;
	if (is_kept(now, from) && now != p) {
		return now;
	}
	struct ob__registry_role *routes = route_nodes(r);
	if (routes == NULL) {
		return NULL;
	}
	uint64_t key = ob__balance_key(r->registry->self.id, p->who.id);
	const struct ob__balance_node *except = from != NULL ? &from->balance : &p->balance;
	now = peer_of(ob__balance_pick(&routes->ready, OB__BALANCE_STICKY, key, except));
	if (now == p) {
		return NULL;
	}
	if (now != from && now != NULL && !is_kept(p->via, NULL)) {
		struct ob__peer *before = p->via;
		p->via = now;
		if (before != NULL && before->link != NULL && before != now && p->via_used &&
		    r->switched != NULL) {
			r->switched(r->switched_arg, p, before, now);
		}
	}
	return now;
}

/* The step towards a node. */
static struct ob__route towards(struct ob__router *r, struct ob__peer *p,
                                const struct ob__peer *from)
{
	struct ob__route route = {.kind = OB__ROUTE_NONE};
	if (p == NULL) {
		return route;
	}
	route.peer = p->link != NULL ? (p != from ? p : NULL) : via(r, p, from);
	if (route.peer == NULL) {
		return route;
	}
	route.kind = OB__ROUTE_PEER;
	route.to = p;
	if (route.peer != p) {
		route.dst = p->who.id;
		p->via_used = true;
		if (r->wanted != NULL && p->dialing == NULL && ob__peer_is_listed(p)) {
			r->wanted(r->wanted_arg, p);
		}
	}
	return route;
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

/* True when the policy has settled it. */
static bool ask_policy(struct ob__router *r, void *policy, const struct ob__registry_role *role,
                       const struct ob__route_query *q, struct ob__route *route)
{
	struct ob__peer *peers[OB__ROUTE_CANDIDATES];
	size_t len = list_candidates(role, q, peers);
	if (len == 0) {
		return false;
	}
	int choice = r->choose(r->choose_arg, q, policy, role, peers, len);
	if (choice < 0) {
		*route = (struct ob__route){.kind = OB__ROUTE_REFUSED, .code = choice};
		return true;
	}
	if ((size_t)choice >= len) {
		return false;
	}
	*route = towards(r, peers[choice], q->from);
	return route->kind == OB__ROUTE_PEER;
}

/* The route node that the session's earlier messages went to. */
static struct ob__peer *preferred(const struct ob__router *r, const struct ob__route_query *q)
{
	struct ob__peer *p = q->prefer != 0 ? ob__registry_get(r->registry, q->prefer) : NULL;
	return p != NULL && p->link != NULL && p != q->from && p->who.role_id == r->route_role
	               ? p
	               : NULL;
}

struct ob__chooser ob__router_chooser(const struct ob__router *r,
                                      const struct ob__registry_role *role,
                                      const struct ob__frame *f)
{
	uint32_t i;
	if (r->chooser_of == NULL || f == NULL || f->id == 0 ||
	    !ob__idrange_find(r->chooser_of, f->id, &i)) {
		return role->chooser;
	}
	return r->choosers[i];
}

/* From here there is one way to the role, and no policy has a say. */
static void note_only(struct ob__router *r, const struct ob__registry_role *role,
                      const struct ob__route_query *q, const struct ob__route *route)
{
	if (role->ready.len == 1 && role->id == q->role && q->node == 0 && q->prefer == 0 &&
	    q->from == NULL && role->chooser.policy == NULL && r->chooser_of == NULL &&
	    route->kind == OB__ROUTE_PEER) {
		r->only = (struct ob__router_last){
			.role = q->role,
			.changes = r->registry->changes,
			.peer = route->peer,
			.to = route->to,
		};
	}
}

static struct ob__route pick(struct ob__router *r, uint32_t id, const struct ob__route_query *q)
{
	struct ob__registry_role *role =
		id == r->route_role ? route_nodes(r) : ob__registry_role_get(r->registry, id);
	struct ob__route route;
	if (role == NULL || role->ready.len == 0) {
		return towards(r, NULL, NULL);
	}
	/* A range's is for the node that takes the message, not for the route nodes on its way. */
	struct ob__chooser c = ob__router_chooser(r, role, id == q->role ? q->frame : NULL);
	if (c.policy != NULL && q->node == 0 && r->choose != NULL &&
	    ask_policy(r, c.policy, role, q, &route)) {
		return route;
	}
	const struct ob__balance_node *from = q->from != NULL ? &q->from->balance : NULL;
	enum ob__balance_way way = c.way != 0 ? c.way : OB__BALANCE_ROUND_ROBIN;
	if (q->sticky && (!q->first || c.way == 0 || id != q->role)) {
		way = OB__BALANCE_STICKY;
	}
	uint64_t key = q->key != 0 ? q->key : ob__balance_key(q->session_node, q->session_seq);
	struct ob__peer *p = role == r->route ? preferred(r, q) : NULL;
	if (p == NULL) {
		p = peer_of(ob__balance_pick(&role->ready, way, key, from));
	}
	route = towards(r, p, q->from);
	note_only(r, role, q, &route);
	return route;
}

/* Another node of the role will do: the one that was chosen is gone; or it can't be reached from
 * here, and the message need not stay with it. */
static bool may_move(const struct ob__route_query *q, const struct ob__peer *p)
{
	if (q->role == 0 || q->stays || p == NULL || p->link != NULL) {
		return false;
	}
	return p->state == OB__MEMBER_DEAD || p->state == OB__MEMBER_LEFT ||
	       (q->from != NULL && !q->sticky && p->state != OB__MEMBER_UNKNOWN);
}

/* The step towards a node that is not known here: always the same route node, while it is there. */
static struct ob__route to_stranger(struct ob__router *r, const struct ob__route_query *q)
{
	struct ob__route_stranger *s = stranger(r, q->node);
	struct ob__peer *p = s->node == q->node ? s->via : NULL;
	if (is_kept(p, q->from)) {
		return towards(r, p, q->from);
	}
	struct ob__registry_role *routes = route_nodes(r);
	const struct ob__balance_node *from = q->from != NULL ? &q->from->balance : NULL;
	uint64_t key = ob__balance_key(r->registry->self.id, q->node);
	p = routes != NULL
	            ? peer_of(ob__balance_pick(&routes->ready, OB__BALANCE_STICKY, key, from))
	            : NULL;
	struct ob__route route = towards(r, p, q->from);
	if (route.kind == OB__ROUTE_PEER && route.peer == p) {
		*s = (struct ob__route_stranger){.node = q->node, .via = p};
	}
	return route;
}

/* The step of most messages, which needs no thought: to a node that is linked, or to the route node
 * of before. */
static struct ob__peer *beaten_track(struct ob__router *r, const struct ob__route_query *q,
                                     struct ob__peer *p)
{
	if (q->node != 0) {
		return p != NULL && p->link != NULL && p != q->from ? p : NULL;
	}
	if (q->role != 0 || q->prefer == 0) {
		return NULL;
	}
	const struct ob__registry_role *routes = route_nodes(r);
	return routes != NULL && routes->chooser.policy == NULL ? preferred(r, q) : NULL;
}

/* To a node, or to any of a role that has only one, from here: the same as the time before, if
 * nothing has changed. */
static bool is_repeated(const struct ob__router *r, const struct ob__router_last *last,
                        const struct ob__route_query *q)
{
	return q->node == last->node && last->changes == r->registry->changes && q->from == NULL &&
	       q->role == last->role && q->prefer == 0 &&
	       (last->peer == last->to || last->to->dialing != NULL);
}

static struct ob__route repeat(const struct ob__router_last *last)
{
	return (struct ob__route){
		.kind = OB__ROUTE_PEER,
		.peer = last->peer,
		.dst = last->peer != last->to ? last->to->who.id : 0,
		.to = last->to,
		.stands = true,
	};
}

/* The step towards a node that the registry knows. */
static struct ob__route to_known(struct ob__router *r, const struct ob__route_query *q,
                                 struct ob__peer *p)
{
	struct ob__route route = towards(r, p, q->from);
	if (route.kind == OB__ROUTE_PEER && q->from == NULL) {
		r->last = (struct ob__router_last){
			.node = q->node,
			.changes = r->registry->changes,
			.peer = route.peer,
			.to = p,
		};
	}
	return route;
}

struct ob__route ob__router_find(struct ob__router *r, const struct ob__route_query *q)
{
	if (is_repeated(r, &r->last, q)) {
		return repeat(&r->last);
	}
	if (is_repeated(r, &r->only, q)) {
		return repeat(&r->only);
	}
	const struct ob__identity *self = &r->registry->self;
	if (q->node != 0 ? q->node == self->id : q->role != 0 && q->role == self->role_id) {
		return (struct ob__route){.kind = OB__ROUTE_SELF};
	}
	struct ob__peer *p = q->node != 0 ? ob__registry_get(r->registry, q->node) : NULL;
	struct ob__peer *known = beaten_track(r, q, p);
	if (known != NULL) {
		return (struct ob__route){
			.kind = OB__ROUTE_PEER,
			.peer = known,
			.to = known,
			.stands = q->node != 0,
		};
	}
	bool moves = may_move(q, p);
	if (p != NULL && !moves && (p->link != NULL || ob__peer_is_listed(p))) {
		return to_known(r, q, p);
	}
	if (q->role != 0 && (q->node == 0 || moves)) {
		struct ob__route route = pick(r, q->role, q);
		if (q->node != 0 && route.kind == OB__ROUTE_PEER) {
			route.dst = route.to->who.id;
		}
		if (route.kind != OB__ROUTE_NONE) {
			return route;
		}
	}
	return q->node != 0 ? to_stranger(r, q) : pick(r, r->route_role, q);
}
