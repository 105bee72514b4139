/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/log.h"
#include "host/cluster/cluster_priv.h"
#include "host/node.h"

#define FENCE_MS  2000u
#define SWITCH_MS 500u /* the same where the link that keeps things has those of others, too */
#define AGAIN_MS  20u  /* until a FENCE that found no room is tried again */

static void release(struct ob__node *node, struct ob__peer *p)
{
	struct ob__peer *on = p->fence_on;

	p->fence = 0;
	p->fence_due = false;
	node->cluster.fences--;
	ob__peer_release(on);
}

/* Sends the peer's FENCE on the old way, or notes that it is to be sent. False when that way is
 * lost. */
static bool send_fence(struct ob__node *node, struct ob__peer *p)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_FENCE,
		.call = p->fence,
		.dst = p->who.id,
		.hops = OB__FRAME_HOPS,
	};
	int rc = ob__peer_send(node->links, p->fence_via, &f);

	p->fence_due = rc == OB_E_BUSY || rc == OB_E_NOMEM;
	*node->cluster.fences_busy += p->fence_due;
	return rc == 0 || p->fence_due;
}

static void on_late(void *arg)
{
	struct ob__node *node = arg;
	struct ob__cluster *c = &node->cluster;
	uint64_t now = ob__loop_now(node->loop);
	uint64_t next = UINT64_MAX;

	OB__LIST_EACH (it, &node->registry.peers) {
		struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (p->fence == 0) {
			continue;
		}
		if (p->fence_until <= now) {
			++*c->fences_late;
			ob__info("cluster", "%s: the old way does not answer; the new one is used",
			         p->who.name);
			release(node, p);
			continue;
		}
		if (p->fence_due && !send_fence(node, p)) {
			release(node, p);
			continue;
		}
		uint64_t due = p->fence_due ? now + AGAIN_MS : p->fence_until;
		next = due < next ? due : next;
	}
	if (next != UINT64_MAX) {
		c->fence_timeout_at = next;
		ob__timeout_set(node->loop, &c->fence_timeout, next - now);
	}
}

/* What went to the peer through `via` arrives before what the link of `on` is given from now on. */
static void fence(struct ob__node *node, struct ob__peer *p, struct ob__peer *via,
                  struct ob__peer *on, uint64_t patience)
{
	struct ob__cluster *c = &node->cluster;

	if (p->fence != 0) {
		release(node, p); /* two changes within a moment */
	}
	p->fence = ++c->last_fence;
	p->fence_via = via;
	p->fence_on = on;
	if (!send_fence(node, p)) {
		p->fence = 0;
		return;
	}
	p->fence_until = ob__loop_now(node->loop) + patience;
	c->fences++;
	++*c->fences_sent;
	ob__peer_hold(on);
	uint64_t wait = p->fence_due ? AGAIN_MS : patience;
	if (!ob__timeout_armed(&c->fence_timeout) ||
	    ob__loop_now(node->loop) + wait < c->fence_timeout_at) {
		c->fence_timeout_at = ob__loop_now(node->loop) + wait;
		ob__timeout_set(node->loop, &c->fence_timeout, wait);
	}
}

void ob__cluster_path_up(struct ob__node *node, struct ob__peer *peer)
{
	ob__router_met(&node->router, peer);
	struct ob__peer *via = peer->via;
	bool used = peer->via_used && via != NULL && via != peer && via->link != NULL;

	peer->via_used = false;
	if (used) {
		fence(node, peer, via, peer, FENCE_MS);
	}
}

/* Of a node that passes things on, the link it would keep them for has those of others, too. */
static void switched(void *arg, struct ob__peer *peer, struct ob__peer *from, struct ob__peer *to)
{
	struct ob__node *node = arg;

	if (node->self.role_id != node->router.route_role && to->link != NULL) {
		fence(node, peer, from, to, SWITCH_MS);
	}
}

void ob__cluster_path_init(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;

	c->last_fence = node->self.incarnation;
	node->router.switched = switched;
	node->router.switched_arg = node;
	ob__timeout_init(&c->fence_timeout, on_late, node);
	c->fences_sent = ob__stat_counter(node->stats, "obhost_fences_total", NULL,
	                                  "Changes of a path that waited for the old one.");
	c->fences_late = ob__stat_counter(node->stats, "obhost_fences_late_total", NULL,
	                                  "Changes of a path whose fence did not come back.");
	c->fences_busy = ob__stat_counter(node->stats, "obhost_fences_busy_total", NULL,
	                                  "Fences that found no room on the old path, each try.");
}

void ob__cluster_path_down(struct ob__node *node, struct ob__peer *peer)
{
	struct ob__cluster *c = &node->cluster;

	if (c->fences == 0) {
		return;
	}
	OB__LIST_EACH (it, &node->registry.peers) {
		struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (p->fence != 0 && p->fence_on == peer) {
			p->fence = 0; /* what was kept went with the link */
			p->fence_due = false;
			c->fences--;
		} else if (p->fence != 0 && p->fence_via == peer) {
			release(node, p);
		}
	}
}

int ob__cluster_forward(struct ob__node *node, const struct ob__peer *from, struct ob__peer *to,
                        const uint8_t *raw, size_t len)
{
	/* Nothing that came from the node the fence went through has ever gone there from here. Its
	 * own fence may be among it, which has come this way: neither may wait for the other. */
	return to->fence != 0 && from != NULL && to->fence_on == to && from == to->fence_via
	               ? ob__peer_forward_past(node->links, to, raw, len)
	               : ob__peer_forward(node->links, to, raw, len);
}

bool ob__cluster_fence(struct ob__node *node, struct ob__link *link, const struct ob__frame *f)
{
	struct ob__peer *p;
	struct ob__frame back = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_FENCE_BACK,
		.call = f->call,
		.dst = f->src,
		.hops = OB__FRAME_HOPS,
	};

	switch (f->id) {
	case OB__SYS_FENCE:
		/* Not on this node's own way back, which may be waiting for a fence itself. */
		if (link->peer->link != NULL) {
			(void)ob__peer_send(node->links, link->peer, &back);
		}
		return true;
	case OB__SYS_FENCE_BACK:
		p = ob__registry_get(&node->registry, f->src);
		if (p != NULL && p->fence != 0 && p->fence == f->call) {
			release(node, p);
		}
		return true;
	default:
		return false;
	}
}
