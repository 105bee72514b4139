/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/router.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#define SERVICES 5u
#define SESSIONS 2000u

static int some_link;
#define LINK ((struct ob__link *)(void *)&some_link)

static struct ob__registry reg;
static struct ob__router router;
static struct ob__peer *service[SERVICES];
static struct ob__peer *route[2];

static struct ob__peer *add(const char *name, const char *role)
{
	struct ob__identity who = {.id = ob__node_id(name), .name = name, .role = role};
	int err;
	struct ob__peer *p = ob__registry_put(&reg, &who, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	ob__registry_set_link(&reg, p, LINK, 0);
	return p;
}

static void begin(const char *self_role)
{
	struct ob__identity self = {.id = ob__node_id("me"), .name = "me", .role = self_role};
	CU_ASSERT_EQUAL_FATAL(ob__registry_init(&reg, &self), 0);
	ob__router_init(&router, &reg);
	for (unsigned i = 0; i < SERVICES; i++) {
		char name[32];
		snprintf(name, sizeof(name), "service_%u", i);
		service[i] = add(name, "service");
	}
	route[0] = add("route_0", "route");
	route[1] = add("route_1", "route");
}

static void end(void)
{
	ob__router_free(&router);
	ob__registry_free(&reg);
}

static void down(struct ob__peer *p)
{
	ob__registry_set_link(&reg, p, NULL, 0);
}

static struct ob__peer *find(const struct ob__route_query *q)
{
	struct ob__route r = ob__router_find(&router, q);
	CU_ASSERT_EQUAL(r.kind == OB__ROUTE_PEER, r.peer != NULL);
	return r.peer;
}

static bool is_self(const struct ob__route_query *q)
{
	return ob__router_find(&router, q).kind == OB__ROUTE_SELF;
}

static bool is_none(const struct ob__route_query *q)
{
	return ob__router_find(&router, q).kind == OB__ROUTE_NONE;
}

static bool is_route(const struct ob__peer *p)
{
	return p == route[0] || p == route[1];
}

static void test_node(void)
{
	begin("proxy");
	struct ob__route_query q = {.node = service[2]->who.id};
	CU_ASSERT_PTR_EQUAL(find(&q), service[2]);
	CU_ASSERT_TRUE(ob__router_find(&router, &q).stands);
	q.role = ob__fnv1a32("route"); /* the node beats the role */
	CU_ASSERT_PTR_EQUAL(find(&q), service[2]);
	down(service[2]);
	CU_ASSERT_TRUE(is_route(find(&q)));
	q.node = 4711; /* never heard of */
	CU_ASSERT_TRUE(is_route(find(&q)));
	q.from = route[0];
	CU_ASSERT_PTR_EQUAL(find(&q), route[1]);
	down(route[1]);
	CU_ASSERT_TRUE(is_none(&q));
	q = (struct ob__route_query){.node = reg.self.id};
	CU_ASSERT_TRUE(is_self(&q));
	q = (struct ob__route_query){.node = service[1]->who.id, .from = service[1]};
	CU_ASSERT_TRUE(is_none(&q)); /* not back, and not round about */
	end();
}

static void test_role(void)
{
	begin("proxy");
	struct ob__route_query q = {.role = ob__fnv1a32("proxy")};
	CU_ASSERT_TRUE(is_self(&q));
	q.role = ob__fnv1a32("chat"); /* nobody has it */
	CU_ASSERT_TRUE(is_route(find(&q)));
	q.role = ob__fnv1a32("service");
	for (unsigned i = 0; i < SERVICES; i++) {
		down(service[i]);
	}
	CU_ASSERT_TRUE(is_route(find(&q)));
	down(route[0]);
	down(route[1]);
	CU_ASSERT_TRUE(is_none(&q));
	end();
}

static void test_neither(void)
{
	begin("proxy");
	struct ob__route_query q = {0};
	struct ob__peer *first = find(&q);
	struct ob__peer *second = find(&q);
	CU_ASSERT_TRUE(is_route(first) && is_route(second) && first != second);
	end();
}

/* Two roles in turn, so that a turn they shared would be seen. */
static void test_round_robin(void)
{
	unsigned hits[SERVICES] = {0};
	unsigned routed[2] = {0};
	begin("proxy");
	struct ob__route_query q = {.role = ob__fnv1a32("service")};
	for (unsigned i = 0; i < 100 * SERVICES; i++) {
		struct ob__peer *p = find(&q);
		for (unsigned k = 0; k < SERVICES; k++) {
			hits[k] += p == service[k];
		}
		routed[find(&(struct ob__route_query){0}) == route[1]]++;
	}
	for (unsigned k = 0; k < SERVICES; k++) {
		CU_ASSERT_EQUAL(hits[k], 100);
	}
	CU_ASSERT_EQUAL(routed[0], routed[1]);
	end();
}

static void test_never_back(void)
{
	begin("route");
	struct ob__route_query q = {.role = ob__fnv1a32("service"), .from = service[3]};
	for (unsigned i = 0; i < 50; i++) {
		q.session_seq = i;
		q.sticky = i % 2 == 0;
		CU_ASSERT_PTR_NOT_EQUAL(find(&q), service[3]);
	}
	q = (struct ob__route_query){.from = route[0]};
	for (unsigned i = 0; i < 10; i++) {
		CU_ASSERT_PTR_EQUAL(find(&q), route[1]);
	}
	end();
}

static struct ob__peer *sticky(unsigned i)
{
	struct ob__route_query q = {
		.role = ob__fnv1a32("service"),
		.sticky = true,
		.session_node = 77,
		.session_seq = i,
	};
	return find(&q);
}

static void test_sticky(void)
{
	struct ob__peer *before[SESSIONS];
	unsigned hits[SERVICES] = {0};
	begin("route");
	for (unsigned i = 0; i < SESSIONS; i++) {
		before[i] = sticky(i);
		CU_ASSERT_PTR_EQUAL(sticky(i), before[i]);
		for (unsigned k = 0; k < SERVICES; k++) {
			hits[k] += before[i] == service[k];
		}
	}
	for (unsigned k = 0; k < SERVICES; k++) { /* 400 each, give or take 5 sigma */
		CU_ASSERT_TRUE(hits[k] > 310 && hits[k] < 490);
	}
	down(service[1]);
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct ob__peer *now = sticky(i);
		CU_ASSERT_TRUE(before[i] == service[1] ? now != service[1] : now == before[i]);
	}
	ob__registry_set_link(&reg, service[1], LINK, 0);
	for (unsigned i = 0; i < SESSIONS; i++) {
		CU_ASSERT_PTR_EQUAL(sticky(i), before[i]);
	}
	end();
}

