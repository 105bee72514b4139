/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/client/client.h"
#include "host/swap/swap_priv.h"

/* ---- how often ---- */

/* A bucket that holds one second's worth. */
static void refill(struct ob__swap *s, double rate, uint64_t now)
{
	double most = rate > 1 ? rate : 1;

	s->rate_left += rate * (double)(now - s->rate_at) / 1000.0;
	s->rate_left = s->rate_at == 0 || s->rate_left > most ? most : s->rate_left;
	s->rate_at = now > 0 ? now : 1;
}

bool ob__rate_left(struct ob__node *node)
{
	double rate = node->conf->reload.rate;

	if (rate <= 0) {
		return true;
	}
	refill(node->swap, rate, ob__loop_now(node->loop));
	return node->swap->rate_left >= 1;
}

/* Below 0 too, for those that waited in the queue meanwhile: they are few. */
static void take_rate(const struct ob__transaction *tx)
{
	if (tx->from_outside && tx->node->conf->reload.rate > 0) {
		tx->node->swap->rate_left -= 1;
	}
}

/* ---- what a request is about ---- */

static struct ob__swap_item *add_item(struct ob__transaction *tx, struct ob__module *m)
{
	struct ob__swap_item *it = &tx->items[tx->len++];

	*it = (struct ob__swap_item){.tx = tx, .module = m, .from = m->active};
	snprintf(it->name, sizeof(it->name), "%s", m->name);
	if (tx->kind == OB__SWAP_CONF) {
		it->conf = json_incref(json_object_get(tx->conf, m->name));
	}
	return it;
}

static bool has_item(const struct ob__transaction *tx, const struct ob__module *m)
{
	for (size_t i = 0; i < tx->len; i++) {
		if (tx->items[i].module == m) {
			return true;
		}
	}
	return false;
}

static const char *collect_named(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->names_len; i++) {
		struct ob__module *m = ob__module_find(tx->node, tx->names[i]);
		if (m == NULL || m->active == NULL) {
			return tx->names[i];
		}
		if (!has_item(tx, m)) {
			add_item(tx, m);
		}
	}
	return NULL;
}

static void collect_all(struct ob__transaction *tx, bool active)
{
	OB__LIST_EACH (it, &tx->node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		if ((m->active != NULL) == active && tx->len < SWAP_MODULES_MAX) {
			add_item(tx, m);
		}
	}
}

/* What the configuration says of a module, one that was taken out included; or NULL. */
static const struct ob__module_conf *configured(const struct ob__node *node, const char *name)
{
	for (size_t i = 0; i < node->conf->modules_len; i++) {
		if (strcmp(node->conf->modules[i].name, name) == 0) {
			return &node->conf->modules[i];
		}
	}
	return NULL;
}

/* The request's, else the configuration's. */
static json_t *conf_of(const struct ob__transaction *tx, const struct ob__module_conf *mc)
{
	if (tx->conf != NULL) {
		return json_deep_copy(tx->conf);
	}
	return mc != NULL ? json_incref(mc->conf) : json_object();
}

static bool set_path(struct ob__module *m, const char *path)
{
	char *copy = path != NULL ? strdup(path) : NULL;

	if (path != NULL && copy == NULL) {
		return false;
	}
	free(m->path);
	m->path = copy;
	return true;
}

static json_t *collect_new(struct ob__transaction *tx, int *status)
{
	const char *name = tx->names[0];
	struct ob__module *m = ob__module_find(tx->node, name);
	char text[128];

	if (m != NULL && m->active != NULL) {
		*status = 409;
		snprintf(text, sizeof(text), "a module %.64s is loaded; reload it instead", name);
		return ob__plain_refusal("exists", name, "POST /modules/reload", text);
	}
	const struct ob__module_conf *mc = configured(tx->node, name);
	json_t *conf = conf_of(tx, mc);
	const char *path = mc != NULL ? mc->path : tx->path; /* a request gives none */
	bool admin = mc != NULL && mc->admin;
	if (m != NULL && conf != NULL && set_path(m, path)) {
		json_decref(m->conf); /* taken out, but an old generation is still there */
		m->conf = conf;
		m->admin = admin;
		add_item(tx, m);
		return NULL;
	}
	if (m != NULL) {
		json_decref(conf);
	}
	m = m == NULL ? ob__module_new(tx->node, name, path, conf, admin, false) : NULL;
	if (m == NULL) {
		*status = 503;
		return ob__plain_refusal("memory", name, NULL, "out of memory");
	}
	add_item(tx, m)->fresh = true;
	return NULL;
}

static json_t *refuse_unknown(const char *name, int *status)
{
	char text[128];

	*status = 404;
	snprintf(text, sizeof(text), "no module %.64s is loaded", name);
	return ob__plain_refusal("unknown_module", name, "GET /modules lists them", text);
}

