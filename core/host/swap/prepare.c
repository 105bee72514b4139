/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/swap/steps.h"

/* ---- jobs of the loader thread ---- */

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
	ob__watch_submit(it->tx->node, it->job);
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
	if (it->tx->hung) {
		it->tx->refused = it;
		answer = OB__TX_FAIL; /* that is what was answered */
	} else if (job->failed) {
		answer = ob__tx_refuse(it->tx, it, &job->refusal);
	}
	ob__tx_continue(&it->tx->machine, answer);
}

/* ---- stage ---- */

/* A rollback goes by the manifest: which copy it is, and what must be in it. */
static bool find_good(struct ob__swap_item *it, struct ob__load_job *job)
{
	if (ob__manifest_good(it->tx->node->swap->manifest, job->name, it->from->sha256, job->path,
	                      sizeof(job->path), job->want_sha)) {
		return true;
	}
	job->failed = true;
	ob__refuse(&job->refusal, "stage", "no_good", NULL, "no earlier good build", NULL,
	           "install the build you want and reload",
	           "%s: no earlier build of it has passed a probation here", job->name);
	return false;
}

static void run_now(struct ob__transaction *tx, struct ob__load_job *job, enum ob__load_op op)
{
	job->op = op;
	ob__loader_run(tx->node->loader, job);
}

static void refuse_quarantined(struct ob__transaction *tx, struct ob__load_job *job,
                               const char *why)
{
	ob__refuse(&job->refusal, "stage", "quarantine", job->file, why,
	           "a build that did not bring the node down",
	           "install another build, or reload with \"force\": true",
	           "%s is in quarantine: %s", job->file, why);
	run_now(tx, job, OB__LOAD_DISCARD);
	job->failed = true;
}

/* A node that starts takes the last good build in the place of one in quarantine, and that one if
 * there is no other: a node without the module would be worse. */
static void stage_good(struct ob__transaction *tx, struct ob__load_job *job, const char *why)
{
	char good[512];
	char installed[sizeof(job->file)];
	char sha[65];

	if (!ob__manifest_good(tx->node->swap->manifest, job->name, job->sha256, good, sizeof(good),
	                       sha)) {
		ob__error("module", "%s: %s is in quarantine (%s), but there is no other build",
		          job->name, job->file, why);
		return;
	}
	ob__error("module", "%s: %s is in quarantine (%s); the last good build, %.12s, is used",
	          job->name, job->file, why, sha);
	run_now(tx, job, OB__LOAD_DISCARD);
	memcpy(installed, job->file, sizeof(installed));
	snprintf(job->path, sizeof(job->path), "%s", good);
	memcpy(job->want_sha, sha, sizeof(sha));
	job->number += 1u << 30; /* the first name is used up */
	run_now(tx, job, OB__LOAD_STAGE);
	if (!job->failed) { /* what is there is another one, and is shown as that */
		memcpy(job->file, installed, sizeof(job->file));
	}
}

/* On the loader thread: the file, and what the manifest knows of it. */
static void stage_call(struct ob__load_job *job)
{
	struct ob__swap_item *it = job->arg;
	struct ob__transaction *tx = it->tx;
	struct ob__manifest *manifest = tx->node->swap->manifest;
	char why[160];

	if (tx->kind == OB__SWAP_ROLLBACK && !find_good(it, job)) {
		return;
	}
	run_now(tx, job, OB__LOAD_STAGE);
	if (job->failed || job->unchanged ||
	    !ob__manifest_quarantined(manifest, job->name, job->sha256, why, sizeof(why))) {
		return;
	}
	if (tx->force) {
		ob__manifest_release(manifest, job->name, job->sha256);
	} else if (tx->kind == OB__SWAP_START) {
		stage_good(tx, job, why);
	} else {
		refuse_quarantined(tx, job, why);
	}
}

static void stage_done(struct ob__load_job *job)
{
	struct ob__swap_item *it = job->arg;

	it->unchanged = !job->failed && job->unchanged;
	job_done(job);
}

