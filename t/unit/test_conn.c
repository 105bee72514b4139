/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Clients' connections in a whole node: transports, framing, close codes, codecs and their
 * exchange, backpressure, bounds. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "host/client/conn.h"
#include "host/push/fanout.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct rig_client c;
static struct puppet p;

static struct {
	int opened;
	int closed;
	ob_session session;
	char text[OB_SESSION_TEXT];
} seen;

static void on_event(ob_ctx *ctx, const ob_event_info *info)
{
	ob_session_info s = {.size = sizeof(s)};

	CU_ASSERT_EQUAL(info->size, sizeof(*info));
	CU_ASSERT_EQUAL(info->node, n.node->self.id);
	CU_ASSERT_EQUAL(ob_session_get(ctx, info->session, &s), 0);
	CU_ASSERT_TRUE(s.local);
	CU_ASSERT_EQUAL(s.node, n.node->self.id);
	seen.session = info->session;
	if (info->event == OB_EVENT_SESSION_OPENED) {
		seen.opened++;
		CU_ASSERT_EQUAL(ob_session_text(ctx, info->session, seen.text, sizeof(seen.text)),
		                0);
	} else {
		seen.closed++;
	}
}

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	ob_reply(ctx, req, v.data, v.len);
}

static ob_req kept[64];
static int kept_len;

static void keep(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	kept[kept_len++] = req;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 1000, echo);

	rc = rc == 0 ? ob_on_id(ctx, 65, echo) : rc; /* its packets can be UTF-8 */
	rc = rc == 0 ? ob_on_id(ctx, 1001, keep) : rc;
	rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_OPENED, on_event) : rc;
	return rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, on_event) : rc;
}

/* `conf`: members, with one %s for the path of a unix socket if it has any. */
static void begin(const char *conf)
{
	char more[1024];
	char path[256];

	rig_begin();
	memset(&p, 0, sizeof(p));
	memset(&seen, 0, sizeof(seen));
	kept_len = 0;
	p.start = start;
	snprintf(path, sizeof(path), "%s/c.sock", rig_dir);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(more, sizeof(more), conf, path);
#pragma GCC diagnostic pop
	rig_start(&n, "n", "x", "%s 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]", more,
	          (long)(intptr_t)&p);
}

static void end(void)
{
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	CU_ASSERT_EQUAL(seen.opened, seen.closed);
	CU_ASSERT_EQUAL(n.node->sessions.local, 0);
	CU_ASSERT_EQUAL(n.node->dispatch.reqs.live, 0);
	rig_stop(&n);
	rig_end();
}

static double closed_for(const char *reason)
{
	char series[96];

	snprintf(series, sizeof(series), "obhost_client_closed_total{reason=\"%s\"}", reason);
	return rig_metric(&n, series);
}

#define WS "'listen': [{'port': 0}],"

/* ---------------------------------------------------------------- transports */

static void test_transports(void)
{
	static const char *const confs[] = {
		WS,
		"'listen': [{'transport': 'tcp', 'port': 0}],",
		"'listen': [{'transport': 'unix', 'path': '%s'}],",
	};

	for (size_t i = 0; i < 3; i++) {
		char path[256];
		begin(confs[i]);
		snprintf(path, sizeof(path), "%s/c.sock", rig_dir);
		if (i == 2) {
			rig_connect_unix(&c, path);
		} else {
			rig_connect(&c, n.port, i == 0);
		}
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "{'a': [1, 2]}", "{'a': [1, 2]}"));
		CU_ASSERT_EQUAL(seen.opened, 1);

		/* The session has a name, which finds it, and it alone. */
		CU_ASSERT_EQUAL(strncmp(seen.text, "n-", 2), 0);
		CU_ASSERT_EQUAL(strlen(seen.text), 18);
		CU_ASSERT_EQUAL(ob_session_find(p.ctx, seen.text), seen.session);
		CU_ASSERT_EQUAL(ob_session_find(p.ctx, "n-0000000000000000"), 0);
		CU_ASSERT_EQUAL(ob_session_find(p.ctx, "m-0000000000000000"), 0);
		CU_ASSERT_EQUAL(ob_session_find(p.ctx, ""), 0);
		CU_ASSERT_EQUAL(ob_session_find(p.ctx, "n-zz"), 0);

		/* Unasked, small and large. */
		CU_ASSERT_EQUAL(ob_push_json(p.ctx, seen.session, 7, "{s:i}", "p", 1), 0);
		CU_ASSERT_TRUE(rig_expect(&c, 7, "{'p': 1}"));
		char *big = malloc(300000);
		memset(big, 'b', 300000);
		CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 8, big, 300000), 0);
		CU_ASSERT_TRUE(rig_recv(&c));
		CU_ASSERT_EQUAL(c.id, 8);
		CU_ASSERT_EQUAL(c.body_len, 300000);
		CU_ASSERT_EQUAL(memcmp(c.body, big, 300000), 0);

		/* And large in, byte for byte. */
		rig_send_bytes(&c, 1000, big, 300000);
		CU_ASSERT_TRUE(rig_recv(&c));
		CU_ASSERT_EQUAL(c.body_len, 300000);
		free(big);
		CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 8, NULL, 0), 0);
		CU_ASSERT_TRUE(rig_recv(&c));
		CU_ASSERT_EQUAL(c.body_len, 0);

		CU_ASSERT_EQUAL(ob_session_close(p.ctx, seen.session, 0, NULL), 0);
		CU_ASSERT_EQUAL(rig_closed(&c), i == 0 ? 1000 : 0);
		CU_ASSERT_EQUAL(seen.closed, 1);
		CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 8, "", 0), OB_E_STALE);
		CU_ASSERT_EQUAL(closed_for("kicked"), 1);
		end();
	}
}

