/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/admin/admin.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/admin/confhistory.h"
#include "host/admin/confreload.h"
#include "host/node.h"
#include "host/swap/swap.h"
#include "mesh/member.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX     10000
#define NAMES_MAX    64

struct request {
	struct ob__node *node;
	json_t *args; /* an object, owned */
	ob__admin_cb cb;
	void *arg;
};

struct verb {
	const char *name;
	const char *method;
	const char *path; /* a * stands for args[tail], one segment */
	const char *tail;
	bool write;
	bool open;              /* needs no authentication, and takes no notice of arguments */
	const struct arg *args; /* it may be given; NULL: none */
	void (*run)(struct request *q);
};

enum arg_type {
	ANY = 1,
	TEXT,
	TEXTS,
	TRUTH,  /* or its text: query strings are text */
	NUMBER, /* or its text */
	ID,     /* a text or a number */
	OBJECT,
};

struct arg {
	const char *key; /* NULL: the end */
	enum arg_type type;
};

static const struct verb verbs[];

/* ---- answers ---- */

static void request_free(struct request *q)
{
	json_decref(q->args);
	free(q);
}

static void finish(struct request *q, int status, const json_t *body, const char *text)
{
	ob_admin_reply reply = {
		.size = sizeof(reply), .status = status, .body = body, .text = text};

	q->cb(q->arg, &reply);
	request_free(q);
}

static void finish_json(struct request *q, int status, json_t *body_stolen)
{
	finish(q, status, body_stolen, NULL);
	json_decref(body_stolen);
}

