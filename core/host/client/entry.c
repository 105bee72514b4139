/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/client/guest.h"
#include "host/node.h"
#include "lib/proxyhdr.h"

#define REFUSE_MS 2000u /* for the last words to one that is refused */
#define LOG_BURST 5u

enum state {
	ENTRY_PROXY, /* a load balancer is to say who it is */
	ENTRY_TLS,   /* the handshake is under way */
	ENTRY_READY, /* nothing is left to be settled */
	ENTRY_FIRST, /* the first bytes say what is spoken */
};

struct entry {
	struct ob__stream stream;
	struct ob__client_listener *from;
	struct ob__list link; /* in the listener's */
	struct ob__timeout deadline;
	struct ob__guest *guest; /* of a listener that counts, or NULL */
	uint64_t until;          /* loop ms */
	struct ob__buf in;       /* read, and not enough yet */
	enum state state;
};

/* ---- refusing ---- */

void ob__client_count_refused(struct ob__node *node, const char *reason)
{
	char labels[64];

	snprintf(labels, sizeof(labels), "reason=\"%s\"", reason);
	++*ob__stat_counter(node->stats, "obhost_client_refused_total", labels,
	                    "Clients turned away before they had a connection, by reason.");
}

static void refuse(struct entry *e, const char *counted, const char *text)
{
	struct ob__client_listener *cl = e->from;
	char peer[80];
	uint32_t missed;

	ob__client_count_refused(cl->node, counted);
	if (ob__log_allow(&cl->refused_log, LOG_BURST, ob__loop_now(cl->node->loop), &missed)) {
		ob__stream_peer(&e->stream, peer, sizeof(peer));
		if (e->guest != NULL && e->guest->told) {
			ob__ip_format(&e->guest->ip, e->guest->port, peer, sizeof(peer));
		}
		ob__info("client", "%s: %s is refused (%s)",
		         cl->listener != NULL ? ob__listener_name(cl->listener) : cl->conf->where,
		         peer, text);
	}
	ob__timeout_clear(cl->node->loop, &e->deadline);
}

static void refuse_now(struct entry *e, const char *counted, const char *text)
{
	refuse(e, counted, text);
	ob__stream_close(&e->stream);
}

/* ---- handing on ---- */

static uint64_t time_left(const struct entry *e)
{
	uint64_t now = ob__loop_now(e->from->node->loop);

	return e->until > now ? e->until - now : 1;
}

static void to_http(struct entry *e)
{
	if (ob__http_take(e->from->http, &e->stream, e->guest, time_left(e)) != 0) {
		refuse_now(e, "limit", "too many handshakes under way");
		return;
	}
	e->guest = NULL;
}

static void to_conn(struct entry *e)
{
	struct ob__conn *conn = ob__conn_new(e->from, false);

	if (conn == NULL) {
		ob__client_count_closed(e->from->node, "limit");
		refuse_now(e, "limit", "too many connections");
		return;
	}
	if (ob__stream_adopt(&conn->stream, &e->stream) != 0) {
		ob__conn_drop(conn, "accept");
		ob__stream_close(&e->stream);
		return;
	}
	conn->guest = e->guest;
	e->guest = NULL;
	ob__conn_open(conn);
}

/* The socket, and bytes that were read from it already, go where they belong. */
static void hand_on(struct entry *e, bool http, const uint8_t *data, size_t len)
{
	ob__timeout_clear(e->from->node->loop, &e->deadline);
	if (ob__stream_unread(&e->stream, data, len) != 0) {
		refuse_now(e, "memory", "out of memory");
	} else if (http) {
		to_http(e);
	} else {
		to_conn(e);
	}
}

/* ---- what is spoken ---- */

enum ob__first ob__entry_first(const uint8_t *data, size_t len)
{
	static const char *const words[] = {"GET ", "POST", "PUT ", "HEAD"};
	size_t n = len < 4 ? len : 4;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (memcmp(data, words[i], n) == 0) {
			return n == 4 ? OB__FIRST_HTTP : OB__FIRST_MORE;
		}
	}
	return OB__FIRST_RAW;
}

