/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <uv.h>

#include "host/swap/swap_priv.h"

json_t *ob__gen_brief(const struct ob__gen *g)
{
	if (g == NULL) {
		return json_null();
	}
	return json_pack("{s:i, s:s, s:s}", "generation", (int)g->number, "version", g->version,
	                 "sha256", g->sha256);
}

/* The file it was copied from is another one now. */
static bool differs_on_disk(const struct ob__gen *g)
{
	struct stat st;

	if (stat(g->file, &st) != 0) {
		return true;
	}
	uint64_t mtime = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
	return (uint64_t)st.st_ino != g->disk_inode || (uint64_t)st.st_size != g->disk_size ||
	       mtime != g->disk_mtime_ns;
}

json_t *ob__gen_detail(const struct ob__gen *g)
{
	char file[PATH_MAX]; /* it may be any bytes */

	snprintf(file, sizeof(file), "%s", g->file);
	ob__make_utf8(file);
	json_t *shown =
		json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:i}", "generation", (int)g->number,
	                  "version", g->version, "sha256", g->sha256, "state",
	                  ob__gen_state_word(g), "file", file, "handled", (json_int_t)g->handled,
	                  "failed", (json_int_t)g->failed, "in_flight", (int)g->refs);

	if (g->why[0] != '\0') {
		json_object_set_new(shown, "why", json_string(g->why));
	}
	if (g->resident[0] != '\0') {
		json_object_set_new(shown, "resident", json_string(g->resident));
	}
	if (g->state == OB__GEN_CANARY) {
		json_object_set_new(shown, "share", json_integer((json_int_t)g->share));
	}
	return shown;
}

static json_t *module_json(const struct ob__module *m)
{
	json_t *old = json_array();
	json_t *active = m->active != NULL ? ob__gen_detail(m->active) : json_null();

	OB__LIST_EACH (gen, &m->gens) {
		const struct ob__gen *g = OB__CONTAINER(gen, struct ob__gen, link);
		if (g != m->active && g != m->canary) {
			json_array_append_new(old, ob__gen_detail(g));
		}
	}
	if (m->active != NULL) {
		json_object_set_new(active, "disk",
		                    json_string(differs_on_disk(m->active) ? "differs" : "same"));
	}
	json_t *shown = json_pack("{s:s, s:b, s:o, s:o}", "name", m->name, "admin", m->admin,
	                          "active", active, "old", old);
	if (m->canary != NULL) {
		json_object_set_new(shown, "canary", ob__gen_detail(m->canary));
	}
	if (m->active != NULL && m->active->desc->provides != NULL) {
		json_object_set_new(shown, "provides", json_string(m->active->desc->provides));
	}
	if (m->active != NULL && m->active->desc->needs != NULL) {
		json_object_set_new(shown, "needs", json_string(m->active->desc->needs));
	}
	return shown;
}

json_t *ob__swap_modules(struct ob__node *node)
{
	json_t *list = json_array();

	OB__LIST_EACH (it, &node->modules) {
		json_array_append_new(list,
		                      module_json(OB__CONTAINER(it, struct ob__module, link)));
	}
	return list;
}

/* ---- transactions ---- */

static json_t *brief_of(const struct ob__gen *g, json_t *shown)
{
	return g == NULL && shown != NULL ? json_incref(shown) : ob__gen_brief(g);
}

/* A transaction outlives the generations it was about: while the old ones leave, others replace
 * the new ones.  From here on it looks at none of them but the old ones that leave. */
void ob__tx_settle(struct ob__transaction *tx)
{
	for (size_t i = 0; i < tx->len; i++) {
		struct ob__swap_item *it = &tx->items[i];
		bool leaves = it->from != NULL && it->from->leaving == it;
		if (it->to != NULL && it->to_shown == NULL) {
			it->to_shown = ob__gen_brief(it->to);
		}
		it->to = NULL;
		if (it->from != NULL && !leaves) {
			it->from_shown = ob__gen_brief(it->from);
			it->from = NULL;
		}
	}
}

static const char *item_state(const struct ob__transaction *tx, const struct ob__swap_item *it)
{
	if (it->unchanged) {
		return "unchanged";
	}
	if (tx->machine.state == OB__TX_RETURNED || tx->machine.state == OB__TX_REFUSED) {
		return ob__tx_state_word(tx->machine.state);
	}
	if (tx->kind == OB__SWAP_UNLOAD) {
		return "gone";
	}
	if (it->to != NULL) {
		return ob__gen_state_word(it->to);
	}
	return tx->machine.state >= OB__TX_SWITCHED ? "active" : "waiting";
}

