/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/swap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/codec_state.h"
#include "host/dispatch.h"
#include "host/listen.h"
#include "host/node.h"
#include "host/sdk.h"
#include "host/work.h"

#define HISTORY     64u
#define MODULES_MAX 256u
#define OLD_MAX     4u /* old generations of one module that may still be mapped */
#define ZOMBIES_MAX 8u /* of the whole node */

struct item {
	struct ob__module *module;
	struct ob__gen *from;
	struct ob__gen *to;
	struct ob__load_job *job;
	bool unchanged;
	bool started;
	bool fresh; /* the module was made by this transaction */
};

struct transaction {
	uint64_t id;
	struct ob__node *node;
	enum ob__swap_kind kind;
	struct item *items;
	size_t len;
	size_t loading;
	char sha256[65];
	bool force;
	bool answered;
	ob__swap_cb cb;
	void *arg;
	const char *step;
	uint64_t began;
};

struct ob__swap {
	struct transaction *current;
	uint64_t next_id;
	struct {
		uint64_t id;
		json_t *report;
	} history[HISTORY];
	uint64_t *switched;
	uint64_t *refused;
	uint64_t *unmapped;
	uint64_t *zombies;
};

static void load_next(struct transaction *tx);

int ob__swap_init(struct ob__node *node)
{
	struct ob__swap *s = calloc(1, sizeof(*s));
	if (s == NULL) {
		return OB_E_NOMEM;
	}
	s->next_id = 1;
	s->switched = ob__stat_counter(node->stats, "obhost_module_switches_total", NULL,
	                               "Generations that took over.");
	s->refused = ob__stat_counter(node->stats, "obhost_module_refused_total", NULL,
	                              "Module transactions that were refused.");
	s->unmapped = ob__stat_counter(node->stats, "obhost_module_unmapped_total", NULL,
	                               "Generations taken out and unmapped.");
	s->zombies = ob__stat_counter(node->stats, "obhost_module_zombies_total", NULL,
	                              "Generations that could not be unmapped safely.");
	node->swap = s;
	return 0;
}

static void tx_free(struct transaction *tx)
{
	for (size_t i = 0; tx->items != NULL && i < tx->len; i++) {
		free(tx->items[i].job);
	}
	free(tx->items);
	free(tx);
}

/* Not before the loop has ended: what it still runs may have to do with a generation. */
static void free_modules(struct ob__node *node)
{
	OB__LIST_EACH_SAFE (it, &node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		OB__LIST_EACH_SAFE (gen, &m->gens) {
			struct ob__gen *g = OB__CONTAINER(gen, struct ob__gen, link);
			if (g->staged != NULL) {
				remove(g->staged);
			}
			ob__gen_free(g);
		}
		ob__module_free(m);
	}
}

void ob__swap_free(struct ob__node *node)
{
	struct ob__swap *s = node->swap;
	if (s == NULL) {
		return;
	}
	if (s->current != NULL) {
		tx_free(s->current);
	}
	free_modules(node);
	for (size_t i = 0; i < HISTORY; i++) {
		json_decref(s->history[i].report);
	}
	free(s);
	node->swap = NULL;
}

/* ---- reports ---- */

static json_t *gen_json(const struct ob__gen *g)
{
	if (g == NULL) {
		return json_null();
	}
	return json_pack("{s:i, s:s, s:s}", "generation", (int)g->number, "version", g->version,
	                 "sha256", g->sha256);
}

static void remember(struct ob__node *node, uint64_t id, json_t *report)
{
	struct ob__swap *s = node->swap;
	size_t at = id % HISTORY;

	json_decref(s->history[at].report);
	s->history[at].id = id;
	s->history[at].report = json_incref(report);
}

json_t *ob__swap_report(struct ob__node *node, uint64_t id)
{
	struct ob__swap *s = node->swap;
	struct transaction *tx = s->current;

	if (tx != NULL && tx->id == id) {
		return json_pack("{s:I, s:s, s:s}", "tx", (json_int_t)id, "result", "running",
		                 "step", tx->step);
	}
	size_t at = id % HISTORY;
	return s->history[at].id == id ? json_incref(s->history[at].report) : NULL;
}

