/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/cron.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tap.h"

/* "2026-03-29 01:00:00" in UTC. */
static int64_t at(const char *text)
{
	struct tm tm = {.tm_sec = 0};

	if (sscanf(text, "%d-%d-%d %d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
	           &tm.tm_min, &tm.tm_sec) < 3) {
		CU_FAIL_FATAL("no time");
	}
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return (int64_t)timegm(&tm);
}

/* Central Europe in 2026: +1, from March 29 01:00 UTC +2, from October 25 01:00 UTC +1 again. */
static int32_t europe(void *arg, int64_t t)
{
	(void)arg;
	return t >= at("2026-03-29 01:00:00") && t < at("2026-10-25 01:00:00") ? 7200 : 3600;
}

/* A zone that skips half an hour, and is behind UTC. */
static int32_t half(void *arg, int64_t t)
{
	(void)arg;
	return t >= at("2026-03-29 05:00:00") ? -5 * 3600 + 1800 : -5 * 3600;
}

struct row {
	const char *schedule;
	const char *after;
	const char *next; /* NULL: never */
};

static void run(const struct row *rows, size_t len, ob__cron_offset offset)
{
	for (size_t i = 0; i < len; i++) {
		struct ob__cron c;
		CU_ASSERT_EQUAL_FATAL(ob__cron_parse(&c, rows[i].schedule), 0);
		int64_t found = ob__cron_next(&c, at(rows[i].after), offset, NULL);
		int64_t wanted = rows[i].next != NULL ? at(rows[i].next) : OB__CRON_NEVER;
		if (found != wanted) {
			time_t t = (time_t)found;
			char text[64] = "never";
			if (found != OB__CRON_NEVER) {
				strftime(text, sizeof(text), "%F %T", gmtime(&t));
			}
			printf("# %s after %s: %s instead of %s\n", rows[i].schedule, rows[i].after,
			       text, rows[i].next);
		}
		CU_ASSERT_EQUAL(found, wanted);
	}
}

#define RUN(rows, offset) run(rows, sizeof(rows) / sizeof((rows)[0]), offset)

static const struct row utc[] = {
	{"* * * * *", "2026-01-01 00:00:00", "2026-01-01 00:01:00"},
	{"* * * * *", "2026-01-01 00:00:59", "2026-01-01 00:01:00"},
	{"* * * * * *", "2026-01-01 00:00:59", "2026-01-01 00:01:00"},
	{"* * * * * *", "2025-12-31 23:59:59", "2026-01-01 00:00:00"},
	{"*/5 * * * *", "2026-01-01 00:00:00", "2026-01-01 00:05:00"},
	{"*/5 * * * *", "2026-01-01 23:55:00", "2026-01-02 00:00:00"},
	{"*/7 * * * *", "2026-01-01 00:56:00", "2026-01-01 01:00:00"}, /* begins anew */
	{"5/20 * * * *", "2026-01-01 00:00:00", "2026-01-01 00:05:00"},
	{"5/20 * * * *", "2026-01-01 00:45:00", "2026-01-01 01:05:00"},
	{"10-30/10 * * * *", "2026-01-01 00:30:00", "2026-01-01 01:10:00"},
	{"15,45 8-10 * * *", "2026-01-01 10:45:00", "2026-01-02 08:15:00"},
	{"15,45 8-10 * * *", "2026-01-01 08:15:00", "2026-01-01 08:45:00"},
	{"30 0 4 * * *", "2026-01-01 04:00:29", "2026-01-01 04:00:30"},
	{"30 0 4 * * *", "2026-01-01 04:00:30", "2026-01-02 04:00:30"},
	{"*/15 30 4 * * *", "2026-01-01 04:30:45", "2026-01-02 04:30:00"},
	{"0 0 1 * *", "2026-01-01 00:00:00", "2026-02-01 00:00:00"},
	{"0 0 31 * *", "2026-01-31 00:00:00", "2026-03-31 00:00:00"},
	{"0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00"},
	{"0 0 29 2 *", "2096-02-29 00:00:00", "2104-02-29 00:00:00"},     /* 2100 is no leap year */
	{"0 0 29 feb */6", "2026-01-01 00:00:00", "2032-02-29 00:00:00"}, /* a Sunday */
	{"59 23 31 dec *", "2026-12-31 23:59:00", "2027-12-31 23:59:00"},
	{"0 12 * * mon", "2026-11-22 00:00:00", "2026-11-23 12:00:00"}, /* the 22nd: a Sunday */
	{"0 12 * * 0", "2026-11-22 00:00:00", "2026-11-22 12:00:00"},
	{"0 12 * * 7", "2026-11-22 12:00:00", "2026-11-29 12:00:00"},
	{"0 12 * * Fri-Sat", "2026-11-22 12:00:00", "2026-11-27 12:00:00"},
	{"0 12 * * 5-7", "2026-11-21 12:00:00", "2026-11-22 12:00:00"},
	{"0 0 13 * 5", "2026-11-22 00:00:00", "2026-11-27 00:00:00"}, /* either */
	{"0 0 13 * 5", "2026-12-11 00:00:00", "2026-12-13 00:00:00"},
	{"0 0 */2 * 1", "2026-11-01 00:00:00", "2026-11-09 00:00:00"}, /* a star: both */
	{"0 0 1 JAN,Jul *", "2026-01-01 00:00:00", "2026-07-01 00:00:00"},
	{"0 22 * 1-3,12 *", "2026-03-31 22:00:00", "2026-12-01 22:00:00"},
	{"@yearly", "2026-01-01 00:00:00", "2027-01-01 00:00:00"},
	{"@monthly", "2026-01-31 00:00:00", "2026-02-01 00:00:00"},
	{"@weekly", "2026-11-22 00:00:00", "2026-11-29 00:00:00"},
	{"@daily", "2026-11-22 00:00:00", "2026-11-23 00:00:00"},
	{"@HOURLY", "2026-11-22 00:00:00", "2026-11-22 01:00:00"},
	{"  0\t0  *  * * ", "2026-11-22 00:00:00", "2026-11-23 00:00:00"},
	{"0 0 * * *", "1969-12-31 23:00:00", "1970-01-01 00:00:00"},
	{"0 0 * * *", "1960-02-28 01:00:00", "1960-02-29 00:00:00"},
};

