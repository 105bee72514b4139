/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Exit codes of the process, as in the man page.
 */

#ifndef OB__EXIT_H
#define OB__EXIT_H

enum ob__exit {
	OB__EXIT_OK = 0,
	OB__EXIT_FAILURE = 1, /* could not start or run: a busy port, a module refused */
	OB__EXIT_USAGE = 2,   /* the command line or the configuration is wrong */
};

#endif
