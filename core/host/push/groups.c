/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * This node's own groups: who joins and leaves, what modules hear of it, what people see.
 */

#include "host/push/groups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/client/conn.h"
#include "host/node.h"
#include "host/slot.h"

struct event {
	struct ob__list link;
	int what;
	uint64_t session;
	uint32_t members;
	char group[OB__GROUP_MAX + 1];
};

static struct ob__hostgroups *of(struct ob__node *node)
{
	return &node->groups;
}

/* ---- what modules hear ---- */

static bool heeds(const struct ob__reg *reg, const char *group)
{
	return strncmp(group, reg->fn.group.prefix, strlen(reg->fn.group.prefix)) == 0;
}

static bool anybody_heeds(const struct ob__node *node, const char *group)
{
	for (size_t i = 0; i < node->slots.groups.len; i++) {
		if (heeds(node->slots.groups.regs[i], group)) {
			return true;
		}
	}
	return false;
}

/* Tells those who have not heard of it yet what is being told. */
static void tell_rest(struct ob__node *node)
{
	struct ob__hostgroups *hg = of(node);

	while (hg->telling != NULL && hg->telling_next < node->slots.groups.len) {
		struct ob__reg *reg = node->slots.groups.regs[hg->telling_next++];
		if (heeds(reg, hg->telling->group)) {
			struct ob__gen *g = reg->gen;
			uint64_t entered = ob__gen_enter(g);
			reg->fn.group.fn(&g->ctx, hg->telling);
			ob__gen_leave(g, entered);
		}
	}
}

/* A module that hears of it may end a session, which comes here: all hear of this one first. */
static void tell_modules(struct ob__node *node, const ob_group_info *info)
{
	struct ob__hostgroups *hg = of(node);

	tell_rest(node);
	hg->telling = info;
	hg->telling_next = 0;
	tell_rest(node);
	hg->telling = NULL;
}

/* As many as there are now, from the front: what is added meanwhile may never end. */
static void raise_events(struct ob__node *node)
{
	struct ob__hostgroups *hg = of(node);

	for (uint32_t n = hg->events_len; n > 0 && !ob__list_empty(&hg->events); n--) {
		struct event *e = OB__CONTAINER(hg->events.next, struct event, link);
		const ob_group_info info = {
			.size = sizeof(info),
			.event = e->what,
			.group = e->group,
			.session = e->session,
			.members = e->members,
		};
		ob__list_del(&e->link);
		hg->events_len--;
		tell_modules(node, &info);
		free(e);
	}
}

static void raise_queued(void *arg);

static void raise_soon(struct ob__node *node)
{
	struct ob__hostgroups *hg = of(node);

	if (!hg->events_queued) {
		hg->events_queued = ob__loop_defer(node->loop, raise_queued, node) == 0;
	}
}

static void raise_queued(void *arg)
{
	struct ob__node *node = arg;
	struct ob__hostgroups *hg = of(node);

	hg->events_queued = false;
	raise_events(node);
	if (hg->events_len > 0) {
		raise_soon(node);
	}
}

static bool is_event_of(const struct ob__hostgroups *hg, uint64_t session)
{
	OB__LIST_EACH (it, &hg->events) {
		if (OB__CONTAINER(it, struct event, link)->session == session) {
			return true;
		}
	}
	return false;
}

/* Until none of a session that ends is left; as it can't join any more, there are not many. */
static void raise_events_of(struct ob__node *node, uint64_t session)
{
	tell_rest(node);
	while (is_event_of(of(node), session)) {
		raise_events(node);
	}
}

/* NULL: nobody asks for it, or *rc says why it can't be kept. */
static struct event *event_new(struct ob__node *node, int what, uint64_t session, const char *group,
                               int *rc)
{
	struct ob__hostgroups *hg = of(node);

	*rc = 0;
	if (!anybody_heeds(node, group)) {
		return NULL;
	}
	/* Who is in a group may always leave: there are as many of those as had room to join. */
	if (what == OB_EVENT_GROUP_JOINED && hg->events_len >= OB__GROUP_EVENTS_MAX) {
		*rc = OB_E_BUSY;
		return NULL;
	}
	struct event *e = calloc(1, sizeof(*e));
	if (e == NULL) {
		*rc = OB_E_NOMEM;
		return NULL;
	}
	ob__list_init(&e->link);
	e->what = what;
	e->session = session;
	memcpy(e->group, group, strlen(group) + 1);
	return e;
}

static void event_add(struct ob__node *node, struct event *e)
{
	struct ob__hostgroups *hg = of(node);
	const struct ob__group *g = ob__group_find(&hg->table, e->group);

	e->members = g != NULL ? g->count : 0;
	ob__list_append(&hg->events, &e->link);
	hg->events_len++;
	raise_soon(node);
}

/* ---- joining and leaving ---- */

int ob__groups_join_here(struct ob__node *node, const struct ob__session *s, const char *group)
{
	struct ob__hostgroups *hg = of(node);
	const struct ob__group *g = ob__group_find(&hg->table, group);
	const struct ob__conn *conn = ob__conn_get(node, s->conn);
	int rc;

	if ((conn == NULL || conn->session != s) && ob__resume_get(node, s->conn) == NULL) {
		return OB_E_STALE; /* it is about to end */
	}
	if (g != NULL && ob__group_has(&hg->table, g, s->handle)) {
		return 0;
	}
	struct event *e = event_new(node, OB_EVENT_GROUP_JOINED, s->handle, group, &rc);
	if (rc == 0) {
		rc = ob__group_join(&hg->table, s->handle, group);
	}
	if (rc == 0 && e != NULL) {
		event_add(node, e);
		return 0;
	}
	free(e);
	*hg->refused += rc != 0;
	return rc == -ENOMEM ? OB_E_NOMEM : rc == -ENOSPC || rc == -EDQUOT ? OB_E_LIMIT : rc;
}

