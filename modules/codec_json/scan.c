/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "scan.h"

#include <stdbool.h>
#include <string.h>

int json_scan_peek(struct json_text *t)
{
	while (t->at < t->end &&
	       (*t->at == ' ' || *t->at == '\t' || *t->at == '\n' || *t->at == '\r')) {
		t->at++;
	}
	return t->at < t->end ? *t->at : -1;
}

/* ---- strings ---- */

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits at p; -1 if they are none. */
static int32_t hex4(const uint8_t *p, const uint8_t *end)
{
	int32_t value = 0;

	if (end - p < 4) {
		return -1;
	}
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(p[i]);
		if (digit < 0) {
			return -1;
		}
		value = value << 4 | digit;
	}
	return value;
}

static bool is_high(int32_t c)
{
	return c >= 0xd800 && c <= 0xdbff;
}

static bool is_low(int32_t c)
{
	return c >= 0xdc00 && c <= 0xdfff;
}

/* Behind a backslash. */
static enum json_scan escape(struct json_text *t)
{
	if (t->at == t->end) {
		return JSON_SCAN_BAD;
	}
	uint8_t c = *t->at++;
	if (c != 'u') {
		return c != '\0' && strchr("\"\\/bfnrt", c) ? JSON_SCAN_OK : JSON_SCAN_BAD;
	}
	int32_t unit = hex4(t->at, t->end);
	if (unit < 0 || is_low(unit)) {
		return JSON_SCAN_BAD;
	}
	t->at += 4;
	if (!is_high(unit)) {
		return JSON_SCAN_OK;
	}
	if (t->end - t->at < 6 || t->at[0] != '\\' || t->at[1] != 'u' ||
	    !is_low(hex4(t->at + 2, t->end))) {
		return JSON_SCAN_BAD;
	}
	t->at += 6;
	return JSON_SCAN_OK;
}

/* Past one character of more than one byte. */
static enum json_scan utf8(struct json_text *t)
{
	uint8_t c = *t->at;
	int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
	uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;

	if (c < 0xc2 || c > 0xf4 || t->end - t->at <= more) {
		return JSON_SCAN_UTF8;
	}
	for (int i = 1; i <= more; i++) {
		if (t->at[i] < low || t->at[i] > high) {
			return JSON_SCAN_UTF8;
		}
		low = 0x80;
		high = 0xbf;
	}
	t->at += more + 1;
	return JSON_SCAN_OK;
}

enum json_scan json_scan_string(struct json_text *t)
{
	enum json_scan rc = JSON_SCAN_OK;

	if (t->at == t->end || *t->at++ != '"') {
		return JSON_SCAN_BAD;
	}
	while (rc == JSON_SCAN_OK && t->at < t->end) {
		uint8_t c = *t->at;
		if (c == '"') {
			t->at++;
			return JSON_SCAN_OK;
		}
		if (c < 0x20) {
			return JSON_SCAN_BAD;
		}
		if (c >= 0x80) {
			rc = utf8(t);
			continue;
		}
		t->at++;
		rc = c == '\\' ? escape(t) : JSON_SCAN_OK;
	}
	return rc != JSON_SCAN_OK ? rc : JSON_SCAN_BAD;
}

static size_t put_utf8(uint8_t *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}

/* The character of the escape behind the backslash at p[-1]; *used of its bytes. */
static uint32_t unescaped(const uint8_t *p, const uint8_t *end, size_t *used)
{
	static const char letters[] = "bfnrt";
	static const char means[] = "\b\f\n\r\t";
	const char *letter = strchr(letters, *p);

	*used = 1;
	if (*p != 'u') {
		return letter ? (uint8_t)means[letter - letters] : *p;
	}
	uint32_t c = (uint32_t)hex4(p + 1, end);
	*used = 5;
	if (is_high((int32_t)c)) {
		c = 0x10000 + ((c - 0xd800) << 10) + ((uint32_t)hex4(p + 7, end) - 0xdc00);
		*used = 11;
	}
	return c;
}

