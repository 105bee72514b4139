/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/http_priv.h"

#define MAX_BODY    (1u << 20)
#define MAX_CONNS   1024u
#define IDLE_MS     60000u
#define REQUEST_MS  10000u
#define HANDLE_KIND 14u
#define HIGH        (256u << 10) /* answers not sent yet, beyond which no further request is read */

/* ---------------------------------------------------------------- the server */

struct ob__http_server *ob__http_server_new(struct ob__streams *m,
                                            const struct ob__http_options *options)
{
	struct ob__http_server *srv = malloc(sizeof(*srv));
	if (!srv) {
		return NULL;
	}
	*srv = (struct ob__http_server){.m = m, .options = *options};
	struct ob__http_options *o = &srv->options;
	o->max_body = o->max_body > 0 ? o->max_body : MAX_BODY;
	o->max_conns = o->max_conns > 0 ? o->max_conns : MAX_CONNS;
	o->idle_ms = o->idle_ms > 0 ? o->idle_ms : IDLE_MS;
	o->request_ms = o->request_ms > 0 ? o->request_ms : REQUEST_MS;
	ob__list_init(&srv->conns);
	ob__slab_init(&srv->waiting, sizeof(struct ob__http_waiting), HANDLE_KIND,
	              OB__SLAB_SLOTS_MAX);
	srv->sha1 = o->on_upgrade ? EVP_MD_fetch(NULL, "SHA1", NULL) : NULL;
	return srv;
}

static void server_gone(struct ob__http_server *srv)
{
	ob__slab_destroy(&srv->waiting);
	EVP_MD_free(srv->sha1);
	free(srv);
}

void ob__http_server_free(struct ob__http_server *srv)
{
	if (!srv || srv->freed) {
		return;
	}
	srv->freed = true;
	ob__streams_flush(srv->m); /* answers that were given */
	OB__LIST_EACH (it, &srv->conns) {
		ob__stream_close(&OB__CONTAINER(it, struct ob__http_conn, link)->stream);
	}
	if (srv->open == 0) {
		server_gone(srv);
	}
}

uint32_t ob__http_conns(const struct ob__http_server *srv)
{
	return srv->open;
}

const struct ob__http_counts *ob__http_counts(const struct ob__http_server *srv)
{
	return &srv->counts;
}

/* ---------------------------------------------------------------- time */

static void set_timeout(struct ob__http_conn *c, uint32_t ms)
{
	ob__timeout_set(c->srv->m->loop, &c->timeout, ms);
}

static void idle_over(struct ob__http_conn *c)
{
	/* Somebody who slowly takes a long answer isn't idle. */
	size_t queued = c->stream.queued;
	if (queued > 0 && queued != c->queued_before) {
		c->queued_before = queued;
		set_timeout(c, c->srv->options.idle_ms);
		return;
	}
	ob__stream_close(&c->stream);
}

/* It has said nothing at all, and gets no answer. */
static void count_late(struct ob__http_conn *c)
{
	const struct ob__http_options *o = &c->srv->options;
	c->srv->counts.timeouts++;
	if (o->on_refused && !c->srv->freed) {
		o->on_refused(408, o->arg);
	}
}

static void on_timeout(void *arg)
{
	struct ob__http_conn *c = arg;
	if (c->stream.closing) {
		return;
	}
	if (!ob__http_parse_begun(&c->parse)) {
		if (c->hurried) {
			count_late(c);
		}
		idle_over(c);
		return;
	}
	c->srv->counts.timeouts++;
	ob__http_refuse(c, 408, "the request did not arrive in time");
}

/* ---------------------------------------------------------------- requests */

static void end_waiting(struct ob__http_conn *c)
{
	if (c->waiting) {
		ob__slab_free(&c->srv->waiting, c->waiting);
		c->waiting = NULL;
	}
}

static void next_request(struct ob__http_conn *c)
{
	ob__http_parse_reset(&c->parse);
	c->handshake = false;
	c->queued_before = 0;
	set_timeout(c, c->srv->options.idle_ms);
}

void ob__http_answered(struct ob__http_conn *c, bool keep_alive)
{
	end_waiting(c);
	if (c->stream.closing) {
		return;
	}
	if (!keep_alive) {
		ob__stream_close_flushed(&c->stream, c->srv->options.idle_ms);
		return;
	}
	if (c->calling) {
		return; /* the request's strings are in use; on_read() goes on */
	}
	next_request(c);
	if (!c->stream.above) {
		ob__stream_read(&c->stream, true);
	}
}

