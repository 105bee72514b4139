/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Loading, exchanging and taking out modules in a running node, and what that does to generations
 * and to what they have in flight. */

#include <CUnit/CUnit.h>
#include <link.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/swap/swap.h"
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

#define PUPPET   "{'name': 'puppet', 'conf': {'hooks': %ld}}"
#define SECOND   "{'name': 'second', 'conf': {'hooks': %ld}}"
#define LISTEN   "'listen': [{'port': 0}],"
#define RELOAD   "'reload': {'drain': 0.1, 'probation': 0, 'probe': 0, 'rate': '0/s'},"
#define HOOKS(p) ((long)(intptr_t)(p))

/* How many files with `part` in their path ld.so has mapped. */
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

/* Generations of a module of this test's node. */
static int mapped(const char *name)
{
	char part[256];
	struct mapped m = {.part = part};

	snprintf(part, sizeof(part), "%s/state/n/stage/%s.", rig_dir, name);
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
	CU_ASSERT_EQUAL(mapped("answer"), 1);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_unmapped_total"), 1);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_zombies_total"), 0);

	/* Forced: the same file is taken again. */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'answer', 'force': true}",
	                                200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'version': 'B', 'count': 3}"));
	CU_ASSERT_TRUE(settled("answer"));
	rig_disconnect(&c);
	rig_stop(&n);
	CU_ASSERT_EQUAL(mapped("answer"), 1); /* at the end of a node nothing is unmapped */
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
	for (unsigned round = 0; round < 6 && answered == round * 100; round++) {
		rig_install(round % 2 == 0 ? "answer_b" : "answer_a", "answer");
		for (unsigned i = 0; i < 50; i++) {
			rig_send(&c, 1000, "{}");
		}
		CU_ASSERT_TRUE(
			rig_admin_expect(&n, "modules.reload",
		                         "{'names': ['answer', 'codec_obespoir'], 'force': true}",
		                         200, "{'result': 'switched'}"));
		for (unsigned i = 0; i < 50; i++) {
			rig_send(&c, 1000, "{}");
		}
		while (answered < 100 * (round + 1) && rig_recv(&c)) {
			json_t *body = json_loads(c.body, 0, NULL);
			answered++;
			CU_ASSERT_EQUAL(json_integer_value(json_object_get(body, "count")),
			                answered);
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
	const char *found =
		json_string_value(json_object_get(json_object_get(body, "error"), "found"));
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
		CU_ASSERT_EQUAL(first.starts, before.starts + (refusals[i].hooks.check == NULL));
		CU_ASSERT_EQUAL(first.lives, before.lives);
		CU_ASSERT_EQUAL(first.stops, first.starts - 1); /* each shadow was stopped */
		CU_ASSERT_EQUAL(second.lives, 0);
		CU_ASSERT_EQUAL(second.stops, refusals[i].stops);
		CU_ASSERT_EQUAL(first.drains, 0);
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'from': 'handler'}"));
		CU_ASSERT_TRUE(settled("puppet") && settled("second"));
		CU_ASSERT_EQUAL(mapped("puppet"), 1);
		CU_ASSERT_EQUAL(mapped("second"), 1);
		CU_ASSERT_PTR_NULL(ob__slots_by_id(&n.node->slots, true, 2000, 0, 0));
		CU_ASSERT_EQUAL(n.node->slots.filters.len, 0);
	}
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_refused_total"), 6);

	/* Nothing in the way any more: both. */
	memset(&second, 0, sizeof(second));
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules.reload", "{'names': ['puppet', 'second', 'puppet'], 'force': true}",
		200,
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
		{"bad_minor", "{'code': 'abi', 'step': 'preflight', 'module': 'answer'}"},
		{"library", "{'code': 'not_a_module', 'step': 'preflight'}"},
		{"second", "{'code': 'name', 'found': 'second', 'expected': 'answer'}"},
		{"bad_name", "{'code': 'name', 'step': 'preflight', 'found': 'bad'}"},
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
		rig_send(&c, 1000, "{}");
		CU_ASSERT_TRUE(rig_recv(&c));
	}
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", "{'name': 'unresolved'}", 422,
	                                "{'error': {'code': 'dlopen', 'step': 'load'}}"));
	char path[300];
	snprintf(path, sizeof(path), "%s/mods/answer.so", rig_dir);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", NULL, 422,
	                                "{'error': {'code': 'not_found', 'step': 'stage'}}"));
	rig_install("answer_b", "answer");
	CU_ASSERT_EQUAL(truncate(path, 9000), 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", NULL, 422,
	                                "{'error': {'code': 'truncated', 'step': 'preflight'}}"));
	rig_install("answer_b", "answer");
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", NULL, 200, "{'result': 'switched'}"));
	rig_disconnect(&c);
	rig_stop(&n);
	rig_end();
}

