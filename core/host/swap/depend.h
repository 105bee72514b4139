/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Interfaces between modules: who provides what others need.
 *
 * Pure: takes the modules as they would be after a transaction, says whether every need is met and
 * in which order they start: always the first, as given, of those whose needs have started.
 *
 * A need is met by another module's interface of the same name and major number whose minor number
 * is no lower.  One that is optional and not met is no fault; where it is met it counts for the
 * order, unless that would lead round in a circle.
 */

#ifndef OB__DEPEND_H
#define OB__DEPEND_H

#include <stddef.h>

#define OB__DEPEND_INTERFACES 16u /* words in a list */
#define OB__DEPEND_NAME       40u /* characters of an interface's name, [a-z0-9_.-] */

struct ob__depend {
	const char *name;     /* of the module */
	const char *provides; /* "rank/2.1 audit/1", or NULL */
	const char *needs;    /* "kv/1 ?metrics/1", or NULL */
};

struct ob__depend_fault {
	size_t item;      /* which module */
	const char *code; /* "syntax", "twice", "missing", "major", "minor", "cycle", "memory" */
	char found[160];
	char expected[160];
	char text[256];
};

/* Writes the order (indices) into order[0..len).  0, or -1 with *fault filled. */
int ob__depend_order(const struct ob__depend *items, size_t len, size_t *order,
                     struct ob__depend_fault *fault);

#endif
