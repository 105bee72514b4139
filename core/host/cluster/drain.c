/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/cluster/drain.h"

#include <inttypes.h>
#include <stdio.h>

#include <obhost/obhost.h>

#include "base/log.h"
#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/cluster/drain_move.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "host/session/end.h"

#define TICK_MS   20u
#define HEARD_MS  2000u /* for a peer to say that it has heard */
#define AGAIN_MS  5000u /* for a proxy to answer, then it is asked again */
#define WAITS_MS  100u  /* until a peer is asked again whether it waits for answers */
#define LOG_BURST 20u
#define STEP_MAX  4096u /* clients, and sessions, that one tick looks at */

/* ---- telling the others ---- */

static void tell_peer(struct ob__node *node, struct ob__peer *peer)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_DRAINING,
		.dst = peer->who.id,
		.status = node->drain.state != OB__DRAIN_NONE,
	};

	peer->drain_heard = false;
	peer->drain_waits = false;
	peer->drain_told = f.status != 0;
	(void)ob__send_to_node(node, peer->who.id, &f);
}

static void tell_peers(struct ob__node *node)
{
	OB__LIST_EACH (it, &node->registry.peers) {
		struct ob__peer *peer = OB__CONTAINER(it, struct ob__peer, all_link);
		if (peer->link != NULL || peer->drain_told) {
			tell_peer(node, peer);
		}
	}
}

void ob__drain_link_up(struct ob__node *node, struct ob__peer *peer)
{
	if (node->drain.state != OB__DRAIN_NONE) {
		tell_peer(node, peer);
	}
}

static uint32_t count_deaf(const struct ob__node *node)
{
	uint32_t deaf = 0;

	OB__LIST_EACH (it, &node->registry.peers) {
		const struct ob__peer *peer = OB__CONTAINER(it, struct ob__peer, all_link);
		deaf += peer->link != NULL && !peer->drain_heard;
	}
	return deaf;
}

static uint32_t count_waiting(const struct ob__node *node)
{
	uint32_t waiting = 0;

	OB__LIST_EACH (it, &node->registry.peers) {
		const struct ob__peer *peer = OB__CONTAINER(it, struct ob__peer, all_link);
		waiting += peer->link != NULL && peer->drain_waits;
	}
	return waiting;
}

/* This node relays, and so does another one that can do it instead. */
static bool has_stand_in(const struct ob__node *node)
{
	const struct ob__registry_role *role =
		ob__registry_role_get(&node->registry, node->router.route_role);

	if (role == NULL || node->self.role_id != role->id) {
		return false;
	}
	OB__LIST_EACH (it, &role->peers) {
		const struct ob__peer *peer = OB__CONTAINER(it, struct ob__peer, role_link);
		if (peer->link != NULL && !ob__peer_drains(peer)) {
			return true;
		}
	}
	return false;
}

/* What the peers had sent before they knew has arrived. */
static bool all_heard(const struct ob__node *node)
{
	return ob__loop_now(node->loop) >= node->drain.told_at + HEARD_MS || count_deaf(node) == 0;
}

static void on_draining(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__peer *peer = ob__registry_get(&node->registry, f->src);
	struct ob__frame heard = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_DRAINING_HEARD,
		.dst = f->src,
		.status = f->status,
	};
	uint32_t missed;

	if (peer == NULL) {
		return;
	}
	heard.call = peer->link != NULL && !ob__list_empty(&peer->link->pendings);
	bool changed = peer->draining != (f->status != 0);
	if (changed &&
	    ob__log_allow(&node->drain.peer_limit, LOG_BURST, ob__loop_now(node->loop), &missed)) {
		ob__notice("link", "%s (%s) %s [and %u like it]", peer->who.name, peer->who.role,
		           f->status != 0 ? "drains: it gets nothing new" : "takes new work again",
		           (unsigned)missed);
	}
	ob__registry_set_draining(&node->registry, peer, f->status != 0);
	(void)ob__send_to_node(node, peer->who.id, &heard);
	if (changed && f->status == 0) {
		ob__dispatch_peer_up(node);
	}
}

