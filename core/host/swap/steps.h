/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the files of host/swap.  The steps of a transaction: what each does, and how it is
 * undone.
 *
 * steps.c has them in one table, which the state machine (tx.h) asks.  They stand in the order in
 * which a build comes nearer to the clients:
 *
 *     prepare.c   stage, preflight, probe, open: the file, its copy, a child that rehearses it,
 *                 dlopen.  On the loader thread; no code of the module runs on the loop.
 *     journal.c   journal (before open), and what the commit keeps: what has to be on disk if the
 *                 node crashes.
 *     shadow.c    depend, check, start, selftest: the new code runs on the loop, in turns of its
 *                 own, and registers where nobody reaches it.
 *     steps.c     state, switch, probation, commit, drain, close: when takeover.c, probation.c and
 *                 retire.c have to do what they do.
 *     outcome.c   no step, but what a transaction's new state brings: answers, the log, draining.
 *
 * A step answers for one item, or (item NULL) for all.  One that waits continues the transaction
 * from the callback it waits for, unless the node stops meanwhile.  FAIL comes with a refusal.
 */

#ifndef OB__STEPS_H
#define OB__STEPS_H

#include "host/swap/swap_priv.h"

/* ---- steps.c ---- */

/* Why the transaction is refused, and for which module (NULL: for all); FAIL. */
enum ob__tx_answer ob__tx_refuse(struct ob__transaction *tx, struct ob__swap_item *it,
                                 const struct ob__load_refusal *r);
enum ob__tx_answer ob__tx_no_memory(struct ob__transaction *tx, struct ob__swap_item *it,
                                    const char *step);

/* Its builds are watched for a while: they may be taken back. */
bool ob__tx_on_trial(const struct ob__transaction *tx);

/* Its builds stand in the journal from before they are opened until the commit: code comes into the
 * process that has not been there. */
bool ob__tx_in_journal(const struct ob__transaction *tx);

/* ---- prepare.c ---- */

/* The private copy; none of a file that is what runs already (`unchanged`). */
enum ob__tx_answer ob__step_stage(struct ob__transaction *tx, struct ob__swap_item *it);
void ob__step_stage_undo(struct ob__transaction *tx, struct ob__swap_item *it);

enum ob__tx_answer ob__step_preflight(struct ob__transaction *tx, struct ob__swap_item *it);

/* The rehearsal; a second one with the state of now, if that has another version. */
enum ob__tx_answer ob__step_probe(struct ob__transaction *tx, struct ob__swap_item *it);

/* The copy is mapped: the item has its new generation. */
enum ob__tx_answer ob__step_open(struct ob__transaction *tx, struct ob__swap_item *it);

/* The new generation goes; one that has served is drained by outcome.c. */
void ob__step_open_undo(struct ob__transaction *tx, struct ob__swap_item *it);

/* ---- shadow.c ---- */

/* All needs are met; sorts the items as their modules must start. */
enum ob__tx_answer ob__step_depend(struct ob__transaction *tx, struct ob__swap_item *none);

enum ob__tx_answer ob__step_check(struct ob__transaction *tx, struct ob__swap_item *it);
enum ob__tx_answer ob__step_start(struct ob__transaction *tx, struct ob__swap_item *it);
enum ob__tx_answer ob__step_selftest(struct ob__transaction *tx, struct ob__swap_item *it);

/* ---- journal.c ---- */

/* The builds on trial are on disk, before any of their code runs in this process. */
enum ob__tx_answer ob__step_journal(struct ob__transaction *tx, struct ob__swap_item *none);
void ob__step_journal_undo(struct ob__transaction *tx, struct ob__swap_item *none);

/* The trial is over, the builds have passed: copies are kept, before anything unmaps the
 * generations (the loader works in order). */
void ob__journal_passed(struct ob__transaction *tx);

/* ---- outcome.c ---- */

/* The state machine's `moved`; arg is the transaction. */
void ob__tx_moved(void *tx, enum ob__tx_state state);

#endif
