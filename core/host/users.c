/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/users.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/conn.h"
#include "host/node.h"
#include "host/reply.h"
#include "host/session_lock.h"
#include "host/session_lost.h"
#include "host/sticky.h"

#define OVER_MS       2000u /* then who has not acknowledged the session's end is waited for no more */
#define TICK_MS       50u
#define TICK_BUSY_MS  10u
#define AGAIN_A_TICK  500u /* users claimed again */
#define SWEEP_A_TICK  2000u
#define BIND_MS_MAX   120000u /* as sessions.bind_timeout: no asker may ask for more */
#define WAITERS_MAX   16u     /* for one claim */
#define BIND_GRACE_MS 500u    /* the asker waits longer than the proxy, whose answer says more */

/* A claim of a session here that has not been answered. */
struct claim {
	struct ob__list link;
	struct ob__node *node;
	struct ob__timeout timeout;
	struct ob__session_more *more;
	uint64_t call;
	uint64_t keeper; /* that was asked, 0: nobody could be */
	uint32_t stamp;
	struct ob__list waiters;
	uint32_t waiters_len;
	char user[OB__USER_MAX + 1];
};

struct waiter {
	struct ob__list link;
	uint64_t src;
	uint64_t call;
};

/* A bound session that has ended, until everybody who has met it has heard. */
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

/* ---- sending ---- */

struct looped {
	struct ob__node *node;
	struct ob__frame f;
	uint8_t payload[];
};

static void looped_run(void *arg)
{
	struct looped *l = arg;
	struct ob__node *node = l->node;

	if (node->users != NULL && l->f.kind == OB__FRAME_REPLY) {
		ob__users_reply(node, node->self.id, l->f.call, OB_RESULT_FROM_WIRE(l->f.status),
		                NULL, NULL);
	} else if (node->users != NULL) {
		(void)ob__users_frame(node, &l->f);
	}
	free(l);
}

static int loop_back(struct ob__node *node, const struct ob__frame *f)
{
	struct looped *l = malloc(sizeof(*l) + f->payload_len);

	if (l == NULL) {
		return OB_E_NOMEM;
	}
	l->node = node;
	l->f = *f;
	l->f.src = node->self.id;
	l->f.dst = node->self.id;
	if (f->payload_len > 0) {
		memcpy(l->payload, f->payload, f->payload_len);
	}
	l->f.payload = l->payload;
	int rc = ob__loop_defer(node->loop, looped_run, l);
	if (rc != 0) {
		free(l);
	}
	return rc != 0 ? OB_E_NOMEM : 0;
}

int ob__users_send(struct ob__node *node, uint64_t dst, struct ob__frame *f)
{
	f->kind = OB__FRAME_SYSTEM;
	return dst == node->self.id ? loop_back(node, f) : ob__send_to_node(node, dst, f);
}

void ob__users_reply(struct ob__node *node, uint64_t dst, uint64_t call, int code, const char *text,
                     const struct ob__place *place)
{
	uint8_t data[OB__PLACE_SIZE];
	size_t len = place != NULL ? sizeof(data) : 0;

	if (place != NULL) {
		ob__place_put(data, place);
	}
	if (dst != node->self.id) {
		struct ob__reply_to to = {.src = dst, .call = call};
		ob__send_reply(node, &to, code, text, data, len, false);
		return;
	}
	struct ob__pending *p = ob__pending_find(&node->pendings, call);
	struct ob__end end = {.code = code, .text = text, .source = dst, .data = data, .len = len};
	if (p != NULL) {
		ob__pending_end(p, &end);
	}
}

/* A frame about a user; who == NULL: about no session. */
static int send_user(struct ob__node *node, uint64_t dst, uint32_t id, const struct ob__who *who,
                     const char *user, uint64_t epoch)
{
	uint8_t payload[OB__USER_WIRE_MAX];
	struct ob__frame f = {
		.id = id,
		.session_node = who->node,
		.session_seq = who->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, user, epoch, 0),
	};

	return ob__users_send(node, dst, &f);
}

/* ---- keepers ---- */

static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 31) * UINT64_C(0x7fb5d329728ea185);
	h = (h ^ h >> 27) * UINT64_C(0x81dadef4bc2dd44d);
	return h ^ h >> 33;
}

