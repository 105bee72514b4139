/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sdk/sdk_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/message/dispatch.h"
#include "host/node.h"
#include "host/push/groups.h"
#include "host/push/push_many.h"
#include "host/user/users.h"

int ob__sdk_push(ob_ctx *ctx, ob_session session, uint32_t id, const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	if (id == 0 || id > 0x7fffffffu) {
		return OB_E_INVAL;
	}
	return ob__dispatch_push(node_of(ctx), session, id, data, len);
}

int ob__sdk_push_json(ob_ctx *ctx, ob_session session, uint32_t id, json_t *body_stolen)
{
	char *dump = body_stolen != NULL ? json_dumps(body_stolen, JSON_COMPACT | JSON_ENCODE_ANY)
	                                 : NULL;

	json_decref(body_stolen);
	if (dump == NULL) {
		return OB_E_INVAL;
	}
	int rc = ob__sdk_push(ctx, session, id, dump, strlen(dump));
	free(dump);
	return rc;
}

int ob__sdk_push_many(ob_ctx *ctx, const ob_session *sessions, size_t count, uint32_t id,
                      const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__push_many(node_of(ctx), sessions, count, id, data, len);
}

int ob__sdk_push_users(ob_ctx *ctx, const char *const *users, size_t count, uint32_t id,
                       const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__users_push_many(node_of(ctx), users, count, id, data, len);
}

int ob__sdk_push_all(ob_ctx *ctx, uint32_t role, uint32_t id, const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__push_all(node_of(ctx), role, id, data, len);
}

int ob__sdk_group_join(ob_ctx *ctx, ob_session session, const char *group)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__groups_join(node_of(ctx), session, group);
}

int ob__sdk_group_leave(ob_ctx *ctx, ob_session session, const char *group)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__groups_leave(node_of(ctx), session, group);
}

int ob__sdk_push_group(ob_ctx *ctx, const char *group, uint32_t id, const void *data, size_t len)
{
	if (!ob__gen_live(gen_of(ctx))) {
		return OB_E_STATE;
	}
	return ob__groups_push(node_of(ctx), group, id, data, len);
}

int ob__sdk_group_count(ob_ctx *ctx, const char *group, ob_group_count_fn fn, void *arg)
{
	return ob__groups_count_members(gen_of(ctx), group, fn, arg);
}

int ob__sdk_group_members(ob_ctx *ctx, const char *group, ob_session *sessions, size_t cap)
{
	if (!ob__group_ok(group) || (sessions == NULL && cap > 0)) {
		return OB_E_INVAL;
	}
	return (int)ob__groups_members_here(node_of(ctx), group, sessions, cap);
}
