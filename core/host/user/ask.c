/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * What modules ask about users, behind the SDK: to bind a session, or where a user is.  Each
 * question has exactly one end, by its deadline at the latest.
 */

#include "host/user/users_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/message/reply.h"
#include "host/node.h"

#define BIND_GRACE_MS 500u /* the asker waits longer than the proxy, whose answer says more */

/* What a module waits for. */
struct question {
	ob_user_fn fn;
	void *arg;
	char find[OB__USER_MAX + 1]; /* the user whose place is asked for, "": none is */
	bool again;                  /* it was asked twice */
};

/* A call of a module, ended with a struct ob__place.  Takes q, in any case; NULL when there are too
 * many. */
static struct ob__pending *question_pending(struct ob__gen *g, struct question *q)
{
	struct ob__node *node = g->node;
	struct ob__pending *p =
		q != NULL ? ob__pending_new(&node->pendings, OB__PENDING_USER,
	                                    node->conf->bind_timeout_ms + BIND_GRACE_MS)
			  : NULL;

	if (p == NULL) {
		free(q);
		return NULL;
	}
	p->u.call.gen = g;
	p->u.call.arg = q;
	ob__list_append(&g->calls, &p->u.call.gen_link);
	ob__gen_ref(g);
	return p;
}

static struct ob__pending *module_pending(struct ob__gen *g, const char *find, ob_user_fn fn,
                                          void *arg)
{
	struct question *q = calloc(1, sizeof(*q));

	if (q != NULL) {
		q->fn = fn;
		q->arg = arg;
		memcpy(q->find, find, strlen(find) + 1);
	}
	return question_pending(g, q);
}

/* What can't be sent ends as anything else does: later, by the callback; at its deadline, should
 * there be no memory. */
static void end_later(struct ob__node *node, struct ob__pending *p, int code)
{
	struct ob__frame f = {
		.kind = OB__FRAME_REPLY,
		.call = p->handle,
		.status = OB_RESULT_WIRE(ob__result_clean(code)),
	};

	(void)ob__users_to_self(node, &f);
}

void ob__users_bind_here(struct ob__node *node, const struct ob__session *s, const char *user)
{
	uint8_t payload[OB__USER_WIRE_MAX];
	struct ob__frame f = {
		.id = OB__SYS_BIND,
		.budget = (uint32_t)node->conf->bind_timeout_ms,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, user, 0, 0),
	};

	(void)ob__users_send(node, s->node, &f);
}

int ob__users_bind(struct ob__gen *g, uint64_t session, const char *user, ob_user_fn fn, void *arg)
{
	struct ob__node *node = g->node;
	const struct ob__session *s = ob__session_get(&node->sessions, session);
	uint8_t payload[OB__USER_WIRE_MAX];

	if (!ob__gen_may_begin(g)) {
		return OB_E_STATE;
	}
	if (fn == NULL || !ob__user_ok(user)) {
		return OB_E_INVAL;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	struct ob__pending *p = module_pending(g, "", fn, arg);
	if (p == NULL) {
		return OB_E_BUSY;
	}
	struct ob__frame f = {
		.id = OB__SYS_BIND,
		.call = p->handle,
		.budget = (uint32_t)node->conf->bind_timeout_ms,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, user, 0, 0),
	};
	int rc = ob__users_send(node, s->node, &f);
	if (rc != 0) {
		end_later(node, p, rc);
	}
	return 0;
}

int ob__users_unbind(struct ob__node *node, uint64_t session, const char *user)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	if (!ob__user_ok(user)) {
		return OB_E_INVAL;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	struct ob__who who = ob__users_who(s);
	return ob__users_tell(node, s->node, OB__SYS_UNBIND, &who, user, 0);
}

int ob__users_ask(struct ob__node *node, struct ob__pending *p, const char *user)
{
	uint8_t payload[OB__USER_WIRE_MAX];
	struct ob__frame f = {
		.id = OB__SYS_USER_FIND,
		.call = p->handle,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, user, 0, 0),
	};
	uint32_t stamp;

	uint64_t keeper = ob__users_keeper(node->users, user, &stamp);
	int rc = ob__users_send(node, keeper, &f);
	struct ob__peer *peer = rc == 0 ? ob__registry_get(&node->registry, keeper) : NULL;
	if (peer != NULL && peer->link != NULL) {
		/* its loss ends it: another one may be asked */
		ob__pending_sent(p, peer->link, peer);
	}
	return rc;
}

int ob__users_find(struct ob__gen *g, const char *user, ob_user_fn fn, void *arg)
{
	if (!ob__gen_may_begin(g)) {
		return OB_E_STATE;
	}
	if (fn == NULL || !ob__user_ok(user)) {
		return OB_E_INVAL;
	}
	struct ob__pending *p = module_pending(g, user, fn, arg);
	if (p == NULL) {
		return OB_E_BUSY;
	}
	int rc = ob__users_ask(g->node, p, user);
	if (rc != 0) {
		end_later(g->node, p, rc);
	}
	return 0;
}

/* ---- ends ---- */

static void module_end(struct ob__node *node, struct ob__pending *p, const struct ob__end *end)
{
	struct ob__gen *g = p->u.call.gen;
	struct question *q = p->u.call.arg;
	ob_user_fn fn = q->fn;
	void *arg = q->arg;
	struct ob__place place = {0};
	char name[OB_SESSION_TEXT] = "";
	ob_user_result res = {.size = sizeof(res), .code = end->code};

	if (end->code == OB_OK && ob__place_get(&place, end->data, end->len) != 0) {
		res.code = OB_E_APP;
	}
	res.text = end->text != NULL ? end->text : ob__strerror(res.code);
	if (res.code == OB_OK) {
		struct ob__session named = {.node = place.node, .seq = place.seq};
		const struct ob__session *s =
			ob__session_find(&node->sessions, place.node, place.seq);
		(void)ob__node_session_text(node, &named, name, sizeof(name));
		res.session = s != NULL ? s->handle : 0;
		res.node = place.node;
		res.epoch = place.epoch;
	}
	res.name = name;
	ob__list_del(&p->u.call.gen_link);
	free(q);
	uint64_t entered = ob__gen_enter(g);
	fn(&g->ctx, &res, arg);
	ob__gen_leave(g, entered);
	ob__gen_unref(g);
}

/* The keeper went while it was being asked: the next one is, once. */
static bool find_again(struct ob__node *node, struct ob__pending *p)
{
	struct question *q = p->u.call.arg;
	struct ob__gen *g = p->u.call.gen;

	if (q->find[0] == '\0' || q->again || g->expired) {
		return false;
	}
	struct question *copy = malloc(sizeof(*copy));
	if (copy != NULL) {
		*copy = *q;
		copy->again = true;
	}
	struct ob__pending *next = question_pending(g, copy);
	if (next == NULL) {
		return false;
	}
	ob__users_peers_changed(node); /* the node hears of it next */
	if (ob__users_ask(node, next, q->find) != 0) {
		end_later(node, next, OB_E_NO_ROUTE);
	}
	ob__list_del(&p->u.call.gen_link);
	free(q);
	ob__gen_unref(g);
	return true;
}

void ob__users_pending_end(struct ob__node *node, struct ob__pending *p, const struct ob__end *end)
{
	bool lost = end->code == OB_E_MAYBE_SENT || end->code == OB_E_NOT_SENT;

	if (p->kind == OB__PENDING_USER && lost && find_again(node, p)) {
		return;
	}
	if (p->kind == OB__PENDING_USER) {
		module_end(node, p, end);
	} else {
		ob__user_asked(node, p, end);
	}
}
