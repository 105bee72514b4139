/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/wheel.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include "tap.h"

#define ROUND_MS ((uint64_t)OB__WHEEL_SLOTS * OB__WHEEL_TICK_MS)

static struct ob__wheel w;
static struct ob__wheel_entry entries[8];

/* The order in which entries fired, as digits. */
static char fired[64];

static void on_fire(struct ob__wheel_entry *e, void *arg)
{
	(void)arg;
	CU_ASSERT_FALSE(ob__wheel_armed(e));
	size_t len = strlen(fired);
	fired[len] = (char)('0' + (e - entries));
	fired[len + 1] = '\0';
}

static void start(uint64_t now)
{
	ob__wheel_init(&w, now);
	for (size_t i = 0; i < 8; i++) {
		ob__wheel_entry_init(&entries[i]);
	}
	fired[0] = '\0';
}

static const char *advance(uint64_t now)
{
	fired[0] = '\0';
	ob__wheel_advance(&w, now, on_fire, NULL);
	return fired;
}

/* One entry, set at `now`: not fired by an advance to `before`, fired by one to `due`. */
static void test_one(void)
{
	static const struct {
		uint64_t now;
		uint64_t expiry;
		uint64_t before; /* 0: no advance */
		uint64_t due;
	} rows[] = {
		{1000, 1010, 1009, 1010}, /* on a tick */
		{1000, 1011, 1019, 1020}, /* between two: at the later */
		{1000, 1019, 1019, 1020},
		{1005, 1009, 1009, 1010}, /* within the tick that is running */
		{1005, 1006, 1005, 1010},
		{1005, 1005, 0, 1005}, /* now: at the next advance, also at the same time */
		{1005, 1000, 0, 1005}, /* passed */
		{1005, 0, 0, 1006},
		{0, 1, 9, 10},                                    /* from zero */
		{0, ROUND_MS - 10, ROUND_MS - 11, ROUND_MS - 10}, /* the last slot of a turn */
		{0, ROUND_MS, ROUND_MS - 1, ROUND_MS},            /* the slot it stands on */
		{0, ROUND_MS + 10, ROUND_MS + 9, ROUND_MS + 10},  /* beyond one turn */
		{7, 5 * ROUND_MS + 3, 5 * ROUND_MS + 2, 5 * ROUND_MS + 10},
		{1000, 3 * ROUND_MS, 2 * ROUND_MS, 9 * ROUND_MS}, /* found by a jump */
		{UINT64_C(1) << 60, (UINT64_C(1) << 60) + 1000, (UINT64_C(1) << 60) + 999,
	         (UINT64_C(1) << 60) + 1009},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		start(rows[i].now);
		ob__wheel_set(&w, &entries[0], rows[i].expiry);
		CU_ASSERT_TRUE(ob__wheel_armed(&entries[0]));
		CU_ASSERT_EQUAL(w.count, 1);
		if (rows[i].before != 0) {
			CU_ASSERT_STRING_EQUAL(advance(rows[i].before), "");
			CU_ASSERT_TRUE(ob__wheel_armed(&entries[0]));
		}
		CU_ASSERT_STRING_EQUAL(advance(rows[i].due), "0");
		CU_ASSERT_EQUAL(w.count, 0);
		CU_ASSERT_STRING_EQUAL(advance(rows[i].due + 2 * ROUND_MS), "");
	}
}