size_t json_unescape(uint8_t *text, size_t len)
{
	const uint8_t *end = text + len;
	const uint8_t *from = (const uint8_t *)memchr(text, '\\', len);
	size_t at = from ? (size_t)(from - text) : len;

	while (from && from < end) {
		size_t used;
		if (*from != '\\') {
			text[at++] = *from++;
			continue;
		}
		uint32_t c = unescaped(from + 1, end, &used);
		from += 1 + used;
		at += put_utf8(text + at, c); /* never longer than its escape */
	}
	return at;
}

/* ---- other values ---- */

static bool digits(struct json_text *t)
{
	const uint8_t *begin = t->at;

	while (t->at < t->end && *t->at >= '0' && *t->at <= '9') {
		t->at++;
	}
	return t->at > begin;
}

static bool take(struct json_text *t, char c)
{
	bool there = t->at < t->end && *t->at == (uint8_t)c;

	t->at += there;
	return there;
}

static enum json_scan number(struct json_text *t)
{
	(void)take(t, '-');
	if (!take(t, '0') && !digits(t)) {
		return JSON_SCAN_BAD;
	}
	if (take(t, '.') && !digits(t)) {
		return JSON_SCAN_BAD;
	}
	if (take(t, 'e') || take(t, 'E')) {
		if (!take(t, '+')) {
			(void)take(t, '-');
		}
		return digits(t) ? JSON_SCAN_OK : JSON_SCAN_BAD;
	}
	return JSON_SCAN_OK;
}

static enum json_scan word(struct json_text *t, const char *text)
{
	size_t len = strlen(text);

	if ((size_t)(t->end - t->at) < len || memcmp(t->at, text, len) != 0) {
		return JSON_SCAN_BAD;
	}
	t->at += len;
	return JSON_SCAN_OK;
}

static enum json_scan scalar(struct json_text *t, int c)
{
	switch (c) {
	case '"':
		return json_scan_string(t);
	case 't':
		return word(t, "true");
	case 'f':
		return word(t, "false");
	case 'n':
		return word(t, "null");
	default:
		return number(t);
	}
}

/* In an object: past a key and its colon. */
static enum json_scan key(struct json_text *t)
{
	(void)json_scan_peek(t);
	enum json_scan rc = json_scan_string(t);

	if (rc == JSON_SCAN_OK && json_scan_peek(t) != ':') {
		return JSON_SCAN_BAD;
	}
	t->at += rc == JSON_SCAN_OK;
	return rc;
}

/* The kinds of the levels that are open: a bit for each, 1 is an object. */
struct levels {
	uint64_t objects;
	int open;
};

/* Behind a value: past what closes its levels, or the comma.  1: the outermost value is over. */
static int after_value(struct json_text *t, struct levels *l, enum json_scan *rc)
{
	while (l->open > 0) {
		bool object = (l->objects >> (l->open - 1) & 1) != 0;
		int c = json_scan_peek(t);
		if (c == ',') {
			t->at++;
			*rc = object ? key(t) : JSON_SCAN_OK;
			return 0;
		}
		if (c != (object ? '}' : ']')) {
			*rc = JSON_SCAN_BAD;
			return 0;
		}
		t->at++;
		l->open--;
	}
	return 1;
}

/* At a '{' or '['.  1: it is empty, and over. */
static int open_level(struct json_text *t, struct levels *l, int depth, enum json_scan *rc)
{
	bool object = *t->at++ == '{';

	if (depth + l->open >= JSON_DEPTH_MAX) {
		*rc = JSON_SCAN_DEEP;
		return 0;
	}
	l->objects = (l->objects & ~(UINT64_C(1) << l->open)) | (uint64_t)object << l->open;
	if (json_scan_peek(t) == (object ? '}' : ']')) {
		t->at++;
		return 1;
	}
	l->open++;
	*rc = object ? key(t) : JSON_SCAN_OK;
	return 0;
}

enum json_scan json_scan_value(struct json_text *t, int depth)
{
	struct levels l = {0, 0};
	enum json_scan rc = JSON_SCAN_OK;

	while (rc == JSON_SCAN_OK) {
		int c = json_scan_peek(t);
		int over = 1;
		if (c == '{' || c == '[') {
			over = open_level(t, &l, depth, &rc);
		} else {
			rc = c >= 0 ? scalar(t, c) : JSON_SCAN_BAD;
		}
		if (rc == JSON_SCAN_OK && over && after_value(t, &l, &rc)) {
			break;
		}
	}
	return rc;
}
