/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Attributes of sessions: set at a session's proxy, from there or from any other node.  Those that
 * the configuration names (sessions.carry) go along with the session's messages, to whoever settles
 * which node they go to.
 */

#include "host/user/users_priv.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "host/node.h"

#define LOG_BURST 5u

static int carry(const struct ob__node *node, struct ob__session *s)
{
	return ob__session_carry(s, node->conf->carry, node->conf->carry_len);
}

void ob__session_carry_changed(struct ob__node *node)
{
	struct ob__session *s;

	for (uint32_t i = 0; (s = ob__slab_next(&node->sessions.slab, &i)) != NULL;) {
		if (s->conn != 0 && carry(node, s) != 0) {
			ob__warning("session", "sessions.carry: out of memory, what it was stays");
			return;
		}
	}
}

/* Sets an attribute of one of this node's sessions, and what follows. */
static int set(struct ob__node *node, struct ob__session *s, const char *key, const void *value,
               size_t len)
{
	int rc = ob__session_set(s, key, value, len);

	for (size_t i = 0; rc == 0 && i < node->conf->carry_len; i++) {
		if (strcmp(node->conf->carry[i], key) == 0) {
			return carry(node, s);
		}
	}
	return rc;
}

void ob__session_set_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__attr_msg m;
	uint32_t missed;

	if (ob__attr_get(&m, f->payload, f->payload_len) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_ATTR);
		return;
	}
	if (s != NULL && s->conn != 0 && set(node, s, m.key, m.value, m.len) != 0 &&
	    ob__log_allow(&node->users->attr_limit, LOG_BURST, ob__loop_now(node->loop), &missed)) {
		ob__warning("session",
		            "the attribute %s could not be set: too many, or no memory [and %u "
		            "like it]",
		            m.key, (unsigned)missed);
	}
}

int ob__users_session_set(struct ob__node *node, uint64_t session, const char *key,
                          const void *value, size_t len)
{
	struct ob__session *s = ob__session_get(&node->sessions, session);
	uint8_t payload[OB__ATTR_WIRE_MAX];

	if (!ob__key_ok(key)) {
		return OB_E_INVAL;
	}
	if (len > OB__VALUE_MAX) {
		return OB_E_TOO_BIG;
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	if (s->conn != 0) {
		int rc = set(node, s, key, value, len);
		return rc == 0 ? 0 : rc == -ENOMEM ? OB_E_NOMEM : OB_E_LIMIT;
	}
	struct ob__frame f = {
		.id = OB__SYS_SESSION_SET,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__attr_put(payload, key, value, len),
	};
	return ob__users_send(node, s->node, &f);
}
