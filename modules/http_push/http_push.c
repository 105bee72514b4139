/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module http_push: what other backends (payment, a web site) may do over HTTP.
 *
 * POST /push sends a message to a user, users, a group, a session or all clients of a role; POST
 * /call calls a handler and answers with what it answers.  Whoever presents the module's own token
 * may do both, and nothing else: it is not the administration's.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <obhost/obhost.h>

#define TOKEN_MIN       16
#define BODY_DEFAULT    65536
#define USERS_MAX       4096
#define DEADLINE_MAX_MS 60000
#define JSON_TYPE       "application/json"
#define FORM_TYPE       "application/x-www-form-urlencoded"

static char *token;
static size_t body_max;
static int asked;
static int refused;

/* Why a request fails. */
struct problem {
	int status;
	char text[256];
};

/* The message of a request, to be freed. */
struct message {
	uint32_t id;
	const char *name; /* of the body, or NULL: it goes by the id */
	char *data;
	size_t len;
};

/* How much of a text is at most `max` bytes, and no part of a character. */
static size_t cut(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len <= max) {
		return len;
	}
	for (len = max; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;) {
		len--;
	}
	return len;
}

OB_PRINTF(3, 4)
static int problem_set(struct problem *p, int status, const char *fmt, ...)
{
	char text[sizeof(p->text) + 4]; /* there is a character's end to look for */
	va_list ap;

	p->status = status;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	size_t len = cut(text, sizeof(p->text) - 1);
	memcpy(p->text, text, len);
	p->text[len] = '\0';
	return -1;
}

/* ---------------------------------------------------------------- answers ------------------ */

static const char *word_of(int status)
{
	switch (status) {
	case 400:
		return "bad_request";
	case 401:
		return "unauthorized";
	case 403:
		return "forbidden";
	case 404:
		return "not_found";
	case 405:
		return "method_not_allowed";
	case 413:
		return "too_big";
	case 415:
		return "unsupported_media_type";
	case 500:
		return "failed";
	case 502:
		return "maybe_done";
	case 504:
		return "deadline";
	default:
		return "unavailable";
	}
}

static void answer(ob_ctx *ctx, ob_req req, int status, json_t *body_stolen)
{
	char *text = body_stolen ? json_dumps(body_stolen, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(body_stolen);
	if (!text) {
		ob_fail(ctx, req, OB_E_APP, "out of memory");
		return;
	}
	text[len] = '\n'; /* in the place of the final zero */
	ob_http_reply(ctx, req, status, JSON_TYPE, text, len + 1);
	free(text);
}

static void answer_problem(ob_ctx *ctx, ob_req req, const struct problem *p)
{
	if (p->status == 401) {
		ob_http_set_header(ctx, req, "WWW-Authenticate", "Bearer");
		ob_count(ctx, refused, 1);
	}
	if (p->status == 405) {
		ob_http_set_header(ctx, req, "Allow", "POST");
	}
	const char *word = word_of(p->status);
	json_t *message = json_string(p->text); /* NULL: it is no UTF-8 */
	if (!message) {
		message = json_string(word);
	}
	answer(ctx, req, p->status,
	       json_pack("{s:{s:s, s:o}}", "error", "code", word, "message", message));
}

static int problem_of(ob_ctx *ctx, int code, struct problem *p)
{
	switch (code) {
	case OB_E_INVAL:
		return problem_set(p, 400, "no such name, or none at all");
	case OB_E_STALE:
		return problem_set(p, 404, "this node knows no such session");
	case OB_E_LIMIT:
		return problem_set(p, 413, "too many receivers");
	case OB_E_STATE:
	case OB_E_NOMEM:
		return problem_set(p, 503, "%s", ob_strerror(ctx, code));
	default:
		return problem_set(p, ob_status(ctx, code), "%s", ob_strerror(ctx, code));
	}
}

/* ---------------------------------------------------------------- what is asked for -------- */

static int authenticate(ob_ctx *ctx, ob_req req, struct problem *p)
{
	const char *given = ob_http_header(ctx, req, "Authorization");

	if (given && strncasecmp(given, "Bearer ", 7) == 0) {
		given += 7;
		given += strspn(given, " ");
		if (ob_secret_equal(ctx, token, given) == 1) {
			return 0;
		}
	}
	return problem_set(p, 401, "needs the header Authorization: Bearer TOKEN");
}

static bool is_json(const char *type)
{
	size_t len = type ? strcspn(type, "; ") : 0;

	return !type || (len == strlen(JSON_TYPE) && strncasecmp(type, JSON_TYPE, len) == 0) ||
	       (len == strlen(FORM_TYPE) && strncasecmp(type, FORM_TYPE, len) == 0);
}

/* The body, a new reference; NULL: p says why not. */
static json_t *read_body(ob_ctx *ctx, ob_req req, struct problem *p)
{
	ob_view view = {.size = sizeof(view)};
	json_error_t err;
	int rc = ob_req_view(ctx, req, &view);

	if (rc != 0) {
		problem_set(p, 503, "%s", ob_strerror(ctx, rc));
		return NULL;
	}
	if (!is_json(ob_http_header(ctx, req, "Content-Type"))) {
		problem_set(p, 415, "the body is to be " JSON_TYPE);
		return NULL;
	}
	if (view.len > body_max) {
		problem_set(p, 413, "the body is larger than %zu bytes", body_max);
		return NULL;
	}
	json_t *body = json_loadb((const char *)view.data, view.len, JSON_REJECT_DUPLICATES, &err);
	if (!json_is_object(body)) {
		problem_set(p, 400, "the body is to be a JSON object%s%s", body ? "" : ": ",
		            body ? "" : err.text);
		json_decref(body);
		return NULL;
	}
	return body;
}

/* Only these keys: a misspelt one is no message that went elsewhere. */
static int check_keys(json_t *body, const char *const *known, struct problem *p)
{
	const char *key;
	json_t *value;

	json_object_foreach (body, key, value) {
		size_t i = 0;
		while (known[i] && strcmp(known[i], key) != 0) {
			i++;
		}
		if (!known[i]) {
			return problem_set(p, 400, "unknown key \"%.*s\"", (int)cut(key, 64), key);
		}
	}
	return 0;
}

static int read_id(const json_t *value, uint32_t *id, struct problem *p)
{
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || n < 1 || n > INT32_MAX) {
		return problem_set(p, 400, "\"id\" is a number from 1 to 2147483647");
	}
	*id = (uint32_t)n;
	return 0;
}

