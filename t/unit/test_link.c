/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "link_rig.h"

#include <netdb.h>
#include <pthread.h>

/* ---------------------------------------------------------------- addresses */

/* In the resolver's place: "two.test" is 127.0.0.2, where nobody listens, and then 127.0.0.1, which
 * is also itself; no other name exists.  Who holds the lock keeps it from answering. */
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **res);
__attribute__((visibility("default"))) void freeaddrinfo(struct addrinfo *res);

static pthread_mutex_t resolver = PTHREAD_MUTEX_INITIALIZER;

struct found {
	struct addrinfo info;
	struct sockaddr_in addr;
};

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
	pthread_mutex_lock(&resolver);
	pthread_mutex_unlock(&resolver);
	bool two = strcmp(node, "two.test") == 0;
	if ((!two && strcmp(node, "127.0.0.1") != 0) || hints->ai_socktype != SOCK_STREAM) {
		return EAI_NONAME;
	}
	struct found *found = calloc(2, sizeof(*found));
	for (unsigned i = 0; i < 2; i++) {
		found[i].addr = (struct sockaddr_in){.sin_family = AF_INET,
		                                     .sin_port = htons((uint16_t)atoi(service)),
		                                     .sin_addr.s_addr = htonl(0x7f000002u - i)};
		found[i].info = (struct addrinfo){.ai_family = AF_INET,
		                                  .ai_socktype = SOCK_STREAM,
		                                  .ai_addrlen = sizeof(found[i].addr),
		                                  .ai_addr = (struct sockaddr *)&found[i].addr};
	}
	found[0].info.ai_next = &found[1].info;
	if (!two) {
		found[0].addr.sin_addr = found[1].addr.sin_addr;
		found[0].info.ai_next = NULL;
	}
	*res = &found[0].info;
	return 0;
}

void freeaddrinfo(struct addrinfo *res)
{
	free(res);
}

static struct rig_node a;
static struct rig_node b;
static struct rig_node c;

static bool both_up(void)
{
	return rig_link(&a, b.name) != NULL && rig_link(&b, a.name) != NULL;
}

/* ---------------------------------------------------------------- coming up, going down */

static void test_up(void)
{
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 11, 0, NULL);
	rig_start(&b, "route_1", "route", 22, 0, NULL);
	rig_dial(&a, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
	const struct ob__peer *p = rig_peer(&b, "proxy_1");
	CU_ASSERT_STRING_EQUAL(p->who.role, "proxy");
	CU_ASSERT_EQUAL(p->who.incarnation, 11);
	CU_ASSERT_EQUAL(strncmp(p->address, "127.0.0.1:", 10), 0);
	CU_ASSERT_EQUAL(a.ups, 1);
	CU_ASSERT_EQUAL(b.ups, 1);
	CU_ASSERT_TRUE(rig_states_are(&a, "u"));
	CU_ASSERT_STRING_EQUAL(rig_remotes(&a).name, "route_1");
	CU_ASSERT_EQUAL(rig_send(&a, "route_1", "hello", 5), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(b.frames == 1));
	CU_ASSERT_EQUAL(b.last.src, a.registry.self.id);
	CU_ASSERT_EQUAL(b.last.id, 1000);
	CU_ASSERT_EQUAL(memcmp(b.last_payload, "hello", 5), 0);
	CU_ASSERT_EQUAL(rig_send(&b, "proxy_1", NULL, 0), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(a.frames == 1));
	CU_ASSERT_EQUAL(a.last.payload_len, 0);
	rig_stop(&a);
	CU_ASSERT_TRUE(RIG_UNTIL(b.downs == 1));
	CU_ASSERT_EQUAL(b.lost, 1);
	CU_ASSERT_EQUAL(a.downs + a.lost, 0); /* freeing calls nothing back */
	CU_ASSERT_EQUAL(rig_send(&b, "proxy_1", NULL, 0), OB_E_NOT_SENT);
	rig_stop(&b);
	rig_end();
}

static void check_echo(struct rig_node *n, struct ob__link *link, struct ob__frame *f, uint8_t *raw)
{
	CU_ASSERT_PTR_EQUAL(link->peer, rig_peer(n, "proxy_1"));
	ob__frame_patch_forward(raw, 3, 77, 5, 6); /* it is ours to change */
	CU_ASSERT_EQUAL(ob__peer_forward(n->links, link->peer, raw, f->len), 0);
}

