/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Pushes to many: one node with a codec that counts, and a house with two proxies and a service. */

#include "host/push/push_many.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/client/conn.h"
#include "host/message/reply.h"
#include "net_util.h"
#include "tap.h"
#include "unit/node_rig.h"

#define PUSHED 2000

/* ---------------------------------------------------------------- one node */

#define MANY 1300 /* more than a turn's worth twice */

static struct rig_node n;
static struct puppet p;
static struct rig_client clients[MANY];
static ob_session sessions[MANY]; /* in the order of the clients */
static size_t opened;
static ob_codec codec;
static unsigned encoded;
static uint32_t (*variant)(ob_ctx *ctx, const void *state);

/* Lines of text: "ID BODY". */
static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	uint8_t *nl = memchr(data, '\n', len);

	(void)ctx;
	(void)boundary;
	(void)max;
	if (nl == NULL) {
		out->kind = OB_PACKET_NEED;
		out->need = len + 1;
		return 0;
	}
	if (data[0] == '=') { /* its variant, from here on */
		*(uint32_t *)state = data[1] == '-' ? OB_CODEC_NO_PUSH : data[1];
		out->kind = OB_PACKET_SKIP;
		return (size_t)(nl - data) + 1;
	}
	out->kind = OB_PACKET_MESSAGE;
	out->id = 1000;
	out->data = data;
	out->len = (size_t)(nl - data);
	return out->len + 1;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	(void)ctx;
	(void)state;
	encoded++;
	if (packet->len + 1 > cap || (packet->len > 0 && packet->data[0] == '!')) {
		return 0;
	}
	memcpy(out, packet->data, packet->len);
	out[packet->len] = '\n';
	return packet->len + 1;
}

static void on_opened(ob_ctx *ctx, const ob_event_info *info)
{
	(void)ctx;
	if (opened < MANY) {
		sessions[opened++] = info->session;
	}
}

static void (*closed_hook)(ob_ctx *ctx, ob_session session);

static void on_closed(ob_ctx *ctx, const ob_event_info *info)
{
	if (closed_hook != NULL) {
		closed_hook(ctx, info->session);
	}
}

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_reply(ctx, req, "echo", 4);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_codec(ctx, &codec) == 0 && ob_on_id(ctx, 1000, echo) == 0 &&
	                       ob_on_event(ctx, OB_EVENT_SESSION_OPENED, on_opened) == 0 &&
	                       ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, on_closed) == 0
	               ? 0
	               : OB_E_APP;
}

static void join_one(size_t i)
{
	rig_connect(&clients[i], n.port, false);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(opened == i + 1));
}

static void begin(size_t len, uint32_t state_size, uint32_t flags, const char *limits)
{
	rig_begin();
	memset(&p, 0, sizeof(p));
	opened = 0;
	closed_hook = NULL;
	p.start = start;
	codec = (ob_codec){
		.size = sizeof(codec),
		.state_size = state_size,
		.state_ver = 1,
		.flags = flags,
		.overhead = 1,
		.name = "line",
		.decode = decode,
		.encode = encode,
		.variant = variant,
	};
	rig_install("codec_line", "codec_line"); /* idle; the listener implies it */
	rig_start(&n, "n", "x",
	          "'listen': [{'transport': 'tcp', 'codec': 'line', 'port': 0, 'timeout': 0}], "
	          "%s 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          limits, (long)(intptr_t)&p);
	for (size_t i = 0; i < len; i++) {
		join_one(i);
	}
	encoded = 0;
}

static void end(size_t len)
{
	closed_hook = NULL;
	for (size_t i = 0; i < len; i++) {
		rig_disconnect(&clients[i]);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	rig_stop(&n);
	rig_end();
}

static struct ob__conn *conn_of(size_t i)
{
	return ob__conn_get(n.node, ob__session_get(&n.node->sessions, sessions[i])->conn);
}

/* What the client has read so far is that, and nothing else comes with it. */
static bool hears(size_t i, const char *want)
{
	struct rig_client *c = &clients[i];
	size_t len = strlen(want);

	(void)RIG_UNTIL((rig_pump(c), c->packets_len >= len || c->eof));
	bool same = c->packets_len == len && memcmp(c->packets, want, len) == 0;
	if (!same) {
		printf("# client %zu: \"%.*s\"\n", i, (int)c->packets_len, (char *)c->packets);
	}
	c->packets_len = 0;
	return same;
}

/* A message is encoded once for all, unless the codec keeps something with each connection. */
static void test_encoded_once(void)
{
	static const struct {
		uint32_t state_size;
		uint32_t flags;
		unsigned times;
	} rows[] = {
		{0, OB_CODEC_STREAM, 1},
		{4, OB_CODEC_STREAM, 20},
		{4, OB_CODEC_STREAM | OB_CODEC_SHARED, 1},
	};
	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		begin(20, rows[r].state_size, rows[r].flags, "");
		CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions, 20, PUSHED, "many", 4), 20);
		CU_ASSERT_EQUAL(encoded, rows[r].times);
		CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "all", 3), 1);
		for (size_t i = 0; i < 20; i++) {
			CU_ASSERT_TRUE(hears(i, "many\nall\n"));
		}
		CU_ASSERT_EQUAL(encoded, 2 * rows[r].times);
		CU_ASSERT_EQUAL(rig_metric(&n, "obhost_pushes_total"), 40);
		end(20);
	}
}

