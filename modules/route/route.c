/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module route: decides where a message goes that came over a link and that nobody on the way has
 * settled.  The answer is this node's route table; what the table doesn't know is tried here.
 */

#include <obhost/obhost.h>

static uint32_t own_role;

static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	uint32_t role = ob_route_role(ctx, view->id);

	if (role == 0 || role == own_role) {
		return (ob_verdict){.action = OB_LOCAL};
	}
	return (ob_verdict){
		.action = OB_FORWARD,
		.target = {.role = role,
	                   .flags = view->flags & OB_VIEW_STICKY ? OB_TARGET_STICKY : 0},
	};
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_node_info node = {.size = sizeof(node)};
	int rc = ob_node(ctx, &node);

	(void)conf;
	if (rc < 0) {
		return rc;
	}
	own_role = node.role_id;
	return ob_on_link_message(ctx, decide);
}

OB_MODULE(route, .version = "1.0.0", .start = start);
