/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Claims under way: a session of this node wants a user, and the user's keeper has not answered
 * yet. Whoever asked for it waits, as long as the claim's deadline allows; when the keeper changes,
 * the next one is asked.
 */

#include "host/user/users_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/message/reply.h"
#include "host/node.h"
#include "host/session/sticky.h"

#define BIND_MS_MAX 120000u /* as sessions.bind_timeout: no asker may ask for more */
#define WAITERS_MAX 16u     /* for one claim */

struct waiter {
	struct ob__list link;
	uint64_t src;
	uint64_t call;
};

void ob__claim_end(struct ob__claim *c, int code, const char *text)
{
	struct ob__node *node = c->node;
	struct ob__session_more *more = c->more;
	struct ob__place place = {more->of->node, more->of->seq, more->epoch};
	struct ob__list waiters;

	more->claim = NULL;
	ob__resume_claimed(node, more->of, code);
	ob__timeout_clear(node->loop, &c->timeout);
	ob__list_del(&c->link);
	ob__list_init(&waiters);
	ob__list_splice(&waiters, &c->waiters);
	free(c);
	if (code != 0) {
		++*node->users->refused;
	}
	while (!ob__list_empty(&waiters)) {
		struct waiter *w = OB__CONTAINER(waiters.next, struct waiter, link);
		ob__list_del(&w->link);
		ob__users_reply(node, w->src, w->call, code, text, code == 0 ? &place : NULL);
		free(w);
	}
}

void ob__claim_drop(struct ob__claim *c, int code, const char *text)
{
	if (c->keeper != 0) {
		ob__release(c->node, c->keeper, c->more->of->seq, c->user, 0);
	}
	ob__claim_end(c, code, text);
}

static void claim_timeout(void *arg)
{
	struct ob__claim *c = arg;

	if (c->keeper != 0) {
		ob__claim_drop(c, OB_E_DEADLINE,
		               "the user is not free, or its keeper does not answer");
	} else {
		ob__claim_drop(c, OB_E_NO_ROUTE, "the user's keeper can't be reached");
	}
}

/* Asks the keeper there is now, unless it has been asked. */
static void claim_send(struct ob__claim *c)
{
	struct ob__users *us = c->node->users;
	struct ob__who who = ob__users_who(c->more->of);
	uint8_t payload[OB__USER_WIRE_MAX];
	struct ob__frame f = {
		.id = OB__SYS_USER_CLAIM,
		.call = c->call,
		.session_node = who.node,
		.session_seq = who.seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, c->user, 0, 0),
	};
	uint32_t stamp;
	uint64_t keeper = ob__users_keeper(us, c->user, &stamp);

	if (keeper == c->keeper && stamp == c->stamp) {
		return;
	}
	if (c->keeper != 0 && c->keeper != keeper) {
		ob__release(c->node, c->keeper, who.seq, c->user, 0);
		c->keeper = 0;
	}
	ob__release_void(us, keeper, who.seq, c->user);
	if (ob__users_send(c->node, keeper, &f) == 0) {
		c->keeper = keeper;
		c->stamp = stamp;
	}
}

void ob__claims_send(struct ob__users *us)
{
	OB__LIST_EACH (it, &us->claims) {
		claim_send(OB__CONTAINER(it, struct ob__claim, link));
	}
}

int ob__claim_wait(struct ob__claim *c, uint64_t src, uint64_t call)
{
	struct waiter *w = c->waiters_len < WAITERS_MAX ? malloc(sizeof(*w)) : NULL;

	if (w == NULL) {
		return OB_E_BUSY;
	}
	c->waiters_len++;
	*w = (struct waiter){.src = src, .call = call};
	ob__list_init(&w->link);
	ob__list_append(&c->waiters, &w->link);
	return 0;
}

int ob__claim_begin(struct ob__node *node, struct ob__session_more *more, const char *user,
                    uint32_t budget, uint64_t src, uint64_t call)
{
	struct ob__claim *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		return OB_E_BUSY;
	}
	c->node = node;
	c->more = more;
	c->call = ++node->users->next_call;
	memcpy(c->user, user, strlen(user) + 1);
	ob__list_init(&c->waiters);
	if (ob__claim_wait(c, src, call) != 0) {
		free(c);
		return OB_E_BUSY;
	}
	ob__list_append(&node->users->claims, &c->link);
	ob__timeout_init(&c->timeout, claim_timeout, c);
	uint64_t ms = budget != 0 ? budget : node->conf->bind_timeout_ms;
	ob__timeout_set(node->loop, &c->timeout, ms < BIND_MS_MAX ? ms : BIND_MS_MAX);
	more->claim = c;
	claim_send(c);
	return 0;
}

void ob__claim_home_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__claim *c = s != NULL && s->more != NULL ? s->more->claim : NULL;
	struct ob__home_msg m;

	if (ob__home_get(&m, f->payload, f->payload_len) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_USER);
	} else if (c != NULL && c->keeper == f->src && strcmp(c->user, m.user.user) == 0) {
		memcpy(c->homes, m.homes, sizeof(c->homes));
		c->homes_len = m.len;
	}
}

void ob__claimed_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__session_more *more = s != NULL ? s->more : NULL;
	struct ob__claim *c = more != NULL ? more->claim : NULL;
	int code = ob__result_clean(OB_RESULT_FROM_WIRE(f->status));
	struct ob__user_msg m;

	if (ob__user_get(&m, f->payload, f->payload_len, false) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_USER);
		return;
	}
	if (f->call == 0) {
		ob__user_claimed_again(node, f, more, &m);
		return;
	}
	if (c != NULL && c->call == f->call && c->keeper == f->src) {
		if (code == 0) {
			ob__user_bound(node, more, c->user, m.epoch, f->src);
			ob__sticky_go_home(node, s, c->homes, c->homes_len);
			ob__users_tell_homes(node, s, true);
		}
		ob__claim_end(c, code,
		              code == OB_E_BUSY ? "the keeper's table of users is full" : NULL);
		return;
	}
	if (code == 0 && more != NULL && more->bound && more->keeper == f->src &&
	    strcmp(more->user, m.user) == 0) {
		ob__user_take_epoch(node, more, m.epoch);
	}
	bool mine = more != NULL && ((more->bound && strcmp(more->user, m.user) == 0) ||
	                             (c != NULL && strcmp(c->user, m.user) == 0));
	if (code == 0 && !mine) { /* nobody waits for it any more */
		ob__release(node, f->src, f->session_seq, m.user, m.epoch);
	}
}

void ob__claims_free(struct ob__users *us)
{
	while (!ob__list_empty(&us->claims)) {
		struct ob__claim *c = OB__CONTAINER(us->claims.next, struct ob__claim, link);
		ob__timeout_clear(us->node->loop, &c->timeout);
		ob__list_del(&c->link);
		while (!ob__list_empty(&c->waiters)) {
			struct waiter *w = OB__CONTAINER(c->waiters.next, struct waiter, link);
			ob__list_del(&w->link);
			free(w);
		}
		free(c);
	}
}
