/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Policies in whole nodes: a proxy or a route node with links to two nodes of a role, and a module
 * that chooses between them. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/client/conn.h"
#include "host/cluster/policy.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node front; /* who chooses */
static struct rig_node a;
static struct rig_node b;
static struct rig_client c;
static struct puppet at_front;
static struct puppet at_a;
static struct puppet at_b;

#define HOOKS(p) (long)(intptr_t)(p)

/* ---------------------------------------------------------------- the role's nodes */

static ob_req kept;
static ob_ctx *keeper;

static void who(ob_ctx *ctx, ob_req req)
{
	ob_node_info me = {.size = sizeof(me)};

	ob_node(ctx, &me);
	ob_reply_json(ctx, req, "s", me.name);
}

static void keep(ob_ctx *ctx, ob_req req)
{
	keeper = ctx;
	kept = req;
	ob_request_hold(ctx, req);
}

static int start_game(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 1000, who);

	rc = rc == 0 ? ob_on_id(ctx, 5000, who) : rc;
	rc = rc == 0 ? ob_on_id(ctx, 1001, keep) : rc;
	return rc == 0 ? ob_on_method(ctx, "t.who", who, 0) : rc;
}

/* ---------------------------------------------------------------- the policy */

static struct {
	int asked;
	int says; /* beyond what the payload says */
	bool by_text;
	bool closes;
	ob_view view;
	char method[64];
	char text[64];
	char names[64];
	uint32_t pending[2];
	uint8_t state[2];
	uint16_t load[2];
	ob_session session;
	uint32_t role;
} seen;

/* "a" and "b" in the payload name the node; else `says`. */
static int choose(ob_ctx *ctx, const ob_choice *choice)
{
	seen.asked++;
	seen.view = *choice->view;
	seen.role = choice->role;
	seen.names[0] = '\0';
	CU_ASSERT_EQUAL(choice->size, sizeof(*choice));
	snprintf(seen.text, sizeof(seen.text), "%.*s", (int)choice->view->len,
	         choice->view->len > 0 ? (const char *)choice->view->data : "");
	snprintf(seen.method, sizeof(seen.method), "%s",
	         choice->view->method != NULL ? choice->view->method : "");
	for (size_t i = 0; i < choice->len; i++) {
		const ob_candidate *k = &choice->candidates[i];
		CU_ASSERT_EQUAL(k->size, sizeof(*k));
		CU_ASSERT_EQUAL(k->weight, 100);
		CU_ASSERT_EQUAL(k->node, ob__node_id(k->name));
		CU_ASSERT_FALSE(k->local);
		CU_ASSERT_TRUE(i == 0 || k->node > k[-1].node);
		snprintf(seen.names + strlen(seen.names), sizeof(seen.names) - strlen(seen.names),
		         "%s ", k->name);
		seen.pending[strcmp(k->name, "b") == 0] = k->pending;
		seen.state[strcmp(k->name, "b") == 0] = k->state;
		seen.load[strcmp(k->name, "b") == 0] = k->load;
	}
	if (seen.closes) {
		CU_ASSERT_EQUAL(ob_session_close(ctx, choice->view->session, 4001, "you"), 0);
	}
	for (size_t i = 0; seen.by_text && i < choice->len; i++) {
		if (strcmp(choice->candidates[i].name, seen.text) == 0) {
			return (int)i;
		}
	}
	return seen.says;
}

static const char *policy_name = "p";

static int start_policy(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_policy(ctx, policy_name, choose);
}

/* ---------------------------------------------------------------- nodes */

static const char *policy_conf = "'policy': {'game': 'p'},";
static const char *no_state = "[[1000, 4999]]";
static int ports[2];

static void start_one(struct rig_node *n, const char *name, int port, struct puppet *p)
{
	rig_start(n, name, "game",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "'}, 'modules': ['service', {'name': "
	          "'puppet', 'conf': {'hooks': %ld}}]",
	          port, HOOKS(p));
}

