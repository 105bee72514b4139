/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/cluster/cluster.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/cluster/cluster_priv.h"
#include "host/message/dispatch.h"
#include "host/node.h"
#include "host/session/lost.h"
#include "host/user/users.h"

#define DESCRIBE_MS   1000u
#define SETTLE_MS     5000u
#define SETTLE_MORE   3000u /* above the longest pause between attempts to reach this node */
#define LOG_BURST     5u
#define NEWER_AT_MOST 1000u /* what is added at random to an incarnation that clashed */

/* What either half of a route node says to the other. */
struct letter {
	struct ob__list link;
	uint32_t sys;
	size_t len;
	uint8_t data[];
};

struct event {
	struct ob__list link;
	int what;
	uint64_t node;
	char name[OB__HELLO_NAME];
	char role[OB__HELLO_NAME];
};

/* A node whose former life, or whole life, is over. */
struct lost {
	struct ob__list link;
	uint64_t node;
};

static uint64_t now_ms(const struct ob__node *node)
{
	return ob__loop_now(node->loop);
}

void ob__cluster_after(struct ob__node *node)
{
	if (!ob__timeout_armed(&node->cluster.after)) {
		ob__timeout_set(node->loop, &node->cluster.after, 0);
	}
}

static void rearm(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;
	uint64_t now = now_ms(node);
	uint64_t next = ob__directory_next(&c->dir);
	uint64_t other = c->has_view ? ob__dirview_next(&c->view) : OB__DIRVIEW_NEVER;

	next = other < next ? other : next;
	if (next == UINT64_MAX) {
		ob__timeout_clear(node->loop, &c->timer);
	} else if (!ob__timeout_armed(&c->timer) || next != c->due) {
		c->due = next;
		ob__timeout_set(node->loop, &c->timer, next > now ? next - now : 0);
	}
}

/* ---- what modules are told ---- */

static void add_event(struct ob__node *node, int what, const struct ob__peer *p)
{
	struct event *e = calloc(1, sizeof(*e));

	if (e == NULL) {
		return;
	}
	e->what = what;
	e->node = p->who.id;
	snprintf(e->name, sizeof(e->name), "%s", p->who.name);
	snprintf(e->role, sizeof(e->role), "%s", p->who.role);
	ob__list_append(&node->cluster.events, &e->link);
	ob__cluster_after(node);
}

/* Whatever has changed: says what modules don't know yet. */
static void tell_modules(struct ob__node *node, struct ob__peer *p)
{
	bool lives = p->link != NULL || ob__peer_is_listed(p);
	uint64_t life = lives ? p->who.incarnation : 0;

	if (life == p->told) {
		return;
	}
	add_event(node,
	          p->told == 0 ? OB_EVENT_NODE_UP
	          : life == 0  ? OB_EVENT_NODE_DOWN
	                       : OB_EVENT_NODE_REPLACED,
	          p);
	p->told = life;
}

static void raise_events(struct ob__node *node)
{
	struct ob__list all;

	ob__list_init(&all);
	ob__list_splice(&all, &node->cluster.events);
	while (!ob__list_empty(&all)) {
		struct event *e = OB__CONTAINER(all.next, struct event, link);
		ob_event_info info = {
			.size = sizeof(info),
			.event = e->what,
			.node = e->node,
			.name = e->name,
			.role = e->role,
		};
		ob__list_del(&e->link);
		ob__dispatch_event(node, &info);
		free(e);
	}
}

/* ---- what the directory says ---- */

static int dir_send(void *arg, uint64_t to, uint32_t sys, const uint8_t *data, size_t len)
{
	struct ob__node *node = arg;

	if (to == node->self.id) {
		struct letter *l = malloc(sizeof(*l) + len);
		if (l == NULL) {
			return -ENOMEM;
		}
		l->sys = sys;
		l->len = len;
		if (len > 0) {
			memcpy(l->data, data, len);
		}
		ob__list_init(&l->link);
		ob__list_append(&node->cluster.letters, &l->link);
		ob__cluster_after(node);
		return 0;
	}
	struct ob__peer *peer = ob__registry_get(&node->registry, to);
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = sys,
		.payload = data,
		.payload_len = (uint32_t)len,
	};
	return peer != NULL ? ob__peer_send(node->links, peer, &f) : OB_E_NOT_SENT;
}

