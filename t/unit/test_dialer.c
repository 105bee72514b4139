/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/dialer.h"

#include "link_rig.h"
#include "unit/files.h"

#define MACHINE 0x1234u

/* ---------------------------------------------------------------- where */

static struct ob__description *describe(const char *name, const char *role, const char *a,
                                        const char *b)
{
	const char *addresses[] = {a, b};
	const struct ob__member_facts facts = {
		.name = name,
		.role = role,
		.addresses = addresses,
		.addresses_len = b != NULL ? 2 : (a != NULL ? 1 : 0),
	};
	struct ob__description *d = NULL;
	CU_ASSERT_EQUAL_FATAL(ob__description_make(&d, &facts), 0);
	return d;
}

static void test_way(void)
{
	static const struct {
		const char *a;
		const char *b;
		const char *near;
		const char *host;
		int port;
	} rows[] = {
		{"tcp 10.0.0.1:5", NULL, "", "10.0.0.1", 5},
		{"tcp 127.0.0.1:5", NULL, "", "127.0.0.1", 5}, /* for all we know it is here */
		{"tcp 127.0.0.1:5", "unix 0000000000001234 /a", "/a", "127.0.0.1", 5},
		{"unix 0000000000001234 /a", "tcp [::1]:5", "/a", "::1", 5},
		{"unix 0000000000001234 /a", NULL, "/a", "", 0},
		{"tcp 10.0.0.1:5", "unix 0000000000009999 /a", "", "10.0.0.1", 5},
		{"tcp 127.0.0.1:5", "unix 0000000000009999 /a", "", "", 0}, /* not our loopback */
		{"tcp 0.0.0.0:5", NULL, "", "", 0},
		{"carrier pigeon", "tcp 10.0.0.1:5", "", "10.0.0.1", 5}, /* of a newer node */
		{NULL, NULL, "", "", 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__dial_way way;
		struct ob__description *d = describe("n", "service", rows[i].a, rows[i].b);
		bool any = ob__dial_way(&way, d, MACHINE);
		CU_ASSERT_EQUAL(any, rows[i].near[0] != '\0' || rows[i].port != 0);
		CU_ASSERT_STRING_EQUAL(way.near, rows[i].near);
		CU_ASSERT_STRING_EQUAL(way.host, rows[i].host);
		CU_ASSERT_EQUAL(way.port, rows[i].port);
		ob__description_unref(d);
	}
	/* A transport's, and one's that is for its machine only. */
	struct ob__dial_way way;
	struct ob__description *d =
		describe("n", "service", "pigeon 51 N", "owl@0000000000001234 tower");
	CU_ASSERT_TRUE(ob__dial_way(&way, d, MACHINE));
	CU_ASSERT_EQUAL_FATAL(way.ways_len, 2);
	CU_ASSERT_STRING_EQUAL(way.ways[0].transport, "pigeon");
	CU_ASSERT_STRING_EQUAL(way.ways[0].address, "51 N");
	CU_ASSERT_STRING_EQUAL(way.ways[1].transport, "owl");
	CU_ASSERT_STRING_EQUAL(way.ways[1].address, "tower");
	CU_ASSERT_EQUAL(way.port, 0);
	ob__description_unref(d);
	d = describe("n", "service", "owl@0000000000009999 tower", "tcp 127.0.0.1:5");
	CU_ASSERT_FALSE(ob__dial_way(&way, d, MACHINE)); /* so it is elsewhere */
	ob__description_unref(d);
	CU_ASSERT_NOT_EQUAL(ob__machine_id(), 0);
	CU_ASSERT_EQUAL(ob__machine_id(), ob__machine_id());
}

/* ---------------------------------------------------------------- two nodes */

static struct rig_node a;
static struct rig_node b;
static struct ob__dialer dialer; /* a's */

/* A node that is heard of, and not met. */
static struct ob__peer *hear(struct rig_node *n, const char *name, const char *role)
{
	struct ob__identity who = {
		.id = ob__node_id(name), .incarnation = 1, .name = name, .role = role};
	int err;
	struct ob__peer *p = ob__registry_put(&n->registry, &who, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

static struct ob__description *at(const char *name, const char *role, int port)
{
	char text[64];
	snprintf(text, sizeof(text), "tcp 127.0.0.1:%d", port);
	return describe(name, role, text, NULL);
}

static void begin_as(uint64_t idle_ms, const char *a_role, const char *b_role)
{
	const struct ob__links_options quick = {.ping_ms = 30, .dead_ms = 5000, .reconnect_ms = 50};
	rig_begin();
	rig_start(&a, "a", a_role, 1, 0, &quick);
	rig_start(&b, "b", b_role, 1, 0, &quick);
	ob__dialer_init(&dialer, rig_loop, a.links, MACHINE, idle_ms);
}

static void begin(uint64_t idle_ms)
{
	begin_as(idle_ms, "proxy", "service");
}

static void end(void)
{
	ob__dialer_free(&dialer);
	rig_stop(&a);
	rig_stop(&b);
	rig_end();
}

static void test_want(void)
{
	begin(0);
	struct ob__peer *p = hear(&a, "b", "service");
	struct ob__description *d = at("b", "service", b.port);
	CU_ASSERT_EQUAL(ob__dialer_node(&dialer, p, d, false), 0);
	rig_turn_ms(30);
	CU_ASSERT_PTR_NULL(p->link); /* nobody wants it yet */
	CU_ASSERT_STRING_EQUAL(ob__dialer_state(p), "");
	ob__dialer_want(&dialer, p, d);
	ob__dialer_want(&dialer, p, d);
	CU_ASSERT_EQUAL(dialer.count, 1);
	CU_ASSERT_TRUE(RIG_UNTIL(p->link != NULL));
	CU_ASSERT_STRING_EQUAL(ob__dialer_state(p), "up");
	/* It is no entry of remote_ports, which a reload would take out. */
	ob__links_retain(a.links, NULL, 0);
	CU_ASSERT_PTR_NOT_NULL(p->link);
	/* Lost, and listed still: dialled again.  Gone: not any more. */
	ob__peer_close(b.links, rig_peer(&b, "a"), "for the test");
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	CU_ASSERT_TRUE(RIG_UNTIL(p->link != NULL));
	ob__dialer_gone(&dialer, p);
	CU_ASSERT_EQUAL(dialer.count, 0);
	CU_ASSERT_PTR_NOT_NULL(p->link);
	ob__peer_close(b.links, rig_peer(&b, "a"), "for the test");
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 2));
	rig_turn_ms(200);
	CU_ASSERT_PTR_NULL(p->link);
	ob__description_unref(d);
	end();
}

static void test_always(void)
{
	begin(20);
	struct ob__peer *p = hear(&a, "b", "service");
	struct ob__description *d = at("b", "service", b.port);
	CU_ASSERT_EQUAL(ob__dialer_node(&dialer, p, d, true), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(p->link != NULL));
	rig_turn_ms(200);
	CU_ASSERT_EQUAL(a.downs, 0); /* however idle */
	ob__description_unref(d);
	end();
}

static void test_other_node(void)
{
	begin(0);
	struct ob__peer *p = hear(&a, "c", "service");
	struct ob__description *d = at("c", "service", b.port);
	ob__dialer_want(&dialer, p, d);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "other_node") >= 1));
	CU_ASSERT_EQUAL(a.ups + b.ups, 0);
	ob__description_unref(d);
	/* It has moved. */
	d = at("c", "service", 1);
	CU_ASSERT_EQUAL(ob__dialer_node(&dialer, p, d, false), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "unreachable") >= 1));
	ob__description_unref(d);
	end();
}

