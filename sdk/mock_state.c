/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdlib.h>
#include <string.h>

#define CHANGES_MAX 64u

struct change {
	ob_session session;
	char to[OB_STATE_MAX + 1];
	json_t *data;
};

static bool name_ok(const char *name)
{
	size_t len = name != NULL ? strspn(name, "abcdefghijklmnopqrstuvwxyz"
	                                         "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
	                          : 0;

	return len > 0 && len <= OB_STATE_MAX && name[len] == '\0';
}

int ob__mock_state_allow(ob_mock *m, const char *state, uint32_t lo, uint32_t hi)
{
	struct reg *reg;
	bool none = lo == 1 && hi == 0;

	if (!name_ok(state) || (!none && (lo == 0 || lo > hi || hi > 0x7fffffffu))) {
		return mock_no(m, OB_E_INVAL);
	}
	int rc = ob__mock_reg_chained(m, REG_ALLOW, &reg);
	if (rc != 0) {
		return rc;
	}
	reg->fn.state.lo = lo;
	reg->fn.state.hi = hi;
	reg->text[0] = strdup(state);
	return reg->text[0] != NULL ? 0 : OB_E_NOMEM;
}

int ob__mock_reg_state(ob_mock *m, const char *state, ob_session_change_fn enter,
                       ob_session_change_fn leave)
{
	struct reg *reg;

	if ((enter == NULL && leave == NULL) || (state != NULL && !name_ok(state))) {
		return mock_no(m, OB_E_INVAL);
	}
	int rc = ob__mock_reg_chained(m, REG_STATE, &reg);
	if (rc != 0) {
		return rc;
	}
	reg->fn.state.enter = enter;
	reg->fn.state.leave = leave;
	reg->text[0] = strdup(state != NULL ? state : "");
	return reg->text[0] != NULL ? 0 : OB_E_NOMEM;
}

/* ---- what is declared ---- */

/* The id of an item of the configuration's states.NAME.ids is in it. */
static bool conf_allows(const ob_mock *m, const json_t *item, uint32_t id)
{
	json_int_t lo = json_integer_value(item);
	json_int_t hi = lo;

	if (json_is_array(item)) {
		lo = json_integer_value(json_array_get(item, 0));
		hi = json_integer_value(json_array_get(item, 1));
	} else if (json_is_string(item)) {
		lo = hi = ob__mock_name_id(m, json_string_value(item), json_string_length(item));
	}
	return (json_int_t)id >= lo && (json_int_t)id <= hi;
}

static const struct reg *next_allow(const ob_mock *m, size_t *i)
{
	while (m->phase >= PHASE_LIVE && *i < m->regs.len) {
		const struct reg *reg = m->regs.at[(*i)++];
		if (reg->kind == REG_ALLOW) {
			return reg;
		}
	}
	return NULL;
}

/* The first one; "" when there is none. */
static const char *first_state(const ob_mock *m)
{
	json_t *conf = (json_t *)(uintptr_t)ob__mock_config(m, "states");
	const char *name = json_object_iter_key(json_object_iter(conf));
	size_t i = 0;
	const struct reg *reg = name == NULL ? next_allow(m, &i) : NULL;

	return name != NULL ? name : reg != NULL ? reg->text[0] : "";
}

static bool declared(const ob_mock *m, const char *state)
{
	const struct reg *reg;

	for (size_t i = 0; (reg = next_allow(m, &i)) != NULL;) {
		if (strcmp(reg->text[0], state) == 0) {
			return true;
		}
	}
	return json_object_get(ob__mock_config(m, "states"), state) != NULL;
}

static const char *state_of(const ob_mock *m, const struct session *s)
{
	return s->state[0] != '\0' ? s->state : first_state(m);
}

static struct session *session_of(const ob_mock *m, ob_session session)
{
	return ob__mock_obj_get(m->world, session, KIND_SESSION);
}

bool ob__mock_state_allows(const ob_mock *m, ob_session session, uint32_t id)
{
	const struct session *s = session_of(m, session);
	const char *state = s != NULL ? state_of(m, s) : "";
	const struct reg *reg;
	json_t *item;
	size_t k;

	if (first_state(m)[0] == '\0') {
		return true;
	}
	for (size_t i = 0; (reg = next_allow(m, &i)) != NULL;) {
		if (strcmp(reg->text[0], state) == 0 && id >= reg->fn.state.lo &&
		    id <= reg->fn.state.hi) {
			return true;
		}
	}
	const json_t *conf = json_object_get(ob__mock_config(m, "states"), state);
	json_array_foreach (json_object_get(conf, "ids"), k, item) {
		if (conf_allows(m, item, id)) {
			return true;
		}
	}
	return false;
}

/* ---- changes ---- */

static void tell(ob_mock *m, const ob_session_change *c, const char *state, bool enter)
{
	for (size_t i = 0; m->phase == PHASE_LIVE && i < m->regs.len; i++) {
		const struct reg *reg = m->regs.at[i];
		if (reg->kind != REG_STATE || session_of(m, c->session) == NULL ||
		    (reg->text[0][0] != '\0' && strcmp(reg->text[0], state) != 0)) {
			continue;
		}
		ob_session_change_fn fn = enter ? reg->fn.state.enter : reg->fn.state.leave;
		if (fn != NULL) {
			fn(&m->ctx, c);
		}
	}
}

static void change(ob_mock *m, ob_session session, const char *to, json_t *data)
{
	struct session *s = session_of(m, session);
	char from[OB_STATE_MAX + 1];

	if (s == NULL) {
		return;
	}
	strcpy(from, state_of(m, s));
	json_t *left = json_incref(s->state_data);
	const ob_session_change c = {
		.size = sizeof(c),
		.session = session,
		.from = from,
		.to = to,
		.data = data,
		.left = left,
	};
	tell(m, &c, from, false);
	s = session_of(m, session);
	if (s != NULL) {
		json_decref(s->state_data);
		s->state_data = json_incref(data);
		strcpy(s->state, to);
		tell(m, &c, to, true);
	}
	json_decref(left);
}

static void run_todo(ob_mock *m)
{
	while (m->todo.len > 0) {
		struct change *c = m->todo.at[0];
		ob__mock_vec_del(&m->todo, 0);
		change(m, c->session, c->to, c->data);
		json_decref(c->data);
		free(c);
	}
}

static int put_off(ob_mock *m, ob_session session, const char *to, json_t *data)
{
	struct change *c = m->changes < CHANGES_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (c == NULL || ob__mock_vec_add(&m->todo, c) != 0) {
		free(c);
		return OB_E_LIMIT;
	}
	m->changes++;
	c->session = session;
	c->data = json_incref(data);
	strcpy(c->to, to);
	return 0;
}

int ob__mock_state_enter(ob_mock *m, ob_session session, const char *state, json_t *data)
{
	const struct session *s = session_of(m, session);
	size_t len = data != NULL ? json_dumpb(data, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) : 0;
	char to[OB_STATE_MAX + 1];

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!name_ok(state) || (data != NULL && len == 0)) {
		return OB_E_INVAL;
	}
	if (len > OB_STATE_DATA_MAX) {
		return OB_E_TOO_BIG;
	}
	if (s == NULL || s->closing) {
		return OB_E_STALE;
	}
	if (s->node != NULL) { /* its proxy's business; here it can be looked at */
		struct session *far = session_of(m, session);
		strcpy(far->state, state);
		json_decref(far->state_data);
		far->state_data = json_incref(data);
		return 0;
	}
	if (!declared(m, state)) {
		return OB_E_NOT_FOUND;
	}
	strcpy(to, state);
	if (m->changing) {
		return put_off(m, session, to, data);
	}
	m->changing = true;
	m->changes = 0;
	change(m, session, to, data);
	run_todo(m);
	m->changing = false;
	return 0;
}

