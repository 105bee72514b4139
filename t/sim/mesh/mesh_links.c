/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Links, routes and pending requests of many nodes under faults (t/sim/mesh/world.h).
 *
 *     mesh_links          200 seeds of 30 nodes; with OB_LONG=1 in the environment 1000, some of
 *                         them of 60, 120 and 240
 *     mesh_links SEED, mesh_links A B      see t/sim/mesh/seeds.h
 *
 * The nodes dial each other as their seed's topology says, send numbered messages and requests to
 * nodes at random, directly or by a route node, and pass on what is for others, as the host does.
 * Faults happen; then all is well again.  What must hold at any time:
 *
 * - a message arrives at its node, in the incarnation of each hop that it was sent to, at most
 *   once, whole, and behind those that took the same path before it;
 * - each request ends exactly once, by its deadline; the answer it gets is its own; where the end
 * is NOT_SENT the next node has never had it and never will;
 * - of two nodes' links at most one is UP at either end, and that one is the path;
 * - queues keep their bounds;
 * - when all is well again, every configured link is up within ten times what its timers promise,
 *   both ends have the same one, with the right incarnation, and none closes any more;
 * - nothing is left when a node goes.
 */

#include "mesh/link.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "lib/many.h"
#include "mesh/link_priv.h"
#include "mesh/pending.h"
#include "mesh/router.h"
#include "t/sim/mesh/seeds.h"

#define MS          UINT64_C(1000)
#define SECOND      (1000 * MS)
#define PORT        21000
#define TOKEN       "a token of some length"
#define SHORT_SEEDS 200u
#define LONG_SEEDS  1000u
#define FAULTY_US   (20 * SECOND)
#define PROMISED_MS (3000u + 6000u + 6000u) /* handshake, silence, longest pause and its jitter */
#define TICK_MS     10u
#define BUDGET_MAX  4000u
#define NOBODY      UINT32_MAX

struct app {
	struct sim_node *sim;
	struct ob__identity self;
	struct ob__streams streams;
	struct ob__stats *stats;
	struct ob__registry registry;
	struct ob__links *links;
	struct ob__router router;
	struct ob__pendings pendings;
	struct ob__listener *listener;
	struct ob__listener *local;
	uint64_t turns;
	char name[16];
	char path[32];
};

enum kind { PUSH, REQUEST };

/* What the world knows of a message. */
struct message {
	uint32_t from;
	uint32_t to;
	uint64_t incarnation; /* of the sender */
	uint64_t next_hop;    /* index + 1 of the node it was given to */
	uint64_t until_ms;    /* by the sender's clock */
	enum kind kind;
	bool met; /* some other node has had it */
	bool arrived;
	bool ended;
	bool busy; /* a queue on its way was full */
	bool lost; /* its sender has died */
	int code;
};

/* In front of each payload.  A hop writes down to whom it sends and folds its path into `path`. */
struct note {
	uint32_t index;
	uint32_t hop_to;
	uint64_t hop_incarnation;
	uint64_t path;
	uint32_t fill; /* bytes behind the note */
	uint32_t reply;
};

struct edge {
	uint32_t from;
	uint32_t to;
	enum { BY_ADDRESS, BY_NAME, BY_PATH } by;
};

struct order {
	uint64_t key;
	uint32_t last;
};

struct test {
	uint64_t seed;
	struct sim_world *world;
	uint32_t nodes;
	uint32_t routes; /* the first so many nodes have the role route */
	struct edge *edges;
	size_t edges_len;
	struct message *messages;
	size_t messages_len;
	size_t messages_cap;
	struct order *orders;
	size_t orders_len;
	size_t orders_cap; /* a power of two */
	struct ob__links_options options;
	uint64_t pace_us; /* between messages */
	uint32_t aim;     /* whom the next message is for; NOBODY: chance says */
	bool sending;
	bool faulty;
	bool steady; /* no link may close */
	bool over;
};

