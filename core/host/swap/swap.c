/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/swap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "host/message/dispatch.h"
#include "host/sdk/sdk.h"
#include "host/swap/swap_priv.h"
#include "host/work.h"

int ob__swap_init(struct ob__node *node)
{
	struct ob__swap *s = calloc(1, sizeof(*s));
	if (s == NULL) {
		return OB_E_NOMEM;
	}
	s->next_id = 1;
	ob__list_init(&s->queue);
	ob__list_init(&s->open);
	s->switched = ob__stat_counter(node->stats, "obhost_module_switches_total", NULL,
	                               "Generations that took over.");
	s->refused = ob__stat_counter(node->stats, "obhost_module_refused_total", NULL,
	                              "Module transactions that were refused.");
	s->returned = ob__stat_counter(node->stats, "obhost_module_returned_total", NULL,
	                               "Module transactions that were taken back.");
	s->unmapped = ob__stat_counter(node->stats, "obhost_module_unmapped_total", NULL,
	                               "Generations taken out and unmapped.");
	s->zombies = ob__stat_counter(node->stats, "obhost_module_zombies_total", NULL,
	                              "Generations that could not be unmapped safely.");
	s->manifest = ob__manifest_open(node->dir);
	if (s->manifest == NULL) {
		free(s);
		return OB_E_NOMEM;
	}
	node->swap = s;
	ob__watch_init(node);
	int rc = ob__manifest_guard(node->dir); /* after the mark of the life before was read */
	if (rc != 0 && rc != -EALREADY) {       /* a test has several nodes in a process */
		ob__warning("module", "a build that crashes the node won't be known for it: %s",
		            ob__strerror(rc));
	}
	return 0;
}

static void item_clear(struct ob__swap_item *it)
{
	if (it->job != NULL && it->job->staged[0] != '\0') {
		remove(it->job->staged); /* no generation came of it */
	}
	free(it->job);
	free(it->conf_text);
	free(it->state);
	json_decref(it->conf);
	json_decref(it->from_shown);
	json_decref(it->to_shown);
}

static void tx_free(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		if (tx->items[i].from != NULL && tx->items[i].from->leaving == &tx->items[i]) {
			tx->items[i].from->leaving = NULL;
		}
		item_clear(&tx->items[i]);
	}
	for (size_t i = 0; i < tx->names_len; i++) {
		free(tx->names[i]);
	}
	ob__list_del(&tx->link);
	free(tx->names);
	free(tx->path);
	free(tx->journal);
	free(tx->items);
	json_decref(tx->conf);
	json_decref(tx->steps);
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

static void free_list(struct ob__list *list)
{
	OB__LIST_EACH_SAFE (it, list) {
		tx_free(OB__CONTAINER(it, struct ob__transaction, link));
	}
}

void ob__swap_free(struct ob__node *node)
{
	struct ob__swap *s = node->swap;
	if (s == NULL) {
		return;
	}
	ob__manifest_disarm();
	free_list(&s->queue);
	free_list(&s->open);
	free_modules(node);
	for (size_t i = 0; i < SWAP_HISTORY; i++) {
		json_decref(s->history[i].report);
	}
	ob__manifest_trial_end(s->manifest);
	ob__manifest_close(s->manifest);
	free(s);
	node->swap = NULL;
}

/* ---- the end of a transaction ---- */

void ob__module_gone(struct ob__node *node, struct ob__module *m)
{
	const struct ob__transaction *tx = node->swap->current;

	for (size_t i = 0; tx != NULL && i < tx->len; i++) {
		if (tx->items[i].module == m) {
			return;
		}
	}
	if (m->active == NULL && ob__list_empty(&m->gens)) {
		ob__module_free(m);
	}
}

void ob__tx_reply(struct ob__transaction *tx, int status, json_t *body_stolen)
{
	ob__swap_remember(tx->node, tx->id, body_stolen);
	if (!tx->answered) {
		tx->answered = true;
		tx->cb(tx->arg, status, body_stolen);
	}
	json_decref(body_stolen);
}

static void free_turn(void *arg)
{
	tx_free(arg);
}

static void next_turn(void *arg);

