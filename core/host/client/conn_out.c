/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/conn_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "host/client/too_slow.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "host/push/broadcast.h"
#include "host/push/fanout.h"
#include "lib/apart.h"
#include "net/wsdeflate.h"

void ob__conn_put(struct ob__conn *conn, uint8_t op, const void *data, size_t len)
{
	uint8_t header[OB__WS_HEADER_MAX];
	int rc = 0;

	if (conn->is_ws) {
		rc = ob__stream_append(&conn->stream, header, ob__ws_put_header(header, op, len));
	}
	if (rc == 0) {
		rc = ob__stream_append(&conn->stream, data, len);
	}
	if (rc == -ENOMEM) { /* perhaps in the middle */
		ob__stream_fail(&conn->stream, rc);
	}
}

/* ---- one packet ---- */

/* Encodes at out + gap for the frame header; the packet's place and size. NULL if it can't be, then
 * *total is the room that it needs, or 0. */
static inline uint8_t *encode_at(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p,
                                 uint8_t *out, size_t cap, size_t *total)
{
	size_t gap = conn->is_ws ? ob__ws_header_len(cap - OB__WS_HEADER_MAX) : 0;
	size_t n = reg->codec.encode(&reg->gen->ctx, conn->codec_state, p, out + gap, cap - gap);

	if (n == 0 || n > cap - gap) {
		*total = n;
		return NULL;
	}
	*total = gap + n;
	if (!conn->is_ws) {
		return out;
	}
	if (!ob__conn_may_send(conn, reg, out + gap, n)) {
		*total = 0;
		return NULL;
	}
	uint8_t *start = out + gap - ob__ws_header_len(n);
	ob__ws_put_header(start, ob__conn_op(reg), n);
	*total = (size_t)(out + gap + n - start);
	return start;
}

/* What came of an encode that has written nothing: the room that it needs, or OB_E_APP. */
static int not_encoded(size_t room)
{
	return room == 0 || room > INT32_MAX ? OB_E_APP : (int)room;
}

/* This and those below: 0, OB_E_*, or more than 0: the room that the packet needs. */
static int send_small(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p, size_t cap)
{
	size_t total;
	uint8_t *out = ob__stream_reserve(&conn->stream, cap);

	if (out == NULL) {
		return OB_E_NOMEM;
	}
	const uint8_t *start = encode_at(conn, reg, p, out, cap, &total);
	if (start == NULL) {
		ob__stream_commit(&conn->stream, 0);
		return not_encoded(total);
	}
	if (start != out) {
		memmove(out, start, total);
	}
	ob__stream_commit(&conn->stream, total);
	return 0;
}

static inline bool is_deflated(const struct ob__conn *conn, const ob_packet *p)
{
	return conn->deflate != 0 && p->len >= conn->from->conf->deflate_min;
}

/* A frame that is there, compressed, if it gets shorter by that. */
static OB__APART void pack_form(struct ob__conn *conn, struct ob__form *form)
{
	const uint8_t *frame = form->bytes->data + form->at;
	size_t header = ob__ws_header_of(frame);
	size_t len = form->len - header;
	struct ob__rbuf *r = ob__rbuf_new(OB__WS_HEADER_MAX + len);

	if (r == NULL) {
		return;
	}
	size_t n = ob__wsdeflate_pack(conn->from->deflate, conn->deflate, frame + header, len,
	                              r->data + OB__WS_HEADER_MAX, len);
	if (n == 0) {
		ob__rbuf_unref(r);
		return;
	}
	size_t at = OB__WS_HEADER_MAX - ob__ws_header_len(n);
	ob__ws_put_header(r->data + at, (uint8_t)((frame[0] & 0x0f) | OB__WS_RSV1), n);
	ob__rbuf_unref(form->bytes);
	form->bytes = r;
	form->at = at;
	form->len = OB__WS_HEADER_MAX - at + n;
}

/* Into a buffer of its own. */
static int make_form(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p, size_t cap,
                     struct ob__form *form)
{
	struct ob__rbuf *r = ob__rbuf_new(cap);

	if (r == NULL) {
		return OB_E_NOMEM;
	}
	const uint8_t *start = encode_at(conn, reg, p, r->data, cap, &form->len);
	if (start == NULL) {
		ob__rbuf_unref(r);
		return not_encoded(form->len);
	}
	ob__rbuf_unref(form->bytes); /* of a codec that sends while it encodes */
	form->bytes = r;
	form->at = (size_t)(start - r->data);
	if (is_deflated(conn, p)) {
		pack_form(conn, form);
	}
	return 0;
}

static int send_form(struct ob__conn *conn, const struct ob__form *form, bool at_once)
{
	return at_once ? ob__stream_send_ref(&conn->stream, form->bytes, form->at, form->len)
	               : ob__stream_append_ref(&conn->stream, form->bytes, form->at, form->len);
}

