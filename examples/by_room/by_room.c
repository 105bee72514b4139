/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example by_room: a policy.  Messages go to the node of their session's room, so that its players
 * meet in one process.  Which room that is says the session's attribute "room", which a module set
 * when the player entered it (ob_session_set), else {"room": TEXT or N} in the message; without
 * either it goes by the session.  The configuration names it for a role: "rpc": {"policy":
 * {"service": "by_room"}}.  Where a route node chooses, the proxies send the attribute along:
 * "sessions": {"carry": ["room"]}.
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

static uint64_t hash(const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++) {
		h = (h ^ (uint8_t)text[i]) * 0x100000001b3u;
	}
	return h;
}

/* The session, by what all nodes know it by. */
static uint64_t key_of_session(const ob_choice *choice)
{
	bool has_key = choice->size >= offsetof(ob_choice, key) + sizeof(choice->key);

	return mix(has_key && choice->key != 0 ? choice->key : choice->view->session);
}

/* What the message itself says; false: nothing. */
static bool key_of_body(const ob_view *view, uint64_t *key)
{
	if (!view->data || view->len > BODY_MAX || !memchr(view->data, '{', view->len)) {
		return false;
	}
	json_t *body = json_loadb((const char *)view->data, view->len, 0, NULL);
	const json_t *room = json_object_get(body, "room");
	bool found = json_is_string(room) || json_is_integer(room);
	if (json_is_string(room)) {
		*key = hash(json_string_value(room), json_string_length(room));
	} else if (found) {
		*key = mix((uint64_t)json_integer_value(room));
	}
	json_decref(body);
	return found;
}

/* What must stay together. */
static uint64_t key_of(ob_ctx *ctx, const ob_choice *choice)
{
	size_t len = 0;
	const void *room =
		OB_HAS(ctx, choice_attr) ? ob_choice_attr(ctx, choice, "room", &len) : NULL;
	uint64_t key;

	if (room) {
		return hash(room, len);
	}
	return key_of_body(choice->view, &key) ? key : key_of_session(choice);
}

static int choose(ob_ctx *ctx, const ob_choice *choice)
{
	uint64_t key = key_of(ctx, choice);
	uint64_t best = 0;
	int index = 0;

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

OB_MODULE(by_room, .version = "1.1.0", .start = start);