uint64_t ob__users_keeper(const struct ob__users *us, const char *user, uint32_t *stamp)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	uint64_t best = 0;
	const struct ob__keeper *k = NULL;

	for (const char *at = user; us->keepers_len > 1 && *at != '\0'; at++) {
		hash = (hash ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
	}
	for (uint32_t i = 0; i < us->keepers_len; i++) {
		uint64_t weight = mix(mix(us->keepers[i].id) ^ hash);
		if (k == NULL || weight > best) {
			k = &us->keepers[i];
			best = weight;
		}
	}
	*stamp = k != NULL ? k->stamp : 0;
	return k != NULL ? k->id : us->node->self.id;
}

/* The route nodes that are up, this one among them if it is one. */
static uint32_t route_nodes(const struct ob__node *node, struct ob__keeper *out, uint32_t cap)
{
	const struct ob__registry_role *role =
		ob__registry_role_get(&node->registry, node->router.route_role);
	uint32_t len = 0;

	if (node->self.role_id == node->router.route_role) {
		out[len++] = (struct ob__keeper){.id = node->self.id};
	}
	for (uint32_t i = 0; role != NULL && i < role->ready.len && len < cap; i++) {
		const struct ob__peer *p =
			OB__CONTAINER(role->ready.nodes[i], struct ob__peer, balance);
		out[len++] = (struct ob__keeper){.id = p->who.id, .stamp = (uint32_t)p->ups};
	}
	return len;
}

static void claim_send(struct claim *c);

void ob__users_peers_changed(struct ob__node *node)
{
	struct ob__users *us = node->users;
	struct ob__keeper now[OB__KEEPERS_MAX] = {0};
	uint32_t len = route_nodes(node, now, OB__KEEPERS_MAX);

	bool same = len == us->keepers_len;
	for (uint32_t i = 0; same && i < len; i++) {
		same = now[i].id == us->keepers[i].id && now[i].stamp == us->keepers[i].stamp;
	}
	if (same) {
		return;
	}
	memcpy(us->keepers, now, sizeof(now));
	us->keepers_len = len;
	OB__LIST_EACH (it, &us->claims) {
		claim_send(OB__CONTAINER(it, struct claim, link));
	}
	ob__list_splice(&us->todo, &us->bound);
	ob__locks_again(node);
	ob__users_tick_soon(us);
}

/* ---- claims ---- */

static struct ob__who who_of(const struct ob__session *s)
{
	return (struct ob__who){s->node, s->seq};
}

/* The claim is over; whoever waits for it hears. */
static void claim_end(struct claim *c, int code, const char *text)
{
	struct ob__node *node = c->node;
	struct ob__session_more *more = c->more;
	struct ob__place place = {more->of->node, more->of->seq, more->epoch};
	struct ob__list waiters;

	more->claim = NULL;
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

/* Takes it back as well. */
static void claim_drop(struct claim *c, int code, const char *text)
{
	struct ob__who who = who_of(c->more->of);

	if (c->keeper != 0) {
		(void)send_user(c->node, c->keeper, OB__SYS_USER_RELEASE, &who, c->user, 0);
	}
	claim_end(c, code, text);
}

static void claim_timeout(void *arg)
{
	struct claim *c = arg;

	if (c->keeper != 0) {
		claim_drop(c, OB_E_DEADLINE, "the user is not free, or its keeper does not answer");
	} else {
		claim_drop(c, OB_E_NO_ROUTE, "the user's keeper can't be reached");
	}
}

/* Asks the keeper there is now, unless it has been asked. */
static void claim_send(struct claim *c)
{
	struct ob__users *us = c->node->users;
	struct ob__who who = who_of(c->more->of);
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
		(void)send_user(c->node, c->keeper, OB__SYS_USER_RELEASE, &who, c->user, 0);
	}
	c->keeper = 0;
	if (ob__users_send(c->node, keeper, &f) == 0) {
		c->keeper = keeper;
		c->stamp = stamp;
	}
}

static int claim_wait(struct claim *c, uint64_t src, uint64_t call)
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

static int claim_begin(struct ob__node *node, struct ob__session_more *more, const char *user,
                       uint32_t budget, uint64_t src, uint64_t call)
{
	struct claim *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		return OB_E_BUSY;
	}
	c->node = node;
	c->more = more;
	c->call = ++node->users->next_call;
	memcpy(c->user, user, strlen(user) + 1);
	ob__list_init(&c->waiters);
	if (claim_wait(c, src, call) != 0) {
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

/* ---- bound sessions ---- */

/* Tells the nodes that have met the session whose it is. */
static void tell_served(struct ob__node *node, const struct ob__session *s)
{
	for (uint8_t i = 0; i < s->served_len; i++) {
		ob__users_met(node, s, s->served[i]);
	}
}

void ob__users_met(struct ob__node *node, const struct ob__session *s, uint64_t to)
{
	const struct ob__session_more *more = s->more;
	uint8_t payload[OB__USER_WIRE_MAX];

	if (more == NULL || more->change == 0) {
		return;
	}
	struct ob__frame f = {
		.id = OB__SYS_SESSION_USER,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, more->bound ? more->user : "",
	                                              more->epoch, more->change),
	};
	(void)ob__users_send(node, to, &f);
}