/* A packet in pieces of any size, over messages and over fragments; several in one. */
static void test_pieces(void)
{
	uint8_t three[3 * 16];

	begin(WS);
	rig_connect(&c, n.port, true);
	for (int i = 0; i < 3; i++) {
		uint8_t packet[16] = {
			16, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0, '[', (uint8_t)('1' + i), ']', ' '};
		memcpy(three + 16 * i, packet, 16);
	}
	for (size_t piece = 1; piece <= sizeof(three); piece++) {
		for (size_t at = 0; at < sizeof(three); at += piece) {
			size_t len = at + piece < sizeof(three) ? piece : sizeof(three) - at;
			rig_send_frame(&c, 0x82, three + at, len);
		}
		for (int i = 0; i < 3; i++) {
			char want[8];
			snprintf(want, sizeof(want), "[%d]", i + 1);
			CU_ASSERT_TRUE_FATAL(rig_expect(&c, 1000, want));
		}
	}
	/* fragments, with a ping between them */
	for (size_t piece = 1; piece < sizeof(three); piece += 5) {
		for (size_t at = 0; at < sizeof(three); at += piece) {
			bool last = at + piece >= sizeof(three);
			uint8_t first = (uint8_t)((at == 0 ? 2 : 0) | (last ? 0x80 : 0));
			rig_send_frame(&c, first, three + at, last ? sizeof(three) - at : piece);
			rig_send_frame(&c, 0x89, "hi", 2);
		}
		for (int i = 0; i < 3; i++) {
			CU_ASSERT_TRUE_FATAL(rig_recv(&c));
		}
	}
	CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(&c), c.pongs > 0)));
	CU_ASSERT_EQUAL(n.node->sessions.local, 1);

	/* byte by byte, through the socket */
	uint8_t frame[6 + 16] = {0x82, 0x80 | 16, 0, 0, 0, 0};
	memcpy(frame + 6, three, 16);
	for (size_t i = 0; i < sizeof(frame); i++) {
		rig_send_raw(&c, frame + i, 1);
		rig_turn();
		rig_turn();
	}
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "[1]"));
	/* nothing in a message is nothing */
	rig_send_frame(&c, 0x82, "", 0);
	CU_ASSERT_TRUE(rig_silent(&c));
	end();
}

/* What closes a client, with which code, counted under which word. */
static void test_close_codes(void)
{
	static const struct {
		uint8_t first;
		const char *data;
		size_t len;
		int code;
		const char *counted;
	} rows[] = {
		{0x82, "\x0b\0\0\0\xe8\x03\0\0\0\0\0\0", 12, 1002, "bad_packet"},
		{0x82, "\0\0\0\0\xe8\x03\0\0\0\0\0\0", 12, 1002, "bad_packet"},
		{0x82, "\xff\xff\xff\xff\xe8\x03\0\0\0\0\0\0", 12, 1002, "bad_packet"},
		{0x82, "\0\0\0\x80", 4, 1002, "bad_packet"},
		{0x82, "\x01\x10\0\0", 4, 1009, "too_big"}, /* 4097, the limit is 4096 */
		{0x82, "\xff\xff\xff\x7f", 4, 1009, "too_big"},
		{0x81, "\x0e\0\0\0\xe8\x03\0\0\0\0\0\0\xff\xff", 14, 1007, "bad_frame"},
		{0xc2, "x", 1, 1002, "bad_frame"},     /* a reserved bit */
		{0x83, "x", 1, 1002, "bad_frame"},     /* an opcode that is none */
		{0x80, "x", 1, 1002, "bad_frame"},     /* goes on with nothing */
		{0x09, "x", 1, 1002, "bad_frame"},     /* a control frame in pieces */
		{0x88, "\x03\xe8", 2, 1000, "client"}, /* echoed */
		{0x88, "\x0f\xa1 bye", 6, 4001, "client"},
		{0x88, "", 0, 1005, "client"},
		{0x88, "\x03", 1, 1002, "bad_frame"},
		{0x88, "\x03\xed", 2, 1002, "bad_frame"}, /* 1005 is never on the wire */
	};

	begin("'limits': {'message': 4096}," WS);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double before = closed_for(rows[i].counted);
		before = before < 0 ? 0 : before;
		rig_connect(&c, n.port, true);
		rig_send_frame(&c, rows[i].first, rows[i].data, rows[i].len);
		int code = rig_closed(&c);
		CU_ASSERT_EQUAL(code, rows[i].code);
		CU_ASSERT_EQUAL(closed_for(rows[i].counted), before + 1);
		if (code != rows[i].code || closed_for(rows[i].counted) != before + 1) {
			printf("# row %zu: %d %s\n", i, code, c.close_reason);
		}
		CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(&c), c.eof)));
		rig_disconnect(&c);
	}
	/* At the limit exactly it is taken. */
	char *big = malloc(4096);
	memset(big, 'x', 4096);
	rig_connect(&c, n.port, true);
	rig_send_bytes(&c, 1000, big, 4096 - 12);
	CU_ASSERT_TRUE(rig_recv(&c));
	CU_ASSERT_EQUAL(c.body_len, 4096 - 12);
	free(big);

	/* An unmasked frame, and valid text. */
	rig_send_frame(&c, 0x81, "\x0e\0\0\0A\0\0\0\0\0\0\0{}", 14);
	CU_ASSERT_TRUE(rig_expect(&c, 65, "{}"));
	rig_send_raw(&c, "\x82\x01x", 3);
	CU_ASSERT_EQUAL(rig_closed(&c), 1002);
	end();
}

