/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Nodes that find each other, under faults (t/sim/mesh/world.h).
 *
 *     mesh_cluster          200 seeds of 30 nodes; with OB_LONG=1 in the environment 1000, some of
 *                           them of 100, 300 and 1000
 *     mesh_cluster SEED, mesh_cluster A B      see t/sim/mesh/seeds.h
 *
 * Each node knows the address of one route node.  The directory, the view of the route nodes, the
 * router and the dialer are put together as in host/cluster.c; nodes send numbered messages to each
 * other, through a route node at first, over a link of their own then, and through a route node
 * again when that has been idle.  Faults happen; then all is well again.  What must hold:
 *
 * - a message arrives at its node, and at most once;
 * - when all is well again, every node lists every other one, up, in its present life, within ten
 *   times what the timers promise, and nobody else;
 * - while all is well nobody is taken for suspect, dead or replaced by anybody, every message
 *   arrives, and those from one node to another in their order, whatever way they take;
 * - who leaves is gone for all at once, who dies within ten times what the timers promise;
 * - nothing is left when a node goes.
 */

#include "mesh/link.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "mesh/dialer.h"
#include "mesh/directory.h"
#include "mesh/dirview.h"
#include "mesh/router.h"
#include "t/sim/mesh/seeds.h"

#define MS          UINT64_C(1000)
#define SECOND      (1000 * MS)
#define PORT        21000
#define TOKEN       "a token of some length"
#define SHORT_SEEDS 200u
#define LONG_SEEDS  1000u
#define FAULTY_US   (15 * SECOND)
#define STEADY_US   (12 * SECOND)
#define IDLE_MS     3000u
#define FENCE_MS    2000u
#define SETTLE_MS   8000u
#define PROMISED_MS (3000u + 6000u + 6000u + SETTLE_MS) /* a link, and then the news */
#define BURST       20u

/* What a route node says to itself. */
struct letter {
	struct ob__list link;
	uint32_t sys;
	size_t len;
	uint8_t data[];
};

struct app {
	struct sim_node *sim;
	struct ob__identity self;
	struct ob__streams streams;
	struct ob__stats *stats;
	struct ob__registry registry;
	struct ob__links *links;
	struct ob__router router;
	struct ob__dialer dialer;
	struct ob__directory dir;
	struct ob__dirview view;
	bool has_view;
	bool leaving;
	struct ob__list letters;
	struct ob__timeout timer;
	struct ob__timeout after;
	struct ob__timeout fences;
	uint64_t last_fence;
	struct ob__listener *listener;
	struct ob__listener *local;
	char name[16];
	char path[32];
};

struct message {
	uint32_t from;
	uint32_t to;
	bool steady;
	bool sent;
	bool arrived;
};

struct test {
	uint64_t seed;
	struct sim_world *world;
	uint32_t nodes;
	uint32_t routes;
	struct message *messages;
	size_t messages_len;
	size_t messages_cap;
	uint32_t *last; /* from, to -> the last message that arrived, + 1 */
	struct ob__links_options options;
	uint64_t begin_us; /* of the world's end of faults */
	bool sending;
	bool faulty;
	bool steady;
	bool over;
};

static struct {
	uint64_t messages;
	uint64_t arrived;
	uint64_t forwarded;
	uint64_t unrouted;
	uint64_t wanted;
	uint64_t parted;
	uint64_t fences;
	uint64_t fences_late;
	uint64_t clashes;
	uint64_t stale;
	uint64_t changes;
	uint64_t faults[16];
	uint64_t slowest_us;
	uint64_t leave_us;
	uint64_t death_us;
	struct ob__dir_count out[OB__DIR_KINDS];
	struct sim_counts world;
} counts;

static struct test *test_of(const struct sim_node *n)
{
	return sim_user(n->world);
}

static struct app *app_of(const struct sim_node *n)
{
	return n->user;
}

#define FAIL(t, ...) sim_fail((t)->world, __VA_ARGS__)

static uint64_t now_ms(const struct app *a)
{
	return ob__loop_now(a->sim->loop);
}

static uint32_t index_of(const char *name)
{
	return (uint32_t)atoi(name + 1);
}

/* ---------------------------------------------------------------- directory and view */

static void rearm(struct app *a)
{
	uint64_t next = ob__directory_next(&a->dir);
	uint64_t other = a->has_view ? ob__dirview_next(&a->view) : OB__DIRVIEW_NEVER;
	next = other < next ? other : next;
	if (next == UINT64_MAX) {
		ob__timeout_clear(a->sim->loop, &a->timer);
		return;
	}
	uint64_t now = now_ms(a);
	ob__timeout_set(a->sim->loop, &a->timer, next > now ? next - now : 0);
}

static void on_timer(void *arg)
{
	struct app *a = arg;
	ob__directory_load(&a->dir, (uint32_t)sim_below(a->sim->world, 4));
	ob__directory_tick(&a->dir, now_ms(a));
	if (a->has_view) {
		ob__dirview_tick(&a->view, now_ms(a));
	}
	rearm(a);
}