/* Another node, that met the peers in another order, makes the same choices. */
static void test_sticky_everywhere(void)
{
	uint64_t choice[50];
	begin("route");
	for (unsigned i = 0; i < 50; i++) {
		choice[i] = sticky(i)->who.id;
	}
	end();
	struct ob__identity self = {.id = 3, .name = "other", .role = "route"};
	CU_ASSERT_EQUAL_FATAL(ob__registry_init(&reg, &self), 0);
	ob__router_init(&router, &reg);
	for (unsigned i = SERVICES; i-- > 0;) {
		char name[32];
		snprintf(name, sizeof(name), "service_%u", i);
		add(name, "service");
	}
	for (unsigned i = 0; i < 50; i++) {
		CU_ASSERT_EQUAL(sticky(i)->who.id, choice[i]);
	}
	end();
}

/* Without a live service a session stays with one route node, so that its order holds. */
static void test_sticky_over_routes(void)
{
	begin("proxy");
	for (unsigned i = 0; i < SERVICES; i++) {
		down(service[i]);
	}
	unsigned hits[2] = {0};
	for (unsigned i = 0; i < 100; i++) {
		struct ob__peer *p = sticky(i);
		CU_ASSERT_TRUE(is_route(p));
		CU_ASSERT_PTR_EQUAL(sticky(i), p);
		hits[p == route[1]]++;
	}
	CU_ASSERT_TRUE(hits[0] > 20 && hits[1] > 20);
	end();
}

static struct ob__idrange *table(uint32_t lo, uint32_t hi, const char *role)
{
	struct ob__idrange *t = calloc(1, sizeof(*t));
	ob__idrange_init(t);
	ob__idrange_add(t, lo, hi, ob__fnv1a32(role));
	ob__idrange_seal(t, NULL, NULL);
	return t;
}

static void test_table(void)
{
	begin("proxy");
	CU_ASSERT_EQUAL(ob__router_role(&router, 20000), 0); /* no table */
	ob__router_set_table(&router, table(20000, 29999, "service"));
	CU_ASSERT_EQUAL(ob__router_role(&router, 20000), ob__fnv1a32("service"));
	CU_ASSERT_EQUAL(ob__router_role(&router, 30000), 0);
	ob__router_set_table(&router, table(0, 9, "route")); /* the old one is freed */
	CU_ASSERT_EQUAL(ob__router_role(&router, 20000), 0);
	CU_ASSERT_EQUAL(ob__router_role(&router, 9), ob__fnv1a32("route"));
	end();
}

