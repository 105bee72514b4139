/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/call/cancel.h"

#include <stdlib.h>

#include "host/call/keys.h"
#include "host/message/held.h"
#include "host/message/ignored.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "lib/many.h"
#include "lib/slab.h"

#define FORMER   4u     /* calls with a caller's slot that are known */
#define WAITS_MS 10000u /* at most, at a node that can't pass it on */

void ob__cancels_init(struct ob__node *node)
{
	struct ob__cancels *c = &node->cancels;

	ob__map_init(&c->held, node->registry.seed);
	if (node->self.role_id == node->router.route_role) {
		/* Without memory for that, what it passes on ends by its deadline. */
		c->places = calloc(OB__CANCEL_PLACES, sizeof(*c->places));
	}
	c->sent = ob__stat_counter(node->stats, "obhost_cancels_sent_total", NULL,
	                           "Calls cancelled here that other nodes were told of.");
	c->passed = ob__stat_counter(node->stats, "obhost_cancels_passed_total", NULL,
	                             "Cancels passed on to the node that this one had chosen.");
	c->ended = ob__stat_counter(node->stats, "obhost_requests_cancelled_total", NULL,
	                            "Requests held here that ended because they were cancelled.");
}

void ob__cancels_free(struct ob__node *node)
{
	ob__map_free(&node->cancels.held);
	free(node->cancels.places);
	node->cancels.places = NULL;
}

/* ---- at the handler's node ---- */

static bool key_of(const struct ob__req *r, uint64_t *src, uint64_t *call)
{
	if ((r->view.flags & OB_VIEW_CALL) == 0) {
		return false;
	}
	*src = r->origin == OB__ORIGIN_LINK ? r->from.link.src : r->gen->node->self.id;
	*call = r->origin == OB__ORIGIN_LINK   ? r->from.link.call
	        : r->origin == OB__ORIGIN_SELF ? r->from.self
	                                       : 0;
	return *call != 0;
}

void ob__cancel_hold(struct ob__req *r)
{
	uint64_t src;
	uint64_t call;

	if (key_of(r, &src, &call)) {
		/* Without memory for that it can't be cancelled. */
		(void)ob__map_put(&r->gen->node->cancels.held, src, call, r);
	}
}

void ob__cancel_release(struct ob__req *r)
{
	struct ob__map *held = &r->gen->node->cancels.held;
	uint64_t src;
	uint64_t call;

	if (key_of(r, &src, &call) && ob__map_get(held, src, call) == r) {
		ob__map_del(held, src, call);
	}
}

/* True when a handler had it. */
static bool end_held(struct ob__node *node, uint64_t src, uint64_t call)
{
	struct ob__req *r = ob__map_get(&node->cancels.held, src, call);

	if (r != NULL && !r->ended && !ob__keys_awaited(node, r->key)) {
		++*node->cancels.ended;
		ob__req_cancel(r);
	}
	return r != NULL;
}

/* ---- at the caller ---- */

struct here {
	struct ob__node *node;
	uint64_t call;
};

static void cancel_here(void *arg)
{
	struct here *h = arg;

	(void)end_held(h->node, h->node->self.id, h->call);
	free(h);
}

void ob__cancel_at(struct ob__node *node, uint64_t to, uint64_t call)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_CANCEL,
		.call = call,
		.budget = WAITS_MS,
	};

	if (to != node->self.id) {
		*node->cancels.sent += ob__send_to_node(node, to, &f) == 0;
		return;
	}
	struct here *h = malloc(sizeof(*h));
	if (h != NULL) {
		*h = (struct here){node, call};
		if (ob__loop_defer(node->loop, cancel_here, h) != 0) {
			free(h);
		}
	}
}

void ob__cancel_pending(struct ob__node *node, const struct ob__pending *p, uint64_t to)
{
	const struct ob__peer *went_to = p->to;

	if (ob__list_empty(&p->link)) { /* it has not gone out */
		ob__held_forget(node, p);
		to = to == node->self.id ? to : 0;
	} else if (went_to != NULL &&
	           (to == 0 || went_to->who.role_id != node->router.route_role)) {
		to = went_to->who.id;
	}
	if (to != 0) {
		ob__cancel_at(node, to, p->handle);
	}
}

/* ---- on the way ---- */

/* A caller's calls that are not over have each a slot of its own, and those before them in it
 * another serial: they may still be at work, though the caller no longer waits. */
static struct ob__cancel_place *place(const struct ob__cancels *c, uint64_t src, uint64_t call)
{
	uint64_t slot = call & OB__SLAB_SLOT_MASK;
	uint64_t serial = call >> OB__SLAB_SLOT_BITS;

	return &c->places[((src >> 32) + slot * FORMER + serial % FORMER) &
	                  (OB__CANCEL_PLACES - 1)];
}

void ob__cancel_place(struct ob__node *node, const struct ob__frame *f, const uint8_t *raw,
                      const struct ob__peer *to)
{
	struct ob__cancels *c = &node->cancels;

	if (c->places == NULL || f->kind != OB__FRAME_REQUEST || ob__frame_dst(raw) != 0 ||
	    (f->flags & OB__FRAME_ONE_WAY) != 0 || f->src == node->self.id) {
		return;
	}
	if ((f->flags & OB__FRAME_MANY) == 0) {
		*place(c, f->src, f->call) = (struct ob__cancel_place){f->src, f->call, to->who.id};
		return;
	}
	for (struct ob__frame one = ob__many_begin(f); ob__many_next(&one, f);) {
		*place(c, f->src, one.call) =
			(struct ob__cancel_place){f->src, one.call, to->who.id};
	}
}

/* To where the call went. */
static void pass(struct ob__node *node, const struct ob__peer *from, const struct ob__frame *f)
{
	struct ob__cancels *c = &node->cancels;
	struct ob__cancel_place *p = c->places != NULL ? place(c, f->src, f->call) : NULL;

	if (p == NULL || p->call != f->call || p->src != f->src || f->hops <= 1) {
		return;
	}
	const struct ob__route_query q = {.node = p->to, .stays = true, .from = from};
	struct ob__route route = ob__router_find(&node->router, &q);
	struct ob__frame on = *f;
	on.dst = p->to;
	on.hops = (uint8_t)(f->hops - 1);
	*p = (struct ob__cancel_place){0};
	if (route.kind == OB__ROUTE_PEER) {
		*c->passed += ob__peer_send(node->links, route.peer, &on) == 0;
	}
}

bool ob__cancel_frame(struct ob__node *node, const struct ob__peer *from, const struct ob__frame *f)
{
	if (f->call == 0 || f->dst == 0 || f->payload_len > 0) {
		ob__ignore_frame(node, f, OB__IGNORED_CANCEL);
		return true;
	}
	if (f->dst != node->self.id) {
		return ob__held_forget_call(node, f->src, f->call);
	}
	if (!ob__held_forget_call(node, f->src, f->call) && !end_held(node, f->src, f->call)) {
		pass(node, from, f);
	}
	return true;
}
