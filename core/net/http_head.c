/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/http_parse.h"

#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#define KEY_TEXT 24u /* base64 of 16 bytes */

/* Both parsers know more words, each others; an application gets these. */
static const char *const methods[] = {"GET",    "HEAD",  "POST",    "PUT",
                                      "DELETE", "PATCH", "OPTIONS", NULL};

static int say(struct ob__http_parse *p, int status, const char *reason)
{
	p->reason = reason;
	return status;
}

/* ---------------------------------------------------------------- the request line */

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static int check_version(struct ob__http_parse *p, const char *s, size_t len)
{
	if (len != 8 || memcmp(s, "HTTP/", 5) != 0 || !digit(s[5]) || s[6] != '.' || !digit(s[7])) {
		return say(p, 400, "malformed request line");
	}
	if (s[5] != '1' || s[7] > '1') {
		return say(p, 505, "HTTP/1.1 and HTTP/1.0 are spoken here");
	}
	p->http11 = s[7] == '1';
	return 0;
}

static int check_method(struct ob__http_parse *p, const char *s, size_t len)
{
	for (size_t i = 0; methods[i]; i++) {
		if (strlen(methods[i]) == len && memcmp(methods[i], s, len) == 0) {
			p->method = methods[i];
			return 0;
		}
	}
	return say(p, 501, "method not known");
}

int ob__http_head_line(struct ob__http_parse *p)
{
	const char *line = (const char *)p->head.data;
	size_t len = (size_t)((const char *)memchr(line, '\r', p->head.len) - line);
	const char *sp = memchr(line, ' ', len);
	const char *last = memrchr(line, ' ', len);
	if (!sp || last == sp || !ob__http_is_token(line, (size_t)(sp - line))) {
		return say(p, 400, "malformed request line");
	}
	for (const char *c = sp + 1; c < last; c++) {
		if (*c <= 0x20 || *c > 0x7e || *c == '#') { /* what is beyond ASCII is negative */
			return say(p, 400, "malformed target");
		}
	}
	if (last - sp - 1 > (ptrdiff_t)OB__HTTP_TARGET_MAX) {
		return say(p, 414, "target too long");
	}
	int status = check_version(p, last + 1, len - (size_t)(last + 1 - line));
	return status != 0 ? status : check_method(p, line, (size_t)(sp - line));
}

/* ---------------------------------------------------------------- the target */

