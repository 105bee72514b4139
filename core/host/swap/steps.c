/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "host/client.h"
#include "host/codec_state.h"
#include "host/listen.h"
#include "host/swap/depend.h"
#include "host/swap/swap_priv.h"

/* ---- helpers ---- */

static enum ob__tx_answer refuse(struct ob__transaction *tx, struct ob__swap_item *it,
                                 const struct ob__load_refusal *r)
{
	tx->refusal = *r;
	tx->refused = it;
	return OB__TX_FAIL;
}

static enum ob__tx_answer no_memory(struct ob__transaction *tx, struct ob__swap_item *it,
                                    const char *step)
{
	struct ob__load_refusal r = {0};

	ob__refuse(&r, step, "memory", NULL, NULL, NULL, NULL, "out of memory");
	return refuse(tx, it, &r);
}

static void turn(void *arg)
{
	struct ob__transaction *tx = arg;

	tx->queued_up = false;
	if (!tx->ended && !tx->node->swap->stopping) {
		ob__tx_continue(&tx->machine, OB__TX_AGAIN);
	}
}

void ob__tx_turn(struct ob__transaction *tx)
{
	if (!tx->queued_up && ob__loop_defer(tx->node->loop, turn, tx) == 0) {
		tx->queued_up = true;
	}
}

/* The step gets a loop turn of its own: false the first time, when the turn has been asked for. */
static bool own_turn(struct ob__transaction *tx)
{
	if (tx->turn) {
		tx->turn = false;
		return true;
	}
	ob__tx_turn(tx);
	tx->turn = tx->queued_up;
	return !tx->turn;
}

/* Nothing is loaded for this item. */
static bool idle(const struct ob__swap_item *it)
{
	return it->unchanged || it->tx->kind == OB__SWAP_UNLOAD;
}

static enum ob__tx_answer submit(struct ob__swap_item *it, enum ob__load_op op,
                                 void (*done)(struct ob__load_job *job))
{
	it->job->op = op;
	it->job->done = done;
	ob__loader_submit(it->tx->node->loader, it->job);
	return OB__TX_WAIT;
}

/* The end of a job of an item; true when the transaction goes on. */
static bool came_back(struct ob__load_job *job)
{
	const struct ob__swap_item *it = job->arg;

	return !it->tx->node->swap->stopping;
}

static void job_done(struct ob__load_job *job)
{
	struct ob__swap_item *it = job->arg;
	enum ob__tx_answer answer = OB__TX_OK;

	if (!came_back(job)) {
		return;
	}
	if (job->failed) {
		answer = refuse(it->tx, it, &job->refusal);
	}
	ob__tx_continue(&it->tx->machine, answer);
}

/* ---- stage ---- */

/* On the loader thread: the file, and what the manifest knows of it. */
static void stage_call(struct ob__load_job *job)
{
	struct ob__swap_item *it = job->arg;
	struct ob__transaction *tx = it->tx;
	struct ob__manifest *manifest = tx->node->swap->manifest;
	struct ob__loader *loader = tx->node->loader;
	char why[160];
	char sha[65];

	if (tx->kind == OB__SWAP_ROLLBACK &&
	    !ob__manifest_good(manifest, job->name, it->from->sha256, job->path, sizeof(job->path),
	                       job->want_sha)) {
		job->failed = true;
		ob__refuse(&job->refusal, "stage", "no_good", NULL, "no earlier good build", NULL,
		           "install the build you want and reload",
		           "%s: no earlier build of it has passed a probation here", job->name);
		return;
	}
	job->op = OB__LOAD_STAGE;
	ob__loader_run(loader, job);
	if (job->failed || job->unchanged ||
	    !ob__manifest_quarantined(manifest, job->name, job->sha256, why, sizeof(why))) {
		return;
	}
	if (tx->force) {
		ob__manifest_release(manifest, job->name, job->sha256);
		return;
	}
	if (tx->kind != OB__SWAP_START) {
		ob__refuse(&job->refusal, "stage", "quarantine", job->file, why,
		           "a build that did not bring the node down",
		           "install another build, or reload with \"force\": true",
		           "%s is in quarantine: %s", job->file, why);
		job->op = OB__LOAD_DISCARD;
		ob__loader_run(loader, job);
		job->failed = true;
		return;
	}
	char good[512];
	if (!ob__manifest_good(manifest, job->name, job->sha256, good, sizeof(good), sha)) {
		ob__error("module", "%s: %s is in quarantine (%s), but there is no other build",
		          job->name, job->file, why);
		return;
	}
	ob__error("module", "%s: %s is in quarantine (%s); the last good build, %.12s, is used",
	          job->name, job->file, why, sha);
	job->op = OB__LOAD_DISCARD;
	ob__loader_run(loader, job);
	job->op = OB__LOAD_STAGE;
	snprintf(job->path, sizeof(job->path), "%s", good);
	memcpy(job->want_sha, sha, sizeof(sha));
	job->number += 1u << 30; /* the first name is used up */
	ob__loader_run(loader, job);
}

