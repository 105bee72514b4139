/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Memory that lives on is looked through, a piece per loop turn, for words that point into code
 * that is about to go: ob_state() blocks, values of the key-value store, states of a codec. */

#include <stdio.h>

#include "host/client/conn.h"
#include "host/kv.h"
#include "host/swap/swap_priv.h"

#define BYTES_PER_TURN (1u << 20)
#define CONNS_PER_TURN 4096u
#define KEYS_PER_TURN  4096u

static const uintptr_t *find_pointer(const struct ob__gen *g, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i + sizeof(uintptr_t) <= len; i += sizeof(uintptr_t)) {
		const uintptr_t *word = (const uintptr_t *)(const void *)(bytes + i);
		if (*word >= g->low && *word < g->high) {
			return word;
		}
	}
	return NULL;
}

static bool found(const struct ob__gen *g, const char *what, const char *name, const void *data,
                  size_t len, size_t offset, char *why, size_t cap)
{
	const uintptr_t *word = find_pointer(g, data, len);

	if (word != NULL) {
		snprintf(why, cap, "%s \"%.64s\" holds a pointer into it at byte %zu", what, name,
		         offset + (size_t)((const uint8_t *)word - (const uint8_t *)data));
	}
	return word != NULL;
}

/* One piece of the blocks that others share. */
static enum ob__scan scan_blocks(struct ob__gen *g, char *why, size_t cap)
{
	const struct ob__state *s = g->states[g->scan.block];
	size_t left = s->refs > 1 ? s->size - g->scan.at : 0;
	size_t len = left < BYTES_PER_TURN ? left : BYTES_PER_TURN;

	if (found(g, "its ob_state() block", s->key, (const uint8_t *)s->data + g->scan.at, len,
	          g->scan.at, why, cap)) {
		return OB__SCAN_FOUND;
	}
	g->scan.at += len;
	if (len == left) {
		g->scan.block++;
		g->scan.at = 0;
	}
	return OB__SCAN_MORE;
}

/* Values are bounded, so that one more is never much more.  What is set meanwhile is set by others.
 */
static enum ob__scan scan_keys(struct ob__gen *g, char *why, size_t cap)
{
	const struct ob__kv *kv = g->module->kv;
	const char *after = g->scan.key[0] != '\0' ? g->scan.key : NULL;
	size_t bytes = 0;

	for (unsigned n = 0; n < KEYS_PER_TURN && bytes < BYTES_PER_TURN; n++) {
		const char *key = kv != NULL ? ob__kv_next(kv, after) : NULL;
		if (key == NULL) {
			g->scan.keys_done = true;
			return OB__SCAN_MORE;
		}
		size_t len;
		const void *data = ob__kv_get(kv, key, &len);
		if (found(g, "its key", key, data, len, 0, why, cap)) {
			return OB__SCAN_FOUND;
		}
		bytes += len;
		snprintf(g->scan.key, sizeof(g->scan.key), "%s", key);
		after = g->scan.key;
	}
	return OB__SCAN_MORE;
}

static enum ob__scan scan_conns(struct ob__gen *g, char *why, size_t cap)
{
	const struct ob__slab *conns = &g->node->clients.conns;
	uint32_t end = conns->fresh - g->scan.conn < CONNS_PER_TURN ? conns->fresh
	                                                            : g->scan.conn + CONNS_PER_TURN;

	for (; g->scan.conn < end; g->scan.conn++) {
		struct ob__slab_head *head = ob__slab_at(conns, g->scan.conn);
		const struct ob__conn *conn = (const struct ob__conn *)(const void *)(head + 1);
		if (ob__handle_kind(head->handle) == conns->kind && conn->codec_state != NULL &&
		    found(g, "a connection's state of the codec", conn->codec->name,
		          conn->codec_state, conn->codec_size, 0, why, cap)) {
			return OB__SCAN_FOUND;
		}
	}
	return OB__SCAN_MORE;
}

enum ob__scan ob__gen_scan(struct ob__gen *g, char *why, size_t cap)
{
	if (g->scan.block < g->states_len) {
		return scan_blocks(g, why, cap);
	}
	if (!g->scan.keys_done) {
		return scan_keys(g, why, cap);
	}
	if (g->scan.codecs && g->scan.conn < g->node->clients.conns.fresh) {
		return scan_conns(g, why, cap);
	}
	return OB__SCAN_CLEAN;
}
