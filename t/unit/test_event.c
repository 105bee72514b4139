/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Events by name on one node, and timers that count, keep their pace or go by the calendar. */

#include "host/event.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet p;
static char trace[1024];
static bool stop;
static unsigned storm;
static int last_rc;

static void add(const char *word)
{
	if (strlen(trace) + strlen(word) + 2 < sizeof(trace)) {
		strcat(strcat(trace, word), " ");
	}
}

static int late(ob_ctx *ctx, const ob_raised *e)
{
	add("late");
	return 0;
}

static int early(ob_ctx *ctx, const ob_raised *e)
{
	char text[80];

	snprintf(text, sizeof(text), "%s%u%s", e->name, e->depth,
	         (e->flags & OB_RAISED_NOTICE) != 0 ? "!" : "");
	add(text);
	return stop ? OB_RAISED_STOP : 0;
}

static int of_gold(ob_ctx *ctx, const ob_raised *e)
{
	add("gold");
	return 0;
}

static int echo(ob_ctx *ctx, const ob_raised *e)
{
	storm++;
	last_rc = strcmp(e->name, "echo now") == 0 ? ob_event_notify(ctx, e->name, NULL)
	                                           : ob_event_raise(ctx, e->name, NULL);
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_listener l = {.size = sizeof(l), .priority = 9, .prefix = "item."};
	int rc = ob_on_raised(ctx, &l, late);

	l.priority = -1;
	rc = rc == 0 ? ob_on_raised(ctx, &l, early) : rc;
	l = (ob_listener){.size = sizeof(l), .key = "kind", .value = "gold"};
	rc = rc == 0 ? ob_on_raised(ctx, &l, of_gold) : rc;
	l = (ob_listener){.size = sizeof(l), .prefix = "echo"};
	rc = rc == 0 ? ob_on_raised(ctx, &l, echo) : rc;
	l.size = 1;
	CU_ASSERT_EQUAL(ob_on_raised(ctx, &l, echo), OB_E_INVAL);
	l = (ob_listener){.size = sizeof(l), .key = "kind"};
	CU_ASSERT_EQUAL(ob_on_raised(ctx, &l, echo), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_event_raise(ctx, "item.x", NULL), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_cron(ctx, "* * * * *", 0, NULL, NULL), 0);
	return rc;
}

static void begin(void)
{
	rig_begin();
	memset(trace, 0, sizeof(trace));
	memset(&p, 0, sizeof(p));
	stop = false;
	storm = 0;
	p.start = start;
	rig_start(&n, "n", "game", "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          (long)(intptr_t)&p);
}

static void end(void)
{
	rig_stop(&n);
	rig_end();
}

static void test_told(void)
{
	char name[OB_RAISED_MAX + 2];
	char *big = calloc(1, OB_RAISED_DATA_MAX + 1);

	begin();
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, "item.a", json_pack("{s:s}", "kind", "gold")), 0);
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, "item.b", json_pack("{s:s}", "kind", "iron")), 0);
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, "other", json_pack("{s:s}", "kind", "gold")), 0);
	CU_ASSERT_STRING_EQUAL(trace, ""); /* behind what runs now */
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->events.len == 0 && trace[0] != '\0'));
	CU_ASSERT_STRING_EQUAL(trace, "item.a1 gold late item.b1 late gold ");
	trace[0] = '\0';
	stop = true;
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, "item.a", NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(trace[0] != '\0'));
	CU_ASSERT_STRING_EQUAL(trace, "item.a1 ");
	trace[0] = '\0';
	CU_ASSERT_EQUAL(ob_event_notify(p.ctx, "item.a", NULL), 0);
	CU_ASSERT_STRING_EQUAL(trace, "item.a1! late "); /* at once, and nobody stops it */
	CU_ASSERT_EQUAL(ob_event_send(p.ctx, ob_role(p.ctx, "game"), "item.far", NULL), 1);
	CU_ASSERT_EQUAL(ob_event_send(p.ctx, ob_role(p.ctx, "nobody"), "item.far", NULL), 0);
	CU_ASSERT_EQUAL(ob_event_send(p.ctx, 0, "item.far", NULL), OB_E_INVAL);
	CU_ASSERT_TRUE(RIG_UNTIL(strstr(trace, "item.far1") != NULL));
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, name, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, "", NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, "a\nb", NULL), OB_E_INVAL);
	memset(big, 'x', OB_RAISED_DATA_MAX);
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, "big", json_string(big)), OB_E_TOO_BIG);
	free(big);
	end();
}

