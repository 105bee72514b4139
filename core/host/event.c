/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/event.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/message/ignored.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "host/slot.h"
#include "mesh/userwire.h"

#define LOG_BURST 5u

struct raised {
	struct ob__list link;
	json_t *data;
	size_t bytes;
	uint64_t node;
	uint32_t depth;
	char name[OB_RAISED_MAX + 1];
};

void ob__events_init(struct ob__node *node)
{
	struct ob__events *es = &node->events;

	ob__list_init(&es->queue);
	es->raised = ob__stat_counter(node->stats, "obhost_events_total", NULL,
	                              "Events by name that were told here.");
	es->refused = ob__stat_counter(node->stats, "obhost_events_refused_total", NULL,
	                               "Events by name for which the queue was full, or too deep.");
}

static void take(struct ob__events *es, struct raised *r)
{
	ob__list_del(&r->link);
	es->len--;
	es->bytes -= r->bytes;
}

static void raised_free(struct raised *r)
{
	json_decref(r->data);
	free(r);
}

void ob__events_free(struct ob__node *node)
{
	struct ob__events *es = &node->events;

	while (es->queue.next != NULL && !ob__list_empty(&es->queue)) {
		struct raised *r = OB__CONTAINER(es->queue.next, struct raised, link);
		take(es, r);
		raised_free(r);
	}
}

bool ob__event_name_ok(const char *name)
{
	size_t len = name != NULL ? strnlen(name, OB_RAISED_MAX + 1) : 0;

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) {
			return false;
		}
	}
	return len > 0 && len <= OB_RAISED_MAX;
}

/* ---- telling ---- */

static bool heeds(const struct ob__reg *reg, const ob_raised *e)
{
	const char *prefix = reg->fn.raised.words;

	if (strncmp(e->name, prefix, strlen(prefix)) != 0) {
		return false;
	}
	if (reg->fn.raised.key == NULL) {
		return true;
	}
	const char *value = json_string_value(json_object_get(e->data, reg->fn.raised.key));
	return value != NULL && strcmp(value, reg->fn.raised.value) == 0;
}

static void tell(struct ob__node *node, const ob_raised *e)
{
	struct ob__events *es = &node->events;
	uint32_t before = es->depth;

	++*es->raised;
	es->depth = e->depth;
	for (size_t i = 0; i < node->slots.raised.len; i++) {
		const struct ob__reg *reg = node->slots.raised.regs[i];
		if (!heeds(reg, e)) {
			continue;
		}
		struct ob__gen *g = reg->gen;
		uint64_t entered = ob__gen_enter(g);
		int rc = reg->fn.raised.fn(&g->ctx, e);
		ob__gen_leave(g, entered);
		if (rc == OB_RAISED_STOP && (e->flags & OB_RAISED_NOTICE) == 0) {
			break;
		}
	}
	es->depth = before;
}

static void turn(void *arg);

static void turn_soon(struct ob__node *node)
{
	struct ob__events *es = &node->events;

	if (!es->queued && es->len > 0) {
		es->queued = ob__loop_defer(node->loop, turn, node) == 0;
	}
}

/* As many as there are now, and not too many: what they raise may never end. */
static void turn(void *arg)
{
	struct ob__node *node = arg;
	struct ob__events *es = &node->events;
	uint32_t n = es->len < OB__EVENTS_A_TURN ? es->len : OB__EVENTS_A_TURN;

	es->queued = false;
	for (; n > 0 && !ob__list_empty(&es->queue); n--) {
		struct raised *r = OB__CONTAINER(es->queue.next, struct raised, link);
		const ob_raised e = {
			.size = sizeof(e),
			.name = r->name,
			.data = r->data,
			.node = r->node,
			.depth = r->depth,
		};
		take(es, r);
		tell(node, &e);
		raised_free(r);
	}
	turn_soon(node);
}

/* ---- raising ---- */

static int refuse(struct ob__node *node, const char *name, const char *why)
{
	uint32_t missed;

	++*node->events.refused;
	if (ob__log_allow(&node->events.limit, LOG_BURST, ob__loop_now(node->loop), &missed)) {
		ob__warning("event", "%s is not told: %s [and %u like it]", name, why, missed);
	}
	return OB_E_LIMIT;
}

