/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to load.c (the phases of a run) and loadconn.c (one connection of it).
 *
 * Frames are built once, masked once with a key drawn for the run, and laid out one after another
 * in `frames`; sending k messages is one send() of the first k. With --verify only the 16 digits of
 * the sequence number are rewritten in each, under the same mask, wherever fragments have put them.
 * What a socket does not take is copied to the connection's own `out`; with --pieces everything is.
 */
#ifndef OB__LOAD_PRIV_H
#define OB__LOAD_PRIV_H

#include <time.h>

#include <openssl/ssl.h>

#include "tools/load.h"
#include "tools/wskey.h"

enum {
	OB__LOAD_READ = 256 << 10,                      /* bytes asked of one recv() */
	OB__LOAD_MAX_FRAME = OB__LOAD_MAX_BODY + 65536, /* largest reply taken */
	OB__LOAD_BURST = 256 << 10, /* bytes of prepared frames, at least one frame */
	OB__LOAD_BACKLOG = 1 << 20, /* open loop: unsent bytes that make a message an overrun */
	OB__LOAD_DIGITS = 16,       /* of a sequence number */
};

enum ob__load_state {
	OB__LOAD_CONNECTING,
	OB__LOAD_SECURING, /* TLS shakes hands */
	OB__LOAD_UPGRADING,
	OB__LOAD_OPEN,
	OB__LOAD_CLOSING, /* our close frame is out */
	OB__LOAD_GONE,
};

struct ob__load_bytes {
	uint8_t *data;
	size_t len;
	size_t cap;
};

struct ob__load_conn {
	int fd;
	unsigned index;
	enum ob__load_state state;
	uint32_t events;              /* armed in epoll */
	uint32_t owed;                /* queued, not answered */
	uint32_t unsent;              /* queued last, not built yet */
	uint64_t next;                /* sequence of the next message */
	uint64_t base;                /* the lowest one not answered */
	uint64_t top;                 /* one above the highest answered, with --verify */
	int64_t version;              /* of the last reply; -1: none yet */
	uint64_t *when;               /* ring of L->ring: start of latency in ns; 0 = answered */
	uint64_t begun;               /* to connect, in ns */
	SSL *ssl;                     /* NULL: plain */
	struct ob__load_bytes in;     /* an incomplete frame */
	struct ob__load_bytes packet; /* an incomplete packet */
	struct ob__load_bytes out;    /* what the socket did not take */
	size_t out_off;
};

struct ob__load {
	const struct ob__load_opts *opts;
	struct ob__load_report *report;
	int epfd;
	bool coarse; /* no epoll_pwait2 (before Linux 5.11): waits are whole milliseconds */
	struct ob__load_conn *conns;
	unsigned started; /* connections begun */
	unsigned asked;   /* requests for a handshake sent */
	unsigned opened;  /* handshakes done */
	unsigned alive;   /* not GONE, of those begun */
	uint64_t ring;    /* power of two */
	uint64_t owed;    /* over all connections */
	uint64_t queued;
	uint64_t schedule; /* open loop: messages due so far */

	uint32_t *missing; /* broadcast: ring of how many have not had it */
	SSL_CTX *tls;

	bool sending; /* closed loop: an answered message is followed by a new one */
	bool measuring;
	bool measuring_back; /* connections come back after a cut */
	uint64_t from_ns;    /* of the measurement */
	uint64_t last_reply_ns;

	uint8_t *frames;
	size_t frame_len;                   /* of all frames of a message */
	size_t frames_max;                  /* how many lie in frames */
	size_t digit_at[OB__LOAD_DIGITS];   /* of the sequence number in a message's frames */
	uint8_t digit_key[OB__LOAD_DIGITS]; /* the mask under it */
	uint8_t mask[4];
	uint64_t random;   /* of the sizes of pieces */
	uint64_t piece_ns; /* when the next connections give a piece */
	double pieces_due; /* of this turn, with the fraction that is left of the last one */
	unsigned piece_at; /* the connection whose turn it is */
	uint8_t *read_buf;
	char key[32]; /* of the handshake */
	char accept[OB__WSKEY_ACCEPT];
	char request[2048];
	size_t request_len;
};

/* Those that send and those that are idle. */
static inline unsigned ob__load_all(const struct ob__load *l)
{
	return l->opts->conns + l->opts->idle;
}

static inline uint64_t ob__load_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* Starts a connection on a connected or connecting, non-blocking fd, which is ours from now on. */
int ob__load_conn_start(struct ob__load *l, struct ob__load_conn *c, int fd);

/* Handles what epoll said. Connections that fail are closed and counted, never freed here. */
void ob__load_conn_event(struct ob__load *l, struct ob__load_conn *c, uint32_t events);

/* Queues one message whose latency counts from start; false if the connection can't owe more. */
bool ob__load_conn_queue(struct ob__load *l, struct ob__load_conn *c, uint64_t start);

/* Builds and sends what was queued. */
void ob__load_conn_send(struct ob__load *l, struct ob__load_conn *c);

/* Fills the connection to its depth (closed loop). */
void ob__load_conn_fill(struct ob__load *l, struct ob__load_conn *c, uint64_t now);

/* With --pieces: sends at most n bytes of what waits. */
void ob__load_conn_piece(struct ob__load *l, struct ob__load_conn *c, size_t n);

/* Says goodbye: a close frame, then the server is to close. */
void ob__load_conn_close(struct ob__load *l, struct ob__load_conn *c);

/* Closes the socket and frees what the connection holds; safe to repeat. */
void ob__load_conn_free(struct ob__load *l, struct ob__load_conn *c);

/* Ends a connection by a reset, and makes it one that can be started again. */
void ob__load_conn_cut(struct ob__load *l, struct ob__load_conn *c);

/* loadtls.c: sockets with TLS or without.  As send() and recv(), which they are without. */
int ob__load_tls_init(struct ob__load *l);
int ob__load_tls_start(struct ob__load *l, struct ob__load_conn *c);
ssize_t ob__load_io_send(struct ob__load_conn *c, const uint8_t *p, size_t n);
ssize_t ob__load_io_recv(struct ob__load_conn *c, uint8_t *p, size_t n);

/* The handshake's next step: 1 done, 0 more to come, -1 with its failure in why. */
int ob__load_tls_step(struct ob__load_conn *c, char *why, size_t cap);

#endif
