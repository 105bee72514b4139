/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Groups between nodes: frames, which nodes may have members, and pushes.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "host/push/broadcast.h"
#include "host/push/fanout.h"
#include "host/push/groups.h"
#include "host/push/push_many.h"
#include "lib/le.h"
#include "mesh/groupwire.h"

#define TICK_MS   1000u
#define UNUSED_MS 60000u /* after the last use the view is kept for so long */
#define WAITS_MS  1000u  /* at most, at a node that can't pass it on */
#define LOG_BURST 5u

static struct ob__hostgroups *of(struct ob__node *node)
{
	return &node->groups;
}

static uint64_t now_ms(const struct ob__node *node)
{
	return ob__loop_now(node->loop);
}

static int send_system(struct ob__node *node, uint64_t dst, struct ob__frame *f)
{
	f->kind = OB__FRAME_SYSTEM;
	return ob__send_to_node(node, dst, f);
}

/* ---- who may have members ---- */

static int ask(void *arg, uint64_t to, const uint8_t *data, size_t len)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_GROUPS_ASK,
		.budget = WAITS_MS,
		.payload = data,
		.payload_len = (uint32_t)len,
	};

	return ob__send_in_passing(arg, to, &f);
}

static int tell(void *arg, uint64_t to, uint8_t status, const uint8_t *data, size_t len)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_GROUPS_TELL,
		.budget = WAITS_MS,
		.status = status,
		.payload = data,
		.payload_len = (uint32_t)len,
	};

	return ob__send_in_passing(arg, to, &f);
}

static void flush(void *arg)
{
	struct ob__node *node = arg;

	of(node)->flush_queued = false;
	ob__grouptell_flush(&of(node)->tell);
}

static void soon(void *arg)
{
	struct ob__node *node = arg;
	struct ob__hostgroups *hg = of(node);

	if (!hg->flush_queued) {
		hg->flush_queued = ob__loop_defer(node->loop, flush, node) == 0;
	}
}

static const struct ob__grouptell_ops tell_ops = {.tell = tell, .soon = soon};

static void changed(void *arg, uint64_t hash, bool there)
{
	struct ob__node *node = arg;

	ob__grouptell_changed(&of(node)->tell, hash, there);
}

static void tick_in(struct ob__node *node, uint64_t ms)
{
	ob__timeout_set(node->loop, &of(node)->tick, ms);
}

static void tick(void *arg)
{
	struct ob__node *node = arg;
	struct ob__hostgroups *hg = of(node);
	uint64_t now = now_ms(node);

	if (hg->used && now - hg->used_at >= UNUSED_MS) {
		hg->used = false;
	}
	if (hg->doubt) {
		hg->doubt = false;
		ob__grouptell_beat(&hg->tell);
		ob__groupview_doubt(&hg->view);
	}
	OB__LIST_EACH (it, &node->registry.peers) {
		const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (hg->used && ob__peer_is_reachable(&node->registry, p)) {
			ob__groupview_want(&hg->view, p->who.id, now);
		}
	}
	size_t joins = ob__groupview_sweep(&hg->view, now);
	if (ob__grouptell_tick(&hg->tell, now) > 0 || joins > 0 || hg->used) {
		tick_in(node, TICK_MS);
	}
}

void ob__groups_use(struct ob__node *node)
{
	struct ob__hostgroups *hg = of(node);

	hg->used_at = now_ms(node);
	if (!hg->used) {
		hg->used = true;
		tick_in(node, 0);
	}
}

void ob__groups_ways_changed(struct ob__node *node)
{
	struct ob__hostgroups *hg = of(node);

	if (hg->tick.fn != NULL && (hg->used || hg->tell.count > 0)) {
		hg->doubt = true;
		tick_in(node, 0);
	}
}

bool ob__groups_may_have(struct ob__node *node, const struct ob__peer *p, uint64_t hash)
{
	return ob__groupview_may_have(&of(node)->view, p->who.id, p->who.incarnation, hash,
	                              now_ms(node));
}

/* ---- joining and leaving, from here ---- */

static int far(struct ob__node *node, const struct ob__session *s, uint32_t what, const char *group)
{
	uint8_t payload[OB__GROUP_JOIN_MAX];
	struct ob__frame f = {
		.id = what,
		.payload = payload,
		.payload_len = (uint32_t)ob__group_join_put(payload, s->seq, group),
	};

	if (what == OB__SYS_GROUP_JOIN) {
		ob__groups_use(node);
		f.call = ob__groupview_join(&of(node)->view, s->node,
		                            ob__group_hash(group, strlen(group)), now_ms(node));
	}
	return send_system(node, s->node, &f);
}

