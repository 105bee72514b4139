/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/list.h"

#include <CUnit/CUnit.h>

#include "tap.h"

struct item {
	char name;
	struct ob__list link;
};

static struct item items[6];

static void init_items(void)
{
	for (size_t i = 0; i < 6; i++) {
		items[i].name = (char)('a' + i);
		ob__list_init(&items[i].link);
	}
}

static void fill(struct ob__list *head, size_t from, size_t to)
{
	ob__list_init(head);
	for (size_t i = from; i < to; i++) {
		ob__list_append(head, &items[i].link);
	}
}

/* The names on the list forwards, and the same backwards or "broken". */
static const char *names(struct ob__list *head)
{
	static char text[16];
	size_t len = 0;
	OB__LIST_EACH (it, head) {
		text[len++] = OB__CONTAINER(it, struct item, link)->name;
	}
	text[len] = '\0';
	for (struct ob__list *it = head->prev; it != head; it = it->prev) {
		if (len == 0 || text[--len] != OB__CONTAINER(it, struct item, link)->name) {
			return "broken";
		}
	}
	return len == 0 ? text : "broken";
}

static void test_order(void)
{
	init_items();
	struct ob__list head;
	fill(&head, 0, 0);
	CU_ASSERT_TRUE(ob__list_empty(&head));
	CU_ASSERT_STRING_EQUAL(names(&head), "");
	fill(&head, 0, 3);
	CU_ASSERT_FALSE(ob__list_empty(&head));
	CU_ASSERT_STRING_EQUAL(names(&head), "abc");
	ob__list_insert_before(head.next, &items[3].link);
	ob__list_insert_before(&items[1].link, &items[4].link);
	CU_ASSERT_STRING_EQUAL(names(&head), "daebc");
}

static void test_del(void)
{
	static const struct {
		const char *del;
		const char *left;
	} rows[] = {
		{"a", "bcd"},  /* the first */
		{"d", "abc"},  /* the last */
		{"b", "acd"},  /* one between */
		{"bb", "acd"}, /* twice is harmless */
		{"abcd", ""},  /* forwards to the end */
		{"dcba", ""},  /* backwards */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		init_items();
		struct ob__list head;
		fill(&head, 0, 4);
		for (const char *c = rows[i].del; *c != '\0'; c++) {
			struct ob__list *link = &items[*c - 'a'].link;
			ob__list_del(link);
			CU_ASSERT_FALSE(ob__list_on(link));
		}
		CU_ASSERT_STRING_EQUAL(names(&head), rows[i].left);
		CU_ASSERT_EQUAL(ob__list_empty(&head), rows[i].left[0] == '\0');
		for (const char *c = rows[i].left; *c != '\0'; c++) {
			CU_ASSERT_TRUE(ob__list_on(&items[*c - 'a'].link));
		}
	}
}

static void test_walk_and_remove(void)
{
	init_items();
	struct ob__list head;
	fill(&head, 0, 6);
	size_t seen = 0;
	OB__LIST_EACH_SAFE (it, &head) {
		if (seen++ % 2 == 0) {
			ob__list_del(it);
		}
	}
	CU_ASSERT_EQUAL(seen, 6);
	CU_ASSERT_STRING_EQUAL(names(&head), "bdf");
	OB__LIST_EACH_SAFE (it, &head) {
		ob__list_del(it);
	}
	CU_ASSERT_TRUE(ob__list_empty(&head));
}

static void test_splice(void)
{
	static const struct {
		size_t middle; /* [0, middle) is spliced to, [middle, 4) from */
	} rows[] = {
		{0}, /* to an empty one */
		{1},
		{2},
		{4}, /* from an empty one */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		init_items();
		struct ob__list to;
		struct ob__list from;
		fill(&to, 0, rows[i].middle);
		fill(&from, rows[i].middle, 4);
		ob__list_splice(&to, &from);
		CU_ASSERT_STRING_EQUAL(names(&to), "abcd");
		CU_ASSERT_TRUE(ob__list_empty(&from));
		ob__list_append(&from, &items[4].link); /* still a list */
		CU_ASSERT_STRING_EQUAL(names(&from), "e");
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("list", NULL, NULL);
	CU_add_test(s, "keeps order", test_order);
	CU_add_test(s, "takes off anywhere, twice too", test_del);
	CU_add_test(s, "may lose the current link in a walk", test_walk_and_remove);
	CU_add_test(s, "splices", test_splice);
	return ob__tap_run();
}