/* Messages behind a close are not heard, those before it are answered. */
static void test_after_close(void)
{
	begin(WS);
	rig_connect(&c, n.port, true);
	rig_send(&c, 1000, "1");
	rig_send_frame(&c, 0x88, "\x03\xe8", 2);
	rig_send(&c, 1000, "2");
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "1"));
	CU_ASSERT_EQUAL(rig_closed(&c), 1000);
	CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(&c), c.eof)));
	CU_ASSERT_EQUAL(c.packets_len, 0);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_messages_total"), 1);
	end();
}

static void test_ends(void)
{
	begin(WS);
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(RIG_UNTIL(seen.opened == 1));
	rig_disconnect(&c); /* no close frame */
	CU_ASSERT_TRUE(RIG_UNTIL(seen.closed == 1));
	CU_ASSERT_EQUAL(closed_for("eof"), 1);
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(RIG_UNTIL(seen.opened == 2));
	rig_reset(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(seen.closed == 2));
	CU_ASSERT_EQUAL(closed_for("reset"), 1);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_opened_total"), 2);
	c.fd = -1;
	end();
}

static void test_idle(void)
{
	begin("'listen': [{'port': 0, 'timeout': 0.15}],");
	rig_connect(&c, n.port, true);
	uint64_t start_us = ob__loop_hrtime_us();
	rig_turn_ms(100);
	rig_send_frame(&c, 0x89, "", 0); /* a ping is a sign of life */
	CU_ASSERT_EQUAL(rig_closed(&c), 1001);
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start_us > 230000);
	CU_ASSERT_STRING_EQUAL(c.close_reason, "idle for too long");
	CU_ASSERT_EQUAL(closed_for("idle"), 1);
	end();
}

/* ---------------------------------------------------------------- bounds */

static void test_limits(void)
{
	struct rig_client more;

	begin("'limits': {'connections': 1}," WS);
	rig_connect(&c, n.port, true);
	CU_ASSERT_EQUAL(rig_handshake(&more, n.port) == 503 || more.eof, true);
	CU_ASSERT_EQUAL(seen.opened, 1);
	rig_disconnect(&more);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	rig_connect(&c, n.port, true); /* there is room again */
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	end();

	begin("'limits': {'connections': 1}, 'listen': [{'transport': 'tcp', 'port': 0}],");
	rig_connect(&c, n.port, false);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	rig_connect(&more, n.port, false);
	CU_ASSERT_EQUAL(rig_closed(&more), 0);
	CU_ASSERT_EQUAL(closed_for("limit"), 1);
	rig_disconnect(&more);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "2", "2"));
	end();

	begin("'limits': {'sessions': 1}," WS);
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	rig_connect(&more, n.port, true);
	CU_ASSERT_EQUAL(rig_closed(&more), 1013);
	rig_disconnect(&more);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "2", "2"));
	end();
}

static struct ob__conn *only_conn(void)
{
	uint32_t i = 0;

	return ob__slab_next(&n.node->clients.conns, &i);
}

