/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  One thing that is done, through all the nodes it goes through.
 *
 * The number of a trace is that of the request it began with: the node that sent it and its call
 * id, both in the header of every frame.  So what begins a trace carries nothing more, and a node
 * that passes it on or handles it knows the number all the same.  A call that is made for a request
 * carries the request's number and the request's own call id, its parent, as an extension.
 *
 * With debug lines on, each node a traced frame comes through writes one.
 */

#ifndef OB__TRACE_H
#define OB__TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "lib/frame.h"

#define OB__TRACE_EXT 24u /* bytes of the extension's value: 2 * u64 number, u64 parent */

struct ob__trace {
	uint64_t id[2];
	uint64_t span;
	uint64_t parent; /* 0: it begins here */
};

struct ob__node;
struct ob__req;

/* Of a request's frame. */
void ob__trace_of_frame(const struct ob__frame *f, struct ob__trace *t);

/* Of a request in the hands of a handler. */
void ob__trace_of_req(const struct ob__node *node, const struct ob__req *r, struct ob__trace *t);

/* Of what is made for `req` (a handle; 0 or stale: for nothing) and gets the call id `call`. */
void ob__trace_next(struct ob__node *node, uint64_t req, uint64_t call, struct ob__trace *t);

/* Writes the extension's value. */
void ob__trace_put(const struct ob__trace *t, uint8_t out[OB__TRACE_EXT]);

#define OB__TRACE_LABEL 272u /* bytes of the text below */

/* What a request is of: its method's name, or "message 1000"; in `out`, which is returned. */
const char *ob__trace_label(char out[OB__TRACE_LABEL], const char *method, uint32_t id);

void ob__trace_write(const struct ob__node *node, const struct ob__frame *f, const char *what,
                     uint64_t with);

/* A debug line about a request: `what` happened to it, with which node. */
static inline void ob__trace_frame(const struct ob__node *node, const struct ob__frame *f,
                                   const char *what, uint64_t with)
{
	if (ob__log_on(OB_LOG_DEBUG) && f->kind == OB__FRAME_REQUEST) {
		ob__trace_write(node, f, what, with);
	}
}

#endif