int ob__groups_join(struct ob__node *node, uint64_t session, const char *group)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	if (!ob__group_ok(group)) {
		return OB_E_INVAL;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	return s->conn != 0 ? ob__groups_join_here(node, s, group)
	                    : far(node, s, OB__SYS_GROUP_JOIN, group);
}

int ob__groups_leave(struct ob__node *node, uint64_t session, const char *group)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	if (!ob__group_ok(group)) {
		return OB_E_INVAL;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	if (s->conn == 0) {
		return far(node, s, OB__SYS_GROUP_LEAVE, group);
	}
	ob__groups_leave_here(node, s, group);
	return 0;
}

/* ---- pushes ---- */

struct walk {
	struct ob__node *node;
	struct ob__group_walk members;
};

/* The connection of the next member, or 0. */
static uint64_t next_conn(void *arg)
{
	struct walk *w = arg;
	uint64_t session;

	while ((session = ob__group_walk_member(&w->members)) != 0) {
		const struct ob__session *s = ob__session_get(&w->node->sessions, session);
		if (s != NULL && s->conn != 0) {
			return s->conn;
		}
	}
	return 0;
}

/* A member that is too slow may be closed at the end, not before. */
static void give_at_once(struct walk *w, uint32_t id, const void *data, size_t len)
{
	struct ob__fanout fo;
	uint64_t conn;

	ob__fanout_begin(&fo, w->node, id, data, len);
	while ((conn = next_conn(w)) != 0) {
		(void)ob__fanout_to(&fo, conn);
	}
	ob__fanout_end(&fo);
}

/* To the members here; many of them get it in turns. */
static bool give(struct ob__node *node, const char *group, uint32_t id, const void *data,
                 size_t len)
{
	struct ob__groups *table = &of(node)->table;
	const struct ob__group *g = ob__group_find(table, group);
	struct walk w = {.node = node};

	if (g == NULL) {
		return false;
	}
	++*of(node)->pushes;
	bool many = g->count > ob__broadcast_a_turn(len);
	ob__group_walk(table, &w.members, g);
	if (!many || ob__broadcast_some(node, id, data, len, next_conn, &w) != 0) {
		give_at_once(&w, id, data, len);
	}
	ob__group_walk_end(&w.members);
	return true;
}

static int send_to_nodes(struct ob__node *node, const char *group, uint32_t id, const void *data,
                         size_t len)
{
	uint64_t hash = ob__group_hash(group, strlen(group));
	uint8_t *payload = NULL;
	size_t head = 0;
	int nodes = 0;

	OB__LIST_EACH (it, &node->registry.peers) {
		const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (!ob__peer_is_reachable(&node->registry, p) ||
		    !ob__groups_may_have(node, p, hash)) {
			continue;
		}
		if (payload == NULL) {
			payload = malloc(OB__GROUP_WORD_MAX + len);
			if (payload == NULL) {
				return OB_E_NOMEM;
			}
			head = ob__group_word_put(payload, group);
			if (len > 0) {
				memcpy(payload + head, data, len);
			}
		}
		int rc = ob__push_send(node, p->who.id, OB__PUSH_GROUP, id, payload, head + len);
		nodes += rc == 0;
		*node->dispatch.pushes_lost += rc != 0;
	}
	free(payload);
	return nodes;
}

int ob__groups_push(struct ob__node *node, const char *group, uint32_t id, const void *data,
                    size_t len)
{
	int rc = ob__push_many_check(node, NULL, 0, id, len);

	if (rc != 0 || !ob__group_ok(group)) {
		return rc != 0 ? rc : OB_E_INVAL;
	}
	ob__groups_use(node);
	int nodes = send_to_nodes(node, group, id, data, len);
	return nodes < 0 ? nodes : nodes + give(node, group, id, data, len);
}

void ob__groups_push_frame(struct ob__node *node, const struct ob__frame *f)
{
	char group[OB__GROUP_MAX + 1];
	size_t head = ob__group_word_get(group, f->payload, f->payload_len);

	if (head == 0) {
		ob__ignore_frame(node, f, OB__IGNORED_PUSH);
		return;
	}
	*of(node)->empty += !give(node, group, f->id, f->payload + head, f->payload_len - head);
}

/* ---- frames ---- */

static void log_refused(struct ob__node *node, int rc, const char *group)
{
	uint32_t missed;

	if (rc != OB_E_STALE && ob__log_allow(&of(node)->limit, LOG_BURST, now_ms(node), &missed)) {
		ob__warning("group", "%s: a session could not join it (%s) [and %u like it]", group,
		            rc == OB_E_LIMIT ? "limits.groups or limits.group_members"
		                             : ob__strerror(rc),
		            (unsigned)missed);
	}
}