/* The role of an id that was asked for just now is another one as soon as a table is. */
static void test_role_again(void)
{
	uint32_t game = ob__fnv1a32("game");
	uint32_t of_service = ob__fnv1a32("service");

	begin("proxy");
	CU_ASSERT_EQUAL(ob__router_role(&router, 15), 0);
	ob__router_set_served(&router, table(10, 20, "game"));
	CU_ASSERT_EQUAL(ob__router_role(&router, 15), game);
	CU_ASSERT_EQUAL(ob__router_role(&router, 21), 0);
	CU_ASSERT_EQUAL(ob__router_role(&router, 15), game);
	ob__router_set_table(&router, table(15, 30, "service"));
	CU_ASSERT_EQUAL(ob__router_role(&router, 15), of_service);
	ob__router_set_served(&router, NULL);
	CU_ASSERT_EQUAL(ob__router_role(&router, 15), of_service);
	ob__router_set_table(&router, NULL);
	CU_ASSERT_EQUAL(ob__router_role(&router, 15), 0);
	CU_ASSERT_EQUAL(ob__router_role(&router, 0), 0);
	ob__router_set_table(&router, table(0, 30, "service"));
	CU_ASSERT_EQUAL(ob__router_role(&router, 0), of_service);
	end();
}

/* ---------------------------------------------------------------- policies */

static struct {
	int asked;
	int says;
	size_t len;
	uint64_t ids[OB__ROUTE_CANDIDATES];
	uint32_t role;
} policy;

static int choose(void *arg, const struct ob__route_query *q, void *asked,
                  const struct ob__registry_role *role, struct ob__peer *const *peers, size_t len)
{
	CU_ASSERT_PTR_EQUAL(arg, &policy);
	CU_ASSERT_PTR_EQUAL(asked, &policy);
	CU_ASSERT_EQUAL(q->node, 0);
	policy.asked++;
	policy.len = len;
	policy.role = role->id;
	for (size_t i = 0; i < len; i++) {
		policy.ids[i] = peers[i]->who.id;
		CU_ASSERT_PTR_NOT_NULL(peers[i]->link);
		CU_ASSERT_PTR_NOT_EQUAL(peers[i], q->from);
		CU_ASSERT_TRUE(i == 0 || policy.ids[i - 1] < policy.ids[i]);
	}
	return policy.says;
}

static void use_policy(const char *role)
{
	memset(&policy, 0, sizeof(policy));
	router.choose = choose;
	router.choose_arg = &policy;
	ob__registry_role_get(&reg, ob__fnv1a32(role))->chooser.policy = &policy;
}

static void test_policy(void)
{
	begin("route");
	use_policy("service");
	struct ob__route_query q = {.role = ob__fnv1a32("service")};
	for (int i = 0; i < (int)SERVICES; i++) { /* in any order of the turn */
		policy.says = i;
		CU_ASSERT_EQUAL(find(&q)->who.id, policy.ids[i]);
		CU_ASSERT_EQUAL(policy.len, SERVICES);
	}
	q.sticky = true;
	CU_ASSERT_EQUAL(find(&q)->who.id, policy.ids[SERVICES - 1]);
	CU_ASSERT_EQUAL(policy.asked, SERVICES + 1);
	CU_ASSERT_EQUAL(policy.role, q.role);

	/* those that are up, and not the one it came from */
	down(service[1]);
	q.from = service[3];
	policy.says = 0;
	CU_ASSERT_PTR_NOT_NULL(find(&q));
	CU_ASSERT_EQUAL(policy.len, SERVICES - 2);

	/* ended by it; left to the router */
	policy.says = -5009;
	struct ob__route r = ob__router_find(&router, &q);
	CU_ASSERT_EQUAL(r.kind, OB__ROUTE_REFUSED);
	CU_ASSERT_EQUAL(r.code, -5009);
	q = (struct ob__route_query){.role = ob__fnv1a32("service"), .sticky = true};
	policy.says = OB__ROUTE_AS_USUAL;
	struct ob__peer *usual = find(&q);
	router.choose = NULL;
	CU_ASSERT_PTR_EQUAL(find(&q), usual);
	router.choose = choose;

	/* not for a node, another role, nobody */
	int asked = policy.asked;
	q = (struct ob__route_query){.node = service[2]->who.id, .role = ob__fnv1a32("service")};
	CU_ASSERT_PTR_EQUAL(find(&q), service[2]);
	CU_ASSERT_TRUE(is_route(find(&(struct ob__route_query){.role = ob__fnv1a32("chat")})));
	for (unsigned i = 0; i < SERVICES; i++) {
		down(service[i]);
	}
	q = (struct ob__route_query){.role = ob__fnv1a32("service")};
	CU_ASSERT_TRUE(is_route(find(&q)));
	CU_ASSERT_EQUAL(policy.asked, asked);
	end();
}

