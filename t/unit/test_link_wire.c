/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/many.h"
#include "link_rig.h"
#include "mesh/link_priv.h"
#include "mesh/pending.h"
#include "unit/files.h"

static struct rig_node a;
static struct puppet p;
static struct puppet q;

static void begin(const struct ob__links_options *options)
{
	rig_begin();
	rig_start(&a, "route_1", "route", 1, 0, options);
}

static void end(void)
{
	rig_stop(&a);
	rig_end();
}

static const struct ob__frame push = {.kind = OB__FRAME_PUSH, .id = 5, .call = 1};

/* ---------------------------------------------------------------- the handshake */

static void test_join(void)
{
	begin(NULL);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	CU_ASSERT_EQUAL(p.theirs.id, ob__node_id("route_1"));
	CU_ASSERT_STRING_EQUAL(p.theirs.role, "route");
	CU_ASSERT_EQUAL(a.ups, 1);
	puppet_say(&p, push);
	CU_ASSERT_TRUE(RIG_UNTIL(a.frames == 1));
	puppet_close(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	CU_ASSERT_EQUAL(rig_closed(&a, "ended"), 1);
	end();
}

/* The whole conversation a byte at a time, then many frames at once in two halves. */
static void test_in_pieces(void)
{
	begin(NULL);
	p.fd = -1;
	puppet_init(&p, puppet_socket(a.port, 0), "proxy_1", "proxy", 9, RIG_TOKEN);
	p.dialer = true;
	uint8_t wire[OB__FRAME_HEADER + OB__HELLO_MAX];
	uint8_t payload[OB__HELLO_MAX];
	struct ob__frame f = {.kind = OB__FRAME_HELLO, .status = OB__HELLO_DIALER};
	f.payload_len = (uint32_t)ob__hello_put(&p.mine, payload, sizeof(payload));
	ob__frame_put_header(wire, &f);
	memcpy(wire + OB__FRAME_HEADER, payload, f.payload_len);
	for (size_t i = 0; i < OB__FRAME_HEADER + f.payload_len; i++) {
		puppet_write(&p, wire + i, 1);
		ob__loop_turn(rig_loop);
	}
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_ACCEPTOR));
	puppet_prove(&p);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_WELCOME));
	static uint8_t many[3000];
	size_t len = 0;
	for (uint64_t call = 1; len + 100 < sizeof(many); call++) {
		struct ob__frame one = {.kind = OB__FRAME_PUSH, .call = call, .src = p.mine.id};
		one.payload_len = (uint32_t)(call % 7);
		ob__frame_put_header(many + len, &one);
		len += OB__FRAME_HEADER + one.payload_len;
	}
	for (size_t i = 0; i < len / 2; i++) {
		puppet_write(&p, many + i, 1);
		ob__loop_turn(rig_loop);
	}
	puppet_write(&p, many + len / 2, len - len / 2);
	CU_ASSERT_TRUE(RIG_UNTIL(a.frames >= len / 70));
	rig_turn_ms(5);
	CU_ASSERT_TRUE(a.in_order);
	CU_ASSERT_EQUAL(rig_link(&a, "proxy_1")->in.len, 0); /* nothing is kept, and little room */
	CU_ASSERT_TRUE(rig_link(&a, "proxy_1")->in.cap <= 8192);
	puppet_close(&p);
	end();
}

/* What an unauthenticated caller may not do: a frame, or bytes as they are. */
static const struct {
	const char *counted;
	struct ob__frame frame; /* kind 0: the bytes */
	const char *bytes;
	size_t len;
} strangers[] = {
	/* something else speaks there */
	{"too_big", {0}, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35},
	{"too_big", {0}, "\xff\xff\xff\xff", 4},
	{"too_big", {0}, "\x01\x02\x00\x00", 4},   /* 513 bytes */
	{"bad_frame", {0}, "\x3f\x00\x00\x00", 4}, /* shorter than a header */
	{"bad_frame", {0}, "\x00\x00\x00\x00", 4},
	/* a frame that only a member may send */
	{"not_hello", {.kind = OB__FRAME_PUSH}, NULL, 0},
	{"not_hello", {.kind = OB__FRAME_REQUEST}, NULL, 0},
	{"not_hello", {.kind = OB__FRAME_SYSTEM, .id = OB__SYS_PING}, NULL, 0},
	{"bad_frame", {.kind = 77}, NULL, 0},
	{"version", {.kind = OB__FRAME_HELLO, .version = 2}, NULL, 0},
	/* the hello's steps out of order */
	{"out_of_step", {.kind = OB__FRAME_HELLO, .status = OB__HELLO_ACCEPTOR}, NULL, 0},
	{"out_of_step", {.kind = OB__FRAME_HELLO, .status = OB__HELLO_PROOF}, NULL, 0},
	{"out_of_step", {.kind = OB__FRAME_HELLO, .status = OB__HELLO_WELCOME}, NULL, 0},
	{"out_of_step", {.kind = OB__FRAME_HELLO, .status = 200}, NULL, 0},
	/* a hello without a content */
	{"bad_hello", {.kind = OB__FRAME_HELLO, .status = OB__HELLO_DIALER}, NULL, 0},
	/* it refuses before anything was said */
	{"refused",
         {.kind = OB__FRAME_HELLO,
          .status = OB__HELLO_REFUSED,
          .payload = (const uint8_t *)"a\nforged\x1b[2Jline",
          .payload_len = 16},
         NULL,
         0},
};

static void test_strangers(void)
{
	begin(NULL);
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		uint64_t before = rig_closed(&a, strangers[i].counted);
		puppet_init(&p, puppet_socket(a.port, 0), "x", "y", 1, RIG_TOKEN);
		if (strangers[i].bytes != NULL) {
			puppet_write(&p, strangers[i].bytes, 2);
			ob__loop_turn(rig_loop);
			puppet_write(&p, strangers[i].bytes + 2, strangers[i].len - 2);
		} else {
			puppet_say(&p, strangers[i].frame);
		}
		CU_ASSERT_TRUE(puppet_hears_end(&p));
		CU_ASSERT_EQUAL(rig_closed(&a, strangers[i].counted), before + 1);
		puppet_close(&p);
	}
	CU_ASSERT_EQUAL(a.ups, 0);
	CU_ASSERT_EQUAL(a.registry.count, 0);
	end();
}

/* What a member may not do. */
static const struct {
	const char *counted;
	struct ob__frame frame;
	const char *bytes;
	size_t len;
} members[] = {
	{"second_hello", {.kind = OB__FRAME_HELLO, .status = OB__HELLO_DIALER}, NULL, 0},
	{"second_hello", {.kind = OB__FRAME_HELLO, .status = OB__HELLO_REFUSED}, NULL, 0},
	{"too_big", {0}, "\x01\x10\x00\x00", 4}, /* one byte more than max_frame */
	{"too_big", {0}, "\xff\xff\xff\x7f", 4},
	{"bad_frame", {0}, "\x0a\x00\x00\x00", 4},
	{"bad_frame", {.kind = 0}, NULL, 0},
	{"version", {.kind = OB__FRAME_PUSH, .version = 9}, NULL, 0},
	/* in the name of somebody else */
	{"bad_frame", {.kind = OB__FRAME_REQUEST, .flags = OB__FRAME_MANY, .dst = 1}, NULL, 0},
	{"bad_frame",
         {.kind = OB__FRAME_REPLY,
          .flags = OB__FRAME_MANY,
          .payload = (const uint8_t *)"1234567\0\2\0\0\0x",
          .payload_len = 13},
         NULL,
         0},
	{"bad_frame",
         {.kind = OB__FRAME_PUSH,
          .flags = OB__FRAME_MANY,
          .payload = (const uint8_t *)"1234567\0\1\0\0\0x",
          .payload_len = 13},
         NULL,
         0},
	{"source", {.kind = OB__FRAME_PUSH, .src = 77}, NULL, 0},
	{"source", {.kind = OB__FRAME_REPLY, .src = 77, .dst = 1}, NULL, 0},
	{"source", {.kind = OB__FRAME_REQUEST, .src = 77, .dst = 1}, NULL, 0},
	{"source",
         {.kind = OB__FRAME_SYSTEM, .id = OB__SYS_DRAINING, .src = 77, .dst = 1},
         NULL,
         0},
	{"source", {.kind = OB__FRAME_SYSTEM, .id = OB__SYS_PING, .src = 77}, NULL, 0},
	{"source",
         {.kind = OB__FRAME_SYSTEM, .id = OB__SYS_PART, .src = 77, .call = 99999},
         NULL,
         0},
};