static void test_clear(void)
{
	start(100);
	ob__wheel_clear(&w, &entries[0]); /* never armed */
	CU_ASSERT_EQUAL(w.count, 0);
	ob__wheel_set(&w, &entries[0], 200);
	ob__wheel_set(&w, &entries[1], 200);
	ob__wheel_set(&w, &entries[2], 50); /* overdue */
	ob__wheel_clear(&w, &entries[0]);
	ob__wheel_clear(&w, &entries[0]);
	ob__wheel_clear(&w, &entries[2]);
	CU_ASSERT_EQUAL(w.count, 1);
	CU_ASSERT_STRING_EQUAL(advance(300), "1");
	ob__wheel_set(&w, &entries[0], 400);
	ob__wheel_set(&w, &entries[0], 350); /* re-armed for earlier */
	ob__wheel_set(&w, &entries[1], 320);
	ob__wheel_set(&w, &entries[1], 500); /* and for later */
	CU_ASSERT_EQUAL(w.count, 2);
	CU_ASSERT_STRING_EQUAL(advance(350), "0");
	CU_ASSERT_STRING_EQUAL(advance(499), "");
	CU_ASSERT_STRING_EQUAL(advance(500), "1");
}

static void test_order(void)
{
	start(1000);
	ob__wheel_set(&w, &entries[0], 1500);
	ob__wheel_set(&w, &entries[1], 1200);
	ob__wheel_set(&w, &entries[2], 1205);
	ob__wheel_set(&w, &entries[3], 1202); /* the same tick as 2, set later */
	ob__wheel_set(&w, &entries[4], 900);  /* overdue comes first */
	CU_ASSERT_STRING_EQUAL(advance(2000), "41230");
}

/* Both use the slot of tick 200; the sweep passes over what is a turn away. */
static void test_shared_slot(void)
{
	start(1000);
	ob__wheel_set(&w, &entries[0], 2000 + ROUND_MS);
	ob__wheel_set(&w, &entries[1], 2000);
	ob__wheel_set(&w, &entries[2], 2000 + 2 * ROUND_MS);
	CU_ASSERT_STRING_EQUAL(advance(2500), "1");
	CU_ASSERT_STRING_EQUAL(advance(1990 + ROUND_MS), "");
	CU_ASSERT_STRING_EQUAL(advance(2000 + ROUND_MS), "0");
	CU_ASSERT_STRING_EQUAL(advance(2000 + 2 * ROUND_MS), "2");
}

static void test_clock_jumps(void)
{
	/* Backwards: what waits, waits until its time comes again. */
	start(100000);
	ob__wheel_set(&w, &entries[0], 100500);
	ob__wheel_set(&w, &entries[1], 99000); /* overdue fires whatever the clock says */
	CU_ASSERT_STRING_EQUAL(advance(50000), "1");
	CU_ASSERT_EQUAL(w.now, 50000);
	ob__wheel_set(&w, &entries[2], 50100);  /* by the new clock, not overdue */
	ob__wheel_set(&w, &entries[3], 100100); /* a time that was swept already */
	CU_ASSERT_STRING_EQUAL(advance(50099), "");
	CU_ASSERT_STRING_EQUAL(advance(50100), "2");
	CU_ASSERT_STRING_EQUAL(advance(100499), "3");
	CU_ASSERT_STRING_EQUAL(advance(100500), "0");

	/* Backwards within a tick. */
	start(1009);
	ob__wheel_set(&w, &entries[0], 1010);
	CU_ASSERT_STRING_EQUAL(advance(1001), "");
	ob__wheel_set(&w, &entries[1], 1005);
	CU_ASSERT_STRING_EQUAL(advance(1009), "");
	CU_ASSERT_STRING_EQUAL(advance(1010), "01");

	/* Forwards by more than a turn, and to the end of time. */
	start(0);
	ob__wheel_set(&w, &entries[0], 10);
	ob__wheel_set(&w, &entries[1], ROUND_MS + 20);
	ob__wheel_set(&w, &entries[2], 100 * ROUND_MS);
	ob__wheel_set(&w, &entries[3], UINT64_MAX);
	advance(50 * ROUND_MS);
	CU_ASSERT_EQUAL(strlen(fired), 2);
	CU_ASSERT_TRUE(ob__wheel_armed(&entries[2]));
	CU_ASSERT_STRING_EQUAL(advance(UINT64_MAX - 10), "2");
	CU_ASSERT_TRUE(ob__wheel_armed(&entries[3]));
}

