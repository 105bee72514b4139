/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/stat.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/map.h"

#define SERIES_MAX 4096u

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct series {
	enum kind kind;
	char *name;
	char *labels; /* "" for none */
	char *help;
	uint64_t count;
	ob__stat_gauge_fn fn;
	void *arg;
	struct ob__histogram *histogram; /* owned; HISTOGRAM only */
};

struct ob__stats {
	struct ob__strmap by_key;  /* "name{labels}" */
	struct ob__strmap by_name; /* the first series of each family */
	struct series **series;    /* in the order of their making */
	size_t len;
	uint64_t lost_count; /* what callers get when there is no room, never shown */
	struct ob__histogram lost_histogram;
};

/* ---------------------------------------------------------------- names */

static bool name_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
	       (!first && c >= '0' && c <= '9');
}

/* The length of the name at the front of `s`, or 0. */
static size_t name_len(const char *s)
{
	size_t n = 0;
	while (name_char(s[n], n == 0)) {
		n++;
	}
	return n;
}

/* Behind the quoted value that begins at `s`, or NULL. */
static const char *skip_value(const char *s)
{
	if (*s++ != '"') {
		return NULL;
	}
	for (; *s != '"'; s++) {
		if (*s == '\\' && (s[1] == '\\' || s[1] == '"' || s[1] == 'n')) {
			s++;
		} else if (*s == '\\' || (unsigned char)*s < 0x20) {
			return NULL;
		}
	}
	return s + 1;
}

/* name="value",name="value"; a page with a broken line is refused as a whole by its reader. */
static bool labels_ok(const char *s)
{
	while (*s) {
		size_t n = name_len(s);
		if (n == 0 || s[n] != '=') {
			return false;
		}
		s = skip_value(s + n + 1);
		if (!s || (*s != '\0' && *s != ',')) {
			return false;
		}
		if (*s == ',' && *++s == '\0') {
			return false;
		}
	}
	return true;
}

/* ---------------------------------------------------------------- the registry */

static void series_free(struct series *s)
{
	if (!s) {
		return;
	}
	free(s->name);
	free(s->labels);
	free(s->help);
	free(s->histogram);
	free(s);
}

static struct series *series_new(enum kind kind, const char *name, const char *labels,
                                 const char *help)
{
	struct series *s = calloc(1, sizeof(*s));
	if (!s) {
		return NULL;
	}
	s->kind = kind;
	s->name = strdup(name);
	s->labels = strdup(labels);
	s->help = strdup(help ? help : "");
	if (kind == HISTOGRAM) {
		s->histogram = calloc(1, sizeof(*s->histogram));
	}
	if (!s->name || !s->labels || !s->help || (kind == HISTOGRAM && !s->histogram)) {
		series_free(s);
		return NULL;
	}
	return s;
}

static int reserve(struct ob__stats *s)
{
	if ((s->len & (s->len - 1)) != 0) {
		return 0;
	}
	size_t cap = s->len ? s->len * 2 : 1;
	struct series **grown = realloc(s->series, cap * sizeof(struct series *));
	if (!grown) {
		return -ENOMEM;
	}
	s->series = grown;
	return 0;
}

static int add(struct ob__stats *s, const char *key, struct series *series)
{
	if (reserve(s) != 0 || ob__strmap_put(&s->by_key, key, series) != 0) {
		return -ENOMEM;
	}
	if (!ob__strmap_get(&s->by_name, series->name) &&
	    ob__strmap_put(&s->by_name, series->name, series) != 0) {
		ob__strmap_del(&s->by_key, key);
		return -ENOMEM;
	}
	s->series[s->len++] = series;
	return 0;
}

static int find_or_add(struct ob__stats *s, const char *key, enum kind kind, const char *name,
                       const char *labels, const char *help, struct series **out)
{
	struct series *family = ob__strmap_get(&s->by_name, name);
	if (family && family->kind != kind) {
		return -EEXIST;
	}
	*out = ob__strmap_get(&s->by_key, key);
	if (*out) {
		return 0;
	}
	if (s->len >= SERIES_MAX) {
		return -ENOSPC;
	}
	*out = series_new(kind, name, labels, help);
	if (!*out) {
		return -ENOMEM;
	}
	int err = add(s, key, *out);
	if (err != 0) {
		series_free(*out);
	}
	return err;
}

static int get(struct ob__stats *s, enum kind kind, const char *name, const char *labels,
               const char *help, struct series **out)
{
	labels = labels ? labels : "";
	if (name_len(name) != strlen(name) || !name[0] || !labels_ok(labels)) {
		return -EINVAL;
	}
	struct ob__buf key = {0};
	int err = ob__buf_printf(&key, "%s{%s}", name, labels);
	if (err == 0) {
		err = ob__buf_append(&key, "", 1);
	}
	if (err == 0) {
		err = find_or_add(s, (const char *)key.data, kind, name, labels, help, out);
	}
	ob__buf_free(&key);
	return err;
}

struct ob__stats *ob__stats_new(void)
{
	return calloc(1, sizeof(struct ob__stats));
}

void ob__stats_free(struct ob__stats *s)
{
	if (!s) {
		return;
	}
	for (size_t i = 0; i < s->len; i++) {
		series_free(s->series[i]);
	}
	free(s->series);
	ob__strmap_free(&s->by_key);
	ob__strmap_free(&s->by_name);
	free(s);
}

