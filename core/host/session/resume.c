/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session/resume.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/log.h"
#include "host/client/conn.h"
#include "host/cluster/drain.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "host/push/broadcast.h"
#include "host/session/end.h"
#include "host/session/resume_priv.h"
#include "host/user/users.h"
#include "mesh/handles.h"

#define FIRST_MS 5000u /* for a first message, then the session is announced without one */

static struct ob__resumes *of(const struct ob__node *node)
{
	return (struct ob__resumes *)(uintptr_t)&node->resumes;
}

static const struct ob__resume_conf *conf_of(const struct ob__node *node)
{
	return &of(node)->conf;
}

/* ---- records ---- */

static double gauge_detached(void *arg)
{
	return ((const struct ob__resumes *)arg)->detached_len;
}

static double gauge_bytes(void *arg)
{
	return (double)((const struct ob__resumes *)arg)->bytes;
}

void ob__resumes_init(struct ob__node *node)
{
	static const char *const labels[OB__RESUME_RESULTS] = {
		[OB__RESUMED] = "result=\"recovered\"",
		[OB__RESUMED_FAR] = "result=\"recovered_far\"",
		[OB__RESUME_OFF] = "result=\"off\"",
		[OB__RESUME_UNKNOWN] = "result=\"unknown\"",
		[OB__RESUME_EXPIRED] = "result=\"expired\"",
		[OB__RESUME_LOST] = "result=\"lost\"",
		[OB__RESUME_AWAY] = "result=\"away\"",
		[OB__RESUME_NO_MEMORY] = "result=\"busy\"",
		[OB__RESUME_MOVING] = "result=\"moving\"",
	};
	struct ob__resumes *rs = of(node);
	struct ob__stats *s = node->stats;

	rs->conf = node->conf->resume;
	ob__list_init(&rs->detached);
	ob__moves_init(&rs->moves, conf_of(node)->detached);
	ob__slab_init(&rs->slab, sizeof(struct ob__resume), OB__KIND_RESUME,
	              node->conf->limits.connections + conf_of(node)->detached);
	rs->ready = conf_of(node)->window_ms > 0 && ob__resume_key(rs->key) == 0;
	for (int i = 0; i < OB__RESUME_RESULTS; i++) {
		rs->results[i] = ob__stat_counter(
			s, "obhost_resumes_total", labels[i],
			"Clients that came back with a token, by what came of it.");
	}
	rs->expired = ob__stat_counter(s, "obhost_sessions_expired_total", NULL,
	                               "Sessions whose clients did not come back in time.");
	rs->refused = ob__stat_counter(s, "obhost_sessions_not_detached_total", NULL,
	                               "Sessions that ended because too many had no connection.");
	ob__stat_gauge(s, "obhost_sessions_detached", NULL, "Sessions without a connection.",
	               gauge_detached, rs);
	ob__stat_gauge(s, "obhost_resume_bytes", NULL,
	               "Bytes of messages kept for clients that may come back.", gauge_bytes, rs);
}

void ob__resumes_free(struct ob__node *node)
{
	struct ob__resumes *rs = of(node);
	struct ob__resume *r;

	for (uint32_t i = 0; (r = ob__slab_next(&rs->slab, &i)) != NULL;) {
		ob__replay_free(&r->replay);
	}
	ob__slab_destroy(&rs->slab);
	ob__moves_free(&rs->moves);
	OPENSSL_cleanse(rs->key, sizeof(rs->key));
}

static void on_time(void *arg);

struct ob__resume *ob__resume_new(struct ob__conn *conn)
{
	struct ob__resumes *rs = of(conn->node);
	uint64_t handle;
	struct ob__resume *r = ob__slab_alloc(&rs->slab, &handle);

	if (r == NULL) {
		return NULL;
	}
	r->handle = handle;
	r->node = conn->node;
	r->conn = conn;
	r->state = OB__RESUME_NEW;
	r->since_us = ob__loop_hrtime_us();
	ob__list_init(&r->link);
	ob__timeout_init(&r->timer, on_time, r);
	ob__replay_init(&r->replay, &rs->bytes, 0);
	return r;
}

