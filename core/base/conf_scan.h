/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F1, and there to base/conf.  From JSON for people to plain JSON.
 *
 * The scanner walks the text once, as a JSON grammar would, and writes blanks over what jansson
 * does not know: //, block comments, trailing commas, a byte order mark.  Nothing moves, so every
 * offset and line stays true.  On its way it notes where each key and each list item begins, in
 * the order of the text, which is the order in which jansson keeps them: so a walk of the tree can
 * be accompanied by a walk of the notes, and no path is ever stored.
 *
 * It is also the one who says what is wrong with the text, because it can say what was expected.
 */

#ifndef OB__CONF_SCAN_H
#define OB__CONF_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

#define OB__SCAN_DEPTH 32 /* objects and lists within each other */

struct ob__scan_node {
	uint32_t off;  /* of the key's opening quote, or of the item; the first node is the root */
	uint32_t line; /* from 1 */
	uint32_t next; /* the first node behind this one and all that is in it */
	bool keyed;    /* a member of an object, not an item of a list */
};

struct ob__scan {
	struct ob__scan_node *nodes; /* owned */
	size_t len;
	size_t cap;
	int err_line;  /* after a failure */
	char err[200]; /* after a failure: a sentence of printable characters */
};

/* Blanks text[0..len) in place and fills `s`, which need not be initialised.  0, -EINVAL with
 * err_line and err, or -ENOMEM.  Free `s` in any case. */
int ob__scan_run(struct ob__scan *s, char *text, size_t len);
void ob__scan_free(struct ob__scan *s);

/* The innermost node that begins at or before `off`. */
size_t ob__scan_at(const struct ob__scan *s, size_t off);

/* Appends the path of `node` with keys as they are written in the text. 0 or -ENOMEM. */
int ob__scan_path(const struct ob__scan *s, const char *text, size_t node, struct ob__buf *out);

/* Whether a key may stand in a path as it is. */
bool ob__path_plain(const char *key, size_t len);

/* Appends a member to a path: ".key", or ["key"] when it holds what has a meaning in paths; and
 * an item: "[3]". 0 or -ENOMEM. */
int ob__path_key(struct ob__buf *path, const char *key, size_t len);
int ob__path_item(struct ob__buf *path, size_t index);

#endif