static void test_members(void)
{
	struct ob__links_options o = {.max_frame = 4096};
	begin(&o);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
		puppet_say(&p, push);
		if (members[i].bytes != NULL) {
			puppet_write(&p, members[i].bytes, members[i].len);
		} else {
			puppet_say(&p, members[i].frame);
		}
		puppet_say(&p, push); /* comes too late */
		CU_ASSERT_TRUE(puppet_hears_end(&p));
		CU_ASSERT_EQUAL(a.frames, i + 1);
		CU_ASSERT_EQUAL(a.downs, (int)i + 1);
		CU_ASSERT_TRUE(rig_closed(&a, members[i].counted) > 0);
		puppet_close(&p);
	}
	end();
}

/* A route node brings what others send, but what is between the two ends of a link is its own. */
static void test_source(void)
{
	begin(NULL);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "route_2", "route", 9, RIG_TOKEN));
	puppet_say(&p, (struct ob__frame){.kind = OB__FRAME_REPLY, .src = 77, .dst = 1});
	puppet_say(&p, (struct ob__frame){
			       .kind = OB__FRAME_SYSTEM, .id = OB__SYS_KICK, .src = 77, .dst = 1});
	CU_ASSERT_TRUE(RIG_UNTIL(a.frames == 2));
	CU_ASSERT_EQUAL(a.last.src, 77);
	puppet_say(&p, (struct ob__frame){
			       .kind = OB__FRAME_SYSTEM, .id = OB__SYS_MEMBER_BEAT, .src = 77});
	CU_ASSERT_TRUE(puppet_hears_end(&p));
	CU_ASSERT_EQUAL(rig_closed(&a, "source"), 1);
	CU_ASSERT_EQUAL(a.frames, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig_peer(&a, "route_2")->last_error, "000000000000004d"));
	puppet_close(&p);
	end();
}

static void test_versions(void)
{
	begin(NULL);
	puppet_init(&p, puppet_socket(a.port, 0), "proxy_1", "proxy", 9, RIG_TOKEN);
	p.mine.version_min = 2;
	p.mine.version_max = 3;
	puppet_introduce(&p, OB__HELLO_DIALER);
	struct ob__frame f;
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.status == OB__HELLO_REFUSED);
	CU_ASSERT_EQUAL(rig_closed(&a, "version"), 1);
	puppet_close(&p);
	puppet_init(&p, puppet_socket(a.port, 0), "proxy_1", "proxy", 9, RIG_TOKEN);
	p.mine.version_max = 3; /* newer, and speaks ours as well */
	p.dialer = true;
	puppet_introduce(&p, OB__HELLO_DIALER);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_ACCEPTOR));
	puppet_prove(&p);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_WELCOME));
	puppet_close(&p);
	end();
}

/* The node itself proves nothing to one who can't: neither its own MAC sent back, nor the proof of
 * another conversation, nor one made with another token. */
static void test_false_proofs(void)
{
	uint8_t old[OB__HELLO_MAC];
	begin(NULL);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	ob__hello_mac(p.key, 'D', &p.mine, &p.theirs, NULL, 0, old);
	puppet_close(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	for (uint64_t i = 1; i <= 4; i++) {
		uint8_t nonce[OB__HELLO_NONCE];
		uint8_t mac[OB__HELLO_MAC];
		memcpy(nonce, p.mine.nonce, sizeof(nonce));
		puppet_begin(&q, &a, "proxy_1", "proxy", 9, RIG_TOKEN);
		if (i == 1) { /* replay: the same hello again, and the proof that was right then */
			puppet_close(&q);
			puppet_init(&q, puppet_socket(a.port, 0), "proxy_1", "proxy", 9, RIG_TOKEN);
			q.dialer = true;
			memcpy(q.mine.nonce, nonce, sizeof(nonce));
			puppet_introduce(&q, OB__HELLO_DIALER);
		}
		CU_ASSERT_TRUE(puppet_hears_step(&q, OB__HELLO_ACCEPTOR));
		memcpy(mac, old, sizeof(mac));
		if (i == 2) { /* the acceptor's side of it */
			ob__hello_mac(q.key, 'A', &q.mine, &q.theirs, NULL, 0, mac);
		} else if (i == 3) { /* one bit */
			ob__hello_mac(q.key, 'D', &q.mine, &q.theirs, NULL, 0, mac);
			mac[31] ^= 1;
		}
		puppet_say_step(&q, OB__HELLO_PROOF, mac, i == 4 ? 31 : sizeof(mac));
		struct ob__frame f;
		CU_ASSERT_TRUE(puppet_hear(&q, &f) && f.status == OB__HELLO_REFUSED);
		CU_ASSERT_TRUE(puppet_hears_end(&q));
		CU_ASSERT_EQUAL(rig_closed(&a, "wrong_token"), i);
		puppet_close(&q);
	}
	CU_ASSERT_EQUAL(a.ups, 1);
	end();
}

/* A node that dials one who does not know the token, and reflects what it is told. */
static void test_false_acceptor(void)
{
	int port;
	begin(NULL);
	int listener = puppet_listen(&port);
	rig_dial(&a, port);
	for (uint64_t i = 1; i <= 3; i++) {
		struct ob__frame f;
		puppet_init(&p, puppet_accept(listener), "proxy_1", "proxy", 9, RIG_TOKEN);
		CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_DIALER));
		puppet_introduce(&p, OB__HELLO_ACCEPTOR);
		CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.status == OB__HELLO_PROOF);
		uint8_t mac[OB__HELLO_MAC];
		memcpy(mac, f.payload, sizeof(mac)); /* its own proof back */
		puppet_say_step(&p, i == 1 ? OB__HELLO_PROOF : OB__HELLO_WELCOME, mac,
		                i == 3 ? 0 : sizeof(mac));
		CU_ASSERT_TRUE(puppet_hears_end(&p));
		puppet_close(&p);
	}
	CU_ASSERT_EQUAL(rig_closed(&a, "wrong_token"), 2);
	CU_ASSERT_EQUAL(rig_closed(&a, "out_of_step"), 1);
	CU_ASSERT_EQUAL(a.ups, 0);
	/* and it is never reflected onto itself */
	puppet_init(&p, puppet_accept(listener), "proxy_1", "proxy", 9, RIG_TOKEN);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_DIALER));
	p.mine = p.theirs;
	puppet_introduce(&p, OB__HELLO_ACCEPTOR);
	CU_ASSERT_TRUE(puppet_hears_end(&p));
	CU_ASSERT_EQUAL(rig_closed(&a, "self"), 1);
	puppet_close(&p);
	close(listener);
	end();
}

static void test_crowd(void)
{
	static int fds[300];
	struct ob__links_options o = {.max_hello = 8, .hello_ms = 300};
	begin(&o);
	for (int i = 0; i < 300; i++) {
		fds[i] = puppet_socket(a.port, 0);
		send(fds[i], "\x40\x00\x00\x00 garbage", 12, MSG_NOSIGNAL);
		ob__loop_turn(rig_loop);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "crowded") == 292));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "hello_timeout") == 8));
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	for (int i = 0; i < 300; i++) {
		close(fds[i]);
	}
	puppet_close(&p);
	end();
}

/* ---------------------------------------------------------------- a working link */

static void test_ping_and_fence(void)
{
	struct ob__frame f;
	struct ob__links_options o = {.ping_ms = 40, .dead_ms = 20000};
	begin(&o);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	puppet_say_system(&p, OB__SYS_PING, 4711);
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.id == OB__SYS_PONG && f.call == 4711);
	puppet_say_system(&p, OB__SYS_FENCE, 0);
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.id == OB__SYS_FENCE_BACK);
	puppet_say_system(&p, OB__SYS_FENCE_BACK, 0);                /* to no fence: nothing */
	puppet_say_system(&p, OB__SYS_PONG, 1);                      /* to no ping: nothing */
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.id == OB__SYS_PING); /* silence */
	puppet_say_system(&p, OB__SYS_PONG, f.call + 1);
	puppet_say_system(&p, OB__SYS_PONG, f.call);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_link(&a, "proxy_1")->rtt_us > 0));
	CU_ASSERT_EQUAL(rig_link(&a, "proxy_1")->ping_sent, 0);
	puppet_say_system(&p, OB__SYS_KICK, 3); /* not a link's own: the floor above gets it */
	CU_ASSERT_TRUE(RIG_UNTIL(a.frames == 1));
	CU_ASSERT_EQUAL(a.last.id, OB__SYS_KICK);
	puppet_close(&p);
	end();
}

/* One peer answers pings and nothing more, the other says nothing. */
static void test_silence(void)
{
	struct ob__links_options o = {.ping_ms = 50, .dead_ms = 200};
	struct ob__frame f;
	begin(&o);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	CU_ASSERT_TRUE(puppet_join(&q, &a, "proxy_2", "proxy", 9, RIG_TOKEN));
	uint64_t start = ob__loop_hrtime_us();
	while (ob__loop_hrtime_us() - start < 600000) {
		if (puppet_poll(&p, &f) > 0 && f.id == OB__SYS_PING) {
			puppet_say_system(&p, OB__SYS_PONG, f.call);
		}
		ob__loop_turn(rig_loop);
	}
	CU_ASSERT_EQUAL(rig_closed(&a, "silent"), 1);
	CU_ASSERT_PTR_NOT_NULL(rig_link(&a, "proxy_1"));
	CU_ASSERT_PTR_NULL(rig_link(&a, "proxy_2"));
	CU_ASSERT_EQUAL(strncmp(rig_peer(&a, "proxy_2")->last_error, "silent for", 10), 0);
	CU_ASSERT_EQUAL(a.downs, 1);
	int got;
	do {
		errno = 0;
		got = puppet_poll(&q, &f);
	} while (got > 0);
	CU_ASSERT(got < 0 && errno == ECONNRESET); /* so that nothing comes late */
	puppet_close(&p);
	puppet_close(&q);
	end();
}

