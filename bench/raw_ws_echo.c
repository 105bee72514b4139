/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * raw_ws_echo: the limit of the machine for a WebSocket echo. Plain epoll, one thread. The replies
 * to all frames of a read are built in place, over the requests (a server frame is 4 bytes
 * shorter), and go out in one send(), so a connection costs one recv() and one send() per loop
 * iteration. A connection whose reader is slow is not read from until what waits for it is gone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench/rawnet.h"

enum { EVENTS = 1024, LISTENER = 0, FRESH, UPGRADED, CLOSING };

static int epfd;
static uint8_t *buf;

/* Sends at once, behind what waits; copies only what the socket does not take. */
static int send_now(struct ob__raw_sock *s, const uint8_t *p, size_t n)
{
	size_t taken = 0;

	if (!ob__raw_waiting(s)) {
		ssize_t put = send(s->fd, p, n, MSG_NOSIGNAL);
		if (put < 0 && errno != EAGAIN && errno != EINTR) {
			return -1;
		}
		taken = put > 0 ? (size_t)put : 0;
	}
	if (taken < n) {
		memcpy(ob__raw_room(s, n - taken), p + taken, n - taken);
		s->paused = true;
		ob__raw_arm(epfd, s);
	}
	return 0;
}

static int on_readable(struct ob__raw_sock *s)
{
	ssize_t n = ob__raw_read(s, buf);
	ssize_t used = 0;
	size_t more = 0;
	bool closes = false;

	if (n <= 0) {
		return (int)n;
	}
	if (s->kind == FRESH) {
		used = ob__raw_upgrade(s, buf, (size_t)n);
		if (used < 0 || ob__raw_flush(epfd, s) < 0) {
			return -1;
		}
		s->kind = used ? UPGRADED : FRESH;
	}
	if (s->kind != UPGRADED) {
		ob__raw_keep(s, buf + used, (size_t)(n - used));
		return 0;
	}
	ssize_t put = ob__raw_echo(buf + used, (size_t)(n - used), &more, &closes);
	s->kind = closes ? CLOSING : UPGRADED;
	if (put < 0 || (put && send_now(s, buf + used, (size_t)put) < 0)) {
		return -1;
	}
	used += (ssize_t)more;
	ob__raw_keep(s, buf + used, (size_t)(n - used));
	return 0;
}

static int on_writable(struct ob__raw_sock *s)
{
	s->paused = ob__raw_waiting(s) > 0;
	if (ob__raw_flush(epfd, s) < 0) {
		return -1;
	}
	if (s->paused && !ob__raw_waiting(s)) {
		s->paused = false;
		ob__raw_arm(epfd, s);
	}
	return 0;
}

static void on_event(struct ob__raw_sock *s, uint32_t events)
{
	int rc = 0;

	if (events & EPOLLOUT) {
		rc = on_writable(s);
	}
	if (rc == 0 && !s->paused && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		rc = on_readable(s);
	}
	if (rc < 0 || (s->kind == CLOSING && !ob__raw_waiting(s)) ||
	    (s->paused && events & EPOLLERR)) {
		ob__raw_close(s);
		free(s);
	}
}

static void accept_all(int listener)
{
	for (int fd = ob__raw_accept(listener); fd >= 0; fd = ob__raw_accept(listener)) {
		struct ob__raw_sock *s = malloc(sizeof(*s));
		if (!s) {
			ob__raw_die("out of memory");
		}
		ob__raw_open(epfd, s, FRESH, fd);
	}
}

int main(int argc, char **argv)
{
	struct ob__raw_sock listener;
	struct epoll_event ev[EVENTS];

	if (argc != 2) {
		fputs("usage: raw_ws_echo PORT   (0: any; prints \"listening PORT\")\n", stderr);
		return 2;
	}
	epfd = ob__raw_start();
	buf = malloc(OB__RAW_BUFFER);
	if (!buf) {
		ob__raw_die("out of memory");
	}
	ob__raw_open(epfd, &listener, LISTENER, ob__raw_listen(argv[1]));
	for (;;) {
		int n = epoll_wait(epfd, ev, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct ob__raw_sock *s = ev[i].data.ptr;
			if (s->kind == LISTENER) {
				accept_all(s->fd);
			} else {
				on_event(s, ev[i].events);
			}
		}
	}
}
