/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/resumetoken.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include "tap.h"

#define NODE UINT64_C(0x0123456789abcdef)
#define SEQ  UINT64_C(0xfedcba9876543210)

static void test_text(void)
{
	uint8_t key[OB__RESUME_KEY] = {1};
	struct ob__resume_token t;
	struct ob__resume_token back;
	char text[OB__RESUME_TOKEN];

	CU_ASSERT_EQUAL_FATAL(ob__resume_token_make(&t, key, NODE, SEQ), 0);
	ob__resume_token_put(&t, text);
	CU_ASSERT_EQUAL(memcmp(text, "0123456789abcdeffedcba9876543210", 32), 0);
	CU_ASSERT_EQUAL_FATAL(ob__resume_token_get(&back, text, sizeof(text)), 0);
	CU_ASSERT(back.node == NODE && back.seq == SEQ);
	CU_ASSERT(ob__resume_token_ok(&back, key));
}

static void test_refused(void)
{
	uint8_t key[OB__RESUME_KEY];
	uint8_t other[OB__RESUME_KEY];
	struct ob__resume_token t;
	struct ob__resume_token wrong;
	char text[OB__RESUME_TOKEN];

	CU_ASSERT_EQUAL_FATAL(ob__resume_key(key), 0);
	CU_ASSERT_EQUAL_FATAL(ob__resume_key(other), 0);
	CU_ASSERT_EQUAL_FATAL(ob__resume_token_make(&t, key, NODE, SEQ), 0);
	CU_ASSERT(ob__resume_token_ok(&t, key));
	CU_ASSERT(!ob__resume_token_ok(&t, other)); /* of another life */
	wrong = t;
	wrong.seq++; /* of another session */
	CU_ASSERT(!ob__resume_token_ok(&wrong, key));
	wrong = t;
	wrong.node ^= 1; /* of another node */
	CU_ASSERT(!ob__resume_token_ok(&wrong, key));
	for (unsigned bit = 0; bit < 8 * OB__RESUME_PROOF; bit++) {
		wrong = t;
		wrong.proof[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CU_ASSERT(!ob__resume_token_ok(&wrong, key));
	}
	ob__resume_token_put(&t, text);
	CU_ASSERT_NOT_EQUAL(ob__resume_token_get(&t, text, sizeof(text) - 1), 0);
	CU_ASSERT_NOT_EQUAL(ob__resume_token_get(&t, "", 0), 0);
	for (unsigned i = 0; i < sizeof(text); i++) {
		char kept = text[i];
		text[i] = "gG/:@`"[i % 6]; /* beside the digits */
		CU_ASSERT_NOT_EQUAL(ob__resume_token_get(&t, text, sizeof(text)), 0);
		text[i] = kept;
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("resumetoken", NULL, NULL);
	CU_add_test(s, "its text", test_text);
	CU_add_test(s, "what is none", test_refused);
	return ob__tap_run();
}
