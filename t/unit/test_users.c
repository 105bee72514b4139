/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* A route node, two proxies and a service, of which the service says what no host would. */

#include "host/user/users_priv.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/client/conn.h"
#include "host/message/reply.h"
#include "host/session/end.h"
#include "mesh/proto.h"
#include "tap.h"
#include "unit/node_rig.h"

#define RPC    "'rpc': {'token': '" RIG_TOKEN "', 'reconnect_time': 0.05},"
#define REMOTE "'remote_ports': [{'port': %d, 'type': 'route'}],"
#define HOOKS  "{'name': 'puppet', 'conf': {'hooks': %ld}}"

static struct rig_node route;
static struct rig_node proxy;
static struct rig_node other; /* a proxy as well */
static struct rig_node service;
static struct puppet at_proxy;
static struct puppet at_other;
static struct puppet at_service;
static int route_port;
static const char *log_name; /* the log is that of the node that was started last */

/* ---------------------------------------------------------------- the house */

static void hello(ob_ctx *ctx, ob_req req)
{
	ob_reply(ctx, req, "1", 1);
}

static int start_handlers(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_id_flags(ctx, 1000, hello, OB_FROM_LINK);
}

static void start_route(const char *more)
{
	log_name = "r";
	rig_start(&route, "r", "route",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "', 'reconnect_time': 0.05,"
	          "'route': {'range': {'service': [[1000, 9999]]}}}, %s 'modules': ['route']",
	          route_port, more);
}

static void start_proxy(struct rig_node *n, const char *name, struct puppet *p)
{
	log_name = name;
	rig_start(n, name, "proxy",
	          "'listen': [{'port': 0}]," RPC REMOTE "'modules': ['proxy', " HOOKS "]",
	          route_port, (long)(intptr_t)p);
}

/* Nobody is linked yet. */
static void begin_alone(void)
{
	rig_begin();
	memset(&at_proxy, 0, sizeof(at_proxy));
	memset(&at_other, 0, sizeof(at_other));
	memset(&at_service, 0, sizeof(at_service));
	memset(&route, 0, sizeof(route));
	memset(&other, 0, sizeof(other));
	memset(&service, 0, sizeof(service));
	at_service.start = start_handlers;
	route_port = rig_port();
	start_proxy(&proxy, "p", &at_proxy);
}

static void begin(void)
{
	begin_alone();
	start_route("");
	start_proxy(&other, "q", &at_other);
	rig_start(&service, "a", "service", RPC REMOTE "'modules': ['service', " HOOKS "]",
	          route_port, (long)(intptr_t)&at_service);
	log_name = "a";
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE_FATAL(rig_linked(&other, &route));
	CU_ASSERT_TRUE_FATAL(rig_linked(&service, &route));
}

static void end(void)
{
	struct rig_node *nodes[] = {&service, &proxy, &other, &route};

	for (size_t i = 0; i < 4; i++) {
		if (nodes[i]->node != NULL) {
			rig_stop(nodes[i]);
		}
	}
	rig_end();
}

/* ---------------------------------------------------------------- clients and users */

/* A client, and the handle of its session on its proxy. */
static ob_session join(struct rig_client *c, const struct rig_node *n)
{
	uint32_t live = n->node->sessions.local;
	uint32_t at = 0;
	const struct ob__session *s;
	ob_session newest = 0;
	uint64_t seq = 0;

	rig_connect(c, n->port, true);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(n->node->sessions.local == live + 1));
	while ((s = ob__slab_next(&n->node->sessions.slab, &at)) != NULL) {
		if (s->conn != 0 && s->seq >= seq) {
			newest = s->handle;
			seq = s->seq;
		}
	}
	return newest;
}

struct ended {
	int times;
	int code;
	uint64_t epoch;
};

static void ended(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	struct ended *e = arg;

	(void)ctx;
	e->times++;
	e->code = res->code;
	e->epoch = res->epoch;
}

static struct ended login(const struct puppet *p, ob_session session, const char *user)
{
	struct ended e = {0};

	CU_ASSERT_EQUAL_FATAL(ob_session_bind(p->ctx, session, user, ended, &e), 0);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(e.times > 0));
	return e;
}

static int find(const struct puppet *p, const char *user)
{
	struct ended e = {0};

	CU_ASSERT_EQUAL_FATAL(ob_user_find(p->ctx, user, ended, &e), 0);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(e.times > 0));
	return e.code;
}

