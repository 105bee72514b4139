/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  What a route node knows of those linked to it; no sockets, no
 * clock.
 *
 * Each node announces its record to every route node and then says once a second that it lives.  A
 * route node notices silence (suspect after 3 s, dead after 10 s) and lost links (suspect at once,
 * dead 3 s later, unless the node is back or has said that it leaves).  A higher incarnation takes
 * a lower one's place; a lower one is refused and told so.  The dead stay as tombstones for a
 * while.
 *
 * Each change of a record gets the next number, and records hang in a list in the order of their
 * last change: what changed since N is the list's end, and a record that changed twice is sent
 * once. A subscriber hears what changed since where it stood, or everything (a snapshot) when it
 * stood in another life of this node or before a tombstone that was forgotten.  Changes go out at
 * once when it was quiet, and at most every 50 ms else; load alone is no change unless it moved by
 * more than an eighth, at most every 5 s, and waits up to a second for company.
 *
 * For its first 5 s a route node is settling: it lists whom it has heard of, and says that others
 * may come; nobody is dead meanwhile.  A view that finds that it slept itself (a tick came a second
 * too late) counts silence from its waking, and settles again if it slept for long.
 *
 * HOW TO WIRE.  The owner passes in everything: links of authenticated nodes that come up and go,
 * system frames of theirs that are for the view (ob__dir_kind_for_view), the time.  It calls
 * ob__dirview_tick() when ob__dirview_next() has come; the latter is cheap and may have moved after
 * any call.  A negative code from receive means: close that link, for the reason
 * ob__dir_reason(code).  A route node is a member as well: its own directory (mesh/directory.h) is
 * linked to its view as any other node is, under its own id, with what `send` is given for that id
 * queued and handed over later, in order.  `send` may call nothing here.
 *
 * A beat costs a look-up and a list move.  A change costs one encoding for all who stand at the
 * same place, and one send to each.
 */

#ifndef OB__DIRVIEW_H
#define OB__DIRVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/map.h"
#include "mesh/dirwire.h"

#define OB__DIRVIEW_NEVER UINT64_MAX

struct ob__dirview_options {
	uint64_t suspect_ms;    /* silence until suspect; 0: 3000 */
	uint64_t dead_ms;       /* silence until dead; 0: 10000 */
	uint64_t lost_ms;       /* from a lost link to dead; 0: 3000 */
	uint64_t settle_ms;     /* 0: 5000 */
	uint64_t batch_ms;      /* least time between batches; 0: 50 */
	uint64_t load_batch_ms; /* longest wait of a change of load alone; 0: 1000 */
	uint64_t load_ms;       /* least time between changes of one node's load; 0: 5000 */
	uint64_t tomb_ms;       /* 0: 600000 */
	uint32_t members_max;   /* living records, and links; 0: 4096 */
	uint32_t tombs_max;     /* 0: 1024 */
};

struct ob__dirview_ops {
	/* A system frame to a linked node.  0, or negative when it was not taken: it is tried again
	 * a second later. */
	int (*send)(void *arg, uint64_t to, uint32_t sys, const uint8_t *data, size_t len);
};

/* A record; read-only for others. */
struct ob__dirview_entry {
	struct ob__member m; /* as it is sent; without a description when dead or left */
	uint64_t since;      /* when this life came into this state */

	/* The view's own. */
	uint32_t load;      /* as of the last beat */
	uint64_t sent_load; /* when m.load was set */
	uint64_t seq;       /* of the last change */
	uint64_t desc_seq;  /* of the last change of what m.rev counts */
	uint64_t at;        /* heard, lost or dead since */
	struct ob__list by_seq;
	struct ob__list wait; /* for the next thing to happen to it */
};

struct ob__dirview {
	const struct ob__dirview_ops *ops;
	void *arg;
	struct ob__dirview_options o;
	uint64_t boot;
	struct ob__map entries; /* id -> ob__dirview_entry */
	struct ob__map links;   /* id -> the view's own */
	uint32_t living;
	uint32_t tombs;
	uint64_t seq;       /* of the last change */
	uint64_t flushed;   /* up to here those in `current` have heard */
	uint64_t forgotten; /* the last change of a tombstone that is no more */
	uint64_t flush_at;
	uint64_t flushed_at;
	uint64_t settle_until;
	uint64_t awake_since;
	bool told;               /* somebody was told that we are settling */
	struct ob__list by_seq;  /* all records */
	struct ob__list heard;   /* up, in the order of their last sign of life */
	struct ob__list silent;  /* suspect, in the same order */
	struct ob__list lost;    /* suspect for their link's sake, in the order of the loss */
	struct ob__list gone;    /* tombstones */
	struct ob__list current; /* subscribers that have heard all up to `flushed` */
	struct ob__list behind;  /* subscribers that have not */
	uint8_t *scratch;
	struct ob__dir_counts counts;
};

/* `boot` is the incarnation this node began with, not 0; `seed` random bits for the tables; options
 * may be NULL. 0 or -ENOMEM. */
int ob__dirview_init(struct ob__dirview *v, uint64_t boot, uint64_t seed,
                     const struct ob__dirview_options *options, const struct ob__dirview_ops *ops,
                     void *arg, uint64_t now_ms);

/* Says nothing to anybody.  NULL and a zeroed struct are accepted. */
void ob__dirview_free(struct ob__dirview *v);

/* A node has a path now, with what its hello proved. 0, -ENOSPC, -ENOMEM. */
int ob__dirview_link_up(struct ob__dirview *v, uint64_t id, uint64_t incarnation, uint32_t role_id);

/* What was sent to the node last may be lost: if it has subscribed, it is told all anew. */
void ob__dirview_link_gap(struct ob__dirview *v, uint64_t id, uint64_t now_ms);

/* It has none any more.  Unknown ids are ignored. */
void ob__dirview_link_down(struct ob__dirview *v, uint64_t id, uint64_t now_ms);

/*
 * A system frame of the node `from`.  0, or what is wrong with it, and nothing has changed:
 * -EPROTO malformed, -EMSGSIZE a record too long, -EACCES not the sender's own record, -ENOTCONN
 * not linked, -ENOSPC too many nodes, -ENOENT not for a view, -ENOMEM.
 */
int ob__dirview_receive(struct ob__dirview *v, uint64_t from, uint32_t sys, const uint8_t *data,
                        size_t len, uint64_t now_ms);

/* When tick has something to do; OB__DIRVIEW_NEVER if never. */
uint64_t ob__dirview_next(const struct ob__dirview *v);

void ob__dirview_tick(struct ob__dirview *v, uint64_t now_ms);

/* The record of a node, tombstones included, or NULL. */
const struct ob__dirview_entry *ob__dirview_get(const struct ob__dirview *v, uint64_t id);

static inline bool ob__dirview_settling(const struct ob__dirview *v, uint64_t now_ms)
{
	return now_ms < v->settle_until;
}

#endif