static int dir_send(void *arg, uint64_t to, uint32_t sys, const uint8_t *data, size_t len)
{
	struct app *a = arg;
	if (to == a->self.id) {
		struct letter *l = malloc(sizeof(*l) + len);
		if (l == NULL) {
			abort();
		}
		l->sys = sys;
		l->len = len;
		if (len > 0) {
			memcpy(l->data, data, len);
		}
		ob__list_init(&l->link);
		ob__list_append(&a->letters, &l->link);
		ob__timeout_set(a->sim->loop, &a->after, 0);
		return 0;
	}
	struct ob__peer *peer = ob__registry_get(&a->registry, to);
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = sys,
		.payload = data,
		.payload_len = (uint32_t)len,
	};
	return peer != NULL ? ob__peer_send(a->links, peer, &f) : OB_E_NOT_SENT;
}

static int dir_receive(struct app *a, uint64_t from, uint32_t sys, const uint8_t *data, size_t len)
{
	int kind = ob__dir_kind(sys);
	if (!ob__dir_kind_for_view((enum ob__dir_kind)kind)) {
		return ob__directory_receive(&a->dir, from, sys, data, len, now_ms(a));
	}
	return a->has_view ? ob__dirview_receive(&a->view, from, sys, data, len, now_ms(a))
	                   : -ENOENT;
}

static void on_after(void *arg)
{
	struct app *a = arg;
	struct ob__list all;
	ob__list_init(&all);
	ob__list_splice(&all, &a->letters);
	while (!ob__list_empty(&all)) {
		struct letter *l = OB__CONTAINER(all.next, struct letter, link);
		int rc = dir_receive(a, a->self.id, l->sys, l->data, l->len);
		if (rc < 0) {
			FAIL(test_of(a->sim), "%s says to itself: %s", a->name, ob__dir_reason(rc));
		}
		ob__list_del(&l->link);
		free(l);
	}
	rearm(a);
}

static bool dir_linked(void *arg, uint64_t id)
{
	struct app *a = arg;
	const struct ob__peer *p = ob__registry_get(&a->registry, id);
	return p != NULL && p->link != NULL;
}

static struct ob__peer *peer_of(struct app *a, const struct ob__member *m)
{
	struct ob__peer *p = ob__registry_get(&a->registry, m->id);
	const struct ob__identity who = {
		.id = m->id,
		.incarnation = m->incarnation,
		.name = m->desc->name,
		.role = m->desc->role,
	};
	int err;
	if (p == NULL || (p->link == NULL && p->who.incarnation != m->incarnation)) {
		p = ob__registry_put(&a->registry, &who, &err);
	}
	if (p == NULL) {
		FAIL(test_of(a->sim), "%s has no room for %s", a->name, who.name);
	}
	return p;
}

static void dir_on_node(void *arg, unsigned change, struct ob__dir_node *n,
                        const struct ob__member *old)
{
	struct app *a = arg;
	struct test *t = test_of(a->sim);
	bool removed = (change & OB__DIR_REMOVED) != 0;
	struct ob__peer *p = removed ? ob__registry_get(&a->registry, n->m.id) : peer_of(a, &n->m);
	(void)old;
	counts.changes++;
	sim_mark(t->world, 50, a->sim->index, change, n->m.incarnation);
	if (p == NULL) {
		return;
	}
	if (t->steady && change != OB__DIR_LOAD && change != OB__DIR_UPDATED) {
		FAIL(t, "%s takes %s for %s though all is well (change %u)", a->name, p->who.name,
		     ob__member_state_word(n->m.state), change);
	}
	ob__registry_set_state(&a->registry, p, n->m.state);
	ob__registry_set_weight(&a->registry, p, n->m.weight);
	p->balance.load = n->m.load;
	if (removed) {
		ob__dialer_gone(&a->dialer, p);
	} else if ((change & (OB__DIR_STATE | OB__DIR_LOAD)) != change) {
		ob__dialer_node(&a->dialer, p, n->m.desc,
		                n->m.desc->role_id == a->router.route_role);
	}
}

static void dir_on_stale(void *arg, bool stale)
{
	const struct app *a = arg;
	counts.stale += stale;
	if (stale && test_of(a->sim)->steady) {
		FAIL(test_of(a->sim), "%s has no route node though all is well", a->name);
	}
}

static void dir_on_clash(void *arg, uint64_t incarnation)
{
	struct app *a = arg;
	uint64_t next = incarnation + 1 + sim_below(a->sim->world, 1000);
	counts.clashes++;
	a->self.incarnation = next;
	a->registry.self.incarnation = next;
	ob__directory_incarnation(&a->dir, next, now_ms(a));
}

static void dir_on_answer(void *arg, uint64_t source, const struct ob__member *m)
{
	(void)arg;
	(void)source;
	(void)m;
}

static const struct ob__directory_ops dir_ops = {
	.send = dir_send,
	.linked = dir_linked,
	.on_node = dir_on_node,
	.on_stale = dir_on_stale,
	.on_clash = dir_on_clash,
	.on_answer = dir_on_answer,
};

