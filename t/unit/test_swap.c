/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Loading, exchanging and taking out modules in a running node, and what that does to generations
 * and to what they have in flight. */

#include <CUnit/CUnit.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/swap.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet first;
static struct puppet second;

static void begin(void)
{
	rig_begin();
	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
}

#define PUPPET  "{'name': 'puppet', 'conf': {'hooks': %ld}}"
#define SECOND  "{'name': 'second', 'conf': {'hooks': %ld}}"
#define LISTEN  "'listen': [{'port': 0}],"
#define RELOAD  "'reload': {'drain': 0.1},"
#define HOOKS(p) ((long)(intptr_t)(p))

/* How many files named "*part*" are mapped: of generations that ld.so still has. */
static int count_mapped(struct dl_phdr_info *info, size_t size, void *arg)
{
	const char *const *part = arg;
	(void)size;
	return 0 * (strstr(info->dlpi_name, *part) != NULL);
}

struct mapped {
	const char *part;
	int count;
};

static int see_mapped(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct mapped *m = arg;

	(void)size;
	m->count += strstr(info->dlpi_name, m->part) != NULL;
	return 0;
}

static int mapped(const char *part)
{
	struct mapped m = {.part = part};

	dl_iterate_phdr(see_mapped, &m);
	return m.count;
}

static struct ob__module *module_named(const char *name)
{
	return ob__module_find(n.node, name);
}

/* Waits until only the active generation of a module is left. */
static bool settled(const char *name)
{
	return RIG_UNTIL(module_named(name) != NULL && module_named(name)->gen_count == 1);
}

/* ---------------------------------------------------------------- reload */

static void test_reload(void)
{
	struct rig_client c;

	begin();
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", LISTEN "'modules': ['answer']");
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'version': 'A', 'count': 1}"));

	/* Unchanged: nothing happens, whether one or all are asked for. */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", NULL, 200,
	                                "{'tx': 2, 'result': 'unchanged'}"));
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules.reload", "{'name': 'answer'}", 200,
		"{'tx': 3, 'result': 'unchanged', 'modules': [{'name': 'answer', 'state': "
		"'unchanged', 'from': {'generation': 1}, 'to': {'generation': 1}}]}"));

	/* Changed: only that one switches, under the client, with its state. */
	rig_install("answer_b", "answer");
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules.reload", NULL, 200,
		"{'tx': 4, 'result': 'switched', 'modules': [{'name': 'answer', 'state': 'active', "
		"'from': {'version': 'A'}, 'to': {'version': 'B'}}, {'name': "
		"'codec_obespoir', 'state': 'unchanged'}]}"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'version': 'B', 'count': 2}"));

	/* The old code is unmapped, and its copy removed. */
	CU_ASSERT_TRUE(settled("answer"));
	CU_ASSERT_EQUAL(mapped("/stage/answer."), 1);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_unmapped_total"), 1);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_zombies_total"), 0);

	/* Forced: the same file is taken again. */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'answer', 'force': true}",
	                                200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'version': 'B', 'count': 3}"));
	CU_ASSERT_TRUE(settled("answer"));
	rig_disconnect(&c);
	rig_stop(&n);
	CU_ASSERT_EQUAL(mapped("/stage/answer."), 1); /* at the end of a node nothing is unmapped */
	rig_end();
}

/* The client's stream, the codec's and the proxy's generations change under it packet by packet. */
static void test_reload_while_sending(void)
{
	struct rig_client c;
	unsigned answered = 0;

	begin();
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", LISTEN "'modules': ['answer']");
	rig_connect(&c, n.port, true);
	for (unsigned round = 0; round < 6; round++) {
		rig_install(round % 2 == 0 ? "answer_b" : "answer_a", "answer");
		for (unsigned i = 0; i < 50; i++) {
			rig_send(&c, 1000, "{}");
		}
		CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload",
		                                "{'names': ['answer', 'codec_obespoir'], 'force': true}",
		                                200, "{'result': 'switched'}"));
		for (unsigned i = 0; i < 50; i++) {
			rig_send(&c, 1000, "{}");
		}
		while (answered < 100 * (round + 1) && rig_recv(&c)) {
			json_t *body = json_loads(c.body, 0, NULL);
			answered++;
			CU_ASSERT_EQUAL(json_integer_value(json_object_get(body, "count")), answered);
			json_decref(body);
		}
	}
	CU_ASSERT_EQUAL(answered, 600);
	CU_ASSERT_TRUE(settled("answer"));
	rig_disconnect(&c);
	rig_stop(&n);
	rig_end();
}

