/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example echo: answers with the payload as it came.  Nothing is parsed, so the payload need not
 * be JSON; benchmarks use it.  {"id": N} or {"id": [N, ...]} says which messages, 30000 unless
 * given.
 */

#include <stdio.h>

#include <obhost/obhost.h>

#define ECHO 30000

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	if (ob_req_view(ctx, req, &view) == 0) {
		ob_reply(ctx, req, view.data, view.len);
	}
}

static bool is_id(const json_t *value)
{
	json_int_t id = json_integer_value(value);

	return json_is_integer(value) && id >= 1 && id <= INT32_MAX;
}

static int check(const json_t *conf, ob_err *err)
{
	const json_t *ids = json_object_get(conf, "id");
	bool good = !ids || is_id(ids) || json_array_size(ids) > 0;
	size_t i;
	const json_t *id;

	json_array_foreach (ids, i, id) {
		good = good && is_id(id);
	}
	if (!good) {
		return ob_err_set(err, "id: must be a message id or a list of them (1 to 2^31-1)");
	}
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	const json_t *ids = json_object_get(conf, "id");
	size_t i;
	const json_t *id;

	if (!json_is_array(ids)) {
		return ob_on_id(ctx, ids ? (uint32_t)json_integer_value(ids) : ECHO, echo);
	}
	json_array_foreach (ids, i, id) {
		int rc = ob_on_id(ctx, (uint32_t)json_integer_value(id), echo);

		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

OB_MODULE(echo, .version = "1.0.0", .check = check, .start = start);
