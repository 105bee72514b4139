/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/client/client.h"
#include "host/client/door.h"
#include "host/swap/depend.h"
#include "host/swap/steps.h"

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

enum ob__tx_answer ob__step_depend(struct ob__transaction *tx, struct ob__swap_item *none)
{
	struct ob__depend all[SWAP_MODULES_MAX];
	size_t order[SWAP_MODULES_MAX];
	struct ob__depend_fault fault = {0};
	size_t len = 0;

	(void)none;
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
		return ob__tx_refuse(tx, it, &r);
	}
	if (tx->kind != OB__SWAP_UNLOAD) {
		sort_items(tx, all, order, len);
	}
	return OB__TX_OK;
}

/* ---- check, start, selftest ---- */

/* What a hook that failed has returned. */
static const char *code_text(const char *hook, int rc, char *out, size_t cap)
{
	if (rc <= 0) {
		return ob__strerror(rc);
	}
	snprintf(out, cap, "%s returned %d, which is no code", hook, rc);
	return out;
}

enum ob__tx_answer ob__step_check(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__load_refusal r = {0};
	ob_err err = {""};
	char text[64];

	if (it->to == NULL || it->to->desc->check == NULL) {
		return OB__TX_OK;
	}
	int rc = it->to->desc->check(it->to->conf, &err);
	if (rc == 0) {
		return OB__TX_OK;
	}
	ob__refuse(&r, "check", "conf", it->to->file, NULL, NULL, "correct the module's conf", "%s",
	           err.text[0] != '\0' ? err.text : code_text("check", rc, text, sizeof(text)));
	return ob__tx_refuse(tx, it, &r);
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

enum ob__tx_answer ob__step_start(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__gen *g = it->to;
	struct ob__load_refusal r = {0};
	char text[64];

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
		           g->refused[0] != '\0' ? ": " : "",
		           code_text("start", rc, text, sizeof(text)));
		return ob__tx_refuse(tx, it, &r);
	}
	g->started = true;
	char why[256];
	if (it->from != NULL && ob__doors_keep(it->from, g, why, sizeof(why)) != 0) {
		ob__refuse(&r, "start", "transport", g->file, NULL, NULL,
		           "restart the node to have it, which closes its clients", "%s", why);
		return ob__tx_refuse(tx, it, &r);
	}
	const char *lost = lost_codec(it);
	if (lost == NULL) {
		return OB__TX_OK;
	}
	ob__refuse(&r, "start", "codec", g->file, "no such codec", lost,
	           "keep the codec, or take the listener out of the configuration",
	           "it no longer offers the codec %s, which a listener uses", lost);
	return ob__tx_refuse(tx, it, &r);
}

enum ob__tx_answer ob__step_selftest(struct ob__transaction *tx, struct ob__swap_item *it)
{
	struct ob__gen *g = it->to;
	struct ob__load_refusal r = {0};
	char text[64];

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
	           code_text("selftest", rc, text, sizeof(text)));
	return ob__tx_refuse(tx, it, &r);
}
