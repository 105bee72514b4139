/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Calls of modules and requests of clients, under faults, over the host's own code
 * (t/sim/mesh/vnode.h).
 *
 *     mesh_calls          200 seeds; with OB_LONG=1 in the environment 2000
 *     mesh_calls SEED, mesh_calls A B      see t/sim/mesh/seeds.h
 *
 * Ten nodes: route nodes, services, proxies with clients.  Proxies and services make calls of every
 * mode, with and without a key, to a node, a role, all of a role, to themselves, and from within
 * handlers; clients send numbered requests that stay with a service or need not.  Handlers answer
 * at once, later, with a failure or never, and push to the client.  Faults happen; then all is well
 * again.  What must hold at any time:
 *
 * - a call has one end, by its deadline; one to all nodes of a role as many results as it said, the
 *   last of them by then; one that was cancelled none any more;
 * - an answer is that of a handler that ran for this very call;
 * - a handler runs once for a call without a key, whatever its mode, and for one with a key once in
 *   each life of a node; never for one that ended as not sent or without a way;
 * - a client's request has one answer, its own, by its deadline, as long as the client is there;
 * - what is pushed to a session reaches that session's client and no other;
 * - a session's messages that stay with a node are handled there in their order, and what a node
 * pushes to it arrives in its order;
 * - while all is well every call ends as its handler meant it to, others of a session's messages
 * are handled in their order, too, and its pushes all arrive;
 * - in the end nothing waits, and nothing is left when a node goes.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/message/dispatch.h"
#include "host/message/request.h"
#include "t/sim/mesh/chaos.h"
#include "t/sim/mesh/seeds.h"
#include "t/sim/mesh/vnode.h"

#define MS          UINT64_C(1000)
#define SECOND      (1000 * MS)
#define SHORT_SEEDS 200u
#define LONG_SEEDS  2000u
#define NODES       10u
#define SERVICES    4u
#define CLIENTS     4u /* of a proxy */
#define FAULTY_US   (12 * SECOND)
#define STEADY_US   (4 * SECOND)
#define PROMISED_MS (3000u + 6000u + 6000u + 8000u) /* a link, and then the news */
#define SLACK_MS    20u /* ticks of the wheel: a call's, and a try's behind it */
#define TIMEOUT_MS  2000u
#define DEADLINE_MS 3000u
#define RUNS_MAX    16u
#define WORK_ID     2000u
#define WORK_METHOD "user.sim.work.do"
#define PUSH_ID     3000u
#define RESULTS     (OB_RESULT_WIRE(OB_RESULT_LAST) + 1)

enum { CLIENT_STAYS = 1000, CLIENT_FREE, CLIENT_BY_ROUTE }; /* message ids */

enum plan { P_NOW, P_LATER, P_FAIL, P_NEVER, P_RETURN, P_DONE, P_CALL, P_PLANS };

/* Where a handler has run for a call. */
struct run {
	uint32_t node;
	uint64_t incarnation;
};

/* What the world knows of a call, or of a client's request. */
struct call {
	uint32_t from;
	uint64_t incarnation;
	uint64_t until_ms; /* by the caller's clock */
	uint64_t handle;
	uint64_t parent; /* the request that its end ends, or 0 */
	uint32_t parent_index;
	uint64_t budget;
	struct client *client;
	uint64_t client_seq;
	uint32_t client_life;
	uint32_t number; /* of the client's */
	enum plan plan;
	uint64_t plan_ms;
	int mode;
	uint32_t target; /* a node that was named, + 1 */
	bool key;
	bool all;
	bool steady;
	unsigned row; /* of the client's: its message id, less CLIENT_STAYS */
	bool ended;
	bool cancelled;
	bool lost; /* nobody can hear of its end any more */
	int code;
	uint32_t results;
	uint32_t left; /* as the last result said */
	uint32_t runs;
	struct run ran[RUNS_MAX];
};

struct client {
	uint32_t node;
	uint64_t conn; /* 0: not connected */
	uint64_t seq;  /* of its session */
	uint32_t life; /* counts its sessions */
	uint32_t sent;
	struct {
		uint64_t incarnation;
		uint32_t life;
		uint32_t handled[3]; /* the number of the last one there, by row */
		uint32_t pushes;     /* made there */
		uint32_t pushed;     /* arrived from there */
	} at[NODES];
};

struct note {
	uint32_t index;
	uint32_t reply; /* 1 + the node that answers */
	uint64_t incarnation;
	uint32_t fill;
};

struct push_note {
	uint64_t proxy;
	uint64_t seq;
	uint64_t incarnation;
	uint32_t from;
	uint32_t number;
	bool steady;
};

struct test {
	uint64_t seed;
	struct sim_world *world;
	uint32_t routes;
	struct call *calls;
	size_t calls_len;
	size_t calls_cap;
	struct client clients[NODES][CLIENTS];
	struct chaos chaos;
	uint64_t pace_us;
	uint64_t pushes_made; /* while all is well */
	uint64_t pushes_arrived;
	bool small_queues;
	bool sending;
	bool steady;
};

