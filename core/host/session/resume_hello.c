/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <string.h>

#include "host/client/conn.h"
#include "host/node.h"
#include "host/session/end.h"
#include "host/session/resume_priv.h"

#define HOPS_MAX 8u /* that a session has gone on, before its client has heard of the first */

static const char *const reasons[OB__RESUME_RESULTS + 1] = {
	[OB__RESUMED] = "",
	[OB__RESUMED_FAR] = "",
	[OB__RESUME_OFF] = "sessions are not kept here",
	[OB__RESUME_UNKNOWN] = "unknown token",
	[OB__RESUME_EXPIRED] = "expired",
	[OB__RESUME_LOST] = "messages lost",
	[OB__RESUME_AWAY] = "the node that had the session is away",
	[OB__RESUME_NO_MEMORY] = "busy",
	[OB__RESUME_MOVING] = "",
	[OB__RESUME_FRESH] = "",
};

static bool is_open(const struct ob__conn *conn)
{
	return !conn->close_sent && !conn->stream.closing;
}

static bool refuse(struct ob__conn *conn, const char *why)
{
	ob__conn_close(conn, OB__WS_PROTOCOL, why, "bad_hello");
	return false;
}

/* The answer to a hello; false when the connection is closed. */
static bool welcome(struct ob__conn *conn, enum ob__resume_result result)
{
	struct ob__node *node = conn->node;
	const struct ob__session *s = conn->session;
	const struct ob__resume *r = conn->resume;
	bool recovered = result == OB__RESUMED || result == OB__RESUMED_FAR;
	char session[OB_SESSION_TEXT];
	char text[OB__RESUME_TOKEN];
	struct ob__resume_token token;
	ob_packet p = {
		.size = sizeof(p),
		.kind = OB_PACKET_WELCOME,
		.status = recovered ? OB_OK : OB_E_GONE,
		.reason = reasons[result],
		.name = session,
		.cookie = r != NULL ? s->messages - r->before : 0,
	};

	(void)ob__node_session_text(node, s, session, sizeof(session));
	p.name_len = strlen(session);
	if (r != NULL &&
	    ob__resume_token_make(&token, node->resumes.key, node->self.id, s->seq) == 0) {
		ob__resume_token_put(&token, text);
		p.data = (const uint8_t *)text;
		p.len = sizeof(text);
	}
	ob__conn_tell(conn, &p);
	return is_open(conn);
}

static void count(struct ob__node *node, enum ob__resume_result result)
{
	++*node->resumes.results[result];
}

/* The session that the connection came with is the client's, and begins. */
static bool begin(struct ob__conn *conn, enum ob__resume_result result)
{
	struct ob__resume *r = conn->resume;

	r->state = OB__RESUME_LIVE;
	r->session = conn->session;
	r->before = ++conn->session->messages;
	ob__resume_time(r, 0);
	if (!welcome(conn, result)) {
		return false;
	}
	r->announced = true;
	ob__conn_announce(conn);
	return is_open(conn);
}

/* Sends what it has missed; false when the connection is closed. */
static bool repeat(struct ob__resume *r, uint64_t seen)
{
	struct ob__conn *conn = r->conn;
	struct ob__node *node = r->node;
	uint64_t handle = r->handle;
	const struct ob__replay_item *item = ob__replay_next(&r->replay, seen);

	/* What is kept stays as it is: no module and no client is heard meanwhile. */
	r->repeats = true;
	while (item != NULL && is_open(conn)) {
		ob_packet p = {
			.size = sizeof(p),
			.kind = item->msg.kind,
			.id = item->msg.id,
			.cookie = item->msg.cookie,
			.status = item->msg.status,
			.name = item->msg.name,
			.name_len = item->msg.name_len,
			.data = item->msg.data,
			.len = item->msg.len,
		};
		ob__conn_tell(conn, &p);
		item = is_open(conn) ? ob__replay_after(&r->replay, item) : NULL;
	}
	r = ob__slab_get(&node->resumes.slab, handle);
	if (r != NULL) {
		r->repeats = false;
	}
	return is_open(conn);
}

struct ob__resume *ob__resume_find(struct ob__node *node, const struct ob__resume_token *t,
                                   uint64_t seen, enum ob__resume_result *result,
                                   struct ob__resume_token *moved)
{
	if (!ob__resume_token_ok(t, node->resumes.key)) {
		*result = OB__RESUME_UNKNOWN;
		return NULL;
	}
	const struct ob__session *s = ob__session_find(&node->sessions, node->self.id, t->seq);
	const struct ob__conn *conn = s != NULL ? ob__conn_get(node, s->conn) : NULL;
	struct ob__resume *r = conn != NULL ? conn->resume
	                       : s != NULL  ? ob__slab_get(&node->resumes.slab, s->conn)
	                                    : NULL;
	if (r == NULL || r->session != s) {
		const struct ob__resume_token *now =
			ob__moves_get(&node->resumes.moves, t->seq, ob__loop_now(node->loop));
		*result = now != NULL ? OB__RESUME_MOVED : OB__RESUME_EXPIRED;
		*moved = now != NULL ? *now : (struct ob__resume_token){0};
		return NULL;
	}
	if (!r->announced) {
		*result = OB__RESUME_MOVING;
		return NULL;
	}
	*result = ob__replay_has(&r->replay, seen) ? OB__RESUMED : OB__RESUME_LOST;
	return r;
}

