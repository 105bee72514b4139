/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>

#include "host/cluster/cluster_priv.h"
#include "host/node.h"

static json_t *addresses_json(const struct ob__description *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->addresses_len; i++) {
		json_array_append_new(list, json_string(d->addresses[i]));
	}
	return list;
}

static json_t *ranges_json(const struct ob__description *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->ranges_len; i++) {
		struct ob__member_range r = ob__description_range(d, i);
		json_array_append_new(list,
		                      json_pack("[I, I]", (json_int_t)r.lo, (json_int_t)r.hi));
	}
	return list;
}

static json_t *modules_json(const struct ob__description *d)
{
	json_t *list = json_array();
	struct ob__member_module m;
	size_t pos = 0;

	while (ob__description_module(d, &pos, &m)) {
		json_array_append_new(list,
		                      json_pack("{s:s, s:s, s:I}", "name", m.name, "version",
		                                m.version, "generation", (json_int_t)m.generation));
	}
	return list;
}

static void set_member(json_t *to, const struct ob__member *m)
{
	json_object_set_new(to, "weight", json_integer(m->weight));
	json_object_set_new(to, "load", json_integer((json_int_t)m->load));
	if (m->desc != NULL) {
		json_object_set_new(to, "addresses", addresses_json(m->desc));
		json_object_set_new(to, "ranges", ranges_json(m->desc));
		json_object_set_new(to, "modules", modules_json(m->desc));
	}
}

static const char *state_of(const struct ob__peer *p)
{
	if (p->state != OB__MEMBER_UNKNOWN && !(p->link != NULL && !ob__peer_is_listed(p))) {
		return ob__member_state_word(p->state);
	}
	return p->link != NULL ? "up" : "down";
}

void ob__cluster_peer_json(const struct ob__node *node, const struct ob__peer *p, json_t *peer)
{
	const struct ob__directory *d = &node->cluster.dir;
	const struct ob__dir_node *n = ob__directory_get(d, p->who.id);
	bool through = p->link == NULL && p->via != NULL && p->via->link != NULL;

	json_object_set_new(peer, "state", json_string(state_of(p)));
	json_object_set_new(peer, "listed", json_boolean(n != NULL));
	json_object_set_new(peer, "stale", json_boolean(n != NULL && d->stale_since != 0));
	json_object_set_new(peer, "via", json_string(through ? p->via->who.name : ""));
	json_object_set_new(peer, "dialling", json_string(ob__dialer_state(p)));
	if (n != NULL) {
		json_object_set_new(peer, "incarnation",
		                    json_integer((json_int_t)n->m.incarnation));
		set_member(peer, &n->m);
	}
}

static json_t *sources_json(const struct ob__node *node)
{
	const struct ob__directory *d = &node->cluster.dir;
	json_t *list = json_array();

	for (size_t i = 0; i < OB__DIR_SOURCES; i++) {
		const struct ob__dir_source *s = &d->sources[i];
		const struct ob__peer *p = ob__registry_get(&node->registry, s->id);
		const char *name = s->id == node->self.id ? node->self.name
		                   : p != NULL            ? p->who.name
		                                          : "?";
		if (s->id != 0) {
			json_array_append_new(list,
			                      json_pack("{s:s, s:b, s:b, s:b, s:I}", "name", name,
			                                "up", s->up, "synced", s->synced, "settled",
			                                s->settled, "seq", (json_int_t)s->seq));
		}
	}
	return list;
}

json_t *ob__cluster_json(const struct ob__node *node)
{
	const struct ob__directory *d = &node->cluster.dir;
	json_t *self = json_pack("{s:s, s:s, s:I, s:b}", "name", node->self.name, "role",
	                         node->self.role, "incarnation", (json_int_t)node->self.incarnation,
	                         "draining", d->self.draining);

	set_member(self, &d->self);
	return json_pack("{s:b, s:i, s:o, s:o}", "stale", d->stale_since != 0, "members",
	                 (int)d->count, "route_nodes", sources_json(node), "self", self);
}

/* ---- gauges ---- */

static double gauge_members(void *arg)
{
	const struct ob__node *node = arg;

	return (double)node->cluster.dir.count;
}

static double gauge_stale(void *arg)
{
	const struct ob__node *node = arg;

	return node->cluster.dir.stale_since != 0;
}

static double gauge_u64(void *arg)
{
	return (double)*(const uint64_t *)arg;
}

static void kind_gauges(struct ob__stats *s, struct ob__dir_counts *counts, const char *half)
{
	for (int kind = 0; kind < OB__DIR_KINDS; kind++) {
		char labels[96];
		const char *word = ob__dir_kind_word((enum ob__dir_kind)kind);
		snprintf(labels, sizeof(labels), "half=\"%s\",kind=\"%s\",way=\"in\"", half, word);
		ob__stat_gauge(s, "obhost_directory_messages", labels,
		               "Messages about which nodes there are.", gauge_u64,
		               &counts->in[kind].messages);
		snprintf(labels, sizeof(labels), "half=\"%s\",kind=\"%s\",way=\"out\"", half, word);
		ob__stat_gauge(s, "obhost_directory_messages", labels,
		               "Messages about which nodes there are.", gauge_u64,
		               &counts->out[kind].messages);
	}
}

void ob__cluster_gauges(struct ob__node *node)
{
	struct ob__cluster *c = &node->cluster;
	struct ob__stats *s = node->stats;

	ob__stat_gauge(s, "obhost_members", NULL, "Other nodes that the directory lists.",
	               gauge_members, node);
	ob__stat_gauge(s, "obhost_directory_stale", NULL,
	               "1: no route node can be asked who is there.", gauge_stale, node);
	kind_gauges(s, &c->dir.counts, "directory");
	if (c->has_view) {
		kind_gauges(s, &c->view.counts, "view");
	}
}