/* ---------------------------------------------------------------- what no host would say */

/* A system frame from the service: in its own name, if f->src is 0. */
static void say(const struct rig_node *to, struct ob__frame *f)
{
	f->kind = OB__FRAME_SYSTEM;
	CU_ASSERT_EQUAL(ob__send_to_node(service.node, to->node->self.id, f), 0);
}

static double ignored(struct rig_node *n, const char *reason)
{
	char series[96];

	snprintf(series, sizeof(series), "obhost_frames_ignored_total{reason=\"%s\"}", reason);
	return rig_metric(n, series);
}

static unsigned logged(const char *text)
{
	char *log = rig_log(log_name);
	unsigned count = 0;

	for (const char *at = log; (at = strstr(at, text)) != NULL; at++) {
		count++;
	}
	free(log);
	return count;
}

/* Whoever is told so many times logs few lines: more than a moment later there are no more. */
static void expect_lines(const char *text, unsigned at_most)
{
	CU_ASSERT_TRUE(RIG_UNTIL(logged(text) > 0));
	rig_turn_ms(100);
	CU_ASSERT_TRUE(logged(text) <= at_most);
}

#define TEXT(text) (const uint8_t *)(text), sizeof(text) - 1
#define NO_USER    TEXT("\1\1\1\1\1\1\1\1\1\1\1\1\0")
#define A_USER     TEXT("\1\1\1\1\1\1\1\1\1\1\1\1\3ada")

/* It changes nothing, is counted, and logged once. */
static void test_malformed(void)
{
	static const struct {
		struct rig_node *to;
		uint32_t id;
		const uint8_t *payload;
		uint32_t len;
		const char *reason;
	} rows[] = {
		{&proxy, OB__SYS_BIND, NO_USER, "user"},
		{&proxy, OB__SYS_UNBIND, TEXT(""), "user"},
		{&proxy, OB__SYS_USER_CLAIMED, TEXT("\1"), "user"},
		{&proxy, OB__SYS_USER_FENCED, NO_USER, "user"},
		{&proxy, OB__SYS_USER_SEND, TEXT("\3"), "send"},
		{&proxy, OB__SYS_USER_STALE, TEXT("\1\0\0\0"), "send"},
		{&proxy, OB__SYS_SESSION_SET, TEXT("\0value"), "attribute"},
		{&proxy, OB__SYS_KICK, TEXT("\1"), "kick"},
		{&proxy, OB__SYS_NAME, TEXT(""), "name"},
		{&proxy, OB__SYS_NAME, TEXT("a b"), "name"},
		{&proxy, OB__SYS_NAME, TEXT("a\0b"), "name"},
		{&proxy, OB__SYS_SESSION_USER, A_USER, "not_proxy"},
		{&proxy, OB__SYS_SERVED_ACK, TEXT(""), "not_proxy"},
		{&proxy, OB__SYS_CLOSED, TEXT(""), "not_proxy"},
		{&route, OB__SYS_USER_CLAIM, TEXT("\1\1"), "user"},
		{&route, OB__SYS_USER_RELEASE, NO_USER, "user"},
		{&route, OB__SYS_USER_FIND, NO_USER, "user"},
		{&route, OB__SYS_USER_LOCK, A_USER, "lock"},
		{&route, OB__SYS_USER_CLAIM, A_USER, "not_proxy"},
		{&route, OB__SYS_USER_RELEASE, A_USER, "not_proxy"},
		{&route, OB__SYS_METHODS, TEXT(""), "methods"},
		{&route, OB__SYS_METHODS, TEXT("\3endless"), "methods"},
		{&route, OB__SYS_METHODS, TEXT("\3\0"), "methods"},     /* a name of no length */
		{&route, OB__SYS_METHODS, TEXT("\2late\0"), "methods"}, /* its list is complete */
	};

	begin();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__frame f = {
			.id = rows[i].id,
			.session_node = proxy.node->self.id,
			.session_seq = 1,
			.payload = rows[i].payload,
			.payload_len = rows[i].len,
		};
		double before = ignored(rows[i].to, rows[i].reason);
		CU_ASSERT_TRUE(before >= 0);
		say(rows[i].to, &f);
		if (!RIG_UNTIL(ignored(rows[i].to, rows[i].reason) == before + 1)) {
			printf("# row %zu is not counted as %s\n", i, rows[i].reason);
			CU_FAIL("a malformed frame is not counted");
		}
	}
	CU_ASSERT_EQUAL(route.node->users->table.count, 0);
	CU_ASSERT_EQUAL(rig_peer(&service, &route) != NULL, true);
	for (int i = 0; i < 50; i++) {
		struct ob__frame f = {.id = OB__SYS_UNBIND, .payload = TEXT("\1")};
		say(&proxy, &f);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(ignored(&proxy, "user") >= 50));
	expect_lines("what it says of a user is malformed", 2); /* each node says it once */
	end();
}

