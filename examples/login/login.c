/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example login: answers message 1000, {"name": TEXT, "passwd": TEXT}.
 *
 * It shows a handler with a configuration of its own: {"desc": TEXT} replaces the words of the
 * answer.  It lets everybody in; a real one asks a database from ob_job() or ob_http_call().
 */

#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

#define LOGIN     1000
#define DESC_MAX  256
#define DEMO_USER 10

static char desc[DESC_MAX + 1] = "恭喜，登录接口测试通过~";

static void login(ob_ctx *ctx, ob_req req)
{
	const char *name = ob_req_str(ctx, req, "name");

	if (!name || !*name) {
		ob_fail(ctx, req, OB_E_BAD, "name is missing");
		return;
	}
	ob_reply_json(ctx, req, "{s:i, s:{s:i, s:s}}", "code", 200, "data", "user_id", DEMO_USER,
	              "desc", desc);
}

static int check(const json_t *conf, ob_err *err)
{
	const json_t *value = json_object_get(conf, "desc");

	if (value && (!json_is_string(value) || json_string_length(value) > DESC_MAX)) {
		return ob_err_set(err, "desc: must be a text of at most %d bytes", DESC_MAX);
	}
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	const char *text = json_string_value(json_object_get(conf, "desc"));

	if (text) {
		snprintf(desc, sizeof(desc), "%s", text);
	}
	return ob_on_id(ctx, LOGIN, login);
}

OB_MODULE(login, .version = "1.0.0", .check = check, .start = start);
