/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Locks that this node holds on users while it saves what it knows
 * of them.
 *
 * The user's keeper has the locks (mesh/binding.h); here is kept which ones are this node's own, so
 * that they can be renewed and ended when the session is long over, and told again when the keeper
 * is another one.  A lock goes by the session's proxy, which passes it on: so it reaches the keeper
 * before the word that the session is over, when it was set on hearing of the end.
 */

#ifndef OB__SESSION_LOCK_H
#define OB__SESSION_LOCK_H

#include <stdbool.h>
#include <stdint.h>

struct ob__node;

void ob__locks_init(struct ob__node *node);
void ob__locks_free(struct ob__node *node);

/* Locks the user of a session of which this node has a record, or renews the lock. 0, OB_E_INVAL,
 * OB_E_STALE, OB_E_STATE (nobody's session), OB_E_LIMIT, OB_E_NOMEM. */
int ob__lock_set(struct ob__node *node, uint64_t session, const char *key, uint32_t ms);

/* Ends it, or leaves it to its deadline. 0, OB_E_NOT_FOUND. */
int ob__lock_end(struct ob__node *node, uint64_t session, const char *key, bool keep);

/* Keepers are others now. */
void ob__locks_again(struct ob__node *node);
void ob__locks_tick(struct ob__node *node);

#endif