void ob__tx_release(struct ob__transaction *tx)
{
	struct ob__swap *s = tx->node->swap;

	if (s->current == tx) {
		s->current = NULL;
		if (!ob__list_empty(&s->queue)) {
			ob__loop_defer(tx->node->loop, next_turn, tx->node);
		}
	}
	if (tx->machine.state < OB__TX_DONE || tx->ended) {
		return;
	}
	if (tx->machine.state != OB__TX_REFUSED) {
		json_t *shown = ob__tx_json(tx);
		ob__swap_remember(tx->node, tx->id, shown);
		json_decref(shown);
	}
	tx->ended = true;
	ob__timeout_clear(tx->node->loop, &tx->timer);
	/* Behind the turns that were asked for already. */
	if (ob__loop_defer(tx->node->loop, free_turn, tx) != 0) {
		ob__warning("module", "tx %llu: out of memory, kept", (unsigned long long)tx->id);
	}
}

uint64_t ob__swap_end_probation(struct ob__node *node, const char *name, bool commit,
                                const char *why)
{
	struct ob__transaction *tx = node->swap->current;
	bool named = name == NULL;

	if (tx == NULL || !tx->probing || tx->kind == OB__SWAP_START) {
		return 0;
	}
	for (size_t i = 0; i < tx->len; i++) {
		named = named || strcmp(tx->items[i].name, name) == 0;
	}
	if (!named) {
		return 0;
	}
	uint64_t id = tx->id;
	if (!commit) {
		snprintf(tx->returned, sizeof(tx->returned), "%s", why);
	}
	ob__probation_decide(tx, commit);
	return id;
}

/* ---- the queue ---- */

static void reject(struct ob__transaction *tx, int status, json_t *refusal_stolen)
{
	struct ob__module *fresh = tx->len > 0 && tx->items[0].fresh ? tx->items[0].module : NULL;

	if (!tx->answered) {
		tx->answered = true;
		tx->cb(tx->arg, status, refusal_stolen);
	}
	if (!ob__list_empty(&tx->link)) { /* it waited: its number may have been asked for */
		ob__swap_remember(tx->node, tx->id, refusal_stolen);
	}
	json_decref(refusal_stolen);
	tx_free(tx);
	ob__module_free(fresh);
}

static void begin_turn(void *arg)
{
	struct ob__transaction *tx = arg;

	tx->queued_up = false;
	if (!tx->node->swap->stopping) {
		ob__tx_begin(&tx->machine);
	}
}

/* Whoever does not wait for the transaction does not wait for its turn either. */
static void answer_at_once(struct ob__transaction *tx)
{
	if (tx->wait != OB__SWAP_WAIT_NONE || tx->answered) {
		return;
	}
	json_t *body = json_pack("{s:I, s:s}", "tx", (json_int_t)tx->id, "result", "running");
	tx->answered = true;
	tx->cb(tx->arg, 202, body);
	json_decref(body);
}

/* The transaction is the exclusive one from now on. */
static void launch(struct ob__transaction *tx)
{
	struct ob__swap *s = tx->node->swap;
	int status;
	json_t *refusal = ob__tx_admit(tx, &status);

	if (refusal != NULL) {
		reject(tx, status, refusal);
		return;
	}
	ob__list_del(&tx->link);
	ob__list_append(&s->open, &tx->link);
	s->current = tx;
	tx->step_began = uv_hrtime();
	ob__tx_init(&tx->machine, &ob__swap_ops, tx, tx->len);
	answer_at_once(tx);
	/* Never under the frame of a module that asks. */
	tx->queued_up = true;
	if (ob__loop_defer(tx->node->loop, begin_turn, tx) != 0) {
		begin_turn(tx);
	}
}

static void next_turn(void *arg)
{
	struct ob__node *node = arg;
	struct ob__swap *s = node->swap;

	while (!s->stopping && s->current == NULL && !ob__list_empty(&s->queue)) {
		struct ob__transaction *tx =
			OB__CONTAINER(s->queue.next, struct ob__transaction, link);
		s->queued--;
		launch(tx);
	}
}