static void on_heard(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__peer *peer = ob__registry_get(&node->registry, f->src);

	if (peer != NULL && f->status == (node->drain.state != OB__DRAIN_NONE)) {
		peer->drain_heard = true;
		peer->drain_waits = f->call != 0;
	}
}

void ob__drain_frame(struct ob__node *node, const struct ob__frame *f)
{
	switch (f->id) {
	case OB__SYS_DRAINING:
		on_draining(node, f);
		return;
	case OB__SYS_DRAINING_HEARD:
		on_heard(node, f);
		return;
	case OB__SYS_SESSION_MOVE:
		ob__move_asked(node, f);
		return;
	case OB__SYS_SESSION_MOVED:
		ob__move_answered(node, f);
		return;
	default:
		return;
	}
}

/* ---- what is left ---- */

static bool take_credit(struct ob__drain *d)
{
	bool ok = d->credit >= 1;

	d->credit -= ok ? 1 : 0;
	return ok;
}

static void refill(struct ob__drain *d, uint64_t now)
{
	double pace = d->options.pace;

	d->credit += pace * (double)(now - d->credit_at) / 1000;
	d->credit = d->credit > pace && pace >= 1 ? pace : d->credit;
	d->credit_at = now;
}

static void walk_ended(struct ob__drain_walk *w)
{
	*w = (struct ob__drain_walk){.seen = w->left, .stayed = w->stay, .turns = w->turns + 1};
}

static void client_step(struct ob__node *node, struct ob__conn *conn)
{
	struct ob__drain *d = &node->drain;

	if (conn->close_sent || conn->stream.closing) {
		return; /* it goes */
	}
	if ((conn->paused & OB__PAUSE_DRAIN) == 0 && (d->late || take_credit(d))) {
		ob__conn_pause(conn, OB__PAUSE_DRAIN, true);
	}
	if ((conn->paused & OB__PAUSE_DRAIN) != 0 && (d->late || conn->in_flight == 0)) {
		++d->closed;
		++*d->closed_total;
		ob__conn_catch_up(conn);
		ob__conn_close(conn, OB__DRAIN_CLOSE, "moving", "drain");
	}
}

static void walk_clients(struct ob__node *node)
{
	struct ob__drain_walk *w = &node->drain.clients;

	for (uint32_t n = 0; n < STEP_MAX; n++) {
		struct ob__conn *conn = ob__slab_next(&node->clients.conns, &w->at);
		if (conn == NULL) {
			walk_ended(w);
			return;
		}
		w->left++;
		if (!node->drain.options.keep) {
			client_step(node, conn);
		}
	}
}

static void session_step(struct ob__node *node, struct ob__session *s, struct ob__drain_walk *w)
{
	struct ob__drain *d = &node->drain;

	if (s->conn != 0 || s->node == node->self.id || (s->flags & OB__SESSION_STICKS) == 0) {
		return;
	}
	w->left++;
	if (d->again) {
		s->flags &= (uint8_t)~OB__SESSION_MOVE_ASKED;
	}
	if ((s->flags & OB__SESSION_STAYS) != 0) {
		w->stay++;
	} else if ((s->flags & OB__SESSION_MOVE_ASKED) == 0 && take_credit(d)) {
		if (ob__move_ask(node, s)) {
			s->flags |= OB__SESSION_MOVE_ASKED;
		} else {
			w->stay++; /* its proxy is out of reach */
		}
	}
}

static void walk_sessions(struct ob__node *node)
{
	struct ob__drain *d = &node->drain;
	struct ob__drain_walk *w = &d->sessions;
	uint64_t now = ob__loop_now(node->loop);

	if (w->at == 0 && now >= d->again_at) {
		d->again = true;
		d->again_at = now + AGAIN_MS;
	}
	for (uint32_t n = 0; n < STEP_MAX; n++) {
		struct ob__session *s = ob__slab_next(&node->sessions.slab, &w->at);
		if (s == NULL) {
			walk_ended(w);
			d->again = false;
			return;
		}
		session_step(node, s, w);
	}
}

static bool links_flushed(const struct ob__node *node)
{
	OB__LIST_EACH (it, &node->registry.peers) {
		if (ob__peer_queued(OB__CONTAINER(it, struct ob__peer, all_link)) > 0) {
			return false;
		}
	}
	return true;
}

