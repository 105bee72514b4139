/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/push/broadcast.h"

#include <stdlib.h>
#include <string.h>

#include "host/client/conn.h"
#include "host/client/too_slow.h"
#include "host/node.h"
#include "host/push/fanout.h"
#include "host/session/resume.h"

#define LOOK_MAX 64u /* connections that are passed over in the time one is written to */

struct broadcast {
	struct ob__list link;
	uint64_t number;
	uint32_t start; /* slot in the table of connections that it began with */
	uint64_t round; /* and in which round through the table */
	uint32_t slots; /* of that table, if it is for some of them only */
	uint64_t *some; /* a bit for each of these slots; NULL: it is for all */
	size_t bytes;   /* that are counted for it */
	struct ob__fanout fo;
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

static void count_bytes(struct ob__broadcasts *bs, struct broadcast *b)
{
	size_t bytes = b->len + words(b) * sizeof(*b->some) + ob__fanout_bytes(&b->fo);

	bs->bytes += bytes - b->bytes;
	b->bytes = bytes;
}

static void count_all(struct ob__broadcasts *bs)
{
	OB__LIST_EACH (it, &bs->list) {
		count_bytes(bs, OB__CONTAINER(it, struct broadcast, link));
	}
}

/* What codecs have made can be made again. */
static void let_go(struct ob__broadcasts *bs, size_t limit)
{
	if (bs->bytes > limit) {
		OB__LIST_EACH (it, &bs->list) {
			ob__fanout_free(&OB__CONTAINER(it, struct broadcast, link)->fo);
		}
		count_all(bs);
	}
}

static void drop(struct ob__broadcasts *bs, struct broadcast *b)
{
	bs->count--;
	bs->bytes -= b->bytes;
	ob__list_del(&b->link);
	ob__fanout_free(&b->fo);
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

/* A connection that came later into the place of another one has a higher number. */
static bool is_for(const struct broadcast *b, const struct ob__conn *conn)
{
	uint32_t slot = (uint32_t)(ob__conn_handle(conn) & OB__SLAB_SLOT_MASK);

	return b->number > conn->broadcast &&
	       (b->some == NULL || (slot < b->slots && (b->some[slot / 64] >> slot % 64 & 1) != 0));
}

/* With its forms, or for this client alone. */
static void give(struct ob__conn *conn, struct broadcast *b, struct ob__fanout *fo)
{
	struct ob__node *node = conn->node;

	conn->broadcast = b->number;
	int rc = ob__conn_give_next(conn, &b->fo.packet, fo);
	++*(rc == 0 ? node->dispatch.pushes : node->dispatch.pushes_lost);
}

void ob__broadcasts_rest(const struct ob__conn *conn, ob__broadcast_fn fn, void *arg)
{
	OB__LIST_EACH (it, &of(conn->node)->list) {
		const struct broadcast *b = OB__CONTAINER(it, struct broadcast, link);
		if (is_for(b, conn)) {
			fn(arg, &b->fo.packet);
		}
	}
}

static bool takes(const struct ob__conn *conn)
{
	return !conn->close_sent && !conn->stream.closing;
}

void ob__broadcasts_catch_up(struct ob__conn *conn)
{
	struct ob__node *node = conn->node;
	struct ob__broadcasts *bs = of(node);

	ob__too_slow_hold(node);
	OB__LIST_EACH (it, &bs->list) {
		struct broadcast *b = OB__CONTAINER(it, struct broadcast, link);
		if (takes(conn) && is_for(b, conn)) {
			bool has_room = bs->bytes + b->len < node->conf->limits.held;
			b->fo.at_once = false;
			give(conn, b, has_room ? &b->fo : NULL);
			count_bytes(bs, b);
		}
	}
	conn->broadcast = bs->last;
	ob__too_slow_release(node);
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

/* What the client has not had of those under way, in one write; how many. */
static size_t give_all(struct ob__conn *conn)
{
	const struct ob__list *list = &of(conn->node)->list;
	bool at_once = false;
	size_t n = 0;

	if (conn->session == NULL) {
		return 0;
	}
	OB__LIST_EACH (it, list) {
		struct broadcast *b = OB__CONTAINER(it, struct broadcast, link);
		if (takes(conn) && is_for(b, conn)) {
			at_once = n == 0 && it->next == list;
			b->fo.at_once = at_once;
			give(conn, b, &b->fo);
			n++;
		}
	}
	if (n > 0 && !at_once) {
		ob__stream_flush(&conn->stream);
	}
	return n;
}

/* Of the longest one. */
static size_t longest(struct ob__broadcasts *bs)
{
	size_t len = 0;

	OB__LIST_EACH (it, &bs->list) {
		const struct broadcast *b = OB__CONTAINER(it, struct broadcast, link);
		len = b->len > len ? b->len : len;
	}
	return len;
}

/* All that are under way go round the table of connections together.  Here the next so many
 * messages of them, or until the oldest one is done. */
static void portion(struct ob__node *node, bool finish)
{
	struct ob__broadcasts *bs = of(node);
	const struct broadcast *first = oldest(bs);
	size_t messages = finish ? SIZE_MAX : ob__broadcast_a_turn(longest(bs));

	ob__too_slow_hold(node);
	for (size_t n = 0, looks = 0;
	     n < messages && looks / LOOK_MAX < messages && !is_done(bs, first); looks++) {
		struct ob__conn *conn = ob__slab_next(&node->clients.conns, &bs->at);
		if (conn != NULL) {
			n += give_all(conn);
		} else {
			bs->at = 0;
			bs->round++;
		}
	}
	drop_done(bs);
	count_all(bs);
	let_go(bs, node->conf->limits.held);
	ob__too_slow_release(node);
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

static struct broadcast *new_one(struct ob__node *node, uint32_t id, const void *data, size_t len,
                                 uint32_t slots)
{
	struct broadcast *b = malloc(sizeof(*b) + len);

	if (b == NULL) {
		return NULL;
	}
	*b = (struct broadcast){.slots = slots, .len = len};
	if (slots > 0 && (b->some = calloc(words(b), sizeof(*b->some))) == NULL) {
		free(b);
		return NULL;
	}
	if (len > 0) {
		memcpy(b->data, data, len);
	}
	ob__fanout_init(&b->fo, node, id, b->data, len);
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
	count_bytes(bs, b);
	++*bs->total;
	if (bs->over) {
		ob__broadcasts_finish(node);
	}
	/* It has its place now: whatever a module sends that hears of a client's end comes later.
	 */
	let_go(bs, node->conf->limits.held);
	while (bs->count > OB__BROADCASTS_MAX || bs->bytes > node->conf->limits.held) {
		portion(node, true);
	}
	turn_soon(node);
}

int ob__broadcast(struct ob__node *node, uint32_t id, const void *data, size_t len)
{
	if (ob__too_slow_held(node)) {
		return OB_E_STATE;
	}
	struct broadcast *b = new_one(node, id, data, len, 0);
	if (b == NULL) {
		return OB_E_NOMEM;
	}
	ob__resumes_push_all(node, &b->fo.packet);
	begin(node, b);
	return 0;
}

int ob__broadcast_some(struct ob__node *node, uint32_t id, const void *data, size_t len,
                       uint64_t (*next)(void *arg), void *arg)
{
	uint64_t handle;

	if (ob__too_slow_held(node)) {
		return OB_E_STATE;
	}
	struct broadcast *b = new_one(node, id, data, len, node->clients.conns.fresh);
	if (b == NULL) {
		return OB_E_NOMEM;
	}
	while ((handle = next(arg)) != 0) {
		uint32_t slot = (uint32_t)(handle & OB__SLAB_SLOT_MASK);
		if (ob__conn_get(node, handle) != NULL) {
			b->some[slot / 64] |= UINT64_C(1) << slot % 64;
		} else {
			(void)ob__resume_push(node, handle, &b->fo.packet);
		}
	}
	begin(node, b);
	return 0;
}