static struct {
	uint64_t calls;
	uint64_t nested;
	uint64_t requests;
	uint64_t runs;
	uint64_t ends[RESULTS];
	uint64_t client_ends[RESULTS];
	uint64_t modes[OB_CALL_FAIL_SAFE + 1];
	uint64_t tries;
	uint64_t all;
	uint64_t cancelled;
	uint64_t runs_again; /* of one call, elsewhere */
	uint64_t repeated;   /* a second try met the first one's end */
	uint64_t disordered; /* while it is not */
	uint64_t pushes;
	uint64_t plans[P_PLANS];
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

static const char *role_of(const struct test *t, uint32_t i)
{
	return is_route(t, i) ? OB__ROLE_ROUTE : is_service(t, i) ? "service" : "proxy";
}

static uint64_t id_of(uint32_t i)
{
	char name[16];
	snprintf(name, sizeof(name), "n%u", i);
	return ob__node_id(name);
}

static uint64_t now_ms(const struct vnode *v)
{
	return ob__loop_now(v->node.loop);
}

/* ---------------------------------------------------------------- what is known of calls */

static struct call *call_new(struct test *t, const struct vnode *v, uint64_t budget)
{
	if (t->calls_len == t->calls_cap) {
		t->calls_cap = t->calls_cap != 0 ? 2 * t->calls_cap : 4096;
		t->calls = realloc(t->calls, t->calls_cap * sizeof(*t->calls));
		if (t->calls == NULL) {
			abort();
		}
	}
	struct call *c = &t->calls[t->calls_len++];
	*c = (struct call){
		.from = v->sim->index,
		.incarnation = v->node.self.incarnation,
		.until_ms = now_ms(v) + budget,
		.budget = budget,
		.steady = t->steady,
	};
	uint64_t roll = sim_below(t->world, 100);
	c->plan = roll < 55   ? P_NOW
	          : roll < 75 ? P_LATER
	          : roll < 80 ? P_FAIL
	          : roll < 84 ? P_NEVER
	          : roll < 87 ? P_RETURN
	          : roll < 91 ? P_DONE
	                      : P_CALL;
	c->plan_ms = sim_below(t->world, DEADLINE_MS);
	return c;
}

static size_t index_of(const struct test *t, const struct call *c)
{
	return (size_t)(c - t->calls);
}

static struct call *call_at(struct test *t, const struct vnode *v, size_t index)
{
	if (index >= t->calls_len) {
		FAIL(t, "%s: a call that nobody made", v->node.name);
	}
	return &t->calls[index];
}

static uint32_t choose_fill(struct test *t)
{
	uint64_t roll = sim_below(t->world, 100);
	return (uint32_t)sim_below(t->world, roll < 92 ? 200 : roll < 98 ? 6000 : 90000);
}

/* To be freed. */
static uint8_t *note_bytes(struct note note, size_t *len)
{
	*len = sizeof(note) + note.fill;
	uint8_t *bytes = malloc(*len);
	if (bytes == NULL) {
		abort();
	}
	memcpy(bytes, &note, sizeof(note));
	memset(bytes + sizeof(note), (int)(note.index & 0xff), note.fill);
	return bytes;
}

static struct note read_note(const struct vnode *v, const uint8_t *data, size_t len)
{
	struct note note;
	if (len < sizeof(note)) {
		FAIL(test_of(v), "%s: a payload of %zu bytes", v->node.name, len);
	}
	memcpy(&note, data, sizeof(note));
	if (len != sizeof(note) + note.fill ||
	    (note.fill > 0 &&
	     (data[sizeof(note)] != (note.index & 0xff) || data[len - 1] != (note.index & 0xff)))) {
		FAIL(test_of(v), "%s: a payload that nobody made", v->node.name);
	}
	return note;
}

/* An end of c, answered with these bytes if it is OB_OK. */
static void check_end(struct test *t, const struct vnode *v, struct call *c, int code,
                      const uint8_t *data, size_t len)
{
	size_t index = index_of(t, c);
	uint64_t now = now_ms(v);
	if (c->lost || c->cancelled || (c->ended && !c->all)) {
		FAIL(t, "%s: call %zu ends %s", v->node.name, index,
		     c->cancelled ? "though it was cancelled" : "again");
	}
	if (now > c->until_ms + SLACK_MS + v->sim->late_ms) {
		FAIL(t, "%s: call %zu ends %" PRIu64 " ms behind its deadline (%d)", v->node.name,
		     index, now - c->until_ms, code);
	}
	if (code == OB_E_NOT_FOUND || code == OB_E_BAD || code == OB_E_DENIED ||
	    code == OB_E_TOO_BIG) {
		FAIL(t, "%s: call %zu ends with %d", v->node.name, index, code);
	}
	if ((code == OB_E_NOT_SENT || code == OB_E_NO_ROUTE) && c->runs > 0 && !c->key && !c->all) {
		FAIL(t, "%s: call %zu ends with %d and was handled by n%u", v->node.name, index,
		     code, c->ran[0].node);
	}
	if (code != OB_OK || (len == 0 && c->plan == P_DONE)) {
		return;
	}
	struct note note = read_note(v, data, len);
	bool ran = false;
	for (uint32_t i = 0; i < c->runs && i < RUNS_MAX; i++) {
		ran = ran || (c->ran[i].node + 1 == note.reply &&
		              c->ran[i].incarnation == note.incarnation);
	}
	if (note.index != index || !ran) {
		FAIL(t, "%s: call %zu gets the answer to call %u of n%u", v->node.name, index,
		     note.index, note.reply - 1);
	}
}

/* While all is well a call ends as its handler meant it to. */
static void check_steady_end(struct test *t, const struct vnode *v, const struct call *c, int code)
{
	bool fails = c->plan == P_FAIL || c->plan == P_RETURN;
	bool slow =
		c->plan == P_LATER || c->plan == P_NEVER || c->plan == P_CALL || c->budget < 500;
	if (!c->steady || (code == OB_E_BUSY && t->small_queues) ||
	    (code == OB_E_APP && (fails || c->plan == P_CALL)) || (code == OB_E_DEADLINE && slow) ||
	    (code == OB_OK && !fails && c->plan != P_NEVER)) {
		return;
	}
	FAIL(t, "%s: call %zu ends with %d though all is well (plan %d, mode %d, to n%d)",
	     v->node.name, index_of(t, c), code, (int)c->plan, c->mode, (int)c->target - 1);
}

/* ---------------------------------------------------------------- making calls */

static void answer(struct vnode *v, struct ob__req *r, uint32_t index)
{
	struct note note = {
		.index = index,
		.reply = v->sim->index + 1,
		.incarnation = v->node.self.incarnation,
		.fill = choose_fill(test_of(v)),
	};
	size_t len;
	uint8_t *bytes = note_bytes(note, &len);
	ob__req_end(r, OB_OK, NULL, bytes, len);
	free(bytes);
}

static void end_parent(struct vnode *v, const struct call *c, int code)
{
	struct ob__req *r = c->parent != 0 ? ob__req_get(&v->node, c->parent) : NULL;
	if (r == NULL) {
		return; /* its deadline was first */
	}
	if (code == OB_OK) {
		answer(v, r, c->parent_index);
	} else {
		ob__req_end(r, OB_E_APP, NULL, NULL, 0);
	}
}

static void on_result(ob_ctx *ctx, uint64_t handle, const ob_call_result *res, void *arg)
{
	struct vnode *v = vnode_of_ctx(ctx);
	if (v->dying) {
		return;
	}
	struct test *t = test_of(v);
	struct call *c = &t->calls[(uintptr_t)arg];
	int code = res->code == OB_OK ? res->failed : res->code;
	if (c->from != v->sim->index || c->incarnation != v->node.self.incarnation ||
	    (c->handle != 0 && c->handle != handle)) {
		FAIL(t, "%s is told of a call that is not its own", v->node.name);
	}
	sim_mark(t->world, 60, index_of(t, c), (uint64_t)(int64_t)code, res->left);
	check_end(t, v, c, code, res->data, res->len);
	if (c->results++ > 0 && res->left + 1 != c->left) {
		FAIL(t, "%s: call %zu has %u results more, and had %u", v->node.name,
		     index_of(t, c), res->left, c->left);
	}
	c->left = res->left;
	c->ended = res->left == 0;
	c->code = code;
	counts.ends[OB_RESULT_WIRE(code)]++;
	counts.tries += res->tries;
	check_steady_end(t, v, c, code);
	if (c->ended) {
		end_parent(v, c, code);
	}
}

static void choose_target(struct test *t, const struct vnode *v, struct call *c, ob_target *target)
{
	uint64_t roll = sim_below(t->world, 100);
	if (roll < 30) {
		c->target = 1 + (uint32_t)sim_below(t->world, NODES);
		target->node = id_of(c->target - 1);
	} else if (roll < 36) {
		c->target = 1 + v->sim->index;
		target->node = v->node.self.id;
	} else {
		target->role = ob__fnv1a32(sim_chance(t->world, 800) ? "service" : "proxy");
	}
	if (target->node == 0 && sim_chance(t->world, 150)) {
		target->flags = OB_TARGET_ALL;
		c->all = true;
	}
}

static void choose_options(struct test *t, struct call *c, ob_call_options *o)
{
	c->mode = c->all ? (sim_chance(t->world, 500) ? OB_CALL_FAIL_FAST : OB_CALL_FAIL_SAFE)
	                 : (int)sim_below(t->world, OB_CALL_FAIL_SAFE + 1);
	c->key = sim_chance(t->world, 500);
	o->mode = c->mode;
	o->retries = (uint32_t)sim_below(t->world, 4);
	o->flags = sim_chance(t->world, 200) ? OB_CALL_NO_WAIT : 0;
	o->id = sim_chance(t->world, 500) ? WORK_ID : 0;
	o->method = o->id == 0 ? WORK_METHOD : NULL;
}

struct cancel {
	struct sim_node *n;
	size_t index;
};

static void do_cancel(void *arg)
{
	const struct cancel *cancel = arg;
	struct vnode *v = vnode_of(cancel->n);
	struct test *t = test_of(v);
	struct call *c = &t->calls[cancel->index];
	if (c->incarnation != v->node.self.incarnation) {
		return;
	}
	if (ob__dispatch_call_cancel(v->gen, c->handle) == 0) {
		if (c->ended) {
			FAIL(t, "%s cancels a call that has ended", v->node.name);
		}
		c->cancelled = true;
		counts.cancelled++;
	} else if (!c->ended) {
		FAIL(t, "%s can't cancel call %zu", v->node.name, cancel->index);
	}
}

static void on_cancel(void *arg)
{
	struct cancel *cancel = arg;
	sim_on(cancel->n, do_cancel, cancel);
	free(cancel);
}

static void cancel_later(struct test *t, const struct call *c)
{
	struct cancel *cancel = malloc(sizeof(*cancel));
	if (cancel == NULL) {
		abort();
	}
	*cancel = (struct cancel){sim_node(t->world, c->from), index_of(t, c)};
	sim_at(t->world, sim_below(t->world, 1 + c->budget / 2) * MS, on_cancel, cancel);
}

/* The handle is not known before the call is made, and no result comes before that. */
static void make_call(struct vnode *v, uint64_t parent, uint32_t parent_index, uint64_t budget,
                      const ob_target *to)
{
	struct test *t = test_of(v);
	struct call *c = call_new(t, v, budget);
	size_t index = index_of(t, c);
	ob_target target = {0};
	ob_call_options o = {.size = sizeof(o), .request = parent};
	c->parent = parent;
	c->parent_index = parent_index;
	if (to != NULL) {
		target = *to;
	} else {
		choose_target(t, v, c, &target);
	}
	choose_options(t, c, &o);
	if (parent != 0) {
		c->plan = c->plan == P_CALL ? P_NOW : c->plan;
		o.session = ob__req_get(&v->node, parent)->view.session;
		counts.nested++;
	} else {
		o.deadline_ms = (uint32_t)budget;
	}
	uint32_t key[2] = {(uint32_t)index, v->sim->index};
	o.key = key;
	o.key_len = c->key ? sizeof(key) : 0;
	size_t len;
	uint8_t *bytes =
		note_bytes((struct note){.index = (uint32_t)index, .fill = choose_fill(t)}, &len);
	o.data = bytes;
	o.len = len;
	uint64_t handle =
		ob__dispatch_call_with(v->gen, &target, &o, on_result, (void *)(uintptr_t)index);
	free(bytes);
	c = &t->calls[index];
	counts.calls++;
	counts.modes[c->mode]++;
	counts.all += c->all;
	if (handle == 0 || c->results > 0) {
		FAIL(t, "%s: call %zu %s", v->node.name, index,
		     handle == 0 ? "can't be made" : "ends before it is made");
	}
	c->handle = handle;
	if (parent == 0 && sim_chance(t->world, 40)) {
		cancel_later(t, c);
	}
}

/* ---------------------------------------------------------------- handlers */

static void note_run(struct test *t, const struct vnode *v, struct call *c)
{
	uint64_t incarnation = v->node.self.incarnation;
	size_t index = index_of(t, c);
	counts.runs++;
	sim_mark(t->world, 61, index, v->sim->index, 0);
	if (c->runs > 0 && !c->key && !c->all) {
		FAIL(t, "%s: call %zu, without a key, is handled again (first by n%u)",
		     v->node.name, index, c->ran[0].node);
	}
	if (c->ended && (c->code == OB_E_NOT_SENT || c->code == OB_E_NO_ROUTE) && !c->key &&
	    !c->all) {
		FAIL(t, "%s handles call %zu, which ended with %d", v->node.name, index, c->code);
	}
	for (uint32_t i = 0; i < c->runs && i < RUNS_MAX; i++) {
		if (c->ran[i].node == v->sim->index && c->ran[i].incarnation == incarnation) {
			FAIL(t, "%s handles call %zu twice", v->node.name, index);
		}
	}
	counts.runs_again += c->runs > 0 && !c->all;
	if (c->runs < RUNS_MAX) {
		c->ran[c->runs] = (struct run){v->sim->index, incarnation};
	}
	c->runs++;
}

struct later {
	struct sim_node *n;
	uint64_t incarnation;
	uint64_t req;
	uint32_t index;
};

static void say_later(void *arg)
{
	const struct later *l = arg;
	struct vnode *v = vnode_of(l->n);
	struct ob__req *r =
		v->node.self.incarnation == l->incarnation ? ob__req_get(&v->node, l->req) : NULL;
	if (r != NULL) {
		answer(v, r, l->index);
	}
}

static void on_later(void *arg)
{
	struct later *l = arg;
	sim_on(l->n, say_later, l);
	free(l);
}

static void hold(struct vnode *v, struct ob__req *r)
{
	if (ob__req_hold(r) != 0) {
		FAIL(test_of(v), "%s can't hold a request", v->node.name);
	}
}

static void answer_later(struct vnode *v, struct ob__req *r, uint32_t index, uint64_t ms)
{
	struct later *l = malloc(sizeof(*l));
	if (l == NULL) {
		abort();
	}
	*l = (struct later){v->sim, v->node.self.incarnation, r->handle, index};
	hold(v, r);
	sim_at(v->sim->world, ms * MS, on_later, l);
}

/* Asks another one, or the proxy of the session, before it answers. */
static void answer_after(struct vnode *v, struct ob__req *r, uint32_t index)
{
	struct test *t = test_of(v);
	const struct ob__session *s = ob__session_get(&v->node.sessions, r->view.session);
	uint64_t now = now_ms(v);
	uint64_t left = r->deadline > now ? r->deadline - now : 1;
	ob_target target = {.flags = OB_TARGET_SESSION};
	hold(v, r);
	left = left < v->conf.call_timeout_ms ? left : v->conf.call_timeout_ms;
	make_call(v, r->handle, index, left,
	          s != NULL && sim_chance(t->world, 500) ? &target : NULL);
}

static void work(struct vnode *v, struct ob__req *r, uint32_t index)
{
	const struct call *c = &test_of(v)->calls[index];
	switch (c->plan) {
	case P_LATER:
		answer_later(v, r, index, c->plan_ms);
		break;
	case P_FAIL:
		ob__req_end(r, OB_E_APP, "as it was meant", NULL, 0);
		break;
	case P_NEVER:
		hold(v, r);
		break;
	case P_RETURN:
		break;
	case P_DONE:
		ob__req_done(r);
		break;
	case P_CALL:
		answer_after(v, r, index);
		break;
	default:
		answer(v, r, index);
	}
}

static struct call *call_of(struct vnode *v, const struct ob__req *r)
{
	struct note note = read_note(v, r->view.data, r->view.len);
	struct test *t = test_of(v);
	struct call *c = call_at(t, v, note.index);
	if (note.reply != 0) {
		FAIL(t, "%s is asked what is an answer", v->node.name);
	}
	counts.plans[c->plan]++;
	note_run(t, v, c);
	return c;
}

static void on_work(ob_ctx *ctx, ob_req req)
{
	struct vnode *v = vnode_of_ctx(ctx);
	struct test *t = test_of(v);
	struct ob__req *r = ob__req_get(&v->node, req);
	struct call *c = call_of(v, r);
	if (c->client != NULL || (c->target != 0 && c->target - 1 != v->sim->index)) {
		FAIL(t, "%s is given call %zu, which is for another", v->node.name, index_of(t, c));
	}
	work(v, r, (uint32_t)index_of(t, c));
}

/* ---------------------------------------------------------------- clients */

static struct client *clients_of(const struct vnode *v)
{
	return test_of(v)->clients[v->sim->index];
}

static void connect_client(struct vnode *v, struct client *c)
{
	c->node = v->sim->index;
	c->life++;
	c->conn = vnode_connect(v, c);
	if (c->conn == 0) {
		FAIL(test_of(v), "%s takes no client", v->node.name);
	}
	c->seq = ob__conn_get(&v->node, c->conn)->session->seq;
}

static void on_reply(struct vnode *v, void *user, uint64_t cookie, int code, const uint8_t *data,
                     size_t len)
{
	struct test *t = test_of(v);
	struct client *client = user;
	struct call *c = call_at(t, v, (size_t)cookie - 1);
	if (c->client != client || c->client_life != client->life || c->from != v->sim->index) {
		FAIL(t, "%s: a client gets the answer to request %zu of another", v->node.name,
		     index_of(t, c));
	}
	sim_mark(t->world, 62, index_of(t, c), (uint64_t)(int64_t)code, 0);
	check_end(t, v, c, code, data, len);
	c->ended = true;
	c->code = code;
	counts.client_ends[OB_RESULT_WIRE(code)]++;
	check_steady_end(t, v, c, code);
}

static void on_push(struct vnode *v, void *user, uint32_t id, const uint8_t *data, size_t len)
{
	struct test *t = test_of(v);
	struct client *client = user;
	struct push_note note;
	if (id != PUSH_ID || len != sizeof(note)) {
		FAIL(t, "%s: a push that nobody made", v->node.name);
	}
	memcpy(&note, data, sizeof(note));
	if (note.proxy != v->node.self.id || note.seq != client->seq) {
		FAIL(t, "%s: a push for session %" PRIx64 " reaches %" PRIx64, v->node.name,
		     note.seq, client->seq);
	}
	counts.pushes++;
	t->pushes_arrived += note.steady;
	if (note.incarnation != client->at[note.from].incarnation) {
		return; /* made in an earlier life, or by one who has forgotten the client since */
	}
	if (note.number <= client->at[note.from].pushed) {
		FAIL(t, "%s: push %u of n%u comes behind %u", v->node.name, note.number, note.from,
		     client->at[note.from].pushed);
	}
	client->at[note.from].pushed = note.number;
}

static void on_closed(struct vnode *v, void *user, uint16_t code)
{
	struct client *client = user;
	(void)v;
	(void)code;
	client->conn = 0;
	client->life++; /* what it waits for never comes */
}

static const struct vnode_ops vnode_ops = {
	.on_reply = on_reply,
	.on_push = on_push,
	.on_closed = on_closed,
};

static void send_request(struct vnode *v, struct client *client)
{
	struct test *t = test_of(v);
	struct call *c = call_new(t, v, v->conf.call_timeout_ms);
	uint32_t id = CLIENT_STAYS + (uint32_t)sim_below(t->world, 3);
	c->client = client;
	c->client_life = client->life;
	c->client_seq = client->seq;
	c->number = ++client->sent;
	c->row = id - CLIENT_STAYS;
	c->plan = c->plan == P_DONE ? P_NOW : c->plan; /* it would never have an answer */
	size_t index = index_of(t, c);
	size_t len;
	uint8_t *bytes =
		note_bytes((struct note){.index = (uint32_t)index, .fill = choose_fill(t)}, &len);
	bool sent = vnode_send(v, client->conn, id, index + 1, bytes, len);
	free(bytes);
	c = &t->calls[index];
	c->lost = c->lost || !sent;
	counts.requests += sent;
}

/* Messages of one client close behind each other, while the way may change. */
struct rush {
	struct sim_node *n;
	struct client *client;
	uint32_t life;
	uint32_t left;
};

static void do_rush(void *arg)
{
	const struct rush *r = arg;
	if (r->client->life == r->life && r->client->conn != 0) {
		send_request(vnode_of(r->n), r->client);
	}
}

static void on_rush(void *arg)
{
	struct rush *r = arg;
	struct test *t = sim_user(r->n->world);
	if (r->left-- == 0 || !t->sending) {
		free(r);
		return;
	}
	sim_on(r->n, do_rush, r);
	sim_at(t->world, sim_below(t->world, sim_options_of(t->world)->latency), on_rush, r);
}

static void rush(struct vnode *v, struct client *client)
{
	struct rush *r = malloc(sizeof(*r));
	if (r == NULL) {
		abort();
	}
	*r = (struct rush){v->sim, client, client->life, 8};
	sim_at(v->sim->world, 0, on_rush, r);
}

static void client_sends(struct vnode *v)
{
	struct test *t = test_of(v);
	struct client *client = &clients_of(v)[sim_below(t->world, CLIENTS)];
	if (client->conn == 0) {
		connect_client(v, client);
	} else if (!t->steady && sim_chance(t->world, 10)) {
		vnode_hang_up(v, client->conn);
		return;
	}
	send_request(v, client);
	if (sim_chance(t->world, 50)) {
		rush(v, client);
	}
}

static void check_order(struct test *t, const struct vnode *v, struct call *c)
{
	uint32_t here = v->sim->index;
	uint64_t incarnation = v->node.self.incarnation;
	struct client *client = c->client;
	if (client->at[here].incarnation != incarnation ||
	    client->at[here].life != c->client_life) {
		memset(&client->at[here], 0, sizeof(client->at[here]));
		client->at[here].incarnation = incarnation;
		client->at[here].life = c->client_life;
	}
	uint32_t *handled = &client->at[here].handled[c->row];
	if (c->number > *handled) {
		*handled = c->number;
		return;
	}
	counts.disordered++;
	if (c->steady || c->row != CLIENT_FREE - CLIENT_STAYS) {
		FAIL(t, "%s handles message %u of a session behind %u", v->node.name, c->number,
		     *handled);
	}
}

static void push_back(struct vnode *v, const struct call *c, uint64_t session)
{
	struct test *t = test_of(v);
	const struct push_note note = {
		.proxy = id_of(c->from),
		.seq = c->client_seq,
		.incarnation = v->node.self.incarnation,
		.from = v->sim->index,
		.number = ++c->client->at[v->sim->index].pushes,
		.steady = c->steady,
	};
	int rc = ob__dispatch_push(&v->node, session, PUSH_ID, &note, sizeof(note));
	t->pushes_made += note.steady;
	if (rc != 0 && note.steady && !t->small_queues) {
		FAIL(t, "%s can't push though all is well (%d)", v->node.name, rc);
	}
}

static void on_client_work(ob_ctx *ctx, ob_req req)
{
	struct vnode *v = vnode_of_ctx(ctx);
	struct test *t = test_of(v);
	struct ob__req *r = ob__req_get(&v->node, req);
	struct call *c = call_of(v, r);
	const struct ob__session *s = ob__session_get(&v->node.sessions, r->view.session);
	if (c->client == NULL || s == NULL || s->node != id_of(c->from) ||
	    s->seq != c->client_seq) {
		FAIL(t, "%s is given call %zu as that of another session", v->node.name,
		     index_of(t, c));
	}
	if (c->client_life == c->client->life) {
		check_order(t, v, c);
		if (sim_chance(t->world, 300)) {
			push_back(v, c, r->view.session);
		}
	}
	work(v, r, (uint32_t)index_of(t, c));
}

static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	(void)ctx;
	ob_verdict verdict = {.action = OB_FORWARD};
	verdict.target.flags = view->id != CLIENT_FREE ? OB_TARGET_STICKY : 0;
	verdict.target.role = view->id != CLIENT_BY_ROUTE ? ob__fnv1a32("service") : 0;
	return verdict;
}

