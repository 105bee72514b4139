/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/tx.h"

#include <string.h>

static const struct {
	const char *word;
	bool each;
} steps[OB__TX_STEPS] = {
	[OB__TX_ADMIT] = {"admit", false},         [OB__TX_STAGE] = {"stage", true},
	[OB__TX_PREFLIGHT] = {"preflight", true},  [OB__TX_PROBE] = {"probe", true},
	[OB__TX_JOURNAL] = {"journal", false},     [OB__TX_OPEN] = {"load", true},
	[OB__TX_DEPEND] = {"depend", false},       [OB__TX_CHECK] = {"check", true},
	[OB__TX_START] = {"start", true},          [OB__TX_SELFTEST] = {"selftest", true},
	[OB__TX_STATE] = {"state", false},         [OB__TX_SWITCH] = {"switch", false},
	[OB__TX_PROBATION] = {"probation", false}, [OB__TX_COMMIT] = {"commit", false},
	[OB__TX_DRAIN] = {"drain", true},          [OB__TX_CLOSE] = {"close", true},
	[OB__TX_REPORT] = {"report", false},
};

static const char *const state_words[] = {
	[OB__TX_NEW] = "new",           [OB__TX_RUNNING] = "running",
	[OB__TX_SWITCHED] = "switched", [OB__TX_COMMITTED] = "committed",
	[OB__TX_DONE] = "done",         [OB__TX_REFUSED] = "refused",
	[OB__TX_RETURNED] = "returned",
};

bool ob__tx_each(enum ob__tx_step step)
{
	return steps[step].each;
}

const char *ob__tx_step_word(enum ob__tx_step step)
{
	return step < OB__TX_STEPS ? steps[step].word : "end";
}

const char *ob__tx_state_word(enum ob__tx_state state)
{
	return state_words[state];
}

void ob__tx_init(struct ob__tx *tx, const struct ob__tx_ops *ops, void *arg, size_t items)
{
	memset(tx, 0, sizeof(*tx));
	tx->ops = ops;
	tx->arg = arg;
	tx->items = items;
}

static void move(struct ob__tx *tx, enum ob__tx_state state)
{
	tx->state = state;
	tx->ops->moved(tx->arg, state);
}

static size_t times(const struct ob__tx *tx, enum ob__tx_step step)
{
	return steps[step].each ? tx->items : 1;
}

/* Takes back everything up to and with the step that failed, last done first. */
static void undo(struct ob__tx *tx)
{
	bool switched = tx->state == OB__TX_SWITCHED;
	enum ob__tx_step at = tx->step;
	size_t item = tx->item;
	bool failed = true;

	for (;;) {
		tx->ops->undo(tx->arg, at, item, failed);
		failed = false;
		while (item == 0 && at > OB__TX_ADMIT) {
			at--;
			item = times(tx, at);
		}
		if (item == 0) {
			break;
		}
		item--;
	}
	move(tx, switched ? OB__TX_RETURNED : OB__TX_REFUSED);
}

static void step_done(struct ob__tx *tx)
{
	enum ob__tx_step was = tx->step;

	if (++tx->item < times(tx, was)) {
		return;
	}
	tx->item = 0;
	do {
		tx->step++;
	} while (tx->step < OB__TX_STEPS && times(tx, tx->step) == 0);
	if (was == OB__TX_SWITCH) {
		move(tx, OB__TX_SWITCHED);
	} else if (was == OB__TX_COMMIT) {
		move(tx, OB__TX_COMMITTED);
	} else if (tx->step == OB__TX_STEPS) {
		move(tx, OB__TX_DONE);
	}
}

static bool over(const struct ob__tx *tx)
{
	return tx->state >= OB__TX_DONE;
}

static void take(struct ob__tx *tx, enum ob__tx_answer answer)
{
	while (answer != OB__TX_WAIT) {
		if (answer == OB__TX_FAIL && tx->state != OB__TX_COMMITTED) {
			undo(tx);
			return;
		}
		if (answer != OB__TX_AGAIN) {
			step_done(tx);
		}
		if (over(tx)) {
			return;
		}
		tx->kept = false; /* nothing has waited for it */
		answer = tx->ops->run(tx->arg, tx->step, tx->item);
		if (answer == OB__TX_WAIT && tx->kept) {
			answer = tx->answer;
		}
	}
}

static void enter(struct ob__tx *tx, enum ob__tx_answer answer)
{
	tx->busy = true;
	take(tx, answer);
	tx->busy = false;
}

void ob__tx_begin(struct ob__tx *tx)
{
	move(tx, OB__TX_RUNNING);
	enter(tx, OB__TX_AGAIN);
}

void ob__tx_continue(struct ob__tx *tx, enum ob__tx_answer answer)
{
	if (tx->busy) {
		tx->kept = true;
		tx->answer = answer;
		return;
	}
	if (tx->state != OB__TX_NEW && !over(tx)) {
		enter(tx, answer);
	}
}
