/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session_end.h"

#include <string.h>

#include "base/log.h"
#include "host/client.h"
#include "host/conn.h"
#include "host/dispatch.h"
#include "host/drain.h"
#include "host/held.h"
#include "host/names.h"
#include "host/node.h"
#include "host/reply.h"
#include "host/request.h"
#include "host/session_lost.h"
#include "host/slot.h"
#include "host/users.h"
#include "mesh/sticks.h"

#define NOTICE_MS       600000u
#define NOTICE_RETRY_MS 2000u
#define CLOSED_REPLACED 1u /* `status` of a CLOSED */
#define SERVED_RETRY_MS 2000u
#define SERVED_A_TURN   20000u /* sessions that are looked at */

static int served_send(struct ob__node *node, const struct ob__session *s, bool sticky, bool again,
                       bool keep)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.flags = sticky ? OB__FRAME_STICKY : 0,
		.id = OB__SYS_SERVED,
		/* what is said again need not wait anywhere for longer than until the next time */
		.budget = keep ? 0 : SERVED_RETRY_MS,
		.session_node = s->node,
		.session_seq = s->seq,
		.role = node->self.role_id,
		.status = again,
	};
	if (ob__node_gone(node, s->node, s->seq)) {
		return 0; /* lost in a moment; the next life of its proxy would say that it is
		             closed */
	}
	int rc = ob__send_to_node(node, s->node, &f);
	if (rc != 0 && keep) {
		struct ob__route_query q = {.node = s->node};
		rc = ob__hold_own(node, &f, &q);
	}
	return rc;
}

static void tell_served(struct ob__node *node, struct ob__session *s, bool sticky, bool again)
{
	uint8_t want = OB__SESSION_SERVED_TOLD | (sticky ? OB__SESSION_STICKS : 0);

	if ((s->flags & want) == want || s->node == node->self.id) {
		return;
	}
	s->flags &= (uint8_t) ~(OB__SESSION_SERVED_HEARD | OB__SESSION_SERVED_DUE);
	if (!ob__timeout_armed(&node->served_timeout)) {
		ob__timeout_set(node->loop, &node->served_timeout, SERVED_RETRY_MS);
	}
	if (served_send(node, s, sticky, again, true) == 0) {
		s->flags |= want;
	}
}

/* True when its proxy has not said that it knows. */
static bool served_retry(struct ob__node *node, struct ob__session *s)
{
	bool sticky = (s->flags & OB__SESSION_STICKS) != 0;

	if (s->node == node->self.id || (s->flags & OB__SESSION_SERVED_HEARD) != 0) {
		return false;
	}
	if ((s->flags & OB__SESSION_SERVED_DUE) != 0) {
		(void)served_send(node, s, sticky, true, false);
	}
	s->flags |= OB__SESSION_SERVED_DUE;
	return true;
}

void ob__served_timeout(void *arg)
{
	struct ob__node *node = arg;
	struct ob__session *s = NULL;

	for (unsigned n = 0; n < SERVED_A_TURN; n++) {
		s = ob__slab_next(&node->sessions.slab, &node->served_at);
		if (s == NULL) {
			break;
		}
		node->served_open |= served_retry(node, s);
	}
	if (s != NULL) {
		ob__timeout_set(node->loop, &node->served_timeout, 0);
		return;
	}
	if (node->served_open) {
		ob__timeout_set(node->loop, &node->served_timeout, SERVED_RETRY_MS);
	}
	node->served_at = 0;
	node->served_open = false;
}

void ob__served_unsure(struct ob__node *node, const struct ob__peer *peer)
{
	bool relays = peer->who.role_id == node->router.route_role;
	struct ob__session *s;

	for (uint32_t i = 0; (s = ob__slab_next(&node->sessions.slab, &i)) != NULL;) {
		if (relays || s->node == peer->who.id) {
			s->flags &= (uint8_t)~OB__SESSION_SERVED_TOLD;
		}
	}
}

void ob__served_again(struct ob__node *node)
{
	struct ob__session *s;

	for (uint32_t i = 0; (s = ob__slab_next(&node->sessions.slab, &i)) != NULL;) {
		if ((s->flags & OB__SESSION_SERVED_TOLD) == 0) {
			tell_served(node, s, (s->flags & OB__SESSION_STICKS) != 0, true);
		}
	}
}

