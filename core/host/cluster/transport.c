/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/cluster/transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/node.h"

#define SUGGEST_DISTANCE 2u
#define LOG_BURST        5u

static const char *const built_in[] = {"tcp", "unix"};
static const char *const reserved[] = {"tcp", "unix", "tls", "ws"};

#define LEN(list) (sizeof(list) / sizeof((list)[0]))

bool ob__transport_ok(const ob_transport *t)
{
	return t != NULL && t->size == sizeof(*t) && t->dial != NULL && t->name != NULL &&
	       ob__module_name_ok(t->name) && (t->flags & ~OB_TRANSPORT_LOCAL) == 0;
}

bool ob__transport_built_in(const char *name)
{
	for (size_t i = 0; i < LEN(reserved); i++) {
		if (strcmp(reserved[i], name) == 0) {
			return true;
		}
	}
	return false;
}

bool ob__transport_address_ok(const char *address)
{
	size_t len = strlen(address);

	for (size_t i = 0; i < len; i++) {
		if (address[i] < ' ' || address[i] > '~') {
			return false;
		}
	}
	return len > 0 && len <= OB_TRANSPORT_ADDRESS_MAX;
}

/* ---- asking a module ---- */

static struct ob__reg *find(const struct ob__node *node, const char *name)
{
	return ob__slot_active(ob__strmap_get(&node->slots.transports, name));
}

static void count_failure(struct ob__node *node, const char *name)
{
	char labels[128];

	snprintf(labels, sizeof(labels), "transport=\"%s\"", name);
	++*ob__stat_counter(node->stats, "obhost_transport_failed_total", labels,
	                    "Sockets for links that a module's transport did not give.");
}

/* It said yes, and what it gave is nothing to be used: that is a mistake in the module. */
static int no_sense(struct ob__node *node, struct ob__reg *reg, int rc, int fd, char *err,
                    size_t err_cap)
{
	uint32_t missed;

	if (rc > 0) {
		snprintf(err, err_cap, "%s: module %s answered %d, which is no code",
		         reg->slot->name, reg->gen->module->name, rc);
	} else {
		snprintf(err, err_cap,
		         "%s: module %s gave descriptor %d, which is no stream socket",
		         reg->slot->name, reg->gen->module->name, fd);
	}
	reg->gen->failed++;
	if (ob__log_allow(&node->transports.limit, LOG_BURST, ob__loop_now(node->loop), &missed)) {
		ob__error("transport", "%s (generation %u)", err, reg->gen->number);
	}
	return -EBADF;
}

static int ask(struct ob__node *node, struct ob__reg *reg, bool listens, const char *address,
               int *fd, char *err, size_t err_cap)
{
	const ob_transport *t = &reg->fn.transport;
	int (*hook)(ob_ctx *, const char *, int *, ob_err *) = listens ? t->listen : t->dial;
	ob_err said = {""};

	*fd = -1;
	uint64_t entered = ob__gen_enter(reg->gen);
	int rc = hook(&reg->gen->ctx, address, fd, &said);
	ob__gen_leave(reg->gen, entered);
	if (rc > 0 || (rc == 0 && ob__stream_socket(*fd) < 0)) {
		rc = no_sense(node, reg, rc, *fd, err, err_cap);
	} else if (rc < 0) {
		said.text[sizeof(said.text) - 1] = '\0';
		ob__make_utf8(said.text);
		snprintf(err, err_cap, "%s: %s", t->name,
		         said.text[0] != '\0' ? said.text : ob__strerror(rc));
		rc = rc == OB_E_NOT_FOUND ? -EADDRNOTAVAIL : rc; /* which means another thing */
	} else {
		reg->gen->handled++;
	}
	if (rc < 0) {
		count_failure(node, t->name);
	}
	return rc;
}

static int dial(void *arg, const struct ob__transport_way *way, int *fd, char *err, size_t err_cap)
{
	struct ob__node *node = arg;
	struct ob__reg *reg = find(node, way->transport);

	if (reg == NULL) {
		snprintf(err, err_cap, "no loaded module offers the transport %s", way->transport);
		return OB_E_NOT_FOUND;
	}
	return ask(node, reg, false, way->address, fd, err, err_cap);
}

void ob__transports_init(struct ob__node *node)
{
	ob__links_set_transports(node->links, dial, node);
}

void ob__transports_switched(struct ob__node *node)
{
	if (node->links != NULL) {
		ob__links_transports_changed(node->links);
	}
}

/* ---- names that are right, and others ---- */

struct nearest {
	const char *name;
	const char *best;
	size_t distance;
};

static void consider(struct nearest *n, const char *word)
{
	size_t d = ob__conf_distance(n->name, word);

	if (d < n->distance && d < strlen(n->name) && d < strlen(word)) {
		n->best = word;
		n->distance = d;
	}
}