static void bound_now(struct ob__node *node, struct ob__session_more *more, const char *user,
                      uint64_t epoch, uint64_t keeper)
{
	struct ob__users *us = node->users;
	uint32_t stamp;

	memcpy(more->user, user, strlen(user) + 1);
	more->epoch = epoch;
	more->change++;
	more->bound = true;
	more->keeper = keeper;
	bool still = ob__users_keeper(us, user, &stamp) == keeper;
	more->stamp = stamp;
	ob__list_del(&more->link);
	ob__list_append(still ? &us->bound : &us->todo, &more->link);
	if (!still) {
		ob__users_tick_soon(us);
	}
	++*us->claimed;
	ob__sticky_user_changed(node, more->of);
	tell_served(node, more->of);
}

static void unbind(struct ob__node *node, struct ob__session_more *more)
{
	struct ob__who who = who_of(more->of);
	char user[OB__USER_MAX + 1];
	uint32_t stamp;

	if (!more->bound) {
		return;
	}
	memcpy(user, more->user, sizeof(user));
	more->bound = false;
	more->change++;
	more->user[0] = '\0';
	ob__list_del(&more->link);
	uint64_t keeper = ob__users_keeper(node->users, user, &stamp);
	(void)send_user(node, keeper, OB__SYS_USER_RELEASE, &who, user, more->epoch);
	if (more->keeper != 0 && more->keeper != keeper) {
		(void)send_user(node, more->keeper, OB__SYS_USER_RELEASE, &who, user, more->epoch);
	}
	ob__user_forget(node->users, user, 0);
	tell_served(node, more->of);
}

/* Claims it again, with its epoch, if its keeper is another one now or has come back. */
static void claim_again(struct ob__node *node, struct ob__session_more *more)
{
	struct ob__users *us = node->users;
	struct ob__who who = who_of(more->of);
	uint32_t stamp;
	uint64_t keeper = ob__users_keeper(us, more->user, &stamp);

	ob__list_del(&more->link);
	ob__list_append(&us->bound, &more->link);
	if (keeper == more->keeper && stamp == more->stamp) {
		return;
	}
	/* If this is not taken the keeper's link has just broken, and all come here again. */
	(void)send_user(node, keeper, OB__SYS_USER_CLAIM, &who, more->user, more->epoch);
	++*us->again;
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
		claim_end(more->claim, OB_E_GONE, "another session has the user now");
	}
	ob__user_close(node, handle, OB__CLOSE_REPLACED, "replaced", "replaced");
}

/* ---- the end of a bound session ---- */

static void linger_end(struct ob__node *node, struct ending *l)
{
	struct ob__who who = {node->self.id, l->seq};
	uint32_t stamp;
	uint64_t keeper = ob__users_keeper(node->users, l->user, &stamp);

	(void)send_user(node, keeper, OB__SYS_USER_RELEASE, &who, l->user, l->epoch);
	if (l->keeper != 0 && l->keeper != keeper) {
		(void)send_user(node, l->keeper, OB__SYS_USER_RELEASE, &who, l->user, l->epoch);
	}
	ob__map_del(&node->users->lingers, l->seq, 0);
	ob__list_del(&l->link);
	free(l);
}

void ob__users_closing(struct ob__node *node, struct ob__session *s)
{
	struct ob__users *us = node->users;
	struct ob__session_more *more = s->more;

	if (more == NULL) {
		return;
	}
	if (more->claim != NULL) {
		claim_drop(more->claim, OB_E_GONE, "the session is over");
	}
	bool had = more->bound || more->replaced;
	more->bound = false; /* the user may still be read in the events */
	ob__list_del(&more->link);
	size_t len = strlen(more->user) + 1;
	struct ending *l = had ? malloc(sizeof(*l) + len) : NULL;
	if (l == NULL) {
		return;
	}
	*l = (struct ending){.seq = s->seq, .epoch = more->epoch, .keeper = more->keeper};
	l->until = ob__loop_now(node->loop) + OVER_MS;
	memcpy(l->user, more->user, len);
	ob__list_init(&l->link);
	if (ob__map_put(&us->lingers, l->seq, 0, l) != 0) {
		free(l);
		return;
	}
	ob__list_append(&us->linger_list, &l->link);
	ob__user_forget(us, more->user, s->seq);
	ob__users_tick_soon(us);
}

