/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Taking up a changed configuration: what is applied, what needs a restart, what is refused whole.
 */

#include <CUnit/CUnit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "tap.h"
#include "unit/files.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet one;
static struct puppet two;

static int checked;
static int applied;
static int last_value;
static int refuse_value;

static int reconf(ob_ctx *ctx, const json_t *conf, int phase, ob_err *err)
{
	int value = (int)json_integer_value(json_object_get(conf, "value"));

	if (phase == OB_RECONF_CHECK) {
		checked++;
		return value == refuse_value ? ob_err_set(err, "value: not %d", value) : 0;
	}
	applied++;
	last_value = value;
	return 0;
}

static int check(const json_t *conf, ob_err *err)
{
	return json_object_get(conf, "bad") != NULL ? ob_err_set(err, "bad: never") : 0;
}

static void write_conf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Members, then the two modules with their values. */
static void write_conf(const char *fmt, ...)
{
	char more[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(more, sizeof(more), fmt, ap);
	va_end(ap);
	rig_write_conf(&n, "n", "x", "%s", more);
}

#define MODULES                                                                \
	"'modules': [{'name': 'puppet', 'conf': {'hooks': %ld, 'value': %d}}," \
	"{'name': 'second', 'conf': {'hooks': %ld, 'value': %d}}]"
#define HOOKS(a, b) (long)(intptr_t)&one, a, (long)(intptr_t)&two, b

static void begin(void)
{
	rig_begin();
	memset(&one, 0, sizeof(one));
	memset(&two, 0, sizeof(two));
	checked = applied = last_value = 0;
	refuse_value = -1;
	one.reconf = reconf;
	one.check = check;
	rig_start(&n, "n", "x", MODULES, HOOKS(1, 1));
}

static void end(void)
{
	rig_stop(&n);
	rig_end();
}

static bool reload(int status, const char *body)
{
	return rig_admin_expect(&n, "config.reload", NULL, status, body);
}

static void test_applied(void)
{
	begin();
	CU_ASSERT_TRUE(reload(200, "{'result': 'applied', 'changed': [], 'needs_restart': []}"));
	CU_ASSERT_EQUAL(checked, 0); /* its conf has not changed */

	write_conf("'call_timeout': 2, 'limits': {'in_flight': 3}, 'log_level': 'error', 'rpc': "
	           "{'route': {'range': {'y': [[1, 5]]}}}, "
	           "'reload': {'drain': 7, 'probation': 0, 'probe': 0, 'rate': '0/s'}," MODULES,
	           HOOKS(2, 1));
	CU_ASSERT_TRUE(reload(200, "{'result': 'applied', 'needs_restart': []}"));
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 2000);
	CU_ASSERT_EQUAL(n.node->conf->limits.in_flight, 3);
	CU_ASSERT_EQUAL(n.node->conf->reload.drain_ms, 7000);
	CU_ASSERT_EQUAL(ob__log_level(), OB_LOG_ERROR);
	CU_ASSERT_EQUAL(ob__router_role(&n.node->router, 5), ob_role(one.ctx, "y"));
	CU_ASSERT_EQUAL(ob__router_role(&n.node->router, 6), 0);
	CU_ASSERT_EQUAL(json_integer_value(ob_config(one.ctx, "call_timeout")), 2);

	/* the module with a hook has taken its conf, phase by phase; the other one was left alone
	 */
	CU_ASSERT_EQUAL(checked, 1);
	CU_ASSERT_EQUAL(applied, 1);
	CU_ASSERT_EQUAL(last_value, 2);
	CU_ASSERT_EQUAL(two.reconfs, 0);
	CU_ASSERT_EQUAL(one.starts, 1); /* no code was loaded */

	/* and back */
	write_conf(MODULES, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'result': 'applied'}"));
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 5000);
	CU_ASSERT_EQUAL(ob__router_role(&n.node->router, 5), 0);
	CU_ASSERT_EQUAL(last_value, 1);
	end();
}

