/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Filters around messages: their order, what they may do with a message, what they see of its end;
 * and those that are built in. */

#include "host/message/gate.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/client/conn.h"
#include "tap.h"
#include "unit/node_rig.h"

enum { ECHOED = 1000, KEPT = 1001, DOZED = 1002 };

static struct rig_node n;
static struct puppet p;
static struct rig_client c;
static char trace[1024];
static ob_gate gate;
static ob_req kept[8];
static unsigned kept_len;
static int (*client_does)(ob_ctx *ctx, const ob_message_event *e);
static int (*handler_does)(ob_ctx *ctx, const ob_message_event *e);

static void note(const char *fmt, const ob_message_event *e)
{
	size_t at = strlen(trace);

	if (at < sizeof(trace) - 64) {
		snprintf(trace + at, sizeof(trace) - at, "%s%u%s ", fmt, e->view->id,
		         e->when == OB_MESSAGE_AFTER_CLIENT || e->when == OB_MESSAGE_AFTER_HANDLER
		                 ? (e->code == OB_OK ? "+" : "-")
		                 : "");
	}
}

static int first(ob_ctx *ctx, const ob_message_event *e)
{
	note(e->when == OB_MESSAGE_BEFORE_CLIENT ? "a" : "A", e);
	return e->when == OB_MESSAGE_BEFORE_CLIENT && client_does != NULL ? client_does(ctx, e) : 0;
}

static int second(ob_ctx *ctx, const ob_message_event *e)
{
	note(e->when == OB_MESSAGE_BEFORE_CLIENT ? "b" : "B", e);
	return 0;
}

static int old(ob_ctx *ctx, const ob_view *view)
{
	strcat(trace, "o ");
	return view->len > 100 ? OB_E_TOO_BIG : 0;
}

static int at_handler(ob_ctx *ctx, const ob_message_event *e)
{
	note(e->when == OB_MESSAGE_BEFORE_HANDLER ? "h" : "H", e);
	return e->when == OB_MESSAGE_BEFORE_HANDLER && handler_does != NULL ? handler_does(ctx, e)
	                                                                    : 0;
}

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_reply(ctx, req, view.data, view.len);
}

static void keep(ob_ctx *ctx, ob_req req)
{
	ob_request_hold(ctx, req);
	kept[kept_len++ % 8] = req;
}

static void doze(ob_ctx *ctx, ob_req req)
{
	usleep(150 * 1000);
	echo(ctx, req);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_message_filter(ctx, OB_MESSAGE_BEFORE_CLIENT, 9, second);

	rc = rc == 0 ? ob_on_message_filter(ctx, OB_MESSAGE_BEFORE_CLIENT, 1, first) : rc;
	rc = rc == 0 ? ob_on_filter(ctx, 5, old) : rc;
	rc = rc == 0 ? ob_on_message_filter(ctx, OB_MESSAGE_AFTER_CLIENT, 1, first) : rc;
	rc = rc == 0 ? ob_on_message_filter(ctx, OB_MESSAGE_AFTER_CLIENT, 9, second) : rc;
	rc = rc == 0 ? ob_on_message_filter(ctx, OB_MESSAGE_BEFORE_HANDLER, 0, at_handler) : rc;
	rc = rc == 0 ? ob_on_message_filter(ctx, OB_MESSAGE_AFTER_HANDLER, 0, at_handler) : rc;
	rc = rc == 0 ? ob_on_id(ctx, ECHOED, echo) : rc;
	rc = rc == 0 ? ob_on_id(ctx, DOZED, doze) : rc;
	return rc == 0 ? ob_on_id(ctx, KEPT, keep) : rc;
}

static int start_plain(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, ECHOED, echo);

	rc = rc == 0 ? ob_on_id(ctx, DOZED, doze) : rc;
	return rc == 0 ? ob_on_id(ctx, KEPT, keep) : rc;
}

