/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/stat.h"

#include <CUnit/CUnit.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"

static double gauge_value(void *arg)
{
	return *(double *)arg;
}

static bool page_is(const struct ob__stats *s, const char *want)
{
	struct ob__buf page = {0};
	CU_ASSERT_EQUAL(ob__stats_render(s, &page), 0);
	bool same = page.len == strlen(want) &&
	            (page.len == 0 || memcmp(page.data, want, page.len) == 0);
	if (!same) {
		printf("# got:\n%.*s", (int)page.len, (const char *)page.data);
	}
	ob__buf_free(&page);
	return same;
}

static void test_page(void)
{
	struct ob__stats *s = ob__stats_new();
	CU_ASSERT(page_is(s, ""));

	double sessions = 2.5;
	uint64_t *big = ob__stat_counter(s, "refused_total", "reason=\"too_big\"", "Refused.");
	uint64_t *bad = ob__stat_counter(s, "refused_total", "reason=\"bad\"", "not shown");
	uint64_t *all = ob__stat_counter(s, "messages_total", NULL, "All\nof \\ them.");
	CU_ASSERT_EQUAL(ob__stat_gauge(s, "sessions", NULL, "Now.", gauge_value, &sessions), 0);
	*big = 3;
	*bad += 1;
	*all = UINT64_MAX;
	CU_ASSERT(page_is(s, "# HELP messages_total All\\nof \\\\ them.\n"
	                     "# TYPE messages_total counter\n"
	                     "messages_total 18446744073709551615\n"
	                     "# HELP refused_total Refused.\n"
	                     "# TYPE refused_total counter\n"
	                     "refused_total{reason=\"bad\"} 1\n"
	                     "refused_total{reason=\"too_big\"} 3\n"
	                     "# HELP sessions Now.\n"
	                     "# TYPE sessions gauge\n"
	                     "sessions 2.5\n"));
	ob__stats_free(s);
	ob__stats_free(NULL);
}

static void test_gauge(void)
{
	static const struct {
		double value;
		const char *text;
	} rows[] = {
		{0, "g 0\n"},
		{-1.5, "g -1.5\n"},
		{123456789012, "g 123456789012\n"}, /* bytes of memory are not rounded */
		{NAN, "g NaN\n"},
		{INFINITY, "g +Inf\n"},
		{-INFINITY, "g -Inf\n"},
	};
	struct ob__stats *s = ob__stats_new();
	double unused = 7;
	double value;
	ob__stat_gauge(s, "g", NULL, "G.", gauge_value, &unused);
	ob__stat_gauge(s, "g", NULL, "G.", gauge_value, &value); /* replaces */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char want[128];
		value = rows[i].value;
		snprintf(want, sizeof(want), "# HELP g G.\n# TYPE g gauge\n%s", rows[i].text);
		CU_ASSERT(page_is(s, want));
	}
	ob__stats_free(s);
}

static void test_histogram(void)
{
	struct ob__stats *s = ob__stats_new();
	struct ob__histogram *h = ob__stat_histogram(s, "call_seconds", "role=\"route\"", "Calls.");
	ob__histogram_record(h, 50);       /* 50 us */
	ob__histogram_record(h, 3000);     /* 3 ms */
	ob__histogram_record(h, 70000000); /* 70 s, above every edge */
	struct ob__buf page = {0};
	CU_ASSERT_EQUAL(ob__stats_render(s, &page), 0);
	CU_ASSERT_EQUAL(ob__buf_append(&page, "", 1), 0);
	static const char *const lines[] = {
		"# TYPE call_seconds histogram\n",
		"call_seconds_bucket{role=\"route\",le=\"0.0001\"} 1\n",
		"call_seconds_bucket{role=\"route\",le=\"0.0025\"} 1\n",
		"call_seconds_bucket{role=\"route\",le=\"0.005\"} 2\n",
		"call_seconds_bucket{role=\"route\",le=\"10\"} 2\n",
		"call_seconds_bucket{role=\"route\",le=\"+Inf\"} 3\n",
		"call_seconds_sum{role=\"route\"} 70.003050\n",
		"call_seconds_count{role=\"route\"} 3\n",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		CU_ASSERT_PTR_NOT_NULL(strstr((const char *)page.data, lines[i]));
	}
	ob__buf_free(&page);
	ob__stats_free(s);
}

