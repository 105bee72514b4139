/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Sessions, users and locks under faults, over the host's own code (t/sim/mesh/vnode.h).
 *
 *     mesh_sessions          200 seeds; with OB_LONG=1 in the environment 1000
 *     mesh_sessions SEED, mesh_sessions A B      see t/sim/mesh/seeds.h
 *
 * Ten nodes: route nodes, services, proxies with clients.  Clients come and go, log in as one of a
 * few users, out and in again elsewhere, send messages that stay with a service, and are kicked and
 * pushed to by user; services lock a user for a while when a session of his ends.  Faults happen;
 * then all is well again; then a service drains and leaves, and a proxy's machine dies.  What must
 * hold at any time:
 *
 * - a node that has met a session hears once that it is closed, or lost, or has left, and nobody
 *   hears of one he has not met, nor that one is closed that is not; its own proxy hears once;
 * - a login has one result, by its deadline; no two sessions get a user with the same epoch, and no
 *   two that live have him at the same epoch;
 * - what is pushed to a user reaches a session that has him;
 * - while all is well logins succeed, each with a higher epoch than the one before; a login
 * succeeds only when the session before it is over, all who have met it have heard, and none of
 * them has the user locked; no session is lost; a planned leave loses nothing;
 * - when all is well again each user has one session at most, all know which, and who had met a
 *   session knows its user;
 * - when all clients have gone nobody remembers anything.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/message/dispatch.h"
#include "host/message/request.h"
#include "host/session/lock.h"
#include "host/user/users_priv.h"
#include "t/sim/mesh/chaos.h"
#include "t/sim/mesh/seeds.h"
#include "t/sim/mesh/vnode.h"

#define MS          UINT64_C(1000)
#define SECOND      (1000 * MS)
#define SHORT_SEEDS 200u
#define LONG_SEEDS  1000u
#define NODES       10u
#define SERVICES    4u
#define CLIENTS     4u /* of a proxy */
#define USERS       10u
#define NOBODY      UINT32_MAX
#define FAULTY_US   (12 * SECOND)
#define STEADY_US   (4 * SECOND)
#define PROMISED_MS (3000u + 6000u + 6000u + 8000u) /* a link, and then the news */
#define SLACK_MS    20u
#define GRACE_MS    500u /* that an asker waits longer than the proxy */
#define TIMEOUT_MS  2000u
#define SAVE_MS     600u /* at most, with a user locked */
#define LOGIN_ID    1000u
#define WORK_ID     1001u
#define PUSH_ID     3000u

/* What a node knows of a session that it has met. */
struct at {
	bool known;
	bool served; /* its proxy knew that when it ended */
	uint32_t met;
	uint32_t told;
	uint32_t lost;
};

struct sess {
	uint32_t proxy;
	uint64_t seq;
	bool open;
	bool steady; /* begun while all was well */
	bool told;   /* its proxy */
	bool dead;   /* its proxy has died */
	uint32_t user_at_end;
	uint32_t let_go; /* of users (a bit each) while it lived, nobody waits for that */
	struct at at[NODES];
};

struct client {
	uint32_t node;
	uint64_t conn; /* 0: not connected */
	uint32_t sess;
};

struct login {
	uint32_t from;
	uint64_t incarnation;
	uint64_t until_ms;
	uint64_t asked_us;
	uint64_t req; /* that its result ends, or 0 */
	uint32_t sess;
	uint32_t user;
	bool steady;
	bool ended;
	bool lost;
};

struct request {
	uint32_t sess;
	uint64_t until_ms;
	bool steady;
	bool ended;
};

/* That a user was given to a session. */
struct grant {
	uint32_t user;
	uint32_t sess;
	uint64_t epoch;
};

struct user {
	uint32_t sess; /* that had him last, or NOBODY */
	uint64_t epoch;
	uint64_t heard_us; /* when that was heard */
	uint32_t locks;    /* taken while all is well */
	uint32_t pushes;
	uint32_t arrived;
};

struct push_note {
	uint32_t user;
	uint32_t round; /* 0: of the traffic */
};

struct test {
	uint64_t seed;
	struct sim_world *world;
	uint32_t routes;
	bool unsettled; /* route nodes say for which role a message is */
	struct sess *sess;
	size_t sess_len;
	size_t sess_cap;
	struct login *logins;
	size_t logins_len;
	size_t logins_cap;
	struct request *requests;
	size_t requests_len;
	size_t requests_cap;
	struct grant *grants;
	size_t grants_len;
	size_t grants_cap;
	struct user users[USERS];
	struct client clients[NODES][CLIENTS];
	uint64_t ids[NODES];
	struct chaos chaos;
	uint64_t pace_us;
	uint32_t round;
	uint32_t draining; /* node that takes nothing new, or NOBODY */
	bool counting;     /* pushes */
	bool sending;
	bool settled; /* nobody logs in any more */
	bool steady;
	bool mourning; /* a proxy has died while all was well */
	bool over;
};

static struct {
	uint64_t sessions;
	uint64_t requests;
	uint64_t logins;
	uint64_t granted;
	uint64_t refused;
	uint64_t fenced;
	uint64_t kicked;
	uint64_t closed;
	uint64_t lost;
	uint64_t left;
	uint64_t moved;
	uint64_t met_again;
	uint64_t locks;
	uint64_t pushes;
	uint64_t drained;
	uint64_t faults[CHAOS_END];
	uint64_t slowest_us;
	struct sim_counts world;
} counts;

#define FAIL(t, ...) sim_fail((t)->world, __VA_ARGS__)

static struct test *test_of(const struct vnode *v)
{
	return sim_user(v->sim->world);
}

static bool is_route(const struct test *t, uint32_t i)
{
	return i < t->routes;
}

static bool is_service(const struct test *t, uint32_t i)
{
	return i >= t->routes && i < t->routes + SERVICES;
}

static bool is_proxy(const struct test *t, uint32_t i)
{
	return i >= t->routes + SERVICES;
}

static uint64_t now_ms(const struct vnode *v)
{
	return ob__loop_now(v->node.loop);
}

