/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/conf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/conf_priv.h"
#include "base/err.h"

#define REPORTS_MAX      100 /* of a severity; then only their number */
#define SUGGEST_MAX      64u /* bytes of a key that is compared with known ones */
#define SUGGEST_DISTANCE 2u
#define PAIR_MAX         INT64_C(0x7fffffff)
#define SECONDS_MAX      INT64_C(1000000000)

/* One run of ob__conf_check(). */
struct check {
	struct ob__conf *c;
	const struct ob__conf_row *rows;
	ob__conf_report report;
	void *arg;
	struct ob__buf path; /* of the value at hand, terminated by path_of() */
	int reports[3];      /* by severity */
};

/* A place in the tree, so that what stands there can be replaced. */
struct place {
	json_t *parent;
	const char *key; /* NULL: an item */
	size_t index;
};

static void check_value(struct check *k, const struct ob__conf_row *row, json_t *value,
                        struct place place);

/* ---------------------------------------------------------------- rows */

const char *ob__conf_word_below(const char *path, const char *parent)
{
	size_t len = strlen(parent);
	if (strncmp(path, parent, len) != 0) {
		return NULL;
	}
	path += len;
	if (len > 0 && *path++ != '.') {
		return NULL;
	}
	bool word = *path != '\0' && *path != '*' && !strpbrk(path, ".[");
	return word ? path : NULL;
}

const struct ob__conf_row *ob__conf_member_row(const struct ob__conf_row *rows, const char *parent,
                                               const char *key)
{
	for (; rows->path; rows++) {
		const char *word = ob__conf_word_below(rows->path, parent);
		if (word && strcmp(word, key) == 0) {
			return rows;
		}
	}
	return NULL;
}

/* The row whose path is `parent` and then `tail`. */
static const struct ob__conf_row *row_of(const struct ob__conf_row *rows, const char *parent,
                                         const char *tail)
{
	size_t len = strlen(parent);
	for (; rows->path; rows++) {
		if (strncmp(rows->path, parent, len) == 0 && strcmp(rows->path + len, tail) == 0) {
			return rows;
		}
	}
	return NULL;
}

const struct ob__conf_row *ob__conf_values_row(const struct ob__conf_row *rows, const char *parent)
{
	return row_of(rows, parent, *parent ? ".*" : "*");
}

const struct ob__conf_row *ob__conf_items_row(const struct ob__conf_row *rows, const char *parent)
{
	return row_of(rows, parent, "[]");
}

/* ---------------------------------------------------------------- saying what is wrong */

static const char *path_of(struct check *k)
{
	if (ob__buf_append(&k->path, "", 1) != 0) {
		return "";
	}
	k->path.len--;
	return (const char *)k->path.data;
}