static struct nearest nearest_built_in(const char *name)
{
	struct nearest n = {.name = name, .distance = SUGGEST_DISTANCE + 1};

	for (size_t i = 0; i < LEN(built_in); i++) {
		consider(&n, built_in[i]);
	}
	return n;
}

static void say_unknown(const struct nearest *n, char *err, size_t err_cap)
{
	snprintf(err, err_cap, "no module of this node offers the transport \"%s\"%s%s%s", n->name,
	         n->best != NULL ? "; did you mean \"" : "", n->best != NULL ? n->best : "",
	         n->best != NULL ? "\"?" : "");
}

int ob__transport_check(struct ob__node *node, const struct ob__transport_way *way, char *err,
                        size_t err_cap)
{
	struct ob__strmap_entry *e;
	ob_err said = {""};

	if (ob__strmap_get(&node->slots.transports, way->transport) == NULL) {
		struct nearest n = nearest_built_in(way->transport);
		for (size_t i = 0; (e = ob__strmap_next(&node->slots.transports, &i)) != NULL;) {
			consider(&n, e->key);
		}
		say_unknown(&n, err, err_cap);
		return OB_E_NOT_FOUND;
	}
	struct ob__reg *reg = find(node, way->transport);
	if (reg == NULL || reg->fn.transport.check == NULL) {
		return 0;
	}
	uint64_t entered = ob__gen_enter(reg->gen);
	int rc = reg->fn.transport.check(&reg->gen->ctx, way->address, &said);
	ob__gen_leave(reg->gen, entered);
	if (rc == 0) {
		return 0;
	}
	said.text[sizeof(said.text) - 1] = '\0';
	ob__make_utf8(said.text);
	snprintf(err, err_cap, "%s: %s", way->transport,
	         said.text[0] != '\0' ? said.text : ob__strerror(rc < 0 ? rc : OB_E_INVAL));
	return OB_E_INVAL;
}

/* Each way that the configuration names, with its place in the file. */
typedef int (*way_fn)(void *arg, const struct ob__transport_way *way, char *err, size_t err_cap);

static int check_one(const struct ob__nodeconf *c, const char *list, size_t i,
                     const struct ob__transport_way *way, way_fn fn, void *fn_arg,
                     ob__conf_report report, void *arg)
{
	char path[64];
	char err[384];

	if (way->transport == NULL || fn(fn_arg, way, err, sizeof(err)) == 0) {
		return 0;
	}
	snprintf(path, sizeof(path), "%s[%zu]", list, i);
	ob__conf_complain(c->file, report, arg, OB__CONF_ERROR, path, "%s", err);
	return 1;
}

static int check_ways(const struct ob__nodeconf *c, way_fn fn, void *fn_arg, ob__conf_report report,
                      void *arg)
{
	int wrong = 0;

	for (size_t i = 0; i < c->rpc_listens_len; i++) {
		wrong += check_one(c, "rpc.listen", i, &c->rpc_listens[i].way, fn, fn_arg, report,
		                   arg);
	}
	for (size_t i = 0; i < c->remotes_len; i++) {
		wrong += check_one(c, "remote_ports", i, &c->remotes[i].way, fn, fn_arg, report,
		                   arg);
	}
	return wrong;
}

static int check_way(void *arg, const struct ob__transport_way *way, char *err, size_t err_cap)
{
	return ob__transport_check(arg, way, err, err_cap);
}

int ob__transports_check(struct ob__node *node, const struct ob__nodeconf *c,
                         ob__conf_report report, void *arg)
{
	return check_ways(c, check_way, node, report, arg);
}

struct offered {
	const char *const *names;
	size_t len;
};

static int check_name(void *arg, const struct ob__transport_way *way, char *err, size_t err_cap)
{
	const struct offered *o = arg;
	struct nearest n = nearest_built_in(way->transport);

	for (size_t i = 0; i < o->len; i++) {
		if (strcmp(o->names[i], way->transport) == 0) {
			return 0;
		}
		consider(&n, o->names[i]);
	}
	say_unknown(&n, err, err_cap);
	return OB_E_NOT_FOUND;
}

int ob__transports_check_names(const struct ob__nodeconf *c, const char *const *names, size_t n,
                               ob__conf_report report, void *arg)
{
	struct offered o = {names, n};

	return check_ways(c, check_name, &o, report, arg);
}

bool ob__transports_used(const struct ob__nodeconf *c)
{
	bool used = c->rpc_listens_len > 0;

	for (size_t i = 0; i < c->remotes_len; i++) {
		used = used || c->remotes[i].way.transport != NULL;
	}
	return used;
}

/* ---- listening ---- */

