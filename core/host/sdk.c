/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/admin/admin.h"
#include "host/client/codec_state.h"
#include "host/client/conn.h"
#include "host/client/door.h"
#include "host/client/listen.h"
#include "host/cluster/policy.h"
#include "host/cluster/transport.h"
#include "host/fdwatch.h"
#include "host/generation.h"
#include "host/kv.h"
#include "host/message/dispatch.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/push/groups.h"
#include "host/push/push_many.h"
#include "host/session/lock.h"
#include "host/slot.h"
#include "host/user/users.h"
#include "host/work.h"
#include "lib/blob.h"
#include "lib/map.h"
#include "net/http.h"

static struct ob__gen *gen_of(ob_ctx *ctx)
{
	return (struct ob__gen *)ctx;
}

static struct ob__node *node_of(ob_ctx *ctx)
{
	return gen_of(ctx)->node;
}

/* ---- the node ---- */

static const char *sdk_strerror(ob_ctx *ctx, int code)
{
	(void)ctx;
	return ob__strerror(code);
}

static int sdk_status(ob_ctx *ctx, int code)
{
	(void)ctx;
	return ob__result_http(code);
}

static int sdk_refuse(ob_ctx *ctx, int code, const char *text)
{
	struct ob__gen *g = gen_of(ctx);

	snprintf(g->refused, sizeof(g->refused), "%s", text);
	return code;
}

OB_PRINTF(3, 0)
static void sdk_vlog(ob_ctx *ctx, int level, const char *fmt, va_list ap)
{
	if (ob__log_on(level)) {
		ob__vlog_at(level, gen_of(ctx)->module->name, fmt, ap);
	}
}

static const json_t *sdk_config(ob_ctx *ctx, const char *path)
{
	return ob__conf_get(node_of(ctx)->masked_conf, path);
}

static int sdk_node_info(ob_ctx *ctx, ob_node_info *info)
{
	const struct ob__identity *self = &node_of(ctx)->self;

	if (info->size != sizeof(*info)) {
		return OB_E_INVAL;
	}
	*info = (ob_node_info){
		.size = sizeof(*info),
		.role_id = self->role_id,
		.id = self->id,
		.incarnation = self->incarnation,
		.name = self->name,
		.role = self->role,
	};
	return 0;
}

static uint64_t sdk_now_ms(ob_ctx *ctx)
{
	return ob__loop_now(node_of(ctx)->loop);
}

static uint32_t sdk_role(ob_ctx *ctx, const char *word)
{
	(void)ctx;
	return ob__fnv1a32(word);
}

static void *sdk_state(ob_ctx *ctx, const char *key, size_t size, uint32_t version)
{
	return ob__gen_state_block(gen_of(ctx), key, size, version);
}

static bool metric_name_ok(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return len > 0 && len < 64 && name[len] == '\0';
}

static int sdk_counter(ob_ctx *ctx, const char *name, const char *help)
{
	struct ob__module *m = gen_of(ctx)->module;
	char metric[128];
	char labels[128];

	if (!metric_name_ok(name)) {
		return OB_E_INVAL;
	}
	for (size_t i = 0; i < m->counters_len; i++) {
		if (strcmp(m->counters[i].name, name) == 0) {
			return (int)i;
		}
	}
	if (m->counters_len >= 64) {
		return OB_E_LIMIT;
	}
	struct ob__module_counter *grown =
		realloc(m->counters, (m->counters_len + 1) * sizeof(*grown));
	if (grown == NULL) {
		return OB_E_NOMEM;
	}
	m->counters = grown;
	char *copy = strdup(name);
	if (copy == NULL) {
		return OB_E_NOMEM;
	}
	snprintf(metric, sizeof(metric), "obhost_module_%s_total", name);
	snprintf(labels, sizeof(labels), "module=\"%s\"", m->name);
	grown[m->counters_len] = (struct ob__module_counter){
		copy, ob__stat_counter(node_of(ctx)->stats, metric, labels, help)};
	return (int)m->counters_len++;
}

static void sdk_count(ob_ctx *ctx, int counter, uint64_t n)
{
	const struct ob__module *m = gen_of(ctx)->module;

	if (counter >= 0 && (size_t)counter < m->counters_len) {
		*m->counters[counter].value += n;
	}
}

static bool sdk_rehearsing(ob_ctx *ctx)
{
	(void)ctx;
	return false;
}

static int sdk_module_info(ob_ctx *ctx, ob_module_info *info)
{
	const struct ob__gen *g = gen_of(ctx);

	if (info->size != sizeof(*info)) {
		return OB_E_INVAL;
	}
	*info = (ob_module_info){
		.size = sizeof(*info),
		.generation = g->number,
		.name = g->module->name,
		.version = g->version,
	};
	return 0;
}

/* ---- what outlives a generation ---- */

static bool started(const struct ob__gen *g)
{
	return g->state != OB__GEN_LOADED;
}

/* Before the switch the other generation serves, and the store is its own; what a load() that is
 * refused had written would stay. */
static bool may_keep(const struct ob__gen *g)
{
	return started(g) && g->state != OB__GEN_STARTING && g->reader == NULL;
}

