/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/admin/confreload.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/admin/confhistory.h"
#include "host/cluster/policy.h"
#include "host/node.h"
#include "host/swap/swap.h"
#include "host/user/users.h"

/* Keys whose change is taken over without a restart, but for the parts named beside them. */
static const struct {
	const char *key;
	const char *fixed[11];
} live_keys[] = {
	{"call_timeout", {NULL}},
	{"filters", {NULL}},
	{"http", {"port", NULL}},
	{"limits",
         {"connections", "sessions", "requests", "link_queue", "keys", "keys_bytes", "users",
          "groups", "group_members", NULL}},
	{"log_level", {NULL}},
	{"modules", {NULL}},
	{"reload", {NULL}},
	{"remote_ports", {NULL}},
	{"rpc",
         {"port", "unix", "listen", "idle", "encode", "tls", "reconnect_time", "key_time", NULL}},
	{"session_closed_id", {NULL}},
	{"sessions", {"resume", NULL}},
	{"states", {NULL}},
};

static void log_line(void *arg, enum ob__conf_severity severity, const char *line)
{
	json_t *errors = arg;

	switch (severity) {
	case OB__CONF_ERROR:
		ob__error("conf", "%s", line);
		if (errors != NULL) {
			json_array_append_new(errors, json_string(line));
		}
		return;
	case OB__CONF_WARNING:
		ob__warning("conf", "%s", line);
		return;
	case OB__CONF_INFO:
		ob__info("conf", "%s", line);
		return;
	}
}

static uint32_t role_id(void *arg, const char *word)
{
	struct ob__node *node = arg;
	uint32_t id = 0;

	return ob__registry_role(&node->registry, word, &id) == 0 ? id : 0;
}

static const char *role_word(void *arg, uint32_t id)
{
	struct ob__node *node = arg;
	const char *word = ob__registry_word(&node->registry, id);

	return word != NULL ? word : "?";
}

static struct ob__idrange *read_routes(struct ob__node *node, const struct ob__nodeconf *c,
                                       json_t *errors)
{
	return ob__nodeconf_routes(c, role_id, role_word, node, log_line, errors);
}

int ob__conf_apply_routes(struct ob__node *node)
{
	struct ob__idrange *table = read_routes(node, node->conf, NULL);

	if (table == NULL) {
		return OB_E_INVAL;
	}
	ob__router_set_table(&node->router, table);
	return 0;
}

int ob__conf_apply_policies(struct ob__node *node)
{
	const char *role = "";
	int rc = ob__policy_prepare(node, node->conf, &role);

	if (rc != 0) {
		ob__error("conf", "rpc.policy: can't take \"%s\" (%s)", role, ob__strerror(rc));
		return rc;
	}
	ob__policy_init(node);
	ob__policy_apply(node, node->conf);
	return 0;
}

int ob__conf_apply_remotes(struct ob__node *node)
{
	const struct ob__nodeconf *c = node->conf;
	struct ob__remote_options *list = calloc(c->remotes_len + 1, sizeof(*list));
	int rc = 0;

	if (list == NULL) {
		return OB_E_NOMEM;
	}
	for (size_t i = 0; i < c->remotes_len; i++) {
		const struct ob__remote_conf *m = &c->remotes[i];
		list[i] = (struct ob__remote_options){
			.host = m->host,
			.port = m->port,
			.path = m->path,
			.ways = &m->way,
			.ways_len = m->way.transport != NULL,
			.token = m->token,
			.role = m->role,
			.security = m->security.mode,
			.files = m->security.files,
		};
	}
	ob__links_retain(node->links, list, c->remotes_len);
	for (size_t i = 0; i < c->remotes_len; i++) {
		int one = ob__links_dial(node->links, &list[i]);
		if (one != 0 && one != -EEXIST) {
			ob__error("link", "remote_ports[%zu]: %s", i, ob__strerror(one));
			rc = one;
		}
	}
	free(list);
	return rc;
}

