/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/cron.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define DAY         86400
#define YEARS_MAX   40 /* a leap day that is a Monday comes once in 28 years, or 40 */
#define TIME_MAX    (INT64_C(1) << 40)
#define ZONES_TRIES 1000

/* ---- reading ---- */

struct field {
	int lo;
	int hi;
	const char *const *words; /* of lo, lo + 1, ... */
};

static const char *const month_words[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                          "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const day_words[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static const struct field fields[] = {
	{0, 59, NULL}, {0, 59, NULL},        {0, 23, NULL},
	{1, 31, NULL}, {1, 12, month_words}, {0, 7, day_words},
};

/* A number or a word from *p on, which moves behind it; -1: there is none. */
static int read_value(const char **p, const char *end, const struct field *f)
{
	size_t words = f->words == month_words ? 12 : f->words == day_words ? 7 : 0;
	int n = 0;

	for (size_t i = 0; i < words && end - *p >= 3; i++) {
		if (strncasecmp(*p, f->words[i], 3) == 0) {
			*p += 3;
			return f->lo + (int)i;
		}
	}
	if (*p == end || !isdigit((unsigned char)**p)) {
		return -1;
	}
	for (; *p < end && isdigit((unsigned char)**p); ++*p) {
		n = n * 10 + (**p - '0');
		if (n > 9999) {
			return -1;
		}
	}
	return n;
}

/* A star, a number or a range, and perhaps a step. */
static int read_item(const char *p, const char *end, const struct field *f, uint64_t *set)
{
	int lo = f->lo;
	int hi = f->lo == 0 && f->hi == 7 ? 6 : f->hi;
	int step = 1;
	bool one = false;

	if (p < end && *p == '*') {
		p++;
	} else {
		lo = read_value(&p, end, f);
		one = p == end || *p != '-';
		hi = lo;
		if (!one) {
			p++;
			hi = read_value(&p, end, f);
		}
		if (lo < f->lo || hi > f->hi || hi < lo) {
			return -EINVAL;
		}
	}
	if (p < end && *p == '/') {
		const struct field number = {1, 9999, NULL};
		p++;
		step = read_value(&p, end, &number);
		hi = one ? f->hi : hi;
		if (step < 1) {
			return -EINVAL;
		}
	}
	if (p != end) {
		return -EINVAL;
	}
	for (int n = lo; n <= hi; n += step) {
		*set |= UINT64_C(1) << n;
	}
	return 0;
}

static int read_field(const char *p, const char *end, const struct field *f, uint64_t *set)
{
	*set = 0;
	for (;;) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		int rc = read_item(p, comma != NULL ? comma : end, f, set);
		if (rc != 0 || comma == NULL) {
			return rc;
		}
		p = comma + 1;
	}
}

