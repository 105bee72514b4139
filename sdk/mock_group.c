/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX     65536
#define GROUPS_OF_ONE  64
#define GROUPS_MAX_KEY "limits.groups"
#define OF_ONE_KEY     "limits.group_members"

struct member {
	ob_session session;
	char group[OB_GROUP_MAX + 1];
};

static bool group_ok(const char *s)
{
	size_t len = s != NULL ? strnlen(s, OB_GROUP_MAX + 1) : 0;

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) {
			return false;
		}
	}
	return len > 0 && len <= OB_GROUP_MAX;
}

static struct member *member_of(const ob_mock *m, ob_session session, const char *group, size_t *at)
{
	const struct vec *all = &m->world->members;

	for (size_t i = 0; i < all->len; i++) {
		struct member *one = all->at[i];
		if (one->session == session && strcmp(one->group, group) == 0) {
			*at = i;
			return one;
		}
	}
	return NULL;
}

static struct session *session_of(const ob_mock *m, ob_session session)
{
	return ob__mock_obj_get(m->world, session, KIND_SESSION);
}

static bool is_own(const ob_mock *m, const struct member *one)
{
	const struct session *s = session_of(m, one->session);

	return s != NULL && s->node == NULL;
}

static uint32_t count_own(const ob_mock *m, const char *group)
{
	uint32_t n = 0;

	for (size_t i = 0; i < m->world->members.len; i++) {
		const struct member *one = m->world->members.at[i];
		n += strcmp(one->group, group) == 0 && is_own(m, one);
	}
	return n;
}

static uint32_t count_of(const ob_mock *m, ob_session session)
{
	uint32_t n = 0;

	for (size_t i = 0; i < m->world->members.len; i++) {
		n += ((const struct member *)m->world->members.at[i])->session == session;
	}
	return n;
}

static size_t count_groups(const ob_mock *m)
{
	const struct vec *all = &m->world->members;
	size_t n = 0;

	for (size_t i = 0; i < all->len; i++) {
		size_t before = 0;
		const struct member *one = all->at[i];
		while (before < i &&
		       strcmp(((const struct member *)all->at[before])->group, one->group) != 0) {
			before++;
		}
		n += before == i;
	}
	return n;
}

static bool exists(const ob_mock *m, const char *group)
{
	for (size_t i = 0; i < m->world->members.len; i++) {
		if (strcmp(((const struct member *)m->world->members.at[i])->group, group) == 0) {
			return true;
		}
	}
	return false;
}

static void hear(ob_mock *m, int event, ob_session session, const char *group, bool ended)
{
	const ob_group_info info = {
		.size = sizeof(info),
		.event = event,
		.group = group,
		.session = session,
		.members = count_own(m, group),
		.ended = ended,
	};

	for (size_t i = 0; m->phase == PHASE_LIVE && i < m->regs.len; i++) {
		const struct reg *reg = m->regs.at[i];
		if (reg->kind == REG_GROUP &&
		    strncmp(group, reg->text[0], strlen(reg->text[0])) == 0) {
			reg->fn.group(&m->ctx, &info);
		}
	}
}

int ob__mock_group_join(ob_mock *m, ob_session session, const char *group)
{
	const struct session *s = session_of(m, session);
	size_t at;

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!group_ok(group)) {
		return OB_E_INVAL;
	}
	if (s == NULL || s->closing) {
		return OB_E_STALE;
	}
	if (member_of(m, session, group, &at) != NULL) {
		return 0;
	}
	if (count_of(m, session) >= (uint64_t)ob__mock_number(m, OF_ONE_KEY, GROUPS_OF_ONE) ||
	    (!exists(m, group) &&
	     count_groups(m) >= (uint64_t)ob__mock_number(m, GROUPS_MAX_KEY, GROUPS_MAX))) {
		return OB_E_LIMIT;
	}
	struct member *one = calloc(1, sizeof(*one));
	int rc = one != NULL ? ob__mock_vec_add(&m->world->members, one) : OB_E_NOMEM;
	if (rc != 0) {
		free(one);
		return rc;
	}
	one->session = session;
	memcpy(one->group, group, strlen(group) + 1);
	if (s->node == NULL) {
		hear(m, OB_EVENT_GROUP_JOINED, session, group, false);
	}
	return 0;
}