static void stage_done(struct ob__load_job *job)
{
	struct ob__swap_item *it = job->arg;

	it->unchanged = !job->failed && job->unchanged;
	job_done(job);
}

static enum ob__tx_answer run_stage(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__module *m = it->module;

	if (tx->kind == OB__SWAP_UNLOAD) {
		return OB__TX_OK;
	}
	it->job = calloc(1, sizeof(*it->job));
	if (it->job == NULL) {
		return no_memory(tx, it, "stage");
	}
	struct ob__load_job *job = it->job;
	job->arg = it;
	job->call = stage_call;
	job->number = ++m->last_stage;
	snprintf(job->name, sizeof(job->name), "%s", m->name);
	if (tx->kind == OB__SWAP_CONF) {
		snprintf(job->path, sizeof(job->path), "%s", it->from->staged);
		memcpy(job->want_sha, it->from->sha256, sizeof(job->want_sha));
	} else {
		snprintf(job->path, sizeof(job->path), "%s", m->path != NULL ? m->path : "");
		memcpy(job->want_sha, tx->sha256, sizeof(job->want_sha));
	}
	if (tx->kind == OB__SWAP_RELOAD && it->from != NULL && !tx->force) {
		memcpy(job->known_sha, it->from->sha256, sizeof(job->known_sha));
	}
	return submit(it, OB__LOAD_CALL, stage_done);
}

/* The copy goes, unless a generation has taken it over. */
static void undo_stage(struct ob__transaction *tx, struct ob__swap_item *it)
{
	if (it->to != NULL || it->job == NULL || it->job->staged[0] == '\0') {
		return;
	}
	struct ob__load_job *job = calloc(1, sizeof(*job));
	if (job == NULL) {
		return; /* tx_free() removes it */
	}
	job->op = OB__LOAD_DISCARD;
	job->loaders = true;
	memcpy(job->staged, it->job->staged, sizeof(job->staged));
	it->job->staged[0] = '\0';
	ob__loader_submit(tx->node->loader, job);
}

/* ---- preflight, probe, open ---- */

static enum ob__tx_answer run_preflight(struct ob__transaction *tx, struct ob__swap_item *it)
{
	(void)tx;
	return idle(it) ? OB__TX_OK : submit(it, OB__LOAD_PREFLIGHT, job_done);
}

/* The new generation reads another version of state than the old one writes: it rehearses that
 * too, with what the old one has now. */
static bool needs_state(struct ob__swap_item *it)
{
	struct ob__probe *p = &it->job->probe;
	struct ob__load_refusal r = {0};

	if (it->state_probed || it->from == NULL ||
	    ob__swap_save(it->from, p->state_write, p->state_read_min, &it->state, &p->state_len,
	                  &p->state_version, &r) != 0) {
		return false; /* the step that hands over says what is wrong */
	}
	it->state_probed = true;
	p->state = it->state;
	return it->state != NULL;
}

static void probe_done(struct ob__load_job *job)
{
	struct ob__swap_item *it = job->arg;

	if (came_back(job) && !job->failed && needs_state(it)) {
		ob__tx_continue(&it->tx->machine, OB__TX_AGAIN);
		return;
	}
	job_done(job);
}

static enum ob__tx_answer run_probe(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__node *node = tx->node;

	if (idle(it) || !node->rehearses || node->conf->reload.probe_ms == 0) {
		return OB__TX_OK;
	}
	if (it->conf_text == NULL) {
		it->conf_text = json_dumps(it->conf != NULL ? it->conf : it->module->conf, 0);
	}
	if (it->conf_text == NULL) {
		return no_memory(tx, it, "probe");
	}
	it->job->probe.conf = it->conf_text;
	it->job->probe.admin = it->module->admin;
	it->job->probe.timeout_ms = (uint32_t)node->conf->reload.probe_ms;
	return submit(it, OB__LOAD_PROBE, probe_done);
}

