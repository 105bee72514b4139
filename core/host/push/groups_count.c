/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * How many members a group has: each node that may have some is asked, each question has an end by
 * its deadline, and with the last one the module has its result.
 */

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/call/calls.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/push/groups.h"
#include "lib/le.h"
#include "mesh/groupwire.h"

struct count {
	struct ob__gen *gen;
	ob_group_count_fn fn;
	void *arg;
	uint64_t members;
	uint32_t nodes; /* that have answered */
	uint32_t left;  /* questions without an end */
	int gone;       /* the module is taken out */
	uint32_t missing_len;
	char group[OB__GROUP_MAX + 1];
	uint64_t missing[]; /* as many as are asked, and known to be away */
};

/* The own part, a turn later: no result comes before the function has returned. */
struct own {
	struct ob__node *node;
	uint64_t pending;
};

/* The module may still answer the request that it counts for. */
static uint64_t budget(struct ob__node *node)
{
	uint64_t ms = ob__call_budget(node, 0, ob__req_get(node, node->dispatch.current));

	return ms - ms / 4;
}

/* There is no use in asking it: it has no link, and is on its way to be taken for dead. */
static bool is_silent(const struct ob__node *node, const struct ob__peer *p)
{
	return !ob__peer_is_reachable(&node->registry, p) ||
	       (p->link == NULL && p->state == OB__MEMBER_SUSPECT);
}

static bool is_over(const struct ob__peer *p)
{
	return p->link == NULL && (p->state == OB__MEMBER_DEAD || p->state == OB__MEMBER_LEFT ||
	                           p->state == OB__MEMBER_UNKNOWN);
}

/* NULL when there are too many. */
static struct ob__pending *question(struct count *c, uint64_t node_id)
{
	struct ob__node *node = c->gen->node;
	struct ob__pending *p = ob__pending_new(&node->pendings, OB__PENDING_GROUP, budget(node));

	if (p == NULL) {
		return NULL;
	}
	p->u.call.gen = c->gen;
	p->u.call.arg = c;
	p->u.call.node = node_id;
	ob__list_append(&c->gen->calls, &p->u.call.gen_link);
	ob__gen_ref(c->gen);
	c->left++;
	return p;
}

static void tell(struct count *c)
{
	struct ob__gen *g = c->gen;
	int code = c->gone != 0 ? c->gone : c->missing_len > 0 ? OB_E_DEADLINE : OB_OK;
	const ob_group_result res = {
		.size = sizeof(res),
		.code = code,
		.text = code == OB_E_DEADLINE ? "not all nodes have answered" : ob__strerror(code),
		.group = c->group,
		.members = c->members,
		.nodes = c->nodes,
		.missing_len = c->missing_len,
		.missing = c->missing,
	};
	uint64_t entered = ob__gen_enter(g);

	c->fn(&g->ctx, &res, c->arg);
	ob__gen_leave(g, entered);
}

void ob__groups_pending_end(struct ob__node *node, struct ob__pending *p, const struct ob__end *end)
{
	struct count *c = p->u.call.arg;
	struct ob__gen *g = c->gen;

	(void)node;
	if (end->code == OB_OK && end->len == 4) {
		c->members += ob__get32(end->data);
		c->nodes++;
	} else if (end->code == OB_E_GONE && end->source == 0) {
		c->gone = OB_E_GONE;
	} else {
		c->missing[c->missing_len++] = p->u.call.node;
	}
	ob__list_del(&p->u.call.gen_link);
	if (--c->left == 0) {
		tell(c);
		free(c);
	}
	ob__gen_unref(g);
}

static void own_run(void *arg)
{
	struct own *own = arg;
	struct ob__node *node = own->node;
	struct ob__pending *p = ob__pending_find(&node->pendings, own->pending);
	uint8_t out[4];

	free(own);
	if (p == NULL) {
		return;
	}
	const struct count *c = p->u.call.arg;
	const struct ob__group *g = ob__group_find(&node->groups.table, c->group);
	ob__put32(out, g != NULL ? g->count : 0);
	const struct ob__end end = {
		.code = OB_OK,
		.source = node->self.id,
		.data = out,
		.len = sizeof(out),
	};
	ob__pending_end(p, &end);
}

static int ask_own(struct count *c)
{
	struct ob__node *node = c->gen->node;
	struct own *own = malloc(sizeof(*own));
	struct ob__pending *p = own != NULL ? question(c, node->self.id) : NULL;

	if (p == NULL) {
		free(own);
		return OB_E_BUSY;
	}
	*own = (struct own){node, p->handle};
	if (ob__loop_defer(node->loop, own_run, own) != 0) {
		free(own); /* its deadline ends it */
	}
	return 0;
}

static void ask(struct count *c, struct ob__peer *peer)
{
	struct ob__node *node = c->gen->node;
	struct ob__pending *p = is_silent(node, peer) ? NULL : question(c, peer->who.id);
	uint8_t payload[OB__GROUP_WORD_MAX];

	if (p == NULL) {
		c->missing[c->missing_len++] = peer->who.id;
		return;
	}
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_GROUP_COUNT,
		.call = p->handle,
		.budget = (uint32_t)budget(node),
		.payload = payload,
		.payload_len = (uint32_t)ob__group_word_put(payload, c->group),
	};
	if (ob__send_to_node(node, peer->who.id, &f) != 0) {
		ob__list_del(&p->u.call.gen_link);
		ob__gen_unref(c->gen);
		ob__pending_drop(p);
		c->left--;
		c->missing[c->missing_len++] = peer->who.id;
	} else if (peer->link != NULL) {
		ob__pending_sent(p, peer->link, peer); /* its loss ends it */
	}
}

int ob__groups_count_members(struct ob__gen *g, const char *group, ob_group_count_fn fn, void *arg)
{
	struct ob__node *node = g->node;

	if (!ob__gen_may_begin(g)) {
		return OB_E_STATE;
	}
	if (fn == NULL || !ob__group_ok(group)) {
		return OB_E_INVAL;
	}
	struct count *c =
		calloc(1, sizeof(*c) + (node->registry.count + 1) * sizeof(c->missing[0]));
	if (c == NULL) {
		return OB_E_NOMEM;
	}
	uint64_t hash = ob__group_hash(group, strlen(group));
	c->gen = g;
	c->fn = fn;
	c->arg = arg;
	memcpy(c->group, group, strlen(group) + 1);
	ob__groups_use(node);
	if (ask_own(c) != 0) {
		free(c);
		return OB_E_BUSY;
	}
	OB__LIST_EACH (it, &node->registry.peers) {
		struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (!is_over(p) && ob__groups_may_have(node, p, hash)) {
			ask(c, p);
		}
	}
	return 0;
}