static bool dir_linked(void *arg, uint64_t id)
{
	struct ob__node *node = arg;
	const struct ob__peer *p = ob__registry_get(&node->registry, id);

	return p != NULL && p->link != NULL;
}

/* The peer of a node that is listed; NULL was logged, at a limited rate. */
static struct ob__peer *peer_of(struct ob__node *node, const struct ob__member *m)
{
	struct ob__peer *p = ob__registry_get(&node->registry, m->id);
	const struct ob__identity who = {
		.id = m->id,
		.incarnation = m->incarnation,
		.name = m->desc->name,
		.role = m->desc->role,
	};
	uint32_t missed;
	int err = 0;

	if (p != NULL && p->link != NULL) {
		return p; /* its hello is newer, or was proved at least */
	}
	if (p != NULL && p->who.incarnation == m->incarnation &&
	    strcmp(p->who.role, m->desc->role) == 0) {
		return p;
	}
	p = ob__registry_put(&node->registry, &who, &err);
	if (p == NULL &&
	    ob__log_allow(&node->cluster.peer_limit, LOG_BURST, now_ms(node), &missed)) {
		ob__warning("cluster", "%s (%s): can't take it in (%s) [and %u like it]", who.name,
		            who.role,
		            err == -EEXIST   ? "its role has the number of another role"
		            : err == -ENOSPC ? "too many nodes or roles are known here"
		                             : "out of memory",
		            (unsigned)missed);
	}
	return p;
}

/* The link was a former life's, and of this one only the directory tells. */
static void take_over(struct ob__node *node, const struct ob__peer *p)
{
	const struct ob__dir_node *n = ob__directory_get(&node->cluster.dir, p->who.id);

	if (n != NULL && n->m.incarnation > p->who.incarnation) {
		(void)peer_of(node, &n->m);
	}
}

static bool same_ranges(const struct ob__member *a, const struct ob__member *b)
{
	const struct ob__description *x = a != NULL ? a->desc : NULL;
	const struct ob__description *y = b != NULL ? b->desc : NULL;
	size_t x_len = x != NULL ? x->ranges_len : 0;
	size_t y_len = y != NULL ? y->ranges_len : 0;

	return x_len == y_len && (x_len == 0 || (x->role_id == y->role_id &&
	                                         memcmp(x->ranges, y->ranges, 8 * x_len) == 0));
}

/* Requests that went to that life through a route node are not answered any more. */
static void note_lost(struct ob__node *node, uint64_t id)
{
	struct lost *l = calloc(1, sizeof(*l));

	if (l != NULL) {
		l->node = id;
		ob__list_append(&node->cluster.lost, &l->link);
	}
}

static void log_change(unsigned change, const struct ob__member *m, const struct ob__member *old)
{
	const char *name = m->desc != NULL ? m->desc->name : "?";
	const char *role = m->desc != NULL ? m->desc->role : "?";

	if ((change & (OB__DIR_ADDED | OB__DIR_REMOVED)) != 0) {
		ob__notice("cluster", "%s (%s): %s", name, role,
		           (change & OB__DIR_ADDED) != 0 ? "joined"
		                                         : ob__member_state_word(m->state));
	} else if ((change & OB__DIR_REPLACED) != 0) {
		ob__notice("cluster", "%s (%s): started again", name, role);
	} else if ((change & OB__DIR_STATE) != 0) {
		ob__notice("cluster", "%s (%s): %s, was %s", name, role,
		           ob__member_state_word(m->state), ob__member_state_word(old->state));
	}
}

