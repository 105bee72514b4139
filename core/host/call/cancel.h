/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Calls that their callers have cancelled, at the nodes that have
 * them.
 *
 * A call that was sent is followed by a CANCEL (OB__SYS_CANCEL) with its number, on the same way.
 * When it went to nobody in particular, the CANCEL is for the route node, which has noted where it
 * passed the call on to, and does the same with the CANCEL.  It has room for the calls of one
 * caller that are under way, 1,024 and the three before each; where callers come into each other's
 * way, a CANCEL may not know its own.
 *
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
struct ob__peer;
struct ob__pending;
struct ob__req;

#define OB__CANCEL_PLACES 4096u /* a power of 2 */

/* Where a route node has passed a call on to that was for nobody in particular. */
struct ob__cancel_place {
	uint64_t src;
	uint64_t call;
	uint64_t to;
};

struct ob__cancels {
	struct ob__map held; /* source, its call id -> ob__req: calls that handlers hold */
	struct ob__cancel_place *places; /* OB__CANCEL_PLACES; NULL: of no route node */
	uint64_t *sent;
	uint64_t *passed;
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

/* A call's frame, `raw` as it has come, is passed on to the node `to`. */
void ob__cancel_place(struct ob__node *node, const struct ob__frame *f, const uint8_t *raw,
                      const struct ob__peer *to);

/* A CANCEL frame that came on a link of `from`; false when it is to be passed on. */
bool ob__cancel_frame(struct ob__node *node, const struct ob__peer *from,
                      const struct ob__frame *f);

#endif