/* For route nodes: asked when nobody of the role itself is up, never on the way to a node. */
static void test_policy_of_routes(void)
{
	begin("proxy");
	use_policy("route");
	policy.says = 1;
	struct ob__peer *second = find(&(struct ob__route_query){.role = ob__fnv1a32("chat")});
	CU_ASSERT_EQUAL(second->who.id, policy.ids[1]);
	CU_ASSERT_PTR_EQUAL(find(&(struct ob__route_query){0}), second);
	CU_ASSERT_EQUAL(policy.asked, 2);
	CU_ASSERT_TRUE(is_route(find(&(struct ob__route_query){.node = 4711})));
	CU_ASSERT_EQUAL(policy.asked, 2);
	end();
}

/* A role with one node: the way to it stands until anything changes. */
static void test_only_one(void)
{
	begin("proxy");
	struct ob__route_query q = {.role = ob__fnv1a32("service")};
	for (unsigned i = 1; i < SERVICES; i++) {
		down(service[i]);
	}
	CU_ASSERT_FALSE(ob__router_find(&router, &q).stands);
	for (int i = 0; i < 3; i++) {
		struct ob__route r = ob__router_find(&router, &q);
		CU_ASSERT_TRUE(r.stands);
		CU_ASSERT_PTR_EQUAL(r.peer, service[0]);
		CU_ASSERT_PTR_EQUAL(r.to, service[0]);
		CU_ASSERT_EQUAL(r.dst, 0);
	}
	/* not back to where it came from, and not for another role or none */
	q.from = service[0];
	CU_ASSERT_TRUE(is_route(find(&q)));
	q.from = NULL;
	CU_ASSERT_TRUE(is_route(find(&(struct ob__route_query){.role = ob__fnv1a32("chat")})));
	CU_ASSERT_TRUE(is_route(find(&(struct ob__route_query){0})));
	CU_ASSERT_PTR_EQUAL(find(&q), service[0]);
	/* a second one: by turns */
	ob__registry_set_link(&reg, service[3], LINK, 0);
	struct ob__peer *first = find(&q);
	struct ob__peer *second = find(&q);
	CU_ASSERT_TRUE(first != second && (first == service[0] || first == service[3]));
	CU_ASSERT_FALSE(ob__router_find(&router, &q).stands);
	/* it drains, and the other one is the only one again; then that one is gone */
	ob__registry_set_draining(&reg, service[3], true);
	CU_ASSERT_PTR_EQUAL(find(&q), service[0]);
	CU_ASSERT_TRUE(ob__router_find(&router, &q).stands);
	down(service[0]);
	CU_ASSERT_PTR_NOT_EQUAL(find(&q), service[0]);
	down(service[3]);
	CU_ASSERT_TRUE(is_route(find(&q)));
	CU_ASSERT_FALSE(ob__router_find(&router, &q).stands);
	/* a policy is asked each time, also about one */
	ob__registry_set_link(&reg, service[0], LINK, 0);
	use_policy("service");
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_PTR_EQUAL(find(&q), service[0]);
		CU_ASSERT_EQUAL(policy.asked, i + 1);
	}
	policy.says = -5009;
	CU_ASSERT_EQUAL(ob__router_find(&router, &q).kind, OB__ROUTE_REFUSED);
	end();
}

/* ---------------------------------------------------------------- members without a link */