/* Only its keeper takes a user from a session. */
static void test_fenced(void)
{
	struct rig_client c;
	struct rig_client second;
	uint8_t payload[OB__USER_WIRE_MAX];

	begin();
	ob_session s = join(&c, &proxy);
	struct ended e = login(&at_proxy, s, "ada");
	CU_ASSERT_EQUAL(e.code, OB_OK);
	const struct ob__session *session = ob__session_get(&proxy.node->sessions, s);
	struct ob__frame f = {
		.id = OB__SYS_USER_FENCED,
		.session_node = session->node,
		.session_seq = session->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, "ada", e.epoch + 1, 0),
	};
	say(&proxy, &f);
	CU_ASSERT_TRUE(RIG_UNTIL(ignored(&proxy, "not_keeper") == 1));
	CU_ASSERT_TRUE(rig_silent(&c));
	CU_ASSERT_STRING_EQUAL(ob__session_user(session), "ada");
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_users_replaced_total"), 0);
	e = login(&at_other, join(&second, &other), "ada");
	CU_ASSERT_EQUAL(e.code, OB_OK);
	CU_ASSERT_EQUAL(rig_closed(&c), OB__CLOSE_REPLACED);
	CU_ASSERT_EQUAL(ignored(&proxy, "not_keeper"), 1);
	rig_disconnect(&c);
	rig_disconnect(&second);
	end();
}

/* Nor does one who says that he is the keeper: what he says is not even passed on. */
static void test_forged_source(void)
{
	struct rig_client c;
	uint8_t payload[OB__USER_WIRE_MAX];

	begin();
	ob_session s = join(&c, &proxy);
	struct ended e = login(&at_proxy, s, "ada");
	const struct ob__session *session = ob__session_get(&proxy.node->sessions, s);
	struct ob__frame f = {
		.id = OB__SYS_USER_FENCED,
		.src = route.node->self.id,
		.session_node = session->node,
		.session_seq = session->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, "ada", e.epoch + 1, 0),
	};
	f.kind = OB__FRAME_SYSTEM;
	f.dst = proxy.node->self.id;
	f.hops = OB__FRAME_HOPS;
	CU_ASSERT_EQUAL(ob__peer_send(service.node->links, rig_peer(&service, &route), &f), 0);
	CU_ASSERT_TRUE(
		RIG_UNTIL(rig_metric(&route, "obhost_link_closed_total{reason=\"source\"}") == 1));
	CU_ASSERT_TRUE(rig_silent(&c));
	CU_ASSERT_STRING_EQUAL(ob__session_user(session), "ada");
	rig_disconnect(&c);
	end();
}

/* Nobody has another node push for him by giving back what was never sent. */
static void test_forged_stale(void)
{
	struct rig_client c;
	uint8_t payload[OB__SEND_HEAD_MAX];
	struct ob__send_msg m = {.kind = OB__SEND_PUSH, .id = 2000, .user = "ada"};

	begin();
	CU_ASSERT_EQUAL(login(&at_proxy, join(&c, &proxy), "ada").code, OB_OK);
	m.at = (uint32_t)ob__loop_now(other.node->loop);
	m.tag = 1;
	struct ob__frame f = {
		.id = OB__SYS_USER_STALE,
		.session_node = service.node->self.id,
		.session_seq = 1,
		.payload = payload,
		.payload_len = (uint32_t)ob__send_put_head(payload, &m),
	};
	say(&other, &f);
	CU_ASSERT_TRUE(RIG_UNTIL(ignored(&other, "not_sent") == 1));
	CU_ASSERT_TRUE(rig_silent(&c));
	CU_ASSERT_EQUAL(rig_metric(&other, "obhost_user_sends_stale_total"), 0);
	rig_disconnect(&c);
	end();
}