static int send_large(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p, size_t cap)
{
	struct ob__form form = {0};
	int rc = make_form(conn, reg, p, cap, &form);

	if (rc == 0) {
		rc = send_form(conn, &form, false);
		ob__rbuf_unref(form.bytes);
	}
	return rc;
}

static inline int send_own(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p,
                           size_t cap)
{
	return cap < OB__STREAM_GATHER && !is_deflated(conn, p) ? send_small(conn, reg, p, cap)
	                                                        : send_large(conn, reg, p, cap);
}

static bool is_shared(const struct ob__reg *reg)
{
	return reg->codec.state_size == 0 || (reg->codec.flags & OB_CODEC_SHARED) != 0 ||
	       reg->codec.variant != NULL;
}

/* What the same packet's bytes depend on besides the codec: 0 as it is, else framed, and with how
 * many bits of window it is compressed. */
static uint8_t form_kind(const struct ob__conn *conn, const ob_packet *p)
{
	return conn->is_ws ? (uint8_t)(1 + (is_deflated(conn, p) ? conn->deflate : 0)) : 0;
}

/* The packet of a fan-out, encoded for the first of those that get it in this form. */
static int send_shared(struct ob__conn *conn, struct ob__reg *reg, struct ob__fanout *fo,
                       size_t cap)
{
	uint32_t variant = reg->codec.variant != NULL
	                           ? reg->codec.variant(&reg->gen->ctx, conn->codec_state)
	                           : 0;

	if (variant == OB_CODEC_NO_PUSH) {
		return OB_E_STATE;
	}
	struct ob__form *form =
		is_shared(reg) && variant != OB_CODEC_OWN
			? ob__fanout_form(fo, reg, variant, form_kind(conn, &fo->packet))
			: NULL;
	if (form == NULL) {
		return send_own(conn, reg, &fo->packet, cap);
	}
	if (form->failed) {
		return OB_E_APP;
	}
	int rc = form->bytes == NULL ? make_form(conn, reg, &fo->packet, cap, form) : 0;
	form->failed = rc == OB_E_APP;
	return rc == 0 ? send_form(conn, form, fo->at_once) : rc;
}

/* Its queue is full: the packet is dropped, or the client closed. */
static OB__APART int refuse_full(struct ob__conn *conn, const ob_packet *p)
{
	bool may_drop =
		conn->node->conf->limits.slow != OB__SLOW_CLOSE && p->kind == OB_PACKET_PUSH;

	if (may_drop && !conn->too_slow) {
		++*conn->node->clients.dropped_pushes[OB__SLOW_DROP];
	} else {
		ob__conn_too_slow(conn);
	}
	return OB_E_BUSY;
}

/* A packet that is longer than its codec's overhead allows for. */
static OB__APART int send_longer(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p,
                                 struct ob__fanout *fo, size_t room)
{
	size_t cap = OB__WS_HEADER_MAX + room;

	if (ob__conn_full(conn, cap)) {
		return refuse_full(conn, p);
	}
	int rc = fo != NULL ? send_shared(conn, reg, fo, cap) : send_large(conn, reg, p, cap);
	ob__conn_mark(conn);
	return rc > 0 ? OB_E_APP : rc;
}

static inline int conn_write(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	struct ob__reg *reg = ob__conn_codec(conn);

	if (reg == NULL) {
		return OB_E_STATE;
	}
	size_t cap = OB__WS_HEADER_MAX + p->len + reg->codec.overhead;
	if (ob__conn_full(conn, cap)) {
		return refuse_full(conn, p);
	}
	int rc = fo != NULL ? send_shared(conn, reg, fo, cap) : send_own(conn, reg, p, cap);
	if (rc > 0) {
		return send_longer(conn, reg, p, fo, (size_t)rc);
	}
	ob__conn_mark(conn);
	return rc;
}

/* ---- replies and pushes ---- */

/* To a client that may come back for it. */
static OB__APART int send_numbered(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	struct ob__node *node = conn->node;
	uint64_t record = conn->resume->handle;
	uint64_t number = ob__resume_number(conn, p);

	if (number != 0 && conn->resume->stuck) {
		return 0;
	}
	int rc = conn_write(conn, p, fo);
	if (rc == 0 || number == 0) {
		return rc;
	}
	/* A connection that is broken is about to say so: what is kept is for the one after it. */
	return conn->stream.failed != 0
	               ? 0
	               : ob__resume_not_sent(node, record, number, rc, conn->too_slow);
}

static inline int conn_send(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	return conn->resume == NULL ? conn_write(conn, p, fo) : send_numbered(conn, p, fo);
}

static inline bool lacks_broadcasts(const struct ob__conn *conn)
{
	return conn->broadcast != conn->node->clients.broadcasts.last;
}

void ob__conn_catch_up(struct ob__conn *conn)
{
	if (lacks_broadcasts(conn)) {
		ob__broadcasts_catch_up(conn);
	}
}

