/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* States of sessions: what is allowed in each, by configuration and by modules, who hears of
 * changes, and what becomes of changes that come of changes. */

#include "host/session/states.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "mesh/userwire.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet p;
static struct rig_client c;
static ob_session session;
static char heard[1024];
static void (*hook)(ob_ctx *ctx, const ob_session_change *change);
static int (*more)(ob_ctx *ctx);

static void note(ob_ctx *ctx, const ob_session_change *change, const char *what)
{
	size_t len = strlen(heard);
	const json_t *data;
	const char *is = ob_session_state(ctx, change->session, &data);

	if (len < sizeof(heard) - 64) {
		snprintf(heard + len, sizeof(heard) - len, "%s%s>%s(%s)%s%s ", what, change->from,
		         change->to, is, json_is_object(change->data) ? "+" : "",
		         json_is_object(change->left) ? "-" : "");
	}
	if (hook != NULL) {
		hook(ctx, change);
	}
}

static void enter(ob_ctx *ctx, const ob_session_change *change)
{
	note(ctx, change, "e:");
}

static void leave(ob_ctx *ctx, const ob_session_change *change)
{
	note(ctx, change, "l:");
}

static void handler(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	session = view.session;
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
}

static void go(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	const json_t *body = ob_req_json(ctx, req);

	ob_req_view(ctx, req, &view);
	int rc = ob_session_enter(ctx, view.session, ob_req_str(ctx, req, "to"),
	                          json_incref(json_object_get(body, "data")));
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "rc", rc);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_session_state(ctx, NULL, enter, leave);

	rc = rc == 0 ? ob_on_id(ctx, 1000, handler) : rc;
	rc = rc == 0 ? ob_on_id(ctx, 1001, go) : rc;
	rc = rc == 0 ? ob_on_id(ctx, 2000, handler) : rc;
	rc = rc == 0 ? ob_on_name(ctx, "play", handler, OB_FROM_CLIENT) : rc;
	return rc == 0 && more != NULL ? more(ctx) : rc;
}

#define STATES                                                                                      \
	"'states': {'guest': {'ids': [1000, 1001]}, 'lobby': {'ids': [[1000, 1001], [2000, 2999], " \
	"'play']}, 'strict': {'ids': [1001], 'refuse': 'close'}}, "

static void begin(const char *states)
{
	rig_begin();
	memset(heard, 0, sizeof(heard));
	memset(&p, 0, sizeof(p));
	session = 0;
	p.start = start;
	rig_start(&n, "n", "game",
	          "%s'listen': [{'transport': 'tcp', 'port': 0}], "
	          "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          states, (long)(intptr_t)&p);
	rig_connect(&c, n.port, false);
}

static void end(void)
{
	hook = NULL;
	more = NULL;
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	rig_stop(&n);
	rig_end();
}

#define REFUSED "not allowed in this state"

static void test_allowed(void)
{
	begin(STATES);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'code': 200}"));
	rig_send(&c, 2000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 2000, 403, REFUSED));
	rig_send(&c, 4000, "{}"); /* not even looked for */
	CU_ASSERT_TRUE(rig_expect_error(&c, 4000, 403, REFUSED));
	CU_ASSERT_TRUE(rig_ask(&c, 1001, "{\"to\": \"lobby\"}", "{'code': 200, 'rc': 0}"));
	CU_ASSERT_TRUE(rig_ask(&c, 2000, "{}", "{'code': 200}"));
	uint32_t id = ob_name_id(p.ctx, "play");
	CU_ASSERT_TRUE(rig_ask(&c, id, "{}", "{'code': 200}"));
	rig_send(&c, 3000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 3000, 403, REFUSED));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_state_refused_total{state=\"guest\"}"), 2);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_state_refused_total{state=\"lobby\"}"), 1);
	CU_ASSERT_TRUE(
		rig_admin_expect(&n, "sessions", "{}", 200, "{'sessions': [{'state': 'lobby'}]}"));
	CU_ASSERT_TRUE(rig_ask(&c, 1001, "{\"to\": \"strict\"}", "{'code': 200, 'rc': 0}"));
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(&c), c.eof)));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_closed_total{reason=\"state\"}"), 1);
	end();
}