/* A route node's: of what it is given without a role. */
static ob_verdict decide_on(ob_ctx *ctx, const ob_view *view)
{
	(void)ctx;
	(void)view;
	return (ob_verdict){.action = OB_FORWARD, .target = {.role = ob__fnv1a32("service")}};
}

/* ---------------------------------------------------------------- a node's life */

static void boot(struct sim_node *n)
{
	struct test *t = sim_user(n->world);
	uint32_t i = n->index;
	struct vnode *v = vnode_new(n, role_of(t, i), &vnode_ops);
	v->conf.call_timeout_ms = TIMEOUT_MS;
	if (t->small_queues) {
		v->conf.limits.message = 96u << 10; /* just more than the largest */
		v->conf.limits.link_queue = 160u << 10;
	}
	vnode_start(v);
	vnode_handler(v, OB__SLOT_LINK_ID, WORK_ID, NULL, on_work);
	vnode_handler(v, OB__SLOT_METHOD, 0, WORK_METHOD, on_work);
	if (is_route(t, i)) {
		vnode_decider(v, OB__SLOT_LINK_DECIDER, decide_on);
	} else if (is_proxy(t, i)) {
		vnode_decider(v, OB__SLOT_CLIENT_DECIDER, decide);
	}
	for (uint32_t id = CLIENT_STAYS; is_service(t, i) && id <= CLIENT_BY_ROUTE; id++) {
		vnode_handler(v, OB__SLOT_LINK_ID, id, NULL, on_client_work);
	}
	uint32_t to = is_route(t, i) ? 0 : i % t->routes;
	if (to != i) {
		vnode_dial(v, sim_node(t->world, to), OB__ROLE_ROUTE);
	}
}