static enum ob__tx_answer refuse_long(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__load_refusal r = {0};

	ob__refuse(&r, "stage", "unreadable", it->job->path, "a longer path",
	           "a path of at most 511 bytes", "set a shorter path in the configuration",
	           "%s: the path that is configured is too long", it->name);
	return ob__tx_refuse(tx, it, &r);
}

enum ob__tx_answer ob__step_stage(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__module *m = it->module;

	if (tx->kind == OB__SWAP_UNLOAD) {
		return OB__TX_OK;
	}
	it->job = calloc(1, sizeof(*it->job));
	if (it->job == NULL) {
		return ob__tx_no_memory(tx, it, "stage");
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
		int len = snprintf(job->path, sizeof(job->path), "%s",
		                   m->path != NULL ? m->path : "");
		if (len < 0 || (size_t)len >= sizeof(job->path)) {
			return refuse_long(tx, it);
		}
		memcpy(job->want_sha, tx->sha256, sizeof(job->want_sha));
	}
	if (tx->kind == OB__SWAP_RELOAD && it->from != NULL && !tx->force) {
		memcpy(job->known_sha, it->from->sha256, sizeof(job->known_sha));
	}
	return submit(it, OB__LOAD_CALL, stage_done);
}

/* The copy goes, unless a generation has taken it over. */
void ob__step_stage_undo(struct ob__transaction *tx, struct ob__swap_item *it)
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
	ob__watch_submit(tx->node, job);
}

/* ---- preflight ---- */

enum ob__tx_answer ob__step_preflight(struct ob__transaction *tx, struct ob__swap_item *it)
{
	(void)tx;
	return idle(it) ? OB__TX_OK : submit(it, OB__LOAD_PREFLIGHT, job_done);
}

/* ---- probe ---- */

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

	if (came_back(job) && !job->failed && !it->tx->hung && needs_state(it)) {
		ob__tx_continue(&it->tx->machine, OB__TX_AGAIN);
		return;
	}
	job_done(job);
}

enum ob__tx_answer ob__step_probe(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__node *node = tx->node;

	if (idle(it) || !node->rehearses || node->conf->reload.probe_ms == 0) {
		return OB__TX_OK;
	}
	if (it->conf_text == NULL) {
		it->conf_text = json_dumps(it->conf != NULL ? it->conf : it->module->conf, 0);
	}
	if (it->conf_text == NULL) {
		return ob__tx_no_memory(tx, it, "probe");
	}
	it->job->probe.conf = it->conf_text;
	it->job->probe.admin = it->module->admin;
	it->job->probe.timeout_ms = (uint32_t)node->conf->reload.probe_ms;
	return submit(it, OB__LOAD_PROBE, probe_done);
}

/* ---- open ---- */

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
	bool copy = it->tx->kind == OB__SWAP_CONF || it->tx->kind == OB__SWAP_ROLLBACK;
	g->file = strdup(copy ? it->from->file : job->file);
	g->conf = json_incref(it->conf != NULL ? it->conf : it->module->conf);
	g->disk_size = job->size;
	g->disk_mtime_ns = job->mtime_ns;
	g->disk_inode = job->inode;
	if (it->tx->kind == OB__SWAP_CONF) { /* the same code, from a copy of the same file */
		g->disk_size = it->from->disk_size;
		g->disk_mtime_ns = it->from->disk_mtime_ns;
		g->disk_inode = it->from->disk_inode;
	}
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
			ob__tx_continue(&it->tx->machine, ob__tx_no_memory(it->tx, it, "load"));
		}
		return;
	}
	job_done(job);
}

enum ob__tx_answer ob__step_open(struct ob__transaction *tx, struct ob__swap_item *it)
{
	(void)tx;
	return idle(it) ? OB__TX_OK : submit(it, OB__LOAD_OPEN, open_done);
}

void ob__step_open_undo(struct ob__transaction *tx, struct ob__swap_item *it)
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