/* A client with too many requests in flight is read no further until half of them have ended. */
static void test_in_flight(void)
{
	begin("'limits': {'in_flight': 4}," WS);
	rig_connect(&c, n.port, true);
	for (int i = 0; i < 20; i++) {
		rig_send(&c, 1001, "{}");
	}
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len >= 4));
	rig_turn_ms(30);
	/* what one read brought is handled, but nothing more is read */
	int first = kept_len;
	CU_ASSERT_TRUE(first <= 20);
	const struct ob__conn *conn = only_conn();
	CU_ASSERT_PTR_NOT_NULL_FATAL(conn);
	CU_ASSERT_EQUAL(conn->paused, OB__PAUSE_IN_FLIGHT);
	CU_ASSERT_EQUAL(conn->in_flight, (uint32_t)first);
	rig_send(&c, 1000, "'later'");
	CU_ASSERT_TRUE(rig_silent(&c));
	for (int i = 0; i < first; i++) {
		CU_ASSERT_EQUAL(ob_reply(p.ctx, kept[i], "1", 1), 0);
		CU_ASSERT_EQUAL(conn->paused != 0, conn->in_flight > 2);
	}
	CU_ASSERT_EQUAL(conn->in_flight, 0);
	for (int i = 0; i < first; i++) {
		CU_ASSERT_TRUE(rig_expect(&c, 1001, "1"));
	}
	CU_ASSERT_TRUE(RIG_UNTIL(kept_len == 20));
	for (int i = first; i < 20; i++) {
		CU_ASSERT_EQUAL(ob_done(p.ctx, kept[i]), 0);
	}
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "'later'"));
	CU_ASSERT_EQUAL(conn->in_flight, 0);
	end();
}

/* Pushes to a client that reads nothing are kept within bounds: the newest, or the newest of each
 * id; and come when it reads again. */
static void test_slow_kept(void)
{
	static const char *const confs[] = {
		"'limits': {'client_queue': '64k', 'message': '32k', 'slow': 'drop_oldest'}," WS,
		"'limits': {'client_queue': '64k', 'message': '32k', 'slow': 'conflate'}," WS,
	};
	static const char *const series[] = {
		"obhost_pushes_dropped_total{reason=\"oldest\"}",
		"obhost_pushes_dropped_total{reason=\"conflated\"}",
	};
	static char body[4000];
	enum { SENT = 5000, IDS = 4 };

	for (int conflate = 0; conflate < 2; conflate++) {
		begin(confs[conflate]);
		rig_connect(&c, n.port, true);
		CU_ASSERT_TRUE(RIG_UNTIL(seen.opened == 1));
		for (int i = 0; i < SENT; i++) {
			snprintf(body, sizeof(body), "%d", i);
			CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 10 + (uint32_t)(i % IDS), body,
			                        sizeof(body)),
			                0);
			rig_turn();
		}
		struct ob__conn *conn = only_conn();
		CU_ASSERT_EQUAL(seen.closed, 0);
		CU_ASSERT_TRUE(conn->stream.queued <= (64u << 10) + (32u << 10));
		CU_ASSERT_TRUE(conn->pushes != NULL && conn->pushes->bytes <= (32u << 10));
		int dropped = (int)rig_metric(&n, series[conflate]);
		CU_ASSERT_TRUE(dropped > 0);
		CU_ASSERT_TRUE(conflate == 0 || conn->pushes->len == IDS);
		int last = -1;
		for (int i = 0; i < SENT - dropped; i++) {
			CU_ASSERT_TRUE_FATAL(rig_recv(&c));
			int number = atoi(c.body);
			CU_ASSERT_TRUE(number > last);
			CU_ASSERT_EQUAL(c.id, 10 + (uint32_t)(number % IDS));
			last = number;
		}
		CU_ASSERT_EQUAL(last, SENT - 1); /* the newest is never lost */
		CU_ASSERT_TRUE(RIG_UNTIL(conn->paused == 0));
		CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
		CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 9, "\"now\"", 5), 0);
		CU_ASSERT_TRUE(rig_expect(&c, 9, "'now'"));
		end();
	}
}

/* A client that reads nothing: closed, or its pushes are dropped, and nothing grows beyond. */
static void test_slow(void)
{
	static const char *const confs[] = {
		"'limits': {'client_queue': '64k', 'message': '32k'}," WS,
		"'limits': {'client_queue': '64k', 'message': '32k', 'slow': 'drop'}," WS,
	};
	static char body[8000];

	for (int drop = 0; drop < 2; drop++) {
		begin(confs[drop]);
		rig_connect(&c, n.port, true);
		CU_ASSERT_TRUE(RIG_UNTIL(seen.opened == 1));
		int rc = 0;
		int sent = 0;
		for (; rc == 0 && sent < 10000; sent++) {
			rc = ob_push(p.ctx, seen.session, 9, body, sizeof(body));
			rig_turn();
		}
		CU_ASSERT_EQUAL(rc, OB_E_BUSY);
		CU_ASSERT_EQUAL(seen.closed, drop == 0);
		if (drop == 0) {
			CU_ASSERT_EQUAL(closed_for("slow"), 1);
			CU_ASSERT_EQUAL(rig_closed(&c), 1008);
		} else {
			struct ob__conn *conn = only_conn();
			CU_ASSERT_EQUAL(
				rig_metric(&n, "obhost_pushes_dropped_total{reason=\"full\"}"), 1);
			CU_ASSERT_TRUE(conn->stream.queued <= (64u << 10) + (32u << 10));
			CU_ASSERT_TRUE((conn->paused & OB__PAUSE_QUEUE) != 0);
			/* it reads again: it is read again */
			for (int i = 0; i < sent - 1; i++) {
				CU_ASSERT_TRUE_FATAL(rig_recv(&c));
			}
			CU_ASSERT_TRUE(RIG_UNTIL(conn->paused == 0));
			CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
		}
		end();
	}
}

