/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/log.h"
#include "host/cluster_priv.h"
#include "host/node.h"

#define FENCE_MS 2000u
#define AGAIN_MS 20u /* until a FENCE that found no room is tried again */

static void release(struct ob__node *node, struct ob__peer *p)
{
	p->fence = 0;
	p->fence_due = false;
	node->cluster.fences--;
	ob__peer_release(p);
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
	int rc = ob__peer_send(node->links, p->via, &f);

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
		ob__timeout_set(node->loop, &c->fence_timeout, next - now);
	}
}

void ob__cluster_path_init(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;

	c->last_fence = node->self.incarnation;
	ob__timeout_init(&c->fence_timeout, on_late, node);
	c->fences_sent = ob__stat_counter(node->stats, "obhost_fences_total", NULL,
	                                  "Changes of a path that waited for the old one.");
	c->fences_late = ob__stat_counter(node->stats, "obhost_fences_late_total", NULL,
	                                  "Changes of a path whose fence did not come back.");
	c->fences_busy = ob__stat_counter(node->stats, "obhost_fences_busy_total", NULL,
	                                  "Fences that found no room on the old path, each try.");
}

void ob__cluster_path_up(struct ob__node *node, struct ob__peer *peer)
{
	struct ob__cluster *c = &node->cluster;
	ob__router_met(&node->router, peer);
	struct ob__peer *via = peer->via;
	bool used = peer->via_used && via != NULL && via != peer && via->link != NULL;

	peer->via_used = false;
	if (!used) {
		return;
	}
	peer->fence = ++c->last_fence;
	if (!send_fence(node, peer)) {
		peer->fence = 0;
		return;
	}
	peer->fence_until = ob__loop_now(node->loop) + FENCE_MS;
	c->fences++;
	++*c->fences_sent;
	ob__peer_hold(peer);
	if (peer->fence_due || !ob__timeout_armed(&c->fence_timeout)) {
		ob__timeout_set(node->loop, &c->fence_timeout,
		                peer->fence_due ? AGAIN_MS : FENCE_MS);
	}
}

void ob__cluster_path_down(struct ob__node *node, struct ob__peer *peer)
{
	struct ob__cluster *c = &node->cluster;

	if (peer->fence != 0) {
		peer->fence = 0; /* what was kept went with the link */
		peer->fence_due = false;
		c->fences--;
	}
	if (c->fences == 0) {
		return;
	}
	OB__LIST_EACH (it, &node->registry.peers) {
		struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (p->fence != 0 && p->via == peer) {
			release(node, p);
		}
	}
}

int ob__cluster_forward(struct ob__node *node, const struct ob__peer *from, struct ob__peer *to,
                        const uint8_t *raw, size_t len)
{
	/* Nothing that came from the node the fence went through has ever gone there from here. Its
	 * own fence may be among it, which has come this way: neither may wait for the other. */
	return to->fence != 0 && from != NULL && from == to->via
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
