/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "package.h"

#define HANDSHAKE_S 10
#define MAX_PACKAGE 65536
#define SECONDS_MAX 86400.0

static const char *const keys[] = {
	"clients",   "dictionary",  "errors", "handlers",         "handshake", "handshake_timeout",
	"heartbeat", "max_package", "protos", "strict_heartbeat", "timeout",
};

static int check_keys(const json_t *conf, ob_err *err)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)conf, key, value) {
		bool known = false;

		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
			known = known || strcmp(key, keys[i]) == 0;
		}
		if (!known) {
			return ob_err_set(err, "%.100s: there is no such key", key);
		}
	}
	return 0;
}

/* A text is the path of a file with the value: it is put in its place. */
static int load_file(json_t *object, const char *key, ob_err *err)
{
	const char *path = json_string_value(json_object_get(object, key));
	json_error_t why;

	if (path == NULL) {
		return 0;
	}

	json_t *value = json_load_file(path, JSON_REJECT_DUPLICATES, &why);

	if (value == NULL) {
		return ob_err_set(err, "%s: %.100s, line %d: %.100s", key, path, why.line,
		                  why.text);
	}
	return json_object_set_new(object, key, value) == 0 ? 0 : ob_err_set(err, "out of memory");
}

/* Seconds, more than 0; `ms` stays as it is without them. */
static int read_seconds(const json_t *conf, const char *key, uint32_t *ms, ob_err *err)
{
	const json_t *value = json_object_get(conf, key);
	double seconds = json_number_value(value);

	if (value == NULL) {
		return 0;
	}
	if (!json_is_number(value) || seconds < 0.001 || seconds > SECONDS_MAX) {
		return ob_err_set(err, "%s: must be a number of seconds, up to %.0f", key,
		                  SECONDS_MAX);
	}
	*ms = (uint32_t)(seconds * 1000);
	return 0;
}

static int read_times(struct pomelo_settings *s, ob_err *err)
{
	json_t *beat = json_object_get(s->conf, "heartbeat");
	const json_t *strict = json_object_get(s->conf, "strict_heartbeat");
	uint32_t beat_ms = 0;
	bool none = beat == NULL || (json_is_number(beat) && json_number_value(beat) == 0);
	int rc = none ? 0 : read_seconds(s->conf, "heartbeat", &beat_ms, err);

	s->heartbeat = none ? NULL : beat;
	s->timeout_ms = 2 * beat_ms;
	s->handshake_ms = HANDSHAKE_S * 1000;
	if (rc == 0) {
		rc = read_seconds(s->conf, "timeout", &s->timeout_ms, err);
	}
	if (rc == 0) {
		rc = read_seconds(s->conf, "handshake_timeout", &s->handshake_ms, err);
	}
	if (rc != 0) {
		return rc;
	}
	if (none && json_object_get(s->conf, "timeout") != NULL) {
		return ob_err_set(err, "timeout: needs a heartbeat");
	}
	if (!none && s->timeout_ms <= beat_ms) {
		return ob_err_set(err, "timeout: must be longer than heartbeat");
	}
	if (strict != NULL && !json_is_boolean(strict)) {
		return ob_err_set(err, "strict_heartbeat: must be true or false");
	}
	s->strict_heartbeat = strict == NULL || json_is_true(strict);
	return 0;
}

static bool all_texts(const json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		if (!json_is_string(value)) {
			return false;
		}
	}
	return json_object_size(object) > 0;
}

static int read_words(struct pomelo_settings *s, ob_err *err)
{
	const json_t *handshake = json_object_get(s->conf, "handshake");
	const json_t *errors = json_object_get(s->conf, "errors");
	const char *word = json_string_value(errors);
	const json_t *max = json_object_get(s->conf, "max_package");
	json_int_t bytes = max != NULL ? json_integer_value(max) : MAX_PACKAGE;

	s->handshake = json_string_value(handshake);
	if (handshake != NULL &&
	    (s->handshake == NULL || *s->handshake == '\0' || strlen(s->handshake) > 255)) {
		return ob_err_set(err, "handshake: must be a name of 1 to 255 bytes");
	}
	if (errors != NULL &&
	    (word == NULL || (strcmp(word, "pomelo") != 0 && strcmp(word, "host") != 0))) {
		return ob_err_set(err, "errors: must be \"pomelo\" or \"host\"");
	}
	s->host_codes = word != NULL && strcmp(word, "host") == 0;
	if (bytes < 64 || bytes > POMELO_HEAD + POMELO_BODY_MAX) {
		return ob_err_set(err, "max_package: must be a number of bytes, 64 to %u",
		                  POMELO_HEAD + POMELO_BODY_MAX);
	}
	s->max_package = (uint32_t)bytes;
	s->clients = json_object_get(s->conf, "clients");
	if (s->clients != NULL && !all_texts(s->clients)) {
		return ob_err_set(err, "clients: must be an object, {\"TYPE\": \"least version\"}");
	}
	return 0;
}

