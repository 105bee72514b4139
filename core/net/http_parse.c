/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/http_parse.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef OB_WITH_LLHTTP
#include <llhttp.h>
#define PARSER   struct llhttp__internal_s
#define SETTINGS struct llhttp_settings_s
#else
#include <http_parser.h>
#define PARSER   struct http_parser
#define SETTINGS struct http_parser_settings
#endif

#define BLANK_MAX    4u    /* line ends tolerated in front of a request (RFC 9112 section 2.2) */
#define KEEP_BUFFER  4096u /* capacity that survives a reset */
#define DIGITS_MAX   15u   /* of a chunk's size */
#define BODY_MAX     (1u << 30) /* whatever the limit says */
#define BODY_RESERVE 65536u /* believed of a declared length; more is made room for as it comes */

enum state {
	BLANK, /* before the request */
	BLANK_LF,
	LINE,
	LINE_LF,
	LINE_START,
	HEAD_LF,
	HEAD_DONE, /* told the caller about the head */
	BODY,
	CHUNK_SIZE,
	CHUNK_EXT,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_CR,
	CHUNK_LF,
	TRAILER_START,
	TRAILER,
	TRAILER_LF,
	BODY_LF, /* the last one of a chunked body */
	WHOLE,
	BAD,
};

void ob__http_parse_init(struct ob__http_parse *p, size_t max_body)
{
	*p = (struct ob__http_parse){
		.max_body = max_body < BODY_MAX ? max_body : BODY_MAX,
		.state = BLANK,
	};
}

static void trim(struct ob__buf *b)
{
	b->len = 0;
	if (b->cap > KEEP_BUFFER) {
		ob__buf_free(b);
	}
}

void ob__http_parse_reset(struct ob__http_parse *p)
{
	trim(&p->head);
	trim(&p->body);
	*p = (struct ob__http_parse){
		.sha1 = p->sha1,
		.max_body = p->max_body,
		.head = p->head,
		.body = p->body,
		.fields = p->fields,
		.state = BLANK,
	};
}

void ob__http_parse_free(struct ob__http_parse *p)
{
	ob__buf_free(&p->head);
	ob__buf_free(&p->body);
	free(p->fields);
	*p = (struct ob__http_parse){.state = BAD};
}

static enum ob__http_parsed bad(struct ob__http_parse *p, int status, const char *reason)
{
	p->state = BAD;
	p->status = status;
	p->reason = reason;
	return OB__HTTP_BAD;
}

/* ---------------------------------------------------------------- the parser library */

static int on_url(PARSER *q, const char *at, size_t len)
{
	struct ob__http_parse *p = q->data;
	p->target = at;
	p->target_len = len;
	return 0;
}

/* The head is in one piece, so each of these comes whole.  Strings are ended in place, over the
 * colon or the line end, but only when the parser has been there: see end_strings(). */
static int on_field(PARSER *q, const char *at, size_t len)
{
	struct ob__http_parse *p = q->data;
	if (p->fields_len >= OB__HTTP_FIELDS_MAX || !ob__http_is_token(at, len)) {
		return -1;
	}
	p->fields[p->fields_len++] = (struct ob__http_field){.name = at, .value = ""};
	return 0;
}

static int on_value(PARSER *q, const char *at, size_t len)
{
	struct ob__http_parse *p = q->data;
	if (p->fields_len == 0) {
		return -1;
	}
	if (len > 0) {
		p->fields[p->fields_len - 1].value = at;
	}
	return 0;
}

/* 2: there is no body for the parser, it shall stop. */
static int on_head(PARSER *q)
{
	struct ob__http_parse *p = q->data;
	p->state = HEAD_DONE;
	return 2;
}

static const SETTINGS settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_head,
};

static bool run_parser(struct ob__http_parse *p)
{
	PARSER q;
	const char *data = (const char *)p->head.data;
#ifdef OB_WITH_LLHTTP
	llhttp_init(&q, HTTP_REQUEST, &settings);
	q.data = p;
	llhttp_errno_t err = llhttp_execute(&q, data, p->head.len);
	bool fine = err == HPE_OK || err == HPE_PAUSED_UPGRADE;
#else
	http_parser_init(&q, HTTP_REQUEST);
	q.data = p;
	http_parser_execute(&q, &settings, data, p->head.len);
	bool fine = HTTP_PARSER_ERRNO(&q) == HPE_OK;
#endif
	return fine && p->state == HEAD_DONE && p->target;
}

/* Each name ends at its colon, each value at its line end or the white space before it. */
static void end_strings(struct ob__http_parse *p)
{
	for (size_t i = 0; i < p->fields_len; i++) {
		struct ob__http_field *f = &p->fields[i];
		*(char *)strchr(f->name, ':') = '\0';
		if (*f->value == '\0') {
			continue;
		}
		size_t len = strcspn(f->value, "\r");
		while (len > 0 && (f->value[len - 1] == ' ' || f->value[len - 1] == '\t')) {
			len--;
		}
		((char *)f->value)[len] = '\0';
	}
}

