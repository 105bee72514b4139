/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/conf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf_priv.h"
#include "base/err.h"
#include "lib/io.h"

#define LINE_MAX_BYTES   1024
#define REASON_MAX_BYTES 480
#define ENV_NAME_MAX     128u
#define ENV_RESULT_MAX   65536u /* bytes of a string after its variables are in it */
#define MS_MAX           (UINT64_C(1000000000) * 1000)

/* ---------------------------------------------------------------- reports */

/* Whatever came from the file: a report is one line of printable characters. */
static void emit(ob__conf_report report, void *arg, enum ob__conf_severity severity, char *line)
{
	for (char *p = line; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f) {
			*p = '?';
		}
	}
	report(arg, severity, line);
}

static void __attribute__((format(printf, 7, 0)))
report_at(const char *file, int line, const char *path, enum ob__conf_severity severity,
          ob__conf_report report, void *arg, const char *fmt, va_list ap)
{
	char text[LINE_MAX_BYTES];
	char reason[REASON_MAX_BYTES];
	char where[16] = "";
	if (line > 0) {
		snprintf(where, sizeof(where), ":%d", line);
	}
	vsnprintf(reason, sizeof(reason), fmt, ap);
	snprintf(text, sizeof(text), "%.250s%s: %.250s%s%s", file, where, path, *path ? ": " : "",
	         reason);
	emit(report, arg, severity, text);
}

static void __attribute__((format(printf, 6, 7)))
complain_at(const char *file, int line, const char *path, ob__conf_report report, void *arg,
            const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	report_at(file, line, path, OB__CONF_ERROR, report, arg, fmt, ap);
	va_end(ap);
}

/* ---------------------------------------------------------------- paths */

/* Whether `path` begins with this key; *rest is then behind it. */
static bool key_matches(const char *path, const char *key, const char **rest)
{
	size_t len = strlen(key);
	if (*path != '[') {
		*rest = path + len;
		return ob__path_plain(key, len) && strncmp(path, key, len) == 0 &&
		       strchr(".[", path[len]);
	}
	struct ob__buf quoted = {0};
	bool matches = ob__path_key(&quoted, key, len) == 0 && quoted.data[0] == '[' &&
	               strncmp(path, (const char *)quoted.data, quoted.len) == 0;
	*rest = path + quoted.len;
	ob__buf_free(&quoted);
	return matches;
}

static const json_t *step_key(const json_t *object, const char *path, size_t *index,
                              const char **rest)
{
	const char *key;
	json_t *value;
	*index = 0;
	json_object_foreach ((json_t *)object, key, value) {
		if (key_matches(path, key, rest)) {
			return value;
		}
		(*index)++;
	}
	return NULL;
}

static const json_t *step_item(const json_t *list, const char *path, size_t *index,
                               const char **rest)
{
	if (path[0] != '[' || !isdigit((unsigned char)path[1])) {
		return NULL;
	}
	char *end;
	*index = strtoul(path + 1, &end, 10);
	if (*end != ']') {
		return NULL;
	}
	*rest = end + 1;
	return json_array_get(list, *index);
}

/* One step down from `value` along *path, which moves on; *index is the place among siblings. */
static const json_t *step(const json_t *value, const char **path, size_t *index)
{
	const char *rest = *path;
	const json_t *child =
		json_is_array(value)
			? step_item(value, *path, index, &rest)
			: step_key(value, **path == '.' ? *path + 1 : *path, index, &rest);
	if (child) {
		*path = rest;
	}
	return child;
}

const json_t *ob__conf_get(const json_t *root, const char *path)
{
	size_t index;
	while (root && *path) {
		root = step(root, &path, &index);
	}
	return root;
}