static void halt(struct sim_node *n)
{
	struct test *t = sim_user(n->world);
	struct vnode *v = vnode_of(n);
	for (size_t i = 0; i < t->calls_len; i++) {
		struct call *c = &t->calls[i];
		c->lost = c->lost || (c->from == n->index && !c->ended && !c->cancelled);
	}
	for (uint32_t i = 0; i < CLIENTS; i++) {
		clients_of(v)[i].conn = 0;
		clients_of(v)[i].life++;
	}
	counts.repeated += v->node.keys.table.repeated;
	vnode_halt(v);
}

static void after(struct sim_node *n)
{
	const struct vnode *v = vnode_of(n);
	OB__LIST_EACH (it, &v->node.registry.peers) {
		const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (ob__peer_queued(p) > 2 * v->conf.limits.link_queue + (64u << 10)) {
			FAIL(test_of(v), "%s: %zu bytes wait for %s", v->node.name,
			     ob__peer_queued(p), p->who.name);
		}
	}
}

static const struct sim_ops sim_ops = {.boot = boot, .halt = halt, .after = after};

/* ---------------------------------------------------------------- traffic */

static void act(void *arg)
{
	struct vnode *v = arg;
	struct test *t = test_of(v);
	if (is_proxy(t, v->sim->index) && sim_chance(t->world, 600)) {
		client_sends(v);
	} else {
		make_call(v, 0, 0, 20 + sim_below(t->world, DEADLINE_MS), NULL);
	}
}