static const struct ob__dirview_ops view_ops = {.send = dir_send};

static void describe(struct app *a)
{
	char text[2][OB__MEMBER_ADDRESS];
	const char *addresses[] = {text[0], text[1]};
	struct ob__description *desc;
	snprintf(text[0], sizeof(text[0]), "tcp %s:%d", a->sim->host, PORT);
	snprintf(text[1], sizeof(text[1]), "unix %016" PRIx64 " %s", (uint64_t)a->sim->machine,
	         a->path);
	const struct ob__member_facts facts = {
		.name = a->name,
		.role = a->self.role,
		.addresses = addresses,
		.addresses_len = 2,
	};
	if (ob__description_make(&desc, &facts) != 0) {
		FAIL(test_of(a->sim), "%s can't be described", a->name);
	}
	ob__directory_describe(&a->dir, desc, OB__MEMBER_WEIGHT, false, now_ms(a));
	ob__description_unref(desc);
	rearm(a);
}

static void wanted(void *arg, struct ob__peer *peer)
{
	struct app *a = arg;
	const struct ob__dir_node *n = ob__directory_get(&a->dir, peer->who.id);
	if (n != NULL && !a->leaving) {
		counts.wanted++;
		ob__dialer_want(&a->dialer, peer, n->m.desc);
	}
}

/* ---------------------------------------------------------------- the change of a path */

static void release(struct ob__peer *p)
{
	p->fence = 0;
	ob__peer_release(p);
}

static void on_late(void *arg)
{
	struct app *a = arg;
	uint64_t next = UINT64_MAX;
	OB__LIST_EACH (it, &a->registry.peers) {
		struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (p->fence != 0 && p->fence_until <= now_ms(a)) {
			counts.fences_late++;
			if (test_of(a->sim)->steady) {
				FAIL(test_of(a->sim), "%s: the fence for %s does not come back",
				     a->name, p->who.name);
			}
			release(p);
		} else if (p->fence != 0 && p->fence_until < next) {
			next = p->fence_until;
		}
	}
	if (next != UINT64_MAX) {
		ob__timeout_set(a->sim->loop, &a->fences, next - now_ms(a));
	}
}

static void path_up(struct app *a, struct ob__peer *peer)
{
	struct ob__peer *via = peer->via;
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_FENCE,
		.call = a->last_fence + 1,
		.dst = peer->who.id,
		.hops = OB__FRAME_HOPS,
	};
	if (peer->via_used && via != NULL && via != peer && via->link != NULL &&
	    ob__peer_send(a->links, via, &f) == 0) {
		peer->fence = ++a->last_fence;
		peer->fence_until = now_ms(a) + FENCE_MS;
		counts.fences++;
		ob__peer_hold(peer);
		if (!ob__timeout_armed(&a->fences)) {
			ob__timeout_set(a->sim->loop, &a->fences, FENCE_MS);
		}
	}
	peer->via_used = false;
}

static void path_down(struct app *a, struct ob__peer *peer)
{
	peer->fence = 0;
	OB__LIST_EACH (it, &a->registry.peers) {
		struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (p->fence != 0 && p->via == peer) {
			release(p);
		}
	}
}

static bool fence(struct app *a, struct ob__link *link, const struct ob__frame *f)
{
	struct ob__frame back = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_FENCE_BACK,
		.call = f->call,
		.dst = f->src,
		.hops = OB__FRAME_HOPS,
	};
	if (f->id == OB__SYS_FENCE) {
		if (link->peer->link != NULL) {
			ob__peer_send(a->links, link->peer, &back);
		}
		return true;
	}
	if (f->id != OB__SYS_FENCE_BACK) {
		return false;
	}
	struct ob__peer *p = ob__registry_get(&a->registry, f->src);
	if (p != NULL && p->fence != 0 && p->fence == f->call) {
		release(p);
	}
	return true;
}

/* ---------------------------------------------------------------- messages */

static uint32_t message_new(struct test *t, uint32_t from, uint32_t to)
{
	if (t->messages_len == t->messages_cap) {
		t->messages_cap = t->messages_cap != 0 ? 2 * t->messages_cap : 4096;
		t->messages = realloc(t->messages, t->messages_cap * sizeof(*t->messages));
		if (t->messages == NULL) {
			abort();
		}
	}
	t->messages[t->messages_len] =
		(struct message){.from = from, .to = to, .steady = t->steady};
	counts.messages++;
	return (uint32_t)t->messages_len++;
}

static void send_one(struct app *a, uint32_t to)
{
	struct test *t = test_of(a->sim);
	char name[16];
	snprintf(name, sizeof(name), "n%u", to);
	uint32_t index = message_new(t, a->sim->index, to);
	struct ob__frame f = {
		.kind = OB__FRAME_PUSH,
		.id = 1000,
		.dst = ob__node_id(name),
		.hops = OB__FRAME_HOPS,
		.payload = (const uint8_t *)&index,
		.payload_len = sizeof(index),
	};
	struct ob__route route =
		ob__router_find(&a->router, &(struct ob__route_query){.node = f.dst});
	if (route.kind == OB__ROUTE_PEER && ob__peer_send(a->links, route.peer, &f) == 0) {
		t->messages[index].sent = true;
	} else {
		counts.unrouted++;
	}
	if (t->steady && !t->messages[index].sent) {
		FAIL(t, "%s can't send to n%u though all is well", a->name, to);
	}
}