/* The link of a node that says hello again does not answer: the newcomer gets its place.  `again`:
 * the incarnation it says, 9 being the first one's. */
static void replace_frozen(uint64_t again, const char *counted)
{
	begin(NULL);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	CU_ASSERT_FALSE(puppet_join(&q, &a, "proxy_1", "proxy", again, RIG_TOKEN));
	CU_ASSERT_EQUAL(rig_closed(&a, counted), 1);
	puppet_close(&q);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "unanswered") == 1));
	CU_ASSERT_TRUE(puppet_join(&q, &a, "proxy_1", "proxy", again, RIG_TOKEN));
	CU_ASSERT_EQUAL(rig_peer(&a, "proxy_1")->who.incarnation, again);
	puppet_close(&p);
	puppet_close(&q);
	end();
}

static void test_frozen(void)
{
	replace_frozen(10, "name_taken"); /* the node has started anew, or has a namesake */
	replace_frozen(8, "name_taken");  /* its clock went back */
	replace_frozen(9, "duplicate");   /* it has lost the link, and we did not see it */
}

/* The node was stopped for a while: nobody is blamed for the silence. */
static void test_slept(void)
{
	struct ob__links_options o = {.ping_ms = 50, .dead_ms = 150};
	struct ob__frame f;
	begin(&o);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	uint64_t start = ob__loop_hrtime_us();
	while (ob__loop_hrtime_us() - start < 400000) {
		/* the loop stands still */
	}
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.id == OB__SYS_PING);
	CU_ASSERT_EQUAL(a.downs, 0);
	puppet_say_system(&p, OB__SYS_PONG, f.call);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_link(&a, "proxy_1")->ping_sent == 0));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "silent") == 1)); /* but now */
	puppet_close(&p);
	end();
}

/* Who has not the token can neither probe nor take a name. */
static void test_stranger_takes_no_name(void)
{
	begin(NULL);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	CU_ASSERT_FALSE(puppet_join(&q, &a, "proxy_1", "proxy", 10, "some other token"));
	CU_ASSERT_EQUAL(rig_closed(&a, "wrong_token"), 1);
	CU_ASSERT_EQUAL(rig_link(&a, "proxy_1")->ping_sent, 0);
	puppet_close(&p);
	puppet_close(&q);
	end();
}

/* ---------------------------------------------------------------- bounds and loss */

static struct ob__pendings pendings;
static uint8_t ended[4096]; /* by id: 1 maybe sent, 2 not sent, 3 anything else */

static void on_end(void *arg, struct ob__pending *e, const struct ob__end *end)
{
	CU_ASSERT_PTR_NULL(arg);
	CU_ASSERT_EQUAL(ended[e->id], 0);
	ended[e->id] = end->code == OB_E_MAYBE_SENT ? 1 : (end->code == OB_E_NOT_SENT ? 2 : 3);
}

static void end_pendings(struct rig_node *n, struct ob__link *link)
{
	CU_ASSERT_PTR_NOT_NULL(n);
	ob__pending_link_lost(link);
	CU_ASSERT_TRUE(ob__list_empty(&link->pendings));
}

static void begin_pendings(void)
{
	memset(ended, 0, sizeof(ended));
	ob__pendings_init(&pendings, rig_loop, sizeof(ended), on_end, NULL);
	a.on_lost = end_pendings;
}

static int request(const char *to, uint32_t id, size_t len)
{
	static uint8_t payload[32768];
	struct ob__peer *peer = rig_peer(&a, to);
	struct ob__frame f = {
		.kind = OB__FRAME_REQUEST,
		.id = id,
		.payload = payload,
		.payload_len = (uint32_t)len,
	};
	struct ob__pending *e = ob__pending_new(&pendings, OB__PENDING_CLIENT, 60000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	e->id = id;
	f.call = e->handle;
	int rc = ob__peer_send(a.links, peer, &f);
	if (rc < 0) {
		ob__pending_drop(e);
	} else {
		ob__pending_sent(e, peer->link, peer);
	}
	return rc;
}

/* Sends to a peer that does not read until the queue is full; how many went in. */
static uint32_t fill_queue(size_t len)
{
	uint32_t n = 0;
	while (n < sizeof(ended) - 1 && request("proxy_1", n + 1, len) == 0) {
		n++;
		ob__loop_turn(rig_loop);
	}
	return n;
}

static void join_slow(const char *name)
{
	puppet_init(&p, puppet_socket(a.port, 8192), name, "proxy", 9, RIG_TOKEN);
	p.dialer = true;
	puppet_introduce(&p, OB__HELLO_DIALER);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_ACCEPTOR));
	puppet_prove(&p);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_WELCOME));
}