static const char *word_of(const char *text)
{
	static const char *const words[][2] = {
		{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
		{"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
		{"@hourly", "0 * * * *"},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(text, words[i][0]) == 0) {
			return words[i][1];
		}
	}
	return text;
}

/* Some day of its months is one of its days. */
static bool comes(const struct ob__cron *c)
{
	static const uint8_t days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (!c->any_weekday || c->any_day) {
		return c->weekdays != 0 || c->days != 0;
	}
	for (int m = 1; m <= 12; m++) {
		uint32_t of_month = (uint32_t)((UINT64_C(2) << days[m - 1]) - 2);
		if ((c->months >> m & 1) != 0 && (c->days & of_month) != 0) {
			return true;
		}
	}
	return false;
}

int ob__cron_parse(struct ob__cron *c, const char *text)
{
	uint64_t sets[6] = {1, 0, 0, 0, 0, 0};
	const char *begin[7];
	const char *end[7];
	size_t n = 0;

	memset(c, 0, sizeof(*c));
	if (text == NULL || strnlen(text, OB__CRON_LEN + 1) > OB__CRON_LEN) {
		return -EINVAL;
	}
	for (const char *p = word_of(text); n < 7;) {
		p += strspn(p, " \t");
		if (*p == '\0') {
			break;
		}
		begin[n] = p;
		p += strcspn(p, " \t");
		end[n++] = p;
	}
	if (n != 5 && n != 6) {
		return -EINVAL;
	}
	size_t first = 6 - n; /* without the second it is 0 */
	for (size_t i = first; i < 6; i++) {
		if (read_field(begin[i - first], end[i - first], &fields[i], &sets[i]) != 0) {
			return -EINVAL;
		}
	}
	c->seconds = sets[0];
	c->minutes = sets[1];
	c->hours = (uint32_t)sets[2];
	c->days = (uint32_t)sets[3];
	c->months = (uint16_t)sets[4];
	c->weekdays = (uint8_t)((sets[5] | sets[5] >> 7) & 0x7f);
	c->any_day = *begin[3 - first] == '*';
	c->any_weekday = *begin[5 - first] == '*';
	c->hourly = c->hours == 0xffffff;
	return comes(c) ? 0 : -EDOM;
}

/* ---- the calendar ---- */

struct date {
	int64_t year;
	int month; /* 1..12 */
	int day;
};

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static bool is_leap(int64_t y)
{
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int days_in(int64_t year, int month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days since 1970-01-01; years are counted from March, so that leap days come last. */
static int64_t days_from(const struct date *d)
{
	int64_t y = d->month <= 2 ? d->year - 1 : d->year;
	int64_t era = floor_div(y, 400);
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (d->month + (d->month > 2 ? -3 : 9)) + 2) / 5 + d->day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static struct date date_of(int64_t days)
{
	int64_t z = days + 719468;
	int64_t era = floor_div(z, 146097);
	int64_t of_era = z - era * 146097;
	int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
	int64_t m = (5 * of_year + 2) / 153;
	struct date d = {
		.month = (int)(m < 10 ? m + 3 : m - 9),
		.day = (int)(of_year - (153 * m + 2) / 5 + 1),
	};

	d.year = y + era * 400 + (d.month <= 2);
	return d;
}

static bool is_day(const struct ob__cron *c, const struct date *d)
{
	int weekday = (int)(((days_from(d) + 4) % 7 + 7) % 7);
	bool day = (c->days >> d->day & 1) != 0;
	bool of_week = (c->weekdays >> weekday & 1) != 0;

	return c->any_day || c->any_weekday ? day && of_week : day || of_week;
}

/* The first day from `days` on that is one of its days; INT64_MAX: none for years. */
static int64_t next_day(const struct ob__cron *c, int64_t days)
{
	struct date d = date_of(days);

	for (int64_t end = d.year + YEARS_MAX; d.year <= end;) {
		if ((c->months >> d.month & 1) != 0 && is_day(c, &d)) {
			return days_from(&d);
		}
		bool month_ends = d.day == days_in(d.year, d.month);
		if ((c->months >> d.month & 1) == 0 || month_ends) {
			d.day = 1;
			d.year += d.month == 12;
			d.month = d.month % 12 + 1;
		} else {
			d.day++;
		}
	}
	return INT64_MAX;
}

/* The first number from `from` on that is in the set, or -1. */
static int next_in(uint64_t set, int from)
{
	uint64_t rest = from < 64 ? set >> from << from : 0;

	return rest != 0 ? __builtin_ctzll(rest) : -1;
}

/* The first second of a day from `from` on that is in it, or -1. */
static int next_second(const struct ob__cron *c, int from)
{
	int hour = from / 3600;
	int minute = from / 60 % 60;
	int second = next_in(c->seconds, from % 60);

	if (second < 0) {
		second = next_in(c->seconds, 0);
		minute++;
	}
	int at = minute < 60 ? next_in(c->minutes, minute) : -1;
	if (at != minute) {
		second = next_in(c->seconds, 0);
	}
	if (at < 0) {
		at = next_in(c->minutes, 0);
		second = next_in(c->seconds, 0);
		hour++;
	}
	int in = hour < 24 ? next_in(c->hours, hour) : -1;
	if (in != hour) {
		at = next_in(c->minutes, 0);
		second = next_in(c->seconds, 0);
	}
	return in < 0 ? -1 : in * 3600 + at * 60 + second;
}

/* The first time on the wall behind `wall` that is in it; INT64_MAX: none. */
static int64_t next_wall(const struct ob__cron *c, int64_t wall)
{
	int64_t day = floor_div(wall + 1, DAY);
	int64_t found = next_day(c, day);
	int second = -1;

	if (found == day) {
		second = next_second(c, (int)(wall + 1 - day * DAY));
		found = second < 0 ? next_day(c, day + 1) : found;
	}
	if (found == INT64_MAX) {
		return INT64_MAX;
	}
	return found * DAY + (second >= 0 ? second : next_second(c, 0));
}

/* ---- local time ---- */

/* The first moment of (lo, hi] with another offset than lo has: there is one. */
static int64_t change_between(int64_t lo, int64_t hi, ob__cron_offset offset, void *arg)
{
	int32_t before = offset(arg, lo);

	while (hi - lo > 1) {
		int64_t mid = lo + (hi - lo) / 2;
		if (offset(arg, mid) == before) {
			lo = mid;
		} else {
			hi = mid;
		}
	}
	return hi;
}

/* Every hour: by the wall as it goes on, from one change of the offset to the next. */
static int64_t next_hourly(const struct ob__cron *c, int64_t after, ob__cron_offset offset,
                           void *arg)
{
	int64_t at = after; /* it is not due in (after, at] */

	int32_t o = offset(arg, at);

	for (int i = 0; i < ZONES_TRIES; i++) {
		int64_t wall = next_wall(c, at + o);
		if (wall == INT64_MAX) {
			return OB__CRON_NEVER;
		}
		int64_t found = wall - o;
		if (found - at > 3 * DAY) { /* nothing is due till then, whatever the offset */
			at = found - 2 * DAY;
			o = offset(arg, at);
			continue;
		}
		if (offset(arg, found) == o) {
			return found;
		}
		at = change_between(at, found, offset, arg) - 1;
		o = offset(arg, at + 1); /* behind the change the wall begins anew */
	}
	return OB__CRON_NEVER;
}

/* When the wall shows it for the first time, or skips it. */
static int64_t moment_of(int64_t wall, ob__cron_offset offset, void *arg)
{
	int32_t before = offset(arg, wall - DAY);
	int32_t behind = offset(arg, wall + DAY);

	if (before == behind || offset(arg, wall - before) == before) {
		return wall - before;
	}
	if (offset(arg, wall - behind) == behind) {
		return wall - behind;
	}
	return change_between(wall - DAY, wall + DAY, offset, arg);
}

static int64_t next_daily(const struct ob__cron *c, int64_t after, ob__cron_offset offset,
                          void *arg)
{
	int64_t wall = after + offset(arg, after);

	while ((wall = next_wall(c, wall)) != INT64_MAX) {
		int64_t found = moment_of(wall, offset, arg);
		if (found > after) { /* else the wall shows it for the second time */
			return found;
		}
	}
	return OB__CRON_NEVER;
}

int64_t ob__cron_next(const struct ob__cron *c, int64_t after, ob__cron_offset offset, void *arg)
{
	if (after > TIME_MAX || after < -TIME_MAX) {
		return OB__CRON_NEVER;
	}
	if (offset == NULL) {
		int64_t wall = next_wall(c, after);
		return wall != INT64_MAX ? wall : OB__CRON_NEVER;
	}
	return c->hourly ? next_hourly(c, after, offset, arg) : next_daily(c, after, offset, arg);
}
