/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* What happens around the switch: state that is handed over, probation, canaries, the way back,
 * interfaces between modules, and what can't be unmapped. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/swap/swap.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet puppet;
static unsigned fails_from;  /* requests of this and later generations fail; 0: none */
static int fails_with;       /* with that code */
static unsigned stalls_from; /* hold the loop */
static unsigned hangs_from;  /* are never answered */
static uint64_t *blocks[16]; /* by generation: its ob_state() block */
static uint64_t values[16];  /* by generation: state of its own */
static uint32_t loaded[16];  /* by generation: the version its load was asked to read */
static uint32_t saved[16];   /* by generation: the version its save was asked to write */

#define LISTEN     "'listen': [{'port': 0}],"
#define TRIAL(s)   "'reload': {'probation': " s ", 'probe': 0, 'rate': '0/s', 'drain': 0.3},"
#define LONG_TRIAL TRIAL("600")
#define NAMED(m)   "{'name': '" m "', 'conf': {'hooks': %ld}}"
#define PUPPET     "'modules': [" NAMED("puppet") "]"
#define KEEPER     "'modules': [" NAMED("keeper") "]"
#define HOOKS(p)   ((long)(intptr_t)(p))
#define FORCE      "{'name': 'puppet', 'force': true}"

static unsigned number(const ob_ctx *ctx)
{
	return ((const struct ob__gen *)(const void *)ctx)->number;
}

static void serve(ob_ctx *ctx, ob_req req)
{
	unsigned me = number(ctx);

	if (stalls_from != 0 && me >= stalls_from) {
		usleep(40000);
	}
	if (hangs_from != 0 && me >= hangs_from) {
		CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	} else if (fails_from != 0 && me >= fails_from) {
		ob_fail(ctx, req, fails_with, "as told");
	} else {
		ob_reply_json(ctx, req, "{s:i}", "gen", (int)me);
	}
}

static int start_serving(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 1000, serve);
}

static void begin(void)
{
	rig_begin();
	memset(&puppet, 0, sizeof(puppet));
	puppet.start = start_serving;
	fails_from = stalls_from = hangs_from = 0;
	fails_with = OB_E_APP;
	memset(blocks, 0, sizeof(blocks));
	memset(values, 0, sizeof(values));
	memset(loaded, 0, sizeof(loaded));
	memset(saved, 0, sizeof(saved));
}

static void end(void)
{
	rig_stop(&n);
	CU_ASSERT_EQUAL(puppet.stops, puppet.starts);
	rig_end();
}

static struct ob__module *module_named(const char *name)
{
	return ob__module_find(n.node, name);
}

static unsigned serving(const char *name)
{
	return module_named(name)->active->number;
}

static bool settled(const char *name)
{
	return RIG_UNTIL(module_named(name) != NULL && module_named(name)->gen_count == 1);
}

static bool tx_is(unsigned id, const char *expected)
{
	char args[32];

	snprintf(args, sizeof(args), "{'id': '%u'}", id);
	return rig_admin_expect(&n, "modules.tx", args, 200, expected);
}

static bool reload(const char *args, const char *expected)
{
	return rig_admin_expect(&n, "modules.reload", args, 200, expected);
}

static bool refused(const char *args, const char *error)
{
	char want[700];

	snprintf(want, sizeof(want), "{'result': 'refused', 'error': %s}", error);
	return rig_admin_expect(&n, "modules.reload", args, 422, want);
}

static bool answered_by(struct rig_client *c, unsigned gen)
{
	char want[32];

	snprintf(want, sizeof(want), "{'gen': %u}", gen);
	return rig_ask(c, 1000, "{}", want);
}

/* That many requests, each with an answer of some kind. */
static void ask_many(struct rig_client *c, int times)
{
	for (int i = 0; i < times; i++) {
		rig_send(c, 1000, "{}");
	}
	for (int i = 0; i < times; i++) {
		CU_ASSERT_TRUE(rig_recv(c));
	}
}

/* ---------------------------------------------------------------- probation and its end */

static void test_commit(void)
{
	struct rig_client c;

	begin();
	rig_start(&n, "n", "x", LISTEN TRIAL("0.2") PUPPET, HOOKS(&puppet));
	rig_connect(&c, n.port, true);

	/* the node's own start has a probation, which nobody waits for */
	CU_ASSERT_TRUE(tx_is(1, "{'result': 'switched', 'step': 'probation'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->dispatch.reqs.live == 0));
	CU_ASSERT_TRUE(reload(FORCE, "{'tx': 2, 'result': 'switched', 'step': 'probation'}"));
	CU_ASSERT_TRUE(tx_is(1, "{'result': 'committed'}"));
	CU_ASSERT_TRUE(answered_by(&c, 2));

	/* while it lasts: both are there, and counted */
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules", NULL, 200,
		"{'modules': [{'name': 'puppet', 'active': {'generation': 2, 'state': 'active', "
		"'handled': 1}, 'old': [{'generation': 1, 'state': 'standby'}]}, {}]}"));
	CU_ASSERT_TRUE(tx_is(2, "{'result': 'switched', 'step': 'probation', 'modules': [{'state': "
	                        "'active'}], 'probation': {'modules': [{'name': 'puppet', 'from': "
	                        "{'generation': 1, 'state': 'standby', 'handled': 0}, 'to': "
	                        "{'generation': 2, 'state': 'active', 'handled': 1, 'failed': "
	                        "0}}]}}"));
	CU_ASSERT_EQUAL(puppet.drains, 0);

	/* then the old one goes */
	CU_ASSERT_TRUE(settled("puppet"));
	CU_ASSERT_EQUAL(puppet.drains, 1);
	CU_ASSERT_EQUAL(puppet.stops, 1);
	CU_ASSERT_EQUAL(puppet.resumes, 0);
	rig_turn();
	rig_turn();
	CU_ASSERT_TRUE(tx_is(2, "{'result': 'committed', 'modules': [{'name': 'puppet', 'state': "
	                        "'active', 'old': 'unmapped', 'from': {'generation': 1}, 'to': "
	                        "{'generation': 2}}]}"));

	/* who asks for it has his answer at the commit */
	uint64_t before = ob__loop_hrtime_us();
	CU_ASSERT_TRUE(reload("{'name': 'puppet', 'force': true, 'wait': 'commit'}",
	                      "{'tx': 3, 'result': 'committed', 'modules': [{'state': 'active', "
	                      "'from': {'generation': 2}, 'to': {'generation': 3}}]}"));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - before >= 190000);
	CU_ASSERT_TRUE(answered_by(&c, 3));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_returned_total"), 0);
	rig_disconnect(&c);
	end();
}