/* A member that changed is named on the right list, whether it came, went or is another. */
static const struct {
	const char *members;
	const char *body; /* when they come, and the same when they go */
} named[] = {
	{"'call_timeout': 1,", "{'changed': ['call_timeout'], 'needs_restart': []}"},
	{"'host': 'localhost', 'pid': '/nonexistent/x',",
         "{'changed': [], 'needs_restart': ['host', 'pid']}"},
	{"'log_level': 'error', 'log': {'ring': 99},",
         "{'changed': ['log_level'], 'needs_restart': ['log']}"},
	{"'rpc': {'route': {'special': {'y': [1]}}},", "{'changed': ['rpc'], 'needs_restart': []}"},
	{"'rpc': {'token': 'a token of some length'},",
         "{'changed': ['rpc'], 'needs_restart': []}"},
	{"'rpc': {'token': 'a token of some length', 'encode': 1},",
         "{'changed': [], 'needs_restart': ['rpc']}"},
	{"'limits': {'in_flight': 3, 'message': 5000},",
         "{'changed': ['limits'], 'needs_restart': []}"},
	{"'limits': {'connections': 3},", "{'changed': [], 'needs_restart': ['limits']}"},
	{"'rpc': {'reconnect_time': 2},", "{'changed': [], 'needs_restart': ['rpc']}"},
	{"'http': {'token': 'x'},", "{'changed': ['http'], 'needs_restart': []}"},
	{"'http': {'port': 1},", "{'changed': [], 'needs_restart': ['http']}"},
	{"'listen': [{}],", "{'needs_restart': ['listen']}"},
};

static void test_names(void)
{
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
		begin();
		write_conf("%s" MODULES, named[i].members, HOOKS(1, 1));
		bool came = reload(200, named[i].body);
		write_conf(MODULES, HOOKS(1, 1));
		bool went = reload(200, named[i].body);
		CU_ASSERT_TRUE(came && went);
		if (!came || !went) {
			printf("# %s\n", named[i].members);
		}
		end();
	}
}

/* Modules that come or go do so at a restart; code is never loaded here. */
static void test_modules(void)
{
	begin();
	write_conf("'modules': [{'name': 'puppet', 'conf': {'hooks': %ld, 'value': 5}}, 'echo']",
	           (long)(intptr_t)&one);
	CU_ASSERT_TRUE(reload(200, "{'changed': [], 'needs_restart': ['modules']}"));
	CU_ASSERT_EQUAL(last_value, 5); /* the conf of one that stays is taken over all the same */
	CU_ASSERT_PTR_NULL(ob__module_find(n.node, "echo"));
	CU_ASSERT_PTR_NOT_NULL(ob__module_find(n.node, "second"));
	end();
}

/* Warnings are logged and no obstacle. */
static void test_warnings(void)
{
	begin();
	rig_stop(&n);
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", "'modules': [{'name': 'answer', 'conf': {'a': 1}}]");
	rig_write_conf(
		&n, "n", "x",
		"'unknown_to_all': 1, 'api_path': '', 'rpc': {'route': {'range': {'y': [[1, 9]], "
		"'z': [[5, 6]]}}}, 'modules': [{'name': 'answer', 'conf': {'a': 2}}]");
	CU_ASSERT_TRUE(reload(200, "{'changed': ['rpc', 'modules']}"));
	CU_ASSERT_TRUE(rig_logged("n", "unknown_to_all: "));
	CU_ASSERT_TRUE(rig_logged("n", "[1, 9] of y and [5, 6] of z overlap; z wins"));
	end();
}

/* A module without reconf is exchanged for a new generation of the same code, even when its file is
 * another one by now; where that is refused, nothing of the configuration is taken over. */
static void test_exchange(void)
{
	begin();
	rig_stop(&n);
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", "'modules': [{'name': 'answer', 'conf': {'a': 1}}]");
	rig_install("answer_b", "answer");
	rig_write_conf(&n, "n", "x",
	               "'call_timeout': 7, 'modules': [{'name': 'answer', 'conf': {'a': 2}}]");
	CU_ASSERT_TRUE(reload(
		200, "{'result': 'applied', 'changed': ['call_timeout', 'modules'], 'tx': 2}"));
	const struct ob__module *m = ob__module_find(n.node, "answer");
	CU_ASSERT_EQUAL(m->active->number, 2);
	CU_ASSERT_STRING_EQUAL(m->active->version, "A");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(m->active->conf, "a")), 2);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(m->conf, "a")), 2);
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 7000);

	/* The copy it runs from can't be read again: refused as a whole. */
	CU_ASSERT_EQUAL(unlink(m->active->staged), 0);
	rig_write_conf(&n, "n", "x",
	               "'call_timeout': 9, 'modules': [{'name': 'answer', 'conf': {'a': 3}}]");
	CU_ASSERT_TRUE(reload(422, "{'error': {'code': 'conf'}}"));
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 7000);
	CU_ASSERT_EQUAL(m->active->number, 2);
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(m->conf, "a")), 2);
	end();
}