static void arrived(struct app *a, const struct ob__frame *f)
{
	struct test *t = test_of(a->sim);
	uint32_t index;
	if (f->payload_len != sizeof(index)) {
		FAIL(t, "%s: a payload of %u bytes", a->name, f->payload_len);
	}
	memcpy(&index, f->payload, sizeof(index));
	struct message *m = &t->messages[index];
	if (index >= t->messages_len || m->to != a->sim->index) {
		FAIL(t, "%s gets message %u, which is for another", a->name, index);
	}
	if (m->arrived) {
		FAIL(t, "%s gets message %u twice", a->name, index);
	}
	uint32_t *last = &t->last[(size_t)m->from * t->nodes + m->to];
	if (m->steady && *last > index) {
		FAIL(t, "%s gets message %u of n%u behind %u", a->name, index, m->from, *last - 1);
	}
	*last = index + 1 > *last ? index + 1 : *last;
	m->arrived = true;
	counts.arrived++;
}

static void forward(struct app *a, struct ob__link *l, struct ob__frame *f, uint8_t *raw)
{
	struct ob__route route = {.kind = OB__ROUTE_NONE};
	if (f->hops > 1) {
		route = ob__router_find(&a->router, &(struct ob__route_query){
							    .node = f->dst,
							    .from = l->peer,
						    });
	}
	if (route.kind != OB__ROUTE_PEER) {
		counts.unrouted++;
		return;
	}
	ob__frame_patch_forward(raw, (uint8_t)(f->hops - 1), f->budget, 0, f->dst);
	counts.forwarded += ob__peer_forward(a->links, route.peer, raw, f->len) == 0;
}

static void on_system(struct app *a, struct ob__link *l, struct ob__frame *f)
{
	if (f->dst != 0 || f->src != l->peer->who.id) {
		FAIL(test_of(a->sim), "%s: a frame of the directory was passed on", a->name);
	}
	int rc = dir_receive(a, l->peer->who.id, f->id, f->payload, f->payload_len);
	rearm(a);
	if (rc < 0 && rc != -ENOTCONN) {
		FAIL(test_of(a->sim), "%s: %s: %s", a->name, l->peer->who.name, ob__dir_reason(rc));
	}
}

static void on_frame(void *arg, struct ob__link *l, struct ob__frame *f, uint8_t *raw)
{
	struct app *a = arg;
	if (f->kind == OB__FRAME_SYSTEM && f->dst == a->self.id && fence(a, l, f)) {
		return;
	}
	if (f->kind == OB__FRAME_SYSTEM && ob__dir_kind(f->id) >= 0) {
		on_system(a, l, f);
	} else if (f->dst != a->self.id) {
		forward(a, l, f, raw);
	} else if (f->kind == OB__FRAME_PUSH) {
		arrived(a, f);
	}
}

/* ---------------------------------------------------------------- links */

static void on_up(void *arg, struct ob__peer *peer)
{
	struct app *a = arg;
	sim_mark(a->sim->world, 51, a->sim->index, index_of(peer->who.name), 0);
	path_up(a, peer);
	if (a->has_view && ob__dirview_link_up(&a->view, peer->who.id, peer->who.incarnation,
	                                       peer->who.role_id) < 0) {
		FAIL(test_of(a->sim), "%s can't list %s", a->name, peer->who.name);
	}
	if (peer->who.role_id == a->router.route_role) {
		ob__directory_source_up(&a->dir, peer->who.id, now_ms(a));
	}
	rearm(a);
}

static void on_down(void *arg, struct ob__peer *peer, const char *reason)
{
	struct app *a = arg;
	bool is_route = peer->who.role_id == a->router.route_role;
	sim_mark(a->sim->world, 52, a->sim->index, index_of(peer->who.name), peer->parted);
	counts.parted += peer->parted;
	if (test_of(a->sim)->steady && !peer->parted) {
		FAIL(test_of(a->sim), "%s: %s goes down though all is well (%s)", a->name,
		     peer->who.name, reason);
	}
	path_down(a, peer);
	if (peer->parted && !is_route) {
		ob__dialer_gone(&a->dialer, peer);
	}
	if (a->has_view) {
		ob__dirview_link_down(&a->view, peer->who.id, now_ms(a));
	}
	ob__directory_source_down(&a->dir, peer->who.id, now_ms(a));
	ob__directory_link_down(&a->dir, peer->who.id, now_ms(a));
	const struct ob__dir_node *n = ob__directory_get(&a->dir, peer->who.id);
	if (n != NULL && n->m.incarnation > peer->who.incarnation) {
		peer_of(a, &n->m);
	}
	rearm(a);
}

