/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example by_room: a policy.  Messages with {"room": TEXT or N} go to the node of that room, so
 * that its players meet in one process; others go by their session.  The configuration names it for
 * a role: "rpc": {"policy": {"service": "by_room"}}.
 *
 * Each node is given a number that depends on the room and the node, and the highest wins
 * (rendezvous hashing).  So every proxy chooses the same node without asking anybody, and when a
 * node comes or goes only its own rooms move.
 */

#include <string.h>

#include <obhost/obhost.h>

#define BODY_MAX 4096 /* a longer body is not searched for a room: this runs for each message */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185u;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44du;
	return x ^ x >> 33;
}

static uint64_t hash_text(const char *text)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *text; text++) {
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	}
	return h;
}

/* What must stay together: the room's number, or the session's. */
static uint64_t key_of(const ob_view *view)
{
	uint64_t key = mix(view->session);

	if (!view->data || view->len > BODY_MAX || !memchr(view->data, '{', view->len)) {
		return key;
	}
	json_t *body = json_loadb((const char *)view->data, view->len, 0, NULL);
	const json_t *room = json_object_get(body, "room");
	if (json_is_string(room)) {
		key = hash_text(json_string_value(room));
	} else if (json_is_integer(room)) {
		key = mix((uint64_t)json_integer_value(room));
	}
	json_decref(body);
	return key;
}

static int choose(ob_ctx *ctx, const ob_choice *choice)
{
	uint64_t key = key_of(choice->view);
	uint64_t best = 0;
	int index = 0;

	(void)ctx;
	for (size_t i = 0; i < choice->len; i++) {
		uint64_t score = mix(key ^ mix(choice->candidates[i].node));

		if (score >= best) {
			best = score;
			index = (int)i;
		}
	}
	return index;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_policy(ctx, "by_room", choose);
}

OB_MODULE(by_room, .version = "1.0.0", .start = start);
