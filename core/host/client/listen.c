/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/log.h"
#include "host/client/client.h"
#include "host/client/entry.h"
#include "host/node.h"
#include "host/swap/swap.h"
#include "net/wsdeflate.h"

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
	ob__tls_ctx_free(cl->tls);
	ob__wsdeflate_free(cl->deflate);
	ob__map_free(&cl->addresses);
	ob__listen_conf_free(&cl->own);
	free(cl->module);
	free(cl);
}

void ob__client_listener_unneeded(struct ob__client_listener *cl)
{
	if (cl->module == NULL || cl->slot != NULL || cl->conns > 0 ||
	    ob__timeout_armed(&cl->linger)) {
		return;
	}
	ob__http_server_free(cl->http);
	cl->http = NULL;
	ob__entries_close(cl);
	if (cl->entries_len == 0 && cl->guests == 0) {
		free_listener(cl);
	}
}

static void lingered(void *arg)
{
	ob__client_listener_unneeded(arg);
}

void ob__client_listener_left(struct ob__client_listener *cl)
{
	cl->conns--;
	ob__client_listener_unneeded(cl);
}

static struct ob__client_listener *new_listener(struct ob__gen *g, struct ob__reg *reg,
                                                const struct ob__listen_conf *conf)
{
	struct ob__client_listener *cl = calloc(1, sizeof(*cl));
	if (cl == NULL) {
		return NULL;
	}
	cl->node = g->node;
	ob__client_listener_init(cl);
	ob__timeout_init(&cl->linger, lingered, cl);
	ob__idrange_init(&cl->own.no_state);
	cl->conf = &cl->own;
	cl->codec = reg->fn.listen.codec;
	cl->module = strdup(g->module->name);
	cl->own.kind = conf->kind;
	int rc = ob__listen_conf_init(&cl->own);
	cl->own.transport = strdup(conf->transport);
	cl->own.codec = strdup(conf->codec);
	cl->own.host = conf->host != NULL ? strdup(conf->host) : NULL;
	cl->own.path = conf->path != NULL ? strdup(conf->path) : NULL;
	cl->own.tls_cert = conf->tls_cert != NULL ? strdup(conf->tls_cert) : NULL;
	cl->own.tls_key = conf->tls_key != NULL ? strdup(conf->tls_key) : NULL;
	cl->own.tls_ca = conf->tls_ca != NULL ? strdup(conf->tls_ca) : NULL;
	cl->own.port = conf->port;
	cl->own.timeout_ms = reg->fn.listen.idle_ms;
	cl->own.where = "listen";
	if (rc != 0 || cl->module == NULL || cl->own.transport == NULL || cl->own.codec == NULL ||
	    (conf->host != NULL && cl->own.host == NULL) ||
	    (conf->path != NULL && cl->own.path == NULL) ||
	    (conf->tls_cert != NULL && cl->own.tls_cert == NULL) ||
	    (conf->tls_key != NULL && cl->own.tls_key == NULL) ||
	    (conf->tls_ca != NULL && cl->own.tls_ca == NULL) ||
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
	if (cl->entries_len > 0 || (cl->http != NULL && ob__http_conns(cl->http) > 0)) {
		ob__timeout_set(cl->node->loop, &cl->linger, LINGER_MS);
	}
	ob__client_listener_unneeded(cl);
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
	bool is_old = o->size == offsetof(ob_listen_options, tls_cert);

	if ((o->size != sizeof(*o) && !is_old) || o->transport == NULL || o->codec == NULL ||
	    *o->codec == '\0') {
		return "transport and codec are needed";
	}
	uint8_t kind = ob__listen_kind(o->transport);
	bool is_unix = (kind & OB__LISTEN_UNIX) != 0;
	if (kind == 0) {
		return "transport must be ws, wss, tcp, tls, tcp+ws, tls+wss or unix";
	}
	if (((kind & OB__LISTEN_TLS) != 0) != (!is_old && o->tls_cert != NULL)) {
		return "tls_cert goes with transport wss, tls and tls+wss, and only with them";
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
		.kind = kind,
		.transport = (char *)(uintptr_t)o->transport,
		.codec = (char *)(uintptr_t)o->codec,
		.port = is_unix ? 0 : o->port,
		.path = (char *)(uintptr_t)o->path,
	};
	if (!is_old) {
		conf->tls_cert = (char *)(uintptr_t)o->tls_cert;
		conf->tls_key = (char *)(uintptr_t)o->tls_key;
		conf->tls_ca = (char *)(uintptr_t)o->tls_ca;
	}
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

/* A codec that is yet to come is asked when it does. */
static bool codec_takes(struct ob__gen *g, const struct ob__slot *codec,
                        const struct ob__listen_conf *conf, const char *address)
{
	const struct ob__reg *reg = codec->shadow != NULL ? codec->shadow : codec->active;
	char err[sizeof(g->refused)];

	if (reg == NULL ||
	    ob__codec_conf_check(reg->gen, &reg->codec, conf, err, sizeof(err)) == 0) {
		return true;
	}
	snprintf(g->refused, sizeof(g->refused), "%.50s: %.200s", address, err);
	return false;
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

static bool same_file(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What is in them may differ, and is read when the configuration is. */
static bool same_files(const struct ob__listen_conf *a, const struct ob__listen_conf *b)
{
	return same_file(a->tls_cert, b->tls_cert) && same_file(a->tls_key, b->tls_key) &&
	       same_file(a->tls_ca, b->tls_ca);
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
	const char *wrong =
		options != NULL ? read_options(g->node, options, &conf) : "options are needed";
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
	if (!codec_takes(g, codec, &conf, address)) {
		return OB_E_INVAL;
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
		rc = same_files(reg->slot->listener->conf, &conf) ? 0 : OB_E_EXISTS;
		if (rc != 0) {
			snprintf(g->refused, sizeof(g->refused),
			         "the module listens on %.128s already, with other certificates",
			         address);
			ob__slot_unregister(reg);
		}
		return rc;
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
	const char *address = ob__client_listener_name(cl);

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