static void begin(int (*how)(ob_ctx *ctx, const json_t *conf), const char *conf)
{
	rig_begin();
	memset(trace, 0, sizeof(trace));
	memset(&p, 0, sizeof(p));
	client_does = handler_does = NULL;
	gate = 0;
	kept_len = 0;
	p.start = how;
	rig_start(&n, "n", "game",
	          "%s'listen': [{'transport': 'tcp', 'port': 0}], "
	          "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          conf, (long)(intptr_t)&p);
	rig_connect(&c, n.port, false);
}

static void end(void)
{
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->gates.bytes == 0));
	rig_stop(&n);
	rig_end();
}

static void test_order(void)
{
	begin(start, "");
	CU_ASSERT_TRUE(rig_ask(&c, ECHOED, "{\"x\": 1}", "{'x': 1}"));
	CU_ASSERT_STRING_EQUAL(trace, "a1000 o b1000 h1000 B1000+ A1000+ H1000+ ");
	trace[0] = '\0';
	char big[128] = "";
	memset(big, 'x', 120);
	rig_send(&c, ECHOED, big);
	CU_ASSERT_TRUE(rig_expect_error(&c, ECHOED, 413, NULL));
	CU_ASSERT_STRING_EQUAL(trace, "a1000 o B1000- A1000- ");
	trace[0] = '\0';
	rig_send(&c, KEPT, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 1));
	CU_ASSERT_STRING_EQUAL(trace, "a1001 o b1001 h1001 ");
	CU_ASSERT_EQUAL(ob_fail(p.ctx, kept[0], OB_E_DENIED, "no"), 0);
	CU_ASSERT_TRUE(rig_expect_error(&c, KEPT, 403, "no"));
	CU_ASSERT_STRING_EQUAL(trace, "a1001 o b1001 h1001 B1001- A1001- H1001- ");
	CU_ASSERT_EQUAL(ob_on_message_filter(p.ctx, OB_MESSAGE_AFTER_CLIENT, 1, first), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_on_message_filter(p.ctx, 0, 1, first), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_message_filter(p.ctx, 5, 1, first), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_message_filter(p.ctx, 1, 1, NULL), OB_E_INVAL);
	end();
}

static int refuse(ob_ctx *ctx, const ob_message_event *e)
{
	return OB_E_DENIED;
}

static int answer(ob_ctx *ctx, const ob_message_event *e)
{
	ob_gate g = ob_message_hold(ctx);

	CU_ASSERT_NOT_EQUAL(g, 0);
	CU_ASSERT_EQUAL(ob_message_hold(ctx), 0); /* once */
	CU_ASSERT_EQUAL(ob_message_end(ctx, g, OB_OK, NULL, "{\"by\":\"filter\"}", 15), 0);
	CU_ASSERT_EQUAL(ob_message_end(ctx, g, OB_OK, NULL, "x", 1), OB_E_STALE);
	return OB_E_APP; /* counts for nothing */
}

static int pass(ob_ctx *ctx, const ob_message_event *e)
{
	ob_gate g = ob_message_hold(ctx);

	CU_ASSERT_EQUAL(ob_message_pass(ctx, g), 0);
	CU_ASSERT_EQUAL(ob_message_pass(ctx, g), OB_E_STALE);
	return OB_E_APP;
}

static int hold(ob_ctx *ctx, const ob_message_event *e)
{
	gate = ob_message_hold(ctx);
	CU_ASSERT_NOT_EQUAL(gate, 0);
	return 0;
}