static void finish_error(struct request *q, int status, const char *code, const char *message)
{
	finish_json(q, status,
	            json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", message));
}

/* ---- arguments ---- */

static const char *arg_str(const struct request *q, const char *key)
{
	return json_string_value(json_object_get(q->args, key));
}

/* An integer, or text of one (query strings are text). */
static long arg_int(const struct request *q, const char *key, long otherwise)
{
	const json_t *v = json_object_get(q->args, key);
	const char *s = json_string_value(v);

	if (json_is_integer(v)) {
		return (long)json_integer_value(v);
	}
	if (s == NULL || *s == '\0') {
		return otherwise;
	}
	char *end;
	long n = strtol(s, &end, 10);
	return *end == '\0' ? n : otherwise;
}

static bool is_number(const char *s)
{
	size_t digits = s != NULL ? strspn(s + (*s == '-'), "0123456789") : 0;

	return digits > 0 && digits < 19 && s[(*s == '-') + digits] == '\0';
}

static bool is_truth(const char *s)
{
	static const char *const words[] = {"true", "false", "1", "0"};
	bool is = false;

	for (size_t i = 0; s != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
		is = is || strcmp(s, words[i]) == 0;
	}
	return is;
}

static bool are_texts(const json_t *list)
{
	size_t i;
	const json_t *one;

	json_array_foreach (list, i, one) {
		if (!json_is_string(one)) {
			return false;
		}
	}
	return json_is_array(list);
}

static bool fits(const json_t *v, enum arg_type type)
{
	const char *s = json_string_value(v);
	json_int_t n = json_integer_value(v);

	switch (type) {
	case ANY:
		return true;
	case TEXT:
		return s != NULL;
	case TEXTS:
		return are_texts(v);
	case TRUTH:
		return json_is_boolean(v) || is_truth(s) ||
		       (json_is_integer(v) && (n == 0 || n == 1));
	case NUMBER:
		return json_is_integer(v) || is_number(s);
	case ID:
		return s != NULL || json_is_integer(v);
	case OBJECT:
		return json_is_object(v);
	}
	return false;
}

static const char *type_text(enum arg_type type)
{
	static const char *const texts[] = {
		[ANY] = "anything",        [TEXT] = "a text",     [TEXTS] = "a list of texts",
		[TRUTH] = "true or false", [NUMBER] = "a number", [ID] = "a text or a number",
		[OBJECT] = "an object",
	};

	return texts[type];
}

static void finish_unknown(struct request *q, const struct verb *v, const char *key)
{
	const char *meant = NULL;
	size_t nearest = 3;
	char text[256];

	for (const struct arg *a = v->args; a != NULL && a->key != NULL; a++) {
		size_t d = ob__conf_distance(key, a->key);
		if (d < nearest && d < strlen(key)) {
			nearest = d;
			meant = a->key;
		}
	}
	snprintf(text, sizeof(text), "%s takes no argument \"%.64s\"%s%s%s", v->name, key,
	         meant != NULL ? "; did you mean \"" : "", meant != NULL ? meant : "",
	         meant != NULL ? "\"?" : "");
	ob__make_utf8(text);
	finish_error(q, 400, "unknown_argument", text);
}

/* Nothing that is asked for is left out silently.  False: it is answered. */
static bool check_args(struct request *q, const struct verb *v)
{
	const char *key;
	json_t *value;
	char text[128];

	json_object_foreach (q->args, key, value) {
		const struct arg *a = v->args;
		while (a != NULL && a->key != NULL && strcmp(a->key, key) != 0) {
			a++;
		}
		if (a == NULL || a->key == NULL) {
			finish_unknown(q, v, key);
			return false;
		}
		if (!fits(value, a->type)) {
			snprintf(text, sizeof(text), "%s must be %s", key, type_text(a->type));
			finish_error(q, 400, key, text);
			return false;
		}
	}
	return true;
}

static size_t page_limit(const struct request *q)
{
	long limit = arg_int(q, "limit", PAGE_DEFAULT);

	return limit < 1 ? 1 : limit > PAGE_MAX ? PAGE_MAX : (size_t)limit;
}

static uint64_t page_after(const struct request *q)
{
	long after = arg_int(q, "after", 0);

	return after > 0 ? (uint64_t)after : 0;
}

/* ---- what is there ---- */

static void run_verbs(struct request *q)
{
	json_t *list = json_array();

	for (const struct verb *v = verbs; v->name != NULL; v++) {
		json_array_append_new(list,
		                      json_pack("{s:s, s:s, s:s, s:b, s:b, s:s?}", "verb", v->name,
		                                "method", v->method, "path", v->path, "write",
		                                v->write, "open", v->open, "tail", v->tail));
	}
	finish_json(q, 200, json_pack("{s:o}", "verbs", list));
}

static void run_node(struct request *q)
{
	finish_json(q, 200, ob__node_json(q->node));
}

static void run_modules(struct request *q)
{
	json_t *shown = json_pack("{s:o}", "modules", ob__swap_modules(q->node));
	json_t *loader = ob__swap_loader(q->node);

	if (loader != NULL) {
		json_object_set_new(shown, "loader", loader);
	}
	finish_json(q, 200, shown);
}

static void run_tx(struct request *q)
{
	const char *text = arg_str(q, "id");
	bool whole = text == NULL || (is_number(text) && *text != '-');
	long id = whole ? arg_int(q, "id", 0) : 0;
	json_t *report = id > 0 ? ob__swap_report(q->node, (uint64_t)id) : NULL;

	if (report == NULL) {
		finish_error(q, 404, "unknown_tx", "no such transaction among the last 64");
		return;
	}
	finish_json(q, 200, report);
}

static void run_peers(struct request *q)
{
	finish_json(q, 200, ob__node_peers_json(q->node));
}

static bool way_ok(struct request *q, const struct ob__transport_way *way)
{
	char err[384];

	if (way->address == NULL || !ob__transport_address_ok(way->address)) {
		finish_error(q, 400, "address", "address is 1 to 107 printable ASCII characters");
		return false;
	}
	int rc = ob__transport_check(q->node, way, err, sizeof(err));
	if (rc != 0) {
		finish_error(q, 400, rc == OB_E_NOT_FOUND ? "unknown_transport" : "address", err);
	}
	return rc == 0;
}

/* What is to be dialled, into `o`; false: it is answered. */
static bool peer_address(struct request *q, const struct ob__transport_way *way,
                         struct ob__address *a, struct ob__remote_options *o)
{
	char full[OB__MEMBER_ADDRESS];

	if (way->transport == NULL || strcmp(way->transport, "tcp") == 0) {
		if (way->address == NULL ||
		    snprintf(full, sizeof(full), "tcp %s", way->address) >= (int)sizeof(full) ||
		    ob__address_get(a, full) != 0) {
			finish_error(q, 400, "address", "address is HOST:PORT or [HOST]:PORT");
			return false;
		}
		o->host = a->host;
		o->port = a->port;
		return true;
	}
	if (strcmp(way->transport, "unix") == 0) {
		o->path = way->address;
		if (o->path == NULL || o->path[0] != '/' || strlen(o->path) >= sizeof(a->path)) {
			finish_error(q, 400, "address", "address is the path of a unix socket");
			return false;
		}
		return true;
	}
	o->ways = way;
	o->ways_len = 1;
	return way_ok(q, way);
}

/* An entry that is added at run time; remote_ports and its file are not touched. */
static void run_peers_add(struct request *q)
{
	struct ob__address a = {.kind = OB__ADDRESS_OTHER};
	struct ob__transport_way way = {arg_str(q, "transport"), arg_str(q, "address")};
	struct ob__remote_options o = {
		.token = arg_str(q, "token"),
		.role = arg_str(q, "type"),
		.added = true,
	};
	if (!peer_address(q, &way, &a, &o)) {
		return;
	}
	int rc = ob__links_dial(q->node->links, &o);
	if (rc == -EEXIST) {
		finish_error(q, 409, "exists", "this address is dialled already");
	} else if (rc == -ENOSPC) {
		finish_error(q, 409, "too_many", "too many addresses are dialled already");
	} else if (rc == -EINVAL) {
		finish_error(q, 400, "token",
		             "a token has at least 16 bytes, and there is no rpc.token instead");
	} else if (rc != 0) {
		finish_error(q, 503, "memory", "out of memory");
	} else {
		finish_json(q, 202, json_pack("{s:s}", "status", "dialling"));
	}
}

static void run_peers_drop(struct request *q)
{
	const char *name = arg_str(q, "peer");
	size_t n = name != NULL ? ob__links_drop(q->node->links, name) : 0;

	if (n == 0) {
		finish_error(
			q, 404, "unknown_peer",
			"no node of that name or address (HOST:PORT, TRANSPORT:ADDRESS) is dialled");
		return;
	}
	finish_json(q, 200, json_pack("{s:s, s:i}", "status", "removed", "entries", (int)n));
}

static void run_sessions(struct request *q)
{
	finish_json(q, 200, ob__node_sessions_json(q->node, page_limit(q), page_after(q)));
}

static void run_groups(struct request *q)
{
	finish_json(q, 200, ob__groups_json(q->node, page_limit(q), page_after(q)));
}

static void run_routes(struct request *q)
{
	finish_json(q, 200, ob__node_routes_json(q->node));
}

static void run_config(struct request *q)
{
	json_t *masked = ob__conf_masked(q->node->conf->file, ob__nodeconf_rows);

	if (masked == NULL) {
		finish_error(q, 503, "memory", "out of memory");
		return;
	}
	finish_json(q, 200, masked);
}

static void run_metrics(struct request *q)
{
	struct ob__buf page = {0};

	if (ob__stats_render(q->node->stats, &page) != 0 || ob__buf_append(&page, "", 1) != 0) {
		ob__buf_free(&page);
		finish_error(q, 503, "memory", "out of memory");
		return;
	}
	finish(q, 200, NULL, (const char *)page.data);
	ob__buf_free(&page);
}

static void run_health(struct request *q)
{
	finish_json(q, 200, json_pack("{s:s}", "status", "ok"));
}

static void run_ready(struct request *q)
{
	const char *why = ob__node_not_ready(q->node);

	if (why != NULL) {
		finish_json(q, 503, json_pack("{s:s, s:s}", "status", "not ready", "reason", why));
		return;
	}
	finish_json(q, 200, json_pack("{s:s}", "status", "ready"));
}

/* ---- modules ---- */

static void swap_done(void *arg, int status, const json_t *body)
{
	finish(arg, status, body, NULL);
}

static bool has_path(const struct request *q)
{
	return json_object_get(q->args, "path") != NULL;
}

static bool is_sha256(const char *text)
{
	return strlen(text) == 64 && strspn(text, "0123456789abcdefABCDEF") == 64;
}

static void run_load(struct request *q)
{
	const char *name = arg_str(q, "name");
	const json_t *conf = json_object_get(q->args, "conf");
	struct ob__swap_request swap = {
		.kind = OB__SWAP_LOAD,
		.names = &name,
		.names_len = 1,
		.conf = conf,
		.sha256 = arg_str(q, "sha256"),
		.probation_ms = -1,
		.from_outside = true,
	};

	if (has_path(q)) {
		finish_error(q, 400, "path", "a request names a module, never a path");
		return;
	}
	if (name == NULL || !ob__module_name_ok(name)) {
		finish_error(q, 400, "name", "name must be a module's name");
		return;
	}
	if (conf != NULL && !json_is_object(conf)) {
		finish_error(q, 400, "conf", "conf must be an object");
		return;
	}
	if (json_object_get(q->args, "sha256") != NULL &&
	    (swap.sha256 == NULL || !is_sha256(swap.sha256))) {
		finish_error(q, 400, "sha256", "sha256 has 64 hex digits");
		return;
	}
	ob__swap_begin(q->node, &swap, swap_done, q);
}

/* Names from {"name"} or {"names": []}. The count, or -1 when malformed. */
static int reload_names(const struct request *q, const char **names, size_t max)
{
	const json_t *list = json_object_get(q->args, "names");
	const json_t *one = json_object_get(q->args, "name");
	size_t n = 0;

	if (one != NULL) {
		names[0] = json_string_value(one);
		return names[0] != NULL && list == NULL ? 1 : -1;
	}
	if (list != NULL &&
	    (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > max)) {
		return -1;
	}
	for (; n < json_array_size(list); n++) {
		names[n] = json_string_value(json_array_get(list, n));
		if (names[n] == NULL) {
			return -1;
		}
	}
	return (int)n;
}

/* enum ob__swap_wait, or -1. */
static int wait_of(const struct request *q)
{
	const char *word = arg_str(q, "wait");

	if (json_object_get(q->args, "wait") == NULL) {
		return OB__SWAP_WAIT_SWITCH;
	}
	if (word == NULL) {
		return -1;
	}
	return strcmp(word, "switch") == 0   ? OB__SWAP_WAIT_SWITCH
	       : strcmp(word, "commit") == 0 ? OB__SWAP_WAIT_COMMIT
	       : strcmp(word, "none") == 0   ? OB__SWAP_WAIT_NONE
	                                     : -1;
}

/* {"force": true}, or force=1 or force=true of a query. */
static bool arg_true(const struct request *q, const char *key)
{
	const char *word = arg_str(q, key);

	return json_is_true(json_object_get(q->args, key)) || arg_int(q, key, 0) == 1 ||
	       (word != NULL && strcmp(word, "true") == 0);
}

static void run_reload(struct request *q)
{
	const char *names[NAMES_MAX];
	const char *sha256 = arg_str(q, "sha256");
	int n = reload_names(q, names, NAMES_MAX);
	int wait = wait_of(q);
	long canary = arg_int(q, "canary", 0);
	struct ob__swap_request swap = {
		.kind = OB__SWAP_RELOAD,
		.names = names,
		.names_len = n > 0 ? (size_t)n : 0,
		.sha256 = sha256,
		.force = arg_true(q, "force"),
		.wait = wait >= 0 ? (enum ob__swap_wait)wait : OB__SWAP_WAIT_SWITCH,
		.canary = (unsigned)canary,
		.probation_ms = -1,
		.from_outside = true,
	};

	if (has_path(q)) {
		finish_error(q, 400, "path", "a request names a module, never a path");
	} else if (n < 0) {
		finish_error(q, 400, "names", "give name, or names as a list of at most 64");
	} else if (json_object_get(q->args, "sha256") != NULL &&
	           (sha256 == NULL || n != 1 || !is_sha256(sha256))) {
		finish_error(q, 400, "sha256", "sha256 has 64 hex digits and goes with one name");
	} else if (wait < 0) {
		finish_error(q, 400, "wait", "wait is switch, commit or none");
	} else if (json_object_get(q->args, "canary") != NULL && (canary < 1 || canary > 99)) {
		finish_error(q, 400, "canary", "canary is a percentage of sessions, 1 to 99");
	} else if (canary > 0 && q->node->conf->reload.probation_ms == 0) {
		finish_error(q, 400, "canary", "a canary needs a reload.probation");
	} else {
		ob__swap_begin(q->node, &swap, swap_done, q);
	}
}

/* In probation the rollback is its end; else a transaction of its own. */
static void run_rollback(struct request *q)
{
	const char *name = arg_str(q, "name");
	int wait = wait_of(q);
	struct ob__swap_request swap = {
		.kind = OB__SWAP_ROLLBACK,
		.names = &name,
		.names_len = 1,
		.wait = wait >= 0 ? (enum ob__swap_wait)wait : OB__SWAP_WAIT_SWITCH,
		.probation_ms = -1,
		.from_outside = true,
	};

	if (name == NULL) {
		finish_error(q, 400, "name", "name must be a module's name");
		return;
	}
	if (wait < 0) {
		finish_error(q, 400, "wait", "wait is switch, commit or none");
		return;
	}
	uint64_t id = ob__swap_end_probation(q->node, name, false, "rolled back by the operator");
	if (id == 0) {
		ob__swap_begin(q->node, &swap, swap_done, q);
		return;
	}
	finish_json(q, 200, ob__swap_report(q->node, id));
}

static void run_commit(struct request *q)
{
	const char *name = arg_str(q, "name");
	uint64_t id = name != NULL ? ob__swap_end_probation(q->node, name, true, "") : 0;

	if (id == 0) {
		finish_error(q, 409, "no_probation", "the module is not in probation");
		return;
	}
	finish_json(q, 200, ob__swap_report(q->node, id));
}

static void run_unload(struct request *q)
{
	const char *name = arg_str(q, "name");
	struct ob__swap_request swap = {
		.kind = OB__SWAP_UNLOAD,
		.names = &name,
		.names_len = 1,
		.from_outside = true,
	};

	if (name == NULL) {
		finish_error(q, 400, "name", "name must be a module's name");
	} else {
		ob__swap_begin(q->node, &swap, swap_done, q);
	}
}

/* What the manifest of the builds has on disk. */
static void run_builds(struct request *q)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/modules.json", q->node->dir);
	json_t *builds = json_load_file(path, 0, NULL);
	finish_json(q, 200, builds != NULL ? builds : json_object());
}