bool ob__resume_begin(struct ob__conn *conn, enum ob__resume_result result, uint64_t seen)
{
	struct ob__resume *r = conn->resume;

	if (result != OB__RESUMED_FAR) {
		return begin(conn, result);
	}
	r->state = OB__RESUME_LIVE;
	r->session = conn->session;
	r->stuck = false;
	ob__resume_time(r, 0);
	uint64_t handle = conn->session->handle;
	if (!welcome(conn, result)) {
		return false;
	}
	r->announced = true; /* it is, also if the client is too slow and has to come back again */
	(void)repeat(r, seen);
	ob__session_announce(conn->node, handle);
	return is_open(conn);
}

void ob__resume_later(struct ob__conn *conn)
{
	count(conn->node, OB__RESUME_MOVING);
	ob__conn_close(conn, OB__WS_TRY_LATER, "the session is moving", "resume_moving");
}

/* False when the connection is closed. */
static bool resume_here(struct ob__conn *conn, const struct ob__resume_token *t, uint64_t seen)
{
	struct ob__node *node = conn->node;
	enum ob__resume_result result;
	struct ob__resume_token moved;
	struct ob__resume *r = ob__resume_find(node, t, seen, &result, &moved);
	uint64_t handle = r != NULL ? r->handle : 0;

	if (result == OB__RESUME_MOVED) {
		return ob__resume_seek(conn, &moved, seen);
	}
	if (result == OB__RESUME_MOVING ||
	    (r != NULL && ob__resume_is_newer(r, conn->resume->since_us))) {
		ob__resume_later(conn);
		return false;
	}
	if (r != NULL) {
		ob__resume_unseat(r);
		r = ob__resume_get(node, handle);
		result = r != NULL ? result : OB__RESUME_EXPIRED;
	}
	if (!is_open(conn)) {
		return false;
	}
	count(node, result);
	if (result != OB__RESUMED) {
		/* nobody comes back to it any more: the client goes on without what is lost */
		ob__resume_end(node, handle);
		return is_open(conn) && begin(conn, result);
	}
	ob__resume_attach(r, conn);
	(void)ob__replay_seen(&r->replay, seen);
	if (!welcome(conn, OB__RESUMED) || !repeat(r, seen)) {
		return false;
	}
	ob__gates_back(conn);
	return is_open(conn);
}

bool ob__resume_seek(struct ob__conn *conn, const struct ob__resume_token *t, uint64_t seen)
{
	if (conn->resume->hops++ < HOPS_MAX) {
		if (t->node == conn->node->self.id) {
			return resume_here(conn, t, seen);
		}
		if (ob__resume_ask(conn->resume, t, seen) == 0) {
			return true;
		}
	}
	count(conn->node, OB__RESUME_AWAY);
	return begin(conn, OB__RESUME_AWAY);
}

/* A hello where sessions are not kept: the client learns that, and goes on. */
static bool hello_off(struct ob__conn *conn, const ob_packet *p)
{
	if (p->len > 0) {
		count(conn->node, OB__RESUME_OFF);
	}
	conn->session->messages++;
	return welcome(conn, OB__RESUME_OFF);
}

bool ob__resume_hello(struct ob__conn *conn, const ob_packet *p)
{
	struct ob__resume *r = conn->resume;
	struct ob__resume_token t;

	if (r == NULL && !conn->node->resumes.ready) {
		return hello_off(conn, p);
	}
	if (r == NULL && conn->session->messages == 0) { /* the session has begun without one */
		ob__conn_close(conn, OB__WS_TRY_LATER, "the hello came too late", "late_hello");
		return false;
	}
	if (r == NULL || r->state != OB__RESUME_NEW) {
		return refuse(conn, "a hello comes first, and once");
	}
	if (p->len == 0) {
		return begin(conn, OB__RESUME_FRESH);
	}
	if (ob__resume_token_get(&t, (const char *)p->data, p->len) != 0) {
		count(conn->node, OB__RESUME_UNKNOWN);
		return begin(conn, OB__RESUME_UNKNOWN);
	}
	return ob__resume_seek(conn, &t, p->cookie);
}

bool ob__resume_seen(struct ob__conn *conn, const ob_packet *p)
{
	struct ob__resume *r = conn->resume;

	if (r == NULL) {
		return conn->node->resumes.ready ? refuse(conn, "nobody has said hello") : true;
	}
	if (r->state != OB__RESUME_LIVE || !ob__replay_seen(&r->replay, p->cookie)) {
		return refuse(conn, "so many messages were never sent");
	}
	return true;
}