/* Tells this node's modules, then forgets the session. */
static void end_session(struct ob__node *node, struct ob__session *s, int event, bool replaced)
{
	const char *body = event == OB_EVENT_SESSION_LOST ? "{\"lost\":true}" : "{}";
	ob_event_info info = {
		.size = sizeof(info),
		.event = OB_EVENT_SESSION_REPLACED,
		.session = s->handle,
		.node = s->node,
		.name = "",
		.role = "",
	};
	struct ob__reg *reg = ob__slot_active(
		ob__map_get(&node->slots.link_ids, node->conf->session_closed_id, 0));
	struct ob__req *r;

	if (replaced) {
		ob__dispatch_event(node, &info);
	}
	info.event = event;
	ob__dispatch_event(node, &info);
	if (reg != NULL &&
	    (r = ob__req_new(node, reg, OB__ORIGIN_HOST, node->conf->call_timeout_ms)) != NULL) {
		r->view.id = node->conf->session_closed_id;
		r->view.flags = OB_VIEW_ONE_WAY;
		r->view.session = s->handle;
		r->view.source = s->node;
		r->view.data = (const uint8_t *)body;
		r->view.len = strlen(body);
		ob__req_run(node, reg, r);
	}
	ob__session_end(&node->sessions, s);
}

static void raise_event(struct ob__node *node, const struct ob__session *s, int event,
                        uint64_t about)
{
	const char *name = ob__names_get(node, about);
	ob_event_info info = {
		.size = sizeof(info),
		.event = event,
		.session = s->handle,
		.node = about,
		.name = name != NULL ? name : "",
		.role = "",
	};

	ob__dispatch_event(node, &info);
}

void ob__session_left(struct ob__node *node, struct ob__session *s)
{
	raise_event(node, s, OB_EVENT_SESSION_LEFT, s->node);
	ob__session_end(&node->sessions, s);
}

/* What a message that is to stay here says about where the session has been until now. */
static void note_choice(struct ob__node *node, struct ob__session *s, const struct ob__frame *f)
{
	uint64_t self = node->self.id;

	if ((f->flags & OB__FRAME_STICKY) == 0) {
		return;
	}
	struct ob__sticks sticks = ob__sticks_get(f, node->self.role_id);
	if (!sticks.has) {
		return;
	}
	if (sticks.node == 0 && sticks.from == self) {
		s->flags &= (uint8_t)~OB__SESSION_SERVED_TOLD; /* its proxy has forgotten */
		return;
	}
	/* without the one before: a node on the way has chosen anew */
	uint64_t from = sticks.from != 0 ? sticks.from : sticks.node;
	if ((s->flags & OB__SESSION_STICKS) == 0 && from != self) {
		raise_event(node, s, OB_EVENT_SESSION_MOVED, from);
	}
}

void ob__session_lost(struct ob__node *node, struct ob__session *s)
{
	end_session(node, s, OB_EVENT_SESSION_LOST, false);
}

/* The session of a frame: 0 if it has none; OB_E_BUSY when there is no room for it. */
int ob__frame_session(struct ob__node *node, const struct ob__frame *f, uint64_t *handle)
{
	bool fresh = false;
	struct ob__session *s;

	*handle = 0;
	if (f->session_node == 0) {
		return 0;
	}
	if (f->session_node == node->self.id) {
		s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
		*handle = s != NULL ? s->handle : 0;
		return 0;
	}
	s = ob__session_meet(&node->sessions, f->session_node, f->session_seq,
	                     ob__loop_now(node->loop), &fresh);
	if (s == NULL) {
		return OB_E_BUSY;
	}
	*handle = s->handle;
	if (fresh) {
		ob__losses_met(node, f->session_node, f->session_seq);
	}
	ob__users_ext_get(s, f);
	s->messages++;
	note_choice(node, s, f);
	tell_served(node, s, (f->flags & OB__FRAME_STICKY) != 0, false);
	return 0;
}

static void notice_send(struct ob__node *node, struct ob__notice *n)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_CLOSED,
		.budget = NOTICE_RETRY_MS, /* then it is said again, so it need not wait longer */
		.call = n->handle,
		.status = n->replaced ? CLOSED_REPLACED : 0,
		.session_node = n->session_node,
		.session_seq = n->session_seq,
	};

	(void)ob__send_to_node(node, n->to, &f);
}

static void notice_end(struct ob__node *node, struct ob__notice *n)
{
	uint64_t seq = n->session_seq;

	ob__notice_free(&node->sessions, n);
	ob__users_notice(node, seq, -1);
}

void ob__notices_retry(struct ob__node *node)
{
	uint64_t now = ob__loop_now(node->loop);

	OB__LIST_EACH_SAFE (it, &node->sessions.notice_list) {
		struct ob__notice *n = OB__CONTAINER(it, struct ob__notice, link);
		if (n->until_ms <= now) {
			notice_end(node, n);
		} else {
			notice_send(node, n);
		}
	}
}