static struct ob__peer *heard_of(const char *name, const char *role, uint8_t state)
{
	struct ob__identity who = {.id = ob__node_id(name), .name = name, .role = role};
	int err;
	struct ob__peer *p = ob__registry_put(&reg, &who, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	ob__registry_set_state(&reg, p, state);
	return p;
}

static int wanted;

static void on_wanted(void *arg, struct ob__peer *peer)
{
	CU_ASSERT_PTR_EQUAL(arg, peer);
	wanted++;
}

/* A node nobody has told of yet keeps to one route node, and takes it along when it is met. */
static void test_stranger(void)
{
	begin("service");
	struct ob__route_query q = {.node = ob__node_id("far")};
	struct ob__peer *first = find(&q);
	CU_ASSERT_TRUE(is_route(first));
	for (int i = 0; i < 20; i++) {
		char name[32];
		snprintf(name, sizeof(name), "route_more_%d", i);
		add(name, "route");
		CU_ASSERT_PTR_EQUAL(find(&q), first);
	}
	struct ob__peer *p = heard_of("far", "proxy", OB__MEMBER_UP);
	CU_ASSERT_PTR_NULL(p->via);
	CU_ASSERT_PTR_EQUAL(find(&q), first);
	CU_ASSERT_PTR_EQUAL(p->via, first);
	/* Met by a link of its own: what went before is known to have gone another way. */
	q.node = ob__node_id("farther");
	first = find(&q);
	p = add("farther", "proxy");
	ob__router_met(&router, p);
	CU_ASSERT_PTR_EQUAL(p->via, first);
	CU_ASSERT_TRUE(p->via_used);
	p = add("never sent to", "proxy");
	ob__router_met(&router, p);
	CU_ASSERT_PTR_NULL(p->via);
	CU_ASSERT_FALSE(p->via_used);
	/* Another one when it is lost, and never back where it came from. */
	q.node = ob__node_id("unheard of");
	first = find(&q);
	q.from = first;
	CU_ASSERT_PTR_NOT_EQUAL(find(&q), first);
	q.from = NULL;
	down(find(&q));
	CU_ASSERT_PTR_NOT_NULL(find(&q));
	CU_ASSERT_PTR_NOT_NULL(find(&q)->link);
	end();
}

static void test_member(void)
{
	begin("proxy");
	struct ob__peer *p = heard_of("far", "game", OB__MEMBER_UP);
	struct ob__route_query q = {.role = ob__fnv1a32("game")};
	router.wanted = on_wanted;
	router.wanted_arg = p;
	wanted = 0;
	struct ob__route r = ob__router_find(&router, &q);
	CU_ASSERT_EQUAL(r.kind, OB__ROUTE_PEER);
	CU_ASSERT_TRUE(is_route(r.peer));
	CU_ASSERT_PTR_EQUAL(r.to, p);
	CU_ASSERT_EQUAL(r.dst, p->who.id);
	CU_ASSERT_EQUAL(wanted, 1);
	CU_ASSERT_TRUE(p->via_used);
	/* Always the same route node, also when a third one comes, until it is lost. */
	struct ob__peer *via = r.peer;
	add("route_2", "route");
	for (int i = 0; i < 20; i++) {
		CU_ASSERT_PTR_EQUAL(find(&q), via);
		CU_ASSERT_PTR_EQUAL(find(&(struct ob__route_query){.node = p->who.id}), via);
	}
	down(via);
	struct ob__peer *second = find(&q);
	CU_ASSERT_PTR_NOT_EQUAL(second, via);
	ob__registry_set_link(&reg, via, LINK, 0);
	CU_ASSERT_PTR_EQUAL(find(&q), second);
	/* Not back where it came from. */
	q.from = second;
	CU_ASSERT_PTR_NOT_EQUAL(find(&q), second);
	q.from = NULL;
	ob__registry_set_link(&reg, p, LINK, 0);
	r = ob__router_find(&router, &q);
	CU_ASSERT_PTR_EQUAL(r.peer, p);
	CU_ASSERT_EQUAL(r.dst, 0);
	end();
}

static struct {
	unsigned times;
	struct ob__peer *peer, *from, *to;
} switched;

static void on_switched(void *arg, struct ob__peer *peer, struct ob__peer *from,
                        struct ob__peer *to)
{
	(void)arg;
	switched.times++;
	switched.peer = peer;
	switched.from = from;
	switched.to = to;
}

/* A route node that drains is left, which somebody may have to prepare; one that is down just is.
 */
static void test_switched(void)
{
	begin("proxy");
	add("route_2", "route");
	struct ob__peer *p = heard_of("far", "game", OB__MEMBER_UP);
	struct ob__route_query q = {.node = p->who.id};
	memset(&switched, 0, sizeof(switched));
	router.switched = on_switched;
	struct ob__peer *first = find(&q);
	CU_ASSERT_EQUAL(switched.times, 0);
	ob__registry_set_draining(&reg, first, true);
	struct ob__peer *second = find(&q);
	CU_ASSERT_PTR_NOT_EQUAL(second, first);
	CU_ASSERT_PTR_EQUAL(find(&q), second);
	CU_ASSERT_EQUAL(switched.times, 1);
	CU_ASSERT_PTR_EQUAL(switched.peer, p);
	CU_ASSERT_PTR_EQUAL(switched.from, first);
	CU_ASSERT_PTR_EQUAL(switched.to, second);
	add("route_3", "route");
	down(second);
	CU_ASSERT_PTR_NOT_EQUAL(find(&q), second);
	CU_ASSERT_EQUAL(switched.times, 1);
	end();
}

static void test_member_states(void)
{
	begin("proxy");
	struct ob__peer *one = heard_of("one", "game", OB__MEMBER_UP);
	struct ob__peer *two = heard_of("two", "game", OB__MEMBER_SUSPECT);
	struct ob__peer *out = heard_of("out", "game", OB__MEMBER_DRAINING);
	struct ob__route_query q = {.role = ob__fnv1a32("game")};
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_PTR_EQUAL(ob__router_find(&router, &q).to, one);
	}
	/* Who sticks to one that drains may name it. */
	struct ob__route_query named = {.node = out->who.id, .role = q.role, .sticky = true};
	CU_ASSERT_PTR_EQUAL(ob__router_find(&router, &named).to, out);
	ob__registry_set_state(&reg, one, OB__MEMBER_DEAD);
	CU_ASSERT_PTR_EQUAL(ob__router_find(&router, &q).to, two);
	/* One that was chosen before and is gone: another one of the role, if there is a role. */
	named.node = one->who.id;
	struct ob__route r = ob__router_find(&router, &named);
	CU_ASSERT_PTR_EQUAL(r.to, two);
	CU_ASSERT_EQUAL(r.dst, two->who.id);
	named.role = 0;
	CU_ASSERT_EQUAL(ob__router_find(&router, &named).dst, 0);
	/* A route node that can't reach it, and a message that need not stay: another one too. */
	ob__registry_set_state(&reg, one, OB__MEMBER_UP);
	struct ob__route_query passed = {
		.node = two->who.id, .role = q.role, .from = service[0], .sticky = false};
	CU_ASSERT_PTR_EQUAL(ob__router_find(&router, &passed).to, one);
	passed.sticky = true;
	CU_ASSERT_PTR_EQUAL(ob__router_find(&router, &passed).to, two);
	/* Without route nodes nobody can be reached. */
	down(route[0]);
	down(route[1]);
	CU_ASSERT_TRUE(is_none(&q));
	CU_ASSERT_TRUE(is_none(&(struct ob__route_query){.node = one->who.id}));
	ob__registry_set_link(&reg, route[1], LINK, 0);
	CU_ASSERT_PTR_EQUAL(ob__router_find(&router, &q).to, one);
	end();
}

