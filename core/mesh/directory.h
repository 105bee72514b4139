/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  What a node knows of all others; no sockets, no clock.
 *
 * A source is a route node that this node has, or had, a link with.  Each tells what it lists
 * (mesh/dirview.h); the directory is the union:
 *
 * - Of one node the higher incarnation counts, and what is said of a lower one counts as gone.
 *   Within one life the description with the higher rev counts.
 *   A node that lost its memory and begins with a lower one is told so by those who remember.
 * - A node's state is the best that any synced source says (synced: the link is up and the source
 *   has told all that happened meanwhile).
 * - A node is REMOVED when each source with a link up is synced and none of them lists it, at least
 *   one of them is settled or it has said that it leaves, and there is no direct link to it.
 *   Otherwise it stays as it was.
 * - Without a synced source nothing is removed: the view is stale, and shown as such.
 *
 * What a node says of itself is announced to each source, again whenever it changes, or when a
 * source turns out not to have it; then a beat each second.  The own record is never taken from
 * others, but a source that knows a higher incarnation of this node is a clash: the owner takes
 * that
 * + 1 and the node announces itself again.
 *
 * HOW TO WIRE.
 *
 * - For each route node whose link is up: ob__directory_source_up(), and _down() when it is lost. A
 *   route node is a source of its own directory, under its own id (mesh/dirview.h says how).
 * - System frames for which ob__dir_kind() is not negative: those of ob__dir_kind_for_view() go to
 *   the view if the node has one (else the sender breaks a rule), others to
 *   ob__directory_receive().  A negative code closes the link, for the reason ob__dir_reason(code).
 * - Any other node's link that goes down: ob__directory_link_down(); `linked` says whether one is
 *   up.
 * - ob__directory_tick() when ob__directory_next() has come; the latter is cheap and may have moved
 *   after any call.
 * - on_node() with role OB__ROLE_ROUTE: dial it, it is one more source.
 *
 * A beat costs one send for each source, a change one look-up and a walk over the sources; a source
 * that comes or goes costs a walk over all nodes.
 */

#ifndef OB__DIRECTORY_H
#define OB__DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/map.h"
#include "mesh/dirwire.h"

#define OB__DIR_SOURCES 16u   /* route nodes, up and down; the one down longest makes room */
#define OB__DIR_NODES   8192u /* nodes, those removed a while ago included */
#define OB__DIR_NEVER   UINT64_MAX

enum ob__dir_change {
	OB__DIR_ADDED = 1u << 0,
	OB__DIR_REMOVED = 1u << 1,
	OB__DIR_REPLACED =
		1u << 2, /* another incarnation: whatever was tied to the old one is void */
	OB__DIR_STATE = 1u << 3,
	OB__DIR_UPDATED = 1u << 4, /* rev: description, weight */
	OB__DIR_LOAD = 1u << 5,
};

struct ob__dir_said;

/* A node that is listed; read-only for others. */
struct ob__dir_node {
	struct ob__member m;  /* state: UP, DRAINING or SUSPECT; with a description, always */
	struct ob__list link; /* in directory.nodes */
	void *user;           /* the owner's; NULL when the node is added */

	/* The directory's own. */
	bool listed;
	uint8_t said_len;
	struct ob__dir_said *said; /* by source */
	struct ob__member
		best;     /* the newest that anybody said; rev 0: only that this life is over */
	uint64_t gone_at; /* when it was removed */
};

struct ob__dir_source {
	uint64_t id; /* 0: free */
	bool up;
	bool synced;   /* has told all it lists since it is up */
	bool settled;  /* what it doesn't list is gone */
	bool snapshot; /* in the middle of one */
	bool subscribed;
	bool saw_self;      /* in this snapshot */
	bool told_leave;    /* that we go */
	uint32_t gen;       /* of snapshots */
	uint64_t boot;      /* how far we followed which life of it; 0: from the beginning */
	uint64_t seq;       /* the same */
	uint64_t told;      /* the incarnation announced to it, 0: none; */
	uint32_t told_rev;  /* and the rev */
	uint64_t told_at;   /* and when */
	uint64_t down_at;   /* when it went down */
	uint64_t snap_boot; /* of the snapshot that is under way */
};

struct ob__directory_ops {
	/* A system frame to a route node whose link is up.  0, or negative when it was not taken:
	 * it is tried again within a second.  May call nothing here. */
	int (*send)(void *arg, uint64_t to, uint32_t sys, const uint8_t *data, size_t len);

	/* Whether a direct link to that node is up. */
	bool (*linked)(void *arg, uint64_t id);

