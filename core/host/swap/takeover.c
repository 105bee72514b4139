/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "host/client/codec_state.h"
#include "host/client/listen.h"
#include "host/fdwatch.h"
#include "host/swap/swap_priv.h"
#include "lib/blob.h"

/* ---- state ---- */

static uint32_t lower(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

int ob__swap_save(struct ob__gen *from, uint32_t to_write, uint32_t to_read, uint8_t **out,
                  size_t *len, uint32_t *version, struct ob__load_refusal *r)
{
	const ob_module_desc *d = from->desc;
	struct ob__blob_writer w = {0};
	char found[64];
	char expected[64];

	*out = NULL;
	if (d->state_write == 0 || to_write == 0 || d->state_write == to_write || d->save == NULL) {
		return 0;
	}
	*version = lower(d->state_write, to_write);
	if (*version < to_read) {
		snprintf(found, sizeof(found), "version %u", d->state_write);
		snprintf(expected, sizeof(expected), "version %u or later", to_read);
		ob__refuse(r, "state", "state_version", NULL, found, expected,
		           "go by a build between the two that reads the older state",
		           "%s: the state there is of version %u, the new build reads from %u on",
		           from->module->name, d->state_write, to_read);
		return OB_E_INVAL;
	}
	int rc = ob__blob_begin(&w, from->module->name, *version, SWAP_STATE_MAX);
	from->writer = &w;
	int saved = rc == 0 ? d->save(&from->ctx, (ob_writer *)&w, *version) : rc;
	from->writer = NULL;
	rc = ob__blob_finish(&w);
	rc = rc != 0 ? rc : saved;
	if (rc != 0) {
		ob__refuse(r, "state", "save", from->file, ob__strerror(rc), NULL,
		           "the old generation goes on; try again later",
		           "%s: generation %u can't save its state in version %u: %s",
		           from->module->name, from->number, *version, ob__strerror(rc));
		ob__blob_end(&w);
		return rc;
	}
	*out = w.data;
	*len = w.len;
	w.data = NULL; /* the caller's */
	ob__blob_end(&w);
	return 0;
}

static int load_into(struct ob__gen *to, const uint8_t *data, size_t len, uint32_t version,
                     struct ob__load_refusal *r)
{
	struct ob__blob_reader reader;
	const char *why = NULL;
	uint32_t tag = 0;

	if (to->desc->load == NULL) {
		ob__refuse(r, "state", "no_load", to->file, "no load()",
		           "load() for another version",
		           "give it a load hook, or state_write 0 to begin anew",
		           "%s: its state changed its version, but it can't load the old one",
		           to->module->name);
		return OB_E_INVAL;
	}
	int rc = ob__blob_open(&reader, data, len, to->module->name, &why);
	if (rc != 0) {
		ob__refuse(r, "state", "blob", NULL, why, NULL, NULL,
		           "%s: the state is damaged: %s", to->module->name,
		           why != NULL ? why : ob__strerror(rc));
		return rc;
	}
	to->reader = &reader;
	rc = to->desc->load(&to->ctx, (ob_reader *)&reader, version);
	to->reader = NULL;
	if (rc != 0) {
		ob__refuse(r, "state", "load", to->file, ob__strerror(rc), NULL,
		           "the old generation goes on with its state",
		           "%s: load of state version %u failed: %s%s%s", to->module->name, version,
		           to->refused, to->refused[0] != '\0' ? ": " : "", ob__strerror(rc));
	} else if (ob__blob_unseen(&reader, &tag)) {
		char found[32];
		snprintf(found, sizeof(found), "section %u", tag);
		ob__refuse(r, "state", "critical", to->file, found, "a build that knows it", NULL,
		           "%s: the old state has a critical section %u that it does not know",
		           to->module->name, tag);
		rc = OB_E_INVAL;
	}
	ob__blob_close(&reader);
	return rc;
}

/* From one generation to the next, or back. 0 or negative with the refusal filled. */
static int hand_over_one(struct ob__gen *from, struct ob__gen *to, uint64_t *bytes,
                         struct ob__load_refusal *r)
{
	uint8_t *data;
	size_t len = 0;
	uint32_t version = 0;
	int rc = ob__swap_save(from, to->desc->state_write, to->desc->state_read_min, &data, &len,
	                       &version, r);

	if (rc != 0 || data == NULL) {
		return rc;
	}
	rc = load_into(to, data, len, version, r);
	*bytes += len;
	free(data);
	return rc;
}

/* A save that fails, and a hand-over that takes too long, may do better a moment later. */
static bool worth_another(const struct ob__transaction *tx, const struct ob__load_refusal *r)
{
	return tx->state_tries < SWAP_STATE_TRIES && strcmp(r->code, "save") == 0;
}

/* The key of a block that both generations ask for, each in another form; NULL if there is none. */
static const char *split_block(const struct ob__gen *from, const struct ob__gen *to)
{
	for (size_t i = 0; i < to->states_len; i++) {
		for (size_t k = 0; k < from->states_len; k++) {
			if (to->states[i] != from->states[k] &&
			    strcmp(to->states[i]->key, from->states[k]->key) == 0) {
				return to->states[i]->key;
			}
		}
	}
	return NULL;
}

/* Two generations that serve at once share one state, so they must agree on what it looks like. */
static int canary_fits(const struct ob__swap_item *it, struct ob__load_refusal *r)
{
	const char *remedy = "reload without canary";
	const ob_module_desc *from = it->from->desc;
	const ob_module_desc *to = it->to->desc;
	const char *key = split_block(it->from, it->to);
	char found[96];
	char expected[96];

	if ((to->flags & OB_MODULE_PARALLEL) == 0) {
		ob__refuse(r, "state", "canary", it->to->file, "no OB_MODULE_PARALLEL",
		           "OB_MODULE_PARALLEL", remedy,
		           "%s: the new build does not say that two generations of it may serve at "
		           "once",
		           it->name);
		return OB_E_INVAL;
	}
	if (from->state_write == to->state_write && key == NULL) {
		return 0;
	}
	if (key != NULL) {
		snprintf(found, sizeof(found), "block \"%.64s\" in another form", key);
		snprintf(expected, sizeof(expected), "the same size and version");
	} else {
		snprintf(found, sizeof(found), "version %u", to->state_write);
		snprintf(expected, sizeof(expected), "version %u", from->state_write);
	}
	ob__refuse(r, "state", "canary_state", it->to->file, found, expected, remedy,
	           "%s: two generations can serve at once only with the same version of state",
	           it->name);
	return OB_E_INVAL;
}

/* From one generation to the next; for a canary there must be nothing to hand over. */
static int hand_over_item(struct ob__transaction *tx, struct ob__swap_item *it,
                          struct ob__load_refusal *r)
{
	if (it->from == NULL || it->to == NULL) {
		return 0;
	}
	if (tx->canary > 0) {
		return canary_fits(it, r);
	}
	return hand_over_one(it->from, it->to, &tx->state_bytes, r);
}

int ob__swap_hand_over(struct ob__transaction *tx)
{
	uint64_t budget = tx->node->conf->reload.budget_ms * 1000000u;
	uint64_t began = uv_hrtime();
	struct ob__load_refusal r = {0};

	tx->state_tries++;
	tx->state_bytes = 0;
	for (size_t i = 0; i < tx->len; i++) {
		struct ob__swap_item *it = &tx->items[i];
		if (hand_over_item(tx, it, &r) == 0) {
			continue;
		}
		if (worth_another(tx, &r)) {
			return 1;
		}
		tx->refusal = r;
		tx->refused = it;
		return -1;
	}
	uint64_t took = uv_hrtime() - began;
	if (budget == 0 || took <= budget) {
		return 0;
	}
	if (tx->state_tries < SWAP_STATE_TRIES) {
		return 1;
	}
	ob__refuse(
		&r, "state", "budget", NULL, "too slow", NULL,
		"raise reload.budget, or keep the state in ob_state() blocks or the key-value store",
		"handing over %llu bytes of state took %llu ms, reload.budget is %llu ms",
		(unsigned long long)tx->state_bytes, (unsigned long long)(took / 1000000u),
		(unsigned long long)tx->node->conf->reload.budget_ms);
	tx->refusal = r;
	tx->refused = tx->len > 0 ? &tx->items[0] : NULL;
	return -1;
}

/* ---- the switch ---- */

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void rebuild(struct ob__node *node)
{
	if (ob__slots_rebuild(&node->slots, &node->modules) != 0) {
		ob__error("module",
		          "out of memory: filters and events are off until the next swap");
	}
	ob__states_rebuild(node);
	ob__gates_refresh(node);
}

/* `from` no longer serves, `to` does; either may be NULL.  The number of things touched. */
static uint32_t exchange(struct ob__node *node, struct ob__module *m, struct ob__gen *from,
                         struct ob__gen *to)
{
	uint32_t touched = 1;

	if (from != NULL) {
		touched += ob__slots_deactivate(&node->slots, from);
		ob__fd_watches_pause(from, true);
	}
	if (to != NULL) {
		touched += ob__slots_activate(&node->slots, to);
		ob__gen_states_commit(to);
		to->state = OB__GEN_ACTIVE;
		atomic_store(&to->open, true);
		to->since = ob__loop_now(node->loop);
		ob__listens_activate(to);
		ob__fd_watches_pause(to, false);
		ob__codecs_switched(to);
	}
	if (from != NULL) {
		ob__codecs_switched(from);
	}
	m->active = to;
	ob__transports_switched(node);
	return touched;
}

static void begin_canary(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		struct ob__swap_item *it = &tx->items[i];
		if (it->to == NULL) {
			continue;
		}
		it->to->state = OB__GEN_CANARY;
		atomic_store(&it->to->open, true);
		it->to->share = tx->canary;
		it->to->since = ob__loop_now(tx->node->loop);
		tx->switch_objects += 1 + ob__slots_canary(&tx->node->slots, it->to);
		it->module->canary = it->to;
	}
	tx->canarying = true;
}