static void __attribute__((format(printf, 3, 4)))
complain(struct check *k, enum ob__conf_severity severity, const char *fmt, ...)
{
	if (k->reports[severity]++ >= REPORTS_MAX) {
		return;
	}
	char reason[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	ob__conf_complain(k->c, k->report, k->arg, severity, path_of(k), "%s", reason);
}

/* Goes down to a member or an item; up() takes it back. */
static size_t down_key(struct check *k, const char *key)
{
	size_t len = k->path.len;
	ob__path_key(&k->path, key, strlen(key));
	return len;
}

static size_t down_item(struct check *k, size_t index)
{
	size_t len = k->path.len;
	ob__path_item(&k->path, index);
	return len;
}

static void up(struct check *k, size_t len)
{
	k->path.len = len;
}

static int put_bounds(const struct ob__conf_row *row, const char *what, struct ob__buf *out)
{
	if (row->min == 0 && row->max == 0) {
		return ob__buf_printf(out, "%s", what);
	}
	return ob__buf_printf(out, "%s from %" PRId64 " to %" PRId64, what, row->min, row->max);
}

static int put_words(const char *words, struct ob__buf *out)
{
	int err = ob__buf_printf(out, "one of \"");
	for (; *words && err == 0; words++) {
		err = *words == '|' ? ob__buf_append(out, "\", \"", 4)
		                    : ob__buf_append(out, words, 1);
	}
	return err ? err : ob__buf_append(out, "\"", 1);
}

int ob__conf_expected(const struct ob__conf_row *row, struct ob__buf *out)
{
	bool or_one = row->flags & OB__CONF_STRING_OK;
	switch (row->type) {
	case OB__CONF_STRING:
		return row->words ? put_words(row->words, out) : ob__buf_printf(out, "a string");
	case OB__CONF_INT:
		return put_bounds(row, "an integer", out);
	case OB__CONF_BOOL:
		return ob__buf_printf(out, "true or false");
	case OB__CONF_SECONDS:
		if (row->min == 0 && row->max == 0) {
			return ob__buf_printf(out, "seconds, 0 or more");
		}
		return put_bounds(row, "seconds", out);
	case OB__CONF_SIZE:
		return put_bounds(row, "a size like 65536, \"64k\" or \"16m\"", out);
	case OB__CONF_OBJECT:
		return ob__buf_printf(out, or_one ? "an object or a string" : "an object");
	case OB__CONF_MAP:
		return ob__buf_printf(out, "an object");
	case OB__CONF_LIST:
		return ob__buf_printf(out, or_one ? "a list or one item of it" : "a list");
	case OB__CONF_PAIR:
		return ob__buf_printf(out, "[low, high] with 0 <= low <= high <= %" PRId64,
		                      PAIR_MAX);
	case OB__CONF_SECRET:
		return ob__buf_printf(out, "a string or {\"file\": PATH}");
	case OB__CONF_ANY:
		break;
	}
	return ob__buf_printf(out, "anything");
}

/* What a value is; a string only where the schema has words for it, as others may be secrets. */
static void describe(const struct ob__conf_row *row, const json_t *value, char *out, size_t cap)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		snprintf(out, cap, "an object");
		return;
	case JSON_ARRAY:
		snprintf(out, cap, "a list of %zu", json_array_size(value));
		return;
	case JSON_STRING:
		if (row->words || row->type == OB__CONF_SIZE) {
			snprintf(out, cap, "\"%.40s\"", json_string_value(value));
		} else {
			snprintf(out, cap, "a string");
		}
		return;
	case JSON_INTEGER:
		snprintf(out, cap, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return;
	case JSON_REAL:
		snprintf(out, cap, "%g", json_real_value(value));
		return;
	case JSON_TRUE:
	case JSON_FALSE:
		snprintf(out, cap, json_is_true(value) ? "true" : "false");
		return;
	case JSON_NULL:
		break;
	}
	snprintf(out, cap, "null");
}

static void mismatch(struct check *k, const struct ob__conf_row *row, const json_t *value)
{
	char found[128];
	struct ob__buf expected = {0};
	describe(row, value, found, sizeof(found));
	if (ob__conf_expected(row, &expected) == 0) {
		complain(k, OB__CONF_ERROR, "expected %.*s, found %s", (int)expected.len,
		         (const char *)expected.data, found);
	} else {
		complain(k, OB__CONF_ERROR, "%s", ob__strerror(-ENOMEM));
	}
	ob__buf_free(&expected);
}

/* ---------------------------------------------------------------- unknown keys */

/* As people mix them up: case, - for _. */
static char fold(char ch)
{
	return ch == '-' ? '_' : (char)tolower((unsigned char)ch);
}

size_t ob__conf_distance(const char *a, const char *b)
{
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);
	if (a_len > SUGGEST_MAX || b_len > SUGGEST_MAX) {
		return SIZE_MAX;
	}
	size_t row[SUGGEST_MAX + 1];
	for (size_t j = 0; j <= b_len; j++) {
		row[j] = j;
	}
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t best = diagonal + (fold(a[i - 1]) != fold(b[j - 1]));
			best = row[j] + 1 < best ? row[j] + 1 : best;
			best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[b_len];
}