/* Frames of each way through the writer: copied, at its edges, and gathered. */
static void test_sizes(void)
{
	static const size_t sizes[] = {0,          1,     200,   16383,  16384,          16385,
	                               65535 - 64, 65536, 70000, 300000, (1u << 20) - 64};
	uint8_t *payload = malloc(1u << 20);
	for (size_t i = 0; i < 1u << 20; i++) {
		payload[i] = (uint8_t)(i * 7 + i / 251);
	}
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 11, 0, NULL);
	rig_start(&b, "route_1", "route", 22, 0, NULL);
	b.on_frame = check_echo;
	rig_dial(&a, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
	uint8_t ext[300];
	size_t ext_len = ob__frame_ext_put(ext, 0, sizeof(ext), OB__FRAME_EXT_METHOD, payload, 200);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct ob__frame f = {
			.kind = OB__FRAME_REQUEST,
			.call = i + 1,
			.hops = 4,
			.ext = ext,
			.ext_len = (uint16_t)ext_len,
			.payload = payload,
			.payload_len = (uint32_t)sizes[i],
		};
		CU_ASSERT_EQUAL(ob__peer_send(a.links, rig_peer(&a, "route_1"), &f), 0);
		CU_ASSERT_EQUAL(f.len, 64 + ext_len + sizes[i]);
		if (i % 3 == 2) { /* some go out alone, some together */
			CU_ASSERT_TRUE(RIG_UNTIL(a.frames == i + 1));
			CU_ASSERT_EQUAL(a.last.payload_len, sizes[i]);
		}
	}
	CU_ASSERT_TRUE(RIG_UNTIL(a.frames == sizeof(sizes) / sizeof(sizes[0])));
	CU_ASSERT_TRUE(a.in_order && b.in_order);
	CU_ASSERT_EQUAL(a.last.hops, 3);
	CU_ASSERT_EQUAL(a.last.budget, 77);
	CU_ASSERT_EQUAL(a.last.ext_len, ext_len);
	struct ob__frame big = {.kind = OB__FRAME_PUSH, .payload = payload};
	big.payload_len = (1u << 20) + (4u << 10) - 63;
	CU_ASSERT_EQUAL(ob__peer_send(a.links, rig_peer(&a, "route_1"), &big), OB_E_TOO_BIG);
	rig_stop(&a);
	rig_stop(&b);
	rig_end();
	free(payload);
}

/* Why two nodes don't come together, and what each of them counts. */
static const struct {
	const char *name, *role, *token, *own_token, *expected_role;
	const char *dialer_counts, *acceptor_counts;
	const char *says; /* within the entry's error */
} refusals[] = {
	/* another token */
	{"proxy_1", "proxy", "some other token", NULL, NULL, "refused", "wrong_token",
         "wrong token"},
	/* the right one for this entry, another one at home */
	{"proxy_1", "proxy", "some other token", "what it accepts itself", NULL, "refused",
         "wrong_token", "wrong token"},
	/* its own name */
	{"route_1", "route", RIG_TOKEN, NULL, NULL, "refused", "self", "route_1"},
	/* not the role that was expected */
	{"proxy_1", "proxy", RIG_TOKEN, NULL, "service", "role", "refused", "service"},
	/* two role words with one number */
	{"x", "role801110", RIG_TOKEN, NULL, NULL, "refused", "role_collision", "role801110"},
};

static void test_refusals(void)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		uint32_t id;
		struct ob__links_options o = {.token = refusals[i].own_token};
		rig_begin();
		rig_start(&a, refusals[i].name, refusals[i].role, 1, 0, &o);
		rig_start(&b, "route_1", "route", 2, 0, NULL);
		ob__registry_role(&b.registry, "role6919", &id);
		struct ob__remote_options r = {.host = "127.0.0.1",
		                               .port = b.port,
		                               .token = refusals[i].token,
		                               .role = refusals[i].expected_role};
		CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), 0);
		CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, refusals[i].dialer_counts) >= 2 &&
		                         rig_closed(&b, refusals[i].acceptor_counts) >= 2));
		CU_ASSERT_PTR_NOT_NULL(strstr(rig_remotes(&a).error, refusals[i].says));
		CU_ASSERT_PTR_NULL(strstr(rig_remotes(&a).error, refusals[i].token));
		CU_ASSERT_EQUAL(a.ups + b.ups, 0);
		CU_ASSERT_EQUAL(a.registry.count + b.registry.count, 0);
		rig_stop(&a);
		rig_stop(&b);
		rig_end();
	}
}

