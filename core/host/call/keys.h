/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Requests with an idempotency key, between dispatch and
 * mesh/dedupe.h: the one that is new runs its handler, the others get that one's end.
 *
 * An end with OB_E_BUSY says that nothing was done, so it is not kept and the next try runs the
 * handler.
 */

#ifndef OB__KEYS_H
#define OB__KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "mesh/dedupe.h"

struct ob__node;

struct ob__keys {
	struct ob__dedupe table;
	struct ob__timeout timeout; /* of the next end to be forgotten */
};

void ob__keys_init(struct ob__node *node);
void ob__keys_free(struct ob__node *node);

/* True when the handler is to run; then *handle is for ob__keys_end().  False: the sender was
 * answered, or will be.  `q->who.src` may be this node. */
bool ob__keys_begin(struct ob__node *node, const struct ob__dedupe_query *q, uint64_t *handle);

/* Whether others wait for the end of a request that ob__keys_begin() let pass. */
bool ob__keys_awaited(const struct ob__node *node, uint64_t handle);

/* The end of a request that ob__keys_begin() let pass; others are left alone (handle 0). */
void ob__keys_end(struct ob__node *node, uint64_t handle, const struct ob__dedupe_end *end);

#endif
