/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOSE_REPLACED 4001u
#define CLOSE_KICKED   4003u

/* ---- words ---- */

static bool word_ok(const char *s, size_t max)
{
	size_t len = s != NULL ? strnlen(s, max + 1) : 0;

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) {
			return false;
		}
	}
	return len > 0 && len <= max;
}

static struct session *session_of(const ob_mock *m, ob_session session)
{
	return ob__mock_obj_get(m->world, session, KIND_SESSION);
}

static struct session *session_of_user(const ob_mock *m, const char *user)
{
	for (size_t i = 0; i < m->world->sessions.len; i++) {
		struct session *s = m->world->sessions.at[i];
		if (!s->closing && strcmp(s->user, user) == 0) {
			return s;
		}
	}
	return NULL;
}

/* ---- bind and find ---- */

/* A question whose answer comes in ob_mock_run(). */
struct question {
	ob_session session; /* 0: which one has the user? */
	ob_user_fn fn;
	void *arg;
	char user[OB_USER_MAX + 1];
};

static void bind_now(ob_mock *m, struct session *s, const char *user)
{
	struct session *old = session_of_user(m, user);

	if (old == s) {
		return;
	}
	snprintf(s->user, sizeof(s->user), "%s", user);
	s->epoch = ++m->world->last_epoch;
	if (old != NULL) {
		ob__mock_session_ends(m, old, OB_EVENT_SESSION_REPLACED);
		(void)ob__mock_out_closed(m, old->obj.handle, CLOSE_REPLACED, "replaced");
		ob__mock_session_gone(m, old);
	}
}

static void answer(ob_ctx *ctx, void *arg)
{
	ob_mock *m = mock_of(ctx);
	struct question *q = arg;
	struct session *s =
		q->session != 0 ? session_of(m, q->session) : session_of_user(m, q->user);
	char name[OB_SESSION_TEXT] = "";
	ob_user_result res = {.size = sizeof(res), .name = name};

	if (s == NULL || s->closing) {
		res.code = q->session != 0 ? OB_E_GONE : OB_E_NOT_FOUND;
	} else {
		if (q->session != 0) {
			bind_now(m, s, q->user);
		}
		(void)ob__mock_session_text(m, s, name, sizeof(name));
		res.session = s->obj.handle;
		res.node = ob_mock_node_id(s->node != NULL ? s->node : m->name);
		res.epoch = s->epoch;
	}
	res.text = ob__mock_strerror(res.code);
	ob_user_fn fn = q->fn;
	void *fn_arg = q->arg;
	free(q);
	fn(ctx, &res, fn_arg);
}