static void on_traffic(void *arg)
{
	struct test *t = arg;
	if (!t->sending) {
		return;
	}
	uint32_t i = t->routes + (uint32_t)sim_below(t->world, NODES - t->routes);
	struct sim_node *n = sim_node(t->world, i);
	uint64_t burst = sim_chance(t->world, 10) ? 30 : 1;
	while (burst-- > 0 && n->running && !n->paused) {
		sim_on(n, act, n->user);
	}
	sim_at(t->world, 1 + sim_below(t->world, 2 * t->pace_us), on_traffic, t);
}

/* ---------------------------------------------------------------- one seed */

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

static void check_ends(struct test *t)
{
	for (size_t i = 0; i < t->calls_len; i++) {
		const struct call *c = &t->calls[i];
		bool left = c->client != NULL && c->client->life != c->client_life;
		if (!c->ended && !c->lost && !c->cancelled && !left) {
			FAIL(t, "call %zu of n%u never ends", i, c->from);
		}
	}
	if (t->pushes_arrived != t->pushes_made && !t->small_queues) {
		FAIL(t, "of %" PRIu64 " pushes while all was well %" PRIu64 " have arrived",
		     t->pushes_made, t->pushes_arrived);
	}
	for (uint32_t i = 0; i < NODES; i++) {
		const struct vnode *v = vnode_of(sim_node(t->world, i));
		const struct ob__node *node = &v->node;
		if (node->pendings.slab.live != 0 || node->dispatch.reqs.live != 0 ||
		    node->calls.slab.live != 0 || node->dispatch.held_bytes != 0) {
			FAIL(t, "%s: left are %u pending requests, %u in work, %u calls, %zu bytes",
			     node->name, node->pendings.slab.live, node->dispatch.reqs.live,
			     node->calls.slab.live, node->dispatch.held_bytes);
		}
		OB__LIST_EACH (it, &node->registry.peers) {
			const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
			if (p->balance.pending != 0) {
				FAIL(t, "%s: %s owes %u answers", node->name, p->who.name,
				     p->balance.pending);
			}
		}
	}
}