static json_t *success_json(const struct transaction *tx)
{
	json_t *modules = json_array();
	bool any = false;

	for (size_t i = 0; i < tx->len; i++) {
		const struct item *it = &tx->items[i];
		const char *state = it->unchanged    ? "unchanged"
		                    : it->to != NULL ? "active"
		                                     : "gone";
		any |= !it->unchanged;
		json_array_append_new(modules,
		                      json_pack("{s:s, s:o, s:o, s:s}", "name", it->module->name,
		                                "from", gen_json(it->from), "to",
		                                gen_json(it->unchanged ? it->from : it->to),
		                                "state", state));
	}
	return json_pack("{s:I, s:s, s:o}", "tx", (json_int_t)tx->id, "result",
	                 any ? "switched" : "unchanged", "modules", modules);
}

static json_t *refusal_json(uint64_t tx, const char *module, const struct ob__load_refusal *r)
{
	return json_pack("{s:I, s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}}", "tx",
	                 (json_int_t)tx, "result", "refused", "error", "code", r->code, "step",
	                 r->step, "module", module, "file", r->file, "found", r->found, "expected",
	                 r->expected, "remedy", r->remedy, "message", r->message);
}

static json_t *plain_refusal(const char *code, const char *module, const char *message)
{
	struct ob__load_refusal r = {0};

	ob__refuse(&r, "admit", code, "", NULL, NULL, NULL, "%s", message);
	return refusal_json(0, module, &r);
}

static void answer(struct transaction *tx, int status, json_t *body_stolen)
{
	remember(tx->node, tx->id, body_stolen);
	if (!tx->answered) {
		tx->answered = true;
		tx->cb(tx->arg, status, body_stolen);
	}
	json_decref(body_stolen);
}

static void tx_end(struct transaction *tx)
{
	tx->node->swap->current = NULL;
	tx_free(tx);
}

/* ---- taking a generation out ---- */

/* The last generation of a module that was taken out is gone; unless one is on its way in. */
static void module_gone(struct ob__node *node, struct ob__module *m)
{
	const struct transaction *tx = node->swap->current;

	for (size_t i = 0; tx != NULL && i < tx->len; i++) {
		if (tx->items[i].module == m) {
			return;
		}
	}
	if (m->active == NULL && ob__list_empty(&m->gens)) {
		ob__module_free(m);
	}
}

static void close_done(struct ob__load_job *job)
{
	struct ob__gen *g = job->arg;
	struct ob__module *m = g->module;
	struct ob__node *node = g->node;

	g->closing = NULL;
	if (job->failed) {
		++*node->swap->zombies;
		g->state = OB__GEN_ZOMBIE;
		ob__warning("module",
		            "%s: generation %u is still mapped after dlclose (%s); it stays",
		            m->name, g->number, g->staged);
	} else {
		++*node->swap->unmapped;
		ob__info("module", "%s: generation %u unmapped", m->name, g->number);
		ob__gen_free(g);
		module_gone(node, m);
	}
	free(job);
}

/* Nothing of the generation's code may run from here on. */
static void bury(void *arg)
{
	struct ob__gen *g = arg;

	if (g->node->loader == NULL) {
		return; /* the node ends: nothing is unmapped any more */
	}
	struct ob__load_job *job = calloc(1, sizeof(*job));
	if (job == NULL) {
		g->state = OB__GEN_ZOMBIE;
		++*g->node->swap->zombies;
		return;
	}
	job->op = OB__LOAD_CLOSE;
	job->done = close_done;
	job->arg = g;
	job->dl = g->dl;
	job->base = g->base;
	snprintf(job->name, sizeof(job->name), "%s", g->module->name);
	snprintf(job->staged, sizeof(job->staged), "%s", g->staged);
	g->closing = job;
	ob__loader_submit(g->node->loader, job);
}