static void door_waiting(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	const struct ob__transport_door *door = arg;

	(void)l;
	ob__links_accept_as(door->node->links, server, door->name);
}

/* A socket of the module's for an entry; negative: the reason is in err. */
static int bound_socket(struct ob__node *node, struct ob__reg *reg, const char *address, int *fd,
                        char *err, size_t err_cap)
{
	if (reg->fn.transport.listen == NULL) {
		snprintf(err, err_cap, "the transport %s can't be listened on", reg->slot->name);
		return OB_E_INVAL;
	}
	return ask(node, reg, true, address, fd, err, err_cap);
}

static int open_door(struct ob__transport_door *door, const struct ob__rpc_listen_conf *c,
                     char *err, size_t err_cap)
{
	struct ob__node *node = door->node;
	struct ob__reg *reg = find(node, c->way.transport);
	int fd = -1;
	int code = 0;

	if (reg == NULL) {
		snprintf(err, err_cap, "no loaded module offers the transport %s",
		         c->way.transport);
		return OB_E_NOT_FOUND;
	}
	snprintf(door->name, sizeof(door->name), "%s:%s", c->way.transport, c->way.address);
	struct ob__address a = {.kind = OB__ADDRESS_TRANSPORT};
	snprintf(a.host, sizeof(a.host), "%s", c->way.transport);
	snprintf(a.path, sizeof(a.path), "%s", c->told);
	if ((reg->fn.transport.flags & OB_TRANSPORT_LOCAL) != 0) {
		a.machine = node->cluster.dialer.machine;
	}
	int rc = ob__address_put(&a, door->told);
	if (rc != 0) {
		snprintf(err, err_cap, "%s: is too long to be told to others", door->name);
		return rc;
	}
	rc = bound_socket(node, reg, c->way.address, &fd, err, err_cap);
	if (rc != 0) {
		return rc;
	}
	struct ob__listener_options options = {.name = door->name, .fd = fd, .code = &code};
	door->listener = ob__listener_open(node->loop, &options, door_waiting, door, err, err_cap);
	return door->listener != NULL ? 0 : code;
}

int ob__transports_listen(struct ob__node *node)
{
	const struct ob__nodeconf *c = node->conf;
	struct ob__transports *t = &node->transports;
	char err[384];

	t->doors = calloc(c->rpc_listens_len + 1, sizeof(*t->doors));
	if (t->doors == NULL) {
		return OB_E_NOMEM;
	}
	for (size_t i = 0; i < c->rpc_listens_len; i++) {
		struct ob__transport_door *door = &t->doors[t->doors_len++];
		door->node = node;
		int rc = open_door(door, &c->rpc_listens[i], err, sizeof(err));
		if (rc != 0) {
			ob__error("link", "rpc.listen[%zu]: %s", i, err);
			return rc;
		}
	}
	return 0;
}

int ob__transports_accept(struct ob__node *node)
{
	const struct ob__transports *t = &node->transports;

	for (size_t i = 0; i < t->doors_len; i++) {
		int rc = ob__listener_start(t->doors[i].listener);
		if (rc != 0) {
			ob__error("link", "%s: %s", t->doors[i].name, ob__strerror(rc));
			return rc;
		}
		ob__notice("link", "listening on %s", t->doors[i].name);
	}
	return 0;
}

void ob__transports_free(struct ob__node *node)
{
	struct ob__transports *t = &node->transports;

	for (size_t i = 0; i < t->doors_len; i++) {
		ob__listener_close(t->doors[i].listener);
	}
	free(t->doors);
	t->doors = NULL;
	t->doors_len = 0;
}

/* ---- asking ---- */

static json_t *listening(const struct ob__node *node, const char *name)
{
	json_t *list = json_array();

	for (size_t i = 0; i < node->transports.doors_len; i++) {
		const char *door = node->transports.doors[i].name;
		size_t len = strlen(name);
		if (strncmp(door, name, len) == 0 && door[len] == ':') {
			json_array_append_new(list, json_string(door + len + 1));
		}
	}
	return list;
}

json_t *ob__transports_json(const struct ob__node *node)
{
	json_t *all = json_object();
	struct ob__strmap_entry *e;

	for (size_t i = 0; i < LEN(built_in); i++) {
		json_object_set_new(all, built_in[i],
		                    json_pack("{s:b, s:n}", "built_in", 1, "module"));
	}
	for (size_t i = 0; (e = ob__strmap_next(&node->slots.transports, &i)) != NULL;) {
		const struct ob__reg *reg = ob__slot_active(e->value);
		json_object_set_new(all, e->key,
		                    json_pack("{s:b, s:s?, s:o}", "built_in", 0, "module",
		                              reg != NULL ? reg->gen->module->name : NULL,
		                              "listening", listening(node, e->key)));
	}
	return all;
}
