/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F2.  The HTTP/1.1 server, and the WebSocket upgrade.
 *
 * One parser serves both: a WebSocket listener is an HTTP listener whose only answer is 101.
 * A connection reads one request at a time, whole (head up to 16 KiB, body up to the limit), gives
 * it to `on_request`, and reads the next one only when it has been answered; pipelined bytes wait.
 * The answer may come later, from anywhere: a request is a handle that may outlive its
 * connection, then an answer is dropped.  Idle and half-sent requests time out.
 *
 * What is doubtful is refused, not guessed at: two lengths, folded lines, bare LF, a missing Host
 * (all 400), methods other than GET, HEAD, POST, PUT, DELETE, PATCH and OPTIONS (501), transfer
 * codings other than chunked (501).  Trailers and chunk extensions are dropped.
 */

#ifndef OB__HTTP_H
#define OB__HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/stream.h"

struct ob__http_server;
struct ob__http_conn;

/* One request being answered; its handle is what callers keep. */
struct ob__http_request {
	uint64_t handle;    /* for ob__http_reply() and friends */
	const char *method; /* "GET" */
	const char *path;   /* decoded, "%2F" too; begins with '/', no NUL; ".." stays */
	const char *query;  /* undecoded, "" if none */
	const uint8_t *body;
	size_t body_len;
	bool loopback;
	bool unix_socket;
	const char *peer;
};

struct ob__http_options {
	size_t max_body;     /* 0: 1 MiB; beyond it 413 */
	uint32_t max_conns;  /* 0: 1024; beyond it accepted and closed at once, counted */
	uint32_t idle_ms;    /* between requests, and for a slow reader to take nothing; 0: 60000 */
	uint32_t request_ms; /* for a request to arrive whole (408), a caller to begin; 0: 10000 */
	bool upgrade_only;   /* a WebSocket listener: anything else gets 426 */

	/* A request has arrived whole; valid until this returns (the handle longer). */
	void (*on_request)(struct ob__http_server *srv, const struct ob__http_request *req,
	                   void *arg);

	/* A valid WebSocket handshake arrived (RFC 6455 section 4.2.1).  The callee calls
	 * ob__http_upgrade() now to take the socket, or ob__http_reply() to refuse.  NULL: upgrades
	 * get 426 or 400. */
	void (*on_upgrade)(struct ob__http_server *srv, const struct ob__http_request *req,
	                   void *arg);

	/* Whoever ob__http_take() was told of is not taken over by an upgrade, and gone.  Comes
	 * after ob__http_server_free() as well.  May be NULL. */
	void (*on_gone)(void *guest);

	/* Something that is no request was answered with that status.  May be NULL. */
	void (*on_refused)(int status, void *arg);
	void *arg;
};

struct ob__http_counts {
	uint64_t requests;
	uint64_t bad; /* refused by the parser or a limit */
	uint64_t timeouts;
	uint64_t refused; /* connections over max_conns */
};

struct ob__http_server *ob__http_server_new(struct ob__streams *m,
                                            const struct ob__http_options *options);

/* Closes every connection, after handing the kernel what was answered; the memory goes in a later
 * turn, and nothing is called back any more. Safe in a callback. NULL is accepted. */
void ob__http_server_free(struct ob__http_server *srv);

/* For a listener's callback: takes the waiting connection. */
void ob__http_accept(struct ob__http_server *srv, uv_stream_t *server);

/* Takes over a connection that somebody else has accepted, with what was put back to be read, and
 * closes `from`; its first request must be whole in `ms`.  `guest` is the caller's own.  0, or what
 * ob__stream_adopt() says: then `from` is as it was, and the guest still the caller's. */
int ob__http_take(struct ob__http_server *srv, struct ob__stream *from, void *guest, uint64_t ms);

/* Of a request that is about to be upgraded: its guest, who is the caller's again.  NULL: none. */
void *ob__http_guest(struct ob__http_server *srv, uint64_t handle);

uint32_t ob__http_conns(const struct ob__http_server *srv);
const struct ob__http_counts *ob__http_counts(const struct ob__http_server *srv);

/* A header's value (name in any case), or NULL; only during on_request and on_upgrade. */
const char *ob__http_header(struct ob__http_server *srv, uint64_t handle, const char *name);

/* Adds a header to the coming answer. 0, -ESTALE, -E2BIG (8 KiB in all), or -EINVAL for a name that
 * is no token, a control character in the value, and the headers that the server writes itself:
 * Connection, Content-Length, Content-Type, Date, Transfer-Encoding, Upgrade. */
int ob__http_set_header(struct ob__http_server *srv, uint64_t handle, const char *name,
                        const char *value);

/* Answers. `type` NULL: text/plain; charset=utf-8; one with control characters becomes
 * application/octet-stream, a status outside 200..599 becomes 500. HEAD gets no body.  0, or
 * -ESTALE if the client is gone or the request was answered. */
int ob__http_reply(struct ob__http_server *srv, uint64_t handle, int status, const char *type,
                   const void *body, size_t len);

/* True while the request waits for its answer. */
bool ob__http_waiting(const struct ob__http_server *srv, uint64_t handle);

/*
 * Accepts a WebSocket handshake: writes 101 and moves the socket into `into`, a stream that was
 * initialised by ob__stream_init() and nothing more.  Bytes that came behind the handshake are
 * handed to its on_read in the next turn, before any others.  No subprotocol is chosen and no
 * extension accepted.  0, -ESTALE, -EINVAL (no handshake), or -ECANCELED; then the
 * request must be answered.
 */
int ob__http_upgrade(struct ob__http_server *srv, uint64_t handle, struct ob__stream *into);

const char *ob__http_status_text(int status);

#endif
