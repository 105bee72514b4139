/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * A client that comes back to another proxy.  The new one asks the old one, which waits for the
 * client's requests, not for long, gives away all that makes up the session, and ends it.  The
 * client has another session then, which is like the one before: a name belongs to one proxy.  It
 * hears that when the session's user is bound anew: until then what is for it is only kept.
 *
 * If its connection breaks before it has heard, it comes back with the token that it had.  The new
 * proxy has gone on without it; the old one knows which token to ask there for, also on behalf of a
 * third one that the client may have come to.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/client/conn.h"
#include "host/message/ignored.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "host/session/end.h"
#include "host/session/resume_priv.h"
#include "host/user/users.h"
#include "mesh/resumewire.h"

#define ASK_MS       5000u /* for the other proxy's answer */
#define REQUESTS_MS  2000u /* of that for requests to end */
#define BIND_MORE_MS 1000u /* on top of what its claim has */

/* ---- the new proxy ---- */

int ob__resume_ask(struct ob__resume *r, const struct ob__resume_token *t, uint64_t seen)
{
	struct ob__node *node = r->node;
	struct ob__resume_ask ask = {
		.token = *t, .seen = seen, .age_us = ob__loop_hrtime_us() - r->since_us};
	uint8_t payload[OB__RESUME_ASK];
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_RESUME_ASK,
		.budget = ASK_MS,
		.call = r->handle,
		.payload = payload,
		.payload_len = sizeof(payload),
	};

	r->session = r->conn->session;
	int rc =
		ob__resume_token_make(&ask.here, node->resumes.key, node->self.id, r->session->seq);
	ob__resume_ask_put(payload, &ask);
	rc = rc == 0 ? ob__send_to_node(node, t->node, &f) : rc;
	if (rc != 0) {
		return rc;
	}
	r->state = OB__RESUME_ASKING;
	r->far = t->node;
	r->far_seen = seen;
	ob__resume_time(r, ASK_MS);
	return 0;
}

static void take_messages(struct ob__resume *r, struct ob__give *g)
{
	/* no more than one frame has; what comes later drops the oldest as ever */
	struct ob__replay_bounds max = {UINT32_MAX, SIZE_MAX, r->node->resumes.conf.bounds.all};

	ob__replay_free(&r->replay);
	ob__replay_init(&r->replay, &r->node->resumes.bytes, g->sent - g->messages.count);
	for (uint32_t i = 0; i < g->messages.count; i++) {
		struct ob__replay_msg msg;
		ob__give_next_message(&g->messages, &msg);
		(void)ob__replay_put(&r->replay, &msg, &max);
	}
}

static void take_rest(struct ob__node *node, struct ob__session *s, struct ob__give *g)
{
	for (uint32_t i = 0; i < g->attrs.count; i++) {
		struct ob__give_attr attr;
		ob__give_next_attr(&g->attrs, &attr);
		(void)ob__users_session_set(node, s->handle, attr.key, attr.value, attr.len);
	}
	for (uint32_t i = 0; i < g->homes.count; i++) {
		struct ob__home home;
		ob__give_next_home(&g->homes, &home);
		(void)ob__session_stick(s, home.role, home.node);
	}
	for (uint32_t i = 0; i < g->groups.count; i++) {
		char group[OB__USER_MAX + 1];
		ob__give_next_group(&g->groups, group);
		(void)ob__groups_join_here(node, s, group);
	}
	if (g->state[0] != '\0') {
		ob__states_comes(node, s, g->state, g->state_data, g->state_len);
	}
	if (g->user[0] != '\0') {
		ob__users_bind_here(node, s, g->user);
	}
}

/* True when the session is there. */
static bool take_over(struct ob__resume *r, struct ob__give *g)
{
	struct ob__session *s = r->session;

	take_messages(r, g);
	if (!ob__replay_has(&r->replay, r->far_seen)) {
		ob__replay_free(&r->replay);
		ob__replay_init(&r->replay, &r->node->resumes.bytes, 0);
		return false;
	}
	s->messages += g->heard + 1;
	r->before = s->messages - g->heard;
	(void)ob__replay_seen(&r->replay, r->far_seen);
	take_rest(r->node, s, g);
	return true;
}

/* Until its user is bound; it may be another's, or locked, until the claim has had its time. */
static void await_user(struct ob__resume *r)
{
	if (r->conn != NULL) {
		r->state = OB__RESUME_TAKING;
	}
	r->stuck = true;
	r->bound = false;
	ob__resume_time(r, r->node->conf->bind_timeout_ms + BIND_MORE_MS);
}

void ob__resume_claimed(struct ob__node *node, const struct ob__session *s, int code)
{
	const struct ob__conn *conn = ob__conn_get(node, s->conn);
	struct ob__resume *r = conn != NULL ? conn->resume : ob__resume_get(node, s->conn);

	if (r != NULL && !r->announced &&
	    (r->state == OB__RESUME_TAKING || r->state == OB__RESUME_DETACHED)) {
		r->bound = code == 0;
		ob__resume_time(r, 1); /* not at once: whoever calls has to do with the session */
	}
}