/* What was sent to where the user is no more is sent again. */
static void test_stale(void)
{
	struct rig_client c;
	struct rig_client second;

	begin();
	CU_ASSERT_EQUAL(login(&at_proxy, join(&c, &proxy), "ada").code, OB_OK);
	CU_ASSERT_EQUAL(ob_push_user(at_service.ctx, "ada", 2000, "1", 1), 0);
	CU_ASSERT_TRUE(rig_expect(&c, 2000, "1"));
	CU_ASSERT_EQUAL(login(&at_other, join(&second, &other), "ada").code, OB_OK);
	CU_ASSERT_EQUAL(rig_closed(&c), OB__CLOSE_REPLACED);
	CU_ASSERT_EQUAL(ob_push_user(at_service.ctx, "ada", 2000, "2", 1), 0);
	CU_ASSERT_TRUE(rig_expect(&second, 2000, "2"));
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_user_sends_stale_total"), 1);
	CU_ASSERT_EQUAL(ignored(&service, "not_sent"), 0);
	rig_disconnect(&c);
	rig_disconnect(&second);
	end();
}

/* A tag is good for nothing but what it was made for, and for that not for long. */
static void test_tags(void)
{
	begin_alone();
	const struct ob__users *us = proxy.node->users;
	const struct ob__who to = {7, 8};
	struct ob__send_msg m = {.kind = OB__SEND_PUSH, .id = 2000, .user = "ada"};
	m.data = (const uint8_t *)"data";
	m.len = 4;
	CU_ASSERT_EQUAL(ob__user_tag(us, &to, &m), 0);
	CU_ASSERT_TRUE(ob__user_tag_ok(us, &to, &m));
	for (int row = 0; row < 9; row++) {
		struct ob__who who = to;
		struct ob__send_msg bad = m;
		who.node += row == 0;
		who.seq += row == 1;
		bad.kind = row == 2 ? OB__SEND_KICK : bad.kind;
		bad.tries += row == 3;
		bad.id += row == 4;
		bad.at += row == 5;
		bad.user[0] += row == 6;
		bad.len -= row == 7;
		bad.data = row == 8 ? (const uint8_t *)"date" : bad.data;
		if (ob__user_tag_ok(us, &who, &bad)) {
			printf("# row %d\n", row);
			CU_FAIL("what was changed is taken for what was sent");
		}
	}
	proxy.node->conf->call_timeout_ms = 10;
	rig_turn_ms(50);
	CU_ASSERT_FALSE(ob__user_tag_ok(us, &to, &m));
	/* Another node's, or another life's, is none. */
	rig_start(&other, "q", "proxy", "'listen': [{'port': 0}], 'modules': ['proxy']%s", "");
	CU_ASSERT_EQUAL(ob__user_tag(other.node->users, &to, &m), 0);
	m.at = (uint32_t)ob__loop_now(proxy.node->loop);
	CU_ASSERT_FALSE(ob__user_tag_ok(us, &to, &m));
	end();
}

/* ---------------------------------------------------------------- what is logged */

#define OFTEN 50

/* What was said to the node before this has been heard. */
static void all_heard(struct rig_node *n)
{
	struct ob__frame f = {.id = OB__SYS_NAME};
	double before = ignored(n, "name");

	say(n, &f);
	CU_ASSERT_TRUE(RIG_UNTIL(ignored(n, "name") > before));
}

static void test_log_attributes(void)
{
	struct rig_client c;

	begin();
	ob_session s = join(&c, &proxy);
	const struct ob__session *session = ob__session_get(&proxy.node->sessions, s);
	for (unsigned i = 0; i < OB_ATTRS_MAX + OFTEN; i++) {
		uint8_t payload[OB__ATTR_WIRE_MAX];
		char key[16];
		snprintf(key, sizeof(key), "key%u", i);
		struct ob__frame f = {
			.id = OB__SYS_SESSION_SET,
			.session_node = session->node,
			.session_seq = session->seq,
			.payload = payload,
			.payload_len = (uint32_t)ob__attr_put(payload, key, "v", 1),
		};
		say(&proxy, &f);
	}
	all_heard(&proxy);
	CU_ASSERT_EQUAL(session->more->attrs_len, OB_ATTRS_MAX);
	expect_lines("could not be set", 5);
	rig_disconnect(&c);
	end();
}