/* What is sent to all in one turn goes out together, behind what was sent before. */
static void test_together(void)
{
	begin(20, 0, OB_CODEC_STREAM, "");
	uint32_t x = ob_role(p.ctx, "x");
	CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[0], PUSHED, "0", 1), 0);
	uint64_t writes = n.node->streams.syscalls_out;
	for (int i = 1; i <= 3; i++) {
		CU_ASSERT_EQUAL(ob_push_all(p.ctx, x, PUSHED, &"123"[i - 1], 1), 1);
	}
	for (size_t i = 0; i < 20; i++) {
		CU_ASSERT_TRUE(hears(i, i == 0 ? "0\n1\n2\n3\n" : "1\n2\n3\n"));
	}
	CU_ASSERT_TRUE(n.node->streams.syscalls_out - writes <= 21);
	CU_ASSERT_EQUAL(encoded, 4);
	writes = n.node->streams.syscalls_out;
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, x, PUSHED, "4", 1), 1);
	for (size_t i = 0; i < 20; i++) {
		CU_ASSERT_TRUE(hears(i, "4\n"));
	}
	CU_ASSERT_EQUAL(n.node->streams.syscalls_out - writes, 20);
	end(20);
}

static uint32_t variant_of(ob_ctx *ctx, const void *state)
{
	(void)ctx;
	return *(const uint32_t *)state;
}

/* Or once for each variant that the codec tells of. */
static void test_variants(void)
{
	static const char *const said[] = {"=a\nx\n", "=b\nx\n", "=-\nx\n", "=a\nx\n", "=b\nx\n"};

	variant = variant_of;
	begin(5, 4, OB_CODEC_STREAM, "");
	for (size_t i = 0; i < 5; i++) {
		rig_send_raw(&clients[i], said[i], strlen(said[i]));
		CU_ASSERT_TRUE(hears(i, "echo\n"));
	}
	encoded = 0;
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions, 5, PUSHED, "many", 4), 4);
	CU_ASSERT_EQUAL(encoded, 2);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "all", 3), 1);
	for (size_t i = 0; i < 5; i++) {
		CU_ASSERT_TRUE(i == 2 || hears(i, "many\nall\n"));
	}
	CU_ASSERT_EQUAL(encoded, 4);
	for (size_t i = 0; i < 5; i++) {
		rig_send_raw(&clients[i], "x\n", 2);
		CU_ASSERT_TRUE(hears(i, "echo\n"));
	}
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_pushes_lost_total"), 2);
	end(5);
	variant = NULL;
}

static uint32_t own_of(ob_ctx *ctx, const void *state)
{
	(void)ctx;
	return *(const uint32_t *)state == 'o' ? OB_CODEC_OWN : 0;
}

/* Those with a form of their own share none, and take no place from those who do. */
static void test_own(void)
{
	variant = own_of;
	begin(20, 4, OB_CODEC_STREAM, "");
	for (size_t i = 0; i < 20; i++) {
		const char *said = i < 18 ? "=o\nx\n" : "=s\nx\n";

		rig_send_raw(&clients[i], said, strlen(said));
		CU_ASSERT_TRUE(hears(i, "echo\n"));
	}
	encoded = 0;
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions, 20, PUSHED, "many", 4), 20);
	CU_ASSERT_EQUAL(encoded, 18 + 1);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "all", 3), 1);
	for (size_t i = 0; i < 20; i++) {
		CU_ASSERT_TRUE(hears(i, "many\nall\n"));
	}
	CU_ASSERT_EQUAL(encoded, 2 * (18 + 1));
	end(20);
	variant = NULL;
}

/* Large ones are referenced by all queues. */
static void test_large(void)
{
	static char body[100001];

	begin(3, 0, OB_CODEC_STREAM, "");
	memset(body, 'x', sizeof(body));
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions, 3, PUSHED, body, sizeof(body) - 1), 3);
	CU_ASSERT_EQUAL(encoded, 1);
	body[sizeof(body) - 1] = '\n';
	for (size_t i = 0; i < 3; i++) {
		struct rig_client *c = &clients[i];
		CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(c), c->packets_len == sizeof(body))));
		CU_ASSERT_EQUAL(memcmp(c->packets, body, sizeof(body)), 0);
	}
	end(3);
}

static void test_what_is_refused(void)
{
	static ob_session too_many[OB_PUSH_MANY_MAX + 1];
	const char *users[] = {"ada", "a\nb"};
	uint32_t x;

	begin(3, 0, OB_CODEC_STREAM, "'limits': {'message': 1000},");
	x = ob_role(p.ctx, "x");
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions, 3, 0, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions, 3, 0x80000000u, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, NULL, 1, PUSHED, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, NULL, 0, PUSHED, "x", 1), 0);
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, too_many, OB_PUSH_MANY_MAX + 1, PUSHED, "x", 1),
	                OB_E_LIMIT);
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions, 3, PUSHED, too_many, 1001), OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(ob_push_users(p.ctx, users, 2, PUSHED, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, 0, PUSHED, "x", 1), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, x, PUSHED, too_many, 1001), OB_E_TOO_BIG);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "y"), PUSHED, "x", 1), 0);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_pushes_total"), 0);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_pushes_lost_total"), 0);

	/* Who is gone is skipped, who is there twice gets it once; what can't be encoded is lost.
	 */
	ob_session list[] = {sessions[2], 4711, sessions[0], sessions[2], 0};
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, list, 5, PUSHED, "one", 3), 2);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_pushes_lost_total"), 2);
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions, 3, PUSHED, "!", 1), 0);
	CU_ASSERT_EQUAL(encoded, 2);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_pushes_lost_total"), 5);
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions, 3, PUSHED, "end", 3), 3);
	CU_ASSERT_TRUE(hears(0, "one\nend\n"));
	CU_ASSERT_TRUE(hears(1, "end\n"));
	CU_ASSERT_TRUE(hears(2, "one\nend\n"));
	end(3);
}

