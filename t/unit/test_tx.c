/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/tx.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"

#define TRACE 16384

/* Whoever does the steps: notes each, and answers as the test says. */
struct fake {
	struct ob__tx tx;
	char trace[TRACE]; /* "run stage 0", "undo stage 0", "fail stage 0", "= refused", by comma
	                    */
	enum ob__tx_step step; /* of the one that answers otherwise */
	size_t item;
	enum ob__tx_answer answer;
	bool inside;               /* it answers WAIT, and `answer` comes while it runs */
	bool every;                /* every step answers WAIT, and OK comes while it runs */
	enum ob__tx_answer stray;  /* comes before each step, from inside, when not 0 */
	enum ob__tx_answer beside; /* comes in each undo and moved, when not 0 */
	int times;                 /* that step has been run */
};

static void note(struct fake *f, const char *what, const char *word, int item)
{
	size_t len = strlen(f->trace);
	char number[16] = "";

	if (item >= 0) {
		snprintf(number, sizeof(number), " %d", item);
	}
	snprintf(f->trace + len, sizeof(f->trace) - len, "%s%s %s%s", len > 0 ? ", " : "", what,
	         word, number);
}

static int item_shown(enum ob__tx_step step, size_t item)
{
	return ob__tx_each(step) ? (int)item : -1;
}

static enum ob__tx_answer run(void *arg, enum ob__tx_step step, size_t item)
{
	struct fake *f = arg;

	note(f, "run", ob__tx_step_word(step), item_shown(step, item));
	if (f->stray != 0) {
		ob__tx_continue(&f->tx, f->stray);
	}
	if (f->every) {
		ob__tx_continue(&f->tx, OB__TX_OK);
		return OB__TX_WAIT;
	}
	if (step != f->step || item != f->item || f->times++ > 0) {
		return OB__TX_OK;
	}
	if (f->inside) {
		ob__tx_continue(&f->tx, f->answer);
		return OB__TX_WAIT;
	}
	return f->answer;
}

static void undo(void *arg, enum ob__tx_step step, size_t item, bool failed)
{
	struct fake *f = arg;

	note(f, failed ? "fail" : "undo", ob__tx_step_word(step), item_shown(step, item));
	if (f->beside != 0) {
		ob__tx_continue(&f->tx, f->beside);
	}
}

static void moved(void *arg, enum ob__tx_state state)
{
	struct fake *f = arg;

	note(f, "=", ob__tx_state_word(state), -1);
	if (f->beside != 0 && state != OB__TX_RUNNING) {
		ob__tx_continue(&f->tx, f->beside);
	}
}

static const struct ob__tx_ops ops = {run, undo, moved};

/* Begins with what the fake is told to do. */
static void begin(struct fake *f, size_t items)
{
	f->trace[0] = '\0';
	f->times = 0;
	ob__tx_init(&f->tx, &ops, f, items);
	CU_ASSERT_EQUAL(f->tx.state, OB__TX_NEW);
	CU_ASSERT_FALSE(ob__tx_exclusive(&f->tx));
	ob__tx_begin(&f->tx);
}

/* The trace is this; what differs is printed. */
static bool traced(const struct fake *f, const char *expected)
{
	if (strcmp(f->trace, expected) == 0) {
		return true;
	}
	printf("# trace:    %s\n# expected: %s\n", f->trace, expected);
	return false;
}

static const char *const words[] = {
	"admit",     "stage",  "preflight", "probe",    "journal", "load",
	"depend",    "check",  "start",     "selftest", "state",   "switch",
	"probation", "commit", "drain",     "close",    "report",
};

static const bool each[] = {
	false, true,  true,  true,  false, true, false, true,  true,
	true,  false, false, false, false, true, true,  false,
};

static void test_words(void)
{
	static const char *const states[] = {"new",  "running", "switched", "committed",
	                                     "done", "refused", "returned"};

	CU_ASSERT_EQUAL(sizeof(words) / sizeof(words[0]), OB__TX_STEPS);
	for (int i = 0; i < OB__TX_STEPS; i++) {
		CU_ASSERT_STRING_EQUAL(ob__tx_step_word((enum ob__tx_step)i), words[i]);
		CU_ASSERT_EQUAL(ob__tx_each((enum ob__tx_step)i), each[i]);
	}
	CU_ASSERT_STRING_EQUAL(ob__tx_step_word(OB__TX_STEPS), "end");
	for (int i = OB__TX_NEW; i <= OB__TX_RETURNED; i++) {
		struct ob__tx tx = {.state = (enum ob__tx_state)i};
		CU_ASSERT_STRING_EQUAL(ob__tx_state_word(tx.state), states[i]);
		CU_ASSERT_EQUAL(ob__tx_exclusive(&tx),
		                tx.state == OB__TX_RUNNING || tx.state == OB__TX_SWITCHED);
	}
}