static int sdk_kv_set(ob_ctx *ctx, const char *key, const void *data, size_t len)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__module *m = g->module;

	if (!may_keep(g)) {
		return OB_E_STATE;
	}
	if (m->kv == NULL) {
		m->kv = ob__kv_new();
	}
	return m->kv != NULL ? ob__kv_set(m->kv, key, data, len) : OB_E_NOMEM;
}

static const void *sdk_kv_get(ob_ctx *ctx, const char *key, size_t *len)
{
	const struct ob__gen *g = gen_of(ctx);

	if (!started(g) || g->module->kv == NULL) {
		if (len != NULL) {
			*len = 0;
		}
		return NULL;
	}
	return ob__kv_get(g->module->kv, key, len);
}

static int sdk_kv_del(ob_ctx *ctx, const char *key)
{
	const struct ob__gen *g = gen_of(ctx);

	if (!may_keep(g)) {
		return OB_E_STATE;
	}
	return g->module->kv != NULL ? ob__kv_del(g->module->kv, key) : OB_E_NOT_FOUND;
}

static const char *sdk_kv_next(ob_ctx *ctx, const char *after)
{
	const struct ob__gen *g = gen_of(ctx);

	return started(g) && g->module->kv != NULL ? ob__kv_next(g->module->kv, after) : NULL;
}

/* An ob_writer is a struct ob__blob_writer, an ob_reader a struct ob__blob_reader: the one that the
 * hook of this generation which runs now was given, and no other. */
static int sdk_section_write(ob_ctx *ctx, ob_writer *writer, uint32_t tag, uint32_t flags,
                             const void *data, size_t len)
{
	struct ob__blob_writer *w = gen_of(ctx)->writer;

	if (w == NULL || (ob_writer *)w != writer) {
		return OB_E_STATE;
	}
	switch (ob__blob_add(w, tag, flags, data, len)) {
	case 0:
		return 0;
	case -EEXIST:
		return OB_E_EXISTS;
	case -EFBIG:
		return OB_E_TOO_BIG;
	case -ENOMEM:
		return OB_E_NOMEM;
	default:
		return OB_E_INVAL;
	}
}

static struct ob__blob_reader *reader_of(ob_ctx *ctx, const ob_reader *reader)
{
	struct ob__blob_reader *r = gen_of(ctx)->reader;

	return (const ob_reader *)r == reader ? r : NULL;
}

static const void *sdk_section_read(ob_ctx *ctx, ob_reader *reader, uint32_t tag, size_t *len)
{
	struct ob__blob_reader *r = reader_of(ctx, reader);

	return r != NULL ? ob__blob_find(r, tag, len) : NULL;
}

static const void *sdk_section_next(ob_ctx *ctx, ob_reader *reader, uint32_t *tag, size_t *len)
{
	struct ob__blob_reader *r = reader_of(ctx, reader);

	return r != NULL ? ob__blob_next(r, tag, len) : NULL;
}

/* ---- registering ---- */

