/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/origin.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

struct parts {
	const char *scheme; /* NULL: none */
	size_t scheme_len;
	const char *host;
	size_t host_len;
	const char *port; /* digits, NULL: none */
	size_t port_len;
};

static bool is_digits(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9') {
			return false;
		}
	}
	return len > 0 && len <= 5;
}

/* False for what is no origin. */
static bool split(const char *text, struct parts *p)
{
	const char *mark = strstr(text, "://");

	*p = (struct parts){0};
	if (mark != NULL) {
		p->scheme = text;
		p->scheme_len = (size_t)(mark - text);
		text = mark + 3;
	}
	size_t len = strcspn(text, "/ \t?#@,\\");
	if (text[len] != '\0' || len == 0 || (mark != NULL && p->scheme_len == 0)) {
		return false;
	}
	const char *bracket = text[0] == '[' ? memchr(text, ']', len) : NULL;
	const char *from = bracket != NULL ? bracket : text;
	const char *colon = memchr(from, ':', len - (size_t)(from - text));
	p->host = text;
	p->host_len = colon != NULL ? (size_t)(colon - text) : len;
	if (colon != NULL) {
		p->port = colon + 1;
		p->port_len = len - p->host_len - 1;
		return p->host_len > 0 && is_digits(p->port, p->port_len);
	}
	return true;
}

bool ob__origin_pattern_ok(const char *pattern)
{
	struct parts p;

	if (!split(pattern, &p)) {
		return false;
	}
	const char *star = memchr(p.host, '*', p.host_len);
	return star == NULL || (star == p.host && p.host_len > 2 && p.host[1] == '.' &&
	                        memchr(star + 1, '*', p.host_len - 1) == NULL);
}

static bool same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

static bool same_host(const struct parts *pattern, const struct parts *p)
{
	if (pattern->host[0] != '*') {
		return same(pattern->host, pattern->host_len, p->host, p->host_len);
	}
	size_t tail = pattern->host_len - 1; /* with its dot */
	return p->host_len > tail &&
	       strncasecmp(p->host + p->host_len - tail, pattern->host + 1, tail) == 0;
}

bool ob__origin_matches(const char *pattern, const char *origin)
{
	struct parts a;
	struct parts b;

	if (!split(pattern, &a) || !split(origin, &b) || b.scheme == NULL || !same_host(&a, &b)) {
		return false;
	}
	if (a.scheme != NULL && !same(a.scheme, a.scheme_len, b.scheme, b.scheme_len)) {
		return false;
	}
	if (a.port == NULL && a.scheme == NULL) {
		return true;
	}
	if (a.port == NULL || b.port == NULL) {
		return a.port == b.port;
	}
	return same(a.port, a.port_len, b.port, b.port_len);
}