static void test_heard(void)
{
	begin(STATES);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'code': 200}"));
	CU_ASSERT_STRING_EQUAL(heard, "e:>guest(guest) ");
	heard[0] = '\0';
	CU_ASSERT_TRUE(rig_ask(&c, 1001, "{\"to\": \"lobby\", \"data\": {\"a\": 1}}",
	                       "{'code': 200, 'rc': 0}"));
	CU_ASSERT_STRING_EQUAL(heard, "l:guest>lobby(guest)+ e:guest>lobby(lobby)+ ");
	const json_t *data = NULL;
	CU_ASSERT_STRING_EQUAL(ob_session_state(p.ctx, session, &data), "lobby");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(data, "a")), 1);
	heard[0] = '\0';
	/* Again, with something else. */
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "lobby", json_pack("{}")), 0);
	CU_ASSERT_STRING_EQUAL(heard, "l:lobby>lobby(lobby)+- e:lobby>lobby(lobby)+- ");
	heard[0] = '\0';
	CU_ASSERT_EQUAL(ob_session_close(p.ctx, session, 4000, "out"), 0);
	CU_ASSERT_STRING_EQUAL(heard, "l:lobby>(lobby)- ");
	CU_ASSERT_PTR_NULL(ob_session_state(p.ctx, session, &data));
	CU_ASSERT_PTR_NULL(data);
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "lobby", NULL), OB_E_STALE);
	end();
}

static void test_refused(void)
{
	char big[OB_STATE_DATA_MAX + 1];

	begin(STATES);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'code': 200}"));
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "nowhere", NULL), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "", NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, NULL, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "a b", NULL), OB_E_INVAL);
	memset(big, 'x', sizeof(big));
	CU_ASSERT_EQUAL(
		ob_session_enter(p.ctx, session, "lobby", json_stringn(big, sizeof(big) - 2)),
		OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(
		ob_session_enter(p.ctx, session, "lobby", json_stringn(big, sizeof(big) - 3)), 0);
	CU_ASSERT_EQUAL(ob_session_allow(p.ctx, "late", 1, 2), OB_E_STATE);
	CU_ASSERT_EQUAL(ob_session_allow(p.ctx, "late", 2, 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_allow(p.ctx, "late", 0, 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_session_allow(p.ctx, "late!", 1, 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_session_state(p.ctx, NULL, NULL, NULL), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_session_state(p.ctx, NULL, enter, NULL), OB_E_STATE);
	end();
}

static int rcs[3];

static void bounce(ob_ctx *ctx, const ob_session_change *change)
{
	if (strcmp(change->to, "lobby") == 0) {
		rcs[0] = ob_session_enter(ctx, change->session, "guest", NULL);
	}
}

static void swing(ob_ctx *ctx, const ob_session_change *change)
{
	if (change->to[0] != '\0' && change->from[0] != '\0') {
		int rc = ob_session_enter(ctx, change->session,
		                          strcmp(change->to, "lobby") == 0 ? "guest" : "lobby",
		                          NULL);
		rcs[1] += rc == 0;
		rcs[2] += rc == OB_E_LIMIT;
	}
}

static void close_it(ob_ctx *ctx, const ob_session_change *change)
{
	if (strcmp(change->to, "lobby") == 0) {
		(void)ob_session_close(ctx, change->session, 4000, "out");
	}
}

/* Changes that who hears of one asks for. */
static void test_in_hooks(void)
{
	begin(STATES);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'code': 200}"));
	heard[0] = '\0';
	hook = bounce;
	rcs[0] = -1;
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "lobby", NULL), 0);
	CU_ASSERT_EQUAL(rcs[0], 0);
	CU_ASSERT_STRING_EQUAL(ob_session_state(p.ctx, session, NULL), "guest");
	CU_ASSERT_STRING_EQUAL(heard, "l:guest>lobby(guest) e:guest>lobby(lobby) "
	                              "l:lobby>guest(lobby) e:lobby>guest(guest) "
	                              "l:guest>guest(guest) e:guest>guest(guest) ");
	hook = swing;
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "lobby", NULL), 0);
	CU_ASSERT_EQUAL(rcs[1], (int)OB__STATE_CHANGES_MAX);
	CU_ASSERT_TRUE(rcs[2] > 0);
	CU_ASSERT_TRUE(rig_metric(&n, "obhost_session_states_lost_total") > 0);
	hook = close_it;
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "lobby", NULL), 0);
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "lobby", NULL), OB_E_STALE);
	end();
}