/* Who hears of it raises it again, without end. */
static void test_bounded(void)
{
	begin();
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, "echo", NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->events.len == 0 && storm == OB__EVENT_DEPTH_MAX));
	CU_ASSERT_EQUAL(last_rc, OB_E_LIMIT);
	storm = 0;
	CU_ASSERT_EQUAL(ob_event_notify(p.ctx, "echo now", NULL), 0);
	CU_ASSERT_EQUAL(storm, OB__EVENT_DEPTH_MAX);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_events_refused_total"), 2);
	CU_ASSERT_TRUE(rig_logged("n", "16 events have come of one another"));
	unsigned taken = 0;
	while (ob_event_raise(p.ctx, "none", NULL) == 0) {
		taken++;
	}
	CU_ASSERT_EQUAL(taken, OB__EVENTS_MAX);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->events.len == 0));
	CU_ASSERT_EQUAL(n.node->events.bytes, 0);
	CU_ASSERT_EQUAL(ob_event_raise(p.ctx, "none", NULL), 0); /* and it is freed unheard */
	end();
}

/* ---- timers ---- */

static int64_t clock_s;
static unsigned fired;

static int64_t test_clock(void *arg)
{
	return clock_s;
}

static int32_t ahead(void *arg, int64_t at)
{
	return 7200;
}

static void fire(ob_ctx *ctx, ob_timer timer, void *arg)
{
	fired++;
	if (arg != NULL) {
		usleep(*(const useconds_t *)arg);
	}
}

/* Turns until it has fired so often; and not once more. */
static bool fired_are(unsigned wanted)
{
	bool came = RIG_UNTIL(fired >= wanted);

	rig_turn_ms(120);
	return came && fired == wanted;
}

static void test_calendar(void)
{
	begin();
	n.node->works.wall.now = test_clock;
	n.node->works.wall.offset = ahead;
	clock_s = 1767225590; /* 2025-12-31 23:59:50 */
	fired = 0;
	CU_ASSERT_EQUAL(ob_cron(p.ctx, "no schedule", 0, fire, NULL), 0);
	CU_ASSERT_EQUAL(ob_cron(p.ctx, "0 0 30 2 *", 0, fire, NULL), 0);
	CU_ASSERT_EQUAL(ob_cron(p.ctx, "0 * * * *", OB_TIMER_FIXED, fire, NULL), 0);
	CU_ASSERT_EQUAL(ob_cron(p.ctx, "0 * * * *", 0, NULL, NULL), 0);
	/* The clock stands nine seconds before the hour; then it jumps, which is seen in time. */
	clock_s += 9;
	ob_timer t = ob_cron(p.ctx, "0 * * * *", 0, fire, NULL);
	CU_ASSERT_NOT_EQUAL(t, 0);
	CU_ASSERT_TRUE(fired_are(0));
	clock_s += 1;
	CU_ASSERT_TRUE(fired_are(1));
	CU_ASSERT_EQUAL(ob_timer_stop(p.ctx, t), 0);
	CU_ASSERT_EQUAL(ob_timer_stop(p.ctx, t), OB_E_STALE);
	/* Every second, to see each step; five hours are skipped: once. */
	t = ob_cron(p.ctx, "* * * * * *", 0, fire, NULL);
	clock_s += 5 * 3600;
	CU_ASSERT_TRUE(fired_are(2));
	clock_s -= 3600; /* set back: nothing twice */
	CU_ASSERT_TRUE(fired_are(2));
	clock_s += 3600 + 1;
	CU_ASSERT_EQUAL(ob_timer_stop(p.ctx, t), 0);
	t = ob_cron(p.ctx, "* * * * * *", 0, fire, NULL);
	clock_s -= 24 * 3600; /* so far that it begins anew */
	rig_turn_ms(100);
	clock_s += 1;
	CU_ASSERT_TRUE(fired_are(3));
	CU_ASSERT_EQUAL(ob_timer_stop(p.ctx, t), 0);
	/* In local time, which is two hours ahead; and only once. */
	ob_timer_options o = {.size = sizeof(o), .flags = OB_TIMER_LOCAL, .count = 1};
	o.cron = "0 0 0 * * *";
	clock_s = 1767225600 - 7200 - 1;
	CU_ASSERT_NOT_EQUAL(ob_timer_with(p.ctx, &o, fire, NULL), 0);
	CU_ASSERT_TRUE(fired_are(3));
	clock_s++;
	CU_ASSERT_TRUE(fired_are(4));
	clock_s += 24 * 3600;
	CU_ASSERT_TRUE(fired_are(4));
	end();
}