static ob_session late_for;

static void push_late(ob_ctx *ctx, ob_session session)
{
	(void)session;
	ob_push(ctx, late_for, PUSHED, "late", 4);
}

/* One who is too slow is closed at the end, so that what his module sends then comes later. */
static void test_slow(void)
{
	begin(2, 0, OB_CODEC_STREAM, "'limits': {'message': 4096, 'client_queue': 4096},");
	static char body[4000];
	memset(body, 'x', sizeof(body));
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[0], PUSHED, body, sizeof(body)), 0);
	}
	late_for = sessions[1];
	closed_hook = push_late;
	ob_session list[] = {sessions[0], sessions[1]};
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, list, 2, PUSHED, body, 1000), 1);
	char want[1100] = "";
	memcpy(want, body, 1000);
	strcat(want, "\nlate\n");
	CU_ASSERT_TRUE(hears(1, want));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_closed_total{reason=\"slow\"}"), 1);
	end(2);
}

/* A broadcast takes some turns, and nothing overtakes it; one who comes later gets none of it. */
static void test_broadcast(void)
{
	size_t last = MANY - 2;

	begin(MANY - 1, 0, OB_CODEC_STREAM, "'limits': {'connections': 2000},");
	uint32_t x = ob_role(p.ctx, "x");
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, x, PUSHED, "1", 1), 1);
	CU_ASSERT_EQUAL(n.node->clients.broadcasts.count, 1); /* under way */
	CU_ASSERT_TRUE(rig_metric(&n, "obhost_pushes_total") < MANY - 1);
	CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[last], PUSHED, "a", 1), 0);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, x, PUSHED, "2", 1), 1);
	CU_ASSERT_EQUAL(ob_push_many(p.ctx, sessions + last - 1, 2, PUSHED, "b", 1), 2);
	CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[0], PUSHED, "c", 1), 0);
	CU_ASSERT_EQUAL(ob_session_close(p.ctx, sessions[last - 2], 0, NULL), 0);
	CU_ASSERT_EQUAL(n.node->clients.broadcasts.count, 2);
	rig_connect(&clients[MANY - 1], n.port, false);
	CU_ASSERT_TRUE(hears(0, "1\n2\nc\n"));
	CU_ASSERT_TRUE(hears(1, "1\n2\n"));
	CU_ASSERT_TRUE(hears(last / 2, "1\n2\n"));
	CU_ASSERT_TRUE(hears(last - 3, "1\n2\n"));
	CU_ASSERT_TRUE(hears(last - 2, "1\n2\n"));
	CU_ASSERT_TRUE(hears(last - 1, "1\n2\nb\n"));
	CU_ASSERT_TRUE(hears(last, "1\na\n2\nb\n"));
	CU_ASSERT_TRUE(RIG_UNTIL(opened == MANY));
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.broadcasts.count == 0));
	CU_ASSERT_EQUAL(n.node->clients.broadcasts.bytes, 0);
	CU_ASSERT_TRUE(rig_silent(&clients[MANY - 1]));
	CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[MANY - 1], PUSHED, "new", 3), 0);
	CU_ASSERT_TRUE(hears(MANY - 1, "new\n"));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_broadcasts_total"), 2);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_pushes_lost_total"), 0);
	end(MANY);
}

/* The same of a large group; who is in none gets nothing, nor does who comes into a place of one
 * that was. */
static void test_large_group(void)
{
	size_t last = MANY - 2;

	begin(MANY - 1, 0, OB_CODEC_STREAM, "'limits': {'connections': 2000},");
	for (size_t i = 0; i <= last; i++) {
		if (i % 10 != 3) {
			CU_ASSERT_EQUAL_FATAL(ob_group_join(p.ctx, sessions[i], "room"), 0);
		}
	}
	CU_ASSERT_EQUAL(last % 10, 8);
	CU_ASSERT_EQUAL(ob_push_group(p.ctx, "room", PUSHED, "1", 1), 1);
	CU_ASSERT_EQUAL(n.node->clients.broadcasts.count, 1); /* under way */
	CU_ASSERT_TRUE(n.node->clients.broadcasts.bytes > MANY / 8);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "2", 1), 1);
	CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[last], PUSHED, "a", 1), 0);
	CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[last - 5], PUSHED, "b", 1), 0);
	CU_ASSERT_EQUAL(ob_group_leave(p.ctx, sessions[last - 1], "room"), 0); /* too late */
	CU_ASSERT_EQUAL(ob_push_group(p.ctx, "room", PUSHED, "3", 1), 1);
	CU_ASSERT_EQUAL(ob_session_close(p.ctx, sessions[last - 2], 0, NULL), 0);
	rig_connect(&clients[MANY - 1], n.port, false);
	CU_ASSERT_TRUE(hears(0, "1\n2\n3\n"));
	CU_ASSERT_TRUE(hears(3, "2\n"));
	CU_ASSERT_TRUE(hears(last, "1\n2\na\n3\n"));
	CU_ASSERT_TRUE(hears(last - 1, "1\n2\n"));
	CU_ASSERT_TRUE(hears(last - 2, "1\n2\n3\n"));
	CU_ASSERT_TRUE(hears(last - 5, "2\nb\n"));
	CU_ASSERT_TRUE(RIG_UNTIL(opened == MANY));
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.broadcasts.count == 0));
	CU_ASSERT_EQUAL(n.node->clients.broadcasts.bytes, 0);
	CU_ASSERT_TRUE(rig_silent(&clients[MANY - 1]));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_pushes_lost_total"), 0);
	end(MANY);
}

