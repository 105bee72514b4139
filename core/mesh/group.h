/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Which sessions of this node's clients are in which groups.
 *
 * A group is a name; it is there as long as somebody is in it.  To join and to leave cost the same
 * however large the group is and however many there are: a membership hangs in the list of its
 * group and in that of its session, and is found by both.  A session is in a group once.
 *
 * Other nodes are told of a group by a number made of its name (63 bits, the same everywhere).  Two
 * names may have one number, which somebody may even bring about; so it says where members may be,
 * and the name says who they are.
 *
 * WALKING.  A walk over a group's members, or over all groups, goes on whatever is joined or left
 * meanwhile: who has left is not met any more, who has joined since it began is not met.
 */

#ifndef OB__GROUP_H
#define OB__GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/map.h"
#include "mesh/userwire.h"

#define OB__GROUP_MAX OB__USER_MAX /* bytes of a name */

struct ob__group {
	struct ob__list link; /* in ob__groups.list, oldest first */
	struct ob__list members;
	uint64_t number; /* of this one, in the order in which they began */
	uint64_t hash;   /* of its name */
	uint32_t count;
	char name[];
};

/* Hears that the first group with that hash has begun (there), or the last one has ended. */
typedef void (*ob__groups_fn)(void *arg, uint64_t hash, bool there);

struct ob__groups {
	struct ob__strmap by_name;
	struct ob__map hashes;   /* hash -> how many groups have it */
	struct ob__map pairs;    /* (group's number, session) -> membership */
	struct ob__map sessions; /* session -> its memberships */
	struct ob__list list;
	struct ob__list walks;
	uint32_t max;
	uint32_t max_of_one;
	uint64_t last; /* number of the newest group or membership */
	ob__groups_fn changed;
	void *arg;
};

/* The number other nodes know a group by. */
uint64_t ob__group_hash(const char *name, size_t len);

/* 1 to OB__GROUP_MAX bytes, no control characters. */
static inline bool ob__group_ok(const char *name)
{
	return ob__user_ok(name);
}

/* At most `max` groups, and `max_of_one` that one session is in. `changed`, or NULL, may not change
 * the table. */
void ob__groups_init(struct ob__groups *gs, uint64_t seed, uint32_t max, uint32_t max_of_one,
                     ob__groups_fn changed, void *arg);

/* Without a word to `changed`.  A zeroed one is accepted. */
void ob__groups_free(struct ob__groups *gs);

/* 0; -EEXIST: it is in that group; -ENOSPC: there are too many groups; -EDQUOT: it is in too many;
 * -ENOMEM. */
int ob__group_join(struct ob__groups *gs, uint64_t session, const char *name);

/* 0, or -ENOENT: it was not in it.  A group without members is gone. */
int ob__group_leave(struct ob__groups *gs, uint64_t session, const char *name);

const struct ob__group *ob__group_find(const struct ob__groups *gs, const char *name);
bool ob__group_has(const struct ob__groups *gs, const struct ob__group *g, uint64_t session);

/* The group that the session has been in for the longest time, or NULL; and in how many it is. */
const struct ob__group *ob__group_of(const struct ob__groups *gs, uint64_t session);
uint32_t ob__group_count_of(const struct ob__groups *gs, uint64_t session);

/* Calls fn for each of them, until it does not answer 0; what it answered last. */
int ob__group_each_of(const struct ob__groups *gs, uint64_t session,
                      int (*fn)(void *arg, const struct ob__group *g), void *arg);

/* How many groups and memberships there are. */
static inline size_t ob__groups_count(const struct ob__groups *gs)
{
	return gs->by_name.count;
}

static inline size_t ob__groups_members(const struct ob__groups *gs)
{
	return gs->pairs.count;
}

struct ob__group_walk {
	struct ob__list link; /* in ob__groups.walks */
	struct ob__list *head;
	struct ob__list *next; /* NULL: what was walked over is gone */
	uint64_t last;         /* nothing newer is met */
};

/* Over the members of a group; a walk that was begun has to be ended. */
void ob__group_walk(struct ob__groups *gs, struct ob__group_walk *w, const struct ob__group *g);

/* Over all groups that began after the one with this number, which may be gone (0: from the first).
 */
void ob__groups_walk(struct ob__groups *gs, struct ob__group_walk *w, uint64_t after);

/* The next one; 0 or NULL at the end. */
uint64_t ob__group_walk_member(struct ob__group_walk *w);
const struct ob__group *ob__group_walk_group(struct ob__group_walk *w);

/* One that was never begun, but is zeroed, is accepted. */
void ob__group_walk_end(struct ob__group_walk *w);

#endif