static void test_log_locks(void)
{
	begin();
	for (unsigned i = 0; i < OB__BINDING_LOCKS + OFTEN; i++) {
		uint8_t payload[OB__LOCK_WIRE_MAX];
		struct ob__lock_msg m = {.locker = 7, .ms = 60000, .user = "ada"};
		snprintf(m.key, sizeof(m.key), "key%u", i);
		struct ob__frame f = {
			.id = OB__SYS_USER_LOCK,
			.session_node = 7,
			.session_seq = 1,
			.payload = payload,
			.payload_len = (uint32_t)ob__lock_put(payload, &m),
		};
		say(&route, &f);
	}
	all_heard(&route);
	CU_ASSERT_EQUAL(route.node->users->table.locks, OB__BINDING_LOCKS);
	expect_lines("there is no room for the lock", 5);
	end();
}

static void test_log_kept(void)
{
	struct rig_client c;

	begin();
	ob_session s = join(&c, &proxy);
	CU_ASSERT_EQUAL(login(&at_proxy, s, "ada").code, OB_OK);
	for (int i = 0; i < OFTEN; i++) {
		CU_ASSERT_EQUAL(ob_session_lock(at_proxy.ctx, s, "save", 100), 0);
		CU_ASSERT_EQUAL(ob_session_unlock(at_proxy.ctx, s, "save", OB_UNLOCK_KEEP), 0);
	}
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_user_locks_kept_total"), OFTEN);
	expect_lines("is left to its deadline", 5);
	rig_disconnect(&c);
	end();
}

static void test_log_notices(void)
{
	begin();
	proxy.node->sessions.notices.limit = 0;
	for (int i = 0; i < OFTEN; i++) {
		struct ob__frame f = {
			.id = OB__SYS_SERVED,
			.session_node = proxy.node->self.id,
			.session_seq = (uint64_t)i,
		};
		say(&proxy, &f);
	}
	all_heard(&proxy);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_close_notices_lost_total"), OFTEN);
	expect_lines("too many close notices wait", 1);
	end();
}

static void test_log_drains(void)
{
	begin();
	for (int i = 0; i < OFTEN; i++) {
		struct ob__frame f = {.id = OB__SYS_DRAINING, .status = i % 2 == 0};
		say(&route, &f);
	}
	all_heard(&route);
	CU_ASSERT_FALSE(rig_peer(&route, &service)->draining);
	expect_lines("it gets nothing new", 10);
	expect_lines("takes new work again", 10);
	end();
}

/* Two words for roles that have the same number. */
static void test_log_peers(void)
{
	static struct ob__description desc = {.refs = 1, .name = "twin", .role = "costarring"};
	const struct ob__identity who = {
		.id = 1, .name = "first", .role = "liquid", .role_id = ob__fnv1a32("liquid")};
	int err = 0;

	begin();
	struct ob__node *node = proxy.node;
	CU_ASSERT_PTR_NOT_NULL_FATAL(ob__registry_put(&node->registry, &who, &err));
	desc.role_id = ob__fnv1a32(desc.role);
	CU_ASSERT_EQUAL(desc.role_id, who.role_id);
	for (uint64_t i = 0; i < OFTEN; i++) {
		struct ob__dir_node n = {.m = {.id = 2 + i, .incarnation = 1, .desc = &desc}};
		node->cluster.dir.ops->on_node(node, OB__DIR_UPDATED, &n, NULL);
		CU_ASSERT_PTR_NULL(ob__registry_get(&node->registry, n.m.id));
	}
	expect_lines("can't take it in", 5);
	end();
}

/* ---------------------------------------------------------------- keepers without room */

/* A new login is told so, and nothing else changes. */
static void test_too_many(void)
{
	struct rig_client c;
	struct rig_client second;

	begin_alone();
	start_route("'limits': {'users': 1},");
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_EQUAL(login(&at_proxy, join(&c, &proxy), "ada").code, OB_OK);
	ob_session s = join(&second, &proxy);
	CU_ASSERT_EQUAL(login(&at_proxy, s, "bob").code, OB_E_BUSY);
	CU_ASSERT_STRING_EQUAL(ob__session_user(ob__session_get(&proxy.node->sessions, s)), "");
	CU_ASSERT_EQUAL(find(&at_proxy, "ada"), OB_OK);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->users->table.count == 0));
	CU_ASSERT_EQUAL(login(&at_proxy, s, "bob").code, OB_OK);
	rig_disconnect(&second);
	end();
}