static void test_sha256(void)
{
	json_t *body;
	char args[200];
	char want[600];

	begin();
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", "'modules': ['answer']");
	char sha_a[65];
	memcpy(sha_a, module_named("answer")->active->sha256, sizeof(sha_a));
	rig_install("answer_b", "answer");
	snprintf(args, sizeof(args), "{'name': 'answer', 'sha256': '%s'}", sha_a);
	CU_ASSERT_EQUAL(rig_admin(&n, "modules.reload", args, &body), 422);
	snprintf(want, sizeof(want),
	         "{'result': 'refused', 'error': {'code': 'sha256', 'step': 'stage', 'module': "
	         "'answer', 'expected': '%s'}}",
	         sha_a);
	json_t *part = rig_json(want);
	CU_ASSERT_TRUE(rig_json_has(body, part));
	const char *found = json_string_value(
		json_object_get(json_object_get(body, "error"), "found"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(found);
	snprintf(args, sizeof(args), "{'name': 'answer', 'sha256': '%s'}", found);
	json_decref(part);
	json_decref(body);
	CU_ASSERT_STRING_EQUAL(module_named("answer")->active->version, "A");
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", args, 200, "{'result': 'switched'}"));
	CU_ASSERT_STRING_EQUAL(module_named("answer")->active->version, "B");
	rig_stop(&n);
	rig_end();
}

/* ---------------------------------------------------------------- all or none */

static int fail_check(const json_t *conf, ob_err *err)
{
	return ob_err_set(err, "hooks: %s", "not these");
}

static int fail_check_silently(const json_t *conf, ob_err *err)
{
	return OB_E_LIMIT;
}

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:s}", "from", "handler");
}

static int start_and_fail(ob_ctx *ctx, const json_t *conf)
{
	CU_ASSERT_EQUAL(ob_on_id(ctx, 2000, answer), 0);
	CU_ASSERT_EQUAL(ob_on_filter(ctx, 1, (ob_filter_fn)1), 0);
	return ob_refuse(ctx, OB_E_INVAL, "the moon is full");
}

static int fail_start(ob_ctx *ctx, const json_t *conf)
{
	return OB_E_NOMEM;
}

static int fail_taken(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 1000, answer);
}

static int fail_selftest(ob_ctx *ctx)
{
	return OB_E_APP;
}

static const struct {
	struct puppet hooks; /* of the second module's new generation */
	const char *error;
	int stops; /* of it: only what was started is stopped */
} refusals[] = {
	{{.check = fail_check},
         "{'step': 'check', 'code': 'conf', 'module': 'second', 'message': 'hooks: not these'}",
         0},
	{{.check = fail_check_silently},
         "{'step': 'check', 'code': 'conf', 'message': 'a limit is reached'}",
         0},
	{{.start = fail_start},
         "{'step': 'start', 'code': 'start', 'message': 'start failed: out of memory'}",
         0},
	{{.start = start_and_fail},
         "{'step': 'start', 'message': 'start failed: the moon is full: an argument makes no "
         "sense'}",
         0},
	{{.start = fail_taken},
         "{'step': 'start', 'message': 'start failed: id 1000: another module has it already', "
         "'remedy': 'another module has an id, method or path it asks for'}",
         0},
	{{.selftest = fail_selftest},
         "{'step': 'selftest', 'code': 'selftest', 'message': 'selftest failed: the handler "
         "failed'}",
         1},
};