static bool is_live(const char *key, const json_t *old, const json_t *new)
{
	for (size_t i = 0; i < sizeof(live_keys) / sizeof(live_keys[0]); i++) {
		if (strcmp(live_keys[i].key, key) != 0) {
			continue;
		}
		for (const char *const *part = live_keys[i].fixed; *part != NULL; part++) {
			const json_t *was = json_object_get(old, *part);
			const json_t *is = json_object_get(new, *part);
			if (was != is && !json_equal(was, is)) {
				return false;
			}
		}
		return true;
	}
	return false;
}

/* The same modules in the same order: only their conf may have changed. */
static bool same_modules(const struct ob__nodeconf *a, const struct ob__nodeconf *b)
{
	if (a->modules_len != b->modules_len) {
		return false;
	}
	for (size_t i = 0; i < a->modules_len; i++) {
		const struct ob__module_conf *x = &a->modules[i];
		const struct ob__module_conf *y = &b->modules[i];
		if (strcmp(x->name, y->name) != 0 || x->admin != y->admin ||
		    strcmp(x->path != NULL ? x->path : "", y->path != NULL ? y->path : "") != 0) {
			return false;
		}
	}
	return true;
}

/* Names of changed keys, sorted into what is taken over and what needs a restart. */
static void compare(const struct ob__nodeconf *was_conf, const struct ob__nodeconf *is_conf,
                    json_t *applied, json_t *restart)
{
	const json_t *old = was_conf->root;
	const json_t *new = is_conf->root;
	const json_t *trees[] = {new, old};
	const char *key;
	json_t *value;

	for (size_t i = 0; i < 2; i++) {
		json_object_foreach ((json_t *)(uintptr_t)trees[i], key, value) {
			const json_t *was = json_object_get(old, key);
			const json_t *is = json_object_get(new, key);
			if ((i == 1 && is != NULL) || json_equal(was, is)) {
				continue;
			}
			bool live = is_live(key, was, is) && (strcmp(key, "modules") != 0 ||
			                                      same_modules(was_conf, is_conf));
			json_array_append_new(live ? applied : restart, json_string(key));
		}
	}
}

static const struct ob__module_conf *conf_of(const struct ob__nodeconf *c, const char *name)
{
	for (size_t i = 0; i < c->modules_len; i++) {
		if (strcmp(c->modules[i].name, name) == 0) {
			return &c->modules[i];
		}
	}
	return NULL;
}

static int check_module(const struct ob__module *m, const json_t *conf, json_t *errors)
{
	struct ob__gen *g = m->active;
	ob_err err = {""};
	int rc = 0;

	if (g->desc->check != NULL) {
		rc = g->desc->check(conf, &err);
	}
	if (rc == 0 && g->desc->reconf != NULL) {
		rc = g->desc->reconf(&g->ctx, conf, OB_RECONF_CHECK, &err);
	}
	if (rc != 0) {
		ob__make_utf8(err.text);
		json_array_append_new(
			errors, json_sprintf("modules: %s: %s", m->name,
		                             err.text[0] != '\0' ? err.text : ob__strerror(rc)));
		ob__error("conf", "modules: %s: %s", m->name,
		          err.text[0] != '\0' ? err.text : ob__strerror(rc));
	}
	return rc;
}

/* The module whose conf changes, or NULL. */
static const struct ob__module_conf *changed(const struct ob__module *m,
                                             const struct ob__nodeconf *c)
{
	const struct ob__module_conf *mc = conf_of(c, m->name);

	return mc == NULL || m->active == NULL || json_equal(mc->conf, m->conf) ? NULL : mc;
}

/* Phase one, for every module whose conf changed. */
static int check_modules(struct ob__node *node, const struct ob__nodeconf *c, json_t *errors)
{
	int failed = 0;

	OB__LIST_EACH (it, &node->modules) {
		const struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		const struct ob__module_conf *mc = changed(m, c);
		if (mc != NULL) {
			failed |= check_module(m, mc->conf, errors);
		}
	}
	return failed;
}

/* Phase two.  A module without reconf has a new generation of the same code, which was started with
 * its new conf and takes over in this very turn. */
