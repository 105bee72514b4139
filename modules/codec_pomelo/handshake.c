/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "handshake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "package.h"

/* ---- what the client says ---- */

/* The number at the front of a version, and what is behind its dot. */
static unsigned long next_part(const char **version)
{
	char *end;
	unsigned long part = strtoul(*version, &end, 10);

	if (end == *version) { /* no number: whatever is left counts for nothing */
		end += strlen(end);
	}
	*version = *end == '.' ? end + 1 : end + strlen(end);
	return part;
}

static bool is_old(const char *version, const char *least)
{
	while (*version != '\0' || *least != '\0') {
		unsigned long has = next_part(&version);
		unsigned long needs = next_part(&least);

		if (has != needs) {
			return has < needs;
		}
	}
	return false;
}

static bool is_taken(const struct pomelo_settings *s, const json_t *sys)
{
	const char *type = json_string_value(json_object_get(sys, "type"));
	const char *version = json_string_value(json_object_get(sys, "version"));

	if (s->clients == NULL) {
		return true;
	}

	const json_t *least = json_object_get(s->clients, type != NULL ? type : "");

	if (least == NULL) {
		least = json_object_get(s->clients, "*");
	}
	return least != NULL && !is_old(version != NULL ? version : "", json_string_value(least));
}

static bool says(const json_t *sys, const char *key, const char *version)
{
	const char *word = json_string_value(json_object_get(sys, key));

	return word != NULL && strcmp(word, version) == 0;
}

static bool read_seen(const json_t *value, uint64_t *seen)
{
	json_int_t number = json_integer_value(value);

	*seen = (uint64_t)number;
	return json_is_integer(value) && number >= 0;
}

/* Anything else that is called so is the application's own. */
static void read_hello(const json_t *user, struct pomelo_hello *hello)
{
	const json_t *resume = json_object_get(user, "resume");
	const json_t *token = json_object_get(resume, "token");

	*hello = (struct pomelo_hello){.said = false};
	if (json_object_size(resume) == 0) {
		hello->said = json_is_object(resume);
		return;
	}
	if (json_object_size(resume) != 2 || json_string_length(token) == 0 ||
	    !read_seen(json_object_get(resume, "seen"), &hello->seen)) {
		return;
	}
	hello->said = true;
	hello->token_len = json_string_length(token);
	if (hello->token_len > POMELO_TOKEN_MAX) {
		hello->token_len = POMELO_TOKEN_MAX;
	}
	memcpy(hello->token, json_string_value(token), hello->token_len);
}

bool pomelo_seen_read(const uint8_t *body, size_t len, uint64_t *seen)
{
	json_t *message = json_loadb((const char *)body, len, 0, NULL);
	bool good = read_seen(json_object_get(message, "seen"), seen);

	json_decref(message);
	return good;
}

int pomelo_handshake_read(const struct pomelo_settings *s, const uint8_t *body, size_t len,
                          unsigned *has, struct pomelo_hello *hello)
{
	json_t *packet = json_loadb((const char *)body, len, 0, NULL);
	const json_t *sys = json_object_get(packet, "sys");
	int code = POMELO_OK;

	*has = 0;
	read_hello(json_object_get(packet, "user"), hello);
	if (!json_is_object(sys)) {
		code = POMELO_FAILED;
	} else if (!is_taken(s, sys)) {
		code = POMELO_OLD;
	} else {
		if (s->dictionary != NULL &&
		    says(sys, "dictVersion", pomelo_dictionary_version(s->dictionary))) {
			*has |= POMELO_HAS_DICTIONARY;
		}
		if (s->use_protos && says(sys, "protoVersion", s->protos_version)) {
			*has |= POMELO_HAS_PROTOS;
		}
	}
	json_decref(packet);
	return code;
}

/* ---- what it is told ---- */

/* The keys of routes turned to codes, as newer clients want them. */
static json_t *routes_by_code(const struct pomelo_dictionary *d)
{
	json_t *routes = json_object();
	const char *route;

	for (uint16_t code = 1; (route = pomelo_dictionary_route(d, code)) != NULL; code++) {
		char key[8];

		snprintf(key, sizeof(key), "%u", code);
		json_object_set_new(routes, key, json_string(route));
		if (code == UINT16_MAX) {
			break;
		}
	}
	return routes;
}