static void unlist(struct ob__resume *r)
{
	of(r->node)->detached_len -= ob__list_on(&r->link);
	ob__list_del(&r->link);
}

void ob__resume_free(struct ob__resume *r)
{
	unlist(r);
	ob__timeout_clear(r->node->loop, &r->timer);
	ob__replay_free(&r->replay);
	ob__slab_free(&of(r->node)->slab, r);
}

void ob__resume_time(struct ob__resume *r, uint64_t ms)
{
	ob__timeout_clear(r->node->loop, &r->timer);
	if (ms > 0) {
		ob__timeout_set(r->node->loop, &r->timer, ms);
	}
}

/* ---- the beginning ---- */

bool ob__resume_awaits(struct ob__conn *conn)
{
	const struct ob__reg *reg = ob__slot_active(conn->codec);

	if (!of(conn->node)->ready || conn->no_hello || reg == NULL ||
	    (reg->codec.flags & OB_CODEC_RESUMES) == 0) {
		return false;
	}
	conn->resume = ob__resume_new(conn);
	if (conn->resume == NULL) {
		return false;
	}
	ob__resume_time(conn->resume, FIRST_MS);
	return true;
}

static void announce(struct ob__resume *r)
{
	struct ob__conn *conn = r->conn;

	conn->resume = NULL;
	ob__resume_free(r);
	ob__conn_announce(conn);
}

bool ob__resume_message(struct ob__conn *conn)
{
	struct ob__resume *r = conn->resume;

	if (r->state == OB__RESUME_NEW) {
		announce(r);
	} else if (ob__resume_asks(conn)) {
		ob__conn_close(conn, OB__WS_PROTOCOL, "a hello has not been answered yet",
		               "bad_hello");
	}
	return !conn->close_sent && !conn->stream.closing;
}

/* ---- what goes out ---- */

uint64_t ob__resume_number(struct ob__conn *conn, const ob_packet *p)
{
	struct ob__resume *r = conn->resume;

	if ((r->state != OB__RESUME_LIVE && r->state != OB__RESUME_TAKING) || r->repeats ||
	    (p->kind != OB_PACKET_REPLY && p->kind != OB_PACKET_PUSH)) {
		return 0;
	}
	struct ob__replay_msg msg = ob__resume_msg(p);
	return ob__replay_put(&r->replay, &msg, &conf_of(conn->node)->bounds);
}

int ob__resume_not_sent(struct ob__node *node, uint64_t record, uint64_t number, int code,
                        bool too_slow)
{
	struct ob__resume *r = ob__slab_get(&of(node)->slab, record);

	if (r == NULL) {
		return code;
	}
	if (too_slow) { /* it is closed, now or soon, and gets it when it is back */
		r->stuck = true;
		return 0;
	}
	(void)ob__replay_take_back(&r->replay, number);
	return code;
}

static void keep(struct ob__resume *r, const ob_packet *p)
{
	struct ob__replay_msg msg = ob__resume_msg(p);

	(void)ob__replay_put(&r->replay, &msg, &conf_of(r->node)->bounds);
}

struct ob__resume *ob__resume_get(const struct ob__node *node, uint64_t handle)
{
	struct ob__resume *r = ob__slab_get(&of(node)->slab, handle);

	return r != NULL && r->state == OB__RESUME_DETACHED ? r : NULL;
}

bool ob__session_is_away(const struct ob__node *node, uint64_t session)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	return s != NULL && ob__resume_get(node, s->conn) != NULL;
}

int ob__resume_push(struct ob__node *node, uint64_t handle, const ob_packet *p)
{
	struct ob__resume *r = ob__resume_get(node, handle);

	if (r == NULL) {
		return OB_E_STALE;
	}
	keep(r, p);
	return 0;
}

