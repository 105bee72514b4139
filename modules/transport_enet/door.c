/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "door.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define PEERS_MAX         ((size_t)ENET_PROTOCOL_MAXIMUM_PEER_ID)
#define HALF_OPEN_MS      3000u /* for the end of a handshake */
#define HALF_OPEN_TRIES   4u
#define HALF_OPEN_MAX     256u  /* handshakes under way, */
#define HALF_OPEN_ADDRESS 64u   /* and those of one address */
#define CONNECTS_A_SECOND 1000u /* first datagrams that are looked at */
#define SERVE_TRIES       16    /* one bad address or datagram ends a pass of ENet's */
#define DUE_LEAST_MS      5u
#define DUE_MOST_MS       1000u
#define UDP_HEADER        8u
#define AHEAD             16u /* queues that may wait behind a datagram that is lost */

/* ENet calls back without a word about who asked for it. */
static struct world *serving;

/* ---- newcomers ---- */

/* A second's worth at once. */
static bool take_connect(struct door *d, uint64_t now)
{
	if (now - d->connects_at >= 1000) {
		d->connects_at = now;
		d->connects_left = CONNECTS_A_SECOND;
	}
	if (d->connects_left == 0) {
		return false;
	}
	d->connects_left--;
	return true;
}

static bool is_half_open(const ENetPeer *p)
{
	return p->state == ENET_PEER_STATE_ACKNOWLEDGING_CONNECT;
}

static bool too_many_half_open(const ENetHost *host)
{
	size_t all = 0;
	size_t same = 0;

	for (size_t i = 0; i < host->peerCount; i++) {
		const ENetPeer *p = &host->peers[i];
		if (is_half_open(p)) {
			all++;
			same += p->address.host == host->receivedAddress.host;
		}
	}
	return all >= HALF_OPEN_MAX || same >= HALF_OPEN_ADDRESS;
}

static struct door *door_of(const ENetHost *host)
{
	EACH(it, &serving->state->doors)
	{
		struct door *d = OF(it, struct door, link);
		if (d->host == host) {
			return d;
		}
	}
	return NULL;
}

static bool may_connect(struct door *d)
{
	if (!d->accepting || !take_connect(d, ob_now_ms(serving->ctx)) ||
	    too_many_half_open(d->host)) {
		return false;
	}
	d->met = true;
	return true;
}

/* Before ENet sees a datagram: 1 keeps it away. */
static int ENET_CALLBACK intercept(ENetHost *host, ENetEvent *event)
{
	struct door *d = door_of(host);

	(void)event;
	enum datagram what = wire_look(host->receivedData, host->receivedDataLength,
	                               host->receivedAddress.host, host->receivedAddress.port);
	if (what == DATAGRAM_OTHER || (what == DATAGRAM_CONNECT && d != NULL && may_connect(d))) {
		return 0;
	}
	ob_count(serving->ctx, serving->dropped, 1);
	return 1;
}

/* ENet has given them its own patience of half a minute. */
static void hurry_half_open(struct door *d)
{
	for (size_t i = 0; d->met && i < d->host->peerCount; i++) {
		ENetPeer *p = &d->host->peers[i];
		if (is_half_open(p)) {
			enet_peer_timeout(p, HALF_OPEN_TRIES, HALF_OPEN_MS / 2, HALF_OPEN_MS);
		}
	}
	d->met = false;
}

/* ---- serving ---- */

static void on_event(struct world *w, struct door *d, ENetEvent *event)
{
	struct client *c = event->peer->data;

	switch (event->type) {
	case ENET_EVENT_TYPE_CONNECT:
		client_new(w, d, event->peer);
		return;
	case ENET_EVENT_TYPE_RECEIVE:
		if (c != NULL) {
			client_receive(w, c, event->packet, event->channelID);
		} else {
			enet_packet_destroy(event->packet);
		}
		return;
	case ENET_EVENT_TYPE_DISCONNECT:
		if (c != NULL) {
			client_lost(w, c);
		}
		return;
	case ENET_EVENT_TYPE_NONE:
		return;
	}
}

/* When something is to be sent again, or a peer to be asked whether it is there. */
static void find_due(struct door *d)
{
	enet_uint32 now = enet_time_get();
	enet_uint32 best = DUE_MOST_MS;

	d->has_due = false;
	for (size_t i = 0; i < d->host->peerCount; i++) {
		const ENetPeer *p = &d->host->peers[i];
		if (p->state == ENET_PEER_STATE_DISCONNECTED ||
		    p->state == ENET_PEER_STATE_ZOMBIE) {
			continue;
		}
		enet_uint32 at = enet_list_empty(&p->sentReliableCommands)
		                         ? p->lastReceiveTime + p->pingInterval
		                         : p->nextTimeout;
		enet_uint32 in = ENET_TIME_GREATER(at, now) ? ENET_TIME_DIFFERENCE(at, now) : 0;
		best = in < best ? in : best;
		d->has_due = true;
	}
	d->due = now + (best > DUE_LEAST_MS ? best : DUE_LEAST_MS);
}

void door_flush(struct door *d)
{
	if (d->dirty) {
		d->dirty = false;
		enet_host_flush(d->host);
	}
	find_due(d);
}