static void tell_dictionary(const struct pomelo_dictionary *d, bool has, json_t *sys)
{
	json_object_set_new(sys, "useDict", json_true());
	if (!has) {
		json_t *codes = pomelo_dictionary_json(d);

		json_object_set(sys, "dict", codes); /* where older clients look for it */
		json_object_set(sys, "routeToCode", codes);
		json_object_set_new(sys, "codeToRoute", routes_by_code(d));
		json_object_set_new(sys, "dictVersion", json_string(pomelo_dictionary_version(d)));
	}
}

static void tell_protos(const struct pomelo_settings *s, bool has, json_t *sys)
{
	json_object_set_new(sys, "useProto", json_true());
	if (!has) {
		json_object_set_new(sys, "protos",
		                    json_pack("{s:O, s:O, s:s}", "server", s->server.parsed,
		                              "client", s->client.parsed, "version",
		                              s->protos_version));
	}
}

static char *answer_text(const struct pomelo_settings *s, unsigned has)
{
	json_t *sys = json_object();

	if (s->heartbeat != NULL) {
		json_object_set(sys, "heartbeat", s->heartbeat);
	}
	if (s->dictionary != NULL) {
		tell_dictionary(s->dictionary, (has & POMELO_HAS_DICTIONARY) != 0, sys);
	}
	if (s->use_protos) {
		tell_protos(s, (has & POMELO_HAS_PROTOS) != 0, sys);
	}

	json_t *answer = json_pack("{s:i, s:o}", "code", POMELO_OK, "sys", sys);
	char *text = answer != NULL ? json_dumps(answer, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

	json_decref(answer);
	return text;
}

int pomelo_handshake_answers(const struct pomelo_settings *s,
                             struct pomelo_bytes answers[POMELO_ANSWERS], ob_err *err)
{
	for (unsigned has = 0; has < POMELO_ANSWERS; has++) {
		char *text = answer_text(s, has);
		size_t len = text != NULL ? strlen(text) : 0;
		uint8_t head[POMELO_HEAD];

		if (len > POMELO_BODY_MAX) {
			free(text);
			return ob_err_set(err, "dictionary and protos are too long for a package");
		}
		pomelo_package_head(head, POMELO_HANDSHAKE, len);
		pomelo_bytes_begin(&answers[has], POMELO_HEAD + POMELO_BODY_MAX);
		pomelo_bytes_add(&answers[has], head, sizeof(head));
		pomelo_bytes_add(&answers[has], text, len);
		free(text);
		if (len == 0 || answers[has].failed) {
			return ob_err_set(err, "out of memory");
		}
	}
	return 0;
}

size_t pomelo_handshake_with_user(const struct pomelo_bytes *answer, const uint8_t *user,
                                  size_t len, uint8_t *out, size_t cap)
{
	static const char key[] = ",\"user\":";
	size_t front = answer->len - 1; /* all but the last brace */
	size_t total = front + strlen(key) + len + 1;

	if (total > POMELO_HEAD + POMELO_BODY_MAX) {
		return 0;
	}
	if (total > cap) {
		return total;
	}
	pomelo_package_head(out, POMELO_HANDSHAKE, total - POMELO_HEAD);
	memcpy(out + POMELO_HEAD, answer->data + POMELO_HEAD, front - POMELO_HEAD);
	memcpy(out + front, key, strlen(key));
	memcpy(out + front + strlen(key), user, len);
	out[total - 1] = '}';
	return total;
}

char *pomelo_welcome_text(const ob_packet *w)
{
	json_t *resume = json_pack("{s:s%, s:b, s:I}", "session", w->name, w->name_len, "recovered",
	                           w->status == OB_OK, "heard", (json_int_t)w->cookie);
	json_t *user = resume != NULL ? json_pack("{s:O}", "resume", resume) : NULL;
	char *text;

	if (user != NULL && w->len > 0) {
		json_object_set_new(resume, "token", json_stringn((const char *)w->data, w->len));
	}
	if (user != NULL && w->status != OB_OK && w->reason[0] != '\0') {
		json_object_set_new(resume, "reason", json_string(w->reason));
	}
	text = user != NULL ? json_dumps(user, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	json_decref(resume);
	json_decref(user);
	return text;
}

size_t pomelo_handshake_refusal(int code, uint8_t out[32])
{
	char text[28];
	int len = snprintf(text, sizeof(text), "{\"code\":%d}", code);

	pomelo_package_head(out, POMELO_HANDSHAKE, (size_t)len);
	memcpy(out + POMELO_HEAD, text, (size_t)len);
	return POMELO_HEAD + (size_t)len;
}
