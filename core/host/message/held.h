/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Frames that nobody live can take now.
 *
 * They are kept in order, bounded in bytes together, until a node comes up that can take them or
 * their time is nearly over; then a request ends with NO_ROUTE, a little before its sender would
 * give up on its own.
 */

#ifndef OB__HELD_H
#define OB__HELD_H

#include <stdint.h>

#include "lib/frame.h"
#include "mesh/router.h"

struct ob__node;
struct ob__pending;

/* Keeps a copy of a whole frame. 0 or OB_E_BUSY. */
int ob__hold_frame(struct ob__node *node, const struct ob__frame *f, const uint8_t *raw,
                   const struct ob__route_query *q);

/* Keeps a frame that this node made and could not send. 0 or OB_E_BUSY. */
int ob__hold_own(struct ob__node *node, struct ob__frame *f, const struct ob__route_query *q);

/* Forgets a request of this node's own if it still waits: its sender has. */
void ob__held_forget(struct ob__node *node, const struct ob__pending *p);

/* Forgets a call of any node if it still waits here; whether it did. */
bool ob__held_forget_call(struct ob__node *node, uint64_t src, uint64_t call);

/* Ends what is due; the timeout's callback, with the node. */
void ob__held_check(void *node);

/* Frees what is kept without a word. */
void ob__held_drop(struct ob__node *node);

#endif