static void user_name(char name[OB__USER_MAX + 1], uint32_t user)
{
	snprintf(name, OB__USER_MAX + 1, "user%u", user);
}

static uint32_t user_of_name(const char *name)
{
	return *name != '\0' ? (uint32_t)atoi(name + 4) : NOBODY;
}

/* Room for one more at *items; the new one is zeroed. */
static void *more(void *items, size_t *len, size_t *cap, size_t size)
{
	if (*len == *cap) {
		*cap = *cap != 0 ? 2 * *cap : 256;
		items = realloc(items, *cap * size);
		if (items == NULL) {
			abort();
		}
	}
	memset((uint8_t *)items + *len * size, 0, size);
	++*len;
	return items;
}

/* ---------------------------------------------------------------- sessions */

static uint32_t sess_find(struct test *t, uint64_t node, uint64_t seq)
{
	for (size_t i = t->sess_len; i-- > 0;) {
		if (t->sess[i].seq == seq && t->ids[t->sess[i].proxy] == node) {
			return (uint32_t)i;
		}
	}
	FAIL(t, "a session %" PRIx64 "-%" PRIx64 " that nobody has opened", node, seq);
}

static uint32_t sess_of(struct vnode *v, uint64_t handle)
{
	const struct ob__session *s = ob__session_get(&v->node.sessions, handle);
	if (s == NULL) {
		FAIL(test_of(v), "%s: a session's handle that is none", v->node.name);
	}
	return sess_find(test_of(v), s->node, s->seq);
}

/* The session as its proxy has it, or NULL. */
static const struct ob__session *sess_live(struct test *t, const struct sess *s)
{
	const struct sim_node *n = sim_node(t->world, s->proxy);
	return s->open && n->running
	               ? ob__session_find(&vnode_of(n)->node.sessions, t->ids[s->proxy], s->seq)
	               : NULL;
}

/* Whose it is by its proxy. */
static uint32_t sess_user(struct test *t, const struct sess *s)
{
	const struct ob__session *live = sess_live(t, s);
	return live != NULL && live->more != NULL && live->more->bound
	               ? user_of_name(live->more->user)
	               : NOBODY;
}

static void connect_client(struct vnode *v, struct client *c)
{
	struct test *t = test_of(v);
	t->sess = more(t->sess, &t->sess_len, &t->sess_cap, sizeof(*t->sess));
	struct sess *s = &t->sess[t->sess_len - 1];
	c->node = v->sim->index;
	c->sess = (uint32_t)t->sess_len - 1;
	c->conn = vnode_connect(v, c);
	if (c->conn == 0) {
		FAIL(t, "%s takes no client", v->node.name);
	}
	s->proxy = v->sim->index;
	s->seq = ob__conn_get(&v->node, c->conn)->session->seq;
	s->open = true;
	s->steady = t->steady;
	s->user_at_end = NOBODY;
	counts.sessions++;
}

static void met(struct vnode *v, uint32_t index)
{
	struct test *t = test_of(v);
	struct sess *s = &t->sess[index];
	struct at *at = &s->at[v->sim->index];
	if (at->known) {
		return;
	}
	counts.met_again += at->met > 0;
	at->known = true;
	at->met++;
	sim_say(t->world, "%s meets session %u of n%u", v->node.name, index, s->proxy);
}

static void save(struct vnode *v, const struct sess *s, uint64_t handle);

static void told_here(struct vnode *v, struct sess *s, int event, uint64_t handle)
{
	struct test *t = test_of(v);
	if (event != OB_EVENT_SESSION_CLOSED || s->told) {
		FAIL(t, "%s, its proxy, hears of session %" PRIx64 " %s", v->node.name, s->seq,
		     s->told ? "again" : "what can't be");
	}
	const struct ob__session *live = ob__session_get(&v->node.sessions, handle);
	s->told = true;
	s->open = false;
	s->user_at_end = user_of_name(ob__session_user(live));
	for (uint32_t i = 0; i < live->served_len; i++) {
		for (uint32_t k = 0; k < NODES; k++) {
			s->at[k].served = s->at[k].served || live->served[i] == t->ids[k];
		}
	}
	sim_say(t->world, "%s: session %u is closed (user%d)", v->node.name,
	        (unsigned)(s - t->sess), (int)s->user_at_end);
}

static void told_there(struct vnode *v, struct sess *s, int event, uint64_t handle)
{
	struct test *t = test_of(v);
	struct at *at = &s->at[v->sim->index];
	if (!at->known) {
		FAIL(t, "%s hears (%d) of session %" PRIx64 " of n%u, of which it %s", v->node.name,
		     event, s->seq, s->proxy, at->met > 0 ? "has heard" : "knows nothing");
	}
	if (event == OB_EVENT_SESSION_CLOSED && s->open) {
		FAIL(t, "%s hears that session %" PRIx64 " of n%u is closed, which it is not",
		     v->node.name, s->seq, s->proxy);
	}
	if (event == OB_EVENT_SESSION_LOST && t->steady && !s->dead) {
		FAIL(t, "%s loses session %" PRIx64 " of n%u though all is well", v->node.name,
		     s->seq, s->proxy);
	}
	counts.closed += event == OB_EVENT_SESSION_CLOSED;
	counts.lost += event == OB_EVENT_SESSION_LOST;
	counts.left += event == OB_EVENT_SESSION_LEFT;
	at->known = false;
	at->told++;
	at->lost += event == OB_EVENT_SESSION_LOST;
	if (event == OB_EVENT_SESSION_CLOSED && is_service(t, v->sim->index)) {
		save(v, s, handle);
	}
}

static void on_session(ob_ctx *ctx, const ob_event_info *info)
{
	struct vnode *v = vnode_of_ctx(ctx);
	if (v->dying) {
		return;
	}
	struct test *t = test_of(v);
	struct sess *s = &t->sess[sess_of(v, info->session)];
	sim_mark(t->world, 70, v->sim->index, (uint64_t)info->event, s->seq);
	if (info->event == OB_EVENT_SESSION_MOVED) {
		counts.moved++;
	} else if (s->proxy == v->sim->index) {
		told_here(v, s, info->event, info->session);
	} else {
		told_there(v, s, info->event, info->session);
	}
}

