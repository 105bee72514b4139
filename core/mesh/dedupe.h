/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Requests that came with an idempotency key, so that one that is
 * sent a second time is not done a second time.
 *
 * A request is known by its source, its message id or method, and its key.  The first one is NEW:
 * whoever handles it gives its end here.  Another one meanwhile WAITs for that end; a later one is
 * DONE: the end is there.  An end is kept for `window_ms`.
 *
 * All is bounded, in requests and in bytes.  To make room, the oldest ends go whose sender has
 * given up by now (its own time is over, so no try of the same call can come); when all might still
 * be asked for, a new request is FULL: the sender is told BUSY rather than a promise be broken.  An
 * answer that alone is more than all bytes is not kept: only that it was given.
 *
 * The clock is passed in.
 */

#ifndef OB__DEDUPE_H
#define OB__DEDUPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/map.h"
#include "lib/slab.h"

#define OB__DEDUPE_KEY_MAX     64u
#define OB__DEDUPE_WAITERS_MAX 16u /* for one end; beyond it: FULL */
#define OB__DEDUPE_NEVER       UINT64_MAX

enum ob__dedupe_state {
	OB__DEDUPE_NEW = 1,
	OB__DEDUPE_WAIT,
	OB__DEDUPE_DONE,
	OB__DEDUPE_FULL,
};

/* Who is owed the end. */
struct ob__dedupe_waiter {
	uint64_t src;
	uint64_t call; /* 0: nobody, a one-way message */
	uint32_t id;
	bool from_client;
};

struct ob__dedupe_query {
	const char *method; /* NULL: by who.id */
	size_t method_len;
	const uint8_t *key; /* 1..OB__DEDUPE_KEY_MAX bytes */
	size_t key_len;
	uint64_t until; /* when the sender has given up, ms */
	struct ob__dedupe_waiter who;
};

/* An end; the bytes belong to the entry when it is in one. */
struct ob__dedupe_end {
	int code;
	const char *text; /* or NULL */
	const uint8_t *data;
	size_t len;
	bool silent; /* ended without an answer */
	bool lost;   /* the answer was too big to be kept */
};

struct ob__dedupe_entry {
	struct ob__list ended_link; /* in ob__dedupe.ended */
	struct ob__dedupe_entry *next;
	uint64_t a; /* of the map's place */
	uint64_t b;
	uint64_t src;
	uint64_t until;
	uint64_t ended_at;
	size_t bytes; /* it counts for */
	uint32_t id;
	uint16_t method_len;
	uint16_t key_len;
	bool ended;
	uint8_t *name; /* the method's bytes, then the key's */
	struct ob__dedupe_waiter *waiters;
	size_t waiters_len;
	struct ob__dedupe_end end;
};

struct ob__dedupe {
	struct ob__slab slab;
	struct ob__map places; /* of source and hash -> chain of entries */
	struct ob__list ended; /* oldest end first */
	uint64_t window_ms;
	size_t bytes;
	size_t bytes_max;
	uint64_t repeated; /* requests that were WAIT or DONE */
	uint64_t full;
	uint64_t early; /* ends that went before their time, for lack of room */
};

/* `count`: most entries; `bytes`: of keys and answers together; `seed`: random and
 * secret, as keys come from outside. */
void ob__dedupe_init(struct ob__dedupe *d, uint32_t count, size_t bytes, uint64_t window_ms,
                     uint64_t seed);

/* NULL and a zeroed struct are accepted. */
void ob__dedupe_free(struct ob__dedupe *d);

/* A request.  NEW: *handle is for ob__dedupe_end(); DONE: *done is the end, valid until the next
 * call here; WAIT: the waiter is noted. */
enum ob__dedupe_state ob__dedupe_begin(struct ob__dedupe *d, const struct ob__dedupe_query *q,
                                       uint64_t now_ms, uint64_t *handle,
                                       const struct ob__dedupe_end **done);

/* Whether somebody waits for the end of a NEW one. */
bool ob__dedupe_awaited(const struct ob__dedupe *d, uint64_t handle);

/* The end of a NEW one: kept, unless `keep` is false, which says that nothing was done and it may
 * be tried again.  Returns the waiters, to be freed by the caller (NULL if none).  A stale handle
 * is harmless. */
struct ob__dedupe_waiter *ob__dedupe_end(struct ob__dedupe *d, uint64_t handle,
                                         const struct ob__dedupe_end *end, bool keep,
                                         uint64_t now_ms, size_t *len);

/* Forgets ends whose time is over; returns when to come again, ms, or OB__DEDUPE_NEVER. */
uint64_t ob__dedupe_expire(struct ob__dedupe *d, uint64_t now_ms);

#endif
