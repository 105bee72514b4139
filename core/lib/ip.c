/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

void ob__ip_from_v4(struct ob__ip *ip, const uint8_t v4[4])
{
	memcpy(ip->b, mapped, sizeof(mapped));
	memcpy(ip->b + sizeof(mapped), v4, 4);
}

bool ob__ip_is_v4(const struct ob__ip *ip)
{
	return memcmp(ip->b, mapped, sizeof(mapped)) == 0;
}

int ob__ip_parse(struct ob__ip *ip, const char *text)
{
	uint8_t v4[4];

	if (inet_pton(AF_INET, text, v4) == 1) {
		ob__ip_from_v4(ip, v4);
		return 0;
	}
	return inet_pton(AF_INET6, text, ip->b) == 1 ? 0 : -EINVAL;
}

void ob__ip_format(const struct ob__ip *ip, uint16_t port, char *out, size_t cap)
{
	char text[INET6_ADDRSTRLEN] = "";
	bool v4 = ob__ip_is_v4(ip);

	(void)inet_ntop(v4 ? AF_INET : AF_INET6, ip->b + (v4 ? sizeof(mapped) : 0), text,
	                sizeof(text));
	snprintf(out, cap, v4 ? "%s:%u" : "[%s]:%u", text, port);
}

struct ob__ip ob__ip_household(const struct ob__ip *ip)
{
	struct ob__ip who = *ip;

	if (!ob__ip_is_v4(ip)) {
		memset(who.b + 8, 0, 8);
	}
	return who;
}

/* Decimal, at most three digits; -1 if it is none. */
static int read_bits(const char *text)
{
	int bits = 0;
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9') {
			return -1;
		}
		bits = bits * 10 + (text[i] - '0');
	}
	return len > 0 && len <= 3 ? bits : -1;
}

static struct ob__ip masked(const struct ob__ip *ip, unsigned bits)
{
	struct ob__ip out = {{0}};

	memcpy(out.b, ip->b, bits / 8);
	if (bits % 8 != 0) {
		out.b[bits / 8] = (uint8_t)(ip->b[bits / 8] & (0xff00u >> bits % 8));
	}
	return out;
}

int ob__cidr_parse(struct ob__cidr *c, const char *text)
{
	char address[INET6_ADDRSTRLEN + 1];
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);

	if (len >= sizeof(address)) {
		return -EINVAL;
	}
	memcpy(address, text, len);
	address[len] = '\0';
	if (ob__ip_parse(&c->ip, address) != 0) {
		return -EINVAL;
	}
	int most = strchr(address, ':') == NULL ? 32 : 128;
	int bits = slash != NULL ? read_bits(slash + 1) : most;
	if (bits < 0 || bits > most) {
		return -EINVAL;
	}
	c->bits = (uint8_t)(bits + 128 - most);
	struct ob__ip first = masked(&c->ip, c->bits);
	return memcmp(&first, &c->ip, sizeof(first)) == 0 ? 0 : -EINVAL;
}

bool ob__cidr_has(const struct ob__cidr *c, const struct ob__ip *ip)
{
	struct ob__ip first = masked(ip, c->bits);

	return memcmp(&first, &c->ip, sizeof(first)) == 0;
}
