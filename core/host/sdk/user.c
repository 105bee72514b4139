/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sdk/sdk_priv.h"

#include "host/node.h"
#include "host/user/users.h"

int ob__sdk_session_bind(ob_ctx *ctx, ob_session session, const char *user, ob_user_fn fn,
                         void *arg)
{
	return ob__users_bind(gen_of(ctx), session, user, fn, arg);
}

int ob__sdk_session_unbind(ob_ctx *ctx, ob_session session, const char *user)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_unbind(node_of(ctx), session, user);
}

int ob__sdk_user_find(ob_ctx *ctx, const char *user, ob_user_fn fn, void *arg)
{
	return ob__users_find(gen_of(ctx), user, fn, arg);
}

int ob__sdk_push_user(ob_ctx *ctx, const char *user, uint32_t id, const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_push(node_of(ctx), user, id, data, len);
}

int ob__sdk_kick_user(ob_ctx *ctx, const char *user, const char *reason)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_kick(node_of(ctx), user, reason);
}
