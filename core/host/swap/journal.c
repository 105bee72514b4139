/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/swap/steps.h"

/* ---- the trial ---- */

/* On the loader thread; the loop leaves the items and their jobs alone meanwhile.  A start brings
 * the modules all at once: those that have proved themselves before are not suspected. */
static void trial_call(struct ob__load_job *job)
{
	struct ob__transaction *tx = job->arg;
	struct ob__manifest *manifest = tx->node->swap->manifest;
	struct ob__manifest_build builds[SWAP_MODULES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < tx->len; i++) {
		const struct ob__swap_item *it = &tx->items[i];
		const struct ob__load_job *copy = it->unchanged ? NULL : it->job;
		bool proved = tx->kind == OB__SWAP_START && copy != NULL &&
		              ob__manifest_known(manifest, it->name, copy->sha256);
		if (copy != NULL && !proved) {
			builds[n++] = (struct ob__manifest_build){
				it->name, copy->sha256, copy->probe.version, copy->staged};
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
	if (failed && !tx->hung) {
		ob__tx_refuse(tx, NULL, &r);
	}
	ob__tx_continue(&tx->machine, failed || tx->hung ? OB__TX_FAIL : OB__TX_OK);
}

enum ob__tx_answer ob__step_journal(struct ob__transaction *tx, struct ob__swap_item *none)
{
	(void)none;
	if (!ob__tx_in_journal(tx)) {
		return OB__TX_OK;
	}
	tx->journal = calloc(1, sizeof(*tx->journal));
	if (tx->journal == NULL) {
		return ob__tx_no_memory(tx, NULL, "journal");
	}
	tx->journal->op = OB__LOAD_CALL;
	tx->journal->call = trial_call;
	tx->journal->done = journal_done;
	tx->journal->arg = tx;
	ob__watch_submit(tx->node, tx->journal);
	return OB__TX_WAIT;
}

static void trial_end_call(struct ob__load_job *job)
{
	ob__manifest_trial_end(job->arg);
}

void ob__step_journal_undo(struct ob__transaction *tx, struct ob__swap_item *none)
{
	struct ob__load_job *job = ob__tx_in_journal(tx) ? calloc(1, sizeof(*job)) : NULL;

	(void)none;
	if (job == NULL) {
		return;
	}
	job->op = OB__LOAD_CALL;
	job->call = trial_end_call;
	job->arg = tx->node->swap->manifest;
	job->loaders = true;
	ob__watch_submit(tx->node, job);
}

/* ---- builds that have passed ---- */

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

void ob__journal_passed(struct ob__transaction *tx)
{
	struct ob__load_job *job = calloc(1, sizeof(*job));
	struct good_builds *good = calloc(1, sizeof(*good) + tx->len * sizeof(good->builds[0]));

	if (job == NULL || good == NULL) {
		free(job);
		free(good);
		return;
	}
	good->manifest = tx->node->swap->manifest;
	good->trial = ob__tx_in_journal(tx);
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
	ob__watch_submit(tx->node, job);
}
