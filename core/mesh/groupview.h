/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Where groups have members, as far as other nodes have told; no
 * sockets.
 *
 * Of each node the numbers of its groups are kept (mesh/group.h).  They are told by the node itself
 * when it is asked (mesh/grouptell.h): first all, then what changes.  Something that is missing
 * shows by its number, and the node is asked again.  Until the whole of it is here, and whenever
 * there is a doubt, the node MAY HAVE members of any group: what is sent to a group is sent there
 * in vain rather than not at all.
 *
 * So it is with a session that is to join a group at a node: from the time that the JOIN is sent
 * until the node has said that it was done, which comes behind what it tells of its groups, it may
 * have members of that group.
 */

#ifndef OB__GROUPVIEW_H
#define OB__GROUPVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/map.h"
#include "mesh/groupwire.h"

#define OB__GROUPVIEW_RENEW   5000u    /* ms until a node is asked again that has told all */
#define OB__GROUPVIEW_RETRY   1000u    /* and one that has not, or is silent */
#define OB__GROUPVIEW_SILENT  12000u   /* ms without a word: what it has told counts no more */
#define OB__GROUPVIEW_AT_ONCE 100u     /* ms between two questions to a node, at least */
#define OB__GROUPVIEW_JOIN    10000u   /* ms that a JOIN may take to be done */
#define OB__GROUPVIEW_JOINS   65536u   /* that are not done yet, at one node */
#define OB__GROUPVIEW_MAX     1048576u /* groups kept of one node */

/* 0, or negative: it can't be sent. */
typedef int (*ob__groupview_ask_fn)(void *arg, uint64_t to, const uint8_t *data, size_t len);

struct ob__groupview_node {
	uint64_t id;
	struct ob__list link;
	uint64_t life; /* 0: it has told nothing */
	uint64_t version;
	uint64_t next_part;
	bool whole;
	bool parts; /* they are coming */
	bool wanted;
	struct ob__map there;   /* hash -> anything */
	struct ob__map joins;   /* hash -> one that is not done yet */
	struct ob__list joined; /* oldest first */
	uint64_t last_join;     /* the newest one's number */
	uint64_t asked_at;      /* ms, 0: never */
	uint64_t heard_at;
	uint64_t due;         /* when to ask */
	uint64_t crowd_until; /* there were too many of those: it may have any group until then */
};

struct ob__groupview {
	struct ob__map nodes;
	struct ob__list list;
	ob__groupview_ask_fn ask;
	void *arg;
};

void ob__groupview_init(struct ob__groupview *v, uint64_t seed, ob__groupview_ask_fn ask,
                        void *arg);

/* Forgets everything, and may be used again. */
void ob__groupview_clear(struct ob__groupview *v);

/* Frees it.  A zeroed one is accepted. */
void ob__groupview_free(struct ob__groupview *v);

/* The node, in its life `life` (0: that is not known), may have members of the group. */
bool ob__groupview_may_have(const struct ob__groupview *v, uint64_t node, uint64_t life,
                            uint64_t hash, uint64_t now_ms);

/* A session is to join a group at the node: the JOIN's number. */
uint64_t ob__groupview_join(struct ob__groupview *v, uint64_t node, uint64_t hash, uint64_t now_ms);

/* That JOIN, and those before, were done. */
void ob__groupview_joined(struct ob__groupview *v, uint64_t node, uint64_t number);

/* A node tells. 0; 1: it is to be asked again as soon as may be (due); -EPROTO for what is
 * malformed.  What was not asked for is not looked at. */
int ob__groupview_told(struct ob__groupview *v, uint64_t node, uint8_t status, const uint8_t *data,
                       size_t len, uint64_t now_ms);

/* The node can be reached: it is asked if it is time to. */
void ob__groupview_want(struct ob__groupview *v, uint64_t node, uint64_t now_ms);

/* The ways have changed: all are asked again. */
void ob__groupview_doubt(struct ob__groupview *v);

/* Forgets nodes that nobody has wanted since the call before; for how many JOINs it waits. */
size_t ob__groupview_sweep(struct ob__groupview *v, uint64_t now_ms);

/* For people: how many groups the node has; -1: it has not told all. */
int64_t ob__groupview_count(const struct ob__groupview *v, uint64_t node);

#endif