static ob_req kept[16];
static int kept_len;

static void keep(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	kept[kept_len++] = req;
}

static int start_keep(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 1000, keep);
}

/* ---------------------------------------------------------------- one more, one less */

static void test_load_and_unload(void)
{
	struct rig_client c;
	char args[200];

	begin();
	first.start = take_1000;
	rig_start(&n, "n", "x", LISTEN "'modules': []");
	rig_connect(&c, n.port, true);
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 503, NULL));

	snprintf(args, sizeof(args), PUPPET, HOOKS(&first));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", args, 200,
	                                "{'result': 'switched', 'modules': [{'name': 'puppet', "
	                                "'from': null, 'to': {'generation': 1, 'version': '1'}, "
	                                "'state': 'active'}]}"));
	CU_ASSERT_EQUAL(first.lives, 1);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'from': 'handler'}"));

	/* Twice is a conflict, with what to do instead. */
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules.load", args, 409,
		"{'error': {'code': 'exists', 'module': 'puppet', 'message': 'a module puppet is "
		"loaded; reload it instead'}}"));

	/* Out again. */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'puppet'}", 200,
	                                "{'result': 'switched', 'modules': [{'name': 'puppet', "
	                                "'to': null, 'state': 'gone'}]}"));
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 503, NULL));
	CU_ASSERT_TRUE(RIG_UNTIL(module_named("puppet") == NULL));
	CU_ASSERT_EQUAL(first.drains, 1);
	CU_ASSERT_EQUAL(first.stops, 1);
	CU_ASSERT_EQUAL(mapped("puppet"), 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'puppet'}", 404,
	                                "{'error': {'code': 'unknown_module'}}"));

	/* And in again: the name can be used anew. */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", args, 200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'from': 'handler'}"));

	/* What a listener needs stays. */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'codec_obespoir'}", 409,
	                                "{'error': {'code': 'in_use'}}"));
	rig_disconnect(&c);
	rig_stop(&n);
	rig_end();
}

#define RATE(args, status, want) \
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", args, status, want))

/* reload.rate counts what is tried: requests that are refused before that keep nobody out. */
static void test_rate(void)
{
	begin();
	rig_start(&n, "n", "x",
	          "'reload': {'probation': 0, 'probe': 0, 'rate': '0.01/s'}, 'modules': [" PUPPET
	          "]",
	          HOOKS(&first));
	for (int i = 0; i < 50; i++) {
		RATE("{'name': 'nobody'}", 404, "{'error': {'code': 'unknown_module'}}");
		CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", "{'name': 'puppet'}", 409,
		                                "{'error': {'code': 'exists'}}"));
	}
	RATE("{'name': 'puppet', 'force': true}", 200, "{'result': 'switched'}");
	RATE("{'name': 'puppet', 'force': true}", 429, "{'error': {'code': 'rate'}}");
	RATE("{'name': 'nobody'}", 429, "{'error': {'code': 'rate'}}");
	rig_stop(&n);
	rig_end();

	/* a file that is refused has cost the loader thread its time */
	begin();
	rig_start(&n, "n", "x",
	          "'reload': {'probation': 0, 'probe': 0, 'rate': '0.01/s'}, 'modules': [" PUPPET
	          "]",
	          HOOKS(&first));
	RATE("{'name': 'puppet', 'sha256': "
	     "'0000000000000000000000000000000000000000000000000000000000000000'}",
	     422, "{'error': {'code': 'sha256', 'step': 'stage'}}");
	RATE("{'name': 'puppet', 'force': true}", 429, "{'error': {'code': 'rate'}}");
	rig_stop(&n);
	rig_end();
}