static void test_configured(void)
{
	begin(0);
	struct ob__peer *p = hear(&a, "b", "service");
	struct ob__description *d = at("b", "service", b.port);
	rig_dial(&a, b.port);
	ob__dialer_want(&dialer, p, d);
	CU_ASSERT_TRUE(RIG_UNTIL(p->link != NULL));
	rig_turn_ms(50);
	CU_ASSERT_EQUAL(a.ups, 1);
	CU_ASSERT_EQUAL(rig_closed(&a, "duplicate"), 0);
	CU_ASSERT_STRING_EQUAL(ob__dialer_state(p), "covered");
	/* Who takes that entry out does not want the link. */
	CU_ASSERT_EQUAL(ob__links_drop(a.links, "nobody"), 0);
	CU_ASSERT_EQUAL(ob__links_drop(a.links, "b"), 1);
	CU_ASSERT_EQUAL(a.downs, 1);
	rig_turn_ms(100);
	CU_ASSERT_EQUAL(a.ups, 1);
	/* Until the node is heard of anew. */
	ob__dialer_gone(&dialer, p);
	ob__dialer_want(&dialer, p, d);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 2));
	ob__description_unref(d);
	end();
}

/* ---------------------------------------------------------------- a node that lets nobody in */

static const struct ob__role_token of_proxies[] = {{"proxy", {"the token of the proxies", NULL}}};
static const struct ob__role_token of_services[] = {{"service", {"the token of services", NULL}}};
static const struct ob__role_token of_both[] = {{"proxy", {"the token of the proxies", NULL}},
                                                {"service", {"the token of services", NULL}}};

