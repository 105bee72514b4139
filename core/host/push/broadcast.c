/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/push/broadcast.h"

#include <stdlib.h>
#include <string.h>

#include "host/client/conn.h"
#include "host/node.h"
#include "host/push/fanout.h"
#include "host/session/resume.h"

#define LOOK_MAX 64u /* connections that are passed over in the time one is written to */

struct broadcast {
	struct ob__list link;
	uint64_t number;
	uint32_t id;
	uint32_t start; /* slot in the table of connections that it began with */
	uint64_t round; /* and in which round through the table */
	uint32_t slots; /* of that table, if it is for some of them only */
	uint64_t *some; /* a bit for each of these slots; NULL: it is for all */
	size_t len;
	uint8_t data[];
};

static struct ob__broadcasts *of(struct ob__node *node)
{
	return &node->clients.broadcasts;
}

void ob__broadcasts_init(struct ob__node *node)
{
	struct ob__broadcasts *bs = of(node);

	ob__list_init(&bs->list);
	bs->total = ob__stat_counter(
		node->stats, "obhost_broadcasts_total", NULL,
		"Messages that were sent to all clients here, or to a large group.");
}

static size_t words(const struct broadcast *b)
{
	return (b->slots + 63u) / 64u;
}

static size_t bytes_of(const struct broadcast *b)
{
	return b->len + words(b) * sizeof(*b->some);
}

static void drop(struct ob__broadcasts *bs, struct broadcast *b)
{
	bs->count--;
	bs->bytes -= bytes_of(b);
	ob__list_del(&b->link);
	free(b->some);
	free(b);
}

void ob__broadcasts_free(struct ob__node *node)
{
	struct ob__broadcasts *bs = of(node);

	while (bs->list.next != NULL && !ob__list_empty(&bs->list)) {
		drop(bs, OB__CONTAINER(bs->list.next, struct broadcast, link));
	}
}

static struct broadcast *oldest(struct ob__broadcasts *bs)
{
	return ob__list_empty(&bs->list) ? NULL
	                                 : OB__CONTAINER(bs->list.next, struct broadcast, link);
}

/* ---- to one client ---- */

static void count(struct ob__node *node, int rc)
{
	++*(rc == 0 ? node->dispatch.pushes : node->dispatch.pushes_lost);
}

/* A connection that came later into the place of another one has a higher number. */
static bool is_for(const struct broadcast *b, const struct ob__conn *conn)
{
	uint32_t slot = (uint32_t)(ob__conn_handle(conn) & OB__SLAB_SLOT_MASK);

	return b->number > conn->broadcast &&
	       (b->some == NULL || (slot < b->slots && (b->some[slot / 64] >> slot % 64 & 1) != 0));
}

static struct broadcast *next_for(struct ob__broadcasts *bs, const struct ob__conn *conn)
{
	OB__LIST_EACH (it, &bs->list) {
		struct broadcast *b = OB__CONTAINER(it, struct broadcast, link);
		if (is_for(b, conn)) {
			return b;
		}
	}
	return NULL;
}

static ob_packet packet_of(struct ob__node *node, const struct broadcast *b)
{
	return ob__push_packet(&node->msgnames, b->id, b->data, b->len);
}

void ob__broadcasts_rest(const struct ob__conn *conn, ob__broadcast_fn fn, void *arg)
{
	OB__LIST_EACH (it, &of(conn->node)->list) {
		const struct broadcast *b = OB__CONTAINER(it, struct broadcast, link);
		if (is_for(b, conn)) {
			ob_packet p = packet_of(conn->node, b);
			fn(arg, &p);
		}
	}
}

void ob__broadcasts_catch_up(struct ob__conn *conn, struct ob__fanout *fo)
{
	struct ob__broadcasts *bs = of(conn->node);
	struct broadcast *b;

	/* From the start each time: to send may close the client, and modules hear of that. */
	while (!conn->close_sent && !conn->stream.closing && (b = next_for(bs, conn)) != NULL) {
		ob_packet p = packet_of(conn->node, b);
		conn->broadcast = b->number;
		count(conn->node, ob__conn_give_next(conn, &p, fo));
	}
	conn->broadcast = bs->last;
}

/* ---- to all, or some ---- */

/* Every connection has been looked at since it began. */
static bool is_done(const struct ob__broadcasts *bs, const struct broadcast *b)
{
	uint64_t rounds = bs->round - b->round;

	return rounds > 1 || (rounds == 1 && bs->at >= b->start);
}

static void drop_done(struct ob__broadcasts *bs)
{
	struct broadcast *b;

	while ((b = oldest(bs)) != NULL && is_done(bs, b)) {
		drop(bs, b);
	}
}

/* Broadcasts that are under way, oldest first, and how each goes out. */
struct together {
	size_t len;
	size_t bytes;                                      /* of the longest one */
	const struct broadcast *b[OB__BROADCASTS_MAX + 1]; /* one is too many: see begin() */
	struct ob__fanout fo[OB__BROADCASTS_MAX + 1];
};

static void together_begin(struct ob__node *node, struct together *t)
{
	t->len = 0;
	t->bytes = 0;
	OB__LIST_EACH (it, &of(node)->list) {
		const struct broadcast *b = OB__CONTAINER(it, struct broadcast, link);
		ob__fanout_begin(&t->fo[t->len], node, b->id, b->data, b->len);
		t->b[t->len++] = b;
		t->bytes = b->len > t->bytes ? b->len : t->bytes;
	}
}

