/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  A message's way: to a handler here, or on towards another node.
 *
 * Messages come from three sides: this node's clients, links, HTTP; and code of this node may call
 * its own handlers.  Whatever the side, a handler sees an ob_req, which lives in a slab and is
 * ended exactly once; the end goes back the way the message came.  Requests that leave the node
 * wait in mesh/pending.h.  Frames for other nodes are passed on with their header patched and their
 * payload unread.
 *
 * Messages that nobody live can take now are kept, bounded in bytes, until a node comes up or their
 * time is nearly over; then they end with NO_ROUTE.
 */

#ifndef OB__DISPATCH_H
#define OB__DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "host/generation.h"
#include "lib/frame.h"
#include "lib/list.h"
#include "lib/slab.h"
#include "mesh/link.h"
#include "mesh/pending.h"
#include "net/http.h"

/* The answer that was sent last, as long as the next one may be added to its frame. */
struct ob__last_reply {
	uint64_t changes; /* of the registry */
	uint64_t dst;
	uint64_t mark; /* of the frame (mesh/link.h) */
	uint32_t id;
	struct ob__peer *peer; /* the way; NULL: none */
};

/* The plain call by message id that was sent last, as long as the next one may be added to its
 * frame. */
struct ob__last_call {
	uint64_t changes; /* of the registry */
	uint64_t mark;    /* of the frame (mesh/link.h) */
	uint64_t node;    /* of its target */
	uint32_t role;    /* the same */
	uint32_t id;
	uint64_t budget;
	uint64_t req;          /* handle of the request that it was made for, or 0 */
	struct ob__peer *peer; /* the way; NULL: none */
	struct ob__peer *to;   /* at its end */
};

struct ob__dispatch {
	struct ob__slab reqs;
	struct ob__last_reply last_reply;
	struct ob__last_call last_call;
	uint64_t budget_ms; /* of the client's message that is being handled, or that comes next */
	uint64_t current;   /* request whose handler runs, or for which a result is handed over */
	struct ob__req *running;     /* whose handler runs: it stays until that returns; or NULL */
	struct ob__list held_frames; /* waiting for a live node, oldest first */
	size_t held_bytes;
	struct ob__timeout held_timeout;
	uint64_t held_due;     /* loop ms the timeout is armed for */
	uint64_t *ends[16];    /* by result, of what handlers here ended */
	uint64_t *refused[16]; /* by result, of what ended without a handler */
	uint64_t *client_messages;
	uint64_t *link_frames;
	uint64_t *forwarded;
	uint64_t *pushes;
	uint64_t *pushes_lost;
	uint64_t *push_lists;
	uint64_t *replies_lost;
	uint64_t *unended; /* handlers that returned without an end */
	uint64_t *hops_over;
	uint64_t *late; /* behind a later one of the session */
	uint64_t *pushes_late;
	uint64_t last_push; /* the number of the last one made here (mesh/order.h) */
	uint64_t *held_total;
	struct ob__histogram *latency; /* of requests that left the node, until their end */
};

int ob__dispatch_init(struct ob__node *node);
void ob__dispatch_free(struct ob__node *node);

/* A client's packet. The packet's bytes are borrowed. */
struct ob__conn;
void ob__dispatch_client(struct ob__node *node, struct ob__conn *conn, const ob_packet *packet);

/* A frame from a link. */
void ob__dispatch_frame(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                        uint8_t *raw);

/* An HTTP request for the handler of `reg`. */
struct ob__reg;
void ob__dispatch_http(struct ob__node *node, struct ob__http_server *server,
                       const struct ob__http_request *request, struct ob__reg *reg,
                       const char *tail);

/* A peer came up: what waits may go. */
void ob__dispatch_peer_up(struct ob__node *node);

/* A pending request or call has ended (mesh/pending.h). */
void ob__dispatch_pending_end(void *arg, struct ob__pending *p, const struct ob__end *end);

/* The connection that the client of a request has by now, or NULL. */
struct ob__conn *ob__dispatch_client_conn(struct ob__node *node, const struct ob__pending *p);

/* A request of the client to another node has ended.  NULL, a client that left, is accepted. */
void ob__dispatch_client_ended(struct ob__node *node, struct ob__conn *conn,
                               const struct ob__pending *p);

/* Raises an event in every module that asked for it. */
void ob__dispatch_event(struct ob__node *node, const ob_event_info *info);

/* The requests it holds end with GONE. */
void ob__dispatch_refuse_held(struct ob__gen *g, const char *why);

/* The generation's time is over: its held requests and calls end with GONE. */
void ob__dispatch_abandon(struct ob__gen *g);

/* ---- behind the SDK ---- */

uint64_t ob__dispatch_call(struct ob__gen *g, const ob_target *target, uint32_t id,
                           const char *method, uint64_t session, const void *data, size_t len,
                           uint32_t deadline_ms, ob_call_fn fn, void *arg);
int ob__dispatch_call_cancel(struct ob__gen *g, uint64_t call);
uint64_t ob__dispatch_call_with(struct ob__gen *g, const ob_target *target,
                                const ob_call_options *options, ob_call_fn fn, void *arg);
int ob__dispatch_push(struct ob__node *node, uint64_t session, uint32_t id, const void *data,
                      size_t len);
int ob__dispatch_kick(struct ob__node *node, uint64_t session, uint16_t code, const char *reason);

#endif
