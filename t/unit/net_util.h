/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Tests only. A loop with streams, and plain blocking-free sockets as the other side, so that the
 * code under test never talks to itself. */

#ifndef OB__NET_UTIL_H
#define OB__NET_UTIL_H

#include <arpa/inet.h>
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "net/listener.h"
#include "net/stream.h"

#define NET_MS_MAX 10000u /* no wait of a test is longer */

struct net {
	struct ob__loop *loop;
	struct ob__streams m;
	struct ob__listener *listener;
};

static inline void net_up(struct net *n)
{
	memset(n, 0, sizeof(*n));
	n->loop = ob__loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(n->loop);
	CU_ASSERT_EQUAL_FATAL(ob__streams_init(&n->m, n->loop), 0);
}

static inline void net_turns(struct net *n, unsigned turns)
{
	while (turns-- > 0) {
		ob__loop_turn(n->loop);
	}
}

/* Turns the loop until *what reaches `wanted`; false when it takes too long. */
static inline bool net_until(struct net *n, const volatile unsigned *what, unsigned wanted)
{
	uint64_t end = ob__loop_hrtime_us() + NET_MS_MAX * 1000u;
	while (*what < wanted) {
		ob__loop_turn(n->loop);
		if (ob__loop_hrtime_us() > end) {
			return false;
		}
	}
	return true;
}

static inline void net_down(struct net *n)
{
	ob__listener_close(n->listener);
	for (unsigned i = 0; i < 1000 && n->m.open > 0; i++) {
		ob__loop_turn(n->loop);
	}
	CU_ASSERT_EQUAL(n->m.open, 0);
	CU_ASSERT_EQUAL(n->m.pending, 0);
	CU_ASSERT(ob__list_empty(&n->m.dirty));
	CU_ASSERT(ob__list_empty(&n->m.notify));
	ob__streams_free(&n->m);
	CU_ASSERT_EQUAL(ob__loop_free(n->loop), 0);
}

/* A listener on a free port of 127.0.0.1, or on a unix path. */
static inline void net_listen(struct net *n, const char *path, ob__listener_cb cb, void *arg)
{
	char err[256] = "";
	struct ob__listener_options o = {.host = path ? NULL : "127.0.0.1", .path = path};
	n->listener = ob__listener_open(n->loop, &o, cb, arg, err, sizeof(err));
	if (!n->listener) {
		printf("# %s\n", err);
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(n->listener);
	CU_ASSERT_EQUAL_FATAL(ob__listener_start(n->listener), 0);
}

static inline struct sockaddr_in net_addr(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
	                            .sin_port = htons((uint16_t)port),
	                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A connected socket that never blocks once connected; rcvbuf 0: the system's size. */
static inline int net_dial_port(int port, int rcvbuf)
{
	struct sockaddr_in addr = net_addr(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && rcvbuf > 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	}
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	if (fd >= 0) {
		fcntl(fd, F_SETFL, O_NONBLOCK);
	}
	return fd;
}

static inline int net_dial(struct net *n, int rcvbuf)
{
	return net_dial_port(ob__listener_port(n->listener), rcvbuf);
}

/* Of the system's own, which doubles it. */
static inline void net_send_buffer(const struct ob__stream *s, int bytes)
{
	CU_ASSERT_EQUAL(setsockopt(s->sock.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}

/* Closes with a reset instead of an end. */
static inline void net_reset(int fd)
{
	struct linger linger = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

#endif