static void test_bad_options(void)
{
	static const struct ob__links_ops ops;
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
	struct ob__links_options o = {.token = "fifteen letters"};
	CU_ASSERT_PTR_NULL(ob__links_new(&rig_streams, &a.registry, a.stats, &o, &ops, NULL));
	struct ob__remote_options r = {.host = "127.0.0.1", .port = 1, .token = "short"};
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), -EINVAL);
	r = (struct ob__remote_options){.host = "127.0.0.1", .port = 65536};
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), -EINVAL);
	r = (struct ob__remote_options){.port = 1};
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), -EINVAL);
	r = (struct ob__remote_options){.path = "/nowhere/at/all", .role = "route"};
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), 0);
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), -EEXIST);
	CU_ASSERT_TRUE(ob__links_dials_role(a.links, "route"));
	CU_ASSERT_FALSE(ob__links_dials_role(a.links, "service"));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "unreachable") > 1));
	CU_ASSERT_TRUE(rig_remotes(&a).error[0] != '\0');
	rig_stop(&a);
	rig_end();
}

/* A node that accepts nobody may still dial with a token of the entry's. */
static void test_no_token(void)
{
	static const struct ob__links_ops ops = {
		.on_up = rig_on_up,
		.on_down = rig_on_down,
		.on_frame = rig_on_frame,
		.on_lost = rig_on_lost,
		.on_drained = rig_on_drained,
	};
	struct ob__links_options none = {0};
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
	rig_start(&b, "route_1", "route", 1, 0, NULL);
	ob__links_free(a.links);
	a.links = ob__links_new(&rig_streams, &a.registry, a.stats, &none, &ops, &a);
	rig_dial(&b, a.port);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "no_token") > 0));
	struct ob__remote_options r = {.host = "127.0.0.1", .port = b.port};
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), -EINVAL);
	r.token = RIG_TOKEN;
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
	rig_stop(&a);
	rig_stop(&b);
	rig_end();
}

/* ---------------------------------------------------------------- dialling */

static void test_dials_again(void)
{
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
	rig_start(&b, "route_1", "route", 1, 0, NULL);
	int port = b.port;
	rig_stop(&b);
	rig_dial(&a, port);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "unreachable") == 2));
	rig_start(&b, "route_1", "route", 2, port, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
	rig_stop(&b); /* and it starts again, with another incarnation and role */
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	CU_ASSERT_TRUE(rig_peer(&a, "route_1")->last_error[0] != '\0');
	rig_start(&b, "route_1", "router", 3, port, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
	CU_ASSERT_EQUAL(a.ups, 2);
	CU_ASSERT_EQUAL(rig_peer(&a, "route_1")->who.incarnation, 3);
	CU_ASSERT_STRING_EQUAL(rig_peer(&a, "route_1")->who.role, "router");
	CU_ASSERT_EQUAL(a.registry.count, 1);
	rig_stop(&a);
	rig_stop(&b);
	rig_end();
}

/* One node under two addresses: one link, and the other entry takes over when its turn comes. */
static void test_covered(void)
{
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
	rig_start(&b, "route_1", "route", 1, 0, NULL);
	rig_dial(&a, b.port);
	struct ob__remote_options r = {.host = "two.test", .port = b.port}; /* is looked up */
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_states_are(&a, "uC")));
	CU_ASSERT_STRING_EQUAL(rig_remotes(&a).name, "route_1");
	CU_ASSERT_EQUAL(a.ups, 1);
	ob__links_retain(a.links, &r, 1); /* takes the other entry out, and its link down */
	CU_ASSERT_EQUAL(a.downs, 1);
	CU_ASSERT_TRUE(rig_states_are(&a, "w"));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_states_are(&a, "u")));
	CU_ASSERT_EQUAL(a.ups, 2);
	r.token = "a token that is new"; /* so is another one for the same address */
	ob__links_retain(a.links, &r, 1);
	CU_ASSERT_TRUE(rig_states_are(&a, ""));
	CU_ASSERT_EQUAL(a.downs, 2);
	rig_stop(&a);
	rig_stop(&b);
	rig_end();
}

