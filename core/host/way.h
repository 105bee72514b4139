/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The way that a client's last message took, for the next one.
 *
 * Where a session's message goes depends on what its decider says, on the rule for its id, on what
 * the session sticks to, on whose it is, and on who can be reached.  All of that seldom changes,
 * and each has a number that does when it changes.  So the peer that was found for one message, and
 * the extensions that told the nodes behind it, stand for the next one, as long as the numbers are
 * the same; what differs is thought through anew (host/from_client.c).
 *
 * Only what stays is kept: a message that goes by turns, or that a module's policy places, asks
 * each time.
 */

#ifndef OB__WAY_H
#define OB__WAY_H

#include <stdbool.h>
#include <stdint.h>

#include "mesh/registry.h"
#include "mesh/session.h"

#define OB__WAY_EXT 128u /* most bytes of extensions that are kept */

struct ob__way {
	uint64_t changes; /* of the registry; 0: nothing is kept */
	uint64_t epoch;   /* of whose the session is */
	uint32_t change;  /* the same */
	uint32_t version; /* of the session's choices */
	uint32_t rule;    /* of the message id */
	uint32_t role;    /* that the decider said, or 0 */
	struct ob__peer *peer;
	uint64_t dst;
	uint16_t ext_len;
	uint8_t ext[OB__WAY_EXT]; /* its place in the session's order comes first */
};

/* Whether the way stands for a sticky message of the session to the role. */
static inline bool ob__way_holds(const struct ob__way *w, const struct ob__registry *r,
                                 const struct ob__session *s, uint32_t rule, uint32_t role)
{
	const struct ob__session_more *more = s->more;
	uint64_t epoch = more != NULL && more->bound ? more->epoch : 0;
	uint32_t change = more != NULL ? more->change : 0;

	return w->changes == r->changes && w->version == s->version && w->rule == rule &&
	       w->role == role && w->epoch == epoch && w->change == change;
}

/* Notes what is to stand; the caller fills in the rest. */
static inline void ob__way_note(struct ob__way *w, const struct ob__registry *r,
                                const struct ob__session *s, uint32_t rule, uint32_t role)
{
	const struct ob__session_more *more = s->more;

	w->changes = r->changes;
	w->epoch = more != NULL && more->bound ? more->epoch : 0;
	w->change = more != NULL ? more->change : 0;
	w->version = s->version;
	w->rule = rule;
	w->role = role;
}

#endif
