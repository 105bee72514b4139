/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F1.  A configuration file: JSON for people.
 *
 * A scanner blanks //, block comments and trailing commas in place (so offsets stay true) and
 * records at which line each path begins; jansson parses what is left.  ${NAME} in strings is
 * replaced from the environment ($${ for a literal "${").  A schema, one row per key, is checked
 * as a whole: all errors come out at once, each as
 *
 *     FILE:LINE: path.to.key: reason
 *
 * The schema's rows also write the configuration reference, so a key without documentation can't
 * exist.
 */

#ifndef OB__CONF_H
#define OB__CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "lib/buf.h"

#define OB__CONF_FILE_MAX (4u << 20) /* bytes; a longer file is refused */

enum ob__conf_type {
	OB__CONF_STRING = 1,
	OB__CONF_INT,
	OB__CONF_BOOL,    /* true, false; 0 and 1 are taken too, as the seed writes flags */
	OB__CONF_SECONDS, /* a number, fractions allowed, >= 0 */
	OB__CONF_SIZE,    /* an integer, or "64k", "16m", "1g" */
	OB__CONF_OBJECT,  /* keys are other rows */
	OB__CONF_MAP,     /* any keys; the values are row "path.*" */
	OB__CONF_LIST,    /* the items are row "path[]" */
	OB__CONF_PAIR,    /* [lo, hi], 0 <= lo <= hi <= 2^31-1 */
	OB__CONF_SECRET,  /* a string, or {"file": PATH}; masked wherever it is shown */
	OB__CONF_ANY,     /* not looked into */
};

enum ob__conf_flag {
	OB__CONF_REQUIRED = 1u << 0,  /* if its parent is there */
	OB__CONF_IGNORED = 1u << 1,   /* the seed's; one info line says so */
	OB__CONF_STRING_OK = 1u << 2, /* an OBJECT that may be a plain string instead; a LIST that
	                                 may be its one item instead */
};

struct ob__conf_row {
	const char *path; /* "rpc.route.range.*[]" */
	enum ob__conf_type type;
	uint32_t flags;
	int64_t min; /* INT, SIZE (bytes) and SECONDS (whole); min == max == 0: no bounds */
	int64_t max;
	const char *words; /* STRING: the only words allowed, "a|b|c"; NULL: any */
	const char *dflt;  /* as text for the reference; NULL: none */
	const char *doc;   /* one sentence */
};

enum ob__conf_severity { OB__CONF_ERROR, OB__CONF_WARNING, OB__CONF_INFO };

/* `line` ends without a newline and holds no control characters. */
typedef void (*ob__conf_report)(void *arg, enum ob__conf_severity severity, const char *line);

struct ob__conf; /* a loaded file: the tree, and the line of each path */

/* Reads and parses.  NULL on failure; then what is wrong went to `report`: the one syntax error, or
 * each variable of the environment that is not set. */
struct ob__conf *ob__conf_load(const char *file, ob__conf_report report, void *arg);

/* As above from memory; `file` is only the name in errors.  The fuzz target's door. */
struct ob__conf *ob__conf_parse(const char *file, const char *text, size_t len,
                                ob__conf_report report, void *arg);

void ob__conf_free(struct ob__conf *c);

/* What a relative file name in it is relative to is `file`, not the file that was read: for a copy
 * that lies elsewhere.  0 or -ENOMEM. */
int ob__conf_set_home(struct ob__conf *c, const char *file);

/* How many letters two words differ by (Levenshtein; case and - for _ don't count); SIZE_MAX for
 * long ones. */
size_t ob__conf_distance(const char *a, const char *b);

/* The text as it was read; not terminated, owned by the conf. */
const char *ob__conf_text(const struct ob__conf *c, size_t *len);

/* Checks against `rows` (ended by path NULL) and reports everything found, at most 100 lines of a
 * severity and then the number of the rest: unknown keys are warnings, or errors when within edit
 * distance 2 of a known one.  Secrets given as files (relative ones beside the configuration file)
 * are read and put in place.  Returns the number of errors. */
int ob__conf_check(struct ob__conf *c, const struct ob__conf_row *rows, ob__conf_report report,
                   void *arg);

/* The tree; owned by the conf. */
json_t *ob__conf_root(const struct ob__conf *c);

/* The line at which "path.to[2].key" begins, or 0.  In a path, a key that is empty or holds blanks
 * or any of .[]"\ is written ["like.this"]. */
int ob__conf_line(const struct ob__conf *c, const char *path);

/* Reports "FILE:LINE: PATH: text" for a check of the caller's own; where `path` is absent, the line
 * is that of the part of it which is there. */
void ob__conf_complain(const struct ob__conf *c, ob__conf_report report, void *arg,
                       enum ob__conf_severity severity, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

/* Readers for a checked tree; `path` as above, the default when absent. */
const json_t *ob__conf_get(const json_t *root, const char *path);
const char *ob__conf_str(const json_t *root, const char *path, const char *dflt);
int64_t ob__conf_int(const json_t *root, const char *path, int64_t dflt); /* INT and SIZE */
bool ob__conf_bool(const json_t *root, const char *path, bool dflt);
uint64_t ob__conf_ms(const json_t *root, const char *path, uint64_t dflt); /* SECONDS, in ms */

/* A deep copy with every SECRET row's value replaced by "***", and below ANY and unknown keys each
 * value whose key ends in token, tokens, secret, password or passwd.  New reference, or NULL. */
json_t *ob__conf_masked(const struct ob__conf *c, const struct ob__conf_row *rows);

/* The configuration reference as Markdown, one table row per schema row. 0 or -ENOMEM. */
int ob__conf_reference(const struct ob__conf_row *rows, struct ob__buf *out);

#endif