/* ---- the node ---- */

static void config_done(void *arg, int status, const json_t *report)
{
	finish(arg, status, report, NULL);
}

static void config_turn(void *arg)
{
	struct request *q = arg;

	ob__conf_reload(q->node, config_done, q);
}

/* In a turn of its own: whoever asks may be holding pieces of the configuration. */
static void run_config_reload(struct request *q)
{
	if (ob__loop_defer(q->node->loop, config_turn, q) != 0) {
		finish_error(q, 503, "memory", "out of memory");
	}
}

static void run_config_history(struct request *q)
{
	finish_json(q, 200, json_pack("{s:o}", "versions", ob__confhistory_json(q->node->dir)));
}

static void rollback_turn(void *arg)
{
	struct request *q = arg;

	ob__conf_rollback(q->node, (uint64_t)arg_int(q, "version", 0), config_done, q);
}

static void run_config_rollback(struct request *q)
{
	const json_t *version = json_object_get(q->args, "version");

	if (has_path(q)) {
		finish_error(q, 400, "path", "a request names a version, never a path");
	} else if (version != NULL && arg_int(q, "version", 0) < 1) {
		finish_error(q, 400, "version", "version is a number of config.history");
	} else if (ob__loop_defer(q->node->loop, rollback_turn, q) != 0) {
		finish_error(q, 503, "memory", "out of memory");
	}
}