/* In again while the old generation is still on its way out, at each point of it. */
static void test_load_while_leaving(void)
{
	char args[200];

	for (int turns = 0; turns < 16; turns++) {
		begin();
		rig_start(&n, "n", "x", "'modules': [" PUPPET "]", HOOKS(&first));
		snprintf(args, sizeof(args), PUPPET, HOOKS(&first));
		CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'puppet'}", 200,
		                                "{'result': 'switched'}"));
		for (int i = 0; i < turns; i++) {
			rig_turn();
		}
		CU_ASSERT_TRUE(
			rig_admin_expect(&n, "modules.load", args, 200, "{'result': 'switched'}"));
		CU_ASSERT_EQUAL(first.lives, 2);
		CU_ASSERT_TRUE(settled("puppet"));
		CU_ASSERT_EQUAL(first.stops, 1);
		rig_stop(&n);
		rig_end();
	}
}

/* The same, and its file is gone: no name is left of it. */
static void test_load_refused_while_leaving(void)
{
	char path[256];

	for (int turns = 0; turns < 16; turns++) {
		begin();
		rig_install("answer_a", "answer");
		rig_start(&n, "n", "x", "'modules': ['answer']");
		snprintf(path, sizeof(path), "%s/mods/answer.so", rig_dir);
		CU_ASSERT_EQUAL(unlink(path), 0);
		CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'answer'}", 200,
		                                "{'result': 'switched'}"));
		for (int i = 0; i < turns; i++) {
			rig_turn();
		}
		CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", "{'name': 'answer'}", 422,
		                                "{'error': {'code': 'not_found'}}"));
		CU_ASSERT_TRUE(RIG_UNTIL(module_named("answer") == NULL));
		rig_stop(&n);
		rig_end();
	}
}

/* The old one still holds a request: each generation does its own. */
static void test_load_while_draining(void)
{
	struct rig_client c;
	char args[200];

	begin();
	kept_len = 0;
	first.start = start_keep;
	rig_start(&n, "n", "x", LISTEN "'modules': [" PUPPET "]", HOOKS(&first));
	rig_connect(&c, n.port, true);
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 1));
	ob_ctx *old = first.ctx;
	snprintf(args, sizeof(args), PUPPET, HOOKS(&first));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'puppet'}", 200, "{}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", args, 200, "{'result': 'switched'}"));
	CU_ASSERT_PTR_NOT_EQUAL(first.ctx, old);
	/* refused: the one that serves is not touched */
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 2));
	CU_ASSERT_EQUAL(ob_reply(old, kept[0], "1", 1), 0);
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "1"));
	CU_ASSERT_EQUAL(ob_reply(first.ctx, kept[1], "2", 1), 0);
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "2"));
	CU_ASSERT_TRUE(settled("puppet"));
	rig_disconnect(&c);
	rig_stop(&n);
	rig_end();
}

/* A module that can't be loaded leaves nothing, not even its name. */
static void test_load_refused(void)
{
	char args[200];

	begin();
	rig_start(&n, "n", "x", "'modules': []");
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", "{'name': 'nobody'}", 422,
	                                "{'error': {'code': 'not_found', 'step': 'stage'}}"));
	CU_ASSERT_PTR_NULL(module_named("nobody"));
	first.start = fail_start;
	snprintf(args, sizeof(args), PUPPET, HOOKS(&first));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", args, 422,
	                                "{'error': {'step': 'start', 'module': 'puppet'}}"));
	CU_ASSERT_TRUE(RIG_UNTIL(module_named("puppet") == NULL));
	CU_ASSERT_EQUAL(mapped("puppet"), 0);
	rig_stop(&n);
	rig_end();
}

