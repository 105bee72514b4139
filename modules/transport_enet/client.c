/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "door.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE       16384u
#define TURN_BYTES  65536u /* read from one client's socket in a turn */
#define SOCKET_BUF  65536
#define END_MS      5000u             /* for the last bytes, either way */
#define TRY_LATER   1013u             /* WebSocket's code: what a peer is told that is sent away */
#define HELD_BACK   ((size_t)1 << 40) /* more than ENet may have waiting */
#define ROUND_TRIPS 32u /* ENet's own: timeouts double until this many times the first */

/* ---- packets ---- */

static void put(struct packets *q, ENetPacket *p)
{
	p->userData = NULL;
	if (q->tail != NULL) {
		q->tail->userData = p;
	} else {
		q->head = p;
	}
	q->tail = p;
	q->bytes += p->dataLength;
}

static void drop_first(struct packets *q)
{
	ENetPacket *p = q->head;

	q->head = p->userData;
	if (q->head == NULL) {
		q->tail = NULL;
	}
	q->bytes -= p->dataLength;
	enet_packet_destroy(p);
}

/* Lets ENet take nothing more of the peer's, which then sends it again and again, or go on.  It
 * counts what waits for us, and refuses what is too much; acknowledgements pass. */
static void hold_back(struct client *c, bool on)
{
	if (c->peer != NULL && c->held_back != on) {
		c->held_back = on;
		c->peer->totalWaitingData += on ? HELD_BACK : -HELD_BACK;
	}
}

static void drop_in(struct world *w, struct client *c)
{
	c->in_at = 0;
	drop_first(&c->in);
	if (c->in.bytes <= w->settings.queue / 2) {
		hold_back(c, false);
	}
}

/* ---- its end of the pair ---- */