/* By name, before its time. */
static void test_commit_verb(void)
{
	begin();
	rig_start(&n, "n", "x", LONG_TRIAL PUPPET, HOOKS(&puppet));
	CU_ASSERT_TRUE(reload(FORCE, "{'result': 'switched'}"));
	/* a name that is not there is no request for anything */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'other'}", 404,
	                                "{'error': {'code': 'unknown_module'}}"));
	CU_ASSERT_TRUE(tx_is(2, "{'result': 'switched', 'step': 'probation'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.commit", "{'name': 'other'}", 409,
	                                "{'error': {'code': 'no_probation'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.commit", "{'name': 'puppet'}", 200,
	                                "{'tx': 2, 'result': 'committed'}"));
	CU_ASSERT_TRUE(settled("puppet"));
	CU_ASSERT_EQUAL(serving("puppet"), 2);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.commit", "{'name': 'puppet'}", 409,
	                                "{'error': {'code': 'no_probation'}}"));
	end();
}

/* The old generation's requests, the new one's, of both how many fail, and what comes of it. */
static const struct {
	const char *reload; /* further members of it */
	int old;            /* requests to the old generation */
	int fresh;          /* to the new one */
	unsigned fails_from;
	unsigned stalls_from;
	unsigned hangs_from;
	const char *why; /* it was returned; NULL: committed */
	int fails_with;  /* 0: OB_E_APP */
} trials[] = {
	/* all is well */
	{"'errors': 10, 'stall': 1", 5, 40, 0, 0, 0, NULL, 0},
	/* all fail */
	{"'errors': 10", 0, 40, 2, 0, 0,
         "puppet: 40 of 40 requests failed, 100 %, of the old "
         "generation 0 % (reload.errors: 10)",
         0},
	/* all are refused, as they may have to be */
	{"'errors': 10", 0, 40, 2, 0, 0, NULL, OB_E_DENIED},
	{"'errors': 10", 0, 40, 2, 0, 0, NULL, OB_E_NOT_FOUND},
	/* too few to tell */
	{"'errors': 10", 0, 19, 2, 0, 0, NULL, 0},
	/* no worse than before */
	{"'errors': 10", 40, 40, 1, 0, 0, NULL, 0},
	/* switched off */
	{"'errors': 100", 0, 40, 2, 0, 0, NULL, 0},
	/* one callback takes too long */
	{"'stall': 0.02", 0, 1, 0, 2, 0, "puppet: a callback held the loop for ", 0},
	/* not timed before the probation */
	{"'stall': 0.02", 1, 0, 0, 1, 0, NULL, 0},
	/* switched off */
	{"'stall': 0", 0, 1, 0, 2, 0, NULL, 0},
	/* no answer in time is a failure */
	{"'errors': 50", 0, 25, 0, 0, 2, "puppet: 25 of 25 requests failed", 0},
};

static void test_trials(void)
{
	struct rig_client c;

	for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
		bool returns = trials[i].why != NULL;
		begin();
		fails_from = trials[i].fails_from;
		fails_with = trials[i].fails_with != 0 ? trials[i].fails_with : OB_E_APP;
		stalls_from = trials[i].stalls_from;
		hangs_from = trials[i].hangs_from;
		rig_start(&n, "n", "x",
		          LISTEN "'call_timeout': 0.05, 'reload': {'probation': %s, 'probe': 0, "
		                 "'rate': '0/s', %s}," PUPPET,
		          returns ? "600" : "0.3", trials[i].reload, HOOKS(&puppet));
		rig_connect(&c, n.port, true);
		ask_many(&c, trials[i].old);
		CU_ASSERT_TRUE(reload(FORCE, "{'result': 'switched'}"));
		ask_many(&c, trials[i].fresh);
		CU_ASSERT_TRUE(settled("puppet"));
		CU_ASSERT_EQUAL(serving("puppet"), returns ? 1 : 2);
		CU_ASSERT_EQUAL(puppet.resumes, returns);
		CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_returned_total"), returns);
		if (returns) {
			CU_ASSERT_TRUE(rig_logged("n", trials[i].why));
			CU_ASSERT_TRUE(tx_is(2, "{'result': 'returned', 'modules': [{'name': "
			                        "'puppet', 'state': 'returned', 'from': "
			                        "{'generation': 1}, 'to': {'generation': 2}}]}"));
			CU_ASSERT_TRUE(answered_by(&c, 1));
		}
		rig_disconnect(&c);
		end();
	}
}

/* What a request's end counts for. */
static const struct {
	int code;
	bool counts;
} ends[] = {
	{OB_E_APP, true},
	{OB_E_DEADLINE, true},
	{OB_E_GONE, true},
	/* no result that could travel: it becomes APP */
	{OB_E_LIMIT, true},
	/* what was asked */
	{OB_E_NOT_FOUND, false},
	{OB_E_DENIED, false},
	{OB_E_BAD, false},
	{OB_E_TOO_BIG, false},
	/* others */
	{OB_E_NO_ROUTE, false},
	{OB_E_BUSY, false},
	{OB_E_NOT_SENT, false},
	{OB_E_MAYBE_SENT, false},
};

static void answer_too_much(ob_ctx *ctx, ob_req req)
{
	static const char much[8192];

	CU_ASSERT_EQUAL(ob_reply(ctx, req, much, sizeof(much)), OB_E_TOO_BIG);
}

/* Reads its body and leaves the rest to the host. */
static void read_only(ob_ctx *ctx, ob_req req)
{
	ob_req_json(ctx, req);
}

static int start_ends(ob_ctx *ctx, const json_t *conf)
{
	int rc = start_serving(ctx, conf);

	rc = rc == 0 ? ob_on_id(ctx, 1001, answer_too_much) : rc;
	return rc == 0 ? ob_on_id(ctx, 1002, read_only) : rc;
}

