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
 * the same; what differs is thought through anew (host/message/from_client.c).
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

/* All that a way depends on. */
struct ob__way_key {
	uint64_t changes; /* of the registry; 0: nothing is kept */
	uint64_t epoch;   /* of whose the session is */
	uint32_t change;  /* the same */
	uint32_t version; /* of the session's choices */
	uint32_t rule;    /* of the message id */
	uint32_t role;    /* that the decider said, or 0 */
};

struct ob__way {
	struct ob__way_key key;
	struct ob__peer *peer;
	uint64_t dst;
	uint64_t mark;   /* of the frame with the last message that went so (mesh/link.h) */
	uint32_t id;     /* of that message */
	uint32_t number; /* its place among the session's */
	bool one_way;
	bool marked;    /* it said that it may be (OB__FRAME_FIRST): no other goes in its frame */
	bool first;     /* it is placed further on, and may be a first choice there */
	uint8_t lost;   /* what the rule says: enum ob__sticky_lost */
	uint16_t flags; /* of its frame: STICKY and OB__FRAME_LOST_* */
	uint16_t ext_len;
	uint8_t ext[OB__WAY_EXT]; /* its place in the session's order comes first */
};

static inline struct ob__way_key
ob__way_key(const struct ob__registry *r, const struct ob__session *s, uint32_t rule, uint32_t role)
{
	const struct ob__session_more *more = s->more;

	return (struct ob__way_key){
		.changes = r->changes,
		.epoch = more != NULL && more->bound ? more->epoch : 0,
		.change = more != NULL ? more->change : 0,
		.version = s->version,
		.rule = rule,
		.role = role,
	};
}

/* Whether the way stands for a sticky message of the session to the role. */
static inline bool ob__way_holds(const struct ob__way *w, const struct ob__registry *r,
                                 const struct ob__session *s, uint32_t rule, uint32_t role)
{
	struct ob__way_key key = ob__way_key(r, s, rule, role);

	_Static_assert(sizeof(key) == 2 * sizeof(uint64_t) + 4 * sizeof(uint32_t), "all of them");
	return w->key.changes == key.changes && w->key.version == key.version &&
	       w->key.rule == key.rule && w->key.role == key.role && w->key.change == key.change &&
	       w->key.epoch == key.epoch;
}

#endif