static enum ob__http_parsed head_whole(struct ob__http_parse *p)
{
	int status = ob__http_head_line(p);
	if (status != 0) {
		return bad(p, status, p->reason);
	}
	if (!p->fields) {
		p->fields = malloc(OB__HTTP_FIELDS_MAX * sizeof(*p->fields));
		if (!p->fields) {
			return bad(p, 503, "out of memory");
		}
	}
	if (!run_parser(p)) {
		return bad(p, 400, "malformed request");
	}
	end_strings(p);
	p->state = HEAD_DONE;
	status = ob__http_head_check(p);
	return status != 0 ? bad(p, status, p->reason) : OB__HTTP_HEAD;
}

/* ---------------------------------------------------------------- the guard of the head */

static bool is_control(uint8_t c)
{
	return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* What is wrong with `c` in this state, or NULL; moves on. */
static const char *guard(struct ob__http_parse *p, uint8_t c)
{
	switch (p->state) {
	case LINE_LF:
		p->state = LINE_START;
		p->lines++;
		return c == '\n' ? NULL : "CR without LF";
	case LINE_START:
		if (c == ' ' || c == '\t') {
			return p->lines == 1 ? "white space before the first header"
			                     : "folded header line";
		}
		if (c == '\r') {
			p->state = HEAD_LF;
			return NULL;
		}
		p->state = LINE;
		break;
	case HEAD_LF:
		p->state = HEAD_DONE;
		return c == '\n' ? NULL : "CR without LF";
	default:
		break;
	}
	if (c == '\r') {
		p->state = LINE_LF;
		return NULL;
	}
	if (c == '\n') {
		return "LF without CR";
	}
	if (c > 0x7e && p->lines == 0) {
		return "malformed request line"; /* a frame, say, in which no line end may come */
	}
	return is_control(c) ? "control character in the head" : NULL;
}

/* How many bytes at the front are such as are right anywhere within a line. */
static size_t plain(const struct ob__http_parse *p, const uint8_t *data, size_t len)
{
	size_t n = 0;
	while (p->state == LINE && n < len && data[n] >= 0x20 && data[n] < 0x7f) {
		n++;
	}
	return n;
}

/* Takes line ends in front of a request. */
static size_t skip_blank(struct ob__http_parse *p, const uint8_t *data, size_t len)
{
	size_t i = 0;
	for (; i < len && p->state <= BLANK_LF; i++) {
		if (p->state == BLANK && data[i] == '\r') {
			p->state = BLANK_LF;
		} else if (p->state == BLANK && data[i] != '\n') {
			p->state = LINE;
			break;
		} else if (p->state == BLANK_LF && data[i] == '\n' && ++p->blank <= BLANK_MAX) {
			p->state = BLANK;
		} else {
			bad(p, 400, "no request line");
		}
	}
	return i;
}

static enum ob__http_parsed too_long(struct ob__http_parse *p)
{
	return p->lines == 0 ? bad(p, 414, "target too long")
	                     : bad(p, 431, "header fields too large");
}

static enum ob__http_parsed take_head(struct ob__http_parse *p, const uint8_t *data, size_t len,
                                      size_t *used)
{
	size_t from = skip_blank(p, data, len);
	size_t room = OB__HTTP_HEAD_MAX - p->head.len;
	size_t end = len - from < room ? len : from + room;
	size_t i = from;
	*used = from;
	if (p->state == BAD) {
		return OB__HTTP_BAD;
	}
	while (i < end && p->state >= LINE && p->state < HEAD_DONE) {
		i += plain(p, data + i, end - i);
		*used = i;
		if (i == end) {
			break;
		}
		const char *wrong = guard(p, data[i++]);
		*used = i;
		if (wrong) {
			return bad(p, 400, wrong);
		}
		if (p->lines > OB__HTTP_FIELDS_MAX + 1) {
			return bad(p, 431, "too many header fields");
		}
	}
	if (p->state < HEAD_DONE && i - from == room) {
		return too_long(p);
	}
	if (ob__buf_append(&p->head, data + from, i - from) < 0) {
		return bad(p, 503, "out of memory");
	}
	return p->state == HEAD_DONE ? head_whole(p) : OB__HTTP_MORE;
}

/* ---------------------------------------------------------------- the body */

static int take_bytes(struct ob__http_parse *p, const uint8_t *data, size_t len, size_t *used)
{
	size_t n = len < p->body_left ? len : (size_t)p->body_left;
	if (ob__buf_append(&p->body, data, n) < 0) {
		bad(p, 503, "out of memory");
		return -1;
	}
	p->body_left -= n;
	*used += n;
	return 0;
}

static int hex(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void chunk_size(struct ob__http_parse *p, uint8_t c)
{
	int digit = hex(c);
	if (digit >= 0 && p->digits < DIGITS_MAX) {
		p->digits++;
		p->body_left = p->body_left << 4 | (uint64_t)digit;
		return;
	}
	if (p->digits == 0 || (c != '\r' && c != ';')) {
		bad(p, 400, "malformed chunk size");
		return;
	}
	if (p->body_left > p->max_body - p->body.len) {
		bad(p, 413, "body too large");
		return;
	}
	p->state = c == ';' ? CHUNK_EXT : CHUNK_SIZE_LF;
}

/* Extensions and trailers: dropped, but bounded. */
static void skip_text(struct ob__http_parse *p, uint8_t c, enum state after)
{
	if (c == '\r') {
		p->state = after;
	} else if (is_control(c)) {
		bad(p, 400, "control character in a chunk line");
	} else if (++p->extra > OB__HTTP_CHUNK_EXTRA_MAX) {
		bad(p, 431, "too much beside the chunks");
	}
}

static void expect(struct ob__http_parse *p, uint8_t c, uint8_t wanted, enum state after)
{
	if (c == wanted) {
		p->state = after;
	} else {
		bad(p, 400, "malformed chunk");
	}
}

static void chunk_byte(struct ob__http_parse *p, uint8_t c)
{
	switch ((enum state)p->state) {
	case CHUNK_SIZE:
		chunk_size(p, c);
		break;
	case CHUNK_EXT:
		skip_text(p, c, CHUNK_SIZE_LF);
		break;
	case CHUNK_SIZE_LF:
		expect(p, c, '\n', p->body_left > 0 ? CHUNK_DATA : TRAILER_START);
		break;
	case CHUNK_CR:
		expect(p, c, '\r', CHUNK_LF);
		break;
	case CHUNK_LF:
		p->digits = 0;
		expect(p, c, '\n', CHUNK_SIZE);
		break;
	case TRAILER_START:
		if (c == '\r') {
			p->state = BODY_LF;
		} else if (c == ' ' || c == '\t') {
			bad(p, 400, "folded trailer line");
		} else {
			p->state = TRAILER;
			skip_text(p, c, TRAILER_LF);
		}
		break;
	case TRAILER:
		skip_text(p, c, TRAILER_LF);
		break;
	case TRAILER_LF:
		expect(p, c, '\n', TRAILER_START);
		break;
	default: /* BODY_LF */
		expect(p, c, '\n', WHOLE);
		break;
	}
}

static enum ob__http_parsed take_chunks(struct ob__http_parse *p, const uint8_t *data, size_t len,
                                        size_t *used)
{
	while (*used < len && p->state != WHOLE && p->state != BAD) {
		if (p->state != CHUNK_DATA) {
			chunk_byte(p, data[(*used)++]);
			continue;
		}
		if (take_bytes(p, data + *used, len - *used, used) < 0) {
			return OB__HTTP_BAD;
		}
		if (p->body_left == 0) {
			p->state = CHUNK_CR;
		}
	}
	return p->state == WHOLE ? OB__HTTP_DONE : p->state == BAD ? OB__HTTP_BAD : OB__HTTP_MORE;
}

/* The caller has seen the head. */
static void begin_body(struct ob__http_parse *p)
{
	if (p->chunked) {
		p->state = CHUNK_SIZE;
		return;
	}
	p->state = p->body_left > 0 ? BODY : WHOLE;
	ob__buf_reserve(&p->body, p->body_left < BODY_RESERVE ? (size_t)p->body_left : 0);
}

enum ob__http_parsed ob__http_parse(struct ob__http_parse *p, const uint8_t *data, size_t len,
                                    size_t *used)
{
	*used = 0;
	if (p->state < HEAD_DONE) {
		return take_head(p, data, len, used);
	}
	if (p->state == HEAD_DONE) {
		begin_body(p);
	}
	switch ((enum state)p->state) {
	case BODY:
		if (take_bytes(p, data, len, used) < 0) {
			return OB__HTTP_BAD;
		}
		if (p->body_left > 0) {
			return OB__HTTP_MORE;
		}
		p->state = WHOLE;
		return OB__HTTP_DONE;
	case WHOLE:
		return OB__HTTP_DONE;
	case BAD:
		return OB__HTTP_BAD;
	default:
		return take_chunks(p, data, len, used);
	}
}

/* ---------------------------------------------------------------- asking */

bool ob__http_parse_begun(const struct ob__http_parse *p)
{
	return p->state > BLANK_LF;
}

const char *ob__http_parse_field(const struct ob__http_parse *p, const char *name)
{
	for (size_t i = 0; i < p->fields_len; i++) {
		if (ob__http_same_name(p->fields[i].name, name)) {
			return p->fields[i].value;
		}
	}
	return NULL;
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);
	while (*list != '\0') {
		list += strspn(list, ", \t");
		size_t n = strcspn(list, ",");
		size_t end = n;
		while (end > 0 && (list[end - 1] == ' ' || list[end - 1] == '\t')) {
			end--;
		}
		if (end == len && strncasecmp(list, word, len) == 0) {
			return true;
		}
		list += n;
	}
	return false;
}

bool ob__http_parse_word(const struct ob__http_parse *p, const char *name, const char *word)
{
	for (size_t i = 0; i < p->fields_len; i++) {
		if (ob__http_same_name(p->fields[i].name, name) &&
		    has_word(p->fields[i].value, word)) {
			return true;
		}
	}
	return false;
}

bool ob__http_is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
		if (c == '\0' || (!alnum && !strchr("!#$%&'*+-.^_`|~", c))) {
			return false;
		}
	}
	return len > 0;
}
