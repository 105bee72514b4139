/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "protobuf.h"
#include "unicode.h"

/* A body to be written, and its form. */
struct body {
	const uint8_t *data;
	size_t len;
	size_t written; /* its length then */
};

static const uint8_t nothing[] = {'{', '}'};

static bool is_json(const uint8_t *data, size_t len)
{
	return len > 0 && (data[0] == '{' || data[0] == '[' || data[0] == '"');
}

static struct body json_body(const uint8_t *data, size_t len)
{
	if (len == 0) { /* clients parse whatever comes */
		return (struct body){nothing, sizeof(nothing), sizeof(nothing)};
	}
	return (struct body){data, len, is_json(data, len) ? pomelo_escaped_len(data, len) : len};
}

/* What a proto can't express goes out as nothing, as pomelo has it. */
static struct body protobuf_body(struct pomelo *own, const struct pomelo_proto *proto,
                                 const uint8_t *data, size_t len)
{
	json_t *message = json_loadb((const char *)data, len, 0, NULL);
	bool good;

	pomelo_bytes_begin(&own->out, POMELO_BODY_MAX);
	good = message != NULL && pomelo_protobuf_encode(proto, message, &own->out);
	json_decref(message);
	return good ? (struct body){own->out.data, own->out.len, own->out.len} : (struct body){0};
}

static struct body body_of(struct pomelo *own, const struct pomelo_proto *proto,
                           const uint8_t *data, size_t len)
{
	return proto != NULL ? protobuf_body(own, proto, data, len) : json_body(data, len);
}

/* Writes the package of a message; its size, which is more than `cap` if it did not fit; 0: there
 * can't be such a package. */
static size_t write_message(const struct pomelo_message *m, struct body body, uint8_t *out,
                            size_t cap)
{
	uint8_t head[POMELO_MESSAGE_HEAD_MAX];
	size_t head_len = pomelo_message_head(head, m);
	size_t len = head_len + body.written;

	if (head_len == 0 || len > POMELO_BODY_MAX) {
		return 0;
	}
	if (POMELO_HEAD + len > cap) {
		return POMELO_HEAD + len;
	}
	pomelo_package_head(out, POMELO_DATA, len);
	memcpy(out + POMELO_HEAD, head, head_len);
	out += POMELO_HEAD + head_len;
	if (body.written != body.len) {
		pomelo_escape(body.data, body.len, out);
	} else if (body.len > 0) {
		memcpy(out, body.data, body.len);
	}
	return POMELO_HEAD + len;
}

static const struct pomelo_proto *server_proto(const struct pomelo *own, const char *route,
                                               size_t len)
{
	int at = pomelo_protos_find(&own->settings.server, route, len);

	return at >= 0 ? own->settings.server.routes[at] : NULL;
}

/* The proto of the route that was asked: a response does not have it. */
static const struct pomelo_proto *cookie_proto(const struct pomelo *own, uint64_t cookie)
{
	size_t at = cookie >> COOKIE_PROTO_AT & COOKIE_PROTO_MASK;
	uint32_t forms = cookie >> COOKIE_FORMS_AT & COOKIE_FORMS_MASK;

	if (at == 0 || at > own->settings.server.len ||
	    forms != (own->settings.forms & COOKIE_FORMS_MASK)) {
		return NULL;
	}
	return own->settings.server.routes[at - 1];
}

/* The body of a failure with pomelo's code; the host's is its `status`. NULL: as it is. */
static char *failure(const uint8_t *data, size_t len)
{
	json_t *body = json_loadb((const char *)data, len, 0, NULL);
	json_t *code = json_object_get(body, "code");
	char *text = NULL;

	if (json_is_integer(code) && json_integer_value(code) != POMELO_FAILED) {
		json_object_set(body, "status", code);
		json_object_set_new(body, "code", json_integer(POMELO_FAILED));
		text = json_dumps(body, JSON_COMPACT);
	}
	json_decref(body);
	return text;
}

size_t pomelo_write_response(struct pomelo *own, const ob_packet *packet, uint8_t *out, size_t cap)
{
	struct pomelo_message m = {
		.type = POMELO_RESPONSE,
		.id = (uint32_t)(packet->cookie & POMELO_ID_MAX),
	};
	const uint8_t *data = packet->data;
	size_t len = packet->len;
	char *text =
		packet->status != OB_OK && !own->settings.host_codes ? failure(data, len) : NULL;

	if (text != NULL) {
		data = (const uint8_t *)text;
		len = strlen(text);
	}

	size_t n = write_message(&m, body_of(own, cookie_proto(own, packet->cookie), data, len),
	                         out, cap);

	free(text);
	return n;
}

/* The route is the name, or the id in digits where there is none. */
size_t pomelo_write_push(struct pomelo *own, const struct pomelo_client *c, const ob_packet *packet,
                         uint8_t *out, size_t cap)
{
	const char *route = packet->name;
	size_t len = packet->name_len;
	char digits[12];

	if (!pomelo_takes_pushes(c)) {
		return 0;
	}
	if (route == NULL) {
		len = (size_t)snprintf(digits, sizeof(digits), "%u", (unsigned)packet->id);
		route = digits;
	}

	bool same = c->forms == own->settings.forms;
	uint16_t code = same ? pomelo_dictionary_code(own->settings.dictionary, route, len) : 0;
	const struct pomelo_proto *proto = server_proto(own, route, len);
	struct pomelo_message m = {
		.type = POMELO_PUSH,
		.coded = code != 0,
		.code = code,
		.route = (const uint8_t *)route,
		.route_len = len,
	};

	if (proto != NULL && !same) {
		return 0;
	}
	return write_message(&m, body_of(own, proto, packet->data, packet->len), out, cap);
}

size_t pomelo_write_text(uint32_t id, const char *json, uint8_t *out, size_t cap)
{
	struct pomelo_message m = {.type = POMELO_RESPONSE, .id = id};

	return write_message(&m, json_body((const uint8_t *)json, strlen(json)), out, cap);
}