static void test_bounds(void)
{
	struct ob__links_options o = {.high = 256u << 10, .hard = 1u << 20};
	begin(&o);
	begin_pendings();
	join_slow("proxy_1");
	struct ob__peer *peer = rig_peer(&a, "proxy_1");
	CU_ASSERT_FALSE(ob__peer_congested(peer));
	uint32_t n = fill_queue(30000);
	CU_ASSERT_TRUE(n > 30 && n < sizeof(ended) - 1);
	CU_ASSERT_TRUE(ob__peer_congested(peer));
	CU_ASSERT_TRUE(ob__peer_queued(peer) <= 1u << 20);
	CU_ASSERT_EQUAL(request("proxy_1", n + 1, 30000), OB_E_BUSY);
	static uint8_t raw[30064] = {0};
	ob__frame_put_header(
		raw, &(struct ob__frame){.kind = OB__FRAME_REPLY, .payload_len = sizeof(raw) - 64});
	uint32_t replies = 0; /* these have room left, but not for ever */
	while (replies < 1000 && ob__peer_forward(a.links, peer, raw, sizeof(raw)) == 0) {
		replies++;
	}
	CU_ASSERT_TRUE(replies > 14 && replies < 20);
	raw[OB__FRAME_OFF_KIND] = OB__FRAME_PUSH;
	CU_ASSERT_EQUAL(ob__peer_forward(a.links, peer, raw, sizeof(raw)), OB_E_BUSY);
	raw[OB__FRAME_OFF_KIND] = OB__FRAME_SYSTEM; /* and these some more */
	uint32_t more = 0;
	while (more < 1000 && ob__peer_forward(a.links, peer, raw, sizeof(raw)) == 0) {
		more++;
	}
	CU_ASSERT_TRUE(more > 14 && more < 20);
	uint64_t const *const *busy = (uint64_t const *const *)a.links->busy;
	CU_ASSERT_EQUAL(*busy[OB__FRAME_REQUEST], 2); /* the one that ended fill_queue(), too */
	CU_ASSERT_EQUAL(*busy[OB__FRAME_REPLY], 1);
	CU_ASSERT_EQUAL(*busy[OB__FRAME_PUSH], 1);
	CU_ASSERT_EQUAL(*busy[OB__FRAME_SYSTEM], 1);
	CU_ASSERT_EQUAL(a.drained, 0);
	struct ob__frame f;
	uint32_t heard = 0;
	while (heard < n + replies + more && puppet_hear(&p, &f)) {
		heard++;
		CU_ASSERT_EQUAL(f.kind, heard <= n             ? OB__FRAME_REQUEST
		                        : heard <= n + replies ? OB__FRAME_REPLY
		                                               : OB__FRAME_SYSTEM);
	}
	CU_ASSERT_EQUAL(heard, n + replies + more);
	CU_ASSERT_EQUAL(a.drained, 1);
	CU_ASSERT_EQUAL(request("proxy_1", n + 1, 30000), 0);
	puppet_close(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	ob__pendings_free(&pendings);
	end();
}

/* What hosts tell each other about time and about members does not wait for messages, keeps its own
 * order, and comes between two frames, never within one. */
static void test_overtaking(void)
{
	struct ob__links_options o = {.high = 1u << 20, .hard = 4u << 20};
	begin(&o);
	begin_pendings();
	join_slow("proxy_1");
	struct ob__peer *peer = rig_peer(&a, "proxy_1");
	uint32_t n = fill_queue(30000);
	static uint8_t payload[60000];
	for (uint32_t i = 0; i < 40; i++) {
		struct ob__frame f = {
			.kind = OB__FRAME_SYSTEM,
			.id = i % 3 == 0 ? OB__SYS_PONG : OB__SYS_MEMBER_DELTA,
			.call = i,
			.payload = payload,
			.payload_len = i % 5 == 0 ? sizeof(payload) : i,
		};
		CU_ASSERT_EQUAL(ob__peer_send(a.links, peer, &f), 0);
		struct ob__frame in_order = {.kind = OB__FRAME_SYSTEM, .id = OB__SYS_SERVED};
		CU_ASSERT_EQUAL(ob__peer_send(a.links, peer, &in_order), 0);
	}
	uint32_t requests = 0;
	uint32_t ahead = 0;
	uint32_t behind = 0;
	struct ob__frame f;
	while (requests + ahead + behind < n + 80 && puppet_hear(&p, &f)) {
		if (f.kind == OB__FRAME_REQUEST) {
			CU_ASSERT_EQUAL(f.id, ++requests);
			continue;
		}
		if (f.id == OB__SYS_SERVED) {
			CU_ASSERT_EQUAL(requests, n); /* this one says something about messages */
			behind++;
			continue;
		}
		CU_ASSERT_EQUAL(f.call, ahead);
		CU_ASSERT_EQUAL(f.payload_len, ahead % 5 == 0 ? sizeof(payload) : ahead);
		CU_ASSERT_TRUE(requests < n);
		ahead++;
	}
	CU_ASSERT_EQUAL(ahead, 40);
	CU_ASSERT_EQUAL(behind, 40);
	puppet_close(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	ob__pendings_free(&pendings);
	end();
}

/* A peer that asks and never reads the answers. */
static void test_unread_answers(void)
{
	struct ob__links_options o = {.high = 16u << 10, .hard = 64u << 10};
	static uint8_t pings[64 * 512];
	begin(&o);
	join_slow("proxy_1");
	for (size_t i = 0; i < sizeof(pings); i += 64) {
		ob__frame_put_header(pings + i, &(struct ob__frame){.kind = OB__FRAME_SYSTEM,
		                                                    .id = OB__SYS_PING,
		                                                    .src = p.mine.id});
	}
	for (int i = 0; i < 1000 && rig_closed(&a, "unread") == 0; i++) {
		puppet_write(&p, pings, sizeof(pings));
	}
	CU_ASSERT_EQUAL(rig_closed(&a, "unread"), 1);
	CU_ASSERT_EQUAL(a.downs, 1);
	puppet_close(&p);
	end();
}

/* The peer goes while requests wait, after it has read `first` of them: what it got is never said
 * to be unsent. */
static void vanish(uint32_t first)
{
	struct ob__links_options o = {.hard = 4u << 20};
	static uint8_t got[sizeof(ended)];
	memset(got, 0, sizeof(got));
	begin(&o);
	begin_pendings();
	join_slow("proxy_1");
	uv_os_fd_t fd;
	int small = 16384; /* so that writes are taken in part */
	fd = rig_link(&a, "proxy_1")->stream.sock.fd;
	CU_ASSERT(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	uint32_t n = fill_queue(30000);
	CU_ASSERT_TRUE(n > 100 && n < sizeof(ended) - 1);
	struct ob__frame f;
	for (uint32_t i = 0; i < first && puppet_hear(&p, &f); i++) {
		got[f.id] = 1;
	}
	shutdown(p.fd, SHUT_WR);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	CU_ASSERT_EQUAL(a.lost, 1);
	while (puppet_hear(&p, &f)) {
		CU_ASSERT_TRUE(f.id < sizeof(got));
		got[f.id] = 1;
	}
	uint32_t maybe = 0;
	uint32_t not = 0;
	for (uint32_t id = 1; id <= n; id++) {
		CU_ASSERT_TRUE(ended[id] == 1 || ended[id] == 2);
		CU_ASSERT_FALSE(ended[id] == 2 && got[id]);
		maybe += ended[id] == 1;
		not += ended[id] == 2;
		CU_ASSERT_FALSE(ended[id] == 1 && not > 0); /* the front is what may have gone */
	}
	CU_ASSERT_TRUE((maybe > 0 || first == 0) && maybe >= first && not > 0);
	CU_ASSERT_EQUAL(pendings.slab.live, 0);
	ob__pendings_free(&pendings);
	puppet_close(&p);
	end();
}

/* The more it reads, the more has gone out; of the last one only a part. */
static void test_vanishes(void)
{
	for (uint32_t first = 0; first < 12; first += 2) {
		vanish(first);
	}
}

/* ---------------------------------------------------------------- several messages in one frame */

static void shake_hands(uint32_t features)
{
	p.dialer = true;
	p.mine.features = features;
	puppet_introduce(&p, OB__HELLO_DIALER);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_ACCEPTOR));
	puppet_prove(&p);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_WELCOME));
}

static void join_many(uint32_t features)
{
	puppet_init(&p, puppet_socket(a.port, 0), "proxy_1", "proxy", 9, RIG_TOKEN);
	shake_hands(features);
}

static uint8_t of_one[OB__MANY_ITEM + 1];

/* One of a burst: number `n`, all of them alike. */
static int burst(uint32_t n, size_t len)
{
	struct ob__peer *peer = rig_peer(&a, "proxy_1");
	struct ob__frame f = {
		.kind = OB__FRAME_REQUEST,
		.id = 1000,
		.dst = peer->who.id,
		.call = n,
		.payload = of_one,
		.payload_len = (uint32_t)len,
	};
	memset(of_one, (int)n, sizeof(of_one));
	return ob__peer_send(a.links, peer, &f);
}

/* The numbers `from` to `to` come in one frame, each with its payload. */
static bool hears_burst(uint32_t from, uint32_t to, size_t len)
{
	struct ob__frame f;
	if (!puppet_hear(&p, &f) || ob__many_of(&f) != to - from + 1) {
		printf("# %u to %u: %u messages\n", from, to, ob__many_of(&f));
		return false;
	}
	if (from == to) {
		return f.call == from && f.payload_len == len;
	}
	for (struct ob__frame one = ob__many_begin(&f); ob__many_next(&one, &f); from++) {
		if (one.call != from || one.payload_len != len || one.id != 1000 ||
		    (len > 0 &&
		     (one.payload[0] != (uint8_t)from || one.payload[len - 1] != (uint8_t)from))) {
			return false;
		}
	}
	return from == to + 1;
}

static void test_shared(void)
{
	begin(NULL);
	join_many(OB__HELLO_MANY);
	struct ob__peer *peer = rig_peer(&a, "proxy_1");
	CU_ASSERT_EQUAL(p.theirs.features & OB__HELLO_MANY, OB__HELLO_MANY);
	uint64_t before = peer->link->frames_out;
	uint64_t traffic = peer->link->traffic;
	for (uint32_t n = 1; n <= 5; n++) {
		CU_ASSERT_EQUAL(burst(n, 5), 0);
	}
	CU_ASSERT_EQUAL(peer->link->frames_out, before + 1);
	CU_ASSERT_EQUAL(peer->link->traffic, traffic + 5);
	CU_ASSERT_EQUAL(ob__peer_queued(peer), OB__FRAME_HEADER + 5 * (OB__MANY_HEAD + 5));
	CU_ASSERT_TRUE(hears_burst(1, 5, 5));
	/* what is sent does not grow */
	CU_ASSERT_EQUAL(burst(6, 5), 0);
	ob__streams_flush(&rig_streams);
	CU_ASSERT_EQUAL(burst(7, 5), 0);
	CU_ASSERT_EQUAL(burst(8, 5), 0);
	CU_ASSERT_TRUE(hears_burst(6, 6, 5));
	CU_ASSERT_TRUE(hears_burst(7, 8, 5));
	/* nor what has another frame behind it, whatever that is */
	CU_ASSERT_EQUAL(burst(1, 0), 0);
	CU_ASSERT_EQUAL(burst(2, 0), 0);
	ob__link_probe(peer->link);
	CU_ASSERT_EQUAL(burst(3, 0), 0);
	struct ob__frame other = {.kind = OB__FRAME_PUSH, .id = 1000, .dst = peer->who.id};
	CU_ASSERT_EQUAL(ob__peer_send(a.links, peer, &other), 0);
	CU_ASSERT_EQUAL(burst(4, 0), 0);
	CU_ASSERT_EQUAL(burst(5, OB__MANY_ITEM + 1), 0); /* too large to be added */
	CU_ASSERT_EQUAL(burst(6, 1), 0);                 /* but that may be the first */
	uint8_t raw[OB__FRAME_HEADER];
	ob__frame_put_header(raw, &other);
	CU_ASSERT_EQUAL(ob__peer_forward(a.links, peer, raw, sizeof(raw)), 0);
	CU_ASSERT_EQUAL(burst(7, 1), 0);
	CU_ASSERT_EQUAL(burst(8, OB__MANY_ITEM), 0);
	struct ob__frame f;
	CU_ASSERT_TRUE(hears_burst(1, 2, 0));
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.id == OB__SYS_PING);
	CU_ASSERT_TRUE(hears_burst(3, 3, 0));
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.kind == OB__FRAME_PUSH);
	CU_ASSERT_TRUE(hears_burst(4, 4, 0));
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.many == 2);
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.kind == OB__FRAME_PUSH);
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.many == 2 &&
	               f.payload_len == 2 * OB__MANY_HEAD + 1 + OB__MANY_ITEM);
	puppet_close(&p);
	end();
}

