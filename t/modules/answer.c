/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Answers id 1000 from its own code with its own version, and counts its answers in host memory.
 * ANSWER_VERSION comes from the build: two versions, one name.
 */

#include <obhost/obhost.h>

static uint64_t *count;

static void answer(ob_ctx *ctx, ob_req req)
{
	++*count;
	ob_reply_json(ctx, req, "{s:s, s:I}", "version", ANSWER_VERSION, "count",
	              (json_int_t)*count);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	count = ob_state(ctx, "count", sizeof(*count), 1);
	if (count == NULL) {
		return ob_refuse(ctx, OB_E_NOMEM, "no block");
	}
	return ob_on_id(ctx, 1000, answer);
}

OB_MODULE(answer, .version = ANSWER_VERSION, .start = start);
