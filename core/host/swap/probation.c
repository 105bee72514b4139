/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "host/swap/swap_priv.h"

#define LOOK_EVERY_MS 100
#define REQUESTS_MIN  20 /* fewer say nothing about a ratio */

static double ratio(uint64_t failed, uint64_t handled)
{
	return handled > 0 ? 100.0 * (double)failed / (double)handled : 0;
}

/* A generation fails more often than the one before it by more than reload.errors percent, or one
 * of its callbacks held the loop for longer than reload.stall. */
static bool item_clean(const struct ob__transaction *tx, const struct ob__swap_item *it, char *why,
                       size_t cap)
{
	const struct ob__gen *g = it->to;
	const struct ob__reload_conf *c = &tx->node->conf->reload;

	if (g == NULL) {
		return true;
	}
	if (c->stall_ms > 0 && g->stall_ns > c->stall_ms * 1000000u) {
		snprintf(why, cap, "%s: a callback held the loop for %llu ms (reload.stall: %llu)",
		         it->name, (unsigned long long)(g->stall_ns / 1000000u),
		         (unsigned long long)c->stall_ms);
		return false;
	}
	double was = it->from != NULL ? ratio(it->from->failed, it->from->handled) : 0;
	double is = ratio(g->failed, g->handled);
	if (c->errors_percent < 100 && g->handled >= REQUESTS_MIN &&
	    is > was + (double)c->errors_percent) {
		snprintf(why, cap,
		         "%s: %llu of %llu requests failed, %.0f %%, of the old generation %.0f %% "
		         "(reload.errors: %u)",
		         it->name, (unsigned long long)g->failed, (unsigned long long)g->handled,
		         is, was, c->errors_percent);
		return false;
	}
	return true;
}

bool ob__probation_clean(struct ob__transaction *tx, char *why, size_t cap)
{
	if (tx->kind == OB__SWAP_START) {
		return true; /* there is nothing to return to */
	}
	for (size_t i = 0; i < tx->len; i++) {
		if (!item_clean(tx, &tx->items[i], why, cap)) {
			return false;
		}
	}
	return true;
}

void ob__probation_decide(struct ob__transaction *tx, bool commit)
{
	tx->probing = false;
	ob__tx_continue(&tx->machine, commit ? OB__TX_OK : OB__TX_FAIL);
}

/* In a turn of the timer's own: no module code is on the stack. */
void ob__probation_look(void *arg)
{
	struct ob__transaction *tx = arg;

	if (!tx->probing) {
		return;
	}
	if (!ob__probation_clean(tx, tx->returned, sizeof(tx->returned))) {
		ob__probation_decide(tx, false);
		return;
	}
	if (ob__loop_now(tx->node->loop) >= tx->until) {
		ob__probation_decide(tx, true);
		return;
	}
	ob__timeout_set(tx->node->loop, &tx->watch, LOOK_EVERY_MS);
}

static void watched(struct ob__transaction *tx, bool on)
{
	for (size_t i = 0; i < tx->len; i++) {
		if (tx->items[i].to != NULL) {
			tx->items[i].to->watched = on;
		}
	}
}

void ob__probation_begin(struct ob__transaction *tx)
{
	uint64_t every = tx->probation_ms < LOOK_EVERY_MS ? tx->probation_ms : LOOK_EVERY_MS;

	tx->until = ob__loop_now(tx->node->loop) + tx->probation_ms;
	/* Two looks at the clock per callback; nobody asks how the first build of a node does. */
	watched(tx, tx->kind != OB__SWAP_START);
	ob__timeout_set(tx->node->loop, &tx->watch, every);
}

void ob__probation_end(struct ob__transaction *tx)
{
	watched(tx, false);
	ob__timeout_clear(tx->node->loop, &tx->watch);
}

static json_t *counts(const struct ob__gen *g)
{
	if (g == NULL) {
		return json_null();
	}
	return json_pack("{s:i, s:s, s:I, s:I, s:I, s:f}", "generation", (int)g->number, "state",
	                 ob__gen_state_word(g), "handled", (json_int_t)g->handled, "failed",
	                 (json_int_t)g->failed, "in_flight", (json_int_t)g->refs, "longest_ms",
	                 (double)g->stall_ns / 1e6);
}

json_t *ob__probation_json(struct ob__transaction *tx)
{
	uint64_t now = ob__loop_now(tx->node->loop);
	json_t *list = json_array();

	for (size_t i = 0; i < tx->len; i++) {
		const struct ob__swap_item *it = &tx->items[i];
		if (!it->unchanged) {
			json_array_append_new(list,
			                      json_pack("{s:s, s:o, s:o}", "name", it->name, "from",
			                                counts(it->from), "to", counts(it->to)));
		}
	}
	json_t *shown = json_pack("{s:f, s:o}", "left_s",
	                          tx->until > now ? (double)(tx->until - now) / 1000.0 : 0.0,
	                          "modules", list);
	if (tx->canary > 0) {
		json_object_set_new(shown, "canary", json_integer((json_int_t)tx->canary));
	}
	return shown;
}
