/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Listeners that modules open (ob_listen).
 *
 * The socket is the host's.  A generation has a claim to it: a registration in the slot of its
 * address, as for everything else it registers.  A new generation that asks for the same address
 * claims the socket that is there, so nobody is turned away in between and whoever waits in its
 * queue is served; the codec and idle time of newcomers are those of the generation that is active.
 * A socket is closed when no generation that serves, is about to, or stands by, claims it.  Its
 * connections live on: the listener's memory goes with the last of them.
 */

#ifndef OB__LISTEN_H
#define OB__LISTEN_H

#include <stdbool.h>

#include <obhost/obhost.h>

#include <jansson.h>

#include "host/slot.h"

struct ob__client_listener;
struct ob__node;

/* ob_listen(): see there.  The reason of a refusal is left in g->refused. */
int ob__listen(struct ob__gen *g, const ob_listen_options *options);

/* In the turn of the switch, after ob__slots_activate(): the generation's listeners accept from now
 * on, those of its module that it has no claim to stay as they are.  Also for a generation that is
 * taken back.  Looks at the node's module listeners, no more. */
void ob__listens_activate(struct ob__gen *g);

/* After a commit, a return or a refusal: closes the sockets that nobody claims any more. */
void ob__listens_sweep(struct ob__node *node);

/* The node begins to accept. 0 or negative. */
int ob__listens_start(struct ob__node *node);

/* Frees what is left, when the loop is gone. */
void ob__listens_free(struct ob__node *node);

/* A claim that stays, or a connection, needs the codec; claims of `but` (or NULL) don't count. */
bool ob__listens_use_codec(const struct ob__node *node, const struct ob__slot *codec,
                           const struct ob__module *but);

/* All listeners for clients, the configuration's first, for GET /node; new reference. */
json_t *ob__listens_json(const struct ob__node *node);

#endif