/* Two users come to a keeper that has room for one: the other is claimed until there is room. */
static void test_crowded(void)
{
	struct rig_client c[2];
	static const char *const users[] = {"ada", "bob"};

	begin_alone();
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(login(&at_proxy, join(&c[i], &proxy), users[i]).code, OB_OK);
	}
	start_route("'limits': {'users': 1},");
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&proxy, "obhost_users_crowded_out_total") == 1));
	CU_ASSERT_EQUAL(route.node->users->table.count, 1);
	int kept = find(&at_proxy, users[0]) == OB_OK ? 0 : 1;
	CU_ASSERT_EQUAL(find(&at_proxy, users[1 - kept]), OB_E_NOT_FOUND);
	CU_ASSERT_TRUE(rig_silent(&c[0]) && rig_silent(&c[1]));
	rig_disconnect(&c[kept]);
	CU_ASSERT_TRUE(RIG_UNTIL(find(&at_proxy, users[1 - kept]) == OB_OK));
	CU_ASSERT_TRUE(ob__list_empty(&proxy.node->users->later));
	CU_ASSERT_EQUAL(find(&at_proxy, users[kept]), OB_E_NOT_FOUND);
	expect_lines("the keeper has no room", 1);
	rig_disconnect(&c[1 - kept]);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->users->table.count == 0));
	end();
}

/* ---------------------------------------------------------------- ends */

/* A message of the session is under way when its client goes: who gets it counts as one who has met
 * the session, and the user's next one waits until he has heard. */
static void test_under_way(void)
{
	struct rig_client c;
	struct rig_client second;
	struct ended e = {0};

	begin();
	CU_ASSERT_EQUAL(login(&at_proxy, join(&c, &proxy), "ada").code, OB_OK);
	ob_session next = join(&second, &other);
	rig_freeze(&service, true);
	rig_send(&c, 1000, "0");
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->pendings.slab.live == 1));
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->sessions.local == 0));
	CU_ASSERT_EQUAL(ob_session_bind(at_other.ctx, next, "ada", ended, &e), 0);
	rig_turn_ms(200);
	CU_ASSERT_EQUAL(e.times, 0);
	rig_freeze(&service, false);
	CU_ASSERT_TRUE(RIG_UNTIL(e.times == 1));
	CU_ASSERT_EQUAL(e.code, OB_OK);
	CU_ASSERT_EQUAL(service.node->sessions.slab.live, 0);
	rig_disconnect(&second);
	end();
}

/* A handler may take its time: what has certainly arrived is not waited for. */
static void test_under_way_long(void)
{
	struct rig_client c;

	begin();
	CU_ASSERT_EQUAL(login(&at_proxy, join(&c, &proxy), "ada").code, OB_OK);
	rig_freeze(&service, true);
	rig_send(&c, 1000, "0");
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->pendings.slab.live == 1));
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->users->endings.count == 0));
	CU_ASSERT_EQUAL(proxy.node->pendings.slab.live, 1);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->users->table.count == 0));
	rig_freeze(&service, false);
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->pendings.slab.live == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->sessions.slab.live == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__list_empty(&proxy.node->sessions.notice_list)));
	end();
}

/* The keeper hears that a session has a user no more though the way to it has just broken; but not
 * when the session has claimed the user again before. */
static void release(bool claimed)
{
	struct rig_client c;

	begin();
	struct ob__users *us = proxy.node->users;
	ob_session s = join(&c, &proxy);
	CU_ASSERT_EQUAL(login(&at_proxy, s, "ada").code, OB_OK);
	rig_freeze(&route, true);
	ob__peer_close(proxy.node->links, rig_peer(&proxy, &route), "test");
	CU_ASSERT_EQUAL(ob_session_unbind(at_proxy.ctx, s, "ada"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(us->releases_len == 1));
	CU_ASSERT_EQUAL(route.node->users->table.count, 1);
	if (claimed) {
		CU_ASSERT_EQUAL(login(&at_proxy, s, "ada").code, OB_OK);
	}
	rig_freeze(&route, false);
	CU_ASSERT_TRUE(RIG_UNTIL(us->releases_len == 0));
	CU_ASSERT_EQUAL(route.node->users->table.count, claimed ? 1 : 0);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_users_released_again_total"), claimed ? 0 : 1);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_users_releases_lost_total"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(find(&at_other, "ada") == (claimed ? OB_OK : OB_E_NOT_FOUND)));
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->users->table.count == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(us->releases_len == 0));
	end();
}

