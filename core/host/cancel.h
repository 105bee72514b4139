/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Calls that their callers have cancelled, at the nodes that have
 * them.
 *
 * A call that was sent is followed by a CANCEL (OB__SYS_CANCEL) with its number, on the same way.
 * Where it waits for a node it is forgotten; where a handler holds it, it ends with GONE, without
 * an answer and without a word against the handler's code.  A handler that runs is not disturbed.
 * Nobody asks whether a CANCEL has arrived: what it misses ends by its deadline.
 *
 * Who may cancel is who has called: requests are found by their source and its number for them, and
 * links see to it that a frame is from the node that it names.  A request with an idempotency key
 * whose end others wait for goes on.
 */

#ifndef OB__CANCEL_H
#define OB__CANCEL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/frame.h"
#include "lib/map.h"

struct ob__node;
struct ob__pending;
struct ob__req;

struct ob__cancels {
	struct ob__map held; /* source, its call id -> ob__req: calls that handlers hold */
	uint64_t *sent;
	uint64_t *ended; /* requests */
};

void ob__cancels_init(struct ob__node *node);
void ob__cancels_free(struct ob__node *node);

/* A request is held, or is not any more. */
void ob__cancel_hold(struct ob__req *r);
void ob__cancel_release(struct ob__req *r);

/* The request with the call id `call` of this node's, which has gone to the node `to`; this one: in
 * a later turn. */
void ob__cancel_at(struct ob__node *node, uint64_t to, uint64_t call);

/* The request of an entry that is about to be dropped; `to`: the node that it was meant for, or 0.
 */
void ob__cancel_pending(struct ob__node *node, const struct ob__pending *p, uint64_t to);

/* A CANCEL frame; false when it is to be passed on. */
bool ob__cancel_frame(struct ob__node *node, const struct ob__frame *f);

#endif