static int make_generation(struct ob__swap_item *it)
{
	struct ob__load_job *job = it->job;
	struct ob__gen *g = ob__gen_new(it->tx->node, it->module);

	if (g == NULL) {
		return OB_E_NOMEM;
	}
	g->number = ++it->module->last_number;
	size_t size = job->desc->size < sizeof(g->own_desc) ? job->desc->size : sizeof(g->own_desc);
	memcpy(&g->own_desc, job->desc, size);
	g->desc = &g->own_desc;
	g->dl = job->dl;
	g->base = job->base;
	g->low = job->low;
	g->high = job->high;
	g->staged = strdup(job->staged);
	g->file = strdup(it->tx->kind == OB__SWAP_CONF ? it->from->file : job->file);
	g->conf = json_incref(it->conf != NULL ? it->conf : it->module->conf);
	g->disk_size = job->size;
	g->disk_mtime_ns = job->mtime_ns;
	g->disk_inode = job->inode;
	snprintf(g->version, sizeof(g->version), "%s",
	         g->desc->version != NULL ? g->desc->version : "");
	ob__make_utf8(g->version);
	memcpy(g->sha256, job->sha256, sizeof(g->sha256));
	snprintf(g->resident, sizeof(g->resident), "%s", job->probe.resident);
	if ((g->desc->flags & OB_MODULE_RESIDENT) != 0 && g->resident[0] == '\0') {
		snprintf(g->resident, sizeof(g->resident), "its author says so");
	}
	if (g->resident[0] != '\0') {
		ob__warning("module", "%s: generation %u will stay mapped when it is taken out: %s",
		            it->name, g->number, g->resident);
	}
	job->staged[0] = '\0'; /* the generation's, now */
	it->to = g;
	return 0;
}

static void open_done(struct ob__load_job *job)
{
	struct ob__swap_item *it = job->arg;

	if (job->failed) {
		job_done(job);
		return;
	}
	if (make_generation(it) != 0) {
		if (came_back(job)) {
			ob__tx_continue(&it->tx->machine, no_memory(it->tx, it, "load"));
		}
		return;
	}
	job_done(job);
}

static enum ob__tx_answer run_open(struct ob__transaction *tx, struct ob__swap_item *it)
{
	(void)tx;
	return idle(it) ? OB__TX_OK : submit(it, OB__LOAD_OPEN, open_done);
}

static void undo_open(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__gen *g = it->to;

	if (g == NULL) {
		return;
	}
	it->to_shown = ob__gen_brief(g);
	if (tx->machine.state == OB__TX_SWITCHED) {
		return; /* it has served: it drains */
	}
	g->state = OB__GEN_STARTING;
	ob__gen_retire(g);
	it->to = NULL;
}

/* ---- depend ---- */

static const ob_module_desc *desc_after(struct ob__transaction *tx, const struct ob__module *m)
{
	for (size_t i = 0; i < tx->len; i++) {
		const struct ob__swap_item *it = &tx->items[i];
		if (it->module == m && !it->unchanged) {
			return it->to != NULL ? it->to->desc : NULL;
		}
	}
	return m->active != NULL ? m->active->desc : NULL;
}

static struct ob__swap_item *item_of(struct ob__transaction *tx, const char *name)
{
	for (size_t i = 0; i < tx->len; i++) {
		if (strcmp(tx->items[i].name, name) == 0) {
			return &tx->items[i];
		}
	}
	return NULL;
}

/* Sorts the items as their modules must start. */
static void sort_items(struct ob__transaction *tx, const struct ob__depend *all,
                       const size_t *order, size_t len)
{
	struct ob__swap_item *sorted = calloc(tx->len, sizeof(*sorted));
	size_t n = 0;

	for (size_t i = 0; sorted != NULL && i < len; i++) {
		const struct ob__swap_item *it = item_of(tx, all[order[i]].name);
		if (it != NULL) {
			sorted[n++] = *it;
		}
	}
	if (sorted != NULL && n == tx->len) {
		memcpy(tx->items, sorted, n * sizeof(*sorted));
		for (size_t i = 0; i < n; i++) {
			struct ob__swap_item *it = &tx->items[i];
			if (it->job != NULL) {
				it->job->arg = it;
			}
		}
	}
	free(sorted);
}