void ob__resumes_push_all(struct ob__node *node, const ob_packet *p)
{
	OB__LIST_EACH (it, &of(node)->detached) {
		keep(OB__CONTAINER(it, struct ob__resume, link), p);
	}
}

void ob__resume_reply(struct ob__resume *r, uint32_t id, uint64_t cookie, int code,
                      const char *text, const void *data, size_t len)
{
	char *body = NULL;
	ob_packet p = {
		.size = sizeof(p),
		.kind = OB_PACKET_REPLY,
		.id = id,
		.cookie = cookie,
		.status = code,
		.data = data,
		.len = len,
	};

	ob__msgname_tell(&r->node->msgnames, &p);
	if (code != OB_OK && len == 0) {
		body = ob__error_body(r->node, code, text, &p.len);
		p.data = (const uint8_t *)body;
	}
	keep(r, &p);
	free(body);
}

/* ---- without a connection ---- */

void ob__resume_goodbye(struct ob__conn *conn, uint16_t code)
{
	if (conn->resume != NULL && (code == OB__WS_NORMAL || code == OB__WS_NO_STATUS)) {
		conn->resume->leaves = true;
	}
}

bool ob__resume_asks(const struct ob__conn *conn)
{
	return conn->resume != NULL && (conn->resume->state == OB__RESUME_ASKING ||
	                                conn->resume->state == OB__RESUME_TAKING);
}

void ob__resume_never(struct ob__conn *conn)
{
	if (conn->resume != NULL) {
		conn->resume->leaves = true;
	}
}

/* A connection that is closed so was broken, or is to be made again. */
static bool may_come_back(const struct ob__resume *r, const char *counted)
{
	static const char *const words[] = {
		"client", "eof",   "reset",       "gone",        "idle",
		"slow",   "drain", "slow_packet", "not_reading", "resumed",
	};

	for (size_t i = 0; !r->leaves && i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i], counted) == 0) {
			return true;
		}
	}
	return false;
}

static bool may_detach(const struct ob__resume *r, const char *counted)
{
	const struct ob__resumes *rs = of(r->node);
	bool comes = r->state == OB__RESUME_ASKING || r->state == OB__RESUME_TAKING;

	if ((!r->announced && !comes) || r->node->phase == OB__NODE_STOPPING ||
	    !may_come_back(r, counted) ||
	    (r->session->more != NULL && r->session->more->replaced)) {
		return false;
	}
	/* one that is wanted elsewhere is detached for a moment only */
	if (rs->detached_len >= conf_of(r->node)->detached && strcmp(counted, "resumed") != 0) {
		++*rs->refused;
		return false;
	}
	return true;
}

static void keep_rest(void *arg, const ob_packet *p)
{
	keep(arg, p);
}

/* What was to go to the connection, and did not yet. */
static void take_over_queue(struct ob__resume *r, struct ob__conn *conn)
{
	struct ob__pushq_item *item;

	while (conn->pushes != NULL && (item = ob__pushq_take(conn->pushes)) != NULL) {
		ob_packet p = ob__push_packet(&r->node->msgnames, item->id, item->data, item->len);
		keep(r, &p);
		free(item);
	}
	ob__broadcasts_rest(conn, keep_rest, r);
}

static void detach(struct ob__resume *r, struct ob__conn *conn)
{
	struct ob__resumes *rs = of(r->node);

	r->conn = NULL;
	r->session->conn = r->handle;
	ob__list_append(&rs->detached, &r->link);
	rs->detached_len++;
	if (r->state == OB__RESUME_ASKING) {
		return; /* what it is to be has not come yet */
	}
	r->state = OB__RESUME_DETACHED;
	r->in_flight = conn->in_flight;
	r->far = 0;
	if (r->announced) {
		ob__resume_time(r, conf_of(r->node)->window_ms);
	}
	take_over_queue(r, conn);
}

