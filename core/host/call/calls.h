/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Calls that modules make.
 *
 * The plain ob_call() to one node or role is nothing but an entry in mesh/pending.h.  Any other one
 * (a mode, a key, all nodes of a role, ...) is a struct ob__call, whose tries are such entries: one
 * after the other, or, for all of a role, all at once.  A call lives from when it is made until its
 * last result, which is due at its deadline: every try ends by then, and between two of them a
 * timeout runs.  What is tried again after which failure is said at enum ob_call_mode.
 *
 * A try of a call with a key does not take all the time there is, so that another one can follow
 * when its node hangs; but its frame carries all of it: the handler may still give the end that the
 * next try to the same node waits for.
 */

#ifndef OB__CALLS_H
#define OB__CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "base/log.h"
#include "base/loop.h"
#include "host/call/trace.h"
#include "lib/list.h"
#include "lib/slab.h"
#include "mesh/pending.h"

#define OB__CALL_NODES_MAX 4096u /* of a role, called all at once */
#define OB__CALL_TRIED_MAX 16u   /* nodes that a call goes on from */

struct ob__gen;
struct ob__last_call;
struct ob__node;
struct ob__req;

/* One request that code of this node makes; all borrowed. */
struct ob__call_out {
	ob_target target;
	uint32_t id;
	const char *method; /* NULL: by id */
	uint64_t session;
	const void *data;
	size_t len;
	uint64_t budget; /* ms */
	const void *key;
	size_t key_len;
	bool no_wait;
	struct ob__trace trace;
	struct ob__last_call *last; /* to be noted if it can be added to; or NULL */
};

struct ob__call {
	uint64_t handle;
	struct ob__gen *gen;
	struct ob__list gen_link; /* in gen->plans */
	struct ob__list tries;    /* ob__pending.u.attempt.link */
	struct ob__timeout pause; /* between two tries */
	struct ob__call_out out;  /* its pointers are the call's own */
	ob_call_fn fn;
	void *arg;
	uint64_t req; /* handle of the request it is made for, or 0 */
	uint64_t began;
	uint64_t deadline; /* loop ms */
	uint64_t tried[OB__CALL_TRIED_MAX];
	struct {
		uint64_t node;
		uint64_t call;
	} late[OB__CALL_TRIED_MAX]; /* tries that ended with DEADLINE; they may be under way */
	uint32_t late_len;
	uint32_t tried_len;
	uint32_t tries_made;
	uint32_t retries; /* left */
	uint32_t left;    /* ALL: results to come */
	uint8_t mode;
	bool all;
	uint8_t telling; /* how often fn is on the stack */
	bool over;       /* no result will come any more: freed as soon as fn has returned */
	_Alignas(16) uint8_t keep[OB_CALL_KEEP_MAX];
	uint8_t key[OB_CALL_KEY_MAX];
};

struct ob__calls {
	struct ob__slab slab;
	uint64_t *retried;
	uint64_t *safe; /* failures that a caller did not want to hear of */
	struct ob__log_limit safe_limit;
};

void ob__calls_init(struct ob__node *node);

/* Frees all without a word. */
void ob__calls_free(struct ob__node *node);

/* Sends the request of a pending entry.  0, or why it did not go; an end that a policy wants, or
 * NO_ROUTE without waiting, comes in a later turn.  *to is the node it goes to, 0: not known. */
int ob__call_send(struct ob__node *node, const struct ob__call_out *out, struct ob__pending *p,
                  uint64_t *to);

/* How long a call may take, ms: as long as is wanted (0: call_timeout), but no longer than there is
 * time for the request that it is made for, which has not ended; NULL: for none. */
uint64_t ob__call_budget(const struct ob__node *node, uint32_t wanted_ms, const struct ob__req *r);

/* Ends a pending entry with a failure, in a later turn. 0 or OB_E_NOMEM. */
int ob__call_refused(struct ob__node *node, const struct ob__pending *p, int code);

/* An end as a module is told it, behind one try. */
ob_call_result ob__call_result(const struct ob__end *end);

/* Tells it, on behalf of the request `req` or, with 0, of none. */
void ob__call_tell(struct ob__gen *g, uint64_t req, ob_call_fn fn, uint64_t call,
                   const ob_call_result *res, void *arg);

/* A try has ended. */
void ob__call_try_ended(struct ob__node *node, struct ob__pending *p, const struct ob__end *end);

/* Forgets a call. 0, OB_E_STALE. */
int ob__call_forget(struct ob__gen *g, uint64_t handle);

/* The generation's time is over: its calls end with GONE. */
void ob__calls_abandon(struct ob__gen *g);

/* The nodes of a role that a call could go to now, this one included if it is of it: at most `cap`
 * ids; how many there are. */
size_t ob__call_nodes(const struct ob__node *node, uint32_t role, uint64_t *out, size_t cap);

#endif
