/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/log.h"
#include "host/client.h"
#include "host/node.h"
#include "host/swap/swap.h"

#define LISTENS_MAX 256u
#define HOST_MAX    64u
#define LINGER_MS   11000u /* a caller has ten seconds for its handshake */

#define EACH_OPENED(it, node) OB__LIST_EACH (it, &(node)->clients.opened_listeners)
#define OPENED(it)            OB__CONTAINER(it, struct ob__client_listener, link)

/* ---- claims ---- */

/* A registration of this generation keeps a socket open. */
static bool claims(const struct ob__gen *g)
{
	return g->state >= OB__GEN_STARTING && g->state <= OB__GEN_STANDBY;
}

static const struct ob__reg *claim_of(const struct ob__gen *g, const struct ob__slot *slot)
{
	OB__LIST_EACH (it, &g->regs) {
		const struct ob__reg *reg = OB__CONTAINER(it, struct ob__reg, gen_link);
		if (reg->slot == slot) {
			return reg;
		}
	}
	return NULL;
}

static bool is_claimed(const struct ob__client_listener *cl)
{
	const struct ob__module *m = ob__module_find(cl->node, cl->module);

	if (m == NULL) {
		return false;
	}
	OB__LIST_EACH (it, &m->gens) {
		const struct ob__gen *g = OB__CONTAINER(it, struct ob__gen, link);
		if (claims(g) && claim_of(g, cl->slot) != NULL) {
			return true;
		}
	}
	return false;
}

static bool has_gen(const struct ob__module *m, enum ob__gen_state state)
{
	OB__LIST_EACH (it, &m->gens) {
		if (OB__CONTAINER(it, struct ob__gen, link)->state == state) {
			return true;
		}
	}
	return false;
}

/* A newer generation of its module is on its way in. */
static bool is_replaced(const struct ob__gen *g)
{
	return has_gen(g->module, OB__GEN_LOADED) || has_gen(g->module, OB__GEN_STARTING);
}

/* ---- the listener ---- */

static void free_listener(struct ob__client_listener *cl)
{
	ob__list_del(&cl->link);
	ob__idrange_free(&cl->own.no_state);
	free(cl->own.transport);
	free(cl->own.codec);
	free(cl->own.host);
	free(cl->own.path);
	free(cl->module);
	free(cl);
}

static void free_unneeded(struct ob__client_listener *cl)
{
	if (cl->slot == NULL && cl->conns == 0 && !ob__timeout_armed(&cl->linger)) {
		ob__http_server_free(cl->http);
		free_listener(cl);
	}
}

static void lingered(void *arg)
{
	free_unneeded(arg);
}

void ob__client_listener_left(struct ob__client_listener *cl)
{
	cl->conns--;
	if (cl->module != NULL) {
		free_unneeded(cl);
	}
}

static struct ob__client_listener *new_listener(struct ob__gen *g, struct ob__reg *reg,
                                                const struct ob__listen_conf *conf)
{
	struct ob__client_listener *cl = calloc(1, sizeof(*cl));
	if (cl == NULL) {
		return NULL;
	}
	ob__list_init(&cl->link);
	ob__timeout_init(&cl->linger, lingered, cl);
	ob__idrange_init(&cl->own.no_state);
	cl->node = g->node;
	cl->conf = &cl->own;
	cl->codec = reg->fn.listen.codec;
	cl->module = strdup(g->module->name);
	cl->own.transport = strdup(conf->transport);
	cl->own.codec = strdup(conf->codec);
	cl->own.host = conf->host != NULL ? strdup(conf->host) : NULL;
	cl->own.path = conf->path != NULL ? strdup(conf->path) : NULL;
	cl->own.port = conf->port;
	cl->own.timeout_ms = reg->fn.listen.idle_ms;
	cl->own.where = "listen";
	if (cl->module == NULL || cl->own.transport == NULL || cl->own.codec == NULL ||
	    (conf->host != NULL && cl->own.host == NULL) ||
	    (conf->path != NULL && cl->own.path == NULL) ||
	    ob__idrange_seal(&cl->own.no_state, NULL, NULL) != 0) {
		free_listener(cl);
		return NULL;
	}
	return cl;
}