static int read_dictionary(struct pomelo_settings *s, ob_err *err)
{
	int rc = load_file(s->conf, "handlers", err);

	if (rc == 0) {
		rc = load_file(s->conf, "dictionary", err);
	}
	return rc != 0 ? rc
	               : pomelo_dictionary_new(&s->dictionary, json_object_get(s->conf, "handlers"),
	                                       json_object_get(s->conf, "dictionary"), err);
}

/* base64(md5(JSON of the client's, then of the server's)) */
static int make_version(struct pomelo_settings *s, ob_err *err)
{
	const json_t *const sides[] = {s->client.parsed, s->server.parsed};
	struct pomelo_bytes both = {0};

	pomelo_bytes_begin(&both, SIZE_MAX / 4);
	for (int i = 0; i < 2; i++) {
		char *text = json_dumps(sides[i], JSON_COMPACT);

		pomelo_bytes_add(&both, text, text != NULL ? strlen(text) : 0);
		both.failed = both.failed || text == NULL;
		free(text);
	}
	if (!both.failed) {
		pomelo_version(both.data, both.len, s->protos_version);
	}

	int rc = both.failed ? ob_err_set(err, "out of memory") : 0;

	pomelo_bytes_free(&both);
	return rc;
}

static int read_protos(struct pomelo_settings *s, ob_err *err)
{
	json_t *protos = json_object_get(s->conf, "protos");
	static const char *const sides[] = {"server", "client"};
	int rc = 0;

	if (protos == NULL) {
		return 0;
	}
	if (!json_is_object(protos)) {
		return ob_err_set(err, "protos: must be {\"server\": ..., \"client\": ...}");
	}
	for (int i = 0; i < 2 && rc == 0; i++) {
		if (json_object_get(protos, sides[i]) == NULL &&
		    json_object_set_new(protos, sides[i], json_object()) != 0) {
			return ob_err_set(err, "out of memory");
		}
		rc = load_file(protos, sides[i], err);
	}
	if (rc == 0) {
		rc = pomelo_protos_read(&s->server, "protos.server",
		                        json_object_get(protos, "server"), err);
	}
	if (rc == 0) {
		rc = pomelo_protos_read(&s->client, "protos.client",
		                        json_object_get(protos, "client"), err);
	}
	s->use_protos = true;
	return rc == 0 ? make_version(s, err) : rc;
}

static void make_forms(struct pomelo_settings *s)
{
	char both[2 * POMELO_VERSION_SIZE];
	uint8_t sum[16];
	int len = snprintf(both, sizeof(both), "%s%s",
	                   s->dictionary != NULL ? pomelo_dictionary_version(s->dictionary) : "",
	                   s->protos_version);

	pomelo_md5(both, (size_t)len, sum);
	memcpy(&s->forms, sum, sizeof(s->forms));
}

int pomelo_settings_read(struct pomelo_settings *s, const json_t *conf, ob_err *err)
{
	s->conf = conf != NULL ? json_deep_copy(conf) : json_object();
	if (s->conf == NULL) {
		return ob_err_set(err, "out of memory");
	}

	int rc = check_keys(s->conf, err);

	rc = rc == 0 ? read_times(s, err) : rc;
	rc = rc == 0 ? read_words(s, err) : rc;
	rc = rc == 0 ? read_dictionary(s, err) : rc;
	rc = rc == 0 ? read_protos(s, err) : rc;
	if (rc == 0) {
		make_forms(s);
	}
	return rc;
}

void pomelo_settings_free(struct pomelo_settings *s)
{
	pomelo_dictionary_free(s->dictionary);
	pomelo_protos_free(&s->server);
	pomelo_protos_free(&s->client);
	json_decref(s->conf);
	*s = (struct pomelo_settings){0};
}