static enum ob__tx_answer run_depend(struct ob__transaction *tx)
{
	struct ob__depend all[SWAP_MODULES_MAX];
	size_t order[SWAP_MODULES_MAX];
	struct ob__depend_fault fault = {0};
	size_t len = 0;

	OB__LIST_EACH (it, &tx->node->modules) {
		const struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		const ob_module_desc *d = desc_after(tx, m);
		if (d != NULL && len < SWAP_MODULES_MAX) {
			all[len++] = (struct ob__depend){m->name, d->provides, d->needs};
		}
	}
	if (ob__depend_order(all, len, order, &fault) != 0) {
		struct ob__load_refusal r = {0};
		struct ob__swap_item *it = item_of(tx, all[fault.item].name);
		it = it != NULL || tx->len == 0 ? it : &tx->items[0];
		ob__refuse(&r, "depend", fault.code, NULL, fault.found, fault.expected,
		           "reload or load the modules that belong together in one request", "%s",
		           fault.text);
		return refuse(tx, it, &r);
	}
	if (tx->kind != OB__SWAP_UNLOAD) {
		sort_items(tx, all, order, len);
	}
	return OB__TX_OK;
}

/* ---- check, start, selftest ---- */

static enum ob__tx_answer run_check(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__load_refusal r = {0};
	ob_err err = {""};

	if (it->to == NULL || it->to->desc->check == NULL) {
		return OB__TX_OK;
	}
	int rc = it->to->desc->check(it->to->conf, &err);
	if (rc == 0) {
		return OB__TX_OK;
	}
	ob__refuse(&r, "check", "conf", it->to->file, NULL, NULL, "correct the module's conf", "%s",
	           err.text[0] != '\0' ? err.text : ob__strerror(rc));
	return refuse(tx, it, &r);
}

/* A listener's codec that the new generation no longer offers; NULL if there is none. */
static const char *lost_codec(const struct ob__swap_item *it)
{
	if (it->from == NULL || it->to == NULL) {
		return NULL;
	}
	OB__LIST_EACH (reg_link, &it->from->regs) {
		const struct ob__reg *reg = OB__CONTAINER(reg_link, struct ob__reg, gen_link);
		if (reg->slot->kind == OB__SLOT_CODEC && reg->slot->shadow == NULL &&
		    ob__clients_use_codec(it->tx->node, reg->slot)) {
			return reg->slot->name;
		}
	}
	return NULL;
}

static enum ob__tx_answer run_start(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__gen *g = it->to;
	struct ob__load_refusal r = {0};

	if (g == NULL) {
		return OB__TX_OK;
	}
	if (!own_turn(tx)) {
		return OB__TX_WAIT;
	}
	g->state = OB__GEN_STARTING;
	int rc = g->desc->start != NULL ? g->desc->start(&g->ctx, g->conf) : 0;
	if (rc != 0) {
		ob__refuse(&r, "start", "start", g->file, NULL, NULL,
		           rc == OB_E_EXISTS
		                   ? "another module has an id, method or path it asks for"
		                   : NULL,
		           "start failed: %s%s%s", g->refused[0] != '\0' ? g->refused : "",
		           g->refused[0] != '\0' ? ": " : "", ob__strerror(rc));
		return refuse(tx, it, &r);
	}
	g->started = true;
	const char *lost = lost_codec(it);
	if (lost == NULL) {
		return OB__TX_OK;
	}
	ob__refuse(&r, "start", "codec", g->file, "no such codec", lost,
	           "keep the codec, or take the listener out of the configuration",
	           "it no longer offers the codec %s, which a listener uses", lost);
	return refuse(tx, it, &r);
}

static enum ob__tx_answer run_selftest(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__gen *g = it->to;
	struct ob__load_refusal r = {0};

	if (g == NULL || g->desc->selftest == NULL) {
		return OB__TX_OK;
	}
	if (!own_turn(tx)) {
		return OB__TX_WAIT;
	}
	int rc = g->desc->selftest(&g->ctx);
	if (rc == 0) {
		return OB__TX_OK;
	}
	ob__refuse(&r, "selftest", "selftest", g->file, NULL, NULL, NULL, "selftest failed: %s",
	           ob__strerror(rc));
	return refuse(tx, it, &r);
}

/* ---- journal ---- */