static void on_gap(void *arg, struct ob__peer *peer)
{
	struct app *a = arg;
	if (a->has_view) {
		ob__dirview_link_gap(&a->view, peer->who.id, now_ms(a));
	}
	if (peer->who.role_id == a->router.route_role) {
		ob__directory_source_up(&a->dir, peer->who.id, now_ms(a));
	}
	rearm(a);
}

static void on_lost(void *arg, struct ob__link *link)
{
	(void)arg;
	(void)link;
}

static void on_drained(void *arg, struct ob__peer *peer)
{
	(void)arg;
	(void)peer;
}

static const struct ob__links_ops link_ops = {
	.on_up = on_up,
	.on_down = on_down,
	.on_frame = on_frame,
	.on_lost = on_lost,
	.on_drained = on_drained,
	.on_gap = on_gap,
};

/* ---------------------------------------------------------------- a node's life */

static void on_caller(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	struct app *a = arg;
	(void)l;
	ob__links_accept(a->links, server);
}

static struct ob__listener *open_listener(struct app *a, const char *path)
{
	char err[128];
	const struct ob__listener_options o = {.host = a->sim->host, .port = PORT, .path = path};
	struct ob__listener *l =
		ob__listener_open(a->sim->loop, &o, on_caller, a, err, sizeof(err));
	if (l == NULL) {
		FAIL(test_of(a->sim), "%s: %s", a->name, err);
	}
	ob__listener_start(l);
	return l;
}

/* One address, of one route node. */
static void dial(struct app *a)
{
	const struct test *t = test_of(a->sim);
	uint32_t to = a->sim->index < t->routes ? 0 : a->sim->index % t->routes;
	const struct ob__remote_options o = {
		.host = sim_node(a->sim->world, to)->host,
		.port = PORT,
	};
	if (to != a->sim->index) {
		ob__links_dial(a->links, &o);
	}
}

static void boot_directory(struct app *a)
{
	const struct ob__dirview_options options = {.settle_ms = SETTLE_MS};
	uint64_t id = a->self.id;
	uint64_t seed = sim_random(a->sim->world);
	ob__list_init(&a->letters);
	ob__timeout_init(&a->timer, on_timer, a);
	ob__timeout_init(&a->after, on_after, a);
	ob__timeout_init(&a->fences, on_late, a);
	a->last_fence = a->self.incarnation;
	ob__dialer_init(&a->dialer, a->sim->loop, a->links, a->sim->machine, IDLE_MS);
	ob__directory_init(&a->dir, id, a->self.incarnation, seed, &dir_ops, a, now_ms(a));
	a->router.wanted = wanted;
	a->router.wanted_arg = a;
	if (a->sim->index < test_of(a->sim)->routes) {
		a->has_view = true;
		ob__dirview_init(&a->view, a->self.incarnation, seed, &options, &view_ops, a,
		                 now_ms(a));
		ob__dirview_link_up(&a->view, id, a->self.incarnation, a->router.route_role);
		ob__directory_source_up(&a->dir, id, now_ms(a));
	}
	describe(a);
}

static void boot(struct sim_node *n)
{
	static const char *const roles[] = {"proxy", "service", "arena"};
	struct test *t = test_of(n);
	struct app *a = calloc(1, sizeof(*a));
	if (a == NULL) {
		abort();
	}
	n->user = a;
	a->sim = n;
	snprintf(a->name, sizeof(a->name), "n%u", n->index);
	snprintf(a->path, sizeof(a->path), "/run/n%u", n->index);
	a->self = (struct ob__identity){
		.id = ob__node_id(a->name),
		.incarnation = n->incarnation,
		.name = a->name,
		.role = n->index < t->routes ? OB__ROLE_ROUTE : roles[n->index % 3],
	};
	a->stats = ob__stats_new();
	ob__streams_init(&a->streams, n->loop);
	ob__registry_init(&a->registry, &a->self);
	ob__router_init(&a->router, &a->registry);
	a->links = ob__links_new(&a->streams, &a->registry, a->stats, &t->options, &link_ops, a);
	if (a->links == NULL) {
		FAIL(t, "%s has no links", a->name);
	}
	n->net = &a->streams;
	a->listener = open_listener(a, NULL);
	a->local = open_listener(a, a->path);
	boot_directory(a);
	dial(a);
}

static void count_messages(const struct app *a)
{
	for (int i = 0; i < OB__DIR_KINDS; i++) {
		counts.out[i].messages += a->dir.counts.out[i].messages;
		counts.out[i].bytes += a->dir.counts.out[i].bytes;
		if (a->has_view) {
			counts.out[i].messages += a->view.counts.out[i].messages;
			counts.out[i].bytes += a->view.counts.out[i].bytes;
		}
	}
}