static void test_counted(void)
{
	begin();
	ob_timer_options o = {.size = sizeof(o), .delay_ms = 10, .repeat_ms = 20, .count = 3};
	fired = 0;
	ob_timer t = ob_timer_with(p.ctx, &o, fire, NULL);
	CU_ASSERT_NOT_EQUAL(t, 0);
	CU_ASSERT_TRUE(fired_are(3));
	CU_ASSERT_EQUAL(ob_timer_stop(p.ctx, t), OB_E_STALE);
	o = (ob_timer_options){.size = sizeof(o), .count = 2}; /* without a pause between */
	CU_ASSERT_EQUAL(ob_timer_with(p.ctx, &o, fire, NULL), 0);
	o = (ob_timer_options){.size = sizeof(o), .flags = OB_TIMER_LOCAL, .repeat_ms = 5};
	CU_ASSERT_EQUAL(ob_timer_with(p.ctx, &o, fire, NULL), 0);
	o = (ob_timer_options){.size = sizeof(o), .delay_ms = 5, .cron = "* * * * *"};
	CU_ASSERT_EQUAL(ob_timer_with(p.ctx, &o, fire, NULL), 0);
	o = (ob_timer_options){.size = 4, .repeat_ms = 5};
	CU_ASSERT_EQUAL(ob_timer_with(p.ctx, &o, fire, NULL), 0);
	CU_ASSERT_EQUAL(ob_timer_with(p.ctx, NULL, fire, NULL), 0);
	o = (ob_timer_options){.size = sizeof(o), .delay_ms = 10}; /* as ob_timer_start() */
	fired = 0;
	CU_ASSERT_NOT_EQUAL(ob_timer_with(p.ctx, &o, fire, NULL), 0);
	CU_ASSERT_TRUE(fired_are(1));
	/* At a fixed pace, though each takes most of it: 10 in 400 ms, not in 600. */
	static const useconds_t takes = 20000;
	o = (ob_timer_options){.size = sizeof(o),
	                       .flags = OB_TIMER_FIXED,
	                       .delay_ms = 40,
	                       .repeat_ms = 40,
	                       .count = 10};
	fired = 0;
	uint64_t before = ob__loop_hrtime_us();
	CU_ASSERT_NOT_EQUAL(ob_timer_with(p.ctx, &o, fire, (void *)(uintptr_t)&takes), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(fired == 10));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - before >= 390000);
	/* One that is late by many of its periods comes once for them. */
	static const useconds_t sleeps = 300000;
	o.count = 0;
	o.delay_ms = 1;
	o.repeat_ms = 30;
	fired = 0;
	ob_timer slow = ob_timer_with(p.ctx, &o, fire, (void *)(uintptr_t)&sleeps);
	CU_ASSERT_TRUE(RIG_UNTIL(fired == 3));
	CU_ASSERT_EQUAL(ob_timer_stop(p.ctx, slow), 0);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("event", NULL, NULL);
	CU_add_test(s, "who hears", test_told);
	CU_add_test(s, "bounded", test_bounded);
	CU_add_test(s, "by the calendar", test_calendar);
	CU_add_test(s, "counted, at a fixed pace", test_counted);
	return ob__tap_run();
}