/* A socket of its own for a registration that has none. */
static int open_socket(struct ob__gen *g, struct ob__reg *reg, const struct ob__listen_conf *conf)
{
	struct ob__node *node = g->node;
	struct ob__client_listener *cl = new_listener(g, reg, conf);

	if (cl == NULL) {
		return OB_E_NOMEM;
	}
	/* A node that drains takes no new clients, whoever asks. */
	int rc = node->phase <= OB__NODE_RUNNING
	                 ? ob__client_listener_bind(cl, g->refused, sizeof(g->refused))
	                 : 0;
	if (rc != 0) {
		ob__http_server_free(cl->http);
		free_listener(cl);
		return rc;
	}
	cl->slot = reg->slot;
	reg->slot->listener = cl;
	ob__list_append(&node->clients.opened_listeners, &cl->link);
	return 0;
}

static void close_socket(struct ob__client_listener *cl)
{
	if (cl->listener != NULL) {
		ob__notice("client", "no longer listening on %s (module %s)",
		           ob__listener_name(cl->listener), cl->module);
	}
	ob__listener_close(cl->listener);
	cl->listener = NULL;
	cl->accepting = false;
	cl->slot->listener = NULL;
	cl->slot = NULL;
	if (cl->http != NULL && ob__http_conns(cl->http) > 0) {
		ob__timeout_set(cl->node->loop, &cl->linger, LINGER_MS);
	}
	free_unneeded(cl);
}

/* ---- what is asked for ---- */

static bool host_ok(const char *host)
{
	uint8_t address[16];

	return strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, address) == 1 ||
	       inet_pton(AF_INET6, host, address) == 1;
}

/* Fills conf, whose strings are borrowed. NULL, or what is wrong. */
static const char *read_options(const struct ob__node *node, const ob_listen_options *o,
                                struct ob__listen_conf *conf)
{
	if (o == NULL || o->size != sizeof(*o) || o->transport == NULL || o->codec == NULL ||
	    *o->codec == '\0') {
		return "transport and codec are needed";
	}
	bool is_unix = strcmp(o->transport, "unix") == 0;
	if (!is_unix && strcmp(o->transport, "ws") != 0 && strcmp(o->transport, "tcp") != 0) {
		return "transport must be ws, tcp or unix";
	}
	if (is_unix != (o->path != NULL)) {
		return "path goes with transport unix, and only with it";
	}
	if (is_unix && (*o->path == '\0' ||
	                strlen(o->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))) {
		return "path is no path of a unix socket";
	}
	if (o->host != NULL && !host_ok(o->host)) {
		return "host must be an address in numbers, or localhost";
	}
	*conf = (struct ob__listen_conf){
		.transport = (char *)(uintptr_t)o->transport,
		.codec = (char *)(uintptr_t)o->codec,
		.port = is_unix ? 0 : o->port,
		.path = (char *)(uintptr_t)o->path,
	};
	conf->host = is_unix ? NULL : (char *)(uintptr_t)(o->host ? o->host : node->conf->host);
	return NULL;
}

static void name_address(const struct ob__listen_conf *conf, char *out, size_t cap)
{
	if (conf->path != NULL) {
		snprintf(out, cap, "%s", conf->path);
	} else {
		snprintf(out, cap, strchr(conf->host, ':') != NULL ? "[%s]:%d" : "%s:%d",
		         conf->host, conf->port);
	}
}

static bool same_address(const struct ob__listen_conf *a, const char *host, int port,
                         const char *path)
{
	if (path != NULL || a->path != NULL) {
		return path != NULL && a->path != NULL && strcmp(a->path, path) == 0;
	}
	return port != 0 && a->port == port && host != NULL && strcmp(a->host, host) == 0;
}

/* What of the configuration has the address; NULL: nothing. */
static const char *configured(const struct ob__nodeconf *c, const struct ob__listen_conf *conf)
{
	for (size_t i = 0; i < c->listens_len; i++) {
		const struct ob__listen_conf *l = &c->listens[i];
		if (same_address(conf, l->host, l->port, l->path)) {
			return l->where;
		}
	}
	if (same_address(conf, c->host, c->http_port, NULL)) {
		return "http";
	}
	if (same_address(conf, c->host, c->admin_port, c->admin_unix)) {
		return "admin";
	}
	return same_address(conf, c->host, c->rpc_port, NULL) ? "rpc" : NULL;
}