/* One that begins while another one is under way goes on with it, and then to those whom the first
 * has left behind: nobody has two writes for what one would do for. */
static void test_broadcasts_together(void)
{
	const struct ob__broadcasts *bs;
	size_t all = MANY - 2;

	begin(all, 0, OB_CODEC_STREAM, "'limits': {'connections': 2000},");
	bs = &n.node->clients.broadcasts;
	uint32_t x = ob_role(p.ctx, "x");
	CU_ASSERT_TRUE(RIG_UNTIL(bs->count == 0));
	uint64_t before = n.node->streams.syscalls_out;
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, x, PUSHED, "1", 1), 1);
	while (n.node->streams.syscalls_out == before) {
		ob__loop_turn(n.node->loop);
	}
	uint64_t alone = n.node->streams.syscalls_out - before;
	CU_ASSERT_EQUAL(alone, OB__BROADCAST_A_TURN);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, x, PUSHED, "2", 1), 1);
	for (size_t i = all; i < MANY; i++) {
		rig_connect(&clients[i], n.port, false);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(opened == MANY));
	CU_ASSERT_TRUE(RIG_UNTIL(bs->count == 0));
	CU_ASSERT_EQUAL(n.node->streams.syscalls_out - before, all + alone);
	for (size_t i = 0; i < all; i++) {
		CU_ASSERT_TRUE(hears(i, "1\n2\n"));
	}
	for (size_t i = all; i < MANY; i++) {
		CU_ASSERT_TRUE(rig_silent(&clients[i]));
	}
	end(MANY);
}

/* More of them than may be under way: the oldest are written to all at once.  And an answer, and
 * the end of the node, come behind what was sent before. */
static void test_broadcasts_bounded(void)
{
	enum { LEN = 600 };
	char want[1024] = "";
	size_t len = 0;

	begin(LEN, 0, OB_CODEC_STREAM, "");
	uint32_t x = ob_role(p.ctx, "x");
	for (int i = 0; i < 80; i++) {
		char text[8];
		int n_text = snprintf(text, sizeof(text), "%d", i);
		CU_ASSERT_EQUAL(ob_push_all(p.ctx, x, PUSHED, text, (size_t)n_text), 1);
		CU_ASSERT_TRUE(n.node->clients.broadcasts.count <= OB__BROADCASTS_MAX);
		len += (size_t)snprintf(want + len, sizeof(want) - len, "%d\n", i);
	}
	CU_ASSERT_TRUE(n.node->clients.broadcasts.count > 0);
	for (size_t i = 0; i < LEN; i += 37) {
		CU_ASSERT_TRUE(hears(i, want));
	}
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.broadcasts.count == 0));
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(ob_push_all(p.ctx, x, PUSHED, "last", 4), 1);
	}
	clients[LEN - 1].packets_len = 0;
	rig_pump(&clients[LEN - 1]);
	clients[LEN - 1].packets_len = 0;
	rig_stop(&n);
	CU_ASSERT_TRUE(hears(LEN - 1, "last\nlast\nlast\n"));
	for (size_t i = 0; i < LEN; i++) {
		rig_disconnect(&clients[i]);
	}
	rig_end();
}

/* Once, however many turns it takes and whatever goes round with it. */
static void test_broadcast_encoded_once(void)
{
	enum { LEN = 700, COUNT = 5, SIZE = 8000 };
	static char body[SIZE];

	begin(LEN, 0, OB_CODEC_STREAM, "");
	memset(body, 'x', sizeof(body));
	for (int i = 0; i < COUNT; i++) {
		CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, body, SIZE), 1);
	}
	CU_ASSERT_TRUE(n.node->clients.broadcasts.bytes >= COUNT * SIZE);
	CU_ASSERT_TRUE(RIG_UNTIL(encoded > 0));
	CU_ASSERT_EQUAL(n.node->clients.broadcasts.count, COUNT); /* under way */
	CU_ASSERT_TRUE(n.node->clients.broadcasts.bytes >= 2 * COUNT * SIZE);
	for (size_t i = 0; i < LEN; i++) {
		struct rig_client *c = &clients[i];
		CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(c), c->packets_len == COUNT * (SIZE + 1))));
		c->packets_len = 0;
	}
	CU_ASSERT_EQUAL(encoded, COUNT);
	CU_ASSERT_EQUAL(n.node->clients.broadcasts.bytes, 0);
	end(LEN);
}