/* What stays with its node goes to no other one, whatever has become of it. */
static void test_stays(void)
{
	static const uint8_t gone[] = {OB__MEMBER_DEAD, OB__MEMBER_LEFT};
	begin("proxy");
	struct ob__peer *one = heard_of("one", "game", OB__MEMBER_UP);
	struct ob__peer *two = heard_of("two", "game", OB__MEMBER_UP);
	struct ob__route_query q = {.node = one->who.id, .role = one->who.role_id, .sticky = true};
	struct ob__route_query stays = q;
	stays.stays = true;
	ob__registry_set_link(&reg, two, LINK, 0);
	for (size_t i = 0; i < 2; i++) {
		ob__registry_set_state(&reg, one, gone[i]);
		CU_ASSERT_PTR_EQUAL(find(&q), two);
		/* a route node may know a way to it, with its name on it */
		struct ob__route r = ob__router_find(&router, &stays);
		CU_ASSERT_TRUE(is_route(r.peer));
		CU_ASSERT_EQUAL(r.dst, 0);
	}
	down(route[0]);
	down(route[1]);
	CU_ASSERT_PTR_EQUAL(find(&q), two);
	CU_ASSERT_TRUE(is_none(&stays));
	/* Passed on by a node that can't reach it. */
	ob__registry_set_state(&reg, one, OB__MEMBER_SUSPECT);
	q.from = stays.from = service[0];
	q.sticky = stays.sticky = false;
	CU_ASSERT_PTR_EQUAL(find(&q), two);
	CU_ASSERT_TRUE(is_none(&stays));
	/* Back. */
	ob__registry_set_state(&reg, one, OB__MEMBER_UP);
	ob__registry_set_link(&reg, one, LINK, 0);
	CU_ASSERT_PTR_EQUAL(find(&stays), one);
	end();
}

/* The only one of a role, behind a route node: its name is on what goes there, and as long as
 * nobody dials it somebody is told each time. */
static void test_only_one_behind(void)
{
	begin("proxy");
	struct ob__peer *one = heard_of("one", "game", OB__MEMBER_UP);
	struct ob__route_query q = {.role = one->who.role_id};
	wanted = 0;
	router.wanted = on_wanted;
	router.wanted_arg = one;
	for (int i = 0; i < 3; i++) {
		struct ob__route r = ob__router_find(&router, &q);
		CU_ASSERT_PTR_EQUAL(r.to, one);
		CU_ASSERT_TRUE(is_route(r.peer));
		CU_ASSERT_EQUAL(r.dst, one->who.id);
		CU_ASSERT_FALSE(r.stands);
		CU_ASSERT_EQUAL(wanted, i + 1);
	}
	one->dialing = (struct ob__dialing *)(void *)&wanted;
	(void)ob__router_find(&router, &q);
	struct ob__route r = ob__router_find(&router, &q);
	CU_ASSERT_TRUE(r.stands);
	CU_ASSERT_PTR_EQUAL(r.to, one);
	CU_ASSERT_EQUAL(r.dst, one->who.id);
	CU_ASSERT_EQUAL(wanted, 3);
	/* the route node goes: through the other one */
	struct ob__peer *before = r.peer;
	down(before);
	r = ob__router_find(&router, &q);
	CU_ASSERT_TRUE(is_route(r.peer) && r.peer != before);
	CU_ASSERT_EQUAL(r.dst, one->who.id);
	/* its own link: straight there */
	ob__registry_set_link(&reg, one, LINK, 0);
	r = ob__router_find(&router, &q);
	CU_ASSERT_PTR_EQUAL(r.peer, one);
	CU_ASSERT_EQUAL(r.dst, 0);
	one->dialing = NULL;
	end();
}

