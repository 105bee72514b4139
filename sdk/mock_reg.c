/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/fnv.h"

#define NAME_MAX_LEN 512

static void reg_free(struct reg *reg)
{
	for (size_t i = 0; i < sizeof(reg->text) / sizeof(reg->text[0]); i++) {
		free(reg->text[i]);
	}
	free(reg->name);
	free(reg);
}

/* The key of what only one may have, or false for events and filters. */
static bool key_of(enum reg_kind kind, uint32_t id, const char *name, char *out, size_t cap)
{
	switch (kind) {
	case REG_EVENT:
	case REG_FILTER:
	case REG_CALL_FILTER:
	case REG_GROUP:
	case REG_ALLOW:
	case REG_STATE:
	case REG_MESSAGE_FILTER:
	case REG_RAISED:
		return false;
	case REG_CLIENT_ID:
	case REG_LINK_ID:
		snprintf(out, cap, "%d %u", (int)kind, id);
		return true;
	default:
		snprintf(out, cap, "%d %s", (int)kind, name != NULL ? name : "");
		return true;
	}
}

static int reg_add(ob_mock *m, enum reg_kind kind, uint32_t id, const char *name, struct reg **out)
{
	char key[NAME_MAX_LEN + 16];
	bool single = key_of(kind, id, name, key, sizeof(key));

	if (m->phase != PHASE_STARTING && m->phase != PHASE_LIVE) {
		return mock_no(m, OB_E_STATE);
	}
	if (single && json_object_get(m->taken, key) != NULL) {
		if (name != NULL) {
			snprintf(m->refused, sizeof(m->refused), "\"%.64s\"", name);
		} else {
			snprintf(m->refused, sizeof(m->refused), "id %u", id);
		}
		return OB_E_EXISTS;
	}
	struct reg *reg = calloc(1, sizeof(*reg));
	if (reg == NULL) {
		return OB_E_NOMEM;
	}
	reg->kind = kind;
	reg->name = name != NULL ? strdup(name) : NULL;
	int rc = name == NULL || reg->name != NULL ? ob__mock_vec_add(&m->regs, reg) : OB_E_NOMEM;
	if (rc == 0 && single &&
	    json_object_set_new(m->taken, key, json_integer((json_int_t)m->regs.len - 1)) != 0) {
		m->regs.len--;
		rc = name != NULL ? OB_E_INVAL : OB_E_NOMEM; /* a name that is not UTF-8 */
	}
	if (rc != 0) {
		reg_free(reg);
		return rc;
	}
	*out = reg;
	return 0;
}

/* Takes the registration made last back. */
static void reg_undo(ob_mock *m, uint32_t id)
{
	struct reg *reg = m->regs.at[--m->regs.len];
	char key[NAME_MAX_LEN + 16];

	if (key_of(reg->kind, id, reg->name, key, sizeof(key))) {
		json_object_del(m->taken, key);
	}
	reg_free(reg);
}

int ob__mock_reg_id(ob_mock *m, uint32_t id, ob_handler_fn fn, uint32_t flags)
{
	struct reg *client = NULL;
	struct reg *link = NULL;
	int rc = 0;

	if (fn == NULL || id > 0x7fffffffu || (flags & (OB_FROM_CLIENT | OB_FROM_LINK)) == 0) {
		return mock_no(m, OB_E_INVAL);
	}
	if ((flags & OB_FROM_CLIENT) != 0) {
		rc = reg_add(m, REG_CLIENT_ID, id, NULL, &client);
	}
	if (rc == 0 && (flags & OB_FROM_LINK) != 0) {
		rc = reg_add(m, REG_LINK_ID, id, NULL, &link);
	}
	if (rc != 0) {
		if (client != NULL) {
			reg_undo(m, id);
		}
		return rc;
	}
	if (client != NULL) {
		client->fn.handler = fn;
		client->flags = flags;
	}
	if (link != NULL) {
		link->fn.handler = fn;
		link->flags = flags;
	}
	return 0;
}

static int reg_off(ob_mock *m, enum reg_kind kind, uint32_t id, const char *name)
{
	char key[NAME_MAX_LEN + 16];

	key_of(kind, id, name, key, sizeof(key));
	const json_t *at = json_object_get(m->taken, key);
	if (at == NULL) {
		return OB_E_NOT_FOUND;
	}
	struct reg *reg = m->regs.at[json_integer_value(at)];
	reg->kind = REG_NONE; /* the others keep their places */
	json_object_del(m->taken, key);
	return 0;
}