/* A whole number from `least` to `most`, or 0 when it is not there. -1: answered. */
static long drain_number(struct request *q, const char *key, long least, long most)
{
	long n = arg_int(q, key, 0);
	char text[96];

	if (json_object_get(q->args, key) == NULL || (n >= least && n <= most)) {
		return n;
	}
	snprintf(text, sizeof(text), "%s is a number from %ld to %ld", key, least, most);
	finish_error(q, 400, key, text);
	return -1;
}

static void run_drain(struct request *q)
{
	const char *then = arg_str(q, "then");
	struct ob__drain_options options = {.stop = then != NULL && strcmp(then, "stop") == 0};

	if (then != NULL && !options.stop && strcmp(then, "stay") != 0) {
		finish_error(q, 400, "then", "then is stop or stay");
		return;
	}
	long pace = drain_number(q, "pace", 0, OB__DRAIN_PACE_MAX);
	if (pace < 0) {
		return;
	}
	long deadline = drain_number(q, "deadline", 1, OB__DRAIN_DEADLINE_MAX);
	if (deadline < 0) {
		return;
	}
	options.pace = (uint32_t)pace;
	options.deadline_ms = (uint64_t)deadline * 1000;
	if (ob__drain_begin(q->node, &options) != 0) {
		finish_error(q, 409, "state", "the node starts or stops");
		return;
	}
	finish_json(q, 202, ob__drain_json(q->node));
}