/* Somebody of this node has the address already: says who. */
static bool is_taken(struct ob__gen *g, const struct ob__listen_conf *conf, const char *address)
{
	const char *key = configured(g->node->conf, conf);

	if (key != NULL) {
		snprintf(g->refused, sizeof(g->refused), "%.128s is %s of the configuration",
		         address, key);
		return true;
	}
	EACH_OPENED(it, g->node)
	{
		const struct ob__client_listener *cl = OPENED(it);
		const struct ob__listen_conf *l = cl->conf;
		bool mine = strcmp(cl->module, g->module->name) == 0;
		if (cl->slot == NULL || !same_address(conf, l->host, l->port, l->path) ||
		    (mine && strcmp(l->transport, conf->transport) == 0)) {
			continue;
		}
		snprintf(g->refused, sizeof(g->refused),
		         "the module %.64s listens on %.128s already%s", cl->module, address,
		         mine ? ", with another transport" : "");
		return true;
	}
	return false;
}

/* A codec that is there and stays, or that a module of this transaction is yet to offer. */
static struct ob__slot *find_codec(struct ob__node *node, const char *name)
{
	struct ob__slot_key key = {.kind = OB__SLOT_CODEC, .name = name};
	struct ob__slot *slot = ob__slots_codec(&node->slots, name);
	char module[64];

	/* The one that is there may have been left out by a generation that has started. */
	if (slot != NULL &&
	    (slot->shadow != NULL ||
	     (slot->active != NULL && !has_gen(slot->active->gen->module, OB__GEN_STARTING)))) {
		return slot;
	}
	int len = snprintf(module, sizeof(module), "codec_%s", name);
	const struct ob__module *m =
		len > 0 && (size_t)len < sizeof(module) ? ob__module_find(node, module) : NULL;
	if (m == NULL || !has_gen(m, OB__GEN_LOADED)) {
		return NULL;
	}
	return ob__slots_get(&node->slots, &key, &slot) == 0 ? slot : NULL;
}

static bool too_many(const struct ob__node *node)
{
	uint32_t n = 0;

	EACH_OPENED(it, node)
	{
		n += OPENED(it)->slot != NULL;
	}
	return n >= LISTENS_MAX;
}

/* "tcp 0.0.0.0:7000"; any port is a module's own. */
static void name_key(const struct ob__gen *g, const struct ob__listen_conf *conf,
                     const char *address, char *out, size_t cap)
{
	bool any = conf->path == NULL && conf->port == 0;

	snprintf(out, cap, "%s %s%s%s", conf->transport, address, any ? " " : "",
	         any ? g->module->name : "");
}