static void test_release_again(void)
{
	release(false);
}

static void test_release_void(void)
{
	release(true);
}

/* A keeper whose link is lost, before or after it has answered a claim, is no keeper of the user's
 * any more: it hears of that when it has a link again, unless it keeps the user then. */
static void moved(bool answered, bool claimed)
{
	struct rig_client c;

	begin_alone();
	struct ob__users *us = proxy.node->users;
	ob_session s = join(&c, &proxy);
	CU_ASSERT_EQUAL(login(&at_proxy, s, "ada").code, OB_OK);
	const struct ob__session_more *more = ob__session_get(&proxy.node->sessions, s)->more;
	start_route("");
	uint64_t id = route.node->self.id;
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE(!answered || RIG_UNTIL(more->keeper == id));
	rig_freeze(&route, true);
	CU_ASSERT_TRUE(answered || RIG_UNTIL(more->asked == id));
	ob__peer_close(proxy.node->links, rig_peer(&proxy, &route), "test");
	CU_ASSERT_TRUE(RIG_UNTIL(us->releases_len == 1 && us->table.count == 1));
	CU_ASSERT_TRUE(RIG_UNTIL(more->keeper == proxy.node->self.id && more->asked == 0));
	ob__releases_tick(proxy.node, ob__loop_now(proxy.node->loop) + 2000);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_users_released_again_total"), 0);
	if (!claimed) {
		CU_ASSERT_EQUAL(ob_session_unbind(at_proxy.ctx, s, "ada"), 0);
		CU_ASSERT_TRUE(RIG_UNTIL(us->table.count == 0));
	}
	CU_ASSERT_EQUAL(us->releases_len, 1);
	rig_freeze(&route, false);
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE(!claimed || RIG_UNTIL(more->keeper == id));
	ob__releases_tick(proxy.node, ob__loop_now(proxy.node->loop) + 4000);
	CU_ASSERT_TRUE(RIG_UNTIL(us->releases_len == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(us->table.count == 0));
	CU_ASSERT_EQUAL(route.node->users->table.count, claimed ? 1 : 0);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_users_released_again_total"), claimed ? 0 : 1);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(route.node->users->table.count == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(us->releases_len == 0));
	end();
}

static void test_release_moved(void)
{
	moved(true, false);
	moved(true, true);
}

static void test_release_asked(void)
{
	moved(false, false);
	moved(false, true);
}

/* No keeper is told for ever. */
static void test_release_lost(void)
{
	struct ob__users *us;

	begin_alone();
	us = proxy.node->users;
	for (uint64_t seq = 1; seq <= 3; seq++) {
		ob__release(proxy.node, 4711, seq, "ada", 0);
	}
	CU_ASSERT_EQUAL(us->releases_len, 3);
	uint64_t now = ob__loop_now(proxy.node->loop);
	ob__releases_tick(proxy.node, now + 2000);
	CU_ASSERT_EQUAL(us->releases_len, 3);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_users_released_again_total"), 3);
	ob__releases_tick(proxy.node, now + 61000);
	CU_ASSERT_EQUAL(us->releases_len, 0);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_users_releases_lost_total"), 3);
	expect_lines("has not acknowledged that the session is over", 1);
	rig_stop(&proxy);
	rig_end();
}

/* ---------------------------------------------------------------- pushes */

static void push(const struct ob__session *s, uint64_t number, const char *body)
{
	struct ob__frame f = {
		.kind = OB__FRAME_PUSH,
		.flags = OB__FRAME_ONE_WAY,
		.id = 3000,
		.call = number,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = (const uint8_t *)body,
		.payload_len = (uint32_t)strlen(body),
	};
	CU_ASSERT_EQUAL(ob__send_to_node(service.node, s->node, &f), 0);
}

/* What comes behind a later one is not written; who does not number his pushes has them all. */
static void test_late_push(void)
{
	struct rig_client c;
	uint32_t at = 0;

	begin();
	const struct ob__session *s = ob__session_get(&proxy.node->sessions, join(&c, &proxy));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	const struct ob__session *there = ob__slab_next(&service.node->sessions.slab, &at);
	CU_ASSERT_PTR_NOT_NULL_FATAL(there);
	CU_ASSERT_EQUAL(ob_push(at_service.ctx, there->handle, 3000, "1", 1), 0);
	uint64_t number = service.node->dispatch.last_push;
	CU_ASSERT_EQUAL(number, ob__push_first(service.node->self.incarnation) + 1);
	push(s, number + 2, "2");
	push(s, number + 1, "3");
	push(s, 0, "4");
	push(s, number + 3, "5");
	for (const char *body = "1\0002\0004\0005\0"; *body != '\0'; body += 2) {
		CU_ASSERT_TRUE(rig_expect(&c, 3000, body));
	}
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_pushes_late_total"), 1);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_pushes_total"), 4);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(service.node->sessions.slab.live == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__list_empty(&proxy.node->sessions.notice_list)));
	end();
}