static struct {
	uint64_t messages;
	uint64_t arrived;
	uint64_t requests;
	uint64_t forwarded;
	uint64_t rows; /* frames with several of them */
	uint64_t ok;
	uint64_t deadline;
	uint64_t not_sent;
	uint64_t maybe_sent;
	uint64_t busy;
	uint64_t unrouted;
	uint64_t closes[OB__LINK_REASONS];
	uint64_t fenced;
	uint64_t stale;
	uint64_t faults[16];
	uint64_t slowest_us; /* until all links were up again */
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

/* ---------------------------------------------------------------- order */

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static struct order *order_slot(struct order *orders, size_t cap, uint64_t key)
{
	size_t i = key & (cap - 1);
	while (orders[i].key != 0 && orders[i].key != key) {
		i = (i + 1) & (cap - 1);
	}
	return &orders[i];
}

static struct order *order_of(struct test *t, uint64_t key)
{
	if (2 * (t->orders_len + 1) > t->orders_cap) {
		size_t cap = t->orders_cap != 0 ? 2 * t->orders_cap : 4096;
		struct order *orders = calloc(cap, sizeof(*orders));
		if (orders == NULL) {
			abort();
		}
		for (size_t i = 0; i < t->orders_cap; i++) {
			if (t->orders[i].key != 0) {
				*order_slot(orders, cap, t->orders[i].key) = t->orders[i];
			}
		}
		free(t->orders);
		t->orders = orders;
		t->orders_cap = cap;
	}
	struct order *o = order_slot(t->orders, t->orders_cap, key);
	if (o->key == 0) {
		o->key = key;
		t->orders_len++;
	}
	return o;
}

/* ---------------------------------------------------------------- sending */

static uint32_t index_of(const struct ob__peer *peer)
{
	return (uint32_t)atoi(peer->who.name + 1);
}

/* Notes the next hop in a payload that is about to be sent to `peer`. */
static void stamp(struct app *a, uint8_t *payload, const struct ob__peer *peer)
{
	struct note note;
	memcpy(&note, payload, sizeof(note));
	note.hop_to = index_of(peer);
	note.hop_incarnation = peer->who.incarnation;
	note.path = mix(note.path + mix(a->self.incarnation + peer->ups) + note.hop_to + 1);
	memcpy(payload, &note, sizeof(note));
}

static void check_queue(struct app *a, const struct ob__peer *peer)
{
	const struct ob__links_options *o = &a->links->options;
	/* Replies may take half as much again, and there are pings and their like. */
	if (ob__peer_queued(peer) > o->hard + o->hard / 2 + 64 * OB__FRAME_HEADER) {
		FAIL(test_of(a->sim), "%s: %zu bytes wait for %s", a->name, ob__peer_queued(peer),
		     peer->who.name);
	}
}

static int send_to(struct app *a, struct ob__frame *f, uint8_t *payload, struct ob__peer **to)
{
	struct ob__route route = ob__router_find(&a->router, &(struct ob__route_query){
								     .node = f->dst,
							     });
	if (route.kind != OB__ROUTE_PEER) {
		return OB_E_NO_ROUTE;
	}
	stamp(a, payload, route.peer);
	f->payload = payload;
	*to = route.peer;
	int rc = ob__peer_send(a->links, route.peer, f);
	check_queue(a, route.peer);
	return rc;
}

static uint32_t choose_fill(struct test *t)
{
	uint64_t roll = sim_below(t->world, 100);
	if (roll < 90) {
		return (uint32_t)sim_below(t->world, 200);
	}
	return (uint32_t)sim_below(t->world, roll < 98 ? 6000 : 90000);
}

static uint8_t fill_byte(const struct note *note)
{
	return (uint8_t)(note->index * 7 + note->reply);
}

static uint8_t *payload_new(const struct note *note)
{
	uint8_t *payload = malloc(sizeof(*note) + note->fill);
	if (payload == NULL) {
		abort();
	}
	memcpy(payload, note, sizeof(*note));
	memset(payload + sizeof(*note), fill_byte(note), note->fill);
	return payload;
}

static struct message *message_new(struct test *t)
{
	if (t->messages_len == t->messages_cap) {
		t->messages_cap = t->messages_cap != 0 ? 2 * t->messages_cap : 4096;
		t->messages = realloc(t->messages, t->messages_cap * sizeof(*t->messages));
		if (t->messages == NULL) {
			abort();
		}
	}
	t->messages[t->messages_len] = (struct message){0};
	return &t->messages[t->messages_len++];
}

static void count_refused(int code)
{
	if (code == OB_E_BUSY) {
		counts.busy++;
	} else {
		counts.unrouted++;
	}
}

static void end_message(struct test *t, struct message *m, int code)
{
	size_t index = (size_t)(m - t->messages);
	if (m->ended || m->lost) {
		FAIL(t, "request %zu ends twice", index);
	}
	if (code == OB_E_NOT_SENT && m->met) {
		FAIL(t, "request %zu ends as not sent, and node%u has had it", index,
		     (unsigned)m->next_hop - 1);
	}
	m->ended = true;
	m->code = code;
	sim_mark(t->world, 40, index, (uint64_t)(int64_t)code, 0);
}

static void send_one(void *arg)
{
	struct app *a = arg;
	struct test *t = test_of(a->sim);
	struct message *m = message_new(t);
	uint32_t index = (uint32_t)(m - t->messages);
	m->from = a->sim->index;
	m->to = t->aim != NOBODY ? t->aim : (uint32_t)sim_below(t->world, t->nodes);
	m->to = m->to != m->from ? m->to : (m->to + 1) % t->nodes;
	m->incarnation = a->self.incarnation;
	m->kind = sim_chance(t->world, 500) ? REQUEST : PUSH;
	char name[16];
	snprintf(name, sizeof(name), "n%u", m->to);
	struct note note = {.index = index, .fill = choose_fill(t)};
	uint8_t *payload = payload_new(&note);
	struct ob__frame f = {
		.kind = m->kind == REQUEST ? OB__FRAME_REQUEST : OB__FRAME_PUSH,
		.id = 1000,
		.dst = ob__node_id(name),
		.hops = OB__FRAME_HOPS,
		.payload_len = (uint32_t)sizeof(note) + note.fill,
	};
	counts.messages++;
	struct ob__pending *p = NULL;
	if (m->kind == REQUEST) {
		f.budget = 20 + (uint32_t)sim_below(t->world, BUDGET_MAX);
		m->until_ms = ob__loop_now(a->sim->loop) + f.budget;
		p = ob__pending_new(&a->pendings, OB__PENDING_CALL, f.budget);
		if (p == NULL) {
			FAIL(t, "%s has no room for a request", a->name);
		}
		p->u.call.arg = (void *)(uintptr_t)index;
		f.call = p->handle;
		counts.requests++;
	}
	struct ob__peer *to = NULL;
	int rc = send_to(a, &f, payload, &to);
	free(payload);
	if (rc < 0) {
		count_refused(rc);
		m->busy = rc == OB_E_BUSY;
		m->next_hop = to != NULL ? index_of(to) + 1 : 0;
		if (p != NULL) {
			ob__pending_end(p, &(struct ob__end){.code = rc});
		}
		return;
	}
	m->next_hop = index_of(to) + 1;
	if (p != NULL) {
		ob__pending_sent(p, to->link, to);
	}
}

/* ---------------------------------------------------------------- ends of requests */

static void on_end(void *arg, struct ob__pending *p, const struct ob__end *end)
{
	struct app *a = arg;
	struct test *t = test_of(a->sim);
	struct message *m = &t->messages[(uintptr_t)p->u.call.arg];
	uint64_t now = ob__loop_now(a->sim->loop);
	if (m->from != a->sim->index || m->incarnation != a->self.incarnation) {
		FAIL(t, "%s ends a request that is not its own", a->name);
	}
	if (now > m->until_ms + TICK_MS + a->sim->late_ms) {
		FAIL(t, "%s: a request ends %" PRIu64 " ms behind its deadline", a->name,
		     now - m->until_ms);
	}
	if (end->code == OB_E_DEADLINE && now < m->until_ms) {
		FAIL(t, "%s: a deadline %" PRIu64 " ms early", a->name, m->until_ms - now);
	}
	counts.ok += end->code == OB_OK;
	counts.deadline += end->code == OB_E_DEADLINE;
	counts.not_sent += end->code == OB_E_NOT_SENT;
	counts.maybe_sent += end->code == OB_E_MAYBE_SENT;
	end_message(t, m, end->code);
}

/* ---------------------------------------------------------------- arriving */

struct answer {
	struct sim_node *n;
	uint64_t incarnation;
	uint64_t to;
	uint64_t call;
	uint32_t index;
};

static void say_answer(void *arg)
{
	const struct answer *answer = arg;
	struct app *a = app_of(answer->n);
	struct test *t = test_of(answer->n);
	if (a->self.incarnation != answer->incarnation) {
		return;
	}
	struct note note = {.index = answer->index, .reply = 1, .fill = choose_fill(t)};
	uint8_t *payload = payload_new(&note);
	struct ob__frame f = {
		.kind = OB__FRAME_REPLY,
		.call = answer->call,
		.dst = answer->to,
		.hops = OB__FRAME_HOPS,
		.payload_len = (uint32_t)sizeof(note) + note.fill,
	};
	struct ob__peer *peer = NULL;
	send_to(a, &f, payload, &peer);
	free(payload);
}

static void answer_later(void *arg)
{
	struct answer *answer = arg;
	sim_on(answer->n, say_answer, answer);
	free(answer);
}

/* At once, later, or never. */
static void answer(struct app *a, const struct ob__frame *f, uint32_t index)
{
	struct test *t = test_of(a->sim);
	struct answer now = {
		.n = a->sim,
		.incarnation = a->self.incarnation,
		.to = f->src,
		.call = f->call,
		.index = index,
	};
	if (sim_chance(t->world, 700)) {
		say_answer(&now);
	} else if (sim_chance(t->world, 800)) {
		struct answer *later = malloc(sizeof(*later));
		if (later == NULL) {
			abort();
		}
		*later = now;
		sim_at(t->world, sim_below(t->world, (BUDGET_MAX + 1000) * MS), answer_later,
		       later);
	}
}

static struct note read_note(struct app *a, const struct ob__link *l, const struct ob__frame *f)
{
	struct test *t = test_of(a->sim);
	struct note note;
	if (f->payload_len < sizeof(note)) {
		FAIL(t, "%s: a payload of %u bytes", a->name, f->payload_len);
	}
	memcpy(&note, f->payload, sizeof(note));
	if (note.index >= t->messages_len || note.fill != f->payload_len - sizeof(note)) {
		FAIL(t, "%s: a payload that nobody sent", a->name);
	}
	for (uint32_t i = 0; i < note.fill; i++) {
		if (f->payload[sizeof(note) + i] != fill_byte(&note)) {
			FAIL(t, "%s: the payload of message %u is another's", a->name, note.index);
		}
	}
	if (note.hop_to != a->sim->index || note.hop_incarnation != a->self.incarnation) {
		FAIL(t, "%s: message %u was sent to n%u in another incarnation", a->name,
		     note.index, note.hop_to);
	}
	if (l->peer == NULL || index_of(l->peer) >= t->nodes) {
		FAIL(t, "%s: message %u from nobody", a->name, note.index);
	}
	return note;
}

/* The messages of a frame, one after the other, also when there is only one. */
static bool next_message(struct ob__frame *one, const struct ob__frame *f, bool first)
{
	if ((f->flags & OB__FRAME_MANY) == 0) {
		*one = *f;
		return first;
	}
	if (first) {
		*one = ob__many_begin(f);
	}
	return ob__many_next(one, f);
}

/* Those of a frame that was passed on, or not. */
static void passed_on(struct app *a, const struct ob__frame *f, int rc)
{
	struct test *t = test_of(a->sim);
	struct ob__frame one;
	struct note note;
	for (bool first = true; next_message(&one, f, first); first = false) {
		memcpy(&note, one.payload, sizeof(note));
		if (rc < 0) {
			count_refused(rc);
			t->messages[note.index].busy = rc == OB_E_BUSY;
		} else {
			counts.forwarded++;
		}
	}
}

static void forward(struct app *a, struct ob__link *l, struct ob__frame *f, uint8_t *raw)
{
	struct ob__frame one;
	if (f->hops <= 1) {
		counts.unrouted++;
		return;
	}
	struct ob__route route = ob__router_find(&a->router, &(struct ob__route_query){
								     .node = f->dst,
								     .from = l->peer,
							     });
	if (route.kind != OB__ROUTE_PEER) {
		counts.unrouted++;
		return;
	}
	ob__frame_patch_forward(raw, (uint8_t)(f->hops - 1), f->budget, 0, f->dst);
	for (bool first = true; next_message(&one, f, first); first = false) {
		stamp(a, raw + (one.payload - raw), route.peer);
	}
	int rc = ob__peer_forward(a->links, route.peer, raw, f->len);
	check_queue(a, route.peer);
	passed_on(a, f, rc);
}

static void arrived(struct app *a, const struct ob__frame *f, const struct note *note)
{
	struct test *t = test_of(a->sim);
	struct message *m = &t->messages[note->index];
	uint64_t key = mix(note->path + mix((uint64_t)m->from << 32 | m->to)) | 1;
	struct order *o = order_of(t, key);
	if (m->to != a->sim->index) {
		FAIL(t, "%s gets message %u, which is for n%u", a->name, note->index, m->to);
	}
	if (m->arrived) {
		FAIL(t, "%s gets message %u twice", a->name, note->index);
	}
	if (o->last > note->index + 1) {
		FAIL(t, "%s gets message %u of n%u behind %u of the same path", a->name,
		     note->index, m->from, o->last - 1);
	}
	o->last = note->index + 1;
	m->arrived = true;
	counts.arrived++;
	if (m->kind == REQUEST) {
		answer(a, f, note->index);
	}
}

static void replied(struct app *a, const struct ob__frame *f, const struct note *note)
{
	struct test *t = test_of(a->sim);
	struct message *m = &t->messages[note->index];
	struct ob__pending *p = ob__pending_find(&a->pendings, f->call);
	if (p == NULL) {
		counts.stale++;
		return;
	}
	if ((uintptr_t)p->u.call.arg != note->index) {
		FAIL(t, "%s: request %zu is given the answer to request %u of incarnation %" PRIu64,
		     a->name, (size_t)(uintptr_t)p->u.call.arg, note->index, m->incarnation);
	}
	ob__pending_end(p, &(struct ob__end){.code = OB_OK, .source = f->src});
}

static void heard(struct app *a, struct ob__link *link, const struct ob__frame *f)
{
	struct test *t = test_of(a->sim);
	struct note note = read_note(a, link, f);
	struct message *m = &t->messages[note.index];
	sim_mark(t->world, 41, a->sim->index, note.index, f->kind);
	if (note.reply == 0) {
		m->met = true;
		if (m->ended && m->code == OB_E_NOT_SENT) {
			FAIL(t, "%s gets request %u, which was not sent", a->name, note.index);
		}
	}
	if (f->dst != a->self.id) {
		return;
	}
	if (f->kind == OB__FRAME_REPLY) {
		replied(a, f, &note);
	} else {
		arrived(a, f, &note);
	}
}

static void on_frame(void *arg, struct ob__link *link, struct ob__frame *f, uint8_t *raw)
{
	struct app *a = arg;
	struct ob__frame one;
	counts.rows += (f->flags & OB__FRAME_MANY) != 0;
	for (bool first = true; next_message(&one, f, first); first = false) {
		heard(a, link, &one);
	}
	if (f->dst != a->self.id) {
		forward(a, link, f, raw);
	}
}

/* ---------------------------------------------------------------- links */

struct rush {
	struct sim_node *n;
	uint32_t to;
	uint32_t left;
};

static void on_rush(void *arg)
{
	struct rush *r = arg;
	struct test *t = test_of(r->n);
	if (r->left-- == 0 || !t->sending) {
		free(r);
		return;
	}
	t->aim = r->to;
	sim_on(r->n, send_one, r->n->user);
	t->aim = NOBODY;
	uint64_t latency = sim_options_of(t->world)->latency;
	sim_at(t->world, sim_below(t->world, latency), on_rush, r);
}

/* The moment in which a second link may take the place of the first one needs traffic. */
static void rush(struct app *a, uint32_t to)
{
	struct test *t = test_of(a->sim);
	struct rush *r = malloc(sizeof(*r));
	if (r == NULL) {
		abort();
	}
	*r = (struct rush){.n = a->sim, .to = to, .left = 6};
	sim_at(t->world, 0, on_rush, r);
}

static void on_up(void *arg, struct ob__peer *peer)
{
	struct app *a = arg;
	sim_mark(a->sim->world, 42, a->sim->index, index_of(peer), 0);
	if (peer->user != NULL) {
		FAIL(test_of(a->sim), "%s: %s comes up twice", a->name, peer->who.name);
	}
	peer->user = a;
	if (sim_chance(a->sim->world, 250)) {
		rush(a, index_of(peer));
	}
}

static void on_down(void *arg, struct ob__peer *peer, const char *reason)
{
	struct app *a = arg;
	struct test *t = test_of(a->sim);
	sim_mark(a->sim->world, 43, a->sim->index, index_of(peer), 0);
	if (peer->user == NULL || peer->link != NULL) {
		FAIL(t, "%s: %s goes down and was not up", a->name, peer->who.name);
	}
	if (t->steady) {
		FAIL(t, "%s: %s goes down though all is well (%s)", a->name, peer->who.name,
		     reason);
	}
	peer->user = NULL;
}

static void on_lost(void *arg, struct ob__link *link)
{
	struct app *a = arg;
	ob__pending_link_lost(link);
	if (!ob__list_empty(&link->pendings)) {
		FAIL(test_of(a->sim), "%s: requests stay on a lost link", a->name);
	}
}

static void on_drained(void *arg, struct ob__peer *peer)
{
	struct app *a = arg;
	if (ob__peer_congested(peer)) {
		FAIL(test_of(a->sim), "%s: %s has drained and is congested", a->name,
		     peer->who.name);
	}
}

static const struct ob__links_ops link_ops = {
	.on_up = on_up,
	.on_down = on_down,
	.on_frame = on_frame,
	.on_lost = on_lost,
	.on_drained = on_drained,
};

static void check_link(struct app *a, const struct ob__link *l)
{
	struct test *t = test_of(a->sim);
	if (l->state == OB__LINK_CLOSED) {
		FAIL(t, "%s: a closed link is kept", a->name);
	}
	if (l->state == OB__LINK_UP && (l->peer == NULL || l->peer->link != l)) {
		FAIL(t, "%s: two links to %s are up", a->name, l->theirs.name);
	}
	if (l->state == OB__LINK_UP && l->peer->user == NULL) {
		FAIL(t, "%s: %s is up and nobody was told", a->name, l->theirs.name);
	}
	if (l->stream.queued > 2 * a->links->options.hard + a->links->options.max_frame) {
		FAIL(t, "%s: %zu bytes in a stream", a->name, l->stream.queued);
	}
	counts.fenced += l->old != NULL;
}

static void after_turn(struct sim_node *n)
{
	struct app *a = app_of(n);
	if (a->turns++ % 16 != 0) {
		return; /* what is wrong here stays wrong */
	}
	OB__LIST_EACH (it, &a->links->links) {
		check_link(a, OB__CONTAINER(it, struct ob__link, link));
	}
}

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

static void dial_edge(struct app *a, const struct edge *e)
{
	struct sim_node *to = sim_node(a->sim->world, e->to);
	char name[16];
	char path[32];
	snprintf(name, sizeof(name), "node%u", e->to);
	snprintf(path, sizeof(path), "/run/n%u", e->to);
	const struct ob__remote_options o = {
		.host = e->by == BY_NAME ? name : to->host,
		.port = PORT,
		.path = e->by == BY_PATH ? path : NULL,
		.role = e->to < test_of(a->sim)->routes ? OB__ROLE_ROUTE : NULL,
	};
	ob__links_dial(a->links, &o);
}

static void boot(struct sim_node *n)
{
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
		.role = n->index < t->routes ? OB__ROLE_ROUTE
	                : n->index % 3 == 0  ? "proxy"
	                                     : "service",
	};
	a->stats = ob__stats_new();
	ob__streams_init(&a->streams, n->loop);
	ob__registry_init(&a->registry, &a->self);
	ob__router_init(&a->router, &a->registry);
	ob__pendings_init(&a->pendings, n->loop, 100000, on_end, a);
	a->links = ob__links_new(&a->streams, &a->registry, a->stats, &t->options, &link_ops, a);
	if (a->links == NULL) {
		FAIL(t, "%s has no links", a->name);
	}
	n->net = &a->streams;
	a->listener = open_listener(a, NULL);
	a->local = open_listener(a, a->path);
	for (size_t i = 0; i < t->edges_len; i++) {
		if (t->edges[i].from == n->index) {
			dial_edge(a, &t->edges[i]);
		}
	}
}