/* The handler of a request that was understood, or NULL after a refusal. */
typedef void (*handler_fn)(struct ob__http_server *, const struct ob__http_request *, void *);

static handler_fn choose(struct ob__http_conn *c)
{
	const struct ob__http_options *o = &c->srv->options;
	if (!c->parse.wants_websocket) {
		if (o->upgrade_only || !o->on_request) {
			ob__http_refuse(c, 426, "a WebSocket handshake is expected here");
			return NULL;
		}
		return o->on_request;
	}
	if (!o->on_upgrade) {
		ob__http_refuse(c, 400, "no WebSocket is spoken here");
		return NULL;
	}
	int status = ob__http_handshake(&c->parse, c->accept);
	if (status != 0) {
		ob__http_refuse(c, status, c->parse.reason);
		return NULL;
	}
	c->handshake = true;
	return o->on_upgrade;
}

/* Who opens a WebSocket is looked at where that goes to. */
static void say_who(struct ob__http_conn *c, struct ob__http_request *req)
{
	if (c->peer[0] == '\0' && !c->handshake) {
		c->loopback = ob__stream_is_loopback(&c->stream);
		ob__stream_peer(&c->stream, c->peer, sizeof(c->peer));
	}
	req->loopback = c->loopback;
	req->peer = c->peer;
}

static void dispatch(struct ob__http_conn *c)
{
	struct ob__http_server *srv = c->srv;
	uint64_t handle;
	ob__timeout_clear(srv->m->loop, &c->timeout);
	c->hurried = false;
	srv->counts.requests++;
	handler_fn fn = choose(c);
	if (!fn) {
		srv->counts.bad++;
		return;
	}
	c->waiting = ob__slab_alloc(&srv->waiting, &handle);
	if (!c->waiting) {
		ob__http_refuse(c, 503, "out of memory");
		return;
	}
	c->waiting->conn = c;
	struct ob__http_request req = {
		.handle = handle,
		.method = c->parse.method,
		.path = c->parse.path,
		.query = c->parse.query,
		.body = c->parse.body.data ? c->parse.body.data : (const uint8_t *)"",
		.body_len = c->parse.body.len,
		.unix_socket = ob__stream_is_unix(&c->stream),
	};
	say_who(c, &req);
	c->calling = true;
	fn(srv, &req, srv->options.arg);
	c->calling = false;
	if (!c->waiting && !c->stream.closing) {
		next_request(c);
	}
}

static void say_continue(struct ob__http_conn *c)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	/* Not needed by a client that did not wait. */
	if (c->parse.expect_continue && c->in_len == 0) {
		ob__stream_append(&c->stream, text, sizeof(text) - 1);
	}
}

/* One step of reading. False when no more can be done with the input now. */
static bool step(struct ob__http_conn *c)
{
	size_t used;
	bool begun = ob__http_parse_begun(&c->parse);
	enum ob__http_parsed what = ob__http_parse(&c->parse, c->in, c->in_len, &used);
	c->in += used;
	c->in_len -= used;
	if (!begun && ob__http_parse_begun(&c->parse) && !c->hurried) {
		set_timeout(c, c->srv->options.request_ms);
	}
	switch (what) {
	case OB__HTTP_HEAD:
		say_continue(c);
		return true;
	case OB__HTTP_DONE:
		dispatch(c);
		return c->in_len > 0 && !c->waiting && !c->stream.closing && !c->stream.above;
	case OB__HTTP_BAD:
		c->srv->counts.bad++;
		ob__http_refuse(c, c->parse.status, c->parse.reason);
		return false;
	default:
		return false;
	}
}

/* ---------------------------------------------------------------- the connection */

static void on_read(struct ob__stream *s, uint8_t *data, size_t len)
{
	struct ob__http_conn *c = s->owner;
	c->in = data;
	c->in_len = len;
	while (step(c)) {
	}
	if (!s->closing && (c->waiting || s->above)) {
		/* The rest waits for the answer; no more is taken from the kernel meanwhile. */
		ob__stream_read(s, false);
		if (ob__stream_unread(s, c->in, c->in_len) < 0) {
			ob__stream_close(s);
		}
	}
	c->in = NULL;
	c->in_len = 0;
}