bool ob__resume_left(struct ob__conn *conn, struct ob__session *s, const char *counted)
{
	struct ob__resume *r = conn->resume;

	conn->resume = NULL;
	if (may_detach(r, counted)) {
		detach(r, conn);
		return true;
	}
	bool unborn = !r->announced;
	ob__resume_free(r);
	if (unborn) {
		ob__session_unborn(conn->node, s);
	}
	return unborn;
}

static void end(struct ob__resume *r)
{
	struct ob__node *node = r->node;
	struct ob__session *s = r->session;
	uint64_t session = s->handle;
	bool announced = r->announced;

	if (announced) {
		ob__resume_decline(r, OB__RESUME_EXPIRED);
	}
	ob__resume_free(r);
	if (announced) {
		ob__session_closed(node, s);
	} else {
		ob__session_unborn(node, s);
	}
	ob__serial_drop(node, session);
}

void ob__resume_end(struct ob__node *node, uint64_t handle)
{
	struct ob__resume *r = ob__resume_get(node, handle);

	if (r != NULL) {
		end(r);
	}
}

void ob__resumes_end(struct ob__node *node)
{
	struct ob__resumes *rs = of(node);

	while (!ob__list_empty(&rs->detached)) {
		end(OB__CONTAINER(rs->detached.next, struct ob__resume, link));
	}
}

static void on_time(void *arg)
{
	struct ob__resume *r = arg;

	switch (r->state) {
	case OB__RESUME_NEW:
		announce(r);
		break;
	case OB__RESUME_DETACHED:
		if (!r->announced) {
			ob__resume_taken(r);
			break;
		}
		if (r->far != 0) {
			ob__resume_give(r);
			break;
		}
		++*of(r->node)->expired;
		end(r);
		break;
	case OB__RESUME_ASKING:
		++*of(r->node)->results[OB__RESUME_AWAY];
		if (r->conn == NULL) {
			end(r);
			break;
		}
		(void)ob__resume_begin(r->conn, OB__RESUME_AWAY, 0);
		break;
	case OB__RESUME_TAKING:
		ob__resume_taken(r);
		break;
	case OB__RESUME_LIVE:
		break;
	}
}

void ob__resume_request_ended(struct ob__resume *r)
{
	r->in_flight -= r->in_flight > 0;
	if (r->far != 0 && r->in_flight == 0) {
		ob__resume_time(r, 1); /* not at once: whoever calls has to do with the session */
	}
}

/* ---- back again ---- */

bool ob__resume_is_newer(const struct ob__resume *r, uint64_t since_us)
{
	return r->state == OB__RESUME_LIVE && r->since_us > since_us;
}

void ob__resume_unseat(struct ob__resume *r)
{
	if (r->state == OB__RESUME_LIVE) {
		ob__conn_close(r->conn, OB__CLOSE_REPLACED, "replaced", "resumed");
	}
}

void ob__resume_attach(struct ob__resume *r, struct ob__conn *conn)
{
	struct ob__resume *new = conn->resume;
	struct ob__session *fresh = conn->session;

	ob__resume_decline(r, OB__RESUME_MOVING);
	conn->resume = r;
	conn->session = r->session;
	r->session->conn = ob__conn_handle(conn);
	r->session->messages++; /* the hello, */
	r->before++;            /* which is not one of those that the client counts */
	r->conn = conn;
	r->state = OB__RESUME_LIVE;
	r->stuck = false;
	r->since_us = new->since_us;
	unlist(r);
	ob__resume_time(r, 0);
	conn->broadcast = conn->node->clients.broadcasts.last; /* they are kept, or were sent */
	if (r->in_flight > 0) {
		conn->in_flight = r->in_flight - 1;
		ob__conn_begin(conn);
	}
	ob__drain_session_back(conn->node, conn);
	ob__resume_free(new);
	ob__session_unborn(conn->node, fresh);
}

struct ob__conn *ob__resume_conn(struct ob__node *node, struct ob__conn *conn,
                                 const struct ob__session *s)
{
	if ((conn != NULL && conn->session != NULL) || s == NULL || s->conn == 0) {
		return conn;
	}
	return ob__conn_get(node, s->conn);
}
