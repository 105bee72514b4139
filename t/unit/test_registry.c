/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/registry.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"

/* Two words with the same FNV-1a, found by search. */
#define WORD_1 "role6919"
#define WORD_2 "role801110"

/* The registry never looks into a link. */
static int some_link;
#define LINK ((struct ob__link *)(void *)&some_link)

static struct ob__registry reg;

static void begin(void)
{
	struct ob__identity self = {.id = 1, .incarnation = 5, .name = "me", .role = "proxy"};
	CU_ASSERT_EQUAL_FATAL(ob__registry_init(&reg, &self), 0);
}

static struct ob__peer *put(uint64_t id, const char *name, const char *role, uint64_t incarnation)
{
	struct ob__identity who = {
		.id = id, .incarnation = incarnation, .name = name, .role = role};
	int err;
	struct ob__peer *p = ob__registry_put(&reg, &who, &err);
	CU_ASSERT_EQUAL(err == 0, p != NULL);
	return p;
}

static uint32_t in_role(const char *word, uint32_t *up)
{
	const struct ob__registry_role *role = ob__registry_role_get(&reg, ob__fnv1a32(word));
	CU_ASSERT_PTR_NOT_NULL_FATAL(role);
	uint32_t n = 0;
	OB__LIST_EACH (it, &role->peers) {
		n++;
	}
	*up = role->ready.len;
	return n;
}

static void test_self(void)
{
	char name[] = "me";
	struct ob__identity self = {.id = 1, .incarnation = 5, .name = name, .role = "proxy"};
	CU_ASSERT_EQUAL_FATAL(ob__registry_init(&reg, &self), 0);
	name[0] = 'x'; /* it has a copy */
	CU_ASSERT_STRING_EQUAL(reg.self.name, "me");
	CU_ASSERT_EQUAL(reg.self.role_id, ob__fnv1a32("proxy"));
	CU_ASSERT_PTR_NULL(ob__registry_get(&reg, 1)); /* a node is not its own peer */
	CU_ASSERT_STRING_EQUAL(ob__registry_word(&reg, reg.self.role_id), "proxy");
	ob__registry_free(&reg);
	ob__registry_free(&reg);
	ob__registry_free(NULL);
}

static void test_roles(void)
{
	uint32_t id;
	begin();
	CU_ASSERT_EQUAL(ob__registry_role(&reg, WORD_1, &id), 0);
	CU_ASSERT_EQUAL(id, ob__fnv1a32(WORD_2));
	CU_ASSERT_EQUAL(ob__registry_role(&reg, WORD_1, &id), 0);
	CU_ASSERT_EQUAL(ob__registry_role(&reg, WORD_2, &id), -EEXIST);
	CU_ASSERT_STRING_EQUAL(ob__registry_word(&reg, id), WORD_1);
	CU_ASSERT_PTR_NULL(ob__registry_word(&reg, 12345));
	for (unsigned i = 2; i < OB__ROLES_MAX; i++) {
		char word[16];
		snprintf(word, sizeof(word), "r%u", i);
		CU_ASSERT_EQUAL(ob__registry_role(&reg, word, &id), 0);
	}
	CU_ASSERT_EQUAL(ob__registry_role(&reg, "one more", &id), -ENOSPC);
	CU_ASSERT_EQUAL(ob__registry_role(&reg, "r2", &id), 0);
	ob__registry_free(&reg);
}

static void test_peers(void)
{
	uint32_t up;
	begin();
	struct ob__peer *a = put(10, "a", "service", 7);
	struct ob__peer *b = put(11, "b", "service", 7);
	CU_ASSERT_PTR_NOT_EQUAL(a, b);
	CU_ASSERT_PTR_EQUAL(ob__registry_get(&reg, 10), a);
	CU_ASSERT_PTR_NULL(ob__registry_get(&reg, 12));
	CU_ASSERT_EQUAL(reg.count, 2);
	CU_ASSERT_EQUAL(in_role("service", &up), 2);
	CU_ASSERT_EQUAL(up, 0);
	/* the same node again, started anew */
	CU_ASSERT_PTR_EQUAL(put(10, "a", "service", 8), a);
	CU_ASSERT_EQUAL(a->who.incarnation, 8);
	CU_ASSERT_EQUAL(in_role("service", &up), 2);
	ob__registry_free(&reg);
}

