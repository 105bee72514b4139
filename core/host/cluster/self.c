/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/cluster/cluster_priv.h"
#include "host/node.h"

#define SOCKET_NAME "link.sock"

/* ---- what this node says of itself ---- */

static size_t add_addresses(const struct ob__node *node,
                            char text[OB__MEMBER_ADDRESSES][OB__MEMBER_ADDRESS])
{
	const struct ob__nodeconf *c = node->conf;
	const struct ob__cluster *cl = &node->cluster;
	struct ob__address a = {.kind = OB__ADDRESS_TCP, .port = c->rpc_address_port};
	size_t n = 0;

	if (c->rpc_port != 0 && c->rpc_address != NULL &&
	    snprintf(a.host, sizeof(a.host), "%s", c->rpc_address) < (int)sizeof(a.host) &&
	    ob__address_put(&a, text[n]) == 0) {
		n++;
	}
	a = (struct ob__address){.kind = OB__ADDRESS_UNIX, .machine = cl->dialer.machine};
	snprintf(a.path, sizeof(a.path), "%s", cl->near);
	if (cl->near[0] != '\0' && ob__address_put(&a, text[n]) == 0) {
		n++;
	}
	for (size_t i = 0; i < node->transports.doors_len && n < OB__MEMBER_ADDRESSES; i++) {
		memcpy(text[n++], node->transports.doors[i].told, OB__MEMBER_ADDRESS);
	}
	return n;
}

static size_t add_modules(const struct ob__node *node,
                          struct ob__member_module modules[OB__MEMBER_MODULES])
{
	size_t n = 0;

	OB__LIST_EACH (it, &node->modules) {
		const struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		const struct ob__gen *g = m->active;
		if (g != NULL && n < OB__MEMBER_MODULES) {
			modules[n++] = (struct ob__member_module){
				.name = m->name,
				.version = g->version,
				.generation = g->number,
			};
		}
	}
	return n;
}

void ob__cluster_describe(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;
	char text[OB__MEMBER_ADDRESSES][OB__MEMBER_ADDRESS];
	const char *addresses[OB__MEMBER_ADDRESSES];
	struct ob__member_module modules[OB__MEMBER_MODULES];
	struct ob__description *desc = NULL;
	uint64_t now = ob__loop_now(node->loop);

	if (c->leaving || c->dialer.loop == NULL) {
		return;
	}
	c->described_at = now;
	for (size_t i = 0; i < OB__MEMBER_ADDRESSES; i++) {
		addresses[i] = text[i];
	}
	const struct ob__member_facts facts = {
		.name = node->name,
		.role = node->role,
		.addresses = addresses,
		.addresses_len = add_addresses(node, text),
		.ranges = node->conf->serve,
		.ranges_len = node->conf->serve_len,
		.modules = modules,
		.modules_len = add_modules(node, modules),
		.methods = ob__methods_own_digest(node),
	};
	int rc = ob__description_make(&desc, &facts);
	if (rc != 0) {
		ob__error("cluster", "this node can't be described to others (%s)",
		          ob__strerror(rc));
		return;
	}
	if (!ob__description_equal(desc, c->dir.self.desc)) {
		c->served_changed = true;
		ob__cluster_after(node);
	}
	ob__directory_describe(&c->dir, desc, (uint16_t)node->conf->weight,
	                       node->phase != OB__NODE_RUNNING && node->phase != OB__NODE_STARTING,
	                       now);
	ob__description_unref(desc);
}

/* ---- what the members serve ---- */

struct span {
	const char *role;
	uint32_t lo;
	uint32_t hi;
	uint32_t role_id;
};

/* Of roles that serve the same id, the one whose word sorts first has it: it is added last. */
static int compare(const void *a, const void *b)
{
	const struct span *x = a;
	const struct span *y = b;
	int order = strcmp(y->role, x->role);

	if (order != 0) {
		return order;
	}
	return x->lo != y->lo ? (x->lo < y->lo ? -1 : 1) : (x->hi > y->hi) - (x->hi < y->hi);
}

static bool is_same(const struct span *a, const struct span *b)
{
	return a->role_id == b->role_id && a->lo == b->lo && a->hi == b->hi;
}

