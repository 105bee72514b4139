/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Attributes of sessions: set at a session's proxy, from there or from any other node.
 */

#include "host/users_priv.h"

#include <errno.h>

#include "base/log.h"
#include "host/node.h"

#define LOG_BURST 5u

void ob__session_set_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__attr_msg m;
	uint32_t missed;

	if (ob__attr_get(&m, f->payload, f->payload_len) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_ATTR);
		return;
	}
	if (s != NULL && s->conn != 0 && ob__session_set(s, m.key, m.value, m.len) != 0 &&
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
		int rc = ob__session_set(s, key, value, len);
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