static void begin_by_role(uint64_t idle_ms, enum ob__link_security security)
{
	struct ob__links_options o = {.ping_ms = 30, .dead_ms = 5000, .reconnect_ms = 50};
	rig_begin();
	o.security = security;
	o.roles = of_proxies;
	o.roles_len = 1;
	rig_start(&a, "a", "proxy", 1, 0, &o);
	o.roles = of_services;
	rig_start(&b, "b", "service", 1, 0, &o);
	ob__dialer_init(&dialer, rig_loop, a.links, MACHINE, idle_ms);
}

static bool refused(uint64_t times)
{
	return RIG_UNTIL(rig_closed(&b, "wrong_token") == times);
}

/* Whoever has not the token is not dialled again and again, however often it is wanted; but when it
 * has started anew, or there are other tokens here. */
static void test_unwanted_by(enum ob__link_security security)
{
	const struct ob__links_options both = {.roles = of_both, .roles_len = 2};
	begin_by_role(1000, security);
	struct ob__peer *p = hear(&a, "b", "service");
	struct ob__description *d = at("b", "service", b.port);
	ob__dialer_want(&dialer, p, d);
	CU_ASSERT_TRUE(refused(1));
	CU_ASSERT_TRUE(RIG_UNTIL(strcmp(ob__dialer_state(p), "refused") == 0));
	for (int i = 0; i < 150; i++) {
		ob__dialer_want(&dialer, p, d);
		CU_ASSERT_EQUAL(ob__dialer_node(&dialer, p, d, false), 0);
		rig_turn_ms(10);
	}
	CU_ASSERT_EQUAL(rig_closed(&b, "wrong_token"), 1);
	CU_ASSERT_EQUAL(dialer.count, 1);

	struct ob__identity again = p->who;
	int err;
	again.incarnation = 2;
	CU_ASSERT_PTR_EQUAL(ob__registry_put(&a.registry, &again, &err), p);
	CU_ASSERT_EQUAL(ob__dialer_node(&dialer, p, d, false), 0);
	CU_ASSERT_TRUE(refused(2));

	CU_ASSERT_EQUAL(ob__links_rekey(b.links, &both), 0);
	rig_turn_ms(100);
	CU_ASSERT_EQUAL(a.ups, 0); /* it can't know */
	CU_ASSERT_EQUAL(ob__links_rekey(a.links, &both), 0);
	CU_ASSERT_TRUE(RIG_UNTIL((ob__dialer_want(&dialer, p, d), a.ups == 1)));
	CU_ASSERT_EQUAL(rig_closed(&b, "wrong_token"), 2);
	ob__description_unref(d);
	end();
}

