/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fnv.h"

/* ---- small things ---- */

void ob__mock_fail(ob_mock *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->error, sizeof(m->error), fmt, ap);
	va_end(ap);
}

uint8_t *ob__mock_copy(const void *data, size_t len)
{
	uint8_t *copy = malloc(len + 1);

	if (copy != NULL) {
		if (len > 0) {
			memcpy(copy, data, len);
		}
		copy[len] = 0;
	}
	return copy;
}

uint32_t ob__mock_role(const char *word)
{
	return ob__fnv1a32(word);
}

uint64_t ob_mock_node_id(const char *name)
{
	return ob__fnv1a64_of(name, strlen(name));
}

static const struct {
	int code;
	int status; /* 0: never the end of a request */
	const char *sentence;
} results[] = {
	{OB_OK, 200, "ok"},
	{OB_E_APP, 500, "the handler failed"},
	{OB_E_NOT_FOUND, 404, "no handler for it"},
	{OB_E_NO_ROUTE, 503, "no live node for it"},
	{OB_E_BUSY, 503, "too busy"},
	{OB_E_DEADLINE, 504, "no answer in time"},
	{OB_E_NOT_SENT, 503, "the link broke before it was sent"},
	{OB_E_MAYBE_SENT, 502, "the link broke, it may have been sent"},
	{OB_E_GONE, 503, "who held it is gone"},
	{OB_E_DENIED, 403, "not allowed"},
	{OB_E_TOO_BIG, 413, "too big"},
	{OB_E_BAD, 400, "not what the handler reads"},
	{OB_E_STALE, 0, "what the handle stood for is gone"},
	{OB_E_STATE, 0, "not possible in this state"},
	{OB_E_DEAD, 0, "this generation has been taken out"},
	{OB_E_EXISTS, 0, "another module has it already"},
	{OB_E_INVAL, 0, "an argument makes no sense"},
	{OB_E_NOMEM, 0, "out of memory"},
	{OB_E_LIMIT, 0, "a limit is reached"},
};

const char *ob__mock_strerror(int code)
{
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		if (results[i].code == code) {
			return results[i].sentence;
		}
	}
	return code < 0 && code > -4096 ? strerror(-code) : "unknown error";
}

int ob__mock_status(int code)
{
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		if (results[i].code == code && results[i].status != 0) {
			return results[i].status;
		}
	}
	return 500;
}

const char *ob_mock_error(const ob_mock *m)
{
	return m->error;
}

ob_ctx *ob_mock_ctx(ob_mock *m)
{
	return &m->ctx;
}

/* ---- making one ---- */

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	if (w != NULL) {
		w->now = 1000;
		w->next_seq = OWN_SEQ;
		w->codecs = json_object();
		w->names = json_object();
	}
	return w;
}

static bool desc_ok(const ob_module_desc *desc)
{
	return desc != NULL && desc->magic == OB_MODULE_MAGIC && desc->abi_major == OB_ABI_MAJOR &&
	       desc->abi_minor <= OB_ABI_MINOR && desc->size >= offsetof(ob_module_desc, check) &&
	       desc->name != NULL;
}

static ob_mock *mock_new(struct world *w, const ob_module_desc *desc, const json_t *conf)
{
	ob_mock *m = w != NULL && desc_ok(desc) ? calloc(1, sizeof(*m)) : NULL;

	if (m == NULL) {
		return NULL;
	}
	w->refs++;
	m->world = w;
	m->ctx.api = &ob__mock_api;
	memcpy(&m->desc, desc, desc->size < sizeof(m->desc) ? desc->size : sizeof(m->desc));
	m->generation = ++w->last_generation;
	m->queue_end = &m->queue;
	pthread_mutex_init(&m->lock, NULL);
	m->conf = conf != NULL ? json_deep_copy(conf) : json_object();
	m->node_conf = json_object();
	m->secrets = json_object();
	m->taken = json_object();
	snprintf(m->name, sizeof(m->name), "mock");
	snprintf(m->role, sizeof(m->role), "service");
	if (m->conf == NULL || m->node_conf == NULL || m->secrets == NULL || m->taken == NULL) {
		ob_mock_free(m);
		return NULL;
	}
	return m;
}