/* An answer in between takes the rest with it as it is. */
static void test_caught_up_encoded_once(void)
{
	enum { LEN = 1200 };

	begin(LEN, 0, OB_CODEC_STREAM, "");
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "1", 1), 1);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "2", 1), 1);
	for (size_t i = LEN - 10; i < LEN; i++) {
		CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[i], PUSHED, "own", 3), 0);
		CU_ASSERT_TRUE(hears(i, "1\n2\nown\n"));
	}
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.broadcasts.count == 0));
	CU_ASSERT_TRUE(hears(0, "1\n2\n"));
	CU_ASSERT_EQUAL(encoded, 2 + 10);
	end(LEN);
}

/* What is kept of them, and of what the codec has made of them, is bounded. */
static void test_forms_bounded(void)
{
	enum { LEN = 700, COUNT = 7, SIZE = 8000, HELD = 65536 };
	const struct ob__broadcasts *bs;
	static char body[SIZE];
	size_t most = 0;

	begin(LEN, 0, OB_CODEC_STREAM, "'limits': {'held': 65536},");
	bs = &n.node->clients.broadcasts;
	memset(body, 'x', sizeof(body));
	for (int i = 0; i < COUNT; i++) {
		CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, body, SIZE), 1);
	}
	CU_ASSERT_EQUAL(bs->count, COUNT);
	for (size_t i = LEN - 20; i < LEN; i++) { /* some have theirs ahead of the others */
		CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[i], PUSHED, "own", 3), 0);
		CU_ASSERT_TRUE(bs->bytes <= HELD);
	}
	while (bs->count > 0) {
		most = bs->bytes > most ? bs->bytes : most;
		ob__loop_turn(n.node->loop);
	}
	CU_ASSERT_TRUE(most > COUNT * SIZE && most <= HELD);
	for (size_t i = 0; i < LEN; i++) {
		size_t want = COUNT * (SIZE + 1) + (i < LEN - 20 ? 0 : 4);
		struct rig_client *c = &clients[i];
		CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(c), c->packets_len >= want)));
		CU_ASSERT_EQUAL(c->packets_len, want);
	}
	CU_ASSERT_EQUAL(bs->bytes, 0);
	end(LEN);
}

/* While a broadcast is under way, another registration takes the codec's place. */
static void test_broadcast_over_a_swap(void)
{
	enum { LEN = 1200 };

	begin(LEN, 0, OB_CODEC_STREAM, "");
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "1", 1), 1);
	CU_ASSERT_TRUE(RIG_UNTIL(encoded == 1));
	CU_ASSERT_EQUAL(n.node->clients.broadcasts.count, 1); /* under way */
	ob__slot_active(conn_of(0)->codec)->number = ++n.node->slots.registered;
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.broadcasts.count == 0));
	CU_ASSERT_EQUAL(encoded, 2);
	CU_ASSERT_TRUE(hears(0, "1\n"));
	CU_ASSERT_TRUE(hears(LEN - 1, "1\n"));
	end(LEN);
}

#define SLOW_LIMITS "'limits': {'message': 4096, 'client_queue': 4096},"
#define SLOW        400

static char heavy[3000];
static unsigned depth;
static unsigned deepest;
static unsigned ends;
static void (*say_end)(ob_ctx *ctx);

static void on_end_of_slow(ob_ctx *ctx, ob_session session)
{
	(void)session;
	ends++;
	depth++;
	deepest = depth > deepest ? depth : deepest;
	say_end(ctx);
	depth--;
}

static void say_to_all(ob_ctx *ctx)
{
	ob_push_all(ctx, ob_role(ctx, "x"), PUSHED, heavy, sizeof(heavy));
}

static void say_to_many(ob_ctx *ctx)
{
	ob_push_many(ctx, sessions, SLOW, PUSHED, heavy, sizeof(heavy));
}

static void say_to_each(ob_ctx *ctx)
{
	for (size_t i = 0; i < SLOW; i++) {
		ob_push(ctx, sessions[i], PUSHED, heavy, sizeof(heavy));
	}
}

/* As many as it has room for; how many. */
static unsigned stuff(size_t i)
{
	unsigned pushed = 0;

	while (conn_of(i)->stream.queued + sizeof(heavy) + 64 < 8192) {
		CU_ASSERT_EQUAL_FATAL(ob_push(p.ctx, sessions[i], PUSHED, heavy, sizeof(heavy)), 0);
		pushed++;
	}
	return pushed;
}