/* A client that is paused because it does not read: closed when it takes nothing for some time, and
 * not as long as it takes a little. */
static void test_not_reading(void)
{
	static char body[30000];
	static char sink[64 << 10];

	begin("'limits': {'client_queue': '4m', 'slow': 'drop'}, "
	      "'listen': [{'port': 0, 'limits': {'send_timeout': 0.2}}],");
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(RIG_UNTIL(seen.opened == 1));
	struct ob__conn *conn = only_conn();
	for (int i = 0; i < 10000 && conn->paused == 0; i++) {
		CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 9, body, sizeof(body)), 0);
		rig_turn();
	}
	CU_ASSERT_EQUAL_FATAL(conn->paused, OB__PAUSE_QUEUE);
	uint64_t start_us = ob__loop_hrtime_us();
	while (ob__loop_hrtime_us() - start_us < 900000) {
		CU_ASSERT_TRUE(recv(c.fd, sink, sizeof(sink), MSG_DONTWAIT) != 0);
		rig_turn_ms(20);
		if (conn->paused == 0) { /* it has read a lot: more of the same */
			for (int i = 0; i < 10000 && conn->paused == 0; i++) {
				(void)ob_push(p.ctx, seen.session, 9, body, sizeof(body));
			}
		}
	}
	CU_ASSERT_EQUAL_FATAL(seen.closed, 0);
	start_us = ob__loop_hrtime_us();
	CU_ASSERT_TRUE(RIG_UNTIL(seen.closed == 1));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start_us >= 150000);
	CU_ASSERT_EQUAL(closed_for("not_reading"), 1);
	end();

	/* 0: it may stay */
	begin("'limits': {'client_queue': '64k', 'message': '32k', 'slow': 'drop'}, "
	      "'listen': [{'port': 0, 'timeout': 0.1, 'limits': {'send_timeout': 0}}],");
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(RIG_UNTIL(seen.opened == 1));
	conn = only_conn();
	for (int i = 0; i < 10000 && conn->paused == 0; i++) {
		CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 9, body, sizeof(body)), 0);
		rig_turn();
	}
	rig_turn_ms(300);
	CU_ASSERT_EQUAL(conn->paused, OB__PAUSE_QUEUE);
	CU_ASSERT_EQUAL(seen.closed, 0);
	end();
}

/* What is pushed to many is compressed once for all with one size of window. */
static void test_deflate_once(void)
{
	enum { CLIENTS = 6 };
	static const uint8_t bits[CLIENTS] = {15, 15, 0, 10, 15, 10};
	struct rig_client clients[CLIENTS];
	struct ob__conn *conns[CLIENTS];
	struct ob__fanout fo;
	char body[1000];
	uint32_t at = 0;

	begin("'listen': [{'port': 0, 'deflate': {'enabled': true, 'min': 500}}],");
	for (int i = 0; i < CLIENTS; i++) {
		rig_connect(&clients[i], n.port, true);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(seen.opened == CLIENTS));
	for (int i = 0; i < CLIENTS; i++) {
		conns[i] = ob__slab_next(&n.node->clients.conns, &at);
		CU_ASSERT_PTR_NOT_NULL_FATAL(conns[i]);
		CU_ASSERT_EQUAL(conns[i]->deflate, 0); /* it was not offered */
		conns[i]->deflate = bits[i];
	}
	memset(body, 'b', sizeof(body));
	ob__fanout_begin(&fo, n.node, 9, body, sizeof(body));
	for (int i = 0; i < CLIENTS; i++) {
		size_t before = conns[i]->stream.queued;
		CU_ASSERT_EQUAL(ob__fanout_to(&fo, ob__conn_handle(conns[i])), 0);
		size_t took = conns[i]->stream.queued - before;
		CU_ASSERT_EQUAL(took > sizeof(body), bits[i] == 0);
	}
	CU_ASSERT_EQUAL(fo.forms_len, 3);
	for (uint32_t i = 0; i < fo.forms_len; i++) {
		const struct ob__form *form = &fo.forms[i];
		CU_ASSERT_EQUAL(form->bytes->data[form->at], i == 1 ? 0x82 : 0xc2);
	}
	ob__fanout_end(&fo);

	ob__fanout_begin(&fo, n.node, 9, body, 499); /* too short to be compressed */
	for (int i = 0; i < CLIENTS; i++) {
		CU_ASSERT_EQUAL(ob__fanout_to(&fo, ob__conn_handle(conns[i])), 0);
	}
	CU_ASSERT_EQUAL(fo.forms_len, 1);
	ob__fanout_end(&fo);
	for (int i = 0; i < CLIENTS; i++) {
		rig_disconnect(&clients[i]);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	rig_connect(&c, n.port, true);
	end();
}

/* Draining: no new clients, those that are there go on. */
static void test_drain(void)
{
	begin("'listen': [{'transport': 'tcp', 'port': 0}],");
	rig_connect(&c, n.port, false);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	CU_ASSERT_EQUAL(ob__drain_begin(n.node, &(struct ob__drain_options){0}), 0);
	CU_ASSERT_FALSE(rig_can_connect(n.port));
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "2", "2"));
	CU_ASSERT_EQUAL(seen.opened, 1);
	end();
}

