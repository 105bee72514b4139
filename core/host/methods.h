/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Which methods the nodes on the other end of links have.
 *
 * Each node tells its peers the names of its methods when a link comes up, and again in the turn in
 * which they change.  What a peer said is kept while the link is up.  So a call of a method that
 * its node does not have ends with NOT_FOUND before anything is sent, and the administration can
 * show who has what.  A list that is longer than what is kept refuses nothing.
 */

#ifndef OB__METHODS_H
#define OB__METHODS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/loop.h"
#include "lib/frame.h"
#include "lib/map.h"

#define OB__METHODS_MAX 4096u /* kept of one peer */

struct ob__node;
struct ob__peer;

struct ob__methods {
	struct ob__map peers; /* node id -> its list */
	struct ob__loop_hook hook;
	uint32_t seen; /* slots.methods_version that was looked at */
	uint64_t told; /* what the peers were told last, as a hash */
};

void ob__methods_init(struct ob__node *node);
void ob__methods_free(struct ob__node *node);

/* A link is up, or down. */
void ob__methods_up(struct ob__node *node, struct ob__peer *peer);
void ob__methods_down(struct ob__node *node, const struct ob__peer *peer);

/* A METHODS frame of the peer at the other end of the link it came on. */
void ob__methods_heard(struct ob__node *node, const struct ob__peer *peer,
                       const struct ob__frame *f);

/* False when the node is known not to have the method. */
bool ob__methods_may(const struct ob__node *node, uint64_t id, const char *method);

/* Names, sorted: of a peer (NULL: not known), or this node's own.  New references. */
json_t *ob__methods_json(const struct ob__node *node, uint64_t id);
json_t *ob__methods_own_json(const struct ob__node *node);

#endif
