/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/gate_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/client/conn.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/slot.h"
#include "mesh/handles.h"

#define GATES_MAX (1u << 20)

/* What a filter is being asked about. */
struct ob__asking {
	const struct ob__reg *reg;
	size_t at; /* its number */
	uint64_t session;
	const ob_packet *packet;
	const struct ob__req *req;
	ob_handler_fn fn;
	uint32_t fn_flags;
	const ob_view *view;
	uint64_t gate; /* that it made; 0: none */
};

void ob__gates_init(struct ob__node *node)
{
	struct ob__gates *gs = &node->gates;
	struct ob__stats *s = node->stats;

	ob__slab_init(&gs->slab, sizeof(struct ob__gate), OB__KIND_GATE, GATES_MAX);
	ob__map_init(&gs->serial, node->registry.seed);
	ob__list_init(&gs->away);
	gs->held = ob__stat_counter(s, "obhost_messages_held_total", NULL,
	                            "Messages that a filter held.");
	gs->refused = ob__stat_counter(s, "obhost_messages_filtered_total", NULL,
	                               "Messages that a filter refused.");
	gs->slow = ob__stat_counter(s, "obhost_messages_slow_total", NULL,
	                            "Messages that took longer than filters.time.slow.");
	gs->too_many = ob__stat_counter(s, "obhost_serial_refused_total", NULL,
	                                "Messages refused as too many of their client's waited.");
	gs->waited = ob__stat_counter(s, "obhost_serial_waited_total", NULL,
	                              "Messages that waited for their client's request before.");
	ob__gates_refresh(node);
}

void ob__gates_refresh(struct ob__node *node)
{
	const struct ob__filters_conf *f = &node->conf->filters;
	const struct ob__slots *slots = &node->slots;
	struct ob__gates *gs = &node->gates;

	node->dispatch.budget_ms = node->conf->call_timeout_ms;
	gs->watch = f->serial_queue > 0 || f->too_busy_ms > 0 || f->timeouts.flat_len > 0;
	gs->around = f->time || slots->message_filters[OB_MESSAGE_AFTER_CLIENT - 1].len > 0;
	gs->handlers = f->time || slots->message_filters[OB_MESSAGE_AFTER_HANDLER - 1].len > 0;
	if (f->time && gs->client_time == NULL) {
		gs->client_time =
			ob__stat_histogram(node->stats, "obhost_message_seconds", "at=\"client\"",
		                           "Time until the end of clients' messages.");
		gs->handler_time =
			ob__stat_histogram(node->stats, "obhost_message_seconds", "at=\"handler\"",
		                           "Time until the end of clients' messages.");
	}
}

/* ---- gates ---- */

void ob__gate_free(struct ob__gate *g)
{
	struct ob__node *node = g->node;
	struct ob__gen *gen = g->gen;

	ob__timeout_clear(node->loop, &g->timeout);
	ob__list_del(&g->link);
	node->gates.bytes -= g->len;
	free(g->bytes);
	ob__slab_free(&node->gates.slab, g);
	if (gen != NULL) {
		ob__gen_unref(gen);
	}
}

struct ob__conn *ob__gate_conn(struct ob__node *node, uint64_t session)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);
	struct ob__conn *conn = s != NULL ? ob__conn_get(node, s->conn) : NULL;

	return conn != NULL && conn->session == s ? conn : NULL;
}

/* The same of one without a connection. */
static struct ob__resume *away_of(const struct ob__node *node, uint64_t session)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	return s != NULL ? ob__resume_get(node, s->conn) : NULL;
}

/* It counts against its client while a filter has it. */
static void client_leaves(const struct ob__gate *g)
{
	if (g->session == 0 || g->gen == NULL || g->fresh) {
		return;
	}
	struct ob__conn *conn = ob__gate_conn(g->node, g->session);
	struct ob__resume *away = conn == NULL ? away_of(g->node, g->session) : NULL;
	if (away != NULL) {
		ob__resume_request_ended(away);
	}
	ob__conn_ended(conn);
}

