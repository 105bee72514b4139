/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session/states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/message/ignored.h"
#include "host/node.h"
#include "host/slot.h"
#include "host/user/users_priv.h"

#define LOG_BURST 5u

/* A change that waits for the one under way. */
struct change {
	struct ob__list link;
	uint64_t session;
	uint16_t to;
	json_t *data;
};

void ob__states_init(struct ob__node *node)
{
	struct ob__states *st = &node->states;

	ob__list_init(&st->todo);
	st->entered = ob__stat_counter(node->stats, "obhost_session_states_entered_total", NULL,
	                               "Changes of a session's state.");
	st->lost = ob__stat_counter(node->stats, "obhost_session_states_lost_total", NULL,
	                            "Changes of a session's state that could not be made.");
	ob__states_rebuild(node);
}

void ob__states_free(struct ob__node *node)
{
	struct ob__states *st = &node->states;

	while (st->todo.next != NULL && !ob__list_empty(&st->todo)) {
		struct change *c = OB__CONTAINER(st->todo.next, struct change, link);
		ob__list_del(&c->link);
		json_decref(c->data);
		free(c);
	}
	for (uint16_t i = 0; i < st->len; i++) {
		ob__idrange_free(&st->defs[i]->ids);
		free(st->defs[i]);
	}
	free(st->defs);
	st->defs = NULL;
	st->len = 0;
	st->on = false;
}

