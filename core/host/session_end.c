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
#include "host/slot.h"
#include "mesh/sticks.h"

#define NOTICE_MS       600000u
#define NOTICE_RETRY_MS 2000u

static void tell_served(struct ob__node *node, struct ob__session *s, bool sticky, bool again)
{
	uint8_t want = OB__SESSION_SERVED_TOLD | (sticky ? OB__SESSION_STICKS : 0);

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
		.status = again,
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
		s->flags &= (uint8_t)~OB__SESSION_SERVED_TOLD;
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
static void end_session(struct ob__node *node, struct ob__session *s)
{
	ob_event_info info = {
		.size = sizeof(info),
		.event = OB_EVENT_SESSION_CLOSED,
		.session = s->handle,
		.node = s->node,
		.name = "",
		.role = "",
	};
	struct ob__reg *reg = ob__slot_active(
		ob__map_get(&node->slots.link_ids, node->conf->session_closed_id, 0));
	struct ob__req *r;

	ob__dispatch_event(node, &info);
	if (reg != NULL &&
	    (r = ob__req_new(node, reg, OB__ORIGIN_HOST, node->conf->call_timeout_ms)) != NULL) {
		r->view.id = node->conf->session_closed_id;
		r->view.flags = OB_VIEW_ONE_WAY;
		r->view.session = s->handle;
		r->view.source = s->node;
		r->view.data = (const uint8_t *)"{}";
		r->view.len = 2;
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
	uint64_t to;
	uint64_t from;

	if ((f->flags & OB__FRAME_STICKY) == 0 ||
	    !ob__sticks_get(f, node->self.role_id, &to, &from)) {
		return;
	}
	if (to == 0 && from == self) {
		s->flags &= (uint8_t)~OB__SESSION_SERVED_TOLD; /* its proxy has forgotten */
		return;
	}
	from = from != 0 ? from : to; /* a node on the way has chosen anew */
	if ((s->flags & OB__SESSION_STICKS) == 0 && from != self) {
		raise_event(node, s, OB_EVENT_SESSION_MOVED, from);
	}
}

/* A proxy that came back numbers its sessions higher: those of its former life have ended. */
static void note_epoch(struct ob__node *node, uint64_t proxy, uint64_t seq)
{
	uint64_t epoch = (seq >> 32) + 1;
	uint64_t known = (uint64_t)(uintptr_t)ob__map_get(&node->proxy_epochs, proxy, 0);
	struct ob__session *s;

	if (epoch <= known) {
		return;
	}
	if (ob__map_put(&node->proxy_epochs, proxy, 0, (void *)(uintptr_t)epoch) != 0 ||
	    known == 0) {
		return;
	}
	for (uint32_t i = 0; (s = ob__slab_next(&node->sessions.slab, &i)) != NULL;) {
		if (s->node == proxy && s->conn == 0 && (s->seq >> 32) + 1 < epoch) {
			end_session(node, s);
		}
	}
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
		note_epoch(node, f->session_node, f->session_seq);
	}
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
		.call = n->handle,
		.session_node = n->session_node,
		.session_seq = n->session_seq,
	};

	(void)ob__send_to_node(node, n->to, &f);
}

void ob__notices_retry(struct ob__node *node)
{
	uint64_t now = ob__loop_now(node->loop);

	OB__LIST_EACH_SAFE (it, &node->sessions.notice_list) {
		struct ob__notice *n = OB__CONTAINER(it, struct ob__notice, link);
		if (n->until_ms <= now) {
			ob__notice_free(&node->sessions, n);
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
	notice_send(node, n);
	if (!ob__timeout_armed(&node->notice_timeout)) {
		ob__timeout_set(node->loop, &node->notice_timeout, NOTICE_RETRY_MS);
	}
}

void ob__session_closed(struct ob__node *node, struct ob__session *s)
{
	for (uint8_t i = 0; i < s->served_len; i++) {
		notify_closed(node, s, s->served[i]);
	}
	end_session(node, s);
}

void ob__session_gone(struct ob__node *node, uint64_t owner, uint64_t seq, uint64_t to)
{
	struct ob__session gone = {.node = owner, .seq = seq};

	notify_closed(node, &gone, to);
}

static void on_served(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);

	if (s == NULL) {
		ob__session_gone(node, f->session_node, f->session_seq, f->src);
		return;
	}
	ob__session_served(s, f->src);
	/* Who has just got a message that stays has it for good; who had one long ago may not. */
	if ((f->flags & OB__FRAME_STICKY) != 0 && f->role != 0 &&
	    (f->status == 0 || ob__session_sticky(s, f->role) == 0)) {
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
		end_session(node, s);
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
			ob__notice_free(&node->sessions, n);
		}
		return;
	case OB__SYS_KICK:
		on_kick(node, f);
		return;
	case OB__SYS_NAME:
		ob__names_heard(node, f);
		return;
	default:
		ob__drain_frame(node, f);
		return;
	}
}
