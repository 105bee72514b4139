/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/cluster/policy.h"

#include <string.h>

#include "base/log.h"
#include "host/cluster/names.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "mesh/link.h"

#define REG_SAID_SO 1u /* that its choice made no sense */

/* ---- choosing ---- */

/* A node that is linked and that no route node has told of is up. */
static uint8_t state_of(const struct ob__peer *p)
{
	if (ob__peer_drains(p)) {
		return OB_NODE_DRAINING;
	}
	return p->state == OB__MEMBER_SUSPECT ? OB_NODE_SUSPECT : OB_NODE_UP;
}

static ob_candidate candidate_of(const struct ob__peer *p)
{
	_Static_assert(sizeof(ob_candidate) - offsetof(ob_candidate, local) <= sizeof(uint64_t) &&
	                       offsetof(ob_candidate, load) == offsetof(ob_candidate, local) + 2,
	               "modules of 1.0 walk an array of them");
	const struct ob__balance_node *b = &p->balance;

	return (ob_candidate){
		.size = sizeof(ob_candidate),
		.weight = b->weight,
		.node = p->who.id,
		.name = p->who.name,
		.pending = b->pending,
		.local = p->near,
		.state = state_of(p),
		.load = b->load < UINT16_MAX ? (uint16_t)b->load : UINT16_MAX,
	};
}

static void view_frame(const struct ob__node *node, const struct ob__route_query *q,
                       char method[256], ob_view *view)
{
	const struct ob__frame *f = q->frame;
	uint16_t len = 0;

	*view = (ob_view){
		.size = sizeof(*view),
		.source = node->self.id,
		.flags = q->sticky ? OB_VIEW_STICKY : 0,
	};
	if (f == NULL) {
		return;
	}
	bool call = (f->flags & OB__FRAME_CALL) != 0;
	bool own = f->src == 0 || f->src == node->self.id;
	const uint8_t *name = (f->flags & OB__FRAME_METHOD) != 0
	                              ? ob__frame_ext(f, OB__FRAME_EXT_METHOD, &len)
	                              : NULL;
	if (name != NULL && len < 256) {
		memcpy(method, name, len);
		method[len] = '\0';
		view->method = method;
	}
	view->id = f->id;
	view->flags |= (call ? OB_VIEW_CALL : 0) | (own ? 0 : OB_VIEW_LINK) |
	               (own && !call ? OB_VIEW_CLIENT : 0) |
	               ((f->flags & OB__FRAME_ONE_WAY) != 0 ? OB_VIEW_ONE_WAY : 0);
	view->budget_ms = f->budget;
	view->source = own ? node->self.id : f->src;
	view->data = f->payload;
	view->len = f->payload_len;
	if (f->session_node != 0) {
		const struct ob__session *s =
			ob__session_find(&node->sessions, f->session_node, f->session_seq);
		view->session = s != NULL ? s->handle : 0;
	}
}

static void no_sense(struct ob__node *node, struct ob__reg *reg, int choice, size_t len)
{
	char labels[128];

	snprintf(labels, sizeof(labels), "policy=\"%s\"", reg->slot->name);
	++*ob__stat_counter(node->stats, "obhost_policy_failed_total", labels,
	                    "Choices of policies that named no candidate.");
	reg->gen->failed++;
	if ((reg->flags & REG_SAID_SO) == 0) {
		reg->flags |= REG_SAID_SO;
		ob__error("policy",
		          "%s: module %s, generation %u, chose number %d of %zu; the node chooses "
		          "itself",
		          reg->slot->name, reg->gen->module->name, reg->gen->number, choice, len);
	}
}

static uint64_t key_of(const struct ob__route_query *q)
{
	if (q->key != 0 || q->session_node == 0) {
		return q->key;
	}
	return ob__balance_key(q->session_node, q->session_seq);
}

