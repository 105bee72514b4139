/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/log.h"
#include "host/client/codec_state.h"
#include "host/client/listen.h"
#include "host/swap/steps.h"

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

void ob__tx_moved(void *arg, enum ob__tx_state state)
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
