/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sdk/sdk_priv.h"

#include <stdio.h>
#include <string.h>

#include "host/admin/admin.h"
#include "host/client/codec_state.h"
#include "host/client/door.h"
#include "host/client/listen.h"
#include "host/cluster/transport.h"
#include "host/node.h"
#include "host/push/groups.h"

int ob__sdk_reg(ob_ctx *ctx, enum ob__slot_kind kind, uint64_t id, const char *name,
                struct ob__reg **out)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__slot_key key = {kind, id, name};
	int rc = ob__slot_register(&g->node->slots, g, &key, out);

	if (rc != 0 && name != NULL) {
		snprintf(g->refused, sizeof(g->refused), "\"%.64s\"", name);
	} else if (rc != 0) {
		snprintf(g->refused, sizeof(g->refused), "id %llu", (unsigned long long)id);
	}
	return rc;
}

int ob__sdk_reg_chained(ob_ctx *ctx, enum ob__slot_kind kind, struct ob__reg **out)
{
	if (gen_of(ctx)->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	return ob__sdk_reg(ctx, kind, 0, NULL, out);
}

int ob__sdk_on_id(ob_ctx *ctx, uint32_t id, ob_handler_fn fn, uint32_t flags)
{
	struct ob__reg *client = NULL;
	struct ob__reg *link = NULL;
	int rc = 0;

	if (fn == NULL || id > 0x7fffffffu || (flags & (OB_FROM_CLIENT | OB_FROM_LINK)) == 0) {
		return OB_E_INVAL;
	}
	if ((flags & OB_FROM_CLIENT) != 0) {
		rc = ob__sdk_reg(ctx, OB__SLOT_CLIENT_ID, id, NULL, &client);
	}
	if (rc == 0 && (flags & OB_FROM_LINK) != 0) {
		rc = ob__sdk_reg(ctx, OB__SLOT_LINK_ID, id, NULL, &link);
	}
	if (rc != 0) {
		if (client != NULL) {
			ob__slot_unregister(client);
		}
		return rc;
	}
	if (client != NULL) {
		client->fn.handler = fn;
		client->flags = flags;
	}
	if (link != NULL) {
		link->fn.handler = fn;
		link->flags = flags;
	}
	return 0;
}

/* The modules that come with the host, whose methods are its own. */
static bool is_of_the_host(const struct ob__module *m)
{
	return strcmp(m->name, "service") == 0 || strcmp(m->name, "route") == 0 ||
	       strcmp(m->name, "proxy") == 0;
}

int ob__sdk_on_name(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
{
	struct ob__gen *g = gen_of(ctx);
	uint32_t id;

	if (name == NULL || fn == NULL) {
		return OB_E_INVAL;
	}
	int rc = ob__msgname_know(&g->node->msgnames, name, strlen(name), &id);
	if (rc != 0) {
		snprintf(g->refused, sizeof(g->refused), "\"%.64s\"", name);
		return rc;
	}
	return ob__sdk_on_id(ctx, id, fn, flags);
}

uint32_t ob__sdk_name_id(ob_ctx *ctx, const char *name, size_t len, uint32_t flags)
{
	struct ob__msgnames *names = &node_of(ctx)->msgnames;
	uint32_t id;

	if (name == NULL) {
		return 0;
	}
	if ((flags & OB_NAME_KNOW) == 0) {
		return ob__msgname_id(names, name, len);
	}
	return ob__msgname_know(names, name, len, &id) == 0 ? id : 0;
}

const char *ob__sdk_name_of(ob_ctx *ctx, uint32_t id)
{
	const struct ob__msgname *known = ob__msgname_of(&node_of(ctx)->msgnames, id);

	return known != NULL ? known->name : NULL;
}

uint32_t ob__sdk_route_name(ob_ctx *ctx, const char *name, size_t len)
{
	return name != NULL ? ob__msgname_role(node_of(ctx), name, len) : 0;
}

int ob__sdk_on_method(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__reg *reg;

	if (fn == NULL || name == NULL || *name == '\0' || strlen(name) > 255) {
		return OB_E_INVAL;
	}
	if (strncmp(name, "sys.", 4) == 0 && !is_of_the_host(g->module)) {
		snprintf(g->refused, sizeof(g->refused),
		         "\"%.64s\": methods in \"sys\" are the host's; take \"user\"", name);
		return OB_E_DENIED;
	}
	int rc = ob__sdk_reg(ctx, OB__SLOT_METHOD, 0, name, &reg);
	if (rc == 0) {
		reg->fn.handler = fn;
		reg->flags = flags;
	}
	return rc;
}

static int take_back(ob_ctx *ctx, const struct ob__slot_key *keys, size_t count)
{
	const struct ob__gen *g = gen_of(ctx);
	int rc = OB_E_NOT_FOUND;

	if (g->state != OB__GEN_STARTING && g->state != OB__GEN_ACTIVE) {
		return OB_E_STATE;
	}
	for (size_t i = 0; i < count; i++) {
		rc = ob__slot_off(&g->node->slots, g, &keys[i]) ? 0 : rc;
	}
	return rc;
}

int ob__sdk_off_id(ob_ctx *ctx, uint32_t id)
{
	const struct ob__slot_key keys[] = {{OB__SLOT_CLIENT_ID, id, NULL},
	                                    {OB__SLOT_LINK_ID, id, NULL}};

	return take_back(ctx, keys, 2);
}

int ob__sdk_off_method(ob_ctx *ctx, const char *name)
{
	const struct ob__slot_key key = {OB__SLOT_METHOD, 0, name};

	return name != NULL ? take_back(ctx, &key, 1) : OB_E_INVAL;
}

int ob__sdk_on_http(ob_ctx *ctx, const char *method, const char *path, ob_handler_fn fn,
                    uint32_t flags)
{
	struct ob__gen *g = gen_of(ctx);
	char name[512];
	struct ob__reg *reg;

	if (fn == NULL || method == NULL || *method == '\0' || strchr(method, ' ') != NULL ||
	    path == NULL || path[0] != '/') {
		return OB_E_INVAL;
	}
	const char *star = strchr(path, '*');
	if (star != NULL && (star[1] != '\0' || star[-1] != '/')) {
		return OB_E_INVAL;
	}
	bool admin = (flags & OB_HTTP_ADMIN) != 0;
	if (ob__admin_path(path) != admin || (admin && !g->module->admin)) {
		snprintf(g->refused, sizeof(g->refused), "\"%.64s\" is an administrative path",
		         path);
		return OB_E_DENIED;
	}
	int len = snprintf(name, sizeof(name), "%s %s", method, path);
	if (len < 0 || (size_t)len >= sizeof(name)) {
		return OB_E_INVAL;
	}
	int rc = ob__sdk_reg(ctx, OB__SLOT_HTTP, 0, name, &reg);
	if (rc == 0) {
		reg->fn.handler = fn;
		reg->flags = flags & OB_HTTP_ADMIN; /* HTTP is always answered */
	}
	return rc;
}

int ob__sdk_on_event(ob_ctx *ctx, int event, ob_event_fn fn)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__reg *reg;

	if (fn == NULL || event < OB_EVENT_SESSION_OPENED || event > OB_EVENT_SESSION_LEFT) {
		return OB_E_INVAL;
	}
	/* As with filters: the chain may be under way right now. */
	if (g->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	int rc = ob__sdk_reg(ctx, OB__SLOT_EVENT, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.event = fn;
		reg->priority = event;
	}
	return rc;
}

int ob__sdk_on_group(ob_ctx *ctx, const char *prefix, ob_group_fn fn)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__reg *reg;

	if (fn == NULL || prefix == NULL || (*prefix != '\0' && !ob__group_ok(prefix))) {
		return OB_E_INVAL;
	}
	if (g->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	int rc = ob__sdk_reg(ctx, OB__SLOT_GROUP, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.group.fn = fn;
		memcpy(reg->fn.group.prefix, prefix, strlen(prefix) + 1);
	}
	return rc;
}

int ob__sdk_on_filter(ob_ctx *ctx, int priority, ob_filter_fn fn)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__reg *reg;

	if (fn == NULL) {
		return OB_E_INVAL;
	}
	/* A chain in use may be under way right now; filters are for start(). */
	if (g->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	int rc = ob__sdk_reg(ctx, OB__SLOT_FILTER, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.filter = fn;
		reg->priority = priority;
	}
	return rc;
}

int ob__sdk_on_call_filter(ob_ctx *ctx, int when, int priority, ob_call_filter_fn fn)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__reg *reg;

	if (fn == NULL || when < OB_CALL_BEFORE_OUT || when > OB_CALL_AFTER_IN) {
		return OB_E_INVAL;
	}
	if (g->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	int rc = ob__sdk_reg(ctx, OB__SLOT_CALL_FILTER, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.call_filter = fn;
		reg->flags = (uint32_t)when;
		reg->priority = priority;
	}
	return rc;
}

int ob__sdk_on_client_message(ob_ctx *ctx, ob_decide_fn fn)
{
	struct ob__reg *reg;
	int rc = fn != NULL ? ob__sdk_reg(ctx, OB__SLOT_CLIENT_DECIDER, 0, "client messages", &reg)
	                    : OB_E_INVAL;

	if (rc == 0) {
		reg->fn.decide = fn;
	}
	return rc;
}

int ob__sdk_on_link_message(ob_ctx *ctx, ob_decide_fn fn)
{
	struct ob__reg *reg;
	int rc = fn != NULL ? ob__sdk_reg(ctx, OB__SLOT_LINK_DECIDER, 0, "link messages", &reg)
	                    : OB_E_INVAL;

	if (rc == 0) {
		reg->fn.decide = fn;
	}
	return rc;
}

int ob__sdk_on_unknown(ob_ctx *ctx, ob_handler_fn fn)
{
	struct ob__reg *reg;
	int rc = fn != NULL ? ob__sdk_reg(ctx, OB__SLOT_UNKNOWN, 0, "unknown ids", &reg)
	                    : OB_E_INVAL;

	if (rc == 0) {
		reg->fn.handler = fn;
	}
	return rc;
}

int ob__sdk_on_error_body(ob_ctx *ctx, ob_error_body_fn fn)
{
	struct ob__reg *reg;
	int rc = fn != NULL ? ob__sdk_reg(ctx, OB__SLOT_ERROR_BODY, 0, "error bodies", &reg)
	                    : OB_E_INVAL;

	if (rc == 0) {
		reg->fn.error_body = fn;
	}
	return rc;
}

#define CODEC_SIZE_1_0 offsetof(ob_codec, arg)

int ob__sdk_on_codec(ob_ctx *ctx, const ob_codec *given)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__reg *reg;
	uint32_t flags;

	if (given == NULL || given->size < CODEC_SIZE_1_0 || given->name == NULL ||
	    given->decode == NULL || given->encode == NULL || given->state_size > 65536 ||
	    given->overhead > 4096) {
		return OB_E_INVAL;
	}
	ob_codec codec = {.size = 0};
	memcpy(&codec, given, given->size < sizeof(codec) ? given->size : sizeof(codec));
	int rc = ob__codec_acceptable(g, &codec, &flags);
	rc = rc == 0 ? ob__sdk_reg(ctx, OB__SLOT_CODEC, 0, codec.name, &reg) : rc;
	if (rc != 0) {
		return rc;
	}
	reg->flags = flags;
	reg->codec = codec;
	reg->codec.name = reg->slot->name;
	rc = ob__codec_registered(g, reg);
	if (rc != 0) {
		ob__slot_unregister(reg);
	}
	return rc;
}

int ob__sdk_on_policy(ob_ctx *ctx, const char *name, ob_policy_fn fn)
{
	struct ob__reg *reg;

	if (fn == NULL || name == NULL || !ob__module_name_ok(name)) {
		return OB_E_INVAL;
	}
	if (ob__balance_way(name) != 0) {
		return OB_E_EXISTS;
	}
	int rc = ob__sdk_reg(ctx, OB__SLOT_POLICY, 0, name, &reg);
	if (rc == 0) {
		reg->fn.policy = fn;
	}
	return rc;
}

int ob__sdk_on_transport(ob_ctx *ctx, const ob_transport *transport)
{
	struct ob__reg *reg;

	if (!ob__transport_ok(transport)) {
		return OB_E_INVAL;
	}
	if (ob__transport_built_in(transport->name)) {
		return OB_E_EXISTS;
	}
	int rc = ob__sdk_reg(ctx, OB__SLOT_TRANSPORT, 0, transport->name, &reg);
	if (rc == 0) {
		reg->fn.transport = *transport;
		reg->fn.transport.name = reg->slot->name;
	}
	return rc;
}

int ob__sdk_listen(ob_ctx *ctx, const ob_listen_options *options)
{
	return ob__listen(gen_of(ctx), options);
}

int ob__sdk_on_client_transport(ob_ctx *ctx, const ob_client_transport *transport)
{
	struct ob__reg *reg;

	if (!ob__client_transport_ok(transport)) {
		return OB_E_INVAL;
	}
	if (gen_of(ctx)->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	if (ob__transport_built_in(transport->name) || ob__listen_kind(transport->name) != 0) {
		return OB_E_EXISTS;
	}
	int rc = ob__sdk_reg(ctx, OB__SLOT_CLIENT_TRANSPORT, 0, transport->name, &reg);
	if (rc == 0) {
		reg->fn.client_transport = *transport;
		reg->fn.client_transport.name = reg->slot->name;
	}
	return rc;
}

int ob__sdk_client_adopt(ob_ctx *ctx, int fd, const ob_adopt_options *options)
{
	return ob__client_adopt(gen_of(ctx), fd, options);
}
