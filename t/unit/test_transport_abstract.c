/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The example transport_abstract, in a mock host. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CUnit/CUnit.h>
#include <obhost/mock.h>

#include "tap.h"

OB_EXTERN const ob_module_desc ob_module; /* of examples/transport_abstract/transport_abstract.c */

static ob_mock *begin(void)
{
	ob_mock *m = ob_mock_new(&ob_module, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_EQUAL_FATAL(ob_mock_begin(m), 0);
	return m;
}

static void test_connects(void)
{
	ob_mock *m = begin();
	char name[64];
	char text[8] = "";
	ob_err err;
	int door;
	int there;

	const ob_transport *t = ob_mock_transport_at(m, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_STRING_EQUAL(t->name, "abstract");
	CU_ASSERT_EQUAL(t->flags, OB_TRANSPORT_LOCAL);
	CU_ASSERT_PTR_NULL(ob_mock_transport_at(m, 1));
	CU_ASSERT_EQUAL(ob_mock_registered(m), 1);

	snprintf(name, sizeof(name), "obhost-test-%ld", (long)getpid());
	CU_ASSERT_EQUAL(ob_mock_socket(m, "abstract", name, false, &there, &err), -ECONNREFUSED);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "nobody answers"));
	CU_ASSERT_EQUAL_FATAL(ob_mock_socket(m, "abstract", name, true, &door, &err), 0);
	CU_ASSERT_EQUAL(ob_mock_socket(m, "abstract", name, true, &there, &err), -EADDRINUSE);
	CU_ASSERT_EQUAL(listen(door, 1), 0);
	CU_ASSERT_EQUAL_FATAL(ob_mock_socket(m, "abstract", name, false, &there, &err), 0);
	int here = accept(door, NULL, NULL);
	CU_ASSERT_TRUE(here >= 0);
	CU_ASSERT_EQUAL(write(there, "hello", 5), 5);
	CU_ASSERT_EQUAL(read(here, text, sizeof(text)), 5);
	CU_ASSERT_STRING_EQUAL(text, "hello");
	close(here);
	close(there);
	close(door);
	ob_mock_free(m);
}

static void test_names(void)
{
	static const struct {
		size_t len;
		int says;
	} rows[] = {{0, OB_E_INVAL}, {1, 0}, {107, 0}, {108, OB_E_INVAL}};
	ob_mock *m = begin();
	char name[128];
	ob_err err;
	int fd;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(name, 'x', sizeof(name));
		name[rows[i].len] = '\0';
		int says = ob_mock_transport_at(m, 0)->check(ob_mock_ctx(m), name, &err);
		CU_ASSERT_EQUAL(says, rows[i].says);
	}
	CU_ASSERT_EQUAL(ob_mock_socket(m, "other", "x", false, &fd, &err), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_mock_socket(m, "abstract", "", false, &fd, &err), OB_E_INVAL);
	CU_ASSERT_EQUAL(fd, -1);
	ob_mock_free(m);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("transport_abstract", NULL, NULL);
	CU_add_test(s, "sockets that are connected to each other", test_connects);
	CU_add_test(s, "names", test_names);
	return ob__tap_run();
}
