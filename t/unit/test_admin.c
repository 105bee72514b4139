/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The verbs, each with good and bad arguments, and the core's socket that speaks them. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/admin/admin.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet p;

static void begin(const char *conf)
{
	rig_begin();
	memset(&p, 0, sizeof(p));
	rig_start(&n, "n", "game", "%s 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          conf, (long)(intptr_t)&p);
}

static void end(void)
{
	rig_stop(&n);
	rig_end();
}

struct row {
	const char *verb;
	const char *args;
	int status;
	const char *body;
};

static void run_rows(const struct row *rows, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		CU_ASSERT_TRUE(rig_admin_expect(&n, rows[i].verb, rows[i].args, rows[i].status,
		                                rows[i].body));
	}
}

#define ROWS(rows) run_rows(rows, sizeof(rows) / sizeof(rows[0]))

static void test_reads(void)
{
	static const struct row rows[] = {
		{"no.such", NULL, 404, "{'error': {'code': 'unknown_verb'}}"},
		{"", NULL, 404, "{'error': {'code': 'unknown_verb'}}"},
		{"node", "[]", 400, "{'error': {'code': 'args'}}"},
		{"node", "7", 400, "{'error': {'code': 'args'}}"},
		{"node", NULL, 200,
	         "{'name': 'n', 'role': 'game', 'state': 'running', 'sessions': 0, 'connections': 0, "
	         "'pending': 0, 'requests': 0}"},
		{"health", NULL, 200, "{'status': 'ok'}"},
		{"ready", NULL, 200, "{'status': 'ready'}"},
		{"peers", NULL, 200, "{'peers': [], 'remote_ports': []}"},
		{"sessions", NULL, 200, "{'total': 0, 'sessions': [], 'more': false}"},
		{"routes", NULL, 200,
	         "{'ranges': [{'low': 1, 'high': 4, 'role': 'y'}, {'low': 5, 'high': 5, 'role': 'z'}, "
	         "{'low': 6, 'high': 9, 'role': 'y'}], 'special': [{'low': 5, 'role': 'z'}]}"},
		{"config", NULL, 200, "{'name': 'n', 'rpc': {'token': '***'}}"},
		{"config.history", NULL, 200, "{'versions': [{'version': 1}]}"},
		{"modules", NULL, 200,
	         "{'modules': [{'name': 'puppet', 'admin': false, 'old': [], 'active': {'generation': "
	         "1, 'version': '1', 'state': 'active', 'handled': 0, 'in_flight': 0}}]}"},
		{"modules.tx", NULL, 404, "{'error': {'code': 'unknown_tx'}}"},
		{"modules.tx", "{'id': 1}", 200, "{'tx': 1, 'result': 'committed'}"},
		{"modules.tx", "{'id': 2}", 404, "{'error': {'code': 'unknown_tx'}}"},
		{"modules.tx", "{'id': '1abc'}", 404, "{'error': {'code': 'unknown_tx'}}"},
		{"modules.tx", "{'id': '-1'}", 404, "{'error': {'code': 'unknown_tx'}}"},
		{"modules.tx", "{'id': 'x'}", 404, "{'error': {'code': 'unknown_tx'}}"},
		{"modules.tx", "{'id': '0'}", 404, "{'error': {'code': 'unknown_tx'}}"},
		{"modules.tx", "{'id': '1'}", 200, "{'tx': 1, 'result': 'committed'}"},
	};
	json_t *body;

	begin("'rpc': {'token': 'a token of some length', 'route': {'range': {'y': [[1, 9]]}, "
	      "'special': {'z': [5]}}},");
	ROWS(rows);

	/* the metrics page is text */
	CU_ASSERT_EQUAL(rig_admin(&n, "metrics", NULL, &body), 200);
	CU_ASSERT_PTR_NOT_NULL(strstr(json_string_value(body), "\nobhost_uptime_seconds "));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(json_string_value(body), "\nobhost_module_switches_total 1\n"));
	json_decref(body);

	/* ids are text: JSON numbers are not wide enough for everyone */
	char id[17];
	CU_ASSERT_EQUAL(rig_admin(&n, "node", NULL, &body), 200);
	snprintf(id, sizeof(id), "%016llx", (unsigned long long)ob__node_id("n"));
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(body, "id")), id);
	/* md5 of "127.0.0.1_0", as the seed would name it */
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(body, "seed_id")),
	                       "f804bb069a850359ed23b75e8a34d127");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(body, "pid")), getpid());
	json_decref(body);
	end();
}