/* A link that has worked for a while is dialled again at once when it breaks. */
static void test_at_once(void)
{
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
	rig_start(&b, "route_1", "route", 1, 0, NULL);
	int port = b.port;
	rig_stop(&b);
	rig_dial(&a, port);
	CU_ASSERT_TRUE(
		RIG_UNTIL(rig_closed(&a, "unreachable") == 4)); /* waits for 640 ms or more */
	rig_start(&b, "route_1", "route", 1, port, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
	rig_turn_ms(1050);
	ob__peer_close(b.links, rig_peer(&b, "proxy_1"), "for a test");
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	uint64_t down = ob__loop_hrtime_us();
	CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - down < 600000);
	/* and one that breaks at once is not, or two nodes would do nothing else */
	ob__peer_close(b.links, rig_peer(&b, "proxy_1"), "for a test");
	down = ob__loop_hrtime_us();
	CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - down > 75000);
	rig_stop(&a);
	rig_stop(&b);
	rig_end();
}

static void test_unknown_host(void)
{
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
	struct ob__remote_options r = {.host = "no-such-host.invalid", .port = 1};
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &r), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_remotes(&a).error[0] != '\0'));
	pthread_mutex_lock(&resolver);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_states_are(&a, "r"))); /* resolving again */
	rig_stop(&a);                                       /* in the middle of it */
	ob__loop_turn(rig_loop);
	pthread_mutex_unlock(&resolver);
	rig_end();
}

/* A third node, so that two links of one node are not mixed up. */
static void test_three(void)
{
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
	rig_start(&b, "route_1", "route", 1, 0, NULL);
	rig_start(&c, "service_1", "service", 1, 0, NULL);
	rig_dial(&a, b.port);
	rig_dial(&c, b.port);
	rig_dial(&a, c.port);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 2 && b.ups == 2 && c.ups == 2));
	ob__peer_close(b.links, rig_peer(&b, "service_1"), "for a test");
	CU_ASSERT_STRING_EQUAL(rig_peer(&b, "service_1")->last_error, "for a test");
	CU_ASSERT_TRUE(RIG_UNTIL(b.ups == 3 && c.ups == 3));
	CU_ASSERT_EQUAL(a.downs, 0);
	CU_ASSERT_EQUAL(b.downs, 1);
	CU_ASSERT_EQUAL(c.downs, 1);
	rig_stop(&a);
	rig_stop(&b);
	rig_stop(&c);
	rig_end();
}

/* ---------------------------------------------------------------- both dial */

/* Both nodes send numbered frames from the moment they are up. */
static void chatter(unsigned turns)
{
	for (unsigned i = 0; i < turns; i++) {
		if (rig_link(&a, b.name) != NULL) {
			rig_send(&a, b.name, "ab", 2);
			rig_send(&a, b.name, "abc", 3);
		}
		if (rig_link(&b, a.name) != NULL) {
			rig_send(&b, a.name, "ba", 2);
		}
		ob__loop_turn(rig_loop);
	}
}

/* One link, and the other node's entry waits for it to go. */
static bool pair_settled(void)
{
	return rig_states_are(&a, rig_states_are(&b, "u") ? "C" : "u") &&
	       rig_states_are(&b, rig_states_are(&a, "u") ? "C" : "u");
}

/* `head`: how many turns the first dialler is ahead.  Returns how many links were left with a
 * FENCE. */
static uint64_t dial_both(struct rig_node *first, struct rig_node *second, unsigned head)
{
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
	rig_start(&b, "route_1", "route", 1, 0, NULL);
	rig_dial(first, second->port);
	chatter(head);
	rig_dial(second, first->port);
	chatter(100);
	CU_ASSERT_TRUE(RIG_UNTIL(both_up() && pair_settled()));
	CU_ASSERT_TRUE(RIG_UNTIL(a.heard == b.sent && b.heard == a.sent));
	CU_ASSERT_TRUE(a.in_order && b.in_order);
	CU_ASSERT_TRUE(a.sent > 50 && b.sent > 25);
	CU_ASSERT_EQUAL(a.ups, 1);
	CU_ASSERT_EQUAL(b.ups, 1);
	CU_ASSERT_EQUAL(a.downs + b.downs, 0);
	/* both mean the same link, the one with the other's numbers in it */
	CU_ASSERT_NOT_EQUAL(rig_link(&a, b.name)->dialer, rig_link(&b, a.name)->dialer);
	CU_ASSERT_EQUAL(rig_link(&a, b.name)->held.len + rig_link(&b, a.name)->held.len, 0);
	CU_ASSERT_TRUE(
		RIG_UNTIL(rig_link(&a, b.name)->old == NULL && rig_link(&b, a.name)->old == NULL));
	CU_ASSERT_EQUAL(a.gaps + b.gaps, 0);
	/* when it goes, the covered entry dials as well, and one link comes of it again */
	ob__peer_close(a.links, rig_peer(&a, b.name), "for a test");
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 2 && b.ups == 2 && both_up()));
	CU_ASSERT_TRUE(RIG_UNTIL(pair_settled()));
	uint64_t left = rig_closed(&a, "left") + rig_closed(&b, "left");
	rig_stop(&a);
	rig_stop(&b);
	rig_end();
	return left;
}

