/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/held.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/call/cancel.h"
#include "host/cluster/cluster.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "host/session/end.h"
#include "host/session/sticky.h"

#define HELD_EARLY_MS  50u /* a held request ends this much before its deadline */
#define HELD_SYSTEM_MS 60000u

struct held_frame {
	struct ob__list link;
	uint64_t until; /* loop ms */
	uint64_t deadline;
	struct ob__route_query query;
	size_t len;
	uint8_t bytes[];
};

static void held_arm(struct ob__node *node)
{
	struct ob__dispatch *d = &node->dispatch;
	uint64_t now = ob__loop_now(node->loop);
	uint64_t soonest = UINT64_MAX;

	OB__LIST_EACH (it, &d->held_frames) {
		const struct held_frame *h = OB__CONTAINER(it, struct held_frame, link);
		soonest = h->until < soonest ? h->until : soonest;
	}
	d->held_due = soonest;
	if (soonest != UINT64_MAX) {
		ob__timeout_set(node->loop, &d->held_timeout, soonest > now ? soonest - now : 0);
	}
}

static void held_free(struct ob__node *node, struct held_frame *h)
{
	node->dispatch.held_bytes -= h->len;
	ob__list_del(&h->link);
	free(h);
}

static void held_refuse(struct ob__node *node, const struct held_frame *h, int code,
                        const char *text)
{
	struct ob__frame f;
	size_t need;

	if (ob__frame_get(&f, h->bytes, h->len, h->len, &need) > 0) {
		ob__refuse_frame(node, &f, code, text);
	}
}

static struct ob__route held_route(struct ob__node *node, const struct held_frame *h,
                                   const char **text)
{
	struct ob__route_query q = h->query;
	enum ob__sticky_verdict verdict = OB__STICKY_GO;
	struct ob__frame f;
	size_t need;

	*text = NULL;
	if (ob__frame_get(&f, h->bytes, h->len, h->len, &need) > 0) {
		q.frame = &f;
		verdict = ob__sticky_of_held(node, &f, &q);
	}
	switch (verdict) {
	case OB__STICKY_FAIL:
		*text = OB__STICKY_LOST;
		return (struct ob__route){.kind = OB__ROUTE_REFUSED, .code = OB_E_NO_ROUTE};
	case OB__STICKY_WAIT:
		return (struct ob__route){.kind = OB__ROUTE_NONE};
	default:
		return ob__router_find(&node->router, &q);
	}
}

void ob__held_check(void *arg)
{
	struct ob__node *node = arg;
	uint64_t now = ob__loop_now(node->loop);
	struct ob__list due;

	ob__list_init(&due);
	OB__LIST_EACH_SAFE (it, &node->dispatch.held_frames) {
		struct held_frame *h = OB__CONTAINER(it, struct held_frame, link);
		if (h->until <= now) {
			ob__list_del(&h->link);
			ob__list_append(&due, &h->link);
		}
	}
	while (!ob__list_empty(&due)) {
		struct held_frame *h = OB__CONTAINER(due.next, struct held_frame, link);
		held_refuse(node, h, OB_E_NO_ROUTE, "no live node can take it");
		held_free(node, h);
	}
	held_arm(node);
}

static bool waits_for_its_node(const struct ob__frame *f, const struct ob__route_query *q)
{
	return q->node != 0 && (f->flags & OB__FRAME_LOST_WAIT) != 0;
}

/* Keeps a copy of a whole frame. 0 or OB_E_BUSY. */
int ob__hold_frame(struct ob__node *node, const struct ob__frame *f, const uint8_t *raw,
                   const struct ob__route_query *q)
{
	struct ob__dispatch *d = &node->dispatch;
	uint64_t now = ob__loop_now(node->loop);

	if (d->held_bytes + f->len > node->conf->limits.held) {
		return OB_E_BUSY;
	}
	struct held_frame *h = malloc(sizeof(*h) + f->len);
	if (h == NULL) {
		return OB_E_BUSY;
	}
	bool lasts = f->kind == OB__FRAME_SYSTEM && f->budget == 0;
	uint64_t budget = lasts ? HELD_SYSTEM_MS : f->budget;
	uint64_t patience = budget > HELD_EARLY_MS ? budget - HELD_EARLY_MS : 0;
	if (waits_for_its_node(f, q) && node->conf->sticky_wait_ms < patience) {
		patience = node->conf->sticky_wait_ms;
	}
	h->query = *q;
	h->query.frame = NULL;
	h->query.first = false; /* what comes after it may not wait */
	h->len = f->len;
	h->deadline = now + budget;
	h->until = now + patience;
	memcpy(h->bytes, raw, f->len);
	ob__list_append(&d->held_frames, &h->link);
	d->held_bytes += f->len;
	++*d->held_total;
	if (!ob__timeout_armed(&d->held_timeout) || h->until < d->held_due) {
		d->held_due = h->until;
		ob__timeout_set(node->loop, &d->held_timeout, h->until - now);
	}
	return 0;
}