#define FRONT                                                                              \
	"'listen': [{'port': 0, 'no_state': {'range': %s}}], 'rpc': {'token': '" RIG_TOKEN \
	"', 'reconnect_time': 0.05, %s 'route': {'range': {'game': [[1000, 9999]]}}}, "    \
	"'remote_ports': [{'port': %d}, {'port': %d}], 'modules': ['proxy', {'name': "     \
	"'puppet', 'conf': {'hooks': %ld}}, 'second']"
#define FRONT_ARGS no_state, policy_conf, ports[0], ports[1], HOOKS(&at_front)

static void begin(void)
{
	rig_begin();
	memset(&seen, 0, sizeof(seen));
	memset(&at_front, 0, sizeof(at_front));
	memset(&at_a, 0, sizeof(at_a));
	memset(&at_b, 0, sizeof(at_b));
	seen.by_text = true;
	at_front.start = start_policy;
	at_a.start = at_b.start = start_game;
	ports[0] = rig_port();
	do {
		ports[1] = rig_port();
	} while (ports[1] == ports[0]);
}

static void all_up(void)
{
	start_one(&a, "a", ports[0], &at_a);
	start_one(&b, "b", ports[1], &at_b);
	rig_start(&front, "front", "proxy", FRONT, FRONT_ARGS);
	CU_ASSERT_TRUE_FATAL(rig_linked(&front, &a));
	CU_ASSERT_TRUE_FATAL(rig_linked(&front, &b));
	rig_connect(&c, front.port, true);
}

static void end(void)
{
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(front.node->pendings.slab.live == 0));
	OB__LIST_EACH (it, &front.node->registry.peers) {
		CU_ASSERT_EQUAL(OB__CONTAINER(it, struct ob__peer, all_link)->balance.pending, 0);
	}
	rig_stop(&front);
	rig_stop(&a);
	rig_stop(&b);
	rig_end();
}

/* ---------------------------------------------------------------- tests */

static void test_by_content(void)
{
	begin();
	all_up();
	for (int i = 0; i < 10; i++) {
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "a", "'a'"));
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "b", "'b'"));
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "b", "'b'"));
	}
	CU_ASSERT_EQUAL(seen.asked, 30);
	CU_ASSERT_EQUAL(seen.view.size, sizeof(ob_view));
	CU_ASSERT_EQUAL(seen.view.id, 1000);
	CU_ASSERT_EQUAL(seen.view.flags, OB_VIEW_CLIENT);
	CU_ASSERT_EQUAL(seen.view.source, front.node->self.id);
	CU_ASSERT_TRUE(seen.view.budget_ms > 0);
	CU_ASSERT_NOT_EQUAL(seen.view.session, 0);
	CU_ASSERT_EQUAL(seen.role, ob_role(at_front.ctx, "game"));
	CU_ASSERT_STRING_EQUAL(seen.names, ob__node_id("a") < ob__node_id("b") ? "a b " : "b a ");

	/* one node is down: the other is all there is to choose from */
	rig_kill(&b);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&front, &a) != NULL && rig_peer(&front, &b) == NULL));
	seen.says = 0;
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "b", "'a'"));
	CU_ASSERT_STRING_EQUAL(seen.names, "a ");
	start_one(&b, "b", ports[1], &at_b);
	CU_ASSERT_TRUE(rig_linked(&front, &b));
	end();
}