/* The same at either place. */
static void do_all(int (**place)(ob_ctx *ctx, const ob_message_event *e))
{
	CU_ASSERT_EQUAL(ob_message_hold(p.ctx), 0);
	*place = refuse;
	rig_send(&c, ECHOED, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, ECHOED, 403, NULL));
	*place = answer;
	CU_ASSERT_TRUE(rig_ask(&c, ECHOED, "{}", "{'by': 'filter'}"));
	*place = pass;
	CU_ASSERT_TRUE(rig_ask(&c, ECHOED, "{\"x\": 2}", "{'x': 2}"));
	*place = hold;
	rig_send(&c, ECHOED, "{\"x\": 3}");
	CU_ASSERT_TRUE(RIG_UNTIL(gate != 0));
	CU_ASSERT_TRUE(n.node->gates.bytes > 0);
	*place = NULL;
	CU_ASSERT_TRUE(rig_ask(&c, ECHOED, "{\"x\": 4}", "{'x': 4}")); /* overtakes it */
	trace[0] = '\0';
	CU_ASSERT_EQUAL(ob_message_pass(p.ctx, gate), 0);
	CU_ASSERT_TRUE(rig_expect(&c, ECHOED, "{'x': 3}"));
	CU_ASSERT_STRING_EQUAL(trace, place == &client_does ? "o b1000 h1000 B1000+ A1000+ H1000+ "
	                                                    : "B1000+ A1000+ H1000+ ");
	CU_ASSERT_EQUAL(ob_message_pass(p.ctx, gate), OB_E_STALE);
	CU_ASSERT_EQUAL(n.node->gates.bytes, 0);
	*place = hold;
	gate = 0;
	rig_send(&c, ECHOED, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(gate != 0));
	CU_ASSERT_EQUAL(ob_message_end(p.ctx, gate, OB_E_BUSY, "later", NULL, 0), 0);
	CU_ASSERT_TRUE(rig_expect_error(&c, ECHOED, 503, "later"));
	rig_send(&c, ECHOED, "{}"); /* nobody decides */
	CU_ASSERT_TRUE(rig_expect_error(&c, ECHOED, 504, NULL));
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->gates.slab.live == 0));
	rig_send(&c, KEPT, "{}"); /* a handler that holds what was held */
	gate = 0;
	CU_ASSERT_TRUE(RIG_UNTIL(gate != 0));
	CU_ASSERT_EQUAL(ob_message_pass(p.ctx, gate), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len > 0));
	CU_ASSERT_EQUAL(ob_reply(p.ctx, kept[0], "{}", 2), 0);
	CU_ASSERT_TRUE(rig_expect(&c, KEPT, "{}"));
	gate = 0;
	rig_send(&c, ECHOED, "{}"); /* the client goes meanwhile */
	CU_ASSERT_TRUE(RIG_UNTIL(gate != 0));
	*place = NULL;
}

static void test_at_client(void)
{
	begin(start, "'call_timeout': 0.3, ");
	do_all(&client_does);
	end();
}

static void test_at_handler(void)
{
	begin(start, "'call_timeout': 0.3, ");
	do_all(&handler_does);
	end();
}

/* What a generation holds ends with it. */
static void test_generation_goes(void)
{
	begin(start, "'reload': {'drain': 0.1, 'probation': 0, 'probe': 0}, ");
	client_does = hold;
	rig_send(&c, ECHOED, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(gate != 0));
	client_does = NULL;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{}"));
	CU_ASSERT_TRUE(rig_expect_error(&c, ECHOED, 503, NULL));
	client_does = hold;
	gate = 0;
	rig_send(&c, ECHOED, "{\"x\": 7}"); /* the next one passes what the one before held */
	CU_ASSERT_TRUE(RIG_UNTIL(gate != 0));
	client_does = NULL;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload",
	                                "{'name': 'puppet', 'force': true, 'wait': 'switch'}", 200,
	                                "{}"));
	if (ob_message_pass(p.ctx, gate) == 0) { /* not over yet */
		CU_ASSERT_TRUE(rig_expect(&c, ECHOED, "{'x': 7}"));
	} else {
		CU_ASSERT_TRUE(rig_expect_error(&c, ECHOED, 503, NULL));
	}
	end();
}

