/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Addresses of clients as numbers.
 *
 * All are 16 bytes: an IPv4 address is what IPv6 calls it, ::ffff:a.b.c.d, so that a socket of
 * either kind and a range of either kind compare.
 */

#ifndef OB__IP_H
#define OB__IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__IP_TEXT 64u /* room for "[address]:port" */

struct ob__ip {
	uint8_t b[16];
};

/* A range: the first `bits` of an address. */
struct ob__cidr {
	struct ob__ip ip;
	uint8_t bits; /* of 128 */
};

/* An address in numbers. 0 or -EINVAL. */
int ob__ip_parse(struct ob__ip *ip, const char *text);

void ob__ip_from_v4(struct ob__ip *ip, const uint8_t v4[4]);
bool ob__ip_is_v4(const struct ob__ip *ip);

/* "127.0.0.1:2000", "[::1]:2000". */
void ob__ip_format(const struct ob__ip *ip, uint16_t port, char *out, size_t cap);

/* Who is taken for one client: an IPv4 address, or a network of IPv6 (64 bits of it). */
struct ob__ip ob__ip_household(const struct ob__ip *ip);

/* "10.0.0.0/8", "2001:db8::/32", or an address. 0 or -EINVAL: also for bits beyond those of the
 * range that are set, which tell of a mistake. */
int ob__cidr_parse(struct ob__cidr *c, const char *text);
bool ob__cidr_has(const struct ob__cidr *c, const struct ob__ip *ip);

#endif