static json_t *collect(struct ob__transaction *tx, int *status)
{
	if (tx->kind == OB__SWAP_START) {
		collect_all(tx, false);
		return NULL;
	}
	if (tx->kind == OB__SWAP_LOAD) {
		return collect_new(tx, status);
	}
	if (tx->names_len == 0) {
		collect_all(tx, true);
		return NULL;
	}
	const char *unknown = collect_named(tx);
	return unknown != NULL ? refuse_unknown(unknown, status) : NULL;
}

static bool waiting_has(const struct ob__swap *s, const char *name)
{
	OB__LIST_EACH (it, &s->queue) {
		const struct ob__transaction *tx = OB__CONTAINER(it, struct ob__transaction, link);
		for (size_t i = 0; i < tx->names_len; i++) {
			if (strcmp(tx->names[i], name) == 0) {
				return true;
			}
		}
	}
	return false;
}

json_t *ob__tx_hopeless(const struct ob__transaction *tx, int *status)
{
	bool loads = tx->kind == OB__SWAP_LOAD || tx->kind == OB__SWAP_START;

	for (size_t i = 0; !loads && i < tx->names_len; i++) {
		const char *name = tx->names[i];
		if (ob__module_find(tx->node, name) == NULL && !waiting_has(tx->node->swap, name)) {
			return refuse_unknown(name, status);
		}
	}
	return NULL;
}

/* ---- may it be tried now ---- */

/* Old generations that will go; zombies are counted for the whole node. */
static uint32_t leaving(const struct ob__module *m)
{
	uint32_t n = 0;

	OB__LIST_EACH (it, &m->gens) {
		const struct ob__gen *g = OB__CONTAINER(it, struct ob__gen, link);
		n += g != m->active && g != m->canary && g->state != OB__GEN_ZOMBIE;
	}
	return n;
}

/* A module that was never here adds none. */
static bool leaves_more(const struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		if (!ob__list_empty(&tx->items[i].module->gens)) {
			return true;
		}
	}
	return false;
}

static json_t *crowded(const struct ob__transaction *tx)
{
	char text[192];

	if (tx->kind == OB__SWAP_UNLOAD) {
		return NULL;
	}
	uint32_t zombies = ob__swap_zombies(tx->node);
	if (zombies >= SWAP_ZOMBIES_MAX && leaves_more(tx)) {
		snprintf(text, sizeof(text), "%u old generations could not be unmapped", zombies);
		return ob__plain_refusal("zombies", "", "restart the node to go on", text);
	}
	for (size_t i = 0; i < tx->len; i++) {
		const struct ob__module *m = tx->items[i].module;
		uint32_t old = leaving(m);
		if (old >= SWAP_OLD_MAX) {
			snprintf(text, sizeof(text), "%s: %u old generations are still draining",
			         m->name, old);
			return ob__plain_refusal("draining", m->name,
			                         "wait for them (GET /modules)", text);
		}
	}
	return NULL;
}

/* A canary needs modules that may serve side by side. */
static json_t *canary_possible(const struct ob__transaction *tx)
{
	char text[192];

	for (size_t i = 0; tx->canary > 0 && i < tx->len; i++) {
		const struct ob__gen *g = tx->items[i].from;
		if (g == NULL || (g->desc->flags & OB_MODULE_PARALLEL) == 0) {
			snprintf(text, sizeof(text),
			         "%s does not say that two generations of it may serve at once",
			         tx->items[i].name);
			return ob__plain_refusal("canary", tx->items[i].name,
			                         "give it .flags = OB_MODULE_PARALLEL, or reload "
			                         "without canary",
			                         text);
		}
	}
	return NULL;
}

/* A listener's codec can't go, nor can its transport.  Asked when it is the request's turn: a
 * module that was waiting before it may have opened the listener. */
static json_t *in_use(const struct ob__transaction *tx)
{
	for (size_t i = 0; tx->kind == OB__SWAP_UNLOAD && i < tx->len; i++) {
		if (ob__clients_need(tx->node, tx->items[i].module)) {
			return ob__plain_refusal("in_use", tx->items[i].name, "reload it instead",
			                         "a listener uses what it offers");
		}
	}
	return NULL;
}

json_t *ob__tx_admit(struct ob__transaction *tx, int *status)
{
	*status = 409;
	json_t *refusal = collect(tx, status);
	if (refusal == NULL) {
		refusal = crowded(tx);
	}
	if (refusal == NULL) {
		refusal = in_use(tx);
	}
	if (refusal == NULL && (refusal = canary_possible(tx)) != NULL) {
		*status = 422;
	}
	if (refusal == NULL) {
		take_rate(tx);
	}
	return refusal;
}