void ob__users_notice(struct ob__node *node, uint64_t seq, int delta)
{
	struct ending *l = ob__map_get(&node->users->lingers, seq, 0);

	if (l == NULL || (delta < 0 && l->notices == 0)) {
		return;
	}
	l->notices += (uint32_t)delta;
	if (l->notices == 0 && l->heard) {
		linger_end(node, l);
	}
}

void ob__users_closed(struct ob__node *node, uint64_t seq)
{
	struct ending *l = ob__map_get(&node->users->lingers, seq, 0);

	if (l != NULL) {
		l->heard = true;
		if (l->notices == 0 || node->phase == OB__NODE_STOPPING) {
			linger_end(node, l);
		}
	}
}

/* ---- frames to a proxy ---- */

static void on_bind(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__session_more *more = s != NULL && s->conn != 0 ? ob__session_more(s) : NULL;
	struct ob__user_msg m;
	int rc = OB_E_BAD;

	if (ob__user_get(&m, f->payload, f->payload_len, false) != 0) {
		ob__users_reply(node, f->src, f->call, rc, "bad user id", NULL);
		return;
	}
	if (more == NULL || more->replaced || ob__conn_get(node, s->conn) == NULL) {
		ob__users_reply(node, f->src, f->call, OB_E_GONE, "the session is over", NULL);
		return;
	}
	struct claim *c = more->claim;
	if (c != NULL && strcmp(c->user, m.user) == 0) {
		rc = claim_wait(c, f->src, f->call);
	} else if (c == NULL && more->bound && strcmp(more->user, m.user) == 0) {
		struct ob__place place = {s->node, s->seq, more->epoch};
		ob__users_reply(node, f->src, f->call, OB_OK, NULL, &place);
		return;
	} else {
		uint64_t handle = s->handle;
		if (c != NULL) {
			claim_drop(c, OB_E_GONE, "the session was bound to another user meanwhile");
		}
		/* A callback of the claim that was dropped may have closed the client. */
		s = ob__session_get(&node->sessions, handle);
		rc = OB_E_GONE;
		if (s != NULL && s->more->claim == NULL) {
			unbind(node, s->more);
			rc = claim_begin(node, s->more, m.user, f->budget, f->src, f->call);
		}
	}
	if (rc != 0) {
		ob__users_reply(node, f->src, f->call, rc, NULL, NULL);
	}
}

static void on_unbind(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__session_more *more = s != NULL ? s->more : NULL;
	struct ob__user_msg m;

	if (more == NULL || ob__user_get(&m, f->payload, f->payload_len, false) != 0) {
		return;
	}
	struct claim *c = more->claim;
	if (c != NULL && strcmp(c->user, m.user) == 0) {
		claim_drop(c, OB_E_GONE, "the session was unbound meanwhile");
	} else if (more->bound && strcmp(more->user, m.user) == 0) {
		unbind(node, more);
	}
}

/* The answer to claim_again(). */
/* The keeper has given the session a higher one meanwhile. */
static void take_epoch(struct ob__node *node, struct ob__session_more *more, uint64_t epoch)
{
	if (epoch > more->epoch) {
		more->epoch = epoch;
		more->change++;
		tell_served(node, more->of);
	}
}

/* What is said to a node that can't be reached waits on the way, and must not arrive when the user
 * has been claimed from that one again. */
static bool is_near(const struct ob__node *node, uint64_t id)
{
	const struct ob__peer *p = ob__registry_get(&node->registry, id);

	return id == node->self.id || (p != NULL && p->link != NULL);
}

static void on_claimed_again(struct ob__node *node, const struct ob__frame *f,
                             struct ob__session_more *more, const struct ob__user_msg *m)
{
	struct ob__who who = {f->session_node, f->session_seq};
	bool mine = more != NULL && more->bound && strcmp(more->user, m->user) == 0;
	uint32_t stamp;

	if (f->status != 0) {
		return; /* outbid, and a FENCED comes; or full */
	}
	if (!mine) {
		(void)send_user(node, f->src, OB__SYS_USER_RELEASE, &who, m->user, m->epoch);
		return;
	}
	if (ob__users_keeper(node->users, m->user, &stamp) != f->src) {
		if (f->src != more->keeper) { /* it was asked in vain */
			(void)send_user(node, f->src, OB__SYS_USER_RELEASE, &who, m->user,
			                m->epoch);
		}
		return;
	}
	if (more->keeper != 0 && more->keeper != f->src && is_near(node, more->keeper)) {
		(void)send_user(node, more->keeper, OB__SYS_USER_RELEASE, &who, m->user,
		                more->epoch); /* by which that one knows it */
	}
	more->keeper = f->src;
	more->stamp = stamp;
	take_epoch(node, more, m->epoch);
}

