/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/cancel.h"

#include <stdlib.h>

#include "host/held.h"
#include "host/ignored.h"
#include "host/keys.h"
#include "host/node.h"
#include "host/reply.h"
#include "host/request.h"

#define WAITS_MS 10000u /* at most, at a node that can't pass it on */

void ob__cancels_init(struct ob__node *node)
{
	struct ob__cancels *c = &node->cancels;

	ob__map_init(&c->held, node->registry.seed);
	c->sent = ob__stat_counter(node->stats, "obhost_cancels_sent_total", NULL,
	                           "Calls cancelled here that other nodes were told of.");
	c->ended = ob__stat_counter(node->stats, "obhost_requests_cancelled_total", NULL,
	                            "Requests held here that ended because they were cancelled.");
}

void ob__cancels_free(struct ob__node *node)
{
	ob__map_free(&node->cancels.held);
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

static void end_held(struct ob__node *node, uint64_t src, uint64_t call)
{
	struct ob__req *r = ob__map_get(&node->cancels.held, src, call);

	if (r != NULL && !r->ended && !ob__keys_awaited(node, r->key)) {
		++*node->cancels.ended;
		ob__req_cancel(r);
	}
}

/* ---- at the caller ---- */

struct here {
	struct ob__node *node;
	uint64_t call;
};

static void cancel_here(void *arg)
{
	struct here *h = arg;

	end_held(h->node, h->node->self.id, h->call);
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
	} else if (went_to != NULL && went_to->who.role_id != node->router.route_role) {
		to = went_to->who.id;
	}
	/* Which node a route node has chosen is known to nobody. */
	if (to != 0) {
		ob__cancel_at(node, to, p->handle);
	}
}

/* ---- on the way ---- */

bool ob__cancel_frame(struct ob__node *node, const struct ob__frame *f)
{
	if (f->call == 0 || f->dst == 0 || f->payload_len > 0) {
		ob__ignore_frame(node, f, OB__IGNORED_CANCEL);
		return true;
	}
	if (f->dst != node->self.id) {
		return ob__held_forget_call(node, f->src, f->call);
	}
	end_held(node, f->src, f->call);
	return true;
}
