/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/proto.h"

#include <CUnit/CUnit.h>

#include "tap.h"

/* Computed with Python's hashlib. */
static const struct {
	const char *name;
	uint64_t id;
} ids[] = {
	{"proxy_1", UINT64_C(0xa264ff34186f9a2c)},
	{"route_1", UINT64_C(0x8fa2b93ac9473447)},
	{"service_1", UINT64_C(0x2f9cadea171acc1f)},
	{"a", UINT64_C(0xca978112ca1bbdca)}, /* one letter is a name, too */
};

static void test_ids(void)
{
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		CU_ASSERT_EQUAL(ob__node_id(ids[i].name), ids[i].id);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("proto", NULL, NULL);
	CU_add_test(s, "a node's id is its name's", test_ids);
	return ob__tap_run();
}
