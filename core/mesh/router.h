/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  From a target to the next peer.
 *
 * The table gives a role for a message id (ranges and specials); for ids that it does not have,
 * what the members of the directory say they serve does.  A target names a node, a role, or
 * neither; the router says whether that is this node, which peer is the next step, or that nobody
 * live can take it now:
 *
 * - a node: itself when linked, else through a route node.  If the directory says that it is gone,
 *   and a role is named too: another one of that role;
 * - a role: this node if it is its own, else one of those it has ready (mesh/registry.h), itself or
 *   through a route node.  Without one: a live route node;
 * - neither: a live route node.
 *
 * What goes through a route node to one peer goes through the same one as long as that is linked
 * and does not drain, so that it stays in order.  For the same reason a session's messages to "a
 * route node" prefer the one that had the earlier ones.
 *
 * Of several peers a sticky message goes to the same one for the same session: every node that asks
 * picks the same one, and the loss of a peer moves its sessions only.  Others are spread in the
 * role's way, by turns if it has none (mesh/balance.h); and so is a session's first one, if the
 * role has a way and the one who asks sees to it that what follows goes there, too.  The peer a
 * frame came from is never chosen.
 *
 * A role may have a policy, which is the floor above's: it is shown the peers that could take the
 * message, in the order of their ids, and chooses one, or ends the message, or leaves it to the
 * router.  It is not asked about messages to a node.  A range of message ids may have a way or a
 * policy of its own, which comes before the role's.
 */

#ifndef OB__ROUTER_H
#define OB__ROUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/frame.h"
#include "lib/idrange.h"
#include "mesh/registry.h"

struct ob__route_query;

/* Shown to a policy at most, those with the smallest ids. */
#define OB__ROUTE_CANDIDATES 256u

/* What a policy says to leave the choice to the router. */
#define OB__ROUTE_AS_USUAL INT32_MAX

/* The number of one of the peers, OB__ROUTE_AS_USUAL, or a negative result code.  Asked where a
 * chooser's `policy` is set. */
typedef int (*ob__route_choose)(void *arg, const struct ob__route_query *q, void *policy,
                                const struct ob__registry_role *role, struct ob__peer *const *peers,
                                size_t len);

/* Traffic has come up towards a peer that has no link and that nobody dials. */
typedef void (*ob__route_wanted)(void *arg, struct ob__peer *peer);

/* What goes to the peer takes another route node from now on; the former one drains and is up. */
typedef void (*ob__route_switched)(void *arg, struct ob__peer *peer, struct ob__peer *from,
                                   struct ob__peer *to);

#define OB__ROUTE_STRANGERS 64u

/* The way to the node that was asked for last: answers go to the same one many times; or to the
 * only node of a role, for calls. */
struct ob__router_last {
	uint64_t node; /* 0: the only one of the role */
	uint32_t role;
	uint64_t changes; /* of the registry; 0: none is known */
	struct ob__peer *peer;
	struct ob__peer *to;
};

/* A node that nobody has told of yet, and the route node that answers to it go through. */
struct ob__route_stranger {
	uint64_t node;
	struct ob__peer *via;
};

/* The role of the id that was asked for last: messages of one kind come in a row. */
struct ob__router_role {
	uint32_t id;
	uint32_t role;
	bool known; /* until a table is another one */
};

struct ob__router {
	struct ob__registry *registry;
	struct ob__idrange *table;            /* owned; may be NULL */
	struct ob__idrange *served;           /* what members say they serve; owned, may be NULL */
	const struct ob__idrange *chooser_of; /* message id -> index of its chooser; or NULL */
	const struct ob__chooser *choosers;   /* as it, the floor above's */
	uint32_t route_role;
	struct ob__registry_role *route; /* of that role, once it is known */
	ob__route_choose choose;         /* may be NULL */
	void *choose_arg;
	ob__route_wanted wanted; /* may be NULL */
	void *wanted_arg;
	ob__route_switched switched; /* may be NULL */
	void *switched_arg;
	struct ob__route_stranger strangers[OB__ROUTE_STRANGERS];
	struct ob__router_last last;
	struct ob__router_role last_role;
	struct ob__router_last only;
};

enum ob__route_kind {
	OB__ROUTE_SELF = 1,
	OB__ROUTE_PEER,
	OB__ROUTE_NONE,    /* nobody live */
	OB__ROUTE_REFUSED, /* by a policy, with `code` */
};

struct ob__route {
	enum ob__route_kind kind;
	struct ob__peer *peer; /* the next step */
	uint64_t dst;          /* what the frame's destination must be: 0, or a node that was chosen
	                        * and is more than one step away */
	struct ob__peer *to;   /* the node that was chosen, or `peer` */
	bool stands; /* who asks the same gets the same, as long as the registry does not change */
	int code;
};

struct ob__route_query {
	uint64_t node;   /* or 0 */
	uint32_t role;   /* or 0 */
	uint64_t prefer; /* if any route node will do: this one, if it is linked; or 0 */
	bool sticky;
	bool first; /* sticky, and whoever is chosen will be remembered: the role's way counts */
	bool stays; /* with `node`, come what may: no other of the role will do */
	uint64_t session_node;
	uint64_t session_seq;
	uint64_t key;                  /* that a sticky message is placed by; 0: the session's */
	const struct ob__peer *from;   /* where it came from, or NULL: this node */
	const struct ob__frame *frame; /* the message, for policies; or NULL */
};

void ob__router_init(struct ob__router *r, struct ob__registry *registry);
void ob__router_free(struct ob__router *r);

/* Takes ownership of a sealed table; the old one is freed. */
void ob__router_set_table(struct ob__router *r, struct ob__idrange *table);

/* As above, for what the members serve; this comes second. */
void ob__router_set_served(struct ob__router *r, struct ob__idrange *table);

/* The half of the function below that looks at the tables. */
uint32_t ob__router_find_role(struct ob__router *r, uint32_t id);

/* The role for an id, or 0. */
static inline uint32_t ob__router_role(struct ob__router *r, uint32_t id)
{
	return r->last_role.known && r->last_role.id == id ? r->last_role.role
	                                                   : ob__router_find_role(r, id);
}

/* How a node of the role is chosen for a message (or NULL). */
struct ob__chooser ob__router_chooser(const struct ob__router *r,
                                      const struct ob__registry_role *role,
                                      const struct ob__frame *f);

struct ob__route ob__router_find(struct ob__router *r, const struct ob__route_query *q);

/* The peer is known from now on: what went to it when it was not has gone through p->via, and
 * p->via_used says so. */
void ob__router_met(struct ob__router *r, struct ob__peer *p);

#endif
