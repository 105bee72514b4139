/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_json: where the values of a JSON text begin and end.
 *
 * Nothing is built: each function moves a pointer past what it has checked, and says why it can't.
 * What passes is JSON as RFC 8259 has it, in UTF-8, with no half of a surrogate pair, and no deeper
 * than the limit.  No recursion, no memory, and every byte is looked at once.
 */

#ifndef CODEC_JSON_SCAN_H
#define CODEC_JSON_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 32 /* objects and arrays in each other */

enum json_scan {
	JSON_SCAN_OK = 0,
	JSON_SCAN_BAD,  /* not JSON */
	JSON_SCAN_UTF8, /* not UTF-8 */
	JSON_SCAN_DEEP,
};

struct json_text {
	const uint8_t *at;
	const uint8_t *end;
};

/* Past blanks; the byte that follows, not taken; -1 at the end. */
int json_scan_peek(struct json_text *t);

/* Past one value, which stands at t->at, with `depth` levels around it. */
enum json_scan json_scan_value(struct json_text *t, int depth);

/* Past one string, its quotes included. */
enum json_scan json_scan_string(struct json_text *t);

/* The text between the quotes of a string that has been checked, in place, without its escapes: its
 * length. */
size_t json_unescape(uint8_t *text, size_t len);

#endif