/* Registers one slot; a refusal is kept for the transaction's report. */
static int reg_slot(ob_ctx *ctx, enum ob__slot_kind kind, uint64_t id, const char *name,
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

static int sdk_on_id(ob_ctx *ctx, uint32_t id, ob_handler_fn fn, uint32_t flags)
{
	struct ob__reg *client = NULL;
	struct ob__reg *link = NULL;
	int rc = 0;

	if (fn == NULL || id > 0x7fffffffu || (flags & (OB_FROM_CLIENT | OB_FROM_LINK)) == 0) {
		return OB_E_INVAL;
	}
	if ((flags & OB_FROM_CLIENT) != 0) {
		rc = reg_slot(ctx, OB__SLOT_CLIENT_ID, id, NULL, &client);
	}
	if (rc == 0 && (flags & OB_FROM_LINK) != 0) {
		rc = reg_slot(ctx, OB__SLOT_LINK_ID, id, NULL, &link);
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

static int sdk_on_name(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
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
	return sdk_on_id(ctx, id, fn, flags);
}

static uint32_t sdk_name_id(ob_ctx *ctx, const char *name, size_t len, uint32_t flags)
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

static const char *sdk_name_of(ob_ctx *ctx, uint32_t id)
{
	const struct ob__msgname *known = ob__msgname_of(&node_of(ctx)->msgnames, id);

	return known != NULL ? known->name : NULL;
}

static uint32_t sdk_route_name(ob_ctx *ctx, const char *name, size_t len)
{
	return name != NULL ? ob__msgname_role(node_of(ctx), name, len) : 0;
}

static int sdk_on_method(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
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
	int rc = reg_slot(ctx, OB__SLOT_METHOD, 0, name, &reg);
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

static int sdk_off_id(ob_ctx *ctx, uint32_t id)
{
	const struct ob__slot_key keys[] = {{OB__SLOT_CLIENT_ID, id, NULL},
	                                    {OB__SLOT_LINK_ID, id, NULL}};

	return take_back(ctx, keys, 2);
}

static int sdk_off_method(ob_ctx *ctx, const char *name)
{
	const struct ob__slot_key key = {OB__SLOT_METHOD, 0, name};

	return name != NULL ? take_back(ctx, &key, 1) : OB_E_INVAL;
}

static int sdk_on_http(ob_ctx *ctx, const char *method, const char *path, ob_handler_fn fn,
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
	int rc = reg_slot(ctx, OB__SLOT_HTTP, 0, name, &reg);
	if (rc == 0) {
		reg->fn.handler = fn;
		reg->flags = flags & OB_HTTP_ADMIN; /* HTTP is always answered */
	}
	return rc;
}

static int sdk_on_event(ob_ctx *ctx, int event, ob_event_fn fn)
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
	int rc = reg_slot(ctx, OB__SLOT_EVENT, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.event = fn;
		reg->priority = event;
	}
	return rc;
}

static int sdk_on_group(ob_ctx *ctx, const char *prefix, ob_group_fn fn)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__reg *reg;

	if (fn == NULL || prefix == NULL || (*prefix != '\0' && !ob__group_ok(prefix))) {
		return OB_E_INVAL;
	}
	if (g->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	int rc = reg_slot(ctx, OB__SLOT_GROUP, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.group.fn = fn;
		memcpy(reg->fn.group.prefix, prefix, strlen(prefix) + 1);
	}
	return rc;
}

static int sdk_on_filter(ob_ctx *ctx, int priority, ob_filter_fn fn)
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
	int rc = reg_slot(ctx, OB__SLOT_FILTER, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.filter = fn;
		reg->priority = priority;
	}
	return rc;
}

static int sdk_on_call_filter(ob_ctx *ctx, int when, int priority, ob_call_filter_fn fn)
{
	struct ob__gen *g = gen_of(ctx);
	struct ob__reg *reg;

	if (fn == NULL || when < OB_CALL_BEFORE_OUT || when > OB_CALL_AFTER_IN) {
		return OB_E_INVAL;
	}
	if (g->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	int rc = reg_slot(ctx, OB__SLOT_CALL_FILTER, 0, NULL, &reg);
	if (rc == 0) {
		reg->fn.call_filter = fn;
		reg->flags = (uint32_t)when;
		reg->priority = priority;
	}
	return rc;
}

static int sdk_on_client_message(ob_ctx *ctx, ob_decide_fn fn)
{
	struct ob__reg *reg;
	int rc = fn != NULL ? reg_slot(ctx, OB__SLOT_CLIENT_DECIDER, 0, "client messages", &reg)
	                    : OB_E_INVAL;

	if (rc == 0) {
		reg->fn.decide = fn;
	}
	return rc;
}

static int sdk_on_link_message(ob_ctx *ctx, ob_decide_fn fn)
{
	struct ob__reg *reg;
	int rc = fn != NULL ? reg_slot(ctx, OB__SLOT_LINK_DECIDER, 0, "link messages", &reg)
	                    : OB_E_INVAL;

	if (rc == 0) {
		reg->fn.decide = fn;
	}
	return rc;
}

static int sdk_on_unknown(ob_ctx *ctx, ob_handler_fn fn)
{
	struct ob__reg *reg;
	int rc = fn != NULL ? reg_slot(ctx, OB__SLOT_UNKNOWN, 0, "unknown ids", &reg) : OB_E_INVAL;

	if (rc == 0) {
		reg->fn.handler = fn;
	}
	return rc;
}

static int sdk_on_error_body(ob_ctx *ctx, ob_error_body_fn fn)
{
	struct ob__reg *reg;
	int rc = fn != NULL ? reg_slot(ctx, OB__SLOT_ERROR_BODY, 0, "error bodies", &reg)
	                    : OB_E_INVAL;

	if (rc == 0) {
		reg->fn.error_body = fn;
	}
	return rc;
}

#define CODEC_SIZE_1_0 offsetof(ob_codec, arg)

static int sdk_on_codec(ob_ctx *ctx, const ob_codec *given)
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
	rc = rc == 0 ? reg_slot(ctx, OB__SLOT_CODEC, 0, codec.name, &reg) : rc;
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

static int sdk_on_policy(ob_ctx *ctx, const char *name, ob_policy_fn fn)
{
	struct ob__reg *reg;

	if (fn == NULL || name == NULL || !ob__module_name_ok(name)) {
		return OB_E_INVAL;
	}
	if (ob__balance_way(name) != 0) {
		return OB_E_EXISTS;
	}
	int rc = reg_slot(ctx, OB__SLOT_POLICY, 0, name, &reg);
	if (rc == 0) {
		reg->fn.policy = fn;
	}
	return rc;
}

static int sdk_on_transport(ob_ctx *ctx, const ob_transport *transport)
{
	struct ob__reg *reg;

	if (!ob__transport_ok(transport)) {
		return OB_E_INVAL;
	}
	if (ob__transport_built_in(transport->name)) {
		return OB_E_EXISTS;
	}
	int rc = reg_slot(ctx, OB__SLOT_TRANSPORT, 0, transport->name, &reg);
	if (rc == 0) {
		reg->fn.transport = *transport;
		reg->fn.transport.name = reg->slot->name;
	}
	return rc;
}

static int sdk_listen(ob_ctx *ctx, const ob_listen_options *options)
{
	return ob__listen(gen_of(ctx), options);
}

static int sdk_on_client_transport(ob_ctx *ctx, const ob_client_transport *transport)
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
	int rc = reg_slot(ctx, OB__SLOT_CLIENT_TRANSPORT, 0, transport->name, &reg);
	if (rc == 0) {
		reg->fn.client_transport = *transport;
		reg->fn.client_transport.name = reg->slot->name;
	}
	return rc;
}

static int sdk_client_adopt(ob_ctx *ctx, int fd, const ob_adopt_options *options)
{
	return ob__client_adopt(gen_of(ctx), fd, options);
}

/* ---- requests ---- */

/* The request, if it is one of this module's. */
static inline struct ob__req *req_of(ob_ctx *ctx, ob_req req)
{
	const struct ob__dispatch *d = &node_of(ctx)->dispatch;
	struct ob__req *r = d->running;

	if (r == NULL || r->handle != req || r->ended) {
		r = ob__req_of(&d->reqs, req);
	}
	return r != NULL && r->gen->module == gen_of(ctx)->module ? r : NULL;
}

/* Of the size that the module knows.  Each is a constant, which takes a few plain stores; for one
 * that varies the compiler has an instruction that takes longer to begin with. */
static inline void copy_view(ob_view *out, const ob_view *view, uint32_t size)
{
	if (size == sizeof(*out)) {
		*out = *view;
	} else {
		memcpy(out, view, OB__VIEW_1_0);
		out->size = OB__VIEW_1_0;
	}
}

static int sdk_req_view(ob_ctx *ctx, ob_req req, ob_view *view)
{
	const struct ob__req *r = req_of(ctx, req);

	uint32_t size = view->size;
	if (size != sizeof(*view) && size != OB__VIEW_1_0) {
		return OB_E_INVAL;
	}
	if (r == NULL) {
		return OB_E_STALE;
	}
	copy_view(view, &r->view, size);
	return 0;
}

static const json_t *sdk_req_json(ob_ctx *ctx, ob_req req)
{
	struct ob__req *r = req_of(ctx, req);

	return r != NULL ? ob__req_json(r) : NULL;
}

static int sdk_reply(ob_ctx *ctx, ob_req req, const void *data, size_t len)
{
	struct ob__req *r = req_of(ctx, req);

	if (r == NULL) {
		return OB_E_STALE;
	}
	if (len > node_of(ctx)->conf->limits.message) {
		r->gen->failed++; /* a request that is too big is another thing */
		ob__req_end(r, OB_E_TOO_BIG, "the answer is too big", NULL, 0);
		return OB_E_TOO_BIG;
	}
	return ob__req_end(r, OB_OK, NULL, data, len);
}

static int sdk_reply_json(ob_ctx *ctx, ob_req req, json_t *body_stolen)
{
	struct ob__req *r = req_of(ctx, req);
	char *dump;

	if (r == NULL) {
		json_decref(body_stolen);
		return OB_E_STALE;
	}
	dump = body_stolen != NULL ? json_dumps(body_stolen, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	json_decref(body_stolen);
	if (dump == NULL) {
		ob__req_end(r, OB_E_APP, "the handler's answer is not JSON", NULL, 0);
		return OB_E_INVAL;
	}
	r->json_reply = true;
	int rc = sdk_reply(ctx, req, dump, strlen(dump));
	free(dump);
	return rc;
}

static int sdk_fail(ob_ctx *ctx, ob_req req, int code, const char *text)
{
	struct ob__req *r = req_of(ctx, req);

	if (r == NULL) {
		return OB_E_STALE;
	}
	return ob__req_end(r, code < 0 ? code : OB_E_APP, text, NULL, 0);
}

static int sdk_done(ob_ctx *ctx, ob_req req)
{
	struct ob__req *r = req_of(ctx, req);

	return r != NULL ? ob__req_done(r) : OB_E_STALE;
}

static int sdk_request_hold(ob_ctx *ctx, ob_req req)
{
	struct ob__req *r = req_of(ctx, req);

	return r != NULL ? ob__req_hold(r) : OB_E_STALE;
}

static ob_msg sdk_msg_hold(ob_ctx *ctx, const ob_view *view)
{
	return ob__work_msg(gen_of(ctx), view);
}

static int sdk_msg_view(ob_ctx *ctx, ob_msg msg, ob_view *view)
{
	return ob__work_msg_view(gen_of(ctx), msg, view);
}

static int sdk_msg_release(ob_ctx *ctx, ob_msg msg)
{
	return ob__work_msg_release(gen_of(ctx), msg);
}

/* ---- sessions ---- */

static uint32_t sdk_route_role(ob_ctx *ctx, uint32_t id)
{
	return ob__router_role(&node_of(ctx)->router, id);
}

static int sdk_session_info(ob_ctx *ctx, ob_session session, ob_session_info *info)
{
	struct ob__node *node = node_of(ctx);
	const struct ob__session *s = ob__session_get(&node->sessions, session);
	uint32_t size = info->size;

	bool asks_peer = size != offsetof(ob_session_info, peer);

	if (size != sizeof(*info) && size != offsetof(ob_session_info, user) && asks_peer) {
		return OB_E_INVAL; /* of this minor number, or of 1.0 */
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	const struct ob__conn *conn =
		s->conn != 0 && asks_peer ? ob__conn_get(node, s->conn) : NULL;
	node->peer_text[0] = '\0';
	if (conn != NULL) {
		ob__conn_peer(conn, node->peer_text, sizeof(node->peer_text));
	}
	ob_session_info full = {
		.size = size,
		.local = s->conn != 0,
		.node = s->node,
		.seq = s->seq,
		.peer = node->peer_text,
		.user = ob__session_user(s),
		.epoch = s->more != NULL ? s->more->epoch : 0,
	};
	memcpy(info, &full, size);
	return 0;
}

static int sdk_session_text(ob_ctx *ctx, ob_session session, char *out, size_t cap)
{
	const struct ob__session *s = ob__session_get(&node_of(ctx)->sessions, session);

	return s != NULL ? ob__node_session_text(node_of(ctx), s, out, cap) : OB_E_STALE;
}

static ob_session sdk_session_find(ob_ctx *ctx, const char *text)
{
	const struct ob__session *s = ob__node_session(node_of(ctx), text);

	return s != NULL ? s->handle : 0;
}

static int sdk_session_close(ob_ctx *ctx, ob_session session, uint16_t code, const char *reason)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__dispatch_kick(node_of(ctx), session, code, reason);
}

static int sdk_push(ob_ctx *ctx, ob_session session, uint32_t id, const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	if (id == 0 || id > 0x7fffffffu) {
		return OB_E_INVAL;
	}
	return ob__dispatch_push(node_of(ctx), session, id, data, len);
}

static int sdk_push_json(ob_ctx *ctx, ob_session session, uint32_t id, json_t *body_stolen)
{
	char *dump = body_stolen != NULL ? json_dumps(body_stolen, JSON_COMPACT | JSON_ENCODE_ANY)
	                                 : NULL;

	json_decref(body_stolen);
	if (dump == NULL) {
		return OB_E_INVAL;
	}
	int rc = sdk_push(ctx, session, id, dump, strlen(dump));
	free(dump);
	return rc;
}

/* ---- users ---- */

static int sdk_session_bind(ob_ctx *ctx, ob_session session, const char *user, ob_user_fn fn,
                            void *arg)
{
	return ob__users_bind(gen_of(ctx), session, user, fn, arg);
}

static int sdk_session_unbind(ob_ctx *ctx, ob_session session, const char *user)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_unbind(node_of(ctx), session, user);
}

static int sdk_user_find(ob_ctx *ctx, const char *user, ob_user_fn fn, void *arg)
{
	return ob__users_find(gen_of(ctx), user, fn, arg);
}

static int sdk_push_user(ob_ctx *ctx, const char *user, uint32_t id, const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_push(node_of(ctx), user, id, data, len);
}

static int sdk_push_many(ob_ctx *ctx, const ob_session *sessions, size_t count, uint32_t id,
                         const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__push_many(node_of(ctx), sessions, count, id, data, len);
}

static int sdk_push_users(ob_ctx *ctx, const char *const *users, size_t count, uint32_t id,
                          const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_push_many(node_of(ctx), users, count, id, data, len);
}

static int sdk_push_all(ob_ctx *ctx, uint32_t role, uint32_t id, const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__push_all(node_of(ctx), role, id, data, len);
}

static int sdk_group_join(ob_ctx *ctx, ob_session session, const char *group)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__groups_join(node_of(ctx), session, group);
}

static int sdk_group_leave(ob_ctx *ctx, ob_session session, const char *group)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__groups_leave(node_of(ctx), session, group);
}