bool ob__state_name_ok(const char *name)
{
	size_t len = name != NULL ? strspn(name, "abcdefghijklmnopqrstuvwxyz"
	                                         "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
	                          : 0;

	return len > 0 && len <= OB_STATE_MAX && name[len] == '\0';
}

/* ---- the table ---- */

/* Its number, or 0. */
static uint16_t find(const struct ob__states *st, const char *name)
{
	for (uint16_t i = 0; i < st->len; i++) {
		if (strcmp(st->defs[i]->name, name) == 0) {
			return (uint16_t)(i + 1);
		}
	}
	return 0;
}

static uint16_t add(struct ob__node *node, const char *name)
{
	struct ob__states *st = &node->states;
	char label[OB_STATE_MAX + 16];
	struct ob__state_def *def = st->len < OB__STATES_MAX ? calloc(1, sizeof(*def)) : NULL;
	struct ob__state_def **grown =
		def != NULL ? realloc(st->defs, (st->len + 1u) * sizeof(*grown)) : NULL;

	if (grown == NULL) {
		free(def);
		return 0;
	}
	st->defs = grown;
	snprintf(def->name, sizeof(def->name), "%s", name);
	snprintf(label, sizeof(label), "state=\"%s\"", name);
	def->refused =
		ob__stat_counter(node->stats, "obhost_client_state_refused_total", label,
	                         "Messages of clients not allowed in their session's state.");
	grown[st->len++] = def;
	return st->len;
}

/* Declares it, and allows the ids in it if there are any. */
static struct ob__state_def *allow(struct ob__node *node, const char *name, uint32_t lo,
                                   uint32_t hi)
{
	struct ob__states *st = &node->states;
	uint16_t number = find(st, name);

	if (number == 0 && (number = add(node, name)) == 0) {
		ob__error("session", "the state %s: out of memory, or more than %u", name,
		          OB__STATES_MAX);
		return NULL;
	}
	struct ob__state_def *def = st->defs[number - 1];
	def->declared = true;
	if (lo <= hi && ob__idrange_add(&def->ids, lo, hi, 1) != 0) {
		ob__error("session", "the state %s: too many ranges of ids", name);
	}
	if (!st->on) {
		st->on = true;
		st->first = number;
	}
	return def;
}

static void read_conf(struct ob__node *node)
{
	const struct ob__nodeconf *c = node->conf;

	for (size_t i = 0; i < c->states_len; i++) {
		const struct ob__state_conf *sc = &c->states[i];
		struct ob__state_def *def = allow(node, sc->name, 1, 0);
		for (size_t k = 0; def != NULL && k < sc->ids_len; k++) {
			(void)allow(node, sc->name, sc->ids[k].lo, sc->ids[k].hi);
		}
		if (def != NULL) {
			def->closes = sc->closes;
		}
	}
}

void ob__states_rebuild(struct ob__node *node)
{
	struct ob__states *st = &node->states;

	if (!st->on && node->conf->states_len == 0 && node->slots.states.len == 0) {
		return;
	}
	st->on = false;
	for (uint16_t i = 0; i < st->len; i++) {
		ob__idrange_free(&st->defs[i]->ids);
		st->defs[i]->declared = false;
		st->defs[i]->closes = false;
	}
	read_conf(node);
	for (size_t i = 0; i < node->slots.states.len; i++) {
		const struct ob__reg *reg = node->slots.states.regs[i];
		if (reg->flags == OB__STATE_ALLOWS) {
			(void)allow(node, reg->fn.state.name, reg->fn.state.lo, reg->fn.state.hi);
		}
	}
	for (uint16_t i = 0; i < st->len; i++) {
		/* Sealed or empty: what can't be allowed is refused. */
		if (ob__idrange_seal(&st->defs[i]->ids, NULL, NULL) != 0) {
			ob__error("session",
			          "the state %s: out of memory, nothing is allowed in it",
			          st->defs[i]->name);
		}
	}
}

static uint16_t number_of(const struct ob__node *node, const struct ob__session *s)
{
	uint16_t number = s->more != NULL ? s->more->state : 0;

	return number != 0 ? number : node->states.first;
}

struct ob__state_def *ob__states_of(const struct ob__node *node, const struct ob__session *s)
{
	return node->states.defs[number_of(node, s) - 1];
}

const struct ob__state_def *ob__states_refuse(struct ob__node *node, const struct ob__session *s,
                                              uint32_t id)
{
	const struct ob__state_def *def = ob__states_of(node, s);
	uint32_t unused;
	uint32_t missed;

	if (ob__idrange_find(&def->ids, id, &unused)) {
		return NULL;
	}
	++*def->refused;
	if (ob__log_allow(&node->states.refused_log, LOG_BURST, ob__loop_now(node->loop),
	                  &missed)) {
		ob__info("session", "id %u is not allowed in the state %s [and %u like it]", id,
		         def->name, missed);
	}
	return def;
}

/* ---- changes ---- */

static void tell(struct ob__node *node, const ob_session_change *change, const char *state,
                 bool enter)
{
	const struct ob__chain *chain = &node->slots.states;

	for (size_t i = 0; i < chain->len; i++) {
		const struct ob__reg *reg = chain->regs[i];
		ob_session_change_fn fn = enter ? reg->fn.state.enter : reg->fn.state.leave;
		if (reg->flags != OB__STATE_HEARS || fn == NULL ||
		    (reg->fn.state.name[0] != '\0' && strcmp(reg->fn.state.name, state) != 0)) {
			continue;
		}
		if (ob__session_get(&node->sessions, change->session) == NULL) {
			return; /* who heard of it has closed it */
		}
		struct ob__gen *g = reg->gen;
		uint64_t entered = ob__gen_enter(g);
		fn(&g->ctx, change);
		ob__gen_leave(g, entered);
	}
}

/* 0, or OB_E_NOMEM and nothing has changed. */
static int change(struct ob__node *node, struct ob__session *s, uint16_t to, json_t *data)
{
	struct ob__states *st = &node->states;
	struct ob__session_more *more = ob__session_more(s);

	if (more == NULL) {
		return OB_E_NOMEM;
	}
	uint64_t handle = s->handle;
	json_t *left = json_incref(more->state_data);
	ob_session_change c = {
		.size = sizeof(c),
		.session = handle,
		.from = st->defs[number_of(node, s) - 1]->name,
		.to = st->defs[to - 1]->name,
		.data = data,
		.left = left,
	};
	tell(node, &c, c.from, false);
	s = ob__session_get(&node->sessions, handle);
	if (s != NULL) {
		json_decref(s->more->state_data);
		s->more->state_data = json_incref(data);
		s->more->state = to;
		++*st->entered;
		tell(node, &c, c.to, true);
	}
	json_decref(left);
	return 0;
}

static void log_lost(struct ob__node *node, const char *state, int rc)
{
	uint32_t missed;

	++*node->states.lost;
	if (ob__log_allow(&node->states.lost_log, LOG_BURST, ob__loop_now(node->loop), &missed)) {
		ob__warning("session", "a session can't go to the state %s: %s [and %u like it]",
		            state, ob__strerror(rc), missed);
	}
}

static void run_todo(struct ob__node *node)
{
	struct ob__states *st = &node->states;

	while (!ob__list_empty(&st->todo)) {
		struct change *c = OB__CONTAINER(st->todo.next, struct change, link);
		struct ob__session *s = ob__session_get(&node->sessions, c->session);
		ob__list_del(&c->link);
		int rc = s != NULL ? change(node, s, c->to, c->data) : 0;
		if (rc != 0) {
			log_lost(node, st->defs[c->to - 1]->name, rc);
		}
		json_decref(c->data);
		free(c);
	}
}

static int put_off(struct ob__states *st, uint64_t session, uint16_t to, json_t *data)
{
	struct change *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		return OB_E_NOMEM;
	}
	c->session = session;
	c->to = to;
	c->data = json_incref(data);
	ob__list_append(&st->todo, &c->link);
	return 0;
}

static int enter_here(struct ob__node *node, struct ob__session *s, const char *state, json_t *data)
{
	struct ob__states *st = &node->states;
	uint16_t to = find(st, state);

	if (to == 0 || !st->defs[to - 1]->declared) {
		return OB_E_NOT_FOUND;
	}
	if (st->changing) {
		if (st->changes >= OB__STATE_CHANGES_MAX) {
			log_lost(node, state, OB_E_LIMIT);
			return OB_E_LIMIT;
		}
		st->changes++;
		return put_off(st, s->handle, to, data);
	}
	st->changing = true;
	st->changes = 0;
	int rc = change(node, s, to, data);
	run_todo(node);
	st->changing = false;
	return rc;
}

