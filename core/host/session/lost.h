/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Proxies that are gone, and what becomes of their sessions.
 *
 * A node is out of reach when it has no link with this one and the directory does not list it.  One
 * that the directory takes for dead is gone at once; one that has left, or of which no directory
 * tells, when it stays out of reach for GONE_MS, in which it says what it has to say of its
 * sessions; and so is a life of it when a later one is known.  The sessions of a proxy that is
 * gone are lost: each node that has met them raises OB_EVENT_SESSION_LOST, once per session, and
 * forgets them, at most LOST_A_TURN in a turn of the loop.
 */

#ifndef OB__SESSION_LOST_H
#define OB__SESSION_LOST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "lib/frame.h"
#include "lib/map.h"

struct ob__member;
struct ob__node;
struct ob__peer;

struct ob__losses {
	struct ob__map suspects; /* node -> when it is taken for gone, loop ms + 1 */
	struct ob__map lives;    /* node -> sessions begin at this second of its clock, + 1 */
	struct ob__timeout check;
	struct ob__timeout sweep;
	uint32_t at; /* slot in the table of sessions */
	bool again;
	uint64_t *lost;
};

void ob__losses_init(struct ob__node *node);
void ob__losses_free(struct ob__node *node);

void ob__losses_link_up(struct ob__node *node, const struct ob__peer *peer);
void ob__losses_link_down(struct ob__node *node, const struct ob__peer *peer);

/* What the directory says of a node has changed. */
void ob__losses_member(struct ob__node *node, const struct ob__member *m);

/* A session of the proxy with this number was met: those of its former lives have ended. */
void ob__losses_met(struct ob__node *node, uint64_t proxy, uint64_t seq);

/* The node is gone, or (seq not 0) the life of it that the session number is of. */
bool ob__node_gone(struct ob__node *node, uint64_t id, uint64_t seq);

#endif