/* Those that are suspect are shown as such, while there is nobody else. */
static void test_states(void)
{
	begin();
	all_up();
	struct ob__peer *pa = ob__registry_get(&front.node->registry, ob__node_id("a"));
	struct ob__peer *pb = ob__registry_get(&front.node->registry, ob__node_id("b"));
	CU_ASSERT_TRUE_FATAL(pa != NULL && pb != NULL);
	pb->balance.load = 70000;
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "a", "'a'"));
	CU_ASSERT_TRUE(seen.state[0] == OB_NODE_UP && seen.state[1] == OB_NODE_UP);
	CU_ASSERT_TRUE(seen.load[0] == 0 && seen.load[1] == UINT16_MAX);
	ob__registry_set_state(&front.node->registry, pa, OB__MEMBER_SUSPECT);
	ob__registry_set_state(&front.node->registry, pb, OB__MEMBER_SUSPECT);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "b", "'b'"));
	CU_ASSERT_TRUE(seen.state[0] == OB_NODE_SUSPECT && seen.state[1] == OB_NODE_SUSPECT);
	end();
}

/* A session that should stay is asked about once. */
static void test_sticky(void)
{
	begin();
	all_up();
	CU_ASSERT_TRUE(rig_ask(&c, 5000, "b", "'b'"));
	CU_ASSERT_EQUAL(seen.view.flags, OB_VIEW_CLIENT | OB_VIEW_STICKY);
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_TRUE(rig_ask(&c, 5000, "a", "'b'"));
	}
	CU_ASSERT_EQUAL(seen.asked, 1);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "a", "'a'")); /* others go as before */
	end();
}

static void test_refuses(void)
{
	begin();
	all_up();
	seen.says = OB_E_DENIED;
	rig_send(&c, 1000, "x");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 403, NULL));
	seen.says = -1; /* no result: the module's failure */
	rig_send(&c, 1000, "x");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 500, NULL));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "a", "'a'"));
	CU_ASSERT_EQUAL(rig_metric(&front, "obhost_requests_refused_total{result=\"DENIED\"}"), 1);
	end();
}

static struct {
	int count;
	int code;
	char data[64];
} ended;

static void call_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	ended.count++;
	ended.code = res->code;
	snprintf(ended.data, sizeof(ended.data), "%.*s", (int)res->len,
	         res->len > 0 ? (const char *)res->data : "");
}

static void test_calls(void)
{
	begin();
	all_up();
	memset(&ended, 0, sizeof(ended));
	ob_target role = {.role = ob_role(at_front.ctx, "game")};
	ob_target node = {.node = ob__node_id("a"), .role = role.role};
	CU_ASSERT_NOT_EQUAL(
		ob_call_method(at_front.ctx, &role, "t.who", 0, "b", 1, 0, call_ended, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 1));
	CU_ASSERT_STRING_EQUAL(ended.data, "\"b\"");
	CU_ASSERT_STRING_EQUAL(seen.method, "t.who");
	CU_ASSERT_EQUAL(seen.view.flags, OB_VIEW_CALL);
	CU_ASSERT_EQUAL(seen.view.session, 0);

	/* to a node it is not asked */
	CU_ASSERT_NOT_EQUAL(ob_call(at_front.ctx, &node, 1000, 0, "b", 1, 0, call_ended, NULL), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 2));
	CU_ASSERT_STRING_EQUAL(ended.data, "\"a\"");
	CU_ASSERT_EQUAL(seen.asked, 1);

	/* refused: the end comes later, by the callback; a cancelled one has none */
	seen.says = OB_E_BUSY;
	CU_ASSERT_NOT_EQUAL(ob_call(at_front.ctx, &role, 1000, 0, "x", 1, 0, call_ended, NULL), 0);
	CU_ASSERT_EQUAL(ended.count, 2);
	CU_ASSERT_TRUE(RIG_UNTIL(ended.count == 3));
	CU_ASSERT_EQUAL(ended.code, OB_E_BUSY);
	ob_call_id call = ob_call(at_front.ctx, &role, 1000, 0, "x", 1, 0, call_ended, NULL);
	CU_ASSERT_EQUAL(ob_call_cancel(at_front.ctx, call), 0);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(ended.count, 3);
	end();
}

static bool reload(void)
{
	return rig_admin_expect(&front, "modules.reload", "{'name': 'puppet', 'force': true}", 200,
	                        "{'result': 'switched'}");
}