static void test_modules(void)
{
	static const struct row rows[] = {
		/* a request names a module, never a path */
		{"modules.load", "{'name': 'echo', 'path': 'echo.so'}", 400,
	         "{'error': {'code': 'path'}}"},
		{"modules.reload", "{'name': 'puppet', 'path': 'x'}", 400,
	         "{'error': {'code': 'path'}}"},
		{"modules.load", NULL, 400, "{'error': {'code': 'name'}}"},
		{"modules.load", "{'name': 7}", 400, "{'error': {'code': 'name'}}"},
		{"modules.load", "{'name': ''}", 400, "{'error': {'code': 'name'}}"},
		{"modules.load", "{'name': '../echo'}", 400, "{'error': {'code': 'name'}}"},
		{"modules.load", "{'name': 'echo.so'}", 400, "{'error': {'code': 'name'}}"},
		{"modules.load",
	         "{'name': 'a123456789b123456789c123456789d123456789e123456789f123456789g1234'}",
	         400, "{'error': {'code': 'name'}}"},
		{"modules.load", "{'name': 'echo', 'conf': []}", 400,
	         "{'error': {'code': 'conf'}}"},
		{"modules.load", "{'name': 'echo', 'sha256': 'x'}", 400,
	         "{'error': {'code': 'sha256'}}"},
		{"modules.load", "{'name': 'echo', 'sha256': ''}", 400,
	         "{'error': {'code': 'sha256'}}"},
		{"modules.load", "{'name': 'echo', 'sha256': null}", 400,
	         "{'error': {'code': 'sha256'}}"},
		{"modules.load", "{'name': 'puppet'}", 409, "{'error': {'code': 'exists'}}"},
		{"modules.load", "{'name': 'no_such'}", 422,
	         "{'error': {'code': 'not_found', 'step': 'stage', 'module': 'no_such'}}"},
		{"modules.reload", "{'name': 7}", 400, "{'error': {'code': 'name'}}"},
		{"modules.reload", "{'name': 'puppet', 'names': ['puppet']}", 400,
	         "{'error': {'code': 'names'}}"},
		{"modules.reload", "{'names': 'puppet'}", 400, "{'error': {'code': 'names'}}"},
		{"modules.reload", "{'names': []}", 400, "{'error': {'code': 'names'}}"},
		{"modules.reload", "{'names': ['puppet', 7]}", 400, "{'error': {'code': 'names'}}"},
		{"modules.reload", "{'sha256': 'abc', 'name': 'puppet'}", 400,
	         "{'error': {'code': 'sha256'}}"},
		{"modules.reload",
	         "{'sha256': '0123456789012345678901234567890123456789012345678901234567890123'}",
	         400, "{'error': {'code': 'sha256'}}"},
		{"modules.reload", "{'wait': 'for ever'}", 400, "{'error': {'code': 'wait'}}"},
		{"modules.reload", "{'name': 'no_such'}", 404,
	         "{'error': {'code': 'unknown_module', 'module': 'no_such', 'message': 'no module "
	         "no_such is loaded'}}"},
		{"modules.reload", "{'names': ['puppet', 'no_such']}", 404,
	         "{'error': {'code': 'unknown_module'}}"},
		/* a name that is cut in the middle of a character for the sentence */
		{"modules.reload",
	         "{'name': 'x\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9"
	         "\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9"
	         "\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9"
	         "\\u00e9\\u00e9\\u00e9'}",
	         404, "{'error': {'code': 'unknown_module'}}"},
		{"modules.reload", "{'wait': 'switch'}", 200, "{'result': 'unchanged'}"},
		{"modules.reload", "{'wait': 'commit'}", 200, "{'result': 'unchanged'}"},
		{"modules.unload", NULL, 400, "{'error': {'code': 'name'}}"},
		{"modules.unload", "{'name': 'no_such'}", 404,
	         "{'error': {'code': 'unknown_module'}}"},
		{"modules.load", "{'name': 'echo', 'conf': {}}", 200, "{'result': 'switched'}"},
		{"modules.unload", "{'name': 'echo'}", 200, "{'result': 'switched'}"},
	};
	char names[1024] = "{'names': ['puppet'";

	begin("");
	ROWS(rows);
	for (int i = 0; i < 64; i++) {
		strcat(names, ",'puppet'");
	}
	strcat(names, "]}");
	CU_ASSERT_TRUE(
		rig_admin_expect(&n, "modules.reload", names, 400, "{'error': {'code': 'names'}}"));
	end();
}

