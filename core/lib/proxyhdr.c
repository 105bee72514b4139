/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/proxyhdr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define V1_MAX  107u /* its line end included */
#define V2_HEAD 16u

static const uint8_t v2_mark[12] = {'\r', '\n', '\r', '\n', 0,   '\r',
                                    '\n', 'Q',  'U',  'I',  'T', '\n'};

/* ---- version 1 ---- */

/* Cuts the next word, which one blank ends; NULL when there is none. */
static char *next_word(char **at)
{
	char *word = *at;
	char *end = strchr(word, ' ');

	if (end != NULL) {
		*end = '\0';
		*at = end + 1;
	} else {
		*at = word + strlen(word);
	}
	return *word != '\0' ? word : NULL;
}

static int read_port(const char *word, uint16_t *port)
{
	unsigned value = 0;
	size_t len = strlen(word);

	for (size_t i = 0; i < len; i++) {
		if (word[i] < '0' || word[i] > '9') {
			return -EBADMSG;
		}
		value = value * 10 + (unsigned)(word[i] - '0');
	}
	if (len == 0 || len > 5 || (len > 1 && word[0] == '0') || value > UINT16_MAX) {
		return -EBADMSG;
	}
	*port = (uint16_t)value;
	return 0;
}

static int read_address(const char *word, int family, struct ob__ip *ip)
{
	uint8_t v4[4];

	if (family == AF_INET6) {
		return inet_pton(AF_INET6, word, ip->b) == 1 ? 0 : -EBADMSG;
	}
	if (inet_pton(AF_INET, word, v4) != 1) {
		return -EBADMSG;
	}
	ob__ip_from_v4(ip, v4);
	return 0;
}

/* "TCP4 1.2.3.4 5.6.7.8 1000 2000" */
static int read_line(char *line, struct ob__proxyhdr *out)
{
	struct ob__ip to;
	uint16_t to_port;
	char *at = line;
	const char *words[5];

	for (size_t i = 0; i < 5; i++) {
		words[i] = next_word(&at);
		if (i == 0 && words[0] != NULL && strcmp(words[0], "UNKNOWN") == 0) {
			return 0;
		}
		if (words[i] == NULL) {
			return -EBADMSG;
		}
	}
	bool v4 = strcmp(words[0], "TCP4") == 0;
	int family = v4 ? AF_INET : AF_INET6;
	if ((!v4 && strcmp(words[0], "TCP6") != 0) || *at != '\0' || at[-1] == '\0' ||
	    read_address(words[1], family, &out->ip) != 0 ||
	    read_address(words[2], family, &to) != 0 || read_port(words[3], &out->port) != 0 ||
	    read_port(words[4], &to_port) != 0) {
		return -EBADMSG;
	}
	out->named = true;
	return 0;
}

static int parse_v1(const uint8_t *data, size_t len, struct ob__proxyhdr *out)
{
	char line[V1_MAX + 1];
	size_t most = len < V1_MAX ? len : V1_MAX;
	const uint8_t *lf = memchr(data, '\n', most);

	if (lf == NULL) {
		return len >= V1_MAX ? -EBADMSG : 0;
	}
	size_t n = (size_t)(lf - data);
	if (data[n - 1] != '\r' || memchr(data, '\0', n) != NULL) {
		return -EBADMSG;
	}
	memcpy(line, data, n - 1);
	line[n - 1] = '\0';
	int rc = read_line(line + 6, out);
	return rc != 0 ? rc : (int)(n + 1);
}

/* ---- version 2 ---- */

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static int parse_v2(const uint8_t *data, size_t len, struct ob__proxyhdr *out)
{
	if (len < V2_HEAD) {
		return 0;
	}
	unsigned command = data[12] & 0x0fu;
	unsigned family = data[13] >> 4;
	unsigned protocol = data[13] & 0x0fu;
	size_t rest = be16(data + 14);
	const uint8_t *body = data + V2_HEAD;
	size_t needs = family == 1 ? 12 : family == 2 ? 36 : family == 3 ? 216 : 0;

	if (data[12] >> 4 != 2 || command > 1 || family > 3 || protocol > 2 ||
	    rest + V2_HEAD > OB__PROXYHDR_MAX) {
		return -EBADMSG;
	}
	/* Of the balancer's own connections nothing but the length counts. */
	bool named = command == 1 && protocol == 1 && (family == 1 || family == 2);
	if (command == 1 && rest < needs) {
		return -EBADMSG;
	}
	if (len < V2_HEAD + rest) {
		return 0;
	}
	if (named && family == 1) {
		ob__ip_from_v4(&out->ip, body);
		out->port = be16(body + 8);
	} else if (named) {
		memcpy(out->ip.b, body, 16);
		out->port = be16(body + 32);
	}
	out->named = named;
	return (int)(V2_HEAD + rest);
}

int ob__proxyhdr_parse(const uint8_t *data, size_t len, struct ob__proxyhdr *out)
{
	size_t n2 = len < sizeof(v2_mark) ? len : sizeof(v2_mark);
	size_t n1 = len < 6 ? len : 6;

	memset(out, 0, sizeof(*out));
	if (len == 0) {
		return 0;
	}
	int rc = -EBADMSG;
	if (memcmp(data, v2_mark, n2) == 0) {
		rc = n2 < sizeof(v2_mark) ? 0 : parse_v2(data, len, out);
	} else if (memcmp(data, "PROXY ", n1) == 0) {
		rc = n1 < 6 ? 0 : parse_v1(data, len, out);
	}
	if (rc <= 0) {
		memset(out, 0, sizeof(*out));
	}
	return rc;
}