static void test_stop(void)
{
	begin(WS);
	rig_connect(&c, n.port, true);
	CU_ASSERT_TRUE(rig_ask(&c, 1000, "1", "1"));
	ob__node_stop(n.node);
	CU_ASSERT_EQUAL(rig_closed(&c), 1001);
	CU_ASSERT_STRING_EQUAL(c.close_reason, "the node stops");
	end();
}

/* ---------------------------------------------------------------- a codec of our own */

/* Lines "ID TEXT\n"; its state counts the lines, and each answer says the count. */
struct state_1 {
	uint32_t lines;
};

struct state_2 {
	uint64_t unused;
	uint64_t lines;
};

static enum { GOOD, TOO_MUCH, NOTHING, NO_KIND, CLOSES, CANT_ENCODE } behaviour;
static int migrate_says;
static int migrations;
static ob_codec codec;
static bool state_is_2;

static size_t line_decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary,
                          size_t max, ob_packet *out)
{
	uint8_t *nl = memchr(data, '\n', len);

	CU_ASSERT(len > 0);
	switch (behaviour) {
	case TOO_MUCH:
		out->kind = OB_PACKET_SKIP;
		return len + 1;
	case NOTHING:
		out->kind = OB_PACKET_SKIP;
		return 0;
	case NO_KIND:
		return len;
	case CLOSES:
		out->kind = OB_PACKET_CLOSE;
		return 0;
	default:
		break;
	}
	if (nl == NULL) {
		out->kind = OB_PACKET_NEED;
		out->need = len + 1;
		return 0;
	}
	if (data[0] == '#') {
		out->kind = OB_PACKET_SKIP;
		return (size_t)(nl - data) + 1;
	}
	if (state_is_2) {
		((struct state_2 *)state)->lines++;
	} else {
		((struct state_1 *)state)->lines++;
	}
	out->kind = OB_PACKET_MESSAGE;
	out->id = (uint32_t)strtoul((char *)data, NULL, 10);
	out->cookie = out->id * 2;
	out->one_way = data[0] == '0';
	out->data = data;
	out->len = (size_t)(nl - data);
	return out->len + 1;
}

static size_t line_encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out,
                          size_t cap)
{
	uint64_t lines =
		state_is_2 ? ((struct state_2 *)state)->lines : ((struct state_1 *)state)->lines;

	if (behaviour == CANT_ENCODE) {
		return 0;
	}
	CU_ASSERT(cap >= packet->len + 40);
	CU_ASSERT_EQUAL(packet->cookie, packet->kind == OB_PACKET_REPLY ? packet->id * 2 : 0);
	int len = snprintf((char *)out, cap, "%llu:%u:%d:%.*s\n", (unsigned long long)lines,
	                   packet->id, packet->status, (int)packet->len,
	                   packet->len > 0 ? (const char *)packet->data : "");
	return (size_t)len;
}

static int migrate(ob_ctx *ctx, uint32_t from, const void *old_state, void *state)
{
	migrations++;
	CU_ASSERT_EQUAL(from, 1);
	((struct state_2 *)state)->lines = ((const struct state_1 *)old_state)->lines;
	return migrate_says;
}

static int start_codec(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_codec(ctx, &codec);

	return rc == 0 ? start(ctx, conf) : rc;
}

static void begin_codec(const char *transport)
{
	char conf[200];

	rig_begin();
	memset(&p, 0, sizeof(p));
	memset(&seen, 0, sizeof(seen));
	kept_len = 0;
	behaviour = GOOD;
	migrations = 0;
	migrate_says = 0;
	state_is_2 = false;
	codec = (ob_codec){.size = sizeof(codec),
	                   .state_size = sizeof(struct state_1),
	                   .state_ver = 1,
	                   .flags = OB_CODEC_STREAM | OB_CODEC_TEXT,
	                   .overhead = 40,
	                   .name = "line",
	                   .decode = line_decode,
	                   .encode = line_encode};
	p.start = start_codec;
	snprintf(conf, sizeof(conf), "'listen': [{'transport': '%s', 'codec': 'line', 'port': 0}],",
	         transport);
	/* codec_line, which the listener implies, is an idle puppet: this one offers the codec */
	rig_start(&n, "n", "x", "%s 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]", conf,
	          (long)(intptr_t)&p);
	rig_connect(&c, n.port, strcmp(transport, "ws") == 0);
}