/* Anything wrong: nothing of it is taken over. */
static void test_refused(void)
{
	begin();
	const struct ob__nodeconf *before = n.node->conf;

	write_conf("'call_timeout': 0, 'log_level': 'error'," MODULES, HOOKS(2, 1));
	CU_ASSERT_TRUE(reload(422, "{'error': {'code': 'conf'}}"));
	CU_ASSERT_PTR_EQUAL(n.node->conf, before);
	CU_ASSERT_EQUAL(ob__log_level(), OB_LOG_DEBUG);
	CU_ASSERT_EQUAL(checked, 0);

	/* every error of the file is in the answer */
	json_t *body;
	write_conf("'call_timeout': 0, 'rpc': {'port': 1, 'tokens': {' ': 'x'}}," MODULES,
	           HOOKS(1, 1));
	CU_ASSERT_EQUAL(rig_admin(&n, "config.reload", NULL, &body), 422);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(json_object_get(body, "error"), "errors")),
	                2);
	json_decref(body);

	/* a module says no: the other ones don't apply either */
	two.reconf = reconf;
	refuse_value = 9;
	write_conf("'call_timeout': 2," MODULES, HOOKS(2, 9));
	CU_ASSERT_TRUE(reload(422, "{'error': {'errors': ['modules: second: value: not 9']}}"));
	CU_ASSERT_EQUAL(checked, 2);
	CU_ASSERT_EQUAL(applied, 0);
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 5000);

	/* its check is asked before its reconf */
	rig_write_conf(&n, "n", "x",
	               "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld, 'bad': 1}}]",
	               (long)(intptr_t)&one);
	CU_ASSERT_TRUE(reload(422, "{'error': {'errors': ['modules: puppet: bad: never']}}"));
	CU_ASSERT_EQUAL(checked, 2);

	/* another node's file */
	rig_write_conf(&n, "n", "y", MODULES, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(422,
	                      "{'error': {'errors': ['name and type can\\u0027t change while the "
	                      "node runs']}}"));

	/* no file at all */
	CU_ASSERT_EQUAL(unlink(n.conf_path), 0);
	CU_ASSERT_TRUE(reload(422, "{'error': {'code': 'conf'}}"));

	/* the node still runs, and takes a good one */
	write_conf("'call_timeout': 3," MODULES, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'changed': ['call_timeout']}"));
	end();
}

/* remote_ports: dialled when they come, dropped when they go, left alone when they stay. */
static void test_remotes(void)
{
	struct rig_node peer;
	int port = rig_port();

	begin();
	rig_stop(&n);
	rig_start(&n, "n", "x", "'rpc': {'token': '" RIG_TOKEN "'}," MODULES, HOOKS(1, 1));
	rig_start(&peer, "peer", "y",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "'}, 'modules': []", port);
	write_conf("'rpc': {'token': '" RIG_TOKEN "'}, 'remote_ports': [{'port': %d}]," MODULES,
	           port, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'result': 'applied'}"));
	uint64_t id = ob__node_id("peer");
	CU_ASSERT_TRUE(RIG_UNTIL(ob__registry_get(&n.node->registry, id) != NULL &&
	                         ob__registry_get(&n.node->registry, id)->link != NULL));
	const struct ob__link *link = ob__registry_get(&n.node->registry, id)->link;

	write_conf("'call_timeout': 1, 'rpc': {'token': '" RIG_TOKEN
	           "'}, 'remote_ports': [{'port': %d, 'host': '127.0.0.1'}]," MODULES,
	           port, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'result': 'applied'}"));
	rig_turn_ms(30);
	CU_ASSERT_PTR_EQUAL(ob__registry_get(&n.node->registry, id)->link, link);

	write_conf("'rpc': {'token': '" RIG_TOKEN "'}," MODULES, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'result': 'applied'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__registry_get(&n.node->registry, id)->link == NULL));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "peers", NULL, 200,
	                                "{'peers': [{'name': 'peer', 'state': 'down'}], "
	                                "'remote_ports': []}"));
	rig_stop(&peer);
	end();
}