static bool nothing_left(const struct ob__node *node)
{
	const struct ob__drain *d = &node->drain;
	bool keep = d->options.keep;

	if (d->clients.turns == 0 || d->sessions.turns == 0 ||
	    d->sessions.seen > (keep ? d->sessions.stayed : 0)) {
		return false;
	}
	if (!keep && (node->clients.conns.live > 0 || node->resumes.detached_len > 0 ||
	              !ob__list_empty(&node->dispatch.held_frames))) {
		return false;
	}
	return node->pendings.slab.live == 0 && node->dispatch.reqs.live == 0 &&
	       links_flushed(node);
}

/* ---- its course ---- */

static void end_drain(struct ob__node *node)
{
	struct ob__drain *d = &node->drain;
	uint64_t now = ob__loop_now(node->loop);

	d->state = OB__DRAIN_DONE;
	d->ended = now;
	ob__timeout_clear(node->loop, &d->timeout);
	ob__log_at(d->late ? OB_LOG_WARNING : OB_LOG_NOTICE, "drain",
	           "%s after %" PRIu64 " ms: %" PRIu64 " clients closed, %" PRIu64
	           " sessions moved; left: %u clients, %u sessions, %u requests, %u calls%s",
	           d->late ? "the deadline has passed" : "nothing is left", now - d->since,
	           d->closed, d->moved, node->clients.conns.live, d->sessions.seen,
	           node->dispatch.reqs.live, node->pendings.slab.live,
	           d->options.stop ? "; the node stops" : "");
	if (d->options.stop) {
		ob__node_stop(node);
	}
}

/* True when the end has come.  Before it the peers are asked once more: what they answer says that
 * they have read all that this node had sent, and whether they wait for what went through it. */
static bool may_end(struct ob__node *node)
{
	struct ob__drain *d = &node->drain;
	uint64_t now = ob__loop_now(node->loop);

	if (d->late) {
		return d->clients.turns > 0;
	}
	if (!all_heard(node) || !nothing_left(node)) {
		return false;
	}
	if (!d->confirming) {
		d->confirming = true;
		d->told_at = now;
		tell_peers(node);
		return count_deaf(node) == 0;
	}
	if (count_waiting(node) == 0 || !has_stand_in(node)) {
		return true;
	}
	if (now >= d->told_at + WAITS_MS) {
		d->told_at = now;
		tell_peers(node);
	}
	return false;
}

static void tick(void *arg)
{
	struct ob__node *node = arg;
	struct ob__drain *d = &node->drain;
	uint64_t now = ob__loop_now(node->loop);

	if (!d->late && d->options.deadline_ms != 0 && now >= d->since + d->options.deadline_ms) {
		d->late = true;
		d->clients = (struct ob__drain_walk){.seen = d->clients.seen};
	}
	if (!d->late && !all_heard(node)) {
		d->clients.turns = 0;
		d->sessions.turns = 0;
	}
	refill(d, now);
	walk_clients(node);
	walk_sessions(node);
	if (may_end(node)) {
		end_drain(node);
	} else {
		ob__timeout_set(node->loop, &d->timeout, TICK_MS);
	}
}

int ob__drain_init(struct ob__node *node)
{
	struct ob__drain *d = &node->drain;

	ob__timeout_init(&d->timeout, tick, node);
	d->closed_total = ob__stat_counter(node->stats, "obhost_drain_closed_total", NULL,
	                                   "Clients closed because the node drains.");
	d->moved_total = ob__stat_counter(node->stats, "obhost_drain_moved_total", NULL,
	                                  "Sessions that have left because the node drains.");
	return d->closed_total != NULL && d->moved_total != NULL ? 0 : OB_E_NOMEM;
}

void ob__drain_free(struct ob__node *node)
{
	ob__timeout_clear(node->loop, &node->drain.timeout);
}

static void begin(struct ob__node *node)
{
	struct ob__drain *d = &node->drain;
	uint64_t now = ob__loop_now(node->loop);

	d->state = OB__DRAIN_ACTIVE;
	d->told_at = now;
	d->closed = 0;
	d->moved = 0;
	ob__clients_unlisten(node);
	tell_peers(node);
	ob__notice("drain", "draining: nothing new is taken");
}

