/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  One message for all clients of this node, or for many of them.
 *
 * There may be a hundred thousand of them, so it is written to some in each turn of the loop.
 * Broadcasts are numbered, and each connection knows the last one it has had.  Whatever else is
 * sent to a client (a push, an answer, its end) waits for nothing: the broadcasts that began before
 * it and have not reached the client yet are written first.  So a client sees everything in the
 * order in which this node got to know it, and pays for that with a comparison.  One who comes
 * while a broadcast is under way does not get it.
 *
 * It begins with the next turn of the loop, which does not wait for anything.  Those that are under
 * way go round the table of connections together: each client that they come to has all of them
 * that it lacks in one write, and a broadcast is done when they are back where it began.  So it
 * waits for none of those before it, and the more there are, the less each one costs.  What a codec
 * has made of it is kept for those who come later (host/push/fanout.h), as long as there is room.
 *
 * What is under way is bounded: beyond OB__BROADCASTS_MAX, or limits.held in bytes, the oldest one
 * is written to all whom it has not reached, at once.
 */

#ifndef OB__BROADCAST_H
#define OB__BROADCAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "lib/list.h"

#define OB__BROADCASTS_MAX     64u
#define OB__BROADCAST_A_TURN   512u       /* messages */
#define OB__BROADCAST_TURN_MAX (4u << 20) /* or bytes in all */

struct ob__conn;
struct ob__node;

struct ob__broadcasts {
	struct ob__list list; /* under way, oldest first */
	uint64_t last;        /* number of the newest one */
	uint32_t count;
	uint32_t at;    /* slot in the table of connections that is looked at next */
	uint64_t round; /* how often the end of the table was reached */
	size_t bytes;   /* of messages, and of what codecs have made of them */
	bool queued;    /* a turn is coming */
	bool over;      /* the clients are being closed: no turn comes any more */
	uint64_t *total;
};

void ob__broadcasts_init(struct ob__node *node);
void ob__broadcasts_free(struct ob__node *node);

/* To every client that has a session now.  0 or OB_E_NOMEM; OB_E_STATE: a codec asks for it, while
 * it encodes what goes to many. */
int ob__broadcast(struct ob__node *node, uint32_t id, const void *data, size_t len);

/* To the clients whose connections `next` names, until it gives 0.  The same codes. */
int ob__broadcast_some(struct ob__node *node, uint32_t id, const void *data, size_t len,
                       uint64_t (*next)(void *arg), void *arg);

/* How many clients a message of that many bytes is written to in one turn. */
size_t ob__broadcast_a_turn(size_t len);

/* All that is under way is written now, and so is what comes later. */
void ob__broadcasts_finish(struct ob__node *node);

/* What the connection has not had of those under way is written to it. */
void ob__broadcasts_catch_up(struct ob__conn *conn);

/* Of a connection that goes: calls fn for each of those. */
typedef void (*ob__broadcast_fn)(void *arg, const ob_packet *p);
void ob__broadcasts_rest(const struct ob__conn *conn, ob__broadcast_fn fn, void *arg);

#endif