static void test_ends(void)
{
	struct rig_client c;

	begin();
	puppet.start = start_ends;
	fails_from = 1;
	rig_start(&n, "n", "x",
	          LISTEN "'limits': {'message': 4096}, 'reload': {'probe': 0}," PUPPET,
	          HOOKS(&puppet));
	rig_connect(&c, n.port, true);
	const struct ob__gen *g = module_named("puppet")->active;
	uint64_t failed = 0;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		fails_with = ends[i].code;
		ask_many(&c, 3);
		failed += ends[i].counts ? 3 : 0;
		if (g->failed != failed) {
			printf("# code %d\n", ends[i].code);
		}
		CU_ASSERT_EQUAL_FATAL(g->failed, failed);
	}
	/* an answer that is too big is the handler's, a body that is no JSON the client's */
	rig_send(&c, 1001, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1001, 413, NULL));
	CU_ASSERT_EQUAL(g->failed, failed + 1);
	rig_send(&c, 1002, "{");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1002, 400, NULL));
	CU_ASSERT_EQUAL(g->failed, failed + 1);
	rig_send(&c, 1002, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1002, 500, NULL));
	CU_ASSERT_EQUAL(g->failed, failed + 2);
	CU_ASSERT_EQUAL(g->handled, 3 * sizeof(ends) / sizeof(ends[0]) + 3);
	rig_disconnect(&c);
	end();
}

static int answers;
static int statuses[8];
static char results[8][32];

static void on_answer(void *arg, int status, const json_t *body)
{
	const char *result = json_string_value(json_object_get(body, "result"));

	statuses[answers] = status;
	snprintf(results[answers++], sizeof(results[0]), "%s", result != NULL ? result : "");
}

/* Who waits for the commit hears of the return. */
static void test_wait_returned(void)
{
	struct ob__swap_request request = {.kind = OB__SWAP_RELOAD,
	                                   .force = true,
	                                   .wait = OB__SWAP_WAIT_COMMIT,
	                                   .probation_ms = 600000};
	struct rig_client c;

	begin();
	answers = 0;
	fails_from = 2;
	rig_start(&n, "n", "x", LISTEN TRIAL("0.2") PUPPET, HOOKS(&puppet));
	rig_connect(&c, n.port, true);
	ob__swap_begin(n.node, &request, on_answer, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(serving("puppet") == 2));
	CU_ASSERT_EQUAL(answers, 0);
	ask_many(&c, 20);
	CU_ASSERT_TRUE(RIG_UNTIL(answers == 1));
	CU_ASSERT_STRING_EQUAL(results[0], "returned");
	CU_ASSERT_TRUE(answered_by(&c, 1));
	rig_disconnect(&c);
	end();
	CU_ASSERT_EQUAL(answers, 1);
}

/* A request ends a probation: with a commit, or with a return when something speaks against it. */
static void test_reload_in_probation(void)
{
	struct rig_client c;

	begin();
	rig_start(&n, "n", "x", LISTEN LONG_TRIAL PUPPET, HOOKS(&puppet));
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(reload(FORCE, "{'tx': 2, 'result': 'switched'}"));
	CU_ASSERT_TRUE(reload(FORCE, "{'tx': 3, 'result': 'switched', 'modules': [{'from': "
	                             "{'generation': 2}, 'to': {'generation': 3}}]}"));
	CU_ASSERT_TRUE(tx_is(2, "{'result': 'committed'}"));
	fails_from = 3;
	ask_many(&c, 30);
	fails_from = 0;
	CU_ASSERT_TRUE(reload(FORCE, "{'tx': 4, 'result': 'switched', 'modules': [{'from': "
	                             "{'generation': 2}, 'to': {'generation': 4}}]}"));
	CU_ASSERT_TRUE(tx_is(3, "{'result': 'returned'}"));
	CU_ASSERT_TRUE(answered_by(&c, 4));
	CU_ASSERT_EQUAL(puppet.resumes, 1);
	rig_disconnect(&c);
	end();
}

/* One that waits when a probation would begin ends it as well. */
static void test_waiting_ends_probation(void)
{
	struct ob__swap_request request = {
		.kind = OB__SWAP_RELOAD, .force = true, .probation_ms = -1};
	const char *name = "puppet";

	begin();
	answers = 0;
	rig_start(&n, "n", "x", LONG_TRIAL PUPPET, HOOKS(&puppet));
	request.wait = OB__SWAP_WAIT_SWITCH;
	ob__swap_begin(n.node, &request, on_answer, NULL);
	request.names = &name;
	request.names_len = 1;
	ob__swap_begin(n.node, &request, on_answer, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(answers == 2));
	CU_ASSERT_TRUE(tx_is(2, "{'result': 'committed'}"));
	CU_ASSERT_TRUE(tx_is(3, "{'result': 'switched', 'step': 'probation'}"));
	CU_ASSERT_EQUAL(serving("puppet"), 3);
	end();
}

/* ---------------------------------------------------------------- rollback */

static void test_rollback_in_probation(void)
{
	struct rig_client c;

	begin();
	rig_start(&n, "n", "x", LISTEN LONG_TRIAL PUPPET, HOOKS(&puppet));
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(reload(FORCE, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(answered_by(&c, 2));
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules.rollback", "{'name': 'puppet'}", 200,
		"{'tx': 2, 'result': 'returned', 'why': 'rolled back by the operator', "
		"'modules': [{'state': 'returned'}]}"));
	CU_ASSERT_EQUAL(serving("puppet"), 1);
	CU_ASSERT_EQUAL(puppet.resumes, 1);
	CU_ASSERT_EQUAL(puppet.drains, 1);
	CU_ASSERT_TRUE(answered_by(&c, 1));
	CU_ASSERT_TRUE(settled("puppet"));

	/* a module that was not there before is not there again */
	char args[100];
	snprintf(args, sizeof(args), NAMED("second"), 0L);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", args, 200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.rollback", "{'name': 'second'}", 200,
	                                "{'result': 'returned'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(module_named("second") == NULL));
	rig_disconnect(&c);
	end();
}

/* Later it is a reload of the build before. */
static void test_rollback_later(void)
{
	struct rig_client c;

	begin();
	rig_install("answer_a", "answer");
	rig_start(&n, "n", "x", LISTEN TRIAL("0.05") "'modules': ['answer']");
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.rollback", "{'name': 'answer'}", 422,
	                                "{'error': {'code': 'no_good', 'step': 'stage'}}"));
	rig_install("answer_b", "answer");
	CU_ASSERT_TRUE(reload("{'name': 'answer', 'wait': 'commit'}", "{'result': 'committed'}"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'version': 'B', 'count': 1}"));
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules.rollback", "{'name': 'answer', 'wait': 'commit'}", 200,
		"{'result': 'committed', 'modules': [{'from': {'version': 'B'}, 'to': {'version': "
		"'A'}}]}"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'version': 'A', 'count': 2}"));
	CU_ASSERT_TRUE(settled("answer"));
	rig_disconnect(&c);
	end();
}

