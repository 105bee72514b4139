/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/conf_scan.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/ws.h"

struct cursor {
	struct ob__scan *s;
	char *text;
	size_t len;
	size_t pos;
	uint32_t line;
	int depth;
};

static int scan_value(struct cursor *c);

/* ---------------------------------------------------------------- saying what is wrong */

static int __attribute__((format(printf, 3, 4)))
fail(struct cursor *c, uint32_t line, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(c->s->err, sizeof(c->s->err), fmt, ap);
	va_end(ap);
	c->s->err_line = (int)line;
	return -EINVAL;
}

static bool word_char(char ch)
{
	return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
	       ch == '_' || ch == '-' || ch == '+' || ch == '.';
}

/* What stands at the cursor, for a message: a word, a sign, or what kind of thing it is. */
static const char *found(const struct cursor *c, char out[40])
{
	if (c->pos >= c->len) {
		return "the end of the file";
	}
	const char *at = c->text + c->pos;
	if (*at == '"') {
		return "a string";
	}
	if (*at == '\'') {
		return "a single quote";
	}
	int n = 0;
	while (c->pos + n < c->len && n < 24 && word_char(at[n])) {
		n++;
	}
	if (n > 0) {
		snprintf(out, 40, "\"%.*s\"", n, at);
	} else if (*at > 0x20 && *at < 0x7f) {
		snprintf(out, 40, "'%c'", *at);
	} else {
		snprintf(out, 40, "byte 0x%02x", (unsigned char)*at);
	}
	return out;
}

static int expected(struct cursor *c, const char *what)
{
	char text[40];
	return fail(c, c->line, "expected %s, found %s", what, found(c, text));
}

/* As above inside of what was opened on `line` with `open`. */
static int expected_in(struct cursor *c, const char *what, char open, uint32_t line)
{
	if (c->pos < c->len) {
		return expected(c, what);
	}
	return fail(c, c->line,
	            "expected %s, found the end of the file; the '%c' of line %u is open", what,
	            open, line);
}

/* ---------------------------------------------------------------- blanks and comments */

static char peek(const struct cursor *c, size_t ahead)
{
	return c->pos + ahead < c->len ? c->text[c->pos + ahead] : '\0';
}

static void blank(struct cursor *c)
{
	if (c->text[c->pos] == '\n') {
		c->line++;
	} else {
		c->text[c->pos] = ' ';
	}
	c->pos++;
}

static int skip_block_comment(struct cursor *c)
{
	uint32_t line = c->line;
	blank(c);
	blank(c);
	while (c->pos < c->len && !(peek(c, 0) == '*' && peek(c, 1) == '/')) {
		blank(c);
	}
	if (c->pos >= c->len) {
		return fail(c, line, "a comment begins here and does not end");
	}
	blank(c);
	blank(c);
	return 0;
}

static int skip(struct cursor *c)
{
	while (c->pos < c->len) {
		char ch = peek(c, 0);
		if (ch == ' ' || ch == '\t' || ch == '\r') {
			c->pos++;
		} else if (ch == '\n') {
			blank(c);
		} else if (ch == '/' && peek(c, 1) == '/') {
			while (c->pos < c->len && peek(c, 0) != '\n') {
				blank(c);
			}
		} else if (ch == '/' && peek(c, 1) == '*') {
			int err = skip_block_comment(c);
			if (err != 0) {
				return err;
			}
		} else {
			return 0;
		}
	}
	return 0;
}

/* ---------------------------------------------------------------- values without members */

static bool hex4(const struct cursor *c, size_t at)
{
	size_t n = 0;
	while (n < 4 && at + n < c->len && isxdigit((unsigned char)c->text[at + n])) {
		n++;
	}
	return n == 4;
}

static int skip_escape(struct cursor *c)
{
	char ch = peek(c, 1);
	if (ch == 'u') {
		if (!hex4(c, c->pos + 2)) {
			return fail(c, c->line, "\\u needs four hexadecimal digits");
		}
		if (memcmp(c->text + c->pos + 2, "0000", 4) == 0) {
			return fail(c, c->line, "a string may not hold a NUL character (\\u0000)");
		}
		c->pos += 6;
		return 0;
	}
	if (ch == '\0' || !strchr("\"\\/bfnrt", ch)) {
		return fail(c, c->line,
		            "a string has a '\\' that begins no escape (a backslash is "
		            "written \"\\\\\")");
	}
	c->pos += 2;
	return 0;
}

