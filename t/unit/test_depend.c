/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/depend.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"

#define MODULES 5

/* An order of names that the modules start in, or a fault. */
struct row {
	struct ob__depend items[MODULES];
	const char *order; /* "a b c", or NULL */
	size_t item;
	const char *code;
	const char *found;
	const char *expected;
	const char *text;
};

static size_t count(const struct row *r)
{
	size_t n = 0;

	while (n < MODULES && r->items[n].name != NULL) {
		n++;
	}
	return n;
}

static bool is(const char *given, const char *expected)
{
	return expected == NULL || strcmp(given, expected) == 0;
}

static void run(const struct row *rows, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const struct row *r = &rows[i];
		struct ob__depend_fault f;
		size_t order[MODULES];
		char names[256] = "";
		size_t n = count(r);
		int rc = ob__depend_order(r->items, n, order, &f);
		for (size_t k = 0; k < n && rc == 0; k++) {
			snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
			         k > 0 ? " " : "", r->items[order[k]].name);
		}
		bool ok = rc == (r->order != NULL ? 0 : -1);
		if (r->order != NULL) {
			ok = ok && is(names, r->order);
		} else {
			ok = ok && f.item == r->item && is(f.code, r->code) &&
			     is(f.found, r->found) && is(f.expected, r->expected) &&
			     is(f.text, r->text);
		}
		CU_ASSERT_TRUE(ok);
		if (!ok) {
			printf("# row %zu: %d \"%s\", item %zu %s\n#   found: %s\n#   expected: "
			       "%s\n#   text: %s\n",
			       i, rc, names, f.item, f.code, f.found, f.expected, f.text);
		}
	}
}

#define RUN(rows) run(rows, sizeof(rows) / sizeof(rows[0]))

/* ---------------------------------------------------------------- met */

static const struct row met[] = {
	{{{0}}, .order = ""},
	{{{"a", NULL, NULL}}, .order = "a"},
	{{{"a", "", ""}, {"b", "  ", "\t"}}, .order = "a b"},
	/* as given when nobody needs anybody */
	{{{"c", "x/1", NULL}, {"a", "y/1", NULL}, {"b", NULL, NULL}}, .order = "c a b"},
	/* given right already */
	{{{"a", "x/1", NULL}, {"b", "y/1", "x/1"}, {"c", NULL, "y/1"}}, .order = "a b c"},
	/* and all upside down */
	{{{"c", NULL, "y/1"}, {"b", "y/1", "x/1"}, {"a", "x/1", NULL}}, .order = "a b c"},
	/* who waits lets the others go first, and only those */
	{{{"a", NULL, "x/1"}, {"b", NULL, NULL}, {"c", "x/1", NULL}, {"d", NULL, NULL}},
         .order = "b c a d"},
	/* a diamond */
	{{{"d", NULL, "b/1 c/1"}, {"c", "c/1", "a/1"}, {"b", "b/1", "a/1"}, {"a", "a/1", NULL}},
         .order = "a c b d"},
	/* minor numbers: as much, more, none said */
	{{{"a", "x/1.2", NULL}, {"b", NULL, "x/1.2"}}, .order = "a b"},
	{{{"a", "x/1.3", NULL}, {"b", NULL, "x/1.2"}}, .order = "a b"},
	{{{"a", "x/1.3", NULL}, {"b", NULL, "x/1"}}, .order = "a b"},
	{{{"a", "x/1", NULL}, {"b", NULL, "x/1.0"}}, .order = "a b"},
	{{{"a", "x/0", NULL}, {"b", NULL, "x/0"}}, .order = "a b"},
	{{{"a", "x/65535.65535", NULL}, {"b", NULL, "x/65535.65535"}}, .order = "a b"},
	/* two majors of one interface are two interfaces */
	{{{"a", "x/1", NULL}, {"b", "x/2", NULL}, {"c", NULL, "x/2"}}, .order = "a b c"},
	{{{"a", "x/1 x/2.7", NULL}, {"b", NULL, "x/2.5 x/1"}}, .order = "a b"},
	/* a name is a whole name */
	{{{"a", "x/1 xx/1 x.x/1", NULL}, {"b", NULL, "xx/1"}}, .order = "a b"},
	/* blanks of all kinds; a need twice */
	{{{"a", " x/1\t y/2 ", NULL}, {"b", NULL, "\ty/2  x/1 x/1 "}}, .order = "a b"},
	{{{"a", "0_a-z.9/1", NULL}, {"b", NULL, "0_a-z.9/1"}}, .order = "a b"},
	/* what a module provides it may need from another one in another major */
	{{{"a", "x/2", "x/1"}, {"b", "x/1", NULL}}, .order = "b a"},
};