int ob__mock_off_id(ob_mock *m, uint32_t id)
{
	if (m->phase != PHASE_STARTING && m->phase != PHASE_LIVE) {
		return mock_no(m, OB_E_STATE);
	}
	int client = reg_off(m, REG_CLIENT_ID, id, NULL);
	int link = reg_off(m, REG_LINK_ID, id, NULL);
	return client == 0 || link == 0 ? 0 : OB_E_NOT_FOUND;
}

int ob__mock_off_method(ob_mock *m, const char *name)
{
	if (name == NULL || strlen(name) >= NAME_MAX_LEN) {
		return mock_no(m, OB_E_INVAL);
	}
	if (m->phase != PHASE_STARTING && m->phase != PHASE_LIVE) {
		return mock_no(m, OB_E_STATE);
	}
	return reg_off(m, REG_METHOD, 0, name);
}

/* ---- names of messages ---- */

/* A name that jansson takes for text; a new reference, or NULL. */
static json_t *name_text(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((uint8_t)name[i] < 0x20 || name[i] == 0x7f) {
			return NULL;
		}
	}
	return len > 0 && len <= OB_NAME_MAX ? json_stringn(name, len) : NULL;
}

uint32_t ob__mock_name_id(const ob_mock *m, const char *name, size_t len)
{
	json_t *text = name_text(name, len);

	if (text == NULL) {
		return 0;
	}
	const json_t *chosen =
		json_object_get(ob__mock_config(m, "names"), json_string_value(text));
	json_decref(text);
	return chosen != NULL ? (uint32_t)json_integer_value(chosen)
	                      : OB_NAME_ID_MIN | (ob__fnv1a32_of(name, len) & (OB_NAME_ID_MIN - 1));
}

static const char *name_in(const json_t *names, uint32_t id)
{
	const char *name;
	const json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)names, name, value) {
		if (json_integer_value(value) == (json_int_t)id) {
			return name;
		}
	}
	return NULL;
}

const char *ob__mock_name_of(const ob_mock *m, uint32_t id)
{
	const char *name = name_in(ob__mock_config(m, "names"), id);

	return name != NULL ? name : name_in(m->world->names, id);
}

int ob__mock_name_know(ob_mock *m, const char *name, size_t len, uint32_t *id)
{
	*id = ob__mock_name_id(m, name, len);
	if (*id == 0) {
		return OB_E_INVAL;
	}
	const char *known = ob__mock_name_of(m, *id);
	if (known != NULL) {
		return strlen(known) == len && memcmp(known, name, len) == 0 ? 0 : OB_E_EXISTS;
	}
	json_t *text = name_text(name, len);
	int rc = json_object_set_new(m->world->names, json_string_value(text), json_integer(*id));
	json_decref(text);
	return rc == 0 ? 0 : OB_E_NOMEM;
}

int ob__mock_reg_method(ob_mock *m, const char *name, ob_handler_fn fn, uint32_t flags)
{
	struct reg *reg;

	if (fn == NULL || name == NULL || *name == '\0' || strlen(name) > 255) {
		return mock_no(m, OB_E_INVAL);
	}
	int rc = reg_add(m, REG_METHOD, 0, name, &reg);
	if (rc == 0) {
		reg->fn.handler = fn;
		reg->flags = flags;
	}
	return rc;
}

/* A path of the administrative verbs, if those are known. */
static bool admin_path(const ob_mock *m, const char *path)
{
	const json_t *verb;
	size_t i;

	json_array_foreach (json_object_get(m->verbs, "verbs"), i, verb) {
		const char *p = json_string_value(json_object_get(verb, "path"));
		size_t len = p != NULL ? strlen(p) : 0;
		if (len > 0 &&
		    (p[len - 1] == '*' ? strncmp(p, path, len - 1) == 0 : strcmp(p, path) == 0)) {
			return true;
		}
	}
	return false;
}

bool ob__mock_reg_verb_writes(const ob_mock *m, const char *name)
{
	const json_t *verb;
	size_t i;

	json_array_foreach (json_object_get(m->verbs, "verbs"), i, verb) {
		const char *word = json_string_value(json_object_get(verb, "verb"));
		if (word != NULL && strcmp(word, name) == 0) {
			return json_is_true(json_object_get(verb, "write"));
		}
	}
	return m->verbs != NULL;
}