static void together_end(struct together *t)
{
	for (size_t i = 0; i < t->len; i++) {
		ob__fanout_end(&t->fo[i]);
	}
}

/* What the client has not had of them, in one write; how many. */
static size_t give_all(struct ob__node *node, struct ob__conn *conn, struct together *t)
{
	size_t n = 0;

	if (conn->session == NULL || conn->close_sent || conn->stream.closing) {
		return 0;
	}
	for (size_t i = 0; i < t->len; i++) {
		if (is_for(t->b[i], conn)) {
			t->fo[i].at_once = n == 0 && i + 1 == t->len;
			conn->broadcast = t->b[i]->number;
			count(node, ob__conn_give_next(conn, &t->fo[i].packet, &t->fo[i]));
			n++;
		}
	}
	if (n > 0 && !t->fo[t->len - 1].at_once) {
		ob__stream_flush(&conn->stream);
	}
	return n;
}

/* All that are under way go round the table of connections together.  Here the next so many
 * messages of them, or until the oldest one is done. */
static void portion(struct ob__node *node, bool finish)
{
	struct ob__broadcasts *bs = of(node);
	const struct broadcast *first = oldest(bs);
	struct together t;

	together_begin(node, &t);
	size_t messages = finish ? SIZE_MAX : ob__broadcast_a_turn(t.bytes);
	for (size_t n = 0, looks = 0;
	     n < messages && looks / LOOK_MAX < messages && !is_done(bs, first); looks++) {
		struct ob__conn *conn = ob__slab_next(&node->clients.conns, &bs->at);
		if (conn != NULL) {
			n += give_all(node, conn, &t);
		} else {
			bs->at = 0;
			bs->round++;
		}
	}
	drop_done(bs);
	together_end(&t);
}

size_t ob__broadcast_a_turn(size_t len)
{
	size_t n = OB__BROADCAST_TURN_MAX / (len + OB__WS_HEADER_MAX);

	return n < 1 ? 1 : (n > OB__BROADCAST_A_TURN ? OB__BROADCAST_A_TURN : n);
}

static void turn(void *arg);

static void turn_soon(struct ob__node *node)
{
	struct ob__broadcasts *bs = of(node);

	if (!bs->queued && !bs->over && bs->count > 0) {
		bs->queued = ob__loop_defer(node->loop, turn, node) == 0;
		if (!bs->queued) {
			ob__broadcasts_finish(node);
		}
	}
}

static void turn(void *arg)
{
	struct ob__node *node = arg;

	of(node)->queued = false;
	if (oldest(of(node)) != NULL) {
		portion(node, false);
	}
	turn_soon(node);
}

void ob__broadcasts_finish(struct ob__node *node)
{
	while (of(node)->count > 0) {
		portion(node, true);
	}
}

static struct broadcast *new_one(uint32_t id, const void *data, size_t len, uint32_t slots)
{
	struct broadcast *b = malloc(sizeof(*b) + len);

	if (b == NULL) {
		return NULL;
	}
	*b = (struct broadcast){.id = id, .slots = slots, .len = len};
	if (slots > 0 && (b->some = calloc(words(b), sizeof(*b->some))) == NULL) {
		free(b);
		return NULL;
	}
	if (len > 0) {
		memcpy(b->data, data, len);
	}
	return b;
}

static void begin(struct ob__node *node, struct broadcast *b)
{
	struct ob__broadcasts *bs = of(node);

	if (ob__list_empty(&bs->list)) {
		bs->at = 0;
	}
	b->number = ++bs->last;
	b->start = bs->at;
	b->round = bs->round;
	ob__list_append(&bs->list, &b->link);
	bs->count++;
	bs->bytes += bytes_of(b);
	++*bs->total;
	if (bs->over) {
		ob__broadcasts_finish(node);
	}
	/* It has its place now: whatever a module sends that hears of a client's end comes later.
	 */
	while (bs->count > OB__BROADCASTS_MAX || bs->bytes > node->conf->limits.held) {
		portion(node, true);
	}
	turn_soon(node);
}

int ob__broadcast(struct ob__node *node, uint32_t id, const void *data, size_t len)
{
	struct broadcast *b = new_one(id, data, len, 0);

	if (b == NULL) {
		return OB_E_NOMEM;
	}
	ob_packet p = packet_of(node, b);
	ob__resumes_push_all(node, &p);
	begin(node, b);
	return 0;
}

int ob__broadcast_some(struct ob__node *node, uint32_t id, const void *data, size_t len,
                       uint64_t (*next)(void *arg), void *arg)
{
	struct broadcast *b = new_one(id, data, len, node->clients.conns.fresh);
	uint64_t handle;

	if (b == NULL) {
		return OB_E_NOMEM;
	}
	while ((handle = next(arg)) != 0) {
		uint32_t slot = (uint32_t)(handle & OB__SLAB_SLOT_MASK);
		if (ob__conn_get(node, handle) != NULL) {
			b->some[slot / 64] |= UINT64_C(1) << slot % 64;
		} else {
			ob_packet p = packet_of(node, b);
			(void)ob__resume_push(node, handle, &p);
		}
	}
	begin(node, b);
	return 0;
}