/* What a verb does not know, or not so, is refused by name, and nothing is done. */
static void test_arguments(void)
{
	static const struct {
		const char *verb;
		const char *args;
		const char *code;
		const char *message;
	} rows[] = {
		{"modules.reload", "{'nmae': 'puppet'}", "unknown_argument",
	         "modules.reload takes no argument \"nmae\"; did you mean \"name\"?"},
		{"modules.reload", "{'name': 'puppet', 'probation': 3}", "unknown_argument",
	         "modules.reload takes no argument \"probation\""},
		{"modules.reload", "{'force': 'yes'}", "force", "force must be true or false"},
		{"modules.reload", "{'force': ''}", "force", "force must be true or false"},
		{"modules.reload", "{'force': 2}", "force", "force must be true or false"},
		{"modules.reload", "{'name': 'puppet', 'canary': '10%'}", "canary",
	         "canary must be a number"},
		{"modules.reload", "{'wait': 1}", "wait", "wait must be a text"},
		{"modules.reload", "{'names': 'puppet'}", "names", "names must be a list of texts"},
		{"modules.load", "{'name': 'puppet', 'config': {}}", "unknown_argument",
	         "modules.load takes no argument \"config\"; did you mean \"conf\"?"},
		{"modules.unload", "{'name': 'puppet', 'force': true}", "unknown_argument",
	         "modules.unload takes no argument \"force\""},
		{"sessions", "{'limit': 'x'}", "limit", "limit must be a number"},
		{"sessions", "{'limit': ''}", "limit", "limit must be a number"},
		{"sessions", "{'limit': null}", "limit", "limit must be a number"},
		{"node", "{'x': 1}", "unknown_argument", "node takes no argument \"x\""},
		{"stop", "{'now': true}", "unknown_argument", "stop takes no argument \"now\""},
	};

	begin("");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *body;
		CU_ASSERT_EQUAL(rig_admin(&n, rows[i].verb, rows[i].args, &body), 400);
		const json_t *error = json_object_get(body, "error");
		const char *code = json_string_value(json_object_get(error, "code"));
		const char *message = json_string_value(json_object_get(error, "message"));
		CU_ASSERT_STRING_EQUAL(code != NULL ? code : "", rows[i].code);
		CU_ASSERT_STRING_EQUAL(message != NULL ? message : "", rows[i].message);
		json_decref(body);
	}
	CU_ASSERT_TRUE(rig_admin_expect(&n, "health", "{'t': '1'}", 200, "{}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'force': '1'}", 200,
	                                "{'tx': 2, 'result': 'switched'}"));
	end();
}