static int choose(void *arg, const struct ob__route_query *q, void *policy,
                  const struct ob__registry_role *role, struct ob__peer *const *peers, size_t len)
{
	struct ob__node *node = arg;
	struct ob__reg *reg = ob__slot_active(policy);
	ob_candidate candidates[OB__ROUTE_CANDIDATES];
	char method[256];
	ob_view view;

	if (reg == NULL) {
		return OB__ROUTE_AS_USUAL;
	}
	for (size_t i = 0; i < len; i++) {
		candidates[i] = candidate_of(peers[i]);
	}
	view_frame(node, q, method, &view);
	ob_choice c = {
		.size = sizeof(c),
		.role = role->id,
		.view = &view,
		.candidates = candidates,
		.len = len,
		.key = key_of(q),
	};
	const struct ob__route_query *placing = node->placing;
	const ob_choice *asked = node->choice;
	node->placing = q;
	node->choice = &c;
	uint64_t entered = ob__gen_enter(reg->gen);
	int choice = reg->fn.policy(&reg->gen->ctx, &c);
	ob__gen_leave(reg->gen, entered);
	node->placing = placing;
	node->choice = asked;
	if (choice < 0) {
		return ob__result_clean(choice);
	}
	if ((size_t)choice >= len) {
		no_sense(node, reg, choice, len);
		return OB__ROUTE_AS_USUAL;
	}
	reg->gen->handled++;
	return choice;
}

const void *ob__policy_attr(const struct ob__node *node, const ob_choice *choice, const char *key,
                            size_t *len)
{
	const struct ob__frame *f = node->placing != NULL ? node->placing->frame : NULL;
	const struct ob__session *s;
	const struct ob__session_attr *a;
	uint16_t ext_len = 0;

	*len = 0;
	if (f == NULL || choice != node->choice || f->session_node == 0 || !ob__key_ok(key)) {
		return NULL;
	}
	s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	if (s != NULL && s->conn != 0) {
		a = ob__session_attr(s, key);
		*len = a != NULL ? a->len : 0;
		return a != NULL ? a->value : NULL;
	}
	/* Only its proxy knows. */
	const uint8_t *ext =
		f->src == f->session_node ? ob__frame_ext(f, OB__FRAME_EXT_ATTRS, &ext_len) : NULL;
	return ext != NULL ? ob__carry_find(ext, ext_len, key, len) : NULL;
}

void ob__policy_init(struct ob__node *node)
{
	node->router.choose = choose;
	node->router.choose_arg = node;
}

/* ---- the configuration ---- */

static const json_t *policies(const struct ob__nodeconf *c)
{
	return ob__conf_get(c->root, "rpc.policy");
}

static enum ob__balance_way built_in(const json_t *name)
{
	return ob__balance_way(json_string_value(name));
}

static struct ob__slot *slot_of(struct ob__node *node, const json_t *name)
{
	struct ob__slot_key key = {.kind = OB__SLOT_POLICY, .name = json_string_value(name)};
	struct ob__slot *slot = NULL;

	return ob__slots_get(&node->slots, &key, &slot) == 0 ? slot : NULL;
}

static const json_t *ranges(const struct ob__nodeconf *c)
{
	return ob__conf_get(c->root, "rpc.policy_range");
}

/* The slot of one that is not built in is there. */
static int prepare(struct ob__node *node, const json_t *name)
{
	return built_in(name) == 0 && slot_of(node, name) == NULL ? OB_E_LIMIT : 0;
}

int ob__policy_prepare(struct ob__node *node, const struct ob__nodeconf *c, const char **what)
{
	json_t *name;
	uint32_t id;
	int rc = 0;

	json_object_foreach ((json_t *)(uintptr_t)policies(c), *what, name) {
		if (ob__registry_role(&node->registry, *what, &id) != 0) {
			return OB_E_EXISTS;
		}
		rc = prepare(node, name);
		if (rc != 0) {
			return rc;
		}
	}
	for (size_t i = 0; rc == 0 && i < c->choosers_len; i++) {
		name = json_object_get(json_array_get(ranges(c), i), "policy");
		*what = json_string_value(name);
		rc = prepare(node, name);
	}
	return rc;
}