/* ---------------------------------------------------------------- one at a time */

static int answers;
static int statuses[16];

static void on_answer(void *arg, int status, const json_t *body)
{
	CU_ASSERT_PTR_EQUAL(arg, &answers);
	statuses[answers++] = status;
}

/* Only a request for the same gives way: the order of names does not matter, what is to be done
 * with them does. */
static void test_superseded(void)
{
	static const char *const ab[] = {"answer", "puppet"};
	static const char *const ba[] = {"puppet", "answer"};
	struct ob__swap_request forced = {
		.kind = OB__SWAP_RELOAD, .force = true, .names = ab, .names_len = 2};
	struct ob__swap_request plain = {.kind = OB__SWAP_RELOAD, .names = ba, .names_len = 2};

	begin();
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", "'modules': ['answer', " PUPPET "]", HOOKS(&first));
	answers = 0;
	ob__swap_begin(n.node, &forced, on_answer, &answers);
	ob__swap_begin(n.node, &forced, on_answer, &answers); /* waits */
	ob__swap_begin(n.node, &plain, on_answer, &answers);  /* waits beside it */
	CU_ASSERT_EQUAL(answers, 0);
	forced.names = ba;
	ob__swap_begin(n.node, &forced, on_answer, &answers);
	CU_ASSERT_EQUAL(answers, 1);
	CU_ASSERT_EQUAL(statuses[0], 409);
	plain.names_len = 1;
	ob__swap_begin(n.node, &plain, on_answer, &answers);
	CU_ASSERT_EQUAL(answers, 1);
	CU_ASSERT_TRUE(RIG_UNTIL(answers == 5));
	rig_stop(&n);
	rig_end();
}

static void test_queue(void)
{
	const char *name = "answer";
	struct ob__swap_request request = {.kind = OB__SWAP_RELOAD, .force = true};
	struct ob__swap_request named = {
		.kind = OB__SWAP_RELOAD, .force = true, .names = &name, .names_len = 1};

	begin();
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", "'modules': ['answer']");
	answers = 0;
	ob__swap_begin(n.node, &request, on_answer, &answers); /* 2 */
	ob__swap_begin(n.node, &request, on_answer, &answers); /* 3 waits */
	ob__swap_begin(n.node, &named, on_answer, &answers);   /* 4 waits: other names */
	CU_ASSERT_EQUAL(answers, 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.tx", "{'id': '2'}", 200,
	                                "{'tx': 2, 'result': 'running', 'step': 'admit'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.tx", "{'id': '3'}", 200,
	                                "{'tx': 3, 'result': 'running', 'step': 'admit'}"));

	/* The same modules again: the one that waits for them gives way. */
	ob__swap_begin(n.node, &request, on_answer, &answers); /* 5 */
	CU_ASSERT_EQUAL(answers, 1);
	CU_ASSERT_EQUAL(statuses[0], 409);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.tx", "{'id': '3'}", 200,
	                                "{'error': {'code': 'superseded', 'step': 'admit'}}"));
	CU_ASSERT_TRUE(RIG_UNTIL(answers == 4));
	CU_ASSERT_EQUAL(statuses[1], 200);
	CU_ASSERT_EQUAL(statuses[2], 200);
	CU_ASSERT_EQUAL(statuses[3], 200);
	CU_ASSERT_EQUAL(module_named("answer")->active->number, 4);

	/* Not waited for: the answer is the number, the report comes later. */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'force': true, 'wait': 'none'}",
	                                202, "{'tx': 6, 'result': 'running'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(module_named("answer")->active->number == 5));
	CU_ASSERT_TRUE(settled("answer"));
	rig_turn(); /* the transaction hears of it */
	rig_turn();
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.tx", "{'id': '6'}", 200,
	                                "{'tx': 6, 'result': 'committed', 'step': 'end'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.tx", "{'id': '99'}", 404,
	                                "{'error': {'code': 'unknown_tx'}}"));
	rig_stop(&n);
	rig_end();
}