static void test_node_verbs(void)
{
	static const struct row rows[] = {
		{"log.level", NULL, 400, "{'error': {'code': 'level'}}"},
		{"log.level", "{'level': 'loud'}", 400, "{'error': {'code': 'level'}}"},
		{"log.level", "{'level': 3}", 400, "{'error': {'code': 'level'}}"},
		{"log.level", "{'level': 'warn'}", 200, "{'level': 'warning'}"},
		{"log.level", "{'level': 'debug'}", 200, "{'level': 'debug'}"},
		{"sessions.close", NULL, 404, "{'error': {'code': 'unknown_session'}}"},
		{"sessions.close", "{'id': 7}", 400, "{'error': {'code': 'id'}}"},
		{"sessions.close", "{'id': 'n-0000000000000001'}", 404,
	         "{'error': {'code': 'unknown_session'}}"},
		{"config.reload", NULL, 200,
	         "{'result': 'applied', 'changed': [], 'needs_restart': []}"},
		{"config.rollback", NULL, 404, "{'error': {'code': 'unknown_version'}}"},
		{"config.rollback", "{'version': 2}", 404,
	         "{'error': {'code': 'unknown_version'}}"},
		{"config.rollback", "{'version': '2'}", 404,
	         "{'error': {'code': 'unknown_version'}}"},
		{"config.rollback", "{'version': 9223372036854775807}", 404,
	         "{'error': {'code': 'unknown_version'}}"},
		{"config.rollback", "{'version': 0}", 400, "{'error': {'code': 'version'}}"},
		{"config.rollback", "{'version': -1}", 400, "{'error': {'code': 'version'}}"},
		{"config.rollback", "{'version': '../1'}", 400, "{'error': {'code': 'version'}}"},
		{"config.rollback", "{'version': 1.5}", 400, "{'error': {'code': 'version'}}"},
		{"config.rollback", "{'version': null}", 400, "{'error': {'code': 'version'}}"},
		{"config.rollback", "{'path': '/x'}", 400, "{'error': {'code': 'path'}}"},
		{"drain", NULL, 202, "{'status': 'draining'}"},
		{"ready", NULL, 503, "{'status': 'not ready', 'reason': 'draining'}"},
		{"health", NULL, 200, "{'status': 'ok'}"},
		{"node", NULL, 200, "{'state': 'draining'}"},
		{"stop", NULL, 202, "{'status': 'stopping'}"},
		{"stop", NULL, 202, "{'status': 'stopping'}"},
		{"ready", NULL, 503, "{'reason': 'stopping'}"},
	};

	begin("");
	ROWS(rows);
	end();
}

/* The table of verbs against what is derived from it. */
static void test_verbs(void)
{
	static const struct {
		const char *path;
		bool admin;
	} paths[] = {
		{"/node", true},
		{"/node/", false},
		{"/nodes", false},
		{"/modules", true},
		{"/modules/reload", true},
		{"/modules/anything", true},
		{"/modules/", true},
		{"/modules/tx/1", true},
		{"/sessions/x", true},
		{"/", false},
		{"", false},
		{"/healthz", true},
		{"/Node", false},
		{"/config/history", true},
		{"/config/reload", true},
		{"/config/rollback", true},
		{"/update_remote_rpc_config", true},
	};
	json_t *body;
	size_t i;
	json_t *v;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		CU_ASSERT_EQUAL(ob__admin_path(paths[i].path), paths[i].admin);
	}
	CU_ASSERT_TRUE(ob__admin_writes("no.such"));
	begin("");
	CU_ASSERT_EQUAL(rig_admin(&n, "verbs", NULL, &body), 200);
	CU_ASSERT(json_array_size(json_object_get(body, "verbs")) > 15);
	json_array_foreach (json_object_get(body, "verbs"), i, v) {
		const char *name = json_string_value(json_object_get(v, "verb"));
		const char *method = json_string_value(json_object_get(v, "method"));
		const char *path = json_string_value(json_object_get(v, "path"));
		bool write = json_is_true(json_object_get(v, "write"));
		CU_ASSERT_EQUAL(ob__admin_writes(name), write);
		CU_ASSERT_TRUE(ob__admin_path(path));
		/* reading is GET, and only reading; nothing that writes is open to anyone */
		CU_ASSERT_EQUAL(strcmp(method, "GET") == 0, !write);
		CU_ASSERT_FALSE(write && json_is_true(json_object_get(v, "open")));
		CU_ASSERT_EQUAL(strchr(path, '*') != NULL,
		                json_is_string(json_object_get(v, "tail")));
	}
	json_decref(body);
	end();
}

