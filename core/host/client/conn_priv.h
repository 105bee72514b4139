/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What the files that make up a connection share.
 *
 * conn.c has its beginning and its end, and who may read it; conn_in.c turns bytes into frames,
 * frames into packets and has those that are messages dispatched; conn_out.c encodes what goes to
 * the client and keeps what it is too slow for; conn_time.c has its deadlines.  All of them close
 * with ob__conn_close(), after which none of them may go on with the connection: whoever calls what
 * can close it looks at the answer, or at close_sent.
 */

#ifndef OB__CONN_PRIV_H
#define OB__CONN_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <obhost/obhost.h>

#include "host/client/client.h"
#include "host/client/codec_state.h"
#include "host/client/conn.h"
#include "host/client/conn_time.h"
#include "host/node.h"

#define OB__WS_TEXT   1u
#define OB__WS_BINARY 2u

#define OB__CONN_WS_MORE 64u /* bytes that a message may have more than a packet */

static inline size_t ob__conn_message_max(const struct ob__conn *conn)
{
	size_t all = conn->node->conf->limits.message;
	size_t own = conn->from->conf->message;

	return own != 0 && own < all ? own : all;
}

/* The codec's registration, with the connection's state brought to its version. */
static inline struct ob__reg *ob__conn_codec(struct ob__conn *conn)
{
	struct ob__reg *reg = ob__slot_active(conn->codec);

	if (reg == NULL || reg->codec.state_ver == conn->codec_ver) {
		return reg;
	}
	return ob__codec_bring(conn, reg) ? reg : NULL;
}

/* Zeroed but for its size and kind.  In two parts, which take a few plain stores; for the whole the
 * compiler has an instruction that takes longer to begin with. */
static inline void ob__conn_packet(ob_packet *p, int kind)
{
	const size_t half = offsetof(ob_packet, name);

	memset(p, 0, half);
	memset((uint8_t *)p + half, 0, sizeof(*p) - half);
	p->size = sizeof(*p);
	p->kind = kind;
}

static inline uint8_t ob__conn_op(const struct ob__reg *reg)
{
	return (reg->codec.flags & OB_CODEC_TEXT) != 0 ? OB__WS_TEXT : OB__WS_BINARY;
}

/* What goes out as text must be text: no client may take it otherwise. */
static inline bool ob__conn_may_send(const struct ob__conn *conn, const struct ob__reg *reg,
                                     const void *data, size_t len)
{
	return !conn->is_ws || ob__conn_op(reg) != OB__WS_TEXT || ob__utf8_ok(data, len);
}

/* ---- conn.c ---- */

/* Reads on, or not, as the reasons for a pause are now. */
void ob__conn_update_read(struct ob__conn *conn);

/* Closes a client that has closed, or has been told. */
void ob__conn_shut(struct ob__conn *conn, uint16_t code, const char *reason, const char *counted);

/* ---- conn_in.c ---- */

/* Frees what is kept of what is incomplete. */
void ob__conn_part_free(struct ob__conn *conn);

/* Of its stream: something has arrived.  It is unmasked where it is. */
void ob__conn_read(struct ob__stream *s, uint8_t *data, size_t len);

/* The codec's time has come; true when the connection is still open. */
bool ob__conn_wake(struct ob__conn *conn);

/* ---- conn_out.c ---- */

/* One transport message, of any length; WebSocket's has `op`. */
void ob__conn_put(struct ob__conn *conn, uint8_t op, const void *data, size_t len);

/* The pushes that were kept go out, as many as it takes. */
void ob__conn_send_kept(struct ob__conn *conn);

/* The client reads too little of what goes to it: it is read no further. */
static inline void ob__conn_mark(struct ob__conn *conn)
{
	if (conn->stream.above && (conn->paused & OB__PAUSE_QUEUE) == 0) {
		ob__conn_pause(conn, OB__PAUSE_QUEUE, true);
		ob__conn_stuck(conn);
	}
}

static inline bool ob__conn_full(const struct ob__conn *conn, size_t more)
{
	const struct ob__limits *limits = &conn->node->conf->limits;

	return conn->too_slow ||
	       conn->stream.queued + more > limits->client_queue + limits->message;
}

#endif
