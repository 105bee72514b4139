/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Filters around messages of clients: those of modules
 * (ob_on_message_filter()), and those that are built in (`filters` of the configuration).
 *
 * A message passes the filters of its client's node, then those of the node whose handler takes it;
 * on its way back its end passes them in the other direction.  A filter may hold a message: then
 * its bytes are copied into a gate, which counts against its generation and its client, and ends at
 * the message's deadline.  Where the message has reached a handler's node it is a request already
 * (host/message/request.h), and the gate keeps only its payload.
 *
 * The built-in ones: too_busy refuses while the loop is late (host/call/callfilter.h has the
 * pulse); timeout gives ids less time than call_timeout; time logs and counts what is slow; serial
 * keeps a client's messages while one of its requests has not ended, bounded, each for a while.
 *
 * Where none of it is used, a message meets two flags.
 */

#ifndef OB__GATE_H
#define OB__GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "base/log.h"
#include "host/generation.h"
#include "lib/list.h"
#include "lib/map.h"
#include "lib/slab.h"

struct ob__asking;
struct ob__conn;
struct ob__node;
struct ob__reg;
struct ob__req;
struct ob__session;

struct ob__gates {
	bool watch;    /* too_busy, timeout or serial: before a client's message goes anywhere */
	bool around;   /* somebody sees ends at the client's side */
	bool handlers; /* and at the handler's */
	struct ob__slab slab;
	size_t bytes;              /* of what is held */
	struct ob__asking *asking; /* the filter that runs now is asked about this, or NULL */
	struct ob__map serial;     /* session -> messages that wait for their turn */
	struct ob__list away;      /* messages that may go on when their clients are back */
	uint64_t *held;
	uint64_t *refused;
	uint64_t *slow;
	uint64_t *too_many;
	uint64_t *waited;
	struct ob__histogram *client_time;
	struct ob__histogram *handler_time;
	struct ob__log_limit log_limit;
};

/* How a message of a client ended. */
struct ob__outcome {
	uint32_t id;
	uint32_t flags; /* of its view */
	uint64_t session;
	uint64_t source;
	uint64_t took_us;
	int code;
	const char *text;
	size_t len;
};

void ob__gates_init(struct ob__node *node);
void ob__gates_free(struct ob__node *node);

/* Modules or the configuration have changed. */
void ob__gates_refresh(struct ob__node *node);

/* ---- on the client's node ---- */

/* What is built in: true if the message may go on now, with *budget_ms. */
bool ob__gate_watch(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                    uint64_t *budget_ms, int *code, const char **text);

/* The module's filter of that number: true if it may go on.  Else *code is what it is to end with,
 * or 0: the filter has it. */
bool ob__gate_filter(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                     const ob_view *view, size_t at, int *code);

/* It goes on, its filters from number `from` on (from_client.c). */
void ob__client_go_on(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                      uint64_t budget_ms, size_t from);

/* It ends without having gone further (from_client.c). */
void ob__client_refuse(struct ob__node *node, struct ob__conn *conn, const ob_packet *p, int code,
                       const char *text);

/* A client has its answer. */
void ob__gate_client_ended(struct ob__node *node, const struct ob__outcome *o);

/* None of the client's requests is under way, and some of its messages wait for that; and its
 * session is over. */
void ob__serial_next(struct ob__conn *conn);
void ob__serial_drop(struct ob__node *node, uint64_t session);

/* A session has a connection again: what waited for that goes on. */
void ob__gates_back(struct ob__conn *conn);

/* A detached session is given to another node: what is held of it ends here. */
void ob__gates_leave(struct ob__node *node, uint64_t session);

/* ---- on the handler's node ---- */

/* True if the handler may have the request; else it has ended, or a filter has it. */
bool ob__gate_handler(struct ob__node *node, ob_handler_fn fn, uint32_t flags, struct ob__req *r,
                      size_t from);

/* The handler has ended it. */
void ob__gate_handler_ended(struct ob__node *node, const struct ob__req *r, int code,
                            const char *text, size_t len);

/* ---- behind the SDK ---- */

uint64_t ob__gate_hold(struct ob__gen *g);
int ob__gate_pass(struct ob__gen *g, uint64_t gate);
int ob__gate_end(struct ob__gen *g, uint64_t gate, int code, const char *text, const void *data,
                 size_t len);

/* The generation's time is over: what it holds ends with GONE. */
void ob__gates_abandon(struct ob__gen *g);

#endif
