/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "host/swap/swap_priv.h"

#define LOOK_MS    500
#define PATIENT_MS 10000 /* at least so long a constructor or a destructor may take */
#define REMEDY     "restart the node; clients are served until then"

/* What rehearses for longer may as well take longer here. */
static uint64_t patience(const struct ob__node *node)
{
	uint64_t probe = node->conf->reload.probe_ms;

	return probe > PATIENT_MS ? probe : PATIENT_MS;
}

static const char *step_of(enum ob__load_op op)
{
	return op == OB__LOAD_OPEN ? "load" : "close";
}

static void say_hangs(const struct ob__swap *s, const char *step, struct ob__load_refusal *r)
{
	bool opens = strcmp(s->hangs.step, "load") == 0;

	ob__refuse(r, step, "loader", NULL,
	           opens ? "a constructor that hangs" : "a destructor that hangs",
	           "one that returns", REMEDY,
	           "the loader waits for the module %s, whose %s does not return; no module can be "
	           "exchanged",
	           s->hangs.module, opens ? "constructor" : "destructor");
}

json_t *ob__watch_refusal(const struct ob__swap *s, uint64_t tx)
{
	struct ob__load_refusal r = {0};

	say_hangs(s, tx != 0 ? s->hangs.step : "admit", &r);
	return ob__refusal_json(tx, s->hangs.module, &r);
}

/* Whoever waits is told; the transaction itself goes on, to its refusal, if the loader ever does.
 */
static void tell_current(struct ob__transaction *tx)
{
	struct ob__swap *s = tx->node->swap;

	bool waits = tx->machine.state == OB__TX_RUNNING && tx->machine.step <= OB__TX_OPEN;

	if (!waits || tx->hung) {
		return;
	}
	say_hangs(s, s->hangs.step, &tx->refusal);
	tx->hung = true;
	ob__tx_reply(tx, 503, ob__watch_refusal(s, tx->id));
}

static void begin_hanging(struct ob__node *node, const struct ob__loader_view *now)
{
	struct ob__swap *s = node->swap;

	s->hangs.number = now->number;
	s->hangs.since = ob__loop_now(node->loop) - now->ms;
	s->hangs.step = step_of(now->op);
	snprintf(s->hangs.module, sizeof(s->hangs.module), "%s", now->name);
	ob__error("module",
	          "%s: at %s, its code has not returned to ld.so for %llu s: no module can be "
	          "exchanged any more; " REMEDY,
	          now->name, s->hangs.step, (unsigned long long)(now->ms / 1000));
	if (now->op == OB__LOAD_OPEN) {
		ob__manifest_mark(); /* else the next start would hang too */
	}
	ob__swap_refuse_queue(node);
}

static void end_hanging(struct ob__node *node)
{
	struct ob__swap *s = node->swap;

	ob__notice("module", "%s: its code has returned to ld.so after all", s->hangs.module);
	ob__manifest_unmark();
	s->hangs.number = 0;
}

static void look(void *arg)
{
	struct ob__node *node = arg;
	struct ob__swap *s = node->swap;
	struct ob__loader_view now;
	bool busy = ob__loader_look(node->loader, &now);

	if (s->hangs.number != 0 && s->hangs.number != now.number) {
		end_hanging(node);
	}
	if (s->hangs.number == 0 && ob__load_op_runs_code(now.op) && now.ms >= patience(node)) {
		begin_hanging(node, &now);
	}
	if (s->hangs.number != 0 && s->current != NULL) {
		tell_current(s->current);
	}
	if (busy) {
		ob__timeout_set(node->loop, &s->watch, LOOK_MS);
	}
}

void ob__watch_init(struct ob__node *node)
{
	ob__timeout_init(&node->swap->watch, look, node);
}

void ob__watch_submit(struct ob__node *node, struct ob__load_job *job)
{
	ob__loader_submit(node->loader, job);
	if (!ob__timeout_armed(&node->swap->watch)) {
		ob__timeout_set(node->loop, &node->swap->watch, LOOK_MS);
	}
}

void ob__watch_end(struct ob__node *node)
{
	ob__timeout_clear(node->loop, &node->swap->watch);
}

json_t *ob__swap_loader(struct ob__node *node)
{
	const struct ob__swap *s = node->swap;

	if (s->hangs.number == 0) {
		return NULL;
	}
	double for_s = (double)(ob__loop_now(node->loop) - s->hangs.since) / 1000.0;
	return json_pack("{s:s, s:s, s:f, s:s}", "module", s->hangs.module, "step", s->hangs.step,
	                 "hangs_s", for_s, "remedy", REMEDY);
}