static void on_claimed(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__session_more *more = s != NULL ? s->more : NULL;
	struct claim *c = more != NULL ? more->claim : NULL;
	struct ob__who who = {f->session_node, f->session_seq};
	int code = ob__result_clean(OB_RESULT_FROM_WIRE(f->status));
	struct ob__user_msg m;

	if (ob__user_get(&m, f->payload, f->payload_len, false) != 0) {
		return;
	}
	if (f->call == 0) {
		on_claimed_again(node, f, more, &m);
		return;
	}
	if (c != NULL && c->call == f->call && c->keeper == f->src) {
		if (code == 0) {
			bound_now(node, more, c->user, m.epoch, f->src);
		}
		claim_end(c, code,
		          code == OB_E_BUSY ? "the keeper's table of users is full" : NULL);
		return;
	}
	bool mine = more != NULL && ((more->bound && strcmp(more->user, m.user) == 0) ||
	                             (c != NULL && strcmp(c->user, m.user) == 0));
	if (code == 0 && mine && more->bound && more->keeper == f->src) {
		take_epoch(node, more, m.epoch);
	}
	if (code == 0 && !mine) { /* nobody waits for it any more */
		(void)send_user(node, f->src, OB__SYS_USER_RELEASE, &who, m.user, m.epoch);
	}
}

static void on_fenced(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	const struct ob__session_more *more = s != NULL ? s->more : NULL;
	struct ob__who who = {f->session_node, f->session_seq};
	struct ob__user_msg m;

	if (ob__user_get(&m, f->payload, f->payload_len, false) != 0) {
		return;
	}
	const struct claim *c = more != NULL ? more->claim : NULL;
	bool claims = c != NULL && c->keeper == f->src && strcmp(c->user, m.user) == 0;
	bool has = more != NULL && more->bound && strcmp(more->user, m.user) == 0;
	if (claims || (has && more->epoch < m.epoch)) {
		ob__user_forget(node->users, m.user, 0);
		replace(node, s, m.user);
		return;
	}
	bool ends = ob__map_get(&node->users->lingers, f->session_seq, 0) != NULL ||
	            (more != NULL && more->replaced);
	if (!ends && !has) { /* it has been over for long */
		(void)send_user(node, f->src, OB__SYS_USER_RELEASE, &who, m.user, 0);
	}
}

static void on_session_set(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__attr_msg m;

	if (s != NULL && s->conn != 0 && ob__attr_get(&m, f->payload, f->payload_len) == 0 &&
	    ob__session_set(s, m.key, m.value, m.len) != 0) {
		ob__warning("session", "an attribute could not be set: too many, or no memory");
	}
}

/* ---- frames to a node that has met a session ---- */

static void heard_user(struct ob__session *s, const struct ob__user_msg *m)
{
	struct ob__session_more *more = ob__session_more(s);

	if (more != NULL && m->change > more->change) {
		more->change = m->change;
		memcpy(more->user, m->user, sizeof(more->user));
		more->epoch = m->epoch;
	}
}

static void on_session_user(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__user_msg m;

	if (s != NULL && s->conn == 0 && f->src == s->node &&
	    ob__user_get(&m, f->payload, f->payload_len, true) == 0) {
		heard_user(s, &m);
	}
}

size_t ob__users_ext_put(const struct ob__session *s, uint64_t dst, uint8_t *out)
{
	uint8_t payload[OB__USER_WIRE_MAX];

	if (s->more == NULL || !s->more->bound) {
		return 0;
	}
	for (uint8_t i = 0; dst != 0 && i < s->served_len; i++) {
		if (s->served[i] == dst) {
			return 0;
		}
	}
	size_t len = ob__user_put(payload, s->more->user, s->more->epoch, s->more->change);
	return ob__frame_ext_put(out, 0, OB__USER_EXT_MAX, OB__FRAME_EXT_USER, payload,
	                         (uint16_t)len);
}

void ob__users_ext_get(struct ob__session *s, const struct ob__frame *f)
{
	struct ob__user_msg m;
	uint16_t len;
	const uint8_t *data = f->src == s->node ? ob__frame_ext(f, OB__FRAME_EXT_USER, &len) : NULL;

	if (data != NULL && ob__user_get(&m, data, len, false) == 0) {
		heard_user(s, &m);
	}
}

/* ---- all frames ---- */

