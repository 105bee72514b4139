/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Groups of sessions, wherever their clients are connected.
 *
 * A proxy has a table of its own clients' groups (mesh/group.h), and nobody else has one.  To join
 * and to leave is a frame to the session's proxy; its end leaves all.  What is sent to a group goes
 * once to each node that may have members, and there once to each member by fan-out
 * (host/push/fanout.h).
 *
 * Which nodes those are is known to whoever sends to groups, asks for members or joins a session of
 * another node: from the first time on, and until a minute after the last, it asks all nodes that
 * can be reached and is told what changes (mesh/groupview.h, mesh/grouptell.h).
 *
 * Modules that have asked hear who joins and leaves here, in the order in which it happened: at a
 * session's end at once, else in the next turn, so that no handler is interrupted.  All hear of one
 * event before anybody hears of the next, also when one who hears of it ends a session.
 *
 * The members of all nodes are counted by asking those that may have some.
 */

#ifndef OB__GROUPS_H
#define OB__GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <obhost/obhost.h>

#include "base/log.h"
#include "base/loop.h"
#include "host/generation.h"
#include "lib/frame.h"
#include "lib/list.h"
#include "mesh/group.h"
#include "mesh/grouptell.h"
#include "mesh/groupview.h"
#include "mesh/pending.h"

#define OB__GROUP_EVENTS_MAX 65536u /* joins that modules have not heard of; then BUSY */

struct ob__node;
struct ob__peer;
struct ob__session;

struct ob__hostgroups {
	struct ob__groups table;
	struct ob__grouptell tell;
	struct ob__groupview view;
	struct ob__timeout tick;
	uint64_t used_at;       /* loop ms, of the last use that needs the view */
	bool used;              /* the view is kept */
	bool doubt;             /* ways have changed: in the next tick */
	bool flush_queued;      /* of what is told */
	struct ob__list events; /* that modules have not heard of */
	uint32_t events_len;
	bool events_queued;
	const ob_group_info *telling; /* the event that modules hear of now, or NULL */
	size_t telling_next;          /* and who of node->slots.groups does next */
	struct ob__log_limit limit;
	uint64_t *pushes;
	uint64_t *empty;
	uint64_t *refused;
};

void ob__hostgroups_init(struct ob__node *node);
void ob__hostgroups_free(struct ob__node *node);
void ob__hostgroups_gauges(struct ob__node *node);

/* ---- what happens ---- */

/* A session of this node ends: it leaves all, and modules hear of it now. */
void ob__groups_session_ends(struct ob__node *node, const struct ob__session *s);

/* Nodes can be reached that could not, or the reverse, or by another way. */
void ob__groups_ways_changed(struct ob__node *node);

/* A SYSTEM frame for this node; false if it is not about groups. */
bool ob__groups_frame(struct ob__node *node, const struct ob__frame *f);

/* A push to a group. */
void ob__groups_push_frame(struct ob__node *node, const struct ob__frame *f);

/* A pending of kind GROUP has ended. */
void ob__groups_pending_end(struct ob__node *node, struct ob__pending *p,
                            const struct ob__end *end);

/* A page of the administration, of groups behind the one with the number `after`; a new reference.
 */
json_t *ob__groups_json(struct ob__node *node, size_t limit, uint64_t after);

/* ---- behind the SDK ---- */

int ob__groups_join(struct ob__node *node, uint64_t session, const char *group);
int ob__groups_leave(struct ob__node *node, uint64_t session, const char *group);
int ob__groups_push(struct ob__node *node, const char *group, uint32_t id, const void *data,
                    size_t len);
int ob__groups_count_members(struct ob__gen *g, const char *group, ob_group_count_fn fn, void *arg);
size_t ob__groups_members_here(struct ob__node *node, const char *group, uint64_t *out, size_t cap);

/* ---- among its own files ---- */

/* To nodes that may have members from now on; the view is kept for another minute. */
void ob__groups_use(struct ob__node *node);

/* A node, another one than this, that may have members of the group. */
bool ob__groups_may_have(struct ob__node *node, const struct ob__peer *p, uint64_t hash);

/* A session of this node joins or leaves. 0 or OB_E_*. */
int ob__groups_join_here(struct ob__node *node, const struct ob__session *s, const char *group);
void ob__groups_leave_here(struct ob__node *node, const struct ob__session *s, const char *group);

#endif