static void halt(struct sim_node *n)
{
	struct app *a = app_of(n);
	count_messages(a);
	ob__timeout_clear(n->loop, &a->timer);
	ob__timeout_clear(n->loop, &a->after);
	ob__timeout_clear(n->loop, &a->fences);
	ob__listener_close(a->listener);
	ob__listener_close(a->local);
	ob__dialer_free(&a->dialer);
	ob__directory_free(&a->dir);
	ob__dirview_free(&a->view);
	while (!ob__list_empty(&a->letters)) {
		struct letter *l = OB__CONTAINER(a->letters.next, struct letter, link);
		ob__list_del(&l->link);
		free(l);
	}
	ob__links_free(a->links);
	ob__router_free(&a->router);
	while (ob__loop_turn(n->loop) && !ob__list_empty(&a->streams.all)) {
	}
	ob__registry_free(&a->registry);
	ob__streams_free(&a->streams);
	ob__stats_free(a->stats);
	free(a);
}

static const struct sim_ops sim_ops = {.boot = boot, .halt = halt};

/* ---------------------------------------------------------------- traffic */

/* Some messages close behind each other from one node to another, while a link comes up. */
struct burst {
	struct test *t;
	uint32_t from;
	uint32_t to;
	uint32_t left;
};

static void send_burst(void *arg)
{
	struct burst *b = arg;
	uint64_t some = 1 + sim_below(b->t->world, 3);
	for (uint64_t i = 0; i < some && b->left > 0; i++, b->left--) {
		send_one(app_of(sim_node(b->t->world, b->from)), b->to);
	}
}

static void on_burst(void *arg)
{
	struct burst *b = arg;
	if (b->left == 0 || !b->t->sending ||
	    !sim_on(sim_node(b->t->world, b->from), send_burst, b)) {
		free(b);
		return;
	}
	uint64_t latency = sim_options_of(b->t->world)->latency;
	sim_at(b->t->world, sim_below(b->t->world, latency), on_burst, b);
}

static void on_traffic(void *arg)
{
	struct test *t = arg;
	struct burst *b = malloc(sizeof(*b));
	if (b == NULL) {
		abort();
	}
	*b = (struct burst){
		.t = t,
		.from = (uint32_t)sim_below(t->world, t->nodes),
		.to = (uint32_t)sim_below(t->world, t->nodes),
		.left = BURST,
	};
	b->to = b->to != b->from ? b->to : (b->to + 1) % t->nodes;
	on_burst(b);
	if (t->sending) {
		sim_at(t->world, 1 + sim_below(t->world, 50 * MS), on_traffic, t);
	}
}

/* ---------------------------------------------------------------- faults */

struct cut {
	struct test *t;
	uint32_t from;
	uint32_t to;
};

static void on_cut_over(void *arg)
{
	struct cut *cut = arg;
	if (!cut->t->over) {
		sim_block(cut->t->world, cut->from, cut->to, false);
	}
	free(cut);
}

static void cut(struct test *t, uint32_t from, uint32_t to, uint64_t us)
{
	struct cut *c = malloc(sizeof(*c));
	if (c == NULL) {
		abort();
	}
	*c = (struct cut){.t = t, .from = from, .to = to};
	sim_block(t->world, from, to, true);
	sim_at(t->world, us, on_cut_over, c);
}

static void partition(struct test *t, uint64_t us)
{
	uint8_t in[SIM_NODES_MAX];
	bool both = sim_chance(t->world, 600);
	for (uint32_t i = 0; i < t->nodes; i++) {
		in[i] = sim_chance(t->world, 400);
	}
	for (uint32_t i = 0; i < t->nodes; i++) {
		for (uint32_t k = 0; k < t->nodes; k++) {
			if ((in[i] && !in[k]) || (both && !in[i] && in[k])) {
				cut(t, i, k, us);
			}
		}
	}
}

static void on_restart(void *arg)
{
	struct sim_node *n = arg;
	if (!test_of(n)->over) {
		sim_boot(n);
	}
}

enum fault {
	F_PAUSE,
	F_JUMP,
	F_RESET_BOTH,
	F_RESET_ONE,
	F_STALL_ONE_WAY,
	F_STALL,
	F_PARTITION,
	F_CRASH_PROCESS,
	F_CRASH_MACHINE,
	F_END,
};

static void crash(struct test *t, struct sim_node *n, enum sim_crash how, uint64_t us)
{
	sim_crash(n, how);
	sim_at(t->world, sim_chance(t->world, 400) ? us : us / 20, on_restart, n);
}

/* Route nodes have their share of it whatever their number. */
static struct sim_node *choose(struct test *t)
{
	uint32_t most = sim_chance(t->world, 250) ? t->routes : t->nodes;
	return sim_node(t->world, (uint32_t)sim_below(t->world, most));
}

static void one_fault(struct test *t, enum fault fault)
{
	struct sim_node *n = choose(t);
	struct sim_node *m = choose(t);
	uint64_t us =
		1 * MS + sim_below(t->world, sim_chance(t->world, 500) ? 1 * SECOND : 9 * SECOND);
	counts.faults[fault]++;
	switch (fault) {
	case F_PAUSE:
		sim_pause(n, us);
		break;
	case F_JUMP:
		sim_jump(n, us);
		break;
	case F_RESET_BOTH:
	case F_RESET_ONE:
		sim_reset(n, m, fault == F_RESET_BOTH);
		break;
	case F_STALL_ONE_WAY:
		cut(t, n->index, m->index, us);
		break;
	case F_STALL:
		cut(t, n->index, m->index, us);
		cut(t, m->index, n->index, us);
		break;
	case F_PARTITION:
		partition(t, us);
		break;
	case F_CRASH_PROCESS:
		crash(t, n, SIM_CRASH_PROCESS, us);
		break;
	case F_CRASH_MACHINE:
		crash(t, n, SIM_CRASH_MACHINE, us);
		break;
	case F_END:
		break;
	}
}