static int scan_string(struct cursor *c)
{
	size_t start = ++c->pos;
	while (peek(c, 0) != '"') {
		if (c->pos >= c->len || peek(c, 0) == '\n' || peek(c, 0) == '\r') {
			return fail(c, c->line, "a string does not end on its line");
		}
		if ((unsigned char)peek(c, 0) < 0x20) {
			return fail(c, c->line,
			            "a string holds control character 0x%02x (a tab is "
			            "written \"\\t\")",
			            (unsigned char)peek(c, 0));
		}
		if (peek(c, 0) != '\\') {
			c->pos++;
			continue;
		}
		int err = skip_escape(c);
		if (err != 0) {
			return err;
		}
	}
	if (!ob__utf8_ok((const uint8_t *)c->text + start, c->pos - start)) {
		return fail(c, c->line, "a string is not valid UTF-8");
	}
	c->pos++;
	return 0;
}

static size_t digits(const struct cursor *c, size_t ahead)
{
	size_t n = 0;
	while (peek(c, ahead + n) >= '0' && peek(c, ahead + n) <= '9') {
		n++;
	}
	return n;
}

/* The length of the JSON number at the cursor, or 0. */
static size_t number_len(const struct cursor *c)
{
	size_t n = peek(c, 0) == '-';
	size_t whole = digits(c, n);
	if (whole == 0 || (whole > 1 && peek(c, n) == '0')) {
		return 0;
	}
	n += whole;
	if (peek(c, n) == '.') {
		size_t part = digits(c, n + 1);
		if (part == 0) {
			return 0;
		}
		n += 1 + part;
	}
	if (peek(c, n) == 'e' || peek(c, n) == 'E') {
		size_t sign = peek(c, n + 1) == '-' || peek(c, n + 1) == '+';
		size_t part = digits(c, n + 1 + sign);
		if (part == 0) {
			return 0;
		}
		n += 1 + sign + part;
	}
	return n;
}

static int scan_word(struct cursor *c)
{
	static const char *const words[] = {"true", "false", "null"};
	size_t n = 0;
	for (size_t i = 0; i < 3; i++) {
		size_t len = strlen(words[i]);
		if (c->len - c->pos >= len && memcmp(c->text + c->pos, words[i], len) == 0) {
			n = len;
		}
	}
	char first = peek(c, 0);
	if (first == '-' || (first >= '0' && first <= '9')) {
		n = number_len(c);
	}
	if (n == 0 || word_char(peek(c, n))) {
		return expected(c, "a value");
	}
	c->pos += n;
	return 0;
}

/* ---------------------------------------------------------------- objects and lists */

static int add_node(struct cursor *c, bool keyed, size_t *node)
{
	struct ob__scan *s = c->s;
	if (s->len == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 64;
		struct ob__scan_node *grown = realloc(s->nodes, cap * sizeof(*grown));
		if (!grown) {
			return -ENOMEM;
		}
		s->nodes = grown;
		s->cap = cap;
	}
	*node = s->len++;
	s->nodes[*node] = (struct ob__scan_node){
		.off = (uint32_t)c->pos,
		.line = c->line,
		.keyed = keyed,
	};
	return 0;
}

static int scan_key(struct cursor *c)
{
	int err = scan_string(c);
	if (err == 0) {
		err = skip(c);
	}
	if (err != 0) {
		return err;
	}
	if (peek(c, 0) != ':') {
		return expected(c, "':' after the key");
	}
	c->pos++;
	return skip(c);
}

static int scan_member(struct cursor *c, bool keyed)
{
	size_t node;
	int err = add_node(c, keyed, &node);
	if (err == 0 && keyed) {
		err = scan_key(c);
	}
	if (err == 0) {
		err = scan_value(c);
	}
	if (err == 0) {
		c->s->nodes[node].next = (uint32_t)c->s->len;
	}
	return err;
}

/* The inside of {} or [], from behind the opening sign to behind the closing one. */
static int scan_members(struct cursor *c, bool keyed)
{
	char open = keyed ? '{' : '[';
	char close = keyed ? '}' : ']';
	uint32_t line = c->line;
	size_t comma = 0;
	c->pos++;
	for (;;) {
		int err = skip(c);
		if (err != 0) {
			return err;
		}
		if (peek(c, 0) == close) {
			break;
		}
		if (c->pos >= c->len || (keyed && peek(c, 0) != '"')) {
			return expected_in(
				c, keyed ? "a key in double quotes or '}'" : "a value or ']'", open,
				line);
		}
		err = scan_member(c, keyed);
		if (err == 0) {
			err = skip(c);
		}
		if (err != 0) {
			return err;
		}
		comma = 0;
		if (peek(c, 0) == ',') {
			comma = c->pos++;
		} else if (peek(c, 0) != close) {
			return expected_in(c, keyed ? "',' or '}'" : "',' or ']'", open, line);
		}
	}
	if (comma) {
		c->text[comma] = ' ';
	}
	c->pos++;
	return 0;
}

