/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Which modules a node loads: those of the file, and those that follow from it. */

#include "host/conf/nodeconf_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/hello.h"

#define SUGGEST_DISTANCE 2u

static bool is_path(const char *module)
{
	return strchr(module, '/') != NULL ||
	       (strlen(module) > 3 && strcmp(module + strlen(module) - 3, ".so") == 0);
}

/* "examples/.libs/login.so" -> "login". */
static char *name_of_path(const char *path)
{
	const char *base = strrchr(path, '/');
	base = base != NULL ? base + 1 : path;
	size_t len = strlen(base);

	if (len > 3 && strcmp(base + len - 3, ".so") == 0) {
		len -= 3;
	}
	return strndup(base, len);
}

static const struct ob__module_conf *find_module(const struct ob__nodeconf *c, const char *name)
{
	for (size_t i = 0; i < c->modules_len; i++) {
		if (strcmp(c->modules[i].name, name) == 0) {
			return &c->modules[i];
		}
	}
	return NULL;
}

static void add_module(struct ob__reading *r, const char *name, const char *path,
                       const json_t *conf, bool admin, bool implied)
{
	struct ob__nodeconf *c = r->c;
	struct ob__module_conf *grown =
		realloc(c->modules, (c->modules_len + 1) * sizeof(*c->modules));

	if (grown == NULL) {
		ob__nodeconf_wrong(r, "modules", "out of memory");
		return;
	}
	c->modules = grown;
	struct ob__module_conf *m = &grown[c->modules_len];
	*m = (struct ob__module_conf){
		.name = path != NULL && name == NULL ? name_of_path(path) : strdup(name),
		.path = path != NULL ? strdup(path) : NULL,
		.conf = conf != NULL ? json_deep_copy(conf) : json_object(),
		.admin = admin,
		.implied = implied,
	};
	if (m->name == NULL || m->conf == NULL || (path != NULL && m->path == NULL)) {
		ob__nodeconf_wrong(r, "modules", "out of memory");
	} else if (!ob__nodeconf_word_ok(m->name)) {
		ob__nodeconf_wrong(r, "modules",
		                   "a module's name is letters, digits, '.', '_' or '-'");
	} else if (find_module(c, m->name) != NULL) {
		ob__nodeconf_wrong(r, "modules", "names a module twice");
	} else if (!json_is_object(m->conf)) {
		ob__nodeconf_wrong(r, "modules", "conf must be an object");
	}
	c->modules_len++;
}

static void read_module_list(struct ob__reading *r, const json_t *list)
{
	size_t i;
	json_t *item;

	json_array_foreach (list, i, item) {
		const char *word = json_string_value(item);
		if (word != NULL && is_path(word)) {
			add_module(r, NULL, word, NULL, false, false);
		} else if (word != NULL) {
			add_module(r, word, NULL, NULL, false, false);
		} else {
			add_module(r, ob__conf_str(item, "name", ""),
			           ob__conf_str(item, "path", NULL), json_object_get(item, "conf"),
			           ob__conf_bool(item, "admin", false), false);
		}
	}
}

static void imply_modules(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;

	if (c->listens_len > 0) {
		add_module(r, "proxy", NULL, NULL, false, true);
	} else if (strcmp(c->role, "route") == 0) {
		add_module(r, "route", NULL, NULL, false, true);
	} else {
		add_module(r, "service", NULL, NULL, false, true);
	}
	if (c->http_port != 0 || c->admin_port != 0 || c->admin_unix != NULL) {
		add_module(r, "http_admin", NULL, NULL, true, true);
	}
}

/* A word that is nearly one of those that are built in is a mistake, unless its module is named. */
static const char *nearly_built_in(const char *transport)
{
	static const char *const words[] = {"ws", "wss", "tcp", "tls", "tcp+ws", "tls+wss", "unix"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t d = ob__conf_distance(transport, words[i]);
		if (d <= SUGGEST_DISTANCE && d < strlen(transport) && d < strlen(words[i])) {
			return words[i];
		}
	}
	return NULL;
}

/* The module of a listener's transport is loaded, named or not. */
static void imply_transports(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	size_t first = c->listens_len - json_array_size(json_object_get(c->root, "listen"));
	char module[OB__HELLO_NAME + 16];
	char text[256];
	char path[64];

	for (size_t i = first; i < c->listens_len; i++) {
		const char *word = c->listens[i].transport;
		if (word == NULL || ob__listen_kind(word) != 0) {
			continue;
		}
		snprintf(path, sizeof(path), "listen[%zu].transport", i - first);
		if (!ob__nodeconf_word_ok(word) || strchr(word, '.') != NULL) {
			ob__nodeconf_wrong(r, path,
			                   "must be letters, digits, '_' or '-', or one with a +");
			continue;
		}
		snprintf(module, sizeof(module), "transport_%.63s", word);
		const char *near = nearly_built_in(word);
		if (find_module(c, module) != NULL) {
			continue;
		}
		if (near == NULL) {
			add_module(r, module, NULL, NULL, false, true);
			continue;
		}
		snprintf(text, sizeof(text),
		         "\"%.63s\" is not built in; did you mean \"%s\"? (A module that offers it "
		         "is to be named in `modules`: %.80s)",
		         word, near, module);
		ob__nodeconf_wrong(r, path, text);
	}
}

void ob__nodeconf_read_modules(struct ob__reading *r, const char *const *extra, size_t extra_len)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = json_object_get(c->root, "modules");
	const json_t *dirs = json_object_get(c->root, "module_dirs");

	if (list != NULL) {
		read_module_list(r, list);
	} else {
		imply_modules(r);
	}
	imply_transports(r);
	for (size_t i = 0; i < c->listens_len; i++) {
		char codec[OB__HELLO_NAME + 8];
		snprintf(codec, sizeof(codec), "codec_%s", c->listens[i].codec);
		if (find_module(c, codec) == NULL) {
			add_module(r, codec, NULL, NULL, false, true);
		}
	}
	for (size_t i = 0; i < extra_len; i++) {
		bool path = is_path(extra[i]);
		add_module(r, path ? NULL : extra[i], path ? extra[i] : NULL, NULL, false, false);
	}
	c->module_dirs = calloc(json_array_size(dirs) + 1, sizeof(*c->module_dirs));
	for (size_t i = 0; c->module_dirs != NULL && i < json_array_size(dirs); i++) {
		c->module_dirs[c->module_dirs_len++] = json_string_value(json_array_get(dirs, i));
	}
}