/* Ends what it holds, and frees it. */
static void gate_finish(struct ob__gate *g, int code, const char *text, const void *data,
                        size_t len)
{
	struct ob__node *node = g->node;
	struct ob__conn *conn = g->session != 0 ? ob__gate_conn(node, g->session) : NULL;
	struct ob__resume *away = g->session != 0 ? away_of(node, g->session) : NULL;
	struct ob__req *r = g->req != 0 ? ob__req_get(node, g->req) : NULL;

	*node->gates.refused += code != OB_OK;
	if (conn != NULL) {
		if (code != OB_OK) {
			ob__client_refuse(node, conn, &g->packet, code, text);
		} else if (g->packet.one_way == 0) {
			ob__conn_reply(conn, g->packet.id, g->packet.cookie, OB_OK, NULL, data,
			               len);
		}
	} else if (away != NULL && g->packet.one_way == 0) {
		ob__resume_reply(away, g->packet.id, g->packet.cookie, code, text, data, len);
	} else if (r != NULL) {
		ob__req_end(r, code, text, data, len);
	}
	client_leaves(g);
	ob__gate_free(g);
}

/* It leaves those that wait for their turn, if it is one. */
static void gate_unqueue(const struct ob__gate *g)
{
	struct ob__serial *s = g->gen == NULL && !g->away && g->session != 0
	                               ? ob__map_get(&g->node->gates.serial, g->session, 0)
	                               : NULL;

	if (s != NULL) {
		s->len--;
	}
}

static void on_deadline(void *arg)
{
	struct ob__gate *g = arg;

	gate_unqueue(g);
	gate_finish(g, OB_E_DEADLINE,
	            g->away          ? "its client was away"
	            : g->gen == NULL ? "the request before it took too long"
	                             : "no filter let it pass in time",
	            NULL, 0);
}

struct ob__gate *ob__gate_new(struct ob__node *node, size_t len)
{
	struct ob__gates *gs = &node->gates;
	uint64_t handle;
	struct ob__gate *g = gs->bytes + len <= node->conf->limits.held
	                             ? ob__slab_alloc(&gs->slab, &handle)
	                             : NULL;

	if (g == NULL) {
		return NULL;
	}
	g->handle = handle;
	g->node = node;
	ob__list_init(&g->link);
	ob__timeout_init(&g->timeout, on_deadline, g);
	return g;
}

int ob__gate_keep(struct ob__gate *g, const uint8_t *data, size_t len, const char *name,
                  size_t name_len)
{
	g->bytes = malloc(len + name_len + 1);
	if (g->bytes == NULL) {
		return OB_E_NOMEM;
	}
	g->len = len + name_len;
	g->node->gates.bytes += g->len;
	if (len > 0) {
		memcpy(g->bytes, data, len);
	}
	if (name_len > 0) {
		memcpy(g->bytes + len, name, name_len);
	}
	g->packet.data = g->bytes;
	g->packet.len = len;
	g->packet.name = name != NULL ? (const char *)g->bytes + len : NULL;
	g->packet.name_len = name_len;
	return 0;
}

void ob__gate_arm(struct ob__gate *g, uint64_t ms, uint64_t wait)
{
	g->deadline = ob__loop_now(g->node->loop) + ms;
	ob__timeout_set(g->node->loop, &g->timeout, wait < ms ? wait : ms);
}

static uint64_t left(const struct ob__gate *g)
{
	uint64_t now = ob__loop_now(g->node->loop);

	return g->deadline > now ? g->deadline - now : 0;
}

uint64_t ob__gate_hold(struct ob__gen *gen)
{
	struct ob__node *node = gen->node;
	struct ob__asking *a = node->gates.asking;
	struct ob__gate *g;

	if (a == NULL || a->reg->gen != gen || a->gate != 0 || !ob__gen_may_begin(gen) ||
	    (g = ob__gate_new(node, a->view->len)) == NULL) {
		return 0;
	}
	g->gen = gen;
	g->fresh = true;
	g->next = a->at + 1;
	g->version = node->slots.chains_version;
	g->priority = a->reg->priority;
	g->session = a->session;
	g->req = a->req != NULL ? a->req->handle : 0;
	g->fn = a->fn;
	g->fn_flags = a->fn_flags;
	if (a->packet != NULL) {
		g->packet = *a->packet;
	}
	ob__list_append(&gen->gates, &g->link);
	ob__gen_ref(gen);
	a->gate = g->handle;
	++*node->gates.held;
	return g->handle;
}

static struct ob__gate *gate_of(const struct ob__gen *gen, uint64_t handle)
{
	struct ob__gate *g = ob__slab_get(&gen->node->gates.slab, handle);

	return g != NULL && g->gen != NULL && g->gen->module == gen->module ? g : NULL;
}

