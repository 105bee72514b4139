/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* A shared object that is no module. */

extern int library_answer(void);

int library_answer(void)
{
	return 42;
}
