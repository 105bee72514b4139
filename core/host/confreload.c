/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/confreload.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/node.h"
#include "host/policy.h"

/* Keys whose change is taken over without a restart, but for the parts named beside them. */
static const struct {
	const char *key;
	const char *fixed[6];
} live_keys[] = {
	{"call_timeout", {NULL}},
	{"http", {"port", NULL}},
	{"limits", {"connections", "sessions", "requests", "link_queue", NULL}},
	{"log_level", {NULL}},
	{"modules", {NULL}},
	{"reload", {NULL}},
	{"remote_ports", {NULL}},
	{"rpc", {"port", "token", "encode", "reconnect_time", NULL}},
	{"session_closed_id", {NULL}},
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
		ob__error("conf", "rpc.policy: can't take the role \"%s\" (%s)", role,
		          ob__strerror(rc));
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
			.token = m->token,
			.role = m->role,
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
		json_array_append_new(
			errors, json_sprintf("modules: %s: %s", m->name,
		                             err.text[0] != '\0' ? err.text : ob__strerror(rc)));
		ob__error("conf", "modules: %s: %s", m->name,
		          err.text[0] != '\0' ? err.text : ob__strerror(rc));
	}
	return rc;
}

/* One phase for every module whose conf changed. */
static int reconf_modules(struct ob__node *node, const struct ob__nodeconf *c, bool apply,
                          json_t *errors)
{
	int failed = 0;

	OB__LIST_EACH (it, &node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		const struct ob__module_conf *mc = conf_of(c, m->name);
		if (mc == NULL || m->active == NULL || json_equal(mc->conf, m->conf)) {
			continue;
		}
		if (!apply) {
			failed |= check_module(m, mc->conf, errors);
			continue;
		}
		json_decref(m->conf);
		m->conf = json_incref(mc->conf);
		ob_err err = {""};
		if (m->active->desc->reconf != NULL) {
			json_decref(m->active->conf);
			m->active->conf = json_incref(mc->conf);
			m->active->desc->reconf(&m->active->ctx, mc->conf, OB_RECONF_APPLY, &err);
		} else {
			ob__notice("conf", "%s takes its new conf at its next reload", m->name);
		}
	}
	return failed;
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

/* What the new file's rpc.policy names is there, or an error is noted. */
static int prepare_policies(struct ob__node *node, const struct ob__nodeconf *c, json_t *errors)
{
	const char *role = "";
	int rc = ob__policy_prepare(node, c, &role);

	if (rc != 0) {
		json_array_append_new(errors,
		                      json_sprintf("rpc.policy: can't take the role \"%s\"", role));
		ob__error("conf", "rpc.policy: can't take the role \"%s\"", role);
	}
	return rc;
}

static void apply(struct ob__node *node, struct ob__nodeconf *c, struct ob__idrange *table)
{
	if (c->log_level != node->conf->log_level) {
		ob__log_set_level(c->log_level);
	}
	keep_bound(node, c);
	json_decref(node->masked_conf);
	node->masked_conf = ob__conf_masked(c->file, ob__nodeconf_rows);
	ob__nodeconf_free(node->conf);
	node->conf = c;
	ob__router_set_table(&node->router, table);
	ob__policy_apply(node, c);
	ob__policy_check(node);
	ob__conf_apply_remotes(node);
	reconf_modules(node, c, true, NULL);
}

int ob__conf_reload(struct ob__node *node, json_t **report)
{
	json_t *errors = json_array();
	json_t *applied = json_array();
	json_t *restart = json_array();
	struct ob__idrange *table = NULL;
	struct ob__nodeconf *c = ob__nodeconf_load(node->conf->path, node->extra_modules,
	                                           node->extra_modules_len, log_line, errors);

	if (c != NULL &&
	    (strcmp(c->name, node->conf->name) != 0 || strcmp(c->role, node->conf->role) != 0)) {
		json_array_append_new(errors, json_string("name and type can't change while the "
		                                          "node runs"));
	}
	if (c != NULL && json_array_size(errors) == 0 &&
	    reconf_modules(node, c, false, errors) == 0 && prepare_policies(node, c, errors) == 0) {
		table = read_routes(node, c, errors);
	}
	if (table == NULL) {
		ob__error("conf", "%s: not taken over; nothing has changed", node->conf->path);
		ob__nodeconf_free(c);
		json_decref(applied);
		json_decref(restart);
		*report = json_pack("{s:{s:s, s:s, s:o}}", "error", "code", "conf", "message",
		                    "the configuration is not taken over", "errors", errors);
		return OB_E_INVAL;
	}
	compare(node->conf, c, applied, restart);
	apply(node, c, table);
	ob__notice("conf", "%s: taken over", node->conf->path);
	*report = json_pack("{s:s, s:o, s:o}", "result", "applied", "changed", applied,
	                    "needs_restart", restart);
	json_decref(errors);
	return 0;
}