static void halt(struct sim_node *n)
{
	struct app *a = app_of(n);
	struct test *t = test_of(n);
	for (size_t i = 0; i < t->messages_len; i++) {
		if (t->messages[i].from == n->index && !t->messages[i].ended) {
			t->messages[i].lost = true;
		}
	}
	for (int i = 0; i < OB__LINK_REASONS; i++) {
		counts.closes[i] += *a->links->closed[i];
	}
	ob__listener_close(a->listener);
	ob__listener_close(a->local);
	ob__links_free(a->links);
	ob__pendings_free(&a->pendings);
	ob__router_free(&a->router);
	while (ob__loop_turn(n->loop) && a->streams.open > 0) {
	}
	ob__registry_free(&a->registry);
	ob__streams_free(&a->streams);
	ob__stats_free(a->stats);
	free(a);
}

static const struct sim_ops sim_ops = {.boot = boot, .halt = halt, .after = after_turn};

/* ---------------------------------------------------------------- who dials whom */

static void add_edge(struct test *t, uint32_t from, uint32_t to)
{
	struct sim_node *a = sim_node(t->world, from);
	struct sim_node *b = sim_node(t->world, to);
	struct edge e = {.from = from, .to = to, .by = BY_ADDRESS};
	if (from == to) {
		return;
	}
	if (a->machine == b->machine && sim_chance(t->world, 700)) {
		e.by = BY_PATH;
	} else if (sim_chance(t->world, 200)) {
		e.by = BY_NAME;
	}
	struct edge *edges = realloc(t->edges, (t->edges_len + 1) * sizeof(*edges));
	if (edges == NULL) {
		abort();
	}
	edges[t->edges_len++] = e;
	t->edges = edges;
}

