/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Which methods other nodes have.
 *
 * Each node tells its peers the names of its methods when a link comes up, and again in the turn in
 * which they change.  What a peer said is kept while the link is up.  Of nodes without a link they
 * are asked for (host/call/methods_far.h).  So a call of a method that its node does not have ends
 * with NOT_FOUND before anything is sent, and the administration can show who has what.  A list
 * that is longer than what is kept refuses nothing.
 *
 * On the wire a list is in parts: a byte of flags, then names, each with its terminating zero.  Its
 * digest is the first 8 bytes of the SHA-256 of all names, sorted, with their zeros.
 */

#ifndef OB__METHODS_H
#define OB__METHODS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/loop.h"
#include "host/call/methods_far.h"
#include "lib/frame.h"
#include "lib/map.h"

#define OB__METHODS_MAX 4096u /* kept of one node */

/* The flags of a part. */
#define OB__METHODS_FIRST 1u
#define OB__METHODS_LAST  2u

struct ob__node;
struct ob__peer;

struct ob__methods {
	struct ob__map peers; /* node id -> its list */
	struct ob__loop_hook hook;
	struct ob__far far;
	uint32_t seen;   /* slots.methods_version that `digest` is of */
	uint64_t digest; /* of the own ones; 0: not known */
	uint64_t told;   /* the digest of what the peers were told last */
};

void ob__methods_init(struct ob__node *node);
void ob__methods_free(struct ob__node *node);

/* A link is up, or down. */
void ob__methods_up(struct ob__node *node, struct ob__peer *peer);
void ob__methods_down(struct ob__node *node, const struct ob__peer *peer);

/* A METHODS frame of the peer at the other end of the link it came on. */
void ob__methods_heard(struct ob__node *node, const struct ob__peer *peer,
                       const struct ob__frame *f);

/* The digest of this node's own. */
uint64_t ob__methods_own_digest(struct ob__node *node);

/* The digest of a set of names; 0: without memory for that. */
uint64_t ob__methods_digest(const struct ob__strmap *names);

/* Adds the names of a part. 1; 0: there are too many; negative: it is malformed. */
int ob__methods_read(struct ob__strmap *names, const struct ob__frame *f);

/* Sends this node's own to a node that has asked. */
void ob__methods_send(struct ob__node *node, uint64_t to);

/* False when the node is known not to have the method. */
bool ob__methods_may(const struct ob__node *node, uint64_t id, const char *method);

/* Names, sorted: of another node (null: not known), or this node's own.  New references. */
json_t *ob__methods_json(const struct ob__node *node, uint64_t id);
json_t *ob__methods_own_json(const struct ob__node *node);

#endif