/* Nobody reads, and none has room for one more. */
static void begin_slow(void (*say)(ob_ctx *ctx))
{
	unsigned pushed;

	begin(SLOW, 0, OB_CODEC_STREAM, SLOW_LIMITS);
	for (size_t i = 0; i < SLOW; i++) {
		int small = 4096;
		net_send_buffer(&conn_of(i)->stream, small);
		setsockopt(clients[i].fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	}
	do {
		pushed = 0;
		for (size_t i = 0; i < SLOW; i++) {
			pushed += stuff(i);
		}
		rig_turn_ms(50); /* the kernel's buffers move on for a while */
	} while (pushed > 0);
	depth = deepest = ends = 0;
	say_end = say;
	closed_hook = on_end_of_slow;
}

/* Each end of a client causes a message that is too much for all the others: they end one after the
 * other, and not each within the one before. */
static void test_slow_in_a_row(void)
{
	static void (*const says[])(ob_ctx * ctx) = {say_to_all, say_to_many, say_to_each};

	memset(heavy, 'x', sizeof(heavy));
	for (size_t i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		begin_slow(says[i]);
		CU_ASSERT_EQUAL(ob_push(p.ctx, sessions[0], PUSHED, heavy, sizeof(heavy)),
		                OB_E_BUSY);
		CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.broadcasts.count == 0));
		CU_ASSERT_TRUE(RIG_UNTIL(ends >= SLOW));
		CU_ASSERT_EQUAL(ends, SLOW);
		CU_ASSERT_TRUE(deepest <= 2);
		CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_closed_total{reason=\"slow\"}"),
		                SLOW);
		end(SLOW);
	}
}

/* The same at the end of a node. */
static void test_slow_at_the_end(void)
{
	begin_slow(say_to_all);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, heavy, sizeof(heavy)), 1);
	rig_stop(&n);
	CU_ASSERT_EQUAL(ends, SLOW);
	CU_ASSERT_TRUE(deepest <= 2);
	for (size_t i = 0; i < SLOW; i++) {
		rig_disconnect(&clients[i]);
	}
	rig_end();
}

static int pushed_by_codec;

static size_t encode_and_push(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out,
                              size_t cap)
{
	if (encoded < 50) {
		pushed_by_codec += ob_push_all(ctx, ob_role(ctx, "x"), PUSHED, "again", 5);
	}
	return encode(ctx, state, packet, out, cap);
}

/* A codec that sends while it encodes what goes to all: nothing comes of that. */
static void test_codec_that_sends(void)
{
	begin(20, 0, OB_CODEC_STREAM, "");
	pushed_by_codec = 0;
	ob__slot_active(conn_of(0)->codec)->codec.encode = encode_and_push;
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "1", 1), 1);
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "2", 1), 1);
	for (size_t i = 0; i < 20; i++) {
		CU_ASSERT_TRUE(hears(i, "1\n2\n"));
	}
	CU_ASSERT_EQUAL(pushed_by_codec, 0);
	end(20);
}

static size_t encode_and_push_one(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out,
                                  size_t cap)
{
	if (encoded++ == 0) {
		pushed_by_codec += ob_push(ctx, sessions[5], PUSHED, "own", 3) == 0;
	}
	return encode(ctx, state, packet, out, cap);
}

/* One that sends to a single client, who lacks what it encodes; nothing is left behind. */
static void test_codec_that_pushes(void)
{
	begin(20, 0, OB_CODEC_STREAM, "");
	pushed_by_codec = 0;
	ob__slot_active(conn_of(0)->codec)->codec.encode = encode_and_push_one;
	CU_ASSERT_EQUAL(ob_push_all(p.ctx, ob_role(p.ctx, "x"), PUSHED, "1", 1), 1);
	for (size_t i = 0; i < 20; i++) {
		CU_ASSERT_TRUE(hears(i, i == 5 ? "1\nown\n" : "1\n"));
	}
	CU_ASSERT_EQUAL(n.node->clients.broadcasts.bytes, 0);
	CU_ASSERT_EQUAL(pushed_by_codec, 1);
	end(20);
}

/* ---------------------------------------------------------------- a house */

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
static ob_session met; /* at the service, the last one */

static void hello(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	ob_req_view(ctx, req, &v);
	met = v.session;
	ob_reply(ctx, req, "1", 1);
}

static int start_handlers(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_id_flags(ctx, 1000, hello, OB_FROM_LINK);
}

static void start_proxy(struct rig_node *node, const char *name, struct puppet *puppet, int port)
{
	rig_start(node, name, "proxy",
	          "'listen': [{'port': 0}]," RPC REMOTE "'modules': ['proxy', " HOOKS "]", port,
	          (long)(intptr_t)puppet);
}

static void begin_house(void)
{
	int port;

	rig_begin();
	memset(&at_proxy, 0, sizeof(at_proxy));
	memset(&at_other, 0, sizeof(at_other));
	memset(&at_service, 0, sizeof(at_service));
	at_service.start = start_handlers;
	port = rig_port();
	rig_start(&route, "r", "route",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "', 'reconnect_time': 0.05,"
	          "'route': {'range': {'service': [[1000, 1999]]}}}, 'modules': ['route']",
	          port);
	start_proxy(&proxy, "p", &at_proxy, port);
	start_proxy(&other, "q", &at_other, port);
	rig_start(&service, "a", "service", RPC REMOTE "'modules': ['service', " HOOKS "]", port,
	          (long)(intptr_t)&at_service);
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE_FATAL(rig_linked(&other, &route));
	CU_ASSERT_TRUE_FATAL(rig_linked(&service, &route));
}

static bool is_quiet(const struct rig_node *node)
{
	return node->node->clients.conns.live == 0 &&
	       ob__list_empty(&node->node->sessions.notice_list);
}