ob_mock *ob_mock_new(const ob_module_desc *desc, const json_t *conf)
{
	struct world *w = world_new();
	ob_mock *m = mock_new(w, desc, conf);

	if (m == NULL && w != NULL && w->refs == 0) {
		w->refs = 1;
		ob__mock_world_unref(w);
	}
	return m;
}

ob_mock *ob_mock_next(ob_mock *before, const ob_module_desc *desc, const json_t *conf)
{
	ob_mock *m = mock_new(before->world, desc, conf);

	if (m == NULL) {
		return NULL;
	}
	memcpy(m->name, before->name, sizeof(m->name));
	memcpy(m->role, before->role, sizeof(m->role));
	m->admin = before->admin;
	m->verbs = json_incref(before->verbs);
	json_decref(m->node_conf);
	json_decref(m->secrets);
	m->node_conf = json_deep_copy(before->node_conf);
	m->secrets = json_deep_copy(before->secrets);
	for (size_t i = 0; i < before->routes.len; i++) {
		const struct route *r = before->routes.at[i];
		(void)ob_mock_route(m, r->first, r->last, r->role);
	}
	if (m->node_conf == NULL || m->secrets == NULL || m->routes.len != before->routes.len) {
		ob_mock_free(m);
		return NULL;
	}
	return m;
}

static void lines_free(ob_mock *m)
{
	for (size_t i = 0; i < m->lines.len; i++) {
		free(m->lines.at[i]);
	}
	free(m->lines.at);
}

static void routes_free(ob_mock *m)
{
	for (size_t i = 0; i < m->routes.len; i++) {
		struct route *r = m->routes.at[i];
		free(r->role);
		free(r);
	}
	free(m->routes.at);
}

void ob_mock_free(ob_mock *m)
{
	if (m == NULL) {
		return;
	}
	if (m->phase != PHASE_NEW && m->phase != PHASE_STOPPED) {
		(void)ob_mock_stop(m);
	}
	ob__mock_work_free(m);
	ob__mock_states_free(m);
	ob__mock_events_free(m);
	ob__mock_outs_free(m);
	ob__mock_requests_free(m);
	ob__mock_reg_drop(m);
	ob__mock_memory_drop(m);
	lines_free(m);
	routes_free(m);
	json_decref(m->conf);
	json_decref(m->node_conf);
	json_decref(m->secrets);
	json_decref(m->taken);
	json_decref(m->verbs);
	json_decref(m->role_sizes);
	pthread_mutex_destroy(&m->lock);
	ob__mock_world_unref(m->world);
	free(m);
}

/* ---- what the node is like ---- */

int ob_mock_node(ob_mock *m, const char *name, const char *role)
{
	if (m->phase != PHASE_NEW) {
		return mock_no(m, OB_E_STATE);
	}
	if (*name == '\0' || strlen(name) >= sizeof(m->name) || *role == '\0' ||
	    strlen(role) >= sizeof(m->role)) {
		return OB_E_INVAL;
	}
	snprintf(m->name, sizeof(m->name), "%s", name);
	snprintf(m->role, sizeof(m->role), "%s", role);
	return 0;
}

/* The value at a dotted path, or NULL. */
static json_t *find_path(json_t *root, const char *path)
{
	json_t *at = root;

	while (at != NULL && path != NULL && *path != '\0') {
		size_t len = strcspn(path, ".");
		char key[128];
		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		at = json_object_get(at, key);
		path += len + (path[len] == '.');
	}
	return at;
}

int ob_mock_config(ob_mock *m, const char *path, json_t *value_stolen)
{
	const char *dot = strrchr(path, '.');
	json_t *at = m->node_conf;
	char key[128];

	while (dot != NULL && path < dot) {
		size_t len = strcspn(path, ".");
		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		json_t *below = json_object_get(at, key);
		if (!json_is_object(below)) {
			below = json_object();
			if (json_object_set_new(at, key, below) != 0) {
				json_decref(value_stolen);
				return OB_E_NOMEM;
			}
		}
		at = below;
		path += len + 1;
	}
	if (*path == '\0' || value_stolen == NULL) {
		json_decref(value_stolen);
		return OB_E_INVAL;
	}
	return json_object_set_new(at, path, value_stolen) == 0 ? 0 : OB_E_INVAL;
}