/* Entry 0 re-arms itself, sets 2 for the past, re-arms 3 (due in the same sweep) and clears 1. */
static void on_fire_meddle(struct ob__wheel_entry *e, void *arg)
{
	on_fire(e, arg);
	if (e == &entries[0]) {
		ob__wheel_set(&w, &entries[0], w.now);
		ob__wheel_clear(&w, &entries[1]);
		ob__wheel_set(&w, &entries[2], 5);
		ob__wheel_set(&w, &entries[3], w.now + 100);
	}
}

static void test_callback_may_set_and_clear(void)
{
	start(1000);
	for (size_t i = 0; i < 5; i++) {
		ob__wheel_set(&w, &entries[i], 1010 + i); /* 0 first */
	}
	ob__wheel_advance(&w, 1100, on_fire_meddle, NULL);
	CU_ASSERT_STRING_EQUAL(fired, "04"); /* no endless loop, and 2 waits its turn */
	CU_ASSERT_EQUAL(w.count, 3);
	CU_ASSERT_EQUAL(ob__wheel_next(&w), 0);
	CU_ASSERT_STRING_EQUAL(advance(1100), "02");
	CU_ASSERT_STRING_EQUAL(advance(1199), "");
	CU_ASSERT_STRING_EQUAL(advance(1200), "3");
}

static void test_next(void)
{
	static const struct {
		uint64_t now;
		uint64_t expiry;
		uint64_t next;
	} rows[] = {
		{1000, 1000, 0}, /* overdue */
		{1000, 500, 0},
		{1000, 1001, 10}, /* rounded up to the tick */
		{1000, 1010, 10},
		{1003, 1010, 7},
		{1003, 1011, 17},
		{1009, 1010, 1},
		{0, 640, 640},  /* over a word of the bit map */
		{635, 650, 15}, /* bits of two words */
		{0, ROUND_MS, ROUND_MS},
		{0, ROUND_MS + 10, 10}, /* a lower bound: the slot comes round twice */
		{20, ROUND_MS + 20, ROUND_MS},
		{40000, 41000, 1000}, /* round the end of the slots */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		start(rows[i].now);
		CU_ASSERT_EQUAL(ob__wheel_next(&w), UINT64_MAX);
		ob__wheel_set(&w, &entries[0], rows[i].expiry);
		CU_ASSERT_EQUAL(ob__wheel_next(&w), rows[i].next);
		ob__wheel_clear(&w, &entries[0]);
		CU_ASSERT_EQUAL(ob__wheel_next(&w), UINT64_MAX);
	}
	/* A slot that was emptied by a clear may cost one early wake-up, not more. */
	start(0);
	ob__wheel_set(&w, &entries[0], 100);
	ob__wheel_set(&w, &entries[1], 500);
	ob__wheel_clear(&w, &entries[0]);
	advance(100);
	CU_ASSERT_EQUAL(ob__wheel_next(&w), 400);
}

#define CROWD 300

struct waiting {
	struct ob__wheel_entry entry;
	uint64_t expiry;
	bool armed;
	bool overdue; /* passed when it was set: fires at the next advance, whatever the clock */
};

static struct waiting crowd[CROWD];