const char *ob__mock_state_get(const ob_mock *m, ob_session session, const json_t **data)
{
	const struct session *s = m->phase != PHASE_STOPPED ? session_of(m, session) : NULL;

	if (data != NULL) {
		*data = s != NULL ? s->state_data : NULL;
	}
	return s != NULL && s->node == NULL ? state_of(m, s) : NULL;
}

const char *ob_mock_state(const ob_mock *m, ob_session session)
{
	const struct session *s = session_of(m, session);

	return s == NULL ? NULL : state_of(m, s);
}

void ob__mock_state_session(ob_mock *m, ob_session session, bool begins)
{
	const struct session *s = session_of(m, session);
	char state[OB_STATE_MAX + 1];

	if (s == NULL || s->node != NULL || first_state(m)[0] == '\0') {
		return;
	}
	strcpy(state, state_of(m, s));
	const ob_session_change c = {
		.size = sizeof(c),
		.session = session,
		.from = begins ? "" : state,
		.to = begins ? state : "",
		.left = s->state_data,
	};
	bool changing = m->changing;
	m->changes = changing ? m->changes : 0;
	m->changing = true;
	tell(m, &c, state, begins);
	if (!changing) {
		run_todo(m);
	}
	m->changing = changing;
}

void ob__mock_states_free(ob_mock *m)
{
	while (m->todo.len > 0) {
		struct change *c = m->todo.at[0];
		ob__mock_vec_del(&m->todo, 0);
		json_decref(c->data);
		free(c);
	}
	free(m->todo.at);
}
