/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sdk/sdk_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/client/conn.h"
#include "host/cluster/policy.h"
#include "host/message/dispatch.h"
#include "host/node.h"
#include "host/session/lock.h"
#include "host/user/users.h"

/* ---- sessions ---- */

uint32_t ob__sdk_route_role(ob_ctx *ctx, uint32_t id)
{
	return ob__router_role(&node_of(ctx)->router, id);
}

int ob__sdk_session_info(ob_ctx *ctx, ob_session session, ob_session_info *info)
{
	struct ob__node *node = node_of(ctx);
	const struct ob__session *s = ob__session_get(&node->sessions, session);
	uint32_t size = info->size;

	bool asks_peer = size != offsetof(ob_session_info, peer);

	if (size != sizeof(*info) && size != offsetof(ob_session_info, user) && asks_peer) {
		return OB_E_INVAL; /* of this minor number, or of 1.0 */
	}
	if (s == NULL) {
		return OB_E_STALE;
	}
	const struct ob__conn *conn =
		s->conn != 0 && asks_peer ? ob__conn_get(node, s->conn) : NULL;
	node->peer_text[0] = '\0';
	if (conn != NULL) {
		ob__conn_peer(conn, node->peer_text, sizeof(node->peer_text));
	}
	ob_session_info full = {
		.size = size,
		.local = s->conn != 0,
		.node = s->node,
		.seq = s->seq,
		.peer = node->peer_text,
		.user = ob__session_user(s),
		.epoch = s->more != NULL ? s->more->epoch : 0,
	};
	memcpy(info, &full, size);
	return 0;
}

int ob__sdk_session_text(ob_ctx *ctx, ob_session session, char *out, size_t cap)
{
	const struct ob__session *s = ob__session_get(&node_of(ctx)->sessions, session);

	return s != NULL ? ob__node_session_text(node_of(ctx), s, out, cap) : OB_E_STALE;
}

ob_session ob__sdk_session_find(ob_ctx *ctx, const char *text)
{
	const struct ob__session *s = ob__node_session(node_of(ctx), text);

	return s != NULL ? s->handle : 0;
}

int ob__sdk_session_close(ob_ctx *ctx, ob_session session, uint16_t code, const char *reason)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__dispatch_kick(node_of(ctx), session, code, reason);
}

int ob__sdk_session_set(ob_ctx *ctx, ob_session session, const char *key, const void *value,
                        size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_session_set(node_of(ctx), session, key, value, len);
}

const void *ob__sdk_session_attr(ob_ctx *ctx, ob_session session, const char *key, size_t *len)
{
	const struct ob__session *s = ob__session_get(&node_of(ctx)->sessions, session);
	const struct ob__session_attr *a =
		s != NULL && ob__key_ok(key) ? ob__session_attr(s, key) : NULL;

	if (len != NULL) {
		*len = a != NULL ? a->len : 0;
	}
	return a != NULL ? a->value : NULL;
}

const void *ob__sdk_choice_attr(ob_ctx *ctx, const ob_choice *choice, const char *key, size_t *len)
{
	size_t unused;

	return ob__policy_attr(node_of(ctx), choice, key, len != NULL ? len : &unused);
}

int ob__sdk_session_lock(ob_ctx *ctx, ob_session session, const char *key, uint32_t ms)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__lock_set(node_of(ctx), session, key, ms);
}

int ob__sdk_session_unlock(ob_ctx *ctx, ob_session session, const char *key, uint32_t flags)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__lock_end(node_of(ctx), session, key, (flags & OB_UNLOCK_KEEP) != 0);
}

/* ---- states ---- */

int ob__sdk_session_allow(ob_ctx *ctx, const char *state, uint32_t lo, uint32_t hi)
{
	struct ob__reg *reg;
	bool none = lo == 1 && hi == 0;

	if (!ob__state_name_ok(state) || (!none && (lo == 0 || lo > hi || hi > 0x7fffffffu))) {
		return OB_E_INVAL;
	}
	int rc = ob__sdk_reg_chained(ctx, OB__SLOT_STATE, &reg);
	if (rc == 0) {
		reg->flags = OB__STATE_ALLOWS;
		reg->fn.state.lo = lo;
		reg->fn.state.hi = hi;
		memcpy(reg->fn.state.name, state, strlen(state) + 1);
	}
	return rc;
}

int ob__sdk_on_session_state(ob_ctx *ctx, const char *state, ob_session_change_fn enter,
                             ob_session_change_fn leave)
{
	struct ob__reg *reg;

	if ((enter == NULL && leave == NULL) || (state != NULL && !ob__state_name_ok(state))) {
		return OB_E_INVAL;
	}
	int rc = ob__sdk_reg_chained(ctx, OB__SLOT_STATE, &reg);
	if (rc == 0) {
		reg->flags = OB__STATE_HEARS;
		reg->fn.state.enter = enter;
		reg->fn.state.leave = leave;
		if (state != NULL) {
			memcpy(reg->fn.state.name, state, strlen(state) + 1);
		}
	}
	return rc;
}

int ob__sdk_session_enter(ob_ctx *ctx, ob_session session, const char *state, json_t *data_stolen)
{
	int rc = ob__gen_live(gen_of(ctx))
	                 ? ob__states_enter(node_of(ctx), session, state, data_stolen)
	                 : OB_E_STATE;

	json_decref(data_stolen);
	return rc;
}

const char *ob__sdk_session_state(ob_ctx *ctx, ob_session session, const json_t **data)
{
	return ob__states_get(node_of(ctx), session, data);
}