static void dir_on_node(void *arg, unsigned change, struct ob__dir_node *n,
                        const struct ob__member *old)
{
	struct ob__node *node = arg;
	struct ob__cluster *c = &node->cluster;
	const struct ob__member *m = &n->m;
	bool removed = (change & OB__DIR_REMOVED) != 0;
	struct ob__peer *p = removed ? ob__registry_get(&node->registry, m->id) : peer_of(node, m);

	log_change(change, m, old);
	if (!same_ranges(old, removed ? NULL : m)) {
		c->served_changed = true;
	}
	if (p != NULL && (change & (OB__DIR_STATE | OB__DIR_LOAD)) != change) {
		struct ob__dial_way way;
		(void)ob__dial_way(&way, m->desc, c->dialer.machine);
		p->near = way.near[0] != '\0';
	}
	if (p != NULL) {
		ob__registry_set_state(&node->registry, p, m->state);
		ob__registry_set_weight(&node->registry, p, m->weight);
		p->balance.load = m->load;
	}
	if (p != NULL && removed) {
		ob__dialer_gone(&c->dialer, p);
	} else if (p != NULL && (change & (OB__DIR_STATE | OB__DIR_LOAD)) != change) {
		(void)ob__dialer_node(&c->dialer, p, m->desc,
		                      m->desc->role_id == node->router.route_role);
	}
	if ((change & (OB__DIR_REMOVED | OB__DIR_REPLACED)) != 0) {
		note_lost(node, m->id);
	}
	if ((change & ~(unsigned)(OB__DIR_LOAD | OB__DIR_UPDATED)) != 0) {
		ob__losses_member(node, m);
	}
	if ((change & ~(unsigned)(OB__DIR_LOAD | OB__DIR_STATE)) != 0) {
		ob__far_changed(node);
	}
	if (p != NULL) {
		tell_modules(node, p);
	}
	if ((change & (OB__DIR_LOAD | OB__DIR_UPDATED)) != change || c->served_changed) {
		c->reach_changed = true;
		ob__registry_changed(&node->registry);
		ob__cluster_after(node);
	}
}

static void dir_on_stale(void *arg, bool stale)
{
	(void)arg;
	if (stale) {
		ob__warning("cluster", "no route node can be asked: who is there stays as it was");
	} else {
		ob__notice("cluster", "a route node says who is there");
	}
}

/* Another process has, or had, our name and a higher number: ours is higher from now on. */
static void dir_on_clash(void *arg, uint64_t incarnation)
{
	struct ob__node *node = arg;
	struct ob__cluster *c = &node->cluster;

	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	uint64_t next = incarnation + 1 + c->random % NEWER_AT_MOST;
	ob__warning("cluster",
	            "a route node knows incarnation %" PRIu64 " of this node, which has %" PRIu64
	            "; it is %" PRIu64
	            " from now on (is the clock right, is state_dir kept, is the name unique?)",
	            incarnation, node->self.incarnation, next);
	node->self.incarnation = next;
	node->registry.self.incarnation = next;
	ob__node_keep_incarnation(node->dir, next);
	ob__directory_incarnation(&c->dir, next, now_ms(node));
}

static void dir_on_answer(void *arg, uint64_t source, const struct ob__member *m)
{
	struct ob__node *node = arg;
	const struct ob__peer *from = ob__registry_get(&node->registry, source);
	const struct ob__peer *about = ob__registry_get(&node->registry, m->id);

	ob__info("cluster", "%s says of %s: %s",
	         source == node->self.id ? node->self.name
	         : from != NULL          ? from->who.name
	                                 : "?",
	         about != NULL ? about->who.name : "?",
	         m->state == OB__MEMBER_UNKNOWN ? "never heard of it"
	                                        : ob__member_state_word(m->state));
}

static const struct ob__directory_ops dir_ops = {
	.send = dir_send,
	.linked = dir_linked,
	.on_node = dir_on_node,
	.on_stale = dir_on_stale,
	.on_clash = dir_on_clash,
	.on_answer = dir_on_answer,
};

static const struct ob__dirview_ops view_ops = {.send = dir_send};

/* ---- what follows, outside of the directory ---- */

static void deliver(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;
	uint64_t self = node->self.id;
	struct ob__list all;

	ob__list_init(&all);
	ob__list_splice(&all, &c->letters);
	while (!ob__list_empty(&all)) {
		struct letter *l = OB__CONTAINER(all.next, struct letter, link);
		bool to_view = ob__dir_kind_for_view((enum ob__dir_kind)ob__dir_kind(l->sys));
		int rc = to_view ? ob__dirview_receive(&c->view, self, l->sys, l->data, l->len,
		                                       now_ms(node))
		                 : ob__directory_receive(&c->dir, self, l->sys, l->data, l->len,
		                                         now_ms(node));
		if (rc < 0) {
			ob__error("cluster", "what this node says to itself: %s",
			          ob__dir_reason(rc));
		}
		ob__list_del(&l->link);
		free(l);
	}
	rearm(node);
}