uint64_t *ob__stat_counter(struct ob__stats *s, const char *name, const char *labels,
                           const char *help)
{
	struct series *series;
	int err = get(s, COUNTER, name, labels, help, &series);
	return err == 0 ? &series->count : &s->lost_count;
}

int ob__stat_gauge(struct ob__stats *s, const char *name, const char *labels, const char *help,
                   ob__stat_gauge_fn fn, void *arg)
{
	struct series *series;
	int err = get(s, GAUGE, name, labels, help, &series);
	if (err == 0) {
		series->fn = fn;
		series->arg = arg;
	}
	return err;
}

struct ob__histogram *ob__stat_histogram(struct ob__stats *s, const char *name, const char *labels,
                                         const char *help)
{
	struct series *series;
	int err = get(s, HISTOGRAM, name, labels, help, &series);
	return err == 0 ? series->histogram : &s->lost_histogram;
}

/* ---------------------------------------------------------------- the page */

/* Upper edges in microseconds, and how the page writes them in seconds. */
static const struct {
	uint64_t us;
	const char *le;
} edges[] = {
	{100, "0.0001"},  {250, "0.00025"}, {500, "0.0005"},  {1000, "0.001"},
	{2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},  {25000, "0.025"},
	{50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},
	{1000000, "1"},   {2500000, "2.5"}, {5000000, "5"},   {10000000, "10"},
};

static int by_name_and_labels(const void *a, const void *b)
{
	const struct series *x = *(struct series *const *)a;
	const struct series *y = *(struct series *const *)b;
	int order = strcmp(x->name, y->name);
	return order ? order : strcmp(x->labels, y->labels);
}

static int put_family(const struct series *s, struct ob__buf *out)
{
	static const char *const types[] = {
		[COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};
	int err = ob__buf_printf(out, "# HELP %s ", s->name);
	for (const char *c = s->help; *c && err == 0; c++) {
		if (*c == '\n') {
			err = ob__buf_append(out, "\\n", 2);
		} else if (*c == '\\') {
			err = ob__buf_append(out, "\\\\", 2);
		} else {
			err = ob__buf_append(out, c, 1);
		}
	}
	return err ? err : ob__buf_printf(out, "\n# TYPE %s %s\n", s->name, types[s->kind]);
}

static int put_gauge(const struct series *s, double value, struct ob__buf *out)
{
	const char *open = s->labels[0] ? "{" : "";
	const char *close = s->labels[0] ? "}" : "";
	if (isnan(value)) {
		return ob__buf_printf(out, "%s%s%s%s NaN\n", s->name, open, s->labels, close);
	}
	if (isinf(value)) {
		return ob__buf_printf(out, "%s%s%s%s %sInf\n", s->name, open, s->labels, close,
		                      value > 0 ? "+" : "-");
	}
	return ob__buf_printf(out, "%s%s%s%s %.15g\n", s->name, open, s->labels, close, value);
}

static int put_histogram(const struct series *s, struct ob__buf *out)
{
	const struct ob__histogram *h = s->histogram;
	const char *comma = s->labels[0] ? "," : "";
	const char *open = s->labels[0] ? "{" : "";
	const char *close = s->labels[0] ? "}" : "";
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		int err = ob__buf_printf(out, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", s->name,
		                         s->labels, comma, edges[i].le,
		                         ob__histogram_count_le(h, edges[i].us));
		if (err != 0) {
			return err;
		}
	}
	return ob__buf_printf(out,
	                      "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n"
	                      "%s_sum%s%s%s %" PRIu64 ".%06u\n"
	                      "%s_count%s%s%s %" PRIu64 "\n",
	                      s->name, s->labels, comma, h->count, s->name, open, s->labels, close,
	                      h->sum / 1000000, (unsigned)(h->sum % 1000000), s->name, open,
	                      s->labels, close, h->count);
}

static int put_series(const struct series *s, struct ob__buf *out)
{
	switch (s->kind) {
	case COUNTER:
		return s->labels[0] ? ob__buf_printf(out, "%s{%s} %" PRIu64 "\n", s->name,
		                                     s->labels, s->count)
		                    : ob__buf_printf(out, "%s %" PRIu64 "\n", s->name, s->count);
	case GAUGE:
		return put_gauge(s, s->fn(s->arg), out);
	case HISTOGRAM:
		return put_histogram(s, out);
	}
	return -EINVAL;
}

int ob__stats_render(const struct ob__stats *s, struct ob__buf *out)
{
	if (s->len == 0) {
		return 0;
	}
	struct series **sorted = malloc(s->len * sizeof(struct series *));
	if (!sorted) {
		return -ENOMEM;
	}
	memcpy(sorted, s->series, s->len * sizeof(struct series *));
	qsort(sorted, s->len, sizeof(struct series *), by_name_and_labels);
	int err = 0;
	for (size_t i = 0; i < s->len && err == 0; i++) {
		if (i == 0 || strcmp(sorted[i - 1]->name, sorted[i]->name) != 0) {
			err = put_family(ob__strmap_get(&s->by_name, sorted[i]->name), out);
		}
		if (err == 0) {
			err = put_series(sorted[i], out);
		}
	}
	free(sorted);
	return err;
}
