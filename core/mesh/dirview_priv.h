/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to mesh/dirview*.c.  A link as the view sees it, and what its two files share.
 */

#ifndef OB__DIRVIEW_PRIV_H
#define OB__DIRVIEW_PRIV_H

#include "mesh/dirview.h"

struct ob__dirview_link {
	uint64_t id;
	uint64_t incarnation; /* as of its hello */
	uint32_t role_id;
	uint64_t boot; /* where it stands; 0: nowhere */
	uint64_t at;
	uint64_t retry_at;   /* not before, after a send that failed */
	struct ob__list sub; /* in `current` or `behind`; on no list: has not subscribed */
};

static inline bool ob__dirview_is_gone(const struct ob__dirview_entry *e)
{
	return e->m.state >= OB__MEMBER_DEAD;
}

/* Lets tick flush at `when`, or as soon after as the distance between batches allows. */
void ob__dirview_want_flush(struct ob__dirview *v, uint64_t when);

/* Sends one frame and counts it. */
int ob__dirview_send(struct ob__dirview *v, uint64_t to, uint32_t sys, size_t len);

/* Tells each subscriber what it has not heard. */
void ob__dirview_flush(struct ob__dirview *v, uint64_t now_ms);

/* Tells a node of a higher incarnation of its own. */
void ob__dirview_tell_higher(struct ob__dirview *v, const struct ob__higher *h, uint64_t now_ms);

/* Tells one node the record of another, or that there is none. */
void ob__dirview_answer(struct ob__dirview *v, uint64_t to, uint64_t id, uint64_t now_ms);

#endif
