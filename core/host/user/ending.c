/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Bound sessions that have ended, until everybody who has met them has heard of it, or OVER_MS have
 * passed: then the keeper is told that the session is over, and the user's next one may begin.
 *
 * Who has met a session is not known for sure at its end.  A node that is to get a message which is
 * under way is told of the end behind it (ob__session_closed()).  Which node that is may be settled
 * further on; then the message's end is waited for: the node has said before that it has met the
 * session, and so it has been told.  A handler may take its time with an answer, so UNDER_WAY_MS
 * are enough: by then the message has arrived.
 */

#include "host/user/users_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/node.h"

#define OVER_MS 2000u /* then who has not acknowledged the session's end is waited for no more */
#define A_TICK  500u

#define UNDER_WAY_MS 1000u

struct ending {
	struct ob__list link;
	struct ob__list under_way; /* as long as there are requests */
	uint64_t seq;
	uint64_t keepers[2]; /* that were the last ones to say that they know, and to be asked */
	uint64_t until;
	uint32_t notices;  /* not acknowledged */
	uint32_t requests; /* under way to nodes that are not known here */
	bool any;          /* of whatever role */
	bool heard;        /* by modules here */
	char user[];
};

static void end_ending(struct ob__node *node, struct ending *e)
{
	/* Whichever epoch they have: the news of a higher one may have been lost. */
	ob__release_all(node, e->keepers, e->seq, e->user, 0);
	ob__map_del(&node->users->endings, e->seq, 0);
	ob__list_del(&e->link);
	ob__list_del(&e->under_way);
	free(e);
}

/* Ends it when there is nothing left to wait for. */
static void check(struct ob__node *node, struct ending *e)
{
	if (e->notices == 0 && e->requests == 0 && e->heard) {
		end_ending(node, e);
	}
}

/* Counts the requests of which it is not known here where they are going. */
static void count_requests(struct ending *e, const struct ob__session *s)
{
	uint32_t all = 0;

	for (uint8_t i = 0; i < s->sticky_len; i++) {
		const struct ob__session_choice *c = &s->sticky[i];
		all += c->busy;
		e->any = e->any || (c->role != 0 && c->node == 0 && c->busy > 0);
	}
	const struct ob__session_choice *unsettled = ob__session_choice(s, 0);
	e->requests = e->any ? all : unsettled != NULL ? unsettled->busy : 0;
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
	*e = (struct ending){.seq = s->seq, .keepers = {more->keeper, more->asked}};
	e->until = ob__loop_now(node->loop) + OVER_MS;
	memcpy(e->user, more->user, len);
	ob__list_init(&e->link);
	ob__list_init(&e->under_way);
	count_requests(e, s);
	if (ob__map_put(&us->endings, e->seq, 0, e) != 0) {
		free(e);
		return;
	}
	ob__list_append(&us->ending_list, &e->link);
	if (e->requests > 0) {
		ob__list_append(&us->under_way, &e->under_way);
	}
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
	check(node, e);
}

void ob__users_request_ended(struct ob__node *node, uint64_t seq, uint32_t role)
{
	struct ending *e = ob__map_get(&node->users->endings, seq, 0);

	if (e != NULL && e->requests > 0 && (e->any || role == 0)) {
		e->requests--;
		check(node, e);
	}
}

void ob__users_closed(struct ob__node *node, uint64_t seq)
{
	struct ending *e = ob__map_get(&node->users->endings, seq, 0);

	if (e != NULL) {
		e->heard = true;
		if (node->phase == OB__NODE_STOPPING) {
			end_ending(node, e);
		} else {
			check(node, e);
		}
	}
}

void ob__endings_tick(struct ob__node *node, uint64_t now_ms)
{
	struct ob__users *us = node->users;

	for (unsigned i = 0; i < A_TICK && !ob__list_empty(&us->under_way); i++) {
		struct ending *e = OB__CONTAINER(us->under_way.next, struct ending, under_way);
		if (e->until > now_ms + OVER_MS - UNDER_WAY_MS) {
			break;
		}
		ob__list_del(&e->under_way);
		e->requests = 0;
		check(node, e);
	}
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
		ob__list_del(&e->under_way);
		free(e);
	}
	ob__map_free(&us->endings);
}