static const struct row optional[] = {
	{{{"a", NULL, "?x/1"}}, .order = "a"},
	{{{"a", NULL, "?x/1"}, {"b", "x/2", NULL}}, .order = "a b"},     /* not it */
	{{{"a", NULL, "?x/1.2"}, {"b", "x/1.1", NULL}}, .order = "a b"}, /* too old */
	{{{"a", NULL, "?x/1"}, {"b", "x/1", NULL}}, .order = "b a"},
	{{{"a", NULL, "?x/1 y/1"}, {"b", "y/1", NULL}}, .order = "b a"},
	{{{"a", "x/1", "?x/1"}}, .order = "a"},
	/* round in a circle that can be done without */
	{{{"a", "x/1", "?y/1"}, {"b", "y/1", "x/1"}}, .order = "a b"},
	{{{"a", "x/1", "y/1"}, {"b", "y/1", "?x/1"}}, .order = "b a"},
	{{{"a", "x/1", "?y/1"}, {"b", "y/1", "?x/1"}}, .order = "a b"},
};

static void test_met(void)
{
	RUN(met);
}

static void test_optional(void)
{
	RUN(optional);
}

/* ---------------------------------------------------------------- not met */

static const struct row not_met[] = {
	{{{"a", NULL, NULL}, {"b", NULL, "x/1"}},
         .item = 1,
         .code = "missing",
         .found = "no other module that provides it",
         .expected = "x/1",
         .text = "b: x/1 is needed, no other module provides it"},
	/* one's own does not count */
	{{{"a", "x/1", "x/1"}}, .item = 0, .code = "missing", .expected = "x/1"},
	{{{"a", "x/1", "x/1"}, {"b", NULL, "x/1"}}, .item = 0, .code = "missing"},
	{{{"a", "x/2", "x/1"}}, .item = 0, .code = "missing"},
	{{{"a", "xx/1", NULL}, {"b", NULL, "x/1"}}, .item = 1, .code = "missing"},
	{{{"a", "x/1", NULL}, {"b", NULL, "xx/1"}}, .item = 1, .code = "missing"},
	{{{"rank", "rank/2.4", NULL}, {"b", NULL, "rank/1"}},
         .item = 1,
         .code = "major",
         .found = "rank/2 of rank",
         .expected = "rank/1",
         .text = "b: rank/1 is needed, rank/2 is provided by rank"},
	{{{"b", NULL, "x/3"}, {"a", "x/2", NULL}}, .item = 0, .code = "major"},
	{{{"a", "x/1.1", NULL}, {"b", NULL, "x/1.2"}},
         .item = 1,
         .code = "minor",
         .found = "x/1.1 of a",
         .expected = "x/1.2 or a later minor number",
         .text = "b: x/1.2 is needed, x/1.1 is provided by a"},
	{{{"a", "x/1", NULL}, {"b", NULL, "x/1.1"}}, .item = 1, .code = "minor"},
	/* the first one, as given */
	{{{"a", NULL, "y/1"}, {"b", NULL, "x/1"}}, .item = 0, .expected = "y/1"},
	{{{"a", NULL, "?z/1 y/1 x/1"}}, .item = 0, .expected = "y/1"},
};