/* ---------------------------------------------------------------- the way through */

#define TO_SWITCH                                                                                  \
	"= running, run admit, run stage 0, run stage 1, run preflight 0, run preflight 1, "       \
	"run probe 0, run probe 1, run journal, run load 0, run load 1, run depend, run check 0, " \
	"run check 1, run start 0, run start 1, run selftest 0, run selftest 1, "                  \
	"run state, run switch, = switched, "
#define FROM_PROBATION "run probation, " FROM_COMMIT
#define FROM_COMMIT                                                                     \
	"run commit, = committed, run drain 0, run drain 1, run close 0, run close 1, " \
	"run report, = done"

static void test_straight(void)
{
	static struct fake f;

	f.step = OB__TX_STEPS;
	begin(&f, 2);
	CU_ASSERT_TRUE(traced(&f, TO_SWITCH FROM_PROBATION));
	CU_ASSERT_EQUAL(f.tx.state, OB__TX_DONE);
	CU_ASSERT_EQUAL(f.tx.step, OB__TX_STEPS);
	CU_ASSERT_FALSE(f.tx.busy);

	/* each step waits, and hears its answer before it has returned */
	memset(&f, 0, sizeof(f));
	f.every = true;
	begin(&f, 2);
	CU_ASSERT_TRUE(traced(&f, TO_SWITCH FROM_PROBATION));

	/* and when there is nothing to do, the steps for all are taken, those per item not */
	memset(&f, 0, sizeof(f));
	f.step = OB__TX_STEPS;
	begin(&f, 0);
	CU_ASSERT_TRUE(traced(&f, "= running, run admit, run journal, run depend, run state, run "
	                          "switch, = switched, run probation, run commit, = committed, run "
	                          "report, = done"));
}

/* A trace by the tables of this file: everything up to a step for an item, that one included. */
static void expect_runs(struct fake *f, size_t items, int step, size_t item)
{
	note(f, "=", "running", -1);
	for (int s = 0; s <= step; s++) {
		size_t n = each[s] ? items : 1;
		for (size_t i = 0; i < n && (s < step || i <= item); i++) {
			note(f, "run", words[s], each[s] ? (int)i : -1);
		}
		if (s == OB__TX_SWITCH && s < step) {
			note(f, "=", "switched", -1);
		}
	}
}

static void expect_undo(struct fake *f, size_t items, int step, size_t item)
{
	note(f, "fail", words[step], each[step] ? (int)item : -1);
	for (int s = step; s >= 0; s--) {
		size_t n = s == step ? item : each[s] ? items : 1;
		while (n-- > 0) {
			note(f, "undo", words[s], each[s] ? (int)n : -1);
		}
	}
	note(f, "=", step > OB__TX_SWITCH ? "returned" : "refused", -1);
}

/* Fails at `step` of `item`, in one of three ways: at once, from inside, later. */
static void fail_at(size_t items, int step, size_t item, int way)
{
	static struct fake f;
	static struct fake expected;

	memset(&f, 0, sizeof(f));
	memset(&expected, 0, sizeof(expected));
	f.step = (enum ob__tx_step)step;
	f.item = item;
	f.answer = way == 2 ? OB__TX_WAIT : OB__TX_FAIL;
	f.inside = way == 1;
	expect_runs(&expected, items, step, item);
	begin(&f, items);
	if (way == 2) {
		CU_ASSERT_TRUE(traced(&f, expected.trace));
		CU_ASSERT_EQUAL(f.tx.step, step);
		CU_ASSERT_EQUAL(f.tx.item, item);
		CU_ASSERT_TRUE(ob__tx_exclusive(&f.tx));
		ob__tx_continue(&f.tx, OB__TX_FAIL);
	}
	expect_undo(&expected, items, step, item);
	CU_ASSERT_TRUE(traced(&f, expected.trace));
	CU_ASSERT_EQUAL(f.tx.state, step > OB__TX_SWITCH ? OB__TX_RETURNED : OB__TX_REFUSED);
	CU_ASSERT_FALSE(ob__tx_exclusive(&f.tx));

	/* over is over */
	ob__tx_continue(&f.tx, OB__TX_OK);
	ob__tx_continue(&f.tx, OB__TX_FAIL);
	ob__tx_continue(&f.tx, OB__TX_AGAIN);
	CU_ASSERT_TRUE(traced(&f, expected.trace));
}