/* What listeners were bound with stays: a client there is read with the limits of now and the ids
 * of then. */
static void test_listeners_stay(void)
{
	struct rig_client c;

	begin();
	rig_stop(&n);
	rig_start(&n, "n", "x", "'listen': [{'port': 0, 'timeout': 5}]," MODULES, HOOKS(1, 1));
	rig_connect(&c, n.port, true);
	int port = n.port;
	write_conf("'listen': [{'port': 0, 'timeout': 9}, {'transport': 'tcp'}]," MODULES,
	           HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'needs_restart': ['listen']}"));
	CU_ASSERT_EQUAL(n.node->clients.listeners_len, 1);
	CU_ASSERT_EQUAL(n.node->clients.listeners[0].conf->timeout_ms, 5000);
	CU_ASSERT_EQUAL(ob__listener_port(n.node->clients.listeners[0].listener), port);
	rig_send(&c, 5, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 5, 503, NULL));
	/* twice: the first one's leftovers are not freed again */
	write_conf("'listen': []," MODULES, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'result': 'applied'}"));
	rig_send(&c, 5, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 5, 503, NULL));
	rig_disconnect(&c);
	end();
}

/* ---------------------------------------------------------------- kept ones */

/* The numbers that are kept, newest first: "3 2 1". */
static const char *kept(void)
{
	static char out[256];
	json_t *body;
	size_t i;
	const json_t *v;

	CU_ASSERT_EQUAL(rig_admin(&n, "config.history", NULL, &body), 200);
	out[0] = '\0';
	json_array_foreach (json_object_get(body, "versions"), i, v) {
		size_t len = strlen(out);
		snprintf(out + len, sizeof(out) - len, "%s%d", i > 0 ? " " : "",
		         (int)json_integer_value(json_object_get(v, "version")));
	}
	json_decref(body);
	return out;
}

static const char *kept_path(int number)
{
	static char path[600];

	snprintf(path, sizeof(path), "%s/conf/%d.conf", n.node->dir, number);
	return path;
}

static bool rollback(const char *args, int status, const char *body)
{
	return rig_admin_expect(&n, "config.rollback", args, status, body);
}

static void test_kept(void)
{
	begin();
	CU_ASSERT_STRING_EQUAL(kept(), "1"); /* what it was started with */
	CU_ASSERT_TRUE(reload(200, "{'version': 1}"));
	CU_ASSERT_STRING_EQUAL(kept(), "1");
	write_conf("'call_timeout': 2," MODULES, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'version': 2}"));
	write_conf("'call_timeout': -2," MODULES, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(422, "{}"));
	CU_ASSERT_STRING_EQUAL(kept(), "2 1");

	/* the text itself, comments and all */
	write_conf("'call_timeout': 3, /* three */" MODULES, HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'version': 3}"));
	char *file = files_read(n.conf_path, NULL);
	char *copy = files_read(kept_path(3), NULL);
	CU_ASSERT_STRING_EQUAL(copy, file);
	CU_ASSERT_PTR_NOT_NULL(strstr(copy, "/* three */"));
	free(file);
	free(copy);

	/* they are there after a restart, and the file of then is not kept twice */
	rig_stop(&n);
	rig_start(&n, "n", "x", "'call_timeout': 3, /* three */" MODULES, HOOKS(1, 1));
	CU_ASSERT_STRING_EQUAL(kept(), "3 2 1");
	end();
}

/* What is read is what is kept, though the file is another one by then. */
static int start_other_file(ob_ctx *ctx, const json_t *conf)
{
	write_conf("'call_timeout': 9," MODULES, HOOKS(1, 1));
	return 0;
}