static struct ob__chooser chooser_of(struct ob__node *node, const json_t *name)
{
	enum ob__balance_way way = built_in(name);
	struct ob__chooser c = {.way = way, .policy = way == 0 ? slot_of(node, name) : NULL};

	node->registry.policies += c.policy != NULL;
	return c;
}

void ob__policy_apply(struct ob__node *node, const struct ob__nodeconf *c)
{
	struct ob__map_entry *e;
	const char *word;
	json_t *name;

	for (size_t i = 0; (e = ob__map_next(&node->registry.by_role, &i)) != NULL;) {
		struct ob__registry_role *role = e->value;
		role->chooser = (struct ob__chooser){0};
	}
	node->registry.policies = 0;
	ob__registry_changed(&node->registry);
	json_object_foreach ((json_t *)(uintptr_t)policies(c), word, name) {
		struct ob__registry_role *role =
			ob__registry_role_get(&node->registry, ob__fnv1a32(word));
		if (role != NULL) {
			role->chooser = chooser_of(node, name);
		}
	}
	for (size_t i = 0; i < c->choosers_len; i++) {
		c->choosers[i] =
			chooser_of(node, json_object_get(json_array_get(ranges(c), i), "policy"));
	}
	node->router.chooser_of = c->choosers_len > 0 ? &c->policy_range : NULL;
	node->router.choosers = c->choosers;
}

/* ---- asking ---- */

static void check(const struct ob__chooser *c, const char *key, const char *among)
{
	const struct ob__slot *slot = c->policy;

	if (slot != NULL && slot->active == NULL) {
		ob__warning("policy",
		            "%s: no loaded module offers %s; the node chooses among %s itself", key,
		            slot->name, among);
	}
}

void ob__policy_check(const struct ob__node *node)
{
	struct ob__map_entry *e;

	for (size_t i = 0; (e = ob__map_next(&node->registry.by_role, &i)) != NULL;) {
		const struct ob__registry_role *role = e->value;
		check(&role->chooser, "rpc.policy", role->word);
	}
	for (size_t i = 0; i < node->conf->choosers_len; i++) {
		check(&node->conf->choosers[i], "rpc.policy_range", "the nodes");
	}
}

static json_t *chooser_json(const struct ob__chooser *c)
{
	const struct ob__slot *slot = c->policy;
	const char *name = slot != NULL ? slot->name : ob__balance_name(c->way);
	const char *module =
		slot != NULL && slot->active != NULL ? slot->active->gen->module->name : NULL;

	return json_pack("{s:s, s:b, s:s?}", "policy", name, "built_in", slot == NULL, "module",
	                 module);
}

json_t *ob__policy_json(const struct ob__node *node)
{
	json_t *all = json_object();
	struct ob__map_entry *e;

	for (size_t i = 0; (e = ob__map_next(&node->registry.by_role, &i)) != NULL;) {
		const struct ob__registry_role *role = e->value;
		if (role->chooser.policy != NULL || role->chooser.way != 0) {
			json_object_set_new(all, role->word, chooser_json(&role->chooser));
		}
	}
	return all;
}

json_t *ob__policy_ranges_json(const struct ob__node *node)
{
	const struct ob__idrange *t = &node->conf->policy_range;
	json_t *all = json_array();

	for (size_t i = 0; i < t->flat_len; i++) {
		const struct ob__idrange_span *span = &t->flat[i];
		json_t *one = chooser_json(&node->conf->choosers[span->value]);
		json_object_set_new(one, "low", json_integer(span->lo));
		json_object_set_new(one, "high", json_integer(span->hi));
		json_array_append_new(all, one);
	}
	return all;
}
