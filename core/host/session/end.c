/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session/end.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/cluster/drain.h"
#include "host/cluster/names.h"
#include "host/message/dispatch.h"
#include "host/message/held.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/session/lost.h"
#include "host/session/resume.h"
#include "host/slot.h"
#include "host/user/users.h"
#include "lib/many.h"
#include "mesh/sticks.h"

#define NOTICE_MS       600000u
#define NOTICE_RETRY_MS 2000u
#define CLOSED_REPLACED 1u /* `status` of a CLOSED */
#define SERVED_RETRY_MS 2000u
#define SERVED_A_TURN   20000u /* sessions that are looked at */
#define SERVED_LOST_S   180u   /* then it is no proxy's, or that of one that can't be asked */
#define LOST_A_TURN     1000u

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

static uint64_t now_s(const struct ob__node *node)
{
	return ob__loop_now(node->loop) / 1000 + 1;
}

static void tell_served(struct ob__node *node, struct ob__session *s, bool sticky, bool again)
{
	uint8_t want = OB__SESSION_SERVED_TOLD | (sticky ? OB__SESSION_STICKS : 0);

	if ((s->flags & want) == want || s->node == node->self.id) {
		return;
	}
	s->flags &= (uint8_t) ~(OB__SESSION_SERVED_HEARD | OB__SESSION_SERVED_DUE);
	s->unheard_s = s->unheard_s != 0 ? s->unheard_s : now_s(node);
	if (!ob__timeout_armed(&node->served_timeout)) {
		ob__timeout_set(node->loop, &node->served_timeout, SERVED_RETRY_MS);
	}
	if (served_send(node, s, sticky, again, true) == 0) {
		s->flags |= want;
	}
}

/* Whoever invents a session's proxy has made a record that nobody else would ever end. */
static bool served_by_nobody(struct ob__node *node, const struct ob__session *s)
{
	uint32_t missed;

	if (s->conn != 0 || s->unheard_s == 0 || now_s(node) - s->unheard_s < SERVED_LOST_S) {
		return false;
	}
	++*node->served_lost;
	if (ob__log_allow(&node->served_limit, 1, ob__loop_now(node->loop), &missed)) {
		const char *name = ob__names_get(node, s->node);
		ob__warning("session",
		            "%s: it has not acknowledged its session %016" PRIx64
		            ", which is lost [and %u like it]",
		            name != NULL ? name : "a proxy unknown here", s->seq, (unsigned)missed);
	}
	return true;
}