static int sdk_push_group(ob_ctx *ctx, const char *group, uint32_t id, const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__groups_push(node_of(ctx), group, id, data, len);
}

static int sdk_group_count(ob_ctx *ctx, const char *group, ob_group_count_fn fn, void *arg)
{
	return ob__groups_count_members(gen_of(ctx), group, fn, arg);
}

static int sdk_group_members(ob_ctx *ctx, const char *group, ob_session *sessions, size_t cap)
{
	if (!ob__group_ok(group) || (sessions == NULL && cap > 0)) {
		return OB_E_INVAL;
	}
	return (int)ob__groups_members_here(node_of(ctx), group, sessions, cap);
}

static int sdk_kick_user(ob_ctx *ctx, const char *user, const char *reason)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_kick(node_of(ctx), user, reason);
}

static int sdk_session_set(ob_ctx *ctx, ob_session session, const char *key, const void *value,
                           size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_session_set(node_of(ctx), session, key, value, len);
}

static const void *sdk_session_attr(ob_ctx *ctx, ob_session session, const char *key, size_t *len)
{
	const struct ob__session *s = ob__session_get(&node_of(ctx)->sessions, session);
	const struct ob__session_attr *a =
		s != NULL && ob__key_ok(key) ? ob__session_attr(s, key) : NULL;

	if (len != NULL) {
		*len = a != NULL ? a->len : 0;
	}
	return a != NULL ? a->value : NULL;
}