int ob__mock_reg_http(ob_mock *m, const char *method, const char *path, ob_handler_fn fn,
                      uint32_t flags)
{
	char name[NAME_MAX_LEN];
	struct reg *reg;

	if (fn == NULL || method == NULL || *method == '\0' || strchr(method, ' ') != NULL ||
	    path == NULL || path[0] != '/') {
		return mock_no(m, OB_E_INVAL);
	}
	const char *star = strchr(path, '*');
	if (star != NULL && (star[1] != '\0' || star[-1] != '/')) {
		return mock_no(m, OB_E_INVAL);
	}
	bool admin = (flags & OB_HTTP_ADMIN) != 0;
	if ((m->verbs != NULL && admin_path(m, path) != admin) || (admin && !m->admin)) {
		snprintf(m->refused, sizeof(m->refused), "\"%.64s\" is an administrative path",
		         path);
		return mock_no(m, OB_E_DENIED);
	}
	int len = snprintf(name, sizeof(name), "%s %s", method, path);
	if (len < 0 || (size_t)len >= sizeof(name)) {
		return mock_no(m, OB_E_INVAL);
	}
	int rc = reg_add(m, REG_HTTP, 0, name, &reg);
	if (rc == 0) {
		reg->fn.handler = fn;
		reg->flags = flags & OB_HTTP_ADMIN;
	}
	return rc;
}

int ob__mock_reg_event(ob_mock *m, int event, ob_event_fn fn)
{
	struct reg *reg;

	if (fn == NULL || event < OB_EVENT_SESSION_OPENED || event > OB_EVENT_SESSION_LEFT) {
		return mock_no(m, OB_E_INVAL);
	}
	if (m->phase != PHASE_STARTING) {
		return mock_no(m, OB_E_STATE);
	}
	int rc = reg_add(m, REG_EVENT, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.event = fn;
		reg->priority = event;
	}
	return rc;
}

int ob__mock_reg_group(ob_mock *m, const char *prefix, ob_group_fn fn)
{
	struct reg *reg;

	if (fn == NULL || prefix == NULL || strlen(prefix) > OB_GROUP_MAX) {
		return mock_no(m, OB_E_INVAL);
	}
	if (m->phase != PHASE_STARTING) {
		return mock_no(m, OB_E_STATE);
	}
	char *copy = strdup(prefix);
	int rc = copy != NULL ? reg_add(m, REG_GROUP, 0, NULL, &reg) : OB_E_NOMEM;
	if (rc != 0) {
		free(copy);
		return rc;
	}
	reg->fn.group = fn;
	reg->text[0] = copy;
	return 0;
}

int ob__mock_reg_chained(ob_mock *m, enum reg_kind kind, struct reg **out)
{
	return m->phase == PHASE_STARTING ? reg_add(m, kind, 0, NULL, out) : mock_no(m, OB_E_STATE);
}

int ob__mock_reg_call_filter(ob_mock *m, int when, int priority, ob_call_filter_fn fn)
{
	struct reg *reg;

	if (fn == NULL || when < OB_CALL_BEFORE_OUT || when > OB_CALL_AFTER_IN) {
		return mock_no(m, OB_E_INVAL);
	}
	if (m->phase != PHASE_STARTING) {
		return mock_no(m, OB_E_STATE);
	}
	int rc = reg_add(m, REG_CALL_FILTER, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.call_filter = fn;
		reg->flags = (uint32_t)when;
		reg->priority = priority;
	}
	return rc;
}

int ob__mock_reg_filter(ob_mock *m, int priority, ob_filter_fn fn)
{
	struct reg *reg;

	if (fn == NULL) {
		return mock_no(m, OB_E_INVAL);
	}
	if (m->phase != PHASE_STARTING) {
		return mock_no(m, OB_E_STATE);
	}
	int rc = reg_add(m, REG_FILTER, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.filter = fn;
		reg->priority = priority;
	}
	return rc;
}

int ob__mock_reg_single(ob_mock *m, enum reg_kind kind, const char *what, struct reg **out)
{
	return reg_add(m, kind, 0, what, out);
}

#define CODEC_SIZE_1_0 offsetof(ob_codec, arg)

