/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/gate.h"

#include "base/err.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/slot.h"

#define LOG_BURST 10u

static void log_slow(struct ob__node *node, const struct ob__outcome *o, const char *at)
{
	const struct ob__session *s = ob__session_get(&node->sessions, o->session);
	char text[OB_SESSION_TEXT] = "nobody";
	uint32_t missed;

	++*node->gates.slow;
	if (!ob__log_allow(&node->gates.log_limit, LOG_BURST, ob__loop_now(node->loop), &missed)) {
		return;
	}
	if (s != NULL) {
		(void)ob__node_session_text(node, s, text, sizeof(text));
	}
	ob__warning("message", "id %u of %s took %llu ms at the %s: %s [and %u like it]", o->id,
	            text, (unsigned long long)(o->took_us / 1000), at,
	            o->code == OB_OK ? "answered" : ob__strerror(o->code), missed);
}

static void tell_ended(struct ob__node *node, const struct ob__outcome *o, int when)
{
	const struct ob__chain *chain = &node->slots.message_filters[when - 1];
	ob_view view = {
		.size = sizeof(view),
		.id = o->id,
		.flags = o->flags,
		.session = o->session,
		.source = o->source,
	};
	ob_message_event e = {
		.size = sizeof(e),
		.when = when,
		.view = &view,
		.took_ms = (uint32_t)(o->took_us / 1000),
		.code = o->code,
		.text = o->code == OB_OK  ? ""
	                : o->text != NULL ? o->text
	                                  : ob__strerror(o->code),
		.len = o->len,
	};

	ob__msgname_show(&node->msgnames, &view);
	for (size_t i = chain->len; i > 0; i--) {
		struct ob__gen *g = chain->regs[i - 1]->gen;
		uint64_t entered = ob__gen_enter(g);
		(void)chain->regs[i - 1]->fn.message_filter(&g->ctx, &e);
		ob__gen_leave(g, entered);
	}
}

static void ended(struct ob__node *node, const struct ob__outcome *o, int when)
{
	const struct ob__filters_conf *f = &node->conf->filters;
	bool client = when == OB_MESSAGE_AFTER_CLIENT;

	if (f->time) {
		ob__histogram_record(client ? node->gates.client_time : node->gates.handler_time,
		                     o->took_us);
		if (o->took_us >= f->slow_ms * 1000) {
			log_slow(node, o, client ? "client" : "handler");
		}
	}
	tell_ended(node, o, when);
}

void ob__gate_client_ended(struct ob__node *node, const struct ob__outcome *o)
{
	ended(node, o, OB_MESSAGE_AFTER_CLIENT);
}

void ob__gate_handler_ended(struct ob__node *node, const struct ob__req *r, int code,
                            const char *text, size_t len)
{
	if ((r->origin != OB__ORIGIN_CLIENT && r->origin != OB__ORIGIN_LINK) ||
	    (r->view.flags & OB_VIEW_CALL) != 0) {
		return;
	}
	const struct ob__outcome o = {
		.id = r->view.id,
		.flags = r->view.flags,
		.session = r->view.session,
		.source = r->view.source,
		.took_us = (ob__loop_now(node->loop) - (r->deadline - r->view.budget_ms)) * 1000,
		.code = code,
		.text = text,
		.len = len,
	};
	ended(node, &o, OB_MESSAGE_AFTER_HANDLER);
}