int ob__listen(struct ob__gen *g, const ob_listen_options *options)
{
	struct ob__listen_conf conf;
	char address[160];
	char name[256];
	struct ob__reg *reg;

	if (g->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	const char *wrong = read_options(g->node, options, &conf);
	if (wrong != NULL) {
		snprintf(g->refused, sizeof(g->refused), "listen: %s", wrong);
		return OB_E_INVAL;
	}
	name_address(&conf, address, sizeof(address));
	struct ob__slot *codec = find_codec(g->node, conf.codec);
	if (codec == NULL) {
		snprintf(g->refused, sizeof(g->refused),
		         "%.128s: no module before this one offers the codec %.64s", address,
		         conf.codec);
		return OB_E_NOT_FOUND;
	}
	if (is_taken(g, &conf, address)) {
		return OB_E_EXISTS;
	}
	name_key(g, &conf, address, name, sizeof(name));
	struct ob__slot_key key = {.kind = OB__SLOT_LISTEN, .name = name};
	int rc = ob__slot_register(&g->node->slots, g, &key, &reg);
	if (rc != 0) {
		snprintf(g->refused, sizeof(g->refused), "%.200s", name);
		return rc;
	}
	reg->fn.listen.codec = codec;
	reg->fn.listen.idle_ms = options->idle_ms;
	if (reg->slot->listener != NULL) {
		return 0;
	}
	rc = too_many(g->node) ? OB_E_LIMIT : open_socket(g, reg, &conf);
	if (rc != 0) {
		ob__slot_unregister(reg);
	}
	return rc;
}

/* ---- the switch and after ---- */

static void take_over(struct ob__client_listener *cl)
{
	const struct ob__reg *reg = cl->slot->active;

	cl->own.timeout_ms = reg->fn.listen.idle_ms;
	if (cl->codec != reg->fn.listen.codec) {
		char *word = strdup(reg->fn.listen.codec->name);
		if (word != NULL) {
			free(cl->own.codec);
			cl->own.codec = word;
		}
		cl->codec = reg->fn.listen.codec;
	}
}

void ob__listens_activate(struct ob__gen *g)
{
	EACH_OPENED(it, g->node)
	{
		struct ob__client_listener *cl = OPENED(it);
		if (cl->slot == NULL || cl->slot->active == NULL || cl->slot->active->gen != g) {
			continue;
		}
		take_over(cl);
		if (g->node->phase == OB__NODE_RUNNING) {
			(void)ob__client_listener_start(cl);
		}
	}
}

void ob__listens_sweep(struct ob__node *node)
{
	OB__LIST_EACH_SAFE (it, &node->clients.opened_listeners) {
		struct ob__client_listener *cl = OPENED(it);
		if (cl->slot != NULL && !is_claimed(cl)) {
			close_socket(cl);
		} else if (cl->slot != NULL && ob__slot_active(cl->codec) == NULL) {
			ob__error("client",
			          "module %s listens with the codec %s, which nobody offers",
			          cl->module, cl->codec->name);
		}
	}
}

int ob__listens_start(struct ob__node *node)
{
	EACH_OPENED(it, node)
	{
		struct ob__client_listener *cl = OPENED(it);
		int rc = cl->slot != NULL && cl->slot->active != NULL
		                 ? ob__client_listener_start(cl)
		                 : 0;
		if (rc != 0) {
			return rc;
		}
	}
	return 0;
}

void ob__listens_free(struct ob__node *node)
{
	struct ob__list *all = &node->clients.opened_listeners;

	while (all->next != NULL && !ob__list_empty(all)) {
		free_listener(OPENED(all->next));
	}
}

/* ---- asking ---- */

static bool needs_codec(const struct ob__client_listener *cl, const struct ob__slot *codec,
                        const struct ob__module *but)
{
	const struct ob__module *m = ob__module_find(cl->node, cl->module);

	if (cl->slot == NULL || m == NULL || m == but) {
		return false;
	}
	OB__LIST_EACH (it, &m->gens) {
		const struct ob__gen *g = OB__CONTAINER(it, struct ob__gen, link);
		const struct ob__reg *reg = claims(g) ? claim_of(g, cl->slot) : NULL;
		if (reg != NULL && reg->fn.listen.codec == codec &&
		    (g->state != OB__GEN_ACTIVE || !is_replaced(g))) {
			return true;
		}
	}
	return false;
}

bool ob__listens_use_codec(const struct ob__node *node, const struct ob__slot *codec,
                           const struct ob__module *but)
{
	EACH_OPENED(it, node)
	{
		if (needs_codec(OPENED(it), codec, but)) {
			return true;
		}
	}
	return codec->conns > 0;
}

static json_t *listener_json(const struct ob__client_listener *cl)
{
	const char *address = cl->listener != NULL ? ob__listener_name(cl->listener) : NULL;

	return json_pack("{s:s?, s:s, s:s, s:s?, s:b, s:i}", "address", address, "transport",
	                 cl->conf->transport, "codec", cl->conf->codec, "module", cl->module,
	                 "accepting", cl->accepting, "connections", (int)cl->conns);
}

json_t *ob__listens_json(const struct ob__node *node)
{
	json_t *list = json_array();

	for (size_t i = 0; i < node->clients.listeners_len; i++) {
		json_array_append_new(list, listener_json(&node->clients.listeners[i]));
	}
	EACH_OPENED(it, node)
	{
		json_array_append_new(list, listener_json(OPENED(it)));
	}
	return list;
}