int ob__mock_reg_codec(ob_mock *m, const ob_codec *given)
{
	ob_codec full = {.size = 0};
	const ob_codec *codec = &full;
	struct reg *reg;

	if (given == NULL || given->size < CODEC_SIZE_1_0 || given->name == NULL ||
	    given->decode == NULL || given->encode == NULL || given->state_size > 65536 ||
	    given->overhead > 4096 || strlen(given->name) > 255) {
		return mock_no(m, OB_E_INVAL);
	}
	memcpy(&full, given, given->size < sizeof(full) ? given->size : sizeof(full));
	/* Connections of the generation before hold state of its version. */
	const json_t *old = json_object_get(m->world->codecs, codec->name);
	bool same = old != NULL &&
	            json_integer_value(json_array_get(old, 0)) == (json_int_t)codec->state_ver;
	if (same && codec->open != NULL && codec->state_size > 0 &&
	    json_is_false(json_array_get(old, 2))) {
		snprintf(m->refused, sizeof(m->refused),
		         "a codec that begins to open states needs another version of them");
		return mock_no(m, OB_E_STATE);
	}
	if (old != NULL &&
	    (same ? json_integer_value(json_array_get(old, 1)) != (json_int_t)codec->state_size
	          : codec->migrate == NULL)) {
		snprintf(m->refused, sizeof(m->refused),
		         same ? "codec state of another size needs another version"
		              : "codec state of another version needs migrate");
		return mock_no(m, OB_E_STATE);
	}
	int rc = reg_add(m, REG_CODEC, 0, codec->name, &reg);
	if (rc == 0) {
		reg->codec = *codec;
		reg->codec.name = reg->name;
	}
	return rc;
}

void ob__mock_reg_codecs_live(ob_mock *m)
{
	for (size_t i = 0; i < m->regs.len; i++) {
		const struct reg *reg = m->regs.at[i];
		if (reg->kind == REG_CODEC) {
			(void)json_object_set_new(m->world->codecs, reg->name,
			                          json_pack("[I, I, b]",
			                                    (json_int_t)reg->codec.state_ver,
			                                    (json_int_t)reg->codec.state_size,
			                                    reg->codec.open != NULL));
		}
	}
}

int ob__mock_reg_policy(ob_mock *m, const char *name, ob_policy_fn fn)
{
	struct reg *reg;

	if (fn == NULL || name == NULL || *name == '\0' || strlen(name) > 255) {
		return mock_no(m, OB_E_INVAL);
	}
	int rc = reg_add(m, REG_POLICY, 0, name, &reg);
	if (rc == 0) {
		reg->fn.policy = fn;
	}
	return rc;
}

static bool transport_known(const char *transport, bool with_tls)
{
	static const char *const plain[] = {"ws", "tcp", "tcp+ws", "unix"};
	static const char *const secure[] = {"wss", "tls", "tls+wss"};
	const char *const *words = with_tls ? secure : plain;
	size_t n = with_tls ? sizeof(secure) / sizeof(*secure) : sizeof(plain) / sizeof(*plain);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(words[i], transport) == 0) {
			return true;
		}
	}
	return false;
}

/* One of a module that was made for 1.0 ends before the files. */
static bool listen_ok(const ob_listen_options *o)
{
	size_t old = offsetof(ob_listen_options, tls_cert);

	if (o == NULL || (o->size != sizeof(*o) && o->size != old) || o->transport == NULL ||
	    o->codec == NULL || *o->codec == '\0' ||
	    !transport_known(o->transport, o->size != old && o->tls_cert != NULL)) {
		return false;
	}
	bool unix_socket = strcmp(o->transport, "unix") == 0;
	return unix_socket ? o->path != NULL && strlen(o->path) < 108 && *o->path != '\0'
	                   : o->path == NULL && (o->host == NULL || strlen(o->host) < 256);
}

static int keep_file(const char **at, char **text)
{
	*text = *at != NULL ? strdup(*at) : NULL;
	if (*at != NULL && *text == NULL) {
		return OB_E_NOMEM;
	}
	*at = *text;
	return 0;
}