static void run_drain_show(struct request *q)
{
	finish_json(q, 200, ob__drain_json(q->node));
}

static void run_drain_abort(struct request *q)
{
	char err[256] = "";
	int rc = ob__drain_abort(q->node, err, sizeof(err));

	if (rc != 0) {
		finish_error(q, 409, rc == OB_E_STATE ? "state" : "listen", err);
		return;
	}
	finish_json(q, 200, ob__drain_json(q->node));
}

static void run_stop(struct request *q)
{
	struct ob__node *node = q->node;

	finish_json(q, 202, json_pack("{s:s}", "status", "stopping"));
	ob__node_stop(node);
}

static void run_log_level(struct request *q)
{
	const char *word = arg_str(q, "level");
	int level = word != NULL ? ob__log_level_from(word) : -1;

	if (level < 0) {
		finish_error(q, 400, "level", "level is debug, info, notice, warning or error");
		return;
	}
	ob__log_set_level(level);
	ob__notice("log", "level is %s now", ob__log_level_word(level));
	finish_json(q, 200, json_pack("{s:s}", "level", ob__log_level_word(level)));
}

static void run_session_close(struct request *q)
{
	const char *id = arg_str(q, "id");
	struct ob__session *s = id != NULL ? ob__node_session(q->node, id) : NULL;

	if (s == NULL) {
		finish_error(q, 404, "unknown_session", "no such session on this node");
		return;
	}
	ob__dispatch_kick(q->node, s->handle, 0, "closed by the operator");
	finish_json(q, 200, json_pack("{s:s}", "status", "closed"));
}