static void end_house(void)
{
	CU_ASSERT_TRUE(RIG_UNTIL(is_quiet(&proxy) && is_quiet(&other)));
	rig_stop(&service);
	rig_stop(&proxy);
	rig_stop(&other);
	rig_stop(&route);
	rig_end();
}

/* A client, and its session's handle at the service. */
static ob_session meet(struct rig_client *c, const struct rig_node *at)
{
	rig_connect(c, at->port, true);
	met = 0;
	CU_ASSERT_TRUE_FATAL(rig_ask(c, 1000, "0", "1"));
	return met;
}

static void say(struct ob__frame *f)
{
	f->kind = OB__FRAME_PUSH;
	CU_ASSERT_EQUAL(ob__send_to_node(service.node, proxy.node->self.id, f), 0);
}

static double ignored(void)
{
	return rig_metric(&proxy, "obhost_frames_ignored_total{reason=\"push\"}");
}

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

/* It reaches nobody and is counted; the link stays. */
static void test_malformed(void)
{
	static const struct {
		uint8_t to;
		uint32_t id;
		const uint8_t *payload;
		uint32_t len;
	} rows[] = {
		{OB__PUSH_SESSIONS, PUSHED, BYTES("")},
		{OB__PUSH_SESSIONS, PUSHED, BYTES("\0\0\0\0\0\0\0\0data")},
		{OB__PUSH_SESSIONS, PUSHED, BYTES("\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0")},
		{OB__PUSH_SESSIONS, 0, BYTES("\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0")},
		{OB__PUSH_SESSIONS, UINT32_MAX, BYTES("\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0")},
		{OB__PUSH_USERS, PUSHED, BYTES("\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0")},
		{OB__PUSH_USERS, PUSHED,
	         BYTES("\1\0\0\0\0\0\0\0"
	               "\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\3ad")},
		{OB__PUSH_ALL, 0, BYTES("data")},
		{OB__PUSH_ALL + 1, PUSHED, BYTES("data")},
		{255, PUSHED, BYTES("\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0")},
	};
	struct rig_client c;

	begin_house();
	meet(&c, &proxy);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__frame f = {
			.id = rows[i].id,
			.status = rows[i].to,
			.payload = rows[i].payload,
			.payload_len = rows[i].len,
		};
		double before = ignored();
		say(&f);
		CU_ASSERT_TRUE(RIG_UNTIL(ignored() == before + 1));
	}
	CU_ASSERT_TRUE(rig_silent(&c));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "0", "1"));
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_push_lists_total"), 0);
	rig_disconnect(&c);
	end_house();
}

/* Sessions of two proxies, some of which have never been; in more frames than one. */
static void test_sessions(void)
{
	enum { FAKES = 2500 };
	static ob_session list[FAKES + 6];
	struct rig_client c[4];
	size_t len = 0;

	begin_house();
	for (int i = 0; i < 4; i++) {
		list[len++] = meet(&c[i], i % 2 == 0 ? &proxy : &other);
	}
	CU_ASSERT_EQUAL(ob_push_many(at_service.ctx, list, 4, PUSHED, "1", 1), 4);
	CU_ASSERT_EQUAL(ob_push(at_service.ctx, list[3], PUSHED, "2", 1), 0);
	for (int i = 0; i < FAKES; i++) {
		bool fresh;
		list[len++] = ob__session_meet(&service.node->sessions, proxy.node->self.id,
		                               (uint64_t)i + 1, &fresh)
		                      ->handle;
	}
	list[len++] = list[0];
	list[len++] = 1;
	CU_ASSERT_EQUAL(ob_push_many(at_service.ctx, list, len, PUSHED, "3", 1), FAKES + 4);
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_pushes_lost_total"), 1);
	for (int i = 0; i < 4; i++) {
		CU_ASSERT_TRUE(rig_expect(&c[i], PUSHED, "1"));
		CU_ASSERT_TRUE(i != 3 || rig_expect(&c[i], PUSHED, "2"));
		CU_ASSERT_TRUE(rig_expect(&c[i], PUSHED, "3"));
		CU_ASSERT_TRUE(rig_silent(&c[i]));
	}
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_pushes_lost_total"), FAKES);
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_push_lists_total"), 1 + 3); /* of 1,024 */
	CU_ASSERT_EQUAL(rig_metric(&other, "obhost_push_lists_total"), 2);
	for (int i = 0; i < 4; i++) {
		rig_disconnect(&c[i]);
	}
	end_house();
}

static void done(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	(void)ctx;
	*(int *)arg = res->code == OB_OK ? 1 : -1;
}

static void login(const char *user)
{
	int came = 0;

	CU_ASSERT_EQUAL_FATAL(ob_session_bind(at_service.ctx, met, user, done, &came), 0);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(came != 0));
	CU_ASSERT_EQUAL(came, 1);
}