/* Holds a frame that this node made and could not send. */
int ob__hold_own(struct ob__node *node, struct ob__frame *f, const struct ob__route_query *q)
{
	size_t len = ob__frame_size(f);
	uint8_t *raw = malloc(len);

	if (raw == NULL) {
		return OB_E_BUSY;
	}
	f->len = (uint32_t)len;
	f->version = OB__FRAME_VERSION;
	f->src = node->self.id;
	f->hops = OB__FRAME_HOPS;
	ob__frame_put(raw, f);
	int rc = ob__hold_frame(node, f, raw, q);
	free(raw);
	return rc;
}

bool ob__held_forget_call(struct ob__node *node, uint64_t src, uint64_t call)
{
	OB__LIST_EACH_SAFE (it, &node->dispatch.held_frames) {
		struct held_frame *h = OB__CONTAINER(it, struct held_frame, link);
		struct ob__frame f;
		size_t need;
		if (ob__frame_get(&f, h->bytes, h->len, h->len, &need) > 0 &&
		    f.kind == OB__FRAME_REQUEST && (f.flags & OB__FRAME_MANY) == 0 &&
		    f.call == call && f.src == src) {
			held_free(node, h);
			return true;
		}
	}
	return false;
}

void ob__held_forget(struct ob__node *node, const struct ob__pending *p)
{
	if (p->link_offset == 0) { /* else it went out */
		(void)ob__held_forget_call(node, node->self.id, p->handle);
	}
}

static void held_send(struct ob__node *node, struct held_frame *h, const struct ob__route *route)
{
	struct ob__peer *peer = route->peer;
	uint64_t now = ob__loop_now(node->loop);
	struct ob__frame f;
	size_t need;

	if (ob__frame_get(&f, h->bytes, h->len, h->len, &need) <= 0) {
		return;
	}
	if ((f.flags & OB__FRAME_CALL) != 0) {
		ob__cancel_place(node, &f, h->bytes, route->to);
	}
	uint32_t left = h->deadline > now ? (uint32_t)(h->deadline - now) : 0;
	ob__frame_patch_forward(h->bytes, f.hops, f.kind == OB__FRAME_REQUEST ? left : f.budget,
	                        h->query.role, route->dst != 0 ? route->dst : h->query.node);
	int rc = ob__cluster_forward(node, h->query.from, peer, h->bytes, h->len);
	if (rc != 0) {
		ob__refuse_frame(node, &f, rc, NULL);
	} else if (f.src == node->self.id && f.kind == OB__FRAME_REQUEST && f.call != 0) {
		struct ob__pending *p = ob__pending_find(&node->pendings, f.call);
		if (p != NULL && peer->link != NULL) {
			ob__pending_sent(p, peer->link, route->to);
		}
	}
}

void ob__held_drop(struct ob__node *node)
{
	while (!ob__list_empty(&node->dispatch.held_frames)) {
		held_free(node,
		          OB__CONTAINER(node->dispatch.held_frames.next, struct held_frame, link));
	}
}

void ob__dispatch_peer_up(struct ob__node *node)
{
	struct ob__list all;

	ob__list_init(&all);
	ob__list_splice(&all, &node->dispatch.held_frames);
	while (!ob__list_empty(&all)) {
		struct held_frame *h = OB__CONTAINER(all.next, struct held_frame, link);
		const char *text;
		struct ob__route route = held_route(node, h, &text);
		if (route.kind == OB__ROUTE_PEER) {
			held_send(node, h, &route);
			held_free(node, h);
		} else if (route.kind == OB__ROUTE_REFUSED) {
			held_refuse(node, h, route.code, text);
			held_free(node, h);
		} else {
			ob__list_del(&h->link);
			ob__list_append(&node->dispatch.held_frames, &h->link);
		}
	}
	ob__notices_retry(node);
}