static void test_same_address(void)
{
	struct ob__stats *s = ob__stats_new();
	uint64_t *a = ob__stat_counter(s, "a_total", "x=\"1\"", "A.");
	CU_ASSERT_PTR_EQUAL(ob__stat_counter(s, "a_total", "x=\"1\"", "A."), a);
	CU_ASSERT_PTR_NOT_EQUAL(ob__stat_counter(s, "a_total", "x=\"2\"", "A."), a);
	CU_ASSERT_PTR_NOT_EQUAL(ob__stat_counter(s, "a_total", NULL, "A."), a);
	CU_ASSERT_PTR_EQUAL(ob__stat_histogram(s, "h", NULL, "H."),
	                    ob__stat_histogram(s, "h", "", "H."));
	ob__stats_free(s);
}

/* A broken line would make the whole page unreadable, so these count where no one sees. */
static void test_refused(void)
{
	static const struct {
		const char *name;
		const char *labels;
	} rows[] = {
		{"", NULL},
		{"9lives", NULL},
		{"with space", NULL},
		{"a", "x"},
		{"a", "x="},
		{"a", "x=1"},
		{"a", "x=\"1"},
		{"a", "x=\"1\","},
		{"a", "x=\"1\"y=\"2\""},
		{"a", "=\"1\""},
		{"a", "x=\"a\nb\""},
		{"a", "x=\"a\\b\""}, /* a backslash that escapes nothing */
		{"a", "x=\"a\"b\""}, /* a role with a quote in it */
	};
	struct ob__stats *s = ob__stats_new();
	uint64_t *lost = ob__stat_counter(s, "", NULL, "");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_PTR_EQUAL(ob__stat_counter(s, rows[i].name, rows[i].labels, ""), lost);
		CU_ASSERT(ob__stat_gauge(s, rows[i].name, rows[i].labels, "", gauge_value, NULL) <
		          0);
	}
	CU_ASSERT(page_is(s, ""));
	CU_ASSERT_PTR_NOT_EQUAL(ob__stat_counter(s, "a", "x=\"q\\\"\\\\\\n\",y_2=\"\"", ""), lost);

	/* A name stands for one kind. */
	CU_ASSERT(ob__stat_gauge(s, "a", NULL, "", gauge_value, NULL) < 0);
	CU_ASSERT_PTR_EQUAL(ob__stat_histogram(s, "a", NULL, ""),
	                    ob__stat_histogram(s, "a", "z=\"1\"", ""));
	ob__stats_free(s);
}

static void test_full(void)
{
	struct ob__stats *s = ob__stats_new();
	char labels[32];
	uint64_t *lost = ob__stat_counter(s, "", NULL, "");
	for (int i = 0; i < 4096; i++) {
		snprintf(labels, sizeof(labels), "n=\"%d\"", i);
		uint64_t *n = ob__stat_counter(s, "n_total", labels, "N.");
		CU_ASSERT_PTR_NOT_EQUAL(n, lost);
		*n = (uint64_t)i;
	}
	CU_ASSERT_PTR_EQUAL(ob__stat_counter(s, "n_total", "n=\"4096\"", "N."), lost);
	CU_ASSERT_EQUAL(*ob__stat_counter(s, "n_total", "n=\"4095\"", "N."), 4095);
	CU_ASSERT_EQUAL(*ob__stat_counter(s, "n_total", "n=\"0\"", "N."), 0);
	ob__stats_free(s);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("stat", NULL, NULL);
	CU_add_test(s, "the page, sorted and escaped", test_page);
	CU_add_test(s, "gauges", test_gauge);
	CU_add_test(s, "histograms in seconds", test_histogram);
	CU_add_test(s, "the same address each time", test_same_address);
	CU_add_test(s, "what would break the page is refused", test_refused);
	CU_add_test(s, "at most 4096 series", test_full);
	return ob__tap_run();
}
