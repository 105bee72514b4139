/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/call/keys.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

#include "base/err.h"
#include "host/message/reply.h"
#include "host/node.h"

static void tell(struct ob__node *node, const struct ob__dedupe_waiter *w,
                 const struct ob__dedupe_end *end, bool refused)
{
	struct ob__dedupe_end e = *end;

	if (w->call == 0) {
		return;
	}
	if (e.lost) {
		e = (struct ob__dedupe_end){.code = OB_E_GONE,
		                            .text = "it was done; the answer was too big to keep"};
	}
	if (w->src == node->self.id) {
		struct ob__pending *p = ob__pending_find(&node->pendings, w->call);
		if (p != NULL) {
			ob__pending_end(p, &(struct ob__end){.code = e.code,
			                                     .text = e.text,
			                                     .source = node->self.id,
			                                     .data = e.data,
			                                     .len = e.len,
			                                     .refused = refused});
		}
		return;
	}
	struct ob__reply_to to = {w->src, w->call, w->id, w->from_client};
	ob__send_reply(
		node, &to, e.code, e.text, e.data, e.len,
		(uint16_t)((e.silent ? OB__FRAME_ONE_WAY : 0) | (refused ? OB__FRAME_REFUSED : 0)));
}

/* Of an end in the table, which changes with what a module does when it is told. */
static void tell_copy(struct ob__node *node, const struct ob__dedupe_waiter *w,
                      const struct ob__dedupe_end *end)
{
	struct ob__dedupe_end e = *end;
	uint8_t *data = end->len > 0 ? malloc(end->len) : NULL;
	char *text = end->text != NULL ? strdup(end->text) : NULL;

	if (data != NULL) {
		memcpy(data, end->data, end->len);
	}
	e.lost = end->lost || (end->len > 0 && data == NULL);
	e.data = data;
	e.text = text;
	tell(node, w, &e, false);
	free(data);
	free(text);
}

static void arm(struct ob__node *node, uint64_t due)
{
	uint64_t now = ob__loop_now(node->loop);

	if (due != OB__DEDUPE_NEVER && !ob__timeout_armed(&node->keys.timeout)) {
		ob__timeout_set(node->loop, &node->keys.timeout, due > now ? due - now : 0);
	}
}

static void on_due(void *arg)
{
	struct ob__node *node = arg;

	arm(node, ob__dedupe_expire(&node->keys.table, ob__loop_now(node->loop)));
}

void ob__keys_init(struct ob__node *node)
{
	const struct ob__nodeconf *c = node->conf;
	uint64_t seed = 0;

	RAND_bytes((unsigned char *)&seed, sizeof(seed));
	ob__dedupe_init(&node->keys.table, c->limits.keys, c->limits.keys_bytes, c->key_ms, seed);
	ob__timeout_init(&node->keys.timeout, on_due, node);
}

void ob__keys_free(struct ob__node *node)
{
	ob__timeout_clear(node->loop, &node->keys.timeout);
	ob__dedupe_free(&node->keys.table);
}

bool ob__keys_begin(struct ob__node *node, const struct ob__dedupe_query *q, uint64_t *handle)
{
	const struct ob__dedupe_end *done;

	switch (ob__dedupe_begin(&node->keys.table, q, ob__loop_now(node->loop), handle, &done)) {
	case OB__DEDUPE_NEW:
		return true;
	case OB__DEDUPE_WAIT:
		return false;
	case OB__DEDUPE_DONE:
		tell_copy(node, &q->who, done);
		return false;
	case OB__DEDUPE_FULL:
		break;
	}
	struct ob__dedupe_end end = {.code = OB_E_BUSY, .text = "too many requests with keys"};
	ob__count_result(node->dispatch.refused, OB_E_BUSY);
	tell(node, &q->who, &end, true);
	return false;
}

bool ob__keys_awaited(const struct ob__node *node, uint64_t handle)
{
	return handle != 0 && ob__dedupe_awaited(&node->keys.table, handle);
}

void ob__keys_end(struct ob__node *node, uint64_t handle, const struct ob__dedupe_end *end)
{
	uint64_t now = ob__loop_now(node->loop);
	size_t len;

	if (handle == 0) {
		return;
	}
	struct ob__dedupe_waiter *waiters =
		ob__dedupe_end(&node->keys.table, handle, end, end->code != OB_E_BUSY, now, &len);
	arm(node, now + node->keys.table.window_ms);
	for (size_t i = 0; i < len; i++) {
		tell(node, &waiters[i], end, false);
	}
	free(waiters);
}