int ob__mock_group_leave(ob_mock *m, ob_session session, const char *group)
{
	size_t at;

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!group_ok(group)) {
		return OB_E_INVAL;
	}
	if (session_of(m, session) == NULL) {
		return OB_E_STALE;
	}
	struct member *one = member_of(m, session, group, &at);
	if (one == NULL) {
		return 0;
	}
	bool own = is_own(m, one);
	ob__mock_vec_del(&m->world->members, at);
	free(one);
	if (own) {
		hear(m, OB_EVENT_GROUP_LEFT, session, group, false);
	}
	return 0;
}

void ob__mock_group_session_ends(ob_mock *m, ob_session session)
{
	for (size_t i = 0; i < m->world->members.len;) {
		struct member *one = m->world->members.at[i];
		if (one->session != session) {
			i++;
			continue;
		}
		bool own = is_own(m, one);
		ob__mock_vec_del(&m->world->members, i);
		if (own) {
			hear(m, OB_EVENT_GROUP_LEFT, session, one->group, true);
		}
		free(one);
		i = 0;
	}
}

void ob__mock_groups_free(struct world *w)
{
	for (size_t i = 0; i < w->members.len; i++) {
		free(w->members.at[i]);
	}
	free(w->members.at);
	w->members = (struct vec){0};
}

/* Nodes, this one as NULL; the one of member `i` is not among those before it. */
static bool is_new_node(const ob_mock *m, const char *group, size_t i, const char *node)
{
	for (size_t before = 0; before < i; before++) {
		const struct member *one = m->world->members.at[before];
		const struct session *s = session_of(m, one->session);
		if (strcmp(one->group, group) == 0 && s != NULL &&
		    (s->node == NULL ? node == NULL : node != NULL && strcmp(s->node, node) == 0)) {
			return false;
		}
	}
	return true;
}

int ob__mock_group_push(ob_mock *m, const char *group, uint32_t id, const void *data, size_t len)
{
	int rc = ob__mock_push_many(m, NULL, 0, id, data, len); /* the same rules */
	int nodes = 0;

	if (rc != 0 || !group_ok(group)) {
		return rc != 0 ? rc : OB_E_INVAL;
	}
	for (size_t i = 0; i < m->world->members.len; i++) {
		const struct member *one = m->world->members.at[i];
		const struct session *s = session_of(m, one->session);
		if (s != NULL && strcmp(one->group, group) == 0) {
			nodes += is_new_node(m, group, i, s->node);
			(void)ob__mock_out_push(m, one->session, id, data, len);
		}
	}
	return nodes;
}

/* ---- who is in it ---- */

bool ob_mock_in_group(const ob_mock *m, ob_session session, const char *group)
{
	size_t at;

	return member_of(m, session, group, &at) != NULL;
}

int ob__mock_group_members(const ob_mock *m, const char *group, ob_session *sessions, size_t cap)
{
	uint32_t n = 0;

	if (!group_ok(group) || (sessions == NULL && cap > 0)) {
		return OB_E_INVAL;
	}
	for (size_t i = 0; i < m->world->members.len; i++) {
		const struct member *one = m->world->members.at[i];
		if (strcmp(one->group, group) == 0 && is_own(m, one)) {
			if (n < cap) {
				sessions[n] = one->session;
			}
			n++;
		}
	}
	return (int)n;
}

struct question {
	ob_group_count_fn fn;
	void *arg;
	char group[OB_GROUP_MAX + 1];
};

static void answer(ob_ctx *ctx, void *arg)
{
	const ob_mock *m = mock_of(ctx);
	struct question *q = arg;
	ob_group_result res = {
		.size = sizeof(res),
		.text = ob__mock_strerror(0),
		.group = q->group,
		.nodes = 1,
	};

	for (size_t i = 0; i < m->world->members.len; i++) {
		const struct member *one = m->world->members.at[i];
		const struct session *s = session_of(m, one->session);
		if (s != NULL && strcmp(one->group, q->group) == 0) {
			res.members++;
			res.nodes += s->node != NULL && is_new_node(m, q->group, i, s->node);
		}
	}
	q->fn(ctx, &res, q->arg);
	free(q);
}

int ob__mock_group_count(ob_mock *m, const char *group, ob_group_count_fn fn, void *arg)
{
	if (!mock_may_begin(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (fn == NULL || !group_ok(group)) {
		return OB_E_INVAL;
	}
	struct question *q = calloc(1, sizeof(*q));
	if (q == NULL) {
		return OB_E_NOMEM;
	}
	q->fn = fn;
	q->arg = arg;
	memcpy(q->group, group, strlen(group) + 1);
	struct work work = {.post = answer, .arg = q};
	int rc = ob__mock_work_queue(m, &work);
	if (rc != 0) {
		free(q);
	}
	return rc;
}