/* So many may wait, and no more. */
static void test_queue_full(void)
{
	struct ob__swap_request request = {.kind = OB__SWAP_UNLOAD, .names_len = 1};
	const char *name = "answer";

	request.names = &name;
	begin();
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", "'modules': ['answer']");
	answers = 0;
	for (int i = 0; i < 9; i++) {
		ob__swap_begin(n.node, &request, on_answer, &answers);
	}
	CU_ASSERT_EQUAL(answers, 0);
	ob__swap_begin(n.node, &request, on_answer, &answers);
	CU_ASSERT_EQUAL(answers, 1);
	CU_ASSERT_EQUAL(statuses[0], 409);
	CU_ASSERT_TRUE(RIG_UNTIL(answers == 10));
	CU_ASSERT_EQUAL(statuses[1], 200);
	CU_ASSERT_EQUAL(statuses[2], 404);
	rig_stop(&n);
	rig_end();
}

/* A draining generation is bounded in number: then no more reloads, until they are done. */
#define OLD_MAX 4

static void test_too_many_old(void)
{
	struct rig_client c;

	begin();
	kept_len = 0;
	first.start = start_keep;
	rig_start(&n, "n", "x", LISTEN "'modules': [" PUPPET "]", HOOKS(&first));
	rig_connect(&c, n.port, true);
	ob_ctx *owners[OLD_MAX];
	for (int i = 0; i < OLD_MAX; i++) {
		rig_send(&c, 1000, "{}");
		CU_ASSERT_TRUE(RIG_UNTIL(kept_len == i + 1));
		owners[i] = first.ctx;
		CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload",
		                                "{'name': 'puppet', 'force': true}", 200,
		                                "{'result': 'switched'}"));
	}
	CU_ASSERT_EQUAL(module_named("puppet")->gen_count, OLD_MAX + 1);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                409, "{'error': {'code': 'draining'}}"));
	/* Each of them still answers what it kept. */
	for (int i = 0; i < OLD_MAX; i++) {
		CU_ASSERT_EQUAL(ob_reply_json(owners[i], kept[i], "{s:i}", "i", i), 0);
		char want[16];
		snprintf(want, sizeof(want), "{'i': %d}", i);
		CU_ASSERT_TRUE(rig_expect(&c, 1000, want));
	}
	CU_ASSERT_TRUE(settled("puppet"));
	CU_ASSERT_EQUAL(first.stops, OLD_MAX);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{'result': 'switched'}"));
	rig_disconnect(&c);
	rig_stop(&n);
	rig_end();
}

/* ---------------------------------------------------------------- draining */

static char events[256];

static void note(const char *word)
{
	size_t len = strlen(events);

	snprintf(events + len, sizeof(events) - len, "%s%s", len > 0 ? " " : "", word);
}

static void live_note(ob_ctx *ctx)
{
	note("live");
}

static void drain_note(ob_ctx *ctx)
{
	note("drain");
}

static void stop_note(ob_ctx *ctx)
{
	note("stop");
}

static void fired(ob_ctx *ctx, ob_timer timer, void *arg)
{
	note(arg);
	if (strcmp(arg, "again") == 0) {
		*events = '\0'; /* it comes many times */
		note("again");
	}
}

static ob_timer repeating;

static void live_timers(ob_ctx *ctx)
{
	static char once[] = "once";
	static char again[] = "again";

	repeating = ob_timer_start(ctx, 10, 10, fired, again);
	CU_ASSERT_NOT_EQUAL(ob_timer_start(ctx, 150, 0, fired, once), 0);
}

/* A repeating timer ends at the switch, a single one still fires in the old generation, which waits
 * for it. */