static bool has_names(const struct ob__transaction *tx, const struct ob__transaction *of)
{
	for (size_t i = 0; i < of->names_len; i++) {
		bool found = false;
		for (size_t k = 0; k < tx->names_len && !found; k++) {
			found = strcmp(tx->names[k], of->names[i]) == 0;
		}
		if (!found) {
			return false;
		}
	}
	return true;
}

/* The same modules, in whatever order, and the same to be done with them. */
static bool same_request(const struct ob__transaction *a, const struct ob__transaction *b)
{
	bool all = a->names_len == 0 || b->names_len == 0;

	return a->kind == b->kind && a->force == b->force && a->canary == b->canary &&
	       strcmp(a->sha256, b->sha256) == 0 &&
	       (all ? a->names_len == b->names_len : has_names(a, b) && has_names(b, a));
}

/* A later request for the same takes the place of one that waits. */
static void supersede(struct ob__transaction *tx)
{
	struct ob__swap *s = tx->node->swap;

	OB__LIST_EACH_SAFE (it, &s->queue) {
		struct ob__transaction *old = OB__CONTAINER(it, struct ob__transaction, link);
		if (tx->kind == OB__SWAP_RELOAD && same_request(old, tx)) {
			s->queued--;
			reject(old, 409,
			       ob__plain_refusal("superseded", "", NULL,
			                         "a later request for the same modules took the "
			                         "place of this one"));
		}
	}
}

static void enqueue(struct ob__transaction *tx)
{
	struct ob__swap *s = tx->node->swap;
	char why[256] = "";

	supersede(tx);
	if (s->queued >= SWAP_QUEUE) {
		reject(tx, 409,
		       ob__plain_refusal("busy", "", "try again in a moment",
		                         "too many module transactions are waiting"));
		return;
	}
	s->queued++;
	ob__list_del(&tx->link);
	ob__list_append(&s->queue, &tx->link);
	answer_at_once(tx);
	struct ob__transaction *current = s->current;
	if (current != NULL && current->probing) {
		bool clean = ob__probation_clean(current, why, sizeof(why));
		snprintf(current->returned, sizeof(current->returned), "%s", why);
		ob__probation_decide(current, clean);
	}
}

void ob__swap_refuse_queue(struct ob__node *node)
{
	struct ob__swap *s = node->swap;

	while (!ob__list_empty(&s->queue)) {
		struct ob__transaction *tx =
			OB__CONTAINER(s->queue.next, struct ob__transaction, link);
		s->queued--;
		reject(tx, 503, ob__watch_refusal(s, 0));
	}
}

static struct ob__transaction *make(struct ob__node *node, const struct ob__swap_request *q,
                                    ob__swap_cb cb, void *arg)
{
	struct ob__transaction *tx = calloc(1, sizeof(*tx));
	bool ok = tx != NULL;

	if (!ok) {
		return NULL;
	}
	ob__list_init(&tx->link);
	tx->node = node;
	tx->kind = q->kind;
	tx->force = q->force;
	tx->wait = q->wait;
	tx->canary = q->canary;
	tx->from_outside = q->from_outside;
	tx->probation_ms =
		q->probation_ms < 0 ? node->conf->reload.probation_ms : (uint64_t)q->probation_ms;
	tx->on_switch = q->on_switch;
	tx->cb = cb;
	tx->arg = arg;
	snprintf(tx->sha256, sizeof(tx->sha256), "%s", q->sha256 != NULL ? q->sha256 : "");
	tx->conf = q->conf != NULL ? json_deep_copy(q->conf) : NULL;
	tx->path = q->path != NULL ? strdup(q->path) : NULL;
	tx->items = calloc(SWAP_MODULES_MAX, sizeof(*tx->items));
	tx->names = calloc(q->names_len + 1, sizeof(*tx->names));
	tx->steps = json_array();
	ok = tx->items != NULL && tx->names != NULL && tx->steps != NULL &&
	     (q->path == NULL || tx->path != NULL) && (q->conf == NULL || tx->conf != NULL);
	for (size_t i = 0; ok && i < q->names_len; i++) {
		tx->names[i] = strdup(q->names[i]);
		tx->names_len += tx->names[i] != NULL;
		ok = tx->names[i] != NULL;
	}
	if (!ok) {
		tx_free(tx);
		return NULL;
	}
	return tx;
}