static void test_serial(void)
{
	begin(start_plain, "'filters': {'serial': {'queue': 3, 'wait': 0.5}}, ");
	rig_send(&c, KEPT, "{}");
	for (int i = 0; i < 4; i++) {
		char text[32];
		snprintf(text, sizeof(text), "{\"n\": %d}", i);
		rig_send(&c, ECHOED, text);
	}
	CU_ASSERT_TRUE(rig_expect_error(&c, ECHOED, 503, NULL)); /* the fourth */
	CU_ASSERT_EQUAL(kept_len, 1);
	CU_ASSERT_TRUE(rig_silent(&c));
	CU_ASSERT_EQUAL(ob_reply(p.ctx, kept[0], "{}", 2), 0);
	CU_ASSERT_TRUE(rig_expect(&c, KEPT, "{}"));
	CU_ASSERT_TRUE(rig_expect(&c, ECHOED, "{'n': 0}"));
	CU_ASSERT_TRUE(rig_expect(&c, ECHOED, "{'n': 1}"));
	CU_ASSERT_TRUE(rig_expect(&c, ECHOED, "{'n': 2}"));
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->gates.serial.count == 0));
	/* One waits for a request that waits itself. */
	rig_send(&c, KEPT, "{}");
	rig_send(&c, KEPT, "{}");
	rig_send(&c, ECHOED, "{\"n\": 3}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 2));
	CU_ASSERT_EQUAL(ob_reply(p.ctx, kept[1], "{}", 2), 0);
	CU_ASSERT_TRUE(rig_expect(&c, KEPT, "{}"));
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 3));
	CU_ASSERT_TRUE(rig_expect_error(&c, ECHOED, 504, NULL)); /* it has waited for long enough */
	CU_ASSERT_EQUAL(ob_reply(p.ctx, kept[2], "{}", 2), 0);
	CU_ASSERT_TRUE(rig_expect(&c, KEPT, "{}"));
	CU_ASSERT_TRUE(rig_ask(&c, ECHOED, "{\"n\": 4}", "{'n': 4}"));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_serial_refused_total"), 1);
	CU_ASSERT_TRUE(rig_metric(&n, "obhost_serial_waited_total") >= 5);
	rig_send(&c, KEPT, "{}");
	rig_send(&c, ECHOED, "{}"); /* the client goes, and its messages with it */
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->gates.serial.count == 1));
	end();
}

static void test_built_in(void)
{
	begin(start_plain, "'filters': {'time': {'slow': 0.1}, 'too_busy': 0.05, "
	                   "'timeout': [{'range': [1001, 1001], 'seconds': 0.2}]}, ");
	uint64_t before = ob__loop_hrtime_us();
	rig_send(&c, KEPT, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, KEPT, 504, NULL));
	uint64_t took = ob__loop_hrtime_us() - before;
	CU_ASSERT_TRUE(took >= 190000 && took < 4000000);
	CU_ASSERT_TRUE(rig_metric(&n, "obhost_messages_slow_total") >= 1);
	CU_ASSERT_TRUE(rig_logged("n", "ms at the client"));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_message_seconds_count{at=\"client\"}"), 1);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_message_seconds_count{at=\"handler\"}"), 1);
	bool refused = false;
	for (int i = 0; i < 50 && !refused; i++) {
		rig_send(&c, DOZED, "{}");
		CU_ASSERT_TRUE_FATAL(rig_recv(&c));
		refused = strstr(c.body, "too busy") != NULL;
	}
	CU_ASSERT_TRUE(refused);
	CU_ASSERT_TRUE(rig_metric(&n, "obhost_too_busy_total") >= 1);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("gate", NULL, NULL);
	CU_add_test(s, "order", test_order);
	CU_add_test(s, "a filter at the client's side", test_at_client);
	CU_add_test(s, "a filter at the handler's side", test_at_handler);
	CU_add_test(s, "its generation goes", test_generation_goes);
	CU_add_test(s, "one after another", test_serial);
	CU_add_test(s, "time, timeout, too busy", test_built_in);
	return ob__tap_run();
}