	/*
	 * Something about a node has changed: `change` has bits of enum ob__dir_change.  ADDED,
	 * REMOVED and REPLACED come alone; `old` is NULL for ADDED, for REMOVED node->m is as it
	 * was but for its state, dead or left.  Both are valid until this returns.  May only read.
	 */
	void (*on_node)(void *arg, unsigned change, struct ob__dir_node *node,
	                const struct ob__member *old);

	/* There is no synced source any more, or there is one again. */
	void (*on_stale)(void *arg, bool stale);

	/* Somebody knows this incarnation of us, which is higher, or our own with a higher rev:
	 * call ob__directory_incarnation() with one more (here, or later), or better with up to a
	 * thousand more at random, as another life that lost its memory may be told the same. */
	void (*on_clash)(void *arg, uint64_t incarnation);

	/* The answer of `source` to ob__directory_ask(): OB__MEMBER_UNKNOWN if it has never heard
	 * of the node, or has forgotten it. */
	void (*on_answer)(void *arg, uint64_t source, const struct ob__member *m);
};

struct ob__directory {
	const struct ob__directory_ops *ops;
	void *arg;
	struct ob__member self; /* desc NULL: not described yet */
	bool leaving;
	struct ob__map by_id;  /* id -> ob__dir_node, listed or not */
	struct ob__list nodes; /* those listed, by ob__dir_node.link */
	struct ob__list rest;  /* those that are not, in the order of gone_at */
	size_t count;          /* of those listed */
	uint32_t synced;       /* sources */
	uint64_t stale_since;  /* when the last one was lost; 0: it is not stale */
	uint64_t beat_at;
	bool doubtful;     /* a source may list a lower incarnation than is remembered */
	uint64_t clash;    /* a higher incarnation of us that was seen in this receive */
	uint64_t overfull; /* records left out for lack of room */
	struct ob__dir_source sources[OB__DIR_SOURCES];
	struct ob__dir_counts counts;
};

/* Allocates nothing yet; `seed`: random bits for the table; `incarnation` not 0. */
void ob__directory_init(struct ob__directory *d, uint64_t id, uint64_t incarnation, uint64_t seed,
                        const struct ob__directory_ops *ops, void *arg, uint64_t now_ms);

/* Says nothing to anybody and calls nothing back.  NULL and a zeroed struct are accepted. */
void ob__directory_free(struct ob__directory *d);

/* What this node says of itself from now on; takes a reference of `desc`.  The same as before
 * changes nothing, anything else is announced.  After _leave() the node is back. */
void ob__directory_describe(struct ob__directory *d, struct ob__description *desc, uint16_t weight,
                            bool draining, uint64_t now_ms);

/* A higher incarnation of our own; a lower one is ignored. */
void ob__directory_incarnation(struct ob__directory *d, uint64_t incarnation, uint64_t now_ms);

/* Goes with the next beat. */
static inline void ob__directory_load(struct ob__directory *d, uint32_t load)
{
	d->self.load = load;
}

/* This node goes: says so to each source, and no more beats. */
void ob__directory_leave(struct ob__directory *d, uint64_t now_ms);

/* A route node's link is up. 0, or -ENOSPC: OB__DIR_SOURCES are up already. */
int ob__directory_source_up(struct ob__directory *d, uint64_t id, uint64_t now_ms);

/* It is down.  Unknown ids are ignored. */
void ob__directory_source_down(struct ob__directory *d, uint64_t id, uint64_t now_ms);

/* The direct link to a node is down. */
void ob__directory_link_down(struct ob__directory *d, uint64_t id, uint64_t now_ms);

/*
 * A system frame of the source `from`.  0, or what is wrong with it: -EPROTO malformed or not in
 * order, -EMSGSIZE a record too long, -ENOTCONN no source with a link up, -ENOENT not for a
 * directory, -ENOMEM.  Records in front of the one that is wrong have been taken.
 */
int ob__directory_receive(struct ob__directory *d, uint64_t from, uint32_t sys, const uint8_t *data,
                          size_t len, uint64_t now_ms);

/* Asks each source that is up whether it knows the node. 0, or -ENOTCONN: nobody to ask. */
int ob__directory_ask(struct ob__directory *d, uint64_t id);

/* When tick has something to do; OB__DIR_NEVER if never. */
uint64_t ob__directory_next(const struct ob__directory *d);

void ob__directory_tick(struct ob__directory *d, uint64_t now_ms);

/* The node if it is listed, or NULL. */
struct ob__dir_node *ob__directory_get(const struct ob__directory *d, uint64_t id);

/* The source, up or down, or NULL. */
const struct ob__dir_source *ob__directory_source(const struct ob__directory *d, uint64_t id);

#endif
