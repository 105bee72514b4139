/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "cmd/cmd.h"
#include "host/exit.h"

int ob__cmd_lint(int argc, char **argv)
{
	fprintf(stderr, "usage: obhost lint [-c CONF.json] FILE.so...\n");
	return OB__EXIT_USAGE;
}