/* Stops a generation that nothing refers to; it is unmapped one loop turn later. */
static void retire(struct ob__gen *g, bool call_stop)
{
	if (call_stop && g->desc->stop != NULL) {
		g->desc->stop(&g->ctx);
	}
	ob__slots_drop(&g->node->slots, g);
	ob__work_drop(g);
	g->ctx.api = &ob__sdk_dead_api;
	g->state = OB__GEN_STOPPED;
	if (g->drain_timeout != NULL) {
		ob__timeout_clear(g->node->loop, g->drain_timeout);
	}
	if (ob__loop_defer(g->node->loop, bury, g) != 0) {
		g->state = OB__GEN_ZOMBIE;
		++*g->node->swap->zombies;
	}
}

static void drained_turn(void *arg)
{
	struct ob__gen *g = arg;

	g->drain_queued = false;
	if ((g->state == OB__GEN_DRAINING || g->state == OB__GEN_ZOMBIE) && g->refs == 0) {
		ob__info("module", "%s: generation %u drained", g->module->name, g->number);
		retire(g, true);
	}
}

void ob__swap_drained(struct ob__gen *g)
{
	if (!g->drain_queued && ob__loop_defer(g->node->loop, drained_turn, g) == 0) {
		g->drain_queued = true;
	}
}

static void drain_expired(void *arg)
{
	struct ob__gen *g = arg;

	if (g->state != OB__GEN_DRAINING) {
		return;
	}
	ob__warning("module", "%s: generation %u still holds %u after reload.drain; ending them",
	            g->module->name, g->number, g->refs);
	g->expired = true;
	ob__dispatch_abandon(g);
	ob__work_expire(g);
	if (g->refs > 0 && g->state == OB__GEN_DRAINING) {
		g->state = OB__GEN_ZOMBIE;
		g->ctx.api = &ob__sdk_dead_api;
		++*g->node->swap->zombies;
		ob__error(
			"module",
			"%s: generation %u can't be taken out (%u in flight); it stays until that has ended",
			g->module->name, g->number, g->refs);
	}
}

static void begin_drain(struct ob__gen *g)
{
	g->state = OB__GEN_DRAINING;
	g->since = ob__loop_now(g->node->loop);
	if (g->desc->drain != NULL) {
		g->desc->drain(&g->ctx);
	}
	ob__work_drain(g);
	g->drain_timeout = calloc(1, sizeof(*g->drain_timeout));
	if (g->drain_timeout != NULL) {
		ob__timeout_init(g->drain_timeout, drain_expired, g);
		ob__timeout_set(g->node->loop, g->drain_timeout, g->node->conf->drain_ms);
	}
	if (g->refs == 0) {
		ob__swap_drained(g);
	}
}

/* ---- the way back ---- */

static void roll_back(struct transaction *tx)
{
	for (size_t i = tx->len; i-- > 0;) {
		struct item *it = &tx->items[i];
		if (it->to != NULL) {
			it->to->state = OB__GEN_STARTING;
			retire(it->to, it->started);
		} else if (tx->kind == OB__SWAP_LOAD && ob__list_empty(&it->module->gens)) {
			ob__module_free(it->module);
		}
	}
	ob__listens_sweep(tx->node);
}

static void fail(struct transaction *tx, const struct item *it, const struct ob__load_refusal *r)
{
	struct ob__node *node = tx->node;

	++*node->swap->refused;
	ob__error("module", "%s: refused at %s: %s%s%s", it->module->name, r->step, r->message,
	          r->remedy[0] != '\0' ? "; " : "", r->remedy);
	json_t *body = refusal_json(tx->id, it->module->name, r);
	roll_back(tx);
	answer(tx, 422, body);
	tx_end(tx);
}

/* ---- start and switch ---- */