/* Pages of sessions. */
static void test_sessions(void)
{
	struct rig_client clients[5];
	char after[200] = "{'limit': 2}";
	int seen = 0;
	bool more = true;
	char first[OB_SESSION_TEXT] = "";

	begin("'listen': [{'port': 0}],");
	for (int i = 0; i < 5; i++) {
		rig_connect(&clients[i], n.port, true);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->sessions.local == 5));
	for (int page = 0; more && page < 9; page++) {
		json_t *body;
		size_t i;
		json_t *s;
		CU_ASSERT_EQUAL(rig_admin(&n, "sessions", after, &body), 200);
		CU_ASSERT_EQUAL(json_integer_value(json_object_get(body, "total")), 5);
		const json_t *list = json_object_get(body, "sessions");
		json_array_foreach (list, i, s) {
			const char *id = json_string_value(json_object_get(s, "id"));
			CU_ASSERT_TRUE(json_is_true(json_object_get(s, "local")));
			CU_ASSERT_EQUAL(strncmp(json_string_value(json_object_get(s, "peer")),
			                        "127.0.0.1:", 10),
			                0);
			seen++;
			if (first[0] == '\0') {
				snprintf(first, sizeof(first), "%s", id);
			}
			snprintf(after, sizeof(after), "{'limit': '2', 'after': '%d'}",
			         (int)json_integer_value(json_object_get(s, "number")));
		}
		CU_ASSERT(json_array_size(list) <= 2);
		more = json_is_true(json_object_get(body, "more"));
		json_decref(body);
	}
	CU_ASSERT_EQUAL(seen, 5);

	/* limits that make no sense are bent into ones that do */
	static const struct {
		const char *args;
		size_t len;
	} rows[] = {{"{'limit': 0}", 1},
	            {"{'limit': -7}", 1},
	            {"{'limit': 99999999}", 5},
	            {"{'limit': '3'}", 3}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *body;
		CU_ASSERT_EQUAL(rig_admin(&n, "sessions", rows[i].args, &body), 200);
		CU_ASSERT_EQUAL(json_array_size(json_object_get(body, "sessions")), rows[i].len);
		json_decref(body);
	}

	/* one is closed by the operator */
	char args[200];
	snprintf(args, sizeof(args), "{'id': '%s'}", first);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "sessions.close", args, 200, "{'status': 'closed'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "sessions.close", args, 404,
	                                "{'error': {'code': 'unknown_session'}}"));
	int closed = 0;
	for (int i = 0; i < 5; i++) {
		rig_turn_ms(2);
		rig_pump(&clients[i]);
		closed += clients[i].close_seen && clients[i].close_code == 1000;
		rig_disconnect(&clients[i]);
	}
	CU_ASSERT_EQUAL(closed, 1);
	end();
}

/* ---------------------------------------------------------------- the socket */

static void dial(struct rig_client *c)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/state/n/admin.sock", rig_dir);
	rig_connect_unix(c, path);
}

/* The next line as JSON has `expected`. */
static bool line_has(struct rig_client *c, const char *expected)
{
	uint8_t *nl = NULL;

	(void)RIG_UNTIL((rig_pump(c), c->eof || (c->packets_len > 0 &&
	                                         memchr(c->packets, '\n', c->packets_len))));
	nl = c->packets_len > 0 ? memchr(c->packets, '\n', c->packets_len) : NULL;
	if (nl == NULL) {
		return false;
	}
	size_t len = (size_t)(nl - c->packets);
	json_t *got = json_loadb((char *)c->packets, len, 0, NULL);
	json_t *want = rig_json(expected);
	bool same = got != NULL && rig_json_has(got, want);
	if (!same) {
		printf("# got %.*s\n", (int)len, (char *)c->packets);
	}
	json_decref(got);
	json_decref(want);
	memmove(c->packets, nl + 1, c->packets_len - len - 1);
	c->packets_len -= len + 1;
	return same;
}

static void say(struct rig_client *c, const char *text)
{
	char *copy = strdup(text);

	for (char *at = copy; *at != '\0'; at++) {
		*at = *at == '\'' ? '"' : *at;
	}
	rig_send_raw(c, copy, strlen(copy));
	free(copy);
}

