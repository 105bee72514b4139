/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to base/conf: what its files share.
 *
 * conf.c loads, finds and reads; conf_schema.c checks a tree against its rows; conf_secret.c reads
 * the files of secrets; conf_show.c shows a tree without its secrets, and the rows as the
 * reference.
 */

#ifndef OB__CONF_PRIV_H
#define OB__CONF_PRIV_H

#include "base/conf.h"
#include "base/conf_scan.h"

struct ob__conf {
	char *file; /* its name in reports */
	char *home; /* the file beside which relative ones are, or NULL: `file` */
	char *text; /* as it was read; not terminated */
	size_t len;
	json_t *root;
	struct ob__scan scan;
};

/* The row of a member of what the row path `parent` stands for ("" for the top): "parent.key", or
 * NULL.  For an OBJECT; the values of a MAP have the row of ob__conf_values_row(). */
const struct ob__conf_row *ob__conf_member_row(const struct ob__conf_row *rows, const char *parent,
                                               const char *key);
const struct ob__conf_row *ob__conf_values_row(const struct ob__conf_row *rows, const char *parent);
const struct ob__conf_row *ob__conf_items_row(const struct ob__conf_row *rows, const char *parent);

/* If `path` is directly below `parent`, its last word; else NULL.  "*" and "[]" are no words. */
const char *ob__conf_word_below(const char *path, const char *parent);

/* What a row takes, for people: "an integer from 1 to 65535". 0 or -ENOMEM. */
int ob__conf_expected(const struct ob__conf_row *row, struct ob__buf *out);

/* The secret in a file of at most 4 KiB, a final newline trimmed, as a new reference; a relative
 * path is looked for beside the configuration file.  `note` is then empty or a warning; with NULL
 * it says what is wrong. */
json_t *ob__conf_secret_read(const char *conf_file, const char *path, char *note, size_t note_cap);

/* "64k" or 65536 as bytes, or -1. */
int64_t ob__conf_size(const json_t *value);

#endif