/* The mark is that of the last frame afterwards, or stays. */
static bool add(struct ob__peer *peer, uint64_t mark, uint64_t call, const void *payload,
                size_t len)
{
	uint64_t now = mark;
	bool added = ob__peer_add(peer, &now, call, payload, len);
	CU_ASSERT_EQUAL(now, added ? ob__peer_mark(peer) : mark);
	return added;
}

/* Who does not say that it takes them gets each alone. */
static void test_not_shared(void)
{
	begin(NULL);
	join_many(OB__HELLO_PARTS);
	struct ob__peer *peer = rig_peer(&a, "proxy_1");
	for (uint32_t n = 1; n <= 3; n++) {
		CU_ASSERT_EQUAL(burst(n, 5), 0);
		CU_ASSERT_FALSE(add(peer, ob__peer_mark(peer), n, "x", 1));
	}
	for (uint32_t n = 1; n <= 3; n++) {
		CU_ASSERT_TRUE(hears_burst(n, n, 5));
	}
	puppet_close(&p);
	end();
}

/* No frame grows beyond the bound, nor beyond the largest of the node's own. */
static void test_shared_bounds(void)
{
	static const size_t max[] = {0, 5000};
	for (size_t i = 0; i < 2; i++) {
		struct ob__links_options o = {.max_frame = max[i]};
		size_t bound = max[i] != 0 ? max[i] : OB__MANY_BYTES;
		begin(&o);
		join_many(OB__HELLO_MANY);
		for (uint32_t n = 1; n <= 100; n++) {
			CU_ASSERT_EQUAL(burst(n, 200), 0);
		}
		uint32_t heard = 0;
		uint32_t frames = 0;
		struct ob__frame f;
		while (heard < 100 && puppet_hear(&p, &f)) {
			heard += ob__many_of(&f);
			frames++;
			CU_ASSERT_TRUE(f.len <= bound);
			CU_ASSERT_TRUE(heard == 100 || f.len + OB__MANY_HEAD + 200 > bound);
		}
		CU_ASSERT_EQUAL(heard, 100);
		CU_ASSERT_TRUE(frames < 6);
		puppet_close(&p);
		end();
	}
}

/* What is to be added names the frame it belongs to. */
static void test_marks(void)
{
	begin(NULL);
	join_many(OB__HELLO_MANY);
	struct ob__peer *peer = rig_peer(&a, "proxy_1");
	CU_ASSERT_FALSE(add(peer, ob__peer_mark(peer), 9, "x", 1)); /* to nothing */
	CU_ASSERT_EQUAL(burst(1, 1), 0);
	uint64_t first = ob__peer_mark(peer);
	CU_ASSERT_NOT_EQUAL(first, 0);
	CU_ASSERT_FALSE(add(peer, 0, 9, "x", 1));
	CU_ASSERT_FALSE(add(peer, first - 1, 9, "x", 1));
	CU_ASSERT_TRUE(add(peer, first, 2, "\2", 1));
	CU_ASSERT_FALSE(add(peer, first, 9, "x", 1)); /* it is another one now */
	uint64_t second = ob__peer_mark(peer);
	CU_ASSERT_TRUE(second > first);
	CU_ASSERT_FALSE(add(peer, second, 9, of_one, OB__MANY_ITEM + 1));
	CU_ASSERT_TRUE(hears_burst(1, 2, 1));
	CU_ASSERT_FALSE(add(peer, second, 9, "x", 1)); /* it has left */
	CU_ASSERT_EQUAL(burst(3, 1), 0);
	uint64_t mark = ob__peer_mark(peer);
	ob__link_probe(peer->link);
	CU_ASSERT_FALSE(add(peer, mark, 9, "x", 1)); /* a ping is behind it */
	CU_ASSERT_TRUE(hears_burst(3, 3, 1));
	puppet_close(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	CU_ASSERT_EQUAL(ob__peer_mark(peer), 0);
	CU_ASSERT_FALSE(add(peer, mark, 9, "x", 1)); /* there is no path */
	end();
}

/* What comes while the path is held goes when it is released, and no earlier. */
static void test_shared_held(void)
{
	struct ob__frame f;
	begin(NULL);
	join_many(OB__HELLO_MANY);
	struct ob__peer *peer = rig_peer(&a, "proxy_1");
	CU_ASSERT_EQUAL(burst(1, 5), 0);
	uint64_t mark = ob__peer_mark(peer);
	ob__peer_hold(peer);
	CU_ASSERT_FALSE(add(peer, mark, 2, of_one, 5));
	for (uint32_t n = 2; n <= 4; n++) {
		CU_ASSERT_EQUAL(burst(n, 5), 0);
		CU_ASSERT_FALSE(add(peer, ob__peer_mark(peer), 9, of_one, 5));
	}
	CU_ASSERT_TRUE(hears_burst(1, 1, 5));
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(puppet_poll(&p, &f), 0);
	ob__peer_release(peer);
	CU_ASSERT_FALSE(add(peer, mark, 9, of_one, 5));
	CU_ASSERT_FALSE(add(peer, ob__peer_mark(peer), 9, of_one, 5));
	CU_ASSERT_EQUAL(burst(5, 5), 0);
	CU_ASSERT_EQUAL(burst(6, 5), 0);
	for (uint32_t n = 2; n <= 4; n++) {
		CU_ASSERT_TRUE(hears_burst(n, n, 5));
	}
	CU_ASSERT_TRUE(hears_burst(5, 6, 5));
	puppet_close(&p);
	end();
}

/* Reads end in the middle of shared frames all the time: room for one stays, for more it does not.
 */
static void test_shared_cut(void)
{
	static const uint32_t lens[] = {1000, 5000, OB__MANY_BYTES - OB__FRAME_HEADER, 3000, 20000};
	static const size_t caps[] = {OB__MANY_BYTES, OB__MANY_BYTES, OB__MANY_BYTES,
	                              OB__MANY_BYTES, 0};
	static uint8_t raw[32768];
	begin(NULL);
	join_many(OB__HELLO_MANY);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct ob__frame f = push;
		f.src = p.mine.id;
		f.payload_len = lens[i];
		ob__frame_put_header(raw, &f);
		const struct ob__buf *in = &rig_link(&a, "proxy_1")->in;
		puppet_write(&p, raw, 100);
		CU_ASSERT_TRUE(RIG_UNTIL(in->len == 100));
		uint32_t frames = a.frames;
		puppet_write(&p, raw + 100, OB__FRAME_HEADER + lens[i] - 100);
		CU_ASSERT_TRUE(RIG_UNTIL(a.frames == frames + 1));
		CU_ASSERT_EQUAL(in->len, 0);
		CU_ASSERT_EQUAL(in->cap, caps[i]);
	}
	puppet_close(&p);
	end();
}

/* Requests `from` to `to` in one frame. */
static void requests_alike(uint32_t from, uint32_t to)
{
	struct ob__peer *peer = rig_peer(&a, "proxy_1");
	for (uint32_t id = from; id <= to; id++) {
		struct ob__pending *e = ob__pending_new(&pendings, OB__PENDING_CLIENT, 60000);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		e->id = id;
		if (id % 2 == 0) {
			memset(of_one, (int)id, sizeof(of_one));
			CU_ASSERT_TRUE(add(peer, ob__peer_mark(peer), id, of_one, 5));
		} else {
			CU_ASSERT_EQUAL(burst(id, 5), 0);
		}
		ob__pending_sent(e, peer->link, peer);
	}
}

static bool all_ended(uint32_t from, uint32_t to, uint8_t how)
{
	for (uint32_t id = from; id <= to; id++) {
		if (ended[id] != how) {
			printf("# request %u: %u, expected %u\n", id, ended[id], how);
			return false;
		}
	}
	return true;
}

/* A frame that has not left when the link ends is not sent, with all that is in it; one that has
 * may be. */
static void test_shared_lost(void)
{
	begin(NULL);
	begin_pendings();
	join_many(OB__HELLO_MANY);
	requests_alike(1, 5);
	CU_ASSERT_TRUE(hears_burst(1, 5, 5));
	requests_alike(7, 10);
	ob__streams_flush(&rig_streams);
	requests_alike(11, 15);
	CU_ASSERT_EQUAL(pendings.slab.live, 14);
	ob__link_shut(rig_link(&a, "proxy_1"), "the test says so");
	CU_ASSERT_EQUAL(pendings.slab.live, 0);
	CU_ASSERT_TRUE(all_ended(1, 5, 1));
	CU_ASSERT_TRUE(all_ended(7, 10, 1));
	CU_ASSERT_TRUE(all_ended(11, 15, 2));
	ob__pendings_free(&pendings);
	puppet_close(&p);
	end();
}