/* ---------------------------------------------------------------- locks */

struct saving {
	struct sim_node *n;
	uint64_t incarnation;
	uint64_t session;
	uint32_t user;
	bool counted;
	char key[16]; /* one's own: a message that comes late has a session close there twice */
};

static void saved(void *arg)
{
	const struct saving *saving = arg;
	struct vnode *v = vnode_of(saving->n);
	struct test *t = test_of(v);
	if (v->node.self.incarnation != saving->incarnation) {
		return;
	}
	int rc = ob__lock_end(&v->node, saving->session, saving->key, false);
	sim_say(t->world, "%s unlocks user%u", v->node.name, saving->user);
	if (rc != 0 && saving->counted) {
		FAIL(t, "%s: a lock is gone before its time", v->node.name);
	}
	t->users[saving->user].locks -= saving->counted;
}

static void on_saved(void *arg)
{
	struct saving *saving = arg;
	sim_on(saving->n, saved, saving);
	free(saving);
}

/* On hearing that a session is closed: the user is locked while what is known of him is saved. */
static void save(struct vnode *v, const struct sess *s, uint64_t handle)
{
	struct test *t = test_of(v);
	const struct ob__session *record = ob__session_get(&v->node.sessions, handle);
	uint32_t user = user_of_name(ob__session_user(record));
	char key[16];
	snprintf(key, sizeof(key), "save%" PRIu32, s->at[v->sim->index].told);
	if (user == NOBODY || sim_chance(t->world, 500) ||
	    ob__lock_set(&v->node, handle, key, 10 * SAVE_MS) != 0) {
		return;
	}
	struct saving *saving = malloc(sizeof(*saving));
	if (saving == NULL) {
		abort();
	}
	*saving = (struct saving){
		.n = v->sim,
		.incarnation = v->node.self.incarnation,
		.session = handle,
		.user = user,
		.counted = t->steady && !t->mourning && s->steady && s->user_at_end == user &&
	                   s->at[v->sim->index].served,
	};
	memcpy(saving->key, key, sizeof(key));
	counts.locks++;
	sim_say(t->world, "%s locks user%u for session %u of n%u%s", v->node.name, user,
	        (unsigned)(s - t->sess), s->proxy, saving->counted ? "" : ", perhaps");
	t->users[user].locks += saving->counted;
	sim_at(t->world, sim_below(t->world, SAVE_MS) * MS, on_saved, saving);
}

/* ---------------------------------------------------------------- logins */

/* All is well, and this came later than what was heard last; what is asked for at the same time may
 * be answered in any order. */
static bool follows(const struct test *t, const struct login *l)
{
	return l->steady && l->asked_us > t->users[l->user].heard_us;
}

/* Nobody else has had him with that epoch; in a steady world it is the highest so far. */
static void note_grant(struct test *t, const struct login *l, uint64_t epoch)
{
	struct user *u = &t->users[l->user];
	for (size_t i = 0; i < t->grants_len; i++) {
		const struct grant *g = &t->grants[i];
		if (g->user == l->user && g->epoch == epoch && g->sess != l->sess) {
			FAIL(t, "user%u is given to two sessions with epoch %" PRIx64, l->user,
			     epoch);
		}
	}
	if (follows(t, l) && l->sess != u->sess && epoch <= u->epoch) {
		FAIL(t, "user%u is given with epoch %" PRIx64 " behind %" PRIx64, l->user, epoch,
		     u->epoch);
	}
	t->sess[l->sess].let_go &= ~(1u << l->user);
	t->grants = more(t->grants, &t->grants_len, &t->grants_cap, sizeof(*t->grants));
	t->grants[t->grants_len - 1] = (struct grant){l->user, l->sess, epoch};
}

/* While all is well: the session before is over for everybody, and nobody saves. */
static void check_former(struct test *t, const struct login *l)
{
	const struct user *u = &t->users[l->user];
	if (u->sess == NOBODY || u->sess == l->sess || !t->sess[u->sess].steady ||
	    (t->sess[u->sess].let_go & 1u << l->user) != 0) {
		return;
	}
	const struct sess *former = &t->sess[u->sess];
	if (sess_user(t, former) == l->user) {
		FAIL(t, "user%u is given to a session of n%u and one of n%u has him still", l->user,
		     t->sess[l->sess].proxy, former->proxy);
	}
	for (uint32_t i = 0; former->user_at_end == l->user && i < NODES; i++) {
		if (former->at[i].known) {
			FAIL(t,
			     "user%u has logged in, and n%u has not heard that the session "
			     "before is over",
			     l->user, i);
		}
	}
	if (u->locks > 0) {
		FAIL(t, "user%u has logged in while he was locked", l->user);
	}
}

static void on_bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	struct vnode *v = vnode_of_ctx(ctx);
	if (v->dying) {
		return;
	}
	struct test *t = test_of(v);
	struct login *l = &t->logins[(uintptr_t)arg];
	uint64_t now = now_ms(v);
	sim_mark(t->world, 71, (uintptr_t)arg, (uint64_t)(int64_t)res->code, res->epoch);
	if (l->from != v->sim->index || l->incarnation != v->node.self.incarnation || l->ended ||
	    l->lost) {
		FAIL(t, "%s: login %zu ends again, or at another's", v->node.name,
		     (size_t)(uintptr_t)arg);
	}
	if (now > l->until_ms + SLACK_MS + v->sim->late_ms) {
		FAIL(t, "%s: login %zu ends %" PRIu64 " ms late", v->node.name,
		     (size_t)(uintptr_t)arg, now - l->until_ms);
	}
	l->ended = true;
	sim_say(t->world, "%s hears that session %u of n%u gets user%u: %d, epoch %" PRIx64,
	        v->node.name, l->sess, t->sess[l->sess].proxy, l->user, res->code, res->epoch);
	if (res->code != OB_OK) {
		counts.refused++;
		if (l->steady && t->steady && !t->mourning && res->code != OB_E_GONE) {
			FAIL(t, "user%u can't log in though all is well: %d, %s", l->user,
			     res->code, res->text);
		}
	} else {
		counts.granted++;
		note_grant(t, l, res->epoch);
		if (follows(t, l)) {
			check_former(t, l);
		}
		if (res->epoch >= t->users[l->user].epoch) {
			t->users[l->user].sess = l->sess;
			t->users[l->user].epoch = res->epoch;
			t->users[l->user].heard_us = sim_now_us(t->world);
		}
	}
	struct ob__req *r = l->req != 0 ? ob__req_get(&v->node, l->req) : NULL;
	if (r != NULL) {
		ob__req_end(r, OB_OK, NULL, NULL, 0);
	}
}