static void go_live(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		struct ob__gen *to = tx->items[i].to;
		if (to != NULL && to->desc->live != NULL) {
			to->desc->live(&to->ctx);
		}
	}
}

/* Every new generation takes over, the old ones stand by. */
static void exchange_all(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		struct ob__swap_item *it = &tx->items[i];
		if (it->unchanged) {
			continue;
		}
		it->module->canary = NULL;
		tx->switch_objects += exchange(tx->node, it->module, it->from, it->to);
		if (it->from != NULL) {
			it->from->state = OB__GEN_STANDBY;
		}
	}
	rebuild(tx->node);
}

void ob__swap_switch(struct ob__transaction *tx)
{
	uint64_t began = cpu_ns();

	if (tx->on_switch != NULL) {
		tx->on_switch(tx->arg);
	}
	tx->switch_objects = 0;
	if (tx->canary > 0) {
		begin_canary(tx);
	} else {
		exchange_all(tx);
	}
	go_live(tx);
	tx->switch_cpu_ns = cpu_ns() - began;
}

/* The module's conf may have changed while this generation did not serve: it takes it as in a
 * reload of the configuration.  If it can't, the module has the generation's again, so that the
 * next reload finds a difference. */
static void follow_conf(struct ob__gen *g)
{
	struct ob__module *m = g->module;
	const ob_module_desc *d = g->desc;
	ob_err err = {""};

	if (json_equal(g->conf, m->conf)) {
		return;
	}
	if (d->reconf != NULL && (d->check == NULL || d->check(m->conf, &err) == 0) &&
	    d->reconf(&g->ctx, m->conf, OB_RECONF_CHECK, &err) == 0) {
		json_decref(g->conf);
		g->conf = json_incref(m->conf);
		d->reconf(&g->ctx, m->conf, OB_RECONF_APPLY, &err);
		return;
	}
	ob__error("module",
	          "%s: generation %u serves with the conf it was started with, which has changed "
	          "since; reload the configuration",
	          m->name, g->number);
	json_decref(m->conf);
	m->conf = json_incref(g->conf);
}