static void test_timers_over_reload(void)
{
	begin();
	first.live = live_timers;
	rig_start(&n, "n", "x", "'modules': [" PUPPET "]", HOOKS(&first));
	CU_ASSERT_TRUE(RIG_UNTIL(strcmp(events, "again") == 0));
	first.live = live_note;
	first.drain = drain_note;
	first.stop = stop_note;
	ob_ctx *old = first.ctx;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'force': true}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(ob_timer_stop(old, repeating), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_timer_start(old, 1, 1, fired, NULL), 0); /* none repeats now */
	CU_ASSERT_EQUAL(module_named("puppet")->gen_count, 2);
	CU_ASSERT_TRUE(settled("puppet"));
	CU_ASSERT_STRING_EQUAL(events, "again live drain once stop");
	*events = '\0';
	rig_stop(&n);
	CU_ASSERT_STRING_EQUAL(events, "drain stop");
	*events = '\0';
	rig_end();
}

static ob_call_result ended;
static int ended_count;
static ob_call_id tried_again;
static ob_timer tried_timer;
static int tried_job;

static void wait_for_nothing(void *arg)
{
}

static void call_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	ended = *res;
	ended_count++;
}

/* Whoever tries again at once, for ever, keeps nothing alive. */
static void call_retries(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	static char late[] = "late";
	ob_target nowhere = {.role = 12345};

	call_ended(ctx, call, res, arg);
	tried_again = ob_call(ctx, &nowhere, 7, 0, NULL, 0, 0, call_retries, NULL);
	tried_timer = ob_timer_start(ctx, 1, 0, fired, late);
	tried_job = ob_job(ctx, wait_for_nothing, NULL, NULL);
}

/* reload.drain is over: what the old generation holds ends with GONE, and it goes. */
static void test_drain_deadline(void)
{
	static char far[] = "far";
	struct rig_client c;
	ob_target nowhere = {.role = 12345};

	begin();
	kept_len = 0;
	ended_count = 0;
	first.start = start_keep;
	rig_start(&n, "n", "x", LISTEN RELOAD "'modules': [" PUPPET "]", HOOKS(&first));
	rig_connect(&c, n.port, true);
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 1));
	ob_ctx *old = first.ctx;
	CU_ASSERT_NOT_EQUAL(ob_call(old, &nowhere, 7, 0, NULL, 0, 0, call_retries, NULL), 0);
	*events = '\0';
	CU_ASSERT_NOT_EQUAL(ob_timer_start(old, 100000, 0, fired, far), 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules", NULL, 200,
		"{'modules': [{'name': 'puppet', 'active': {'generation': 2, 'state': 'active'}, "
		"'old': [{'generation': 1, 'state': 'draining', 'in_flight': 3}]}, {}]}"));
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 503, "the module was taken out"));
	CU_ASSERT_EQUAL(ended_count, 1);
	CU_ASSERT_EQUAL(ended.code, OB_E_GONE);
	CU_ASSERT_EQUAL(tried_again, 0);
	CU_ASSERT_EQUAL(tried_timer, 0);
	CU_ASSERT_EQUAL(tried_job, OB_E_STATE);
	CU_ASSERT_STRING_EQUAL(events, "far"); /* the callback that was promised, early */
	CU_ASSERT_TRUE(settled("puppet"));
	CU_ASSERT_EQUAL(first.stops, 1);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_zombies_total"), 0);
	CU_ASSERT_EQUAL(n.node->dispatch.reqs.live, 0);
	rig_disconnect(&c);
	rig_stop(&n);
	rig_end();
}

/* ---------------------------------------------------------------- zombies */

static uv_sem_t may_end;
static int jobs_done;

static void wait_for_it(void *arg)
{
	uv_sem_wait(&may_end);
}

static void job_done(ob_ctx *ctx, void *arg)
{
	jobs_done++;
}

/* A job that does not end in time keeps its generation: counted, named, dead, until it has ended.
 */
