/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session_end.h"

#include <string.h>

#include "base/log.h"
#include "host/client.h"
#include "host/conn.h"
#include "host/dispatch.h"
#include "host/held.h"
#include "host/names.h"
#include "host/node.h"
#include "host/reply.h"
#include "host/request.h"
#include "host/session_lost.h"
#include "host/slot.h"
#include "host/users.h"

#define NOTICE_MS        600000u
#define NOTICE_RETRY_MS  2000u
#define FLAG_SERVED_TOLD 1u /* of ob__session.flags */
#define FLAG_STICKY_TOLD 2u
#define CLOSED_REPLACED  1u /* `status` of a CLOSED */

static void tell_served(struct ob__node *node, struct ob__session *s, bool sticky)
{
	uint8_t want = FLAG_SERVED_TOLD | (sticky ? FLAG_STICKY_TOLD : 0);

	if ((s->flags & want) == want || s->node == node->self.id) {
		return;
	}
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.flags = sticky ? OB__FRAME_STICKY : 0,
		.id = OB__SYS_SERVED,
		.session_node = s->node,
		.session_seq = s->seq,
		.role = node->self.role_id,
	};
	if (ob__send_to_node(node, s->node, &f) != 0) {
		struct ob__route_query q = {.node = s->node};
		if (ob__hold_own(node, &f, &q) != 0) {
			return;
		}
	}
	s->flags |= want;
}

void ob__served_unsure(struct ob__node *node)
{
	struct ob__session *s;

	for (uint32_t i = 0; (s = ob__slab_next(&node->sessions.slab, &i)) != NULL;) {
		s->flags &= (uint8_t)~FLAG_SERVED_TOLD;
	}
}

void ob__served_again(struct ob__node *node)
{
	struct ob__session *s;

	for (uint32_t i = 0; (s = ob__slab_next(&node->sessions.slab, &i)) != NULL;) {
		if ((s->flags & FLAG_SERVED_TOLD) == 0) {
			tell_served(node, s, (s->flags & FLAG_STICKY_TOLD) != 0);
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
	tell_served(node, s, (f->flags & OB__FRAME_STICKY) != 0);
	return 0;
}

static void notice_send(struct ob__node *node, struct ob__notice *n)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_CLOSED,
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

static void on_served(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);

	if (s == NULL) {
		struct ob__session gone = {.node = f->session_node, .seq = f->session_seq};
		notify_closed(node, &gone, f->src);
		return;
	}
	(void)ob__session_served(s, f->src);
	ob__users_met(node, s, f->src);
	if ((f->flags & OB__FRAME_STICKY) != 0 && ob__session_sticky(s, f->role) == 0) {
		ob__session_stick(s, f->role, f->src);
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
		(void)ob__users_frame(node, f);
		return;
	}
}
