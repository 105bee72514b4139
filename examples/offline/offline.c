/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example offline: hears that a client this node has served is gone.
 *
 * The host calls the handler of session_closed_id (100130 unless configured otherwise) once for
 * each such session, one-way: nobody waits for an answer.
 */

#include <obhost/obhost.h>

#define SESSION_CLOSED 100130

static int sessions;

static void offline(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	char text[OB_SESSION_TEXT] = "unknown";

	if (ob_req_view(ctx, req, &view) == 0) {
		ob_session_text(ctx, view.session, text, sizeof(text));
	}
	ob_count(ctx, sessions, 1);
	ob_log(ctx, OB_LOG_INFO, "session %s is gone", text);
	ob_done(ctx, req);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	sessions = ob_counter(ctx, "offline_sessions", "Sessions seen to close");
	if (sessions < 0) {
		return sessions;
	}
	return ob_on_id_flags(ctx, SESSION_CLOSED, offline,
	                      OB_FROM_CLIENT | OB_FROM_LINK | OB_ONE_WAY);
}

OB_MODULE(offline, .version = "1.0.0", .start = start);
