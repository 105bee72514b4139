/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What other nodes may send here, and how much.
 *
 * Asked for each frame that arrives on a link, before it is handled or passed on, about the node at
 * the other end of that very link, whose role its token or certificate has proved: a route node
 * checks its neighbours, and who is behind a route node relies on that.  Answers and the host's own
 * frames are always taken.
 */

#ifndef OB__PERMIT_H
#define OB__PERMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/lograte.h"
#include "lib/frame.h"

struct ob__link;
struct ob__node;
struct ob__permit;

enum ob__denial {
	OB__DENIED_ID,
	OB__DENIED_METHOD,
	OB__DENIED_CALL,
	OB__DENIED_PUSH,
	OB__DENIED_RATE,
	OB__DENIED_FLOOD,
	OB__DENIALS,
};

struct ob__permits {
	struct ob__permit *list; /* one per role of rpc.allow */
	size_t len;
	bool active; /* there is anything to ask */
	uint64_t *denied[OB__DENIALS];
	struct ob__lograte lines;
	struct ob__log_limit limits[OB__DENIALS]; /* when `lines` is full */
};

/* Nothing may be asked before apply(). */
void ob__permits_init(struct ob__node *node);

/* Reads rpc.allow and the limits of node->conf, instead of what was read before. 0 or OB_E_NOMEM,
 * and nothing has changed. */
int ob__permits_apply(struct ob__node *node);
void ob__permits_free(struct ob__permits *permits);

/* How many of the frame's messages are to be handled, the first ones.  0: none, which was answered,
 * counted and logged; what is left of some is for ob__permit_refuse(). */
uint32_t ob__permit_frame(struct ob__node *node, struct ob__link *link, const struct ob__frame *f);

/* Answers, counts and logs what is too much. */
void ob__permit_refuse(struct ob__node *node, struct ob__link *link, const struct ob__frame *f);

#endif