/* Which message it is. */
static int read_message(ob_ctx *ctx, const json_t *body, struct message *m, struct problem *p)
{
	const json_t *id = json_object_get(body, "id");
	const json_t *name = json_object_get(body, "name");

	if (!id == !name) {
		return problem_set(p, 400, "one of \"id\" and \"name\" is needed");
	}
	if (id) {
		return read_id(id, &m->id, p);
	}
	m->name = json_string_value(name);
	m->id = m->name ? ob_name_id(ctx, m->name) : 0;
	return m->id != 0 ? 0
	                  : problem_set(p, 400,
	                                "\"name\" is 1 to 255 bytes of text without control "
	                                "characters");
}

static int read_data(const json_t *body, struct message *m, struct problem *p)
{
	const json_t *data = json_object_get(body, "data");

	m->data = data ? json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("{}");
	if (!m->data) {
		return problem_set(p, 503, "out of memory");
	}
	m->len = strlen(m->data);
	return 0;
}

/* ---------------------------------------------------------------- pushes ------------------- */

static int push_users(ob_ctx *ctx, const json_t *list, const struct message *m, struct problem *p)
{
	size_t count = json_array_size(list);
	const char **users = count && count <= USERS_MAX ? calloc(count, sizeof(*users)) : NULL;

	if (!users) {
		return problem_set(p, count ? (count > USERS_MAX ? 413 : 503) : 400,
		                   "\"users\" has 1 to %d names", USERS_MAX);
	}
	for (size_t i = 0; i < count; i++) {
		users[i] = json_string_value(json_array_get(list, i));
		if (!users[i]) {
			free(users);
			return problem_set(p, 400, "\"users\" is a list of names");
		}
	}
	int rc = m->name ? ob_push_users_name(ctx, users, count, m->name, m->data, m->len)
	                 : ob_push_users(ctx, users, count, m->id, m->data, m->len);
	free(users);
	return rc < 0 ? problem_of(ctx, rc, p) : rc;
}

static const char *const targets[] = {"user", "users", "group", "session", "role"};
static const char *const units[] = {"users", "users", "nodes", "sessions", "nodes"};

#define TARGETS (sizeof(targets) / sizeof(targets[0]))

/* How many it is on its way to, or OB_E_*. */
static int push_by_id(ob_ctx *ctx, size_t target, const char *to, const struct message *m)
{
	int rc;

	switch (target) {
	case 0:
		rc = ob_push_user(ctx, to, m->id, m->data, m->len);
		return rc == 0 ? 1 : rc;
	case 2:
		return ob_push_group(ctx, to, m->id, m->data, m->len);
	case 3:
		rc = ob_push(ctx, ob_session_find(ctx, to), m->id, m->data, m->len);
		return rc == 0 ? 1 : rc;
	default:
		return ob_push_all(ctx, ob_role(ctx, to), m->id, m->data, m->len);
	}
}