/* All dial the route nodes, and those dial each other. */
static void dial_routes(struct test *t)
{
	for (uint32_t i = 0; i < t->nodes; i++) {
		for (uint32_t r = 0; r < t->routes; r++) {
			add_edge(t, i, r);
		}
	}
}

/* And some pairs each other, from one end or from both at the same moment. */
static void dial_pairs(struct test *t, uint32_t of_1000)
{
	for (uint32_t i = t->routes; i < t->nodes; i++) {
		for (uint32_t k = i + 1; k < t->nodes; k++) {
			if (!sim_chance(t->world, of_1000)) {
				continue;
			}
			uint64_t who = sim_below(t->world, 3);
			if (who != 0) {
				add_edge(t, i, k);
			}
			if (who != 1) {
				add_edge(t, k, i);
			}
		}
	}
}

static void dial_all(struct test *t)
{
	for (uint32_t i = 0; i < t->nodes; i++) {
		for (uint32_t k = 0; k < t->nodes; k++) {
			add_edge(t, i, k);
		}
	}
}

static void choose_topology(struct test *t)
{
	if (sim_chance(t->world, 500)) {
		for (uint32_t i = 0; i < t->nodes; i++) {
			sim_node(t->world, i)->machine = i / 3 * 3;
		}
	}
	uint64_t shape = sim_below(t->world, 10);
	if (shape < 2 && t->nodes <= 60) {
		t->routes = 1;
		dial_all(t);
		return;
	}
	t->routes = 2;
	dial_routes(t);
	if (shape < 8) {
		dial_pairs(t, 3000 / t->nodes);
	}
}

