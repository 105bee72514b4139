/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "tap.h"

#include <CUnit/CUnit.h>
#include <CUnit/TestRun.h>
#include <stdio.h>
#include <unistd.h>

#define TEST_SECONDS 300

/* CUnit's handlers take no argument, so the run's state is here. */
static unsigned tap_number;
static int tap_status;

static void on_start(const CU_pTest test, const CU_pSuite suite)
{
	(void)test;
	(void)suite;
	alarm(TEST_SECONDS);
}

static void print_failures(const CU_pTest test, const CU_FailureRecord *failure)
{
	for (; failure; failure = failure->pNext) {
		if (failure->pTest != test) {
			continue;
		}
		printf("# %s:%u: %s\n", failure->strFileName ? failure->strFileName : "?",
		       failure->uiLineNumber, failure->strCondition ? failure->strCondition : "?");
	}
}

static void on_complete(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord failure)
{
	alarm(0);
	printf("%s %u - %s: %s\n", failure ? "not ok" : "ok", ++tap_number, suite->pName,
	       test->pName);
	print_failures(test, failure);
	fflush(stdout);
}

/* The tests of such a suite do not run; each counts as failed, so that the plan holds. */
static void on_suite_init_failure(const CU_pSuite suite)
{
	for (CU_pTest test = suite->pTest; test; test = test->pNext) {
		printf("not ok %u - %s: %s\n# the suite's set-up failed\n", ++tap_number,
		       suite->pName, test->pName);
	}
	fflush(stdout);
}

static void on_suite_cleanup_failure(const CU_pSuite suite)
{
	printf("# %s: the suite's clean-up failed\n", suite->pName);
	tap_status = 1;
}

int ob__tap_run(void)
{
	if (!CU_registry_initialized() || CU_get_error() != CUE_SUCCESS) {
		printf("Bail out! CUnit: %s\n", CU_get_error_msg());
		return 1;
	}
	unsigned total = CU_get_registry()->uiNumberOfTests;
	if (total == 0) {
		printf("Bail out! no tests\n");
		return 1;
	}

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..%u\n", total);
	CU_set_test_start_handler(on_start);
	CU_set_test_complete_handler(on_complete);
	CU_set_suite_init_failure_handler(on_suite_init_failure);
	CU_set_suite_cleanup_failure_handler(on_suite_cleanup_failure);
	CU_set_error_action(CUEA_IGNORE);
	CU_run_all_tests();
	CU_cleanup_registry();
	return tap_status;
}