bool ob__users_frame(struct ob__node *node, const struct ob__frame *f)
{
	switch (f->id) {
	case OB__SYS_BIND:
		on_bind(node, f);
		return true;
	case OB__SYS_UNBIND:
		on_unbind(node, f);
		return true;
	case OB__SYS_USER_CLAIMED:
		on_claimed(node, f);
		return true;
	case OB__SYS_USER_FENCED:
		on_fenced(node, f);
		return true;
	case OB__SYS_SESSION_SET:
		on_session_set(node, f);
		return true;
	case OB__SYS_SESSION_USER:
		on_session_user(node, f);
		return true;
	case OB__SYS_USER_SEND:
		ob__user_send_frame(node, f);
		return true;
	case OB__SYS_USER_STALE:
		ob__user_stale_frame(node, f);
		return true;
	case OB__SYS_USER_CLAIM:
	case OB__SYS_USER_RELEASE:
	case OB__SYS_USER_FIND:
	case OB__SYS_USER_LOCK:
	case OB__SYS_USER_UNLOCK:
		ob__keeper_frame(node, f);
		return true;
	default:
		return false;
	}
}

/* ---- time ---- */

static bool tick_busy(const struct ob__users *us)
{
	return us->sweeping || !ob__list_empty(&us->todo);
}

static void arm(struct ob__users *us)
{
	bool waits = !ob__list_empty(&us->table.waits) || !ob__list_empty(&us->linger_list) ||
	             !ob__list_empty(&us->lock_list);

	if (tick_busy(us) || waits) {
		ob__timeout_set(us->node->loop, &us->tick, tick_busy(us) ? TICK_BUSY_MS : TICK_MS);
	}
}

void ob__users_tick_soon(struct ob__users *us)
{
	if (!ob__timeout_armed(&us->tick)) {
		arm(us);
	}
}

static void tick(void *arg)
{
	struct ob__users *us = arg;
	struct ob__node *node = us->node;
	uint64_t now = ob__loop_now(node->loop);

	for (unsigned i = 0; i < AGAIN_A_TICK && !ob__list_empty(&us->todo); i++) {
		claim_again(node, OB__CONTAINER(us->todo.next, struct ob__session_more, link));
	}
	for (unsigned i = 0; i < AGAIN_A_TICK && !ob__list_empty(&us->linger_list); i++) {
		struct ending *l = OB__CONTAINER(us->linger_list.next, struct ending, link);
		if (l->until > now) {
			break;
		}
		linger_end(node, l);
	}
	if (us->sweeping) {
		bool more = ob__bindings_sweep(&us->table, SWEEP_A_TICK);
		us->sweeping = more || us->sweep_again;
		us->sweep_again = more && us->sweep_again;
	}
	ob__keeper_tick(node);
	ob__locks_tick(node);
	arm(us);
}

void ob__users_node_gone(struct ob__node *node)
{
	struct ob__users *us = node->users;

	us->sweep_again = us->sweeping;
	us->sweeping = us->table.count > 0;
	ob__users_tick_soon(us);
}

/* ---- behind the SDK ---- */

/* What a module waits for. */
struct question {
	ob_user_fn fn;
	void *arg;
	char find[OB__USER_MAX + 1]; /* the user whose place is asked for, "": none is */
	bool again;                  /* it was asked twice */
};

/* A call of a module, ended with a struct ob__place.  Takes q, in any case; NULL when there are too
 * many. */
static struct ob__pending *question_pending(struct ob__gen *g, struct question *q)
{
	struct ob__node *node = g->node;
	struct ob__pending *p =
		q != NULL ? ob__pending_new(&node->pendings, OB__PENDING_USER,
	                                    node->conf->bind_timeout_ms + BIND_GRACE_MS)
			  : NULL;

	if (p == NULL) {
		free(q);
		return NULL;
	}
	p->u.call.gen = g;
	p->u.call.arg = q;
	ob__list_append(&g->calls, &p->u.call.gen_link);
	ob__gen_ref(g);
	return p;
}

static struct ob__pending *module_pending(struct ob__gen *g, const char *find, ob_user_fn fn,
                                          void *arg)
{
	struct question *q = calloc(1, sizeof(*q));

	if (q != NULL) {
		q->fn = fn;
		q->arg = arg;
		memcpy(q->find, find, strlen(find) + 1);
	}
	return question_pending(g, q);
}

/* What can't be sent ends as anything else does: later, by the callback; at its deadline, should
 * there be no memory. */
