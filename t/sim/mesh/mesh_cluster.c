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
 * The nodes are the host's own (t/sim/mesh/vnode.h).  Each knows the address of one route node, and
 * has one client.  Nodes send numbered messages to each other's clients, through a route node at
 * first, over a link of their own then, and through a route node again when that has been idle.
 * Faults happen; then all is well again.  What must hold:
 *
 * - a message arrives at its node, and at most once;
 * - when all is well again, every node lists every other one, up, in its present life, within ten
 *   times what the timers promise, and nobody else, and has the same in mind when it sends;
 * - while all is well nobody is taken for suspect, dead or replaced by anybody, every message
 *   arrives, and those from one node to another in their order, whatever way they take;
 * - who leaves is gone for all at once, who dies within ten times what the timers promise;
 * - nobody says what another finds wrong;
 * - nothing is left when a node goes.
 *
 * What the mesh and the directory tell the host passes through here, and is checked on its way.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/message/dispatch.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "mesh/link_priv.h"
#include "t/sim/mesh/chaos.h"
#include "t/sim/mesh/seeds.h"
#include "t/sim/mesh/vnode.h"

#define MS          UINT64_C(1000)
#define SECOND      (1000 * MS)
#define SHORT_SEEDS 200u
#define LONG_SEEDS  1000u
#define FAULTY_US   (15 * SECOND)
#define STEADY_US   (12 * SECOND)
#define PROMISED_MS (3000u + 6000u + 6000u + 8000u) /* a link, and then the news */
#define BURST       20u
#define PUSH_ID     1000u
#define WORK_ID     1001u

struct message {
	uint32_t from;
	uint32_t to;
	bool steady;
	bool sent;
	bool arrived;
};

struct client {
	uint64_t node; /* its id */
	uint64_t conn;
	uint64_t seq; /* of its session, or of the one before when its node is down */
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
	struct client clients[SIM_NODES_MAX];
	struct chaos chaos;
	bool sending;
	bool steady;
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
	uint64_t loads;
	uint64_t faults[CHAOS_END];
	uint64_t slowest_us;
	uint64_t leave_us;
	uint64_t death_us;
	struct ob__dir_count out[OB__DIR_KINDS];
	struct sim_counts world;
} counts;

#define FAIL(t, ...) sim_fail((t)->world, __VA_ARGS__)

static struct test *test_of(const struct vnode *v)
{
	return sim_user(v->sim->world);
}

static struct vnode *from_node(struct ob__node *node)
{
	return (struct vnode *)node;
}

static uint32_t index_of(const char *name)
{
	return (uint32_t)atoi(name + 1);
}

/* ---------------------------------------------------------------- what the host is told */

/* Whom it would be told by otherwise: the same in all nodes. */
static struct {
	struct ob__links_ops links;
	const struct ob__directory_ops *dir;
	ob__route_wanted wanted;
} host;

static void on_node(void *arg, unsigned change, struct ob__dir_node *n,
                    const struct ob__member *old)
{
	struct ob__node *node = arg;
	struct test *t = test_of(from_node(node));
	counts.changes++;
	counts.loads += change == OB__DIR_LOAD;
	sim_mark(t->world, 50, from_node(node)->sim->index, change, n->m.incarnation);
	host.dir->on_node(arg, change, n, old);
	const struct ob__peer *p = ob__registry_get(&node->registry, n->m.id);
	if (p == NULL && (change & OB__DIR_REMOVED) == 0) {
		FAIL(t, "%s has no room for %s", node->name, n->m.desc->name);
	}
	if (t->steady && p != NULL && change != OB__DIR_LOAD && change != OB__DIR_UPDATED) {
		FAIL(t, "%s takes %s for %s though all is well (change %u)", node->name,
		     p->who.name, ob__member_state_word(n->m.state), change);
	}
}

static void on_stale(void *arg, bool stale)
{
	struct ob__node *node = arg;
	const struct test *t = test_of(from_node(node));
	counts.stale += stale;
	if (stale && t->steady) {
		FAIL(t, "%s has no route node though all is well", node->name);
	}
	host.dir->on_stale(arg, stale);
}

static void on_clash(void *arg, uint64_t incarnation)
{
	counts.clashes++;
	host.dir->on_clash(arg, incarnation);
}

static void on_wanted(void *arg, struct ob__peer *peer)
{
	struct ob__node *node = arg;
	counts.wanted += ob__directory_get(&node->cluster.dir, peer->who.id) != NULL &&
	                 !node->cluster.leaving;
	host.wanted(arg, peer);
}

