/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Sessions of this node that have a user: they get it when the keeper grants their claim, claim it
 * again when the keeper is another one, and lose it by an UNBIND, by their end, or because another
 * session has it now.
 */

#include "host/user/users_priv.h"

#include <string.h>

#include "host/client/conn.h"
#include "host/node.h"
#include "host/session/sticky.h"

#define AGAIN_A_TICK 500u  /* users claimed again */
#define LATER_MS     1000u /* pauses before users are claimed again that there was no room for */
#define LATER_MAX_MS 30000u

void ob__user_bound(struct ob__node *node, struct ob__session_more *more, const char *user,
                    uint64_t epoch, uint64_t keeper)
{
	struct ob__users *us = node->users;
	uint32_t stamp;

	memcpy(more->user, user, strlen(user) + 1);
	more->epoch = epoch;
	more->change++;
	more->bound = true;
	more->keeper = keeper;
	more->asked = 0;
	bool still = ob__users_keeper(us, user, &stamp) == keeper;
	more->stamp = stamp;
	ob__list_del(&more->link);
	ob__list_append(still ? &us->bound : &us->todo, &more->link);
	if (!still) {
		ob__users_tick_soon(us);
	}
	++*us->claimed;
	ob__sticky_user_changed(node, more->of);
	ob__users_changed(node, more->of);
}

static bool same_homes(const struct ob__session_more *more, const struct ob__home_msg *m)
{
	bool same = m->len == more->homes_len;

	for (uint8_t i = 0; same && i < m->len; i++) {
		same = m->homes[i].role == more->homes[i].role &&
		       m->homes[i].node == more->homes[i].node;
	}
	return same;
}

void ob__users_tell_homes(struct ob__node *node, struct ob__session *s, bool again)
{
	struct ob__session_more *more = s->more;
	struct ob__home_msg m = {.len = 0};
	uint8_t payload[OB__HOME_WIRE_MAX];
	uint32_t stamp;

	if (!node->conf->sticky_by_user || more == NULL || !more->bound) {
		return;
	}
	m.len = ob__session_homes(s, node->router.route_role, m.homes);
	if (m.len == 0 || (!again && same_homes(more, &m))) {
		return;
	}
	memcpy(more->homes, m.homes, sizeof(m.homes));
	more->homes_len = m.len;
	memcpy(m.user.user, more->user, sizeof(m.user.user));
	m.user.epoch = more->epoch;
	struct ob__frame f = {
		.id = OB__SYS_USER_HOME,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__home_put(payload, &m),
	};
	(void)ob__users_send(node, ob__users_keeper(node->users, more->user, &stamp), &f);
}

static void unbind(struct ob__node *node, struct ob__session_more *more)
{
	uint64_t seq = more->of->seq;
	char user[OB__USER_MAX + 1];

	if (!more->bound) {
		return;
	}
	memcpy(user, more->user, sizeof(user));
	more->bound = false;
	more->change++;
	more->user[0] = '\0';
	ob__list_del(&more->link);
	const uint64_t keepers[] = {more->keeper, more->asked};
	ob__release_all(node, keepers, seq, user, more->epoch);
	ob__user_forget(node->users, user, 0);
	ob__users_changed(node, more->of);
}

/* Claims it again, with its epoch, if its keeper is another one now or has come back. */
static void claim_again(struct ob__node *node, struct ob__session_more *more)
{
	struct ob__users *us = node->users;
	struct ob__who who = ob__users_who(more->of);
	uint32_t stamp;
	uint64_t keeper = ob__users_keeper(us, more->user, &stamp);

	ob__list_del(&more->link);
	ob__list_append(&us->bound, &more->link);
	if (more->asked != 0 && more->asked != keeper && more->asked != more->keeper) {
		ob__release_moved(node, more->asked, who.seq, more->user, more->epoch);
		more->asked = 0;
	}
	if (keeper == more->keeper && stamp == more->stamp) {
		return;
	}
	more->asked = keeper;
	ob__release_void(us, keeper, who.seq, more->user);
	/* If this is not taken the keeper's link has just broken, and all come here again. */
	(void)ob__users_tell(node, keeper, OB__SYS_USER_CLAIM, &who, more->user, more->epoch);
	ob__users_tell_homes(node, more->of, true);
	++*us->again;
}

