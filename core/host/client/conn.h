/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  A client's connection: a stream, the WebSocket framing if its
 * transport has one, a codec, a session.
 *
 * Bytes go through in place: the shared read buffer is unmasked where it is, the codec points into
 * it, and only what is incomplete is kept.  The codec is a slot; its state is host memory beside
 * the connection, so a new generation of the codec's module goes on at the next packet.
 *
 * BACKPRESSURE.  A client is read no further while it has too many requests in flight, while the
 * link its messages go to is congested, while it does not read its own answers, or while it or the
 * node that it sticks to is to go (host/cluster/drain.h).  What is queued
 * towards it is bounded; a client beyond the bound is closed, or its pushes are dropped.
 */

#ifndef OB__CONN_H
#define OB__CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "host/message/way.h"
#include "lib/buf.h"
#include "lib/pushq.h"
#include "lib/slab.h"
#include "lib/ws.h"
#include "mesh/registry.h"
#include "mesh/session.h"
#include "net/stream.h"

struct ob__node;
struct ob__client_listener;
struct ob__codec_kept;
struct ob__fanout;
struct ob__guest;
struct ob__resume;
struct ob__slot;

enum ob__conn_pause {
	OB__PAUSE_IN_FLIGHT = 1u << 0,
	OB__PAUSE_LINK = 1u << 1,
	OB__PAUSE_QUEUE = 1u << 2,
	OB__PAUSE_DRAIN = 1u << 3, /* this node drains, and the client's turn has come */
	OB__PAUSE_MOVE = 1u << 4,  /* a node that it sticks to waits for its requests to end */
	OB__PAUSE_RELAY = 1u << 5, /* a route node on their way does */

	OB__CONN_SERIAL = 1u << 6, /* no pause: some of its messages wait for their turn, and it is
	                            * read on (host/message/gate.h) */
};

/* What a connection has only while something is incomplete. */
struct ob__conn_part {
	struct ob__buf in;     /* a WebSocket frame */
	struct ob__buf packet; /* a packet */
	struct ob__buf packed; /* a message that is compressed */
};

/* The timer of the stream is for all of its deadlines (host/client/conn_time.h). */
struct ob__conn {
	struct ob__stream stream;
	struct ob__node *node;
	struct ob__client_listener *from;
	struct ob__session *session;
	struct ob__slot *codec;
	void *codec_state;
	uint32_t codec_ver;
	uint32_t codec_size;
	struct ob__codec_kept *kept; /* codec state for the way back (host/client/codec_state.h) */
	struct ob__guest *guest;     /* of a listener that counts, or NULL */
	struct ob__resume *resume;   /* of a client that may come back, or NULL */
	uint64_t wake_at;            /* when the codec wants to be called; 0: not */
	uint32_t idle_ms;            /* 0: never */
	uint32_t begun;              /* ms since which a packet is incomplete; 0: none is */
	uint32_t stuck; /* ms since which it has not been seen to take anything; 0: it is not */
	uint32_t taken; /* ob__stream_taken() then */
	uint32_t in_flight;
	uint8_t paused; /* enum ob__conn_pause */
	bool is_ws;
	bool close_sent;
	bool opened;     /* the codec has begun with it */
	bool no_hello;   /* so the codec has said of its listener */
	bool counted;    /* among those that were closed */
	bool too_slow;   /* it takes nothing more, and is closed (host/client/too_slow.h) */
	uint8_t deflate; /* bits of the window for what is compressed for it; 0: nothing is */
	struct ob__ws ws;
	struct ob__conn_part *part;  /* what is incomplete, or NULL */
	struct ob__list paused_link; /* in clients->link_paused */
	const struct ob__peer *paused_by;
	struct ob__pushq *pushes; /* kept while it is slow, or NULL */
	struct ob__way *way;      /* of the last message that went to another node, or NULL */
	uint64_t broadcast;       /* the last one that it has had (host/push/broadcast.h) */
};

/* A connection whose stream is still to be accepted into; NULL at the limit or without a codec. */
struct ob__conn *ob__conn_new(struct ob__client_listener *from, bool is_ws);

/* Its socket is there: the session begins, reading starts. */
void ob__conn_open(struct ob__conn *conn);

/* That its session has begun, or that session if there is one, is announced. */
void ob__session_announce(struct ob__node *node, uint64_t session);
void ob__conn_announce(struct ob__conn *conn);

static inline uint64_t ob__conn_handle(const struct ob__conn *conn)
{
	return ((const struct ob__slab_head *)(const void *)conn - 1)->handle;
}

struct ob__conn *ob__conn_get(struct ob__node *node, uint64_t handle);

/* The client's address, as a load balancer said or as the socket has it. */
void ob__conn_peer(const struct ob__conn *conn, char *out, size_t cap);

/* Sends the end of a request.  For a failure without data the error body is made here.  NULL, a
 * client that left, is accepted: nothing happens. */
void ob__conn_reply(struct ob__conn *conn, uint32_t id, uint64_t cookie, int code, const char *text,
                    const void *data, size_t len);

/* Sends what has no number (host/session/resume.h), or has it already. */
void ob__conn_tell(struct ob__conn *conn, const ob_packet *p);

/* Sends a message unasked. 0, OB_E_STALE, OB_E_TOO_BIG, OB_E_BUSY (dropped). */
int ob__conn_push(struct ob__node *node, uint64_t conn, uint32_t id, const void *data, size_t len);

/* The same for a message that may be for others as well: `fo`, or NULL, has its forms. */
int ob__conn_give(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo);

/* The same, when the client has had the broadcasts before it, and is not being closed. */
int ob__conn_give_next(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo);

/* Broadcasts that are under way and have not reached the client do so now. */
void ob__conn_catch_up(struct ob__conn *conn);

/* A request of this client went out to wait for its end; and has ended (NULL is accepted). */
void ob__conn_begin(struct ob__conn *conn);
void ob__conn_ended(struct ob__conn *conn);

/* Reads the client no further for one more reason, or for one less. */
void ob__conn_pause(struct ob__conn *conn, enum ob__conn_pause why, bool pause);

/* The link to the peer, which the client's message went to, is congested; and is so no longer. */
void ob__conn_pause_link(struct ob__conn *conn, const struct ob__peer *peer);
void ob__clients_link_drained(struct ob__node *node, const struct ob__peer *peer);

/* Closes with a WebSocket close code (no close frame on other transports), after what is queued and
 * what the codec has to say; counted under `counted`, a word that stays. */
void ob__conn_close(struct ob__conn *conn, uint16_t code, const char *reason, const char *counted);

/* The same, behind every broadcast until now, for a client whose session ends with it: it does not
 * come back to that, also if it is closed for what was to be said first. */
void ob__conn_dismiss(struct ob__conn *conn, uint16_t code, const char *reason,
                      const char *counted);

/* Closes at once, without a close frame. */
void ob__conn_drop(struct ob__conn *conn, const char *counted);

/* Counts a connection that was closed, or never made, for a reason, which is a word that stays. */
void ob__client_count_closed(struct ob__node *node, const char *reason);

#endif