static bool is_either(const struct ob__client_listener *cl)
{
	return (cl->conf->kind & OB__LISTEN_WS) != 0 && (cl->conf->kind & OB__LISTEN_RAW) != 0;
}

static void on_first(struct entry *e, const uint8_t *data, size_t len)
{
	enum ob__first first = ob__entry_first(data, len);

	if (first != OB__FIRST_MORE) {
		hand_on(e, first == OB__FIRST_HTTP, data, len);
	} else if (data != e->in.data && ob__buf_append(&e->in, data, len) != 0) {
		refuse_now(e, "memory", "out of memory");
	}
}

static void on_ready(struct entry *e, const uint8_t *data, size_t len)
{
	hand_on(e, (e->from->conf->kind & OB__LISTEN_WS) != 0, data, len);
}

/* ---- TLS ---- */

/* What was read together with the end of the handshake comes to on_read() behind this, so handing
 * on waits for that, or for the next turn. */
static void on_secure(struct ob__stream *s)
{
	struct entry *e = s->owner;

	e->state = is_either(e->from) ? ENTRY_FIRST : ENTRY_READY;
	if (e->state == ENTRY_READY) {
		ob__timeout_set(e->from->node->loop, &e->deadline, 0);
	}
}

/* Bytes that follow what was settled so far. */
static void begin(struct entry *e, const uint8_t *data, size_t len)
{
	/* Ours is the deadline that counts. */
	const struct ob__tls_start start = {.on_secure = on_secure, .ms = time_left(e) + 1000};

	if ((e->from->conf->kind & OB__LISTEN_TLS) != 0) {
		e->state = ENTRY_TLS;
		if (ob__stream_tls(&e->stream, e->from->tls, &start) != 0) {
			refuse_now(e, "memory", "out of memory");
			return;
		}
		ob__stream_tls_feed(&e->stream, data, len);
		return;
	}
	if (!is_either(e->from)) {
		on_ready(e, data, len);
		return;
	}
	e->state = ENTRY_FIRST;
	if (len > 0) {
		on_first(e, data, len);
	}
}

/* ---- who it is ---- */

/* The client is known by now: is it one too many? */
static void enter(struct entry *e, const uint8_t *data, size_t len)
{
	const char *counted = ob__guest_enter(e->guest);

	if (counted != NULL) {
		refuse_now(e, counted,
		           strcmp(counted, "memory") == 0        ? "out of memory"
		           : strcmp(counted, "per_address") == 0 ? "too many of its address"
		                                                 : "too many connections");
		return;
	}
	begin(e, data, len);
}

static void on_header(struct entry *e, const uint8_t *data, size_t len)
{
	struct ob__proxyhdr header;
	int n = ob__proxyhdr_parse(data, len, &header);

	if (n < 0) {
		refuse_now(e, "proxy_header", "no header of the PROXY protocol, which must be");
		return;
	}
	if (n == 0) {
		if (data != e->in.data && ob__buf_append(&e->in, data, len) != 0) {
			refuse_now(e, "memory", "out of memory");
		}
		return;
	}
	if (header.named) {
		e->guest->ip = header.ip;
		e->guest->port = header.port;
		e->guest->told = true;
		e->guest->known = true;
	}
	/* What is behind it is read anew: the buffer is the header's. */
	struct ob__buf in = e->in;
	e->in = (struct ob__buf){0};
	enter(e, data + n, len - (size_t)n);
	ob__buf_free(&in);
}

/* ---- the socket ---- */

static void entry_read(struct ob__stream *s, uint8_t *data, size_t len)
{
	struct entry *e = s->owner;

	if (e->in.len > 0) {
		if (ob__buf_append(&e->in, data, len) != 0) {
			refuse_now(e, "memory", "out of memory");
			return;
		}
		data = e->in.data;
		len = e->in.len;
	}
	if (e->state == ENTRY_PROXY) {
		on_header(e, data, len);
	} else if (e->state == ENTRY_FIRST) {
		on_first(e, data, len);
	} else {
		on_ready(e, data, len);
	}
}