static bool on_trial(const struct ob__transaction *tx)
{
	return tx->probation_ms > 0 && tx->kind != OB__SWAP_UNLOAD;
}

/* On the loader thread, which leaves the items alone but for their names meanwhile.  A start brings
 * the modules all at once: those that have proved themselves before are not suspected. */
static void trial_call(struct ob__load_job *job)
{
	struct ob__transaction *tx = job->arg;
	struct ob__manifest *manifest = tx->node->swap->manifest;
	struct ob__manifest_build builds[SWAP_MODULES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < tx->len; i++) {
		const char *name = tx->items[i].name;
		const struct ob__gen *g = tx->items[i].to;
		bool proved = tx->kind == OB__SWAP_START && g != NULL &&
		              ob__manifest_known(manifest, name, g->sha256);
		if (g != NULL && !proved) {
			builds[n++] =
				(struct ob__manifest_build){name, g->sha256, g->version, g->staged};
		}
	}
	int rc = n > 0 ? ob__manifest_trial(manifest, builds, n) : 0;
	job->failed = rc != 0;
	if (rc != 0) {
		ob__refuse(&job->refusal, "journal", "journal", NULL, ob__strerror(rc), NULL,
		           "check the space and the permissions of state_dir",
		           "the journal can't be written: %s", ob__strerror(rc));
	}
}

static void journal_done(struct ob__load_job *job)
{
	struct ob__transaction *tx = job->arg;
	struct ob__load_refusal r = job->refusal;
	bool failed = job->failed;

	tx->journal = NULL;
	free(job);
	if (tx->node->swap->stopping) {
		return;
	}
	ob__tx_continue(&tx->machine, failed ? refuse(tx, NULL, &r) : OB__TX_OK);
}

static enum ob__tx_answer run_journal(struct ob__transaction *tx)
{
	if (!on_trial(tx)) {
		return OB__TX_OK;
	}
	tx->journal = calloc(1, sizeof(*tx->journal));
	if (tx->journal == NULL) {
		return no_memory(tx, NULL, "journal");
	}
	tx->journal->op = OB__LOAD_CALL;
	tx->journal->call = trial_call;
	tx->journal->done = journal_done;
	tx->journal->arg = tx;
	ob__loader_submit(tx->node->loader, tx->journal);
	return OB__TX_WAIT;
}

static void trial_end_call(struct ob__load_job *job)
{
	ob__manifest_trial_end(job->arg);
}

static void undo_journal(struct ob__transaction *tx)
{
	struct ob__load_job *job = on_trial(tx) ? calloc(1, sizeof(*job)) : NULL;

	if (job == NULL) {
		return;
	}
	job->op = OB__LOAD_CALL;
	job->call = trial_end_call;
	job->arg = tx->node->swap->manifest;
	job->loaders = true;
	ob__loader_submit(tx->node->loader, job);
}

/* ---- state, switch, probation, commit ---- */

static enum ob__tx_answer run_state(struct ob__transaction *tx)
{
	int rc = ob__swap_hand_over(tx);

	if (rc < 0) {
		return OB__TX_FAIL;
	}
	if (rc > 0) {
		ob__timeout_set(tx->node->loop, &tx->timer, 10);
		return OB__TX_WAIT;
	}
	return OB__TX_OK;
}

bool ob__tx_changes(const struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		if (!tx->items[i].unchanged) {
			return true;
		}
	}
	return false;
}

static enum ob__tx_answer run_switch(struct ob__transaction *tx)
{
	if (ob__tx_changes(tx)) {
		ob__swap_switch(tx);
	}
	return OB__TX_OK;
}

/* A request ends a probation, so one that waits already lets none begin. */
static enum ob__tx_answer run_probation(struct ob__transaction *tx)
{
	if (!on_trial(tx) || !ob__tx_changes(tx) || !ob__list_empty(&tx->node->swap->queue)) {
		return OB__TX_OK;
	}
	tx->probing = true;
	ob__probation_begin(tx);
	return OB__TX_WAIT;
}

/* What the loader thread needs to know of builds that have passed; the job's own. */
struct good_builds {
	struct ob__manifest *manifest;
	bool trial; /* is over */
	size_t len;
	struct {
		char name[64];
		char sha256[65];
		char version[64];
		char staged[512];
	} builds[];
};