static void test_socket(void)
{
	struct rig_client c;
	struct stat st;
	char path[256];

	begin("");
	snprintf(path, sizeof(path), "%s/state/n/admin.sock", rig_dir);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	dial(&c);
	say(&c, "{'verb': 'health'}\n");
	CU_ASSERT_TRUE(line_has(&c, "{'status': 200, 'body': {'status': 'ok'}}"));
	say(&c, "{'verb': 'metrics'}\n");
	CU_ASSERT_TRUE(line_has(&c, "{'status': 200}"));

	/* several in one, in pieces, and with others behind one that takes its time */
	say(&c, "{'verb': 'modules.reload', 'args': {'force': true}}\n{'verb': 'health'}\n{'verb");
	rig_turn();
	say(&c, "': 'no.such', 'args': {}}\n");
	CU_ASSERT_TRUE(line_has(&c, "{'status': 200, 'body': {'result': 'switched'}}"));
	CU_ASSERT_TRUE(line_has(&c, "{'status': 200, 'body': {'status': 'ok'}}"));
	CU_ASSERT_TRUE(line_has(&c, "{'status': 404}"));

	/* what is no request is told so, and the connection goes on */
	static const char *const bad[] = {"\n",
	                                  "hello\n",
	                                  "{}\n",
	                                  "[]\n",
	                                  "{'verb': 7}\n",
	                                  "{'verb': 'health'\n",
	                                  "{'verb': 'a', 'verb': 'b'}\n",
	                                  "'verb'\n"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		say(&c, bad[i]);
		CU_ASSERT_TRUE(
			line_has(&c, "{'status': 400, 'body': {'error': {'code': 'bad_line'}}}"));
	}
	say(&c, "{'verb': 'health', 'args': 7}\n");
	CU_ASSERT_TRUE(line_has(&c, "{'status': 400, 'body': {'error': {'code': 'args'}}}"));
	say(&c, "{'verb': 'health', 'args': null}\n");
	CU_ASSERT_TRUE(line_has(&c, "{'status': 400}"));
	say(&c, "{'verb': 'health'}\n");
	CU_ASSERT_TRUE(line_has(&c, "{'status': 200}"));
	rig_disconnect(&c);

	/* gone while its verb runs */
	dial(&c);
	say(&c, "{'verb': 'modules.reload', 'args': {'force': true}}\n{'verb': 'drain'}\n");
	rig_turn();
	rig_turn();
	rig_reset(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(p.stops == 2));
	rig_turn_ms(20);
	end();
}

static void test_socket_bounds(void)
{
	struct rig_client c;
	struct rig_client many[40];
	char *line = malloc((1u << 20) + 10);

	begin("");
	dial(&c);
	memset(line, 'x', (1u << 20) + 10);
	rig_send_raw(&c, line, (1u << 20) + 10);
	free(line);
	CU_ASSERT_TRUE(
		line_has(&c, "{'status': 400, 'body': {'error': {'message': 'a line is at most 1 "
	                     "MiB'}}}"));
	CU_ASSERT_EQUAL(rig_closed(&c), 0);
	rig_disconnect(&c);

	/* at most 32 at a time; those beyond are closed, those there go on */
	rig_turn_ms(20);
	int closed = 0;
	for (int i = 0; i < 40; i++) {
		dial(&many[i]);
	}
	rig_turn_ms(50);
	for (int i = 0; i < 40; i++) {
		rig_pump(&many[i]);
		closed += many[i].eof;
	}
	CU_ASSERT_EQUAL(closed, 8);
	say(&many[0], "{'verb': 'health'}\n");
	CU_ASSERT_TRUE(line_has(&many[0], "{'status': 200}"));
	for (int i = 0; i < 40; i++) {
		rig_disconnect(&many[i]);
	}
	rig_turn_ms(20);
	dial(&c);
	say(&c, "{'verb': 'stop'}\n");
	CU_ASSERT_TRUE(line_has(&c, "{'status': 202, 'body': {'status': 'stopping'}}"));
	rig_disconnect(&c);
	end();
}

/* The node is freed under connections, idle and with a verb under way. */
static void test_socket_freed(void)
{
	for (int turns = 0; turns < 12; turns++) {
		struct rig_client a;
		struct rig_client b;
		begin("");
		dial(&a);
		dial(&b);
		rig_turn_ms(5);
		say(&a,
		    "{'verb': 'modules.reload', 'args': {'force': true}}\n{'verb': 'health'}\n");
		for (int i = 0; i < turns; i++) {
			rig_turn();
		}
		rig_kill(&n);
		rig_disconnect(&a);
		rig_disconnect(&b);
		rig_end();
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("admin", NULL, NULL);
	CU_add_test(s, "reading", test_reads);
	CU_add_test(s, "modules", test_modules);
	CU_add_test(s, "arguments", test_arguments);
	CU_add_test(s, "the node", test_node_verbs);
	CU_add_test(s, "the table", test_verbs);
	CU_add_test(s, "sessions, page by page", test_sessions);
	s = CU_add_suite("admin socket", NULL, NULL);
	CU_add_test(s, "lines", test_socket);
	CU_add_test(s, "bounds", test_socket_bounds);
	CU_add_test(s, "freed in use", test_socket_freed);
	return ob__tap_run();
}