/* Nobody waits for it any more: if it has come it is as any whose connection broke. */
static void settle(struct ob__resume *r, bool came)
{
	if (!came) {
		ob__resume_end(r->node, r->handle);
		return;
	}
	r->stuck = false;
	r->announced = true;
	ob__resume_time(r, r->node->resumes.conf.window_ms);
	ob__session_announce(r->node, r->session->handle);
}

void ob__resume_taken(struct ob__resume *r)
{
	struct ob__node *node = r->node;

	*node->resumes.results[OB__RESUME_NO_MEMORY] += !r->bound;
	if (r->conn == NULL) {
		settle(r, r->bound);
		return;
	}
	if (!r->bound) {
		ob__conn_close(r->conn, OB__WS_TRY_LATER, "the user can't be bound", "resume_user");
		return;
	}
	if (!ob__replay_has(&r->replay, r->far_seen)) { /* too much has come meanwhile */
		++*node->resumes.results[OB__RESUME_LOST];
		ob__conn_close(r->conn, OB__WS_TRY_LATER, "messages lost", "resume_lost");
		return;
	}
	++*node->resumes.results[OB__RESUMED_FAR];
	(void)ob__resume_begin(r->conn, OB__RESUMED_FAR, r->far_seen);
}

/* False: it is malformed. */
static bool read_given(const struct ob__frame *f, struct ob__give *g,
                       struct ob__resume_token *moved)
{
	switch (f->status) {
	case OB__RESUMED:
		return ob__give_get(g, f->payload, f->payload_len) == 0;
	case OB__RESUME_MOVED:
		return ob__resume_token_get(moved, (const char *)f->payload, f->payload_len) == 0;
	default:
		return f->status < OB__RESUME_RESULTS;
	}
}

static void on_given(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__resume *r = ob__slab_get(&node->resumes.slab, f->call);
	enum ob__resume_result result = f->status;
	struct ob__resume_token moved;
	struct ob__give g;

	if (r == NULL || r->state != OB__RESUME_ASKING || r->far != f->src) {
		ob__debug("session", "what was asked for a client that came back is too late");
		return;
	}
	r->far = 0;
	r->state = r->conn != NULL ? r->state : OB__RESUME_DETACHED;
	if (!read_given(f, &g, &moved)) {
		ob__ignore_frame(node, f, OB__IGNORED_RESUME);
		result = OB__RESUME_AWAY;
	} else if (result == OB__RESUMED) {
		result = take_over(r, &g) ? OB__RESUMED_FAR : OB__RESUME_LOST;
		if (result == OB__RESUMED_FAR && g.user[0] != '\0') {
			await_user(r);
			return;
		}
	}
	if (r->conn == NULL) {
		settle(r, result == OB__RESUMED_FAR);
	} else if (result == OB__RESUME_MOVED) {
		(void)ob__resume_seek(r->conn, &moved, r->far_seen);
	} else if (result == OB__RESUME_MOVING) {
		ob__resume_later(r->conn);
	} else {
		++*node->resumes.results[result];
		(void)ob__resume_begin(r->conn, result, r->far_seen);
	}
}

/* ---- the old proxy ---- */

static int answer(struct ob__node *node, uint64_t to, uint64_t call, enum ob__resume_result result,
                  const void *data, size_t len)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_RESUME_GIVE,
		.budget = ASK_MS,
		.call = call,
		.status = (uint8_t)result,
		.payload = data,
		.payload_len = (uint32_t)len,
	};

	return ob__send_to_node(node, to, &f);
}

static int put_state(struct ob__buf *b, const struct ob__node *node, const struct ob__session *s)
{
	const json_t *data;
	const char *state = ob__states_leaves(node, s, &data);
	char *text = data != NULL ? json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	int rc = data == NULL || text != NULL ? 0 : -ENOMEM;

	rc = rc == 0 ? ob__give_state(b, state, text, (uint16_t)(text ? strlen(text) : 0)) : rc;
	free(text);
	return rc;
}

static int put_attrs(struct ob__buf *b, const struct ob__session_more *more)
{
	uint8_t count = more != NULL ? more->attrs_len : 0;
	int rc = ob__give_attrs(b, count);

	for (uint8_t i = 0; rc == 0 && i < count; i++) {
		const struct ob__session_attr *a = more->attrs[i];
		rc = ob__give_attr(b, a->key, a->value, a->len);
	}
	return rc;
}

static int put_homes(struct ob__buf *b, const struct ob__session *s)
{
	uint16_t count = 0;

	for (uint8_t i = 0; i < s->sticky_len; i++) {
		count += s->sticky[i].node != 0;
	}
	int rc = ob__give_homes(b, count);
	for (uint8_t i = 0; rc == 0 && i < s->sticky_len; i++) {
		struct ob__home home = {.role = s->sticky[i].role, .node = s->sticky[i].node};
		rc = home.node != 0 ? ob__give_home(b, &home) : 0;
	}
	return rc;
}

static int put_group(void *arg, const struct ob__group *g)
{
	return ob__give_group(arg, g->name);
}

