/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/conf.h"

#include <string.h>

#include "base/conf_priv.h"

#define MASK "***"

/* ---------------------------------------------------------------- a tree without its secrets */

static int mask_value(const struct ob__conf_row *rows, const struct ob__conf_row *row,
                      json_t *value);

/* Where no row says what a value is, its name does. */
static bool sounds_secret(const char *key)
{
	static const char *const words[] = {"token", "tokens", "secret", "password", "passwd"};
	size_t len = strlen(key);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i]);
		if (len >= n && strcasecmp(key + len - n, words[i]) == 0) {
			return true;
		}
	}
	return false;
}

static bool is_secret(const struct ob__conf_row *row, const char *key)
{
	return row ? row->type == OB__CONF_SECRET : key && sounds_secret(key);
}

/* The row for the members of a value; NULL: none says anything about them. */
static const struct ob__conf_row *row_below(const struct ob__conf_row *rows,
                                            const struct ob__conf_row *row, const char *key)
{
	if (!row || row->type == OB__CONF_ANY) {
		return NULL;
	}
	return row->type == OB__CONF_MAP ? ob__conf_values_row(rows, row->path)
	                                 : ob__conf_member_row(rows, row->path, key);
}

static int mask_member(const struct ob__conf_row *rows, const struct ob__conf_row *row,
                       json_t *object, const char *key, json_t *value)
{
	if (is_secret(row, key)) {
		return json_object_set_new(object, key, json_string(MASK));
	}
	return mask_value(rows, row, value);
}

static int mask_list(const struct ob__conf_row *rows, const struct ob__conf_row *list,
                     json_t *value)
{
	const struct ob__conf_row *row = list ? ob__conf_items_row(rows, list->path) : NULL;
	size_t index;
	json_t *item;
	json_array_foreach (value, index, item) {
		int err = is_secret(row, NULL) ? json_array_set_new(value, index, json_string(MASK))
		                               : mask_value(rows, row, item);
		if (err != 0) {
			return err;
		}
	}
	return 0;
}

/* Everything below `value`; a list that is given as its one item has the row of its items. */
static int mask_value(const struct ob__conf_row *rows, const struct ob__conf_row *row,
                      json_t *value)
{
	const char *key;
	json_t *child;
	if (json_is_array(value)) {
		return mask_list(rows, row, value);
	}
	if (row && row->type == OB__CONF_LIST) {
		row = ob__conf_items_row(rows, row->path);
	}
	json_object_foreach (value, key, child) {
		const struct ob__conf_row *below = row_below(rows, row, key);
		if (below && below->type == OB__CONF_LIST && !json_is_array(child)) {
			below = ob__conf_items_row(rows, below->path);
		}
		int err = mask_member(rows, below, value, key, child);
		if (err != 0) {
			return err;
		}
	}
	return 0;
}

json_t *ob__conf_masked(const struct ob__conf *c, const struct ob__conf_row *rows)
{
	static const struct ob__conf_row top = {.path = "", .type = OB__CONF_OBJECT};
	json_t *copy = json_deep_copy(c->root);
	if (copy && mask_value(rows, &top, copy) != 0) {
		json_decref(copy);
		return NULL;
	}
	return copy;
}

/* ---------------------------------------------------------------- the reference */

/* Text in a cell of a table. */
static int put_cell(const char *text, size_t len, struct ob__buf *out)
{
	int err = 0;
	for (size_t i = 0; i < len && err == 0; i++) {
		if (text[i] == '|') {
			err = ob__buf_append(out, "\\", 1);
		}
		if (err == 0) {
			err = ob__buf_append(out, text + i, 1);
		}
	}
	return err;
}

static int put_row(const struct ob__conf_row *row, struct ob__buf *out)
{
	struct ob__buf type = {0};
	const char *doc = row->doc ? row->doc : "";
	int err = ob__conf_expected(row, &type);
	if (err == 0) {
		err = ob__buf_printf(out, "| `%s` | ", row->path);
	}
	if (err == 0) {
		err = put_cell((const char *)type.data, type.len, out);
	}
	if (err == 0 && row->flags & OB__CONF_REQUIRED) {
		err = ob__buf_printf(out, " | required | ");
	} else if (err == 0 && row->dflt) {
		err = ob__buf_printf(out, " | `%s` | ", row->dflt);
	} else if (err == 0) {
		err = ob__buf_printf(out, " | | ");
	}
	if (err == 0) {
		err = put_cell(doc, strlen(doc), out);
	}
	if (err == 0) {
		err = ob__buf_printf(out, "%s |\n",
		                     row->flags & OB__CONF_IGNORED ? " (ignored)" : "");
	}
	ob__buf_free(&type);
	return err;
}

int ob__conf_reference(const struct ob__conf_row *rows, struct ob__buf *out)
{
	int err = ob__buf_printf(out, "| key | value | default | meaning |\n|---|---|---|---|\n");
	for (; rows->path && err == 0; rows++) {
		err = put_row(rows, out);
	}
	return err;
}
