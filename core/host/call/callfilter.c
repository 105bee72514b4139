/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/call/callfilter.h"

#include <inttypes.h>

#include "base/err.h"
#include "host/call/calls.h"
#include "host/cluster/names.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/slot.h"

#define LOG_BURST 10u   /* lines in ten seconds */
#define PULSE_MS  50u   /* between two looks at how late the loop is */
#define QUIET_MS  1000u /* without a request: no more looks */

static void pulse_arm(struct ob__node *node)
{
	struct ob__callfilter *cf = &node->callfilter;

	cf->pulse_due = ob__loop_now(node->loop) + PULSE_MS;
	ob__timeout_set(node->loop, &cf->pulse, PULSE_MS);
}

static void on_pulse(void *arg)
{
	struct ob__node *node = arg;
	struct ob__callfilter *cf = &node->callfilter;
	uint64_t now = ob__loop_now(node->loop);
	uint64_t late = now - cf->pulse_due;

	/* The wheel itself is up to a tick late. */
	late = late > OB__WHEEL_TICK_MS ? late - OB__WHEEL_TICK_MS : 0;
	late = late > 60000 ? 60000 : late;
	cf->lag_ms = (uint32_t)((cf->lag_ms + late) / 2);
	if ((node->conf->too_busy_ms != 0 || node->conf->filters.too_busy_ms != 0) &&
	    (cf->lag_ms > 0 || now - cf->asked_at < QUIET_MS)) {
		pulse_arm(node);
	}
}

void ob__callfilter_init(struct ob__node *node)
{
	struct ob__callfilter *cf = &node->callfilter;
	struct ob__stats *s = node->stats;

	cf->too_busy = ob__stat_counter(s, "obhost_too_busy_total", NULL,
	                                "Requests refused while this node was late.");
	cf->refused = ob__stat_counter(s, "obhost_calls_filtered_total", NULL,
	                               "Calls that a module's filter refused.");
	cf->slow = ob__stat_counter(s, "obhost_calls_slow_total", NULL,
	                            "Calls that took longer than rpc.log.slow.");
	ob__timeout_init(&cf->pulse, on_pulse, node);
}

void ob__callfilter_free(struct ob__node *node)
{
	ob__timeout_clear(node->loop, &node->callfilter.pulse);
}

bool ob__callfilter_too_busy(struct ob__node *node)
{
	return ob__callfilter_late(node, node->conf->too_busy_ms);
}

bool ob__callfilter_late(struct ob__node *node, uint64_t limit)
{
	struct ob__callfilter *cf = &node->callfilter;
	uint32_t missed;

	cf->asked_at = ob__loop_now(node->loop);
	if (!ob__timeout_armed(&cf->pulse)) {
		cf->lag_ms = 0;
		pulse_arm(node);
	}
	if (cf->lag_ms < limit) {
		return false;
	}
	++*cf->too_busy;
	if (ob__log_allow(&cf->busy_limit, 1, ob__loop_now(node->loop), &missed)) {
		ob__warning("call", "too busy: %u ms late, so requests end with 503 [%u before]",
		            cf->lag_ms, missed);
	}
	return true;
}

/* ---- the log ---- */

static void log_call(struct ob__node *node, const ob_call_event *e, const char *how)
{
	struct ob__callfilter *cf = &node->callfilter;
	bool slow = node->conf->call_slow_ms != 0 && e->took_ms >= node->conf->call_slow_ms;
	uint32_t missed;

	*cf->slow += slow;
	if ((!slow && (e->code == OB_OK || !node->conf->call_log_failed)) ||
	    !ob__log_allow(&cf->log_limit, LOG_BURST, ob__loop_now(node->loop), &missed)) {
		return;
	}
	const char *name = ob__names_get(node, e->node);
	if (e->node == node->self.id) {
		name = node->name;
	}
	char label[OB__TRACE_LABEL];
	ob__warning("call",
	            "%s %s: %s: %" PRIu32 " ms, %s (trace %016" PRIx64 "%016" PRIx64 ") [%u more]",
	            how, name != NULL ? name : "another node",
	            ob__trace_label(label, e->view->method, e->view->id), e->took_ms,
	            e->code == OB_OK ? "answered" : e->text, e->trace.id[0], e->trace.id[1],
	            missed);
}

/* ---- filters ---- */

static int run(struct ob__node *node, const ob_call_event *e)
{
	const struct ob__chain *chain = &node->slots.call_filters[e->when - 1];

	for (size_t i = 0; i < chain->len; i++) {
		struct ob__gen *g = chain->regs[i]->gen;
		uint64_t entered = ob__gen_enter(g);
		int rc = chain->regs[i]->fn.call_filter(&g->ctx, e);
		ob__gen_leave(g, entered);
		if (rc < 0 && (e->when == OB_CALL_BEFORE_OUT || e->when == OB_CALL_BEFORE_IN)) {
			++*node->callfilter.refused;
			return ob__result_clean(rc);
		}
	}
	return 0;
}