static int put(struct ob__node *node, const char *name, json_t *data, size_t len, uint64_t from,
               uint32_t depth)
{
	struct ob__events *es = &node->events;
	size_t bytes = sizeof(struct raised) + len;

	if (es->len >= OB__EVENTS_MAX || es->bytes + bytes > OB__EVENTS_BYTES) {
		return refuse(node, name, "too many wait");
	}
	struct raised *r = calloc(1, sizeof(*r));
	if (r == NULL) {
		return OB_E_NOMEM;
	}
	memcpy(r->name, name, strlen(name) + 1);
	r->data = json_incref(data);
	r->bytes = bytes;
	r->node = from;
	r->depth = depth;
	ob__list_append(&es->queue, &r->link);
	es->len++;
	es->bytes += bytes;
	turn_soon(node);
	return 0;
}

/* To each node of a role; the number of nodes. */
static int send_all(struct ob__node *node, uint32_t role, const char *name, json_t *data,
                    size_t len, uint32_t depth)
{
	const struct ob__registry_role *r = ob__registry_role_get(&node->registry, role);
	uint8_t *payload = malloc(1 + OB__NAMED_WORD_MAX + len);
	int nodes = 0;

	if (payload == NULL) {
		return OB_E_NOMEM;
	}
	size_t at = ob__named_put_head(payload, name);
	if (len > 0) {
		at += json_dumpb(data, (char *)payload + at, len, JSON_COMPACT | JSON_ENCODE_ANY);
	}
	for (const struct ob__list *it = r != NULL ? r->peers.next : NULL;
	     it != NULL && it != &r->peers; it = it->next) {
		const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, role_link);
		struct ob__frame f = {
			.kind = OB__FRAME_SYSTEM,
			.id = OB__SYS_EVENT,
			.status = (uint8_t)depth,
			.payload = payload,
			.payload_len = (uint32_t)at,
		};
		if (ob__peer_is_reachable(&node->registry, p)) {
			nodes += ob__send_to_node(node, p->who.id, &f) == 0;
		}
	}
	free(payload);
	if (role == node->self.role_id) {
		nodes += put(node, name, data, len, node->self.id, depth) == 0;
	}
	return nodes;
}

int ob__event_raise(struct ob__gen *g, uint32_t role, const char *name, json_t *data,
                    uint32_t flags)
{
	struct ob__node *node = g->node;
	uint32_t depth = node->events.depth + 1;
	size_t len = data != NULL ? json_dumpb(data, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) : 0;

	if (!ob__gen_live(g)) {
		return OB_E_STATE;
	}
	if (!ob__event_name_ok(name) || (data != NULL && len == 0) ||
	    (flags & ~OB_RAISED_NOTICE) != 0 || (role != 0 && flags != 0)) {
		return OB_E_INVAL;
	}
	if (len > OB_RAISED_DATA_MAX) {
		return OB_E_TOO_BIG;
	}
	if (depth > OB__EVENT_DEPTH_MAX) {
		return refuse(node, name, "16 events have come of one another");
	}
	if (role != 0) {
		return send_all(node, role, name, data, len, depth);
	}
	if ((flags & OB_RAISED_NOTICE) == 0) {
		return put(node, name, data, len, node->self.id, depth);
	}
	const ob_raised e = {
		.size = sizeof(e),
		.flags = OB_RAISED_NOTICE,
		.name = name,
		.data = data,
		.node = node->self.id,
		.depth = depth,
	};
	tell(node, &e);
	return 0;
}

void ob__event_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__named_msg m;
	json_t *data = NULL;

	if (ob__named_get(&m, f->payload, f->payload_len) != 0 || !ob__event_name_ok(m.name) ||
	    m.len > OB_RAISED_DATA_MAX || f->status == 0 || f->status > OB__EVENT_DEPTH_MAX ||
	    (m.len > 0 &&
	     (data = json_loadb((const char *)m.data, m.len, JSON_DECODE_ANY, NULL)) == NULL)) {
		ob__ignore_frame(node, f, OB__IGNORED_EVENT);
		return;
	}
	(void)put(node, m.name, data, m.len, f->src, f->status);
	json_decref(data);
}