/* The known key that `key` was probably meant to be, or NULL.  A word of two letters is near to
 * any other, so some letter has to be in its place. */
static const char *suggest(const struct check *k, const char *parent, const char *key)
{
	const char *best = NULL;
	size_t best_distance = SUGGEST_DISTANCE + 1;
	for (const struct ob__conf_row *row = k->rows; row->path; row++) {
		const char *word = ob__conf_word_below(row->path, parent);
		size_t d = word ? ob__conf_distance(key, word) : SIZE_MAX;
		if (d < best_distance && d < strlen(key) && d < strlen(word)) {
			best = word;
			best_distance = d;
		}
	}
	return best;
}

static void check_unknown(struct check *k, const char *parent, const char *key)
{
	const char *meant = suggest(k, parent, key);
	if (meant) {
		complain(k, OB__CONF_ERROR, "unknown key; did you mean \"%s\"?", meant);
	} else {
		complain(k, OB__CONF_WARNING, "unknown key, left to modules");
	}
}

/* ---------------------------------------------------------------- values without members */

static bool word_allowed(const char *words, const char *s)
{
	size_t len = strlen(s);
	while (len > 0 && *words) {
		size_t n = strcspn(words, "|");
		if (n == len && memcmp(words, s, n) == 0) {
			return true;
		}
		words += n + (words[n] == '|');
	}
	return false;
}

static bool in_bounds(const struct ob__conf_row *row, double value)
{
	return (row->min == 0 && row->max == 0) ||
	       (value >= (double)row->min && value <= (double)row->max);
}

static bool integer_ok(const struct ob__conf_row *row, int64_t value)
{
	return (row->min == 0 && row->max == 0) || (value >= row->min && value <= row->max);
}

static bool seconds_ok(const struct ob__conf_row *row, const json_t *value)
{
	double n = json_number_value(value);
	return json_is_number(value) && n >= 0 && n <= (double)SECONDS_MAX && in_bounds(row, n);
}

static bool pair_ok(const json_t *value)
{
	const json_t *lo = json_array_get(value, 0);
	const json_t *hi = json_array_get(value, 1);
	return json_array_size(value) == 2 && json_is_integer(lo) && json_is_integer(hi) &&
	       json_integer_value(lo) >= 0 && json_integer_value(lo) <= json_integer_value(hi) &&
	       json_integer_value(hi) <= PAIR_MAX;
}

static bool scalar_ok(const struct ob__conf_row *row, const json_t *value)
{
	switch (row->type) {
	case OB__CONF_STRING:
		return json_is_string(value) &&
		       (!row->words || word_allowed(row->words, json_string_value(value)));
	case OB__CONF_INT:
		return json_is_integer(value) && integer_ok(row, json_integer_value(value));
	case OB__CONF_BOOL:
		return json_is_boolean(value) ||
		       (json_is_integer(value) && json_integer_value(value) >= 0 &&
		        json_integer_value(value) <= 1);
	case OB__CONF_SECONDS:
		return seconds_ok(row, value);
	case OB__CONF_SIZE:
		return ob__conf_size(value) >= 0 && integer_ok(row, ob__conf_size(value));
	case OB__CONF_PAIR:
		return pair_ok(value);
	default:
		return true;
	}
}

/* ---------------------------------------------------------------- secrets */

static void check_secret(struct check *k, const struct ob__conf_row *row, json_t *value,
                         struct place place)
{
	if (json_is_string(value)) {
		return;
	}
	const char *file = json_string_value(json_object_get(value, "file"));
	if (!file || json_object_size(value) != 1) {
		mismatch(k, row, value);
		return;
	}
	char note[512];
	const char *home = k->c->home ? k->c->home : k->c->file;
	json_t *secret = ob__conf_secret_read(home, file, note, sizeof(note));
	if (!secret) {
		complain(k, OB__CONF_ERROR, "%s", note);
		return;
	}
	if (note[0]) {
		complain(k, OB__CONF_WARNING, "%s", note);
	}
	int err = place.key ? json_object_set_new(place.parent, place.key, secret)
	                    : json_array_set_new(place.parent, place.index, secret);
	if (err != 0) {
		complain(k, OB__CONF_ERROR, "%s", ob__strerror(-ENOMEM));
	}
}