static void test_unwanted(void)
{
	test_unwanted_by(OB__LINK_PLAIN);
	test_unwanted_by(OB__LINK_PSK);
}

/* A route node is dialled all the same: nothing else will do. */
static void test_unwanted_always(void)
{
	begin_by_role(0, OB__LINK_PLAIN);
	struct ob__peer *p = hear(&a, "b", "service");
	struct ob__description *d = at("b", "service", b.port);
	CU_ASSERT_EQUAL(ob__dialer_node(&dialer, p, d, true), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&b, "wrong_token") >= 4));
	ob__description_unref(d);
	end();
}

static int count_lines(const char *dir, const char *word)
{
	char path[160];
	static char text[1u << 16];
	int n = 0;
	snprintf(path, sizeof(path), "%s/pair.log", dir);
	FILE *file = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	for (const char *l = strtok(text, "\n"); l != NULL; l = strtok(NULL, "\n")) {
		n += strstr(l, word) != NULL;
	}
	return n;
}

/* Each of the two says once why they don't get together, and again when it is for another reason.
 */
static void test_unwanted_log(void)
{
	const struct ob__links_options proxies = {.roles = of_proxies, .roles_len = 1};
	const struct ob__links_options nothing = {0};
	char dir[128];
	char err[128];
	begin_by_role(0, OB__LINK_PLAIN);
	files_make_dir(dir, sizeof(dir));
	struct ob__log_options o = {.dir = dir, .name = "pair", .level = OB_LOG_INFO};
	CU_ASSERT_EQUAL_FATAL(ob__log_open(&o, err, sizeof(err)), 0);
	struct ob__peer *p = hear(&a, "b", "service");
	(void)hear(&b, "a", "proxy");
	struct ob__description *d = at("b", "service", b.port);
	ob__dialer_want(&dialer, p, d);
	for (uint64_t times = 1; times <= 6; times++) {
		CU_ASSERT_TRUE(refused(times));
		CU_ASSERT_TRUE(RIG_UNTIL(strcmp(ob__dialer_state(p), "refused") == 0));
		if (times < 6) {
			CU_ASSERT_EQUAL(ob__links_rekey(a.links, &proxies), 0); /* dials again */
		}
	}
	/* Another reason. */
	CU_ASSERT_EQUAL(ob__links_rekey(b.links, &nothing), 0);
	CU_ASSERT_EQUAL(ob__links_rekey(a.links, &proxies), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&b, "no_token") == 1));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "refused") == 7));
	ob__log_close();
	CU_ASSERT_EQUAL(count_lines(dir, "refused by the other side: wrong token for the role"), 1);
	CU_ASSERT_EQUAL(count_lines(dir, "closed (wrong token for the role proxy)"), 1);
	CU_ASSERT_EQUAL(count_lines(dir, "refused by the other side: this node has no"), 1);
	files_remove(dir);
	ob__description_unref(d);
	end();
}

/* ---------------------------------------------------------------- the end of an idle link */

static void put(struct rig_node *n, struct ob__peer *p, uint64_t number)
{
	struct ob__frame f = {.kind = OB__FRAME_PUSH, .id = 5, .call = number, .dst = 1};
	CU_ASSERT_EQUAL(ob__peer_send(n->links, p, &f), 0);
}

static void test_idle(void)
{
	begin(80);
	struct ob__peer *p = hear(&a, "b", "service");
	struct ob__description *d = at("b", "service", b.port);
	ob__dialer_want(&dialer, p, d);
	CU_ASSERT_TRUE(RIG_UNTIL(p->link != NULL));
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1 && b.downs == 1));
	CU_ASSERT_TRUE(p->parted);
	CU_ASSERT_TRUE(rig_peer(&b, "a")->parted);
	ob__dialer_gone(&dialer, p); /* as its owner does then */
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&b, "idle") == 1));
	CU_ASSERT_EQUAL(rig_closed(&a, "idle"), 1);
	rig_turn_ms(100);
	CU_ASSERT_EQUAL(a.ups, 1);
	ob__dialer_want(&dialer, p, d);
	CU_ASSERT_TRUE(RIG_UNTIL(p->link != NULL));
	CU_ASSERT_FALSE(p->parted);
	ob__description_unref(d);
	end();
}

