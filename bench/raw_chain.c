/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * raw_chain: the limit of the machine for client - proxy - route - service. Plain epoll, one thread
 * per process, a role each. The proxy takes WebSocket clients with seed packets and carries every
 * message over one TCP link to the next hop, behind a fixed 16-byte header; the route looks at each
 * message and passes it on; the service sends it back the way it came. Everything written during a
 * loop iteration goes out at its end, one send() per socket.
 *
 * There is no routing, no table, no limit per session and no deadline, but the framing is complete:
 * any read or write may be cut anywhere, a slow reader is buffered for and then not read from, and
 * a reply finds its own client even if that slot was taken again. A message must hold whole packets
 * in one unfragmented frame, or the client is closed. A node whose next hop goes away exits.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "bench/rawnet.h"
#include "tools/seedpkt.h"
#include "tools/wskey.h"

enum role { PROXY, ROUTE, SERVICE };

enum kind { LISTENER, UP, NEXT, FRESH, OPEN, CLOSING };

enum { OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

enum {
	EVENTS = 1024,
	CLIENTS = 1 << 17,
	LINK_HEADER = 16,       /* body length, slot, serial, message id; u32 little-endian each */
	LINK_HIGH = 8 << 20,    /* bytes waiting on a link that stop its sources */
	CLIENT_HIGH = 1 << 20,  /* bytes waiting for a client that stop reading from it */
	CLIENT_HARD = 64 << 20, /* and that close it */
};

struct client {
	struct ob__raw_sock s; /* first: epoll knows it by this */
	uint32_t slot;
	uint32_t serial;
	bool dirty; /* in the dirty list */
	struct client *next_dirty;
};

static struct {
	enum role role;
	int epfd;
	uint8_t *buf;
	struct ob__raw_sock listener;
	struct ob__raw_sock up; /* the accepted link of a route or service */
	struct ob__raw_sock next;
	struct client **client; /* by slot */
	uint32_t *free_slot;
	uint32_t nfree;
	uint32_t serial;
	struct client *dirty; /* have output, or are closed and to be freed */
	size_t added;         /* bytes written since the last flush */
	bool link_full;
} node;

/* ---- flushing ---- */

static void mark_dirty(struct client *c)
{
	if (!c->dirty) {
		c->dirty = true;
		c->next_dirty = node.dirty;
		node.dirty = c;
	}
}

/* Closes now, frees at the end of the iteration: events may still name it. */
static void end_client(struct client *c)
{
	if (c->s.fd >= 0) {
		ob__raw_close(&c->s);
		node.client[c->slot] = NULL;
		node.free_slot[node.nfree++] = c->slot;
		mark_dirty(c);
	}
}

static void pace_client(struct client *c)
{
	c->s.paused = node.link_full || ob__raw_waiting(&c->s) > CLIENT_HIGH;
	ob__raw_arm(node.epfd, &c->s);
}

static void flush_clients(void)
{
	for (struct client *c = node.dirty; c; c = c->next_dirty) {
		if (c->s.fd < 0) {
			continue;
		}
		if (ob__raw_flush(node.epfd, &c->s) < 0 || ob__raw_waiting(&c->s) > CLIENT_HARD ||
		    (c->s.kind == CLOSING && !ob__raw_waiting(&c->s))) {
			end_client(c);
			continue;
		}
		pace_client(c);
	}
}

static void flush_next(void)
{
	if (node.next.fd >= 0 && ob__raw_flush(node.epfd, &node.next) < 0) {
		ob__raw_die("the next hop is gone");
	}
	if (node.role == PROXY && node.link_full && ob__raw_waiting(&node.next) < LINK_HIGH / 2) {
		node.link_full = false;
		for (uint32_t i = 0; i < CLIENTS; i++) {
			if (node.client[i]) {
				pace_client(node.client[i]);
			}
		}
	}
}

static void resume(struct ob__raw_sock *from, const struct ob__raw_sock *to)
{
	if (from->paused && ob__raw_waiting(to) < LINK_HIGH / 2) {
		from->paused = false;
		ob__raw_arm(node.epfd, from);
	}
}

static void flush_all(void)
{
	node.added = 0;
	flush_next();
	if (node.role == PROXY) {
		flush_clients();
		return;
	}
	if (node.up.fd >= 0 && ob__raw_flush(node.epfd, &node.up) < 0) {
		ob__raw_close(&node.up);
	}
	if (node.role == ROUTE) {
		resume(&node.up, &node.next);
		resume(&node.next, &node.up);
	} else {
		resume(&node.up, &node.up);
	}
}

static void count_added(size_t n)
{
	node.added += n;
	if (node.added > OB__RAW_EARLY) {
		flush_all();
	}
}

static void free_ended(void)
{
	struct client *list = node.dirty;

	node.dirty = NULL;
	while (list) {
		struct client *c = list;
		list = c->next_dirty;
		c->dirty = false;
		if (c->s.fd < 0) {
			free(c);
		}
	}
}

/* ---- links ---- */

/* A reply for one of the proxy's clients, if that is still there. */
static void deliver(const uint8_t *p, uint32_t len)
{
	uint32_t slot = ob__le32_get(p + 4);
	struct client *c = slot < CLIENTS ? node.client[slot] : NULL;
	size_t packet = OB__PKT_HEADER + (size_t)len;
	uint8_t head[10];

	if (!c || c->serial != ob__le32_get(p + 8) || c->s.kind != OPEN) {
		return;
	}
	size_t n = ob__raw_put(head, 0x80 | OP_BINARY, packet);
	uint8_t *at = ob__raw_room(&c->s, n + packet);
	memcpy(at, head, n);
	ob__pkt_put(at + n, ob__le32_get(p + 12), len);
	memcpy(at + n + OB__PKT_HEADER, p + LINK_HEADER, len);
	mark_dirty(c);
	count_added(n + packet);
}

static void pass_on(struct ob__raw_sock *from, const uint8_t *p, uint32_t len)
{
	struct ob__raw_sock *to =
		node.role == SERVICE || from == &node.next ? &node.up : &node.next;

	if (to->fd < 0) {
		return;
	}
	memcpy(ob__raw_room(to, LINK_HEADER + (size_t)len), p, LINK_HEADER + (size_t)len);
	count_added(LINK_HEADER + (size_t)len);
	if (ob__raw_waiting(to) > LINK_HIGH && !from->paused) {
		from->paused = true;
		ob__raw_arm(node.epfd, from);
	}
}

static int on_link(struct ob__raw_sock *s)
{
	ssize_t got = ob__raw_read(s, node.buf);
	size_t at = 0;

	if (got <= 0) {
		return (int)got;
	}
	size_t n = (size_t)got;
	while (n - at >= LINK_HEADER) {
		uint32_t len = ob__le32_get(node.buf + at);
		if (len > OB__RAW_MAX) {
			return -1;
		}
		if (n - at - LINK_HEADER < len) {
			break;
		}
		if (node.role == PROXY) {
			deliver(node.buf + at, len);
		} else {
			pass_on(s, node.buf + at, len);
		}
		at += LINK_HEADER + (size_t)len;
	}
	if (s->fd >= 0) {
		ob__raw_keep(s, node.buf + at, n - at);
	}
	return 0;
}

static void link_event(struct ob__raw_sock *s, uint32_t events)
{
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || on_link(s) == 0) {
		return;
	}
	if (s == &node.next) {
		ob__raw_die("the next hop is gone");
	}
	ob__raw_close(s);
}