static void on_up(void *arg, struct ob__peer *peer)
{
	const struct ob__node *node = arg;
	struct test *t = test_of(from_node(arg));
	sim_mark(t->world, 51, from_node(arg)->sim->index, index_of(peer->who.name), 0);
	host.links.on_up(arg, peer);
	if (node->cluster.has_view &&
	    ob__map_get(&node->cluster.view.links, peer->who.id, 0) == NULL) {
		FAIL(t, "%s can't list %s", node->name, peer->who.name);
	}
}

static void on_down(void *arg, struct ob__peer *peer, const char *reason)
{
	struct ob__node *node = arg;
	struct test *t = test_of(from_node(node));
	sim_mark(t->world, 52, from_node(node)->sim->index, index_of(peer->who.name), peer->parted);
	counts.parted += peer->parted;
	if (t->steady && !peer->parted) {
		FAIL(t, "%s: %s goes down though all is well (%s)", node->name, peer->who.name,
		     reason);
	}
	host.links.on_down(arg, peer, reason);
}

static void on_frame(void *arg, struct ob__link *l, struct ob__frame *f, uint8_t *raw)
{
	const struct ob__node *node = arg;
	const struct test *t = test_of(from_node(arg));
	const struct ob__peer *peer = l->peer;
	if (f->kind == OB__FRAME_SYSTEM && ob__dir_kind(f->id) >= 0 &&
	    (f->dst != 0 || f->src != peer->who.id)) {
		FAIL(t, "%s: a frame of the directory was passed on", node->name);
	}
	host.links.on_frame(arg, l, f, raw);
	if (l->state == OB__LINK_CLOSED) {
		FAIL(t, "%s: %s: %s", node->name, peer->who.name, l->reason);
	}
}