static int push_named(ob_ctx *ctx, size_t target, const char *to, const struct message *m)
{
	int rc;

	switch (target) {
	case 0:
		rc = ob_push_user_name(ctx, to, m->name, m->data, m->len);
		return rc == 0 ? 1 : rc;
	case 2:
		return ob_push_group_name(ctx, to, m->name, m->data, m->len);
	case 3:
		rc = ob_push_name(ctx, ob_session_find(ctx, to), m->name, m->data, m->len);
		return rc == 0 ? 1 : rc;
	default:
		return ob_push_all_name(ctx, ob_role(ctx, to), m->name, m->data, m->len);
	}
}

/* How many it is on its way to, or -1. */
static int push_to(ob_ctx *ctx, size_t target, const json_t *value, const struct message *m,
                   struct problem *p)
{
	const char *name = json_string_value(value);
	int rc = OB_E_INVAL;

	if (target == 1) {
		return push_users(ctx, value, m, p);
	}
	if (!name || !*name) {
		return problem_set(p, 400, "\"%s\" is a name", targets[target]);
	}
	rc = m->name ? push_named(ctx, target, name, m) : push_by_id(ctx, target, name, m);
	return rc < 0 ? problem_of(ctx, rc, p) : rc;
}

static int find_target(const json_t *body, size_t *target, struct problem *p)
{
	size_t found = 0;

	for (size_t i = 0; i < TARGETS; i++) {
		if (json_object_get(body, targets[i])) {
			*target = i;
			found++;
		}
	}
	return found == 1 ? 0
	                  : problem_set(p, 400,
	                                "one of \"user\", \"users\", \"group\", \"session\" and "
	                                "\"role\" is needed");
}

static int push(ob_ctx *ctx, ob_req req, json_t *body, struct problem *p)
{
	static const char *const known[] = {"user", "users", "group", "session", "role",
	                                    "id",   "name",  "data",  NULL};
	struct message m = {0};
	size_t target = 0;
	int rc = check_keys(body, known, p);

	rc = rc == 0 ? find_target(body, &target, p) : rc;
	rc = rc == 0 ? read_message(ctx, body, &m, p) : rc;
	rc = rc == 0 ? read_data(body, &m, p) : rc;
	if (rc == 0) {
		rc = push_to(ctx, target, json_object_get(body, targets[target]), &m, p);
	}
	free(m.data);
	if (rc >= 0) {
		answer(ctx, req, 200, json_pack("{s:i}", units[target], rc));
	}
	return rc;
}

/* ---------------------------------------------------------------- calls -------------------- */

static void on_result(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	ob_req req = *(const ob_req *)arg;
	struct problem p;

	(void)call;
	if (res->code != OB_OK) {
		problem_set(&p, ob_status(ctx, res->code), "%s", res->text);
		answer_problem(ctx, req, &p);
		return;
	}
	json_t *data = json_loadb((const char *)res->data, res->len, JSON_DECODE_ANY, NULL);
	if (!data) {
		data = json_stringn((const char *)res->data, res->len);
	}
	if (!data) {
		problem_set(&p, 502, "the answer is neither JSON nor text");
		answer_problem(ctx, req, &p);
		return;
	}
	answer(ctx, req, 200, json_pack("{s:o}", "data", data));
}

static int read_call(ob_ctx *ctx, const json_t *body, ob_target *target, ob_call_options *o,
                     struct message *m, struct problem *p)
{
	const json_t *deadline = json_object_get(body, "deadline_ms");
	const json_t *role_word = json_object_get(body, "role");
	const json_t *method = json_object_get(body, "method");
	const char *role = json_string_value(role_word);
	json_int_t ms = json_integer_value(deadline);