static void on_join(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__group_join_msg m;
	struct ob__frame heard = {.id = OB__SYS_GROUP_HEARD, .call = f->call};

	if (ob__group_join_get(&m, f->payload, f->payload_len) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_GROUP);
		return;
	}
	const struct ob__session *s = ob__session_find(&node->sessions, node->self.id, m.seq);
	if (f->id == OB__SYS_GROUP_LEAVE) {
		if (s != NULL) {
			ob__groups_leave_here(node, s, m.group);
		}
		return;
	}
	int rc = s != NULL ? ob__groups_join_here(node, s, m.group) : OB_E_STALE;
	if (rc != 0) {
		log_refused(node, rc, m.group);
	}
	/* Behind what is told of the group; if that can't be, he is to believe in it for longer. */
	heard.kind = OB__FRAME_SYSTEM;
	ob__grouptell_flush(&of(node)->tell);
	if (!ob__grouptell_lost(&of(node)->tell, f->src)) {
		(void)ob__send_in_passing(node, f->src, &heard);
	}
}

static void on_count(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__reply_to to = {.src = f->src, .call = f->call};
	char group[OB__GROUP_MAX + 1];
	uint8_t out[4];

	if (f->payload_len == 0 ||
	    ob__group_word_get(group, f->payload, f->payload_len) != f->payload_len) {
		ob__ignore_frame(node, f, OB__IGNORED_GROUP);
		return;
	}
	const struct ob__group *g = ob__group_find(&of(node)->table, group);
	ob__put32(out, g != NULL ? g->count : 0);
	ob__send_reply(node, &to, OB_OK, NULL, out, sizeof(out), 0);
}

static void on_ask(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__hostgroups *hg = of(node);
	int rc;

	hg->tell.life = node->self.incarnation; /* it may have got a higher one */
	rc = ob__grouptell_asked(&hg->tell, f->src, f->payload, f->payload_len, now_ms(node));

	if (rc == -EPROTO) {
		ob__ignore_frame(node, f, OB__IGNORED_GROUP);
	} else if (rc == 0 && !ob__timeout_armed(&hg->tick)) {
		tick_in(node, TICK_MS);
	}
}

static void on_tell(struct ob__node *node, const struct ob__frame *f)
{
	int rc = ob__groupview_told(&of(node)->view, f->src, f->status, f->payload, f->payload_len,
	                            now_ms(node));

	if (rc < 0) {
		ob__ignore_frame(node, f, OB__IGNORED_GROUP);
	} else if (rc > 0) {
		tick_in(node, OB__GROUPVIEW_AT_ONCE);
	}
}

bool ob__groups_frame(struct ob__node *node, const struct ob__frame *f)
{
	switch (f->id) {
	case OB__SYS_GROUP_JOIN:
	case OB__SYS_GROUP_LEAVE:
		on_join(node, f);
		return true;
	case OB__SYS_GROUP_HEARD:
		ob__groupview_joined(&of(node)->view, f->src, f->call);
		return true;
	case OB__SYS_GROUPS_ASK:
		on_ask(node, f);
		return true;
	case OB__SYS_GROUPS_TELL:
		on_tell(node, f);
		return true;
	case OB__SYS_GROUP_COUNT:
		on_count(node, f);
		return true;
	default:
		return false;
	}
}

/* ---- begin ---- */

void ob__hostgroups_init(struct ob__node *node)
{
	struct ob__hostgroups *hg = of(node);
	const struct ob__limits *limits = &node->conf->limits;
	uint64_t seed = node->registry.seed;

	ob__groups_init(&hg->table, seed, limits->groups, limits->group_members, changed, node);
	ob__grouptell_init(&hg->tell, &hg->table, seed, node->self.incarnation, &tell_ops, node);
	ob__groupview_init(&hg->view, seed, ask, node);
	ob__list_init(&hg->events);
	ob__timeout_init(&hg->tick, tick, node);
	hg->pushes = ob__stat_counter(node->stats, "obhost_group_pushes_total", NULL,
	                              "Messages for a group that has members here.");
	hg->empty =
		ob__stat_counter(node->stats, "obhost_group_pushes_empty_total", NULL,
	                         "Messages of other nodes for a group that has no members here.");
	hg->refused = ob__stat_counter(node->stats, "obhost_group_joins_refused_total", NULL,
	                               "Sessions here that could not join a group.");
}