static void end_lost(struct ob__node *node)
{
	struct ob__list all;

	ob__list_init(&all);
	ob__list_splice(&all, &node->cluster.lost);
	while (!ob__list_empty(&all)) {
		struct lost *l = OB__CONTAINER(all.next, struct lost, link);
		const struct ob__peer *gone = ob__registry_get(&node->registry, l->node);
		ob__list_del(&l->link);
		free(l);
		OB__LIST_EACH (it, &node->registry.peers) {
			const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
			if (gone != NULL && p->link != NULL && p != gone &&
			    p->who.role_id == node->router.route_role) {
				ob__pending_node_lost(p->link, gone);
			}
		}
	}
}

static void on_after(void *arg)
{
	struct ob__node *node = arg;
	struct ob__cluster *c = &node->cluster;

	deliver(node);
	if (c->served_changed) {
		c->served_changed = false;
		ob__cluster_serve(node);
	}
	end_lost(node);
	if (c->reach_changed) {
		c->reach_changed = false;
		ob__users_peers_changed(node);
		ob__groups_ways_changed(node);
		ob__dispatch_peer_up(node);
	}
	raise_events(node);
}

static void on_timer(void *arg)
{
	struct ob__node *node = arg;
	struct ob__cluster *c = &node->cluster;
	uint64_t now = now_ms(node);

	if (now - c->described_at >= DESCRIBE_MS) {
		ob__cluster_describe(node); /* modules change */
	}
	ob__directory_load(&c->dir, node->dispatch.reqs.live);
	ob__directory_tick(&c->dir, now);
	if (c->has_view) {
		ob__dirview_tick(&c->view, now);
	}
	rearm(node);
}

static void wanted(void *arg, struct ob__peer *peer)
{
	struct ob__node *node = arg;
	const struct ob__dir_node *n = ob__directory_get(&node->cluster.dir, peer->who.id);

	if (n != NULL && !node->cluster.leaving) {
		ob__dialer_want(&node->cluster.dialer, peer, n->m.desc);
	}
}

/* ---- links ---- */

void ob__cluster_link_up(struct ob__node *node, struct ob__peer *peer)
{
	struct ob__cluster *c = &node->cluster;
	uint64_t now = now_ms(node);

	ob__cluster_path_up(node, peer);
	if (c->has_view && ob__dirview_link_up(&c->view, peer->who.id, peer->who.incarnation,
	                                       peer->who.role_id) < 0) {
		ob__warning("cluster", "%s: there are too many nodes to list it", peer->who.name);
	}
	if (peer->who.role_id == node->router.route_role &&
	    ob__directory_source_up(&c->dir, peer->who.id, now) < 0) {
		ob__warning("cluster", "%s: one route node too many to listen to", peer->who.name);
	}
	tell_modules(node, peer);
	rearm(node);
}

void ob__cluster_link_down(struct ob__node *node, struct ob__peer *peer)
{
	struct ob__cluster *c = &node->cluster;
	uint64_t now = now_ms(node);
	bool is_route = peer->who.role_id == node->router.route_role;

	ob__cluster_path_down(node, peer);
	if (peer->parted && !is_route) {
		ob__dialer_gone(&c->dialer, peer);
	}
	if (c->has_view) {
		ob__dirview_link_down(&c->view, peer->who.id, now);
	}
	ob__directory_source_down(&c->dir, peer->who.id, now);
	ob__directory_link_down(&c->dir, peer->who.id, now);
	take_over(node, peer);
	if (!peer->parted && !is_route && !c->leaving) {
		(void)ob__directory_ask(&c->dir, peer->who.id);
	}
	tell_modules(node, peer);
	rearm(node);
}

void ob__cluster_link_gap(struct ob__node *node, const struct ob__peer *peer)
{
	struct ob__cluster *c = &node->cluster;
	uint64_t now = now_ms(node);

	if (c->has_view) {
		ob__dirview_link_gap(&c->view, peer->who.id, now);
	}
	if (peer->who.role_id == node->router.route_role) {
		(void)ob__directory_source_up(&c->dir, peer->who.id, now);
	}
	rearm(node);
}

