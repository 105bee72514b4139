/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Users: who a session's client is, and where a user is.
 *
 * A session that a module has bound to a user claims it at the user's keeper (mesh/binding.h), one
 * of the route nodes that are up: the same one for all who know the same route nodes.  Without a
 * route node the node is its own keeper.  When the route nodes change, the users whose keeper is
 * another now are claimed again with the epoch they have, some in each turn of the loop.  A keeper
 * may have no room for one of them: then its session has the user as before, though nobody finds
 * it, and claims it again and again, with growing pauses.
 *
 * A session whose user is claimed for another one is fenced: the client is closed with 4001,
 * modules here and on the nodes that have met the session hear that it was replaced, then that it
 * is closed.  When all of them have heard (or OVER_MS have passed) the proxy tells the keeper that
 * the session is over; only then, and when nobody has the user locked, the new session has it.
 * What the session's client has sent and is under way counts as met: the nodes that it went to are
 * told as well; of what went to a node that others choose, the proxy waits for the end (or
 * UNDER_WAY_MS), by which that node has said who it is.
 *
 * Messages and kicks by user go to the session that the keeper names; where it was is remembered in
 * a small cache until somebody says that it is not so any more.
 *
 * What a node says to itself takes the same way as what it says to others, in the next turn.
 */

#ifndef OB__USERS_H
#define OB__USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "base/log.h"
#include "base/loop.h"
#include "host/generation.h"
#include "lib/frame.h"
#include "lib/list.h"
#include "lib/map.h"
#include "mesh/binding.h"
#include "mesh/pending.h"
#include "mesh/pushwire.h"
#include "mesh/session.h"

#define OB__KEEPERS_MAX    64u
#define OB__CLOSE_REPLACED 4001u
#define OB__CLOSE_KICKED   4003u

struct ob__node;
struct ob__peer;

struct ob__keeper {
	uint64_t id;
	uint32_t stamp; /* another one each time its link has come up */
};

struct ob__users {
	struct ob__node *node;
	struct ob__bindings table; /* of the users this node keeps */
	struct ob__keeper keepers[OB__KEEPERS_MAX];
	uint32_t keepers_len;

	uint64_t next_call;
	struct ob__list claims; /* under way */
	struct ob__list bound;  /* ob__session_more.link: their keepers know */
	struct ob__list todo;   /* the same: to be looked at again */
	struct ob__list later;  /* the same, at later_at: their keepers had no room for them */
	uint64_t later_at;      /* loop ms */
	uint32_t later_pause;   /* ms, the one before later_at */
	struct ob__map endings; /* session seq -> ending */
	struct ob__list ending_list;
	struct ob__list under_way; /* those of them whose requests may meet nodes yet */
	struct ob__map released;   /* session seq -> what its keepers have not acknowledged */
	struct ob__list releases;
	uint32_t releases_len;

	struct ob__strmap cache; /* user -> where it was */
	struct ob__list cache_list;
	struct ob__strmap asks; /* user -> what waits for the keeper's answer */
	size_t asks_bytes;
	struct evp_mac_ctx_st *tags; /* of what is sent to users */

	struct ob__map locks; /* session handle -> own locks */
	struct ob__list lock_list;
	bool sweeping;
	bool sweep_again; /* from the beginning, after the one under way */
	struct ob__timeout tick;
	struct ob__log_limit expired_limit;
	struct ob__log_limit lock_limit; /* no room for one */
	struct ob__log_limit kept_limit;
	struct ob__log_limit attr_limit;
	struct ob__log_limit crowded_limit;
	struct ob__log_limit release_limit;

	uint64_t *claimed; /* by sessions here */
	uint64_t *refused;
	uint64_t *replaced;
	uint64_t *again;
	uint64_t *crowded;
	uint64_t *sends_lost;
	uint64_t *stale;
	uint64_t *locks_expired;
	uint64_t *locks_kept;
	uint64_t *released_again;
	uint64_t *releases_lost;
};