int ob_mock_secret(ob_mock *m, const char *path, const char *text)
{
	if (json_object_set_new(m->secrets, path, json_string(text)) != 0) {
		return OB_E_INVAL;
	}
	return ob_mock_config(m, path, json_string("***"));
}

const char *ob__mock_secret(const ob_mock *m, const char *path)
{
	return json_string_value(json_object_get(m->secrets, path));
}

int64_t ob__mock_number(const ob_mock *m, const char *path, int64_t otherwise)
{
	const json_t *value = find_path(m->node_conf, path);

	return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
	                                                                : otherwise;
}

const json_t *ob__mock_config(const ob_mock *m, const char *path)
{
	return find_path(m->node_conf, path);
}

int ob_mock_route(ob_mock *m, uint32_t first, uint32_t last, const char *role)
{
	struct route *r = first <= last ? calloc(1, sizeof(*r)) : NULL;

	if (r == NULL) {
		return first <= last ? OB_E_NOMEM : OB_E_INVAL;
	}
	*r = (struct route){first, last, strdup(role)};
	int rc = r->role != NULL ? ob__mock_vec_add(&m->routes, r) : OB_E_NOMEM;
	if (rc != 0) {
		free(r->role);
		free(r);
	}
	return rc;
}

void ob_mock_admin(ob_mock *m, bool admin)
{
	m->admin = admin;
}

int ob_mock_verbs(ob_mock *m, json_t *verbs_stolen)
{
	if (!json_is_array(json_object_get(verbs_stolen, "verbs"))) {
		json_decref(verbs_stolen);
		return OB_E_INVAL;
	}
	json_decref(m->verbs);
	json_decref(m->role_sizes);
	m->verbs = verbs_stolen;
	return 0;
}

void ob_mock_rehearse(ob_mock *m, bool rehearsing)
{
	m->rehearsing = rehearsing;
}

/* ---- life ---- */

/* Keeps the module's words, or the code's. */
static int failed(ob_mock *m, const char *hook, int rc)
{
	char text[64];

	snprintf(text, sizeof(text), "it returned %d, which is no code", rc);
	ob__mock_fail(m, "%s: %s%s%s", hook, m->refused, m->refused[0] != '\0' ? ": " : "",
	              rc > 0 ? text : ob__mock_strerror(rc));
	return rc;
}

static int out_of_order(ob_mock *m, const char *hook)
{
	ob__mock_fail(m, "%s: not at this point of its life", hook);
	return mock_no(m, OB_E_STATE);
}

static void begin_hook(ob_mock *m)
{
	m->error[0] = '\0';
	m->refused[0] = '\0';
}

int ob_mock_check(ob_mock *m)
{
	ob_err err = {.text = ""};

	begin_hook(m);
	if (m->phase == PHASE_STOPPED) {
		return out_of_order(m, "check");
	}
	int rc = m->desc.check != NULL ? m->desc.check(m->conf, &err) : 0;
	if (rc != 0) {
		err.text[sizeof(err.text) - 1] = '\0';
		ob__mock_fail(m, "check: %s",
		              err.text[0] != '\0' ? err.text : ob__mock_strerror(rc));
	}
	return rc;
}

int ob_mock_start(ob_mock *m)
{
	begin_hook(m);
	if (m->phase != PHASE_NEW) {
		return out_of_order(m, "start");
	}
	m->phase = PHASE_STARTING;
	int rc = m->desc.start != NULL ? m->desc.start(&m->ctx, m->conf) : 0;
	if (rc != 0) {
		m->phase = PHASE_NEW;
		ob__mock_reg_drop(m);
		ob__mock_memory_drop(m);
		ob__mock_work_free(m);
		return failed(m, "start", rc);
	}
	return 0;
}

int ob_mock_selftest(ob_mock *m)
{
	begin_hook(m);
	if (m->phase != PHASE_STARTING) {
		return out_of_order(m, "selftest");
	}
	int rc = m->desc.selftest != NULL ? m->desc.selftest(&m->ctx) : 0;
	return rc != 0 ? failed(m, "selftest", rc) : 0;
}