static const void *sdk_choice_attr(ob_ctx *ctx, const ob_choice *choice, const char *key,
                                   size_t *len)
{
	size_t unused;

	return ob__policy_attr(node_of(ctx), choice, key, len != NULL ? len : &unused);
}

static int sdk_session_lock(ob_ctx *ctx, ob_session session, const char *key, uint32_t ms)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__lock_set(node_of(ctx), session, key, ms);
}

static int sdk_session_unlock(ob_ctx *ctx, ob_session session, const char *key, uint32_t flags)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__lock_end(node_of(ctx), session, key, (flags & OB_UNLOCK_KEEP) != 0);
}

/* ---- states ---- */

/* What stands in a chain, which may be under way once the module is live. */
static int reg_chained(ob_ctx *ctx, enum ob__slot_kind kind, struct ob__reg **out)
{
	if (gen_of(ctx)->state != OB__GEN_STARTING) {
		return OB_E_STATE;
	}
	return reg_slot(ctx, kind, 0, NULL, out);
}

static int sdk_session_allow(ob_ctx *ctx, const char *state, uint32_t lo, uint32_t hi)
{
	struct ob__reg *reg;
	bool none = lo == 1 && hi == 0;

	if (!ob__state_name_ok(state) || (!none && (lo == 0 || lo > hi || hi > 0x7fffffffu))) {
		return OB_E_INVAL;
	}
	int rc = reg_chained(ctx, OB__SLOT_STATE, &reg);
	if (rc == 0) {
		reg->flags = OB__STATE_ALLOWS;
		reg->fn.state.lo = lo;
		reg->fn.state.hi = hi;
		memcpy(reg->fn.state.name, state, strlen(state) + 1);
	}
	return rc;
}