static size_t add_spans(const struct ob__description *d, struct span *out)
{
	for (size_t i = 0; i < d->ranges_len; i++) {
		struct ob__member_range r = ob__description_range(d, i);
		out[i] = (struct span){d->role, r.lo, r.hi, d->role_id};
	}
	return d->ranges_len;
}

static const struct ob__description *desc_of(struct ob__list *it)
{
	return OB__CONTAINER(it, struct ob__dir_node, link)->m.desc;
}

static struct span *list_spans(const struct ob__node *node, size_t *len)
{
	const struct ob__directory *d = &node->cluster.dir;
	size_t n = d->self.desc != NULL ? d->self.desc->ranges_len : 0;

	OB__LIST_EACH (it, &d->nodes) {
		n += desc_of(it)->ranges_len;
	}
	struct span *list = calloc(n + 1, sizeof(*list));
	*len = 0;
	if (list == NULL) {
		return NULL;
	}
	if (d->self.desc != NULL) {
		*len = add_spans(d->self.desc, list);
	}
	OB__LIST_EACH (again, &d->nodes) {
		*len += add_spans(desc_of(again), list + *len);
	}
	qsort(list, *len, sizeof(*list), compare);
	return list;
}

static void warn_overlap(const struct ob__idrange_span *winner,
                         const struct ob__idrange_span *loser, bool special, void *arg)
{
	struct ob__node *node = arg;
	const char *has = ob__registry_word(&node->registry, winner->value);
	const char *not = ob__registry_word(&node->registry, loser->value);

	(void)special;
	ob__warning("cluster", "%s serves [%u, %u] and %s [%u, %u]: %s has what is in both",
	            has != NULL ? has : "?", (unsigned)winner->lo, (unsigned)winner->hi,
	            not != NULL ? not : "?", (unsigned)loser->lo, (unsigned)loser->hi,
	            has != NULL ? has : "?");
}

void ob__cluster_serve(struct ob__node *node)
{
	struct ob__idrange *table = calloc(1, sizeof(*table));
	size_t len = 0;
	struct span *spans = table != NULL ? list_spans(node, &len) : NULL;
	uint32_t role;
	int rc = spans != NULL ? 0 : -ENOMEM;

	if (table != NULL) {
		ob__idrange_init(table);
	}
	for (size_t i = 0; rc == 0 && i < len; i++) {
		if ((i == 0 || !is_same(&spans[i], &spans[i - 1])) &&
		    ob__registry_role(&node->registry, spans[i].role, &role) == 0) {
			rc = ob__idrange_add(table, spans[i].lo, spans[i].hi, role);
		}
	}
	if (rc == 0) {
		rc = ob__idrange_seal(table, warn_overlap, node);
	}
	free(spans);
	if (rc == 0) {
		ob__router_set_served(&node->router, table);
		return;
	}
	ob__error("cluster", "what other nodes serve is not taken over (%s)", ob__strerror(rc));
	ob__idrange_free(table);
	free(table);
}

/* ---- the socket that is near ---- */

static void link_waiting(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	struct ob__node *node = arg;

	(void)l;
	ob__links_accept(node->links, server);
}

void ob__cluster_listen(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;
	char err[256];
	char path[600];
	struct ob__listener_options options = {.path = path, .mode = 0600};

	if (!node->conf->rpc_unix) {
		return;
	}
	int len = snprintf(path, sizeof(path), "%s/" SOCKET_NAME, node->dir);
	if (path[0] != '/' || len >= (int)sizeof(c->near)) {
		ob__info("link", "%s: no socket for links from this machine, its path is %s", path,
		         path[0] != '/' ? "not absolute" : "too long");
		return;
	}
	c->near_listener =
		ob__listener_open(node->loop, &options, link_waiting, node, err, sizeof(err));
	if (c->near_listener == NULL) {
		ob__warning("link", "no socket for links from this machine: %s", err);
		return;
	}
	memcpy(c->near, path, (size_t)len + 1);
}

void ob__cluster_accept(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;

	if (c->near_listener != NULL && ob__listener_start(c->near_listener) != 0) {
		ob__warning("link", "%s: can't accept", c->near);
		ob__cluster_unlisten(node);
	}
}

void ob__cluster_unlisten(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;

	ob__listener_close(c->near_listener);
	c->near_listener = NULL;
	c->near[0] = '\0';
}