/* To one that does not speak TLS: a browser shows it. */
static void say_not_tls(struct entry *e)
{
	static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
				   "Content-Length: 24\r\nConnection: close\r\n\r\n"
				   "TLS is spoken here, wss\n";

	if ((e->from->conf->kind & OB__LISTEN_WS) != 0) {
		(void)ob__stream_append(&e->stream, text, sizeof(text) - 1);
	}
}

static void entry_end(struct ob__stream *s, int status)
{
	struct entry *e = s->owner;

	switch (status) {
	case UV_EPROTONOSUPPORT:
		refuse(e, "not_tls", ob__stream_error(s, status));
		say_not_tls(e);
		break;
	case UV_EPROTO:
		refuse(e, "tls", ob__stream_error(s, status));
		break;
	case UV_ETIMEDOUT:
		refuse_now(e, "handshake_timeout", ob__stream_error(s, status));
		return;
	default:
		refuse_now(e, "gone", ob__stream_error(s, status));
		return;
	}
	ob__stream_close_flushed(s, REFUSE_MS);
}

static void on_deadline(void *arg)
{
	struct entry *e = arg;

	if (e->stream.closing) {
		return;
	}
	if (e->state == ENTRY_READY) {
		on_ready(e, NULL, 0);
		return;
	}
	refuse_now(e, "handshake_timeout",
	           e->state == ENTRY_TLS     ? "no TLS handshake in time"
	           : e->state == ENTRY_PROXY ? "no PROXY header in time"
	                                     : "it has said nothing");
}

static void entry_closed(struct ob__stream *s)
{
	struct entry *e = s->owner;
	struct ob__client_listener *cl = e->from;

	ob__timeout_clear(cl->node->loop, &e->deadline);
	ob__list_del(&e->link);
	ob__buf_free(&e->in);
	ob__guest_free(e->guest);
	free(e);
	cl->entries_len--;
	ob__client_listener_unneeded(cl);
}

static const struct ob__stream_ops entry_ops = {
	.on_read = entry_read,
	.on_end = entry_end,
	.on_close = entry_closed,
};

bool ob__entry_needed(const struct ob__listen_conf *conf)
{
	bool either = (conf->kind & OB__LISTEN_WS) != 0 && (conf->kind & OB__LISTEN_RAW) != 0;

	return either || (conf->kind & OB__LISTEN_TLS) != 0 || ob__guest_needed(conf);
}

/* One of a listener that counts. */
static void welcome(struct entry *e)
{
	e->guest = ob__guest_new(e->from, &e->stream);
	if (e->guest == NULL) {
		refuse_now(e, "memory", "out of memory");
	} else if (ob__guest_is_trusted(e->guest)) {
		e->state = ENTRY_PROXY;
	} else {
		enter(e, NULL, 0);
	}
}

void ob__entry_accept(struct ob__client_listener *cl, uv_stream_t *server)
{
	struct ob__node *node = cl->node;
	struct entry *e = calloc(1, sizeof(*e));

	if (e == NULL) {
		ob__client_count_refused(node, "memory");
		return; /* the listener closes what nobody took */
	}
	e->from = cl;
	ob__list_append(&cl->entries, &e->link);
	cl->entries_len++;
	ob__timeout_init(&e->deadline, on_deadline, e);
	ob__stream_init(&e->stream, &node->streams, &entry_ops, e);
	if (ob__stream_accept(&e->stream, server) != 0) {
		refuse_now(e, "accept", "it can't be accepted");
		return;
	}
	if (cl->entries_len > node->conf->limits.connections) {
		refuse_now(e, "limit", "too many handshakes under way");
		return;
	}
	e->until = ob__loop_now(node->loop) + cl->conf->handshake_ms;
	ob__timeout_set(node->loop, &e->deadline, cl->conf->handshake_ms);
	ob__stream_read(&e->stream, true);
	if (ob__guest_needed(cl->conf)) {
		welcome(e);
	} else {
		begin(e, NULL, 0);
	}
}

void ob__entries_close(struct ob__client_listener *cl)
{
	OB__LIST_EACH (it, &cl->entries) {
		ob__stream_close(&OB__CONTAINER(it, struct entry, link)->stream);
	}
}