static json_t *item_json(const struct ob__transaction *tx, const struct ob__swap_item *it)
{
	json_t *from = brief_of(it->from, it->from_shown);
	json_t *to =
		it->unchanged ? brief_of(it->from, it->from_shown) : brief_of(it->to, it->to_shown);
	json_t *shown = json_pack("{s:s, s:o, s:o, s:s}", "name", it->name, "from", from, "to", to,
	                          "state", item_state(tx, it));

	if (it->from_end != NULL) {
		json_object_set_new(shown, "old", json_string(it->from_end));
	}
	if (it->job != NULL && it->job->probe.notes[0] != '\0') {
		json_object_set_new(shown, "notes", json_string(it->job->probe.notes));
	}
	return shown;
}

static const char *result_word(const struct ob__transaction *tx)
{
	enum ob__tx_state state = tx->machine.state;

	if (state >= OB__TX_SWITCHED && state != OB__TX_REFUSED && !ob__tx_changes(tx)) {
		return "unchanged";
	}
	if (state == OB__TX_DONE || (state == OB__TX_COMMITTED && tx->answered)) {
		return "committed";
	}
	if (state == OB__TX_COMMITTED) {
		return tx->wait == OB__SWAP_WAIT_COMMIT ? "committed" : "switched";
	}
	return state == OB__TX_NEW ? "running" : ob__tx_state_word(state);
}

json_t *ob__tx_json(struct ob__transaction *tx)
{
	json_t *modules = json_array();

	for (size_t i = 0; i < tx->len; i++) {
		json_array_append_new(modules, item_json(tx, &tx->items[i]));
	}
	json_t *shown = json_pack("{s:I, s:s, s:o, s:s, s:O}", "tx", (json_int_t)tx->id, "result",
	                          result_word(tx), "modules", modules, "step",
	                          ob__tx_step_word(tx->machine.step), "steps", tx->steps);
	if (tx->switch_objects > 0) {
		json_object_set_new(shown, "switch",
		                    json_pack("{s:i, s:f, s:I}", "objects", (int)tx->switch_objects,
		                              "cpu_us", (double)tx->switch_cpu_ns / 1000.0,
		                              "state_bytes", (json_int_t)tx->state_bytes));
	}
	if (tx->probing) {
		json_object_set_new(shown, "probation", ob__probation_json(tx));
	}
	if (tx->hung) {
		json_t *refusal = ob__watch_refusal(tx->node->swap, tx->id);
		json_object_set(shown, "error", json_object_get(refusal, "error"));
		json_decref(refusal);
	}
	if (tx->returned[0] != '\0') {
		json_object_set_new(shown, "why", json_string(tx->returned));
	}
	return shown;
}

json_t *ob__refusal_json(uint64_t tx, const char *module, const struct ob__load_refusal *r)
{
	return json_pack("{s:I, s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}}", "tx",
	                 (json_int_t)tx, "result", "refused", "error", "code", r->code, "step",
	                 r->step, "module", module, "file", r->file, "found", r->found, "expected",
	                 r->expected, "remedy", r->remedy, "message", r->message);
}

json_t *ob__plain_refusal(const char *code, const char *module, const char *remedy,
                          const char *message)
{
	struct ob__load_refusal r = {0};

	ob__refuse(&r, "admit", code, "", NULL, NULL, remedy, "%s", message);
	return ob__refusal_json(0, module, &r);
}

void ob__swap_remember(struct ob__node *node, uint64_t id, json_t *report)
{
	struct ob__swap *s = node->swap;
	size_t at = id % SWAP_HISTORY;

	json_incref(report);
	json_decref(s->history[at].report);
	s->history[at].id = id;
	s->history[at].report = report;
}

json_t *ob__swap_report(struct ob__node *node, uint64_t id)
{
	struct ob__swap *s = node->swap;
	size_t at = id % SWAP_HISTORY;

	OB__LIST_EACH (it, &s->open) {
		struct ob__transaction *tx = OB__CONTAINER(it, struct ob__transaction, link);
		if (tx->id == id && !tx->ended) {
			return ob__tx_json(tx);
		}
	}
	OB__LIST_EACH (it, &s->queue) {
		const struct ob__transaction *tx = OB__CONTAINER(it, struct ob__transaction, link);
		if (tx->id == id) {
			return json_pack("{s:I, s:s, s:s}", "tx", (json_int_t)id, "result",
			                 "running", "step", "admit");
		}
	}
	return s->history[at].id == id ? json_incref(s->history[at].report) : NULL;
}
