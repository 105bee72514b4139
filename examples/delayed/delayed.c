/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example delayed: four ways to answer later.
 *
 *     40001  {"ms": N}      from a timer, after N milliseconds (100 unless given)
 *     40002  {"text": TEXT} from a job: work on a pool thread
 *     40003  {}             from a call to another node, by method
 *     40004  {}             from an HTTP request this node makes
 *
 * conf: {"role": ROLE, "url": URL}.  The role says where the call of 40003 goes (this node's own
 * unless given); delayed must be loaded there too.  Without a url 40004 fails.
 *
 * In each the handler keeps the request with ob_request_hold() and ends it from the callback.  The
 * request's deadline may have passed by then: the end answers OB_E_STALE and nothing else happens.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#define FROM_TIMER 40001
#define FROM_JOB   40002
#define FROM_CALL  40003
#define FROM_HTTP  40004

#define DEFAULT_MS   100
#define MAX_MS       60000
#define TEXT_MAX     65536
#define NAME_MAX_LEN 128

/* What a callback needs to answer. */
struct later {
	ob_req req;
	uint64_t hash;
	size_t len;
	char text[]; /* the job's own copy: a view does not live that long */
};

static char role[NAME_MAX_LEN];
static char url[1024];

/* Keeps the request and returns what its callback will need; ends it and returns NULL if it
 * can't. */
static struct later *keep(ob_ctx *ctx, ob_req req, const char *text)
{
	size_t len = strlen(text);
	struct later *later = calloc(1, sizeof(*later) + len + 1);
	int rc = later ? ob_request_hold(ctx, req) : OB_E_NOMEM;

	if (rc < 0) {
		free(later);
		ob_fail(ctx, req, OB_E_APP, ob_strerror(ctx, rc));
		return NULL;
	}
	later->req = req;
	later->len = len;
	memcpy(later->text, text, len);
	return later;
}

/* Ends a kept request whose callback won't come. */
static void give_up(ob_ctx *ctx, struct later *later, const char *why)
{
	ob_fail(ctx, later->req, OB_E_APP, why);
	free(later);
}

/* ---------------------------------------------------------------- a timer ------------------ */

static void timer_fired(ob_ctx *ctx, ob_timer timer, void *arg)
{
	struct later *later = arg;

	(void)timer;
	ob_reply_json(ctx, later->req, "{s:i, s:s}", "code", 200, "from", "timer");
	free(later);
}

static void from_timer(ob_ctx *ctx, ob_req req)
{
	json_int_t ms = ob_req_int(ctx, req, "ms", DEFAULT_MS);

	if (ms < 0 || ms > MAX_MS) {
		ob_fail(ctx, req, OB_E_BAD, "ms must be 0 to 60000");
		return;
	}

	struct later *later = keep(ctx, req, "");

	if (later && !ob_timer_start(ctx, (uint64_t)ms, 0, timer_fired, later)) {
		give_up(ctx, later, "no timer");
	}
}

/* ---------------------------------------------------------------- a job -------------------- */

/* On a pool thread: no SDK call here, and nothing but what `arg` points to. */
static void hash_text(void *arg)
{
	struct later *later = arg;

	later->hash = 14695981039346656037u;
	for (size_t i = 0; i < later->len; i++) {
		later->hash = (later->hash ^ (uint8_t)later->text[i]) * 1099511628211u;
	}
}

static void job_done(ob_ctx *ctx, void *arg)
{
	struct later *later = arg;
	char hash[17];

	snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)later->hash);
	ob_reply_json(ctx, later->req, "{s:i, s:s, s:s}", "code", 200, "from", "job", "fnv1a",
	              hash);
	free(later);
}

static void from_job(ob_ctx *ctx, ob_req req)
{
	const char *text = ob_req_str(ctx, req, "text");

	if (!text || strlen(text) > TEXT_MAX) {
		ob_fail(ctx, req, OB_E_BAD, "text must be there, at most 65536 bytes");
		return;
	}

	struct later *later = keep(ctx, req, text);

	if (later && ob_job(ctx, hash_text, job_done, later) < 0) {
		give_up(ctx, later, "no job");
	}
}