static int declare(ob_ctx *ctx)
{
	int rc = ob_session_allow(ctx, "first", 1000, 1001);

	rc = rc == 0 ? ob_session_allow(ctx, "second", 1, 0) : rc;
	return rc == 0 ? ob_session_allow(ctx, "second", 2000, 2000) : rc;
}

static int declare_other(ob_ctx *ctx)
{
	return ob_session_allow(ctx, "first", 1000, 2000);
}

/* By a module only; and its next generation, which declares others. */
static void test_of_module(void)
{
	more = declare;
	begin("");
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "{}", "{'code': 200}"));
	CU_ASSERT_STRING_EQUAL(ob_session_state(p.ctx, session, NULL), "first");
	rig_send(&c, 2000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 2000, 403, REFUSED));
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "second", json_pack("{s:i}", "k", 7)), 0);
	CU_ASSERT_TRUE(rig_ask(&c, 2000, "{}", "{'code': 200}"));
	more = declare_other;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{}"));
	const json_t *data;
	CU_ASSERT_STRING_EQUAL(ob_session_state(p.ctx, session, &data), "second");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(data, "k")), 7);
	rig_send(&c, 2000, "{}"); /* nobody allows anything in it now */
	CU_ASSERT_TRUE(rig_expect_error(&c, 2000, 403, REFUSED));
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "second", NULL), OB_E_NOT_FOUND);
	CU_ASSERT_EQUAL(ob_session_enter(p.ctx, session, "first", NULL), 0);
	CU_ASSERT_TRUE(rig_ask(&c, 2000, "{}", "{'code': 200}"));
	more = NULL;
	CU_ASSERT_TRUE(rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{}"));
	CU_ASSERT_STRING_EQUAL(ob_session_state(p.ctx, session, NULL), "");
	rig_send(&c, 4000, "{}");
	CU_ASSERT_TRUE(rig_expect_error(&c, 4000, 503, NULL)); /* no module decides */
	end();
}

static void test_wire(void)
{
	uint8_t out[1 + OB__NAMED_WORD_MAX + 4];
	struct ob__named_msg m;
	size_t at = ob__named_put_head(out, "lobby");

	memcpy(out + at, "{}", 2);
	CU_ASSERT_EQUAL(ob__named_get(&m, out, at + 2), 0);
	CU_ASSERT_STRING_EQUAL(m.name, "lobby");
	CU_ASSERT_EQUAL(m.len, 2);
	CU_ASSERT_EQUAL(ob__named_get(&m, out, at), 0);
	CU_ASSERT_EQUAL(m.len, 0);
	CU_ASSERT_TRUE(ob__named_get(&m, out, at - 1) < 0);
	CU_ASSERT_TRUE(ob__named_get(&m, out, 0) < 0);
	out[0] = 0;
	CU_ASSERT_TRUE(ob__named_get(&m, out, at) < 0);
	out[0] = OB__NAMED_WORD_MAX + 1;
	CU_ASSERT_TRUE(ob__named_get(&m, out, sizeof(out)) < 0);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("states", NULL, NULL);
	CU_add_test(s, "what is allowed", test_allowed);
	CU_add_test(s, "who hears", test_heard);
	CU_add_test(s, "what is refused", test_refused);
	CU_add_test(s, "changes that come of changes", test_in_hooks);
	CU_add_test(s, "declared by a module", test_of_module);
	CU_add_test(s, "on the wire", test_wire);
	return ob__tap_run();
}
