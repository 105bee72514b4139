/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Requests and calls that wait for their end.
 *
 * An entry is made when a request leaves this node and is ended exactly once: by the reply that
 * carries its handle as call id, by its deadline, or by the loss of the link it went out on.  It
 * lives in a slab and its deadline on the loop's wheel, so making one costs neither malloc nor a
 * timer handle (clients' requests, which all have the same budget, are in one queue, of which the
 * wheel knows the first; so are modules' calls with the budget that most have); a reply for an
 * entry that has ended finds a stale handle and is counted.  So does one for a request of this
 * node's former process, which a route node may still have: handles begin at random.
 */

#ifndef OB__PENDING_H
#define OB__PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "lib/list.h"
#include "lib/slab.h"

struct ob__link;
struct ob__peer;
struct ob__pendings;

#define OB__PENDING_SAMPLE 16u /* one in so many has its time measured */

enum ob__pending_kind {
	OB__PENDING_CLIENT = 1, /* a client's request: encode the end for its connection */
	OB__PENDING_CALL,       /* a module's call: give the end to its callback */
	OB__PENDING_TRY,        /* a try of one that may have several (host/call/calls.h) */
	OB__PENDING_USER,  /* a module's question about a user (host/user/users.h); in u.call */
	OB__PENDING_ASK,   /* the host's own; u.call.arg */
	OB__PENDING_GROUP, /* a question for a group's members (host/push/groups.h); u.call */
};

struct ob__pending {
	uint64_t handle; /* the call id on the wire */
	struct ob__timeout timeout;
	struct ob__list link; /* in ob__link.pendings, or on no list */
	uint64_t link_offset; /* link->appended behind its frame */
	struct ob__peer *to;  /* the node it went to, or NULL */
	struct ob__pendings *all;
	uint8_t kind;
	bool ending;         /* on_end is on the stack */
	bool queued;         /* its timeout is in one of ob__pendings.queues, not on the wheel */
	uint32_t id;         /* message id */
	uint64_t started_us; /* of one in OB__PENDING_SAMPLE; else 0 */
	union {
		struct {
			uint64_t conn; /* handle */
			uint64_t cookie;
			uint64_t seq;  /* of the session */
			uint32_t role; /* that a sticky choice was made for, or 0 */
			bool sticky;   /* counted as busy for that role */
			uint8_t lost;  /* enum ob__sticky_lost of the floor above */
		} client;
		struct {
			void *gen;
			void *fn;
			void *arg;
			struct ob__list gen_link; /* in the generation's calls */
			uint64_t req;             /* handle of the request it is made for, or 0 */
			uint64_t node;            /* that it goes to, or 0: not known */
		} call;
		struct {
			uint64_t call;        /* handle */
			uint64_t node;        /* that it went to, or 0 */
			uint64_t by;          /* then: the route node that chose one, or 0 */
			struct ob__list link; /* in the call's tries */
		} attempt;
	} u;
};

/* How an entry ends. The bytes and text are borrowed. */
struct ob__end {
	int code;         /* OB_OK or OB_E_* result */
	const char *text; /* may be NULL */
	uint64_t source;  /* node that answered, or 0 */
	const uint8_t *data;
	size_t len;
	bool refused; /* no handler has seen it */
};

typedef void (*ob__pending_fn)(void *arg, struct ob__pending *p, const struct ob__end *end);

/* Entries with one budget: the first ends first. */
struct ob__pending_queue {
	struct ob__pendings *all;
	struct ob__list entries; /* ob__pending.timeout.entry.link */
	uint64_t ms;             /* the budget */
	struct ob__timeout timeout;
};

struct ob__pendings {
	struct ob__slab slab;
	struct ob__loop *loop;
	ob__pending_fn on_end; /* called once per entry, which is freed behind it */
	void *arg;
	struct ob__pending_queue queues[OB__PENDING_CALL]; /* by kind: CLIENT and CALL */
	uint64_t stale;                                    /* replies that came too late */
	uint64_t deadlines;
	uint64_t made;
};

void ob__pendings_init(struct ob__pendings *ps, struct ob__loop *loop, uint32_t limit,
                       ob__pending_fn on_end, void *arg);

/* Frees all entries without ending them.  NULL is accepted. */
void ob__pendings_free(struct ob__pendings *ps);

/* A new entry with its deadline armed, or NULL at the limit. The caller fills the union, whose
 * u.call.gen_link (u.attempt.link) is on no list yet and is taken off whatever list it is on when
 * the entry goes. */
struct ob__pending *ob__pending_new(struct ob__pendings *ps, enum ob__pending_kind kind,
                                    uint64_t budget_ms);

/* The same of kind CLIENT, for whoever sets `id` and all of u.client: they are not zeroed. */
struct ob__pending *ob__pending_client(struct ob__pendings *ps, uint64_t budget_ms);

/* Finds a live entry; counts a stale handle. */
static inline struct ob__pending *ob__pending_find(struct ob__pendings *ps, uint64_t handle)
{
	struct ob__pending *p = ob__slab_get(&ps->slab, handle);
	if (p == NULL || p->ending) {
		ps->stale++;
		return NULL;
	}
	return p;
}

/* Notes that the entry's frame was just appended to `link`, for the node `to`: the link's own peer,
 * or one that it is passed on to. */
void ob__pending_sent(struct ob__pending *p, struct ob__link *link, struct ob__peer *to);

/* The node `to` is gone: ends those with MAYBE_SENT that went to it over `link`, another node's. */
void ob__pending_node_lost(struct ob__link *link, const struct ob__peer *to);

/* Ends: calls on_end, then frees.  The entry is off its lists and can't be found any more when
 * on_end runs; ending or dropping it there again does nothing. */
void ob__pending_end(struct ob__pending *p, const struct ob__end *end);

/* Frees without a word (a cancelled call, a client that left). */
void ob__pending_drop(struct ob__pending *p);

/* Ends all that wait on a lost link: link->why (MAYBE_SENT), or NOT_SENT if the kernel never had
 * the frame. */
void ob__pending_link_lost(struct ob__link *link);

#endif