/* ---- clients of the proxy ---- */

static int take_packets(struct client *c, const uint8_t *p, size_t n)
{
	while (n) {
		uint32_t len = n < OB__PKT_HEADER ? 0 : ob__le32_get(p);
		if (len < OB__PKT_HEADER || len > n) {
			return -1;
		}
		uint32_t body = len - OB__PKT_HEADER;
		uint8_t *at = ob__raw_room(&node.next, LINK_HEADER + (size_t)body);
		ob__le32_put(at, body);
		ob__le32_put(at + 4, c->slot);
		ob__le32_put(at + 8, c->serial);
		memcpy(at + 12, p + 4, 4);
		memcpy(at + LINK_HEADER, p + OB__PKT_HEADER, body);
		count_added(LINK_HEADER + (size_t)body);
		p += len;
		n -= len;
	}
	return 0;
}

static int take_frame(struct client *c, const struct ob__raw_frame *f, uint8_t *p)
{
	ob__wskey_mask(p, p, f->len, f->mask);
	if (f->opcode == OP_PONG) {
		return 0;
	}
	if (f->opcode == OP_PING || f->opcode == OP_CLOSE) {
		uint8_t *at = ob__raw_room(&c->s, 2 + f->len);
		ob__raw_put(at, f->opcode == OP_PING ? 0x80 | OP_PONG : 0x80 | OP_CLOSE, f->len);
		memcpy(at + 2, p, f->len);
		c->s.kind = f->opcode == OP_CLOSE ? CLOSING : OPEN;
		mark_dirty(c);
		return 0;
	}
	if (!f->fin || (f->opcode != OP_TEXT && f->opcode != OP_BINARY)) {
		return -1;
	}
	return take_packets(c, p, f->len);
}

/* Takes whole frames. The bytes used, -1 to close the client. */
static ssize_t take_frames(struct client *c, uint8_t *p, size_t n)
{
	struct ob__raw_frame f;
	size_t at = 0;

	while (c->s.kind == OPEN && c->s.fd >= 0) {
		int head = ob__raw_header(p + at, n - at, &f);
		if (head < 0) {
			return -1;
		}
		if (!head || n - at - (size_t)head < f.len) {
			break;
		}
		if (take_frame(c, &f, p + at + head) < 0) {
			return -1;
		}
		at += (size_t)head + f.len;
	}
	return (ssize_t)at;
}

