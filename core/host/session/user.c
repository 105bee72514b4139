/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Whose a session is, on the nodes that have met it: its proxy tells them when they meet it, with
 * the first request and when it changes.
 */

#include "host/user/users_priv.h"

#include <string.h>

#include "host/node.h"

void ob__users_met(struct ob__node *node, const struct ob__session *s, uint64_t to)
{
	const struct ob__session_more *more = s->more;
	uint8_t payload[OB__USER_WIRE_MAX];

	if (more == NULL || more->change == 0) {
		return;
	}
	struct ob__frame f = {
		.id = OB__SYS_SESSION_USER,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, more->bound ? more->user : "",
	                                              more->epoch, more->change),
	};
	(void)ob__users_send(node, to, &f);
}

void ob__users_changed(struct ob__node *node, const struct ob__session *s)
{
	for (uint8_t i = 0; i < s->served_len; i++) {
		ob__users_met(node, s, s->served[i]);
	}
}

/* ---- on a node that has met it ---- */

static void heard_user(struct ob__session *s, const struct ob__user_msg *m)
{
	struct ob__session_more *more = ob__session_more(s);

	if (more != NULL && m->change > more->change) {
		more->change = m->change;
		memcpy(more->user, m->user, sizeof(more->user));
		more->epoch = m->epoch;
	}
}

void ob__session_user_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__user_msg m;

	if (f->src != f->session_node) {
		ob__ignore_frame(node, f, OB__IGNORED_NOT_PROXY);
	} else if (ob__user_get(&m, f->payload, f->payload_len, true) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_USER);
	} else if (s != NULL && s->conn == 0) {
		heard_user(s, &m);
	}
}

size_t ob__users_ext_put(const struct ob__session *s, uint64_t dst, uint8_t *out)
{
	uint8_t payload[OB__USER_WIRE_MAX];

	if (s->more == NULL || !s->more->bound) {
		return 0;
	}
	for (uint8_t i = 0; dst != 0 && i < s->served_len; i++) {
		if (s->served[i] == dst) {
			return 0;
		}
	}
	size_t len = ob__user_put(payload, s->more->user, s->more->epoch, s->more->change);
	return ob__frame_ext_put(out, 0, OB__USER_EXT_MAX, OB__FRAME_EXT_USER, payload,
	                         (uint16_t)len);
}

void ob__users_ext_get(struct ob__node *node, struct ob__session *s, const struct ob__frame *f)
{
	struct ob__user_msg m;
	uint16_t len;
	const uint8_t *data = f->src == s->node ? ob__frame_ext(f, OB__FRAME_EXT_USER, &len) : NULL;

	if (data == NULL) {
		return;
	}
	if (ob__user_get(&m, data, len, false) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_USER);
		return;
	}
	heard_user(s, &m);
}
