/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  One message for many clients, from node to proxy.
 *
 * Such a frame is a PUSH as one for a single session is: what holds for that one (who may send it,
 * its place among others, its bound on a link) holds for this one.  Its `status` says whom it is
 * for, its id is the message's, and its destination the proxy; it names no session in its header,
 * so that it stays in order with everything from its sender to that proxy (mesh/backlog.h).
 *
 * The payload, little-endian; a word is a byte for its length and the bytes:
 *
 *     SESSION      data; the session is in the header
 *     SESSIONS     u32 count | u32 zero | count times: u64 seq | data
 *     USERS        u32 count | u32 at | count times: u64 seq | u64 tag | word user | data
 *     ALL          data
 *     GROUP        word group | data (mesh/groupwire.h)
 *
 * A list has 1 to OB__PUSH_LIST_MAX members, all of them the proxy's; `at` and `tag` are those of a
 * USER_SEND (mesh/userwire.h) for that user.
 */

#ifndef OB__PUSHWIRE_H
#define OB__PUSHWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/userwire.h"

#define OB__PUSH_LIST_MAX     1024u /* members in one frame */
#define OB__PUSH_LIST_HEAD    8u
#define OB__PUSH_SESSION_SIZE 8u
#define OB__PUSH_USER_MAX     (16u + 1 + OB__USER_MAX)

enum ob__push_to {
	OB__PUSH_SESSION = 0, /* the frame's */
	OB__PUSH_SESSIONS,
	OB__PUSH_USERS,
	OB__PUSH_ALL,   /* every client of the proxy */
	OB__PUSH_GROUP, /* those that are in the group */
};

struct ob__push_user {
	uint64_t seq; /* of the session that should have the user */
	uint64_t tag;
	char user[OB__USER_MAX + 1];
};

/* One that was read. */
struct ob__push_list {
	uint32_t count;
	uint32_t at;
	const uint8_t *members; /* borrowed, as is data */
	const uint8_t *data;
	size_t len;
};

/* Writers return the bytes written; `out` has room for the maximum. */
size_t ob__push_head_put(uint8_t out[OB__PUSH_LIST_HEAD], uint32_t count, uint32_t at);
size_t ob__push_session_put(uint8_t out[OB__PUSH_SESSION_SIZE], uint64_t seq);
size_t ob__push_user_put(uint8_t out[OB__PUSH_USER_MAX], const struct ob__push_user *u);

/* Bytes that a user takes up in a list. */
size_t ob__push_user_size(const char *user);

/* Reads the whole list of a SESSIONS or USERS. 0, or -EPROTO when any of it breaks the rules. */
int ob__push_list_get(struct ob__push_list *l, enum ob__push_to to, const uint8_t *payload,
                      size_t len);

/* The members of a list that was read, one by one; `at` begins as l->members. */
uint64_t ob__push_session_next(const uint8_t **at);
void ob__push_user_next(struct ob__push_user *u, const uint8_t **at);

#endif