void ob__swap_promote(struct ob__transaction *tx)
{
	uint64_t began = cpu_ns();

	exchange_all(tx);
	for (size_t i = 0; i < tx->len; i++) {
		if (tx->items[i].to != NULL) {
			follow_conf(tx->items[i].to);
		}
	}
	tx->canarying = false;
	tx->switch_cpu_ns += cpu_ns() - began;
}

/* What happened since the switch goes back with the state, if its version had changed. */
static void hand_back(struct ob__swap_item *it)
{
	struct ob__load_refusal r = {0};
	uint64_t bytes = 0;

	if (it->from == NULL || it->to == NULL) {
		return;
	}
	if (hand_over_one(it->to, it->from, &bytes, &r) != 0) {
		ob__error("module", "%s: generation %u goes on with the state it had: %s", it->name,
		          it->from->number, r.message);
	}
}

void ob__swap_switch_back(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		struct ob__swap_item *it = &tx->items[i];
		if (it->unchanged || it->to == NULL) {
			continue;
		}
		if (tx->canarying) {
			ob__slots_deactivate(&tx->node->slots, it->to);
			it->module->canary = NULL;
			continue;
		}
		hand_back(it);
		exchange(tx->node, it->module, it->to, it->from);
		if (it->from == NULL) {
			continue;
		}
		if (it->from->desc->resume != NULL) {
			it->from->desc->resume(&it->from->ctx);
		}
		follow_conf(it->from);
	}
	rebuild(tx->node);
	tx->canarying = false;
}
