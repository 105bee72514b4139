/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "host/exit.h"

#define PROGRAM "obhost-swap-test"

/* The load client is no part of a node, so it is a program of its own. */
int ob__cmd_swap_test(int argc, char **argv)
{
	char self[PATH_MAX];
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	if (n <= 0 || ob__command_program(path, "tools/" PROGRAM, PROGRAM) != 0) {
		fprintf(stderr, "obhost swap-test: " PROGRAM " is not in " OB_LIBEXEC_DIR
		                "; it comes with obhost's development package\n");
		return OB__EXIT_FAILURE;
	}
	setenv("OBHOST", self, 1);
	execv(path, argv);
	fprintf(stderr, "obhost swap-test: %s: %s\n", path, strerror(errno));
	return OB__EXIT_FAILURE;
}