static const struct row twice[] = {
	{{{"a", "x/1", NULL}, {"b", "y/1", NULL}, {"c", "y/1", NULL}},
         .item = 2,
         .code = "twice",
         .found = "y/1 of b and of c",
         .expected = "one module that provides it",
         .text = "y/1 is provided by b and by c"},
	{{{"a", "x/1.1", NULL}, {"b", "x/1.2", NULL}}, .item = 1, .code = "twice"},
	{{{"a", "x/1 y/1 x/1.3", NULL}},
         .item = 0,
         .code = "twice",
         .text = "x/1 is provided by a and by a"},
	/* before a need is looked at */
	{{{"a", NULL, "z/1"}, {"b", "x/1", NULL}, {"c", "x/1", NULL}}, .item = 2, .code = "twice"},
};

#define LONG_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const struct row cycles[] = {
	{{{"a", "x/1", "y/1"}, {"b", "y/1", "x/1"}},
         .item = 0,
         .code = "cycle",
         .found = "a -> b -> a",
         .expected = "modules that don't need each other",
         .text = "modules need each other: a -> b -> a"},
	/* who is outside of it is not named: before it, behind it */
	{{{"z", NULL, "x/1"}, {"w", "w/1", NULL}, {"b", "x/1", "y/1"}, {"a", "y/1", "w/1 x/1"}},
         .item = 2,
         .code = "cycle",
         .found = "b -> a -> b"},
	{{{"c", "c/1", "a/1"}, {"a", "a/1", "b/1"}, {"b", "b/1", "c/1"}},
         .item = 0,
         .code = "cycle",
         .found = "c -> a -> b -> c"},
	/* two of them: the first */
	{{{"d", "d/1", "c/1"}, {"a", "a/1", "b/1"}, {"b", "b/1", "a/1"}, {"c", "c/1", "d/1"}},
         .item = 0,
         .code = "cycle",
         .found = "d -> c -> d"},
	/* names as long as they may be don't fit all */
	{{{LONG_A, "x/1", "y/1"}, {LONG_B, "y/1", "x/1"}},
         .item = 0,
         .code = "cycle",
         .found = LONG_A " -> ... -> " LONG_A},
};

static void test_not_met(void)
{
	RUN(not_met);
}

static void test_twice(void)
{
	RUN(twice);
}

static void test_cycles(void)
{
	RUN(cycles);
}

/* ---------------------------------------------------------------- syntax */

#define NAME_CHARS "a name has lower-case letters, digits, \"_\", \".\" and \"-\""
#define NAME_40    "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd"
#define SIXTEEN    "a/1 b/1 c/1 d/1 e/1 f/1 g/1 h/1 i/1 j/1 k/1 l/1 m/1 n/1 o/1 p/1"
#define NUMBER     "a number is from 0 to 65535, as in rank/2 or rank/2.1"

static const struct {
	const char *list;
	const char *expected;
} words[] = {
	{"/1", NAME_CHARS},
	{"/", NAME_CHARS},
	{"?", NAME_CHARS},
	{"?/1", NAME_CHARS},
	{"??x/1", NAME_CHARS},
	{"x,y/1", NAME_CHARS},
	{"x/1,y/1", NUMBER},
	{"Rank/1", NAME_CHARS},
	{"r\xc3\xa4nk/1", NAME_CHARS},
	{"x\n/1", NAME_CHARS},
	{NAME_40 "e/1", "a name has at most 40 characters"},
	{"x", "the major number is missing"},
	{"x/1 y", "the major number is missing"},
	{"x/", NUMBER},
	{"x/.1", NUMBER},
	{"x/1.", NUMBER},
	{"x/1.2.3", NUMBER},
	{"x/1.x", NUMBER},
	{"x/-1", NUMBER},
	{"x/+1", NUMBER},
	{"x/01", NUMBER},
	{"x/1.00", NUMBER},
	{"x/65536", NUMBER},
	{"x/1.65536", NUMBER},
	{"x/4294967297", NUMBER},
	{"x/18446744073709551617", NUMBER},
	{"x/1/1", NUMBER},
	{"x/1\n", NUMBER},
	{SIXTEEN " q/1", "at most 16"},
};