static void end_later(struct ob__node *node, struct ob__pending *p, int code)
{
	struct ob__frame f = {
		.kind = OB__FRAME_REPLY,
		.call = p->handle,
		.status = OB_RESULT_WIRE(ob__result_clean(code)),
	};

	(void)loop_back(node, &f);
}

int ob__users_bind(struct ob__gen *g, uint64_t session, const char *user, ob_user_fn fn, void *arg)
{
	struct ob__node *node = g->node;
	const struct ob__session *s = ob__session_get(&node->sessions, session);
	uint8_t payload[OB__USER_WIRE_MAX];

	if (!ob__gen_may_begin(g)) {
		return OB_E_STATE;
	}
	if (fn == NULL || !ob__user_ok(user)) {
		return OB_E_INVAL;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	struct ob__pending *p = module_pending(g, "", fn, arg);
	if (p == NULL) {
		return OB_E_BUSY;
	}
	struct ob__frame f = {
		.id = OB__SYS_BIND,
		.call = p->handle,
		.budget = (uint32_t)node->conf->bind_timeout_ms,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, user, 0, 0),
	};
	int rc = ob__users_send(node, s->node, &f);
	if (rc != 0) {
		end_later(node, p, rc);
	}
	return 0;
}

int ob__users_unbind(struct ob__node *node, uint64_t session, const char *user)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	if (!ob__user_ok(user)) {
		return OB_E_INVAL;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	struct ob__who who = who_of(s);
	return send_user(node, s->node, OB__SYS_UNBIND, &who, user, 0);
}

int ob__users_ask(struct ob__node *node, struct ob__pending *p, const char *user)
{
	uint8_t payload[OB__USER_WIRE_MAX];
	struct ob__frame f = {
		.id = OB__SYS_USER_FIND,
		.call = p->handle,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, user, 0, 0),
	};
	uint32_t stamp;

	uint64_t keeper = ob__users_keeper(node->users, user, &stamp);
	int rc = ob__users_send(node, keeper, &f);
	struct ob__peer *peer = rc == 0 ? ob__registry_get(&node->registry, keeper) : NULL;
	if (peer != NULL && peer->link != NULL) {
		/* its loss ends it: another one may be asked */
		ob__pending_sent(p, peer->link, peer);
	}
	return rc;
}

int ob__users_find(struct ob__gen *g, const char *user, ob_user_fn fn, void *arg)
{
	if (!ob__gen_may_begin(g)) {
		return OB_E_STATE;
	}
	if (fn == NULL || !ob__user_ok(user)) {
		return OB_E_INVAL;
	}
	struct ob__pending *p = module_pending(g, user, fn, arg);
	if (p == NULL) {
		return OB_E_BUSY;
	}
	int rc = ob__users_ask(g->node, p, user);
	if (rc != 0) {
		end_later(g->node, p, rc);
	}
	return 0;
}

