/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/origin.h"

#include <CUnit/CUnit.h>
#include <stddef.h>

#include "tap.h"

static void test_matches(void)
{
	static const struct {
		const char *pattern;
		const char *origin;
		bool yes;
	} rows[] = {
		{"https://a.org", "https://a.org", true},
		{"https://a.org", "HTTPS://A.ORG", true},
		{"https://a.org", "http://a.org", false},
		{"https://a.org", "https://a.org:8443", false},
		{"https://a.org:8443", "https://a.org:8443", true},
		{"https://a.org", "https://a.org.evil.org", false},
		{"https://a.org", "https://evil-a.org", false},
		{"https://a.org", "https://a.org/", false}, /* no origin */
		{"https://a.org", "null", false},
		{"https://a.org", "", false},
		{"https://a.org", "a.org", false},
		{"a.org", "https://a.org", true},
		{"a.org", "http://a.org:81", true},
		{"a.org:81", "http://a.org:81", true},
		{"a.org:81", "http://a.org", false},
		{"*.a.org", "https://x.a.org", true},
		{"*.a.org", "https://x.y.A.org:1", true},
		{"*.a.org", "https://a.org", false},
		{"*.a.org", "https://.a.org", false},
		{"*.a.org", "https://xa.org", false},
		{"https://*.a.org", "http://x.a.org", false},
		{"https://*.a.org", "https://x.a.org", true},
		{"http://[::1]:80", "http://[::1]:80", true},
		{"[::1]", "http://[::1]:80", true},
		{"localhost", "http://localhost@evil.org", false},
		{"localhost", "http://localhost:1x", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool is = ob__origin_matches(rows[i].pattern, rows[i].origin);
		if (is != rows[i].yes) {
			CU_FAIL("another answer");
		}
	}
}

static void test_patterns(void)
{
	static const char *const good[] = {"https://a.org", "a", "*.a.org", "a:1", "[::1]:80"};
	static const char *const bad[] = {"",      "*",        "a*",    "*a.org", "*.",
	                                  "*.*.a", "://a",     "a/",    "a b",    "https://",
	                                  "a:",    "a:123456", "a:1:2", "a,b.c",  "http://*"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CU_ASSERT(ob__origin_pattern_ok(good[i]));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_FALSE(ob__origin_pattern_ok(bad[i]));
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("origin", NULL, NULL);
	CU_add_test(s, "what matches", test_matches);
	CU_add_test(s, "what is a pattern", test_patterns);
	return ob__tap_run();
}
