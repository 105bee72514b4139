/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/err.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include <obhost/obhost.h>

#include "tap.h"

static const struct {
	int code;
	int http;
	const char *word;
} results[] = {
	{OB_OK, 200, "OK"},
	{OB_E_APP, 500, "APP"},
	{OB_E_NOT_FOUND, 404, "NOT_FOUND"},
	{OB_E_NO_ROUTE, 503, "NO_ROUTE"},
	{OB_E_BUSY, 503, "BUSY"},
	{OB_E_DEADLINE, 504, "DEADLINE"},
	{OB_E_NOT_SENT, 503, "NOT_SENT"},
	{OB_E_MAYBE_SENT, 502, "MAYBE_SENT"},
	{OB_E_GONE, 503, "GONE"},
	{OB_E_DENIED, 403, "DENIED"},
	{OB_E_TOO_BIG, 413, "TOO_BIG"},
	{OB_E_BAD, 400, "BAD"},
	{OB_E_STALE, 500, "STALE"}, /* never the end of a request, so a fault of ours */
	{OB_E_LIMIT, 500, "LIMIT"},
	{-ENOMEM, 500, "ERROR"},
	{-5012, 500, "ERROR"}, /* a result of a newer version */
	{INT_MIN, 500, "ERROR"},
	{INT_MAX, 500, "ERROR"},
};

static void test_results(void)
{
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		CU_ASSERT_EQUAL(ob__result_http(results[i].code), results[i].http);
		CU_ASSERT_STRING_EQUAL(ob__result_word(results[i].code), results[i].word);
	}
}

static void test_sentences(void)
{
	CU_ASSERT_STRING_EQUAL(ob__strerror(0), "ok");
	CU_ASSERT_STRING_EQUAL(ob__strerror(OB_E_DEADLINE), "no answer in time");
	CU_ASSERT_STRING_EQUAL(ob__strerror(-ENOENT), "no such file or directory");
	CU_ASSERT_STRING_EQUAL(ob__strerror(-EADDRINUSE), "address already in use");
	CU_ASSERT_STRING_EQUAL(ob__strerror(-4095), "end of file"); /* libuv's own */
	CU_ASSERT_STRING_EQUAL(ob__strerror(-5012), "unknown error");
	CU_ASSERT_STRING_EQUAL(ob__strerror(1), "unknown error");
	CU_ASSERT_STRING_EQUAL(ob__strerror(INT_MIN), "unknown error");
}

/* Each code has a sentence and a word of its own. */
static void test_distinct(void)
{
	for (int a = OB_RESULT_LAST; a <= OB_E_APP; a++) {
		CU_ASSERT_STRING_NOT_EQUAL(ob__strerror(a), "unknown error");
		for (int b = a + 1; b <= OB_E_APP; b++) {
			CU_ASSERT_STRING_NOT_EQUAL(ob__strerror(a), ob__strerror(b));
			CU_ASSERT_STRING_NOT_EQUAL(ob__result_word(a), ob__result_word(b));
		}
	}
	for (int a = OB_E_LIMIT; a <= OB_E_STALE; a++) {
		CU_ASSERT_STRING_NOT_EQUAL(ob__strerror(a), "unknown error");
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("err", NULL, NULL);
	CU_add_test(s, "results", test_results);
	CU_add_test(s, "sentences", test_sentences);
	CU_add_test(s, "distinct", test_distinct);
	return ob__tap_run();
}