static void test_syntax(void)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		for (int needs = 0; needs < 2; needs++) {
			const struct ob__depend items[] = {
				{"a", "a/9", "nobody/1"},
				{"b", needs ? NULL : words[i].list, needs ? words[i].list : NULL}};
			struct ob__depend_fault f;
			size_t order[2];
			bool ok = ob__depend_order(items, 2, order, &f) == -1 && f.item == 1 &&
			          strcmp(f.code, "syntax") == 0;
			/* in what is provided there is no "?" */
			ok = ok && ((!needs && words[i].list[0] == '?') ||
			            strcmp(f.expected, words[i].expected) == 0);
			CU_ASSERT_TRUE(ok);
			if (!ok) {
				printf("# %s: %s %s\n", words[i].list, f.code, f.expected);
			}
		}
	}

	static const struct row rows[] = {
		{{{"a", "x/1", NULL}, {"b", NULL, "x/1 rank/b"}},
	         .item = 1,
	         .code = "syntax",
	         .found = "rank/b",
	         .text = "b: needs: \"rank/b\": " NUMBER},
		{{{"a", "?x/1", NULL}},
	         .item = 0,
	         .code = "syntax",
	         .found = "?x/1",
	         .expected = "\"?\" is for what is needed",
	         .text = "a: provides: \"?x/1\": \"?\" is for what is needed"},
		{{{"a", SIXTEEN " q/1 r/1", NULL}},
	         .item = 0,
	         .code = "syntax",
	         .found = "one more: q/1",
	         .text = "a: provides lists more than 16 interfaces"},
		/* as much as there may be */
		{{{"a", SIXTEEN, NULL}, {"b", NAME_40 "/1", SIXTEEN}}, .order = "a b"},
	};
	RUN(rows);
}

/* A chain of many, given upside down, and a ring of as many. */
static void test_many(void)
{
	enum { LEN = 200 };
	static char texts[LEN][3][16];
	static struct ob__depend items[LEN];
	static size_t order[LEN];
	struct ob__depend_fault f;

	for (size_t i = 0; i < LEN; i++) {
		snprintf(texts[i][0], 16, "m%03zu", i);
		snprintf(texts[i][1], 16, "i%zu/1", i);
		snprintf(texts[i][2], 16, "i%zu/1", (i + 1) % LEN);
		items[i] = (struct ob__depend){texts[i][0], texts[i][1],
		                               i + 1 < LEN ? texts[i][2] : NULL};
	}
	CU_ASSERT_EQUAL(ob__depend_order(items, LEN, order, &f), 0);
	for (size_t i = 0; i < LEN; i++) {
		CU_ASSERT_EQUAL(order[i], LEN - 1 - i);
	}
	items[LEN - 1].needs = texts[LEN - 1][2];
	CU_ASSERT_EQUAL(ob__depend_order(items, LEN, order, &f), -1);
	CU_ASSERT_STRING_EQUAL(f.code, "cycle");
	CU_ASSERT_EQUAL(strncmp(f.found, "m000 -> m001 -> ", 16), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(f.found, " -> ... -> m000"));
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("depend", NULL, NULL);
	CU_add_test(s, "met", test_met);
	CU_add_test(s, "optional", test_optional);
	CU_add_test(s, "not met", test_not_met);
	CU_add_test(s, "provided twice", test_twice);
	CU_add_test(s, "cycles", test_cycles);
	CU_add_test(s, "syntax", test_syntax);
	CU_add_test(s, "many", test_many);
	return ob__tap_run();
}