static int start_one(struct transaction *tx, struct item *it, struct ob__load_refusal *r)
{
	struct ob__gen *g = it->to;
	const char *file = g->file;
	ob_err err = {""};

	tx->step = "check";
	int rc = g->desc->check != NULL ? g->desc->check(g->conf, &err) : 0;
	if (rc != 0) {
		ob__refuse(r, "check", "conf", file, NULL, NULL, "correct the module's conf", "%s",
		           err.text[0] != '\0' ? err.text : ob__strerror(rc));
		return rc;
	}
	tx->step = "start";
	g->state = OB__GEN_STARTING;
	rc = g->desc->start != NULL ? g->desc->start(&g->ctx, g->conf) : 0;
	if (rc != 0) {
		ob__refuse(r, "start", "start", file, NULL, NULL,
		           rc == OB_E_EXISTS
		                   ? "another module has an id, method or path it asks for"
		                   : NULL,
		           "start failed: %s%s%s", g->refused[0] != '\0' ? g->refused : "",
		           g->refused[0] != '\0' ? ": " : "", ob__strerror(rc));
		return rc;
	}
	it->started = true;
	tx->step = "selftest";
	rc = g->desc->selftest != NULL ? g->desc->selftest(&g->ctx) : 0;
	if (rc != 0) {
		ob__refuse(r, "selftest", "selftest", file, NULL, NULL, NULL, "selftest failed: %s",
		           ob__strerror(rc));
	}
	return rc;
}

static void switch_all(struct transaction *tx)
{
	struct ob__node *node = tx->node;

	tx->step = "switch";
	for (size_t i = 0; i < tx->len; i++) {
		struct item *it = &tx->items[i];
		if (it->unchanged) {
			continue;
		}
		if (it->from != NULL) {
			ob__slots_deactivate(&node->slots, it->from);
		}
		if (it->to != NULL) {
			ob__slots_activate(&node->slots, it->to);
			ob__gen_states_commit(it->to);
			it->to->state = OB__GEN_ACTIVE;
			it->to->since = ob__loop_now(node->loop);
			ob__listens_activate(it->to);
			ob__codecs_switched(it->to);
		}
		if (it->from != NULL) {
			ob__codecs_switched(it->from);
		}
		it->module->active = it->to;
	}
	if (ob__slots_rebuild(&node->slots, &node->modules) != 0) {
		ob__error("module",
		          "out of memory: filters and events are off until the next swap");
	}
	for (size_t i = 0; i < tx->len; i++) {
		struct item *it = &tx->items[i];
		if (it->to != NULL) {
			++*node->swap->switched;
			if (it->to->desc->live != NULL) {
				it->to->desc->live(&it->to->ctx);
			}
		}
	}
}

static void finish(struct transaction *tx)
{
	json_t *body = success_json(tx);

	for (size_t i = 0; i < tx->len; i++) {
		struct item *it = &tx->items[i];
		if (it->unchanged) {
			continue;
		}
		if (it->to != NULL) {
			ob__notice(
				"module", "%s: generation %u is active (version %s, sha256 %.12s)",
				it->module->name, it->to->number, it->to->version, it->to->sha256);
		} else {
			ob__notice("module", "%s: taken out", it->module->name);
		}
		if (it->to != NULL) {
			ob__codecs_committed(it->to);
		}
		if (it->from != NULL) {
			begin_drain(it->from);
		}
	}
	ob__listens_sweep(tx->node);
	answer(tx, 200, body);
	tx_end(tx);
}

static int make_generation(struct transaction *tx, struct item *it)
{
	struct ob__load_job *job = it->job;
	struct ob__gen *g = ob__gen_new(tx->node, it->module);

	if (g == NULL) {
		return OB_E_NOMEM;
	}
	g->number = ++it->module->last_number;
	g->desc = job->desc;
	g->dl = job->dl;
	g->base = job->base;
	g->staged = strdup(job->staged);
	g->file = strdup(job->file);
	g->conf = json_incref(it->module->conf);
	snprintf(g->version, sizeof(g->version), "%s",
	         job->desc->version != NULL ? job->desc->version : "");
	memcpy(g->sha256, job->sha256, sizeof(g->sha256));
	it->to = g;
	return 0;
}