int ob__mock_reg_listen(ob_mock *m, const ob_listen_options *o)
{
	char name[NAME_MAX_LEN];
	struct reg *reg;

	if (!listen_ok(o)) {
		return mock_no(m, OB_E_INVAL);
	}
	if (m->phase != PHASE_STARTING) {
		return mock_no(m, OB_E_STATE);
	}
	if (o->path != NULL) {
		snprintf(name, sizeof(name), "unix:%s", o->path);
	} else if (o->port != 0) {
		snprintf(name, sizeof(name), "%s:%u", o->host != NULL ? o->host : "", o->port);
	} else { /* any port: never the same one */
		snprintf(name, sizeof(name), "any:%zu", m->regs.len);
	}
	int rc = reg_add(m, REG_LISTEN, 0, name, &reg);
	if (rc != 0) {
		return rc;
	}
	const char *last = o->path != NULL ? o->path : o->host;
	reg->text[0] = strdup(o->transport);
	reg->text[1] = strdup(o->codec);
	reg->text[2] = last != NULL ? strdup(last) : NULL;
	if (reg->text[0] == NULL || reg->text[1] == NULL || (last != NULL && !reg->text[2])) {
		reg_undo(m, 0);
		return OB_E_NOMEM;
	}
	memcpy(&reg->listen, o, o->size);
	reg->listen.size = sizeof(reg->listen);
	reg->listen.transport = reg->text[0];
	reg->listen.codec = reg->text[1];
	reg->listen.path = o->path != NULL ? reg->text[2] : NULL;
	reg->listen.host = o->path == NULL ? reg->text[2] : NULL;
	int kept = keep_file(&reg->listen.tls_cert, &reg->text[3]);
	kept = kept == 0 ? keep_file(&reg->listen.tls_key, &reg->text[4]) : kept;
	kept = kept == 0 ? keep_file(&reg->listen.tls_ca, &reg->text[5]) : kept;
	if (kept != 0) {
		reg_undo(m, 0);
	}
	return kept;
}

/* As of a module, which names of transports follow. */
static bool plain_name(const char *name)
{
	size_t len = name != NULL ? strspn(name, "abcdefghijklmnopqrstuvwxyz"
	                                         "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
	                          : 0;

	return len > 0 && len < 64 && name[len] == '\0';
}

static bool transport_ok(const ob_transport *t)
{
	return t != NULL && t->size == sizeof(*t) && t->dial != NULL && plain_name(t->name) &&
	       (t->flags & ~OB_TRANSPORT_LOCAL) == 0;
}

int ob__mock_reg_transport(ob_mock *m, const ob_transport *t)
{
	static const char *const built_in[] = {"tcp", "unix", "tls", "ws"};
	struct reg *reg;

	if (!transport_ok(t)) {
		return mock_no(m, OB_E_INVAL);
	}
	for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++) {
		if (strcmp(built_in[i], t->name) == 0) {
			return mock_no(m, OB_E_EXISTS);
		}
	}
	int rc = reg_add(m, REG_TRANSPORT, 0, t->name, &reg);
	if (rc == 0) {
		reg->transport = *t;
		reg->transport.name = reg->name;
	}
	return rc;
}

int ob__mock_reg_client_transport(ob_mock *m, const ob_client_transport *t)
{
	static const char *const built_in[] = {"ws", "wss", "tcp", "tls", "unix"};
	struct reg *reg;

	if (t == NULL || t->size != sizeof(*t) || t->flags != 0 || t->open == NULL ||
	    t->accept == NULL || t->close == NULL || t->keep == NULL || !plain_name(t->name)) {
		return mock_no(m, OB_E_INVAL);
	}
	for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++) {
		if (strcmp(built_in[i], t->name) == 0) {
			return mock_no(m, OB_E_EXISTS);
		}
	}
	if (m->phase != PHASE_STARTING) {
		return mock_no(m, OB_E_STATE);
	}
	int rc = reg_add(m, REG_CLIENT_TRANSPORT, 0, t->name, &reg);
	if (rc == 0) {
		reg->client_transport = *t;
		reg->client_transport.name = reg->name;
	}
	return rc;
}

void ob__mock_reg_drop(ob_mock *m)
{
	for (size_t i = 0; i < m->regs.len; i++) {
		reg_free(m->regs.at[i]);
	}
	free(m->regs.at);
	m->regs = (struct vec){NULL, 0, 0};
	json_object_clear(m->taken);
}

/* ---- finding ---- */

static const struct reg *reg_at_key(const ob_mock *m, const char *key)
{
	const json_t *at = json_object_get(m->taken, key);

	return at != NULL ? vec_get(&m->regs, (size_t)json_integer_value(at)) : NULL;
}