/* The next line. */
static bool line_is(const char *want)
{
	char got[256] = "";
	bool came = RIG_UNTIL((rig_pump(&c), c.eof || c.close_seen ||
	                                             (c.packets_len > 0 &&
	                                              memchr(c.packets, '\n', c.packets_len))));
	if (came && c.packets_len > 0) {
		uint8_t *nl = memchr(c.packets, '\n', c.packets_len);
		size_t len = (size_t)(nl - c.packets);
		snprintf(got, sizeof(got), "%.*s", (int)len, (char *)c.packets);
		memmove(c.packets, nl + 1, c.packets_len - len - 1);
		c.packets_len -= len + 1;
	}
	if (strcmp(got, want) != 0) {
		printf("# got \"%s\", expected \"%s\"\n", got, want);
	}
	return strcmp(got, want) == 0;
}

static void say(const char *text)
{
	if (c.ws) {
		rig_send_frame(&c, 0x81, text, strlen(text));
	} else {
		rig_send_raw(&c, text, strlen(text));
	}
}

static bool reload(int status, const char *expected)
{
	return rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}", status,
	                        expected);
}

static void test_codec(void)
{
	for (int tcp = 0; tcp < 2; tcp++) {
		begin_codec(tcp ? "tcp" : "ws");
		say("1000 hello\n1000 you\n# a comment\n");
		CU_ASSERT_TRUE(line_is("1:1000:0:1000 hello"));
		CU_ASSERT_TRUE(line_is("2:1000:0:1000 you"));
		/* half a line is kept by the host; the next generation goes on at its edge with the
		 * same state */
		say("1000 ha");
		rig_turn_ms(20);
		CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
		say("lf\n");
		CU_ASSERT_TRUE(line_is("3:1000:0:1000 half"));
		CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 5, "x", 1), 0);
		CU_ASSERT_TRUE(line_is("3:5:0:x"));
		say("4711 x\n");
		CU_ASSERT_TRUE(line_is(
			"4:4711:-5003:{\"code\":503,\"error\":\"no module decides about client "
			"messages here\"}"));
		say("01000 one way\n04711 one way\n"); /* the codec says nobody waits */
		say("1000 z\n");
		CU_ASSERT_TRUE(line_is("7:1000:0:1000 z"));
		CU_ASSERT_EQUAL(migrations, 0);
		end();
	}
}

static void test_codec_migrates(void)
{
	begin_codec("ws");
	say("1000 a\n");
	CU_ASSERT_TRUE(line_is("1:1000:0:1000 a"));

	/* The same version can't have another size, nor may a codec in use go. */
	uint32_t size = codec.state_size;
	codec.state_size = size + 4096;
	CU_ASSERT_TRUE(reload(422, "{'error': {'step': 'start', 'code': 'start'}}"));
	codec.state_size = size;
	const char *name = codec.name;
	codec.name = "other";
	CU_ASSERT_TRUE(reload(422, "{'error': {'step': 'start', 'code': 'codec'}}"));
	codec.name = name;
	say("1000 b\n");
	CU_ASSERT_TRUE(line_is("2:1000:0:1000 b"));

	/* Another version without migrate is refused before anything is switched. */
	codec.state_ver = 2;
	codec.state_size = sizeof(struct state_2);
	CU_ASSERT_TRUE(reload(422,
	                      "{'error': {'step': 'start', 'message': 'start failed: codec state "
	                      "version 2 replaces 1 without migrate: not possible in this "
	                      "state'}}"));
	say("1000 b\n");
	CU_ASSERT_TRUE(line_is("3:1000:0:1000 b"));

	/* With it the connections move, silent ones too. */
	codec.migrate = migrate;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(migrations == 1));
	state_is_2 = true;
	say("1000 c\n");
	CU_ASSERT_TRUE(line_is("4:1000:0:1000 c"));
	CU_ASSERT_EQUAL(migrations, 1);
	say("1000 d\n");
	CU_ASSERT_TRUE(line_is("5:1000:0:1000 d"));
	CU_ASSERT_EQUAL(migrations, 1);
	end();
}

static void test_codec_migrate_fails(void)
{
	begin_codec("ws");
	say("1000 a\n");
	CU_ASSERT_TRUE(line_is("1:1000:0:1000 a"));
	codec.state_ver = 2;
	codec.state_size = 0;
	codec.migrate = migrate;
	migrate_says = -1;
	codec.state_size = sizeof(struct state_2);
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	state_is_2 = true;
	say("1000 b\n");
	CU_ASSERT_EQUAL(rig_closed(&c), 1011);
	CU_ASSERT_EQUAL(closed_for("no_codec"), 1);
	rig_disconnect(&c);
	/* who comes anew is served */
	rig_connect(&c, n.port, true);
	say("1000 b\n");
	CU_ASSERT_TRUE(line_is("1:1000:0:1000 b"));
	end();
}

