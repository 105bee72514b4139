/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F2.  Connected sockets, and what happens to them: what is below a
 * stream (net/stream.h).
 *
 * libuv's handle of a socket is 264 bytes, and belongs to where it lies in memory.  This one is 8,
 * and can be moved.  All sockets of a loop are in one epoll of their own, which libuv's watches as
 * it watches any descriptor; so a turn has one more system call, and none is needed to hand a
 * connection on from the reader of its handshake to the one of its messages.
 *
 * What is to be waited for is told to the kernel at once; what is not any more, when it comes
 * nevertheless.  So a reader who stops and goes on costs nothing as long as nobody sends.  It tells
 * once of what has come (edges), and a read that does not fill its buffer has taken everything; the
 * exceptions, a byte of TCP's urgent data and a descriptor that a local peer passes, are seen to
 * here.
 *
 * Simulations have another implementation of this header (t/sim/mesh).
 */

#ifndef OB__SOCK_H
#define OB__SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <uv.h>

struct ob__loop;
struct ob__socks;

enum ob__sock_event {
	OB__SOCK_READ = 1u << 0,  /* bytes, an end or an error are there */
	OB__SOCK_WRITE = 1u << 2, /* there is room, or an error; or connect() has come to its end */
};

/* Embedded in its owner; without a socket after init. */
struct ob__sock {
	union {
		struct {
			int fd;             /* -1: none */
			uint16_t serial;    /* of what the kernel was told about it */
			uint8_t want : 3;   /* enum ob__sock_event */
			uint8_t missed : 3; /* has happened, and nobody has taken it */
			uint8_t told : 3;   /* to the kernel */
			bool known : 1;     /* to it at all */
			bool is_unix : 1;
			bool starved : 1; /* the kernel had no memory for it */
		};
		void *virtual; /* a simulation's own */
	};
};

/* The poll has found that something which is waited for has happened; an error or a hang-up is both
 * events, whichever was waited for. */
typedef void (*ob__sock_ready)(struct ob__sock *k, unsigned events);

/* What all sockets of a loop share.  NULL when out of memory or descriptors. */
struct ob__socks *ob__socks_new(struct ob__loop *loop, ob__sock_ready ready);

/* All of them must be closed. NULL is accepted. */
void ob__socks_free(struct ob__socks *set);

void ob__sock_init(struct ob__sock *k);
bool ob__sock_is_open(const struct ob__sock *k);

/* Those below that make a socket: 0, or negative and there is none. */

/* Takes the connection that the server holds. */
int ob__sock_accept(struct ob__socks *set, struct ob__sock *k, uv_stream_t *server);

/* Begins to dial; OB__SOCK_WRITE comes when that is over, and ob__sock_connected() says how.  One
 * of addr and path; with TCP_NODELAY. */
int ob__sock_connect(struct ob__socks *set, struct ob__sock *k, const struct sockaddr *addr,
                     const char *path);

/* One that somebody else has made; stays his on failure.  UV_EEXIST: it is in this set. */
int ob__sock_take(struct ob__socks *set, struct ob__sock *k, int fd, bool is_unix);

/* 0, or why there is no connection. */
int ob__sock_connected(const struct ob__sock *k);

/* Waits for one of the events from now on, or not any more.  0 or negative. */
int ob__sock_watch(struct ob__socks *set, struct ob__sock *k, enum ob__sock_event what, bool on);

/* How many bytes; 0 at the end; UV_EAGAIN: none now; or another error. */
ssize_t ob__sock_read(struct ob__sock *k, void *buf, size_t cap);

/* How many of the bytes the kernel has taken; UV_EAGAIN: none now; or another error. */
ssize_t ob__sock_write(struct ob__sock *k, const uv_buf_t *bufs, unsigned n);

/* Says the end to the peer. 0 or negative. */
int ob__sock_shut(struct ob__sock *k);

/* Bytes that the kernel has taken and the peer not, as far as it can be told. */
size_t ob__sock_unsent(const struct ob__sock *k);

/* Moves the socket; `from` has none then, and `into` does not wait for reading. */
void ob__sock_move(struct ob__socks *set, struct ob__sock *into, struct ob__sock *from);

/* Closes, if there is one; nothing is called back any more.  With `reset` what is on its way is
 * dropped. */
void ob__sock_close(struct ob__socks *set, struct ob__sock *k, bool reset);

/* Lets go of a socket that stays open: somebody else's again. */
void ob__sock_release(struct ob__socks *set, struct ob__sock *k);

/* 0, or UV_ENOTCONN. */
int ob__sock_peer(const struct ob__sock *k, struct sockaddr_storage *out);

/* The next one at or after *pos, moving *pos past it; NULL at the end.  It may be closed during the
 * walk. */
struct ob__sock *ob__sock_next(const struct ob__socks *set, uint32_t *pos);

#endif