int ob__users_session_set(struct ob__node *node, uint64_t session, const char *key,
                          const void *value, size_t len)
{
	struct ob__session *s = ob__session_get(&node->sessions, session);
	uint8_t payload[OB__ATTR_WIRE_MAX];

	if (!ob__key_ok(key)) {
		return OB_E_INVAL;
	}
	if (len > OB__VALUE_MAX) {
		return OB_E_TOO_BIG;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	if (s->conn != 0) {
		int rc = ob__session_set(s, key, value, len);
		return rc == 0 ? 0 : rc == -ENOMEM ? OB_E_NOMEM : OB_E_LIMIT;
	}
	struct ob__frame f = {
		.id = OB__SYS_SESSION_SET,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__attr_put(payload, key, value, len),
	};
	return ob__users_send(node, s->node, &f);
}

static void module_end(struct ob__node *node, struct ob__pending *p, const struct ob__end *end)
{
	struct ob__gen *g = p->u.call.gen;
	struct question *q = p->u.call.arg;
	ob_user_fn fn = q->fn;
	void *arg = q->arg;
	struct ob__place place = {0};
	char name[OB_SESSION_TEXT] = "";
	ob_user_result res = {.size = sizeof(res), .code = end->code};

	if (end->code == OB_OK && ob__place_get(&place, end->data, end->len) != 0) {
		res.code = OB_E_APP;
	}
	res.text = end->text != NULL ? end->text : ob__strerror(res.code);
	if (res.code == OB_OK) {
		struct ob__session named = {.node = place.node, .seq = place.seq};
		const struct ob__session *s =
			ob__session_find(&node->sessions, place.node, place.seq);
		(void)ob__node_session_text(node, &named, name, sizeof(name));
		res.session = s != NULL ? s->handle : 0;
		res.node = place.node;
		res.epoch = place.epoch;
	}
	res.name = name;
	ob__list_del(&p->u.call.gen_link);
	free(q);
	uint64_t entered = ob__gen_enter(g);
	fn(&g->ctx, &res, arg);
	ob__gen_leave(g, entered);
	ob__gen_unref(g);
}

/* The keeper went while it was being asked: the next one is, once. */
static bool find_again(struct ob__node *node, struct ob__pending *p)
{
	struct question *q = p->u.call.arg;
	struct ob__gen *g = p->u.call.gen;

	if (q->find[0] == '\0' || q->again || g->expired) {
		return false;
	}
	struct question *copy = malloc(sizeof(*copy));
	if (copy != NULL) {
		*copy = *q;
		copy->again = true;
	}
	struct ob__pending *next = question_pending(g, copy);
	if (next == NULL) {
		return false;
	}
	ob__users_peers_changed(node); /* the node hears of it next */
	if (ob__users_ask(node, next, q->find) != 0) {
		end_later(node, next, OB_E_NO_ROUTE);
	}
	ob__list_del(&p->u.call.gen_link);
	free(q);
	ob__gen_unref(g);
	return true;
}

void ob__users_pending_end(struct ob__node *node, struct ob__pending *p, const struct ob__end *end)
{
	bool lost = end->code == OB_E_MAYBE_SENT || end->code == OB_E_NOT_SENT;

	if (p->kind == OB__PENDING_USER && lost && find_again(node, p)) {
		return;
	}
	if (p->kind == OB__PENDING_USER) {
		module_end(node, p, end);
	} else {
		ob__user_asked(node, p, end);
	}
}

/* ---- life ---- */

int ob__users_init(struct ob__node *node)
{
	struct ob__users *us = calloc(1, sizeof(*us));
	struct ob__stats *s = node->stats;

	if (us == NULL) {
		return OB_E_NOMEM;
	}
	node->users = us;
	us->node = node;
	ob__list_init(&us->claims);
	ob__list_init(&us->bound);
	ob__list_init(&us->todo);
	ob__list_init(&us->linger_list);
	ob__map_init(&us->lingers, node->self.incarnation);
	ob__timeout_init(&us->tick, tick, us);
	ob__keeper_init(node);
	ob__user_sends_init(us);
	ob__locks_init(node);
	us->claimed = ob__stat_counter(s, "obhost_users_bound_total", NULL,
	                               "Sessions here that were bound to a user.");
	us->refused = ob__stat_counter(s, "obhost_users_refused_total", NULL,
	                               "Sessions here that could not be bound to a user.");
	us->replaced = ob__stat_counter(s, "obhost_users_replaced_total", NULL,
	                                "Sessions here whose user has logged in elsewhere.");
	us->again = ob__stat_counter(s, "obhost_users_claimed_again_total", NULL,
	                             "Users claimed again because their keeper is another one.");
	ob__users_peers_changed(node);
	return 0;
}

void ob__users_free(struct ob__node *node)
{
	struct ob__users *us = node->users;

	if (us == NULL) {
		return;
	}
	ob__timeout_clear(node->loop, &us->tick);
	while (!ob__list_empty(&us->claims)) {
		struct claim *c = OB__CONTAINER(us->claims.next, struct claim, link);
		ob__timeout_clear(node->loop, &c->timeout);
		ob__list_del(&c->link);
		while (!ob__list_empty(&c->waiters)) {
			struct waiter *w = OB__CONTAINER(c->waiters.next, struct waiter, link);
			ob__list_del(&w->link);
			free(w);
		}
		free(c);
	}
	while (!ob__list_empty(&us->linger_list)) {
		struct ending *l = OB__CONTAINER(us->linger_list.next, struct ending, link);
		ob__list_del(&l->link);
		free(l);
	}
	ob__map_free(&us->lingers);
	ob__user_sends_free(us);
	ob__locks_free(node);
	ob__bindings_free(&us->table);
	node->users = NULL;
	free(us);
}

static double gauge_u32(void *arg)
{
	return *(const uint32_t *)arg;
}

void ob__users_gauges(struct ob__node *node)
{
	struct ob__bindings *t = &node->users->table;

	ob__stat_gauge(node->stats, "obhost_users_kept", NULL,
	               "Users whose whereabouts this node keeps.", gauge_u32, &t->count);
	ob__stat_gauge(node->stats, "obhost_users_waiting", NULL,
	               "Claims of users here that wait for the former session.", gauge_u32,
	               &t->pending);
	ob__stat_gauge(node->stats, "obhost_user_locks", NULL, "Locks on users kept here.",
	               gauge_u32, &t->locks);
}