/* The number of the filter behind the one that held it: the chain may be another one now. */
static size_t next_filter(const struct ob__node *node, const struct ob__gate *g)
{
	const struct ob__chain *chain =
		g->session != 0 ? &node->slots.filters
				: &node->slots.message_filters[OB_MESSAGE_BEFORE_HANDLER - 1];
	size_t next = g->next;

	if (g->version != node->slots.chains_version) {
		next = 0;
		while (next < chain->len && chain->regs[next]->priority <= g->priority) {
			next++;
		}
	}
	return next;
}

/* It goes on when its client is back: nothing else has to do with it until then. */
static void gate_wait(struct ob__gate *g)
{
	struct ob__gen *gen = g->gen;

	client_leaves(g);
	g->away = true;
	g->gen = NULL;
	ob__list_del(&g->link);
	ob__list_append(&g->node->gates.away, &g->link);
	if (gen != NULL) {
		ob__gen_unref(gen);
	}
}

void ob__gate_go_on(struct ob__gate *g)
{
	struct ob__node *node = g->node;
	struct ob__conn *conn = g->session != 0 ? ob__gate_conn(node, g->session) : NULL;
	struct ob__req *r = g->req != 0 ? ob__req_get(node, g->req) : NULL;
	size_t next = next_filter(node, g);
	uint64_t ms = left(g);

	if (ms == 0) {
		gate_finish(g, OB_E_DEADLINE, NULL, NULL, 0);
		return;
	}
	if (conn == NULL && g->session != 0 && away_of(node, g->session) != NULL) {
		gate_wait(g);
		return;
	}
	/* The memory is its own until it is through; its place with the filter is not. */
	struct ob__gate it = *g;
	g->bytes = NULL;
	node->gates.bytes -= g->len;
	g->len = 0;
	client_leaves(g);
	ob__gate_free(g);
	struct ob__asking *asking = node->gates.asking;
	node->gates.asking = NULL;
	if (conn != NULL) {
		ob__client_go_on(node, conn, &it.packet, ms, next);
	} else if (r != NULL) {
		ob__req_go_on(node, r, it.fn, it.fn_flags, it.bytes, it.packet.len, next);
	}
	node->gates.asking = asking;
	free(it.bytes);
}

int ob__gate_pass(struct ob__gen *gen, uint64_t handle)
{
	struct ob__gate *g = gate_of(gen, handle);

	if (g == NULL || g->passed) {
		return OB_E_STALE;
	}
	if (g->fresh) {
		g->passed = true;
	} else {
		ob__gate_go_on(g);
	}
	return 0;
}

int ob__gate_end(struct ob__gen *gen, uint64_t handle, int code, const char *text, const void *data,
                 size_t len)
{
	struct ob__gate *g = gate_of(gen, handle);

	if (g == NULL || g->passed) {
		return OB_E_STALE;
	}
	gate_finish(g, ob__result_clean(code), text, data, len);
	return 0;
}

void ob__gates_abandon(struct ob__gen *gen)
{
	while (!ob__list_empty(&gen->gates)) {
		gate_finish(OB__CONTAINER(gen->gates.next, struct ob__gate, link), OB_E_GONE,
		            "the module was taken out", NULL, 0);
	}
}

/* ---- asking ---- */

enum asked {
	ASKED_ON,    /* to the next filter */
	ASKED_TAKEN, /* it has it, or has ended it */
	ASKED_REFUSED,
};

static int call_filter(const struct ob__reg *reg, const ob_view *view)
{
	struct ob__gen *g = reg->gen;
	const ob_message_event e = {
		.size = sizeof(e), .when = (int)reg->flags, .view = view, .text = ""};
	uint64_t entered = ob__gen_enter(g);
	int rc = reg->fn.message_filter(&g->ctx, &e);

	ob__gen_leave(g, entered);
	return rc;
}

/* One filter; *code is why it refuses. */
static enum asked ask(struct ob__node *node, struct ob__asking *a, int *code)
{
	struct ob__asking *before = node->gates.asking;

