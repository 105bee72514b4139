/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOGIN_FIELD "token"

typedef int (*member_fn)(struct settings *s, const json_t *value, ob_err *err);

struct member {
	const char *name;
	member_fn read;
};

/* Each member of an object by its reader; others are refused. */
static int read_members(struct settings *s, const json_t *object, const struct member *members,
                        const char *where, ob_err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object)) {
		return ob_err_set(err, "%s: must be an object", where);
	}
	json_object_foreach ((json_t *)object, key, value) {
		const struct member *m = members;

		while (m->name && strcmp(m->name, key) != 0) {
			m++;
		}
		if (!m->name) {
			return ob_err_set(err, "%s%s%.100s: unknown key", where, *where ? "." : "",
			                  key);
		}
		int rc = m->read(s, value, err);
		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

static int read_text(const json_t *value, const char *where, char **out, ob_err *err)
{
	const char *text = json_string_value(value);

	if (!text || !*text || json_string_length(value) > WEBTOKEN_NAMES ||
	    strlen(text) != json_string_length(value)) {
		return ob_err_set(err, "%s: must be a text of 1 to %u bytes", where,
		                  WEBTOKEN_NAMES);
	}
	free(*out);
	*out = strdup(text);
	return *out ? 0 : ob_err_set(err, "out of memory");
}

static int read_number(const json_t *value, const char *where, json_int_t least, json_int_t most,
                       json_int_t *out, ob_err *err)
{
	*out = json_integer_value(value);
	if (!json_is_integer(value) || *out < least || *out > most) {
		return ob_err_set(err, "%s: must be a number from %lld to %lld", where,
		                  (long long)least, (long long)most);
	}
	return 0;
}

/* ---------------------------------------------------------------- secrets and files -------- */

static int read_file(const char *path, const char *where, struct secret *out, ob_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *data = fd >= 0 ? calloc(1, KEY_FILE_MAX + 1) : NULL;
	ssize_t n = data ? read(fd, data, KEY_FILE_MAX + 1) : -1;
	int code = errno;

	if (fd >= 0) {
		close(fd);
	}
	if (n < 0 || n > (ssize_t)KEY_FILE_MAX) {
		free(data);
		return ob_err_set(err, "%s: %.120s: %s", where, path,
		                  n < 0 ? strerror(code) : "too big for a key");
	}
	data[n] = '\0';
	*out = (struct secret){data, (size_t)n};
	return 0;
}

/* A text, or {"file": PATH}, whose final newline is not part of it. */
static int read_secret(const json_t *value, const char *where, struct secret *out, ob_err *err)
{
	const char *path = json_string_value(json_object_get(value, "file"));

	if (path) {
		int rc = json_object_size(value) == 1
		                 ? read_file(path, where, out, err)
		                 : ob_err_set(err, "%s: must be a text or {\"file\": PATH}", where);
		if (rc == 0 && out->len > 0 && out->data[out->len - 1] == '\n') {
			out->data[--out->len] = '\0';
		}
		return rc;
	}
	if (!json_is_string(value)) {
		return ob_err_set(err, "%s: must be a text or {\"file\": PATH}", where);
	}
	out->len = json_string_length(value);
	out->data = malloc(out->len + 1);
	if (!out->data) {
		return ob_err_set(err, "out of memory");
	}
	memcpy(out->data, json_string_value(value), out->len + 1);
	return 0;
}

/* ---------------------------------------------------------------- hmac --------------------- */

static int read_hmac_keys(struct settings *s, const json_t *list, ob_err *err)
{
	if (json_array_size(list) < 1 || json_array_size(list) > HMAC_KEYS) {
		return ob_err_set(err, "hmac.keys: must be a list of 1 or 2 {\"secret\": ...}");
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *key = json_array_get(list, i);
		char where[64];

		snprintf(where, sizeof(where), "hmac.keys[%zu].secret", i);
		if (json_object_size(key) != 1 || !json_object_get(key, "secret")) {
			return ob_err_set(err, "hmac.keys[%zu]: must be {\"secret\": ...}", i);
		}
		struct secret *to = &s->hmac[s->hmac_count++];
		int rc = read_secret(json_object_get(key, "secret"), where, to, err);
		if (rc < 0) {
			return rc;
		}
		if (to->len < SECRET_MIN) {
			return ob_err_set(err, "%s: must have at least %u bytes", where,
			                  SECRET_MIN);
		}
	}
	return 0;
}

static int read_hmac(struct settings *s, const json_t *value, ob_err *err)
{
	static const struct member members[] = {{"keys", read_hmac_keys}, {NULL, NULL}};
	int rc = read_members(s, value, members, "hmac", err);

	return rc == 0 && s->hmac_count == 0 ? ob_err_set(err, "hmac.keys: is missing") : rc;
}

/* ---------------------------------------------------------------- jwt ---------------------- */

static int check_key_members(const json_t *key, size_t i, ob_err *err)
{
	static const char *const known[] = {"alg", "id", "secret", "file", NULL};
	const char *name;
	json_t *value;

	if (!json_is_object(key)) {
		return ob_err_set(err, "jwt.keys[%zu]: must be an object", i);
	}
	json_object_foreach ((json_t *)key, name, value) {
		size_t k = 0;

		while (known[k] && strcmp(known[k], name) != 0) {
			k++;
		}
		if (!known[k]) {
			return ob_err_set(err, "jwt.keys[%zu].%.100s: unknown key", i, name);
		}
	}
	if (!json_object_get(key, "secret") == !json_object_get(key, "file")) {
		return ob_err_set(err, "jwt.keys[%zu]: needs \"secret\" or \"file\"", i);
	}
	return 0;
}

static int read_jwt_key(struct webtoken_key *to, const json_t *key, size_t i, ob_err *err)
{
	char where[64];
	struct secret data = {NULL, 0};
	int rc = check_key_members(key, i, err);

	if (rc < 0) {
		return rc;
	}
	to->alg = webtoken_alg(json_string_value(json_object_get(key, "alg")));
	if (!to->alg) {
		return ob_err_set(err,
		                  "jwt.keys[%zu].alg: must be HS256, HS384, HS512, RS256, "
		                  "RS384, RS512, ES256, ES384 or ES512",
		                  i);
	}
	snprintf(where, sizeof(where), "jwt.keys[%zu].id", i);
	if (json_object_get(key, "id") &&
	    read_text(json_object_get(key, "id"), where, &to->id, err) < 0) {
		return OB_E_INVAL;
	}
	const json_t *file = json_object_get(key, "file");
	snprintf(where, sizeof(where), "jwt.keys[%zu]", i);
	if (file && !json_is_string(file)) {
		return ob_err_set(err, "%s.file: must be a path", where);
	}
	rc = file ? read_file(json_string_value(file), where, &data, err)
	          : read_secret(json_object_get(key, "secret"), where, &data, err);
	to->data = data.data;
	to->len = data.len;
	if (rc < 0) {
		return rc;
	}
	const char *problem = webtoken_key_problem(to->alg, to->data, to->len);
	return problem ? ob_err_set(err, "%s: %s", where, problem) : 0;
}

static int read_jwt_keys(struct settings *s, const json_t *list, ob_err *err)
{
	if (json_array_size(list) < 1 || json_array_size(list) > WEBTOKEN_KEYS) {
		return ob_err_set(err, "jwt.keys: must be a list of 1 to %u keys", WEBTOKEN_KEYS);
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		int rc = read_jwt_key(&s->jwt.keys[s->jwt.key_count++], json_array_get(list, i), i,
		                      err);
		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

static int read_jwt_algorithms(struct settings *s, const json_t *list, ob_err *err)
{
	(void)s;
	if (json_array_size(list) < 1) {
		return ob_err_set(err, "jwt.algorithms: must be a list of names");
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (!webtoken_alg(json_string_value(json_array_get(list, i)))) {
			return ob_err_set(err, "jwt.algorithms[%zu]: is no algorithm that is taken",
			                  i);
		}
	}
	return 0;
}

/* The list is what tokens may use: a key for anything else is a mistake. */
static int check_allowed(const struct settings *s, const json_t *list, ob_err *err)
{
	for (size_t k = 0; list && k < s->jwt.key_count; k++) {
		size_t i = 0;

		while (i < json_array_size(list) &&
		       strcmp(json_string_value(json_array_get(list, i)), s->jwt.keys[k].alg) !=
		               0) {
			i++;
		}
		if (i == json_array_size(list)) {
			return ob_err_set(err, "jwt.keys[%zu].alg: is not among jwt.algorithms", k);
		}
	}
	return 0;
}

static int read_jwt_issuer(struct settings *s, const json_t *value, ob_err *err)
{
	return read_text(value, "jwt.issuer", &s->jwt.issuer, err);
}

static int read_jwt_audience(struct settings *s, const json_t *value, ob_err *err)
{
	return read_text(value, "jwt.audience", &s->jwt.audience, err);
}

static int read_jwt_user(struct settings *s, const json_t *value, ob_err *err)
{
	return read_text(value, "jwt.user", &s->jwt.user, err);
}

static int read_jwt_claims(struct settings *s, const json_t *value, ob_err *err)
{
	const char *name;
	json_t *attr;

	if (!json_is_object(value) || json_object_size(value) > CLAIMS_MAX) {
		return ob_err_set(err, "jwt.claims: must be an object of at most %u claims",
		                  CLAIMS_MAX);
	}
	json_object_foreach ((json_t *)value, name, attr) {
		struct claim *to = &s->claims[s->claim_count++];
		char where[128];

		snprintf(where, sizeof(where), "jwt.claims.%.100s", name);
		to->name = strdup(name);
		if (!to->name || read_text(attr, where, &to->attr, err) < 0) {
			return to->name ? OB_E_INVAL : ob_err_set(err, "out of memory");
		}
		if (strcmp(to->attr, AUTH_ATTR) == 0) {
			return ob_err_set(err,
			                  "%s: the attribute \"" AUTH_ATTR "\" is the module's own",
			                  where);
		}
	}
	return 0;
}

static int read_jwt(struct settings *s, const json_t *value, ob_err *err)
{
	static const struct member members[] = {
		{"algorithms", read_jwt_algorithms},
		{"keys", read_jwt_keys},
		{"issuer", read_jwt_issuer},
		{"audience", read_jwt_audience},
		{"user", read_jwt_user},
		{"claims", read_jwt_claims},
		{NULL, NULL},
	};

	if (!webtoken_built()) {
		return ob_err_set(err, "jwt: this build of the module has no JWT (configure found "
		                       "no libjwt)");
	}
	int rc = read_members(s, value, members, "jwt", err);
	if (rc == 0 && s->jwt.key_count == 0) {
		return ob_err_set(err, "jwt.keys: is missing");
	}
	return rc == 0 ? check_allowed(s, json_object_get(value, "algorithms"), err) : rc;
}

/* ---------------------------------------------------------------- the rest ----------------- */

static int read_login(struct settings *s, const json_t *value, ob_err *err)
{
	json_int_t id;

	if (json_is_string(value)) {
		return read_text(value, "login", &s->login_name, err);
	}
	int rc = read_number(value, "login", 1, INT32_MAX, &id, err);
	s->login_id = (uint32_t)id;
	return rc;
}

static int read_open_item(struct open_ids *to, const json_t *item, size_t i, ob_err *err)
{
	char where[64];
	json_int_t lo;
	json_int_t hi;

	snprintf(where, sizeof(where), "open[%zu]", i);
	if (json_is_string(item)) {
		return read_text(item, where, &to->name, err);
	}
	bool pair = json_array_size(item) == 2;
	int rc = read_number(pair ? json_array_get(item, 0) : item, where, 1, INT32_MAX, &lo, err);
	if (rc == 0) {
		rc = read_number(pair ? json_array_get(item, 1) : item, where, lo, INT32_MAX, &hi,
		                 err);
	}
	if (rc == 0) {
		to->lo = (uint32_t)lo;
		to->hi = (uint32_t)hi;
	}
	return rc;
}

static int read_open(struct settings *s, const json_t *list, ob_err *err)
{
	if (!json_is_array(list) || json_array_size(list) > OPEN_MAX) {
		return ob_err_set(err, "open: must be a list of at most %u ids, [lo, hi] or names",
		                  OPEN_MAX);
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		int rc = read_open_item(&s->open[s->open_count++], json_array_get(list, i), i, err);

		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

static int read_field(struct settings *s, const json_t *value, ob_err *err)
{
	return read_text(value, "field", &s->field, err);
}

static int read_bind(struct settings *s, const json_t *value, ob_err *err)
{
	s->bind = json_is_true(value);
	return json_is_boolean(value) ? 0 : ob_err_set(err, "bind: must be true or false");
}

static int read_deadline(struct settings *s, const json_t *value, ob_err *err)
{
	double seconds = json_number_value(value);

	if (!json_is_number(value) || !(seconds >= 0 && seconds <= 3600)) {
		return ob_err_set(err, "deadline: must be a number of seconds, 0 to 3600");
	}
	s->deadline_ms = (uint32_t)(seconds * 1000);
	return 0;
}

static int read_attempts(struct settings *s, const json_t *value, ob_err *err)
{
	json_int_t n;
	int rc = read_number(value, "attempts", 0, 1000, &n, err);

	s->attempts = (uint32_t)n;
	return rc;
}

static int read_skew(struct settings *s, const json_t *value, ob_err *err)
{
	json_int_t n;
	int rc = read_number(value, "skew", 0, 3600, &n, err);

	s->skew = n;
	return rc;
}

static int read_max_token(struct settings *s, const json_t *value, ob_err *err)
{
	json_int_t n;
	int rc = read_number(value, "max_token", 64, 65536, &n, err);

	s->max_token = (size_t)n;
	return rc;
}

int settings_read(struct settings *s, const json_t *conf, ob_err *err)
{
	static const struct member members[] = {
		{"login", read_login},
		{"field", read_field},
		{"bind", read_bind},
		{"open", read_open},
		{"deadline", read_deadline},
		{"attempts", read_attempts},
		{"skew", read_skew},
		{"hmac", read_hmac},
		{"jwt", read_jwt},
		{"max_token", read_max_token},
		{NULL, NULL},
	};

	*s = (struct settings){
		.bind = true, .deadline_ms = 10000, .attempts = 3, .skew = 30, .max_token = 8192};
	s->field = strdup(LOGIN_FIELD);
	s->jwt.user = strdup("sub");
	if (!s->field || !s->jwt.user) {
		return ob_err_set(err, "out of memory");
	}
	int rc = read_members(s, conf, members, "", err);
	if (rc < 0) {
		return rc;
	}
	if (!s->login_id && !s->login_name) {
		return ob_err_set(err, "login: is missing (the id or name of the login message)");
	}
	if (s->hmac_count == 0 && s->jwt.key_count == 0) {
		return ob_err_set(err, "needs \"hmac\" or \"jwt\", or nobody could log in");
	}
	return 0;
}

static void wipe(char *data, size_t len)
{
	if (data) {
		explicit_bzero(data, len);
	}
	free(data);
}

void settings_free(struct settings *s)
{
	for (size_t i = 0; i < s->open_count; i++) {
		free(s->open[i].name);
	}
	for (size_t i = 0; i < s->hmac_count; i++) {
		wipe(s->hmac[i].data, s->hmac[i].len);
	}
	for (size_t i = 0; i < s->jwt.key_count; i++) {
		free(s->jwt.keys[i].id);
		wipe(s->jwt.keys[i].data, s->jwt.keys[i].len);
	}
	for (size_t i = 0; i < s->claim_count; i++) {
		free(s->claims[i].name);
		free(s->claims[i].attr);
	}
	free(s->login_name);
	free(s->field);
	free(s->jwt.issuer);
	free(s->jwt.audience);
	free(s->jwt.user);
	*s = (struct settings){0};
}