void ob__groups_leave_here(struct ob__node *node, const struct ob__session *s, const char *group)
{
	int rc;

	if (ob__group_leave(&of(node)->table, s->handle, group) != 0) {
		return;
	}
	struct event *e = event_new(node, OB_EVENT_GROUP_LEFT, s->handle, group, &rc);
	if (e != NULL) {
		event_add(node, e);
	}
}

void ob__groups_session_ends(struct ob__node *node, const struct ob__session *s)
{
	struct ob__groups *table = &of(node)->table;
	const struct ob__group *g = ob__group_of(table, s->handle);
	ob_group_info info = {
		.size = sizeof(info),
		.event = OB_EVENT_GROUP_LEFT,
		.session = s->handle,
		.ended = 1,
	};

	if (g == NULL && of(node)->events_len == 0 && of(node)->telling == NULL) {
		return;
	}
	/* Its handle is good for the last time. */
	raise_events(node);
	raise_events_of(node, s->handle);
	while ((g = ob__group_of(table, s->handle)) != NULL) {
		char name[OB__GROUP_MAX + 1];
		memcpy(name, g->name, strlen(g->name) + 1);
		(void)ob__group_leave(table, s->handle, name);
		g = ob__group_find(table, name);
		info.group = name;
		info.members = g != NULL ? g->count : 0;
		tell_modules(node, &info);
	}
	raise_events_of(node, s->handle); /* who heard of one may have taken it out of another */
}

size_t ob__groups_members_here(struct ob__node *node, const char *group, uint64_t *out, size_t cap)
{
	struct ob__groups *table = &of(node)->table;
	const struct ob__group *g = ob__group_find(table, group);
	struct ob__group_walk w;
	uint64_t session;

	if (g == NULL) {
		return 0;
	}
	ob__group_walk(table, &w, g);
	for (size_t i = 0; i < cap && (session = ob__group_walk_member(&w)) != 0; i++) {
		out[i] = session;
	}
	ob__group_walk_end(&w);
	return g->count;
}

/* ---- what people see ---- */

static json_t *nodes_json(const struct ob__node *node)
{
	const struct ob__groupview *view = &node->groups.view;
	json_t *nodes = json_array();

	OB__LIST_EACH (it, &node->registry.peers) {
		const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		int64_t n = ob__groupview_count(view, p->who.id);
		if (ob__map_get(&view->nodes, p->who.id, 0) != NULL) {
			json_array_append_new(
				nodes, json_pack("{s:s, s:b, s:I}", "node", p->who.name, "known",
			                         n >= 0, "groups", (json_int_t)(n > 0 ? n : 0)));
		}
	}
	return nodes;
}

json_t *ob__groups_json(struct ob__node *node, size_t limit, uint64_t after)
{
	struct ob__groups *table = &of(node)->table;
	const struct ob__group *g;
	struct ob__group_walk w;
	json_t *list = json_array();
	bool more = false;

	ob__groups_walk(table, &w, after);
	while ((g = ob__group_walk_group(&w)) != NULL) {
		if (json_array_size(list) >= limit) {
			more = true;
			break;
		}
		json_t *name = json_string(g->name); /* NULL: it is no UTF-8 */
		json_array_append_new(
			list, json_pack("{s:o, s:I, s:I}", "name",
		                        name != NULL ? name : json_string("(no text)"), "number",
		                        (json_int_t)g->number, "members", (json_int_t)g->count));
	}
	ob__group_walk_end(&w);
	return json_pack("{s:I, s:I, s:o, s:b, s:o}", "total", (json_int_t)ob__groups_count(table),
	                 "members", (json_int_t)ob__groups_members(table), "groups", list, "more",
	                 more, "nodes", nodes_json(node));
}

static double gauge_groups(void *arg)
{
	const struct ob__node *node = arg;

	return (double)ob__groups_count(&node->groups.table);
}

static double gauge_members(void *arg)
{
	const struct ob__node *node = arg;

	return (double)ob__groups_members(&node->groups.table);
}

void ob__hostgroups_gauges(struct ob__node *node)
{
	ob__stat_gauge(node->stats, "obhost_groups", NULL,
	               "Groups that clients of this node are in.", gauge_groups, node);
	ob__stat_gauge(node->stats, "obhost_group_members", NULL,
	               "Members of these groups, who is in several counted in each.", gauge_members,
	               node);
}

/* ---- begin and end ---- */

static void drop_events(struct ob__hostgroups *hg)
{
	while (hg->events.next != NULL && !ob__list_empty(&hg->events)) {
		struct event *e = OB__CONTAINER(hg->events.next, struct event, link);
		ob__list_del(&e->link);
		free(e);
	}
	hg->events_len = 0;
}

void ob__hostgroups_free(struct ob__node *node)
{
	struct ob__hostgroups *hg = of(node);

	if (hg->tick.fn == NULL) {
		return;
	}
	ob__timeout_clear(node->loop, &hg->tick);
	ob__groupview_free(&hg->view);
	ob__grouptell_free(&hg->tell);
	ob__groups_free(&hg->table);
	drop_events(hg);
}