/* ---------------------------------------------------------------- invented proxies */

static void test_invented(void)
{
	struct rig_client c;
	uint32_t at = 0;
	struct ob__session *s;

	begin();
	join(&c, &proxy);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	struct ob__sessions *met = &service.node->sessions;
	const struct ob__session *real = ob__slab_next(&met->slab, &at);
	CU_ASSERT_PTR_NOT_NULL_FATAL(real);
	CU_ASSERT_TRUE(RIG_UNTIL((real->flags & OB__SESSION_SERVED_HEARD) != 0));
	CU_ASSERT_EQUAL(real->unheard_s, 0);
	for (uint64_t i = 0; i < OFTEN; i++) {
		struct ob__frame f = {
			.kind = OB__FRAME_REQUEST,
			.flags = OB__FRAME_ONE_WAY,
			.id = 1000,
			.budget = 1000,
			.session_node = 4711,
			.session_seq = (UINT64_C(1) << 32) + i,
		};
		CU_ASSERT_EQUAL(ob__send_to_node(other.node, service.node->self.id, &f), 0);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(met->slab.live == OFTEN + 1));
	ob__served_timeout(service.node);
	CU_ASSERT_EQUAL(met->slab.live, OFTEN + 1);
	for (at = 0; (s = ob__slab_next(&met->slab, &at)) != NULL;) {
		s->unheard_s -= s->unheard_s != 0 ? 180 : 0; /* three minutes later */
	}
	ob__served_timeout(service.node);
	CU_ASSERT_EQUAL(met->slab.live, 1);
	CU_ASSERT_PTR_EQUAL(ob__session_find(met, proxy.node->self.id, real->seq), real);
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_sessions_unknown_total"), OFTEN);
	expect_lines("has not acknowledged its session", 1);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(met->slab.live == 0));
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("users", NULL, NULL);
	CU_add_test(s, "what is malformed is counted", test_malformed);
	CU_add_test(s, "a fence that is not the keeper's", test_fenced);
	CU_add_test(s, "a fence in the keeper's name", test_forged_source);
	CU_add_test(s, "nothing is sent for one who gives back what he never got",
	            test_forged_stale);
	CU_add_test(s, "what reached a former session is sent again", test_stale);
	CU_add_test(s, "tags", test_tags);
	CU_add_test(s, "attributes that don't fit are logged rarely", test_log_attributes);
	CU_add_test(s, "locks that don't fit are logged rarely", test_log_locks);
	CU_add_test(s, "locks that are kept are logged rarely", test_log_kept);
	CU_add_test(s, "notices that don't fit are logged rarely", test_log_notices);
	CU_add_test(s, "peers that drain and don't are logged rarely", test_log_drains);
	CU_add_test(s, "nodes that can't be taken in are logged rarely", test_log_peers);
	CU_add_test(s, "a login that there is no room for", test_too_many);
	CU_add_test(s, "a keeper without room is asked again", test_crowded);
	CU_add_test(s, "sessions of proxies that don't exist", test_invented);
	CU_add_test(s, "a push that comes late", test_late_push);
	CU_add_test(s, "messages under way at the end", test_under_way);
	CU_add_test(s, "messages that take long", test_under_way_long);
	CU_add_test(s, "a release is repeated", test_release_again);
	CU_add_test(s, "a release and a claim", test_release_void);
	CU_add_test(s, "a release for the keeper before", test_release_moved);
	CU_add_test(s, "a release for one that was asked", test_release_asked);
	CU_add_test(s, "a release that nobody hears", test_release_lost);
	return ob__tap_run();
}
