/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  A planned leave: the node takes nothing new, is rid of what it
 * has at a set pace, and loses nothing.
 *
 * It says so to its peers, which choose others from then on, and waits until each of them has said
 * that it heard: whatever was under way has arrived by then, for a link keeps its order.  Others
 * hear it from the directory, or when they are asked to move a session.
 *
 * A client of this node is read no further, its requests end, and then it is closed with
 * OB__DRAIN_CLOSE, so that what it had no answer to was never read here and may be sent again.
 *
 * A session of another node's client that sticks here is moved: its proxy is asked (SESSION_MOVE),
 * reads that client no further until its requests to this node's role have ended, forgets the
 * choice, and says so (SESSION_MOVED).  This node's modules hear that the session has left, those
 * of the next one from where it came.  A session whose configuration does not let it move stays
 * until it is closed.
 *
 * A route node has its peers choose another one for what is to come, and waits until none of them
 * waits for an answer to what has gone through it, if there is another one: its end would end those
 * requests.  A client whose messages keep to it is read no further until its requests have ended.
 *
 * The end has come when nothing is left and nothing is in work, or with the deadline.  Then the
 * node stays as it is, drained, or stops.  Until it has stopped the drain can be aborted.
 */

#ifndef OB__DRAIN_H
#define OB__DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/log.h"
#include "base/loop.h"
#include "lib/frame.h"
#include "mesh/registry.h"

#define OB__DRAIN_CLOSE        4002u /* close code: connect again, to another node */
#define OB__DRAIN_PACE_MAX     1000000u
#define OB__DRAIN_DEADLINE_MAX 86400u /* s */

struct ob__conn;
struct ob__node;
struct ob__session;

enum ob__drain_state {
	OB__DRAIN_NONE,
	OB__DRAIN_ACTIVE,
	OB__DRAIN_DONE, /* nothing is left, or the deadline has passed */
};

struct ob__drain_options {
	uint32_t pace;        /* sessions a second; 0: nobody is asked to go */
	uint64_t deadline_ms; /* 0: none */
	bool stop;            /* then the node stops */
	bool keep; /* its own clients are not closed and not waited for, nor sessions that
	            * stay: what a signal asks for */
};

/* What a walk over all has found; walks are made in pieces. */
struct ob__drain_walk {
	uint32_t at;
	uint32_t left;   /* in this walk so far */
	uint32_t stay;   /* of them, those that don't move */
	uint32_t seen;   /* `left` of the last whole walk */
	uint32_t stayed; /* and `stay` */
	uint32_t turns;  /* whole walks since all peers had heard */
};

struct ob__drain {
	enum ob__drain_state state;
	struct ob__drain_options options;
	struct ob__timeout timeout;
	uint64_t since;   /* loop ms */
	uint64_t told_at; /* loop ms, the peers */
	uint64_t ended;   /* loop ms, when DONE */
	double credit;    /* sessions that may be asked to go now */
	uint64_t credit_at;
	uint64_t again_at; /* loop ms; whoever was asked and said nothing is asked again */
	bool again;        /* in this walk */
	bool late;
	bool confirming; /* the peers are asked whether they have read everything */
	struct ob__drain_walk clients;
	struct ob__drain_walk sessions;
	uint64_t closed;                 /* clients, of this drain */
	uint64_t moved;                  /* sessions */
	struct ob__log_limit peer_limit; /* of peers that begin or end theirs */
	uint64_t *closed_total;
	uint64_t *moved_total;
};

int ob__drain_init(struct ob__node *node);
void ob__drain_free(struct ob__node *node);

/* Begins, or goes on with other options. 0; OB_E_STATE while the node starts or stops. */
int ob__drain_begin(struct ob__node *node, const struct ob__drain_options *options);

/* Back to work. 0, also when there is no drain; OB_E_STATE while the node stops; or why a listener
 * can't be opened again, and the drain goes on. */
int ob__drain_abort(struct ob__node *node, char *err, size_t cap);

/* New reference. */
json_t *ob__drain_json(const struct ob__node *node);

/* A peer came up. */
void ob__drain_link_up(struct ob__node *node, struct ob__peer *peer);

/* A SYSTEM frame for this node, one of those of a drain or of no meaning. */
void ob__drain_frame(struct ob__node *node, const struct ob__frame *f);

/* On a session's proxy: a request of the client has ended.  What waited for that is moved. */
void ob__drain_client_quiet(struct ob__node *node, struct ob__conn *conn);

/* The same of a session without a connection; and when that has one again. */
void ob__drain_session_quiet(struct ob__node *node, struct ob__session *s);
void ob__drain_session_back(struct ob__node *node, struct ob__conn *conn);

#endif