/* They relay while they drain, and only those that are linked. */
static void test_route_states(void)
{
	begin("proxy");
	struct ob__peer *far = heard_of("route_9", "route", OB__MEMBER_UP);
	struct ob__route_query q = {0};
	ob__registry_set_state(&reg, route[0], OB__MEMBER_DRAINING);
	ob__registry_set_state(&reg, route[1], OB__MEMBER_UP);
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_PTR_EQUAL(find(&q), route[1]);
	}
	ob__registry_set_state(&reg, route[1], OB__MEMBER_SUSPECT);
	CU_ASSERT_PTR_EQUAL(find(&q), route[0]);
	CU_ASSERT_PTR_EQUAL(
		ob__router_find(&router, &(struct ob__route_query){.node = far->who.id}).to, far);
	ob__registry_set_state(&reg, route[0], OB__MEMBER_UP);
	ob__registry_set_state(&reg, route[1], OB__MEMBER_UP);
	/* A session stays with the one that it prefers. */
	for (unsigned i = 0; i < 2; i++) {
		q = (struct ob__route_query){
			.sticky = true, .session_seq = 7, .prefer = route[i]->who.id};
		CU_ASSERT_PTR_EQUAL(find(&q), route[i]);
	}
	down(route[1]);
	CU_ASSERT_PTR_EQUAL(find(&q), route[0]);
	end();
}

static struct ob__idrange *table_of(uint32_t lo, uint32_t hi, const char *role)
{
	struct ob__idrange *t = calloc(1, sizeof(*t));
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	ob__idrange_init(t);
	CU_ASSERT_EQUAL(ob__idrange_add(t, lo, hi, ob__fnv1a32(role)), 0);
	CU_ASSERT_EQUAL(ob__idrange_seal(t, NULL, NULL), 0);
	return t;
}

