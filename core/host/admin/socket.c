/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/log.h"
#include "host/admin/admin.h"
#include "host/node.h"
#include "lib/buf.h"
#include "net/listener.h"
#include "net/stream.h"

#define LINE_MAX_BYTES (1u << 20)
#define CONNS_MAX      32u
#define CLOSE_MS       1000u

struct ob__admin_socket {
	struct ob__node *node;
	struct ob__listener *listener;
	struct ob__list conns;
	uint32_t len;
};

struct conn {
	struct ob__stream stream;
	struct ob__admin_socket *socket; /* NULL: the socket has been closed */
	struct ob__list link;
	struct ob__buf in;
	bool waiting; /* a verb runs */
	bool gone;    /* closed while a verb runs */
	bool ended;   /* no more lines will come: closed when the last is answered */
	bool looping; /* next_line() is on the stack */
};

static void next_line(struct conn *c);

static void conn_free(struct conn *c)
{
	ob__buf_free(&c->in);
	free(c);
}

static void send_line(struct conn *c, const json_t *line)
{
	char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(15));

	if (text != NULL && !c->gone) {
		ob__stream_append(&c->stream, text, strlen(text));
		ob__stream_append(&c->stream, "\n", 1);
	}
	free(text);
}

static void verb_done(void *arg, const ob_admin_reply *reply)
{
	struct conn *c = arg;
	json_t *body = reply->text != NULL ? json_string(reply->text) : json_deep_copy(reply->body);
	json_t *line = json_pack("{s:i, s:o}", "status", reply->status, "body",
	                         body != NULL ? body : json_null());

	c->waiting = false;
	send_line(c, line);
	json_decref(line);
	if (c->gone && !c->looping) {
		conn_free(c);
	} else if (!c->looping) {
		next_line(c);
	}
}

static void refuse_line(struct conn *c, const char *message)
{
	json_t *line = json_pack("{s:i, s:{s:{s:s, s:s}}}", "status", 400, "body", "error", "code",
	                         "bad_line", "message", message);

	send_line(c, line);
	json_decref(line);
}

static void run_line(struct conn *c, const char *text, size_t len)
{
	json_t *line = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	const char *verb = json_string_value(json_object_get(line, "verb"));

	if (verb == NULL) {
		refuse_line(c, "a line is {\"verb\": NAME, \"args\": {...}}");
	} else {
		c->waiting = true;
		ob__admin_run(c->socket->node, verb, json_incref(json_object_get(line, "args")),
		              verb_done, c);
	}
	json_decref(line);
}

/* Runs the whole lines that have arrived, one at a time. */
static void next_line(struct conn *c)
{
	c->looping = true;
	while (c->socket != NULL && !c->waiting && !c->stream.closing && c->in.len > 0) {
		uint8_t *end = memchr(c->in.data, '\n', c->in.len);
		if (end == NULL) {
			break;
		}
		size_t len = (size_t)(end - c->in.data);
		struct ob__buf line = {0};
		if (ob__buf_append(&line, c->in.data, len) != 0) {
			ob__stream_close(&c->stream);
			break;
		}
		ob__buf_consume(&c->in, len + 1);
		run_line(c, (const char *)line.data, len);
		ob__buf_free(&line);
	}
	c->looping = false;
	if (c->ended && !c->waiting) {
		ob__stream_close_flushed(&c->stream, CLOSE_MS);
	}
}

static void conn_read(struct ob__stream *s, uint8_t *data, size_t len)
{
	struct conn *c = s->owner;

	if (c->in.len + len > LINE_MAX_BYTES || ob__buf_append(&c->in, data, len) != 0) {
		refuse_line(c, "a line is at most 1 MiB");
		ob__stream_close_flushed(s, CLOSE_MS);
		return;
	}
	next_line(c);
}

static void conn_end(struct ob__stream *s, int status)
{
	struct conn *c = s->owner;

	c->ended = status == UV_EOF;
	if (!c->ended || !c->waiting) {
		ob__stream_close_flushed(s, CLOSE_MS);
	}
}

static void conn_closed(struct ob__stream *s)
{
	struct conn *c = s->owner;

	if (c->socket != NULL) {
		c->socket->len--;
	}
	ob__list_del(&c->link);
	c->gone = true;
	if (!c->waiting) {
		conn_free(c);
	}
}

static const struct ob__stream_ops conn_ops = {
	.on_read = conn_read,
	.on_end = conn_end,
	.on_close = conn_closed,
};

static void on_waiting(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	struct ob__admin_socket *a = arg;
	struct conn *c = calloc(1, sizeof(*c));

	(void)l;
	if (c == NULL) {
		return;
	}
	c->socket = a;
	ob__list_append(&a->conns, &c->link);
	a->len++;
	ob__stream_init(&c->stream, &a->node->streams, &conn_ops, c);
	if (ob__stream_accept(&c->stream, server) != 0 || a->len > CONNS_MAX) {
		ob__stream_close(&c->stream);
		return;
	}
	ob__stream_read(&c->stream, true);
}

int ob__admin_open(struct ob__node *node, const char *path)
{
	struct ob__admin_socket *a = calloc(1, sizeof(*a));
	struct ob__listener_options options = {.path = path, .mode = 0600};
	char err[256];

	if (a == NULL) {
		return OB_E_NOMEM;
	}
	a->node = node;
	ob__list_init(&a->conns);
	a->listener = ob__listener_open(node->loop, &options, on_waiting, a, err, sizeof(err));
	if (a->listener == NULL || ob__listener_start(a->listener) != 0) {
		ob__error("admin", "%s: %s", path, a->listener == NULL ? err : "can't accept");
		ob__listener_close(a->listener);
		free(a);
		return OB_E_LIMIT;
	}
	node->admin_socket = a;
	return 0;
}

void ob__admin_close(struct ob__node *node)
{
	struct ob__admin_socket *a = node->admin_socket;

	if (a == NULL) {
		return;
	}
	node->admin_socket = NULL;
	ob__listener_close(a->listener);
	OB__LIST_EACH_SAFE (it, &a->conns) {
		struct conn *c = OB__CONTAINER(it, struct conn, link);
		c->socket = NULL;
		ob__list_del(&c->link);
		ob__stream_close_flushed(&c->stream, CLOSE_MS);
	}
	free(a);
}