const struct reg *ob__mock_reg_exact_id(const ob_mock *m, bool client, uint32_t id)
{
	char key[64];

	key_of(client ? REG_CLIENT_ID : REG_LINK_ID, id, NULL, key, sizeof(key));
	return reg_at_key(m, key);
}

const struct reg *ob__mock_reg_by_id(const ob_mock *m, bool client, uint32_t id)
{
	const struct reg *reg = ob__mock_reg_exact_id(m, client, id);

	return reg != NULL ? reg : ob__mock_reg_exact_id(m, client, 0);
}

const struct reg *ob__mock_reg_by_name(const ob_mock *m, enum reg_kind kind, const char *name)
{
	char key[NAME_MAX_LEN + 16];

	if (name == NULL || strlen(name) >= NAME_MAX_LEN) {
		return NULL;
	}
	key_of(kind, 0, name, key, sizeof(key));
	return reg_at_key(m, key);
}

const struct reg *ob__mock_reg_one(const ob_mock *m, enum reg_kind kind)
{
	for (size_t i = 0; i < m->regs.len; i++) {
		const struct reg *reg = m->regs.at[i];
		if (reg->kind == kind) {
			return reg;
		}
	}
	return NULL;
}

static const struct reg *http_exact(const ob_mock *m, const char *method, const char *path,
                                    size_t len, const char *star)
{
	const char *words[] = {method, "*"};
	char name[NAME_MAX_LEN];

	for (size_t i = 0; i < 2; i++) {
		int n = snprintf(name, sizeof(name), "%s %.*s%s", words[i], (int)len, path, star);
		const struct reg *reg = n > 0 && (size_t)n < sizeof(name)
		                                ? ob__mock_reg_by_name(m, REG_HTTP, name)
		                                : NULL;
		if (reg != NULL) {
			return reg;
		}
	}
	return NULL;
}

const struct reg *ob__mock_reg_find_http(const ob_mock *m, const char *method, const char *path,
                                         const char **tail)
{
	size_t len = strlen(path);
	const struct reg *reg = http_exact(m, method, path, len, "");

	*tail = "";
	for (size_t n = len; reg == NULL && n > 0; n--) {
		if (path[n - 1] == '/' && (reg = http_exact(m, method, path, n, "*")) != NULL) {
			*tail = path + n;
		}
	}
	return reg;
}

void ob__mock_reg_http_methods(const ob_mock *m, const char *path, char *out, size_t cap)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < m->regs.len; i++) {
		const struct reg *reg = m->regs.at[i];
		if (reg->kind != REG_HTTP) {
			continue;
		}
		const char *p = strchr(reg->name, ' ') + 1;
		size_t len = strlen(p);
		if (p[len - 1] == '*' ? strncmp(p, path, len - 1) != 0 : strcmp(p, path) != 0) {
			continue;
		}
		int n = snprintf(out + at, cap - at, "%s%.*s", at > 0 ? ", " : "",
		                 (int)(p - 1 - reg->name), reg->name);
		if (n < 0 || (size_t)n >= cap - at) {
			out[at] = '\0';
			return;
		}
		at += (size_t)n;
	}
}

size_t ob_mock_registered(const ob_mock *m)
{
	return m->regs.len;
}

const ob_codec *ob_mock_codec(const ob_mock *m, const char *name)
{
	const struct reg *reg = ob__mock_reg_by_name(m, REG_CODEC, name);

	return reg != NULL ? &reg->codec : NULL;
}

/* What decode and wake can say alike. */
static bool said_ok(ob_mock *m, const ob_packet *p)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";

	if (p->kind == OB_PACKET_ANSWER && p->len > 0 && p->data == NULL) {
		ob__mock_fail(m, "an answer of %zu bytes that are nowhere", p->len);
		return false;
	}
	size_t len = p->kind_word != NULL ? strnlen(p->kind_word, 32) : 1;
	if (len == 0 || len > 31 ||
	    (p->kind_word != NULL && strspn(p->kind_word, letters) != len)) {
		ob__mock_fail(m, "kind_word is 1 to 31 of a to z and _");
		return false;
	}
	return true;
}

/* Bytes of the input may be given out as far as they are consumed; others are the codec's own. */
static bool reaches_beyond(const uint8_t *out, size_t out_len, const uint8_t *data, size_t used,
                           size_t len)
{
	return out != NULL && out_len > 0 && out >= data && out <= data + len &&
	       out + out_len > data + used;
}

