/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module http_admin: the administrative verbs over HTTP.
 *
 * The host has the verbs and says under which method and path each one goes; this file proves who
 * asks, turns the request into a verb's arguments, and the verb's reply into an answer.
 *
 * Who may ask: with http.token set, whoever presents it as "Authorization: Bearer TOKEN".  Without,
 * only this machine (a loopback peer or a unix socket), and only under a Host that means this
 * machine, so that no web page reaches us through a name of its own.  A browser on a foreign page
 * is refused in any case.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <obhost/obhost.h>

#define ALLOW_MAX 128
#define JSON_TYPE "application/json"
#define TEXT_TYPE "text/plain; version=0.0.4"
#define FORM_TYPE "application/x-www-form-urlencoded"

static json_t *verbs; /* the host's list: [{"verb", "method", "path", ...}] */
static int asked;
static int refused;

/* Why a request gets no verb. */
struct problem {
	int status;
	char text[256];
};

/* A request whose verb is at work. */
struct pending {
	ob_req req;
	bool write;
	char verb[64];
};

OB_PRINTF(3, 4)
static int problem_set(struct problem *p, int status, const char *fmt, ...)
{
	va_list ap;

	p->status = status;
	va_start(ap, fmt);
	vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
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
	case 415:
		return "unsupported_media_type";
	case 503:
		return "unavailable";
	default:
		return "internal";
	}
}