static void reconf_modules(struct ob__node *node, const struct ob__nodeconf *c)
{
	OB__LIST_EACH (it, &node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		const struct ob__module_conf *mc = changed(m, c);
		ob_err err = {""};
		if (mc == NULL) {
			continue;
		}
		json_decref(m->conf);
		m->conf = json_incref(mc->conf);
		if (m->active->desc->reconf != NULL) {
			json_decref(m->active->conf);
			m->active->conf = json_incref(mc->conf);
			m->active->desc->reconf(&m->active->ctx, mc->conf, OB_RECONF_APPLY, &err);
		}
	}
}

/* What the listeners were bound with stays theirs until a restart. */
static void keep_bound(struct ob__node *node, struct ob__nodeconf *c)
{
	struct ob__nodeconf *old = node->conf;
	struct ob__listen_conf *listens = c->listens;
	size_t len = c->listens_len;

	c->listens = old->listens;
	c->listens_len = old->listens_len;
	old->listens = listens;
	old->listens_len = len;
}

/* What the new file's policies name is there, or an error is noted. */
static int prepare_policies(struct ob__node *node, const struct ob__nodeconf *c, json_t *errors)
{
	const char *role = "";
	int rc = ob__policy_prepare(node, c, &role);

	if (rc != 0) {
		json_array_append_new(errors, json_sprintf("rpc.policy: can't take \"%s\"", role));
		ob__error("conf", "rpc.policy: can't take \"%s\"", role);
	}
	return rc;
}

/* Links that are there stay; who knows no token of now can't make new ones. */
static void apply_tokens(struct ob__node *node)
{
	const struct ob__nodeconf *c = node->conf;
	const struct ob__links_options options = {
		.token = c->rpc_token,
		.roles = c->rpc_tokens,
		.roles_len = c->rpc_tokens_len,
	};
	int rc = ob__links_rekey(node->links, &options);

	if (rc != 0) {
		ob__error("link", "rpc: the tokens and certificates of before stay in use (%s)",
		          ob__strerror(rc));
	}
}

static void apply(struct ob__node *node, struct ob__nodeconf *c, struct ob__idrange *table)
{
	if (c->log_level != node->conf->log_level) {
		ob__log_set_level(c->log_level);
	}
	bool carries = node->conf->carry_len > 0 || c->carry_len > 0;
	keep_bound(node, c);
	json_decref(node->masked_conf);
	node->masked_conf = ob__conf_masked(c->file, ob__nodeconf_rows);
	ob__nodeconf_free(node->conf);
	node->conf = c;
	ob__router_set_table(&node->router, table);
	ob__policy_apply(node, c);
	ob__policy_check(node);
	if (carries) {
		ob__session_carry_changed(node);
	}
	ob__states_rebuild(node);
	ob__gates_refresh(node);
	apply_tokens(node);
	ob__clients_tls_take(node, true);
	if (ob__permits_apply(node) != 0) {
		ob__error("conf", "rpc.allow: out of memory, what it was stays");
	}
	ob__conf_apply_remotes(node);
	ob__cluster_describe(node);
	reconf_modules(node, c);
}

uint64_t ob__conf_keep(struct ob__node *node)
{
	size_t len;
	const char *text = ob__conf_text(node->conf->file, &len);
	uint64_t number = 0;
	int rc = ob__confhistory_add(node->dir, text, len, &number);

	if (rc != 0) {
		ob__warning("conf", "%s/conf: this configuration is not kept to return to (%s)",
		            node->dir, ob__strerror(rc));
		return 0;
	}
	return number;
}

/* The route table of a configuration that every module takes, or NULL with the errors. */
static struct ob__idrange *check_all(struct ob__node *node, const struct ob__nodeconf *c,
                                     json_t *errors)
{
	if (strcmp(c->name, node->conf->name) != 0 || strcmp(c->role, node->conf->role) != 0) {
		json_array_append_new(errors, json_string("name and type can't change while the "
		                                          "node runs"));
	}
	if (json_array_size(errors) > 0 || check_modules(node, c, errors) != 0 ||
	    prepare_policies(node, c, errors) != 0 ||
	    ob__transports_check(node, c, log_line, errors) != 0 ||
	    ob__clients_tls_read(node, errors) != 0) {
		return NULL;
	}
	return read_routes(node, c, errors);
}

