/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Messages that are to go where the session's earlier ones went.
 *
 * A choice is looked at each time it is used: one whose node is known to be down is none.
 */

#ifndef OB__STICKY_H
#define OB__STICKY_H

#include <stdint.h>

#include "lib/frame.h"
#include "mesh/session.h"

struct ob__node;

/* The node that a session of this node's client sticks to for a role, or 0; a choice that is none
 * is forgotten. */
uint64_t ob__sticky_of_session(struct ob__node *node, struct ob__session *s, uint32_t role);

/* The node that a frame, on its way, is to go to by the choices that it has with it, or 0. */
uint64_t ob__sticky_of_frame(const struct ob__node *node, const struct ob__frame *f);

#endif