/* Every step up to the commit, for each of 0 to 4 items. */
static void test_undo(void)
{
	int failures = 0;

	for (size_t items = 0; items <= 4; items++) {
		for (int step = 0; step <= OB__TX_COMMIT; step++) {
			for (size_t item = 0; item < (each[step] ? items : 1); item++) {
				for (int way = 0; way < 3; way++) {
					fail_at(items, step, item, way);
					failures++;
				}
			}
		}
	}
	/* 7 steps for all and 7 per item */
	CU_ASSERT_EQUAL(failures, 3 * (5 * 7 + (0 + 1 + 2 + 3 + 4) * 7));
}

/* Written out once, as the tables above might err together with the code. */
static void test_undo_spelled(void)
{
	static struct fake f = {.step = OB__TX_PROBE, .item = 1, .answer = OB__TX_FAIL};

	begin(&f, 3);
	CU_ASSERT_TRUE(traced(
		&f, "= running, run admit, run stage 0, run stage 1, run stage 2, run preflight 0, "
		    "run preflight 1, run preflight 2, run probe 0, run probe 1, fail probe 1, "
		    "undo probe 0, undo preflight 2, undo preflight 1, undo preflight 0, "
		    "undo stage 2, undo stage 1, undo stage 0, undo admit, = refused"));

	memset(&f, 0, sizeof(f));
	f.step = OB__TX_PROBATION;
	f.answer = OB__TX_FAIL;
	begin(&f, 1);
	CU_ASSERT_TRUE(traced(
		&f, "= running, run admit, run stage 0, run preflight 0, run probe 0, run journal, "
		    "run load 0, run depend, run check 0, run start 0, run selftest 0, run state, "
		    "run switch, = switched, run probation, fail probation, undo switch, undo "
		    "state, undo selftest 0, undo start 0, undo check 0, undo depend, undo load 0, "
		    "undo journal, undo probe 0, undo preflight 0, undo stage 0, undo admit, "
		    "= returned"));
}

/* ---------------------------------------------------------------- answers */

/* Behind the commit there is no way back: a failure is taken as done. */
static void test_fail_late(void)
{
	static const struct {
		enum ob__tx_step step;
		size_t item;
	} rows[] = {
		{OB__TX_DRAIN, 0}, {OB__TX_DRAIN, 1},  {OB__TX_CLOSE, 0},
		{OB__TX_CLOSE, 1}, {OB__TX_REPORT, 0},
	};
	static struct fake f;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int inside = 0; inside < 2; inside++) {
			memset(&f, 0, sizeof(f));
			f.step = rows[i].step;
			f.item = rows[i].item;
			f.answer = OB__TX_FAIL;
			f.inside = inside;
			begin(&f, 2);
			CU_ASSERT_TRUE(traced(&f, TO_SWITCH FROM_PROBATION));
			CU_ASSERT_EQUAL(f.tx.state, OB__TX_DONE);
		}
	}
}