	if ((role_word && !role) || (method && !json_is_string(method))) {
		return problem_set(p, 400, "\"role\" and \"method\" are words");
	}
	o->method = json_string_value(method);
	bool is_message = json_object_get(body, "id") || json_object_get(body, "name");
	if (is_message == (o->method != NULL)) {
		return problem_set(p, 400, "one of \"id\", \"name\" and \"method\" is needed");
	}
	if (is_message && read_message(ctx, body, m, p) != 0) {
		return -1;
	}
	o->id = m->id;
	if (deadline && (!json_is_integer(deadline) || ms < 1 || ms > DEADLINE_MAX_MS)) {
		return problem_set(p, 400, "\"deadline_ms\" is a number from 1 to %d",
		                   DEADLINE_MAX_MS);
	}
	o->deadline_ms = (uint32_t)ms;
	if (role ? !*role : !is_message) {
		return problem_set(p, 400, "\"role\" is needed, a word");
	}
	/* Without one: whoever routes it, this node or a route node. */
	target->role = role      ? ob_role(ctx, role)
	               : m->name ? ob_route_name(ctx, m->name, strlen(m->name))
	                         : ob_route_role(ctx, o->id);
	return 0;
}

static int call(ob_ctx *ctx, ob_req req, json_t *body, struct problem *p)
{
	static const char *const known[] = {"id",   "name",        "method", "role",
	                                    "data", "deadline_ms", NULL};
	ob_target target = {0};
	ob_call_options options = {.size = sizeof(options), .keep = &req, .keep_len = sizeof(req)};
	struct message m = {0};
	int rc = check_keys(body, known, p);

	rc = rc == 0 ? read_call(ctx, body, &target, &options, &m, p) : rc;
	rc = rc == 0 ? read_data(body, &m, p) : rc;
	if (rc == 0) {
		options.data = m.data;
		options.len = m.len;
		rc = ob_request_hold(ctx, req);
		rc = rc == 0 ? 0 : problem_of(ctx, rc, p);
	}
	if (rc == 0 && !ob_call_with(ctx, &target, &options, on_result, NULL)) {
		rc = problem_set(p, 503, "too many calls, or a name that is none");
	}
	free(m.data);
	return rc;
}

/* ---------------------------------------------------------------- life --------------------- */

typedef int (*action_fn)(ob_ctx *ctx, ob_req req, json_t *body, struct problem *p);

static void handle(ob_ctx *ctx, ob_req req, action_fn action)
{
	ob_http_info info = {.size = sizeof(info)};
	struct problem p = {.status = 500};
	json_t *body = NULL;
	int rc = ob_http_get(ctx, req, &info);

	ob_count(ctx, asked, 1);
	ob_http_set_header(ctx, req, "Cache-Control", "no-store");
	rc = rc == 0 ? authenticate(ctx, req, &p) : problem_of(ctx, rc, &p);
	if (rc == 0 && strcmp(info.method, "POST") != 0) {
		rc = problem_set(&p, 405, "only POST");
	}
	if (rc == 0) {
		body = read_body(ctx, req, &p);
		rc = body ? action(ctx, req, body, &p) : -1;
	}
	json_decref(body);
	if (rc < 0) {
		answer_problem(ctx, req, &p);
	}
}

static void on_push(ob_ctx *ctx, ob_req req)
{
	handle(ctx, req, push);
}

static void on_call(ob_ctx *ctx, ob_req req)
{
	handle(ctx, req, call);
}

static int check(const json_t *conf, ob_err *err)
{
	const char *text = json_string_value(json_object_get(conf, "token"));
	const json_t *max = json_object_get(conf, "max_body");

	if (!text || strlen(text) < TOKEN_MIN) {
		snprintf(err->text, sizeof(err->text), "token: needs at least %d bytes", TOKEN_MIN);
		return OB_E_INVAL;
	}
	if (max && (!json_is_integer(max) || json_integer_value(max) < 64)) {
		snprintf(err->text, sizeof(err->text), "max_body: bytes, at least 64");
		return OB_E_INVAL;
	}
	return 0;
}

static void stop(ob_ctx *ctx)
{
	(void)ctx;
	free(token);
	token = NULL;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	const char *text = json_string_value(json_object_get(conf, "token"));
	const json_t *max = json_object_get(conf, "max_body");

	asked = ob_counter(ctx, "push_requests", "Requests of other backends over HTTP");
	refused = ob_counter(ctx, "push_refused", "Those answered 401");
	body_max = max ? (size_t)json_integer_value(max) : BODY_DEFAULT;
	token = text ? strdup(text) : NULL;
	if (asked < 0 || refused < 0 || !token) {
		stop(ctx);
		return asked < 0 ? asked : refused < 0 ? refused : OB_E_NOMEM;
	}
	int rc = ob_on_http(ctx, "*", "/push", on_push, 0);
	rc = rc == 0 ? ob_on_http(ctx, "*", "/call", on_call, 0) : rc;
	if (rc != 0) {
		stop(ctx);
	}
	return rc;
}

OB_MODULE(http_push, .version = "1.0.0", .check = check, .start = start, .stop = stop);