static int ask(ob_mock *m, ob_session session, const char *user, ob_user_fn fn, void *arg)
{
	if (!mock_may_begin(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (fn == NULL || !word_ok(user, OB_USER_MAX)) {
		return OB_E_INVAL;
	}
	struct question *q = calloc(1, sizeof(*q));
	if (q == NULL) {
		return OB_E_NOMEM;
	}
	q->session = session;
	q->fn = fn;
	q->arg = arg;
	snprintf(q->user, sizeof(q->user), "%s", user);
	struct work work = {.post = answer, .arg = q};
	int rc = ob__mock_work_queue(m, &work);
	if (rc != 0) {
		free(q);
	}
	return rc;
}

int ob__mock_user_bind(ob_mock *m, ob_session session, const char *user, ob_user_fn fn, void *arg)
{
	if (mock_may_begin(m) && fn != NULL && word_ok(user, OB_USER_MAX) &&
	    session_of(m, session) == NULL) {
		return OB_E_STALE;
	}
	return ask(m, session, user, fn, arg);
}

int ob__mock_user_find(ob_mock *m, const char *user, ob_user_fn fn, void *arg)
{
	return ask(m, 0, user, fn, arg);
}

int ob__mock_user_unbind(ob_mock *m, ob_session session, const char *user)
{
	struct session *s = session_of(m, session);

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!word_ok(user, OB_USER_MAX)) {
		return OB_E_INVAL;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	if (strcmp(s->user, user) == 0) {
		s->user[0] = '\0';
	}
	return 0;
}

int ob_mock_bind(ob_mock *m, ob_session session, const char *user)
{
	struct session *s = session_of(m, session);

	if (!word_ok(user, OB_USER_MAX)) {
		return OB_E_INVAL;
	}
	if (s == NULL || s->closing) {
		return OB_E_STALE;
	}
	bind_now(m, s, user);
	return 0;
}

int ob_mock_session_lost(ob_mock *m, ob_session session)
{
	struct session *s = session_of(m, session);

	if (s == NULL || s->closing) {
		return OB_E_STALE;
	}
	if (s->node == NULL) {
		return OB_E_INVAL; /* this node's own */
	}
	s->lost = true;
	ob__mock_session_gone(m, s);
	return 0;
}

/* ---- sending ---- */

int ob__mock_user_push(ob_mock *m, const char *user, uint32_t id, const void *data, size_t len)
{
	const struct session *s =
		mock_live(m) && word_ok(user, OB_USER_MAX) ? session_of_user(m, user) : NULL;

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!word_ok(user, OB_USER_MAX) || id == 0 || id > 0x7fffffffu) {
		return OB_E_INVAL;
	}
	if (len > (uint64_t)ob__mock_number(m, "limits.message", MESSAGE_MAX)) {
		return OB_E_TOO_BIG;
	}
	return s != NULL ? ob__mock_out_push(m, s->obj.handle, id, data, len) : 0;
}

int ob__mock_push_users(ob_mock *m, const char *const *users, size_t count, uint32_t id,
                        const void *data, size_t len)
{
	int rc = ob__mock_push_many(m, NULL, 0, id, data, len); /* the same rules */
	int sent = 0;

	if (rc == 0 && users == NULL && count > 0) {
		rc = OB_E_INVAL;
	}
	if (rc == 0 && count > OB_PUSH_MANY_MAX) {
		rc = OB_E_LIMIT;
	}
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = word_ok(users[i], OB_USER_MAX) ? 0 : OB_E_INVAL;
	}
	for (size_t i = 0; rc == 0 && i < count; i++) {
		size_t before = 0;
		while (before < i && strcmp(users[before], users[i]) != 0) {
			before++;
		}
		sent += before == i && ob__mock_user_push(m, users[i], id, data, len) == 0;
	}
	return rc == 0 ? sent : rc;
}

int ob__mock_user_kick(ob_mock *m, const char *user, const char *reason)
{
	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!word_ok(user, OB_USER_MAX)) {
		return OB_E_INVAL;
	}
	const struct session *s = session_of_user(m, user);
	return s != NULL ? ob__mock_out_close(m, s->obj.handle, CLOSE_KICKED, reason) : 0;
}

/* ---- attributes ---- */

static size_t attr_index(const struct session *s, const char *key)
{
	size_t i = 0;

	while (i < s->attrs_len && strcmp(s->attrs[i]->key, key) != 0) {
		i++;
	}
	return i;
}

int ob__mock_session_set(ob_mock *m, ob_session session, const char *key, const void *value,
                         size_t len)
{
	struct session *s = session_of(m, session);

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!word_ok(key, OB_KEY_MAX)) {
		return OB_E_INVAL;
	}
	if (len > OB_ATTR_MAX) {
		return OB_E_TOO_BIG;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	size_t i = attr_index(s, key);
	if (len > 0 && i == OB_ATTRS_MAX) {
		return OB_E_LIMIT;
	}
	struct attr *a = len > 0 ? calloc(1, sizeof(*a)) : NULL;
	if (len > 0 && a == NULL) {
		return OB_E_NOMEM;
	}
	if (i < s->attrs_len) {
		free(s->attrs[i]);
		s->attrs[i] = s->attrs[--s->attrs_len];
	}
	if (a != NULL) {
		snprintf(a->key, sizeof(a->key), "%s", key);
		memcpy(a->value, value, len);
		a->len = len;
		s->attrs[s->attrs_len++] = a;
	}
	return 0;
}