/* The same step for the same item, as often as it is told. */
static void test_again(void)
{
	static struct fake f;

	f.step = OB__TX_STAGE;
	f.item = 1;
	f.answer = OB__TX_WAIT;
	begin(&f, 2);
	CU_ASSERT_TRUE(traced(&f, "= running, run admit, run stage 0, run stage 1"));
	f.times = 0; /* it waits once more */
	ob__tx_continue(&f.tx, OB__TX_AGAIN);
	CU_ASSERT_TRUE(traced(&f, "= running, run admit, run stage 0, run stage 1, run stage 1"));
	ob__tx_continue(&f.tx, OB__TX_AGAIN);
	CU_ASSERT_EQUAL(f.tx.state, OB__TX_DONE);
	CU_ASSERT_EQUAL(f.times, 2);

	/* a step that was taken anew is undone once */
	memset(&f, 0, sizeof(f));
	f.step = OB__TX_DEPEND;
	f.answer = OB__TX_AGAIN;
	f.inside = true;
	begin(&f, 0);
	CU_ASSERT_EQUAL(f.times, 2);
	CU_ASSERT_EQUAL(f.tx.state, OB__TX_DONE);
	memset(&f, 0, sizeof(f));
	f.step = OB__TX_DEPEND;
	f.answer = OB__TX_WAIT;
	begin(&f, 0);
	f.times = 0;
	ob__tx_continue(&f.tx, OB__TX_AGAIN);
	ob__tx_continue(&f.tx, OB__TX_FAIL);
	CU_ASSERT_TRUE(traced(&f, "= running, run admit, run journal, run depend, run depend, fail "
	                          "depend, undo journal, undo admit, = refused"));
}

/* Whoever ends the probation does it from outside, with either answer. */
static void test_probation(void)
{
	static struct fake f;

	f.step = OB__TX_PROBATION;
	f.answer = OB__TX_WAIT;
	begin(&f, 2);
	CU_ASSERT_TRUE(traced(&f, TO_SWITCH "run probation"));
	CU_ASSERT_EQUAL(f.tx.state, OB__TX_SWITCHED);
	ob__tx_continue(&f.tx, OB__TX_OK);
	CU_ASSERT_TRUE(traced(&f, TO_SWITCH FROM_PROBATION));

	begin(&f, 2);
	ob__tx_continue(&f.tx, OB__TX_FAIL);
	CU_ASSERT_EQUAL(f.tx.state, OB__TX_RETURNED);

	/* waiting for an old generation keeps nobody out */
	memset(&f, 0, sizeof(f));
	f.step = OB__TX_DRAIN;
	f.answer = OB__TX_WAIT;
	begin(&f, 2);
	CU_ASSERT_EQUAL(f.tx.state, OB__TX_COMMITTED);
	CU_ASSERT_FALSE(ob__tx_exclusive(&f.tx));
	ob__tx_continue(&f.tx, OB__TX_AGAIN);
	CU_ASSERT_EQUAL(f.tx.state, OB__TX_DONE);
}

/* An answer that nobody waits for: before the beginning, before a step that does not wait or that
 * answers itself, while something is undone, and when the state moves. */
static void test_strays(void)
{
	static const enum ob__tx_answer rows[] = {OB__TX_OK, OB__TX_AGAIN, OB__TX_FAIL};
	static struct fake f;
	static struct fake expected;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&f, 0, sizeof(f));
		f.step = OB__TX_STEPS;
		ob__tx_init(&f.tx, &ops, &f, 2);
		ob__tx_continue(&f.tx, rows[i]);
		CU_ASSERT_STRING_EQUAL(f.trace, "");

		f.stray = rows[i];
		f.beside = rows[i];
		begin(&f, 2);
		CU_ASSERT_TRUE(traced(&f, TO_SWITCH FROM_PROBATION));

		/* the step that waits next does not take it for its own */
		memset(&f, 0, sizeof(f));
		f.step = OB__TX_PROBATION;
		f.answer = OB__TX_WAIT;
		f.beside = rows[i];
		begin(&f, 2);
		CU_ASSERT_TRUE(traced(&f, TO_SWITCH "run probation"));

		memset(&expected, 0, sizeof(expected));
		expect_runs(&expected, 2, OB__TX_PROBATION, 0);
		expect_undo(&expected, 2, OB__TX_PROBATION, 0);
		ob__tx_continue(&f.tx, OB__TX_FAIL);
		CU_ASSERT_TRUE(traced(&f, expected.trace));
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("tx", NULL, NULL);
	CU_add_test(s, "words", test_words);
	CU_add_test(s, "straight through", test_straight);
	CU_add_test(s, "a failure at each place", test_undo);
	CU_add_test(s, "two of them, spelled out", test_undo_spelled);
	CU_add_test(s, "a failure behind the commit", test_fail_late);
	CU_add_test(s, "again", test_again);
	CU_add_test(s, "probation and drain", test_probation);
	CU_add_test(s, "answers nobody waits for", test_strays);
	return ob__tap_run();
}