void door_serve(struct world *w, struct door *d)
{
	ENetEvent event;

	d->ready = false;
	for (int i = 0; i < SERVE_TRIES && enet_host_service(d->host, NULL, 0) < 0; i++) {
	}
	hurry_half_open(d);
	while (enet_host_check_events(d->host, &event) > 0) {
		on_event(w, d, &event);
	}
	EACH(it, &d->busy)
	{
		client_reap(w, OF(it, struct client, busy));
	}
	door_flush(d);
}

/* ---- the port ---- */

static int read_host(const char *host, struct in_addr *addr, ob_err *err)
{
	if (strcmp(host, "localhost") == 0) {
		addr->s_addr = htonl(INADDR_LOOPBACK);
	} else if (inet_pton(AF_INET, host, addr) != 1) {
		return ob_err_set(err, "%.64s: ENet needs an IPv4 address in numbers", host);
	}
	return 0;
}

static int fail(const char *what, const ob_door_info *info, ob_err *err)
{
	int code = errno != 0 ? errno : ENOMEM;

	ob_err_set(err, "UDP %.64s:%u: %s (%s)", info->host, info->port, what, strerror(code));
	return -code;
}

/* Longer ones than ENet reads would end its pass. */
static void keep_long_ones_out(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, ENET_PROTOCOL_MAXIMUM_MTU + UDP_HEADER, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffffu),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	(void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static int bind_host(ENetHost *host, const ob_door_info *info, struct in_addr addr, ob_err *err)
{
	const int on = 1;
	struct sockaddr_in sin = {
		.sin_family = AF_INET, .sin_port = htons(info->port), .sin_addr = addr};
	socklen_t len = sizeof(sin);

	(void)fcntl(host->socket, F_SETFD, FD_CLOEXEC);
	keep_long_ones_out(host->socket);
	if (info->reuseport &&
	    setsockopt(host->socket, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0) {
		return fail("can't be shared", info, err);
	}
	if (bind(host->socket, (const struct sockaddr *)&sin, sizeof(sin)) < 0 ||
	    getsockname(host->socket, (struct sockaddr *)&sin, &len) < 0) {
		return fail("can't be bound", info, err);
	}
	host->address.host = sin.sin_addr.s_addr;
	host->address.port = ntohs(sin.sin_port);
	return 0;
}

static ENetHost *host_new(struct world *w, const ob_door_info *info, ob_err *err)
{
	size_t peers = info->connections + HALF_OPEN_MAX;
	struct in_addr addr;

	if (read_host(info->host, &addr, err) != 0) {
		return NULL;
	}
	errno = 0;
	ENetHost *host = enet_host_create(NULL, peers < PEERS_MAX ? peers : PEERS_MAX, 1, 0, 0);
	if (host == NULL) {
		fail("no socket", info, err);
		return NULL;
	}
	host->maximumPacketSize = w->settings.packet;
	host->maximumWaitingData = AHEAD * w->settings.queue;
	if (info->per_address > 0) {
		host->duplicatePeers = info->per_address;
	}
	if (bind_host(host, info, addr, err) != 0) {
		enet_host_destroy(host);
		return NULL;
	}
	return host;
}

static int poll_begin(const struct state *s, struct door *d)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = d};

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, d->host->socket, &ev);
}

void door_take(struct world *w, struct door *d)
{
	serving = w;
	d->host->intercept = intercept;
	d->host->maximumPacketSize = w->settings.packet;
	d->host->maximumWaitingData = AHEAD * w->settings.queue;
}

struct door *door_new(struct world *w, const ob_door_info *info, ob_err *err)
{
	struct door *d = calloc(1, sizeof(*d));
	char ip[INET_ADDRSTRLEN];

	if (d == NULL) {
		ob_err_set(err, "out of memory");
		return NULL;
	}
	d->source.kind = SOURCE_DOOR;
	d->number = info->door;
	d->host = host_new(w, info, err);
	if (d->host == NULL || poll_begin(w->state, d) < 0) {
		door_free(d);
		return NULL;
	}
	link_init(&d->clients);
	link_init(&d->busy);
	link_init(&d->ending);
	const struct in_addr addr = {.s_addr = d->host->address.host};
	inet_ntop(AF_INET, &addr, ip, sizeof(ip));
	snprintf(d->address, sizeof(d->address), "%s:%u", ip, d->host->address.port);
	link_add(&w->state->doors, &d->link);
	door_take(w, d);
	return d;
}

void door_free(struct door *d)
{
	link_del(&d->link);
	if (d->host != NULL) {
		enet_host_destroy(d->host); /* its socket leaves the epoll set by itself */
	}
	free(d);
}

struct door *door_find(const struct state *s, ob_door number)
{
	if (s->doors.next == NULL) {
		return NULL;
	}
	EACH(it, &s->doors)
	{
		struct door *d = OF(it, struct door, link);
		if (d->number == number) {
			return d;
		}
	}
	return NULL;
}

struct client *door_client(const struct state *s, uint64_t number)
{
	const struct door *d = door_find(s, number >> 48);
	size_t peer = number >> 32 & 0xffff;
	struct client *c =
		d != NULL && peer < d->host->peerCount ? d->host->peers[peer].data : NULL;

	return c != NULL && c->number == number ? c : NULL;
}