static void log_in(struct vnode *v, uint32_t sess, uint64_t handle, uint32_t user, uint64_t req)
{
	struct test *t = test_of(v);
	char name[OB__USER_MAX + 1];
	user_name(name, user);
	t->logins = more(t->logins, &t->logins_len, &t->logins_cap, sizeof(*t->logins));
	size_t index = t->logins_len - 1;
	t->logins[index] = (struct login){
		.from = v->sim->index,
		.incarnation = v->node.self.incarnation,
		.until_ms = now_ms(v) + v->conf.bind_timeout_ms + GRACE_MS,
		.asked_us = sim_now_us(t->world),
		.req = req,
		.sess = sess,
		.user = user,
		.steady = t->steady,
	};
	t->sess[sess].let_go |= ~(1u << user);
	sim_say(t->world, "%s asks that session %u of n%u gets user%u", v->node.name, sess,
	        t->sess[sess].proxy, user);
	int rc = ob__users_bind(v->gen, handle, name, on_bound, (void *)(uintptr_t)index);
	if (rc != 0) {
		FAIL(t, "%s can't bind a session that it knows (%d)", v->node.name, rc);
	}
	counts.logins++;
}

/* ---------------------------------------------------------------- handlers */

struct note {
	uint32_t request;
	uint32_t user; /* of a login */
};

static void on_message(ob_ctx *ctx, ob_req req)
{
	struct vnode *v = vnode_of_ctx(ctx);
	struct test *t = test_of(v);
	struct ob__req *r = ob__req_get(&v->node, req);
	struct note note;
	if (r->view.len != sizeof(note)) {
		FAIL(t, "%s: a message of %zu bytes", v->node.name, r->view.len);
	}
	memcpy(&note, r->view.data, sizeof(note));
	uint32_t index = sess_of(v, r->view.session);
	if (index != t->requests[note.request].sess) {
		FAIL(t, "%s is given a message as that of another session", v->node.name);
	}
	met(v, index);
	if (r->view.id == WORK_ID) {
		ob__req_end(r, OB_OK, NULL, &note, sizeof(note));
		return;
	}
	if (ob__req_hold(r) != 0) {
		FAIL(t, "%s can't hold a request", v->node.name);
	}
	log_in(v, index, r->view.session, note.user, req);
}

static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	const struct test *t = test_of(vnode_of_ctx(ctx));
	(void)view;
	return (ob_verdict){
		.action = OB_FORWARD,
		.target = {.role = t->unsettled ? 0 : ob__fnv1a32("service"),
	                   .flags = OB_TARGET_STICKY},
	};
}

/* A route node's: of what it is given without a role. */
static ob_verdict decide_on(ob_ctx *ctx, const ob_view *view)
{
	(void)ctx;
	(void)view;
	return (ob_verdict){.action = OB_FORWARD, .target = {.role = ob__fnv1a32("service")}};
}

/* ---------------------------------------------------------------- clients */

static void on_reply(struct vnode *v, void *user, uint64_t cookie, int code, const uint8_t *data,
                     size_t len)
{
	struct test *t = test_of(v);
	const struct client *client = user;
	struct request *r = &t->requests[cookie - 1];
	(void)data;
	(void)len;
	if (r->ended || r->sess != client->sess) {
		FAIL(t, "%s: a client gets an answer %s", v->node.name,
		     r->ended ? "again" : "that is not its own");
	}
	if (now_ms(v) > r->until_ms + SLACK_MS + v->sim->late_ms) {
		FAIL(t, "%s: a client's answer is late", v->node.name);
	}
	r->ended = true;
	if (r->steady && t->steady && !t->mourning && code != OB_OK) {
		FAIL(t, "%s: a client's message fails though all is well (%d)", v->node.name, code);
	}
}

static void on_push(struct vnode *v, void *arg, uint32_t id, const uint8_t *data, size_t len)
{
	struct test *t = test_of(v);
	const struct client *client = arg;
	struct push_note note;
	if (id != PUSH_ID || len != sizeof(note)) {
		FAIL(t, "%s: a push that nobody made", v->node.name);
	}
	memcpy(&note, data, sizeof(note));
	if (sess_user(t, &t->sess[client->sess]) != note.user) {
		FAIL(t, "%s: what was for user%u reaches another", v->node.name, note.user);
	}
	counts.pushes++;
	t->users[note.user].arrived += note.round != 0 && note.round == t->round;
}

static void on_closed(struct vnode *v, void *arg, uint16_t code)
{
	struct test *t = test_of(v);
	struct client *client = arg;
	struct sess *s = &t->sess[client->sess];
	if (!s->told) {
		FAIL(t, "%s: a session ends and its proxy's module does not hear", v->node.name);
	}
	counts.fenced += code == OB__CLOSE_REPLACED;
	counts.kicked += code == OB__CLOSE_KICKED;
	client->conn = 0;
}

static const struct vnode_ops vnode_ops = {
	.on_reply = on_reply,
	.on_push = on_push,
	.on_closed = on_closed,
};