static void test_kept_as_read(void)
{
	begin();
	rig_stop(&n);
	one.start = start_other_file;
	rig_start(&n, "n", "x", "'call_timeout': 4," MODULES, HOOKS(1, 1));
	CU_ASSERT_STRING_EQUAL(kept(), "2 1");
	char *copy = files_read(kept_path(2), NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(copy, "\"call_timeout\": 4"));
	free(copy);
	end();
}

/* A node that can't keep it runs and reloads all the same. */
static void test_not_kept(void)
{
	begin();
	CU_ASSERT_EQUAL(unlink(kept_path(1)), 0);
	char dir[600];
	snprintf(dir, sizeof(dir), "%s/conf", n.node->dir);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
	files_write_text(dir, "");
	write_conf("'call_timeout': 2," MODULES, HOOKS(1, 1));
	json_t *body;
	CU_ASSERT_EQUAL(rig_admin(&n, "config.reload", NULL, &body), 200);
	CU_ASSERT_PTR_NULL(json_object_get(body, "version"));
	json_decref(body);
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 2000);
	CU_ASSERT_TRUE(rig_logged("n", "this configuration is not kept to return to"));
	CU_ASSERT_STRING_EQUAL(kept(), "");
	CU_ASSERT_TRUE(rollback(NULL, 404, "{'error': {'code': 'unknown_version'}}"));
	end();
}

static void test_rollback(void)
{
	begin();
	CU_ASSERT_TRUE(rollback(NULL, 404, "{'error': {'code': 'unknown_version'}}"));
	write_conf("'call_timeout': 2, 'rpc': {'route': {'range': {'y': [[1, 5]]}}}," MODULES,
	           HOOKS(2, 1));
	CU_ASSERT_TRUE(reload(200, "{'version': 2}"));
	CU_ASSERT_EQUAL(last_value, 2);
	char *before = files_read(n.conf_path, NULL);

	/* back: as a reload of that text would be, both phases */
	checked = applied = 0;
	char expected[1400];
	snprintf(expected, sizeof(expected),
	         "{'result': 'applied', 'version': 1, 'kept_as': 3, 'needs_restart': [], 'file': "
	         "'%s', 'note': '%s is as it was, and is read by the next reload or start'}",
	         kept_path(1), n.conf_path);
	CU_ASSERT_TRUE(rollback(NULL, 200, expected));
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 5000);
	CU_ASSERT_EQUAL(ob__router_role(&n.node->router, 5), 0);
	CU_ASSERT_EQUAL(checked, 1);
	CU_ASSERT_EQUAL(applied, 1);
	CU_ASSERT_EQUAL(last_value, 1);
	CU_ASSERT_STRING_EQUAL(kept(), "3 2 1");

	/* the operator's file is still that, and still the node's */
	CU_ASSERT_STRING_EQUAL(n.node->conf->path, n.conf_path);
	char *after = files_read(n.conf_path, NULL);
	CU_ASSERT_STRING_EQUAL(after, before);
	free(before);
	free(after);

	/* back from being back */
	CU_ASSERT_TRUE(rollback(NULL, 200, "{'version': 2, 'kept_as': 4}"));
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 2000);
	CU_ASSERT_EQUAL(last_value, 2);

	/* to one that is named, also to the one that is in force */
	CU_ASSERT_TRUE(rollback("{'version': 3}", 200, "{'version': 3, 'kept_as': 5}"));
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 5000);
	CU_ASSERT_TRUE(
		rollback("{'version': '5'}", 200, "{'version': 5, 'kept_as': 5, 'changed': []}"));

	/* and the file again */
	CU_ASSERT_TRUE(reload(200, "{'version': 6}"));
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 2000);
	end();
}