static int answer_json(ob_ctx *ctx, ob_req req, int status, const json_t *body)
{
	char *text = json_dumps(body, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	size_t len = text ? strlen(text) : 0;

	/* The place of the final zero takes the line's end. */
	if (text) {
		text[len] = '\n';
	}

	int rc = text ? ob_http_reply(ctx, req, status, JSON_TYPE, text, len + 1)
	              : ob_fail(ctx, req, OB_E_APP, "out of memory");

	free(text);
	return rc;
}

static void answer_problem(ob_ctx *ctx, ob_req req, const struct problem *p)
{
	json_t *body = json_pack("{s:{s:s, s:s}}", "error", "code", word_of(p->status), "message",
	                         p->text);

	if (p->status == 401) {
		ob_http_set_header(ctx, req, "WWW-Authenticate", "Bearer");
	}
	if (p->status == 401 || p->status == 403) {
		ob_count(ctx, refused, 1);
	}
	answer_json(ctx, req, p->status, body);
	json_decref(body);
}

/* ---------------------------------------------------------------- who asks ----------------- */

/* True for localhost, 127.0.0.1 and [::1], with any port. */
static bool host_is_local(const char *host)
{
	static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

	for (size_t i = 0; host && i < sizeof(names) / sizeof(names[0]); i++) {
		size_t len = strlen(names[i]);

		if (strncasecmp(host, names[i], len) != 0) {
			continue;
		}

		const char *rest = host + len;

		if (!*rest ||
		    (*rest == ':' && strspn(rest + 1, "0123456789") == strlen(rest + 1))) {
			return true;
		}
	}
	return false;
}

static bool origin_is_ours(const char *origin, const char *host)
{
	const char *rest = NULL;

	if (strncasecmp(origin, "http://", 7) == 0) {
		rest = origin + 7;
	} else if (strncasecmp(origin, "https://", 8) == 0) {
		rest = origin + 8;
	}
	return rest && host && strcasecmp(rest, host) == 0;
}

static int check_browser(ob_ctx *ctx, ob_req req, struct problem *p)
{
	const char *origin = ob_http_header(ctx, req, "Origin");
	const char *site = ob_http_header(ctx, req, "Sec-Fetch-Site");

	if (origin && !origin_is_ours(origin, ob_http_header(ctx, req, "Host"))) {
		return problem_set(p, 403, "requests from pages of another origin are refused");
	}
	if (site && strcasecmp(site, "same-origin") != 0 && strcasecmp(site, "none") != 0) {
		return problem_set(p, 403, "requests from pages of another site are refused");
	}
	return 0;
}

static int check_local(ob_ctx *ctx, ob_req req, const ob_http_info *info, struct problem *p)
{
	if (!info->loopback && !info->unix_socket) {
		return problem_set(p, 403,
		                   "no http.token is set: only this machine may administrate");
	}
	if (!host_is_local(ob_http_header(ctx, req, "Host"))) {
		return problem_set(p, 403,
		                   "no http.token is set: the Host must be localhost, 127.0.0.1 or "
		                   "[::1]");
	}
	return 0;
}

/* The token of "Authorization: Bearer TOKEN", "" if there is none. */
static const char *bearer(ob_ctx *ctx, ob_req req)
{
	const char *given = ob_http_header(ctx, req, "Authorization");

	if (!given || strncasecmp(given, "Bearer ", 7) != 0) {
		return "";
	}
	given += 7;
	return given + strspn(given, " ");
}

static int authenticate(ob_ctx *ctx, ob_req req, const ob_http_info *info, struct problem *p)
{
	int rc = check_browser(ctx, req, p);

	if (rc < 0) {
		return rc;
	}
	rc = ob_secret_check(ctx, "http.token", bearer(ctx, req));
	if (rc == OB_E_NOT_FOUND) {
		return check_local(ctx, req, info, p);
	}
	if (rc == 0) {
		return problem_set(p, 401, "needs the header Authorization: Bearer TOKEN");
	}
	if (rc < 0) {
		return problem_set(p, 500, "http.token can't be checked: %s", ob_strerror(ctx, rc));
	}
	return 0;
}

/* ---------------------------------------------------------------- which verb --------------- */

static const char *member(const json_t *verb, const char *key)
{
	const char *text = json_string_value(json_object_get(verb, key));

	return text ? text : "";
}

/* What of `path` a pattern's "*", one whole segment, stands for; "" for an exact match (then *len
 * is 0), NULL for none. */
static const char *match(const char *pattern, const char *path, size_t *len)
{
	const char *star = strchr(pattern, '*');
	size_t before = star ? (size_t)(star - pattern) : 0;

	*len = 0;
	if (!star) {
		return strcmp(pattern, path) == 0 ? "" : NULL;
	}
	if (strncmp(pattern, path, before) != 0) {
		return NULL;
	}
	*len = strcspn(path + before, "/");
	return *len && strcmp(path + before + *len, star + 1) == 0 ? path + before : NULL;
}

/* The pattern a path falls under: an exact one, else one with a star; NULL for none. */
static const char *pattern_of(const char *path)
{
	const char *best = NULL;
	size_t i;
	const json_t *verb;

	json_array_foreach (verbs, i, verb) {
		const char *pattern = member(verb, "path");
		size_t len;

		if (!match(pattern, path, &len)) {
			continue;
		}
		if (!len) {
			return pattern;
		}
		best = pattern;
	}
	return best;
}

static bool same_method(const char *asked_for, const char *offered)
{
	return strcmp(asked_for, offered) == 0 ||
	       (strcmp(asked_for, "HEAD") == 0 && strcmp(offered, "GET") == 0);
}

/* The verb of a path and method, or NULL; then `allow` has the methods there are, if any. */
static const json_t *find_verb(const char *path, const char *method, char *allow, size_t cap)
{
	const char *pattern = pattern_of(path);
	size_t used = 0;
	size_t i;
	const json_t *verb;

	allow[0] = '\0';
	json_array_foreach (verbs, i, verb) {
		const char *offered = member(verb, "method");

		if (!pattern || strcmp(member(verb, "path"), pattern) != 0) {
			continue;
		}
		if (same_method(method, offered)) {
			return verb;
		}
		if (used + strlen(offered) + 3 <= cap) {
			used += (size_t)snprintf(allow + used, cap - used, "%s%s", used ? ", " : "",
			                         offered);
		}
	}
	return NULL;
}

static int no_verb(ob_ctx *ctx, ob_req req, const char *allow, struct problem *p)
{
	if (!*allow) {
		return problem_set(p, 404, "no such path");
	}
	ob_http_set_header(ctx, req, "Allow", allow);
	return problem_set(p, 405, "this path takes %s", allow);
}

/* ---------------------------------------------------------------- its arguments ------------ */

static int hex(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	if (c >= 'a' && c <= 'f') {
		return c - 'a' + 10;
	}
	if (c >= 'A' && c <= 'F') {
		return c - 'A' + 10;
	}
	return -1;
}

/* Decodes a part of a query in place: %XX and '+'.  False for a bad escape or a zero byte. */
static bool decode(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		char c = *from;

		if (c == '+') {
			c = ' ';
		} else if (c == '%') {
			int high = hex(from[1]);
			int low = high < 0 ? -1 : hex(from[2]);

			if (low < 0 || high + low == 0) {
				return false;
			}
			c = (char)(high * 16 + low);
			from += 2;
		}
		*to++ = c;
	}
	*to = '\0';
	return true;
}

static int add_parameter(json_t *args, char *pair, struct problem *p)
{
	char *value = strchr(pair, '=');

	if (value) {
		*value++ = '\0';
	}
	if (!decode(pair) || (value && !decode(value))) {
		return problem_set(p, 400, "the query has a bad %% escape");
	}
	if (json_object_get(args, pair)) {
		return problem_set(p, 400, "the query has a parameter twice");
	}
	if (json_object_set_new(args, pair, json_string(value ? value : "")) < 0) {
		return problem_set(p, 400, "the query is not UTF-8");
	}
	return 0;
}

