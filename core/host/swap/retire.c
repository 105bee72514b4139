/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/message/dispatch.h"
#include "host/sdk/sdk.h"
#include "host/swap/swap_priv.h"
#include "host/work.h"

uint32_t ob__swap_zombies(const struct ob__node *node)
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

void ob__swap_left(struct ob__gen *g, const char *how)
{
	struct ob__swap_item *it = g->leaving;

	if (it == NULL) {
		return;
	}
	g->leaving = NULL;
	it->from_shown = ob__gen_brief(g);
	it->from = NULL;
	it->from_end = how;
	ob__tx_turn(it->tx);
}

/* It stays mapped, with a table of functions that all answer OB_E_DEAD. */
static void make_zombie(struct ob__gen *g, const char *why)
{
	g->state = OB__GEN_ZOMBIE;
	atomic_store(&g->open, false);
	g->ctx.api = &ob__sdk_dead_api;
	snprintf(g->why, sizeof(g->why), "%s", why);
	++*g->node->swap->zombies;
	ob__warning("module", "%s: generation %u stays mapped: %s", g->module->name, g->number,
	            why);
	ob__swap_left(g, "zombie");
}

static void close_done(struct ob__load_job *job)
{
	struct ob__gen *g = job->arg;
	struct ob__module *m = g->module;
	struct ob__node *node = g->node;
	char why[600];

	g->closing = NULL;
	if (job->failed) {
		snprintf(why, sizeof(why), "it is still there after dlclose (%s)", g->staged);
		make_zombie(g, why);
	} else {
		++*node->swap->unmapped;
		ob__info("module", "%s: generation %u unmapped", m->name, g->number);
		ob__swap_left(g, "unmapped");
		ob__gen_free(g);
		ob__module_gone(node, m);
	}
	free(job);
}

static void close_library(struct ob__gen *g)
{
	struct ob__load_job *job = calloc(1, sizeof(*job));

	if (job == NULL) {
		make_zombie(g, "out of memory");
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
	ob__watch_submit(g->node, job);
}

static void scan_turn(void *arg)
{
	struct ob__gen *g = arg;
	char why[256];

	if (g->node->loader == NULL) {
		return; /* the node ends: nothing is unmapped any more */
	}
	enum ob__scan scan = ob__gen_scan(g, why, sizeof(why));
	if (scan == OB__SCAN_FOUND) {
		make_zombie(g, why);
	} else if (scan == OB__SCAN_CLEAN) {
		close_library(g);
	} else if (ob__loop_defer(g->node->loop, scan_turn, g) != 0) {
		make_zombie(g, "out of memory");
	}
}

/* Nothing of the generation's code may run from here on. */
static void bury(void *arg)
{
	struct ob__gen *g = arg;
	char why[256];

	if (g->node->loader == NULL) {
		return;
	}
	if (g->resident[0] != '\0') {
		snprintf(why, sizeof(why), "it can't be unmapped safely: %s", g->resident);
		make_zombie(g, why);
		return;
	}
	scan_turn(g);
}

static bool has_codec(const struct ob__gen *g)
{
	OB__LIST_EACH (it, &g->regs) {
		if (OB__CONTAINER(it, struct ob__reg, gen_link)->slot->kind == OB__SLOT_CODEC) {
			return true;
		}
	}
	return false;
}

void ob__gen_retire(struct ob__gen *g)
{
	atomic_store(&g->open, false);
	ob__gen_call_stop(g);
	g->scan.codecs = has_codec(g);
	ob__slots_drop(&g->node->slots, g);
	ob__work_drop(g);
	g->ctx.api = &ob__sdk_dead_api;
	g->state = OB__GEN_STOPPED;
	if (g->drain_timeout != NULL) {
		ob__timeout_clear(g->node->loop, g->drain_timeout);
	}
	if (ob__loop_defer(g->node->loop, bury, g) != 0) {
		make_zombie(g, "out of memory");
	}
}

static void drained_turn(void *arg)
{
	struct ob__gen *g = arg;

	g->drain_queued = false;
	if ((g->state == OB__GEN_DRAINING || g->state == OB__GEN_ZOMBIE) && ob__gen_shut(g)) {
		ob__info("module", "%s: generation %u drained", g->module->name, g->number);
		ob__gen_retire(g);
		if (g->leaving != NULL) {
			ob__tx_turn(g->leaving->tx);
		}
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
	char why[256];

	if (g->state != OB__GEN_DRAINING) {
		return;
	}
	ob__warning("module", "%s: generation %u still holds %u after reload.drain; ending them",
	            g->module->name, g->number, g->refs);
	g->expired = true;
	ob__dispatch_abandon(g);
	ob__work_expire(g);
	if (g->refs > 0 && g->state == OB__GEN_DRAINING) {
		snprintf(why, sizeof(why), "%u still in flight; it goes when that has ended",
		         g->refs);
		make_zombie(g, why);
	}
}

void ob__gen_begin_drain(struct ob__gen *g)
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
		ob__timeout_set(g->node->loop, g->drain_timeout, g->node->conf->reload.drain_ms);
	}
	if (g->refs == 0) {
		ob__swap_drained(g);
	}
}