/* A codec that misbehaves costs its clients, never the node. */
static void test_codec_misbehaves(void)
{
	static const struct {
		int how;
		int code;
		const char *counted;
	} rows[] = {
		{TOO_MUCH, 1011, "codec"},     {NOTHING, 1011, "codec"},
		{NO_KIND, 1002, "bad_packet"}, {CLOSES, 1002, "bad_packet"},
		{CANT_ENCODE, 1011, "encode"},
	};

	begin_codec("ws");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		behaviour = rows[i].how;
		double before = closed_for(rows[i].counted);
		before = before < 0 ? 0 : before;
		say("1000 a\n");
		CU_ASSERT_EQUAL(rig_closed(&c), rows[i].code);
		CU_ASSERT_EQUAL(closed_for(rows[i].counted), before + 1);
		rig_disconnect(&c);
		behaviour = GOOD;
		rig_connect(&c, n.port, true);
		say("1000 a\n");
		CU_ASSERT_TRUE(line_is("1:1000:0:1000 a"));
	}
	end();
}

/* Packets that may not span messages: a rest at a boundary is the client's fault, not its size. */
static void test_codec_by_message(void)
{
	begin_codec("ws");
	codec.flags = OB_CODEC_TEXT;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	say("1000 a\n");
	CU_ASSERT_TRUE(line_is("1:1000:0:1000 a"));
	rig_send_frame(&c, 0x01, "1000", 4); /* over fragments it may */
	rig_send_frame(&c, 0x80, " b\n", 3);
	CU_ASSERT_TRUE(line_is("2:1000:0:1000 b"));
	say("1000 c");
	CU_ASSERT_EQUAL(rig_closed(&c), 1002);
	CU_ASSERT_EQUAL(closed_for("bad_packet"), 1);
	end();
}

static void test_codec_refused(void)
{
	static const struct {
		size_t at;
		uint64_t value;
		size_t size;
	} rows[] = {
		{offsetof(ob_codec, size), 4, 4},
		{offsetof(ob_codec, name), 0, sizeof(void *)},
		{offsetof(ob_codec, decode), 0, sizeof(void *)},
		{offsetof(ob_codec, encode), 0, sizeof(void *)},
		{offsetof(ob_codec, state_size), 65537, 4},
		{offsetof(ob_codec, overhead), 4097, 4},
	};

	begin_codec("ws");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ob_codec right = codec;
		memcpy((char *)&codec + rows[i].at, &rows[i].value, rows[i].size);
		CU_ASSERT_TRUE(reload(422, "{'error': {'step': 'start'}}"));
		codec = right;
	}
	say("1000 a\n");
	CU_ASSERT_TRUE(line_is("1:1000:0:1000 a"));
	end();
}

/* A listener whose codec nobody offers: the node does not start, and says which. */
static void test_no_codec(void)
{
	int code = -1;

	rig_begin();
	memset(&p, 0, sizeof(p));
	rig_write_conf(
		&n, "n", "x",
		"'listen': [{'port': 0, 'codec': 'none'}], 'modules': [{'name': 'codec_none', "
		"'path': '%s/mods/codec_none.so'}]",
		rig_dir);
	rig_install("puppet", "puppet");
	CU_ASSERT_PTR_NULL(rig_start_conf(&n, &code));
	CU_ASSERT_EQUAL(code, 1);
	rig_end();
	rig_begin();
	rig_install("codec_line", "codec_line");
	rig_write_conf(&n, "n", "x", "'listen': [{'port': 0, 'codec': 'line'}], 'modules': []");
	CU_ASSERT_PTR_NULL(rig_start_conf(&n, &code));
	CU_ASSERT_TRUE(rig_logged("n", "listen: no loaded module offers the codec line"));
	rig_end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("conn", NULL, NULL);
	CU_add_test(s, "ws, tcp, unix", test_transports);
	CU_add_test(s, "packets in pieces", test_pieces);
	CU_add_test(s, "close codes", test_close_codes);
	CU_add_test(s, "behind a close", test_after_close);
	CU_add_test(s, "the client goes", test_ends);
	CU_add_test(s, "idle", test_idle);
	CU_add_test(s, "limits", test_limits);
	CU_add_test(s, "too many in flight", test_in_flight);
	CU_add_test(s, "slow clients", test_slow);
	CU_add_test(s, "slow clients whose pushes are kept", test_slow_kept);
	CU_add_test(s, "paused and not reading", test_not_reading);
	CU_add_test(s, "a push to many is compressed once", test_deflate_once);
	CU_add_test(s, "draining", test_drain);
	CU_add_test(s, "stopping", test_stop);
	s = CU_add_suite("codec", NULL, NULL);
	CU_add_test(s, "of a module, over a reload", test_codec);
	CU_add_test(s, "another state: refused, or migrated", test_codec_migrates);
	CU_add_test(s, "migrating fails", test_codec_migrate_fails);
	CU_add_test(s, "that misbehaves", test_codec_misbehaves);
	CU_add_test(s, "packets by message", test_codec_by_message);
	CU_add_test(s, "refused descriptions", test_codec_refused);
	CU_add_test(s, "nobody offers it", test_no_codec);
	return ob__tap_run();
}