static void live(struct sim_world *w)
{
	struct test *t = sim_user(w);
	t->sending = true;
	for (uint32_t i = 0; i < NODES; i++) {
		sim_boot(sim_node(t->world, i));
	}
	on_traffic(t);
	chaos_begin(&t->chaos);
	sim_run(t->world, FAULTY_US);
	chaos_end(&t->chaos);
	t->sending = false;
	converge(t);
	sim_run(t->world,
	        9 * SECOND); /* links whose other end is gone are noticed, others end idle */
	t->sending = true;
	t->steady = true;
	on_traffic(t);
	sim_run(t->world, STEADY_US);
	t->sending = false;
	sim_run(t->world, (DEADLINE_MS + TIMEOUT_MS + 2000) * MS);
	check_ends(t);
	t->steady = false;
}

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
	t->routes = 1 + (uint32_t)(t->seed % 3);
	t->small_queues = t->seed % 2 == 0;
	t->pace_us = 8 * MS;
	t->chaos = (struct chaos){
		.world = t->world,
		.every_us = 600 * MS,
		.most_us = 6 * SECOND,
		.counts = counts.faults,
	};
	for (uint32_t i = 0; t->seed % 5 < 2 && i < NODES; i++) {
		sim_node(t->world, i)->machine = i / 3 * 3;
	}
	return t->world;
}

