/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/too_slow.h"

#include <stdlib.h>

#include "host/client/conn.h"
#include "host/node.h"
#include "lib/ws.h"

static struct ob__too_slow *of(struct ob__node *node)
{
	return &node->clients.too_slow;
}

bool ob__too_slow_held(const struct ob__node *node)
{
	return node->clients.too_slow.held > 0;
}

static void list(struct ob__too_slow *t, const struct ob__conn *conn)
{
	if (t->len == t->cap) {
		uint32_t cap = t->cap > 0 ? 2 * t->cap : 16;
		uint64_t *bigger = realloc(t->list, cap * sizeof(*bigger));
		if (bigger == NULL) {
			t->unlisted = true;
			return;
		}
		t->list = bigger;
		t->cap = cap;
	}
	t->list[t->len++] = ob__conn_handle(conn);
}

static void end(struct ob__conn *conn)
{
	ob__conn_close(conn, OB__WS_POLICY, "too slow", "slow");
}

static void end_unlisted(struct ob__node *node)
{
	struct ob__conn *conn;

	of(node)->unlisted = false;
	for (uint32_t i = 0; (conn = ob__slab_next(&node->clients.conns, &i)) != NULL;) {
		if (conn->too_slow) {
			end(conn);
		}
	}
}

/* Those who are found because of these ends are listed behind them. */
static void end_all(struct ob__node *node, struct ob__conn *first)
{
	struct ob__too_slow *t = of(node);

	t->closing = true;
	if (first != NULL) {
		end(first);
	}
	do {
		for (uint32_t i = 0; i < t->len; i++) {
			struct ob__conn *conn = ob__conn_get(node, t->list[i]);
			if (conn != NULL) {
				end(conn);
			}
		}
		t->len = 0;
		if (t->unlisted) {
			end_unlisted(node);
		}
	} while (t->len > 0 || t->unlisted);
	free(t->list);
	t->list = NULL;
	t->cap = 0;
	t->closing = false;
}

void ob__conn_too_slow(struct ob__conn *conn)
{
	struct ob__too_slow *t = of(conn->node);

	if (conn->too_slow) {
		return;
	}
	conn->too_slow = true;
	if (t->held > 0 || t->closing) {
		list(t, conn);
	} else {
		end_all(conn->node, conn);
	}
}

void ob__too_slow_hold(struct ob__node *node)
{
	of(node)->held++;
}

void ob__too_slow_release(struct ob__node *node)
{
	struct ob__too_slow *t = of(node);

	if (--t->held == 0 && !t->closing && (t->len > 0 || t->unlisted)) {
		end_all(node, NULL);
	}
}
