/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example rank_room: answers message 20000, {"user_id": N}: a player enters the ranked room.
 *
 * It shows ob_state(): the number of entries lives in the host's memory, so it goes on counting
 * when this plugin is replaced.
 */

#include <obhost/obhost.h>

#define ENTER_RANK_ROOM 20000
#define STATE_VERSION   1

struct room {
	uint64_t entered;
};

static struct room *room; /* the host's; the next generation gets the same block */

static void enter(ob_ctx *ctx, ob_req req)
{
	json_int_t user = ob_req_int(ctx, req, "user_id", -1);

	if (user < 0) {
		ob_fail(ctx, req, OB_E_BAD, "user_id must be a number, 0 or more");
		return;
	}
	room->entered++;
	ob_reply_json(ctx, req, "{s:i, s:{s:I, s:s, s:I}}", "code", 200, "data", "user_id", user,
	              "room", "rank", "entered", (json_int_t)room->entered);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	room = ob_state(ctx, "room", sizeof(*room), STATE_VERSION);
	if (!room) {
		return OB_E_NOMEM;
	}
	return ob_on_id(ctx, ENTER_RANK_ROOM, enter);
}

OB_MODULE(rank_room, .version = "1.0.0", .start = start);