/* Anything wrong with a kept one: nothing changes, and it is that file which is named. */
static void test_rollback_refused(void)
{
	begin();
	write_conf("'call_timeout': 2," MODULES, HOOKS(2, 1));
	CU_ASSERT_TRUE(reload(200, "{'version': 2}"));
	const struct ob__nodeconf *conf = n.node->conf;

	/* a module says no to what it once took */
	refuse_value = 1;
	CU_ASSERT_TRUE(rollback(
		NULL, 422,
		"{'error': {'code': 'conf', 'errors': ['modules: puppet: value: not 1']}}"));
	refuse_value = -1;

	/* somebody has been at it */
	files_write_text(kept_path(1), "{\n\"name\": }");
	json_t *body;
	CU_ASSERT_EQUAL(rig_admin(&n, "config.rollback", NULL, &body), 422);
	const char *line = json_string_value(
		json_array_get(json_object_get(json_object_get(body, "error"), "errors"), 0));
	CU_ASSERT_PTR_NOT_NULL_FATAL(line);
	char start[700];
	snprintf(start, sizeof(start), "%s:2: ", kept_path(1));
	CU_ASSERT_EQUAL(strncmp(line, start, strlen(start)), 0);
	json_decref(body);
	CU_ASSERT_TRUE(rig_logged("n", "/conf/1.conf: not taken over; nothing has changed"));

	/* or it is gone */
	CU_ASSERT_EQUAL(unlink(kept_path(1)), 0);
	CU_ASSERT_TRUE(rollback("{'version': 1}", 404,
	                        "{'error': {'code': 'unknown_version', 'message': 'no such version "
	                        "is kept; config.history lists them'}}"));

	CU_ASSERT_PTR_EQUAL(n.node->conf, conf);
	CU_ASSERT_EQUAL(applied, 1);
	CU_ASSERT_STRING_EQUAL(kept(), "2");
	CU_ASSERT_TRUE(reload(200, "{'version': 2}"));
	end();
}

/* A secret in a file beside the configuration is looked for there, not beside the copy. */
static void test_rollback_secret(void)
{
	char path[600];

	begin();
	rig_stop(&n);
	snprintf(path, sizeof(path), "%s/token", rig_dir);
	files_write_text(path, "the token of the file\n");
	CU_ASSERT_EQUAL(chmod(path, 0600), 0);
	rig_start(&n, "n", "x", "'http': {'port': %d, 'token': {'file': 'token'}}," MODULES,
	          rig_port(), HOOKS(1, 1));
	char *copy = files_read(kept_path(2), NULL);
	CU_ASSERT_PTR_NULL(strstr(copy, "the token of the file"));
	free(copy);
	int port = n.node->conf->http_port;
	write_conf("'http': {'port': %d, 'token': 'another one, here itself'}," MODULES, port,
	           HOOKS(1, 1));
	CU_ASSERT_TRUE(reload(200, "{'version': 3}"));
	CU_ASSERT_STRING_EQUAL(n.node->conf->http_token, "another one, here itself");
	CU_ASSERT_TRUE(rollback(NULL, 200, "{'version': 2, 'kept_as': 4}"));
	CU_ASSERT_STRING_EQUAL(n.node->conf->http_token, "the token of the file");
	end();
}

/* HUP does the same. */
static void test_hangup(void)
{
	begin();
	write_conf("'call_timeout': 4," MODULES, HOOKS(1, 1));
	CU_ASSERT_EQUAL(kill(getpid(), SIGHUP), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->conf->call_timeout_ms == 4000));
	write_conf("'call_timeout': -4," MODULES, HOOKS(1, 1));
	CU_ASSERT_EQUAL(kill(getpid(), SIGHUP), 0);
	rig_turn_ms(50);
	CU_ASSERT_EQUAL(n.node->conf->call_timeout_ms, 4000);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("confreload", NULL, NULL);
	CU_add_test(s, "applied", test_applied);
	CU_add_test(s, "what changed is named", test_names);
	CU_add_test(s, "modules that come and go", test_modules);
	CU_add_test(s, "warnings", test_warnings);
	CU_add_test(s, "exchanged", test_exchange);
	CU_add_test(s, "refused whole", test_refused);
	CU_add_test(s, "remote_ports", test_remotes);
	CU_add_test(s, "listeners stay as they were bound", test_listeners_stay);
	CU_add_test(s, "kept", test_kept);
	CU_add_test(s, "kept as it was read", test_kept_as_read);
	CU_add_test(s, "what can't be kept", test_not_kept);
	CU_add_test(s, "back to a kept one", test_rollback);
	CU_add_test(s, "not back to a kept one", test_rollback_refused);
	CU_add_test(s, "a kept one's secrets", test_rollback_secret);
	CU_add_test(s, "HUP", test_hangup);
	return ob__tap_run();
}