static int hex(char c)
{
	if (digit(c)) {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. False for a broken escape or a NUL. */
static bool decode(char *s)
{
	char *out = s;
	for (; *s != '\0'; s++) {
		if (*s != '%') {
			*out++ = *s;
			continue;
		}
		int hi = hex(s[1]);
		int lo = hi < 0 ? -1 : hex(s[2]);
		if (lo < 0 || (hi == 0 && lo == 0)) {
			return false;
		}
		*out++ = (char)(hi << 4 | lo);
		s += 2;
	}
	*out = '\0';
	return true;
}

/* "http://host/path": leaves the path.  The host in it must be the one in Host, so that whoever
 * looks at Host later is not deceived. */
static int strip_origin(struct ob__http_parse *p, char **target)
{
	static const char *const schemes[] = {"http://", "https://", "ws://", "wss://", NULL};
	for (size_t i = 0; schemes[i]; i++) {
		size_t len = strlen(schemes[i]);
		if (strncasecmp(*target, schemes[i], len) != 0) {
			continue;
		}
		char *authority = *target + len;
		size_t n = strcspn(authority, "/?");
		const char *host = ob__http_parse_field(p, "host");
		if (n == 0 ||
		    (host && (strlen(host) != n || strncasecmp(host, authority, n) != 0))) {
			return say(p, 400, "target and Host differ");
		}
		*target = authority + n;
		return 0;
	}
	return say(p, 400, "malformed target");
}

static int check_target(struct ob__http_parse *p)
{
	char *target = (char *)p->target;
	target[p->target_len] = '\0';
	if (*target != '/') {
		int status = strip_origin(p, &target);
		if (status != 0) {
			return status;
		}
	}
	char *query = strchr(target, '?');
	if (query) {
		*query = '\0';
	}
	p->query = query ? query + 1 : "";
	p->path = *target == '\0' ? "/" : target;
	if (!decode(target)) {
		return say(p, 400, "malformed escape in the target");
	}
	return 0;
}

/* ---------------------------------------------------------------- fields */

static unsigned count(const struct ob__http_parse *p, const char *name)
{
	unsigned n = 0;
	for (size_t i = 0; i < p->fields_len; i++) {
		n += ob__http_same_name(p->fields[i].name, name);
	}
	return n;
}

static int check_host(struct ob__http_parse *p)
{
	unsigned n = count(p, "host");
	if (n > 1 || (n == 0 && p->http11)) {
		return say(p, 400, "exactly one Host is needed");
	}
	if (n == 1 && strpbrk(ob__http_parse_field(p, "host"), " \t,/?#@\\")) {
		return say(p, 400, "malformed Host");
	}
	return 0;
}

static int check_length(struct ob__http_parse *p, const char *value)
{
	uint64_t length = 0;
	size_t n = strlen(value);
	for (size_t i = 0; i < n; i++) {
		if (!digit(value[i])) {
			return say(p, 400, "malformed Content-Length");
		}
		length = length > UINT32_MAX ? length : length * 10 + (uint64_t)(value[i] - '0');
	}
	if (n == 0) {
		return say(p, 400, "malformed Content-Length");
	}
	if (length > p->max_body) {
		return say(p, 413, "body too large");
	}
	p->body_left = length;
	p->has_body = length > 0;
	return 0;
}

/* RFC 9112 section 6.1 and 6.3.  Each rule is a way in which two parsers of one connection have
 * been led to disagree about where a request ends. */
static int check_framing(struct ob__http_parse *p)
{
	unsigned lengths = count(p, "content-length");
	unsigned codings = count(p, "transfer-encoding");
	if (lengths > 1 || codings > 1 || (lengths > 0 && codings > 0)) {
		return say(p, 400, "more than one way to tell the length");
	}
	if (lengths == 1) {
		return check_length(p, ob__http_parse_field(p, "content-length"));
	}
	if (codings == 0) {
		return 0;
	}
	const char *coding = ob__http_parse_field(p, "transfer-encoding");
	if (!p->http11) {
		return say(p, 400, "Transfer-Encoding in HTTP/1.0");
	}
	if (strcasecmp(coding, "chunked") != 0) {
		return say(p, 501, "only the chunked transfer coding is known");
	}
	p->chunked = true;
	p->has_body = true;
	return 0;
}

static int check_expect(struct ob__http_parse *p)
{
	const char *value = ob__http_parse_field(p, "expect");
	if (!value || !p->http11) {
		return 0;
	}
	if (strcasecmp(value, "100-continue") != 0 || count(p, "expect") > 1) {
		return say(p, 417, "only 100-continue is known");
	}
	p->expect_continue = p->has_body;
	return 0;
}

int ob__http_head_check(struct ob__http_parse *p)
{
	int status = check_host(p);
	if (status == 0) {
		status = check_target(p);
	}
	if (status == 0) {
		status = check_framing(p);
	}
	if (status == 0) {
		status = check_expect(p);
	}
	if (status != 0) {
		return status;
	}
	p->keep_alive = p->http11 ? !ob__http_parse_word(p, "connection", "close")
	                          : ob__http_parse_word(p, "connection", "keep-alive");
	p->wants_websocket = ob__http_parse_word(p, "upgrade", "websocket");
	return 0;
}

/* ---------------------------------------------------------------- WebSocket */

static bool key_ok(const char *key)
{
	uint8_t bytes[KEY_TEXT / 4 * 3];
	if (!key || strlen(key) != KEY_TEXT) {
		return false;
	}
	/* EVP_DecodeBlock() takes '=' anywhere and white space in front; 16 bytes end in exactly
	 * two. */
	if (strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") !=
	    KEY_TEXT - 2) {
		return false;
	}
	return strcmp(key + KEY_TEXT - 2, "==") == 0 &&
	       EVP_DecodeBlock(bytes, (const uint8_t *)key, KEY_TEXT) == sizeof(bytes);
}

static bool accept_of(const char *key, const EVP_MD *sha1, char accept[OB__HTTP_ACCEPT_LEN + 1])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[KEY_TEXT + sizeof(guid) - 1];
	uint8_t hash[EVP_MAX_MD_SIZE];
	memcpy(text, key, KEY_TEXT);
	memcpy(text + KEY_TEXT, guid, sizeof(guid) - 1);
	unsigned len = 0;
	if (EVP_Digest(text, sizeof(text), hash, &len, sha1 ? sha1 : EVP_sha1(), NULL) != 1) {
		return false;
	}
	return EVP_EncodeBlock((uint8_t *)accept, hash, (int)len) == OB__HTTP_ACCEPT_LEN;
}

static const char *skip_space(const char *s)
{
	return s + strspn(s, " \t");
}

/* The end of the token at `s`, or NULL if there is none. */
static const char *skip_token(const char *s)
{
	const char *end = s;
	while (ob__http_is_token(end, 1)) {
		end++;
	}
	return end > s ? end : NULL;
}

/* The end of a quoted string that stands for a token. */
static const char *skip_quoted(const char *s)
{
	const char *from = ++s;
	for (; *s != '"'; s++) {
		s += *s == '\\';
		if (!ob__http_is_token(s, 1)) {
			return NULL;
		}
	}
	return s > from ? s + 1 : NULL;
}

/* RFC 6455 section 9.1: a name, and parameters with or without a value. */
static const char *skip_extension(const char *s)
{
	s = skip_token(s);
	while (s && *skip_space(s) == ';') {
		s = skip_token(skip_space(skip_space(s) + 1));
		if (s && *skip_space(s) == '=') {
			s = skip_space(skip_space(s) + 1);
			s = *s == '"' ? skip_quoted(s) : skip_token(s);
		}
	}
	return s;
}

/* A list of at least one element; elements that are empty don't count. */
static bool is_list(const char *s, const char *(*skip)(const char *))
{
	bool any = false;
	while (*(s += strspn(s, ", \t")) != '\0') {
		s = skip(s);
		if (!s || (*skip_space(s) != ',' && *skip_space(s) != '\0')) {
			return false;
		}
		any = true;
	}
	return any;
}

static bool are_lists(const struct ob__http_parse *p, const char *name,
                      const char *(*skip)(const char *))
{
	for (size_t i = 0; i < p->fields_len; i++) {
		if (ob__http_same_name(p->fields[i].name, name) &&
		    !is_list(p->fields[i].value, skip)) {
			return false;
		}
	}
	return true;
}

/* What is offered and never taken up must be well-formed even so (section 4.2.1). */
static int check_offers(struct ob__http_parse *p)
{
	if (!are_lists(p, "sec-websocket-protocol", skip_token)) {
		return say(p, 400, "malformed Sec-WebSocket-Protocol");
	}
	if (!are_lists(p, "sec-websocket-extensions", skip_extension)) {
		return say(p, 400, "malformed Sec-WebSocket-Extensions");
	}
	return 0;
}

int ob__http_handshake(struct ob__http_parse *p, char accept[OB__HTTP_ACCEPT_LEN + 1])
{
	if (strcmp(p->method, "GET") != 0 || !p->http11 || p->has_body) {
		return say(p, 400, "a WebSocket handshake is a GET of HTTP/1.1");
	}
	if (!p->wants_websocket || !ob__http_parse_word(p, "connection", "upgrade")) {
		return say(p, 400, "a WebSocket handshake says Upgrade and Connection");
	}
	if (count(p, "sec-websocket-version") > 1) {
		return say(p, 400, "more than one Sec-WebSocket-Version");
	}
	const char *version = ob__http_parse_field(p, "sec-websocket-version");
	if (!version || strcmp(version, "13") != 0) {
		return say(p, 426, "WebSocket version 13 is spoken here");
	}
	const char *key = ob__http_parse_field(p, "sec-websocket-key");
	if (count(p, "sec-websocket-key") != 1 || !key_ok(key)) {
		return say(p, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
	}
	int status = check_offers(p);
	if (status != 0) {
		return status;
	}
	return accept_of(key, p->sha1, accept) ? 0 : say(p, 500, "SHA-1 is not available");
}