static void on_fault(void *arg)
{
	struct test *t = arg;
	if (!t->faulty) {
		return;
	}
	enum fault fault = (enum fault)sim_below(t->world, F_END);
	if (fault == F_PARTITION && (t->nodes > 100 || sim_chance(t->world, 700))) {
		fault = F_CRASH_PROCESS;
	}
	one_fault(t, fault);
	sim_at(t->world, sim_below(t->world, 800 * MS), on_fault, t);
}

/* ---------------------------------------------------------------- what must hold */

static bool knows(struct test *t, uint32_t i, uint32_t k, bool fail)
{
	struct app *a = app_of(sim_node(t->world, i));
	const struct app *b = app_of(sim_node(t->world, k));
	const struct ob__dir_node *n = ob__directory_get(&a->dir, b->self.id);
	if (n != NULL && n->m.state == OB__MEMBER_UP && n->m.incarnation == b->self.incarnation) {
		return true;
	}
	if (fail) {
		FAIL(t, "%s takes %s for %s, %u ms behind the last fault", a->name, b->name,
		     n == NULL ? "unknown" : ob__member_state_word(n->m.state), 10 * PROMISED_MS);
	}
	return false;
}

/* Everybody but `gone` lists everybody else but that one, and has a link with each route node. */
static bool agreed(struct test *t, uint32_t gone, bool fail)
{
	for (uint32_t i = 0; i < t->nodes; i++) {
		struct app *a = i != gone ? app_of(sim_node(t->world, i)) : NULL;
		size_t least = t->nodes - 1 - (gone < t->nodes ? 1 : 0);
		for (uint32_t k = 0; a != NULL && k < t->nodes; k++) {
			if (k != i && k != gone && !knows(t, i, k, fail)) {
				return false;
			}
		}
		for (uint32_t r = 0; a != NULL && r < t->routes; r++) {
			uint64_t id = app_of(sim_node(t->world, r))->self.id;
			if (r != i && !dir_linked(a, id)) {
				return !fail ? false
				             : (FAIL(t, "%s has no link with n%u", a->name, r),
				                false);
			}
		}
		if (a != NULL && a->dir.count != least) {
			return !fail ? false
			             : (FAIL(t, "%s lists %zu nodes", a->name, a->dir.count),
			                false);
		}
	}
	return true;
}

static uint64_t until_agreed(struct test *t, uint32_t gone, uint64_t most_ms)
{
	uint64_t begin = sim_now_us(t->world);
	while (!agreed(t, gone, false) && sim_now_us(t->world) - begin < most_ms * MS) {
		sim_run(t->world, 50 * MS);
	}
	agreed(t, gone, true);
	return sim_now_us(t->world) - begin;
}

static void note_slowest(uint64_t *slowest, uint64_t us)
{
	*slowest = us > *slowest ? us : *slowest;
}

static void check_steady(struct test *t, size_t from)
{
	for (size_t i = from; i < t->messages_len; i++) {
		const struct message *m = &t->messages[i];
		if (!m->arrived) {
			FAIL(t, "message %zu from n%u to n%u is lost though all is well", i,
			     m->from, m->to);
		}
	}
}

static void leave(void *arg)
{
	struct app *a = arg;
	a->leaving = true;
	ob__directory_leave(&a->dir, now_ms(a));
	rearm(a);
}

/* One says goodbye and ends; it comes back; then its process dies without a word. */
static void go(struct test *t)
{
	uint32_t who = t->routes + (uint32_t)sim_below(t->world, t->nodes - t->routes);
	struct sim_node *n = sim_node(t->world, who);
	sim_on(n, leave, n->user);
	sim_run(t->world, 200 * MS);
	sim_crash(n, SIM_CRASH_PROCESS);
	note_slowest(&counts.leave_us, until_agreed(t, who, 1000));
	sim_boot(n);
	until_agreed(t, UINT32_MAX, 10 * PROMISED_MS);
	sim_crash(n, SIM_CRASH_MACHINE);
	note_slowest(&counts.death_us, until_agreed(t, who, 10 * PROMISED_MS));
	sim_boot(n);
	until_agreed(t, UINT32_MAX, 10 * PROMISED_MS);
}

