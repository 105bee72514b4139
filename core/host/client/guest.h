/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What is known of one client of a listener that counts, from the
 * moment it was accepted until it is gone: who it is, as its load balancer says, and how much it
 * has sent.
 *
 * A listener without such bounds has no guests, and its connections no memory for them.
 */

#ifndef OB__GUEST_H
#define OB__GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/bucket.h"
#include "lib/ip.h"

struct ob__client_listener;
struct ob__listen_conf;
struct ob__node;
struct ob__stream;

struct ob__guest {
	struct ob__client_listener *from;
	struct ob__ip ip;
	uint16_t port;
	bool known;      /* it has an address: no unix socket */
	bool told;       /* by a load balancer */
	bool counted;    /* among those of its address */
	uint64_t client; /* the number of the module that brought it */
	struct ob__bucket all;
	struct ob__bucket per_id[]; /* one for each of the listener's rules */
};

/* The listener's clients are guests. */
bool ob__guest_needed(const struct ob__listen_conf *conf);

/* Of a newcomer; NULL when out of memory. */
struct ob__guest *ob__guest_new(struct ob__client_listener *from, const struct ob__stream *s);

/* Of one whose address, or NULL, somebody else has told. */
struct ob__guest *ob__guest_named(struct ob__client_listener *from, const struct ob__ip *ip,
                                  uint16_t port);

/* NULL is accepted.  The listener may be gone behind it, if nobody else has to do with it. */
void ob__guest_free(struct ob__guest *g);

/* Whoever connects from there speaks for others. */
bool ob__guest_is_trusted(const struct ob__guest *g);

/* It is one too many: of the listener's, of its address's; else it is counted from now on.  NULL,
 * or a word to count it by. */
const char *ob__guest_enter(struct ob__guest *g);

/* It sends a message: NULL, or a word to count it by when it is one too many. */
const char *ob__guest_send(struct ob__guest *g, uint32_t now_ms, uint32_t id);

/* Counts a message that was one too many. */
void ob__client_count_excess(struct ob__node *node, const char *reason);

#endif