static void test_job_never_ends(void)
{
	begin();
	jobs_done = 0;
	CU_ASSERT_EQUAL_FATAL(uv_sem_init(&may_end, 0), 0);
	rig_start(&n, "n", "x", RELOAD "'modules': [" PUPPET "]", HOOKS(&first));
	ob_ctx *old = first.ctx;
	CU_ASSERT_EQUAL(ob_job(old, wait_for_it, job_done, NULL), 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'force': true}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&n, "obhost_module_zombies_total") == 1));
	CU_ASSERT_TRUE(rig_logged("n", "generation 1 stays mapped: 1 still in flight"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules", NULL, 200,
	                                "{'modules': [{'old': [{'state': 'zombie'}]}]}"));
	CU_ASSERT_EQUAL(ob_post(old, job_done, NULL), OB_E_DEAD);
	CU_ASSERT_EQUAL(first.stops, 0);

	/* When it ends after all, its done is called, and the generation goes as any other. */
	uv_sem_post(&may_end);
	CU_ASSERT_TRUE(RIG_UNTIL(jobs_done == 1));
	CU_ASSERT_TRUE(RIG_UNTIL(mapped("puppet") == 1));
	CU_ASSERT_EQUAL(first.stops, 1);
	rig_stop(&n);
	uv_sem_destroy(&may_end);
	rig_end();
}

/* What ld.so keeps mapped is a zombie too, and the node goes on. */
static void test_still_mapped(void)
{
	begin();
	rig_start(&n, "n", "x", "'modules': [{'name': 'sticky', 'conf': {'hooks': %ld}}]",
	          HOOKS(&first));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'force': true}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&n, "obhost_module_zombies_total") == 1));
	CU_ASSERT_EQUAL(first.stops, 1);
	CU_ASSERT_TRUE(
		rig_logged("n", "generation 1 stays mapped: it is still there after dlclose"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'force': true}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&n, "obhost_module_zombies_total") == 2));
	rig_stop(&n);
	rig_end();
}

/* ---------------------------------------------------------------- the end of a node */

/* A node whose modules are refused does not start, and leaves nothing. */
static void test_start_refused(void)
{
	static const struct puppet rows[] = {
		{.check = fail_check},
		{.start = fail_start},
		{.start = start_and_fail},
		{.selftest = fail_selftest},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int code = -1;
		begin();
		second = rows[i];
		rig_write_conf(&n, "n", "x", "'modules': [" PUPPET "," SECOND "]", HOOKS(&first),
		               HOOKS(&second));
		CU_ASSERT_PTR_NULL(rig_start_conf(&n, &code));
		CU_ASSERT_EQUAL(code, 1);
		CU_ASSERT_EQUAL(first.stops, first.starts);
		CU_ASSERT_EQUAL(second.stops, rows[i].selftest != NULL);
		CU_ASSERT_TRUE(rig_logged("n", "second: refused at "));
		CU_ASSERT_TRUE(rig_logged("n", "n: not started (at modules)"));
		rig_end();
	}
}

static atomic_bool freeing;

/* Ends when the node does, as a rule behind its modules. */
static void run_long(void *arg)
{
	while (!atomic_load(&freeing)) {
		usleep(1000);
	}
	usleep(50000);
}

static void done_late(ob_ctx *ctx, void *arg)
{
}

/* The generation is not stopped yet, but may be dead. */
static void job_done_late(ob_ctx *ctx, void *arg)
{
	int rc = ob_post(ctx, done_late, NULL);

	jobs_done++;
	CU_ASSERT_TRUE(rc == 0 || rc == OB_E_DEAD || rc == OB_E_STATE);
	CU_ASSERT_TRUE(first.stops <= (int)(intptr_t)arg);
}

static int hold_and_more(ob_ctx *ctx, int stops)
{
	static char late[] = "late";

	CU_ASSERT_EQUAL(ob_job(ctx, run_long, job_done_late, (void *)(intptr_t)stops), 0);
	CU_ASSERT_EQUAL(ob_post(ctx, done_late, NULL), 0);
	CU_ASSERT_NOT_EQUAL(ob_timer_start(ctx, 60000, 0, fired, late), 0);
	CU_ASSERT_NOT_EQUAL(ob_timer_start(ctx, 60000, 60000, fired, late), 0);
	return 0;
}