static void good_call(struct ob__load_job *job)
{
	struct good_builds *good = job->arg;

	for (size_t i = 0; i < good->len; i++) {
		struct ob__manifest_build build = {good->builds[i].name, good->builds[i].sha256,
		                                   good->builds[i].version, good->builds[i].staged};
		int rc = ob__manifest_good_add(good->manifest, &build);
		if (rc != 0) {
			ob__warning("module", "%s: can't keep a copy of build %.12s: %s",
			            build.name, build.sha256, ob__strerror(rc));
		}
	}
	if (good->trial) {
		ob__manifest_trial_end(good->manifest);
	}
	free(good);
}

/* The copies are kept before anything unmaps the generations: the loader works in order. */
static void keep_builds(struct ob__transaction *tx)
{
	struct ob__load_job *job = calloc(1, sizeof(*job));
	struct good_builds *good = calloc(1, sizeof(*good) + tx->len * sizeof(good->builds[0]));

	if (job == NULL || good == NULL) {
		free(job);
		free(good);
		return;
	}
	good->manifest = tx->node->swap->manifest;
	good->trial = on_trial(tx);
	for (size_t i = 0; i < tx->len; i++) {
		const struct ob__gen *g = tx->items[i].to;
		if (g == NULL) {
			continue;
		}
		size_t n = good->len++;
		snprintf(good->builds[n].name, sizeof(good->builds[n].name), "%s",
		         tx->items[i].name);
		memcpy(good->builds[n].sha256, g->sha256, sizeof(g->sha256));
		snprintf(good->builds[n].version, sizeof(good->builds[n].version), "%s",
		         g->version);
		snprintf(good->builds[n].staged, sizeof(good->builds[n].staged), "%s", g->staged);
	}
	job->op = OB__LOAD_CALL;
	job->call = good_call;
	job->arg = good;
	job->loaders = true;
	ob__loader_submit(tx->node->loader, job);
}

static enum ob__tx_answer run_commit(struct ob__transaction *tx)
{
	tx->probing = false;
	ob__probation_end(tx);
	if (tx->canarying) {
		ob__swap_promote(tx);
	}
	if (tx->kind != OB__SWAP_UNLOAD && ob__tx_changes(tx)) {
		keep_builds(tx);
	}
	return OB__TX_OK;
}

/* ---- drain, close ---- */

static enum ob__tx_answer run_drain(struct ob__swap_item *it)
{
	bool drains = it->from != NULL && !it->unchanged && it->from->state == OB__GEN_DRAINING;

	return drains && it->from_end == NULL ? OB__TX_WAIT : OB__TX_OK;
}

static enum ob__tx_answer run_close(struct ob__swap_item *it)
{
	return it->from == NULL || it->unchanged || it->from_end != NULL ? OB__TX_OK : OB__TX_WAIT;
}

/* ---- the table ---- */

static enum ob__tx_answer run(void *arg, enum ob__tx_step step, size_t item)
{
	struct ob__transaction *tx = arg;
	struct ob__swap_item *it = item < tx->len ? &tx->items[item] : NULL;

	if (step != tx->shown_step) {
		uint64_t now = uv_hrtime();
		uint64_t us = (now - tx->step_began) / 1000;
		json_array_append_new(tx->steps, json_pack("{s:s, s:I}", "step",
		                                           ob__tx_step_word(tx->shown_step), "us",
		                                           (json_int_t)us));
		ob__info("module", "tx %llu: %s: %llu us", (unsigned long long)tx->id,
		         ob__tx_step_word(tx->shown_step), (unsigned long long)us);
		tx->shown_step = step;
		tx->step_began = now;
	}
	switch (step) {
	case OB__TX_STAGE:
		return run_stage(tx, it);
	case OB__TX_PREFLIGHT:
		return run_preflight(tx, it);
	case OB__TX_PROBE:
		return run_probe(tx, it);
	case OB__TX_OPEN:
		return run_open(tx, it);
	case OB__TX_DEPEND:
		return run_depend(tx);
	case OB__TX_CHECK:
		return run_check(tx, it);
	case OB__TX_START:
		return run_start(tx, it);
	case OB__TX_SELFTEST:
		return run_selftest(tx, it);
	case OB__TX_JOURNAL:
		return run_journal(tx);
	case OB__TX_STATE:
		return run_state(tx);
	case OB__TX_SWITCH:
		return run_switch(tx);
	case OB__TX_PROBATION:
		return run_probation(tx);
	case OB__TX_COMMIT:
		return run_commit(tx);
	case OB__TX_DRAIN:
		return run_drain(it);
	case OB__TX_CLOSE:
		return run_close(it);
	case OB__TX_ADMIT:
	case OB__TX_REPORT:
	case OB__TX_STEPS:
		break;
	}
	return OB__TX_OK;
}