static int on_client(struct client *c)
{
	ssize_t n = ob__raw_read(&c->s, node.buf);
	ssize_t used = 0;

	if (n <= 0) {
		return (int)n;
	}
	if (c->s.kind == FRESH) {
		used = ob__raw_upgrade(&c->s, node.buf, (size_t)n);
		if (used > 0) {
			c->s.kind = OPEN;
			mark_dirty(c);
		}
	}
	if (used < 0) {
		return -1;
	}
	ssize_t more = take_frames(c, node.buf + used, (size_t)(n - used));
	if (more < 0) {
		return -1;
	}
	if (c->s.fd >= 0) {
		used += more;
		ob__raw_keep(&c->s, node.buf + used, (size_t)(n - used));
	}
	return 0;
}

static void client_event(struct client *c, uint32_t events)
{
	if (c->s.fd < 0) {
		return;
	}
	if (events & EPOLLOUT) {
		mark_dirty(c);
	}
	if (c->s.paused) {
		if (events & (EPOLLHUP | EPOLLERR)) {
			end_client(c);
		}
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && on_client(c) < 0) {
		end_client(c);
		return;
	}
	if (ob__raw_waiting(&node.next) > LINK_HIGH) {
		node.link_full = true;
	}
	if (node.link_full && c->s.fd >= 0) {
		pace_client(c);
	}
}

/* ---- the loop ---- */

static void accept_clients(void)
{
	for (;;) {
		int fd = ob__raw_accept(node.listener.fd);
		if (fd < 0) {
			return;
		}
		struct client *c = node.nfree ? calloc(1, sizeof(*c)) : NULL;
		if (!c) {
			ob__raw_die("too many clients");
		}
		c->slot = node.free_slot[--node.nfree];
		c->serial = node.serial++;
		node.client[c->slot] = c;
		ob__raw_open(node.epfd, &c->s, FRESH, fd);
	}
}

/* The newest link wins: the node above may have been started again. */
static void accept_link(void)
{
	int fd = ob__raw_accept(node.listener.fd);

	if (fd >= 0) {
		ob__raw_close(&node.up);
		ob__raw_open(node.epfd, &node.up, UP, fd);
	}
}

static void run(void)
{
	struct epoll_event ev[EVENTS];

	for (;;) {
		int n = epoll_wait(node.epfd, ev, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct ob__raw_sock *s = ev[i].data.ptr;
			if (s->kind == LISTENER && node.role == PROXY) {
				accept_clients();
			} else if (s->kind == LISTENER) {
				accept_link();
			} else if (s->kind == UP || s->kind == NEXT) {
				link_event(s, ev[i].events);
			} else {
				client_event((struct client *)s, ev[i].events);
			}
		}
		flush_all();
		free_ended();
	}
}

static void make_slots(void)
{
	node.client = calloc(CLIENTS, sizeof(struct client *));
	node.free_slot = malloc(CLIENTS * sizeof(*node.free_slot));
	node.serial = (uint32_t)time(NULL);
	if (!node.client || !node.free_slot) {
		ob__raw_die("out of memory");
	}
	for (uint32_t i = CLIENTS; i-- > 0;) {
		node.free_slot[node.nfree++] = i;
	}
}

static int usage(void)
{
	fputs("usage: raw_chain proxy|route|service --listen PORT [--next HOST:PORT]\n"
	      "The proxy and the route need a next hop, which must be up or come up in 5 seconds.\n"
	      "PORT 0 takes any; each prints \"listening PORT\" when it is ready.\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"listen", required_argument, NULL, 'l'},
		{"next", required_argument, NULL, 'n'},
		{NULL, 0, NULL, 0},
	};
	static const char *const roles[] = {"proxy", "route", "service"};
	const char *port = NULL;
	const char *next = NULL;
	unsigned role = 0;
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (opt == '?') {
			return usage();
		}
		*(opt == 'l' ? &port : &next) = optarg;
	}
	while (role < 3 && (optind != argc - 1 || strcmp(argv[optind], roles[role]) != 0)) {
		role++;
	}
	if (role == 3 || !port || (role == SERVICE) != !next) {
		return usage();
	}
	node.role = role;
	node.epfd = ob__raw_start();
	node.up.fd = node.next.fd = -1;
	node.buf = malloc(OB__RAW_BUFFER);
	make_slots();
	if (next) {
		ob__raw_open(node.epfd, &node.next, NEXT, ob__raw_dial(next));
	}
	ob__raw_open(node.epfd, &node.listener, LISTENER, ob__raw_listen(port));
	run();
}