/* The line of the longest part of `path` that exists; *whole tells whether that is all of it. */
static int nearest_line(const struct ob__conf *c, const char *path, bool *whole)
{
	const struct ob__scan_node *nodes = c->scan.nodes;
	const json_t *value = c->root;
	size_t at = 0;
	size_t index;
	*whole = false;
	while (*path) {
		value = step(value, &path, &index);
		if (!value) {
			return (int)nodes[at].line;
		}
		size_t child = at + 1;
		while (index-- > 0 && child < nodes[at].next) {
			child = nodes[child].next;
		}
		if (child >= nodes[at].next) {
			return (int)nodes[at].line; /* put there later, not by the file */
		}
		at = child;
	}
	*whole = true;
	return (int)nodes[at].line;
}

int ob__conf_line(const struct ob__conf *c, const char *path)
{
	bool whole;
	int line = nearest_line(c, path, &whole);
	return whole ? line : 0;
}

void ob__conf_complain(const struct ob__conf *c, ob__conf_report report, void *arg,
                       enum ob__conf_severity severity, const char *path, const char *fmt, ...)
{
	bool whole;
	va_list ap;
	va_start(ap, fmt);
	report_at(c->file, nearest_line(c, path, &whole), path, severity, report, arg, fmt, ap);
	va_end(ap);
}

/* ---------------------------------------------------------------- variables of the environment */

struct env {
	const struct ob__conf *c;
	ob__conf_report report;
	void *arg;
	struct ob__buf path;
	int errors;
};

static const char *path_text(struct ob__buf *path)
{
	if (ob__buf_append(path, "", 1) != 0) {
		return "";
	}
	path->len--;
	return (const char *)path->data;
}

static void __attribute__((format(printf, 2, 3))) complain_env(struct env *e, const char *fmt, ...)
{
	char reason[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	ob__conf_complain(e->c, e->report, e->arg, OB__CONF_ERROR, path_text(&e->path), "%s",
	                  reason);
	e->errors++;
}

static bool env_name_ok(const char *name, size_t len)
{
	if (len == 0 || len >= ENV_NAME_MAX || isdigit((unsigned char)name[0])) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && name[i] != '_') {
			return false;
		}
	}
	return true;
}

/* Appends the value of the "${NAME}" at *s and moves *s behind it.  As expand(). */
static int put_variable(struct env *e, const char **s, struct ob__buf *out)
{
	const char *name = *s + 2;
	size_t len = strcspn(name, "}");
	if (name[len] != '}') {
		complain_env(e, "\"${\" without \"}\" (a literal \"${\" is written \"$${\")");
		return -EINVAL;
	}
	if (!env_name_ok(name, len)) {
		complain_env(e,
		             "\"${%.*s}\" is not the name of an environment variable "
		             "(a literal \"${\" is written \"$${\")",
		             len < 64 ? (int)len : 64, name);
		return -EINVAL;
	}
	char text[ENV_NAME_MAX];
	memcpy(text, name, len);
	text[len] = '\0';
	const char *value = getenv(text);
	if (!value) {
		complain_env(e, "the environment variable %s is not set", text);
		return -EINVAL;
	}
	*s = name + len + 1;
	return ob__buf_append(out, value, strlen(value));
}

/* 0, -EINVAL after a complaint, or -ENOMEM. */
static int expand(struct env *e, const char *s, struct ob__buf *out)
{
	int err = 0;
	while (*s && err == 0) {
		if (s[0] == '$' && s[1] == '{') {
			err = put_variable(e, &s, out);
		} else if (s[0] == '$' && s[1] == '$' && s[2] == '{') {
			err = ob__buf_append(out, "${", 2);
			s += 3;
		} else {
			err = ob__buf_append(out, s++, 1);
		}
		if (err == 0 && out->len > ENV_RESULT_MAX) {
			complain_env(e, "longer than %u bytes with its variables", ENV_RESULT_MAX);
			err = -EINVAL;
		}
	}
	return err;
}

static void expand_string(struct env *e, json_t *string)
{
	if (!strstr(json_string_value(string), "${")) {
		return;
	}
	struct ob__buf out = {0};
	int err = expand(e, json_string_value(string), &out);
	if (err == -ENOMEM) {
		complain_env(e, "%s", ob__strerror(err));
	} else if (err == 0 &&
	           json_string_setn(string, out.data ? (char *)out.data : "", out.len) != 0) {
		complain_env(e, "a variable in it is not valid UTF-8");
	}
	ob__buf_free(&out);
}

