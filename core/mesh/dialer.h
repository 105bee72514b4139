/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Links to nodes that the directory tells of.
 *
 * A node keeps a link to every route node it hears of, and makes one to another node when there is
 * traffic towards it: meanwhile frames go through a route node.  It tries the node's unix socket
 * first if both are on one machine, then its addresses of transports that modules offer, in the
 * order it tells them, then its first usable tcp address, again and again with longer
 * and longer pauses, for as long as the node is listed and wanted.  A link that was made for
 * traffic ends when neither end has seen any for a minute; then frames go through a route node
 * again.
 *
 * The owner says what the directory says: ob__dialer_node() for each node that is listed or has
 * changed, ob__dialer_gone() for each that no longer is.  A want costs a table entry; nothing is
 * dialled for a node without an address that can be used from here.
 */

#ifndef OB__DIALER_H
#define OB__DIALER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "lib/list.h"
#include "mesh/link.h"
#include "mesh/member.h"

#define OB__DIALER_IDLE_MS 60000u

struct ob__dialer {
	struct ob__links *links;
	struct ob__loop *loop;
	uint64_t machine; /* this one, as unix addresses name it */
	uint64_t idle_ms;
	struct ob__list dialings;
	size_t count;
	struct ob__timeout timeout;
};

/* Where a node can be reached from here. */
struct ob__dial_way {
	char near[108]; /* a unix socket, or "" */
	struct {
		char transport[OB__TRANSPORT_NAME];
		char address[OB__TRANSPORT_ADDRESS];
	} ways[OB__TRANSPORT_WAYS];
	size_t ways_len;
	char host[OB__MEMBER_ADDRESS];
	int port; /* 0: no tcp */
};

/* idle_ms 0: links stay. */
void ob__dialer_init(struct ob__dialer *d, struct ob__loop *loop, struct ob__links *links,
                     uint64_t machine, uint64_t idle_ms);

/* Forgets all; links stay.  Before ob__links_free().  A zeroed struct is accepted. */
void ob__dialer_free(struct ob__dialer *d);

/* The directory lists the peer, with these addresses.  `always`: dial it now and for ever, as a
 * route node is.  0, or -ENOMEM. */
int ob__dialer_node(struct ob__dialer *d, struct ob__peer *peer, const struct ob__description *desc,
                    bool always);

/* It no longer does; or its link has ended for want of traffic (ob__peer.parted). */
void ob__dialer_gone(struct ob__dialer *d, struct ob__peer *peer);

/* There is traffic towards a peer without a link.  Does nothing when it is dialled already. */
void ob__dialer_want(struct ob__dialer *d, struct ob__peer *peer,
                     const struct ob__description *desc);

/* For people: "waiting", "connecting", "up", ..., or "" when nobody dials the peer. */
const char *ob__dialer_state(const struct ob__peer *peer);

/* Picks out what can be used on this machine; false when there is nothing.  An address that means
 * only its own machine is left out when the node is on another one. */
bool ob__dial_way(struct ob__dial_way *way, const struct ob__description *desc, uint64_t machine);

/* A number for this machine, boot and network: a unix socket of a node that says the same may be
 * reached from here. */
uint64_t ob__machine_id(void);

#endif