static int take_1000(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 1000, answer);
}

/* One of two is refused, at each step: the other does not switch either, and nothing is left. */
static void test_all_or_none(void)
{
	struct rig_client c;

	begin();
	first.start = take_1000;
	rig_start(&n, "n", "x", LISTEN "'modules': [" PUPPET "," SECOND "]", HOOKS(&first),
	          HOOKS(&second));
	rig_connect(&c, n.port, true);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		char want[600];
		struct puppet before = first;
		second = refusals[i].hooks;
		snprintf(want, sizeof(want), "{'result': 'refused', 'error': %s}",
		         refusals[i].error);
		CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload",
		                                "{'names': ['puppet', 'second'], 'force': true}",
		                                422, want));
		CU_ASSERT_EQUAL(first.starts, before.starts + (refusals[i].hooks.check == NULL ||
		                                               second.checks > 0));
		CU_ASSERT_EQUAL(first.lives, before.lives);
		CU_ASSERT_EQUAL(first.stops, first.starts - 1); /* each shadow was stopped */
		CU_ASSERT_EQUAL(second.lives, 0);
		CU_ASSERT_EQUAL(second.stops, refusals[i].stops);
		CU_ASSERT_EQUAL(first.drains, 0);
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'from': 'handler'}"));
		CU_ASSERT_TRUE(settled("puppet") && settled("second"));
		CU_ASSERT_EQUAL(mapped("/stage/puppet."), 1);
		CU_ASSERT_EQUAL(mapped("/stage/second."), 1);
		CU_ASSERT_PTR_NULL(ob__slots_by_id(&n.node->slots, true, 2000));
		CU_ASSERT_EQUAL(n.node->slots.filters.len, 0);
	}
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_refused_total"), 6);

	/* Nothing in the way any more: both. */
	memset(&second, 0, sizeof(second));
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules.reload", "{'names': ['puppet', 'second', 'puppet'], 'force': true}", 200,
		"{'result': 'switched', 'modules': [{'name': 'puppet', 'state': 'active'}, {'name': "
		"'second', 'state': 'active'}]}"));
	CU_ASSERT_EQUAL(second.lives, 1);
	rig_disconnect(&c);
	rig_stop(&n);
	rig_end();
}

/* A file that is refused by the loader: the node lives, the old generation serves. */
static void test_bad_files(void)
{
	struct rig_client c;
	static const struct {
		const char *built;
		const char *error;
	} rows[] = {
		{"bad_minor", "{'code': 'abi', 'step': 'load', 'module': 'answer'}"},
		{"library", "{'code': 'not_a_module', 'step': 'load'}"},
		{"second", "{'code': 'name', 'found': 'second', 'expected': 'answer'}"},
		{"unresolved", "{'code': 'dlopen', 'step': 'load'}"},
	};

	begin();
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", LISTEN "'modules': ['answer']");
	rig_connect(&c, n.port, true);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char want[300];
		rig_install(rows[i].built, "answer");
		snprintf(want, sizeof(want), "{'error': %s}", rows[i].error);
		CU_ASSERT_TRUE(
			rig_admin_expect(&n, "modules.reload", "{'name': 'answer'}", 422, want));
		CU_ASSERT_TRUE(rig_send(&c, 1000, "{}"), rig_recv(&c));
	}
	char path[300];
	snprintf(path, sizeof(path), "%s/mods/answer.so", rig_dir);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", NULL, 422,
	                                "{'error': {'code': 'not_found', 'step': 'find'}}"));
	CU_ASSERT_EQUAL(truncate(path, 0) == 0 || true, true);
	rig_install("answer_b", "answer");
	CU_ASSERT_EQUAL(truncate(path, 9000), 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", NULL, 422,
	                                "{'error': {'code': 'not_a_module', 'step': 'verify'}}"));
	rig_install("answer_b", "answer");
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", NULL, 200, "{'result': 'switched'}"));
	rig_disconnect(&c);
	rig_stop(&n);
	rig_end();
}
