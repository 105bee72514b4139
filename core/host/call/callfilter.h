/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What stands around calls, at the node that makes them and at the
 * one that answers: modules' filters (ob_on_call_filter), the log of slow and failed ones
 * (rpc.log), and the refusal of requests while the node is too busy (rpc.too_busy).
 *
 * Too busy is measured by how late a timeout fires: what arrives waits as long.  It runs while
 * requests come.
 */

#ifndef OB__CALLFILTER_H
#define OB__CALLFILTER_H

#include <stdbool.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "base/log.h"
#include "base/loop.h"

struct ob__call;
struct ob__call_out;
struct ob__end;
struct ob__node;
struct ob__req;
struct ob__trace;

struct ob__callfilter {
	struct ob__timeout pulse;
	uint64_t pulse_due; /* loop ms */
	uint64_t asked_at;  /* when a request came last */
	uint32_t lag_ms;    /* of the last pulses, smoothed */
	uint64_t *too_busy;
	uint64_t *refused; /* by filters */
	uint64_t *slow;
	struct ob__log_limit log_limit;
	struct ob__log_limit busy_limit;
};

void ob__callfilter_init(struct ob__node *node);
void ob__callfilter_free(struct ob__node *node);

/* Somebody wants to see the calls this node makes. */
bool ob__callfilter_out(const struct ob__node *node);

/* Somebody wants to see calls before their handlers do. */
bool ob__callfilter_in(const struct ob__node *node);

/* A call is about to be made: 0, or the code it is to end with. */
int ob__callfilter_before_out(struct ob__node *node, const struct ob__call_out *out);

/* Its result is about to be handed over. */
void ob__callfilter_after_out(struct ob__node *node, const struct ob__call *c,
                              const ob_call_result *res);

/* A call is about to reach its handler: 0, or the code it is to end with. */
int ob__callfilter_before_in(struct ob__node *node, const ob_view *view,
                             const struct ob__trace *trace);

/* Its handler has ended it: the request is a call. */
void ob__callfilter_after_in(struct ob__node *node, const struct ob__req *r, int code,
                             const char *text, const void *data, size_t len);

/* The node, which has a limit (too_busy_ms), can't take a request more now; counted and logged. */
bool ob__callfilter_too_busy(struct ob__node *node);

/* The same with a limit in ms of its own. */
bool ob__callfilter_late(struct ob__node *node, uint64_t limit);

#endif
