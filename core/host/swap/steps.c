/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/steps.h"

#include <uv.h>

#include "base/log.h"

/* ---- for all steps ---- */

enum ob__tx_answer ob__tx_refuse(struct ob__transaction *tx, struct ob__swap_item *it,
                                 const struct ob__load_refusal *r)
{
	tx->refusal = *r;
	tx->refused = it;
	return OB__TX_FAIL;
}

enum ob__tx_answer ob__tx_no_memory(struct ob__transaction *tx, struct ob__swap_item *it,
                                    const char *step)
{
	struct ob__load_refusal r = {0};

	ob__refuse(&r, step, "memory", NULL, NULL, NULL, NULL, "out of memory");
	return ob__tx_refuse(tx, it, &r);
}

static void turn(void *arg)
{
	struct ob__transaction *tx = arg;

	tx->queued_up = false;
	if (!tx->ended && !tx->node->swap->stopping) {
		ob__tx_continue(&tx->machine, OB__TX_AGAIN);
	}
}

void ob__tx_turn(struct ob__transaction *tx)
{
	if (!tx->queued_up && ob__loop_defer(tx->node->loop, turn, tx) == 0) {
		tx->queued_up = true;
	}
}

bool ob__tx_on_trial(const struct ob__transaction *tx)
{
	return tx->probation_ms > 0 && tx->kind != OB__SWAP_UNLOAD;
}

bool ob__tx_in_journal(const struct ob__transaction *tx)
{
	return tx->kind != OB__SWAP_UNLOAD && tx->kind != OB__SWAP_CONF;
}

bool ob__tx_changes(const struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		if (!tx->items[i].unchanged) {
			return true;
		}
	}
	return false;
}

/* ---- from the hand-over on ---- */

static enum ob__tx_answer run_state(struct ob__transaction *tx, struct ob__swap_item *none)
{
	int rc = ob__swap_hand_over(tx);

	(void)none;
	if (rc < 0) {
		return OB__TX_FAIL;
	}
	if (rc > 0) {
		ob__timeout_set(tx->node->loop, &tx->timer, 10);
		return OB__TX_WAIT;
	}
	return OB__TX_OK;
}

static enum ob__tx_answer run_switch(struct ob__transaction *tx, struct ob__swap_item *none)
{
	(void)none;
	if (ob__tx_changes(tx)) {
		ob__swap_switch(tx);
	}
	return OB__TX_OK;
}

static void undo_switch(struct ob__transaction *tx, struct ob__swap_item *none)
{
	(void)none;
	ob__swap_switch_back(tx);
}

/* A request ends a probation, so one that waits already lets none begin. */
static enum ob__tx_answer run_probation(struct ob__transaction *tx, struct ob__swap_item *none)
{
	(void)none;
	if (!ob__tx_on_trial(tx) || !ob__tx_changes(tx) ||
	    !ob__list_empty(&tx->node->swap->queue)) {
		return OB__TX_OK;
	}
	tx->probing = true;
	ob__probation_begin(tx);
	return OB__TX_WAIT;
}

static void undo_probation(struct ob__transaction *tx, struct ob__swap_item *none)
{
	(void)none;
	tx->probing = false;
	ob__probation_end(tx);
}

static enum ob__tx_answer run_commit(struct ob__transaction *tx, struct ob__swap_item *none)
{
	(void)none;
	tx->probing = false;
	ob__probation_end(tx);
	if (tx->canarying) {
		ob__swap_promote(tx);
	}
	if (tx->kind != OB__SWAP_UNLOAD && ob__tx_changes(tx)) {
		ob__journal_passed(tx);
	}
	return OB__TX_OK;
}

static enum ob__tx_answer run_drain(struct ob__transaction *tx, struct ob__swap_item *it)
{
	bool drains = it->from != NULL && !it->unchanged && it->from->state == OB__GEN_DRAINING;

	(void)tx;
	return drains && it->from_end == NULL ? OB__TX_WAIT : OB__TX_OK;
}

static enum ob__tx_answer run_close(struct ob__transaction *tx, struct ob__swap_item *it)
{
	(void)tx;
	return it->from == NULL || it->unchanged || it->from_end != NULL ? OB__TX_OK : OB__TX_WAIT;
}

/* ---- the table ---- */

/* A step without a function has nothing to do here: admit is over, report is the state machine's.
 */
static const struct {
	enum ob__tx_answer (*run)(struct ob__transaction *tx, struct ob__swap_item *it);
	void (*undo)(struct ob__transaction *tx, struct ob__swap_item *it);
} steps[OB__TX_STEPS] = {
	[OB__TX_STAGE] = {ob__step_stage, ob__step_stage_undo},
	[OB__TX_PREFLIGHT] = {ob__step_preflight, NULL},
	[OB__TX_PROBE] = {ob__step_probe, NULL},
	[OB__TX_JOURNAL] = {ob__step_journal, ob__step_journal_undo},
	[OB__TX_OPEN] = {ob__step_open, ob__step_open_undo},
	[OB__TX_DEPEND] = {ob__step_depend, NULL},
	[OB__TX_CHECK] = {ob__step_check, NULL},
	[OB__TX_START] = {ob__step_start, NULL},
	[OB__TX_SELFTEST] = {ob__step_selftest, NULL},
	[OB__TX_STATE] = {run_state, NULL},
	[OB__TX_SWITCH] = {run_switch, undo_switch},
	[OB__TX_PROBATION] = {run_probation, undo_probation},
	[OB__TX_COMMIT] = {run_commit, NULL},
	[OB__TX_DRAIN] = {run_drain, NULL},
	[OB__TX_CLOSE] = {run_close, NULL},
};

static struct ob__swap_item *item_at(struct ob__transaction *tx, enum ob__tx_step step, size_t item)
{
	return ob__tx_each(step) && item < tx->len ? &tx->items[item] : NULL;
}

/* The step before is over: how long it took. */
static void show_step(struct ob__transaction *tx, enum ob__tx_step step)
{
	uint64_t now = uv_hrtime();
	uint64_t us = (now - tx->step_began) / 1000;
	const char *word = ob__tx_step_word(tx->shown_step);

	json_array_append_new(tx->steps,
	                      json_pack("{s:s, s:I}", "step", word, "us", (json_int_t)us));
	ob__info("module", "tx %llu: %s: %llu us", (unsigned long long)tx->id, word,
	         (unsigned long long)us);
	tx->shown_step = step;
	tx->step_began = now;
}

static enum ob__tx_answer run(void *arg, enum ob__tx_step step, size_t item)
{
	struct ob__transaction *tx = arg;

	if (step != tx->shown_step) {
		show_step(tx, step);
	}
	return steps[step].run != NULL ? steps[step].run(tx, item_at(tx, step, item)) : OB__TX_OK;
}

static void undo(void *arg, enum ob__tx_step step, size_t item, bool failed)
{
	struct ob__transaction *tx = arg;

	(void)failed;
	if (steps[step].undo != NULL) {
		steps[step].undo(tx, item_at(tx, step, item));
	}
}

const struct ob__tx_ops ob__swap_ops = {.run = run, .undo = undo, .moved = ob__tx_moved};