/* As vanish(), with shared frames: of one that has left in part, none is said to be unsent that was
 * read, and it is lost or not with all that is in it. */
static void vanish_shared(uint32_t first)
{
	enum { BURSTS = 90, EACH = 6 }; /* less than what a stream is given before the rest waits */
	static uint8_t read[BURSTS * EACH + 1];
	memset(read, 0, sizeof(read));
	begin(NULL);
	begin_pendings();
	puppet_init(&p, puppet_socket(a.port, 8192), "proxy_1", "proxy", 9, RIG_TOKEN);
	shake_hands(OB__HELLO_MANY);
	uv_os_fd_t fd;
	int small = 16384;
	fd = rig_link(&a, "proxy_1")->stream.sock.fd;
	CU_ASSERT(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (uint32_t i = 0; i < BURSTS; i++) {
		for (uint32_t k = 1; k <= EACH; k++) {
			struct ob__peer *peer = rig_peer(&a, "proxy_1");
			struct ob__pending *e =
				ob__pending_new(&pendings, OB__PENDING_CLIENT, 60000);
			CU_ASSERT_PTR_NOT_NULL_FATAL(e);
			e->id = i * EACH + k;
			CU_ASSERT_EQUAL(burst(e->id, 900), 0);
			ob__pending_sent(e, peer->link, peer);
		}
		ob__loop_turn(rig_loop);
	}
	struct ob__frame f;
	uint32_t frames = 0;
	int got = 0;
	if (first == 0) {
		shutdown(p.fd, SHUT_WR);
	}
	while ((got = puppet_poll(&p, &f)) >= 0) {
		if (got == 0) {
			ob__loop_turn(rig_loop);
			continue;
		}
		CU_ASSERT_EQUAL_FATAL(ob__many_of(&f), EACH);
		for (struct ob__frame one = ob__many_begin(&f); ob__many_next(&one, &f);) {
			CU_ASSERT_FATAL(one.call < sizeof(read));
			read[one.call] = 1;
		}
		if (++frames == first) {
			shutdown(p.fd, SHUT_WR);
		}
	}
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	uint32_t unsent = 0;
	for (uint32_t id = 1; id <= BURSTS * EACH; id++) {
		CU_ASSERT_TRUE(ended[id] == 1 || ended[id] == 2);
		CU_ASSERT_FALSE(ended[id] == 2 && read[id]);
		CU_ASSERT_FALSE(ended[id] == 1 && unsent > 0);
		CU_ASSERT_EQUAL(read[id], read[(id - 1) / EACH * EACH + 1]);
		unsent += ended[id] == 2;
	}
	CU_ASSERT_TRUE(unsent > 0 && unsent < BURSTS * EACH);
	CU_ASSERT_EQUAL(pendings.slab.live, 0);
	ob__pendings_free(&pendings);
	puppet_close(&p);
	end();
}

static void test_shared_vanishes(void)
{
	for (uint32_t first = 0; first < 6; first++) {
		vanish_shared(first);
	}
}

/* ---------------------------------------------------------------- large frames */

static uint8_t large[300000];

/* A handshake of one that takes pieces, and reads slowly. */
static void join_parts(void)
{
	puppet_init(&p, puppet_socket(a.port, 8192), "proxy_1", "proxy", 9, RIG_TOKEN);
	p.mine.features = OB__HELLO_PARTS;
	p.dialer = true;
	puppet_introduce(&p, OB__HELLO_DIALER);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_ACCEPTOR));
	CU_ASSERT_EQUAL(p.theirs.features, OB__HELLO_PARTS | OB__HELLO_MANY);
	puppet_prove(&p);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_WELCOME));
}

static int send_of(uint32_t id, uint64_t session, size_t len)
{
	struct ob__frame f = {
		.kind = OB__FRAME_PUSH,
		.id = id,
		.session_node = session != 0 ? 77 : 0,
		.session_seq = session,
		.payload = large,
		.payload_len = (uint32_t)len,
	};
	return ob__peer_send(a.links, rig_peer(&a, "proxy_1"), &f);
}

/* What arrives, in order: ids of whole frames, 0 for a PONG; waits for `count` of them. */
static uint32_t hear_ids(uint32_t *ids, uint32_t count, uint32_t *pieces)
{
	static uint8_t whole[1u << 20];
	struct ob__frame f;
	size_t have = 0;
	uint32_t n = 0;
	*pieces = 0;
	while (n < count && puppet_hear(&p, &f)) {
		if (f.kind == OB__FRAME_SYSTEM && f.id == OB__SYS_PART) {
			memcpy(whole + have, f.payload, f.payload_len);
			have += f.payload_len;
			++*pieces;
			CU_ASSERT_TRUE_FATAL(have <= f.call && f.call < sizeof(whole));
			if (have < f.call) {
				continue;
			}
			size_t need;
			CU_ASSERT_EQUAL(ob__frame_get(&f, whole, have, have, &need), (int64_t)have);
			CU_ASSERT_EQUAL(memcmp(f.payload, large, f.payload_len), 0);
			have = 0;
		}
		ids[n++] = f.kind == OB__FRAME_SYSTEM ? 0 : f.id;
	}
	return n;
}

/* A large message on a link that is slow: the answer to a ping and what is of another session are
 * there before its end, what is of its own is not. */
static void test_pieces(void)
{
	uint32_t ids[100];
	uint32_t place[100] = {0};
	uint32_t pieces;
	uint32_t last = 0;
	for (size_t i = 0; i < sizeof(large); i++) {
		large[i] = (uint8_t)(i * 31 >> 3);
	}
	begin(&(struct ob__links_options){.high = 1u << 20});
	join_parts();
	const struct ob__peer *peer = rig_peer(&a, "proxy_1");
	while (last < 90 && !ob__peer_congested(peer)) {
		CU_ASSERT_EQUAL(send_of(++last, 1, sizeof(large)), 0);
		ob__loop_turn(rig_loop); /* until the kernel takes no more */
	}
	CU_ASSERT_TRUE(ob__peer_congested(peer));
	CU_ASSERT_EQUAL(send_of(last + 1, 1, 100), 0);
	CU_ASSERT_EQUAL(send_of(last + 2, 2, 100), 0);
	CU_ASSERT_EQUAL(send_of(last + 3, 0, 100), 0);
	CU_ASSERT_EQUAL(send_of(last + 4, 1, 1u << 21), OB_E_TOO_BIG);
	puppet_say_system(&p, OB__SYS_PING, 1);
	CU_ASSERT_EQUAL_FATAL(hear_ids(ids, last + 4, &pieces), last + 4);
	CU_ASSERT_EQUAL(pieces, last * 5);
	for (uint32_t i = 0; i < last + 4; i++) {
		CU_ASSERT_TRUE_FATAL(ids[i] <= last + 3);
		place[ids[i]] = i;
	}
	for (uint32_t id = 2; id <= last + 1; id++) {
		CU_ASSERT_TRUE(place[id] > place[id - 1]);
	}
	CU_ASSERT_TRUE(place[0] < place[last]);
	CU_ASSERT_TRUE(place[last + 2] < place[last]);
	CU_ASSERT_TRUE(place[last + 3] > place[last + 1]);
	CU_ASSERT_TRUE(RIG_UNTIL(a.drained == 1));
	CU_ASSERT_TRUE(RIG_UNTIL(ob__peer_queued(peer) == 0));
	puppet_close(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	end();
}

static void say_part(uint64_t total, const void *bytes, size_t len)
{
	puppet_say(&p, (struct ob__frame){.kind = OB__FRAME_SYSTEM,
	                                  .id = OB__SYS_PART,
	                                  .call = total,
	                                  .payload = bytes,
	                                  .payload_len = (uint32_t)len});
}

/* Pieces from outside, with others in between; then some that do not fit. */
static void test_pieces_in(void)
{
	static uint8_t whole[100000];
	static const struct {
		uint64_t total;
		size_t len;
		const char *counted;
	} rows[] = {
		{100000, 40001, "bad_frame"},
		{99999, 100, "bad_frame"},
		{100000, 0, "bad_frame"},
		{UINT64_MAX, 100, "too_big"},
	};
	ob__frame_put_header(whole,
	                     &(struct ob__frame){.kind = OB__FRAME_PUSH,
	                                         .id = 5,
	                                         .src = ob__node_id("proxy_1"),
	                                         .payload_len = sizeof(whole) - OB__FRAME_HEADER});
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin(NULL);
		CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
		say_part(sizeof(whole), whole, 60000);
		puppet_say(&p, push);
		CU_ASSERT_TRUE(RIG_UNTIL(a.frames == 1));
		say_part(sizeof(whole), whole + 60000, 40000);
		CU_ASSERT_TRUE(RIG_UNTIL(a.frames == 2));
		CU_ASSERT(a.last.id == 5 && a.last.len == sizeof(whole));
		CU_ASSERT_EQUAL(rig_link(&a, "proxy_1")->parts.cap, 0);
		say_part(sizeof(whole), whole, 60000);
		say_part(rows[i].total, whole, rows[i].len);
		CU_ASSERT_TRUE(puppet_hears_end(&p));
		CU_ASSERT_EQUAL(rig_closed(&a, rows[i].counted), 1);
		puppet_close(&p);
		end();
	}
}

