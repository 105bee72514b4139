/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Clients that read too little of what goes to them, and are closed
 * for that.
 *
 * Modules hear of such an end, and send because of it.  So none comes while one message goes to
 * many: nothing may overtake it.  And none within another one: what a module sends when it hears of
 * an end may be too much for the next client, whose end is too much for the one after him, and no
 * stack is as deep as a node has clients.  Those who are found meanwhile take nothing more, and are
 * closed one after the other.
 */

#ifndef OB__TOO_SLOW_H
#define OB__TOO_SLOW_H

#include <stdbool.h>
#include <stdint.h>

struct ob__conn;
struct ob__node;

/* Of a node; zeroed at first. */
struct ob__too_slow {
	uint32_t held; /* messages that go to many just now */
	bool closing;
	bool unlisted; /* some are marked only: there was no memory for a place in the list */
	uint32_t len;
	uint32_t cap;
	uint64_t *list; /* handles of connections */
};

/* Closes the client: before it returns, or when what is under way is over. */
void ob__conn_too_slow(struct ob__conn *conn);

/* Nobody is closed until as many releases have come. */
void ob__too_slow_hold(struct ob__node *node);

/* Modules may be called: the caller is in the middle of nothing any more. */
void ob__too_slow_release(struct ob__node *node);

/* True between the two: no module's code runs but its codecs'. */
bool ob__too_slow_held(const struct ob__node *node);

#endif