/* Users who are looked for first, then known, then elsewhere; and one who is nobody. */
static void test_users(void)
{
	const char *users[] = {"bob", "nobody", "ada", "bob"};
	struct rig_client ada;
	struct rig_client bob;
	struct rig_client second;

	begin_house();
	meet(&ada, &proxy);
	login("ada");
	meet(&bob, &proxy);
	login("bob");
	CU_ASSERT_EQUAL(ob_push_users(at_service.ctx, users, 4, PUSHED, "1", 1), 3);
	CU_ASSERT_TRUE(rig_expect(&ada, PUSHED, "1"));
	CU_ASSERT_TRUE(rig_expect(&bob, PUSHED, "1"));
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_push_lists_total"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_metric(&service, "obhost_user_sends_lost_total") == 1));
	CU_ASSERT_EQUAL(ob_push_users(at_service.ctx, users, 4, PUSHED, "2", 1), 3);
	CU_ASSERT_EQUAL(ob_push_user(at_service.ctx, "ada", PUSHED, "3", 1), 0);
	CU_ASSERT_EQUAL(ob_push_users(at_service.ctx, users + 2, 2, PUSHED, "4", 1), 2);
	for (int i = 2; i <= 4; i++) {
		char text[2] = {(char)('0' + i), '\0'};
		CU_ASSERT_TRUE(rig_expect(&ada, PUSHED, text));
		CU_ASSERT_TRUE(i == 3 || rig_expect(&bob, PUSHED, text));
	}
	CU_ASSERT_EQUAL(rig_metric(&proxy, "obhost_push_lists_total"), 2);
	meet(&second, &other);
	login("ada");
	double stale = rig_metric(&service, "obhost_user_sends_stale_total");
	CU_ASSERT_EQUAL(ob_push_users(at_service.ctx, users + 2, 2, PUSHED, "5", 1), 2);
	CU_ASSERT_TRUE(rig_expect(&second, PUSHED, "5"));
	CU_ASSERT_TRUE(rig_expect(&bob, PUSHED, "5"));
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_user_sends_stale_total"), stale + 1);
	CU_ASSERT_EQUAL(rig_metric(&service, "obhost_frames_ignored_total{reason=\"not_sent\"}"),
	                0);
	CU_ASSERT_EQUAL(ob_push_users(at_service.ctx, users + 2, 2, PUSHED, "6", 1), 2);
	CU_ASSERT_TRUE(rig_expect(&second, PUSHED, "6"));
	CU_ASSERT_TRUE(rig_expect(&bob, PUSHED, "6"));
	CU_ASSERT_EQUAL(rig_metric(&other, "obhost_push_lists_total"), 1);

	/* The same from the proxy that one of them is connected to. */
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(ob_push_users(at_other.ctx, users + 2, 2, PUSHED, "7", 1), 2);
		CU_ASSERT_TRUE(rig_expect(&second, PUSHED, "7"));
		CU_ASSERT_TRUE(rig_expect(&bob, PUSHED, "7"));
	}
	rig_disconnect(&ada);
	rig_disconnect(&bob);
	rig_disconnect(&second);
	end_house();
}

static void test_all(void)
{
	struct rig_client c[4];

	begin_house();
	for (int i = 0; i < 4; i++) {
		meet(&c[i], i % 2 == 0 ? &proxy : &other);
	}
	uint32_t role = ob_role(at_service.ctx, "proxy");
	CU_ASSERT_TRUE(RIG_UNTIL(ob_push_all(at_service.ctx, role, PUSHED, "1", 1) == 2));
	CU_ASSERT_EQUAL(ob_push_all(at_proxy.ctx, role, PUSHED, "2", 1), 2);
	for (int i = 0; i < 4; i++) {
		int got = 0;
		while (got != 2 && rig_recv(&c[i])) {
			CU_ASSERT_EQUAL(c[i].id, PUSHED);
			got = c[i].body[0] - '0' == got + 1 || got == 0 ? c[i].body[0] - '0' : -1;
		}
		CU_ASSERT_EQUAL(got, 2);
		rig_disconnect(&c[i]);
	}
	end_house();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("push_many", NULL, NULL);
	CU_add_test(s, "a message is encoded once", test_encoded_once);
	CU_add_test(s, "or once for each variant", test_variants);
	CU_add_test(s, "or for each client alone", test_own);
	CU_add_test(s, "broadcasts of a turn share their writes", test_together);
	CU_add_test(s, "large ones are shared", test_large);
	CU_add_test(s, "what is refused, and what is lost", test_what_is_refused);
	CU_add_test(s, "who is too slow is closed last", test_slow);
	CU_add_test(s, "a broadcast is not overtaken", test_broadcast);
	CU_add_test(s, "a large group", test_large_group);
	CU_add_test(s, "broadcasts go round together", test_broadcasts_together);
	CU_add_test(s, "broadcasts are bounded", test_broadcasts_bounded);
	CU_add_test(s, "a broadcast is encoded once", test_broadcast_encoded_once);
	CU_add_test(s, "also for who is ahead of it", test_caught_up_encoded_once);
	CU_add_test(s, "but anew by the next generation", test_broadcast_over_a_swap);
	CU_add_test(s, "what is made of broadcasts is bounded", test_forms_bounded);
	CU_add_test(s, "slow clients end one after the other", test_slow_in_a_row);
	CU_add_test(s, "and at the end of the node", test_slow_at_the_end);
	CU_add_test(s, "a codec that sends to all", test_codec_that_sends);
	CU_add_test(s, "a codec that sends to one", test_codec_that_pushes);
	CU_add_test(s, "what is malformed is counted", test_malformed);
	CU_add_test(s, "to sessions of two proxies", test_sessions);
	CU_add_test(s, "to users", test_users);
	CU_add_test(s, "to all of a role", test_all);
	return ob__tap_run();
}