/* ---- one reload, from its check to its answer ---- */

struct reload {
	struct ob__node *node;
	struct ob__nodeconf *c;    /* until it is applied */
	struct ob__idrange *table; /* until it is applied */
	json_t *report;
	uint64_t rollback; /* the version that is returned to, or 0 */
	char file[PATH_MAX];
	bool ready;
	ob__conf_reload_cb cb;
	void *arg;
};

static void reload_free(struct reload *r)
{
	ob__nodeconf_free(r->c);
	if (r->table != NULL) {
		ob__idrange_free(r->table);
		free(r->table);
	}
	json_decref(r->report);
	free(r);
}

static void again_turn(void *arg);

static void reload_end(struct reload *r, int status)
{
	r->node->conf_reloading = false;
	if (r->ready && ob__node_not_ready(r->node) == NULL) {
		ob__node_tell(r->node, OB__NOTIFY_READY,
		              status == 200 ? NULL
		                            : "; a configuration was refused, the log says why");
	}
	r->cb(r->arg, status, r->report);
	if (r->node->conf_again && ob__loop_defer(r->node->loop, again_turn, r->node) != 0) {
		ob__warning("conf", "out of memory: the configuration is not read again");
	}
	reload_free(r);
}

static void reload_refused(struct reload *r, json_t *errors_stolen)
{
	ob__clients_tls_take(r->node, false);
	ob__error("conf", "%s: not taken over; nothing has changed", r->file);
	r->report = json_pack("{s:{s:s, s:s, s:o}}", "error", "code", "conf", "message",
	                      "the configuration is not taken over", "errors", errors_stolen);
	reload_end(r, 422);
}

/* In one turn: the switch's, if modules are exchanged for it. */
static void reload_apply(void *arg)
{
	struct reload *r = arg;
	json_t *applied = json_array();
	json_t *restart = json_array();

	compare(r->node->conf, r->c, applied, restart);
	apply(r->node, r->c, r->table);
	r->c = NULL;
	r->table = NULL;
	ob__notice("conf", "%s: taken over", r->file);
	r->report = json_pack("{s:s, s:o, s:o}", "result", "applied", "changed", applied,
	                      "needs_restart", restart);
	uint64_t number = ob__conf_keep(r->node);
	if (number != 0) {
		json_object_set_new(r->report, "version", json_integer((json_int_t)number));
	}
	if (r->rollback == 0) {
		return;
	}
	json_object_set(r->report, "kept_as", json_object_get(r->report, "version"));
	json_object_set_new(r->report, "version", json_integer((json_int_t)r->rollback));
	json_object_set_new(r->report, "file", json_string(r->file));
	json_object_set_new(r->report, "note",
	                    json_sprintf("%s is as it was, and is read by the next reload or start",
	                                 r->node->conf->path));
}

static void swapped(void *arg, int status, const json_t *body)
{
	struct reload *r = arg;
	json_t *errors;

	if (status == 200) {
		json_object_set_new(r->report, "tx", json_deep_copy(json_object_get(body, "tx")));
		reload_end(r, 200);
		return;
	}
	errors = json_array();
	const json_t *error = json_object_get(body, "error");
	const char *module = json_string_value(json_object_get(error, "module"));
	const char *why = json_string_value(json_object_get(error, "message"));
	json_array_append_new(errors, json_sprintf("modules: %s: %s", module != NULL ? module : "?",
	                                           why != NULL ? why : "refused"));
	reload_refused(r, errors);
}

/* The new confs of modules that have no reconf; NULL when there is none. */
static json_t *to_exchange(struct ob__node *node, const struct ob__nodeconf *c)
{
	json_t *confs = json_object();

	OB__LIST_EACH (it, &node->modules) {
		const struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		const struct ob__module_conf *mc = changed(m, c);
		if (mc != NULL && m->active->desc->reconf == NULL) {
			json_object_set(confs, m->name, mc->conf);
		}
	}
	if (json_object_size(confs) == 0) {
		json_decref(confs);
		return NULL;
	}
	return confs;
}

