/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Newcomers of a listener that has more to settle than to accept.
 *
 * A listener for plain WebSockets or packets takes a socket and hands it on.  Where there is TLS,
 * one port for both, a load balancer in front, or a bound, a newcomer first goes through an entry:
 * it has the socket until the handshake is done and the first bytes have told what is spoken, then
 * gives it away, with what was read, to the HTTP server of the listener or to a connection
 * (host/client/conn.h), and is gone.  All of it has one deadline.  Whoever does not get through is
 * counted by reason.
 */

#ifndef OB__ENTRY_H
#define OB__ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

struct ob__client_listener;
struct ob__listen_conf;
struct ob__node;

enum ob__first {
	OB__FIRST_MORE, /* can't be told yet */
	OB__FIRST_HTTP,
	OB__FIRST_RAW,
};

/* What begins so: GET, POST, PUT and HEAD are HTTP's. Pure. */
enum ob__first ob__entry_first(const uint8_t *data, size_t len);

/* Newcomers of such a listener need an entry. */
bool ob__entry_needed(const struct ob__listen_conf *conf);

/* A connection waits at the listener: takes it. */
void ob__entry_accept(struct ob__client_listener *cl, uv_stream_t *server);

/* Closes those that are still in it. */
void ob__entries_close(struct ob__client_listener *cl);

/* Counts a newcomer who became no connection, by a word of [a-z_0-9]. */
void ob__client_count_refused(struct ob__node *node, const char *reason);

#endif
