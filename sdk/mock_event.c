/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX  16u
#define EVENTS_MAX 4096u

struct raised {
	char name[OB_RAISED_MAX + 1];
	json_t *data;
	uint32_t depth;
	ob_mock_raised pub; /* of one that went to other nodes */
};

static bool name_ok(const char *name)
{
	size_t len = name != NULL ? strnlen(name, OB_RAISED_MAX + 1) : 0;

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) {
			return false;
		}
	}
	return len > 0 && len <= OB_RAISED_MAX;
}

int ob__mock_reg_raised(ob_mock *m, const ob_listener *l, ob_raised_fn fn)
{
	const char *prefix = l != NULL && l->prefix != NULL ? l->prefix : "";
	struct reg *reg;

	if (fn == NULL || l == NULL || l->size != sizeof(*l) ||
	    (prefix[0] != '\0' && !name_ok(prefix)) || (l->key == NULL) != (l->value == NULL)) {
		return mock_no(m, OB_E_INVAL);
	}
	int rc = ob__mock_reg_chained(m, REG_RAISED, &reg);
	if (rc != 0) {
		return rc;
	}
	reg->priority = l->priority;
	reg->fn.raised = fn;
	reg->text[0] = strdup(prefix);
	reg->text[1] = l->key != NULL ? strdup(l->key) : NULL;
	reg->text[2] = l->key != NULL ? strdup(l->value) : NULL;
	return reg->text[0] == NULL ||
	                       (l->key != NULL && (reg->text[1] == NULL || reg->text[2] == NULL))
	               ? OB_E_NOMEM
	               : 0;
}

static bool heeds(const struct reg *reg, const ob_raised *e)
{
	if (reg->kind != REG_RAISED || strncmp(e->name, reg->text[0], strlen(reg->text[0])) != 0) {
		return false;
	}
	if (reg->text[1] == NULL) {
		return true;
	}
	const char *value = json_string_value(json_object_get(e->data, reg->text[1]));
	return value != NULL && strcmp(value, reg->text[2]) == 0;
}

static void tell(ob_mock *m, const ob_raised *e)
{
	uint32_t before = m->depth;
	bool stopped = false;
	int64_t done = INT64_MIN; /* priorities up to this one have heard */

	m->depth = e->depth;
	while (!stopped) {
		int64_t next = INT64_MAX;
		for (size_t i = 0; i < m->regs.len; i++) {
			const struct reg *reg = m->regs.at[i];
			if (heeds(reg, e) && reg->priority > done && reg->priority < next) {
				next = reg->priority;
			}
		}
		for (size_t i = 0; next != INT64_MAX && i < m->regs.len && !stopped; i++) {
			const struct reg *reg = m->regs.at[i];
			if (heeds(reg, e) && reg->priority == next) {
				stopped = reg->fn.raised(&m->ctx, e) == OB_RAISED_STOP &&
				          (e->flags & OB_RAISED_NOTICE) == 0;
			}
		}
		done = next;
		stopped = stopped || next == INT64_MAX;
	}
	m->depth = before;
}

static void raised_free(struct raised *r)
{
	json_decref(r->data);
	free(r);
}

static int put(struct vec *v, uint32_t role, const char *name, json_t *data, uint32_t depth)
{
	struct raised *r = v->len < EVENTS_MAX ? calloc(1, sizeof(*r)) : NULL;

	if (r == NULL || ob__mock_vec_add(v, r) != 0) {
		free(r);
		return OB_E_LIMIT;
	}
	strcpy(r->name, name);
	r->data = json_incref(data);
	r->depth = depth;
	r->pub = (ob_mock_raised){.role = role, .name = r->name, .data = r->data};
	return 0;
}

int ob__mock_event_raise(ob_mock *m, uint32_t role, const char *name, json_t *data, uint32_t flags)
{
	size_t len = data != NULL ? json_dumpb(data, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) : 0;
	uint32_t depth = m->depth + 1;

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!name_ok(name) || (data != NULL && len == 0) || (flags & ~OB_RAISED_NOTICE) != 0 ||
	    (role != 0 && flags != 0)) {
		return OB_E_INVAL;
	}
	if (len > OB_RAISED_DATA_MAX) {
		return OB_E_TOO_BIG;
	}
	if (depth > DEPTH_MAX) {
		return OB_E_LIMIT;
	}
	if (role != 0) {
		int rc = put(&m->sent, role, name, data, depth);
		if (rc == 0 && role == ob__mock_role(m->role)) {
			rc = put(&m->events, 0, name, data, depth);
		}
		return rc == 0 ? 1 : rc;
	}
	if ((flags & OB_RAISED_NOTICE) == 0) {
		return put(&m->events, 0, name, data, depth);
	}
	const ob_raised e = {
		.size = sizeof(e),
		.flags = OB_RAISED_NOTICE,
		.name = name,
		.data = data,
		.node = ob_mock_node_id(m->name),
		.depth = depth,
	};
	tell(m, &e);
	return 0;
}

size_t ob__mock_events_run(ob_mock *m, size_t most)
{
	size_t n = 0;

	for (; n < most && m->events.len > 0; n++) {
		struct raised *r = m->events.at[0];
		ob__mock_vec_del(&m->events, 0);
		const ob_raised e = {
			.size = sizeof(e),
			.name = r->name,
			.data = r->data,
			.node = ob_mock_node_id(m->name),
			.depth = r->depth,
		};
		tell(m, &e);
		raised_free(r);
	}
	return n;
}

int ob_mock_raise(ob_mock *m, const char *name, json_t *data_stolen)
{
	int rc = ob__mock_event_raise(m, 0, name, data_stolen, 0);

	json_decref(data_stolen);
	return rc;
}

const ob_mock_raised *ob_mock_raised_at(const ob_mock *m, size_t i)
{
	const struct raised *r = vec_get(&m->sent, i);

	return r != NULL ? &r->pub : NULL;
}

static void clear(struct vec *v)
{
	for (size_t i = 0; i < v->len; i++) {
		raised_free(v->at[i]);
	}
	free(v->at);
	*v = (struct vec){NULL, 0, 0};
}

void ob__mock_events_free(ob_mock *m)
{
	clear(&m->events);
	clear(&m->sent);
}