/* ---------------------------------------------------------------- values with members */

static void check_required(struct check *k, const char *parent, const json_t *object)
{
	for (const struct ob__conf_row *row = k->rows; row->path; row++) {
		const char *word = ob__conf_word_below(row->path, parent);
		if (!word || !(row->flags & OB__CONF_REQUIRED) || json_object_get(object, word)) {
			continue;
		}
		size_t len = down_key(k, word);
		complain(k, OB__CONF_ERROR, "missing");
		up(k, len);
	}
}

static void check_object(struct check *k, const char *parent, json_t *object)
{
	const char *key;
	json_t *value;
	check_required(k, parent, object);
	json_object_foreach (object, key, value) {
		const struct ob__conf_row *row = ob__conf_member_row(k->rows, parent, key);
		size_t len = down_key(k, key);
		if (row) {
			check_value(k, row, value, (struct place){.parent = object, .key = key});
		} else {
			check_unknown(k, parent, key);
		}
		up(k, len);
	}
}

static void check_map(struct check *k, const struct ob__conf_row *map, json_t *object)
{
	const struct ob__conf_row *row = ob__conf_values_row(k->rows, map->path);
	const char *key;
	json_t *value;
	if (!row) {
		return;
	}
	json_object_foreach (object, key, value) {
		size_t len = down_key(k, key);
		check_value(k, row, value, (struct place){.parent = object, .key = key});
		up(k, len);
	}
}

static void check_list(struct check *k, const struct ob__conf_row *list, json_t *value,
                       struct place place)
{
	const struct ob__conf_row *row = ob__conf_items_row(k->rows, list->path);
	size_t index;
	json_t *item;
	if (!row) {
		return;
	}
	if (!json_is_array(value)) {
		check_value(k, row, value, place);
		return;
	}
	json_array_foreach (value, index, item) {
		size_t len = down_item(k, index);
		check_value(k, row, item, (struct place){.parent = value, .index = index});
		up(k, len);
	}
}

static void check_value(struct check *k, const struct ob__conf_row *row, json_t *value,
                        struct place place)
{
	bool or_one = row->flags & OB__CONF_STRING_OK;
	if (row->flags & OB__CONF_IGNORED) {
		complain(k, OB__CONF_INFO, "ignored, it has no meaning here");
		return;
	}
	if (row->type == OB__CONF_SECRET) {
		check_secret(k, row, value, place);
	} else if (row->type == OB__CONF_LIST && (json_is_array(value) || or_one)) {
		check_list(k, row, value, place);
	} else if (row->type == OB__CONF_OBJECT && json_is_object(value)) {
		check_object(k, row->path, value);
	} else if (row->type == OB__CONF_MAP && json_is_object(value)) {
		check_map(k, row, value);
	} else if (row->type == OB__CONF_OBJECT && or_one && json_is_string(value)) {
		return;
	} else if (row->type == OB__CONF_LIST || row->type == OB__CONF_OBJECT ||
	           row->type == OB__CONF_MAP || !scalar_ok(row, value)) {
		mismatch(k, row, value);
	}
}

int ob__conf_check(struct ob__conf *c, const struct ob__conf_row *rows, ob__conf_report report,
                   void *arg)
{
	struct check k = {.c = c, .rows = rows, .report = report, .arg = arg};
	check_object(&k, "", c->root);
	for (int i = OB__CONF_ERROR; i <= OB__CONF_INFO; i++) {
		if (k.reports[i] > REPORTS_MAX) {
			ob__conf_complain(c, report, arg, i, "", "and %d more of these",
			                  k.reports[i] - REPORTS_MAX);
		}
	}
	ob__buf_free(&k.path);
	return k.reports[OB__CONF_ERROR];
}
