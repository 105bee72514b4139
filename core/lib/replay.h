/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Messages to one client, numbered, and the last of them kept.
 *
 * Each message gets the next number, 1 for the first.  What the client says it has seen is freed;
 * what would go beyond the bounds makes the oldest ones go, so those that are kept are always the
 * last ones, without a gap.  A client that comes back and has seen a number gets what comes behind
 * it, or hears that some of that is lost.
 *
 * Several of them share a bound in bytes besides their own.
 */

#ifndef OB__REPLAY_H
#define OB__REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"

#define OB__REPLAY_OVERHEAD 96u /* bytes that a message counts beyond its own */

struct ob__replay_bounds {
	uint32_t messages;
	size_t bytes;
	size_t all; /* of all that share */
};

/* As it was before it was encoded. */
struct ob__replay_msg {
	int kind; /* the floors above's own */
	uint32_t id;
	uint64_t cookie;
	int status;
	const char *name; /* NULL: none */
	size_t name_len;
	const uint8_t *data;
	size_t len;
};

struct ob__replay_item {
	struct ob__list link;
	uint64_t number;
	struct ob__replay_msg msg; /* points into bytes */
	uint8_t bytes[];
};

struct ob__replay {
	struct ob__list items; /* oldest first */
	uint64_t sent;         /* the number of the last one */
	uint64_t seen;         /* the highest that the client is known to have */
	uint32_t len;
	size_t bytes; /* overhead included */
	size_t *all;  /* the same of all that share */
};

/* `all` outlives it.  The next message is number sent + 1. */
void ob__replay_init(struct ob__replay *r, size_t *all, uint64_t sent);
void ob__replay_free(struct ob__replay *r);

/* Numbers a message and keeps a copy, if the bounds and the memory allow for it; else it is gone,
 * and all before it.  Returns its number. */
uint64_t ob__replay_put(struct ob__replay *r, const struct ob__replay_msg *msg,
                        const struct ob__replay_bounds *max);

/* The last one was not sent after all, and its number is free again.  False: it was not the last.
 */
bool ob__replay_take_back(struct ob__replay *r, uint64_t number);

/* The client has all up to `seen`.  False: there never were so many. */
bool ob__replay_seen(struct ob__replay *r, uint64_t seen);

/* All behind `seen` are kept, or there are none. */
bool ob__replay_has(const struct ob__replay *r, uint64_t seen);

/* The first that is kept with a number above `number`; NULL: there is none. */
const struct ob__replay_item *ob__replay_next(const struct ob__replay *r, uint64_t number);

/* The one behind it, or NULL. */
const struct ob__replay_item *ob__replay_after(const struct ob__replay *r,
                                               const struct ob__replay_item *item);

#endif