static void client_sends(struct vnode *v, struct client *client, uint32_t id, uint32_t user)
{
	struct test *t = test_of(v);
	t->requests = more(t->requests, &t->requests_len, &t->requests_cap, sizeof(*t->requests));
	uint32_t index = (uint32_t)t->requests_len - 1;
	t->requests[index] = (struct request){
		.sess = client->sess,
		.until_ms = now_ms(v) + v->conf.call_timeout_ms,
		.steady = t->steady && id == WORK_ID,
	};
	const struct note note = {.request = index, .user = user};
	counts.requests++;
	if (!vnode_send(v, client->conn, id, index + 1, &note, sizeof(note))) {
		t->requests[index].ended = true; /* not read now */
	}
}

/* ---------------------------------------------------------------- traffic */

static void push_to(struct vnode *v, uint32_t user)
{
	struct test *t = test_of(v);
	char name[OB__USER_MAX + 1];
	const struct push_note note = {.user = user, .round = t->counting ? t->round : 0};
	user_name(name, user);
	if (ob__users_push(&v->node, name, PUSH_ID, &note, sizeof(note)) == 0) {
		t->users[user].pushes += t->counting;
	}
}

static void log_in_or_out(struct vnode *v, struct client *c)
{
	struct test *t = test_of(v);
	uint32_t user = (uint32_t)sim_below(t->world, USERS);
	uint64_t session = ob__conn_get(&v->node, c->conn)->session->handle;
	uint64_t roll = sim_below(t->world, 100);
	char name[OB__USER_MAX + 1];
	if (roll < 70) {
		client_sends(v, c, LOGIN_ID, user);
	} else if (roll < 85) {
		log_in(v, c->sess, session, user, 0);
	} else {
		user = sess_user(t, &t->sess[c->sess]);
		user_name(name, user != NOBODY ? user : 0);
		t->sess[c->sess].let_go |= user != NOBODY ? 1u << user : 0;
		(void)ob__users_unbind(&v->node, session, name);
	}
}

static void act_client(struct vnode *v)
{
	struct test *t = test_of(v);
	struct client *c = &t->clients[v->sim->index][sim_below(t->world, CLIENTS)];
	uint64_t roll = sim_below(t->world, 100);
	if (c->conn == 0) {
		connect_client(v, c);
	} else if (roll < 5 && !t->settled) {
		vnode_hang_up(v, c->conn);
	} else if (roll < 30 && !t->settled) {
		log_in_or_out(v, c);
	} else {
		client_sends(v, c, WORK_ID, 0);
	}
}

static void act(void *arg)
{
	struct vnode *v = arg;
	struct test *t = test_of(v);
	uint32_t user = (uint32_t)sim_below(t->world, USERS);
	char name[OB__USER_MAX + 1];
	if (is_proxy(t, v->sim->index) && sim_chance(t->world, 850)) {
		act_client(v);
	} else if (t->settled || sim_chance(t->world, 800)) {
		push_to(v, user);
	} else {
		user_name(name, user);
		(void)ob__users_kick(&v->node, name, "for the sake of it");
	}
}

static void on_traffic(void *arg)
{
	struct test *t = arg;
	if (!t->sending) {
		return;
	}
	uint32_t first = sim_chance(t->world, 800) ? t->routes + SERVICES : 0;
	uint32_t i = first + (uint32_t)sim_below(t->world, NODES - first);
	struct sim_node *n = sim_node(t->world, i);
	if (n->running && i != t->draining) {
		sim_on(n, act, n->user);
	}
	sim_at(t->world, 1 + sim_below(t->world, 2 * t->pace_us), on_traffic, t);
}

/* ---------------------------------------------------------------- a node's life */

static void boot(struct sim_node *n)
{
	static const int events[] = {
		OB_EVENT_SESSION_CLOSED,
		OB_EVENT_SESSION_LOST,
		OB_EVENT_SESSION_LEFT,
		OB_EVENT_SESSION_MOVED,
	};
	struct test *t = sim_user(n->world);
	uint32_t i = n->index;
	const char *role = is_route(t, i) ? OB__ROLE_ROUTE : is_service(t, i) ? "service" : "proxy";
	struct vnode *v = vnode_new(n, role, &vnode_ops);
	v->conf.call_timeout_ms = TIMEOUT_MS;
	vnode_start(v);
	for (size_t e = 0; e < sizeof(events) / sizeof(events[0]); e++) {
		vnode_event(v, events[e], on_session);
	}
	if (is_proxy(t, i)) {
		vnode_decider(v, OB__SLOT_CLIENT_DECIDER, decide);
	} else if (is_route(t, i)) {
		vnode_decider(v, OB__SLOT_LINK_DECIDER, decide_on);
	} else if (is_service(t, i)) {
		vnode_handler(v, OB__SLOT_LINK_ID, LOGIN_ID, NULL, on_message);
		vnode_handler(v, OB__SLOT_LINK_ID, WORK_ID, NULL, on_message);
	}
	uint32_t to = is_route(t, i) ? 0 : i % t->routes;
	if (to != i) {
		vnode_dial(v, sim_node(t->world, to), OB__ROLE_ROUTE);
	}
}

static void halt(struct sim_node *n)
{
	struct test *t = sim_user(n->world);
	for (size_t i = 0; i < t->sess_len; i++) {
		struct sess *s = &t->sess[i];
		s->at[n->index].known = false;
		if (s->proxy == n->index && s->open) {
			s->open = false;
			s->dead = true;
		}
	}
	for (size_t i = 0; i < t->logins_len; i++) {
		t->logins[i].lost = t->logins[i].lost || t->logins[i].from == n->index;
	}
	for (uint32_t i = 0; i < CLIENTS; i++) {
		t->clients[n->index][i].conn = 0;
	}
	vnode_halt(vnode_of(n));
}

/* A proxy speaks of the ends of its own sessions only. */
static void after(struct sim_node *n)
{
	const struct ob__node *node = &vnode_of(n)->node;
	OB__LIST_EACH (it, &node->sessions.notice_list) {
		const struct ob__notice *notice = OB__CONTAINER(it, struct ob__notice, link);
		if (notice->session_node != node->self.id) {
			FAIL(test_of(vnode_of(n)), "%s says that another's session is over",
			     node->name);
		}
	}
}