ssize_t ob_mock_decode(ob_mock *m, const char *name, void *state, uint8_t *data, size_t len,
                       bool boundary, size_t max, ob_packet *out)
{
	const ob_codec *codec = ob_mock_codec(m, name);

	if (codec == NULL) {
		return OB_E_NOT_FOUND;
	}
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	if (len == 0) {
		ob__mock_fail(m, "decode is called with at least one byte");
		return OB_E_INVAL;
	}
	size_t n = codec->decode(&m->ctx, state, data, len, boundary, max, out);
	bool resumes = (codec->flags & OB_CODEC_RESUMES) != 0;
	bool takes = out->kind == OB_PACKET_MESSAGE || out->kind == OB_PACKET_SKIP ||
	             out->kind == OB_PACKET_ANSWER ||
	             (resumes && (out->kind == OB_PACKET_HELLO || out->kind == OB_PACKET_SEEN));
	if (!takes && out->kind != OB_PACKET_NEED && out->kind != OB_PACKET_CLOSE) {
		ob__mock_fail(m, "decode gave kind %d", out->kind);
	} else if (n > len || (n == 0) == takes) {
		ob__mock_fail(m, "decode consumed %zu of %zu bytes with kind %d", n, len,
		              out->kind);
	} else if (out->kind == OB_PACKET_NEED && out->need <= len) {
		ob__mock_fail(m, "decode needs %zu bytes and has %zu", out->need, len);
	} else if (out->kind == OB_PACKET_MESSAGE &&
	           reaches_beyond(out->data, out->len, data, n, len)) {
		ob__mock_fail(m, "decode's payload lies outside what it consumed");
	} else if (out->kind == OB_PACKET_MESSAGE &&
	           reaches_beyond((const uint8_t *)out->name, out->name_len, data, n, len)) {
		ob__mock_fail(m, "decode's name lies outside what it consumed");
	} else if (said_ok(m, out)) {
		return (ssize_t)n;
	}
	return OB_E_BAD;
}

int ob_mock_codec_check(ob_mock *m, const char *name, const ob_codec_open *info, ob_err *err)
{
	const ob_codec *codec = ob_mock_codec(m, name);

	err->text[0] = '\0';
	if (codec == NULL) {
		return OB_E_NOT_FOUND;
	}
	ob_codec_open full = *info;
	full.size = sizeof(full);
	full.arg = codec->arg;
	full.wake_ms = NULL;
	full.idle_ms = NULL;
	if (codec->conf_check == NULL) {
		bool unheard = codec->open == NULL && (info->encode != 0 || info->conf != NULL);
		return unheard ? ob_err_set(err, "the codec has no conf_check and no open") : 0;
	}
	int rc = codec->conf_check(&m->ctx, &full, err);
	if (rc < 0 && err->text[0] == '\0') {
		ob__mock_fail(m, "conf_check gave no reason");
	}
	return rc < 0 ? rc : 0;
}

int ob_mock_codec_open(ob_mock *m, const char *name, void *state, const ob_codec_open *info)
{
	const ob_codec *codec = ob_mock_codec(m, name);
	ob_codec_open full = {.transport = "ws"};
	uint32_t unheard[3] = {0, 0, 0};

	if (codec == NULL) {
		return OB_E_NOT_FOUND;
	}
	if (info != NULL) {
		full = *info;
	}
	full.wake_ms = full.wake_ms != NULL ? full.wake_ms : &unheard[0];
	full.idle_ms = full.idle_ms != NULL ? full.idle_ms : &unheard[1];
	full.no_hello = full.no_hello != NULL ? full.no_hello : &unheard[2];
	full.size = sizeof(full);
	full.arg = codec->arg;
	int rc = codec->open != NULL ? codec->open(&m->ctx, state, &full) : 0;
	return rc < 0 ? rc : 0;
}

ssize_t ob_mock_codec_close(ob_mock *m, const char *name, void *state, uint16_t code,
                            const char *reason, uint8_t *out, size_t cap)
{
	const ob_codec *codec = ob_mock_codec(m, name);

	if (codec == NULL) {
		return OB_E_NOT_FOUND;
	}
	if (cap < OB_CODEC_LAST_WORDS) {
		ob__mock_fail(m, "close is given room for OB_CODEC_LAST_WORDS bytes");
		return OB_E_INVAL;
	}
	size_t n = codec->close != NULL ? codec->close(&m->ctx, state, code, reason, out, cap) : 0;
	if (n > cap) {
		ob__mock_fail(m, "close wrote %zu bytes into %zu", n, cap);
		return OB_E_BAD;
	}
	return (ssize_t)n;
}