/* A route node that had traffic for a node may have been the first to dial: the link stays. */
static void test_route_stays(void)
{
	const char *roles[][2] = {{"route", "service"}, {"service", "route"}};
	for (int i = 0; i < 2; i++) {
		begin_as(80, roles[i][0], roles[i][1]);
		struct ob__peer *p = hear(&a, "b", roles[i][1]);
		struct ob__description *d = at("b", roles[i][1], b.port);
		ob__dialer_want(&dialer, p, d);
		CU_ASSERT_TRUE(RIG_UNTIL(p->link != NULL));
		rig_turn_ms(300);
		CU_ASSERT_EQUAL(a.downs + b.downs, 0);
		CU_ASSERT_FALSE(p->parted);
		ob__description_unref(d);
		end();
	}
}

/* The asker may be of another mind. */
static void test_route_asked(void)
{
	begin_as(0, "service", "route");
	rig_dial(&a, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1 && b.ups == 1));
	rig_turn_ms(100);
	const struct ob__frame idle = {
		.len = OB__FRAME_HEADER,
		.version = OB__FRAME_VERSION,
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_IDLE,
		.src = a.registry.self.id,
	};
	uint8_t raw[OB__FRAME_HEADER];
	ob__frame_put_header(raw, &idle);
	CU_ASSERT_EQUAL(ob__peer_forward(a.links, rig_peer(&a, "b"), raw, sizeof(raw)), 0);
	rig_turn_ms(100);
	CU_ASSERT_EQUAL(a.downs + b.downs, 0);
	end();
}

/* What is sent while the other end agrees arrives, and the link stays. */
static void test_stay(void)
{
	begin(0);
	rig_dial(&a, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1 && b.ups == 1));
	struct ob__link *l = rig_link(&a, "b");
	struct ob__link *theirs = rig_link(&b, "a");
	rig_turn_ms(
		100); /* some looks for silence: nothing was sent since the one before the last */
	ob__link_part(l);
	put(&a, rig_peer(&a, "b"), 1);
	CU_ASSERT_TRUE(RIG_UNTIL(b.downs == 1));
	/* It says that it drains, and will not say so again: to it this is the link of before. */
	ob__registry_set_draining(&b.registry, rig_peer(&b, "a"), true);
	CU_ASSERT_TRUE(RIG_UNTIL(b.ups == 2)); /* STAY */
	CU_ASSERT_TRUE(rig_peer(&b, "a")->draining);
	CU_ASSERT_TRUE(RIG_UNTIL(b.heard == 1));
	CU_ASSERT_PTR_EQUAL(rig_link(&a, "b"), l);
	CU_ASSERT_PTR_EQUAL(rig_link(&b, "a"), theirs);
	CU_ASSERT_EQUAL(theirs->state, OB__LINK_UP);
	CU_ASSERT_EQUAL(a.downs, 0);
	put(&b, rig_peer(&b, "a"), 1);
	CU_ASSERT_TRUE(RIG_UNTIL(a.heard == 1));
	end();
}

/* The other end has sent something of late, or waits for something: it does not answer. */
static void test_not_idle(void)
{
	begin(0);
	rig_dial(&a, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1 && b.ups == 1));
	rig_turn_ms(100);
	put(&b, rig_peer(&b, "a"), 1);
	CU_ASSERT_TRUE(RIG_UNTIL(a.heard == 1));
	ob__link_part(rig_link(&a, "b"));
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(a.downs + b.downs, 0);
	end();
}