static void test_both_dial(void)
{
	uint64_t left = 0;
	for (unsigned head = 0; head < 14; head++) {
		left += dial_both(&a, &b, head);
		left += dial_both(&b, &a, head);
	}
	CU_ASSERT_TRUE(left > 0); /* or the fence was not tested */
}

/* ---------------------------------------------------------------- names */

static void test_same_name_twice(void)
{
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
	rig_start(&b, "route_1", "route", 1, 0, NULL);
	rig_start(&c, "proxy_1", "proxy", 2, 0, NULL);
	rig_dial(&a, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
	rig_dial(&c, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&b, "name_taken") >= 2));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&c, "refused") >= 2));
	/* it names the live one's address, and its own */
	struct rig_remotes r = rig_remotes(&c);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.error, rig_peer(&b, "proxy_1")->address));
	CU_ASSERT_PTR_NOT_NULL(strstr(r.error, "you are at 127.0.0.1:"));
	rig_turn_ms(1300); /* the live one answers, so it stays */
	CU_ASSERT_TRUE(both_up());
	CU_ASSERT_EQUAL(b.downs + c.ups, 0);
	CU_ASSERT_EQUAL(rig_peer(&b, "proxy_1")->who.incarnation, 1);
	rig_stop(&a); /* now the name is free */
	CU_ASSERT_TRUE(RIG_UNTIL(c.ups == 1));
	CU_ASSERT_EQUAL(rig_peer(&b, "proxy_1")->who.incarnation, 2);
	rig_stop(&b);
	rig_stop(&c);
	rig_end();
}

/* ---------------------------------------------------------------- callbacks that close */

static void close_peer(struct rig_node *n, struct ob__link *link, struct ob__frame *f, uint8_t *raw)
{
	CU_ASSERT_PTR_NOT_NULL(raw);
	CU_ASSERT_EQUAL(f->call, 1);
	ob__peer_close(n->links, link->peer, "seen enough");
}

static void free_all(struct rig_node *n, struct ob__link *link, struct ob__frame *f, uint8_t *raw)
{
	CU_ASSERT_PTR_NOT_NULL(link);
	CU_ASSERT_PTR_NOT_NULL(raw);
	CU_ASSERT_EQUAL(f->call, 1);
	ob__links_free(n->links);
	n->links = NULL;
}

/* Many frames arrive in one read, and the first one's callback closes the link, or everything. */
static void test_close_within_a_read(void)
{
	for (int i = 0; i < 2; i++) {
		rig_begin();
		rig_start(&a, "proxy_1", "proxy", 1, 0, NULL);
		rig_start(&b, "route_1", "route", 1, 0, NULL);
		b.on_frame = i == 0 ? close_peer : free_all;
		rig_dial(&a, b.port);
		CU_ASSERT_TRUE(RIG_UNTIL(both_up()));
		for (int k = 0; k < 100; k++) {
			CU_ASSERT_EQUAL(rig_send(&a, "route_1", "x", 1), 0);
		}
		CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
		CU_ASSERT_EQUAL(b.frames, 1);
		CU_ASSERT_EQUAL(b.downs, i == 0 ? 1 : 0);
		rig_stop(&a);
		rig_stop(&b);
		rig_end();
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("link", NULL, NULL);
	CU_add_test(s, "up, frames, down", test_up);
	CU_add_test(s, "frames of all sizes", test_sizes);
	CU_add_test(s, "refusals", test_refusals);
	CU_add_test(s, "bad options", test_bad_options);
	CU_add_test(s, "no token of one's own", test_no_token);
	CU_add_test(s, "dials again", test_dials_again);
	CU_add_test(s, "two entries, one node", test_covered);
	CU_add_test(s, "at once", test_at_once);
	CU_add_test(s, "unknown host", test_unknown_host);
	CU_add_test(s, "three nodes", test_three);
	CU_add_test(s, "both dial", test_both_dial);
	CU_add_test(s, "same name twice", test_same_name_twice);
	CU_add_test(s, "a callback closes", test_close_within_a_read);
	return ob__tap_run();
}