static const struct sim_ops sim_ops = {.boot = boot, .halt = halt, .after = after};

/* ---------------------------------------------------------------- what must hold */

/* Of sessions that live no two have a user at the same epoch. */
static void check_epochs(struct test *t)
{
	uint64_t epochs[USERS][NODES * CLIENTS];
	size_t len[USERS] = {0};
	for (size_t i = 0; i < t->sess_len; i++) {
		uint32_t user = sess_user(t, &t->sess[i]);
		if (user == NOBODY) {
			continue;
		}
		uint64_t epoch = sess_live(t, &t->sess[i])->more->epoch;
		for (size_t k = 0; k < len[user]; k++) {
			if (epochs[user][k] == epoch) {
				FAIL(t, "two sessions have user%u, both at epoch %" PRIx64, user,
				     epoch);
			}
		}
		epochs[user][len[user]++] = epoch;
	}
}

static void on_look(void *arg)
{
	struct test *t = arg;
	if (!t->over) {
		check_epochs(t);
		sim_at(t->world, 100 * MS, on_look, t);
	}
}

static bool knows(struct test *t, uint32_t i, uint32_t k)
{
	const struct vnode *a = vnode_of(sim_node(t->world, i));
	const struct vnode *b = vnode_of(sim_node(t->world, k));
	const struct ob__dir_node *n = ob__directory_get(&a->node.cluster.dir, b->node.self.id);
	return i == k || (n != NULL && n->m.state == OB__MEMBER_UP &&
	                  n->m.incarnation == b->node.self.incarnation);
}

static bool agreed(struct test *t, bool fail)
{
	for (uint32_t i = 0; i < NODES; i++) {
		for (uint32_t k = 0; k < NODES; k++) {
			if (knows(t, i, k)) {
				continue;
			}
			if (fail) {
				FAIL(t, "n%u does not know n%u, %u ms behind the last fault", i, k,
				     10 * PROMISED_MS);
			}
			return false;
		}
	}
	return true;
}

static void converge(struct test *t)
{
	uint64_t begin = sim_now_us(t->world);
	while (!agreed(t, sim_now_us(t->world) - begin > 10 * PROMISED_MS * MS)) {
		sim_run(t->world, 100 * MS);
	}
	uint64_t took = sim_now_us(t->world) - begin;
	counts.slowest_us = took > counts.slowest_us ? took : counts.slowest_us;
}

/* Each user has one session at most, and the keeper that all agree on knows it.  In a fault a claim
 * may have come to it behind the end of its session. */
static void check_users(struct test *t)
{
	uint32_t owner[USERS];
	for (uint32_t u = 0; u < USERS; u++) {
		owner[u] = NOBODY;
	}
	for (uint32_t i = 0; i < t->sess_len; i++) {
		uint32_t user = sess_user(t, &t->sess[i]);
		if (user == NOBODY) {
			continue;
		}
		if (owner[user] != NOBODY) {
			FAIL(t, "user%u has a session of n%u and one of n%u", user,
			     t->sess[owner[user]].proxy, t->sess[i].proxy);
		}
		owner[user] = i;
	}
	for (uint32_t u = 0; u < USERS; u++) {
		char name[OB__USER_MAX + 1];
		uint32_t stamp;
		user_name(name, u);
		uint64_t keeper =
			ob__users_keeper(vnode_of(sim_node(t->world, 0))->node.users, name, &stamp);
		for (uint32_t i = 0; i < NODES; i++) {
			const struct ob__users *us = vnode_of(sim_node(t->world, i))->node.users;
			const struct ob__binding *b = ob__bindings_find(&us->table, name);
			const struct sess *s = owner[u] != NOBODY ? &t->sess[owner[u]] : NULL;
			bool has = b != NULL && s != NULL && b->who.node == t->ids[s->proxy] &&
			           b->who.seq == s->seq && b->epoch == sess_live(t, s)->more->epoch;
			if (ob__users_keeper(us, name, &stamp) != keeper) {
				FAIL(t, "n%u has another keeper for user%u", i, u);
			}
			if (t->ids[i] == keeper && has != (s != NULL)) {
				FAIL(t,
				     "n%u, its keeper, has user%u at epoch %" PRIx64
				     ", and session %u of n%u at %" PRIx64,
				     i, u, b != NULL ? b->epoch : 0, owner[u],
				     s != NULL ? s->proxy : 0,
				     s != NULL ? sess_live(t, s)->more->epoch : 0);
			}
			if (t->ids[i] == keeper && b != NULL && s == NULL && t->steady) {
				FAIL(t, "n%u, its keeper, takes user%u for logged in", i, u);
			}
		}
	}
}

/* Who has met a session knows whose it is. */
static void check_records(struct test *t)
{
	for (uint32_t i = 0; i < NODES; i++) {
		const struct ob__sessions *ss = &vnode_of(sim_node(t->world, i))->node.sessions;
		struct ob__session *s;
		for (uint32_t at = 0; (s = ob__slab_next(&ss->slab, &at)) != NULL;) {
			const struct sess *known = &t->sess[sess_find(t, s->node, s->seq)];
			if (s->conn == 0 && !known->open) {
				FAIL(t, "n%u remembers session %u of n%u, which is over", i,
				     (unsigned)(known - t->sess), known->proxy);
			}
			if (s->conn == 0 &&
			    user_of_name(ob__session_user(s)) != sess_user(t, known)) {
				FAIL(t, "n%u takes a session of n%u for that of another user", i,
				     known->proxy);
			}
		}
	}
}

static void push_all(void *arg)
{
	struct vnode *v = arg;
	struct test *t = test_of(v);
	for (uint32_t i = 0; i < t->sess_len; i++) {
		uint32_t user = sess_user(t, &t->sess[i]);
		if (user != NOBODY) {
			push_to(v, user);
		}
	}
}

