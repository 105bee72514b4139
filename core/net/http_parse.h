/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to net/http.  One HTTP/1.1 request, from bytes to fields; no sockets here.
 *
 * A guard reads every byte of the head first and refuses what parsers are known to disagree about:
 * bare LF, folded lines, control characters, spaces in names, two lengths.  Then the head, whole,
 * goes to the parser library (http-parser, or llhttp when OB_WITH_LLHTTP is defined), which finds
 * method, target and fields in it.  The body is cut out here, by its length or its chunks: Debian
 * builds http-parser without its strict mode, and then it takes any byte for the LF of a chunk
 * line.
 *
 * Bytes may come in any pieces; the outcome is the same.
 */

#ifndef OB__HTTP_PARSE_H
#define OB__HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>

#include "lib/buf.h"

#define OB__HTTP_HEAD_MAX   (16u << 10) /* bytes of request line and headers; else 431 */
#define OB__HTTP_TARGET_MAX (8u << 10)  /* else 414 */
#define OB__HTTP_FIELDS_MAX 100u        /* else 431 */
#define OB__HTTP_CHUNK_EXTRA_MAX                                        \
	(8u << 10) /* extensions and trailers in all, which are dropped \
	            */

enum ob__http_parsed {
	OB__HTTP_MORE, /* all was consumed; the request is not whole */
	OB__HTTP_HEAD, /* the head has ended; comes once, before the body; go on */
	OB__HTTP_DONE, /* the request is whole; the rest of the input belongs to the next */
	OB__HTTP_BAD,  /* answer with status and close */
};

struct ob__http_field {
	const char *name;
	const char *value; /* without white space around it */
};

struct ob__http_parse {
	/* Read-only, from OB__HTTP_HEAD on; strings live until reset. */
	const char *method;
	const char *path;  /* decoded; NUL is refused, ".." and "//" are left as they are */
	const char *query; /* as it came */
	struct ob__http_field *fields;
	size_t fields_len;
	struct ob__buf body;
	bool http11;
	bool keep_alive;
	bool expect_continue;
	bool wants_websocket; /* Upgrade has "websocket" */
	bool has_body;

	/* Read-only, after OB__HTTP_BAD. */
	int status;
	const char *reason;

	/* May be set after init: SHA-1, so that no handshake has to look for it. */
	const struct evp_md_st *sha1;

	/* Private. */
	struct ob__buf head;
	size_t max_body;
	uint64_t body_left; /* of the body, or of the chunk */
	uint32_t lines;
	uint32_t blank;  /* line ends in front of the request */
	uint32_t extra;  /* bytes of chunk extensions and trailers */
	uint32_t digits; /* of the chunk's size */
	uint8_t state;
	bool chunked;
	const char *target;
	size_t target_len;
};

/* A zeroed struct is made ready; `max_body` in bytes, beyond it 413. */
void ob__http_parse_init(struct ob__http_parse *p, size_t max_body);

/* Makes ready for the next request of the connection, keeping small buffers. */
void ob__http_parse_reset(struct ob__http_parse *p);

/* Frees all. */
void ob__http_parse_free(struct ob__http_parse *p);

/* Takes bytes from the front of `data`; *used says how many.  After MORE it wants other bytes,
 * after HEAD the rest (or none) again, after DONE and BAD it wants a reset. */
enum ob__http_parsed ob__http_parse(struct ob__http_parse *p, const uint8_t *data, size_t len,
                                    size_t *used);

/* Some of a request has arrived. */
bool ob__http_parse_begun(const struct ob__http_parse *p);

/* The first field of that name, in any case; NULL if none. */
const char *ob__http_parse_field(const struct ob__http_parse *p, const char *name);

/* One of the comma-separated words of all fields of that name is `word`; cases don't matter. */
bool ob__http_parse_word(const struct ob__http_parse *p, const char *name, const char *word);

/* Two names of fields, in whatever letters.  Most that are not alike differ in the first. */
static inline bool ob__http_same_name(const char *a, const char *b)
{
	return ((*a ^ *b) & ~0x20) == 0 && strcasecmp(a, b) == 0;
}

/* True for a method, or a field's name. */
bool ob__http_is_token(const char *s, size_t len);

/* ---- net/http_head.c: what a whole head means. 0, or the status with p->reason set. ---- */

/* The form of the request line; before the parser sees it. */
int ob__http_head_line(struct ob__http_parse *p);

/* Fields, target, framing; after the parser. */
int ob__http_head_check(struct ob__http_parse *p);

#define OB__HTTP_ACCEPT_LEN 28u /* of Sec-WebSocket-Accept */

/* RFC 6455 section 4.2.1. 0 with the answer to Sec-WebSocket-Key in `accept`, or the status (400 or
 * 426) with p->reason set. */
int ob__http_handshake(struct ob__http_parse *p, char accept[OB__HTTP_ACCEPT_LEN + 1]);

#endif