static void test_served(void)
{
	begin("proxy");
	ob__router_set_served(&router, table_of(10, 20, "game"));
	CU_ASSERT_EQUAL(ob__router_role(&router, 15), ob__fnv1a32("game"));
	ob__router_set_table(&router, table_of(15, 30, "service"));
	CU_ASSERT_EQUAL(ob__router_role(&router, 14), ob__fnv1a32("game"));
	CU_ASSERT_EQUAL(ob__router_role(&router, 15), ob__fnv1a32("service"));
	CU_ASSERT_EQUAL(ob__router_role(&router, 31), 0);
	ob__router_set_served(&router, NULL);
	CU_ASSERT_EQUAL(ob__router_role(&router, 14), 0);
	end();
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* More than it is shown: those with the smallest ids, whoever came first. */
static void test_policy_of_many(void)
{
	begin("proxy");
	uint64_t ids[400];
	for (unsigned i = 0; i < 400; i++) {
		char name[32];
		snprintf(name, sizeof(name), "many_%u", i);
		ids[i] = add(name, "many")->who.id;
	}
	qsort(ids, 400, sizeof(ids[0]), by_number);
	use_policy("many");
	for (int turn = 0; turn < 3; turn++) {
		find(&(struct ob__route_query){.role = ob__fnv1a32("many")});
		CU_ASSERT_EQUAL(policy.len, OB__ROUTE_CANDIDATES);
		CU_ASSERT_EQUAL(memcmp(policy.ids, ids, sizeof(policy.ids)), 0);
		policy.says = OB__ROUTE_AS_USUAL; /* and the turn goes on */
	}
	end();
}

/* One that drains gets what names it and nothing else; a route node also what would stay here. */
static void test_draining(void)
{
	begin("proxy");
	uint32_t role = ob__fnv1a32("service");
	struct ob__route_query by_role = {.role = role};
	struct ob__route_query by_node = {.node = service[0]->who.id};
	for (unsigned i = 0; i < SERVICES; i++) {
		ob__registry_set_draining(&reg, service[i], i != 3);
	}
	for (int i = 0; i < 20; i++) {
		CU_ASSERT_PTR_EQUAL(find(&by_role), service[3]);
	}
	CU_ASSERT_PTR_EQUAL(find(&by_node), service[0]);
	ob__registry_set_draining(&reg, service[3], true);
	ob__registry_set_draining(&reg, service[3], true);
	CU_ASSERT_TRUE(find(&by_role) == route[0] || find(&by_role) == route[1]);
	ob__registry_set_draining(&reg, route[0], true);
	CU_ASSERT_PTR_EQUAL(find(&by_role), route[1]);
	ob__registry_set_draining(&reg, route[1], true);
	CU_ASSERT_PTR_NOT_NULL(find(&by_role));
	by_role.from = route[0];
	CU_ASSERT_PTR_EQUAL(find(&by_role), route[1]);
	down(route[1]);
	CU_ASSERT_PTR_NULL(find(&by_role));
	by_role.from = NULL;
	CU_ASSERT_PTR_EQUAL(find(&by_role), route[0]);
	/* A link that comes up again says that it takes new work, until the peer says otherwise. */
	down(service[2]);
	ob__registry_set_link(&reg, service[2], LINK, 0);
	CU_ASSERT_PTR_EQUAL(find(&by_role), service[2]);
	ob__registry_set_draining(&reg, service[4], false);
	CU_ASSERT_TRUE(find(&by_role) != find(&by_role));
	end();
}

/* A role's way places a session's first message only where the asker says so. */
static void test_first(void)
{
	static struct ob__idrange ranges;
	static const struct ob__chooser by_id[] = {{.way = OB__BALANCE_STICKY}};
	begin("proxy");
	struct ob__registry_role *role = ob__registry_role_get(&reg, ob__fnv1a32("service"));
	role->chooser.way = OB__BALANCE_ROUND_ROBIN;
	struct ob__frame f = {.id = 5};
	struct ob__route_query q = {
		.role = role->id, .sticky = true, .session_node = 1, .session_seq = 2, .frame = &f};
	struct ob__peer *home = find(&q);
	for (unsigned i = 0; i < SERVICES; i++) {
		CU_ASSERT_PTR_EQUAL(find(&q), home);
	}
	q.first = true;
	unsigned met = 0;
	for (unsigned i = 0; i < SERVICES; i++) {
		const struct ob__peer *p = find(&q);
		for (unsigned k = 0; k < SERVICES; k++) {
			met |= p == service[k] ? 1u << k : 0;
		}
	}
	CU_ASSERT_EQUAL(met, (1u << SERVICES) - 1);
	/* a range has another way */
	ob__idrange_init(&ranges);
	CU_ASSERT_EQUAL(ob__idrange_add(&ranges, 5, 9, 0), 0);
	CU_ASSERT_EQUAL(ob__idrange_seal(&ranges, NULL, NULL), 0);
	router.chooser_of = &ranges;
	router.choosers = by_id;
	CU_ASSERT_PTR_EQUAL(find(&q), home);
	CU_ASSERT_PTR_EQUAL(find(&q), home);
	f.id = 10;
	CU_ASSERT_PTR_NOT_EQUAL(find(&q), find(&q));
	/* without a way of its own, by rendezvous */
	role->chooser.way = 0;
	CU_ASSERT_PTR_EQUAL(find(&q), home);
	CU_ASSERT_PTR_EQUAL(find(&q), home);
	ob__idrange_free(&ranges);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("router", NULL, NULL);
	CU_add_test(s, "table", test_table);
	CU_add_test(s, "the same id again, with other tables", test_role_again);
	CU_add_test(s, "to a node", test_node);
	CU_add_test(s, "to a role", test_role);
	CU_add_test(s, "to neither", test_neither);
	CU_add_test(s, "to the only one of a role", test_only_one);
	CU_add_test(s, "round robin spreads evenly", test_round_robin);
	CU_add_test(s, "never back", test_never_back);
	CU_add_test(s, "sticky sessions stay with survivors", test_sticky);
	CU_add_test(s, "every node makes the same sticky choice", test_sticky_everywhere);
	CU_add_test(s, "sticky over route nodes", test_sticky_over_routes);
	s = CU_add_suite("members", NULL, NULL);
	CU_add_test(s, "through a route node", test_member);
	CU_add_test(s, "not heard of yet", test_stranger);
	CU_add_test(s, "another route node in place of one that drains", test_switched);
	CU_add_test(s, "by their state", test_member_states);
	CU_add_test(s, "the only one of a role", test_only_one_behind);
	CU_add_test(s, "what stays with one", test_stays);
	CU_add_test(s, "route nodes by theirs", test_route_states);
	CU_add_test(s, "what they serve", test_served);
	s = CU_add_suite("policy", NULL, NULL);
	CU_add_test(s, "chooses among those that are up", test_policy);
	CU_add_test(s, "of route nodes", test_policy_of_routes);
	CU_add_test(s, "of more than it is shown", test_policy_of_many);
	CU_add_test(s, "peers that drain", test_draining);
	CU_add_test(s, "first choices", test_first);
	return ob__tap_run();
}