static void check_pushes(struct test *t)
{
	t->round++;
	for (uint32_t u = 0; u < USERS; u++) {
		t->users[u].pushes = 0;
		t->users[u].arrived = 0;
	}
	t->counting = true;
	for (uint32_t i = 0; i < NODES; i++) {
		struct sim_node *n = sim_node(t->world, i);
		sim_on(n, push_all, n->user);
	}
	t->sending = false;
	sim_run(t->world, 3 * SECOND);
	for (uint32_t u = 0; u < USERS; u++) {
		if (t->users[u].arrived != t->users[u].pushes) {
			FAIL(t, "of %u pushes to user%u %u have arrived though all is well",
			     t->users[u].pushes, u, t->users[u].arrived);
		}
	}
	t->counting = false;
}

/* A route node starts again and has forgotten whom it kept: it is told anew. */
static void check_keepers(struct test *t)
{
	struct sim_node *n = sim_node(t->world, (uint32_t)sim_below(t->world, t->routes));
	sim_crash(n, SIM_CRASH_PROCESS);
	sim_run(t->world, sim_below(t->world, 6 * SECOND));
	sim_boot(n);
	converge(t);
	sim_run(t->world, 8 * SECOND);
	check_users(t);
	check_pushes(t);
}

static void begin_drain(void *arg)
{
	struct vnode *v = arg;
	const struct ob__drain_options o = {.pace = 1000, .deadline_ms = 20000, .stop = true};
	if (ob__drain_begin(&v->node, &o) != 0) {
		FAIL(test_of(v), "%s can't drain", v->node.name);
	}
}

/* A service goes as it is planned, under load: sessions move, and nothing fails. */
static void check_drain(struct test *t)
{
	struct sim_node *n =
		sim_node(t->world, t->routes + (uint32_t)sim_below(t->world, SERVICES));
	struct vnode *v = n->user;
	uint64_t begin = sim_now_us(t->world);
	t->sending = true;
	on_traffic(t);
	sim_run(t->world, 500 * MS);
	t->draining = n->index;
	sim_on(n, begin_drain, v);
	while (!v->stopped && sim_now_us(t->world) - begin < 30 * SECOND) {
		sim_run(t->world, 50 * MS);
	}
	if (!v->stopped || v->node.drain.late) {
		FAIL(t, "%s does not come to the end of its drain", v->node.name);
	}
	counts.drained += v->node.drain.moved;
	for (size_t i = 0; i < t->sess_len; i++) {
		if (t->sess[i].at[n->index].known) {
			FAIL(t, "%s has drained and has a session", v->node.name);
		}
	}
	sim_run(t->world, 200 * MS);
	sim_crash(n, SIM_CRASH_PROCESS);
	sim_run(t->world, 1 * SECOND);
	t->draining = NOBODY;
	sim_boot(n);
	converge(t);
}

static bool forgotten(const struct test *t, uint32_t proxy)
{
	for (size_t i = 0; i < t->sess_len; i++) {
		for (uint32_t k = 0; t->sess[i].proxy == proxy && k < NODES; k++) {
			if (t->sess[i].at[k].known) {
				return false;
			}
		}
	}
	return true;
}

/* A proxy's machine dies: all who have met its sessions hear that they are lost. */
static void check_death(struct test *t)
{
	uint32_t first = t->routes + SERVICES;
	struct sim_node *n =
		sim_node(t->world, first + (uint32_t)sim_below(t->world, NODES - first));
	uint64_t begin = sim_now_us(t->world);
	t->mourning = true;
	sim_crash(n, SIM_CRASH_MACHINE);
	while (!forgotten(t, n->index)) {
		if (sim_now_us(t->world) - begin > 10 * PROMISED_MS * MS) {
			FAIL(t, "sessions of n%u, which is dead, are not lost", n->index);
		}
		sim_run(t->world, 100 * MS);
	}
	t->sending = false;
	sim_boot(n);
	converge(t);
	sim_run(t->world, 5 * SECOND);
}

static void hang_up_all(void *arg)
{
	struct vnode *v = arg;
	struct test *t = test_of(v);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		vnode_hang_up(v, t->clients[v->sim->index][i].conn);
	}
}

static void check_node_empty(struct test *t, const struct ob__node *node)
{
	const struct ob__users *us = node->users;
	if (node->sessions.slab.live != 0 || !ob__list_empty(&node->sessions.notice_list)) {
		FAIL(t, "%s remembers %u sessions%s", node->name, node->sessions.slab.live,
		     ob__list_empty(&node->sessions.notice_list) ? "" : ", and has notices");
	}
	if (us->table.count != 0 || us->table.locks != 0 || us->asks.count != 0 ||
	    us->endings.count != 0 || us->locks.count != 0 || !ob__list_empty(&us->claims) ||
	    !ob__list_empty(&us->bound) || !ob__list_empty(&us->todo) || us->releases_len != 0) {
		FAIL(t,
		     "%s: left are %u users, %u locks, %zu questions, %zu endings, %zu own locks",
		     node->name, us->table.count, us->table.locks, (size_t)us->asks.count,
		     (size_t)us->endings.count, (size_t)us->locks.count);
	}
	if (node->pendings.slab.live != 0 || node->dispatch.reqs.live != 0 ||
	    node->dispatch.held_bytes != 0) {
		FAIL(t, "%s: left are %u pending requests, %u in work, %zu bytes", node->name,
		     node->pendings.slab.live, node->dispatch.reqs.live, node->dispatch.held_bytes);
	}
}