static int times_logged(const char *text)
{
	int n = 0;

	char *log = rig_log("front");
	for (const char *at = log; (at = strstr(at, text)) != NULL; at++) {
		n++;
	}
	free(log);
	return n;
}

/* A choice that makes no sense: the node chooses, says so once per generation, and counts. */
static void test_no_sense(void)
{
	begin();
	all_up();
	for (int gen = 1; gen <= 2; gen++) {
		bool seen_a = false;
		bool seen_b = false;
		for (int i = 0; i < 4; i++) {
			seen.says = i % 2 == 0 ? 2 : 1000000;
			rig_send(&c, 1000, "x");
			CU_ASSERT_TRUE(rig_recv(&c));
			seen_a |= strcmp(c.body, "\"a\"") == 0;
			seen_b |= strcmp(c.body, "\"b\"") == 0;
		}
		CU_ASSERT_TRUE(seen_a && seen_b); /* round robin */
		CU_ASSERT_EQUAL(rig_metric(&front, "obhost_policy_failed_total{policy=\"p\"}"),
		                4 * gen);
		CU_ASSERT_TRUE(RIG_UNTIL(times_logged("chose number") >= gen));
		CU_ASSERT_EQUAL(times_logged("chose number"), gen);
		CU_ASSERT_TRUE(reload());
	}
	end();
}

static void test_pending(void)
{
	begin();
	all_up();
	rig_send(&c, 1001, "b");
	CU_ASSERT_TRUE(RIG_UNTIL(kept != 0));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "a", "'a'"));
	CU_ASSERT_EQUAL(seen.pending[0], 0);
	CU_ASSERT_EQUAL(seen.pending[1], 1);
	CU_ASSERT_EQUAL(ob_reply(keeper, kept, "1", 1), 0);
	CU_ASSERT_TRUE(rig_expect(&c, 1001, "1"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "a", "'a'"));
	CU_ASSERT_EQUAL(seen.pending[1], 0);
	kept = 0;
	end();
}

/* It may close the client it is asked about. */
static void test_closes(void)
{
	begin();
	all_up();
	seen.closes = true;
	rig_send(&c, 5000, "a");
	CU_ASSERT_EQUAL(rig_closed(&c), 4001);
	rig_disconnect(&c);
	rig_connect(&c, front.port, true);
	seen.says = OB_E_DENIED;
	rig_send(&c, 5000, "x");
	CU_ASSERT_EQUAL(rig_closed(&c), 4001);
	end();
}

/* Messages that wait for a node are put to it when one comes. */
static void test_held(void)
{
	begin();
	start_one(&a, "a", ports[0], &at_a);
	rig_stop(&a);
	rig_start(&front, "front", "proxy", FRONT, FRONT_ARGS);
	rig_connect(&c, front.port, true);
	rig_send(&c, 1000, "b");
	rig_send(&c, 1000, "x");
	CU_ASSERT_TRUE(RIG_UNTIL(front.node->dispatch.held_bytes > 0));
	CU_ASSERT_TRUE(rig_silent(&c));
	CU_ASSERT_EQUAL(seen.asked, 0);
	seen.says = OB_E_BUSY;
	start_one(&b, "b", ports[1], &at_b);
	rig_send(&c, 1000, "x");
	bool answered = false;
	for (int i = 0; i < 3; i++) { /* "b" goes out, both "x" are ended */
		CU_ASSERT_TRUE(rig_recv(&c));
		answered |= strcmp(c.body, "\"b\"") == 0;
		CU_ASSERT_TRUE(strcmp(c.body, "\"b\"") == 0 || strstr(c.body, "503") != NULL);
	}
	CU_ASSERT_TRUE(answered);
	CU_ASSERT_EQUAL(front.node->dispatch.held_bytes, 0);
	CU_ASSERT_EQUAL(seen.view.flags, OB_VIEW_CLIENT);
	start_one(&a, "a", ports[0], &at_a);
	end();
}

