/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example line_port: a module that opens a port of its own, {"port": N}, on which TCP clients speak
 * the codec of the example codec_line.  Message 40100 is answered with the client's address and the
 * generation of the module that answered.
 *
 * It shows ob_listen(), and a module that needs another one: codec_line must be loaded before, in
 * an interface version this one can use.  When it is replaced the listener is handed over as it is,
 * its queue of newcomers untouched, and its connections stay.
 */

#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

#define WHO_AM_I 40100

static void who_am_i(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	ob_session_info client = {.size = sizeof(client)};
	ob_module_info module = {.size = sizeof(module)};
	char text[160];

	if (ob_req_view(ctx, req, &view) < 0 || ob_session_get(ctx, view.session, &client) < 0 ||
	    ob_module_get(ctx, &module) < 0) {
		ob_fail(ctx, req, OB_E_APP, "nobody asks");
		return;
	}
	snprintf(text, sizeof(text), "you are %.64s, this is generation %u", client.peer,
	         (unsigned)module.generation);
	ob_reply(ctx, req, text, strlen(text));
}

static int check(const json_t *conf, ob_err *err)
{
	const json_t *port = json_object_get(conf, "port");

	if (!json_is_integer(port) || json_integer_value(port) < 0 ||
	    json_integer_value(port) > UINT16_MAX) {
		return ob_err_set(err, "port: must be given, 1 to 65535 (0: any, for tests)");
	}
	return 0;
}

/* The port is bound here and accepts from live on: one that is taken refuses the module while
 * everything is as it was. */
static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_listen_options options = {
		.size = sizeof(options),
		.transport = "tcp",
		.codec = "line",
		.port = (uint16_t)json_integer_value(json_object_get(conf, "port")),
		.idle_ms = 300000,
	};
	int rc = ob_listen(ctx, &options);

	if (rc < 0) {
		return ob_refuse(ctx, rc, ob_strerror(ctx, rc));
	}
	return ob_on_id(ctx, WHO_AM_I, who_am_i);
}

OB_MODULE(line_port, .version = "1.0.0", .needs = "codec_line/1", .check = check, .start = start);