static void tear_down(struct sim_world *w)
{
	struct test *t = sim_user(w);
	const struct sim_counts *c = sim_counts(w);
	counts.world.events += c->events;
	counts.world.turns += c->turns;
	counts.world.connections += c->connections;
	chaos_stop(&t->chaos);
	sim_free(w);
	free(t->calls);
}

/* ---------------------------------------------------------------- all seeds */

static void show_ends(const char *what, const uint64_t *ends)
{
	printf("# %s:", what);
	for (int i = 0; i < RESULTS; i++) {
		if (ends[i] > 0) {
			printf(" %s %" PRIu64, ob__result_word(OB_RESULT_FROM_WIRE(i)), ends[i]);
		}
	}
	printf("\n");
}

static void show_counts(uint64_t seeds, double seconds)
{
	printf("# %" PRIu64 " seeds in %.1f s: %" PRIu64 " events, %" PRIu64 " turns, %" PRIu64
	       " connections\n",
	       seeds, seconds, counts.world.events, counts.world.turns, counts.world.connections);
	printf("# %" PRIu64 " calls (%" PRIu64 " from handlers, %" PRIu64
	       " to all of a role, %" PRIu64 " cancelled), %" PRIu64 " tries; %" PRIu64
	       " requests of clients; %" PRIu64 " handlers ran, %" PRIu64
	       " of them for a call that others had, %" PRIu64 " tries met another's end; %" PRIu64
	       " pushes; out of order in faults %" PRIu64 "\n",
	       counts.calls, counts.nested, counts.all, counts.cancelled, counts.tries,
	       counts.requests, counts.runs, counts.runs_again, counts.repeated, counts.pushes,
	       counts.disordered);
	show_ends("ends of calls", counts.ends);
	show_ends("ends of requests", counts.client_ends);
	chaos_show(counts.faults);
	printf("# slowest healing: %.1f s of %.1f s allowed\n", (double)counts.slowest_us / 1e6,
	       10 * PROMISED_MS / 1e3);
}

static bool covered(void)
{
	static const int ends[] = {OB_OK,         OB_E_APP,        OB_E_DEADLINE, OB_E_NO_ROUTE,
	                           OB_E_NOT_SENT, OB_E_MAYBE_SENT, OB_E_BUSY};
	bool all = counts.nested > 0 && counts.all > 0 && counts.cancelled > 0 &&
	           counts.runs_again > 0 && counts.repeated > 0 && counts.pushes > 0;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		all = all && counts.ends[OB_RESULT_WIRE(ends[i])] > 0;
	}
	all = all && chaos_met_all(counts.faults);
	for (int i = 0; i < P_PLANS; i++) {
		all = all && counts.plans[i] > 0;
	}
	for (int i = 0; i <= OB_CALL_FAIL_SAFE; i++) {
		all = all && counts.modes[i] > 0;
	}
	return all;
}

int main(int argc, char **argv)
{
	static const struct sim_seeds seeds = {
		.program = "mesh_calls",
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