static void undo(void *arg, enum ob__tx_step step, size_t item, bool failed)
{
	struct ob__transaction *tx = arg;
	struct ob__swap_item *it = item < tx->len ? &tx->items[item] : NULL;

	switch (step) {
	case OB__TX_STAGE:
		undo_stage(tx, it);
		return;
	case OB__TX_OPEN:
		undo_open(tx, it);
		return;
	case OB__TX_JOURNAL:
		undo_journal(tx);
		return;
	case OB__TX_SWITCH:
		ob__swap_switch_back(tx);
		return;
	case OB__TX_PROBATION:
		tx->probing = false;
		ob__probation_end(tx);
		return;
	default:
		(void)failed;
		return;
	}
}

/* ---- the states ---- */

static void refused(struct ob__transaction *tx)
{
	const struct ob__load_refusal *r = &tx->refusal;
	const char *name = tx->refused != NULL ? tx->refused->name : "";

	++*tx->node->swap->refused;
	ob__listens_sweep(tx->node);
	ob__tx_settle(tx);
	ob__error("module", "%s: refused at %s: %s%s%s", name, r->step, r->message,
	          r->remedy[0] != '\0' ? "; " : "", r->remedy);
	ob__tx_reply(tx, 422, ob__refusal_json(tx->id, name, r));
}

/* Modules that the transaction made go with it. */
static void forget_modules(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		ob__module_gone(tx->node, tx->items[i].module);
	}
}

static void switched(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		struct ob__swap_item *it = &tx->items[i];
		if (it->unchanged) {
			continue;
		}
		if (it->to == NULL) {
			ob__notice("module", "%s: taken out", it->name);
			continue;
		}
		++*tx->node->swap->switched;
		ob__notice("module", "%s: generation %u is %s (version %s, sha256 %.12s)", it->name,
		           it->to->number, ob__gen_state_word(it->to), it->to->version,
		           it->to->sha256);
	}
	if (tx->wait == OB__SWAP_WAIT_SWITCH) {
		ob__tx_reply(tx, 200, ob__tx_json(tx));
	}
}

static void committed(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		struct ob__swap_item *it = &tx->items[i];
		if (it->to != NULL) {
			ob__codecs_committed(it->to);
		}
		if (it->from != NULL && !it->unchanged) {
			it->from->leaving = it;
			ob__gen_begin_drain(it->from);
		}
	}
	ob__listens_sweep(tx->node);
	ob__tx_settle(tx);
	ob__tx_reply(tx, 200, ob__tx_json(tx));
	ob__tx_release(tx);
}

static void came_return(struct ob__transaction *tx)
{
	++*tx->node->swap->returned;
	ob__error("module", "tx %llu: returned to the old generation%s: %s",
	          (unsigned long long)tx->id, tx->len == 1 ? "" : "s", tx->returned);
	for (size_t i = 0; i < tx->len; i++) {
		struct ob__swap_item *it = &tx->items[i];
		if (it->to != NULL) {
			ob__gen_begin_drain(it->to);
		}
	}
	ob__listens_sweep(tx->node);
	ob__tx_settle(tx);
	ob__tx_reply(tx, 200, ob__tx_json(tx));
}

static void moved(void *arg, enum ob__tx_state state)
{
	struct ob__transaction *tx = arg;

	switch (state) {
	case OB__TX_SWITCHED:
		switched(tx);
		return;
	case OB__TX_COMMITTED:
		committed(tx);
		return;
	case OB__TX_REFUSED:
		refused(tx);
		ob__tx_release(tx);
		forget_modules(tx);
		return;
	case OB__TX_RETURNED:
		came_return(tx);
		ob__tx_release(tx);
		forget_modules(tx);
		return;
	case OB__TX_DONE:
		ob__tx_release(tx);
		return;
	case OB__TX_NEW:
	case OB__TX_RUNNING:
		return;
	}
}

const struct ob__tx_ops ob__swap_ops = {.run = run, .undo = undo, .moved = moved};