static int sdk_on_session_state(ob_ctx *ctx, const char *state, ob_session_change_fn enter,
                                ob_session_change_fn leave)
{
	struct ob__reg *reg;

	if ((enter == NULL && leave == NULL) || (state != NULL && !ob__state_name_ok(state))) {
		return OB_E_INVAL;
	}
	int rc = reg_chained(ctx, OB__SLOT_STATE, &reg);
	if (rc == 0) {
		reg->flags = OB__STATE_HEARS;
		reg->fn.state.enter = enter;
		reg->fn.state.leave = leave;
		if (state != NULL) {
			memcpy(reg->fn.state.name, state, strlen(state) + 1);
		}
	}
	return rc;
}

static int sdk_session_enter(ob_ctx *ctx, ob_session session, const char *state,
                             json_t *data_stolen)
{
	int rc = ob__gen_live(gen_of(ctx))
	                 ? ob__states_enter(node_of(ctx), session, state, data_stolen)
	                 : OB_E_STATE;

	json_decref(data_stolen);
	return rc;
}

static const char *sdk_session_state(ob_ctx *ctx, ob_session session, const json_t **data)
{
	return ob__states_get(node_of(ctx), session, data);
}

/* ---- filters around messages ---- */

static int sdk_on_message_filter(ob_ctx *ctx, int when, int priority, ob_message_filter_fn fn)
{
	enum ob__slot_kind kind =
		when == OB_MESSAGE_BEFORE_CLIENT ? OB__SLOT_FILTER : OB__SLOT_MESSAGE_FILTER;
	struct ob__reg *reg;

	if (fn == NULL || when < OB_MESSAGE_BEFORE_CLIENT || when > OB_MESSAGE_AFTER_HANDLER) {
		return OB_E_INVAL;
	}
	int rc = reg_chained(ctx, kind, &reg);
	if (rc == 0) {
		reg->fn.message_filter = fn;
		reg->flags = (uint32_t)when;
		reg->priority = priority;
	}
	return rc;
}

static ob_gate sdk_message_hold(ob_ctx *ctx)
{
	return ob__gate_hold(gen_of(ctx));
}

static int sdk_message_pass(ob_ctx *ctx, ob_gate gate)
{
	return ob__gate_pass(gen_of(ctx), gate);
}

static int sdk_message_end(ob_ctx *ctx, ob_gate gate, int code, const char *text, const void *data,
                           size_t len)
{
	return ob__gate_end(gen_of(ctx), gate, code, text, data, len);
}

/* ---- events by name ---- */

static int sdk_on_raised(ob_ctx *ctx, const ob_listener *l, ob_raised_fn fn)
{
	const char *prefix = l != NULL && l->prefix != NULL ? l->prefix : "";
	struct ob__reg *reg;

	if (fn == NULL || l == NULL || l->size != sizeof(*l) ||
	    (prefix[0] != '\0' && !ob__event_name_ok(prefix)) ||
	    (l->key == NULL) != (l->value == NULL)) {
		return OB_E_INVAL;
	}
	size_t prefix_len = strlen(prefix) + 1;
	size_t key_len = l->key != NULL ? strlen(l->key) + 1 : 0;
	size_t value_len = l->key != NULL ? strlen(l->value) + 1 : 0;
	int rc = reg_chained(ctx, OB__SLOT_RAISED, &reg);
	if (rc != 0) {
		return rc;
	}
	char *words = malloc(prefix_len + key_len + value_len);
	if (words == NULL) {
		ob__slot_unregister(reg);
		return OB_E_NOMEM;
	}
	memcpy(words, prefix, prefix_len);
	if (l->key != NULL) {
		reg->fn.raised.key = memcpy(words + prefix_len, l->key, key_len);
		reg->fn.raised.value = memcpy(words + prefix_len + key_len, l->value, value_len);
	}
	reg->fn.raised.words = words;
	reg->fn.raised.fn = fn;
	reg->priority = l->priority;
	return 0;
}

static int sdk_event_raise(ob_ctx *ctx, uint32_t role, const char *name, json_t *data_stolen,
                           uint32_t flags)
{
	int rc = ob__event_raise(gen_of(ctx), role, name, data_stolen, flags);

	json_decref(data_stolen);
	return rc;
}

/* ---- going out ---- */