static int scan_value(struct cursor *c)
{
	char ch = peek(c, 0);
	if (ch == '"') {
		return scan_string(c);
	}
	if (ch != '{' && ch != '[') {
		return scan_word(c);
	}
	if (c->depth == OB__SCAN_DEPTH) {
		return fail(c, c->line, "nested deeper than %d levels", OB__SCAN_DEPTH);
	}
	c->depth++;
	int err = scan_members(c, ch == '{');
	c->depth--;
	return err;
}

/* ---------------------------------------------------------------- the whole text */

static int check_bytes(struct cursor *c)
{
	if (c->len >= UINT32_MAX) {
		return fail(c, 1, "the file is too long");
	}
	const char *nul = memchr(c->text, '\0', c->len);
	if (!nul) {
		return 0;
	}
	uint32_t line = 1;
	for (const char *p = c->text; p < nul; p++) {
		line += *p == '\n';
	}
	return fail(c, line, "a NUL byte; the file must be UTF-8");
}

static int scan_text(struct cursor *c)
{
	if (c->len >= 3 && memcmp(c->text, "\xef\xbb\xbf", 3) == 0) {
		memset(c->text, ' ', 3);
	}
	int err = skip(c);
	if (err != 0) {
		return err;
	}
	if (peek(c, 0) != '{') {
		return expected(c, "'{' at the beginning");
	}
	err = scan_member(c, false);
	if (err == 0) {
		err = skip(c);
	}
	if (err == 0 && c->pos < c->len) {
		return expected(c, "the end of the file");
	}
	return err;
}

int ob__scan_run(struct ob__scan *s, char *text, size_t len)
{
	memset(s, 0, sizeof(*s));
	struct cursor c = {.s = s, .text = text, .len = len, .line = 1};
	int err = check_bytes(&c);
	return err ? err : scan_text(&c);
}

void ob__scan_free(struct ob__scan *s)
{
	free(s->nodes);
	memset(s, 0, sizeof(*s));
}

/* ---------------------------------------------------------------- paths */

size_t ob__scan_at(const struct ob__scan *s, size_t off)
{
	size_t lo = 0;
	size_t hi = s->len;
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->nodes[mid].off <= off) {
			lo = mid;
		} else {
			hi = mid;
		}
	}
	return lo;
}

static size_t key_len(const char *text, size_t off)
{
	size_t n = 0;
	while (text[off + 1 + n] != '"') {
		n += text[off + 1 + n] == '\\' ? 2 : 1;
	}
	return n;
}

int ob__scan_path(const struct ob__scan *s, const char *text, size_t node, struct ob__buf *out)
{
	size_t at = 0;
	while (at != node) {
		size_t child = at + 1;
		size_t index = 0;
		for (; s->nodes[child].next <= node; index++) {
			child = s->nodes[child].next;
		}
		uint32_t off = s->nodes[child].off;
		int err = s->nodes[child].keyed
		                  ? ob__path_key(out, text + off + 1, key_len(text, off))
		                  : ob__path_item(out, index);
		if (err != 0) {
			return err;
		}
		at = child;
	}
	return 0;
}

bool ob__path_plain(const char *key, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)key[i] <= 0x20 || key[i] == 0x7f || strchr(".[]\"\\", key[i])) {
			return false;
		}
	}
	return len > 0;
}

int ob__path_key(struct ob__buf *path, const char *key, size_t len)
{
	if (ob__path_plain(key, len)) {
		int err = path->len ? ob__buf_append(path, ".", 1) : 0;
		return err ? err : ob__buf_append(path, key, len);
	}
	int err = ob__buf_append(path, "[\"", 2);
	for (size_t i = 0; i < len && err == 0; i++) {
		unsigned char ch = (unsigned char)key[i];
		if (ch < 0x20 || ch == 0x7f) {
			err = ob__buf_printf(path, "\\u%04x", ch);
			continue;
		}
		if (ch == '"' || ch == '\\') {
			err = ob__buf_append(path, "\\", 1);
		}
		if (err == 0) {
			err = ob__buf_append(path, key + i, 1);
		}
	}
	return err ? err : ob__buf_append(path, "\"]", 2);
}

int ob__path_item(struct ob__buf *path, size_t index)
{
	return ob__buf_printf(path, "[%zu]", index);
}