int ob_mock_live(ob_mock *m)
{
	begin_hook(m);
	if (m->phase != PHASE_STARTING) {
		return out_of_order(m, "live");
	}
	m->phase = PHASE_LIVE;
	ob__mock_memory_commit(m);
	ob__mock_reg_codecs_live(m);
	if (m->desc.live != NULL) {
		m->desc.live(&m->ctx);
	}
	return 0;
}

int ob_mock_begin(ob_mock *m)
{
	int rc = ob_mock_check(m);

	rc = rc == 0 ? ob_mock_start(m) : rc;
	rc = rc == 0 ? ob_mock_selftest(m) : rc;
	return rc == 0 ? ob_mock_live(m) : rc;
}

int ob_mock_drain(ob_mock *m)
{
	begin_hook(m);
	if (m->phase != PHASE_LIVE && m->phase != PHASE_STANDBY) {
		return out_of_order(m, "drain");
	}
	m->phase = PHASE_DRAINING;
	ob__mock_work_drain(m);
	if (m->desc.drain != NULL) {
		m->desc.drain(&m->ctx);
	}
	return 0;
}

int ob_mock_resume(ob_mock *m)
{
	begin_hook(m);
	if (m->phase != PHASE_STANDBY) {
		return out_of_order(m, "resume");
	}
	m->phase = PHASE_LIVE;
	ob__mock_memory_commit(m);
	ob__mock_reg_codecs_live(m);
	if (m->desc.resume != NULL) {
		m->desc.resume(&m->ctx);
	}
	return 0;
}

int ob_mock_reconf(ob_mock *m, const json_t *conf)
{
	json_t *fresh = json_deep_copy(conf);
	ob_err err = {.text = ""};
	int rc = fresh != NULL ? 0 : OB_E_NOMEM;

	begin_hook(m);
	if (rc == 0 && m->phase != PHASE_LIVE) {
		rc = out_of_order(m, "reconf");
	}
	if (rc == 0 && m->desc.reconf != NULL) {
		rc = m->desc.reconf(&m->ctx, fresh, OB_RECONF_CHECK, &err);
		if (rc == 0) {
			rc = m->desc.reconf(&m->ctx, fresh, OB_RECONF_APPLY, &err);
		}
		if (rc != 0) {
			err.text[sizeof(err.text) - 1] = '\0';
			ob__mock_fail(m, "reconf: %s",
			              err.text[0] != '\0' ? err.text : ob__mock_strerror(rc));
		}
	}
	if (rc != 0) {
		json_decref(fresh);
		return rc;
	}
	json_decref(m->conf);
	m->conf = fresh;
	return 0;
}

int ob_mock_stop(ob_mock *m)
{
	begin_hook(m);
	if (m->phase == PHASE_NEW || m->phase == PHASE_STOPPED) {
		return out_of_order(m, "stop");
	}
	if (m->phase == PHASE_LIVE || m->phase == PHASE_STANDBY) {
		(void)ob_mock_drain(m);
	}
	if (m->phase == PHASE_DRAINING) {
		ob_mock_run(m);
		m->draining_over = true;
		ob__mock_work_expire(m);
		ob__mock_outs_expire(m);
		ob_mock_run(m);
	}
	if (m->desc.stop != NULL) {
		m->desc.stop(&m->ctx);
	}
	m->phase = PHASE_STOPPED;
	ob__mock_work_free(m);
	ob__mock_reg_drop(m);
	ob__mock_memory_drop(m);
	return 0;
}

/* ---- state from one generation to another ---- */

