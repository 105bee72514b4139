/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * A configuration file of any bytes.  The scanner writes nothing but blanks, finds nothing more to
 * blank in what it has blanked, and leaves JSON that jansson agrees with; each value of the tree
 * has a line; every report is one printable line; a masked tree shows no secret.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/conf_scan.h"
#include "t/fuzz/fuzz.h"

static const struct ob__conf_row rows[] = {
	{.path = "name", .type = OB__CONF_STRING, .flags = OB__CONF_REQUIRED},
	{.path = "log_level", .type = OB__CONF_STRING, .words = "debug|info|error"},
	{.path = "api_path", .type = OB__CONF_STRING, .flags = OB__CONF_IGNORED},
	{.path = "http", .type = OB__CONF_OBJECT},
	{.path = "http.port", .type = OB__CONF_INT, .min = 1, .max = 65535},
	{.path = "http.token", .type = OB__CONF_SECRET},
	{.path = "http.encode", .type = OB__CONF_BOOL},
	{.path = "timeout", .type = OB__CONF_SECONDS},
	{.path = "size", .type = OB__CONF_SIZE, .min = 1, .max = 1 << 20},
	{.path = "range", .type = OB__CONF_MAP},
	{.path = "range.*", .type = OB__CONF_LIST},
	{.path = "range.*[]", .type = OB__CONF_PAIR},
	{.path = "modules", .type = OB__CONF_LIST},
	{.path = "modules[]", .type = OB__CONF_OBJECT, .flags = OB__CONF_STRING_OK},
	{.path = "modules[].name", .type = OB__CONF_STRING, .flags = OB__CONF_REQUIRED},
	{.path = "modules[].conf", .type = OB__CONF_ANY},
	{.path = "tokens", .type = OB__CONF_MAP},
	{.path = "tokens.*", .type = OB__CONF_LIST, .flags = OB__CONF_STRING_OK},
	{.path = "tokens.*[]", .type = OB__CONF_SECRET},
	{0},
};

static int reports;

static void on_report(void *arg, enum ob__conf_severity severity, const char *line)
{
	(void)arg;
	CHECK(severity == OB__CONF_ERROR || severity == OB__CONF_WARNING ||
	      severity == OB__CONF_INFO);
	CHECK(strncmp(line, "dir/f:", 6) == 0);
	for (const char *p = line; *p; p++) {
		CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
	}
	reports++;
}

/* ---------------------------------------------------------------- the scanner */

static void check_nodes(const struct ob__scan *s, size_t len)
{
	CHECK(s->len > 0 && s->nodes[0].next == s->len);
	for (size_t i = 0; i < s->len; i++) {
		const struct ob__scan_node *n = &s->nodes[i];
		CHECK(n->off < len && n->line >= 1);
		CHECK(n->next > i && n->next <= s->len);
		CHECK(i == 0 || (n->off > n[-1].off && n->line >= n[-1].line));
		CHECK(ob__scan_at(s, n->off) == i);
	}
}

/* Blanked again, nothing changes any more. */
static void check_again(const struct ob__scan *s, const char *text, size_t len)
{
	struct ob__scan again;
	char *copy = malloc(len + 1);
	CHECK(copy);
	memcpy(copy, text, len);
	CHECK(ob__scan_run(&again, copy, len) == 0);
	CHECK(memcmp(copy, text, len) == 0);
	CHECK(again.len == s->len);
	for (size_t i = 0; i < s->len; i++) {
		CHECK(again.nodes[i].off == s->nodes[i].off);
		CHECK(again.nodes[i].line == s->nodes[i].line);
	}
	ob__scan_free(&again);
	free(copy);
}

/* jansson refuses only what the scanner does not look at. */
static void check_json(const char *text, size_t len)
{
	json_error_t error;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!root) {
		enum json_error_code code = json_error_code(&error);
		CHECK(code == json_error_duplicate_key || code == json_error_numeric_overflow ||
		      strstr(error.text, "invalid Unicode"));
	}
	json_decref(root);
}

static void check_scan(const uint8_t *data, size_t len)
{
	struct ob__scan s;
	char *text = malloc(len ? len : 1);
	CHECK(text);
	if (len > 0) {
		memcpy(text, data, len);
	}
	int err = ob__scan_run(&s, text, len);
	for (size_t i = 0; i < len; i++) {
		CHECK(text[i] == (char)data[i] || (text[i] == ' ' && data[i] != '\n'));
	}
	if (err == 0) {
		check_nodes(&s, len);
		check_again(&s, text, len);
		check_json(text, len);
	} else {
		CHECK(s.err[0] != '\0' && s.err_line >= 1);
	}
	ob__scan_free(&s);
	free(text);
}

/* ---------------------------------------------------------------- the tree */

static void check_lines(const struct ob__conf *c, const json_t *value, struct ob__buf *path,
                        int *last)
{
	size_t len = path->len;
	const char *key;
	size_t index;
	json_t *child;
	CHECK(ob__buf_append(path, "", 1) == 0);
	int line = ob__conf_line(c, (const char *)path->data);
	CHECK(line >= *last);
	*last = line;
	CHECK(ob__conf_get(ob__conf_root(c), (const char *)path->data) == value);
	path->len = len;
	json_object_foreach ((json_t *)value, key, child) {
		CHECK(ob__path_key(path, key, strlen(key)) == 0);
		check_lines(c, child, path, last);
		path->len = len;
	}
	json_array_foreach (value, index, child) {
		CHECK(ob__path_item(path, index) == 0);
		check_lines(c, child, path, last);
		path->len = len;
	}
}

static void check_masked(const struct ob__conf *c)
{
	json_t *masked = ob__conf_masked(c, rows);
	CHECK(masked);
	const json_t *token = ob__conf_get(masked, "http.token");
	CHECK(!token || strcmp(json_string_value(token), "***") == 0);
	json_decref(masked);
}

static void check_conf(const uint8_t *data, size_t len)
{
	reports = 0;
	struct ob__conf *c = ob__conf_parse("dir/f", (const char *)data, len, on_report, NULL);
	if (!c) {
		CHECK(reports > 0);
		return;
	}
	CHECK(reports == 0);
	struct ob__buf path = {0};
	int last = 1;
	check_lines(c, ob__conf_root(c), &path, &last);
	ob__buf_free(&path);
	int errors = ob__conf_check(c, rows, on_report, NULL);
	CHECK(errors <= 0 || reports > 0);
	check_masked(c);
	ob__conf_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* The walk over all paths is quadratic; what it could find is in small files too. */
	if (len > 8192) {
		return 0;
	}
	check_scan(data, len);
	check_conf(data, len);
	return 0;
}