/* 0 or OB_E_NOMEM; the node's stats and links are there. */
int ob__users_init(struct ob__node *node);
void ob__users_free(struct ob__node *node);
void ob__users_gauges(struct ob__node *node);

/* ---- what happens ---- */

/* A peer's link has come up or gone down: perhaps keepers are others now. */
void ob__users_peers_changed(struct ob__node *node);

/* A node is gone, or a life of it: forgets whom it had. */
void ob__users_node_gone(struct ob__node *node);

/* A SYSTEM frame for this node; false if it is not about users. */
bool ob__users_frame(struct ob__node *node, const struct ob__frame *f);

/* A push to a list of users of this node. */
void ob__users_push_frame(struct ob__node *node, const struct ob__frame *f,
                          const struct ob__push_list *l);

/* `to` has met a session of this node: it is told whose it is. */
void ob__users_met(struct ob__node *node, const struct ob__session *s, uint64_t to);

/* A session of this node ends: before its notices are made, for each that is made and settled, and
 * when its modules have heard. */
void ob__users_closing(struct ob__node *node, struct ob__session *s);
void ob__users_notice(struct ob__node *node, uint64_t seq, int delta);

/* A request of its client, one that was to stay with a node of the role (0: whichever it was for),
 * has ended. */
void ob__users_request_ended(struct ob__node *node, uint64_t seq, uint32_t role);
void ob__users_closed(struct ob__node *node, uint64_t seq);

/* The extension of a request that tells whose the session is, for a node that may not know; the
 * bytes written into out, of which there are OB__USER_EXT_MAX. */
#define OB__USER_EXT_MAX (4u + OB__USER_WIRE_MAX)
size_t ob__users_ext_put(const struct ob__session *s, uint64_t dst, uint8_t *out);
void ob__users_ext_get(struct ob__node *node, struct ob__session *s, const struct ob__frame *f);

/* The extension of a request that has the attributes which go along, for whoever settles its node;
 * the bytes written into out, of which there are OB__CARRY_EXT_MAX. */
#define OB__CARRY_EXT_MAX (4u + OB__CARRY_WIRE_MAX)
static inline size_t ob__session_carry_put(const struct ob__session *s, uint8_t *out)
{
	if (s->more == NULL || s->more->carried == NULL) {
		return 0;
	}
	return ob__frame_ext_put(out, 0, OB__CARRY_EXT_MAX, OB__FRAME_EXT_ATTRS, s->more->carried,
	                         s->more->carried_len);
}

/* Tells the keeper of the session's user which nodes his messages stay with, if that has changed;
 * `again`: in any case. */
void ob__users_tell_homes(struct ob__node *node, struct ob__session *s, bool again);

/* The keys of those have changed. */
void ob__session_carry_changed(struct ob__node *node);

/* A pending of kind USER or ASK has ended. */
void ob__users_pending_end(struct ob__node *node, struct ob__pending *p, const struct ob__end *end);

/* ---- behind the SDK ---- */

int ob__users_bind(struct ob__gen *g, uint64_t session, const char *user, ob_user_fn fn, void *arg);

/* The same for the host itself, of a session of this node, which is bound as soon as may be. */
void ob__users_bind_here(struct ob__node *node, const struct ob__session *s, const char *user);
int ob__users_unbind(struct ob__node *node, uint64_t session, const char *user);
int ob__users_find(struct ob__gen *g, const char *user, ob_user_fn fn, void *arg);
int ob__users_push(struct ob__node *node, const char *user, uint32_t id, const void *data,
                   size_t len);
int ob__users_push_many(struct ob__node *node, const char *const *users, size_t count, uint32_t id,
                        const void *data, size_t len);
int ob__users_kick(struct ob__node *node, const char *user, const char *reason);
int ob__users_session_set(struct ob__node *node, uint64_t session, const char *key,
                          const void *value, size_t len);

#endif