static int read_query(json_t *args, const char *query, struct problem *p)
{
	char *copy = strdup(query);
	char *rest = NULL;
	int rc = copy ? 0 : problem_set(p, 503, "out of memory");

	for (char *pair = copy ? strtok_r(copy, "&", &rest) : NULL; pair && rc == 0;
	     pair = strtok_r(NULL, "&", &rest)) {
		rc = add_parameter(args, pair, p);
	}
	free(copy);
	return rc;
}

static bool type_is(const char *given, const char *type)
{
	size_t len = strlen(type);

	return strncasecmp(given, type, len) == 0 && (!given[len] || strchr("; \t", given[len]));
}

/* No type, or JSON, or what curl -d says by itself; a page's form can't send either of the first
 * two, and what it sends as the third never parses as JSON. */
static int read_body(json_t *args, const ob_view *view, const char *type, struct problem *p)
{
	if (type && !type_is(type, JSON_TYPE) && !type_is(type, FORM_TYPE)) {
		return problem_set(p, 415, "the body's Content-Type must be " JSON_TYPE);
	}

	json_error_t error;
	json_t *body = json_loadb((const char *)view->data, view->len,
	                          JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	int rc = 0;

	if (!body) {
		rc = problem_set(p, 400, "the body is not JSON: line %d, column %d", error.line,
		                 error.column);
	} else if (!json_is_object(body)) {
		rc = problem_set(p, 400, "the body must be a JSON object");
	} else if (json_object_update(args, body) < 0) {
		rc = problem_set(p, 503, "out of memory");
	}
	json_decref(body);
	return rc;
}

static int read_tail(json_t *args, const json_t *verb, const char *path, struct problem *p)
{
	const char *key = member(verb, "tail");
	size_t len;
	const char *tail = match(member(verb, "path"), path, &len);

	if (!*key || !tail || !len) {
		return 0;
	}
	if (json_object_get(args, key)) {
		return problem_set(p, 400, "%.60s is in the path already", key);
	}
	if (json_object_set_new(args, key, json_stringn(tail, len)) < 0) {
		return problem_set(p, 400, "the path is not UTF-8");
	}
	return 0;
}

/* The verb's arguments, a new object; NULL and the problem when the request is wrong. */
static json_t *read_args(ob_ctx *ctx, ob_req req, const ob_http_info *info, const json_t *verb,
                         struct problem *p)
{
	ob_view view = {.size = sizeof(view)};
	bool get = strcmp(member(verb, "method"), "GET") == 0;
	json_t *args = json_object();
	int rc = args ? ob_req_view(ctx, req, &view) : OB_E_NOMEM;

	if (rc < 0) {
		problem_set(p, 503, "%s", ob_strerror(ctx, rc));
	} else if (get && view.len) {
		rc = problem_set(p, 400, "a GET takes no body");
	} else if (!get && info->query[0] && (view.len || !member(verb, "tail")[0])) {
		rc = problem_set(p, 400, "this path takes no query: arguments go in the body");
	} else if (get || info->query[0]) {
		rc = read_query(args, info->query, p);
	} else if (view.len) {
		rc = read_body(args, &view, ob_http_header(ctx, req, "Content-Type"), p);
	}
	if (rc == 0) {
		rc = read_tail(args, verb, info->path, p);
	}
	if (rc == 0 && json_object_get(args, "path")) {
		rc = problem_set(p, 400,
		                 "modules are named, not given by path: the node looks for them "
		                 "in its module_dirs");
	}
	if (rc < 0) {
		json_decref(args);
		return NULL;
	}
	return args;
}

/* ---------------------------------------------------------------- asking ------------------- */

static void on_reply(ob_ctx *ctx, const ob_admin_reply *reply, void *arg)
{
	struct pending *pending = arg;
	int rc;

	if (reply->text) {
		rc = ob_http_reply(ctx, pending->req, reply->status, TEXT_TYPE, reply->text,
		                   strlen(reply->text));
	} else if (!reply->body) {
		rc = ob_http_reply(ctx, pending->req, reply->status, JSON_TYPE, "{}\n", 3);
	} else {
		rc = answer_json(ctx, pending->req, reply->status, reply->body);
	}
	ob_log(ctx, pending->write ? OB_LOG_NOTICE : OB_LOG_DEBUG, "%s: %d%s", pending->verb,
	       reply->status, rc < 0 ? " (nobody waits for it any more)" : "");
	free(pending);
}

static int ask(ob_ctx *ctx, ob_req req, const json_t *verb, json_t *args_stolen, struct problem *p)
{
	struct pending *pending = calloc(1, sizeof(*pending));

	if (!pending) {
		json_decref(args_stolen);
		return problem_set(p, 503, "out of memory");
	}
	pending->req = req;
	pending->write = json_is_true(json_object_get(verb, "write"));
	snprintf(pending->verb, sizeof(pending->verb), "%s", member(verb, "verb"));

	int rc = ob_request_hold(ctx, req);

	if (rc < 0) {
		json_decref(args_stolen);
	} else {
		rc = ob_admin(ctx, member(verb, "verb"), args_stolen, on_reply, pending);
	}
	if (rc >= 0) {
		return 0;
	}
	free(pending);
	return problem_set(p, rc == OB_E_DENIED ? 500 : 503, "%s", ob_strerror(ctx, rc));
}

static void handle(ob_ctx *ctx, ob_req req)
{
	ob_http_info info = {.size = sizeof(info)};
	struct problem p = {.status = 500};
	int rc = ob_http_get(ctx, req, &info);

	if (rc != 0) {
		ob_fail(ctx, req, OB_E_APP, ob_strerror(ctx, rc));
		return;
	}
	ob_count(ctx, asked, 1);
	ob_http_set_header(ctx, req, "Cache-Control", "no-store");

	char allow[ALLOW_MAX];
	const json_t *verb = find_verb(info.path, info.method, allow, sizeof(allow));
	json_t *args = NULL;

	/* Who asks comes first: a stranger doesn't learn which paths and methods there are. */
	if (!json_is_true(json_object_get(verb, "open"))) {
		rc = authenticate(ctx, req, &info, &p);
	}
	if (rc == 0) {
		rc = verb ? 0 : no_verb(ctx, req, allow, &p);
	}
	if (rc == 0) {
		args = read_args(ctx, req, &info, verb, &p);
		rc = args ? ask(ctx, req, verb, args, &p) : -1;
	}
	if (rc < 0) {
		answer_problem(ctx, req, &p);
	}
}

/* ---------------------------------------------------------------- life --------------------- */

static void on_verbs(ob_ctx *ctx, const ob_admin_reply *reply, void *arg)
{
	json_t **list = arg;

	(void)ctx;
	*list = json_deep_copy(json_object_get(reply->body, "verbs"));
}

/* The host knows stars at the end only; what has one in the middle falls under the one before. */
static int register_path(ob_ctx *ctx, const char *path)
{
	const char *star = strchr(path, '*');

	return star && star[1] ? 0 : ob_on_http(ctx, "*", path, handle, OB_HTTP_ADMIN);
}

/* One handler per path takes any method: the wrong ones are ours to answer, with Allow. */
static int register_paths(ob_ctx *ctx)
{
	size_t i;
	const json_t *verb;

	json_array_foreach (verbs, i, verb) {
		const char *path = member(verb, "path");
		size_t first = 0;

		while (strcmp(member(json_array_get(verbs, first), "path"), path) != 0) {
			first++;
		}
		if (!*path || first < i) {
			continue;
		}

		int rc = register_path(ctx, path);

		if (rc < 0) {
			ob_log(ctx, OB_LOG_ERROR, "%s: %s", path, ob_strerror(ctx, rc));
			return rc;
		}
	}
	return 0;
}

static int count_requests(ob_ctx *ctx)
{
	asked = ob_counter(ctx, "admin_requests", "Administrative HTTP requests");
	if (asked < 0) {
		return asked;
	}
	refused = ob_counter(ctx, "admin_refused", "Those answered 401 or 403");
	return refused < 0 ? refused : 0;
}

static void stop(ob_ctx *ctx)
{
	(void)ctx;
	json_decref(verbs);
	verbs = NULL;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;

	int rc = ob_admin(ctx, "verbs", NULL, on_verbs, &verbs);

	if (rc == OB_E_DENIED) {
		return ob_refuse(ctx, rc, "http_admin needs \"admin\": true in its modules entry");
	}
	if (rc >= 0 && !json_is_array(verbs)) {
		rc = ob_refuse(ctx, OB_E_STATE, "the host gave no list of verbs");
	}
	if (rc >= 0) {
		rc = count_requests(ctx);
	}
	if (rc >= 0) {
		rc = register_paths(ctx);
	}
	if (rc < 0) {
		stop(ctx);
	}
	return rc < 0 ? rc : 0;
}

OB_MODULE(http_admin, .version = "1.0.0", .start = start, .stop = stop);