static bool watched(const struct ob__node *node, int when)
{
	return node->slots.call_filters[when - 1].len > 0;
}

static bool logged(const struct ob__node *node)
{
	return node->conf->call_slow_ms != 0 || node->conf->call_log_failed;
}

bool ob__callfilter_out(const struct ob__node *node)
{
	return watched(node, OB_CALL_BEFORE_OUT) || watched(node, OB_CALL_AFTER_OUT) ||
	       logged(node);
}

bool ob__callfilter_in(const struct ob__node *node)
{
	return watched(node, OB_CALL_BEFORE_IN);
}

static ob_trace_info trace_info(const struct ob__trace *t)
{
	return (ob_trace_info){
		.size = sizeof(ob_trace_info),
		.begins = t->parent == 0,
		.id = {t->id[0], t->id[1]},
		.span = t->span,
		.parent = t->parent,
	};
}

static ob_view out_view(const struct ob__node *node, const struct ob__call_out *out)
{
	return (ob_view){
		.size = sizeof(ob_view),
		.id = out->id,
		.flags = OB_VIEW_CALL,
		.budget_ms = (uint32_t)out->budget,
		.method = out->method,
		.session = out->session,
		.source = node->self.id,
		.data = out->data,
		.len = out->data != NULL ? out->len : 0,
	};
}

int ob__callfilter_before_out(struct ob__node *node, const struct ob__call_out *out)
{
	if (!watched(node, OB_CALL_BEFORE_OUT)) {
		return 0;
	}
	ob_view view = out_view(node, out);
	ob_call_event e = {
		.size = sizeof(e),
		.when = OB_CALL_BEFORE_OUT,
		.view = &view,
		.target = out->target,
		.node = out->target.node,
		.text = "",
		.trace = trace_info(&out->trace),
	};
	return run(node, &e);
}

void ob__callfilter_after_out(struct ob__node *node, const struct ob__call *c,
                              const ob_call_result *res)
{
	if (!watched(node, OB_CALL_AFTER_OUT) && !logged(node)) {
		return;
	}
	ob_view view = out_view(node, &c->out);
	view.data = NULL;
	view.len = 0;
	ob_call_event e = {
		.size = sizeof(e),
		.when = OB_CALL_AFTER_OUT,
		.view = &view,
		.target = c->out.target,
		.node = res->source != 0 ? res->source : c->out.target.node,
		.took_ms = (uint32_t)(ob__loop_now(node->loop) - c->began),
		.code = res->code,
		.text = res->code != OB_OK ? res->text : "",
		.data = res->data,
		.len = res->len,
		.trace = trace_info(&c->out.trace),
	};
	log_call(node, &e, "to");
	(void)run(node, &e);
}

int ob__callfilter_before_in(struct ob__node *node, const ob_view *view,
                             const struct ob__trace *trace)
{
	if (!watched(node, OB_CALL_BEFORE_IN)) {
		return 0;
	}
	ob_call_event e = {
		.size = sizeof(e),
		.when = OB_CALL_BEFORE_IN,
		.view = view,
		.node = view->source,
		.text = "",
		.trace = trace_info(trace),
	};
	return run(node, &e);
}

/* By itself, so that what nobody wants to see costs a look and no more. */
static __attribute__((noinline)) void tell_after_in(struct ob__node *node, const struct ob__req *r,
                                                    const struct ob__end *end)
{
	struct ob__trace trace;
	uint64_t began = r->deadline - r->view.budget_ms;
	ob_view view = r->view;
	view.data = NULL;
	view.len = 0;
	ob__trace_of_req(node, r, &trace);
	ob_call_event e = {
		.size = sizeof(e),
		.when = OB_CALL_AFTER_IN,
		.view = &view,
		.node = r->view.source,
		.took_ms = (uint32_t)(ob__loop_now(node->loop) - began),
		.code = end->code,
		.text = end->code == OB_OK  ? ""
	                : end->text != NULL ? end->text
	                                    : ob__strerror(end->code),
		.data = end->data,
		.len = end->len,
		.trace = trace_info(&trace),
	};
	log_call(node, &e, "from");
	(void)run(node, &e);
}

void ob__callfilter_after_in(struct ob__node *node, const struct ob__req *r, int code,
                             const char *text, const void *data, size_t len)
{
	if (watched(node, OB_CALL_AFTER_IN) || logged(node)) {
		tell_after_in(
			node, r,
			&(struct ob__end){.code = code, .text = text, .data = data, .len = len});
	}
}