static int put_groups(struct ob__buf *b, const struct ob__groups *table, uint64_t session)
{
	int rc = ob__give_groups(b, ob__group_count_of(table, session));

	return rc == 0 ? ob__group_each_of(table, session, put_group, b) : rc;
}

static int put_messages(struct ob__buf *b, const struct ob__replay *replay)
{
	int rc = ob__give_messages(b, replay->len);
	const struct ob__replay_item *item = ob__replay_next(replay, 0);

	for (; rc == 0 && item != NULL; item = ob__replay_after(replay, item)) {
		rc = ob__give_message(b, &item->msg);
	}
	return rc;
}

static int put_all(struct ob__buf *b, struct ob__resume *r)
{
	const struct ob__session *s = r->session;
	const char *user = s->more != NULL && s->more->bound ? s->more->user : "";

	(void)ob__replay_seen(&r->replay, r->far_seen);
	int rc = ob__give_head(b, r->replay.sent, s->messages - r->before, user);
	rc = rc == 0 ? put_state(b, r->node, s) : rc;
	rc = rc == 0 ? put_attrs(b, s->more) : rc;
	rc = rc == 0 ? put_homes(b, s) : rc;
	rc = rc == 0 ? put_groups(b, &r->node->groups.table, s->handle) : rc;
	return rc == 0 ? put_messages(b, &r->replay) : rc;
}

void ob__resume_decline(struct ob__resume *r, enum ob__resume_result result)
{
	if (r->far != 0) {
		(void)answer(r->node, r->far, r->far_call, result, NULL, 0);
		r->far = 0;
	}
}

void ob__resume_give(struct ob__resume *r)
{
	struct ob__node *node = r->node;
	struct ob__buf b = {0};
	uint64_t to = r->far;

	r->far = 0;
	ob__gates_leave(node, r->session->handle);
	int rc = put_all(&b, r);
	rc = rc == 0 ? answer(node, to, r->far_call, OB__RESUMED, b.data, b.len) : OB_E_NOMEM;
	ob__buf_free(&b);
	if (rc == 0) {
		uint64_t now = ob__loop_now(node->loop);
		ob__moves_put(&node->resumes.moves, r->session->seq, &r->far_token, now,
		              now + node->resumes.conf.window_ms + ASK_MS);
		ob__resume_end(node, r->handle);
	} else {
		(void)answer(node, to, r->far_call, OB__RESUME_NO_MEMORY, NULL, 0);
		ob__resume_time(r, node->resumes.conf.window_ms);
	}
}

/* Its session can't be given, for that reason. */
static void refuse(struct ob__node *node, const struct ob__frame *f, enum ob__resume_result result,
                   const struct ob__resume_token *moved)
{
	char text[OB__RESUME_TOKEN];

	if (result == OB__RESUME_MOVED) {
		ob__resume_token_put(moved, text);
		(void)answer(node, f->src, f->call, result, text, sizeof(text));
		return;
	}
	(void)answer(node, f->src, f->call, result == OB__RESUMED ? OB__RESUME_EXPIRED : result,
	             NULL, 0);
}

static void on_ask(struct ob__node *node, const struct ob__frame *f)
{
	enum ob__resume_result result = OB__RESUME_OFF;
	uint64_t now_us = ob__loop_hrtime_us();
	struct ob__resume *r = NULL;
	struct ob__resume_token moved;
	struct ob__resume_ask ask;

	if (ob__resume_ask_get(&ask, f->payload, f->payload_len) != 0 ||
	    ask.token.node != node->self.id || ask.here.node != f->src) {
		ob__ignore_frame(node, f, OB__IGNORED_RESUME);
		return;
	}
	if (node->resumes.ready) {
		r = ob__resume_find(node, &ask.token, ask.seen, &result, &moved);
	}
	if (r != NULL && ob__resume_is_newer(r, now_us > ask.age_us ? now_us - ask.age_us : 0)) {
		(void)answer(node, f->src, f->call, OB__RESUME_MOVING, NULL, 0);
		return;
	}
	uint64_t handle = r != NULL ? r->handle : 0;
	if (r != NULL) {
		ob__resume_unseat(r);
		r = ob__resume_get(node, handle);
	}
	if (r == NULL || result != OB__RESUMED) {
		refuse(node, f, result, &moved);
		ob__resume_end(node, handle);
		return;
	}
	ob__resume_decline(r, OB__RESUME_MOVING);
	r->far = f->src;
	r->far_call = f->call;
	r->far_seen = ask.seen;
	r->far_token = ask.here;
	ob__resume_time(r, r->in_flight > 0 ? REQUESTS_MS : 1);
}

bool ob__resumes_frame(struct ob__node *node, const struct ob__frame *f)
{
	if (f->id == OB__SYS_RESUME_ASK) {
		on_ask(node, f);
	} else if (f->id == OB__SYS_RESUME_GIVE) {
		on_given(node, f);
	}
	return f->id == OB__SYS_RESUME_ASK || f->id == OB__SYS_RESUME_GIVE;
}