void ob__bound_again(struct ob__users *us)
{
	ob__list_splice(&us->todo, &us->bound);
	ob__list_splice(&us->todo, &us->later);
	us->later_at = 0;
	us->later_pause = 0;
}

void ob__bound_tick(struct ob__node *node, uint64_t now_ms)
{
	struct ob__users *us = node->users;

	if (!ob__list_empty(&us->later) && now_ms >= us->later_at) {
		ob__list_splice(&us->todo, &us->later);
	}
	for (unsigned i = 0; i < AGAIN_A_TICK && !ob__list_empty(&us->todo); i++) {
		claim_again(node, OB__CONTAINER(us->todo.next, struct ob__session_more, link));
	}
}

/* Once more, when all that the keepers have no room for have waited for a while.  The pause grows
 * from one time to the next, until there was a long one without any. */
static void claim_later(struct ob__node *node, struct ob__session_more *more)
{
	struct ob__users *us = node->users;
	uint64_t now = ob__loop_now(node->loop);
	uint32_t missed;

	if (ob__list_empty(&us->later)) {
		bool first = us->later_pause == 0 || now > us->later_at + LATER_MAX_MS;
		uint32_t pause = first ? LATER_MS : us->later_pause * 2;
		us->later_pause = pause < LATER_MAX_MS ? pause : LATER_MAX_MS;
		us->later_at = now + us->later_pause;
	}
	ob__list_del(&more->link);
	ob__list_append(&us->later, &more->link);
	ob__users_tick_soon(us);
	++*us->crowded;
	if (ob__log_allow(&us->crowded_limit, 1, now, &missed)) {
		ob__warning("session",
		            "user %s: the keeper has no room, it is claimed again (raise "
		            "limits.users of the route nodes) [and %u like it]",
		            more->user, (unsigned)missed);
	}
}

void ob__user_take_epoch(struct ob__node *node, struct ob__session_more *more, uint64_t epoch)
{
	if (epoch > more->epoch) {
		more->epoch = epoch;
		more->change++;
		ob__users_changed(node, more->of);
	}
}

void ob__user_claimed_again(struct ob__node *node, const struct ob__frame *f,
                            struct ob__session_more *more, const struct ob__user_msg *m)
{
	bool mine = more != NULL && more->bound && strcmp(more->user, m->user) == 0;
	int code = OB_RESULT_FROM_WIRE(f->status);
	uint32_t stamp;
	bool keeps = ob__users_keeper(node->users, m->user, &stamp) == f->src;

	if (mine && more->asked == f->src) {
		more->asked = 0;
	}
	if (mine && keeps && code == OB_E_BUSY) {
		claim_later(node, more);
	}
	if (code != OB_OK) {
		return; /* outbid: a FENCED comes */
	}
	if (!mine) {
		ob__release(node, f->src, f->session_seq, m->user, m->epoch);
	} else if (!keeps && f->src != more->keeper) {
		ob__release_moved(node, f->src, f->session_seq, m->user, m->epoch);
	}
	if (!mine || !keeps) {
		return;
	}
	if (more->keeper != 0 && more->keeper != f->src) {
		ob__release_moved(node, more->keeper, f->session_seq, m->user,
		                  more->epoch); /* by which that one knows it */
	}
	more->keeper = f->src;
	more->stamp = stamp;
	ob__user_take_epoch(node, more, m->epoch);
}

/* The user is somebody else's: modules hear, and the client is closed. */
static void replace(struct ob__node *node, struct ob__session *s, const char *user)
{
	struct ob__session_more *more = s->more;
	uint64_t handle = s->conn;

	more->bound = false;
	more->replaced = true;
	ob__list_del(&more->link);
	memcpy(more->user, user, strlen(user) + 1);
	++*node->users->replaced;
	if (more->claim != NULL) {
		ob__claim_end(more->claim, OB_E_GONE, "another session has the user now");
	}
	ob__user_close(node, handle, OB__CLOSE_REPLACED, "replaced", "replaced");
}

