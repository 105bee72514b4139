/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/ip.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "tap.h"

static struct ob__ip ip(const char *text)
{
	struct ob__ip out = {{0}};
	CU_ASSERT_EQUAL_FATAL(ob__ip_parse(&out, text), 0);
	return out;
}

static void test_text(void)
{
	static const struct {
		const char *text;
		const char *full; /* with port 7; NULL: it is none */
	} rows[] = {
		{"127.0.0.1", "127.0.0.1:7"},
		{"::1", "[::1]:7"},
		{"2001:DB8::a", "[2001:db8::a]:7"},
		{"::ffff:10.1.2.3", "10.1.2.3:7"}, /* the same address */
		{"", NULL},
		{"127.1", NULL},
		{"localhost", NULL},
		{"1.2.3.4 ", NULL},
		{"fe80::1%eth0", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__ip a;
		char out[OB__IP_TEXT];
		int rc = ob__ip_parse(&a, rows[i].text);
		CU_ASSERT_EQUAL(rc, rows[i].full != NULL ? 0 : -EINVAL);
		if (rows[i].full != NULL) {
			ob__ip_format(&a, 7, out, sizeof(out));
			CU_ASSERT_STRING_EQUAL(out, rows[i].full);
		}
	}
}

static void test_ranges(void)
{
	static const struct {
		const char *range;
		const char *in;
		const char *out;
	} rows[] = {
		{"10.0.0.0/8", "10.255.0.1", "11.0.0.0"},
		{"10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"},
		{"192.0.2.1", "192.0.2.1", "192.0.2.2"},
		{"192.0.2.128/25", "192.0.2.255", "192.0.2.127"},
		{"0.0.0.0/0", "1.2.3.4", "2001:db8::1"},
		{"2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"},
		{"::/0", "1.2.3.4", NULL},
		{"::1/128", "::1", "::2"},
	};
	static const char *const bad[] = {"",         "/8",         "10.0.0.0/33", "10.0.0.0/",
	                                  "10.0.0/8", "10.0.0.1/8", "::1/127",     "10.0.0.0/-1",
	                                  "::/129",   "a",          "10.0.0.0/8 ", "10.0.0.0/08x",
	                                  "1/2/3"};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__cidr c;
		CU_ASSERT_EQUAL_FATAL(ob__cidr_parse(&c, rows[i].range), 0);
		struct ob__ip in = ip(rows[i].in);
		CU_ASSERT(ob__cidr_has(&c, &in));
		if (rows[i].out != NULL) {
			struct ob__ip out = ip(rows[i].out);
			CU_ASSERT_FALSE(ob__cidr_has(&c, &out));
		}
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ob__cidr c;
		CU_ASSERT_EQUAL(ob__cidr_parse(&c, bad[i]), -EINVAL);
	}
}

static void test_household(void)
{
	struct ob__ip v4 = ip("10.0.0.1");
	struct ob__ip same = ob__ip_household(&v4);
	CU_ASSERT_EQUAL(memcmp(&v4, &same, sizeof(v4)), 0);
	struct ob__ip a = ip("2001:db8:0:1::1");
	struct ob__ip b = ip("2001:db8:0:1:ffff::2");
	struct ob__ip c = ip("2001:db8:0:2::1");
	a = ob__ip_household(&a);
	b = ob__ip_household(&b);
	c = ob__ip_household(&c);
	CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof(a)), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(&a, &c, sizeof(a)), 0);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("ip", NULL, NULL);
	CU_add_test(s, "text", test_text);
	CU_add_test(s, "ranges", test_ranges);
	CU_add_test(s, "households", test_household);
	return ob__tap_run();
}