static void poll_for(struct world *w, struct client *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (!c->polled || c->events == events) {
		return;
	}
	c->events = events;
	epoll_ctl(w->state->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static void poll_update(struct world *w, struct client *c)
{
	bool reads = !c->full && !c->host_ended && c->peer != NULL;

	poll_for(w, c,
	         (reads ? (uint32_t)EPOLLIN : 0) | (c->in.head != NULL ? (uint32_t)EPOLLOUT : 0));
}

/* An end that the host has closed would be told of in every turn. */
static void poll_end(struct world *w, struct client *c)
{
	if (c->polled) {
		c->polled = false;
		epoll_ctl(w->state->epoll, EPOLL_CTL_DEL, c->fd, NULL);
	}
}

/* The first call counts. */
static void end_by(struct world *w, struct client *c)
{
	if (c->ending.next == NULL) {
		c->until = ob_now_ms(w->ctx) + END_MS;
		link_add(&c->door->ending, &c->ending);
	}
}

void client_free(struct world *w, struct client *c)
{
	poll_end(w, c);
	if (c->peer != NULL) {
		c->peer->data = NULL;
		enet_peer_reset(c->peer);
		c->peer = NULL;
	}
	while (c->in.head != NULL) {
		drop_in(w, c);
	}
	while (c->out.head != NULL) {
		drop_first(&c->out);
	}
	close(c->fd);
	c->fd = -1;
	link_del(&c->link);
	link_del(&c->busy);
	link_del(&c->ending);
	c->door->clients_len--;
	/* Events of this turn may still name it. */
	c->source.kind = 0;
	link_add(&w->gone, &c->link);
}

/* The host has ended: what it has written goes to the peer, then the peer is told. */
static void host_ended(struct world *w, struct client *c)
{
	poll_end(w, c);
	if (c->peer == NULL) {
		client_free(w, c);
		return;
	}
	c->host_ended = true;
	while (c->in.head != NULL) {
		drop_in(w, c);
	}
	enet_peer_disconnect_later(c->peer, c->code);
	c->door->dirty = true;
	end_by(w, c);
}

/* Writes what there is; false when the client is gone from here. */
static bool write_on(struct world *w, struct client *c)
{
	while (c->in.head != NULL) {
		const ENetPacket *p = c->in.head;
		ssize_t n = send(c->fd, p->data + c->in_at, p->dataLength - c->in_at,
		                 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
			break;
		}
		if (n < 0) { /* it has closed; what it has said before is still to be read */
			c->deaf = true;
			while (c->in.head != NULL) {
				drop_in(w, c);
			}
			break;
		}
		c->in_at += (size_t)n;
		if (c->in_at == p->dataLength) {
			drop_in(w, c);
		}
	}
	if (c->peer == NULL && c->in.head == NULL) {
		client_free(w, c);
		return false;
	}
	return true;
}

static bool send_piece(struct client *c, const uint8_t *data, size_t len)
{
	ENetPacket *p = enet_packet_create(data, len, ENET_PACKET_FLAG_RELIABLE);

	if (p == NULL) {
		return false;
	}
	/* As long as somebody else has one too, it is on its way. */
	p->referenceCount++;
	if (enet_peer_send(c->peer, 0, p) != 0) {
		p->referenceCount--;
		if (p->referenceCount == 0) {
			enet_packet_destroy(p);
		}
		return false;
	}
	put(&c->out, p);
	if (c->busy.next == NULL) {
		link_add(&c->door->busy, &c->busy);
	}
	c->door->dirty = true;
	return true;
}

/* ENet refuses to send what is longer than a packet. */
static size_t piece_most(const struct world *w)
{
	return w->settings.packet < PIECE ? w->settings.packet : PIECE;
}

/* An end that is not polled any more is read until it is full or over: no event would go on. */
static void read_on(struct world *w, struct client *c)
{
	uint8_t piece[PIECE];
	size_t total = 0;

	while (c->peer != NULL && !c->host_ended && (total < TURN_BYTES || !c->polled)) {
		if (c->out.bytes >= w->settings.queue) {
			c->full = true;
			break;
		}
		ssize_t n = recv(c->fd, piece, piece_most(w), MSG_DONTWAIT);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 && (errno == EAGAIN)) {
			break;
		}
		if (n <= 0 || !send_piece(c, piece, (size_t)n)) {
			host_ended(w, c);
			return;
		}
		total += (size_t)n;
	}
}

void client_ready(struct world *w, struct client *c, uint32_t events)
{
	if ((events & EPOLLOUT) != 0 && !write_on(w, c)) {
		return;
	}
	if ((events & (EPOLLHUP | EPOLLERR)) != 0 && c->peer == NULL) {
		client_free(w, c);
		return;
	}
	if ((events & (EPOLLHUP | EPOLLERR)) != 0 && c->full) {
		poll_end(w, c); /* read on when there is room: it would be told in every turn */
		end_by(w, c);
		return;
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
		read_on(w, c);
	}
	if (c->fd >= 0) {
		poll_update(w, c);
	}
}

void client_reap(struct world *w, struct client *c)
{
	while (c->out.head != NULL && c->out.head->referenceCount == 1) {
		drop_first(&c->out);
	}
	if (c->out.head == NULL) {
		link_del(&c->busy);
	}
	if (c->full && c->out.bytes <= w->settings.queue / 2) {
		c->full = false;
		if (c->polled) {
			poll_update(w, c);
		} else if (!c->host_ended) {
			read_on(w, c);
		}
	}
}

/* ---- the peer ---- */

static int make_pair(struct client *c, int *other)
{
	const int size = SOCKET_BUF;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		return -errno;
	}
	for (int i = 0; i < 2; i++) {
		(void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	c->fd = pair[0];
	*other = pair[1];
	return 0;
}

static int poll_begin(struct world *w, struct client *c)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

	if (epoll_ctl(w->state->epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
		return -errno;
	}
	c->events = EPOLLIN;
	c->polled = true;
	return 0;
}

static int adopt(struct world *w, struct client *c, int other)
{
	char ip[INET_ADDRSTRLEN];
	char peer[INET_ADDRSTRLEN + 8];
	struct in_addr addr = {.s_addr = c->peer->address.host};
	ob_adopt_options options = {
		.size = sizeof(options),
		.door = c->door->number,
		.client = c->number,
		.peer = peer,
	};

	inet_ntop(AF_INET, &addr, ip, sizeof(ip));
	snprintf(peer, sizeof(peer), "%s:%u", ip, c->peer->address.port);
	int rc = ob_client_adopt(w->ctx, other, &options);
	if (rc != 0) {
		close(other);
	}
	return rc;
}

static void send_away(struct world *w, struct door *d, ENetPeer *peer)
{
	ob_count(w->ctx, w->refused, 1);
	peer->data = NULL;
	enet_peer_disconnect(peer, TRY_LATER);
	d->dirty = true;
}

void client_new(struct world *w, struct door *d, ENetPeer *peer)
{
	struct client *c = d->accepting ? calloc(1, sizeof(*c)) : NULL;
	int other = -1;

	if (c == NULL || make_pair(c, &other) != 0) {
		free(c);
		send_away(w, d, peer);
		return;
	}
	c->source.kind = SOURCE_CLIENT;
	c->door = d;
	c->peer = peer;
	c->number = (uint64_t)d->number << 48 | (uint64_t)peer->incomingPeerID << 32 | ++d->serial;
	link_add(&d->clients, &c->link);
	d->clients_len++;
	peer->data = c;
	enet_peer_timeout(peer, ROUND_TRIPS, w->settings.timeout_ms / 2, w->settings.timeout_ms);
	int rc = poll_begin(w, c);
	if (rc != 0) {
		close(other);
	}
	rc = rc == 0 ? adopt(w, c, other) : rc;
	if (rc != 0) {
		c->peer = NULL;
		client_free(w, c);
		send_away(w, d, peer);
	}
}

void client_receive(struct world *w, struct client *c, ENetPacket *packet, uint8_t channel)
{
	bool stream = channel == 0 && (packet->flags & ENET_PACKET_FLAG_RELIABLE) != 0;

	if (!stream) {
		ob_count(w->ctx, w->ignored, 1);
	}
	if (!stream || c->deaf || c->host_ended || packet->dataLength == 0) {
		enet_packet_destroy(packet);
		return;
	}
	put(&c->in, packet);
	if (c->in.bytes >= w->settings.queue) {
		hold_back(c, true);
	}
	if (c->in.head == packet && write_on(w, c)) {
		poll_update(w, c);
	}
}

void client_lost(struct world *w, struct client *c)
{
	c->peer->data = NULL;
	c->peer = NULL;
	if (c->host_ended || c->in.head == NULL) {
		client_free(w, c);
		return;
	}
	/* What it had said before is for the host, if that takes it soon. */
	poll_update(w, c);
	end_by(w, c);
}

void client_expire(struct world *w, struct client *c)
{
	if (c->peer != NULL) {
		enet_peer_disconnect_now(c->peer, c->code);
		c->peer->data = NULL;
		c->peer = NULL;
	}
	client_free(w, c);
}

void client_leaving(struct client *c, uint32_t code)
{
	c->code = code;
}
