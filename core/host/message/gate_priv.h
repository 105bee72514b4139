/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to host/message/gate*.  A message that is held: gate.c has its life and the filters that
 * hold it, gate_serial.c messages that wait for their turn and what else is built in, gate_ends.c
 * tells filters and the log how messages have ended.
 */

#ifndef OB__GATE_PRIV_H
#define OB__GATE_PRIV_H

#include "host/message/gate.h"

/* A message that is held, by a filter of `gen`, or for its turn. */
struct ob__gate {
	uint64_t handle;
	struct ob__node *node;
	struct ob__gen *gen;  /* NULL: it waits for its turn, or for its client */
	struct ob__list link; /* in gen->gates, with others of its client, or in gates.away */
	struct ob__timeout timeout;
	uint64_t deadline; /* of the message: loop ms */
	bool passed;       /* these two while the filter still runs */
	bool fresh;
	bool away;   /* it may go on, when its client is back */
	size_t next; /* the filter behind this one, and how to know it again: */
	uint32_t version;
	int priority;

	uint64_t session; /* of a client's message, else 0: it may have another connection by now */
	ob_packet packet;
	uint64_t req; /* of a request, else 0 */
	ob_handler_fn fn;
	uint32_t fn_flags;

	uint8_t *bytes; /* payload, then name */
	size_t len;
};

/* Messages of a client that wait for their turn. */
struct ob__serial {
	struct ob__node *node;
	uint64_t session;
	struct ob__list gates;
	uint32_t len;
	bool queued; /* a turn that looks at them is coming */
	bool gone;
};

/* One with room for the bytes of a message; NULL when too much is held. */
struct ob__gate *ob__gate_new(struct ob__node *node, size_t len);

/* The bytes of a message are its own from now on. 0 or OB_E_NOMEM. */
int ob__gate_keep(struct ob__gate *g, const uint8_t *data, size_t len, const char *name,
                  size_t name_len);

/* The message has so much time, and waits no longer than `wait`. */
void ob__gate_arm(struct ob__gate *g, uint64_t ms, uint64_t wait);

/* It goes on, or ends if its time is over, and is gone; or it waits, as its client is away. */
void ob__gate_go_on(struct ob__gate *g);

void ob__gate_free(struct ob__gate *g);

/* The connection that the session has now, or NULL. */
struct ob__conn *ob__gate_conn(struct ob__node *node, uint64_t session);

/* Messages that wait for their turn are forgotten, as the node ends. */
void ob__serials_free(struct ob__node *node);

#endif