/* A listener's codec that the new generation no longer offers; NULL if there is none. */
static const char *lost_codec(const struct transaction *tx, const struct item *it)
{
	if (it->from == NULL || it->to == NULL) {
		return NULL;
	}
	OB__LIST_EACH (reg_link, &it->from->regs) {
		const struct ob__reg *reg = OB__CONTAINER(reg_link, struct ob__reg, gen_link);
		if (reg->slot->kind == OB__SLOT_CODEC && reg->slot->shadow == NULL &&
		    ob__clients_use_codec(tx->node, reg->slot)) {
			return reg->slot->name;
		}
	}
	return NULL;
}

static void start_all(struct transaction *tx)
{
	struct ob__load_refusal r = {0};

	for (size_t i = 0; i < tx->len; i++) {
		struct item *it = &tx->items[i];
		if (it->unchanged || it->to == NULL) {
			continue;
		}
		if (start_one(tx, it, &r) != 0) {
			fail(tx, it, &r);
			return;
		}
		const char *lost = lost_codec(tx, it);
		if (lost != NULL) {
			ob__refuse(&r, "start", "codec", it->to->file, "no such codec", lost,
			           "keep the codec, or take the listener out of the configuration",
			           "it no longer offers the codec %s, which a listener uses", lost);
			fail(tx, it, &r);
			return;
		}
	}
	switch_all(tx);
	finish(tx);
}

/* ---- load ---- */

static void load_done(struct ob__load_job *job)
{
	struct transaction *tx = job->arg;
	struct item *it = &tx->items[tx->loading];

	if (tx->node->loader == NULL) { /* the node ends: nothing is started any more */
		if (!job->failed && !job->unchanged) {
			(void)make_generation(tx, it);
		}
		return;
	}
	if (job->failed) {
		fail(tx, it, &job->refusal);
		return;
	}
	it->unchanged = job->unchanged;
	if (!job->unchanged && make_generation(tx, it) != 0) {
		struct ob__load_refusal r = {0};
		ob__refuse(&r, "load", "memory", job->file, NULL, NULL, NULL, "out of memory");
		fail(tx, it, &r);
		return;
	}
	tx->loading++;
	load_next(tx);
}

static void start_turn(void *arg)
{
	start_all(arg);
}

static void load_next(struct transaction *tx)
{
	if (tx->loading == tx->len) {
		start_all(tx);
		return;
	}
	struct item *it = &tx->items[tx->loading];
	struct ob__load_job *job = calloc(1, sizeof(*job));

	if (job == NULL) {
		struct ob__load_refusal r = {0};
		ob__refuse(&r, "load", "memory", "", NULL, NULL, NULL, "out of memory");
		fail(tx, it, &r);
		return;
	}
	tx->step = "load";
	it->job = job;
	job->op = OB__LOAD_WHOLE;
	job->done = load_done;
	job->arg = tx;
	job->number = ++it->module->last_stage;
	snprintf(job->name, sizeof(job->name), "%s", it->module->name);
	snprintf(job->path, sizeof(job->path), "%s",
	         it->module->path != NULL ? it->module->path : "");
	memcpy(job->want_sha, tx->sha256, sizeof(job->want_sha));
	if (it->from != NULL && !tx->force) {
		memcpy(job->known_sha, it->from->sha256, sizeof(job->known_sha));
	}
	ob__loader_submit(tx->node->loader, job);
}

/* ---- admit ---- */

static int collect_named(struct transaction *tx, const struct ob__swap_request *q,
                         const char **unknown)
{
	for (size_t i = 0; i < q->names_len; i++) {
		struct ob__module *m = ob__module_find(tx->node, q->names[i]);
		bool twice = false;
		for (size_t k = 0; k < tx->len; k++) {
			twice |= tx->items[k].module == m;
		}
		if (m == NULL || m->active == NULL) {
			*unknown = q->names[i];
			return -1;
		}
		if (!twice) {
			tx->items[tx->len++] = (struct item){.module = m, .from = m->active};
		}
	}
	return 0;
}