/* What is sent next comes behind the broadcasts before it.  These may be too much for the client:
 * the record of its session is returned if that waits for it to come back. */
static OB__APART struct ob__resume *catch_up_or_leave(struct ob__conn *conn)
{
	struct ob__node *node = conn->node;
	uint64_t session = conn->session != NULL ? conn->session->handle : 0;

	ob__broadcasts_catch_up(conn);
	const struct ob__session *s =
		conn->close_sent ? ob__session_get(&node->sessions, session) : NULL;
	return s != NULL ? ob__resume_get(node, s->conn) : NULL;
}

static void send_reply(struct ob__conn *conn, const ob_packet *p)
{
	int rc = conn_send(conn, p, NULL);

	if (rc != 0 && rc != OB_E_BUSY && conn->stream.failed == 0) {
		ob__conn_close(conn, OB__WS_INTERNAL, "can't send", "encode");
	}
}

void ob__conn_tell(struct ob__conn *conn, const ob_packet *p)
{
	send_reply(conn, p);
}

static OB__APART void send_failure(struct ob__conn *conn, ob_packet *p, const char *text)
{
	char *body = ob__error_body(conn->node, p->status, text, &p->len);

	p->data = (const uint8_t *)body;
	send_reply(conn, p);
	free(body);
}

void ob__conn_reply(struct ob__conn *conn, uint32_t id, uint64_t cookie, int code, const char *text,
                    const void *data, size_t len)
{
	if (conn == NULL || conn->close_sent) {
		return;
	}
	if (lacks_broadcasts(conn)) {
		struct ob__resume *away = catch_up_or_leave(conn);
		if (away != NULL) {
			ob__resume_reply(away, id, cookie, code, text, data, len);
		}
		if (conn->close_sent) {
			return;
		}
	}
	ob_packet p;
	ob__conn_packet(&p, OB_PACKET_REPLY);
	p.id = id;
	p.cookie = cookie;
	p.status = code;
	p.data = data;
	p.len = len;
	ob__msgname_tell(&conn->node->msgnames, &p);
	if (code != OB_OK && len == 0) {
		send_failure(conn, &p, text);
	} else {
		send_reply(conn, &p);
	}
}

/* Whether a push waits until the client has read of what is queued. */
static bool keeps_push(const struct ob__conn *conn)
{
	uint8_t slow = conn->node->conf->limits.slow;

	return (conn->pushes != NULL && conn->pushes->len > 0) ||
	       ((slow == OB__SLOW_OLDEST || slow == OB__SLOW_CONFLATE) && conn->stream.above);
}

static int keep_push(struct ob__conn *conn, uint32_t id, const void *data, size_t len)
{
	const struct ob__limits *limits = &conn->node->conf->limits;
	uint64_t **counters = conn->node->clients.dropped_pushes;
	bool conflate = limits->slow == OB__SLOW_CONFLATE;
	uint32_t dropped;

	if (conn->pushes == NULL) {
		conn->pushes = malloc(sizeof(*conn->pushes));
		if (conn->pushes == NULL) {
			return OB_E_NOMEM;
		}
		ob__pushq_init(conn->pushes);
	}
	int rc = ob__pushq_put(conn->pushes, id, data, len, limits->client_queue / 2, conflate,
	                       &dropped);
	if (rc != 0) {
		++*counters[OB__SLOW_DROP];
		return rc == -ENOMEM ? OB_E_NOMEM : OB_E_BUSY;
	}
	*counters[conflate ? OB__SLOW_CONFLATE : OB__SLOW_OLDEST] += dropped;
	return 0;
}

void ob__conn_send_kept(struct ob__conn *conn)
{
	struct ob__pushq_item *item;

	while (conn->pushes != NULL && !conn->stream.above && !conn->close_sent &&
	       (item = ob__pushq_take(conn->pushes)) != NULL) {
		ob_packet p =
			ob__push_packet(&conn->node->msgnames, item->id, item->data, item->len);
		(void)conn_send(conn, &p, NULL);
		free(item);
	}
}

int ob__conn_give_next(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	return keeps_push(conn) ? keep_push(conn, p->id, p->data, p->len) : conn_send(conn, p, fo);
}

int ob__conn_give(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	if (!conn->close_sent && lacks_broadcasts(conn)) {
		struct ob__resume *away = catch_up_or_leave(conn);
		if (away != NULL) {
			return ob__resume_push(conn->node, away->handle, p);
		}
	}
	return conn->close_sent ? OB_E_STALE : ob__conn_give_next(conn, p, fo);
}

int ob__conn_push(struct ob__node *node, uint64_t handle, uint32_t id, const void *data, size_t len)
{
	struct ob__conn *conn = ob__conn_get(node, handle);
	ob_packet p = ob__push_packet(&node->msgnames, id, data, len);

	return conn != NULL ? ob__conn_give(conn, &p, NULL) : ob__resume_push(node, handle, &p);
}