static void test_up_and_down(void)
{
	uint32_t up;
	begin();
	struct ob__peer *a = put(10, "a", "service", 7);
	ob__registry_set_link(&reg, a, LINK, 100);
	ob__registry_set_link(&reg, a, LINK, 200); /* another path is no new coming up */
	CU_ASSERT_EQUAL(a->since, 100);
	CU_ASSERT_EQUAL(a->ups, 1);
	in_role("service", &up);
	CU_ASSERT_EQUAL(up, 1);
	ob__registry_set_link(&reg, a, NULL, 300);
	ob__registry_set_link(&reg, a, NULL, 400);
	CU_ASSERT_EQUAL(a->since, 300);
	in_role("service", &up);
	CU_ASSERT_EQUAL(up, 0);
	ob__registry_set_link(&reg, a, LINK, 500);
	CU_ASSERT_EQUAL(a->ups, 2);
	CU_ASSERT_EQUAL(reg.count, 1); /* it stayed known */
	ob__registry_free(&reg);
}

static void test_other_role(void)
{
	uint32_t up;
	begin();
	struct ob__peer *a = put(10, "a", "service", 7);
	ob__registry_set_link(&reg, a, LINK, 1);
	CU_ASSERT_PTR_EQUAL(put(10, "a", "room", 8), a);
	CU_ASSERT_EQUAL(in_role("service", &up), 0);
	CU_ASSERT_EQUAL(up, 0);
	CU_ASSERT_EQUAL(in_role("room", &up), 1);
	CU_ASSERT_EQUAL(up, 1);
	CU_ASSERT_STRING_EQUAL(a->who.role, "room");
	ob__registry_set_link(&reg, a, NULL, 2);
	in_role("room", &up);
	CU_ASSERT_EQUAL(up, 0);
	ob__registry_free(&reg);
}

static void test_collision(void)
{
	begin();
	CU_ASSERT_PTR_NOT_NULL(put(10, "a", WORD_1, 1));
	struct ob__identity who = {.id = 11, .name = "b", .role = WORD_2};
	int err;
	CU_ASSERT_PTR_NULL(ob__registry_put(&reg, &who, &err));
	CU_ASSERT_EQUAL(err, -EEXIST);
	CU_ASSERT_PTR_NULL(ob__registry_get(&reg, 11));
	ob__registry_free(&reg);
}

static void test_full(void)
{
	begin();
	for (uint64_t i = 0; i < OB__PEERS_MAX; i++) {
		char name[32];
		snprintf(name, sizeof(name), "n%u", (unsigned)i);
		CU_ASSERT_PTR_NOT_NULL(put(100 + i, name, "service", 1));
	}
	struct ob__identity who = {.id = 11, .name = "b", .role = "service"};
	int err;
	CU_ASSERT_PTR_NULL(ob__registry_put(&reg, &who, &err));
	CU_ASSERT_EQUAL(err, -ENOSPC);
	CU_ASSERT_PTR_NOT_NULL(put(100, "n0", "service", 2)); /* those known may come again */
	ob__registry_free(&reg);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("registry", NULL, NULL);
	CU_add_test(s, "self", test_self);
	CU_add_test(s, "roles", test_roles);
	CU_add_test(s, "peers", test_peers);
	CU_add_test(s, "up and down", test_up_and_down);
	CU_add_test(s, "a peer changes its role", test_other_role);
	CU_add_test(s, "role collision", test_collision);
	CU_add_test(s, "full", test_full);
	return ob__tap_run();
}
