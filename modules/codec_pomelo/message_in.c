/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "client.h"

#include <stdio.h>
#include <string.h>

#include "message.h"
#include "protobuf.h"
#include "unicode.h"

static const uint8_t nothing[] = {'{', '}'}; /* as a handler reads it */

/* A request that gets no further than this: pomelo leaves some of them without an answer, on which
 * its clients wait for ever. */
static void refuse(struct pomelo *own, const struct pomelo_message *m, const char *text,
                   ob_packet *out)
{
	char body[160];

	if (m->type != POMELO_REQUEST || m->id == 0) {
		out->kind = OB_PACKET_SKIP;
		return;
	}
	snprintf(body, sizeof(body), "{\"code\":500,\"error\":\"%s\"}", text);
	pomelo_answer(out, own->refused,
	              pomelo_write_text(m->id, body, own->refused, sizeof(own->refused)));
}

/* Letters, that is no control characters, in UTF-8. */
static bool is_name(const uint8_t *route, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t n = pomelo_char_len(route + at, len - at);

		if (n == 0 || route[at] < 0x20 || route[at] == 0x7f) {
			return false;
		}
		at += n;
	}
	return len > 0;
}

/* A route of digits is the number of a message that has no name; else 0. */
static uint32_t numeric(const uint8_t *route, size_t len)
{
	uint64_t id = 0;

	if (len > 10 || route[0] == '0') {
		return 0;
	}
	for (size_t i = 0; i < len; i++) {
		if (route[i] < '0' || route[i] > '9') {
			return 0;
		}
		id = id * 10 + (uint64_t)(route[i] - '0');
	}
	return id <= INT32_MAX ? (uint32_t)id : 0;
}

/* Sets m->route from its code, too; NULL if all is well, else what is not. */
static const char *find_route(const struct pomelo *own, struct pomelo_message *m)
{
	if (m->coded) {
		const char *route = pomelo_dictionary_route(own->settings.dictionary, m->code);

		if (route == NULL) {
			return "the dictionary has no such code";
		}
		m->route = (const uint8_t *)route;
		m->route_len = strlen(route);
	}
	return is_name(m->route, m->route_len) ? NULL : "a route is 1 to 255 bytes of UTF-8";
}

/* The body as JSON; false: it is not the protobuf it should be. */
static bool read_body(struct pomelo *own, struct pomelo_message *m, ob_packet *out, size_t max)
{
	int at = pomelo_protos_find(&own->settings.client, (const char *)m->route, m->route_len);

	if (m->body_len == 0) {
		out->data = nothing;
		out->len = sizeof(nothing);
		return true;
	}
	if (at < 0 || m->body[0] == '{') { /* which no field begins with */
		out->data = m->body;
		out->len = pomelo_join_surrogates(m->body, m->body_len);
		return true;
	}

	json_t *message = pomelo_protobuf_decode(own->settings.client.routes[at], m->body,
	                                         m->body_len, &own->text);
	size_t len = message != NULL ? json_dumpb(message, NULL, 0, JSON_COMPACT) : 0;

	pomelo_bytes_begin(&own->in, max);
	out->data = len > 0 ? pomelo_bytes_room(&own->in, len) : NULL;
	if (out->data != NULL) {
		json_dumpb(message, (char *)own->in.data, len, JSON_COMPACT);
	}
	out->len = len;
	json_decref(message);
	return out->data != NULL;
}

static uint64_t cookie_of(const struct pomelo *own, const struct pomelo_message *m)
{
	int at = pomelo_protos_find(&own->settings.server, (const char *)m->route, m->route_len);
	uint64_t forms = own->settings.forms & COOKIE_FORMS_MASK;

	return m->id | (uint64_t)(at + 1) << COOKIE_PROTO_AT | forms << COOKIE_FORMS_AT;
}

/* How much a client that may come back has had by now; negative: it is to be closed. */
static int take_seen(const struct pomelo_message *m, ob_packet *out)
{
	if (!pomelo_seen_read(m->body, m->body_len, &out->cookie)) {
		pomelo_close_with(out, CLOSE_PROTOCOL, "bad_seen", "how many messages were seen?");
		return -1;
	}
	out->kind = OB_PACKET_SEEN;
	return 0;
}

static bool is_seen(const struct pomelo_client *c, const struct pomelo_message *m)
{
	static const char route[] = POMELO_SEEN_ROUTE;

	return (c->flags & CLIENT_RESUMES) != 0 && m->type == POMELO_NOTIFY &&
	       m->route_len == sizeof(route) - 1 && memcmp(m->route, route, m->route_len) == 0;
}

static size_t bad_message(enum pomelo_message_end end, ob_packet *out)
{
	switch (end) {
	case POMELO_EMPTY:
		return pomelo_close_with(out, CLOSE_PROTOCOL, "empty_data", "a message is missing");
	case POMELO_BAD_ID:
		return pomelo_close_with(out, CLOSE_PROTOCOL, "bad_id", "bad message id");
	default:
		return pomelo_close_with(out, CLOSE_PROTOCOL, "bad_route", "bad route");
	}
}

static bool is_compressed(const struct pomelo_message *m)
{
	return m->gzip && m->body_len >= 2 && m->body[0] == 0x1f && m->body[1] == 0x8b;
}

int pomelo_take_message(struct pomelo *own, const struct pomelo_client *c,
                        const struct pomelo_package *p, size_t max, ob_packet *out)
{
	struct pomelo_message m;
	enum pomelo_message_end end = pomelo_message_read(p->body, p->len, &m);

	if (end != POMELO_GOOD) {
		bad_message(end, out);
		return -1;
	}
	if (c->forms != own->settings.forms) {
		pomelo_close_with(out, CLOSE_RESTART, "new_dictionary",
		                  "connect again: new dictionary");
		return -1;
	}
	if (m.type != POMELO_REQUEST && m.type != POMELO_NOTIFY) {
		out->kind = OB_PACKET_SKIP;
		return 0;
	}

	const char *wrong = find_route(own, &m);

	if (wrong == NULL && is_compressed(&m)) {
		wrong = "compressed bodies are not read";
	}
	if (wrong != NULL) {
		refuse(own, &m, wrong, out);
		return 0;
	}
	if (is_seen(c, &m)) {
		return take_seen(&m, out);
	}
	if (!read_body(own, &m, out, max)) {
		pomelo_close_with(out, CLOSE_PROTOCOL, "bad_protobuf", "bad protobuf");
		return -1;
	}
	out->kind = OB_PACKET_MESSAGE;
	out->one_way = m.type == POMELO_NOTIFY || m.id == 0;
	out->cookie = cookie_of(own, &m);
	out->id = numeric(m.route, m.route_len);
	if (out->id == 0) {
		out->name = (const char *)m.route;
		out->name_len = m.route_len;
	}
	return 0;
}
