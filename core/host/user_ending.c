/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Bound sessions that have ended, until everybody who has met them has heard of it, or OVER_MS have
 * passed: then the keeper is told that the session is over, and the user's next one may begin.
 */

#include "host/users_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/node.h"

#define OVER_MS 2000u /* then who has not acknowledged the session's end is waited for no more */
#define A_TICK  500u

struct ending {
	struct ob__list link;
	uint64_t seq;
	uint64_t epoch;
	uint64_t keeper; /* that was the last one to say that it knows, or 0 */
	uint64_t until;
	uint32_t notices; /* not acknowledged */
	bool heard;       /* by modules here */
	char user[];
};

static void end_ending(struct ob__node *node, struct ending *e)
{
	struct ob__who who = {node->self.id, e->seq};
	uint32_t stamp;
	uint64_t keeper = ob__users_keeper(node->users, e->user, &stamp);

	(void)ob__users_tell(node, keeper, OB__SYS_USER_RELEASE, &who, e->user, e->epoch);
	if (e->keeper != 0 && e->keeper != keeper) {
		(void)ob__users_tell(node, e->keeper, OB__SYS_USER_RELEASE, &who, e->user,
		                     e->epoch);
	}
	ob__map_del(&node->users->endings, e->seq, 0);
	ob__list_del(&e->link);
	free(e);
}

void ob__users_closing(struct ob__node *node, struct ob__session *s)
{
	struct ob__users *us = node->users;
	struct ob__session_more *more = s->more;

	if (more == NULL) {
		return;
	}
	if (more->claim != NULL) {
		ob__claim_drop(more->claim, OB_E_GONE, "the session is over");
	}
	bool had = more->bound || more->replaced;
	more->bound = false; /* the user may still be read in the events */
	ob__list_del(&more->link);
	size_t len = strlen(more->user) + 1;
	struct ending *e = had ? malloc(sizeof(*e) + len) : NULL;
	if (e == NULL) {
		return;
	}
	*e = (struct ending){.seq = s->seq, .epoch = more->epoch, .keeper = more->keeper};
	e->until = ob__loop_now(node->loop) + OVER_MS;
	memcpy(e->user, more->user, len);
	ob__list_init(&e->link);
	if (ob__map_put(&us->endings, e->seq, 0, e) != 0) {
		free(e);
		return;
	}
	ob__list_append(&us->ending_list, &e->link);
	ob__user_forget(us, more->user, s->seq);
	ob__users_tick_soon(us);
}

void ob__users_notice(struct ob__node *node, uint64_t seq, int delta)
{
	struct ending *e = ob__map_get(&node->users->endings, seq, 0);

	if (e == NULL || (delta < 0 && e->notices == 0)) {
		return;
	}
	e->notices += (uint32_t)delta;
	if (e->notices == 0 && e->heard) {
		end_ending(node, e);
	}
}

void ob__users_closed(struct ob__node *node, uint64_t seq)
{
	struct ending *e = ob__map_get(&node->users->endings, seq, 0);

	if (e != NULL) {
		e->heard = true;
		if (e->notices == 0 || node->phase == OB__NODE_STOPPING) {
			end_ending(node, e);
		}
	}
}

void ob__endings_tick(struct ob__node *node, uint64_t now_ms)
{
	struct ob__users *us = node->users;

	for (unsigned i = 0; i < A_TICK && !ob__list_empty(&us->ending_list); i++) {
		struct ending *e = OB__CONTAINER(us->ending_list.next, struct ending, link);
		if (e->until > now_ms) {
			return;
		}
		end_ending(node, e);
	}
}

void ob__endings_free(struct ob__users *us)
{
	while (!ob__list_empty(&us->ending_list)) {
		struct ending *e = OB__CONTAINER(us->ending_list.next, struct ending, link);
		ob__list_del(&e->link);
		free(e);
	}
	ob__map_free(&us->endings);
}