static void test_utc(void)
{
	RUN(utc, NULL);
	struct ob__cron c;
	CU_ASSERT_EQUAL(ob__cron_parse(&c, "* * * * *"), 0);
	CU_ASSERT_EQUAL(ob__cron_next(&c, INT64_MAX, NULL, NULL), OB__CRON_NEVER);
	CU_ASSERT_EQUAL(ob__cron_next(&c, INT64_MIN, NULL, NULL), OB__CRON_NEVER);
}

/* All moments in UTC. */
static const struct row local[] = {
	{"0 4 * * *", "2026-01-01 00:00:00", "2026-01-01 03:00:00"},
	{"0 4 * * *", "2026-07-01 00:00:00", "2026-07-01 02:00:00"},
	/* In the night of March 29 the wall goes from 02:00 to 03:00. */
	{"30 2 * * *", "2026-03-28 12:00:00", "2026-03-29 01:00:00"}, /* at once behind it */
	{"30 2 * * *", "2026-03-29 01:00:00", "2026-03-30 00:30:00"}, /* and once */
	{"0,30 2 * * *", "2026-03-29 01:00:00", "2026-03-30 00:00:00"},
	{"0 3 * * *", "2026-03-28 12:00:00", "2026-03-29 01:00:00"},
	{"30 1 * * *", "2026-03-28 12:00:00", "2026-03-29 00:30:00"},
	{"30 * * * *", "2026-03-29 00:30:00", "2026-03-29 01:30:00"}, /* no 02:30 */
	{"*/20 * * * *", "2026-03-29 00:40:00", "2026-03-29 01:00:00"},
	/* In that of October 25 it goes from 03:00 to 02:00. */
	{"30 2 * * *", "2026-10-24 12:00:00", "2026-10-25 00:30:00"}, /* the first time */
	{"30 2 * * *", "2026-10-25 00:30:00", "2026-10-26 01:30:00"}, /* only */
	{"30 2 * * *", "2026-10-25 01:10:00", "2026-10-26 01:30:00"},
	{"30 2,3 * * *", "2026-10-25 00:30:00", "2026-10-25 02:30:00"},
	{"0 3 * * *", "2026-10-25 00:30:00", "2026-10-25 02:00:00"},
	{"30 * * * *", "2026-10-25 00:30:00", "2026-10-25 01:30:00"}, /* both times */
	{"*/20 * * * *", "2026-10-25 00:40:00", "2026-10-25 01:00:00"},
	{"* * * * * *", "2026-10-25 00:59:59", "2026-10-25 01:00:00"},
	{"0 * 1 11 *", "2026-03-01 00:00:00", "2026-10-31 23:00:00"}, /* over both */
	{"15 * 29 mar *", "2026-03-01 00:00:00", "2026-03-28 23:15:00"},
	{"0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-28 23:00:00"},
};