	a->gate = 0;
	node->gates.asking = a;
	int rc = call_filter(a->reg, a->view);
	node->gates.asking = before;
	if (a->gate == 0) {
		*code = rc < 0 ? rc : 0;
		return *code != 0 ? ASKED_REFUSED : ASKED_ON;
	}
	struct ob__gate *g = ob__slab_get(&node->gates.slab, a->gate);
	*code = 0;
	if (g == NULL) {
		return ASKED_TAKEN;
	}
	if (g->passed) {
		ob__gate_free(g);
		return ASKED_ON;
	}
	if (ob__gate_keep(g, a->view->data, a->view->len, a->view->name, a->view->name_len) != 0) {
		ob__gate_free(g);
		*code = OB_E_BUSY;
		return ASKED_REFUSED;
	}
	return ASKED_TAKEN;
}

bool ob__gate_filter(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                     const ob_view *view, size_t at, int *code)
{
	struct ob__asking a = {
		.reg = node->slots.filters.regs[at],
		.at = at,
		.session = conn->session->handle,
		.packet = p,
		.view = view,
	};

	switch (ask(node, &a, code)) {
	case ASKED_ON:
		return true;
	case ASKED_REFUSED:
		++*node->gates.refused;
		return false;
	case ASKED_TAKEN:
		break;
	}
	struct ob__gate *g = ob__slab_get(&node->gates.slab, a.gate);
	if (g != NULL) {
		g->fresh = false;
		ob__gate_arm(g, view->budget_ms, UINT64_MAX);
		ob__conn_begin(conn);
	}
	return false;
}

bool ob__gate_handler(struct ob__node *node, ob_handler_fn fn, uint32_t flags, struct ob__req *r,
                      size_t from)
{
	const struct ob__chain *chain = &node->slots.message_filters[OB_MESSAGE_BEFORE_HANDLER - 1];
	struct ob__asking a = {.req = r, .fn = fn, .fn_flags = flags, .view = &r->view};
	uint64_t handle = r->handle;
	int code;

	for (a.at = from; a.at < chain->len; a.at++) {
		a.reg = chain->regs[a.at];
		switch (ask(node, &a, &code)) {
		case ASKED_ON:
			continue;
		case ASKED_REFUSED:
			++*node->gates.refused;
			ob__req_end(r, code, NULL, NULL, 0);
			return false;
		case ASKED_TAKEN: {
			struct ob__gate *g = ob__slab_get(&node->gates.slab, a.gate);
			if (g == NULL) {
				return false;
			}
			g->fresh = false;
			if (ob__req_get(node, handle) != r || ob__req_hold(r) != 0) {
				gate_finish(g, OB_E_BUSY, NULL, NULL, 0);
				return false;
			}
			uint64_t now = ob__loop_now(node->loop);
			ob__gate_arm(g, r->deadline > now ? r->deadline - now : 0, UINT64_MAX);
			return false;
		}
		}
	}
	return true;
}

/* ---- clients that come and go ---- */

static struct ob__gate *first_away(const struct ob__gates *gs, uint64_t session)
{
	OB__LIST_EACH (it, &gs->away) {
		struct ob__gate *g = OB__CONTAINER(it, struct ob__gate, link);
		if (g->session == session) {
			return g;
		}
	}
	return NULL;
}

void ob__gates_back(struct ob__conn *conn)
{
	struct ob__gates *gs = &conn->node->gates;
	uint64_t session = conn->session->handle;
	struct ob__gate *g;

	if (ob__map_get(&gs->serial, session, 0) != NULL) {
		conn->paused |= OB__CONN_SERIAL;
		ob__serial_next(conn);
	}
	/* What goes on may close the client: then the rest waits again, or ends. */
	while (conn->session != NULL && (g = first_away(gs, session)) != NULL) {
		ob__gate_go_on(g);
	}
}

void ob__gates_leave(struct ob__node *node, uint64_t session)
{
	struct ob__gates *gs = &node->gates;
	struct ob__gate *g;

	for (uint32_t i = 0; gs->slab.live > 0 && (g = ob__slab_next(&gs->slab, &i)) != NULL;) {
		if (g->session == session && !g->fresh) {
			gate_unqueue(g);
			gate_finish(g, OB_E_GONE, "its client is at another proxy", NULL, 0);
		}
	}
}

void ob__gates_free(struct ob__node *node)
{
	struct ob__gates *gs = &node->gates;
	struct ob__gate *g;

	ob__serials_free(node);
	for (uint32_t i = 0; (g = ob__slab_next(&gs->slab, &i)) != NULL;) {
		ob__timeout_clear(node->loop, &g->timeout);
		free(g->bytes);
	}
	ob__slab_destroy(&gs->slab);
}
