/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Events by name, between the modules of a node and of others.
 *
 * What is raised waits in a queue until the callback that raised it is over; then all who want to
 * know hear of it, in the order of their priority, until one stops it.  A notice is told at once,
 * and can't be stopped.  Events that come of events know how deep they are, over links too: at
 * OB__EVENT_DEPTH_MAX it is the end.  The queue is bounded in number and bytes.
 */

#ifndef OB__EVENT_H
#define OB__EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <obhost/obhost.h>

#include "base/log.h"
#include "lib/frame.h"
#include "lib/list.h"

#define OB__EVENT_DEPTH_MAX 16u
#define OB__EVENTS_MAX      4096u
#define OB__EVENTS_BYTES    (8u << 20)
#define OB__EVENTS_A_TURN   256u

struct ob__gen;
struct ob__node;

struct ob__events {
	struct ob__list queue;
	uint32_t len;
	size_t bytes;
	bool queued;    /* a turn is coming */
	uint32_t depth; /* of what somebody hears of now; 0: nobody does */
	uint64_t *raised;
	uint64_t *refused;
	struct ob__log_limit limit;
};

void ob__events_init(struct ob__node *node);
void ob__events_free(struct ob__node *node);

/* 1..64 bytes of text without control characters. */
bool ob__event_name_ok(const char *name);

/* From another node, raised there. */
void ob__event_frame(struct ob__node *node, const struct ob__frame *f);

/* Behind the SDK; `data` is borrowed. */
int ob__event_raise(struct ob__gen *g, uint32_t role, const char *name, json_t *data,
                    uint32_t flags);

#endif
