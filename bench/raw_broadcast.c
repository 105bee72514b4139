/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * raw_broadcast: the limit of the machine for one message to many WebSocket clients. Plain epoll,
 * one thread. What a client sends goes to all clients, itself included: the frame is built once,
 * and a loop hands it to each socket by a send() of its own. What a socket does not take waits in
 * its own output; one that has 1 MiB waiting is closed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench/rawnet.h"
#include "tools/wskey.h"

enum { EVENTS = 1024, LISTENER = 0, FRESH, UPGRADED, GONE, WAITING_MAX = 1 << 20 };

struct client {
	struct ob__raw_sock s;
	size_t at; /* in all */
};

static int epfd;
static uint8_t *buf;
static uint8_t *frame;
static struct {
	struct client **c;
	size_t len;
	size_t cap;
} all;

static void add(struct client *c)
{
	if (all.len == all.cap) {
		all.cap = all.cap ? 2 * all.cap : 1024;
		all.c = realloc(all.c, all.cap * sizeof(struct client *));
		if (!all.c) {
			ob__raw_die("out of memory");
		}
	}
	c->at = all.len;
	all.c[all.len++] = c;
}

/* A client that is in all of them may go only when no walk over them is under way. */
static void end(struct client *c)
{
	if (c->s.kind == UPGRADED) {
		all.len--;
		all.c[c->at] = all.c[all.len];
		all.c[c->at]->at = c->at;
	}
	c->s.kind = GONE;
	ob__raw_close(&c->s);
}

/* False when the client has to go. */
static bool give(struct client *c, const uint8_t *p, size_t n)
{
	size_t taken = 0;

	if (!ob__raw_waiting(&c->s)) {
		ssize_t put = send(c->s.fd, p, n, MSG_NOSIGNAL);
		if (put == (ssize_t)n) {
			return true;
		}
		if (put < 0 && errno != EAGAIN && errno != EINTR) {
			return false;
		}
		taken = put > 0 ? (size_t)put : 0;
	}
	if (ob__raw_waiting(&c->s) > WAITING_MAX) {
		return false;
	}
	memcpy(ob__raw_room(&c->s, n - taken), p + taken, n - taken);
	ob__raw_arm(epfd, &c->s);
	return true;
}

static void to_all(const uint8_t *payload, const struct ob__raw_frame *f, uint8_t first)
{
	size_t n = ob__raw_put(frame, first, f->len);

	ob__wskey_mask(frame + n, payload, f->len, f->mask);
	for (size_t i = 0; i < all.len; i++) {
		if (!give(all.c[i], frame, n + f->len)) {
			shutdown(all.c[i]->s.fd, SHUT_RDWR); /* epoll says so, later */
		}
	}
}

/* Bytes used, or -1 when the client has to go. */
static ssize_t frames(const uint8_t *p, size_t n)
{
	struct ob__raw_frame f;
	size_t at = 0;

	for (;;) {
		int head = ob__raw_header(p + at, n - at, &f);
		if (head < 0 || (head > 0 && f.opcode == OB__RAW_OP_CLOSE)) {
			return -1;
		}
		if (!head || n - at - (size_t)head < f.len) {
			return (ssize_t)at;
		}
		if (f.opcode < OB__RAW_OP_CLOSE) {
			to_all(p + at + head, &f, p[at]);
		}
		at += (size_t)head + f.len;
	}
}

static int on_readable(struct client *c)
{
	ssize_t n = ob__raw_read(&c->s, buf);
	ssize_t used = 0;

	if (n <= 0) {
		return (int)n;
	}
	if (c->s.kind == FRESH) {
		used = ob__raw_upgrade(&c->s, buf, (size_t)n);
		if (used < 0 || ob__raw_flush(epfd, &c->s) < 0) {
			return -1;
		}
		if (used > 0) {
			c->s.kind = UPGRADED;
			add(c);
		}
	}
	if (c->s.kind == UPGRADED) {
		ssize_t more = frames(buf + used, (size_t)(n - used));
		if (more < 0) {
			return -1;
		}
		used += more;
	}
	ob__raw_keep(&c->s, buf + used, (size_t)(n - used));
	return 0;
}

static void on_event(struct client *c, uint32_t events)
{
	int rc = 0;

	if (events & EPOLLOUT) {
		rc = ob__raw_flush(epfd, &c->s);
	}
	if (rc == 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		rc = on_readable(c);
	}
	if (rc < 0) {
		end(c);
		free(c);
	}
}

static void accept_all(int listener)
{
	for (int fd = ob__raw_accept(listener); fd >= 0; fd = ob__raw_accept(listener)) {
		struct client *c = malloc(sizeof(*c));
		if (!c) {
			ob__raw_die("out of memory");
		}
		ob__raw_open(epfd, &c->s, FRESH, fd);
	}
}

int main(int argc, char **argv)
{
	struct client listener;
	struct epoll_event ev[EVENTS];

	if (argc != 2) {
		fputs("usage: raw_broadcast PORT   (0: any; prints \"listening PORT\")\n", stderr);
		return 2;
	}
	epfd = ob__raw_start();
	buf = malloc(OB__RAW_BUFFER);
	frame = malloc(OB__RAW_MAX + 16);
	if (!buf || !frame) {
		ob__raw_die("out of memory");
	}
	ob__raw_open(epfd, &listener.s, LISTENER, ob__raw_listen(argv[1]));
	for (;;) {
		int n = epoll_wait(epfd, ev, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct client *c = ev[i].data.ptr;
			if (c->s.kind == LISTENER) {
				accept_all(c->s.fd);
			} else {
				on_event(c, ev[i].events);
			}
		}
	}
}