/* A frame in pieces is from the node at the other end, too. */
static void test_pieces_source(void)
{
	static uint8_t whole[100000];
	ob__frame_put_header(whole,
	                     &(struct ob__frame){.kind = OB__FRAME_PUSH,
	                                         .src = 77,
	                                         .payload_len = sizeof(whole) - OB__FRAME_HEADER});
	begin(NULL);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	say_part(sizeof(whole), whole, 60000);
	say_part(sizeof(whole), whole + 60000, 40000);
	CU_ASSERT_TRUE(puppet_hears_end(&p));
	CU_ASSERT_EQUAL(rig_closed(&a, "source"), 1);
	CU_ASSERT_EQUAL(a.frames, 0);
	puppet_close(&p);
	end();
}

/* ---------------------------------------------------------------- leaving a path, by hand */

/*
 * The node (of the lower id) dials the puppet and gets no WELCOME for now; meanwhile the puppet
 * dials as well (q) and is up; the node sends requests 1 to 3 there.  Then the WELCOME comes on p:
 * the node must leave q with a FENCE and hold requests 4 to 6.
 */
static int two_links_within(uint32_t dead_ms)
{
	int port;
	struct ob__links_options o = {.high = 200, /* two or three of the requests */
	                              .ping_ms = dead_ms / 4,
	                              .dead_ms = dead_ms};
	begin(&o);
	begin_pendings();
	CU_ASSERT_TRUE_FATAL(ob__node_id("route_1") < ob__node_id("proxy_1"));
	int listener = puppet_listen(&port);
	rig_dial(&a, port);
	puppet_init(&p, puppet_accept(listener), "proxy_1", "proxy", 9, RIG_TOKEN);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_DIALER));
	puppet_introduce(&p, OB__HELLO_ACCEPTOR);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_PROOF));
	CU_ASSERT_TRUE(puppet_join(&q, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	for (uint32_t id = 1; id <= 3; id++) {
		CU_ASSERT_EQUAL(request("proxy_1", id, 10), 0);
	}
	puppet_prove(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_link(&a, "proxy_1")->dialer));
	for (uint32_t id = 4; id <= 6; id++) {
		CU_ASSERT_EQUAL(request("proxy_1", id, 10), 0);
	}
	CU_ASSERT_EQUAL(ob__peer_queued(rig_peer(&a, "proxy_1")), 3 * 74);
	CU_ASSERT_TRUE(ob__peer_congested(rig_peer(&a, "proxy_1")));
	return listener;
}

static int two_links(void)
{
	return two_links_within(0);
}

static bool hears_requests(struct puppet *from, uint32_t first, uint32_t last)
{
	struct ob__frame f;
	for (uint32_t id = first; id <= last; id++) {
		if (!puppet_hear(from, &f) || f.kind != OB__FRAME_REQUEST || f.id != id) {
			return false;
		}
	}
	return true;
}

static void end_two_links(int listener)
{
	close(listener);
	puppet_close(&p);
	puppet_close(&q);
	ob__pendings_free(&pendings);
	end();
}

static void test_fence_returns(void)
{
	struct ob__frame f = {.kind = OB__FRAME_REQUEST, .id = 7};
	uint8_t raw[OB__FRAME_HEADER];
	int listener = two_links();
	ob__frame_put_header(raw, &f);
	CU_ASSERT_EQUAL(ob__peer_forward(a.links, rig_peer(&a, "proxy_1"), raw, sizeof(raw)), 0);
	CU_ASSERT_TRUE(hears_requests(&q, 1, 3));
	CU_ASSERT_TRUE(puppet_hear(&q, &f) && f.id == OB__SYS_FENCE);
	rig_turn_ms(20);
	int drained = a.drained;
	CU_ASSERT_EQUAL(puppet_poll(&p, &f), 0); /* held */
	puppet_say(&q, push);                    /* the old link is still read */
	puppet_say_system(&q, OB__SYS_FENCE_BACK, 0);
	CU_ASSERT_TRUE(hears_requests(&p, 4, 7));
	CU_ASSERT_TRUE(puppet_hears_end(&q));
	CU_ASSERT_TRUE(RIG_UNTIL(a.drained > drained));
	CU_ASSERT_EQUAL(a.frames, 1);
	CU_ASSERT_EQUAL(rig_closed(&a, "left"), 1);
	CU_ASSERT_EQUAL(a.downs, 0);
	CU_ASSERT_EQUAL(a.gaps, 0);             /* all that was sent there has arrived */
	CU_ASSERT_EQUAL(pendings.slab.live, 6); /* all six wait on the new path now */
	CU_ASSERT_EQUAL(request("proxy_1", 8, 10), 0);
	CU_ASSERT_TRUE(hears_requests(&p, 8, 8));
	puppet_close(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	for (uint32_t id = 1; id <= 8; id++) {
		CU_ASSERT_EQUAL(ended[id], id == 7 ? 0 : 1);
	}
	end_two_links(listener);
}

static void test_old_path_dies(void)
{
	int listener = two_links();
	CU_ASSERT_TRUE(hears_requests(&q, 1, 3));
	puppet_close(&q); /* the fence won't come back */
	CU_ASSERT_TRUE(hears_requests(&p, 4, 6));
	CU_ASSERT_EQUAL(a.downs, 0);
	CU_ASSERT_EQUAL(a.lost, 1);
	CU_ASSERT_EQUAL(a.gaps, 1); /* what was sent last there may be lost */
	CU_ASSERT_EQUAL(ended[1] + ended[2] + ended[3], 3); /* maybe sent */
	CU_ASSERT_EQUAL(pendings.slab.live, 3);
	end_two_links(listener);
}

/* Answers pings; true for any other frame. */
static bool lives(struct puppet *who, struct ob__frame *f)
{
	if (puppet_poll(who, f) <= 0) {
		return false;
	}
	if (f->kind == OB__FRAME_SYSTEM && f->id == OB__SYS_PING) {
		puppet_say_system(who, OB__SYS_PONG, f->call);
		return false;
	}
	return true;
}

/* The other end lives, and never answers the fence. */
static void test_fence_late(void)
{
	struct ob__frame f;
	uint32_t held = 0;
	int listener = two_links_within(400);
	uint64_t start = ob__loop_hrtime_us();
	CU_ASSERT_TRUE(hears_requests(&q, 1, 3));
	CU_ASSERT_TRUE(RIG_UNTIL(
		(lives(&q, &f), rig_closed(&a, "not_left") == 1 || (lives(&p, &f) && ++held > 0))));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start > 300000);
	CU_ASSERT_EQUAL(held, 0); /* nothing before */
	for (uint32_t id = 4; id <= 6; id++) {
		bool heard = false;
		CU_ASSERT_TRUE(RIG_UNTIL(heard || (heard = lives(&p, &f))));
		CU_ASSERT_EQUAL(f.id, id);
	}
	CU_ASSERT_TRUE(puppet_hears_end(&q));
	CU_ASSERT_EQUAL(rig_closed(&a, "silent"), 0);
	CU_ASSERT_EQUAL(a.gaps, 1);
	CU_ASSERT_EQUAL(ended[1] + ended[2] + ended[3], 3); /* maybe sent */
	CU_ASSERT_EQUAL(pendings.slab.live, 3);
	CU_ASSERT_EQUAL(a.downs, 0);
	end_two_links(listener);
}

/* The other way round: the puppet, of the lower id, is to leave and end the link that the node has
 * dialled, and does not. */
static void test_not_left(void)
{
	int port;
	struct ob__frame f;
	struct ob__links_options o = {.ping_ms = 50, .dead_ms = 200};
	begin(&o);
	CU_ASSERT_TRUE_FATAL(ob__node_id("route_1") > ob__node_id("proxy_2"));
	int listener = puppet_listen(&port);
	rig_dial(&a, port);
	puppet_init(&p, puppet_accept(listener), "proxy_2", "proxy", 9, RIG_TOKEN);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_DIALER));
	puppet_introduce(&p, OB__HELLO_ACCEPTOR);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_PROOF));
	CU_ASSERT_TRUE(puppet_join(&q, &a, "proxy_2", "proxy", 9, RIG_TOKEN));
	puppet_prove(&p);
	CU_ASSERT_TRUE(RIG_UNTIL((lives(&p, &f), lives(&q, &f), rig_closed(&a, "not_left") == 1)));
	CU_ASSERT_TRUE(puppet_hears_end(&p));
	CU_ASSERT_FALSE(rig_link(&a, "proxy_2")->dialer);
	CU_ASSERT_EQUAL(a.ups, 1);
	CU_ASSERT_EQUAL(a.downs, 0);
	close(listener);
	puppet_close(&p);
	puppet_close(&q);
	end();
}

