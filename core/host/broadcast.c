/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/broadcast.h"

#include <stdlib.h>
#include <string.h>

#include "host/conn.h"
#include "host/fanout.h"
#include "host/node.h"

struct broadcast {
	struct ob__list link;
	uint64_t number;
	uint32_t id;
	uint32_t at; /* slot in the table of connections that is looked at next */
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
	bs->total = ob__stat_counter(node->stats, "obhost_broadcasts_total", NULL,
	                             "Messages that were sent to all clients here.");
}

static void drop(struct ob__broadcasts *bs, struct broadcast *b)
{
	bs->count--;
	bs->bytes -= b->len;
	ob__list_del(&b->link);
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

static struct broadcast *next_for(struct ob__broadcasts *bs, const struct ob__conn *conn)
{
	OB__LIST_EACH (it, &bs->list) {
		struct broadcast *b = OB__CONTAINER(it, struct broadcast, link);
		if (b->number > conn->broadcast) {
			return b;
		}
	}
	return NULL;
}

void ob__broadcasts_catch_up(struct ob__conn *conn, struct ob__fanout *fo)
{
	struct ob__broadcasts *bs = of(conn->node);
	struct broadcast *b;

	/* From the start each time: to send may close the client, and modules hear of that. */
	while (!conn->close_sent && !conn->stream.closing && (b = next_for(bs, conn)) != NULL) {
		ob_packet p = {
			.size = sizeof(p),
			.kind = OB_PACKET_PUSH,
			.id = b->id,
			.data = b->data,
			.len = b->len,
		};
		conn->broadcast = b->number;
		count(conn->node, ob__conn_give_next(conn, &p, fo));
	}
	conn->broadcast = bs->last;
}

/* ---- to all ---- */

static bool lacks(const struct ob__conn *conn, uint64_t number)
{
	return conn->session != NULL && conn->broadcast < number && !conn->close_sent &&
	       !conn->stream.closing;
}

/* The oldest one, to some more; afterwards it may be gone. */
static void portion(struct ob__node *node, struct broadcast *b, size_t clients)
{
	struct ob__fanout fo;
	struct ob__conn *conn = NULL;

	ob__fanout_begin(&fo, node, b->id, b->data, b->len);
	for (size_t n = 0; n < clients; n++) {
		conn = ob__slab_next(&node->clients.conns, &b->at);
		if (conn == NULL) {
			break;
		}
		if (lacks(conn, b->number)) {
			conn->broadcast = b->number;
			count(node, ob__conn_give_next(conn, &fo.packet, &fo));
		}
	}
	if (conn == NULL) {
		drop(of(node), b);
	}
	ob__fanout_end(&fo);
}

static size_t a_turn(size_t len)
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
	struct broadcast *b = oldest(of(node));

	of(node)->queued = false;
	if (b != NULL) {
		portion(node, b, a_turn(b->len));
	}
	turn_soon(node);
}

static void finish_oldest(struct ob__node *node)
{
	struct broadcast *b = oldest(of(node));

	portion(node, b, SIZE_MAX);
}

void ob__broadcasts_finish(struct ob__node *node)
{
	while (of(node)->count > 0) {
		finish_oldest(node);
	}
}

int ob__broadcast(struct ob__node *node, uint32_t id, const void *data, size_t len)
{
	struct ob__broadcasts *bs = of(node);
	struct broadcast *b = malloc(sizeof(*b) + len);

	if (b == NULL) {
		return OB_E_NOMEM;
	}
	*b = (struct broadcast){.number = ++bs->last, .id = id, .len = len};
	if (len > 0) {
		memcpy(b->data, data, len);
	}
	ob__list_append(&bs->list, &b->link);
	bs->count++;
	bs->bytes += len;
	++*bs->total;
	if (bs->over) {
		ob__broadcasts_finish(node);
	} else if (bs->count == 1) {
		portion(node, b, a_turn(len));
	}
	/* It has its place now: whatever a module sends that hears of a client's end comes later.
	 */
	while (bs->count > OB__BROADCASTS_MAX || bs->bytes > node->conf->limits.held) {
		finish_oldest(node);
	}
	turn_soon(node);
	return 0;
}
