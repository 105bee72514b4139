/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The node's part in the directory of nodes.
 *
 * Every node has a directory (mesh/directory.h), whose sources are the route nodes it has links
 * with; a route node has a view as well (mesh/dirview.h), and is a source of its own directory:
 * what either half sends to the node's own id is a letter, delivered in order a moment later.  What
 * the directory lists becomes peers in the registry, so the router chooses among them, and the
 * dialer dials them.
 *
 * Of a node's coming, going and being replaced modules are told by what is known here: the
 * directory if it lists it, else the link.
 *
 * WHEN A PATH CHANGES.  Frames for a node without a link go through a route node.  When a link
 * comes up, a FENCE for that node goes last on the old way, and what is sent to it waits until the
 * FENCE is back, the old way's link is lost, or two seconds have passed; a FENCE for which there is
 * no room is tried again in that time.  The other way round, when the link is lost, the way through
 * a route node is taken at once.
 */

#ifndef OB__CLUSTER_H
#define OB__CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/log.h"
#include "base/loop.h"
#include "lib/frame.h"
#include "lib/list.h"
#include "mesh/dialer.h"
#include "mesh/directory.h"
#include "mesh/dirview.h"
#include "mesh/link.h"

struct ob__node;

struct ob__cluster {
	struct ob__directory dir;
	struct ob__dirview view; /* of a route node */
	bool has_view;
	bool leaving;
	bool served_changed; /* what members serve */
	bool reach_changed;  /* somebody can be reached who could not, or the reverse */
	struct ob__log_limit peer_limit;
	struct ob__dialer dialer;
	struct ob__timeout timer; /* of directory and view */
	uint64_t due;             /* loop ms for which it is set */
	uint64_t described_at;    /* loop ms */
	struct ob__timeout after; /* what may not be done inside of the directory */
	struct ob__list letters;
	struct ob__list events;
	struct ob__list lost;  /* ids of nodes whose requests are to be ended */
	uint64_t last_fence;   /* number of the FENCE sent last */
	uint32_t fences;       /* that are out */
	uint64_t *fences_sent; /* counters */
	uint64_t *fences_late; /* given up after two seconds */
	uint64_t *fences_busy; /* tries */
	struct ob__timeout fence_timeout;
	uint64_t fence_timeout_at; /* loop ms */
	uint64_t random;
	char near[108]; /* the unix socket for links, or "" */
	struct ob__listener *near_listener;
};

/* After the links. 0 or a negative code. */
int ob__cluster_init(struct ob__node *node);

/* Before the links are freed.  A zeroed one is accepted. */
void ob__cluster_free(struct ob__node *node);

/* The unix socket beside rpc.port.  One that can't be bound is no reason not to start. */
void ob__cluster_listen(struct ob__node *node);
void ob__cluster_accept(struct ob__node *node);
void ob__cluster_unlisten(struct ob__node *node);

/* Tells the directory what this node is now; when that is the same as before, nothing happens. */
void ob__cluster_describe(struct ob__node *node);

/* A planned end. */
void ob__cluster_leave(struct ob__node *node);

/* Of any peer; before anything is sent to it. */
void ob__cluster_link_up(struct ob__node *node, struct ob__peer *peer);

/* Before anything is sent elsewhere in its place. */
void ob__cluster_link_down(struct ob__node *node, struct ob__peer *peer);

/* The link stands, but what was sent last may be lost: says anew what must be known. */
void ob__cluster_link_gap(struct ob__node *node, const struct ob__peer *peer);

/* A system frame; true when it was for this part of the node, or broke a rule and is ignored or the
 * link closed. */
bool ob__cluster_frame(struct ob__node *node, struct ob__link *link, const struct ob__frame *f);

/* Passes a whole frame on that came from `from` (NULL: from here) on the link of `to`, where it
 * waits for the old path's fence if it must.  As ob__peer_forward(). */
int ob__cluster_forward(struct ob__node *node, const struct ob__peer *from, struct ob__peer *to,
                        const uint8_t *raw, size_t len);

/* What the directory says of a peer, for GET /peers, put into `peer`; and of itself. */
void ob__cluster_peer_json(const struct ob__node *node, const struct ob__peer *p, json_t *peer);
json_t *ob__cluster_json(const struct ob__node *node);

/* Registers its counters and gauges. */
void ob__cluster_gauges(struct ob__node *node);

#endif