static void test_new_path_dies(void)
{
	struct ob__frame f;
	int listener = two_links();
	CU_ASSERT_TRUE(hears_requests(&q, 1, 3));
	puppet_say_system(&p, OB__SYS_PING, 1); /* is answered past what is held */
	puppet_say_system(&p, OB__SYS_PING, 2);
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.id == OB__SYS_PONG);
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.id == OB__SYS_PONG);
	puppet_close(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	CU_ASSERT_TRUE(puppet_hears_end(&q)); /* it has sent its FENCE: of no use any more */
	CU_ASSERT_EQUAL(a.lost, 2);
	CU_ASSERT_EQUAL(ended[1] + ended[2] + ended[3], 3);
	CU_ASSERT_EQUAL(ended[4] + ended[5] + ended[6], 6); /* never left this node */
	/* it dials again at once */
	puppet_init(&p, puppet_accept(listener), "proxy_1", "proxy", 9, RIG_TOKEN);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_DIALER));
	end_two_links(listener);
}

static void test_freed_between(void)
{
	int listener = two_links();
	ob__links_free(a.links);
	a.links = NULL;
	CU_ASSERT_PTR_NULL(rig_link(&a, "proxy_1"));
	CU_ASSERT_EQUAL(pendings.slab.live, 6); /* on no list; their owner ends them */
	CU_ASSERT_TRUE(puppet_hears_end(&p));
	CU_ASSERT_TRUE(puppet_hears_end(&q));
	end_two_links(listener);
}

/* Two entries lead to one node, which lost the first link before it accepted the second. */
static void test_replaced(void)
{
	int port[2];
	begin(NULL);
	int first = puppet_listen(&port[0]);
	int second = puppet_listen(&port[1]);
	rig_dial(&a, port[0]);
	rig_dial(&a, port[1]);
	puppet_init(&p, puppet_accept(first), "proxy_1", "proxy", 9, RIG_TOKEN);
	puppet_init(&q, puppet_accept(second), "proxy_1", "proxy", 9, RIG_TOKEN);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_DIALER));
	CU_ASSERT_TRUE(puppet_hears_step(&q, OB__HELLO_DIALER));
	puppet_introduce(&p, OB__HELLO_ACCEPTOR);
	puppet_introduce(&q, OB__HELLO_ACCEPTOR);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_PROOF));
	CU_ASSERT_TRUE(puppet_hears_step(&q, OB__HELLO_PROOF));
	puppet_prove(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1));
	puppet_prove(&q);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 2));
	CU_ASSERT_EQUAL(a.downs, 1);
	CU_ASSERT_EQUAL(rig_closed(&a, "replaced"), 1);
	CU_ASSERT_TRUE(puppet_hears_end(&p));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_states_are(&a, "Cu")));
	close(first);
	close(second);
	puppet_close(&p);
	puppet_close(&q);
	end();
}

/* A port whose queue of callers is full: the connection never comes about. */
static void test_no_connection(void)
{
	struct ob__links_options o = {.hello_ms = 150};
	struct sockaddr_in addr = {.sin_family = AF_INET,
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fds[4];
	begin(&o);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(listener, 0), 0);
	getsockname(listener, (struct sockaddr *)&addr, &len);
	for (int i = 0; i < 4; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		CU_ASSERT_EQUAL(connect(fds[i], (struct sockaddr *)&addr, sizeof(addr)), -1);
	}
	rig_dial(&a, ntohs(addr.sin_port));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_remotes(&a).error[0] != '\0'));
	CU_ASSERT_STRING_EQUAL(rig_remotes(&a).error, "no connection within 150 ms");
	for (int i = 0; i < 4; i++) {
		close(fds[i]);
	}
	close(listener);
	end();
}

/* A reset, as when a machine is switched off and on, is seen at once. */
static void test_reset(void)
{
	struct linger now = {.l_onoff = 1};
	begin(NULL);
	CU_ASSERT_TRUE(puppet_join(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN));
	setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	puppet_close(&p);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	CU_ASSERT_EQUAL(rig_closed(&a, "ended"), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig_peer(&a, "proxy_1")->last_error, "reset"));
	end();
}

/* ---------------------------------------------------------------- the log */

static void read_log(const char *dir, char *text, size_t cap)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/links.log", dir);
	FILE *file = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	text[fread(text, 1, cap - 1, file)] = '\0';
	fclose(file);
	files_remove(dir);
}

/* A stranger that comes again and again is logged a few times: from where, why and what to do. */
static void test_log(void)
{
	static char text[1u << 16];
	char dir[128];
	char err[128];
	begin(NULL);
	files_make_dir(dir, sizeof(dir));
	struct ob__log_options o = {.dir = dir, .name = "links", .level = OB_LOG_INFO};
	CU_ASSERT_EQUAL_FATAL(ob__log_open(&o, err, sizeof(err)), 0);
	char caller[32] = "";
	for (int i = 0; i < 20; i++) {
		struct sockaddr_in me;
		socklen_t len = sizeof(me);
		puppet_begin(&p, &a, "proxy_1", "proxy", 9, "some other token");
		getsockname(p.fd, (struct sockaddr *)&me, &len);
		if (i == 0) {
			snprintf(caller, sizeof(caller), "127.0.0.1:%d:", ntohs(me.sin_port));
		}
		CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_ACCEPTOR));
		puppet_prove(&p);
		CU_ASSERT_TRUE(puppet_hears_end(&p));
		puppet_close(&p);
	}
	CU_ASSERT_EQUAL(rig_closed(&a, "wrong_token"), 20);
	ob__log_close();
	read_log(dir, text, sizeof(text));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, caller));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "remote_ports"));
	CU_ASSERT_PTR_NULL(strstr(text, "some other token"));
	CU_ASSERT_PTR_NULL(strstr(text, RIG_TOKEN));
	int lines = 0;
	for (const char *at = text; (at = strstr(at, "wrong token")) != NULL; at++) {
		lines++;
	}
	CU_ASSERT_EQUAL(lines, 5);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("link by hand", NULL, NULL);
	CU_add_test(s, "joins", test_join);
	CU_add_test(s, "in pieces", test_in_pieces);
	CU_add_test(s, "strangers", test_strangers);
	CU_add_test(s, "members that misbehave", test_members);
	CU_add_test(s, "whose frames it brings", test_source);
	CU_add_test(s, "versions", test_versions);
	CU_add_test(s, "false proofs", test_false_proofs);
	CU_add_test(s, "a false acceptor", test_false_acceptor);
	CU_add_test(s, "a crowd of strangers", test_crowd);
	CU_add_test(s, "ping and fence", test_ping_and_fence);
	CU_add_test(s, "silence", test_silence);
	CU_add_test(s, "the node slept", test_slept);
	CU_add_test(s, "a frozen link and a newcomer", test_frozen);
	CU_add_test(s, "a stranger takes no name", test_stranger_takes_no_name);
	CU_add_test(s, "bounds of the queue", test_bounds);
	CU_add_test(s, "what overtakes messages", test_overtaking);
	CU_add_test(s, "answers nobody reads", test_unread_answers);
	CU_add_test(s, "the peer vanishes", test_vanishes);
	CU_add_test(s, "messages share a frame", test_shared);
	CU_add_test(s, "not with a peer that does not take it", test_not_shared);
	CU_add_test(s, "bounds of a shared frame", test_shared_bounds);
	CU_add_test(s, "marks of shared frames", test_marks);
	CU_add_test(s, "a shared frame is cut by a read", test_shared_cut);
	CU_add_test(s, "a held path and a shared frame", test_shared_held);
	CU_add_test(s, "a shared frame is lost", test_shared_lost);
	CU_add_test(s, "the peer vanishes among shared frames", test_shared_vanishes);
	CU_add_test(s, "large frames", test_pieces);
	CU_add_test(s, "large frames coming in", test_pieces_in);
	CU_add_test(s, "large frames of others", test_pieces_source);
	CU_add_test(s, "the fence returns", test_fence_returns);
	CU_add_test(s, "the fence does not return", test_fence_late);
	CU_add_test(s, "the other side does not end a link", test_not_left);
	CU_add_test(s, "the old path dies", test_old_path_dies);
	CU_add_test(s, "the new path dies", test_new_path_dies);
	CU_add_test(s, "freed between", test_freed_between);
	CU_add_test(s, "replaced", test_replaced);
	CU_add_test(s, "no connection", test_no_connection);
	CU_add_test(s, "reset", test_reset);
	CU_add_test(s, "log lines", test_log);
	return ob__tap_run();
}
