/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example heartbeat: answers message 10000 with the server's time, in milliseconds since 1970.
 * Any payload will do, none as well.
 */

#include <time.h>

#include <obhost/obhost.h>

#define HEARTBEAT 10000

static void heartbeat(ob_ctx *ctx, ob_req req)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	ob_reply_json(ctx, req, "{s:i, s:{s:I}}", "code", 200, "data", "time",
	              (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_id(ctx, HEARTBEAT, heartbeat);
}

OB_MODULE(heartbeat, .version = "1.0.0", .start = start);