static void exchange(struct reload *r, json_t *confs_stolen)
{
	const char *names[256];
	size_t n = 0;
	const char *name;
	json_t *conf;

	json_object_foreach (confs_stolen, name, conf) {
		if (n < sizeof(names) / sizeof(names[0])) {
			names[n++] = name;
		}
	}
	struct ob__swap_request request = {
		.kind = OB__SWAP_CONF,
		.names = names,
		.names_len = n,
		.conf = confs_stolen,
		.probation_ms = 0,
		.on_switch = reload_apply,
	};
	ob__swap_begin(r->node, &request, swapped, r);
	json_decref(confs_stolen);
}

static void begin(struct reload *r, const char *kept)
{
	struct ob__node *node = r->node;
	json_t *errors = json_array();

	snprintf(r->file, sizeof(r->file), "%s", kept != NULL ? kept : node->conf->path);
	r->ready = ob__node_not_ready(node) == NULL;
	if (r->ready) {
		ob__node_tell(node, OB__NOTIFY_RELOADING, NULL);
	}
	r->c = ob__nodeconf_load_kept(node->conf->path, r->file, node->extra_modules,
	                              node->extra_modules_len, log_line, errors);
	r->table = r->c != NULL ? check_all(node, r->c, errors) : NULL;
	if (r->table == NULL) {
		reload_refused(r, errors);
		return;
	}
	json_decref(errors);
	json_t *confs = to_exchange(node, r->c);
	if (confs != NULL) {
		exchange(r, confs);
		return;
	}
	reload_apply(r);
	reload_end(r, 200);
}

static void answer_error(ob__conf_reload_cb cb, void *arg, int status, const char *code,
                         const char *message)
{
	json_t *body = json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", message);

	cb(arg, status, body);
	json_decref(body);
}

static struct reload *reload_new(struct ob__node *node, ob__conf_reload_cb cb, void *arg)
{
	struct reload *r = node->conf_reloading ? NULL : calloc(1, sizeof(*r));

	if (node->conf_reloading) {
		answer_error(cb, arg, 409, "busy",
		             "another configuration is being taken over; try again in a moment");
	} else if (r == NULL) {
		answer_error(cb, arg, 503, "memory", "out of memory");
	} else {
		node->conf_reloading = true;
		*r = (struct reload){.node = node, .cb = cb, .arg = arg};
	}
	return r;
}

void ob__conf_reload(struct ob__node *node, ob__conf_reload_cb cb, void *arg)
{
	struct reload *r = reload_new(node, cb, arg);

	if (r != NULL) {
		begin(r, NULL);
	}
}

/* Whoever sent the signal reads the log. */
static void nobody_waits(void *arg, int status, const json_t *report)
{
	(void)arg;
	(void)status;
	(void)report;
}

void ob__conf_reload_soon(struct ob__node *node)
{
	node->conf_again = node->conf_reloading;
	if (node->conf_again) {
		ob__notice("conf", "another configuration is being taken over; the file is read "
		                   "again after that");
		return;
	}
	ob__conf_reload(node, nobody_waits, NULL);
}

static void again_turn(void *arg)
{
	struct ob__node *node = arg;

	if (node->conf_again && node->phase != OB__NODE_STOPPING) {
		ob__conf_reload_soon(node);
	}
}

void ob__conf_rollback(struct ob__node *node, uint64_t version, ob__conf_reload_cb cb, void *arg)
{
	char file[PATH_MAX];
	bool named = version != 0;
	int rc = named ? 0 : ob__confhistory_before(node->dir, &version);

	if (rc != 0 || ob__confhistory_path(node->dir, version, file, sizeof(file)) != 0) {
		answer_error(cb, arg, 404, "unknown_version",
		             named ? "no such version is kept; config.history lists them"
		                   : "no version is kept that differs from the newest");
		return;
	}
	struct reload *r = reload_new(node, cb, arg);
	if (r != NULL) {
		r->rollback = version;
		begin(r, file);
	}
}