static const struct row half_hour[] = {
	{"15 0 * * *", "2026-03-29 04:00:00", "2026-03-29 05:00:00"}, /* skipped: 00:00-00:30 */
	{"30 0 * * *", "2026-03-29 04:00:00", "2026-03-29 05:00:00"},
	{"45 0 * * *", "2026-03-29 04:00:00", "2026-03-29 05:15:00"},
	{"15 * * * *", "2026-03-29 04:20:00", "2026-03-29 05:45:00"},
};

static void test_local(void)
{
	RUN(local, europe);
	RUN(half_hour, half);
}

static void test_refused(void)
{
	static const char *const bad[] = {
		"",
		" ",
		"*",
		"* * * *",
		"* * * * * * *",
		"60 * * * *",
		"* 24 * * *",
		"* * 0 * *",
		"* * 32 * *",
		"* * * 0 *",
		"* * * 13 *",
		"* * * * 8",
		"* * * * -1",
		"a * * * *",
		"1- * * * *",
		"-1 * * * *",
		"5-1 * * * *",
		"*/0 * * * *",
		"*/ * * * *",
		"1,,2 * * * *",
		",1 * * * *",
		"1, * * * *",
		"1;2 * * * *",
		"* * * * monday",
		"60 * * * * *",
		"1.5 * * * *",
		"99999999999 * * * *",
		"@never",
		"@",
		"** * * * *",
		"* * * jan-feb-mar *",
		"mon * * * *",
		"*/99999 * * * *",
	};
	static const char *const never[] = {"0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 apr *"};
	struct ob__cron c;
	char text[OB__CRON_LEN + 32];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int rc = ob__cron_parse(&c, bad[i]);
		if (rc != -EINVAL) {
			printf("# %s: %d\n", bad[i], rc);
		}
		CU_ASSERT_EQUAL(rc, -EINVAL);
	}
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		CU_ASSERT_EQUAL(ob__cron_parse(&c, never[i]), -EDOM);
	}
	CU_ASSERT_EQUAL(ob__cron_parse(&c, NULL), -EINVAL);
	memset(text, ' ', sizeof(text));
	memcpy(text + sizeof(text) - 10, "* * * * *", 10);
	CU_ASSERT_EQUAL(ob__cron_parse(&c, text), -EINVAL);
}

static bool in(uint64_t set, int n)
{
	return (set >> n & 1) != 0;
}

/* Against a search second by second. */
static void test_slowly(void)
{
	static const char *const some[] = {"*/17 */13 */5 * * *", "3,59 7-9 1-23/7 */9 * 2",
	                                   "0 30 2 * * sun", "59 59 23 28-31 2,12 *"};
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		struct ob__cron c;
		CU_ASSERT_EQUAL_FATAL(ob__cron_parse(&c, some[i]), 0);
		int64_t t = at("2027-12-25 00:00:00");
		for (int found = 0; found < 6; found++) {
			int64_t next = ob__cron_next(&c, t, NULL, NULL);
			struct tm tm;
			do {
				time_t s = (time_t)++t;
				gmtime_r(&s, &tm);
			} while (t < next + 10 &&
			         !(in(c.seconds, tm.tm_sec) && in(c.minutes, tm.tm_min) &&
			           in(c.hours, tm.tm_hour) && in(c.months, tm.tm_mon + 1) &&
			           (c.any_day || c.any_weekday
			                    ? in(c.days, tm.tm_mday) && in(c.weekdays, tm.tm_wday)
			                    : in(c.days, tm.tm_mday) ||
			                              in(c.weekdays, tm.tm_wday))));
			CU_ASSERT_EQUAL_FATAL(t, next);
		}
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("cron", NULL, NULL);
	CU_add_test(s, "in UTC", test_utc);
	CU_add_test(s, "in local time", test_local);
	CU_add_test(s, "what is no schedule", test_refused);
	CU_add_test(s, "against a slow search", test_slowly);
	return ob__tap_run();
}