/* True when its proxy has not said that it knows. */
static bool served_retry(struct ob__node *node, struct ob__session *s, unsigned *lost)
{
	bool sticky = (s->flags & OB__SESSION_STICKS) != 0;

	if (s->node == node->self.id || (s->flags & OB__SESSION_SERVED_HEARD) != 0) {
		return false;
	}
	if (served_by_nobody(node, s)) {
		++*lost;
		ob__session_lost(node, s);
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
	unsigned lost = 0;

	for (unsigned n = 0; n < SERVED_A_TURN && lost < LOST_A_TURN; n++) {
		s = ob__slab_next(&node->sessions.slab, &node->served_at);
		if (s == NULL) {
			break;
		}
		node->served_open |= served_retry(node, s, &lost);
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
	s = ob__session_meet(&node->sessions, f->session_node, f->session_seq, &fresh);
	if (s == NULL) {
		return OB_E_BUSY;
	}
	if (!ob__order_take(&s->order, f)) {
		return OB_E_GONE;
	}
	*handle = s->handle;
	if (fresh) {
		ob__losses_met(node, f->session_node, f->session_seq);
	}
	ob__users_ext_get(node, s, f);
	s->messages += ob__many_of(f);
	note_choice(node, s, f);
	/* What another node than the session's proxy calls for it says nothing about its messages.
	 */
	tell_served(node, s, (f->flags & OB__FRAME_STICKY) != 0 && f->src == s->node, false);
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
	if (ob__list_empty(&node->sessions.notice_list)) {
		return;
	}
	node->notices_again = node->notices_at != 0;
	ob__timeout_set(node->loop, &node->notice_timeout, 0);
}

void ob__notices_timeout(void *arg)
{
	struct ob__node *node = arg;
	uint64_t now = ob__loop_now(node->loop);
	struct ob__notice *n = NULL;

	for (unsigned i = 0; i < OB__NOTICES_A_TURN; i++) {
		n = ob__slab_next(&node->sessions.notices, &node->notices_at);
		if (n == NULL) {
			break;
		}
		if (n->until_ms <= now) {
			notice_end(node, n);
		} else {
			notice_send(node, n);
		}
	}
	bool again = n != NULL || node->notices_again;
	if (n == NULL) {
		node->notices_at = 0;
		node->notices_again = false;
	}
	if (!ob__list_empty(&node->sessions.notice_list)) {
		ob__timeout_set(node->loop, &node->notice_timeout, again ? 0 : NOTICE_RETRY_MS);
	}
}

static void notify_closed(struct ob__node *node, const struct ob__session *s, uint64_t to)
{
	uint64_t until = ob__loop_now(node->loop) + NOTICE_MS;
	struct ob__notice *n = ob__notice_new(&node->sessions, to, s, until);
	uint32_t missed;

	if (n == NULL) {
		++*node->notices_lost;
		if (ob__log_allow(&node->notice_limit, 1, ob__loop_now(node->loop), &missed)) {
			ob__warning("session",
			            "too many close notices wait; one is lost [and %u like it]",
			            (unsigned)missed);
		}
		return;
	}
	n->replaced = s->more != NULL && s->more->replaced;
	ob__users_notice(node, s->seq, 1);
	notice_send(node, n);
	if (!ob__timeout_armed(&node->notice_timeout)) {
		ob__timeout_set(node->loop, &node->notice_timeout, NOTICE_RETRY_MS);
	}
}

/* Where its messages went may not have said yet that they have come. */
static void serve_under_way(const struct ob__node *node, struct ob__session *s)
{
	for (uint8_t i = 0; i < s->sticky_len; i++) {
		const struct ob__session_choice *c = &s->sticky[i];
		if (c->node != 0 && c->role != 0 && c->role != node->router.route_role) {
			(void)ob__session_served(s, c->node);
		}
	}
}

/* Tells whoever has met it all the same: by its name it can be spoken of. */
void ob__session_unborn(struct ob__node *node, struct ob__session *s)
{
	uint64_t seq = s->seq;

	ob__groups_session_ends(node, s);
	ob__users_closing(node, s);
	for (uint8_t i = 0; i < s->served_len; i++) {
		notify_closed(node, s, s->served[i]);
	}
	ob__session_end(&node->sessions, s);
	ob__users_closed(node, seq);
}

void ob__session_closed(struct ob__node *node, struct ob__session *s)
{
	uint64_t seq = s->seq;

	ob__states_session_ends(node, s);
	ob__groups_session_ends(node, s);
	ob__users_closing(node, s);
	serve_under_way(node, s);
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

/* Who has just got a message that stays has it for good; who had one long ago may not, and who
 * drains has been rid of it: what he says again has met the answer on its way. */
static bool sticks_there(const struct ob__node *node, const struct ob__session *s,
                         const struct ob__frame *f)
{
	const struct ob__peer *peer = ob__registry_get(&node->registry, f->src);

	if (f->status == 0) {
		return true;
	}
	return ob__session_sticky(s, f->role) == 0 && (peer == NULL || !ob__peer_drains(peer));
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
	if ((f->flags & OB__FRAME_STICKY) != 0 && f->role != 0 && sticks_there(node, s, f)) {
		ob__session_stick(s, f->role, f->src);
		ob__users_tell_homes(node, s, false);
	}
}

static void on_served_ack(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);

	if (f->src != f->session_node) {
		ob__ignore_frame(node, f, OB__IGNORED_NOT_PROXY);
	} else if (s != NULL && s->conn == 0) {
		s->flags |= OB__SESSION_SERVED_HEARD;
		s->unheard_s = 0;
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

	if (f->src != f->session_node) {
		ob__ignore_frame(node, f, OB__IGNORED_NOT_PROXY);
		return;
	}
	if (s != NULL && s->conn == 0) {
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

	if (f->payload_len < sizeof(code)) {
		ob__ignore_frame(node, f, OB__IGNORED_KICK);
		return;
	}
	if (conn == NULL) {
		ob__resume_end(node, s != NULL ? s->conn : 0);
		return;
	}
	memcpy(&code, f->payload, sizeof(code));
	size_t len = f->payload_len - 2 < sizeof(reason) ? f->payload_len - 2 : sizeof(reason) - 1;
	memcpy(reason, f->payload + 2, len);
	ob__conn_dismiss(conn, code, reason, "kicked");
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
		if (!ob__users_frame(node, f) && !ob__groups_frame(node, f) &&
		    !ob__resumes_frame(node, f)) {
			ob__drain_frame(node, f);
		}
		return;
	}
}

void ob__session_ends_init(struct ob__node *node)
{
	ob__timeout_init(&node->notice_timeout, ob__notices_timeout, node);
	ob__timeout_init(&node->served_timeout, ob__served_timeout, node);
	node->notices_lost = ob__stat_counter(node->stats, "obhost_close_notices_lost_total", NULL,
	                                      "Ends of sessions that a node could not be told of.");
	node->served_lost = ob__stat_counter(
		node->stats, "obhost_sessions_unknown_total", NULL,
		"Sessions met, and lost because their proxies never said that they know them.");
}