/* ---------------------------------------------------------------- what is held */

static void test_hold(void)
{
	begin(0);
	rig_dial(&a, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1 && b.ups == 1));
	struct ob__peer *p = rig_peer(&a, "b");
	ob__peer_release(p); /* harmless */
	ob__peer_hold(p);
	for (uint64_t i = 1; i <= 100; i++) {
		put(&a, p, i);
	}
	CU_ASSERT_FALSE(ob__link_given(p->link, p->link->appended));
	rig_turn_ms(50);
	CU_ASSERT_EQUAL(b.frames, 0);
	ob__peer_release(p);
	put(&a, p, 101);
	CU_ASSERT_TRUE(RIG_UNTIL(b.heard == 101));
	CU_ASSERT_TRUE(b.in_order);
	CU_ASSERT_EQUAL(ob__peer_queued(p), 0);
	/* And with the link, it goes. */
	ob__peer_hold(p);
	uint64_t before = p->link->appended;
	put(&a, p, 102);
	struct ob__link *l = p->link;
	ob__peer_close(a.links, p, "for the test");
	CU_ASSERT_TRUE(ob__link_given(l, before));
	CU_ASSERT_FALSE(ob__link_given(l, l->appended));
	end();
}

/* What has not gone another way before need not wait. */
static void test_past(void)
{
	struct ob__frame f = {
		.len = OB__FRAME_HEADER,
		.version = OB__FRAME_VERSION,
		.kind = OB__FRAME_PUSH,
		.call = 1,
		.src = ob__node_id("a"),
	};
	uint8_t raw[OB__FRAME_HEADER];
	begin(0);
	rig_dial(&a, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1 && b.ups == 1));
	struct ob__peer *p = rig_peer(&a, "b");
	ob__frame_put_header(raw, &f);
	ob__peer_hold(p);
	put(&a, p, 2);
	size_t waits = ob__peer_queued(p);
	CU_ASSERT_EQUAL(ob__peer_forward_past(a.links, p, raw, sizeof(raw)), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(b.heard == 1));
	CU_ASSERT_EQUAL(ob__peer_queued(p), waits);
	put(&a, p, 3); /* held again */
	rig_turn_ms(50);
	CU_ASSERT_EQUAL(b.heard, 1);
	CU_ASSERT_FALSE(ob__link_given(p->link, p->link->appended));
	ob__peer_release(p);
	CU_ASSERT_TRUE(RIG_UNTIL(b.heard == 3));
	CU_ASSERT_TRUE(b.in_order);
	ob__peer_close(a.links, p, "for the test");
	CU_ASSERT_EQUAL(ob__peer_forward_past(a.links, p, raw, sizeof(raw)), OB_E_NOT_SENT);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("dialer", NULL, NULL);
	CU_add_test(s, "which address", test_way);
	CU_add_test(s, "when there is traffic", test_want);
	CU_add_test(s, "always", test_always);
	CU_add_test(s, "another node is there", test_other_node);
	CU_add_test(s, "an entry of remote_ports comes first", test_configured);
	s = CU_add_suite("refused", NULL, NULL);
	CU_add_test(s, "not dialled again for long", test_unwanted);
	CU_add_test(s, "a route node is", test_unwanted_always);
	CU_add_test(s, "is said once", test_unwanted_log);
	s = CU_add_suite("idle", NULL, NULL);
	CU_add_test(s, "ends at both ends", test_idle);
	CU_add_test(s, "stays with a route node", test_route_stays);
	CU_add_test(s, "a route node does not let go", test_route_asked);
	CU_add_test(s, "stays when something is sent", test_stay);
	CU_add_test(s, "not idle at the other end", test_not_idle);
	s = CU_add_suite("hold", NULL, NULL);
	CU_add_test(s, "keeps, and sends in order", test_hold);
	CU_add_test(s, "but not what has gone no other way", test_past);
	return ob__tap_run();
}