static void expand_tree(struct env *e, json_t *value)
{
	size_t len = e->path.len;
	const char *key;
	size_t index;
	json_t *child;
	if (json_is_string(value)) {
		expand_string(e, value);
	}
	json_object_foreach (value, key, child) {
		if (ob__path_key(&e->path, key, strlen(key)) == 0) {
			expand_tree(e, child);
		}
		e->path.len = len;
	}
	json_array_foreach (value, index, child) {
		if (ob__path_item(&e->path, index) == 0) {
			expand_tree(e, child);
		}
		e->path.len = len;
	}
}

static int expand_all(struct ob__conf *c, ob__conf_report report, void *arg)
{
	struct env e = {.c = c, .report = report, .arg = arg};
	expand_tree(&e, c->root);
	ob__buf_free(&e.path);
	return e.errors;
}

/* ---------------------------------------------------------------- loading */

/* jansson's word on what the scanner let pass: duplicate keys, numbers without bounds. */
static void complain_json(const struct ob__conf *c, const char *text, const json_error_t *error,
                          ob__conf_report report, void *arg)
{
	struct ob__buf path = {0};
	size_t off = error->position > 0 ? (size_t)error->position - 1 : 0;
	size_t node = ob__scan_at(&c->scan, off);
	if (ob__scan_path(&c->scan, text, node, &path) != 0) {
		path.len = 0;
	}
	/* Behind " near " stands what may be a secret. */
	const char *near = strstr(error->text, " near ");
	int len = near ? (int)(near - error->text) : (int)strlen(error->text);
	int line = (int)c->scan.nodes[node].line;
	switch (json_error_code(error)) {
	case json_error_duplicate_key:
		complain_at(c->file, line, path_text(&path), report, arg,
		            "this key is there twice");
		break;
	case json_error_numeric_overflow:
		complain_at(c->file, line, path_text(&path), report, arg,
		            "this number is too large");
		break;
	default:
		complain_at(c->file, line, path_text(&path), report, arg, "%.*s", len, error->text);
		break;
	}
	ob__buf_free(&path);
}

/* Blanks and parses `text`, which is the conf's to change. */
static int parse(struct ob__conf *c, char *text, size_t len, ob__conf_report report, void *arg)
{
	int err = ob__scan_run(&c->scan, text, len);
	if (err == -EINVAL) {
		complain_at(c->file, c->scan.err_line, "", report, arg, "%s", c->scan.err);
	} else if (err != 0) {
		complain_at(c->file, 0, "", report, arg, "%s", ob__strerror(err));
	}
	if (err != 0) {
		return err;
	}
	json_error_t error;
	c->root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!c->root) {
		complain_json(c, text, &error, report, arg);
		return -EINVAL;
	}
	return expand_all(c, report, arg) > 0 ? -EINVAL : 0;
}

static struct ob__conf *parse_owned(const char *file, char *text, size_t len,
                                    ob__conf_report report, void *arg)
{
	struct ob__conf *c = calloc(1, sizeof(*c));
	if (!c || !(c->file = strdup(file))) {
		complain_at(file, 0, "", report, arg, "%s", ob__strerror(-ENOMEM));
		goto out;
	}
	if (len > OB__CONF_FILE_MAX) {
		complain_at(file, 0, "", report, arg, "the file is longer than %u bytes",
		            OB__CONF_FILE_MAX);
		goto out;
	}
	c->text = malloc(len + 1);
	if (!c->text) {
		complain_at(file, 0, "", report, arg, "%s", ob__strerror(-ENOMEM));
		goto out;
	}
	if (len > 0) {
		memcpy(c->text, text, len);
	}
	c->len = len;
	if (parse(c, text, len, report, arg) != 0) {
		goto out;
	}
	return c;

out:
	ob__conf_free(c);
	return NULL;
}

