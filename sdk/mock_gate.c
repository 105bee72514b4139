/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdlib.h>
#include <string.h>

#define FILTERS_MAX 256u

int ob__mock_reg_message_filter(ob_mock *m, int when, int priority, ob_message_filter_fn fn)
{
	struct reg *reg;

	if (fn == NULL || when < OB_MESSAGE_BEFORE_CLIENT || when > OB_MESSAGE_AFTER_HANDLER) {
		return mock_no(m, OB_E_INVAL);
	}
	int rc = ob__mock_reg_chained(m, REG_MESSAGE_FILTER, &reg);
	if (rc == 0) {
		reg->fn.message_filter = fn;
		reg->flags = (uint32_t)when;
		reg->priority = priority;
	}
	return rc;
}

static bool stands_at(const struct reg *reg, int when)
{
	return (reg->kind == REG_MESSAGE_FILTER && reg->flags == (uint32_t)when) ||
	       (reg->kind == REG_FILTER && when == OB_MESSAGE_BEFORE_CLIENT);
}

/* Those at `when` in their order; insertion keeps the order of registration among equals. */
static size_t sorted(const ob_mock *m, int when, const struct reg **out)
{
	size_t len = 0;

	for (size_t i = 0; i < m->regs.len && len < FILTERS_MAX; i++) {
		const struct reg *reg = m->regs.at[i];
		if (stands_at(reg, when)) {
			size_t at = len++;
			while (at > 0 && out[at - 1]->priority > reg->priority) {
				out[at] = out[at - 1];
				at--;
			}
			out[at] = reg;
		}
	}
	return len;
}

static int call(ob_mock *m, const struct reg *reg, const ob_message_event *e)
{
	return reg->kind == REG_FILTER ? reg->fn.filter(&m->ctx, e->view)
	                               : reg->fn.message_filter(&m->ctx, e);
}

/* A filter has it: its bytes stay. */
static enum asked keep(struct request *r, int *code)
{
	uint8_t *bytes = ob__mock_copy(r->view.data, r->view.len);

	if (bytes == NULL) {
		*code = OB_E_BUSY;
		return ASKED_REFUSED;
	}
	free(r->gate_bytes);
	r->gate_bytes = bytes;
	r->view.data = bytes;
	r->held = true;
	return ASKED_TAKEN;
}

enum asked ob__mock_gate_ask(ob_mock *m, struct request *r, int when, const struct reg *after,
                             int *code)
{
	const struct reg *all[FILTERS_MAX];
	size_t len = sorted(m, when, all);
	size_t i = 0;

	*code = 0;
	while (after != NULL && i < len && all[i++] != after) {
	}
	for (; i < len; i++) {
		const ob_message_event e = {
			.size = sizeof(e), .when = when, .view = &r->view, .text = ""};
		struct request *asked = m->filtered;
		m->filtered = r;
		m->asked_by = all[i];
		m->asked_when = when;
		r->gate = 0;
		int rc = call(m, all[i], &e);
		m->filtered = asked;
		if (r->ended) {
			return ASKED_TAKEN;
		}
		if (r->gate != 0) {
			return keep(r, code);
		}
		if (r->gate_by == all[i]) { /* held, and passed at once */
			r->gate_by = NULL;
		} else if (rc < 0 || (rc != 0 && all[i]->kind == REG_FILTER)) {
			*code = rc;
			return ASKED_REFUSED;
		}
	}
	return ASKED_ON;
}

void ob__mock_gate_ended(ob_mock *m, const struct request *r, int when)
{
	const struct reg *all[FILTERS_MAX];
	size_t len = m->phase != PHASE_STOPPED ? sorted(m, when, all) : 0;
	ob_view view = r->view;
	view.data = NULL;
	view.len = 0;
	const ob_message_event e = {
		.size = sizeof(e),
		.when = when,
		.view = &view,
		.took_ms = (uint32_t)(m->world->now - (r->deadline - r->view.budget_ms)),
		.code = r->code,
		.text = r->text != NULL ? r->text : "",
		.len = r->len,
	};

	for (size_t i = len; i > 0; i--) {
		(void)call(m, all[i - 1], &e);
	}
}

ob_gate ob__mock_gate_hold(ob_mock *m)
{
	struct request *r = m->filtered;

	if (!mock_may_begin(m) || r == NULL || r->gate != 0 || r->gate_by == m->asked_by ||
	    (m->asked_when != OB_MESSAGE_BEFORE_CLIENT &&
	     m->asked_when != OB_MESSAGE_BEFORE_HANDLER)) {
		return 0;
	}
	r->gate = r->req;
	r->gate_by = m->asked_by;
	r->gate_when = m->asked_when;
	return r->gate;
}

static struct request *gate_of(ob_mock *m, ob_gate gate)
{
	struct request *r = m->phase != PHASE_STOPPED ? ob__mock_request_of(m, gate) : NULL;

	return r != NULL && r->gate != 0 ? r : NULL;
}

int ob__mock_gate_pass(ob_mock *m, ob_gate gate)
{
	struct request *r = gate_of(m, gate);

	if (r == NULL) {
		return mock_no(m, OB_E_STALE);
	}
	r->gate = 0;
	if (m->filtered != r) {
		const struct reg *by = r->gate_by;
		r->gate_by = NULL;
		r->held = false;
		ob__mock_request_go_on(r->obj.owner, r, r->gate_when, by);
	}
	return 0;
}

int ob__mock_gate_end(ob_mock *m, ob_gate gate, int code, const char *text, const void *data,
                      size_t len)
{
	struct request *r = gate_of(m, gate);

	if (r == NULL) {
		return mock_no(m, OB_E_STALE);
	}
	r->gate = 0;
	return ob__mock_request_end(r, code, text, data, len);
}