static void write_conf(const char *policies)
{
	policy_conf = policies;
	rig_write_conf(&front, "front", "proxy", FRONT, FRONT_ARGS);
	CU_ASSERT_TRUE(rig_admin_expect(&front, "config.reload", NULL, 200, "{}"));
}

/* The node that answers; ids of before 5000 may go anywhere. */
static char ask_who(unsigned id)
{
	rig_send(&c, id, "x");
	CU_ASSERT_TRUE(rig_recv(&c));
	return c.body[1];
}

/* A range's comes before the role's, of overlapping ones the last wins, and both are replaced while
 * the node runs. */
static void test_by_range(void)
{
	begin();
	policy_conf = "'policy_range': [{'range': [1000, 1500], 'policy': 'p'}],";
	all_up();
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "a", "'a'"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "b", "'b'"));
	CU_ASSERT_EQUAL(seen.asked, 2);
	(void)ask_who(5000);
	CU_ASSERT_EQUAL(seen.asked, 2);
	CU_ASSERT_TRUE(rig_admin_expect(
		&front, "routes", NULL, 200,
		"{'policies': {}, 'policy_ranges': [{'low': 1000, 'high': 1500, 'policy': 'p', "
		"'built_in': false, 'module': 'puppet'}]}"));

	/* another range of the same role */
	write_conf("'policy_range': [{'range': [5000, 5000], 'policy': 'p'}],");
	rig_disconnect(&c);
	rig_connect(&c, front.port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 5000, "b", "'b'"));
	CU_ASSERT_EQUAL(seen.asked, 3);
	CU_ASSERT_NOT_EQUAL(ask_who(1000), ask_who(1000));
	CU_ASSERT_EQUAL(seen.asked, 3);

	/* the role has the module's, the range one that is built in, and one id the module's again
	 */
	write_conf("'policy': {'game': 'p'}, 'policy_range': [{'range': [1000, 1999], 'policy': "
	           "'hash'}, {'range': [1002, 1002], 'policy': 'p'}],");
	char home = ask_who(1000);
	for (int i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL(ask_who(1000), home);
	}
	CU_ASSERT_EQUAL(seen.asked, 3);
	seen.says = OB_E_DENIED;
	rig_send(&c, 1002, "x");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1002, 403, NULL));
	rig_send(&c, 2000, "x");
	CU_ASSERT_TRUE(rig_expect_error(&c, 2000, 403, NULL));
	CU_ASSERT_EQUAL(seen.asked, 5);

	/* and nobody offers it */
	write_conf("'policy_range': [{'range': [1000, 1000], 'policy': 'nobody_has_it'}],");
	CU_ASSERT_TRUE(rig_logged("front", "rpc.policy_range: no loaded module offers"));
	CU_ASSERT_NOT_EQUAL(ask_who(1000), ask_who(1000));
	CU_ASSERT_EQUAL(seen.asked, 5);
	policy_conf = "'policy': {'game': 'p'},";
	end();
}