const void *ob__mock_session_attr(const ob_mock *m, ob_session session, const char *key,
                                  size_t *len)
{
	const struct session *s = m->phase != PHASE_STOPPED ? session_of(m, session) : NULL;
	size_t i = s != NULL && s->node == NULL && word_ok(key, OB_KEY_MAX) ? attr_index(s, key)
	                                                                    : SIZE_MAX;
	const struct attr *a = s != NULL && i < s->attrs_len ? s->attrs[i] : NULL;

	if (len != NULL) {
		*len = a != NULL ? a->len : 0;
	}
	return a != NULL ? a->value : NULL;
}

void ob__mock_session_free(struct session *s)
{
	for (size_t i = 0; i < s->attrs_len; i++) {
		free(s->attrs[i]);
	}
	json_decref(s->state_data);
	free(s->node);
	free(s);
}

/* ---- locks ---- */

struct lock {
	ob_session session;
	uint64_t until;
	bool kept;
	char key[OB_KEY_MAX + 1];
};

/* The lock, and how many the session has; those whose time is over are forgotten. */
static struct lock *lock_find(const ob_mock *m, ob_session session, const char *key, size_t *at,
                              size_t *count)
{
	struct vec *locks = &m->world->locks;
	struct lock *found = NULL;

	*count = 0;
	for (size_t i = locks->len; i-- > 0;) {
		struct lock *l = locks->at[i];
		if (l->until <= m->world->now) {
			free(l);
			ob__mock_vec_del(locks, i);
			*at -= found != NULL;
			continue;
		}
		if (l->session != session || l->kept) {
			continue;
		}
		++*count;
		if (strcmp(l->key, key) == 0) {
			found = l;
			*at = i;
		}
	}
	return found;
}

int ob__mock_session_lock(ob_mock *m, ob_session session, const char *key, uint32_t ms)
{
	const struct session *s = session_of(m, session);
	size_t at = 0;
	size_t count;

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!word_ok(key, OB_KEY_MAX) || ms == 0 || ms > OB_LOCK_MS_MAX) {
		return OB_E_INVAL;
	}
	struct lock *l = lock_find(m, session, key, &at, &count);
	if (l != NULL) {
		l->until = m->world->now + ms;
		return 0;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	if (s->user[0] == '\0') {
		return OB_E_STATE;
	}
	if (count >= 16) {
		return OB_E_LIMIT;
	}
	l = calloc(1, sizeof(*l));
	int rc = l != NULL ? ob__mock_vec_add(&m->world->locks, l) : OB_E_NOMEM;
	if (rc != 0) {
		free(l);
		return rc;
	}
	l->session = session;
	l->until = m->world->now + ms;
	snprintf(l->key, sizeof(l->key), "%s", key);
	return 0;
}

int ob__mock_session_unlock(ob_mock *m, ob_session session, const char *key, uint32_t flags)
{
	size_t at = 0;
	size_t count;

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	struct lock *l = word_ok(key, OB_KEY_MAX) ? lock_find(m, session, key, &at, &count) : NULL;
	if (l == NULL) {
		return OB_E_NOT_FOUND;
	}
	if ((flags & OB_UNLOCK_KEEP) != 0) {
		l->kept = true;
		return 0;
	}
	free(l);
	ob__mock_vec_del(&m->world->locks, at);
	return 0;
}

bool ob_mock_locked(const ob_mock *m, ob_session session, const char *key)
{
	for (size_t i = 0; i < m->world->locks.len; i++) {
		const struct lock *l = m->world->locks.at[i];
		if (l->session == session && l->until > m->world->now && strcmp(l->key, key) == 0) {
			return true;
		}
	}
	return false;
}