static void live(struct sim_world *w)
{
	struct test *t = sim_user(w);
	t->sending = true;
	t->faulty = true;
	for (uint32_t i = 0; i < t->nodes; i++) {
		sim_boot(sim_node(t->world, i));
	}
	on_traffic(t);
	sim_at(t->world, sim_below(t->world, 2 * SECOND), on_fault, t);
	sim_run(t->world, FAULTY_US);
	t->faulty = false;
	t->over = true;
	sim_heal(t->world);
	note_slowest(&counts.slowest_us, until_agreed(t, UINT32_MAX, 10 * PROMISED_MS));
	sim_run(t->world, 15 * SECOND); /* links whose other end is gone are noticed */
	t->steady = true;
	size_t from = t->messages_len;
	sim_run(t->world, STEADY_US);
	t->sending = false;
	sim_run(t->world, 3 * SECOND);
	check_steady(t, from);
	agreed(t, UINT32_MAX, true);
	t->steady = false;
	go(t);
}

/* ---------------------------------------------------------------- all seeds */

static uint32_t choose_nodes(uint64_t seed, bool big)
{
	if (!big || seed % 20 != 0) {
		return 30;
	}
	return seed % 500 == 0 ? 1000 : seed % 100 == 0 ? 300 : 100;
}

static struct sim_world *set_up(const struct sim_run *run)
{
	static struct test test;
	static const uint64_t latencies[] = {100, 1000, 30000};
	struct test *t = &test;
	test = (struct test){.seed = run->seed};
	t->nodes = choose_nodes(t->seed, run->big);
	t->routes = 1 + (uint32_t)(t->seed % 3);
	struct sim_options o = {
		.seed = t->seed,
		.nodes = t->nodes,
		.loud = run->loud,
		.latency = latencies[t->seed % 3],
		.cut_in_16 = t->seed % 4,
	};
	t->world = sim_new(&o, &sim_ops, t);
	t->options = (struct ob__links_options){.token = TOKEN};
	t->last = calloc((size_t)t->nodes * t->nodes, sizeof(*t->last));
	if (t->last == NULL) {
		abort();
	}
	for (uint32_t i = 0; t->seed % 2 == 0 && i < t->nodes; i++) {
		sim_node(t->world, i)->machine = i / 3 * 3;
	}
	return t->world;
}

static void tear_down(struct sim_world *w)
{
	struct test *t = sim_user(w);
	const struct sim_counts *c = sim_counts(w);
	counts.world.events += c->events;
	counts.world.connections += c->connections;
	t->over = true;
	sim_free(w);
	free(t->messages);
	free(t->last);
}

static void show_counts(uint64_t seeds, double seconds)
{
	static const char *const faults[] = {
		"pause", "jump",      "reset",        "reset at one end", "stall one way",
		"stall", "partition", "process dies", "machine dies",
	};
	printf("# %" PRIu64 " seeds in %.1f s: %" PRIu64 " events, %" PRIu64 " connections\n",
	       seeds, seconds, counts.world.events, counts.world.connections);
	printf("# %" PRIu64 " messages, %" PRIu64 " arrived, %" PRIu64 " passed on, %" PRIu64
	       " without a way; links wanted %" PRIu64 ", ended idle %" PRIu64 "; fences %" PRIu64
	       ", late %" PRIu64 "\n",
	       counts.messages, counts.arrived, counts.forwarded, counts.unrouted, counts.wanted,
	       counts.parted, counts.fences, counts.fences_late);
	printf("# faults:");
	for (int i = 0; i < F_END; i++) {
		printf(" %s %" PRIu64 "%s", faults[i], counts.faults[i],
		       i + 1 < F_END ? "," : "\n");
	}
	printf("# changes of the directories %" PRIu64 ", stale %" PRIu64 ", clashes %" PRIu64
	       "; sent:",
	       counts.changes, counts.stale, counts.clashes);
	for (int i = 0; i < OB__DIR_KINDS; i++) {
		printf(" %s %" PRIu64 " (%" PRIu64 " bytes)%s",
		       ob__dir_kind_word((enum ob__dir_kind)i), counts.out[i].messages,
		       counts.out[i].bytes, i + 1 < OB__DIR_KINDS ? "," : "\n");
	}
	printf("# slowest: healing %.1f s of %.1f s allowed, a leave %.2f s of 1, a death %.1f s\n",
	       (double)counts.slowest_us / 1e6, 10 * PROMISED_MS / 1e3,
	       (double)counts.leave_us / 1e6, (double)counts.death_us / 1e6);
}

static bool covered(void)
{
	bool all = counts.forwarded > 0 && counts.wanted > 0 && counts.parted > 0 &&
	           counts.fences > 0 && counts.fences_late > 0 && counts.stale > 0;
	for (int i = 0; i < F_END; i++) {
		all = all && counts.faults[i] > 0;
	}
	return all;
}

/* Those that once failed. */
static const uint64_t found[] = {
	212, /* a path that was being left broke: what was said on it at link-up was lost */
};

int main(int argc, char **argv)
{
	static const struct sim_seeds seeds = {
		.program = "mesh_cluster",
		.short_seeds = SHORT_SEEDS,
		.long_seeds = LONG_SEEDS,
		.found = found,
		.found_len = sizeof(found) / sizeof(found[0]),
		.set_up = set_up,
		.live = live,
		.tear_down = tear_down,
		.show = show_counts,
		.covered = covered,
	};
	return sim_seeds(&seeds, argc, argv);
}