static ob_call_id sdk_call(ob_ctx *ctx, const ob_target *target, uint32_t id, const char *method,
                           ob_session session, const void *data, size_t len, uint32_t deadline_ms,
                           ob_call_fn fn, void *arg)
{
	return ob__dispatch_call(gen_of(ctx), target, id, method, session, data, len, deadline_ms,
	                         fn, arg);
}

static int sdk_call_cancel(ob_ctx *ctx, ob_call_id call)
{
	return ob__dispatch_call_cancel(gen_of(ctx), call);
}

static ob_call_id sdk_call_with(ob_ctx *ctx, const ob_target *target,
                                const ob_call_options *options, ob_call_fn fn, void *arg)
{
	return ob__dispatch_call_with(gen_of(ctx), target, options, fn, arg);
}

static int sdk_trace(ob_ctx *ctx, ob_req req, ob_trace_info *info)
{
	struct ob__node *node = node_of(ctx);
	const struct ob__req *r = ob__req_get(node, req != 0 ? req : node->dispatch.current);
	struct ob__trace t;

	if (info->size != sizeof(*info)) {
		return OB_E_INVAL;
	}
	if (r == NULL || r->gen->module != gen_of(ctx)->module) {
		return OB_E_STALE;
	}
	ob__trace_of_req(node, r, &t);
	*info = (ob_trace_info){
		.size = sizeof(*info),
		.begins = t.parent == 0,
		.id = {t.id[0], t.id[1]},
		.span = t.span,
		.parent = t.parent,
	};
	return 0;
}

static ob_timer sdk_timer_start(ob_ctx *ctx, uint64_t delay_ms, uint64_t repeat_ms, ob_timer_fn fn,
                                void *arg)
{
	return ob__work_timer(gen_of(ctx), delay_ms, repeat_ms, fn, arg);
}

static ob_timer sdk_timer_with(ob_ctx *ctx, const ob_timer_options *options, ob_timer_fn fn,
                               void *arg)
{
	return ob__work_timer_with(gen_of(ctx), options, fn, arg);
}

static int sdk_timer_stop(ob_ctx *ctx, ob_timer timer)
{
	return ob__work_timer_stop(gen_of(ctx), timer);
}

static ob_watch sdk_fd_watch(ob_ctx *ctx, int fd, uint32_t events, ob_fd_fn fn, void *arg)
{
	return ob__fd_watch(gen_of(ctx), fd, events, fn, arg);
}

static int sdk_fd_unwatch(ob_ctx *ctx, ob_watch watch)
{
	return ob__fd_unwatch(gen_of(ctx), watch);
}

static int sdk_job(ob_ctx *ctx, ob_work_fn work, ob_post_fn done, void *arg)
{
	return ob__work_job(gen_of(ctx), work, done, arg);
}

static int sdk_post(ob_ctx *ctx, ob_post_fn fn, void *arg)
{
	return ob__work_post(gen_of(ctx), fn, arg);
}

static int sdk_http_call(ob_ctx *ctx, const ob_http_request *request, ob_http_fn fn, void *arg)
{
	return ob__work_http(gen_of(ctx), request, fn, arg);
}

static int sdk_admin(ob_ctx *ctx, const char *verb, json_t *args_stolen, ob_admin_fn fn, void *arg)
{
	return ob__work_admin(gen_of(ctx), verb, args_stolen, fn, arg);
}

/* ---- HTTP in ---- */

static int sdk_http_info(ob_ctx *ctx, ob_req req, ob_http_info *info)
{
	const struct ob__req *r = req_of(ctx, req);

	if (info->size != sizeof(*info)) {
		return OB_E_INVAL;
	}
	if (r == NULL || r->origin != OB__ORIGIN_HTTP) {
		return OB_E_STALE;
	}
	const struct ob__http_request *q = r->from.http.request;
	if (q == NULL) {
		return OB_E_STATE;
	}
	*info = (ob_http_info){
		.size = sizeof(*info),
		.method = q->method,
		.path = q->path,
		.query = q->query,
		.tail = r->from.http.tail,
		.loopback = q->loopback,
		.unix_socket = q->unix_socket,
	};
	return 0;
}

static const char *sdk_http_header(ob_ctx *ctx, ob_req req, const char *name)
{
	const struct ob__req *r = req_of(ctx, req);

	if (r == NULL || r->origin != OB__ORIGIN_HTTP || r->from.http.request == NULL) {
		return NULL;
	}
	return ob__http_header(r->from.http.server, r->from.http.handle, name);
}

static int sdk_http_set_header(ob_ctx *ctx, ob_req req, const char *name, const char *value)
{
	const struct ob__req *r = req_of(ctx, req);

	if (r == NULL || r->origin != OB__ORIGIN_HTTP) {
		return OB_E_STALE;
	}
	int rc = ob__http_set_header(r->from.http.server, r->from.http.handle, name, value);
	return rc != 0 ? OB_E_INVAL : 0;
}

static int sdk_http_reply(ob_ctx *ctx, ob_req req, int status, const char *content_type,
                          const void *data, size_t len)
{
	struct ob__req *r = req_of(ctx, req);

	if (r == NULL || r->origin != OB__ORIGIN_HTTP) {
		return OB_E_STALE;
	}
	if (status < 200 || status > 599) {
		return OB_E_INVAL;
	}
	r->http_status = status;
	r->http_type = content_type;
	return ob__req_end(r, OB_OK, NULL, data, len);
}