/* ---------------------------------------------------------------- a call ------------------- */

/* The other side of the call: says which node it is. */
static void whoami(ob_ctx *ctx, ob_req req)
{
	ob_node_info node = {.size = sizeof(node)};

	if (ob_node(ctx, &node) == 0) {
		ob_reply_json(ctx, req, "{s:s, s:s}", "name", node.name, "role", node.role);
	}
}

static void call_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	struct later *later = arg;

	(void)call;
	if (res->code == OB_OK) {
		json_t *node = json_loadb((const char *)res->data, res->len, 0, NULL);

		ob_reply_json(ctx, later->req, "{s:i, s:s, s:o?}", "code", 200, "from", "call",
		              "node", node);
	} else {
		ob_fail(ctx, later->req, res->code, res->text);
	}
	free(later);
}

static void from_call(ob_ctx *ctx, ob_req req)
{
	ob_target target = {.role = ob_role(ctx, role)};
	char method[NAME_MAX_LEN + 32];
	struct later *later = keep(ctx, req, "");

	snprintf(method, sizeof(method), "demo.%s.delayed.whoami", role);
	if (later && !ob_call_method(ctx, &target, method, 0, NULL, 0, 0, call_ended, later)) {
		give_up(ctx, later, "no call");
	}
}

/* ---------------------------------------------------------------- HTTP --------------------- */

static void http_ended(ob_ctx *ctx, const ob_http_response *res, void *arg)
{
	struct later *later = arg;

	if (res->code == OB_OK) {
		ob_reply_json(ctx, later->req, "{s:i, s:s, s:i, s:I}", "code", 200, "from", "http",
		              "status", res->status, "bytes", (json_int_t)res->len);
	} else {
		ob_fail(ctx, later->req, res->code, res->text);
	}
	free(later);
}

static void from_http(ob_ctx *ctx, ob_req req)
{
	ob_http_request request = {.size = sizeof(request), .url = url, .timeout_ms = 2000};

	if (!url[0]) {
		ob_fail(ctx, req, OB_E_APP, "the plugin's conf has no url");
		return;
	}

	struct later *later = keep(ctx, req, "");

	if (later && ob_http_call(ctx, &request, http_ended, later) != 0) {
		give_up(ctx, later, "no HTTP request");
	}
}

/* ---------------------------------------------------------------- life --------------------- */

static int check_text(const json_t *conf, const char *key, size_t cap, ob_err *err)
{
	const json_t *value = json_object_get(conf, key);

	if (value && (!json_is_string(value) || json_string_length(value) >= cap)) {
		return ob_err_set(err, "%s: must be a text below %zu bytes", key, cap);
	}
	return 0;
}

static int check(const json_t *conf, ob_err *err)
{
	int rc = check_text(conf, "role", sizeof(role), err);

	return rc < 0 ? rc : check_text(conf, "url", sizeof(url), err);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const struct {
		uint32_t id;
		ob_handler_fn fn;
	} handlers[] = {
		{FROM_TIMER, from_timer},
		{FROM_JOB, from_job},
		{FROM_CALL, from_call},
		{FROM_HTTP, from_http},
	};
	ob_node_info node = {.size = sizeof(node)};
	const char *text = json_string_value(json_object_get(conf, "url"));
	char method[NAME_MAX_LEN + 32];
	int rc = ob_node(ctx, &node);

	snprintf(url, sizeof(url), "%s", text ? text : "");
	text = json_string_value(json_object_get(conf, "role"));
	for (size_t i = 0; rc == 0 && i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		rc = ob_on_id(ctx, handlers[i].id, handlers[i].fn);
	}
	if (rc < 0) {
		return rc;
	}
	snprintf(role, sizeof(role), "%s", text ? text : node.role);
	snprintf(method, sizeof(method), "demo.%.*s.delayed.whoami", NAME_MAX_LEN, node.role);
	return ob_on_method(ctx, method, whoami, 0);
}

OB_MODULE(delayed, .version = "1.0.0", .check = check, .start = start);