/* ---- frames to a proxy ---- */

void ob__bind_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__session_more *more = s != NULL && s->conn != 0 ? ob__session_more(s) : NULL;
	struct ob__user_msg m;
	int rc = OB_E_BAD;

	if (ob__user_get(&m, f->payload, f->payload_len, false) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_USER);
		ob__users_reply(node, f->src, f->call, rc, "bad user id", NULL);
		return;
	}
	bool there = more != NULL &&
	             (ob__conn_get(node, s->conn) != NULL || ob__resume_get(node, s->conn) != NULL);
	if (!there || more->replaced) {
		ob__users_reply(node, f->src, f->call, OB_E_GONE, "the session is over", NULL);
		return;
	}
	struct ob__claim *c = more->claim;
	if (c != NULL && strcmp(c->user, m.user) == 0) {
		rc = ob__claim_wait(c, f->src, f->call);
	} else if (c == NULL && more->bound && strcmp(more->user, m.user) == 0) {
		struct ob__place place = {s->node, s->seq, more->epoch};
		ob__users_reply(node, f->src, f->call, OB_OK, NULL, &place);
		return;
	} else {
		uint64_t handle = s->handle;
		if (c != NULL) {
			ob__claim_drop(c, OB_E_GONE,
			               "the session was bound to another user meanwhile");
		}
		/* A callback of the claim that was dropped may have closed the client. */
		s = ob__session_get(&node->sessions, handle);
		rc = OB_E_GONE;
		if (s != NULL && s->more->claim == NULL) {
			unbind(node, s->more);
			rc = ob__claim_begin(node, s->more, m.user, f->budget, f->src, f->call);
		}
	}
	if (rc != 0) {
		ob__users_reply(node, f->src, f->call, rc, NULL, NULL);
	}
}

void ob__unbind_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__session_more *more = s != NULL ? s->more : NULL;
	struct ob__user_msg m;

	if (ob__user_get(&m, f->payload, f->payload_len, false) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_USER);
		return;
	}
	if (more == NULL) {
		return;
	}
	struct ob__claim *c = more->claim;
	if (c != NULL && strcmp(c->user, m.user) == 0) {
		ob__claim_drop(c, OB_E_GONE, "the session was unbound meanwhile");
	} else if (more->bound && strcmp(more->user, m.user) == 0) {
		unbind(node, more);
	}
}

/* It keeps the user of the session, as far as this node has heard, or is to do so. */
static bool is_keeper(const struct ob__users *us, const struct ob__session_more *more,
                      uint64_t node)
{
	uint32_t stamp;

	return node == more->keeper || node == ob__users_keeper(us, more->user, &stamp);
}

void ob__fenced_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	const struct ob__session_more *more = s != NULL ? s->more : NULL;
	struct ob__user_msg m;

	if (ob__user_get(&m, f->payload, f->payload_len, false) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_USER);
		return;
	}
	const struct ob__claim *c = more != NULL ? more->claim : NULL;
	bool claims = c != NULL && c->keeper == f->src && strcmp(c->user, m.user) == 0;
	bool has = more != NULL && more->bound && strcmp(more->user, m.user) == 0;
	bool outbid = has && more->epoch < m.epoch;
	if (outbid && !claims && !is_keeper(node->users, more, f->src)) {
		ob__ignore_frame(node, f, OB__IGNORED_NOT_KEEPER);
		return;
	}
	if (claims || outbid) {
		ob__user_forget(node->users, m.user, 0);
		replace(node, s, m.user);
		return;
	}
	bool ends = ob__map_get(&node->users->endings, f->session_seq, 0) != NULL ||
	            (more != NULL && more->replaced);
	if (!ends && !has) { /* it has been over for long */
		ob__release(node, f->src, f->session_seq, m.user, 0);
	}
}