/* What the verbs may be given.  A path is refused by those that could be thought to take one. */
static const struct arg tx_args[] = {{"id", ID}, {NULL, ANY}};
static const struct arg id_args[] = {{"id", TEXT}, {NULL, ANY}};
static const struct arg name_args[] = {{"name", TEXT}, {NULL, ANY}};
static const struct arg drain_args[] = {
	{"pace", NUMBER}, {"deadline", NUMBER}, {"then", TEXT}, {NULL, ANY}};
static const struct arg level_args[] = {{"level", TEXT}, {NULL, ANY}};
static const struct arg version_args[] = {{"version", NUMBER}, {"path", ANY}, {NULL, ANY}};
static const struct arg peers_args[] = {
	{"address", TEXT}, {"token", TEXT}, {"transport", TEXT}, {"type", TEXT}, {NULL, ANY}};
static const struct arg peer_args[] = {{"peer", TEXT}, {NULL, ANY}};
static const struct arg page_args[] = {{"limit", NUMBER}, {"after", NUMBER}, {NULL, ANY}};
static const struct arg rollback_args[] = {{"name", TEXT}, {"wait", TEXT}, {NULL, ANY}};
static const struct arg load_args[] = {
	{"name", TEXT}, {"conf", OBJECT}, {"sha256", TEXT}, {"path", ANY}, {NULL, ANY}};
static const struct arg reload_args[] = {{"name", TEXT},   {"names", TEXTS}, {"sha256", TEXT},
                                         {"force", TRUTH}, {"wait", TEXT},   {"canary", NUMBER},
                                         {"path", ANY},    {NULL, ANY}};