void ob__notices_timeout(void *arg)
{
	struct ob__node *node = arg;

	ob__notices_retry(node);
	if (!ob__list_empty(&node->sessions.notice_list)) {
		ob__timeout_set(node->loop, &node->notice_timeout, NOTICE_RETRY_MS);
	}
}

static void notify_closed(struct ob__node *node, const struct ob__session *s, uint64_t to)
{
	uint64_t until = ob__loop_now(node->loop) + NOTICE_MS;
	struct ob__notice *n = ob__notice_new(&node->sessions, to, s, until);

	if (n == NULL) {
		ob__warning("session", "too many close notices wait; one is lost");
		return;
	}
	n->replaced = s->more != NULL && s->more->replaced;
	ob__users_notice(node, s->seq, 1);
	notice_send(node, n);
	if (!ob__timeout_armed(&node->notice_timeout)) {
		ob__timeout_set(node->loop, &node->notice_timeout, NOTICE_RETRY_MS);
	}
}

void ob__session_closed(struct ob__node *node, struct ob__session *s)
{
	uint64_t seq = s->seq;

	ob__users_closing(node, s);
	for (uint8_t i = 0; i < s->served_len; i++) {
		notify_closed(node, s, s->served[i]);
	}
	end_session(node, s, OB_EVENT_SESSION_CLOSED, s->more != NULL && s->more->replaced);
	ob__users_closed(node, seq);
}

void ob__session_gone(struct ob__node *node, uint64_t owner, uint64_t seq, uint64_t to)
{
	struct ob__session gone = {.node = owner, .seq = seq};

	notify_closed(node, &gone, to);
}

static void on_served(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__frame ack = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_SERVED_ACK,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
	};

	if (s == NULL && f->status != 0) {
		/* Not acknowledged: it is said again until its end has been heard of. */
		struct ob__notice n = {
			.to = f->src,
			.session_node = f->session_node,
			.session_seq = f->session_seq,
		};
		notice_send(node, &n);
		return;
	}
	(void)ob__send_to_node(node, f->src, &ack);
	if (s == NULL) {
		ob__session_gone(node, f->session_node, f->session_seq, f->src);
		return;
	}
	(void)ob__session_served(s, f->src);
	ob__users_met(node, s, f->src);
	/* Who has just got a message that stays has it for good; who had one long ago may not. */
	if ((f->flags & OB__FRAME_STICKY) != 0 && f->role != 0 &&
	    (f->status == 0 || ob__session_sticky(s, f->role) == 0)) {
		ob__session_stick(s, f->role, f->src);
	}
}

static void on_served_ack(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);

	if (s != NULL && s->conn == 0 && f->src == s->node) {
		s->flags |= OB__SESSION_SERVED_HEARD;
	}
}

static void on_closed(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__frame ack = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_CLOSED_ACK,
		.call = f->call,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
	};

	if (s != NULL && s->conn == 0 && f->src == s->node) {
		end_session(node, s, OB_EVENT_SESSION_CLOSED, f->status == CLOSED_REPLACED);
	}
	(void)ob__send_to_node(node, f->src, &ack);
}

static void on_kick(struct ob__node *node, const struct ob__frame *f)
{
	const struct ob__session *s =
		ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__conn *conn = s != NULL ? ob__conn_get(node, s->conn) : NULL;
	char reason[124] = "";
	uint16_t code = OB__WS_NORMAL;

	if (conn == NULL || f->payload_len < 2) {
		return;
	}
	memcpy(&code, f->payload, sizeof(code));
	size_t len = f->payload_len - 2 < sizeof(reason) ? f->payload_len - 2 : sizeof(reason) - 1;
	memcpy(reason, f->payload + 2, len);
	ob__conn_close(conn, code, reason, "kicked");
}

void ob__frame_system(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__notice *n;

	switch (f->id) {
	case OB__SYS_SERVED:
		on_served(node, f);
		return;
	case OB__SYS_SERVED_ACK:
		on_served_ack(node, f);
		return;
	case OB__SYS_CLOSED:
		on_closed(node, f);
		return;
	case OB__SYS_CLOSED_ACK:
		n = ob__notice_get(&node->sessions, f->call);
		if (n != NULL && n->to == f->src) {
			notice_end(node, n);
		}
		return;
	case OB__SYS_KICK:
		on_kick(node, f);
		return;
	case OB__SYS_NAME:
		ob__names_heard(node, f);
		return;
	default:
		if (!ob__users_frame(node, f)) {
			ob__drain_frame(node, f);
		}
		return;
	}
}