ob_mock_blob *ob_mock_save(ob_mock *m, uint32_t version)
{
	begin_hook(m);
	if (!mock_live(m) && m->phase != PHASE_STANDBY) {
		(void)out_of_order(m, "save");
		return NULL;
	}
	if (m->desc.save == NULL || version == 0 || version > m->desc.state_write) {
		ob__mock_fail(m, "save: the module writes versions up to %u, not %u",
		              m->desc.save != NULL ? m->desc.state_write : 0, version);
		return NULL;
	}
	ob_mock_blob *b = ob_mock_blob_new(version);
	if (b == NULL) {
		return NULL;
	}
	m->saving = b;
	int rc = m->desc.save(&m->ctx, (ob_writer *)b, version);
	m->saving = NULL;
	rc = rc != 0 ? rc : b->error;
	if (rc != 0) {
		(void)failed(m, "save", rc);
		ob_mock_blob_free(b);
		return NULL;
	}
	return b;
}

int ob_mock_load(ob_mock *m, ob_mock_blob *b)
{
	begin_hook(m);
	if (m->phase != PHASE_STARTING && m->phase != PHASE_STANDBY) {
		return out_of_order(m, "load");
	}
	if (m->desc.load == NULL || b->version < m->desc.state_read_min ||
	    b->version > m->desc.state_write) {
		ob__mock_fail(m, "load: the module reads versions %u to %u, not %u",
		              m->desc.state_read_min, m->desc.state_write, b->version);
		return OB_E_INVAL;
	}
	for (size_t i = 0; i < b->sections.len; i++) {
		((struct section *)b->sections.at[i])->seen = false;
	}
	b->at = 0;
	m->loading = b;
	int rc = m->desc.load(&m->ctx, (ob_reader *)b, b->version);
	m->loading = NULL;
	if (rc != 0) {
		return failed(m, "load", rc);
	}
	for (size_t i = 0; i < b->sections.len; i++) {
		const struct section *s = b->sections.at[i];
		if ((s->flags & OB_SECTION_CRITICAL) != 0 && !s->seen) {
			ob__mock_fail(m, "load: critical section %u was not read", s->tag);
			return OB_E_INVAL;
		}
	}
	return 0;
}

/* The state goes over if the versions differ. */
static int hand_over(ob_mock *from, ob_mock *to)
{
	uint32_t a = from->desc.state_write;
	uint32_t b = to->desc.state_write;

	if (a == b || a == 0 || b == 0) {
		return 0;
	}
	ob_mock_blob *blob = ob_mock_save(from, a < b ? a : b);
	if (blob == NULL) {
		memcpy(to->error, from->error, sizeof(to->error));
		return OB_E_APP;
	}
	int rc = ob_mock_load(to, blob);
	ob_mock_blob_free(blob);
	return rc;
}

int ob_mock_switch(ob_mock *from, ob_mock *to)
{
	begin_hook(to);
	if (from->phase != PHASE_LIVE || to->world != from->world ||
	    (to->phase != PHASE_STARTING && to->phase != PHASE_STANDBY)) {
		return out_of_order(to, "switch");
	}
	int rc = hand_over(from, to);
	if (rc != 0) {
		return rc;
	}
	from->phase = PHASE_STANDBY;
	rc = to->phase == PHASE_STANDBY ? ob_mock_resume(to) : ob_mock_live(to);
	return rc;
}

/* ---- the log ---- */

void ob__mock_log(ob_mock *m, int level, const char *fmt, va_list ap)
{
	char text[1024];
	int len = vsnprintf(text, sizeof(text), fmt, ap);

	if (len < 0) {
		return;
	}
	size_t kept = strlen(text);
	ob_mock_line *line = malloc(sizeof(*line) + kept + 1);
	if (line == NULL) {
		return;
	}
	char *copy = (char *)(line + 1);
	memcpy(copy, text, kept + 1);
	*line = (ob_mock_line){level, copy};
	if (m->lines.len == LINES_MAX) {
		free(m->lines.at[0]);
		ob__mock_vec_del(&m->lines, 0);
	}
	if (ob__mock_vec_add(&m->lines, line) != 0) {
		free(line);
	}
}

const ob_mock_line *ob_mock_log_at(const ob_mock *m, size_t i)
{
	return vec_get(&m->lines, i);
}

bool ob_mock_logged(const ob_mock *m, const char *words)
{
	for (size_t i = 0; i < m->lines.len; i++) {
		if (strstr(((const ob_mock_line *)m->lines.at[i])->text, words) != NULL) {
			return true;
		}
	}
	return false;
}