void ob__states_session_begins(struct ob__node *node, const struct ob__session *s)
{
	if (!node->states.on || node->slots.states.len == 0) {
		return;
	}
	json_t *data = s->more != NULL ? json_incref(s->more->state_data) : NULL;
	ob_session_change c = {
		.size = sizeof(c),
		.session = s->handle,
		.from = "",
		.to = ob__states_of(node, s)->name,
		.data = data,
	};
	bool changing = node->states.changing;
	node->states.changes = changing ? node->states.changes : 0;
	node->states.changing = true;
	tell(node, &c, c.to, true);
	if (!changing) {
		run_todo(node);
	}
	node->states.changing = changing;
	json_decref(data);
}

void ob__states_session_ends(struct ob__node *node, const struct ob__session *s)
{
	if (!node->states.on || node->slots.states.len == 0) {
		return;
	}
	const ob_session_change c = {
		.size = sizeof(c),
		.session = s->handle,
		.from = ob__states_of(node, s)->name,
		.to = "",
		.left = s->more != NULL ? s->more->state_data : NULL,
	};
	/* It goes nowhere any more: what somebody asks for now finds it gone. */
	bool changing = node->states.changing;
	node->states.changes = changing ? node->states.changes : 0;
	node->states.changing = true;
	tell(node, &c, c.from, false);
	node->states.changing = changing;
}

/* ---- to another proxy ---- */

const char *ob__states_leaves(const struct ob__node *node, const struct ob__session *s,
                              const json_t **data)
{
	uint16_t number = s->more != NULL ? s->more->state : 0;

	*data = number != 0 ? s->more->state_data : NULL;
	return number != 0 ? node->states.defs[number - 1]->name : "";
}

static int come(struct ob__node *node, struct ob__session *s, const char *state,
                const uint8_t *data, size_t len)
{
	const struct ob__states *st = &node->states;
	uint16_t number = find(st, state);

	if (number == 0 || !st->defs[number - 1]->declared) {
		return OB_E_NOT_FOUND;
	}
	struct ob__session_more *more = ob__session_more(s);
	json_t *json = NULL;
	if (more == NULL) {
		return OB_E_NOMEM;
	}
	if (len > 0 &&
	    (json = json_loadb((const char *)data, len, JSON_DECODE_ANY, NULL)) == NULL) {
		return OB_E_BAD;
	}
	json_decref(more->state_data);
	more->state_data = json;
	more->state = number;
	return 0;
}

void ob__states_comes(struct ob__node *node, struct ob__session *s, const char *state,
                      const uint8_t *data, size_t len)
{
	int rc = ob__state_name_ok(state) ? come(node, s, state, data, len) : OB_E_BAD;

	if (rc != 0) {
		log_lost(node, rc == OB_E_BAD ? "of another proxy" : state, rc);
	}
}

/* ---- from elsewhere ---- */

void ob__states_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__named_msg m;
	json_t *data = NULL;

	if (ob__named_get(&m, f->payload, f->payload_len) != 0 || !ob__state_name_ok(m.name) ||
	    m.len > OB_STATE_DATA_MAX ||
	    (m.len > 0 &&
	     (data = json_loadb((const char *)m.data, m.len, JSON_DECODE_ANY, NULL)) == NULL)) {
		ob__ignore_frame(node, f, OB__IGNORED_STATE);
		return;
	}
	if (s != NULL && s->conn != 0) {
		int rc = enter_here(node, s, m.name, data);
		if (rc != 0 && rc != OB_E_LIMIT) {
			log_lost(node, m.name, rc);
		}
	}
	json_decref(data);
}

static int enter_far(struct ob__node *node, const struct ob__session *s, const char *state,
                     const json_t *data)
{
	uint8_t payload[1 + OB__NAMED_WORD_MAX + OB_STATE_DATA_MAX];
	size_t at = ob__named_put_head(payload, state);

	if (data != NULL) {
		at += json_dumpb(data, (char *)payload + at, OB_STATE_DATA_MAX,
		                 JSON_COMPACT | JSON_ENCODE_ANY);
	}
	struct ob__frame f = {
		.id = OB__SYS_SESSION_ENTER,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)at,
	};
	return ob__users_send(node, s->node, &f);
}

int ob__states_enter(struct ob__node *node, uint64_t session, const char *state, json_t *data)
{
	struct ob__session *s = ob__session_get(&node->sessions, session);
	size_t len = data != NULL ? json_dumpb(data, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) : 0;

	if (!ob__state_name_ok(state) || (data != NULL && len == 0)) {
		return OB_E_INVAL;
	}
	if (len > OB_STATE_DATA_MAX) {
		return OB_E_TOO_BIG;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	return s->conn != 0 ? enter_here(node, s, state, data) : enter_far(node, s, state, data);
}

const char *ob__states_get(const struct ob__node *node, uint64_t session, const json_t **data)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	if (data != NULL) {
		*data = s != NULL && s->more != NULL ? s->more->state_data : NULL;
	}
	if (s == NULL || s->conn == 0) {
		return NULL;
	}
	return node->states.on ? ob__states_of(node, s)->name : "";
}
