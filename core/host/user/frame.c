/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * What is said about users, to other nodes and to this one itself: that takes the same way, in the
 * next turn of the loop.
 */

#include "host/user/users_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/message/reply.h"
#include "host/node.h"

struct looped {
	struct ob__node *node;
	struct ob__frame f;
	uint8_t payload[];
};

static void looped_run(void *arg)
{
	struct looped *l = arg;
	struct ob__node *node = l->node;

	if (node->users != NULL && l->f.kind == OB__FRAME_REPLY) {
		ob__users_reply(node, node->self.id, l->f.call, OB_RESULT_FROM_WIRE(l->f.status),
		                NULL, NULL);
	} else if (node->users != NULL) {
		(void)ob__users_frame(node, &l->f);
	}
	free(l);
}

int ob__users_to_self(struct ob__node *node, const struct ob__frame *f)
{
	struct looped *l = malloc(sizeof(*l) + f->payload_len);

	if (l == NULL) {
		return OB_E_NOMEM;
	}
	l->node = node;
	l->f = *f;
	l->f.src = node->self.id;
	l->f.dst = node->self.id;
	if (f->payload_len > 0) {
		memcpy(l->payload, f->payload, f->payload_len);
	}
	l->f.payload = l->payload;
	int rc = ob__loop_defer(node->loop, looped_run, l);
	if (rc != 0) {
		free(l);
	}
	return rc != 0 ? OB_E_NOMEM : 0;
}

int ob__users_send(struct ob__node *node, uint64_t dst, struct ob__frame *f)
{
	f->kind = OB__FRAME_SYSTEM;
	return dst == node->self.id ? ob__users_to_self(node, f) : ob__send_to_node(node, dst, f);
}

void ob__users_reply(struct ob__node *node, uint64_t dst, uint64_t call, int code, const char *text,
                     const struct ob__place *place)
{
	uint8_t data[OB__PLACE_SIZE];
	size_t len = place != NULL ? sizeof(data) : 0;

	if (place != NULL) {
		ob__place_put(data, place);
	}
	if (dst != node->self.id) {
		struct ob__reply_to to = {.src = dst, .call = call};
		ob__send_reply(node, &to, code, text, data, len, false);
		return;
	}
	struct ob__pending *p = ob__pending_find(&node->pendings, call);
	struct ob__end end = {.code = code, .text = text, .source = dst, .data = data, .len = len};
	if (p != NULL) {
		ob__pending_end(p, &end);
	}
}

int ob__users_tell(struct ob__node *node, uint64_t dst, uint32_t id, const struct ob__who *who,
                   const char *user, uint64_t epoch)
{
	uint8_t payload[OB__USER_WIRE_MAX];
	struct ob__frame f = {
		.id = id,
		.session_node = who->node,
		.session_seq = who->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, user, epoch, 0),
	};

	return ob__users_send(node, dst, &f);
}