/* ---------------------------------------------------------------- standing by */

static int ticks[16];
static int singles[16];
static int jobs[16];
static ob_req held;

static void tick(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ticks[number(ctx)]++;
}

static void single(ob_ctx *ctx, ob_timer timer, void *arg)
{
	singles[number(ctx)]++;
}

static void work(void *arg)
{
}

static void job_done(ob_ctx *ctx, void *arg)
{
	jobs[number(ctx)]++;
}

static void live_ticking(ob_ctx *ctx)
{
	CU_ASSERT_NOT_EQUAL(ob_timer_start(ctx, 10, 10, tick, NULL), 0);
}

static void hold(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	held = req;
}

static int start_holding(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 1001, hold);
}

/* The old generation ends what it has begun, and begins nothing of its own accord, until it may
 * have to. */
static void test_standby(void)
{
	struct rig_client c;

	begin();
	memset(ticks, 0, sizeof(ticks));
	memset(singles, 0, sizeof(singles));
	memset(jobs, 0, sizeof(jobs));
	held = 0;
	puppet.start = start_holding;
	puppet.live = live_ticking;
	rig_start(&n, "n", "x", LISTEN LONG_TRIAL PUPPET, HOOKS(&puppet));
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(RIG_UNTIL(ticks[1] > 1));
	ob_ctx *old = puppet.ctx;
	rig_send(&c, 1001, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(held != 0));
	CU_ASSERT_TRUE(reload(FORCE, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(module_named("puppet")->gen_count, 2);
	int before = ticks[1];

	/* single timers and jobs, from before or new, are promises */
	CU_ASSERT_NOT_EQUAL(ob_timer_start(old, 60, 0, single, NULL), 0);
	CU_ASSERT_EQUAL(ob_job(old, work, job_done, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(jobs[1] == 1 && singles[1] == 1 && ticks[2] > 1));
	CU_ASSERT_EQUAL(ticks[1], before);
	CU_ASSERT_EQUAL(ob_timer_start(old, 10, 10, tick, NULL), 0);
	CU_ASSERT_EQUAL(ob_reply_json(old, held, "{s:i}", "late", 1), 0);
	CU_ASSERT_TRUE(rig_expect(&c, 1001, "{'late': 1}"));

	/* it returns, and its timer goes on; that of the other has ended */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.rollback", "{'name': 'puppet'}", 200, "{}"));
	int other = ticks[2];
	CU_ASSERT_TRUE(RIG_UNTIL(ticks[1] > before + 2));
	CU_ASSERT_EQUAL(ticks[2], other);
	CU_ASSERT_PTR_EQUAL(puppet.ctx, old); /* resume was called, with it */
	CU_ASSERT_TRUE(settled("puppet"));
	rig_disconnect(&c);
	end();
}

/* ---------------------------------------------------------------- state */

static int start_block(ob_ctx *ctx, const json_t *conf)
{
	blocks[number(ctx)] = ob_state(ctx, "count", sizeof(uint64_t), 1);
	CU_ASSERT_PTR_NOT_NULL(blocks[number(ctx)]);
	return ob_on_id(ctx, 1000, serve);
}

/* One block for both, whichever serves. */
static void test_block_shared(void)
{
	begin();
	puppet.start = start_block;
	rig_start(&n, "n", "x", LONG_TRIAL PUPPET, HOOKS(&puppet));
	*blocks[1] = 7;
	CU_ASSERT_TRUE(reload(FORCE, "{'result': 'switched'}"));
	CU_ASSERT_PTR_EQUAL(blocks[2], blocks[1]);
	CU_ASSERT_EQUAL(*blocks[2], 7);
	*blocks[2] = 8;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.rollback", "{'name': 'puppet'}", 200, "{}"));
	CU_ASSERT_TRUE(settled("puppet"));
	CU_ASSERT_EQUAL(*blocks[1], 8);
	CU_ASSERT_TRUE(reload(FORCE, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(*blocks[3], 8);
	CU_ASSERT_EQUAL(puppet.saves, 0);
	CU_ASSERT_EQUAL(puppet.loads, 0);
	end();
}

#define TAG_VALUE    1
#define TAG_OPTIONAL 2
#define TAG_CRITICAL 3

static bool writes_optional;
static bool writes_critical;
static int save_fails; /* so many times */
static unsigned save_sleeps_ms;
static const char *load_fails; /* this module's */

static int save_value(ob_ctx *ctx, ob_writer *writer, uint32_t version)
{
	unsigned me = number(ctx);

	saved[me] = version;
	usleep(save_sleeps_ms * 1000);
	if (save_fails > 0) {
		save_fails--;
		return OB_E_LIMIT;
	}
	if (writes_optional) {
		CU_ASSERT_EQUAL(ob_section_write(ctx, writer, TAG_OPTIONAL, 0, "x", 1), 0);
	}
	if (writes_critical) {
		CU_ASSERT_EQUAL(
			ob_section_write(ctx, writer, TAG_CRITICAL, OB_SECTION_CRITICAL, "x", 1),
			0);
	}
	return ob_section_write(ctx, writer, TAG_VALUE, 0, &values[me], sizeof(values[me]));
}

static int load_value(ob_ctx *ctx, ob_reader *reader, uint32_t version)
{
	unsigned me = number(ctx);
	size_t len = 0;
	const void *data = ob_section_read(ctx, reader, TAG_VALUE, &len);
	const char *name = ((const struct ob__gen *)(const void *)ctx)->module->name;

	loaded[me] = version;
	if (load_fails != NULL && strcmp(load_fails, name) == 0) {
		return ob_refuse(ctx, OB_E_INVAL, "not this");
	}
	CU_ASSERT_EQUAL_FATAL(len, sizeof(values[me]));
	memcpy(&values[me], data, len);
	return 0;
}

static void begin_state(const char *built)
{
	begin();
	puppet.save = save_value;
	puppet.load = load_value;
	writes_optional = writes_critical = false;
	save_fails = 0;
	save_sleeps_ms = 0;
	load_fails = NULL;
	rig_install(built, "keeper");
}

#define RELOAD_KEEPER "{'name': 'keeper'}"

/* Newer code reads the older version; older code is given what it can read. */
static void test_versions(void)
{
	begin_state("keeper_1");
	rig_start(&n, "n", "x", KEEPER, HOOKS(&puppet));
	values[1] = 1234567890123;
	CU_ASSERT_TRUE(reload("{'force': true}", "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(puppet.saves, 0); /* same version */
	values[2] = 1234567890124;

	rig_install("keeper_3", "keeper");
	CU_ASSERT_TRUE(reload(RELOAD_KEEPER, "{'result': 'switched', 'modules': [{'to': "
	                                     "{'version': '3'}}]}"));
	CU_ASSERT_EQUAL(saved[2], 1);
	CU_ASSERT_EQUAL(loaded[3], 1);
	CU_ASSERT_EQUAL(values[3], 1234567890124);

	values[3]++;
	rig_install("keeper_1", "keeper");
	CU_ASSERT_TRUE(reload(RELOAD_KEEPER, "{'result': 'switched', 'modules': [{'to': "
	                                     "{'version': '1'}}]}"));
	CU_ASSERT_EQUAL(saved[3], 1);
	CU_ASSERT_EQUAL(loaded[4], 1);
	CU_ASSERT_EQUAL(values[4], 1234567890125);
	CU_ASSERT_EQUAL(puppet.saves, 2);
	CU_ASSERT_EQUAL(puppet.loads, 2);
	CU_ASSERT_TRUE(settled("keeper"));

	/* too far apart, either way */
	rig_install("keeper_4", "keeper");
	CU_ASSERT_TRUE(refused(RELOAD_KEEPER,
	                       "{'step': 'state', 'code': 'state_version', 'module': "
	                       "'keeper', 'found': 'version 1', 'expected': "
	                       "'version 4 or later'}"));
	CU_ASSERT_EQUAL(serving("keeper"), 4);
	CU_ASSERT_EQUAL(puppet.saves, 2);
	CU_ASSERT_TRUE(settled("keeper"));
	end();
}

/* Sections that the reader does not ask for. */
static void test_sections(void)
{
	begin_state("keeper_1");
	rig_start(&n, "n", "x", KEEPER, HOOKS(&puppet));
	values[1] = 5;
	writes_critical = true;
	rig_install("keeper_3", "keeper");
	CU_ASSERT_TRUE(refused(RELOAD_KEEPER, "{'step': 'state', 'code': 'critical', 'found': "
	                                      "'section 3'}"));
	CU_ASSERT_EQUAL(serving("keeper"), 1);
	writes_critical = false;
	writes_optional = true;
	CU_ASSERT_TRUE(reload(RELOAD_KEEPER, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(values[3], 5);
	end();
}

/* A save that fails is tried three times, and so is one that takes too long. */
static void test_save_fails(void)
{
	begin_state("keeper_1");
	rig_start(&n, "n", "x",
	          "'reload': {'probation': 0, 'probe': 0, 'rate': '0/s', 'budget': 0.02}," KEEPER,
	          HOOKS(&puppet));
	values[1] = 6;
	rig_install("keeper_3", "keeper");
	save_fails = 3;
	CU_ASSERT_TRUE(refused(RELOAD_KEEPER, "{'step': 'state', 'code': 'save', 'found': 'a limit "
	                                      "is reached', 'module': 'keeper'}"));
	CU_ASSERT_EQUAL(puppet.saves, 3);
	CU_ASSERT_EQUAL(puppet.loads, 0);
	CU_ASSERT_EQUAL(serving("keeper"), 1);

	save_sleeps_ms = 25;
	CU_ASSERT_TRUE(refused(RELOAD_KEEPER, "{'step': 'state', 'code': 'budget'}"));
	CU_ASSERT_EQUAL(puppet.saves, 6);
	CU_ASSERT_EQUAL(serving("keeper"), 1);
	CU_ASSERT_TRUE(settled("keeper"));

	save_sleeps_ms = 0;
	save_fails = 2;
	CU_ASSERT_TRUE(reload(RELOAD_KEEPER, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(puppet.saves, 9);
	CU_ASSERT_EQUAL(values[4], 6);
	end();
}

/* What happened since the switch is not lost on the way back. */
static void test_state_returns(void)
{
	begin_state("keeper_1");
	rig_start(&n, "n", "x", LONG_TRIAL KEEPER, HOOKS(&puppet));
	values[1] = 10;
	rig_install("keeper_3", "keeper");
	CU_ASSERT_TRUE(reload(RELOAD_KEEPER, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(values[2], 10);
	values[2] = 11;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.rollback", "{'name': 'keeper'}", 200, "{}"));
	CU_ASSERT_EQUAL(saved[2], 1);
	CU_ASSERT_EQUAL(loaded[1], 1);
	CU_ASSERT_EQUAL(values[1], 11);
	CU_ASSERT_EQUAL(puppet.resumes, 1);
	CU_ASSERT_TRUE(settled("keeper"));

	/* unless it can't be had: then the old one goes on with its own */
	CU_ASSERT_TRUE(reload(RELOAD_KEEPER, "{'result': 'switched'}"));
	values[3] = 12;
	save_fails = 1;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.rollback", "{'name': 'keeper'}", 200, "{}"));
	CU_ASSERT_EQUAL(serving("keeper"), 1);
	CU_ASSERT_EQUAL(values[1], 11);
	CU_ASSERT_TRUE(rig_logged("n", "generation 1 goes on with the state it had"));
	end();
}

#define THREE        "'modules': [" NAMED("keeper") "," NAMED("rank") "," NAMED("user") "]"
#define RELOAD_THREE "{'names': ['keeper', 'rank', 'user']}"

/* Of three modules, one after the other can't read what the old one wrote: nothing has happened. */
static void test_load_fails(void)
{
	static const char *const names[] = {"keeper", "rank", "user"};

	begin_state("keeper_1");
	rig_install("rank_1", "rank");
	rig_install("user_1", "user");
	puppet.start = NULL;
	rig_start(&n, "n", "x", THREE, HOOKS(&puppet), HOOKS(&puppet), HOOKS(&puppet));
	rig_install("keeper_3", "keeper");
	rig_install("rank_2", "rank");
	rig_install("user_2", "user");
	values[1] = 20;
	for (int i = 0; i < 3; i++) {
		char want[100];
		int loads = puppet.loads;
		load_fails = names[i];
		snprintf(want, sizeof(want), "{'step': 'state', 'code': 'load', 'module': '%s'}",
		         names[i]);
		CU_ASSERT_TRUE(refused(RELOAD_THREE, want));
		CU_ASSERT_TRUE(puppet.loads > loads);
		CU_ASSERT_EQUAL(puppet.lives, 3);
		CU_ASSERT_EQUAL(puppet.drains, 0);
		CU_ASSERT_EQUAL(puppet.resumes, 0);
		for (int k = 0; k < 3; k++) {
			CU_ASSERT_EQUAL(serving(names[k]), 1);
			CU_ASSERT_TRUE(settled(names[k]));
		}
		CU_ASSERT_EQUAL(puppet.stops, puppet.starts - 3);
	}
	load_fails = NULL;
	CU_ASSERT_TRUE(reload(RELOAD_THREE, "{'result': 'switched', 'modules': [{'state': "
	                                    "'active'}, {'state': 'active'}, {'state': "
	                                    "'active'}]}"));
	CU_ASSERT_EQUAL(values[5], 20);
	end();
}

/* ---------------------------------------------------------------- what stays mapped */

/* A block that lives on with a pointer into the code that goes: the code stays. */
static void test_pointer_in_block(void)
{
	begin();
	puppet.start = start_block;
	rig_start(&n, "n", "x", PUPPET, HOOKS(&puppet));
	const struct ob__gen *g = module_named("puppet")->active;
	CU_ASSERT_TRUE(g->low != 0 && g->high > g->low);
	*blocks[1] = g->high; /* just not in it */
	CU_ASSERT_TRUE(reload(FORCE, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(settled("puppet"));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_unmapped_total"), 1);

	*blocks[2] = module_named("puppet")->active->low;
	CU_ASSERT_TRUE(reload(FORCE, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&n, "obhost_module_zombies_total") == 1));
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules", NULL, 200,
		"{'modules': [{'old': [{'generation': 2, 'state': 'zombie', 'why': 'its ob_state() "
		"block \\\"count\\\" holds a pointer into it at byte 0'}]}]}"));
	rig_turn();
	rig_turn();
	CU_ASSERT_TRUE(tx_is(3, "{'result': 'committed', 'modules': [{'old': 'zombie', 'from': "
	                        "{'generation': 2}}]}"));
	end();
}

#define ZOMBIES_MAX 8

/* Zombies are bounded, and the remedy is named. */
static void test_zombies_bounded(void)
{
	begin();
	puppet.start = NULL;
	rig_start(&n, "n", "x", "'modules': [" NAMED("puppet") "," NAMED("stuck") "]",
	          HOOKS(&puppet), 0L);
	for (int i = 1; i <= ZOMBIES_MAX; i++) {
		CU_ASSERT_TRUE(
			reload("{'name': 'stuck', 'force': true}", "{'result': 'switched'}"));
		CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&n, "obhost_module_zombies_total") == i));
	}
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "modules", NULL, 200,
		"{'modules': [{'name': 'puppet', 'old': []}, {'name': 'stuck', 'old': [{'state': "
		"'zombie', 'resident': 'its author says so'}, {}, {}, {}, {}, {}, {}, {}]}]}"));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_module_unmapped_total"), 0);

	/* no more code of a module that is there; what is there serves on, and may be taken out */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", FORCE, 409,
	                                "{'error': {'code': 'zombies', 'step': 'admit', 'remedy': "
	                                "'restart the node to go on', 'message': '8 old "
	                                "generations could not be unmapped'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", "{'name': 'second'}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(serving("puppet"), 1);
	CU_ASSERT_EQUAL(serving("stuck"), ZOMBIES_MAX + 1);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'puppet'}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'stuck'}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", "{'name': 'stuck'}", 409,
	                                "{'error': {'code': 'zombies'}}"));
	end();
}

/* ---------------------------------------------------------------- canaries */

#define CLIENTS 40

static struct rig_client clients[CLIENTS];

static void connect_all(void)
{
	for (int i = 0; i < CLIENTS; i++) {
		rig_connect(&clients[i], n.port, true);
	}
}

static void disconnect_all(void)
{
	for (int i = 0; i < CLIENTS; i++) {
		rig_disconnect(&clients[i]);
	}
}

/* The generation that answers this client; 0: it failed. */
static unsigned asked(struct rig_client *c)
{
	rig_send(c, 1000, "{}");
	CU_ASSERT_TRUE_FATAL(rig_recv(c));
	json_t *body = json_loads(c->body, 0, NULL);
	unsigned gen = (unsigned)json_integer_value(json_object_get(body, "gen"));
	json_decref(body);
	return gen;
}

/* Asks every client; how many the generation answers.  All of `by` if that is not NULL must be as
 * they were. */
static int shares(unsigned gen, unsigned *by, bool first)
{
	int count = 0;

	for (int i = 0; i < CLIENTS; i++) {
		unsigned one = asked(&clients[i]);
		if (by != NULL && first) {
			by[i] = one;
		} else if (by != NULL) {
			CU_ASSERT_EQUAL(one, by[i]);
		}
		count += one == gen;
	}
	return count;
}

static void start_canary(const char *trial)
{
	begin_state("keeper_1");
	rig_start(&n, "n", "x",
	          LISTEN "'reload': {'probation': %s, 'probe': 0, 'rate': '0/s', 'drain': 0.3, "
	                 "'errors': 10}," KEEPER,
	          trial, HOOKS(&puppet));
	connect_all();
}

#define CANARY "{'name': 'keeper', 'force': true, 'canary': 50}"

static void test_canary(void)
{
	unsigned by[CLIENTS];
	char want[500];

	start_canary("600");
	CU_ASSERT_EQUAL(shares(1, NULL, false), CLIENTS);
	CU_ASSERT_TRUE(reload(CANARY, "{'tx': 2, 'result': 'switched', 'modules': [{'state': "
	                              "'canary', 'from': {'generation': 1}, 'to': {'generation': "
	                              "2}}]}"));
	CU_ASSERT_EQUAL(puppet.lives, 2);
	int old = shares(1, by, true);
	CU_ASSERT_TRUE(old > 0 && old < CLIENTS);
	CU_ASSERT_EQUAL(shares(2, by, false), CLIENTS - old); /* each stays where it was */

	/* side by side */
	snprintf(want, sizeof(want),
	         "{'modules': [{'name': 'keeper', 'active': {'generation': 1, 'state': 'active', "
	         "'handled': %d}, 'canary': {'generation': 2, 'state': 'canary', 'share': 50, "
	         "'handled': %d, 'failed': 0}, 'old': []}, {}]}",
	         CLIENTS + 2 * old, 2 * (CLIENTS - old));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules", NULL, 200, want));
	snprintf(want, sizeof(want),
	         "{'probation': {'canary': 50, 'modules': [{'name': 'keeper', 'from': "
	         "{'generation': 1, 'handled': %d}, 'to': {'generation': 2, 'handled': %d}}]}}",
	         CLIENTS + 2 * old, 2 * (CLIENTS - old));
	CU_ASSERT_TRUE(tx_is(2, want));
	CU_ASSERT_EQUAL(puppet.drains, 0);

	/* at the end it serves all */
	CU_ASSERT_TRUE(
		rig_admin_expect(&n, "modules.commit", "{'name': 'keeper'}", 200,
	                         "{'result': 'committed', 'modules': [{'state': 'active'}]}"));
	CU_ASSERT_EQUAL(shares(2, NULL, false), CLIENTS);
	CU_ASSERT_EQUAL(puppet.lives, 2);
	CU_ASSERT_TRUE(settled("keeper"));
	CU_ASSERT_PTR_NULL(module_named("keeper")->canary);
	disconnect_all();
	end();
}

/* By itself, when its time is over. */
static void test_canary_promoted(void)
{
	start_canary("0.2");
	CU_ASSERT_TRUE(reload(CANARY, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(settled("keeper"));
	CU_ASSERT_EQUAL(serving("keeper"), 2);
	CU_ASSERT_EQUAL(shares(2, NULL, false), CLIENTS);
	disconnect_all();
	end();
}

/* Its share fails: they go back to the old one, which nobody has told of anything. */
static void test_canary_returned(void)
{
	start_canary("600");
	fails_from = 2;
	CU_ASSERT_TRUE(reload(CANARY, "{'result': 'switched'}"));
	for (int i = 0; i < CLIENTS && module_named("keeper")->canary != NULL; i++) {
		shares(1, NULL, false);
	}
	CU_ASSERT_TRUE(settled("keeper"));
	CU_ASSERT_EQUAL(serving("keeper"), 1);
	CU_ASSERT_EQUAL(shares(1, NULL, false), CLIENTS);
	CU_ASSERT_EQUAL(puppet.resumes, 0);
	CU_ASSERT_TRUE(tx_is(2, "{'result': 'returned', 'modules': [{'state': 'returned', 'to': "
	                        "{'generation': 2}}]}"));

	/* or the operator does it */
	fails_from = 0;
	CU_ASSERT_TRUE(reload(CANARY, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.rollback", "{'name': 'keeper'}", 200,
	                                "{'result': 'returned'}"));
	CU_ASSERT_EQUAL(shares(1, NULL, false), CLIENTS);
	CU_ASSERT_TRUE(settled("keeper"));
	disconnect_all();
	end();
}

static size_t block_size;

static int start_sized(ob_ctx *ctx, const json_t *conf)
{
	CU_ASSERT_PTR_NOT_NULL(ob_state(ctx, "sized", block_size, 1));
	return ob_on_id(ctx, 1000, serve);
}

static void test_canary_refused(void)
{
	begin_state("keeper_1");
	block_size = 8;
	puppet.start = start_sized;
	rig_start(&n, "n", "x", LONG_TRIAL "'modules': [" NAMED("keeper") "," NAMED("second") "]",
	          HOOKS(&puppet), 0L);

	/* who does not allow for it, as it is and as it would be */
	CU_ASSERT_TRUE(refused("{'name': 'second', 'force': true, 'canary': 10}",
	                       "{'step': 'admit', 'code': 'canary', 'module': 'second'}"));
	rig_install("keeper_4", "keeper");
	CU_ASSERT_TRUE(refused(CANARY, "{'step': 'state', 'code': 'canary', 'module': 'keeper', "
	                               "'found': 'no OB_MODULE_PARALLEL'}"));

	/* state that would be two */
	rig_install("keeper_3", "keeper");
	CU_ASSERT_TRUE(refused(CANARY, "{'step': 'state', 'code': 'canary_state', 'module': "
	                               "'keeper', 'found': 'version 3', 'expected': 'version 1', "
	                               "'remedy': 'reload without canary'}"));
	rig_install("keeper_1", "keeper");
	block_size = 16;
	CU_ASSERT_TRUE(refused(CANARY, "{'step': 'state', 'code': 'canary_state', 'found': 'block "
	                               "\\\"sized\\\" in another form'}"));
	CU_ASSERT_EQUAL(puppet.saves, 0);
	CU_ASSERT_EQUAL(serving("keeper"), 1);
	CU_ASSERT_PTR_NULL(module_named("keeper")->canary);
	block_size = 8;
	CU_ASSERT_TRUE(reload(CANARY, "{'result': 'switched'}"));
	end();
}

/* What else may come while one is there. */
static void test_canary_and_more(void)
{
	start_canary("600");
	CU_ASSERT_TRUE(reload(CANARY, "{'tx': 2, 'result': 'switched'}"));

	/* a second one: the first has passed */
	CU_ASSERT_TRUE(reload(CANARY, "{'tx': 3, 'result': 'switched', 'modules': [{'state': "
	                              "'canary', 'from': {'generation': 2}, 'to': {'generation': "
	                              "3}}]}"));
	CU_ASSERT_TRUE(tx_is(2, "{'result': 'committed'}"));
	int third = shares(3, NULL, false);
	CU_ASSERT_TRUE(third > 0 && third < CLIENTS);

	/* a plain reload */
	CU_ASSERT_TRUE(reload("{'name': 'keeper', 'force': true}",
	                      "{'tx': 4, 'modules': [{'from': {'generation': 3}}]}"));
	CU_ASSERT_EQUAL(shares(4, NULL, false), CLIENTS);

	/* one that fails is taken back first */
	CU_ASSERT_TRUE(reload(CANARY, "{'tx': 5, 'result': 'switched'}"));
	fails_from = 5;
	for (int i = 0; i < 4; i++) {
		shares(4, NULL, false);
	}
	fails_from = 0;
	CU_ASSERT_TRUE(reload(CANARY, "{'tx': 6, 'modules': [{'from': {'generation': 4}}]}"));
	CU_ASSERT_TRUE(tx_is(5, "{'result': 'returned'}"));

	/* taken out */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'keeper'}", 200,
	                                "{'result': 'switched', 'modules': [{'state': 'gone', "
	                                "'from': {'generation': 6}, 'to': null}]}"));
	CU_ASSERT_EQUAL(shares(0, NULL, false), CLIENTS);
	CU_ASSERT_TRUE(RIG_UNTIL(module_named("keeper") == NULL));
	CU_ASSERT_EQUAL(puppet.stops, 6);
	disconnect_all();
	end();
}

/* The node ends with old generations standing by, and with a canary. */
static void test_end_in_probation(void)
{
	static const char *const rows[] = {CANARY, "{'name': 'keeper', 'force': true}"};

	for (int i = 0; i < 4; i++) {
		start_canary("600");
		CU_ASSERT_TRUE(reload(rows[i % 2], "{'result': 'switched'}"));
		if (i < 2) {
			rig_kill(&n);
			CU_ASSERT_EQUAL(puppet.stops, 2);
			disconnect_all();
			rig_end();
		} else {
			disconnect_all();
			end();
			CU_ASSERT_EQUAL(puppet.drains, 2);
		}
	}
}

/* ---------------------------------------------------------------- interfaces */

static void begin_interfaces(void)
{
	begin_state("keeper_1");
	puppet.start = NULL;
	rig_install("rank_1", "rank");
	rig_install("user_1", "user");
	rig_start(&n, "n", "x", "'modules': [" NAMED("user") "," NAMED("rank") "]", HOOKS(&puppet),
	          HOOKS(&puppet));
}

#define RELOAD_RANK "{'name': 'rank'}"
#define RELOAD_USER "{'name': 'user'}"
#define RELOAD_BOTH "{'names': ['user', 'rank']}"

static bool versions_are(const char *user, const char *rank)
{
	return strcmp(module_named("user")->active->version, user) == 0 &&
	       strcmp(module_named("rank")->active->version, rank) == 0;
}

/* Case 39: the provider under its user. */
static void test_provider(void)
{
	begin_interfaces();

	/* the same major number, a higher minor */
	rig_install("rank_1_3", "rank");
	CU_ASSERT_TRUE(reload(RELOAD_RANK, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(versions_are("1", "1.3"));

	/* another major number: the one alone is refused, whichever it is */
	rig_install("rank_2", "rank");
	CU_ASSERT_TRUE(refused(RELOAD_RANK, "{'step': 'depend', 'code': 'major'}"));
	rig_install("rank_1_3", "rank");
	rig_install("user_2", "user");
	CU_ASSERT_TRUE(refused(RELOAD_USER, "{'step': 'depend', 'code': 'major', 'module': "
	                                    "'user'}"));
	CU_ASSERT_TRUE(versions_are("1", "1.3"));

	/* both together are one step, in the order of their needs */
	rig_install("rank_2", "rank");
	load_fails = "user";
	CU_ASSERT_TRUE(refused(RELOAD_BOTH, "{'step': 'state', 'module': 'user'}"));
	CU_ASSERT_TRUE(versions_are("1", "1.3"));
	load_fails = NULL;
	CU_ASSERT_TRUE(reload(RELOAD_BOTH, "{'result': 'switched', 'modules': [{'name': 'rank', "
	                                   "'state': 'active'}, {'name': 'user', 'state': "
	                                   "'active'}]}"));
	CU_ASSERT_TRUE(versions_are("2", "2"));
	CU_ASSERT_TRUE(settled("rank") && settled("user"));
	end();
}

/* Case 40: what is needed stays, what may be missing may, and nobody needs himself. */
static void test_needs(void)
{
	begin_interfaces();
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'rank'}", 422,
	                                "{'error': {'step': 'depend', 'code': 'missing'}}"));
	CU_ASSERT_TRUE(versions_are("1", "1")); /* "?audit/1" is nowhere */
	rig_install("rank_loop", "rank");
	CU_ASSERT_TRUE(refused(RELOAD_RANK, "{'step': 'depend', 'code': 'cycle'}"));
	CU_ASSERT_TRUE(versions_are("1", "1"));
	CU_ASSERT_EQUAL(puppet.lives, 2);

	/* the user first, then its provider */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'user'}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.unload", "{'name': 'rank'}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(module_named("user") == NULL && module_named("rank") == NULL));

	/* and nobody who needs what is not there comes in */
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.load", "{'name': 'user'}", 422,
	                                "{'error': {'step': 'depend', 'code': 'missing', "
	                                "'module': 'user'}}"));
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("probation", NULL, NULL);
	CU_add_test(s, "commit at its end", test_commit);
	CU_add_test(s, "commit by name", test_commit_verb);
	CU_add_test(s, "commit or return", test_trials);
	CU_add_test(s, "what counts as failed", test_ends);
	CU_add_test(s, "a return that is waited for", test_wait_returned);
	CU_add_test(s, "a reload ends it", test_reload_in_probation);
	CU_add_test(s, "a waiting reload lets none begin", test_waiting_ends_probation);
	CU_add_test(s, "rollback in it", test_rollback_in_probation);
	CU_add_test(s, "rollback later", test_rollback_later);
	CU_add_test(s, "standing by", test_standby);
	CU_add_test(s, "one block for both", test_block_shared);
	CU_add_test(s, "state up and down", test_versions);
	CU_add_test(s, "sections", test_sections);
	CU_add_test(s, "save fails, save is slow", test_save_fails);
	CU_add_test(s, "state goes back", test_state_returns);
	CU_add_test(s, "load fails, first to last", test_load_fails);
	CU_add_test(s, "a pointer in a block", test_pointer_in_block);
	CU_add_test(s, "zombies are bounded", test_zombies_bounded);
	CU_add_test(s, "canary", test_canary);
	CU_add_test(s, "canary promoted", test_canary_promoted);
	CU_add_test(s, "canary returned", test_canary_returned);
	CU_add_test(s, "canary refused", test_canary_refused);
	CU_add_test(s, "canary and more", test_canary_and_more);
	CU_add_test(s, "the node ends in it", test_end_in_probation);
	CU_add_test(s, "provider and user", test_provider);
	CU_add_test(s, "needs", test_needs);
	return ob__tap_run();
}
