/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Interfaces between modules: who provides what others need.
 *
 * Pure: takes the modules as they would be after a transaction, says whether every need is met and
 * in which order they start (each after what it needs; otherwise as given).
 */

#ifndef OB__DEPEND_H
#define OB__DEPEND_H

#include <stddef.h>

struct ob__depend {
	const char *name;
	const char *provides; /* "rank/2.1 audit/1", or NULL */
	const char *needs;    /* "kv/1 ?metrics/1", or NULL */
};

struct ob__depend_fault {
	size_t item;      /* which module */
	const char *code; /* "syntax", "missing", "major", "minor", "cycle", "twice" */
	char found[160];
	char expected[160];
	char text[256];
};

/* Writes the order (indices) into order[0..len).  0, or -1 with *fault filled. */
int ob__depend_order(const struct ob__depend *items, size_t len, size_t *order,
                     struct ob__depend_fault *fault);

#endif