/* ---------------------------------------------------------------- traffic and faults */

static void on_traffic(void *arg)
{
	struct test *t = arg;
	if (!t->sending) {
		return;
	}
	struct sim_node *n = sim_node(t->world, (uint32_t)sim_below(t->world, t->nodes));
	uint64_t burst = sim_chance(t->world, 10) ? 50 : 1;
	for (uint64_t i = 0; i < burst && n->running && !n->paused; i++) {
		sim_on(n, send_one, n->user);
	}
	sim_at(t->world, 1 + sim_below(t->world, 2 * t->pace_us), on_traffic, t);
}

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

/* A random set of nodes and the rest, in one direction or both. */
static void partition(struct test *t, uint64_t us)
{
	uint8_t in[SIM_NODES_MAX];
	uint64_t part = 1 + sim_below(t->world, 9);
	bool both = sim_chance(t->world, 600);
	for (uint32_t i = 0; i < t->nodes; i++) {
		in[i] = sim_below(t->world, 10) < part;
	}
	sim_say(t->world, "the nodes are cut in two for %.3f s", (double)us / 1e6);
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

static void on_slow_over(void *arg)
{
	sim_slow(arg, 0);
}

static uint64_t some_time(struct test *t)
{
	static const uint64_t most[] = {300 * MS, 2 * SECOND, 9 * SECOND};
	return 1 * MS + sim_below(t->world, most[sim_below(t->world, 3)]);
}

enum fault {
	F_PAUSE,
	F_JUMP,
	F_SLOW,
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
	sim_at(t->world, sim_chance(t->world, 300) ? us : us / 20, on_restart, n);
}

static void one_fault(struct test *t, enum fault fault)
{
	struct sim_node *n = sim_node(t->world, (uint32_t)sim_below(t->world, t->nodes));
	struct sim_node *m = sim_node(t->world, (uint32_t)sim_below(t->world, t->nodes));
	uint64_t us = some_time(t);
	switch (fault) {
	case F_PAUSE:
		sim_pause(n, us);
		break;
	case F_JUMP:
		sim_jump(n, us);
		break;
	case F_SLOW:
		sim_slow(n, sim_below(t->world, 1 * SECOND));
		sim_at(t->world, us, on_slow_over, n);
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
	counts.faults[fault]++;
}

static void on_fault(void *arg)
{
	struct test *t = arg;
	if (!t->faulty) {
		return;
	}
	enum fault fault = (enum fault)sim_below(t->world, F_END);
	if (fault == F_PARTITION && sim_chance(t->world, 700)) {
		fault = F_RESET_BOTH;
	}
	one_fault(t, fault);
	sim_at(t->world, sim_below(t->world, 24 * SECOND / t->nodes), on_fault, t);
}

/* ---------------------------------------------------------------- one seed */

static bool edge_up(struct test *t, const struct edge *e, bool fail)
{
	struct app *a = app_of(sim_node(t->world, e->from));
	struct app *b = app_of(sim_node(t->world, e->to));
	const struct ob__peer *p = ob__registry_get(&a->registry, b->self.id);
	const struct ob__peer *q = ob__registry_get(&b->registry, a->self.id);
	if (p != NULL && q != NULL && p->link != NULL && q->link != NULL &&
	    p->who.incarnation == b->self.incarnation &&
	    q->who.incarnation == a->self.incarnation && p->link->old == NULL &&
	    q->link->old == NULL && sim_same_connection(&p->link->stream, &q->link->stream)) {
		return true;
	}
	if (fail) {
		FAIL(t, "%s and %s have no link, %u ms behind the last fault", a->name, b->name,
		     10 * PROMISED_MS);
	}
	return false;
}

static bool all_up(struct test *t, bool fail)
{
	for (size_t i = 0; i < t->edges_len; i++) {
		if (!edge_up(t, &t->edges[i], fail)) {
			return false;
		}
	}
	return true;
}

static void converge(struct test *t)
{
	uint64_t begin = sim_now_us(t->world);
	while (!all_up(t, false) && sim_now_us(t->world) - begin < 10 * PROMISED_MS * MS) {
		sim_run(t->world, 100 * MS);
	}
	all_up(t, true);
	uint64_t took = sim_now_us(t->world) - begin;
	sim_say(t->world, "all links are up after %.1f s", (double)took / 1e6);
	counts.slowest_us = took > counts.slowest_us ? took : counts.slowest_us;
}

static void check_ends(struct test *t)
{
	for (size_t i = 0; i < t->messages_len; i++) {
		const struct message *m = &t->messages[i];
		if (m->kind == REQUEST && !m->ended && !m->lost) {
			FAIL(t, "request %zu of n%u never ends", i, m->from);
		}
	}
	for (uint32_t i = 0; i < t->nodes; i++) {
		struct app *a = app_of(sim_node(t->world, i));
		if (a->pendings.slab.live != 0) {
			FAIL(t, "%s: %u requests are left", a->name, a->pendings.slab.live);
		}
		OB__LIST_EACH (it, &a->registry.peers) {
			const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
			if (p->balance.pending != 0) {
				FAIL(t, "%s: %s owes %u answers", a->name, p->who.name,
				     p->balance.pending);
			}
		}
	}
}

/* In a steady cluster every message arrives and every request has its answer or its deadline. */
static void check_steady(struct test *t, size_t from)
{
	for (size_t i = from; i < t->messages_len; i++) {
		const struct message *m = &t->messages[i];
		if (m->busy) {
			continue;
		}
		if (!m->arrived) {
			FAIL(t, "message %zu from n%u to n%u is lost though all is well (%d)", i,
			     m->from, m->to, m->code);
		}
		if (m->kind == REQUEST && m->code != OB_OK && m->code != OB_E_DEADLINE) {
			FAIL(t, "request %zu ends with %d though all is well", i, m->code);
		}
	}
}

static void boot_all(struct test *t)
{
	for (uint32_t i = 0; i < t->nodes; i++) {
		sim_boot(sim_node(t->world, i));
	}
}

static void live(struct sim_world *w)
{
	struct test *t = sim_user(w);
	choose_topology(t);
	t->sending = true;
	t->faulty = true;
	boot_all(t);
	on_traffic(t);
	sim_at(t->world, sim_below(t->world, 2 * SECOND), on_fault, t);
	sim_run(t->world, FAULTY_US);
	t->faulty = false;
	t->over = true;
	sim_heal(t->world);
	converge(t);
	sim_run(t->world, 2 * SECOND); /* what is under way still meets old paths */
	t->steady = true;
	size_t from = t->messages_len;
	sim_run(t->world, 5 * SECOND);
	t->sending = false;
	sim_run(t->world, (BUDGET_MAX + 2000) * MS);
	check_steady(t, from);
	check_ends(t);
	all_up(t, true);
	t->steady = false;
}

static void add_counts(const struct sim_counts *w)
{
	counts.world.events += w->events;
	counts.world.turns += w->turns;
	counts.world.connections += w->connections;
	counts.world.segments += w->segments;
	counts.world.bytes += w->bytes;
	counts.world.resets += w->resets;
}

static uint32_t choose_nodes(uint64_t seed, bool big)
{
	static const uint32_t sizes[] = {60, 120, 240};
	return !big || seed % 10 != 0 ? 30 : sizes[seed / 10 % 3];
}

static struct sim_world *set_up(const struct sim_run *run)
{
	static struct test test;
	static const uint64_t latencies[] = {100, 1000, 30000};
	static const size_t windows[] = {256u << 10, 32u << 10, 4u << 10};
	struct test *t = &test;
	test = (struct test){.seed = run->seed};
	t->nodes = choose_nodes(t->seed, run->big);
	struct sim_options o = {
		.seed = t->seed,
		.nodes = t->nodes,
		.loud = run->loud,
		.latency = latencies[t->seed % 3],
		.window = windows[t->seed / 3 % 3],
		.cut_in_16 = t->seed % 4,
	};
	if (o.latency > 10 * MS && o.window < 32u << 10) {
		o.window = 32u << 10; /* less would carry less than is sent */
	}
	t->world = sim_new(&o, &sim_ops, t);
	t->aim = NOBODY;
	t->pace_us = 300 * MS / t->nodes;
	t->options = (struct ob__links_options){.token = TOKEN};
	if (t->seed % 2 == 0) {
		t->options.high = 32u << 10;
		t->options.hard = 96u << 10; /* just more than the largest message */
	}
	return t->world;
}

static void tear_down(struct sim_world *w)
{
	struct test *t = sim_user(w);
	t->over = true;
	add_counts(sim_counts(w));
	sim_free(w);
	free(t->edges);
	free(t->messages);
	free(t->orders);
}

/* ---------------------------------------------------------------- all seeds */

static void show_counts(uint64_t seeds, double seconds)
{
	static const char *const faults[] = {
		"pause",         "jump",  "slow",      "reset",        "reset at one end",
		"stall one way", "stall", "partition", "process dies", "machine dies",
	};
	printf("# %" PRIu64 " seeds in %.1f s (%.1f a second): %" PRIu64 " events, %" PRIu64
	       " turns, %" PRIu64 " connections, %" PRIu64 " pieces\n",
	       seeds, seconds, (double)seeds / seconds, counts.world.events, counts.world.turns,
	       counts.world.connections, counts.world.segments);
	printf("# %" PRIu64 " messages, %" PRIu64 " arrived, %" PRIu64 " passed on; %" PRIu64
	       " requests: %" PRIu64 " answered, %" PRIu64 " too late, %" PRIu64
	       " not sent, %" PRIu64 " maybe sent; %" PRIu64 " busy, %" PRIu64
	       " without a way, %" PRIu64 " stale answers\n",
	       counts.messages, counts.arrived, counts.forwarded, counts.requests, counts.ok,
	       counts.deadline, counts.not_sent, counts.maybe_sent, counts.busy, counts.unrouted,
	       counts.stale);
	printf("# faults:");
	for (int i = 0; i < F_END; i++) {
		printf(" %s %" PRIu64 "%s", faults[i], counts.faults[i],
		       i + 1 < F_END ? "," : "\n");
	}
	printf("# links closed, by reason:");
	for (int i = 0; i < OB__LINK_REASONS; i++) {
		printf(" %" PRIu64, counts.closes[i]);
	}
	printf("; turns behind a fence: %" PRIu64 "\n# slowest healing: %.1f s of %.1f s allowed\n",
	       counts.fenced, (double)counts.slowest_us / 1e6, 10 * PROMISED_MS / 1e3);
}

static bool covered(void)
{
	bool all = counts.ok > 0 && counts.deadline > 0 && counts.not_sent > 0 &&
	           counts.maybe_sent > 0 && counts.busy > 0 && counts.stale > 0 &&
	           counts.fenced > 0 && counts.forwarded > 0 && counts.rows > 0;
	for (int i = 0; i < F_END; i++) {
		all = all && counts.faults[i] > 0;
	}
	static const enum ob__link_reason reasons[] = {
		OB__LINK_ENDED,      OB__LINK_UNREACHABLE, OB__LINK_HELLO_TIMEOUT, OB__LINK_SILENT,
		OB__LINK_UNANSWERED, OB__LINK_DUPLICATE,   OB__LINK_NAME_TAKEN,    OB__LINK_LEFT,
	};
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		all = all && counts.closes[reasons[i]] > 0;
	}
	return all;
}

/* Those that once failed. */
static const uint64_t found[] = {
	470, /* a stream closed before its owner was told something: the loop waited no more */
	920, /* the same */
};

int main(int argc, char **argv)
{
	static const struct sim_seeds seeds = {
		.program = "mesh_links",
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