static void check_told(struct test *t)
{
	for (size_t i = 0; i < t->sess_len; i++) {
		const struct sess *s = &t->sess[i];
		if (s->open || (!s->told && !s->dead)) {
			FAIL(t, "session %zu of n%u has no end", i, s->proxy);
		}
		for (uint32_t k = 0; k < NODES; k++) {
			const struct at *at = &s->at[k];
			if (at->known) {
				FAIL(t, "n%u does not hear that session %zu of n%u is over", k, i,
				     s->proxy);
			}
			/* What is settled further on goes another way than the news of the end, and
			 * may come behind it, each message for itself. */
			bool often = at->met > 2 && !t->unsettled;
			if (s->steady && !s->dead && (at->lost > 0 || often)) {
				FAIL(t,
				     "n%u has met session %zu of n%u %u times though all is well",
				     k, i, s->proxy, at->met);
			}
		}
	}
	for (size_t i = 0; i < t->logins_len; i++) {
		if (!t->logins[i].ended && !t->logins[i].lost) {
			FAIL(t, "login %zu at n%u never ends", i, t->logins[i].from);
		}
	}
	for (size_t i = 0; i < t->requests_len; i++) {
		const struct sess *s = &t->sess[t->requests[i].sess];
		if (!t->requests[i].ended && s->open) {
			FAIL(t, "request %zu never ends", i);
		}
	}
}

static void check_empty(struct test *t)
{
	for (uint32_t i = 0; i < NODES; i++) {
		struct sim_node *n = sim_node(t->world, i);
		sim_on(n, hang_up_all, n->user);
	}
	sim_run(t->world, 10 * SECOND);
	check_told(t);
	for (uint32_t i = 0; i < NODES; i++) {
		check_node_empty(t, &vnode_of(sim_node(t->world, i))->node);
	}
}

static void be_well(struct test *t)
{
	t->steady = true;
	for (uint32_t u = 0; u < USERS; u++) {
		t->users[u] = (struct user){.sess = NOBODY};
	}
	sim_run(t->world, STEADY_US);
	t->settled = true;
	sim_run(t->world, 7 * SECOND); /* the last logins end */
	check_users(t);
	check_records(t);
	check_pushes(t);
	check_keepers(t);
	check_drain(t);
	check_death(t);
	check_users(t);
	check_empty(t);
}

static void live(struct sim_world *w)
{
	struct test *t = sim_user(w);
	t->sending = true;
	for (uint32_t i = 0; i < NODES; i++) {
		sim_boot(sim_node(t->world, i));
	}
	on_traffic(t);
	on_look(t);
	chaos_begin(&t->chaos);
	sim_run(t->world, FAULTY_US);
	chaos_end(&t->chaos);
	converge(t);
	t->settled = true;
	sim_run(t->world, 10 * SECOND); /* links whose other end is gone are noticed, logins end */
	check_users(t);
	check_records(t);
	t->settled = false;
	be_well(t);
	t->steady = false;
	t->over = true;
}

/* ---------------------------------------------------------------- all seeds */

static struct sim_world *set_up(const struct sim_run *run)
{
	static struct test test;
	static const uint64_t latencies[] = {100, 1000, 20000};
	struct test *t = &test;
	test = (struct test){.seed = run->seed};
	struct sim_options o = {
		.seed = t->seed,
		.nodes = NODES,
		.loud = run->loud,
		.latency = latencies[t->seed % 3],
		.cut_in_16 = t->seed % 4,
	};
	t->world = sim_new(&o, &sim_ops, t);
	t->routes = 1 + (uint32_t)(t->seed / 3 % 3);
	t->unsettled = t->seed / 9 % 3 == 0;
	t->pace_us = 8 * MS;
	t->draining = NOBODY;
	for (uint32_t u = 0; u < USERS; u++) {
		t->users[u].sess = NOBODY;
	}
	for (uint32_t i = 0; i < NODES; i++) {
		char name[16];
		snprintf(name, sizeof(name), "n%u", i);
		t->ids[i] = ob__node_id(name);
	}
	t->chaos = (struct chaos){
		.world = t->world,
		.every_us = 600 * MS,
		.most_us = 6 * SECOND,
		.counts = counts.faults,
	};
	return t->world;
}

static void tear_down(struct sim_world *w)
{
	struct test *t = sim_user(w);
	const struct sim_counts *c = sim_counts(w);
	counts.world.events += c->events;
	counts.world.turns += c->turns;
	chaos_stop(&t->chaos);
	sim_free(w);
	free(t->sess);
	free(t->logins);
	free(t->requests);
	free(t->grants);
}

static void show_counts(uint64_t seeds, double seconds)
{
	printf("# %" PRIu64 " seeds in %.1f s: %" PRIu64 " events, %" PRIu64 " turns\n", seeds,
	       seconds, counts.world.events, counts.world.turns);
	printf("# %" PRIu64 " sessions, %" PRIu64 " requests, %" PRIu64 " logins: %" PRIu64
	       " granted, %" PRIu64 " refused; clients fenced %" PRIu64 ", kicked %" PRIu64
	       "; pushes by user %" PRIu64 ", locks %" PRIu64 "\n",
	       counts.sessions, counts.requests, counts.logins, counts.granted, counts.refused,
	       counts.fenced, counts.kicked, counts.pushes, counts.locks);
	printf("# told: closed %" PRIu64 ", lost %" PRIu64 ", left %" PRIu64 "; moved %" PRIu64
	       ", by drains %" PRIu64 "; met again %" PRIu64 "\n",
	       counts.closed, counts.lost, counts.left, counts.moved, counts.drained,
	       counts.met_again);
	chaos_show(counts.faults);
	printf("# slowest healing: %.1f s of %.1f s allowed\n", (double)counts.slowest_us / 1e6,
	       10 * PROMISED_MS / 1e3);
}

static bool covered(void)
{
	bool all = counts.granted > 0 && counts.refused > 0 && counts.fenced > 0 &&
	           counts.kicked > 0 && counts.closed > 0 && counts.lost > 0 && counts.left > 0 &&
	           counts.moved > 0 && counts.drained > 0 && counts.locks > 0 && counts.pushes > 0;
	return all && chaos_met_all(counts.faults);
}

int main(int argc, char **argv)
{
	static const struct sim_seeds seeds = {
		.program = "mesh_sessions",
		.short_seeds = SHORT_SEEDS,
		.long_seeds = LONG_SEEDS,
		.set_up = set_up,
		.live = live,
		.tear_down = tear_down,
		.show = show_counts,
		.covered = covered,
	};
	return sim_seeds(&seeds, argc, argv);
}