/* The configuration names it, modules offer it, in either order. */
static void test_configured(void)
{
	begin();
	policy_name = "other";
	all_up();
	CU_ASSERT_TRUE(rig_logged("front", "no loaded module offers p"));
	CU_ASSERT_TRUE(rig_admin_expect(
		&front, "routes", NULL, 200,
		"{'policies': {'game': {'policy': 'p', 'built_in': false, 'module': null}}}"));
	rig_send(&c, 1000, "b");
	CU_ASSERT_TRUE(rig_recv(&c));
	CU_ASSERT_EQUAL(seen.asked, 0);
	policy_name = "p";
	CU_ASSERT_TRUE(reload());
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "b", "'b'"));
	CU_ASSERT_EQUAL(seen.asked, 1);
	CU_ASSERT_TRUE(
		rig_admin_expect(&front, "routes", NULL, 200,
	                         "{'policies': {'game': {'policy': 'p', 'module': 'puppet'}}}"));

	/* taken out of the file, and put in again */
	policy_conf = "";
	rig_write_conf(&front, "front", "proxy", FRONT, FRONT_ARGS);
	CU_ASSERT_TRUE(rig_admin_expect(&front, "config.reload", NULL, 200,
	                                "{'changed': ['rpc'], 'needs_restart': []}"));
	rig_send(&c, 1000, "b");
	CU_ASSERT_TRUE(rig_recv(&c));
	CU_ASSERT_EQUAL(seen.asked, 1);
	json_t *body = NULL;
	CU_ASSERT_EQUAL(rig_admin(&front, "routes", NULL, &body), 200);
	CU_ASSERT_EQUAL(json_object_size(json_object_get(body, "policies")), 0);
	json_decref(body);
	policy_conf = "'policy': {'game': 'p'},";
	rig_write_conf(&front, "front", "proxy", FRONT, FRONT_ARGS);
	CU_ASSERT_TRUE(rig_admin_expect(&front, "config.reload", NULL, 200, "{}"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "a", "'a'"));
	CU_ASSERT_EQUAL(seen.asked, 2);

	/* and its module goes */
	CU_ASSERT_TRUE(rig_admin_expect(&front, "modules.unload", "{'name': 'puppet'}", 200, "{}"));
	rig_send(&c, 1000, "b");
	CU_ASSERT_TRUE(rig_recv(&c));
	CU_ASSERT_EQUAL(seen.asked, 2);
	end();
}

/* At a route node: what came over a link. */
static struct rig_node proxy;

static void test_at_route(void)
{
	begin();
	int port = rig_port();
	start_one(&a, "a", ports[0], &at_a);
	start_one(&b, "b", ports[1], &at_b);
	rig_start(&front, "front", "route",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "', 'reconnect_time': 0.05, %s "
	          "'route': {'range': {'game': [[1000, 9999]]}}}, 'remote_ports': [{'port': %d}, "
	          "{'port': %d}], 'modules': ['route', {'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          port, policy_conf, ports[0], ports[1], HOOKS(&at_front));
	rig_start(&proxy, "proxy", "proxy",
	          "'listen': [{'port': 0}], 'rpc': {'token': '" RIG_TOKEN "'}, 'remote_ports': "
	          "[{'port': %d}], 'modules': ['proxy']",
	          port);
	CU_ASSERT_TRUE_FATAL(rig_linked(&front, &a));
	CU_ASSERT_TRUE_FATAL(rig_linked(&front, &b));
	CU_ASSERT_TRUE_FATAL(rig_linked(&front, &proxy));
	rig_connect(&c, proxy.port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "b", "'b'"));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "a", "'a'"));
	CU_ASSERT_TRUE((seen.view.flags & OB_VIEW_LINK) != 0);
	CU_ASSERT_TRUE((seen.view.flags & OB_VIEW_CLIENT) == 0);
	CU_ASSERT_EQUAL(seen.view.source, ob__node_id("proxy"));
	seen.says = OB_E_DENIED;
	rig_send(&c, 1000, "x");
	CU_ASSERT_TRUE(rig_expect_error(&c, 1000, 403, NULL));
	rig_disconnect(&c);
	rig_stop(&proxy);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("policy", NULL, NULL);
	CU_add_test(s, "by content", test_by_content);
	CU_add_test(s, "a session that stays", test_sticky);
	CU_add_test(s, "refuses", test_refuses);
	CU_add_test(s, "calls", test_calls);
	CU_add_test(s, "no sense", test_no_sense);
	CU_add_test(s, "what is pending", test_pending);
	CU_add_test(s, "closes the client", test_closes);
	CU_add_test(s, "messages that wait", test_held);
	CU_add_test(s, "the candidates' states and loads", test_states);
	CU_add_test(s, "ranges of ids have their own", test_by_range);
	CU_add_test(s, "named and offered", test_configured);
	CU_add_test(s, "at a route node", test_at_route);
	return ob__tap_run();
}