static void collect_all(struct transaction *tx, bool active)
{
	OB__LIST_EACH (it, &tx->node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		if ((m->active != NULL) == active && tx->len < MODULES_MAX) {
			tx->items[tx->len++] = (struct item){.module = m, .from = m->active};
		}
	}
}

static json_t *collect(struct transaction *tx, const struct ob__swap_request *q, int *status)
{
	const char *unknown = NULL;
	char text[128];

	switch (q->kind) {
	case OB__SWAP_START:
		collect_all(tx, false);
		return NULL;
	case OB__SWAP_RELOAD:
	case OB__SWAP_UNLOAD:
		if (q->kind == OB__SWAP_RELOAD && q->names_len == 0) {
			collect_all(tx, true);
			return NULL;
		}
		if (collect_named(tx, q, &unknown) == 0) {
			return NULL;
		}
		*status = 404;
		snprintf(text, sizeof(text), "no module %.64s is loaded", unknown);
		return plain_refusal("unknown_module", unknown, text);
	case OB__SWAP_LOAD:
		break;
	}
	struct ob__module *m = ob__module_find(tx->node, q->names[0]);
	if (m != NULL && m->active != NULL) {
		*status = 409;
		snprintf(text, sizeof(text), "a module %.64s is loaded; reload it instead",
		         q->names[0]);
		return plain_refusal("exists", q->names[0], text);
	}
	json_t *conf = q->conf != NULL ? json_deep_copy(q->conf) : json_object();
	if (m != NULL && conf != NULL) { /* taken out, but an old generation is still there */
		json_decref(m->conf);
		m->conf = conf;
		free(m->path);
		m->path = NULL; /* a request names a module, never a path */
		tx->items[tx->len++] = (struct item){.module = m};
		return NULL;
	}
	m = ob__module_new(tx->node, q->names[0], q->path, conf, false, false);
	if (m == NULL) {
		*status = 503;
		return plain_refusal("memory", q->names[0], "out of memory");
	}
	tx->items[tx->len++] = (struct item){.module = m, .fresh = true};
	return NULL;
}

static uint32_t zombies(const struct ob__node *node)
{
	uint32_t n = 0;

	OB__LIST_EACH (it, &node->modules) {
		const struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		OB__LIST_EACH (gen, &m->gens) {
			n += OB__CONTAINER(gen, struct ob__gen, link)->state == OB__GEN_ZOMBIE;
		}
	}
	return n;
}

/* Why no further generation may be made now, in text; false when nothing speaks against it. */
static bool crowded(const struct transaction *tx, char *text, size_t cap)
{
	if (zombies(tx->node) >= ZOMBIES_MAX) {
		snprintf(text, cap,
		         "%u old generations could not be unmapped; restart the node to go on",
		         ZOMBIES_MAX);
		return true;
	}
	for (size_t i = 0; i < tx->len; i++) {
		const struct ob__module *m = tx->items[i].module;
		if (m->gen_count > OLD_MAX) {
			snprintf(text, cap,
			         "%s: %u old generations are still draining; wait for them "
			         "(GET /modules)",
			         m->name, m->gen_count - 1);
			return true;
		}
	}
	return false;
}

