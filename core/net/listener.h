/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F2.  An accepting socket.
 *
 * Opening is split from accepting: a listener is bound when a configuration is tried, and accepts
 * only when it goes live.  It accepts in bounded batches per turn and never ends by itself.  The
 * last sixteen file descriptors of the process are left to everything else: a caller that would get
 * one of them is turned away, after a moment in which nothing is accepted, unless others have gone
 * meanwhile.
 */

#ifndef OB__LISTENER_H
#define OB__LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/stream.h"

struct ob__listener;

/* A connection waits: call ob__stream_accept(stream, server) on a stream of yours.  One that is not
 * taken is closed, and counted as refused. */
typedef void (*ob__listener_cb)(struct ob__listener *l, uv_stream_t *server, void *arg);

struct ob__listener_options {
	const char *host; /* numeric or a name; NULL: 127.0.0.1, or with a path */
	int port;         /* 0: any free one, see ob__listener_port() */
	const char *path; /* unix socket; replaced only if it is a dead socket of ours */
	const char
		*name; /* not NULL: a socket that somebody else has bound, and what it is called */
	int fd;        /* that one; the listener's then, also when it can't be opened, unless it
	                * is no stream socket or this loop has it already */
	int mode;      /* of the unix socket, e.g. 0600; 0: 0600 */
	int backlog;   /* 0: 1024 */
	bool reuseport;
	int *code; /* NULL, or where a negative code goes when it can't be opened */
};

/* Binds and listens, so that a busy port is an error now; accepts nothing yet. NULL with a sentence
 * in err that names the address and the reason. */
struct ob__listener *ob__listener_open(struct ob__loop *loop,
                                       const struct ob__listener_options *options,
                                       ob__listener_cb cb, void *arg, char *err, size_t err_cap);

/* Starts accepting. 0 or negative. */
int ob__listener_start(struct ob__listener *l);

/* Stops accepting, keeps the port.  Callers wait in the backlog. */
void ob__listener_pause(struct ob__listener *l);

/* Closes; the memory goes by itself in a later turn. Unlinks a unix path. NULL is accepted. */
void ob__listener_close(struct ob__listener *l);

/* The port bound, or 0 for a unix socket. */
int ob__listener_port(const struct ob__listener *l);

/* "127.0.0.1:20000" or the path. */
const char *ob__listener_name(const struct ob__listener *l);

/* Connections accepted, and turned away for lack of descriptors. */
uint64_t ob__listener_accepted(const struct ob__listener *l);
uint64_t ob__listener_refused(const struct ob__listener *l);

#endif