static int sdk_secret_check(ob_ctx *ctx, const char *path, const char *given)
{
	if (!gen_of(ctx)->module->admin) {
		return OB_E_DENIED;
	}
	return ob__node_secret_check(node_of(ctx), path, given);
}

static int sdk_secret_equal(ob_ctx *ctx, const char *secret, const char *given)
{
	(void)ctx;
	return ob__node_secret_equal(secret, given);
}

const ob_api ob__sdk_api = {
	.size = sizeof(ob_api),
	.abi_major = OB_ABI_MAJOR,
	.abi_minor = OB_ABI_MINOR,
	.strerror = sdk_strerror,
	.status = sdk_status,
	.vlog = sdk_vlog,
	.config = sdk_config,
	.node_info = sdk_node_info,
	.now_ms = sdk_now_ms,
	.role = sdk_role,
	.state = sdk_state,
	.counter = sdk_counter,
	.count = sdk_count,
	.rehearsing = sdk_rehearsing,
	.module_info = sdk_module_info,
	.kv_set = sdk_kv_set,
	.kv_get = sdk_kv_get,
	.kv_del = sdk_kv_del,
	.kv_next = sdk_kv_next,
	.section_write = sdk_section_write,
	.section_read = sdk_section_read,
	.section_next = sdk_section_next,
	.refuse = sdk_refuse,
	.on_id = sdk_on_id,
	.on_method = sdk_on_method,
	.on_http = sdk_on_http,
	.on_event = sdk_on_event,
	.on_filter = sdk_on_filter,
	.on_client_message = sdk_on_client_message,
	.on_link_message = sdk_on_link_message,
	.on_unknown = sdk_on_unknown,
	.on_error_body = sdk_on_error_body,
	.on_codec = sdk_on_codec,
	.on_policy = sdk_on_policy,
	.listen = sdk_listen,
	.req_view = sdk_req_view,
	.req_json = sdk_req_json,
	.reply = sdk_reply,
	.reply_json = sdk_reply_json,
	.fail = sdk_fail,
	.done = sdk_done,
	.request_hold = sdk_request_hold,
	.msg_hold = sdk_msg_hold,
	.msg_view = sdk_msg_view,
	.msg_release = sdk_msg_release,
	.route_role = sdk_route_role,
	.session_info = sdk_session_info,
	.session_text = sdk_session_text,
	.session_find = sdk_session_find,
	.session_close = sdk_session_close,
	.push = sdk_push,
	.push_json = sdk_push_json,
	.call = sdk_call,
	.call_cancel = sdk_call_cancel,
	.timer_start = sdk_timer_start,
	.timer_stop = sdk_timer_stop,
	.job = sdk_job,
	.post = sdk_post,
	.http_info = sdk_http_info,
	.http_header = sdk_http_header,
	.http_set_header = sdk_http_set_header,
	.http_reply = sdk_http_reply,
	.http_call = sdk_http_call,
	.admin = sdk_admin,
	.secret_check = sdk_secret_check,
	.call_with = sdk_call_with,
	.trace = sdk_trace,
	.on_call_filter = sdk_on_call_filter,
	/* users and sessions */
	.session_bind = sdk_session_bind,
	.session_unbind = sdk_session_unbind,
	.user_find = sdk_user_find,
	.push_user = sdk_push_user,
	.kick_user = sdk_kick_user,
	.session_set = sdk_session_set,
	.session_attr = sdk_session_attr,
	.session_lock = sdk_session_lock,
	.session_unlock = sdk_session_unlock,
	/* pushes to many */
	.push_many = sdk_push_many,
	.push_users = sdk_push_users,
	.push_all = sdk_push_all,
	/* links */
	.on_transport = sdk_on_transport,
	/* in policies */
	.choice_attr = sdk_choice_attr,
	/* groups */
	.on_group = sdk_on_group,
	.group_join = sdk_group_join,
	.group_leave = sdk_group_leave,
	.push_group = sdk_push_group,
	.group_count = sdk_group_count,
	.group_members = sdk_group_members,
	.secret_equal = sdk_secret_equal,
	/* names of messages */
	.on_name = sdk_on_name,
	.name_id = sdk_name_id,
	.name_of = sdk_name_of,
	.route_name = sdk_route_name,
	/* handlers are taken back */
	.off_id = sdk_off_id,
	.off_method = sdk_off_method,
	/* descriptors, and clients that a module brings */
	.fd_watch = sdk_fd_watch,
	.fd_unwatch = sdk_fd_unwatch,
	.on_client_transport = sdk_on_client_transport,
	.client_adopt = sdk_client_adopt,
	/* states of sessions */
	.session_allow = sdk_session_allow,
	.on_session_state = sdk_on_session_state,
	.session_enter = sdk_session_enter,
	.session_state = sdk_session_state,
	/* filters around messages */
	.on_message_filter = sdk_on_message_filter,
	.message_hold = sdk_message_hold,
	.message_pass = sdk_message_pass,
	.message_end = sdk_message_end,
	/* events by name */
	.on_raised = sdk_on_raised,
	.event_raise = sdk_event_raise,
	/* timers */
	.timer_with = sdk_timer_with,
};
