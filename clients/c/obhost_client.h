/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Public: a client of obhost for C and C++.  It speaks the obespoir protocol over TCP and
 * WebSocket, with nothing but sockets and the C library.
 *
 *     obhost_client_options options = {sizeof(options), "ws://game.example.org:20000/"};
 *     obhost_client *client = obhost_client_new(&options);
 *
 *     obhost_client_request(client, 1000, "{}", 2, 0, answered, NULL);
 *     while (running) {
 *             obhost_client_poll(client, 100);
 *     }
 *     obhost_client_free(client);
 *
 * In a loop of one's own: watch obhost_client_fd() for obhost_client_events(), wake after
 * obhost_client_timeout() ms at the latest, and call obhost_client_process() then; fd and events
 * may be others after each call of any function.  Nothing else runs: no thread, no signal, no
 * global.
 *
 * A client connects by itself, and again when it has lost the connection, after pauses that grow;
 * what is asked for meanwhile waits, within max_queue.  A request ends exactly once, by its fn,
 * with an answer or a code below, at the latest after its time.
 *
 * Answers carry the id of their request and nothing else: of several requests with one id the
 * oldest has the first answer, and a packet with an id that somebody waits for is an answer, not a
 * push.  Who pushes by an id that is also asked for can't be understood.
 *
 * Callbacks may call every function but obhost_client_free(), _process() and _poll().  One client
 * belongs to one thread at a time.  Names of hosts are looked up by getaddrinfo(), which may block;
 * numeric addresses do not.
 */

#ifndef OBHOST_CLIENT_H
#define OBHOST_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct obhost_client obhost_client;

enum obhost_client_code {
	OBHOST_OK = 0,
	OBHOST_E_INVAL = -1, /* an argument makes no sense */
	OBHOST_E_MEMORY = -2,
	OBHOST_E_FULL = -3,    /* max_queue or max_requests: it was not sent */
	OBHOST_E_TIMEOUT = -4, /* no answer in time; it may have been done */
	OBHOST_E_LOST = -5,   /* the connection was lost after it was sent; it may have been done */
	OBHOST_E_UNSENT = -6, /* there was no connection in time: it was not sent */
	OBHOST_E_CLOSED = -7, /* the client has ended */
};

enum obhost_client_state {
	OBHOST_WAITING = 1, /* for the next attempt to connect */
	OBHOST_CONNECTING,
	OBHOST_OPEN,
	OBHOST_CLOSING, /* obhost_client_close(): what is queued goes out */
	OBHOST_ENDED,
};

/* The one end of a request: OBHOST_OK with the answer's body, which is borrowed (and may be an
 * error of the node's, {"code": 404, ...}), or a code with no body. */
typedef void (*obhost_answer_fn)(obhost_client *c, int code, const void *data, size_t len,
                                 void *arg);

/* A message that nobody asked for. */
typedef void (*obhost_push_fn)(obhost_client *c, uint32_t id, const void *data, size_t len,
                               void *arg);

/* Zero is a good choice for all but size and url. */
typedef struct obhost_client_options {
	size_t size;            /* of this struct */
	const char *url;        /* "ws://HOST[:PORT][/PATH]" or "tcp://HOST:PORT" */
	void *arg;              /* for the next four */
	obhost_push_fn on_push; /* pushes that have no handler of their own */
	void (*on_open)(obhost_client *c, int again, void *arg); /* what is asked for in here goes
	                                                          * before what has waited */
	void (*on_lost)(obhost_client *c, int code, const char *reason, uint32_t retry_ms,
	                void *arg);
	void (*on_close)(obhost_client *c, int code, const char *reason, void *arg); /* for good */
	uint32_t connect_ms;     /* 10000: for a connection and its handshake */
	uint32_t request_ms;     /* 5000 */
	uint32_t heartbeat_ms;   /* 15000: of silence; UINT32_MAX: no heartbeats */
	uint32_t heartbeat_id;   /* TCP: a message that is answered, if only by 404; 0: none */
	uint32_t backoff_min_ms; /* 500 */
	uint32_t backoff_max_ms; /* 30000 */
	uint32_t max_requests;   /* 256 */
	size_t max_message;      /* 1 MiB: of the longest packet */
	size_t max_queue;        /* 1 MiB: of what waits to be sent */
} obhost_client_options;

/* A client that begins to connect in its first process(), or NULL: no memory, or a wrong url. */
obhost_client *obhost_client_new(const obhost_client_options *options);

/* Ends it without a word: requests end with OBHOST_E_CLOSED.  NULL is accepted. */
void obhost_client_free(obhost_client *c);

/* Sends a message; id 1 to 2^31-1.  fn is called once, unless this returns a code; never before it
 * returns.  `ms` 0: request_ms.  `data` is copied. */
int obhost_client_request(obhost_client *c, uint32_t id, const void *data, size_t len, uint32_t ms,
                          obhost_answer_fn fn, void *arg);

/* The same for what has no answer.  If it has one all the same within half a minute, that is
 * dropped, and so is a push with that id, which looks the same: one packet for each notification,
 * and for the last max_requests of them. */
int obhost_client_notify(obhost_client *c, uint32_t id, const void *data, size_t len);

/* Hears pushes with that id; fn NULL: no more.  At most 64 ids. */
int obhost_client_on(obhost_client *c, uint32_t id, obhost_push_fn fn, void *arg);

/* Ends it for good: requests under way end with OBHOST_E_CLOSED, what is queued goes out, then a
 * close frame with the code (1000 to 4999; 0: 1000). */
void obhost_client_close(obhost_client *c, int code, const char *reason);

int obhost_client_state(const obhost_client *c);    /* enum obhost_client_state */
int obhost_client_fd(const obhost_client *c);       /* -1: none now */
short obhost_client_events(const obhost_client *c); /* POLLIN and POLLOUT */
int obhost_client_timeout(const obhost_client *c);  /* ms, for poll(); -1: none */

/* Does what is due. 0, or OBHOST_E_CLOSED when it has ended. */
int obhost_client_process(obhost_client *c);

/* Waits for at most `ms` (-1: for ever) for something to do, and does it. As process(). */
int obhost_client_poll(obhost_client *c, int ms);

const char *obhost_client_strerror(int code);

#ifdef __cplusplus
}
#endif

#endif