struct ob__conf *ob__conf_parse(const char *file, const char *text, size_t len,
                                ob__conf_report report, void *arg)
{
	char *copy = malloc(len + 1);
	if (!copy) {
		complain_at(file, 0, "", report, arg, "%s", ob__strerror(-ENOMEM));
		return NULL;
	}
	if (len > 0) {
		memcpy(copy, text, len);
	}
	struct ob__conf *c = parse_owned(file, copy, len, report, arg);
	free(copy);
	return c;
}

/* Up to one byte more than is allowed.  0 or a negative errno. */
static int read_file(const char *file, struct ob__buf *out)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		return -errno;
	}
	int rc = ob__read_all(fd, OB__CONF_FILE_MAX, out);
	close(fd);
	return rc;
}

struct ob__conf *ob__conf_load(const char *file, ob__conf_report report, void *arg)
{
	struct ob__buf text = {0};
	struct ob__conf *c = NULL;
	int err = read_file(file, &text);
	if (err != 0) {
		complain_at(file, 0, "", report, arg, "can't be read (%s)", ob__strerror(err));
	} else {
		c = parse_owned(file, (char *)text.data, text.len, report, arg);
	}
	ob__buf_free(&text);
	return c;
}

void ob__conf_free(struct ob__conf *c)
{
	if (!c) {
		return;
	}
	json_decref(c->root);
	ob__scan_free(&c->scan);
	free(c->file);
	free(c->home);
	free(c->text);
	free(c);
}

int ob__conf_set_home(struct ob__conf *c, const char *file)
{
	char *copy = strdup(file);
	if (!copy) {
		return -ENOMEM;
	}
	free(c->home);
	c->home = copy;
	return 0;
}

const char *ob__conf_text(const struct ob__conf *c, size_t *len)
{
	*len = c->len;
	return c->text;
}

json_t *ob__conf_root(const struct ob__conf *c)
{
	return c->root;
}

/* ---------------------------------------------------------------- readers */

int64_t ob__conf_size(const json_t *value)
{
	if (json_is_integer(value)) {
		return json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
	}
	const char *s = json_string_value(value);
	if (!s || !isdigit((unsigned char)*s)) {
		return -1;
	}
	char *end;
	errno = 0;
	long long n = strtoll(s, &end, 10);
	const char *unit = "kmg";
	const char *found = *end ? strchr(unit, tolower((unsigned char)*end)) : NULL;
	if (errno != 0 || (*end && (!found || end[1]))) {
		return -1;
	}
	int shift = found ? 10 * (int)(found - unit + 1) : 0;
	return n <= INT64_MAX >> shift ? (int64_t)n << shift : -1;
}

const char *ob__conf_str(const json_t *root, const char *path, const char *dflt)
{
	const char *s = json_string_value(ob__conf_get(root, path));
	return s ? s : dflt;
}

int64_t ob__conf_int(const json_t *root, const char *path, int64_t dflt)
{
	const json_t *value = ob__conf_get(root, path);
	if (json_is_integer(value)) {
		return json_integer_value(value);
	}
	int64_t size = json_is_string(value) ? ob__conf_size(value) : -1;
	return size >= 0 ? size : dflt;
}

bool ob__conf_bool(const json_t *root, const char *path, bool dflt)
{
	const json_t *value = ob__conf_get(root, path);
	if (json_is_integer(value)) {
		return json_integer_value(value) != 0;
	}
	return json_is_boolean(value) ? json_is_true(value) : dflt;
}

uint64_t ob__conf_ms(const json_t *root, const char *path, uint64_t dflt)
{
	const json_t *value = ob__conf_get(root, path);
	if (!json_is_number(value)) {
		return dflt;
	}
	double ms = json_number_value(value) * 1000.0;
	if (!(ms > 0)) {
		return 0;
	}
	return ms < (double)MS_MAX ? (uint64_t)(ms + 0.5) : MS_MAX;
}