/* A node that is freed with all kinds of work in flight, in the active and in an old generation. */
static void test_free_with_work(void)
{
	struct rig_client c;

	for (int reload = 0; reload < 2; reload++) {
		begin();
		kept_len = 0;
		*events = '\0';
		first.start = start_keep;
		rig_start(&n, "n", "x", LISTEN "'modules': [" PUPPET "]", HOOKS(&first));
		rig_connect(&c, n.port, true);
		rig_send(&c, 1000, "{}");
		CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 1));
		jobs_done = 0;
		atomic_store(&freeing, false);
		hold_and_more(first.ctx, reload); /* then the new generation stops first */
		ob_target self = {.role = ob_role(first.ctx, "x")};
		ob_target nowhere = {.role = 12345};
		ended_count = 0;
		CU_ASSERT_NOT_EQUAL(ob_call(first.ctx, &self, 1, 0, NULL, 0, 0, call_ended, NULL),
		                    0);
		CU_ASSERT_NOT_EQUAL(
			ob_call(first.ctx, &nowhere, 1, 0, NULL, 0, 0, call_ended, NULL), 0);
		if (reload != 0) {
			CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload",
			                                "{'name': 'puppet', 'force': true}", 200,
			                                "{'result': 'switched'}"));
		}
		atomic_store(&freeing, true);
		rig_kill(&n);
		CU_ASSERT_EQUAL(ended_count, 2);        /* each call has its one end */
		CU_ASSERT_EQUAL(jobs_done, 1);          /* as the job has its done */
		CU_ASSERT_STRING_EQUAL(events, "late"); /* and the single timer its callback */
		CU_ASSERT_EQUAL(first.stops, 1 + reload);
		rig_disconnect(&c);
		rig_end();
	}
}

/* Freed while a transaction is at the loader, and while an old generation is being taken out. */
static void test_free_in_transaction(void)
{
	struct ob__swap_request request = {.kind = OB__SWAP_RELOAD, .force = true};

	for (int turns = 0; turns < 60; turns++) {
		begin();
		answers = 0;
		rig_start(&n, "n", "x", "'modules': [" PUPPET "," SECOND "]", HOOKS(&first),
		          HOOKS(&second));
		ob__swap_begin(n.node, &request, on_answer, &answers);
		for (int i = 0; i < turns; i++) {
			rig_turn();
		}
		rig_kill(&n);
		CU_ASSERT_EQUAL(first.stops, first.starts);
		CU_ASSERT_EQUAL(second.stops, second.starts);
		rig_end();
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("swap", NULL, NULL);
	CU_add_test(s, "unchanged, changed, forced", test_reload);
	CU_add_test(s, "no message is lost meanwhile", test_reload_while_sending);
	CU_add_test(s, "sha256", test_sha256);
	CU_add_test(s, "all or none, at each step", test_all_or_none);
	CU_add_test(s, "bad files", test_bad_files);
	CU_add_test(s, "load, load twice, unload", test_load_and_unload);
	CU_add_test(s, "how often", test_rate);
	CU_add_test(s, "loaded while the old one leaves", test_load_while_leaving);
	CU_add_test(s, "refused while the old one leaves", test_load_refused_while_leaving);
	CU_add_test(s, "loaded while the old one drains", test_load_while_draining);
	CU_add_test(s, "load refused", test_load_refused);
	CU_add_test(s, "one at a time, others wait", test_queue);
	CU_add_test(s, "what takes the place of what", test_superseded);
	CU_add_test(s, "the queue is bounded", test_queue_full);
	CU_add_test(s, "old generations are bounded", test_too_many_old);
	CU_add_test(s, "timers over a reload", test_timers_over_reload);
	CU_add_test(s, "the drain deadline", test_drain_deadline);
	CU_add_test(s, "a job that never ends", test_job_never_ends);
	CU_add_test(s, "what stays mapped", test_still_mapped);
	CU_add_test(s, "refused at the start", test_start_refused);
	CU_add_test(s, "freed with work in flight", test_free_with_work);
	CU_add_test(s, "freed in a transaction", test_free_in_transaction);
	return ob__tap_run();
}
