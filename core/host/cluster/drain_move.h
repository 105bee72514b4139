/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  A session leaves the node that it sticks to: what the two ends
 * say to each other.  host/cluster/drain.h has the course.
 */

#ifndef OB__DRAIN_MOVE_H
#define OB__DRAIN_MOVE_H

#include <stdbool.h>

#include "lib/frame.h"
#include "mesh/session.h"

struct ob__node;

/* Asks the session's proxy to let it go elsewhere. False when there is no way to the proxy. */
bool ob__move_ask(struct ob__node *node, const struct ob__session *s);

/* SESSION_MOVE, at the proxy; SESSION_MOVED, at the node that asked. */
void ob__move_asked(struct ob__node *node, const struct ob__frame *f);
void ob__move_answered(struct ob__node *node, const struct ob__frame *f);

#endif