static void on_end(struct ob__stream *s, int status)
{
	struct ob__http_conn *c = s->owner;
	if (status != UV_EOF) {
		ob__stream_close(s);
		return;
	}
	/* A client may end its side and still wait for the answers to what it sent. */
	ob__stream_close_flushed(s, c->srv->options.idle_ms);
}

static void on_drained(struct ob__stream *s)
{
	struct ob__http_conn *c = s->owner;
	if (!c->waiting) {
		ob__stream_read(s, true);
	}
}

static void on_close(struct ob__stream *s)
{
	struct ob__http_conn *c = s->owner;
	struct ob__http_server *srv = c->srv;
	end_waiting(c);
	ob__timeout_clear(srv->m->loop, &c->timeout);
	ob__list_del(&c->link);
	ob__http_parse_free(&c->parse);
	ob__buf_free(&c->headers);
	if (c->guest && srv->options.on_gone) {
		srv->options.on_gone(c->guest);
	}
	free(c);
	if (--srv->open == 0 && srv->freed) {
		server_gone(srv);
	}
}

static const struct ob__stream_ops conn_ops = {
	.on_read = on_read,
	.on_end = on_end,
	.on_drained = on_drained,
	.on_close = on_close,
};

/* A connection without a socket; NULL when out of memory. */
static struct ob__http_conn *conn_new(struct ob__http_server *srv)
{
	struct ob__http_conn *c = malloc(sizeof(*c));
	if (!c) {
		return NULL;
	}
	*c = (struct ob__http_conn){.srv = srv, .hurried = srv->options.upgrade_only};
	ob__stream_init(&c->stream, srv->m, &conn_ops, c);
	ob__http_parse_init(&c->parse, srv->options.max_body);
	c->parse.sha1 = srv->sha1;
	ob__timeout_init(&c->timeout, on_timeout, c);
	ob__list_append(&srv->conns, &c->link);
	srv->open++;
	return c;
}

static void conn_begin(struct ob__http_conn *c, uint64_t ms)
{
	c->stream.high = HIGH;
	ob__timeout_set(c->srv->m->loop, &c->timeout, ms);
	ob__stream_read(&c->stream, true);
}

void ob__http_accept(struct ob__http_server *srv, uv_stream_t *server)
{
	bool over = srv->open >= srv->options.max_conns;
	struct ob__http_conn *c = conn_new(srv);
	if (!c) {
		srv->counts.refused++; /* the listener closes what nobody took */
		return;
	}
	if (ob__stream_accept(&c->stream, server) < 0 || over) {
		srv->counts.refused += over;
		ob__stream_close(&c->stream);
		return;
	}
	conn_begin(c, srv->options.request_ms);
}

int ob__http_take(struct ob__http_server *srv, struct ob__stream *from, void *guest, uint64_t ms)
{
	if (srv->freed || srv->open >= srv->options.max_conns) {
		srv->counts.refused++;
		return -EBUSY;
	}
	struct ob__http_conn *c = conn_new(srv);
	if (!c) {
		return -ENOMEM;
	}
	int rc = ob__stream_adopt(&c->stream, from);
	if (rc < 0) {
		ob__stream_close(&c->stream);
		return rc;
	}
	c->guest = guest;
	c->hurried = true;
	conn_begin(c, ms);
	return 0;
}

/* ---------------------------------------------------------------- asking */

struct ob__http_waiting *ob__http_find(const struct ob__http_server *srv, uint64_t handle)
{
	struct ob__http_waiting *w = ob__slab_get(&srv->waiting, handle);
	return w && !w->conn->stream.closing ? w : NULL;
}

const char *ob__http_header(struct ob__http_server *srv, uint64_t handle, const char *name)
{
	struct ob__http_waiting *w = ob__http_find(srv, handle);
	return w ? ob__http_parse_field(&w->conn->parse, name) : NULL;
}

void *ob__http_guest(struct ob__http_server *srv, uint64_t handle)
{
	struct ob__http_waiting *w = ob__http_find(srv, handle);
	void *guest = w ? w->conn->guest : NULL;
	if (w) {
		w->conn->guest = NULL;
	}
	return guest;
}

bool ob__http_waiting(const struct ob__http_server *srv, uint64_t handle)
{
	return ob__http_find(srv, handle) != NULL;
}
