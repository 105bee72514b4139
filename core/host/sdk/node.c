/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sdk/sdk_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/kv.h"
#include "host/node.h"
#include "lib/blob.h"

/* ---- the node ---- */

const char *ob__sdk_strerror(ob_ctx *ctx, int code)
{
	(void)ctx;
	return ob__strerror(code);
}

int ob__sdk_status(ob_ctx *ctx, int code)
{
	(void)ctx;
	return ob__result_http(code);
}

int ob__sdk_refuse(ob_ctx *ctx, int code, const char *text)
{
	struct ob__gen *g = gen_of(ctx);

	snprintf(g->refused, sizeof(g->refused), "%s", text);
	return code;
}

OB_PRINTF(3, 0)
void ob__sdk_vlog(ob_ctx *ctx, int level, const char *fmt, va_list ap)
{
	if (ob__log_on(level)) {
		ob__vlog_at(level, gen_of(ctx)->module->name, fmt, ap);
	}
}

const json_t *ob__sdk_config(ob_ctx *ctx, const char *path)
{
	return ob__conf_get(node_of(ctx)->masked_conf, path);
}

int ob__sdk_node_info(ob_ctx *ctx, ob_node_info *info)
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

uint64_t ob__sdk_now_ms(ob_ctx *ctx)
{
	return ob__loop_now(node_of(ctx)->loop);
}

uint32_t ob__sdk_role(ob_ctx *ctx, const char *word)
{
	(void)ctx;
	return ob__fnv1a32(word);
}

void *ob__sdk_state(ob_ctx *ctx, const char *key, size_t size, uint32_t version)
{
	return ob__gen_state_block(gen_of(ctx), key, size, version);
}

static bool metric_name_ok(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return len > 0 && len < 64 && name[len] == '\0';
}

int ob__sdk_counter(ob_ctx *ctx, const char *name, const char *help)
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

void ob__sdk_count(ob_ctx *ctx, int counter, uint64_t n)
{
	const struct ob__module *m = gen_of(ctx)->module;

	if (counter >= 0 && (size_t)counter < m->counters_len) {
		*m->counters[counter].value += n;
	}
}

bool ob__sdk_rehearsing(ob_ctx *ctx)
{
	(void)ctx;
	return false;
}

int ob__sdk_module_info(ob_ctx *ctx, ob_module_info *info)
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

int ob__sdk_kv_set(ob_ctx *ctx, const char *key, const void *data, size_t len)
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

const void *ob__sdk_kv_get(ob_ctx *ctx, const char *key, size_t *len)
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

int ob__sdk_kv_del(ob_ctx *ctx, const char *key)
{
	const struct ob__gen *g = gen_of(ctx);

	if (!may_keep(g)) {
		return OB_E_STATE;
	}
	return g->module->kv != NULL ? ob__kv_del(g->module->kv, key) : OB_E_NOT_FOUND;
}

const char *ob__sdk_kv_next(ob_ctx *ctx, const char *after)
{
	const struct ob__gen *g = gen_of(ctx);

	return started(g) && g->module->kv != NULL ? ob__kv_next(g->module->kv, after) : NULL;
}

/* An ob_writer is a struct ob__blob_writer, an ob_reader a struct ob__blob_reader: the one that the
 * hook of this generation which runs now was given, and no other. */
int ob__sdk_section_write(ob_ctx *ctx, ob_writer *writer, uint32_t tag, uint32_t flags,
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

const void *ob__sdk_section_read(ob_ctx *ctx, ob_reader *reader, uint32_t tag, size_t *len)
{
	struct ob__blob_reader *r = reader_of(ctx, reader);

	return r != NULL ? ob__blob_find(r, tag, len) : NULL;
}

const void *ob__sdk_section_next(ob_ctx *ctx, ob_reader *reader, uint32_t *tag, size_t *len)
{
	struct ob__blob_reader *r = reader_of(ctx, reader);

	return r != NULL ? ob__blob_next(r, tag, len) : NULL;
}
