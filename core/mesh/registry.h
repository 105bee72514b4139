/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Which nodes there are, and which of them can take something now.
 *
 * A peer is a node this one has ever had a link with, or that the directory lists; it stays known,
 * as down, when both are over.  Peers are found by id and walked by role.  Each peer has at most
 * one link that frames are sent on.  A peer without one is reached through a route node, as long as
 * the directory lists it and a route node is linked.  Two role words with the same 32-bit number
 * are refused (the second one at its hello).
 *
 * What a role has ready: its peers that can be reached and are up; if there is none, those that are
 * suspect.  A peer that drains is not among them, it is for whoever names it.  Of route nodes, only
 * those that are linked: others get to nobody.  They relay while they drain, so one that drains is
 * better than one that is suspect.
 */

#ifndef OB__REGISTRY_H
#define OB__REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/map.h"
#include "mesh/balance.h"
#include "mesh/member.h"
#include "mesh/proto.h"

#define OB__PEERS_MAX 4096u
#define OB__ROLES_MAX 1024u

struct ob__link;

struct ob__peer {
	struct ob__identity who;         /* strings owned by the peer */
	struct ob__link *link;           /* the path frames take, or NULL: down */
	char address[80];                /* of the last link */
	uint64_t since;                  /* loop ms of the last change up or down */
	uint64_t ups;                    /* times it came up */
	struct ob__balance_node balance; /* pending: requests and calls of this node that wait for
	                                  * its answer */
	bool draining;                   /* it says that it takes nothing new */
	bool drain_heard;                /* it knows that this node does not */
	bool drain_told;                 /* it was told so */
	bool drain_waits;                /* it waits for answers to what it has sent this way */
	char last_error[128];
	uint8_t state;        /* as the directory says, or OB__MEMBER_UNKNOWN; DEAD, LEFT: it did */
	bool ready;           /* in what its role has ready */
	bool near;            /* on this machine, as its addresses say */
	bool via_used;        /* something went through a route node since it had a link */
	bool parted;          /* its last link ended because both ends saw no traffic */
	uint32_t blamed[2];   /* why the last link with it (its own, then ours) did not come about,
	                       * as the log had it: a hash; or 0 */
	uint64_t told;        /* the floor above's: the life that modules were told of, or 0 */
	uint64_t fence;       /* the floor above's: the FENCE that is out, or 0 */
	bool fence_due;       /* the same: and has found no room so far */
	uint64_t fence_until; /* the same: loop ms */
	struct ob__peer *fence_via; /* the same: the route node it goes through */
	struct ob__peer *fence_on;  /* the same: whose link keeps what comes after it */
	struct ob__peer *via; /* the route node that its frames go through while it has no link */
	struct ob__dialing *dialing; /* the dialer's own */
	struct ob__list all_link;
	struct ob__list role_link;
	void *user; /* the floor above's own */
};

/* How one of several is chosen. */
struct ob__chooser {
	enum ob__balance_way way; /* 0: by turns */
	void *policy;             /* the floor above's: who chooses instead, or NULL */
};

struct ob__registry_role {
	uint32_t id;
	char *word;
	struct ob__list peers;    /* of ob__peer.role_link, up and down */
	uint32_t len;             /* how many */
	struct ob__balance ready; /* those that can take something */
	uint8_t best;             /* how good those are */
	struct ob__chooser chooser;
};

struct ob__registry {
	struct ob__identity self;
	struct ob__map by_id;   /* node id -> ob__peer */
	struct ob__map by_role; /* role id -> ob__registry_role */
	struct ob__list peers;
	size_t count;
	struct ob__peer *last; /* that was asked for; peers are never freed before the registry */
	uint32_t route_role;
	uint32_t routes; /* route nodes that are linked */
	uint64_t seed;
	uint32_t policies; /* the floor above's: roles and ranges that have one */
	uint64_t changes;  /* grows with each change that a way may depend on; never 0 */
};

/* Copies `self` (its strings too; role_id is computed here). 0 or -ENOMEM. */
int ob__registry_init(struct ob__registry *r, const struct ob__identity *self);

/* Frees the peers too.  NULL and a zeroed struct are accepted. */
void ob__registry_free(struct ob__registry *r);

/* Makes a role's number known for its word. 0, -EEXIST on a collision (with another word, or with
 * 0, which means "no role" on the wire), -ENOMEM, -ENOSPC beyond OB__ROLES_MAX. */
int ob__registry_role(struct ob__registry *r, const char *word, uint32_t *id);

/* The word of a role's number, or NULL. */
const char *ob__registry_word(const struct ob__registry *r, uint32_t id);
struct ob__registry_role *ob__registry_role_get(const struct ob__registry *r, uint32_t id);

struct ob__peer *ob__registry_find(const struct ob__registry *r, uint64_t id);

/* The peer with that id, or NULL.  Most are asked for several times in a row. */
static inline struct ob__peer *ob__registry_get(const struct ob__registry *r, uint64_t id)
{
	struct ob__peer *last = r->last;
	return last != NULL && last->who.id == id ? last : ob__registry_find(r, id);
}

/* Finds or makes the peer and updates its incarnation and role. NULL with *err -EEXIST (role
 * collision), -ENOSPC or -ENOMEM. */
struct ob__peer *ob__registry_put(struct ob__registry *r, const struct ob__identity *who, int *err);

/* The link is the peer's path from now on (NULL: none). Keeps what roles have ready. */
void ob__registry_set_link(struct ob__registry *r, struct ob__peer *p, struct ob__link *link,
                           uint64_t now_ms);

/* It says that it takes nothing new, or does again; a link that comes up says that it does, and so
 * does a new life. */
void ob__registry_set_draining(struct ob__registry *r, struct ob__peer *p, bool draining);

/* It takes nothing new, as it says itself or as the directory does. */
bool ob__peer_drains(const struct ob__peer *p);

/* What the directory says of a peer: enum ob__member_state.  Keeps what roles have ready. */
void ob__registry_set_state(struct ob__registry *r, struct ob__peer *p, uint8_t state);
void ob__registry_set_weight(struct ob__registry *r, struct ob__peer *p, uint32_t weight);

/* The directory lists it as one that lives. */
bool ob__peer_is_listed(const struct ob__peer *p);

/* Something that ways depend on has changed elsewhere: a policy, or what waits. */
void ob__registry_changed(struct ob__registry *r);

/* It has a link, or there is a route node that may know a way to it. */
bool ob__peer_is_reachable(const struct ob__registry *r, const struct ob__peer *p);

#endif