static void listen_in(struct ob__node *node)
{
	static struct ob__directory_ops dir;
	host.links = node->links->ops;
	host.dir = node->cluster.dir.ops;
	host.wanted = node->router.wanted;
	node->links->ops.on_up = on_up;
	node->links->ops.on_down = on_down;
	node->links->ops.on_frame = on_frame;
	dir = *host.dir;
	dir.on_node = on_node;
	dir.on_stale = on_stale;
	dir.on_clash = on_clash;
	node->cluster.dir.ops = &dir;
	node->router.wanted = on_wanted;
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

static void send_one(struct vnode *v, uint32_t to)
{
	struct test *t = test_of(v);
	const struct client *c = &t->clients[to];
	uint32_t index = message_new(t, v->sim->index, to);
	struct ob__frame f = {
		.kind = OB__FRAME_PUSH,
		.flags = OB__FRAME_ONE_WAY,
		.id = PUSH_ID,
		.session_node = c->node,
		.session_seq = c->seq,
		.payload = (const uint8_t *)&index,
		.payload_len = sizeof(index),
	};
	t->messages[index].sent = ob__send_to_node(&v->node, c->node, &f) == 0;
	counts.unrouted += !t->messages[index].sent;
	if (t->steady && !t->messages[index].sent) {
		FAIL(t, "%s can't send to n%u though all is well", v->node.name, to);
	}
}

static void on_push(struct vnode *v, void *user, uint32_t id, const uint8_t *data, size_t len)
{
	struct test *t = test_of(v);
	uint32_t index;
	(void)user;
	if (id != PUSH_ID || len != sizeof(index)) {
		FAIL(t, "%s: a payload of %zu bytes", v->node.name, len);
	}
	memcpy(&index, data, sizeof(index));
	if (index >= t->messages_len || t->messages[index].to != v->sim->index) {
		FAIL(t, "%s gets message %u, which is for another", v->node.name, index);
	}
	struct message *m = &t->messages[index];
	if (m->arrived) {
		FAIL(t, "%s gets message %u twice", v->node.name, index);
	}
	uint32_t *last = &t->last[(size_t)m->from * t->nodes + m->to];
	if (m->steady && *last > index) {
		FAIL(t, "%s gets message %u of n%u behind %u", v->node.name, index, m->from,
		     *last - 1);
	}
	*last = index + 1 > *last ? index + 1 : *last;
	m->arrived = true;
	counts.arrived++;
}

/* ---------------------------------------------------------------- load */

static void on_reply(struct vnode *v, void *user, uint64_t cookie, int code, const uint8_t *data,
                     size_t len)
{
	(void)v;
	(void)user;
	(void)cookie;
	(void)code;
	(void)data;
	(void)len;
}

static void on_closed(struct vnode *v, void *user, uint16_t code)
{
	(void)v;
	(void)user;
	(void)code;
}

static const struct vnode_ops vnode_ops = {
	.on_reply = on_reply,
	.on_push = on_push,
	.on_closed = on_closed,
};

static void on_work(ob_ctx *ctx, ob_req req)
{
	struct vnode *v = vnode_of_ctx(ctx);
	if (ob__req_hold(ob__req_get(&v->node, req)) != 0) {
		FAIL(test_of(v), "%s can't hold a request", v->node.name);
	}
}

/* The client asks for something, or all it has asked for ends. */
static void change_load(struct vnode *v)
{
	if (sim_chance(v->sim->world, 300)) {
		ob__dispatch_refuse_held(v->gen, "it was enough");
	} else {
		vnode_send(v, test_of(v)->clients[v->sim->index].conn, WORK_ID, 0, "", 0);
	}
}

/* ---------------------------------------------------------------- a node's life */

static void connect_client(struct vnode *v)
{
	struct client *c = &test_of(v)->clients[v->sim->index];
	c->node = v->node.self.id;
	c->conn = vnode_connect(v, NULL);
	const struct ob__conn *conn = ob__conn_get(&v->node, c->conn);
	if (conn == NULL) {
		FAIL(test_of(v), "%s takes no client", v->node.name);
	}
	c->seq = conn->session->seq;
}

/* One address, of one route node. */
static void boot(struct sim_node *n)
{
	static const char *const roles[] = {"proxy", "service", "arena"};
	const struct test *t = sim_user(n->world);
	bool is_route = n->index < t->routes;
	uint32_t to = is_route ? 0 : n->index % t->routes;
	struct vnode *v = vnode_new(n, is_route ? OB__ROLE_ROUTE : roles[n->index % 3], &vnode_ops);
	vnode_start(v);
	if (v->node.cluster.near_listener == NULL) {
		FAIL(t, "%s has no socket for its neighbours", v->node.name);
	}
	listen_in(&v->node);
	vnode_handler(v, OB__SLOT_CLIENT_ID, WORK_ID, NULL, on_work);
	connect_client(v);
	if (to != n->index) {
		vnode_dial(v, sim_node(n->world, to), NULL);
	}
}

static uint64_t take(uint64_t *counter)
{
	uint64_t n = *counter;
	*counter = 0;
	return n;
}

static void take_counts(struct ob__node *node)
{
	const struct ob__cluster *c = &node->cluster;
	counts.forwarded += take(node->dispatch.forwarded);
	counts.unrouted += take(node->dispatch.pushes_lost);
	counts.fences += take(c->fences_sent);
	counts.fences_late += take(c->fences_late);
}

static void halt(struct sim_node *n)
{
	struct vnode *v = vnode_of(n);
	const struct ob__cluster *c = &v->node.cluster;
	for (int i = 0; i < OB__DIR_KINDS; i++) {
		counts.out[i].messages += c->dir.counts.out[i].messages;
		counts.out[i].bytes += c->dir.counts.out[i].bytes;
		counts.out[i].messages += c->view.counts.out[i].messages;
		counts.out[i].bytes += c->view.counts.out[i].bytes;
	}
	take_counts(&v->node);
	vnode_halt(v);
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
	struct vnode *v = vnode_of(sim_node(b->t->world, b->from));
	uint64_t some = 1 + sim_below(b->t->world, 3);
	for (uint64_t i = 0; i < some && b->left > 0; i++, b->left--) {
		send_one(v, b->to);
	}
	if (sim_chance(b->t->world, 200)) {
		change_load(v);
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

/* ---------------------------------------------------------------- what must hold */

static struct ob__node *node_of(const struct test *t, uint32_t i)
{
	return &vnode_of(sim_node(t->world, i))->node;
}

static bool knows(struct test *t, uint32_t i, uint32_t k, bool fail)
{
	const struct ob__node *a = node_of(t, i);
	const struct ob__node *b = node_of(t, k);
	const struct ob__dir_node *n = ob__directory_get(&a->cluster.dir, b->self.id);
	const struct ob__peer *p = ob__registry_get(&a->registry, b->self.id);
	bool listed =
		n != NULL && n->m.state == OB__MEMBER_UP && n->m.incarnation == b->self.incarnation;
	bool met =
		p != NULL && p->state == OB__MEMBER_UP && p->who.incarnation == b->self.incarnation;
	if (!listed && fail) {
		FAIL(t, "%s takes %s for %s, %u ms behind the last fault", a->name, b->name,
		     n == NULL ? "unknown" : ob__member_state_word(n->m.state), 10 * PROMISED_MS);
	}
	if (!met && fail) {
		FAIL(t, "%s has another life of %s in mind than it lists", a->name, b->name);
	}
	return listed && met;
}

static bool is_linked(const struct ob__node *a, const struct ob__node *b)
{
	const struct ob__peer *p = ob__registry_get(&a->registry, b->self.id);
	return p != NULL && p->link != NULL;
}

/* Everybody but `gone` lists everybody else but that one, and has a link with each route node. */
static bool agreed_on(struct test *t, uint32_t i, uint32_t gone, bool fail)
{
	const struct ob__node *a = node_of(t, i);
	size_t least = t->nodes - 1 - (gone < t->nodes ? 1 : 0);
	for (uint32_t k = 0; k < t->nodes; k++) {
		if (k != i && k != gone && !knows(t, i, k, fail)) {
			return false;
		}
	}
	for (uint32_t r = 0; r < t->routes; r++) {
		if (r != i && !is_linked(a, node_of(t, r))) {
			if (fail) {
				FAIL(t, "%s has no link with n%u", a->name, r);
			}
			return false;
		}
	}
	if (a->cluster.dir.count != least && fail) {
		FAIL(t, "%s lists %zu nodes", a->name, a->cluster.dir.count);
	}
	return a->cluster.dir.count == least;
}

static bool agreed(struct test *t, uint32_t gone, bool fail)
{
	for (uint32_t i = 0; i < t->nodes; i++) {
		if (i != gone && !agreed_on(t, i, gone, fail)) {
			return false;
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

static void check_fences(struct test *t)
{
	for (uint32_t i = 0; i < t->nodes; i++) {
		const struct ob__node *node = node_of(t, i);
		if (*node->cluster.fences_late > 0) {
			FAIL(t, "%s: a fence does not come back though all is well", node->name);
		}
	}
}

static void leave(void *arg)
{
	struct vnode *v = arg;
	ob__cluster_leave(&v->node);
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
	for (uint32_t i = 0; i < t->nodes; i++) {
		sim_boot(sim_node(t->world, i));
	}
	on_traffic(t);
	chaos_begin(&t->chaos);
	sim_run(t->world, FAULTY_US);
	chaos_end(&t->chaos);
	note_slowest(&counts.slowest_us, until_agreed(t, UINT32_MAX, 10 * PROMISED_MS));
	sim_run(t->world, 15 * SECOND); /* links whose other end is gone are noticed */
	for (uint32_t i = 0; i < t->nodes; i++) {
		take_counts(node_of(t, i));
	}
	t->steady = true;
	size_t from = t->messages_len;
	sim_run(t->world, STEADY_US);
	t->sending = false;
	sim_run(t->world, 3 * SECOND);
	check_steady(t, from);
	check_fences(t);
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
	t->chaos = (struct chaos){
		.world = t->world,
		.every_us = 400 * MS,
		.few = t->routes,
		.counts = counts.faults,
	};
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
	chaos_stop(&t->chaos);
	sim_free(w);
	free(t->messages);
	free(t->last);
}

static void show_counts(uint64_t seeds, double seconds)
{
	printf("# %" PRIu64 " seeds in %.1f s: %" PRIu64 " events, %" PRIu64 " connections\n",
	       seeds, seconds, counts.world.events, counts.world.connections);
	printf("# %" PRIu64 " messages, %" PRIu64 " arrived, %" PRIu64 " passed on, %" PRIu64
	       " without a way; links wanted %" PRIu64 ", ended idle %" PRIu64 "; fences %" PRIu64
	       ", late %" PRIu64 "\n",
	       counts.messages, counts.arrived, counts.forwarded, counts.unrouted, counts.wanted,
	       counts.parted, counts.fences, counts.fences_late);
	chaos_show(counts.faults);
	printf("# changes of the directories %" PRIu64 ", of load %" PRIu64 ", stale %" PRIu64
	       ", clashes %" PRIu64 "; sent:",
	       counts.changes, counts.loads, counts.stale, counts.clashes);
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
	           counts.fences > 0 && counts.fences_late > 0 && counts.stale > 0 &&
	           counts.loads > 0;
	return all && chaos_met_all(counts.faults);
}

int main(int argc, char **argv)
{
	static const struct sim_seeds seeds = {
		.program = "mesh_cluster",
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
