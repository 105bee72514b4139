/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Schedules by the calendar, as cron has them.
 *
 * A schedule is a set for each of second, minute, hour, day, month and weekday; it is due at each
 * second of which all are in theirs.  Where both day and weekday are restricted, one of them is
 * enough.
 *
 * LOCAL TIME is UTC and an offset, which a function gives for any moment; so there is no time zone
 * in here.  When the offset grows, the clock on the wall skips some time: a schedule whose hour is
 * restricted is due at once after the skip if it was due within.  When it shrinks, some time comes
 * twice: such a schedule is due the first time only.  One of every hour knows neither rule: it goes
 * by the wall as it is, whatever that skips or repeats.
 */

#ifndef OB__CRON_H
#define OB__CRON_H

#include <stdbool.h>
#include <stdint.h>

#define OB__CRON_NEVER INT64_MIN
#define OB__CRON_LEN   256u /* bytes of a schedule's text, at most */

struct ob__cron {
	uint64_t seconds; /* a bit for each */
	uint64_t minutes;
	uint32_t hours;
	uint32_t days;    /* 1..31 */
	uint16_t months;  /* 1..12 */
	uint8_t weekdays; /* 0..6, from Sunday */
	bool any_day;     /* the field begins with a star */
	bool any_weekday;
	bool hourly; /* every hour */
};

/* By how many seconds local time is ahead of UTC at a moment, in s since 1970. */
typedef int32_t (*ob__cron_offset)(void *arg, int64_t at);

/* Five or six fields, or a word as @daily. 0, -EINVAL for no schedule, -EDOM for one that never
 * comes. */
int ob__cron_parse(struct ob__cron *c, const char *text);

/* The first moment behind `after` at which it is due, in s since 1970; offset NULL: in UTC.
 * OB__CRON_NEVER: not within some years. */
int64_t ob__cron_next(const struct ob__cron *c, int64_t after, ob__cron_offset offset, void *arg);

#endif