void ob__swap_begin(struct ob__node *node, const struct ob__swap_request *request, ob__swap_cb cb,
                    void *arg)
{
	struct ob__swap *s = node->swap;
	json_t *refusal = NULL;
	char text[192];
	int status = 409;

	if (s->current != NULL) {
		refusal = plain_refusal("busy", "", "another module transaction is running");
	}
	struct transaction *tx = refusal == NULL ? calloc(1, sizeof(*tx)) : NULL;
	if (tx != NULL) {
		tx->items = calloc(MODULES_MAX, sizeof(*tx->items));
		tx->node = node;
	}
	if (refusal == NULL && (tx == NULL || tx->items == NULL)) {
		status = 503;
		refusal = plain_refusal("memory", "", "out of memory");
	}
	if (refusal == NULL) {
		refusal = collect(tx, request, &status);
	}
	if (refusal == NULL && crowded(tx, text, sizeof(text))) {
		refusal = plain_refusal("draining", "", text);
	}
	if (refusal != NULL) {
		cb(arg, status, refusal);
		json_decref(refusal);
		if (tx != NULL && tx->len > 0 && tx->items[0].fresh) {
			ob__module_free(tx->items[0].module);
		}
		if (tx != NULL) {
			tx_free(tx);
		}
		return;
	}
	tx->id = s->next_id++;
	tx->kind = request->kind;
	tx->force = request->force;
	tx->cb = cb;
	tx->arg = arg;
	tx->step = "admit";
	tx->began = ob__loop_now(node->loop);
	snprintf(tx->sha256, sizeof(tx->sha256), "%s",
	         request->sha256 != NULL ? request->sha256 : "");
	s->current = tx;
	if (request->answer_at_once) {
		json_t *body =
			json_pack("{s:I, s:s}", "tx", (json_int_t)tx->id, "result", "running");
		tx->answered = true;
		cb(arg, 202, body);
		json_decref(body);
	}
	if (tx->kind != OB__SWAP_UNLOAD && tx->len > 0) {
		load_next(tx);
		return;
	}
	/* Nothing to load; but the switch must not run under a module's own frame. */
	if (ob__loop_defer(node->loop, start_turn, tx) != 0) {
		start_all(tx);
	}
}

/* ---- what is there ---- */

static json_t *gen_detail(const struct ob__gen *g)
{
	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:i}", "generation", (int)g->number,
	                 "version", g->version, "sha256", g->sha256, "state", ob__gen_state_word(g),
	                 "file", g->file, "handled", (json_int_t)g->handled, "failed",
	                 (json_int_t)g->failed, "in_flight", (int)g->refs);
}

json_t *ob__swap_modules(struct ob__node *node)
{
	json_t *list = json_array();

	OB__LIST_EACH (it, &node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		json_t *old = json_array();
		OB__LIST_EACH (gen, &m->gens) {
			struct ob__gen *g = OB__CONTAINER(gen, struct ob__gen, link);
			if (g != m->active) {
				json_array_append_new(old, gen_detail(g));
			}
		}
		json_array_append_new(
			list,
			json_pack("{s:s, s:b, s:o, s:o}", "name", m->name, "admin", m->admin,
		                  "active", m->active != NULL ? gen_detail(m->active) : json_null(),
		                  "old", old));
	}
	return list;
}

static void stop_gen(struct ob__gen *g)
{
	if (g->state == OB__GEN_ACTIVE && g->desc->drain != NULL) {
		g->desc->drain(&g->ctx);
	}
	if (g->state == OB__GEN_ACTIVE || g->state == OB__GEN_DRAINING) {
		g->state = OB__GEN_DRAINING;
		g->expired = true;
		ob__dispatch_abandon(g);
		ob__work_expire(g);
		if (g->desc->stop != NULL) {
			g->desc->stop(&g->ctx);
		}
	}
	ob__work_drop(g);
	ob__slots_drop(&g->node->slots, g);
	if (g->drain_timeout != NULL) {
		ob__timeout_clear(g->node->loop, g->drain_timeout);
	}
	g->ctx.api = &ob__sdk_dead_api;
	g->state = OB__GEN_STOPPED;
}

void ob__swap_stop_all(struct ob__node *node)
{
	struct transaction *tx = node->swap->current;

	if (tx != NULL) {
		answer(tx, 503, plain_refusal("stopping", "", "the node stops"));
	}
	OB__LIST_EACH (it, &node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		OB__LIST_EACH (gen, &m->gens) {
			stop_gen(OB__CONTAINER(gen, struct ob__gen, link));
		}
		m->active = NULL;
	}
	ob__slots_rebuild(&node->slots, &node->modules);
}