static void on_crowd(struct ob__wheel_entry *e, void *arg)
{
	uint64_t now = *(uint64_t *)arg;
	struct waiting *x = OB__CONTAINER(e, struct waiting, entry);
	CU_ASSERT_TRUE(x->armed);
	CU_ASSERT_TRUE(x->expiry <= now || x->overdue);
	x->armed = false;
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* A distance in time: mostly small, sometimes beyond turns. */
static uint64_t some_ms(uint64_t *random)
{
	uint64_t x = random_next(random);
	static const uint64_t scale[] = {10, 100, 1000, 5000, 5000, ROUND_MS, 3 * ROUND_MS};
	return (x >> 8) % scale[x % 7];
}

static void check_crowd(uint64_t now)
{
	uint64_t count = 0;
	uint64_t nearest = UINT64_MAX;
	for (size_t i = 0; i < CROWD; i++) {
		struct waiting *x = &crowd[i];
		CU_ASSERT_EQUAL(ob__wheel_armed(&x->entry), x->armed);
		if (!x->armed) {
			continue;
		}
		count++;
		uint64_t due = x->overdue ? now : (x->expiry + 9) / 10 * 10;
		CU_ASSERT_TRUE(x->overdue || due > now / 10 * 10);
		if (due - now < nearest) {
			nearest = due - now;
		}
	}
	CU_ASSERT_EQUAL(w.count, count);
	CU_ASSERT_TRUE(ob__wheel_next(&w) <= nearest);
	CU_ASSERT_EQUAL(ob__wheel_next(&w) == 0, nearest == 0);
}

static void test_load(void)
{
	uint64_t random = 362436069;
	uint64_t now = 10 * ROUND_MS;
	ob__wheel_init(&w, now);
	memset(crowd, 0, sizeof(crowd));
	for (size_t i = 0; i < CROWD; i++) {
		ob__wheel_entry_init(&crowd[i].entry);
	}
	for (int round = 0; round < 20000; round++) {
		struct waiting *x = &crowd[random_next(&random) % CROWD];
		uint64_t what = random_next(&random) % 16;
		if (what < 8) {
			x->expiry = what == 0 ? now - some_ms(&random) : now + some_ms(&random);
			x->armed = true;
			x->overdue = x->expiry <= now;
			ob__wheel_set(&w, &x->entry, x->expiry);
		} else if (what < 11) {
			x->armed = false;
			ob__wheel_clear(&w, &x->entry);
		} else {
			/* the clock is wrong now and then, but never far before the start */
			bool back = what == 11 && now > 8 * ROUND_MS;
			now = back ? now - some_ms(&random) : now + some_ms(&random) / 4;
			ob__wheel_advance(&w, now, on_crowd, &now);
			for (size_t i = 0; i < CROWD; i++) {
				CU_ASSERT_FALSE(crowd[i].armed && crowd[i].overdue);
			}
		}
		check_crowd(now);
	}
}

/* A loop that sleeps exactly as long as the wheel says fires everything in time. */
static void test_sleeping_by_next(void)
{
	uint64_t random = 521288629;
	uint64_t now = 12345;
	ob__wheel_init(&w, now);
	for (size_t i = 0; i < CROWD; i++) {
		struct waiting *x = &crowd[i];
		*x = (struct waiting){.expiry = now + some_ms(&random), .armed = true};
		x->overdue = x->expiry <= now;
		ob__wheel_entry_init(&x->entry);
		ob__wheel_set(&w, &x->entry, x->expiry);
	}
	unsigned turns = 0;
	while (w.count > 0 && turns++ < 4 * CROWD) {
		now += ob__wheel_next(&w);
		ob__wheel_advance(&w, now, on_crowd, &now);
		check_crowd(now);
	}
	CU_ASSERT_EQUAL(w.count, 0);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("wheel", NULL, NULL);
	CU_add_test(s, "fires within a tick, never early", test_one);
	CU_add_test(s, "clears and re-arms", test_clear);
	CU_add_test(s, "fires in the order of ticks", test_order);
	CU_add_test(s, "one slot, several turns", test_shared_slot);
	CU_add_test(s, "the clock may jump", test_clock_jumps);
	CU_add_test(s, "a callback may set and clear", test_callback_may_set_and_clear);
	CU_add_test(s, "says when to come back", test_next);
	CU_add_test(s, "random load", test_load);
	CU_add_test(s, "a loop that sleeps by it is never late", test_sleeping_by_next);
	return ob__tap_run();
}