static int receive(struct ob__node *node, const struct ob__link *link, const struct ob__frame *f,
                   enum ob__dir_kind kind)
{
	struct ob__cluster *c = &node->cluster;
	uint64_t from = link->peer->who.id;

	if (!ob__dir_kind_for_view(kind)) {
		return ob__directory_receive(&c->dir, from, f->id, f->payload, f->payload_len,
		                             now_ms(node));
	}
	return c->has_view ? ob__dirview_receive(&c->view, from, f->id, f->payload, f->payload_len,
	                                         now_ms(node))
	                   : -ENOENT;
}

bool ob__cluster_frame(struct ob__node *node, struct ob__link *link, const struct ob__frame *f)
{
	int kind = ob__dir_kind(f->id);

	if (f->dst == node->self.id && ob__cluster_fence(node, link, f)) {
		return true;
	}
	if (kind < 0) {
		return false;
	}
	if (f->dst != 0) {
		ob__link_shut(link, "a frame of the directory is for one link only");
		return true;
	}
	int rc = receive(node, link, f, (enum ob__dir_kind)kind);
	rearm(node);
	/* One too many to be listed, or to listen to: that is no rule broken. */
	if (rc < 0 && rc != -ENOTCONN) {
		ob__link_shut(link, ob__dir_reason(rc));
	}
	return true;
}

/* ---- begin and end ---- */

int ob__cluster_init(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;
	uint64_t settle = node->conf->reconnect_ms + SETTLE_MORE;
	const struct ob__dirview_options options = {
		.settle_ms = settle > SETTLE_MS ? settle : SETTLE_MS,
	};
	uint64_t id = node->self.id;
	uint64_t seed = node->registry.seed;

	ob__list_init(&c->letters);
	ob__list_init(&c->events);
	ob__list_init(&c->lost);
	ob__timeout_init(&c->timer, on_timer, node);
	ob__timeout_init(&c->after, on_after, node);
	ob__cluster_path_init(node);
	c->random = seed | 1;
	ob__dialer_init(&c->dialer, node->loop, node->links, ob__machine_id(),
	                node->conf->link_idle_ms);
	ob__directory_init(&c->dir, id, node->self.incarnation, seed ^ 1, &dir_ops, node,
	                   now_ms(node));
	node->router.wanted = wanted;
	node->router.wanted_arg = node;
	if (node->self.role_id != node->router.route_role) {
		return 0;
	}
	int rc = ob__dirview_init(&c->view, node->self.incarnation, seed ^ 2, &options, &view_ops,
	                          node, now_ms(node));
	c->has_view = rc == 0;
	if (rc == 0) {
		rc = ob__dirview_link_up(&c->view, id, node->self.incarnation, node->self.role_id);
	}
	return rc == 0 ? ob__directory_source_up(&c->dir, id, now_ms(node)) : rc;
}

static void drop_letters(struct ob__cluster *c)
{
	while (!ob__list_empty(&c->letters)) {
		struct letter *l = OB__CONTAINER(c->letters.next, struct letter, link);
		ob__list_del(&l->link);
		free(l);
	}
	while (!ob__list_empty(&c->events)) {
		struct event *e = OB__CONTAINER(c->events.next, struct event, link);
		ob__list_del(&e->link);
		free(e);
	}
	while (!ob__list_empty(&c->lost)) {
		struct lost *l = OB__CONTAINER(c->lost.next, struct lost, link);
		ob__list_del(&l->link);
		free(l);
	}
}

void ob__cluster_free(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;

	if (c->dialer.loop == NULL) {
		return;
	}
	ob__timeout_clear(node->loop, &c->timer);
	ob__timeout_clear(node->loop, &c->after);
	ob__timeout_clear(node->loop, &c->fence_timeout);
	ob__dialer_free(&c->dialer);
	ob__directory_free(&c->dir);
	ob__dirview_free(&c->view);
	drop_letters(c);
}

void ob__cluster_leave(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;

	if (c->dialer.loop != NULL && !c->leaving) {
		c->leaving = true;
		ob__directory_leave(&c->dir, now_ms(node));
		rearm(node);
	}
}