int ob_mock_codec_wake(ob_mock *m, const char *name, void *state, ob_packet *out)
{
	const ob_codec *codec = ob_mock_codec(m, name);

	if (codec == NULL || codec->wake == NULL) {
		return OB_E_NOT_FOUND;
	}
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	size_t n = codec->wake(&m->ctx, state, out);
	if (n != 0) {
		ob__mock_fail(m, "wake returned %zu", n);
	} else if (out->kind != OB_PACKET_SKIP && out->kind != OB_PACKET_ANSWER &&
	           out->kind != OB_PACKET_CLOSE) {
		ob__mock_fail(m, "wake gave kind %d", out->kind);
	} else if (said_ok(m, out)) {
		return 0;
	}
	return OB_E_BAD;
}

ssize_t ob_mock_encode(ob_mock *m, const char *name, void *state, ob_packet *packet, uint8_t *out,
                       size_t cap)
{
	const ob_codec *codec = ob_mock_codec(m, name);

	if (codec == NULL) {
		return OB_E_NOT_FOUND;
	}
	packet->size = sizeof(*packet);
	if (cap < packet->len + codec->overhead) {
		ob__mock_fail(m, "encode is given room for the payload and its overhead");
		return OB_E_INVAL;
	}
	return (ssize_t)codec->encode(&m->ctx, state, packet, out, cap);
}

int ob_mock_choose(ob_mock *m, const char *name, const ob_choice *choice)
{
	const struct reg *reg = ob__mock_reg_by_name(m, REG_POLICY, name);

	if (reg == NULL) {
		return OB_E_NOT_FOUND;
	}
	int i = reg->fn.policy(&m->ctx, choice);
	if (i >= 0 && (size_t)i >= choice->len) {
		ob__mock_fail(m, "the policy chose %d of %zu", i, choice->len);
		return OB_E_APP;
	}
	return i;
}

const ob_listen_options *ob_mock_listen_at(const ob_mock *m, size_t i)
{
	for (size_t k = 0; k < m->regs.len; k++) {
		const struct reg *reg = m->regs.at[k];
		if (reg->kind == REG_LISTEN && i-- == 0) {
			return &reg->listen;
		}
	}
	return NULL;
}

const ob_client_transport *ob_mock_client_transport_at(const ob_mock *m, size_t i)
{
	for (size_t k = 0; k < m->regs.len; k++) {
		const struct reg *reg = m->regs.at[k];
		if (reg->kind == REG_CLIENT_TRANSPORT && i-- == 0) {
			return &reg->client_transport;
		}
	}
	return NULL;
}

const ob_transport *ob_mock_transport_at(const ob_mock *m, size_t i)
{
	for (size_t k = 0; k < m->regs.len; k++) {
		const struct reg *reg = m->regs.at[k];
		if (reg->kind == REG_TRANSPORT && i-- == 0) {
			return &reg->transport;
		}
	}
	return NULL;
}

int ob_mock_socket(ob_mock *m, const char *name, const char *address, bool listens, int *fd,
                   ob_err *err)
{
	const struct reg *reg = ob__mock_reg_by_name(m, REG_TRANSPORT, name);
	int type = 0;
	socklen_t len = sizeof(type);

	*fd = -1;
	err->text[0] = '\0';
	if (reg == NULL || (listens && reg->transport.listen == NULL)) {
		return OB_E_NOT_FOUND;
	}
	const ob_transport *t = &reg->transport;
	int rc =
		listens ? t->listen(&m->ctx, address, fd, err) : t->dial(&m->ctx, address, fd, err);
	if (rc > 0) {
		ob__mock_fail(m, "the transport answered %d, which is no code", rc);
		return OB_E_APP;
	}
	if (rc == 0 &&
	    (getsockopt(*fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)) {
		ob__mock_fail(m, "the transport gave descriptor %d, which is no stream socket",
		              *fd);
		return OB_E_APP;
	}
	if (rc == 0 && (fcntl(*fd, F_GETFL) & O_NONBLOCK) == 0) {
		ob__mock_fail(m, "the transport gave a socket that blocks: it has waited itself");
		close(*fd);
		*fd = -1;
		return OB_E_APP;
	}
	return rc;
}