int ob__drain_begin(struct ob__node *node, const struct ob__drain_options *options)
{
	struct ob__drain *d = &node->drain;
	uint64_t now = ob__loop_now(node->loop);

	if (node->phase < OB__NODE_RUNNING || node->phase > OB__NODE_LEAVING) {
		return OB_E_STATE;
	}
	if (d->state == OB__DRAIN_NONE) {
		begin(node);
	}
	d->state = OB__DRAIN_ACTIVE;
	d->options = *options;
	d->since = now;
	d->credit = options->pace > 0 ? 1 : 0;
	d->credit_at = now;
	d->again_at = now + AGAIN_MS;
	d->late = false;
	d->confirming = false;
	d->clients = (struct ob__drain_walk){0};
	d->sessions = (struct ob__drain_walk){0};
	node->phase = options->stop ? OB__NODE_LEAVING : OB__NODE_DRAINING;
	ob__cluster_describe(node);
	ob__node_tell(node, OB__NOTIFY_SAME, options->stop ? ", then stopping" : NULL);
	ob__timeout_set(node->loop, &d->timeout, 0);
	return 0;
}

static void forget_asked(struct ob__node *node)
{
	struct ob__session *s;
	struct ob__conn *conn;

	for (uint32_t i = 0; (s = ob__slab_next(&node->sessions.slab, &i)) != NULL;) {
		s->flags &= (uint8_t) ~(OB__SESSION_MOVE_ASKED | OB__SESSION_STAYS);
	}
	for (uint32_t i = 0; (conn = ob__slab_next(&node->clients.conns, &i)) != NULL;) {
		ob__conn_pause(conn, OB__PAUSE_DRAIN, false);
	}
}

int ob__drain_abort(struct ob__node *node, char *err, size_t cap)
{
	struct ob__drain *d = &node->drain;

	if (node->phase == OB__NODE_STOPPING) {
		snprintf(err, cap, "the node stops");
		return OB_E_STATE;
	}
	if (d->state == OB__DRAIN_NONE) {
		return 0;
	}
	int rc = ob__clients_relisten(node, err, cap);
	if (rc != 0) {
		return rc;
	}
	ob__timeout_clear(node->loop, &d->timeout);
	d->state = OB__DRAIN_NONE;
	node->phase = OB__NODE_RUNNING;
	ob__cluster_describe(node);
	tell_peers(node);
	forget_asked(node);
	ob__node_tell(node, OB__NOTIFY_SAME, NULL);
	ob__notice("drain", "the drain was aborted: new work is taken again");
	return ob__clients_start(node);
}

/* ---- what it shows ---- */

json_t *ob__drain_json(const struct ob__node *node)
{
	static const char *const words[] = {
		[OB__DRAIN_NONE] = "none",
		[OB__DRAIN_ACTIVE] = "draining",
		[OB__DRAIN_DONE] = "drained",
	};
	const struct ob__drain *d = &node->drain;
	uint64_t now = ob__loop_now(node->loop);

	if (d->state == OB__DRAIN_NONE) {
		return json_pack("{s:s}", "status", words[d->state]);
	}
	uint64_t spent = (d->state == OB__DRAIN_DONE ? d->ended : now) - d->since;
	return json_pack(
		"{s:s, s:s, s:b, s:i, s:I, s:I, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i}, s:I, s:I}",
		"status", words[d->state], "then", d->options.stop ? "stop" : "stay", "late",
		d->late, "pace", (int)d->options.pace, "deadline_s",
		(json_int_t)(d->options.deadline_ms / 1000), "spent_ms", (json_int_t)spent, "left",
		"clients", (int)node->clients.conns.live, "sessions", (int)d->sessions.seen,
		"staying", (int)d->sessions.stayed, "requests", (int)node->dispatch.reqs.live,
		"pending", (int)node->pendings.slab.live, "peers_not_told", (int)count_deaf(node),
		"peers_waiting", (int)count_waiting(node), "closed", (json_int_t)d->closed, "moved",
		(json_int_t)d->moved);
}
