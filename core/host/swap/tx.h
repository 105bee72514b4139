/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The state machine of a module transaction, and nothing else.
 *
 * A transaction takes one or several modules (items) through the steps of one table.  A step is
 * taken for each item in turn, or once for all.  Whoever does the work (host/swap/steps.c; a fake
 * in the tests) answers OK, WAIT (it calls ob__tx_continue() later), AGAIN (run the same step anew)
 * or FAIL.  A failure before the commit undoes, in reverse order, what was done: every step with a
 * way back has it in one place.  After the commit nothing is undone; what is left is taking the old
 * generations out.
 *
 *     admit  stage  preflight  probe  journal  open  depend  check  start  selftest  state
 *     switch  probation  commit | drain  close  report
 *
 * What is to be known if the node crashes is written (journal) before the first of the new code
 * runs in the node's process (open).  Between the switch and the commit both generations are there,
 * and FAIL is the automatic return.
 */

#ifndef OB__TX_H
#define OB__TX_H

#include <stdbool.h>
#include <stddef.h>

enum ob__tx_step {
	OB__TX_ADMIT,
	OB__TX_STAGE,
	OB__TX_PREFLIGHT,
	OB__TX_PROBE,
	OB__TX_JOURNAL,
	OB__TX_OPEN,
	OB__TX_DEPEND,
	OB__TX_CHECK,
	OB__TX_START,
	OB__TX_SELFTEST,
	OB__TX_STATE,
	OB__TX_SWITCH,
	OB__TX_PROBATION,
	OB__TX_COMMIT,
	OB__TX_DRAIN,
	OB__TX_CLOSE,
	OB__TX_REPORT,
	OB__TX_STEPS,
};

enum ob__tx_answer {
	OB__TX_OK = 1,
	OB__TX_WAIT,  /* ob__tx_continue() will be called */
	OB__TX_AGAIN, /* to ob__tx_continue(): run the same step for the same item anew */
	OB__TX_FAIL,  /* before the commit: undo everything; behind it: taken as OK */
};

enum ob__tx_state {
	OB__TX_NEW,
	OB__TX_RUNNING,   /* before the switch */
	OB__TX_SWITCHED,  /* the new generations serve, the old ones stand by */
	OB__TX_COMMITTED, /* the old ones are being taken out */
	OB__TX_DONE,      /* committed, and they are out */
	OB__TX_REFUSED,   /* undone before the switch */
	OB__TX_RETURNED,  /* undone after it */
};

struct ob__tx_ops {
	enum ob__tx_answer (*run)(void *arg, enum ob__tx_step step, size_t item);

	/* The step had answered OK, or (failed) FAIL: what it left is taken back.  Can't fail,
	 * can't wait. */
	void (*undo)(void *arg, enum ob__tx_step step, size_t item, bool failed);

	/* The state is another one now. */
	void (*moved)(void *arg, enum ob__tx_state state);
};

struct ob__tx {
	const struct ob__tx_ops *ops;
	void *arg;
	size_t items;
	enum ob__tx_state state;
	enum ob__tx_step step;
	size_t item;
	bool busy; /* inside run or undo */
	bool kept; /* ob__tx_continue() came while busy: its answer */
	enum ob__tx_answer answer;
};

void ob__tx_init(struct ob__tx *tx, const struct ob__tx_ops *ops, void *arg, size_t items);

/* The first steps, up to the first that waits. */
void ob__tx_begin(struct ob__tx *tx);

/* What a step that waited came to; while none waits it means nothing.  Also FAIL or OK for
 * OB__TX_PROBATION, from whoever ends it. */
void ob__tx_continue(struct ob__tx *tx, enum ob__tx_answer answer);

/* Taken for each item, or once for all (then the item is 0). */
bool ob__tx_each(enum ob__tx_step step);
const char *ob__tx_step_word(enum ob__tx_step step);
const char *ob__tx_state_word(enum ob__tx_state state);

/* No other transaction may run beside it. */
static inline bool ob__tx_exclusive(const struct ob__tx *tx)
{
	return tx->state == OB__TX_RUNNING || tx->state == OB__TX_SWITCHED;
}

#endif