static void try_again(void *arg)
{
	struct ob__transaction *tx = arg;

	ob__tx_continue(&tx->machine, OB__TX_AGAIN);
}

void ob__swap_begin(struct ob__node *node, const struct ob__swap_request *request, ob__swap_cb cb,
                    void *arg)
{
	struct ob__swap *s = node->swap;
	struct ob__transaction *tx = NULL;
	json_t *refusal = NULL;
	int status = 503;

	if (s->stopping) {
		refusal = ob__plain_refusal("stopping", "", NULL, "the node stops");
	} else if (s->hangs.number != 0) {
		refusal = ob__watch_refusal(s, 0);
	} else if (request->from_outside && !ob__rate_left(node)) {
		status = 429;
		refusal = ob__plain_refusal("rate", "", "wait a second, or raise reload.rate",
		                            "too many module transactions a second");
	} else if ((tx = make(node, request, cb, arg)) == NULL) {
		refusal = ob__plain_refusal("memory", "", NULL, "out of memory");
	}
	if (refusal != NULL) {
		cb(arg, status, refusal);
		json_decref(refusal);
		return;
	}
	tx->id = s->next_id++;
	ob__timeout_init(&tx->timer, try_again, tx);
	ob__timeout_init(&tx->watch, ob__probation_look, tx);
	if ((refusal = ob__tx_hopeless(tx, &status)) != NULL) {
		reject(tx, status, refusal);
	} else if (s->current != NULL || !ob__list_empty(&s->queue)) {
		enqueue(tx);
	} else {
		launch(tx);
	}
}

/* ---- the end of the node ---- */

static void stop_gen(struct ob__gen *g)
{
	bool serving = g->state == OB__GEN_ACTIVE || g->state == OB__GEN_STANDBY ||
	               g->state == OB__GEN_CANARY;

	if (serving && g->desc->drain != NULL) {
		g->desc->drain(&g->ctx);
	}
	if (serving || g->state == OB__GEN_DRAINING) {
		g->state = OB__GEN_DRAINING;
		g->expired = true;
		ob__dispatch_abandon(g);
		ob__work_expire(g);
	}
	atomic_store(&g->open, false);
	if (!ob__work_running(g)) { /* else stop() comes when its jobs have ended, or never */
		ob__gen_call_stop(g);
	}
	ob__work_drop(g);
	ob__slots_drop(&g->node->slots, g);
	if (g->drain_timeout != NULL) {
		ob__timeout_clear(g->node->loop, g->drain_timeout);
	}
	g->ctx.api = &ob__sdk_dead_api;
	g->state = OB__GEN_STOPPED;
}

static void abandon(struct ob__transaction *tx)
{
	ob__timeout_clear(tx->node->loop, &tx->timer);
	ob__timeout_clear(tx->node->loop, &tx->watch);
	tx->probing = false;
	if (!tx->answered) {
		ob__tx_reply(tx, 503, ob__plain_refusal("stopping", "", NULL, "the node stops"));
	}
}

void ob__swap_stop(struct ob__node *node)
{
	struct ob__swap *s = node->swap;

	s->stopping = true;
	ob__loader_hurry(node->loader);
	OB__LIST_EACH (it, &s->open) {
		abandon(OB__CONTAINER(it, struct ob__transaction, link));
	}
	OB__LIST_EACH (it, &s->queue) {
		abandon(OB__CONTAINER(it, struct ob__transaction, link));
	}
}

void ob__swap_stop_all(struct ob__node *node)
{
	struct ob__swap *s = node->swap;

	ob__swap_stop(node);
	ob__watch_end(node);
	s->current = NULL;
	OB__LIST_EACH (it, &node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		OB__LIST_EACH (gen, &m->gens) {
			struct ob__gen *g = OB__CONTAINER(gen, struct ob__gen, link);
			if (g->leaving != NULL) { /* it may be gone before the transaction is */
				g->leaving->from = NULL;
				g->leaving = NULL;
			}
			stop_gen(g);
		}
		m->active = NULL;
		m->canary = NULL;
	}
	ob__slots_rebuild(&node->slots, &node->modules);
}