/* clang-format off */
static const struct verb verbs[] = {
	{"verbs", "GET", "/verbs", NULL, false, false, NULL, run_verbs},
	{"node", "GET", "/node", NULL, false, false, NULL, run_node},
	{"modules", "GET", "/modules", NULL, false, false, NULL, run_modules},
	{"modules.tx", "GET", "/modules/tx/*", "id", false, false, tx_args, run_tx},
	{"modules.builds", "GET", "/modules/builds", NULL, false, false, NULL, run_builds},
	{"modules.load", "POST", "/modules", NULL, true, false, load_args, run_load},
	{"modules.reload", "POST", "/modules/reload", NULL, true, false, reload_args, run_reload},
	{"modules.reload", "POST", "/modules/*/reload", "name", true, false, reload_args, run_reload},
	{"modules.rollback", "POST", "/modules/*/rollback", "name", true, false, rollback_args, run_rollback},
	{"modules.commit", "POST", "/modules/*/commit", "name", true, false, name_args, run_commit},
	{"modules.unload", "DELETE", "/modules/*", "name", true, false, name_args, run_unload},
	{"peers", "GET", "/peers", NULL, false, false, NULL, run_peers},
	{"peers.add", "POST", "/peers", NULL, true, false, peers_args, run_peers_add},
	{"peers.drop", "DELETE", "/peers", NULL, true, false, peer_args, run_peers_drop},
	{"peers.drop", "DELETE", "/peers/*", "peer", true, false, peer_args, run_peers_drop},
	{"groups", "GET", "/groups", NULL, false, false, page_args, run_groups},
	{"sessions", "GET", "/sessions", NULL, false, false, page_args, run_sessions},
	{"sessions.close", "DELETE", "/sessions/*", "id", true, false, id_args, run_session_close},
	{"routes", "GET", "/routes", NULL, false, false, NULL, run_routes},
	{"config", "GET", "/config", NULL, false, false, NULL, run_config},
	{"config.reload", "POST", "/config/reload", NULL, true, false, NULL, run_config_reload},
	{"config.reload", "POST", "/update_remote_rpc_config", NULL, true, false, NULL, run_config_reload},
	{"config.history", "GET", "/config/history", NULL, false, false, NULL, run_config_history},
	{"config.rollback", "POST", "/config/rollback", NULL, true, false, version_args, run_config_rollback},
	{"metrics", "GET", "/metrics", NULL, false, false, NULL, run_metrics},
	{"health", "GET", "/healthz", NULL, false, true, NULL, run_health},
	{"ready", "GET", "/readyz", NULL, false, true, NULL, run_ready},
	{"drain", "POST", "/drain", NULL, true, false, drain_args, run_drain},
	{"drain.show", "GET", "/drain", NULL, false, false, NULL, run_drain_show},
	{"drain.abort", "DELETE", "/drain", NULL, true, false, NULL, run_drain_abort},
	{"stop", "POST", "/stop", NULL, true, false, NULL, run_stop},
	{"log.level", "PUT", "/log/level", NULL, true, false, level_args, run_log_level},
	{NULL, NULL, NULL, NULL, false, false, NULL, NULL},
};
/* clang-format on */

static const struct verb *find(const char *name)
{
	for (const struct verb *v = verbs; v->name != NULL; v++) {
		if (strcmp(v->name, name) == 0) {
			return v;
		}
	}
	return NULL;
}

bool ob__admin_writes(const char *verb)
{
	const struct verb *v = find(verb);

	return v == NULL || v->write;
}

bool ob__admin_path(const char *path)
{
	for (const struct verb *v = verbs; v->name != NULL; v++) {
		const char *star = strchr(v->path, '*');
		if (star != NULL ? strncmp(v->path, path, (size_t)(star - v->path)) == 0
		                 : strcmp(v->path, path) == 0) {
			return true;
		}
	}
	return false;
}

static void run_verb(struct request *q, const struct verb *v)
{
	if (!v->open && !check_args(q, v)) {
		return;
	}
	if (v->write) {
		ob__notice("admin", "%s", v->name);
	}
	v->run(q);
}

void ob__admin_run(struct ob__node *node, const char *verb, json_t *args_stolen, ob__admin_cb cb,
                   void *arg)
{
	const struct verb *v = find(verb);
	struct request *q = calloc(1, sizeof(*q));

	if (q == NULL) {
		ob_admin_reply reply = {
			.size = sizeof(reply), .status = 503, .text = "out of memory\n"};
		json_decref(args_stolen);
		cb(arg, &reply);
		return;
	}
	*q = (struct request){.node = node, .args = args_stolen, .cb = cb, .arg = arg};
	if (q->args == NULL) {
		q->args = json_object();
	}
	if (v == NULL) {
		finish_error(q, 404, "unknown_verb", "no such verb; \"verbs\" lists them");
	} else if (!json_is_object(q->args)) {
		finish_error(q, 400, "args", "args must be an object");
	} else {
		run_verb(q, v);
	}
}
